/* cmd/berth/run.c - run: a task from a command line
 * SPDX-License-Identifier: Apache-2.0
 *
 * The options become a task definition of one container, registered under the
 * name, and one task of it.  Attached, we show its output and end with its
 * exit code; Ctrl-C stops the task.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/command.h"
#include "cmd/berth/logs.h"
#include "ecs/arn.h"

#define MEMORY_RESERVATION_MIB 16 /* where no limit is asked for; ECS wants a number */

struct run_options {
	bool detach, read_only, privileged;
	struct strings publish, env, volume;
	const char *cpu, *memory, *network, *name, *user, *workdir, *entrypoint;
};

static const struct option_row run_rows[] = {
	{"detach", 'd', OPTION_FLAG, offsetof(struct run_options, detach), NULL,
	 "print the task's ARN and return"},
	{"publish", 'p', OPTION_LIST, offsetof(struct run_options, publish), "[HOST:]PORT[/udp]",
	 "a port of the container on the host; without HOST a free one"},
	{"env", 'e', OPTION_LIST, offsetof(struct run_options, env), "NAME=VALUE",
	 "an environment variable; without =VALUE ours"},
	{"volume", 'v', OPTION_LIST, offsetof(struct run_options, volume), "SRC:DST[:ro]",
	 "a directory of the host in the container"},
	{"cpu", 0, OPTION_STRING, offsetof(struct run_options, cpu), "UNITS",
	 "CPU units, 1024 a core"},
	{"memory", 'm', OPTION_STRING, offsetof(struct run_options, memory), "MIB",
	 "hard limit in MiB"},
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
};

/* ---- from options to a definition ---- */

static int add_port(json_t *ports, const char *text, struct err *e)
{
	auto_free char *copy = xstrdup(text);
	char *slash = strchr(copy, '/'), *colon;
	const char *protocol = "tcp";
	int64_t host = 0, container;

	if (slash) {
		*slash = '\0';
		protocol = slash + 1;
	}
	colon = strchr(copy, ':');
	if (colon)
		*colon = '\0';
	if ((colon && !parse_i64(copy, 0, UINT16_MAX, &host)) ||
	    !parse_i64(colon ? colon + 1 : copy, 1, UINT16_MAX, &container) ||
	    (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0))
		return err_set(e, EINVAL,
			       "--publish '%s' is not PORT, HOST:PORT or one of them with /udp",
			       text);
	(void)json_array_append_new(ports, json_pack("{s:I, s:I, s:s}", "containerPort",
						     (json_int_t)container, "hostPort",
						     (json_int_t)host, "protocol", protocol));
	return 0;
}

static int add_variable(json_t *environment, const char *text, struct err *e)
{
	size_t len = strcspn(text, "=");
	auto_free char *name = xstrndup(text, len);
	const char *value = text[len] ? text + len + 1 : getenv(name);

	if (!len)
		return err_set(e, EINVAL, "--env '%s' has no name", text);
	if (value)
		(void)json_array_append_new(environment,
					    json_pack("{s:s, s:s}", "name", name, "value", value));
	return 0;
}

static int add_volume(json_t *volumes, json_t *points, const char *text, struct err *e)
{
	auto_free char *copy = xstrdup(text), *name = xasprintf("v%zu", json_array_size(volumes)),
		       *real = NULL;
	char *destination = strchr(copy, ':'), *mode;

	if (!destination || destination == copy)
		return err_set(e, EINVAL, "--volume '%s' is not SRC:DST or SRC:DST:ro", text);
	*destination++ = '\0';
	mode = strchr(destination, ':');
	if (mode)
		*mode++ = '\0';
	if (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0)
		return err_set(e, EINVAL, "--volume '%s': '%s' is neither ro nor rw", text, mode);
	real = copy[0] == '/' ? xstrdup(copy) : realpath(copy, NULL);
	if (!real)
		return err_set(e, ENOENT, "--volume '%s': no directory %s", text, copy);
	(void)json_array_append_new(
		volumes, json_pack("{s:s, s:{s:s}}", "name", name, "host", "sourcePath", real));
	(void)json_array_append_new(points, json_pack("{s:s, s:s, s:b}", "sourceVolume", name,
						      "containerPath", destination, "readOnly",
						      mode && strcmp(mode, "ro") == 0));
	return 0;
}

/* "127.0.0.1:5000/team/web:1" to "web". */
static char *name_of(const char *image)
{
	const char *slash = strrchr(image, '/');
	auto_free char *name = xstrdup(slash ? slash + 1 : image);

	name[strcspn(name, ":@")] = '\0';
	for (char *c = name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", *c))
			*c = '-';
	return xstrdup(*name ? name : "task");
}

static int add_number(json_t *container, const char *member, const char *option, const char *text,
		      struct err *e)
{
	int64_t value;

	if (!text)
		return 0;
	if (!parse_i64(text, 0, INT32_MAX, &value))
		return err_set(e, EINVAL, "--%s '%s' is not a number", option, text);
	(void)json_object_set_new(container, member, json_integer(value));
	return 0;
}

static int add_lists(const struct run_options *o, json_t *ports, json_t *environment,
		     json_t *volumes, json_t *points, struct err *e)
{
	for (size_t i = 0; i < o->publish.count; i++)
		if (add_port(ports, o->publish.items[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < o->env.count; i++)
		if (add_variable(environment, o->env.items[i], e) < 0)
			return -e->code;
	for (size_t i = 0; i < o->volume.count; i++)
		if (add_volume(volumes, points, o->volume.items[i], e) < 0)
			return -e->code;
	return 0;
}

static int make_definition(const struct run_options *o, char **words, int count, json_t **ret,
			   struct err *e)
{
	auto_free char *derived = name_of(words[0]);
	const char *name = o->name ? o->name : derived;
	json_t *ports = json_array(), *environment = json_array(), *volumes = json_array(),
	       *points = json_array(), *command = json_array(), *container;
	auto_json json_t *doc = NULL;

	container = json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:s*, s:s*}", "name", name,
			      "image", words[0], "portMappings", ports, "environment", environment,
			      "mountPoints", points, "readonlyRootFilesystem", o->read_only,
			      "privileged", o->privileged, "user", o->user, "workingDirectory",
			      o->workdir);
	doc = json_pack("{s:s, s:s, s:[o], s:o}", "family", name, "networkMode",
			o->network ? o->network : "bridge", "containerDefinitions", container,
			"volumes", volumes);
	for (int i = 1; i < count; i++)
		(void)json_array_append_new(command, js_string(words[i], strlen(words[i])));
	if (json_array_size(command))
		(void)json_object_set(container, "command", command);
	json_decref(command);
	if (o->entrypoint)
		(void)json_object_set_new(container, "entryPoint", json_pack("[s]", o->entrypoint));
	if (!o->memory)
		(void)json_object_set_new(container, "memoryReservation",
					  json_integer(MEMORY_RESERVATION_MIB));
	if (add_number(container, "cpu", "cpu", o->cpu, e) < 0 ||
	    add_number(container, "memory", "memory", o->memory, e) < 0 ||
	    add_lists(o, ports, environment, volumes, points, e) < 0)
		return -e->code;
	*ret = json_incref(doc);
	return 0;
}

/* ---- the task ---- */

static int start(struct context *c, json_t *definition, char **ret_arn, struct err *e)
{
	auto_json json_t *registered = NULL, *reply = NULL;
	json_t *request, *failure;
	const char *arn;

	if (client_call(c->client, CLIENT_ECS, "RegisterTaskDefinition", json_incref(definition),
			&registered, e) < 0)
		return -e->code;
	request = request_new(c);
	(void)json_object_set(request, "taskDefinition",
			      json_object_get(json_object_get(registered, "taskDefinition"),
					      "taskDefinitionArn"));
	if (client_call(c->client, CLIENT_ECS, "RunTask", request, &reply, e) < 0)
		return -e->code;
	failure = json_array_get(json_object_get(reply, "failures"), 0);
	if (failure)
		return err_set(e, EREMOTEIO, "no container instance takes the task: %s",
			       json_string_value(json_object_get(failure, "reason")));
	arn = json_string_value(
		json_object_get(json_array_get(json_object_get(reply, "tasks"), 0), "taskArn"));
	*ret_arn = xstrdup(arn);
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
		r = logs_read_more(c, &reader, true, &ended, e);
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

static int run(struct context *c, const void *options, char **words, int count)
{
	const struct run_options *o = options;
	auto_json json_t *definition = NULL, *task = NULL;
	auto_free char *arn = NULL;
	struct err e = {0};
	int r;

	if (make_definition(o, words, count, &definition, &e) < 0)
		return fail_usage("%s", e.msg);
	if (start(c, definition, &arn, &e) < 0) {
		r = fail(&e);
		return r == EXIT_FAILED ? EXIT_RUN_FAILED : r;
	}
	if (o->detach) {
		(void)puts(arn);
		return EXIT_OK;
	}
	if (attach(c, arn, &e) < 0 || task_describe(c, arn, &task, &e) < 0) {
		r = fail(&e);
		return r == EXIT_FAILED ? EXIT_RUN_FAILED : r;
	}
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
