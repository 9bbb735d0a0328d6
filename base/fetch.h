/* base/fetch.h - HTTP requests that go out (libcurl)
 * SPDX-License-Identifier: Apache-2.0
 *
 * One 'struct fetch' runs any number of transfers, each with callbacks, inside
 * fetch_run(); there are no threads of ours.  Redirects are answers like any
 * other: who follows one decides what it may carry along.  Proxies come from
 * the environment (http_proxy, https_proxy, no_proxy).
 *
 * libcurl brings some thirty shared objects and parses what strangers send:
 * only short-lived processes of few rights use this file.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct fetch;
struct fetch_transfer;

struct fetch *fetch_new(void);
/* Transfers that are going on end without a word.  NULL is fine. */
void fetch_free(struct fetch *f);

struct fetch_request {
	const char *method; /* NULL: GET, or POST when there is a body */
	const char *url;    /* http or https; never with a user in it */
	const char
		*socket; /* path of a unix socket to talk to instead of the URL's host, or NULL */

	const char *const *headers; /* "Name: value" */
	size_t header_count;
	const void *body; /* borrowed until on_end */
	size_t body_size;

	/* 0: no limit */
	unsigned connect_ms;
	unsigned stall_s; /* slower than stall_bytes a second for so long; pauses do not count */
	unsigned stall_bytes; /* 0: FETCH_STALL_BYTES */
	unsigned total_ms;

	const char *ca_file;                     /* NULL: the system's */
	const char *certificate_file, *key_file; /* ours, PEM; NULL: none */
	bool any_certificate;
	const char
		*pinned_key; /* NULL, or SHA-256 of the public key (digits) that the other side must
				   have: no certificate counts beside it */
	bool no_proxy;

	/*
	 * What happens, in this order.  on_head: status and headers are there.
	 * on_data: some of the body; may call fetch_pause().  Both may be NULL;
	 * false ends the transfer.  on_end: exactly once, unless it is cancelled;
	 * 'e' is NULL when the whole answer came.  The transfer lives until
	 * on_end returns; on_end may start others.
	 */
	bool (*on_head)(void *ctx, struct fetch_transfer *t);
	bool (*on_data)(void *ctx, struct fetch_transfer *t, const void *data, size_t size);
	void (*on_end)(void *ctx, struct fetch_transfer *t, const struct err *e);
	void *ctx;
};

#define FETCH_STALL_BYTES 1024

/*
 * Codes of on_end's err, told apart because callers do different things then:
 *
 *   EHOSTUNREACH  no address, no connection
 *   ETIMEDOUT     one of the limits above
 *   EKEYREJECTED  the certificate is not trusted, or ours cannot be used
 *   EPROTO        the other side speaks something else (no TLS, no HTTP)
 *   ECONNRESET    the connection ended before the answer did
 *   ECANCELED     a callback said false
 *   EIO           anything else
 */

/* Strings of the request are copied, the body is not. */
int fetch_start(struct fetch *f, const struct fetch_request *r, struct fetch_transfer **ret,
		struct err *e);
/* No callback comes any more.  Not from on_head and on_data: return false there. */
void fetch_cancel(struct fetch_transfer *t);

/* Hold the body back, and let it come again. */
void fetch_pause(struct fetch_transfer *t);
void fetch_resume(struct fetch_transfer *t);

/* From on_head on. */
unsigned fetch_status(const struct fetch_transfer *t);
int64_t fetch_length(const struct fetch_transfer *t); /* Content-Length; -1: not told */
/* The i-th header of that name, or NULL; valid until the next call for this transfer. */
const char *fetch_header(const struct fetch_transfer *t, const char *name, size_t i);

/*
 * A connection to "HOST:PORT", "[ADDRESS]:PORT", through the proxy of the environment
 * (https_proxy, all_proxy; no_proxy) where there is one.  Blocks.  *ret_fd is the
 * caller's and does not block.  Codes as of on_end.
 */
int fetch_connect(const char *address, unsigned connect_ms, int *ret_fd, struct err *e);

/*
 * The file of the certificates that this system trusts: $SSL_CERT_FILE, or where
 * distributions have it; NULL: there is none, and so no certificate is trusted.
 */
const char *fetch_system_ca_file(void);

/* How many transfers are going on. */
size_t fetch_count(const struct fetch *f);

/*
 * Wait until there is something to do, or one of 'extra' is ready (its revents
 * are set), or 'timeout_ms' have passed; then do it, which runs the callbacks.
 */
#define FETCH_EXTRA_MAX 300
int fetch_run(struct fetch *f, struct pollfd *extra, size_t extra_count, int timeout_ms,
	      struct err *e);
