/* rootfs/limit.c - a limit to what directories take of their file system
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * ext4 and XFS count, and limit, what belongs to a project, which is a number
 * that a file has from the directory that it was made in.  So all directories of
 * one number share one limit, whoever writes to them and as whichever user:
 * overlay does not use its right to go beyond it (ovl_fill_super).
 *
 * 1. A number is nobody's if the file system has neither a limit nor a byte for
 *    it.  That covers others who have projects on the file system, too.
 * 2. A limit is on the disk as files are: it is there after a crash, and goes
 *    when it is set to nothing.
 *
 * The number of files is limited as well, or empty ones could take all inodes:
 * one for each INODE_BYTES, as mke2fs(8) makes them.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/random.h"
#include "base/text.h"
#include "rootfs/rootfs.h"

#define BLOCK_BYTES   1024 /* quotactl(2) counts in these */
#define INODE_BYTES   16384
#define PROJECT_FIRST 0x40000000u /* where nobody counts up to from 1 */
#define PROJECT_MASK  0x3fffffffu
#define TRIES         64

#define CMD(cmd) QCMD(cmd, PRJQUOTA)

static int quotactl_fd(int fd, unsigned cmd, uint32_t id, void *data)
{
	return (int)syscall(SYS_quotactl_fd, fd, cmd, id, data);
}

static int open_dir(const char *dir, struct err *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open %s", dir) : fd;
}

/* ---- can it? ---- */

static const struct {
	unsigned long magic;
	const char *says;
} systems[] = {
	{EXT4_SUPER_MAGIC, "ext4 has no project quota in force there (features quota and project, "
			   "mount option prjquota)"},
	{XFS_SUPER_MAGIC, "XFS has no project quota in force there (mount option pquota)"},
	{0, "its file system has no project quotas, ext4 and XFS have"},
};

static const char *why_not(int fd)
{
	struct statfs s = {0};
	size_t i = 0;

	(void)fstatfs(fd, &s); /* 0: unknown */
	while (systems[i].magic && systems[i].magic != (unsigned long)s.f_type)
		i++;
	return systems[i].says;
}

int rootfs_limit_check(const char *dir, struct err *e)
{
	auto_close int fd = open_dir(dir, e);
	struct fs_quota_stat status = {0};

	if (fd < 0)
		return fd;
	if (quotactl_fd(-1, CMD(Q_SYNC), 0, NULL) < 0 && errno == ENOSYS)
		return err_set(e, ENOSYS, "this kernel has no quotactl_fd (Linux 5.14)");
	if (quotactl_fd(fd, CMD(Q_XGETQSTAT), 0, &status) < 0 ||
	    !(status.qs_flags & FS_QUOTA_PDQ_ENFD))
		return err_set(e, ENOTSUP, "%s: %s", dir, why_not(fd));
	return 0;
}

/* ---- projects ---- */

/* XFS has no record of what was never used. */
static bool is_free(int fd, uint32_t project)
{
	struct if_dqblk q = {0};

	if (quotactl_fd(fd, CMD(Q_GETQUOTA), project, &q) < 0)
		return errno == ENOENT;
	return !q.dqb_bhardlimit && !q.dqb_ihardlimit && !q.dqb_curspace && !q.dqb_curinodes;
}

int rootfs_limit_find(const char *dir, uint32_t *ret_project, struct err *e)
{
	auto_close int fd = open_dir(dir, e);
	uint32_t project;

	if (fd < 0)
		return fd;
	for (int i = 0; i < TRIES; i++) {
		random_bytes(&project, sizeof(project));
		project = PROJECT_FIRST | (project & PROJECT_MASK);
		if (!is_free(fd, project))
			continue;
		*ret_project = project;
		return 0;
	}
	return err_set(e, EAGAIN, "%s: no project of its file system is free, of %d asked for", dir,
		       TRIES);
}

int rootfs_limit_set(const char *dir, uint32_t project, uint64_t bytes, struct err *e)
{
	struct if_dqblk q = {.dqb_bhardlimit = bytes / BLOCK_BYTES,
			     .dqb_ihardlimit = bytes / INODE_BYTES,
			     .dqb_valid = QIF_LIMITS};
	auto_close int fd = open_dir(dir, e);

	assert(project);

	if (fd < 0)
		return fd;
	if (quotactl_fd(fd, CMD(Q_SETQUOTA), project, &q) < 0)
		return err_sys(e, "limit of project %u in %s", project, dir);
	return 0;
}

static int join(int fd, uint32_t project)
{
	struct fsxattr attr;

	if (ioctl(fd, FS_IOC_FSGETXATTR, &attr) < 0)
		return -1;
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(fd, FS_IOC_FSSETXATTR, &attr);
}

int rootfs_limit_join(const char *dir, uint32_t project, struct err *e)
{
	auto_closedir DIR *d = opendir(dir);
	struct dirent *entry;

	if (!d || join(dirfd(d), project) < 0)
		return err_sys(e, "project of %s", dir);
	while ((entry = readdir(d))) {
		auto_close int fd = -1;

		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		fd = openat(dirfd(d), entry->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 || join(fd, project) < 0)
			return err_sys(e, "project of %s/%s", dir, entry->d_name);
	}
	return 0;
}
