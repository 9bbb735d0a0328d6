/* tests/sim/shell.c - the server's process: the real core, commits that take time, crashes
 * SPDX-License-Identifier: Apache-2.0
 *
 * As scheduler/ledger.c and writer.c do it: what the core wants done is written, and only
 * then are messages sent and callers answered, in the order of the events.  What comes while
 * a commit is under way shares the next.  A crash loses what was not written yet, and of what
 * was written it loses the answers of the last commits.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define TICK_MS            60000
#define COMMIT_MS_MAX      20
#define SLOW_MS            2000 /* a disk that stalls */
#define CRASH_MEAN_MS      (40 * 60 * 1000)
#define DISK_CRASH_MEAN_MS (10 * 60 * 1000)
#define IDLE_CRASHES       800 /* of a thousand that would find nothing under way wait for something */
#define JUMP_MEAN_MS       (30 * 60 * 1000) /* of the clock */
#define JUMP_MS            5000
#define FAR_JUMP_MS        (15 * 60 * 1000)
#define FAR_JUMPS          500 /* of a thousand */
#define DRIFT_PPM          200

/* What one event of the core wants done. */
struct step {
	struct durable_job job; /* first */
	char *reply;
	reply_fn *fn;
	void (*then)(void *ctx, bool lost);
	void *ctx;
};

/* Steps in their order. */
struct steps {
	struct step *first, *last;
	size_t count;
};

static struct core *core;
static struct core_options options;
static struct steps waiting;
static size_t writing; /* so many of them are in the commit that is under way */
static uint64_t epoch; /* of the process */
static bool doomed;    /* it ends when it writes next */
static size_t crashes;

static int64_t began_ms,
	ahead_ms; /* what the server's clock is ahead of the world's, jumps alone */
static int64_t drift_ppm;

/* ---- the clock ---- */

int64_t shell_now_ms(void)
{
	const int64_t world_ms = world_now_ms();

	return world_ms + ahead_ms + (world_ms - began_ms) * drift_ppm / 1000000;
}

static void jump(void *ctx, uint64_t arg)
{
	const int64_t far_ms = chance(FAR_JUMPS) ? FAR_JUMP_MS : JUMP_MS,
		      by_ms = between(-far_ms, far_ms);

	(void)ctx;
	(void)arg;
	if (!world_has_faults())
		return;
	trace("the server's clock jumps by %lld ms", (long long)by_ms);
	ahead_ms += by_ms;
	if (core)
		core_clock_moved(core, by_ms);
	world_after(about(world_mean_ms(JUMP_MEAN_MS)), jump, NULL, 0);
}

struct core *shell_core(void)
{
	return core;
}

bool shell_is_up(void)
{
	return core != NULL;
}

size_t shell_crashes(void)
{
	return crashes;
}

/* ---- commits ---- */

static struct step *next_of(const struct step *s)
{
	return (struct step *)s->job.job.next;
}

static void add_step(struct steps *all, struct step *s)
{
	s->job.job.next = NULL;
	if (all->last)
		all->last->job.job.next = &s->job.job;
	else
		all->first = s;
	all->last = s;
	all->count++;
}

/* The first 'count' of them, linked. */
static struct step *take_steps(struct steps *all, size_t count)
{
	struct step *first = all->first, *last = first;

	for (size_t i = 1; i < count; i++)
		last = next_of(last);
	all->first = next_of(last);
	all->last = all->first ? all->last : NULL;
	all->count -= count;
	last->job.job.next = NULL;
	return first;
}

static void free_step(struct step *s)
{
	core_effects_done(&s->job.fx);
	free(s->reply);
	free(s);
}

static void tell(struct step *s)
{
	for (size_t i = 0; i < s->job.fx.count; i++) {
		const struct core_effect *f = &s->job.fx.items[i];

		if (f->kind == CORE_SEND || f->kind == CORE_REFUSE)
			nodes_deliver(f->key, f->text, f->kind == CORE_REFUSE);
	}
	if (s->fn)
		s->fn(s->ctx, s->reply, NULL);
	if (s->then)
		s->then(s->ctx, false);
}

static void tell_lost(struct step *s)
{
	if (s->fn)
		s->fn(s->ctx, NULL, NULL);
	if (s->then)
		s->then(s->ctx, true);
}

static void on_durable(void *ctx, uint64_t of_epoch);
static void crash(void *ctx, uint64_t of_epoch);

static void begin_commit(void)
{
	int64_t delay_ms;

	if (writing || !waiting.count)
		return;
	writing = waiting.count;
	delay_ms = world_has_faults() && chance(2) ? between(1, SLOW_MS)
						   : between(0, COMMIT_MS_MAX);
	if (doomed)
		world_after(between(0, delay_ms), crash, NULL, epoch);
	world_after(delay_ms, on_durable, NULL, epoch);
}

static void on_durable(void *ctx, uint64_t of_epoch)
{
	struct step *s, *next;

	(void)ctx;
	if (of_epoch != epoch || !core)
		return; /* it was lost with its process */
	s = take_steps(&waiting, writing);
	durable_write(&s->job);
	writing = 0;
	begin_commit();
	for (; s; s = next) {
		next = next_of(s);
		tell(s);
		free_step(s);
	}
}

static void commit(reply_fn *fn, void (*then)(void *ctx, bool lost), void *ctx, char *own_reply)
{
	struct step *s = xcalloc(1, sizeof(*s));

	core_take_effects(core, &s->job.fx);
	durable_expect(&s->job.fx);
	check_effects(&s->job.fx);
	check_core(core);
	s->fn = fn;
	s->then = then;
	s->ctx = ctx;
	s->reply = own_reply;
	add_step(&waiting, s);
	begin_commit();
}

void shell_commit(void (*then)(void *ctx, bool lost), void *ctx)
{
	commit(NULL, then, ctx, NULL);
}

void shell_call(const char *operation, json_t *own_request, reply_fn *fn, void *ctx)
{
	auto_json json_t *request = own_request;
	struct ecs_fault f = {.message = ""};
	char *reply;

	if (!core) {
		fn(ctx, NULL, NULL);
		return;
	}
	reply = core_call_text(core, operation, request, shell_now_ms(), &f);
	if (reply)
		commit(fn, NULL, ctx, reply);
	else
		fn(ctx, NULL, &f);
}

/* ---- life and death ---- */

static void tick(void *ctx, uint64_t of_epoch)
{
	int64_t wait_ms;

	(void)ctx;
	if (of_epoch != epoch || !core)
		return;
	core_tick(core, shell_now_ms());
	shell_commit(NULL, NULL);
	wait_ms = core_wake_ms(core) ? core_wake_ms(core) - shell_now_ms() : TICK_MS;
	world_after(wait_ms < 1 ? 1 : wait_ms < TICK_MS ? wait_ms : TICK_MS, tick, NULL, epoch);
}

static struct core *new_core(void)
{
	for (size_t i = 0; i < 4; i++)
		options.seed[i] = draw() | 1;
	return core_new(&options);
}

static void start(void *ctx, uint64_t arg)
{
	struct err e = {0};
	int r;

	(void)ctx;
	(void)arg;
	trace("server starts");
	core = new_core();
	while ((r = durable_load(core, &e)) == DURABLE_CUT) {
		core_free(core);
		core = new_core();
	}
	if (r < 0)
		broken("what was stored cannot be read: %s", e.msg);
	core_loaded(core, shell_now_ms());
	check_reload();
	shell_commit(NULL, NULL);
	tick(NULL, epoch);
	if (world_has_faults())
		world_after(
			about(world_mean_ms(world->over_disk ? DISK_CRASH_MEAN_MS : CRASH_MEAN_MS)),
			crash, NULL, epoch);
}

/* Those that are done before the end, one commit after the other; nobody is told. */
static void crash_writing(struct steps *lost)
{
	bool goes_on = true;
	struct step *s, *next;

	while (waiting.count) {
		s = take_steps(&waiting, writing ? writing : 1 + below(waiting.count));
		writing = 0;
		goes_on = goes_on && durable_last_commit(&s->job);
		for (; s; s = next) {
			next = next_of(s);
			add_step(lost, s);
		}
	}
}

static void crash(void *ctx, uint64_t of_epoch)
{
	static const char *const ends[] = {
		[DISK_FAILS] = "stops, or its disk fails",
		[DISK_KILLED] = "is killed",
		[DISK_POWER_CUT] = "has a power cut",
	};
	struct steps lost = {0};
	struct step *s;
	enum disk_end end;

	(void)ctx;
	if (of_epoch != epoch || !core || !world_has_faults())
		return;
	if (!waiting.count && !doomed && chance(IDLE_CRASHES)) {
		doomed = true;
		return;
	}
	doomed = false;
	end = durable_end_begins();
	trace("server %s: %zu events were not told", ends[end], waiting.count);
	crash_writing(&lost);
	epoch++;
	crashes++;
	core_free(take_ptr(core));
	durable_server_ends(end);
	nodes_server_is_gone();
	while (lost.count) {
		s = take_steps(&lost, 1);
		tell_lost(s);
		free_step(s);
	}
	world_after(between(200, 20000), start, NULL, 0);
}

void shell_begin(void)
{
	options = (struct core_options){
		.identity = {.region = "us-east-1", .account = "123456789012"},
		.vpc_cidr = "172.31.0.0/16",
		.host_cidr = "100.64.0.0/16",
		.stopped_keep_ms = 30 * 60 * 1000,
		.stopped_keep_max = 20000,
		.lost_ms = world->lost_minutes * 60000LL,
		.fetch = durable_fetch,
		.open_max = world->seed % 5 ? 1000 : 1};
	waiting = (struct steps){.count = 0};
	writing = 0;
	doomed = false;
	crashes = 0;
	began_ms = world_now_ms();
	ahead_ms = 0;
	drift_ppm = between(-DRIFT_PPM, DRIFT_PPM);
	world_after(about(world_mean_ms(JUMP_MEAN_MS)), jump, NULL, 0);
	start(NULL, 0);
}

void shell_end(void)
{
	struct step *s;

	core_free(take_ptr(core));
	while (waiting.count) {
		s = take_steps(&waiting, 1);
		tell_lost(s);
		free_step(s);
	}
	epoch++;
}
