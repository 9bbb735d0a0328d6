/* agent/indexes.c - how this host shows images, and the indexes that are mounted
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whether the kernel mounts layers as they lie in their tars is found out by
 * doing so when the agent starts.  The index of an image stays mounted, nowhere,
 * while the image is among those used last, so that a further root of it waits
 * for nothing and shares what is in the page cache.  What is mounted goes with
 * its last user: a container's root has its own hold on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "rootfs/rootfs.h"

#define PROBE_SIZE 512

/* ---- the form ---- */

static int try_index(const char *dir, struct err *e)
{
	auto_free char *index = xasprintf("%s/index", dir);
	auto_free char *device = xasprintf("%s/device", dir);
	auto_free char *scratch = xasprintf("%s/scratch", dir);
	const char block[PROBE_SIZE] = "berth";
	auto_close int fd = -1;

	if (fs_mkdirs(AT_FDCWD, dir, 0700, e) < 0 ||
	    fs_write(AT_FDCWD, device, block, sizeof(block), 0600, e) < 0)
		return -e->code;
	fd = open(index, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(e, "create %s", index);
	if (image_write_probe(fd, e) < 0)
		return -e->code;
	return rootfs_try_index(index, device, scratch, e);
}

static void forget_topic(struct buf *b, const char *topic)
{
	auto_free char *begin = xasprintf("%s: ", topic), *old = xstrdup(buf_str(b));
	char *rest = old, *told;

	buf_reset(b);
	while (*rest && (told = strsep(&rest, "\n"))) {
		if (!str_starts(told, begin))
			buf_printf(b, "%s\n", told);
		if (!rest)
			return;
	}
}

void doctor_tell(struct agent *a, const char *topic, const char *what, const char *why)
{
	auto_free char *path = xasprintf("%s/doctor", a->o->run_dir);
	struct err e;

	forget_topic(&a->doctor, topic);
	log_info("%s: %s%s", topic, what, why);
	buf_printf(&a->doctor, "%s: %s%s\n", topic, what, why);
	if (fs_mkdirs(AT_FDCWD, a->o->run_dir, 0755, &e) < 0 ||
	    fs_replace(AT_FDCWD, path, buf_str(&a->doctor), a->doctor.size, 0644, FS_QUICK, &e) < 0)
		log_warn("doctor: %s", e.msg);
}

static void tell(struct agent *a, const char *what, const char *why)
{
	doctor_tell(a, "images", what, why);
}

enum image_form indexes_choose(struct agent *a)
{
	auto_free char *dir = xasprintf("%s/probe", a->o->state_dir);
	struct err e = {0}, ignored;
	int r;

	if (a->o->no_image_index) {
		tell(a, "layers are unpacked, as berth.conf wants it", "");
		return IMAGE_UNPACKED;
	}
	(void)fs_remove_tree(AT_FDCWD, dir, &ignored); /* what a crash left */
	r = try_index(dir, &e);
	(void)fs_remove_tree(AT_FDCWD, dir, &ignored);
	if (r < 0) {
		tell(a, "layers are unpacked, because this host mounts no index: ", e.msg);
		return IMAGE_UNPACKED;
	}
	tell(a, "layers are mounted as they are (EROFS)", "");
	return IMAGE_INDEXED;
}

/* ---- what is mounted ---- */

static void close_at(struct indexes *x, size_t i)
{
	free(x->items[i].path);
	close_fd(&x->items[i].fd);
	memmove(&x->items[i], &x->items[i + 1], (--x->count - i) * sizeof(x->items[0]));
}

int indexes_open(struct agent *a, const struct image *image, int *ret_fd, struct err *e)
{
	struct indexes *x = &a->indexes;
	struct open_index found = {NULL, 0, -1};
	struct stat st;

	*ret_fd = -1;
	if (!image->index)
		return 0;
	if (stat(image->index, &st) < 0)
		return err_sys(e, "index of %s", image->digest);
	for (size_t i = 0; i < x->count && found.fd < 0; i++) {
		if (strcmp(x->items[i].path, image->index) != 0 || x->items[i].inode != st.st_ino)
			continue;
		found = x->items[i];
		memmove(&x->items[i], &x->items[i + 1], (--x->count - i) * sizeof(found));
	}
	if (found.fd < 0) {
		if (rootfs_open_index(image->index, image->layers.items, image->layers.count,
				      &found.fd, e) < 0)
			return -e->code;
		found.path = xstrdup(image->index);
		found.inode = st.st_ino;
		if (x->count == INDEXES_OPEN)
			close_at(x, 0);
	}
	x->items[x->count++] = found;
	*ret_fd = fcntl(found.fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_sys(e, "index of %s", image->digest) : 0;
}

void indexes_forget(struct agent *a)
{
	while (a->indexes.count)
		close_at(&a->indexes, 0);
}
