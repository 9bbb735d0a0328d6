/* scheduler/core/flap.c - nodes that come and go
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each task that goes to a node whose link breaks all the time is one that is
 * disconnected, or lost.  Who was gone FLAPS_MIN times in a row after less than
 * SHORT_MS gets no new tasks, when it is back, before it has been quiet for a
 * while: QUIET_MS, twice as long with each time more, at most QUIET_MAX_MS.  What
 * it runs goes on.
 *
 * When many flap it is the network or the server, and without them there would
 * be no place for anything: then nobody is held back that is not already.
 */
#include "base/auto.h"
#include "base/clock.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define FLAPS_MIN    3
#define SHORT_MS     (10 * 60 * 1000LL)
#define QUIET_MS     (30 * 1000LL)
#define QUIET_MAX_MS (30 * 60 * 1000LL)
#define MANY_PERCENT 30 /* of the nodes of a cluster */

void flap_load(struct core *c, struct instance *i)
{
	i->flaps = doc_integer(i->record.doc, "_flaps", 0);
	i->quiet_until_ms = doc_integer(i->record.doc, "_quietUntil", 0);
	i->quiet = i->quiet_until_ms;
	core_wake_at(c, i->quiet_until_ms);
}

void flap_gone(const struct core *c, struct instance *i)
{
	i->flaps = c->now_ms - i->since_ms < SHORT_MS ? i->flaps + 1 : 0;
	(void)json_object_set_new(i->record.doc, "_flaps", json_integer(i->flaps));
}

static bool are_many(const struct instance *i)
{
	const struct map *all = &i->cluster->instances;
	struct instance *other;
	size_t quiet = 1;

	for (size_t n = 0; map_next(all, &n, &other);)
		quiet += other != i && other->quiet_until_ms;
	return quiet * 100 > all->count * MANY_PERCENT;
}

static void set_quiet(struct instance *i, int64_t until_ms)
{
	json_t *doc = i->record.doc;
	char time[32];

	i->quiet_until_ms = until_ms;
	i->quiet = until_ms;
	if (!until_ms) {
		(void)json_object_del(doc, "_quietUntil");
		return;
	}
	clock_format_rfc3339(until_ms, time);
	(void)json_object_set_new(doc, "_quietUntil", json_integer(until_ms));
	(void)json_object_set_new(doc, "statusReason",
				  json_sprintf("Flapping: gone %lld times in a row after a short "
					       "while. No new tasks before %s.",
					       (long long)i->flaps, time));
}

/* With twice the time for each time more. */
static int64_t quiet_ms(int64_t flaps)
{
	int64_t ms = QUIET_MS;

	for (int64_t n = FLAPS_MIN; n < flaps && ms < QUIET_MAX_MS; n++)
		ms *= 2;
	return ms < QUIET_MAX_MS ? ms : QUIET_MAX_MS;
}

void flap_back(struct core *c, struct instance *i)
{
	const bool was_gone = i->since_ms; /* or it is the server that was */
	int64_t until_ms = i->quiet_until_ms > c->now_ms ? i->quiet_until_ms : 0;

	if (was_gone)
		until_ms = i->flaps < FLAPS_MIN || are_many(i) ? 0 : c->now_ms + quiet_ms(i->flaps);
	i->since_ms = c->now_ms;
	set_quiet(i, until_ms);
	core_wake_at(c, until_ms);
}

/* It has been quiet for as long as it had to. */
static void release(struct core *c, struct instance *i)
{
	json_t *doc = i->record.doc;

	set_quiet(i, 0);
	if (i->connected)
		(void)json_object_del(doc, "statusReason");
	(void)json_object_set_new(doc, "version", json_integer(doc_integer(doc, "version", 0) + 1));
	table_update(&i->cluster->table, i);
	record_touch(c, &i->record);
}

/* It has stayed for long: the next time is the first one. */
static void settle(struct core *c, struct instance *i)
{
	i->flaps = 0;
	(void)json_object_set_new(i->record.doc, "_flaps", json_integer(0));
	record_touch(c, &i->record);
}

void flaps_tick(struct core *c)
{
	struct cluster *cl;
	struct instance *i;

	for (size_t n = 0; map_next(&c->clusters, &n, &cl);) {
		for (size_t k = 0; map_next(&cl->instances, &k, &i);) {
			if (i->quiet_until_ms > c->now_ms)
				core_wake_at(c, i->quiet_until_ms);
			else if (i->quiet_until_ms)
				release(c, i);
			if (i->flaps && i->connected && !i->quiet_until_ms &&
			    c->now_ms - i->since_ms >= SHORT_MS)
				settle(c, i);
		}
	}
}

void flap_move(struct core *c, struct instance *i, int64_t by_ms)
{
	if (i->since_ms)
		i->since_ms += by_ms;
	if (!i->quiet_until_ms)
		return;
	set_quiet(i, i->quiet_until_ms + by_ms);
	record_touch(c, &i->record);
	core_wake_at(c, i->quiet_until_ms);
}
