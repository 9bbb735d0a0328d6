/* image/listing.c - the entries of a layer become an outline
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/listing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "image/attributes.h"
#include "image/reason.h"

#define PATH_SHOWN 200 /* characters, in errors */

/* Neither an inode nor a link to what is below, and not a name that has just been made. */
static bool is_whiteout(const struct outline_node *n)
{
	return !n->inode && !n->below && !(n->flags & OUTLINE_NEW);
}

/* Empty, for what comes in its place. */
static void vacate(struct outline *o, struct outline_node *n)
{
	outline_clear(o, n);
	n->inode = NULL;
	n->below = NULL;
	n->flags = 0;
}

/* ---- parents ---- */

static void imply(struct outline *o, struct outline_node *n, uint8_t flags)
{
	n->inode = outline_plain_directory(o);
	n->flags = OUTLINE_IMPLIED | flags;
}

/* Make 'n' a directory, unless something else is there. */
static int make_parent(struct outline *o, struct outline_node *n, const char *path, size_t path_len,
		       struct err *e)
{
	const int len = path_len < PATH_SHOWN ? (int)path_len : PATH_SHOWN;

	if (outline_is_directory(n))
		return 0;
	if (is_whiteout(n)) {
		imply(o, n, OUTLINE_OPAQUE);
		return 0;
	}
	if (n->inode && S_ISLNK(n->inode->mode))
		return image_fail(e, IMAGE_REASON_UNSAFE, "path through a symbolic link: '%.*s'",
				  len, path);
	return image_fail(e, IMAGE_REASON_MALFORMED, "path through a file: '%.*s'", len, path);
}

/* The directory that 'path' is in, and its name there; "" for the root itself. */
static int find_parent(struct outline *o, const char *path, struct outline_node **ret,
		       const char **ret_name, struct err *e)
{
	struct outline_node *dir = outline_root(o);
	const char *name = path, *slash;

	while ((slash = strchr(name, '/'))) {
		size_t len = (size_t)(slash - name);
		struct outline_node *n = outline_find(o, dir, name, len);

		if (!n) {
			n = outline_add(o, dir, name, len);
			imply(o, n, 0);
		} else if (make_parent(o, n, path, (size_t)(slash - path), e) < 0) {
			return -e->code;
		}
		dir = n;
		name = slash + 1;
	}
	*ret = dir;
	*ret_name = name;
	return 0;
}

/* ---- entries ---- */

static int describe(struct outline *o, struct outline_inode *inode, const struct tar_entry *entry,
		    uint32_t type, struct err *e)
{
	auto_free void *attributes = NULL;

	if (attributes_pack(entry, &attributes, &inode->attributes_size, e) < 0)
		return -e->code;
	inode->attributes = NULL;
	if (inode->attributes_size)
		inode->attributes = outline_keep(o, attributes, inode->attributes_size);
	inode->mode = type | (entry->mode & 07777);
	inode->uid = entry->uid;
	inode->gid = entry->gid;
	inode->mtime_s = entry->mtime.tv_sec;
	inode->mtime_ns = (uint32_t)entry->mtime.tv_nsec;
	return 0;
}

static int add_directory(struct outline *o, struct outline_node *n, const struct tar_entry *entry,
			 struct err *e)
{
	if (!outline_is_directory(n)) {
		if (!(n->flags & OUTLINE_NEW)) /* it takes the place of what this layer has */
			n->flags |= OUTLINE_OPAQUE;
		n->inode = outline_plain_directory(o);
		n->below = NULL;
	}
	n->flags &= (uint8_t) ~(OUTLINE_IMPLIED | OUTLINE_NEW);
	return describe(o, n->inode, entry, S_IFDIR, e);
}

static int add_other(struct outline *o, struct outline_node *n, const struct tar_entry *entry,
		     struct err *e)
{
	uint32_t type = entry->kind == TAR_FILE      ? S_IFREG
			: entry->kind == TAR_SYMLINK ? S_IFLNK
						     : entry->mode & S_IFMT;

	vacate(o, n);
	n->inode = outline_inode(o);
	if (entry->kind == TAR_FILE) {
		n->inode->size = (uint64_t)entry->size;
	} else if (entry->kind == TAR_SYMLINK) {
		n->inode->size = strlen(entry->target);
		n->inode->target = outline_keep(o, entry->target, n->inode->size);
	} else {
		n->inode->where = entry->device;
	}
	if (describe(o, n->inode, entry, type, e) < 0)
		return -e->code;
	if (entry->kind == TAR_SYMLINK)
		n->inode->mode = S_IFLNK | 0777;
	return 0;
}

static int no_target(const struct tar_entry *entry, struct err *e)
{
	return image_fail(e, IMAGE_REASON_MALFORMED,
			  "hard link '%.150s' to '%.150s', which this layer does not have",
			  entry->path, entry->target);
}

/* Of a file to itself: nothing.  The target may go with what the name replaces. */
static int add_hard_link(struct outline *o, struct outline_node *n, const struct tar_entry *entry,
			 struct err *e)
{
	struct outline_node *target = outline_walk(o, entry->target);

	if (target &&
	    (is_whiteout(target) || outline_is_directory(target) || target->flags & OUTLINE_NEW))
		return no_target(entry, e);
	if (target == n)
		return 0;
	if (target && target->inode && target->inode == n->inode)
		return 0;
	for (const struct outline_node *p = target; p; p = p->parent)
		if (p == n)
			return no_target(entry, e);
	vacate(o, n);
	n->inode = target ? target->inode : NULL;
	n->below = target ? target->below : outline_keep(o, entry->target, strlen(entry->target));
	return 0;
}

static int add_whiteout(struct outline_node *n)
{
	if (outline_is_directory(n))
		n->flags |= OUTLINE_OPAQUE;
	n->flags &= (uint8_t)~OUTLINE_NEW; /* what else is there hides what is below */
	return 0;
}

static int add_opaque(struct outline *o, struct outline_node *n, const struct tar_entry *entry,
		      struct err *e)
{
	if (n->flags & OUTLINE_NEW)
		imply(o, n, 0);
	if (make_parent(o, n, entry->path, strlen(entry->path), e) < 0)
		return -e->code;
	n->flags |= OUTLINE_OPAQUE;
	return 0;
}

static int add_named(struct outline *o, struct outline_node *n, const struct tar_entry *entry,
		     struct err *e)
{
	switch (entry->kind) {
	case TAR_DIRECTORY:
		return add_directory(o, n, entry, e);
	case TAR_FILE:
	case TAR_SYMLINK:
	case TAR_NODE:
		return add_other(o, n, entry, e);
	case TAR_HARD_LINK:
		return add_hard_link(o, n, entry, e);
	case TAR_WHITEOUT:
		return add_whiteout(n);
	case TAR_OPAQUE:
		return add_opaque(o, n, entry, e);
	}
	return 0;
}

int listing_add(struct outline *o, const struct tar_entry *entry, struct outline_inode **ret_file,
		struct err *e)
{
	struct outline_node *dir = NULL, *n;
	const char *name = "";

	if (find_parent(o, entry->path, &dir, &name, e) < 0)
		return -e->code;
	n = *name ? outline_find(o, dir, name, strlen(name)) : dir;
	if (!n) {
		n = outline_add(o, dir, name, strlen(name));
		n->flags = OUTLINE_NEW;
	}
	if (add_named(o, n, entry, e) < 0)
		return -e->code;
	*ret_file = entry->kind == TAR_FILE ? n->inode : NULL;
	return 0;
}
