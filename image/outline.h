/* image/outline.h - a tree of files in memory: names, and what they stand for
 * SPDX-License-Identifier: Apache-2.0
 *
 * Of one layer (image/listing.h) or of a whole image (image/merge.h).  Names of
 * one directory are found by a hash; a name that goes takes what is below with
 * it.  An inode may have several names.  All memory is the outline's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outline;

struct outline_inode {
	uint32_t mode; /* with the type */
	uint32_t uid, gid;
	uint32_t mtime_ns;
	int64_t mtime_s;
	uint64_t size;          /* bytes of a file or of a link's target */
	uint64_t where;         /* file: its first byte in 'device'; device node: its dev_t */
	const char *target;     /* of a symbolic link */
	const void *attributes; /* packed: image/attributes.h */
	uint32_t attributes_size;
	uint16_t device; /* file: which of the files that hold content */
	uint32_t links;  /* for who writes the outline */
	uint64_t number; /* for who writes the outline; 0 at first */
};

enum {
	OUTLINE_OPAQUE = 1,  /* nothing of lower layers is in this directory */
	OUTLINE_IMPLIED = 2, /* the layer has something in it, and does not say what it is like */
	OUTLINE_NEW = 4,     /* while an entry is added: the name was not there */
};

struct outline_node {
	struct outline_inode *inode; /* NULL: a whiteout, or .below is set */
	const char *below;           /* one more name of what lower layers have by this path */
	struct outline_node *parent; /* NULL: the root */
	struct outline_node *first, *next, *previous; /* children; siblings */
	struct outline_node *chain;                   /* of the hash */
	uint32_t hash;
	uint32_t index, child, children; /* set by outline_order() */
	uint8_t flags, name_len;
	char name[];
};

/* A root without a name, a directory that is implied. */
struct outline *outline_new(void);
void outline_free(struct outline *o); /* NULL is fine */

struct outline_node *outline_root(const struct outline *o);

/* The child of that name, or NULL. */
struct outline_node *outline_find(const struct outline *o, const struct outline_node *dir,
				  const char *name, size_t len);
/* By a path as tar_clean_path() makes it; symbolic links are not followed.  NULL: not there. */
struct outline_node *outline_walk(const struct outline *o, const char *path);

/* A name that is not there yet, of 1 to 255 bytes; .inode is NULL. */
struct outline_node *outline_add(struct outline *o, struct outline_node *dir, const char *name,
				 size_t len);
/* Take a name away, and all below it; not the root. */
void outline_remove(struct outline *o, struct outline_node *node);
void outline_clear(struct outline *o, struct outline_node *dir);

struct outline_inode *outline_inode(struct outline *o);
/* A directory of root's, mode 0755. */
struct outline_inode *outline_plain_directory(struct outline *o);
/* Copies, with a NUL behind. */
char *outline_keep(struct outline *o, const void *data, size_t size);

static inline bool outline_is_directory(const struct outline_node *n)
{
	return n->inode && (n->inode->mode & 0170000) == 0040000;
}

/*
 * All nodes, the root first, each directory before what is in it, children of
 * one directory together and by name: those of a node are .children nodes from
 * .child on.  The caller frees the array.
 */
struct outline_node **outline_order(struct outline *o, uint32_t *ret_count);
