/* rootfs/context.c - a file system that is being put together: fsopen(2)
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rootfs/context.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define FD_PATH_SIZE 32
#define LOG_SIZE     256

static int failed(int fs_fd, const char *what, struct err *e)
{
	int errnum = errno;
	char log[LOG_SIZE];
	ssize_t n = read(fs_fd, log, sizeof(log) - 1);
	size_t len;

	errno = errnum;
	(void)err_sys(e, "%s", what);
	if (n > 2) {
		log[n] = '\0';
		log[strcspn(log, "\n")] = '\0';
		len = strlen(e->msg);
		(void)snprintf(e->msg + len, sizeof(e->msg) - len, " (%s)", log + 2);
	}
	return -e->code;
}

int fs_context_string(int fs_fd, const char *key, const char *value, struct err *e)
{
	if (fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0) < 0)
		return failed(fs_fd, key, e);
	return 0;
}

int fs_context_file(int fs_fd, const char *key, int fd, struct err *e)
{
	char path[FD_PATH_SIZE];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fs_context_string(fs_fd, key, path, e);
}

int fs_context_flag(int fs_fd, const char *key, struct err *e)
{
	if (fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0) < 0)
		return failed(fs_fd, key, e);
	return 0;
}

int fs_context_mount(int fs_fd, unsigned attr, int *ret_fd, struct err *e)
{
	int fd;

	if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return failed(fs_fd, "create", e);
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, attr);
	if (fd < 0)
		return failed(fs_fd, "mount", e);
	*ret_fd = fd;
	return 0;
}
