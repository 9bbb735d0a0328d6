/* runtime/passwd.h - the home of a user, from the container's own file
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sixth field of the first line whose third is 'uid'.  False: there is none. */
bool passwd_home(const char *text, uint32_t uid, char *ret, size_t size);
