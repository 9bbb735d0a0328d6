/* dns/dial.c - sockets to the resolvers of the host, asked for by the relay
 * SPDX-License-Identifier: Apache-2.0
 *
 * The kernel chooses the port of each socket, at random, when it is connected; and takes
 * nothing for it that comes from elsewhere than from the server.
 */
#include "dns/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/jail.h"
#include "dns/dns.h"

#define REPLY_MS 5000 /* it waits for nobody: it is stopped, or the host is */

static const char *const files[2] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};

/* What goes over the socketpair. */
struct request {
	uint32_t which, stream;
};
struct reply {
	uint32_t which, count, version;
};

/* For the loop the descriptor does not block. */
static bool wait_for_reply(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r;

	do
		r = poll(&p, 1, REPLY_MS);
	while (r < 0 && errno == EINTR);
	return r > 0;
}

bool dial(int dialer_fd, size_t which, bool stream, struct dialed *ret)
{
	const struct request q = {.which = (uint32_t)which, .stream = stream};
	struct reply a;
	size_t fd_count = 0;

	*ret = (struct dialed){.fd = -1};
	if (fs_send(dialer_fd, &q, sizeof(q), NULL, 0) < 0 || !wait_for_reply(dialer_fd) ||
	    fs_recv(dialer_fd, &a, sizeof(a), &ret->fd, 1, &fd_count, 0) != sizeof(a))
		return false;
	ret->which = a.which;
	ret->count = a.count;
	ret->version = a.version;
	return a.count && a.count <= SERVERS_MAX && a.which < a.count;
}

/* ---- the dialer ---- */

int dns_dial_confine(struct err *e)
{
	static const int calls[] = {
		JAIL_CALLS_COMMON, SYS_openat, SYS_newfstatat, SYS_recvmsg, SYS_recvfrom,
		SYS_connect,       SYS_fcntl,  SYS_ioctl,      SYS_pread64,
	};

	if (jail_begin(e) < 0 || jail_limit(RLIMIT_FSIZE, 0, e) < 0 || jail_become_nobody(e) < 0 ||
	    jail_allow_calls(calls, ARRAY_COUNT(calls), true, e) < 0)
		return err_wrap(e, "confine the dialer");
	return 0;
}

static int open_socket(const struct sockaddr_storage *to, bool stream)
{
	const int type = stream ? SOCK_STREAM : SOCK_DGRAM;
	auto_close int fd = socket(to->ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || (connect(fd, (const struct sockaddr *)to,
			       to->ss_family == AF_INET ? sizeof(struct sockaddr_in)
							: sizeof(struct sockaddr_in6)) < 0 &&
		       errno != EINPROGRESS))
		return -1;
	return take_fd(fd);
}

void dns_dial(int fd)
{
	struct host_servers h = {0};
	struct request q;
	size_t fd_count;

	while (fs_recv(fd, &q, sizeof(q), NULL, 0, &fd_count, 0) == sizeof(q)) {
		auto_close int to = -1;
		struct reply a;

		servers_look(&h, files);
		a = (struct reply){.which = (uint32_t)(q.which % h.servers.count),
				   .count = (uint32_t)h.servers.count,
				   .version = h.version};
		to = open_socket(&h.servers.items[a.which], q.stream);
		if (fs_send(fd, &a, sizeof(a), &to, to >= 0) < 0)
			return;
	}
}
