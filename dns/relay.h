/* dns/relay.h - the relay, as its files see it
 * SPDX-License-Identifier: Apache-2.0
 *
 *   relay.c    begins and ends; what comes as datagrams; the agent's answers
 *   query.c    one query, from its coming to its answer
 *   stream.c   connections of tasks
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/loop.h"
#include "dns/asker.h"
#include "dns/dns.h"
#include "dns/frame.h"
#include "dns/local.h"
#include "dns/message.h"
#include "dns/standing.h"

/* Each has a descriptor for each server of the host, of 1,024 that there are. */
#define QUERIES_MAX 300
#define STREAMS_MAX 64 /* each may have an answer of 64 KiB that nobody reads */

struct query;
struct stream;

struct relay {
	const struct dns_relay_options *o;
	struct loop *loop;
	struct loop_fd *datagrams, *connections, *dialer;
	struct loop_fd *agent; /* NULL: it is gone */
	struct askers askers;
	struct standing standing;
	struct query *queries; /* the newest first */
	struct stream *streams;
	size_t query_count, stream_count;
	uint64_t number;  /* of the last question to the agent */
	const char *over; /* why it ends; NULL: it does not */
	uint8_t buffer[MESSAGE_MAX];
};

/* It cannot go on. */
void relay_end(struct relay *r, const char *why);

/* ---- query.c ---- */

/* Who asks: by a datagram from an address, or on a stream, which waits for the answer. */
struct query_from {
	struct asker *asker;
	struct sockaddr_storage address;
	socklen_t address_size;
	struct stream *stream; /* NULL: by a datagram */
};

/*
 * A message of a task: answered at once, later, or never.  False: never; it is none, or there
 * is no place for it.
 */
bool query_take(struct relay *r, const struct query_from *from, uint8_t *message, size_t size);
/* The agent knows in which VPC the asker is. */
void query_told(struct relay *r, const struct ecs_resolver_answer *a);
/* Nobody waits for the answer any more. */
void query_drop(struct query *q);
void queries_drop_all(struct relay *r);

/* ---- stream.c ---- */

/* Somebody has connected. */
void stream_accept(struct relay *r);
void stream_asked(struct stream *s, struct query *q); /* NULL: and is answered, or never will be */
void stream_answer(struct stream *s, const uint8_t *message, size_t size);
void streams_drop_all(struct relay *r);
