/* runtime/namespaces.c - the kinds of namespaces
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/namespaces.h"

#include <sched.h>

#include "base/text.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

const struct ns_type ns_types[NS_COUNT] = {
	[NS_USER] = {"user", "user", CLONE_NEWUSER},
	[NS_MOUNT] = {"mount", "mnt", CLONE_NEWNS},
	[NS_PID] = {"pid", "pid", CLONE_NEWPID},
	[NS_NETWORK] = {"network", "net", CLONE_NEWNET},
	[NS_IPC] = {"ipc", "ipc", CLONE_NEWIPC},
	[NS_UTS] = {"uts", "uts", CLONE_NEWUTS},
	[NS_CGROUP] = {"cgroup", "cgroup", CLONE_NEWCGROUP},
	[NS_TIME] = {"time", "time", CLONE_NEWTIME},
};

enum ns_kind ns_find(const char *name)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (str_eq(ns_types[i].name, name))
			return (enum ns_kind)i;
	return NS_COUNT;
}
