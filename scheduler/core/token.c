/* scheduler/core/token.c - client tokens: a call that is repeated is done once
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every SDK sends a clientToken with RunTask and repeats it when it got no
 * answer.  The token, the request (without the token) and the tasks that came
 * of it are stored with the tasks, in one commit.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define TOKEN_MS      (24 * 3600 * 1000LL) /* ECS: at most 24 hours */
#define TOKEN_LEN_MAX 64

static char *key_of(const struct cluster *cl, const char *token)
{
	return xasprintf("token/%s/%s", cl->name, token);
}

/* The parameters as text that does not depend on the order of members. */
static char *parameters(const json_t *request)
{
	auto_json json_t *copy = json_copy((json_t *)(uintptr_t)request);

	(void)json_object_del(copy, "clientToken");
	return json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
}

const json_t *token_find(struct core *c, const struct cluster *cl, const json_t *request,
			 struct ecs_fault *f)
{
	const char *text = doc_string(request, "clientToken");
	auto_free char *key = NULL, *now = NULL;
	struct token *t;

	f->message[0] = '\0';
	if (!text)
		return NULL;
	if (!*text || strlen(text) > TOKEN_LEN_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "clientToken must have 1 to %d characters.", TOKEN_LEN_MAX);
		return NULL;
	}
	key = key_of(cl, text);
	t = map_find(&c->tokens, key);
	if (!t)
		return NULL;

	now = parameters(request);
	if (!str_eq(now, doc_string(t->record.doc, "parameters"))) {
		(void)ecs_fault_set(
			f, ECS_FAULT_CONFLICT,
			"The clientToken '%.64s' was used before with other parameters.", text);
		return NULL;
	}
	return json_object_get(t->record.doc, "tasks");
}

void token_keep(struct core *c, const struct cluster *cl, const json_t *request, json_t *own_tasks)
{
	const char *text = doc_string(request, "clientToken");
	auto_free char *key = NULL, *now = NULL;
	struct token *t;

	if (!text) {
		json_decref(own_tasks);
		return;
	}
	key = key_of(cl, text);
	now = parameters(request);
	t = xcalloc(1, sizeof(*t));
	t->expires_ms = c->now_ms + TOKEN_MS;
	record_init(&t->record,
		    json_pack("{s:s, s:o, s:I}", "parameters", now, "tasks", own_tasks, "expires",
			      (json_int_t)t->expires_ms),
		    "%s", key);
	(void)map_put(&c->tokens, key, t);
	record_touch(c, &t->record);
}

int token_load(struct core *c, const char *key, json_t *own_doc)
{
	struct token *t = xcalloc(1, sizeof(*t));

	t->expires_ms = doc_integer(own_doc, "expires", 0);
	record_init(&t->record, own_doc, "%s", key);
	(void)map_put(&c->tokens, key, t);
	return 0;
}

void token_free(struct token *t)
{
	record_done(&t->record);
	free(t);
}

void tokens_tick(struct core *c)
{
	struct token *t;

	for (size_t i = 0; map_next(&c->tokens, &i, &t);) {
		if (t->expires_ms > c->now_ms)
			continue;
		(void)map_remove(&c->tokens, t->record.key);
		record_delete(c, &t->record);
		free(t);
	}
}
