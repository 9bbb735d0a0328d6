/* tests/unit/base/https.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * Our server and our client over TLS, through a unix socket: each knows the other by its key.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cert.h"
#include "base/clock.h"
#include "base/fetch.h"
#include "base/fs.h"
#include "base/http.h"

#define DEADLINE_MS 20000
#define SIZE        (3 << 20)

struct who {
	char *key, *certificate;
	char id[SHA256_HEX];
	char file[64]; /* both */
};

static struct {
	struct loop *loop;
	struct http_server *server;
	struct fetch *fetch;
	struct who us, them;
	char dir[32], path[64];
	char seen[SHA256_HEX]; /* the key that came last */
	char *data;
} t;

static void make_who(struct who *w, const char *name)
{
	char *authority_pem, *request;
	struct cert_authority *authority;
	struct err e = {0};
	auto_buf struct buf both = BUF_INIT(65536);

	assert_ok(cert_authority_make("Berth node", &authority_pem, &e));
	assert_ok(cert_authority_open(authority_pem, &authority, &e));
	assert_ok(cert_key_make(&w->key, &e));
	assert_ok(cert_request_make(w->key, &request, &e));
	assert_ok(cert_request_key(request, w->id, &e));
	assert_ok(cert_authority_sign(authority, request, name, CERT_SERVER, clock_wall_ms(),
				      clock_wall_ms() + 3600000, &w->certificate, &e));
	(void)snprintf(w->file, sizeof(w->file), "%s/%s.pem", t.dir, name);
	buf_printf(&both, "%s%s", w->key, w->certificate);
	assert_ok(fs_write(AT_FDCWD, w->file, both.data, both.size, 0600, &e));
	cert_authority_free(authority);
	free(authority_pem);
	free(request);
}

static void on_request(void *ctx, struct http_request *r)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	(void)ctx;
	(void)snprintf(t.seen, sizeof(t.seen), "%s", http_peer_key(r));
	assert_int_equal(write_all(fd, t.data, SIZE), 0);
	http_reply_file(r, 200, NULL, 0, fd, 1000, SIZE - 1000);
}

static int start(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct http_options o = {.body_bytes = 10,
				 .header_bytes = 8192,
				 .connections = 8,
				 .request_ms = DEADLINE_MS,
				 .on_request = on_request};
	struct err e = {0};

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	memcpy(t.dir, "/tmp/berth-unit-XXXXXX", 23);
	assert_non_null(mkdtemp(t.dir));
	(void)snprintf(t.path, sizeof(t.path), "%s/socket", t.dir);
	memcpy(addr.sun_path, t.path, strlen(t.path) + 1);
	o.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(o.listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(o.listen_fd, 8), 0);
	make_who(&t.us, "us");
	make_who(&t.them, "them");
	t.data = malloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		t.data[i] = (char)(i * 7 + i / 1000);
	t.loop = loop_new();
	o.loop = t.loop;
	o.certificate = t.us.certificate;
	o.key = t.us.key;
	assert_ok(http_server_start(&o, &t.server, &e));
	t.fetch = fetch_new();
	return 0;
}

static void done_who(struct who *w)
{
	free(w->key);
	free(w->certificate);
}

static int stop(void **state)
{
	struct err e = {0};

	(void)state;
	fetch_free(t.fetch);
	http_server_stop(t.server);
	loop_free(t.loop);
	done_who(&t.us);
	done_who(&t.them);
	free(t.data);
	return fs_remove_tree(AT_FDCWD, t.dir, &e);
}

struct got {
	struct buf bytes;
	bool ended;
	struct err err;
};

static bool on_data(void *ctx, struct fetch_transfer *transfer, const void *data, size_t size)
{
	struct got *g = ctx;

	(void)transfer;
	buf_add(&g->bytes, data, size);
	return true;
}

static void on_end(void *ctx, struct fetch_transfer *transfer, const struct err *e)
{
	struct got *g = ctx;

	(void)transfer;
	g->ended = true;
	if (e)
		g->err = *e;
}

static void get(const char *pinned, const char *file, struct got *g)
{
	const struct fetch_request r = {.url = "https://node/v2/",
					.socket = t.path,
					.pinned_key = pinned,
					.certificate_file = file,
					.key_file = file,
					.no_proxy = true,
					.total_ms = DEADLINE_MS,
					.on_data = on_data,
					.on_end = on_end,
					.ctx = g};
	struct fetch_transfer *transfer;
	struct err e = {0};

	*g = (struct got){.bytes = BUF_INIT(SIZE)};
	t.seen[0] = '\0';
	assert_ok(fetch_start(t.fetch, &r, &transfer, &e));
	while (!g->ended) {
		loop_poll(t.loop);
		assert_ok(fetch_run(t.fetch, NULL, 0, 1, &e));
	}
}

static void both_know_each_other_and_a_part_of_a_file_comes(void **state)
{
	struct got g;

	(void)state;
	get(t.us.id, t.them.file, &g);
	assert_int_equal(g.err.code, 0);
	assert_string_equal(t.seen, t.them.id);
	assert_int_equal(g.bytes.size, SIZE - 1000);
	assert_memory_equal(g.bytes.data, t.data + 1000, SIZE - 1000);
	buf_done(&g.bytes);
}

static void who_shows_no_certificate_is_nobody(void **state)
{
	struct got g;

	(void)state;
	(void)snprintf(t.seen, sizeof(t.seen), "x");
	get(t.us.id, NULL, &g);
	assert_int_equal(g.err.code, 0);
	assert_string_equal(t.seen, "");
	buf_done(&g.bytes);
}

static void another_key_than_the_one_that_was_named_is_refused(void **state)
{
	static const char *const others[] = {NULL, "rubbish", ""};
	struct got g;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
		get(others[i] ? others[i] : t.them.id, t.them.file, &g);
		assert_int_equal(g.err.code, EKEYREJECTED);
		assert_int_equal(g.bytes.size, 0);
		assert_string_equal(t.seen, "");
		buf_done(&g.bytes);
	}
}

static void without_a_named_key_no_certificate_of_ours_is_trusted(void **state)
{
	struct got g;

	(void)state;
	get(NULL, t.them.file, &g);
	assert_int_equal(g.err.code, EKEYREJECTED);
	buf_done(&g.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_know_each_other_and_a_part_of_a_file_comes),
		cmocka_unit_test(who_shows_no_certificate_is_nobody),
		cmocka_unit_test(another_key_than_the_one_that_was_named_is_refused),
		cmocka_unit_test(without_a_named_key_no_certificate_of_ours_is_trusted),
	};

	return cmocka_run_group_tests_name("base/https", tests, start, stop);
}
