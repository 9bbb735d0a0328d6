/* tests/fuzz/keeper_spool.c - a spool as a crash, or somebody, may leave it
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte says how much of the input is the index; the rest is data.
 * Reading must come to an end, give no byte twice that is not recorded twice,
 * and opening the spool for writing must leave one that can be read on.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "keeper/spool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("spool", MFD_CLOEXEC);

	assert(fd >= 0 && write_all(fd, data, size) == 0);
	return fd;
}

static void read_all_pieces(int data_fd, int index_fd)
{
	struct keeper_cursor c = {0}, before = {0};
	struct keeper_chunk chunk;
	struct keeper_log *log;
	struct err e;
	uint64_t steps = 0;

	assert(spool_reader_open(dup(data_fd), dup(index_fd), &log, &e) == 0);
	while (keeper_log_next(log, &c, &chunk, &e) == 0) {
		assert(chunk.size > 0 && chunk.size <= SPOOL_PIECE_MAX);
		assert(c.record > before.record || c.offset > before.offset);
		before = c;
		assert(++steps < 100000);
	}
	(void)keeper_log_discard(log, &c, &e);
	keeper_log_close(log);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spool spool = SPOOL_NONE;
	auto_close int data_fd = -1, index_fd = -1;
	size_t index_size;
	struct err e;

	if (size < 1)
		return 0;
	index_size = data[0] < size - 1 ? data[0] : size - 1;
	index_fd = file_of(data + 1, index_size);
	data_fd = file_of(data + 1 + index_size, size - 1 - index_size);

	read_all_pieces(data_fd, index_fd);
	if (spool_open_fds(dup(data_fd), dup(index_fd), &spool, &e) == 0) {
		assert(lseek(index_fd, 0, SEEK_END) == (off_t)spool.records * 24);
		read_all_pieces(data_fd, index_fd);
	}
	spool_close(&spool);
	return 0;
}
