/* image/parts.c - the rest of a blob by several requests at once
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/parts.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"

struct part {
	struct parts *parts;
	struct registry_get *get; /* NULL: all of it has come */
	size_t size, taken;
	struct buf bytes;
};

struct parts {
	struct registry *registry;
	char *id, *url;
	uint64_t next, size; /* where the next part begins; of the blob */
	struct part ring[PARTS_WAITING];
	size_t first, count, asked; /* whose bytes are next; how many there are, and still come */
	bool failed;
	void (*on_change)(void *ctx);
	void *ctx;
};

static struct part *part_at(struct parts *p, size_t i)
{
	return &p->ring[(p->first + i) % PARTS_WAITING];
}

static bool take_bytes(void *ctx, struct registry_get *g, const void *data, size_t size)
{
	struct part *part = ctx;
	struct parts *p = part->parts;

	(void)g;
	buf_add(&part->bytes, data, size);
	if (part == part_at(p, 0))
		p->on_change(p->ctx);
	return true;
}

static void go_on(struct parts *p);

static void part_ended(void *ctx, struct registry_get *g, const struct err *e)
{
	struct part *part = ctx;
	struct parts *p = part->parts;

	(void)g;
	part->get = NULL;
	p->asked--;
	if (e)
		p->failed = true;
	else
		go_on(p);
	p->on_change(p->ctx);
}

static void begin(struct parts *p, struct part *part)
{
	const uint64_t left = p->size - p->next;
	struct registry_want want = {
		.kind = "blobs",
		.id = p->id,
		.url = p->url,
		.begin = p->next,
		.size = p->size,
		.exact = true,
		.on_data = take_bytes,
		.on_end = part_ended,
		.ctx = part,
	};

	part->size = left < PART_SIZE ? (size_t)left : PART_SIZE;
	part->taken = 0;
	buf_reset(&part->bytes);
	p->next += part->size;
	want.end = p->next;
	part->get = registry_start(p->registry, &want);
	p->asked++;
	p->count++;
}

/* Those that were consumed make room, those that have come let others begin. */
static void go_on(struct parts *p)
{
	while (p->count && !part_at(p, 0)->get && part_at(p, 0)->taken == part_at(p, 0)->size) {
		p->first = (p->first + 1) % PARTS_WAITING;
		p->count--;
	}
	while (p->asked < PARTS_ASKED && p->count < PARTS_WAITING && p->next < p->size)
		begin(p, part_at(p, p->count));
}

struct parts *parts_new(const struct parts_options *o)
{
	struct parts *p = xcalloc(1, sizeof(*p));

	p->registry = o->registry;
	p->id = xstrdup(o->id);
	p->url = xstrdup(o->url);
	p->next = o->begin;
	p->size = o->size;
	p->on_change = o->on_change;
	p->ctx = o->ctx;
	for (size_t i = 0; i < PARTS_WAITING; i++) {
		p->ring[i].parts = p;
		buf_init(&p->ring[i].bytes, PART_SIZE);
	}
	go_on(p);
	return p;
}

void parts_free(struct parts *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < PARTS_WAITING; i++) {
		if (p->ring[i].get)
			registry_cancel(p->ring[i].get);
		buf_done(&p->ring[i].bytes);
	}
	free(p->id);
	free(p->url);
	free(p);
}

bool parts_failed(const struct parts *p)
{
	return p->failed;
}

bool parts_are_over(const struct parts *p)
{
	return p->next == p->size && !p->count;
}

size_t parts_peek(const struct parts *p, const void **ret)
{
	const struct part *part = &p->ring[p->first];

	*ret = part->bytes.data + part->taken;
	return part->bytes.size - part->taken;
}

void parts_consume(struct parts *p, size_t size)
{
	struct part *part = &p->ring[p->first];

	assert(size <= part->bytes.size - part->taken);
	part->taken += size;
	go_on(p);
}
