/* tests/fuzz/image_inflate.c - what is packed, in any way that an archive may be
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/inflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (4 << 20) /* of output: more is more of the same */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_close int fd = memfd_create("packed", MFD_CLOEXEC);
	struct inflate *z;
	unsigned char piece[4096];
	struct err e = {0};
	size_t n;

	if (fd < 0 || write_all(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return 0;
	z = inflate_new(fd, -1);
	inflate_take_xz(z);
	while (inflate_bytes_out(z) < OUT_MAX &&
	       inflate_next(z, piece, sizeof(piece), &n, &e) == 0 && n)
		;
	inflate_free(z);
	return 0;
}
