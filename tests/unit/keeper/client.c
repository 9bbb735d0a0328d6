/* tests/unit/keeper/client.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "keeper/message.h"

/* A keeper whose side the test plays. */
struct played {
	char dir[64];
	int listen_fd, fd;
	struct keeper *k;
};

static void set_up(struct played *p)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct err e = {0};

	*p = (struct played){.dir = "/tmp/berth-unit-XXXXXX"};
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" COMMAND_SOCKET, p->dir);
	p->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(p->listen_fd, 1), 0);
	assert_ok(keeper_connect(p->dir, &p->k, &e));
	p->fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p->fd >= 0);
}

static void tear_down(struct played *p)
{
	struct err e = {0};

	keeper_disconnect(p->k);
	close_fd(&p->fd);
	close_fd(&p->listen_fd);
	assert_ok(fs_remove_tree(AT_FDCWD, p->dir, &e));
}

static void says(const struct played *p, enum keeper_event_kind kind, uint8_t version)
{
	struct event ev = {0};

	ev.head = (struct message_head){
		.magic = MESSAGE_MAGIC, .version = version, .kind = (uint8_t)kind};
	assert_int_equal(send(p->fd, &ev, sizeof(ev), 0), sizeof(ev));
}

static void hears(const struct played *p, enum keeper_command kind, uint8_t version)
{
	struct command c = {0};

	assert_int_equal(recv(p->fd, &c, sizeof(c), 0), sizeof(c));
	assert_int_equal(c.head.kind, kind);
	assert_int_equal(c.head.version, version);
}

static void one_of_another_protocol_is_asked_to_become_ours_in_its_own(void **state)
{
	const uint8_t others[] = {MESSAGE_VERSION - 1, MESSAGE_VERSION + 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
		struct keeper_event ev;
		struct played p;
		struct err e = {0};

		set_up(&p);
		says(&p, KEEPER_HELLO, others[i]);
		assert_int_equal(keeper_next(p.k, &ev, &e), KEEPER_OTHER);
		assert_int_equal(ev.kind, KEEPER_HELLO);
		assert_ok(keeper_reexec(p.k, "/usr/libexec/berth-keeper", &e));
		hears(&p, KEEPER_REEXEC, others[i]);

		says(&p, KEEPER_FAILED, others[i]);
		assert_int_equal(keeper_next(p.k, &ev, &e), KEEPER_OTHER);
		says(&p, KEEPER_RESUMED, MESSAGE_VERSION);
		assert_ok(keeper_next(p.k, &ev, &e));
		assert_int_equal(ev.kind, KEEPER_RESUMED);
		assert_ok(keeper_list(p.k, &e));
		hears(&p, KEEPER_LIST, MESSAGE_VERSION);
		tear_down(&p);
	}
}

static void what_else_it_says_is_not_understood(void **state)
{
	struct keeper_event ev;
	struct played p;
	struct err e = {0};

	(void)state;
	set_up(&p);
	says(&p, KEEPER_LISTED, MESSAGE_VERSION - 1);
	assert_fails(keeper_next(p.k, &ev, &e), EBADMSG);
	tear_down(&p);
}

#define MANY 500 /* more than a socket has room for */

static void *read_many(void *arg)
{
	const struct played *p = arg;

	for (int i = 0; i < MANY; i++)
		hears(p, KEEPER_KILL, MESSAGE_VERSION);
	return NULL;
}

static void a_command_waits_for_room_though_a_loop_watches_the_socket(void **state)
{
	struct played p;
	struct err e = {0};
	pthread_t reader;

	(void)state;
	set_up(&p);
	assert_int_equal(fcntl(keeper_fd(p.k), F_SETFL, O_NONBLOCK), 0); /* as loop_watch() does */
	assert_int_equal(pthread_create(&reader, NULL, read_many, &p), 0);
	for (int i = 0; i < MANY; i++)
		assert_ok(keeper_kill(p.k, "web", 15, &e));
	assert_int_equal(pthread_join(reader, NULL), 0);
	tear_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_another_protocol_is_asked_to_become_ours_in_its_own),
		cmocka_unit_test(what_else_it_says_is_not_understood),
		cmocka_unit_test(a_command_waits_for_room_though_a_loop_watches_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
