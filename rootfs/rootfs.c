/* rootfs/rootfs.c - from layers to a mounted root
 * SPDX-License-Identifier: Apache-2.0
 */
#include "rootfs/rootfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "rootfs/overlay.h"

#define UPPER     "upper"
#define WORK      "work"
#define UPPER_NEW "upper.new"
#define BOOT      "boot" /* boot id of the host that last mounted it volatile */
#define VOLATILE  WORK "/work/incompat/volatile" /* overlay's own mark, which stays */
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"

int rootfs_scratch_create(const char *dir, struct err *e)
{
	auto_close int fd = -1;

	if (dir[0] != '/')
		return err_set(e, EINVAL, "scratch '%s' is not an absolute path", dir);
	if (mkdir(dir, 0700) < 0)
		return err_sys(e, "make scratch %s", dir);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || mkdirat(fd, WORK, 0700) < 0) {
		(void)err_sys(e, "make scratch %s", dir);
		(void)rmdir(dir); /* empty still */
		return -e->code;
	}
	return 0;
}

int rootfs_scratch_remove(const char *dir, struct err *e)
{
	assert(dir[0] == '/');

	if (fs_remove_tree(AT_FDCWD, dir, e) < 0)
		return err_wrap(e, "remove scratch");
	return 0;
}

/* ---- the layers ---- */

/* Does a file system have user.* attributes?  tmpfs does since 6.6. */
static bool has_user_attributes(int dir_fd)
{
	return fgetxattr(dir_fd, "user.overlay.opaque", NULL, 0) >= 0 || errno != EOPNOTSUPP;
}

static bool is_opaque(int dir_fd, bool user_attributes)
{
	char value = 0;

	return fgetxattr(dir_fd, user_attributes ? "user.overlay.opaque" : "trusted.overlay.opaque",
			 &value, 1) == 1 &&
	       value == 'y';
}

/*
 * Open the layers, highest first.  Overlay does not look for the mark of an
 * opaque directory on a layer's root, so what lies below such a layer is left
 * out here.
 */
static int open_layer(const struct rootfs_ids *ids, const char *path, struct err *e)
{
	size_t len = ids ? strlen(ids->layers_dir) : 0;
	int fd;

	if (ids && (strncmp(path, ids->layers_dir, len) != 0 || path[len] != '/'))
		return err_set(e, EINVAL, "layer %s is not in %s", path, ids->layers_dir);
	fd = openat(ids ? ids->layers_fd : AT_FDCWD, ids ? path + len + 1 : path,
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open layer %s", path) : fd;
}

static int open_layers(const struct rootfs_spec *spec, struct overlay *o, struct err *e)
{
	for (size_t i = spec->layer_count; i-- > 0;) {
		int fd = open_layer(spec->ids, spec->layers[i], e);

		if (fd < 0)
			return fd;
		o->lower_paths[o->lower_count] = spec->layers[i];
		o->lower_fds[o->lower_count++] = fd;
		if (o->lower_count == 1)
			o->user_attributes = has_user_attributes(fd);
		if (is_opaque(fd, o->user_attributes))
			break;
	}
	return 0;
}

/* ---- the scratch ---- */

/* The root directory is upper/ itself, so it looks like the highest layer's. */
static int make_upper(int scratch_fd, int top_fd, struct err *e)
{
	auto_close int fd = -1;
	struct stat st;

	if (faccessat(scratch_fd, UPPER, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (fstat(top_fd, &st) < 0)
		return err_sys(e, "stat the highest layer");
	if (mkdirat(scratch_fd, UPPER_NEW, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make " UPPER);
	fd = openat(scratch_fd, UPPER_NEW, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0 ||
	    renameat(scratch_fd, UPPER_NEW, scratch_fd, UPPER) < 0)
		return err_sys(e, "make " UPPER);
	return 0;
}

static int read_boot_id(int dir_fd, const char *path, struct buf *ret, struct err *e)
{
	if (fs_read(dir_fd, path, ret, e) < 0)
		return err_wrap(e, "boot id");
	return 0;
}

/*
 * Overlay marks a volatile upper and refuses it ever after, because it cannot
 * know whether the host went down in between.  We can: by the boot id.
 */
static int allow_volatile_again(int scratch_fd, struct err *e)
{
	auto_buf struct buf now = BUF_INIT(64), then = BUF_INIT(64);
	struct err ignored;

	if (read_boot_id(AT_FDCWD, BOOT_ID, &now, e) < 0)
		return -e->code;
	if (faccessat(scratch_fd, VOLATILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
		if (read_boot_id(scratch_fd, BOOT, &then, &ignored) < 0 ||
		    strcmp(buf_str(&now), buf_str(&then)) != 0)
			return err_set(e, ESTALE,
				       "it was not synced before the host restarted: remove it");
		if (fs_remove_tree(scratch_fd, VOLATILE, e) < 0)
			return -e->code;
	}
	return fs_replace(scratch_fd, BOOT, now.data, now.size, 0600, FS_QUICK, e);
}

/* A volatile scratch stays one: it is not mounted as if it had been synced. */
static int check_not_volatile(int scratch_fd, struct err *e)
{
	if (faccessat(scratch_fd, VOLATILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return err_set(e, ESTALE, "it was mounted volatile before");
}

static int open_scratch(const struct rootfs_spec *spec, struct overlay *o, struct err *e)
{
	auto_close int fd = open(spec->scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(e, "open");
	if (o->user_attributes && !has_user_attributes(fd))
		return err_set(e, ENOTSUP,
			       "its file system has no user.* attributes (tmpfs before "
			       "Linux 6.6), the layers' has");
	r = spec->volatile_upper ? allow_volatile_again(fd, e) : check_not_volatile(fd, e);
	if (r < 0 || make_upper(fd, o->lower_fds[0], e) < 0)
		return -e->code;
	o->upper_fd = openat(fd, UPPER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (o->upper_fd < 0)
		return err_sys(e, "open " UPPER);
	o->work_fd = openat(fd, WORK, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return o->work_fd < 0 ? err_sys(e, "open " WORK) : 0;
}

/* The index alone is what is below; with ids, a view of it that only this root has. */
static int take_index(const struct rootfs_spec *spec, struct overlay *o, struct err *e)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};
	int fd = spec->ids ? open_tree(*spec->index_fd, "",
				       AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
			   : fcntl(*spec->index_fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return err_sys(e, "a view of the index");
	o->lower_fds[o->lower_count++] = fd;
	o->nowhere = true;
	o->user_attributes = has_user_attributes(fd);
	if (!spec->ids)
		return 0;
	attr.userns_fd = (uint64_t)spec->ids->userns_fd;
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "map ids of the index");
	return 0;
}

static int mount_overlay(const struct rootfs_spec *spec, struct overlay *o, int *ret_mount_fd,
			 struct err *e)
{
	auto_free char *upper = xasprintf("%s/" UPPER, spec->scratch);
	auto_free char *work = xasprintf("%s/" WORK, spec->scratch);

	o->upper_path = upper;
	o->work_path = work;
	if ((spec->index_fd ? take_index(spec, o, e) : open_layers(spec, o, e)) < 0)
		return -e->code;
	if (open_scratch(spec, o, e) < 0)
		return err_wrap(e, "scratch %s", spec->scratch);
	return overlay_mount(o, ret_mount_fd, e);
}

int rootfs_map_layers(const char *layers_dir, int userns_fd, int *ret_fd, struct err *e)
{
	auto_close int fd = open_tree(AT_FDCWD, layers_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};

	if (!overlay_kernel_is(5, 19))
		return err_set(e, ENOTSUP,
			       "overlay of Linux before 5.19 takes no layers with other ids");
	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "map ids of %s", layers_dir);
	*ret_fd = take_fd(fd);
	return 0;
}

int rootfs_mount(const struct rootfs_spec *spec, int *ret_mount_fd, struct err *e)
{
	struct overlay o = {
		.upper_fd = -1,
		.work_fd = -1,
		.ids = spec->ids,
		.target = spec->scratch,
		.read_only = spec->read_only,
		.volatile_upper = spec->volatile_upper,
		.copy_fd = spec->copy_fd,
	};
	int r;

	if (!spec->index_fd && (spec->layer_count < 1 || spec->layer_count > ROOTFS_LAYERS_MAX))
		return err_set(e, EINVAL, "%zu layers: 1 to %d make a root", spec->layer_count,
			       ROOTFS_LAYERS_MAX);
	if (spec->scratch[0] != '/')
		return err_set(e, EINVAL, "scratch '%s' is not an absolute path", spec->scratch);

	r = mount_overlay(spec, &o, ret_mount_fd, e);
	for (size_t i = 0; i < o.lower_count; i++)
		close_fd(&o.lower_fds[i]);
	close_fd(&o.upper_fd);
	close_fd(&o.work_fd);
	return r;
}
