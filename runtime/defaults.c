/* runtime/defaults.c - what Docker's users expect of a container
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>

#include "runtime/runtime.h"

/*
 * Podman's 11.  Docker has three more: raw and packet sockets (ping needs none, by
 * net.ipv4.ping_group_range), device nodes, and writing to the host's audit log.
 */
static const char *const capabilities[] = {
	"CAP_CHOWN",      "CAP_DAC_OVERRIDE", "CAP_FSETID",
	"CAP_FOWNER",     "CAP_SETGID",       "CAP_SETUID",
	"CAP_SETFCAP",    "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE",
	"CAP_SYS_CHROOT", "CAP_KILL",         NULL};

/* What tells of the host or reaches into it. */
static const char *const masked_paths[] = {"/proc/acpi",
					   "/proc/asound",
					   "/proc/bus",
					   "/proc/interrupts",
					   "/proc/kcore",
					   "/proc/key-users",
					   "/proc/keys",
					   "/proc/latency_stats",
					   "/proc/sched_debug",
					   "/proc/scsi",
					   "/proc/timer_list",
					   "/proc/timer_stats",
					   "/sys/devices/virtual/powercap",
					   "/sys/firmware",
					   NULL};

static const char *const readonly_paths[] = {"/proc/fs", "/proc/irq", "/proc/sys",
					     "/proc/sysrq-trigger", NULL};

const char *const *runtime_default_capabilities(void)
{
	return capabilities;
}

const char *const *runtime_default_masked_paths(void)
{
	return masked_paths;
}

const char *const *runtime_default_readonly_paths(void)
{
	return readonly_paths;
}
