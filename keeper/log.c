/* keeper/log.c - the reader of a spool
 * SPDX-License-Identifier: Apache-2.0
 *
 * The keeper writes while we read.  The length of `data` is asked before a
 * record is read: what lies below that length belonged to records that were
 * right by then, so a record that is still to be corrected never lends us
 * another one's bytes.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "keeper/spool.h"

struct keeper_log {
	int data_fd, index_fd;
	uint64_t discarded_records, discarded_bytes;
	char piece[SPOOL_PIECE_MAX];
};

int spool_reader_open(int own_data_fd, int own_index_fd, struct keeper_log **ret, struct err *e)
{
	struct keeper_log *log = xcalloc(1, sizeof(*log));

	(void)e;
	log->data_fd = own_data_fd;
	log->index_fd = own_index_fd;
	*ret = log;
	return 0;
}

int keeper_log_open(const char *log_dir, struct keeper_log **ret, struct err *e)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
	auto_close int dir_fd = open(log_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int data_fd = -1, index_fd = -1;

	if (dir_fd >= 0)
		data_fd = openat(dir_fd, SPOOL_DATA, flags);
	if (data_fd >= 0)
		index_fd = openat(dir_fd, SPOOL_INDEX, flags);
	if (index_fd < 0)
		return errno == ENOENT ? KEEPER_ABSENT : err_sys(e, "open spool in %s", log_dir);
	return spool_reader_open(take_fd(data_fd), take_fd(index_fd), ret, e);
}

int keeper_log_prepare(const char *log_dir, struct err *e)
{
	struct spool s;

	if (spool_open(log_dir, &s, e) < 0)
		return -e->code;
	spool_close(&s);
	return 0;
}

void keeper_log_close(struct keeper_log *log)
{
	if (!log)
		return;
	close_fd(&log->data_fd);
	close_fd(&log->index_fd);
	free(log);
}

static ssize_t read_at(int fd, void *data, size_t size, uint64_t offset)
{
	ssize_t n;

	do
		n = pread(fd, data, size, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n;
}

/* 0, or KEEPER_NOTHING when there is no such record yet. */
static int read_record(const struct keeper_log *log, uint64_t record, struct spool_record *ret,
		       struct err *e)
{
	ssize_t n;

	if (record > INT64_MAX / sizeof(*ret) - 1)
		return err_set(e, EINVAL, "cursor at record %llu", (unsigned long long)record);
	n = read_at(log->index_fd, ret, sizeof(*ret), record * sizeof(*ret));
	if (n < 0)
		return err_sys(e, "read index");
	if (n < (ssize_t)sizeof(*ret))
		return KEEPER_NOTHING;
	if (ret->size > SPOOL_PIECE_MAX || ret->offset > INT64_MAX - SPOOL_PIECE_MAX ||
	    (ret->stream != KEEPER_STDOUT && ret->stream != KEEPER_STDERR))
		return err_set(e, EBADMSG, "record %llu of the index is broken",
			       (unsigned long long)record);
	return 0;
}

/* How many bytes of the record lie behind 'from' and are there. */
static uint32_t bytes_there(const struct spool_record *r, uint32_t from, uint64_t data_size)
{
	uint64_t there = data_size > r->offset ? data_size - r->offset : 0;
	uint64_t end = there < r->size ? there : r->size;

	return end > from ? (uint32_t)(end - from) : 0;
}

/* The record and how many of its bytes behind the cursor are there; or KEEPER_NOTHING. */
static int look(const struct keeper_log *log, const struct keeper_cursor *cursor,
		struct spool_record *ret, uint32_t *ret_size, struct err *e)
{
	struct stat st;
	int result;

	if (fstat(log->data_fd, &st) < 0) /* first, see above */
		return err_sys(e, "size of data");
	result = read_record(log, cursor->record, ret, e);
	if (result == 0)
		*ret_size = bytes_there(ret, cursor->offset, (uint64_t)st.st_size);
	return result;
}

int keeper_log_next(struct keeper_log *log, struct keeper_cursor *cursor, struct keeper_chunk *ret,
		    struct err *e)
{
	struct spool_record r, next;
	uint32_t size;
	ssize_t n;
	int result;

	for (;;) {
		result = look(log, cursor, &r, &size, e);
		if (result != 0)
			return result;
		if (size)
			break;
		/* A record is complete when there is one behind it, so look once more then. */
		result = read_record(log, cursor->record + 1, &next, e);
		if (result == 0)
			result = look(log, cursor, &r, &size, e);
		if (result != 0)
			return result;
		if (!size)
			*cursor = (struct keeper_cursor){.record = cursor->record + 1,
							 .bytes = r.offset + r.size};
	}

	n = read_at(log->data_fd, log->piece, size, r.offset + cursor->offset);
	if (n < 0)
		return err_sys(e, "read data");
	if (n == 0)
		return KEEPER_NOTHING;
	*ret = (struct keeper_chunk){.time_ns = r.time_ns,
				     .stream = (enum keeper_stream)r.stream,
				     .data = log->piece,
				     .size = (size_t)n};
	cursor->offset += (uint32_t)n;
	cursor->bytes = r.offset + cursor->offset;
	return 0;
}

static int punch(int fd, uint64_t from, uint64_t to, struct err *e)
{
	if (to <= from)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		      (off_t)(to - from)) < 0)
		return err_sys(e, "give back disk space of a spool");
	return 0;
}

int keeper_log_discard(struct keeper_log *log, const struct keeper_cursor *cursor, struct err *e)
{
	struct spool_record r;
	uint64_t bytes, records = cursor->record;
	int result = read_record(log, records, &r, e);

	if (result != 0) /* at the end already: what is before the last record goes later */
		return result == KEEPER_NOTHING ? 0 : result;
	bytes = r.offset + (cursor->offset < r.size ? cursor->offset : r.size);
	if (punch(log->data_fd, log->discarded_bytes, bytes, e) < 0 ||
	    punch(log->index_fd, log->discarded_records * sizeof(r), records * sizeof(r), e) < 0)
		return -e->code;
	log->discarded_bytes = bytes;
	log->discarded_records = records;
	return 0;
}
