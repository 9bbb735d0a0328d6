/* tests/unit/scheduler/driven.h - a core that is driven by its facade alone
 * SPDX-License-Identifier: Apache-2.0
 *
 * Requests and reports go in, effects come out; what they store is kept, so that
 * a restart can be tried.
 */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/js.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/core/core.h"
#include "tests/disk.h"

#define START_MS 1000000000000

static struct core *core;
static int64_t now_ms;
static struct ecs_fault fault;
static struct core_effects fx;
static unsigned check_every = 1, taken; /* events */
static struct disk disk;                /* what the effects would have left on it */

static const struct core_options options = {
	.identity = {.region = "us-east-1", .account = "123456789012"},
	.vpc_cidr = "172.31.0.0/16",
	.host_cidr = "100.64.0.0/16",
	.seed = {1, 2, 3, 4},
	.stopped_keep_ms = 3600000,
	.stopped_keep_max = 100,
	.lost_ms = 300000,
	.fetch = disk_fetch,
	.fetch_ctx = &disk,
	.open_max = 2, /* few, so that documents are closed and opened all the time */
};

/* ---- driving ---- */

static __attribute__((unused)) void take_effects(void)
{
	struct err e = {0};

	core_effects_done(&fx);
	core_take_effects(core, &fx);
	disk_write(&disk, &fx);
	if (++taken % check_every == 0)
		assert_ok(core_check(core, &e));
}

static __attribute__((unused)) void begin_core(void)
{
	now_ms = START_MS;
	core = core_new(&options);
	core_loaded(core, now_ms);
	take_effects();
}

static __attribute__((unused)) json_t *parse(const char *text)
{
	json_t *doc = NULL;
	struct err e = {0};

	assert_ok(js_parse(text, strlen(text), 32, &doc, &e));
	return doc;
}

/* The reply, or NULL and the fault. */
static __attribute__((unused)) json_t *call(const char *operation, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static __attribute__((unused)) json_t *call(const char *operation, const char *format, ...)
{
	auto_free char *text = NULL;
	auto_json json_t *request = NULL;
	json_t *reply;
	va_list ap;

	va_start(ap, format);
	assert_true(vasprintf(&text, format, ap) >= 0);
	va_end(ap);
	request = parse(text);
	fault.message[0] = '\0';
	reply = core_call(core, operation, request, now_ms, &fault);
	take_effects();
	return reply;
}

#define do_call(...)                                   \
	do {                                           \
		json_t *reply_ = call(__VA_ARGS__);    \
		if (!reply_)                           \
			fail_msg("%s", fault.message); \
		json_decref(reply_);                   \
	} while (0)

/* "tasks[0].lastStatus" of a document. */
static __attribute__((unused)) json_t *value_at(json_t *doc, const char *path)
{
	auto_free char *copy = xstrdup(path);
	char *save = NULL;

	for (char *p = strtok_r(copy, ".[]", &save); p && doc; p = strtok_r(NULL, ".[]", &save)) {
		uint32_t i;

		doc = parse_u32(p, 1000, &i) && json_is_array(doc) ? json_array_get(doc, i)
								   : json_object_get(doc, p);
	}
	return doc;
}

static __attribute__((unused)) const char *text_at(json_t *doc, const char *path)
{
	json_t *value = value_at(doc, path);

	if (!json_is_string(value))
		fail_msg("no string at %s", path);
	return json_string_value(value);
}

static __attribute__((unused)) int64_t integer_at(json_t *doc, const char *path)
{
	json_t *value = value_at(doc, path);

	if (!json_is_integer(value))
		fail_msg("no integer at %s", path);
	return json_integer_value(value);
}

static __attribute__((unused)) void hello_with_gpus(const char *name, const char *rack, char id[33],
						    int64_t cpu, int64_t memory,
						    const struct js_strings *gpu_ids)
{
	struct ecs_attribute offers[] = {
		{.name = (char *)(uintptr_t) "ecs.capability.task-eni"},
		{.name = (char *)(uintptr_t) "ecs.capability.ipv6-only"},
		{.name = (char *)(uintptr_t) "rack", .value = (char *)(uintptr_t)rack},
	};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = *id ? id : NULL,
					 .hostname = (char *)(uintptr_t)name,
					 .boot_id = (char *)(uintptr_t) "b",
					 .version = (char *)(uintptr_t) "1",
					 .attributes = {offers, ARRAY_COUNT(offers)},
					 .cpu_units = cpu,
					 .memory_mib = memory,
					 .gpu_ids = *gpu_ids};
	struct err e = {0};

	const char *instance;

	assert_ok(core_node_hello(core, &h, NULL, 0, now_ms, &instance, &e));
	(void)snprintf(id, 33, "%s", instance);
	take_effects();
}

static __attribute__((unused)) void hello_with(const char *name, const char *rack, char id[33],
					       int64_t cpu, int64_t memory)
{
	hello_with_gpus(name, rack, id, cpu, memory, &(struct js_strings){0});
}

/* A host in a rack, found again by its id, "" at first. */
static __attribute__((unused)) void hello(const char *name, const char *rack, char id[33])
{
	hello_with(name, rack, id, 100000, 100000);
}

static __attribute__((unused)) void report(const char *host, const char *arn, const char *status)
{
	static int64_t number;
	struct ecs_task_state state = {.task_arn = (char *)(uintptr_t)arn,
				       .last_status = (char *)(uintptr_t)status};
	const struct ecs_node_report r = {.number = ++number, .tasks = {&state, 1}};

	core_node_report(core, host, &r, now_ms);
	take_effects();
}

static __attribute__((unused)) int end(void **state)
{
	(void)state;
	disk_done(&disk);
	core_effects_done(&fx);
	core_free(core);
	return 0;
}

/* Forget everything but what was stored. */
static __attribute__((unused)) void restart(void)
{
	struct err e = {0};

	core_free(core);
	core = core_new(&options);
	assert_ok(disk_load(&disk, core, &e));
	core_loaded(core, now_ms);
	take_effects();
}
