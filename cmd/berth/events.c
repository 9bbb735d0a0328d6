/* cmd/berth/events.c - events: what happened, and what happens
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define PAGE 1000

struct events_options {
	bool follow;
	const char *since;
};

static const struct option_row events_rows[] = {
	{"follow", 'f', OPTION_FLAG, offsetof(struct events_options, follow), NULL,
	 "go on with what happens from now on"},
	{"since", 0, OPTION_STRING, offsetof(struct events_options, since), "CURSOR",
	 "only what came behind it (default: all that is kept)"},
};

/* One line: when, what, which one, how it is now and why. */
static void print_event(const json_t *event)
{
	const json_t *detail = json_object_get(event, "detail");
	bool task = str_eq(text_of(event, "detail-type"), "ECS Task State Change");
	const char *arn = text_of(detail, task ? "taskArn" : "containerInstanceArn");
	bool connected = json_is_true(json_object_get(detail, "agentConnected"));

	(void)printf("%s  %-8s  %.12s  %s%s%s%s\n", text_of(event, "time"), task ? "task" : "node",
		     short_name(arn), text_of(detail, task ? "lastStatus" : "status"),
		     task || connected ? "" : " (disconnected)",
		     *text_of(detail, "stoppedReason") ? ": " : "",
		     text_of(detail, "stoppedReason"));
}

static void print_page(const struct context *c, const json_t *reply)
{
	json_t *event;
	size_t i;

	if (json_is_true(json_object_get(reply, "missed")))
		(void)fprintf(stderr, "berth: events behind this cursor are not kept any more\n");
	json_array_foreach (json_object_get(reply, "events"), i, event) {
		if (c->output == OUTPUT_JSON) {
			(void)json_dumpf(event, stdout, JSON_COMPACT);
			(void)putchar('\n');
		} else {
			print_event(event);
		}
	}
	(void)fflush(stdout);
}

static int events(struct context *c, const void *options, char **words, int count)
{
	const struct events_options *o = options;
	auto_free char *cursor = xstrdup(o->since ? o->since : "0");
	size_t got;
	struct err e = {0};

	(void)words;
	(void)count;
	do {
		auto_json json_t *reply = NULL;
		json_t *request = json_pack("{s:s, s:i, s:b}", "cursor", cursor, "limit", PAGE,
					    "wait", o->follow);

		if (client_call(c->client, CLIENT_BERTH, "GetEvents", request, &reply, &e) < 0)
			return fail(&e);
		print_page(c, reply);
		got = json_array_size(json_object_get(reply, "events"));
		free(cursor);
		cursor = xstrdup(text_of(reply, "cursor"));
	} while (got == PAGE || o->follow);
	(void)fprintf(stderr, "berth: go on with --since %s\n", cursor);
	return EXIT_OK;
}

const struct command command_events = {
	.name = "events",
	.arguments = "[OPTIONS]",
	.summary =
		"Print what happened to tasks and nodes; as JSON: EventBridge's events, a line each.",
	.options = events_rows,
	.option_count = ARRAY_COUNT(events_rows),
	.size = sizeof(struct events_options),
	.run = events,
};
