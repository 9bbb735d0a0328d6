/* net/name.h - what our objects in the kernel are called
 * SPDX-License-Identifier: Apache-2.0
 *
 * Everything follows from the name of the Berth and the address of the task,
 * so that after a crash an object is known by its name alone:
 *
 *                    berth        berth-1a2b3c
 *   table            berth        berth-1a2b3c
 *   links            brt-0007     brt1a2b3c-0007    hexadecimal: the host part of the address
 *   label on lo      lo:brt       lo:brt1a2b3c      and lo:brtp, lo:brt1a2b3cp
 *   interface group  0x42000000   0x431a2b3c
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"

struct name {
	char table[16];
	char prefix[IFNAMSIZ];       /* of links: "brt-" */
	char label[IFNAMSIZ];        /* of the gateway's address */
	char public_label[IFNAMSIZ]; /* of tasks' public addresses */
	uint32_t tag;                /* the six digits; 0 for "berth" */
	uint32_t group;
};

/*
 * Where tasks in mode bridge have their IPv6 addresses: a /64 of unique local
 * ones, which the world never sees.  Each has its IPv4 address for the last bits.
 */
struct ip_prefix name_block6(const struct name *n);
struct ip_prefix name_address6(const struct name *n, uint32_t address);

int name_derive(const char *text, struct name *ret, struct err *e);

/* Addresses here are in host byte order. 'host_part' is below 2^20. */
void name_link(const struct name *n, uint32_t host_part, char ret[IFNAMSIZ]);

/* Whether a link is called as those of some Berth are, whatever was done to its group. */
bool name_is_link(const char *name);

/*
 * The index that the host's end of the task's link is given.  No two Berths
 * of one host have an address in common, and indexes that the kernel counts
 * out itself are far below.
 */
uint32_t name_link_index(uint32_t address);

/* The MAC of the task's end, of its address: locally administered. */
void name_mac(uint32_t address, uint8_t ret[6]);
/* Of one with IPv6 alone: another kind, with the last bytes of subnet and address. */
void name_mac6(const struct ip_prefix *address, uint8_t ret[6]);
/* Of one with addresses of its own, by family. */
void name_own_mac(const struct ip_prefix own[2], uint8_t ret[6]);
/* The host's end is the same for all: no address is ever resolved on these links. */
extern const uint8_t name_host_mac[6];
