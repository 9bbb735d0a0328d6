/* image/fetcher.c - the worker that talks to a registry
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * First the documents, one after the other: index, manifest, configuration.
 * What the name stands for is fixed by the first: all else is asked for by
 * digest.  Their record goes to the puller, which then orders those layers
 * that it does not have (blobs.c).
 *
 * The configuration may come from another node (image/peers.h): of it the puller is asked
 * where; and of a manifest whose digest is known, when no source answers.  All else is asked
 * of the first source.  One that fails, does not have it or sends something else is followed
 * by the next, at once, and for all that comes after it.
 *
 * Nothing is handed over as good before its digest has been computed here.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "image/attachments.h"
#include "image/fetcher.h"
#include "image/handover.h"
#include "image/jail.h"
#include "image/reason.h"
#include "image/sources.h"
#include "image/worker.h"

/* ---- sources ---- */

bool fetcher_pass_over(struct fetcher *f, size_t i, struct err *e)
{
	if (i + 1 < f->source_count) {
		if (!f->passed_over[0])
			(void)snprintf(f->passed_over, sizeof(f->passed_over), "%.140s", e->msg);
		return true;
	}
	if (f->passed_over[0] && i > 0) {
		struct err own = *e;

		(void)err_set(e, own.code, "%.300s (a mirror before: %s)", own.msg, f->passed_over);
	}
	return false;
}

int fetcher_run(struct fetcher *f, struct pollfd *extra, size_t extra_count, int timeout_ms,
		struct err *e)
{
	struct registry *all[IMAGE_SOURCES_MAX + PEERS_MAX];
	size_t count = f->source_count;

	memcpy(all, f->registries, count * sizeof(all[0]));
	if (f->peers)
		count += peers_list(f->peers, all + count);
	return registry_run(all, count, extra, extra_count, timeout_ms, e);
}

static int open_sources(struct fetcher *f, struct err *e)
{
	for (size_t i = 0; i < f->source_count; i++) {
		struct reference name;
		const struct registry_options options = {.fetch = f->fetch,
							 .name = &name,
							 .source = &f->sources[i],
							 .others_follow = i + 1 < f->source_count};

		if (reference_at(f->sources[i].location, &f->name, &name, e) < 0)
			return -e->code;
		f->registries[i] = registry_new(&options);
	}
	return 0;
}

/* ---- documents ---- */

struct document_get {
	struct buf bytes;
	char content_type[128], content_digest[DIGEST_SIZE];
	bool ended;
	struct err err; /* code 0: it came */
};

static bool take_document(void *ctx, struct registry_get *g, const void *data, size_t size)
{
	struct document_get *d = ctx;

	(void)g;
	buf_add(&d->bytes, data, size);
	return !buf_overflow(&d->bytes);
}

static void document_ended(void *ctx, struct registry_get *g, const struct err *e)
{
	struct document_get *d = ctx;

	d->ended = true;
	if (e)
		d->err = *e;
	(void)snprintf(d->content_type, sizeof(d->content_type), "%s", registry_content_type(g));
	(void)snprintf(d->content_digest, sizeof(d->content_digest), "%s",
		       registry_content_digest(g));
}

int fetcher_mismatch(struct err *e, const char *is, const char *expected)
{
	return image_fail(e, IMAGE_REASON_DIGEST_MISMATCH, "its digest is %s instead of %s", is,
			  expected);
}

/* Get one document whole of one place.  'expected' is its digest, or "" when a tag is asked for. */
static int get_document(struct fetcher *f, struct registry *from, const struct registry_want *want,
			const char *expected, struct document_get *d, char ret_digest[DIGEST_SIZE],
			struct err *e)
{
	struct registry_want w = *want;

	w.on_data = take_document;
	w.on_end = document_ended;
	w.ctx = d;
	(void)registry_start(from, &w);
	while (!d->ended)
		if (fetcher_run(f, NULL, 0, FETCHER_FOREVER_MS, e) < 0)
			return -e->code;
	if (d->err.code) {
		*e = d->err;
		return -e->code;
	}

	digest_of(buf_str(&d->bytes), d->bytes.size, ret_digest);
	if (expected[0] && strcmp(ret_digest, expected) != 0)
		return fetcher_mismatch(e, ret_digest, expected);
	if (digest_valid(d->content_digest) && strcmp(ret_digest, d->content_digest) != 0)
		return fetcher_mismatch(e, ret_digest, d->content_digest);
	return 0;
}

/* ---- other nodes ---- */

static void begin_document(const struct registry_want *want, struct document_get *d)
{
	*d = (struct document_get){.bytes = BUF_INIT(want->size)};
}

static int get_from_peer(struct fetcher *f, const struct image_peer *who,
			 const struct registry_want *want, struct document_get *d, struct err *e)
{
	struct peer *peer = peers_use(f->peers, who);
	char digest[DIGEST_SIZE];
	int r;

	if (!peer)
		return err_set(e, EINVAL, "node %s cannot be asked at %s", who->name, who->address);
	begin_document(want, d);
	r = get_document(f, peer_registry(peer), want, want->id, d, digest, e);
	peer_leave(peer);
	if (r < 0)
		buf_done(&d->bytes);
	return r < 0 ? err_wrap(e, "node %s", who->name) : 0;
}

/* 0: a node had it; 1: it is for the sources. */
static int get_from_peers(struct fetcher *f, const struct registry_want *want,
			  struct document_get *d, struct err *e)
{
	struct image_peer who;
	int r;

	for (;;) {
		r = handover_ask(want->id, want->size, &who, e);
		if (r == HANDOVER_END)
			_exit(0);
		if (r < 0 || !who.address[0])
			return r < 0 ? r : 1;
		if (get_from_peer(f, &who, want, d, e) == 0)
			return 0;
		handover_bad(REPORT_NO_LAYER, want->id, 0, e);
	}
}

/* ---- manifests ---- */

/* A manifest or index that is wanted, by tag or digest. */
struct manifest_want {
	const char *id, *expected; /* as of get_document() */
	uint64_t size;
	bool exact;
};

/* It came and has the right digest: it is read, and kept. */
static int take_manifest(struct fetcher *f, struct document_get *d, const char *digest,
			 struct document *ret, struct err *e)
{
	if (document_parse(buf_str(&d->bytes), d->bytes.size,
			   d->content_type[0] ? d->content_type : NULL, ret, e) < 0)
		return -e->code;
	if (handover_document(f->record, d->bytes.data, d->bytes.size, ret->media_type, digest,
			      e) == 0)
		return 0;
	document_done(ret);
	return -e->code;
}

static int get_manifest_of(struct fetcher *f, size_t source, const struct manifest_want *m,
			   struct document *ret, char ret_digest[DIGEST_SIZE], struct err *e)
{
	struct document_get d = {.bytes = BUF_INIT(MANIFEST_SIZE_MAX)};
	const struct registry_want want = {.kind = "manifests",
					   .id = m->id,
					   .accept = manifest_accept,
					   .size = m->size,
					   .exact = m->exact};
	int r;

	r = get_document(f, f->registries[source], &want, m->expected, &d, ret_digest, e);
	if (r < 0)
		(void)err_wrap(e, "manifest %s", m->id);
	else
		r = take_manifest(f, &d, ret_digest, ret, e);
	buf_done(&d.bytes);
	return r;
}

/*
 * What a registry that cannot be had would say of a digest a node may know.  One that says no
 * has said it.
 */
static int get_manifest_of_node(struct fetcher *f, const struct manifest_want *m,
				struct document *ret, char ret_digest[DIGEST_SIZE], struct err *e)
{
	const struct registry_want want = {.kind = "manifests",
					   .id = m->expected,
					   .accept = manifest_accept,
					   .size = m->size,
					   .exact = m->exact};
	enum image_reason reason = image_reason_of(e);
	struct err why = {0};
	struct document_get d;
	int r;

	if (!f->peers || !m->expected[0] ||
	    (reason != IMAGE_REASON_UNREACHABLE && reason != IMAGE_REASON_TIMEOUT &&
	     reason != IMAGE_REASON_REGISTRY) ||
	    get_from_peers(f, &want, &d, &why) != 0)
		return -e->code;
	d.content_type[0] =
		'\0'; /* a node could say anything: what the document says has a digest */
	r = take_manifest(f, &d, m->expected, ret, e);
	memcpy(ret_digest, m->expected, DIGEST_SIZE);
	buf_done(&d.bytes);
	return r;
}

static int get_manifest(struct fetcher *f, const struct manifest_want *m, struct document *ret,
			char ret_digest[DIGEST_SIZE], struct err *e)
{
	bool at_last = f->tags_at_last && !m->expected[0];
	size_t i = at_last ? f->source_count - 1 : f->current;
	int r;

	do
		r = get_manifest_of(f, i, m, ret, ret_digest, e);
	while (r < 0 && fetcher_pass_over(f, i, e) && ++i);
	if (r == 0 && !at_last)
		f->current = i;
	return r < 0 ? get_manifest_of_node(f, m, ret, ret_digest, e) : 0;
}

/* Follow indexes to the manifest for our platform.  'digest' is of what the name stands for. */
static int find_manifest(struct fetcher *f, struct document *ret, char digest[DIGEST_SIZE],
			 char manifest_digest[DIGEST_SIZE], struct err *e)
{
	const struct manifest_want named = {
		.id = f->name.digest[0] ? f->name.digest : f->name.tag,
		.expected = f->name.digest,
		.size = MANIFEST_SIZE_MAX,
	};
	int r;

	r = get_manifest(f, &named, ret, digest, e);
	if (r < 0)
		return r;
	memcpy(manifest_digest, digest, DIGEST_SIZE);
	for (int depth = 0; ret->kind == DOCUMENT_INDEX; depth++) {
		const struct descriptor *chosen;
		struct document next;

		document_note_siblings(ret, &f->record->image);
		if (depth)
			f->record->image.sibling_count = 0;
		r = document_choose(ret, &f->platform, &chosen, e);
		if (r == 0 && depth == INDEX_DEPTH_MAX)
			r = image_fail(e, IMAGE_REASON_TOO_LARGE, "more than %d indexes in a row",
				       INDEX_DEPTH_MAX);
		if (r == 0) {
			const struct manifest_want m = {.id = chosen->digest,
							.expected = chosen->digest,
							.size = (uint64_t)chosen->size,
							.exact = true};

			r = get_manifest(f, &m, &next, manifest_digest, e);
		}
		document_done(ret);
		if (r < 0)
			return r;
		*ret = next;
	}
	return 0;
}

static int get_from_sources(struct fetcher *f, const struct registry_want *want,
			    struct document_get *d, struct err *e)
{
	char digest[DIGEST_SIZE];
	size_t i = f->current;
	int r;

	for (;; i++) {
		begin_document(want, d);
		r = get_document(f, f->registries[i], want, want->id, d, digest, e);
		if (r == 0 || !fetcher_pass_over(f, i, e))
			break;
		buf_done(&d->bytes);
	}
	f->current = i;
	if (r < 0)
		buf_done(&d->bytes);
	return r;
}

static int get_config(struct fetcher *f, const struct document *manifest, struct err *e)
{
	struct document_get d;
	const struct registry_want want = {.kind = "blobs",
					   .id = manifest->config->digest,
					   .size = (uint64_t)manifest->config->size,
					   .exact = true};
	int r = f->peers ? get_from_peers(f, &want, &d, e) : 1;

	if (r > 0)
		r = get_from_sources(f, &want, &d, e);
	if (r < 0)
		return err_wrap(e, "configuration");
	r = config_parse(buf_str(&d.bytes), d.bytes.size, manifest, &f->platform, f->record, e);
	if (r == 0)
		r = handover_document(f->record, d.bytes.data, d.bytes.size,
				      manifest->config->media_type, want.id, e);
	f->record->image.config = arena_strdup(&f->record->image.arena, want.id);
	buf_done(&d.bytes);
	return r;
}

static int get_attachment(void *ctx, const char *kind, const char *digest, struct buf *out,
			  struct err *e)
{
	struct fetcher *f = ctx;
	struct document_get d = {.bytes = BUF_INIT(out->limit)};
	const struct registry_want want = {
		.kind = kind, .id = digest, .accept = manifest_accept, .size = out->limit};
	char is[DIGEST_SIZE];
	int r = get_document(f, f->registries[f->current], &want, digest, &d, is, e);

	if (r == 0)
		buf_add(out, buf_str(&d.bytes), d.bytes.size);
	buf_done(&d.bytes);
	return r;
}

static int resolve(struct fetcher *f, struct err *e)
{
	char digest[DIGEST_SIZE], manifest_digest[DIGEST_SIZE];
	struct document manifest;
	int r;

	r = find_manifest(f, &manifest, digest, manifest_digest, e);
	if (r < 0)
		return r;
	r = get_config(f, &manifest, e);
	document_done(&manifest);
	if (r < 0)
		return r;
	f->record->image.digest = arena_strdup(&f->record->image.arena, digest);
	f->record->image.manifest = arena_strdup(&f->record->image.arena, manifest_digest);
	if (f->wants_attachments)
		attachments_take(f->record, get_attachment, f);
	return handover_record(f->record, e);
}

/* ---- the process ---- */

static int fetch(struct fetcher *f, const struct order *order, struct err *e)
{
	if (reference_parse(order->reference, &f->name, e) < 0 ||
	    platform_parse(order->platform, &f->platform, e) < 0 || open_sources(f, e) < 0)
		return -e->code;
	f->record = record_new();
	if (order->asks)
		f->peers = peers_new(f->fetch, &f->sources[f->source_count], &f->name);
	if (resolve(f, e) < 0)
		return -e->code;
	return blobs_serve(f, e);
}

int fetcher_main(int argc, char **argv)
{
	struct fetcher *f = xcalloc(1, sizeof(*f));
	struct order order;
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	(void)signal(SIGPIPE, SIG_IGN);
	f->fetch = fetch_new(); /* now there may be time for it */
	r = handover_take_order(&order, &e);
	if (r == HANDOVER_END)
		_exit(0);
	if (r == 0)
		r = sources_read(FETCHER_SOURCES, order.source_count + order.asks, &f->sources, &e);
	f->source_count = order.source_count;
	f->tags_at_last = order.tags_at_last;
	f->wants_attachments = order.keep_blobs && !order.blobs_only;
	if (r == 0)
		r = jail_fetcher(&e);
	if (r < 0)
		(void)image_class(&e, IMAGE_REASON_OTHER);
	else
		r = fetch(f, &order, &e);
	if (r < 0)
		r = report_failure(WORKER_SOCK, REPORT_NO_LAYER, &e);
	_exit(r < 0 ? 1 : 0); /* all else goes with the process */
}
