/* base/jail.h - what a process gives away before it reads a foreign byte
 * SPDX-License-Identifier: Apache-2.0
 *
 * Called by root, with one thread, when all descriptors that the process needs are
 * open.  There is no way back.  Under sanitizers the lists of calls and the
 * limit on memory are left out, because their run-time does as it likes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/err.h"

/*
 * The whole of it for a server: an id of its own, no capability, no file to open or to
 * write; network and IPC namespaces of its own, empty: it takes connections of the
 * socket that it was given, and cannot make any.
 */
int jail_server(struct err *e);

/* ---- the parts, for other roles ---- */

/* System calls: what any process of glibc does while it computes, reports and ends. */
#define JAIL_CALLS_COMMON                                                                          \
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_close, SYS_fstat, SYS_lseek, SYS_mmap,     \
		SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex,             \
		SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_exit, \
		SYS_exit_group, SYS_getpid, SYS_gettid, SYS_tgkill, SYS_getrandom,                 \
		SYS_clock_gettime, SYS_clock_nanosleep, SYS_restart_syscall, SYS_sched_yield,      \
		SYS_rseq, SYS_set_robust_list, SYS_sendmsg

/*
 * First: no new privileges, no core dumps, limits on memory, descriptors and CPU time.
 */
int jail_begin(struct err *e);
int jail_limit(int resource, rlim_t value,
	       struct err *e); /* RLIMIT_...; or less, where the host gives less */
/* An id that owns nothing, without groups and capabilities; dies with its parent. */
int jail_become_nobody(struct err *e);
/*
 * Last: no system calls but these, which are at most 128 (others: ENOSYS); and, if
 * 'sockets', socket(2) of the internet and of netlink.
 */
int jail_allow_calls(const int *calls, size_t count, bool sockets, struct err *e);
