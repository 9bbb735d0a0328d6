/* tests/unit/runtime/cgroup.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * What of cgroups needs no kernel: paths, mountinfo, and a made-up hierarchy of
 * plain files and directories.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "runtime/cgroup.h"

static void paths_that_may_be_used(void **state)
{
	static const struct {
		const char *path, *normal;
	} rows[] = {
		{"/a", "/a"},       {"/a/b", "/a/b"},     {"//a///b//", "/a/b"},
		{"/a..b", "/a..b"}, {"/a:b:c", "/a:b:c"}, {"/..a/b.", "/..a/b."},
	};
	struct cgroup_host host = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_cgroup struct cgroup c = {0};
		struct err e = {0};

		assert_ok(cgroup_init(&c, &host, rows[i].path, &e));
		assert_string_equal(c.path, rows[i].normal);
	}
}

static void paths_that_may_not(void **state)
{
	static const char *const rows[] = {"",    "a",       "/",    "//",    "/.",
					   "/..", "/a/../b", "/a/.", "/a/..", "a/b"};
	char deep[300] = "", longer[400] = "/";
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_fails(cgroup_check_path(rows[i], &e), EINVAL);
		assert_says("cgroup path");
	}
	for (size_t i = 0; i < 65; i++)
		memcpy(deep + 2 * i, "/x", 3);
	assert_fails(cgroup_check_path(deep, &e), EINVAL);
	deep[2 * 64] = '\0';
	assert_ok(cgroup_check_path(deep, &e));
	memset(longer + 1, 'y', 256);
	assert_fails(cgroup_check_path(longer, &e), EINVAL);
}

static const char mountinfo[] =
	"22 27 0:21 / /proc rw,relatime - proc proc rw\n"
	"31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755\n"
	"32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n"
	"35 31 0:32 /docker/x /odd\\040place\\134 rw - cgroup cgroup rw,memory\n"
	"36 31 0:33 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
	"40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	"41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	"broken line\n"
	"50 1 0:1 / /x - \n";

static void hierarchies_are_found_in_mountinfo(void **state)
{
	static const struct {
		const char *controllers, *place;
	} rows[] = {
		{"cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"},
		{"cpuacct,cpu", "/sys/fs/cgroup/cpu,cpuacct"},
		{"memory", "/odd place\\"},
		{"cpuset", "/sys/fs/cgroup/cpuset"},
		{"name=systemd", "/sys/fs/cgroup/systemd"},
		{"", "/sys/fs/cgroup/unified"},
		{"pids", NULL},
		{"cpu,pids", NULL},
		{"set", NULL},
	};
	char place[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		bool found = cgroup_find_mount(mountinfo, rows[i].controllers, place,
					       sizeof(place));

		assert_int_equal(found, rows[i].place != NULL);
		if (found)
			assert_string_equal(place, rows[i].place);
	}
	assert_false(cgroup_find_mount("", "cpu", place, sizeof(place)));
}

/* ---- a hierarchy of plain files ---- */

static char top[] = "/tmp/berth-unit-XXXXXX";
static struct cgroup_host host;

static int set_up(void **state)
{
	struct err e;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	for (size_t i = 0; i < 2; i++) {
		char name[8];

		(void)snprintf(name, sizeof(name), "h%zu", i);
		host.items[i].fd = -1;
		if (chdir(top) < 0 || fs_open_dir(AT_FDCWD, name, 0755, &host.items[i].fd, &e) < 0)
			return -1;
		(void)snprintf(host.items[i].name, sizeof(host.items[i].name), "%s", name);
	}
	(void)snprintf(host.items[0].controllers, 32, "cpu,cpuset");
	(void)snprintf(host.items[1].controllers, 32, "memory");
	host.count = 2;
	return chdir("/");
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	cgroup_host_close(&host);
	return fs_remove_tree(AT_FDCWD, top, &e);
}

static bool there(size_t hierarchy, const char *path)
{
	return faccessat(host.items[hierarchy].fd, path, F_OK, 0) == 0;
}

static void controllers_are_found_by_whole_names(void **state)
{
	(void)state;
	assert_ptr_equal(cgroup_host_find(&host, "cpu"), &host.items[0]);
	assert_ptr_equal(cgroup_host_find(&host, "cpuset"), &host.items[0]);
	assert_ptr_equal(cgroup_host_find(&host, "memory"), &host.items[1]);
	assert_null(cgroup_host_find(&host, "cp"));
	assert_null(cgroup_host_find(&host, "mem"));
	assert_null(cgroup_host_v2(&host));
}

static void a_cgroup_is_made_in_each_hierarchy_and_removed_with_what_came_with_it(void **state)
{
	auto_cgroup struct cgroup c = {0};
	struct err e = {0};

	(void)state;
	assert_int_equal(mkdirat(host.items[0].fd, "kept", 0755), 0);
	assert_ok(cgroup_init(&c, &host, "/kept/made/leaf", &e));
	assert_ok(cgroup_look(&c, true, &e));
	assert_int_equal(c.kept, 1);
	assert_ok(cgroup_make(&c, &e));
	assert_true(there(0, "kept/made/leaf"));
	assert_true(there(1, "kept/made/leaf"));
	assert_true(c.fd[0] >= 0);
	assert_true(c.fd[1] >= 0);
	assert_true(cgroup_exists(&c));
	/* No process can be asked for here: plain directories have no cgroup.procs. */
	assert_int_equal(unlinkat(host.items[0].fd, "kept/made/leaf", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(host.items[1].fd, "kept/made/leaf", AT_REMOVEDIR), 0);
	assert_ok(cgroup_open(&c, &e));
	assert_ok(cgroup_remove(&c, &e));
	assert_true(there(0, "kept"));
	assert_false(there(0, "kept/made"));
	assert_false(there(1, "kept/made"));
	assert_ok(cgroup_remove(&c, &e));
}

static void new_levels_of_cpuset_get_what_is_above(void **state)
{
	auto_cgroup struct cgroup c = {0};
	auto_buf struct buf cpus = BUF_INIT(64);
	struct err e = {0};

	(void)state;
	/* The kernel makes these files with the directory; here they are there before. */
	assert_ok(fs_replace(host.items[0].fd, "cpuset.cpus", "0-1\n", 4, 0644, FS_QUICK, &e));
	assert_ok(fs_mkdirs(host.items[0].fd, "set/below", 0755, &e));
	assert_ok(fs_replace(host.items[0].fd, "set/cpuset.cpus", "\n", 1, 0644, FS_QUICK, &e));
	assert_ok(
		fs_replace(host.items[0].fd, "set/below/cpuset.cpus", "\n", 1, 0644, FS_QUICK, &e));
	assert_ok(cgroup_init(&c, &host, "/set/below", &e));
	assert_ok(cgroup_make(&c, &e));
	assert_ok(fs_read(host.items[0].fd, "set/cpuset.cpus", &cpus, &e));
	assert_string_equal(buf_str(&cpus), "0-1");
	buf_reset(&cpus);
	assert_ok(fs_read(host.items[0].fd, "set/below/cpuset.cpus", &cpus, &e));
	assert_string_equal(buf_str(&cpus), "0-1");
	assert_ok(fs_replace(host.items[0].fd, "set/below/cpuset.cpus", "1\n", 2, 0644, FS_QUICK,
			     &e));
	assert_ok(cgroup_make(&c, &e));
	buf_reset(&cpus);
	assert_ok(fs_read(host.items[0].fd, "set/below/cpuset.cpus", &cpus, &e));
	assert_string_equal(buf_str(&cpus), "1\n");
}

static void pids_come_from_every_level(void **state)
{
	auto_cgroup struct cgroup c = {0};
	auto_free pid_t *pids = NULL;
	struct err e = {0};
	size_t count;
	bool populated;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		assert_ok(fs_mkdirs(host.items[i].fd, "busy/inner", 0755, &e));
		assert_ok(fs_replace(host.items[i].fd, "busy/cgroup.procs", "12\n", 3, 0644,
				     FS_QUICK, &e));
		assert_ok(fs_replace(host.items[i].fd, "busy/inner/cgroup.procs", "7\n99\n", 5,
				     0644, FS_QUICK, &e));
	}
	assert_ok(cgroup_init(&c, &host, "/busy", &e));
	assert_ok(cgroup_open(&c, &e));
	assert_ok(cgroup_pids(&c, &pids, &count, &e));
	assert_int_equal(count, 3);
	assert_int_equal(pids[0] + pids[1] + pids[2], 12 + 7 + 99);
	assert_ok(cgroup_populated(&c, &populated, &e));
	assert_true(populated);
	assert_fails(cgroup_look(&c, true, &e), EBUSY);
	assert_says("/busy is in use");
}

static void a_limit_is_written_where_its_controller_lives(void **state)
{
	int64_t limit = 4096, shares = 7;
	const struct config_resources r = {.memory.limit = &limit}, s = {.cpu.shares = &shares};
	struct config_pids pids = {5};
	const struct config_resources p = {.pids = &pids};
	auto_cgroup struct cgroup c = {0};
	auto_buf struct buf text = BUF_INIT(64);
	struct err e = {0};

	(void)state;
	assert_ok(cgroup_init(&c, &host, "/limited", &e));
	assert_ok(cgroup_make(&c, &e));
	assert_ok(fs_replace(c.fd[1], "memory.limit_in_bytes", "", 0, 0644, FS_QUICK, &e));
	assert_ok(cgroup_limit(&c, &r, &e));
	assert_ok(fs_read(c.fd[1], "memory.limit_in_bytes", &text, &e));
	assert_string_equal(buf_str(&text), "4096");

	assert_fails(cgroup_limit(&c, &s, &e), ENOTSUP);
	assert_says("linux.resources.cpu.shares: cgroup /limited has no cpu.shares");
	assert_fails(cgroup_limit(&c, &p, &e), ENOTSUP);
	assert_says("linux.resources.pids.limit: this host has no pids controller");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_that_may_be_used),
		cmocka_unit_test(paths_that_may_not),
		cmocka_unit_test(hierarchies_are_found_in_mountinfo),
		cmocka_unit_test(controllers_are_found_by_whole_names),
		cmocka_unit_test(
			a_cgroup_is_made_in_each_hierarchy_and_removed_with_what_came_with_it),
		cmocka_unit_test(new_levels_of_cpuset_get_what_is_above),
		cmocka_unit_test(pids_come_from_every_level),
		cmocka_unit_test(a_limit_is_written_where_its_controller_lives),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
