/* base/tls.c - TLS 1.3 on a socket, both sides known by certificates of one authority (GnuTLS)
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"

#define RECORD_MAX 16384
#define CHAIN_MAX  2 /* the peer's certificate, its authority's */

struct tls_credentials {
	gnutls_certificate_credentials_t certificates;
	gnutls_priority_t priorities;
	unsigned char authority[SHA256_SIZE];
	bool server;
};

struct tls {
	const struct tls_credentials *credentials;
	gnutls_session_t session;
	bool writing; /* a record waits: it goes before anything else */
	bool known;   /* the peer has a certificate */
	bool alerted; /* it said why it ended */
	struct tls_peer peer;
};

/* ---- credentials ---- */

static int open_certificates(const struct tls_options *o, struct tls_credentials *c)
{
	gnutls_datum_t certificate, key;
	int r = gnutls_certificate_allocate_credentials(&c->certificates);

	if (r < 0 || !o->certificate)
		return r;
	certificate = (gnutls_datum_t){(unsigned char *)(uintptr_t)o->certificate,
				       (unsigned)strlen(o->certificate)};
	key = (gnutls_datum_t){(unsigned char *)(uintptr_t)o->key, (unsigned)strlen(o->key)};
	r = gnutls_certificate_set_x509_key_mem2(c->certificates, &certificate, &key,
						 GNUTLS_X509_FMT_PEM, NULL, 0);
	return r < 0 ? r : 0;
}

int tls_credentials_open(const struct tls_options *o, struct tls_credentials **ret, struct err *e)
{
	struct tls_credentials *c = xcalloc(1, sizeof(*c));
	int r;

	c->server = o->server;
	if (!hex_decode(o->authority, c->authority, sizeof(c->authority))) {
		tls_credentials_free(c);
		return err_set(e, EINVAL, "'%.70s' is not the SHA-256 of an authority",
			       o->authority);
	}
	r = open_certificates(o, c);
	if (r == 0)
		r = gnutls_priority_init(&c->priorities, TLS_PRIORITIES, NULL);
	if (r < 0) {
		tls_credentials_free(c);
		return err_set(e, EBADMSG, "TLS: %s", gnutls_strerror(r));
	}
	*ret = c;
	return 0;
}

void tls_credentials_free(struct tls_credentials *c)
{
	if (!c)
		return;
	if (c->certificates)
		gnutls_certificate_free_credentials(c->certificates);
	if (c->priorities)
		gnutls_priority_deinit(c->priorities);
	free(c);
}

/* ---- who the peer is ---- */

struct chain {
	gnutls_x509_crt_t items[CHAIN_MAX];
	unsigned count;
};

static void chain_done(struct chain *c)
{
	for (unsigned i = 0; i < c->count; i++)
		gnutls_x509_crt_deinit(c->items[i]);
}

static int read_chain(const gnutls_datum_t *peers, unsigned count, struct chain *ret)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < count; i++) {
		r = gnutls_x509_crt_init(&ret->items[i]);
		if (r == 0) {
			ret->count++;
			r = gnutls_x509_crt_import(ret->items[i], &peers[i], GNUTLS_X509_FMT_DER);
		}
	}
	return r;
}

static bool is_authority(const struct tls *t, gnutls_x509_crt_t crt)
{
	unsigned char digest[SHA256_SIZE];
	size_t size = sizeof(digest);

	return gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest, &size) == 0 &&
	       memcmp(digest, t->credentials->authority, sizeof(digest)) == 0;
}

/*
 * Signed by the authority, for what the peer is now.  A node without a clock
 * must find its server: so time is judged by the server alone.
 */
static int check_chain(const struct tls *t, const struct chain *c, struct err *e)
{
	bool server = t->credentials->server;
	const char *purpose = server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
	gnutls_typed_vdata_st data[] = {
		{.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)(uintptr_t)purpose}};
	gnutls_x509_trust_list_t list;
	unsigned status = 0;
	int r = gnutls_x509_trust_list_init(&list, 1);

	if (r == 0)
		r = gnutls_x509_trust_list_add_cas(list, &c->items[c->count - 1], 1, 0) == 1 ? 0
											     : -1;
	if (r == 0)
		r = gnutls_x509_trust_list_verify_crt2(
			list, (gnutls_x509_crt_t *)(uintptr_t)c->items, 1, data, ARRAY_COUNT(data),
			server ? 0 : GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status, NULL);
	gnutls_x509_trust_list_deinit(list, 0);
	if (r < 0)
		return err_set(e, EBADMSG, "the other side's certificate: %s", gnutls_strerror(r));
	if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED))
		return err_set(e, EKEYEXPIRED, "the other side's certificate is not of this time");
	if (status)
		return err_set(e, EKEYREJECTED,
			       "the other side's certificate is not one of the authority for a %s",
			       server ? "node" : "server");
	return 0;
}

static int note_peer(struct tls *t, gnutls_x509_crt_t crt, struct err *e)
{
	unsigned char id[SHA256_SIZE];
	size_t name_size = sizeof(t->peer.name), id_size = sizeof(id);

	if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, t->peer.name,
					  &name_size) < 0 ||
	    gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, id, &id_size) < 0)
		return err_set(e, EBADMSG, "the other side's certificate names nobody");
	hex_encode(id, sizeof(id), t->peer.key);
	t->peer.until_ms = (int64_t)gnutls_x509_crt_get_expiration_time(crt) * 1000;
	if (!t->credentials->server && strcmp(t->peer.name, TLS_SERVER_NAME) != 0)
		return err_set(e, EKEYREJECTED, "the other side is %s, not the server",
			       t->peer.name);
	t->known = true;
	return 0;
}

static int check_peer(struct tls *t, struct err *e)
{
	unsigned count = 0;
	const gnutls_datum_t *peers = gnutls_certificate_get_peers(t->session, &count);
	struct chain chain = {.count = 0};
	int r = 0;

	if (!peers || !count)
		return t->credentials->server
			       ? 0
			       : err_set(e, EKEYREJECTED, "the server shows no certificate");
	if (count != CHAIN_MAX)
		return err_set(e, EKEYREJECTED, "the other side shows %u certificates, not %d",
			       count, CHAIN_MAX);
	if (read_chain(peers, count, &chain) < 0)
		r = err_set(e, EBADMSG, "the other side's certificates cannot be read");
	else if (!is_authority(t, chain.items[1]))
		r = err_set(e, EKEYREJECTED,
			    "the other side belongs to another authority than ours");
	if (r == 0 && (r = check_chain(t, &chain, e)) == 0)
		r = note_peer(t, chain.items[0], e);
	chain_done(&chain);
	if (r < 0)
		(void)gnutls_alert_send(t->session, GNUTLS_AL_FATAL,
					r == -EKEYEXPIRED ? GNUTLS_A_CERTIFICATE_EXPIRED
							  : GNUTLS_A_BAD_CERTIFICATE);
	return r;
}

/* ---- a session ---- */

/* No tickets: a connection lasts for days. */
struct tls *tls_new(const struct tls_credentials *c, int fd)
{
	struct tls *t = xcalloc(1, sizeof(*t));

	t->credentials = c;
	if (gnutls_init(&t->session, (c->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
					     GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) < 0)
		abort(); /* memory only */
	(void)gnutls_priority_set(t->session, c->priorities);
	(void)gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, c->certificates);
	if (c->server)
		gnutls_certificate_server_set_request(t->session, GNUTLS_CERT_REQUEST);
	gnutls_handshake_set_timeout(t->session, 0); /* whoever polls knows how long */
	gnutls_transport_set_int(t->session, fd);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	gnutls_deinit(t->session);
	free(t);
}

int tls_handshake(struct tls *t, struct err *e)
{
	int r;

	do
		r = gnutls_handshake(t->session);
	while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
	if (r == GNUTLS_E_AGAIN)
		return TLS_AGAIN;
	if (r < 0)
		return err_set(e, EPROTO, "TLS: %s",
			       r == GNUTLS_E_FATAL_ALERT_RECEIVED
				       ? gnutls_alert_get_name(gnutls_alert_get(t->session))
				       : gnutls_strerror(r));
	return check_peer(t, e);
}

bool tls_wants_write(const struct tls *t)
{
	return gnutls_record_get_direction(t->session) == 1;
}

static ssize_t result_of(ssize_t r)
{
	if (r >= 0)
		return r;
	if (r == GNUTLS_E_AGAIN || r == GNUTLS_E_INTERRUPTED)
		return -EAGAIN;
	return r == GNUTLS_E_PREMATURE_TERMINATION ? -ECONNRESET : -EPROTO;
}

ssize_t tls_read(struct tls *t, void *ret, size_t size)
{
	ssize_t r;

	do
		r = gnutls_record_recv(t->session, ret, size);
	while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)r));
	t->alerted = r == GNUTLS_E_FATAL_ALERT_RECEIVED;
	return result_of(r);
}

ssize_t tls_write(struct tls *t, const void *data, size_t size)
{
	ssize_t r = t->writing ? gnutls_record_send(t->session, NULL, 0)
			       : gnutls_record_send(t->session, data,
						    size < RECORD_MAX ? size : RECORD_MAX);

	r = result_of(r);
	t->writing = r == -EAGAIN;
	return r;
}

const char *tls_alert(const struct tls *t)
{
	return t->alerted ? gnutls_alert_get_name(gnutls_alert_get(t->session)) : NULL;
}

bool tls_has_more(const struct tls *t)
{
	return gnutls_record_check_pending(t->session) > 0;
}

const struct tls_peer *tls_peer(const struct tls *t)
{
	return t->known ? &t->peer : NULL;
}

void tls_session_key(void *gnutls_session, char ret[SHA256_HEX])
{
	unsigned count = 0;
	const gnutls_datum_t *peers = gnutls_certificate_get_peers(gnutls_session, &count);
	unsigned char id[SHA256_SIZE];
	size_t size = sizeof(id);
	gnutls_x509_crt_t crt;

	ret[0] = '\0';
	if (!peers || !count || gnutls_x509_crt_init(&crt) < 0)
		return;
	if (gnutls_x509_crt_import(crt, &peers[0], GNUTLS_X509_FMT_DER) == 0 &&
	    gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, id, &size) == 0)
		hex_encode(id, sizeof(id), ret);
	gnutls_x509_crt_deinit(crt);
}
