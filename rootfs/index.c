/* rootfs/index.c - an index, mounted nowhere
 * SPDX-License-Identifier: Apache-2.0
 *
 * EROFS takes its files by name: ours are names of descriptors, so a container
 * that looks at its mounts learns nothing about the host's directories.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "rootfs/context.h"
#include "rootfs/rootfs.h"

#define PROBE      "probe"
#define PROBE_SIZE 512

int rootfs_open_index(const char *index, char *const *devices, size_t device_count, int *ret_fd,
		      struct err *e)
{
	auto_close int fs_fd = fsopen("erofs", FSOPEN_CLOEXEC);
	auto_close int index_fd = open(index, O_RDONLY | O_CLOEXEC);
	int fds[2 * ROOTFS_LAYERS_MAX], r;
	size_t count = 0;

	if (fs_fd < 0)
		return err_sys(e, "erofs");
	if (index_fd < 0)
		return err_sys(e, "open index %s", index);
	if (device_count > ARRAY_COUNT(fds))
		return err_set(e, EINVAL, "index of %zu files", device_count);
	r = fs_context_file(fs_fd, "source", index_fd, e);
	for (size_t i = 0; r == 0 && i < device_count; i++) {
		fds[i] = open(devices[i], O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0) {
			r = err_sys(e, "open %s", devices[i]);
			break;
		}
		count++;
		r = fs_context_file(fs_fd, "device", fds[i], e);
	}
	if (r == 0)
		r = fs_context_mount(fs_fd, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOATIME, ret_fd, e);
	while (count > 0)
		(void)close(fds[--count]);
	return r < 0 ? err_wrap(e, "erofs") : 0;
}

/* ---- trying ---- */

static int compare(int root_fd, const char *device, struct err *e)
{
	auto_close int fd = openat(root_fd, PROBE, O_RDONLY | O_CLOEXEC);
	auto_buf struct buf there = BUF_INIT(PROBE_SIZE), here = BUF_INIT(PROBE_SIZE);

	if (fd < 0)
		return err_sys(e, "open what an index shows");
	if (fs_read_fd(fd, &here, e) < 0 || fs_read(AT_FDCWD, device, &there, e) < 0)
		return -e->code;
	if (here.size != PROBE_SIZE || there.size != here.size ||
	    memcmp(here.data, there.data, here.size) != 0)
		return err_set(e, EIO, "an index shows other bytes than its device has");
	return 0;
}

int rootfs_try_index(const char *index, const char *device, const char *scratch, struct err *e)
{
	char *devices[] = {(char *)(uintptr_t)device};
	auto_close int index_fd = -1, root_fd = -1;
	const struct rootfs_spec spec = {
		.index_fd = &index_fd, .scratch = scratch, .volatile_upper = true};
	struct err ignored;
	int r;

	if (rootfs_open_index(index, devices, 1, &index_fd, e) < 0 ||
	    rootfs_scratch_create(scratch, e) < 0)
		return -e->code;
	r = rootfs_mount(&spec, &root_fd, e);
	if (r == 0)
		r = compare(root_fd, device, e);
	close_fd(&root_fd);
	(void)rootfs_scratch_remove(scratch, &ignored);
	return r;
}
