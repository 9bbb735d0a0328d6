/* base/err.c - what went wrong, in a sentence
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static_assert(sizeof(struct err) == 512, "one atomic write to a pipe");

int err_set(struct err *e, int errnum, const char *fmt, ...)
{
	va_list ap;

	assert(e && errnum > 0);

	e->code = errnum;
	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return -errnum;
}

int err_sys(struct err *e, const char *fmt, ...)
{
	int errnum = errno ? errno : EIO;
	size_t len;
	va_list ap;

	assert(e);

	e->code = errnum;
	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);

	len = strlen(e->msg);
	(void)snprintf(e->msg + len, sizeof(e->msg) - len, ": %s", strerrordesc_np(errnum));
	return -errnum;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	struct err inner = *e;
	size_t len;
	va_list ap;

	assert(e->code > 0);

	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);

	len = strlen(e->msg);
	(void)snprintf(e->msg + len, sizeof(e->msg) - len, ": %s", inner.msg);
	return -e->code;
}
