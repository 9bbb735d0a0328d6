/* tests/fuzz/image_record.c - what a fetcher hands over
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "image/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_record struct record *r = NULL, *again = NULL;
	auto_buf struct buf out = BUF_INIT(8 * RECORD_SIZE_MAX);
	struct err e = {0};

	if (record_read((const char *)data, size, &r, &e) < 0)
		return 0;
	assert(r->layer_count >= 1 && r->layer_count <= IMAGE_LAYERS_MAX);
	for (size_t i = 0; i < r->layer_count; i++)
		assert(digest_valid(r->layers[i].diff_id) && digest_valid(r->layers[i].blob));
	record_write(r, &out);
	if (out.size <= RECORD_SIZE_MAX)
		assert(record_read(out.data, out.size, &again, &e) == 0);
	return 0;
}
