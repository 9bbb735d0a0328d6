/* agent/ask.c - questions to the node: of the server, and of root on this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * A question that waits ("wait", a version) is kept and looked at again when
 * anything happened that could answer it, at the latest after ASK_MS; then it
 * is answered with what there is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/text.h"

#define ASK_MS 20000

struct ask {
	struct ask *next;
	struct agent *agent;
	struct asker asker;
	json_t *request;
	struct loop_timer *patience;
	const struct operation *operation;
};

/* ASK_LATER: there is nothing to tell yet. */
enum { ASK_LATER = 1 };

struct operation {
	const char *name;
	/* 'late': the last call; answer with what there is. */
	int (*answer)(struct agent *a, const json_t *request, bool late, json_t **ret,
		      struct err *e);
};

/* ---- images ---- */

static int pull_image(struct agent *a, const json_t *request, bool late, json_t **ret,
		      struct err *e)
{
	char id[33];

	(void)late;
	if (pulls_begin_for_caller(a->pulls, request, id, e) < 0)
		return -e->code;
	*ret = json_pack("{s:s}", "pullId", id);
	return 0;
}

static int push_image(struct agent *a, const json_t *request, bool late, json_t **ret,
		      struct err *e)
{
	char id[33];

	(void)late;
	if (pulls_begin_push(a->pulls, request, id, e) < 0)
		return -e->code;
	*ret = json_pack("{s:s}", "pullId", id);
	return 0;
}

static int describe_pull(struct agent *a, const json_t *request, bool late, json_t **ret,
			 struct err *e)
{
	const char *id = json_string_value(json_object_get(request, "pullId"));
	int64_t version = json_integer_value(json_object_get(request, "version"));
	bool changed = false;
	json_t *doc = pulls_describe(a->pulls, id, version, &changed);

	if (!doc)
		return err_set(e, ENOENT, "no pull %s: not found", id);
	if (!changed && !late) {
		json_decref(doc);
		return ASK_LATER;
	}
	*ret = doc;
	return 0;
}

/* ---- output ---- */

static int get_task_logs(struct agent *a, const json_t *request, bool late, json_t **ret,
			 struct err *e)
{
	const char *arn = json_string_value(json_object_get(request, "task"));
	const char *slash = strrchr(arn, '/');
	struct task *t = map_find(&a->tasks, slash ? slash + 1 : arn);
	bool wait = json_is_true(json_object_get(request, "wait"));
	json_t *reply = NULL;

	if (!t)
		return err_set(e, ENOENT, "the output of task %s is not kept any more: not found",
			       arn);
	if (spool_read(t, request, &reply, e) < 0)
		return -e->code;
	if (wait && !late && !json_array_size(json_object_get(reply, "events")) &&
	    !json_is_true(json_object_get(reply, "ended"))) {
		json_decref(reply);
		return ASK_LATER;
	}
	*ret = reply;
	return 0;
}

/* ---- networks ---- */

static int describe_task_network(struct agent *a, const json_t *request, bool late, json_t **ret,
				 struct err *e)
{
	const char *arn = json_string_value(json_object_get(request, "task"));
	const char *slash = strrchr(arn, '/');
	const struct task *t = map_find(&a->tasks, slash ? slash + 1 : arn);

	(void)late;
	if (!t)
		return err_set(e, ENOENT, "task %s is not on this node: not found", arn);
	*ret = json_pack("{s:o}", "interfaces", network_describe(t));
	return 0;
}

static const struct operation operations[] = {
	{"ListImages", images_list},    {"DescribeImage", images_describe},
	{"TagImage", images_tag},       {"RemoveImage", images_remove},
	{"PruneImages", images_prune},  {"PullImage", pull_image},
	{"PushImage", push_image},      {"DescribePull", describe_pull},
	{"GetTaskLogs", get_task_logs}, {"DescribeTaskNetwork", describe_task_network},
};

/* ---- questions ---- */

/* Returns true when it was answered. */
static bool try_answer(struct agent *a, const struct operation *o, const struct asker *asker,
		       const json_t *request, bool late)
{
	json_t *response = NULL;
	struct err e = {0};
	int r = o->answer(a, request, late, &response, &e);

	if (r == ASK_LATER)
		return false;
	asker->answer(a, asker, response, r < 0 ? e.msg : NULL);
	json_decref(response);
	return true;
}

static void free_ask(struct ask *ask)
{
	loop_timer_free(ask->patience);
	json_decref(ask->request);
	free(ask);
}

static void unlink_ask(struct ask *ask)
{
	struct ask **p = &ask->agent->asks;

	while (*p != ask)
		p = &(*p)->next;
	*p = ask->next;
}

static void on_patience(void *ctx)
{
	struct ask *ask = ctx;

	unlink_ask(ask);
	(void)try_answer(ask->agent, ask->operation, &ask->asker, ask->request, true);
	free_ask(ask);
}

static void keep_ask(struct agent *a, const struct operation *o, const struct asker *asker,
		     json_t *request)
{
	struct ask *ask = xcalloc(1, sizeof(*ask));

	ask->agent = a;
	ask->asker = *asker;
	ask->operation = o;
	ask->request = json_incref(request);
	ask->patience = loop_timer_new(a->loop, on_patience, ask);
	loop_timer_set(ask->patience, ASK_MS);
	ask->next = a->asks;
	a->asks = ask;
}

static const struct operation *find_operation(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
		if (str_eq(operations[i].name, name))
			return &operations[i];
	return NULL;
}

bool ask_is_known(const char *operation)
{
	return find_operation(operation) != NULL;
}

void ask_put(struct agent *a, const char *operation, json_t *request, const struct asker *asker)
{
	const struct operation *o = find_operation(operation);

	if (!o)
		asker->answer(a, asker, NULL, "this node does not know the operation");
	else if (!try_answer(a, o, asker, request, false))
		keep_ask(a, o, asker, request);
}

static void look_again(void *ctx)
{
	struct agent *a = ctx;
	struct ask *ask, *next;

	for (ask = a->asks; ask; ask = next) {
		next = ask->next;
		if (!try_answer(a, ask->operation, &ask->asker, ask->request, false))
			continue;
		unlink_ask(ask);
		free_ask(ask);
	}
}

/* At the end of this turn of the loop: many things happen at once. */
void ask_look_again(struct agent *a)
{
	if (!a->asks)
		return;
	if (!a->ask_timer)
		a->ask_timer = loop_timer_new(a->loop, look_again, a);
	if (!loop_timer_is_set(a->ask_timer))
		loop_timer_set(a->ask_timer, 0);
}

void ask_end(struct agent *a)
{
	struct ask *ask;

	while ((ask = a->asks)) {
		a->asks = ask->next;
		ask->asker.answer(a, &ask->asker, NULL, "the node ends");
		free_ask(ask);
	}
	loop_timer_free(take_ptr(a->ask_timer));
}
