/* image/inflate.c - a layer's bytes, unpacked as they come
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/inflate.h"

#include <assert.h>
#include <errno.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/reason.h"

#define IN_SIZE      (256 << 10)
#define MAGIC_SIZE   6
#define XZ_MEMORY    (128 << 20)
#define ZSTD_LOG_MAX 27 /* 128 MiB of window: what zstd itself takes without being asked */

struct inflate {
	const struct method *method; /* NULL until the first bytes are there */
	int fd, packed_fd;
	bool keep_if_slow;
	int64_t waited_ns; /* for bytes */
	bool input_ended;
	size_t at, filled; /* of 'in' */
	uint64_t bytes_in, bytes_out;
	bool between; /* no member or frame is half read */
	struct inflate_state gzip;
	ZSTD_DCtx *zstd;
	bool takes_xz;
	lzma_stream xz;
	unsigned char *out; /* borrowed for a call */
	size_t out_size;
	unsigned char in[IN_SIZE];
};

/* Unpack from 'in' to 'out' as much as goes; how much came out, or an error. */
struct method {
	const char *name;
	unsigned char magic[MAGIC_SIZE];
	size_t magic_size;
	ssize_t (*step)(struct inflate *z, struct err *e);
};

static int damaged(struct inflate *z, const char *how, struct err *e)
{
	return image_fail(e, IMAGE_REASON_MALFORMED, "%s: %s", z->method->name, how);
}

/* ---- plain ---- */

static ssize_t plain_step(struct inflate *z, struct err *e)
{
	size_t size = z->filled - z->at;

	(void)e;
	if (size > z->out_size)
		size = z->out_size;
	memcpy(z->out, z->in + z->at, size);
	z->at += size;
	return (ssize_t)size;
}

/* ---- gzip ---- */

static const char *gzip_problem(int code)
{
	switch (code) {
	case ISAL_INVALID_WRAPPER:
		return "something else behind its end";
	case ISAL_UNSUPPORTED_METHOD:
		return "an unknown method";
	case ISAL_INCORRECT_CHECKSUM:
		return "wrong checksum";
	default:
		return "damaged";
	}
}

static ssize_t gzip_step(struct inflate *z, struct err *e)
{
	int code;

	if (z->between) {
		isal_inflate_init(&z->gzip);
		z->gzip.crc_flag = ISAL_GZIP;
		z->between = false;
	}
	z->gzip.next_in = z->in + z->at;
	z->gzip.avail_in = (uint32_t)(z->filled - z->at);
	z->gzip.next_out = z->out;
	z->gzip.avail_out = (uint32_t)z->out_size;
	code = isal_inflate(&z->gzip);
	if (code < 0)
		return damaged(z, gzip_problem(code), e);
	z->at = z->filled - z->gzip.avail_in;
	z->between = z->gzip.block_state == ISAL_BLOCK_FINISH;
	return (ssize_t)z->out_size - (ssize_t)z->gzip.avail_out;
}

/* ---- zstd ---- */

static ssize_t zstd_step(struct inflate *z, struct err *e)
{
	ZSTD_inBuffer in = {z->in, z->filled, z->at};
	ZSTD_outBuffer out = {z->out, z->out_size, 0};
	size_t code;

	if (!z->zstd) {
		z->zstd = ZSTD_createDCtx();
		assert(z->zstd);
		(void)ZSTD_DCtx_setParameter(z->zstd, ZSTD_d_windowLogMax, ZSTD_LOG_MAX);
	}
	code = ZSTD_decompressStream(z->zstd, &out, &in);
	if (ZSTD_isError(code))
		return damaged(z, ZSTD_getErrorName(code), e);
	z->at = in.pos;
	z->between = code == 0;
	return (ssize_t)out.pos;
}

/* ---- xz ---- */

static const char *xz_problem(lzma_ret code)
{
	switch (code) {
	case LZMA_MEMLIMIT_ERROR:
		return "it takes more memory than 128 MiB";
	case LZMA_OPTIONS_ERROR:
		return "unknown options";
	default:
		return "damaged";
	}
}

/* Streams in a row, and zeros between them, are its own business: it ends with the input. */
static ssize_t xz_step(struct inflate *z, struct err *e)
{
	lzma_ret code;

	if (!z->takes_xz)
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "packed by xz");
	if (!z->xz.internal && lzma_stream_decoder(&z->xz, XZ_MEMORY, LZMA_CONCATENATED) != LZMA_OK)
		return damaged(z, "no memory for it", e);
	z->between = false;
	z->xz.next_in = z->in + z->at;
	z->xz.avail_in = z->filled - z->at;
	z->xz.next_out = z->out;
	z->xz.avail_out = z->out_size;
	code = lzma_code(&z->xz, z->input_ended ? LZMA_FINISH : LZMA_RUN);
	if (code != LZMA_OK && code != LZMA_STREAM_END && code != LZMA_BUF_ERROR)
		return damaged(z, xz_problem(code), e);
	z->at = z->filled - z->xz.avail_in;
	z->between = code == LZMA_STREAM_END;
	return (ssize_t)(z->out_size - z->xz.avail_out);
}

/* ---- the stream ---- */

static const struct method methods[] = {
	{"gzip", {0x1f, 0x8b}, 2, gzip_step}, {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_step},
	{"bzip2", {'B', 'Z', 'h'}, 3, NULL},  {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz_step},
	{"plain", {0}, 0, plain_step},
};

struct inflate *inflate_new(int fd, int packed_fd)
{
	struct inflate *z = xcalloc(1, sizeof(*z));

	z->fd = fd;
	z->packed_fd = packed_fd;
	z->between = true;
	return z;
}

void inflate_free(struct inflate *z)
{
	if (!z)
		return;
	(void)ZSTD_freeDCtx(z->zstd);
	lzma_end(&z->xz);
	free(z);
}

void inflate_take_xz(struct inflate *z)
{
	z->takes_xz = true;
}

uint64_t inflate_bytes_in(const struct inflate *z)
{
	return z->bytes_in;
}

uint64_t inflate_bytes_out(const struct inflate *z)
{
	return z->bytes_out;
}

void inflate_keep_if_slow(struct inflate *z)
{
	z->keep_if_slow = true;
}

static int keep_packed(struct inflate *z, const void *data, size_t size, struct err *e)
{
	int r;

	if (z->packed_fd < 0)
		return 0;
	if (z->keep_if_slow && z->bytes_in > INFLATE_KEEP_MIN &&
	    z->bytes_in > (uint64_t)(z->waited_ns / NS_PER_MS) * INFLATE_FAST) {
		z->packed_fd = -1;
		return 0;
	}
	r = write_all(z->packed_fd, data, size);
	if (r == 0)
		return 0;
	errno = -r;
	return os_fail(e, "keep the layer's blob");
}

static ssize_t read_some(struct inflate *z)
{
	int64_t begin_ns = clock_mono_ns();
	ssize_t n = read(z->fd, z->in + z->filled, IN_SIZE - z->filled);

	z->waited_ns += clock_mono_ns() - begin_ns;
	return n;
}

/* At least 'want' bytes in 'in', unless the input ends before. */
static int fill(struct inflate *z, size_t want, struct err *e)
{
	if (z->at == z->filled)
		z->at = z->filled = 0;
	while (!z->input_ended && z->filled - z->at < want) {
		ssize_t n = read_some(z);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_fail(e, "read the layer");
		if (n > 0 && keep_packed(z, z->in + z->filled, (size_t)n, e) < 0)
			return -e->code;
		z->input_ended = n == 0;
		z->filled += (size_t)n;
		z->bytes_in += (uint64_t)n;
	}
	return 0;
}

static int find_method(struct inflate *z, struct err *e)
{
	if (fill(z, MAGIC_SIZE, e) < 0)
		return -e->code;
	for (size_t i = 0; !z->method; i++)
		if (z->filled >= methods[i].magic_size &&
		    memcmp(z->in, methods[i].magic, methods[i].magic_size) == 0)
			z->method = &methods[i];
	if (!z->method->step)
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "packed by %s", z->method->name);
	return 0;
}

static int check_limits(const struct inflate *z, struct err *e)
{
	if (z->bytes_out > INFLATE_BYTES_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "it unpacks to more than %llu GiB",
				  INFLATE_BYTES_MAX >> 30);
	if (z->bytes_out > INFLATE_RATIO_FROM && z->bytes_out / INFLATE_RATIO_MAX > z->bytes_in)
		return image_fail(e, IMAGE_REASON_TOO_LARGE,
				  "it unpacks to more than %d times its size", INFLATE_RATIO_MAX);
	return 0;
}

int inflate_next(struct inflate *z, void *out, size_t size, size_t *ret_size, struct err *e)
{
	z->out = out;
	z->out_size = size;
	if (!z->method && find_method(z, e) < 0)
		return -e->code;
	for (;;) {
		bool more;
		ssize_t n;

		/* What is held back inside comes out without new input. */
		if (fill(z, 1, e) < 0)
			return -e->code;
		more = z->at < z->filled;
		if (!more && z->between)
			break;
		n = z->method->step(z, e);
		if (n < 0)
			return (int)n;
		if (n > 0) {
			z->bytes_out += (uint64_t)n;
			*ret_size = (size_t)n;
			return check_limits(z, e);
		}
		if (!more && !z->between)
			return image_fail(e, IMAGE_REASON_TRUNCATED, "%s: it ends too early",
					  z->method->name);
	}
	*ret_size = 0;
	return 0;
}
