/* image/save.c - images of a store become an archive
 * SPDX-License-Identifier: Apache-2.0
 *
 *   save STORE docker-archive|oci-archive|oci-dir as-is|uncompressed IMAGE...
 *                                    to SAVE_OUT
 *
 * Reads our own record only, and hands on the rest as it is, checked against its
 * digests.  A docker-archive has layers as plain tars, which is how the store has
 * them; the configuration, and so the image's id, is what it was.  An OCI layout has
 * blobs as the registry has them: those that the store keeps or has been lent, or that
 * are plain tars anyway.  Where one is missing nothing is written, and it is said of
 * each image without, before the error, where it may be had:
 *
 *   lacks PLATFORM NAME@MANIFEST...
 *
 * What was lent is taken away when all of it is open: it does not stay, whatever
 * becomes of us.  "uncompressed" writes plain tars in their place, under a manifest
 * made here: another digest for the same files and the same id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/outlet.h"
#include "image/plain.h"
#include "image/store.h"
#include "image/worker.h"

#define NAME_KEY  "org.opencontainers.image.ref.name"
#define PATH_SIZE 160
#define IMAGES    4 /* argv[4...] */

struct save {
	struct store store;
	struct outlet *outlet;
	bool docker, uncompressed;
	json_t *list; /* manifest.json, or "manifests" of index.json */
	struct item *items;
	size_t item_count;
};

/* One of the images, with all that is handed on. */
struct item {
	char which[REFERENCE_SIZE]; /* a whole name, or a digest */
	struct record *record;
	char *documents;
	int blobs[IMAGE_LAYERS_MAX]; /* as the registry has them, if that is wanted; else -1 */
};

static void blob_name(const char *digest, char ret[PATH_SIZE])
{
	(void)snprintf(ret, PATH_SIZE, "blobs/sha256/%s", digest_hex(digest));
}

/* The document of that digest, in the item's. */
static const char *find_document(const struct item *i, const char *digest,
				 const struct record_document **ret)
{
	const char *data = i->documents;

	for (size_t d = 0; d < i->record->document_count; d++) {
		*ret = &i->record->documents[d];
		if (str_eq((*ret)->digest, digest))
			return data;
		data += (*ret)->size;
	}
	return NULL; /* store_read_documents() has looked for those that there must be */
}

/* ---- layers ---- */

static int size_of(int fd, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, "size of a layer");
	*ret = (uint64_t)st.st_size;
	return 0;
}

static int open_tar(const struct save *s, const struct record_layer *l, int *ret_fd,
		    uint64_t *ret_size, struct err *e)
{
	auto_close int fd = store_open_tar(&s->store, l->diff_id);

	if (fd < 0)
		return err_set(e, ENOTSUP,
			       "layer %s is held as a directory, not as the tar that it was: only "
			       "where layers are mounted as they are can it be saved",
			       l->diff_id);
	if (size_of(fd, ret_size, e) < 0)
		return -e->code;
	*ret_fd = take_fd(fd);
	return 0;
}

/* ---- docker-archive ---- */

static json_t *tags_of(const struct item *i)
{
	return strchr(i->which, '@') || str_starts(i->which, "sha256:")
		       ? json_array()
		       : json_pack("[s]", i->which);
}

static int save_docker(struct save *s, const struct item *i, struct err *e)
{
	const struct record *r = i->record;
	const struct record_document *d;
	const char *config = find_document(i, r->image.config, &d);
	char name[PATH_SIZE];
	json_t *layers = json_array();

	(void)snprintf(name, sizeof(name), "%s.json", digest_hex(r->image.config));
	(void)json_array_append_new(s->list, json_pack("{s:s, s:o, s:o}", "Config", name,
						       "RepoTags", tags_of(i), "Layers", layers));
	if (outlet_add(s->outlet, name, config, d->size, e) < 0)
		return -e->code;
	for (size_t l = 0; l < r->layer_count; l++) {
		auto_close int fd = -1;
		uint64_t size;

		(void)snprintf(name, sizeof(name), "%s.tar", digest_hex(r->layers[l].diff_id));
		(void)json_array_append_new(layers, json_string(name));
		if (open_tar(s, &r->layers[l], &fd, &size, e) < 0 ||
		    outlet_copy(s->outlet, name, fd, size, digest_hex(r->layers[l].diff_id), e) < 0)
			return -e->code;
	}
	return 0;
}

/* ---- OCI layouts ---- */

static int add_document(struct save *s, const char *digest, const char *data, size_t size,
			struct err *e)
{
	char name[PATH_SIZE];

	blob_name(digest, name);
	return outlet_add(s->outlet, name, data, size, e);
}

static void list_manifest(struct save *s, const struct item *i, const char *media_type,
			  const char *digest, size_t size)
{
	json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size",
			      (json_int_t)size);

	if (!str_starts(i->which, "sha256:"))
		(void)json_object_set_new(d, "annotations", json_pack("{s:s}", NAME_KEY, i->which));
	(void)json_array_append_new(s->list, d);
}

/* All layers as they are, and what names them. */
static int save_as_is(struct save *s, struct item *i, struct err *e)
{
	const struct record *r = i->record;
	const struct record_document *config_d, *d;
	const char *config = find_document(i, r->image.config, &config_d);
	const char *manifest = find_document(i, r->image.manifest, &d);

	for (size_t l = 0; l < r->layer_count; l++) {
		char name[PATH_SIZE];
		uint64_t size = 0;

		blob_name(r->layers[l].blob, name);
		if (size_of(i->blobs[l], &size, e) < 0 ||
		    outlet_copy(s->outlet, name, i->blobs[l], size, digest_hex(r->layers[l].blob),
				e) < 0)
			return -e->code;
		close_fd(&i->blobs[l]);
	}
	if (add_document(s, config_d->digest, config, config_d->size, e) < 0 ||
	    add_document(s, d->digest, manifest, d->size, e) < 0)
		return -e->code;
	list_manifest(s, i, d->media_type, d->digest, d->size);
	return 0;
}

static int save_tars(struct save *s, const struct item *i, uint64_t ret_sizes[], struct err *e)
{
	for (size_t l = 0; l < i->record->layer_count; l++) {
		const struct record_layer *layer = &i->record->layers[l];
		auto_close int fd = -1;
		char name[PATH_SIZE];

		blob_name(layer->diff_id, name);
		if (open_tar(s, layer, &fd, &ret_sizes[l], e) < 0 ||
		    outlet_copy(s->outlet, name, fd, ret_sizes[l], digest_hex(layer->diff_id), e) <
			    0)
			return -e->code;
	}
	return 0;
}

static int save_uncompressed(struct save *s, const struct item *i, struct err *e)
{
	const struct record_document *d;
	const char *config = find_document(i, i->record->image.config, &d);
	uint64_t sizes[IMAGE_LAYERS_MAX];
	auto_free char *text = NULL;
	char digest[DIGEST_SIZE];

	if (save_tars(s, i, sizes, e) < 0 || add_document(s, d->digest, config, d->size, e) < 0)
		return -e->code;
	text = plain_manifest(i->record, sizes, digest);
	if (add_document(s, digest, text, strlen(text), e) < 0)
		return -e->code;
	list_manifest(s, i, PLAIN_MANIFEST_TYPE, digest, strlen(text));
	return 0;
}

/* ---- all ---- */

static int save_image(struct save *s, struct item *i, struct err *e)
{
	int r = store_read_documents(&s->store, i->record, &i->documents, e);

	if (r == IMAGE_ABSENT)
		return err_set(e, ENODATA,
			       "%.300s was pulled by a Berth that kept no manifests: pull it again",
			       i->which);
	if (r == 0)
		r = s->docker         ? save_docker(s, i, e)
		    : s->uncompressed ? save_uncompressed(s, i, e)
				      : save_as_is(s, i, e);
	free(i->documents);
	i->documents = NULL;
	return r < 0 ? err_wrap(e, "%.300s", i->which) : 0;
}

static int add_json(struct save *s, const char *name, const json_t *doc, struct err *e)
{
	auto_free char *text = json_dumps(doc, JSON_COMPACT);

	return outlet_add(s->outlet, name, text, strlen(text), e);
}

static int add_lists(struct save *s, struct err *e)
{
	auto_json json_t *layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
	auto_json json_t *index = NULL;

	if (s->docker)
		return add_json(s, "manifest.json", s->list, e);
	index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType",
			  "application/vnd.oci.image.index.v1+json", "manifests", s->list);
	if (add_json(s, "oci-layout", layout, e) < 0)
		return -e->code;
	return add_json(s, "index.json", index, e);
}

/* ---- which ---- */

/* By this name, or by another that the image has. */
static void tell_lacking(const struct save *s, const struct item *i)
{
	const struct image *image = &i->record->image;
	char host[IMAGE_HOST_SIZE], name[IMAGE_NAME_SIZE];
	struct image_list all = {NULL, 0};
	struct err ignored;

	printf("lacks %s/%s%s%s", image->os, image->architecture, image->variant ? "/" : "",
	       image->variant ? image->variant : "");
	if (!str_starts(i->which, "sha256:") && image_name_of(i->which, host, name, &ignored) == 0)
		printf(" %s@%s", name, image->manifest);
	(void)store_list(&s->store, &all, &ignored); /* then it has only the one */
	for (size_t n = 0; n < all.count; n++) {
		const struct image *other = all.items[n];

		if (other->reference && !str_eq(other->reference, i->which) &&
		    str_eq(other->manifest, image->manifest) &&
		    image_name_of(other->reference, host, name, &ignored) == 0)
			printf(" %s@%s", name, image->manifest);
	}
	printf("\n");
	image_list_done(&all);
}

/* 1: one is missing, and *e says which. */
static int open_blobs(const struct save *s, struct item *i, struct err *e)
{
	const struct record *r = i->record;

	for (size_t l = 0; l < r->layer_count; l++) {
		i->blobs[l] = store_open_blob_or_lent(&s->store, &r->layers[l]);
		if (i->blobs[l] == -ENOENT) {
			(void)err_set(e, ENODATA,
				      "%.300s: layer %s is not kept as the registry packed it",
				      i->which, r->layers[l].blob);
			return 1;
		}
		if (i->blobs[l] < 0) {
			errno = -i->blobs[l];
			return err_sys(e, "%.300s: open layer %s", i->which, r->layers[l].blob);
		}
	}
	return 0;
}

static int open_all(struct save *s, struct err *e)
{
	bool lacking = false;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < s->item_count; i++) {
		r = open_blobs(s, &s->items[i], e);
		lacking |= r > 0;
		if (r > 0)
			tell_lacking(s, &s->items[i]);
	}
	if (r < 0 || lacking)
		return -e->code;
	for (size_t i = 0; i < s->item_count; i++)
		for (size_t l = 0; l < s->items[i].record->layer_count; l++)
			store_drop_lent(&s->store, &s->items[i].record->layers[l]);
	return 0;
}

static int find_items(struct save *s, char **images, size_t count, struct err *e)
{
	s->items = xcalloc(count, sizeof(*s->items));
	for (; s->item_count < count; s->item_count++) {
		struct item *i = &s->items[s->item_count];
		const char *text = images[s->item_count];

		for (size_t l = 0; l < IMAGE_LAYERS_MAX; l++)
			i->blobs[l] = -1;
		if (store_find_record(&s->store, text, i->which, &i->record, e) < 0)
			return err_wrap(e, "%.300s", text);
	}
	return 0;
}

static void items_free(struct save *s)
{
	for (size_t i = 0; i < s->item_count; i++) {
		for (size_t l = 0; l < IMAGE_LAYERS_MAX; l++)
			close_fd(&s->items[i].blobs[l]);
		record_free(s->items[i].record);
	}
	free(s->items);
}

static int save(struct save *s, char **images, size_t count, bool is_directory, struct err *e)
{
	if (find_items(s, images, count, e) < 0 ||
	    (!s->docker && !s->uncompressed && open_all(s, e) < 0))
		return -e->code;
	s->outlet = outlet_new(SAVE_OUT, is_directory); /* a tar has an end, also when it is left */
	for (size_t i = 0; i < s->item_count; i++)
		if (save_image(s, &s->items[i], e) < 0)
			return -e->code;
	if (add_lists(s, e) < 0)
		return -e->code;
	return outlet_finish(s->outlet, e);
}

/* The layers of all images are open at once. */
static void allow_many_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* who lacks them will hear it from open() */
}

int save_main(int argc, char **argv)
{
	struct save s = {.list = json_array()};
	struct err e = {0};
	int r = argc > IMAGES + 1 ? store_init(&s.store, argv[2], IMAGE_AS_LAST, &e)
				  : err_set(&e, EINVAL, "save STORE FORMAT HOW IMAGE...");

	if (r == 0) {
		allow_many_files();
		s.docker = str_eq(argv[3], "docker-archive");
		s.uncompressed = str_eq(argv[4], "uncompressed");
		r = save(&s, argv + IMAGES + 1, (size_t)(argc - IMAGES - 1),
			 str_eq(argv[3], "oci-dir"), &e);
		outlet_free(s.outlet);
		items_free(&s);
		store_done(&s.store);
	}
	json_decref(s.list);
	if (r < 0)
		printf("error %d %s\n", e.code, e.msg);
	return r < 0 ? 1 : 0;
}
