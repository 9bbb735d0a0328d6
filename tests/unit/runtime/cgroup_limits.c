/* tests/unit/runtime/cgroup_limits.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "runtime/cgroup.h"

#define N(value) (&(int64_t){value})

struct row {
	struct config_resources r;
	bool v2;
	const char *file, *value; /* the only setting; file NULL: unsupported; value NULL: none */
};

static void check_rows(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct cgroup_setting s[CGROUP_SETTINGS_MAX];
		size_t n = cgroup_settings(&rows[i].r, rows[i].v2, s);

		assert_int_equal(n, rows[i].value ? 1 : 0);
		if (!n)
			continue;
		if (rows[i].file)
			assert_string_equal(s[0].file, rows[i].file);
		else
			assert_null(s[0].file);
		assert_string_equal(s[0].value, rows[i].value);
	}
}

static void cpu_as_the_kernel_writes_it(void **state)
{
	static const struct {
		int64_t shares;
		const char *weight; /* of the formula in the spec's and runc's documents */
	} weights[] = {{2, "1"}, {1024, "39"}, {512, "20"}, {262144, "10000"}, {1, "1"}};
	const struct row rows[] = {
		{{.cpu.shares = N(0)}, false, NULL, NULL},
		{{.cpu.shares = N(512)}, false, "cpu.shares", "512"},
		{{.cpu.quota = N(50000)}, false, "cpu.cfs_quota_us", "50000"},
		{{.cpu.quota = N(-1)}, false, "cpu.cfs_quota_us", "-1"},
		{{.cpu.quota = N(0)}, false, NULL, NULL},
		{{.cpu.period = N(20000)}, false, "cpu.cfs_period_us", "20000"},
		{{.cpu.quota = N(50000)}, true, "cpu.max", "50000 100000"},
		{{.cpu.quota = N(50000), .cpu.period = N(20000)}, true, "cpu.max", "50000 20000"},
		{{.cpu.period = N(20000)}, true, "cpu.max", "max 20000"},
		{{.cpu.quota = N(-1)}, true, "cpu.max", "max 100000"},
		{{.cpu.burst = N(9)}, true, "cpu.max.burst", "9"},
		{{.cpu.burst = N(9)}, false, "cpu.cfs_burst_us", "9"},
		{{.cpu.idle = N(1)}, true, "cpu.idle", "1"},
	};

	(void)state;
	check_rows(rows, ARRAY_COUNT(rows));
	for (size_t i = 0; i < ARRAY_COUNT(weights); i++) {
		const struct row row = {{.cpu.shares = N(weights[i].shares)},
					true,
					"cpu.weight",
					weights[i].weight};

		check_rows(&row, 1);
	}
}

static void memory_and_pids_as_the_kernel_writes_them(void **state)
{
	struct config_pids none = {0}, ten = {10}, below = {-1};
	const struct row rows[] = {
		{{.memory.limit = N(4096)}, false, "memory.limit_in_bytes", "4096"},
		{{.memory.limit = N(-1)}, false, "memory.limit_in_bytes", "-1"},
		{{.memory.limit = N(4096)}, true, "memory.max", "4096"},
		{{.memory.limit = N(-1)}, true, "memory.max", "max"},
		{{.memory.limit = N(0)}, true, NULL, NULL},
		{{.memory.reservation = N(7)}, false, "memory.soft_limit_in_bytes", "7"},
		{{.memory.reservation = N(7)}, true, "memory.low", "7"},
		{{.memory.swap = N(-1)}, true, "memory.swap.max", "max"},
		{{.memory.swap = N(-1)}, false, "memory.memsw.limit_in_bytes", "-1"},
		{{.memory.swappiness = N(0)}, false, "memory.swappiness", "0"},
		{{.memory.swappiness = N(0)}, true, NULL, "0"},
		{{.memory.disable_oom_killer = true}, false, "memory.oom_control", "1"},
		{{.memory.disable_oom_killer = true}, true, NULL, "1"},
		{{.pids = &ten}, true, "pids.max", "10"},
		{{.pids = &none}, false, "pids.max", "max"},
		{{.pids = &below}, true, "pids.max", "max"},
	};

	(void)state;
	check_rows(rows, ARRAY_COUNT(rows));
}

/* Of the spec: swap is memory and swap together; v2's file is swap alone. */
static void swap_counts_memory_on_v1_only(void **state)
{
	const struct config_resources r = {.memory = {.limit = N(100), .swap = N(150)}};
	struct cgroup_setting s[CGROUP_SETTINGS_MAX];

	(void)state;
	assert_int_equal(cgroup_settings(&r, false, s), 2);
	assert_string_equal(s[0].file, "memory.limit_in_bytes"); /* before the larger one */
	assert_string_equal(s[1].value, "150");
	assert_int_equal(cgroup_settings(&r, true, s), 2);
	assert_string_equal(s[1].file, "memory.swap.max");
	assert_string_equal(s[1].value, "50");
}

static void limits_that_make_no_sense_are_refused(void **state)
{
	static char unit[] = "a/b", hidden[] = ".x", control[] = "cgroup.procs", bare[] = "procs",
		    letters[] = "0,x", one[] = "1";
	struct js_pair pairs[] = {{unit, one}, {hidden, one}, {control, one}, {bare, one}};
	const struct {
		struct config_resources r;
		const char *says;
	} rows[] = {
		{{.cpu.shares = N(262145)}, "cpu.shares: 262145"},
		{{.cpu.shares = N(-1)}, "cpu.shares: -1"},
		{{.cpu.period = N(999)}, "cpu.period: 999"},
		{{.cpu.quota = N(-2)}, "cpu.quota: -2"},
		{{.cpu.cpus = letters}, "cpu.cpus: '0,x'"},
		{{.memory.limit = N(-2)}, "memory.limit: -2"},
		{{.memory.swappiness = N(101)}, "memory.swappiness: 101"},
		{{.memory.swap = N(5)}, "without a memory.limit"},
		{{.memory = {.limit = N(6), .swap = N(5)}}, "below memory.limit"},
		{{.unified = {&pairs[0], 1}}, "'a/b'"},
		{{.unified = {&pairs[1], 1}}, "'.x'"},
		{{.unified = {&pairs[2], 1}}, "'cgroup.procs' is not a resource"},
		{{.unified = {&pairs[3], 1}}, "'procs' is not a cgroup file"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const struct config_linux l = {.resources = rows[i].r};
		struct err e = {0};

		assert_fails(cgroup_check_config(&l, &e), EINVAL);
		assert_says(rows[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu_as_the_kernel_writes_it),
		cmocka_unit_test(memory_and_pids_as_the_kernel_writes_them),
		cmocka_unit_test(swap_counts_memory_on_v1_only),
		cmocka_unit_test(limits_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
