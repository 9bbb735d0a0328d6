/* agent/identity.c - who this node is to a server elsewhere
 * SPDX-License-Identifier: Apache-2.0
 *
 * In var/lib/berth/node: key.pem, made before the first word to the server and
 * kept for ever; authority, by which the server is known; and, once the node
 * has joined, certificate.pem, instance and server.  A join whose answer was lost is
 * simply tried again: the same key gets the same name.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/js.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"

#define ANSWER_MS      30000
#define RETRY_FIRST_MS 200
#define RETRY_MAX_MS   10000
#define OPTIONS_BYTES  32768

enum { OPTIONS_FD = 3, AGENT_FD }; /* of berth-uplink */

struct identity {
	const struct agent_options *o; /* borrowed */
	char *dir;
	char *key, *authority;
	char *instance, *certificate; /* NULL: it has not joined */
	int uplink_pidfd;             /* -1: none */
};

/* ---- files ---- */

static int read_part(const struct identity *id, const char *name, char **ret, struct err *e)
{
	auto_free char *path = xasprintf("%s/%s", id->dir, name);
	auto_buf struct buf b = BUF_INIT(2 * CERT_PEM_MAX);
	int r = fs_read(AT_FDCWD, path, &b, e);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	*ret = xstrdup(buf_str(&b));
	explicit_bzero(b.data, b.size);
	return 0;
}

static int write_part(const struct identity *id, const char *name, const char *text, struct err *e)
{
	auto_free char *path = xasprintf("%s/%s", id->dir, name);

	return fs_replace(AT_FDCWD, path, text, strlen(text), 0600, FS_DURABLE, e);
}

static int read_all_parts(struct identity *id, struct err *e)
{
	if (fs_mkdirs(AT_FDCWD, id->dir, 0700, e) < 0 ||
	    read_part(id, "key.pem", &id->key, e) < 0 ||
	    read_part(id, "authority", &id->authority, e) < 0 ||
	    read_part(id, "instance", &id->instance, e) < 0 ||
	    read_part(id, "certificate.pem", &id->certificate, e) < 0)
		return -e->code;
	if (id->key)
		return 0;
	if (cert_key_make(&id->key, e) < 0)
		return -e->code;
	return write_part(id, "key.pem", id->key, e);
}

static bool has_joined(const struct identity *id)
{
	return id->instance && id->certificate && id->authority;
}

/* ---- the way to the server ---- */

struct uplink_options {
	char *server, *authority, *certificate, *key;
};

static const struct js_field option_fields[] = {
	{"server", JS_STRING, offsetof(struct uplink_options, server), JS_REQUIRED, NULL},
	{"authority", JS_STRING, offsetof(struct uplink_options, authority), JS_REQUIRED, NULL},
	{"certificate", JS_STRING, offsetof(struct uplink_options, certificate), 0, NULL},
	{"key", JS_STRING, offsetof(struct uplink_options, key), 0, NULL},
};
static const struct js_shape option_shape = JS_SHAPE("options", struct uplink_options,
						     option_fields);

/* They fit into a pipe's buffer, so writing does not wait for a reader. */
static int send_options(const struct identity *id, int *ret_fd, struct err *e)
{
	const struct uplink_options o = {.server = (char *)(uintptr_t)id->o->server,
					 .authority = id->authority,
					 .certificate = id->certificate,
					 .key = id->certificate ? id->key : NULL};
	auto_json json_t *doc = js_encode(&option_shape, &o);
	auto_free char *text = js_dump(doc);
	auto_close int r = -1, w = -1;
	int fds[2];

	if (strlen(text) > OPTIONS_BYTES)
		return err_set(e, E2BIG, "options of the way to the server");
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	r = fds[0];
	w = fds[1];
	if (write_all(w, text, strlen(text)) < 0)
		return err_set(e, EIO, "hand options to berth-uplink");
	explicit_bzero(text, strlen(text));
	*ret_fd = take_fd(r);
	return 0;
}

static void end_uplink(struct identity *id)
{
	struct err e;
	int status;

	if (id->uplink_pidfd < 0)
		return;
	(void)proc_pidfd_kill(id->uplink_pidfd, SIGKILL); /* it holds nothing */
	(void)proc_wait(id->uplink_pidfd, &status, &e);
	close_fd(&id->uplink_pidfd);
}

int identity_dial(struct identity *id, int *ret_fd, struct err *e)
{
	auto_free char *program = xasprintf("%s/berth-uplink", id->o->libexec_dir);
	char *const argv[] = {(char[]){"berth-uplink"}, NULL};
	struct proc_spawn spawn = {
		.path = program, .argv = argv, .envp = environ, .die_with_parent = true};
	auto_close int options = -1, ours = -1, theirs = -1;
	int fds[2];
	pid_t pid;

	end_uplink(id);
	if (send_options(id, &options, e) < 0)
		return -e->code;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return err_sys(e, "socketpair");
	ours = fds[0];
	theirs = fds[1];
	{
		const struct proc_fd named[] = {{2, 2}, {options, OPTIONS_FD}, {theirs, AGENT_FD}};

		spawn.fds = named;
		spawn.fd_count = ARRAY_COUNT(named);
		if (proc_spawn(&spawn, &pid, &id->uplink_pidfd, e) < 0)
			return -e->code;
	}
	*ret_fd = take_fd(ours);
	return 0;
}

/* ---- joining: one question, one answer, before there is a loop ---- */

static int wait_ready(int fd, int64_t end_ms, struct err *e)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t left_ms = end_ms - clock_mono_ms();

	if (left_ms > 0 && poll(&p, 1, (int)left_ms) > 0)
		return 0;
	return err_set(e, ETIMEDOUT, "no answer in %d s", ANSWER_MS / 1000);
}

static int read_frame(int fd, struct buf *in, const char **ret, size_t *ret_size, struct err *e)
{
	int64_t end_ms = clock_mono_ms() + ANSWER_MS;
	enum frame_result r;

	while ((r = frame_peek(in, ECS_NODE_FRAME_MAX, ret, ret_size)) == FRAME_PARTIAL) {
		void *room = buf_reserve(in, 4096);
		ssize_t n;

		if (!room)
			return err_set(e, ENOMEM, "answer of the server");
		if (wait_ready(fd, end_ms, e) < 0)
			return -e->code;
		n = read(fd, room, 4096);
		if (n == 0)
			return err_set(e, ECONNRESET, "no answer");
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_sys(e, "answer of the server");
		buf_commit(in, n > 0 ? (size_t)n : 0);
	}
	return r == FRAME_READY ? 0 : err_set(e, EPROTO, "the answer is too large");
}

/* Certificate and name are known to belong together only when both are there. */
int identity_certified(struct identity *id, const struct ecs_node_certificate *c, struct err *e)
{
	if (write_part(id, "server", id->o->server, e) < 0 ||
	    write_part(id, "certificate.pem", c->certificate, e) < 0 ||
	    write_part(id, "instance", c->instance_id, e) < 0)
		return -e->code;
	free(id->certificate);
	free(id->instance);
	id->certificate = xstrdup(c->certificate);
	id->instance = xstrdup(c->instance_id);
	return 0;
}

static int on_certificate(void *ctx, const void *message, struct err *e)
{
	return identity_certified(ctx, message, e);
}

static int on_refused(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	return err_set(e, EACCES, "refused: %.300s",
		       ((const struct ecs_node_refused *)message)->reason);
}

static const struct ecs_node_handler answers[] = {
	{ECS_NODE_CERTIFICATE, true, sizeof(struct ecs_node_certificate), on_certificate},
	{ECS_NODE_REFUSED, true, sizeof(struct ecs_node_refused), on_refused},
};

static int ask_to_join(struct identity *id, const char *activation_id, const char *code,
		       struct err *e)
{
	char hostname[256] = "";
	auto_free char *request = NULL, *text = NULL;
	auto_buf struct buf out = BUF_INIT(ECS_NODE_FRAME_MAX), in = BUF_INIT(ECS_NODE_FRAME_MAX);
	auto_close int fd = -1;
	struct ecs_node_join join = {.protocol = ECS_NODE_PROTOCOL,
				     .activation_id = (char *)(uintptr_t)activation_id,
				     .code = (char *)(uintptr_t)code,
				     .hostname = hostname,
				     .cluster = (char *)(uintptr_t)id->o->cluster};
	const char *answer;
	size_t size;

	(void)gethostname(hostname, sizeof(hostname) - 1);
	if (cert_request_make(id->key, &request, e) < 0 || identity_dial(id, &fd, e) < 0)
		return -e->code;
	join.request = request;
	text = ecs_node_dump(ECS_NODE_JOIN, &join);
	frame_put(&out, text, strlen(text));
	if (send(fd, out.data, out.size, MSG_NOSIGNAL) != (ssize_t)out.size)
		return err_set(e, ECONNRESET, "no way to the server");
	if (read_frame(fd, &in, &answer, &size, e) < 0)
		return -e->code;
	return ecs_node_dispatch(answers, ARRAY_COUNT(answers), false, id, answer, size, e);
}

/* "ID.SECRET-AUTHORITY", or the id and the code apart. */
static int split_token(const char *token, char **ret_id, char **ret_code, struct err *e)
{
	const char *dot = strchr(token, '.'), *dash = strrchr(token, '-');
	unsigned char authority[SHA256_SIZE];

	if (!dot || !dash || dash < dot || !hex_decode(dash + 1, authority, sizeof(authority)))
		return err_set(e, EINVAL,
			       "the token is not one of `berth node token`: was it cut off?");
	*ret_id = xstrndup(token, (size_t)(dot - token));
	*ret_code = xstrdup(dot + 1);
	return 0;
}

/* Until the server has answered: a node that boots may come before its network. */
static int join(struct identity *id, struct err *e)
{
	auto_free char *activation_id = NULL, *code = NULL;
	int64_t wait_ms = RETRY_FIRST_MS;
	int r;

	if (!id->o->token)
		return err_set(e, ENOENT,
			       "this node has not joined a cluster: it needs --token, which `berth "
			       "node token` prints at the server");
	if (split_token(id->o->token, &activation_id, &code, e) < 0)
		return -e->code;
	free(id->authority);
	id->authority = xstrdup(strrchr(code, '-') + 1);
	if (write_part(id, "authority", id->authority, e) < 0)
		return -e->code;
	while ((r = ask_to_join(id, activation_id, code, e)) < 0 && r != -EACCES) {
		const struct timespec pause = {wait_ms / 1000, wait_ms % 1000 * NS_PER_MS};

		log_warn("join %s: %s; trying again", id->o->server, e->msg);
		(void)nanosleep(&pause, NULL);
		wait_ms = wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
	}
	end_uplink(id);
	if (r == 0)
		log_info("instance=%s server=%s: joined", id->instance, id->o->server);
	return r < 0 ? err_wrap(e, "join %s", id->o->server) : 0;
}

/* ---- life ---- */

int identity_open(const struct agent_options *o, struct identity **ret, struct err *e)
{
	struct identity *id = xcalloc(1, sizeof(*id));

	id->o = o;
	id->uplink_pidfd = -1;
	id->dir = xasprintf("%s/node", o->state_dir);
	if (read_all_parts(id, e) < 0 || (!has_joined(id) && join(id, e) < 0)) {
		identity_close(id);
		return -e->code;
	}
	*ret = id;
	return 0;
}

int agent_join(const struct agent_options *o, struct err *e)
{
	struct identity *id = NULL;

	if (identity_open(o, &id, e) < 0)
		return -e->code;
	identity_close(id);
	return 0;
}

char *agent_server(const char *state_dir)
{
	const struct identity id = {.dir = xasprintf("%s/node", state_dir)};
	char *server = NULL;
	struct err ignored;

	(void)read_part(&id, "server", &server, &ignored);
	free(id.dir);
	return server;
}

void identity_close(struct identity *id)
{
	if (!id)
		return;
	end_uplink(id);
	if (id->key)
		explicit_bzero(id->key, strlen(id->key));
	free(id->key);
	free(id->authority);
	free(id->instance);
	free(id->certificate);
	free(id->dir);
	free(id);
}

const char *identity_instance(const struct identity *id)
{
	return id->instance;
}

int identity_request(const struct identity *id, char **ret, struct err *e)
{
	return cert_request_make(id->key, ret, e);
}

int identity_forget(struct identity *id, struct err *e)
{
	return fs_remove_tree(AT_FDCWD, id->dir, e);
}
