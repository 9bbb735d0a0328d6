/* tests/fuzz/image_layer.c - a layer, from its bytes to files
 * SPDX-License-Identifier: Apache-2.0
 *
 * Into a directory of its own, beside a file that must stay what it is: the
 * writer has to keep to its directory without the help of a jail.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "image/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_outside(int dir_fd)
{
	auto_buf struct buf b = BUF_INIT(16);
	auto_closedir DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_CLOEXEC));
	struct err e = {0};
	struct stat st;
	size_t count = 0;

	assert(fs_read(dir_fd, "canary", &b, &e) == 0 && strcmp(buf_str(&b), "safe") == 0);
	assert(fstatat(dir_fd, "canary", &st, 0) == 0 && st.st_nlink == 1 &&
	       (st.st_mode & 07777) == 0600);
	while (readdir(dir))
		count++;
	assert(count == 4); /* ".", "..", the canary, the tree */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[] = "/tmp/berth-fuzz-XXXXXX";
	auto_close int in_fd = memfd_create("layer", MFD_CLOEXEC);
	auto_close int implied_fd = memfd_create("implied", MFD_CLOEXEC);
	auto_close int dir_fd = -1, tree_fd = -1;
	struct intake *intake = NULL;
	struct layer layer;
	struct err e = {0};

	assert(implied_fd >= 0 && in_fd >= 0 && write_all(in_fd, data, size) == 0 &&
	       lseek(in_fd, 0, SEEK_SET) == 0);
	assert(mkdtemp(path));
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert(fs_replace(dir_fd, "canary", "safe", 4, 0600, FS_QUICK, &e) == 0);
	assert(fs_open_dir(dir_fd, "tree", 0755, &tree_fd, &e) == 0);

	assert(intake_new(&(struct intake_fds){in_fd, -1, -1, false}, &intake, &e) == 0);
	if (layer_unpack(intake, tree_fd, implied_fd, &layer, &e) < 0)
		assert(e.code && e.msg[0]);
	else
		assert(digest_valid(layer.diff_id));
	intake_free(intake);
	check_outside(dir_fd);
	assert(fs_remove_tree(AT_FDCWD, path, &e) == 0);
	return 0;
}
