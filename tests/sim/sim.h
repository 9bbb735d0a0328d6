/* tests/sim/sim.h - a whole cluster in virtual time, from a seed
 * SPDX-License-Identifier: Apache-2.0
 *
 *   world.c    the clock, the order of things, chance
 *   shell.c    the server's process: the real core, commits that take time, crashes
 *   durable.c  what is durable: a model, and beside it the server's own store
 *   disk.c     a disk under that store which loses and tears what was not synced
 *   node.c     nodes: a model of the agent, with links that break
 *   caller.c   users of the API, who repeat what got no answer
 *   check.c    what must hold after each event
 *   main.c     seeds
 *
 * Everything that happens is an event of the world; the same seed gives the
 * same events.  A rule that is broken ends the run with the seed and the trace.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/core/core.h"
#include "scheduler/writer.h"

/* ---- world.c ---- */

typedef void world_fn(void *ctx, uint64_t arg);

struct world_options {
	uint64_t seed;
	unsigned nodes, minutes; /* of virtual time, with faults; then it heals */
	unsigned runs_per_node_hour;
	unsigned lost_minutes; /* 0: nodes are never given up */
	bool over_disk;        /* the server's own store writes to a disk */
	bool disk_lies;        /* and its syncs do nothing: this has to be noticed */
	bool trace;
};

void world_begin(const struct world_options *o);
void world_end(void);
extern const struct world_options *world;
int64_t world_now_ms(void);
uint64_t world_events(void);
uint64_t world_hash(void); /* of all that was traced */
void world_after(int64_t delay_ms, world_fn *fn, void *ctx, uint64_t arg);
bool world_step(void); /* false: nothing is to come */
/* Faults come only until then. */
bool world_has_faults(void);
int64_t world_faults_end_ms(void);
/* How often something happens to the whole cluster: more often where there is less than an hour. */
int64_t world_mean_ms(int64_t mean_ms);

uint64_t draw(void);
uint64_t below(uint64_t count);
bool chance(unsigned of_a_thousand);
int64_t between(int64_t low, int64_t high);
int64_t about(int64_t mean_ms); /* exponential */

void trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A rule was broken. */
_Noreturn void broken(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- shell.c ---- */

/* As text; NULL: it was lost, or the server is down. */
typedef void reply_fn(void *ctx, const char *reply, const struct ecs_fault *f);

void shell_begin(void);
void shell_end(void);
bool shell_is_up(void);
int64_t shell_now_ms(void); /* by the server's clock, which drifts and jumps */
void shell_call(const char *operation, json_t *own_request, reply_fn *fn, void *ctx);
struct core *shell_core(void); /* NULL: it is down */
/* After something went into the core: it is written, then told. */
void shell_commit(void (*then)(void *ctx, bool lost), void *ctx);
size_t shell_crashes(void);

/* ---- durable.c ---- */

struct durable_job {
	struct writer_job job; /* first */
	struct core_effects fx;
};

/* How the server ends: it stops, or must because the disk fails; it is killed; all is. */
enum disk_end { DISK_FAILS, DISK_KILLED, DISK_POWER_CUT };

void durable_begin(void);
void durable_end(void);
/* All that is stored goes into a core.  DURABLE_CUT: the power was cut; again, with another core. */
enum { DURABLE_CUT = 1 };
int durable_load(struct core *core, struct err *e);
/* Effects are on their way to be written. */
void durable_expect(const struct core_effects *fx);
char *durable_fetch(void *ctx, const char *key); /* core_options.fetch */
/* One commit of several jobs, which are linked. */
void durable_write(struct durable_job *jobs);

/* In this order: an end, what is written before it (false: that was the last), and it. */
enum disk_end durable_end_begins(void);
bool durable_last_commit(struct durable_job *jobs);
void durable_server_ends(enum disk_end end);

const char *durable_read(const char *key); /* NULL: absent */
void durable_each(const char *prefix, void (*fn)(const char *key, const char *text));

/* ---- disk.c ---- */

void disk_begin(void);
void disk_end(void);
/* After so many changes and syncs the next one does not come to its end. */
void disk_fail_after(enum disk_end how, uint64_t changes);
bool disk_is_well(void); /* it did not come to that; and it is not going to */
/* Nothing can be done any more, unless it ends in order; then it has closed its files. */
void disk_process_ends(enum disk_end how);
void disk_process_is_gone(void);

/* ---- node.c ---- */

void nodes_begin(unsigned count);
void nodes_end(void);
/* The server has something to say to a container instance. */
void nodes_deliver(const char *instance, const char *text, bool last);
void nodes_server_is_gone(void);
const char *nodes_rack(const char *instance); /* NULL: there is no such node */
bool nodes_is_connected(const char *instance);
/* An instance by chance; NULL: none has joined. */
const char *nodes_any(void);
/* At the end: what each has agrees with what is stored. */
void nodes_check_settled(void);

/* ---- caller.c ---- */

void callers_begin(void);
void callers_end(void);
void callers_check_settled(void);
/* A task of a run goes there, where its group has so many: is it what was asked for? */
void callers_check_place(const char *token, const char *task, const char *instance,
			 size_t of_group);
size_t callers_runs(void);

/* ---- check.c ---- */

void check_begin(void);
void check_end(void);
void check_effects(const struct core_effects *fx);
void check_reload(void); /* the server has read what was stored */
/* What the core decides by agrees with its documents; of large clusters now and then. */
void check_core(struct core *c);
size_t check_tasks(void);
size_t check_started(const char *token); /* tasks with this "startedBy" */
size_t check_given_up(void);             /* tasks whose node was lost */
/* Of an instance: an attribute ("": it has none), tasks, tasks of a group that are not STOPPED. */
const char *check_disk(const char *instance);
size_t check_running(const char *instance);
size_t check_pending(const char *instance);
size_t check_group(const char *instance, const char *group);
