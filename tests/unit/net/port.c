/* tests/unit/net/port.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <sched.h>
#include <unistd.h>

#include "base/auto.h"
#include "net/port.h"

static void a_range_is_checked(void **state)
{
	struct port_range r;
	struct err e = {0};

	(void)state;
	assert_fails(port_range_init(&r, 0, 10, &e), EINVAL);
	assert_fails(port_range_init(&r, 11, 10, &e), EINVAL);
	assert_ok(port_range_init(&r, 10, 10, &e));
	assert_int_equal(r.next, 10);
	assert_ok(port_range_init(&r, 1, 65535, &e));
	assert_true(r.next >= 1);
}

static void the_kernels_range_is_the_default(void **state)
{
	struct port_range r;
	struct err e = {0};

	(void)state;
	assert_ok(port_range_init(&r, 0, 0, &e));
	assert_true(r.first > 0 && r.first <= r.last);
	assert_true(r.next >= r.first && r.next <= r.last);
}

static void a_held_port_is_refused_by_name(void **state)
{
	static const struct {
		enum net_protocol protocol;
		const char *name;
	} cases[] = {{NET_TCP, "tcp"}, {NET_UDP, "udp"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct port_range r;
		auto_close int first = -1;
		struct err e = {0};
		char expected[80];
		uint16_t port;
		int second = -1;

		assert_ok(port_range_init(&r, 0, 0, &e));
		assert_ok(port_hold_any(&r, cases[i].protocol, 1, &port, &first, &e));
		assert_fails(port_hold(cases[i].protocol, port, 1, &second, &e), EADDRINUSE);
		(void)snprintf(expected, sizeof(expected),
			       "listen %s 0.0.0.0:%u: bind: address already in use", cases[i].name,
			       port);
		assert_string_equal(e.msg, expected);

		r = (struct port_range){.first = port, .last = port, .next = port};
		assert_fails(port_hold_any(&r, cases[i].protocol, 1, &port, &second, &e),
			     EADDRINUSE);
		assert_says("is free");
	}
}

static void ports_in_a_row_are_held_by_one_descriptor(void **state)
{
	struct port_range r;
	auto_close int row = -1, one = -1;
	struct err e = {0};
	uint16_t first;
	int other = -1;

	(void)state;
	assert_ok(port_range_init(&r, 0, 0, &e));
	assert_ok(port_hold_any(&r, NET_UDP, 300, &first, &row, &e));
	assert_true(first >= r.first && first + 299 <= r.last);
	for (unsigned i = 0; i < 300; i++)
		assert_fails(port_hold(NET_UDP, (uint16_t)(first + i), 1, &other, &e), EADDRINUSE);
	assert_ok(port_hold(NET_TCP, (uint16_t)(first + 7), 1, &one, &e));

	/* A row that meets one that is taken is not there at all. */
	assert_fails(port_hold(NET_TCP, first, 10, &other, &e), EADDRINUSE);
	close_fd(&one);
	assert_ok(port_hold(NET_TCP, first, 10, &one, &e));
	close_fd(&row);
	assert_ok(port_hold(NET_UDP, first, 300, &row, &e));
}

static void a_row_is_found_around_what_is_taken(void **state)
{
	auto_close int all = -1, gap = -1, row = -1;
	struct port_range r;
	struct err e = {0};
	uint16_t first, port;

	(void)state;
	assert_ok(port_range_init(&r, 0, 0, &e));
	assert_ok(port_hold_any(&r, NET_UDP, 40, &first, &all, &e));
	close_fd(&all);
	assert_ok(port_hold(NET_UDP, (uint16_t)(first + 15), 1, &gap, &e));

	/* Wherever the search begins. */
	for (uint16_t i = 0; i < 40; i++) {
		r = (struct port_range){.first = first,
					.last = (uint16_t)(first + 39),
					.next = (uint16_t)(first + i)};
		assert_ok(port_hold_any(&r, NET_UDP, 24, &port, &row, &e));
		assert_int_equal(port, first + 16);
		close_fd(&row);
	}
	assert_fails(port_hold_any(&r, NET_UDP, 25, &port, &row, &e), EADDRINUSE);
	assert_says("25 contiguous host ports are unavailable");
	assert_fails(port_hold_any(&r, NET_UDP, 41, &port, &row, &e), EADDRINUSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_is_checked),
		cmocka_unit_test(the_kernels_range_is_the_default),
		cmocka_unit_test(a_held_port_is_refused_by_name),
		cmocka_unit_test(ports_in_a_row_are_held_by_one_descriptor),
		cmocka_unit_test(a_row_is_found_around_what_is_taken),
	};

	/* Ports that nobody else takes meanwhile; where the kernel refuses, those of the host. */
	(void)unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
