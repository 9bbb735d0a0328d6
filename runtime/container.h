/* runtime/container.h - a container while it is being made
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the creator has prepared and its init finds in its copy of the memory.
 */
#pragma once

#include "runtime/cgroup.h"
#include "runtime/config.h"
#include "runtime/filter.h"
#include "runtime/mounts.h"
#include "runtime/process.h"
#include "runtime/runtime.h"
#include "runtime/state.h"
#include "runtime/systemd.h"

struct runtime {
	int root_fd;
	void (*warn)(const struct err *e); /* NULL: nobody wants to know */
	struct cgroup_host host; /* opened already, for whoever needs it next; or nothing */
};

struct container {
	struct runtime *rt; /* borrowed, as the spec is */
	const struct runtime_create *spec;
	const struct runtime_checkpoint *restore; /* NULL: a new one is made */
	struct config_doc doc;
	struct config *config;       /* in doc */
	struct ns_wish ns[NS_COUNT]; /* the config's, netns_fd and joined host namespaces applied */
	int ns_fd[NS_COUNT];         /* to join */
	struct filter filter;
	struct process process;
	struct mount_plan mounts;
	struct cgroup_host host;
	struct cgroup cgroup;
	struct systemd_scope scope; /* with the systemd cgroup driver */
	bool scope_started;
	pid_t placeholder;  /* a process of ours that holds the scope until the init does */
	struct state state; /* strings are the doc's arena's */
	json_t *linux_kept; /* state.linux_ */
	char *pattern;      /* made ahead: what config.json must be of whoever gets it */
	int bundle_fd;
	int dir_fd;     /* of the state; locked */
	int start_fd;   /* the init listens on it */
	int console_fd; /* where the terminal goes */
	int sync_fd;    /* our side of the talk */
	int rdt_fd;     /* resctrl, where a class of it is wanted */
	int proc_fd;    /* init: a procfs of our own; -1: none is needed */
	int pidfd;
	pid_t pid;
	bool rootless;    /* we are not the host's root */
	bool ahead;       /* its init waits to be told what to execute */
	bool hooks_began; /* those of the end are due when it is undone */
};

/*
 * init.c: all that the first process of the container does.  Context: the new
 * process, right after clone; single-threaded, so it may allocate.
 */
_Noreturn void init_main(struct container *c);
/* Context: anybody in its UTS namespace. */
int init_set_names(const struct config *c, struct err *e);

/* Does its init go on by itself once it is on record? */
bool container_starts(const struct container *c);

/* template.c: does its init begin in a copy of the empty mount namespace? */
bool template_fits(const struct container *c);
/* Would it, if no hooks wanted the host's files? */
bool template_could_fit(const struct container *c);
/* Is its user namespace entered when everything is made, by the host's root? */
bool joins_user_last(const struct container *c);
/* Context: init, with nothing mounted yet. */
int template_enter(const struct container *c, struct err *e);

/* checkpoint.c: make it from images; c->pid and c->pidfd are set. */
int checkpoint_restore(struct container *c, const struct runtime_checkpoint *spec, struct err *e);

/*
 * spawn.c: make that process.  On success c->pid, c->pidfd and c->sync_fd are
 * set.  The process enters its cgroup itself and waits for SYNC_ATTACHED.
 */
int spawn_init(struct container *c, struct err *e);

/* look.c: the config, and all that it wants of the host, opened; nothing is made. */
int look_at_config(struct container *c, struct err *e);
int look_at_host(struct container *c, struct err *e);

/* What state.json will have of it. */
void look_describe(struct container *c);

/* ahead.c */
struct runtime_ahead {
	struct container c;
	struct config_doc given; /* what it was not made by */
};
/* Can one like this be made ahead? */
int ahead_check(struct container *c, struct err *e);
/* Becomes that of 'spec', or RUNTIME_DIFFERS. */
int ahead_fit(struct runtime_ahead *a, const struct runtime_create *spec, struct err *e);
int ahead_name(struct container *c, struct err *e);
/* Its init goes on without us. */
int ahead_tell(struct container *c, struct err *e);

/* place.c: its cgroup.  place_settle(): the init is in it. */
int place_name(struct container *c, struct err *e);
int place_make(struct container *c, struct err *e);
void place_settle(struct container *c);
void place_drop(struct container *c);
