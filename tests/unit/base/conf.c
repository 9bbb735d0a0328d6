/* tests/unit/base/conf.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/conf.h"
#include "base/fs.h"

struct values {
	char *listen, *region;
};

static const struct conf_key keys[] = {
	{"server", "listen", offsetof(struct values, listen)},
	{"server", "region", offsetof(struct values, region)},
};

static int read_text(const char *text, enum conf_owner owner, struct arena *a, struct values *v,
		     struct err *e)
{
	char path[] = "/tmp/berth-conf-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
	r = conf_read(path, owner, keys, 2, a, v, e);
	(void)unlink(path);
	return r;
}

static void values_are_read_and_the_rest_left_alone(void **state)
{
	auto_arena struct arena a = {0};
	struct values v = {.region = (char *)(uintptr_t) "here"};
	struct err e = {0};

	(void)state;
	assert_ok(read_text("# c\n[server]\nlisten = 1.2.3.4:5 ; c\n", CONF_OURS, &a, &v, &e));
	assert_string_equal(v.listen, "1.2.3.4:5");
	assert_string_equal(v.region, "here");
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"[server]\nlisten = a\nlissen = b\n",
		 "line 3: unknown key [server] lissen; the nearest is [server] listen"},
		{"[server]\nlisten = a\nlisten = b\n", "line 3: [server] listen stands twice"},
		{"[server]\nlisten\n", "line 2"},
		{"listen = a\n", "line 1: unknown key [] listen"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_arena struct arena a = {0};
		struct values v = {0};
		struct err e = {0};

		assert_fails(read_text(rows[i].text, CONF_OURS, &a, &v, &e), EINVAL);
		assert_says(rows[i].says);
	}
}

static void a_file_of_others_may_have_more(void **state)
{
	auto_arena struct arena a = {0};
	struct values v = {0};
	struct err e = {0};

	(void)state;
	assert_ok(read_text("[default]\nx = 1\n[server]\nregion = r\nother = y\n", CONF_FOREIGN, &a,
			    &v, &e));
	assert_string_equal(v.region, "r");
	assert_fails(conf_read("/nonexistent", CONF_OURS, keys, 2, &a, &v, &e), ENOENT);
}

struct item {
	char *name, *mirrors;
};

static const struct conf_key item_keys[] = {
	{"registry", "mirrors", offsetof(struct item, mirrors)},
};

static int read_groups(const char *text, struct arena *a, struct conf_group *g, struct values *v,
		       struct err *e)
{
	char path[] = "/tmp/berth-conf-XXXXXX";
	int fd = mkstemp(path), r;

	*g = (struct conf_group){.word = "registry",
				 .keys = item_keys,
				 .key_count = 1,
				 .item_size = sizeof(struct item),
				 .name_offset = offsetof(struct item, name)};
	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
	r = conf_read_groups(path, keys, 2, g, a, v, e);
	(void)unlink(path);
	return r;
}

static void a_group_has_an_item_for_each_section(void **state)
{
	auto_arena struct arena a = {0};
	struct values v = {0};
	struct conf_group g;
	struct err e = {0};
	const struct item *items;

	(void)state;
	assert_ok(read_groups("[registry a.b]\nmirrors = x, y\n[server]\nregion = r\n"
			      "[registry  c:5000]\nmirrors = z\n",
			      &a, &g, &v, &e));
	assert_int_equal(g.count, 2);
	items = g.items;
	assert_string_equal(items[0].name, "a.b");
	assert_string_equal(items[0].mirrors, "x, y");
	assert_string_equal(items[1].name, "c:5000");
	assert_string_equal(items[1].mirrors, "z");
	assert_string_equal(v.region, "r");
	free(g.items);
}

static void what_is_wrong_in_a_group_is_told_too(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"[registry a]\nmirrors = a\nmirrors = b\n", "line 3: [registry a] mirrors stands"},
		{"[registry a]\nmirror = a\n", "unknown key [registry a] mirror; the nearest is"},
		{"[registry]\nmirrors = a\n", "line 2: [registry]: a name"},
		{"[registry a]\nmirrors = a\n[registry b]\nmirrors = b\n[registry a]\nmirrors = c\n",
		 "line 6: [registry a] stands twice"},
		{"[registrya]\nmirrors = a\n", "unknown key [registrya] mirrors"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_arena struct arena a = {0};
		struct values v = {0};
		struct conf_group g;
		struct err e = {0};

		assert_fails(read_groups(rows[i].text, &a, &g, &v, &e), EINVAL);
		assert_says(rows[i].says);
		free(g.items);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_read_and_the_rest_left_alone),
		cmocka_unit_test(what_is_wrong_is_told_with_its_line),
		cmocka_unit_test(a_file_of_others_may_have_more),
		cmocka_unit_test(a_group_has_an_item_for_each_section),
		cmocka_unit_test(what_is_wrong_in_a_group_is_told_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
