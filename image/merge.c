/* image/merge.c - the tables of an image's layers become one outline
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each row finds or makes its place, and what it hides goes; a hard link comes
 * after the row that it points to.  What lower layers have and the layer links to
 * is looked up before anything changes.
 */
#include "image/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/reason.h"
#include "image/tar.h"

struct merge {
	struct outline *image;
	const uint16_t *devices;
	struct outline_node **nodes;   /* of the image, by row; the root and directories */
	bool *fresh;                   /* by row: a directory in which this layer alone has names */
	struct outline_inode **inodes; /* by row */
};

/* Links to lower layers, before the layer hides what it hides. */
static int find_below(struct merge *m, struct table *layer, struct err *e)
{
	struct table_row row;

	for (uint32_t i = 0; i < table_count(layer); i++) {
		char path[TAR_PATH_MAX];
		const struct outline_node *n;

		table_next(layer, &row);
		if (row.kind != TABLE_BELOW)
			continue;
		memcpy(path, row.text, row.text_len);
		path[row.text_len] = '\0';
		n = outline_walk(m->image, path);
		if (!n || outline_is_directory(n))
			return image_fail(
				e, IMAGE_REASON_MALFORMED,
				"hard link '%.*s' to '%.200s', which this layer does not have, "
				"nor one below",
				(int)row.name_len, row.name, path);
		m->inodes[i] = n->inode;
	}
	table_rewind(layer);
	return 0;
}

static struct outline_inode *copy_inode(struct merge *m, const struct table_row *row)
{
	struct outline_inode *inode = outline_inode(m->image);

	*inode = row->inode;
	inode->device = m->devices[row->inode.device];
	inode->attributes = NULL;
	if (inode->attributes_size)
		inode->attributes = outline_keep(m->image, row->inode.attributes,
						 inode->attributes_size);
	if (row->text_len)
		inode->target = outline_keep(m->image, row->text, row->text_len);
	return inode;
}

/* What is there goes, but a directory under a directory. */
static struct outline_node *make_place(struct merge *m, struct outline_node *dir,
				       const struct table_row *row, bool keep_directory)
{
	struct outline_node *n = NULL;

	if (!m->fresh[row->parent]) /* a table has each name once */
		n = outline_find(m->image, dir, row->name, row->name_len);
	if (!n)
		return outline_add(m->image, dir, row->name, row->name_len);
	if (!keep_directory || !outline_is_directory(n)) {
		outline_clear(m->image, n);
		n->inode = NULL;
	}
	return n;
}

static void put_directory(struct merge *m, uint32_t i, struct outline_node *n,
			  const struct table_row *row)
{
	if (row->flags & OUTLINE_OPAQUE)
		outline_clear(m->image, n);
	m->fresh[i] = !n->first;
	if (!n->inode || !(row->flags & OUTLINE_IMPLIED))
		n->inode = copy_inode(m, row);
}

static void put_row(struct merge *m, uint32_t i, const struct table_row *row)
{
	struct outline_node *dir = m->nodes[row->parent], *n;
	bool directory = row->kind == TABLE_INODE && row->link == i && S_ISDIR(row->inode.mode);

	if (i == 0) {
		m->nodes[0] = outline_root(m->image);
		put_directory(m, 0, m->nodes[0], row);
		return;
	}
	if (row->kind == TABLE_WHITEOUT) {
		n = outline_find(m->image, dir, row->name, row->name_len);
		if (n)
			outline_remove(m->image, n);
		return;
	}
	n = make_place(m, dir, row, directory);
	m->nodes[i] = n;
	if (directory)
		put_directory(m, i, n, row);
	else if (row->kind == TABLE_INODE && row->link == i)
		n->inode = m->inodes[i] = copy_inode(m, row);
	else if (row->kind == TABLE_INODE)
		n->inode = m->inodes[row->link];
	else
		n->inode = m->inodes[i];
}

int merge_layer(struct outline *image, struct table *layer, const uint16_t devices[TABLE_DEVICES],
		struct err *e)
{
	uint32_t count = table_count(layer);
	auto_free void *nodes = xcalloc(count, sizeof(struct outline_node *));
	auto_free void *inodes = xcalloc(count, sizeof(struct outline_inode *));
	auto_free void *fresh = xcalloc(count, sizeof(bool));
	struct merge m = {image, devices, nodes, fresh, inodes};
	struct table_row row;

	table_rewind(layer);
	if (find_below(&m, layer, e) < 0)
		return -e->code;
	for (uint32_t i = 0; i < count; i++) {
		table_next(layer, &row);
		put_row(&m, i, &row);
	}
	return 0;
}
