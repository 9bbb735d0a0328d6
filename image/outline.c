/* image/outline.c - a tree of files in memory: names, and what they stand for
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/outline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define BUCKETS_MIN 256

struct outline {
	struct arena arena;
	struct outline_node *root;
	struct outline_node **buckets;
	uint32_t bucket_count, count; /* a power of two; nodes but the root */
};

struct outline *outline_new(void)
{
	struct outline *o = xcalloc(1, sizeof(*o));

	o->bucket_count = BUCKETS_MIN;
	o->buckets = xcalloc(o->bucket_count, sizeof(struct outline_node *));
	o->root = arena_alloc(&o->arena, sizeof(*o->root) + 1);
	o->root->inode = outline_plain_directory(o);
	o->root->flags = OUTLINE_IMPLIED;
	return o;
}

void outline_free(struct outline *o)
{
	if (!o)
		return;
	arena_done(&o->arena);
	free(o->buckets);
	free(o);
}

struct outline_node *outline_root(const struct outline *o)
{
	return o->root;
}

struct outline_inode *outline_inode(struct outline *o)
{
	return arena_alloc(&o->arena, sizeof(struct outline_inode));
}

struct outline_inode *outline_plain_directory(struct outline *o)
{
	struct outline_inode *inode = outline_inode(o);

	inode->mode = S_IFDIR | 0755;
	return inode;
}

char *outline_keep(struct outline *o, const void *data, size_t size)
{
	char *copy = arena_alloc(&o->arena, size + 1);

	if (size)
		memcpy(copy, data, size);
	return copy;
}

/* ---- names ---- */

/* FNV-1a, begun with the directory.  Who makes names collide waits longer for his own pull. */
static uint32_t hash_of(const struct outline_node *dir, const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325ULL ^ ((uintptr_t)dir >> 4);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3ULL;
	return (uint32_t)(h ^ h >> 32);
}

static struct outline_node **bucket(const struct outline *o, uint32_t hash)
{
	return &o->buckets[hash & (o->bucket_count - 1)];
}

struct outline_node *outline_find(const struct outline *o, const struct outline_node *dir,
				  const char *name, size_t len)
{
	uint32_t hash = hash_of(dir, name, len);

	for (struct outline_node *n = *bucket(o, hash); n; n = n->chain)
		if (n->hash == hash && n->parent == dir && n->name_len == len &&
		    memcmp(n->name, name, len) == 0)
			return n;
	return NULL;
}

struct outline_node *outline_walk(const struct outline *o, const char *path)
{
	struct outline_node *n = o->root;

	while (n && *path) {
		size_t len = strcspn(path, "/");

		n = outline_find(o, n, path, len);
		path += len + (path[len] == '/');
	}
	return n;
}

static void grow(struct outline *o)
{
	struct outline_node **old = o->buckets;
	uint32_t old_count = o->bucket_count;

	o->bucket_count *= 2;
	o->buckets = xcalloc(o->bucket_count, sizeof(struct outline_node *));
	for (uint32_t i = 0; i < old_count; i++) {
		for (struct outline_node *n = old[i], *next; n; n = next) {
			next = n->chain;
			n->chain = *bucket(o, n->hash);
			*bucket(o, n->hash) = n;
		}
	}
	free(old);
}

struct outline_node *outline_add(struct outline *o, struct outline_node *dir, const char *name,
				 size_t len)
{
	struct outline_node *n;

	assert(len >= 1 && len <= 255);

	if (o->count++ == o->bucket_count)
		grow(o);
	n = arena_alloc(&o->arena, sizeof(*n) + len + 1);
	n->parent = dir;
	n->next = dir->first;
	if (dir->first)
		dir->first->previous = n;
	dir->first = n;
	n->hash = hash_of(dir, name, len);
	n->name_len = (uint8_t)len;
	memcpy(n->name, name, len);
	n->chain = *bucket(o, n->hash);
	*bucket(o, n->hash) = n;
	return n;
}

static void forget(struct outline *o, struct outline_node *n)
{
	struct outline_node **at = bucket(o, n->hash);

	while (*at != n)
		at = &(*at)->chain;
	*at = n->chain;
	o->count--;
}

void outline_clear(struct outline *o, struct outline_node *dir)
{
	for (struct outline_node *n = dir->first; n; n = n->next) {
		outline_clear(o, n); /* as deep as paths may be: TAR_DEPTH_MAX */
		forget(o, n);
	}
	dir->first = NULL;
}

void outline_remove(struct outline *o, struct outline_node *node)
{
	assert(node->parent);

	outline_clear(o, node);
	forget(o, node);
	if (node->previous)
		node->previous->next = node->next;
	else
		node->parent->first = node->next;
	if (node->next)
		node->next->previous = node->previous;
}

/* ---- order ---- */

static int by_name(const void *a, const void *b)
{
	const struct outline_node *x = *(struct outline_node *const *)a;
	const struct outline_node *y = *(struct outline_node *const *)b;
	size_t len = x->name_len < y->name_len ? x->name_len : y->name_len;
	int r = memcmp(x->name, y->name, len);

	return r ? r : x->name_len - y->name_len;
}

struct outline_node **outline_order(struct outline *o, uint32_t *ret_count)
{
	struct outline_node **order = xcalloc(o->count + 1, sizeof(struct outline_node *));
	uint32_t count = 1;

	order[0] = o->root;
	for (uint32_t i = 0; i < count; i++) {
		struct outline_node *dir = order[i];

		dir->index = i;
		dir->child = count;
		for (struct outline_node *n = dir->first; n; n = n->next)
			order[count++] = n;
		dir->children = count - dir->child;
		if (dir->children)
			qsort(order + dir->child, dir->children, sizeof(struct outline_node *),
			      by_name);
	}
	assert(count == o->count + 1);
	*ret_count = count;
	return order;
}
