/* tests/unit/runtime/process.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/copy.h"
#include "runtime/hooks.h"
#include "runtime/passwd.h"
#include "runtime/process.h"

static char top[] = "/tmp/berth-unit-XXXXXX";
static int top_fd = -1;

static int set_up(void **state)
{
	struct err e;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_mkdirs(top_fd, "one/dir", 0755, &e) < 0 || fs_mkdirs(top_fd, "two", 0755, &e) < 0 ||
	    fs_replace(top_fd, "two/program", "#!x", 3, 0755, FS_QUICK, &e) < 0 ||
	    fs_replace(top_fd, "one/plain", "x", 1, 0644, FS_QUICK, &e) < 0)
		return -1;
	return 0;
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	close_fd(&top_fd);
	return fs_remove_tree(AT_FDCWD, top, &e);
}

/* ---- programs ---- */

/* 'path' has %s where the folder is. */
static int find(const char *name, const char *path, struct arena *a, char **ret, struct err *e)
{
	char text[256], *items[] = {text, NULL};
	struct js_strings env = {items, path ? 1 : 0};
	char *p = text;

	for (; path && *path; path++) {
		if (path[0] == '%')
			p += snprintf(p, (size_t)(text + sizeof(text) - p), "%s", top);
		else
			*p++ = *path;
	}
	*p = '\0';
	return process_find_program(name, &env, a, ret, e);
}

static void programs_are_found_along_the_path(void **state)
{
	auto_arena struct arena a = {0};
	char *found = NULL, wanted[64];
	struct err e = {0};

	(void)state;
	(void)snprintf(wanted, sizeof(wanted), "%s/two/program", top);
	assert_ok(find("program", "PATH=/nosuch:%/one::relative:%/two", &a, &found, &e));
	assert_string_equal(found, wanted);
	assert_ok(find(wanted, "PATH=", &a, &found, &e));
	assert_string_equal(found, wanted);
	assert_ok(find("sh", NULL, &a, &found, &e)); /* no PATH at all: the usual one */
}

static void what_cannot_be_executed_is_told_in_the_words_of_runc(void **state)
{
	static const struct {
		const char *name, *path, *says;
		int errnum;
	} rows[] = {
		{"nosuch", "PATH=%/one:%/two",
		 "exec: \"nosuch\": executable file not found in $PATH", ENOENT},
		{"program", "PATH=", "exec: \"program\": executable file not found in $PATH",
		 ENOENT},
		{"dir", "PATH=%/one", "executable file not found", ENOENT},
		{"plain", "PATH=%/one", "exec: \"plain\": permission denied", EACCES},
		{"/nosuch/x", "PATH=/",
		 "exec: \"/nosuch/x\": stat /nosuch/x: no such file or directory", ENOENT},
		{"/dev/null/x", "PATH=/", "not a directory", ENOTDIR},
		{"/etc", "PATH=/", "exec: \"/etc\": is a directory", EISDIR},
		{"/etc/passwd", "PATH=/", "exec: \"/etc/passwd\": permission denied", EACCES},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_arena struct arena a = {0};
		struct err e = {0};
		char *found;

		assert_fails(find(rows[i].name, rows[i].path, &a, &found, &e), rows[i].errnum);
		assert_says(rows[i].says);
	}
}

/* ---- descriptors ---- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* In a child: what is closed here is closed for good. */
static void only_descriptors_that_are_named_stay_open(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		int keep[] = {40, -1, 20, 3, 20, 500}, fine;

		for (int fd = 3; fd < 60; fd++)
			(void)dup2(0, fd);
		process_keep_fds(keep, ARRAY_COUNT(keep), 2);
		fine = is_open(0) && is_open(3) && is_open(4) && is_open(20) && is_open(40);
		for (int fd = 5; fd < 64; fd++)
			fine &= is_open(fd) == (fd == 20 || fd == 40);
		_exit(!fine);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- passwd ---- */

static void the_home_is_that_of_the_first_line_with_the_number(void **state)
{
	static const char text[] = "root:x:0:0:root:/root:/bin/sh\n"
				   "broken\n"
				   ":::\n"
				   "a:x:7:7::/home/a:\n"
				   "b:x:7:7::/home/b:\n"
				   "c:x:07:7::/home/c\n"
				   "d:x:8:8:::\n"
				   "e:x:8:8::/home/e";
	static const struct {
		uint32_t uid;
		const char *home;
	} rows[] = {{0, "/root"}, {7, "/home/a"}, {8, "/home/e"}, {9, NULL}, {UINT32_MAX, NULL}};
	char home[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		bool found = passwd_home(text, rows[i].uid, home, sizeof(home));

		assert_int_equal(found, rows[i].home != NULL);
		if (found)
			assert_string_equal(home, rows[i].home);
	}
	assert_false(passwd_home("", 0, home, sizeof(home)));
	assert_false(passwd_home(text, 0, home, 5)); /* no room: not half of it */
}

/* ---- hooks ---- */

static char sh[] = "/bin/sh", dash_c[] = "-c", name[] = "hook";

static int run_hook(const char *script, const int64_t *timeout, struct err *e)
{
	auto_arena struct arena a = {0};
	char *args[] = {name, dash_c, arena_strdup(&a, script), NULL}, *env[] = {NULL};
	int64_t seconds = timeout ? *timeout : 0;
	struct config_hook hook = {.path = sh,
				   .args = {args, 3},
				   .env = {env, 0},
				   .timeout = timeout ? &seconds : NULL};
	const struct js_list list = {&hook, 1};
	auto_json json_t *state = json_pack("{s:s,s:i}", "id", "x", "pid", 7);

	return hooks_run(&list, "prestart", state, e);
}

static void a_hook_reads_the_state_and_its_failure_is_told(void **state)
{
	struct err e = {0};

	(void)state;
	assert_ok(run_hook("read x; test \"$x\" = '{\"id\":\"x\",\"pid\":7}'", NULL, &e));
	assert_ok(run_hook("test $$ -gt 1; test ! -e /proc/self/fd/3", NULL, &e));
	assert_fails(run_hook("echo to stdout; echo the reason >&2; exit 9", NULL, &e), ECANCELED);
	assert_says("prestart hook 0: /bin/sh: exit status 9: to stdout the reason");
	assert_fails(run_hook("kill -9 $$", NULL, &e), ECANCELED);
	assert_says("exit status 137");
}

static void a_missing_hook_is_named(void **state)
{
	static char path[] = "/nosuch/hook";
	struct config_hook hook = {.path = path};
	const struct js_list list = {&hook, 1}, none = {NULL, 0};
	auto_json json_t *doc = json_object();
	struct err e = {0};

	(void)state;
	assert_fails(hooks_run(&list, "poststop", doc, &e), ENOENT);
	assert_says("poststop hook 0: start /nosuch/hook");
	assert_ok(hooks_run(&none, "poststop", NULL, &e));
}

/* ---- copies ---- */

static void a_tree_is_copied_with_modes_times_and_links(void **state)
{
	auto_close int from = -1, to = -1;
	struct stat a, b;
	char text[16] = "";
	struct err e = {0};

	(void)state;
	assert_ok(fs_open_dir(top_fd, "from", 0755, &from, &e));
	assert_ok(fs_open_dir(top_fd, "to", 0755, &to, &e));
	assert_ok(fs_mkdirs(from, "d/e", 0700, &e));
	assert_ok(fs_replace(from, "d/file", "text", 4, 0640, FS_QUICK, &e));
	assert_int_equal(symlinkat("../../outside", from, "d/e/link"), 0);
	assert_int_equal(mkfifoat(from, "fifo", 0600), 0);
	assert_int_equal(fchmodat(from, "d", 0711, 0), 0);
	assert_ok(copy_tree(from, to, &e));
	assert_int_equal(fstatat(from, "d/file", &a, 0), 0);
	assert_int_equal(fstatat(to, "d/file", &b, 0), 0);
	assert_int_equal(b.st_mode, a.st_mode);
	assert_int_equal(b.st_size, 4);
	assert_int_equal(b.st_mtim.tv_sec, a.st_mtim.tv_sec);
	assert_int_equal(b.st_mtim.tv_nsec, a.st_mtim.tv_nsec);
	assert_int_equal(fstatat(to, "d", &b, 0), 0);
	assert_int_equal(b.st_mode & 07777, 0711);
	assert_int_equal(readlinkat(to, "d/e/link", text, sizeof(text)), 13);
	assert_int_equal(fstatat(to, "fifo", &b, 0), 0);
	assert_true(S_ISFIFO(b.st_mode));
	assert_fails(copy_tree(from, to, &e), EEXIST); /* into what is empty only */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(programs_are_found_along_the_path),
		cmocka_unit_test(what_cannot_be_executed_is_told_in_the_words_of_runc),
		cmocka_unit_test(only_descriptors_that_are_named_stay_open),
		cmocka_unit_test(the_home_is_that_of_the_first_line_with_the_number),
		cmocka_unit_test(a_hook_reads_the_state_and_its_failure_is_told),
		cmocka_unit_test(a_missing_hook_is_named),
		cmocka_unit_test(a_tree_is_copied_with_modes_times_and_links),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
