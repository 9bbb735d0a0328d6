/* cmd/berth/top.c - top: how much of the cluster is free, where, and which tasks wait for what
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is shown is what placement counts by: what tasks have been promised, not
 * what they happen to use.  On a terminal it is shown again every two seconds.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define PAUSE_MS 2000
#define BAR      20 /* characters */

struct top_options {
	bool once;
};

static const struct option_row top_rows[] = {
	{"once", '1', OPTION_FLAG, offsetof(struct top_options, once), NULL,
	 "show it once, on a terminal too"},
};

struct sum {
	long long free, all;
};

/* "[######              ] 30% 1228 free" */
static char *bar(struct sum s)
{
	long long used = s.all - s.free;
	int signs = !s.all ? 0 : used > s.all ? BAR : (int)(used * BAR / s.all);

	return xasprintf("[%.*s%*s] %3lld%%, %lld free", signs, "####################", BAR - signs,
			 "", s.all ? used * 100 / s.all : 0, s.free);
}

static struct sum sum_of(const json_t *node, const char *name)
{
	return (struct sum){node_resource(node, "remainingResources", name),
			    node_resource(node, "registeredResources", name)};
}

static void add_to(struct sum *total, struct sum s)
{
	total->free += s.free;
	total->all += s.all;
}

/* GPUs are few: their number says more than a bar. */
static char *gpus_of(struct sum s)
{
	return xasprintf("%lld of %lld free", s.free, s.all);
}

struct totals {
	struct sum cpu, memory, gpus;
};

static void add_bars(struct table *t, const struct totals *of, bool gpus)
{
	table_add(t, bar(of->cpu));
	table_add(t, bar(of->memory));
	if (gpus)
		table_add(t, gpus_of(of->gpus));
}

static void add_node(struct table *t, const json_t *node, bool gpus, struct totals *all)
{
	const struct totals its = {.cpu = sum_of(node, "CPU"),
				   .memory = sum_of(node, "MEMORY"),
				   .gpus = sum_of(node, "GPU")};

	if (str_eq(text_of(node, "status"), "ACTIVE") &&
	    json_is_true(json_object_get(node, "agentConnected"))) {
		add_to(&all->cpu, its.cpu);
		add_to(&all->memory, its.memory);
		add_to(&all->gpus, its.gpus);
	}
	table_add(t, xstrdup(node_attribute(node, "berth.hostname")));
	table_add(t, xasprintf("%.12s", short_name(text_of(node, "containerInstanceArn"))));
	table_add(t, node_status(node));
	table_add(t, xasprintf("%lld+%lld", number_of(node, "runningTasksCount"),
			       number_of(node, "pendingTasksCount")));
	add_bars(t, &its, gpus);
}

static void print_nodes(const json_t *nodes)
{
	static const char *const headers[] = {"HOST",      "NODE",       "STATUS", "RUN+PENDING",
					      "CPU UNITS", "MEMORY MIB", "GPUS"};
	bool gpus = nodes_have_gpus(nodes);
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers) - (gpus ? 0 : 1)};
	struct totals all = {0};
	json_t *node;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)nodes, i, node)
		add_node(&t, node, gpus, &all);
	for (size_t n = 0; n < 3; n++)
		table_add(&t, xstrdup(n ? "" : "all that take tasks"));
	table_add(&t, xstrdup(""));
	add_bars(&t, &all, gpus);
	table_print(&t);
}

/* What a task waits for that does not run yet. */
static const char *awaited(const json_t *task)
{
	if (str_eq(text_of(task, "connectivity"), "DISCONNECTED"))
		return "its node is not connected";
	if (str_eq(text_of(task, "lastStatus"), "PROVISIONING"))
		return "its network interface";
	if (json_object_get(task, "pullStartedAt") && !json_object_get(task, "pullStoppedAt"))
		return "its images, which are being pulled";
	if (str_eq(text_of(task, "lastStatus"), "PENDING"))
		return "its node to start it";
	return "its containers to be up";
}

static void print_waiting(const json_t *tasks)
{
	static const char *const headers[] = {"TASK", "DEFINITION", "STATUS", "AGE", "WAITS FOR"};
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers)};
	json_t *task;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)tasks, i, task) {
		if (str_eq(text_of(task, "lastStatus"), "RUNNING"))
			continue;
		table_add(&t, xasprintf("%.12s", short_name(text_of(task, "taskArn"))));
		table_add(&t, xstrdup(short_name(text_of(task, "taskDefinitionArn"))));
		table_add(&t, xstrdup(text_of(task, "lastStatus")));
		table_add(&t, age_of(json_object_get(task, "createdAt")));
		table_add(&t, xstrdup(awaited(task)));
	}
	if (!t.count)
		return;
	(void)putchar('\n');
	table_print(&t);
}

static int show(struct context *c, bool clear, struct err *e)
{
	auto_json json_t *nodes = json_array(), *tasks = json_array();

	if (nodes_list(c, nodes, e) < 0 || tasks_list(c, "RUNNING", tasks, e) < 0)
		return -e->code;
	if (c->output == OUTPUT_JSON) {
		auto_json json_t *doc = json_pack("{s:O, s:O}", "nodes", nodes, "tasks", tasks);

		print_json(doc);
		return 0;
	}
	if (clear)
		(void)fputs("\033[H\033[J", stdout);
	print_nodes(nodes);
	print_waiting(tasks);
	(void)fflush(stdout);
	return 0;
}

static int top(struct context *c, const void *options, char **words, int count)
{
	const struct top_options *o = options;
	bool again = !o->once && c->output == OUTPUT_TABLE && isatty(STDOUT_FILENO);
	struct err e = {0};

	(void)words;
	(void)count;
	do {
		if (show(c, again, &e) < 0)
			return fail(&e);
	} while (again && poll(NULL, 0, PAUSE_MS) == 0);
	return EXIT_OK;
}

const struct command command_top = {
	.name = "top",
	.arguments = "[OPTIONS]",
	.summary = "Show how much of the cluster is free, where, and which tasks wait for what.",
	.options = top_rows,
	.option_count = ARRAY_COUNT(top_rows),
	.size = sizeof(struct top_options),
	.run = top,
};
