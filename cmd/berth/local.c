/* cmd/berth/local.c - what is done to the image store of this host, by berth-worker
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth/local.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/text.h"

#define WORDS_MAX 1024
#define FDS_MAX   8

bool local_refused(const struct context *c, const char *what)
{
	if (!c->endpoint)
		return false;
	(void)fail_usage("%s: it works on the store of this host, not of an endpoint", what);
	return true;
}

static int find_worker(const char *role, char ret[PATH_MAX + 16], struct err *e)
{
	const bool packs = str_eq(role, "inflate") || str_eq(role, "save");
	const char *name = packs ? "berth-reader" : "berth-worker";
	char dir[PATH_MAX];

	if (proc_self_dir(dir, sizeof(dir), e) < 0)
		return -e->code;
	(void)snprintf(ret, PATH_MAX + 16, "%s/%s", dir, name);
	if (access(ret, X_OK) < 0)
		(void)snprintf(ret, PATH_MAX + 16, BERTH_LIBEXECDIR "/%s", name);
	return 0;
}

int local_start(const struct context *c, char *const *words, const struct proc_fd *fds,
		size_t fd_count, int *ret_fd, int *ret_pidfd, struct err *e)
{
	auto_free char *store = xasprintf("%s/var/lib/berth/images",
					  str_eq(c->root, "/") ? "" : c->root);
	auto_close int read_fd = -1, write_fd = -1;
	struct proc_fd passed[FDS_MAX + 2] = {{STDERR_FILENO, STDERR_FILENO}};
	char *argv[WORDS_MAX + 4] = {(char[]){"berth-worker"}, words[0], store};
	char program[PATH_MAX + 16];
	struct proc_spawn spawn = {.path = program, .argv = argv, .envp = environ, .fds = passed};
	size_t count = 0;
	int pipe_fds[2];
	pid_t pid;

	while (words[++count])
		if (count < WORDS_MAX)
			argv[count + 2] = words[count];
	if (count >= WORDS_MAX || fd_count > FDS_MAX)
		return err_set(e, E2BIG, "more than %d words", WORDS_MAX);
	if (access(store, X_OK) < 0)
		return err_sys(e, "image store %s", store);
	if (find_worker(words[0], program, e) < 0)
		return -e->code;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	read_fd = pipe_fds[0];
	write_fd = pipe_fds[1];
	passed[1] = (struct proc_fd){write_fd, STDOUT_FILENO};
	for (size_t i = 0; i < fd_count; i++)
		passed[i + 2] = fds[i];
	spawn.fd_count = fd_count + 2;
	if (proc_spawn(&spawn, &pid, ret_pidfd, e) < 0)
		return -e->code;
	*ret_fd = take_fd(read_fd);
	return 0;
}
