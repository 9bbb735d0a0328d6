/* scheduler/admission.c - which call is next, and which is told to come again later
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Calls wait in one queue for each caller, and callers take turns: who asks
 * much waits behind himself.  Calls are served for SLICE_MS at a time, then the
 * loop looks at everything else first, so that nodes are heard however many
 * callers there are.  A call that has waited for WAIT_MS is turned away instead of
 * served: what is admitted is answered soon, and what is not says so soon.
 *
 * 1. A caller is in the ring exactly while calls of his wait.
 * 2. With a rate, each caller has a bucket that holds BURST_S seconds of it; a
 *    call that finds it empty is turned away at once.  Callers without waiting
 *    calls are kept for their buckets, up to CALLERS_MAX.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "scheduler/internal.h"

#define SLICE_MS    5
#define WAIT_MS     500
#define BURST_S     2
#define CALLERS_MAX 4096

struct caller {
	struct caller *next; /* in the ring */
	struct call *first, **last;
	double tokens;
	int64_t filled_ms;
};

struct admission {
	struct admission_options o;
	struct map callers;
	struct caller *tail; /* of the ring: its next is whose turn it is; NULL: nobody waits */
	struct loop_timer *turn;
};

static void remove_idle(struct admission *a)
{
	struct caller *who;

	for (size_t i = 0; map_next(&a->callers, &i, &who);) {
		if (who->first)
			continue;
		(void)map_remove(&a->callers, a->callers.entries[i - 1].key);
		free(who);
	}
}

static struct caller *caller_named(struct admission *a, const char *name)
{
	struct caller *who = map_find(&a->callers, name);

	if (who)
		return who;
	if (a->callers.count >= CALLERS_MAX)
		remove_idle(a);
	who = xcalloc(1, sizeof(*who));
	who->last = &who->first;
	who->tokens = BURST_S * a->o.rate;
	who->filled_ms = clock_mono_ms();
	(void)map_put(&a->callers, name, who);
	return who;
}

/* One call more within the rate? */
static bool take_token(const struct admission *a, struct caller *who)
{
	int64_t now_ms = clock_mono_ms();

	if (a->o.rate <= 0)
		return true;
	who->tokens += a->o.rate * (double)(now_ms - who->filled_ms) / 1000;
	who->filled_ms = now_ms;
	if (who->tokens > BURST_S * a->o.rate)
		who->tokens = BURST_S * a->o.rate;
	if (who->tokens < 1)
		return false;
	who->tokens -= 1;
	return true;
}

static void join_ring(struct admission *a, struct caller *who)
{
	if (a->tail) {
		who->next = a->tail->next;
		a->tail->next = who;
	} else {
		who->next = who;
	}
	a->tail = who;
}

/* Whose turn it is leaves the ring. */
static struct caller *leave_ring(struct admission *a)
{
	struct caller *who = a->tail->next;

	if (who == a->tail)
		a->tail = NULL;
	else
		a->tail->next = who->next;
	return who;
}

static struct call *next_call(struct admission *a)
{
	struct caller *who = leave_ring(a);
	struct call *call = who->first;

	who->first = call->next;
	if (who->first)
		join_ring(a, who);
	else
		who->last = &who->first;
	return call;
}

static void on_turn(void *ctx)
{
	struct admission *a = ctx;
	int64_t now_ms = clock_mono_ms(), end_ms = now_ms + SLICE_MS;

	while (a->tail && now_ms < end_ms) {
		struct call *call = next_call(a);

		(now_ms > call->since_ms + WAIT_MS ? a->o.turn_away : a->o.serve)(a->o.ctx, call);
		now_ms = clock_mono_ms();
	}
	if (a->tail)
		loop_timer_set(a->turn, 0);
}

void admission_put(struct admission *a, const char *caller, struct call *own_call)
{
	struct caller *who = caller_named(a, caller);

	if (*caller && !take_token(a, who)) {
		a->o.turn_away(a->o.ctx, own_call);
		return;
	}
	own_call->since_ms = clock_mono_ms();
	own_call->next = NULL;
	if (!who->first)
		join_ring(a, who);
	*who->last = own_call;
	who->last = &own_call->next;
	if (!loop_timer_is_set(a->turn))
		loop_timer_set(a->turn, 0);
}

struct admission *admission_new(const struct admission_options *o)
{
	struct admission *a = xcalloc(1, sizeof(*a));

	a->o = *o;
	a->turn = loop_timer_new(o->loop, on_turn, a);
	return a;
}

void admission_free(struct admission *a)
{
	if (!a)
		return;
	while (a->tail)
		a->o.turn_away(a->o.ctx, next_call(a));
	remove_idle(a);
	map_done(&a->callers);
	loop_timer_free(a->turn);
	free(a);
}
