/* runtime/namespaces.h - the kinds of namespaces
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum ns_kind {
	NS_USER,
	NS_MOUNT,
	NS_PID,
	NS_NETWORK,
	NS_IPC,
	NS_UTS,
	NS_CGROUP,
	NS_TIME,
	NS_COUNT
};

struct ns_type {
	const char *name; /* in config.json */
	const char *file; /* below /proc/PID/ns */
	int flag;         /* of clone(2) and setns(2) */
};
extern const struct ns_type ns_types[NS_COUNT];

/* What a config wants of one kind: the host's, a new one, or that at a path. */
struct ns_wish {
	bool wanted;
	const char *path; /* NULL: a new one */
};

/* Returns NS_COUNT for a name that is none. */
enum ns_kind ns_find(const char *name);
