/* tests/unit/keeper/spool.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "keeper/spool.h"

static char dir[] = "/tmp/berth-unit-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

/* A pipe that holds a text, and a spool that is empty. */
struct bench {
	int read_fd, write_fd;
	struct spool spool;
};

static struct bench begin(void)
{
	struct bench b;
	struct err e = {0};
	char path[64];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	b.read_fd = fds[0];
	b.write_fd = fds[1];
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, i ? SPOOL_INDEX : SPOOL_DATA);
		(void)unlink(path);
	}
	assert_ok(spool_open(dir, &b.spool, &e));
	return b;
}

static void end(struct bench *b)
{
	spool_close(&b->spool);
	close_fd(&b->read_fd);
	close_fd(&b->write_fd);
}

static void print(struct bench *b, const char *text)
{
	assert_int_equal(write_all(b->write_fd, text, strlen(text)), 0);
}

static enum spool_result take(struct bench *b, enum keeper_stream stream, int64_t now_ns)
{
	struct err e;

	return spool_take(&b->spool, b->read_fd, stream, now_ns, &e);
}

/* The next piece is this one. */
static void assert_piece(struct keeper_log *log, struct keeper_cursor *c, int64_t time_ns,
			 enum keeper_stream stream, const char *text)
{
	struct keeper_chunk chunk;
	struct err e = {0};

	assert_ok(keeper_log_next(log, c, &chunk, &e));
	assert_int_equal(chunk.time_ns, time_ns);
	assert_int_equal(chunk.stream, stream);
	assert_int_equal(chunk.size, strlen(text));
	assert_memory_equal(chunk.data, text, chunk.size);
}

static void assert_nothing(struct keeper_log *log, struct keeper_cursor *c)
{
	struct keeper_chunk chunk;
	struct err e = {0};

	assert_int_equal(keeper_log_next(log, c, &chunk, &e), KEEPER_NOTHING);
}

static void pieces_come_back_in_their_order(void **state)
{
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	print(&b, "one\n");
	assert_int_equal(take(&b, KEEPER_STDOUT, 100), SPOOL_MOVED);
	print(&b, "two\n");
	assert_int_equal(take(&b, KEEPER_STDERR, 200), SPOOL_MOVED);
	assert_int_equal(take(&b, KEEPER_STDOUT, 300), SPOOL_EMPTY);

	assert_ok(keeper_log_open(dir, &log, &e));
	assert_piece(log, &c, 100, KEEPER_STDOUT, "one\n");
	assert_int_equal(c.bytes, 4);
	assert_piece(log, &c, 200, KEEPER_STDERR, "two\n");
	assert_int_equal(c.bytes, 8);
	assert_nothing(log, &c);
	print(&b, "three\n");
	assert_int_equal(take(&b, KEEPER_STDOUT, 400), SPOOL_MOVED);
	assert_piece(log, &c, 400, KEEPER_STDOUT, "three\n");
	keeper_log_close(log);
	end(&b);
}

static void the_format_is_what_the_header_says(void **state)
{
	static const unsigned char expected[24] = {0x15, 0xcd, 0x5b, 0x07, 0, 0, 0, 0, 0, 0, 0, 0,
						   0,    0,    0,    0,    3, 0, 0, 0, 2, 0, 0, 0};
	auto_buf struct buf index = BUF_INIT(100), data = BUF_INIT(100);
	struct bench b = begin();
	struct err e = {0};
	char path[64];

	(void)state;
	print(&b, "abc");
	assert_int_equal(take(&b, KEEPER_STDERR, 123456789), SPOOL_MOVED);
	(void)snprintf(path, sizeof(path), "%s/index", dir);
	assert_ok(fs_read(AT_FDCWD, path, &index, &e));
	assert_int_equal(index.size, 24);
	assert_memory_equal(index.data, expected, 24);
	(void)snprintf(path, sizeof(path), "%s/data", dir);
	assert_ok(fs_read(AT_FDCWD, path, &data, &e));
	assert_string_equal(buf_str(&data), "abc");
	end(&b);
}

static void the_end_of_a_pipe_is_seen_after_its_bytes(void **state)
{
	struct bench b = begin();

	(void)state;
	print(&b, "last");
	close_fd(&b.write_fd);
	assert_int_equal(take(&b, KEEPER_STDOUT, 1), SPOOL_MOVED);
	assert_int_equal(take(&b, KEEPER_STDOUT, 2), SPOOL_ENDED);
	assert_int_equal(b.spool.records, 1);
	end(&b);
}

static void without_room_the_bytes_stay_in_the_pipe(void **state)
{
	struct rlimit before, none = {0};
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	print(&b, "patience");
	for (rlim_t room = 0; room <= 24; room += 8) { /* not for the index, then not for data */
		none.rlim_cur = room;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
		if (room < 24)
			assert_int_equal(take(&b, KEEPER_STDOUT, 1), SPOOL_FULL);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	}
	assert_int_equal(b.spool.records, 0);
	assert_int_equal(b.spool.data_size, 0);
	assert_int_equal(take(&b, KEEPER_STDOUT, 7), SPOOL_MOVED);
	assert_ok(keeper_log_open(dir, &log, &e));
	assert_piece(log, &c, 7, KEEPER_STDOUT, "patience");
	assert_nothing(log, &c);
	keeper_log_close(log);
	end(&b);
}

static void a_record_whose_bytes_did_not_all_come_is_mended(void **state)
{
	static const struct {
		uint64_t data_size;
		uint32_t expected;
	} cases[] = {{8, 4}, {6, 2}, {4, 0}, {2, 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct bench b = begin();
		struct spool_record last;
		struct err e = {0};

		print(&b, "good");
		assert_int_equal(take(&b, KEEPER_STDOUT, 1), SPOOL_MOVED);
		print(&b, "more");
		assert_int_equal(take(&b, KEEPER_STDOUT, 2), SPOOL_MOVED);
		assert_int_equal(ftruncate(b.spool.data_fd, (off_t)cases[i].data_size), 0);
		spool_close(&b.spool);

		assert_ok(spool_open(dir, &b.spool, &e));
		assert_int_equal(b.spool.records, 2);
		assert_int_equal(pread(b.spool.index_fd, &last, sizeof(last), 24), 24);
		assert_int_equal(last.size, cases[i].expected);
		/* What comes next is right in any case. */
		print(&b, "next");
		assert_int_equal(take(&b, KEEPER_STDOUT, 3), SPOOL_MOVED);
		assert_int_equal(b.spool.records, 3);
		assert_int_equal(b.spool.data_size, cases[i].data_size + 4);
		end(&b);
	}
}

static void a_record_that_was_cut_off_is_written_anew(void **state)
{
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	print(&b, "one");
	assert_int_equal(take(&b, KEEPER_STDOUT, 1), SPOOL_MOVED);
	assert_int_equal(pwrite(b.spool.index_fd, "half a rec", 10, 24), 10);
	spool_close(&b.spool);
	assert_ok(spool_open(dir, &b.spool, &e));
	print(&b, "two");
	assert_int_equal(take(&b, KEEPER_STDOUT, 2), SPOOL_MOVED);
	assert_ok(keeper_log_open(dir, &log, &e));
	assert_piece(log, &c, 1, KEEPER_STDOUT, "one");
	assert_piece(log, &c, 2, KEEPER_STDOUT, "two");
	keeper_log_close(log);
	end(&b);
}

static void a_record_before_its_bytes_gives_what_is_there(void **state)
{
	const struct spool_record early = {.time_ns = 5, .offset = 0, .size = 6, .stream = 1};
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	assert_ok(keeper_log_open(dir, &log, &e));
	assert_int_equal(pwrite(b.spool.index_fd, &early, sizeof(early), 0), sizeof(early));
	assert_nothing(log, &c);
	assert_int_equal(pwrite(b.spool.data_fd, "abc", 3, 0), 3);
	assert_piece(log, &c, 5, KEEPER_STDOUT, "abc");
	assert_nothing(log, &c);
	assert_int_equal(pwrite(b.spool.data_fd, "def", 3, 3), 3);
	assert_piece(log, &c, 5, KEEPER_STDOUT, "def");
	assert_nothing(log, &c);
	keeper_log_close(log);
	end(&b);
}

static void a_cursor_goes_on_where_it_was(void **state)
{
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		print(&b, "x");
		assert_int_equal(take(&b, KEEPER_STDOUT, i), SPOOL_MOVED);
	}
	assert_ok(keeper_log_open(dir, &log, &e));
	assert_piece(log, &c, 0, KEEPER_STDOUT, "x");
	keeper_log_close(log);
	assert_ok(keeper_log_open(dir, &log, &e));
	assert_piece(log, &c, 1, KEEPER_STDOUT, "x");
	assert_piece(log, &c, 2, KEEPER_STDOUT, "x");
	assert_nothing(log, &c);
	keeper_log_close(log);
	end(&b);
}

static void what_is_discarded_takes_no_space(void **state)
{
	static char big[SPOOL_PIECE_MAX];
	struct keeper_cursor c = {0};
	struct bench b = begin();
	struct keeper_chunk chunk;
	struct keeper_log *log;
	struct err e = {0};
	struct stat st;
	int r;

	(void)state;
	memset(big, 'y', sizeof(big));
	for (int i = 0; i < 16; i++) {
		assert_int_equal(write_all(b.write_fd, big, 32768), 0);
		assert_int_equal(take(&b, KEEPER_STDOUT, i), SPOOL_MOVED);
	}
	assert_ok(keeper_log_open(dir, &log, &e));
	while ((r = keeper_log_next(log, &c, &chunk, &e)) == 0)
		;
	assert_int_equal(r, KEEPER_NOTHING);
	assert_int_equal(c.bytes, 16 * 32768);
	r = keeper_log_discard(log, &c, &e);
	if (r == -EOPNOTSUPP) { /* the file system of /tmp has no holes */
		keeper_log_close(log);
		end(&b);
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(fstat(b.spool.data_fd, &st), 0);
	assert_true(st.st_blocks * 512 <= 8192);
	assert_int_equal(st.st_size, 16 * 32768);
	print(&b, "and on");
	assert_int_equal(take(&b, KEEPER_STDOUT, 99), SPOOL_MOVED);
	assert_piece(log, &c, 99, KEEPER_STDOUT, "and on");
	keeper_log_close(log);
	end(&b);
}

static void a_broken_index_is_refused(void **state)
{
	static const struct spool_record cases[] = {
		{.size = SPOOL_PIECE_MAX + 1, .stream = 1},
		{.size = 1, .stream = 0},
		{.size = 1, .stream = 3},
		{.size = 1, .stream = 1, .offset = UINT64_MAX},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct keeper_cursor c = {0};
		struct bench b = begin();
		struct keeper_chunk chunk;
		struct keeper_log *log;
		struct err e = {0};

		assert_int_equal(pwrite(b.spool.index_fd, &cases[i], 24, 0), 24);
		assert_ok(keeper_log_open(dir, &log, &e));
		assert_fails(keeper_log_next(log, &c, &chunk, &e), EBADMSG);
		c.record = UINT64_MAX;
		assert_fails(keeper_log_next(log, &c, &chunk, &e), EINVAL);
		keeper_log_close(log);
		end(&b);
	}
}

static void where_no_spool_is_there_is_none(void **state)
{
	struct keeper_log *log;
	struct err e = {0};

	(void)state;
	assert_int_equal(keeper_log_open("/nonexistent", &log, &e), KEEPER_ABSENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_come_back_in_their_order),
		cmocka_unit_test(the_format_is_what_the_header_says),
		cmocka_unit_test(the_end_of_a_pipe_is_seen_after_its_bytes),
		cmocka_unit_test(without_room_the_bytes_stay_in_the_pipe),
		cmocka_unit_test(a_record_whose_bytes_did_not_all_come_is_mended),
		cmocka_unit_test(a_record_that_was_cut_off_is_written_anew),
		cmocka_unit_test(a_record_before_its_bytes_gives_what_is_there),
		cmocka_unit_test(a_cursor_goes_on_where_it_was),
		cmocka_unit_test(what_is_discarded_takes_no_space),
		cmocka_unit_test(a_broken_index_is_refused),
		cmocka_unit_test(where_no_spool_is_there_is_none),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
