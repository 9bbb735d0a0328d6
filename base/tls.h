/* base/tls.h - TLS 1.3 on a socket, both sides known by certificates of one authority (GnuTLS)
 * SPDX-License-Identifier: Apache-2.0
 *
 * An authority is known by the SHA-256 of its certificate, and by nothing of
 * the system's.  Names of hosts and addresses mean nothing here: a server is
 * who has a certificate for TLS_SERVER_NAME.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/hash.h"

#define TLS_SERVER_NAME "berth-server"
#define TLS_NAME_MAX    64

/* Of GnuTLS, for whoever lets another library use it: nothing before TLS 1.3. */
#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3"

/* Outcome of tls_handshake(): wait until the socket is ready for tls_wants_write(). */
enum { TLS_AGAIN = 1 };

struct tls_credentials;

struct tls_options {
	bool server;
	const char *authority;   /* fingerprint: 64 digits (cert_fingerprint) */
	const char *certificate; /* PEM, with the authority's behind it; NULL: a client without */
	const char *key;         /* PEM */
};

/* Nothing is borrowed.  Sessions of the credentials must end before them. */
int tls_credentials_open(const struct tls_options *o, struct tls_credentials **ret, struct err *e);
void tls_credentials_free(struct tls_credentials *c); /* NULL is fine */

/* ---- a session ---- */

struct tls;

/* Whom the other side's certificate is for. */
struct tls_peer {
	char name[TLS_NAME_MAX + 1]; /* its common name */
	char key[SHA256_HEX];        /* SHA-256 of its public key */
	int64_t until_ms;            /* wall clock: when it expires */
};

/* On a connected socket that does not block; borrowed. */
struct tls *tls_new(const struct tls_credentials *c, int fd);
void tls_free(struct tls *t); /* NULL is fine */

/*
 * 0: the other side is who it must be; TLS_AGAIN.  A server lets clients
 * without a certificate pass: tls_peer() is NULL then.
 */
int tls_handshake(struct tls *t, struct err *e);
bool tls_wants_write(const struct tls *t); /* of a handshake that goes on */

/* As read(2) and write(2), with -errno: -EAGAIN; 0: the other side has ended. */
ssize_t tls_read(struct tls *t, void *ret, size_t size);
ssize_t tls_write(struct tls *t, const void *data, size_t size);
/* Bytes that tls_read() would give though the socket has none. */
bool tls_has_more(const struct tls *t);

/* Why the other side ended the session, when tls_read() failed and it said so; else NULL. */
const char *tls_alert(const struct tls *t);

/* From the handshake on; NULL: it has no certificate. */
const struct tls_peer *tls_peer(const struct tls *t);

/*
 * Of a session of GnuTLS that another library has: SHA-256 of the public key that the other
 * side has proved to have, as digits; "": it showed no certificate.
 */
void tls_session_key(void *gnutls_session, char ret[SHA256_HEX]);
