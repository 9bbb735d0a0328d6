/* tests/unit/runtime/systemd.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "runtime/systemd.h"

/* Expected: systemd.slice(5), and what runc's and podman's users write. */
static void a_cgroups_path_names_slice_and_scope(void **state)
{
	static const struct {
		const char *path, *unit, *slice, *cgroup;
	} rows[] = {
		{"system.slice:libpod:web", "libpod-web.scope", "system.slice",
		 "/system.slice/libpod-web.scope"},
		{"a-b-c.slice:x:y", "x-y.scope", "a-b-c.slice",
		 "/a.slice/a-b.slice/a-b-c.slice/x-y.scope"},
		{"-.slice:x:y", "x-y.scope", "-.slice", "/x-y.scope"},
		{"a.slice:x:y.scope", "y.scope", "a.slice", "/a.slice/y.scope"},
		{"a.slice::y", "berth-oci-y.scope", "a.slice", "/a.slice/berth-oci-y.scope"},
		{"a.slice:x:", "x-id.scope", "a.slice", "/a.slice/x-id.scope"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		struct systemd_scope s;
		struct err e = {0};

		assert_ok(systemd_scope_of(rows[i].path, "id", &a, &s, &e));
		assert_string_equal(s.unit, rows[i].unit);
		assert_string_equal(s.slice, rows[i].slice);
		assert_string_equal(s.cgroup, rows[i].cgroup);
	}
}

static void what_is_no_scope_is_refused(void **state)
{
	static const char *const rows[] = {"/a/b",           "a.slice:b",      "a.slice:b:c:d",
					   "a:b:c",          "a.slice:b:c/d",  "a.slice:b:c d",
					   "../x.slice:b:c", "a--b.slice:b:c", "a.slice:b:c.slice"};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		struct systemd_scope s;
		struct err e = {0};

		assert_fails(systemd_scope_of(rows[i], "id", &a, &s, &e), EINVAL);
		assert_says("linux.cgroupsPath: '");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cgroups_path_names_slice_and_scope),
		cmocka_unit_test(what_is_no_scope_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
