/* runtime/tool.c - programs of the host that do what we leave to them
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/tool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"

#define OUTPUT_SHOWN 300 /* bytes at the end */

bool tool_find(const char *name, char ret[PATH_MAX])
{
	const char *path = getenv("PATH");

	for (path = path ? path : "/usr/sbin:/usr/bin:/sbin:/bin"; *path;) {
		size_t len = strcspn(path, ":");

		if (path[0] == '/' &&
		    snprintf(ret, PATH_MAX, "%.*s/%s", (int)len, path, name) < PATH_MAX &&
		    access(ret, X_OK) == 0)
			return true;
		path += len + (path[len] == ':');
	}
	return false;
}

static void read_tail(int fd, char out[OUTPUT_SHOWN + 1])
{
	off_t end = lseek(fd, 0, SEEK_END), from = end > OUTPUT_SHOWN ? end - OUTPUT_SHOWN : 0;
	ssize_t n = pread(fd, out, OUTPUT_SHOWN, from);

	n = n < 0 ? 0 : n;
	while (n && (out[n - 1] == '\n' || out[n - 1] == ' '))
		n--;
	out[n] = '\0';
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

static int wait_for(const char *name, int pidfd, int timeout_ms, int *ret_status, struct err *e)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r == 0) {
		(void)proc_pidfd_kill(pidfd, SIGKILL);
		(void)proc_wait(pidfd, ret_status, e);
		return err_set(e, ETIMEDOUT, "%s: still running after %d s", name,
			       timeout_ms / 1000);
	}
	return proc_wait(pidfd, ret_status, e);
}

int tool_end(const char *name, int pidfd, int timeout_ms, int out_fd, struct err *e)
{
	char tail[OUTPUT_SHOWN + 1] = "";
	int status = -1;

	if (wait_for(name, pidfd, timeout_ms, &status, e) < 0)
		return -e->code;
	if (status == 0)
		return 0;
	if (out_fd >= 0)
		read_tail(out_fd, tail);
	return err_set(e, ECANCELED, "%s: exit status %d%s%s", name, status, *tail ? ": " : "",
		       tail);
}

static int run(char *const argv[], int timeout_ms, const char *what, int out,
	       const struct proc_fd *fds, size_t fd_count, struct err *e)
{
	auto_close int pidfd = -1;
	char path[PATH_MAX];
	struct proc_spawn s = {
		.path = path, .argv = argv, .envp = environ, .fds = fds, .fd_count = fd_count};
	pid_t pid;

	if (!tool_find(argv[0], path))
		return err_set(e, ENOTSUP, "%s: %s is not installed on this host", what, argv[0]);
	if (proc_spawn(&s, &pid, &pidfd, e) < 0 || tool_end(argv[0], pidfd, timeout_ms, out, e) < 0)
		return err_wrap(e, "%s", what);
	return 0;
}

int tool_run(char *const argv[], int timeout_ms, const char *what, struct err *e)
{
	auto_close int out = memfd_create("output", MFD_CLOEXEC);
	const struct proc_fd fds[] = {{out, 1}, {out, 2}};

	if (out < 0)
		return err_sys(e, "memfd");
	return run(argv, timeout_ms, what, out, fds, ARRAY_COUNT(fds), e);
}

int tool_read(char *const argv[], int timeout_ms, const char *what, struct buf *ret, struct err *e)
{
	auto_close int out = memfd_create("output", MFD_CLOEXEC);
	const struct proc_fd fds[] = {{out, 1}, {out, 2}};

	if (out < 0)
		return err_sys(e, "memfd");
	if (run(argv, timeout_ms, what, out, fds, ARRAY_COUNT(fds), e) < 0)
		return -e->code;
	if (lseek(out, 0, SEEK_SET) < 0)
		return err_sys(e, "%s: read what %s printed", what, argv[0]);
	return fs_read_fd(out, ret, e);
}

int tool_run_with_stdio(char *const argv[], int timeout_ms, const char *what, struct err *e)
{
	static const struct proc_fd fds[] = {{0, 0}, {1, 1}, {2, 2}};

	return run(argv, timeout_ms, what, -1, fds, ARRAY_COUNT(fds), e);
}
