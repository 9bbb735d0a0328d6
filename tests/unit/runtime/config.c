/* tests/unit/runtime/config.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "runtime/config.h"
#include "runtime/runtime.h"

#define PROCESS "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"}"
#define ROOT    "\"root\":{\"path\":\"rootfs\"}"
#define LINUX   "\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"pid\"}]}"
#define HEAD    "{\"ociVersion\":\"1.0.2\","
#define MINIMAL HEAD PROCESS "," ROOT "," LINUX "}"

static int decode(const char *text, struct config_doc *d, struct err *e)
{
	return config_decode(text, strlen(text), d, e);
}

static void the_smallest_config_is_taken(void **state)
{
	auto_config struct config_doc d = {0};
	struct err e = {0};

	(void)state;
	assert_ok(decode(MINIMAL, &d, &e));
	assert_string_equal(d.config.process->args.items[0], "sh");
	assert_true(d.config.ns[NS_PID].wanted);
	assert_null(d.config.ns[NS_PID].path);
	assert_false(d.config.ns[NS_NETWORK].wanted);
	assert_null(d.config.process->capabilities);
	assert_null(d.config.process->user.umask);
}

static void our_own_example_is_taken(void **state)
{
	auto_json json_t *doc = runtime_example_config(false);
	auto_free char *text = js_dump(doc);
	auto_config struct config_doc d = {0};
	struct err e = {0};

	(void)state;
	assert_ok(decode(text, &d, &e));
	assert_int_equal(d.config.mounts.count, 7);
	assert_true(d.config.linux_.masked_paths.count > 0);
}

static void the_default_filter_is_taken_with_it(void **state)
{
	auto_json json_t *doc = runtime_example_config(false);
	auto_config struct config_doc d = {0};
	auto_free char *text = NULL;
	struct err e = {0};

	(void)state;
	(void)json_object_set_new(json_object_get(doc, "linux"), "seccomp",
				  runtime_default_seccomp(runtime_default_capabilities(), 11));
	text = js_dump(doc);
	assert_ok(decode(text, &d, &e));
	assert_non_null(d.config.linux_.seccomp);
}

static void every_part_arrives_in_its_place(void **state)
{
	static const char text[] = HEAD
		"\"process\":{\"args\":[\"a\",\"b\"],\"cwd\":\"/w\",\"env\":[\"A=b\"],\"terminal\":true,"
		"\"consoleSize\":{\"height\":2,\"width\":3},\"noNewPrivileges\":true,\"oomScoreAdj\":-7,"
		"\"user\":{\"uid\":1,\"gid\":2,\"umask\":63,\"additionalGids\":[3,4]},"
		"\"capabilities\":{\"bounding\":[\"CAP_CHOWN\"]},"
		"\"rlimits\":[{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":18446744073709551615}]},"
		"\"root\":{\"path\":\"/r\",\"readonly\":true},\"hostname\":\"h\",\"domainname\":\"d\","
		"\"mounts\":[{\"destination\":\"/x\",\"source\":\"/y\",\"options\":[\"rbind\"]}],"
		"\"annotations\":{\"k\":\"v\"},"
		"\"hooks\":{\"poststop\":[{\"path\":\"/h\",\"args\":[\"h\"],\"timeout\":9}]},"
		"\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"uts\"},{\"type\":\"user\"},"
		"{\"type\":\"network\",\"path\":\"/n\"}],"
		"\"uidMappings\":[{\"containerID\":0,\"hostID\":5,\"size\":6}],"
		"\"gidMappings\":[{\"containerID\":0,\"hostID\":7,\"size\":8}],"
		"\"devices\":[{\"type\":\"c\",\"path\":\"/dev/x\",\"major\":1,\"minor\":2,\"fileMode\":384}],"
		"\"cgroupsPath\":\"/c\",\"sysctl\":{\"net.x\":\"1\"},\"maskedPaths\":[\"/m\"],"
		"\"readonlyPaths\":[\"/o\"],\"rootfsPropagation\":\"rslave\","
		"\"resources\":{\"cpu\":{\"shares\":2,\"quota\":-1},\"memory\":{\"limit\":3},"
		"\"pids\":{\"limit\":4},\"devices\":[{\"allow\":false}],\"unified\":{\"a.b\":\"c\"}}}}";
	auto_config struct config_doc d = {0};
	const struct config *c = &d.config;
	const struct config_rlimit *r;
	struct err e = {0};

	(void)state;
	assert_ok(decode(text, &d, &e));
	assert_int_equal(c->process->console_size->width, 3);
	assert_int_equal(*c->process->oom_score_adj, -7);
	assert_int_equal(c->process->user.group_count, 2);
	assert_int_equal(c->process->user.groups[1], 4);
	assert_int_equal(*c->process->user.umask, 63);
	assert_string_equal(c->process->capabilities->bounding.items[0], "CAP_CHOWN");
	r = JS_AT(c->process->rlimits, struct config_rlimit, 0);
	assert_true((uint64_t)r->hard == UINT64_MAX);
	assert_string_equal(c->ns[NS_NETWORK].path, "/n");
	assert_int_equal(JS_AT(c->linux_.gid_mappings, struct config_id_map, 0)->host_id, 7);
	assert_int_equal(*JS_AT(c->linux_.devices, struct config_device, 0)->file_mode, 384);
	assert_int_equal(*c->linux_.resources.cpu.quota, -1);
	assert_int_equal(*c->linux_.resources.memory.limit, 3);
	assert_int_equal(c->linux_.resources.pids->limit, 4);
	assert_string_equal(c->linux_.resources.unified.items[0].value, "c");
	assert_int_equal(*JS_AT(c->hooks.poststop, struct config_hook, 0)->timeout, 9);
	assert_string_equal(c->annotations.items[0].key, "k");
}

static void namespaces_and_the_process_may_be_left_out(void **state)
{
	auto_config struct config_doc d = {0};
	struct err e = {0};

	(void)state;
	assert_ok(decode(HEAD ROOT "}", &d, &e));
	assert_int_equal(d.config.process->args.count, 0);
	assert_string_equal(d.config.process->cwd, "/");
	for (unsigned i = 0; i < NS_COUNT; i++)
		assert_false(d.config.ns[i].wanted);
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{}", "ociVersion: missing"},
		{"{\"ociVersion\":\"2.0\"," PROCESS "," ROOT "," LINUX "}", "ociVersion: '2.0'"},
		{HEAD PROCESS "," LINUX "}", "root.path: missing"},
		{HEAD PROCESS "," ROOT ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\"}]}",
		 "mounts: without a mount namespace"},
		{HEAD PROCESS "," ROOT ",\"linux\":{\"maskedPaths\":[\"/a\"]}}",
		 "linux.maskedPaths: without a mount namespace"},
		{HEAD PROCESS ",\"root\":{\"path\":\"/r\",\"readonly\":true}}",
		 "root.readonly: without a mount namespace"},
		{HEAD "\"process\":{\"args\":[\"x\"]}," ROOT "," LINUX "}", "process.cwd: missing"},
		{HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"\"}," ROOT "," LINUX "}",
		 "process.cwd: ''"},
		{HEAD "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\",\"env\":[\"=x\"]}," ROOT
		      "," LINUX "}",
		 "process.env[0]: '=x'"},
		{HEAD
		 "\"process\":{\"args\":[\"x\"],\"cwd\":\"/\",\"user\":{\"uid\":4294967295}}," ROOT
		 "," LINUX "}",
		 "4294967295 is not an id"},
		{HEAD PROCESS
		 "," ROOT ",\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"user\"}]}}",
		 "needs mappings of both"},
		{HEAD PROCESS "," ROOT ",\"vm\":{\"x\":1}," LINUX "}", "vm: not supported"},
		{HEAD PROCESS "," ROOT "," LINUX
			      ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\"},"
			      "{\"destination\":\"/b\",\"type\":\"tmpfs\",\"gidMappings\":[{}]}]}",
		 "gidMappings[0].containerID: missing"},
		{HEAD PROCESS "," ROOT "," LINUX ",\"hostname\":\"x\"}", "without a uts namespace"},
		{HEAD PROCESS
		 "," ROOT ",\"linux\":{\"namespaces\":[{\"type\":\"mount\"},{\"type\":\"uts\"}],"
		 "\"sysctl\":{\"kernel.domainname\":\"a\"}},\"domainname\":\"b\"}",
		 "kernel.domainname is 'a', and domainname 'b'"},
		{HEAD PROCESS "," ROOT "," LINUX ",\"hooks\":{\"prestart\":[{\"path\":\"x\"}]}}",
		 "hooks.prestart[0].path: 'x'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_config struct config_doc d = {0};
		struct err e = {0};

		assert_true(decode(rows[i].text, &d, &e) < 0);
		assert_says(rows[i].says);
	}
}

static void a_process_alone_is_checked_like_one_in_a_config(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{\"args\":[\"x\"],\"cwd\":\"/\"}", NULL},
		{"{\"args\":[],\"cwd\":\"/\"}", "process.args: empty"},
		{"{\"args\":[\"x\"],\"cwd\":\"x\"}", "process.cwd"},
		{"{\"args\":[\"x\"],\"cwd\":\"/\",\"scheduler\":{\"p\":1}}",
		 "scheduler.policy: missing"},
		{"{\"args\":[\"x\"],\"cwd\":\"/\",\"scheduler\":{\"policy\":\"SCHED_X\"}}",
		 "process.scheduler.policy: 'SCHED_X' is unknown"},
		{"{\"args\":[\"x\"],\"cwd\":\"/\",\"execCPUAffinity\":{\"initial\":\"1-\"}}",
		 "process.execCPUAffinity.initial: '1-' is no list"},
		{"{\"args\":[\"x\"],\"cwd\":\"/\",\"commandLine\":\"x\"}",
		 "process.commandLine: not"},
		{"{\"args\":[\"x\"],\"cwd\":\"/\",\"capabilities\":{\"effective\":[\"CAP_KILL\"]}}",
		 "effective is more than permitted"},
		{"7", "expected an object"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		auto_json json_t *doc = NULL;
		struct config_process p;
		struct err e = {0};

		assert_ok(config_parse(rows[i].text, strlen(rows[i].text), &doc, &e));
		if (!rows[i].says) {
			assert_ok(config_decode_process(doc, &a, &p, &e));
			continue;
		}
		assert_true(config_decode_process(doc, &a, &p, &e) < 0);
		assert_says(rows[i].says);
	}
}

static void namespaces_are_found_by_the_names_of_the_spec(void **state)
{
	static const struct {
		const char *name;
		enum ns_kind kind;
		int flag;
	} rows[] = {
		{"pid", NS_PID, CLONE_NEWPID},          {"network", NS_NETWORK, CLONE_NEWNET},
		{"mount", NS_MOUNT, CLONE_NEWNS},       {"ipc", NS_IPC, CLONE_NEWIPC},
		{"uts", NS_UTS, CLONE_NEWUTS},          {"user", NS_USER, CLONE_NEWUSER},
		{"cgroup", NS_CGROUP, CLONE_NEWCGROUP}, {"time", NS_TIME, CLONE_NEWTIME},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_int_equal(ns_find(rows[i].name), rows[i].kind);
		assert_int_equal(ns_types[rows[i].kind].flag, rows[i].flag);
	}
	assert_int_equal(ns_find("net"), NS_COUNT);
	assert_int_equal(ns_find(""), NS_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_config_is_taken),
		cmocka_unit_test(our_own_example_is_taken),
		cmocka_unit_test(the_default_filter_is_taken_with_it),
		cmocka_unit_test(every_part_arrives_in_its_place),
		cmocka_unit_test(namespaces_and_the_process_may_be_left_out),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(a_process_alone_is_checked_like_one_in_a_config),
		cmocka_unit_test(namespaces_are_found_by_the_names_of_the_spec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
