/* scheduler/core/task_doc.c - documents of tasks: opened, changed, closed
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is closed before the event is over, so what was read out of a document is
 * good until then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "scheduler/core/task.h"

char *task_key(const struct task *t)
{
	const char *cluster = t->kind->cluster->name;
	char *key = xcalloc(1, strlen("task//") + strlen(cluster) + ECS_ID_LEN + 1);

	task_id_format(t->id, stpcpy(stpcpy(stpcpy(key, "task/"), cluster), "/"));
	return key;
}

/* ---- the open ones, by their last use ---- */

static void link_newest(struct core *c, struct task_doc *d)
{
	d->newer = NULL;
	d->older = c->newest_doc;
	*(c->newest_doc ? &c->newest_doc->newer : &c->oldest_doc) = d;
	c->newest_doc = d;
	c->open_docs++;
}

static void unlink_doc(struct core *c, struct task_doc *d)
{
	*(d->newer ? &d->newer->older : &c->newest_doc) = d->older;
	*(d->older ? &d->older->newer : &c->oldest_doc) = d->newer;
	c->open_docs--;
}

static void open_doc(struct core *c, struct task *t, json_t *own_doc)
{
	struct task_doc *d = xcalloc(1, sizeof(*d));

	d->record = (struct record){.key = task_key(t), .doc = own_doc};
	d->task = t;
	t->doc = d;
	link_newest(c, d);
}

char *task_fetch(struct core *c, const struct task *t)
{
	auto_free char *key = task_key(t);

	return c->o.fetch(c->o.fetch_ctx, key);
}

/*
 * What cannot be read any more is nobody's document: whoever fetches has told his process to
 * end, and stores nothing of what comes of this event.
 */
static json_t *fetch(struct core *c, const struct task *t)
{
	auto_free char *text = task_fetch(c, t);
	json_t *doc = NULL;
	struct err e;

	if (!text || js_parse(text, strlen(text), STORED_DEPTH, &doc, &e) < 0)
		return json_object();
	return doc;
}

struct record *task_record(struct core *c, struct task *t)
{
	t->checked = false;
	if (!t->doc) {
		open_doc(c, t, fetch(c, t));
	} else if (t->doc != c->newest_doc) {
		unlink_doc(c, t->doc);
		link_newest(c, t->doc);
	}
	return &t->doc->record;
}

const json_t *task_doc(struct core *c, struct task *t)
{
	return task_record(c, t)->doc;
}

/*
 * Whether its node is connected is a fact of the node.  The document of a task has it as of its
 * last change; it is shown as it is, until the task is STOPPED.
 */
static void set_connectivity(const struct task *t, json_t *doc)
{
	const struct instance *i = t->instance;

	if (!i || t->last_status == TASK_STOPPED)
		return;
	doc_set_string(doc, "connectivity", i->connected ? "CONNECTED" : "DISCONNECTED");
	if (json_real_value(json_object_get(doc, "connectivityAt")) * 1000 <
	    (double)i->connected_at_ms)
		doc_set_time(doc, "connectivityAt", i->connected_at_ms);
}

json_t *task_edit(struct core *c, struct task *t)
{
	struct record *r = task_record(c, t);

	if (!r->dirty)
		set_connectivity(t, r->doc);
	record_touch(c, r);
	return r->doc;
}

json_t *task_show(struct core *c, struct task *t, bool tags)
{
	json_t *doc = doc_public(task_doc(c, t), tags);

	set_connectivity(t, doc);
	return doc;
}

void task_doc_close(struct core *c, struct task *t)
{
	struct task_doc *d = take_ptr(t->doc);

	if (!d)
		return;
	unlink_doc(c, d);
	record_done(&d->record);
	free(d);
}

void task_docs_trim(struct core *c)
{
	struct task_doc *newer;

	for (struct task_doc *d = c->oldest_doc; d && c->open_docs > c->o.open_max; d = newer) {
		newer = d->newer;
		if (!d->record.dirty)
			task_doc_close(c, d->task);
	}
}
