/* image/drain.h - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread has the kernel write what has come so far, again and again, so the sync at the
 * end has little left to wait for, and the writer never waits.
 *
 * What lies behind DRAIN_CACHED is let go of as soon as it is written: a large file would
 * push out of memory what others use, and to take ever more memory into use costs a virtual
 * machine more than the copying.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct drain;

/* 'fd' is borrowed. */
int drain_new(int fd, struct drain **ret, struct err *e);

#define DRAIN_CACHED (64 << 20)

/* Append to the file. */
int drain_write(struct drain *d, const void *data, size_t size, struct err *e);

/* That was all: what is left goes to the disk now. */
void drain_end(struct drain *d);

/* The same, waiting for it: all is on the disk, or a sync failed, of which the kernel tells once. */
int drain_finish(struct drain *d, struct err *e);

void drain_free(struct drain *d); /* NULL is fine */
