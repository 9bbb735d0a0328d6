/* image/content.c - what is held, by digest: for other nodes
 * SPDX-License-Identifier: Apache-2.0
 *
 * A layer's tar and a configuration lie under their digests.  Manifests, indexes and
 * kept blobs are found by going through the records, which nobody does often.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/client.h"

/* ---- one ---- */

static int open_whole(int own_fd, struct image_content *ret, struct err *e)
{
	auto_close int fd = own_fd;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "image store");
	*ret = (struct image_content){.size = (uint64_t)st.st_size};
	ret->fd = take_fd(fd);
	return 0;
}

struct search {
	const struct store *store;
	const char *digest;
	struct image_content *ret;
	bool found;
};

/* A part of the record's documents. */
static int open_document(struct search *s, const struct record *r, struct err *e)
{
	char key[IMAGE_KEY_SIZE];
	uint64_t offset = 0;

	for (size_t i = 0; i < r->document_count; offset += r->documents[i++].size) {
		const struct record_document *d = &r->documents[i];
		int fd;

		if (!str_eq(d->digest, s->digest))
			continue;
		store_image_key(r->image.digest, r->image.manifest, key);
		fd = openat(s->store->documents_fd, key, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || open_whole(fd, s->ret, e) < 0)
			return 0; /* another record may have it, too */
		s->ret->offset = offset;
		s->ret->size = d->size;
		memcpy(s->ret->media_type, d->media_type, sizeof(d->media_type));
		s->found = true;
	}
	return 0;
}

static int look(void *ctx, const struct record *r, struct err *e)
{
	struct search *s = ctx;

	if (!s->found)
		(void)open_document(s, r, e);
	for (size_t i = 0; !s->found && i < r->layer_count; i++) {
		int fd = str_eq(r->layers[i].blob, s->digest)
				 ? store_open_blob(s->store, &r->layers[i])
				 : -ENOENT;

		s->found = fd >= 0 && open_whole(fd, s->ret, e) == 0;
	}
	return s->found ? err_set(e, ECANCELED, "found") : 0;
}

int image_open_content(struct image_store *store, const char *digest, struct image_content *ret,
		       struct err *e)
{
	struct search s = {.store = &store->store, .digest = digest, .ret = ret};
	int fd;

	if (!digest_valid(digest))
		return err_set(e, EINVAL, "'%.80s' is no digest", digest);
	fd = store_open_tar(s.store, digest);
	if (fd < 0)
		fd = openat(s.store->configs_fd, digest_hex(digest), O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return open_whole(fd, ret, e);
	if (store_each_record(s.store, look, &s, e) < 0 && !s.found)
		return -e->code;
	return s.found ? 0 : IMAGE_ABSENT;
}

/* ---- all ---- */

struct list {
	const struct store *store;
	void (*on_content)(void *ctx, const char *digest);
	void *ctx;
};

static int list_tar(void *ctx, const char *diff_id, struct err *e)
{
	const struct list *l = ctx;

	(void)e;
	l->on_content(l->ctx, diff_id);
	return 0;
}

static int list_record(void *ctx, const struct record *r, struct err *e)
{
	const struct list *l = ctx;

	(void)e;
	for (size_t i = 0; i < r->document_count; i++) /* the configuration among them */
		l->on_content(l->ctx, r->documents[i].digest);
	for (size_t i = 0; i < r->layer_count; i++) {
		auto_close int fd = str_eq(r->layers[i].blob, r->layers[i].diff_id)
					    ? -1
					    : store_open_blob(l->store, &r->layers[i]);

		if (fd >= 0)
			l->on_content(l->ctx, r->layers[i].blob);
	}
	return 0;
}

int image_each_content(struct image_store *s, void (*on_content)(void *ctx, const char *digest),
		       void *ctx, struct err *e)
{
	struct list l = {&s->store, on_content, ctx};

	if (store_each_record(&s->store, list_record, &l, e) < 0)
		return -e->code;
	return store_each_tar(&s->store, list_tar, &l, e);
}
