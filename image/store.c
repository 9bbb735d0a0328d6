/* image/store.c - images and layers on disk
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/text.h"

#define NAME_TITLE    "berth name 1"
#define NAME_SIZE_MAX 4096

/* ---- the directories ---- */

static const char *const form_names[] = {
	[IMAGE_INDEXED] = "index\n",
	[IMAGE_UNPACKED] = "unpacked\n",
};

static enum image_form last_form(int dir_fd)
{
	auto_buf struct buf b = BUF_INIT(16);
	struct err ignored;

	if (fs_read(dir_fd, "form", &b, &ignored) < 0)
		return IMAGE_INDEXED;
	return str_eq(buf_str(&b), form_names[IMAGE_UNPACKED]) ? IMAGE_UNPACKED : IMAGE_INDEXED;
}

/* Who opens a store hears of it when there is no room for this; a puller could not tell. */
static int make_lock(int dir_fd, struct err *e)
{
	auto_close int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	return fd < 0 ? err_sys(e, "create lock") : 0;
}

int store_init(struct store *s, const char *dir, enum image_form form, struct err *e)
{
	struct store n = {NULL, form, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
	const struct {
		const char *name;
		int *fd;
	} parts[] = {{"names", &n.names_fd},         {"images", &n.images_fd},
		     {"documents", &n.documents_fd}, {"configs", &n.configs_fd},
		     {"tars", &n.tars_fd},           {"indexes", &n.indexes_fd},
		     {"layers", &n.layers_fd},       {"partial", &n.partial_fd},
		     {"ingest", &n.ingest_fd}};
	int r;

	if (dir[0] != '/')
		return err_set(e, EINVAL, "image store '%s' is not an absolute path", dir);
	r = fs_open_dir(AT_FDCWD, dir, 0700, &n.dir_fd, e);
	if (r == 0 && fchmod(n.dir_fd, 0700) < 0) /* set-uid files are in there */
		r = err_sys(e, "mode");
	for (size_t i = 0; r == 0 && i < ARRAY_COUNT(parts); i++)
		r = fs_open_dir(n.dir_fd, parts[i].name, 0700, parts[i].fd, e);
	if (r == 0)
		r = make_lock(n.dir_fd, e);
	if (r < 0) {
		store_done(&n);
		return err_wrap(e, "image store %s", dir);
	}
	if (form == IMAGE_AS_LAST)
		n.form = last_form(n.dir_fd);
	n.dir = xstrdup(dir);
	*s = n;
	return 0;
}

void store_note_form(const struct store *s)
{
	const char *text = form_names[s->form];
	struct err ignored;

	if (last_form(s->dir_fd) != s->form)
		(void)fs_replace(s->dir_fd, "form", text, strlen(text), 0600, FS_QUICK, &ignored);
}

void store_done(struct store *s)
{
	close_fd(&s->dir_fd);
	close_fd(&s->names_fd);
	close_fd(&s->images_fd);
	close_fd(&s->documents_fd);
	close_fd(&s->configs_fd);
	close_fd(&s->tars_fd);
	close_fd(&s->indexes_fd);
	close_fd(&s->layers_fd);
	close_fd(&s->partial_fd);
	close_fd(&s->ingest_fd);
	free(s->dir);
	s->dir = NULL;
}

int store_open_list(int dir_fd, DIR **ret, struct err *e)
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
const char *store_next(DIR *dir)
{
	struct dirent *d;

	while ((d = readdir(dir)))
		if (d->d_name[0] != '.' && !str_ends(d->d_name, ".tmp"))
			return d->d_name;
	return NULL;
}

int store_sync(int fd, const char *what, struct err *e)
{
	return fsync(fd) < 0 ? err_sys(e, "sync %s", what) : 0;
}

/* ---- names ---- */

struct name {
	char file[SHA256_HEX];
	char reference[REFERENCE_SIZE];
	char key[IMAGE_KEY_SIZE];
	int64_t pulled_ms, used_ms;
};

static void name_file(const char *reference, char ret[SHA256_HEX])
{
	unsigned char digest[SHA256_SIZE];

	sha256_of(reference, strlen(reference), digest);
	hex_encode(digest, sizeof(digest), ret);
}

void store_image_key(const char *digest, const char *manifest, char ret[IMAGE_KEY_SIZE])
{
	(void)snprintf(ret, IMAGE_KEY_SIZE, "%.64s-%.64s", digest_hex(digest),
		       digest_hex(manifest));
}

bool store_is_key(const char *text)
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
	struct stat st;
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
	    strlen(reference) >= sizeof(ret->reference) || !store_is_key(key) ||
	    !parse_i64(pulled, 0, INT64_MAX, &ret->pulled_ms))
		return err_set(e, EUCLEAN, "image store: names/%s is damaged", file);
	(void)snprintf(ret->file, sizeof(ret->file), "%s", file);
	memcpy(ret->reference, reference, strlen(reference) + 1);
	memcpy(ret->key, key, IMAGE_KEY_SIZE);
	ret->used_ms = 0;
	if (fstatat(s->names_fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0)
		ret->used_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	return 0;
}

static int prepare_name(const struct store *s, const char *reference, const char *key,
			int64_t now_ms, struct fs_prepared *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(NAME_SIZE_MAX);
	char file[SHA256_HEX];

	buf_printf(&b, NAME_TITLE "\nreference %s\nimage %s\npulled %" PRId64 "\n", reference, key,
		   now_ms);
	name_file(reference, file);
	return fs_prepare(s->names_fd, file, b.data, b.size, 0600, ret, e);
}

static int put_name(const struct store *s, const char *reference, struct fs_prepared *p,
		    struct err *e)
{
	const struct timespec unused[2] = {{.tv_sec = 0}, {.tv_sec = 0}};
	char file[SHA256_HEX];

	name_file(reference, file);
	if (fs_put(s->names_fd, file, p, e) < 0 || store_sync(s->names_fd, "names", e) < 0)
		return -e->code;
	(void)utimensat(s->names_fd, file, unused, 0);
	return 0;
}

static int write_name(const struct store *s, const char *reference, const char *key, int64_t now_ms,
		      struct err *e)
{
	struct fs_prepared p = FS_NOT_PREPARED;
	int r = prepare_name(s, reference, key, now_ms, &p, e);

	if (r == 0)
		r = put_name(s, reference, &p, e);
	fs_abandon(s->names_fd, &p);
	return r;
}

void store_touch(const struct store *s, const struct reference *name)
{
	char whole[REFERENCE_SIZE], file[SHA256_HEX];

	reference_format(name, whole);
	name_file(whole, file);
	(void)utimensat(s->names_fd, file, NULL, 0);
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

	if (store_open_list(s->names_fd, &dir, e) < 0)
		return -e->code;
	while ((file = store_next(dir))) {
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

int store_read_record(const struct store *s, const char *key, struct record **ret, struct err *e)
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

/* 0 or IMAGE_ABSENT.  'reference' and 'name' may be NULL. */
static int load_image(const struct store *s, const char *key, const char *reference,
		      const struct name *name, struct image **ret, struct err *e)
{
	auto_record struct record *r = NULL;
	struct image *image;
	int result;

	result = store_read_record(s, key, &r, e);
	if (result != 0)
		return result;
	if (store_add_layers(s, r, &r->image) == IMAGE_ABSENT)
		return IMAGE_ABSENT;

	image = xcalloc(1, sizeof(*image));
	*image = r->image;
	r->image.arena.head = NULL; /* it went with the rest */
	image->reference = reference ? arena_strdup(&image->arena, reference) : NULL;
	image->pulled_ms = name ? name->pulled_ms : 0;
	image->used_ms = name ? name->used_ms : 0;
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

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	reference_format(name, whole);
	while ((key = store_next(dir))) {
		int r;

		if (!store_is_key(key) || !key_has(key, name->digest))
			continue;
		r = load_image(s, key, whole, NULL, ret, e);
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
		r = load_image(s, n.key, whole, &n, ret, e);
	if (r == IMAGE_ABSENT && name->digest[0])
		r = find_by_digest(s, name, ret, e);
	return r;
}

/* Files of one image, which go to the disk together; .name is "" if it gets none. */
struct addition {
	char key[IMAGE_KEY_SIZE], name[REFERENCE_SIZE];
	struct fs_prepared documents, record, named;
};

static int prepare(const struct store *s, const struct record *r, int documents_fd, int64_t now_ms,
		   struct addition *a, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_SIZE_MAX);

	record_write(r, &b);
	if (buf_overflow(&b))
		return err_set(e, EFBIG, "image record of more than %d bytes", RECORD_SIZE_MAX);
	if (documents_fd >= 0 && store_prepare_documents(s, r, documents_fd, &a->documents, e) < 0)
		return -e->code;
	if (fs_prepare(s->images_fd, a->key, b.data, b.size, 0600, &a->record, e) < 0)
		return -e->code;
	return a->name[0] ? prepare_name(s, a->name, a->key, now_ms, &a->named, e) : 0;
}

/* Each on the disk before the next gets its name. */
static int put(const struct store *s, struct addition *a, struct err *e)
{
	if (a->documents.fd >= 0 && fs_put(s->documents_fd, a->key, &a->documents, e) < 0)
		return -e->code;
	if (store_sync_layers(s, e) < 0 || store_sync(s->documents_fd, "documents", e) < 0 ||
	    fs_put(s->images_fd, a->key, &a->record, e) < 0 ||
	    store_sync(s->images_fd, "images", e) < 0)
		return -e->code;
	return a->name[0] ? put_name(s, a->name, &a->named, e) : 0;
}

int store_put_image(const struct store *s, const struct reference *name, const struct record *r,
		    int documents_fd, int64_t now_ms, struct err *e)
{
	struct addition a = {
		.documents = FS_NOT_PREPARED, .record = FS_NOT_PREPARED, .named = FS_NOT_PREPARED};
	int result;

	store_image_key(r->image.digest, r->image.manifest, a.key);
	if (name)
		reference_format(name, a.name);
	result = prepare(s, r, documents_fd, now_ms, &a, e);
	if (result == 0)
		result = put(s, &a, e);
	fs_abandon(s->documents_fd, &a.documents);
	fs_abandon(s->images_fd, &a.record);
	fs_abandon(s->names_fd, &a.named);
	return result < 0 ? err_wrap(e, "image store") : 0;
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
		int r = load_image(s, n->key, n->reference, n, &image, e);

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

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		struct image *image;
		int r;

		if (!store_is_key(key) || has_name(names, key))
			continue;
		r = load_image(s, key, NULL, NULL, &image, e);
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

static char *with_platform(const struct store *s, const char *reference, const char *key)
{
	auto_record struct record *r = NULL;
	struct err ignored;

	if (store_read_record(s, key, &r, &ignored) != 0)
		return xstrdup(reference);
	return xasprintf("%s %s/%s%s%s", reference, r->image.os, r->image.architecture,
			 r->image.variant ? "/" : "", r->image.variant ? r->image.variant : "");
}

int store_list_broken(const struct store *s, struct js_strings *ret, struct err *e)
{
	struct names names = {NULL, 0, 0};
	struct js_strings broken = {NULL, 0};
	size_t capacity = 0;
	int r = read_names(s, &names, e);

	for (size_t i = 0; r == 0 && i < names.count; i++) {
		struct err ignored;
		struct image *image;

		if (load_image(s, names.items[i].key, NULL, NULL, &image, &ignored) == 0) {
			image_free(image);
			continue;
		}
		broken.items = xgrow(broken.items, broken.count, &capacity, sizeof(char *));
		broken.items[broken.count++] = with_platform(s, names.items[i].reference,
							     names.items[i].key);
	}
	names_done(&names);
	*ret = broken;
	return r;
}

int store_each_record(const struct store *s,
		      int (*on_record)(void *ctx, const struct record *r, struct err *e), void *ctx,
		      struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		auto_record struct record *r = NULL;
		struct err ignored;

		if (!store_is_key(key) || store_read_record(s, key, &r, &ignored) != 0)
			continue;
		if (on_record(ctx, r, e) < 0)
			return -e->code;
	}
	return 0;
}

/* ---- by digest, or the beginning of one ---- */

/* Those of an image that people know it by. */
static bool begins(const struct record *r, const char *hex)
{
	const char *const digests[] = {r->image.config, r->image.manifest, r->image.digest};

	for (size_t i = 0; i < ARRAY_COUNT(digests); i++)
		if (digests[i] && str_starts(digest_hex(digests[i]), hex))
			return true;
	return false;
}

/* The image's digest, by the beginning of one of its digests. */
static int resolve_hex(const struct store *s, const char *hex, char ret[REFERENCE_SIZE],
		       struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *key;

	ret[0] = '\0';
	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		auto_record struct record *r = NULL;

		if (!store_is_key(key) || store_read_record(s, key, &r, e) != 0 || !begins(r, hex))
			continue;
		if (ret[0] && !str_eq(ret, r->image.digest))
			return err_set(e, EEXIST, "several images begin with %.64s", hex);
		(void)snprintf(ret, REFERENCE_SIZE, "%s", r->image.digest);
	}
	return ret[0] ? 0 : IMAGE_ABSENT;
}

int store_resolve(const struct store *s, const char *text, char ret[REFERENCE_SIZE], struct err *e)
{
	const char *hex = str_starts(text, "sha256:") ? text + strlen("sha256:") : text;
	bool is_hex = strspn(hex, "0123456789abcdef") == strlen(hex) &&
		      strlen(hex) >= IMAGE_ID_MIN && strlen(hex) <= 64;
	struct err wrong = {0};
	struct reference name;
	struct image *image;
	int r = IMAGE_ABSENT;

	if (hex == text && reference_parse(text, &name, &wrong) == 0)
		r = store_find(s, &name, &image, e);
	if (r == 0) {
		reference_format(&name, ret);
		image_free(image);
	}
	if (r == IMAGE_ABSENT && is_hex)
		return resolve_hex(s, hex, ret, e);
	if (r == IMAGE_ABSENT && wrong.code) {
		*e = wrong;
		return -e->code;
	}
	return r;
}

int store_tag(const struct store *s, const char *reference, const struct reference *name,
	      int64_t now_ms, struct err *e)
{
	struct reference from = {.host = ""};
	char whole[REFERENCE_SIZE], key[IMAGE_KEY_SIZE];
	struct image *image;
	int r;

	if (digest_valid(reference))
		memcpy(from.digest, reference, DIGEST_SIZE);
	else if (reference_parse(reference, &from, e) < 0)
		return -e->code;
	if (name->digest[0])
		return err_set(e, EINVAL, "a name with a digest can be given to no other image");
	r = digest_valid(reference) ? find_by_digest(s, &from, &image, e)
				    : store_find(s, &from, &image, e);
	if (r != 0)
		return r;
	store_image_key(image->digest, image->manifest, key);
	image_free(image);
	reference_format(name, whole);
	return write_name(s, whole, key, now_ms, e) < 0 ? err_wrap(e, "image store") : 0;
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
	return store_sync(dir_fd, what, e);
}

static int remove_key(const struct store *s, const char *key, struct err *e)
{
	if (unlink_durably(s->images_fd, key, "images", e) < 0)
		return -e->code;
	(void)unlinkat(s->documents_fd, key, 0); /* or the sweep does it */
	return 0;
}

int store_remove_image(const struct store *s, const struct image *image, struct err *e)
{
	char key[IMAGE_KEY_SIZE];

	store_image_key(image->digest, image->manifest, key);
	return remove_key(s, key, e);
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
	return others ? 0 : remove_key(s, n->key, e);
}

/* All that go by this digest, and their names. */
static int remove_digest(const struct store *s, const struct names *names, const char *digest,
			 const struct users *users, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	int result = IMAGE_ABSENT;
	const char *key;

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		if (!store_is_key(key) || !key_has(key, digest))
			continue;
		if (is_used(users, key))
			return IMAGE_IN_USE;
		for (size_t i = 0; i < names->count; i++)
			if (str_eq(names->items[i].key, key) &&
			    unlink_durably(s->names_fd, names->items[i].file, "names", e) < 0)
				return -e->code;
		if (remove_key(s, key, e) < 0)
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
