/* image/store.c - images and layers on disk
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/text.h"

#define NAME_TITLE    "berth name 1"
#define NAME_SIZE_MAX 4096
#define LAYER_TREE    "fs"
#define LAYER_BYTES   "bytes"

/* ---- the directories ---- */

int store_init(struct store *s, const char *dir, struct err *e)
{
	struct store n = {NULL, -1, -1, -1, -1, -1};
	const struct {
		const char *name;
		int *fd;
	} parts[] = {{"names", &n.names_fd},
		     {"images", &n.images_fd},
		     {"layers", &n.layers_fd},
		     {"ingest", &n.ingest_fd}};
	int r;

	if (dir[0] != '/')
		return err_set(e, EINVAL, "image store '%s' is not an absolute path", dir);
	r = fs_open_dir(AT_FDCWD, dir, 0700, &n.dir_fd, e);
	for (size_t i = 0; r == 0 && i < ARRAY_COUNT(parts); i++)
		r = fs_open_dir(n.dir_fd, parts[i].name, 0700, parts[i].fd, e);
	if (r < 0) {
		store_done(&n);
		return err_wrap(e, "image store %s", dir);
	}
	n.dir = xstrdup(dir);
	*s = n;
	return 0;
}

void store_done(struct store *s)
{
	close_fd(&s->dir_fd);
	close_fd(&s->names_fd);
	close_fd(&s->images_fd);
	close_fd(&s->layers_fd);
	close_fd(&s->ingest_fd);
	free(s->dir);
	s->dir = NULL;
}

static int open_list(int dir_fd, DIR **ret, struct err *e)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		int r = err_sys(e, "read a directory of the image store");

		close_fd(&fd);
		return r;
	}
	*ret = dir;
	return 0;
}

/* The next entry that is neither dot nor temporary; NULL at the end. */
static const char *next_entry(DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir)))
		if (d->d_name[0] != '.' && !str_ends(d->d_name, ".tmp"))
			return d->d_name;
	return NULL;
}

static int sync_dir(int fd, const char *what, struct err *e)
{
	return fsync(fd) < 0 ? err_sys(e, "sync %s", what) : 0;
}

/* ---- names ---- */

struct name {
	char file[SHA256_HEX];
	char reference[REFERENCE_SIZE];
	char key[IMAGE_KEY_SIZE];
	int64_t pulled_ms;
};

static void name_file(const char *reference, char ret[SHA256_HEX])
{
	unsigned char digest[SHA256_SIZE];

	sha256_of(reference, strlen(reference), digest);
	hex_encode(digest, sizeof(digest), ret);
}

static void image_key(const char *digest, const char *manifest, char ret[IMAGE_KEY_SIZE])
{
	(void)snprintf(ret, IMAGE_KEY_SIZE, "%.64s-%.64s", digest_hex(digest),
		       digest_hex(manifest));
}

static bool is_key(const char *text)
{
	return strlen(text) == IMAGE_KEY_SIZE - 1 && text[64] == '-' &&
	       strspn(text, "0123456789abcdef") == 64 &&
	       strspn(text + 65, "0123456789abcdef") == 64;
}

/* The value of a line 'WORD value'; false when it is another line. */
static bool take_line(char **rest, const char *word, const char **ret)
{
	char *line = strsep(rest, "\n");
	size_t len = strlen(word);

	if (!line || strncmp(line, word, len) != 0 || line[len] != ' ')
		return false;
	*ret = line + len + 1;
	return true;
}

/* 0 or IMAGE_ABSENT. */
static int read_name(const struct store *s, const char *file, struct name *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(NAME_SIZE_MAX);
	const char *reference, *key, *pulled, *line;
	struct err gone = {0};
	char *rest;

	if (fs_read(s->names_fd, file, &b, &gone) < 0) {
		if (gone.code == ENOENT)
			return IMAGE_ABSENT;
		*e = gone;
		return err_wrap(e, "image store: names");
	}
	rest = b.data ? b.data : (char[]){""};
	line = strsep(&rest, "\n");
	if (!str_eq(line, NAME_TITLE) || !take_line(&rest, "reference", &reference) ||
	    !take_line(&rest, "image", &key) || !take_line(&rest, "pulled", &pulled) ||
	    strlen(reference) >= sizeof(ret->reference) || !is_key(key) ||
	    !parse_i64(pulled, 0, INT64_MAX, &ret->pulled_ms))
		return err_set(e, EUCLEAN, "image store: names/%s is damaged", file);
	(void)snprintf(ret->file, sizeof(ret->file), "%s", file);
	memcpy(ret->reference, reference, strlen(reference) + 1);
	memcpy(ret->key, key, IMAGE_KEY_SIZE);
	return 0;
}

static int write_name(const struct store *s, const char *reference, const char *key, int64_t now_ms,
		      struct err *e)
{
	auto_buf struct buf b = BUF_INIT(NAME_SIZE_MAX);
	char file[SHA256_HEX];

	buf_printf(&b, NAME_TITLE "\nreference %s\nimage %s\npulled %" PRId64 "\n", reference, key,
		   now_ms);
	name_file(reference, file);
	return fs_replace(s->names_fd, file, b.data, b.size, 0600, FS_DURABLE, e);
}

struct names {
	struct name *items;
	size_t count, capacity;
};

static void names_done(struct names *n)
{
	free(n->items);
}

static int read_names(const struct store *s, struct names *ret, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *file;

	if (open_list(s->names_fd, &dir, e) < 0)
		return -e->code;
	while ((file = next_entry(dir))) {
		int r;

		ret->items = xgrow(ret->items, ret->count, &ret->capacity, sizeof(*ret->items));
		r = read_name(s, file, &ret->items[ret->count], e);
		if (r < 0)
			return r;
		if (r == 0)
			ret->count++;
	}
	return 0;
}

/* ---- images ---- */

static void layer_path(const struct store *s, const char *diff_id, struct arena *a, char **ret)
{
	*ret = arena_printf(a, "%s/layers/%s/" LAYER_TREE, s->dir, digest_hex(diff_id));
}

/* How many bytes its files have; -1: the layer is not there. */
static int64_t layer_bytes(const struct store *s, const char *diff_id)
{
	char path[80 + sizeof(LAYER_BYTES)];
	auto_buf struct buf b = BUF_INIT(32);
	struct err ignored;
	int64_t bytes;

	(void)snprintf(path, sizeof(path), "%s/" LAYER_BYTES, digest_hex(diff_id));
	if (fs_read(s->layers_fd, path, &b, &ignored) < 0 ||
	    !parse_i64(buf_str(&b), 0, INT64_MAX, &bytes))
		return -1;
	return bytes;
}

static bool has_layer_before(const struct record *r, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (str_eq(r->layers[j].diff_id, r->layers[i].diff_id))
			return true;
	return false;
}

/*
 * The layers' paths, each once: overlay refuses the same directory twice.  Of
 * one that repeats, the highest counts, because it hides all of the lower.
 */
static int add_layers(const struct store *s, const struct record *r, struct image *image)
{
	struct js_strings *list = &image->layers;

	list->items = arena_alloc(&image->arena, (r->layer_count + 1) * sizeof(char *));
	list->count = 0;
	image->size = 0;
	for (size_t i = 0; i < r->layer_count; i++) {
		int64_t bytes = layer_bytes(s, r->layers[i].diff_id);
		bool repeats = false;

		if (bytes < 0)
			return IMAGE_ABSENT;
		for (size_t j = i + 1; j < r->layer_count; j++)
			repeats |= str_eq(r->layers[i].diff_id, r->layers[j].diff_id);
		if (!repeats)
			layer_path(s, r->layers[i].diff_id, &image->arena,
				   &list->items[list->count++]);
		if (!has_layer_before(r, i))
			image->size += (uint64_t)bytes;
	}
	return 0;
}

static int read_record(const struct store *s, const char *key, struct record **ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_SIZE_MAX);
	struct err inner = {0};

	if (fs_read(s->images_fd, key, &b, &inner) < 0) {
		if (inner.code == ENOENT)
			return IMAGE_ABSENT;
	} else if (record_read(buf_str(&b), b.size, ret, &inner) == 0) {
		return 0;
	}
	*e = inner;
	return err_wrap(e, "image store: images/%.16s", key);
}

/* 0 or IMAGE_ABSENT.  'reference' may be NULL. */
static int load_image(const struct store *s, const char *key, const char *reference,
		      int64_t pulled_ms, struct image **ret, struct err *e)
{
	auto_record struct record *r = NULL;
	struct image *image;
	int result;

	result = read_record(s, key, &r, e);
	if (result != 0)
		return result;
	if (add_layers(s, r, &r->image) == IMAGE_ABSENT)
		return IMAGE_ABSENT;

	image = xcalloc(1, sizeof(*image));
	*image = r->image;
	r->image.arena.head = NULL; /* it went with the rest */
	image->reference = reference ? arena_strdup(&image->arena, reference) : NULL;
	image->pulled_ms = pulled_ms;
	*ret = image;
	return 0;
}

void image_free(struct image *i)
{
	if (!i)
		return;
	arena_done(&i->arena);
	free(i);
}

/* Does the image go by this digest: of what its name stood for, or of its manifest? */
static bool key_has(const char *key, const char *digest)
{
	const char *hex = digest_hex(digest);

	return strncmp(key, hex, 64) == 0 || str_eq(key + 65, hex);
}

/* By digest any name will do: what it stands for is the same. */
static int find_by_digest(const struct store *s, const struct reference *name, struct image **ret,
			  struct err *e)
{
	auto_closedir DIR *dir = NULL;
	char whole[REFERENCE_SIZE];
	const char *key;

	if (open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	reference_format(name, whole);
	while ((key = next_entry(dir))) {
		int r;

		if (!is_key(key) || !key_has(key, name->digest))
			continue;
		r = load_image(s, key, whole, 0, ret, e);
		if (r != IMAGE_ABSENT)
			return r;
	}
	return IMAGE_ABSENT;
}

int store_find(const struct store *s, const struct reference *name, struct image **ret,
	       struct err *e)
{
	char whole[REFERENCE_SIZE], file[SHA256_HEX];
	struct name n;
	int r;

	reference_format(name, whole);
	name_file(whole, file);
	r = read_name(s, file, &n, e);
	if (r == 0)
		r = load_image(s, n.key, whole, n.pulled_ms, ret, e);
	if (r == IMAGE_ABSENT && name->digest[0])
		r = find_by_digest(s, name, ret, e);
	return r;
}

int store_put_image(const struct store *s, const struct reference *name, const struct record *r,
		    int64_t now_ms, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_SIZE_MAX);
	char whole[REFERENCE_SIZE], key[IMAGE_KEY_SIZE];

	record_write(r, &b);
	if (buf_overflow(&b))
		return err_set(e, EFBIG, "image record of more than %d bytes", RECORD_SIZE_MAX);
	image_key(r->image.digest, r->image.manifest, key);
	reference_format(name, whole);
	if (fs_replace(s->images_fd, key, b.data, b.size, 0600, FS_DURABLE, e) < 0 ||
	    write_name(s, whole, key, now_ms, e) < 0)
		return err_wrap(e, "image store");
	return 0;
}

/* ---- list ---- */

static void list_add(struct image_list *l, size_t *capacity, struct image *image)
{
	l->items = xgrow(l->items, l->count, capacity, sizeof(struct image *));
	l->items[l->count++] = image;
}

static int by_age(const void *a, const void *b)
{
	int64_t x = (*(struct image *const *)a)->pulled_ms;
	int64_t y = (*(struct image *const *)b)->pulled_ms;

	return x > y ? -1 : x < y;
}

static bool has_name(const struct names *names, const char *key)
{
	for (size_t i = 0; i < names->count; i++)
		if (str_eq(names->items[i].key, key))
			return true;
	return false;
}

static int list_named(const struct store *s, const struct names *names, struct image_list *ret,
		      size_t *capacity, struct err *e)
{
	for (size_t i = 0; i < names->count; i++) {
		const struct name *n = &names->items[i];
		struct image *image;
		int r = load_image(s, n->key, n->reference, n->pulled_ms, &image, e);

		if (r < 0)
			return r;
		if (r == 0)
			list_add(ret, capacity, image);
	}
	return 0;
}

static int list_nameless(const struct store *s, const struct names *names, struct image_list *ret,
			 size_t *capacity, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	if (open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = next_entry(dir))) {
		struct image *image;
		int r;

		if (!is_key(key) || has_name(names, key))
			continue;
		r = load_image(s, key, NULL, 0, &image, e);
		if (r < 0)
			return r;
		if (r == 0)
			list_add(ret, capacity, image);
	}
	return 0;
}

int store_list(const struct store *s, struct image_list *ret, struct err *e)
{
	struct names names = {NULL, 0, 0};
	struct image_list list = {NULL, 0};
	size_t capacity = 0;
	int r;

	r = read_names(s, &names, e);
	if (r == 0)
		r = list_named(s, &names, &list, &capacity, e);
	if (r == 0)
		r = list_nameless(s, &names, &list, &capacity, e);
	names_done(&names);
	if (r < 0) {
		image_list_done(&list);
		return r;
	}
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), by_age);
	*ret = list;
	return 0;
}

void image_list_done(struct image_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		image_free(l->items[i]);
	free(l->items);
	*l = (struct image_list){NULL, 0};
}

/* ---- removal ---- */

struct users { /* of images: what the caller says is in use */
	const char *const *digests;
	size_t count;
};

static bool is_used(const struct users *users, const char *key)
{
	for (size_t i = 0; i < users->count; i++)
		if (digest_valid(users->digests[i]) && key_has(key, users->digests[i]))
			return true;
	return false;
}

static int unlink_durably(int dir_fd, const char *file, const char *what, struct err *e)
{
	if (unlinkat(dir_fd, file, 0) < 0 && errno != ENOENT)
		return err_sys(e, "image store: remove %s/%.16s", what, file);
	return sync_dir(dir_fd, what, e);
}

static int remove_name(const struct store *s, const struct names *names, const struct name *n,
		       const struct users *users, struct err *e)
{
	size_t others = 0;

	for (size_t i = 0; i < names->count; i++)
		others += &names->items[i] != n && str_eq(names->items[i].key, n->key);
	if (!others && is_used(users, n->key))
		return IMAGE_IN_USE;
	if (unlink_durably(s->names_fd, n->file, "names", e) < 0)
		return -e->code;
	return others ? 0 : unlink_durably(s->images_fd, n->key, "images", e);
}

/* All that go by this digest, and their names. */
static int remove_digest(const struct store *s, const struct names *names, const char *digest,
			 const struct users *users, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	int result = IMAGE_ABSENT;
	const char *key;

	if (open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = next_entry(dir))) {
		if (!is_key(key) || !key_has(key, digest))
			continue;
		if (is_used(users, key))
			return IMAGE_IN_USE;
		for (size_t i = 0; i < names->count; i++)
			if (str_eq(names->items[i].key, key) &&
			    unlink_durably(s->names_fd, names->items[i].file, "names", e) < 0)
				return -e->code;
		if (unlink_durably(s->images_fd, key, "images", e) < 0)
			return -e->code;
		result = 0;
	}
	return result;
}

int store_remove(const struct store *s, const char *reference, const char *const *in_use,
		 size_t in_use_count, struct err *e)
{
	const struct users users = {in_use, in_use_count};
	struct names names = {NULL, 0, 0};
	char whole[REFERENCE_SIZE];
	struct reference name;
	int r = 0;

	if (!digest_valid(reference)) {
		if (reference_parse(reference, &name, e) < 0)
			return -e->code;
		reference_format(&name, whole);
	}

	r = read_names(s, &names, e);
	if (r == 0 && digest_valid(reference)) {
		r = remove_digest(s, &names, reference, &users, e);
	} else if (r == 0) {
		r = IMAGE_ABSENT;
		for (size_t i = 0; i < names.count && r == IMAGE_ABSENT; i++)
			if (str_eq(names.items[i].reference, whole))
				r = remove_name(s, &names, &names.items[i], &users, e);
	}
	names_done(&names);
	return r;
}

/* ---- layers ---- */

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

bool store_has_layer(const struct store *s, const char *diff_id)
{
	return layer_bytes(s, diff_id) >= 0;
}

int store_ingest(const struct store *s, char ret_name[INGEST_SIZE], int *ret_tree_fd,
		 int *ret_bytes_fd, struct err *e)
{
	char name[INGEST_SIZE], path[INGEST_SIZE + 16];
	auto_close int tree_fd = -1, bytes_fd = -1;

	random_hex(name, INGEST_SIZE - 1);
	(void)snprintf(path, sizeof(path), "%s/" LAYER_TREE, name);
	if (mkdirat(s->ingest_fd, name, 0700) < 0 || mkdirat(s->ingest_fd, path, 0755) < 0)
		return err_sys(e, "image store: make ingest/%s", name);
	tree_fd = openat(s->ingest_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tree_fd < 0 || fchmod(tree_fd, 0755) < 0) /* whatever the umask */
		return err_sys(e, "image store: open ingest/%s", path);
	(void)snprintf(path, sizeof(path), "%s/" LAYER_BYTES, name);
	bytes_fd = openat(s->ingest_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (bytes_fd < 0)
		return err_sys(e, "image store: create ingest/%s", path);
	memcpy(ret_name, name, sizeof(name));
	*ret_tree_fd = take_fd(tree_fd);
	*ret_bytes_fd = take_fd(bytes_fd);
	return 0;
}

int store_put_layer(const struct store *s, const char *ingest, const char *diff_id, struct err *e)
{
	if (renameat(s->ingest_fd, ingest, s->layers_fd, digest_hex(diff_id)) < 0) {
		if (errno == EEXIST || errno == ENOTEMPTY)
			return store_drop_ingest(s, ingest, e);
		return err_sys(e, "image store: rename to layers/%.16s", digest_hex(diff_id));
	}
	return sync_dir(s->layers_fd, "layers", e);
}

/* The layers that images need, sorted; each as often as it is needed. */
struct needed {
	char (*items)[SHA256_HEX];
	size_t count, capacity;
};

static int compare_hex(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_HEX);
}

/* Any doubt keeps all: a record that cannot be read fails the sweep. */
static int find_needed(const struct store *s, struct needed *ret, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	if (open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = next_entry(dir))) {
		auto_record struct record *r = NULL;

		if (!is_key(key))
			continue;
		if (read_record(s, key, &r, e) < 0)
			return -e->code;
		for (size_t i = 0; r && i < r->layer_count; i++) {
			ret->items = xgrow(ret->items, ret->count, &ret->capacity, SHA256_HEX);
			memcpy(ret->items[ret->count++], digest_hex(r->layers[i].diff_id),
			       SHA256_HEX);
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

static int sweep_layers(const struct store *s, const struct needed *needed, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *hex;

	if (open_list(s->layers_fd, &dir, e) < 0)
		return -e->code;
	while ((hex = next_entry(dir))) {
		char name[INGEST_SIZE];

		if (is_needed(needed, hex))
			continue;
		random_hex(name, INGEST_SIZE - 1);
		if (renameat(s->layers_fd, hex, s->ingest_fd, name) < 0)
			return err_sys(e, "image store: move layers/%.16s away", hex);
	}
	return sync_dir(s->layers_fd, "layers", e);
}

/* What fs_replace() did not come to rename. */
static int sweep_temporary(int dir_fd, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	struct dirent *d;

	if (open_list(dir_fd, &dir, e) < 0)
		return -e->code;
	while ((d = readdir(dir)))
		if (str_ends(d->d_name, ".tmp") && unlinkat(dir_fd, d->d_name, 0) < 0)
			return err_sys(e, "image store: remove %.80s", d->d_name);
	return 0;
}

int store_sweep(const struct store *s, struct err *e)
{
	struct needed needed = {NULL, 0, 0};
	int r;

	r = find_needed(s, &needed, e);
	if (r == 0)
		r = sweep_layers(s, &needed, e);
	free(needed.items);
	if (r == 0)
		r = sweep_temporary(s->names_fd, e);
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

	if (open_list(s->ingest_fd, &dir, e) < 0)
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

bool store_has_ingest(const struct store *s)
{
	auto_closedir DIR *dir = NULL;
	struct err ignored;

	return open_list(s->ingest_fd, &dir, &ignored) == 0 && next_entry(dir);
}
