/* runtime/netdev.c - interfaces of the host that become a container's
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two netlink sockets, one in each namespace.  The kernel takes an interface
 * down and forgets its addresses when it is moved; they are read before and set
 * again after it.
 */
#include "runtime/netdev.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "runtime/config.h"
#include "runtime/namespaces.h"

#define MESSAGE_MAX   512   /* of ours */
#define ANSWER_MAX    32768 /* the kernel's answers come in pieces of at most that */
#define ADDRESSES_MAX 64

struct request {
	union {
		struct nlmsghdr head;
		char bytes[MESSAGE_MAX];
	};
};

struct address {
	struct ifaddrmsg head;
	struct {
		unsigned short type, size;
		unsigned char bytes[16];
	} attrs[4];
	unsigned attr_count;
};

struct addresses {
	struct address items[ADDRESSES_MAX];
	size_t count;
	uint32_t index; /* of the interface that they are wanted of */
};

/* ---- messages ---- */

static void *begin(struct request *r, unsigned short type, unsigned flags, size_t size)
{
	*r = (struct request){0};
	r->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
	r->head.nlmsg_type = type;
	r->head.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags);
	return NLMSG_DATA(&r->head);
}

static void put(struct request *r, unsigned short type, const void *data, size_t size)
{
	size_t at = NLMSG_ALIGN(r->head.nlmsg_len), total = RTA_LENGTH(size);
	struct rtattr *a = (struct rtattr *)(void *)(r->bytes + at);

	if (at + total > sizeof(r->bytes))
		return; /* all that we put has a size that fits */
	a->rta_type = type;
	a->rta_len = (unsigned short)total;
	memcpy(RTA_DATA(a), data, size);
	r->head.nlmsg_len = (uint32_t)(at + total);
}

/* Each message of the answer to fn, up to the last one; returns 0 or the kernel's -errno. */
static int talk(int sock, const struct request *r, void (*fn)(const struct nlmsghdr *h, void *arg),
		void *arg)
{
	bool many = r->head.nlmsg_flags & NLM_F_DUMP;
	static char answer[ANSWER_MAX] __attribute__((aligned(8)));

	if (send(sock, r, r->head.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		ssize_t n = recv(sock, answer, sizeof(answer), 0);
		size_t left = n < 0 ? 0 : (size_t)n;

		if (n < 0)
			return -errno;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)answer; NLMSG_OK(h, left);
		     h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (fn)
				fn(h, arg);
			if (!many)
				return 0;
		}
	}
}

static int open_socket(struct err *e)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	return fd < 0 ? err_sys(e, "netlink socket") : fd;
}

static int open_socket_in(int netns_fd, struct err *e)
{
	int fds[NS_COUNT], fd = -1, r;
	struct ns_visit visit;
	struct err second;

	for (unsigned i = 0; i < NS_COUNT; i++)
		fds[i] = i == NS_NETWORK ? netns_fd : -1;
	r = ns_visit(&visit, fds, e);
	if (r == 0)
		r = fd = open_socket(e);
	if (ns_return(&visit, &second) < 0) {
		*e = second;
		close_fd(&fd);
		return -e->code;
	}
	return r < 0 ? r : fd;
}

/* ---- interfaces ---- */

static void note_index(const struct nlmsghdr *h, void *arg)
{
	if (h->nlmsg_type == RTM_NEWLINK)
		*(int *)arg = ((struct ifinfomsg *)NLMSG_DATA(h))->ifi_index;
}

/* 0: there is none; or -errno. */
static int find_index(int sock, const char *name)
{
	struct request r;
	int index = 0, failed;

	(void)begin(&r, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	put(&r, IFLA_IFNAME, name, strlen(name) + 1);
	failed = talk(sock, &r, note_index, &index);
	return failed < 0 && failed != -ENODEV ? failed : index;
}

/* The name may be a template. */
static int rename_link(int sock, int index, const char *name)
{
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, NLM_F_ACK, sizeof(*m));

	m->ifi_index = index;
	put(&r, IFLA_IFNAME, name, strlen(name) + 1);
	return talk(sock, &r, NULL, NULL);
}

static int push(int sock, int index, const char *name, int netns_fd)
{
	uint32_t fd = (uint32_t)netns_fd;
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, NLM_F_ACK, sizeof(*m));

	m->ifi_index = index;
	put(&r, IFLA_NET_NS_FD, &fd, sizeof(fd));
	put(&r, IFLA_IFNAME, name, strlen(name) + 1);
	return talk(sock, &r, NULL, NULL);
}

static int raise_link(int sock, int index)
{
	struct request r;
	struct ifinfomsg *m = begin(&r, RTM_NEWLINK, NLM_F_ACK, sizeof(*m));

	m->ifi_index = index;
	m->ifi_flags = IFF_UP;
	m->ifi_change = IFF_UP;
	return talk(sock, &r, NULL, NULL);
}

/* ---- addresses ---- */

static void note_attribute(const struct rtattr *a, struct address *to)
{
	static const unsigned short kept[] = {IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST};

	for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
		if (a->rta_type == kept[i] && RTA_PAYLOAD(a) <= sizeof(to->attrs[0].bytes) &&
		    to->attr_count < ARRAY_COUNT(to->attrs)) {
			to->attrs[to->attr_count].type = a->rta_type;
			to->attrs[to->attr_count].size = (unsigned short)RTA_PAYLOAD(a);
			memcpy(to->attrs[to->attr_count++].bytes, RTA_DATA(a), RTA_PAYLOAD(a));
		}
}

static void note_address(const struct nlmsghdr *h, void *arg)
{
	const struct ifaddrmsg *m = NLMSG_DATA(h);
	struct addresses *all = arg;
	struct address *to = &all->items[all->count];
	size_t left = IFA_PAYLOAD(h);

	if (h->nlmsg_type != RTM_NEWADDR || m->ifa_index != all->index ||
	    m->ifa_scope != RT_SCOPE_UNIVERSE || !(m->ifa_flags & IFA_F_PERMANENT) ||
	    all->count == ADDRESSES_MAX)
		return;
	*to = (struct address){.head = *m};
	for (const struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
		note_attribute(a, to);
	all->count++;
}

static int read_addresses(int sock, int index, struct addresses *ret)
{
	struct request r;

	*ret = (struct addresses){.index = (uint32_t)index};
	(void)begin(&r, RTM_GETADDR, NLM_F_DUMP, sizeof(struct ifaddrmsg));
	return talk(sock, &r, note_address, ret);
}

static int add_address(int sock, int index, const struct address *a)
{
	struct request r;
	struct ifaddrmsg *m = begin(&r, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
				    sizeof(*m));

	*m = a->head;
	m->ifa_index = (uint32_t)index;
	for (unsigned i = 0; i < a->attr_count; i++)
		put(&r, a->attrs[i].type, a->attrs[i].bytes, a->attrs[i].size);
	return talk(sock, &r, NULL, NULL);
}

/* 'found' is its name there so far. */
static int set_up(int sock, const char *found, const char *name, const struct addresses *addresses)
{
	int index = find_index(sock, found), r;

	r = index > 0 ? 0 : index < 0 ? index : -ENODEV;
	if (r == 0 && found != name)
		r = rename_link(sock, index, name);
	for (size_t i = 0; r == 0 && i < addresses->count; i++)
		r = add_address(sock, index, &addresses->items[i]);
	return r < 0 ? r : raise_link(sock, index);
}

static int fail(int r, const struct config_net_device *d, const char *what, struct err *e)
{
	errno = -r;
	return err_sys(e, "linux.netDevices: %s: %s", d->key, what);
}

static int move_one(int here, int there, const struct config_net_device *d, int netns_fd,
		    struct err *e)
{
	const char *name = d->name && d->name[0] ? d->name : d->key, *first = name;
	struct addresses addresses;
	int index = find_index(here, d->key), r;
	char passing[IFNAMSIZ];

	/* Under a name that the kernel finds, we would not find it. */
	if (strchr(name, '%')) {
		(void)snprintf(passing, sizeof(passing), "bmv%d", (int)getpid());
		first = passing;
	}
	if (index <= 0)
		return fail(index < 0 ? index : -ENODEV, d, "find it on the host", e);
	r = read_addresses(here, index, &addresses);
	if (r < 0)
		return fail(r, d, "read its addresses", e);
	r = push(here, index, first, netns_fd);
	if (r < 0)
		return fail(r, d, "move it into the container", e);
	r = set_up(there, first, name, &addresses);
	return r < 0 ? fail(r, d, "set it up in the container", e) : 0;
}

int netdev_move(const struct js_list *devices, int netns_fd, struct err *e)
{
	auto_close int here = -1, there = -1;

	if (!devices->count)
		return 0;
	here = open_socket(e);
	there = here < 0 ? -1 : open_socket_in(netns_fd, e);
	if (there < 0)
		return -e->code;
	for (size_t i = 0; i < devices->count; i++)
		if (move_one(here, there, JS_AT(*devices, struct config_net_device, i), netns_fd,
			     e) < 0)
			return -e->code;
	return 0;
}
