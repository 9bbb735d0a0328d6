/* tests/unit/net/nf.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The bytes are written down from linux/netfilter/nf_tables.h and the netlink
 * format, little endian; that the kernel reads them as meant is seen by nft(8)
 * in tests/e2e.
 */
#include "tests/unit/unit.h"

#include <linux/netfilter/nfnetlink.h>

#include "base/auto.h"
#include "base/text.h"
#include "net/elements.h"
#include "net/nf.h"

static void assert_bytes(struct batch *b, const char *expected)
{
	const struct buf *bytes = batch_bytes(b);
	char hex[2048];

	assert_true(bytes->size * 2 < sizeof(hex));
	hex_encode(bytes->data, bytes->size, hex);
	assert_string_equal(hex, expected);
}

static void a_rule_is_written_as_the_kernel_reads_it(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	const uint32_t group = 7;
	struct nf_rule r;

	(void)state;
	nf_rule_begin(&r, &b, "t", "c", "x");
	nf_meta(&r, NFT_META_IIFGROUP, REG_A);
	nf_compare(&r, NFT_CMP_EQ, REG_A, &group, sizeof(group));
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
	assert_bytes(&b, "b0000000060a010c0000000000000000" /* NEWRULE, create, append */
			 "01000000"                         /* family inet */
			 "0600010074000000"                 /* table "t" */
			 "0600020063000000"                 /* chain "c" */
			 "0800070000027800"                 /* userdata: comment "x" */
			 "84000480"                         /* expressions */
			 "24000180"                         /* first */
			 "090001006d65746100000000"         /* "meta" */
			 "14000280"
			 "0800020000000015" /* key iifgroup = 21 */
			 "0800010000000008" /* to register 8 */
			 "2c000180"
			 "08000100636d7000" /* "cmp" */
			 "20000280"
			 "0800010000000008"         /* register 8 */
			 "0800020000000000"         /* equal */
			 "0c0003800800010007000000" /* 7, in the host's order */
			 "30000180"
			 "0e000100696d6d65646961746500"
			 "0000" /* "immediate" */
			 "1c000280"
			 "0800010000000000" /* the verdict register */
			 "100002800c0002800800010000000001" /* accept */);
}

static struct net_port port = {80, 8080, NET_TCP, 1};
static const struct endpoint web = {
	.id = "web", .mode = NET_BRIDGE, .address = 0xac1c0002, .ports = &port, .port_count = 1};

static void a_host_port_is_one_element_and_a_hairpin(void **state)
{
	auto_batch struct batch b = BATCH_INIT;

	(void)state;
	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, "t", &web, 1);
	assert_bytes(&b, "500000000c0a01040000000000000000"
			 "01000000"
			 "0600010074000000"
			 "0a000200706f727473000000" /* "ports" */
			 "2800038024000180"
			 "100001800c000100060000001f900000" /* tcp . 8080 */
			 "100002800c000100ac1c000200500000" /* 172.28.0.2 . 80 */
			 "400000000c0a01040000000000000000"
			 "01000000"
			 "0600010074000000"
			 "0c0002006861697270696e00" /* "hairpin" */
			 "1800038014000180"
			 "100001800c000100ac1c0002ac1c0002");
}

static void a_range_is_one_element_for_each_port(void **state)
{
	static struct net_port range = {8000, 50000, NET_UDP, 300};
	const struct endpoint wide = {
		.mode = NET_BRIDGE, .address = 1, .ports = &range, .port_count = 1};
	auto_items struct items items = {0};

	(void)state;
	elements_of(ELEMENTS_PORTS, &wide, 1, &items);
	assert_int_equal(items.count, 300);
	for (size_t i = 0; i < items.count; i++) {
		uint16_t host = htons((uint16_t)(50000 + i)),
			 container = htons((uint16_t)(8000 + i));

		assert_int_equal(items.items[i].key[0], IPPROTO_UDP);
		assert_memory_equal(items.items[i].key + 4, &host, 2);
		assert_memory_equal(items.items[i].data + 4, &container, 2);
	}
}

static void an_endpoint_without_ports_has_no_elements(void **state)
{
	const struct endpoint plain = {.mode = NET_BRIDGE, .address = 0xac1c0002};
	auto_batch struct batch b = BATCH_INIT;

	(void)state;
	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, "t", &plain, 1);
	assert_int_equal(batch_bytes(&b)->size, 0);
}

/* Where tasks find it, and that they may. */
static void a_service_is_two_elements(void **state)
{
	struct endpoint ep = {.mode = NET_BRIDGE, .address = 0xac1c0009};
	auto_items struct items at = {0}, who = {0};
	const uint32_t link_local = htonl(0xa9feaa02), address = htonl(0xac1c0009);

	(void)state;
	ep.service[0] = ip_of_v4(0xa9feaa02, 32);
	elements_of(ELEMENTS_SERVICES, &ep, 1, &at);
	elements_of(ELEMENTS_SERVING, &ep, 1, &who);
	assert_int_equal(at.count, 1);
	assert_int_equal(who.count, 1);
	assert_memory_equal(at.items[0].key, &link_local, 4);
	assert_memory_equal(at.items[0].data, &address, 4);
	assert_memory_equal(who.items[0].key, &address, 4);
}

/* By IPv6 it serves at its own address of that. */
static void a_service_of_ipv6_is_two_elements_more(void **state)
{
	struct endpoint ep = {.mode = NET_BRIDGE, .address = 0xac1c0009};
	auto_items struct items at = {0}, who = {0};

	(void)state;
	assert_true(ip_address_parse("fd00:ec2::253", &ep.service[1]));
	assert_true(ip_address_parse("fd62::9", &ep.own[1]));
	elements_of(ELEMENTS_SERVICES6, &ep, 1, &at);
	elements_of(ELEMENTS_SERVING6, &ep, 1, &who);
	elements_of(ELEMENTS_SERVICES, &ep, 1, &who);
	assert_int_equal(at.count, 1);
	assert_int_equal(who.count, 1);
	assert_memory_equal(at.items[0].key, ep.service[1].address, 16);
	assert_memory_equal(at.items[0].data, ep.own[1].address, 16);
	assert_memory_equal(who.items[0].key, ep.own[1].address, 16);
}

/* Of IPv4 it has what leads to services of its host; nothing else may pass. */
static void a_task_with_ipv6_alone_is_secured_in_both_families(void **state)
{
	struct endpoint ep = {.mode = NET_AWSVPC, .address = 0xac1c0009};
	const uint32_t address = htonl(0xac1c0009);
	auto_items struct items v4 = {0}, v6 = {0}, routed = {0};

	(void)state;
	assert_true(ip_address_parse("fd00:7::9", &ep.own[1]));
	elements_of(ELEMENTS_SECURED, &ep, 1, &v4);
	elements_of(ELEMENTS_SECURED6, &ep, 1, &v6);
	elements_of(ELEMENTS_ROUTED, &ep, 1, &routed);
	assert_int_equal(v4.count, 1);
	assert_int_equal(v6.count, 1);
	assert_int_equal(routed.count, 0);
	assert_memory_equal(v4.items[0].key, &address, 4);
	assert_memory_equal(v6.items[0].key, ep.own[1].address, 16);
}

struct seen {
	size_t count;
	struct item last;
};

static void see(const struct nf_element *x, void *arg)
{
	struct seen *s = arg;

	s->count++;
	assert_int_equal(x->key_size, 8);
	memcpy(s->last.key, x->key, 8);
	if (x->data) {
		assert_int_equal(x->data_size, 8);
		memcpy(s->last.data, x->data, 8);
	}
}

static void elements_are_read_back(void **state)
{
	const uint8_t key[8] = {IPPROTO_TCP, 0, 0, 0, 0x1f, 0x90}, data[8] = {172, 28, 0, 2, 0, 80};
	auto_batch struct batch b = BATCH_INIT;
	struct seen seen = {0};

	(void)state;
	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, "t", &web, 1);
	assert_true(nf_elements_parse((const void *)batch_bytes(&b)->data, see, &seen));
	assert_int_equal(seen.count, 1);
	assert_memory_equal(seen.last.key, key, 8);
	assert_memory_equal(seen.last.data, data, 8);
}

static void many_elements_go_in_requests_that_the_kernel_takes(void **state)
{
	static struct net_port ports[1000];
	const struct endpoint wide = {
		.mode = NET_BRIDGE, .address = 1, .ports = ports, .port_count = 1000};
	auto_batch struct batch b = BATCH_INIT;
	struct seen seen = {0};
	const struct buf *bytes;

	(void)state;
	for (uint16_t i = 0; i < 1000; i++)
		ports[i] = (struct net_port){80, (uint16_t)(i + 1), NET_UDP, 1};
	elements_change_endpoints(&b, NFT_MSG_NEWSETELEM, "t", &wide, 1);
	bytes = batch_bytes(&b);
	for (size_t at = 0; at < bytes->size;) {
		const struct nlmsghdr *h = (const void *)(bytes->data + at);

		assert_true(h->nlmsg_len < 8192);
		assert_true(nf_elements_parse(h, see, &seen));
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	assert_int_equal(seen.count, 1001); /* and one hairpin */
}

static void a_chain_and_its_policy_are_read_back(void **state)
{
	static const struct nf_chain spec = {"c", "filter", NF_INET_FORWARD, 0};
	auto_batch struct batch b = BATCH_INIT;
	struct nf_chain_info c;

	(void)state;
	nf_chain_add(&b, "t", &spec, NULL);
	assert_true(nf_chain_parse((const void *)batch_bytes(&b)->data, &c));
	assert_string_equal(c.table, "t");
	assert_string_equal(c.name, "c");
	assert_int_equal(c.hook, NF_INET_FORWARD);
	assert_int_equal(c.policy, NF_ACCEPT);
	assert_int_equal(c.family, NFPROTO_INET);
}

static void a_table_and_its_comment_are_read_back(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	struct nf_table_info t;

	(void)state;
	nf_table_add(&b, "t", "hello");
	assert_true(nf_table_parse((const void *)batch_bytes(&b)->data, &t));
	assert_string_equal(t.name, "t");
	assert_int_equal(t.userdata_size, 8);
	assert_memory_equal(t.userdata, "\0\6hello", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rule_is_written_as_the_kernel_reads_it),
		cmocka_unit_test(a_host_port_is_one_element_and_a_hairpin),
		cmocka_unit_test(a_range_is_one_element_for_each_port),
		cmocka_unit_test(a_service_is_two_elements),
		cmocka_unit_test(a_service_of_ipv6_is_two_elements_more),
		cmocka_unit_test(a_task_with_ipv6_alone_is_secured_in_both_families),
		cmocka_unit_test(an_endpoint_without_ports_has_no_elements),
		cmocka_unit_test(elements_are_read_back),
		cmocka_unit_test(many_elements_go_in_requests_that_the_kernel_takes),
		cmocka_unit_test(a_chain_and_its_policy_are_read_back),
		cmocka_unit_test(a_table_and_its_comment_are_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
