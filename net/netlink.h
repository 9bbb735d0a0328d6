/* net/netlink.h - requests to the kernel, many in one message
 * SPDX-License-Identifier: Apache-2.0
 *
 * A batch is filled request by request and committed in one system call.  The
 * messages are built and taken apart with libnl-3; the sockets are ours, for
 * libnl's own send one request at a time and keep no extended errors.
 *
 *   batch_add(&b, RTM_NEWADDR, NLM_F_CREATE, &ifa, sizeof(ifa), "add address %s", text);
 *   batch_u32(&b, IFA_LOCAL, address);
 *   r = netlink_commit(&nl, &b, 0, e);
 *
 * rtnetlink takes each request by itself, in their order, and goes on after a
 * failed one.  nf_tables takes all of a batch or nothing.  Either way the first
 * error is reported, with the note of the request it belongs to and the
 * kernel's own words.
 */
#pragma once

#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define NETLINK_NOTE_MAX 80

struct netlink {
	int fd;
	int protocol;
	uint32_t seq; /* the last one used */
};

#define NETLINK_NONE     \
	{                \
		.fd = -1 \
	}
#define auto_netlink __attribute__((cleanup(netlink_close)))

/* NETLINK_ROUTE or NETLINK_NETFILTER; the socket stays in the thread's network namespace. */
int netlink_open(int protocol, struct netlink *ret, struct err *e);
void netlink_close(struct netlink *nl);

struct batch {
	struct buf bytes; /* requests that are complete */
	struct nl_msg *msg;
	char (*notes)[NETLINK_NOTE_MAX]; /* what each request does */
	size_t count, capacity;
	uint8_t nf_family; /* of nf_tables' objects; 0: inet */
};

#define BATCH_BYTES_MAX (16u << 20)
#define BATCH_INIT                                 \
	{                                          \
		.bytes = BUF_INIT(BATCH_BYTES_MAX) \
	}
#define auto_batch __attribute__((cleanup(batch_done)))

void batch_done(struct batch *b);

/* Begin one more request: its type, flags beside NLM_F_REQUEST, its fixed header, what it does. */
void batch_add(struct batch *b, unsigned type, unsigned flags, const void *header,
	       size_t header_size, const char *note, ...) __attribute__((format(printf, 6, 7)));
/* The requests so far, complete. */
const struct buf *batch_bytes(struct batch *b);

/* Attributes of the request begun last. */
void batch_put(struct batch *b, int type, const void *data, size_t size);
void batch_u8(struct batch *b, int type, uint8_t value);
void batch_u32(struct batch *b, int type, uint32_t value);
void batch_be32(struct batch *b, int type, uint32_t value); /* nf_tables' numbers */
void batch_text(struct batch *b, int type, const char *text);
struct nlattr *batch_nest(struct batch *b, int type);
void batch_nest_end(struct batch *b, struct nlattr *start);
/* A fixed header inside a nest. */
void batch_header(struct batch *b, const void *header, size_t size);

/*
 * Send the batch and wait for the answer; the batch is empty afterwards.
 * Errors of the value 'pass_over' (ENOENT; 0: none) do not count.
 */
int netlink_commit(struct netlink *nl, struct batch *b, int pass_over, struct err *e);

/* The same, and what the kernel answers to them goes to on_object(). */
struct netlink_dump;
int netlink_ask(struct netlink *nl, struct batch *b, const struct netlink_dump *answers,
		struct err *e);

/*
 * Ask for all objects: 'b' holds one request, without NLM_F_DUMP.  Each object
 * is given to on_object(), which returns 0 or fails the dump.  When the kernel
 * says that the list changed meanwhile, on_restart() is called and all come anew.
 */
struct netlink_dump {
	int (*on_object)(const struct nlmsghdr *h, void *arg, struct err *e);
	void (*on_restart)(void *arg);
	void *arg;
};
int netlink_dump(struct netlink *nl, struct batch *b, const struct netlink_dump *dump,
		 struct err *e);

/* What the kernel's datagrams said so far about the requests 'first' to 'last'. */
struct netlink_answer {
	uint32_t first, last;
	bool bracketed; /* 'first' is the bracket's: its error ends all */
	int pass_over;
	bool done, interrupted;
	int code;      /* errno value of the first error, or 0 */
	uint32_t seq;  /* whose error */
	char text[96]; /* the kernel's own words, or "" */
};

/* Read one datagram.  Fails with -EBADMSG when it is not made as netlink(7) says. */
int netlink_read(struct netlink_answer *a, const void *data, size_t size,
		 const struct netlink_dump *dump, struct err *e);
