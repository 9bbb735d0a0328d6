/* cmd/berth/describe.c - describe: a task or a node, for people
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"
#include "cmd/berth/command.h"

static void line(const char *name, const char *value)
{
	if (*value)
		(void)printf("%-20s%s\n", name, value);
}

static void own_line(const char *name, char *own_value)
{
	auto_free char *value = own_value;

	line(name, value);
}

static char *when(const json_t *timestamp)
{
	auto_free char *age = age_of(timestamp);
	char text[32];

	clock_format_rfc3339((int64_t)(json_number_value(timestamp) * 1000), text);
	return xasprintf("%s (%s%s)", text, age, str_eq(age, "now") ? "" : " ago");
}

/* ---- a task ---- */

static void print_times(const json_t *task)
{
	static const struct {
		const char *member, *name;
	} times[] = {
		{"createdAt", "Created:"},          {"pullStartedAt", "Pull started:"},
		{"pullStoppedAt", "Pull stopped:"}, {"startedAt", "Started:"},
		{"stoppingAt", "Stopping:"},        {"executionStoppedAt", "Last process ended:"},
		{"stoppedAt", "Stopped:"},
	};

	for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
		const json_t *at = json_object_get(task, times[i].member);

		if (at)
			own_line(times[i].name, when(at));
	}
}

/* "subnetId=subnet-1 privateIPv4Address=172.31.0.4 ..." of each network interface. */
static void print_attachments(const json_t *task)
{
	json_t *attachment, *detail;
	size_t i, k;

	json_array_foreach (json_object_get(task, "attachments"), i, attachment) {
		auto_buf struct buf b = BUF_INIT(4096);

		json_array_foreach (json_object_get(attachment, "details"), k, detail)
			buf_printf(&b, "%s%s=%s", k ? " " : "", text_of(detail, "name"),
				   text_of(detail, "value"));
		line("Network interface:", buf_str(&b));
	}
}

static void print_tags(const json_t *doc)
{
	auto_buf struct buf b = BUF_INIT(65536);
	json_t *tag;
	size_t i;

	json_array_foreach (json_object_get(doc, "tags"), i, tag)
		buf_printf(&b, "%s%s=%s", i ? ", " : "", text_of(tag, "key"),
			   text_of(tag, "value"));
	line("Tags:", buf_str(&b));
}

/* A line for each container that has some. */
static void print_gpus(const json_t *task)
{
	json_t *container, *id;
	size_t i, k;

	json_array_foreach (json_object_get(task, "containers"), i, container) {
		auto_buf struct buf b = BUF_INIT(65536);

		json_array_foreach (json_object_get(container, "gpuIds"), k, id)
			buf_printf(&b, "%s%s", k ? " " : "", json_string_value(id));
		if (b.size)
			own_line("GPUs:",
				 xasprintf("%s of %s", buf_str(&b), text_of(container, "name")));
	}
}

static void print_containers(const json_t *task)
{
	static const char *const headers[] = {"CONTAINER", "STATUS", "EXIT",
					      "IMAGE",     "PORTS",  "REASON"};
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers)};
	json_t *container;
	size_t i;

	(void)putchar('\n');
	json_array_foreach (json_object_get(task, "containers"), i, container) {
		const json_t *code = json_object_get(container, "exitCode");

		table_add(&t, xstrdup(text_of(container, "name")));
		table_add(&t, xstrdup(text_of(container, "lastStatus")));
		table_add(&t, code ? xasprintf("%lld", number_of(container, "exitCode"))
				   : xstrdup("-"));
		table_add(&t, xstrdup(text_of(container, "image")));
		table_add(&t, ports_of(container));
		table_add(&t, xstrdup(text_of(container, "reason")));
	}
	table_print(&t);
}

static char *node_of(struct context *c, const json_t *task)
{
	const char *arn = text_of(task, "containerInstanceArn");
	auto_json json_t *node = NULL;
	struct err ignored;

	if (!*arn || node_resolve(c, arn, &node, &ignored) < 0)
		return xasprintf("%s (gone)", short_name(arn));
	return xasprintf("%.12s %s%s", short_name(arn), node_attribute(node, "berth.hostname"),
			 json_is_true(json_object_get(node, "agentConnected")) ? ""
									       : " (disconnected)");
}

static void print_task(struct context *c, const json_t *task)
{
	line("Task:", text_of(task, "taskArn"));
	line("Definition:", short_name(text_of(task, "taskDefinitionArn")));
	own_line("Status:", xasprintf("%s, %s is wanted", text_of(task, "lastStatus"),
				      text_of(task, "desiredStatus")));
	line("Stopped because:", text_of(task, "stoppedReason"));
	line("Stop code:", text_of(task, "stopCode"));
	own_line("Node:", node_of(c, task));
	line("Zone:", text_of(task, "availabilityZone"));
	line("Capacity provider:", text_of(task, "capacityProviderName"));
	line("Group:", text_of(task, "group"));
	line("Started by:", text_of(task, "startedBy"));
	own_line("CPU, memory:",
		 xasprintf("%s units, %s MiB", text_of(task, "cpu"), text_of(task, "memory")));
	print_gpus(task);
	line("Health:", text_of(task, "healthStatus"));
	print_attachments(task);
	print_times(task);
	print_tags(task);
	print_containers(task);
}

/* ---- a node ---- */

static void print_attributes(const json_t *node)
{
	json_t *a;
	size_t i;

	json_array_foreach (json_object_get(node, "attributes"), i, a) {
		const char *value = text_of(a, "value");

		(void)printf("%-20s%s%s%s\n", i ? "" : "Attributes:", text_of(a, "name"),
			     *value ? "=" : "", value);
	}
}

static char *left_of(const json_t *node, const char *name, const char *unit)
{
	return xasprintf("%lld of %lld %s free", node_resource(node, "remainingResources", name),
			 node_resource(node, "registeredResources", name), unit);
}

static void print_node_gpus(const json_t *node)
{
	json_t *r, *id;
	size_t i, k;

	if (!node_resource(node, "registeredResources", "GPU"))
		return;
	own_line("GPUs:", left_of(node, "GPU", "GPUs"));
	json_array_foreach (json_object_get(node, "remainingResources"), i, r)
		if (str_eq(text_of(r, "name"), "GPU"))
			json_array_foreach (json_object_get(r, "stringSetValue"), k, id)
				line(k ? "" : "Free GPUs:", json_string_value(id));
}

static void print_node(const json_t *node)
{
	line("Node:", text_of(node, "containerInstanceArn"));
	line("Host:", node_attribute(node, "berth.hostname"));
	own_line("Status:", node_status(node));
	line("Because:", text_of(node, "statusReason"));
	line("Capacity provider:", text_of(node, "capacityProviderName"));
	line("Version:", text_of(json_object_get(node, "versionInfo"), "agentVersion"));
	own_line("Registered:", when(json_object_get(node, "registeredAt")));
	own_line("CPU:", left_of(node, "CPU", "units"));
	own_line("Memory:", left_of(node, "MEMORY", "MiB"));
	print_node_gpus(node);
	own_line("Tasks:",
		 xasprintf("%lld running, %lld pending", number_of(node, "runningTasksCount"),
			   number_of(node, "pendingTasksCount")));
	print_tags(node);
	print_attributes(node);
}

/* ---- either ---- */

static int describe_one(struct context *c, const char *name, struct err *e)
{
	auto_json json_t *task = NULL, *node = NULL;
	auto_free char *arn = NULL;
	struct err no_node;
	int r = task_resolve(c, name, &arn, e);

	if (r == 0 && (r = task_describe(c, arn, &task, e)) == 0)
		print_task(c, task);
	if (r != -ENOENT)
		return r;
	r = node_resolve(c, name, &node, &no_node);
	if (r == 0)
		print_node(node);
	else if (r != -ENOENT)
		*e = no_node;
	else
		return err_set(e, ENOENT, "no task and no node '%s'", name);
	return r;
}

static int describe(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	(void)options;
	for (int i = 0; i < count; i++) {
		if (i)
			(void)putchar('\n');
		if (describe_one(c, words[i], &e) < 0)
			return fail(&e);
	}
	return EXIT_OK;
}

const struct command command_describe = {
	.name = "describe",
	.arguments = "TASK|NODE...",
	.summary = "Tell what there is to know of tasks and nodes.",
	.size = 1,
	.min_words = 1,
	.max_words = -1,
	.run = describe,
};
