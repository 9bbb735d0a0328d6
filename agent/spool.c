/* agent/spool.c - what containers have written, for callers
 * SPDX-License-Identifier: Apache-2.0
 *
 * The keeper's spool is given out as it is: chunks with a time and a stream.
 * A caller's cursor names for each container the place to go on from:
 * {"0": [record, offset, bytes]}.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"

#define REPLY_BYTES (256 << 10) /* of output in one answer */
#define EVENTS_MAX  10000

struct keeper_cursor spool_back(const struct keeper_cursor *behind, size_t size)
{
	return (struct keeper_cursor){.record = behind->record,
				      .offset = behind->offset - (uint32_t)size,
				      .bytes = behind->bytes - size};
}

void spool_forward(struct keeper_cursor *c, size_t size)
{
	c->offset += (uint32_t)size;
	c->bytes += size;
}

struct reading {
	const struct task *task;
	json_t *events, *cursor;
	size_t bytes;
	bool more;
};

static void add_chunk(struct reading *r, const struct container *c,
		      const struct keeper_chunk *chunk)
{
	auto_free char *data = base64_encode(chunk->data, chunk->size);

	(void)json_array_append_new(
		r->events,
		json_pack("{s:s, s:s, s:I, s:s}", "container", c->def->name, "stream",
			  chunk->stream == KEEPER_STDERR ? "stderr" : "stdout", "timestamp",
			  (json_int_t)(chunk->time_ns / NS_PER_MS), "data", data));
	r->bytes += chunk->size;
}

static struct keeper_cursor cursor_of(const json_t *cursors, const struct container *c)
{
	char key[16];
	const json_t *place;

	(void)snprintf(key, sizeof(key), "%u", c->index);
	place = json_object_get(cursors, key);
	return (struct keeper_cursor){
		.record = (uint64_t)json_integer_value(json_array_get(place, 0)),
		.offset = (uint32_t)json_integer_value(json_array_get(place, 1)),
		.bytes = (uint64_t)json_integer_value(json_array_get(place, 2))};
}

static void keep_cursor(struct reading *r, const struct container *c,
			const struct keeper_cursor *at)
{
	char key[16];

	(void)snprintf(key, sizeof(key), "%u", c->index);
	(void)json_object_set_new(r->cursor, key,
				  json_pack("[I, I, I]", (json_int_t)at->record,
					    (json_int_t)at->offset, (json_int_t)at->bytes));
}

/*
 * Where the last 'lines' lines begin: a ring of the beginnings of lines, filled
 * while going through the pieces.  A line that is not whole counts.
 */
static int find_tail(struct keeper_log *spool, size_t lines, struct keeper_cursor *ret,
		     struct err *e)
{
	auto_free struct keeper_cursor *ring = xcalloc(lines + 1, sizeof(*ring));
	struct keeper_cursor at = {0}, place;
	struct keeper_chunk chunk;
	bool begins = true;
	size_t count = 0;
	int r;

	while ((r = keeper_log_next(spool, &at, &chunk, e)) == 0) {
		place = spool_back(&at, chunk.size);
		for (size_t i = 0; i < chunk.size; i++, spool_forward(&place, 1)) {
			if (begins)
				ring[count++ % (lines + 1)] = place;
			begins = chunk.data[i] == '\n';
		}
	}
	if (r < 0)
		return r;
	if (!lines)
		*ret = at;
	else if (count > lines)
		*ret = ring[(count - lines) % (lines + 1)];
	return 0;
}

static int read_container(struct reading *r, const struct container *c, const json_t *cursors,
			  int64_t tail, struct err *e)
{
	struct keeper_cursor at = cursor_of(cursors, c);
	auto_free char *log = container_log_dir(c);
	struct keeper_log *spool = NULL;
	struct keeper_chunk chunk;
	int result = keeper_log_open(log, &spool, e);

	if (result == KEEPER_ABSENT)
		return 0; /* it has not come that far */
	if (result == 0 && tail >= 0)
		result = find_tail(spool, (size_t)tail, &at, e);
	while (result == 0) {
		if (r->bytes >= REPLY_BYTES || json_array_size(r->events) >= EVENTS_MAX) {
			r->more = true;
			break;
		}
		result = keeper_log_next(spool, &at, &chunk, e);
		if (result == 0)
			add_chunk(r, c, &chunk);
	}
	if (result == KEEPER_NOTHING)
		container_follow(c, &at);
	keep_cursor(r, c, &at);
	keeper_log_close(spool);
	return result < 0 ? result : 0;
}

static int by_time(const void *a, const void *b)
{
	int64_t ta = json_integer_value(json_object_get(*(json_t *const *)a, "timestamp"));
	int64_t tb = json_integer_value(json_object_get(*(json_t *const *)b, "timestamp"));

	return ta < tb ? -1 : ta > tb;
}

/* Several containers side by side; each one's own order is that of its times. */
static void sort_events(struct reading *r)
{
	size_t count = json_array_size(r->events);
	auto_free json_t **items = xcalloc(count + 1, sizeof(*items));
	json_t *sorted = json_array();

	for (size_t i = 0; i < count; i++)
		items[i] = json_array_get(r->events, i);
	qsort(items, count, sizeof(*items), by_time);
	for (size_t i = 0; i < count; i++)
		(void)json_array_append(sorted, items[i]);
	json_decref(r->events);
	r->events = sorted;
}

/* The cursor travels as text, so that callers do not look into it. */
static int open_cursor(const json_t *request, json_t **ret, struct err *e)
{
	const char *text = json_string_value(json_object_get(request, "cursor"));

	*ret = NULL;
	return text ? js_parse(text, strlen(text), 4, ret, e) : 0;
}

int spool_read(const struct task *t, const json_t *request, json_t **ret, struct err *e)
{
	const char *only = json_string_value(json_object_get(request, "container"));
	const json_t *tail = json_object_get(request, "tail");
	auto_json json_t *cursors = NULL;
	auto_free char *text = NULL;
	struct reading r = {.task = t};
	size_t found = 0;

	if (open_cursor(request, &cursors, e) < 0)
		return err_wrap(e, "cursor");
	r.events = json_array();
	r.cursor = json_object();
	for (size_t i = 0; i < t->count; i++) {
		const struct container *c = &t->containers[i];

		if (only && strcmp(only, c->def->name) != 0)
			continue;
		found++;
		if (read_container(&r, c, cursors, tail && !cursors ? json_integer_value(tail) : -1,
				   e) < 0)
			break;
	}
	if (!e->code && !found)
		(void)err_set(e, ENOENT, "task has no container %s: not found", only ? only : "");
	if (found > 1)
		sort_events(&r);
	text = js_dump(r.cursor);
	json_decref(r.cursor);
	if (e->code) {
		json_decref(r.events);
		return -e->code;
	}
	*ret = json_pack("{s:o, s:s, s:b, s:b}", "events", r.events, "cursor", text, "more", r.more,
			 "ended", !r.more && task_is_over(t));
	return 0;
}
