/* tests/unit/base/fs.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fs.h"

static int dir_fd = -1;
static char dir_path[] = "/tmp/berth-unit-XXXXXX";

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir_path))
		return -1;
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	close_fd(&dir_fd);
	return fs_remove_tree(AT_FDCWD, dir_path, &e);
}

static void a_file_is_replaced_whole(void **state)
{
	auto_buf struct buf b = BUF_INIT(100);
	struct err e = {0};
	struct stat st;

	(void)state;
	assert_ok(fs_replace(dir_fd, "f", "one", 3, 0600, FS_DURABLE, &e));
	assert_ok(fs_replace(dir_fd, "f", "three", 5, 0644, FS_QUICK, &e));
	assert_ok(fs_read(dir_fd, "f", &b, &e));
	assert_string_equal(buf_str(&b), "three");
	assert_int_equal(fstatat(dir_fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
}

static void a_file_is_written_in_place(void **state)
{
	auto_buf struct buf b = BUF_INIT(100);
	struct stat before, after;
	struct err e = {0};

	(void)state;
	assert_ok(fs_write(dir_fd, "place", "longer", 6, 0600, &e));
	assert_int_equal(fstatat(dir_fd, "place", &before, 0), 0);
	assert_ok(fs_write(dir_fd, "place", "short", 5, 0644, &e));
	assert_int_equal(fstatat(dir_fd, "place", &after, 0), 0);
	assert_ok(fs_read(dir_fd, "place", &b, &e));
	assert_string_equal(buf_str(&b), "short");
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(after.st_mode & 07777, 0644);
	assert_int_equal(symlinkat("place", dir_fd, "link"), 0);
	assert_fails(fs_write(dir_fd, "link", "x", 1, 0600, &e), ELOOP);
}

static void a_failed_replace_leaves_no_temporary_file(void **state)
{
	struct err e = {0};

	(void)state;
	assert_ok(fs_mkdirs(dir_fd, "taken/x", 0755, &e));
	assert_fails(fs_replace(dir_fd, "taken", "x", 1, 0600, FS_QUICK, &e), EISDIR);
	assert_says("rename to taken");
	assert_ok(fs_remove_tree(dir_fd, "taken", &e));
	assert_int_equal(faccessat(dir_fd, "taken", F_OK, 0), -1);
}

static size_t count_names(void)
{
	auto_closedir DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY));
	size_t count = 0;

	while (readdir(dir))
		count++;
	return count;
}

static void what_is_prepared_shows_when_it_is_put(void **state)
{
	struct fs_prepared one = FS_NOT_PREPARED, two = FS_NOT_PREPARED;
	auto_buf struct buf b = BUF_INIT(100);
	size_t before = count_names();
	struct err e = {0};

	(void)state;
	assert_ok(fs_prepare(dir_fd, "prepared", "one", 3, 0600, &one, &e));
	assert_ok(fs_prepare(dir_fd, "prepared", "two", 3, 0600, &two, &e));
	assert_int_equal(faccessat(dir_fd, "prepared", F_OK, 0), -1);
	assert_ok(fs_put(dir_fd, "prepared", &one, &e));
	fs_abandon(dir_fd, &one);
	fs_abandon(dir_fd, &two);
	assert_ok(fs_read(dir_fd, "prepared", &b, &e));
	assert_string_equal(buf_str(&b), "one");
	assert_int_equal(count_names(), before + 1);

	assert_ok(fs_mkdirs(dir_fd, "full/x", 0755, &e));
	assert_ok(fs_prepare(dir_fd, "full", "x", 1, 0600, &two, &e));
	assert_fails(fs_put(dir_fd, "full", &two, &e), EISDIR);
	fs_abandon(dir_fd, &two);
	assert_ok(fs_remove_tree(dir_fd, "full", &e));
	assert_int_equal(count_names(), before + 1);
}

static void reading_stops_at_the_limit(void **state)
{
	auto_buf struct buf exact = BUF_INIT(4), small = BUF_INIT(3);
	struct err e = {0};

	(void)state;
	assert_ok(fs_replace(dir_fd, "four", "1234", 4, 0600, FS_QUICK, &e));
	assert_ok(fs_read(dir_fd, "four", &exact, &e));
	assert_int_equal(exact.size, 4);
	assert_fails(fs_read(dir_fd, "four", &small, &e), EFBIG);
	assert_says("four: more than 3 bytes");
}

static void only_regular_files_are_read(void **state)
{
	auto_buf struct buf b = BUF_INIT(100);
	struct err e = {0};

	(void)state;
	assert_int_equal(mkfifoat(dir_fd, "fifo", 0600), 0);
	assert_fails(fs_read(dir_fd, "fifo", &b, &e), EINVAL);
	assert_fails(fs_read(dir_fd, "absent", &b, &e), ENOENT);
}

static void removing_a_tree_does_not_follow_links(void **state)
{
	struct err e = {0};

	(void)state;
	assert_ok(fs_mkdirs(dir_fd, "keep", 0755, &e));
	assert_ok(fs_replace(dir_fd, "keep/file", "x", 1, 0600, FS_QUICK, &e));
	assert_ok(fs_mkdirs(dir_fd, "tree/a/b", 0755, &e));
	assert_int_equal(symlinkat("../../keep", dir_fd, "tree/a/link"), 0);
	assert_ok(fs_remove_tree(dir_fd, "tree", &e));
	assert_int_equal(faccessat(dir_fd, "tree", F_OK, 0), -1);
	assert_int_equal(faccessat(dir_fd, "keep/file", F_OK, 0), 0);
	assert_ok(fs_remove_tree(dir_fd, "tree", &e));
}

static void descriptors_travel_over_a_socket(void **state)
{
	int pair[2], fds[2], got[1];
	char data[8];
	size_t count;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	fds[0] = dir_fd;
	fds[1] = pair[0];
	assert_int_equal(fs_send(pair[0], "hello", 5, fds, 1), 0);
	assert_int_equal(fs_recv(pair[1], data, sizeof(data), got, 1, &count, 0), 5);
	assert_int_equal(count, 1);
	assert_int_equal(fcntl(got[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close_fd(&got[0]);

	/* More descriptors or more bytes than asked for: refused, and none leaks. */
	assert_int_equal(fs_send(pair[0], "x", 1, fds, 2), 0);
	assert_int_equal(fs_recv(pair[1], data, sizeof(data), got, 1, &count, 0), -EMSGSIZE);
	assert_int_equal(fs_send(pair[0], "123456789", 9, fds, 1), 0);
	assert_int_equal(fs_recv(pair[1], data, sizeof(data), got, 1, &count, 0), -EMSGSIZE);
	close_fd(&pair[0]);
	assert_int_equal(fs_recv(pair[1], data, sizeof(data), got, 1, &count, 0), 0);
	close_fd(&pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_replaced_whole),
		cmocka_unit_test(a_file_is_written_in_place),
		cmocka_unit_test(a_failed_replace_leaves_no_temporary_file),
		cmocka_unit_test(what_is_prepared_shows_when_it_is_put),
		cmocka_unit_test(reading_stops_at_the_limit),
		cmocka_unit_test(only_regular_files_are_read),
		cmocka_unit_test(removing_a_tree_does_not_follow_links),
		cmocka_unit_test(descriptors_travel_over_a_socket),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
