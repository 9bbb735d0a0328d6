/* net/shortcut.h - packets of flows between two tasks of this host, past the host's network stack
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A packet from task to task is routed, tracked and filtered by the host, and queued once
 * more before the other task has it: a third of a round trip.  Once a flow has been let
 * pass, all that is decided anew each time is known.  So busy flows get a way of their own:
 *
 *   rules      one of SHORTCUT_SAMPLE packets of established connections from task to task
 *              is shown to the agent (net/rules.c).  Of a flow that it sees again and again it asks
 *              connection tracking, makes a way for each direction and binds two programs of
 *              BPF to the host's ends of both links
 *   receiving  from a task: where a way is known, straight to the other task's eth0;
 *              everything else goes on as if there were no program
 *   sending    to a task: of what came from another one, now and then, the way is noted as right
 *
 * A way is found by the link that a packet came in by, its addresses, protocol and ports.
 * The agent alone makes ways, and only for a flow that connection tracking has as
 * established, seen in both directions, not translated and looked into by no helper, between the addresses of two
 * endpoints.  What begins and ends a connection (SYN, FIN, RST), what has options of IP or
 * is a fragment goes the long way, and SYN, FIN and RST take the way away.
 *
 * 1. A new way, and one that nothing has gone the long way beside for SHORTCUT_JIFFIES, is not used:
 *    whoever has a word on the flow's packets, be it in a table of his own, is asked that
 *    often, and connection tracking, which waits for longer, does not forget it.
 * 2. Connection tracking sees few packets of such a connection of TCP, so its windows are not
 *    kept for it (IP_CT_TCP_FLAG_BE_LIBERAL).  This is set for the connection, never for the host.
 * 3. A change of rules that cuts connections takes all ways away, after the rules and before
 *    it is reported; the same thread makes ways and changes rules.  So do a flow log, and
 *    whatever somebody else does to our rules.
 * 4. A flow of an interface that has a flow log has no way: it is counted packet by packet.
 * 5. A way is a cache: flows go on without.  When the agent is gone those that are there go on.
 *
 * The programs are filters of a link's qdisc "clsact" (tc(8)): so they stay when the agent ends,
 * and go with the link.  An agent that starts takes them away, and binds its own where a flow is
 * busy: other tasks pay next to nothing.  The qdisc comes before the link is up, for the kernel
 * drops what is sent meanwhile.  (A program bound to a link by itself, TCX, costs less for each
 * packet, but makes the kernel wait for a grace period.)
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

#include "net/name.h"
#include "net/netlink.h"

#define SHORTCUT_JIFFIES \
	2500 /* that a way is used without being seen to: 10 s, with 1,000 a second 2.5 s */
#define SHORTCUT_WAYS      4096 /* one for each direction of a flow */
#define SHORTCUT_SAMPLE    32   /* a power of two */
#define SHORTCUT_SAMPLES_S 200  /* no more in a second */
#define SHORTCUT_RECENT    128  /* samples: a flow is busy that is SHORTCUT_BUSY times among them */
#define SHORTCUT_BUSY      4
#define SHORTCUT_IPV6      0x100u /* in 'protocol' */

/* As a packet is found; the programs write it on their stack. */
struct shortcut_key {
	uint32_t link; /* that it came in by */
	uint8_t ports[4];
	uint8_t source[16], destination[16]; /* of IPv4 the last four bytes */
	uint32_t protocol;
};

struct shortcut_way {
	uint64_t seen; /* when it was right, in jiffies; 0: not yet */
	/*
	 * Below the link that it leads to, the host's end; above the last four bytes of the
	 * destination.  The kernel may use the memory of a way that has gone for another one
	 * while a program looks at it: what is read at once is of one of them.
	 */
	uint64_t place;
	uint8_t macs[12]; /* of the frame there */
};

struct shortcut {
	int ways_fd, program_fds[2]; /* receiving, sending */
	struct netlink samples;
	struct shortcut_key recent[SHORTCUT_RECENT];
	size_t samples_seen;
	size_t ways;    /* at most so many are there */
	struct err why; /* why there are none, or not at every link; code 0: there are */
};
#define SHORTCUT_NONE                                                          \
	{                                                                      \
		.ways_fd = -1, .program_fds = {-1, -1}, .samples = {.fd = -1 } \
	}

/* The place of a way for packets with this key. */
uint64_t shortcut_place(const struct shortcut_key *key, uint32_t link);

/* The program; malloc'ed. */
struct bpf_insn *shortcut_program(bool receiving, int ways_fd, size_t *ret_count);

/* The group of NFLOG that samples are shown to. */
uint16_t shortcut_group(const struct name *n);

/* Nobody shows it samples yet. */
int shortcut_open(struct shortcut *ret, struct err *e);
void shortcut_close(struct shortcut *s); /* the kernel goes on */

/* A link that is not up yet gets room for programs. */
void shortcut_make_room(struct netlink *nl, uint32_t link);
/* They are at this link; idempotent. */
int shortcut_bind(const struct shortcut *s, struct netlink *nl, uint32_t link, struct err *e);
/* They are there no more; there were none: an error of the request. */
void shortcut_unbind(struct batch *b, uint32_t link);

/* One that is there already stays as it is. */
void shortcut_put(struct shortcut *s, const struct shortcut_key *key,
		  const struct shortcut_way *way);
void shortcut_forget(struct shortcut *s, uint32_t link); /* from it and to it; 0: all */

/* Of a connection that the kernel tracks: settled, not translated, and nobody looks into it. */
bool shortcut_may_have_way(const struct nlmsghdr *h);
