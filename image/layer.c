/* image/layer.c - one layer, from the bytes of a blob to what is held of it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/layer.h"

#include <errno.h>
#include <unistd.h>

#include "base/auto.h"
#include "image/listing.h"
#include "image/reason.h"
#include "image/table.h"
#include "image/tar.h"
#include "image/tree.h"

/* ---- as files ---- */

static int write_file(struct tar *tar, struct tree *tree, const struct tar_entry *entry,
		      struct err *e)
{
	const void *data;
	int64_t offset;
	size_t size;
	int r;

	while ((r = tar_data(tar, &data, &size, &offset, e)) == 0)
		if (tree_write(tree, data, size, offset, e) < 0)
			return err_wrap(e, "'%.200s'", entry->path);
	return r < 0 ? r : tree_end_file(tree, entry, e);
}

static int write_entries(struct tar *tar, struct tree *tree, struct err *e)
{
	const struct tar_entry *entry;
	int r;

	while ((r = tar_next(tar, &entry, e)) == 0) {
		if (tree_add(tree, entry, e) < 0)
			return -e->code;
		if (entry->kind == TAR_FILE && write_file(tar, tree, entry, e) < 0)
			return -e->code;
	}
	return r < 0 ? r : tree_finish(tree, e);
}

int layer_unpack(struct intake *s, int root_fd, int implied_fd, struct layer *ret, struct err *e)
{
	struct tar *tar;
	struct tree *tree = NULL;
	int r;

	*ret = (struct layer){.bytes = 0};
	r = tree_new(root_fd, &tree, e);
	if (r < 0)
		return r;
	tar = tar_new(intake_next, s);
	r = write_entries(tar, tree, e);
	if (r == 0)
		r = tree_write_implied(tree, implied_fd, e);
	if (r == 0)
		r = intake_finish(s, ret->diff_id, e);
	ret->bytes = tree_bytes(tree);
	ret->max_id = tree_greatest_id(tree);
	tar_free(tar);
	tree_free(tree);
	return r;
}

/* ---- as a table ---- */

#define PLACE_ALIGN 512

struct lister {
	struct tar *tar;
	struct outline *outline;
	int sparse_fd;
	uint64_t sparse_bytes;
};

/* The pieces of a file that has holes, with holes where nothing is. */
static int copy_sparse(struct lister *l, const struct tar_entry *entry, struct outline_inode *inode,
		       struct err *e)
{
	const void *data;
	int64_t offset;
	size_t size;
	int r;

	inode->device = TABLE_SPARSE;
	inode->where = l->sparse_bytes;
	while ((r = tar_data(l->tar, &data, &size, &offset, e)) == 0) {
		for (const char *p = data; size;) {
			ssize_t n = pwrite(l->sparse_fd, p, size,
					   (off_t)l->sparse_bytes + (off_t)offset);

			if (n < 0 && errno != EINTR)
				return os_fail(e, "write '%.200s'", entry->path);
			if (n <= 0)
				continue;
			p += n;
			size -= (size_t)n;
			offset += n;
		}
	}
	if (r < 0)
		return r;
	l->sparse_bytes += inode->size + -inode->size % PLACE_ALIGN;
	if (ftruncate(l->sparse_fd, (off_t)l->sparse_bytes) < 0)
		return os_fail(e, "size of '%.200s'", entry->path);
	return 0;
}

static int list_entries(struct lister *l, struct err *e)
{
	const struct tar_entry *entry;
	struct outline_inode *file;
	int r;

	while ((r = tar_next(l->tar, &entry, e)) == 0) {
		if (listing_add(l->outline, entry, &file, e) < 0)
			return -e->code;
		if (!file)
			continue;
		file->where = (uint64_t)entry->offset;
		if (entry->sparse && copy_sparse(l, entry, file, e) < 0)
			return -e->code;
	}
	return r < 0 ? r : 0;
}

int layer_list(struct intake *s, int table_fd, int sparse_fd, struct layer *ret, struct err *e)
{
	struct lister l = {.sparse_fd = sparse_fd};
	struct table_sums sums;
	int r;

	*ret = (struct layer){.bytes = 0};
	l.outline = outline_new();
	l.tar = tar_new(intake_next, s);
	r = list_entries(&l, e);
	if (r == 0)
		r = intake_finish(s, ret->diff_id, e);
	if (r == 0) {
		sums = (struct table_sums){.device_bytes = {intake_bytes(s), l.sparse_bytes}};
		r = table_write(l.outline, &sums, table_fd, e);
		ret->bytes = sums.file_bytes;
		ret->max_id = sums.max_id;
	}
	tar_free(l.tar);
	outline_free(l.outline);
	return r;
}
