/* base/proc.h - child processes
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * Start a program.  The child gets exactly the descriptors named, at the
 * numbers named, and none else; default signal dispositions and an empty mask.
 */
struct proc_fd {
	int fd;    /* ours; borrowed */
	int child; /* its number in the child */
};

struct proc_spawn {
	const char *path;          /* executable; not searched in PATH */
	char *const *argv;         /* NULL-terminated */
	char *const *envp;         /* NULL: an empty environment */
	const struct proc_fd *fds; /* what is not named of 0, 1, 2 is /dev/null */
	size_t fd_count;           /* at most 32 */
	bool new_session;          /* setsid: it outlives our terminal */
	bool die_with_parent;      /* SIGKILL when the thread that spawned it ends */
};

/*
 * What a child does with its descriptors: those named get their numbers, 0, 1, 2 are /dev/null
 * where they are not named, all others are closed.  0 or -errno.  Async-signal-safe.
 */
int proc_place_fds(const struct proc_fd *fds, size_t fd_count);

/* On success *ret_pidfd is the caller's and becomes readable when the child has ended. */
int proc_spawn(const struct proc_spawn *s, pid_t *ret_pid, int *ret_pidfd, struct err *e);

/*
 * SIGKILL for us when the thread that is our parent ends; false: it has ended.
 * To be said again after each change of user, group or capabilities, which
 * takes it back (PR_SET_PDEATHSIG(2const)).
 */
bool proc_die_with(pid_t parent);

/*
 * Become a user for good, who gains nothing by any program and whose memory
 * others of that user do not see; no core dump is written.
 */
int proc_become(uid_t uid, gid_t gid, struct err *e);

/* waitid(P_PIDFD), blocking.  *ret_status: exit code, or 128 + signal. */
int proc_wait(int pidfd, int *ret_status, struct err *e);

int proc_pidfd_open(pid_t pid);          /* descriptor or -errno */
int proc_pidfd_kill(int pidfd, int sig); /* 0 or -errno */

/* Close every descriptor from 'first' on (close_range(2), by /proc/self/fd where absent). */
void proc_close_from(int first);

/*
 * When the process was started, in clock ticks after boot (field 22 of
 * /proc/PID/stat): with the pid it names a process for ever.  0 when it is gone.
 */
uint64_t proc_start_time(pid_t pid);

/* Directory of our own executable, without a slash at the end. */
int proc_self_dir(char *ret, size_t size, struct err *e);

/* Notify systemd ("READY=1"); nothing happens where NOTIFY_SOCKET is not set. sd_notify(3). */
void proc_notify(const char *state);
