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

static int read_page(struct context *c, const char *cursor, bool wait, json_t **ret, struct err *e)
{
	json_t *request = json_pack("{s:s, s:i, s:b}", "cursor", cursor, "limit", PAGE, "wait",
				    wait);

	return client_call(c->client, CLIENT_BERTH, "GetEvents", request, ret, e);
}

static int events(struct context *c, const void *options, char **words, int count)
{
	const struct events_options *o = options;
	auto_free char *cursor = xstrdup(o->since ? o->since : "0");
	bool answered = false;
	int64_t away_ms = 0;
	struct err e = {0};
	size_t got = 0;
	int r;

	(void)words;
	(void)count;
	do {
		auto_json json_t *reply = NULL;

		r = read_page(c, cursor, o->follow, &reply, &e);
		if (r < 0) { /* who follows waits for a server that was there */
			r = o->follow && answered ? client_wait_back(c->client, &away_ms, &e) : r;
			continue;
		}
		away_ms = 0;
		answered = true;
		print_page(c, reply);
		got = json_array_size(json_object_get(reply, "events"));
		free(cursor);
		cursor = xstrdup(text_of(reply, "cursor"));
	} while (r == 0 && (got == PAGE || o->follow));
	if (answered)
		(void)fprintf(stderr, "berth: go on with --since %s\n", cursor);
	return r < 0 ? fail(&e) : EXIT_OK;
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
