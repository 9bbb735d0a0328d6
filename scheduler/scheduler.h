/* scheduler/scheduler.h - the control plane as a process
 * SPDX-License-Identifier: Apache-2.0
 *
 * It answers the AWS APIs, keeps the cluster and its logs in SQLite, and tells
 * nodes what should run.  It needs no right but to its state directory and to
 * the descriptors that it is given.
 */
#pragma once

#include "base/err.h"

struct scheduler_options {
	int tcp_fd;             /* listening; requests must be signed.  -1: none */
	int unix_fd;            /* listening; requests need no signature.  -1: none */
	int node_fd;            /* stream to the node on this machine.  -1: none */
	int node_listen_fd;     /* listening; for nodes elsewhere.  -1: none */
	int64_t heartbeat_ms;   /* of nodes elsewhere: between two */
	int64_t certificate_ms; /* how long a node's is good */
	int64_t lost_ms;        /* see core_options */
	int64_t stopped_ms;     /* how long a stopped task can be described */
	size_t stopped_max;     /* and how many of them */
	double caller_rate;     /* requests a second that one caller may send; 0: any number */
	const char *state_dir;
	const char *region, *account;
	const char
		*vpc_cidr; /* of the default VPC, "172.31.0.0/16"; it is made at the first start */
	const char *host_cidr; /* of hosts' own addresses, "100.64.0.0/16", /10 to /24 */
	const char *access_key, *secret_key;
	int ready_fd; /* one byte is written to it when requests are answered; -1: none */
};

/*
 * Run until SIGTERM, or until the node on this machine hangs up.  Descriptors
 * are its own from now on.  Returns 0, or < 0 when it could not start or could
 * not go on (a commit failed): started again it goes on from what is stored.
 */
int scheduler_run(const struct scheduler_options *o, struct err *e);
