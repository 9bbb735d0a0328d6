/* tests/unit/image/tree.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each case is a list of tar members; what they make is told by a list of facts
 * about paths.  Owners are ours, so that no root is needed.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"
#include "image/tree.h"
#include "tests/unit/image/tarball.h"

static char dir_path[] = "/tmp/berth-unit-XXXXXX";
static int root_fd = -1;

/* dir_path/root is the tree; dir_path/outside is what must not be reached. */
static int make_dir(void **state)
{
	struct err e = {0};
	int fd;

	(void)state;
	memcpy(dir_path + sizeof(dir_path) - 7, "XXXXXX", 6);
	if (!mkdtemp(dir_path))
		return -1;
	fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fs_replace(fd, "outside", "safe", 4, 0600, FS_QUICK, &e) < 0 ||
	    fs_open_dir(fd, "root", 0755, &root_fd, &e) < 0)
		return -1;
	close_fd(&fd);
	return 0;
}

static int drop_dir(void **state)
{
	auto_buf struct buf b = BUF_INIT(100);
	auto_free char *outside = xasprintf("%s/outside", dir_path);
	struct err e = {0};

	(void)state;
	close_fd(&root_fd);
	if (fs_read(AT_FDCWD, outside, &b, &e) < 0 || !str_eq(buf_str(&b), "safe"))
		return -1;
	return fs_remove_tree(AT_FDCWD, dir_path, &e);
}

static int unpack(const struct member *members, struct err *e)
{
	struct tarball ball = TARBALL(BLOCK);
	const struct tar_entry *entry;
	struct tree *tree = NULL;
	struct tar *tar;
	const void *data;
	int64_t offset;
	size_t size;
	int r;

	for (; members->name; members++)
		add_member(&ball.bytes, members);
	add_end(&ball.bytes);
	assert_int_equal(tree_new(root_fd, &tree, e), 0);
	tar = tar_new(read_tarball, &ball);
	while ((r = tar_next(tar, &entry, e)) == 0 && (r = tree_add(tree, entry, e)) == 0) {
		if (entry->kind != TAR_FILE)
			continue;
		while (tar_data(tar, &data, &size, &offset, e) == 0)
			assert_int_equal(tree_write(tree, data, size, offset, e), 0);
		assert_int_equal(tree_end_file(tree, entry, e), 0);
	}
	if (r == TAR_END)
		r = tree_finish(tree, e);
	tar_free(tar);
	tree_free(tree);
	buf_done(&ball.bytes);
	return r;
}

/* One word about a path: "file:DATA", "dir", "opaque", "link:TARGET", "whiteout", "fifo", "none". */
static void describe(const char *path, char ret[100])
{
	auto_buf struct buf b = BUF_INIT(80);
	struct err e = {0};
	struct stat st;
	char value;

	if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		(void)snprintf(ret, 100, "none");
	} else if (S_ISREG(st.st_mode)) {
		assert_ok(fs_read(root_fd, path, &b, &e));
		(void)snprintf(ret, 100, "file:%s", buf_str(&b));
	} else if (S_ISDIR(st.st_mode)) {
		auto_close int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		(void)snprintf(ret, 100, "%s",
			       fgetxattr(fd, "user.overlay.opaque", &value, 1) == 1 ||
					       fgetxattr(fd, "trusted.overlay.opaque", &value, 1) ==
						       1
				       ? "opaque"
				       : "dir");
	} else if (S_ISLNK(st.st_mode)) {
		char target[80] = {0};

		assert_true(readlinkat(root_fd, path, target, sizeof(target) - 1) > 0);
		(void)snprintf(ret, 100, "link:%s", target);
	} else if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
		(void)snprintf(ret, 100, "whiteout");
	} else {
		(void)snprintf(ret, 100, S_ISFIFO(st.st_mode) ? "fifo" : "node");
	}
}

struct fact {
	const char *path, *is;
};

static const struct {
	struct member members[7];
	struct fact facts[5];
} made[] = {
	{{{.name = "a", .data = "1"},
	  {.name = "d/b", .data = "2"},
	  {.name = "s", .type = '2', .link = "/x"},
	  {.name = "p", .type = '6'},
	  {.name = "e/", .type = '5'}},
	 {{"a", "file:1"}, {"d/b", "file:2"}, {"s", "link:/x"}, {"p", "fifo"}, {"e", "dir"}}},
	/* Again: the last one counts, but a directory keeps what it has. */
	{{{.name = "a", .data = "1"}, {.name = "a", .data = "2"}}, {{"a", "file:2"}}},
	{{{.name = "d/a", .data = "1"}, {.name = "d/", .type = '5'}}, {{"d/a", "file:1"}}},
	{{{.name = "d/e/a", .data = "1"}, {.name = "d", .data = "2"}}, {{"d", "file:2"}}},
	{{{.name = "d/e/a", .data = "1"},
	  {.name = "d", .data = "2"},
	  {.name = "d/e/b", .data = "3", .type = '5'}},
	 {{NULL, NULL}}},
	{{{.name = "d", .data = "1"}, {.name = "d/", .type = '5'}, {.name = "d/a", .data = "2"}},
	 {{"d/a", "file:2"}}},
	{{{.name = "s", .type = '2', .link = "../outside"}, {.name = "s", .data = "1"}},
	 {{"s", "file:1"}}},
	{{{.name = "s", .type = '2', .link = "x"}, {.name = "s", .type = '2', .link = "y"}},
	 {{"s", "link:y"}}},
	{{{.name = "s", .type = '2', .link = ".."},
	  {.name = "s/", .type = '5'},
	  {.name = "s/outside", .data = "1"}},
	 {{"s/outside", "file:1"}}},
	{{{.name = "d/x", .data = "1"}, {.name = "d", .type = '2', .link = ".."}},
	 {{"d", "link:.."}}},
	{{{.name = "d/x", .data = "1"}, {.name = "d", .type = '6'}}, {{"d", "fifo"}}},
	/* Hard links. */
	{{{.name = "a", .data = "1"}, {.name = "d/h", .type = '1', .link = "a"}},
	 {{"d/h", "file:1"}}},
	{{{.name = "a", .data = "1"},
	  {.name = "b", .data = "2"},
	  {.name = "b", .type = '1', .link = "a"}},
	 {{"b", "file:1"}}},
	{{{.name = "a", .data = "1"}, {.name = "a", .type = '1', .link = "a"}}, {{"a", "file:1"}}},
	{{{.name = "s", .type = '2', .link = "../outside"},
	  {.name = "h", .type = '1', .link = "s"}},
	 {{"h", "link:../outside"}}},
	{{{.name = "a", .data = "1"},
	  {.name = "d/x", .data = "2"},
	  {.name = "d", .type = '1', .link = "a"}},
	 {{"d", "file:1"}}},
	/* Whiteouts hide lower layers only, wherever they stand. */
	{{{.name = ".wh.a"}, {.name = "d/.wh.b"}},
	 {{"a", "whiteout"}, {"d/b", "whiteout"}, {"d", "dir"}}},
	{{{.name = ".wh.a"}, {.name = ".wh.a"}}, {{"a", "whiteout"}}},
	{{{.name = "a", .data = "1"}, {.name = ".wh.a"}}, {{"a", "file:1"}}},
	{{{.name = ".wh.a"}, {.name = "a", .data = "1"}}, {{"a", "file:1"}}},
	{{{.name = ".wh.s"}, {.name = "s", .type = '2', .link = "x"}}, {{"s", "link:x"}}},
	{{{.name = ".wh.p"}, {.name = "p", .type = '6'}}, {{"p", "fifo"}}},
	{{{.name = "a", .data = "1"}, {.name = ".wh.h"}, {.name = "h", .type = '1', .link = "a"}},
	 {{"h", "file:1"}}},
	{{{.name = ".wh.d"}, {.name = "d/", .type = '5'}, {.name = "d/a", .data = "1"}},
	 {{"d", "opaque"}, {"d/a", "file:1"}}},
	{{{.name = "d/", .type = '5'}, {.name = ".wh.d"}, {.name = "d/a", .data = "1"}},
	 {{"d", "opaque"}, {"d/a", "file:1"}}},
	{{{.name = ".wh.d"}, {.name = "d/e/a", .data = "1"}},
	 {{"d", "opaque"}, {"d/e", "dir"}, {"d/e/a", "file:1"}}},
	{{{.name = "d/a", .data = "1"}, {.name = ".wh.d"}, {.name = "d/", .type = '5'}},
	 {{"d", "opaque"}}},
	/* Opaque directories, before and behind what is in them. */
	{{{.name = "d/.wh..wh..opq"}, {.name = "d/a", .data = "1"}},
	 {{"d", "opaque"}, {"d/a", "file:1"}}},
	{{{.name = "d/a", .data = "1"}, {.name = "d/.wh..wh..opq"}},
	 {{"d", "opaque"}, {"d/a", "file:1"}}},
	{{{.name = "d/.wh..wh..opq"}, {.name = "d/", .type = '5'}}, {{"d", "opaque"}}},
	{{{.name = "d/e/.wh..wh..opq"}}, {{"d", "dir"}, {"d/e", "opaque"}}},
	{{{.name = ".wh.d"}, {.name = "d/.wh..wh..opq"}}, {{"d", "opaque"}}},
	{{{.name = ".wh..wh..opq"}, {.name = "a", .data = "1"}},
	 {{".", "opaque"}, {"a", "file:1"}}},

	/* Hard links to what may be in lower layers. */
	{{{.name = "h", .type = '1', .link = "absent"}}, {{"h", "whiteout"}}},
	{{{.name = "s", .type = '2', .link = ".."},
	  {.name = "h", .type = '1', .link = "s/outside"}},
	 {{"h", "whiteout"}}},
	{{{.name = "h", .data = "1"},
	  {.name = "h", .type = '1', .link = "absent"},
	  {.name = "g", .type = '1', .link = "h"}},
	 {{"h", "whiteout"}, {"g", "whiteout"}}},
	{{{.name = "h", .type = '1', .link = "absent"}, {.name = "h", .data = "1"}},
	 {{"h", "file:1"}}},
};

static void entries_become_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(made); i++) {
		struct err e = {0};
		int r;

		assert_int_equal(make_dir(NULL), 0);
		r = unpack(made[i].members, &e);
		if (made[i].facts[0].path && r < 0)
			fail_msg("case %zu: %s", i, e.msg);
		if (!made[i].facts[0].path && r >= 0)
			fail_msg("case %zu was not refused", i);
		for (size_t f = 0; f < 5 && made[i].facts[f].path; f++) {
			char is[100];

			describe(made[i].facts[f].path, is);
			if (!str_eq(is, made[i].facts[f].is))
				fail_msg("case %zu: %s is %s instead of %s", i,
					 made[i].facts[f].path, is, made[i].facts[f].is);
		}
		assert_int_equal(drop_dir(NULL), 0);
	}
}

static void what_leaves_the_root_is_refused(void **state)
{
	static const struct {
		struct member members[4];
		enum image_reason reason;
		const char *says;
	} cases[] = {
		{{{.name = "s", .type = '2', .link = ".."}, {.name = "s/outside", .data = "evil"}},
		 IMAGE_REASON_UNSAFE,
		 "path through a symbolic link: 's'"},
		{{{.name = "s", .type = '2', .link = "/"}, {.name = "s/tmp/evil", .data = "evil"}},
		 IMAGE_REASON_UNSAFE,
		 "through a symbolic link"},
		{{{.name = "s", .type = '2', .link = "."}, {.name = "s/x", .data = "evil"}},
		 IMAGE_REASON_UNSAFE,
		 "through a symbolic link"},
		{{{.name = "d/s", .type = '2', .link = "../.."}, {.name = "d/s/.wh.outside"}},
		 IMAGE_REASON_UNSAFE,
		 "through a symbolic link"},
		{{{.name = "s", .type = '2', .link = ".."}, {.name = "s/.wh..wh..opq"}},
		 IMAGE_REASON_UNSAFE,
		 "through a symbolic link"},
		{{{.name = "h", .type = '1', .link = "absent"}, {.name = "h/x"}},
		 IMAGE_REASON_MALFORMED,
		 "path through a file: 'h'"},
		{{{.name = "d/", .type = '5'}, {.name = "h", .type = '1', .link = "d"}},
		 IMAGE_REASON_MALFORMED,
		 "does not have"},
		{{{.name = ".wh.w"}, {.name = "h", .type = '1', .link = "w"}},
		 IMAGE_REASON_MALFORMED,
		 "does not have"},
		{{{.name = "d/a"}, {.name = "d", .type = '1', .link = "d/a"}},
		 IMAGE_REASON_MALFORMED,
		 "does not have"},
		{{{.name = "f"}, {.name = "f/x"}},
		 IMAGE_REASON_MALFORMED,
		 "path through a file: 'f'"},
		{{{.name = "p", .type = '6'}, {.name = "p/x"}},
		 IMAGE_REASON_MALFORMED,
		 "path through a file"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct err e = {0};
		int r;

		assert_int_equal(make_dir(NULL), 0);
		r = unpack(cases[i].members, &e);
		if (r >= 0)
			fail_msg("case %zu was not refused", i);
		assert_says(cases[i].says);
		assert_int_equal(image_reason_of(&e), cases[i].reason);
		assert_int_equal(drop_dir(NULL), 0);
	}
}

static void what_is_made_is_as_described(void **state)
{
	static const struct member members[] = {
		{.name = "./", .type = '5', .mode = 01777, .mtime = 50},
		{.name = "d/", .type = '5', .mode = 02750, .mtime = 100},
		{.name = "d/f",
		 .mode = 04711,
		 .mtime = 200,
		 .data = "hello",
		 .pax = "SCHILY.xattr.user.a=1\n"},
		{.name = "s", .type = '2', .link = "x", .mtime = 300},
		{.name = "p", .type = '6', .mode = 0620, .mtime = 400},
		{.name = "old", .pax = "mtime=-5\n"},
		{.name = "late", .pax = "mtime=8589934597.123456789\n"},
		{.name = NULL},
	};
	static const struct {
		const char *path;
		mode_t mode;
		int64_t mtime;
	} facts[] = {
		{".", S_IFDIR | 01777, 50},           {"d", S_IFDIR | 02750, 100},
		{"d/f", S_IFREG | 04711, 200},        {"s", S_IFLNK | 0777, 300},
		{"p", S_IFIFO | 0620, 400},           {"old", S_IFREG | 0644, -5},
		{"late", S_IFREG | 0644, 8589934597},
	};
	auto_close int fd = -1;
	struct err e = {0};
	struct stat st;
	char value[2] = {0};

	(void)state;
	(void)umask(077); /* has no say in it */
	assert_ok(unpack(members, &e));
	for (size_t i = 0; i < ARRAY_COUNT(facts); i++) {
		assert_int_equal(fstatat(root_fd, facts[i].path, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_mode, facts[i].mode);
		assert_int_equal(st.st_mtim.tv_sec, facts[i].mtime);
		assert_int_equal(st.st_uid, getuid());
	}
	fd = openat(root_fd, "d/f", O_RDONLY | O_CLOEXEC);
	if (fgetxattr(fd, "user.a", value, 1) < 0)
		assert_int_equal(errno, EOPNOTSUPP);
	else
		assert_string_equal(value, "1");
}

static void hard_links_share_one_inode(void **state)
{
	static const struct member members[] = {
		{.name = "a", .mode = 0600, .data = "1"},
		{.name = "h", .type = '1', .link = "a", .mode = 0777},
		{.name = NULL},
	};
	struct stat a, h;
	struct err e = {0};

	(void)state;
	assert_ok(unpack(members, &e));
	assert_int_equal(fstatat(root_fd, "a", &a, 0), 0);
	assert_int_equal(fstatat(root_fd, "h", &h, 0), 0);
	assert_int_equal(a.st_ino, h.st_ino);
	assert_int_equal(a.st_mode & 0777, 0600); /* the first name described it */
}

static void a_sparse_file_keeps_its_holes(void **state)
{
	/* GNU sparse 1.0: the map, padded to a block, stands before the data. */
	char data[BLOCK + 4 + 1];
	struct member members[2] = {{.name = "GNUSparseFile.0/f",
				     .pax = "GNU.sparse.major=1\nGNU.sparse.minor=0\n"
					    "GNU.sparse.name=f\nGNU.sparse.realsize=1048576\n"}};
	auto_close int fd = -1;
	struct stat st;
	struct err e = {0};
	char read_back[8] = {0};

	(void)state;
	memset(data, '0', sizeof(data) - 1);
	memcpy(data, "1\n65536\n4\n", 10);
	memset(data + 10, ' ', BLOCK - 10);
	memcpy(data + BLOCK, "data", 5);
	members[0].data = data;
	assert_ok(unpack(members, &e));
	fd = openat(root_fd, "f", O_RDONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 1048576);
	assert_true(st.st_blocks < 64);
	assert_int_equal(pread(fd, read_back, 6, 65535), 6);
	assert_memory_equal(read_back, "\0data\0", 6);
}

static void devices_are_made_by_root(void **state)
{
	static const struct member members[] = {
		{.name = "null", .type = '3', .major = 1, .minor = 3, .mode = 0666},
		{.name = "loop", .type = '4', .major = 7, .minor = 300, .mode = 0640},
		{.name = NULL},
	};
	struct err e = {0};
	struct stat st;

	(void)state;
	if (unpack(members, &e) < 0) {
		assert_says("make device or fifo 'null': Operation not permitted");
		skip();
	}
	assert_int_equal(fstatat(root_fd, "null", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFCHR | 0666);
	assert_int_equal(st.st_rdev, makedev(1, 3));
	assert_int_equal(fstatat(root_fd, "loop", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFBLK | 0640);
	assert_int_equal(st.st_rdev, makedev(7, 300));
}

int main(void)
{
#define IN_A_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, drop_dir)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_become_files),
		cmocka_unit_test(what_leaves_the_root_is_refused),
		IN_A_DIR(what_is_made_is_as_described),
		IN_A_DIR(hard_links_share_one_inode),
		IN_A_DIR(a_sparse_file_keeps_its_holes),
		IN_A_DIR(devices_are_made_by_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
