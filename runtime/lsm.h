/* runtime/lsm.h - labels of AppArmor and SELinux
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct config_process;

/* Refuses labels of a security module that this kernel does not run. */
int lsm_check(const struct config_process *p, const char *mount_label, struct err *e);

/* What the next execve(2) gets.  'proc_fd': procfs_open(). */
int lsm_apply(const struct config_process *p, int proc_fd, struct err *e);
bool lsm_wanted(const struct config_process *p);
