/* image/serve.c - requests of the distribution API, as a node answers them
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/serve.h"

#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define RANGE_UNIT   "bytes="
#define NUMBER_CHARS 20

enum serve_target serve_parse_target(const char *target, char ret_digest[DIGEST_SIZE])
{
	static const char *const kinds[] = {"/blobs/", "/manifests/"};
	const char *digest = strrchr(target, '/');

	if (!str_starts(target, "/v2/"))
		return SERVE_NOTHING;
	if (!target[strlen("/v2/")])
		return SERVE_BASE;
	if (!digest_valid(digest + 1))
		return SERVE_NOTHING;
	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		size_t len = strlen(kinds[i]);
		const char *kind = digest + 1 - len;

		if (digest + 1 - target <= (ptrdiff_t)(len + strlen("/v2")) ||
		    strncmp(kind, kinds[i], len) != 0)
			continue;
		memcpy(ret_digest, digest + 1, DIGEST_SIZE);
		return SERVE_DIGEST;
	}
	return SERVE_NOTHING;
}

/* The digits before '-' or behind it. */
static bool read_number(const char *text, size_t len, uint64_t *ret)
{
	char digits[NUMBER_CHARS + 1];

	if (len > NUMBER_CHARS)
		return false;
	(void)snprintf(digits, sizeof(digits), "%.*s", (int)len, text);
	return parse_u64(digits, INT64_MAX, ret);
}

enum serve_range serve_parse_range(const char *range, uint64_t bytes, uint64_t *ret_offset,
				   uint64_t *ret_size)
{
	uint64_t first = 0, last = bytes - 1;
	const char *dash;

	if (!range || !str_starts(range, RANGE_UNIT))
		return SERVE_WHOLE;
	range += strlen(RANGE_UNIT);
	dash = strchr(range, '-');
	if (!dash)
		return SERVE_WHOLE;
	if (dash == range) { /* the last so many */
		if (!read_number(dash + 1, strlen(dash + 1), &last))
			return SERVE_WHOLE;
		first = last < bytes ? bytes - last : 0;
		if (!last)
			return SERVE_UNSATISFIED;
		last = bytes - 1;
	} else if (!read_number(range, (size_t)(dash - range), &first) ||
		   (dash[1] && (!read_number(dash + 1, strlen(dash + 1), &last) || last < first))) {
		return SERVE_WHOLE;
	}
	if (first >= bytes)
		return SERVE_UNSATISFIED;
	*ret_offset = first;
	*ret_size = (last < bytes ? last + 1 : bytes) - first;
	return SERVE_PART;
}
