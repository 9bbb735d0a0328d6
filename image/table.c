/* image/table.c - what is in a layer, as a file beside its tar
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/attributes.h"
#include "image/reason.h"
#include "image/tar.h"

#define TITLE       "berth layer 1\n"
#define OUT_SIZE    (256 << 10)
#define PLACE_ALIGN 512
#define ROWS_MAX    (TAR_ENTRIES_MAX + 1000000) /* directories are implied, too */

struct header {
	char title[16];
	struct table_sums sums;
	uint64_t texts_size;
	uint32_t row_count, reserved;
};

struct row {
	uint64_t size, where;
	int64_t mtime_s;
	uint32_t mtime_ns, mode, uid, gid;
	uint32_t parent, link;
	uint32_t text_len, attributes_size;
	uint8_t kind, flags, device, name_len;
	uint32_t reserved;
};

static_assert(sizeof(struct header) == 64 && sizeof(struct row) == 64, "no room between members");

/* ---- writing ---- */

struct writer {
	int fd;
	struct buf out;
	int error; /* -errno */
};

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
}

static const char *text_of(const struct outline_node *n)
{
	return n->below ? n->below : n->inode ? n->inode->target : NULL;
}

/* The row that describes the inode: the first one of its names. */
static uint32_t first_row(const struct outline_node *n)
{
	if (n->inode && n->inode->number == 0)
		n->inode->number = (uint64_t)n->index + 1;
	return n->inode ? (uint32_t)(n->inode->number - 1) : n->index;
}

static struct row row_of(const struct outline_node *n)
{
	const struct outline_inode *i = n->inode;
	const char *text = text_of(n);
	struct row r = {
		.kind = i          ? TABLE_INODE
			: n->below ? TABLE_BELOW
				   : TABLE_WHITEOUT,
		.flags = n->flags,
		.name_len = n->name_len,
		.parent = n->parent ? n->parent->index : 0,
		.link = first_row(n),
	};

	if (text && r.link == n->index)
		r.text_len = (uint32_t)strlen(text);
	if (!i || r.link != n->index)
		return r;
	r.size = i->size;
	r.where = i->where;
	r.mtime_s = i->mtime_s;
	r.mtime_ns = i->mtime_ns;
	r.mode = i->mode;
	r.uid = i->uid;
	r.gid = i->gid;
	r.device = (uint8_t)i->device;
	r.attributes_size = i->attributes_size;
	return r;
}

static void put_texts(struct writer *w, const struct outline_node *n)
{
	put(w, n->name, n->name_len);
	if (n->inode && n->inode->number != (uint64_t)n->index + 1)
		return;
	if (text_of(n))
		put(w, text_of(n), strlen(text_of(n)));
	if (n->inode && n->inode->attributes_size)
		put(w, n->inode->attributes, n->inode->attributes_size);
}

static void add_up(const struct row *r, struct header *h)
{
	h->texts_size += (uint64_t)r->name_len + r->text_len + r->attributes_size;
	if (S_ISREG(r->mode))
		h->sums.file_bytes += r->size;
	if (r->uid > h->sums.max_id)
		h->sums.max_id = r->uid;
	if (r->gid > h->sums.max_id)
		h->sums.max_id = r->gid;
}

int table_write(struct outline *o, struct table_sums *sums, int fd, struct err *e)
{
	struct writer w = {.fd = fd, .out = BUF_INIT(2 * OUT_SIZE)};
	struct header h = {.title = TITLE, .sums = *sums};
	struct outline_node **order = outline_order(o, &h.row_count);

	h.sums.file_bytes = h.sums.max_id = 0;
	for (uint32_t i = 0; i < h.row_count; i++) {
		struct row r = row_of(order[i]);

		add_up(&r, &h);
	}
	put(&w, &h, sizeof(h));
	for (uint32_t i = 0; i < h.row_count; i++) {
		struct row r = row_of(order[i]);

		put(&w, &r, sizeof(r));
	}
	for (uint32_t i = 0; i < h.row_count; i++)
		put_texts(&w, order[i]);
	flush(&w);
	buf_done(&w.out);
	free(order);
	if (w.error < 0) {
		errno = -w.error;
		return os_fail(e, "write the layer's table");
	}
	*sums = h.sums;
	return 0;
}

/* ---- checking ---- */

struct table {
	char *bytes;
	const struct header *header;
	const struct row *rows;
	const char *texts;

	uint32_t next;      /* row */
	const char *cursor; /* of the texts */
};

static int bad(struct err *e, uint32_t row, const char *what)
{
	return image_fail(e, IMAGE_REASON_MALFORMED, "table of a layer, row %u: %s", row, what);
}

static bool is_name(const char *name, size_t len)
{
	return len >= 1 && len <= TAR_NAME_MAX && !memchr(name, '/', len) &&
	       !memchr(name, '\0', len) && !(len == 1 && name[0] == '.') &&
	       !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* Content lies in its device, from the begin of a block on. */
static bool is_place(const struct row *r, const uint64_t device_bytes[TABLE_DEVICES])
{
	return r->where % PLACE_ALIGN == 0 && r->where <= device_bytes[r->device] &&
	       r->size <= device_bytes[r->device] - r->where;
}

static int check_inode(const struct row *r, uint32_t i, const uint64_t device_bytes[TABLE_DEVICES],
		       const char *text, struct err *e)
{
	bool link = S_ISLNK(r->mode);

	if ((r->mode & ~(uint32_t)(S_IFMT | 07777)) || r->uid > TAR_ID_MAX || r->gid > TAR_ID_MAX ||
	    r->mtime_ns > 999999999)
		return bad(e, i, "mode, owner or time");
	if (r->device >= TABLE_DEVICES)
		return bad(e, i, "device");
	if (!S_ISREG(r->mode) && !S_ISDIR(r->mode) && !link && !S_ISCHR(r->mode) &&
	    !S_ISBLK(r->mode) && !S_ISFIFO(r->mode))
		return bad(e, i, "unknown type");
	if (link ? r->text_len == 0 || r->text_len >= TAR_PATH_MAX || r->size != r->text_len
		 : r->text_len != 0)
		return bad(e, i, "target");
	if (S_ISREG(r->mode) ? r->size && !is_place(r, device_bytes) : !link && r->size)
		return bad(e, i, "content outside of the layer");
	if (!S_ISREG(r->mode) && r->where > (S_ISCHR(r->mode) || S_ISBLK(r->mode) ? UINT32_MAX : 0))
		return bad(e, i, "device number");
	if (S_ISCHR(r->mode) && r->where == 0)
		return bad(e, i, "character device 0:0");
	if (memchr(text, '\0', r->text_len) ||
	    !attributes_valid(text + r->text_len, r->attributes_size))
		return bad(e, i, "target or attributes");
	return 0;
}

/* What a row without an inode of its own may say. */
static int check_other(const struct row *rows, uint32_t i, const char *text, struct err *e)
{
	const struct row *r = &rows[i];
	bool below = r->kind == TABLE_BELOW;
	char path[TAR_PATH_MAX], clean[TAR_PATH_MAX];

	if (r->kind == TABLE_INODE) {
		const struct row *first = &rows[r->link];

		if (first->kind != TABLE_INODE || first->link != r->link || S_ISDIR(first->mode))
			return bad(e, i, "link to what has no other name");
	}
	if (r->attributes_size || (!below && r->text_len) || r->text_len >= TAR_PATH_MAX)
		return bad(e, i, "text without use");
	if (!below)
		return 0;
	memcpy(path, text, r->text_len);
	path[r->text_len] = '\0';
	if (strlen(path) != r->text_len || tar_clean_path(path, clean, e) < 0 ||
	    strcmp(path, clean) != 0 || !path[0])
		return bad(e, i, "path below");
	return 0;
}

/* 'name' and 'last', that of the row before: in one directory names grow. */
static int check_position(const struct row *rows, uint32_t i, const char *name, const char *last,
			  const uint16_t *depths, struct err *e)
{
	const struct row *r = &rows[i], *before = r - 1;
	size_t len;
	int order;

	if (r->parent >= i || r->parent < before->parent)
		return bad(e, i, "parent");
	if (rows[r->parent].kind != TABLE_INODE || rows[r->parent].link != r->parent ||
	    !S_ISDIR(rows[r->parent].mode))
		return bad(e, i, "parent is no directory");
	if (depths[r->parent] >= TAR_DEPTH_MAX)
		return bad(e, i, "nested too deep");
	if (!is_name(name, r->name_len))
		return bad(e, i, "name");
	if (i == 1 || r->parent != before->parent)
		return 0;
	len = r->name_len < before->name_len ? r->name_len : before->name_len;
	order = memcmp(last, name, len);
	if (order > 0 || (order == 0 && before->name_len >= r->name_len))
		return bad(e, i, "order of names");
	return 0;
}

static int check_rows(const struct table *t, const uint64_t device_bytes[TABLE_DEVICES],
		      struct err *e)
{
	const struct row *rows = t->rows;
	const char *text = t->texts, *end = text + t->header->texts_size, *last = NULL;
	auto_free uint16_t *depths = xcalloc(t->header->row_count, sizeof(uint16_t));

	for (uint32_t i = 0; i < t->header->row_count; i++) {
		const struct row *r = &rows[i];
		const char *name = text;

		if ((uint64_t)r->name_len + r->text_len + r->attributes_size >
		    (uint64_t)(end - text))
			return bad(e, i, "texts are too short");
		text += r->name_len;
		if (r->kind > TABLE_BELOW || r->link > i ||
		    r->flags & ~(OUTLINE_OPAQUE | OUTLINE_IMPLIED) ||
		    (r->flags && (r->kind != TABLE_INODE || r->link != i || !S_ISDIR(r->mode))))
			return bad(e, i, "kind, link or flags");
		if (i == 0 ? r->kind != TABLE_INODE || r->parent || r->name_len || !S_ISDIR(r->mode)
			   : check_position(rows, i, name, last, depths, e) < 0)
			return i == 0 ? bad(e, i, "the root") : -e->code;
		if (r->kind == TABLE_INODE && r->link == i) {
			if (check_inode(r, i, device_bytes, text, e) < 0)
				return -e->code;
		} else if (check_other(rows, i, text, e) < 0) {
			return -e->code;
		}
		depths[i] = i ? (uint16_t)(depths[r->parent] + 1) : 0;
		text += (size_t)r->text_len + r->attributes_size;
		last = name;
	}
	return text == end ? 0 : bad(e, t->header->row_count, "texts are too long");
}

/* ---- reading ---- */

static int check_header(const struct table *t, size_t size, const uint64_t device_bytes[],
			struct err *e)
{
	const struct header *h = t->header;

	if (size < sizeof(*h) || memcmp(h->title, TITLE, sizeof(TITLE)) != 0)
		return image_fail(e, IMAGE_REASON_MALFORMED,
				  "table of a layer: does not begin with '%.13s'", TITLE);
	if (h->row_count < 1 || h->row_count > ROWS_MAX || h->texts_size > TABLE_SIZE_MAX ||
	    size - sizeof(*h) != h->row_count * sizeof(struct row) + h->texts_size)
		return image_fail(e, IMAGE_REASON_MALFORMED, "table of a layer: size");
	for (size_t i = 0; i < TABLE_DEVICES; i++)
		if (h->sums.device_bytes[i] != device_bytes[i])
			return image_fail(e, IMAGE_REASON_MALFORMED,
					  "table of a layer: its content has another size");
	return 0;
}

int table_read(int fd, const uint64_t device_bytes[TABLE_DEVICES], struct table **ret,
	       struct err *e)
{
	struct table *t;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return os_fail(e, "stat the table of a layer");
	if (st.st_size > TABLE_SIZE_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "table of more than %d MiB",
				  TABLE_SIZE_MAX >> 20);
	t = xcalloc(1, sizeof(*t));
	t->bytes = xcalloc(1, (size_t)st.st_size + sizeof(struct header));
	t->header = (const struct header *)t->bytes;
	t->rows = (const struct row *)(t->header + 1);
	if (read_all(fd, t->bytes, (size_t)st.st_size) != st.st_size) {
		table_free(t);
		return image_fail(e, IMAGE_REASON_OTHER, "read the table of a layer");
	}
	if (check_header(t, (size_t)st.st_size, device_bytes, e) < 0) {
		table_free(t);
		return -e->code;
	}
	t->texts = (const char *)(t->rows + t->header->row_count);
	if (check_rows(t, device_bytes, e) < 0) {
		table_free(t);
		return -e->code;
	}
	table_rewind(t);
	*ret = t;
	return 0;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	free(t->bytes);
	free(t);
}

const struct table_sums *table_sums(const struct table *t)
{
	return &t->header->sums;
}

uint32_t table_count(const struct table *t)
{
	return t->header->row_count;
}

void table_rewind(struct table *t)
{
	t->next = 0;
	t->cursor = t->texts;
}

void table_next(struct table *t, struct table_row *ret)
{
	const struct row *r = &t->rows[t->next];

	assert(t->next < t->header->row_count);

	*ret = (struct table_row){
		.kind = (enum table_kind)r->kind,
		.flags = r->flags,
		.parent = r->parent,
		.link = r->link,
		.name = t->cursor,
		.name_len = r->name_len,
		.text = t->cursor + r->name_len,
		.text_len = r->text_len,
		.inode = {.mode = r->mode,
			  .uid = r->uid,
			  .gid = r->gid,
			  .mtime_s = r->mtime_s,
			  .mtime_ns = r->mtime_ns,
			  .size = r->size,
			  .where = r->where,
			  .device = r->device,
			  .attributes = t->cursor + r->name_len + r->text_len,
			  .attributes_size = r->attributes_size},
	};
	t->cursor = (const char *)ret->inode.attributes + r->attributes_size;
	t->next++;
}
