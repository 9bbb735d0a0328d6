/* tests/unit/runtime/inroot.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every case runs twice: by openat2(2), and by the walk that stands in for it.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/inroot.h"

static char top[] = "/tmp/berth-unit-XXXXXX";
static int top_fd = -1, root_fd = -1;
static bool without_openat2;

int __real_fs_openat2(int dir_fd, const char *path, const struct open_how *how);
int __wrap_fs_openat2(int dir_fd, const char *path, const struct open_how *how);

int __wrap_fs_openat2(int dir_fd, const char *path, const struct open_how *how)
{
	return without_openat2 ? -ENOSYS : __real_fs_openat2(dir_fd, path, how);
}

static int set_up(void **state)
{
	struct err e;

	(void)state;
	if (!mkdtemp(top))
		return -1;
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_mkdirs(top_fd, "outside", 0755, &e) < 0 ||
	    fs_mkdirs(top_fd, "root/a/b", 0755, &e) < 0 ||
	    fs_mkdirs(top_fd, "root/outside", 0755, &e) < 0 ||
	    fs_replace(top_fd, "root/a/file", "x", 1, 0600, FS_QUICK, &e) < 0)
		return -1;
	root_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close_fd(&root_fd);
	root_fd = openat(top_fd, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return symlinkat("/a", root_fd, "absolute") | symlinkat("a/b", root_fd, "relative") |
	       symlinkat("../../../../..", root_fd, "up") | symlinkat("loop", root_fd, "loop") |
	       symlinkat("../../../outside", root_fd, "a/b/escape") |
	       symlinkat("/a/missing/deep", root_fd, "dangling") |
	       symlinkat("/proc/self/cwd", root_fd, "magic") |
	       symlinkat("a/file", root_fd, "to-file");
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	close_fd(&root_fd);
	close_fd(&top_fd);
	return fs_remove_tree(AT_FDCWD, top, &e);
}

/* Do both name the same thing below the root? */
static void assert_is(int fd, const char *path)
{
	struct stat a, b;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstatat(root_fd, *path ? path : ".", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_dev, b.st_dev);
	close_fd(&fd);
}

static void paths_lead_inside(void **state)
{
	static const struct {
		const char *path, *where;
	} rows[] = {
		{"a/b", "a/b"},
		{"/a/b", "a/b"},
		{"//a//b//", "a/b"},
		{"./a/./b", "a/b"},
		{"a/b/..", "a"},
		{"..", ""},
		{"../../..", ""},
		{"/", ""},
		{"absolute/b", "a/b"},
		{"relative", "a/b"},
		{"up/a", "a"},
		{"a/b/escape", "outside"},
		{"up/up/outside", "outside"},
		{"absolute/../outside", "outside"},
		{"relative/../file", "a/file"},
	};

	(void)state;
	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			without_openat2 = k;
			assert_is(inroot_open(root_fd, rows[i].path, O_PATH, INROOT_FOLLOW),
				  rows[i].where);
		}
}

static void what_is_not_there_or_loops_is_an_error(void **state)
{
	static const struct {
		const char *path;
		enum inroot_mode mode;
		int errnum;
	} rows[] = {
		{"missing", INROOT_FOLLOW, ENOENT},
		{"a/file/x", INROOT_FOLLOW, ENOTDIR},
		{"loop", INROOT_FOLLOW, ELOOP},
		{"dangling", INROOT_FOLLOW, ENOENT},
		{"absolute", INROOT_NO_SYMLINKS, ELOOP},
		{"relative/x", INROOT_NO_SYMLINKS, ELOOP},
		{"a/b/escape", INROOT_NO_SYMLINKS, ELOOP},
		{"magic", INROOT_FOLLOW, ENOENT},
	};

	(void)state;
	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			without_openat2 = k;
			assert_int_equal(inroot_open(root_fd, rows[i].path, O_PATH, rows[i].mode),
					 -rows[i].errnum);
		}
}

static void files_are_opened_as_asked(void **state)
{
	char c;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		auto_close int fd = -1, dir = -1;

		without_openat2 = k;
		fd = inroot_open(root_fd, "to-file", O_RDONLY, INROOT_FOLLOW);
		assert_true(fd >= 0);
		assert_int_equal(read(fd, &c, 1), 1);
		assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		dir = inroot_open(root_fd, "a", O_RDONLY | O_DIRECTORY, INROOT_FOLLOW);
		assert_true(dir >= 0);
		assert_int_equal(
			inroot_open(root_fd, "a/file", O_RDONLY | O_DIRECTORY, INROOT_FOLLOW),
			-ENOTDIR);
	}
}

static void directories_are_made_inside(void **state)
{
	static const struct {
		const char *path, *where;
	} rows[] = {
		{"new/x/y", "new/x/y"},
		{"a/b/escape/made", "outside/made"},
		{"dangling/z", "a/missing/deep/z"},
		{"up/new2", "new2"},
		{"new/x/../w", "new/w"},
		{"a/b", "a/b"},
	};

	(void)state;
	for (unsigned k = 0; k < 2; k++)
		for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
			without_openat2 = k;
			assert_is(inroot_mkdirs(root_fd, rows[i].path, INROOT_FOLLOW),
				  rows[i].where);
		}
	assert_int_equal(inroot_mkdirs(root_fd, "a/file/x", INROOT_FOLLOW), -ENOTDIR);
	assert_int_equal(inroot_mkdirs(root_fd, "absolute/n", INROOT_NO_SYMLINKS), -ELOOP);
	assert_int_equal(faccessat(top_fd, "outside/made", F_OK, 0), -1);
}

static void files_are_made_inside(void **state)
{
	const char *name;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		without_openat2 = k;
		assert_is(inroot_mkfile(root_fd, "f/g/h", INROOT_FOLLOW), "f/g/h");
		assert_is(inroot_mkfile(root_fd, "a/b/escape/f", INROOT_FOLLOW), "outside/f");
		assert_is(inroot_mkfile(root_fd, "a", INROOT_FOLLOW), "a"); /* there is something */
		assert_int_equal(inroot_mkfile(root_fd, "loop/x", INROOT_FOLLOW), -ELOOP);
		assert_is(inroot_parent(root_fd, "/p/q/r", INROOT_FOLLOW, &name), "p/q");
		assert_string_equal(name, "r");
		assert_is(inroot_parent(root_fd, "r", INROOT_FOLLOW, &name), "");
		assert_int_equal(inroot_parent(root_fd, "a/..", INROOT_FOLLOW, &name), -EINVAL);
		assert_int_equal(inroot_parent(root_fd, "a/", INROOT_FOLLOW, &name), -EINVAL);
	}
	assert_int_equal(faccessat(top_fd, "outside/f", F_OK, 0), -1);
}

static void names_that_are_too_long_are_refused(void **state)
{
	static char path[3 * 4096];

	(void)state;
	memset(path, 'x', 300);
	for (unsigned k = 0; k < 2; k++) {
		without_openat2 = k;
		assert_int_equal(inroot_mkdirs(root_fd, path, INROOT_FOLLOW), -ENAMETOOLONG);
	}
	for (size_t i = 0; i < sizeof(path) - 1; i++)
		path[i] = i % 2 ? 'x' : '/';
	for (unsigned k = 0; k < 2; k++) {
		without_openat2 = k;
		assert_int_equal(inroot_mkdirs(root_fd, path, INROOT_FOLLOW), -ENAMETOOLONG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_lead_inside),
		cmocka_unit_test(what_is_not_there_or_loops_is_an_error),
		cmocka_unit_test(files_are_opened_as_asked),
		cmocka_unit_test(directories_are_made_inside),
		cmocka_unit_test(files_are_made_inside),
		cmocka_unit_test(names_that_are_too_long_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
