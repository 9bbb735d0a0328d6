/* net/flow.c - flows of tasks, counted
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * What passes is counted by the kernel's connection tracking: it tells each
 * connection's counters when it ends, and those of the open ones are fetched,
 * and set to zero, when somebody wants to know.  Counters of connections that
 * are not of a logged address are left alone: they may be somebody else's.
 *
 * What no security group allows meets a chain of the firewall that hands the
 * packet's first bytes to a group of NFLOG: so many a second, and when there
 * are more, that there were more.  Nobody listens when nothing is logged, and
 * then such a packet costs one look into a table.
 *
 * 1. Counting is on before the first connection that is to be counted: those
 *    that were open before have no counters, and are not told.
 * 2. Whatever was lost (a full socket, a limit) is told by on_loss().
 * 3. The settings that we changed are in the file 'flow-settings' before they
 *    are changed.
 */
#include "net/flow.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/flow_sample.h"
#include "net/internal.h"

#define SETTINGS_DIR  "/proc/sys/net/netfilter"
#define SETTINGS_FILE "flow-settings"
#define SETTINGS_MAX  256 /* bytes of the file */
#define DATAGRAM_SIZE 65536
#define DATAGRAMS_MAX 256   /* read in one go */
#define NFLOG_BUFFER  65536 /* the kernel gathers so much */
#define NFLOG_TIMEOUT 10    /* hundredths of a second, at most */
#define NFLOG_PACKETS 64    /* or so many packets */

struct net_flows {
	struct net *net;
	struct net_flow_options o;
	struct netlink events, refusals, ask;
	struct flow_sample *sample; /* under way; NULL: none */
	int epoll_fd;
};

/* ---- connections ---- */

static bool read_address(struct nlattr *const ip[], bool v6, bool source, struct ip_prefix *ret)
{
	static const int types[2][2] = {{CTA_IP_V4_DST, CTA_IP_V4_SRC},
					{CTA_IP_V6_DST, CTA_IP_V6_SRC}};
	struct nlattr *attr = ip[types[v6][source]];

	if (!attr || nla_len(attr) != (v6 ? 16 : 4))
		return false;
	*ret = (struct ip_prefix){.v6 = v6, .length = v6 ? 128 : 32};
	memcpy(ret->address, nla_data(attr), v6 ? 16 : 4);
	return true;
}

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_DCCP || protocol == IPPROTO_UDPLITE;
}

static bool parse_side(struct nlattr *attr, struct flow_side *ret)
{
	static struct nla_policy policy[CTA_PROTO_MAX + 1] = {
		[CTA_PROTO_NUM] = {.type = NLA_U8},
		[CTA_PROTO_SRC_PORT] = {.type = NLA_U16},
		[CTA_PROTO_DST_PORT] = {.type = NLA_U16},
	};
	struct nlattr *tb[CTA_TUPLE_MAX + 1], *ip[CTA_IP_MAX + 1], *proto[CTA_PROTO_MAX + 1];
	bool v6;

	if (!attr || nla_parse_nested(tb, CTA_TUPLE_MAX, attr, NULL) < 0 || !tb[CTA_TUPLE_IP] ||
	    !tb[CTA_TUPLE_PROTO] || nla_parse_nested(ip, CTA_IP_MAX, tb[CTA_TUPLE_IP], NULL) < 0 ||
	    nla_parse_nested(proto, CTA_PROTO_MAX, tb[CTA_TUPLE_PROTO], policy) < 0 ||
	    !proto[CTA_PROTO_NUM])
		return false;
	v6 = ip[CTA_IP_V6_SRC] != NULL;
	*ret = (struct flow_side){.protocol = nla_get_u8(proto[CTA_PROTO_NUM])};
	if (has_ports(ret->protocol) && proto[CTA_PROTO_SRC_PORT] && proto[CTA_PROTO_DST_PORT]) {
		ret->source_port = ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT]));
		ret->destination_port = ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT]));
	}
	return read_address(ip, v6, true, &ret->source) &&
	       read_address(ip, v6, false, &ret->destination);
}

static uint64_t number_of(struct nlattr *attr)
{
	uint64_t value = 0;

	if (attr && nla_len(attr) == sizeof(value))
		memcpy(&value, nla_data(attr), sizeof(value));
	return be64toh(value);
}

/* None: nothing was counted. */
static void parse_counters(struct nlattr *attr, struct flow_side *ret)
{
	struct nlattr *tb[CTA_COUNTERS_MAX + 1];

	if (!attr || nla_parse_nested(tb, CTA_COUNTERS_MAX, attr, NULL) < 0)
		return;
	ret->packets = number_of(tb[CTA_COUNTERS_PACKETS]);
	ret->bytes = number_of(tb[CTA_COUNTERS_BYTES]);
}

bool flow_report_parse(const struct nlmsghdr *h, struct flow_report *ret)
{
	struct nlattr *tb[CTA_MAX + 1], *times[CTA_TIMESTAMP_MAX + 1];
	unsigned msg = NFNL_MSG_TYPE(h->nlmsg_type);

	if (NFNL_SUBSYS_ID(h->nlmsg_type) != NFNL_SUBSYS_CTNETLINK ||
	    (msg != IPCTNL_MSG_CT_NEW && msg != IPCTNL_MSG_CT_DELETE) ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
		return false;
	*ret = (struct flow_report){.ended = msg == IPCTNL_MSG_CT_DELETE};
	if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg), tb, CTA_MAX,
			NULL) < 0 ||
	    !parse_side(tb[CTA_TUPLE_ORIG], &ret->original) ||
	    !parse_side(tb[CTA_TUPLE_REPLY], &ret->reply))
		return false;
	parse_counters(tb[CTA_COUNTERS_ORIG], &ret->original);
	parse_counters(tb[CTA_COUNTERS_REPLY], &ret->reply);
	if (tb[CTA_TIMESTAMP] &&
	    nla_parse_nested(times, CTA_TIMESTAMP_MAX, tb[CTA_TIMESTAMP], NULL) == 0) {
		ret->start_ms = (int64_t)(number_of(times[CTA_TIMESTAMP_START]) / NS_PER_MS);
		ret->stop_ms = (int64_t)(number_of(times[CTA_TIMESTAMP_STOP]) / NS_PER_MS);
	}
	ret->tuple = tb[CTA_TUPLE_ORIG];
	ret->id = tb[CTA_ID];
	ret->zone = tb[CTA_ZONE];
	return true;
}

/* ---- packets ---- */

/* Both families have the addresses at a fixed place, and the ports behind the header. */
bool flow_side_of_packet(const unsigned char *data, size_t size, struct flow_side *ret)
{
	bool v6 = size && data[0] >> 4 == 6;
	size_t address = v6 ? 16 : 4, at = v6 ? 8 : 12, header;
	uint16_t length, fragment = 0;

	if (size < (v6 ? 40u : 20u) || (!v6 && data[0] >> 4 != 4))
		return false;
	header = v6 ? 40 : (size_t)(data[0] & 15) * 4;
	*ret = (struct flow_side){.source = {.v6 = v6, .length = v6 ? 128 : 32},
				  .destination = {.v6 = v6, .length = v6 ? 128 : 32},
				  .protocol = data[v6 ? 6 : 9],
				  .packets = 1};
	memcpy(ret->source.address, data + at, address);
	memcpy(ret->destination.address, data + at + address, address);
	memcpy(&length, data + (v6 ? 4 : 2), sizeof(length));
	ret->bytes = (uint64_t)ntohs(length) + (v6 ? 40 : 0);
	if (!v6)
		memcpy(&fragment, data + 6, sizeof(fragment));
	if (has_ports(ret->protocol) && !(ntohs(fragment) & 0x1fff) && size >= header + 4) {
		ret->source_port = (uint16_t)(data[header] << 8 | data[header + 1]);
		ret->destination_port = (uint16_t)(data[header + 2] << 8 | data[header + 3]);
	}
	return true;
}

bool flow_packet_parse(const struct nlmsghdr *h, struct flow_packet *ret)
{
	static struct nla_policy policy[NFULA_MAX + 1] = {
		[NFULA_PREFIX] = {.type = NLA_STRING, .minlen = 1},
	};
	struct nlattr *tb[NFULA_MAX + 1];

	if (h->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)) ||
	    nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg), tb, NFULA_MAX,
			policy) < 0 ||
	    !tb[NFULA_PREFIX] || !tb[NFULA_PAYLOAD])
		return false;
	ret->refusal = (enum flow_refusal)nla_get_string(tb[NFULA_PREFIX])[0];
	return flow_side_of_packet(nla_data(tb[NFULA_PAYLOAD]), (size_t)nla_len(tb[NFULA_PAYLOAD]),
				   &ret->side);
}

uint16_t flow_group(const struct name *n)
{
	return (uint16_t)(0x8000 | ((n->tag ^ n->tag >> 15) & 0x7fff));
}

/* ---- settings ---- */

static const char *const settings[] = {"nf_conntrack_acct", "nf_conntrack_timestamp"};

static int set(const char *name, const char *value, struct err *e)
{
	auto_free char *path = xasprintf("%s/%s", SETTINGS_DIR, name);

	return fs_write_at(AT_FDCWD, path, value, e);
}

/* The names of those that are ours, one text; empty: none. */
static void read_ours(const struct net *net, struct buf *ret)
{
	struct err ignored;

	if (faccessat(net->state.dir_fd, SETTINGS_FILE, F_OK, 0) == 0)
		(void)fs_read(net->state.dir_fd, SETTINGS_FILE, ret, &ignored);
}

static int make_settings(const struct net *net, struct err *e)
{
	auto_buf struct buf ours = BUF_INIT(SETTINGS_MAX);

	read_ours(net, &ours);
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++) {
		auto_free char *path = xasprintf("%s/%s", SETTINGS_DIR, settings[i]);
		auto_buf struct buf value = BUF_INIT(16);

		if (fs_read(AT_FDCWD, path, &value, e) < 0)
			return -e->code;
		if (buf_str(&value)[0] == '0' && !strstr(buf_str(&ours), settings[i]))
			buf_printf(&ours, "%s\n", settings[i]);
	}
	if (ours.size && fs_replace(net->state.dir_fd, SETTINGS_FILE, ours.data, ours.size, 0600,
				    FS_QUICK, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
		if (set(settings[i], "1", e) < 0)
			return -e->code;
	return 0;
}

int flow_restore_settings(struct net *net, struct err *e)
{
	auto_buf struct buf ours = BUF_INIT(SETTINGS_MAX);

	read_ours(net, &ours);
	for (size_t i = 0; i < ARRAY_COUNT(settings); i++)
		if (strstr(buf_str(&ours), settings[i]) && set(settings[i], "0", e) < 0)
			return -e->code;
	if (unlinkat(net->state.dir_fd, SETTINGS_FILE, 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove state of flow logs");
	return 0;
}

/* ---- told ---- */

static void tell(struct net_flows *f, const struct ip_prefix *at, const struct flow_side *side,
		 bool accepted, int64_t first_ms, int64_t last_ms)
{
	const struct net_flow flow = {.at = *at,
				      .source = side->source,
				      .destination = side->destination,
				      .source_port = side->source_port,
				      .destination_port = side->destination_port,
				      .protocol = side->protocol,
				      .accepted = accepted,
				      .packets = side->packets,
				      .bytes = side->bytes,
				      .first_ms = first_ms,
				      .last_ms = last_ms};

	if (side->packets)
		f->o.on_flow(f->o.ctx, &flow);
}

/* A side with the source and destination of the answers to it: as it is seen behind a translation. */
static struct flow_side mirrored(const struct flow_side *counted, const struct flow_side *answers)
{
	struct flow_side s = *counted;

	s.source = answers->destination;
	s.destination = answers->source;
	s.source_port = answers->destination_port;
	s.destination_port = answers->source_port;
	return s;
}

/* At the interface that began it addresses are as in the first packet, at the other as in answers. */
static void tell_connection(struct net_flows *f, const struct flow_report *r)
{
	const struct flow_side *original = &r->original, *reply = &r->reply;
	const struct flow_side back = mirrored(reply, original), there = mirrored(original, reply);
	int64_t stop_ms = r->stop_ms ? r->stop_ms : clock_wall_ms();

	if (f->o.is_logged(f->o.ctx, &original->source)) {
		tell(f, &original->source, original, true, r->start_ms, stop_ms);
		tell(f, &original->source, &back, true, r->start_ms, stop_ms);
	}
	if (f->o.is_logged(f->o.ctx, &reply->source)) {
		tell(f, &reply->source, &there, true, r->start_ms, stop_ms);
		tell(f, &reply->source, reply, true, r->start_ms, stop_ms);
	}
}

/* What may not enter one task's interface was let out of another's. */
static void tell_packet(struct net_flows *f, const struct flow_packet *p)
{
	const struct flow_side *s = &p->side;
	int64_t now_ms = clock_wall_ms();

	if (p->refusal == FLOW_REFUSED_UNTOLD) {
		f->o.on_loss(f->o.ctx);
		return;
	}
	if (f->o.is_logged(f->o.ctx, &s->source))
		tell(f, &s->source, s, p->refusal == FLOW_REFUSED_ENTERING, now_ms, now_ms);
	if (p->refusal == FLOW_REFUSED_ENTERING && f->o.is_logged(f->o.ctx, &s->destination))
		tell(f, &s->destination, s, false, now_ms, now_ms);
}

static void take_message(void *ctx, const struct nlmsghdr *h)
{
	struct net_flows *f = ctx;
	struct flow_report report;
	struct flow_packet packet;

	if (flow_report_parse(h, &report) && report.ended)
		tell_connection(f, &report);
	else if (flow_packet_parse(h, &packet))
		tell_packet(f, &packet);
}

static void take_datagram(const char *data, size_t size, flow_message_fn *on_message, void *ctx)
{
	while (size >= NLMSG_HDRLEN) {
		const struct nlmsghdr *h = (const void *)data;
		size_t step;

		if (h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > size)
			break;
		on_message(ctx, h);
		step = NLMSG_ALIGN(h->nlmsg_len);
		if (step > size)
			break;
		data += step;
		size -= step;
	}
}

int flow_receive(int fd, flow_message_fn *on_message, void *ctx, bool *ret_lost, struct err *e)
{
	_Alignas(struct nlmsghdr) static char data[DATAGRAM_SIZE];

	*ret_lost = false;
	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		struct sockaddr_nl from = {0};
		socklen_t from_size = sizeof(from);
		ssize_t n = recvfrom(fd, data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC,
				     (struct sockaddr *)&from, &from_size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != ENOBUFS)
			return err_sys(e, "read of flows");
		if (n < 0 || (size_t)n > sizeof(data))
			*ret_lost = true;
		else if (from.nl_pid == 0)
			take_datagram(data, (size_t)n, on_message, ctx);
	}
	return 0; /* the rest at the next turn */
}

static int read_socket(struct net_flows *f, int fd, struct err *e)
{
	bool lost;
	int r = flow_receive(fd, take_message, f, &lost, e);

	if (lost)
		f->o.on_loss(f->o.ctx);
	return r;
}

/* ---- open connections ---- */

int net_flows_sample(struct net_flows *f, const struct ip_prefix *addresses, size_t count,
		     struct err *e)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct flow_sample *s;
	bool lost;

	if (f->sample)
		return NET_FLOWS_BUSY;
	if (flow_sample_begin(&f->ask, addresses, count, &s, e) < 0)
		return -e->code;
	if (epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, flow_sample_fd(s), &event) < 0) {
		(void)err_sys(e, "wait for a sample of flows");
		(void)flow_sample_end(s, NULL, NULL, &lost, &(struct err){0});
		return -e->code;
	}
	f->sample = s;
	return 0;
}

static void tell_open(void *ctx, const struct flow_report *r)
{
	tell_connection(ctx, r);
}

int net_flows_wait(struct net_flows *f, struct err *e)
{
	struct flow_sample *s = take_ptr(f->sample);
	bool lost;
	int r;

	if (!s)
		return 0;
	r = flow_sample_end(s, tell_open, f, &lost, e);
	if (lost)
		f->o.on_loss(f->o.ctx);
	if (f->o.on_sampled)
		f->o.on_sampled(f->o.ctx);
	return r;
}

/* If it is over. */
static int end_sample(struct net_flows *f, struct err *e)
{
	uint64_t count;

	if (!f->sample || read(flow_sample_fd(f->sample), &count, sizeof(count)) < 0)
		return 0;
	return net_flows_wait(f, e);
}

int net_flows_read(struct net_flows *f, struct err *e)
{
	if (read_socket(f, f->events.fd, e) < 0 || read_socket(f, f->refusals.fd, e) < 0)
		return -e->code;
	return end_sample(f, e);
}

/* ---- life ---- */

static int join_events(struct net_flows *f, struct err *e)
{
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	const int group = NFNLGRP_CONNTRACK_DESTROY;

	/* A socket without a number is taken for the kernel's own, which hears nothing of itself. */
	if (bind(f->events.fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
	    setsockopt(f->events.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) <
		    0)
		return err_sys(e, "listen to ends of connections");
	return 0;
}

int flow_join(struct netlink *nl, uint16_t group, uint32_t packets, struct err *e)
{
	const struct nfgenmsg nf = {.version = NFNETLINK_V0, .res_id = htons(group)};
	const struct nfulnl_msg_config_cmd bind = {.command = NFULNL_CFG_CMD_BIND};
	const struct nfulnl_msg_config_mode mode = {.copy_range = htonl(FLOW_PACKET_BYTES),
						    .copy_mode = NFULNL_COPY_PACKET};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG, 0, &nf, sizeof(nf),
		  "listen to packets of group %u", group);
	batch_put(&b, NFULA_CFG_CMD, &bind, sizeof(bind));
	batch_put(&b, NFULA_CFG_MODE, &mode, sizeof(mode));
	batch_be32(&b, NFULA_CFG_NLBUFSIZ, NFLOG_BUFFER);
	batch_be32(&b, NFULA_CFG_TIMEOUT, NFLOG_TIMEOUT);
	batch_be32(&b, NFULA_CFG_QTHRESH, packets);
	return netlink_commit(nl, &b, 0, e);
}

static int poll_sockets(struct net_flows *f, struct err *e)
{
	struct epoll_event event = {.events = EPOLLIN};

	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll_fd < 0 || epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->events.fd, &event) < 0 ||
	    epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, f->refusals.fd, &event) < 0)
		return err_sys(e, "wait for flows");
	return 0;
}

static int open_flows(struct net_flows *f, struct err *e)
{
	if (netlink_open(NETLINK_NETFILTER, &f->events, e) < 0 ||
	    netlink_open(NETLINK_NETFILTER, &f->refusals, e) < 0 ||
	    netlink_open(NETLINK_NETFILTER, &f->ask, e) < 0)
		return -e->code;
	/* Listening first: what the kernel has no listener for it may not tell at all. */
	if (join_events(f, e) < 0 || make_settings(f->net, e) < 0 ||
	    flow_join(&f->refusals, flow_group(&f->net->name), NFLOG_PACKETS, e) < 0)
		return -e->code;
	return poll_sockets(f, e);
}

int net_flows_open(struct net *net, const struct net_flow_options *options, struct net_flows **ret,
		   struct err *e)
{
	struct net_flows *f = xcalloc(1, sizeof(*f));

	assert(options->is_logged && options->on_flow && options->on_loss);

	f->net = net;
	f->o = *options;
	f->events = f->refusals = f->ask = (struct netlink)NETLINK_NONE;
	f->epoll_fd = -1;
	if (open_flows(f, e) < 0) {
		net_flows_close(f);
		return err_wrap(e, "flow logs");
	}
	net->flows = f;
	net_shortcut_forget(net);
	*ret = f;
	return 0;
}

bool net_flows_has(const struct net_flows *f, const struct ip_prefix *address)
{
	return f->o.is_logged(f->o.ctx, address);
}

int net_flows_fd(const struct net_flows *f)
{
	return f->epoll_fd;
}

void net_flows_close(struct net_flows *f)
{
	bool lost;

	if (!f)
		return;
	if (f->sample)
		(void)flow_sample_end(f->sample, NULL, NULL, &lost, &(struct err){0});
	f->net->flows = NULL;
	close_fd(&f->epoll_fd);
	netlink_close(&f->events);
	netlink_close(&f->refusals);
	netlink_close(&f->ask);
	free(f);
}

int net_flows_end(struct net_flows *own_f, struct err *e)
{
	struct net *net = own_f->net;

	net_flows_close(own_f);
	return flow_restore_settings(net, e);
}
