/* tests/unit/agent/cdi.c - specifications of devices
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cdi.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define SPEC(edits)                                                                         \
	"{\"cdiVersion\":\"0.6.0\",\"kind\":\"acme.com/gpu\",\"devices\":[{\"name\":\"0\"," \
	"\"containerEdits\":{" edits "}}]}"

static const struct {
	const char *text, *error; /* NULL: it is one */
} specs[] = {
	{SPEC(""), NULL},
	{SPEC("\"env\":[\"A=b\",\"C=\"],\"additionalGids\":[0,44]"), NULL},
	{SPEC("\"deviceNodes\":[{\"path\":\"/dev/acme0\",\"hostPath\":\"/dev/x\",\"type\":\"c\","
	      "\"major\":1,\"minor\":3,\"fileMode\":438,\"permissions\":\"rw\",\"uid\":0,"
	      "\"gid\":0}]"),
	 NULL},
	{SPEC("\"mounts\":[{\"hostPath\":\"/a\",\"containerPath\":\"/b\",\"type\":\"none\","
	      "\"options\":[\"ro\"]}]"),
	 NULL},
	{SPEC("\"hooks\":[{\"hookName\":\"createContainer\",\"path\":\"/bin/true\",\"args\":"
	      "[\"true\"],\"env\":[\"A=1\"],\"timeout\":5}]"),
	 NULL},
	{"{\"cdiVersion\":\"1.0.0\",\"kind\":\"acme.com/gpu\",\"annotations\":{\"a\":\"b\"},"
	 "\"devices\":[{\"name\":\"GPU-1:0\",\"annotations\":{}}]}",
	 NULL},
	{"{\"kind\":\"acme.com/gpu\",\"devices\":[{\"name\":\"0\"}]}", "cdiVersion"},
	{"{\"cdiVersion\":\"2.0.0\",\"kind\":\"acme.com/gpu\",\"devices\":[{\"name\":\"0\"}]}",
	 "cdiVersion '2.0.0'"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"gpu\",\"devices\":[{\"name\":\"0\"}]}",
	 "kind 'gpu' is not VENDOR/CLASS"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c/d\",\"devices\":[{\"name\":\"0\"}]}",
	 "kind 'a.b/c/d'"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[]}", "has no devices"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\"}", "has no devices"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[{\"name\":\"a=b\"}]}",
	 "device 'a=b'"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[{\"name\":\"a\"},"
	 "{\"name\":\"a\"}]}",
	 "two devices 'a'"},
	{"{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[{\"name\":\"a\"}],"
	 "\"more\":1}",
	 "'more', which Berth does not know"},
	{SPEC("\"netDevices\":[{\"hostInterfaceName\":\"e\",\"name\":\"f\"}]"),
	 "'netDevices', which Berth does not know"},
	{SPEC("\"intelRdt\":{\"closID\":\"x\"}"), "'intelRdt', which Berth does not know"},
	{SPEC("\"env\":[\"A\"]"), "env 'A' is not NAME=VALUE"},
	{SPEC("\"additionalGids\":[-1]"), "additionalGids[0]"},
	{SPEC("\"deviceNodes\":[{\"path\":\"dev\"}]"), "'dev': its paths are not absolute"},
	{SPEC("\"deviceNodes\":[{\"path\":\"/d\",\"type\":\"x\"}]"), "/d: type 'x'"},
	{SPEC("\"deviceNodes\":[{\"path\":\"/d\",\"permissions\":\"rx\"}]"), "permissions 'rx'"},
	{SPEC("\"deviceNodes\":[{\"path\":\"/d\",\"major\":-1}]"), "out of its range"},
	{SPEC("\"deviceNodes\":[{\"major\":1}]"), "path"},
	{SPEC("\"mounts\":[{\"hostPath\":\"/a\",\"containerPath\":\"b\"}]"), "'b'"},
	{SPEC("\"hooks\":[{\"hookName\":\"later\",\"path\":\"/x\"}]"), "hook 'later'"},
	{SPEC("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"x\"}]"), "hook 'x'"},
	{SPEC("\"hooks\":[{\"hookName\":\"poststop\",\"path\":\"/x\",\"timeout\":0}]"),
	 "timeout of 0"},
};

static void a_specification_is_good_as_a_whole_or_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(specs); i++) {
		auto_arena struct arena a = {0};
		auto_json json_t *doc = NULL;
		struct cdi_spec spec;
		struct err e = {0};

		assert_ok(js_parse(specs[i].text, strlen(specs[i].text), 16, &doc, &e));
		if (!specs[i].error) {
			assert_ok(cdi_decode(doc, &a, &spec, &e));
			continue;
		}
		assert_true(cdi_decode(doc, &a, &spec, &e) < 0);
		if (!strstr(e.msg, specs[i].error))
			fail_msg("%s: %s", specs[i].text, e.msg);
	}
}

static void lists_have_limits(void **state)
{
	auto_buf struct buf text = BUF_INIT(1 << 20);
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	struct cdi_spec spec;
	struct err e = {0};

	(void)state;
	buf_puts(&text,
		 "{\"cdiVersion\":\"0.6.0\",\"kind\":\"a.b/c\",\"devices\":[{\"name\":\"a\"}],"
		 "\"containerEdits\":{\"env\":[\"A=0\"");
	for (int i = 0; i < CDI_ITEMS_MAX; i++)
		buf_printf(&text, ",\"A=%d\"", i);
	buf_puts(&text, "]}}");
	assert_ok(js_parse(buf_str(&text), text.size, 16, &doc, &e));
	assert_fails(cdi_decode(doc, &a, &spec, &e), E2BIG);
	assert_non_null(strstr(e.msg, "env has 1025 elements"));
}

/* ---- directories ---- */

static char top[] = "/tmp/berth-unit-XXXXXX";

static void put(const char *name, const char *text)
{
	auto_free char *path = xasprintf("%s/%s", top, name);
	struct err e = {0};

	assert_ok(fs_write(AT_FDCWD, path, text, strlen(text), 0644, &e));
}

static int begin(void **state)
{
	auto_free char *first = NULL, *second = NULL;

	(void)state;
	memcpy(strrchr(top, '-') + 1, "XXXXXX", 6);
	assert_non_null(mkdtemp(top));
	first = xasprintf("%s/etc", top);
	second = xasprintf("%s/run", top);
	return mkdir(first, 0755) < 0 || mkdir(second, 0755) < 0 ? -1 : 0;
}

static int end(void **state)
{
	struct err e = {0};

	(void)state;
	return fs_remove_tree(AT_FDCWD, top, &e);
}

static void load(struct cdi *ret)
{
	auto_free char *first = xasprintf("%s/etc", top), *second = xasprintf("%s/run", top);
	const char *const dirs[] = {first, second};

	cdi_load(ret, dirs, ARRAY_COUNT(dirs));
}

#define OF_FILE(env)                                                                        \
	"{\"cdiVersion\":\"0.6.0\",\"kind\":\"acme.com/gpu\",\"devices\":[{\"name\":\"0\"," \
	"\"containerEdits\":{\"env\":[\"FROM=" env "\"]}}]}"

static void the_later_directory_has_precedence(void **state)
{
	auto_cdi struct cdi cdi = {0};
	const struct cdi_device *device;
	const struct cdi_spec *spec;
	struct err e = {0};

	(void)state;
	put("run/a.json", OF_FILE("run"));
	put("etc/z.json", OF_FILE("etc"));
	load(&cdi);
	assert_int_equal(cdi.count, 2);
	assert_ok(cdi_find(&cdi, "acme.com/gpu=0", &spec, &device, &e));
	assert_string_equal(device->edits.env.items[0], "FROM=run");
	assert_fails(cdi_find(&cdi, "acme.com/gpu=1", &spec, &device, &e), ENOENT);
	assert_fails(cdi_find(&cdi, "acme.com/gpu", &spec, &device, &e), ENOENT);
}

static void a_device_of_two_files_of_one_directory_is_nobodys(void **state)
{
	auto_cdi struct cdi cdi = {0};
	const struct cdi_device *device;
	const struct cdi_spec *spec;
	struct err e = {0};

	(void)state;
	put("etc/a.json", OF_FILE("a"));
	put("etc/b.json", OF_FILE("b"));
	load(&cdi);
	assert_fails(cdi_find(&cdi, "acme.com/gpu=0", &spec, &device, &e), EEXIST);
	assert_non_null(strstr(e.msg, "etc/a.json"));
	assert_non_null(strstr(e.msg, "etc/b.json"));
}

static void what_is_no_specification_is_passed_over_by_name(void **state)
{
	auto_free char *fifo = xasprintf("%s/etc/fifo.json", top);
	auto_cdi struct cdi cdi = {0};

	(void)state;
	put("etc/a.yaml", "cdiVersion: 0.6.0");
	put("etc/b.json", "{");
	put("etc/c.json", OF_FILE("c"));
	put("etc/notes.txt", "nothing");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	load(&cdi);
	assert_int_equal(cdi.count, 1);
	assert_int_equal(cdi.problems.count, 3);
	assert_non_null(strstr(cdi.problems.items[0], "etc/a.yaml: Berth reads JSON only"));
	assert_non_null(strstr(cdi.problems.items[1], "etc/b.json: "));
	assert_non_null(strstr(cdi.problems.items[2], "etc/fifo.json: it is not a file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_specification_is_good_as_a_whole_or_refused_by_name),
		cmocka_unit_test(lists_have_limits),
		cmocka_unit_test_setup_teardown(the_later_directory_has_precedence, begin, end),
		cmocka_unit_test_setup_teardown(a_device_of_two_files_of_one_directory_is_nobodys,
						begin, end),
		cmocka_unit_test_setup_teardown(what_is_no_specification_is_passed_over_by_name,
						begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
