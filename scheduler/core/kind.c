/* scheduler/core/kind.c - what tasks have in common, once for all of them
 * SPDX-License-Identifier: Apache-2.0
 *
 * A kind is known by a text, its key, that has all of it: so a brief has the key and
 * nothing else of the kind, and tasks of one kind have the same.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/core/task.h"

#define KEY_DEPTH 2

char *kind_key(const struct kind_words *w)
{
	auto_json json_t *doc = json_pack("[s, s, s, s?, s?, s?, I, I]", w->cluster, w->definition,
					  w->group ? w->group : "", w->started_by, w->launch_type,
					  w->provider, (json_int_t)w->demand.cpu_units,
					  (json_int_t)w->demand.memory_mib);

	/* Most have none: their keys are as they were before there were GPUs. */
	if (w->demand.gpus)
		(void)json_array_append_new(doc, json_integer(w->demand.gpus));
	return js_dump(doc);
}

static int read_key(const json_t *doc, struct kind_words *ret)
{
	const char **texts[] = {&ret->cluster,    &ret->definition,  &ret->group,
				&ret->started_by, &ret->launch_type, &ret->provider};
	size_t n = 0;

	*ret = (struct kind_words){0};
	for (; n < ARRAY_COUNT(texts); n++)
		*texts[n] = json_string_value(json_array_get(doc, n));
	ret->demand.cpu_units = json_integer_value(json_array_get(doc, n));
	ret->demand.memory_mib = json_integer_value(json_array_get(doc, n + 1));
	ret->demand.gpus = json_integer_value(json_array_get(doc, n + 2));
	return ret->cluster && ret->definition && ret->group ? 0 : -EUCLEAN;
}

static struct task_kind *make(struct core *c, const struct kind_words *w, const char *key,
			      struct err *e)
{
	struct cluster *cl = map_find(&c->clusters, w->cluster);
	auto_free char *family = xstrndup(w->definition, strcspn(w->definition, ":"));
	struct ecs_fault ignored;
	struct task_kind *k;

	if (!cl) {
		(void)err_set(e, EUCLEAN, "there is no cluster %s", w->cluster);
		return NULL;
	}
	k = xcalloc(1, sizeof(*k));
	k->cluster = cl;
	k->definition = definition_find(c, w->definition, &ignored);
	k->family = family_named(c, family);
	k->group = table_group(&cl->table, w->group);
	k->demand = w->demand;
	k->started_by = w->started_by ? xstrdup(w->started_by) : NULL;
	k->provider = w->provider ? xstrdup(w->provider) : NULL;
	k->external = str_eq(w->launch_type, "EXTERNAL");
	k->key = xstrdup(key);
	(void)map_put(&c->kinds, key, k);
	return k;
}

struct task_kind *kind_use(struct core *c, const char *key, struct err *e)
{
	struct task_kind *k = map_find(&c->kinds, key);

	if (!k) {
		auto_json json_t *doc = NULL;
		struct kind_words w;

		if (js_parse(key, strlen(key), KEY_DEPTH, &doc, e) < 0)
			return NULL;
		if (read_key(doc, &w) < 0) {
			(void)err_set(e, EUCLEAN, "the kind of a task is '%.100s'", key);
			return NULL;
		}
		k = make(c, &w, key, e);
	}
	if (k)
		k->users++;
	return k;
}

static void free_kind(struct task_kind *k)
{
	free(k->started_by);
	free(k->provider);
	free(k->key);
	free(k);
}

void kind_release(struct core *c, struct task_kind *k)
{
	if (!k || --k->users)
		return;
	(void)map_remove(&c->kinds, k->key);
	kind_forget_texts(c, k);
	table_release(&k->cluster->table, k->group);
	free_kind(k);
}

void kinds_done(struct core *c)
{
	struct task_kind *k;

	task_texts_free(c);
	for (size_t i = 0; map_next(&c->kinds, &i, &k);)
		free_kind(k);
	map_done(&c->kinds);
}

void kinds_forget(struct core *c, const struct definition *d)
{
	struct task_kind *k;

	for (size_t i = 0; map_next(&c->kinds, &i, &k);) {
		if (k->definition != d)
			continue;
		k->definition = NULL;
		kind_forget_texts(c, k);
	}
}
