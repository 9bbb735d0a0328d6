/* base/http.c - an HTTP/1.1 server whose requests arrive in the loop (libmicrohttpd)
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * libmicrohttpd runs one epoll thread a server. When a request is whole, that
 * thread suspends the connection, puts the request into a queue and wakes the
 * loop. The loop answers: the response is attached to the request and the
 * connection resumed, whereupon the thread sends it.
 *
 * 1. A request belongs to the library's thread until it is queued, to the loop
 *    until http_reply(), and to the thread again until it is freed.
 * 2. server.lock guards the queue, the list of connections and 'stopping', which
 *    only the loop writes; nothing else is shared.
 * 3. The library has an idle timeout but no limit on the time that a whole
 *    request may take, so a client could send a byte a second for ever.  Each
 *    connection has a deadline of its own, looked at every second in the loop:
 *    past it the socket gets a 408 and is shut down, and the library sees the
 *    end of the stream.  While a request is with the loop there is no deadline.
 */
#include "base/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/ip.h"
#include "base/mem.h"
#include "base/tls.h"

#define SWEEP_MS    1000
#define HEADERS_MAX 64         /* AWS clients send about fifteen */
#define PIECE_SIZE  (64 << 10) /* of a file: the library's own are of 4 kB */

struct connection {
	struct connection *next, *prev;
	int fd;
	int64_t deadline_ms; /* 0: none */
};

struct http_request {
	struct http_server *server;
	struct MHD_Connection *mhd;
	struct connection *connection; /* borrowed */
	struct http_request *next;     /* in the queue */
	char *method, *target;
	char caller[IP_TEXT_MAX], peer_key[SHA256_HEX];
	struct http_field *headers;
	size_t header_count, header_capacity;
	struct buf body;
	bool refused, handed_over, answered;
	struct MHD_Response *response;
	unsigned status;
};

struct http_server {
	struct http_options o;
	struct MHD_Daemon *mhd;
	struct loop_wake *wake;
	struct loop_timer *sweep;
	bool stopping;
	pthread_mutex_t lock;
	struct http_request *first, **last; /* queue to the loop */
	struct connection connections;      /* ring */
};

/* ---- the library's thread ---- */

/*
 * Who is being answered gets an even share; the kernel keeps to it (SO_MAX_PACING_RATE).
 * With the lock held, when one more or less has no deadline.
 */
static void share_rate(struct http_server *s)
{
	unsigned busy = 0;
	uint64_t rate;

	if (!s->o.bytes_per_second)
		return;
	for (struct connection *c = s->connections.next; c != &s->connections; c = c->next)
		busy += !c->deadline_ms;
	rate = s->o.bytes_per_second / (busy ? busy : 1);
	for (struct connection *c = s->connections.next; c != &s->connections; c = c->next)
		if (!c->deadline_ms)
			(void)setsockopt(c->fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate,
					 sizeof(rate));
}

static void set_deadline(struct http_server *s, struct connection *c, int64_t deadline_ms)
{
	(void)pthread_mutex_lock(&s->lock);
	if (c)
		c->deadline_ms = deadline_ms;
	share_rate(s);
	(void)pthread_mutex_unlock(&s->lock);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **socket_ctx,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http_server *s = cls;
	struct connection *c = *socket_ctx;

	(void)pthread_mutex_lock(&s->lock);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		const union MHD_ConnectionInfo *info =
			MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);

		c = xcalloc(1, sizeof(*c));
		c->fd = info->connect_fd;
		c->deadline_ms = clock_mono_ms() + s->o.request_ms;
		c->next = &s->connections;
		c->prev = s->connections.prev;
		c->prev->next = c->next->prev = c;
		*socket_ctx = c;
	} else if (c) {
		c->prev->next = c->next;
		c->next->prev = c->prev;
		free(c);
		*socket_ctx = NULL;
		share_rate(s);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

static enum MHD_Result add_header(void *cls, enum MHD_ValueKind kind, const char *name,
				  const char *value)
{
	struct http_request *r = cls;

	(void)kind;
	if (r->header_count >= HEADERS_MAX) {
		r->refused = true;
		return MHD_NO;
	}
	r->headers = xgrow(r->headers, r->header_count, &r->header_capacity, sizeof(*r->headers));
	r->headers[r->header_count++] = (struct http_field){xstrdup(name),
							    xstrdup(value ? value : "")};
	return MHD_YES;
}

/* The target as it came, before the library decodes it: signatures cover the raw text. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
	struct http_request *r = xcalloc(1, sizeof(*r));

	r->server = cls;
	r->mhd = mhd;
	r->target = xstrdup(target);
	buf_init(&r->body, r->server->o.body_bytes);
	return r;
}

static enum MHD_Result refuse(struct MHD_Connection *mhd, unsigned status)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(0, (char[]){""},
									MHD_RESPMEM_PERSISTENT);
	enum MHD_Result r;

	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	r = MHD_queue_response(mhd, status, response);
	MHD_destroy_response(response);
	return r;
}

static void read_caller(struct http_request *r)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *addr = info ? info->client_addr : NULL;
	struct sockaddr_storage copy = {0};
	struct ip_prefix address;

	if (!addr || (addr->sa_family != AF_INET && addr->sa_family != AF_INET6))
		return;
	memcpy(&copy, addr,
	       addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
					  : sizeof(struct sockaddr_in6));
	address = ip_of_socket(&copy);
	ip_address_format(&address, r->caller);
}

static void read_peer(struct http_request *r)
{
	const union MHD_ConnectionInfo *info =
		r->server->o.certificate
			? MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)
			: NULL;

	if (info && info->tls_session)
		tls_session_key(info->tls_session, r->peer_key);
}

static enum MHD_Result begin(struct http_request *r, const char *method)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(r->mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const char *length;

	r->method = xstrdup(method);
	read_caller(r);
	read_peer(r);
	r->connection = info ? info->socket_context : NULL;
	(void)MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, add_header, r);
	if (r->refused)
		return refuse(r->mhd, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE);

	length = http_header(r, "Content-Length");
	if (length && strtoull(length, NULL, 10) > r->server->o.body_bytes)
		return refuse(r->mhd, MHD_HTTP_CONTENT_TOO_LARGE);
	return MHD_YES;
}

/* False: the server is stopping, and nobody would look into the queue again. */
static bool hand_over(struct http_request *r)
{
	struct http_server *s = r->server;
	bool stopping;

	(void)pthread_mutex_lock(&s->lock);
	stopping = s->stopping;
	if (!stopping) {
		r->handed_over = true;
		MHD_suspend_connection(r->mhd);
		if (r->connection)
			r->connection->deadline_ms = 0;
		share_rate(s);
		*s->last = r;
		s->last = &r->next;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (!stopping)
		loop_wake_send(s->wake);
	return !stopping;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *mhd, const char *url,
				 const char *method, const char *version, const char *upload,
				 size_t *upload_size, void **ctx)
{
	struct http_request *r = *ctx;

	(void)cls;
	(void)url;
	(void)version;
	if (!r->method)
		return begin(r, method);
	if (*upload_size) {
		buf_add(&r->body, upload, *upload_size);
		*upload_size = 0;
		return MHD_YES;
	}
	if (buf_overflow(&r->body))
		return refuse(mhd, MHD_HTTP_CONTENT_TOO_LARGE);
	if (r->answered)
		return MHD_queue_response(mhd, r->status, r->response);
	if (!r->handed_over && !hand_over(r))
		return refuse(mhd, MHD_HTTP_SERVICE_UNAVAILABLE);
	return MHD_YES;
}

static void free_request(struct http_request *r)
{
	for (size_t i = 0; i < r->header_count; i++) {
		free((char *)(uintptr_t)r->headers[i].name);
		free((char *)(uintptr_t)r->headers[i].value);
	}
	free(r->headers);
	free(r->method);
	free(r->target);
	buf_done(&r->body);
	if (r->response)
		MHD_destroy_response(r->response);
	free(r);
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **ctx,
			 enum MHD_RequestTerminationCode code)
{
	struct http_server *s = cls;
	struct http_request *r = *ctx;

	(void)mhd;
	(void)code;
	if (!r)
		return;
	set_deadline(s, r->connection, clock_mono_ms() + s->o.request_ms);
	free_request(r);
	*ctx = NULL;
}

/* ---- the loop ---- */

static void on_wake(void *ctx)
{
	struct http_server *s = ctx;
	struct http_request *r, *next;

	(void)pthread_mutex_lock(&s->lock);
	r = s->first;
	s->first = NULL;
	s->last = &s->first;
	(void)pthread_mutex_unlock(&s->lock);

	for (; r; r = next) {
		next = r->next;
		if (s->stopping)
			http_reply(r, MHD_HTTP_SERVICE_UNAVAILABLE, NULL, 0, "", 0);
		else
			s->o.on_request(s->o.ctx, r);
	}
}

static void on_sweep(void *ctx)
{
	static const char text[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n"
				   "Content-Length: 0\r\n\r\n";
	struct http_server *s = ctx;
	int64_t now = clock_mono_ms();

	(void)pthread_mutex_lock(&s->lock);
	for (struct connection *c = s->connections.next; c != &s->connections; c = c->next) {
		if (!c->deadline_ms || c->deadline_ms > now)
			continue;
		(void)send(c->fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)shutdown(c->fd, SHUT_RDWR);
		c->deadline_ms = 0;
	}
	(void)pthread_mutex_unlock(&s->lock);
	loop_timer_set(s->sweep, SWEEP_MS);
}

int http_server_start(const struct http_options *o, struct http_server **ret, struct err *e)
{
	struct http_server *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	s->last = &s->first;
	s->connections.next = s->connections.prev = &s->connections;
	(void)pthread_mutex_init(&s->lock, NULL);
	s->wake = loop_wake_new(o->loop, on_wake, s);
	s->sweep = loop_timer_new(o->loop, on_sweep, s);

	const struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->certificate},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->key},
		/* That there is one at all makes the library ask for a client's. */
		{MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)(uintptr_t)o->certificate},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES},
		{MHD_OPTION_END, 0, NULL}};

	s->mhd = MHD_start_daemon(
		MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			(o->certificate ? MHD_USE_TLS : 0),
		0, NULL, NULL, on_access, s, MHD_OPTION_ARRAY,
		o->certificate ? tls : tls + ARRAY_COUNT(tls) - 1, MHD_OPTION_LISTEN_SOCKET,
		o->listen_fd, MHD_OPTION_CONNECTION_MEMORY_LIMIT, o->header_bytes + 2048,
		MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)2048, MHD_OPTION_CONNECTION_LIMIT,
		o->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, o->connections_of_one,
		MHD_OPTION_CONNECTION_TIMEOUT, 120u, MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_END);
	if (!s->mhd) {
		int errnum = errno ? errno : EIO;

		loop_wake_free(s->wake);
		loop_timer_free(s->sweep);
		free(s);
		return err_set(e, errnum, "start HTTP server");
	}
	loop_timer_set(s->sweep, SWEEP_MS);
	*ret = s;
	return 0;
}

void http_server_stop(struct http_server *s)
{
	if (!s)
		return;
	(void)pthread_mutex_lock(&s->lock);
	s->stopping = true;
	(void)pthread_mutex_unlock(&s->lock);
	on_wake(s);
	MHD_stop_daemon(s->mhd);
	loop_wake_free(s->wake);
	loop_timer_free(s->sweep);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *http_method(const struct http_request *r)
{
	return r->method;
}

const char *http_caller(const struct http_request *r)
{
	return r->caller;
}

const char *http_peer_key(const struct http_request *r)
{
	return r->peer_key;
}

const char *http_target(const struct http_request *r)
{
	return r->target;
}

const char *http_body(const struct http_request *r, size_t *ret_size)
{
	*ret_size = r->body.size;
	return buf_str(&r->body);
}

const char *http_header(const struct http_request *r, const char *name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			return r->headers[i].value;
	return NULL;
}

size_t http_header_count(const struct http_request *r)
{
	return r->header_count;
}

void http_header_at(const struct http_request *r, size_t i, const char **ret_name,
		    const char **ret_value)
{
	assert(i < r->header_count);

	*ret_name = r->headers[i].name;
	*ret_value = r->headers[i].value;
}

static void answer(struct http_request *r, unsigned status, const struct http_field *fields,
		   size_t field_count)
{
	for (size_t i = 0; i < field_count; i++)
		(void)MHD_add_response_header(r->response, fields[i].name, fields[i].value);
	r->status = status;
	r->answered = true;
	MHD_resume_connection(r->mhd); /* from here on the request is the thread's */
}

void http_reply(struct http_request *r, unsigned status, const struct http_field *fields,
		size_t field_count, const void *body, size_t size)
{
	assert(!r->answered);

	r->response = MHD_create_response_from_buffer(size, (void *)(uintptr_t)body,
						      MHD_RESPMEM_MUST_COPY);
	answer(r, status, fields, field_count);
}

/* A part of a file that is sent. */
struct part {
	int fd;
	uint64_t offset;
};

/* Context: the library's thread. */
static ssize_t read_part(void *cls, uint64_t at, char *ret, size_t size)
{
	const struct part *p = cls;
	ssize_t n = pread(p->fd, ret, size, (off_t)(p->offset + at));

	return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR; /* it was longer a moment ago */
}

static void close_part(void *cls)
{
	struct part *p = cls;

	close_fd(&p->fd);
	free(p);
}

void http_reply_file(struct http_request *r, unsigned status, const struct http_field *fields,
		     size_t field_count, int own_fd, uint64_t offset, uint64_t size)
{
	struct part *p = xcalloc(1, sizeof(*p));

	assert(!r->answered);

	*p = (struct part){own_fd, offset};
	r->response = MHD_create_response_from_callback(
		size, size < PIECE_SIZE ? size + 1 : PIECE_SIZE, read_part, p, close_part);
	answer(r, status, fields, field_count);
}
