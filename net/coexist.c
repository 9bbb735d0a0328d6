/* net/coexist.c - other firewalls on this host
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/coexist.h"

#include <errno.h>
#include <fcntl.h>
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

/* ---- nftables, and so iptables-nft ---- */

struct look {
	const struct name *name;
	struct buf *ret;
	size_t size_before;
};

static int see_chain(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct look *look = arg;
	struct nf_chain_info c;

	(void)e;
	if (!nf_chain_parse(h, &c) || c.hook != NF_INET_FORWARD || c.policy != NF_DROP)
		return 0;
	if ((c.family != NFPROTO_INET && c.family != NFPROTO_IPV4) ||
	    str_eq(c.table, look->name->table))
		return 0;
	buf_printf(look->ret,
		   "chain %.64s of nftables table %s %.64s drops what it does not accept: tasks "
		   "cannot be reached from outside until it accepts links %s*\n",
		   c.name, c.family == NFPROTO_INET ? "inet" : "ip", c.table, look->name->prefix);
	return 0;
}

static void look_again(void *arg)
{
	struct look *look = arg;

	look->ret->size = look->size_before;
}

static int see_chains(struct netlink *nl, const struct name *name, struct buf *ret, struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};
	struct look look = {name, ret, ret->size};
	const struct netlink_dump dump = {see_chain, look_again, &look};
	auto_batch struct batch b = BATCH_INIT;

	batch_add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, 0, &nf, sizeof(nf),
		  "list chains");
	return netlink_dump(nl, &b, &dump, e);
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
	if (see_chains(nl, name, ret, e) < 0)
		return -e->code;
	if (legacy_policy() == LEGACY_VERDICT_DROP)
		buf_printf(ret,
			   "chain FORWARD of iptables-legacy drops what it does not accept: tasks "
			   "cannot be reached from outside until it accepts links %s+\n",
			   name->prefix);
	return 0;
}
