/* cmd/berth/images.c - images and pull
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define BAR_WIDTH 24

static const char *text(const json_t *doc, const char *member)
{
	const char *value = json_string_value(json_object_get(doc, member));

	return value ? value : "";
}

static char *size_of(int64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit + 1 < ARRAY_COUNT(units)) {
		value /= 1000;
		unit++;
	}
	return xasprintf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- images ---- */

static int images(struct context *c, const void *options, char **words, int count)
{
	static const char *const headers[] = {"IMAGE", "DIGEST", "SIZE", "PULLED"};
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers)};
	auto_json json_t *reply = NULL;
	struct err e = {0};
	json_t *image;
	size_t i;

	(void)options;
	(void)words;
	(void)count;
	if (client_call(c->client, CLIENT_BERTH, "ListImages", request_new(c), &reply, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON) {
		print_json(json_object_get(reply, "images"));
		return EXIT_OK;
	}
	json_array_foreach (json_object_get(reply, "images"), i, image) {
		table_add(&t,
			  xstrdup(*text(image, "reference") ? text(image, "reference") : "<none>"));
		table_add(&t, xasprintf("%.19s", text(image, "digest")));
		table_add(&t, size_of(json_integer_value(json_object_get(image, "size"))));
		table_add(&t, age_of(json_object_get(image, "pulledAt")));
	}
	table_print(&t);
	return EXIT_OK;
}

const struct command command_images = {
	.name = "images",
	.arguments = "",
	.summary = "List the images that a node holds.",
	.size = 1,
	.run = images,
};

/* ---- pull ---- */

struct progress {
	bool terminal;
	size_t lines; /* on the terminal, to be written over */
	json_t *told; /* phases that were told, by layer, where there is no terminal */
};

static void draw_layer(const json_t *layer)
{
	int64_t bytes = json_integer_value(json_object_get(layer, "bytes"));
	int64_t total = json_integer_value(json_object_get(layer, "totalBytes"));
	bool over = str_eq(text(layer, "phase"), "DONE") || str_eq(text(layer, "phase"), "EXISTS");
	int filled = over ? BAR_WIDTH : total > 0 ? (int)(bytes * BAR_WIDTH / total) : 0;
	auto_free char *done = size_of(over && total ? total : bytes);
	auto_free char *of = size_of(total);
	char bar[BAR_WIDTH + 1];

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
	bar[BAR_WIDTH] = '\0';
	(void)fprintf(stderr, "\033[2K%.12s [%s] %s / %s %s\n",
		      text(layer, "digest") + strlen("sha256:"), bar, done, of,
		      text(layer, "phase"));
}

static void show_progress(struct progress *p, const json_t *pull)
{
	json_t *layer;
	size_t i;

	if (p->terminal && p->lines)
		(void)fprintf(stderr, "\033[%zuA", p->lines);
	p->lines = 0;
	json_array_foreach (json_object_get(pull, "layers"), i, layer) {
		const char *digest = text(layer, "digest"), *phase = text(layer, "phase");

		if (p->terminal) {
			draw_layer(layer);
			p->lines++;
		} else if (*digest && !str_eq(text(p->told, digest), phase)) {
			(void)fprintf(stderr, "%.19s %s\n", digest, phase);
			(void)json_object_set_new(p->told, digest, json_string(phase));
		}
	}
}

static int follow_pull(struct context *c, const char *id, json_t **ret, struct err *e)
{
	auto_json json_t *told = json_object();
	struct progress p = {.terminal = isatty(STDERR_FILENO), .told = told};
	int64_t version = 0;

	for (;;) {
		auto_json json_t *pull = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "pullId", json_string(id));
		(void)json_object_set_new(request, "version", json_integer(version));
		if (client_call(c->client, CLIENT_BERTH, "DescribePull", request, &pull, e) < 0)
			return -e->code;
		show_progress(&p, pull);
		version = json_integer_value(json_object_get(pull, "version"));
		if (str_eq(text(pull, "status"), "FAILED"))
			return err_set(e, EREMOTEIO, "%s: %s", text(pull, "image"),
				       text(pull, "reason"));
		if (str_eq(text(pull, "status"), "DONE")) {
			*ret = json_incref(pull);
			return 0;
		}
	}
}

/* Pull it and wait; *ret describes the pull. */
static int pull_whole(struct context *c, const char *image, json_t **ret, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(image));
	if (client_call(c->client, CLIENT_BERTH, "PullImage", request, &reply, e) < 0)
		return -e->code;
	return follow_pull(c, text(reply, "pullId"), ret, e);
}

static int pull(struct context *c, const void *options, char **words, int count)
{
	auto_json json_t *done = NULL;
	struct err e = {0};

	(void)options;
	(void)count;
	if (pull_whole(c, words[0], &done, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON)
		print_json(done);
	else
		(void)printf("%s\n", text(done, "imageDigest"));
	return EXIT_OK;
}

const struct command command_pull = {
	.name = "pull",
	.arguments = "IMAGE",
	.summary = "Pull an image to a node.",
	.size = 1,
	.min_words = 1,
	.max_words = 1,
	.run = pull,
};

/* ---- image fsck ---- */

/*
 * The store is on this host, so berth-worker is started here: it holds the
 * store's lock while it reads, and the daemon's pulls wait for it.
 */
static int start_fsck(const struct context *c, int *ret_fd, int *ret_pidfd, struct err *e)
{
	auto_free char *store = xasprintf("%s/var/lib/berth/images",
					  str_eq(c->root, "/") ? "" : c->root);
	char dir[PATH_MAX], program[PATH_MAX + 16];
	auto_close int read_fd = -1, write_fd = -1;
	int fds[2];
	pid_t pid;

	if (access(store, X_OK) < 0)
		return err_sys(e, "image store %s", store);
	if (proc_self_dir(dir, sizeof(dir), e) < 0)
		return -e->code;
	(void)snprintf(program, sizeof(program), "%s/berth-worker", dir);
	if (access(program, X_OK) < 0)
		(void)snprintf(program, sizeof(program), BERTH_LIBEXECDIR "/berth-worker");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	read_fd = fds[0];
	write_fd = fds[1];

	char *const argv[] = {(char[]){"berth-worker"}, (char[]){"fsck"}, store, NULL};
	const struct proc_fd passed[] = {{write_fd, STDOUT_FILENO}, {STDERR_FILENO, STDERR_FILENO}};
	const struct proc_spawn spawn = {
		.path = program, .argv = argv, .fds = passed, .fd_count = ARRAY_COUNT(passed)};

	if (proc_spawn(&spawn, &pid, ret_pidfd, e) < 0)
		return -e->code;
	*ret_fd = take_fd(read_fd);
	return 0;
}

/* Show what was found; the images that are to be pulled. */
static json_t *read_findings(int own_fd, bool *ret_failed)
{
	auto_fclose FILE *in = fdopen(own_fd, "r");
	auto_free char *line = NULL;
	json_t *wanted = json_array();
	size_t size = 0;

	while (in && getline(&line, &size, in) > 0) {
		line[strcspn(line, "\n")] = '\0';
		*ret_failed |= str_starts(line, "error ");
		if (str_starts(line, "pull "))
			(void)json_array_append_new(wanted, json_string(line + strlen("pull ")));
		else
			(void)printf("%s\n", line);
	}
	(void)fflush(stdout);
	return wanted;
}

static int fsck(struct context *c, struct err *e)
{
	auto_close int pidfd = -1;
	auto_json json_t *wanted = NULL;
	bool failed = false;
	json_t *name;
	int fd, status = 0;
	size_t i;

	if (start_fsck(c, &fd, &pidfd, e) < 0)
		return -e->code;
	wanted = read_findings(fd, &failed);
	if (proc_wait(pidfd, &status, e) < 0)
		return -e->code;
	if (failed || status > 1)
		return err_set(e, EIO, "the image store could not be checked to its end");
	json_array_foreach (wanted, i, name) {
		auto_json json_t *done = NULL;

		if (pull_whole(c, json_string_value(name), &done, e) < 0)
			return -e->code;
		(void)printf("pulled %s\n", json_string_value(name));
	}
	return 0;
}

static int image(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	(void)options;
	(void)count;
	if (!str_eq(words[0], "fsck"))
		return fail_usage("image %s: only fsck is there", words[0]);
	if (c->endpoint)
		return fail_usage(
			"image fsck: it looks at the store of this host, not of an endpoint");
	return fsck(c, &e) < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_image = {
	.name = "image",
	.arguments = "fsck",
	.summary = "Check all layers that this host holds, and pull again what is damaged.",
	.size = 1,
	.min_words = 1,
	.max_words = 1,
	.run = image,
};
