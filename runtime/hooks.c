/* runtime/hooks.c - programs that the config wants run at set points
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/hooks.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "runtime/config.h"

#define OUTPUT_SHOWN 200 /* bytes of what a failed hook has printed, at the end of it */

static int make_memfd(const char *name, int *ret_fd, struct err *e)
{
	*ret_fd = memfd_create(name, MFD_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "memfd") : 0;
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

static int wait_for(const struct config_hook *h, int pidfd, int *ret_status, struct err *e)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int timeout_ms = h->timeout ? (int)*h->timeout * 1000 : -1, r;

	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r == 0) {
		(void)proc_pidfd_kill(pidfd, SIGKILL);
		(void)proc_wait(pidfd, ret_status, e);
		return err_set(e, ETIMEDOUT, "%s: still running after %lld s", h->path,
			       (long long)*h->timeout);
	}
	return proc_wait(pidfd, ret_status, e);
}

static int run(const struct config_hook *h, const char *state, struct err *e)
{
	auto_close int in = -1, out = -1, pidfd = -1;
	char *own_name[] = {h->path, NULL};
	struct proc_fd fds[3];
	struct proc_spawn s = {
		.path = h->path,
		.argv = h->args.count ? h->args.items : own_name,
		.envp = h->env.count ? h->env.items : environ, /* as runc and crun */
		.fds = fds,
		.fd_count = 3,
	};
	char tail[OUTPUT_SHOWN + 1];
	int status = -1, r;
	pid_t pid;

	if (make_memfd("state", &in, e) < 0 || make_memfd("output", &out, e) < 0)
		return -e->code;
	r = write_all(in, state, strlen(state));
	if (r < 0 || lseek(in, 0, SEEK_SET) < 0)
		return err_set(e, r ? -r : errno, "write the state");
	fds[0] = (struct proc_fd){in, 0};
	fds[1] = (struct proc_fd){out, 1};
	fds[2] = (struct proc_fd){out, 2};

	if (proc_spawn(&s, &pid, &pidfd, e) < 0 || wait_for(h, pidfd, &status, e) < 0)
		return -e->code;
	if (status == 0)
		return 0;
	read_tail(out, tail);
	return err_set(e, ECANCELED, "%s: exit status %d%s%s", h->path, status, *tail ? ": " : "",
		       tail);
}

int hooks_run(const struct js_list *hooks, const char *kind, const json_t *state, struct err *e)
{
	auto_free char *text = hooks->count ? js_dump(state) : NULL;

	for (size_t i = 0; i < hooks->count; i++)
		if (run(JS_AT(*hooks, struct config_hook, i), text, e) < 0)
			return err_wrap(e, "%s hook %zu", kind, i);
	return 0;
}
