/* image/outlet.h - where images are written to: a tar, or a directory
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct outlet;

/* 'fd' is borrowed: an empty directory, or what a tar is written to. */
struct outlet *outlet_new(int fd, bool is_directory);
/* The end: nothing may be missing. */
int outlet_finish(struct outlet *o, struct err *e);
void outlet_free(struct outlet *o); /* NULL is fine */

/* A file; its directories come with it.  One that is there already is left alone. */
int outlet_add(struct outlet *o, const char *name, const void *data, size_t size, struct err *e);
/*
 * All of 'fd' from its beginning, which must have 'size' bytes of the SHA-256 'hex':
 * -EUCLEAN when it does not.
 */
int outlet_copy(struct outlet *o, const char *name, int fd, uint64_t size, const char *hex,
		struct err *e);
