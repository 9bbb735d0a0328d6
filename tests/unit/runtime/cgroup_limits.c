/* tests/unit/runtime/cgroup_limits.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>

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
		struct cgroup_settings s = {0};

		cgroup_settings_of(&rows[i].r, rows[i].v2, &s);
		assert_int_equal(s.count, rows[i].value ? 1 : 0);
		if (s.count) {
			assert_string_equal(s.items[0].file, rows[i].file ? rows[i].file : "");
			assert_string_equal(s.items[0].value, rows[i].value);
		}
		cgroup_settings_done(&s);
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
		{{.memory.kernel = N(5)}, false, "memory.kmem.limit_in_bytes", "5"},
		{{.memory.kernel = N(5)}, true, NULL, "5"},
		{{.memory.kernel_tcp = N(5)}, false, "memory.kmem.tcp.limit_in_bytes", "5"},
		{{.memory.use_hierarchy = true}, false, "memory.use_hierarchy", "1"},
		{{.memory.use_hierarchy = true}, true, NULL, NULL},
		{{.cpu.rt_period = N(5)}, false, "cpu.rt_period_us", "5"},
		{{.cpu.rt_runtime = N(5)}, false, "cpu.rt_runtime_us", "5"},
		{{.cpu.rt_runtime = N(5)}, true, NULL, "5"},
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
	struct cgroup_settings v1 = {0}, v2 = {0};

	(void)state;
	cgroup_settings_of(&r, false, &v1);
	cgroup_settings_of(&r, true, &v2);
	assert_int_equal(v1.count, 2);
	assert_string_equal(v1.items[0].file, "memory.limit_in_bytes"); /* before the larger one */
	assert_string_equal(v1.items[1].value, "150");
	assert_int_equal(v2.count, 2);
	assert_string_equal(v2.items[1].file, "memory.swap.max");
	assert_string_equal(v2.items[1].value, "50");
	cgroup_settings_done(&v1);
	cgroup_settings_done(&v2);
}

/* Expected: the kernel's Documentation/admin-guide, cgroup-v1 and cgroup-v2. */
static void lists_become_one_write_each(void **state)
{
	static char mb2[] = "2MB", eth0[] = "eth0", mlx[] = "mlx4_0";
	uint32_t weight = 10, half = 505, leaf = 20, id = 0x100001, handles = 2;
	struct config_weight_device weighed = {8, 16, &half, NULL};
	struct config_throttle_device slow = {8, 0, 1048576}, unlimited = {8, 0, 0},
				      most = {8, 0, -1};
	struct config_hugepage pages = {mb2, 4194304};
	struct config_net_priority priority = {eth0, 5};
	struct config_rdma adapter = {mlx, &handles, NULL};
	const struct {
		struct config_resources r;
		bool v2;
		const char *controller, *writes[3];
	} rows[] = {
		{{.block_io.weight = &weight},
		 false,
		 "blkio",
		 {"blkio.weight=10", "blkio.bfq.weight=10"}},
		{{.block_io.weight = &weight}, true, "io", {"io.bfq.weight=10", "io.weight=1"}},
		{{.block_io.weight_devices = {&weighed, 1}},
		 false,
		 "blkio",
		 {"blkio.weight_device=8:16 505", "blkio.bfq.weight_device=8:16 505"}},
		{{.block_io.weight_devices = {&weighed, 1}},
		 true,
		 "io",
		 {"io.bfq.weight=8:16 505", "io.weight=8:16 5000"}},
		{{.block_io.leaf_weight = &leaf}, false, "blkio", {"blkio.leaf_weight=20"}},
		{{.block_io.leaf_weight = &leaf}, true, "io", {"=20"}},
		{{.block_io.read_bps = {&slow, 1}},
		 false,
		 "blkio",
		 {"blkio.throttle.read_bps_device=8:0 1048576"}},
		{{.block_io.write_bps = {&slow, 1}}, true, "io", {"io.max=8:0 wbps=1048576"}},
		{{.block_io.read_iops = {&unlimited, 1}}, true, "io", {"io.max=8:0 riops=max"}},
		{{.block_io.write_iops = {&most, 1}},
		 true,
		 "io",
		 {"io.max=8:0 wiops=18446744073709551615"}},
		{{.hugepages = {&pages, 1}},
		 false,
		 "hugetlb",
		 {"hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304"}},
		{{.hugepages = {&pages, 1}},
		 true,
		 "hugetlb",
		 {"hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"}},
		{{.network.class_id = &id}, false, "net_cls", {"net_cls.classid=1048577"}},
		{{.network.priorities = {&priority, 1}},
		 false,
		 "net_prio",
		 {"net_prio.ifpriomap=eth0 5"}},
		{{.rdma = {&adapter, 1}}, true, "rdma", {"rdma.max=mlx4_0 hca_handle=2"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct cgroup_settings s = {0};
		size_t n = 0;

		cgroup_settings_of(&rows[i].r, rows[i].v2, &s);
		for (; n < s.count; n++) {
			char write[400];

			(void)snprintf(write, sizeof(write), "%s=%s", s.items[n].file,
				       s.items[n].value);
			assert_string_equal(write, rows[i].writes[n]);
			assert_string_equal(s.items[n].controller, rows[i].controller);
		}
		assert_null(rows[i].writes[n]);
		cgroup_settings_done(&s);
	}
}

static void limits_that_make_no_sense_are_refused(void **state)
{
	static char unit[] = "a/b", hidden[] = ".x", control[] = "cgroup.procs", bare[] = "procs",
		    letters[] = "0,x", one[] = "1", odd[] = "2XB", link[] = "a/b";
	struct config_hugepage pages = {odd, 1};
	struct config_net_priority priority = {link, 1};
	struct config_throttle_device device = {-1, 0, 1};
	uint32_t light = 9;
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
		{{.cpu.burst = N(-1)}, "cpu.burst: -1"},
		{{.block_io.weight = &light}, "blockIO.weight: 9 is not within 10 and 1000"},
		{{.block_io.read_bps = {&device, 1}}, "throttleReadBpsDevice: no device is -1:0"},
		{{.hugepages = {&pages, 1}}, "hugepageLimits[0].pageSize: '2XB'"},
		{{.network.priorities = {&priority, 1}}, "network.priorities[0].name: 'a/b'"},
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

/* Named as /proc/self/cgroup has them; the second list is what is left. */
static void hierarchies_that_limit_nothing_are_left_out(void **state)
{
	static const char *const all[] = {"cpu,cpuacct", "cpuset",  "blkio",
					  "memory",      "devices", "freezer",
					  "hugetlb",     "pids",    "name=systemd"};
	static const char *const left[] = {"cpu,cpuacct", "cpuset",  "memory",
					   "devices",     "hugetlb", "pids"};
	char mb2[] = "2MB";
	struct config_hugepage pages = {mb2, 4194304};
	const struct config_resources r = {.hugepages = {&pages, 1}};
	auto_cgroup_host struct cgroup_host host = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
		struct cgroup_hierarchy *h = &host.items[host.count++];

		h->fd = open("/", O_PATH | O_CLOEXEC);
		(void)snprintf(h->controllers, sizeof(h->controllers), "%s", all[i]);
	}
	cgroup_host_narrow(&host, &r);
	assert_int_equal(host.count, ARRAY_COUNT(left));
	for (size_t i = 0; i < host.count; i++)
		assert_string_equal(host.items[i].controllers, left[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu_as_the_kernel_writes_it),
		cmocka_unit_test(memory_and_pids_as_the_kernel_writes_them),
		cmocka_unit_test(swap_counts_memory_on_v1_only),
		cmocka_unit_test(lists_become_one_write_each),
		cmocka_unit_test(limits_that_make_no_sense_are_refused),
		cmocka_unit_test(hierarchies_that_limit_nothing_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
