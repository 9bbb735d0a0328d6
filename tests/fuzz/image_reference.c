/* tests/fuzz/image_reference.c - names of images
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is read as a name is written whole, and the whole name is read as itself.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	char whole[REFERENCE_SIZE], again[REFERENCE_SIZE];
	struct reference r;
	struct err e = {0};

	if (reference_parse(text, &r, &e) < 0)
		return 0;
	assert(!strstr(r.repository, "..") && r.repository[0] != '/');
	assert(!r.digest[0] || digest_valid(r.digest));
	reference_format(&r, whole);
	assert(reference_parse(whole, &r, &e) == 0);
	reference_format(&r, again);
	assert(strcmp(whole, again) == 0);
	return 0;
}
