/* tests/fuzz/image_serve.c - what other nodes ask of the one that serves images
 * SPDX-License-Identifier: Apache-2.0
 *
 * The input is a target, a line feed, and a header "Range".
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	char *range = strchr(text, '\n'), digest[DIGEST_SIZE];
	uint64_t offset, part;

	if (range)
		*range++ = '\0';
	if (serve_parse_target(text, digest) == SERVE_DIGEST)
		assert(digest_valid(digest));
	for (uint64_t bytes = 0; bytes < 3; bytes++)
		if (serve_parse_range(range, bytes * 500, &offset, &part) == SERVE_PART)
			assert(part > 0 && offset < bytes * 500 && part <= bytes * 500 - offset);
	return 0;
}
