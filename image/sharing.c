/* image/sharing.c - the server for other nodes, for its caller
 * SPDX-License-Identifier: Apache-2.0
 *
 * It asks for contents by digest and gets descriptors: reading it is, and no more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/client.h"
#include "image/wire.h"

#define TURN_MAX 64 /* questions that are answered before others are heard */

struct image_server {
	struct image_store *store; /* borrowed */
	struct worker worker;
};

static int put_pem(const struct image_server_options *o, int *ret_fd, struct err *e)
{
	auto_close int fd = memfd_create("pem", MFD_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "memory file");
	if (write_all(fd, o->key, strlen(o->key)) < 0 ||
	    write_all(fd, o->certificate, strlen(o->certificate)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_set(e, EIO, "memory file");
	*ret_fd = take_fd(fd);
	return 0;
}

int image_server_start(const struct image_server_options *o, struct image_server **ret,
		       struct err *e)
{
	struct image_server *s = xcalloc(1, sizeof(*s));
	auto_close int pem_fd = -1;
	char rate[24];
	int r;

	s->store = o->store;
	(void)snprintf(rate, sizeof(rate), "%" PRIu64, o->bytes_per_second);
	s->worker = (struct worker)WORKER_NONE;
	r = put_pem(o, &pem_fd, e);
	if (r == 0) {
		const struct proc_fd fds[] = {{o->listen_fd, SERVE_LISTEN}, {pem_fd, SERVE_PEM}};

		r = worker_start(o->store->worker, "serve", rate, fds, ARRAY_COUNT(fds), true,
				 &s->worker, e);
	}
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void image_server_stop(struct image_server *s)
{
	int status;

	if (!s)
		return;
	worker_kill(&s->worker);
	worker_wait(&s->worker, -1);
	(void)worker_reap(&s->worker, &status);
	free(s);
}

int image_server_fd(const struct image_server *s)
{
	return s->worker.sock;
}

/* What is not here, or cannot be opened, is the same to it. */
static int answer(struct image_server *s, const struct serve_question *q)
{
	struct serve_word word = {.kind = SERVE_CONTENT, .number = q->number};
	struct err ignored;
	int r;

	if (image_open_content(s->store, q->digest, &word.content, &ignored) != 0)
		return fs_send(s->worker.sock, &word, sizeof(word), NULL, 0);
	r = fs_send(s->worker.sock, &word, sizeof(word), &word.content.fd, 1);
	close_fd(&word.content.fd);
	return r;
}

int image_server_run(struct image_server *s, struct err *e)
{
	struct serve_question q;
	size_t fd_count;
	int r = 0;

	for (int i = 0; i < TURN_MAX; i++) {
		ssize_t n = fs_recv(s->worker.sock, &q, sizeof(q), NULL, 0, &fd_count,
				    MSG_DONTWAIT);

		if (n == -EAGAIN)
			return 0;
		if (n != sizeof(q) || !memchr(q.digest, '\0', sizeof(q.digest)) ||
		    !digest_valid(q.digest))
			return err_set(e, EIO, n <= 0 ? "it has ended" : "it talks nonsense");
		r = answer(s, &q);
		if (r < 0)
			return err_set(e, -r, "it does not listen");
	}
	return 0;
}

void image_server_introduce(struct image_server *s, const char *key, bool gone)
{
	struct serve_word word = {.kind = gone ? SERVE_UNKNOWN : SERVE_KNOWN};

	(void)snprintf(word.key, sizeof(word.key), "%s", key);
	(void)fs_send(s->worker.sock, &word, sizeof(word), NULL, 0);
}
