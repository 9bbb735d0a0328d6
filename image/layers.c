/* image/layers.c - the store's layers, and what is on its way in or out
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/text.h"
#include "image/parents.h"
#include "image/store.h"

#define TREE    "fs"
#define TAR     "tar"
#define TABLE   "table"
#define SPARSE  "sparse"
#define IMPLIED "implied"
#define SUMS    "bytes" /* of all files, a blank, the greatest id, which older stores do not have */

#define PARTIAL_S 86400

#define LAYER_PATH_SIZE (2 * SHA256_HEX + 16)

/* ---- where things are ---- */

static int layers_of(const struct store *s, enum image_form form)
{
	return form == IMAGE_INDEXED ? s->tars_fd : s->layers_fd;
}

static void layer_path(const char *diff_id, const char *file, char ret[LAYER_PATH_SIZE])
{
	(void)snprintf(ret, LAYER_PATH_SIZE, "%s/%s", digest_hex(diff_id), file);
}

struct sums {
	uint64_t bytes;
	uint32_t max_id;
};

/* False: the layer is not there. */
static bool read_sums(const struct store *s, enum image_form form, const char *diff_id,
		      struct sums *ret)
{
	auto_buf struct buf b = BUF_INIT(64);
	char path[LAYER_PATH_SIZE], *rest, *bytes;
	struct err ignored;

	layer_path(diff_id, SUMS, path);
	if (fs_read(layers_of(s, form), path, &b, &ignored) < 0 || !b.size)
		return false;
	rest = b.data;
	bytes = strsep(&rest, " ");
	ret->max_id = 0;
	return parse_u64(bytes, INT64_MAX, &ret->bytes) &&
	       (!rest || parse_u32(rest, UINT32_MAX, &ret->max_id));
}

int store_open_blob(const struct store *s, const struct record_layer *l)
{
	char path[LAYER_PATH_SIZE];
	int fd;

	layer_path(l->diff_id, digest_hex(l->blob), path);
	fd = openat(layers_of(s, s->form), path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void lent_path(const struct record_layer *l, char ret[LAYER_PATH_SIZE])
{
	(void)snprintf(ret, LAYER_PATH_SIZE, "%s.lent", digest_hex(l->blob));
}

int store_open_blob_or_lent(const struct store *s, const struct record_layer *l)
{
	char path[LAYER_PATH_SIZE];
	int fd = str_eq(l->blob, l->diff_id) ? store_open_tar(s, l->diff_id)
					     : store_open_blob(s, l);

	if (fd >= 0)
		return fd;
	lent_path(l, path);
	fd = openat(s->partial_fd, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int store_lend_blob(const struct store *s, const char *ingest, const struct record_layer *l,
		    struct err *e)
{
	char from[LAYER_PATH_SIZE], to[LAYER_PATH_SIZE];

	(void)snprintf(from, sizeof(from), "%s/%s", ingest, digest_hex(l->blob));
	lent_path(l, to);
	return renameat(s->ingest_fd, from, s->partial_fd, to) < 0
		       ? err_sys(e, "image store: lend blob %.16s", digest_hex(l->blob))
		       : 0;
}

void store_drop_lent(const struct store *s, const struct record_layer *l)
{
	char path[LAYER_PATH_SIZE];

	lent_path(l, path);
	(void)unlinkat(s->partial_fd, path, 0);
}

bool store_has_blob(const struct store *s, const struct record_layer *l)
{
	auto_close int fd = str_eq(l->blob, l->diff_id) ? -1 : store_open_blob(s, l);

	return fd >= 0 || str_eq(l->blob, l->diff_id);
}

static bool has_layer(const struct store *s, enum image_form form, const char *diff_id)
{
	struct sums ignored;

	return read_sums(s, form, diff_id, &ignored);
}

bool store_has_layer(const struct store *s, const char *diff_id)
{
	return has_layer(s, s->form, diff_id);
}

/*
 * The record's layers, each once: of one that repeats the highest counts,
 * because it hides all of the lower.
 */
static size_t distinct_layers(const struct record *r, const struct record_layer **ret)
{
	size_t count = 0;

	for (size_t i = 0; i < r->layer_count; i++) {
		bool repeats = false;

		for (size_t j = i + 1; j < r->layer_count; j++)
			repeats |= str_eq(r->layers[i].diff_id, r->layers[j].diff_id);
		if (!repeats)
			ret[count++] = &r->layers[i];
	}
	return count;
}

void store_index_name(const struct record *r, char ret[SHA256_HEX])
{
	const struct record_layer *layers[IMAGE_LAYERS_MAX];
	size_t count = distinct_layers(r, layers);
	struct sha256 *h = sha256_new();

	for (size_t i = 0; i < count; i++)
		sha256_add(h, layers[i]->diff_id, strlen(layers[i]->diff_id) + 1);
	sha256_hex(h, ret);
	sha256_free(h);
}

bool store_has_index(const struct store *s, const struct record *r)
{
	char name[SHA256_HEX];

	store_index_name(r, name);
	return faccessat(s->indexes_fd, name, F_OK, 0) == 0;
}

/* ---- what shows an image ---- */

/* 0: absent, or empty, and no device. */
static uint64_t bytes_at(int dir_fd, const char *path)
{
	struct stat st;

	return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)
		       ? 0
		       : (uint64_t)st.st_size;
}

/* Of one of the layer's files. */
static uint64_t file_bytes(const struct store *s, const char *diff_id, const char *file)
{
	char path[LAYER_PATH_SIZE];

	layer_path(diff_id, file, path);
	return bytes_at(s->tars_fd, path);
}

static const char *const device_files[TABLE_DEVICES] = {
	[TABLE_TAR] = TAR,
	[TABLE_SPARSE] = SPARSE,
};

static void add_path(const struct store *s, enum image_form form, const char *diff_id,
		     const char *file, struct image *image)
{
	image->layers.items[image->layers.count++] =
		arena_printf(&image->arena, "%s/%s/%s/%s", s->dir,
			     form == IMAGE_INDEXED ? "tars" : "layers", digest_hex(diff_id), file);
}

/* The devices in the order in which the indexer counts them. */
static void add_devices(const struct store *s, const char *diff_id, struct image *image)
{
	for (size_t i = 0; i < TABLE_DEVICES; i++)
		if (file_bytes(s, diff_id, device_files[i]))
			add_path(s, IMAGE_INDEXED, diff_id, device_files[i], image);
}

/* Each as often as the image has it. */
static void add_parts(const struct store *s, enum image_form form, const struct record *r,
		      struct image *image)
{
	image->parts = arena_alloc(&image->arena, (r->layer_count + 1) * sizeof(*image->parts));
	image->part_count = r->layer_count;
	for (size_t i = 0; i < r->layer_count; i++) {
		const struct record_layer *l = &r->layers[i];
		struct sums sums = {0};

		(void)read_sums(s, form, l->diff_id, &sums);
		image->parts[i] =
			(struct image_part){.diff_id = arena_strdup(&image->arena, l->diff_id),
					    .blob = arena_strdup(&image->arena, l->blob),
					    .blob_size = l->blob_size,
					    .size = sums.bytes};
	}
}

/* They come first in the file, and are the only ones that begin like this. */
static bool has_links(const struct store *s, const char *path)
{
	auto_close int fd = openat(s->layers_fd, path, O_RDONLY | O_CLOEXEC);
	char first = 0;

	return fd >= 0 && read_all(fd, &first, 1) == 1 && first == '/';
}

/*
 * Whether a layer above another passes through directories without a word, or one has hard links
 * to what lower ones have: the lowest, too, which cannot.
 */
static bool needs_parents(const struct store *s, const struct record_layer *const *layers,
			  size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char path[LAYER_PATH_SIZE];

		layer_path(layers[i]->diff_id, IMPLIED, path);
		if (i == 0 ? has_links(s, path) : bytes_at(s->layers_fd, path) > 0)
			return true;
	}
	return false;
}

/* The name of what says what they are like, as if that were a layer. */
static void parents_id(const struct record *r, char ret[DIGEST_SIZE])
{
	char name[SHA256_HEX];

	store_index_name(r, name);
	(void)snprintf(ret, DIGEST_SIZE, "sha256:%s", name);
}

static int add_layers(const struct store *s, enum image_form form, const struct record *r,
		      struct image *image)
{
	const struct record_layer *layers[IMAGE_LAYERS_MAX];
	size_t count = distinct_layers(r, layers);

	image->layers.items = arena_alloc(&image->arena,
					  (count * TABLE_DEVICES + 1) * sizeof(char *));
	image->layers.count = 0;
	image->size = 0;
	image->greatest_id = 0;
	for (size_t i = 0; i < count; i++) {
		struct sums sums;

		if (!read_sums(s, form, layers[i]->diff_id, &sums))
			return IMAGE_ABSENT;
		image->size += sums.bytes;
		if (sums.max_id > image->greatest_id)
			image->greatest_id = sums.max_id;
		if (form == IMAGE_INDEXED)
			add_devices(s, layers[i]->diff_id, image);
		else
			add_path(s, form, layers[i]->diff_id, TREE, image);
	}
	if (form == IMAGE_UNPACKED && needs_parents(s, layers, count)) {
		char id[DIGEST_SIZE];

		parents_id(r, id);
		if (!has_layer(s, form, id))
			return IMAGE_ABSENT;
		add_path(s, form, id, TREE, image);
	}
	add_parts(s, form, r, image);
	return 0;
}

int store_add_layers(const struct store *s, const struct record *r, struct image *image)
{
	char name[SHA256_HEX];

	image->index = NULL;
	if (s->form == IMAGE_INDEXED && store_has_index(s, r) &&
	    add_layers(s, IMAGE_INDEXED, r, image) == 0) {
		store_index_name(r, name);
		image->index = arena_printf(&image->arena, "%s/indexes/%s", s->dir, name);
		return 0;
	}
	return add_layers(s, IMAGE_UNPACKED, r, image);
}

/* ---- layers on their way in ---- */

int store_lock(const struct store *s, struct err *e)
{
	auto_close int fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return err_sys(e, "image store: open lock");
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_sys(e, "image store: lock");
	return take_fd(fd);
}

void ingest_close(struct ingest *i)
{
	close_fd(&i->sums_fd);
	close_fd(&i->tree_fd);
	close_fd(&i->implied_fd);
	close_fd(&i->tar_fd);
	close_fd(&i->table_fd);
	close_fd(&i->sparse_fd);
	close_fd(&i->packed_fd);
}

static int create(const struct store *s, const char *name, const char *file, int *ret,
		  struct err *e)
{
	char path[INGEST_SIZE + SHA256_HEX];

	(void)snprintf(path, sizeof(path), "%s/%s", name, file);
	*ret = openat(s->ingest_fd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return *ret < 0 ? err_sys(e, "image store: create ingest/%s", path) : 0;
}

static int create_tree(const struct store *s, const char *name, int *ret, struct err *e)
{
	char path[INGEST_SIZE + 16];

	(void)snprintf(path, sizeof(path), "%s/" TREE, name);
	if (mkdirat(s->ingest_fd, path, 0755) < 0)
		return err_sys(e, "image store: make ingest/%s", path);
	*ret = openat(s->ingest_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*ret < 0 || fchmod(*ret, 0755) < 0) /* whatever the umask */
		return err_sys(e, "image store: open ingest/%s", path);
	return 0;
}

static int make_ingest(const struct store *s, char ret_name[INGEST_SIZE], struct err *e)
{
	random_hex(ret_name, INGEST_SIZE - 1);
	if (mkdirat(s->ingest_fd, ret_name, 0700) == 0)
		return 0;
	ret_name[0] = '\0';
	return err_sys(e, "image store: make a directory in ingest");
}

int store_ingest_blob(const struct store *s, const struct record_layer *l,
		      char ret_name[INGEST_SIZE], struct ingest *ret, struct err *e)
{
	struct ingest i = {-1, -1, -1, -1, -1, -1, -1};

	if (make_ingest(s, ret_name, e) < 0)
		return -e->code;
	if (create(s, ret_name, SUMS, &i.sums_fd, e) < 0 ||
	    create(s, ret_name, TABLE, &i.table_fd, e) < 0 ||
	    create(s, ret_name, SPARSE, &i.sparse_fd, e) < 0 ||
	    create(s, ret_name, digest_hex(l->blob), &i.packed_fd, e) < 0) {
		ingest_close(&i);
		return -e->code;
	}
	*ret = i;
	return 0;
}

int store_ingest(const struct store *s, const struct record_layer *keep_blob_of,
		 char ret_name[INGEST_SIZE], struct ingest *ret, struct err *e)
{
	struct ingest i = {-1, -1, -1, -1, -1, -1, -1};
	int r = make_ingest(s, ret_name, e);

	if (r == 0)
		r = create(s, ret_name, SUMS, &i.sums_fd, e);
	if (r == 0 && keep_blob_of && !str_eq(keep_blob_of->blob, keep_blob_of->diff_id))
		r = create(s, ret_name, digest_hex(keep_blob_of->blob), &i.packed_fd, e);
	if (r == 0 && s->form == IMAGE_UNPACKED)
		r = create_tree(s, ret_name, &i.tree_fd, e);
	if (r == 0 && s->form == IMAGE_UNPACKED)
		r = create(s, ret_name, IMPLIED, &i.implied_fd, e);
	if (r == 0 && s->form == IMAGE_INDEXED &&
	    (create(s, ret_name, TAR, &i.tar_fd, e) < 0 ||
	     create(s, ret_name, TABLE, &i.table_fd, e) < 0 ||
	     create(s, ret_name, SPARSE, &i.sparse_fd, e) < 0))
		r = -e->code;
	if (r < 0) {
		ingest_close(&i);
		return r;
	}
	*ret = i;
	return 0;
}

int store_open_partial(const struct store *s, const struct record_layer *l, int *ret_write_fd,
		       int *ret_read_fd, uint64_t *ret_bytes, struct err *e)
{
	const char *name = digest_hex(l->blob);
	auto_close int write_fd = -1, read_fd = -1;
	struct stat st;

	if (l->blob_size < STORE_PARTIAL_MIN)
		return 1;
	write_fd = openat(s->partial_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	read_fd = openat(s->partial_fd, name, O_RDONLY | O_CLOEXEC);
	if (write_fd < 0 || read_fd < 0 || fstat(read_fd, &st) < 0)
		return err_sys(e, "image store: open partial/%.16s", name);
	*ret_bytes = (uint64_t)st.st_size < l->blob_size ? (uint64_t)st.st_size : 0;
	*ret_write_fd = take_fd(write_fd);
	*ret_read_fd = take_fd(read_fd);
	return 0;
}

void store_drop_partial(const struct store *s, const struct record_layer *l)
{
	(void)unlinkat(s->partial_fd, digest_hex(l->blob), 0);
}

/* What nobody has come back for in a day. */
static int sweep_partial(const struct store *s, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *name;
	struct stat st;

	if (store_open_list(s->partial_fd, &dir, e) < 0)
		return -e->code;
	while ((name = store_next(dir)))
		if (fstatat(s->partial_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_mtim.tv_sec + PARTIAL_S < time(NULL))
			(void)unlinkat(s->partial_fd, name, 0);
	return 0;
}

static int rename_layer(const struct store *s, const char *ingest, const char *hex)
{
	return renameat(s->ingest_fd, ingest, layers_of(s, s->form), hex);
}

/* What the ingest has and the layer may not: blobs. */
static int move_blobs(const struct store *s, int ingest_fd, const char *diff_id, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *file;

	if (store_open_list(ingest_fd, &dir, e) < 0)
		return -e->code;
	while ((file = store_next(dir))) {
		char path[LAYER_PATH_SIZE];

		if (strlen(file) != SHA256_HEX - 1)
			continue;
		layer_path(diff_id, file, path);
		if (renameat(ingest_fd, file, layers_of(s, s->form), path) < 0)
			return err_sys(e, "image store: keep blob %.16s", file);
	}
	return 0;
}

int store_put_layer(const struct store *s, const char *ingest, const char *diff_id, struct err *e)
{
	char away[INGEST_SIZE];
	auto_close int fd = openat(s->ingest_fd, ingest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "image store: open ingest/%s", ingest);
	if (store_sync(fd, "ingest", e) < 0) /* the names; what is in the files is there already */
		return -e->code;
	if (rename_layer(s, ingest, digest_hex(diff_id)) == 0)
		return 0;
	if (errno != EEXIST && errno != ENOTEMPTY)
		return err_sys(e, "image store: publish layer %.16s", digest_hex(diff_id));
	if (store_has_layer(s, diff_id))
		return move_blobs(s, fd, diff_id, e) < 0 ? -e->code
							 : store_drop_ingest(s, ingest, e);
	/* What is there is none: somebody has had a hand in it. */
	random_hex(away, sizeof(away) - 1);
	if (renameat(layers_of(s, s->form), digest_hex(diff_id), s->ingest_fd, away) < 0 ||
	    rename_layer(s, ingest, digest_hex(diff_id)) < 0)
		return err_sys(e, "image store: replace layer %.16s", digest_hex(diff_id));
	return 0;
}

/* ---- what lower layers say of directories that higher ones pass through ---- */

static int open_parents(const struct store *s, const struct record *r, struct parents *p,
			struct err *e)
{
	const struct record_layer *layers[IMAGE_LAYERS_MAX];
	size_t count = distinct_layers(r, layers);

	for (size_t i = 0; i < count; i++) {
		char tree[LAYER_PATH_SIZE], implied[LAYER_PATH_SIZE];

		layer_path(layers[i]->diff_id, TREE, tree);
		layer_path(layers[i]->diff_id, IMPLIED, implied);
		if (parents_add(p, s->layers_fd, tree, implied, e) < 0)
			return err_wrap(e, "layer %zu", i);
	}
	return 0;
}

static int fill_parents(const struct store *s, const struct record *r, const struct ingest *i,
			struct err *e)
{
	struct parents *p = parents_new();
	int w, result = open_parents(s, r, p, e);

	if (result == 0)
		result = parents_make(p, i->tree_fd, e);
	parents_free(p);
	if (result < 0)
		return result;
	w = write_all(i->sums_fd, "0 0", 3);
	if (w < 0 || syncfs(i->tree_fd) < 0) {
		errno = w < 0 ? -w : errno;
		return err_sys(e, "sync");
	}
	return 0;
}

int store_make_parents(const struct store *s, const struct record *r, struct err *e)
{
	const struct record_layer *layers[IMAGE_LAYERS_MAX];
	size_t count = distinct_layers(r, layers);
	char id[DIGEST_SIZE], name[INGEST_SIZE];
	struct ingest i;
	struct err ignored;
	int result;

	parents_id(r, id);
	if (s->form != IMAGE_UNPACKED || !needs_parents(s, layers, count) || store_has_layer(s, id))
		return 0;
	if (store_ingest(s, NULL, name, &i, e) < 0)
		return -e->code;
	result = fill_parents(s, r, &i, e);
	ingest_close(&i);
	if (result == 0)
		result = store_put_layer(s, name, id, e);
	if (result < 0)
		(void)store_drop_ingest(s, name, &ignored); /* the next sweep does */
	return result < 0 ? err_wrap(e, "image store: directories of layers") : 0;
}

/* ---- indexes on their way in ---- */

/* 'name' is the ingest of a layer that is not in the store yet, or NULL. */
static int order_layer(const struct store *s, const struct record_layer *l, const char *name,
		       uint64_t ret_bytes[TABLE_DEVICES], struct err *e)
{
	const int dir_fd = name ? s->ingest_fd : s->tars_fd;
	char path[LAYER_PATH_SIZE];
	int fd;

	if (!name)
		name = digest_hex(l->diff_id);
	for (size_t d = 0; d < TABLE_DEVICES; d++) {
		(void)snprintf(path, sizeof(path), "%s/%s", name, device_files[d]);
		ret_bytes[d] = bytes_at(dir_fd, path);
	}
	(void)snprintf(path, sizeof(path), "%s/" TABLE, name);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "image store: open table of layer %.16s", name) : fd;
}

int store_index_order(const struct store *s, const struct record *r, const char *const *ingests,
		      struct index_order *ret, int ret_tables[IMAGE_LAYERS_MAX], struct err *e)
{
	const struct record_layer *layers[IMAGE_LAYERS_MAX];
	size_t count = distinct_layers(r, layers);

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < count; i++) {
		const char *name = ingests ? ingests[layers[i] - r->layers] : NULL;

		ret_tables[i] = order_layer(s, layers[i], name, ret->device_bytes[i], e);
		if (ret_tables[i] < 0) {
			while (i-- > 0)
				close_fd(&ret_tables[i]);
			return -e->code;
		}
	}
	ret->layer_count = (uint32_t)count;
	return 0;
}

int store_ingest_index(const struct store *s, char ret_name[INGEST_SIZE], int *ret_fd,
		       struct err *e)
{
	random_hex(ret_name, INGEST_SIZE - 1);
	*ret_fd = openat(s->ingest_fd, ret_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (*ret_fd >= 0)
		return 0;
	ret_name[0] = '\0';
	return err_sys(e, "image store: create a file in ingest");
}

int store_put_index(const struct store *s, const char *ingest, const struct record *r,
		    struct err *e)
{
	char name[SHA256_HEX];

	store_index_name(r, name);
	if (renameat(s->ingest_fd, ingest, s->indexes_fd, name) < 0)
		return err_sys(e, "image store: publish index %.16s", name);
	return 0;
}

int store_sync_layers(const struct store *s, struct err *e)
{
	return store_sync(layers_of(s, s->form), "layers", e) < 0
		       ? -e->code
		       : store_sync(s->indexes_fd, "indexes", e);
}

/* ---- sweeping ---- */

/* The layers, indexes and configurations that images need, sorted; each as often as it is needed. */
struct needed {
	char (*items)[SHA256_HEX];
	size_t count, capacity;
};

static int compare_hex(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_HEX);
}

static void need(struct needed *n, const char *name)
{
	n->items = xgrow(n->items, n->count, &n->capacity, SHA256_HEX);
	memcpy(n->items[n->count++], name, SHA256_HEX);
}

/* Any doubt keeps all: a record that cannot be read fails the sweep. */
static int find_needed(const struct store *s, struct needed *ret, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		auto_record struct record *r = NULL;

		if (!store_is_key(key))
			continue;
		if (store_read_record(s, key, &r, e) < 0)
			return -e->code;
		for (size_t i = 0; r && i < r->layer_count; i++)
			need(ret, digest_hex(r->layers[i].diff_id));
		if (r) {
			char index[SHA256_HEX];

			store_index_name(r, index);
			need(ret, index);
			if (r->image.config)
				need(ret, digest_hex(r->image.config));
		}
	}
	if (ret->count)
		qsort(ret->items, ret->count, SHA256_HEX, compare_hex);
	return 0;
}

static bool is_needed(const struct needed *needed, const char *name)
{
	char hex[SHA256_HEX] = {0};

	if (strlen(name) != SHA256_HEX - 1)
		return false;
	memcpy(hex, name, SHA256_HEX);
	return needed->count && bsearch(hex, needed->items, needed->count, SHA256_HEX, compare_hex);
}

static int sweep_directory(const struct store *s, int dir_fd, const char *what,
			   const struct needed *needed, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	bool changed = false;
	const char *hex;

	if (store_open_list(dir_fd, &dir, e) < 0)
		return -e->code;
	while ((hex = store_next(dir))) {
		char name[INGEST_SIZE];

		if (is_needed(needed, hex))
			continue;
		changed = true;
		random_hex(name, INGEST_SIZE - 1);
		if (renameat(dir_fd, hex, s->ingest_fd, name) < 0)
			return err_sys(e, "image store: move %s/%.16s away", what, hex);
	}
	return changed ? store_sync(dir_fd, what, e) : 0;
}

/* What fs_replace() did not come to rename. */
static int sweep_temporary(int dir_fd, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	struct dirent *d;

	if (store_open_list(dir_fd, &dir, e) < 0)
		return -e->code;
	while ((d = readdir(dir)))
		if (str_ends(d->d_name, ".tmp") && unlinkat(dir_fd, d->d_name, 0) < 0)
			return err_sys(e, "image store: remove %.80s", d->d_name);
	return 0;
}

static int sweep_documents(const struct store *s, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	if (store_open_list(s->documents_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir)))
		if (faccessat(s->images_fd, key, F_OK, 0) < 0 && errno == ENOENT &&
		    unlinkat(s->documents_fd, key, 0) < 0)
			return err_sys(e, "image store: remove documents/%.16s", key);
	return sweep_temporary(s->documents_fd, e);
}

int store_sweep(const struct store *s, struct err *e)
{
	struct needed needed = {NULL, 0, 0};
	int r;

	r = find_needed(s, &needed, e);
	if (r == 0)
		r = sweep_directory(s, s->indexes_fd, "indexes", &needed, e);
	if (r == 0)
		r = sweep_directory(s, s->tars_fd, "tars", &needed, e);
	if (r == 0)
		r = sweep_directory(s, s->layers_fd, "layers", &needed, e);
	if (r == 0)
		r = sweep_directory(s, s->configs_fd, "configs", &needed, e);
	free(needed.items);
	if (r == 0)
		r = sweep_documents(s, e);
	if (r == 0)
		r = sweep_partial(s, e);
	if (r == 0)
		r = sweep_temporary(s->names_fd, e);
	if (r == 0)
		r = sweep_temporary(s->configs_fd, e);
	return r < 0 ? r : sweep_temporary(s->images_fd, e);
}

int store_drop_ingest(const struct store *s, const char *name, struct err *e)
{
	if (fs_remove_tree(s->ingest_fd, name, e) < 0)
		return err_wrap(e, "image store: ingest");
	return 0;
}

int store_list_ingest(const struct store *s, struct js_strings *ret, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	struct js_strings names = {NULL, 0};
	size_t capacity = 0;
	struct dirent *d;

	if (store_open_list(s->ingest_fd, &dir, e) < 0)
		return -e->code;
	while ((d = readdir(dir))) {
		if (str_eq(d->d_name, ".") || str_eq(d->d_name, ".."))
			continue;
		names.items = xgrow(names.items, names.count, &capacity, sizeof(char *));
		names.items[names.count++] = xstrdup(d->d_name);
	}
	*ret = names;
	return 0;
}

void store_names_free(struct js_strings *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
	*names = (struct js_strings){NULL, 0};
}

uint64_t store_free_bytes(const struct store *s)
{
	struct statvfs st;

	return fstatvfs(s->ingest_fd, &st) < 0 ? UINT64_MAX : (uint64_t)st.f_bavail * st.f_frsize;
}

uint64_t store_total_bytes(const struct store *s)
{
	struct statvfs st;

	/* As df has it: what only root may write counts as used. */
	return fstatvfs(s->ingest_fd, &st) < 0
		       ? UINT64_MAX
		       : (uint64_t)(st.f_blocks - st.f_bfree + st.f_bavail) * st.f_frsize;
}

bool store_has_ingest(const struct store *s)
{
	auto_closedir DIR *dir = NULL;
	struct err ignored;

	return store_open_list(s->ingest_fd, &dir, &ignored) == 0 && store_next(dir);
}
