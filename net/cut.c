/* net/cut.c - connections that changed rules do not allow any more
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel asks the rules for the first packet of a connection alone.  Where a
 * change of rules asks for it, each connection of the group's members here is put
 * to the new rules, in both directions that the kernel would have asked for, and
 * forgotten if they refuse it.  What comes of it then is a new connection that
 * does not begin with a SYN, which no rule allows (net/firewall.c).
 *
 * What the host itself opened to its tasks was never asked for, and has no mark.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>

#include "base/auto.h"
#include "net/internal.h"

static struct ip_prefix prefix_of(const struct in6_addr *a, uint8_t family)
{
	struct ip_prefix p = {.v6 = family == AF_INET6, .length = family == AF_INET6 ? 128 : 32};

	if (p.v6)
		memcpy(p.address, a, 16);
	else
		memcpy(p.address, a->s6_addr + 12, 4);
	return p;
}

static bool is_refused(const struct policy *p, const struct flow *f)
{
	const struct ip_prefix source = prefix_of(&f->source, f->family),
			       target = prefix_of(&f->reply_source, f->family);

	if (policy_is_cut(p, &source) &&
	    !policy_allows(p, &source, &target, true, f->protocol, f->port))
		return true;
	return f->mark && policy_is_cut(p, &target) &&
	       !policy_allows(p, &target, &source, false, f->protocol, f->port);
}

struct walk {
	const struct policy *policy;
	struct batch deletes;
};

static int see_flow(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct walk *w = arg;
	struct flow f;

	(void)e;
	if (flow_parse(h, &f) && is_refused(w->policy, &f))
		flow_delete(&w->deletes, &f);
	return 0;
}

static void see_again(void *arg)
{
	(void)arg; /* a flow that is deleted twice is passed over */
}

int net_cut(struct net *net, struct err *e)
{
	const struct nfgenmsg nf = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	struct walk w = {.policy = &net->policy, .deletes = BATCH_INIT};
	const struct netlink_dump dump = {see_flow, see_again, &w};
	auto_batch struct batch ask = BATCH_INIT;
	int r;

	if (!policy_has_cuts(&net->policy))
		return 0;
	batch_add(&ask, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, 0, &nf, sizeof(nf),
		  "list flows");
	r = netlink_dump(&net->netfilter, &ask, &dump, e);
	if (r == 0)
		r = netlink_commit(&net->netfilter, &w.deletes, ENOENT, e);
	batch_done(&w.deletes);
	shortcut_forget(&net->shortcut, 0);
	if (r < 0)
		return err_wrap(e, "cut connections");
	policy_forget_cuts(&net->policy);
	return 0;
}
