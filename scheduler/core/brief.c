/* scheduler/core/brief.c - what the core has in memory of a task, as bytes
 * SPDX-License-Identifier: Apache-2.0
 *
 * The store keeps it beside the document, apart from all documents, so that a server
 * that starts reads 150 bytes of each task.  It is a head of fixed size, in the order of
 * bytes that the machine has, and behind it the key of the task's kind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define FORMAT 1

enum { STOP = 1, HELD = 2, CONNECTED = 4, PLACED = 8 };

struct head {
	uint8_t format, status, flags, unused;
	uint32_t version;
	int64_t stopped_at_ms;
	uint8_t id[TASK_ID_SIZE], instance[TASK_ID_SIZE];
};

static void *make(const struct head *h, const char *key, size_t *ret_size)
{
	size_t len = strlen(key);
	char *brief = xcalloc(1, sizeof(*h) + len + 1);

	memcpy(brief, h, sizeof(*h));
	memcpy(brief + sizeof(*h), key, len);
	*ret_size = sizeof(*h) + len + 1;
	return brief;
}

void *brief_of_task(const struct task *t, size_t *ret_size)
{
	struct head h = {.format = FORMAT,
			 .status = t->last_status,
			 .flags = (uint8_t)((t->stop ? STOP : 0) | (t->held ? HELD : 0) |
					    (t->connected ? CONNECTED : 0)),
			 .version = t->version,
			 .stopped_at_ms = t->stopped_at_ms};

	memcpy(h.id, t->id, sizeof(h.id));
	if (t->instance && task_id_parse(t->instance->id, h.instance))
		h.flags |= PLACED;
	return make(&h, t->kind->key, ret_size);
}

static char *key_of_doc(const json_t *doc)
{
	const struct kind_words w = {
		.cluster = doc_string(doc, "_cluster"),
		.definition = doc_string(doc, "_definition"),
		.group = doc_string(doc, "group"),
		.started_by = doc_string(doc, "startedBy"),
		.launch_type = doc_string(doc, "launchType"),
		.provider = doc_string(doc, "capacityProviderName"),
		.demand = {.cpu_units = doc_integer(doc, "_cpu", 0),
			   .memory_mib = doc_integer(doc, "_memory", 0)},
	};

	return w.cluster && w.definition ? kind_key(&w) : NULL;
}

void *brief_of_doc(const json_t *doc, const char *instance, size_t *ret_size, struct err *e)
{
	const char *id = doc_string(doc, "_id");
	int status = core_task_status_parse(doc_string(doc, "lastStatus"));
	auto_free char *key = key_of_doc(doc);
	struct head h = {.format = FORMAT,
			 .version = (uint32_t)doc_integer(doc, "version", 0),
			 .stopped_at_ms = doc_integer(doc, "_stoppedAt", 0)};

	if (!key || !id || status < 0 || !task_id_parse(id, h.id)) {
		(void)err_set(e, EUCLEAN, "is not whole");
		return NULL;
	}
	h.status = (uint8_t)status;
	if (str_eq(doc_string(doc, "desiredStatus"), "STOPPED"))
		h.flags |= STOP;
	if (doc_true(doc, "_held"))
		h.flags |= HELD;
	if (str_eq(doc_string(doc, "connectivity"), "CONNECTED"))
		h.flags |= CONNECTED;
	if (instance && task_id_parse(instance, h.instance))
		h.flags |= PLACED;
	return make(&h, key, ret_size);
}

int core_make_brief(const char *key, const char *text, void **ret, size_t *ret_size, struct err *e)
{
	auto_json json_t *doc = NULL;

	if (js_parse(text, strlen(text), STORED_DEPTH, &doc, e) < 0)
		return err_wrap(e, "stored %s", key);
	*ret = brief_of_doc(doc, doc_string(doc, "_instance"), ret_size, e);
	return *ret ? 0 : err_wrap(e, "stored %s", key);
}

static int load(struct core *c, const struct head *h, const char *key, struct err *e)
{
	char instance[ECS_ID_LEN + 1];
	struct task_kind *k;

	if (h->format != FORMAT || h->status > TASK_STOPPED || roster_find(&c->roster, h->id))
		return err_set(e, EUCLEAN, "a brief that is not ours");
	k = kind_use(c, key, e);
	if (!k)
		return -e->code;
	task_id_format(h->instance, instance);
	core_task_restore(c, k,
			  &(struct task){.version = h->version,
					 .stopped_at_ms = h->stopped_at_ms,
					 .last_status = h->status,
					 .stop = h->flags & STOP,
					 .held = h->flags & HELD,
					 .connected = h->flags & CONNECTED},
			  h->id, h->flags & PLACED ? instance : NULL);
	return 0;
}

int core_load_brief(struct core *c, const void *brief, size_t size, struct err *e)
{
	const char *key = (const char *)brief + sizeof(struct head);
	char id[ECS_ID_LEN + 1];
	struct head h;

	if (size <= sizeof(h) || ((const char *)brief)[size - 1])
		return err_set(e, EUCLEAN, "stored brief of %zu bytes", size);
	memcpy(&h, brief, sizeof(h));
	if (load(c, &h, key, e) == 0)
		return 0;
	task_id_format(h.id, id);
	return err_wrap(e, "stored brief of task %s", id);
}

int core_task_load(struct core *c, json_t *own_doc, struct err *e)
{
	size_t size;
	auto_free void *brief = brief_of_doc(own_doc, doc_string(own_doc, "_instance"), &size, e);

	if (!brief || core_load_brief(c, brief, size, e) < 0)
		return -e->code;
	json_decref(own_doc);
	return 0;
}
