/* tests/fuzz/image_table.c - a table from foreign hands, merged with itself and written
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first 16 bytes are the sizes of the layer's files.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/erofs.h"
#include "image/merge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int memory(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0 && write_all(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static void merge_twice(struct table *table, const uint64_t *bytes)
{
	static const uint16_t devices[2][TABLE_DEVICES] = {{0, 1}, {2, 3}};
	const uint64_t all[2 * TABLE_DEVICES] = {bytes[0], bytes[1], bytes[0], bytes[1]};
	struct outline *image = outline_new();
	auto_close int fd = memory("", 0);
	struct err e = {0};
	int r = 0;

	for (int i = 0; r == 0 && i < 2; i++)
		r = merge_layer(image, table, devices[i], &e);
	if (r == 0)
		r = erofs_write(image, all, 2 * TABLE_DEVICES, fd, &e);
	assert(r == 0 || (e.code && e.msg[0]));
	outline_free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t bytes[TABLE_DEVICES];
	auto_close int fd = -1;
	struct table *table;
	struct err e = {0};

	if (size < sizeof(bytes))
		return 0;
	memcpy(bytes, data, sizeof(bytes));
	fd = memory(data + sizeof(bytes), size - sizeof(bytes));
	if (table_read(fd, bytes, &table, &e) < 0) {
		assert(e.code && e.msg[0]);
		return 0;
	}
	merge_twice(table, bytes);
	table_free(table);
	return 0;
}
