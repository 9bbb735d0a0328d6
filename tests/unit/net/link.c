/* tests/unit/net/link.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>

#include "base/auto.h"
#include "net/conntrack.h"
#include "net/host.h"
#include "net/link.h"

static const struct name berth = {.table = "berth", .prefix = "brt-", .group = 0x42000000};
static const struct link link_of_web = {.name = &berth,
					.index = 0x6c1c0007, /* name_link_index() */
					.address = {.length = 32, .address = {172, 28, 0, 7}},
					.gateway = 0xac1c0001,
					.host_part = 7,
					.mtu = 1400,
					.has_ipv6 = true,
					.alias = "web"};

/* The types of a batch's requests. */
static size_t types_of(struct batch *b, uint16_t *types, size_t max)
{
	const struct buf *bytes = batch_bytes(b);
	size_t n = 0;

	for (size_t at = 0; at < bytes->size;) {
		const struct nlmsghdr *h = (const void *)(bytes->data + at);

		assert_true(n < max);
		types[n++] = h->nlmsg_type;
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
	return n;
}

static void a_pair_has_one_queue_each_way_and_indexes_of_its_own(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1], *peer, *attr;
	struct nlmsghdr *h;

	(void)state;
	link_create(&b, &link_of_web, 99);
	h = (struct nlmsghdr *)(void *)batch_bytes(&b)->data;
	assert_int_equal(nlmsg_parse(h, sizeof(struct ifinfomsg), tb, IFLA_MAX, NULL), 0);
	assert_string_equal(nla_get_string(tb[IFLA_IFNAME]), "brt-0007");
	assert_int_equal(nla_get_u32(tb[IFLA_NUM_TX_QUEUES]), 1);
	assert_int_equal(nla_get_u32(tb[IFLA_NUM_RX_QUEUES]), 1);
	assert_int_equal(nla_get_u32(tb[IFLA_GROUP]), 0x42000000);
	assert_int_equal(nla_get_u32(tb[IFLA_MTU]), 1400);

	assert_int_equal(nla_parse_nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL), 0);
	assert_string_equal(nla_get_string(info[IFLA_INFO_KIND]), "veth");
	peer = nla_data(info[IFLA_INFO_DATA]);
	attr = (struct nlattr *)((char *)nla_data(peer) + sizeof(struct ifinfomsg));
	assert_int_equal(nla_parse(tb, IFLA_MAX, attr, nla_len(peer) - 16, NULL), 0);
	assert_string_equal(nla_get_string(tb[IFLA_IFNAME]), "eth0");
	assert_int_equal(nla_get_u32(tb[IFLA_NUM_TX_QUEUES]), 1);
	assert_int_equal(nla_get_u32(tb[IFLA_NET_NS_FD]), 99);
	assert_int_not_equal(((struct ifinfomsg *)nla_data(peer))->ifi_index,
			     ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index);
}

static void the_host_side_is_settled_before_it_is_routed(void **state)
{
	static const uint16_t expected[] = {RTM_SETLINK, RTM_SETLINK, RTM_NEWNEIGH, RTM_NEWROUTE};
	auto_batch struct batch b = BATCH_INIT;
	uint16_t types[8];

	(void)state;
	link_settle(&b, &link_of_web);
	assert_int_equal(types_of(&b, types, ARRAY_COUNT(types)), ARRAY_COUNT(expected));
	assert_memory_equal(types, expected, sizeof(expected));
}

static void the_route_to_a_task_names_its_source(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	struct nlattr *tb[RTA_MAX + 1];
	struct nlmsghdr *h;

	(void)state;
	link_cut(&b, &link_of_web); /* the same route, deleted */
	h = (struct nlmsghdr *)(void *)batch_bytes(&b)->data;
	assert_int_equal(h->nlmsg_type, RTM_DELROUTE);
	assert_int_equal(nlmsg_parse(h, sizeof(struct rtmsg), tb, RTA_MAX, NULL), 0);
	assert_int_equal(ntohl(nla_get_u32(tb[RTA_DST])), 0xac1c0007);
	assert_int_equal(ntohl(nla_get_u32(tb[RTA_PREFSRC])), 0xac1c0001);
	assert_int_equal(nla_get_u32(tb[RTA_OIF]), name_link_index(0xac1c0007));
}

static void a_link_is_read(void **state)
{
	auto_batch struct batch b = BATCH_INIT;
	struct link_info info;

	(void)state;
	link_create(&b, &link_of_web, 99);
	assert_true(link_parse((const void *)batch_bytes(&b)->data, &info));
	assert_string_equal(info.name, "brt-0007");
	assert_int_equal(info.group, 0x42000000);
	assert_int_equal(info.mtu, 1400);
	assert_int_equal(info.index, name_link_index(0xac1c0007));
}

static void routes_and_addresses_are_read(void **state)
{
	const struct rtmsg route = {.rtm_family = AF_INET,
				    .rtm_dst_len = 16,
				    .rtm_table = RT_TABLE_MAIN,
				    .rtm_protocol = 190,
				    .rtm_type = RTN_UNREACHABLE};
	const struct ifaddrmsg address = {
		.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = 1};
	auto_batch struct batch b = BATCH_INIT;
	struct address_info a;
	struct route_info r;

	(void)state;
	batch_add(&b, RTM_NEWROUTE, 0, &route, sizeof(route), "route");
	batch_u32(&b, RTA_DST, htonl(0xac1c0000));
	batch_u32(&b, RTA_PRIORITY, 5);
	assert_true(route_info_parse((const void *)batch_bytes(&b)->data, &r));
	assert_false(address_info_parse((const void *)batch_bytes(&b)->data, &a));
	assert_int_equal(r.to.base, 0xac1c0000);
	assert_int_equal(r.to.prefix, 16);
	assert_int_equal(r.metric, 5);
	assert_int_equal(r.index, 0);
	batch_done(&b);

	b = (struct batch)BATCH_INIT;
	batch_add(&b, RTM_NEWADDR, 0, &address, sizeof(address), "address");
	batch_u32(&b, IFA_LOCAL, htonl(0xac1c0001));
	batch_text(&b, IFA_LABEL, "lo:brt");
	assert_true(address_info_parse((const void *)batch_bytes(&b)->data, &a));
	assert_int_equal(a.address, 0xac1c0001);
	assert_string_equal(a.label, "lo:brt");
}

static struct in6_addr address_of(int family, const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(family, text, &a), 1);
	return a;
}

static void put_tuple(struct batch *b, int type, int family, const char *source,
		      const char *destination, uint8_t protocol, uint16_t port)
{
	const struct in6_addr from = address_of(family, source),
			      to = address_of(family, destination);
	size_t size = family == AF_INET6 ? 16 : 4;
	struct nlattr *tuple = batch_nest(b, type), *inner = batch_nest(b, CTA_TUPLE_IP);
	uint16_t port_be = htons(port);

	batch_put(b, family == AF_INET6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, &from, size);
	batch_put(b, family == AF_INET6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, &to, size);
	batch_nest_end(b, inner);
	inner = batch_nest(b, CTA_TUPLE_PROTO);
	batch_u8(b, CTA_PROTO_NUM, protocol);
	batch_put(b, CTA_PROTO_DST_PORT, &port_be, sizeof(port_be));
	batch_nest_end(b, inner);
	batch_nest_end(b, tuple);
}

static void assert_address(const struct in6_addr *a, const char *text)
{
	const struct in6_addr wanted = address_of(AF_INET6, text);

	assert_memory_equal(a, &wanted, sizeof(wanted));
}

static void a_flow_is_read(void **state)
{
	const struct {
		int family;
		const char *from, *to, *answers; /* as they are sent */
		const char *source, *destination, *reply_source;
	} cases[] = {
		{AF_INET, "192.0.2.1", "192.0.2.2", "10.0.0.3", "::ffff:192.0.2.1",
		 "::ffff:192.0.2.2", "::ffff:10.0.0.3"},
		{AF_INET6, "2001:db8::1", "2001:db8::2", "fd00::3", "2001:db8::1", "2001:db8::2",
		 "fd00::3"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct nfgenmsg nf = {.nfgen_family = (uint8_t)cases[i].family};
		auto_batch struct batch b = BATCH_INIT;
		struct flow f;

		batch_add(&b, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW, 0, &nf, sizeof(nf),
			  "flow");
		put_tuple(&b, CTA_TUPLE_ORIG, nf.nfgen_family, cases[i].from, cases[i].to,
			  IPPROTO_UDP, 53);
		put_tuple(&b, CTA_TUPLE_REPLY, nf.nfgen_family, cases[i].answers, cases[i].from,
			  IPPROTO_UDP, 1024);
		batch_be32(&b, CTA_ID, 77);
		assert_true(flow_parse((const void *)batch_bytes(&b)->data, &f));
		assert_int_equal(f.family, cases[i].family);
		assert_address(&f.source, cases[i].source);
		assert_address(&f.destination, cases[i].destination);
		assert_address(&f.reply_source, cases[i].reply_source);
		assert_int_equal(f.protocol, IPPROTO_UDP);
		assert_int_equal(f.destination_port, 53);
		assert_non_null(f.id);
		assert_null(f.zone);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pair_has_one_queue_each_way_and_indexes_of_its_own),
		cmocka_unit_test(the_host_side_is_settled_before_it_is_routed),
		cmocka_unit_test(the_route_to_a_task_names_its_source),
		cmocka_unit_test(a_link_is_read),
		cmocka_unit_test(routes_and_addresses_are_read),
		cmocka_unit_test(a_flow_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
