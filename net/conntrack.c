/* net/conntrack.c - connections that the kernel remembers
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/conntrack.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"

#define FLOWS_PER_PASS 8192
#define PASSES_MAX     32
#define WALK_PAUSE_MS  500

static void flow_list_done(struct flow_list *l)
{
	free(l->addresses);
	free(l->udp_ports);
	*l = (struct flow_list){0};
}

/* ---- one flow ---- */

static struct in6_addr mapped(const void *v4)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	memcpy(a.s6_addr + 12, v4, 4);
	return a;
}

static bool take_address(const struct nlattr *v4, const struct nlattr *v6, struct in6_addr *ret)
{
	if (v4)
		*ret = mapped(nla_data(v4));
	else if (v6)
		memcpy(ret, nla_data(v6), sizeof(*ret));
	return v4 || v6;
}

static bool parse_tuple(struct nlattr *attr, struct in6_addr *ret_source,
			struct in6_addr *ret_destination, struct nlattr *proto[CTA_PROTO_MAX + 1])
{
	static struct nla_policy ip_policy[CTA_IP_MAX + 1] = {
		[CTA_IP_V4_SRC] = {.type = NLA_U32},
		[CTA_IP_V4_DST] = {.type = NLA_U32},
		[CTA_IP_V6_SRC] = {.minlen = sizeof(struct in6_addr)},
		[CTA_IP_V6_DST] = {.minlen = sizeof(struct in6_addr)},
	};
	static struct nla_policy proto_policy[CTA_PROTO_MAX + 1] = {
		[CTA_PROTO_NUM] = {.type = NLA_U8},
		[CTA_PROTO_SRC_PORT] = {.type = NLA_U16},
		[CTA_PROTO_DST_PORT] = {.type = NLA_U16},
		[CTA_PROTO_ICMP_TYPE] = {.type = NLA_U8},
		[CTA_PROTO_ICMP_CODE] = {.type = NLA_U8},
		[CTA_PROTO_ICMPV6_TYPE] = {.type = NLA_U8},
		[CTA_PROTO_ICMPV6_CODE] = {.type = NLA_U8},
	};
	struct nlattr *tb[CTA_TUPLE_MAX + 1], *ip[CTA_IP_MAX + 1];

	return nla_parse_nested(tb, CTA_TUPLE_MAX, attr, NULL) == 0 && tb[CTA_TUPLE_IP] &&
	       tb[CTA_TUPLE_PROTO] &&
	       nla_parse_nested(ip, CTA_IP_MAX, tb[CTA_TUPLE_IP], ip_policy) == 0 &&
	       nla_parse_nested(proto, CTA_PROTO_MAX, tb[CTA_TUPLE_PROTO], proto_policy) == 0 &&
	       take_address(ip[CTA_IP_V4_SRC], ip[CTA_IP_V6_SRC], ret_source) &&
	       take_address(ip[CTA_IP_V4_DST], ip[CTA_IP_V6_DST], ret_destination) &&
	       proto[CTA_PROTO_NUM];
}

static uint16_t type_and_code(const struct nlattr *type, const struct nlattr *code)
{
	return type && code ? (uint16_t)(nla_get_u8(type) << 8 | nla_get_u8(code)) : 0;
}

bool flow_parse(const struct nlmsghdr *h, struct flow *ret)
{
	struct nlattr *tb[CTA_MAX + 1], *proto[CTA_PROTO_MAX + 1];
	struct in6_addr reply_source, reply_destination;

	if (h->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
		return false;
	if (nlmsg_parse((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg), tb, CTA_MAX,
			NULL) < 0 ||
	    !tb[CTA_TUPLE_ORIG] || !tb[CTA_TUPLE_REPLY])
		return false;
	if (!parse_tuple(tb[CTA_TUPLE_REPLY], &reply_source, &reply_destination, proto))
		return false;
	*ret = (struct flow){.reply_source = reply_source,
			     .family = ((struct nfgenmsg *)nlmsg_data(h))->nfgen_family,
			     .tuple = tb[CTA_TUPLE_ORIG],
			     .id = tb[CTA_ID],
			     .zone = tb[CTA_ZONE]};
	if (proto[CTA_PROTO_SRC_PORT])
		ret->port = ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT]));
	if (tb[CTA_MARK] && nla_len(tb[CTA_MARK]) == sizeof(uint32_t))
		ret->mark = ntohl(nla_get_u32(tb[CTA_MARK]));
	if (!parse_tuple(tb[CTA_TUPLE_ORIG], &ret->source, &ret->destination, proto))
		return false;
	ret->protocol = nla_get_u8(proto[CTA_PROTO_NUM]);
	if (proto[CTA_PROTO_DST_PORT])
		ret->destination_port = ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT]));
	if (proto[CTA_PROTO_ICMP_TYPE] || proto[CTA_PROTO_ICMPV6_TYPE])
		ret->port = proto[CTA_PROTO_ICMP_TYPE]
				    ? type_and_code(proto[CTA_PROTO_ICMP_TYPE],
						    proto[CTA_PROTO_ICMP_CODE])
				    : type_and_code(proto[CTA_PROTO_ICMPV6_TYPE],
						    proto[CTA_PROTO_ICMPV6_CODE]);
	return true;
}

/* ---- one pass ---- */

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct in6_addr));
}

static int compare_u16(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static bool has_address(const struct flow_list *l, const struct in6_addr *address)
{
	return l->address_count && bsearch(address, l->addresses, l->address_count,
					   sizeof(*address), compare_addresses);
}

static bool has_udp_port(const struct flow_list *l, uint16_t port)
{
	return l->port_count &&
	       bsearch(&port, l->udp_ports, l->port_count, sizeof(port), compare_u16);
}

/*
 * Is it to be forgotten?  A flow to a UDP port whose answer comes from the same
 * address as it was sent to was not led to a task.
 */
static bool is_wanted(const struct flow_list *l, const struct flow *f)
{
	return has_address(l, &f->source) || has_address(l, &f->reply_source) ||
	       (f->protocol == IPPROTO_UDP &&
		compare_addresses(&f->reply_source, &f->destination) == 0 &&
		has_udp_port(l, f->destination_port));
}

static void put_copy(struct batch *b, struct nlattr *attr)
{
	if (attr)
		batch_put(b, attr->nla_type, nla_data(attr), (size_t)nla_len(attr));
}

void flow_delete(struct batch *b, const struct flow *f)
{
	const struct nfgenmsg nf = {.nfgen_family = f->family, .version = NFNETLINK_V0};

	batch_add(b, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, &nf, sizeof(nf),
		  "forget a flow");
	put_copy(b, f->tuple);
	put_copy(b, f->id);
	put_copy(b, f->zone);
}

struct pass {
	const struct flow_list *wanted;
	struct batch *deletes;
};

static int see_flow(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct pass *pass = arg;
	struct flow f;

	(void)e;
	if (pass->deletes->count < FLOWS_PER_PASS && flow_parse(h, &f) &&
	    is_wanted(pass->wanted, &f))
		flow_delete(pass->deletes, &f);
	return 0;
}

static void see_again(void *arg)
{
	(void)arg; /* a flow that is deleted twice is passed over */
}

/* One walk; *ret_more: there was more to delete than one pass takes. */
static int forget_some(struct netlink *nl, const struct flow_list *l, bool *ret_more, struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	auto_batch struct batch ask = BATCH_INIT, deletes = BATCH_INIT;
	struct pass pass = {l, &deletes};
	const struct netlink_dump dump = {see_flow, see_again, &pass};

	batch_add(&ask, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, 0, &nf, sizeof(nf),
		  "list flows");
	if (netlink_dump(nl, &ask, &dump, e) < 0)
		return -e->code;
	*ret_more = deletes.count == FLOWS_PER_PASS;
	return netlink_commit(nl, &deletes, ENOENT, e);
}

static int forget(struct netlink *nl, struct flow_list *l, struct err *e)
{
	bool more = true;

	if (l->address_count)
		qsort(l->addresses, l->address_count, sizeof(*l->addresses), compare_addresses);
	if (l->port_count)
		qsort(l->udp_ports, l->port_count, sizeof(*l->udp_ports), compare_u16);
	for (int i = 0; more && i < PASSES_MAX; i++)
		if (forget_some(nl, l, &more, e) < 0)
			return -e->code;
	return 0;
}

/* ---- the thread ---- */

/* Context: the lock is held. */
static void wait_a_while(struct conntrack *c)
{
	const struct timespec until = {.tv_sec = c->rested_ms / 1000,
				       .tv_nsec = c->rested_ms % 1000 * NS_PER_MS};

	while (c->wanted.address_count && !c->wanted.port_count && !c->ending &&
	       clock_mono_ms() < c->rested_ms)
		(void)pthread_cond_timedwait(&c->hurry, &c->lock, &until);
}

/* What is to be done now; false, and the thread is over, when there is nothing. */
static bool take_wanted(struct conntrack *c, struct flow_list *ret)
{
	bool some;

	(void)pthread_mutex_lock(&c->lock);
	wait_a_while(c);
	c->rested_ms = clock_mono_ms() + WALK_PAUSE_MS;
	*ret = c->wanted;
	c->wanted = (struct flow_list){0};
	some = ret->address_count || ret->port_count;
	c->running = some;
	(void)pthread_mutex_unlock(&c->lock);
	return some;
}

static void *run(void *arg)
{
	struct conntrack *c = arg;
	struct flow_list list;

	while (take_wanted(c, &list)) {
		struct err e = {0};
		int r = forget(&c->nl, &list, &e);

		flow_list_done(&list);
		if (r < 0) {
			(void)pthread_mutex_lock(&c->lock);
			c->why = e;
			(void)pthread_mutex_unlock(&c->lock);
		}
	}
	return NULL;
}

/* Context: the lock is held, and 'wanted' is not empty. */
static void see_to_it(struct conntrack *c)
{
	int r;

	if (c->running) {
		(void)pthread_cond_signal(&c->hurry);
		return;
	}
	if (c->started)
		(void)pthread_join(c->thread, NULL); /* it has ended, but for its last steps */
	r = pthread_create(&c->thread, NULL, run, c);
	c->started = c->running = r == 0;
	if (r) {
		errno = r;
		(void)err_sys(&c->why, "thread to forget connections");
	}
}

int conntrack_init(struct conntrack *c, struct err *e)
{
	pthread_condattr_t monotonic;

	*c = (struct conntrack){.lock = PTHREAD_MUTEX_INITIALIZER, .nl = NETLINK_NONE};
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->hurry, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	return netlink_open(NETLINK_NETFILTER, &c->nl, e);
}

void conntrack_done(struct conntrack *c)
{
	(void)pthread_mutex_lock(&c->lock);
	c->ending = true;
	(void)pthread_cond_signal(&c->hurry);
	(void)pthread_mutex_unlock(&c->lock);
	if (c->started)
		(void)pthread_join(c->thread, NULL);
	c->started = false;
	flow_list_done(&c->wanted);
	netlink_close(&c->nl);
}

static void want(struct flow_list *w, const struct in6_addr *address)
{
	w->addresses = xgrow(w->addresses, w->address_count, &w->address_capacity,
			     sizeof(*w->addresses));
	w->addresses[w->address_count++] = *address;
}

void conntrack_forget_endpoint(struct conntrack *c, const struct endpoint *ep)
{
	const struct ip_prefix bridge = ip_of_v4(ep->address, 32);
	const struct in6_addr v4 = mapped(ep->own[0].length ? ep->own[0].address : bridge.address);
	struct in6_addr v6;

	if (!ep->address)
		return;
	memcpy(&v6, ep->own[1].address, sizeof(v6));
	(void)pthread_mutex_lock(&c->lock);
	want(&c->wanted, &v4);
	if (ep->own[1].length)
		want(&c->wanted, &v6);
	see_to_it(c);
	(void)pthread_mutex_unlock(&c->lock);
}

void conntrack_forget_udp_ports(struct conntrack *c, const struct endpoint *ep)
{
	struct flow_list *w = &c->wanted;

	(void)pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < ep->port_count; i++) {
		if (ep->ports[i].protocol != NET_UDP)
			continue;
		for (uint32_t n = 0; n < ep->ports[i].count; n++) {
			w->udp_ports = xgrow(w->udp_ports, w->port_count, &w->port_capacity,
					     sizeof(*w->udp_ports));
			w->udp_ports[w->port_count++] = (uint16_t)(ep->ports[i].host_port + n);
		}
	}
	if (w->port_count)
		see_to_it(c);
	(void)pthread_mutex_unlock(&c->lock);
}

bool conntrack_failed(struct conntrack *c, struct err *ret)
{
	(void)pthread_mutex_lock(&c->lock);
	*ret = c->why;
	(void)pthread_mutex_unlock(&c->lock);
	return ret->code != 0;
}
