/* cmd/berth/logs.c - logs, and the output that run shows
 * SPDX-License-Identifier: Apache-2.0
 *
 * The node gives chunks as it kept them: a time, a stream, some bytes.  They
 * are written as they are; with --timestamps each line gets its time in front.
 */
#include "cmd/berth/logs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/text.h"

struct logs_options {
	bool follow, timestamps;
	const char *tail, *container;
};

static const struct option_row logs_rows[] = {
	{"follow", 'f', OPTION_FLAG, offsetof(struct logs_options, follow), NULL,
	 "go on until the task has stopped"},
	{"timestamps", 't', OPTION_FLAG, offsetof(struct logs_options, timestamps), NULL,
	 "the time in front of each line"},
	{"tail", 'n', OPTION_STRING, offsetof(struct logs_options, tail), "LINES",
	 "only the last lines"},
	{"container", 'c', OPTION_STRING, offsetof(struct logs_options, container), "NAME",
	 "only this container of the task"},
};

static void write_stamped(int fd, int64_t time_ms, const char *data, size_t size, bool *at_start)
{
	char stamp[32];

	clock_format_rfc3339(time_ms, stamp);
	while (size) {
		const char *newline = memchr(data, '\n', size);
		size_t n = newline ? (size_t)(newline - data) + 1 : size;

		if (*at_start) {
			(void)write_all(fd, stamp, strlen(stamp));
			(void)write_all(fd, " ", 1);
		}
		(void)write_all(fd, data, n);
		*at_start = newline != NULL;
		data += n;
		size -= n;
	}
}

static void write_chunk(struct logs_reader *r, const json_t *chunk)
{
	const char *text = json_string_value(json_object_get(chunk, "data"));
	bool to_stderr = str_eq(json_string_value(json_object_get(chunk, "stream")), "stderr");
	size_t size = 0;
	auto_free unsigned char *data = text ? base64_decode(text, &size) : NULL;
	int fd = to_stderr ? STDERR_FILENO : STDOUT_FILENO;

	if (!data)
		return;
	if (r->timestamps)
		write_stamped(fd, json_integer_value(json_object_get(chunk, "timestamp")),
			      (char *)data, size, &r->at_start[to_stderr]);
	else
		(void)write_all(fd, data, size);
}

void logs_reader_init(struct logs_reader *r, const char *task)
{
	*r = (struct logs_reader){.task = task, .at_start = {true, true}};
}

void logs_reader_done(struct logs_reader *r)
{
	json_decref(r->cursor);
}

int logs_read_more(struct context *c, struct logs_reader *r, bool wait, bool *ret_ended,
		   struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c), *chunk;
	size_t i;

	(void)json_object_set_new(request, "task", json_string(r->task));
	if (r->container)
		(void)json_object_set_new(request, "container", json_string(r->container));
	if (r->cursor)
		(void)json_object_set(request, "cursor", r->cursor);
	else if (r->tail >= 0 && r->has_tail)
		(void)json_object_set_new(request, "tail", json_integer(r->tail));
	if (wait)
		(void)json_object_set_new(request, "wait", json_true());
	if (client_call(c->client, CLIENT_BERTH, "GetTaskLogs", request, &reply, e) < 0)
		return -e->code;

	json_array_foreach (json_object_get(reply, "events"), i, chunk)
		write_chunk(r, chunk);
	json_decref(r->cursor);
	r->cursor = json_incref(json_object_get(reply, "cursor"));
	*ret_ended = json_is_true(json_object_get(reply, "ended"));
	return json_is_true(json_object_get(reply, "more")) ? LOGS_MORE : 0;
}

/* A node that is not connected may never be again: then its tasks are given up. */
static bool has_stopped(struct context *c, const char *arn)
{
	auto_json json_t *task = NULL;
	struct err ignored;

	return task_describe(c, arn, &task, &ignored) == 0 &&
	       str_eq(text_of(task, "lastStatus"), "STOPPED");
}

int logs_follow(struct context *c, struct logs_reader *r, bool *ret_ended, struct err *e)
{
	int got = logs_read_more(c, r, true, ret_ended, e);

	if (got >= 0) {
		r->away_ms = 0;
		return got;
	}
	if (e->code == EHOSTDOWN && has_stopped(c, r->task)) {
		(void)fprintf(stderr, "berth: the task's node is gone, with what was not read\n");
		*ret_ended = true;
		return 0;
	}
	return client_wait_back(c->client, &r->away_ms, e);
}

static int logs(struct context *c, const void *options, char **words, int count)
{
	const struct logs_options *o = options;
	struct logs_reader reader;
	auto_free char *arn = NULL;
	bool ended = false;
	struct err e = {0};
	int r;

	(void)count;
	if (task_resolve(c, words[0], &arn, &e) < 0)
		return fail(&e);
	logs_reader_init(&reader, arn);
	reader.timestamps = o->timestamps;
	reader.container = o->container;
	if (o->tail && !parse_i64(o->tail, 0, 10000, &reader.tail))
		return fail_usage("--tail '%s' is not a number from 0 to 10000", o->tail);
	reader.has_tail = o->tail != NULL;
	do
		r = o->follow ? logs_follow(c, &reader, &ended, &e)
			      : logs_read_more(c, &reader, false, &ended, &e);
	while (r == LOGS_MORE || (r == 0 && o->follow && !ended));
	logs_reader_done(&reader);
	return r < 0 ? fail(&e) : EXIT_OK;
}

const struct command command_logs = {
	.name = "logs",
	.arguments = "[OPTIONS] TASK",
	.summary = "Show what a task has written.",
	.options = logs_rows,
	.option_count = ARRAY_COUNT(logs_rows),
	.size = sizeof(struct logs_options),
	.min_words = 1,
	.max_words = 1,
	.run = logs,
};
