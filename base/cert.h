/* base/cert.h - private keys, certificates, and an authority that signs them (GnuTLS)
 * SPDX-License-Identifier: Apache-2.0
 *
 * Keys are on the curve P-256.  Everything goes in and out as PEM text, which
 * is malloc'ed where it is returned; who lets go of a key wipes it before.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

#define CERT_PEM_MAX 8192 /* bytes of a PEM text that is read */

int cert_key_make(char **ret_pem, struct err *e);
/* PKCS #10: the public key, signed with the private one, and nothing else. */
int cert_request_make(const char *key_pem, char **ret_pem, struct err *e);

/* SHA-256 of the first certificate of the text, as digits: by this an authority is known. */
int cert_fingerprint(const char *cert_pem, char ret[SHA256_HEX], struct err *e);

/* SHA-256 of the public key that a request is for, when its signature is right; else < 0. */
int cert_request_key(const char *request_pem, char ret[SHA256_HEX], struct err *e);

/* ---- an authority ---- */

struct cert_authority;

/* A new one: its key and its own certificate, in one text. */
int cert_authority_make(const char *name, char **ret_pem, struct err *e);
int cert_authority_open(const char *pem, struct cert_authority **ret, struct err *e);
void cert_authority_free(struct cert_authority *a); /* NULL is fine */
const char *cert_authority_certificate(const struct cert_authority *a);

enum cert_purpose {
	CERT_SERVER, /* it is dialled */
	CERT_CLIENT, /* it dials */
};

/*
 * A certificate for the key of a request that names 'name' and is good for one
 * purpose, from a day before 'now_ms' (clocks differ) until 'until_ms' (wall
 * clock, milliseconds).  *ret_pem: the certificate, and the authority's behind it.
 */
int cert_authority_sign(const struct cert_authority *a, const char *request_pem, const char *name,
			enum cert_purpose purpose, int64_t now_ms, int64_t until_ms, char **ret_pem,
			struct err *e);
