/* image/renew.c - what the store holds, compared with what is made of it anew
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/random.h"
#include "image/store.h"

#define PATH_SIZE  (SHA256_HEX + 16)
#define PIECE_SIZE (64 << 10)

/* Whether two files have the same bytes; one that cannot be read is like no other. */
static bool same(int a_dir_fd, const char *a, int b_dir_fd, const char *b)
{
	auto_close int a_fd = openat(a_dir_fd, a, O_RDONLY | O_CLOEXEC);
	auto_close int b_fd = openat(b_dir_fd, b, O_RDONLY | O_CLOEXEC);
	char x[PIECE_SIZE], y[PIECE_SIZE];
	ssize_t n;

	if (a_fd < 0 || b_fd < 0)
		return false;
	do {
		n = read_all(a_fd, x, sizeof(x));
		if (n < 0 || read_all(b_fd, y, sizeof(y)) != n || memcmp(x, y, (size_t)n) != 0)
			return false;
	} while (n > 0);
	return true;
}

int store_open_tar(const struct store *s, const char *diff_id)
{
	char path[PATH_SIZE];
	int fd;

	(void)snprintf(path, sizeof(path), "%.64s/tar", digest_hex(diff_id));
	fd = openat(s->tars_fd, path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int store_each_tar(const struct store *s,
		   int (*on_tar)(void *ctx, const char *diff_id, struct err *e), void *ctx,
		   struct err *e)
{
	auto_closedir DIR *dir = NULL;
	const char *hex;

	if (store_open_list(s->tars_fd, &dir, e) < 0)
		return -e->code;
	while ((hex = store_next(dir))) {
		char diff_id[DIGEST_SIZE];

		(void)snprintf(diff_id, sizeof(diff_id), "sha256:%.64s", hex);
		if (digest_valid(diff_id) && on_tar(ctx, diff_id, e) < 0)
			return -e->code;
	}
	return 0;
}

int store_renew_layer(const struct store *s, const char *ingest, const char *diff_id, struct err *e)
{
	static const char *const files[] = {"sparse", "table", "bytes"};
	int result = 0;

	for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
		char made[PATH_SIZE], held[PATH_SIZE];

		(void)snprintf(made, sizeof(made), "%s/%s", ingest, files[i]);
		(void)snprintf(held, sizeof(held), "%.64s/%s", digest_hex(diff_id), files[i]);
		if (same(s->ingest_fd, made, s->tars_fd, held))
			continue;
		if (renameat(s->ingest_fd, made, s->tars_fd, held) < 0)
			return err_sys(e, "image store: renew tars/%s", held);
		result = 1;
	}
	return result;
}

int store_drop_tar(const struct store *s, const char *diff_id, struct err *e)
{
	char name[INGEST_SIZE];

	random_hex(name, INGEST_SIZE - 1);
	if (renameat(s->tars_fd, digest_hex(diff_id), s->ingest_fd, name) < 0)
		return err_sys(e, "image store: move tars/%.16s away", digest_hex(diff_id));
	return store_sync(s->tars_fd, "tars", e);
}

int store_renew_index(const struct store *s, const char *ingest, const struct record *r,
		      struct err *e)
{
	char name[SHA256_HEX];

	store_index_name(r, name);
	if (same(s->ingest_fd, ingest, s->indexes_fd, name))
		return 0;
	return store_put_index(s, ingest, r, e) < 0 ? -e->code : 1;
}
