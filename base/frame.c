/* base/frame.c - messages on a byte stream
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/frame.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#define FRAME_HEADER 4

void frame_put(struct buf *out, const void *data, size_t size)
{
	uint32_t header = htonl((uint32_t)size);

	assert(size <= UINT32_MAX);

	buf_add(out, &header, FRAME_HEADER);
	buf_add(out, data, size);
}

enum frame_result frame_peek(const struct buf *in, size_t max_size, const char **ret,
			     size_t *ret_size)
{
	uint32_t header;

	if (in->size < FRAME_HEADER)
		return FRAME_PARTIAL;
	memcpy(&header, in->data, FRAME_HEADER);
	header = ntohl(header);
	if (header > max_size)
		return FRAME_TOO_BIG;
	if (in->size - FRAME_HEADER < header)
		return FRAME_PARTIAL;
	*ret = in->data + FRAME_HEADER;
	*ret_size = header;
	return FRAME_READY;
}

void frame_drop(struct buf *in)
{
	const char *data;
	size_t size;

	if (frame_peek(in, UINT32_MAX, &data, &size) == FRAME_READY)
		buf_consume(in, FRAME_HEADER + size);
}
