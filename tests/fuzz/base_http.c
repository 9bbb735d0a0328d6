/* tests/fuzz/base_http.c - bytes of a connection through the HTTP server to a request
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop *loop;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

/* Look at everything that a handler would look at. */
static void on_request(void *ctx, struct http_request *r)
{
	size_t size;
	const char *body = http_body(r, &size);
	const struct http_field field = {"X-Test", "1"};
	volatile size_t sum = strlen(http_method(r)) + strlen(http_target(r)) + strlen(body) + size;

	(void)ctx;
	for (size_t i = 0; i < http_header_count(r); i++) {
		const char *name, *value;

		http_header_at(r, i, &name, &value);
		sum += strlen(name) + strlen(value);
	}
	(void)http_header(r, "X-Amz-Target");
	http_reply(r, 200, &field, 1, body, size);
}

static void start(void)
{
	struct http_options o = {.body_bytes = 4096,
				 .header_bytes = 8192,
				 .connections = 16,
				 .request_ms = 2000,
				 .on_request = on_request};
	struct http_server *server = NULL;
	struct err e = {0};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "berth-fuzz-%d",
		       (int)getpid());
	loop = o.loop = loop_new();
	o.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = bind(o.listen_fd, (struct sockaddr *)&address, sizeof(address));
	assert(r == 0 && listen(o.listen_fd, 16) == 0);
	r = http_server_start(&o, &server, &e);
	assert(r == 0);
	(void)r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[4096];
	int r;

	if (!loop)
		start();
	r = connect(fd, (struct sockaddr *)&address, sizeof(address));
	assert(r == 0);
	(void)r;
	(void)write_all(fd, data,
			size < 60000 ? size : 60000); /* a socket's buffer, so nobody waits */
	(void)shutdown(fd, SHUT_WR);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		loop_poll(loop);
		if (poll(&p, 1, 1) > 0 && read(fd, answer, sizeof(answer)) <= 0)
			return 0;
	}
}
