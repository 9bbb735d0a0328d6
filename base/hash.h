/* base/hash.h - SHA-256, HMAC, base64
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SHA256_SIZE 32
#define SHA256_HEX  65 /* digits and a NUL */

struct sha256; /* a running digest */

struct sha256 *sha256_new(void);
void sha256_free(struct sha256 *h);
void sha256_add(struct sha256 *h, const void *data, size_t size);
/* The digest so far, as lower-case hexadecimal, and an empty state again. */
void sha256_hex(struct sha256 *h, char ret[SHA256_HEX]);

/* Of one piece of memory. */
void sha256_of(const void *data, size_t size, unsigned char ret[SHA256_SIZE]);
void hmac_sha256(const void *key, size_t key_size, const void *data, size_t size,
		 unsigned char ret[SHA256_SIZE]);

/* Compares all bytes, whatever they are: for secrets. */
bool equal_in_constant_time(const void *a, const void *b, size_t size);

/* Malloc'ed, with a NUL behind; NULL when the text is not base64. */
char *base64_encode(const void *data, size_t size);
unsigned char *base64_decode(const char *text, size_t *ret_size);
