/* base/random.c - randomness of the kernel, and ids made of it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/random.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *ret, size_t size)
{
	unsigned char *p = ret;

	while (size) {
		ssize_t n = getrandom(p, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort(); /* getrandom(2): no other failure once the pool is ready */
		p += n;
		size -= (size_t)n;
	}
}

void random_hex(char *ret, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	random_bytes(ret, len);
	for (size_t i = 0; i < len; i++)
		ret[i] = digits[(unsigned char)ret[i] & 15];
	ret[len] = '\0';
}

void random_uuid(char ret[37])
{
	unsigned char b[16];

	random_bytes(b, sizeof(b));
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	(void)snprintf(ret, 37,
		       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
		       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		       b[13], b[14], b[15]);
}
