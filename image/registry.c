/* image/registry.c - one repository of one registry, as a client sees it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/registry.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "image/login.h"
#include "image/reason.h"
#include "image/url.h"

#define ERROR_TEXT_MAX 4096 /* read of an answer that is no success */
#define HEADERS_MAX    3

enum get_state {
	GET_DUE,     /* begins a request at .due_ms, unless it is paused */
	GET_RUNNING, /* has a transfer */
	GET_LOGIN,   /* waits for a token */
	GET_ENDED,
};

struct registry_get {
	struct registry *registry; /* borrowed */
	struct registry_get *next;
	struct registry_want want; /* .kind, .id and .accept are ours */
	enum get_state state;
	bool paused;
	int64_t due_ms;

	uint64_t received, skip; /* bytes handed over; of this answer to be passed over */
	uint64_t end;            /* where it ends: .want.size, or before */
	bool in_part;            /* a range with an end was asked for */
	bool has_enough;         /* all was handed over, and more would come */
	bool brought;            /* something was handed over since the last attempt was counted */
	unsigned attempts, breaks, logins, redirects;

	/* The request that is going on, or was last. */
	char *url; /* where redirects have led; NULL: the registry's own */
	struct fetch_transfer *transfer;
	unsigned login_serial; /* the login it carried */
	struct buf error_text;
	char content_type[128], content_digest[DIGEST_SIZE];
	struct err refused; /* why we ended it; code 0: we did not */
};

struct registry {
	struct fetch *fetch; /* borrowed */
	struct reference name;
	const struct source *source; /* borrowed */
	bool others_follow, is_peer;
	const char *const *schemes; /* those left to try, the first in use */
	bool contacted;             /* the registry has answered: its scheme is known */
	struct registry_get *first;

	struct login *login;
};

/* docker.io is a name that people use; the machine that answers is another. */
const char *registry_host(const struct reference *name)
{
	return str_eq(name->host, "docker.io") ? "registry-1.docker.io" : name->host;
}

static char *own_url(const struct registry_get *g)
{
	const struct registry *r = g->registry;

	return xasprintf("%s://%s/v2/%s/%s/%s", r->schemes[0], registry_host(&r->name),
			 r->name.repository, g->want.kind, g->want.id);
}

/* Does the request go to the registry, or where it has redirected us to? */
static bool is_own(const struct registry_get *g)
{
	auto_free char *own = own_url(g);

	return url_same_origin(g->url, own);
}

static bool is_insecure(const struct registry *r)
{
	return r->source->insecure || str_eq(r->schemes[0], "http");
}

/* ---- birth and death ---- */

static void login_ended(void *ctx, const struct err *e, bool again);

struct registry *registry_new(const struct registry_options *o)
{
	static const char *const https[] = {"https", NULL};
	static const char *const http_https[] = {"http", "https", NULL};
	static const char *const https_http[] = {"https", "http", NULL};
	struct registry *r = xcalloc(1, sizeof(*r));
	struct login_options login;

	r->fetch = o->fetch;
	r->name = *o->name;
	r->source = o->source;
	r->others_follow = o->others_follow;
	r->is_peer = o->is_peer;
	r->schemes = host_is_loopback(r->name.host) && !r->source->wants_tls ? http_https
		     : r->source->insecure                                   ? https_http
									     : https;
	login = (struct login_options){
		.fetch = r->fetch,
		.name = &r->name,
		.source = r->source,
		.on_end = login_ended,
		.ctx = r,
	};
	r->login = login_new(&login);
	return r;
}

static void get_free(struct registry_get *g)
{
	if (g->transfer)
		fetch_cancel(g->transfer);
	free((char *)(uintptr_t)g->want.kind);
	free((char *)(uintptr_t)g->want.id);
	free((char *)(uintptr_t)g->want.accept);
	free(g->url);
	buf_done(&g->error_text);
	free(g);
}

void registry_free(struct registry *r)
{
	struct registry_get *g;

	if (!r)
		return;
	while ((g = r->first)) {
		r->first = g->next;
		get_free(g);
	}
	login_free(r->login);
	free(r);
}

struct registry_get *registry_start(struct registry *r, const struct registry_want *want)
{
	struct registry_get *g = xcalloc(1, sizeof(*g));

	g->registry = r;
	g->want = *want;
	g->received = want->begin;
	g->end = want->end ? want->end : want->size;
	g->url = want->url ? xstrdup(want->url) : NULL;
	g->want.kind = xstrdup(want->kind);
	g->want.id = xstrdup(want->id);
	g->want.accept = want->accept ? xstrdup(want->accept) : NULL;
	buf_init(&g->error_text, ERROR_TEXT_MAX);
	g->next = r->first;
	r->first = g;
	return g;
}

void registry_pause(struct registry_get *g)
{
	g->paused = true;
	if (g->transfer)
		fetch_pause(g->transfer);
}

void registry_resume(struct registry_get *g)
{
	g->paused = false;
	if (g->transfer)
		fetch_resume(g->transfer);
}

void registry_end_at(struct registry_get *g, uint64_t end)
{
	assert(end >= g->received && end <= g->want.size);
	g->end = end;
}

void registry_cancel(struct registry_get *g)
{
	if (g->transfer)
		fetch_cancel(take_ptr(g->transfer));
	g->state = GET_ENDED;
}

const char *registry_url(const struct registry_get *g)
{
	return g->url;
}

const char *registry_content_type(const struct registry_get *g)
{
	return g->content_type;
}

const char *registry_content_digest(const struct registry_get *g)
{
	return g->content_digest;
}

/* ---- what comes of a request ---- */

static void end(struct registry_get *g, const struct err *e)
{
	g->state = GET_ENDED;
	g->want.on_end(g->want.ctx, g, e);
}

/* Make the next request at once, from wherever redirects have led. */
static void go_on(struct registry_get *g)
{
	g->state = GET_DUE;
	g->due_ms = 0;
}

/* Begin again with the registry after a pause, unless that has been tried often enough. */
static void try_again(struct registry_get *g, unsigned pause_s, const struct err *e)
{
	uint16_t jitter;
	int64_t pause_ms = REGISTRY_RETRY_MS;

	if (g->received && !g->want.exact) { /* what comes next time may be something else */
		end(g, e);
		return;
	}
	if (g->registry->is_peer || (g->registry->others_follow && !g->brought)) {
		end(g, e);
		return;
	}
	if (g->brought)
		g->attempts = g->logins = 0;
	g->brought = false;
	if (++g->attempts >= REGISTRY_ATTEMPTS || ++g->breaks >= REGISTRY_BREAKS) {
		end(g, e);
		return;
	}

	random_bytes(&jitter, sizeof(jitter));
	pause_ms <<= g->attempts - 1;
	pause_ms += pause_ms * jitter / UINT16_MAX / 2;
	if (pause_s)
		pause_ms = pause_s * 1000LL;
	free(g->url);
	g->url = NULL;
	g->redirects = 0;
	g->state = GET_DUE;
	g->due_ms = clock_mono_ms() + pause_ms;
}

static bool names_port(const char *host)
{
	return strchr(host[0] == '[' ? strchr(host, ']') : host, ':');
}

/*
 * Perhaps the registry does not speak the scheme that was tried first.  Nobody
 * at a port that was named is nobody for the other one, too.
 */
static bool try_other_scheme(struct registry_get *g, int errnum)
{
	struct registry *r = g->registry;

	if (r->contacted || !r->schemes[1] || (errnum == EHOSTUNREACH && names_port(r->name.host)))
		return false;
	r->schemes++;
	free(g->url);
	g->url = NULL;
	go_on(g);
	return true;
}

static void transport_failed(struct registry_get *g, const struct err *failure)
{
	static const struct {
		int errnum;
		enum image_reason reason;
		bool again;
	} failures[] = {
		{EHOSTUNREACH, IMAGE_REASON_UNREACHABLE, true},
		{ETIMEDOUT, IMAGE_REASON_TIMEOUT, true},
		{ECONNRESET, IMAGE_REASON_TRUNCATED, true},
		{EKEYREJECTED, IMAGE_REASON_UNREACHABLE, false},
		{EPROTO, IMAGE_REASON_REGISTRY, false},
	};
	struct err e = *failure;
	bool again = false;

	(void)image_class(&e, IMAGE_REASON_OTHER);
	for (size_t i = 0; i < ARRAY_COUNT(failures); i++) {
		if (failures[i].errnum != failure->code)
			continue;
		(void)image_class(&e, failures[i].reason);
		again = failures[i].again && g->registry->contacted;
	}
	if (try_other_scheme(g, failure->code))
		return;
	if (again)
		try_again(g, 0, &e);
	else
		end(g, &e);
}

/* ---- what the registry says about an error ---- */

struct error_json {
	char *code, *message;
};
static const struct js_field error_fields[] = {
	{"code", JS_STRING, offsetof(struct error_json, code), 0, NULL},
	{"message", JS_STRING, offsetof(struct error_json, message), 0, NULL},
};
static const struct js_shape error_shape = JS_SHAPE("error", struct error_json, error_fields);

static const struct js_field errors_fields[] = {{"errors", JS_OBJECTS, 0, 0, &error_shape}};
static const struct js_shape errors_shape = JS_SHAPE("errors", struct js_list, errors_fields);

/* " (NAME_UNKNOWN: repository name not known)", or "".  Others than the registry are not quoted. */
static void quote_error(const struct registry_get *g, char ret[160])
{
	auto_arena struct arena a = {NULL};
	struct js_list errors;
	struct err ignored;
	const struct error_json *first;

	ret[0] = '\0';
	if (!is_own(g) ||
	    js_decode_text(buf_str(&g->error_text), g->error_text.size, &errors_shape, &a, &errors,
			   &ignored) < 0 ||
	    errors.count == 0)
		return;
	first = errors.items;
	(void)snprintf(ret, 160, " (%.40s: %.100s)", first->code ? first->code : "error",
		       first->message ? first->message : "no message");
}

static void end_refused(struct registry_get *g, enum image_reason reason, const char *what)
{
	char quote[160];
	struct err e = {0};

	quote_error(g, quote);
	(void)image_fail(&e, reason, "%s%s", what, quote);
	end(g, &e);
}

/* ---- login ---- */

static void login_ended(void *ctx, const struct err *e, bool again)
{
	struct registry *r = ctx;

	for (struct registry_get *g = r->first; g; g = g->next) {
		if (g->state != GET_LOGIN)
			continue;
		if (!e) {
			go_on(g);
		} else if (again) {
			g->logins--; /* that was none */
			try_again(g, 0, e);
		} else {
			end(g, e);
		}
	}
}

static void deny(struct registry_get *g)
{
	end_refused(
		g, IMAGE_REASON_UNAUTHORIZED,
		login_is_anonymous(g->registry->login)
			? "access denied: credentials are needed, or it does not exist"
			: "access denied: the credentials are not enough, or it does not exist");
}

/* 401.  Only the registry itself may ask for a login: not whom it has redirected us to. */
static void log_in(struct registry_get *g, const struct fetch_transfer *transfer)
{
	struct registry *r = g->registry;
	struct err e = {0};
	int result;

	if (!is_own(g)) {
		end_refused(g, IMAGE_REASON_UNAUTHORIZED,
			    "access denied where it was redirected to");
		return;
	}
	if (g->login_serial != login_serial(r->login)) { /* there is a newer one already */
		go_on(g);
		return;
	}
	if (g->logins++ == REGISTRY_LOGINS) {
		deny(g);
		return;
	}
	result = login_answer(r->login, transfer, is_insecure(r), &e);
	if (result == LOGIN_UNDER_WAY)
		g->state = GET_LOGIN;
	else if (result == LOGIN_HOPELESS)
		deny(g);
	else if (result < 0)
		end(g, &e);
	else
		go_on(g);
}

/* ---- answers ---- */

static void follow(struct registry_get *g, const struct fetch_transfer *transfer)
{
	const char *location = fetch_header(transfer, "Location", 0);
	char *to;
	struct err e = {0};

	if (!location) {
		(void)image_fail(&e, IMAGE_REASON_REGISTRY, "redirected to nowhere");
		end(g, &e);
	} else if (g->redirects++ == REGISTRY_REDIRECTS) {
		(void)image_fail(&e, IMAGE_REASON_REGISTRY, "redirected more than %d times",
				 REGISTRY_REDIRECTS);
		end(g, &e);
	} else if (url_redirect(g->url, location, &to, &e) < 0) {
		end(g, &e);
	} else {
		free(g->url);
		g->url = to;
		go_on(g);
	}
}

static void end_unexpected(struct registry_get *g, unsigned status)
{
	char what[64];

	(void)snprintf(what, sizeof(what), "the %s answered %u",
		       g->registry->is_peer ? "node" : "registry", status);
	end_refused(g, IMAGE_REASON_REGISTRY, what);
}

static void try_again_later(struct registry_get *g, const struct fetch_transfer *transfer)
{
	const char *after = fetch_header(transfer, "Retry-After", 0);
	unsigned status = fetch_status(transfer);
	uint32_t pause_s = 0;
	struct err e = {0};

	if (after && !parse_u32(after, UINT32_MAX, &pause_s))
		pause_s = 0; /* a date: our own pause will do */
	if (pause_s > REGISTRY_RETRY_S_MAX)
		pause_s = REGISTRY_RETRY_S_MAX;
	if (status == 429)
		(void)image_fail(&e, IMAGE_REASON_REGISTRY, "too many requests (429)");
	else
		(void)image_fail(&e, IMAGE_REASON_REGISTRY, "the registry answered %u", status);
	try_again(g, pause_s, &e);
}

static void succeeded(struct registry_get *g)
{
	struct err e = {0};

	if (!g->want.exact || g->received == g->end) {
		end(g, NULL);
		return;
	}
	(void)image_fail(&e, IMAGE_REASON_TRUNCATED, "%llu bytes came instead of %llu",
			 (unsigned long long)g->received, (unsigned long long)g->end);
	try_again(g, 0, &e);
}

/* The other scheme's port says so in words: Go, nginx. */
static bool wants_https(const struct registry_get *g, unsigned status)
{
	return status == 400 && !url_is_https(g->url) && strstr(buf_str(&g->error_text), "HTTPS");
}

static void answered(struct registry_get *g, const struct fetch_transfer *transfer)
{
	unsigned status = fetch_status(transfer);

	if (wants_https(g, status) && try_other_scheme(g, EPROTO))
		return;
	g->registry->contacted = true;
	if (status == 200 || status == 206)
		succeeded(g);
	else if (g->registry->is_peer)
		end_unexpected(g, status);
	else if (status == 401)
		log_in(g, transfer);
	else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
		follow(g, transfer);
	else if (status_is_passing(status))
		try_again_later(g, transfer);
	else if (status == 403)
		end_refused(g, IMAGE_REASON_UNAUTHORIZED, "access denied");
	else if (status == 404)
		end_refused(g, IMAGE_REASON_NOT_FOUND, "not found");
	else
		end_unexpected(g, status);
}

static void transfer_ended(void *ctx, struct fetch_transfer *t, const struct err *failure)
{
	struct registry_get *g = ctx;

	g->transfer = NULL;
	if (g->refused.code)
		end(g, &g->refused);
	else if (g->has_enough && g->received == g->end)
		end(g, NULL);
	else if (g->has_enough) /* more is wanted again */
		go_on(g);
	else if (failure)
		transport_failed(g, failure);
	else
		answered(g, t);
}

/* ---- bytes ---- */

/* "bytes 100-199/200": does it begin behind what we have, and end with what was asked for? */
static bool range_fits(const struct registry_get *g, const char *range)
{
	unsigned long long first, last, whole;
	int n = 0;

	return range && sscanf(range, "bytes %llu-%llu/%llu%n", &first, &last, &whole, &n) == 3 &&
	       !range[n] && first == g->received && last + 1 == (g->in_part ? g->end : whole) &&
	       (g->want.exact ? whole == g->want.size : whole <= g->want.size);
}

static bool check_length(struct registry_get *g, int64_t length)
{
	unsigned long long want = g->want.size;

	if (length < 0 && !g->registry->is_peer)
		return true;
	if (length < 0)
		(void)image_fail(&g->refused, IMAGE_REASON_REGISTRY, "it does not say how much");
	else if ((uint64_t)length > want)
		(void)image_fail(
			&g->refused,
			g->want.exact ? IMAGE_REASON_DIGEST_MISMATCH : IMAGE_REASON_TOO_LARGE,
			g->want.exact ? "the registry has %lld bytes, the manifest says %llu"
				      : "%lld bytes, the limit is %llu",
			(long long)length, want);
	else if ((uint64_t)length < want && g->want.exact)
		(void)image_fail(&g->refused, IMAGE_REASON_TRUNCATED,
				 "the registry has %lld bytes, the manifest says %llu",
				 (long long)length, want);
	return !g->refused.code;
}

static void keep_header(const struct fetch_transfer *t, const char *name, char *ret, size_t size)
{
	const char *value = fetch_header(t, name, 0);

	(void)snprintf(ret, size, "%s", value && strlen(value) < size ? value : "");
}

static bool take_head(void *ctx, struct fetch_transfer *t)
{
	struct registry_get *g = ctx;
	unsigned status = fetch_status(t);

	if (status != 400) /* which the other scheme's port may say */
		g->registry->contacted = true;
	if (status == 206 && !range_fits(g, fetch_header(t, "Content-Range", 0))) {
		(void)image_fail(&g->refused, IMAGE_REASON_REGISTRY,
				 "the registry sends another range than was asked for");
		return false;
	}
	if (status == 200 && g->want.end) {
		(void)image_fail(&g->refused, IMAGE_REASON_REGISTRY,
				 "the registry sends all instead of a part");
		return false;
	}
	g->in_part &= status == 206;
	g->skip = status == 200 ? g->received : 0;
	keep_header(t, "Content-Type", g->content_type, sizeof(g->content_type));
	keep_header(t, "Docker-Content-Digest", g->content_digest, sizeof(g->content_digest));
	return status != 200 || check_length(g, fetch_length(t));
}

static bool hand_over(struct registry_get *g, const char *data, size_t size)
{
	size_t skip = g->skip < size ? (size_t)g->skip : size;

	g->skip -= skip;
	data += skip;
	size -= skip;
	if (size == 0)
		return true;
	if (g->end < g->want.size && size >= g->end - g->received && !g->in_part) {
		size = (size_t)(g->end - g->received);
		g->has_enough = true;
	}
	if (size > g->end - g->received) {
		(void)image_fail(&g->refused,
				 g->want.exact ? IMAGE_REASON_DIGEST_MISMATCH
					       : IMAGE_REASON_TOO_LARGE,
				 "more than %llu bytes", (unsigned long long)g->want.size);
		return false;
	}
	g->received += size;
	g->brought = true;
	if (g->want.on_data(g->want.ctx, g, data, size))
		return !g->has_enough;
	(void)err_set(&g->refused, ECANCELED, "not wanted any more");
	return false;
}

static bool take_data(void *ctx, struct fetch_transfer *t, const void *data, size_t size)
{
	struct registry_get *g = ctx;
	unsigned status = fetch_status(t);

	if (status == 200 || status == 206)
		return hand_over(g, data, size);
	buf_add(&g->error_text, data,
		size < ERROR_TEXT_MAX - g->error_text.size ? size
							   : ERROR_TEXT_MAX - g->error_text.size);
	return true;
}

/* ---- requests ---- */

static const char *or_null(const char *text)
{
	return *text ? text : NULL;
}

static char *range_header(const struct registry_get *g)
{
	const unsigned long long begin = g->received, end = g->end;

	if (g->in_part)
		return xasprintf("Range: bytes=%llu-%llu", begin, end - 1);
	return begin ? xasprintf("Range: bytes=%llu-", begin) : NULL;
}

/* Our certificate is for the registry, not for whom it redirects us to. */
static void set_trust(const struct registry_get *g, struct fetch_request *request)
{
	const struct source *s = g->registry->source;

	request->any_certificate = s->insecure;
	request->pinned_key = or_null(s->peer_key);
	request->ca_file = or_null(s->ca_file);
	if (!is_own(g))
		return;
	request->certificate_file = or_null(s->certificate_file);
	request->key_file = or_null(s->key_file);
}

static void begin_request(struct registry_get *g)
{
	struct registry *r = g->registry;
	auto_free char *range = NULL;
	const char *headers[HEADERS_MAX];
	struct fetch_request request = {
		.headers = headers,
		.connect_ms = REGISTRY_CONNECT_MS,
		.stall_s = REGISTRY_STALL_S,
		.total_ms = REGISTRY_TOTAL_MS,
		.on_head = take_head,
		.on_data = take_data,
		.on_end = transfer_ended,
		.ctx = g,
	};
	struct err e = {0};

	if (!g->url)
		g->url = own_url(g);
	if (g->want.accept)
		headers[request.header_count++] = g->want.accept;
	if (login_header(r->login) && is_own(g))
		headers[request.header_count++] = login_header(r->login);
	g->has_enough = false;
	g->in_part = g->end < g->want.size || g->want.end;
	if ((range = range_header(g)))
		headers[request.header_count++] = range;
	set_trust(g, &request);
	request.url = g->url;
	request.no_proxy = url_is_loopback(g->url) || r->is_peer;
	if (g->want.total_ms)
		request.total_ms = g->want.total_ms;
	if (r->is_peer) {
		request.connect_ms = PEER_CONNECT_MS;
		request.stall_s = PEER_STALL_S;
		request.stall_bytes = PEER_STALL_BYTES;
	}
	g->login_serial = login_serial(r->login);
	buf_reset(&g->error_text);
	g->state = GET_RUNNING;
	if (fetch_start(r->fetch, &request, &g->transfer, &e) < 0)
		end(g, &e);
}

/* Begin what is due; how long until something else is, at most 'timeout_ms'. */
static int begin_due(struct registry *r, int timeout_ms)
{
	int64_t now_ms = clock_mono_ms();

	for (struct registry_get *g = r->first; g; g = g->next) {
		if (g->state != GET_DUE || g->paused)
			continue;
		if (g->due_ms <= now_ms)
			begin_request(g);
		else if (g->due_ms - now_ms < timeout_ms)
			timeout_ms = (int)(g->due_ms - now_ms);
	}
	return timeout_ms;
}

static void free_ended(struct registry *r)
{
	for (struct registry_get **p = &r->first, *g; (g = *p);) {
		if (g->state == GET_ENDED) {
			*p = g->next;
			get_free(g);
		} else {
			p = &g->next;
		}
	}
}

int registry_run(struct registry *const *list, size_t count, struct pollfd *extra,
		 size_t extra_count, int timeout_ms, struct err *e)
{
	int result;

	for (size_t i = 0; i < count; i++)
		timeout_ms = begin_due(list[i], timeout_ms);
	result = fetch_run(list[0]->fetch, extra, extra_count, timeout_ms, e);
	for (size_t i = 0; i < count; i++)
		free_ended(list[i]);
	return result;
}
