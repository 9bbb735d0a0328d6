/* image/attributes.h - extended attributes of a file, packed
 * SPDX-License-Identifier: Apache-2.0
 *
 * As EROFS has them behind an inode: for each a length, a prefix, the size of
 * the value, the rest of the name, the value, and zeros up to four bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "image/tar.h"

#define ATTRIBUTES_SIZE_MAX 65536 /* of all that a file has; ext4 has room for 4 KiB */

/* Those of the entry, malloc'ed; *ret is NULL when there are none.  Too many: IMAGE_REASON_TOO_LARGE. */
int attributes_pack(const struct tar_entry *entry, void **ret, uint32_t *ret_size, struct err *e);

/* Whether a stranger's bytes are what attributes_pack() could have made. */
bool attributes_valid(const void *data, size_t size);
