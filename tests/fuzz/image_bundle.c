/* tests/fuzz/image_bundle.c - archives of images that somebody sent
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"index.json", "manifest.json", "0/layer.tar",
					    "../manifest.json", ""};
	auto_close int fd = memfd_create("archive", MFD_CLOEXEC);
	struct bundle *b;
	struct err e = {0};

	assert(fd >= 0);
	assert(write_all(fd, data, size) == 0);
	assert(lseek(fd, 0, SEEK_SET) == 0);
	if (bundle_open(fd, false, &b, &e) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		auto_buf struct buf text = BUF_INIT(1 << 20);
		struct bundle_file f;

		if (bundle_find(b, names[i], &f, &e) < 0)
			continue;
		assert(!f.own_fd && f.offset >= 0 && f.size >= 0);
		if (bundle_read(b, names[i], &text, &e) == 0)
			assert((int64_t)text.size == f.size && f.offset + f.size <= (int64_t)size);
	}
	bundle_close(b);
	return 0;
}
