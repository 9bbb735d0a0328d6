/* runtime/rootless.c - running without being the host's root
 * SPDX-License-Identifier: Apache-2.0
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/runtime.h"

bool runtime_is_rootless(void)
{
	auto_close int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char text[256] = "";
	unsigned inside = 1, outside = 1, count = 0;

	if (geteuid() != 0)
		return true;
	if (fd < 0 || read_all(fd, text, sizeof(text) - 1) < 0)
		return false; /* a kernel without user namespaces */
	/* The host's own map is that of all ids to themselves. */
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 &&
	       !(inside == 0 && outside == 0 && count == UINT32_MAX);
}
