/* keeper/worker.c - steps of a container's life, each in a process of its own
 * SPDX-License-Identifier: Apache-2.0
 *
 * A worker is forked for its step.  For the next container one waits ready made
 * (the spare): forked, ordinary, with nothing open but its socket, and it has
 * looked at the host.  It is told what to make in one message.  Others may have made
 * a container ahead, which they give to whom they are told of.
 */
#include "keeper/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"
#include "runtime/runtime.h"

/* Where a worker's descriptors are; above them nothing is open. */
enum {
	WORKER_REPORT = 3,
	WORKER_ROOTFS,
	WORKER_NETNS,
	WORKER_USERNS,
	WORKER_TEMPLATE,
	WORKER_PROC,
	WORKER_PROCESS,
	WORKER_STDOUT,
	WORKER_STDERR,
	WORKER_END
};

/* What goes there: for each place the keeper's descriptor, or -1. */
struct places {
	int fd[WORKER_END];
};
#define NOWHERE                                       \
	{                                             \
		.fd = { [0 ... WORKER_END - 1] = -1 } \
	}

/* What a worker works with. */
struct kit {
	struct runtime *rt;          /* NULL: still to be opened */
	struct runtime_ahead *ahead; /* NULL: nothing is made */
	struct places *p;
};

/* ---- in the worker ---- */

/* First above all places, then down to them: no place is overwritten before it is read. */
static int take_places(struct places *p)
{
	for (int i = WORKER_REPORT; i < WORKER_END; i++)
		if (p->fd[i] >= 0)
			p->fd[i] = fcntl(p->fd[i], F_DUPFD_CLOEXEC, WORKER_END);
	for (int i = WORKER_REPORT; i < WORKER_END; i++) {
		if (p->fd[i] < 0)
			(void)close(i);
		else if (dup3(p->fd[i], i, O_CLOEXEC) < 0)
			return -1;
		else
			p->fd[i] = i;
	}
	proc_close_from(WORKER_END);
	return 0;
}

static int open_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd > STDIN_FILENO) {
		(void)dup2(fd, STDIN_FILENO);
		(void)close(fd);
	}
	return fd < 0 ? -1 : 0;
}

/* What a worker that waits for a process hears of. */
static void hold_signals(enum keeper_command step, sigset_t *ret)
{
	sigemptyset(ret);
	if (step != KEEPER_EXEC)
		return;
	sigaddset(ret, SIGCHLD);
	sigaddset(ret, SIGTERM); /* held in the keeper, too: none is lost */
}

/* As a process that nothing was done to; what init and hooks inherit. */
static void be_ordinary(enum keeper_command step, const struct rlimit *limit)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t held;
	struct err ignored;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL); /* KILL and STOP refuse */
	hold_signals(step, &held);
	(void)sigprocmask(SIG_SETMASK, &held, NULL);
	(void)setrlimit(RLIMIT_NOFILE, limit);
	/* Ours may be low, for the memory killer to pass us over. */
	(void)fs_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0", &ignored);
	(void)prctl(PR_SET_NAME, "keeper-worker");
}

static struct runtime_create create_of(const struct row *row, const struct places *p)
{
	struct runtime_create c = RUNTIME_CREATE_INIT;

	c.id = row->id;
	c.bundle = row->bundle;
	c.sibling = true;
	c.cgroups = RUNTIME_CGROUPS_NEEDED;
	c.start = row->start;
	c.rootfs_fd = p->fd[WORKER_ROOTFS];
	c.netns_fd = p->fd[WORKER_NETNS];
	c.userns_fd = p->fd[WORKER_USERNS];
	c.template_fd = p->fd[WORKER_TEMPLATE];
	c.proc_fd = p->fd[WORKER_PROC];
	c.io.stdio_fd[0] = STDIN_FILENO;
	c.io.stdio_fd[1] = p->fd[WORKER_STDOUT];
	c.io.stdio_fd[2] = p->fd[WORKER_STDERR];
	return c;
}

static int create(const struct row *row, struct kit *kit, pid_t *ret_pid, struct err *e)
{
	struct runtime_create c = create_of(row, kit->p);
	int r = kit->ahead ? runtime_give(kit->ahead, &c, ret_pid, e) : RUNTIME_DIFFERS;

	if (r != 0)
		runtime_drop_ahead(kit->ahead);
	if (r == RUNTIME_DIFFERS)
		r = runtime_create(kit->rt, &c, ret_pid, e);
	return r == RUNTIME_EXISTS
		       ? err_set(e, EEXIST, "the runtime has a container %s already", row->id)
		       : r;
}

static int start(const struct row *row, struct runtime *rt, struct err *e)
{
	int r = runtime_start(rt, row->id, e);

	if (r == RUNTIME_ABSENT)
		return err_set(e, ENOENT, "the runtime has no container %s", row->id);
	if (r == RUNTIME_STOPPED)
		return err_set(e, ESRCH, "container %s has ended", row->id);
	return r;
}

static int remove_all(const struct row *row, struct runtime *rt, struct err *e)
{
	int r = runtime_delete(rt, row->id, true, e);

	return r < 0 ? r : 0; /* absent: nothing to do */
}

static int run(const struct row *row, enum keeper_command step, struct kit *kit, pid_t *ret_pid,
	       struct err *e)
{
	switch (step) {
	case KEEPER_CREATE:
		return create(row, kit, ret_pid, e);
	case KEEPER_START:
		return start(row, kit->rt, e);
	default:
		return remove_all(row, kit->rt, e);
	}
}

/* Until it has ended by itself, or because we were told to end it. */
static int wait_for_end(pid_t pid)
{
	sigset_t held;
	int status;

	hold_signals(KEEPER_EXEC, &held);
	while (waitpid(pid, &status, WNOHANG) == 0)
		if (sigwaitinfo(&held, NULL) == SIGTERM)
			(void)kill(pid, SIGKILL);
	return status;
}

static int execute(const struct row *row, struct runtime *rt, const struct places *p,
		   struct worker_report *ret)
{
	auto_buf struct buf process = BUF_INIT(KEEPER_PROCESS_MAX);
	struct runtime_exec x = RUNTIME_EXEC_INIT;
	int r;

	(void)lseek(p->fd[WORKER_PROCESS], 0, SEEK_SET);
	if (fs_read_fd(p->fd[WORKER_PROCESS], &process, &ret->err) < 0)
		return -ret->err.code;
	x.id = row->id;
	x.process = buf_str(&process);
	x.io.stdio_fd[0] = STDIN_FILENO;
	x.io.stdio_fd[1] = p->fd[WORKER_STDOUT] >= 0 ? p->fd[WORKER_STDOUT] : STDIN_FILENO;
	x.io.stdio_fd[2] = p->fd[WORKER_STDERR] >= 0 ? p->fd[WORKER_STDERR] : STDIN_FILENO;
	r = runtime_exec(rt, &x, &ret->pid, &ret->err);
	if (r > 0)
		r = err_set(&ret->err, ESRCH, "container %s does not run", row->id);
	if (r < 0)
		return r;
	ret->status = wait_for_end(ret->pid);
	return 0;
}

static _Noreturn void work(const struct row *row, enum keeper_command step, struct kit *kit)
{
	struct worker_report report = {0};

	if (!kit->rt)
		report.result = runtime_open(row->runtime_root, &kit->rt, &report.err);
	if (report.result == 0)
		report.result = step == KEEPER_EXEC ? execute(row, kit->rt, kit->p, &report)
						    : run(row, step, kit, &report.pid, &report.err);
	(void)write_all(kit->p->fd[WORKER_REPORT], &report, sizeof(report));
	_exit(0);
}

/* Context: the child after fork, in a process that has one thread. */
static void begin(enum keeper_command step, struct places *p, pid_t parent,
		  const struct rlimit *limit)
{
	if (!proc_die_with(parent) || take_places(p) < 0 || open_null() < 0)
		_exit(1);
	be_ordinary(step, limit);
}

/* What a spare worker is told; the descriptors that come with it are those of 'given', in order. */
struct order {
	char id[KEEPER_ID_MAX + 1], bundle[KEEPER_PATH_MAX + 1];
	bool start, given[WORKER_END];
};

static void hear_order(struct order *ret, struct kit *kit)
{
	struct places *p = kit->p;
	int fds[WORKER_END];
	size_t count = 0, next = 0;
	ssize_t n = fs_recv(p->fd[WORKER_REPORT], ret, sizeof(*ret), fds, WORKER_END, &count, 0);

	if (n != (ssize_t)sizeof(*ret)) {
		runtime_drop_ahead(kit->ahead);
		_exit(0); /* the keeper needs us no more */
	}
	close_fd(&p->fd[WORKER_REPORT]); /* a socket until now */
	for (int i = 0; i < WORKER_END; i++)
		if (ret->given[i] && next < count)
			p->fd[i] = fds[next++];
}

/* One that cannot be made ahead is made when it is wanted, and will tell why. */
static void make_ahead(const struct row *row, const struct runtime_create *spec, struct kit *kit)
{
	struct err e;

	if (runtime_make_ahead(kit->rt, spec, &kit->ahead, &e) < 0)
		log_debug("container=%s: not made ahead: %s", row->id, e.msg);
	for (int i = WORKER_ROOTFS; i <= WORKER_USERNS; i++)
		close_fd(&kit->p->fd[i]); /* their places are for what the order brings */
}

/* Context: as work(). */
static _Noreturn void wait_for_order(const char *runtime_root, const struct row *ahead,
				     struct places *p)
{
	struct kit kit = {.p = p};
	struct runtime_create spec;
	struct row row = {0};
	struct order order;
	struct err later;

	if (runtime_open(runtime_root, &kit.rt, &later) < 0)
		_exit(1);
	runtime_look_ahead(kit.rt);
	if (ahead) {
		spec = create_of(ahead, p);
		make_ahead(ahead, &spec, &kit);
	}
	hear_order(&order, &kit);
	(void)snprintf(row.id, sizeof(row.id), "%s", order.id);
	row.bundle = order.bundle;
	row.start = order.start;
	work(&row, KEEPER_CREATE, &kit);
}

/* ---- in the keeper ---- */

static int make_pipe(int *ret_read, int *ret_write, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	*ret_read = fds[0];
	*ret_write = fds[1];
	return 0;
}

/* The pipes of a container's output, for a worker that is about to be forked. */
struct outputs {
	int read[2], write[2];
};
#define OUTPUTS_NONE ((struct outputs){.read = {-1, -1}, .write = {-1, -1}})

static void outputs_done(struct outputs *o)
{
	for (int i = 0; i < 2; i++) {
		close_fd(&o->read[i]);
		close_fd(&o->write[i]);
	}
}
#define auto_outputs __attribute__((cleanup(outputs_done)))

static int outputs_make(struct outputs *o, struct places *p, struct err *e)
{
	for (int i = 0; i < 2; i++) {
		if (make_pipe(&o->read[i], &o->write[i], e) < 0)
			return -e->code;
		p->fd[WORKER_STDOUT + i] = o->write[i];
	}
	return 0;
}

static void outputs_take(struct outputs *o, int *ret_stdout, int *ret_stderr)
{
	*ret_stdout = take_fd(o->read[0]);
	*ret_stderr = take_fd(o->read[1]);
}

int spare_start(struct spare *s, const char *runtime_root, const struct row *ahead,
		const struct rlimit *limit, const struct keepsakes *keepsakes, struct err *e)
{
	auto_close int ours = -1, theirs = -1;
	auto_outputs struct outputs o = OUTPUTS_NONE;
	struct places p = NOWHERE;
	pid_t parent = getpid(), pid;
	int pair[2];

	assert(!s->pid);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	if (outputs_make(&o, &p, e) < 0)
		return -e->code;
	p.fd[WORKER_REPORT] = theirs;
	p.fd[WORKER_TEMPLATE] = keepsakes->template_fd;
	p.fd[WORKER_PROC] = keepsakes->proc_fd;
	if (ahead) {
		p.fd[WORKER_ROOTFS] = ahead->rootfs_fd;
		p.fd[WORKER_NETNS] = ahead->netns_fd;
		p.fd[WORKER_USERNS] = ahead->userns_fd;
	}
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		begin(KEEPER_CREATE, &p, parent, limit);
		wait_for_order(runtime_root, ahead, &p);
	}
	s->pid = pid;
	s->fd = take_fd(ours);
	outputs_take(&o, &s->output[0], &s->output[1]);
	s->runtime_root = xstrdup(runtime_root);
	return 0;
}

void spare_drop(struct spare *s)
{
	if (!s->pid)
		return;
	close_fd(&s->fd);
	close_fd(&s->output[0]);
	close_fd(&s->output[1]);
	free(s->runtime_root);
	*s = SPARE_NONE;
}

/* Its pid, or 0: it is not there, or not for this. */
static pid_t order_spare(struct spare *s, struct row *row, const struct places *p)
{
	struct order order = {.start = row->start};
	int fds[WORKER_END];
	size_t count = 0;
	pid_t pid = s->pid;

	if (!pid || strcmp(s->runtime_root, row->runtime_root) != 0)
		return 0;
	(void)snprintf(order.id, sizeof(order.id), "%s", row->id);
	(void)snprintf(order.bundle, sizeof(order.bundle), "%s", row->bundle);
	for (int i = WORKER_REPORT; i <= WORKER_USERNS; i++) {
		order.given[i] = p->fd[i] >= 0;
		if (order.given[i])
			fds[count++] = p->fd[i];
	}
	if (fs_send(s->fd, &order, sizeof(order), fds, count) < 0)
		pid = 0; /* it has been killed, and will be reaped */
	for (int i = 0; i < 2 && pid; i++)
		row->output[i].fd = take_fd(s->output[i]);
	spare_drop(s);
	return pid;
}

int worker_start(struct row *row, enum keeper_command step, const struct rlimit *limit,
		 const struct keepsakes *keepsakes, struct spare *spare, struct err *e)
{
	auto_close int report_r = -1, report_w = -1;
	auto_outputs struct outputs o = OUTPUTS_NONE;
	struct places p = NOWHERE;
	pid_t parent = getpid(), pid = 0;

	assert(!row->worker.pid);

	if (make_pipe(&report_r, &report_w, e) < 0)
		return -e->code;
	p.fd[WORKER_REPORT] = report_w;
	if (step == KEEPER_CREATE) {
		p.fd[WORKER_ROOTFS] = row->rootfs_fd;
		p.fd[WORKER_NETNS] = row->netns_fd;
		p.fd[WORKER_USERNS] = row->userns_fd;
		p.fd[WORKER_TEMPLATE] = keepsakes->template_fd;
		p.fd[WORKER_PROC] = keepsakes->proc_fd;
		pid = order_spare(spare, row, &p);
	}

	if (!pid) {
		if (step == KEEPER_CREATE && outputs_make(&o, &p, e) < 0)
			return -e->code;
		pid = fork();
		if (pid < 0)
			return err_sys(e, "fork");
		if (pid == 0) {
			begin(step, &p, parent, limit);
			work(row, step, &(struct kit){.p = &p});
		}
		if (step == KEEPER_CREATE)
			outputs_take(&o, &row->output[0].fd, &row->output[1].fd);
	}
	row->worker = (struct worker){.pid = pid, .report_fd = take_fd(report_r), .step = step};
	return 0;
}

int worker_exec(struct worker *w, const struct row *row, const int fds[3],
		const struct rlimit *limit, struct err *e)
{
	auto_close int report_r = -1, report_w = -1;
	struct places p = NOWHERE;
	pid_t parent = getpid(), pid;

	if (make_pipe(&report_r, &report_w, e) < 0)
		return -e->code;
	p.fd[WORKER_REPORT] = report_w;
	p.fd[WORKER_PROCESS] = fds[0];
	p.fd[WORKER_STDOUT] = fds[1];
	p.fd[WORKER_STDERR] = fds[2];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		begin(KEEPER_EXEC, &p, parent, limit);
		work(row, KEEPER_EXEC, &(struct kit){.p = &p});
	}
	*w = (struct worker){.pid = pid, .report_fd = take_fd(report_r), .step = KEEPER_EXEC};
	return 0;
}

void worker_finish(struct worker *w, int status, struct worker_report *ret)
{
	ssize_t n;

	/* It has ended, so what it told is there; but what it made may hold the other end. */
	(void)fcntl(w->report_fd, F_SETFL, O_NONBLOCK);
	n = read_all(w->report_fd, ret, sizeof(*ret));
	ret->err.msg[sizeof(ret->err.msg) - 1] = '\0';
	if (n != (ssize_t)sizeof(*ret)) {
		*ret = (struct worker_report){0};
		ret->result = WIFSIGNALED(status)
				      ? err_set(&ret->err, EINTR,
						"the process that did this was killed by signal %d",
						WTERMSIG(status))
				      : err_set(&ret->err, EIO,
						"the process that did this ended with %d",
						WEXITSTATUS(status));
	}
	close_fd(&w->report_fd);
	w->pid = 0;
}

void worker_kill(const struct row *row)
{
	if (row->worker.pid)
		(void)kill(row->worker.pid, SIGKILL); /* our child, not reaped yet */
}
