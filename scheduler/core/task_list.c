/* scheduler/core/task_list.c - ListTasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * There may be a million tasks and a page has a hundred.  ARNs of one cluster are in the
 * order of their ids, so all tasks are looked at once, the first ids that match are kept
 * as a heap whose root is the last one of them, and only these become ARNs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"

/* The filters of ListTasks, read once. */
struct filter {
	const struct cluster *cluster;
	const struct instance *instance;
	const char *family, *started_by, *launch_type;
	bool stopped;
};

static bool matches(const struct filter *filter, const struct task *t)
{
	const struct task_kind *k = t->kind;

	if (k->cluster != filter->cluster || t->stop != filter->stopped)
		return false;
	if (filter->instance && t->instance != filter->instance)
		return false;
	if (filter->family && strcmp(k->family->name, filter->family) != 0)
		return false;
	if (filter->started_by && !str_eq(k->started_by, filter->started_by))
		return false;
	return !filter->launch_type ||
	       strcmp(k->external ? "EXTERNAL" : "EC2", filter->launch_type) == 0;
}

/* ---- the first ones ---- */

struct first {
	const struct task *tasks[PAGE_MAX + 1]; /* one more says that there are more */
	size_t count, limit;
};

static bool is_behind(const struct task *a, const struct task *b)
{
	return memcmp(a->id, b->id, TASK_ID_SIZE) > 0;
}

static void swap(const struct task **a, const struct task **b)
{
	const struct task *kept = *a;

	*a = *b;
	*b = kept;
}

static void sift_down(struct first *f)
{
	for (size_t i = 0, child; (child = 2 * i + 1) < f->count; i = child) {
		if (child + 1 < f->count && is_behind(f->tasks[child + 1], f->tasks[child]))
			child++;
		if (!is_behind(f->tasks[child], f->tasks[i]))
			return;
		swap(&f->tasks[child], &f->tasks[i]);
	}
}

static void keep_if_first(struct first *f, const struct task *t)
{
	if (f->count == f->limit) {
		if (is_behind(f->tasks[0], t)) {
			f->tasks[0] = t;
			sift_down(f);
		}
		return;
	}
	f->tasks[f->count] = t;
	for (size_t i = f->count++; i && is_behind(f->tasks[i], f->tasks[(i - 1) / 2]);
	     i = (i - 1) / 2)
		swap(&f->tasks[i], &f->tasks[(i - 1) / 2]);
}

/* ---- the page ---- */

/* Its id is the last part of its ARN. */
static bool read_id(const char *arn, uint8_t ret[TASK_ID_SIZE])
{
	size_t len = strlen(arn);

	return len >= ECS_ID_LEN && task_id_parse(arn + len - ECS_ID_LEN, ret);
}

static void find_first(struct core *c, const struct filter *filter, const uint8_t *after,
		       struct first *ret)
{
	struct task *t;

	for (uint32_t n = 0; (t = roster_next(&c->roster, &n));)
		if ((!after || memcmp(t->id, after, TASK_ID_SIZE) > 0) && matches(filter, t))
			keep_if_first(ret, t);
}

static json_t *reply_page(struct core *c, const struct filter *filter, const json_t *request,
			  struct ecs_fault *f)
{
	const int64_t wanted = doc_integer(request, "maxResults", PAGE_MAX);
	struct first first = {.limit = wanted > 0 && wanted < PAGE_MAX ? (size_t)wanted + 1
								       : PAGE_MAX + 1};
	auto_free char *after = NULL;
	uint8_t after_id[TASK_ID_SIZE];
	struct page page = {0};

	if (page_after(request, "taskArns", &after, f) < 0)
		return NULL;
	if (after && !read_id(after, after_id)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Invalid token.");
		return NULL;
	}
	if (!str_eq(doc_string(request, "desiredStatus"), "PENDING")) /* accepted, matches none */
		find_first(c, filter, after ? after_id : NULL, &first);
	for (size_t i = 0; i < first.count; i++) {
		char id[ECS_ID_LEN + 1], arn[ECS_ARN_SIZE];

		task_id_format(first.tasks[i]->id, id);
		ecs_arn_task(&c->o.identity, filter->cluster->name, id, arn);
		page_add(&page, arn);
	}
	return page_reply(&page, request, false, strcmp, "taskArns", f);
}

json_t *list_tasks(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct cluster *cl = cluster_of(c, request, f);
	const char *instance = doc_string(request, "containerInstance");
	struct filter filter = {
		.cluster = cl,
		.family = doc_string(request, "family"),
		.started_by = doc_string(request, "startedBy"),
		.launch_type = doc_string(request, "launchType"),
		.stopped = str_eq(doc_string(request, "desiredStatus"), "STOPPED"),
	};

	if (!cl)
		return NULL;
	if (doc_string(request, "serviceName")) {
		(void)ecs_fault_set(f, ECS_FAULT_SERVICE_NOT_FOUND, "Service not found.");
		return NULL; /* there are none yet */
	}
	f->message[0] = '\0';
	if (instance && !(filter.instance = instance_find(cl, c, instance, f))) {
		if (!f->message[0])
			(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					    "The container instance was not found: '%.300s'",
					    instance);
		return NULL;
	}
	return reply_page(c, &filter, request, f);
}
