/* tests/unit/unit.h - what every unit test begins with
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/err.h"

/* The call works, or its error is printed. 'call' uses 'e', a struct err. */
#define assert_ok(call)                                            \
	do {                                                       \
		int ok_ = (call);                                  \
		if (ok_ != 0)                                      \
			fail_msg("%s: %d: %s", #call, ok_, e.msg); \
	} while (0)

/* The call fails with this errno value and says something. */
#define assert_fails(call, errnum)                                                             \
	do {                                                                                   \
		int fails_ = (call);                                                           \
		if (fails_ != -(errnum))                                                       \
			fail_msg("%s: %d instead of %d: %s", #call, fails_, -(errnum), e.msg); \
		assert_true(e.msg[0] != '\0');                                                 \
	} while (0)

#define assert_says(text)                                                  \
	do {                                                               \
		if (!strstr(e.msg, (text)))                                \
			fail_msg("'%s' does not say '%s'", e.msg, (text)); \
	} while (0)
