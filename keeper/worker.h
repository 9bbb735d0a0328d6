/* keeper/worker.h - steps of a container's life, each in a process of its own
 * SPDX-License-Identifier: Apache-2.0
 *
 * A step reads files, waits and may go wrong in many ways; the keeper does
 * none of that itself.  The worker has the descriptors of its own container and
 * none else, so that what it makes cannot hold another's.  It dies with the
 * keeper, and tells what came of it in one write before it ends.
 */
#pragma once

#include <sys/resource.h>

#include "keeper/row.h"

/* What a worker tells; less than PIPE_BUF, so one write is whole. */
struct worker_report {
	int result; /* 0 or -errno */
	pid_t pid;  /* KEEPER_CREATE: the container's init, our child */
	int status; /* KEEPER_EXEC: how the process ended */
	struct err err;
};

/* What every container begins with; -1: it could not be made. */
struct keepsakes {
	int template_fd; /* of runtime_template_open() */
	int proc_fd;     /* of runtime_proc_open() */
};

/* A worker that waits for the next container to be made; it ends when it is dropped. */
struct spare {
	pid_t pid;          /* 0: none */
	int fd, output[2];  /* to tell it by; what its container will write, to be read */
	char *runtime_root; /* of the containers that it can make */
	uint64_t ahead;     /* keeper_create.ahead, of which it has made a part; 0: of none */
	const void *owner;  /* whose that is */
};

/* 'ahead': what to begin with, or NULL; the row is for its names and descriptors only. */
int spare_start(struct spare *s, const char *runtime_root, const struct row *ahead,
		const struct rlimit *limit, const struct keepsakes *keepsakes, struct err *e);
#define SPARE_NONE ((struct spare){.fd = -1, .output = {-1, -1}})
void spare_drop(struct spare *s); /* none is fine; also when it has ended */

/*
 * The worker for KEEPER_CREATE, KEEPER_START or KEEPER_REMOVE: the spare one or
 * a new one.  For CREATE the pipes are made, and their read ends are the row's.
 * 'limit': what RLIMIT_NOFILE was before the keeper raised it for itself.
 */
int worker_start(struct row *row, enum keeper_command step, const struct rlimit *limit,
		 const struct keepsakes *keepsakes, struct spare *spare, struct err *e);

/*
 * The same for one more process, which the worker waits for; SIGTERM to the
 * worker kills it.  'fds': its process object, standard output and error.
 */
int worker_exec(struct worker *w, const struct row *row, const int fds[3],
		const struct rlimit *limit, struct err *e);

/* The worker has ended with this wait status: what it told, or that it was killed. */
void worker_finish(struct worker *w, int status, struct worker_report *ret);

/* Break the step off; its end comes as usual. */
void worker_kill(const struct row *row);
