/* image/roles.c - programs that are what their first word says
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/roles.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/text.h"

int roles_run(const struct role *roles, size_t count, int argc, char **argv)
{
	struct err ignored;

	/* berthd's may be low, for the memory killer to pass it over; a worker can be lost. */
	(void)fs_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0", &ignored);
	for (size_t i = 0; argc > 1 && i < count; i++)
		if (str_eq(argv[1], roles[i].name))
			return roles[i].main(argc, argv);
	(void)fputs("this is started by berthd, with descriptors that nobody else has\n", stderr);
	return 2;
}
