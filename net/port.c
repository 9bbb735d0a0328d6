/* net/port.c - host ports, held by sockets
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/port.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/random.h"

#define RANGE_FILE "/proc/sys/net/ipv4/ip_local_port_range"

int port_range_init(struct port_range *r, uint16_t first, uint16_t last, struct err *e)
{
	uint16_t random;

	if (!first && !last) {
		auto_buf struct buf b = BUF_INIT(64);

		if (fs_read(AT_FDCWD, RANGE_FILE, &b, e) < 0)
			return -e->code;
		if (sscanf(buf_str(&b), "%hu %hu", &first, &last) != 2)
			return err_set(e, EINVAL, "%s: '%s'", RANGE_FILE, buf_str(&b));
	}
	if (!first || first > last)
		return err_set(e, EINVAL, "range of host ports %u-%u", first, last);

	/* Not always from the beginning: after a restart others are there already. */
	random_bytes(&random, sizeof(random));
	*r = (struct port_range){.first = first, .last = last};
	r->next = (uint16_t)(first + random % (last - first + 1));
	return 0;
}

/* A socket bound to the port on all addresses, or -errno. */
static int bind_port(int family, enum net_protocol protocol, uint16_t port)
{
	const int off = 0, small = 1;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool v6 = family == AF_INET6;
	auto_close int fd =
		socket(family, (protocol == NET_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* Nobody will read what reaches a UDP socket past the firewall: keep little of it. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		return -errno;
	if (bind(fd, v6 ? (struct sockaddr *)&six : (struct sockaddr *)&four,
		 v6 ? sizeof(six) : sizeof(four)) < 0)
		return -errno;
	return take_fd(fd);
}

static int bind_any(enum net_protocol protocol, uint16_t port)
{
	int fd = bind_port(AF_INET6, protocol, port);

	return fd == -EAFNOSUPPORT ? bind_port(AF_INET, protocol, port) : fd;
}

/* ---- several, behind one descriptor ---- */

#define FDS_PER_MESSAGE 253 /* the kernel's SCM_MAX_FD */
#define QUEUE_BYTES     (1 << 20)

struct bag {
	int send_fd, queue_fd;
	int fds[FDS_PER_MESSAGE]; /* not in the queue yet */
	size_t count;
};

static void bag_done(struct bag *b)
{
	while (b->count)
		(void)close(b->fds[--b->count]);
	close_fd(&b->send_fd);
	close_fd(&b->queue_fd);
}

static int bag_open(struct bag *b)
{
	const int size = QUEUE_BYTES;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	b->send_fd = pair[0];
	b->queue_fd = pair[1];
	(void)setsockopt(b->send_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return 0;
}

static int bag_flush(struct bag *b)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(b->fds))];
	} control = {0};
	size_t size = b->count * sizeof(int);
	struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
	struct msghdr m = {.msg_iov = &byte,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = CMSG_SPACE(size)};

	if (!b->count)
		return 0;
	control.header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), b->fds, size);
	if (sendmsg(b->send_fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	while (b->count)
		(void)close(b->fds[--b->count]);
	return 0;
}

/* A descriptor, or -errno and the port that is not to be had. */
static int hold_several(enum net_protocol protocol, uint16_t first, uint16_t count,
			uint16_t *ret_failed)
{
	__attribute__((cleanup(bag_done))) struct bag b = {.send_fd = -1, .queue_fd = -1};
	int r = bag_open(&b);

	for (unsigned i = 0; r == 0 && i < count; i++) {
		int fd = bind_any(protocol, (uint16_t)(first + i));

		*ret_failed = (uint16_t)(first + i);
		if (fd < 0)
			return fd;
		b.fds[b.count++] = fd;
		if (b.count == FDS_PER_MESSAGE || i + 1 == count)
			r = bag_flush(&b);
	}
	return r < 0 ? r : take_fd(b.queue_fd);
}

static int hold(enum net_protocol protocol, uint16_t first, uint16_t count, uint16_t *ret_failed)
{
	*ret_failed = first;
	return count == 1 ? bind_any(protocol, first)
			  : hold_several(protocol, first, count, ret_failed);
}

/* ---- what others call ---- */

static int cannot_hold(int code, enum net_protocol protocol, uint16_t port, struct err *e)
{
	errno = code;
	return err_sys(e, "hold host port %u/%s", port, net_protocol_name(protocol));
}

int port_hold(enum net_protocol protocol, uint16_t first, uint16_t count, int *ret_fd,
	      struct err *e)
{
	uint16_t failed;
	int fd;

	assert(first && count && first + count - 1 <= UINT16_MAX);

	fd = hold(protocol, first, count, &failed);
	if (fd == -EADDRINUSE) /* as Docker, and so ECS, says it */
		return err_set(e, EADDRINUSE, "listen %s 0.0.0.0:%u: bind: address already in use",
			       net_protocol_name(protocol), failed);
	if (fd < 0)
		return cannot_hold(-fd, protocol, failed, e);
	*ret_fd = fd;
	return 0;
}

/* Where the next search begins. */
static uint16_t step(const struct port_range *r, unsigned port)
{
	return port >= r->last ? r->first : (uint16_t)(port + 1);
}

static int none_is_free(const struct port_range *r, enum net_protocol protocol, uint16_t count,
			struct err *e)
{
	if (count == 1)
		return err_set(e, EADDRINUSE, "no host port of %u-%u/%s is free", r->first, r->last,
			       net_protocol_name(protocol));
	return err_set(e, EADDRINUSE, "%u contiguous host ports are unavailable in %u-%u/%s", count,
		       r->first, r->last, net_protocol_name(protocol));
}

int port_hold_any(struct port_range *r, enum net_protocol protocol, uint16_t count,
		  uint16_t *ret_first, int *ret_fd, struct err *e)
{
	unsigned size = r->last - r->first + 1u;

	assert(count);

	/* A row may begin before where the search began, so twice around at the most. */
	for (unsigned seen = 0; count <= size && seen < size + count;) {
		uint16_t first = r->next, failed;
		int fd;

		if (first + count - 1u > r->last) {
			seen += r->last - first + 1u;
			r->next = r->first;
			continue;
		}
		fd = hold(protocol, first, count, &failed);
		r->next = step(r, fd < 0 ? failed : first + count - 1u);
		seen += fd < 0 ? failed - first + 1u : 0;
		if (fd >= 0) {
			*ret_first = first;
			*ret_fd = fd;
			return 0;
		}
		if (fd != -EADDRINUSE)
			return cannot_hold(-fd, protocol, failed, e);
	}
	return none_is_free(r, protocol, count, e);
}
