/* tests/unit/net/flow.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "net/flow.h"

/* RFC 791, 768: from 10.0.0.1 port 4660 to 10.0.0.2 port 53, 40 bytes in all. */
static const unsigned char udp[] = {0x45, 0, 0,  40, 0, 0, 0,    0,    64, 17, 0, 0,  10, 0,
				    0,    1, 10, 0,  0, 2, 0x12, 0x34, 0,  53, 0, 20, 0,  0};

static void a_packet_says_who_where_and_how_much(void **state)
{
	struct flow_side s;

	(void)state;
	assert_true(flow_side_of_packet(udp, sizeof(udp), &s));
	assert_int_equal(ip_v4(&s.source), 0x0a000001);
	assert_int_equal(ip_v4(&s.destination), 0x0a000002);
	assert_int_equal(s.source_port, 0x1234);
	assert_int_equal(s.destination_port, 53);
	assert_int_equal(s.protocol, 17);
	assert_int_equal(s.bytes, 40);
	assert_int_equal(s.packets, 1);
}

static void a_packet_that_is_cut_off_has_no_ports_or_is_none(void **state)
{
	struct flow_side s;

	(void)state;
	assert_true(flow_side_of_packet(udp, 20, &s));
	assert_int_equal(s.destination_port, 0);
	for (size_t size = 0; size < 20; size++)
		assert_false(flow_side_of_packet(udp, size, &s));
}

static void the_second_fragment_has_no_ports(void **state)
{
	unsigned char data[sizeof(udp)];
	struct flow_side s;

	(void)state;
	memcpy(data, udp, sizeof(udp));
	data[7] = 1; /* offset */
	assert_true(flow_side_of_packet(data, sizeof(data), &s));
	assert_int_equal(s.source_port, 0);
}

static void ipv6_counts_its_header_too(void **state)
{
	/* RFC 8200: 8 bytes of ICMPv6 from fd00::1 to fd00::2. */
	unsigned char data[48] = {
		0x60, [5] = 8, [6] = 58, [7] = 64, [8] = 0xfd, [23] = 1, [24] = 0xfd, [39] = 2};
	char text[IP_TEXT_MAX];
	struct flow_side s;

	(void)state;
	assert_true(flow_side_of_packet(data, sizeof(data), &s));
	ip_address_format(&s.destination, text);
	assert_string_equal(text, "fd00::2");
	assert_int_equal(s.bytes, 48);
	assert_int_equal(s.protocol, 58);
	assert_int_equal(s.source_port, 0);
	assert_false(flow_side_of_packet(data, 39, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_says_who_where_and_how_much),
		cmocka_unit_test(a_packet_that_is_cut_off_has_no_ports_or_is_none),
		cmocka_unit_test(the_second_fragment_has_no_ports),
		cmocka_unit_test(ipv6_counts_its_header_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
