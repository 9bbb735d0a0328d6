/* image/fetcher.c - the worker that talks to a registry
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * First the documents, one after the other: index, manifest, configuration.
 * What the name stands for is fixed by the first: all else is asked for by
 * digest.  Their record goes to the puller, which then asks for those layers
 * that it does not have, each with a pipe.  Layers come side by side; one whose
 * pipe is full is paused.
 *
 * Blobs may come from other nodes (image/peers.h): where a layer is to be had says its
 * order, of the configuration it is asked; and of a manifest whose digest is known, when no
 * source answers.  A node that is no good is told of; the puller then names another place,
 * which sends the rest where the node was only lost.
 *
 * All else is asked of the first source.  One that fails, does not have it or
 * sends something else is followed by the next: for a document at once, and for all
 * that comes after it; for a blob as long as nothing of it was handed on.  Else the
 * puller is told to order that layer again.
 *
 * A large blob whose reader waits for the registry, not the other way, is asked for by
 * several requests (parts.h); where they fail one request gets the rest.
 *
 * 1. Nothing is handed over as good before its digest has been computed here.
 * 2. A blob's failure is reported before its pipe is closed, so the unpacker's
 *    end of file is never taken for success.
 * 3. When the unpacker has gone the blob is read on, for its digest: a wrong one
 *    explains more than what the unpacker stumbled on.  The puller ends that
 *    where it is not worth it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "image/attachments.h"
#include "image/handover.h"
#include "image/jail.h"
#include "image/manifest.h"
#include "image/parts.h"
#include "image/peers.h"
#include "image/reason.h"
#include "image/record.h"
#include "image/registry.h"
#include "image/sources.h"
#include "image/wire.h"
#include "image/worker.h"

#define PROGRESS_MS 100
#define REPLAY_SIZE (128 << 10)
#define FOREVER_MS  (1 << 30)
#define PIECE_SIZE  (128 << 10) /* libcurl's own are so small that each would wake the reader */
#define PENDING_MAX (512 << 10) /* of one blob: a piece, and what comes in spite of a pause */
#define LOOK_MS     500         /* that a blob's way is looked at before more is asked of it */

struct blob {
	struct fetcher *fetcher; /* borrowed */
	unsigned layer;
	size_t source;
	struct peer *peer;          /* NULL: it comes from the source */
	bool waits;                 /* for another node, which sends the rest */
	char expected[DIGEST_SIZE]; /* of what comes */
	uint64_t peer_max;
	struct registry_get *get; /* NULL: ended */
	int pipe_fd;              /* -1: the unpacker has gone, or everything is written */
	struct sha256 *hash;
	uint64_t bytes;
	int partial_fd; /* of what came in another pull's time; -1: all of that is handed on */
	uint64_t resume_bytes;
	struct buf pending;    /* what is not in the pipe yet */
	bool paused;           /* because the pipe is full */
	bool reading, is_good; /* it is being read; it came, and is the right one */
	struct parts *parts;   /* behind what 'get' still brings; NULL: nothing comes so */
	int64_t reported_ms, asked_ms, full_at_ms, full_ms; /* the last: how long it was paused */
};

struct fetcher {
	struct fetch *fetch;
	struct source *sources;
	struct registry *registries[IMAGE_SOURCES_MAX]; /* one for each source */
	size_t source_count, current;                   /* the source that documents come from */
	struct peers *peers;                            /* NULL: blobs come from sources only */
	bool tags_at_last, wants_attachments;
	bool replaying;        /* there is something to do at once */
	char passed_over[160]; /* why the first source was: for messages */
	struct reference name;
	struct platform platform;
	struct record *record;
	struct blob *in_parts; /* one at a time, for its memory */
	bool parts_failed;     /* so it is not tried again */
	struct blob blobs[IMAGE_LAYERS_MAX];
};

/* ---- sources ---- */

/* Source 'i' has failed: is there another?  Else *e is what there is to say. */
static bool pass_over(struct fetcher *f, size_t i, struct err *e)
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

static int run(struct fetcher *f, struct pollfd *extra, size_t extra_count, struct err *e)
{
	struct registry *all[IMAGE_SOURCES_MAX + PEERS_MAX];
	size_t count = f->source_count;

	memcpy(all, f->registries, count * sizeof(all[0]));
	if (f->peers)
		count += peers_list(f->peers, all + count);
	return registry_run(all, count, extra, extra_count, f->replaying ? 0 : FOREVER_MS, e);
}

static int open_sources(struct fetcher *f, struct err *e)
{
	f->fetch = fetch_new();
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

static int mismatch(struct err *e, const char *is, const char *expected)
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
		if (run(f, NULL, 0, e) < 0)
			return -e->code;
	if (d->err.code) {
		*e = d->err;
		return -e->code;
	}

	digest_of(buf_str(&d->bytes), d->bytes.size, ret_digest);
	if (expected[0] && strcmp(ret_digest, expected) != 0)
		return mismatch(e, ret_digest, expected);
	if (digest_valid(d->content_digest) && strcmp(ret_digest, d->content_digest) != 0)
		return mismatch(e, ret_digest, d->content_digest);
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
	while (r < 0 && pass_over(f, i, e) && ++i);
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
		if (r == 0 || !pass_over(f, i, e))
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

/* ---- layers ---- */

static void report_progress(struct blob *b)
{
	const struct record_layer *l = &b->fetcher->record->layers[b->layer];
	struct report report = {
		.kind = REPORT_LAYER,
		.layer = b->layer,
		.phase = IMAGE_LAYER_DOWNLOADING,
		.bytes = b->bytes,
		.total_bytes = l->blob_size,
	};
	int64_t now_ms = clock_mono_ms();

	if (now_ms - b->reported_ms < PROGRESS_MS)
		return;
	b->reported_ms = now_ms;
	memcpy(report.digest, l->blob, DIGEST_SIZE);
	(void)report_send(WORKER_SOCK, &report); /* the puller's end would end us, too */
}

static void end_parts(struct blob *b)
{
	if (!b->parts)
		return;
	parts_free(take_ptr(b->parts));
	b->fetcher->in_parts = NULL;
}

static void blob_done(struct blob *b)
{
	end_parts(b);
	close_fd(&b->pipe_fd);
	close_fd(&b->partial_fd);
	sha256_free(b->hash);
	buf_done(&b->pending);
	if (b->peer)
		peer_leave(b->peer);
	b->peer = NULL;
	b->hash = NULL;
	b->reading = false;
}

/* As much as the pipe takes; the rest stays pending. */
static void write_pipe(struct blob *b)
{
	size_t done = 0;

	while (done < b->pending.size && b->pipe_fd >= 0) {
		ssize_t n = write(b->pipe_fd, b->pending.data + done, b->pending.size - done);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR)
			close_fd(&b->pipe_fd); /* the unpacker has gone, and will have said why */
		if (n > 0)
			done += (size_t)n;
	}
	buf_consume(&b->pending, b->pipe_fd < 0 ? b->pending.size : done);
}

/* What is less than a piece waits for the next turn. */
static void take_bytes(struct blob *b, const void *data, size_t size)
{
	sha256_add(b->hash, data, size);
	b->bytes += size;
	buf_add(&b->pending, data, size);
	if (b->pending.size >= PIECE_SIZE && !b->paused)
		write_pipe(b);
	report_progress(b);
}

static void pause_if_full(struct blob *b)
{
	if (b->pending.size < PIECE_SIZE || b->paused)
		return;
	b->paused = true;
	b->full_at_ms = clock_mono_ms();
	if (b->get)
		registry_pause(b->get);
}

static void begin_parts(struct blob *b);
static bool parts_pay(const struct blob *b);

static bool take_blob(void *ctx, struct registry_get *g, const void *data, size_t size)
{
	struct blob *b = ctx;

	(void)g;
	if (b->peer && b->pipe_fd < 0)
		return false; /* what it sends is none: its digest matters to nobody */
	take_bytes(b, data, size);
	pause_if_full(b);
	if (parts_pay(b))
		begin_parts(b);
	return !buf_overflow(&b->pending);
}

/* When a good blob is written to its end. */
static void finish(struct blob *b)
{
	struct report report = {.kind = REPORT_BLOB, .layer = b->layer};

	if (!b->is_good)
		return;
	write_pipe(b);
	if (b->pending.size)
		return;
	b->reported_ms = 0;
	report_progress(b);
	(void)report_send(WORKER_SOCK, &report);
	blob_done(b);
}

static void get_blob(struct blob *b);

/* A node that was only lost has sent something that is good for another one's rest. */
static void leave_node(struct blob *b, const struct err *e)
{
	enum image_reason reason = image_reason_of(e);

	b->waits = b->bytes > 0 && b->bytes < b->peer_max && b->pipe_fd >= 0 &&
		   (reason == IMAGE_REASON_UNREACHABLE || reason == IMAGE_REASON_TIMEOUT ||
		    reason == IMAGE_REASON_TRUNCATED);
	handover_bad(b->layer, b->expected, b->waits ? b->bytes : 0, e);
	if (!b->waits) {
		blob_done(b);
		return;
	}
	peer_leave(b->peer);
	b->peer = NULL;
}

static void blob_failed(struct blob *b, bool is_another, struct err *e)
{
	const struct report again = {.kind = REPORT_AGAIN_BLOB, .layer = b->layer};

	/* What was there already may have been it: then all of it comes once more. */
	if (b->resume_bytes && is_another) {
		(void)report_send(WORKER_SOCK, &again);
		blob_done(b);
		return;
	}
	if (b->peer) {
		leave_node(b, e);
		return;
	}
	if (!pass_over(b->fetcher, b->source, e)) {
		(void)report_failure(WORKER_SOCK, b->layer, e);
		blob_done(b);
		return;
	}
	b->source++;
	if (b->bytes == 0) {
		get_blob(b);
		return;
	}
	(void)report_send(WORKER_SOCK, &again);
	blob_done(b);
}

static void all_came(struct blob *b, const struct err *failure)
{
	char hex[SHA256_HEX], digest[DIGEST_SIZE];
	struct err e = {0};

	end_parts(b);
	if (failure) {
		e = *failure;
	} else {
		sha256_hex(b->hash, hex);
		(void)snprintf(digest, sizeof(digest), "sha256:%s", hex);
		if (strcmp(digest, b->expected) != 0)
			(void)mismatch(&e, digest, b->expected);
	}
	if (e.code) {
		blob_failed(b, !failure, &e);
		return;
	}
	b->is_good = true;
	finish(b);
}

/* Behind the last byte that 'get' brought. */
static void take_parts(struct blob *b)
{
	const void *data;
	size_t size;

	while (!b->get && !b->paused && (size = parts_peek(b->parts, &data)) > 0) {
		size = size < PIECE_SIZE ? size : PIECE_SIZE;
		take_bytes(b, data, size);
		parts_consume(b->parts, size);
		pause_if_full(b);
	}
	if (!b->get && parts_are_over(b->parts))
		all_came(b, NULL);
}

static void blob_ended(void *ctx, struct registry_get *g, const struct err *failure)
{
	struct blob *b = ctx;

	(void)g;
	b->get = NULL;
	if (b->parts && !failure)
		take_parts(b);
	else
		all_came(b, failure);
}

static void parts_changed(void *ctx)
{
	struct blob *b = ctx;

	if (!parts_failed(b->parts)) {
		take_parts(b);
		return;
	}
	end_parts(b);
	b->fetcher->parts_failed = true;
	if (b->get)
		registry_end_at(b->get, b->fetcher->record->layers[b->layer].blob_size);
	else
		get_blob(b);
}

/* Its reader waits for the registry most of the time, and much of it is to come. */
static bool parts_pay(const struct blob *b)
{
	const int64_t took_ms = clock_mono_ms() - b->asked_ms;

	return !b->peer && !b->fetcher->in_parts && !b->fetcher->parts_failed &&
	       took_ms >= LOOK_MS && b->full_ms * 4 < took_ms &&
	       b->bytes + PARTS_MIN < b->fetcher->record->layers[b->layer].blob_size;
}

static void begin_parts(struct blob *b)
{
	const struct record_layer *l = &b->fetcher->record->layers[b->layer];
	const struct parts_options options = {
		.registry = b->fetcher->registries[b->source],
		.id = l->blob,
		.url = registry_url(b->get),
		.begin = b->bytes + PART_SIZE, /* which comes beside the others */
		.size = l->blob_size,
		.on_change = parts_changed,
		.ctx = b,
	};

	b->fetcher->in_parts = b;
	b->parts = parts_new(&options);
	registry_end_at(b->get, options.begin);
}

static void flush_pending(struct blob *b)
{
	write_pipe(b);
	if (b->pending.size)
		return;
	if (b->paused)
		b->full_ms += clock_mono_ms() - b->full_at_ms;
	if (b->get && b->paused)
		registry_resume(b->get);
	b->paused = false;
	if (b->parts)
		take_parts(b);
	else
		finish(b);
}

static void get_blob(struct blob *b)
{
	const struct record_layer *l = &b->fetcher->record->layers[b->layer];
	const struct registry_want want = {
		.kind = "blobs",
		.id = l->blob,
		.size = l->blob_size,
		.exact = true,
		.begin = b->bytes,
		.on_data = take_blob,
		.on_end = blob_ended,
		.ctx = b,
	};

	b->asked_ms = clock_mono_ms();
	b->full_ms = 0;
	b->get = registry_start(b->fetcher->registries[b->source], &want);
	if (b->paused)
		registry_pause(b->get);
}

/* The tar, of which only the digest is known, or the blob; what is not there yet. */
static void get_blob_from(struct blob *b)
{
	const struct record_layer *l = &b->fetcher->record->layers[b->layer];
	const struct registry_want want = {
		.kind = "blobs",
		.id = b->expected,
		.size = b->peer_max,
		.begin = b->bytes,
		.total_ms = peer_total_ms(l->blob_size),
		.on_data = take_blob,
		.on_end = blob_ended,
		.ctx = b,
	};

	b->get = registry_start(peer_registry(b->peer), &want);
}

static void begin_from_peer(struct blob *b, const struct handover_layer *wanted)
{
	struct err e = {0};

	memcpy(b->expected, wanted->digest, DIGEST_SIZE);
	b->peer_max = wanted->peer_max;
	b->peer = peers_use(b->fetcher->peers, &wanted->peer);
	if (b->peer) {
		get_blob_from(b);
		return;
	}
	(void)err_set(&e, EINVAL, "node %s cannot be asked at %s", wanted->peer.name,
		      wanted->peer.address);
	handover_bad(b->layer, b->expected, 0, &e);
	blob_done(b);
}

/* What several have sent together tells nothing of any of them if it is the wrong one. */
static void go_on(struct blob *b, const struct handover_layer *wanted)
{
	b->waits = false;
	b->resume_bytes = b->bytes;
	if (wanted->peer.address[0])
		begin_from_peer(b, wanted);
	else
		get_blob(b);
}

/* A piece of what there was; behind it the registry is asked for the rest. */
static void replay(struct blob *b)
{
	char piece[REPLAY_SIZE];
	uint64_t left = b->resume_bytes - b->bytes;
	ssize_t n;

	n = pread(b->partial_fd, piece, left < sizeof(piece) ? (size_t)left : sizeof(piece),
		  (off_t)b->bytes);
	if (n > 0)
		take_bytes(b, piece, (size_t)n);
	if (n > 0 && b->bytes < b->resume_bytes)
		return;
	close_fd(&b->partial_fd);
	get_blob(b);
}

static void begin_blob(struct fetcher *f, const struct handover_layer *wanted)
{
	struct blob *b = &f->blobs[wanted->layer];

	*b = (struct blob){
		.fetcher = f,
		.layer = wanted->layer,
		.source = b->fetcher ? b->source
				     : f->current, /* where it failed it is not asked for again */
		.pipe_fd = wanted->pipe_fd,
		.partial_fd = wanted->partial_fd,
		.resume_bytes = wanted->resume_bytes,
		.hash = sha256_new(),
		.pending = BUF_INIT(PENDING_MAX),
		.reading = true,
	};
	memcpy(b->expected, f->record->layers[wanted->layer].blob, DIGEST_SIZE);
	if (wanted->peer.address[0] && f->peers)
		begin_from_peer(b, wanted);
	else if (!wanted->resume_bytes)
		get_blob(b);
}

/* ---- the process ---- */

/* 0; 1: the puller has closed. */
static int take_layer_order(struct fetcher *f, struct err *e)
{
	struct handover_layer wanted;
	struct blob *b;
	int r = handover_take_layer(f->record, false, &wanted, e);

	if (r == HANDOVER_NONE)
		return 0;
	if (r != 0)
		return r < 0 ? r : 1;
	b = &f->blobs[wanted.layer];
	if (wanted.goes_on ? !b->waits || !f->peers : b->reading && !b->waits) {
		close_fd(&wanted.pipe_fd);
		close_fd(&wanted.partial_fd);
		return err_set(e, EBADMSG, "an order that is none");
	}
	if (wanted.goes_on) {
		go_on(b, &wanted);
		return 0;
	}
	if (b->waits)
		blob_done(b);
	begin_blob(f, &wanted);
	return 0;
}

static int serve_layers(struct fetcher *f, struct err *e)
{
	for (;;) {
		struct pollfd polls[1 + IMAGE_LAYERS_MAX] = {{.fd = WORKER_SOCK, .events = POLLIN}};
		struct blob *full[1 + IMAGE_LAYERS_MAX];
		size_t count = 1;
		int r;

		f->replaying = false;
		for (size_t i = 0; i < f->record->layer_count; i++) {
			struct blob *b = &f->blobs[i];

			if (b->reading && !b->pending.size && b->partial_fd >= 0) {
				replay(b);
				f->replaying |= b->partial_fd >= 0 && !b->pending.size;
			}
			if (!b->reading || !b->pending.size)
				continue;
			full[count] = b;
			polls[count++] = (struct pollfd){.fd = b->pipe_fd, .events = POLLOUT};
		}
		if (run(f, polls, count, e) < 0)
			return -e->code;
		for (size_t i = 1; i < count; i++)
			if (polls[i].revents)
				flush_pending(full[i]);
		r = take_layer_order(f, e);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

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
	return serve_layers(f, e);
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
	r = handover_take_order(&order, &e);
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
