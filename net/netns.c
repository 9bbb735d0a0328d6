/* net/netns.c - network namespaces without names, and networks that wait for tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread of its own enters the new namespace and opens what leads there:
 * whatever fails on its way, no other thread was ever moved.
 *
 * The thread of the pool does so for several, one after the other, and makes
 * each its link, up on both ends.  It makes new ones only when none was taken
 * for REST_MS, so that it never contends for the kernel's lock of all links with
 * who takes one.  It begins with the first offer: an agent without tasks has none.
 *
 * What waits has no route and no address, so nothing passes; of IPv6 it knows
 * nothing until its task has an address of that.
 */
#include "net/netns.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/net.h"
#include "net/shortcut.h"

#define STACK_BYTES  (128 << 10)
#define BIRTH_STACK  8192
#define POOL_SIZE    4
#define RESERVED_MAX 8
#define REST_MS      50

void network_done(struct network *n)
{
	close_fd(&n->fd);
	netlink_close(&n->inside);
	n->address = 0;
}

struct work {
	int userns_fd; /* that it belongs to; -1: ours */
	struct network network;
	int result;
	struct err err;
};

struct birth {
	int userns_fd, fd, errnum;
};

/* Context: a process with our memory and descriptors, while the thread that made it waits. */
static int be_born_in(void *arg)
{
	struct birth *b = arg;

	if (setns(b->userns_fd, CLONE_NEWUSER) == 0 && unshare(CLONE_NEWNET) == 0)
		b->fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	b->errnum = errno;
	return 0;
}

/* No thread can enter a user namespace: a process does, for as long as it takes. */
static int make_in(int userns_fd, struct err *e)
{
	struct birth b = {.userns_fd = userns_fd, .fd = -1};
	_Alignas(16) char stack[BIRTH_STACK];
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours runs in it */
	pid = clone(be_born_in, stack + sizeof(stack), CLONE_VM | CLONE_FILES | CLONE_VFORK, &b);
	if (pid < 0)
		b.errnum = errno;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid > 0)
		(void)waitpid(pid, NULL, __WALL);
	errno = b.errnum;
	return b.fd < 0 ? err_sys(e, "new network namespace of a user namespace") : b.fd;
}

static int make_here(struct err *e)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(e, "new network namespace");
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open network namespace") : fd;
}

static int enter_and_open(int userns_fd, struct network *n, struct err *e)
{
	auto_close int fd = userns_fd < 0 ? make_here(e) : make_in(userns_fd, e);

	if (fd < 0)
		return fd;
	if (userns_fd >= 0 && setns(fd, CLONE_NEWNET) < 0)
		return err_sys(e, "enter network namespace");
	if (netlink_open(NETLINK_ROUTE, &n->inside, e) < 0)
		return -e->code;
	n->fd = take_fd(fd);
	return 0;
}

static void *run(void *arg)
{
	struct work *w = arg;

	w->result = enter_and_open(w->userns_fd, &w->network, &w->err);
	return NULL;
}

static int start_thread(void *(*fn)(void *), void *arg, pthread_t *ret, struct err *e)
{
	pthread_attr_t attr;
	int r;

	(void)pthread_attr_init(&attr); /* cannot fail in glibc */
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(ret, &attr, fn, arg);
	(void)pthread_attr_destroy(&attr);
	if (!r)
		return 0;
	errno = r;
	return err_sys(e, "thread for a network namespace");
}

/* To its end. */
static int run_thread(void *(*fn)(void *), void *arg, struct err *e)
{
	pthread_t thread;

	if (start_thread(fn, arg, &thread, e) < 0)
		return -e->code;
	(void)pthread_join(thread, NULL);
	return 0;
}

int netns_make(int userns_fd, struct network *ret, struct err *e)
{
	struct work w = {.userns_fd = userns_fd, .network = NETWORK_INIT};

	if (run_thread(run, &w, e) < 0)
		return -e->code;
	if (w.result < 0) {
		*e = w.err;
		return w.result;
	}
	*ret = w.network;
	return 0;
}

/* ---- a socket in one ---- */

struct listening {
	int netns_fd, result;
	enum net_protocol protocol;
	uint16_t port;
	struct err err;
};

/* What all may send at once (rules.c), of some tasks; the kernel takes memory for what is there. */
#define DATAGRAMS_BYTES (4 << 20)

static int listen_in(const struct listening *l, struct err *e)
{
	const struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(l->port)};
	const struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(l->port)};
	const int type = (l->protocol == NET_UDP ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC |
			 SOCK_NONBLOCK,
		  room = DATAGRAMS_BYTES, no = 0;
	auto_close int fd = -1;
	bool has_v6;

	if (setns(l->netns_fd, CLONE_NEWNET) < 0)
		return err_sys(e, "enter network namespace");
	fd = socket(AF_INET6, type, 0);
	has_v6 = fd >= 0;
	if (!has_v6)
		fd = socket(AF_INET, type, 0);
	if (fd < 0 || (has_v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) < 0) ||
	    bind(fd, has_v6 ? (const struct sockaddr *)&v6 : (const struct sockaddr *)&v4,
		 has_v6 ? sizeof(v6) : sizeof(v4)) < 0 ||
	    (l->protocol == NET_TCP && listen(fd, SOMAXCONN) < 0))
		return err_sys(e, "listen at port %u of a network namespace", l->port);
	if (l->protocol == NET_UDP)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	return take_fd(fd);
}

static void *run_listen(void *arg)
{
	struct listening *l = arg;

	l->result = listen_in(l, &l->err);
	return NULL;
}

int net_listen(int netns_fd, enum net_protocol protocol, uint16_t port, int *ret_fd, struct err *e)
{
	struct listening l = {.netns_fd = netns_fd, .protocol = protocol, .port = port};

	if (run_thread(run_listen, &l, e) < 0)
		return -e->code;
	if (l.result < 0) {
		*e = l.err;
		return l.result;
	}
	*ret_fd = l.result;
	return 0;
}

/* ---- the pool ---- */

struct netns_pool {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct network offered[POOL_SIZE]; /* only address and link */
	struct network ready[POOL_SIZE + RESERVED_MAX];
	unsigned offer_count, count, reserved_count; /* the last are among those that are ready */
	uint32_t failed[POOL_SIZE];                  /* addresses of which none was made */
	unsigned fail_count;
	uint32_t making; /* the index of the link that is being made; 0: none */
	bool started, ending;
	unsigned taken; /* how many ever were */
	pthread_t thread;
};

struct netns_pool *netns_pool_new(void)
{
	struct netns_pool *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t attr;

	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
	return p;
}

/* Wait, locked, until none was taken for a while, or until it ends. */
static void wait_for_rest(struct netns_pool *p)
{
	unsigned seen = p->taken - 1;
	struct timespec until;

	while (!p->ending && seen != p->taken) {
		seen = p->taken;
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += REST_MS * 1000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (!p->ending && pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
			;
	}
}

static int make_link(struct network *n, struct netlink *home, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	link_create(&b, &n->link, n->fd);
	if (netlink_commit(home, &b, 0, e) < 0)
		return -e->code;
	link_set_ipv6(&n->link, n->whole && n->link.address6.length);
	(n->whole ? link_task_side : link_prepare_task_side)(&b, &n->link);
	if (netlink_commit(&n->inside, &b, 0, e) < 0)
		return -e->code;
	if (n->link.has_room)
		shortcut_make_room(home, n->link.index);
	link_prepare_host_side(&b, &n->link);
	if (netlink_commit(home, &b, 0, e) < 0)
		return -e->code;
	return link_wait(&n->inside, e);
}

/* A thread that stays in a namespace would keep it when its task has ended. */
static int make_and_return(struct network *n, int home_fd, struct netlink *home)
{
	struct err ignored; /* who needs the next makes it himself, and hears why not */

	if (enter_and_open(-1, n, &ignored) < 0)
		return -1;
	if (setns(home_fd, CLONE_NEWNET) < 0 || make_link(n, home, &ignored) < 0) {
		close_fd(&n->fd);
		netlink_close(&n->inside);
		return -1;
	}
	return 0;
}

/* Unlocked while it makes one. */
static void add_one(struct netns_pool *p, int home_fd, struct netlink *home)
{
	struct network n = p->offered[--p->offer_count];
	bool made;

	p->making = n.link.index;
	(void)pthread_mutex_unlock(&p->lock);
	made = make_and_return(&n, home_fd, home) == 0;
	(void)pthread_mutex_lock(&p->lock);
	p->making = 0;
	if (made)
		p->ready[p->count++] = n; /* nobody else adds */
	else
		p->failed[p->fail_count++] =
			n.address; /* as many as were offered since it was asked */
}

/* The thread ends with the pool, or when it cannot do its work. */
static void *fill(void *arg)
{
	auto_close int home_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	auto_netlink struct netlink home = NETLINK_NONE;
	struct netns_pool *p = arg;
	struct err ignored;
	bool works = home_fd >= 0 && netlink_open(NETLINK_ROUTE, &home, &ignored) == 0;

	(void)pthread_mutex_lock(&p->lock);
	while (works && !p->ending) {
		wait_for_rest(p);
		while (!p->ending && p->offer_count)
			add_one(p, home_fd, &home);
		if (!p->ending && !p->offer_count)
			(void)pthread_cond_wait(&p->changed, &p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

void netns_pool_free(struct netns_pool *p)
{
	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->ending = true;
	(void)pthread_cond_signal(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	if (p->started)
		(void)pthread_join(p->thread, NULL);
	while (p->count)
		network_done(&p->ready[--p->count]);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

size_t netns_pool_room(struct netns_pool *p)
{
	size_t used;

	(void)pthread_mutex_lock(&p->lock);
	used = p->count - p->reserved_count + p->offer_count + p->fail_count + (p->making ? 1 : 0);
	(void)pthread_mutex_unlock(&p->lock);
	return used < POOL_SIZE ? POOL_SIZE - used : 0;
}

void netns_pool_offer(struct netns_pool *p, uint32_t address, const struct link *l, bool whole)
{
	struct network n = NETWORK_INIT;
	struct err ignored;

	n.address = address;
	n.link = *l;
	n.whole = whole;
	(void)pthread_mutex_lock(&p->lock);
	assert(p->offer_count < POOL_SIZE);
	p->offered[p->offer_count++] = n;
	if (!p->started)
		p->started = start_thread(fill, p, &p->thread, &ignored) == 0;
	(void)pthread_cond_signal(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
}

bool netns_pool_failed(struct netns_pool *p, uint32_t *ret)
{
	bool some;

	(void)pthread_mutex_lock(&p->lock);
	some = p->fail_count > 0;
	if (some)
		*ret = p->failed[--p->fail_count];
	(void)pthread_mutex_unlock(&p->lock);
	return some;
}

/* Locked.  NULL: it is not there. */
static struct network *find_reserved(struct netns_pool *p, uint32_t reserved)
{
	for (unsigned i = 0; reserved && i < p->count; i++)
		if (p->ready[i].reserved && p->ready[i].link.index == reserved)
			return &p->ready[i];
	return NULL;
}

/* Locked.  The last that is nobody's, better one that is whole or not; NULL: there is none. */
static struct network *find_ready(struct netns_pool *p, bool whole)
{
	struct network *found = NULL;

	for (unsigned i = p->count; i-- > 0;) {
		struct network *n = &p->ready[i];

		if (!n->reserved && (!found || (n->whole == whole && found->whole != whole)))
			found = n;
	}
	return found;
}

/* Locked. */
static void remove_ready(struct netns_pool *p, struct network *n)
{
	p->reserved_count -= n->reserved;
	*n = p->ready[--p->count];
}

bool netns_pool_take(struct netns_pool *p, uint32_t reserved, bool whole, struct network *ret)
{
	struct network *n;

	(void)pthread_mutex_lock(&p->lock);
	n = find_reserved(p, reserved);
	if (!n)
		n = find_ready(p, whole);
	if (n) {
		*ret = *n;
		remove_ready(p, n);
	}
	p->taken++;
	(void)pthread_mutex_unlock(&p->lock);
	return n;
}

uint32_t netns_pool_reserve(struct netns_pool *p, bool whole, int *ret_fd)
{
	struct network *n;
	uint32_t number = 0;
	int fd = -1;

	(void)pthread_mutex_lock(&p->lock);
	n = p->reserved_count < RESERVED_MAX ? find_ready(p, whole) : NULL;
	if (n && n->whole && !whole)
		n = NULL;
	if (n)
		fd = fcntl(n->fd, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0) {
		n->reserved = true;
		p->reserved_count++;
		number = n->link.index;
		*ret_fd = fd;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return number;
}

void netns_pool_release(struct netns_pool *p, uint32_t reserved)
{
	struct network *n;

	(void)pthread_mutex_lock(&p->lock);
	n = find_reserved(p, reserved);
	if (n) {
		n->reserved = false;
		p->reserved_count--;
	}
	(void)pthread_mutex_unlock(&p->lock);
}

bool netns_pool_has(struct netns_pool *p, uint32_t link_index)
{
	bool found;

	(void)pthread_mutex_lock(&p->lock);
	found = p->making == link_index;
	for (unsigned i = 0; i < p->count; i++)
		found |= p->ready[i].link.index == link_index;
	(void)pthread_mutex_unlock(&p->lock);
	return found;
}
