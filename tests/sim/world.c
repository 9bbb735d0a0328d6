/* tests/sim/world.c - the clock, the order of things, chance
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define START_MS  1700000000000LL
#define MINUTE_MS 60000LL
#define RING      4096 /* lines of the trace that are shown when a rule is broken */
#define LINE_MAX_ 240

struct event {
	int64_t at_ms;
	uint64_t number; /* of two at one time the first comes first */
	world_fn *fn;
	void *ctx;
	uint64_t arg;
};

const struct world_options *world;
static struct event *heap;
static size_t count, capacity;
static int64_t now_ms;
static uint64_t next_number, happened, hash, random_state;
static char (*ring)[LINE_MAX_];
static size_t ring_next;

/* ---- order ---- */

static bool is_before(const struct event *a, const struct event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->number < b->number;
}

static void swap(size_t a, size_t b)
{
	struct event e = heap[a];

	heap[a] = heap[b];
	heap[b] = e;
}

void world_after(int64_t delay_ms, world_fn *fn, void *ctx, uint64_t arg)
{
	size_t i = count++;

	heap = xgrow(heap, i, &capacity, sizeof(*heap));
	heap[i] = (struct event){now_ms + (delay_ms > 0 ? delay_ms : 0), next_number++, fn, ctx,
				 arg};
	for (; i && is_before(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(i, (i - 1) / 2);
}

static struct event take_first(void)
{
	struct event first = heap[0];

	heap[0] = heap[--count];
	for (size_t i = 0;;) {
		size_t least = i;

		for (size_t k = 2 * i + 1; k <= 2 * i + 2; k++)
			if (k < count && is_before(&heap[k], &heap[least]))
				least = k;
		if (least == i)
			return first;
		swap(i, least);
		i = least;
	}
}

bool world_step(void)
{
	struct event e;

	if (!count)
		return false;
	e = take_first();
	now_ms = e.at_ms;
	happened++;
	e.fn(e.ctx, e.arg);
	return true;
}

int64_t world_now_ms(void)
{
	return now_ms;
}

uint64_t world_events(void)
{
	return happened;
}

int64_t world_faults_end_ms(void)
{
	return START_MS + world->minutes * MINUTE_MS;
}

bool world_has_faults(void)
{
	return now_ms < world_faults_end_ms();
}

int64_t world_mean_ms(int64_t mean_ms)
{
	return world->minutes < 60 ? mean_ms * world->minutes / 120 : mean_ms;
}

/* ---- chance: splitmix64 ---- */

uint64_t draw(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

uint64_t below(uint64_t n)
{
	return draw() % n;
}

bool chance(unsigned of_a_thousand)
{
	return below(1000) < of_a_thousand;
}

int64_t between(int64_t low, int64_t high)
{
	return low + (int64_t)below((uint64_t)(high - low + 1));
}

int64_t about(int64_t mean_ms)
{
	double u = ((double)(draw() >> 11) + 1) / 9007199254740993.0;

	return (int64_t)(-log(u) * (double)mean_ms);
}

/* ---- the trace ---- */

static void hash_line(const char *line)
{
	for (; *line; line++)
		hash = (hash ^ (unsigned char)*line) * 1099511628211ULL;
}

void trace(const char *fmt, ...)
{
	char *line = ring[ring_next++ % RING];
	const int64_t ms = now_ms - START_MS;
	int len = snprintf(line, LINE_MAX_, "%d:%02d:%02d.%03d  ", (int)(ms / (60 * MINUTE_MS)),
			   (int)(ms / MINUTE_MS % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line + len, LINE_MAX_ - (size_t)len, fmt, ap);
	va_end(ap);
	hash_line(line);
	if (world->trace)
		(void)puts(line);
}

uint64_t world_hash(void)
{
	return hash;
}

void broken(const char *fmt, ...)
{
	va_list ap;

	for (size_t i = ring_next > RING ? ring_next - RING : 0; !world->trace && i < ring_next;
	     i++)
		(void)puts(ring[i % RING]);
	(void)printf("BROKEN after %" PRIu64 " events: ", happened);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)printf("\nseed %" PRIu64 ": again with SEED=%" PRIu64
		     " NODES=%u MINUTES=%u DISK=%d TRACE=1\n",
		     world->seed, world->seed, world->nodes, world->minutes, world->over_disk);
	(void)fflush(stdout);
	_exit(1);
}

/* ---- life ---- */

void world_begin(const struct world_options *o)
{
	world = o;
	now_ms = START_MS;
	random_state = o->seed * 0x2545f4914f6cdd1dULL + 1;
	hash = 14695981039346656037ULL;
	next_number = happened = 0;
	count = ring_next = 0;
	ring = xcalloc(RING, LINE_MAX_);
}

void world_end(void)
{
	free(ring);
	free(heap);
	heap = NULL;
	capacity = count = 0;
}
