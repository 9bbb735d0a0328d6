/* tests/unit/runtime/filter.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "runtime/filter.h"
#include "runtime/runtime.h"
#include "tests/unit/runtime/bpf.h"

#define ALLOW        SECCOMP_RET_ALLOW
#define ERRNO(value) (SECCOMP_RET_ERRNO | (value))

static uint32_t run(const struct filter *f, uint32_t arch, int nr, uint64_t arg0, uint64_t arg1)
{
	const struct seccomp_data data = {.nr = nr, .arch = arch, .args = {arg0, arg1}};

	return bpf_run(f->insns, f->count, &data);
}

static uint32_t native(const struct filter *f, int nr, uint64_t arg0, uint64_t arg1)
{
	return run(f, AUDIT_ARCH_X86_64, nr, arg0, arg1);
}

static void compile(const char *text, struct filter *ret)
{
	auto_json json_t *doc = NULL;
	struct err e = {0};

	assert_ok(js_parse(text, strlen(text), 16, &doc, &e));
	assert_ok(filter_compile(doc, ret, &e));
}

static void compile_default(const char *const *caps, size_t count, struct filter *ret)
{
	auto_json json_t *doc = runtime_default_seccomp(caps, count);
	struct err e = {0};

	assert_ok(filter_compile(doc, ret, &e));
}

#if defined(__x86_64__)

static void the_default_profile_decides_as_dockers(void **state)
{
	static const struct {
		int nr;
		uint64_t arg0;
		uint32_t verdict;
	} rows[] = {
		{SYS_read, 0, ALLOW},
		{SYS_execve, 0, ALLOW},
		{SYS_openat2, 0, ALLOW},
		{SYS_ptrace, 0, ALLOW},
		{SYS_arch_prctl, 0, ALLOW},
		{SYS_clone, SIGCHLD, ALLOW},
		{SYS_clone, CLONE_NEWUSER, ERRNO(EPERM)},
		{SYS_clone, CLONE_NEWNS | SIGCHLD, ERRNO(EPERM)},
		{SYS_clone3, 0, ERRNO(ENOSYS)},
		{SYS_unshare, 0, ERRNO(EPERM)},
		{SYS_setns, 0, ERRNO(EPERM)},
		{SYS_mount, 0, ERRNO(EPERM)},
		{SYS_bpf, 0, ERRNO(EPERM)},
		{SYS_perf_event_open, 0, ERRNO(EPERM)},
		{SYS_userfaultfd, 0, ERRNO(EPERM)},
		{SYS_keyctl, 0, ERRNO(EPERM)},
		{SYS_add_key, 0, ERRNO(EPERM)},
		{SYS_io_uring_setup, 0, ERRNO(EPERM)},
		{SYS_io_uring_enter, 0, ERRNO(EPERM)},
		{SYS_kexec_load, 0, ERRNO(EPERM)},
		{SYS_reboot, 0, ERRNO(EPERM)},
		{SYS_chroot, 0, ERRNO(EPERM)},
		{SYS_socket, AF_INET, ALLOW},
		{SYS_socket, AF_UNIX, ALLOW},
		{SYS_socket, AF_NETLINK, ALLOW},
		{SYS_socket, AF_PACKET, ALLOW},
		{SYS_socket, AF_ALG, ERRNO(EPERM)},
		{SYS_socket, AF_VSOCK, ERRNO(EPERM)},
		{SYS_socket, 1000, ERRNO(EPERM)},
		{SYS_personality, 0, ALLOW},
		{SYS_personality, 0xffffffff, ALLOW},
		{SYS_personality, 0x0400000, ERRNO(EPERM)}, /* READ_IMPLIES_EXEC */
		{400, 0, ERRNO(EPERM)},                     /* a hole in the table */
		{470, 0, ERRNO(ENOSYS)},                    /* younger than the list */
		{100000, 0, ERRNO(ENOSYS)},
	};
	auto_filter struct filter f = {0};

	(void)state;
	compile_default(NULL, 0, &f);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		if (native(&f, rows[i].nr, rows[i].arg0, 0) != rows[i].verdict)
			fail_msg("call %d (%llx): %x", rows[i].nr, (unsigned long long)rows[i].arg0,
				 native(&f, rows[i].nr, rows[i].arg0, 0));
	/* 32-bit programs, x32 and what is no architecture of this machine. */
	assert_int_equal(run(&f, AUDIT_ARCH_I386, 3, 0, 0), ALLOW);         /* read */
	assert_int_equal(run(&f, AUDIT_ARCH_I386, 21, 0, 0), ERRNO(EPERM)); /* mount */
	assert_int_equal(run(&f, AUDIT_ARCH_I386, 1000, 0, 0), ERRNO(ENOSYS));
	assert_int_equal(native(&f, 0x40000000, 0, 0), ALLOW); /* x32's read */
	assert_int_equal(native(&f, 0x40000000 | SYS_mount, 0, 0), ERRNO(EPERM));
	assert_int_equal(run(&f, AUDIT_ARCH_AARCH64, 0, 0, 0), SECCOMP_RET_KILL_THREAD);
}

static void capabilities_open_the_calls_that_need_them(void **state)
{
	static const struct {
		const char *capability;
		int nr;
	} rows[] = {
		{"CAP_SYS_ADMIN", SYS_mount},
		{"CAP_SYS_ADMIN", SYS_clone3},
		{"CAP_SYS_ADMIN", SYS_unshare},
		{"CAP_SYS_ADMIN", SYS_pivot_root},
		{"CAP_SYS_CHROOT", SYS_chroot},
		{"CAP_SYS_BOOT", SYS_reboot},
		{"CAP_BPF", SYS_bpf},
		{"CAP_PERFMON", SYS_perf_event_open},
		{"CAP_SYS_MODULE", SYS_finit_module},
		{"CAP_SYS_TIME", SYS_clock_settime},
		{"CAP_SYSLOG", SYS_syslog},
		{"CAP_SYS_NICE", SYS_mbind},
		{"CAP_DAC_READ_SEARCH", SYS_open_by_handle_at},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_filter struct filter with = {0}, without = {0};

		compile_default(&rows[i].capability, 1, &with);
		compile_default(NULL, 0, &without);
		assert_int_equal(native(&with, rows[i].nr, 0, 0), ALLOW);
		assert_int_not_equal(native(&without, rows[i].nr, 0, 0), ALLOW);
	}
}

static void rules_decide_by_arguments(void **state)
{
	static const struct {
		const char *op;
		uint64_t value, value_two, arg;
		bool matches;
	} rows[] = {
		{"SCMP_CMP_EQ", 5, 0, 5, true},
		{"SCMP_CMP_EQ", 5, 0, 6, false},
		{"SCMP_CMP_NE", 5, 0, 6, true},
		{"SCMP_CMP_LT", 5, 0, 4, true},
		{"SCMP_CMP_LT", 5, 0, 5, false},
		{"SCMP_CMP_LE", 5, 0, 5, true},
		{"SCMP_CMP_GE", 5, 0, 5, true},
		{"SCMP_CMP_GT", 5, 0, 5, false},
		{"SCMP_CMP_GT", 5, 0, 1ull << 40, true},
		{"SCMP_CMP_MASKED_EQ", 0xf0, 0x30, 0x3f, true},
		{"SCMP_CMP_MASKED_EQ", 0xf0, 0x30, 0x4f, false},
		{"SCMP_CMP_EQ", 1ull << 40, 0, 1ull << 40, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_filter struct filter f = {0};
		char text[512];

		(void)snprintf(
			text, sizeof(text),
			"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"getpid\"],"
			"\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":9,\"args\":[{\"index\":0,"
			"\"value\":%llu,\"valueTwo\":%llu,\"op\":\"%s\"}]}]}",
			(unsigned long long)rows[i].value, (unsigned long long)rows[i].value_two,
			rows[i].op);
		compile(text, &f);
		assert_int_equal(native(&f, SYS_getpid, rows[i].arg, 0),
				 rows[i].matches ? ERRNO(9) : ALLOW);
	}
}

static void two_compares_of_one_argument_are_alternatives(void **state)
{
	auto_filter struct filter f = {0};

	(void)state;
	compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"getpid\"],"
		"\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
		"{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},"
		"{\"index\":0,\"value\":2,\"op\":\"SCMP_CMP_EQ\"}]},"
		"{\"names\":[\"getuid\"],\"action\":\"SCMP_ACT_ERRNO\",\"args\":["
		"{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"},"
		"{\"index\":1,\"value\":2,\"op\":\"SCMP_CMP_EQ\"}]}]}",
		&f);
	assert_int_equal(native(&f, SYS_getpid, 1, 0), ERRNO(EPERM));
	assert_int_equal(native(&f, SYS_getpid, 2, 0), ERRNO(EPERM));
	assert_int_equal(native(&f, SYS_getpid, 3, 0), ALLOW);
	assert_int_equal(native(&f, SYS_getuid, 1, 2), ERRNO(EPERM));
	assert_int_equal(native(&f, SYS_getuid, 1, 3), ALLOW);
}

static void young_calls_get_the_default_where_it_is_no_errno(void **state)
{
	static const struct {
		const char *action;
		uint32_t verdict;
	} rows[] = {
		{"\"SCMP_ACT_ALLOW\"", ALLOW},
		{"\"SCMP_ACT_KILL_PROCESS\"", SECCOMP_RET_KILL_PROCESS},
		{"\"SCMP_ACT_LOG\"", SECCOMP_RET_LOG},
		{"\"SCMP_ACT_ERRNO\"", ERRNO(ENOSYS)},
		{"\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":13", ERRNO(ENOSYS)},
		{"\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":38", ERRNO(ENOSYS)},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *other = strstr(rows[i].action, "ALLOW") ? "KILL" : "ALLOW";
		auto_filter struct filter f = {0};
		char text[256];

		(void)snprintf(
			text, sizeof(text),
			"{\"defaultAction\":%s,\"syscalls\":[{\"names\":[\"read\",\"pidfd_open\"],"
			"\"action\":\"SCMP_ACT_%s\"}]}",
			rows[i].action, other);
		compile(text, &f);
		assert_int_equal(native(&f, 100000, 0, 0), rows[i].verdict);
		assert_int_not_equal(native(&f, SYS_read, 0, 0), rows[i].verdict);
	}
}

#endif

static void profiles_that_cannot_be_are_refused_by_name(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{}", "defaultAction: missing"},
		{"{\"defaultAction\":\"SCMP_ACT_NOSUCH\"}", "'SCMP_ACT_NOSUCH' is not supported"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"defaultErrnoRet\":1}",
		 "takes no errnoRet"},
		{"{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":4096}",
		 "4096 is over 4095"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"x\"]}",
		 "'x' is unknown"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"y\"]}", "'y' is unknown"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"nosuch\"],"
		 "\"action\":\"SCMP_ACT_KILL\"}]}",
		 "syscalls[0]: system call 'nosuch'"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		 "\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":6,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]}]}",
		 "args[0].index: 6"},
		{"{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		 "\"action\":\"SCMP_ACT_KILL\",\"args\":[{\"index\":0,\"value\":1,\"op\":\"x\"}]}]}",
		 "op: 'x'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *doc = NULL;
		auto_filter struct filter f = {0};
		struct err e = {0};

		assert_ok(js_parse(rows[i].text, strlen(rows[i].text), 16, &doc, &e));
		assert_true(filter_compile(doc, &f, &e) < 0);
		assert_says(rows[i].says);
		assert_says("linux.seccomp");
	}
}

/* ---- files ---- */

static char top[] = "/tmp/berth-unit-XXXXXX";
static int top_fd = -1;

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(top))
		return -1;
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return top_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	close_fd(&top_fd);
	return fs_remove_tree(AT_FDCWD, top, &e);
}

static void assert_same(const struct filter *a, const struct filter *b)
{
	assert_int_equal(a->count, b->count);
	assert_int_equal(a->flags, b->flags);
	assert_memory_equal(a->insns, b->insns, a->count * sizeof(*a->insns));
}

static void a_filter_comes_back_from_its_file(void **state)
{
	auto_filter struct filter f = {0}, back = {0}, none = {0};
	struct err e = {0};

	(void)state;
	compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"]}",
		&f);
	assert_int_equal(f.flags, SECCOMP_FILTER_FLAG_LOG);
	assert_ok(filter_save(top_fd, "f", &f, &e));
	assert_ok(filter_load_file(top_fd, "f", &back, &e));
	assert_same(&f, &back);
	assert_ok(filter_load_file(top_fd, "absent", &none, &e));
	assert_null(none.insns);
}

static void a_compiled_filter_is_found_by_its_file_or_nothing_starts(void **state)
{
	auto_free char *path = xasprintf("%s/compiled", top);
	auto_json json_t *doc = json_pack("{s:s}", "defaultAction", "SCMP_ACT_KILL_PROCESS");
	auto_json json_t *name = json_pack("{s:s, s:s}", "defaultAction", "SCMP_ACT_ERRNO",
					   "compiled", path);
	auto_filter struct filter whole = {0}, found = {0}, none = {0};
	struct err e = {0};

	(void)state;
	assert_fails(filter_get(top_fd, name, &none, &e), ENOENT);
	assert_says("linux.seccomp.compiled");
	assert_ok(runtime_compile_seccomp(doc, path, &e));
	compile("{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\"}", &whole);
	assert_ok(filter_get(top_fd, name, &found, &e));
	assert_same(&whole, &found);
	assert_int_equal(truncate(path, 20), 0);
	assert_fails(filter_get(top_fd, name, &none, &e), EINVAL);
}

static void a_damaged_file_is_refused(void **state)
{
	static const size_t sizes[] = {0, 3, 15, 16, 17, 24};
	auto_filter struct filter f = {0};
	struct err e = {0};
	char *path = NULL;

	(void)state;
	compile("{\"defaultAction\":\"SCMP_ACT_KILL_PROCESS\"}", &f);
	for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
		auto_filter struct filter back = {0};

		assert_ok(filter_save(top_fd, "cut", &f, &e));
		assert_true(asprintf(&path, "%s/cut", top) > 0);
		assert_int_equal(truncate(path, (off_t)sizes[i]), 0);
		free(path);
		assert_fails(filter_load_file(top_fd, "cut", &back, &e), EINVAL);
		assert_says("cut is damaged");
	}
}

static void the_second_time_comes_from_the_cache(void **state)
{
	auto_json json_t *doc = json_pack("{s:s}", "defaultAction", "SCMP_ACT_ALLOW");
	auto_filter struct filter first = {0}, second = {0}, third = {0};
	auto_buf struct buf file = BUF_INIT(1 << 20);
	struct err e = {0};
	char name[32] = "";
	struct stat st;

	(void)state;
	assert_ok(filter_get(top_fd, doc, &first, &e));
	for (int i = 0; i < 64 && !*name; i++) {
		(void)snprintf(name, sizeof(name), ".filters/%d", i);
		if (faccessat(top_fd, name, F_OK, 0) < 0)
			name[0] = '\0';
	}
	assert_true(*name);
	assert_int_equal(fstatat(top_fd, name, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	/* A program that only the cache can know: its last instruction is another one. */
	assert_ok(fs_read(top_fd, name, &file, &e));
	file.data[file.size - 1] = 0x55;
	assert_ok(fs_replace(top_fd, name, file.data, file.size, 0600, FS_QUICK, &e));
	assert_ok(filter_get(top_fd, doc, &second, &e));
	assert_int_equal(second.insns[second.count - 1].k >> 24, 0x55);

	/* A damaged one is compiled again. */
	assert_ok(fs_replace(top_fd, name, file.data, file.size - 1, 0600, FS_QUICK, &e));
	assert_ok(filter_get(top_fd, doc, &third, &e));
	assert_same(&first, &third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
		cmocka_unit_test(the_default_profile_decides_as_dockers),
		cmocka_unit_test(capabilities_open_the_calls_that_need_them),
		cmocka_unit_test(rules_decide_by_arguments),
		cmocka_unit_test(two_compares_of_one_argument_are_alternatives),
		cmocka_unit_test(young_calls_get_the_default_where_it_is_no_errno),
#endif
		cmocka_unit_test(profiles_that_cannot_be_are_refused_by_name),
		cmocka_unit_test(a_filter_comes_back_from_its_file),
		cmocka_unit_test(a_compiled_filter_is_found_by_its_file_or_nothing_starts),
		cmocka_unit_test(a_damaged_file_is_refused),
		cmocka_unit_test(the_second_time_comes_from_the_cache),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
