/* base/hash.c - SHA-256, HMAC, base64
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/hash.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

struct sha256 {
	gnutls_hash_hd_t handle;
};

struct sha256 *sha256_new(void)
{
	struct sha256 *h = xcalloc(1, sizeof(*h));
	int r = gnutls_hash_init(&h->handle, GNUTLS_DIG_SHA256);

	assert(r == 0); /* memory only */
	(void)r;
	return h;
}

void sha256_free(struct sha256 *h)
{
	if (!h)
		return;
	gnutls_hash_deinit(h->handle, NULL);
	free(h);
}

void sha256_add(struct sha256 *h, const void *data, size_t size)
{
	(void)gnutls_hash(h->handle, data, size); /* cannot fail on an open handle */
}

void sha256_hex(struct sha256 *h, char ret[SHA256_HEX])
{
	unsigned char digest[SHA256_SIZE];

	gnutls_hash_output(h->handle, digest);
	hex_encode(digest, sizeof(digest), ret);
}

void sha256_of(const void *data, size_t size, unsigned char ret[SHA256_SIZE])
{
	int r = gnutls_hash_fast(GNUTLS_DIG_SHA256, data, size, ret);

	assert(r == 0);
	(void)r;
}

void hmac_sha256(const void *key, size_t key_size, const void *data, size_t size,
		 unsigned char ret[SHA256_SIZE])
{
	int r = gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, key_size, data, size, ret);

	assert(r == 0);
	(void)r;
}

bool equal_in_constant_time(const void *a, const void *b, size_t size)
{
	return gnutls_memcmp(a, b, size) == 0;
}

char *base64_encode(const void *data, size_t size)
{
	gnutls_datum_t in = {(unsigned char *)(uintptr_t)data, (unsigned)size}, out = {0};
	int r = gnutls_base64_encode2(&in, &out);
	char *text;

	assert(r == 0);
	(void)r;
	text = xstrndup((char *)out.data, out.size);
	gnutls_free(out.data);
	return text;
}

unsigned char *base64_decode(const char *text, size_t *ret_size)
{
	gnutls_datum_t in = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)}, out = {0};
	unsigned char *data;

	if (gnutls_base64_decode2(&in, &out) < 0)
		return NULL;
	data = xcalloc(1, out.size + 1);
	if (out.size)
		memcpy(data, out.data, out.size);
	*ret_size = out.size;
	gnutls_free(out.data);
	return data;
}
