/* cmd/berth_uplink.c - a node's way to a server elsewhere
 * SPDX-License-Identifier: Apache-2.0
 *
 *   agent ── socketpair (4) ── berth-uplink ── TLS ── server
 *
 * The agent is root; what comes from the network is for this process, which has
 * nothing but the connection.  It dials, through a proxy where the environment
 * names one, proves who it is, makes sure who the server is, and carries bytes
 * until either side ends.  What it is to do comes as JSON on descriptor 3.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/tls.h"

enum { OPTIONS_FD = 3, AGENT_FD };

#define NOBODY        65534
#define OPTIONS_BYTES 32768
#define CONNECT_MS    10000
#define HANDSHAKE_MS  10000
#define BUFFER        65536
#define USER_TIMEOUT  30000 /* ms that the server's host may leave bytes unacknowledged */

struct options {
	char *server;            /* HOST:PORT */
	char *authority;         /* SHA-256 of the cluster's */
	char *certificate, *key; /* NULL: it has none yet */
};

static const struct js_field option_fields[] = {
	{"server", JS_STRING, offsetof(struct options, server), JS_REQUIRED, NULL},
	{"authority", JS_STRING, offsetof(struct options, authority), JS_REQUIRED, NULL},
	{"certificate", JS_STRING, offsetof(struct options, certificate), 0, NULL},
	{"key", JS_STRING, offsetof(struct options, key), 0, NULL},
};
static const struct js_shape option_shape = JS_SHAPE("options", struct options, option_fields);

/* ---- carrying ---- */

struct way {
	char data[BUFFER];
	size_t start, end;
};

static bool is_empty(const struct way *w)
{
	return w->start == w->end;
}

static void took(struct way *w, size_t size)
{
	w->start += size;
	if (is_empty(w))
		w->start = w->end = 0;
}

/* < 0: this side is over; -EAGAIN: later. */
static ssize_t fill_from_agent(struct way *w)
{
	ssize_t n = read(AGENT_FD, w->data, BUFFER);

	if (n > 0)
		w->end = (size_t)n;
	return n < 0 ? -errno : n ? n : -EPIPE;
}

static ssize_t fill_from_server(struct way *w, struct tls *t)
{
	ssize_t n = tls_read(t, w->data, BUFFER);

	if (n > 0)
		w->end = (size_t)n;
	return n ? n : -EPIPE;
}

static ssize_t drain_to_agent(struct way *w)
{
	ssize_t n = send(AGENT_FD, w->data + w->start, w->end - w->start, MSG_NOSIGNAL);

	if (n > 0)
		took(w, (size_t)n);
	return n < 0 ? -errno : n;
}

static ssize_t drain_to_server(struct way *w, struct tls *t)
{
	ssize_t n = tls_write(t, w->data + w->start, w->end - w->start);

	if (n > 0)
		took(w, (size_t)n);
	return n;
}

static bool is_over(ssize_t n)
{
	return n < 0 && n != -EAGAIN && n != -EINTR;
}

/* What can be moved now, both ways; false: one side is over. */
static bool move(struct tls *t, struct way *down, struct way *up)
{
	if (is_empty(down) && is_over(fill_from_server(down, t)))
		return false;
	if (is_empty(up) && is_over(fill_from_agent(up)))
		return false;
	return (is_empty(down) || !is_over(drain_to_agent(down))) &&
	       (is_empty(up) || !is_over(drain_to_server(up, t)));
}

static void carry(struct tls *t, int fd)
{
	static struct way down, up;

	while (move(t, &down, &up)) {
		struct pollfd p[] = {{.fd = fd,
				      .events = (short)((is_empty(&down) ? POLLIN : 0) |
							(is_empty(&up) ? 0 : POLLOUT))},
				     {.fd = AGENT_FD,
				      .events = (short)((is_empty(&up) ? POLLIN : 0) |
							(is_empty(&down) ? 0 : POLLOUT))}};

		(void)poll(p, 2, is_empty(&down) && tls_has_more(t) ? 0 : -1);
	}
	if (tls_alert(t))
		log_error("server: it ended the connection: %s", tls_alert(t));
}

/* ---- dialling ---- */

static int shake_hands(struct tls *t, int fd, struct err *e)
{
	int64_t end_ms = clock_mono_ms() + HANDSHAKE_MS;
	int r;

	while ((r = tls_handshake(t, e)) == TLS_AGAIN) {
		struct pollfd p = {.fd = fd, .events = tls_wants_write(t) ? POLLOUT : POLLIN};
		int64_t left_ms = end_ms - clock_mono_ms();

		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) == 0)
			return err_set(e, ETIMEDOUT, "it does not answer with TLS");
	}
	return r;
}

static void tune(int fd)
{
	const int one = 1, timeout_ms = USER_TIMEOUT;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static int link_up(const struct options *o, struct err *e)
{
	const struct tls_options tls_options = {
		.authority = o->authority, .certificate = o->certificate, .key = o->key};
	struct tls_credentials *credentials = NULL;
	auto_close int fd = -1;
	struct tls *t;
	int r;

	if (tls_credentials_open(&tls_options, &credentials, e) < 0)
		return -e->code;
	r = fetch_connect(o->server, CONNECT_MS, &fd, e);
	if (r < 0) {
		tls_credentials_free(credentials);
		return r;
	}
	tune(fd);
	t = tls_new(credentials, fd);
	r = shake_hands(t, fd, e);
	if (r == 0)
		carry(t, fd);
	tls_free(t);
	tls_credentials_free(credentials);
	return r < 0 ? err_wrap(e, "%s", o->server) : 0;
}

static int give_up_rights(struct err *e)
{
	return geteuid() == 0 ? proc_become(NOBODY, NOBODY, e) : 0;
}

int main(void)
{
	auto_buf struct buf text = BUF_INIT(OPTIONS_BYTES);
	auto_arena struct arena a = {0};
	struct options o;
	struct err e = {0};
	int r;

	log_open("berth-uplink", LOG_LEVEL_INFO);
	r = give_up_rights(&e);
	if (r == 0)
		r = fs_read_fd(OPTIONS_FD, &text, &e);
	if (r == 0)
		r = js_decode_text(buf_str(&text), text.size, &option_shape, &a, &o, &e);
	if (r == 0)
		r = link_up(&o, &e);
	if (r < 0)
		log_error("server: %s", e.msg);
	return r < 0 ? 1 : 0;
}
