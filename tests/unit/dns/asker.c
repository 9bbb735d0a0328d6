/* tests/unit/dns/asker.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "dns/asker.h"
#include "dns/standing.h"

static struct asker *get(struct askers *a, uint32_t address)
{
	const struct ip_prefix p = ip_of_v4(address, 32);

	return askers_get(a, &p);
}

static unsigned ask(struct asker *k, unsigned count, int64_t now_ms)
{
	unsigned may = 0;

	while (count--)
		may += asker_may_ask(k, now_ms);
	return may;
}

static void each_address_has_1024_messages_a_second(void **state)
{
	struct askers a = {0};
	struct asker *one = get(&a, 0x0a000001), *two;

	(void)state;
	assert_int_equal(ask(one, 5000, 1000), 1024);
	two = get(&a, 0x0a000002);
	assert_int_equal(ask(two, 10, 1000), 10);
	assert_int_equal(ask(one, 5000, 1500), 512);
	assert_int_equal(ask(one, 5000, 1501), 1);
	assert_int_equal(ask(one, 5000, 60000), 1024); /* no more is saved */
	assert_ptr_equal(get(&a, 0x0a000001), one);
	askers_done(&a);
}

static void who_has_most_is_found(void **state)
{
	struct askers a = {0};

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		get(&a, i)->held[ASKER_QUERIES] = i == 4 ? 9 : i % 4;
	get(&a, 7)->held[ASKER_STREAMS] = 1;
	assert_ptr_equal(askers_greediest(&a, ASKER_QUERIES), get(&a, 4));
	assert_ptr_equal(askers_greediest(&a, ASKER_STREAMS), get(&a, 7));
	askers_done(&a);
}

static void those_who_have_nothing_are_forgotten_when_there_are_many(void **state)
{
	struct askers a = {0};
	struct asker *held;

	(void)state;
	held = get(&a, 0xffffffff);
	held->held[ASKER_STREAMS] = 1;
	for (uint32_t i = 0; i < 3 * ASKERS_MAX; i++) {
		(void)get(&a, i);
		assert_true(a.by_address.count <= ASKERS_MAX);
	}
	assert_ptr_equal(get(&a, 0xffffffff), held);
	askers_done(&a);
}

static void a_server_that_is_silent_is_asked_last_for_a_while(void **state)
{
	struct standing s = {0};

	(void)state;
	assert_int_equal(standing_choose(&s, 2, 0), 2); /* how many there are is not known yet */
	standing_set(&s, 3, 1);
	for (size_t n = 0; n < 6; n++)
		assert_int_equal(standing_choose(&s, n, 0), n % 3);
	for (int i = 0; i < STANDING_SILENT_MAX; i++) {
		assert_int_equal(standing_choose(&s, 0, 100), 0);
		standing_silent(&s, 0, 100);
	}
	assert_int_equal(standing_choose(&s, 0, 100), 1);
	assert_int_equal(standing_choose(&s, 1, 100), 2);
	assert_int_equal(standing_choose(&s, 2, 100), 0);
	assert_int_equal(standing_choose(&s, 0, 100 + STANDING_REST_MS), 0);
	standing_silent(&s, 0, 100 + STANDING_REST_MS); /* still: once is enough */
	assert_int_equal(standing_choose(&s, 0, 100 + STANDING_REST_MS), 1);
	standing_answered(&s, 0);
	assert_int_equal(standing_choose(&s, 0, 100 + STANDING_REST_MS), 0);
	/* An answer between makes it three more. */
	standing_silent(&s, 0, 0);
	standing_silent(&s, 0, 0);
	standing_answered(&s, 0);
	standing_silent(&s, 0, 0);
	assert_int_equal(standing_choose(&s, 0, 1), 0);
	standing_set(&s, 1, 2);
	assert_int_equal(standing_choose(&s, 5, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_address_has_1024_messages_a_second),
		cmocka_unit_test(who_has_most_is_found),
		cmocka_unit_test(those_who_have_nothing_are_forgotten_when_there_are_many),
		cmocka_unit_test(a_server_that_is_silent_is_asked_last_for_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
