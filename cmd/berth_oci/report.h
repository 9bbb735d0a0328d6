/* cmd/berth_oci/report.h - errors to where engines look for them
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* --log and --log-format; NULL: standard error only, as text. */
int report_open(const char *path, const char *format, struct err *e);

/*
 * One line to the log, and the sentence to standard error.  The last error of a
 * log is what containerd and podman show to their users.
 */
void report_warning(const struct err *e);
void report_error(const struct err *e);
