/* dns/frame.c - a message of a stream: two bytes of length, and so many bytes
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dns/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

static ssize_t read_more(int fd, void *to, size_t size)
{
	ssize_t n;

	do
		n = read(fd, to, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n ? n : -EPIPE;
}

/* What is missing of a part that ends at 'end': 0, it is there. */
static int fill(struct frame *f, int fd, uint8_t *part, size_t begin, size_t end)
{
	while (f->got < end) {
		ssize_t n = read_more(fd, part + (f->got - begin), end - f->got);

		if (n < 0)
			return (int)n;
		f->got += (size_t)n;
	}
	return 0;
}

int frame_read(struct frame *f, int fd, size_t max)
{
	int r = fill(f, fd, f->head, 0, FRAME_HEAD);

	if (r == 0 && !f->data) {
		f->size = (size_t)(f->head[0] << 8 | f->head[1]);
		if (f->size > max)
			return -EMSGSIZE;
		f->data = xcalloc(1, f->size + 1);
	}
	if (r == 0)
		r = fill(f, fd, f->data, FRAME_HEAD, FRAME_HEAD + f->size);
	if (r == -EAGAIN)
		return 0;
	return r < 0 ? r : FRAME_WHOLE;
}

void frame_done(struct frame *f)
{
	free(f->data);
	*f = (struct frame){0};
}

void frame_head(uint8_t ret[FRAME_HEAD], size_t size)
{
	ret[0] = (uint8_t)(size >> 8);
	ret[1] = (uint8_t)size;
}
