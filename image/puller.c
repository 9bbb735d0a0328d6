/* image/puller.c - the process that makes the pulls of one store
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/puller.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"

#define PULLS_MAX 1000

/* ---- one pull ---- */

void pull_report(struct pull *pull, unsigned layer, enum image_pull_phase phase, uint64_t bytes,
		 const char *from)
{
	const struct record_layer *l = &pull->record->layers[layer];
	struct report r = {
		.kind = REPORT_LAYER,
		.layer = layer,
		.layer_count = (uint32_t)pull->record->layer_count,
		.phase = phase,
		.bytes = bytes,
		.total_bytes = l->blob_size,
	};

	pull->phases[layer] = phase;
	memcpy(r.digest, l->blob, DIGEST_SIZE);
	(void)snprintf(r.text, sizeof(r.text), "%s", from);
	(void)report_send(pull->caller_fd, &r); /* a caller that is slow misses some */
}

static int tell(struct pull *pull, enum report_kind kind, const char *digest, uint64_t size,
		const char *text)
{
	struct report r = {.kind = kind, .layer = REPORT_NO_LAYER, .total_bytes = size};

	memcpy(r.digest, digest, DIGEST_SIZE);
	(void)snprintf(r.text, sizeof(r.text), "%s", text);
	return report_send(pull->caller_fd, &r);
}

bool pull_ask(struct pull *pull, const char *digest, uint64_t size)
{
	return tell(pull, REPORT_WANT, digest, size, "") == 0;
}

void pull_tell_bad(struct pull *pull, const char *digest, const char *why)
{
	(void)tell(pull, REPORT_BAD, digest, 0, why);
}

void pull_tell_got(struct pull *pull, const char *digest)
{
	(void)tell(pull, REPORT_GOT, digest, 0, "");
}

void pull_end(struct puller *p, struct pull *pull, const struct err *e)
{
	struct err named;

	if (pull->ended)
		return;
	pull->ended = true;
	ending_add(p, &pull->fetcher, NULL);
	ending_add(p, &pull->indexer, pull->index_ingest[0] ? pull->index_ingest : NULL);
	pull->last = (struct report){.kind = REPORT_DONE};
	if (!e)
		return;
	named = *e;
	(void)err_wrap(&named, "%s", pull->name_text);
	pull->last.kind = REPORT_FAILED;
	pull->last.code = (uint32_t)named.code;
	memcpy(pull->last.text, named.msg, sizeof(pull->last.text));
}

static void send_last(struct pull *pull)
{
	if (pull->ended && !pull->caller_gone &&
	    report_send(pull->caller_fd, &pull->last) != -EAGAIN)
		pull->caller_gone = true;
}

static void pull_free(struct pull *pull)
{
	close_fd(&pull->caller_fd);
	close_fd(&pull->record_fd);
	close_fd(&pull->documents_fd);
	record_free(pull->record);
	free(pull);
}

/* A failure of ours, by class: the disk is full, or something else. */
static void end_by_us(struct puller *p, struct pull *pull, struct err *e)
{
	(void)image_class_os(e);
	pull_end(p, pull, e);
}

static void fetching_end(struct fetching *f)
{
	int status;

	if (f->worker.pidfd >= 0) {
		worker_kill(&f->worker);
		worker_wait(&f->worker, -1);
		(void)worker_reap(&f->worker, &status);
	}
	close_fd(&f->record_fd);
	close_fd(&f->documents_fd);
}

/* What the sources are comes with the order; until then something else has their number. */
static int fetching_start(const char *role, struct fetching *ret, struct err *e)
{
	struct fetching f = FETCHING_NONE;

	f.record_fd = memfd_create("record", MFD_CLOEXEC);
	f.documents_fd = memfd_create("documents", MFD_CLOEXEC);

	const struct proc_fd fds[] = {{f.record_fd, FETCHER_RECORD},
				      {f.documents_fd, FETCHER_SOURCES},
				      {f.documents_fd, FETCHER_DOCUMENTS}};
	int r = f.record_fd < 0 || f.documents_fd < 0
			? err_sys(e, "memory file")
			: worker_start(NULL, role, NULL, fds, ARRAY_COUNT(fds), true, &f.worker, e);

	if (r < 0)
		fetching_end(&f);
	else
		*ret = f;
	return r;
}

/* The one that waits, or a new one. */
static int fetching_take(struct puller *p, const struct order *order, struct fetching *ret,
			 struct err *e)
{
	int status;

	if (order->kind != ORDER_PULL)
		return fetching_start("read-archive", ret, e);
	if (worker_reap(&p->ahead.worker, &status)) { /* there is none, or somebody has killed it */
		close_fd(&p->ahead.worker.sock);
		fetching_end(&p->ahead);
		return fetching_start("fetch", ret, e);
	}
	*ret = p->ahead;
	p->ahead = (struct fetching)FETCHING_NONE;
	return 0;
}

static int start_fetcher(struct puller *p, struct pull *pull, const struct order *order,
			 int sources_fd, struct err *e)
{
	struct fetching f;
	int r;

	if (fetching_take(p, order, &f, e) < 0)
		return -e->code;
	pull->fetcher = f.worker;
	pull->record_fd = f.record_fd;
	pull->documents_fd = f.documents_fd;
	r = fs_send(pull->fetcher.sock, order, sizeof(*order), &sources_fd, 1);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "order a pull");
	}
	return 0;
}

static void begin_pull(struct puller *p, const struct order *order, int own_caller_fd,
		       int sources_fd)
{
	struct pull *pull = xcalloc(1, sizeof(*pull));
	struct err e = {0};

	pull->caller_fd = own_caller_fd;
	pull->record_fd = pull->documents_fd = -1;
	pull->source_count = order->source_count;
	pull->fetcher = pull->indexer = (struct worker)WORKER_NONE;
	pull->next = p->pulls;
	p->pulls = pull;
	pull->keep_blobs = order->keep_blobs;
	pull->blobs_only = order->blobs_only;
	pull->is_load = order->kind != ORDER_PULL;
	pull->asks = order->asks && !pull->is_load;
	(void)snprintf(pull->name_text, sizeof(pull->name_text), "%s",
		       order->reference[0] ? order->reference : "archive");
	if ((order->reference[0] && reference_parse(order->reference, &pull->name, &e) < 0) ||
	    start_fetcher(p, pull, order, sources_fd, &e) < 0 || nursery_start(&p->nursery, &e) < 0)
		end_by_us(p, pull, &e);
}

/* ---- what its fetcher says ---- */

static int read_record(struct pull *pull, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);

	if (lseek(pull->record_fd, 0, SEEK_SET) < 0)
		return err_sys(e, "rewind the record");
	if (fs_read_fd(pull->record_fd, &text, e) < 0)
		return err_wrap(e, "image record");
	if (record_read(buf_str(&text), text.size, &pull->record, e) < 0)
		return -e->code;
	/* Only an archive says what its images are called. */
	pull->names = pull->record->names;
	pull->record->names.count = 0;
	if (!pull->is_load || pull->name.host[0])
		pull->names.count = 0;
	return 0;
}

static void resolved(struct puller *p, struct pull *pull, const struct report *r)
{
	struct err e = {0};

	if (pull->record || read_record(pull, &e) < 0) {
		(void)err_set(&e, EIO, "the fetcher's record is none");
		pull_end(p, pull, &e);
		return;
	}
	if (!str_eq(pull->record->image.digest, r->digest) ||
	    (pull->name.digest[0] && !str_eq(pull->name.digest, r->digest))) {
		(void)image_fail(&e, IMAGE_REASON_DIGEST_MISMATCH, "the fetcher brought %s",
				 r->digest);
		pull_end(p, pull, &e);
		return;
	}
	(void)report_send(pull->caller_fd, r);
	if (!pull->asks)
		return;
	if (store_put_config(&p->store, pull->record, pull->documents_fd, &e) < 0)
		end_by_us(p, pull, &e);
	else
		pull_tell_got(pull, pull->record->image.config);
}

/* ---- where blobs are to be had ---- */

static void answer_document(struct pull *pull, const struct origin *o)
{
	const struct layer_order order = {.layer = REPORT_NO_LAYER, .origin = *o};

	pull->document_wanted[0] = '\0';
	(void)fs_send(pull->fetcher.sock, &order, sizeof(order), NULL, 0);
}

/* The fetcher's question goes on to the caller; who does not listen has no say. */
static void ask_for_document(struct pull *pull, const struct report *r)
{
	struct origin sources = {.digest = ""};

	if (!pull->asks || pull->record)
		return;
	memcpy(pull->document_wanted, r->digest, DIGEST_SIZE);
	if (pull_ask(pull, r->digest, r->total_bytes))
		return;
	memcpy(sources.digest, r->digest, DIGEST_SIZE);
	answer_document(pull, &sources);
}

static void take_answer(struct puller *p, struct pull *pull, const struct origin *o)
{
	if (pull->document_wanted[0] && str_eq(pull->document_wanted, o->digest))
		answer_document(pull, o);
	else
		(void)flight_answer(p, pull, o);
}

static void peer_is_bad(struct puller *p, struct pull *pull, struct flight *f,
			const struct report *r)
{
	if (f)
		flight_peer_bad(p, f, r->text, r->bytes > 0);
	else if (pull->asks && !pull->record && r->digest[0])
		pull_tell_bad(pull, r->digest, r->text);
}

static void fetch_failed(struct puller *p, struct pull *pull, const struct report *r)
{
	struct flight *f = flight_of(p, pull, r->layer);
	struct err e = {0};

	(void)err_set(&e, (int)r->code, "%s", r->text);
	if (f)
		flight_blob_failed(p, f, &e);
	else
		pull_end(p, pull, &e);
}

static void take_fetcher_report(struct puller *p, struct pull *pull, const struct report *r)
{
	struct flight *f = flight_of(p, pull, r->layer);

	if (r->kind == REPORT_RESOLVED)
		resolved(p, pull, r);
	else if (r->kind == REPORT_FAILED)
		fetch_failed(p, pull, r);
	else if (r->kind == REPORT_LAYER && f)
		flight_progress(p, f, r->bytes);
	else if (r->kind == REPORT_BLOB && f)
		flight_blob_good(p, f);
	else if (r->kind == REPORT_AGAIN_BLOB && f)
		flight_again(p, f);
	else if (r->kind == REPORT_WANT)
		ask_for_document(pull, r);
	else if (r->kind == REPORT_BAD)
		peer_is_bad(p, pull, f, r);
}

static void hear_fetcher(struct puller *p, struct pull *pull)
{
	struct report r;
	struct err e = {0};
	int result;

	while (!pull->ended && (result = report_recv(pull->fetcher.sock, &r)) != REPORT_AGAIN) {
		if (result == 0) {
			take_fetcher_report(p, pull, &r);
			continue;
		}
		if (result == REPORT_CLOSED)
			(void)worker_failure(&pull->fetcher, "fetcher", &e);
		else
			(void)err_set(&e, EIO, "the fetcher talks nonsense");
		pull_end(p, pull, &e);
	}
}

/* ---- what is due ---- */

bool pull_has_layer(const struct pull *pull, unsigned layer)
{
	return pull->phases[layer] == IMAGE_LAYER_DONE || pull->phases[layer] == IMAGE_LAYER_EXISTS;
}

static int check_space(const struct puller *p, const struct pull *pull, struct err *e)
{
	uint64_t free_bytes = store_free_bytes(&p->store), need = 0;

	for (unsigned i = 0; i < pull->record->layer_count; i++)
		if (!pull_has_layer(pull, i))
			need += pull->record->layers[i].blob_size;
	if (need > free_bytes)
		return image_fail(e, IMAGE_REASON_DISK_FULL,
				  "%llu MB are needed at least, %llu MB are free in %s",
				  (unsigned long long)(need >> 20),
				  (unsigned long long)(free_bytes >> 20), p->store.dir);
	return 0;
}

static unsigned flight_count(const struct puller *p)
{
	unsigned count = 0;

	for (const struct flight *f = p->flights; f; f = f->next)
		count++;
	return count;
}

/* What the pull wants of a layer. */
static bool store_gives(const struct puller *p, const struct pull *pull,
			const struct record_layer *l)
{
	auto_close int blob_fd = pull->blobs_only ? store_open_blob_or_lent(&p->store, l) : -1;

	if (pull->blobs_only)
		return blob_fd >= 0;
	return store_has_layer(&p->store, l->diff_id) &&
	       (!pull->keep_blobs || store_has_blob(&p->store, l));
}

/* How many layers are not there yet, having begun what may begin; or -errno. */
static int gather(struct puller *p, struct pull *pull, struct err *e)
{
	const struct record *r = pull->record;
	int missing = 0;

	for (unsigned i = 0; i < r->layer_count; i++) {
		if (!pull_has_layer(pull, i) && store_gives(p, pull, &r->layers[i]))
			pull_report(pull, i, IMAGE_LAYER_EXISTS, r->layers[i].blob_size, "");
		missing += !pull_has_layer(pull, i);
	}
	for (unsigned i = 0; missing && i < r->layer_count; i++) {
		if (pull_has_layer(pull, i) || flight_find(p, r->layers[i].diff_id))
			continue;
		if (flight_count(p) >= FLIGHTS_MAX)
			break;
		if (check_space(p, pull, e) < 0 || flight_begin(p, pull, i, e) < 0 ||
		    (!pull->blobs_only && pull_prepare_index(p, pull, e) < 0))
			return -e->code;
	}
	return missing;
}

/* With the name that was ordered, else with those of the archive, which may be none. */
static int publish(struct puller *p, struct pull *pull, struct err *e)
{
	int64_t now_ms = clock_wall_ms();

	if (store_make_parents(&p->store, pull->record, e) < 0)
		return image_reason_of(e) == IMAGE_REASON_MALFORMED ? -e->code : image_class_os(e);
	if (store_put_image(&p->store, pull->name.host[0] ? &pull->name : NULL, pull->record,
			    pull->documents_fd, now_ms, e) < 0)
		return image_class_os(e);
	for (size_t i = 0; i < pull->names.count; i++) {
		struct reference name;

		if (reference_parse(pull->names.items[i], &name, e) < 0 ||
		    store_put_image(&p->store, &name, pull->record, -1, now_ms, e) < 0)
			return image_class_os(e);
	}
	return 0;
}

static void advance(struct puller *p, struct pull *pull)
{
	struct err e = {0};
	int missing = gather(p, pull, &e), r = 1;

	if (missing >= 0 && p->store.form == IMAGE_INDEXED && !pull->blobs_only)
		r = pull_index(p, pull, missing == 0, &e);
	if (missing < 0 || r < 0) {
		pull_end(p, pull, &e);
		return;
	}
	if (missing == 0) /* it goes while the disk has to do with the record */
		ending_add(p, &pull->fetcher, NULL);
	if (missing > 0 || r == 0)
		return;
	if (!pull->blobs_only && publish(p, pull, &e) < 0)
		pull_end(p, pull, &e);
	else
		pull_end(p, pull, NULL);
}

static void free_ended(struct puller *p)
{
	for (struct pull **next = &p->pulls, *pull; (pull = *next);) {
		if (!pull->ended || !pull->caller_gone) {
			next = &pull->next;
			continue;
		}
		*next = pull->next;
		pull_free(pull);
	}
}

/* One pull's end may let another begin, and the other way round: until nothing changes. */
static void reconcile(struct puller *p)
{
	bool changed;

	do {
		changed = false;
		flights_clear(p);
		for (struct pull *pull = p->pulls; pull; pull = pull->next) {
			if (pull->ended || !pull->record)
				continue;
			advance(p, pull);
			changed |= pull->ended;
		}
	} while (changed);
	for (struct pull *pull = p->pulls; pull; pull = pull->next)
		send_last(pull);
	flights_clear(p);
	free_ended(p);
	endings_reap(p);
}

/* ---- what happens ---- */

static void take_order(struct puller *p)
{
	struct order order;
	size_t fd_count = 0, pulls = 0;
	int fds[ORDER_FDS] = {-1, -1};
	ssize_t n = fs_recv(WORKER_SOCK, &order, sizeof(order), fds, ORDER_FDS, &fd_count,
			    MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		p->caller_closed = true;
		return;
	}
	for (const struct pull *pull = p->pulls; pull; pull = pull->next)
		pulls++;
	if (n == sizeof(order) && fd_count == ORDER_FDS && pulls < PULLS_MAX)
		begin_pull(p, &order, take_fd(fds[0]), fds[1]);
	close_fd(&fds[0]); /* the caller sees that */
	close_fd(&fds[1]);
}

/* A caller answers, or hangs up, having said that it wants nothing, or because it died. */
static void hear_caller(struct puller *p, struct pull *pull, short events)
{
	struct origin o;
	ssize_t n;

	if (!(events & (POLLIN | POLLHUP | POLLERR)))
		return;
	n = recv(pull->caller_fd, &o, sizeof(o), MSG_DONTWAIT);
	if (n == sizeof(o) && origin_is_valid(&o)) {
		if (!pull->ended)
			take_answer(p, pull, &o);
		return;
	}
	pull->cancelled = n == 1;
	pull->caller_gone = true;
	pull_end(p, pull, NULL);
}

struct polls {
	struct pollfd *items;
	size_t count, capacity;
};

static void watch(struct polls *polls, int fd, short events)
{
	polls->items = xgrow(polls->items, polls->count, &polls->capacity, sizeof(*polls->items));
	polls->items[polls->count++] = (struct pollfd){.fd = fd, .events = events};
}

/* What is watched and what is heard are walked in the same order; -1 is never ready. */
static void watch_all(const struct puller *p, struct polls *polls)
{
	polls->count = 0;
	watch(polls, p->caller_closed ? -1 : WORKER_SOCK, POLLIN);
	for (const struct pull *pull = p->pulls; pull; pull = pull->next) {
		watch(polls, pull->caller_fd, pull->ended ? POLLIN | POLLOUT : POLLIN);
		watch(polls, pull->fetcher.sock, POLLIN);
		watch(polls, pull->indexer.sock, POLLIN);
	}
	for (const struct flight *f = p->flights; f; f = f->next)
		watch(polls, f->unpacker.sock, POLLIN);
	for (size_t i = 0; i < p->ending_count; i++)
		watch(polls, p->endings[i].worker.pidfd, POLLIN);
}

static void hear_all(struct puller *p, const struct polls *polls)
{
	const struct pollfd *next = polls->items;
	bool ordered = next++->revents;

	for (struct pull *pull = p->pulls; pull; pull = pull->next, next += 3) {
		hear_caller(p, pull, next[0].revents);
		if (next[1].revents && !pull->ended)
			hear_fetcher(p, pull);
		if (next[2].revents && !pull->ended)
			pull_hear_indexer(p, pull);
	}
	for (struct flight *f = p->flights; f; f = f->next, next++)
		if (next->revents && !f->over && !f->owner->ended)
			flight_hear_unpacker(p, f);
	if (ordered)
		take_order(p);
}

/* ---- the process ---- */

static int run(struct puller *p, struct err *e)
{
	struct polls polls = {NULL, 0, 0};

	while (!p->caller_closed || p->pulls || p->ending_count) {
		watch_all(p, &polls);
		if (poll(polls.items, polls.count, -1) < 0 && errno != EINTR) {
			free(polls.items);
			return err_sys(e, "poll");
		}
		hear_all(p, &polls);
		reconcile(p);
	}
	free(polls.items);
	return 0;
}

/* What takes time and no order. */
static void get_ready(struct puller *p)
{
	struct err ignored; /* with the order it is tried again */

	if (p->ahead.worker.sock < 0 && fetching_start("fetch", &p->ahead, &ignored) == 0)
		(void)nursery_start(&p->nursery, &ignored);
}

/*
 * Before the first order the caller may say one byte: that one will come.  Until then others
 * may have the store.  False: it was said, and none came.
 */
static bool wait_for_order(struct puller *p)
{
	struct pollfd sock = {.fd = WORKER_SOCK, .events = POLLIN};
	bool was_told = false;

	for (;;) {
		char word;
		ssize_t n;

		(void)poll(&sock, 1, -1);
		n = recv(WORKER_SOCK, &word, sizeof(word), MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n != sizeof(word))
			return n > 0 || !was_told;
		(void)recv(WORKER_SOCK, &word, sizeof(word), 0);
		was_told = true;
		get_ready(p);
	}
}

/* With the lock on the store. */
static int pull_all(struct puller *p, struct err *e)
{
	int r;

	p->lock_fd = store_lock(&p->store, e);
	if (p->lock_fd < 0)
		return -e->code;
	ending_remove_all(p);
	r = run(p, e);
	if (r < 0 || store_sweep(&p->store, e) < 0)
		return -e->code;
	ending_remove_all(p);
	return 0;
}

int puller_main(int argc, char **argv)
{
	struct puller p = {.lock_fd = -1, .nursery = {WORKER_NONE}, .ahead = FETCHING_NONE};
	struct err e = {0};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_DUMPABLE, 0); /* it sees passwords */
	r = argc > 2 ? store_init(&p.store, argv[2],
				  str_eq(argv[1], "pull") ? IMAGE_INDEXED : IMAGE_UNPACKED, &e)
		     : err_set(&e, EINVAL, "no store is named");
	if (r == 0) {
		r = wait_for_order(&p) ? pull_all(&p, &e) : 0;
		fetching_end(&p.ahead);
		nursery_end(&p.nursery);
		store_done(&p.store);
		close_fd(&p.lock_fd);
	}
	free(p.endings);
	if (r < 0)
		(void)dprintf(STDERR_FILENO, "berth-worker pull: %s\n", e.msg);
	return r < 0 ? 1 : 0;
}
