/* agent/service.c - what this host has for its tasks at a link-local address
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A network namespace that nobody lives in has sockets that hear some ports; the firewall leads
 * there what tasks send to the address (net_request.service), so neither a task's
 * ports nor the host's are in the way.  Who comes is known by the address that the
 * firewall lets it have.
 *
 * The namespace is made with the first task that has a network.  The program reads what tasks
 * send.  One that tasks can do without for a while is started when somebody comes, and ended when
 * nobody has for long, or when we end.  One that they cannot is started at once, beside the
 * keeper, and goes on without us: so does the namespace, for it has sockets there.
 *
 * 1. An agent that starts again makes another namespace and another process, and tasks find them at
 *    the same place; what was left by the one before goes then, within milliseconds.
 * 2. The sockets are ours, too, so that nobody is turned away while no process listens at them.
 * 3. A process goes on without us only when it is on record (run_dir/ID: pid, start time).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"

#define FIRST_FD 3    /* of the program: its sockets, then one to us */
#define REST_MS  1000 /* after a process that was of no use; then twice as long, and so on */
#define REST_MAX 30000
#define END_MS   5000 /* until one that was killed is gone */
#define TURN_MAX 64   /* messages that are taken before others are heard */

struct service {
	struct agent *agent;
	const struct service_kind *kind;
	void *ctx;
	struct net_endpoint endpoint; /* without a descriptor: there is none */
	int listen_fds[SERVICE_PORTS_MAX];
	struct loop_fd *listening[SERVICE_PORTS_MAX]; /* while no process is there */
	int pidfd, sock;                              /* of the process; -1: there is none */
	int64_t began_ms, rest_ms;                    /* after a process that was of no use */
	bool failing;                                 /* the last one was of none */
	struct loop_fd *watch;
	struct loop_timer *idle;
};

/* ---- the process ---- */

static void on_visitor(void *ctx, int events);

static void ignore_visitors(struct service *s)
{
	for (size_t i = 0; i < SERVICE_PORTS_MAX; i++)
		loop_unwatch(take_ptr(s->listening[i]));
}

static void begin(struct service *s);

static void watch_visitors(struct service *s)
{
	struct err e = {0};

	for (size_t i = 0; i < SERVICE_PORTS_MAX; i++)
		if (s->listen_fds[i] >= 0 && !s->listening[i] &&
		    loop_watch(s->agent->loop, s->listen_fds[i], LOOP_READ, on_visitor, s,
			       &s->listening[i], &e) < 0)
			log_error("%s: %s", s->kind->id, e.msg);
}

/* For `berth doctor`: it is there, or why not. */
static void tell(struct service *s, const char *why)
{
	auto_free char *not_so = xasprintf("%s: ", s->kind->untold);

	s->failing = why != NULL;
	if (!why)
		s->rest_ms = REST_MS;
	doctor_tell(s->agent, s->kind->id, why ? not_so : s->kind->told, why ? why : "");
}

static void rest(struct service *s, const char *why)
{
	if (s->kind->begin)
		tell(s, why);
	loop_timer_set(s->idle, s->rest_ms);
	if (s->kind->begin && s->rest_ms < REST_MAX)
		s->rest_ms *= 2;
}

/* Who hears those who come: a process that is started now, or when there is one. */
static void await(struct service *s)
{
	if (s->kind->begin)
		begin(s);
	else
		watch_visitors(s);
}

/* How it has ended, where it did so by itself. */
static int end_process(struct service *s)
{
	struct err ignored;
	int status = 0;

	loop_unwatch(take_ptr(s->watch));
	if (s->pidfd < 0)
		return status;
	(void)proc_pidfd_kill(s->pidfd, SIGKILL); /* it holds nothing */
	(void)proc_wait(s->pidfd, &status, &ignored);
	close_fd(&s->pidfd);
	close_fd(&s->sock);
	return status;
}

static void on_idle(void *ctx)
{
	struct service *s = ctx;

	if (s->kind->begin && s->pidfd >= 0) {
		tell(s, NULL); /* it lives */
		return;
	}
	(void)end_process(s);
	await(s);
}

/* It has closed its socket: by itself, or because it had to. */
static void on_end(struct service *s)
{
	int status = end_process(s);
	auto_free char *why = xasprintf("%s has ended with %d", s->kind->program, status);

	log_error("%s: %s, another one comes", s->kind->id, why);
	if (clock_mono_ms() - s->began_ms > REST_MS)
		await(s);
	else
		rest(s, why);
}

static void on_message(void *ctx, int events)
{
	struct service *s = ctx;
	char message[SERVICE_MESSAGE_MAX];
	size_t fd_count;

	(void)events;
	for (int i = 0; i < TURN_MAX; i++) {
		ssize_t n = fs_recv(s->sock, message, s->kind->message_size, NULL, 0, &fd_count,
				    MSG_DONTWAIT);

		if (n == -EAGAIN)
			break;
		if (n == (ssize_t)s->kind->message_size &&
		    s->kind->on_message(s->ctx, s->sock, message) == 0)
			continue;
		if (n > 0)
			log_error("%s: %s talks nonsense or does not listen", s->kind->id,
				  s->kind->program);
		on_end(s);
		return;
	}
	if (s->kind->idle_ms)
		loop_timer_set(s->idle, s->kind->idle_ms);
}

/* Where systemd stops our unit it ends all that is in its cgroup; without it there is no other one. */
static void place(const struct service *s, pid_t pid)
{
	static const char *const trees[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified",
					    "/sys/fs/cgroup/systemd"};
	char text[16];
	struct err ignored;

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	for (size_t i = 0; i < ARRAY_COUNT(trees); i++) {
		auto_free char *path = xasprintf("%s%s/keeper/cgroup.procs", trees[i],
						 s->agent->cgroup_base);

		(void)fs_write_at(AT_FDCWD, path, text, &ignored);
	}
}

static char *record_of(const struct agent_options *o, const char *id)
{
	return xasprintf("%s/%s", o->run_dir, id);
}

static int note(const struct service *s, pid_t pid, struct err *e)
{
	auto_free char *path = record_of(s->agent->o, s->kind->id);
	auto_free char *text = xasprintf("%d %llu\n", (int)pid,
					 (unsigned long long)proc_start_time(pid));

	return fs_replace(AT_FDCWD, path, text, strlen(text), 0600, FS_QUICK, e);
}

static void wait_for_end(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	while (poll(&p, 1, END_MS) < 0 && errno == EINTR)
		;
}

void service_end_former(const struct agent_options *o, const char *id)
{
	auto_free char *path = record_of(o, id);
	auto_buf struct buf text = BUF_INIT(64);
	unsigned long long start;
	auto_close int pidfd = -1;
	struct err ignored;
	int pid;

	if (fs_read(AT_FDCWD, path, &text, &ignored) < 0 ||
	    sscanf(buf_str(&text), "%d %llu", &pid, &start) != 2 || pid <= 1)
		return;
	pidfd = proc_pidfd_open(pid);
	if (pidfd >= 0 && proc_start_time(pid) == start && proc_pidfd_kill(pidfd, SIGKILL) == 0)
		wait_for_end(pidfd);
	(void)unlink(path);
}

/* It is one that goes on: where, and on record. */
static int settle(struct service *s, pid_t pid, struct err *e)
{
	if (!s->kind->begin)
		return 0;
	place(s, pid);
	if (note(s, pid, e) < 0)
		return -e->code;
	if (s->kind->begin(s->sock) < 0)
		return err_set(e, EPIPE, "%s has ended", s->kind->program);
	return 0;
}

static int start_process(struct service *s, struct err *e)
{
	auto_free char *program = xasprintf("%s/%s", s->agent->o->libexec_dir, s->kind->program);
	auto_free char *word = xstrdup(s->kind->program);
	char *const argv[] = {word, NULL};
	struct proc_fd named[SERVICE_PORTS_MAX + 2] = {{2, 2}};
	const struct proc_spawn spawn = {.path = program,
					 .argv = argv,
					 .envp = environ,
					 .fds = named,
					 .fd_count = s->kind->port_count + 2,
					 .new_session = s->kind->begin != NULL,
					 .die_with_parent = true};
	auto_close int ours = -1, theirs = -1;
	int fds[2], at = FIRST_FD;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return err_sys(e, "socketpair");
	ours = fds[0];
	theirs = fds[1];
	for (size_t i = 0; i < s->kind->port_count; i++)
		named[i + 1] = (struct proc_fd){s->listen_fds[i], at++};
	named[s->kind->port_count + 1] = (struct proc_fd){theirs, at};
	if (proc_spawn(&spawn, &pid, &s->pidfd, e) < 0)
		return -e->code;
	s->sock = take_fd(ours);
	s->began_ms = clock_mono_ms();
	if (settle(s, pid, e) < 0)
		return -e->code;
	return loop_watch(s->agent->loop, s->sock, LOOP_READ, on_message, s, &s->watch, e);
}

static void begin(struct service *s)
{
	struct err e = {0};

	if (start_process(s, &e) < 0) {
		log_error("%s: %s", s->kind->id, e.msg);
		(void)end_process(s);
	}
	if (s->pidfd < 0)
		rest(s, e.msg);
	else if (s->kind->idle_ms)
		loop_timer_set(s->idle, s->kind->idle_ms);
	else if (s->failing)
		loop_timer_set(s->idle, REST_MS);
}

/* Somebody has come; who hears him is still to come. */
static void on_visitor(void *ctx, int events)
{
	struct service *s = ctx;

	(void)events;
	ignore_visitors(s);
	begin(s);
}

/* ---- the namespace ---- */

static void close_endpoint(struct service *s)
{
	(void)end_process(s);
	ignore_visitors(s);
	loop_timer_stop(s->idle);
	for (size_t i = 0; i < SERVICE_PORTS_MAX; i++)
		close_fd(&s->listen_fds[i]);
	net_endpoint_done(&s->endpoint);
}

/* A host without IPv6, or one that has turned it off, has those who ask by IPv4 all the same. */
static int attach(struct service *s, struct net_request *request, struct err *e)
{
	struct net *net = s->agent->net;
	struct err no_v6 = {0};

	if (request->service[1].length) {
		if (net_attach(net, request, &s->endpoint, &no_v6) == 0)
			return 0;
		request->service[1].length = 0;
	}
	if (net_attach(net, request, &s->endpoint, e) < 0)
		return -e->code;
	if (no_v6.code)
		log_warn("%s: not at %s: %s", s->kind->id, s->kind->address6, no_v6.msg);
	return 0;
}

static int open_endpoint(struct service *s, struct err *e)
{
	const struct service_kind *k = s->kind;
	struct net_request request = {.id = k->id, .mode = NET_BRIDGE};
	struct net *net = s->agent->net;

	(void)ip_address_parse(k->address, &request.service[0]);
	if (k->address6)
		(void)ip_address_parse(k->address6, &request.service[1]);
	service_end_former(s->agent->o, k->id);
	if (net_detach(net, k->id, e) < 0 || attach(s, &request, e) < 0)
		return -e->code;
	for (size_t i = 0; i < k->port_count; i++)
		if (net_listen(s->endpoint.netns_fd, k->ports[i].protocol, k->ports[i].port,
			       &s->listen_fds[i], e) < 0)
			return -e->code;
	await(s);
	return 0;
}

bool service_want(struct service *s)
{
	struct err e = {0};

	if (s->endpoint.netns_fd >= 0)
		return !s->failing;
	s->failing = false;
	if (open_endpoint(s, &e) == 0) {
		if (!s->failing)
			tell(s, NULL);
		return !s->failing;
	}
	close_endpoint(s);
	log_error("%s: %s", s->kind->id, e.msg);
	tell(s, e.msg);
	return false;
}

void service_look(struct service *s)
{
	struct net_endpoint now;
	struct err ignored;

	if (s->endpoint.netns_fd < 0 ||
	    (net_find(s->agent->net, s->kind->id, &now, &ignored) == 0 && !now.lost))
		return;
	close_endpoint(s);
	(void)service_want(s); /* it says why not */
}

const struct net_endpoint *service_endpoint(const struct service *s)
{
	return s->endpoint.netns_fd >= 0 ? &s->endpoint : NULL;
}

const char *service_live(const struct service *s)
{
	return service_endpoint(s) ? s->kind->id : NULL;
}

struct service *service_new(struct agent *a, const struct service_kind *kind, void *ctx)
{
	struct service *s = xcalloc(1, sizeof(*s));

	*s = (struct service){.agent = a,
			      .kind = kind,
			      .ctx = ctx,
			      .rest_ms = REST_MS,
			      .endpoint = NET_ENDPOINT_NONE,
			      .pidfd = -1,
			      .sock = -1};
	for (size_t i = 0; i < SERVICE_PORTS_MAX; i++)
		s->listen_fds[i] = -1;
	s->idle = loop_timer_new(a->loop, on_idle, s);
	return s;
}

void service_leave(struct service *s)
{
	if (!s || !s->kind->begin)
		return;
	loop_unwatch(take_ptr(s->watch));
	close_fd(&s->pidfd);
	close_fd(&s->sock);
}

void service_free(struct service *s)
{
	if (!s)
		return;
	close_endpoint(s);
	loop_timer_free(s->idle);
	free(s);
}
