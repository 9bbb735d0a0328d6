/* keeper/commands.c - what clients want
 * SPDX-License-Identifier: Apache-2.0
 *
 * A command that names a container works on its row at once, or asks for a
 * step.  A row has one step at a time; REMOVE breaks a step off that is under
 * way, and runs when that has ended.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "keeper/server.h"

#define COMMANDS_PER_TURN 32

/* A command that came, and its descriptors as long as nobody took them. */
struct request {
	const struct command *c;
	int *fds;
	size_t next, count;
};

static int take_request_fd(struct request *q, uint32_t flag)
{
	int fd;

	if (!(q->c->head.flags & flag))
		return -1;
	fd = q->fds[q->next];
	q->fds[q->next++] = -1;
	return fd;
}

static void take_held(struct request *q, struct row *row)
{
	row->held = xrealloc(row->held, row->held_count + q->c->held_count + 1, sizeof(int));
	for (uint32_t i = 0; i < q->c->held_count; i++) {
		row->held[row->held_count++] = q->fds[q->next];
		q->fds[q->next++] = -1;
	}
}

/* ---- steps ---- */

/* Let the step run now or when its turn comes. */
static void want_step(struct server *s, struct row *row, enum keeper_command step)
{
	row->wanted = step;
	start_waiting_steps(s);
}

static int start_step(struct server *s, struct row *row, struct err *e)
{
	enum keeper_command step = row->wanted;
	struct spare *ahead = row->ahead ? ahead_find(s, row->ahead) : NULL;

	row->wanted = 0;
	if (worker_start(row, step, &s->nofile, &s->keepsakes, ahead ? ahead : &s->spare, e) < 0)
		return -e->code;
	s->worker_count++;
	if (step == KEEPER_CREATE) {
		want_spare(s, row->runtime_root);
		close_fd(&row->rootfs_fd); /* the worker has them */
		close_fd(&row->userns_fd);
		watch_outputs(s, row);
	}
	return 0;
}

void start_waiting_steps(struct server *s)
{
	struct event failed;
	struct err e;

	if (s->next_program)
		return; /* none begins before the next program has taken over */
	for (size_t i = 0; i < s->row_count && s->worker_count < WORKERS_MAX; i++) {
		struct row *row = s->rows[i];
		enum keeper_command step = row->wanted;

		if (!step || row->worker.pid || start_step(s, row, &e) == 0)
			continue;
		failed = event_of_failure(row->id, step, &e);
		if (step == KEEPER_CREATE) {
			server_forget_row(s, row);
			i--;
		}
		tell(s, &failed);
	}
}

/* ---- commands ---- */

static int do_create(struct server *s, struct client *c, struct request *q, struct err *e)
{
	const struct command *in = q->c;
	struct row *row;

	(void)c;
	if (server_row(s, in->id))
		return err_set(e, EEXIST, "container %s is there already", in->id);
	row = row_new(in->id);
	row->bundle = xstrdup(in->path[COMMAND_BUNDLE]);
	row->runtime_root = xstrdup(in->path[COMMAND_RUNTIME_ROOT]);
	row->log_dir = xstrdup(in->path[COMMAND_LOG_DIR]);
	row->start = in->head.flags & MESSAGE_START;
	row->ahead = in->number;
	row->rootfs_fd = take_request_fd(q, MESSAGE_ROOTFS);
	row->netns_fd = take_request_fd(q, MESSAGE_NETNS);
	row->userns_fd = take_request_fd(q, MESSAGE_USERNS);
	take_held(q, row);

	if (spool_open(row->log_dir, &row->spool, e) < 0 || row_write(s->rows_fd, row, e) < 0) {
		row_remove(s->rows_fd, row);
		row_free(row);
		return -e->code;
	}
	server_add_row(s, row);
	want_step(s, row, KEEPER_CREATE);
	return 0;
}

static int do_ahead(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row = row_new(q->c->id);
	struct spare *place = ahead_find(s, 0);
	int r;

	row->bundle = xstrdup(q->c->path[COMMAND_BUNDLE]);
	row->start = true;
	row->rootfs_fd = take_request_fd(q, MESSAGE_ROOTFS);
	row->netns_fd = take_request_fd(q, MESSAGE_NETNS);
	row->userns_fd = take_request_fd(q, MESSAGE_USERNS);
	if (!q->c->number || ahead_find(s, q->c->number))
		r = err_set(e, EINVAL, "container made ahead number %llu",
			    (unsigned long long)q->c->number);
	else if (!place || s->next_program)
		r = err_set(e, EBUSY, "%d containers are made ahead", KEEPER_AHEAD_MAX);
	else
		r = spare_start(place, q->c->path[COMMAND_RUNTIME_ROOT], row, &s->nofile,
				&s->keepsakes, e);
	if (r == 0) {
		place->ahead = q->c->number;
		place->owner = c;
	}
	row_free(row);
	return r;
}

static int do_forget(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct spare *ahead = q->c->number ? ahead_find(s, q->c->number) : NULL;

	(void)c;
	(void)e;
	if (ahead)
		spare_drop(ahead);
	return 0;
}

static int find(struct server *s, const struct command *in, struct row **ret, struct err *e)
{
	*ret = server_row(s, in->id);
	return *ret ? 0 : err_set(e, ENOENT, "there is no container %s", in->id);
}

static int do_start(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row;

	(void)c;
	if (find(s, q->c, &row, e) < 0)
		return -e->code;
	if (row->phase != KEEPER_READY || row->worker.pid || row->wanted)
		return err_set(e, EBUSY, "container %s is not waiting to be started", row->id);
	want_step(s, row, KEEPER_START);
	return 0;
}

static int do_kill(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row;
	int r;

	(void)c;
	if (find(s, q->c, &row, e) < 0)
		return -e->code;
	if (row->phase == KEEPER_ENDED)
		return err_set(e, ESRCH, "container %s has ended", row->id);
	if (!row->pid)
		return err_set(e, EBUSY, "container %s is not made yet", row->id);
	/* Our own child that we have not reaped cannot be another process. */
	r = row->pidfd >= 0 ? proc_pidfd_kill(row->pidfd, q->c->sig) : kill(row->pid, q->c->sig);
	if (r < 0)
		return err_sys(e, "send signal %d to container %s", q->c->sig, row->id);
	return 0;
}

static int do_remove(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row = server_row(s, q->c->id);
	struct event ev;

	(void)e;
	if (row) {
		worker_kill(row);
		want_step(s, row, KEEPER_REMOVE);
		return 0;
	}
	ev = event_of(KEEPER_REMOVED, NULL);
	(void)snprintf(ev.id, sizeof(ev.id), "%s", q->c->id);
	client_tell(s, c, &ev);
	return 0;
}

static int do_adopt(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row;

	(void)c;
	if (find(s, q->c, &row, e) < 0)
		return -e->code;
	if (!row->needs_pipes)
		return err_set(e, EEXIST, "container %s has its pipes", row->id);
	row->output[0].fd = take_request_fd(q, MESSAGE_STDOUT);
	row->output[1].fd = take_request_fd(q, MESSAGE_STDERR);
	take_held(q, row);
	row->needs_pipes = false;
	watch_outputs(s, row);
	tell_row(s, KEEPER_ADOPTED, row);
	settle_row(s, row);
	return 0;
}

static int do_follow(struct server *s, struct client *c, struct request *q, struct err *e)
{
	struct row *row;

	(void)c;
	if (find(s, q->c, &row, e) < 0)
		return -e->code;
	if (!row->followed || q->c->number < row->follow_bytes)
		row->follow_bytes = q->c->number;
	row->followed = true;
	settle_row(s, row);
	return 0;
}

static int do_exec(struct server *s, struct client *c, struct request *q, struct err *e)
{
	int fds[3] = {take_request_fd(q, MESSAGE_PROCESS), take_request_fd(q, MESSAGE_STDOUT),
		      take_request_fd(q, MESSAGE_STDERR)};
	struct row *row;
	int r;

	(void)c;
	r = find(s, q->c, &row, e) < 0 ? -e->code : exec_start(s, row, q->c->number, fds, e);
	for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
		close_fd(&fds[i]); /* the worker has them */
	return r;
}

static int do_cancel(struct server *s, struct client *c, struct request *q, struct err *e)
{
	(void)c;
	(void)e;
	exec_cancel(s, q->c->id, q->c->number);
	return 0;
}

static int do_list(struct server *s, struct client *c, struct request *q, struct err *e)
{
	(void)q;
	(void)e;
	c->listing = true;
	c->listed = 0;
	client_continue(s, c);
	return 0;
}

static int do_shutdown(struct server *s, struct client *c, struct request *q, struct err *e)
{
	size_t live = 0;

	(void)c;
	for (size_t i = 0; i < s->row_count; i++)
		live += s->rows[i]->phase != KEEPER_ENDED;
	if (live && !(q->c->head.flags & MESSAGE_FORCE))
		return err_set(e, EBUSY, "%zu containers live", live);
	s->stopping = true;
	return 0;
}

static int do_reexec(struct server *s, struct client *c, struct request *q, struct err *e)
{
	const char *program = q->c->path[COMMAND_PROGRAM];

	(void)c;
	if (access(program, X_OK) < 0)
		return err_sys(e, "execute %s", program);
	free(s->next_program);
	s->next_program = xstrdup(program);
	return 0;
}

static int (*const commands[])(struct server *s, struct client *c, struct request *q,
			       struct err *e) = {
	[KEEPER_CREATE] = do_create, [KEEPER_START] = do_start,       [KEEPER_KILL] = do_kill,
	[KEEPER_REMOVE] = do_remove, [KEEPER_ADOPT] = do_adopt,       [KEEPER_FOLLOW] = do_follow,
	[KEEPER_LIST] = do_list,     [KEEPER_SHUTDOWN] = do_shutdown, [KEEPER_REEXEC] = do_reexec,
	[KEEPER_EXEC] = do_exec,     [KEEPER_CANCEL] = do_cancel,     [KEEPER_AHEAD] = do_ahead,
	[KEEPER_FORGET] = do_forget,
};

static void obey(struct server *s, struct client *c, struct request *q)
{
	enum keeper_command kind = (enum keeper_command)q->c->head.kind;
	struct event failed;
	struct err e;

	if (commands[kind](s, c, q, &e) == 0)
		return;
	failed = event_of_failure(q->c->id, kind, &e);
	failed.tag = kind == KEEPER_EXEC ? q->c->number : 0;
	tell(s, &failed);
}

/* One message; false: there was none. */
static bool hear_one(struct server *s, struct client *c)
{
	struct command in;
	int fds[2 + KEEPER_HELD_MAX];
	struct request q = {.c = &in, .fds = fds};
	struct err e;
	ssize_t n = fs_recv(c->fd, &in, sizeof(in), fds, ARRAY_COUNT(fds), &q.count, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		c->broken = true;
		return false;
	}
	if (command_check(&in, (size_t)n, q.count, &e) == 0) {
		obey(s, c, &q);
	} else {
		log_warn("client=%d: sent away: %s", c->fd, e.msg);
		c->broken = true;
	}
	for (size_t i = 0; i < q.count; i++)
		close_fd(&fds[i]); /* those that nobody took */
	return !c->broken;
}

void client_hear(struct server *s, struct client *c)
{
	for (int i = 0; i < COMMANDS_PER_TURN && hear_one(s, c); i++)
		;
}
