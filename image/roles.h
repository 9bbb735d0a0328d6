/* image/roles.h - programs that are what their first word says
 * SPDX-License-Identifier: Apache-2.0
 *
 * berth-worker, berth-fetcher and berth-reader are apart because of what they are linked
 * with: root's processes and most others need few libraries, and load in 2 ms; who speaks to
 * registries needs libcurl with thirty more, who unpacks libarchive with six.
 */
#pragma once

#include <stddef.h>

struct role {
	const char *name;
	int (*main)(int argc, char **argv);
};

int roles_run(const struct role *roles, size_t count, int argc, char **argv);
