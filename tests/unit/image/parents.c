/* tests/unit/image/parents.c - what a layer says only together with those below it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/parents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "tests/unit/unit.h"

static char work[] = "/tmp/berth-parents-XXXXXX";
static int work_fd = -1;

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(work))
		return -1;
	work_fd = open(work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return work_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	(void)close(work_fd);
	work_fd = -1;
	(void)fs_remove_tree(AT_FDCWD, work, &e);
	memset(work + strlen(work) - 6, 'X', 6);
	return 0;
}

static void make(const char *path, mode_t mode)
{
	assert_int_equal(mkdirat(work_fd, path, 0755), 0);
	assert_int_equal(fchmodat(work_fd, path, mode, 0), 0);
}

static void write_names(const char *file, const char *names, size_t size)
{
	struct err e;

	assert_int_equal(fs_replace(work_fd, file, names, size, 0600, FS_QUICK, &e), 0);
}

static int fill(struct err *e)
{
	struct parents *p = parents_new();
	auto_close int out_fd = -1;
	int r;

	make("out", 0755);
	out_fd = openat(work_fd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(parents_add(p, work_fd, "low", "low.implied", e), 0);
	assert_int_equal(parents_add(p, work_fd, "high", "high.implied", e), 0);
	r = parents_make(p, out_fd, e);
	parents_free(p);
	return r;
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	return fstatat(work_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_mode & 07777;
}

static void what_the_lower_layer_says_holds(void **state)
{
	static const char names[] = "\0a\0a/b\0new";
	struct err e = {0};

	(void)state;
	make("low", 0711);
	make("low/a", 0700);
	make("low/a/b", 01777);
	make("low/other", 0700);
	make("high", 0755);
	make("high/a", 0755);
	make("high/a/b", 0755);
	make("high/new", 0755);
	write_names("high.implied", names, sizeof(names));
	assert_int_equal(fill(&e), 0);
	assert_int_equal(mode_of("out"), 0711);
	assert_int_equal(mode_of("out/a"), 0700);
	assert_int_equal(mode_of("out/a/b"), 01777);
	assert_int_equal(mode_of("out/new"), 0);   /* it is what it is */
	assert_int_equal(mode_of("out/other"), 0); /* overlay has it */
}

static void what_a_higher_layer_covers_is_let_be(void **state)
{
	static const char names[] = "\0a";
	struct err e = {0};

	(void)state;
	make("low", 0755);
	make("low/a", 0700);
	make("high", 0755);
	assert_int_equal(symlinkat("/etc", work_fd, "high/a"), 0);
	write_names("high.implied", names, sizeof(names));
	assert_int_equal(fill(&e), 0);
	assert_int_equal(mode_of("out/a"), 0);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const bad[] = {"..",   "a/..", "a/../..", "/",  "/a",
					  "a//b", "a/",   ".",       "a/."};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		struct err e = {0};

		make("low", 0755);
		make("low/a", 0700);
		make("high", 0755);
		make("high/a", 0755);
		write_names("high.implied", bad[i], strlen(bad[i]) + 1);
		assert_int_equal(fill(&e), -EBADMSG);
		assert_int_equal(mode_of("out/a"), 0);
		for (size_t n = 0; n < 3; n++)
			assert_int_equal(fs_remove_tree(work_fd,
							(const char *[]){"low", "high", "out"}[n],
							&e),
					 0);
	}
}

static ino_t inode_of(const char *path)
{
	struct stat st;

	return fstatat(work_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0 : st.st_ino;
}

static void make_file(const char *path)
{
	assert_int_equal(fs_replace(work_fd, path, "x", 1, 0600, FS_QUICK, &(struct err){0}), 0);
}

static void a_link_is_one_more_name_of_a_lower_file(void **state)
{
	static const char names[] = "/d/b\0a\0/c\0d/s\0";
	struct err e = {0};

	(void)state;
	make("low", 0755);
	make("low/d", 0711);
	make_file("low/a");
	assert_int_equal(symlinkat("/etc", work_fd, "low/d/s"), 0);
	make("high", 0755);
	make("high/d", 0700);
	write_names("high.implied", names, sizeof(names) - 1);
	assert_int_equal(fill(&e), 0);
	assert_true(inode_of("low/a") && inode_of("out/d/b") == inode_of("low/a"));
	assert_true(inode_of("low/d/s") && inode_of("out/c") == inode_of("low/d/s"));
	assert_int_equal(mode_of("out/d"), 0700);
}

static void links_that_lead_elsewhere_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{"..", "a"},   {"/x", "a"},     {"", "a"},  {"d/../x", "a"},
		{"x", "../a"}, {"x", "/a"},     {"x", ""},  {"x", "s/work"},
		{"x", "d"},    {"x", "absent"}, {"x", "."},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		char names[32];
		int len = snprintf(names, sizeof(names), "/%s%c%s", bad[i][0], 0, bad[i][1]);
		struct err e = {0};

		make("low", 0755);
		make("low/d", 0700);
		make_file("low/a");
		make_file("work");
		assert_int_equal(symlinkat("..", work_fd, "low/s"), 0);
		make("high", 0755);
		write_names("high.implied", names, (size_t)len + 1);
		assert_int_equal(fill(&e), -EBADMSG);
		for (size_t n = 0; n < 3; n++)
			assert_int_equal(fs_remove_tree(work_fd,
							(const char *[]){"low", "high", "out"}[n],
							&e),
					 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_the_lower_layer_says_holds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_higher_layer_covers_is_let_be, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(names_that_lead_elsewhere_are_refused, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_link_is_one_more_name_of_a_lower_file, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(links_that_lead_elsewhere_are_refused, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
