/* image/reason.h - the class of a failure travels in its errno value
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each enum image_reason has one errno value, so an err alone, copied between
 * processes, says both the sentence and the class.  In a worker a system call's
 * own errno must not be taken for a class: where one fails, os_fail() keeps
 * "disk full" and makes the rest EIO.
 */
#pragma once

#include "base/err.h"
#include "image/image.h"

/* err_set() by class. */
int image_fail(struct err *e, enum image_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Give the class to an err that has its sentence already.  Returns -e->code. */
int image_class(struct err *e, enum image_reason reason);

/* err_sys(), of class DISK_FULL or OTHER. */
int os_fail(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The class of an err that came from a system call of ours: DISK_FULL or OTHER. */
int image_class_os(struct err *e);

enum image_reason image_reason_of(const struct err *e);
