/* tests/sim/sim.h - a whole cluster in virtual time, from a seed
 * SPDX-License-Identifier: Apache-2.0
 *
 *   world.c    the clock, the order of things, chance
 *   shell.c    the server's process: the real core, a disk with latency, crashes
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

/* ---- world.c ---- */

typedef void world_fn(void *ctx, uint64_t arg);

struct world_options {
	uint64_t seed;
	unsigned nodes, hours; /* of virtual time, with faults; then it heals */
	unsigned runs_per_node_hour;
	unsigned lost_minutes; /* 0: nodes are never given up */
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
const char *shell_stored(const char *key); /* durable; NULL: absent */
void shell_each_stored(const char *prefix, void (*fn)(const char *key, const char *text));
size_t shell_crashes(void);

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
