/* image/inflater.c - the worker that unpacks an archive of images
 * SPDX-License-Identifier: Apache-2.0
 *
 * What `docker save | gzip` makes has to lie somewhere as a tar before it can be read
 * at any place.  Foreign bytes go in, foreign bytes come out; the limits are those
 * of a layer.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/inflate.h"
#include "image/jail.h"
#include "image/reason.h"
#include "image/worker.h"

#define PIECE_SIZE (256 << 10)

static int inflate_all(struct inflate *z, struct err *e)
{
	auto_free unsigned char *piece = xcalloc(1, PIECE_SIZE);
	size_t size;
	int r;

	while ((r = inflate_next(z, piece, PIECE_SIZE, &size, e)) == 0 && size) {
		r = write_all(INFLATER_OUT, piece, size);
		if (r < 0) {
			errno = -r;
			return os_fail(e, "write what it unpacks to");
		}
	}
	return r;
}

int inflater_main(int argc, char **argv)
{
	struct inflate *z = inflate_new(INFLATER_IN, -1);
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	inflate_take_xz(z);
	r = jail_lister(&e);
	if (r == 0)
		r = inflate_all(z, &e);
	inflate_free(z);
	if (r < 0)
		(void)dprintf(STDOUT_FILENO, "error the archive: %s\n", e.msg);
	return r < 0 ? 1 : 0;
}
