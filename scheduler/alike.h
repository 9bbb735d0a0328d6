/* scheduler/alike.h - texts that differ in a few places, as bytes
 * SPDX-License-Identifier: Apache-2.0
 *
 * Ten tasks of one call have documents of the same length that differ in ids.  The first is
 * kept as it is, and of each other one what is not as in the first: a tenth of it.  One text
 * alone is itself.
 *
 *   first text, and for each other: NUL, size of its places, places
 *   a place: bytes that are as in the first before it, and its own size, doubled: the bytes;
 *            or doubled plus one: the number of an earlier place, whose bytes it has, too
 *
 * Numbers are of seven bits a byte, the last byte without the eighth.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* One more text, which is not empty, behind those in 'all'.  False: it is not like the first, and nothing was done. */
bool alike_add(struct buf *all, const char *text);

/* Text number 'n', counted from 0, malloc'ed; NULL: there is none, *e. */
char *alike_get(const void *all, size_t size, size_t n, struct err *e);
