/* base/random.h - randomness of the kernel, and ids made of it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stddef.h>

void random_bytes(void *ret, size_t size);

/* 'len' lower-case hexadecimal digits and a NUL. */
void random_hex(char *ret, size_t len);

/* A version 4 UUID: 36 characters and a NUL. */
void random_uuid(char ret[37]);
