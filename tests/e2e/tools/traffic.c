/* tests/e2e/tools/traffic.c - TCP traffic of known kinds, for benchmarks
 * SPDX-License-Identifier: Apache-2.0
 *
 *   traffic serve PORT                        one connection after the other, for ever
 *   traffic rr|crr|stream ADDRESS PORT COUNT  64 bytes there and back; connections with a byte
 *                                             each; MiB: prints nanoseconds of wall and of CPU
 *                                             that one took
 *   traffic proxy PORT ADDRESS PORT           what a userland proxy does: a thread a connection
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

#define MESSAGE     64
#define STREAM_SIZE (256 << 10)
#define PROXY_SIZE  (64 << 10)

__attribute__((noreturn)) static void die(const char *what)
{
	(void)fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	uint32_t number;

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1 || !parse_u32(port, UINT16_MAX, &number))
		die(address);
	a.sin_port = htons((uint16_t)number);
	return a;
}

static int listen_at(const char *port)
{
	const struct sockaddr_in a = address_of("0.0.0.0", port);
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1024) < 0)
		die("listen");
	return fd;
}

static int connect_to(const struct sockaddr_in *a)
{
	const int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static bool read_all(int fd, char *data, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t n = read(fd, data + got, size - got);

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

static bool write_all(int fd, const char *data, size_t size)
{
	for (size_t put = 0; put < size;) {
		ssize_t n = send(fd, data + put, size - put, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		put += (size_t)n;
	}
	return true;
}

/* ---- server ---- */

static void answer(int fd, char *data)
{
	const int one = 1;

	if (!read_all(fd, data, 1))
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (*data == 'c') {
		(void)write_all(fd, "c", 1);
	} else if (*data == 'r') {
		while (read_all(fd, data, MESSAGE) && write_all(fd, data, MESSAGE))
			;
	} else {
		while (read(fd, data, STREAM_SIZE) > 0)
			;
		(void)write_all(fd, "s", 1);
	}
}

__attribute__((noreturn)) static int serve(char **w)
{
	char *data = xcalloc(1, STREAM_SIZE);
	int fd = listen_at(w[0]);

	for (;;) {
		int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (connection < 0)
			continue;
		answer(connection, data);
		(void)close(connection);
	}
}

/* ---- client ---- */

static void rr(const struct sockaddr_in *to, size_t count)
{
	char data[MESSAGE] = "r";
	int fd = connect_to(to);

	(void)write_all(fd, data, 1);
	for (size_t i = 0; i < count; i++)
		if (!write_all(fd, data, MESSAGE) || !read_all(fd, data, MESSAGE))
			die("rr");
	(void)close(fd);
}

static void crr(const struct sockaddr_in *to, size_t count)
{
	const struct linger at_once = {.l_onoff = 1}; /* no port rests behind it */
	char byte;

	for (size_t i = 0; i < count; i++) {
		int fd = connect_to(to);

		if (!write_all(fd, "c", 1) || !read_all(fd, &byte, 1))
			die("crr");
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		(void)close(fd);
	}
}

static void stream(const struct sockaddr_in *to, size_t count)
{
	char *data = xcalloc(1, STREAM_SIZE), byte;
	int fd = connect_to(to);

	(void)write_all(fd, "s", 1);
	for (size_t i = 0; i < count * ((1 << 20) / STREAM_SIZE); i++)
		if (!write_all(fd, data, STREAM_SIZE))
			die("stream");
	(void)shutdown(fd, SHUT_WR);
	if (!read_all(fd, &byte, 1))
		die("stream");
	(void)close(fd);
	free(data);
}

static int measure(void (*run)(const struct sockaddr_in *to, size_t count), char **w)
{
	const struct sockaddr_in to = address_of(w[0], w[1]);
	size_t count = strtoul(w[2], NULL, 10);
	int64_t start = clock_mono_ns(), cpu;
	struct rusage u;

	run(&to, count);
	start = clock_mono_ns() - start;
	(void)getrusage(RUSAGE_SELF, &u);
	cpu = (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL +
	      (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
	printf("%lld %lld\n", (long long)(start / (int64_t)count),
	       (long long)(cpu / (int64_t)count));
	return 0;
}

/* ---- proxy ---- */

static struct sockaddr_in target;

static bool copy(int from, int to, char *data)
{
	ssize_t n = read(from, data, PROXY_SIZE);

	if (n > 0)
		return write_all(to, data, (size_t)n);
	(void)shutdown(to, SHUT_WR);
	return false;
}

static void *carry(void *arg)
{
	int in = (int)(intptr_t)arg, out = connect_to(&target);
	struct pollfd p[2] = {{in, POLLIN, 0}, {out, POLLIN, 0}};
	char *data = xcalloc(1, PROXY_SIZE);

	while ((p[0].fd >= 0 || p[1].fd >= 0) && poll(p, 2, -1) > 0) {
		if (p[0].fd >= 0 && p[0].revents && !copy(in, out, data))
			p[0].fd = -1;
		if (p[1].fd >= 0 && p[1].revents && !copy(out, in, data))
			p[1].fd = -1;
	}
	(void)close(in);
	(void)close(out);
	free(data);
	return NULL;
}

__attribute__((noreturn)) static int proxy(char **w)
{
	const int one = 1;
	int fd = listen_at(w[0]);

	target = address_of(w[1], w[2]);
	for (;;) {
		int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (connection < 0)
			continue;
		(void)setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (pthread_create(&thread, NULL, carry, (void *)(intptr_t)connection) != 0)
			die("thread");
		(void)pthread_detach(thread);
	}
}

static int run_rr(char **w)
{
	return measure(rr, w);
}

static int run_crr(char **w)
{
	return measure(crr, w);
}

static int run_stream(char **w)
{
	return measure(stream, w);
}

static const struct {
	const char *name;
	int words;
	int (*run)(char **w);
} commands[] = {
	{"serve", 1, serve},       {"rr", 3, run_rr},   {"crr", 3, run_crr},
	{"stream", 3, run_stream}, {"proxy", 3, proxy},
};

int main(int argc, char **argv)
{
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (argc == commands[i].words + 2 && strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argv + 2);
	errno = EINVAL;
	die("serve PORT | rr, crr, stream ADDRESS PORT COUNT | proxy PORT ADDRESS PORT");
}
