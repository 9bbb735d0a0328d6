/* net/flows.h - the part of the facade that is about flow logs
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"

struct net;

/*
 * Flows of tasks in mode NET_AWSVPC: what passed, and what no group of theirs
 * allowed, from now on; of connections that are older nothing is told.
 */
struct net_flow {
	struct ip_prefix at; /* the address of the interface that saw it */
	struct ip_prefix source, destination;
	uint16_t source_port, destination_port; /* 0 where the protocol has none */
	uint8_t protocol;
	bool accepted;
	uint64_t packets, bytes;   /* since it was told last */
	int64_t first_ms, last_ms; /* wall clock; first_ms 0: not known */
};

struct net_flow_options {
	bool (*is_logged)(void *ctx, const struct ip_prefix *address);
	void (*on_flow)(void *ctx, const struct net_flow *flow);
	void (*on_loss)(void *ctx);    /* something was not told, of whatever interface */
	void (*on_sampled)(void *ctx); /* NULL: nobody wants to know */
	void *ctx;
};

struct net_flows;
int net_flows_open(struct net *net, const struct net_flow_options *options, struct net_flows **ret,
		   struct err *e);
int net_flows_fd(const struct net_flows *f);            /* readable: there is something to read */
int net_flows_read(struct net_flows *f, struct err *e); /* it never waits */
/*
 * Have what open connections of these addresses have counted told: a thread looks, and
 * net_flows_read() tells, then on_sampled().  NET_FLOWS_BUSY: it is being done already.
 */
enum { NET_FLOWS_BUSY = 1 };
int net_flows_sample(struct net_flows *f, const struct ip_prefix *addresses, size_t count,
		     struct err *e);
int net_flows_wait(struct net_flows *f, struct err *e);    /* for the one that is under way */
void net_flows_close(struct net_flows *f);                 /* the kernel goes on counting */
int net_flows_end(struct net_flows *own_f, struct err *e); /* it does as it did before */
