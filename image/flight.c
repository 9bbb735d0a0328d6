/* image/flight.c - layers on their way in
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/peers.h"
#include "image/puller.h"
#include "image/reason.h"

#define PIPE_SIZE (1 << 20)

struct flight *flight_find(const struct puller *p, const char *diff_id)
{
	for (struct flight *f = p->flights; f; f = f->next)
		if (!f->over && !f->owner->ended && str_eq(f->diff_id, diff_id))
			return f;
	return NULL;
}

struct flight *flight_of(const struct puller *p, const struct pull *owner, unsigned layer)
{
	for (struct flight *f = p->flights; f; f = f->next)
		if (!f->over && f->owner == owner && f->layer == layer)
			return f;
	return NULL;
}

const char *flight_listing(const struct puller *p, const char *diff_id)
{
	const struct flight *f = flight_find(p, diff_id);

	return f && f->listed && f->blob_good ? f->ingest : NULL;
}

/* ---- beginning ---- */

/*
 * A pair of sockets, because they take bytes by larger pages than a pipe does, one way like
 * a pipe.  The fetcher's end does not block, the unpacker's does.
 */
static int make_pipe(int *ret_read_fd, int *ret_write_fd, struct err *e)
{
	const int size = PIPE_SIZE;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, "socket pair");
	*ret_read_fd = fds[0];
	*ret_write_fd = fds[1];
	(void)setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)); /* root only */
	if (shutdown(fds[0], SHUT_WR) < 0 || fcntl(fds[1], F_SETFL, O_NONBLOCK) < 0)
		return err_sys(e, "one-way socket");
	return 0;
}

static bool is_from_peer(const struct flight *f)
{
	return f->origin.peer.address[0];
}

static uint64_t blob_size(const struct flight *f)
{
	return f->owner->record->layers[f->layer].blob_size;
}

/* As much as a registry could send, and never what the disk has left. */
static uint64_t peer_max(const struct puller *p, const struct flight *f)
{
	uint64_t max = f->owner->keep_blobs ? blob_size(f) : peer_tar_max(blob_size(f));
	uint64_t room = store_free_bytes(&p->store) / FLIGHTS_MAX;

	return max < room ? max : room;
}

/* With what there is of the blob already, if something is; without a pipe, of the rest. */
static int send_layer_order(const struct puller *p, const struct flight *f, int pipe_fd,
			    int partial_fd, uint64_t resume_bytes, struct err *e)
{
	struct layer_order order = {
		.layer = f->layer, .resume_bytes = resume_bytes, .goes_on = pipe_fd < 0};
	const int fds[] = {pipe_fd, partial_fd};
	const size_t fd_count = pipe_fd < 0 ? 0 : resume_bytes ? 2 : 1;
	int r;

	order.origin.peer = f->origin.peer;
	order.peer_max = peer_max(p, f);
	memcpy(order.origin.digest, f->origin.digest[0] ? f->origin.digest : f->diff_id,
	       DIGEST_SIZE);
	r = fs_send(f->owner->fetcher.sock, &order, sizeof(order), fds, fd_count);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "order a layer");
	}
	return 0;
}

/* The lister of a blob that is lent has no tar to fill. */
static int start_reader(struct puller *p, struct flight *f, const struct ingest *i, int pipe_fd,
			struct err *e)
{
	const int packed = f->owner->keep_blobs ? READER_PACKED : READER_PARTIAL;
	const struct proc_fd all[] = {{pipe_fd, UNPACKER_IN},
				      {i->sums_fd, UNPACKER_SUMS},
				      {i->tree_fd, UNPACKER_TREE},
				      {i->tar_fd, LISTER_TAR},
				      {i->table_fd, LISTER_TABLE},
				      {i->sparse_fd, LISTER_SPARSE},
				      {i->implied_fd, UNPACKER_IMPLIED},
				      {i->packed_fd, packed}};
	struct proc_fd fds[ARRAY_COUNT(all)];
	size_t count = 0;

	for (size_t n = 0; n < ARRAY_COUNT(all); n++)
		if (all[n].fd >= 0)
			fds[count++] = all[n];
	return nursery_fork(&p->nursery, i->tree_fd >= 0 ? "unpack" : "list", fds, count,
			    &f->unpacker, e);
}

/* A store of directories may have the layer's tar from when it was one of tars: that needs no fetching. */
static int open_held_tar(const struct puller *p, const struct flight *f)
{
	return p->store.form == IMAGE_UNPACKED ? store_open_tar(&p->store, f->diff_id) : -ENOENT;
}

static int start(struct puller *p, struct flight *f, struct err *e)
{
	auto_close int read_fd = f->owner->keep_blobs ? -1 : open_held_tar(p, f), write_fd = -1;
	const struct record_layer *layer = &f->owner->record->layers[f->layer];
	auto_close int partial_fd = -1;
	uint64_t resume_bytes = 0;
	struct ingest ingest;
	int r;

	r = f->owner->blobs_only ? store_ingest_blob(&p->store, layer, f->ingest, &ingest, e)
				 : store_ingest(&p->store, f->owner->keep_blobs ? layer : NULL,
						f->ingest, &ingest, e);
	if (r < 0)
		return r;
	f->held = f->blob_good = read_fd >= 0; /* its diff-id will tell */
	if (read_fd < 0)
		r = make_pipe(&read_fd, &write_fd, e);
	if (r == 0 && write_fd >= 0 && ingest.packed_fd < 0 && !f->owner->is_load &&
	    !is_from_peer(f))
		r = store_open_partial(&p->store, layer, &ingest.packed_fd, &partial_fd,
				       &resume_bytes, e);
	if (r > 0)
		r = 0;
	if (r == 0 && !f->blob_good) /* it may come while its reader does */
		r = send_layer_order(p, f, write_fd, partial_fd, resume_bytes, e);
	if (r == 0)
		r = start_reader(p, f, &ingest, read_fd, e);
	ingest_close(&ingest);
	return r;
}

/* Must somebody say where it is to be had?  Not of what is here. */
static bool ask(const struct puller *p, struct flight *f)
{
	const struct record_layer *l = &f->owner->record->layers[f->layer];
	auto_close int held_fd = f->owner->keep_blobs ? -1 : open_held_tar(p, f);

	if (!f->owner->asks || held_fd >= 0)
		return false;
	memcpy(f->origin.digest, f->owner->keep_blobs ? l->blob : l->diff_id, DIGEST_SIZE);
	f->asking = pull_ask(f->owner, f->origin.digest, l->blob_size);
	return f->asking;
}

/* Another one begins with the next turn: it is due as long as the layer is not there. */
static void begin_again(struct puller *p, struct flight *f)
{
	struct err e = {0};

	f->over = true;
	if (++f->owner->agains <= IMAGE_LAYERS_MAX * IMAGE_SOURCES_MAX)
		return;
	(void)err_set(&e, EIO, "the fetcher talks nonsense");
	pull_end(p, f->owner, &e);
}

/* Only who has the same bytes can send the rest of them: not a source, of a layer that came as its tar. */
static int go_on(struct puller *p, struct flight *f, struct err *e)
{
	const struct record_layer *l = &f->owner->record->layers[f->layer];

	if (!f->unpack_err.code && (is_from_peer(f) || str_eq(f->origin.digest, l->blob)))
		return send_layer_order(p, f, -1, -1, 0, e);
	begin_again(p, f);
	return 0;
}

bool flight_answer(struct puller *p, struct pull *pull, const struct origin *o)
{
	struct flight *f = p->flights;
	struct err e = {0};

	while (f &&
	       (f->over || !f->asking || f->owner != pull || !str_eq(f->origin.digest, o->digest)))
		f = f->next;
	if (!f)
		return false;
	f->asking = false;
	f->origin.peer = o->peer;
	if ((f->unpacker.pidfd >= 0 ? go_on(p, f, &e) : start(p, f, &e)) < 0) {
		f->over = true;
		(void)image_class_os(&e);
		pull_end(p, pull, &e);
	}
	return true;
}

int flight_begin(struct puller *p, struct pull *owner, unsigned layer, struct err *e)
{
	struct flight *f = xcalloc(1, sizeof(*f));

	f->owner = owner;
	f->layer = layer;
	f->unpacker = (struct worker)WORKER_NONE;
	memcpy(f->diff_id, owner->record->layers[layer].diff_id, DIGEST_SIZE);
	f->next = p->flights;
	p->flights = f;
	if (ask(p, f) || start(p, f, e) == 0)
		return 0;
	f->over = true;
	return image_class_os(e);
}

/* ---- going on ---- */

/* Does it bring what the pull wants of the layer? */
static bool brings(const struct flight *f, const struct pull *pull)
{
	if (pull->blobs_only)
		return f->owner->keep_blobs;
	return !f->owner->blobs_only && (!pull->keep_blobs || f->owner->keep_blobs);
}

/* To every pull that waits for the layer, in its own numbering. */
static void report(struct puller *p, const struct flight *f, enum image_pull_phase phase,
		   uint64_t bytes)
{
	for (struct pull *pull = p->pulls; pull; pull = pull->next) {
		if (pull->ended || !pull->record || !brings(f, pull))
			continue;
		for (unsigned i = 0; i < pull->record->layer_count; i++)
			if (str_eq(pull->record->layers[i].diff_id, f->diff_id))
				pull_report(pull, i, phase, bytes, f->origin.peer.name);
	}
}

void flight_progress(struct puller *p, struct flight *f, uint64_t bytes)
{
	uint64_t size = blob_size(f);

	report(p, f, IMAGE_LAYER_DOWNLOADING, bytes < size ? bytes : size);
}

/* ---- ending ---- */

/* A tar of ours that is damaged goes; the next flight fetches the layer. */
static bool give_up_held(struct puller *p, const struct flight *f, const struct err *why)
{
	enum image_reason reason = image_reason_of(why);
	struct err ignored;

	return f->held &&
	       (reason == IMAGE_REASON_DIGEST_MISMATCH || reason == IMAGE_REASON_MALFORMED ||
		reason == IMAGE_REASON_TRUNCATED) &&
	       store_drop_tar(&p->store, f->diff_id, &ignored) == 0;
}

static void drop_partial(const struct puller *p, const struct flight *f)
{
	store_drop_partial(&p->store, &f->owner->record->layers[f->layer]);
}

/* What came is good for another try when it was only the way that failed. */
static bool was_the_way(const struct err *why)
{
	enum image_reason reason = image_reason_of(why);

	return reason == IMAGE_REASON_UNREACHABLE || reason == IMAGE_REASON_TIMEOUT ||
	       reason == IMAGE_REASON_TRUNCATED || reason == IMAGE_REASON_REGISTRY;
}

static void fail(struct puller *p, struct flight *f, const struct err *why)
{
	struct err e = *why;

	f->over = true;
	if (!was_the_way(why))
		drop_partial(p, f);
	if (give_up_held(p, f, why))
		return;
	(void)err_wrap(&e, "layer %u", f->layer);
	pull_end(p, f->owner, &e);
}

static void publish_if_whole(struct puller *p, struct flight *f)
{
	const struct record_layer *l = &f->owner->record->layers[f->layer];
	const bool is_lent = f->owner->blobs_only;
	struct err e = {0};

	if (!f->blob_good || !f->unpacked)
		return;
	if ((is_lent ? store_lend_blob(&p->store, f->ingest, l, &e)
		     : store_put_layer(&p->store, f->ingest, f->diff_id, &e)) < 0) {
		(void)image_class_os(&e);
		fail(p, f, &e);
		return;
	}
	if (!is_lent)
		f->ingest[0] = '\0'; /* it is a layer now */
	drop_partial(p, f);
	f->over = true;
	report(p, f, IMAGE_LAYER_DONE, blob_size(f));
	if (f->origin.digest[0] && !is_lent)
		pull_tell_got(f->owner, f->origin.digest);
}

void flight_blob_good(struct puller *p, struct flight *f)
{
	if (f->unpack_err.code) {
		fail(p, f, &f->unpack_err);
		return;
	}
	f->blob_good = true;
	report(p, f, IMAGE_LAYER_UNPACKING, blob_size(f));
	publish_if_whole(p, f);
}

void flight_blob_failed(struct puller *p, struct flight *f, const struct err *e)
{
	fail(p, f, e);
}

void flight_again(struct puller *p, struct flight *f)
{
	drop_partial(p, f);
	begin_again(p, f);
}

void flight_peer_bad(struct puller *p, struct flight *f, const char *why, bool is_kept)
{
	if (!is_from_peer(f))
		return;
	pull_tell_bad(f->owner, f->origin.digest, f->unpack_err.code ? f->unpack_err.msg : why);
	f->asking = is_kept && !f->unpack_err.code &&
		    pull_ask(f->owner, f->origin.digest, blob_size(f));
	if (!f->asking)
		begin_again(p, f);
}

/*
 * What the unpacker stumbled on may only be the consequence of a bad blob: the fetcher
 * knows.  Where there is no other source, a bomb is not read to its end for that.
 */
static bool may_be_the_blob(const struct flight *f, enum image_reason reason)
{
	if (reason == IMAGE_REASON_MALFORMED || reason == IMAGE_REASON_TRUNCATED)
		return true;
	return (f->owner->source_count > 1 || is_from_peer(f)) && reason != IMAGE_REASON_OTHER &&
	       reason != IMAGE_REASON_DISK_FULL;
}

static void unpack_failed(struct puller *p, struct flight *f, const struct err *e)
{
	if (!f->blob_good && may_be_the_blob(f, image_reason_of(e)))
		f->unpack_err = *e;
	else
		fail(p, f, e);
}

static void unpacked(struct puller *p, struct flight *f, const struct report *r)
{
	struct err e = {0};

	if (str_eq(r->digest, f->diff_id)) {
		f->unpacked = true;
		publish_if_whole(p, f);
		return;
	}
	(void)image_fail(&e, IMAGE_REASON_DIGEST_MISMATCH, "its diff-id is %s instead of %s",
			 r->digest, f->diff_id);
	unpack_failed(p, f, &e);
}

void flight_hear_unpacker(struct puller *p, struct flight *f)
{
	struct report r;
	struct err e = {0};
	int result;

	while (!f->over && (result = report_recv(f->unpacker.sock, &r)) != REPORT_AGAIN) {
		if (result == 0 && r.kind == REPORT_UNPACKED && !f->unpacked) {
			unpacked(p, f, &r);
		} else if (result == 0 && r.kind == REPORT_LISTED && !f->unpacked) {
			f->listed = str_eq(r.digest, f->diff_id);
		} else if (result == 0 && r.kind == REPORT_FAILED) {
			(void)err_set(&e, (int)r.code, "%s", r.text);
			unpack_failed(p, f, &e);
		} else if (result == REPORT_CLOSED && (f->unpacked || f->unpack_err.code)) {
			close_fd(&f->unpacker.sock); /* it has said all it had to */
			return;
		} else if (result == REPORT_CLOSED) {
			(void)worker_failure(&f->unpacker, "unpacker", &e);
			fail(p, f, &e);
		} else {
			(void)err_set(&e, EIO, "the unpacker talks nonsense");
			fail(p, f, &e);
		}
	}
}

void flights_clear(struct puller *p)
{
	for (struct flight **next = &p->flights, *f; (f = *next);) {
		if (!f->over && !f->owner->ended) {
			next = &f->next;
			continue;
		}
		*next = f->next;
		if (!f->over && f->owner->cancelled)
			drop_partial(p, f);
		ending_add(p, &f->unpacker, f->ingest[0] ? f->ingest : NULL);
		free(f);
	}
}
