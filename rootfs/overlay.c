/* rootfs/overlay.c - the kernel's overlay file system, mounted nowhere
 * SPDX-License-Identifier: Apache-2.0
 *
 * Directories are named by our descriptors (/proc/self/fd/N): paths of any
 * length and with any character will do, and a container that looks at its
 * mounts learns nothing about the host's directories.
 */
#include "rootfs/overlay.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "rootfs/context.h"

#define OPTIONS_MAX 4095 /* mount(2) takes one page */

/* ---- the new way: fsopen(2) ---- */

/* Index off: it would tie a scratch to one set of layers for ever. */
static int set_options(int fs_fd, const struct overlay *o, struct err *e)
{
	if (fs_context_string(fs_fd, "source", "overlay", e) < 0 ||
	    fs_context_file(fs_fd, "upperdir", o->upper_fd, e) < 0 ||
	    fs_context_file(fs_fd, "workdir", o->work_fd, e) < 0 ||
	    fs_context_string(fs_fd, "index", "off", e) < 0)
		return -e->code;
	if (o->user_attributes && fs_context_flag(fs_fd, "userxattr", e) < 0)
		return -e->code;
	return o->volatile_upper ? fs_context_flag(fs_fd, "volatile", e) : 0;
}

static int mount_new(const struct overlay *o, int *ret_mount_fd, struct err *e)
{
	auto_close int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC);
	int r = 0;

	if (fs_fd < 0)
		return err_sys(e, "overlay");
	for (size_t i = 0; r == 0 && i < o->lower_count; i++)
		r = fs_context_file(fs_fd, "lowerdir+", o->lower_fds[i], e);
	if (r == 0)
		r = set_options(fs_fd, o, e);
	if (r == 0)
		r = fs_context_mount(fs_fd, o->read_only ? MOUNT_ATTR_RDONLY : 0, ret_mount_fd, e);
	return r < 0 ? err_wrap(e, "overlay") : 0;
}

/* ---- the old way: mount(2), where nobody sees it ---- */

/* Names are relative to /proc/self/fd, where the child goes: 128 of them fit easily. */
static void put_options(const struct overlay *o, struct buf *out)
{
	buf_puts(out, "lowerdir=");
	for (size_t i = 0; i < o->lower_count; i++)
		buf_printf(out, "%s%d", i ? ":" : "", o->lower_fds[i]);
	buf_printf(out, ",upperdir=%d,workdir=%d,index=off%s%s", o->upper_fd, o->work_fd,
		   o->user_attributes ? ",userxattr" : "", o->volatile_upper ? ",volatile" : "");
}

/* How far the child came. */
enum step { NAMESPACE, PRIVATE, MAP, OPEN, ENTER, MOUNT, DETACH, STEPS };

static const char *const steps[STEPS] = {
	[NAMESPACE] = "mount namespace",
	[PRIVATE] = "private mounts",
	[MAP] = "map ids of the layers",
	[OPEN] = "open a directory again",
	[ENTER] = "enter /proc/self/fd",
	[MOUNT] = "mount",
	[DETACH] = "detach",
};

struct answer {
	enum step step;
	int errnum; /* 0: the mount comes along, and a copy of it */
};

static _Noreturn void say(int sock, enum step step, const int mount_fds[2])
{
	const bool failed = !mount_fds || mount_fds[0] < 0 || mount_fds[1] < 0;
	const struct answer a = {.step = step, .errnum = failed ? errno : 0};

	_exit(fs_send(sock, &a, sizeof(a), mount_fds, failed ? 0 : 2) < 0 ? 1 : 0);
}

/*
 * Overlay takes directories of its own mount namespace only, so each is opened
 * again there, and takes the number that the options name.
 *
 * Context: child after fork of a process with threads; must not allocate.
 */
static bool open_again(const char *path, int fd)
{
	int again = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return again >= 0 && dup2(again, fd) == fd && close(again) == 0;
}

/* The layers' directory, covered by itself with other ids. */
static bool map_layers(const struct rootfs_ids *ids)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP,
				  .userns_fd = (uint64_t)ids->userns_fd};
	int fd = open_tree(AT_FDCWD, ids->layers_dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0 &&
	       move_mount(fd, "", AT_FDCWD, ids->layers_dir, MOVE_MOUNT_F_EMPTY_PATH) == 0 &&
	       close(fd) == 0;
}

static bool open_all_again(const struct overlay *o)
{
	for (size_t i = 0; i < o->lower_count; i++)
		if (!open_again(o->lower_paths[i], o->lower_fds[i]))
			return false;
	return open_again(o->upper_path, o->upper_fd) && open_again(o->work_path, o->work_fd);
}

/* Context: as above. */
static _Noreturn void mount_in_child(const struct overlay *o, const char *options, int sock)
{
	unsigned long flags = o->read_only ? MS_RDONLY : 0;
	int mounts[2];

	if (unshare(CLONE_NEWNS) < 0)
		say(sock, NAMESPACE, NULL);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		say(sock, PRIVATE, NULL);
	if (o->ids && !map_layers(o->ids))
		say(sock, MAP, NULL);
	if (!open_all_again(o))
		say(sock, OPEN, NULL);
	if (chdir("/proc/self/fd") < 0)
		say(sock, ENTER, NULL);
	if (mount("overlay", o->target, "overlay", flags, options) < 0)
		say(sock, MOUNT, NULL);
	for (int i = 0; i < 2; i++)
		mounts[i] = open_tree(AT_FDCWD, o->target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	say(sock, DETACH, mounts);
}

static int take_answer(int sock, int ret_mount_fds[2], struct err *e)
{
	struct answer a;
	size_t fd_count = 0;
	ssize_t n = fs_recv(sock, &a, sizeof(a), ret_mount_fds, 2, &fd_count, 0);

	if (n != sizeof(a) || (!a.errnum && fd_count != 2))
		return err_set(e, EIO, "overlay: the child that mounts ended early");
	if (a.errnum) {
		errno = a.errnum;
		return err_sys(e, "overlay: %s", steps[a.step]);
	}
	return 0;
}

static int mount_old(const struct overlay *o, int ret_mount_fds[2], struct err *e)
{
	auto_buf struct buf options = BUF_INIT(OPTIONS_MAX);
	auto_close int ours = -1, theirs = -1;
	int pair[2], r;
	pid_t pid;

	put_options(o, &options);
	assert(!buf_overflow(&options));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socket pair");
	ours = pair[0];
	theirs = pair[1];

	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0)
		mount_in_child(o, buf_str(&options), theirs);
	close_fd(&theirs);
	r = take_answer(ours, ret_mount_fds, e);
	(void)waitpid(pid, NULL, 0);
	return r;
}

/* Asking the kernel would do, but one that does not know it complains in its log. */
bool overlay_kernel_is(unsigned major, unsigned minor)
{
	unsigned is_major = 0, is_minor = 0;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &is_major, &is_minor) == 2 &&
	       (is_major > major || (is_major == major && is_minor >= minor));
}

int overlay_mount(const struct overlay *o, int *ret_mount_fd, struct err *e)
{
	int mounts[2] = {-1, -1};

	if (o->nowhere || overlay_kernel_is(6, o->ids ? 15 : 7)) {
		if (mount_new(o, &mounts[0], e) < 0)
			return -e->code;
		if (o->copy_fd) /* Linux 6.15 has it of what is nowhere */
			mounts[1] = open_tree(mounts[0], "",
					      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	} else if (mount_old(o, mounts, e) < 0) {
		return -e->code;
	}
	*ret_mount_fd = mounts[0];
	if (o->copy_fd)
		*o->copy_fd = mounts[1];
	else
		close_fd(&mounts[1]);
	return 0;
}
