/* tests/unit/scheduler/ledger.c - when callers are answered, and with what
 * SPDX-License-Identifier: Apache-2.0
 *
 * Calls are ours here: there are no requests behind them, and what is sent is kept.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/internal.h"

static char dir[] = "/tmp/berth-ledger-XXXXXX";
static struct loop *loop;
static struct ledger *ledger;
static char *instance;
static size_t awaited;

struct asked {
	struct call call; /* first */
	char *reply;
};

/* ---- in the place of api.c, nodes.c and events.c ---- */

char *call_text(const struct call *call, json_t *own_reply)
{
	auto_json json_t *reply = own_reply;

	(void)call;
	return js_dump(reply);
}

char *call_run(const struct call *call, struct core *core, const char *operation, json_t *request,
	       int64_t now_ms, struct ecs_fault *f)
{
	(void)call;
	return core_call_text(core, operation, request, now_ms, f);
}

void call_send(struct call *call, char *own_text)
{
	((struct asked *)call)->reply = own_text;
	if (--awaited == 0)
		loop_stop(loop);
}

void call_fault(struct call *call, const struct ecs_fault *f)
{
	(void)call;
	fail_msg("%s", f->message);
}

void nodes_send(struct nodes *n, const char *to, const char *message, bool last)
{
	(void)n;
	(void)to;
	(void)message;
	(void)last;
}

void events_look_again(struct events *ev)
{
	(void)ev;
}

/* ---- driving ---- */

static void ask(struct asked *a, const char *operation, const char *text)
{
	auto_json json_t *request = json_loads(text, 0, NULL);

	awaited++;
	ledger_call(ledger, operation, request, &a->call);
}

static void report(int64_t number, const char *arn, const char *status)
{
	struct ecs_container_state container = {.name = (char[]){"c"},
						.last_status = (char *)(uintptr_t)status};
	struct ecs_task_state state = {.task_arn = (char *)(uintptr_t)arn,
				       .last_status = (char *)(uintptr_t)status,
				       .containers = {&container, 1}};
	const struct ecs_node_report r = {.number = number, .tasks = {&state, 1}};

	core_node_report(ledger_core(ledger), instance, &r, clock_wall_ms());
	ledger_commit(ledger);
}

static void on_failure(void *ctx, const struct err *why)
{
	(void)ctx;
	fail_msg("%s", why->msg);
}

static int open_ledger(void **state)
{
	static const struct core_options o = {
		.identity = {.region = "us-east-1", .account = "123456789012"},
		.vpc_cidr = "172.31.0.0/16",
		.seed = {1, 2, 3, 4},
		.stopped_keep_ms = 3600000,
		.stopped_keep_max = 100};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .hostname = (char[]){"h"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 4096,
					 .memory_mib = 4096};
	const char *name;
	struct err e = {0};

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	loop = loop_new();
	assert_ok(ledger_open(loop, dir, &o, on_failure, NULL, &ledger, &e));
	assert_ok(core_node_hello(ledger_core(ledger), &h, NULL, 0, clock_wall_ms(), &name, &e));
	instance = xstrdup(name);
	ledger_commit(ledger);
	return 0;
}

static int close_ledger(void **state)
{
	struct err e;

	(void)state;
	ledger_close(ledger);
	loop_free(loop);
	free(instance);
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

/* ---- what is proved ---- */

/* A document goes on changing while a reply that shows it waits for the disk. */
static void a_caller_is_told_what_was_so_when_he_asked(void **state)
{
	struct asked defined = {.reply = NULL}, run = {.reply = NULL}, described = {.reply = NULL},
		     later = {.reply = NULL};
	auto_free char *request = NULL, *arn = NULL;
	auto_json json_t *reply = NULL;

	(void)state;
	ask(&defined, "RegisterTaskDefinition",
	    "{\"family\":\"w\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\","
	    "\"memory\":8}]}");
	ask(&run, "RunTask", "{\"taskDefinition\":\"w\"}");
	loop_run(loop);
	reply = json_loads(run.reply, 0, NULL);
	arn = xstrdup(json_string_value(
		json_object_get(json_array_get(json_object_get(reply, "tasks"), 0), "taskArn")));
	request = xasprintf("{\"tasks\":[\"%s\"]}", arn);

	report(1, arn, "PENDING");
	ask(&described, "DescribeTasks", request);
	report(2, arn, "RUNNING");
	ask(&later, "DescribeTasks", request);
	assert_null(described.reply); /* it waits for the first report */
	loop_run(loop);
	assert_null(strstr(described.reply, "\"lastStatus\":\"RUNNING\""));
	assert_non_null(strstr(later.reply, "\"lastStatus\":\"RUNNING\""));
	free(defined.reply);
	free(run.reply);
	free(described.reply);
	free(later.reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_caller_is_told_what_was_so_when_he_asked),
	};

	return cmocka_run_group_tests(tests, open_ledger, close_ledger);
}
