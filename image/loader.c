/* image/loader.c - the worker that reads an archive of images
 * SPDX-License-Identifier: Apache-2.0
 *
 * To the puller it is a fetcher: it hands over a record, then the bytes of the
 * layers that are ordered, one after the other.  What it reads is
 *
 *   an OCI layout     index.json lists images, everything is in blobs/ by digest
 *   docker-archive    manifest.json lists images by names of files; there is no
 *                     manifest, so one is made: its layers are plain tars, known by
 *                     the diff-ids that the configuration has
 *
 * All digests are checked here or, those of layers, by whoever reads them too.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/attachments.h"
#include "image/bundle.h"
#include "image/handover.h"
#include "image/jail.h"
#include "image/manifest.h"
#include "image/reason.h"
#include "image/worker.h"

#define JSON_DEPTH    64
#define PIECE_SIZE    (256 << 10)
#define BLOB_PATH     128
#define OCI           "application/vnd.oci.image."
#define NAME_KEY      "org.opencontainers.image.ref.name"
#define LONG_NAME_KEY "io.containerd.image.name"

struct loader {
	const struct order *order;
	struct bundle *bundle;
	struct platform platform;
	struct record *record;
	char *layer_files[IMAGE_LAYERS_MAX]; /* docker-archive; NULL: by digest */
};

static void blob_path(const char *digest, char ret[BLOB_PATH])
{
	(void)snprintf(ret, BLOB_PATH, "blobs/sha256/%s", digest_hex(digest));
}

/* One document by digest. */
static int read_blob(struct loader *l, const struct descriptor *d, struct buf *out, struct err *e)
{
	char path[BLOB_PATH], is[DIGEST_SIZE];

	blob_path(d->digest, path);
	if (bundle_read(l->bundle, path, out, e) < 0)
		return -e->code;
	digest_of(buf_str(out), out->size, is);
	if (!str_eq(is, d->digest))
		return image_fail(e, IMAGE_REASON_DIGEST_MISMATCH, "%s has the digest %s", path,
				  is);
	return 0;
}

static void add_name(struct record *r, const char *name)
{
	struct reference parsed;
	struct err ignored;
	char whole[REFERENCE_SIZE];

	if (!name || reference_parse(name, &parsed, &ignored) < 0)
		return;
	reference_format(&parsed, whole);
	r->names.items[r->names.count++] = arena_strdup(&r->image.arena, whole);
}

static void room_for_names(struct record *r, size_t count)
{
	r->names.items = arena_alloc(&r->image.arena, (count + 1) * sizeof(char *));
}

static int no_such_item(const struct loader *l, size_t count, struct err *e)
{
	return image_fail(e, IMAGE_REASON_NOT_FOUND, "the archive has %zu images, there is no %u",
			  count, l->order->item + 1);
}

/* ---- OCI layouts ---- */

static int read_config(struct loader *l, const struct document *manifest, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);

	if (read_blob(l, manifest->config, &text, e) < 0 ||
	    config_parse(buf_str(&text), text.size, manifest, &l->platform, l->record, e) < 0 ||
	    handover_document(l->record, text.data, text.size, manifest->config->media_type,
			      manifest->config->digest, e) < 0)
		return -e->code;
	l->record->image.config = arena_strdup(&l->record->image.arena, manifest->config->digest);
	return 0;
}

static int read_document(struct loader *l, const struct descriptor *d, struct document *ret,
			 struct err *e)
{
	auto_buf struct buf text = BUF_INIT(MANIFEST_SIZE_MAX);

	if (read_blob(l, d, &text, e) < 0 ||
	    document_parse(buf_str(&text), text.size, d->media_type, ret, e) < 0)
		return -e->code;
	if (handover_document(l->record, text.data, text.size, ret->media_type, d->digest, e) < 0) {
		document_done(ret);
		return -e->code;
	}
	return 0;
}

static int read_image(struct loader *l, const struct descriptor *top, struct err *e);

/* A name with a digest that is not the index's is of one of its manifests. */
static int read_one_of(struct loader *l, const struct descriptor *top, const char *digest,
		       struct err *e)
{
	auto_buf struct buf text = BUF_INIT(MANIFEST_SIZE_MAX);
	const struct descriptor *found = NULL;
	struct document index;
	int r;

	if (read_blob(l, top, &text, e) < 0 ||
	    document_parse(buf_str(&text), text.size, top->media_type, &index, e) < 0)
		return -e->code;
	for (size_t i = 0; index.kind == DOCUMENT_INDEX && i < index.count; i++)
		if (str_eq(index.items[i].digest, digest))
			found = &index.items[i];
	r = found ? read_image(l, found, e)
		  : image_fail(e, IMAGE_REASON_DIGEST_MISMATCH, "the archive has no %s", digest);
	document_done(&index);
	return r;
}

/* From what index.json names to the manifest for our platform. */
static int read_image(struct loader *l, const struct descriptor *top, struct err *e)
{
	struct image *image = &l->record->image;
	const struct descriptor *d = top;
	struct document doc, next;
	int r;

	image->digest = arena_strdup(&image->arena, top->digest);
	if (read_document(l, d, &doc, e) < 0)
		return -e->code;
	for (int depth = 0; doc.kind == DOCUMENT_INDEX; depth++) {
		document_note_siblings(&doc, image);
		if (depth)
			image->sibling_count = 0;
		r = document_choose(&doc, &l->platform, &d, e);
		if (r == 0 && depth == INDEX_DEPTH_MAX)
			r = image_fail(e, IMAGE_REASON_TOO_LARGE, "more than %d indexes in a row",
				       INDEX_DEPTH_MAX);
		if (r == 0)
			image->manifest = arena_strdup(&image->arena, d->digest);
		if (r == 0)
			r = read_document(l, d, &next, e);
		document_done(&doc);
		if (r < 0)
			return r;
		doc = next;
	}
	if (!image->manifest)
		image->manifest = arena_strdup(&image->arena, top->digest);
	r = read_config(l, &doc, e);
	document_done(&doc);
	return r;
}

static const char *annotation(const struct descriptor *d, const char *key)
{
	for (size_t i = 0; i < d->annotations.count; i++)
		if (str_eq(d->annotations.items[i].key, key))
			return d->annotations.items[i].value;
	return NULL;
}

static int get_attachment(void *ctx, const char *kind, const char *digest, struct buf *out,
			  struct err *e)
{
	const struct descriptor d = {.digest = (char *)(uintptr_t)digest};

	(void)kind;
	return read_blob(ctx, &d, out, e);
}

static int load_layout(struct loader *l, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(MANIFEST_SIZE_MAX);
	struct reference ordered = {.digest = ""};
	const struct descriptor *top;
	struct document index;
	int r;

	if (l->order->reference[0] && reference_parse(l->order->reference, &ordered, e) < 0)
		return -e->code;
	if (bundle_read(l->bundle, "index.json", &text, e) < 0 ||
	    document_parse(buf_str(&text), text.size, OCI "index.v1+json", &index, e) < 0)
		return -e->code;
	if (l->order->item >= index.count) {
		r = no_such_item(l, index.count, e);
	} else {
		top = &index.items[l->order->item];
		room_for_names(l->record, 1);
		add_name(l->record, annotation(top, LONG_NAME_KEY) ? annotation(top, LONG_NAME_KEY)
								   : annotation(top, NAME_KEY));
		r = ordered.digest[0] && !str_eq(ordered.digest, top->digest)
			    ? read_one_of(l, top, ordered.digest, e)
			    : read_image(l, top, e);
		if (r == 0)
			attachments_take(l->record, get_attachment, l);
	}
	document_done(&index);
	return r;
}

/* ---- docker-archive ---- */

struct docker_item {
	char *config;
	struct js_strings tags, layers;
};

static const struct js_field docker_fields[] = {
	{"Config", JS_STRING, offsetof(struct docker_item, config), JS_REQUIRED, NULL},
	{"RepoTags", JS_STRINGS, offsetof(struct docker_item, tags), 0, NULL},
	{"Layers", JS_STRINGS, offsetof(struct docker_item, layers), JS_REQUIRED, NULL},
};
static const struct js_shape docker_shape = JS_SHAPE("manifest.json", struct docker_item,
						     docker_fields);

static int read_item(struct loader *l, struct docker_item *ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(MANIFEST_SIZE_MAX);
	auto_json json_t *doc = NULL;
	const json_t *item;

	if (bundle_read(l->bundle, "manifest.json", &text, e) < 0)
		return -e->code;
	if (js_parse(buf_str(&text), text.size, JSON_DEPTH, &doc, e) < 0) {
		(void)image_class(e, IMAGE_REASON_MALFORMED);
		return err_wrap(e, "manifest.json");
	}
	item = json_array_get(doc, l->order->item);
	if (!item)
		return no_such_item(l, json_array_size(doc), e);
	if (js_decode(item, &docker_shape, &l->record->image.arena, ret, e) < 0)
		return image_class(e, IMAGE_REASON_MALFORMED);
	if (ret->layers.count == 0 || ret->layers.count > IMAGE_LAYERS_MAX)
		return image_fail(e, IMAGE_REASON_MALFORMED, "manifest.json: %zu layers",
				  ret->layers.count);
	return 0;
}

/* "rootfs": {"diff_ids": [...]}: borrowed from the document. */
static int find_diff_ids(const json_t *config, size_t count, const json_t **ret, struct err *e)
{
	const json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");

	if (json_array_size(ids) != count)
		return image_fail(e, IMAGE_REASON_MALFORMED,
				  "%zu diff-ids, but manifest.json has %zu layers",
				  json_array_size(ids), count);
	for (size_t i = 0; i < count; i++)
		if (!json_is_string(json_array_get(ids, i)) ||
		    !digest_valid(json_string_value(json_array_get(ids, i))))
			return image_fail(e, IMAGE_REASON_MALFORMED, "diff-id %zu is none", i);
	*ret = ids;
	return 0;
}

/* What a registry would have been given, had the image been pushed with plain layers. */
static int make_manifest(struct loader *l, const struct docker_item *item, const struct buf *config,
			 struct buf *out, struct err *e)
{
	auto_json json_t *doc = NULL;
	const json_t *ids = NULL;
	char digest[DIGEST_SIZE];

	if (js_parse(buf_str(config), config->size, JSON_DEPTH, &doc, e) < 0) {
		(void)image_class(e, IMAGE_REASON_MALFORMED);
		return err_wrap(e, "configuration");
	}
	if (find_diff_ids(doc, item->layers.count, &ids, e) < 0)
		return -e->code;
	digest_of(buf_str(config), config->size, digest);
	buf_printf(out,
		   "{\"schemaVersion\":2,\"mediaType\":\"" OCI "manifest.v1+json\",\"config\":"
		   "{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"%s\",\"size\":%zu},"
		   "\"layers\":[",
		   digest, config->size);
	for (size_t i = 0; i < item->layers.count; i++) {
		struct bundle_file f;

		if (bundle_find(l->bundle, item->layers.items[i], &f, e) < 0)
			return -e->code;
		if (f.own_fd)
			(void)close(f.fd);
		l->layer_files[i] = item->layers.items[i];
		buf_printf(
			out,
			"%s{\"mediaType\":\"" OCI "layer.v1.tar\",\"digest\":\"%s\",\"size\":%lld}",
			i ? "," : "", json_string_value(json_array_get(ids, i)), (long long)f.size);
	}
	buf_puts(out, "]}");
	return 0;
}

static int load_made(struct loader *l, const struct buf *manifest, const struct buf *config,
		     struct err *e)
{
	struct image *image = &l->record->image;
	char digest[DIGEST_SIZE];
	struct document doc;
	int r;

	digest_of(buf_str(manifest), manifest->size, digest);
	image->digest = image->manifest = arena_strdup(&image->arena, digest);
	if (document_parse(buf_str(manifest), manifest->size, NULL, &doc, e) < 0)
		return -e->code;
	image->config = arena_strdup(&image->arena, doc.config->digest);
	r = config_parse(buf_str(config), config->size, &doc, &l->platform, l->record, e);
	if (r == 0)
		r = handover_document(l->record, manifest->data, manifest->size, doc.media_type,
				      digest, e);
	if (r == 0)
		r = handover_document(l->record, config->data, config->size, doc.config->media_type,
				      doc.config->digest, e);
	document_done(&doc);
	return r;
}

static int load_docker(struct loader *l, struct err *e)
{
	auto_buf struct buf config = BUF_INIT(CONFIG_SIZE_MAX),
			    manifest = BUF_INIT(MANIFEST_SIZE_MAX);
	struct docker_item item;

	if (read_item(l, &item, e) < 0 || bundle_read(l->bundle, item.config, &config, e) < 0 ||
	    make_manifest(l, &item, &config, &manifest, e) < 0)
		return -e->code;
	room_for_names(l->record, item.tags.count);
	for (size_t i = 0; i < item.tags.count; i++)
		add_name(l->record, item.tags.items[i]);
	return load_made(l, &manifest, &config, e);
}

/* ---- layers ---- */

/* The pipe's end is non-blocking for fetchers; here there is nothing else to do. */
static int write_blocking(int fd, const unsigned char *data, size_t size)
{
	while (size) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t n = write(fd, data, size);

		if (n < 0 && errno == EAGAIN)
			(void)poll(&p, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n <= 0)
			continue;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

static void report_progress(const struct record_layer *layer, unsigned i, uint64_t bytes)
{
	struct report report = {.kind = REPORT_LAYER,
				.layer = i,
				.phase = IMAGE_LAYER_DOWNLOADING,
				.bytes = bytes,
				.total_bytes = layer->blob_size};

	memcpy(report.digest, layer->blob, DIGEST_SIZE);
	(void)report_send(WORKER_SOCK, &report);
}

/* A reader that has gone will have said why; the digest is still of interest. */
static int copy_blob(const struct bundle_file *f, int pipe_fd, struct sha256 *hash, struct err *e)
{
	static unsigned char piece[PIECE_SIZE];
	bool gone = false;

	for (int64_t done = 0; done < f->size;) {
		size_t want = f->size - done > PIECE_SIZE ? PIECE_SIZE : (size_t)(f->size - done);
		ssize_t n = pread(f->fd, piece, want, f->offset + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? os_fail(e, "read a layer")
				     : image_fail(e, IMAGE_REASON_TRUNCATED, "it ends too early");
		sha256_add(hash, piece, (size_t)n);
		gone = gone || write_blocking(pipe_fd, piece, (size_t)n) < 0;
		done += n;
	}
	return 0;
}

static int send_layer(struct loader *l, unsigned i, int pipe_fd, struct err *e)
{
	const struct record_layer *layer = &l->record->layers[i];
	char path[BLOB_PATH], hex[SHA256_HEX];
	struct bundle_file f;
	struct sha256 *hash;
	int r;

	blob_path(layer->blob, path);
	if (bundle_find(l->bundle, l->layer_files[i] ? l->layer_files[i] : path, &f, e) < 0)
		return -e->code;
	hash = sha256_new();
	r = (uint64_t)f.size == layer->blob_size
		    ? copy_blob(&f, pipe_fd, hash, e)
		    : image_fail(e, IMAGE_REASON_DIGEST_MISMATCH,
				 "the archive has %lld bytes, the manifest says %llu",
				 (long long)f.size, (unsigned long long)layer->blob_size);
	if (f.own_fd)
		(void)close(f.fd);
	sha256_hex(hash, hex);
	sha256_free(hash);
	if (r == 0 && !str_eq(hex, digest_hex(layer->blob)))
		r = image_fail(e, IMAGE_REASON_DIGEST_MISMATCH,
			       "its digest is sha256:%s instead of %s", hex, layer->blob);
	return r;
}

static int serve_layers(struct loader *l, struct err *e)
{
	for (;;) {
		struct report good = {.kind = REPORT_BLOB};
		struct err failed = {0};
		struct handover_layer wanted;
		int r = handover_take_layer(l->record, true, &wanted, e);

		if (r != 0)
			return r < 0 ? r : 0;
		good.layer = wanted.layer;
		r = send_layer(l, good.layer, wanted.pipe_fd, &failed);
		if (r == 0)
			report_progress(&l->record->layers[good.layer], good.layer,
					l->record->layers[good.layer].blob_size);
		if (r < 0)
			(void)report_failure(WORKER_SOCK, good.layer, &failed);
		else
			(void)report_send(WORKER_SOCK, &good);
		close_fd(&wanted.pipe_fd);
		close_fd(&wanted.partial_fd);
	}
}

/* ---- the process ---- */

static int load(struct loader *l, struct err *e)
{
	int r;

	if (platform_parse(l->order->platform, &l->platform, e) < 0 ||
	    bundle_open(FETCHER_SOURCES, l->order->kind == ORDER_LOAD_DIRECTORY, &l->bundle, e) < 0)
		return -e->code;
	l->record = record_new();
	if (bundle_has(l->bundle, "index.json"))
		r = load_layout(l, e);
	else if (bundle_has(l->bundle, "manifest.json"))
		r = load_docker(l, e);
	else
		r = image_fail(
			e, IMAGE_REASON_UNSUPPORTED,
			"neither an OCI layout (index.json) nor of docker save (manifest.json)");
	if (r < 0 || handover_record(l->record, e) < 0)
		return -e->code;
	return serve_layers(l, e);
}

int loader_main(int argc, char **argv)
{
	static struct order order;
	struct loader l = {.order = &order};
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	(void)signal(SIGPIPE, SIG_IGN);
	r = handover_take_order(&order, &e);
	if (r == HANDOVER_END)
		_exit(0);
	if (r == 0)
		r = jail_loader(order.kind == ORDER_LOAD_DIRECTORY ? FETCHER_SOURCES : -1, &e);
	if (r < 0)
		(void)image_class(&e, IMAGE_REASON_OTHER);
	else
		r = load(&l, &e);
	if (r < 0)
		r = report_failure(WORKER_SOCK, REPORT_NO_LAYER, &e);
	_exit(r < 0 ? 1 : 0);
}
