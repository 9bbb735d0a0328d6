/* agent/metadata.c - the task metadata endpoint of this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A network namespace that nobody lives in has a socket that listens; the firewall leads
 * there what tasks send to 169.254.170.2 (net_request.service), so neither a task's
 * ports nor the host's are in the way.  Who comes is known by the address that the
 * firewall lets it have, and may ask for what its own task is.  Tasks in the host's
 * network come from the host's own address, and are known by the id that they were given.
 *
 * The namespace is made with the first task that has a network.  berth-metadata, which reads
 * what is asked, is started when somebody comes, and ended when nobody has for long.
 *
 * 1. The namespace lives as long as our descriptor of it; an agent that starts again
 *    makes another one, and tasks find it at the same place.
 * 2. The socket is ours, so that nobody is turned away while no process listens at it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"
#include "ecs/metadata.h"

#define ENDPOINT "metadata" /* its id among those of containers and tasks */
#define PORT     80
#define IDLE_MS  (10 * 60 * 1000LL)
#define REST_MS  1000 /* after a process that was of no use */
#define TURN_MAX 64   /* questions that are answered before others are heard */

struct metadata {
	struct agent *agent;
	struct net_endpoint endpoint; /* without a descriptor: there is none */
	int listen_fd;
	struct loop_fd *listening; /* while no process is there; NULL: one is, or nobody can come */
	int pidfd, sock;           /* of berth-metadata; -1: there is none */
	struct loop_fd *watch;
	struct loop_timer *idle;
};

/* ---- the process ---- */

static void on_visitor(void *ctx, int events);

static void watch_visitors(struct metadata *m)
{
	struct err e = {0};

	if (m->listen_fd >= 0 && loop_watch(m->agent->loop, m->listen_fd, LOOP_READ, on_visitor, m,
					    &m->listening, &e) < 0)
		log_error("metadata: %s", e.msg);
}

static void end_process(struct metadata *m)
{
	struct err ignored;
	int status;

	loop_unwatch(take_ptr(m->watch));
	if (m->pidfd < 0)
		return;
	(void)proc_pidfd_kill(m->pidfd, SIGKILL); /* it holds nothing */
	(void)proc_wait(m->pidfd, &status, &ignored);
	close_fd(&m->pidfd);
	close_fd(&m->sock);
}

static void on_idle(void *ctx)
{
	struct metadata *m = ctx;

	end_process(m);
	watch_visitors(m);
}

/* With a file of memory: nobody has to read it into a message. */
static int send_answer(const struct metadata *m, const struct ecs_metadata_question *q,
		       const json_t *doc, unsigned status)
{
	auto_free char *text = js_dump(doc);
	auto_close int fd = memfd_create("metadata", MFD_CLOEXEC);
	const struct ecs_metadata_answer a = {
		.number = q->number, .size = strlen(text), .status = status};

	if (fd < 0 || write_all(fd, text, a.size) < 0)
		return -EIO;
	return fs_send(m->sock, &a, sizeof(a), &fd, 1);
}

/* Is it one of the containers that may know? */
static struct container *find_asker(const struct metadata *m, const struct ecs_metadata_question *q)
{
	struct container *c = map_find(&m->agent->containers, q->id);
	char address[NET_ADDRESS_MAX];

	if (!c || !network_source(c, address))
		return NULL;
	return str_eq(*address ? address : m->endpoint.gateway, q->caller) ? c : NULL;
}

static int answer(const struct metadata *m, const struct ecs_metadata_question *q)
{
	struct container *c = find_asker(m, q);
	auto_json json_t *doc = NULL;

	if (!c) {
		doc = json_string("unable to get container from request: no container of the "
				  "caller has this id");
		return send_answer(m, q, doc, 404);
	}
	doc = metadata_document(c, (enum ecs_metadata_topic)q->topic);
	return send_answer(m, q, doc, 200);
}

static bool is_whole(const struct ecs_metadata_question *q)
{
	return q->topic < ECS_METADATA_TOPICS && memchr(q->caller, '\0', sizeof(q->caller)) &&
	       memchr(q->id, '\0', sizeof(q->id));
}

static void on_question(void *ctx, int events)
{
	struct metadata *m = ctx;
	struct ecs_metadata_question q;
	size_t fd_count;

	(void)events;
	for (int i = 0; i < TURN_MAX; i++) {
		ssize_t n = fs_recv(m->sock, &q, sizeof(q), NULL, 0, &fd_count, MSG_DONTWAIT);

		if (n == -EAGAIN)
			break;
		if (n == sizeof(q) && is_whole(&q) && answer(m, &q) == 0)
			continue;
		log_error("metadata: berth-metadata %s, another one comes when it is asked",
			  n <= 0 ? "has ended" : "talks nonsense or does not listen");
		end_process(m);
		loop_timer_set(m->idle, REST_MS);
		return;
	}
	loop_timer_set(m->idle, IDLE_MS);
}

static int start_process(struct metadata *m, struct err *e)
{
	auto_free char *program = xasprintf("%s/berth-metadata", m->agent->o->libexec_dir);
	char *const argv[] = {(char[]){"berth-metadata"}, NULL};
	struct proc_spawn spawn = {
		.path = program, .argv = argv, .envp = environ, .die_with_parent = true};
	auto_close int ours = -1, theirs = -1;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return err_sys(e, "socketpair");
	ours = fds[0];
	theirs = fds[1];
	{
		const struct proc_fd named[] = {{2, 2},
						{m->listen_fd, ECS_METADATA_LISTEN_FD},
						{theirs, ECS_METADATA_AGENT_FD}};

		spawn.fds = named;
		spawn.fd_count = ARRAY_COUNT(named);
		if (proc_spawn(&spawn, &pid, &m->pidfd, e) < 0)
			return -e->code;
	}
	m->sock = take_fd(ours);
	return loop_watch(m->agent->loop, m->sock, LOOP_READ, on_question, m, &m->watch, e);
}

/* Somebody has connected; who accepts it is still to come. */
static void on_visitor(void *ctx, int events)
{
	struct metadata *m = ctx;
	struct err e = {0};

	(void)events;
	loop_unwatch(take_ptr(m->listening));
	if (start_process(m, &e) < 0) {
		log_error("metadata: %s", e.msg);
		end_process(m);
	}
	loop_timer_set(m->idle, m->pidfd >= 0 ? IDLE_MS : REST_MS);
}

/* ---- the namespace ---- */

static void close_endpoint(struct metadata *m)
{
	end_process(m);
	loop_unwatch(take_ptr(m->listening));
	loop_timer_stop(m->idle);
	close_fd(&m->listen_fd);
	net_endpoint_done(&m->endpoint);
}

static int open_endpoint(struct metadata *m, struct err *e)
{
	struct net_request request = {.id = ENDPOINT, .mode = NET_BRIDGE};
	struct net *net = m->agent->net;

	(void)ip_address_parse(ECS_METADATA_ADDRESS, &request.service);
	if (net_detach(net, ENDPOINT, e) < 0 || net_attach(net, &request, &m->endpoint, e) < 0 ||
	    net_listen(m->endpoint.netns_fd, PORT, &m->listen_fd, e) < 0)
		return -e->code;
	watch_visitors(m);
	return 0;
}

bool metadata_want(struct metadata *m)
{
	struct err e = {0};

	if (m->endpoint.netns_fd >= 0)
		return true;
	if (open_endpoint(m, &e) == 0) {
		doctor_tell(m->agent, "metadata", "tasks are told what they are", "");
		return true;
	}
	close_endpoint(m);
	log_error("metadata: %s", e.msg);
	doctor_tell(m->agent, "metadata", "tasks are not told what they are: ", e.msg);
	return false;
}

void metadata_look(struct metadata *m)
{
	struct net_endpoint now;
	struct err ignored;

	if (m->endpoint.netns_fd < 0 ||
	    (net_find(m->agent->net, ENDPOINT, &now, &ignored) == 0 && !now.lost))
		return;
	close_endpoint(m);
	(void)metadata_want(m); /* it says why not */
}

/* From the host's network the endpoint is at its own address: the firewall leads tasks only. */
char *metadata_url(const struct container *c)
{
	struct metadata *m = c->task->agent->metadata;
	char address[NET_ADDRESS_MAX];

	if (!network_source(c, address) || !metadata_want(m))
		return NULL;
	return xasprintf("http://%s", *address ? ECS_METADATA_ADDRESS : m->endpoint.address);
}

const char *metadata_endpoint(const struct metadata *m)
{
	return m->endpoint.netns_fd >= 0 ? ENDPOINT : NULL;
}

struct metadata *metadata_new(struct agent *a)
{
	struct metadata *m = xcalloc(1, sizeof(*m));

	m->agent = a;
	m->endpoint = (struct net_endpoint)NET_ENDPOINT_NONE;
	m->listen_fd = m->pidfd = m->sock = -1;
	m->idle = loop_timer_new(a->loop, on_idle, m);
	return m;
}

void metadata_free(struct metadata *m)
{
	if (!m)
		return;
	close_endpoint(m);
	loop_timer_free(m->idle);
	free(m);
}
