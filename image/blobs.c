/* image/blobs.c - the layers that a fetcher brings
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The puller orders layers, each with a pipe; they come side by side, and one whose pipe is
 * full is paused.  Where a layer is to be had says its order: of the sources, or of another
 * node (image/peers.h).  A node that is no good is told of; the puller then names another
 * place, which sends the rest where the node was only lost.  A source that fails is followed
 * by the next as long as nothing was handed on; else the puller is told to order that layer
 * again.
 *
 * A large blob whose reader waits for the registry, not the other way, is asked for by
 * several requests (parts.h); where they fail one request gets the rest.
 *
 * 1. A blob is told to be good when its digest has been computed here.
 * 2. A blob's failure is reported before its pipe is closed, so the unpacker's
 *    end of file is never taken for success.
 * 3. When the unpacker has gone the blob is read on, for its digest: a wrong one
 *    explains more than what the unpacker stumbled on.  The puller ends that
 *    where it is not worth it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "image/fetcher.h"
#include "image/handover.h"
#include "image/parts.h"
#include "image/reason.h"
#include "image/worker.h"

#define PROGRESS_MS 100
#define REPLAY_SIZE (128 << 10)
#define PIECE_SIZE  (128 << 10) /* libcurl's own are so small that each would wake the reader */
#define PENDING_MAX (512 << 10) /* of one blob: a piece, and what comes in spite of a pause */
#define LOOK_MS     500         /* that a blob's way is looked at before more is asked of it */
#define FAST        200000      /* bytes a millisecond, of which no second request makes more */

struct blob {
	struct blobs *all; /* NULL: it was never ordered */
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
	uint64_t asked_bytes;  /* how many there were when it was asked for */
	int64_t reported_ms, asked_ms, full_at_ms, full_ms; /* the last: how long it was paused */
};

struct blobs {
	struct fetcher *fetcher; /* borrowed */
	struct blob *in_parts;   /* one at a time, for its memory */
	bool parts_failed;       /* so it is not tried again */
	struct blob items[IMAGE_LAYERS_MAX];
};

static const struct record_layer *layer_of(const struct blob *b)
{
	return &b->all->fetcher->record->layers[b->layer];
}

static void report_progress(struct blob *b)
{
	const struct record_layer *l = layer_of(b);
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
	b->all->in_parts = NULL;
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
	if (!fetcher_pass_over(b->all->fetcher, b->source, e)) {
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
			(void)fetcher_mismatch(&e, digest, b->expected);
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
	b->all->parts_failed = true;
	if (b->get)
		registry_end_at(b->get, layer_of(b)->blob_size);
	else
		get_blob(b);
}

/* Its reader waits for the registry most of the time, which is no fast one, and much of it is to come. */
static bool parts_pay(const struct blob *b)
{
	const int64_t took_ms = clock_mono_ms() - b->asked_ms;

	return !b->peer && !b->all->in_parts && !b->all->parts_failed && took_ms >= LOOK_MS &&
	       b->full_ms * 4 < took_ms && b->bytes - b->asked_bytes < (uint64_t)took_ms * FAST &&
	       b->bytes + PARTS_MIN < layer_of(b)->blob_size;
}

static void begin_parts(struct blob *b)
{
	const struct record_layer *l = layer_of(b);
	const struct parts_options options = {
		.registry = b->all->fetcher->registries[b->source],
		.id = l->blob,
		.url = registry_url(b->get),
		.begin = b->bytes + PART_SIZE, /* which comes beside the others */
		.size = l->blob_size,
		.on_change = parts_changed,
		.ctx = b,
	};

	b->all->in_parts = b;
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
	const struct record_layer *l = layer_of(b);
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
	b->asked_bytes = b->bytes;
	b->full_ms = 0;
	b->get = registry_start(b->all->fetcher->registries[b->source], &want);
	if (b->paused)
		registry_pause(b->get);
}

/* The tar, of which only the digest is known, or the blob; what is not there yet. */
static void get_blob_from(struct blob *b)
{
	const struct record_layer *l = layer_of(b);
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
	b->peer = peers_use(b->all->fetcher->peers, &wanted->peer);
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

static void begin_blob(struct blobs *all, const struct handover_layer *wanted)
{
	const struct fetcher *f = all->fetcher;
	struct blob *b = &all->items[wanted->layer];

	*b = (struct blob){
		.all = all,
		.layer = wanted->layer,
		.source = b->all ? b->source
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

/* ---- orders ---- */

/* 0; 1: the puller has closed. */
static int take_order(struct blobs *all, struct err *e)
{
	const struct fetcher *f = all->fetcher;
	struct handover_layer wanted;
	struct blob *b;
	int r = handover_take_layer(f->record, false, &wanted, e);

	if (r == HANDOVER_NONE)
		return 0;
	if (r != 0)
		return r < 0 ? r : 1;
	b = &all->items[wanted.layer];
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
	begin_blob(all, &wanted);
	return 0;
}

/* What is to be had at once: pieces of what was there before.  True: there are more. */
static bool replay_all(struct blobs *all)
{
	bool more = false;

	for (size_t i = 0; i < all->fetcher->record->layer_count; i++) {
		struct blob *b = &all->items[i];

		if (!b->reading || b->pending.size || b->partial_fd < 0)
			continue;
		replay(b);
		more |= b->partial_fd >= 0 && !b->pending.size;
	}
	return more;
}

/* One turn.  0; 1: the puller has closed. */
static int turn(struct blobs *all, struct err *e)
{
	struct pollfd polls[1 + IMAGE_LAYERS_MAX] = {{.fd = WORKER_SOCK, .events = POLLIN}};
	struct blob *full[1 + IMAGE_LAYERS_MAX];
	const bool more = replay_all(all);
	size_t count = 1;

	for (size_t i = 0; i < all->fetcher->record->layer_count; i++) {
		struct blob *b = &all->items[i];

		if (!b->reading || !b->pending.size)
			continue;
		full[count] = b;
		polls[count++] = (struct pollfd){.fd = b->pipe_fd, .events = POLLOUT};
	}
	if (fetcher_run(all->fetcher, polls, count, more ? 0 : FETCHER_FOREVER_MS, e) < 0)
		return -e->code;
	for (size_t i = 1; i < count; i++)
		if (polls[i].revents)
			flush_pending(full[i]);
	return take_order(all, e);
}

int blobs_serve(struct fetcher *f, struct err *e)
{
	struct blobs *all = xcalloc(1, sizeof(*all)); /* it goes with the process */
	int r;

	all->fetcher = f;
	while ((r = turn(all, e)) == 0)
		;
	return r < 0 ? r : 0;
}
