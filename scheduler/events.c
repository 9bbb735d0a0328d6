/* scheduler/events.c - what happened, in order
 * SPDX-License-Identifier: Apache-2.0
 *
 * A reader has a cursor: the number of the last event that it has seen.  It
 * gets what comes behind, and the next cursor.  Whether something that it has
 * not seen is gone already, it is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/alike.h"
#include "scheduler/internal.h"
#include "scheduler/store_internal.h"

#define LIMIT_DEFAULT 100
#define WAIT_MS       20000 /* the longest that a waiting call is held */

struct waiter {
	struct waiter *next;
	int64_t cursor, limit, deadline_ms;
	struct call *call;
};

struct events {
	struct ecs_identity identity;
	struct db *db; /* for reading only */
	struct db_stmt *read, *range;
	struct loop_timer *patience;
	struct waiter *waiters;
};

/* ---- reading ---- */

static int read_range(struct events *ev, int64_t *ret_first, int64_t *ret_last, struct err *e)
{
	int r = db_step(ev->range, e);

	if (r == DB_ROW) {
		*ret_first = db_i64(ev->range, 0);
		*ret_last = db_i64(ev->range, 1);
	}
	db_reset(ev->range);
	return r < 0 ? r : 0;
}

/* Of the row that was read those behind the cursor, which is moved. */
static int show_row(struct events *ev, int64_t limit, json_t *ret, int64_t *cursor, struct err *e)
{
	const int64_t last = db_i64(ev->read, 0), first = last - db_i64(ev->read, 1) + 1;
	size_t size;
	const void *all = db_blob(ev->read, 2, &size);

	for (int64_t id = *cursor < first ? first : *cursor + 1;
	     id <= last && (int64_t)json_array_size(ret) < limit; id++) {
		auto_free char *text = alike_get(all, size, (size_t)(id - first), e);
		json_t *doc = text ? core_show_event(&ev->identity, text, db_i64(ev->read, 3), e)
				   : NULL;

		if (!doc)
			return -e->code;
		*cursor = id;
		(void)json_array_append_new(ret, doc);
	}
	return 0;
}

static int read_events(struct events *ev, int64_t cursor, int64_t limit, json_t *ret,
		       int64_t *ret_cursor, struct err *e)
{
	int r;

	db_bind_i64(ev->read, 1, cursor);
	db_bind_i64(ev->read, 2, limit);
	*ret_cursor = cursor;
	while ((r = db_step(ev->read, e)) == DB_ROW)
		if ((r = show_row(ev, limit, ret, ret_cursor, e)) < 0)
			break;
	db_reset(ev->read);
	return r;
}

/* The reply; NULL: nothing is there and 'late' is not said, or *e. */
static json_t *look(struct events *ev, int64_t cursor, int64_t limit, bool late, struct err *e)
{
	int64_t first = 0, last = 0, next = cursor;
	json_t *list = json_array();
	bool missed;

	e->code = 0;
	if (read_range(ev, &first, &last, e) < 0 ||
	    read_events(ev, cursor, limit, list, &next, e) < 0 ||
	    (!json_array_size(list) && !late)) {
		json_decref(list);
		return NULL;
	}
	missed = first > cursor + 1 && cursor >= 0;
	return json_pack("{s:o, s:o, s:b}", "events", list, "cursor",
			 json_sprintf("%lld", (long long)next), "missed", missed);
}

static void fail(struct call *call, const struct err *e)
{
	struct ecs_fault f;

	(void)ecs_fault_set(&f, ECS_FAULT_SERVER, "Events cannot be read: %s", e->msg);
	call_fault(call, &f);
}

/* false: it waits on. */
static bool answer(struct events *ev, const struct waiter *w, bool late)
{
	struct err e = {0};
	json_t *reply = look(ev, w->cursor, w->limit, late, &e);

	if (reply)
		call_reply(w->call, reply);
	else if (e.code)
		fail(w->call, &e);
	return reply || e.code;
}

void events_look_again(struct events *ev)
{
	int64_t now_ms = clock_mono_ms(), next_ms = 0;
	struct waiter **p = &ev->waiters, *w;

	while ((w = *p)) {
		if (answer(ev, w, now_ms >= w->deadline_ms)) {
			*p = w->next;
			free(w);
			continue;
		}
		if (!next_ms || w->deadline_ms < next_ms)
			next_ms = w->deadline_ms;
		p = &w->next;
	}
	if (next_ms)
		loop_timer_set(ev->patience, next_ms - now_ms);
	else
		loop_timer_stop(ev->patience);
}

static void on_patience(void *ctx)
{
	events_look_again(ctx);
}

/* "" and none: from the last one on; "0": from the oldest that is kept. */
static int read_cursor(struct events *ev, const char *text, int64_t *ret, struct ecs_fault *f)
{
	int64_t first, last = 0;
	struct err e;

	if (text && *text)
		return parse_i64(text, 0, INT64_MAX, ret)
			       ? 0
			       : ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					       "cursor '%.100s' is not one of ours", text);
	if (read_range(ev, &first, &last, &e) < 0)
		return ecs_fault_set(f, ECS_FAULT_SERVER, "Events cannot be read: %s", e.msg);
	*ret = last;
	return 0;
}

void events_call(struct events *ev, const json_t *request, struct call *own_call)
{
	const json_t *limit = json_object_get(request, "limit");
	struct waiter w = {.limit = limit ? json_integer_value(limit) : LIMIT_DEFAULT,
			   .deadline_ms = clock_mono_ms() + WAIT_MS,
			   .call = own_call};
	struct ecs_fault f;

	if (read_cursor(ev, json_string_value(json_object_get(request, "cursor")), &w.cursor, &f) <
	    0) {
		call_fault(own_call, &f);
		return;
	}
	if (answer(ev, &w, !json_is_true(json_object_get(request, "wait"))))
		return;
	w.next = ev->waiters;
	ev->waiters = xcalloc(1, sizeof(w));
	*ev->waiters = w;
	if (!loop_timer_is_set(ev->patience))
		loop_timer_set(ev->patience, WAIT_MS);
}

/* ---- life ---- */

int events_open(struct loop *loop, const char *dir, const struct ecs_identity *identity,
		struct events **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/state.db", dir);
	struct events *ev = xcalloc(1, sizeof(*ev));

	ev->identity = *identity;
	ev->patience = loop_timer_new(loop, on_patience, ev);
	if (db_open(path, DB_FULL, STATE_VERSION, "", &ev->db, e) < 0 ||
	    db_prepare(ev->db,
		       "SELECT id, count, doc, at_ms FROM event"
		       "  WHERE id > ?1 AND id > " EVENTS_PRUNED " ORDER BY id LIMIT ?2",
		       &ev->read, e) < 0 ||
	    db_prepare(ev->db,
		       "SELECT (SELECT id - count + 1 FROM event WHERE id > " EVENTS_PRUNED
		       "  ORDER BY id LIMIT 1), (SELECT max(id) FROM event)",
		       &ev->range, e) < 0) {
		events_close(ev);
		return -e->code;
	}
	*ret = ev;
	return 0;
}

void events_close(struct events *ev)
{
	struct waiter *w;
	struct ecs_fault f;

	if (!ev)
		return;
	(void)ecs_fault_set(&f, ECS_FAULT_SERVER, "The server is stopping.");
	while ((w = ev->waiters)) {
		ev->waiters = w->next;
		call_fault(w->call, &f);
		free(w);
	}
	loop_timer_free(ev->patience);
	db_close(ev->db);
	free(ev);
}
