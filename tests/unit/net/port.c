/* tests/unit/net/port.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

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
		char expected[64];
		uint16_t port;
		int second = -1;

		assert_ok(port_range_init(&r, 0, 0, &e));
		assert_ok(port_hold_any(&r, cases[i].protocol, &port, &first, &e));
		assert_fails(port_hold(cases[i].protocol, port, &second, &e), EADDRINUSE);
		(void)snprintf(expected, sizeof(expected), "host port %u/%s is already in use",
			       port, cases[i].name);
		assert_string_equal(e.msg, expected);

		r = (struct port_range){.first = port, .last = port, .next = port};
		assert_fails(port_hold_any(&r, cases[i].protocol, &port, &second, &e), EADDRINUSE);
		assert_says("is free");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_range_is_checked),
		cmocka_unit_test(the_kernels_range_is_the_default),
		cmocka_unit_test(a_held_port_is_refused_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
