/* net/block.c - blocks of IPv4 addresses
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/block.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define SMALL_PREFIX    20
#define SMALL_PER_LARGE 16

/*
 * /16 blocks, least likely to be in use first: Docker counts upwards from
 * 172.17, podman has 10.88, AWS's default VPC 172.31; 198.18/15 belongs to
 * benchmarks (RFC 2544).
 */
static const uint32_t candidates[] = {
	0xac1c0000, /* 172.28 */
	0xac1d0000, /* 172.29 */
	0xac1e0000, /* 172.30 */
	0x0abc0000, /* 10.188 */
	0x0abd0000, /* 10.189 */
	0xc6120000, /* 198.18 */
	0xc6130000, /* 198.19 */
};

static uint32_t mask_of(unsigned prefix)
{
	return prefix ? ~0u << (32 - prefix) : 0;
}

void address_format(uint32_t address, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%u.%u.%u.%u", address >> 24, address >> 16 & 0xff,
		       address >> 8 & 0xff, address & 0xff);
}

bool address_parse(const char *text, uint32_t *ret)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		return false;
	*ret = ntohl(a.s_addr);
	return true;
}

int block_parse(const char *text, struct block *ret, struct err *e)
{
	const char *slash = strchr(text, '/');
	char quad[INET_ADDRSTRLEN];
	uint32_t base, prefix;

	if (!slash || (size_t)(slash - text) >= sizeof(quad))
		return err_set(e, EINVAL, "'%.40s' is not a block like 172.28.0.0/16", text);
	memcpy(quad, text, (size_t)(slash - text));
	quad[slash - text] = '\0';
	if (!address_parse(quad, &base) || !parse_u32(slash + 1, 32, &prefix))
		return err_set(e, EINVAL, "'%.40s' is not a block like 172.28.0.0/16", text);
	if (prefix < BLOCK_PREFIX_MIN || prefix > BLOCK_PREFIX_MAX)
		return err_set(e, EINVAL, "block %s is not between /%d and /%d", text,
			       BLOCK_PREFIX_MIN, BLOCK_PREFIX_MAX);
	if (base & ~mask_of(prefix))
		return err_set(e, EINVAL, "block %s has bits behind its prefix", text);

	*ret = (struct block){.base = base, .prefix = prefix};
	return 0;
}

void block_format(const struct block *b, char ret[BLOCK_TEXT_MAX])
{
	size_t len;

	address_format(b->base, ret, BLOCK_TEXT_MAX);
	len = strlen(ret);
	(void)snprintf(ret + len, BLOCK_TEXT_MAX - len, "/%u", b->prefix);
}

struct block block_of_vpc(const struct ip_prefix *vpc)
{
	return (struct block){.base = ip_v4(vpc), .prefix = vpc->length};
}

bool block_same(const struct block *a, const struct block *b)
{
	return a->base == b->base && a->prefix == b->prefix;
}

bool block_overlaps(const struct block *a, const struct block *b)
{
	uint32_t mask = mask_of(a->prefix < b->prefix ? a->prefix : b->prefix);

	return (a->base & mask) == (b->base & mask);
}

bool block_holds(const struct block *b, uint32_t address)
{
	return (address & mask_of(b->prefix)) == b->base;
}

uint32_t block_gateway(const struct block *b)
{
	return b->base + 1;
}

uint32_t block_size(const struct block *b)
{
	assert(b->prefix >= BLOCK_PREFIX_MIN && b->prefix <= BLOCK_PREFIX_MAX);

	return 1u << (32 - b->prefix);
}

bool block_candidate(uint32_t tag, size_t i, struct block *ret)
{
	size_t small_count = (ARRAY_COUNT(candidates) - 1) * SMALL_PER_LARGE, at;

	if (!tag) {
		if (i >= ARRAY_COUNT(candidates))
			return false;
		*ret = (struct block){.base = candidates[i], .prefix = 16};
		return true;
	}
	/* The first /16 is left to the Berth of the whole host. */
	if (i >= small_count)
		return false;
	at = (tag + i) % small_count;
	*ret = (struct block){.base = candidates[1 + at / SMALL_PER_LARGE] +
				      (uint32_t)(at % SMALL_PER_LARGE << (32 - SMALL_PREFIX)),
			      .prefix = SMALL_PREFIX};
	return true;
}
