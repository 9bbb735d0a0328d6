/* keeper/server.h - the keeper itself, for the files that work on all of it
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <sys/resource.h>

#include "keeper/message.h"
#include "keeper/row.h"
#include "keeper/worker.h"

#define CLIENTS_MAX      8
#define CLIENT_QUEUE_MAX 512 /* events that wait for a client; a slower one is sent away */
#define WORKERS_MAX      16  /* steps at a time; more wait for their turn */

struct client {
	int fd;
	struct watch watch;
	bool broken;         /* to be dropped when the loop comes round */
	struct event *queue; /* events that did not fit into its socket, oldest first */
	size_t queue_first, queue_count, queue_capacity;
	bool listing;
	uint64_t listed; /* serial of the row that was listed last */
};

/* An init that ended before its worker told us of it. */
struct stranger {
	pid_t pid;
	int status;
};

/* One more process of a container, by way of a worker that waits for its end. */
struct exec {
	char id[KEEPER_ID_MAX + 1];
	uint64_t tag;
	struct worker worker;
};

struct server {
	int run_fd, rows_fd, lock_fd, listen_fd, signal_fd, epoll_fd;
	struct keepsakes keepsakes;
	struct spare spare;
	struct spare ahead[KEEPER_AHEAD_MAX]; /* free places have no pid */
	char *spare_root;                     /* of the last container that was made */
	int64_t spare_at_ms; /* when the next spare worker is made; 0: there is one, or none is needed */
	char *run_dir;
	char *program; /* what SIGHUP executes */
	struct rlimit nofile;
	char cgroup_base[KEEPER_PATH_MAX + 1];

	struct row **rows; /* in the order of their serials */
	size_t row_count, row_capacity;
	uint64_t last_serial;
	size_t worker_count;
	struct exec execs[KEEPER_EXECS_MAX];
	size_t exec_count;
	struct stranger *strangers;
	size_t stranger_count, stranger_capacity;

	struct client *clients[CLIENTS_MAX]; /* oldest first */
	size_t client_count;

	char *next_program; /* to be executed as soon as no worker is under way */
	bool ending;        /* asked to end: as soon as no container lives and no client is there */
	bool stopping;
	int64_t due_ms; /* when some row wants to be looked at; 0: none does */
	struct watch listen_watch, signal_watch;
};

/* ---- server.c ---- */

int server_watch(struct server *s, int fd, uint32_t events, struct watch *w, struct err *e);
void server_unwatch(struct server *s, int fd);
struct row *server_row(struct server *s, const char *id);
void server_add_row(struct server *s, struct row *row);
/* Frees the row and what is on disk of it, but for the spool. */
void server_forget_row(struct server *s, struct row *row);

/* ---- events.c: what clients are told ---- */

struct event event_of(enum keeper_event_kind kind, const struct row *row);
/* How something ended, and that it is known. */
void event_set_exit(struct event *ev, struct keeper_exit how);
struct event event_of_failure(const char *id, enum keeper_command command, const struct err *why);
/* To every client. */
void tell(struct server *s, const struct event *ev);
void tell_row(struct server *s, enum keeper_event_kind kind, const struct row *row);
void tell_failure(struct server *s, const char *id, enum keeper_command command,
		  const struct err *why);
int client_add(struct server *s, int own_fd, struct err *e);
void client_free(struct server *s, struct client *c);
/* To one client, or into its queue. */
void client_tell(struct server *s, struct client *c, const struct event *ev);
/* Its socket has room again. */
void client_continue(struct server *s, struct client *c);

/* ---- commands.c: what clients want ---- */

/* Read and obey all that the client has sent. */
void client_hear(struct server *s, struct client *c);
/* Start steps that waited, as many as there is room for. */
void start_waiting_steps(struct server *s);

/* ---- life.c: what becomes of containers ---- */

/* Of a wait status, seen now. */
struct keeper_exit keeper_exit_of(int status);
/* A child of ours has ended. */
void child_ended(struct server *s, pid_t pid, int status);
/* An init that is not our child: its pidfd says something. */
void adopted_ended(struct server *s, struct row *row, uint32_t events);
/* Its end is known or will never be: write it down, tell it when the output is in the spool. */
void row_ended(struct server *s, struct row *row, const struct keeper_exit *how);
/* Its end is told when its output is in the spool, but not much later than now. */
void wait_for_output(struct server *s, struct row *row);
void watch_outputs(struct server *s, struct row *row);
void pipe_ready(struct server *s, struct row *row, int stream);
/* A container is made: more may be, and a worker is to wait for them. */
void want_spare(struct server *s, const char *runtime_root);
/* The worker that has made it ahead, or NULL; 0: a free place. */
struct spare *ahead_find(struct server *s, uint64_t ahead);
/* Those of a client, or all. */
void ahead_drop_of(struct server *s, const struct client *c);
/* Do what is due; milliseconds until more is, or -1. */
int due(struct server *s, int64_t now_ms);
/* Tell its end if all before that was told. */
void settle_row(struct server *s, struct row *row);

/* ---- exec.c: more processes ---- */

/* 'fds': the process object, standard output and error (-1: none); borrowed. */
int exec_start(struct server *s, const struct row *row, uint64_t tag, const int fds[3],
	       struct err *e);
/* A child of ours has ended: true when it was a worker of these. */
bool exec_ended(struct server *s, pid_t pid, int status);
void exec_cancel(struct server *s, const char *id, uint64_t tag);
/* The next program knows none of them. */
void exec_break_off(struct server *s);

/* ---- adopt.c: after another keeper ---- */

int adopt_rows(struct server *s, struct err *e);
/* Watch the process of a row that is not our child; false: it is gone. */
bool adopt_process(struct server *s, struct row *row);

/* ---- resume.c: one program after the other in the same process ---- */

/* Execute s->next_program; returns only when that failed. */
int resume_exec(struct server *s, struct err *e);
/* Take over what the program before us left in this descriptor. */
int resume_take(struct server *s, int own_fd, struct err *e);

/* ---- place.c: our own cgroup ---- */

/*
 * Where systemd runs the host: be in the scope that was asked for, and know where
 * tasks go.  It may execute the program anew, by its arguments, to get there.
 */
int place_self(struct server *s, const struct keeper_serve *o, struct err *e);

/* ---- handover.c: a keeper is started where one lives ---- */

/* Have it execute the program, and tell our service manager that it is the one to watch. */
int hand_over(const char *run_dir, const char *program, struct err *e);
