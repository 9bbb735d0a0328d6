/* scheduler/core/brief.c - what the core has in memory of a task or a client token, as bytes
 * SPDX-License-Identifier: Apache-2.0
 *
 * The store keeps it beside the document, apart from all documents, so that a server
 * that starts reads 150 bytes of each.  It is a head of fixed size, in the order of
 * bytes that the machine has, and behind it a text: the key of the task's kind and a line
 * for each GPU that it has, or the key of the token's document.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define GPUS_SIZE_MAX (ECS_GPUS_MAX * (ECS_NODE_GPU_ID_MAX + 1) + 1)

enum format { TASK = 1, TOKEN = 2 };

enum { STOP = 1, HELD = 2, PLACED = 8 };

struct head {
	uint8_t format, status, flags, unused;
	uint32_t version;
	int64_t stopped_at_ms;
	uint8_t id[TASK_ID_SIZE], instance[TASK_ID_SIZE];
};

struct token_head {
	uint8_t format, unused[7];
	int64_t expires_ms;
};

static void *make(const void *head, size_t head_size, const char *text, const struct buf *lines,
		  size_t *ret_size)
{
	const size_t text_size = strlen(text), lines_size = lines ? lines->size : 0;
	char *brief = xcalloc(1, head_size + text_size + lines_size + 1);

	memcpy(brief, head, head_size);
	memcpy(brief + head_size, text, text_size);
	if (lines_size)
		memcpy(brief + head_size + text_size, lines->data, lines_size);
	*ret_size = head_size + text_size + lines_size + 1;
	return brief;
}

void *brief_of_token(const char *key, int64_t expires_ms, size_t *ret_size)
{
	const struct token_head h = {.format = TOKEN, .expires_ms = expires_ms};

	return make(&h, sizeof(h), key, NULL, ret_size);
}

void *brief_of_task(const struct task *t, size_t *ret_size)
{
	struct head h = {.format = TASK,
			 .status = t->last_status,
			 .flags = (uint8_t)((t->stop ? STOP : 0) | (t->held ? HELD : 0)),
			 .version = t->version,
			 .stopped_at_ms = t->stopped_at_ms};
	auto_buf struct buf gpus = BUF_INIT(GPUS_SIZE_MAX);

	memcpy(h.id, t->id, sizeof(h.id));
	if (t->instance && task_id_parse(t->instance->id, h.instance))
		h.flags |= PLACED;
	if (t->instance)
		gpus_tell(t->instance, t->number, &gpus);
	return make(&h, sizeof(h), t->kind->key, &gpus, ret_size);
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
			   .memory_mib = doc_integer(doc, "_memory", 0),
			   .gpus = doc_integer(doc, "_gpus", 0)},
	};

	return w.cluster && w.definition ? kind_key(&w) : NULL;
}

void *brief_of_doc(const json_t *doc, const char *instance, size_t *ret_size, struct err *e)
{
	const char *id = doc_string(doc, "_id");
	int status = core_task_status_parse(doc_string(doc, "lastStatus"));
	auto_free char *key = key_of_doc(doc);
	struct head h = {.format = TASK,
			 .version = (uint32_t)doc_integer(doc, "version", 0),
			 .stopped_at_ms = doc_integer(doc, "_stoppedAt", 0)};
	auto_buf struct buf gpus = BUF_INIT(GPUS_SIZE_MAX);

	if (!key || !id || status < 0 || !task_id_parse(id, h.id)) {
		(void)err_set(e, EUCLEAN, "is not whole");
		return NULL;
	}
	h.status = (uint8_t)status;
	if (str_eq(doc_string(doc, "desiredStatus"), "STOPPED"))
		h.flags |= STOP;
	if (doc_true(doc, "_held"))
		h.flags |= HELD;
	if (instance && task_id_parse(instance, h.instance))
		h.flags |= PLACED;
	if (instance && (status != TASK_STOPPED || h.flags & HELD))
		gpus_tell_doc(doc, &gpus);
	return make(&h, sizeof(h), key, &gpus, ret_size);
}

static int load_token(struct core *c, const char *brief, struct err *e)
{
	struct token_head h;
	const char *key = brief + sizeof(h);

	memcpy(&h, brief, sizeof(h));
	if (map_find(&c->tokens, key))
		return err_set(e, EUCLEAN, "brief of %s: it is there", key);
	token_restore(c, key, h.expires_ms);
	return 0;
}

/* A line's end before each. */
static void load_gpus(const struct task *t, const char *lines)
{
	while (*lines) {
		const size_t len = strcspn(++lines, "\n");
		auto_free char *id = xstrndup(lines, len);

		if (t->instance)
			gpus_hold(t->instance, t->number, id);
		lines += len;
	}
}

static int load_task(struct core *c, const char *brief, struct err *e)
{
	char id[ECS_ID_LEN + 1], instance[ECS_ID_LEN + 1];
	const char *text = brief + sizeof(struct head);
	auto_free char *key = xstrndup(text, strcspn(text, "\n"));
	struct task_kind *k;
	struct head h;

	memcpy(&h, brief, sizeof(h));
	task_id_format(h.id, id);
	task_id_format(h.instance, instance);
	if (h.status > TASK_STOPPED || roster_find(&c->roster, h.id))
		return err_set(e, EUCLEAN, "brief of task %s: it is not ours, or there", id);
	k = kind_use(c, key, e);
	if (!k)
		return err_wrap(e, "brief of task %s", id);
	core_task_restore(c, k,
			  &(struct task){.version = h.version,
					 .stopped_at_ms = h.stopped_at_ms,
					 .last_status = h.status,
					 .stop = h.flags & STOP,
					 .held = h.flags & HELD},
			  h.id, h.flags & PLACED ? instance : NULL);
	load_gpus(roster_find(&c->roster, h.id), text + strlen(key));
	return 0;
}

int core_load_brief(struct core *c, const void *brief, size_t size, struct err *e)
{
	const char *bytes = brief;

	if (size && !bytes[size - 1]) {
		if (bytes[0] == TASK && size > sizeof(struct head))
			return load_task(c, bytes, e);
		if (bytes[0] == TOKEN && size > sizeof(struct token_head))
			return load_token(c, bytes, e);
	}
	return err_set(e, EUCLEAN, "a brief of %zu bytes is not one of ours", size);
}
