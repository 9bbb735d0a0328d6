/* base/http.h - an HTTP/1.1 server whose requests arrive in the loop (libmicrohttpd)
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread of the library moves bytes; a request is handed to the loop when it
 * is whole, and is answered from there, at once or later.  What breaks a limit
 * never reaches the loop: 413 for a body, 431 for headers, 408 for a client
 * that takes longer than 'request_ms' to send a request.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"

struct http_server;
struct http_request;

/* The request is the callee's until it calls http_reply(). */
typedef void http_fn(void *ctx, struct http_request *r);

struct http_options {
	int listen_fd;               /* TCP or unix, listening; ours from now on */
	struct loop *loop;           /* borrowed */
	size_t body_bytes;           /* largest body */
	size_t header_bytes;         /* largest request line and headers together */
	unsigned connections;        /* more are not accepted until one ends */
	unsigned connections_of_one; /* of one address: more are closed; 0: as above */
	int64_t request_ms;          /* a request must be whole in this time */
	uint64_t bytes_per_second;   /* that all get together who are being answered; 0: no limit */
	/*
	 * TLS 1.3: PEM, borrowed as long as the server; NULL: in the clear.  Clients are asked for a
	 * certificate: any, or none, will do; http_peer_key() tells.
	 */
	const char *certificate, *key;
	http_fn *on_request;
	void *ctx;
};

int http_server_start(const struct http_options *o, struct http_server **ret, struct err *e);

/* Requests in the queue and later ones get 503. Those that a callee has must be answered before. */
void http_server_stop(struct http_server *s);

/* Valid until http_reply(). */
const char *http_method(const struct http_request *r);
const char *http_caller(const struct http_request *r); /* its address; "": not of a network */
/* TLS: SHA-256 of the public key that the client has proved to have, as digits; "": none. */
const char *http_peer_key(const struct http_request *r);
const char *http_target(const struct http_request *r); /* raw: path and query as they came */
const char *http_header(const struct http_request *r, const char *name); /* NULL: absent */
const char *http_body(const struct http_request *r, size_t *ret_size);
size_t http_header_count(const struct http_request *r);
void http_header_at(const struct http_request *r, size_t i, const char **ret_name,
		    const char **ret_value);

struct http_field {
	const char *name, *value;
};

/* Answer and let go of the request.  'body' is copied. */
void http_reply(struct http_request *r, unsigned status, const struct http_field *fields,
		size_t field_count, const void *body, size_t size);
/* The same with a part of a file, which is closed when it was sent. */
void http_reply_file(struct http_request *r, unsigned status, const struct http_field *fields,
		     size_t field_count, int own_fd, uint64_t offset, uint64_t size);
