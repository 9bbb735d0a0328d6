/* net/block.h - blocks of IPv4 addresses
 * SPDX-License-Identifier: Apache-2.0
 *
 * Addresses are in host byte order.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/ip.h"

#define BLOCK_TEXT_MAX   20 /* "255.255.255.255/32" and a NUL */
#define BLOCK_PREFIX_MIN 12
#define BLOCK_PREFIX_MAX 28

struct block {
	uint32_t base;
	unsigned prefix;
};

/* "10.9.0.0/16": no bit set behind the prefix, /12 to /28. */
int block_parse(const char *text, struct block *ret, struct err *e);
void block_format(const struct block *b, char ret[BLOCK_TEXT_MAX]);

/* An IPv4 prefix as a block; one of length 0 is none. */
struct block block_of_vpc(const struct ip_prefix *vpc);

bool block_same(const struct block *a, const struct block *b);
bool block_overlaps(const struct block *a, const struct block *b);
bool block_holds(const struct block *b, uint32_t address);

/* The first address is the gateway; tasks have the others, but the last. */
uint32_t block_gateway(const struct block *b);
/* Addresses in all. */
uint32_t block_size(const struct block *b);

/*
 * The i-th block to try where none is configured; false: no more.  Tag 0 is
 * the Berth of the whole host and gets a /16, others a /20 where their tag
 * points, so that many on one host seldom ask for the same.
 */
bool block_candidate(uint32_t tag, size_t i, struct block *ret);

void address_format(uint32_t address, char *ret, size_t size);
/* Dotted quad; false when it is not one. */
bool address_parse(const char *text, uint32_t *ret);
