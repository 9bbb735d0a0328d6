/* cmd/berth_oci/options.h - the command line, by tables
 * SPDX-License-Identifier: Apache-2.0
 *
 * As runc has it: `berth-oci [global options] command [options] [arguments]`.
 * Options end at the first word that is none, or at "--".  A long name may
 * have one dash or two, its value may follow behind '=' or as the next word.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define OPTION_LIST_MAX 256 /* of one repeated option */

struct arguments {
	/* global */
	const char *root, *log, *log_format, *rootless, *cgroup_manager, *criu;
	bool debug, systemd_cgroup, version, help;
	/* of commands */
	const char *apparmor, *process_label, *pidfd_socket, *lsm_profile, *lsm_mount_context;
	bool no_subreaper, ignore_paused, rootless_spec;
	const char *bundle, *config, *pid_file, *console_socket, *process, *user, *cwd, *format;
	const char *env[OPTION_LIST_MAX + 1], *caps[OPTION_LIST_MAX + 1],
		*cgroups[OPTION_LIST_MAX + 1], *gids[OPTION_LIST_MAX + 1];
	const char *image_path, *work_path, *parent_path, *manage_cgroups, *status_fd, *page_server,
		*empty_ns[OPTION_LIST_MAX + 1];
	bool leave_running, tcp_established, tcp_close, ext_unix_sk, shell_job, file_locks,
		pre_dump, auto_dedup, lazy_pages;
	const char *interval, *resources; /* and the limits of update: */
	const char *blkio_weight, *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *cpu_rt_period,
		*cpu_rt_runtime, *cpu_idle, *cpuset_cpus, *cpuset_mems, *memory,
		*memory_reservation, *memory_swap, *kernel_memory, *kernel_memory_tcp, *pids_limit;
	uint32_t preserve_fds;
	bool no_pivot, no_new_keyring, detach, keep, force, all, tty, no_new_privs, quiet, stats;
	/* behind them */
	char **words;
	size_t word_count;
};

enum option_kind {
	OPTION_FLAG,   /* bool */
	OPTION_STRING, /* const char * */
	OPTION_NUMBER, /* uint32_t */
	OPTION_LIST,   /* const char *[OPTION_LIST_MAX + 1] */
};

struct option {
	const char *name;
	char letter; /* 0: none */
	enum option_kind kind;
	size_t offset;
	const char *value, *help; /* 'value' is its name in the help text */
};

/* Reads from argv[0] on; returns how many words were options. */
int options_parse(const struct option *table, size_t count, char **argv, struct arguments *ret,
		  struct err *e);
/* "true", "1", "t" and so on, as Go reads them and so runc; false: it is none of these. */
bool option_bool(const char *word, bool *ret);
void options_print(const struct option *table, size_t count);
