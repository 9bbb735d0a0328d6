/* base/cert.c - private keys, certificates, and an authority that signs them (GnuTLS)
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/cert.h"

#include <errno.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"

#define DAY_S           (24 * 3600)
#define AUTHORITY_YEARS 30
#define SERIAL_BYTES    16

struct cert_authority {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	char *pem; /* of the certificate */
};

AUTO_DEFINE(auto_key_, gnutls_x509_privkey_t, gnutls_x509_privkey_deinit)
AUTO_DEFINE(auto_crt_, gnutls_x509_crt_t, gnutls_x509_crt_deinit)
AUTO_DEFINE(auto_crq_, gnutls_x509_crq_t, gnutls_x509_crq_deinit)
#define auto_key auto_call(auto_key_)
#define auto_crt auto_call(auto_crt_)
#define auto_crq auto_call(auto_crq_)

static int fail(int code, const char *what, struct err *e)
{
	return err_set(e, code == GNUTLS_E_MEMORY_ERROR ? ENOMEM : EBADMSG, "%s: %s", what,
		       gnutls_strerror(code));
}

static gnutls_datum_t datum(const char *text)
{
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)};
}

static char *take_text(gnutls_datum_t *own_data)
{
	char *text = xstrndup((char *)own_data->data, own_data->size);

	gnutls_memset(own_data->data, 0, own_data->size);
	gnutls_free(own_data->data);
	return text;
}

/* ---- keys and requests ---- */

static int new_key(gnutls_x509_privkey_t *ret, struct err *e)
{
	auto_key gnutls_x509_privkey_t key = NULL;
	int r = gnutls_x509_privkey_init(&key);

	if (r == 0)
		r = gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (r < 0)
		return fail(r, "make a key", e);
	*ret = take_ptr(key);
	return 0;
}

static int read_key(const char *pem, gnutls_x509_privkey_t *ret, struct err *e)
{
	auto_key gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t data = datum(pem);
	int r = gnutls_x509_privkey_init(&key);

	if (r == 0)
		r = gnutls_x509_privkey_import(key, &data, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return fail(r, "read a key", e);
	*ret = take_ptr(key);
	return 0;
}

int cert_key_make(char **ret_pem, struct err *e)
{
	auto_key gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t out;
	int r;

	if (new_key(&key, e) < 0)
		return -e->code;
	r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &out);
	if (r < 0)
		return fail(r, "write a key", e);
	*ret_pem = take_text(&out);
	return 0;
}

int cert_request_make(const char *key_pem, char **ret_pem, struct err *e)
{
	auto_key gnutls_x509_privkey_t key = NULL;
	auto_crq gnutls_x509_crq_t crq = NULL;
	gnutls_datum_t out;
	int r;

	if (read_key(key_pem, &key, e) < 0)
		return -e->code;
	r = gnutls_x509_crq_init(&crq);
	if (r == 0)
		r = gnutls_x509_crq_set_version(crq, 1);
	if (r == 0)
		r = gnutls_x509_crq_set_key(crq, key);
	if (r == 0)
		r = gnutls_x509_crq_sign2(crq, key, GNUTLS_DIG_SHA256, 0);
	if (r == 0)
		r = gnutls_x509_crq_export2(crq, GNUTLS_X509_FMT_PEM, &out);
	if (r < 0)
		return fail(r, "make a certificate request", e);
	*ret_pem = take_text(&out);
	return 0;
}

static int read_request(const char *pem, gnutls_x509_crq_t *ret, struct err *e)
{
	auto_crq gnutls_x509_crq_t crq = NULL;
	gnutls_datum_t data = datum(pem);
	int r = gnutls_x509_crq_init(&crq);

	if (data.size > CERT_PEM_MAX)
		return err_set(e, E2BIG, "a certificate request of %u bytes", data.size);
	if (r == 0)
		r = gnutls_x509_crq_import(crq, &data, GNUTLS_X509_FMT_PEM);
	if (r == 0)
		r = gnutls_x509_crq_verify(crq, 0);
	if (r < 0)
		return fail(r, "certificate request", e);
	if (gnutls_x509_crq_get_pk_algorithm(crq, NULL) != GNUTLS_PK_ECDSA)
		return err_set(e, EBADMSG, "certificate request: the key is not on a curve");
	*ret = take_ptr(crq);
	return 0;
}

int cert_request_key(const char *request_pem, char ret[SHA256_HEX], struct err *e)
{
	auto_crq gnutls_x509_crq_t crq = NULL;
	unsigned char id[SHA256_SIZE];
	size_t size = sizeof(id);
	int r;

	if (read_request(request_pem, &crq, e) < 0)
		return -e->code;
	r = gnutls_x509_crq_get_key_id(crq, GNUTLS_KEYID_USE_SHA256, id, &size);
	if (r < 0)
		return fail(r, "certificate request", e);
	hex_encode(id, sizeof(id), ret);
	return 0;
}

/* ---- certificates ---- */

static int read_certificate(const char *pem, gnutls_x509_crt_t *ret, struct err *e)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	gnutls_datum_t data = datum(pem);
	int r = gnutls_x509_crt_init(&crt);

	if (r == 0)
		r = gnutls_x509_crt_import(crt, &data, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return fail(r, "read a certificate", e);
	*ret = take_ptr(crt);
	return 0;
}

int cert_fingerprint(const char *cert_pem, char ret[SHA256_HEX], struct err *e)
{
	auto_crt gnutls_x509_crt_t crt = NULL;
	unsigned char digest[SHA256_SIZE];
	size_t size = sizeof(digest);
	int r;

	if (read_certificate(cert_pem, &crt, e) < 0)
		return -e->code;
	r = gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest, &size);
	if (r < 0)
		return fail(r, "certificate", e);
	hex_encode(digest, sizeof(digest), ret);
	return 0;
}

/* What every certificate has: a version, a number of its own, a name, its time. */
static int fill(gnutls_x509_crt_t crt, const char *name, int64_t from_s, int64_t until_s)
{
	unsigned char serial[SERIAL_BYTES];
	int r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

	serial[0] &= 0x7f; /* positive, and not zero */
	serial[0] |= 0x01;
	if (r == 0)
		r = gnutls_x509_crt_set_version(crt, 3);
	if (r == 0)
		r = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
	if (r == 0)
		r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name,
						  (unsigned)strlen(name));
	if (r == 0)
		r = gnutls_x509_crt_set_activation_time(crt, (time_t)from_s);
	if (r == 0)
		r = gnutls_x509_crt_set_expiration_time(crt, (time_t)until_s);
	return r;
}

/* ---- an authority ---- */

static int make_root(gnutls_x509_privkey_t key, const char *name, gnutls_x509_crt_t crt)
{
	int64_t now_s = (int64_t)time(NULL);
	int r = fill(crt, name, now_s - DAY_S, now_s + AUTHORITY_YEARS * 365LL * DAY_S);

	if (r == 0)
		r = gnutls_x509_crt_set_key(crt, key);
	if (r == 0)
		r = gnutls_x509_crt_set_ca_status(crt, 1);
	if (r == 0)
		r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN);
	if (r == 0)
		r = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
	return r;
}

int cert_authority_make(const char *name, char **ret_pem, struct err *e)
{
	auto_key gnutls_x509_privkey_t key = NULL;
	auto_crt gnutls_x509_crt_t crt = NULL;
	auto_free char *key_text = NULL, *crt_text = NULL;
	gnutls_datum_t out;
	int r;

	if (new_key(&key, e) < 0)
		return -e->code;
	r = gnutls_x509_crt_init(&crt);
	if (r == 0)
		r = make_root(key, name, crt);
	if (r == 0 && (r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out)) == 0)
		crt_text = take_text(&out);
	if (r == 0 && (r = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &out)) == 0)
		key_text = take_text(&out);
	if (r < 0)
		return fail(r, "make an authority", e);
	*ret_pem = xasprintf("%s%s", crt_text, key_text);
	gnutls_memset(key_text, 0, strlen(key_text));
	return 0;
}

int cert_authority_open(const char *pem, struct cert_authority **ret, struct err *e)
{
	struct cert_authority *a = xcalloc(1, sizeof(*a));
	gnutls_datum_t out;
	int r;

	if (read_certificate(pem, &a->crt, e) < 0 || read_key(pem, &a->key, e) < 0) {
		cert_authority_free(a);
		return -e->code;
	}
	r = gnutls_x509_crt_export2(a->crt, GNUTLS_X509_FMT_PEM, &out);
	if (r < 0) {
		cert_authority_free(a);
		return fail(r, "certificate of the authority", e);
	}
	a->pem = take_text(&out);
	*ret = a;
	return 0;
}

void cert_authority_free(struct cert_authority *a)
{
	if (!a)
		return;
	gnutls_x509_privkey_deinit(a->key);
	gnutls_x509_crt_deinit(a->crt);
	free(a->pem);
	free(a);
}

const char *cert_authority_certificate(const struct cert_authority *a)
{
	return a->pem;
}

/* The key of a request and nothing else: what it says of itself is nobody's word but its own. */
static int take_key(gnutls_x509_crt_t crt, gnutls_x509_crq_t crq)
{
	gnutls_pubkey_t key;
	int r = gnutls_pubkey_init(&key);

	if (r < 0)
		return r;
	r = gnutls_pubkey_import_x509_crq(key, crq, 0);
	if (r == 0)
		r = gnutls_x509_crt_set_pubkey(crt, key);
	gnutls_pubkey_deinit(key);
	return r;
}

int cert_authority_sign(const struct cert_authority *a, const char *request_pem, const char *name,
			enum cert_purpose purpose, int64_t now_ms, int64_t until_ms, char **ret_pem,
			struct err *e)
{
	auto_crq gnutls_x509_crq_t crq = NULL;
	auto_crt gnutls_x509_crt_t crt = NULL;
	auto_free char *text = NULL;
	gnutls_datum_t out;
	int r;

	if (read_request(request_pem, &crq, e) < 0)
		return -e->code;
	r = gnutls_x509_crt_init(&crt);
	if (r == 0)
		r = take_key(crt, crq);
	if (r == 0)
		r = fill(crt, name, now_ms / 1000 - DAY_S, until_ms / 1000);
	if (r == 0)
		r = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	if (r == 0)
		r = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (r == 0)
		r = gnutls_x509_crt_set_key_purpose_oid(crt,
							purpose == CERT_SERVER
								? GNUTLS_KP_TLS_WWW_SERVER
								: GNUTLS_KP_TLS_WWW_CLIENT,
							0);
	if (r == 0 && purpose == CERT_SERVER)
		r = gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name,
							 (unsigned)strlen(name), GNUTLS_FSAN_SET);
	if (r == 0)
		r = gnutls_x509_crt_sign2(crt, a->crt, a->key, GNUTLS_DIG_SHA256, 0);
	if (r == 0)
		r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out);
	if (r < 0)
		return fail(r, "sign a certificate", e);
	text = take_text(&out);
	*ret_pem = xasprintf("%s%s", text, a->pem);
	return 0;
}
