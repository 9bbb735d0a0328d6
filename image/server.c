/* image/server.c - the worker that serves what is held to other nodes
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * Whoever comes shows a key; the caller says whose may.  One that it has not named (yet:
 * word of it and the node itself come by different ways) waits for a moment before it is
 * refused.  What is asked for is opened by the caller, who is sent the digest alone.
 *
 * 1. The process has a listening socket and a socket to its caller, and no network, file
 *    system or right beside: what it sends are descriptors that it was given.
 * 2. Everything is by digest, so whoever takes it can check it; nothing is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/http.h"
#include "base/jail.h"
#include "base/loop.h"
#include "base/text.h"
#include "image/serve.h"
#include "image/wire.h"
#include "image/worker.h"

#define KNOWN_MAX          1024
#define PATIENCE_MS        2000 /* of who is not known */
#define LOOK_MS            200
#define CONNECTIONS        256
#define CONNECTIONS_OF_ONE 64 /* of one address: nodes may be behind one */
#define HEADER_BYTES       8192
#define REQUEST_MS         10000
#define RANGE_SIZE         80

struct known {
	char key[SHA256_HEX];
	int64_t until_ms;
};

struct waiting {
	struct waiting *next;
	struct http_request *request;
	uint32_t number; /* of the question; 0: for its key to become known */
	int64_t until_ms;
	char digest[DIGEST_SIZE];
};

struct server {
	struct loop *loop;
	struct http_server *http;
	struct loop_timer *look;
	struct known known[KNOWN_MAX];
	size_t known_next;
	struct waiting *waiting;
	uint32_t last_number;
};

/* ---- who may come ---- */

static struct known *find_known(struct server *s, const char *key)
{
	for (size_t i = 0; i < KNOWN_MAX; i++)
		if (key[0] && strcmp(s->known[i].key, key) == 0)
			return &s->known[i];
	return NULL;
}

static bool is_known(struct server *s, const char *key)
{
	const struct known *k = find_known(s, key);

	return k && k->until_ms > clock_mono_ms();
}

static void know(struct server *s, const char *key)
{
	struct known *k = find_known(s, key);

	if (!k)
		k = &s->known[s->known_next++ % KNOWN_MAX];
	memcpy(k->key, key, sizeof(k->key));
	k->until_ms = clock_mono_ms() + IMAGE_SERVER_KNOWN_MS;
}

static void forget(struct server *s, const char *key)
{
	struct known *k = find_known(s, key);

	if (k)
		*k = (struct known){.key = ""};
}

/* ---- answers ---- */

static const struct http_field version_field = {"Docker-Distribution-Api-Version", "registry/2.0"};

static void refuse(struct http_request *r, unsigned status, const char *code)
{
	const struct http_field fields[] = {version_field, {"Content-Type", "application/json"}};
	char text[128];
	int len = snprintf(text, sizeof(text), "{\"errors\":[{\"code\":\"%s\"}]}", code);

	http_reply(r, status, fields, ARRAY_COUNT(fields), text, (size_t)len);
}

static void send_content(struct waiting *w, const struct image_content *c, int own_fd)
{
	uint64_t offset = 0, size = c->size;
	enum serve_range part = serve_parse_range(http_header(w->request, "Range"), c->size,
						  &offset, &size);
	char range[RANGE_SIZE];
	const struct http_field fields[] = {
		version_field,
		{"Accept-Ranges", "bytes"},
		{"Docker-Content-Digest", w->digest},
		{"Content-Type", c->media_type[0] ? c->media_type : "application/octet-stream"},
		{"Content-Range", range}};
	size_t count = ARRAY_COUNT(fields) - (part == SERVE_WHOLE);

	if (part == SERVE_UNSATISFIED) {
		(void)snprintf(range, sizeof(range), "bytes */%llu", (unsigned long long)c->size);
		close_fd(&own_fd);
		http_reply(w->request, 416, fields, count, "", 0);
		return;
	}
	(void)snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long)offset,
		       (unsigned long long)(offset + size - 1), (unsigned long long)c->size);
	http_reply_file(w->request, part == SERVE_PART ? 206 : 200, fields, count, own_fd,
			c->offset + offset, size);
}

/* ---- requests ---- */

/* One that waits for a key asks; false: it was answered. */
static bool ask(struct server *s, struct waiting *w)
{
	struct serve_question q = {.number = 0};
	enum serve_target target = serve_parse_target(http_target(w->request), w->digest);

	if (target == SERVE_BASE)
		http_reply(w->request, 200, &version_field, 1, "{}", 2);
	else if (target == SERVE_NOTHING)
		refuse(w->request, 404, "UNSUPPORTED");
	if (target != SERVE_DIGEST)
		return false;
	if (++s->last_number == 0)
		s->last_number = 1;
	q.number = w->number = s->last_number;
	memcpy(q.digest, w->digest, DIGEST_SIZE);
	if (fs_send(WORKER_SOCK, &q, sizeof(q), NULL, 0) == 0)
		return true;
	refuse(w->request, 503, "UNAVAILABLE");
	return false;
}

/* Those that wait for their key: they may, or they have waited long enough. */
static void look(void *ctx)
{
	struct server *s = ctx;
	int64_t now_ms = clock_mono_ms();
	bool any = false;

	for (struct waiting **p = &s->waiting, *w; (w = *p);) {
		bool known = w->number == 0 && is_known(s, http_peer_key(w->request));

		if (w->number != 0 || (known && ask(s, w)) || (!known && w->until_ms > now_ms)) {
			any |= w->number == 0;
			p = &w->next;
			continue;
		}
		if (!known)
			refuse(w->request, 403, "DENIED");
		*p = w->next;
		free(w);
	}
	if (any)
		loop_timer_set(s->look, LOOK_MS);
}

static void on_request(void *ctx, struct http_request *r)
{
	struct server *s = ctx;
	struct waiting *w;

	if (strcmp(http_method(r), "GET") != 0 && strcmp(http_method(r), "HEAD") != 0) {
		refuse(r, 405, "UNSUPPORTED");
		return;
	}
	if (!http_peer_key(r)[0]) {
		refuse(r, 403, "DENIED");
		return;
	}
	w = xcalloc(1, sizeof(*w));
	w->request = r;
	w->until_ms = clock_mono_ms() + PATIENCE_MS;
	w->next = s->waiting;
	s->waiting = w;
	look(s);
}

/* ---- words of the caller ---- */

static void take_content(struct server *s, const struct serve_word *word, int own_fd)
{
	struct waiting **p = &s->waiting, *w;

	while (*p && (*p)->number != word->number)
		p = &(*p)->next;
	w = *p;
	if (!w) {
		close_fd(&own_fd);
		return;
	}
	*p = w->next;
	if (own_fd < 0)
		refuse(w->request, 404, "BLOB_UNKNOWN");
	else
		send_content(w, &word->content, own_fd);
	free(w);
}

static void on_word(void *ctx, int events)
{
	struct server *s = ctx;
	struct serve_word word;
	size_t fd_count = 0;
	int fd = -1;
	ssize_t n = fs_recv(WORKER_SOCK, &word, sizeof(word), &fd, 1, &fd_count, MSG_DONTWAIT);

	(void)events;
	if (n == -EAGAIN)
		return;
	if (n != sizeof(word)) { /* it has gone, and nobody needs us */
		_exit(0);
	}
	if (word.kind == SERVE_CONTENT && word.number)
		take_content(s, &word, take_fd(fd));
	else if (word.kind == SERVE_KNOWN)
		know(s, word.key);
	else if (word.kind == SERVE_UNKNOWN)
		forget(s, word.key);
	close_fd(&fd);
	look(s);
}

/* ---- the process ---- */

static int run(const char *pem, uint64_t bytes_per_second, struct err *e)
{
	struct server *s = xcalloc(1, sizeof(*s));
	struct loop_fd *watch;
	struct http_options o = {.listen_fd = SERVE_LISTEN,
				 .header_bytes = HEADER_BYTES,
				 .connections = CONNECTIONS,
				 .connections_of_one = CONNECTIONS_OF_ONE,
				 .request_ms = REQUEST_MS,
				 .bytes_per_second = bytes_per_second,
				 .certificate = pem,
				 .key = pem,
				 .on_request = on_request,
				 .ctx = s};

	o.loop = s->loop = loop_new();
	s->look = loop_timer_new(s->loop, look, s);
	if (http_server_start(&o, &s->http, e) < 0 ||
	    loop_watch(s->loop, WORKER_SOCK, LOOP_READ, on_word, s, &watch, e) < 0)
		return -e->code;
	loop_run(s->loop);
	return 0;
}

int server_main(int argc, char **argv)
{
	auto_buf struct buf pem = BUF_INIT(4 * CERT_PEM_MAX);
	uint64_t bytes_per_second = 0;
	struct err e = {0};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	if (argc > 2 && !parse_u64(argv[2], INT64_MAX, &bytes_per_second))
		_exit(1);
	r = fs_read_fd(SERVE_PEM, &pem, &e);
	(void)close(SERVE_PEM);
	if (r == 0)
		r = jail_server(&e);
	if (r == 0)
		r = run(buf_str(&pem), bytes_per_second, &e);
	(void)dprintf(STDERR_FILENO, "berth-worker serve: %s\n", e.msg);
	_exit(1);
}
