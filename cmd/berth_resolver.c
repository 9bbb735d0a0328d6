/* cmd/berth_resolver.c - the resolver of this host's tasks
 * SPDX-License-Identifier: Apache-2.0
 *
 * Two processes (dns/dns.h).  The one that reads what strangers send has listening sockets, a
 * socket to the agent and one to the other process, and no network, file system or right
 * beside.  Both go on when the agent ends: tasks do, too.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/jail.h"
#include "dns/dns.h"
#include "ecs/resolver.h"

/* It ends when the other end of 'fd' is closed, which is when its parent does. */
static void run_dialer(int fd)
{
	struct err e = {0};

	(void)close(ECS_RESOLVER_UDP_FD);
	(void)close(ECS_RESOLVER_TCP_FD);
	(void)close(ECS_RESOLVER_AGENT_FD);
	if (dns_dial_confine(&e) == 0)
		dns_dial(fd);
	else
		(void)dprintf(STDERR_FILENO, "berth-resolver: %s\n", e.msg);
	_exit(e.code != 0);
}

static int start_dialer(int *ret_fd, struct err *e)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return err_sys(e, "socketpair");
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	(void)close(fds[pid ? 1 : 0]);
	if (!pid)
		run_dialer(fds[1]);
	*ret_fd = fds[0];
	return 0;
}

/* The agent has us on record, and the cgroup is the one that we stay in. */
static int wait_for_agent(struct err *e)
{
	struct pollfd p = {.fd = ECS_RESOLVER_AGENT_FD, .events = POLLIN};
	struct ecs_resolver_answer a;
	size_t fd_count;

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (fs_recv(ECS_RESOLVER_AGENT_FD, &a, sizeof(a), NULL, 0, &fd_count, MSG_DONTWAIT) !=
	    sizeof(a))
		return err_set(e, EPIPE, "the agent is gone");
	return 0;
}

/* The rights, and the agent's end that would be ours. */
static int confine(struct err *e)
{
	if (jail_server(e) < 0)
		return -e->code;
	if (prctl(PR_SET_PDEATHSIG, 0) < 0)
		return err_sys(e, "outlive the agent");
	return 0;
}

int main(void)
{
	struct dns_relay_options o = {.udp_fd = ECS_RESOLVER_UDP_FD,
				      .tcp_fd = ECS_RESOLVER_TCP_FD,
				      .agent_fd = ECS_RESOLVER_AGENT_FD};
	struct err e = {0};

	(void)signal(SIGPIPE, SIG_IGN);
	if (wait_for_agent(&e) == 0 && start_dialer(&o.dialer_fd, &e) == 0 && confine(&e) == 0)
		(void)dns_relay(&o, &e);
	if (e.code)
		(void)dprintf(STDERR_FILENO, "berth-resolver: %s\n", e.msg);
	return e.code != 0;
}
