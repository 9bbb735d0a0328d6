/* scheduler/core/task_send.c - what a node is told of its tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node that says hello gets the list of all its tasks, and after a start of the server all
 * nodes do.  Of a task whose kind says all but ids and status nothing is opened for it: the
 * text is a pattern, and the ids are found in the stored document as it was written.  That is
 * a third of the work or less, and the documents of a large node are not in memory at once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/pattern.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define LIST_MAX  (1 << 30) /* bytes */
#define KINDS_MAX 16        /* of one list, that have a pattern */
#define UUID_LEN  36

/* Borrowed from the document. */
static struct js_strings strings_of(const json_t *list, struct arena *a)
{
	struct js_strings ret = {.count = json_array_size(list)};

	ret.items = arena_alloc(a, (ret.count + 1) * sizeof(char *));
	for (size_t i = 0; i < ret.count; i++)
		ret.items[i] = (char *)(uintptr_t)json_string_value(json_array_get(list, i));
	return ret;
}

/* A task in the words of the channel; the names are borrowed from its documents. */
static void describe_to_node(struct core *c, const struct task *t, const json_t *doc,
			     const json_t *effective, struct arena *a, struct ecs_node_task *ret)
{
	const json_t *containers = json_object_get(doc, "containers"), *container;
	struct ecs_node_container *items;
	struct err e;
	size_t i;

	*ret = (struct ecs_node_task){
		.task_arn = (char *)(uintptr_t)doc_string(doc, "taskArn"),
		.desired_status = (char *)(uintptr_t)(t->stop ? "STOPPED" : "RUNNING"),
		.last_status = (char *)(uintptr_t)core_task_status_name(t->last_status),
		.stop_code = (char *)(uintptr_t)doc_string(doc, "stopCode"),
		.stopped_reason = (char *)(uintptr_t)doc_string(doc, "stoppedReason"),
	};
	/* With overrides in it, or as it was registered; the former was decoded before it was kept. */
	if (effective)
		(void)ecs_task_definition_decode(effective, a, &ret->definition, &e);
	else if (t->kind->definition)
		ret->definition = t->kind->definition->parsed;

	if (t->interface) {
		ret->network_interface = arena_alloc(a, sizeof(*ret->network_interface));
		interface_describe_to_node(c, t->interface, a, ret->network_interface);
	}
	ret->containers.count = json_array_size(containers);
	ret->containers.items = items = arena_alloc(a,
						    (ret->containers.count + 1) * sizeof(*items));
	json_array_foreach (containers, i, container) {
		items[i].name = (char *)(uintptr_t)doc_string(container, "name");
		items[i].container_arn = (char *)(uintptr_t)doc_string(container, "containerArn");
		items[i].gpu_ids = strings_of(json_object_get(container, "gpuIds"), a);
	}
}

char *core_task_message(struct core *c, const struct task *t, const json_t *doc,
			const json_t *effective)
{
	auto_arena struct arena a = {0};
	struct ecs_node_task task;
	const struct ecs_node_tasks message = {.tasks = {.items = &task, .count = 1}};

	describe_to_node(c, t, doc, effective, &a, &task);
	return ecs_node_dump(ECS_NODE_TASKS, &message);
}

void core_task_send(struct core *c, struct task *t)
{
	const json_t *doc;

	if (!t->instance || !t->instance->connected)
		return;
	doc = task_doc(c, t);
	effect_send_text(c, t->instance,
			 core_task_message(c, t, doc, json_object_get(doc, "_effective")));
}

/* ---- all of them ---- */

enum { WORD_TASK, WORD_STATUS, WORD_CONTAINER, WORDS = WORD_CONTAINER + ECS_CONTAINERS_MAX };

/* The message, as it grows. */
struct list {
	struct core *c;
	struct buf text;
	struct {
		const struct task_kind *kind;
		struct pattern pattern;
	} kinds[KINDS_MAX];
	size_t kind_count, count;
};

static void list_done(struct list *l)
{
	for (size_t i = 0; i < l->kind_count; i++)
		pattern_done(&l->kinds[i].pattern);
	buf_done(&l->text);
}
#define auto_list __attribute__((cleanup(list_done)))

static void begin_item(struct list *l)
{
	if (l->count++)
		buf_putc(&l->text, ',');
}

/* In the list; 'status' in the place of its own unless NULL.  malloc'ed. */
static char *item_text(struct core *c, const struct task *t, const json_t *doc, const char *status)
{
	auto_arena struct arena a = {0};
	auto_json json_t *item = NULL;
	struct ecs_node_task task;

	describe_to_node(c, t, doc, json_object_get(doc, "_effective"), &a, &task);
	if (status)
		task.last_status = (char *)(uintptr_t)status;
	item = js_encode(&ecs_node_task_shape, &task);
	return js_dump(item);
}

/* Of tasks like this one. */
static void make_pattern(struct core *c, const struct task *t, struct pattern *p)
{
	const struct ecs_task_definition *d = &t->kind->definition->parsed;
	char mark[PATTERN_MARK + 1], holes[WORDS][PATTERN_HOLE + 1], arn[ECS_ARN_SIZE];
	auto_json json_t *doc = NULL;
	auto_free char *text = NULL;
	json_t *containers = json_array();

	core_random_hex(c, mark, PATTERN_MARK);
	for (unsigned n = 0; n < WORDS; n++)
		pattern_hole(mark, n, holes[n]);
	for (size_t n = 0; n < d->containers.count; n++) {
		ecs_arn_container(&c->o.identity, t->kind->cluster->name, holes[WORD_TASK],
				  holes[WORD_CONTAINER + n], arn);
		(void)json_array_append_new(
			containers,
			json_pack("{s:s, s:s}", "name",
				  JS_AT(d->containers, struct ecs_container_definition, n)->name,
				  "containerArn", arn));
	}
	ecs_arn_task(&c->o.identity, t->kind->cluster->name, holes[WORD_TASK], arn);
	doc = json_pack("{s:s, s:o}", "taskArn", arn, "containers", containers);
	text = item_text(c, t, doc, holes[WORD_STATUS]);
	pattern_make(p, text, strlen(text), mark);
}

/* NULL: there are too many kinds. */
static const struct pattern *pattern_of(struct list *l, const struct task *t)
{
	for (size_t i = 0; i < l->kind_count; i++)
		if (l->kinds[i].kind == t->kind)
			return &l->kinds[i].pattern;
	if (l->kind_count == KINDS_MAX)
		return NULL;
	l->kinds[l->kind_count].kind = t->kind;
	make_pattern(l->c, t, &l->kinds[l->kind_count].pattern);
	return &l->kinds[l->kind_count++].pattern;
}

/* Has its kind all but ids and status, if it has no overrides? */
static bool is_of_its_kind(const struct task *t)
{
	return !t->stop && !t->interface && t->kind->definition && !t->kind->demand.gpus;
}

/* The ids of its containers, in their order; names of members stand unescaped in quotes nowhere else. */
static bool read_containers(const char *text, size_t count,
			    char ret[ECS_CONTAINERS_MAX][UUID_LEN + 1])
{
	static const char sign[] = "\"containerArn\":\"";
	size_t n = 0;

	for (const char *at = text; (at = strstr(at, sign)); n++) {
		const char *id, *end;

		at += strlen(sign);
		end = strchr(at, '"');
		id = end ? memrchr(at, '/', (size_t)(end - at)) : NULL;
		if (n == count || !id || end - ++id != UUID_LEN)
			return false;
		(void)snprintf(ret[n], UUID_LEN + 1, "%.*s", UUID_LEN, id);
	}
	return n == count;
}

/* False: it has to be read in full. */
static bool add_by_pattern(struct list *l, const struct task *t, const char *stored)
{
	char id[ECS_ID_LEN + 1], containers[ECS_CONTAINERS_MAX][UUID_LEN + 1];
	const char *words[WORDS] = {id, core_task_status_name(t->last_status)};
	const struct pattern *p;

	if (!is_of_its_kind(t) || strstr(stored, "\"_effective\":") ||
	    !read_containers(stored, t->kind->definition->parsed.containers.count, containers) ||
	    !(p = pattern_of(l, t)))
		return false;
	task_id_format(t->id, id);
	for (size_t n = 0; n < ECS_CONTAINERS_MAX; n++)
		words[WORD_CONTAINER + n] = containers[n];
	begin_item(l);
	pattern_fill(p, words, &l->text);
	return true;
}

static void add_document(struct list *l, const struct task *t, const json_t *doc)
{
	auto_free char *text = item_text(l->c, t, doc, NULL);

	begin_item(l);
	buf_puts(&l->text, text);
}

/* No document is open for it that was not before. */
static void add(struct list *l, struct task *t)
{
	auto_free char *stored = NULL;
	auto_json json_t *doc = NULL;
	struct err e;

	if (t->doc) {
		add_document(l, t, t->doc->record.doc);
		return;
	}
	stored = task_fetch(l->c, t);
	if (!stored || add_by_pattern(l, t, stored))
		return;
	if (js_parse(stored, strlen(stored), STORED_DEPTH, &doc, &e) == 0)
		add_document(l, t, doc);
}

void core_task_send_all(struct core *c, const struct instance *i)
{
	auto_list struct list l = {.c = c, .text = BUF_INIT(LIST_MAX)};

	buf_puts(&l.text, "{\"full\":true,\"tasks\":[");
	for (struct task *t = task_at(c, i->first_task); t; t = task_at(c, t->next_there))
		if (t->last_status != TASK_STOPPED || t->held)
			add(&l, t);
	buf_puts(&l.text, "],\"type\":\"tasks\"}");
	effect_send_text(c, i, take_ptr(l.text.data));
}
