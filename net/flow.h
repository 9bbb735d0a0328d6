/* net/flow.h - what the kernel says of flows of tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * Messages taken apart; each parser returns false when the message is of
 * another kind or not whole.
 */
#pragma once

#include "net/name.h"
#include "net/net.h"
#include "net/netlink.h"

/* One direction of a flow. */
struct flow_side {
	struct ip_prefix source, destination;
	uint16_t source_port, destination_port; /* 0 where the protocol has none */
	uint8_t protocol;
	uint64_t packets, bytes;
};

/* A connection: as its first packet was, and as answers to it are. */
struct flow_report {
	struct flow_side original, reply;
	int64_t start_ms, stop_ms; /* wall clock; 0: not known */
	bool ended;
	/* As they came, to name it again; in the message. */
	struct nlattr *tuple, *id, *zone;
};
bool flow_report_parse(const struct nlmsghdr *h, struct flow_report *ret);

/* A packet that no group allowed, as the chains refuse_* of the firewall tell it. */
enum flow_refusal {
	FLOW_REFUSED_LEAVING = 'l',
	FLOW_REFUSED_ENTERING = 'e',
	FLOW_REFUSED_UNTOLD = 's', /* there were more than are told */
};
struct flow_packet {
	enum flow_refusal refusal;
	struct flow_side side; /* of one packet */
};
bool flow_packet_parse(const struct nlmsghdr *h, struct flow_packet *ret);
/* The packet itself: its first bytes. */
bool flow_side_of_packet(const unsigned char *data, size_t size, struct flow_side *ret);

/* Listen to such packets, so many at once, or whatever came within a tenth of a second. */
int flow_join(struct netlink *nl, uint16_t group, uint32_t packets, struct err *e);
/* What a socket of netlink has now, message by message; *ret_lost: there was more. */
typedef void flow_message_fn(void *ctx, const struct nlmsghdr *h);
int flow_receive(int fd, flow_message_fn *on_message, void *ctx, bool *ret_lost, struct err *e);

/* The group of NFLOG (libnetfilter_log) that the firewall of this name tells. */
uint16_t flow_group(const struct name *n);

/* Of each: so many a second, and the first bytes of them. */
#define FLOW_REFUSALS_PER_S 2000
#define FLOW_PACKET_BYTES   64

/* Is it to be told what this address sends and receives? */
bool net_flows_has(const struct net_flows *f, const struct ip_prefix *address);

/* What was set for flow logs is as it was before; nothing was set: fine. */
int flow_restore_settings(struct net *net, struct err *e);
