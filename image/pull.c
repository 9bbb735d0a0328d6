/* image/pull.c - a pull, for its caller
 * SPDX-License-Identifier: Apache-2.0
 *
 * A pull is a socket whose other end the puller has: reports come on it, and
 * closing it ends the pull.  What the store holds already takes no puller.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/pulling.h"
#include "image/reason.h"
#include "image/wire.h"

static int copy(char *ret, size_t size, const char *text, const char *what, struct err *e)
{
	size_t len = text ? strlen(text) : 0;

	if (len >= size)
		return err_set(e, EINVAL, "%s of more than %zu characters", what, size - 1);
	if (len)
		memcpy(ret, text, len);
	return 0;
}

static int fill_order(const struct image_pull_request *request, struct order *o, struct err *e)
{
	struct reference name;
	struct platform platform;

	memset(o, 0, sizeof(*o));
	o->source_count = request->source_count ? (uint32_t)request->source_count : 1;
	o->tags_at_last = request->tags_at_last;
	o->keep_blobs = request->keep_blobs || request->blobs_only;
	o->blobs_only = request->blobs_only;
	o->asks = request->peer_file != NULL;
	if (request->source_count > IMAGE_SOURCES_MAX)
		return err_set(e, EINVAL, "%zu sources; at most %d", request->source_count,
			       IMAGE_SOURCES_MAX);
	if (reference_parse(request->reference, &name, e) < 0 ||
	    platform_parse(request->platform, &platform, e) < 0)
		return -e->code;
	reference_format(&name, o->reference);
	platform_format(&platform, o->platform);
	return 0;
}

static int fill_source(const struct image_source *from, struct source *s, struct err *e)
{
	memset(s, 0, sizeof(*s));
	s->insecure = from->insecure;
	s->wants_tls = from->ca_file || from->certificate_file;
	if (from->location && image_check_location(from->location, e) < 0)
		return -e->code;
	if (!from->certificate_file != !from->key_file)
		return err_set(e, EINVAL, "a client certificate and its key: both or none");
	if (copy(s->location, sizeof(s->location), from->location, "location", e) < 0 ||
	    copy(s->username, sizeof(s->username), from->username, "user name", e) < 0 ||
	    copy(s->password, sizeof(s->password), from->password, "password", e) < 0 ||
	    copy(s->ca_file, sizeof(s->ca_file), from->ca_file, "path", e) < 0 ||
	    copy(s->certificate_file, sizeof(s->certificate_file), from->certificate_file, "path",
		 e) < 0)
		return -e->code;
	return copy(s->key_file, sizeof(s->key_file), from->key_file, "path", e);
}

int pulling_write_sources(const struct image_source *sources, size_t count, int *ret_fd,
			  struct err *e)
{
	auto_close int fd = memfd_create("sources", MFD_CLOEXEC);
	struct source *s = xcalloc(1, sizeof(*s));
	int r = fd < 0 ? err_sys(e, "memory file") : 0;

	for (size_t i = 0; r == 0 && i < count; i++) {
		r = fill_source(&sources[i], s, e);
		if (r == 0 && (errno = -write_all(fd, s, sizeof(*s))) != 0)
			r = err_sys(e, "memory file");
	}
	explicit_bzero(s, sizeof(*s));
	free(s);
	if (r == 0)
		*ret_fd = take_fd(fd);
	return r;
}

int pulling_write_peer(const char *peer_file, int fd, struct err *e)
{
	const struct image_source peer = {.certificate_file = peer_file, .key_file = peer_file};
	struct source *s = xcalloc(1, sizeof(*s));
	int r = fill_source(&peer, s, e);

	if (r == 0 && (errno = -write_all(fd, s, sizeof(*s))) != 0)
		r = err_sys(e, "memory file");
	free(s);
	return r;
}

static bool fits(const struct image *image, const char *platform)
{
	auto_free char *made = xasprintf("%s/%s%s%s", image->os, image->architecture,
					 image->variant ? "/" : "",
					 image->variant ? image->variant : "");
	struct platform want, have;
	struct err ignored;

	return platform_parse(platform, &want, &ignored) == 0 &&
	       platform_parse(made, &have, &ignored) == 0 && platform_match(&want, &have);
}

bool image_fits_here(const struct image *i)
{
	return fits(i, NULL);
}

/* One that cannot be read is as good as none: the pull repairs it. */
static bool find_held(struct image_store *s, const struct order *o, struct image **ret)
{
	struct err ignored;
	struct image *image;

	if (image_find(s, o->reference, &image, &ignored) != 0)
		return false;
	if (!fits(image, o->platform)) {
		image_free(image);
		return false;
	}
	*ret = image;
	return true;
}

struct image_pull *pulling_new(struct image_store *s, const char *reference)
{
	struct image_pull *p = xcalloc(1, sizeof(*p));

	p->store = s;
	p->reference = xstrdup(reference);
	p->fd = -1;
	p->pusher = (struct worker)WORKER_NONE;
	s->pulls++;
	return p;
}

static int begin_held(struct image_pull *p, struct image *own_image, struct err *e)
{
	p->held = own_image;
	p->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* readable from birth */
	return p->fd < 0 ? err_sys(e, "event descriptor") : 0;
}

static int send_order(struct image_pull *p, const struct order *o, int sources_fd, struct err *e)
{
	auto_close int theirs = -1;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_sys(e, "socket pair");
	p->fd = pair[0];
	theirs = pair[1];
	const int fds[ORDER_FDS] = {theirs, sources_fd};

	r = fs_send(p->store->puller.sock, o, sizeof(*o), fds, ORDER_FDS);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "order a pull");
	}
	return 0;
}

int image_pull_begin(struct image_store *s, const struct image_pull_request *request,
		     struct image_pull **ret, struct err *e)
{
	static const struct image_source itself = {.location = NULL};
	const struct image_source *sources = request->source_count ? request->sources : &itself;
	auto_close int sources_fd = -1;
	struct order o;
	struct image_pull *p;
	struct image *held;
	int r;

	if (fill_order(request, &o, e) < 0 ||
	    pulling_write_sources(sources, o.source_count, &sources_fd, e) < 0 ||
	    (o.asks && pulling_write_peer(request->peer_file, sources_fd, e) < 0))
		return -e->code;
	p = pulling_new(s, o.reference);
	if (request->policy == IMAGE_PULL_IF_ABSENT && find_held(s, &o, &held)) {
		r = begin_held(p, held, e);
	} else {
		r = client_start_puller(s, e);
		if (r == 0)
			r = send_order(p, &o, sources_fd, e);
	}
	if (r < 0) {
		image_pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int image_load_begin(struct image_store *s, const struct image_load_request *request,
		     struct image_pull **ret, struct err *e)
{
	struct order o = {.kind = request->is_directory ? ORDER_LOAD_DIRECTORY : ORDER_LOAD,
			  .item = request->item,
			  .source_count = 1,
			  .keep_blobs = true};
	struct reference name;
	struct platform platform;
	struct image_pull *p;
	int r;

	if (request->reference) {
		if (reference_parse(request->reference, &name, e) < 0)
			return -e->code;
		reference_format(&name, o.reference);
	}
	if (platform_parse(request->platform, &platform, e) < 0)
		return -e->code;
	platform_format(&platform, o.platform);
	p = pulling_new(s, o.reference);
	r = client_start_puller(s, e);
	if (r == 0)
		r = send_order(p, &o, request->fd, e);
	if (r < 0) {
		image_pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int image_pull_fd(const struct image_pull *p)
{
	return p->fd;
}

enum image_reason image_pull_reason(const struct image_pull *p)
{
	return p->reason;
}

static int failed(struct image_pull *p, struct err *e)
{
	p->reason = image_reason_of(e);
	return -e->code;
}

static int done(struct image_pull *p, struct image_pull_event *ret, struct err *e)
{
	int r;

	ret->kind = IMAGE_PULL_DONE;
	ret->image = p->held;
	if (p->is_push)
		return 0;
	p->held = NULL;
	if (ret->image)
		return 0;
	if (!p->reference[0]) { /* of an archive, perhaps without a name */
		free(p->reference);
		p->reference = xasprintf("archive.invalid/image@%s", p->digest);
	}
	r = image_find(p->store, p->reference, &ret->image, e);
	if (r == 0)
		return 0;
	if (r == IMAGE_ABSENT)
		(void)err_set(e, EIO, "%s was pulled and is gone again", p->reference);
	return failed(p, e);
}

static int take_report(struct image_pull *p, const struct report *report,
		       struct image_pull_event *ret, struct err *e)
{
	memcpy(ret->digest, report->digest, sizeof(ret->digest));
	switch (report->kind) {
	case REPORT_RESOLVED:
		ret->kind = IMAGE_PULL_RESOLVED;
		memcpy(p->digest, report->digest, DIGEST_SIZE);
		return 0;
	case REPORT_LAYER:
		ret->kind = IMAGE_PULL_LAYER;
		ret->layer = report->layer;
		ret->layer_count = report->layer_count;
		ret->phase = (enum image_pull_phase)report->phase;
		ret->bytes = report->bytes;
		ret->total_bytes = report->total_bytes;
		(void)snprintf(ret->from, sizeof(ret->from), "%.63s", report->text);
		return 0;
	case REPORT_WANT:
	case REPORT_BAD:
	case REPORT_GOT:
		ret->kind = report->kind == REPORT_WANT  ? IMAGE_PULL_WANTS
			    : report->kind == REPORT_BAD ? IMAGE_PULL_BAD
							 : IMAGE_PULL_GOT;
		ret->total_bytes = report->total_bytes;
		(void)snprintf(ret->why, sizeof(ret->why), "%.159s", report->text);
		return 0;
	case REPORT_DONE:
		return done(p, ret, e);
	case REPORT_FAILED:
		(void)err_set(e, (int)report->code, "%s", report->text);
		return failed(p, e);
	default:
		(void)err_set(e, EPROTO, "unknown report %u of the puller", report->kind);
		return failed(p, e);
	}
}

int image_pull_next(struct image_pull *p, struct image_pull_event *ret, struct err *e)
{
	struct report report;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (p->held)
		return done(p, ret, e);
	r = report_recv(p->fd, &report);
	if (r == REPORT_AGAIN)
		return IMAGE_AGAIN;
	if (r == 0)
		return take_report(p, &report, ret, e);
	if (r < 0) {
		errno = -r;
		(void)err_sys(e, "report of the puller");
	} else {
		(void)err_set(e, EIO, "the puller ended before the pull");
	}
	e->code = EIO;
	return failed(p, e);
}

int image_pull_from(struct image_pull *p, const char *digest, const struct image_peer *peer,
		    struct err *e)
{
	struct origin o = {.digest = ""};
	int r;

	(void)snprintf(o.digest, sizeof(o.digest), "%s", digest);
	if (peer)
		o.peer = *peer;
	r = fs_send(p->fd, &o, sizeof(o), NULL, 0);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "answer a pull");
	}
	return 0;
}

/* Its socket is the pull's. */
static void end_pusher(struct image_pull *p)
{
	int status;

	p->fd = -1;
	worker_kill(&p->pusher);
	worker_wait(&p->pusher, -1);
	(void)worker_reap(&p->pusher, &status);
}

void image_pull_free(struct image_pull *p)
{
	if (!p)
		return;
	assert(p->store->pulls > 0);

	if (p->is_push)
		end_pusher(p);
	else if (p->fd >= 0 && !p->held)
		(void)fs_send(p->fd, "c", 1, NULL,
			      0); /* not wanted; a puller that has gone does not care */
	image_pull_leave(p);
}

void image_pull_leave(struct image_pull *p)
{
	if (!p)
		return;
	assert(p->store->pulls > 0);

	if (p->is_push && p->pusher.pidfd >= 0)
		end_pusher(p);
	close_fd(&p->fd);
	image_free(p->held);
	if (--p->store->pulls == 0 && p->store->puller.sock >= 0 && !p->store->puller_waits)
		client_end_puller(p->store);
	free(p->reference);
	free(p);
}
