/* tests/fuzz/net_netlink.c - what the kernel answers, or somebody in its place
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/conntrack.h"
#include "net/counters.h"
#include "net/flow.h"
#include "net/host.h"
#include "net/link.h"
#include "net/netlink.h"
#include "net/nf.h"
#include "net/peer.h"
#include "net/shortcut.h"
#include "net/trunk.h"
#include "net/watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void touch(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sink += ((const unsigned char *)data)[i];
}

static void touch_element(const struct nf_element *x, void *arg)
{
	(void)arg;
	touch(x->key, x->key_size);
	if (x->data)
		touch(x->data, x->data_size);
}

static void touch_rule(const struct nlmsghdr *h)
{
	struct nf_rule_info rule;
	struct nf_expression x;
	struct nlattr *item;
	int rest;

	if (!nf_rule_parse(h, &rule) || !rule.expressions)
		return;
	nla_for_each_nested(item, rule.expressions, rest)
	{
		if (!nf_expression_parse(item, &x))
			continue;
		touch(x.name, strlen(x.name));
		if (x.data)
			touch(nla_data(x.data), (size_t)nla_len(x.data));
	}
}

static int touch_object(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct nf_table_info table;
	struct nf_chain_info chain;
	struct address_info address;
	struct route_info route;
	struct link_info link;
	struct flow flow;
	struct flow_report report;
	struct flow_packet packet;
	struct net_counters counters = {0};
	int32_t netns;
	struct tunnel tunnel = {.transport = NET_VXLAN};
	struct ip_prefix prefix, to;
	uint32_t metric, priority;

	(void)arg;
	(void)e;
	if (nf_table_parse(h, &table)) {
		touch(table.name, strlen(table.name));
		touch(table.userdata, table.userdata_size);
	}
	if (nf_chain_parse(h, &chain)) {
		touch(chain.table, strlen(chain.table));
		touch(chain.name, strlen(chain.name));
	}
	if (address_info_parse(h, &address))
		touch(address.label, strlen(address.label));
	if (link_parse(h, &link))
		touch(link.name, strlen(link.name));
	if (flow_parse(h, &flow))
		touch(nla_data(flow.tuple), (size_t)nla_len(flow.tuple));
	touch_rule(h);
	if (flow_report_parse(h, &report))
		touch(nla_data(report.tuple), (size_t)nla_len(report.tuple));
	(void)flow_packet_parse(h, &packet);
	(void)counters_parse(h, &counters, &netns);
	(void)counters_parse_task(h, &counters);
	(void)shortcut_may_have_way(h);
	(void)tunnel_parse(h, &tunnel);
	(void)peer_route_parse(h, &prefix, &metric);
	(void)trunk_rule_parse(h, &prefix, &to, &metric, &priority);
	(void)route_info_parse(h, &route);
	(void)nf_elements_parse(h, touch_element, NULL);
	return 0;
}

/* The numbers of the requests are the first byte, so that any header may be an answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct netlink_dump dump = {touch_object, NULL, NULL};
	struct netlink_answer a = {.first = 0, .last = UINT32_MAX};
	bool ours = false, theirs = false;
	struct err e = {0};
	char *copy;

	if (size < 1)
		return 0;
	a.bracketed = data[0] & 1;
	a.last = data[0] & 2 ? UINT32_MAX : 1;
	copy = malloc(size); /* exactly as long as what came */
	if (!copy)
		return 0;
	memcpy(copy, data + 1, size - 1);
	(void)netlink_read(&a, copy, size - 1, &dump, &e);
	watch_look(copy, size - 1, "berth", &ours, &theirs);
	free(copy);
	return 0;
}
