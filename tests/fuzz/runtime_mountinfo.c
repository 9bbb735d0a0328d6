/* tests/fuzz/runtime_mountinfo.c - /proc/self/mountinfo, where paths of others stand
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "runtime/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = xstrndup((const char *)data, size), place[64];

	(void)cgroup_find_mount(text, "", place, sizeof(place));
	(void)cgroup_find_mount(text, "cpu,cpuacct", place, sizeof(place));
	(void)cgroup_find_mount(text, "name=systemd", place, sizeof(place));
	free(text);
	return 0;
}
