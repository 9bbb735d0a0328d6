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

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/random.h"
#include "base/text.h"
#include "image/store.h"

#define LAYER_TREE  "fs"
#define LAYER_BYTES "bytes"

char *store_layer_path(const struct store *s, const char *diff_id, struct arena *a)
{
	return arena_printf(a, "%s/layers/%s/" LAYER_TREE, s->dir, digest_hex(diff_id));
}

/* "BYTES GREATEST_ID"; earlier versions did not write the second. */
int64_t store_layer_bytes(const struct store *s, const char *diff_id, uint32_t *ret_greatest_id)
{
	char path[80 + sizeof(LAYER_BYTES)], *blank;
	auto_buf struct buf b = BUF_INIT(64);
	struct err ignored;
	int64_t bytes;

	*ret_greatest_id = 0;

	(void)snprintf(path, sizeof(path), "%s/" LAYER_BYTES, digest_hex(diff_id));
	if (fs_read(s->layers_fd, path, &b, &ignored) < 0)
		return -1;
	blank = strchr(buf_str(&b), ' ');
	if (blank)
		*blank = '\0';
	if (!parse_i64(buf_str(&b), 0, INT64_MAX, &bytes) ||
	    (blank && !parse_u32(blank + 1, UINT32_MAX, ret_greatest_id)))
		return -1;
	return bytes;
}

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
	uint32_t ignored;

	return store_layer_bytes(s, diff_id, &ignored) >= 0;
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
	return store_sync(s->layers_fd, "layers", e);
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

	if (store_open_list(s->images_fd, &dir, e) < 0)
		return -e->code;
	while ((key = store_next(dir))) {
		auto_record struct record *r = NULL;

		if (!store_is_key(key))
			continue;
		if (store_read_record(s, key, &r, e) < 0)
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

	if (store_open_list(s->layers_fd, &dir, e) < 0)
		return -e->code;
	while ((hex = store_next(dir))) {
		char name[INGEST_SIZE];

		if (is_needed(needed, hex))
			continue;
		random_hex(name, INGEST_SIZE - 1);
		if (renameat(s->layers_fd, hex, s->ingest_fd, name) < 0)
			return err_sys(e, "image store: move layers/%.16s away", hex);
	}
	return store_sync(s->layers_fd, "layers", e);
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

bool store_has_ingest(const struct store *s)
{
	auto_closedir DIR *dir = NULL;
	struct err ignored;

	return store_open_list(s->ingest_fd, &dir, &ignored) == 0 && store_next(dir);
}
