/* cmd/berth/client.h - calls of the AWS APIs, over the local socket or signed
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <jansson.h>
#include <poll.h>
#include <stdint.h>

#include "base/err.h"

struct client;

struct client_options {
	const char *root;     /* of the daemon on this machine; its socket needs no signature */
	const char *endpoint; /* URL; then the AWS variables say who we are.  NULL: the socket */
};

int client_open(const struct client_options *o, struct client **ret, struct err *e);
void client_free(struct client *c);

/*
 * One call.  The request is consumed, *ret is the caller's.  The code of the
 * error tells what kind it was:
 *
 *   ENOENT        what was asked for is not there
 *   EACCES        not allowed
 *   EHOSTUNREACH  nobody answers
 *   ECONNRESET    the server went away before it had answered
 *   EHOSTDOWN     the node that had to answer is not connected
 *   EINTR         'interrupt' became readable meanwhile
 *   EREMOTEIO     the server says no: the message is its own
 */
enum client_service { CLIENT_ECS, CLIENT_LOGS, CLIENT_BERTH };

int client_call(struct client *c, enum client_service service, const char *operation,
		json_t *own_request, json_t **ret, struct err *e);

/* A descriptor that ends a call that waits; -1: none. */
void client_set_interrupt(struct client *c, int fd);

/*
 * Tasks go on without the server and without their node's agent, and so does who
 * follows them.  After a call that failed: 0, some time later, when it is to be
 * made again; else the error stays, or is that of the interrupt.  *away_ms is
 * since when they are away; the caller makes it 0 when a call works.
 */
int client_wait_back(struct client *c, int64_t *away_ms, struct err *e);
