/* tests/unit/image/inflate.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zstd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/inflate.h"
#include "image/reason.h"

#define TEXT_SIZE (3 << 20) /* larger than any buffer on the way */

static void add_text(struct buf *b, size_t size)
{
	uint32_t x = 1;

	for (size_t i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		buf_putc(b, (char)('a' + (x >> 24) % 20));
	}
}

static void add_gzip(struct buf *b, const void *data, size_t size)
{
	uint8_t *level = xcalloc(1, ISAL_DEF_LVL1_DEFAULT);
	struct isal_zstream s;
	size_t room = size + size / 8 + 4096;

	isal_deflate_init(&s);
	s.gzip_flag = IGZIP_GZIP;
	s.level = 1;
	s.level_buf = level;
	s.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
	s.end_of_stream = 1;
	s.next_in = (uint8_t *)(uintptr_t)data;
	s.avail_in = (uint32_t)size;
	s.next_out = buf_reserve(b, room);
	s.avail_out = (uint32_t)room;
	assert_int_equal(isal_deflate(&s), COMP_OK);
	buf_commit(b, room - s.avail_out);
	free(level);
}

static void add_zstd(struct buf *b, const void *data, size_t size)
{
	size_t room = ZSTD_compressBound(size);
	size_t n = ZSTD_compress(buf_reserve(b, room), room, data, size, 3);

	assert_false(ZSTD_isError(n));
	buf_commit(b, n);
}

static void add_xz(struct buf *b, const void *data, size_t size)
{
	size_t room = lzma_stream_buffer_bound(size), n = 0;

	assert_int_equal(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, NULL, data, size,
						 buf_reserve(b, room), &n, room),
			 LZMA_OK);
	buf_commit(b, n);
}

/* Bytes come through a pipe, 'step' at a time. */
struct feeder {
	const struct buf *data;
	size_t step;
	int fd;
};

static void *feed(void *ctx)
{
	struct feeder *f = ctx;

	for (size_t at = 0; at < f->data->size;) {
		size_t n = f->data->size - at < f->step ? f->data->size - at : f->step;

		if (write_all(f->fd, f->data->data + at, n) < 0)
			break;
		at += n;
	}
	(void)close(f->fd);
	return NULL;
}

static bool takes_xz = true;

static int inflate_all(const struct buf *in, size_t step, struct buf *out, struct err *e)
{
	struct inflate *z;
	struct feeder f = {in, step, -1};
	pthread_t thread;
	char data[5000];
	int fds[2], r;
	size_t size;

	assert_int_equal(pipe(fds), 0);
	f.fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, feed, &f), 0);
	z = inflate_new(fds[0], -1);
	if (takes_xz)
		inflate_take_xz(z);
	while ((r = inflate_next(z, data, sizeof(data), &size, e)) == 0 && size > 0)
		buf_add(out, data, size);
	if (r == 0) {
		assert_int_equal(inflate_bytes_in(z), in->size);
		assert_int_equal(inflate_bytes_out(z), out->size);
	}
	inflate_free(z);
	(void)close(fds[0]);
	(void)pthread_join(thread, NULL);
	return r;
}

static void add_plain(struct buf *b, const void *data, size_t size)
{
	buf_add(b, data, size);
}

static void (*const packers[])(struct buf *b, const void *data, size_t size) = {
	add_plain,
	add_gzip,
	add_zstd,
	add_xz,
};

static void what_was_packed_comes_out(void **state)
{
	static const size_t sizes[] = {0, 1, 5, 6, 70000, TEXT_SIZE};

	(void)state;
	for (size_t p = 0; p < ARRAY_COUNT(packers); p++) {
		for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
			auto_buf struct buf text = BUF_INIT(8 << 20), in = BUF_INIT(8 << 20);
			auto_buf struct buf out = BUF_INIT(8 << 20);
			struct err e = {0};

			add_text(&text, sizes[i]);
			packers[p](&in, buf_str(&text), text.size);
			assert_ok(inflate_all(&in, 1 << 20, &out, &e));
			assert_int_equal(out.size, text.size);
			assert_memory_equal(buf_str(&out), buf_str(&text), text.size);
		}
	}
}

static void it_does_not_matter_how_the_bytes_come(void **state)
{
	static const size_t steps[] = {1, 2, 3, 7, 511, 65536};

	(void)state;
	for (size_t p = 0; p < ARRAY_COUNT(packers); p++) {
		auto_buf struct buf text = BUF_INIT(8 << 20), in = BUF_INIT(8 << 20);

		add_text(&text, 20000);
		packers[p](&in, text.data, text.size);
		for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
			auto_buf struct buf out = BUF_INIT(8 << 20);
			struct err e = {0};

			assert_ok(inflate_all(&in, steps[i], &out, &e));
			assert_int_equal(out.size, text.size);
			assert_memory_equal(out.data, text.data, text.size);
		}
	}
}

static void members_and_frames_in_a_row_are_one(void **state)
{
	(void)state;
	for (size_t p = 1; p < ARRAY_COUNT(packers); p++) {
		static const size_t steps[] = {1, 13, 1 << 20};

		for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
			auto_buf struct buf text = BUF_INIT(8 << 20), in = BUF_INIT(8 << 20);
			auto_buf struct buf out = BUF_INIT(8 << 20);
			struct err e = {0};

			add_text(&text, 10000);
			packers[p](&in, text.data, 4000);
			packers[p](&in, text.data, 0);
			packers[p](&in, text.data + 4000, 6000);
			assert_ok(inflate_all(&in, steps[i], &out, &e));
			assert_int_equal(out.size, text.size);
			assert_memory_equal(out.data, text.data, text.size);
		}
	}
}

static void skippable_frames_are_skipped(void **state)
{
	static const unsigned char skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3,  0,
						  0,    0,    'x',  'y',  'z'};
	auto_buf struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	struct err e = {0};

	(void)state;
	add_zstd(&in, "hello ", 6);
	buf_add(&in, skippable, sizeof(skippable));
	add_zstd(&in, "world", 5);
	assert_ok(inflate_all(&in, 1, &out, &e));
	assert_string_equal(buf_str(&out), "hello world");
}

static void a_truncated_stream_says_so(void **state)
{
	(void)state;
	for (size_t p = 1; p < ARRAY_COUNT(packers); p++) {
		auto_buf struct buf text = BUF_INIT(8 << 20), in = BUF_INIT(8 << 20);
		size_t whole;

		add_text(&text, 3000);
		packers[p](&in, text.data, text.size);
		whole = in.size;
		/* Fewer than the magic's bytes would be plain. */
		for (size_t size = 6; size < whole; size += size < whole - 20 ? 97 : 1) {
			auto_buf struct buf out = BUF_INIT(8 << 20);
			struct err e = {0};

			in.size = size;
			assert_fails(inflate_all(&in, 1000, &out, &e), ENODATA);
		}
	}
}

static void what_stands_behind_the_end_is_refused(void **state)
{
	static const char *const tails[] = {"x", "\x1f", "garbage", "more garbage than a header"};

	(void)state;
	for (size_t p = 1; p < ARRAY_COUNT(packers); p++) {
		for (size_t i = 0; i < ARRAY_COUNT(tails); i++) {
			auto_buf struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
			struct err e = {0};
			int r;

			packers[p](&in, "hello", 5);
			buf_puts(&in, tails[i]);
			r = inflate_all(&in, 1000, &out, &e);
			if (r != -EBADMSG && r != -ENODATA)
				fail_msg("'%s': %d %s", tails[i], r, e.msg);
		}
	}
}

static void damage_is_found(void **state)
{
	(void)state;
	for (size_t p = 1; p < ARRAY_COUNT(packers); p++) {
		auto_buf struct buf in = BUF_INIT(1 << 20);
		auto_buf struct buf text = BUF_INIT(100000);

		add_text(&text, 5000);
		packers[p](&in, text.data, text.size);
		for (size_t at = 20; at < in.size; at += 211) {
			auto_buf struct buf out = BUF_INIT(1 << 20);
			struct err e = {0};
			int r;

			in.data[at] ^= 0x55;
			r = inflate_all(&in, 1000, &out, &e);
			in.data[at] ^= 0x55;
			/* zstd without a checksum may unpack to something else: the digest tells. */
			if (r == 0 && p == 1)
				fail_msg("byte %zu of gzip was changed and nobody saw it", at);
		}
	}
}

static void a_bomb_is_stopped_early(void **state)
{
	(void)state;
	for (size_t p = 1; p < ARRAY_COUNT(packers); p++) {
		size_t size = 80 << 20;
		auto_free char *zeros = xcalloc(1, size);
		auto_buf struct buf in = BUF_INIT(300 << 20);
		auto_buf struct buf out = BUF_INIT(300 << 20);
		struct err e = {0};
		int r;

		packers[p](&in, zeros, size);
		r = inflate_all(&in, 1 << 20, &out, &e);
		if (in.size >= size / 1000) {
			assert_int_equal(r, 0); /* at most 1,000 times: fine */
			continue;
		}
		assert_int_equal(r, -EFBIG);
		assert_says("1000 times");
		assert_true(out.size <= 66 << 20);
	}
}

static void other_packers_are_named(void **state)
{
	static const struct {
		const char *magic, *says;
	} cases[] = {{"BZh91AY&SY", "bzip2"},
		     {"\xfd"
		      "7zXZ\0\0\4",
		      "xz"}};

	(void)state;
	takes_xz = false;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_buf struct buf in = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
		struct err e = {0};

		buf_add(&in, cases[i].magic, 8);
		assert_fails(inflate_all(&in, 1000, &out, &e), ENOTSUP);
		assert_says(cases[i].says);
	}
	takes_xz = true;
}

/* ---- what is kept as it came ---- */

static int64_t now_ns, read_ns; /* what a read takes */

int64_t __wrap_clock_mono_ns(void);
int64_t __wrap_clock_mono_ns(void)
{
	return now_ns += read_ns;
}

static off_t kept_of(size_t size, int64_t work_ns)
{
	auto_close int fd = memfd_create("in", MFD_CLOEXEC);
	auto_close int packed_fd = memfd_create("packed", MFD_CLOEXEC);
	auto_free char *piece = xcalloc(1, 1 << 20);
	struct inflate *z = inflate_new(fd, packed_fd);
	struct err e = {0};
	struct stat st;
	size_t n = 1;

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	inflate_keep_if_slow(z);
	while (n > 0) {
		assert_int_equal(inflate_next(z, piece, 1 << 20, &n, &e), 0);
		now_ns += work_ns;
	}
	inflate_free(z);
	assert_int_equal(fstat(packed_fd, &st), 0);
	return st.st_size;
}

static void what_comes_slowly_is_kept_and_not_what_is_read_slowly(void **state)
{
	const size_t size = INFLATE_KEEP_MIN + (8 << 20);

	(void)state;
	read_ns = 10 * NS_PER_MS; /* of 256 KiB */
	assert_int_equal(kept_of(size, 0), size);
	read_ns = NS_PER_MS / 10;
	assert_in_range(kept_of(size, 100 * NS_PER_MS), INFLATE_KEEP_MIN, size - 1);
	read_ns = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_packed_comes_out),
		cmocka_unit_test(it_does_not_matter_how_the_bytes_come),
		cmocka_unit_test(members_and_frames_in_a_row_are_one),
		cmocka_unit_test(skippable_frames_are_skipped),
		cmocka_unit_test(a_truncated_stream_says_so),
		cmocka_unit_test(what_stands_behind_the_end_is_refused),
		cmocka_unit_test(damage_is_found),
		cmocka_unit_test(a_bomb_is_stopped_early),
		cmocka_unit_test(other_packers_are_named),
		cmocka_unit_test(what_comes_slowly_is_kept_and_not_what_is_read_slowly),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
