/* image/save.c - images of a store become an archive
 * SPDX-License-Identifier: Apache-2.0
 *
 *   save STORE docker-archive|oci-archive|oci-dir as-is|uncompressed IMAGE...
 *                                    to SAVE_OUT
 *
 * Reads our own record only, and hands on the rest as it is, checked against its
 * digests.  A docker-archive has layers as plain tars, which is how the store has
 * them; the configuration, and so the image's id, is what it was.  An OCI layout has
 * blobs as the registry has them: those that the store keeps, or that are plain tars
 * anyway.  "uncompressed" writes plain tars in their place, under a manifest made
 * here: another digest for the same files and the same id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/handover.h"
#include "image/outlet.h"
#include "image/store.h"
#include "image/worker.h"

#define OCI       "application/vnd.oci.image."
#define NAME_KEY  "org.opencontainers.image.ref.name"
#define PATH_SIZE 160
#define IMAGES    4 /* argv[4...] */

struct save {
	struct store store;
	struct outlet *outlet;
	bool docker, uncompressed;
	json_t *list; /* manifest.json, or "manifests" of index.json */
};

/* One of the images, with all that is handed on. */
struct item {
	char which[REFERENCE_SIZE]; /* a whole name, or a digest */
	struct record *record;
	char *documents;
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

/* As the registry has it: kept so, or a plain tar. */
static int open_blob(const struct save *s, const struct record_layer *l, int *ret_fd,
		     uint64_t *ret_size, struct err *e)
{
	auto_close int fd = -1;

	if (str_eq(l->blob, l->diff_id))
		return open_tar(s, l, ret_fd, ret_size, e);
	fd = store_open_blob(&s->store, l);
	if (fd < 0)
		return err_set(
			e, ENODATA,
			"layer %s is not kept as the registry packed it: berth pull "
			"--keep-blobs fetches it for that, or --uncompressed saves plain tars "
			"under another digest",
			l->blob);
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
static int save_as_is(struct save *s, const struct item *i, struct err *e)
{
	const struct record *r = i->record;
	const struct record_document *config_d, *d;
	const char *config = find_document(i, r->image.config, &config_d);
	const char *manifest = find_document(i, r->image.manifest, &d);

	for (size_t l = 0; l < r->layer_count; l++) {
		auto_close int fd = -1;
		char name[PATH_SIZE];
		uint64_t size;

		blob_name(r->layers[l].blob, name);
		if (open_blob(s, &r->layers[l], &fd, &size, e) < 0 ||
		    outlet_copy(s->outlet, name, fd, size, digest_hex(r->layers[l].blob), e) < 0)
			return -e->code;
	}
	if (add_document(s, config_d->digest, config, config_d->size, e) < 0 ||
	    add_document(s, d->digest, manifest, d->size, e) < 0)
		return -e->code;
	list_manifest(s, i, d->media_type, d->digest, d->size);
	return 0;
}

static int save_tars(struct save *s, const struct item *i, json_t *layers, struct err *e)
{
	for (size_t l = 0; l < i->record->layer_count; l++) {
		const struct record_layer *layer = &i->record->layers[l];
		auto_close int fd = -1;
		char name[PATH_SIZE];
		uint64_t size;

		blob_name(layer->diff_id, name);
		if (open_tar(s, layer, &fd, &size, e) < 0 ||
		    outlet_copy(s->outlet, name, fd, size, digest_hex(layer->diff_id), e) < 0)
			return -e->code;
		(void)json_array_append_new(
			layers, json_pack("{s:s, s:s, s:I}", "mediaType", OCI "layer.v1.tar",
					  "digest", layer->diff_id, "size", (json_int_t)size));
	}
	return 0;
}

static int save_uncompressed(struct save *s, const struct item *i, struct err *e)
{
	auto_json json_t *layers = json_array(), *manifest = NULL;
	const struct record_document *d;
	const char *config = find_document(i, i->record->image.config, &d);
	auto_free char *text = NULL;
	char digest[DIGEST_SIZE];

	if (save_tars(s, i, layers, e) < 0 || add_document(s, d->digest, config, d->size, e) < 0)
		return -e->code;
	manifest = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
			     OCI "manifest.v1+json", "config", "mediaType", OCI "config.v1+json",
			     "digest", d->digest, "size", (json_int_t)d->size, "layers", layers);
	text = json_dumps(manifest, JSON_COMPACT);
	digest_of(text, strlen(text), digest);
	if (add_document(s, digest, text, strlen(text), e) < 0)
		return -e->code;
	list_manifest(s, i, OCI "manifest.v1+json", digest, strlen(text));
	return 0;
}

/* ---- all ---- */

static int find_item(const struct save *s, const char *text, struct item *i, struct err *e)
{
	int r = store_find_record(&s->store, text, i->which, &i->record, e);

	if (r == 0)
		r = store_read_documents(&s->store, i->record, &i->documents, e);
	return r == IMAGE_ABSENT
		       ? err_set(e, ENODATA,
				 "%.300s was pulled by a Berth that kept no manifests: pull it again",
				 text)
		       : r;
}

static int save_image(struct save *s, const char *text, struct err *e)
{
	struct item i = {.record = NULL};
	int r = find_item(s, text, &i, e);

	if (r == 0)
		r = s->docker         ? save_docker(s, &i, e)
		    : s->uncompressed ? save_uncompressed(s, &i, e)
				      : save_as_is(s, &i, e);
	record_free(i.record);
	free(i.documents);
	return r < 0 ? err_wrap(e, "%.300s", text) : 0;
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
	index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", OCI "index.v1+json",
			  "manifests", s->list);
	if (add_json(s, "oci-layout", layout, e) < 0)
		return -e->code;
	return add_json(s, "index.json", index, e);
}

static int save(struct save *s, char **images, struct err *e)
{
	for (; *images; images++)
		if (save_image(s, *images, e) < 0)
			return -e->code;
	if (add_lists(s, e) < 0)
		return -e->code;
	return outlet_finish(s->outlet, e);
}

int save_main(int argc, char **argv)
{
	struct save s = {.list = json_array()};
	struct err e = {0};
	int r = argc > IMAGES + 1 ? store_init(&s.store, argv[2], IMAGE_AS_LAST, &e)
				  : err_set(&e, EINVAL, "save STORE FORMAT HOW IMAGE...");

	if (r == 0) {
		s.docker = str_eq(argv[3], "docker-archive");
		s.uncompressed = str_eq(argv[4], "uncompressed");
		s.outlet = outlet_new(SAVE_OUT, str_eq(argv[3], "oci-dir"));
		r = save(&s, argv + IMAGES + 1, &e);
		outlet_free(s.outlet);
		store_done(&s.store);
	}
	json_decref(s.list);
	if (r < 0)
		printf("error %d %s\n", e.code, e.msg);
	return r < 0 ? 1 : 0;
}
