/* runtime/template.c - a mount namespace with nothing in it
 * SPDX-License-Identifier: Apache-2.0
 *
 * A container's mount namespace usually begins as a copy of the host's, which
 * takes the longer the more is mounted there, and ends by unmounting all of
 * that again, which waits for a grace period of the kernel.  A copy of an empty
 * namespace takes the same short time everywhere, and has nothing to unmount:
 * the container's root is put over the empty one, and becomes the root by
 * chroot(2).  Who breaks out of that comes to the topmost root again, and below
 * it is an empty read-only directory.
 *
 * Nothing of the host can be reached from there, so everything that comes from
 * the host has to be at hand as descriptors.  The usual way remains for hooks
 * that want the host's files, and for who may mount (CAP_SYS_ADMIN): it could
 * take the root off again, and nested runtimes want a root that can be pivoted.
 * It remains too for a user namespace that is to own the container's mounts,
 * because it does not own the empty one; one that the process only ends up in
 * (runtime_create.userns_fd) is entered when all is mounted.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "runtime/container.h"
#include "runtime/sync.h"

/* ---- making it ---- */

static int empty(struct err *e)
{
	auto_close int fd = -1;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return err_sys(e, "new mount namespace");
	fd = mount_tmpfs(
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, e);
	if (fd < 0)
		return -e->code;
	/* Over "/", then in its place; the old one lies over it and goes. */
	if (move_mount(fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 || fchdir(fd) < 0 ||
	    syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "empty a mount namespace");
	return 0;
}

/* Context: a child that lives until its namespace has been opened. */
static _Noreturn void live_in_it(int sync_fd)
{
	struct err e;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (empty(&e) < 0) {
		sync_fail(sync_fd, &e);
		_exit(1);
	}
	if (sync_say(sync_fd, SYNC_READY, 0, &e) == 0)
		(void)sync_expect(sync_fd, SYNC_READY, NULL, &e); /* nothing is said: it ends */
	_exit(0);
}

static int open_namespace_of(pid_t pid, int *ret_fd, struct err *e)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "open %s", path) : 0;
}

int runtime_template_open(int *ret_fd, struct err *e)
{
	auto_close int ours = -1, theirs = -1;
	int pair[2], r;
	pid_t pid;

	if (sync_pair(pair, e) < 0)
		return -e->code;
	ours = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		close_fd(&ours);
		live_in_it(theirs);
	}
	close_fd(&theirs);
	r = sync_expect(ours, SYNC_READY, NULL, e);
	if (r == 0)
		r = open_namespace_of(pid, ret_fd, e);
	close_fd(&ours);
	(void)waitpid(pid, NULL, 0);
	return r < 0 ? err_wrap(e, "template of mount namespaces") : 0;
}

/* ---- using it ---- */

bool joins_user_last(const struct container *c)
{
	return c->spec->userns_fd >= 0;
}

bool template_could_fit(const struct container *c)
{
	const struct config *cfg = c->config;
	const struct capability_sets *caps = &c->process.caps;
	const char *propagation = cfg->linux_.rootfs_propagation;

	return c->spec->template_fd >= 0 && c->ns[NS_MOUNT].wanted && c->ns_fd[NS_MOUNT] < 0 &&
	       (!c->ns[NS_USER].wanted || joins_user_last(c)) && !(propagation && propagation[0]) &&
	       !c->spec->no_pivot &&
	       !((caps->bounding | caps->permitted | caps->inheritable) >> CAP_SYS_ADMIN & 1);
}

bool template_fits(const struct container *c)
{
	return template_could_fit(c) && !c->config->hooks.create_container.count;
}

int template_enter(const struct container *c, struct err *e)
{
	if (setns(c->spec->template_fd, CLONE_NEWNS) < 0 || unshare(CLONE_NEWNS) < 0)
		return err_sys(e, "copy the empty mount namespace");
	(void)close(c->spec->template_fd); /* ours is a copy of the creator's table */
	return 0;
}
