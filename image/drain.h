/* image/drain.h - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread has the kernel write what has come so far, again and again, so the sync at the
 * end has little left to wait for, and the writer never waits.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct drain;

/* 'fd' is borrowed. */
int drain_new(int fd, struct drain **ret, struct err *e);

/* So many bytes have been written now. */
void drain_note(struct drain *d, uint64_t bytes);

/* That was all: what is left goes to the disk now. */
void drain_end(struct drain *d);

/* The same, waiting for it: all is on the disk, or a sync failed, of which the kernel tells once. */
int drain_finish(struct drain *d, struct err *e);

void drain_free(struct drain *d); /* NULL is fine */
