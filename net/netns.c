/* net/netns.c - network namespaces without names
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread of its own enters the new namespace and opens what leads there:
 * whatever fails on its way, no other thread was ever moved.
 *
 * The thread of the pool does so for several, one after the other.  It makes
 * new ones only when none was taken for REST_MS, so that it never contends for
 * the kernel's lock of all links with who takes one.  It begins when the first
 * is asked for: an agent without tasks has none.
 */
#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/auto.h"
#include "base/mem.h"

#define STACK_BYTES (128 << 10)
#define BIRTH_STACK 8192
#define POOL_SIZE   4
#define REST_MS     50

struct work {
	int userns_fd; /* that it belongs to; -1: ours */
	int fd;
	struct netlink inside;
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

static int enter_and_open(struct work *w)
{
	auto_close int fd = w->userns_fd < 0 ? make_here(&w->err) : make_in(w->userns_fd, &w->err);

	if (fd < 0)
		return fd;
	if (w->userns_fd >= 0 && setns(fd, CLONE_NEWNET) < 0)
		return err_sys(&w->err, "enter network namespace");
	if (netlink_open(NETLINK_ROUTE, &w->inside, &w->err) < 0)
		return -w->err.code;
	w->fd = take_fd(fd);
	return 0;
}

static void *run(void *arg)
{
	struct work *w = arg;

	w->result = enter_and_open(w);
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

int netns_make_owned(int userns_fd, int *ret_fd, struct netlink *ret_inside, struct err *e)
{
	struct work w = {.userns_fd = userns_fd, .fd = -1, .inside = NETLINK_NONE};
	pthread_t thread;

	if (start_thread(run, &w, &thread, e) < 0)
		return -e->code;
	(void)pthread_join(thread, NULL);
	if (w.result < 0) {
		*e = w.err;
		return w.result;
	}
	*ret_fd = w.fd;
	*ret_inside = w.inside;
	return 0;
}

/* ---- the pool ---- */

struct netns_pool {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct work ready[POOL_SIZE];
	unsigned count;
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

static void work_done(struct work *w)
{
	close_fd(&w->fd);
	netlink_close(&w->inside);
}

/* A thread that stays in a namespace would keep it when its task has ended. */
static int make_and_return(struct work *w, int home_fd)
{
	int r = enter_and_open(w);

	if (r == 0 && setns(home_fd, CLONE_NEWNET) < 0) {
		work_done(w);
		return -1;
	}
	return r;
}

/* Unlocked while it makes one.  False: that failed, and who needs the next will hear why. */
static bool add_one(struct netns_pool *p, int home_fd)
{
	struct work w = {.userns_fd = -1, .fd = -1, .inside = NETLINK_NONE};
	bool made;

	(void)pthread_mutex_unlock(&p->lock);
	made = make_and_return(&w, home_fd) == 0;
	(void)pthread_mutex_lock(&p->lock);
	if (made)
		p->ready[p->count++] = w; /* nobody else adds */
	return made;
}

/* The thread ends with the pool, or when it cannot do its work. */
static void *fill(void *arg)
{
	auto_close int home_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct netns_pool *p = arg;
	bool works = home_fd >= 0;

	(void)pthread_mutex_lock(&p->lock);
	while (works && !p->ending) {
		wait_for_rest(p);
		while (works && !p->ending && p->count < POOL_SIZE)
			works = add_one(p, home_fd);
		if (works && !p->ending && p->count == POOL_SIZE)
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
		work_done(&p->ready[--p->count]);
	(void)pthread_cond_destroy(&p->changed);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}

/* False: it has none. */
static bool take(struct netns_pool *p, struct work *ret)
{
	struct err ignored;
	bool found;

	(void)pthread_mutex_lock(&p->lock);
	found = p->count > 0;
	if (found)
		*ret = p->ready[--p->count];
	p->taken++;
	if (!p->started)
		p->started = start_thread(fill, p, &p->thread, &ignored) == 0;
	(void)pthread_cond_signal(&p->changed);
	(void)pthread_mutex_unlock(&p->lock);
	return found;
}

int netns_make(struct netns_pool *p, int *ret_fd, struct netlink *ret_inside, struct err *e)
{
	struct work w;

	if (!p || !take(p, &w))
		return netns_make_owned(-1, ret_fd, ret_inside, e);
	*ret_fd = w.fd;
	*ret_inside = w.inside;
	return 0;
}
