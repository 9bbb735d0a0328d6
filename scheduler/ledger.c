/* scheduler/ledger.c - the core and its documents: nothing is said before it is durable
 * SPDX-License-Identifier: Apache-2.0
 *
 * An event goes into the core, which changes at once; its effects become a
 * job of the writer.  Only when the job is durable are messages sent and the
 * caller answered.  Jobs finish in the order of the events, so a reply that
 * has nothing to store waits only for those before it: nobody is shown a state
 * that a crash could take back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/internal.h"
#include "scheduler/store.h"

#define TICK_MS  60000
#define WAIT_MS  20000 /* the longest that a waiting call is held */
#define JUMP_MS  1000  /* from there on the clock was set, and did not only drift */
#define OPEN_MAX 100

/* A call that waits for a task to change. */
struct waiter {
	struct waiter *next;
	char *cluster, *task;
	int64_t version, deadline_ms;
	struct call *call;
};

struct ledger {
	struct loop *loop;
	struct core *core;
	struct store *store;
	struct writer *writer;
	struct nodes *nodes;
	struct events *events;
	struct loop_timer *tick, *patience;
	int64_t tick_ms;       /* wall clock: when the timer ends; 0: it is not set */
	int64_t wall_ahead_ms; /* of the clock that nobody sets */
	struct waiter *waiters;
	void (*on_failure)(void *ctx, const struct err *why);
	void *ctx;
	struct err failure; /* code 0: there was none; nothing is done any more behind one */
};

struct commit {
	struct writer_job job; /* first */
	struct ledger *ledger;
	struct core_effects fx;
	struct call *call;       /* NULL: nobody waits for it */
	char *reply;             /* as text: documents that it shows go on changing */
	void (*then)(void *ctx); /* NULL: nothing is done then */
	void *ctx;
};

static void commit(struct ledger *s, struct call *own_call, char *own_reply);
static void set_tick(struct ledger *s);

/* ---- the time ---- */

int64_t ledger_now_ms(struct ledger *s)
{
	const int64_t wall_ms = clock_wall_ms(),
		      jump_ms = wall_ms - clock_mono_ms() - s->wall_ahead_ms;

	if (jump_ms >= JUMP_MS || jump_ms <= -JUMP_MS) {
		s->wall_ahead_ms += jump_ms;
		core_clock_moved(s->core, jump_ms);
	}
	return wall_ms;
}

/* ---- waiting calls ---- */

/* The reply for a waiter, or NULL: not yet. */
static json_t *look(struct ledger *s, const struct waiter *w, int64_t now_ms, struct ecs_fault *f)
{
	const char *instance;
	int64_t version;
	json_t *task;
	bool stopped;

	if (core_find_version(s->core, w->cluster, w->task, &version, &stopped, f) < 0)
		return NULL;
	if (version <= w->version && !stopped && now_ms < w->deadline_ms)
		return NULL;
	task = core_find_task(s->core, w->cluster, w->task, &instance, f);
	return task ? json_pack("{s:o}", "task", task) : NULL;
}

static void free_waiter(struct waiter *w)
{
	free(w->cluster);
	free(w->task);
	free(w);
}

static void answer_waiters(struct ledger *s)
{
	int64_t now_ms = clock_mono_ms(), next_ms = 0;
	struct waiter **p = &s->waiters, *w;

	while ((w = *p)) {
		struct ecs_fault f = {.message = ""};
		json_t *reply = look(s, w, now_ms, &f);

		if (!reply && !f.message[0]) {
			if (!next_ms || w->deadline_ms < next_ms)
				next_ms = w->deadline_ms;
			p = &w->next;
			continue;
		}
		*p = w->next;
		if (reply)
			commit(s, w->call,
			       call_text(w->call, reply)); /* behind what is not durable yet */
		else
			call_fault(w->call, &f);
		free_waiter(w);
	}
	if (next_ms)
		loop_timer_set(s->patience, next_ms - now_ms);
	else
		loop_timer_stop(s->patience);
}

static void on_patience(void *ctx)
{
	answer_waiters(ctx);
}

void ledger_wait_task(struct ledger *s, const json_t *request, struct call *own_call)
{
	const char *cluster = json_string_value(json_object_get(request, "cluster"));
	struct waiter *w = xcalloc(1, sizeof(*w));

	w->cluster = cluster ? xstrdup(cluster) : NULL;
	w->task = xstrdup(json_string_value(json_object_get(request, "task")));
	w->version = json_integer_value(json_object_get(request, "version"));
	w->deadline_ms = clock_mono_ms() + WAIT_MS;
	w->call = own_call;
	w->next = s->waiters;
	s->waiters = w;
	if (!writer_pending(s->writer))
		answer_waiters(s);
}

/* ---- commits ---- */

static bool is_stored(enum core_effect_kind kind)
{
	return kind == CORE_PUT || kind == CORE_DELETE || kind == CORE_EVENT;
}

static int write_effects(struct writer_job *job, struct db *db, struct err *e)
{
	return store_write(db, &((struct commit *)job)->fx, e);
}

static void set_failed(struct ledger *s, const struct err *why)
{
	if (s->failure.code)
		return;
	s->failure = *why;
	s->on_failure(s->ctx, why);
}

static void send_messages(struct ledger *s, const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++)
		if (!is_stored(fx->items[i].kind) && s->nodes)
			nodes_send(s->nodes, fx->items[i].key, fx->items[i].text,
				   fx->items[i].kind == CORE_REFUSE);
}

static void finish(struct commit *c)
{
	if (c->then)
		c->then(c->ctx);
	send_messages(c->ledger, &c->fx);
	if (c->call)
		call_send(c->call, take_ptr(c->reply));
	if (c->fx.count) {
		answer_waiters(c->ledger);
		if (c->ledger->events)
			events_look_again(c->ledger->events);
	}
}

static void fail(struct commit *c, const struct err *why)
{
	struct ecs_fault f;

	if (c->call) {
		(void)ecs_fault_set(&f, ECS_FAULT_SERVER, "The request could not be stored: %s",
				    why->msg);
		call_fault(c->call, &f);
	}
	if (why->code != ECANCELED)
		set_failed(c->ledger, why);
}

static void on_written(struct writer_job *job, const struct err *failed)
{
	struct commit *c = (struct commit *)job;

	store_settle(c->ledger->store, &c->fx);
	if (failed)
		fail(c, failed);
	else
		finish(c);
	core_effects_done(&c->fx);
	free(c->reply);
	free(c);
}

/* The rest of 'own_commit' says what is to be done when it is durable. */
static void submit(struct ledger *s, struct commit *own_commit)
{
	struct commit *c = own_commit;
	bool stores = false;

	c->job.run = write_effects;
	c->job.done = on_written;
	c->ledger = s;
	core_take_effects(s->core, &c->fx);
	for (size_t i = 0; i < c->fx.count; i++)
		stores |= is_stored(c->fx.items[i].kind);

	store_expect(s->store, &c->fx);
	if (s->failure.code)
		on_written(&c->job, &s->failure);
	else if (stores || writer_pending(s->writer))
		writer_submit(s->writer, &c->job);
	else
		on_written(&c->job, NULL);
}

static void commit(struct ledger *s, struct call *own_call, char *own_reply)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	c->call = own_call;
	c->reply = own_reply;
	submit(s, c);
}

void ledger_commit(struct ledger *s)
{
	commit(s, NULL, NULL);
}

void ledger_commit_then(struct ledger *s, void (*then)(void *ctx), void *ctx)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	c->then = then;
	c->ctx = ctx;
	submit(s, c);
}

void ledger_call(struct ledger *s, const char *operation, json_t *request, struct call *own_call)
{
	struct ecs_fault f;
	char *reply = call_run(own_call, s->core, operation, request, ledger_now_ms(s), &f);

	if (reply)
		commit(s, own_call, reply);
	else
		call_fault(own_call, &f);
	set_tick(s);
}

struct core *ledger_core(struct ledger *s)
{
	return s->core;
}

void ledger_set_events(struct ledger *s, struct events *events)
{
	s->events = events;
}

void ledger_set_nodes(struct ledger *s, struct nodes *nodes)
{
	s->nodes = nodes;
}

/* The next tick is when the core wants it, and not later than in a minute. */
static void set_tick(struct ledger *s)
{
	int64_t now_ms = ledger_now_ms(s), at_ms = now_ms + TICK_MS,
		wake_ms = core_wake_ms(s->core);

	if (wake_ms && wake_ms < at_ms)
		at_ms = wake_ms;
	if (s->tick_ms && s->tick_ms <= at_ms)
		return;
	s->tick_ms = at_ms;
	loop_timer_set(s->tick, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void on_tick(void *ctx)
{
	struct ledger *s = ctx;

	core_tick(s->core, ledger_now_ms(s));
	s->tick_ms = 0;
	ledger_commit(s);
	set_tick(s);
}

/* ---- life ---- */

static char *fetch(void *ctx, const char *key)
{
	struct ledger *s = ctx;
	struct err e = {0};
	char *text = store_fetch(s->store, key, &e);

	if (!text)
		set_failed(s, &e);
	return text;
}

int ledger_open(struct loop *loop, const char *dir, const struct core_options *o,
		void (*on_failure)(void *ctx, const struct err *why), void *ctx,
		struct ledger **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/state.db", dir);
	struct ledger *s = xcalloc(1, sizeof(*s));
	struct core_options with_store = *o;

	with_store.fetch = fetch;
	with_store.fetch_ctx = s;
	with_store.open_max = OPEN_MAX;
	s->loop = loop;
	s->on_failure = on_failure;
	s->ctx = ctx;
	s->core = core_new(&with_store);
	if (db_rewrite_journal(path, e) < 0 || store_open(path, &s->store, e) < 0 ||
	    store_load(s->store, s->core, e) < 0 ||
	    writer_start(loop, path, STATE_VERSION, store_schema, WRITER_ALL, &s->writer, e) < 0) {
		core_free(s->core);
		store_close(s->store);
		free(s);
		return -e->code;
	}
	s->tick = loop_timer_new(loop, on_tick, s);
	s->patience = loop_timer_new(loop, on_patience, s);
	s->wall_ahead_ms = clock_wall_ms() - clock_mono_ms();
	core_loaded(s->core, clock_wall_ms());
	on_tick(s);
	*ret = s;
	return 0;
}

void ledger_close(struct ledger *s)
{
	struct ecs_fault f;
	struct waiter *w;

	if (!s)
		return;
	s->nodes = NULL;
	s->events = NULL;
	writer_stop(s->writer);
	(void)ecs_fault_set(&f, ECS_FAULT_SERVER, "The server is stopping.");
	while ((w = s->waiters)) {
		s->waiters = w->next;
		call_fault(w->call, &f);
		free_waiter(w);
	}
	loop_timer_free(s->tick);
	loop_timer_free(s->patience);
	core_free(s->core);
	store_close(s->store);
	free(s);
}
