/* tests/unit/image/tar.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"
#include "image/tar.h"
#include "tests/unit/image/tarball.h"

/* The first entry of a tar with this one member. */
static int read_one(const struct member *m, struct tar_entry *ret, struct err *e)
{
	struct tarball ball = TARBALL(BLOCK);
	const struct tar_entry *entry;
	struct tar *t = tar_new(read_tarball, &ball);
	int r;

	add_member(&ball.bytes, m);
	add_end(&ball.bytes);
	r = tar_next(t, &entry, e);
	if (r == 0) {
		*ret = *entry; /* but for its attributes, which are the reader's */
		ret->attribute_count = 0;
		r = tar_next(t, &entry, e);
		r = r == TAR_END ? 0 : r ? r : -EEXIST;
	}
	tar_free(t);
	buf_done(&ball.bytes);
	return r;
}

static void entries_are_brought_to_one_form(void **state)
{
	static const struct {
		struct member member;
		enum tar_kind kind;
		const char *path, *target;
	} cases[] = {
		{{.name = "a"}, TAR_FILE, "a", ""},
		{{.name = "./a//b/./c"}, TAR_FILE, "a/b/c", ""},
		{{.name = "./", .type = '5'}, TAR_DIRECTORY, "", ""},
		{{.name = "/", .type = '5'}, TAR_DIRECTORY, "", ""},
		{{.name = "/etc//passwd"}, TAR_FILE, "etc/passwd", ""},
		{{.name = "x", .pax = "path=/x/y\n"}, TAR_FILE, "x/y", ""},
		{{.name = "/a/.wh.b"}, TAR_WHITEOUT, "a/b", ""},
		{{.name = "/h", .type = '1', .link = "/d/e"}, TAR_HARD_LINK, "h", "d/e"},
		{{.name = ".", .type = '5'}, TAR_DIRECTORY, "", ""},
		{{.name = "d/", .type = '5'}, TAR_DIRECTORY, "d", ""},
		{{.name = "d/e", .type = '5'}, TAR_DIRECTORY, "d/e", ""},
		{{.name = "s", .type = '2', .link = "../../etc//x"},
		 TAR_SYMLINK,
		 "s",
		 "../../etc//x"},
		{{.name = "h", .type = '1', .link = "./d//e"}, TAR_HARD_LINK, "h", "d/e"},
		/* Docker and buildah write the type into the mode, too. */
		{{.name = "h", .type = '1', .link = "d", .mode = 0100755}, TAR_HARD_LINK, "h", "d"},
		{{.name = "h", .type = '1', .link = "d", .mode = 0120777}, TAR_HARD_LINK, "h", "d"},
		{{.name = "f", .mode = 0100644}, TAR_FILE, "f", ""},
		{{.name = "d", .type = '5', .mode = 040755}, TAR_DIRECTORY, "d", ""},
		{{.name = "s", .type = '2', .link = "x", .mode = 0120777}, TAR_SYMLINK, "s", "x"},
		{{.name = "p", .type = '6', .mode = 010644}, TAR_NODE, "p", ""},
		{{.name = "n", .type = '3', .major = 1, .minor = 3}, TAR_NODE, "n", ""},
		{{.name = "n", .type = '4', .major = 0, .minor = 0}, TAR_NODE, "n", ""},
		{{.name = "p", .type = '6'}, TAR_NODE, "p", ""},
		{{.name = ".wh.x"}, TAR_WHITEOUT, "x", ""},
		{{.name = "a/b/.wh.x y"}, TAR_WHITEOUT, "a/b/x y", ""},
		{{.name = "a/b/.wh..wh..opq"}, TAR_OPAQUE, "a/b", ""},
		{{.name = ".wh..wh..opq"}, TAR_OPAQUE, "", ""},
		{{.name = "a/.wh..x"}, TAR_WHITEOUT, "a/.x", ""},
		{{.name = "a.wh.b"}, TAR_FILE, "a.wh.b", ""},
		{{.name = "short", .pax = "path=long/./name\n"}, TAR_FILE, "long/name", ""},
		{{.name = "x", .type = '2', .link = "y", .pax = "linkpath=z\n"},
		 TAR_SYMLINK,
		 "x",
		 "z"},
		/* Names are bytes: not normalised (e and a combining accent), not checked. */
		{{.name = "e\xcc\x81"}, TAR_FILE, "e\xcc\x81", ""},
		{{.name = "x", .pax = "path=e\xcc\x81\n"}, TAR_FILE, "e\xcc\x81", ""},
		{{.name = "x", .pax = "path=\xff\xfe\n"}, TAR_FILE, "\xff\xfe", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct tar_entry entry;
		struct err e = {0};

		assert_ok(read_one(&cases[i].member, &entry, &e));
		assert_int_equal(entry.kind, cases[i].kind);
		assert_string_equal(entry.path, cases[i].path);
		if (*cases[i].target)
			assert_string_equal(entry.target, cases[i].target);
	}
}

static void an_entry_says_all_about_a_file(void **state)
{
	const struct member m = {.name = "f", .mode = 04755, .mtime = 1234567890, .data = "hello"};
	struct tar_entry entry;
	struct err e = {0};

	(void)state;
	assert_ok(read_one(&m, &entry, &e));
	assert_int_equal(entry.mode, 04755);
	assert_int_equal(entry.uid, getuid());
	assert_int_equal(entry.size, 5);
	assert_int_equal(entry.mtime.tv_sec, 1234567890);
}

static bool has_attribute(const struct tar_entry *entry, const char *name, const char *value)
{
	for (size_t i = 0; i < entry->attribute_count; i++) {
		const struct tar_attribute *a = &entry->attributes[i];

		if (str_eq(a->name, name))
			return a->size == strlen(value) && memcmp(a->value, value, a->size) == 0;
	}
	return false;
}

static void pax_has_the_last_word(void **state)
{
	const struct member m = {
		.name = "f",
		.pax = "mtime=-5.25\nuid=2147483650\ngid=4294967294\n"
		       "SCHILY.xattr.user.a=1\nSCHILY.xattr.security.capability=cap\n"
		       "SCHILY.xattr.trusted.overlay.opaque=y\nSCHILY.xattr.user.overlay.opaque=y\n"
		       "SCHILY.xattr.security.selinux=x\nSCHILY.xattr.trusted.x=y\n"
		       "SCHILY.xattr.system.posix_acl_access=acl\nSCHILY.xattr.user.=x\n"};
	struct tarball ball = TARBALL(BLOCK);
	struct tar *t = tar_new(read_tarball, &ball);
	const struct tar_entry *entry;
	struct err e = {0};

	(void)state;
	add_member(&ball.bytes, &m);
	assert_ok(tar_next(t, &entry, &e));
	assert_int_equal(entry->uid, 2147483650);
	assert_int_equal(entry->gid, 4294967294);
	assert_int_equal(entry->mtime.tv_sec, -6);
	assert_int_equal(entry->mtime.tv_nsec, 750000000);
	assert_int_equal(entry->attribute_count, 3);
	assert_true(has_attribute(entry, "user.a", "1"));
	assert_true(has_attribute(entry, "security.capability", "cap"));
	assert_true(has_attribute(entry, "system.posix_acl_access", "acl"));
	tar_free(t);
	buf_done(&ball.bytes);
}

static void bad_entries_are_refused(void **state)
{
	static const struct {
		struct member member;
		enum image_reason reason;
		const char *says;
	} cases[] = {
		{{.name = "/../x"}, IMAGE_REASON_UNSAFE, "'..' in a path"},
		{{.name = "../x"}, IMAGE_REASON_UNSAFE, "'..' in a path"},
		{{.name = "a/../../x"}, IMAGE_REASON_UNSAFE, "'..' in a path"},
		{{.name = "a/.."}, IMAGE_REASON_UNSAFE, "'..' in a path"},
		{{.name = "a/..", .type = '5'}, IMAGE_REASON_UNSAFE, "'..' in a path"},
		{{.name = ".", .type = '2', .link = "/etc"}, IMAGE_REASON_UNSAFE, "the root"},
		{{.name = ".", .type = '0'}, IMAGE_REASON_UNSAFE, "the root"},
		{{.name = ".", .type = '1', .link = "x"}, IMAGE_REASON_UNSAFE, "the root"},
		{{.name = "h", .type = '1', .link = "/../x"}, IMAGE_REASON_UNSAFE, "'..'"},
		{{.name = "h", .type = '1', .link = "/"},
		 IMAGE_REASON_UNSAFE,
		 "hard link to the root"},
		{{.name = "h", .type = '1', .link = "../x"}, IMAGE_REASON_UNSAFE, "'..'"},
		{{.name = "h", .type = '1', .link = "."},
		 IMAGE_REASON_UNSAFE,
		 "hard link to the root"},
		{{.name = "h", .type = '1', .link = "x", .data = "data"},
		 IMAGE_REASON_MALFORMED,
		 "tar:"},
		{{.name = "h", .type = '1', .link = "x", .pax = "size=5\n"},
		 IMAGE_REASON_MALFORMED,
		 "data behind"},
		{{.name = "s", .type = '2', .link = "x", .pax = "size=5\n"},
		 IMAGE_REASON_MALFORMED,
		 "data behind"},
		{{.name = "d", .type = '5', .pax = "size=5\n"},
		 IMAGE_REASON_MALFORMED,
		 "data behind"},
		{{.name = "s", .type = '2', .link = ""}, IMAGE_REASON_MALFORMED, "link to nothing"},
		{{.name = ".wh."}, IMAGE_REASON_UNSAFE, "whiteout of nothing"},
		{{.name = ".wh.."}, IMAGE_REASON_UNSAFE, "whiteout of nothing"},
		{{.name = "a/.wh..."}, IMAGE_REASON_UNSAFE, "whiteout of nothing"},
		{{.name = ".wh..wh.x"}, IMAGE_REASON_UNSAFE, "whiteout of nothing"},
		{{.name = ".wh..wh.plnk/x"}, IMAGE_REASON_UNSAFE, "reserved name"},
		{{.name = "a/.wh.b/c"}, IMAGE_REASON_UNSAFE, "reserved name"},
		{{.name = ".wh.a/.wh.b"}, IMAGE_REASON_UNSAFE, "reserved name"},
		{{.name = "n", .type = '3'}, IMAGE_REASON_UNSAFE, "0:0"},
		{{.name = "n", .type = '3', .major = 4096, .minor = 1},
		 IMAGE_REASON_MALFORMED,
		 "device number"},
		{{.name = "n", .type = '4', .major = 1, .minor = 1048576},
		 IMAGE_REASON_MALFORMED,
		 "device number"},
		{{.name = "f", .pax = "uid=4294967295\n"}, IMAGE_REASON_MALFORMED, "owner"},
		{{.name = "f", .pax = "gid=4294967295\n"}, IMAGE_REASON_MALFORMED, "owner"},
		{{.name = "f", .pax = "uid=-1\n"}, IMAGE_REASON_MALFORMED, "owner"},
		{{.name = "f", .pax = "size=9223372036854775807\n"},
		 IMAGE_REASON_MALFORMED,
		 "tar:"},
		{{.name = "f", .pax = "size=8000000000000\n"}, IMAGE_REASON_TOO_LARGE, "GiB"},
		{{.name = "f", .pax = "size=-5\n"}, IMAGE_REASON_MALFORMED, "tar:"},
		{{.name = "f", .size = 5000}, IMAGE_REASON_MALFORMED, "tar: "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct tar_entry entry;
		struct err e = {0};
		int r = read_one(&cases[i].member, &entry, &e);

		if (r >= 0)
			fail_msg("case %zu, '%s': %d, path '%s'", i, cases[i].member.name, r,
				 entry.path);
		assert_says(cases[i].says);
		assert_int_equal(image_reason_of(&e), cases[i].reason);
	}
}

static void long_names_end_at_a_limit(void **state)
{
	static const struct {
		size_t parts, len;
		int errnum;
	} cases[] = {
		{1, 255, 0},      {1, 256, EFBIG}, {16, 254, 0}, /* 4,079 */
		{17, 254, EFBIG}, {512, 1, 0},     {513, 1, EFBIG},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_buf struct buf pax = BUF_INIT(1 << 20);
		struct member m = {.name = "x"};
		struct tar_entry entry;
		struct err e = {0};

		buf_puts(&pax, "path=");
		for (size_t p = 0; p < cases[i].parts; p++) {
			if (p)
				buf_putc(&pax, '/');
			for (size_t c = 0; c < cases[i].len; c++)
				buf_putc(&pax, 'n');
		}
		buf_putc(&pax, '\n');
		m.pax = buf_str(&pax);
		if (cases[i].errnum)
			assert_fails(read_one(&m, &entry, &e), cases[i].errnum);
		else
			assert_ok(read_one(&m, &entry, &e));
	}
}

static void a_pax_header_over_a_megabyte_is_refused(void **state)
{
	auto_buf struct buf pax = BUF_INIT(4 << 20);
	struct member m = {.name = "x"};
	struct tar_entry entry;
	struct err e = {0};

	(void)state;
	buf_puts(&pax, "comment=");
	for (size_t i = 0; i < 1100000; i++)
		buf_putc(&pax, 'c');
	buf_putc(&pax, '\n');
	m.pax = buf_str(&pax);
	assert_fails(read_one(&m, &entry, &e), EBADMSG);
}

static void the_data_of_a_file_comes_in_pieces(void **state)
{
	struct tarball ball = TARBALL(700);
	auto_buf struct buf text = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
	const struct tar_entry *entry;
	struct tar *t = tar_new(read_tarball, &ball);
	struct err e = {0};
	const void *data;
	int64_t offset;
	size_t size;
	int r;

	(void)state;
	for (int i = 0; i < 3000; i++)
		buf_printf(&text, "%d\n", i);
	add_member(&ball.bytes, &(struct member){.name = "f", .data = buf_str(&text)});
	add_member(&ball.bytes, &(struct member){.name = "g", .data = "g"});
	add_end(&ball.bytes);

	assert_ok(tar_next(t, &entry, &e));
	while ((r = tar_data(t, &data, &size, &offset, &e)) == 0) {
		assert_int_equal(offset, out.size);
		buf_add(&out, data, size);
	}
	assert_int_equal(r, TAR_END);
	assert_string_equal(buf_str(&out), buf_str(&text));
	assert_ok(tar_next(t, &entry, &e)); /* and what is not read is passed over */
	assert_string_equal(entry->path, "g");
	assert_int_equal(tar_next(t, &entry, &e), TAR_END);
	tar_free(t);
	buf_done(&ball.bytes);
}

static void an_end_may_be_short(void **state)
{
	static const size_t zeros[] = {0, BLOCK, 2 * BLOCK, 20 * BLOCK};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(zeros); i++) {
		struct tarball ball = TARBALL(BLOCK);
		const struct tar_entry *entry;
		struct tar *t = tar_new(read_tarball, &ball);
		struct err e = {0};

		add_member(&ball.bytes, &(struct member){.name = "f", .data = "x"});
		memset(buf_reserve(&ball.bytes, zeros[i]), 0, zeros[i]);
		buf_commit(&ball.bytes, zeros[i]);
		assert_ok(tar_next(t, &entry, &e));
		assert_int_equal(tar_next(t, &entry, &e), TAR_END);
		tar_free(t);
		buf_done(&ball.bytes);
	}
}

static void a_tar_may_be_empty(void **state)
{
	struct tarball ball = TARBALL(BLOCK);
	const struct tar_entry *entry;
	struct tar *t = tar_new(read_tarball, &ball);
	struct err e = {0};

	(void)state;
	add_end(&ball.bytes);
	assert_int_equal(tar_next(t, &entry, &e), TAR_END);
	tar_free(t);
	buf_done(&ball.bytes);
}

static void what_is_no_tar_is_refused(void **state)
{
	static const char *const texts[] = {
		"<html><head><title>404</title></head></html>",
		"x",
		"070701 is what cpio begins with and then there is more of it behind that name",
		"PK\3\4 and zip",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
		struct tarball ball = TARBALL(BLOCK);
		const struct tar_entry *entry;
		struct tar *t = tar_new(read_tarball, &ball);
		struct err e = {0};

		buf_puts(&ball.bytes, texts[i]);
		if (i % 2 == 0)
			add_end(&ball.bytes);
		assert_fails(tar_next(t, &entry, &e), EBADMSG);
		assert_says("tar: ");
		tar_free(t);
		buf_done(&ball.bytes);
	}
}

static int failing_source(void *ctx, const void **ret, size_t *ret_size, struct err *e)
{
	(void)ctx;
	(void)ret;
	(void)ret_size;
	return image_fail(e, IMAGE_REASON_TRUNCATED, "the source has run dry");
}

static void the_error_of_the_source_comes_through(void **state)
{
	const struct tar_entry *entry;
	struct tar *t = tar_new(failing_source, NULL);
	struct err e = {0};

	(void)state;
	assert_fails(tar_next(t, &entry, &e), ENODATA);
	assert_string_equal(e.msg, "the source has run dry");
	tar_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_are_brought_to_one_form),
		cmocka_unit_test(an_entry_says_all_about_a_file),
		cmocka_unit_test(pax_has_the_last_word),
		cmocka_unit_test(bad_entries_are_refused),
		cmocka_unit_test(long_names_end_at_a_limit),
		cmocka_unit_test(a_pax_header_over_a_megabyte_is_refused),
		cmocka_unit_test(the_data_of_a_file_comes_in_pieces),
		cmocka_unit_test(an_end_may_be_short),
		cmocka_unit_test(a_tar_may_be_empty),
		cmocka_unit_test(what_is_no_tar_is_refused),
		cmocka_unit_test(the_error_of_the_source_comes_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
