/* tests/unit/net/ipam.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "net/ipam.h"

static const struct block small = {.base = 0x0a000000, .prefix = 28};

static void each_address_is_given_once(void **state)
{
	uint32_t address, rested;
	struct ipam p;

	(void)state;
	ipam_init(&p, &small);
	for (uint32_t i = 2; i < 15; i++) {
		assert_true(ipam_take(&p, &address));
		assert_int_equal(address, small.base + i);
	}
	assert_false(ipam_take(&p, &address));
	assert_false(ipam_wake(&p, 0, &rested));
	ipam_done(&p);
}

static void an_address_rests_before_it_is_given_again(void **state)
{
	uint32_t address, first, rested;
	struct ipam p;

	(void)state;
	ipam_init(&p, &small);
	assert_true(ipam_take(&p, &first));
	ipam_release(&p, first, 1000);
	assert_false(ipam_wake(&p, 1000 + ADDRESS_REST_MS - 1, &rested));
	for (uint32_t i = 0; i < 12; i++) {
		assert_true(ipam_take(&p, &address));
		assert_int_not_equal(address, first);
	}
	ipam_release(&p, address, 2000);
	/* The first one is awake in time, the second one still rests. */
	assert_true(ipam_wake(&p, 1000 + ADDRESS_REST_MS, &rested));
	assert_int_equal(rested, first);
	assert_false(ipam_wake(&p, 1000 + ADDRESS_REST_MS, &rested));
	assert_true(ipam_take(&p, &address));
	assert_int_equal(address, first);
	ipam_done(&p);
}

static void when_nothing_else_is_left_the_longest_rested_is_woken(void **state)
{
	uint32_t address, rested;
	struct ipam p;

	(void)state;
	ipam_init(&p, &small);
	for (int i = 0; i < 13; i++)
		assert_true(ipam_take(&p, &address));
	ipam_release(&p, small.base + 5, 10);
	ipam_release(&p, small.base + 3, 20);
	assert_true(ipam_wake(&p, 30, &rested));
	assert_int_equal(rested, small.base + 5);
	assert_false(ipam_wake(&p, 30, &rested));
	assert_true(ipam_take(&p, &address));
	assert_int_equal(address, small.base + 5);
	ipam_done(&p);
}

static void what_cannot_be_is_not_marked(void **state)
{
	struct ipam p;

	(void)state;
	ipam_init(&p, &small);
	assert_true(ipam_mark(&p, small.base + 7));
	assert_false(ipam_mark(&p, small.base + 7));
	assert_false(ipam_mark(&p, small.base));
	assert_false(ipam_mark(&p, small.base + 1));
	assert_false(ipam_mark(&p, small.base + 15));
	assert_false(ipam_mark(&p, small.base + 16));
	assert_false(ipam_mark(&p, small.base - 1));
	ipam_done(&p);
}

static void the_queue_of_the_resting_does_not_grow_for_ever(void **state)
{
	struct ipam p;
	int64_t now = 0;

	(void)state;
	ipam_init(&p, &small);
	for (int i = 0; i < 100000; i++) {
		uint32_t address, rested;

		while (ipam_wake(&p, now, &rested))
			;
		assert_true(ipam_take(&p, &address));
		ipam_release(&p, address, now);
		now += 1000;
	}
	assert_true(p.rest_capacity <= 64);
	ipam_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_address_is_given_once),
		cmocka_unit_test(an_address_rests_before_it_is_given_again),
		cmocka_unit_test(when_nothing_else_is_left_the_longest_rested_is_woken),
		cmocka_unit_test(what_cannot_be_is_not_marked),
		cmocka_unit_test(the_queue_of_the_resting_does_not_grow_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
