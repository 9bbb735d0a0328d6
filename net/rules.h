/* net/rules.h - the rules of our table
 * SPDX-License-Identifier: Apache-2.0
 *
 * What they do is told in net/firewall.h, which has the chains and sets that they name.
 */
#pragma once

#include "net/firewall.h"
#include "net/nf.h"

/* Requests for all rules but those of security groups, and for these; how many rules. */
size_t rules_define(const struct firewall *f, struct batch *b);
size_t rules_define_groups(const struct firewall *f, struct batch *b);

/* ---- what both files say ---- */

/* Places in headers: of IPv4 and IPv6; what TCP and UDP have in common; ICMP; TCP; VXLAN. */
enum { SOURCE_ADDRESS = 12, DESTINATION_ADDRESS = 16, SOURCE_ADDRESS6 = 8 };
enum { DESTINATION_ADDRESS6 = 24, DESTINATION_PORT = 2, TYPE_AND_CODE = 0 };
enum { TCP_FLAGS = 13, SYN = 2, RST = 4, ACK = 16, VXLAN_NUMBER = 8 + 4 /* behind UDP's header */ };

extern const struct nf_set rules_quiet_sets[NET_FAMILIES];
/* Links over which something was sent to a service lately. */
extern const struct nf_set rules_askers;
extern const char *const rules_routed_sets[NET_FAMILIES], *const rules_elsewhere_sets[NET_FAMILIES];

void rule_is_family(struct nf_rule *r, bool v6);
void rule_meta_is(struct nf_rule *r, uint32_t key, enum nft_cmp_ops op, uint32_t value);
/* The source or destination is the address of a task here that is in security groups. */
void rule_is_secured(struct nf_rule *r, bool v6, bool source);
/* The source or destination address into registers from 'reg' on. */
void rule_load_address(struct nf_rule *r, bool v6, bool source, uint32_t reg);
