/* base/fetch.c - HTTP requests that go out (libcurl)
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/fetch.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#define RECEIVE_BUFFER (256L << 10)
#define AGENT          "berth/" BERTH_VERSION

struct fetch {
	CURLM *multi;
	struct fetch_transfer *first;
	size_t count;
};

struct fetch_transfer {
	struct fetch *fetch; /* borrowed */
	struct fetch_transfer *next, *prev;
	CURL *easy;
	struct curl_slist *headers;
	char *what; /* "GET http://host/path", for messages */
	char message[CURL_ERROR_SIZE];
	bool (*on_head)(void *ctx, struct fetch_transfer *t);
	bool (*on_data)(void *ctx, struct fetch_transfer *t, const void *data, size_t size);
	void (*on_end)(void *ctx, struct fetch_transfer *t, const struct err *e);
	void *ctx;
};

struct fetch *fetch_new(void)
{
	struct fetch *f = xcalloc(1, sizeof(*f));
	CURLcode r = curl_global_init(CURL_GLOBAL_DEFAULT);

	assert(r == CURLE_OK);
	(void)r;
	f->multi = curl_multi_init();
	assert(f->multi);
	return f;
}

static void transfer_free(struct fetch_transfer *t)
{
	(void)curl_multi_remove_handle(t->fetch->multi, t->easy);
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	if (t->prev)
		t->prev->next = t->next;
	else
		t->fetch->first = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->fetch->count--;
	free(t->what);
	free(t);
}

void fetch_free(struct fetch *f)
{
	if (!f)
		return;
	while (f->first)
		transfer_free(f->first);
	(void)curl_multi_cleanup(f->multi);
	free(f);
}

void fetch_cancel(struct fetch_transfer *t)
{
	transfer_free(t);
}

void fetch_pause(struct fetch_transfer *t)
{
	(void)curl_easy_pause(t->easy, CURLPAUSE_RECV);
}

void fetch_resume(struct fetch_transfer *t)
{
	(void)curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

unsigned fetch_status(const struct fetch_transfer *t)
{
	long status = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return (unsigned)status;
}

int64_t fetch_length(const struct fetch_transfer *t)
{
	curl_off_t length = -1;

	(void)curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	return length;
}

const char *fetch_header(const struct fetch_transfer *t, const char *name, size_t i)
{
	struct curl_header *h;

	return curl_easy_header(t->easy, name, i, CURLH_HEADER, -1, &h) == CURLHE_OK ? h->value
										     : NULL;
}

size_t fetch_count(const struct fetch *f)
{
	return f->count;
}

/* ---- libcurl's callbacks ---- */

/* Line by line; an empty one ends the headers of an answer, which 1xx is not. */
static size_t take_header(char *line, size_t size, size_t count, void *ctx)
{
	struct fetch_transfer *t = ctx;
	size_t len = size * count;

	if (len > 2 || line[0] == ' ' || fetch_status(t) < 200 || !t->on_head)
		return len;
	return t->on_head(t->ctx, t) ? len : 0;
}

static size_t take_data(char *data, size_t size, size_t count, void *ctx)
{
	struct fetch_transfer *t = ctx;
	size_t len = size * count;

	return !t->on_data || t->on_data(t->ctx, t, data, len) ? len : 0;
}

/* ---- starting ---- */

/* Without the query, which may carry somebody's signature. */
static char *describe(const struct fetch_request *r)
{
	const char *method = r->method ? r->method : r->body ? "POST" : "GET";

	return xasprintf("%s %.*s", method, (int)strcspn(r->url, "?#"), r->url);
}

static void set_request(struct fetch_transfer *t, const struct fetch_request *r)
{
	CURL *c = t->easy;

	(void)curl_easy_setopt(c, CURLOPT_URL, r->url);
	(void)curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, r->socket);
	if (r->body) {
		(void)curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_size);
		(void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
	}
	if (r->method && str_eq(r->method, "HEAD"))
		(void)curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	else if (r->method)
		(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);

	t->headers = curl_slist_append(NULL, "Expect:"); /* no waiting for 100 */
	for (size_t i = 0; i < r->header_count; i++)
		t->headers = curl_slist_append(t->headers, r->headers[i]);
	(void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
}

static void set_limits(struct fetch_transfer *t, const struct fetch_request *r)
{
	CURL *c = t->easy;

	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_ms);
	(void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->total_ms);
	if (r->stall_s) {
		(void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT,
				       r->stall_bytes ? (long)r->stall_bytes
						      : (long)FETCH_STALL_BYTES);
		(void)curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)r->stall_s);
	}
}

/* "sha256//" and base64 is how libcurl has it. */
static void pin_key(CURL *c, const char *digits)
{
	unsigned char key[SHA256_SIZE];
	auto_free char *base64 = NULL, *pin = NULL;

	if (!hex_decode(digits, key, sizeof(key)))
		memset(key, 0, sizeof(key)); /* nobody's */
	base64 = base64_encode(key, sizeof(key));
	pin = xasprintf("sha256//%s", base64);
	(void)curl_easy_setopt(c, CURLOPT_PINNEDPUBLICKEY, pin);
}

static void set_security(struct fetch_transfer *t, const struct fetch_request *r)
{
	CURL *c = t->easy;

	(void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
	(void)curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* or each connection reads them all */
	(void)curl_easy_setopt(c, CURLOPT_CAINFO, r->ca_file ? r->ca_file : fetch_system_ca_file());
	(void)curl_easy_setopt(c, CURLOPT_SSLCERT, r->certificate_file);
	(void)curl_easy_setopt(c, CURLOPT_SSLKEY, r->key_file);
	if (r->pinned_key)
		pin_key(c, r->pinned_key);
	if (r->any_certificate || r->pinned_key) {
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
		(void)curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (r->no_proxy)
		(void)curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
}

static void set_plumbing(struct fetch_transfer *t)
{
	CURL *c = t->easy;

	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_USERAGENT, AGENT);
	/* Several downloads are several connections: one lost packet holds up one. */
	(void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->message);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_data);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_PRIVATE, t);
}

int fetch_start(struct fetch *f, const struct fetch_request *r, struct fetch_transfer **ret,
		struct err *e)
{
	struct fetch_transfer *t = xcalloc(1, sizeof(*t));
	CURLMcode code;

	assert(r->url && r->on_end);

	t->fetch = f;
	t->easy = curl_easy_init();
	assert(t->easy);
	t->what = describe(r);
	t->on_head = r->on_head;
	t->on_data = r->on_data;
	t->on_end = r->on_end;
	t->ctx = r->ctx;
	t->next = f->first;
	if (t->next)
		t->next->prev = t;
	f->first = t;
	f->count++;
	set_request(t, r);
	set_limits(t, r);
	set_security(t, r);
	set_plumbing(t);

	code = curl_multi_add_handle(f->multi, t->easy);
	if (code != CURLM_OK) {
		(void)err_set(e, EIO, "%s: %s", t->what, curl_multi_strerror(code));
		transfer_free(t);
		return -e->code;
	}
	*ret = t;
	return 0;
}

/* Debian's libcurl for GnuTLS knows a directory only, which is slow to read, and nothing else. */
const char *fetch_system_ca_file(void)
{
	static const char *const files[] = {
		"/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
		"/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora */
		"/etc/ssl/ca-bundle.pem",             /* SUSE */
		"/etc/ssl/cert.pem",
	};
	const char *named = getenv("SSL_CERT_FILE");

	if (named && *named)
		return named;
	for (size_t i = 0; i < ARRAY_COUNT(files); i++)
		if (access(files[i], R_OK) == 0)
			return files[i];
	return NULL;
}

/* ---- ending ---- */

static const struct {
	CURLcode code;
	int errnum;
} failures[] = {
	{CURLE_COULDNT_RESOLVE_HOST, EHOSTUNREACH},
	{CURLE_COULDNT_RESOLVE_PROXY, EHOSTUNREACH},
	{CURLE_COULDNT_CONNECT, EHOSTUNREACH},
	{CURLE_OPERATION_TIMEDOUT, ETIMEDOUT},
	{CURLE_PEER_FAILED_VERIFICATION, EKEYREJECTED},
	{CURLE_SSL_PINNEDPUBKEYNOTMATCH, EKEYREJECTED},
	{CURLE_SSL_CERTPROBLEM, EKEYREJECTED},
	{CURLE_SSL_CACERT_BADFILE, EKEYREJECTED},
	{CURLE_SSL_CONNECT_ERROR, EPROTO},
	{CURLE_UNSUPPORTED_PROTOCOL, EPROTO}, /* an answer like HTTP/0.9 */
	{CURLE_WEIRD_SERVER_REPLY, EPROTO},
	{CURLE_GOT_NOTHING, ECONNRESET},
	{CURLE_RECV_ERROR, ECONNRESET},
	{CURLE_SEND_ERROR, ECONNRESET},
	{CURLE_PARTIAL_FILE, ECONNRESET},
	{CURLE_WRITE_ERROR, ECANCELED},
};

static int errnum_of(CURLcode code)
{
	for (size_t i = 0; i < ARRAY_COUNT(failures); i++)
		if (failures[i].code == code)
			return failures[i].errnum;
	return EIO;
}

static void end(struct fetch_transfer *t, CURLcode code)
{
	const char *message = t->message[0] ? t->message : curl_easy_strerror(code);
	struct err e = {0};

	if (code != CURLE_OK)
		(void)err_set(&e, errnum_of(code), "%s: %s", t->what, message);
	t->on_end(t->ctx, t, code == CURLE_OK ? NULL : &e);
	transfer_free(t);
}

static void end_finished(struct fetch *f)
{
	struct CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(f->multi, &left))) {
		struct fetch_transfer *t = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
		end(t, m->data.result);
	}
}

static int multi_failed(CURLMcode code, struct err *e)
{
	return err_set(e, EIO, "transfers: %s", curl_multi_strerror(code));
}

int fetch_run(struct fetch *f, struct pollfd *extra, size_t extra_count, int timeout_ms,
	      struct err *e)
{
	struct curl_waitfd wait[FETCH_EXTRA_MAX];
	CURLMcode code;
	int running;

	assert(extra_count <= FETCH_EXTRA_MAX);

	for (size_t i = 0; i < extra_count; i++)
		wait[i] = (struct curl_waitfd){
			.fd = extra[i].fd,
			.events = (short)((extra[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) |
					  (extra[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0))};
	code = curl_multi_poll(f->multi, wait, (unsigned)extra_count, timeout_ms, NULL);
	if (code != CURLM_OK)
		return multi_failed(code, e);
	/* libcurl does not tell of errors and hang-ups. */
	if (extra_count && poll(extra, extra_count, 0) < 0 && errno != EINTR)
		return err_sys(e, "poll");

	code = curl_multi_perform(f->multi, &running);
	if (code != CURLM_OK)
		return multi_failed(code, e);
	end_finished(f);
	return 0;
}

/* ---- nothing but a connection ---- */

static const char *proxy_of_environment(void)
{
	static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (getenv(names[i]))
			return getenv(names[i]);
	return NULL;
}

int fetch_connect(const char *address, unsigned connect_ms, int *ret_fd, struct err *e)
{
	auto_free char *url = xasprintf("http://%s", address);
	char message[CURL_ERROR_SIZE] = "";
	CURL *c = curl_easy_init();
	curl_socket_t fd = -1;
	CURLcode code;
	int r = 0;

	assert(c);
	(void)curl_easy_setopt(c, CURLOPT_URL, url);
	(void)curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L);
	(void)curl_easy_setopt(c, CURLOPT_PROXY, proxy_of_environment());
	(void)curl_easy_setopt(c, CURLOPT_HTTPPROXYTUNNEL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, message);
	code = curl_easy_perform(c);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(c, CURLINFO_ACTIVESOCKET, &fd);
	if (code != CURLE_OK)
		r = err_set(e, errnum_of(code), "%s: %s", address,
			    message[0] ? message : curl_easy_strerror(code));
	else if ((*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
		r = err_sys(e, "connection to %s", address);
	curl_easy_cleanup(c);
	return r;
}
