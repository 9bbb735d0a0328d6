/* cmd/berth/ps.c - ps and inspect
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "cmd/berth/command.h"

struct ps_options {
	bool all, quiet;
};

static const struct option_row ps_rows[] = {
	{"all", 'a', OPTION_FLAG, offsetof(struct ps_options, all), NULL, "stopped tasks too"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct ps_options, quiet), NULL, "ids only"},
};

static void add_ports(const json_t *container, struct buf *b)
{
	json_t *binding;
	size_t i;

	json_array_foreach (json_object_get(container, "networkBindings"), i, binding)
		buf_printf(b, "%s%lld->%lld/%s", b->size ? ", " : "",
			   (long long)json_integer_value(json_object_get(binding, "hostPort")),
			   (long long)json_integer_value(json_object_get(binding, "containerPort")),
			   text_of(binding, "protocol"));
}

static char *status_of(const json_t *task)
{
	const char *status = text_of(task, "lastStatus");
	json_t *container;
	size_t i;

	if (!str_eq(status, "STOPPED"))
		return xstrdup(status);
	json_array_foreach (json_object_get(task, "containers"), i, container) {
		const json_t *code = json_object_get(container, "exitCode");

		if (code)
			return xasprintf("STOPPED (%lld)", (long long)json_integer_value(code));
	}
	return xstrdup("STOPPED");
}

char *ports_of(const json_t *container)
{
	auto_buf struct buf ports = BUF_INIT(4096);

	add_ports(container, &ports);
	return xstrdup(ports.size ? buf_str(&ports) : "-");
}

/* The host that the task is on. */
static const char *host_of(const json_t *nodes, const json_t *task)
{
	const char *arn = text_of(task, "containerInstanceArn");
	json_t *node;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)nodes, i, node)
		if (str_eq(text_of(node, "containerInstanceArn"), arn))
			return node_attribute(node, "berth.hostname");
	return "-";
}

static void add_task(struct table *t, const json_t *task, const json_t *nodes)
{
	const json_t *containers = json_object_get(task, "containers");
	const json_t *first = json_array_get(containers, 0);
	auto_buf struct buf ports = BUF_INIT(4096);
	json_t *container;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)containers, i, container)
		add_ports(container, &ports);
	table_add(t, xasprintf("%.12s", short_name(text_of(task, "taskArn"))));
	table_add(t, xstrdup(short_name(text_of(task, "taskDefinitionArn"))));
	table_add(t, json_array_size(containers) > 1 ? xasprintf("%s +%zu", text_of(first, "image"),
								 json_array_size(containers) - 1)
						     : xstrdup(text_of(first, "image")));
	table_add(t, status_of(task));
	if (nodes)
		table_add(t, xstrdup(host_of(nodes, task)));
	table_add(t, age_of(json_object_get(task, "createdAt")));
	table_add(t, xstrdup(ports.size ? buf_str(&ports) : "-"));
}

/* 'nodes': NULL where there is only one, and nobody has to be told which. */
static void print_tasks(const struct context *c, const struct ps_options *o, const json_t *tasks,
			const json_t *nodes)
{
	static const char *const alone[] = {"TASK",   "DEFINITION", "IMAGE",
					    "STATUS", "AGE",        "PORTS"},
				 *const among[] = {"TASK", "DEFINITION", "IMAGE", "STATUS",
						   "HOST", "AGE",        "PORTS"};
	struct table t = {.headers = nodes ? among : alone,
			  .columns = nodes ? ARRAY_COUNT(among) : ARRAY_COUNT(alone)};
	json_t *task;
	size_t i;

	if (o->quiet) {
		json_array_foreach ((json_t *)(uintptr_t)tasks, i, task)
			(void)puts(short_name(text_of(task, "taskArn")));
		return;
	}
	if (c->output == OUTPUT_JSON) {
		print_json(tasks);
		return;
	}
	json_array_foreach ((json_t *)(uintptr_t)tasks, i, task)
		add_task(&t, task, nodes);
	table_print(&t);
}

static int ps(struct context *c, const void *options, char **words, int count)
{
	const struct ps_options *o = options;
	auto_json json_t *tasks = json_array(), *nodes = json_array();
	struct err e = {0};

	(void)words;
	(void)count;
	if (nodes_list(c, nodes, &e) < 0 || tasks_list(c, "RUNNING", tasks, &e) < 0 ||
	    (o->all && tasks_list(c, "STOPPED", tasks, &e) < 0))
		return fail(&e);
	print_tasks(c, o, tasks, json_array_size(nodes) > 1 ? nodes : NULL);
	return EXIT_OK;
}

const struct command command_ps = {
	.name = "ps",
	.arguments = "[OPTIONS]",
	.summary = "List tasks.",
	.options = ps_rows,
	.option_count = ARRAY_COUNT(ps_rows),
	.size = sizeof(struct ps_options),
	.of_node = true,
	.run = ps,
};

/* ---- inspect ---- */

/* What only its node knows, if that answers: interfaces and what passed them. */
static void add_network(struct context *c, const char *arn, json_t *task)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c);
	struct err ignored;

	(void)json_object_set_new(request, "task", json_string(arn));
	if (client_call(c->client, CLIENT_BERTH, "DescribeTaskNetwork", request, &reply,
			&ignored) == 0)
		(void)json_object_set(task, "berthNetwork", json_object_get(reply, "interfaces"));
}

static int inspect(struct context *c, const void *options, char **words, int count)
{
	auto_json json_t *tasks = json_array();
	struct err e = {0};

	(void)options;
	for (int i = 0; i < count; i++) {
		auto_free char *arn = NULL;
		json_t *task = NULL;

		if (task_resolve(c, words[i], &arn, &e) < 0 || task_describe(c, arn, &task, &e) < 0)
			return fail(&e);
		add_network(c, arn, task);
		(void)json_array_append_new(tasks, task);
	}
	print_json(tasks);
	return EXIT_OK;
}

const struct command command_inspect = {
	.name = "inspect",
	.arguments = "TASK...",
	.summary = "Print all that is known of tasks, as JSON.",
	.size = 1,
	.min_words = 1,
	.max_words = -1,
	.run = inspect,
};
