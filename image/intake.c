/* image/intake.c - a layer's bytes, unpacked by a thread, hashed and kept
 * SPDX-License-Identifier: Apache-2.0
 *
 * A ring of pieces: the thread fills the one at 'filled' unless all are full,
 * the taker has the one at 'taken' until its next call.
 */
#include "image/intake.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "image/drain.h"
#include "image/inflate.h"
#include "image/reason.h"

#define PIECES     6
#define PIECE_SIZE (256 << 10)

struct piece {
	size_t size; /* 0: the end */
	struct err err;
	unsigned char bytes[PIECE_SIZE];
};

struct intake {
	struct inflate *inflate; /* the thread's */
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned long filled, taken; /* pieces so far */
	bool stop;

	bool holding;        /* the taker has a piece */
	struct drain *drain; /* of the tar, if it is kept */
	struct sha256 *hash;
	uint64_t bytes;
	struct piece pieces[PIECES];
};

/* ---- the thread ---- */

/* NULL: it is to stop. */
static struct piece *wait_for_room(struct intake *s)
{
	bool stop;

	(void)pthread_mutex_lock(&s->lock);
	while (!s->stop && s->filled - s->taken == PIECES)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	stop = s->stop;
	(void)pthread_mutex_unlock(&s->lock);
	return stop ? NULL : &s->pieces[s->filled % PIECES];
}

static void hand_over(struct intake *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->filled++;
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
}

/* Full ones only, but for the last two: each that is handed over wakes somebody.  False: the end. */
static bool fill(struct intake *s, struct piece *p)
{
	size_t more;

	for (p->size = 0; p->size < PIECE_SIZE; p->size += more) {
		if (inflate_next(s->inflate, p->bytes + p->size, PIECE_SIZE - p->size, &more,
				 &p->err) < 0)
			return false;
		if (more == 0)
			break;
	}
	return p->size > 0;
}

static void *fill_pieces(void *ctx)
{
	struct intake *s = ctx;
	struct piece *p;
	bool more = true;

	while (more && (p = wait_for_room(s))) {
		p->err.code = 0;
		more = fill(s, p);
		hand_over(s);
	}
	return NULL;
}

/* ---- the taker ---- */

int intake_new(const struct intake_fds *fds, struct intake **ret, struct err *e)
{
	struct intake *s = xcalloc(1, sizeof(*s));
	int r;

	s->inflate = inflate_new(fds->in, fds->packed);
	if (fds->packed_if_slow)
		inflate_keep_if_slow(s->inflate);
	s->hash = sha256_new();
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	r = pthread_create(&s->thread, NULL, fill_pieces, s);
	s->has_thread = r == 0;
	errno = r;
	r = r != 0 ? os_fail(e, "thread") : fds->tar >= 0 ? drain_new(fds->tar, &s->drain, e) : 0;
	if (r < 0)
		intake_free(s);
	else
		*ret = s;
	return r;
}

static void end_thread(struct intake *s)
{
	(void)pthread_mutex_lock(&s->lock);
	s->stop = true;
	(void)pthread_cond_broadcast(&s->changed);
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_join(s->thread, NULL);
}

void intake_free(struct intake *s)
{
	if (!s)
		return;
	if (s->has_thread)
		end_thread(s);
	drain_free(s->drain);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	inflate_free(s->inflate);
	sha256_free(s->hash);
	free(s);
}

static struct piece *take_piece(struct intake *s)
{
	(void)pthread_mutex_lock(&s->lock);
	if (s->holding) {
		s->taken++;
		(void)pthread_cond_broadcast(&s->changed);
	}
	while (s->filled == s->taken)
		(void)pthread_cond_wait(&s->changed, &s->lock);
	(void)pthread_mutex_unlock(&s->lock);
	s->holding = true;
	return &s->pieces[s->taken % PIECES];
}

int intake_next(void *intake, const void **ret, size_t *ret_size, struct err *e)
{
	struct intake *s = intake;
	struct piece *p = NULL;

	/* The end and an error are the last piece: they stay where they are. */
	if (s->holding && s->pieces[s->taken % PIECES].size == 0)
		p = &s->pieces[s->taken % PIECES];
	else
		p = take_piece(s);
	if (p->err.code) {
		*e = p->err;
		p->size = 0;
		return -e->code;
	}
	if (s->drain && drain_write(s->drain, p->bytes, p->size, e) < 0)
		return -e->code;
	s->bytes += p->size;
	sha256_add(s->hash, p->bytes, p->size);
	*ret = p->bytes;
	*ret_size = p->size;
	return 0;
}

int intake_finish(struct intake *s, char ret_digest[DIGEST_SIZE], struct err *e)
{
	char hex[SHA256_HEX];
	const void *data;
	size_t size;

	do
		if (intake_next(s, &data, &size, e) < 0)
			return -e->code;
	while (size > 0);
	if (s->drain)
		drain_end(s->drain);
	sha256_hex(s->hash, hex);
	(void)snprintf(ret_digest, DIGEST_SIZE, "sha256:%s", hex);
	return 0;
}

int intake_sync(struct intake *s, struct err *e)
{
	return s->drain ? drain_finish(s->drain, e) : 0;
}

uint64_t intake_bytes(const struct intake *s)
{
	return s->bytes;
}
