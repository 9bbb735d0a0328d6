/* cmd/berth/run.c - run: tasks from a command line
 * SPDX-License-Identifier: Apache-2.0
 *
 * The options become a task definition of one container, registered under the
 * name, and tasks of it.  Attached to one, we show its output and end with its
 * exit code; Ctrl-C stops the task.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/random.h"
#include "base/text.h"
#include "cmd/berth/command.h"
#include "cmd/berth/logs.h"
#include "cmd/berth/run.h"

#define CALL_COUNT 10 /* tasks that one RunTask makes */

static const struct option_row run_rows[] = {
	{"detach", 'd', OPTION_FLAG, offsetof(struct run_options, detach), NULL,
	 "print the task's ARN and return"},
	{"publish", 'p', OPTION_LIST, offsetof(struct run_options, publish), "[HOST:]PORT[/udp]",
	 "a port of the container on the host; without HOST a free one. FIRST-LAST: a range of them"},
	{"env", 'e', OPTION_LIST, offsetof(struct run_options, env), "NAME=VALUE",
	 "an environment variable; without =VALUE ours"},
	{"volume", 'v', OPTION_LIST, offsetof(struct run_options, volume), "SRC:DST[:ro]",
	 "a directory of the host in the container"},
	{"cpu", 0, OPTION_STRING, offsetof(struct run_options, cpu), "UNITS",
	 "CPU units, 1024 a core"},
	{"memory", 'm', OPTION_STRING, offsetof(struct run_options, memory), "MIB",
	 "hard limit in MiB"},
	{"gpus", 0, OPTION_STRING, offsetof(struct run_options, gpus), "N",
	 "GPUs that it has for itself"},
	{"network", 0, OPTION_STRING, offsetof(struct run_options, network), "bridge|host|none",
	 "default: bridge"},
	{"name", 0, OPTION_STRING, offsetof(struct run_options, name), "NAME",
	 "of the task definition and the container; default: the image's"},
	{"user", 'u', OPTION_STRING, offsetof(struct run_options, user), "NAME[:GROUP]",
	 "default: the image's"},
	{"workdir", 'w', OPTION_STRING, offsetof(struct run_options, workdir), "DIR",
	 "default: the image's"},
	{"entrypoint", 0, OPTION_STRING, offsetof(struct run_options, entrypoint), "COMMAND",
	 "instead of the image's"},
	{"read-only", 0, OPTION_FLAG, offsetof(struct run_options, read_only), NULL,
	 "the root file system is read-only"},
	{"privileged", 0, OPTION_FLAG, offsetof(struct run_options, privileged), NULL,
	 "all capabilities and devices"},
	{"count", 0, OPTION_STRING, offsetof(struct run_options, count), "N",
	 "so many tasks, detached"},
	{"constraint", 0, OPTION_LIST, offsetof(struct run_options, constraint), "EXPRESSION",
	 "only on nodes that it holds for: \"attribute:rack == r1\""},
	{"distinct", 0, OPTION_FLAG, offsetof(struct run_options, distinct), NULL,
	 "on each node at most one of these tasks"},
	{"strategy", 0, OPTION_LIST, offsetof(struct run_options, strategy), "TYPE[:FIELD]",
	 "spread:attribute:rack, spread:instanceId, binpack:memory, binpack:cpu, random"},
	{"explain", 0, OPTION_FLAG, offsetof(struct run_options, explain), NULL,
	 "say on standard error which nodes could take it, and why the first is chosen"},
	{"capacity-provider", 0, OPTION_LIST, offsetof(struct run_options, provider),
	 "NAME[:WEIGHT]", "on the nodes of its group"},
};

/* ---- the task ---- */

static int make_request(struct context *c, const struct run_options *o, json_t *definition,
			json_t **ret, struct err *e)
{
	auto_json json_t *registered = NULL, *request = request_new(c);

	if (run_placement(o, request, e) < 0 ||
	    client_call(c->client, CLIENT_ECS, "RegisterTaskDefinition", json_incref(definition),
			&registered, e) < 0)
		return -e->code;
	(void)json_object_set(request, "taskDefinition",
			      json_object_get(json_object_get(registered, "taskDefinition"),
					      "taskDefinitionArn"));
	*ret = json_incref(request);
	return 0;
}

/* The first one says it of all: there may be more nodes than failures are listed. */
static int tell_failures(const json_t *failures, struct err *e)
{
	const json_t *first = json_array_get(failures, 0);
	const char *detail = text_of(first, "detail");

	return err_set(e, EREMOTEIO, "no node takes the task: %s",
		       *detail ? detail : text_of(first, "reason"));
}

/* "spread:attribute:rack r1=2, binpack:memory=512" */
static char *costs_of(const json_t *candidate)
{
	auto_buf struct buf b = BUF_INIT(4096);
	json_t *s;
	size_t i;

	json_array_foreach (json_object_get(candidate, "strategies"), i, s) {
		const char *field = text_of(s, "field"), *where = text_of(s, "attributeValue");

		buf_printf(&b, "%s%s%s%s%s%s %lld", i ? ", " : "", text_of(s, "type"),
			   *field ? ":" : "", field, *where ? " " : "", where,
			   number_of(s, "value"));
	}
	return xstrdup(b.size ? buf_str(&b) : "the least memory left, then CPU");
}

static void print_explanation(const json_t *doc)
{
	json_t *row;
	size_t i;

	(void)fprintf(stderr, "%lld of %lld nodes can take it\n", number_of(doc, "candidates"),
		      number_of(doc, "containerInstances"));
	json_array_foreach (json_object_get(doc, "refusals"), i, row)
		(void)fprintf(stderr, "  %lld not: %s\n", number_of(row, "count"),
			      text_of(row, "reason"));
	json_array_foreach (json_object_get(doc, "best"), i, row) {
		auto_free char *costs = costs_of(row);

		(void)fprintf(stderr, "  %zu. %s %.12s: %s; %lld units, %lld MiB left\n", i + 1,
			      text_of(row, "hostname"),
			      short_name(text_of(row, "containerInstanceArn")), costs,
			      number_of(row, "remainingCpu"), number_of(row, "remainingMemory"));
	}
}

static int explain(struct context *c, const json_t *run_task, struct err *e)
{
	auto_json json_t *reply = NULL;

	if (client_call(c->client, CLIENT_BERTH, "ExplainPlacement",
			json_pack("{s:O}", "runTask", run_task), &reply, e) < 0)
		return -e->code;
	print_explanation(reply);
	return 0;
}

/* As many tasks as fit into one call; their ARNs are appended. */
static int start_some(struct context *c, json_t *request, int64_t count, json_t *arns,
		      struct err *e)
{
	auto_json json_t *reply = NULL;
	int64_t away_ms = 0;
	char token[37];
	json_t *task;
	size_t i;

	(void)json_object_set_new(request, "count",
				  json_integer(count < CALL_COUNT ? count : CALL_COUNT));
	/* When the server goes away meanwhile nobody knows what it did: by the token it is done once. */
	random_uuid(token);
	(void)json_object_set_new(request, "clientToken", json_string(token));
	while (client_call(c->client, CLIENT_ECS, "RunTask", json_incref(request), &reply, e) < 0)
		if ((e->code != ECONNRESET && !away_ms) ||
		    client_wait_back(c->client, &away_ms, e) < 0)
			return -e->code;
	json_array_foreach (json_object_get(reply, "tasks"), i, task)
		(void)json_array_append(arns, json_object_get(task, "taskArn"));
	if (json_array_size(json_object_get(reply, "failures")))
		return tell_failures(json_object_get(reply, "failures"), e);
	return 0;
}

static int stop(struct context *c, const char *arn, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "task", json_string(arn));
	(void)json_object_set_new(request, "reason", json_string("Interrupted at the terminal"));
	return client_call(c->client, CLIENT_ECS, "StopTask", request, &reply, e);
}

/* The code of the command; where there is none, why, and the code that Docker has for it. */
static int exit_code(const json_t *task)
{
	const json_t *container = json_array_get(json_object_get(task, "containers"), 0);
	const json_t *code = json_object_get(container, "exitCode");
	const char *reason = json_string_value(json_object_get(container, "reason"));

	if (!reason)
		reason = json_string_value(json_object_get(task, "stoppedReason"));
	if (code) {
		if (reason && str_starts(reason, "OutOfMemoryError"))
			(void)fprintf(stderr, "berth: %s\n", reason);
		return (int)json_integer_value(code);
	}
	(void)fprintf(stderr, "berth: %s\n",
		      reason ? reason : "the task stopped without an exit code");
	if (!reason || !str_starts(reason, "CannotStartContainerError") ||
	    !strstr(reason, "exec: "))
		return EXIT_RUN_FAILED;
	if (strstr(reason, "not found in $PATH") || strstr(reason, "no such file or directory"))
		return EXIT_COMMAND_NOT_FOUND;
	if (strstr(reason, "permission denied"))
		return EXIT_NOT_EXECUTABLE;
	return EXIT_RUN_FAILED;
}

static int signal_fd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Show the output until the task has ended. */
static int attach(struct context *c, const char *arn, struct err *e)
{
	auto_close int interrupt = signal_fd();
	struct signalfd_siginfo info;
	struct logs_reader reader;
	bool ended = false, stopping = false;
	int r = 0;

	logs_reader_init(&reader, arn);
	while (!ended && (r >= 0 || r == -EINTR)) {
		client_set_interrupt(c->client, interrupt);
		r = logs_follow(c, &reader, &ended, e);
		client_set_interrupt(c->client, -1);
		if (r != -EINTR)
			continue;
		if (stopping || read(interrupt, &info, sizeof(info)) < 0)
			break; /* asked twice: let it go */
		stopping = true;
		if (stop(c, arn, e) < 0)
			r = -e->code;
	}
	logs_reader_done(&reader);
	return r < 0 ? r : 0;
}

static int describe_ended(struct context *c, const char *arn, json_t **ret, struct err *e)
{
	int64_t away_ms = 0;

	while (task_describe(c, arn, ret, e) < 0)
		if (client_wait_back(c->client, &away_ms, e) < 0)
			return -e->code;
	return 0;
}

static void print_lines(const json_t *strings)
{
	json_t *string;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)strings, i, string)
		(void)puts(json_string_value(string));
}

static int run(struct context *c, const void *options, char **words, int count)
{
	const struct run_options *o = options;
	auto_json json_t *definition = NULL, *task = NULL, *request = NULL, *arns = json_array();
	const char *arn;
	int64_t tasks = 1;
	struct err e = {0};
	int r;

	if (run_definition(o, words, count, &definition, &e) < 0)
		return fail_usage("%s", e.msg);
	if (o->count && !parse_i64(o->count, 1, INT32_MAX, &tasks))
		return fail_usage("--count '%s' is not a number from 1 to %d", o->count, INT32_MAX);
	r = make_request(c, o, definition, &request, &e);
	if (r == 0 && o->explain)
		r = explain(c, request, &e);
	while (r == 0 && (int64_t)json_array_size(arns) < tasks)
		r = start_some(c, request, tasks - (int64_t)json_array_size(arns), arns, &e);
	if (o->detach || o->count)
		print_lines(arns);
	if (r < 0) {
		(void)fail(&e);
		return EXIT_RUN_FAILED;
	}
	if (o->detach || o->count)
		return EXIT_OK;
	arn = json_string_value(json_array_get(arns, 0));
	if (attach(c, arn, &e) < 0 || describe_ended(c, arn, &task, &e) < 0)
		return fail(&e) == EXIT_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_RUN_FAILED;
	return exit_code(task);
}

const struct command command_run = {
	.name = "run",
	.arguments = "[OPTIONS] IMAGE [COMMAND...]",
	.summary = "Run a task of one container; show its output and end with its exit code.",
	.options = run_rows,
	.option_count = ARRAY_COUNT(run_rows),
	.size = sizeof(struct run_options),
	.min_words = 1,
	.max_words = -1,
	.words_end_options = true,
	.run = run,
};
