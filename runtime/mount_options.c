/* runtime/mount_options.c - the words in mounts[].options
 * SPDX-License-Identifier: Apache-2.0
 *
 * A word is an attribute of the one mount, of the tree below it too ("rro"), a
 * propagation, one of a few others, or data for the filesystem.  As with
 * mount(8), the last of two that contradict each other counts, and a bind mount
 * passes over what is the filesystem's: that is mounted already.
 */
#include "runtime/mount_options.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/config.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

static const struct attr_word {
	const char *word; /* with an 'r' before it: of the whole tree */
	uint64_t set, clear;
} attr_words[] = {
	{"ro", MOUNT_ATTR_RDONLY, 0},
	{"rw", 0, MOUNT_ATTR_RDONLY},
	{"nosuid", MOUNT_ATTR_NOSUID, 0},
	{"suid", 0, MOUNT_ATTR_NOSUID},
	{"nodev", MOUNT_ATTR_NODEV, 0},
	{"dev", 0, MOUNT_ATTR_NODEV},
	{"noexec", MOUNT_ATTR_NOEXEC, 0},
	{"exec", 0, MOUNT_ATTR_NOEXEC},
	{"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
	{"diratime", 0, MOUNT_ATTR_NODIRATIME},
	{"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
	/* One field of the kernel's with three values; relatime is zero. */
	{"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
	{"norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
	{"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
	{"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
	{"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
	{"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
};

static const struct {
	const char *word;
	uint64_t type;
} propagation_words[] = {
	{"shared", MS_SHARED},
	{"private", MS_PRIVATE},
	{"slave", MS_SLAVE},
	{"unbindable", MS_UNBINDABLE},
};

/* Known, and they change nothing: they are what is anyway. */
static const char *const plain_words[] = {"defaults", "async", "nolazytime", "noiversion",
					  "nomand",   "loud",  "silent"};

/* The filesystem's, of any kind: for `features`. */
static const char *const data_words[] = {"sync", "dirsync", "lazytime", "iversion", "mand"};

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(list[i], word))
			return true;
	return false;
}

static const struct attr_word *find_attr(const char *word)
{
	for (size_t i = 0; i < ARRAY_COUNT(attr_words); i++)
		if (str_eq(attr_words[i].word, word))
			return &attr_words[i];
	return NULL;
}

bool mount_propagation_find(const char *word, uint64_t *ret_type, bool *ret_recursive)
{
	bool recursive = word[0] == 'r';

	for (size_t i = 0; i < ARRAY_COUNT(propagation_words); i++)
		if (str_eq(propagation_words[i].word, word + recursive)) {
			*ret_type = propagation_words[i].type;
			*ret_recursive = recursive;
			return true;
		}
	return false;
}

static void apply_attr(struct mount_attrs *to, const struct attr_word *w)
{
	to->clear = (to->clear & ~w->set) | w->clear;
	to->set = (to->set & ~w->clear) | w->set;
}

static bool is_plain(const char *word)
{
	return is_one_of(word, plain_words, ARRAY_COUNT(plain_words));
}

bool mount_option_is_data(const char *word)
{
	uint64_t type;
	bool recursive;

	return !find_attr(word) && !(word[0] == 'r' && find_attr(word + 1)) &&
	       !mount_propagation_find(word, &type, &recursive) && !is_plain(word) &&
	       !str_eq(word, "bind") && !str_eq(word, "rbind") && !str_eq(word, "idmap") &&
	       !str_eq(word, "ridmap") && !str_eq(word, "tmpcopyup") && !str_eq(word, "remount");
}

/* Returns whether the word was one of ours. */
static bool take_word(const char *word, struct mount_options *o)
{
	const struct attr_word *attr;

	if ((attr = find_attr(word))) {
		apply_attr(&o->one, attr);
	} else if (word[0] == 'r' && (attr = find_attr(word + 1))) {
		apply_attr(&o->tree, attr);
	} else if (str_eq(word, "bind") || str_eq(word, "rbind")) {
		o->bind = true;
		o->recursive |= word[0] == 'r';
	} else if (str_eq(word, "tmpcopyup")) {
		o->copy_up = true;
	} else if (str_eq(word, "remount")) {
		o->remount = true;
	} else if (str_eq(word, "idmap") || str_eq(word, "ridmap")) {
		o->idmap = true;
		o->idmap_recursive |= word[0] == 'r';
	} else {
		return is_plain(word);
	}
	return true;
}

static int take_propagation(const char *word, struct mount_options *o, struct err *e)
{
	uint64_t type;
	bool recursive;

	if (!mount_propagation_find(word, &type, &recursive))
		return 0;
	if (o->propagation_count == MOUNT_PROPAGATIONS_MAX)
		return err_set(e, EINVAL, "options: more than %d propagations",
			       MOUNT_PROPAGATIONS_MAX);
	o->propagation[o->propagation_count].type = type;
	o->propagation[o->propagation_count++].recursive = recursive;
	return 1;
}

int mount_options_parse(const struct config_mount *m, struct mount_options *ret, struct err *e)
{
	struct mount_options o = {.bind = m->type && (str_eq(m->type, "bind"))};

	for (size_t i = 0; i < m->options.count; i++) {
		const char *word = m->options.items[i];
		int taken = take_propagation(word, &o, e);

		if (taken < 0)
			return taken;
		if (!taken)
			(void)take_word(word, &o); /* what is left is the filesystem's */
	}

	if (o.remount) {
		o.remount_one = o.bind;
		o.bind = false;
	}
	if (o.bind && (!m->source || !m->source[0]))
		return err_set(e, EINVAL, "source: missing");
	if (!o.bind && !o.remount && (!m->type || !m->type[0] || str_eq(m->type, "none")))
		return err_set(e, EINVAL, "type: missing, and it is not a bind mount");
	if (o.copy_up && (o.bind || o.remount || !str_eq(m->type, "tmpfs")))
		return err_set(e, EINVAL, "option 'tmpcopyup' is for tmpfs only");
	/* Mappings alone are meant, too: their word is there for older runtimes. */
	o.idmap |= m->uid_mappings.count || m->gid_mappings.count;
	if (o.idmap && !o.bind)
		return err_set(e, EINVAL, "id mappings are for bind mounts only");
	*ret = o;
	return 0;
}

static void add_pair(json_t *array, const char *word, bool with_r)
{
	char recursive[32];

	(void)json_array_append_new(array, json_string(word));
	if (!with_r)
		return;
	(void)snprintf(recursive, sizeof(recursive), "r%s", word);
	(void)json_array_append_new(array, json_string(recursive));
}

json_t *mount_option_names(void)
{
	json_t *array = json_array();

	for (size_t i = 0; i < ARRAY_COUNT(attr_words); i++)
		add_pair(array, attr_words[i].word, true);
	for (size_t i = 0; i < ARRAY_COUNT(propagation_words); i++)
		add_pair(array, propagation_words[i].word, true);
	for (size_t i = 0; i < ARRAY_COUNT(plain_words); i++)
		add_pair(array, plain_words[i], false);
	for (size_t i = 0; i < ARRAY_COUNT(data_words); i++)
		add_pair(array, data_words[i], false);
	add_pair(array, "bind", true);
	add_pair(array, "idmap", true);
	add_pair(array, "tmpcopyup", false);
	add_pair(array, "remount", false);
	return array;
}
