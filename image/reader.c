/* image/reader.c - the worker that reads an image's passwd and group
 * SPDX-License-Identifier: Apache-2.0
 *
 * It opens the two files below the root, in which links lead nowhere else, then
 * gives everything away, and only then looks into them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "image/jail.h"
#include "image/passwd.h"
#include "image/reason.h"
#include "image/wire.h"
#include "image/worker.h"

/*
 * Only regular files: first looked at without opening, because opening a device
 * may do things, then opened by what was looked at.  *ret is -1 when absent.
 */
static int open_file(const char *path, int *ret, struct err *e)
{
	const struct open_how how = {.flags = O_PATH | O_CLOEXEC,
				     .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	auto_close int fd = fs_openat2(READER_ROOT, path, &how);
	char again[32];
	struct stat st;

	*ret = -1;
	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "open %s", path);
	}
	if (fstat(fd, &st) < 0)
		return err_sys(e, "stat %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is not a regular file", path);
	(void)snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	*ret = open(again, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_sys(e, "open %s", path) : 0;
}

static int read_file(int fd, const char *path, struct buf *b, struct err *e)
{
	if (fd < 0)
		return 0;
	if (fs_read_fd(fd, b, e) < 0)
		return err_wrap(e, "read %s", path);
	if (b->size && memchr(b->data, '\0', b->size))
		return err_set(e, EINVAL, "%s: a NUL in it", path);
	return 0;
}

static int look_up(const char *user, struct image_user *ret, struct err *e)
{
	auto_buf struct buf passwd = BUF_INIT(PASSWD_SIZE_MAX), group = BUF_INIT(PASSWD_SIZE_MAX);
	auto_close int passwd_fd = -1, group_fd = -1;

	if (open_file("etc/passwd", &passwd_fd, e) < 0 || open_file("etc/group", &group_fd, e) < 0)
		return -e->code;
	(void)close(READER_ROOT);
	if (jail_reader(e) < 0 || read_file(passwd_fd, "etc/passwd", &passwd, e) < 0 ||
	    read_file(group_fd, "etc/group", &group, e) < 0)
		return -e->code;
	return passwd_lookup(buf_str(&passwd), buf_str(&group), user, ret, e);
}

int reader_main(int argc, char **argv)
{
	struct reader_answer answer = {.code = 0};
	struct err e = {0};

	if (look_up(argc > 2 ? argv[2] : "", &answer.user, &e) < 0) {
		answer.code = (uint32_t)e.code;
		memcpy(answer.text, e.msg, sizeof(answer.text));
	}
	_exit(fs_send(WORKER_SOCK, &answer, sizeof(answer), NULL, 0) < 0 ? 1 : 0);
}
