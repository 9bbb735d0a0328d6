/* runtime/runtime.h - OCI containers as a library
 * SPDX-License-Identifier: Apache-2.0
 *
 * One container is: a bundle (a directory with a config.json of the OCI
 * runtime-spec), a directory of state below the runtime's root, a cgroup, and
 * an init process that waits, ready made, until runtime_start() lets it go.
 *
 * Nothing is ever mounted in the mount namespace of the caller.  What a failed
 * call made it has unmade, and a container whose creator was killed at any
 * instruction is still found by its id and removed by runtime_delete().  Create
 * and exec change the namespaces of the process and fork it: the caller has one
 * thread, and called runtime_protect_self() first thing in main().
 */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/js.h"

struct buf;

#define RUNTIME_SPEC_VERSION "1.3.0" /* of the OCI runtime-spec; older 1.x configs are read */
#define RUNTIME_ID_MAX       255     /* [A-Za-z0-9_+.-]+, not beginning with '.' */

/* Outcomes that are not failures. */
enum {
	RUNTIME_ABSENT = 1, /* no container has this id */
	RUNTIME_EXISTS,     /* a container has this id already */
	RUNTIME_STOPPED,    /* its process has ended */
	RUNTIME_RUNNING,    /* it runs, and was to be stopped first */
	RUNTIME_DIFFERS,    /* what was made ahead is not what is wanted */
};

/*
 * Re-execute ourselves once from a read-only view of our own program (a sealed
 * copy in memory where that cannot be had), so that no process of a container
 * can write to the host's binary through /proc/PID/exe.  A program that began at
 * protect_entry (ld -e) is there already.  Returns 0 in the process that is protected.  Descriptors, arguments, environment are kept.
 * Half a millisecond is still to be waited: by create and exec, or by _settle().
 */
int runtime_protect_self(char *const argv[], struct err *e);
void runtime_protect_settle(void);

/* Are we another user than the host's root, or root of a user namespace only? */
bool runtime_is_rootless(void);

/* ---- containers ---- */

struct runtime;

/* 'root': the directory of all state, made with mode 0700 when it is not there. */
int runtime_open(const char *root, struct runtime **ret, struct err *e);
void runtime_free(struct runtime *rt);
/* What the first create will look for on the host is looked for now. */
void runtime_look_ahead(struct runtime *rt);
/* What goes wrong and stops nothing is told to 'warn'; without it, a missing capability stops. */
void runtime_on_warning(struct runtime *rt, void (*warn)(const struct err *e));

struct runtime_io {            /* what the process gets from outside; for create and for exec */
	int stdio_fd[3];       /* borrowed; -1: the caller's own.  Not with a terminal */
	unsigned preserve_fds; /* 3 .. 3 + n - 1 go to the process too; they must be open */
	unsigned listen_fds;   /* so many of them are systemd's sockets: create sets LISTEN_FDS */
	/*
	 * Where the master side of the terminal goes when process.terminal is true, in one message
	 * before the call returns: to a path (an error when it is not), or a connected socket.
	 */
	const char *console_socket; /* NULL: none */
	int console_fd;             /* borrowed; -1: none */
	const char *pid_file;       /* written before the call returns; NULL: none */
	const char *pidfd_socket;   /* a path, as console_socket; receives a pidfd; NULL: none */
};

#define RUNTIME_IO_INIT                                    \
	{                                                  \
		.stdio_fd = {-1, -1, -1}, .console_fd = -1 \
	}

/* Who makes the cgroup of a container. */
enum runtime_cgroups {
	RUNTIME_CGROUPS_OURS,    /* linux.cgroupsPath is a path */
	RUNTIME_CGROUPS_NEEDED,  /* the same, but only where something is limited or counted */
	RUNTIME_CGROUPS_SYSTEMD, /* it is SLICE:PREFIX:NAME: a scope of the system's manager */
	RUNTIME_CGROUPS_NONE,    /* nobody: no limits, and kill --all is kill */
};

struct runtime_create {
	const char *id;
	const char *bundle; /* directory; root.path and relative bind sources begin there */
	const char *config; /* the file, from there; NULL: config.json */
	struct runtime_io io;
	/*
	 * A detached mount tree, -1: none, that becomes the root instead of root.path, on which
	 * createContainer hooks see it.  Borrowed, but moved: it then names the mounted root.
	 */
	int rootfs_fd;
	/* A network namespace to join instead of what config.json says; -1: none.  Borrowed. */
	int netns_fd;
	int template_fd; /* of runtime_template_open(), or -1.  Borrowed */
	int proc_fd;     /* of runtime_proc_open(), or -1: the init mounts one.  Borrowed */
	/*
	 * A user namespace with the mappings of config.json, or -1; borrowed.  The process ends up
	 * in it; all else is the caller's: its root has no power there.  Not without a template.
	 */
	int userns_fd;
	enum runtime_cgroups cgroups;
	bool start;          /* at once, unless io.console_fd is to be taken first */
	bool no_pivot;       /* chroot on a moved mount: for an initramfs, where pivot_root fails */
	bool no_new_keyring; /* keep the caller's session keyring */
	/* The init is our parent's child; one that joins a user namespace the nearest subreaper's. */
	bool sibling;
};

/* First, for who has no rights: a namespace where he has, over ids that newuidmap(1) lets him map. */
int runtime_own_namespace(const struct runtime_create *spec, struct err *e);
#define RUNTIME_CREATE_INIT                                                                \
	{                                                                                  \
		.io = RUNTIME_IO_INIT, .rootfs_fd = -1, .netns_fd = -1, .template_fd = -1, \
		.proc_fd = -1, .userns_fd = -1                                             \
	}

/* An empty mount namespace to begin with: a start does not take longer with the host's mounts. */
int runtime_template_open(int *ret_fd, struct err *e);
int runtime_proc_open(int *ret_fd, struct err *e); /* the same, for linux.sysctl */
/* With nobody in it; its ids 0 .. count - 1 are the host's from 'first' on.  Threads are fine. */
int runtime_user_namespace(uint32_t first, uint32_t count, int *ret_fd, struct err *e);
/* What create would make in a root to mount on, as the host's user 'owner'. */
int runtime_make_place(int root_fd, const char *path, bool directory, uid_t owner, struct err *e);
/* Can all that is mounted at and below 'path' be seen with its ids?  The error names what cannot. */
int runtime_check_map(const char *path, int userns_fd, struct err *e);

/*
 * Make the container; its init, *ret_pid, waits for runtime_start(), or starts at once.
 * RUNTIME_EXISTS, or an error that says which member of config.json or object of the host it comes
 * from; a program that is not there: `exec: "x": executable file not found in $PATH`.
 */
int runtime_create(struct runtime *rt, const struct runtime_create *spec, pid_t *ret_pid,
		   struct err *e);

/*
 * Make ahead what does not depend on whom a container is for, to give it to whoever wants just that:
 * the same root, namespaces, mounts (of bind mounts the same files), cgroup, limits, rights, filter.
 * His are id, bundle, host name, parameters, program, environment, user and rlimits.  Until then it
 * is no container and ends with us; whoever is killed leaves a cgroup.  'spec' is borrowed as long.
 * -EINVAL: with hooks, a terminal, a listener or recursive bind mounts, and without 'start'.
 * _give() takes it unless it fails or returns RUNTIME_DIFFERS: then it is to be dropped.
 */
struct runtime_ahead;
int runtime_make_ahead(struct runtime *rt, const struct runtime_create *spec,
		       struct runtime_ahead **ret, struct err *e);
int runtime_give(struct runtime_ahead *a, const struct runtime_create *spec, pid_t *ret_pid,
		 struct err *e);
void runtime_drop_ahead(struct runtime_ahead *a); /* NULL is fine; the cgroup goes, too */

/* Returns when the init has executed its program, or could not and is stopped.  RUNTIME_ABSENT. */
int runtime_start(struct runtime *rt, const char *id, struct err *e);

enum runtime_status {
	RUNTIME_STATUS_CREATING,
	RUNTIME_STATUS_CREATED,
	RUNTIME_STATUS_RUNNING,
	RUNTIME_STATUS_PAUSED,
	RUNTIME_STATUS_STOPPED,
};

struct runtime_state {
	struct arena arena; /* owns the strings */
	enum runtime_status status;
	pid_t pid; /* 0 when stopped */
	char *oci_version, *id, *bundle, *rootfs;
	char *created; /* RFC 3339 */
	char *owner;   /* name or number of the user that made it */
	char *cgroup;  /* path below the root of each hierarchy */
	struct js_map annotations;
};

/* RUNTIME_ABSENT.  On success the caller ends with runtime_state_done(). */
int runtime_state(struct runtime *rt, const char *id, struct runtime_state *ret, struct err *e);
void runtime_state_done(struct runtime_state *s);
const char *runtime_status_name(enum runtime_status status);
json_t *runtime_state_json(const struct runtime_state *s); /* as the spec and runc have it */

/* All containers by id, an array that is the caller's: runtime_list_free(). */
int runtime_list(struct runtime *rt, struct runtime_state **ret, size_t *ret_count, struct err *e);
void runtime_list_free(struct runtime_state *list, size_t count);

/* Signal the init, or every process of the container.  RUNTIME_ABSENT, RUNTIME_STOPPED. */
int runtime_kill(struct runtime *rt, const char *id, int sig, bool all, struct err *e);

/*
 * Remove what is left: processes, cgroup, state, the mount of a root that was given; poststop hooks
 * run.  Without 'force' one whose program runs is left alone: RUNTIME_RUNNING.  RUNTIME_ABSENT.
 */
int runtime_delete(struct runtime *rt, const char *id, bool force, struct err *e);

struct runtime_exec {
	const char *id;
	struct runtime_io io;
	/* An OCI process object as JSON text; NULL: the container's own with what is given here. */
	const char *process;
	char *const *args;    /* NULL-terminated */
	char *const *env;     /* NAME=VALUE added; NULL-terminated, or NULL */
	char *const *caps;    /* added to all sets but ambient and inheritable; or NULL */
	char *const *gids;    /* more groups, numbers; or NULL */
	char *const *cgroups; /* "[CONTROLLERS:]PATH", below the container's; or NULL */
	const char *cwd;      /* NULL: the container's */
	const char *user;     /* "UID" or "UID:GID", numbers; NULL: the container's */
	bool tty;
	uint16_t rows, columns; /* of its terminal, where 'process' does not say; 0: none */
	bool no_new_privs, ignore_paused;
	const char *apparmor, *selinux; /* profile and label; NULL: the container's */
};

#define RUNTIME_EXEC_INIT             \
	{                             \
		.io = RUNTIME_IO_INIT \
	}

/*
 * One more process in a running container, a child of the caller or of the nearest subreaper when
 * that ends; returns when its program has been executed.  RUNTIME_ABSENT, RUNTIME_STOPPED.
 */
int runtime_exec(struct runtime *rt, const struct runtime_exec *spec, pid_t *ret_pid,
		 struct err *e);

/* Freeze and thaw.  RUNTIME_ABSENT, RUNTIME_STOPPED. */
int runtime_pause(struct runtime *rt, const char *id, struct err *e);
int runtime_resume(struct runtime *rt, const char *id, struct err *e);
/* What 'resources' does not name stays.  RUNTIME_ABSENT, RUNTIME_STOPPED. */
int runtime_update(struct runtime *rt, const char *id, const json_t *resources, struct err *e);

/* What it uses, as `events` of runc prints it ("data"); the caller's.  RUNTIME_ABSENT. */
int runtime_stats_json(struct runtime *rt, const char *id, json_t **ret, struct err *e);
/*
 * A running container to images and back, by the host's criu; not with a terminal.  What is not left
 * running has still to be deleted.  RUNTIME_ABSENT, RUNTIME_STOPPED; RUNTIME_EXISTS.
 */
struct runtime_checkpoint {
	const char *images, *work, *parent; /* directories; the last two: NULL, none */
	bool leave_running, pre_dump;
	const char *const *criu_options; /* more of criu's own; NULL-terminated, or NULL */
};
int runtime_checkpoint(struct runtime *rt, const char *id, const struct runtime_checkpoint *spec,
		       struct err *e);
int runtime_restore(struct runtime *rt, const struct runtime_create *spec,
		    const struct runtime_checkpoint *checkpoint, pid_t *ret_pid, struct err *e);

/* Too little memory: 'fd' becomes readable when there may be, _look() tells.  RUNTIME_ABSENT. */
struct runtime_oom {
	int fd; /* the caller's */
	bool counted;
	uint64_t seen;
};
int runtime_oom_watch(struct runtime *rt, const char *id, struct runtime_oom *ret, struct err *e);
bool runtime_oom_look(struct runtime *rt, const char *id, struct runtime_oom *o);

/* Every process in it, by our pids; an array that is the caller's.  RUNTIME_ABSENT. */
int runtime_pids(struct runtime *rt, const char *id, pid_t **ret, size_t *ret_count, struct err *e);

/*
 * The header and their lines of what the host's ps(1) prints when it is asked
 * with these words (ends with NULL), among its columns PID.  RUNTIME_ABSENT;
 * -ENOTSUP where the host has none.
 */
int runtime_ps(struct runtime *rt, const char *id, char *const *words, struct buf *ret,
	       struct err *e);

/* ---- cgroups ---- */

/* A path begins where each hierarchy is mounted ("/berth/<task>"), v1 and v2.  Zero: no limit. */
struct runtime_limits {
	uint64_t cpu_shares; /* 1 .. 262144, as v1 counts them: 1024 is the default */
	uint64_t cpu_quota_us, cpu_period_us;
	uint64_t memory_max_bytes, memory_reservation_bytes;
	uint64_t pids_max;
};

/* There already is fine: the limits are set.  A limit without its controller is an error. */
int runtime_cgroup_create(const char *path, const struct runtime_limits *limits, struct err *e);
/* What is below goes too; its processes are killed first.  Absent is fine. */
int runtime_cgroup_remove(const char *path, struct err *e);
/* How many of its processes the kernel has killed for want of memory, those below included. */
int runtime_cgroup_oom_kills(const char *path, uint64_t *ret, struct err *e);

/* ---- what Docker's users expect of a container; lists are static, NULL-terminated ---- */
const char *const *runtime_default_capabilities(void);
const char *const *runtime_all_capabilities(void); /* those that we may give */
const char *const *runtime_default_masked_paths(void);
const char *const *runtime_default_readonly_paths(void);
/* The filter as linux.seccomp for a container with these capabilities ("CAP_CHOWN"). */
json_t *runtime_default_seccomp(const char *const *caps, size_t count);
/* Into a file for {"defaultAction": "SCMP_ACT_ERRNO", "compiled": "/path"}, by this version only. */
int runtime_compile_seccomp(const json_t *seccomp, const char *path, struct err *e);
json_t *runtime_example_config(bool rootless); /* the config.json that `spec` writes */
json_t *runtime_features(void);                /* what `features` prints */
