/* image/layer.c - one layer, from the bytes of a blob to a tree of files
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/layer.h"

#include <stdio.h>

#include "base/auto.h"
#include "base/hash.h"
#include "image/inflate.h"
#include "image/tar.h"
#include "image/tree.h"

struct stream {
	struct inflate *inflate;
	struct sha256 *hash;
};

static int next_piece(void *ctx, const void **ret, size_t *ret_size, struct err *e)
{
	struct stream *s = ctx;

	if (inflate_next(s->inflate, ret, ret_size, e) < 0)
		return -e->code;
	sha256_add(s->hash, *ret, *ret_size);
	return 0;
}

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

/* What stands behind the end of the tar counts for its digest, and for nothing else. */
static int drain(struct stream *s, struct err *e)
{
	const void *data;
	size_t size;
	int r;

	while ((r = next_piece(s, &data, &size, e)) == 0 && size > 0)
		;
	return r;
}

static int unpack(struct stream *s, int root_fd, struct layer *ret, struct err *e)
{
	struct tar *tar = NULL;
	struct tree *tree = NULL;
	int r;

	r = tree_new(root_fd, &tree, e);
	if (r < 0)
		return r;
	tar = tar_new(next_piece, s);
	r = write_entries(tar, tree, e);
	if (r == 0)
		r = drain(s, e);
	ret->bytes = tree_bytes(tree);
	ret->greatest_id = tree_greatest_id(tree);
	tar_free(tar);
	tree_free(tree);
	return r;
}

int layer_unpack(int in_fd, int root_fd, struct layer *ret, struct err *e)
{
	struct stream s = {inflate_new(in_fd), sha256_new()};
	char hex[SHA256_HEX];
	int r;

	r = unpack(&s, root_fd, ret, e);
	sha256_hex(s.hash, hex);
	(void)snprintf(ret->diff_id, sizeof(ret->diff_id), "sha256:%s", hex);
	inflate_free(s.inflate);
	sha256_free(s.hash);
	return r;
}
