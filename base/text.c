/* base/text.c - strings and numbers read strictly
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/text.h"

#include <string.h>

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t len = strlen(s), n = strlen(suffix);

	return len >= n && memcmp(s + len - n, suffix, n) == 0;
}

bool parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		unsigned digit = (unsigned)(*s - '0');

		if (digit > 9 || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, digit, &v))
			return false;
	}
	if (v > max)
		return false;
	*ret = v;
	return true;
}

bool parse_u32(const char *s, uint32_t max, uint32_t *ret)
{
	uint64_t v;

	if (!parse_u64(s, max, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

bool parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret)
{
	bool negative = *s == '-';
	uint64_t v;
	int64_t n;

	if (!parse_u64(s + negative, (uint64_t)INT64_MAX + negative, &v))
		return false;
	n = negative ? (int64_t)(0 - v) : (int64_t)v;
	if (n < min || n > max)
		return false;
	*ret = n;
	return true;
}

size_t utf8_length(const char *utf8)
{
	size_t count = 0;

	for (; *utf8; utf8++)
		count += ((unsigned char)*utf8 & 0xc0) != 0x80;
	return count;
}

void hex_encode(const void *data, size_t size, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *p = data;

	for (size_t i = 0; i < size; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * size] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool hex_decode(const char *s, void *ret, size_t size)
{
	unsigned char *out = ret;

	for (size_t i = 0; i < size; i++) {
		int hi = hex_digit(s[2 * i]), lo = hi < 0 ? -1 : hex_digit(s[2 * i + 1]);

		if (lo < 0)
			return false;
		out[i] = (unsigned char)(hi << 4 | lo);
	}
	return s[2 * size] == '\0';
}
