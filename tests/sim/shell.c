/* tests/sim/shell.c - the server's process: the real core, a disk with latency, crashes
 * SPDX-License-Identifier: Apache-2.0
 *
 * As scheduler/ledger.c does it: what the core wants done is written, and only
 * then are messages sent and callers answered, in the order of the events.  A
 * crash loses what was not written yet, and of what was written it loses the
 * answers of the last commits.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/disk.h"
#include "tests/sim/sim.h"

#define TICK_MS       60000
#define COMMIT_MS_MAX 20
#define SLOW_MS       2000 /* a disk that stalls */
#define CRASH_MEAN_MS (40 * 60 * 1000)
#define JUMP_MEAN_MS  (30 * 60 * 1000) /* of the clock */
#define JUMP_MS       5000
#define FAR_JUMP_MS   (15 * 60 * 1000)
#define FAR_JUMPS     500 /* of a thousand */
#define DRIFT_PPM     200

struct commit {
	struct commit *next;
	struct core_effects fx;
	char *reply;
	reply_fn *fn;
	void (*then)(void *ctx, bool lost);
	void *ctx;
	int64_t done_ms;
};

static struct core *core;
static struct core_options options;
static struct disk disk;    /* what is durable */
static struct map expected; /* texts of tasks that are not, by key; borrowed of their commits */
static struct commit *first, **last;
static uint64_t epoch; /* of the process */
static int64_t last_done_ms;
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
	world_after(about(JUMP_MEAN_MS), jump, NULL, 0);
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

/* ---- the disk ---- */

static void expect(const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++)
		if (fx->items[i].brief)
			(void)map_put(&expected, fx->items[i].key, fx->items[i].text);
}

static void write_effects(const struct core_effects *fx)
{
	disk_write(&disk, fx);
	for (size_t i = 0; i < fx->count; i++)
		if (fx->items[i].brief &&
		    map_find(&expected, fx->items[i].key) == fx->items[i].text)
			(void)map_remove(&expected, fx->items[i].key);
}

static char *fetch(void *ctx, const char *key)
{
	const char *text = map_find(&expected, key);

	(void)ctx;
	return text ? xstrdup(text) : disk_fetch(&disk, key);
}

const char *shell_stored(const char *key)
{
	return disk_read(&disk, key);
}

void shell_each_stored(const char *prefix, void (*fn)(const char *key, const char *text))
{
	size_t count;
	auto_free char **keys = disk_keys(&disk, prefix, &count);

	for (size_t i = 0; i < count; i++)
		fn(keys[i], disk_read(&disk, keys[i]));
}

/* ---- commits ---- */

static void free_commit(struct commit *c)
{
	core_effects_done(&c->fx);
	free(c->reply);
	free(c);
}

static void tell(struct commit *c)
{
	for (size_t i = 0; i < c->fx.count; i++) {
		const struct core_effect *f = &c->fx.items[i];

		if (f->kind == CORE_SEND || f->kind == CORE_REFUSE)
			nodes_deliver(f->key, f->text, f->kind == CORE_REFUSE);
	}
	if (c->fn)
		c->fn(c->ctx, c->reply, NULL);
	if (c->then)
		c->then(c->ctx, false);
}

static void on_durable(void *ctx, uint64_t of_epoch)
{
	struct commit *c = first;

	(void)ctx;
	if (of_epoch != epoch || !core)
		return; /* it was lost with its process */
	first = c->next;
	if (!first)
		last = &first;
	write_effects(&c->fx);
	tell(c);
	free_commit(c);
}

static void commit(reply_fn *fn, void (*then)(void *ctx, bool lost), void *ctx, char *own_reply)
{
	struct commit *c = xcalloc(1, sizeof(*c));
	int64_t done_ms = world_now_ms() + (world_has_faults() && chance(2)
						    ? between(1, SLOW_MS)
						    : between(0, COMMIT_MS_MAX));

	core_take_effects(core, &c->fx);
	expect(&c->fx);
	check_effects(&c->fx);
	check_core(core);
	c->fn = fn;
	c->then = then;
	c->ctx = ctx;
	c->reply = own_reply;
	c->done_ms = last_done_ms = done_ms > last_done_ms ? done_ms : last_done_ms;
	*last = c;
	last = &c->next;
	world_after(c->done_ms - world_now_ms(), on_durable, NULL, epoch);
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

static void crash(void *ctx, uint64_t arg);

static void tick(void *ctx, uint64_t of_epoch)
{
	(void)ctx;
	if (of_epoch != epoch || !core)
		return;
	core_tick(core, shell_now_ms());
	shell_commit(NULL, NULL);
	world_after(TICK_MS, tick, NULL, epoch);
}

static void start(void *ctx, uint64_t arg)
{
	struct err e = {0};

	(void)ctx;
	(void)arg;
	trace("server starts");
	for (size_t i = 0; i < 4; i++)
		options.seed[i] = draw() | 1;
	core = core_new(&options);
	if (disk_load(&disk, core, &e) < 0)
		broken("what was stored cannot be read: %s", e.msg);
	core_loaded(core, shell_now_ms());
	check_reload();
	shell_commit(NULL, NULL);
	tick(NULL, epoch);
	if (world_has_faults())
		world_after(about(CRASH_MEAN_MS), crash, NULL, epoch);
}

static void crash(void *ctx, uint64_t of_epoch)
{
	size_t in_flight = 0, survive;
	struct commit *c;

	(void)ctx;
	if (of_epoch != epoch || !core || !world_has_faults())
		return;
	for (c = first; c; c = c->next)
		in_flight++;
	survive = below(in_flight + 1);
	trace("server crashes: %zu of %zu commits under way were written, none was told", survive,
	      in_flight);
	epoch++;
	crashes++;
	core_free(take_ptr(core));
	map_done(&expected);
	nodes_server_is_gone();
	while ((c = first)) {
		first = c->next;
		if (survive) {
			write_effects(&c->fx);
			survive--;
		}
		if (c->fn)
			c->fn(c->ctx, NULL, NULL);
		if (c->then)
			c->then(c->ctx, true);
		free_commit(c);
	}
	last = &first;
	last_done_ms = 0;
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
		.fetch = fetch,
		.open_max = world->seed % 5 ? 1000 : 1};
	first = NULL;
	last = &first;
	last_done_ms = 0;
	crashes = 0;
	began_ms = world_now_ms();
	ahead_ms = 0;
	drift_ppm = between(-DRIFT_PPM, DRIFT_PPM);
	world_after(about(JUMP_MEAN_MS), jump, NULL, 0);
	start(NULL, 0);
}

void shell_end(void)
{
	struct commit *c;

	core_free(take_ptr(core));
	while ((c = first)) {
		first = c->next;
		if (c->fn)
			c->fn(c->ctx, NULL, NULL);
		if (c->then)
			c->then(c->ctx, true);
		free_commit(c);
	}
	map_done(&expected);
	disk_done(&disk);
	epoch++;
}
