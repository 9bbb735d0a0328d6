/* net/flow_sample.c - what open connections have counted, by a walk over all of them
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/flow_sample.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"

#define ASKS_PER_BATCH 512
#define ASKS_BYTES_MAX (128u << 20)
#define OPEN_FLOWS_MAX 262144 /* looked at in one sample */

struct flow_sample {
	struct netlink *nl;          /* borrowed */
	struct ip_prefix *addresses; /* sorted */
	size_t address_count;
	struct flow_report *reports; /* without what names them */
	size_t count, capacity, seen;
	struct batch asks;
	bool lost;
	int result;
	struct err why;
	pthread_t thread;
	int fd;
};

static int compare(const void *a, const void *b)
{
	const struct ip_prefix *x = a, *y = b;

	if (x->v6 != y->v6)
		return x->v6 ? 1 : -1;
	return memcmp(x->address, y->address, x->v6 ? 16 : 4);
}

static bool is_logged(const struct flow_sample *s, const struct ip_prefix *address)
{
	return s->address_count &&
	       bsearch(address, s->addresses, s->address_count, sizeof(*address), compare);
}

static void put_copy(struct batch *b, struct nlattr *attr)
{
	if (attr)
		batch_put(b, attr->nla_type, nla_data(attr), (size_t)nla_len(attr));
}

static int see_open(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct nfgenmsg nf = {.version = NFNETLINK_V0};
	struct flow_sample *s = arg;
	struct flow_report r;

	(void)e;
	if (!flow_report_parse(h, &r) || r.original.packets + r.reply.packets == 0 ||
	    (!is_logged(s, &r.original.source) && !is_logged(s, &r.reply.source)))
		return 0;
	if (s->seen++ >= OPEN_FLOWS_MAX) {
		s->lost = true;
		return 0;
	}
	nf.nfgen_family = r.original.source.v6 ? AF_INET6 : AF_INET;
	batch_add(&s->asks, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_CTRZERO, 0, &nf,
		  sizeof(nf), "count a flow");
	put_copy(&s->asks, r.tuple);
	put_copy(&s->asks, r.id);
	put_copy(&s->asks, r.zone);
	return 0;
}

static void see_again(void *arg)
{
	(void)arg; /* one that is asked for twice has counted nothing since */
}

static int see_counted(const struct nlmsghdr *h, void *arg, struct err *e)
{
	struct flow_sample *s = arg;
	struct flow_report r;

	(void)e;
	if (!flow_report_parse(h, &r))
		return 0;
	r.tuple = r.id = r.zone = NULL;
	s->reports = xgrow(s->reports, s->count, &s->capacity, sizeof(*s->reports));
	s->reports[s->count++] = r;
	return 0;
}

/* Some at a time, so that the answers have room in the socket.  Those that ended meanwhile tell it. */
static int ask_counted(struct flow_sample *s, struct err *e)
{
	const struct netlink_dump answers = {see_counted, NULL, s};
	const struct buf *all = batch_bytes(&s->asks);
	size_t at = 0;

	while (at < all->size) {
		auto_batch struct batch some = BATCH_INIT;
		struct err why = {0};

		for (int i = 0; i < ASKS_PER_BATCH && at < all->size; i++) {
			const struct nlmsghdr *h = (const void *)(all->data + at);
			size_t skip = NLMSG_LENGTH(sizeof(struct nfgenmsg));

			batch_add(&some, h->nlmsg_type, 0, NLMSG_DATA(h), sizeof(struct nfgenmsg),
				  "count a flow");
			batch_header(&some, (const char *)h + skip, h->nlmsg_len - skip);
			at += NLMSG_ALIGN(h->nlmsg_len);
		}
		if (netlink_ask(s->nl, &some, &answers, &why) < 0 && why.code != ENOENT) {
			*e = why;
			return -e->code;
		}
	}
	return 0;
}

static void *walk(void *arg)
{
	const struct nfgenmsg any = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};
	struct flow_sample *s = arg;
	const struct netlink_dump dump = {see_open, see_again, s};
	auto_batch struct batch b = BATCH_INIT;
	const uint64_t one = 1;

	batch_add(&b, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, 0, &any, sizeof(any),
		  "list flows");
	s->result = netlink_dump(s->nl, &b, &dump, &s->why);
	if (s->result == 0)
		s->result = ask_counted(s, &s->why);
	(void)!write(s->fd, &one, sizeof(one)); /* cannot fail: the counter was 0 */
	return NULL;
}

static void sample_free(struct flow_sample *s)
{
	close_fd(&s->fd);
	batch_done(&s->asks);
	free(s->addresses);
	free(s->reports);
	free(s);
}

int flow_sample_begin(struct netlink *nl, const struct ip_prefix *addresses, size_t count,
		      struct flow_sample **ret, struct err *e)
{
	struct flow_sample *s = xcalloc(1, sizeof(*s));

	s->nl = nl;
	s->asks = (struct batch){.bytes = BUF_INIT(ASKS_BYTES_MAX)};
	s->addresses = xcalloc(count + 1, sizeof(*s->addresses));
	if (count)
		memcpy(s->addresses, addresses, count * sizeof(*addresses));
	s->address_count = count;
	qsort(s->addresses, count, sizeof(*s->addresses), compare);
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	errno = s->fd < 0 ? errno : pthread_create(&s->thread, NULL, walk, s);
	if (errno) {
		(void)err_sys(e, "thread to look at connections");
		sample_free(s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

int flow_sample_fd(const struct flow_sample *s)
{
	return s->fd;
}

int flow_sample_end(struct flow_sample *own_s,
		    void (*on_report)(void *ctx, const struct flow_report *r), void *ctx,
		    bool *ret_lost, struct err *e)
{
	int r;

	(void)pthread_join(own_s->thread, NULL);
	for (size_t i = 0; on_report && i < own_s->count; i++)
		on_report(ctx, &own_s->reports[i]);
	*ret_lost = own_s->lost || own_s->result < 0;
	r = own_s->result;
	if (r < 0)
		*e = own_s->why;
	sample_free(own_s);
	return r;
}
