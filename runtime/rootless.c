/* runtime/rootless.c - running without being the host's root
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/capability.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/runtime.h"

bool runtime_is_rootless(void)
{
	auto_close int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char text[256] = "";
	unsigned inside = 1, outside = 1, count = 0;

	if (geteuid() != 0)
		return true;
	if (fd < 0 || read_all(fd, text, sizeof(text) - 1) < 0)
		return false; /* a kernel without user namespaces */
	/* The host's own map is that of all ids to themselves. */
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 &&
	       !(inside == 0 && outside == 0 && count == UINT32_MAX);
}

static bool may_mount(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (caps) {
		(void)cap_get_flag(caps, CAP_SYS_ADMIN, CAP_EFFECTIVE, &value);
		(void)cap_free(caps);
	}
	return value == CAP_SET;
}

static int write_map(const char *file, unsigned id, struct err *e)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%u %u 1", id, id);
	return fs_write_at(AT_FDCWD, file, text, e);
}

/*
 * The map is that of the own id to itself, so that config.json names the ids
 * that the host knows.  Whoever made a namespace has all rights in those below
 * it, by his id, so the commands that come later need nothing of this.
 */
int runtime_own_namespace(struct err *e)
{
	unsigned uid = geteuid(), gid = getegid();

	if (!uid || may_mount())
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return err_sys(e, "make a user namespace, as user %u", uid);
	if (fs_write_at(AT_FDCWD, "/proc/self/setgroups", "deny", e) < 0 ||
	    write_map("/proc/self/uid_map", uid, e) < 0 ||
	    write_map("/proc/self/gid_map", gid, e) < 0)
		return err_wrap(e, "user namespace of user %u", uid);
	return 0;
}
