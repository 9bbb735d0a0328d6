/* agent/ship.c - lines of containers to log streams
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The spool that the keeper writes is the truth; what the server has
 * acknowledged is a cursor into it, one for each stream of a container.  A
 * batch is read from there, cut into lines, sent, and waited for; then the
 * cursor moves and is kept on disk.  A line that is sent twice, because the
 * acknowledgement was lost, has the same position twice, and the server takes
 * it once.
 *
 * 1. The cursor of a stream stands at the beginning of a line: a line that is
 *    not whole waits for its end, or for that of the container.
 * 2. One batch of a stream is under way at a time.
 * 3. What both streams have behind them, but for a tail that callers can still
 *    read, is given back to the disk.
 *
 * A container that ships to a group or stream that cannot be had is not
 * started: an empty batch is sent first and must be acknowledged.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define LINE_BYTES   (262144 - 26) /* CloudWatch's limit of an event; a longer line is cut */
#define BATCH_LINES  2000
#define KEEP_RECORDS 10000 /* pieces of shipped output that stay, for berth logs */
#define RETRY_MS     2000

struct shipper {
	struct shipper *next;
	struct container *container;
	enum keeper_stream stream;
	char *source, *group, *name;
	bool create_group;
	bool in_flight;
	struct keeper_cursor sent; /* what the batch under way ends at */
	struct loop_timer *retry;
};

struct shipping {
	struct agent *agent;
	struct map shippers; /* by source */
};

static void pump(struct shipper *s);

/* ---- batches ---- */

static int64_t position_of(const struct keeper_cursor *c)
{
	return (int64_t)(c->record << 32 | c->offset); /* 2^31 pieces are 128 TiB */
}

struct batch {
	struct arena arena;
	struct ecs_log_event *events;
	size_t count, capacity, bytes;
	struct buf line;
	int64_t line_time_ms;
	struct keeper_cursor end; /* behind the last line taken */
};

static void add_line(struct batch *b, const struct keeper_cursor *end)
{
	size_t size = b->line.size;

	b->end = *end;
	if (size && b->line.data[size - 1] == '\r')
		size--;
	if (size) { /* an empty line is no event */
		/* A NUL would end the text early. */
		for (size_t i = 0; i < size; i++)
			if (!b->line.data[i])
				b->line.data[i] = ' ';
		b->events = xgrow(b->events, b->count, &b->capacity, sizeof(*b->events));
		b->events[b->count++] = (struct ecs_log_event){
			.timestamp = b->line_time_ms,
			.position = position_of(end),
			.message = arena_strndup(&b->arena, b->line.data, size)};
		b->bytes += size;
	}
	buf_reset(&b->line);
}

/* The lines of a chunk; 'behind' is the cursor that it left. */
static void add_chunk(struct batch *b, const struct keeper_chunk *chunk,
		      const struct keeper_cursor *behind)
{
	struct keeper_cursor at = spool_back(behind, chunk->size);
	const char *p = chunk->data, *stop = p + chunk->size;

	while (p < stop) {
		const char *newline = memchr(p, '\n', (size_t)(stop - p));
		const char *end = newline ? newline : stop;
		size_t n = (size_t)(end - p), room = LINE_BYTES - b->line.size;

		if (!b->line.size)
			b->line_time_ms = chunk->time_ns / NS_PER_MS;
		if (n > room) {
			n = room;
			newline = NULL;
		}
		buf_add(&b->line, p, n);
		p += n + (newline != NULL);
		spool_forward(&at, n + (newline != NULL));
		if (newline || b->line.size == LINE_BYTES)
			add_line(b, &at);
	}
}

static bool is_full(const struct batch *b)
{
	return b->count >= BATCH_LINES || b->bytes >= ECS_NODE_LOG_BATCH;
}

static int fill(struct batch *b, struct shipper *s, struct err *e)
{
	struct container *c = s->container;
	struct keeper_cursor at = c->shipped[s->stream - 1];
	auto_free char *log = container_log_dir(c);
	struct keeper_log *spool = NULL;
	struct keeper_chunk chunk;
	int r = keeper_log_open(log, &spool, e);

	if (r == KEEPER_ABSENT)
		return 0;
	while (r == 0 && !is_full(b)) {
		r = keeper_log_next(spool, &at, &chunk, e);
		if (r == 0 && chunk.stream == s->stream)
			add_chunk(b, &chunk, &at);
	}
	/* Nothing more will come: what is left is the last line. */
	if (r == KEEPER_NOTHING && c->output_complete && b->line.size)
		add_line(b, &at);
	if (r == KEEPER_NOTHING && !b->line.size)
		b->end = at;
	if (r == KEEPER_NOTHING)
		container_follow(c, &at);
	keeper_log_close(spool);
	return r < 0 ? r : 0;
}

static void send_batch(struct shipper *s, struct batch *b)
{
	const struct ecs_node_log log = {.source = s->source,
					 .group = s->group,
					 .stream = s->name,
					 .create_group = s->create_group,
					 .position = position_of(&b->end),
					 .events = {b->events, b->count}};

	s->in_flight = channel_send(s->container->task->agent->channel, ECS_NODE_LOG, &log);
	s->sent = b->end;
}

static bool at_same_place(const struct keeper_cursor *a, const struct keeper_cursor *b)
{
	return a->record == b->record && a->offset == b->offset;
}

static void pump(struct shipper *s)
{
	struct container *c = s->container;
	struct batch b = {.line = BUF_INIT(LINE_BYTES + 1), .end = c->shipped[s->stream - 1]};
	struct err e = {0};

	if (s->in_flight)
		return;
	if (fill(&b, s, &e) < 0)
		log_error("task=%s container=%s: read output: %s", c->task->id, c->def->name,
			  e.msg);
	else if (b.count || (!c->stream_ready && s->stream == KEEPER_STDOUT))
		send_batch(s, &b);
	else if (!at_same_place(&b.end, &c->shipped[s->stream - 1]))
		c->shipped[s->stream - 1] = b.end; /* only the other stream's output lay between */
	buf_done(&b.line);
	free(b.events);
	arena_done(&b.arena);
}

static void on_retry(void *ctx)
{
	pump(ctx);
}

/* ---- acknowledgements ---- */

static void discard(struct container *c)
{
	const struct keeper_cursor *out = &c->shipped[0], *err = &c->shipped[1];
	struct keeper_cursor first = position_of(out) < position_of(err) ? *out : *err;
	auto_free char *log = container_log_dir(c);
	struct keeper_log *spool = NULL;
	struct err e;

	if (first.record < c->discarded + KEEP_RECORDS * 2 || keeper_log_open(log, &spool, &e) != 0)
		return;
	first = (struct keeper_cursor){.record = first.record - KEEP_RECORDS};
	if (keeper_log_discard(spool, &first, &e) == 0)
		c->discarded = first.record;
	keeper_log_close(spool);
}

static void on_refused(struct shipper *s, const char *why)
{
	struct container *c = s->container;
	auto_free char *text = xasprintf("failed to create the log stream: %s", why);

	if (!c->stream_ready && c->phase < PHASE_CREATING) {
		if (c->phase == PHASE_PULLING)
			pulls_cancel(take_ptr(c->pull));
		container_fail(c, "CannotStartContainerError", text);
		return;
	}
	log_warn("task=%s container=%s: log lines are kept and tried again: %s", c->task->id,
		 c->def->name, why);
	if (!s->retry)
		s->retry = loop_timer_new(c->task->agent->loop, on_retry, s);
	loop_timer_set(s->retry, RETRY_MS);
}

void shipping_on_ack(struct shipping *sh, const struct ecs_node_log_ack *ack)
{
	struct shipper *s = map_find(&sh->shippers, ack->source);
	struct container *c = s ? s->container : NULL;

	if (!s || !s->in_flight || ack->position != position_of(&s->sent))
		return;
	s->in_flight = false;
	if (ack->error) {
		on_refused(s, ack->error);
		return;
	}
	c->shipped[s->stream - 1] = s->sent;
	task_keep(c->task);
	if (!c->stream_ready) {
		c->stream_ready = true;
		task_step(c->task);
	}
	discard(c);
	pump(s);
}

void shipping_resume(struct shipping *sh)
{
	struct shipper *s;

	for (size_t i = 0; map_next(&sh->shippers, &i, &s);) {
		s->in_flight = false;
		pump(s);
	}
}

/* ---- new output ---- */

void shipping_on_output(struct container *c)
{
	for (int i = 0; i < 2; i++)
		if (c->shipper[i])
			pump(c->shipper[i]);
}

/* ---- containers ---- */

static const char *option(const struct ecs_log_configuration *l, const char *name)
{
	for (size_t i = 0; i < l->options.count; i++)
		if (strcmp(l->options.items[i].key, name) == 0)
			return l->options.items[i].value;
	return NULL;
}

static struct shipper *shipper_new(struct container *c, enum keeper_stream stream)
{
	const struct ecs_log_configuration *l = c->def->log_configuration;
	const char *prefix = option(l, "awslogs-stream-prefix"),
		   *create = option(l, "awslogs-create-group");
	struct shipper *s = xcalloc(1, sizeof(*s));

	s->container = c;
	s->stream = stream;
	s->source = xasprintf("%s/%s", c->id, stream == KEEPER_STDERR ? "stderr" : "stdout");
	s->group = xstrdup(option(l, "awslogs-group"));
	s->name = prefix ? xasprintf("%s/%s/%s", prefix, c->def->name, c->task->id)
			 : xstrdup(c->id);
	s->create_group = create && strcasecmp(create, "true") == 0;
	(void)map_put(&c->task->agent->shipping->shippers, s->source, s);
	return s;
}

void shipping_begin(struct container *c)
{
	const struct ecs_log_configuration *l = c->def->log_configuration;

	if (!l || !str_eq(l->log_driver, "awslogs")) {
		c->stream_ready = true;
		return;
	}
	for (int i = 0; i < 2; i++) {
		c->shipper[i] = shipper_new(c, i == 0 ? KEEPER_STDOUT : KEEPER_STDERR);
		pump(c->shipper[i]);
	}
}

bool shipping_is_over(const struct container *c)
{
	auto_free char *log = container_log_dir(c);
	struct keeper_log *spool = NULL;
	struct keeper_chunk chunk;
	bool over = true;
	struct err e;

	if (!c->shipper[0] || keeper_log_open(log, &spool, &e) != 0)
		return true;
	for (int i = 0; i < 2 && over; i++) {
		struct keeper_cursor at = c->shipped[i];

		while (over && keeper_log_next(spool, &at, &chunk, &e) == 0)
			over = chunk.stream != c->shipper[i]->stream;
	}
	keeper_log_close(spool);
	return over;
}

void shipping_end(struct container *c)
{
	struct shipping *sh = c->task->agent->shipping;

	for (int i = 0; i < 2; i++) {
		struct shipper *s = take_ptr(c->shipper[i]);

		if (!s)
			continue;
		(void)map_remove(&sh->shippers, s->source);
		loop_timer_free(s->retry);
		free(s->source);
		free(s->group);
		free(s->name);
		free(s);
	}
}

/* ---- life ---- */

struct shipping *shipping_new(struct agent *a)
{
	struct shipping *sh = xcalloc(1, sizeof(*sh));

	sh->agent = a;
	return sh;
}

void shipping_free(struct shipping *sh)
{
	if (!sh)
		return;
	map_done(&sh->shippers);
	free(sh);
}
