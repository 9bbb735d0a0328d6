/* net/policy.h - security groups as elements of sets
 * SPDX-License-Identifier: Apache-2.0
 *
 * What an address may do depends on the groups that it is in.  Each set of
 * groups that some address has is an identity, a number: there are few, however
 * many addresses.  The kernel is told which address has which identity, and for
 * the identities of this host's tasks who may talk to them (see elements.h).
 *
 * Elements must not overlap, and rules do: the boxes of protocols, ports and
 * prefixes that they span are cut along all their edges.
 *
 * A member that comes or goes costs one element.  Only a new identity or a
 * change of rules compiles anew; what does not differ is not sent.
 */
#pragma once

#include "base/map.h"
#include "net/elements.h"
#include "net/net.h"

struct member;

struct policy {
	struct map groups, members, identities;
	struct map locals;          /* addresses with an interface here, as text */
	struct member *first_dirty; /* the kernel has another identity of it */
	uint32_t last_number;
	/*
	 * The groups were told.  Before, the kernel may have them from a process
	 * that ended, and is left alone.
	 */
	bool told;
	bool stale; /* rules or identities changed since the last compilation */
	/* By set: what the kernel has.  Those of identities are in the members. */
	struct items applied[ELEMENT_SETS];
};

void policy_done(struct policy *p);

/* As net_group_set() and the like. */
int policy_set_group(struct policy *p, const struct net_group *group, struct err *e);
int policy_change_members(struct policy *p, const char *group_id, const struct net_members *change,
			  struct err *e);
void policy_remove_group(struct policy *p, const char *id);

/* An address of this host: the rules of its groups are compiled. */
void policy_add_local(struct policy *p, const struct ip_prefix *address);
void policy_remove_local(struct policy *p, const struct ip_prefix *address);
/*
 * Would the rules let a connection begin?  'own' is an address of this host, the one
 * that sends it if 'egress'; 'port' is as in packets, of ICMP type and code.
 */
bool policy_allows(const struct policy *p, const struct ip_prefix *own,
		   const struct ip_prefix *other, bool egress, uint8_t protocol, uint16_t port);

/* Groups whose changes cut connections: is a local address in one of them? */
bool policy_has_cuts(const struct policy *p);
bool policy_is_cut(const struct policy *p, const struct ip_prefix *address);
void policy_forget_cuts(struct policy *p);

bool policy_is_local(const struct policy *p, const struct ip_prefix *address);

/*
 * Put into the batch what makes the kernel's sets right, which are as they were
 * left; when it was committed, say so.  'all': they are empty now.
 */
void policy_change(struct policy *p, struct batch *b, const char *table, bool all);
void policy_changed(struct policy *p);

/* The kernel's sets were made equal to policy_elements(). */
void policy_reconciled(struct policy *p);

/* All elements of a set as they are now, sorted; *ret is the caller's. */
void policy_elements(const struct policy *p, enum element_set set, struct items *ret);
