/* tests/unit/base/http.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The server listens on a socket in the abstract namespace; the client writes
 * what it likes and reads until it has seen enough, while the loop turns.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/http.h"

#define BODY_BYTES   1000
#define HEADER_BYTES 8192
#define DEADLINE_MS  20000
#define RATE         1000000

static struct loop *loop;
static struct http_server *server;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct http_request *held; /* answered later */
static int seen;

static void echo(struct http_request *r)
{
	const struct http_field fields[] = {{"X-Method", http_method(r)},
					    {"X-Target", http_target(r)}};
	size_t size;
	const char *body = http_body(r, &size);

	http_reply(r, 200, fields, ARRAY_COUNT(fields), body, size);
}

static void on_request(void *ctx, struct http_request *r)
{
	(void)ctx;
	seen++;
	if (http_header(r, "x-HOLD"))
		held = r;
	else
		echo(r);
}

static int start(void **state)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct http_options o = {.body_bytes = BODY_BYTES,
				 .header_bytes = HEADER_BYTES,
				 .connections = 8,
				 .request_ms = *state ? 1 : DEADLINE_MS * 10,
				 .bytes_per_second = RATE,
				 .on_request = on_request};
	struct err e = {0};

	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "berth-http-%d",
		       (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	loop = loop_new();
	o.listen_fd = fd;
	o.loop = loop;
	assert_ok(http_server_start(&o, &server, &e));
	held = NULL;
	seen = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	http_server_stop(server);
	loop_free(loop);
	return 0;
}

static int client(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *data, size_t size)
{
	while (size) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			return; /* it hung up: what it said is read */
		data += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
		loop_poll(loop);
	}
}

/* What the server says until 'text' was in it, or until it hangs up (NULL). */
static const char *hear(int fd, const char *text)
{
	static char got[16384];
	int64_t deadline = clock_mono_ms() + DEADLINE_MS;
	size_t size = 0;

	for (got[0] = '\0'; !text || !strstr(got, text);) {
		ssize_t n = recv(fd, got + size, sizeof(got) - size - 1, MSG_DONTWAIT);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		size += n > 0 ? (size_t)n : 0;
		got[size] = '\0';
		loop_poll(loop);
		if (clock_mono_ms() > deadline)
			fail_msg("nothing more after '%s'", got);
	}
	return got;
}

static void expect(int fd, const char *text)
{
	const char *got = hear(fd, text);

	if (!strstr(got, text))
		fail_msg("'%s' is not in '%s'", text, got);
}

static void a_request_arrives_raw_and_whole(void **state)
{
	static const char request[] =
		"POST /a%20b?c=%2F HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
		"\r\nbody";
	int fd = client();
	const char *got;

	(void)state;
	for (size_t i = 0; i < sizeof(request) - 1; i++)
		say(fd, request + i, 1);
	got = hear(fd, "\r\n\r\nbody");
	assert_non_null(strstr(got, "HTTP/1.1 200"));
	assert_non_null(strstr(got, "X-Method: POST\r\n"));
	assert_non_null(strstr(got, "X-Target: /a%20b?c=%2F\r\n"));
	assert_non_null(strstr(got, "\r\n\r\nbody"));
	assert_int_equal(seen, 1);
	(void)close(fd);
}

static void requests_that_come_together_are_answered_in_turn(void **state)
{
	static const char requests[] = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"
				       "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd = client();
	const char *got;

	(void)state;
	say(fd, requests, strlen(requests));
	got = hear(fd, "/2");
	assert_true(strstr(got, "/1") && strstr(got, "/1") < strstr(got, "/2"));
	(void)close(fd);
}

static void what_breaks_a_limit_never_reaches_the_loop(void **state)
{
	static const char host[] = "POST / HTTP/1.1\r\nHost: x\r\n";
	auto_buf struct buf length = BUF_INIT(1 << 20), chunked = BUF_INIT(1 << 20),
			    many = BUF_INIT(1 << 20), big = BUF_INIT(1 << 20);
	const struct {
		const struct buf *request;
		const char *expected;
	} rows[] = {
		{&length, " 413 "},
		{&chunked, " 413 "},
		{&many, " 431 "},
		{&big, " 431 "},
	};

	(void)state;
	buf_printf(&length, "%sContent-Length: %d\r\n\r\n", host, BODY_BYTES + 1);
	buf_printf(&chunked, "%sTransfer-Encoding: chunked\r\n\r\n3e9\r\n%*s\r\n0\r\n\r\n", host,
		   BODY_BYTES + 1, "");
	buf_puts(&many, host);
	for (int i = 0; i < 65; i++)
		buf_printf(&many, "X-%d: y\r\n", i);
	buf_puts(&many, "\r\n");
	buf_printf(&big, "%sX-Big: %*s\r\n\r\n", host, 2 * HEADER_BYTES, "z");
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		int fd = client();

		say(fd, rows[i].request->data, rows[i].request->size);
		expect(fd, rows[i].expected);
		(void)close(fd);
	}
	assert_int_equal(seen, 0);
}

static void a_body_at_the_limit_is_taken(void **state)
{
	auto_buf struct buf request = BUF_INIT(1 << 20);
	int fd = client();

	(void)state;
	buf_printf(&request, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%*s",
		   BODY_BYTES, BODY_BYTES, "end");
	say(fd, request.data, request.size);
	expect(fd, "end");
	(void)close(fd);
}

static void an_answer_may_come_later_and_others_go_on(void **state)
{
	static const char slow[] = "GET /slow HTTP/1.1\r\nHost: x\r\nX-Hold: 1\r\n\r\n";
	static const char quick[] = "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n";
	int a = client(), b = client();

	(void)state;
	say(a, slow, strlen(slow));
	while (!held)
		loop_poll(loop);
	say(b, quick, strlen(quick));
	expect(b, "/quick");
	echo(held);
	expect(a, "/slow");
	(void)close(a);
	(void)close(b);
}

/* How many of our sockets are to send no faster. */
static int count_paced(uint64_t rate)
{
	int count = 0;

	for (int fd = 3; fd < 256; fd++) {
		uint64_t is = 0;
		socklen_t size = sizeof(is);

		if (getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &is, &size) == 0)
			count += is == rate;
	}
	return count;
}

static void who_is_answered_gets_a_share_of_the_rate(void **state)
{
	static const char slow[] = "GET /slow HTTP/1.1\r\nHost: x\r\nX-Hold: 1\r\n\r\n";
	struct http_request *first;
	int idle = client(), a = client(), b = client();

	(void)state;
	say(a, slow, strlen(slow));
	while (!held)
		loop_poll(loop);
	assert_int_equal(count_paced(RATE), 1);
	first = held;
	held = NULL;
	say(b, slow, strlen(slow));
	while (!held)
		loop_poll(loop);
	assert_int_equal(count_paced(RATE), 0);
	assert_int_equal(count_paced(RATE / 2), 2);
	(void)close(a);
	echo(first);
	while (count_paced(RATE) != 1)
		loop_poll(loop);
	echo(held);
	expect(b, "/slow");
	(void)close(idle);
	(void)close(b);
}

static void a_client_that_is_gone_is_answered_all_the_same(void **state)
{
	static const char slow[] = "GET /slow HTTP/1.1\r\nHost: x\r\nX-Hold: 1\r\n\r\n";
	static const char quick[] = "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n";
	int a = client(), b;

	(void)state;
	say(a, slow, strlen(slow));
	while (!held)
		loop_poll(loop);
	(void)close(a);
	echo(held);
	b = client();
	say(b, quick, strlen(quick));
	expect(b, "/quick");
	(void)close(b);
}

static void a_client_that_never_comes_to_an_end_gets_408(void **state)
{
	static const char half[] = "GET / HTTP/1.1\r\nHost";
	int fd = client();

	(void)state;
	say(fd, half, strlen(half));
	expect(fd, "HTTP/1.1 408 ");
	assert_int_equal(seen, 0);
	(void)close(fd);
}

int main(void)
{
	static bool hasty = true;
	struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_request_arrives_raw_and_whole, start, stop),
		cmocka_unit_test_setup_teardown(requests_that_come_together_are_answered_in_turn,
						start, stop),
		cmocka_unit_test_setup_teardown(what_breaks_a_limit_never_reaches_the_loop, start,
						stop),
		cmocka_unit_test_setup_teardown(a_body_at_the_limit_is_taken, start, stop),
		cmocka_unit_test_setup_teardown(an_answer_may_come_later_and_others_go_on, start,
						stop),
		cmocka_unit_test_setup_teardown(who_is_answered_gets_a_share_of_the_rate, start,
						stop),
		cmocka_unit_test_setup_teardown(a_client_that_is_gone_is_answered_all_the_same,
						start, stop),
		cmocka_unit_test_prestate_setup_teardown(
			a_client_that_never_comes_to_an_end_gets_408, start, stop, &hasty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
