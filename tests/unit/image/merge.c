/* tests/unit/image/merge.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Layers are lists of tar members; they become tables, and those one outline,
 * which is told as text: "d/" a directory, "f(3)" a file of three bytes, "s>t" a
 * link, "h=f" one more name of f, "p" anything else; in the order of an index.
 */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/layer.h"
#include "image/merge.h"
#include "image/reason.h"
#include "tests/unit/image/tarball.h"

#define LAYERS 4

static int memory(const void *data, size_t size)
{
	int fd = memfd_create("unit", MFD_CLOEXEC);

	assert_true(fd >= 0 && write_all(fd, data, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* The table of a layer, as its file, and the size of its tar. */
static int list(const struct member *members, uint64_t *ret_tar_bytes, int *ret_fd, struct err *e)
{
	auto_close int in_fd = -1, table_fd = memory("", 0), sparse_fd = memory("", 0);
	struct buf tar = BUF_INIT(1 << 20);
	struct intake *intake = NULL;
	struct layer layer;
	int r;

	for (; members->name; members++)
		add_member(&tar, members);
	add_end(&tar);
	in_fd = memory(tar.data, tar.size);
	*ret_tar_bytes = tar.size;
	buf_done(&tar);
	assert_int_equal(intake_new(&(struct intake_fds){in_fd, -1, -1, false}, &intake, e), 0);
	r = layer_list(intake, table_fd, sparse_fd, &layer, e);
	intake_free(intake);
	if (r == 0) {
		assert_int_equal(lseek(table_fd, 0, SEEK_SET), 0);
		*ret_fd = take_fd(table_fd);
	}
	return r;
}

static int add(struct outline *image, const struct member *members, struct err *e)
{
	static const uint16_t devices[TABLE_DEVICES] = {0, 1};
	uint64_t bytes[TABLE_DEVICES] = {0, 0};
	auto_close int fd = -1;
	struct table *table;
	int r;

	r = list(members, &bytes[0], &fd, e);
	if (r < 0)
		return r;
	assert_int_equal(table_read(fd, bytes, &table, e), 0);
	r = merge_layer(image, table, devices, e);
	table_free(table);
	return r;
}

static void put_path(const struct outline_node *n, struct buf *out)
{
	if (n->parent && n->parent->parent) {
		put_path(n->parent, out);
		buf_putc(out, '/');
	}
	buf_puts(out, n->name);
}

static void put_node(struct outline_node *const *order, const struct outline_node *n,
		     struct buf *out)
{
	const struct outline_inode *i = n->inode;
	uint32_t first = 0;

	buf_putc(out, ' ');
	put_path(n, out);
	while (order[first]->inode != i)
		first++;
	if (first != n->index) {
		buf_putc(out, '=');
		put_path(order[first], out);
	} else if (S_ISDIR(i->mode)) {
		buf_putc(out, '/');
	} else if (S_ISREG(i->mode)) {
		buf_printf(out, "(%llu)", (unsigned long long)i->size);
	} else if (S_ISLNK(i->mode)) {
		buf_printf(out, ">%s", i->target);
	}
}

static char *tell(struct outline *image)
{
	struct buf out = BUF_INIT(10000);
	uint32_t count;
	struct outline_node **order = outline_order(image, &count);
	char *text;

	for (uint32_t i = 1; i < count; i++)
		put_node(order, order[i], &out);
	free(order);
	text = xstrdup(out.size ? out.data + 1 : "");
	buf_done(&out);
	return text;
}

#define DIR(path)                           \
	{                                   \
		.name = (path), .type = '5' \
	}
#define LINK(path, to)                                    \
	{                                                 \
		.name = (path), .type = '1', .link = (to) \
	}
#define SYM(path, to)                                     \
	{                                                 \
		.name = (path), .type = '2', .link = (to) \
	}
#define FILE_(path, text)                      \
	{                                      \
		.name = (path), .data = (text) \
	}

static const struct {
	struct member layers[LAYERS][6];
	const char *told; /* NULL: it is refused, with these words */
	const char *says;
} cases[] = {
	{{{FILE_("a", "1"), DIR("d/"), FILE_("d/b", "22"), SYM("s", "a")}},
	 "a(1) d/ s>a d/b(2)",
	 NULL},
	/* Higher layers add, replace, and keep directories. */
	{{{FILE_("d/a", "1")}, {FILE_("d/b", "1"), FILE_("c", "")}}, "c(0) d/ d/a(1) d/b(1)", NULL},
	{{{FILE_("a", "1")}, {FILE_("a", "333")}}, "a(3)", NULL},
	{{{FILE_("d/a", "1")}, {FILE_("d", "1")}}, "d(1)", NULL},
	{{{FILE_("d", "1")}, {FILE_("d/a", "1")}}, "d/ d/a(1)", NULL},
	{{{SYM("d", "e"), DIR("e/")}, {FILE_("d/a", "1")}}, "d/ e/ d/a(1)", NULL},
	/* Whiteouts and opaque directories act on what is below, not on their own layer. */
	{{{FILE_("a", "1"), FILE_("b", "1")}, {FILE_(".wh.a", NULL)}}, "b(1)", NULL},
	{{{FILE_("d/a", "1")}, {FILE_(".wh.d", NULL)}}, "", NULL},
	{{{FILE_("d/a", "1")}, {FILE_(".wh.d", NULL), FILE_("d/b", "1")}}, "d/ d/b(1)", NULL},
	{{{FILE_("d/a", "1")}, {FILE_("d/b", "1"), FILE_(".wh.d", NULL)}}, "d/ d/b(1)", NULL},
	{{{FILE_("d/a", "1")}, {FILE_("d/b", "1"), FILE_("d/.wh..wh..opq", NULL)}},
	 "d/ d/b(1)",
	 NULL},
	{{{FILE_("a", "1")}, {FILE_(".wh..wh..opq", NULL), FILE_("b", "1")}}, "b(1)", NULL},
	{{{FILE_("a", "1")}, {FILE_(".wh.a", NULL)}, {FILE_("a", "22")}}, "a(2)", NULL},
	{{{FILE_("a", "1")}, {FILE_(".wh.no", NULL)}}, "a(1)", NULL},
	/* Hard links, in a layer and into those below. */
	{{{FILE_("a", "1"), LINK("b", "a")}}, "a(1) b=a", NULL},
	{{{FILE_("b", "1"), LINK("a", "b")}}, "a(1) b=a", NULL},
	{{{FILE_("a", "1"), LINK("b", "a")}, {FILE_("a", "22")}}, "a(2) b(1)", NULL},
	{{{FILE_("a", "1")}, {LINK("b", "a")}}, "a(1) b=a", NULL},
	{{{FILE_("a", "1")}, {LINK("b", "a"), FILE_(".wh.a", NULL)}}, "b(1)", NULL},
	{{{FILE_("a", "1")}, {LINK("b", "a"), LINK("c", "b")}}, "a(1) b=a c=a", NULL},
	{{{SYM("s", "x")}, {LINK("t", "s")}}, "s>x t=s", NULL},
	{{{FILE_("a", "1")}, {LINK("b", "no")}},
	 NULL,
	 "hard link 'b' to 'no', which this layer does not have, nor one below"},
	{{{DIR("d/")}, {LINK("b", "d")}},
	 NULL,
	 "hard link 'b' to 'd', which this layer does not have, nor one below"},
	{{{DIR("d/"), LINK("b", "d")}}, NULL, "which this layer does not have"},
	{{{FILE_(".wh.a", NULL), LINK("b", "a")}}, NULL, "which this layer does not have"},
	{{{LINK("a", "a")}}, NULL, "which this layer does not have"},
	{{{FILE_("d/a", "1"), LINK("d", "d/a")}}, NULL, "which this layer does not have"},
	{{{SYM("s", "/"), FILE_("s/a", "1")}}, NULL, "path through a symbolic link: 's'"},
	{{{FILE_("f", ""), FILE_("f/a", "1")}}, NULL, "path through a file: 'f'"},
};

static void layers_become_one_tree(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct outline *image = outline_new();
		auto_free char *told = NULL;
		struct err e = {0};
		int r = 0;

		for (size_t l = 0; r == 0 && l < LAYERS && cases[i].layers[l][0].name; l++)
			r = add(image, cases[i].layers[l], &e);
		told = tell(image);
		outline_free(image);
		if (cases[i].told && (r < 0 || strcmp(told, cases[i].told) != 0))
			fail_msg("case %zu: '%s' instead of '%s': %s", i, told, cases[i].told,
				 e.msg);
		if (cases[i].says && (r == 0 || !strstr(e.msg, cases[i].says)))
			fail_msg("case %zu: '%s' does not say '%s'", i, e.msg, cases[i].says);
	}
}

static void a_directory_that_is_implied_keeps_what_is_below(void **state)
{
	static const struct member low[] = {{.name = "d/", .type = '5', .mode = 0711},
					    {.name = NULL}};
	static const struct member high[] = {FILE_("d/a", "1"), {.name = NULL}};
	static const struct member last[] = {{.name = "d/", .type = '5', .mode = 0700},
					     {.name = NULL}};
	struct outline *image = outline_new();
	struct err e = {0};

	(void)state;
	assert_ok(add(image, low, &e));
	assert_ok(add(image, high, &e));
	assert_int_equal(outline_walk(image, "d")->inode->mode, S_IFDIR | 0711);
	assert_ok(add(image, last, &e));
	assert_int_equal(outline_walk(image, "d")->inode->mode, S_IFDIR | 0700);
	assert_non_null(outline_walk(image, "d/a"));
	outline_free(image);
}

/* ---- tables in foreign hands ---- */

static const struct member sample[] = {
	DIR("d/"),
	FILE_("d/a", "1"),
	LINK("h", "d/a"),
	SYM("s", "t"),
	{.name = "x", .pax = "SCHILY.xattr.user.a=b\n"},
	{.name = NULL},
};

static void a_table_counts_for_content_of_its_size_only(void **state)
{
	uint64_t bytes[TABLE_DEVICES] = {0, 0};
	struct table *table;
	struct err e = {0};
	int fd = -1;

	(void)state;
	assert_ok(list(sample, &bytes[0], &fd, &e));
	bytes[0] += 512;
	assert_fails(table_read(fd, bytes, &table, &e), EBADMSG);
	assert_says("its content has another size");
	(void)close(fd);
}

/* Whatever byte is wrong: refused, or a table all the same; never a crash, never content outside. */
static void any_byte_of_a_table_may_be_wrong(void **state)
{
	static const uint16_t devices[TABLE_DEVICES] = {0, 1};
	uint64_t bytes[TABLE_DEVICES] = {0, 0};
	struct buf good = BUF_INIT(1 << 20);
	size_t refused = 0;
	struct err e = {0};
	int fd = -1;

	(void)state;
	assert_ok(list(sample, &bytes[0], &fd, &e));
	assert_ok(fs_read_fd(fd, &good, &e));
	(void)close(fd);
	for (size_t i = 0; i < 8 * good.size; i++) {
		struct table *table;

		good.data[i / 8] ^= (char)(1 << i % 8);
		fd = memory(good.data, good.size);
		if (table_read(fd, bytes, &table, &e) == 0) {
			struct outline *image = outline_new();

			(void)merge_layer(image, table, devices, &e);
			outline_free(image);
			table_free(table);
		} else {
			refused++;
		}
		(void)close(fd);
		good.data[i / 8] ^= (char)(1 << i % 8);
	}
	assert_true(refused > good.size);
	for (size_t size = 0; size < good.size; size++) {
		struct table *table;

		fd = memory(good.data, size);
		assert_fails(table_read(fd, bytes, &table, &e), EBADMSG);
		(void)close(fd);
	}
	buf_done(&good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layers_become_one_tree),
		cmocka_unit_test(a_directory_that_is_implied_keeps_what_is_below),
		cmocka_unit_test(a_table_counts_for_content_of_its_size_only),
		cmocka_unit_test(any_byte_of_a_table_may_be_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
