/* image/table.h - what is in a layer, as a file beside its tar
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Whoever parses a layer's tar may fall into foreign hands, so he does not write
 * what the kernel reads: he writes this, and another process, which has seen no
 * foreign byte, makes the kernel's index of it.  A table is small, of fixed form,
 * and checked to its last byte by who reads it:
 *
 *   header | a row of fixed size for each name | texts, in the order of the rows
 *
 * Row 0 is the root.  Rows come as outline_order() gives them: a directory before
 * what is in it, what is in one directory together and by name, so no name comes
 * twice and nothing leads round in circles.  The first row of an inode describes
 * it, later ones (hard links) point to that row.  Numbers are in the host's order:
 * a store does not move between architectures.
 */
#pragma once

#include "base/err.h"
#include "image/outline.h"

#define TABLE_SIZE_MAX (512 << 20)

/* Content is in the layer's tar, or, of files that have holes, in a file beside it. */
enum { TABLE_TAR, TABLE_SPARSE, TABLE_DEVICES };

struct table_sums {
	uint64_t device_bytes[TABLE_DEVICES];
	uint64_t file_bytes; /* of all files */
	uint32_t max_id;     /* the greatest uid or gid */
	uint32_t reserved;
};

/* Write the outline of a layer; .max_id and .file_bytes of 'sums' are set here. */
int table_write(struct outline *o, struct table_sums *sums, int fd, struct err *e);

/* ---- reading ---- */

enum table_kind {
	TABLE_INODE,    /* .inode, or .link to the row of another name of it */
	TABLE_WHITEOUT, /* lower layers have nothing of that name */
	TABLE_BELOW,    /* .text is the path of what lower layers have */
};

struct table_row {
	enum table_kind kind;
	uint8_t flags;   /* OUTLINE_ */
	uint32_t parent; /* row */
	uint32_t link;   /* row: this one, or an earlier one */
	const char *name;
	size_t name_len;
	const char *text; /* not terminated */
	size_t text_len;
	struct outline_inode inode; /* .target is not set: it is .text */
};

struct table;

/*
 * Read it whole and check it.  'device_bytes' are the sizes of the layer's files,
 * which content has to lie in.
 */
int table_read(int fd, const uint64_t device_bytes[TABLE_DEVICES], struct table **ret,
	       struct err *e);
void table_free(struct table *t); /* NULL is fine */

const struct table_sums *table_sums(const struct table *t);
uint32_t table_count(const struct table *t);
/* Row by row, from 0 on; texts are the table's. */
void table_next(struct table *t, struct table_row *ret);
/* From the first again. */
void table_rewind(struct table *t);
