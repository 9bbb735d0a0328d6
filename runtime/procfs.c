/* runtime/procfs.c - a procfs of our own
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/procfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/runtime.h"

static int mount_private(void)
{
	auto_close int fs_fd = fsopen("proc", FSOPEN_CLOEXEC);

	if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return fsmount(fs_fd, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

int procfs_open(int *ret_fd, struct err *e)
{
	auto_close int fd = mount_private();
	struct statfs st;

	/* A user namespace with the host's pids may not mount one: the host's own is there then. */
	if (fd < 0)
		fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open proc");
	if (fstatfs(fd, &st) < 0)
		return err_sys(e, "look at proc");
	if (st.f_type != PROC_SUPER_MAGIC)
		return err_set(e, EINVAL, "/proc is not a procfs");
	*ret_fd = take_fd(fd);
	return 0;
}

int runtime_proc_open(int *ret_fd, struct err *e)
{
	return procfs_open(ret_fd, e);
}

int procfs_write(int proc_fd, const char *path, const char *text, struct err *e)
{
	struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	auto_close int fd = fs_openat2(proc_fd, path, &how);
	size_t len = strlen(text);

	/* Nothing can lie over a file of an instance that is mounted nowhere. */
	if (fd == -ENOSYS || fd == -EPERM)
		fd = openat(proc_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
	else if (fd < 0)
		errno = -fd;
	if (fd < 0)
		return err_sys(e, "open /proc/%s", path);
	if (write(fd, text, len) != (ssize_t)len)
		return err_sys(e, "write '%s' to /proc/%s", text, path);
	return 0;
}
