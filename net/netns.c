/* net/netns.c - network namespaces without names
 * SPDX-License-Identifier: Apache-2.0
 *
 * A thread of its own enters the new namespace, opens what leads there, and
 * ends: whatever fails on its way, no other thread was ever moved.
 */
#include "net/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "base/auto.h"

#define STACK_BYTES (128 << 10)

struct work {
	int fd;
	struct netlink inside;
	int result;
	struct err err;
};

static int enter_and_open(struct work *w)
{
	auto_close int fd = -1;

	if (unshare(CLONE_NEWNET) < 0)
		return err_sys(&w->err, "new network namespace");
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(&w->err, "open network namespace");
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

int netns_make(int *ret_fd, struct netlink *ret_inside, struct err *e)
{
	struct work w = {.fd = -1, .inside = NETLINK_NONE};
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	(void)pthread_attr_init(&attr); /* cannot fail in glibc */
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(&thread, &attr, run, &w);
	(void)pthread_attr_destroy(&attr);
	if (r) {
		errno = r;
		return err_sys(e, "thread for a network namespace");
	}
	(void)pthread_join(thread, NULL);

	if (w.result < 0) {
		*e = w.err;
		return w.result;
	}
	*ret_fd = w.fd;
	*ret_inside = w.inside;
	return 0;
}
