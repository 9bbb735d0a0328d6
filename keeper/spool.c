/* keeper/spool.c - what a container prints, written to disk
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keeper/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"

static int64_t record_offset(uint64_t record)
{
	return (int64_t)(record * sizeof(struct spool_record));
}

static int write_record(const struct spool *s, const struct spool_record *r)
{
	ssize_t n;

	do
		n = pwrite(s->index_fd, r, sizeof(*r), record_offset(s->records));
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)sizeof(*r))
		return 0;
	if (n >= 0)
		errno = ENOSPC;
	return -1;
}

/* ---- opening ---- */

/* Only the last record can be wrong: its bytes did not come, or not all of them. */
static int mend_last(struct spool *s, struct err *e)
{
	struct spool_record r;

	if (!s->records)
		return 0;
	if (pread(s->index_fd, &r, sizeof(r), record_offset(s->records - 1)) != (ssize_t)sizeof(r))
		return err_sys(e, "read index");
	if (r.offset > s->data_size) { /* after a power cut */
		r.offset = s->data_size;
		r.size = 0;
	} else if (r.size > s->data_size - r.offset) {
		r.size = (uint32_t)(s->data_size - r.offset);
	} else {
		return 0;
	}
	s->records--;
	if (write_record(s, &r) < 0)
		return err_sys(e, "mend index");
	s->records++;
	return 0;
}

int spool_open_fds(int own_data_fd, int own_index_fd, struct spool *ret, struct err *e)
{
	auto_close int data_fd = own_data_fd, index_fd = own_index_fd;
	struct spool s = {.data_fd = data_fd, .index_fd = index_fd};
	struct stat data, index;

	if (fstat(data_fd, &data) < 0 || fstat(index_fd, &index) < 0)
		return err_sys(e, "size of the spool");
	s.data_size = (uint64_t)data.st_size;
	s.records = (uint64_t)index.st_size / sizeof(struct spool_record);
	/* A record that was cut off is written anew. */
	if (record_offset(s.records) != index.st_size &&
	    ftruncate(index_fd, record_offset(s.records)) < 0)
		return err_sys(e, "mend index");
	if (mend_last(&s, e) < 0)
		return -e->code;

	(void)take_fd(data_fd);
	(void)take_fd(index_fd);
	*ret = s;
	return 0;
}

int spool_open(const char *dir, struct spool *ret, struct err *e)
{
	const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	auto_close int dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int data_fd, index_fd;

	if (dir_fd < 0)
		return err_sys(e, "open log directory %s", dir);
	data_fd = openat(dir_fd, SPOOL_DATA, flags, 0600);
	if (data_fd < 0)
		return err_sys(e, "open %s/" SPOOL_DATA, dir);
	index_fd = openat(dir_fd, SPOOL_INDEX, flags, 0600);
	if (index_fd < 0) {
		(void)err_sys(e, "open %s/" SPOOL_INDEX, dir);
		close_fd(&data_fd);
		return -e->code;
	}
	if (spool_open_fds(data_fd, index_fd, ret, e) < 0)
		return err_wrap(e, "spool in %s", dir);
	return 0;
}

void spool_close(struct spool *s)
{
	close_fd(&s->data_fd);
	close_fd(&s->index_fd);
}

/* ---- taking ---- */

/* Nothing is there: for now, or for ever? */
static enum spool_result look_at_end(int pipe_fd)
{
	struct pollfd p = {.fd = pipe_fd, .events = POLLIN};

	if (poll(&p, 1, 0) > 0 && !(p.revents & POLLIN) && p.revents)
		return SPOOL_ENDED;
	return SPOOL_EMPTY;
}

/* Take the record back whose bytes did not come. */
static void unwrite_record(const struct spool *s)
{
	/* Should even this fail, the next record is written over it. */
	(void)!ftruncate(s->index_fd, record_offset(s->records));
}

enum spool_result spool_take(struct spool *s, int pipe_fd, enum keeper_stream stream,
			     int64_t now_ns, struct err *e)
{
	struct spool_record r = {.time_ns = now_ns, .offset = s->data_size, .stream = stream};
	loff_t at = (loff_t)s->data_size;
	int waiting = 0;
	ssize_t n;

	if (ioctl(pipe_fd, FIONREAD, &waiting) < 0 || waiting <= 0)
		return look_at_end(pipe_fd);
	r.size = waiting < SPOOL_PIECE_MAX ? (uint32_t)waiting : SPOOL_PIECE_MAX;
	if (write_record(s, &r) < 0) {
		(void)err_sys(e, "write index");
		unwrite_record(s);
		return SPOOL_FULL;
	}

	do
		n = splice(pipe_fd, NULL, s->data_fd, &at, r.size, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n <= 0) {
		(void)err_sys(e, "write data");
		unwrite_record(s);
		return n < 0 && errno == EAGAIN ? SPOOL_EMPTY : SPOOL_FULL;
	}

	s->data_size += (uint64_t)n;
	if (n < (ssize_t)r.size) {
		r.size = (uint32_t)n;
		(void)write_record(s, &r); /* over what is there: needs no room */
	}
	s->records++;
	return SPOOL_MOVED;
}
