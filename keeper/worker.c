/* keeper/worker.c - steps of a container's life, each in a process of its own
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keeper/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"
#include "runtime/runtime.h"

/* Where a worker's descriptors are; above them nothing is open. */
enum {
	WORKER_REPORT = 3,
	WORKER_ROOTFS,
	WORKER_NETNS,
	WORKER_TEMPLATE,
	WORKER_STDOUT,
	WORKER_STDERR,
	WORKER_END
};

/* What goes there: for each place the keeper's descriptor, or -1. */
struct places {
	int fd[WORKER_END];
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

/* As a process that nothing was done to; what init and hooks inherit. */
static void be_ordinary(const struct rlimit *limit)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;
	struct err ignored;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL); /* KILL and STOP refuse */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setrlimit(RLIMIT_NOFILE, limit);
	/* Ours may be low, for the memory killer to pass us over. */
	(void)fs_write_at(AT_FDCWD, "/proc/self/oom_score_adj", "0", &ignored);
	(void)prctl(PR_SET_NAME, "keeper-worker");
}

static int create(const struct row *row, struct runtime *rt, const struct places *p, pid_t *ret_pid,
		  struct err *e)
{
	struct runtime_create c = RUNTIME_CREATE_INIT;
	int r;

	c.id = row->id;
	c.bundle = row->bundle;
	c.sibling = true;
	c.start = row->start;
	c.rootfs_fd = p->fd[WORKER_ROOTFS] >= 0 ? WORKER_ROOTFS : -1;
	c.netns_fd = p->fd[WORKER_NETNS] >= 0 ? WORKER_NETNS : -1;
	c.template_fd = p->fd[WORKER_TEMPLATE] >= 0 ? WORKER_TEMPLATE : -1;
	c.io.stdio_fd[0] = STDIN_FILENO;
	c.io.stdio_fd[1] = WORKER_STDOUT;
	c.io.stdio_fd[2] = WORKER_STDERR;
	r = runtime_create(rt, &c, ret_pid, e);
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

static int run(const struct row *row, enum keeper_command step, const struct places *p,
	       pid_t *ret_pid, struct err *e)
{
	struct runtime *rt = NULL;

	if (runtime_open(row->runtime_root, &rt, e) < 0)
		return -e->code;
	switch (step) {
	case KEEPER_CREATE:
		return create(row, rt, p, ret_pid, e);
	case KEEPER_START:
		return start(row, rt, e);
	default:
		return remove_all(row, rt, e);
	}
}

/* Context: the child after fork, in a process that has one thread. */
static _Noreturn void work(const struct row *row, enum keeper_command step, struct places *p,
			   pid_t parent, const struct rlimit *limit)
{
	struct worker_report report = {0};

	if (!proc_die_with(parent) || take_places(p) < 0 || open_null() < 0)
		_exit(1);
	be_ordinary(limit);
	report.result = run(row, step, p, &report.pid, &report.err);
	(void)write_all(WORKER_REPORT, &report, sizeof(report));
	_exit(0);
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

int worker_start(struct row *row, enum keeper_command step, const struct rlimit *limit,
		 int template_fd, struct err *e)
{
	auto_close int report_r = -1, report_w = -1, out_w = -1, err_w = -1;
	struct places p = {.fd = {-1, -1, -1, -1, -1, -1, -1, -1, -1}};
	pid_t parent = getpid(), pid;

	assert(!row->worker.pid);

	if (make_pipe(&report_r, &report_w, e) < 0)
		return -e->code;
	p.fd[WORKER_REPORT] = report_w;
	if (step == KEEPER_CREATE) {
		if (make_pipe(&row->output[0].fd, &out_w, e) < 0 ||
		    make_pipe(&row->output[1].fd, &err_w, e) < 0)
			return -e->code;
		p.fd[WORKER_ROOTFS] = row->rootfs_fd;
		p.fd[WORKER_NETNS] = row->netns_fd;
		p.fd[WORKER_TEMPLATE] = template_fd;
		p.fd[WORKER_STDOUT] = out_w;
		p.fd[WORKER_STDERR] = err_w;
	}

	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0)
		work(row, step, &p, parent, limit);
	row->worker = (struct worker){.pid = pid, .report_fd = take_fd(report_r), .step = step};
	return 0;
}

void worker_finish(struct row *row, int status, struct worker_report *ret)
{
	ssize_t n;

	/* It has ended, so what it told is there; but what it made may hold the other end. */
	(void)fcntl(row->worker.report_fd, F_SETFL, O_NONBLOCK);
	n = read_all(row->worker.report_fd, ret, sizeof(*ret));
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
	close_fd(&row->worker.report_fd);
	row->worker.pid = 0;
}

void worker_kill(const struct row *row)
{
	if (row->worker.pid)
		(void)kill(row->worker.pid, SIGKILL); /* our child, not reaped yet */
}
