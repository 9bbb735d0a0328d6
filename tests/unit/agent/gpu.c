/* tests/unit/agent/gpu.c - GPUs of a host, and what a container needs that has some
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

static char top[] = "/tmp/berth-unit-XXXXXX";
static struct agent_options options;
static struct agent agent;

static int begin(void **state)
{
	(void)state;
	memcpy(strrchr(top, '-') + 1, "XXXXXX", 6);
	assert_non_null(mkdtemp(top));
	options = (struct agent_options){.cdi_dirs = {top, top}};
	options.cdi_dirs[1] = NULL;
	agent = (struct agent){.o = &options};
	return 0;
}

static int end(void **state)
{
	struct err e = {0};

	(void)state;
	return fs_remove_tree(AT_FDCWD, top, &e);
}

static void put(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(const char *name, const char *format, ...)
{
	auto_free char *path = xasprintf("%s/%s", top, name), *text = NULL;
	struct err e = {0};
	va_list ap;

	va_start(ap, format);
	assert_true(vasprintf(&text, format, ap) >= 0);
	va_end(ap);
	assert_ok(fs_write(AT_FDCWD, path, text, strlen(text), 0644, &e));
}

/* "A B" */
static const char *found(void)
{
	static char text[1000];
	auto_arena struct arena a = {0};
	struct js_strings ids = gpus_find(&agent, &a);

	text[0] = '\0';
	for (size_t i = 0; i < ids.count; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s",
			       i ? " " : "", ids.items[i]);
	return text;
}

#define HEAD(kind) "{\"cdiVersion\":\"0.6.0\",\"kind\":\"" kind "\",\"devices\":["
#define DEVICE(name, node) \
	"{\"name\":\"" name "\",\"containerEdits\":{\"deviceNodes\":[{\"path\":\"" node "\"}]}}"

static void a_device_with_two_names_is_one(void **state)
{
	(void)state;
	put("nvidia.json",
	    HEAD("nvidia.com/gpu") DEVICE("0", "/dev/n0") "," DEVICE("1", "/dev/n1") "," DEVICE(
		    "GPU-a",
		    "/dev/n0") "," DEVICE("GPU-b",
					  "/dev/n1") ","
						     "{\"name\":\"all\",\"containerEdits\":{\"deviceNodes\":[{"
						     "\"path\":\"/dev/n0\"},{\"path\":\"/dev/n1\"}]}}]}");
	put("amd.json",
	    HEAD("amd.com/gpu") DEVICE("0", "/dev/d0") "," DEVICE("all", "/dev/d0") "]}");
	put("nic.json", HEAD("acme.com/nic") DEVICE("0", "/dev/e0") "]}");
	assert_string_equal(found(), "amd.com/gpu=0 nvidia.com/gpu=GPU-a nvidia.com/gpu=GPU-b");
}

static void which_kinds_are_gpus_can_be_said(void **state)
{
	static const char *const kinds[] = {"acme.com/nic"};

	(void)state;
	put("amd.json", HEAD("amd.com/gpu") DEVICE("0", "/dev/d0") "]}");
	put("nic.json", HEAD("acme.com/nic") DEVICE("0", "/dev/e0") "]}");
	assert_string_equal(found(), "amd.com/gpu=0");
	options.gpu_kinds = kinds;
	options.gpu_kind_count = 1;
	assert_string_equal(found(), "acme.com/nic=0");
	options.gpu_kind_count = 0;
	assert_string_equal(found(), "");
}

/* ---- for a container ---- */

static struct ecs_container_definition def = {.name = (char[]){"a"}};
static char *ids[2];
static struct ecs_node_container wanted = {.name = (char[]){"a"}, .gpu_ids = {ids, 0}};
static struct task task = {.agent = &agent, .wanted = {.containers = {&wanted, 1}}};
static const struct container container = {.task = &task, .def = &def};

static json_t *config_of(unsigned uid)
{
	return json_pack("{s:{s:{s:i, s:i}, s:[s]}, s:[{s:s, s:s}], s:{s:{}}}", "process", "user",
			 "uid", uid, "gid", 0, "env", "FROM=image", "mounts", "destination",
			 "/lib/acme", "source", "/old", "linux", "resources");
}

static int add(json_t *config, const char *first, const char *second, struct err *e)
{
	ids[0] = (char *)(uintptr_t)first;
	ids[1] = (char *)(uintptr_t)second;
	wanted.gpu_ids.count = second ? 2 : 1;
	return gpus_add(&container, config, e);
}

static void assert_json(const json_t *doc, const char *expected)
{
	auto_free char *text = js_dump(doc);

	assert_string_equal(text, expected);
}

static void what_a_gpu_needs_is_in_the_configuration(void **state)
{
	auto_json json_t *config = config_of(0);
	const json_t *process, *linux_;
	struct err e = {0};

	(void)state;
	put("acme.json",
	    HEAD("acme.com/gpu") "{\"name\":\"g0\",\"containerEdits\":{\"deviceNodes\":[{\"path\":"
				 "\"/dev/acme0\",\"hostPath\":\"/dev/null\",\"permissions\":\"rw\"}],"
				 "\"env\":[\"G0=1\"]}},{\"name\":\"g1\",\"containerEdits\":{\"env\":[\"G1=1\"]}}],"
				 "\"containerEdits\":{\"env\":[\"FROM=cdi\"],\"deviceNodes\":[{\"path\":\"/dev/ctl\","
				 "\"type\":\"c\",\"major\":195,\"minor\":255,\"fileMode\":438,\"gid\":44}],"
				 "\"mounts\":[{\"hostPath\":\"%s\",\"containerPath\":\"/lib/acme\",\"options\":"
				 "[\"ro\",\"rbind\"]},{\"hostPath\":\"tmpfs\",\"containerPath\":\"/t\",\"type\":"
				 "\"tmpfs\"}],\"additionalGids\":[44,0],\"hooks\":[{\"hookName\":\"createContainer\","
				 "\"path\":\"/bin/true\",\"args\":[\"true\",\"x\"]}]}}",
	    top);
	assert_ok(add(config, "acme.com/gpu=g0", "acme.com/gpu=g1", &e));
	process = json_object_get(config, "process");
	linux_ = json_object_get(config, "linux");
	assert_json(json_object_get(process, "env"), "[\"FROM=cdi\",\"G0=1\",\"G1=1\"]");
	assert_json(json_object_get(process, "user"),
		    "{\"uid\":0,\"gid\":0,\"additionalGids\":[44]}");
	assert_json(
		json_object_get(linux_, "devices"),
		"[{\"path\":\"/dev/ctl\",\"type\":\"c\",\"major\":195,\"minor\":255,"
		"\"fileMode\":438,\"gid\":44},{\"path\":\"/dev/acme0\",\"type\":\"c\",\"major\":1,"
		"\"minor\":3,\"fileMode\":438}]");
	assert_json(
		json_object_get(json_object_get(linux_, "resources"), "devices"),
		"[{\"allow\":true,\"type\":\"c\",\"major\":195,\"minor\":255,\"access\":\"rwm\"},"
		"{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rw\"}]");
	assert_int_equal(json_array_size(json_object_get(config, "mounts")), 2);
	assert_string_equal(
		json_string_value(json_object_get(
			json_array_get(json_object_get(config, "mounts"), 0), "source")),
		top);
	assert_json(json_object_get(config, "hooks"),
		    "{\"createContainer\":[{\"path\":\"/bin/true\",\"args\":[\"true\",\"x\"]}]}");
}

static void a_device_belongs_to_the_containers_user_where_nothing_is_said(void **state)
{
	auto_json json_t *config = config_of(1000);
	json_t *device;
	struct err e = {0};

	(void)state;
	put("acme.json", HEAD("acme.com/gpu") DEVICE("0", "/dev/null") "]}");
	assert_ok(add(config, "acme.com/gpu=0", NULL, &e));
	device = json_array_get(json_object_get(json_object_get(config, "linux"), "devices"), 0);
	assert_int_equal(json_integer_value(json_object_get(device, "uid")), 1000);
	assert_null(json_object_get(device, "gid"));
}

static void what_is_not_there_is_told_by_its_name(void **state)
{
	static const struct {
		const char *edits, *error;
	} cases[] = {
		{"\"deviceNodes\":[{\"path\":\"/dev/absent\"}]",
		 "GPU acme.com/gpu=0: device node /dev/absent: No such file"},
		{"\"deviceNodes\":[{\"path\":\"/etc/passwd\"}]", "/etc/passwd: it is no device"},
		{"\"mounts\":[{\"hostPath\":\"/absent\",\"containerPath\":\"/b\"}]",
		 "mount of /absent at /b: No such file"},
		{"\"hooks\":[{\"hookName\":\"createContainer\",\"path\":\"/absent\"}]",
		 "createContainer hook /absent: No such file"},
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_json json_t *config = config_of(0);

		put("acme.json", HEAD("acme.com/gpu") "{\"name\":\"0\",\"containerEdits\":{%s}}]}",
		    cases[i].edits);
		assert_true(add(config, "acme.com/gpu=0", NULL, &e) < 0);
		if (!strstr(e.msg, cases[i].error))
			fail_msg("%s: %s", cases[i].edits, e.msg);
		assert_fails(add(config, "acme.com/gpu=7", NULL, &e), ENOENT);
		assert_non_null(strstr(e.msg, "acme.com/gpu=7"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_device_with_two_names_is_one, begin, end),
		cmocka_unit_test_setup_teardown(which_kinds_are_gpus_can_be_said, begin, end),
		cmocka_unit_test_setup_teardown(what_a_gpu_needs_is_in_the_configuration, begin,
						end),
		cmocka_unit_test_setup_teardown(
			a_device_belongs_to_the_containers_user_where_nothing_is_said, begin, end),
		cmocka_unit_test_setup_teardown(what_is_not_there_is_told_by_its_name, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
