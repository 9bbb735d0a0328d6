/* tests/unit/base/ip.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>

#include "base/ip.h"

static void a_prefix_is_read_and_written_without_its_host_bits(void **state)
{
	static const struct {
		const char *text, *canonical; /* NULL: refused */
	} rows[] = {
		{"10.9.8.7/16", "10.9.0.0/16"},
		{"10.9.8.7/13", "10.8.0.0/13"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"255.255.255.255/0", "0.0.0.0/0"},
		{"1.2.3.4/32", "1.2.3.4/32"},
		{"fd00:1:2:3::9/64", "fd00:1:2:3::/64"},
		{"fd00:1:2:3::9/31", "fd00::/31"},
		{"::/0", "::/0"},
		{"::1/128", "::1/128"},
		{"1.2.3.4/33", NULL},
		{"::/129", NULL},
		{"1.2.3.4", NULL},
		{"1.2.3/8", NULL},
		{"01.2.3.4/8", NULL},
		{"/8", NULL},
		{"1.2.3.4/", NULL},
		{"1.2.3.4/-1", NULL},
		{"1.2.3.4/8 ", NULL},
		{"fd00::1%lo/64", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_prefix p;
		char text[IP_TEXT_MAX];

		assert_int_equal(ip_prefix_parse(rows[i].text, &p), rows[i].canonical != NULL);
		if (!rows[i].canonical)
			continue;
		ip_prefix_format(&p, text);
		assert_string_equal(text, rows[i].canonical);
	}
}

static void prefixes_hold_and_overlap(void **state)
{
	static const struct {
		const char *a, *b;
		bool holds, overlaps;
	} rows[] = {
		{"10.0.0.0/8", "10.1.0.0/16", true, true},
		{"10.1.0.0/16", "10.0.0.0/8", false, true},
		{"10.0.0.0/16", "10.0.0.0/16", true, true},
		{"10.0.0.0/16", "10.1.0.0/16", false, false},
		{"0.0.0.0/0", "10.1.0.0/16", true, true},
		{"0.0.0.0/0", "fd00::/8", false, false},
		{"fd00::/8", "fd12::/16", true, true},
		{"10.0.0.0/9", "10.128.0.0/9", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_prefix a, b;

		assert_true(ip_prefix_parse(rows[i].a, &a) && ip_prefix_parse(rows[i].b, &b));
		assert_int_equal(ip_prefix_holds(&a, &b), rows[i].holds);
		assert_int_equal(ip_prefix_overlaps(&a, &b), rows[i].overlaps);
	}
}

static void an_ipv4_address_is_a_number(void **state)
{
	struct ip_prefix p;
	char text[IP_TEXT_MAX];

	(void)state;
	assert_true(ip_address_parse("10.9.0.1", &p));
	assert_int_equal(ip_v4(&p), 0x0a090001);
	assert_int_equal(p.length, 32);
	p = ip_of_v4(0x0a0900ff, 24);
	ip_prefix_format(&p, text);
	assert_string_equal(text, "10.9.0.0/24");
	assert_false(ip_address_parse("10.9.0.1/32", &p));
	assert_false(ip_address_parse("10.9.0", &p));
}

static void a_socket_of_ipv6_shows_ipv4_as_such(void **state)
{
	static const char *const rows[][2] = {{"::ffff:10.9.0.7", "10.9.0.7"},
					      {"fd00:7::9", "fd00:7::9"},
					      {"::10.9.0.7", "::10.9.0.7"}};
	struct sockaddr_storage other = {.ss_family = AF_UNIX};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a090007)};
	struct sockaddr_storage s = {0};
	char text[IP_TEXT_MAX];
	struct ip_prefix p;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = 99};

		assert_int_equal(inet_pton(AF_INET6, rows[i][0], &v6.sin6_addr), 1);
		memcpy(&s, &v6, sizeof(v6));
		p = ip_of_socket(&s);
		ip_address_format(&p, text);
		assert_string_equal(text, rows[i][1]);
		assert_int_equal(p.length, p.v6 ? 128 : 32);
	}
	memcpy(&s, &v4, sizeof(v4));
	p = ip_of_socket(&s);
	assert_int_equal(ip_v4(&p), 0x0a090007);
	assert_int_equal(ip_of_socket(&other).length, 0);
}

static void some_blocks_no_host_has_addresses_of(void **state)
{
	static const struct {
		const char *text;
		bool special;
	} rows[] = {
		{"10.0.0.0/8", false},      {"0.1.0.0/16", true},       {"1.0.0.0/16", false},
		{"127.255.0.0/16", true},   {"169.254.170.2/32", true}, {"169.253.0.0/16", false},
		{"223.255.0.0/16", false},  {"224.0.0.0/24", true},     {"239.255.255.0/24", true},
		{"255.255.255.0/24", true}, {"0.0.0.0/0", true},        {"::/0", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip_prefix p;

		assert_true(ip_prefix_parse(rows[i].text, &p));
		if (ip_prefix_is_special(&p) != rows[i].special)
			fail_msg("%s", rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_prefix_is_read_and_written_without_its_host_bits),
		cmocka_unit_test(prefixes_hold_and_overlap),
		cmocka_unit_test(some_blocks_no_host_has_addresses_of),
		cmocka_unit_test(an_ipv4_address_is_a_number),
		cmocka_unit_test(a_socket_of_ipv6_shows_ipv4_as_such),
	};

	return cmocka_run_group_tests_name("base/ip", tests, NULL, NULL);
}
