/* runtime/namespaces.c - the kinds of namespaces
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

const struct ns_type ns_types[NS_COUNT] = {
	[NS_USER] = {"user", "user", CLONE_NEWUSER},
	[NS_MOUNT] = {"mount", "mnt", CLONE_NEWNS},
	[NS_PID] = {"pid", "pid", CLONE_NEWPID},
	[NS_NETWORK] = {"network", "net", CLONE_NEWNET},
	[NS_IPC] = {"ipc", "ipc", CLONE_NEWIPC},
	[NS_UTS] = {"uts", "uts", CLONE_NEWUTS},
	[NS_CGROUP] = {"cgroup", "cgroup", CLONE_NEWCGROUP},
	[NS_TIME] = {"time", "time", CLONE_NEWTIME},
};

enum ns_kind ns_find(const char *name)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (str_eq(ns_types[i].name, name))
			return (enum ns_kind)i;
	return NS_COUNT;
}

static int open_own(enum ns_kind kind)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", ns_types[kind].file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void ns_close(int fds[NS_COUNT])
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		close_fd(&fds[i]);
}

static int open_one(enum ns_kind kind, const char *path, int *ret_fd, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_sys(e, "linux.namespaces: %s: open %s", ns_types[kind].name, path);
	if (ioctl(fd, NS_GET_NSTYPE) != ns_types[kind].flag)
		return err_set(e, EINVAL, "linux.namespaces: %s is no %s namespace", path,
			       ns_types[kind].name);
	*ret_fd = take_fd(fd);
	return 0;
}

int ns_open(const struct ns_wish wishes[NS_COUNT], int ret_fds[NS_COUNT], struct err *e)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		ret_fds[i] = -1;
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (wishes[i].path &&
		    open_one((enum ns_kind)i, wishes[i].path, &ret_fds[i], e) < 0) {
			ns_close(ret_fds);
			return -e->code;
		}
	return 0;
}

bool ns_is_ours(enum ns_kind kind, int fd)
{
	auto_close int own = open_own(kind);
	struct stat a, b;

	return own >= 0 && fstat(own, &a) == 0 && fstat(fd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int ns_visit(struct ns_visit *v, const int fds[NS_COUNT], struct err *e)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		v->own_fd[i] = -1;
	for (unsigned i = 0; i < NS_COUNT; i++) {
		if (fds[i] < 0 || i == NS_USER || i == NS_MOUNT)
			continue;
		v->own_fd[i] = open_own((enum ns_kind)i);
		if (v->own_fd[i] < 0 || setns(fds[i], ns_types[i].flag) < 0)
			return err_sys(e, "join the %s namespace", ns_types[i].name);
	}
	return 0;
}

int ns_visit_new_time(struct ns_visit *v, const char *offsets, struct err *e)
{
	v->own_fd[NS_TIME] = open_own(NS_TIME);
	if (v->own_fd[NS_TIME] < 0 || unshare(CLONE_NEWTIME) < 0)
		return err_sys(e, "make a time namespace");
	if (*offsets && fs_write_at(AT_FDCWD, "/proc/self/timens_offsets", offsets, e) < 0)
		return err_wrap(e, "linux.timeOffsets");
	return 0;
}

int ns_return(struct ns_visit *v, struct err *e)
{
	int r = 0;

	for (unsigned i = 0; i < NS_COUNT; i++) {
		if (v->own_fd[i] >= 0 && setns(v->own_fd[i], ns_types[i].flag) < 0 && r == 0)
			r = err_sys(e, "go back to our own %s namespace", ns_types[i].name);
		close_fd(&v->own_fd[i]);
	}
	return r;
}
