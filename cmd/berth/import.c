/* cmd/berth/import.c - image import: the tree of a tar becomes an image of one layer
 * SPDX-License-Identifier: Apache-2.0
 *
 * The tar is laid into a directory together with a configuration, as docker save would
 * have it, and that is loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/text.h"
#include "cmd/berth/archive.h"

#define PIECE_SIZE   (256 << 10)
#define CHANGE_DEPTH 4
#define TIME_SIZE    32

struct import_options {
	struct strings changes;
	const char *message;
	bool quiet;
};

static const struct option_row import_rows[] = {
	{"change", 'c', OPTION_LIST, offsetof(struct import_options, changes), "INSTRUCTION",
	 "CMD, ENTRYPOINT (JSON arrays), ENV K=V, LABEL K=V, WORKDIR, USER, STOPSIGNAL, EXPOSE"},
	{"message", 'm', OPTION_STRING, offsetof(struct import_options, message), "TEXT",
	 "a comment for the history"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct import_options, quiet), NULL,
	 "do not tell of layers"},
};

/* ---- instructions ---- */

static int set_list(json_t *config, const char *member, const char *value, struct err *e)
{
	json_t *list = NULL;

	if (js_parse(value, strlen(value), CHANGE_DEPTH, &list, e) < 0)
		return -e->code;
	if (!json_is_array(list)) {
		json_decref(list);
		return err_set(e, EINVAL, "'%.100s' is not a JSON array of words", value);
	}
	return json_object_set_new(config, member, list);
}

static int set_text(json_t *config, const char *member, const char *value, struct err *e)
{
	(void)e;
	return json_object_set_new(config, member, json_string(value));
}

static int add_env(json_t *config, const char *member, const char *value, struct err *e)
{
	json_t *list = json_object_get(config, member);

	if (!strchr(value, '='))
		return err_set(e, EINVAL, "'%.100s' is not NAME=VALUE", value);
	if (!list) {
		list = json_array();
		(void)json_object_set_new(config, member, list);
	}
	return json_array_append_new(list, json_string(value));
}

static int add_key(json_t *config, const char *member, const char *key, json_t *own_value)
{
	json_t *map = json_object_get(config, member);

	if (!map) {
		map = json_object();
		(void)json_object_set_new(config, member, map);
	}
	return json_object_set_new(map, key, own_value);
}

static int add_label(json_t *config, const char *member, const char *value, struct err *e)
{
	const char *equals = strchr(value, '=');
	auto_free char *key = equals ? xstrndup(value, (size_t)(equals - value)) : NULL;

	if (!equals)
		return err_set(e, EINVAL, "'%.100s' is not NAME=VALUE", value);
	return add_key(config, member, key, json_string(equals + 1));
}

static int add_port(json_t *config, const char *member, const char *value, struct err *e)
{
	auto_free char *port = strchr(value, '/') ? xstrdup(value) : xasprintf("%s/tcp", value);

	(void)e;
	return add_key(config, member, port, json_object());
}

static const struct {
	const char *word, *member;
	int (*apply)(json_t *config, const char *member, const char *value, struct err *e);
} instructions[] = {
	{"CMD", "Cmd", set_list},
	{"ENTRYPOINT", "Entrypoint", set_list},
	{"ENV", "Env", add_env},
	{"LABEL", "Labels", add_label},
	{"WORKDIR", "WorkingDir", set_text},
	{"USER", "User", set_text},
	{"STOPSIGNAL", "StopSignal", set_text},
	{"EXPOSE", "ExposedPorts", add_port},
};

static int apply(json_t *config, const char *change, struct err *e)
{
	size_t len = strcspn(change, " ");
	const char *value = change + len + strspn(change + len, " ");

	for (size_t i = 0; i < ARRAY_COUNT(instructions); i++)
		if (strlen(instructions[i].word) == len &&
		    strncasecmp(instructions[i].word, change, len) == 0 && *value)
			return instructions[i].apply(config, instructions[i].member, value, e);
	return err_set(e, EINVAL, "--change '%.100s' is none of the instructions that there are",
		       change);
}

/* ---- the configuration ---- */

/* What Go, and so images, call this machine. */
static const char *architecture(const struct utsname *u)
{
	return str_eq(u->machine, "x86_64")    ? "amd64"
	       : str_eq(u->machine, "aarch64") ? "arm64"
					       : u->machine;
}

static int make_config(const struct import_options *o, const char *hex, json_t **ret, struct err *e)
{
	auto_json json_t *config = json_object();
	auto_free char *diff_id = xasprintf("sha256:%s", hex);
	const char *message = o->message ? o->message : "imported";
	time_t now = time(NULL);
	char created[TIME_SIZE];
	struct utsname u;
	struct tm tm;

	for (size_t i = 0; i < o->changes.count; i++)
		if (apply(config, o->changes.items[i], e) < 0)
			return -e->code;
	(void)uname(&u);
	(void)gmtime_r(&now, &tm);
	(void)strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
	*ret = json_pack("{s:s, s:s, s:s, s:O, s:{s:s, s:[s]}, s:[{s:s, s:s}]}", "os", "linux",
			 "architecture", architecture(&u), "created", created, "config", config,
			 "rootfs", "type", "layers", "diff_ids", diff_id, "history", "created",
			 created, "comment", message);
	return *ret ? 0 : err_set(e, EINVAL, "a word is not UTF-8");
}

/* ---- the directory ---- */

static int write_json(int dir_fd, const char *name, const json_t *doc, struct err *e)
{
	auto_free char *text = json_dumps(doc, JSON_COMPACT);

	return fs_write(dir_fd, name, text, strlen(text), 0644, e);
}

/* A copy, hashed on the way: the layer must stay what it is while it is loaded. */
static int copy_layer(int in_fd, int dir_fd, char hex[SHA256_HEX], struct err *e)
{
	auto_close int fd = openat(dir_fd, "layer.tar", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				   0600);
	auto_free char *piece = xcalloc(1, PIECE_SIZE);
	struct sha256 *hash;
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return err_sys(e, "create layer.tar");
	hash = sha256_new();
	while (r == 0 && (n = read_all(in_fd, piece, PIECE_SIZE)) > 0) {
		sha256_add(hash, piece, (size_t)n);
		r = write_all(fd, piece, (size_t)n);
	}
	sha256_hex(hash, hex);
	sha256_free(hash);
	if (r == 0 && n < 0)
		r = (int)n;
	if (r == 0)
		return 0;
	errno = -r;
	return err_sys(e, "copy the tar");
}

static int fill(int dir_fd, int in_fd, const struct import_options *o, struct err *e)
{
	auto_json json_t *list = json_pack("[{s:s, s:n, s:[s]}]", "Config", "config.json",
					   "RepoTags", "Layers", "layer.tar");
	auto_json json_t *config = NULL;
	char hex[SHA256_HEX];

	if (copy_layer(in_fd, dir_fd, hex, e) < 0 || make_config(o, hex, &config, e) < 0 ||
	    write_json(dir_fd, "config.json", config, e) < 0)
		return -e->code;
	return write_json(dir_fd, "manifest.json", list, e);
}

static int import_from(struct context *c, int in_fd, const struct import_options *o,
		       const char *name, struct err *e)
{
	auto_free char *dir = xasprintf("%s/var/lib/berth/import-XXXXXX",
					str_eq(c->root, "/") ? "" : c->root);
	auto_close int dir_fd = -1;
	struct err ignored;
	int r;

	if (!mkdtemp(dir))
		return err_sys(e, "make a directory like %s", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir_fd < 0 ? err_sys(e, "open %s", dir) : fill(dir_fd, in_fd, o, e);
	if (r == 0)
		r = archive_load(c, dir_fd, name, NULL, o->quiet, e);
	(void)fs_remove_tree(AT_FDCWD, dir, &ignored);
	return r;
}

static int import(struct context *c, const void *options, char **words, int count)
{
	const struct import_options *o = options;
	auto_close int fd = -1;
	struct err e = {0};

	(void)count;
	if (local_refused(c, "image import"))
		return EXIT_USAGE;
	if (archive_open(c, words[0], &fd, &e) == 0)
		(void)import_from(c, fd, o, words[1], &e);
	return e.code ? fail(&e) : EXIT_OK;
}

const struct command command_image_import = {
	.name = "image import",
	.arguments = "[OPTIONS] TAR|- NAME",
	.summary = "Make an image of one layer of a tar, packed or not, with a tree.",
	.options = import_rows,
	.option_count = ARRAY_COUNT(import_rows),
	.size = sizeof(struct import_options),
	.min_words = 2,
	.max_words = 2,
	.run = import,
};
