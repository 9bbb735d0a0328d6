/* cmd/berthd/server.h - the server's process: callers' bytes are parsed without root
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <sys/types.h>

#include "cmd/berthd/host.h"

/* The server of a host, as its parent sees it. */
struct server {
	const struct host *host; /* borrowed */
	/* listening: they outlive the process that answers on them; node_listen_fd -1: none */
	int tcp_fd, unix_fd, node_listen_fd;
	int pidfd; /* of the running one; -1: none */
	pid_t pid;
};
#define SERVER_OF(h)                                                                        \
	{                                                                                   \
		.host = (h), .tcp_fd = -1, .unix_fd = -1, .node_listen_fd = -1, .pidfd = -1 \
	}

/*
 * Start the server's process, or start it again: what is left of an earlier
 * one is ended and reaped.  *ret_node_fd is our end of the stream to it, the
 * caller's; it answers requests when this returns.
 */
int server_start(struct server *s, int *ret_node_fd, struct err *e);
void server_stop(struct server *s);

/* main() of the server's process, started by server_start(). */
int server_child_main(void);

/* Be the server: this process gives up its rights for good and runs it. */
int server_run_here(struct server *s, struct err *e);
