/* tests/unit/runtime/mount_options.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <sys/mount.h>

#include "base/auto.h"
#include "base/mem.h"
#include "runtime/config.h"
#include "runtime/mount_options.h"

#define WORDS_MAX 8

/* 'words' is split at blanks. */
static int parse(const char *type, const char *source, const char *words, struct mount_options *ret,
		 struct err *e)
{
	auto_arena struct arena a = {0};
	struct config_mount m = {.destination = arena_strdup(&a, "/x"),
				 .type = type ? arena_strdup(&a, type) : NULL,
				 .source = source ? arena_strdup(&a, source) : NULL};
	char *items[WORDS_MAX], *save = NULL, *copy = arena_strdup(&a, words);

	m.options.items = items;
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		items[m.options.count++] = w;
	return mount_options_parse(&m, ret, e);
}

static void words_become_attributes(void **state)
{
	static const struct {
		const char *words;
		struct mount_attrs one, tree;
	} rows[] = {
		{"", {0, 0}, {0, 0}},
		{"ro nosuid nodev noexec",
		 {MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0},
		 {0, 0}},
		{"rw", {0, MOUNT_ATTR_RDONLY}, {0, 0}},
		{"ro rw", {0, MOUNT_ATTR_RDONLY}, {0, 0}},
		{"rw ro", {MOUNT_ATTR_RDONLY, 0}, {0, 0}},
		{"noexec exec suid", {0, MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID}, {0, 0}},
		{"rro rnodev", {0, 0}, {MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0}},
		{"ro rrw", {MOUNT_ATTR_RDONLY, 0}, {0, MOUNT_ATTR_RDONLY}},
		{"noatime", {MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME}, {0, 0}},
		{"strictatime", {MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME}, {0, 0}},
		{"relatime", {0, MOUNT_ATTR__ATIME}, {0, 0}},
		{"nodiratime nosymfollow", {MOUNT_ATTR_NODIRATIME | 0x200000, 0}, {0, 0}},
		{"rnoatime", {0, 0}, {MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME}},
		{"defaults async loud", {0, 0}, {0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct mount_options o;
		struct err e = {0};

		assert_ok(parse("tmpfs", "tmpfs", rows[i].words, &o, &e));
		assert_int_equal(o.one.set, rows[i].one.set);
		assert_int_equal(o.one.clear, rows[i].one.clear);
		assert_int_equal(o.tree.set, rows[i].tree.set);
		assert_int_equal(o.tree.clear, rows[i].tree.clear);
		assert_false(o.bind);
	}
}

/* The kernel refuses to set an access time without clearing the field first. */
static void a_later_access_time_replaces_an_earlier_one(void **state)
{
	struct mount_options o;
	struct err e = {0};

	(void)state;
	assert_ok(parse("tmpfs", "x", "noatime strictatime", &o, &e));
	assert_int_equal(o.one.set & MOUNT_ATTR__ATIME, MOUNT_ATTR_STRICTATIME);
	assert_ok(parse("tmpfs", "x", "strictatime relatime", &o, &e));
	assert_int_equal(o.one.set & MOUNT_ATTR__ATIME, 0);
	assert_int_equal(o.one.clear & MOUNT_ATTR__ATIME, MOUNT_ATTR__ATIME);
}

static void binds_and_propagations_are_told_apart(void **state)
{
	struct mount_options o;
	struct err e = {0};

	(void)state;
	assert_ok(parse(NULL, "/s", "rbind rslave shared", &o, &e));
	assert_true(o.bind);
	assert_true(o.recursive);
	assert_int_equal(o.propagation_count, 2);
	assert_int_equal(o.propagation[0].type, MS_SLAVE);
	assert_true(o.propagation[0].recursive);
	assert_int_equal(o.propagation[1].type, MS_SHARED);
	assert_false(o.propagation[1].recursive);
	assert_ok(parse("bind", "/s", "ro size=1k sync", &o, &e));
	assert_true(o.bind);
	assert_false(o.recursive);
	assert_ok(parse("none", "/s", "bind", &o, &e));
	assert_true(o.bind);
	assert_false(o.idmap);
	assert_ok(parse(NULL, "/s", "bind idmap", &o, &e));
	assert_true(o.idmap && !o.idmap_recursive);
	assert_ok(parse(NULL, "/s", "rbind ridmap ro", &o, &e));
	assert_true(o.idmap && o.idmap_recursive);
	assert_ok(parse("tmpfs", "", "tmpcopyup", &o, &e));
	assert_true(o.copy_up);
}

static void what_has_no_meaning_is_refused_by_its_word(void **state)
{
	static const struct {
		const char *type, *source, *words, *says;
	} rows[] = {
		{NULL, NULL, "bind", "source: missing"},
		{NULL, "", "rbind", "source: missing"},
		{NULL, "/s", "ro", "type: missing"},
		{"none", "/s", "ro", "type: missing"},
		{"tmpfs", "x", "remount tmpcopyup", "'tmpcopyup' is for tmpfs only"},
		{"tmpfs", "x", "idmap", "for bind mounts only"},
		{"proc", "x", "tmpcopyup", "for tmpfs only"},
		{"bind", "/s", "tmpcopyup", "for tmpfs only"},
		{"tmpfs", "x", "shared private slave rslave rshared", "more than 4"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct mount_options o;
		struct err e = {0};

		assert_true(parse(rows[i].type, rows[i].source, rows[i].words, &o, &e) < 0);
		assert_says(rows[i].says);
	}
}

static void what_is_left_is_the_filesystems(void **state)
{
	static const char *const data[] = {"size=64k", "mode=755",  "gid=5",
					   "sync",     "hidepid=2", "x"};
	static const char *const ours[] = {"ro",        "rro",         "rprivate", "bind",
					   "rbind",     "noexec",      "rshared",  "defaults",
					   "tmpcopyup", "rstrictatime"};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(data); i++)
		assert_true(mount_option_is_data(data[i]));
	for (size_t i = 0; i < ARRAY_COUNT(ours); i++)
		assert_false(mount_option_is_data(ours[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_become_attributes),
		cmocka_unit_test(a_later_access_time_replaces_an_earlier_one),
		cmocka_unit_test(binds_and_propagations_are_told_apart),
		cmocka_unit_test(what_has_no_meaning_is_refused_by_its_word),
		cmocka_unit_test(what_is_left_is_the_filesystems),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
