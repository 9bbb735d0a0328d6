/* keeper/life.c - what becomes of containers
 * SPDX-License-Identifier: Apache-2.0
 *
 * Children are reaped as they come.  An init may end before the worker that
 * made it has told us its pid: it is a stranger until then, and its status is
 * kept as long as a worker is under way that may tell of it.
 *
 * The end of a container is told when three things are so: its record is on
 * disk, no step of it is under way, and its output is in the spool.  For the
 * last one there is a limit, since somebody who was given the pipe may keep it.
 */
#include <errno.h>
#include <linux/types.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "keeper/server.h"

#define RETRY_MS   250  /* after a full disk */
#define DRAIN_MS   2000 /* how long the end of a container waits for its output */
#define REST_MS    50   /* after a container was made, until the next worker waits */
#define GIVE_UP_MS 2000 /* and for whoever reaps what is not our child */

/* linux/pidfd.h since 6.13 and 6.15; Debian 12 has an older one. */
struct pidfd_info_v1 {
	uint64_t mask;
	uint64_t cgroup_id;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define PIDFD_GET_INFO_V1    _IOWR(0xFF, 11, struct pidfd_info_v1)
#define PIDFD_INFO_EXIT_MASK (1u << 3)

/* Let due() look at all rows then; returns when that is. */
static int64_t remind(struct server *s, int64_t delay_ms)
{
	int64_t at_ms = clock_mono_ms() + delay_ms;

	if (!s->due_ms || at_ms < s->due_ms)
		s->due_ms = at_ms;
	return at_ms;
}

/* ---- output ---- */

static void watch_output(struct server *s, struct row *row, struct output *o)
{
	struct err e;

	o->retry_ms = 0;
	if (o->fd < 0 || o->watched)
		return;
	o->watched = server_watch(s, o->fd, EPOLLIN, &o->watch, &e) == 0;
	if (!o->watched) {
		log_warn("container=%s: output: %s", row->id, e.msg);
		o->retry_ms = remind(s, RETRY_MS);
	}
}

void watch_outputs(struct server *s, struct row *row)
{
	for (int i = 0; i < 2; i++)
		watch_output(s, row, &row->output[i]);
}

static void unwatch_output(struct server *s, struct output *o)
{
	if (o->watched)
		server_unwatch(s, o->fd);
	o->watched = false;
}

/* No room: not even looked at until it is time, for a pipe that hangs up is ready for ever. */
static void stall(struct server *s, struct row *row, struct output *o, const struct err *why)
{
	if (!o->retry_ms)
		log_warn("container=%s: output waits: %s", row->id, why->msg);
	unwatch_output(s, o);
	o->retry_ms = remind(s, RETRY_MS);
}

static void take_piece(struct server *s, struct row *row, int stream)
{
	struct output *o = &row->output[stream];
	struct err why;

	switch (spool_take(&row->spool, o->fd, stream ? KEEPER_STDERR : KEEPER_STDOUT,
			   clock_wall_ns(), &why)) {
	case SPOOL_MOVED:
	case SPOOL_EMPTY:
		watch_output(s, row, o);
		break;
	case SPOOL_ENDED:
		unwatch_output(s, o);
		close_fd(&o->fd);
		o->retry_ms = 0;
		break;
	case SPOOL_FULL:
		stall(s, row, o, &why);
		break;
	}
}

void pipe_ready(struct server *s, struct row *row, int stream)
{
	take_piece(s, row, stream);
	settle_row(s, row);
}

/* ---- ends ---- */

static void tell_output(struct server *s, struct row *row)
{
	if (!row->followed ||
	    (row->spool.data_size <= row->follow_bytes && !row_output_complete(row)))
		return;
	row->followed = false;
	tell_row(s, KEEPER_OUTPUT, row);
}

void settle_row(struct server *s, struct row *row)
{
	tell_output(s, row);
	if (row->phase != KEEPER_ENDED || row->exit_told || row->worker.pid)
		return;
	if (!row_output_complete(row) && clock_mono_ms() < row->drained_by_ms)
		return;
	row->exit_told = true;
	tell_row(s, KEEPER_EXITED, row);
}

void wait_for_output(struct server *s, struct row *row)
{
	row->drained_by_ms = remind(s, DRAIN_MS);
}

void row_ended(struct server *s, struct row *row, const struct keeper_exit *how)
{
	struct err e;

	if (row->phase == KEEPER_ENDED)
		return;
	row->phase = KEEPER_ENDED;
	row->exit = *how;
	row->pid = 0;
	if (row->pidfd >= 0)
		server_unwatch(s, row->pidfd);
	close_fd(&row->pidfd);
	row->give_up_ms = 0;
	wait_for_output(s, row);
	if (row_write_exit(s->rows_fd, row, &e) < 0)
		log_error("container=%s: record of its end: %s", row->id, e.msg);
	settle_row(s, row);
}

struct keeper_exit keeper_exit_of(int status)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	return (struct keeper_exit){.known = true,
				    .code = sig ? 128 + sig : WEXITSTATUS(status),
				    .signal = sig,
				    .time_ms = clock_wall_ms()};
}

/* ---- workers ---- */

/* The status of an init that ended before we knew it; false: it has not. */
static bool take_stranger(struct server *s, pid_t pid, int *ret_status)
{
	for (size_t i = 0; i < s->stranger_count; i++) {
		if (s->strangers[i].pid != pid)
			continue;
		*ret_status = s->strangers[i].status;
		s->strangers[i] = s->strangers[--s->stranger_count];
		return true;
	}
	return false;
}

static void move_to(struct server *s, struct row *row, enum keeper_phase phase)
{
	struct err e;

	row->phase = phase;
	if (row_write(s->rows_fd, row, &e) < 0) /* found again it would look younger; no more */
		log_error("container=%s: record: %s", row->id, e.msg);
}

static void created(struct server *s, struct row *row, const struct worker_report *report)
{
	struct keeper_exit how;
	int status;

	row->pid = report->pid;
	row->start_time = proc_start_time(report->pid);
	move_to(s, row, row->start ? KEEPER_RUNNING : KEEPER_READY);
	tell_row(s, KEEPER_CREATED, row);
	if (row->start)
		tell_row(s, KEEPER_STARTED, row);
	if (take_stranger(s, row->pid, &status)) {
		how = keeper_exit_of(status);
		row_ended(s, row, &how);
	}
}

/* The row goes, and then it is told: who hears of it finds nothing left. */
static void forget_and_tell(struct server *s, struct row *row, const struct event *last)
{
	server_forget_row(s, row);
	tell(s, last);
}

static void step_failed(struct server *s, struct row *row, enum keeper_command step,
			const struct err *why)
{
	struct event failed = event_of_failure(row->id, step, why);

	if (step == KEEPER_CREATE && row->wanted != KEEPER_REMOVE) {
		forget_and_tell(s, row, &failed);
		return;
	}
	tell(s, &failed);
	settle_row(s, row);
}

static void removed(struct server *s, struct row *row)
{
	struct event last = event_of(KEEPER_REMOVED, row);

	/* What it still had to say is in the pipes, for who reads the spool. */
	for (int i = 0; i < 2; i++)
		if (row->output[i].fd >= 0)
			take_piece(s, row, i);
	forget_and_tell(s, row, &last);
}

/* What a step made of its row; the row may be gone afterwards. */
static void step_ended(struct server *s, struct row *row, enum keeper_command step,
		       const struct worker_report *report)
{
	if (report->result < 0) {
		step_failed(s, row, step, &report->err);
	} else if (step == KEEPER_CREATE) {
		created(s, row, report);
		settle_row(s, row);
	} else if (step == KEEPER_START) {
		if (row->phase == KEEPER_READY)
			move_to(s, row, KEEPER_RUNNING);
		tell_row(s, KEEPER_STARTED, row);
		settle_row(s, row);
	} else {
		removed(s, row);
	}
}

static void worker_ended(struct server *s, struct row *row, int status)
{
	enum keeper_command step = row->worker.step;
	struct worker_report report;

	worker_finish(&row->worker, status, &report);
	s->worker_count--;
	step_ended(s, row, step, &report);
	if (!s->worker_count)
		s->stranger_count = 0; /* nobody is left who could tell of them */
	start_waiting_steps(s);
}

void child_ended(struct server *s, pid_t pid, int status)
{
	if (pid == s->spare.pid)
		spare_drop(&s->spare);
	for (size_t i = 0; i < KEEPER_AHEAD_MAX; i++)
		if (pid == s->ahead[i].pid)
			spare_drop(&s->ahead[i]);
	if (exec_ended(s, pid, status))
		return;
	for (size_t i = 0; i < s->row_count; i++) {
		struct row *row = s->rows[i];

		if (row->worker.pid == pid) {
			worker_ended(s, row, status);
			return;
		}
		if (row->pid == pid && row->pidfd < 0 && row->phase != KEEPER_ENDED) {
			const struct keeper_exit how = keeper_exit_of(status);

			row_ended(s, row, &how);
			return;
		}
	}
	if (!s->worker_count)
		return; /* an orphan of some container */
	s->strangers = xgrow(s->strangers, s->stranger_count, &s->stranger_capacity,
			     sizeof(*s->strangers));
	s->strangers[s->stranger_count++] = (struct stranger){pid, status};
}

/* ---- what is not our child ---- */

static struct keeper_exit unknown_exit(void)
{
	return (struct keeper_exit){.known = false, .time_ms = clock_wall_ms()};
}

/*
 * The kernel keeps the status of a process for those who hold its pidfd, from
 * the moment on when its parent has reaped it.
 */
static bool exit_by_pidfd(int pidfd, struct keeper_exit *ret)
{
	struct pidfd_info_v1 info = {.mask = PIDFD_INFO_EXIT_MASK};

	if (ioctl(pidfd, PIDFD_GET_INFO_V1, &info) < 0 || !(info.mask & PIDFD_INFO_EXIT_MASK))
		return false;
	*ret = keeper_exit_of(info.exit_code);
	return true;
}

void adopted_ended(struct server *s, struct row *row, uint32_t events)
{
	struct keeper_exit how = unknown_exit();
	struct epoll_event wait = {.events = 0, .data.ptr = &row->pidfd_watch};

	if (exit_by_pidfd(row->pidfd, &how) || (events & EPOLLHUP)) {
		row_ended(s, row, &how);
		return;
	}
	/* A zombie: its parent has not reaped it.  EPOLLHUP says when it has. */
	row->give_up_ms = remind(s, GIVE_UP_MS);
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, row->pidfd, &wait) < 0)
		row_ended(s, row, &how);
}

/* ---- time ---- */

/* Of two times, 0 being never. */
static int64_t sooner(int64_t a_ms, int64_t b_ms)
{
	return !a_ms || (b_ms && b_ms < a_ms) ? b_ms : a_ms;
}

static void do_due(struct server *s, struct row *row, int64_t now_ms, int64_t *next_ms)
{
	for (int i = 0; i < 2; i++) {
		struct output *o = &row->output[i];

		if (o->retry_ms && o->retry_ms <= now_ms)
			take_piece(s, row, i);
		*next_ms = sooner(*next_ms, o->retry_ms);
	}
	if (row->give_up_ms && row->give_up_ms <= now_ms) {
		struct keeper_exit how = unknown_exit();

		(void)exit_by_pidfd(row->pidfd, &how);
		row_ended(s, row, &how);
	}
	*next_ms = sooner(*next_ms, row->give_up_ms);
	settle_row(s, row);
	if (row->phase == KEEPER_ENDED && !row->exit_told && !row->worker.pid)
		*next_ms = sooner(*next_ms, row->drained_by_ms);
}

void want_spare(struct server *s, const char *runtime_root)
{
	if (!str_eq(s->spare_root, runtime_root)) {
		free(s->spare_root);
		s->spare_root = xstrdup(runtime_root);
		spare_drop(&s->spare);
	}
	s->spare_at_ms = clock_mono_ms() + REST_MS;
}

static void make_spare(struct server *s)
{
	struct err e;

	s->spare_at_ms = 0;
	if (!s->spare.pid && !s->next_program &&
	    spare_start(&s->spare, s->spare_root, NULL, &s->nofile, &s->keepsakes, &e) < 0)
		log_debug("spare worker: %s", e.msg); /* the next one is forked when it is needed */
}

struct spare *ahead_find(struct server *s, uint64_t ahead)
{
	for (size_t i = 0; i < KEEPER_AHEAD_MAX; i++)
		if (s->ahead[i].ahead == ahead)
			return &s->ahead[i];
	return NULL;
}

void ahead_drop_of(struct server *s, const struct client *c)
{
	for (size_t i = 0; i < KEEPER_AHEAD_MAX; i++)
		if (!c || s->ahead[i].owner == c)
			spare_drop(&s->ahead[i]);
}

int due(struct server *s, int64_t now_ms)
{
	int64_t next_ms = 0;

	if (s->spare_at_ms && s->spare_at_ms <= now_ms)
		make_spare(s);

	if (s->due_ms && s->due_ms <= now_ms) {
		for (size_t i = 0; i < s->row_count; i++)
			do_due(s, s->rows[i], now_ms, &next_ms);
		s->due_ms = next_ms;
	}
	next_ms = sooner(s->due_ms, s->spare_at_ms);
	if (!next_ms)
		return -1;
	return next_ms <= now_ms ? 0 : (int)(next_ms - now_ms);
}
