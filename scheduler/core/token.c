/* scheduler/core/token.c - client tokens: a call that is repeated is done once
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every SDK sends a clientToken with RunTask and repeats it when it got no
 * answer.  The token, the request (without the token), and the tasks and failures
 * that came of it are stored with the tasks, in one commit.  In memory is that there is one, and
 * when it ends; the rest is fetched for a call that is repeated.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define TOKEN_MS      (24 * 3600 * 1000LL) /* ECS: at most 24 hours */
#define TOKEN_LEN_MAX 64

/* Printable, and no space. */
static bool is_token(const char *text)
{
	const size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return len >= 1 && len <= TOKEN_LEN_MAX;
}

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

/* The document as it was kept; what cannot be read is no call's (task_doc.c). */
static json_t *fetch(struct core *c, const char *key)
{
	auto_free char *text = c->o.fetch(c->o.fetch_ctx, key);
	json_t *doc = NULL;
	struct err e;

	if (!text || js_parse(text, strlen(text), STORED_DEPTH, &doc, &e) < 0)
		return json_object();
	return doc;
}

/* What came of the first call, whether it is still known or not; the core's until another is told. */
static const json_t *told_arns(struct core *c, const struct cluster *cl, const json_t *ids)
{
	char arn[ECS_ARN_SIZE];
	json_t *id;
	size_t i;

	json_decref(c->conflict);
	c->conflict = json_array();
	json_array_foreach (ids, i, id) {
		ecs_arn_task(&c->o.identity, cl->name, json_string_value(id), arn);
		(void)json_array_append_new(c->conflict, json_string(arn));
	}
	return c->conflict;
}

json_t *token_find(struct core *c, const struct cluster *cl, const json_t *request,
		   struct ecs_fault *f)
{
	const char *text = doc_string(request, "clientToken");
	auto_free char *key = NULL, *now = NULL;
	auto_json json_t *doc = NULL;

	f->message[0] = '\0';
	if (!text)
		return NULL;
	if (!is_token(text)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "clientToken must have 1 to %d printable ASCII characters, and "
				    "no space.",
				    TOKEN_LEN_MAX);
		return NULL;
	}
	key = key_of(cl, text);
	if (!map_find(&c->tokens, key))
		return NULL;

	doc = fetch(c, key);
	now = parameters(request);
	if (!str_eq(now, doc_string(doc, "parameters"))) {
		(void)ecs_fault_set(
			f, ECS_FAULT_CONFLICT,
			"The clientToken '%.64s' was used before with other parameters.", text);
		f->resource_ids = told_arns(c, cl, json_object_get(doc, "tasks"));
		return NULL;
	}
	return take_ptr(doc);
}

void token_restore(struct core *c, const char *key, int64_t expires_ms)
{
	struct token *t = xcalloc(1, sizeof(*t));

	t->key = xstrdup(key);
	t->expires_ms = expires_ms;
	(void)map_put(&c->tokens, key, t);
}

void token_keep(struct core *c, const struct cluster *cl, const json_t *request, json_t *tasks,
		json_t *failures)
{
	const char *text = doc_string(request, "clientToken");
	const int64_t expires_ms = c->now_ms + TOKEN_MS;
	auto_free char *key = NULL, *now = NULL;
	auto_json json_t *doc = NULL;

	if (!text)
		return;
	key = key_of(cl, text);
	now = parameters(request);
	doc = json_pack("{s:s, s:O, s:I}", "parameters", now, "tasks", tasks, "expires",
			(json_int_t)expires_ms);
	if (json_array_size(failures))
		(void)json_object_set(doc, "failures", failures);
	token_restore(c, key, expires_ms);
	effect_put_token(c, key, doc, expires_ms);
}

void token_free(struct token *t)
{
	free(t->key);
	free(t);
}

/* They were kept in the order of their ends. */
void tokens_tick(struct core *c)
{
	struct token *t;

	for (size_t i = 0; map_next(&c->tokens, &i, &t) && t->expires_ms <= c->now_ms;) {
		(void)map_remove(&c->tokens, t->key);
		effect_delete(c, take_ptr(t->key));
		token_free(t);
	}
}
