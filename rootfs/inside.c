/* rootfs/inside.c - making directories in a root
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "rootfs/rootfs.h"

/* What an image's symlinks lead to lies in the root, too. */
static int open_inside(int root_fd, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};

	return fs_openat2(root_fd, path, &how);
}

/* Make the last component of 'path', whose others are there. */
static int make_last(int root_fd, char *path)
{
	char *slash = strrchr(path, '/');
	auto_close int parent_fd = -1;
	int r;

	*slash = '\0';
	parent_fd = open_inside(root_fd, *path ? path : "/");
	*slash = '/';
	if (parent_fd < 0)
		return parent_fd;
	r = mkdirat(parent_fd, slash + 1, 0755) < 0 ? -errno : 0;
	return r == 0 ? open_inside(root_fd, path) : r;
}

int rootfs_make_dir(int mount_fd, const char *path, struct err *e)
{
	auto_free char *copy = xstrdup(path);

	assert(mount_fd >= 0);

	if (path[0] != '/')
		return err_set(e, EINVAL, "directory '%s' in the root: not absolute", path);
	for (char *p = copy + strspn(copy, "/"); *p; p += strspn(p, "/")) {
		auto_close int fd = -1;
		char after;

		p += strcspn(p, "/");
		after = *p;
		*p = '\0';
		fd = open_inside(mount_fd, copy);
		if (fd == -ENOENT)
			fd = make_last(mount_fd, copy);
		*p = after;
		if (fd < 0)
			return err_set(e, -fd, "directory %s in the root: %s", path,
				       strerrordesc_np(-fd));
	}
	return 0;
}
