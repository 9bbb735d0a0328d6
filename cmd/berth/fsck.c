/* cmd/berth/fsck.c - image fsck: does the store still hold what it was given?
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
#include "cmd/berth/pull.h"

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

static int check(struct context *c, struct err *e)
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

		if (pull_whole(c, json_string_value(name), PROGRESS_AUTO, &done, e) < 0)
			return -e->code;
		(void)printf("pulled %s\n", json_string_value(name));
	}
	return 0;
}

static int fsck(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	(void)options;
	(void)words;
	(void)count;
	if (c->endpoint)
		return fail_usage(
			"image fsck: it looks at the store of this host, not of an endpoint");
	return check(c, &e) < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_image_fsck = {
	.name = "image fsck",
	.arguments = "",
	.summary = "Check all layers that this host holds, and pull again what is damaged.",
	.size = 1,
	.run = fsck,
};
