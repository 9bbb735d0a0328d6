/* tests/unit/runtime/capability.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <linux/capability.h>
#include <sys/resource.h>

#include "base/auto.h"
#include "runtime/capability.h"
#include "runtime/config.h"
#include "runtime/rlimits.h"
#include "runtime/runtime.h"

static char chown_name[] = "CAP_CHOWN", kill_name[] = "CAP_KILL";
static char *chown_kill[] = {chown_name, kill_name, NULL};

#define SET(n)                                    \
	{                                         \
		.items = chown_kill, .count = (n) \
	}

static void capabilities_are_found_by_their_full_names(void **state)
{
	static const struct {
		const char *name;
		unsigned value;
	} rows[] = {
		{"CAP_CHOWN", CAP_CHOWN},
		{"CAP_SYS_ADMIN", CAP_SYS_ADMIN},
		{"CAP_CHECKPOINT_RESTORE", CAP_CHECKPOINT_RESTORE},
	};
	static const char *const unknown[] = {"",  "CHOWN", "cap_chown",  "CAP_",     "CAP_NOSUCH",
					      "0", "CAP_0", "CAP_CHOWN ", "Cap_Chown"};
	unsigned value;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_true(capability_find(rows[i].name, &value));
		assert_int_equal(value, rows[i].value);
	}
	for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
		assert_false(capability_find(unknown[i], &value));
}

static void the_default_set_is_podmans(void **state)
{
	const char *const *caps = runtime_default_capabilities();
	uint64_t bits = 0;
	unsigned value;

	(void)state;
	for (; *caps; caps++) {
		assert_true(capability_find(*caps, &value));
		bits |= 1ull << value;
	}
	assert_int_equal(bits, 0x800405fb); /* as podman run shows it in /proc/self/status */
}

static void sets_become_bits(void **state)
{
	const struct config_capabilities c = {
		.bounding = SET(2), .permitted = SET(2), .effective = SET(1)};
	struct capability_sets s;
	struct err e = {0};

	(void)state;
	assert_ok(capability_sets_of(&c, &s, &e));
	assert_int_equal(s.bounding, 1 << CAP_CHOWN | 1 << CAP_KILL);
	assert_int_equal(s.effective, 1 << CAP_CHOWN);
	assert_int_equal(s.inheritable, 0);
	assert_ok(capability_sets_of(NULL, &s, &e));
	assert_int_equal(s.bounding | s.permitted | s.effective | s.inheritable | s.ambient, 0);
}

static void more_effective_than_permitted_is_refused(void **state)
{
	const struct config_capabilities c = {.permitted = SET(1), .effective = SET(2)};
	struct capability_sets s;
	struct err e = {0};

	(void)state;
	assert_fails(capability_sets_of(&c, &s, &e), EINVAL);
	assert_says("effective is more than permitted");
}

static void ambient_is_what_is_permitted_and_inheritable_too(void **state)
{
	const struct config_capabilities c = {
		.permitted = SET(2), .inheritable = SET(1), .ambient = SET(2)};
	struct capability_sets s;
	struct err e = {0};

	(void)state;
	assert_ok(capability_sets_of(&c, &s, &e));
	assert_int_equal(s.ambient, 1 << CAP_CHOWN);
}

static void what_cannot_be_given_is_left_out_and_named(void **state)
{
	static char nosuch[] = "CAP_NOSUCH";
	static char *names[] = {chown_name, nosuch, NULL};
	const struct js_strings both = {.items = names, .count = 2};
	const struct config_capabilities fine = {.bounding = SET(2), .permitted = SET(2)},
					 odd = {.bounding = both, .permitted = both};
	struct capability_sets s;
	struct err e = {0};

	(void)state;
	assert_ok(capability_sets_of(&fine, &s, &e));
	assert_false(capability_grant(&fine, true, &s, &e));
	assert_int_equal(s.permitted, 1 << CAP_CHOWN | 1 << CAP_KILL);
	assert_ok(capability_sets_of(&odd, &s, &e));
	assert_true(capability_grant(&odd, true, &s, &e));
	assert_says("'CAP_NOSUCH' is unknown");
	assert_int_equal(s.bounding & s.permitted, 1 << CAP_CHOWN);
	assert_false(capability_grant(NULL, false, &s, &e));
}

static void limits_are_found_by_their_names(void **state)
{
	int resource = -1;

	(void)state;
	assert_true(rlimit_find("RLIMIT_NOFILE", &resource));
	assert_int_equal(resource, RLIMIT_NOFILE);
	assert_true(rlimit_find("RLIMIT_RTTIME", &resource));
	assert_int_equal(resource, RLIMIT_RTTIME);
	assert_false(rlimit_find("NOFILE", &resource));
	assert_false(rlimit_find("RLIMIT_NLIMITS", &resource));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capabilities_are_found_by_their_full_names),
		cmocka_unit_test(the_default_set_is_podmans),
		cmocka_unit_test(sets_become_bits),
		cmocka_unit_test(more_effective_than_permitted_is_refused),
		cmocka_unit_test(ambient_is_what_is_permitted_and_inheritable_too),
		cmocka_unit_test(what_cannot_be_given_is_left_out_and_named),
		cmocka_unit_test(limits_are_found_by_their_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
