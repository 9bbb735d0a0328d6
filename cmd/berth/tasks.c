/* cmd/berth/tasks.c - tasks by name
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"
#include "ecs/arn.h"

const char *short_name(const char *arn)
{
	const char *slash = strrchr(arn, '/');

	return slash ? slash + 1 : arn;
}

bool id_begins_with(const char *id, const char *name)
{
	return *name && str_starts(id, name);
}

json_t *request_new(const struct context *c)
{
	return json_pack("{s:s*, s:s*}", "cluster", c->cluster, "containerInstance", c->instance);
}

static int describe_page(struct context *c, json_t *arns, json_t *tasks, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request;

	if (!json_array_size(arns))
		return 0;
	request = request_new(c);
	(void)json_object_set(request, "tasks", arns);
	if (client_call(c->client, CLIENT_ECS, "DescribeTasks", request, &reply, e) < 0)
		return -e->code;
	(void)json_array_extend(tasks, json_object_get(reply, "tasks"));
	return 0;
}

/* Called with the ARNs of each page. */
typedef int page_fn(struct context *c, json_t *arns, json_t *list, struct err *e);

static int each_page(struct context *c, const char *desired_status, const char *family,
		     page_fn *take, json_t *list, struct err *e)
{
	auto_json json_t *next = NULL;

	do {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "desiredStatus", json_string(desired_status));
		if (family)
			(void)json_object_set_new(request, "family", json_string(family));
		if (next)
			(void)json_object_set(request, "nextToken", next);
		if (client_call(c->client, CLIENT_ECS, "ListTasks", request, &reply, e) < 0 ||
		    take(c, json_object_get(reply, "taskArns"), list, e) < 0)
			return -e->code;
		json_decref(next);
		next = json_incref(json_object_get(reply, "nextToken"));
	} while (next);
	return 0;
}

int tasks_list(struct context *c, const char *desired_status, json_t *tasks, struct err *e)
{
	return each_page(c, desired_status, NULL, describe_page, tasks, e);
}

int task_describe(struct context *c, const char *arn, json_t **ret, struct err *e)
{
	auto_json json_t *tasks = json_array(), *arns = json_pack("[s]", arn);

	if (describe_page(c, arns, tasks, e) < 0)
		return -e->code;
	if (!json_array_size(tasks))
		return err_set(e, ENOENT, "no task %s", arn);
	*ret = json_incref(json_array_get(tasks, 0));
	return 0;
}

/* ---- by name ---- */

static int add_arns(struct context *c, json_t *arns, json_t *list, struct err *e)
{
	(void)c;
	(void)e;
	return json_array_extend(list, arns);
}

/* The one whose id begins with 'name', or all of them in the error. */
static int find_by_id(struct context *c, const char *name, char **ret_arn, struct err *e)
{
	auto_json json_t *arns = json_array();
	char list[256] = "";
	const char *found = NULL;
	size_t count = 0, i, len = 0;
	json_t *arn;

	if (each_page(c, "RUNNING", NULL, add_arns, arns, e) < 0 ||
	    each_page(c, "STOPPED", NULL, add_arns, arns, e) < 0)
		return -e->code;
	json_array_foreach (arns, i, arn) {
		const char *id = short_name(json_string_value(arn));

		if (!id_begins_with(id, name))
			continue;
		found = json_string_value(arn);
		count++;
		if (len < sizeof(list) - 40)
			len += (size_t)snprintf(list + len, sizeof(list) - len, " %.32s", id);
	}
	if (!count)
		return err_set(e, ENOENT, "no task '%s'", name);
	if (count > 1)
		return err_set(e, EINVAL, "'%s' could be any of%s", name, list);
	*ret_arn = xstrdup(found);
	return 0;
}

/* The newest of a family that is to run, or else of those that have stopped; NULL: there is none. */
static int find_by_family(struct context *c, const char *name, char **ret_arn, struct err *e)
{
	static const char *const statuses[] = {"RUNNING", "STOPPED"};

	*ret_arn = NULL;
	for (size_t s = 0; *name && !*ret_arn && s < ARRAY_COUNT(statuses); s++) {
		auto_json json_t *tasks = json_array();
		double newest = -1;
		json_t *task;
		size_t i;

		if (each_page(c, statuses[s], name, describe_page, tasks, e) < 0)
			return -e->code;
		json_array_foreach (tasks, i, task) {
			double created = json_number_value(json_object_get(task, "createdAt"));

			if (created <= newest)
				continue;
			newest = created;
			free(*ret_arn);
			*ret_arn = xstrdup(text_of(task, "taskArn"));
		}
	}
	return 0;
}

static bool is_id(const char *name)
{
	return strlen(name) == ECS_ID_LEN && strspn(name, "0123456789abcdef") == ECS_ID_LEN;
}

/* There may be very many that have stopped: they are listed only for the beginning of an id. */
int task_resolve(struct context *c, const char *name, char **ret_arn, struct err *e)
{
	auto_json json_t *task = NULL;

	if (str_starts(name, "arn:")) {
		*ret_arn = xstrdup(name);
		return 0;
	}
	if (is_id(name)) {
		if (task_describe(c, name, &task, e) == 0) {
			*ret_arn = xstrdup(text_of(task, "taskArn"));
			return 0;
		}
		if (e->code != ENOENT)
			return -e->code;
	} /* else it may be the name of a family */
	if (find_by_family(c, name, ret_arn, e) < 0)
		return -e->code;
	return *ret_arn ? 0 : find_by_id(c, name, ret_arn, e);
}
