/* cmd/berth/stop.c - stop, version
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

struct stop_options {
	bool no_wait;
	const char *reason;
};

static const struct option_row stop_rows[] = {
	{"no-wait", 0, OPTION_FLAG, offsetof(struct stop_options, no_wait), NULL,
	 "return when it was told to stop"},
	{"reason", 0, OPTION_STRING, offsetof(struct stop_options, reason), "TEXT",
	 "kept with the task"},
};

static int wait_until_stopped(struct context *c, const char *arn, struct err *e)
{
	int64_t version = 0, away_ms = 0;
	bool told = false;

	for (;;) {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c), *task;

		(void)json_object_set_new(request, "task", json_string(arn));
		(void)json_object_set_new(request, "version", json_integer(version));
		if (client_call(c->client, CLIENT_BERTH, "WaitTask", request, &reply, e) < 0) {
			if (client_wait_back(c->client, &away_ms, e) < 0)
				return -e->code;
			continue;
		}
		away_ms = 0;
		task = json_object_get(reply, "task");
		if (str_eq(json_string_value(json_object_get(task, "lastStatus")), "STOPPED"))
			return 0;
		if (!told && str_eq(text_of(task, "connectivity"), "DISCONNECTED"))
			(void)fprintf(stderr,
				      "berth: %s is told to stop when its node is connected again; "
				      "waiting\n",
				      short_name(arn));
		told |= str_eq(text_of(task, "connectivity"), "DISCONNECTED");
		version = json_integer_value(json_object_get(task, "version"));
	}
}

static int stop_one(struct context *c, const struct stop_options *o, const char *name,
		    struct err *e)
{
	auto_json json_t *reply = NULL;
	auto_free char *arn = NULL;
	json_t *request;

	if (task_resolve(c, name, &arn, e) < 0)
		return -e->code;
	request = request_new(c);
	(void)json_object_set_new(request, "task", json_string(arn));
	if (o->reason)
		(void)json_object_set_new(request, "reason", json_string(o->reason));
	if (client_call(c->client, CLIENT_ECS, "StopTask", request, &reply, e) < 0)
		return -e->code;
	if (!o->no_wait && wait_until_stopped(c, arn, e) < 0)
		return -e->code;
	(void)puts(short_name(arn));
	return 0;
}

static int stop(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};
	int r = EXIT_OK;

	for (int i = 0; i < count; i++)
		if (stop_one(c, options, words[i], &e) < 0)
			r = fail(&e);
	return r;
}

const struct command command_stop = {
	.name = "stop",
	.arguments = "[OPTIONS] TASK...",
	.summary = "Stop tasks: their stop signal, then SIGKILL after their stop timeout.",
	.options = stop_rows,
	.option_count = ARRAY_COUNT(stop_rows),
	.size = sizeof(struct stop_options),
	.min_words = 1,
	.max_words = -1,
	.run = stop,
};

static int version(struct context *c, const void *options, char **words, int count)
{
	auto_json json_t *doc = json_pack("{s:s}", "version", BERTH_VERSION);

	(void)options;
	(void)words;
	(void)count;
	if (c->output == OUTPUT_JSON)
		print_json(doc);
	else
		(void)printf("berth %s\n", BERTH_VERSION);
	return EXIT_OK;
}

const struct command command_version = {
	.name = "version",
	.arguments = "",
	.summary = "Print the version.",
	.size = 1,
	.run = version,
};
