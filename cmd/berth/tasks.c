/* cmd/berth/tasks.c - tasks by name
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define DESCRIBE_MAX 100

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

int tasks_list(struct context *c, const char *desired_status, json_t *tasks, struct err *e)
{
	auto_json json_t *next = NULL;

	do {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "desiredStatus", json_string(desired_status));
		if (next)
			(void)json_object_set(request, "nextToken", next);
		if (client_call(c->client, CLIENT_ECS, "ListTasks", request, &reply, e) < 0 ||
		    describe_page(c, json_object_get(reply, "taskArns"), tasks, e) < 0)
			return -e->code;
		json_decref(next);
		next = json_incref(json_object_get(reply, "nextToken"));
	} while (next);
	return 0;
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

/* "web" of ".../task-definition/web:3" */
static bool has_family(const json_t *task, const char *name)
{
	const char *definition = short_name(text_of(task, "taskDefinitionArn"));
	size_t len = strlen(name);

	return strncmp(definition, name, len) == 0 && definition[len] == ':';
}

/* Ids that begin with 'name': the one, or all of them in the error. */
static int match_id(const json_t *tasks, const char *name, const json_t **ret, struct err *e)
{
	char list[256] = "";
	size_t found = 0, i, len = 0;
	json_t *task;

	json_array_foreach ((json_t *)(uintptr_t)tasks, i, task) {
		if (!id_begins_with(short_name(text_of(task, "taskArn")), name))
			continue;
		*ret = task;
		found++;
		if (len < sizeof(list) - 40)
			len += (size_t)snprintf(list + len, sizeof(list) - len, " %.32s",
						short_name(text_of(task, "taskArn")));
	}
	return found > 1 ? err_set(e, EINVAL, "'%s' could be any of%s", name, list) : 0;
}

static void match_family(const json_t *tasks, const char *name, const json_t **ret)
{
	json_t *task;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)tasks, i, task) {
		bool runs = str_eq(text_of(task, "desiredStatus"), "RUNNING");
		bool best_runs = *ret && str_eq(text_of(*ret, "desiredStatus"), "RUNNING");
		double created = json_number_value(json_object_get(task, "createdAt"));

		if (!has_family(task, name))
			continue;
		if (!*ret || runs > best_runs ||
		    (runs == best_runs &&
		     created > json_number_value(json_object_get(*ret, "createdAt"))))
			*ret = task;
	}
}

int task_resolve(struct context *c, const char *name, char **ret_arn, struct err *e)
{
	auto_json json_t *tasks = NULL;
	const json_t *found = NULL;

	if (str_starts(name, "arn:")) {
		*ret_arn = xstrdup(name);
		return 0;
	}
	tasks = json_array();
	if (tasks_list(c, "RUNNING", tasks, e) < 0 || tasks_list(c, "STOPPED", tasks, e) < 0)
		return -e->code;
	match_family(tasks, name, &found);
	if (!found && match_id(tasks, name, &found, e) < 0)
		return -e->code;
	if (!found)
		return err_set(e, ENOENT, "no task '%s'", name);
	*ret_arn = xstrdup(text_of(found, "taskArn"));
	return 0;
}
