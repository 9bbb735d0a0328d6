/* net/watch.c - what others do to nftables of this host
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/watch.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/text.h"
#include "net/coexist.h"

#define RECEIVE_SIZE 32768
#define READS_MAX    4096 /* at once: more will wake us again */

/* Every message of nf_tables but that of a new generation has its table first. */
#define TABLE_ATTRIBUTE NFTA_TABLE_NAME

/* The kernel puts who asked for a change into the message that tells of it. */
static int leave_out(int fd, uint32_t port_id)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(port_id), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog program = {.len = ARRAY_COUNT(code), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

int watch_open(const struct netlink *own, int *ret_fd, struct err *e)
{
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	struct sockaddr_nl address = any;
	socklen_t size = sizeof(address);
	const int group = NFNLGRP_NFTABLES;
	auto_close int fd = -1;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
	if (fd < 0)
		return err_sys(e, "open netlink socket");
	/* A socket has a number, and hears anything, only when it is bound. */
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
	    (bind(own->fd, (const struct sockaddr *)&any, sizeof(any)) < 0 && errno != EINVAL) ||
	    getsockname(own->fd, (struct sockaddr *)&address, &size) < 0 ||
	    leave_out(fd, address.nl_pid) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return err_sys(e, "watch nftables");
	*ret_fd = take_fd(fd);
	return 0;
}

static void look(const struct nlmsghdr *h, const char *table, bool *ret_ours, bool *ret_theirs)
{
	struct nlattr *name;
	int family;

	if (NFNL_SUBSYS_ID(h->nlmsg_type) != NFNL_SUBSYS_NFTABLES ||
	    NFNL_MSG_TYPE(h->nlmsg_type) == NFT_MSG_NEWGEN ||
	    !nlmsg_valid_hdr(h, sizeof(struct nfgenmsg)))
		return;
	name = nlmsg_find_attr((struct nlmsghdr *)(uintptr_t)h, sizeof(struct nfgenmsg),
			       TABLE_ATTRIBUTE);
	if (!name || !memchr(nla_data(name), '\0', (size_t)nla_len(name)))
		return;
	family = ((const struct nfgenmsg *)nlmsg_data(h))->nfgen_family;
	*ret_ours |= (family == NFPROTO_INET || family == NFPROTO_NETDEV) &&
		     str_eq(nla_get_string(name), table);
	*ret_theirs |= coexist_minds(family, nla_get_string(name));
}

void watch_look(const void *data, size_t size, const char *table, bool *ret_ours, bool *ret_theirs)
{
	int rest = (int)size;

	for (const struct nlmsghdr *h = data; nlmsg_ok(h, rest);
	     h = nlmsg_next((struct nlmsghdr *)(uintptr_t)h, &rest))
		look(h, table, ret_ours, ret_theirs);
}

void watch_read(int fd, const char *table, bool *ret_ours, bool *ret_theirs)
{
	_Alignas(struct nlmsghdr) char data[RECEIVE_SIZE];

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t size = recv(fd, data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC);

		if (size < 0 && errno == EINTR)
			continue;
		if (size >= 0 && (size_t)size <= sizeof(data)) {
			watch_look(data, (size_t)size, table, ret_ours, ret_theirs);
			continue;
		}
		if (size < 0 && errno != ENOBUFS)
			return;
		*ret_ours = *ret_theirs = true; /* some of it was lost: look at everything */
	}
}
