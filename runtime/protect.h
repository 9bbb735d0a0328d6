/* runtime/protect.h - no container can write to the program that made it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* Refuses to go on when our executable could be written to through /proc/PID/exe. */
int protect_check(struct err *e);

/* The descriptor that runtime_protect_settle() closes: nobody gets it. */
bool protect_holds(int fd);
