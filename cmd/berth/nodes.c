/* cmd/berth/nodes.c - nodes, and node token|inspect|drain|remove|label
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node is a container instance of ECS; it is named by its id, the beginning
 * of it, or its host name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

const char *node_attribute(const json_t *node, const char *name)
{
	json_t *a;
	size_t i;

	json_array_foreach (json_object_get(node, "attributes"), i, a)
		if (str_eq(text_of(a, "name"), name))
			return text_of(a, "value");
	return "";
}

/* ---- found ---- */

static int describe_page(struct context *c, json_t *arns, json_t *nodes, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request;

	if (!json_array_size(arns))
		return 0;
	request = request_new(c);
	(void)json_object_set(request, "containerInstances", arns);
	(void)json_object_set_new(request, "include", json_pack("[s]", "TAGS"));
	if (client_call(c->client, CLIENT_ECS, "DescribeContainerInstances", request, &reply, e) <
	    0)
		return -e->code;
	(void)json_array_extend(nodes, json_object_get(reply, "containerInstances"));
	return 0;
}

int nodes_list(struct context *c, json_t *nodes, struct err *e)
{
	auto_json json_t *next = NULL;

	do {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c);

		if (next)
			(void)json_object_set(request, "nextToken", next);
		if (client_call(c->client, CLIENT_ECS, "ListContainerInstances", request, &reply,
				e) < 0 ||
		    describe_page(c, json_object_get(reply, "containerInstanceArns"), nodes, e) < 0)
			return -e->code;
		json_decref(next);
		next = json_incref(json_object_get(reply, "nextToken"));
	} while (next);
	return 0;
}

/* The caller's reference. */
int node_resolve(struct context *c, const char *name, json_t **ret, struct err *e)
{
	auto_json json_t *nodes = json_array();
	json_t *node, *found = NULL;
	size_t i, count = 0;

	if (nodes_list(c, nodes, e) < 0)
		return -e->code;
	json_array_foreach (nodes, i, node) {
		const char *arn = text_of(node, "containerInstanceArn");

		if (!str_eq(arn, name) && !id_begins_with(short_name(arn), name) &&
		    !str_eq(node_attribute(node, "berth.hostname"), name))
			continue;
		found = node;
		count++;
	}
	if (!count)
		return err_set(e, ENOENT, "no node '%s'", name);
	if (count > 1)
		return err_set(e, EINVAL, "'%s' could be any of %zu nodes", name, count);
	*ret = json_incref(found);
	return 0;
}

/* ---- shown ---- */

long long node_resource(const json_t *node, const char *list, const char *name)
{
	json_t *r;
	size_t i;

	json_array_foreach (json_object_get(node, list), i, r)
		if (str_eq(text_of(r, "name"), name))
			return str_eq(text_of(r, "type"), "STRINGSET")
				       ? (long long)json_array_size(
						 json_object_get(r, "stringSetValue"))
				       : number_of(r, "integerValue");
	return 0;
}

bool nodes_have_gpus(const json_t *nodes)
{
	json_t *node;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)nodes, i, node)
		if (node_resource(node, "registeredResources", "GPU"))
			return true;
	return false;
}

char *node_free(const json_t *node, const char *name)
{
	return xasprintf("%lld/%lld", node_resource(node, "remainingResources", name),
			 node_resource(node, "registeredResources", name));
}

char *node_status(const json_t *node)
{
	bool connected = json_is_true(json_object_get(node, "agentConnected"));

	return xasprintf("%s%s", text_of(node, "status"), connected ? "" : " (disconnected)");
}

static void add_node(struct table *t, const json_t *node, bool gpus)
{
	table_add(t, xasprintf("%.12s", short_name(text_of(node, "containerInstanceArn"))));
	table_add(t, xstrdup(node_attribute(node, "berth.hostname")));
	table_add(t, node_status(node));
	table_add(t, xstrdup(node_attribute(node, "ecs.availability-zone")));
	table_add(t, xasprintf("%lld", number_of(node, "runningTasksCount")));
	table_add(t, node_free(node, "CPU"));
	table_add(t, node_free(node, "MEMORY"));
	table_add(t, xstrdup(text_of(json_object_get(node, "versionInfo"), "agentVersion")));
	if (gpus)
		table_add(t, node_free(node, "GPU"));
}

static int nodes(struct context *c, const void *options, char **words, int count)
{
	static const char *const headers[] = {"NODE",        "HOST",    "STATUS",
					      "ZONE",        "TASKS",   "CPU FREE",
					      "MEMORY FREE", "VERSION", "GPUS FREE"};
	struct table t = {.headers = headers};
	auto_json json_t *list = json_array();
	struct err e = {0};
	json_t *node;
	bool gpus;
	size_t i;

	(void)options;
	(void)words;
	(void)count;
	if (nodes_list(c, list, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON) {
		print_json(list);
		return EXIT_OK;
	}
	gpus = nodes_have_gpus(list);
	t.columns = ARRAY_COUNT(headers) - (gpus ? 0 : 1);
	json_array_foreach (list, i, node)
		add_node(&t, node, gpus);
	table_print(&t);
	return EXIT_OK;
}

const struct command command_nodes = {
	.name = "nodes",
	.arguments = "",
	.summary = "List nodes, and what they have left.",
	.size = 1,
	.run = nodes,
};

/* ---- one of them ---- */

struct node_options {
	const char *expires, *uses, *deadline;
	bool force, undo;
};

static const struct option_row node_rows[] = {
	{"expires", 0, OPTION_STRING, offsetof(struct node_options, expires), "SECONDS",
	 "token: how long it can be used (default 86400)"},
	{"uses", 0, OPTION_STRING, offsetof(struct node_options, uses), "COUNT",
	 "token: for how many nodes (default 1)"},
	{"deadline", 0, OPTION_STRING, offsetof(struct node_options, deadline), "SECONDS",
	 "drain: tasks that still run then are stopped (default: never)"},
	{"undo", 0, OPTION_FLAG, offsetof(struct node_options, undo), NULL,
	 "drain: let it have tasks again"},
	{"force", 'f', OPTION_FLAG, offsetof(struct node_options, force), NULL,
	 "remove: although it has tasks; they end"},
};

/* Those of the options that are numbers; what is wrong has been told. */
static int check_numbers(const struct node_options *o)
{
	const struct {
		const char *option, *value;
	} numbers[] = {{"expires", o->expires}, {"uses", o->uses}, {"deadline", o->deadline}};
	int64_t ignored;

	for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
		if (numbers[i].value && !parse_i64(numbers[i].value, 0, INT32_MAX, &ignored))
			return fail_usage("--%s '%s' is not a number from 0 to %d",
					  numbers[i].option, numbers[i].value, INT32_MAX);
	return EXIT_OK;
}

static void set_number(json_t *request, const char *member, const char *value)
{
	int64_t number;

	if (value && parse_i64(value, 0, INT32_MAX, &number))
		(void)json_object_set_new(request, member, json_integer(number));
}

static int token(struct context *c, const struct node_options *o, char **words, int count,
		 struct err *e)
{
	auto_json json_t *request = request_new(c), *reply = NULL;

	(void)words;
	(void)count;
	set_number(request, "expiresInSeconds", o->expires);
	set_number(request, "registrationLimit", o->uses);
	if (client_call(c->client, CLIENT_BERTH, "CreateNodeToken", json_incref(request), &reply,
			e) < 0)
		return -e->code;
	if (c->output == OUTPUT_JSON) {
		print_json(reply);
		return 0;
	}
	(void)puts("On the new node, with the place where this server takes nodes:\n"
		   "  berthd agent --server HOST:PORT --token TOKEN");
	(void)puts(text_of(reply, "token"));
	return 0;
}

static int inspect(struct context *c, const struct node_options *o, char **words, int count,
		   struct err *e)
{
	auto_json json_t *list = json_array();

	(void)o;
	for (int i = 0; i < count; i++) {
		json_t *node = NULL;

		if (node_resolve(c, words[i], &node, e) < 0)
			return -e->code;
		(void)json_array_append_new(list, node);
	}
	print_json(list);
	return 0;
}

/* A call about one node; what it says of it, the caller's, unless ret is NULL. */
static int call(struct context *c, enum client_service service, const char *operation,
		const char *name, json_t *own_request, json_t **ret, struct err *e)
{
	auto_json json_t *node = NULL, *reply = NULL, *request = own_request;

	if (node_resolve(c, name, &node, e) < 0)
		return -e->code;
	(void)json_object_set(request, "containerInstance",
			      json_object_get(node, "containerInstanceArn"));
	if (client_call(c->client, service, operation, json_incref(request), &reply, e) < 0)
		return -e->code;
	if (ret)
		*ret = json_incref(json_object_get(reply, "containerInstance"));
	return 0;
}

static int drain(struct context *c, const struct node_options *o, char **words, int count,
		 struct err *e)
{
	for (int i = 0; i < count; i++) {
		auto_json json_t *node = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "status",
					  json_string(o->undo ? "ACTIVE" : "DRAINING"));
		set_number(request, "deadlineSeconds", o->deadline);
		if (call(c, CLIENT_BERTH, "DrainContainerInstance", words[i], request, &node, e) <
		    0)
			return -e->code;
		(void)printf("%s: %s, %lld tasks running\n", words[i], text_of(node, "status"),
			     number_of(node, "runningTasksCount"));
	}
	return 0;
}

static int remove_nodes(struct context *c, const struct node_options *o, char **words, int count,
			struct err *e)
{
	for (int i = 0; i < count; i++) {
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "force", json_boolean(o->force));
		if (call(c, CLIENT_ECS, "DeregisterContainerInstance", words[i], request, NULL, e) <
		    0)
			return -e->code;
		(void)puts(words[i]);
	}
	return 0;
}

/* NODE KEY=VALUE, KEY, or KEY- to take it away; of any number. */
static int label(struct context *c, const struct node_options *o, char **words, int count,
		 struct err *e)
{
	auto_json json_t *node = NULL, *put = request_new(c), *drop = request_new(c);
	json_t *puts_list = json_array(), *drops = json_array(), *reply = NULL;
	int r = 0;

	(void)o;
	(void)json_object_set_new(put, "attributes", puts_list);
	(void)json_object_set_new(drop, "attributes", drops);
	if (node_resolve(c, words[0], &node, e) < 0)
		return -e->code;
	for (int i = 1; i < count; i++) {
		size_t len = strcspn(words[i], "=");
		bool gone = !words[i][len] && str_ends(words[i], "-");
		json_t *a = json_pack("{s:O, s:s#}", "targetId",
				      json_object_get(node, "containerInstanceArn"), "name",
				      words[i], len - gone);

		if (words[i][len])
			(void)json_object_set_new(a, "value", json_string(words[i] + len + 1));
		(void)json_array_append_new(gone ? drops : puts_list, a);
	}
	if (json_array_size(puts_list))
		r = client_call(c->client, CLIENT_ECS, "PutAttributes", json_incref(put), &reply,
				e);
	json_decref(take_ptr(reply));
	if (r == 0 && json_array_size(drops))
		r = client_call(c->client, CLIENT_ECS, "DeleteAttributes", json_incref(drop),
				&reply, e);
	json_decref(reply);
	return r;
}

static const struct {
	const char *word;
	int min, max; /* words behind it */
	int (*run)(struct context *c, const struct node_options *o, char **words, int count,
		   struct err *e);
} actions[] = {
	{"token", 0, 0, token},         {"inspect", 1, INT32_MAX, inspect},
	{"drain", 1, INT32_MAX, drain}, {"remove", 1, INT32_MAX, remove_nodes},
	{"label", 2, INT32_MAX, label},
};

static int node(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	for (size_t i = 0; i < ARRAY_COUNT(actions); i++) {
		if (!str_eq(actions[i].word, words[0]))
			continue;
		if (count - 1 < actions[i].min || count - 1 > actions[i].max)
			return fail_usage("node %s: wrong number of words", words[0]);
		if (check_numbers(options) != EXIT_OK)
			return EXIT_USAGE;
		return actions[i].run(c, options, words + 1, count - 1, &e) < 0 ? fail(&e)
										: EXIT_OK;
	}
	return fail_usage("'node %s' is not one of token, inspect, drain, remove, label", words[0]);
}

const struct command command_node = {
	.name = "node",
	.arguments = "token | inspect NODE... | drain NODE... | remove NODE... | "
		     "label NODE KEY[=VALUE]|KEY-...",
	.summary = "Let a node join, look at it, empty it, remove it, label it.",
	.options = node_rows,
	.option_count = ARRAY_COUNT(node_rows),
	.size = sizeof(struct node_options),
	.min_words = 1,
	.max_words = -1,
	.run = node,
};
