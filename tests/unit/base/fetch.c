/* tests/unit/base/fetch.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The other side is a thread that takes one connection on a unix socket at a
 * time, keeps what it was sent and answers what the test told it to.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fetch.h"
#include "base/fs.h"
#include "base/text.h"

static struct peer {
	char dir[32], path[64];
	const char *answer; /* to each connection */
	char request[4096]; /* the last one's headers */
	pthread_t thread;
	int listen_fd;
	bool hold; /* keep the connection open after the answer, until the client closes */
} peer;

static void *serve(void *unused)
{
	int fd;

	(void)unused;
	while ((fd = accept(peer.listen_fd, NULL, NULL)) >= 0) {
		size_t size = 0;
		char byte;

		memset(peer.request, 0, sizeof(peer.request));
		while (size < sizeof(peer.request) - 1 && !strstr(peer.request, "\r\n\r\n")) {
			ssize_t n = read(fd, peer.request + size, sizeof(peer.request) - 1 - size);

			if (n <= 0)
				break;
			size += (size_t)n;
			if (peer.request[0] == 0x16) /* TLS: the answer is no TLS */
				break;
		}
		(void)write_all(fd, peer.answer, strlen(peer.answer));
		if (peer.hold)
			while (read(fd, &byte, 1) > 0)
				;
		(void)close(fd);
	}
	return NULL;
}

static int start_peer(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	memcpy(peer.dir, "/tmp/berth-unit-XXXXXX", 23);
	if (!mkdtemp(peer.dir))
		return -1;
	(void)snprintf(peer.path, sizeof(peer.path), "%s/socket", peer.dir);
	memcpy(addr.sun_path, peer.path, strlen(peer.path) + 1);
	peer.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(peer.listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(peer.listen_fd, 8) < 0)
		return -1;
	return pthread_create(&peer.thread, NULL, serve, NULL);
}

static int stop_peer(void **state)
{
	struct err e = {0};

	(void)state;
	(void)shutdown(peer.listen_fd, SHUT_RDWR);
	(void)pthread_join(peer.thread, NULL);
	close_fd(&peer.listen_fd);
	return fs_remove_tree(AT_FDCWD, peer.dir, &e);
}

/* What one transfer did. */
struct seen {
	unsigned status, heads, ends;
	int64_t length;
	char header[64];
	struct buf body;
	struct err err;
	bool refuse_head, refuse_data, pause;
	struct fetch_transfer *paused;
};

static bool on_head(void *ctx, struct fetch_transfer *t)
{
	struct seen *seen = ctx;
	const char *header = fetch_header(t, "X-Test", 0);

	seen->heads++;
	seen->status = fetch_status(t);
	seen->length = fetch_length(t);
	(void)snprintf(seen->header, sizeof(seen->header), "%s", header ? header : "");
	return !seen->refuse_head;
}

static bool on_data(void *ctx, struct fetch_transfer *t, const void *data, size_t size)
{
	struct seen *seen = ctx;

	buf_add(&seen->body, data, size);
	if (seen->pause) {
		seen->pause = false;
		seen->paused = t;
		fetch_pause(t);
	}
	return !seen->refuse_data;
}

static void on_end(void *ctx, struct fetch_transfer *t, const struct err *e)
{
	struct seen *seen = ctx;

	(void)t;
	seen->ends++;
	if (e)
		seen->err = *e;
}

static void run(struct fetch *f, const struct seen *seen)
{
	struct err e = {0};

	while (!seen->ends && !seen->paused)
		assert_ok(fetch_run(f, NULL, 0, 1000, &e));
}

static void get(struct seen *seen, const char *answer, struct fetch_request r)
{
	struct fetch_transfer *t = NULL;
	struct fetch *f = fetch_new();
	struct err e = {0};

	peer.answer = answer;
	buf_init(&seen->body, 1 << 20);
	if (!r.url)
		r.url = "http://peer.test/path?secret=1";
	r.socket = peer.path;
	r.no_proxy = true;
	r.on_head = on_head;
	r.on_data = on_data;
	r.on_end = on_end;
	r.ctx = seen;
	assert_ok(fetch_start(f, &r, &t, &e));
	run(f, seen);
	if (seen->paused) {
		assert_int_equal(fetch_run(f, NULL, 0, 20, &e), 0);
		assert_int_equal(seen->ends, 0);
		fetch_resume(seen->paused);
		seen->paused = NULL;
		run(f, seen);
	}
	assert_int_equal(seen->ends, 1);
	assert_int_equal(fetch_count(f), 0);
	fetch_free(f);
}

static void an_answer_comes_in_order(void **state)
{
	static const char *const headers[] = {"X-One: 1", "X-Two: 2"};
	struct seen seen = {0};

	(void)state;
	get(&seen, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Test: yes\r\n\r\nhello",
	    (struct fetch_request){.headers = headers, .header_count = 2});
	assert_int_equal(seen.err.code, 0);
	assert_int_equal(seen.heads, 1);
	assert_int_equal(seen.status, 200);
	assert_int_equal(seen.length, 5);
	assert_string_equal(seen.header, "yes");
	assert_string_equal(buf_str(&seen.body), "hello");
	assert_true(str_starts(peer.request, "GET /path?secret=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(peer.request, "\r\nHost: peer.test\r\n"));
	assert_non_null(strstr(peer.request, "\r\nX-One: 1\r\nX-Two: 2\r\n"));
	assert_non_null(strstr(peer.request, "\r\nUser-Agent: berth/"));
	buf_done(&seen.body);
}

static void a_body_is_posted(void **state)
{
	struct seen seen = {0};

	(void)state;
	get(&seen, "HTTP/1.1 204 No Content\r\n\r\n",
	    (struct fetch_request){.body = "a=b", .body_size = 3});
	assert_int_equal(seen.err.code, 0);
	assert_int_equal(seen.status, 204);
	assert_true(str_starts(peer.request, "POST "));
	assert_non_null(strstr(peer.request, "\r\nContent-Length: 3\r\n"));
	buf_done(&seen.body);
}

static void head_has_no_body(void **state)
{
	struct seen seen = {0};

	(void)state;
	get(&seen, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
	    (struct fetch_request){.method = "HEAD"});
	assert_int_equal(seen.err.code, 0);
	assert_int_equal(seen.length, 5);
	assert_int_equal(seen.body.size, 0);
	buf_done(&seen.body);
}

static void a_redirect_is_an_answer(void **state)
{
	struct seen seen = {0};

	(void)state;
	get(&seen, "HTTP/1.1 307 X\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n",
	    (struct fetch_request){0});
	assert_int_equal(seen.err.code, 0);
	assert_int_equal(seen.status, 307);
	assert_int_equal(seen.heads, 1);
	buf_done(&seen.body);
}

static void interim_answers_are_passed_over(void **state)
{
	struct seen seen = {0};

	(void)state;
	get(&seen, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	    (struct fetch_request){0});
	assert_int_equal(seen.heads, 1);
	assert_int_equal(seen.status, 200);
	buf_done(&seen.body);
}

static void a_paused_body_goes_on_where_it_stopped(void **state)
{
	struct seen seen = {.pause = true};

	(void)state;
	get(&seen, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", (struct fetch_request){0});
	assert_int_equal(seen.err.code, 0);
	assert_string_equal(buf_str(&seen.body), "hello");
	buf_done(&seen.body);
}

static void failures_are_told_apart(void **state)
{
	static const struct {
		const char *answer;
		struct fetch_request request;
		struct seen seen;
		int errnum;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", {0}, {0}, ECONNRESET},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		 {0},
		 {0},
		 ECONNRESET},
		{"", {0}, {0}, ECONNRESET},
		{"SSH-2.0-x\r\n", {0}, {0}, EPROTO},
		{"HTTP/1.1 400 Bad Request\r\n\r\n", {.url = "https://peer.test/"}, {0}, EPROTO},
		{"HTTP/1.1 200 OK\r\n\r\n", {.url = "ftp://peer.test/"}, {0}, EPROTO},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		 {0},
		 {.refuse_head = true},
		 ECANCELED},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		 {0},
		 {.refuse_data = true},
		 ECANCELED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct seen seen = cases[i].seen;
		struct err e;

		get(&seen, cases[i].answer, cases[i].request);
		e = seen.err;
		if (e.code != cases[i].errnum)
			fail_msg("case %zu: %d instead of %d: %s", i, e.code, cases[i].errnum,
				 e.msg);
		assert_says("peer.test/");
		assert_null(strstr(e.msg, "secret"));
		buf_done(&seen.body);
	}
}

static void a_silent_peer_is_left(void **state)
{
	struct seen seen = {0};

	(void)state;
	peer.hold = true;
	get(&seen, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
	    (struct fetch_request){.total_ms = 50});
	peer.hold = false;
	assert_int_equal(seen.err.code, ETIMEDOUT);
	buf_done(&seen.body);
}

static void nobody_there_is_unreachable(void **state)
{
	struct seen seen = {0};
	struct fetch_request r = {.url = "http://peer.test/",
				  .socket = "/nonexistent/socket",
				  .no_proxy = true,
				  .on_end = on_end,
				  .ctx = &seen};
	struct fetch_transfer *t = NULL;
	struct fetch *f = fetch_new();
	struct err e = {0};

	(void)state;
	assert_ok(fetch_start(f, &r, &t, &e));
	run(f, &seen);
	assert_int_equal(seen.err.code, EHOSTUNREACH);
	fetch_free(f);
}

static void other_descriptors_are_watched_too(void **state)
{
	struct fetch *f = fetch_new();
	struct pollfd extra[2];
	struct err e = {0};
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	extra[0] = (struct pollfd){.fd = fds[0], .events = POLLIN};
	extra[1] = (struct pollfd){.fd = fds[1], .events = POLLOUT};
	assert_ok(fetch_run(f, extra, 2, 1000, &e));
	assert_int_equal(extra[0].revents, 0);
	assert_int_equal(extra[1].revents, POLLOUT);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_ok(fetch_run(f, extra, 1, 1000, &e));
	assert_int_equal(extra[0].revents, POLLIN);
	close_fd(&fds[0]);
	assert_ok(fetch_run(f, extra + 1, 1, 1000, &e));
	assert_true(extra[1].revents & POLLERR);
	close_fd(&fds[1]);
	fetch_free(f);
}

static void transfers_can_be_cancelled(void **state)
{
	struct seen seen = {0};
	struct fetch_request r = {.url = "http://peer.test/",
				  .socket = peer.path,
				  .no_proxy = true,
				  .on_end = on_end,
				  .ctx = &seen};
	struct fetch_transfer *t = NULL, *other = NULL;
	struct fetch *f = fetch_new();
	struct err e = {0};

	(void)state;
	peer.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	assert_ok(fetch_start(f, &r, &t, &e));
	assert_ok(fetch_start(f, &r, &other, &e));
	assert_int_equal(fetch_count(f), 2);
	fetch_cancel(t);
	assert_int_equal(fetch_count(f), 1);
	run(f, &seen);
	assert_int_equal(seen.ends, 1);
	assert_ok(fetch_start(f, &r, &t, &e));
	fetch_free(f);
	assert_int_equal(seen.ends, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_in_order),
		cmocka_unit_test(a_body_is_posted),
		cmocka_unit_test(head_has_no_body),
		cmocka_unit_test(a_redirect_is_an_answer),
		cmocka_unit_test(interim_answers_are_passed_over),
		cmocka_unit_test(a_paused_body_goes_on_where_it_stopped),
		cmocka_unit_test(failures_are_told_apart),
		cmocka_unit_test(a_silent_peer_is_left),
		cmocka_unit_test(nobody_there_is_unreachable),
		cmocka_unit_test(other_descriptors_are_watched_too),
		cmocka_unit_test(transfers_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
