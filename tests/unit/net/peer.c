/* tests/unit/net/peer.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "net/peer.h"

static struct ip_prefix address_of(const char *text)
{
	struct ip_prefix p;

	assert_true(ip_address_parse(text, &p));
	return p;
}

static void a_peer_is_the_same_after_its_file(void **state)
{
	static const char text[] = "{\"addresses\":[\"10.1.0.2\",\"fd01::2\"],\"prefixes\":"
				   "[\"172.31.0.16/28\",\"fd00::/64\"],\"key\":\"k\"}";
	auto_free char *again = NULL;
	struct err e = {0};
	struct peer p;

	(void)state;
	assert_ok(peer_decode(text, strlen(text), "b", &p, &e));
	assert_string_equal(p.id, "b");
	assert_int_equal(p.count, 2);
	assert_true(p.addresses[0].length && p.addresses[1].length);
	assert_false(peer_address(&p)->v6);
	again = peer_encode(&p);
	assert_string_equal(again, text);
	peer_done(&p);
}

static void a_file_that_makes_no_sense_is_nobodys(void **state)
{
	static const char *const rows[] = {
		"",
		"{}",
		"{\"addresses\":[]}",
		"{\"addresses\":[\"10.1.0.300\"]}",
		"{\"addresses\":[\"10.1.0.3\"],\"prefixes\":[\"0.0.0.0/0\"]}",
		"{\"addresses\":[\"10.1.0.3\"],\"prefixes\":[\"10.0.0.0\"]}",
		"{\"addresses\":[\"10.1.0.3\"],\"key\":"
		"\"0123456789012345678901234567890123456789012345678\"}",
	};
	struct err e = {0};
	struct peer p;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		assert_true(peer_decode(rows[i], strlen(rows[i]), "b", &p, &e) < 0);
	assert_true(peer_decode("{\"addresses\":[\"10.1.0.3\"]}", 26, "../b", &p, &e) < 0);
}

static void both_ends_of_a_vxlan_know_a_hosts_mac_by_its_address(void **state)
{
	const struct ip_prefix a = address_of("10.1.0.2"), b = address_of("fd01::2"),
			       c = address_of("fd01::3");
	struct ip_prefix hop;
	char text[IP_TEXT_MAX];
	uint8_t mac[6], other[6];

	(void)state;
	vxlan_mac(&a, mac);
	assert_memory_equal(mac, "\x0a\x59\x0a\x01\x00\x02", 6);
	vxlan_mac(&b, mac);
	vxlan_mac(&c, other);
	assert_int_equal(mac[0] & 3, 2); /* locally administered, of one */
	assert_memory_not_equal(mac, other, 6);
	hop = vxlan_next_hop(&a, true);
	ip_address_format(&hop, text);
	assert_string_equal(text, "fe80::a59:a01:2");
	hop = vxlan_next_hop(&b, false);
	ip_address_format(&hop, text);
	assert_int_equal(strncmp(text, "169.254.", 8), 0);
}

static void tunnels_are_called_as_the_berth_is(void **state)
{
	char text[IFNAMSIZ];
	struct err e = {0};
	struct name n;

	(void)state;
	assert_ok(name_derive("berth-1a2b3c", &n, &e));
	tunnel_name(&n, NET_VXLAN, text);
	assert_string_equal(text, "brx1a2b3c");
	assert_ok(name_derive("berth", &n, &e));
	tunnel_name(&n, NET_WIREGUARD, text);
	assert_string_equal(text, "brw");
}

static void a_tunnel_costs_what_its_headers_are_long(void **state)
{
	(void)state;
	assert_int_equal(peer_overhead(NET_VXLAN, false), 20 + 8 + 8 + 14);
	assert_int_equal(peer_overhead(NET_VXLAN, true), 40 + 8 + 8 + 14);
	assert_int_equal(peer_overhead(NET_WIREGUARD, false), 20 + 8 + 32);
	assert_int_equal(peer_overhead(NET_WIREGUARD, true), 40 + 8 + 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_is_the_same_after_its_file),
		cmocka_unit_test(a_file_that_makes_no_sense_is_nobodys),
		cmocka_unit_test(both_ends_of_a_vxlan_know_a_hosts_mac_by_its_address),
		cmocka_unit_test(tunnels_are_called_as_the_berth_is),
		cmocka_unit_test(a_tunnel_costs_what_its_headers_are_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
