/* scheduler/core/task_make.c - a task of a launch, on an instance
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tasks of a launch have the same document but for their ids and where they are, so their
 * texts come from patterns: what is shown of a task, what its document has besides, and what
 * its node is told.  No document is open when a task is new.
 *
 * What a plain request makes is the same for all tasks of a kind but for the time, too: the
 * patterns of some kinds are kept until the kind goes, or others have been used since.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/core/launch.h"
#include "scheduler/core/vpc.h"

#define TEXT_MAX  (64 << 20) /* of one task; a request is smaller */
#define TEXTS_MAX 16         /* kinds */

/* What the tasks of a kind do not have in common. */
enum {
	WORD_TASK,
	WORD_INSTANCE,
	WORD_ZONE,
	WORD_TIME,
	WORD_CONTAINER, /* and following */
	WORDS = WORD_CONTAINER + ECS_CONTAINERS_MAX,
};

/* ---- the document ---- */

static json_t *make_container(const struct launch *l, const char *task_id, const char *task_arn,
			      const char *id, const json_t *definition)
{
	const json_t *memory = json_object_get(definition, "memory"),
		     *reservation = json_object_get(definition, "memoryReservation");
	char arn[ECS_ARN_SIZE];
	json_t *doc;

	ecs_arn_container(&l->c->o.identity, l->cluster->name, task_id, id, arn);
	doc = json_pack("{s:s, s:s, s:O, s:O, s:s, s:o, s:o, s:o}", "containerArn", arn, "taskArn",
			task_arn, "name", json_object_get(definition, "name"), "image",
			json_object_get(definition, "image"), "lastStatus", "PENDING",
			"networkBindings", json_array(), "networkInterfaces", json_array(), "cpu",
			json_sprintf("%lld", (long long)doc_integer(definition, "cpu", 0)));
	if (json_is_integer(memory))
		(void)json_object_set_new(
			doc, "memory", json_sprintf("%lld", (long long)json_integer_value(memory)));
	if (json_is_integer(reservation))
		(void)json_object_set_new(
			doc, "memoryReservation",
			json_sprintf("%lld", (long long)json_integer_value(reservation)));
	doc_set_string(doc, "healthStatus", "UNKNOWN");
	return doc;
}

static void set_tags(const struct launch *l, json_t *doc)
{
	const char *propagate = doc_string(l->request, "propagateTags");

	if (str_eq(propagate, "TASK_DEFINITION"))
		tags_merge(doc, json_object_get(l->definition->record.doc, "tags"));
	tags_merge(doc, json_object_get(l->request, "tags"));
	if (doc_true(l->request, "enableECSManagedTags")) {
		auto_json json_t *managed = json_pack("[{s:s, s:s}]", "key", "aws:ecs:clusterName",
						      "value", l->cluster->name);

		tags_merge(doc, managed);
	}
}

static const char *launch_type_of(const struct launch *l)
{
	const char *launch_type = doc_string(l->request, "launchType");

	return launch_type ? launch_type : "EC2";
}

static bool is_awsvpc(const struct launch *l)
{
	return str_eq(l->definition->parsed.network_mode, "awsvpc");
}

static json_t *make_containers(const struct launch *l, const struct task *t, const char *arn,
			       char holes[WORDS][PATTERN_HOLE + 1])
{
	json_t *containers = json_array(), *definition, *container;
	size_t n;

	json_array_foreach (launch_defined(l, "containerDefinitions"), n, definition) {
		container = make_container(l, holes[WORD_TASK], arn, holes[WORD_CONTAINER + n],
					   definition);
		gpus_take(t->instance, t->number, container, l->gpus[n]);
		(void)json_array_append_new(containers, container);
	}
	return containers;
}

static json_t *make_shown(const struct launch *l, const struct task *t,
			  char holes[WORDS][PATTERN_HOLE + 1])
{
	json_t *doc;
	char arn[ECS_ARN_SIZE], instance_arn[ECS_ARN_SIZE];

	ecs_arn_task(&l->c->o.identity, l->cluster->name, holes[WORD_TASK], arn);
	ecs_arn_instance(&l->c->o.identity, l->cluster->name, holes[WORD_INSTANCE], instance_arn);
	doc = json_pack("{s:s, s:s, s:O, s:s, s:o, s:o, s:s, s:s, s:s}", "taskArn", arn,
			"clusterArn", doc_string(l->cluster->record.doc, "clusterArn"),
			"taskDefinitionArn",
			json_object_get(l->definition->record.doc, "taskDefinitionArn"),
			"containerInstanceArn", instance_arn, "attachments", json_array(),
			"containers", make_containers(l, t, arn, holes), "lastStatus",
			core_task_status_name(is_awsvpc(l) ? TASK_PROVISIONING : TASK_PENDING),
			"desiredStatus", "RUNNING", "connectivity", "CONNECTED");
	(void)json_object_set(doc, "overrides", l->overrides);
	(void)json_object_set_new(doc, "cpu", json_sprintf("%lld", (long long)l->demand.cpu_units));
	(void)json_object_set_new(doc, "memory",
				  json_sprintf("%lld", (long long)l->demand.memory_mib));
	(void)json_object_set(doc, "ephemeralStorage", launch_defined(l, "ephemeralStorage"));
	doc_set_string(doc, "group", l->group);
	doc_set_string(doc, "launchType", launch_type_of(l));
	doc_set_string(doc, "capacityProviderName", l->provider);
	doc_set_string(doc, "startedBy", doc_string(l->request, "startedBy"));
	doc_set_string(doc, "healthStatus", "UNKNOWN");
	doc_set_string(doc, "createdAt", holes[WORD_TIME]);
	doc_set_string(doc, "connectivityAt", holes[WORD_TIME]);
	doc_set_string(doc, "availabilityZone", holes[WORD_ZONE]);
	(void)json_object_set_new(doc, "enableExecuteCommand", json_false());
	(void)json_object_set_new(doc, "inferenceAccelerators", json_array());
	(void)json_object_set_new(doc, "version", json_integer(1));
	set_tags(l, doc);
	return doc;
}

/* Ours, which callers do not see. */
static json_t *make_hidden(const struct launch *l, char holes[WORDS][PATTERN_HOLE + 1])
{
	json_t *doc = json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:I, s:O*, s:i}", "_id", holes[WORD_TASK], "_cluster",
		l->cluster->name, "_definition", l->definition->name, "_instance",
		holes[WORD_INSTANCE], "_cpu", (json_int_t)l->demand.cpu_units, "_memory",
		(json_int_t)l->demand.memory_mib, "_effective", l->effective, "_told", 1);

	if (l->demand.gpus)
		(void)json_object_set_new(doc, "_gpus", json_integer(l->demand.gpus));
	return doc;
}

/* ---- patterns ---- */

/* Without the braces that end an object, or begin and end it. */
static void make_pattern(struct pattern *p, const json_t *doc, size_t before, const char *mark)
{
	auto_free char *text = js_dump(doc);

	pattern_make(p, text + before, strlen(text) - before - 1, mark);
}

/* Do its texts differ in more than words: an interface, GPUs? */
static bool is_alone(const struct launch *l)
{
	return is_awsvpc(l) || l->demand.gpus;
}

/* Of tasks like this one, which takes its GPUs here.  The mark is newer than all that callers have said. */
static void make_texts(struct launch *l, const struct task *t)
{
	char mark[PATTERN_MARK + 1], holes[WORDS][PATTERN_HOLE + 1];
	auto_json json_t *shown = NULL, *hidden = NULL;
	auto_free char *message = NULL;

	core_random_hex(l->c, mark, PATTERN_MARK);
	for (unsigned n = 0; n < WORDS; n++)
		pattern_hole(mark, n == WORD_TIME ? n + PATTERN_BARE : n, holes[n]);
	shown = make_shown(l, t, holes);
	hidden = make_hidden(l, holes);
	if (t->interface)
		interface_show_in_task(l->c, t->interface, shown);
	message = core_task_message(l->c, t, shown, l->effective);
	make_pattern(&l->texts->shown, shown, 0, mark);
	make_pattern(&l->texts->hidden, hidden, 1, mark);
	pattern_make(&l->texts->message, message, strlen(message), mark);
}

void task_texts_done(struct task_texts *texts)
{
	pattern_done(&texts->shown);
	pattern_done(&texts->hidden);
	pattern_done(&texts->message);
	texts->kind = NULL;
}

void kind_forget_texts(struct core *c, const struct task_kind *k)
{
	for (size_t i = 0; c->texts && i < TEXTS_MAX; i++)
		if (c->texts[i].kind == k)
			task_texts_done(&c->texts[i]);
}

void task_texts_free(struct core *c)
{
	for (size_t i = 0; c->texts && i < TEXTS_MAX; i++)
		task_texts_done(&c->texts[i]);
	free(take_ptr(c->texts));
}

/* Those of the kind, or that it has from now on. */
static struct task_texts *texts_of(struct core *c, const struct task_kind *k)
{
	struct task_texts *texts;

	if (!c->texts)
		c->texts = xcalloc(TEXTS_MAX, sizeof(*c->texts));
	for (size_t i = 0; i < TEXTS_MAX; i++)
		if (c->texts[i].kind == k)
			return &c->texts[i];
	texts = &c->texts[c->next_texts++ % TEXTS_MAX];
	task_texts_done(texts);
	texts->kind = k;
	return texts;
}

/* Does its kind say all that is in the documents of its tasks? */
static bool is_plain(const struct launch *l)
{
	static const char *const more[] = {"overrides", "tags", "propagateTags",
					   "enableECSManagedTags"};

	for (size_t i = 0; i < ARRAY_COUNT(more); i++)
		if (json_object_get(l->request, more[i]))
			return false;
	return !is_alone(l);
}

/* ---- words ---- */

struct words {
	char task[ECS_ID_LEN + 1], containers[ECS_CONTAINERS_MAX][37];
	char *zone; /* as it is within a JSON string; NULL: as it is */
	const char *all[WORDS];
};

static void words_done(struct words *w)
{
	free(w->zone);
}
#define auto_words __attribute__((cleanup(words_done)))

static char *inside_string(const char *text)
{
	auto_json json_t *string = json_string(text);
	auto_free char *quoted = js_dump(string);

	return xstrndup(quoted + 1, strlen(quoted) - 2);
}

/* As doc_set_time() would have it. */
static const char *time_text(struct launch *l)
{
	auto_json json_t *time = NULL;

	if (!l->time) {
		time = json_real((double)l->c->now_ms / 1000);
		l->time = js_dump(time);
	}
	return l->time;
}

/* Is it within a JSON string as it is? */
static bool is_simple(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\')
			return false;
	return true;
}

/* Its task has an id already. */
static void find_words(struct launch *l, const struct instance *i, struct words *w)
{
	const char *zone = instance_zone(i);

	if (zone && !is_simple(zone))
		zone = w->zone = inside_string(zone);
	w->all[WORD_TASK] = w->task;
	w->all[WORD_INSTANCE] = i->id;
	w->all[WORD_ZONE] = zone ? zone : "";
	w->all[WORD_TIME] = time_text(l);
	for (size_t n = 0; n < l->definition->parsed.containers.count; n++) {
		core_random_uuid(l->c, w->containers[n]);
		w->all[WORD_CONTAINER + n] = w->containers[n];
	}
}

/* ---- a task ---- */

/* What the next tasks have in common: of those before it may be another provider. */
static void find_kind(struct launch *l)
{
	const struct kind_words w = {
		.cluster = l->cluster->name,
		.definition = l->definition->name,
		.group = l->group,
		.started_by = doc_string(l->request, "startedBy"),
		.launch_type = launch_type_of(l),
		.provider = l->provider,
		.demand = l->demand,
	};
	auto_free char *key = NULL;
	struct err e;

	if (l->kind && (l->provider ? str_eq(l->kind->provider, l->provider) : !l->kind->provider))
		return;
	kind_release(l->c, l->kind);
	task_texts_done(&l->own_texts);
	key = kind_key(&w);
	l->kind = kind_use(l->c, key, &e);
	assert(l->kind);
	l->texts = is_plain(l) ? texts_of(l->c, l->kind) : &l->own_texts;
}

/*
 * Random digits, and the time behind them: what is made together lies together in an index
 * that begins with the latter.
 */
static void make_task_id(struct core *c, char ret[ECS_ID_LEN + 1], uint8_t ret_bytes[TASK_ID_SIZE])
{
	do {
		uint64_t time = (uint64_t)c->now_ms;

		core_random_hex(c, ret, ECS_ID_LEN);
		(void)task_id_parse(ret, ret_bytes);
		for (size_t i = TASK_ID_SIZE; i > TASK_ID_SIZE - TASK_ID_TIME / 2; time >>= 8)
			ret_bytes[--i] = (uint8_t)time;
		task_id_format(ret_bytes, ret);
	} while (roster_find(&c->roster, ret_bytes));
}

static struct task *add_task(struct launch *l, struct instance *i, const uint8_t id[TASK_ID_SIZE],
			     struct interface *interface)
{
	struct task *t = roster_add(&l->c->roster, id);

	t->kind = l->kind;
	t->kind->users++;
	if (interface)
		interface_give(interface, t);
	t->version = 1;
	t->last_status = interface ? TASK_PROVISIONING : TASK_PENDING;
	core_task_put_on(l->c, t, i);
	l->definition->tasks++;
	place_take(i, l->definition, &l->demand);
	return t;
}

/* What has just been shown of it, and the rest of the document. */
static char *stored_text(const struct launch *l, const struct words *w, const char *shown,
			 size_t size)
{
	struct buf text = BUF_INIT(TEXT_MAX);

	(void)buf_reserve(&text, size + l->texts->hidden.size + ECS_ID_LEN * WORDS);
	buf_add(&text, shown, size);
	buf_putc(&text, ',');
	pattern_fill(&l->texts->hidden, w->all, &text);
	buf_putc(&text, '}');
	return text.data;
}

static char *message_text(const struct launch *l, const struct words *w)
{
	struct buf text = BUF_INIT(TEXT_MAX);

	pattern_fill(&l->texts->message, w->all, &text);
	return text.data;
}

bool task_make(struct launch *l, struct instance *i, struct buf *shown, json_t *ids)
{
	auto_words struct words w = {.zone = NULL};
	struct interface *interface = NULL;
	uint8_t id[TASK_ID_SIZE];
	struct task *t;
	size_t begin;

	make_task_id(l->c, w.task, id);
	find_kind(l);
	if (is_awsvpc(l)) {
		interface = interface_make(l->c, l->request, i, l->cluster->name, w.task);
		if (!interface)
			return false;
	}
	find_words(l, i, &w);
	t = add_task(l, i, id, interface);
	if (is_alone(l) || !l->texts->shown.text)
		make_texts(l, t);

	if (shown->size)
		buf_putc(shown, ',');
	begin = shown->size;
	pattern_fill(&l->texts->shown, w.all, shown);
	effect_put_task(l->c, t, stored_text(l, &w, shown->data + begin, shown->size - begin));
	buf_putc(shown, '}');
	effect_send_text(l->c, i, message_text(l, &w));
	(void)json_array_append_new(ids, json_string(w.task));
	return true;
}
