/* scheduler/core/gpu.c - which task has which GPUs of its container instance
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node says by which ids it knows its GPUs. Each belongs to one container at most, from
 * when its task is placed until the node has said that it is gone; "gpuIds" of the
 * container, in the task's document, says which, and so does the task's brief.
 *
 * 1. They stand in the order of their ids, and are given out in it, so that a task has
 *    its own in the same order here, in its document and in its brief.
 * 2. One that its node does not have any more stays here as long as a task has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

struct gpu {
	char *id;
	uint32_t task; /* that has it, by number; 0: none */
	bool here;     /* its node has it */
};

struct gpus {
	struct gpu *items; /* ascending */
	size_t count, capacity;
	size_t free; /* of those that are here */
};

static const struct gpus no_gpus;

static const struct gpus *gpus_of(const struct instance *i)
{
	return i->gpus ? i->gpus : &no_gpus;
}

/* ---- what there is ---- */

int gpus_check(const struct js_strings *ids, struct err *e)
{
	if (ids->count > ECS_GPUS_MAX)
		return err_set(e, EPROTO, "says that it has %zu GPUs; at most %d", ids->count,
			       ECS_GPUS_MAX);
	for (size_t n = 0; n < ids->count; n++) {
		const char *id = ids->items[n];

		if (!*id || strlen(id) > ECS_NODE_GPU_ID_MAX)
			return err_set(e, EPROTO, "the id of a GPU has %zu characters", strlen(id));
		for (const char *p = id; *p; p++)
			if (*p <= ' ' || *p > '~')
				return err_set(e, EPROTO, "GPU %zu has an id that cannot be shown",
					       n);
		for (size_t k = 0; k < n; k++)
			if (str_eq(ids->items[k], id))
				return err_set(e, EPROTO, "it has two GPUs %s", id);
	}
	return 0;
}

/* The one with this id, which is made if there is none. */
static struct gpu *find(struct instance *i, const char *id)
{
	struct gpus *g = i->gpus ? i->gpus : (i->gpus = xcalloc(1, sizeof(*g)));
	size_t n = 0;

	while (n < g->count && strcmp(g->items[n].id, id) < 0)
		n++;
	if (n < g->count && str_eq(g->items[n].id, id))
		return &g->items[n];
	g->items = xgrow(g->items, g->count, &g->capacity, sizeof(*g->items));
	memmove(&g->items[n + 1], &g->items[n], (g->count++ - n) * sizeof(*g->items));
	g->items[n] = (struct gpu){.id = xstrdup(id)};
	return &g->items[n];
}

/* Something of them has changed.  Those that are not there any more, whom nobody has, go. */
static void settle(struct instance *i)
{
	struct gpus *g = i->gpus;
	size_t kept = 0;

	if (!g)
		return;
	g->free = 0;
	for (size_t n = 0; n < g->count; n++) {
		const struct gpu gpu = g->items[n];

		g->free += gpu.here && !gpu.task;
		if (gpu.here || gpu.task)
			g->items[kept++] = gpu;
		else
			free(gpu.id);
	}
	g->count = kept;
	if (!kept)
		gpus_done(i);
	table_update(&i->cluster->table, i);
}

void gpus_set(struct instance *i)
{
	const json_t *ids = json_object_get(i->record.doc, "_gpuIds");
	json_t *id;
	size_t n;

	for (n = 0; n < gpus_of(i)->count; n++)
		i->gpus->items[n].here = false;
	json_array_foreach ((json_t *)(uintptr_t)ids, n, id)
		find(i, json_string_value(id))->here = true;
	settle(i);
}

void gpus_done(struct instance *i)
{
	for (size_t n = 0; n < gpus_of(i)->count; n++)
		free(i->gpus->items[n].id);
	if (i->gpus)
		free(i->gpus->items);
	free(take_ptr(i->gpus));
}

int64_t gpus_free(const struct instance *i)
{
	return (int64_t)gpus_of(i)->free;
}

int64_t gpus_used(const struct instance *i)
{
	const struct gpus *g = gpus_of(i);
	int64_t count = 0;

	for (size_t n = 0; n < g->count; n++)
		count += g->items[n].task != 0;
	return count;
}

json_t *gpus_show(const struct instance *i, bool left)
{
	const struct gpus *g = gpus_of(i);
	json_t *ids = g->count ? json_array() : NULL;

	for (size_t n = 0; n < g->count; n++)
		if (g->items[n].here && !(left && g->items[n].task))
			(void)json_array_append_new(ids, json_string(g->items[n].id));
	return ids;
}

/* ---- who has them ---- */

void gpus_take(struct instance *i, uint32_t task, json_t *container, int64_t count)
{
	json_t *ids = count ? json_array() : NULL;

	for (size_t n = 0; count && n < gpus_of(i)->count; n++) {
		struct gpu *gpu = &i->gpus->items[n];

		if (!gpu->here || gpu->task)
			continue;
		gpu->task = task;
		(void)json_array_append_new(ids, json_string(gpu->id));
		count--;
	}
	if (!ids)
		return;
	(void)json_object_set_new(container, "gpuIds", ids);
	settle(i);
}

void gpus_hold(struct instance *i, uint32_t task, const char *id)
{
	find(i, id)->task = task;
	settle(i);
}

void gpus_give_back(struct instance *i, uint32_t task)
{
	for (size_t n = 0; n < gpus_of(i)->count; n++)
		if (i->gpus->items[n].task == task)
			i->gpus->items[n].task = 0;
	settle(i);
}

/* ---- as lines of a brief ---- */

void gpus_tell(const struct instance *i, uint32_t task, struct buf *ret)
{
	const struct gpus *g = gpus_of(i);

	for (size_t n = 0; n < g->count; n++)
		if (g->items[n].task == task)
			buf_printf(ret, "\n%s", g->items[n].id);
}

void gpus_tell_doc(const json_t *doc, struct buf *ret)
{
	json_t *container, *id;
	size_t i, n;

	json_array_foreach (json_object_get(doc, "containers"), i, container)
		json_array_foreach (json_object_get(container, "gpuIds"), n, id)
			buf_printf(ret, "\n%s", json_string_value(id));
}
