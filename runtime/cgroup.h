/* runtime/cgroup.h - the cgroups of a container on any kind of host
 * SPDX-License-Identifier: Apache-2.0
 *
 * A host has hierarchies: one v2 tree, a number of v1 ones, or both ("hybrid").
 * Each controller lives in one of them.  A cgroup here is one directory of the
 * same path in each hierarchy, relative to where that is mounted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "runtime/config.h"

#define CGROUP_HIERARCHIES_MAX 24 /* the kernel has 14 controllers; named ones come on top */
#define CGROUP_DEPTH_MAX       64

struct cgroup_hierarchy {
	char name[64]; /* its directory: "cpu,cpuacct", "systemd", "unified"; "" for v2 alone */
	char controllers[192]; /* comma-separated */
	bool v2;
	int fd; /* its root, as it is mounted */
};

struct cgroup_host {
	struct cgroup_hierarchy items[CGROUP_HIERARCHIES_MAX];
	size_t count;
};

/* cgroup_host.c: zero it before; close it whatever became of it. */
int cgroup_host_open(struct cgroup_host *h, struct err *e);
void cgroup_host_close(struct cgroup_host *h);
/*
 * Leave those of cpu, cpuacct, cpuset, memory, pids, devices, the v2 tree, and
 * what 'r' asks for.  Each v1 hierarchy costs a tenth of a millisecond at a start,
 * and nobody looks at the others (blkio, freezer, those with a name).  cpuset is
 * there for virtual machines of Java: without it they see no limit at all.
 */
void cgroup_host_narrow(struct cgroup_host *h, const struct config_resources *r);
#define auto_cgroup_host __attribute__((cleanup(cgroup_host_close)))
/* The hierarchy that has the controller, or NULL. */
const struct cgroup_hierarchy *cgroup_host_find(const struct cgroup_host *h,
						const char *controller);
const struct cgroup_hierarchy *cgroup_host_v2(const struct cgroup_host *h);
/*
 * Where a hierarchy is mounted, by mountinfo's text.  'controllers' as
 * /proc/self/cgroup has it; "" for v2.  Returns whether it was found.
 */
bool cgroup_find_mount(const char *mountinfo, const char *controllers, char *ret, size_t size);

struct cgroup {
	const struct cgroup_host *host; /* borrowed */
	char path[4096];
	void (*warn)(const struct err *e); /* of limits that the kernel forgets; NULL: nobody */
	char extra[128];                   /* controllers, blank-separated: cgroup_want() */
	/* How many components at its front were there before it was made, in any hierarchy. */
	unsigned kept;
	int fd[CGROUP_HIERARCHIES_MAX]; /* of its directories; -1: not there */
};

/* A path that may be used at all: absolute, no dots, not the root itself. */
int cgroup_check_path(const char *path, struct err *e);

/*
 * The cgroup that a state names, opened: *host, which may be open already, and *c are the
 * caller's to let go of, whatever became of them.  "" is a container without one: a host without
 * hierarchies, where nobody is in it and nothing can be limited or frozen.
 */
int cgroup_open_recorded(struct cgroup_host *host, struct cgroup *c, const char *path,
			 struct err *e);
/* The same, but only named. */
int cgroup_name_recorded(struct cgroup_host *host, struct cgroup *c, const char *path,
			 struct err *e);

/* Names it; nothing is made or opened. */
int cgroup_init(struct cgroup *c, const struct cgroup_host *host, const char *path, struct err *e);
void cgroup_done(struct cgroup *c);
#define auto_cgroup __attribute__((cleanup(cgroup_done)))
/* Open what is there of it. */
int cgroup_open(struct cgroup *c, struct err *e);
/*
 * Make it in every hierarchy.  'fresh': what is there already must be empty,
 * for it will be removed with all that is in it.  'c->kept' is set before
 * anything is made (cgroup_look).
 */
int cgroup_look(struct cgroup *c, bool fresh, struct err *e);
int cgroup_make(struct cgroup *c, struct err *e);
/* Before that: controllers of a v2 tree that these limits need beyond the usual ones. */
void cgroup_want(struct cgroup *c, const struct config_resources *r);
/*
 * The calling process, of one thread, enters it.  'born': it was made in the v2 one
 * (CLONE_INTO_CGROUP).  A thread that moves itself in a v1 hierarchy is the one move that never
 * waits for a grace period of the kernel, 8 to 20 ms (cgroup_procs_write_start(), since Linux 5.5).
 */
int cgroup_enter(const struct cgroup *c, bool born, struct err *e);
/* The v2 directory, for CLONE_INTO_CGROUP; -1: none. */
int cgroup_v2_fd(const struct cgroup *c);
/* The v2 cgroup that a process is in, wherever it has gone: a descriptor, or -errno and no err. */
int cgroup_v2_open_of(const struct cgroup_host *h, pid_t pid);

int cgroup_kill(struct cgroup *c, struct err *e);
/* Named is enough: kill what is in it and remove it, and those above it that were made with it. */
int cgroup_remove(struct cgroup *c, struct err *e);
int cgroup_populated(struct cgroup *c, bool *ret, struct err *e);
int cgroup_signal_all(struct cgroup *c, int sig, struct err *e);
int cgroup_freeze(struct cgroup *c, bool freeze, struct err *e);
/* Whoever froze it, by whichever freezer: before a kill, for a frozen v1 process does not die. */
void cgroup_thaw(const struct cgroup *c);
/* The freezer that a process is in, wherever it was put: somebody may have moved it away. */
void cgroup_thaw_around(const struct cgroup_host *host, pid_t pid);
bool cgroup_is_frozen(const struct cgroup *c);
/*
 * Go on in a cgroup below it, as "[CONTROLLER[,CONTROLLER]:]PATH" says: in these
 * hierarchies or in all of them.  It must be there.
 */
int cgroup_descend(struct cgroup *c, const char *place, struct err *e);
/* All pids in it and below; an array that is the caller's. */
int cgroup_pids(const struct cgroup *c, pid_t **ret, size_t *ret_count, struct err *e);

bool cgroup_exists(const struct cgroup *c); /* as it was when it was opened */

/* The number in one file, of the controller's kind of hierarchy; 0 where there is none. */
uint64_t cgroup_count(const struct cgroup *c, const char *controller, const char *v2_file,
		      const char *v1_file);
int cgroup_oom_kills(const struct cgroup *c, uint64_t *ret, struct err *e);

/* ---- cgroup_limits.c ---- */

struct cgroup_setting {
	const char *member; /* of linux.resources, for messages */
	const char *controller;
	char file[64]; /* "": this kind of hierarchy has no such thing */
	char value[256];
	bool either;  /* where the file is not there, the next setting is meant */
	bool spare;   /* where the file is not there, nothing is lost */
	bool doubted; /* newer kernels take it and forget it: it is read again */
	bool failed;  /* once; it may go after the others */
};

/* Zero it; cgroup_settings_done() afterwards. */
struct cgroup_settings {
	struct cgroup_setting *items;
	size_t count, capacity;
};

/*
 * What is to be written where if each controller lived in a v2 (or v1)
 * hierarchy.  Pure.
 */
void cgroup_settings_of(const struct config_resources *r, bool v2, struct cgroup_settings *ret);
void cgroup_settings_done(struct cgroup_settings *s);
struct cgroup_setting *cgroup_settings_add(struct cgroup_settings *s, const char *member,
					   const char *controller);
/* cgroup_io.c: those of lists, one device, page size or interface each. */
void cgroup_settings_of_lists(const struct config_resources *r, bool v2,
			      struct cgroup_settings *ret);
int cgroup_check_lists(const struct config_resources *r, struct err *e);
/* cpu.shares of v1 as cpu.weight of v2. */
int64_t cgroup_weight_of_shares(int64_t shares);
int cgroup_limit(struct cgroup *c, const struct config_resources *r, struct err *e);
/* Of the members of config.json that have to do with cgroups. */
int cgroup_check_config(const struct config_linux *l, struct err *e);
int cgroup_check_resources(const struct config_resources *r, struct err *e);

/* ---- cgroup_devices.c ---- */

struct device_rule {
	char type;            /* 'b', 'c' */
	int64_t major, minor; /* -1: any */
	unsigned access;      /* DEVICE_* */
};
/* The bits of BPF_DEVCG_ACC_*. */
#define DEVICE_MKNOD 1u
#define DEVICE_READ  2u
#define DEVICE_WRITE 4u
#define DEVICE_ALL   7u

#define DEVICE_RULES_MAX 1024

/* A list in order becomes a default and the exceptions from it. */
struct device_policy {
	bool allow; /* what is no exception */
	struct device_rule *rules;
	size_t count, capacity;
};

int device_policy_of(const struct js_list *rules, struct device_policy *ret, struct err *e);
void device_policy_done(struct device_policy *p);
/* The same as a BPF_PROG_TYPE_CGROUP_DEVICE program: malloc'ed instructions. */
struct bpf_insn *device_program(const struct device_policy *p, size_t *ret_count);
int cgroup_limit_devices(struct cgroup *c, const struct js_list *rules, struct err *e);
