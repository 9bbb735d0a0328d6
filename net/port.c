/* net/port.c - host ports, held by sockets
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/port.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

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

static int hold(enum net_protocol protocol, uint16_t port)
{
	int fd = bind_port(AF_INET6, protocol, port);

	return fd == -EAFNOSUPPORT ? bind_port(AF_INET, protocol, port) : fd;
}

int port_hold(enum net_protocol protocol, uint16_t port, int *ret_fd, struct err *e)
{
	int fd = hold(protocol, port);

	assert(port);

	if (fd == -EADDRINUSE)
		return err_set(e, EADDRINUSE, "host port %u/%s is already in use", port,
			       net_protocol_name(protocol));
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "hold host port %u/%s", port, net_protocol_name(protocol));
	}
	*ret_fd = fd;
	return 0;
}

int port_hold_any(struct port_range *r, enum net_protocol protocol, uint16_t *ret_port, int *ret_fd,
		  struct err *e)
{
	unsigned count = r->last - r->first + 1u;

	for (unsigned i = 0; i < count; i++) {
		uint16_t port = r->next;
		int fd = hold(protocol, port);

		r->next = port == r->last ? r->first : (uint16_t)(port + 1);
		if (fd == -EADDRINUSE)
			continue;
		if (fd < 0) {
			errno = -fd;
			return err_sys(e, "hold host port %u/%s", port,
				       net_protocol_name(protocol));
		}
		*ret_port = port;
		*ret_fd = fd;
		return 0;
	}
	return err_set(e, EADDRINUSE, "no host port of %u-%u/%s is free", r->first, r->last,
		       net_protocol_name(protocol));
}
