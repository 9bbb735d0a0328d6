/* tests/unit/net/name.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "net/name.h"

static void names_follow_from_the_name_of_the_berth(void **state)
{
	static const struct {
		const char *text, *prefix, *label;
		uint32_t group;
	} cases[] = {
		{"berth", "brt-", "lo:brt", 0x42000000},
		{"berth-1a2b3c", "brt1a2b3c-", "lo:brt1a2b3c", 0x431a2b3c},
		{"berth-000000", "brt000000-", "lo:brt000000", 0x43000000},
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct name n;

		assert_ok(name_derive(cases[i].text, &n, &e));
		assert_string_equal(n.table, cases[i].text);
		assert_string_equal(n.prefix, cases[i].prefix);
		assert_string_equal(n.label, cases[i].label);
		assert_int_equal(n.group, cases[i].group);
	}
}

static void berths_have_blocks_of_ipv6_of_their_own(void **state)
{
	static const struct {
		const char *name, *address;
	} cases[] = {
		{"berth", "fd62:7274:4200::ac1c:7"},
		{"berth-000000", "fd62:7274:4300::ac1c:7"},
		{"berth-1a2b3c", "fd62:7274:431a:2b3c::ac1c:7"},
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct ip_prefix block, address, expected;
		struct name n;

		assert_ok(name_derive(cases[i].name, &n, &e));
		block = name_block6(&n);
		address = name_address6(&n, 0xac1c0007);
		assert_true(ip_address_parse(cases[i].address, &expected));
		assert_memory_equal(address.address, expected.address, 16);
		assert_true(ip_prefix_holds(&block, &address));
	}
}

static void other_names_are_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"Berth",
		"berth-",
		"berth-1",
		"berth-1a2b3",
		"berth-1a2b3c4",
		"berth-1A2B3C",
		"berth-1a2b3g",
		"berthx1a2b3c",
		"berth 1a2b3c",
	};
	struct err e = {0};
	struct name n;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		assert_fails(name_derive(cases[i], &n, &e), EINVAL);
	assert_says("berth 1a2b3c");
}

static void the_longest_link_name_fits(void **state)
{
	struct err e = {0};
	char link[IFNAMSIZ];
	struct name n;

	(void)state;
	assert_ok(name_derive("berth-1a2b3c", &n, &e));
	name_link(&n, 7, link);
	assert_string_equal(link, "brt1a2b3c-0007");
	name_link(&n, 0xfffff, link);
	assert_string_equal(link, "brt1a2b3c-fffff");
}

static void links_of_any_berth_are_known_by_name(void **state)
{
	static const struct {
		const char *name;
		bool ours;
	} cases[] = {
		{"brt-0007", true},        {"brt1a2b3c-0007", true},
		{"brt1a2b3c-fffff", true}, {"brt-", false},
		{"brt-000", false},        {"brt-000g", false},
		{"brt1a2b3-0007", false},  {"brt1a2b3c4-0007", false},
		{"brt1A2B3C-0007", false}, {"br-1a2b3c4d5e6f", false},
		{"eth0", false},           {"", false},
		{"brt-0007-0008", false},  {"brtx-0007-000000", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		if (name_is_link(cases[i].name) != cases[i].ours)
			fail_msg("%s", cases[i].name);
}

static void an_index_is_positive_and_its_addresses_alone(void **state)
{
	static const uint32_t addresses[] = {0x0a000001, 0xac1c0002, 0xac1c0003,
					     0xac1d0002, 0xc0a80002, 0xc6120002};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
		assert_true((int)name_link_index(addresses[i]) >= 0x40000000);
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(name_link_index(addresses[i]),
					     name_link_index(addresses[k]));
	}
}

static void a_mac_is_made_of_the_address(void **state)
{
	const uint8_t expected[6] = {0x0a, 0x58, 172, 28, 0, 7};
	uint8_t mac[6];

	(void)state;
	name_mac(0xac1c0007, mac);
	assert_memory_equal(mac, expected, sizeof(mac));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_follow_from_the_name_of_the_berth),
		cmocka_unit_test(berths_have_blocks_of_ipv6_of_their_own),
		cmocka_unit_test(other_names_are_refused),
		cmocka_unit_test(the_longest_link_name_fits),
		cmocka_unit_test(links_of_any_berth_are_known_by_name),
		cmocka_unit_test(an_index_is_positive_and_its_addresses_alone),
		cmocka_unit_test(a_mac_is_made_of_the_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
