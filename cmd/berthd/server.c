/* cmd/berthd/server.c - the server's process: callers' bytes are parsed without root
 * SPDX-License-Identifier: Apache-2.0
 *
 * The parent makes the listening sockets and passes them on, with the secret
 * key in a pipe: neither arguments nor environment ever hold it.  The child
 * makes its state directory its root directory, drops every right and only
 * then looks at what callers send.
 */
#include "cmd/berthd/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"
#include "scheduler/scheduler.h"

/* Descriptors of the child. */
enum { OPTIONS_FD = 3, READY_FD, NODE_FD, UNIX_FD, TCP_FD, LOCK_FD, NODE_LISTEN_FD };

#define OPTIONS_BYTES 16384
#define READY_MS      10000
#define SECONDS_MAX   (100LL * 365 * 24 * 3600)
#define COUNT_MAX     1000000000LL

struct child_options {
	char *state_dir, *region, *account, *vpc_cidr, *host_cidr, *access_key, *secret_key;
	int64_t uid, gid;
	int64_t heartbeat_ms, certificate_ms, lost_ms;
	int64_t stopped_ms, stopped_max;
	int64_t caller_rate;
	bool takes_nodes; /* NODE_LISTEN_FD is there */
};

static const struct js_field option_fields[] = {
	{"stateDir", JS_STRING, offsetof(struct child_options, state_dir), JS_REQUIRED, NULL},
	{"region", JS_STRING, offsetof(struct child_options, region), JS_REQUIRED, NULL},
	{"account", JS_STRING, offsetof(struct child_options, account), JS_REQUIRED, NULL},
	{"vpcCidr", JS_STRING, offsetof(struct child_options, vpc_cidr), JS_REQUIRED, NULL},
	{"hostCidr", JS_STRING, offsetof(struct child_options, host_cidr), JS_REQUIRED, NULL},
	{"accessKey", JS_STRING, offsetof(struct child_options, access_key), JS_REQUIRED, NULL},
	{"secretKey", JS_STRING, offsetof(struct child_options, secret_key), JS_REQUIRED, NULL},
	{"uid", JS_I64, offsetof(struct child_options, uid), JS_REQUIRED, NULL},
	{"gid", JS_I64, offsetof(struct child_options, gid), JS_REQUIRED, NULL},
	{"heartbeat", JS_I64, offsetof(struct child_options, heartbeat_ms), JS_REQUIRED, NULL},
	{"certificate", JS_I64, offsetof(struct child_options, certificate_ms), JS_REQUIRED, NULL},
	{"lost", JS_I64, offsetof(struct child_options, lost_ms), 0, NULL},
	{"stopped", JS_I64, offsetof(struct child_options, stopped_ms), 0, NULL},
	{"stoppedMax", JS_I64, offsetof(struct child_options, stopped_max), 0, NULL},
	{"callerRate", JS_I64, offsetof(struct child_options, caller_rate), 0, NULL},
	{"takesNodes", JS_BOOL, offsetof(struct child_options, takes_nodes), 0, NULL},
};
static const struct js_shape option_shape = JS_SHAPE("options", struct child_options,
						     option_fields);

static int make_state_dir(const struct host *h, char **ret, struct err *e)
{
	auto_free char *dir = xasprintf("%s/server", h->state_dir);

	if (fs_mkdirs(AT_FDCWD, dir, 0700, e) < 0)
		return -e->code;
	if (chown(dir, h->uid, h->gid) < 0 || chmod(dir, 0700) < 0)
		return err_sys(e, "owner of %s", dir);
	*ret = take_ptr(dir);
	return 0;
}

/* Numbers of the configuration, as the child wants them. */
static const struct {
	const char *key;
	size_t text; /* in struct config */
	int64_t least, most, scale;
	size_t to; /* in struct child_options */
} numbers[] = {
	{"node-heartbeat-seconds", offsetof(struct config, node_heartbeat_s), 1, SECONDS_MAX, 1000,
	 offsetof(struct child_options, heartbeat_ms)},
	{"node-lost-seconds", offsetof(struct config, node_lost_s), 0, SECONDS_MAX, 1000,
	 offsetof(struct child_options, lost_ms)},
	{"node-certificate-seconds", offsetof(struct config, node_certificate_s), 1, SECONDS_MAX,
	 1000, offsetof(struct child_options, certificate_ms)},
	{"stopped-task-seconds", offsetof(struct config, stopped_task_s), 0, SECONDS_MAX, 1000,
	 offsetof(struct child_options, stopped_ms)},
	{"stopped-tasks-max", offsetof(struct config, stopped_tasks_max), 0, COUNT_MAX, 1,
	 offsetof(struct child_options, stopped_max)},
	{"caller-requests-per-second", offsetof(struct config, caller_rate), 0, COUNT_MAX, 1,
	 offsetof(struct child_options, caller_rate)},
};

static int read_numbers(const struct config *c, struct child_options *ret, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
		const char *text = *(char *const *)((const char *)c + numbers[i].text);
		int64_t *to = (int64_t *)((char *)ret + numbers[i].to);

		if (!parse_i64(text, numbers[i].least, numbers[i].most, to))
			return err_set(e, EINVAL, "[server] %s '%s' is not a number from %lld on",
				       numbers[i].key, text, (long long)numbers[i].least);
		*to *= numbers[i].scale;
	}
	return 0;
}

static int fill_options(const struct server *s, const char *dir, struct child_options *ret,
			struct err *e)
{
	const struct host *h = s->host;

	*ret = (struct child_options){.state_dir = (char *)(uintptr_t)dir,
				      .region = h->config.region,
				      .account = h->config.account,
				      .vpc_cidr = h->config.vpc_cidr,
				      .host_cidr = h->config.host_cidr,
				      .access_key = h->access_key,
				      .secret_key = h->secret_key,
				      .uid = h->uid,
				      .gid = h->gid,
				      .takes_nodes = s->node_listen_fd >= 0};
	return read_numbers(&h->config, ret, e);
}

/* ---- the parent ---- */

/* Both ends of a pipe, close-on-exec. */
static int make_pipe(int *ret_r, int *ret_w, struct err *e)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	*ret_r = fds[0];
	*ret_w = fds[1];
	return 0;
}

static int make_streams(int *ret_ours, int *ret_theirs, struct err *e)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return err_sys(e, "socketpair");
	*ret_ours = fds[0];
	*ret_theirs = fds[1];
	return 0;
}

/* The options fit into a pipe's buffer, so writing does not wait for a reader. */
static int send_options(const struct server *s, const char *dir, int fd, struct err *e)
{
	struct child_options o;
	auto_json json_t *doc = NULL;
	auto_free char *text = NULL;
	int r;

	if (fill_options(s, dir, &o, e) < 0)
		return -e->code;
	doc = js_encode(&option_shape, &o);
	text = js_dump(doc);
	r = write_all(fd, text, strlen(text));
	explicit_bzero(text, strlen(text));
	return r < 0 ? err_set(e, -r, "hand options to the server") : 0;
}

static int wait_until_ready(int ready_fd, struct err *e)
{
	struct pollfd p = {.fd = ready_fd, .events = POLLIN};
	char byte;
	int r;

	do
		r = poll(&p, 1, READY_MS);
	while (r < 0 && errno == EINTR);
	if (r > 0 && read(ready_fd, &byte, 1) == 1)
		return 0;
	return err_set(e, r ? EIO : ETIMEDOUT, "the server did not become ready");
}

void server_stop(struct server *s)
{
	struct err e;
	int status;

	if (s->pidfd < 0)
		return;
	(void)proc_pidfd_kill(s->pidfd, SIGTERM);
	(void)proc_wait(s->pidfd, &status, &e);
	close_fd(&s->pidfd);
}

int server_start(struct server *s, int *ret_node_fd, struct err *e)
{
	auto_close int options_r = -1, options_w = -1, ready_r = -1, ready_w = -1, ours = -1,
		       theirs = -1;
	auto_free char *dir = NULL;
	char *const argv[] = {(char[]){"berthd"}, (char[]){"server-child"}, NULL};
	struct proc_spawn spawn = {
		.path = s->host->self, .argv = argv, .envp = environ, .die_with_parent = true};

	server_stop(s);
	if (make_state_dir(s->host, &dir, e) < 0 || make_pipe(&options_r, &options_w, e) < 0 ||
	    make_pipe(&ready_r, &ready_w, e) < 0 || make_streams(&ours, &theirs, e) < 0 ||
	    send_options(s, dir, options_w, e) < 0)
		return -e->code;

	{
		const struct proc_fd fds[] = {{2, 2},
					      {options_r, OPTIONS_FD},
					      {ready_w, READY_FD},
					      {theirs, NODE_FD},
					      {s->unix_fd, UNIX_FD},
					      {s->tcp_fd, TCP_FD},
					      {s->host->lock_fd, LOCK_FD},
					      {s->node_listen_fd, NODE_LISTEN_FD}};

		spawn.fds = fds;
		spawn.fd_count = ARRAY_COUNT(fds) - (s->node_listen_fd < 0);
		if (proc_spawn(&spawn, &s->pid, &s->pidfd, e) < 0)
			return err_wrap(e, "server");
	}
	close_fd(&options_w); /* the child reads up to the end */
	close_fd(&ready_w);
	close_fd(&theirs);
	if (wait_until_ready(ready_r, e) < 0) {
		server_stop(s);
		return -e->code;
	}
	*ret_node_fd = take_fd(ours);
	return 0;
}

/* ---- the child ---- */

static int drop_rights(const char *dir, uid_t uid, gid_t gid, struct err *e)
{
	if (chroot(dir) < 0 || chdir("/") < 0)
		return err_sys(e, "make %s the root directory", dir);
	return proc_become(uid, gid, e);
}

static int run_scheduler(const struct child_options *o, int tcp_fd, int unix_fd, int node_fd,
			 int node_listen_fd, int ready_fd, struct err *e)
{
	const struct scheduler_options options = {.tcp_fd = tcp_fd,
						  .unix_fd = unix_fd,
						  .node_fd = node_fd,
						  .node_listen_fd = node_listen_fd,
						  .ready_fd = ready_fd,
						  .state_dir = "/",
						  .heartbeat_ms = o->heartbeat_ms,
						  .certificate_ms = o->certificate_ms,
						  .lost_ms = o->lost_ms,
						  .stopped_ms = o->stopped_ms,
						  .stopped_max = (size_t)o->stopped_max,
						  .caller_rate = (double)o->caller_rate,
						  .region = o->region,
						  .account = o->account,
						  .vpc_cidr = o->vpc_cidr,
						  .host_cidr = o->host_cidr,
						  .access_key = o->access_key,
						  .secret_key = o->secret_key};

	return scheduler_run(&options, e);
}

static int run_as_child(const struct child_options *o, pid_t parent, struct err *e)
{
	for (int fd = OPTIONS_FD; fd <= (o->takes_nodes ? NODE_LISTEN_FD : LOCK_FD); fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_sys(e, "descriptor %d", fd);
	if (drop_rights(o->state_dir, (uid_t)o->uid, (gid_t)o->gid, e) < 0)
		return -e->code;
	if (!proc_die_with(parent))
		return err_set(e, ESRCH, "the parent has ended");
	return run_scheduler(o, TCP_FD, UNIX_FD, NODE_FD, o->takes_nodes ? NODE_LISTEN_FD : -1,
			     READY_FD, e);
}

int server_child_main(void)
{
	auto_buf struct buf text = BUF_INIT(OPTIONS_BYTES);
	auto_arena struct arena a = {0};
	struct child_options o;
	struct err e = {0};
	pid_t parent = getppid();
	int r;

	r = fs_read_fd(OPTIONS_FD, &text, &e);
	if (r == 0)
		r = js_decode_text(buf_str(&text), text.size, &option_shape, &a, &o, &e);
	if (r == 0)
		r = run_as_child(&o, parent, &e);
	if (r < 0)
		log_error("server: %s", e.msg);
	return r < 0 ? 1 : 0;
}

int server_run_here(struct server *s, struct err *e)
{
	auto_free char *dir = NULL;
	const struct host *h = s->host;
	struct child_options c;

	if (make_state_dir(h, &dir, e) < 0 || fill_options(s, "/", &c, e) < 0 ||
	    drop_rights(dir, h->uid, h->gid, e) < 0)
		return -e->code;
	return run_scheduler(&c, s->tcp_fd, s->unix_fd, -1, s->node_listen_fd, -1, e);
}
