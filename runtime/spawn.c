/* runtime/spawn.c - making the first process of a container
 * SPDX-License-Identifier: Apache-2.0
 *
 * New namespaces come with clone3(2), and on a v2 tree so does the cgroup.
 * Namespaces to join are entered by the creator for the moment of the clone.
 *
 * A user namespace to join is different: it must own the namespaces that are
 * made, and nobody comes back from one.  A helper enters it and clones the init
 * as its sibling, a child of the creator.  It enters the others, too: born in a
 * pid namespace that the creator visits, it would tell the init's pid as it is
 * in there.  Who is root of a user namespace only comes back from no namespace,
 * and has the helper for all of them.  A user namespace that owns nothing of the
 * container is entered by the init, at the end.
 */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "runtime/container.h"
#include "runtime/sync.h"

/*
 * CLONE_NEWTIME is no flag of clone; a cgroup namespace has to wait for its
 * cgroup; the copy of an empty mount namespace is made by the init itself.
 */
static uint64_t new_namespaces(const struct container *c)
{
	uint64_t flags = 0;

	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns[i].wanted && c->ns_fd[i] < 0 && i != NS_TIME && i != NS_CGROUP &&
		    !(i == NS_MOUNT && template_fits(c)))
			flags |= (uint64_t)ns_types[i].flag;
	return flags;
}

static int clone_init(struct container *c, uint64_t flags, int sync_fd, struct err *e)
{
	int v2_fd = cgroup_v2_fd(&c->cgroup), pidfd = -1;
	struct clone_args args = {
		.flags = flags | new_namespaces(c) | CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd,
		.exit_signal = flags & CLONE_PARENT ? 0 : SIGCHLD,
	};
	long pid;

	if (v2_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)v2_fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		return err_sys(e, "make the container's first process");
	if (pid == 0) {
		c->sync_fd = sync_fd;
		init_main(c);
	}
	c->pid = (pid_t)pid;
	c->pidfd = pidfd;
	return 0;
}

static void put_offset(char *out, size_t size, const char *clock,
		       const struct config_clock_offset *o)
{
	size_t len = strlen(out);

	if (o)
		(void)snprintf(out + len, size - len, "%s %lld %u\n", clock, (long long)o->secs,
			       o->nanosecs);
}

static int enter(struct container *c, struct ns_visit *v, struct err *e)
{
	const struct config_time_offsets *t = &c->config->linux_.time_offsets;
	char offsets[128] = "";

	if (ns_visit(v, c->ns_fd, e) < 0)
		return -e->code;
	if (!c->ns[NS_TIME].wanted || c->ns_fd[NS_TIME] >= 0)
		return 0;
	put_offset(offsets, sizeof(offsets), "monotonic", t->monotonic);
	put_offset(offsets, sizeof(offsets), "boottime", t->boottime);
	return ns_visit_new_time(v, offsets, e);
}

/* Context: a child of the creator that lives for the clone only. */
static _Noreturn void help(struct container *c, int sync_fd, int report_fd)
{
	struct ns_visit visit;
	struct err e;
	int r = enter(c, &visit, &e);

	if (r == 0 && c->ns_fd[NS_USER] >= 0 &&
	    setns(c->ns_fd[NS_USER], ns_types[NS_USER].flag) < 0)
		r = err_sys(&e, "join the user namespace");
	if (r == 0)
		r = clone_init(c, CLONE_PARENT, sync_fd, &e);
	if (r == 0)
		r = sync_say(report_fd, SYNC_MADE, c->pid, &e);
	if (r < 0)
		sync_fail(report_fd, &e);
	_exit(r < 0);
}

/* What would be signalled and waited for from here on is it, whatever number we were told. */
static bool is_our_child(int pidfd)
{
	siginfo_t info;

	return waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info,
		      WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

static int spawn_by_helper(struct container *c, int sync_fd, struct err *e)
{
	auto_close int ours = -1, theirs = -1;
	int pair[2], pid = 0, r;
	pid_t helper;

	if (sync_pair(pair, e) < 0)
		return -e->code;
	ours = pair[0];
	theirs = pair[1];
	helper = fork();
	if (helper < 0)
		return err_sys(e, "fork");
	if (helper == 0)
		help(c, sync_fd, theirs);
	close_fd(&theirs);
	r = sync_expect(ours, SYNC_MADE, &pid, e);
	(void)waitpid(helper, NULL, 0);
	if (r < 0)
		return r;
	c->pid = pid;
	c->pidfd = proc_pidfd_open(pid); /* our child: the pid cannot be another's */
	if (c->pidfd < 0)
		return err_set(e, -c->pidfd, "open the container's first process");
	if (is_our_child(c->pidfd))
		return 0;
	close_fd(&c->pidfd);
	return err_set(e, ESRCH, "process %d is not the container's first one", pid);
}

/* Is a namespace to be entered from which we would not come back? */
static bool needs_helper(const struct container *c)
{
	if (c->ns_fd[NS_USER] >= 0 && !joins_user_last(c))
		return true;
	if (!c->rootless)
		return false;
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns_fd[i] >= 0)
			return true;
	return c->ns[NS_TIME].wanted;
}

int spawn_init(struct container *c, struct err *e)
{
	auto_close int ours = -1, theirs = -1;
	struct ns_visit visit;
	struct err second;
	int pair[2], r;

	if (sync_pair(pair, e) < 0)
		return -e->code;
	ours = pair[0];
	theirs = pair[1];

	c->sync_fd = take_fd(ours);
	if (needs_helper(c))
		return spawn_by_helper(c, theirs, e);
	r = enter(c, &visit, e);
	if (r == 0)
		r = clone_init(c, c->spec->sibling ? CLONE_PARENT : 0, theirs, e);
	if (ns_return(&visit, &second) < 0 && r == 0) {
		*e = second;
		r = -e->code;
	}
	return r;
}
