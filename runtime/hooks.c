/* runtime/hooks.c - programs that the config wants run at set points
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/hooks.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "runtime/config.h"
#include "runtime/tool.h"

static int make_memfd(const char *name, int *ret_fd, struct err *e)
{
	*ret_fd = memfd_create(name, MFD_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "memfd") : 0;
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
	pid_t pid;
	int r;

	if (make_memfd("state", &in, e) < 0 || make_memfd("output", &out, e) < 0)
		return -e->code;
	r = write_all(in, state, strlen(state));
	if (r < 0 || lseek(in, 0, SEEK_SET) < 0)
		return err_set(e, r ? -r : errno, "write the state");
	fds[0] = (struct proc_fd){in, 0};
	fds[1] = (struct proc_fd){out, 1};
	fds[2] = (struct proc_fd){out, 2};

	if (proc_spawn(&s, &pid, &pidfd, e) < 0)
		return -e->code;
	return tool_end(h->path, pidfd, h->timeout ? (int)*h->timeout * 1000 : -1, out, e);
}

static int run_one(const struct js_list *hooks, size_t i, const char *kind, const char *state,
		   struct err *e)
{
	if (run(JS_AT(*hooks, struct config_hook, i), state, e) < 0)
		return err_wrap(e, "%s hook %zu", kind, i);
	return 0;
}

int hooks_run(const struct js_list *hooks, const char *kind, const json_t *state, struct err *e)
{
	auto_free char *text = hooks->count ? js_dump(state) : NULL;

	for (size_t i = 0; i < hooks->count; i++)
		if (run_one(hooks, i, kind, text, e) < 0)
			return -e->code;
	return 0;
}

void hooks_run_each(const struct js_list *hooks, const char *kind, const json_t *state,
		    void (*warn)(const struct err *e))
{
	auto_free char *text = hooks->count ? js_dump(state) : NULL;
	struct err failed;

	for (size_t i = 0; i < hooks->count; i++)
		if (run_one(hooks, i, kind, text, &failed) < 0 && warn)
			warn(&failed);
}
