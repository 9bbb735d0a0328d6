/* keeper/keeper.h - who keeps the tasks' processes, for those who ask it to
 * SPDX-License-Identifier: Apache-2.0
 *
 * berth-keeper is one small process on a node, and the parent of all
 * containers: it makes them (each step in a worker process that it forks),
 * reaps them, and is the only reader of their output.  It reads no byte from a
 * network.  It lives on when its clients end, whichever way; when it ends
 * itself, the next one finds the containers again, and the client gives it the
 * output pipes back, of which it holds duplicates.
 *
 * Below run_dir:
 *
 *   keeper.sock         mode 0600; only our own user is heard
 *   keeper.lock         held by the one that lives
 *   keeper.log          where it was started by keeper_spawn()
 *   keeper/cgroup       the cgroup that systemd gave for the tasks, if it did
 *   keeper/ID/row       what is known of a container: enough to find it again
 *   keeper/ID/exit      how it ended, written before anybody is told
 *
 * A client is asynchronous: commands are sent and events come, in the order in
 * which things happen.  Every client gets every event.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define KEEPER_ID_MAX      127  /* letters, digits, '-', '_', '.', not beginning with '.' */
#define KEEPER_PATH_MAX    1023 /* characters of each path */
#define KEEPER_HELD_MAX    240
#define KEEPER_AHEAD_MAX   8
#define KEEPER_EXECS_MAX   64        /* at a time, of all containers */
#define KEEPER_PROCESS_MAX (1 << 20) /* bytes of a process object */

/* Outcomes that are not failures. */
enum {
	KEEPER_ABSENT = 1, /* nobody listens; no spool is there */
	KEEPER_NOTHING,    /* no more for now */
	KEEPER_GONE,       /* the keeper has ended or sent us away: connect again, then list */
	KEEPER_OTHER,      /* an event of a keeper that speaks another protocol */
};

/* ---- the program ---- */

/* Exit code of berth-keeper where another one lives. */
#define KEEPER_EXIT_BUSY 75

struct keeper_serve {
	const char *program; /* absolute path of ourselves, which SIGHUP executes; NULL: unknown */
	const char *run_dir; /* absolute; made when absent */
	/*
	 * Where systemd runs the host: be in the scope of this name, which is made when
	 * it is not there, with the tasks beside us.  NULL: stay where we are.
	 */
	const char *scope;
	bool detach;   /* go on in the background as soon as we listen */
	int resume_fd; /* what the program before us left; -1: none */
};

/*
 * Be the keeper.  The caller has called runtime_protect_self().  Returns 0 when
 * it was told to end.  Where another one lives: for a service manager that waits
 * for READY=1 (NOTIFY_SOCKET is set) that one is told to execute the program anew
 * and is the service's process from then on; else -EBUSY.
 */
int keeper_serve(const struct keeper_serve *options, struct err *e);

struct keeper_spawn {
	const char *program; /* absolute path of berth-keeper */
	const char *run_dir; /* absolute; is there */
	const char *scope;   /* as above */
};

/*
 * Start the program, in a session of its own; it listens when this returns.
 * Blocks for some milliseconds.  One that lives already is an error: EBUSY.
 */
int keeper_spawn(const struct keeper_spawn *s, struct err *e);

/* ---- a client ---- */

struct keeper;

/* 0, or KEEPER_ABSENT. 'run_dir' as above.  The first event is KEEPER_HELLO. */
int keeper_connect(const char *run_dir, struct keeper **ret, struct err *e);
void keeper_disconnect(struct keeper *k); /* NULL is fine */
/* Readable when an event waits, or when the keeper is gone. */
int keeper_fd(const struct keeper *k);

enum keeper_command {
	KEEPER_CREATE = 1,
	KEEPER_START,
	KEEPER_KILL,
	KEEPER_REMOVE,
	KEEPER_ADOPT,
	KEEPER_FOLLOW,
	KEEPER_LIST,
	KEEPER_SHUTDOWN,
	KEEPER_REEXEC,
	KEEPER_EXEC,
	KEEPER_CANCEL,
	KEEPER_AHEAD,
	KEEPER_FORGET,
};

enum keeper_event_kind {
	KEEPER_HELLO = 1, /* version, cgroup_base, pid: the keeper's own */
	KEEPER_CREATED,   /* phase, pid, output_fds */
	KEEPER_STARTED,
	KEEPER_FAILED,   /* command, err; a container that could not be created is forgotten */
	KEEPER_EXITED,   /* exit */
	KEEPER_REMOVED,  /* nothing of it is left but its spool */
	KEEPER_ADOPTED,  /* it has its pipes again */
	KEEPER_OUTPUT,   /* answers keeper_follow(): output_complete */
	KEEPER_LISTED,   /* phase, pid, exit, output_fds, has_pipes, output_complete */
	KEEPER_LIST_END, /* all were listed */
	KEEPER_RESUMED,  /* the keeper has executed a new program; version */
	KEEPER_EXECUTED, /* tag, exit: a process of keeper_exec() has ended */
};

enum keeper_phase {
	KEEPER_CREATING = 1,
	KEEPER_READY,   /* created, not started */
	KEEPER_RUNNING, /* started */
	KEEPER_ENDED,
};

struct keeper_exit {
	bool known; /* false: nobody saw it end (the keeper was dead then, and the kernel old) */
	int code;   /* 0 to 255; 128 + signal when a signal ended it */
	int signal; /* 0: it exited */
	int64_t time_ms; /* since 1970, when it was seen */
};

struct keeper_event {
	enum keeper_event_kind kind;
	char id[KEEPER_ID_MAX + 1]; /* "" where no container is meant */
	enum keeper_command command;
	enum keeper_phase phase;
	pid_t pid; /* 0: none, or ended */
	struct keeper_exit exit;
	bool output_complete; /* all that it wrote is in the spool */
	bool has_pipes;       /* the keeper reads its output; false: adopt it */
	/*
	 * Duplicates of the read ends of standard output and error, or -1.  They
	 * are the receiver's, who never reads them: as long as they are open, the
	 * container does not notice when the keeper dies.
	 */
	int output_fds[2];
	uint64_t tag; /* of keeper_exec(), also where that failed */
	struct err err;
	char version[32];
	char cgroup_base[KEEPER_PATH_MAX + 1]; /* where tasks belong; "": not said */
};

/*
 * 0, KEEPER_NOTHING, KEEPER_GONE.  KEEPER_OTHER: *ret is a HELLO or FAILED of a keeper of
 * before an upgrade (or behind it), which understands nothing but keeper_reexec(); the
 * program that it executes then says KEEPER_RESUMED.
 */
int keeper_next(struct keeper *k, struct keeper_event *ret, struct err *e);

/*
 * Commands.  Each returns when it is sent; what becomes of it comes as an
 * event.  -EPIPE: the keeper is gone.  All parameters are borrowed.
 */
struct keeper_create {
	const char *id;
	const char *bundle;       /* with its config.json */
	const char *runtime_root; /* of runtime_open() */
	const char *log_dir;      /* is there; the spool is made in it */
	/*
	 * Do not wait for keeper_start(): KEEPER_CREATED, with KEEPER_RUNNING as its
	 * phase, is followed by KEEPER_STARTED.  What cannot be started is as what
	 * could not be created.
	 */
	bool start;
	/*
	 * Of keeper_make_ahead(): take that if it is there and just what is wanted.  Else
	 * the container is made as without it.  0: none.
	 */
	uint64_t ahead;
	int rootfs_fd, netns_fd; /* -1: as config.json says */
	int userns_fd;           /* the same; see runtime_create */
	const int *held_fds;     /* are kept until it is removed */
	size_t held_count;
};
int keeper_create(struct keeper *k, const struct keeper_create *c, struct err *e);
int keeper_start(struct keeper *k, const char *id, struct err *e);
/*
 * Make ahead what does not depend on whom a container is for (runtime_make_ahead()):
 * 'ahead' is the client's name for it, not 0; 'log_dir', 'start' and what is to be held
 * mean nothing yet, and the root is not to be used by anybody else.  At most
 * KEEPER_AHEAD_MAX; they are in no list, and end with the client, with the keeper and
 * when it executes a new program.  Nothing is told unless it fails.
 */
int keeper_make_ahead(struct keeper *k, const struct keeper_create *c, struct err *e);
int keeper_forget_ahead(struct keeper *k, uint64_t ahead, struct err *e); /* absent is fine */
int keeper_kill(struct keeper *k, const char *id, int sig, struct err *e);
/* Whatever it does; a step that is under way is broken off. Absent: KEEPER_REMOVED too. */
int keeper_remove(struct keeper *k, const char *id, struct err *e);
/* Give a container that was found again its pipes and what is to be held for it. */
int keeper_adopt(struct keeper *k, const char *id, const int output_fds[2], const int *held_fds,
		 size_t held_count, struct err *e);
/* KEEPER_OUTPUT, once, when there is something behind the cursor, or never will be. */
struct keeper_cursor;
int keeper_follow(struct keeper *k, const char *id, const struct keeper_cursor *cursor,
		  struct err *e);

/*
 * One more process in a container that runs (a health check, a command of its
 * user): KEEPER_EXECUTED when it has ended, or KEEPER_FAILED with this tag.  Its
 * output goes straight into the descriptors; who reads it says how much of it
 * there may be.  Standard input is empty.  A keeper that executes a new program
 * ends it: KEEPER_FAILED, -ECANCELED.
 */
struct keeper_exec {
	const char *id;
	uint64_t tag;             /* the client's name for it */
	const char *process;      /* an OCI process object without a terminal, as JSON text */
	int stdout_fd, stderr_fd; /* -1: nowhere */
};
int keeper_exec(struct keeper *k, const struct keeper_exec *x, struct err *e);
/* Kill that process, which then ends as usual.  It may have ended: nothing is told then. */
int keeper_cancel(struct keeper *k, const char *id, uint64_t tag, struct err *e);
int keeper_list(struct keeper *k, struct err *e);
/* Refused while containers live, unless forced: then they live on without a keeper. */
int keeper_shutdown(struct keeper *k, bool force, struct err *e);
/* Execute this program (absolute path) in its place, with all that it has. */
int keeper_reexec(struct keeper *k, const char *program, struct err *e);

/* ---- the spool of a container's output ----
 *
 * Two files in log_dir.  `data` has the bytes of both streams in the order of
 * their arrival; `index` has one record of 24 bytes for each piece:
 *
 *   0   8  nanoseconds since 1970 when it was read
 *   8   8  offset in data
 *   16  4  bytes, at most 65536; 0 is possible
 *   20  4  stream: 1 standard output, 2 standard error
 *
 * in the host's byte order.  A record is written before its bytes; as long as
 * they are not there it counts only as far as `data` reaches.  Only the last
 * record may be so.  Pieces end anywhere, not at lines.
 */

enum keeper_stream { KEEPER_STDOUT = 1, KEEPER_STDERR = 2 };

/* What comes next; a plain value to be kept over restarts.  Zero is the beginning. */
struct keeper_cursor {
	uint64_t record;
	uint32_t offset; /* in the record */
	uint64_t bytes;  /* of data before it */
};

struct keeper_chunk {
	int64_t time_ns;
	enum keeper_stream stream;
	const char *data; /* valid until the next call */
	size_t size;
};

struct keeper_log;

/* Make the files of an empty one, which the keeper will do otherwise. */
int keeper_log_prepare(const char *log_dir, struct err *e);
/* 0, or KEEPER_ABSENT. */
int keeper_log_open(const char *log_dir, struct keeper_log **ret, struct err *e);
void keeper_log_close(struct keeper_log *log); /* NULL is fine */

/* The piece at the cursor, which then moves behind it; or KEEPER_NOTHING. */
int keeper_log_next(struct keeper_log *log, struct keeper_cursor *cursor, struct keeper_chunk *ret,
		    struct err *e);

/*
 * Give the disk space of all before the cursor back.  The files keep their
 * length, with holes.  -EOPNOTSUPP: the file system has none.
 */
int keeper_log_discard(struct keeper_log *log, const struct keeper_cursor *cursor, struct err *e);
