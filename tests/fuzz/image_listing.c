/* tests/fuzz/image_listing.c - a layer, from its bytes to a table, and on to an index
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the lister writes, the reader of tables takes, and the same bytes give the
 * same table again.
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
#include "image/erofs.h"
#include "image/layer.h"
#include "image/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int memory(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0 && write_all(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert(fstat(fd, &st) == 0);
	return (uint64_t)st.st_size;
}

struct listed {
	int tar_fd, table_fd, sparse_fd;
	struct layer layer;
};

/* False: it is no layer. */
static bool list(const uint8_t *data, size_t size, struct listed *l)
{
	auto_close int in_fd = memory(data, size);
	struct intake *intake = NULL;
	struct err e = {0};
	int r;

	*l = (struct listed){memory("", 0), memory("", 0), memory("", 0), {.bytes = 0}};
	assert(intake_new(&(struct intake_fds){in_fd, l->tar_fd, -1, false}, &intake, &e) == 0);
	r = layer_list(intake, l->table_fd, l->sparse_fd, &l->layer, &e);
	intake_free(intake);
	assert(r == 0 || (e.code && e.msg[0]));
	return r == 0;
}

static void done(struct listed *l)
{
	close_fd(&l->tar_fd);
	close_fd(&l->table_fd);
	close_fd(&l->sparse_fd);
}

static void make_index(const struct listed *l, struct table *table)
{
	const uint64_t bytes[TABLE_DEVICES] = {size_of(l->tar_fd), size_of(l->sparse_fd)};
	const uint16_t devices[TABLE_DEVICES] = {0, 1};
	struct outline *image = outline_new();
	auto_close int fd = memory("", 0);
	struct err e = {0};
	int r = merge_layer(image, table, devices, &e);

	assert(r == 0 || strstr(e.msg, "nor one below"));
	if (r == 0)
		assert(erofs_write(image, bytes, TABLE_DEVICES, fd, &e) == 0 &&
		       size_of(fd) % 512 == 0);
	outline_free(image);
}

static void check_same(int a_fd, int b_fd)
{
	auto_buf struct buf a = BUF_INIT(64 << 20), b = BUF_INIT(64 << 20);
	struct err e = {0};

	assert(lseek(a_fd, 0, SEEK_SET) == 0 && lseek(b_fd, 0, SEEK_SET) == 0);
	assert(fs_read_fd(a_fd, &a, &e) == 0 && fs_read_fd(b_fd, &b, &e) == 0);
	assert(a.size == b.size && memcmp(buf_str(&a), buf_str(&b), a.size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct listed first, second;
	struct table *table;
	struct err e = {0};

	if (list(data, size, &first)) {
		const uint64_t bytes[TABLE_DEVICES] = {size_of(first.tar_fd),
						       size_of(first.sparse_fd)};

		assert(lseek(first.table_fd, 0, SEEK_SET) == 0);
		assert(table_read(first.table_fd, bytes, &table, &e) == 0);
		make_index(&first, table);
		table_free(table);
		assert(list(data, size, &second));
		check_same(first.table_fd, second.table_fd);
		assert(strcmp(first.layer.diff_id, second.layer.diff_id) == 0);
		done(&second);
	}
	done(&first);
	return 0;
}
