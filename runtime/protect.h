/* runtime/protect.h - no container can write to the program that made it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/*
 * Our program, opened in a read-only overlay that is mounted nowhere, and a
 * descriptor of the overlay.  Below zero: it cannot be had.  Needs no C library.
 */
int protect_open_overlay(int *ret_mount_fd);

/* Of the overlay that our program was put into before it began; -1: it was not. */
extern int protect_mount_fd;

/* Refuses to go on when our executable could be written to through /proc/PID/exe. */
int protect_check(struct err *e);

/* The descriptor that runtime_protect_settle() closes: nobody gets it. */
bool protect_holds(int fd);
