/* image/erofs.c - an outline becomes a file system that the kernel mounts
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two passes over the nodes: the first gives each inode and each directory its
 * place, the second writes.  What is on disk is little-endian.
 */
#include "image/erofs.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "image/reason.h"

#define MAGIC          0xe0f5e1e2
#define BLOCK_BITS     9
#define BLOCK          (1U << BLOCK_BITS)
#define SUPER_OFFSET   1024
#define SLOT_SIZE      32 /* inodes are counted in these */
#define CHUNK_BITS_MAX 31
#define OUT_SIZE       (256 << 10)

#define CHUNKED_FILES 0x4 /* features that a kernel must know */
#define DEVICE_TABLE  0x8

struct super {
	uint32_t magic, checksum, compatible;
	uint8_t block_bits, slots;
	uint16_t root;
	uint64_t inodes, build_time;
	uint32_t build_time_ns, blocks, meta_block, attributes_block;
	uint8_t uuid[16], volume[16];
	uint32_t incompatible;
	uint16_t algorithms, devices, device_slot;
	uint8_t directory_bits, prefixes;
	uint32_t prefixes_start;
	uint64_t packed;
	uint8_t reserved[24];
};

struct device {
	uint8_t tag[64];
	uint32_t blocks, mapped;
	uint8_t reserved[56];
};

struct disk_inode {
	uint16_t format, attributes, mode, reserved;
	uint64_t size;
	uint32_t place, number, uid, gid;
	int64_t mtime_s;
	uint32_t mtime_ns, links;
	uint8_t reserved2[16];
};

struct attributes_head {
	uint32_t filter;
	uint8_t shared, reserved[7];
};

struct chunk {
	uint16_t high, device;
	uint32_t block;
};

struct name {
	uint64_t inode;
	uint16_t offset;
	uint8_t type, reserved;
} __attribute__((packed));

static_assert(sizeof(struct super) == 128 && sizeof(struct device) == 128 &&
		      sizeof(struct disk_inode) == 64 && sizeof(struct attributes_head) == 12 &&
		      sizeof(struct chunk) == 8 && sizeof(struct name) == 12,
	      "as on disk");

#define LONG_FORM  1 /* 64 bytes, not 32 */
#define FLAT       (0 << 1)
#define IN_CHUNKS  (4 << 1)
#define WITH_INDEX 0x20 /* of chunks: where each is, and in which device */

struct writer {
	int fd, error; /* -errno */
	struct buf out;
	uint64_t at; /* bytes so far */
	struct outline_node **order;
	uint32_t count;
	uint64_t inode_count, data_block; /* the next one that is free */
};

/* ---- places ---- */

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

static uint64_t attributes_space(const struct outline_inode *i)
{
	return i->attributes_size ? sizeof(struct attributes_head) + i->attributes_size : 0;
}

static bool has_chunk(const struct outline_inode *i)
{
	return S_ISREG(i->mode) && i->size > 0;
}

/* Of an inode with what stands behind it. */
static uint64_t inode_space(const struct outline_inode *i)
{
	uint64_t size = sizeof(struct disk_inode) + attributes_space(i);

	if (has_chunk(i))
		size = round_up(size, sizeof(struct chunk)) + sizeof(struct chunk);
	return round_up(size, SLOT_SIZE);
}

/* The names of a directory in the order of their bytes, its own two among them. */
struct names {
	const struct outline_node *dir;
	struct outline_node **children;
	uint32_t next;
	unsigned dots; /* given so far */
};

static const char *const dots[] = {".", ".."};

/* Which of "." and ".." comes before the child, if any. */
static bool dot_is_next(const struct names *n)
{
	const struct outline_node *child;

	if (n->dots == 2)
		return false;
	if (n->next == n->dir->children)
		return true;
	child = n->children[n->next];
	return strcmp(dots[n->dots], child->name) < 0;
}

/* False at the end. */
static bool next_name(struct names *n, const char **ret_name, size_t *ret_len,
		      const struct outline_inode **ret_inode)
{
	if (dot_is_next(n)) {
		const struct outline_node *parent = n->dir->parent ? n->dir->parent : n->dir;

		*ret_name = dots[n->dots];
		*ret_len = n->dots + 1U;
		*ret_inode = n->dots ? parent->inode : n->dir->inode;
		n->dots++;
		return true;
	}
	if (n->next == n->dir->children)
		return false;
	*ret_name = n->children[n->next]->name;
	*ret_len = n->children[n->next]->name_len;
	*ret_inode = n->children[n->next]->inode;
	n->next++;
	return true;
}

static struct names names_of(const struct writer *w, const struct outline_node *dir)
{
	return (struct names){.dir = dir, .children = w->order + dir->child};
}

static uint64_t directory_blocks(const struct writer *w, const struct outline_node *dir)
{
	struct names names = names_of(w, dir);
	const struct outline_inode *inode;
	const char *name;
	size_t len, used = 0;
	uint64_t blocks = 1;

	while (next_name(&names, &name, &len, &inode)) {
		if (used + sizeof(struct name) + len > BLOCK) {
			blocks++;
			used = 0;
		}
		used += sizeof(struct name) + len;
	}
	return blocks;
}

/* An inode's .number is its place until it is written: in slots, plus one. */
static void place_inodes(struct writer *w, uint64_t begin)
{
	uint64_t at = begin;

	for (uint32_t i = 0; i < w->count; i++) {
		struct outline_inode *inode = w->order[i]->inode;

		if (inode->number == 0) {
			inode->number = at / SLOT_SIZE + 1;
			inode->links = 0;
			at += inode_space(inode);
			w->inode_count++;
		}
		if (!outline_is_directory(w->order[i])) {
			inode->links++;
			continue;
		}
		inode->links += 2;
		if (w->order[i]->parent)
			w->order[i]->parent->inode->links++;
	}
	w->data_block = round_up(at, BLOCK) / BLOCK;
}

/* Directories and links get theirs here, and keep them in .where. */
static void place_data(struct writer *w)
{
	for (uint32_t i = 0; i < w->count; i++) {
		struct outline_inode *inode = w->order[i]->inode;
		uint64_t blocks = 0;

		if (outline_is_directory(w->order[i])) {
			blocks = directory_blocks(w, w->order[i]);
			inode->size = blocks * BLOCK;
		} else if (S_ISLNK(inode->mode) && !inode->where) {
			blocks = round_up(inode->size, BLOCK) / BLOCK;
		}
		if (!blocks)
			continue;
		inode->where = w->data_block;
		w->data_block += blocks;
	}
}

/* ---- writing ---- */

static void flush(struct writer *w)
{
	if (w->error == 0 && w->out.size)
		w->error = write_all(w->fd, w->out.data, w->out.size);
	buf_reset(&w->out);
}

static void put(struct writer *w, const void *data, size_t size)
{
	if (w->out.size + size > OUT_SIZE)
		flush(w);
	buf_add(&w->out, data, size);
	w->at += size;
}

static void pad(struct writer *w, uint64_t to)
{
	static const char zeros[SUPER_OFFSET];
	uint64_t missing = round_up(w->at, to) - w->at;

	assert(missing <= sizeof(zeros));
	put(w, zeros, missing);
}

static void put_super(struct writer *w, const uint64_t *device_bytes, size_t device_count)
{
	struct super s = {
		.magic = htole32(MAGIC),
		.block_bits = BLOCK_BITS,
		.root = htole16((uint16_t)(w->order[0]->inode->number - 1)),
		.inodes = htole64(w->inode_count),
		.blocks = htole32((uint32_t)w->data_block),
		.incompatible = htole32(CHUNKED_FILES | (device_count ? DEVICE_TABLE : 0)),
		.devices = htole16((uint16_t)device_count),
		.device_slot = htole16((SUPER_OFFSET + sizeof(s)) / sizeof(struct device)),
	};

	buf_add(&w->out, (char[SUPER_OFFSET]){0}, SUPER_OFFSET);
	w->at = SUPER_OFFSET;
	put(w, &s, sizeof(s));
	for (size_t i = 0; i < device_count; i++) {
		struct device d = {
			.blocks = htole32((uint32_t)(round_up(device_bytes[i], BLOCK) / BLOCK))};

		put(w, &d, sizeof(d));
	}
}

/* As the kernel's new_encode_dev(). */
static uint32_t encode_device(uint64_t device)
{
	uint32_t minor_number = minor(device);

	return (minor_number & 0xff) | major(device) << 8 | (minor_number & ~0xffU) << 12;
}

/* The smallest chunk that all of it fits in. */
static uint32_t chunk_format(uint64_t size)
{
	uint32_t bits = 0;

	while (bits < CHUNK_BITS_MAX && (uint64_t)BLOCK << bits < size)
		bits++;
	return WITH_INDEX | bits;
}

static void put_inode(struct writer *w, const struct outline_inode *i)
{
	uint64_t attributes = attributes_space(i);
	struct disk_inode d = {
		.format = htole16(LONG_FORM | (has_chunk(i) ? IN_CHUNKS : FLAT)),
		.mode = htole16((uint16_t)i->mode),
		.size = htole64(i->size),
		.number = htole32((uint32_t)i->number),
		.uid = htole32(i->uid),
		.gid = htole32(i->gid),
		.mtime_s = (int64_t)htole64((uint64_t)i->mtime_s),
		.mtime_ns = htole32(i->mtime_ns),
		.links = htole32(i->links),
	};

	if (attributes)
		d.attributes =
			htole16((uint16_t)((attributes - sizeof(struct attributes_head)) / 4 + 1));
	if (has_chunk(i))
		d.place = htole32(chunk_format(i->size));
	else if (S_ISDIR(i->mode) || S_ISLNK(i->mode))
		d.place = htole32((uint32_t)i->where);
	else if (!S_ISREG(i->mode))
		d.place = htole32(encode_device(i->where));
	put(w, &d, sizeof(d));
	if (attributes) {
		put(w, &(struct attributes_head){0}, sizeof(struct attributes_head));
		put(w, i->attributes, i->attributes_size);
	}
	if (has_chunk(i)) {
		struct chunk c = {.device = htole16((uint16_t)(i->device + 1)),
				  .block = htole32((uint32_t)(i->where / BLOCK))};

		pad(w, sizeof(c));
		put(w, &c, sizeof(c));
	}
	pad(w, SLOT_SIZE);
}

static void put_inodes(struct writer *w)
{
	for (uint32_t i = 0; i < w->count; i++)
		if (w->order[i]->inode->number - 1 == w->at / SLOT_SIZE)
			put_inode(w, w->order[i]->inode);
}

static uint8_t name_type(uint32_t mode)
{
	static const uint8_t types[] = {
		[S_IFREG >> 12] = 1, [S_IFDIR >> 12] = 2, [S_IFCHR >> 12] = 3,
		[S_IFBLK >> 12] = 4, [S_IFIFO >> 12] = 5, [S_IFLNK >> 12] = 7,
	};

	return types[(mode & S_IFMT) >> 12];
}

/* In each block first the rows, then the texts they point to. */
struct block {
	struct name rows[BLOCK / sizeof(struct name)];
	char texts[BLOCK];
	size_t count, texts_size;
};

static void put_block(struct writer *w, struct block *b)
{
	size_t begin = b->count * sizeof(struct name);

	for (size_t i = 0; i < b->count; i++)
		b->rows[i].offset = htole16((uint16_t)(b->rows[i].offset + begin));
	put(w, b->rows, begin);
	put(w, b->texts, b->texts_size);
	pad(w, BLOCK);
	b->count = b->texts_size = 0;
}

static void put_directory(struct writer *w, const struct outline_node *dir)
{
	struct names names = names_of(w, dir);
	const struct outline_inode *inode;
	struct block b = {.count = 0};
	const char *name;
	size_t len;

	while (next_name(&names, &name, &len, &inode)) {
		if ((b.count + 1) * sizeof(struct name) + b.texts_size + len > BLOCK)
			put_block(w, &b);
		b.rows[b.count++] = (struct name){.inode = htole64(inode->number - 1),
						  .offset = (uint16_t)b.texts_size,
						  .type = name_type(inode->mode)};
		memcpy(b.texts + b.texts_size, name, len);
		b.texts_size += len;
	}
	put_block(w, &b);
}

static void put_data(struct writer *w)
{
	for (uint32_t i = 0; i < w->count; i++) {
		const struct outline_inode *inode = w->order[i]->inode;

		if (outline_is_directory(w->order[i])) {
			put_directory(w, w->order[i]);
		} else if (S_ISLNK(inode->mode) && inode->where == w->at / BLOCK) {
			put(w, inode->target, inode->size);
			pad(w, BLOCK);
		}
	}
}

static int check_sizes(const struct writer *w, const uint64_t *device_bytes, size_t device_count,
		       struct err *e)
{
	if (w->data_block > UINT32_MAX || w->inode_count > UINT32_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "index of more than 2 TiB");
	for (size_t i = 0; i < device_count; i++)
		if (device_bytes[i] / BLOCK >= UINT32_MAX)
			return image_fail(e, IMAGE_REASON_TOO_LARGE, "layer of more than 2 TiB");
	return 0;
}

int erofs_write(struct outline *o, const uint64_t *device_bytes, size_t device_count, int fd,
		struct err *e)
{
	struct writer w = {.fd = fd, .out = BUF_INIT(2 * OUT_SIZE)};
	int r;

	assert(device_count <= EROFS_DEVICES_MAX);

	w.order = outline_order(o, &w.count);
	place_inodes(&w,
		     SUPER_OFFSET + sizeof(struct super) + device_count * sizeof(struct device));
	place_data(&w);
	r = check_sizes(&w, device_bytes, device_count, e);
	if (r == 0) {
		put_super(&w, device_bytes, device_count);
		put_inodes(&w);
		pad(&w, BLOCK);
		put_data(&w);
		flush(&w);
	}
	free(w.order);
	buf_done(&w.out);
	if (r == 0 && w.error < 0) {
		errno = -w.error;
		r = os_fail(e, "write the index");
	}
	return r;
}
