/* image/pusher.c - the worker that gives an image to a registry
 * SPDX-License-Identifier: Apache-2.0
 *
 * Blobs first, each unless the registry has it: by mounting it from the repository
 * that it came from, where that is at the same registry, else in pieces, so that an
 * upload that breaks goes on where the registry has got to.  The manifest comes last;
 * with it the image is there.
 *
 * One request at a time.  What may be answered otherwise later is asked again, after
 * pauses as of a pull.  Answers are foreign; of them only headers are acted on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/attachments.h"
#include "image/jail.h"
#include "image/login.h"
#include "image/push.h"
#include "image/reason.h"
#include "image/registry.h"
#include "image/sources.h"
#include "image/url.h"
#include "image/worker.h"

#define CHUNK_SIZE  (8 << 20)
#define HEADERS_MAX 4
#define LINE_SIZE   160
#define TEXT_MAX    4096 /* of an answer, for messages */
#define LOGINS_MAX  3
#define FOREVER_MS  (1 << 30)

struct answer {
	unsigned status;
	char *location; /* absolute; NULL */
	uint64_t has;   /* of an upload: bytes that the registry has got */
	struct buf text;
	bool ended, unauthorized;
	struct err err; /* code 0: an answer came */
};

struct pusher {
	struct push_order order;
	struct fetch *fetch;
	struct source *source;
	struct reference name; /* as it is called there */
	const char *scheme;
	struct login *login;
	bool logging_in;
	struct err login_err;
	struct answer answer; /* to the last request */
	char *url;            /* of it */
	struct record *record;
	char *documents;
	int layer_fds[IMAGE_LAYERS_MAX]; /* -1: not kept */
};

struct call {
	const char *method, *url;
	const char *headers[2]; /* NULL: none */
	const void *body;
	size_t size;
};

/* ---- one request ---- */

static bool is_own(const struct pusher *p, const char *url)
{
	auto_free char *own = xasprintf("%s://%s/", p->scheme, registry_host(&p->name));

	return url_same_origin(url, own);
}

static bool take_text(void *ctx, struct fetch_transfer *t, const void *data, size_t size)
{
	struct answer *a = &((struct pusher *)ctx)->answer;

	(void)t;
	buf_add(&a->text, data, size < TEXT_MAX - a->text.size ? size : TEXT_MAX - a->text.size);
	return true;
}

static void take_headers(struct pusher *p, const struct fetch_transfer *t)
{
	struct answer *a = &p->answer;
	const char *location = fetch_header(t, "Location", 0);
	const char *range = fetch_header(t, "Range", 0);
	const char *dash = range ? strchr(range, '-') : NULL;
	struct err ignored;

	a->status = fetch_status(t);
	if (location && url_redirect(p->url, location, &a->location, &ignored) < 0)
		a->location = NULL;
	/* "0-1023", or "0-0" for nothing as much as for one byte: who has sent less knows. */
	if (dash && parse_u64(dash + 1, INT64_MAX, &a->has))
		a->has += a->has > 0;
}

static void login_ended(void *ctx, const struct err *e, bool again)
{
	struct pusher *p = ctx;

	(void)again;
	p->logging_in = false;
	if (e)
		p->login_err = *e;
}

static void take_end(void *ctx, struct fetch_transfer *t, const struct err *e)
{
	struct pusher *p = ctx;
	struct answer *a = &p->answer;

	a->ended = true;
	if (e) {
		a->err = *e;
		return;
	}
	take_headers(p, t);
	if (a->status != 401 || !is_own(p, p->url))
		return;
	switch (login_answer(p->login, t, p->source->insecure || str_eq(p->scheme, "http"),
			     &p->login_err)) {
	case LOGIN_UNDER_WAY:
		p->logging_in = true;
		break;
	case LOGIN_HOPELESS:
		(void)image_fail(&p->login_err, IMAGE_REASON_UNAUTHORIZED, "access denied%s",
				 login_is_anonymous(p->login) ? ": credentials are needed" : "");
		break;
	default:
		break;
	}
}

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

static void answer_reset(struct answer *a)
{
	free(a->location);
	buf_done(&a->text);
	*a = (struct answer){.text = BUF_INIT(TEXT_MAX)};
}

/* Once, and the login that it may ask for. */
static int ask_once(struct pusher *p, const struct call *c, struct err *e)
{
	const char *headers[HEADERS_MAX];
	struct fetch_request r = {.method = c->method,
				  .url = c->url,
				  .headers = headers,
				  .body = c->body,
				  .body_size = c->size,
				  .connect_ms = REGISTRY_CONNECT_MS,
				  .stall_s = 0,
				  .total_ms = REGISTRY_TOTAL_MS,
				  .ca_file = or_null(p->source->ca_file),
				  .any_certificate = p->source->insecure,
				  .no_proxy = url_is_loopback(c->url),
				  .on_data = take_text,
				  .on_end = take_end,
				  .ctx = p};
	struct fetch_transfer *t;

	for (size_t i = 0; i < ARRAY_COUNT(c->headers); i++)
		if (c->headers[i])
			headers[r.header_count++] = c->headers[i];
	if (is_own(p, c->url)) {
		r.certificate_file = or_null(p->source->certificate_file);
		r.key_file = or_null(p->source->key_file);
		if (login_header(p->login))
			headers[r.header_count++] = login_header(p->login);
	}
	answer_reset(&p->answer);
	free(p->url);
	p->url = xstrdup(c->url);
	p->login_err.code = 0;
	if (fetch_start(p->fetch, &r, &t, e) < 0)
		return -e->code;
	while (!p->answer.ended || p->logging_in)
		if (fetch_run(p->fetch, NULL, 0, FOREVER_MS, e) < 0)
			return -e->code;
	return 0;
}

static void pause_ms(int64_t ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)nanosleep(&t, NULL);
}

static bool may_pass(const struct answer *a)
{
	return a->err.code ? a->err.code == ETIMEDOUT || a->err.code == ECONNRESET
			   : status_is_passing(a->status);
}

/* 416: it has another idea of how far we are, as when a chunk was sent again underneath. */
static bool may_go_on(const struct answer *a)
{
	return may_pass(a) || (!a->err.code && a->status == 416);
}

/*
 * Until there is an answer that counts: p->answer.  'again': the same request may be
 * made twice; of others a break is for the caller to look at (p->answer.err).
 */
static int ask(struct pusher *p, const struct call *c, bool again, struct err *e)
{
	unsigned logins = 0, attempts = 0;

	for (;;) {
		if (ask_once(p, c, e) < 0)
			return -e->code;
		if (!p->answer.err.code && p->answer.status == 401 && !p->login_err.code &&
		    logins++ < LOGINS_MAX)
			continue;
		if (p->login_err.code) {
			*e = p->login_err;
			return -e->code;
		}
		if (!again || !may_pass(&p->answer) || ++attempts == REGISTRY_ATTEMPTS)
			break;
		pause_ms((int64_t)REGISTRY_RETRY_MS << (attempts - 1));
	}
	if (p->answer.err.code && again) {
		*e = p->answer.err;
		return image_class(e, IMAGE_REASON_UNREACHABLE);
	}
	return 0;
}

/* What the registry says of a status that is none of those wanted. */
static int refused(struct pusher *p, const char *what, struct err *e)
{
	const struct answer *a = &p->answer;
	enum image_reason reason = a->status == 401 || a->status == 403 ? IMAGE_REASON_UNAUTHORIZED
									: IMAGE_REASON_REGISTRY;

	if (a->err.code) {
		*e = a->err;
		(void)image_class(e, IMAGE_REASON_UNREACHABLE);
		return err_wrap(e, "%s", what);
	}
	return image_fail(e, reason, "%s: the registry answered %u%s%.200s", what, a->status,
			  a->text.size ? ": " : "", a->text.size ? buf_str(&a->text) : "");
}

/* ---- blobs ---- */

static char *url_of(const struct pusher *p, const char *tail)
{
	return xasprintf("%s://%s/v2/%s/%s", p->scheme, registry_host(&p->name), p->name.repository,
			 tail);
}

/* 0; 1: it is not there. */
static int find_blob(struct pusher *p, const char *digest, struct err *e)
{
	auto_free char *tail = xasprintf("blobs/%s", digest);
	auto_free char *url = url_of(p, tail);
	const struct call c = {.method = "HEAD", .url = url};

	if (ask(p, &c, true, e) < 0)
		return -e->code;
	if (p->answer.status == 200)
		return 0;
	return p->answer.status == 404 ? 1 : refused(p, "look for a blob", e);
}

/* 0: it was mounted; 1: an upload has begun at *ret_url. */
static int begin_upload(struct pusher *p, const char *digest, char **ret_url, struct err *e)
{
	auto_free char *from = p->order.mount_from[0] ? url_escape(p->order.mount_from) : NULL;
	auto_free char *tail = from ? xasprintf("blobs/uploads/?mount=%s&from=%s", digest, from)
				    : xstrdup("blobs/uploads/");
	auto_free char *url = url_of(p, tail);
	const struct call c = {.method = "POST", .url = url, .body = ""};

	if (ask(p, &c, true, e) < 0)
		return -e->code;
	if (p->answer.status == 201 && from)
		return 0;
	if (p->answer.status != 202 || !p->answer.location)
		return refused(p, "begin an upload", e);
	*ret_url = take_ptr(p->answer.location);
	return 1;
}

static void report_progress(const struct pusher *p, unsigned layer, enum image_pull_phase phase,
			    uint64_t bytes)
{
	const struct record_layer *l = &p->record->layers[layer];
	struct report r = {.kind = REPORT_LAYER,
			   .layer = layer,
			   .layer_count = (uint32_t)p->record->layer_count,
			   .phase = phase,
			   .bytes = bytes,
			   .total_bytes = l->blob_size};

	memcpy(r.digest, l->blob, DIGEST_SIZE);
	(void)report_send(WORKER_SOCK, &r);
}

/* What is sent: bytes in memory, or a layer's file. */
struct content {
	const char *digest;
	const char *data; /* NULL: of the file */
	int fd;
	unsigned layer; /* of which progress is told; REPORT_NO_LAYER */
	uint64_t size;
};

static ssize_t read_chunk(const struct content *c, uint64_t at, char *out, struct err *e)
{
	size_t want = c->size - at > CHUNK_SIZE ? CHUNK_SIZE : (size_t)(c->size - at);
	size_t done = 0;

	if (c->data) {
		memcpy(out, c->data + at, want);
		return (ssize_t)want;
	}
	while (done < want) {
		ssize_t n = pread(c->fd, out + done, want - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? os_fail(e, "read the blob")
				     : image_fail(e, IMAGE_REASON_TRUNCATED,
						  "the blob ends too early in the store");
		done += (size_t)n;
	}
	return (ssize_t)want;
}

/* A chunk broke: how far the registry has got is the registry's to say. */
static int ask_how_far(struct pusher *p, char **url, uint64_t *at, struct err *e)
{
	const struct call c = {.method = "GET", .url = *url};

	if (ask(p, &c, true, e) < 0)
		return -e->code;
	if (p->answer.status != 204)
		return refused(p, "go on with an upload", e);
	if (p->answer.has > *at + CHUNK_SIZE || p->answer.has < *at)
		return image_fail(e, IMAGE_REASON_REGISTRY,
				  "the registry has lost some of an upload");
	*at = p->answer.has;
	if (p->answer.location) {
		free(*url);
		*url = take_ptr(p->answer.location);
	}
	return 0;
}

static int send_chunks(struct pusher *p, const struct content *content, char **url, char *chunk,
		       struct err *e)
{
	unsigned breaks = 0;

	for (uint64_t at = 0; at < content->size;) {
		char range[LINE_SIZE];
		ssize_t size = read_chunk(content, at, chunk, e);
		const struct call c = {.method = "PATCH",
				       .url = *url,
				       .headers = {"Content-Type: application/octet-stream", range},
				       .body = chunk,
				       .size = (size_t)size};

		if (size < 0)
			return (int)size;
		(void)snprintf(range, sizeof(range), "Content-Range: %llu-%llu",
			       (unsigned long long)at, (unsigned long long)at + (size_t)size - 1);
		if (ask(p, &c, false, e) < 0)
			return -e->code;
		if (!p->answer.err.code && p->answer.status == 202 && p->answer.location) {
			at += (uint64_t)size;
			free(*url);
			*url = take_ptr(p->answer.location);
			breaks = 0;
		} else if (may_go_on(&p->answer) && ++breaks < REGISTRY_ATTEMPTS) {
			pause_ms((int64_t)REGISTRY_RETRY_MS << (breaks - 1));
			if (ask_how_far(p, url, &at, e) < 0)
				return -e->code;
		} else {
			return refused(p, "upload", e);
		}
		if (content->layer != REPORT_NO_LAYER)
			report_progress(p, content->layer, IMAGE_LAYER_DOWNLOADING, at);
	}
	return 0;
}

static int end_upload(struct pusher *p, const char *url, const char *digest, struct err *e)
{
	auto_free char *whole = xasprintf("%s%cdigest=%s", url, strchr(url, '?') ? '&' : '?',
					  digest);
	const struct call c = {.method = "PUT", .url = whole, .body = ""};

	if (ask(p, &c, false, e) < 0)
		return -e->code;
	return p->answer.status == 201 || p->answer.status == 204 ? 0
								  : refused(p, "end an upload", e);
}

static int upload(struct pusher *p, const struct content *c, struct err *e)
{
	auto_free char *url = NULL, *chunk = NULL;
	int r = begin_upload(p, c->digest, &url, e);

	if (r <= 0)
		return r;
	chunk = xcalloc(1, CHUNK_SIZE);
	if (send_chunks(p, c, &url, chunk, e) < 0)
		return -e->code;
	return end_upload(p, url, c->digest, e);
}

/* What we do not have the registry may have elsewhere. */
static int mount_only(struct pusher *p, const char *digest, unsigned i, struct err *e)
{
	auto_free char *unwanted = NULL;
	int r = p->order.mount_from[0] ? begin_upload(p, digest, &unwanted, e) : 1;

	if (r == 0)
		report_progress(p, i, IMAGE_LAYER_EXISTS, p->record->layers[i].blob_size);
	return r == 1 ? image_fail(e, IMAGE_REASON_NOT_KEPT,
				   "the registry does not have %s, and it is not kept as it was "
				   "packed",
				   digest)
		      : r;
}

static int push_layer(struct pusher *p, unsigned i, struct err *e)
{
	const struct record_layer *l = &p->record->layers[i];
	struct content c = {.digest = l->blob, .fd = p->layer_fds[i], .layer = i};
	struct stat st;
	int r = find_blob(p, l->blob, e);

	if (r == 0)
		report_progress(p, i, IMAGE_LAYER_EXISTS, l->blob_size);
	if (r <= 0)
		return r;
	if (c.fd < 0)
		return mount_only(p, l->blob, i, e);
	if (fstat(c.fd, &st) < 0)
		return os_fail(e, "size of the blob");
	c.size = (uint64_t)st.st_size;
	if (upload(p, &c, e) < 0)
		return -e->code;
	report_progress(p, i, IMAGE_LAYER_DONE, l->blob_size);
	return 0;
}

/* ---- documents ---- */

static const char *find_document(const struct pusher *p, const char *digest,
				 const struct record_document **ret)
{
	const char *data = p->documents;

	for (size_t i = 0; i < p->record->document_count; i++) {
		*ret = &p->record->documents[i];
		if (str_eq((*ret)->digest, digest))
			return data;
		data += (*ret)->size;
	}
	return NULL; /* whoever ordered us has looked */
}

static bool is_sibling(const struct image *image, const char *digest)
{
	for (size_t i = 0; i < image->sibling_count; i++)
		if (str_eq(image->siblings[i].manifest, digest))
			return true;
	return false;
}

/* A document that goes as a blob does. */
static int push_blob(struct pusher *p, const char *digest, struct err *e)
{
	const struct record_document *d;
	const char *data = find_document(p, digest, &d);
	const struct content c = {
		.digest = d->digest, .data = data, .layer = REPORT_NO_LAYER, .size = d->size};
	int r = find_blob(p, d->digest, e);

	return r == 1 ? upload(p, &c, e) : r;
}

/* Manifest or index, under a tag or its own digest. */
static int push_document(struct pusher *p, const char *digest, const char *id, struct err *e)
{
	const struct record_document *d;
	const char *data = find_document(p, digest, &d);
	auto_free char *tail = xasprintf("manifests/%s", id);
	auto_free char *url = url_of(p, tail);
	char type[LINE_SIZE];
	const struct call c = {
		.method = "PUT", .url = url, .headers = {type}, .body = data, .size = d->size};

	(void)snprintf(type, sizeof(type), "Content-Type: %s", d->media_type);
	if (ask(p, &c, true, e) < 0)
		return -e->code;
	return p->answer.status == 201 || p->answer.status == 200 ? 0 : refused(p, "manifest", e);
}

/* What is in the index beside images: all that is none of the documents of this one. */
static int push_attachments(struct pusher *p, struct err *e)
{
	const struct image *image = &p->record->image;
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->record->document_count; i++) {
		const char *digest = p->record->documents[i].digest;

		if (!str_eq(digest, image->digest) && !str_eq(digest, image->config) &&
		    !is_sibling(image, digest))
			r = push_blob(p, digest, e);
	}
	for (size_t i = 0; r == 0 && i < image->sibling_count; i++) {
		const char *digest = image->siblings[i].manifest;
		const struct record_document *d;

		if (!attachment_is(&image->siblings[i]))
			continue;
		r = find_document(p, digest, &d)
			    ? push_document(p, digest, digest, e)
			    : image_fail(e, IMAGE_REASON_NOT_FOUND,
					 "the index names %s, which is not kept: berth pull "
					 "--all-platforms fetches it for that",
					 digest);
	}
	return r;
}

static int push_manifest(struct pusher *p, struct err *e)
{
	const char *id = p->name.digest[0] ? p->name.digest : p->name.tag;
	const struct image *image = &p->record->image;

	if (!p->order.with_index)
		return push_document(p, image->manifest, id, e);
	if (push_document(p, image->manifest, image->manifest, e) < 0 || push_attachments(p, e) < 0)
		return -e->code;
	return push_document(p, image->digest, id, e);
}

/* ---- the process ---- */

/* As registry.c does it: loopback hosts may speak http, insecure ones as well. */
static int find_scheme(struct pusher *p, struct err *e)
{
	static const char *const http_https[] = {"http", "https", NULL};
	static const char *const https_http[] = {"https", "http", NULL};
	static const char *const https[] = {"https", NULL};
	const char *const *schemes = host_is_loopback(p->name.host) && !p->source->wants_tls
					     ? http_https
				     : p->source->insecure ? https_http
							   : https;

	for (;; schemes++) {
		auto_free char *url = xasprintf("%s://%s/v2/", *schemes, registry_host(&p->name));
		const struct call c = {.method = "GET", .url = url};

		p->scheme = *schemes;
		if (ask(p, &c, false, e) < 0)
			return -e->code;
		if (!p->answer.err.code && p->answer.status != 400)
			return 0;
		if (!schemes[1])
			return refused(p, "registry", e);
	}
}

static int push(struct pusher *p, struct err *e)
{
	struct login_options login = {
		.name = &p->name, .source = p->source, .on_end = login_ended, .ctx = p};
	int r;

	p->fetch = login.fetch = fetch_new();
	p->login = login_new(&login);
	buf_init(&p->answer.text, TEXT_MAX);
	r = find_scheme(p, e);
	for (unsigned i = 0; r == 0 && i < p->record->layer_count; i++) {
		r = push_layer(p, i, e);
		if (r < 0)
			(void)err_wrap(e, "layer %u", i);
	}
	if (r == 0)
		r = push_blob(p, p->record->image.config, e);
	return r == 0 ? push_manifest(p, e) : r;
}

int pusher_main(int argc, char **argv)
{
	static struct pusher p;
	struct report report = {.kind = REPORT_DONE};
	struct reference name;
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	(void)signal(SIGPIPE, SIG_IGN);
	r = push_take_order(&p.order, &p.source, &p.record, &p.documents, p.layer_fds, &e);
	if (r == 0)
		r = jail_fetcher(&e);
	if (r < 0)
		(void)image_class(&e, IMAGE_REASON_OTHER);
	if (r == 0)
		r = reference_parse(p.order.destination, &name, &e);
	if (r == 0)
		r = reference_at(p.source->location, &name, &p.name, &e);
	if (r == 0)
		r = push(&p, &e);
	r = r < 0 ? report_failure(WORKER_SOCK, REPORT_NO_LAYER, &e)
		  : report_send(WORKER_SOCK, &report);
	_exit(r < 0 ? 1 : 0);
}
