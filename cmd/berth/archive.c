/* cmd/berth/archive.c - image save, load: images of this host's store as archives
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "cmd/berth/archive.h"
#include "cmd/berth/pull.h"

#define ARCHIVE_FD 3 /* as the roles of berth-worker want it */

/* ---- what the worker says ---- */

/* "error 2 sentence", or "error sentence": *e.  Other lines go to on_line. */
static int hear(int own_fd, int own_pidfd, void (*on_line)(const char *line, void *ctx), void *ctx,
		struct err *e)
{
	auto_fclose FILE *in = fdopen(own_fd, "r");
	auto_close int pidfd = own_pidfd;
	auto_free char *line = NULL;
	size_t size = 0;
	int status = 0;

	e->code = 0;
	while (in && getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (str_starts(line, "error ")) {
			char *rest = line + strlen("error ");
			long code = strtol(rest, &rest, 10);

			(void)err_set(e, code > 0 ? (int)code : EIO, "%s", rest + (*rest == ' '));
		} else if (on_line) {
			on_line(line, ctx);
		}
	}
	if (proc_wait(pidfd, &status, e) < 0 || e->code)
		return -e->code;
	return status ? err_set(e, EIO, "berth-worker ended with %d", status) : 0;
}

/* ---- image save ---- */

struct save_options {
	const char *output, *format;
	bool uncompressed, quiet;
};

static const struct option_row save_rows[] = {
	{"output", 'o', OPTION_STRING, offsetof(struct save_options, output), "PATH",
	 "a file, or for oci-dir a directory to make (default: standard output)"},
	{"format", 0, OPTION_STRING, offsetof(struct save_options, format),
	 "docker-archive|oci-archive|oci-dir", "default: docker-archive"},
	{"uncompressed", 0, OPTION_FLAG, offsetof(struct save_options, uncompressed), NULL,
	 "OCI: layers as plain tars, under a manifest of their own: nothing is fetched"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct save_options, quiet), NULL,
	 "do not tell of layers that are fetched"},
};

/* What is written; a file gets its name when all of it is there. */
struct target {
	const char *path; /* NULL: standard output */
	char *temporary;  /* NULL: a directory, or standard output */
	bool made;        /* the directory is ours */
	int fd;
};

static int open_target(const char *path, bool is_directory, struct target *ret, struct err *e)
{
	*ret = (struct target){.path = path, .fd = -1};
	if (!path && is_directory)
		return err_set(e, EINVAL, "a directory to make has to be named: --output PATH");
	if (!path && isatty(STDOUT_FILENO))
		return err_set(e, EINVAL, "an archive is nothing for a terminal: --output PATH");
	if (!path) {
		ret->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, ARCHIVE_FD);
		return ret->fd < 0 ? err_sys(e, "standard output") : 0;
	}
	if (is_directory) {
		if (mkdir(path, 0755) < 0)
			return err_sys(e, "make %s", path);
		ret->made = true;
		ret->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		return ret->fd < 0 ? err_sys(e, "open %s", path) : 0;
	}
	ret->temporary = xasprintf("%s.berth-tmp", path);
	ret->fd = open(ret->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return ret->fd < 0 ? err_sys(e, "create %s", ret->temporary) : 0;
}

/* Nothing that is not whole stays. */
static int close_target(struct target *o, int result, struct err *e)
{
	struct err ignored;

	close_fd(&o->fd);
	if (result == 0 && o->temporary && rename(o->temporary, o->path) < 0)
		result = err_sys(e, "rename %s", o->temporary);
	if (result < 0 && o->temporary)
		(void)unlink(o->temporary);
	else if (result < 0 && o->made)
		(void)fs_remove_tree(AT_FDCWD, o->path, &ignored);
	free(o->temporary);
	return result;
}

/* "lacks PLATFORM NAME..." */
static void note_lacking(const char *line, void *ctx)
{
	json_t *lacking = ctx;

	if (str_starts(line, "lacks "))
		(void)json_array_append_new(lacking, json_string(line + strlen("lacks ")));
}

static int save_once(struct context *c, char *const *words, int out_fd, json_t *lacking,
		     struct err *e)
{
	const struct proc_fd fds[] = {{out_fd, ARCHIVE_FD}};
	int fd, pidfd;

	if (local_start(c, words, fds, ARRAY_COUNT(fds), &fd, &pidfd, e) < 0)
		return -e->code;
	return hear(fd, pidfd, note_lacking, lacking, e);
}

static int save_all(struct context *c, char *const *words, int out_fd, const struct save_options *o,
		    struct err *e)
{
	int r = -1;

	for (int round = 0; r < 0 && round < PULL_LENDS_MAX; round++) {
		auto_json json_t *lacking = json_array();
		struct err why = {0};
		json_t *what;
		size_t i;

		r = save_once(c, words, out_fd, lacking, e);
		json_array_foreach (lacking, i, what)
			if (pull_lend(c, json_string_value(what),
				      o->quiet ? PROGRESS_NONE : PROGRESS_AUTO, &why) < 0) {
				(void)fail(&why);
				return err_wrap(e,
						"it cannot be fetched; --uncompressed saves plain "
						"tars under another digest");
			}
		if (!i)
			break;
	}
	return r;
}

static int run_save(struct context *c, char *const *words, const struct save_options *o,
		    struct err *e)
{
	struct target out;
	int r = open_target(o->output, str_eq(o->format, "oci-dir"), &out, e);

	if (r == 0)
		r = save_all(c, words, out.fd, o, e);
	return close_target(&out, r, e);
}

static int save(struct context *c, const void *options, char **images, int count)
{
	static const char *const formats[] = {"docker-archive", "oci-archive", "oci-dir"};
	struct save_options o = *(const struct save_options *)options;
	auto_free char **words = xcalloc((size_t)count + 4, sizeof(*words));
	bool known = false;
	struct err e = {0};

	if (!o.format)
		o.format = formats[0];
	for (size_t i = 0; i < ARRAY_COUNT(formats); i++)
		known |= str_eq(o.format, formats[i]);
	if (!known)
		return fail_usage("--format '%s' is none of docker-archive, oci-archive, oci-dir",
				  o.format);
	if (o.uncompressed && str_eq(o.format, formats[0]))
		return fail_usage("--uncompressed is for OCI layouts: a docker-archive is always");
	if (local_refused(c, "image save"))
		return EXIT_USAGE;
	words[0] = (char[]){"save"};
	words[1] = (char *)(uintptr_t)o.format;
	words[2] = (char *)(uintptr_t)(o.uncompressed ? "uncompressed" : "as-is");
	memcpy(words + 3, images, (size_t)count * sizeof(*words));
	return run_save(c, words, &o, &e) < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_image_save = {
	.name = "image save",
	.arguments = "[OPTIONS] IMAGE...",
	.summary =
		"Write images of this host to an archive. An OCI layout is bit for bit what was pulled:\n"
		"layers that are not kept as the registry packed them are fetched again, and not kept.",
	.options = save_rows,
	.option_count = ARRAY_COUNT(save_rows),
	.size = sizeof(struct save_options),
	.min_words = 1,
	.max_words = -1,
	.run = save,
};

/* ---- image load ---- */

struct load_options {
	const char *input, *name, *platform;
	bool all_platforms, quiet;
};

static const struct option_row load_rows[] = {
	{"input", 'i', OPTION_STRING, offsetof(struct load_options, input), "PATH",
	 "a tar, packed or not, or the directory of an OCI layout (default: a tar on standard input)"},
	{"name", 0, OPTION_STRING, offsetof(struct load_options, name), "NAME",
	 "load the first image only, under this name"},
	{"platform", 0, OPTION_STRING, offsetof(struct load_options, platform), "OS/ARCH",
	 "of an image for several (default: this machine's)"},
	{"all-platforms", 0, OPTION_FLAG, offsetof(struct load_options, all_platforms), NULL,
	 "those of other platforms, too, by their digests: to push them"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct load_options, quiet), NULL,
	 "do not tell of layers"},
};

static bool is_packed(int fd)
{
	static const struct {
		unsigned char magic[6];
		size_t size;
	} packings[] = {{{0x1f, 0x8b}, 2},
			{{0x28, 0xb5, 0x2f, 0xfd}, 4},
			{{'B', 'Z', 'h'}, 3},
			{{0xfd, '7', 'z', 'X', 'Z', 0}, 6}};
	unsigned char first[6] = {0};

	if (pread(fd, first, sizeof(first), 0) < 0)
		return false; /* who reads on will hear why */
	for (size_t i = 0; i < ARRAY_COUNT(packings); i++)
		if (memcmp(first, packings[i].magic, packings[i].size) == 0)
			return true;
	return false;
}

/* What comes through a pipe cannot be read at any place, nor can what is packed. */
static int spool(const struct context *c, int in_fd, int *ret_fd, struct err *e)
{
	auto_free char *dir = xasprintf("%s/var/lib/berth", str_eq(c->root, "/") ? "" : c->root);
	auto_close int out_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char *const words[] = {(char[]){"inflate"}, NULL};
	const struct proc_fd fds[] = {{in_fd, ARCHIVE_FD}, {out_fd, ARCHIVE_FD + 1}};
	int fd, pidfd;

	if (out_fd < 0)
		return err_sys(e, "temporary file in %s", dir);
	if (local_start(c, words, fds, ARRAY_COUNT(fds), &fd, &pidfd, e) < 0 ||
	    hear(fd, pidfd, NULL, NULL, e) < 0)
		return -e->code;
	if (lseek(out_fd, 0, SEEK_SET) < 0)
		return err_sys(e, "rewind");
	*ret_fd = take_fd(out_fd);
	return 0;
}

int archive_open(const struct context *c, const char *path, int *ret_fd, struct err *e)
{
	auto_close int fd = path && !str_eq(path, "-")
				    ? open(path, O_RDONLY | O_CLOEXEC)
				    : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, ARCHIVE_FD);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, "open %s", path ? path : "standard input");
	if (!S_ISDIR(st.st_mode) && (!S_ISREG(st.st_mode) || is_packed(fd)))
		return spool(c, fd, ret_fd, e);
	*ret_fd = take_fd(fd);
	return 0;
}

static void tell_loaded(const char *line, void *ctx)
{
	const bool *quiet = ctx;
	const char *name;

	if (str_starts(line, "loaded ")) {
		name = strrchr(line, ' ') + 1;
		if (strcmp(name, "-") != 0)
			(void)printf("Loaded image: %s\n", name);
		else
			(void)printf("Loaded image ID: %.*s\n", (int)(name - 1 - (line + 7)),
				     line + 7);
	} else if (!*quiet) {
		(void)fprintf(stderr, "%s\n", line);
	}
}

int archive_load(struct context *c, int archive_fd, const char *name, const char *platform,
		 bool quiet, struct err *e)
{
	char *const words[] = {(char[]){"load"}, (char *)(uintptr_t)(name ? name : "-"),
			       (char *)(uintptr_t)(platform ? platform : "-"), NULL};
	const struct proc_fd fds[] = {{archive_fd, ARCHIVE_FD}};
	int fd, pidfd;

	if (local_start(c, words, fds, 1, &fd, &pidfd, e) < 0)
		return -e->code;
	return hear(fd, pidfd, tell_loaded, &quiet, e);
}

static int load(struct context *c, const void *options, char **unused, int count)
{
	const struct load_options *o = options;
	auto_close int archive_fd = -1;
	struct err e = {0};

	(void)unused;
	(void)count;
	if (o->all_platforms && o->platform)
		return fail_usage("--platform and --all-platforms exclude each other");
	if (local_refused(c, "image load"))
		return EXIT_USAGE;
	if (archive_open(c, o->input, &archive_fd, &e) < 0 ||
	    archive_load(c, archive_fd, o->name, o->all_platforms ? "all" : o->platform, o->quiet,
			 &e) < 0)
		return fail(&e);
	return EXIT_OK;
}

const struct command command_image_load = {
	.name = "image load",
	.arguments = "[OPTIONS]",
	.summary = "Take images from an archive (OCI layout, docker save) to this host's store.",
	.options = load_rows,
	.option_count = ARRAY_COUNT(load_rows),
	.size = sizeof(struct load_options),
	.run = load,
};
