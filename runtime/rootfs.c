/* runtime/rootfs.c - the root of a container: attached, pivoted to, restricted
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "runtime/inroot.h"
#include "runtime/mounts.h"

int rootfs_isolate(const struct config *c, struct err *e)
{
	uint64_t type;
	bool recursive;

	mount_first_propagation(c, &type, &recursive);
	if (mount(NULL, "/", NULL, (unsigned long)type | (recursive ? MS_REC : 0), NULL) < 0)
		return err_sys(e, "make the host's mounts propagate no more to us");
	/* What we attach on "/" must not travel to the host, whatever the rest does. */
	if (type == MS_SHARED && mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0)
		return err_sys(e, "make / private");
	return 0;
}

/*
 * "/" is covered, but we and our descriptors still see what lies below: path
 * lookup begins at the root that we have, not at what is mounted on it.  A
 * createContainer hook is told a path, and finds the root there.
 */
int rootfs_attach(struct mount_plan *p, const struct config *c, struct err *e)
{
	const char *place = c->hooks.create_container.count && p->place ? p->place : "/";

	if (move_mount(p->root_fd, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "attach the root on %s", place);
	return 0;
}

static int change_root(struct mount_plan *p, bool no_pivot, struct err *e)
{
	auto_close int host_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (host_fd < 0 || fchdir(p->root_fd) < 0)
		return err_sys(e, "enter the root");
	if (no_pivot)
		return chroot(".") < 0 || chdir("/") < 0 ? err_sys(e, "change the root") : 0;

	/* Both names are the same place: the old root comes to lie on the new one. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(e, "pivot_root");
	if (fchdir(host_fd) < 0 || mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0 ||
	    umount2(".", MNT_DETACH) < 0)
		return err_sys(e, "let go of the host's root");
	return chdir("/") < 0 ? err_sys(e, "enter the root") : 0;
}

int rootfs_pivot(struct mount_plan *p, const struct config *c, bool no_pivot, struct err *e)
{
	uint64_t type;
	bool recursive;

	if (change_root(p, no_pivot, e) < 0)
		return -e->code;
	mount_first_propagation(c, &type, &recursive);
	return type == MS_SHARED ? mount_set_propagation(p->root_fd, type, recursive, e) : 0;
}

/* ---- restrictions ---- */

/* A detached mount that covers one place, and then is copied for the next. */
struct cover {
	int fd;
	bool used;
};

static int put_cover(struct cover *c, int target_fd, struct err *e)
{
	auto_close int copy = -1;

	if (c->used) {
		copy = mount_clone(c->fd, "", false, e);
		return copy < 0 ? copy : mount_move(copy, target_fd, e);
	}
	c->used = true;
	return mount_move(c->fd, target_fd, e);
}

/* What is not there needs no cover. */
static int open_existing(int root_fd, const char *path, int *ret_fd, struct err *e)
{
	*ret_fd = inroot_open(root_fd, path, O_PATH, INROOT_FOLLOW);
	if (*ret_fd >= 0 || *ret_fd == -ENOENT || *ret_fd == -ENOTDIR)
		return 0;
	errno = -*ret_fd;
	return err_sys(e, "open it");
}

static int mask(int root_fd, const char *path, struct cover *file, struct cover *dir, struct err *e)
{
	auto_close int target_fd = -1;
	struct stat st;

	if (open_existing(root_fd, path, &target_fd, e) < 0)
		return -e->code;
	if (target_fd < 0)
		return 0;
	if (fstat(target_fd, &st) < 0)
		return err_sys(e, "look at it");
	if (!S_ISDIR(st.st_mode))
		return put_cover(file, target_fd, e);
	if (dir->fd < 0) {
		dir->fd = mount_tmpfs(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					      MOUNT_ATTR_NOEXEC,
				      e);
		if (dir->fd < 0)
			return dir->fd;
	}
	return put_cover(dir, target_fd, e);
}

static int make_readonly(int root_fd, const char *path, struct err *e)
{
	auto_close int target_fd = -1, tree_fd = -1;

	if (open_existing(root_fd, path, &target_fd, e) < 0)
		return -e->code;
	if (target_fd < 0)
		return 0;
	tree_fd = mount_clone(target_fd, "", true, e);
	if (tree_fd < 0 || mount_set(tree_fd, MOUNT_ATTR_RDONLY, 0, true, e) < 0)
		return -e->code;
	return mount_move(tree_fd, target_fd, e);
}

int rootfs_restrict(struct mount_plan *p, const struct config *c, struct err *e)
{
	const struct js_strings *masked = &c->linux_.masked_paths, *ro = &c->linux_.readonly_paths;
	struct cover file = {.fd = p->null_fd}, dir = {.fd = -1};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ro->count; i++)
		if (make_readonly(p->root_fd, ro->items[i], e) < 0)
			r = err_wrap(e, "linux.readonlyPaths[%zu] (%s)", i, ro->items[i]);
	for (size_t i = 0; r == 0 && i < masked->count; i++)
		if (mask(p->root_fd, masked->items[i], &file, &dir, e) < 0)
			r = err_wrap(e, "linux.maskedPaths[%zu] (%s)", i, masked->items[i]);
	close_fd(&dir.fd);
	if (r == 0)
		r = mounts_finish(p, c, e);
	if (r == 0 && c->root->readonly)
		r = mount_set(p->root_fd, MOUNT_ATTR_RDONLY, 0, false, e);
	return r;
}
