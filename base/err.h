/* base/err.h - what went wrong, in a sentence
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every function that can fail takes a 'struct err *e' last, never NULL, and
 * returns:
 *
 *   0    it worked; *e is untouched
 *   < 0  it failed: the value is -errno and *e holds the sentence
 *   > 0  an outcome that the header names (IMAGE_ABSENT); the caller handles
 *        it and never passes it on
 *
 * A message says the object and the value, in lower case, without a full stop.
 * Each caller adds in front what only it knows, so the operator reads
 * "task 3f2a: layer 2: open blob 9c1e...: Permission denied".
 *
 * An err is a plain value of 512 bytes: it is copied, written to a pipe in one
 * atomic write, and never freed.
 */
#pragma once

#include <stdarg.h>

#define ERR_MSG_SIZE 508

struct err {
	int code; /* errno value, positive; 0: no error */
	char msg[ERR_MSG_SIZE];
};

/* A failure found by us.  Returns -errnum. */
int err_set(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A failed system call: errno and its text behind the message.  Returns -errno. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Put context before the message that is there.  Returns -e->code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
