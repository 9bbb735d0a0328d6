/* keeper/server.c - the keeper
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * One thread, one loop.  It takes one event at a time from epoll, because what
 * one event leads to may end what another is about.  It never waits for
 * anything: not for a client, not for a disk that is full, not for a step of a
 * container, which is a process of its own.
 *
 * 1. What is needed to find a container again is on disk before it is made.
 * 2. What clients are told is on disk before.
 * 3. Nothing that was in a pipe is ever in our memory.
 *
 * Memory: one row of a few hundred bytes for each container and its
 * descriptors (two pipes, two files, the namespace, one for each host port).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include "keeper/server.h"
#include "runtime/runtime.h"

#define LOCK_WAIT_MS  2000
#define LOCK_PAUSE_MS 5

#define LOCK_FILE "keeper.lock"
#define LOG_FILE  "keeper.log"
#define ROWS_DIR  "keeper"
#define BACKLOG   16

/* ---- tables ---- */

int server_watch(struct server *s, int fd, uint32_t events, struct watch *w, struct err *e)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return err_sys(e, "watch a descriptor");
	return 0;
}

void server_unwatch(struct server *s, int fd)
{
	(void)epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* not watched is fine */
}

struct row *server_row(struct server *s, const char *id)
{
	for (size_t i = 0; i < s->row_count; i++)
		if (strcmp(s->rows[i]->id, id) == 0)
			return s->rows[i];
	return NULL;
}

void server_add_row(struct server *s, struct row *row)
{
	row->serial = ++s->last_serial;
	s->rows = xgrow(s->rows, s->row_count, &s->row_capacity, sizeof(struct row *));
	s->rows[s->row_count++] = row;
}

void server_forget_row(struct server *s, struct row *row)
{
	for (size_t i = 0; i < s->row_count; i++) {
		if (s->rows[i] != row)
			continue;
		memmove(&s->rows[i], &s->rows[i + 1],
			(s->row_count - i - 1) * sizeof(struct row *));
		s->row_count--;
		break;
	}
	/* The client may hold duplicates: closing ours does not end the watch. */
	for (int i = 0; i < 2; i++)
		if (row->output[i].watched)
			server_unwatch(s, row->output[i].fd);
	if (row->pidfd >= 0)
		server_unwatch(s, row->pidfd);
	row_remove(s->rows_fd, row);
	row_free(row);
}

/* ---- events ---- */

static void accept_client(struct server *s)
{
	auto_close int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	struct event hello;
	struct err e;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return;
	if (peer.uid != geteuid()) {
		log_warn("uid=%u: sent away: the keeper hears its own user only", peer.uid);
		return;
	}
	if (client_add(s, take_fd(fd), &e) < 0) {
		log_warn("client: %s", e.msg);
		return;
	}
	hello = event_of(KEEPER_HELLO, NULL);
	hello.pid = getpid();
	(void)snprintf(hello.text[0], sizeof(hello.text[0]), "%s", BERTH_VERSION);
	(void)snprintf(hello.text[1], sizeof(hello.text[1]), "%s", s->cgroup_base);
	client_tell(s, s->clients[s->client_count - 1], &hello);
}

static void reap_children(struct server *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
		child_ended(s, pid, status);
}

/* Containers whose end is still to be told. */
static size_t count_living(const struct server *s)
{
	size_t count = 0;

	for (size_t i = 0; i < s->row_count; i++)
		count += s->rows[i]->phase != KEEPER_ENDED || !s->rows[i]->exit_told;
	return count;
}

/* Not while containers live, for nobody else would keep them, nor while a client may ask for something. */
static bool may_end(const struct server *s)
{
	return s->ending && !s->client_count && !s->worker_count && !count_living(s);
}

static void asked_to_end(struct server *s)
{
	size_t living = count_living(s);

	s->ending = true;
	if (living)
		log_warn("signal: staying as long as containers live, %zu do", living);
}

static void signals_ready(struct server *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD) {
			reap_children(s);
		} else if (info.ssi_signo != SIGHUP) {
			asked_to_end(s);
		} else if (s->program) {
			free(s->next_program);
			s->next_program = xstrdup(s->program);
		}
	}
}

static void dispatch(struct server *s, const struct epoll_event *ev)
{
	struct watch *w = ev->data.ptr;

	switch (w->kind) {
	case WATCH_LISTEN:
		accept_client(s);
		break;
	case WATCH_SIGNALS:
		signals_ready(s);
		break;
	case WATCH_CLIENT:
		if (ev->events & EPOLLOUT)
			client_continue(s, w->owner);
		if (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			client_hear(s, w->owner);
		break;
	case WATCH_PIPE:
		pipe_ready(s, w->owner, w->stream);
		break;
	case WATCH_PIDFD:
		adopted_ended(s, w->owner, ev->events);
		break;
	}
}

static void drop_broken(struct server *s)
{
	for (size_t i = s->client_count; i-- > 0;)
		if (s->clients[i]->broken)
			client_free(s, s->clients[i]);
}

static void become_next_program(struct server *s)
{
	struct err e;

	proc_notify("RELOADING=1");
	spare_drop(&s->spare); /* they are of this program */
	ahead_drop_of(s, NULL);
	exec_break_off(s);
	if (resume_exec(s, &e) < 0) {
		log_error("upgrade: %s", e.msg);
		tell_failure(s, "", KEEPER_REEXEC, &e);
		proc_notify("READY=1");
	}
	free(s->next_program);
	s->next_program = NULL;
	start_waiting_steps(s);
}

static int loop(struct server *s, struct err *e)
{
	while (!s->stopping) {
		struct epoll_event ev;
		int n, wait_ms = due(s, clock_mono_ms());

		if (may_end(s))
			break;
		n = epoll_wait(s->epoll_fd, &ev, 1, wait_ms);
		if (n < 0 && errno != EINTR)
			return err_sys(e, "wait for events");
		if (n > 0)
			dispatch(s, &ev);
		drop_broken(s);
		if (s->next_program && !s->worker_count)
			become_next_program(s);
	}
	return 0;
}

/* ---- start ---- */

/* Where the socket is, by the descriptor of its directory: the path itself may be too long. */
static struct sockaddr_un socket_address(const struct server *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" COMMAND_SOCKET,
		       s->run_fd);
	return addr;
}

/* One that lives says hello; the socket of one that is being killed is open a moment longer. */
static bool somebody_answers(const struct server *s)
{
	const struct sockaddr_un addr = socket_address(s);
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char hello;

	return fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	       poll(&p, 1, LOCK_WAIT_MS) > 0 && recv(fd, &hello, 1, 0) > 0;
}

/*
 * One that was killed lets go of its socket before its lock, so who was told by
 * the socket may be here too early: a holder that does not answer is waited for.
 */
static int take_lock(struct server *s, struct err *e)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * NS_PER_MS};
	int64_t end_ms = clock_mono_ms() + LOCK_WAIT_MS;

	s->lock_fd = openat(s->run_fd, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock_fd < 0)
		return err_sys(e, "open %s/" LOCK_FILE, s->run_dir);
	while (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, "lock %s/" LOCK_FILE, s->run_dir);
		if (somebody_answers(s) || clock_mono_ms() > end_ms)
			return err_set(e, EBUSY, "another keeper lives in %s", s->run_dir);
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

static int listen_here(struct server *s, struct err *e)
{
	const struct sockaddr_un addr = socket_address(s);
	mode_t mask;
	int r;

	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listen_fd < 0)
		return err_sys(e, "socket");
	if (unlinkat(s->run_fd, COMMAND_SOCKET, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove the old " COMMAND_SOCKET);
	mask = umask(0177);
	r = bind(s->listen_fd, (const struct sockaddr *)&addr, sizeof(addr));
	(void)umask(mask);
	if (r < 0 || listen(s->listen_fd, BACKLOG) < 0)
		return err_sys(e, "listen at %s/" COMMAND_SOCKET, s->run_dir);
	return 0;
}

static int catch_signals(struct server *s, struct err *e)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a limit on files is a full disk to us */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "block signals");
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? err_sys(e, "signalfd") : 0;
}

/* As many descriptors as we may have; containers get the limit that was. */
static void raise_limit(struct server *s)
{
	struct rlimit all;

	if (getrlimit(RLIMIT_NOFILE, &s->nofile) < 0)
		return;
	all = (struct rlimit){s->nofile.rlim_max, s->nofile.rlim_max};
	(void)setrlimit(RLIMIT_NOFILE, &all);
}

static int open_dirs(struct server *s, const char *run_dir, struct err *e)
{
	s->run_dir = xstrdup(run_dir);
	if (fs_open_dir(AT_FDCWD, run_dir, 0755, &s->run_fd, e) < 0 ||
	    fs_open_dir(s->run_fd, ROWS_DIR, 0700, &s->rows_fd, e) < 0)
		return err_wrap(e, "run directory %s", run_dir);
	return 0;
}

/* The parent ends, and whoever waits for it knows that we listen. */
static int go_on_in_background(struct server *s, struct err *e)
{
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_close int log = openat(s->run_fd, LOG_FILE,
				    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	pid_t pid;

	if (null < 0 || log < 0)
		return err_sys(e, "open %s/" LOG_FILE, s->run_dir);
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid > 0)
		_exit(0);
	(void)setsid();
	(void)dup2(null, STDIN_FILENO);
	(void)dup2(null, STDOUT_FILENO);
	(void)dup2(log, STDERR_FILENO);
	return 0;
}

static int begin_anew(struct server *s, const struct keeper_serve *o, struct err *e)
{
	if (take_lock(s, e) < 0)
		return -e->code;
	raise_limit(s);
	if (place_self(s, o, e) < 0 || listen_here(s, e) < 0)
		return -e->code;
	if (o->detach && go_on_in_background(s, e) < 0)
		return -e->code;
	return 0;
}

/* Without it starts take longer, the more is mounted on the host. */
static void open_keepsakes(struct server *s)
{
	struct err e;

	if (runtime_template_open(&s->keepsakes.template_fd, &e) < 0 ||
	    runtime_proc_open(&s->keepsakes.proc_fd, &e) < 0)
		log_warn("%s", e.msg);
}

static int start(struct server *s, const struct keeper_serve *o, struct err *e)
{
	struct event resumed;

	if (open_dirs(s, o->run_dir, e) < 0)
		return -e->code;
	if (o->resume_fd < 0 && begin_anew(s, o, e) < 0)
		return -e->code;
	open_keepsakes(s);
	/* Orphans of our containers come to us, not to the init of the host. */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return err_sys(e, "epoll");
	if (catch_signals(s, e) < 0 ||
	    server_watch(s, s->signal_fd, EPOLLIN, &s->signal_watch, e) < 0)
		return -e->code;
	if ((o->resume_fd < 0 ? adopt_rows(s, e) : resume_take(s, o->resume_fd, e)) < 0)
		return -e->code;
	if (server_watch(s, s->listen_fd, EPOLLIN, &s->listen_watch, e) < 0)
		return -e->code;
	reap_children(s); /* who ended while one program followed the other */

	resumed = event_of(KEEPER_RESUMED, NULL);
	(void)snprintf(resumed.text[0], sizeof(resumed.text[0]), "%s", BERTH_VERSION);
	if (o->resume_fd >= 0)
		tell(s, &resumed);
	return 0;
}

static void finish(struct server *s)
{
	while (s->client_count)
		client_free(s, s->clients[0]);
	for (size_t i = 0; i < s->row_count; i++)
		row_free(s->rows[i]);
	close_fd(&s->listen_fd);
	close_fd(&s->signal_fd);
	close_fd(&s->epoll_fd);
	close_fd(&s->keepsakes.template_fd);
	close_fd(&s->keepsakes.proc_fd);
	close_fd(&s->rows_fd);
	close_fd(&s->run_fd);
	close_fd(&s->lock_fd);
	spare_drop(&s->spare);
	ahead_drop_of(s, NULL);
	free(s->spare_root);
	free(s->rows);
	free(s->strangers);
	free(s->run_dir);
	free(s->program);
	free(s->next_program);
}

int keeper_serve(const struct keeper_serve *o, struct err *e)
{
	struct server s = {.run_fd = -1,
			   .rows_fd = -1,
			   .lock_fd = -1,
			   .listen_fd = -1,
			   .signal_fd = -1,
			   .epoll_fd = -1,
			   .keepsakes = {-1, -1},
			   .spare = SPARE_NONE,
			   .listen_watch = {.kind = WATCH_LISTEN},
			   .signal_watch = {.kind = WATCH_SIGNALS}};
	int r;

	s.program = o->program ? xstrdup(o->program) : NULL;
	r = start(&s, o, e);
	if (r == -EBUSY && s.program && !o->detach && getenv("NOTIFY_SOCKET")) {
		finish(&s);
		return hand_over(o->run_dir, o->program, e);
	}
	if (r == 0) {
		log_info("pid=%d run=%s: ready, %zu containers", (int)getpid(), s.run_dir,
			 s.row_count);
		proc_notify("READY=1");
		r = loop(&s, e);
		proc_notify("STOPPING=1");
	}
	if (r == 0)
		(void)unlinkat(s.run_fd, COMMAND_SOCKET, 0);
	finish(&s);
	return r;
}
