/* net/coexist.c - other firewalls on this host
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/coexist.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/nf.h"

#define LEGACY_TABLES      "/proc/net/ip_tables_names"
#define LEGACY_SIZE_MAX    (64u << 20)
#define LEGACY_TABLES_SIZE 4096
/* A verdict as iptables writes it: a negative number. */
#define LEGACY_VERDICT_DROP (-NF_DROP - 1)

/* ---- chains at the forward hook ---- */

static const struct {
	int family;
	const char *table, *chain;
} tools[] = {
	{NFPROTO_IPV4, "filter", "FORWARD"},
	{NFPROTO_IPV6, "filter", "FORWARD"},
	{NFPROTO_INET, "firewalld", "filter_FORWARD"},
	{NFPROTO_IPV4, "firewalld", "filter_FORWARD"},
	{NFPROTO_IPV6, "firewalld", "filter_FORWARD"},
};

enum { FROM_TASKS, TO_TASKS, WAYS };
static const uint32_t way_keys[WAYS] = {NFT_META_IIFNAME, NFT_META_OIFNAME};

/* What the kernel calls a table or a chain has up to NFT_NAME_MAXLEN bytes with its NUL. */
struct foreign {
	int family;
	char table[NFT_NAME_MAXLEN], chain[NFT_NAME_MAXLEN];
	bool of_tool;           /* ours to change */
	bool closed;            /* it drops or rejects what it does not know */
	uint64_t handles[WAYS]; /* of the rules that let tasks pass; 0: there is none */
};

struct foreign_list {
	const struct name *name;
	struct foreign *items;
	size_t count, capacity;
};

static void foreign_list_done(struct foreign_list *l)
{
	free(l->items);
}
#define auto_foreign __attribute__((cleanup(foreign_list_done)))

bool coexist_minds(int family, const char *table)
{
	for (size_t i = 0; i < ARRAY_COUNT(tools); i++)
		if (tools[i].family == family && str_eq(tools[i].table, table))
			return true;
	return false;
}

static bool is_of_tool(const struct nf_chain_info *c)
{
	for (size_t i = 0; i < ARRAY_COUNT(tools); i++)
		if (tools[i].family == c->family && str_eq(tools[i].table, c->table) &&
		    str_eq(tools[i].chain, c->name))
			return true;
	return false;
}

static int see_chain(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct foreign_list *l = arg;
	struct nf_chain_info c;
	struct foreign *f;

	(void)e;
	if (!nf_chain_parse(h, &c) || c.hook != NF_INET_FORWARD ||
	    (c.family != NFPROTO_INET && c.family != NFPROTO_IPV4 && c.family != NFPROTO_IPV6) ||
	    str_eq(c.table, l->name->table))
		return 0;
	l->items = xgrow(l->items, l->count, &l->capacity, sizeof(*l->items));
	f = &l->items[l->count++];
	*f = (struct foreign){
		.family = c.family, .of_tool = is_of_tool(&c), .closed = c.policy == NF_DROP};
	(void)snprintf(f->table, sizeof(f->table), "%s", c.table);
	(void)snprintf(f->chain, sizeof(f->chain), "%s", c.name);
	return 0;
}

static void no_chains(void *arg)
{
	struct foreign_list *l = arg;

	l->count = 0;
}

/* ---- their rules ---- */

/* What a rule says, as far as it matters here. */
struct meaning {
	const char *prefix;
	uint32_t key;     /* the name of a link that it looks at, NFT_META_... */
	bool is_prefix;   /* and that it begins as those of ours do */
	bool conditional; /* it is not for all packets */
	bool strange;     /* there is more in it */
	bool accepts, rejects;
};

static bool attributes_of(struct nlattr *data, struct nlattr **tb, int max)
{
	return data && nla_parse_nested(tb, max, data, NULL) == 0;
}

static uint32_t number_of(struct nlattr *attr)
{
	return attr && nla_len(attr) == sizeof(uint32_t) ? ntohl(nla_get_u32(attr)) : UINT32_MAX;
}

static void read_meta(struct nlattr *data, struct meaning *m)
{
	struct nlattr *tb[NFTA_META_MAX + 1];
	uint32_t key = attributes_of(data, tb, NFTA_META_MAX) ? number_of(tb[NFTA_META_KEY])
							      : UINT32_MAX;

	m->conditional = true;
	m->strange |= m->key != 0 || (key != NFT_META_IIFNAME && key != NFT_META_OIFNAME);
	m->key = key;
}

static void read_cmp(struct nlattr *data, struct meaning *m)
{
	struct nlattr *tb[NFTA_CMP_MAX + 1], *value[NFTA_DATA_MAX + 1];
	size_t len = strlen(m->prefix);

	m->conditional = true;
	m->is_prefix = attributes_of(data, tb, NFTA_CMP_MAX) &&
		       number_of(tb[NFTA_CMP_OP]) == NFT_CMP_EQ &&
		       attributes_of(tb[NFTA_CMP_DATA], value, NFTA_DATA_MAX) &&
		       value[NFTA_DATA_VALUE] && (size_t)nla_len(value[NFTA_DATA_VALUE]) == len &&
		       memcmp(nla_data(value[NFTA_DATA_VALUE]), m->prefix, len) == 0;
	m->strange |= !m->is_prefix;
}

static void read_verdict(struct nlattr *data, struct meaning *m)
{
	struct nlattr *tb[NFTA_IMMEDIATE_MAX + 1], *value[NFTA_DATA_MAX + 1],
		*verdict[NFTA_VERDICT_MAX + 1];
	uint32_t code = UINT32_MAX;

	if (attributes_of(data, tb, NFTA_IMMEDIATE_MAX) &&
	    attributes_of(tb[NFTA_IMMEDIATE_DATA], value, NFTA_DATA_MAX) &&
	    attributes_of(value[NFTA_DATA_VERDICT], verdict, NFTA_VERDICT_MAX))
		code = number_of(verdict[NFTA_VERDICT_CODE]);
	m->accepts |= code == NF_ACCEPT;
	m->rejects |= code == NF_DROP;
	m->strange |= code != NF_ACCEPT && code != NF_DROP;
}

/* Parts of iptables that nf_tables carries as they are: NFTA_MATCH_NAME is NFTA_TARGET_NAME. */
static bool is_called(struct nlattr *data, const char *name)
{
	struct nlattr *tb[NFTA_TARGET_MAX + 1];

	return attributes_of(data, tb, NFTA_TARGET_MAX) && tb[NFTA_TARGET_NAME] &&
	       nla_len(tb[NFTA_TARGET_NAME]) == (int)strlen(name) + 1 &&
	       memcmp(nla_data(tb[NFTA_TARGET_NAME]), name, strlen(name) + 1) == 0;
}

static void read_target(struct nlattr *data, struct meaning *m)
{
	m->rejects |= is_called(data, "REJECT");
	m->strange = true;
}

static void read_match(struct nlattr *data, struct meaning *m)
{
	bool comment = is_called(data, "comment");

	m->conditional |= !comment;
	m->strange |= !comment;
}

static void read_reject(struct nlattr *data, struct meaning *m)
{
	(void)data;
	m->rejects = true;
}

static void pass_over(struct nlattr *data, struct meaning *m)
{
	(void)data;
	(void)m;
}

static const struct {
	const char *name;
	void (*read)(struct nlattr *data, struct meaning *m);
} readers[] = {
	{"meta", read_meta},     {"cmp", read_cmp},     {"immediate", read_verdict},
	{"target", read_target}, {"match", read_match}, {"reject", read_reject},
	{"counter", pass_over},  {"log", pass_over},
};

static void read_expression(const struct nf_expression *x, struct meaning *m)
{
	for (size_t i = 0; i < ARRAY_COUNT(readers); i++) {
		if (strcmp(readers[i].name, x->name) != 0)
			continue;
		readers[i].read(x->data, m);
		return;
	}
	m->conditional = m->strange = true;
}

struct rules_look {
	const struct name *name;
	struct foreign *foreign;
	bool closed_before;
};

static int see_rule(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct rules_look *look = arg;
	struct meaning m = {.prefix = look->name->prefix};
	struct nf_rule_info rule;
	struct nlattr *item;
	int rest;

	(void)e;
	if (!nf_rule_parse(h, &rule) || !rule.expressions)
		return 0;
	nla_for_each_nested(item, rule.expressions, rest)
	{
		struct nf_expression x;

		if (nf_expression_parse(item, &x))
			read_expression(&x, &m);
		else
			m.conditional = m.strange = true;
	}
	for (int way = 0; way < WAYS; way++)
		if (m.accepts && m.is_prefix && !m.strange && m.key == way_keys[way])
			look->foreign->handles[way] = rule.handle;
	look->foreign->closed |= m.rejects && !m.conditional;
	return 0;
}

static void no_rules(void *arg)
{
	struct rules_look *look = arg;

	memset(look->foreign->handles, 0, sizeof(look->foreign->handles));
	look->foreign->closed = look->closed_before;
}

static struct nf_rule_place place_of(const struct foreign *f)
{
	return (struct nf_rule_place){.family = f->family, .table = f->table, .chain = f->chain};
}

static int look_around(struct netlink *nl, const struct name *name, struct foreign_list *ret,
		       struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};
	const struct netlink_dump chains = {see_chain, no_chains, ret};
	auto_batch struct batch b = BATCH_INIT;

	ret->name = name;
	batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, 0, &nf, sizeof(nf),
		  "list chains");
	if (netlink_dump(nl, &b, &chains, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ret->count; i++) {
		struct foreign *f = &ret->items[i];
		const struct nf_rule_place place = place_of(f);
		struct rules_look look = {name, f, f->closed};
		const struct netlink_dump rules = {see_rule, no_rules, &look};

		nf_rules_ask(&b, &place);
		/* ENOENT: it went meanwhile. */
		if (netlink_dump(nl, &b, &rules, e) < 0 && e->code != ENOENT)
			return -e->code;
	}
	return 0;
}

/* ---- ours among them ---- */

static void insert(struct batch *b, const struct foreign *f, const char *prefix, uint32_t key)
{
	const struct nf_rule_place place = place_of(f);
	struct nf_rule r;

	nf_rule_insert(&r, b, &place);
	nf_meta(&r, key, REG_A);
	nf_compare(&r, NFT_CMP_EQ, REG_A, prefix, strlen(prefix));
	nf_verdict(&r, NF_ACCEPT);
	nf_rule_end(&r);
}

/* Let tasks pass where it is wanted, and take the rules where they are there without need. */
static int settle(struct netlink *nl, const struct name *name, bool wanted, struct err *e)
{
	auto_foreign struct foreign_list list = {0};
	auto_batch struct batch b = BATCH_INIT;

	if (look_around(nl, name, &list, e) < 0)
		return -e->code;
	for (size_t i = 0; i < list.count; i++) {
		const struct foreign *f = &list.items[i];
		struct nf_rule_place place = place_of(f);

		for (int way = 0; f->of_tool && way < WAYS; way++) {
			place.handle = f->handles[way];
			if (wanted && f->closed && !place.handle)
				insert(&b, f, name->prefix, way_keys[way]);
			else if (place.handle && !(wanted && f->closed))
				nf_rule_delete(&b, &place);
		}
		/* ENOENT: the table went meanwhile; each has a transaction of its own. */
		if (netlink_commit(nl, &b, ENOENT, e) < 0)
			return -e->code;
	}
	return 0;
}

int coexist_settle(struct netlink *nl, const struct name *name, struct err *e)
{
	return settle(nl, name, true, e);
}

int coexist_leave(struct netlink *nl, const struct name *name, struct err *e)
{
	return settle(nl, name, false, e);
}

/* ---- what is said ---- */

static int say_chains(struct netlink *nl, const struct name *name, struct buf *ret, struct err *e)
{
	auto_foreign struct foreign_list list = {0};

	if (look_around(nl, name, &list, e) < 0)
		return -e->code;
	for (size_t i = 0; i < list.count; i++) {
		const struct foreign *f = &list.items[i];

		if (!f->closed || (f->handles[FROM_TASKS] && f->handles[TO_TASKS]))
			continue;
		buf_printf(ret,
			   "chain %.64s of nftables table %s %.64s drops what it does not accept: "
			   "tasks cannot be reached from outside until it accepts links %s*\n",
			   f->chain,
			   f->family == NFPROTO_INET   ? "inet"
			   : f->family == NFPROTO_IPV4 ? "ip"
						       : "ip6",
			   f->table, name->prefix);
	}
	return 0;
}

/* ---- iptables-legacy ---- */

/* The verdict of the rule at 'offset', which is a chain's policy; 0 when it is none. */
static int policy_at(const struct ipt_get_entries *entries, uint32_t offset)
{
	const struct ipt_entry *rule;
	const struct xt_standard_target *target;

	if (offset > entries->size || entries->size - offset < sizeof(*rule))
		return 0;
	rule = (const void *)((const char *)entries->entrytable + offset);
	if (rule->target_offset > entries->size - offset ||
	    entries->size - offset - rule->target_offset < sizeof(*target))
		return 0;
	target = (const void *)((const char *)rule + rule->target_offset);
	return target->target.u.user.name[0] ? 0 : target->verdict;
}

/* The policy of FORWARD in the legacy filter table; 0: there is no such table. */
static int legacy_policy(void)
{
	auto_buf struct buf names = BUF_INIT(LEGACY_TABLES_SIZE);
	auto_free struct ipt_get_entries *entries = NULL;
	auto_close int fd = -1;
	struct ipt_getinfo info = {.name = "filter"};
	socklen_t size = sizeof(info);
	struct err e;

	/* Asking for the table would make it. */
	if (fs_read(AT_FDCWD, LEGACY_TABLES, &names, &e) < 0 || !strstr(buf_str(&names), "filter"))
		return 0;
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0 || getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &size) < 0 ||
	    info.size > LEGACY_SIZE_MAX)
		return 0;

	size = (socklen_t)(sizeof(*entries) + info.size);
	entries = xcalloc(1, size);
	memcpy(entries->name, info.name, sizeof(entries->name));
	entries->size = info.size;
	if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, entries, &size) < 0)
		return 0;
	return policy_at(entries, info.underflow[NF_INET_FORWARD]);
}

int coexist_warnings(struct netlink *nl, const struct name *name, struct buf *ret, struct err *e)
{
	if (say_chains(nl, name, ret, e) < 0)
		return -e->code;
	if (legacy_policy() == LEGACY_VERDICT_DROP)
		buf_printf(
			ret,
			"chain FORWARD of iptables-legacy drops what it does not accept: tasks "
			"cannot be reached from outside until it accepts links %s+: iptables-legacy "
			"-I FORWARD -i %s+ -j ACCEPT; iptables-legacy -I FORWARD -o %s+ -j ACCEPT\n",
			name->prefix, name->prefix, name->prefix);
	return 0;
}
