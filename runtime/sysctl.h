/* runtime/sysctl.h - kernel parameters of a container's own namespaces
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "base/err.h"
#include "base/js.h"
#include "runtime/namespaces.h"

/*
 * Refuses what is not a parameter of a namespace, and what is one of a
 * namespace that the container shares with the host.
 */
int sysctl_check(const char *key, const struct ns_wish wishes[NS_COUNT], struct err *e);

/* Context: container's init, all namespaces joined. */
int sysctl_apply(const struct js_map *sysctls, int proc_fd, struct err *e);
