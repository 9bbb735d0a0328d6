/* scheduler/core/lost.c - nodes that are not heard of for long
 * SPDX-License-Identifier: Apache-2.0
 *
 * After core_options.lost_ms the tasks of a node that is gone are given up:
 * for the cluster they have STOPPED.  What they had is not given to others
 * before the node has come back and said that they are gone, or was removed:
 * as far as anybody knows they still run.
 *
 * When many nodes vanish at once it is more likely that the server is cut off
 * than that all of them died.  Then nothing is given up, until enough are back or
 * somebody removes those that will not come.
 */
#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define MANY_PERCENT 30  /* of the nodes; and more than one */
#define GIVE_UP_MAX  500 /* tasks at a time: others are served before the next */

static const char wait_reason[] = "Not connected. So many container instances vanished that their "
				  "tasks are not given up.";

static bool is_overdue(const struct core *c, const struct instance *i)
{
	return i->gone_ms && i->gone_ms + c->o.lost_ms <= c->now_ms;
}

static void end_containers(json_t *containers)
{
	json_t *doc;
	size_t i;

	json_array_foreach (containers, i, doc)
		doc_set_string(doc, "lastStatus", "STOPPED");
}

void core_task_give_up(struct core *c, struct task *t, const char *code, const char *reason)
{
	json_t *doc = task_edit(c, t);

	if (!doc_string(doc, "stopCode")) {
		doc_set_string(doc, "stopCode", code);
		doc_set_string(doc, "stoppedReason", reason);
	}
	t->stop = true;
	doc_set_string(doc, "desiredStatus", "STOPPED");
	if (!json_object_get(doc, "stoppingAt"))
		doc_set_time(doc, "stoppingAt", c->now_ms);
	doc_set_time(doc, "stoppedAt", c->now_ms);
	end_containers(json_object_get(doc, "containers"));
	core_task_set_status(c, t, TASK_STOPPED);
	if (t->interface)
		interface_set_attachment(doc, "DELETED");
	core_task_changed(c, t);
}

/* '*left' is how many more may be. */
static void give_up(struct core *c, const struct instance *i, size_t *left)
{
	auto_free char *reason = xasprintf("Container instance lost: not heard of for %lld seconds",
					   (long long)(c->o.lost_ms / 1000));

	for (struct task *t = task_at(c, i->first_task); t; t = task_at(c, t->next_there)) {
		if (t->last_status == TASK_STOPPED)
			continue;
		if (!*left) {
			core_wake_at(c, c->now_ms + 1);
			return;
		}
		--*left;
		core_task_give_up(c, t, "TerminationNotice", reason);
		core_task_hold(c, t);
	}
}

/* Said of an instance, or no longer. */
static void set_waits(struct core *c, struct instance *i, bool waits)
{
	json_t *doc = i->record.doc;

	if (waits == str_eq(doc_string(doc, "statusReason"), wait_reason))
		return;
	if (waits)
		doc_set_string(doc, "statusReason", wait_reason);
	else
		(void)json_object_del(doc, "statusReason");
	(void)json_object_set_new(doc, "version", json_integer(doc_integer(doc, "version", 0) + 1));
	record_touch(c, &i->record);
}

static void tick_cluster(struct core *c, const struct cluster *cl)
{
	size_t gone = 0, left = GIVE_UP_MAX;
	struct instance *i;
	bool many;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		gone += i->gone_ms != 0;
	many = gone > 1 && gone * 100 > cl->instances.count * MANY_PERCENT;
	for (size_t n = 0; map_next(&cl->instances, &n, &i);) {
		set_waits(c, i, many && is_overdue(c, i));
		if (is_overdue(c, i) && !many)
			give_up(c, i, &left);
		else if (i->gone_ms && !is_overdue(c, i))
			core_wake_at(c, i->gone_ms + c->o.lost_ms);
	}
}

void lost_tick(struct core *c)
{
	struct cluster *cl;

	for (size_t n = 0; c->o.lost_ms && map_next(&c->clusters, &n, &cl);)
		tick_cluster(c, cl);
}

/* Those that were connected when the server ended have as long as if they had vanished now. */
void lost_loaded(struct core *c)
{
	struct cluster *cl;
	struct instance *i;

	for (size_t n = 0; map_next(&c->clusters, &n, &cl);)
		for (size_t k = 0; map_next(&cl->instances, &k, &i);)
			if (!i->gone_ms)
				i->gone_ms = c->now_ms;
}

void lost_move(struct core *c, struct instance *i, int64_t by_ms)
{
	if (!i->gone_ms)
		return;
	i->gone_ms += by_ms;
	if (!json_object_get(i->record.doc, "_goneAt"))
		return; /* it was connected when the server ended */
	(void)json_object_set_new(i->record.doc, "_goneAt", json_integer(i->gone_ms));
	record_touch(c, &i->record);
}
