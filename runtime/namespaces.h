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

/* Those to join, opened; each is checked to be of its kind.  -1 where none is. */
int ns_open(const struct ns_wish wishes[NS_COUNT], int ret_fds[NS_COUNT], struct err *e);
void ns_close(int fds[NS_COUNT]);
/* Is it the one that we are in? */
bool ns_is_ours(enum ns_kind kind, int fd);

/*
 * Enter those for a moment, so that a child made now is born in them (pid, time)
 * or inherits them (the rest; not user, not mount).  ns_return() goes back; it
 * must be called also when entering failed.  One thread only.
 */
struct ns_visit {
	int own_fd[NS_COUNT];
};
int ns_visit(struct ns_visit *v, const int fds[NS_COUNT], struct err *e);
int ns_return(struct ns_visit *v, struct err *e);

/* A new time namespace for our children, with clocks set off ("monotonic 60 0\n"); a visit too. */
int ns_visit_new_time(struct ns_visit *v, const char *offsets, struct err *e);
