/* runtime/state.h - what is kept of a container between two commands
 * SPDX-License-Identifier: Apache-2.0
 *
 * <root>/<id>/
 *   state.json   written before anything is made, and again when all of it is
 *   start.sock   the init listens there until it is started
 *   filter       the compiled system call filter, for exec
 *
 * Making the directory claims the id.  Whoever changes the container holds a
 * lock (flock) on the directory, which the kernel lets go of with its process.
 *
 * A container whose creator died has a state.json without a pid, or a directory
 * without state.json; its cgroup, if any, is named in state.json, for that was
 * written first.  Its init ends by itself when its creator does.
 */
#pragma once

#include "runtime/runtime.h"

#define STATE_FILE   "state.json"
#define STATE_SOCKET "start.sock"
#define STATE_FILTER "filter"

struct state {
	char *oci_version, *id, *bundle, *rootfs, *created, *owner;
	char *cgroup;       /* "": it has none */
	char *unit;         /* the scope of systemd's that it is; NULL: none */
	int64_t pid;        /* 0: not made yet */
	int64_t start_time; /* of the process, in ticks: with the pid it is unmistakable */
	int64_t cgroup_kept;
	struct js_strings namespaces; /* by name, those that are not the host's */
	struct js_map annotations;
	json_t *process, *hooks; /* as config.json has them */
	json_t *linux_;          /* of its members those that later commands need */
	bool rdt_made;           /* the class of linux.intelRdt is ours */
};

/* A state and what it lives in.  Zero it; state_doc_done() afterwards. */
struct state_doc {
	struct arena arena;
	json_t *doc;
	struct state state;
};

void state_doc_done(struct state_doc *d);
#define auto_state __attribute__((cleanup(state_doc_done)))

/* Ids are names of directories: checked here and nowhere else. */
int state_check_id(const char *id, struct err *e);

/* Claim an id: RUNTIME_EXISTS, or a directory that is ours and locked. */
int state_claim(int root_fd, const char *id, int *ret_fd, struct err *e);
/* RUNTIME_ABSENT */
int state_open_dir(int root_fd, const char *id, int *ret_fd, struct err *e);
/* Wait for whoever changes it.  RUNTIME_ABSENT when it is gone by then. */
int state_lock(int dir_fd, const char *id, struct err *e);
/* Remove the directory. */
int state_drop(int root_fd, const char *id, struct err *e);

int state_decode(const char *text, size_t size, struct state_doc *ret, struct err *e);
/* RUNTIME_ABSENT: the directory has no state.json (yet). */
int state_read(int dir_fd, struct state_doc *ret, struct err *e);
int state_write(int dir_fd, const struct state *s, struct err *e);

/* The init's pidfd, or RUNTIME_STOPPED. */
int state_open_init(const struct state *s, int *ret_pidfd, struct err *e);
enum runtime_status state_status(int dir_fd, const struct state *s);
/* The same without a look at its cgroup: one that is paused is created or running. */
enum runtime_status state_status_awake(int dir_fd, const struct state *s);

/* The state as hooks and `state` get it. */
json_t *state_json(const struct state *s, enum runtime_status status, pid_t pid);

/* Connect to the init's socket.  RUNTIME_STOPPED: nobody listens (any more); -EAGAIN: it is too slow for us. */
int state_connect(int dir_fd, int *ret_fd, struct err *e);
/* Make that socket, listening. */
int state_listen(int dir_fd, int *ret_fd, struct err *e);
