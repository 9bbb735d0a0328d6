/* image/reason.c - the class of a failure travels in its errno value
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/reason.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/auto.h"

static const struct {
	int errnum;
	const char *name;
} reasons[] = {
	[IMAGE_REASON_OTHER] = {EIO, "other"},
	[IMAGE_REASON_NOT_FOUND] = {ENOENT, "not found"},
	[IMAGE_REASON_UNAUTHORIZED] = {EACCES, "unauthorized"},
	[IMAGE_REASON_UNREACHABLE] = {EHOSTUNREACH, "unreachable"},
	[IMAGE_REASON_TIMEOUT] = {ETIMEDOUT, "timeout"},
	[IMAGE_REASON_REGISTRY] = {EPROTO, "registry"},
	[IMAGE_REASON_DIGEST_MISMATCH] = {EILSEQ, "digest mismatch"},
	[IMAGE_REASON_TRUNCATED] = {ENODATA, "truncated"},
	[IMAGE_REASON_MALFORMED] = {EBADMSG, "malformed"},
	[IMAGE_REASON_UNSAFE] = {EXDEV, "unsafe"},
	[IMAGE_REASON_PLATFORM] = {ENOEXEC, "platform"},
	[IMAGE_REASON_UNSUPPORTED] = {ENOTSUP, "unsupported"},
	[IMAGE_REASON_TOO_LARGE] = {EFBIG, "too large"},
	[IMAGE_REASON_DISK_FULL] = {ENOSPC, "disk full"},
	[IMAGE_REASON_NOT_KEPT] = {ENOMEDIUM, "not kept"},
};

const char *image_reason_name(enum image_reason r)
{
	return (size_t)r < ARRAY_COUNT(reasons) ? reasons[r].name : reasons[0].name;
}

enum image_reason image_reason_of(const struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(reasons); i++)
		if (reasons[i].errnum == e->code)
			return (enum image_reason)i;
	return IMAGE_REASON_OTHER;
}

int image_fail(struct err *e, enum image_reason reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
	return image_class(e, reason);
}

int image_class(struct err *e, enum image_reason reason)
{
	assert((size_t)reason < ARRAY_COUNT(reasons));

	e->code = reasons[reason].errnum;
	return -e->code;
}

int image_class_os(struct err *e)
{
	return image_class(e, e->code == ENOSPC || e->code == EDQUOT ? IMAGE_REASON_DISK_FULL
								     : IMAGE_REASON_OTHER);
}

int os_fail(struct err *e, const char *fmt, ...)
{
	int errnum = errno;
	char what[ERR_MSG_SIZE];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);

	errno = errnum;
	(void)err_sys(e, "%s", what);
	return image_class_os(e);
}
