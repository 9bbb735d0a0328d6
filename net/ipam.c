/* net/ipam.c - which addresses of the block are free
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/ipam.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

static bool is_used(const struct ipam *p, uint32_t offset)
{
	return p->used[offset / 64] >> (offset % 64) & 1;
}

static void set_used(struct ipam *p, uint32_t offset, bool used)
{
	uint64_t bit = 1ull << (offset % 64);

	assert(is_used(p, offset) != used);
	p->used[offset / 64] ^= bit;
	p->free += used ? -1u : 1u;
}

void ipam_init(struct ipam *p, const struct block *block)
{
	uint32_t size = block_size(block);

	*p = (struct ipam){.block = *block, .free = size, .next = 2};
	p->used = xcalloc((size + 63) / 64, sizeof(*p->used));
	set_used(p, 0, true);        /* the block's own name */
	set_used(p, 1, true);        /* the gateway */
	set_used(p, size - 1, true); /* what some stacks take for a broadcast */
}

void ipam_done(struct ipam *p)
{
	free(p->used);
	free(p->resting);
	*p = (struct ipam){0};
}

bool ipam_mark(struct ipam *p, uint32_t address)
{
	if (!block_holds(&p->block, address) || is_used(p, address - p->block.base))
		return false;
	set_used(p, address - p->block.base, true);
	return true;
}

bool ipam_wake(struct ipam *p, int64_t now_ms, uint32_t *ret)
{
	const struct ipam_rest *oldest = &p->resting[p->rest_first];

	if (!p->rest_count || (oldest->until_ms > now_ms && p->free))
		return false;
	*ret = oldest->address;
	set_used(p, *ret - p->block.base, false);
	p->rest_first++;
	p->rest_count--;
	return true;
}

bool ipam_take(struct ipam *p, uint32_t *ret)
{
	uint32_t size = block_size(&p->block), offset = p->next;

	if (!p->free)
		return false;
	while (is_used(p, offset))
		offset = (offset + 1) % size;
	set_used(p, offset, true);
	p->next = (offset + 1) % size;
	*ret = p->block.base + offset;
	return true;
}

void ipam_release(struct ipam *p, uint32_t address, int64_t now_ms)
{
	size_t end = p->rest_first + p->rest_count;

	assert(block_holds(&p->block, address) && is_used(p, address - p->block.base));

	if (end == p->rest_capacity && p->rest_first > end / 2) {
		memmove(p->resting, p->resting + p->rest_first,
			p->rest_count * sizeof(*p->resting));
		p->rest_first = 0;
		end = p->rest_count;
	}
	p->resting = xgrow(p->resting, end, &p->rest_capacity, sizeof(*p->resting));
	p->resting[end] = (struct ipam_rest){address, now_ms + ADDRESS_REST_MS};
	p->rest_count++;
}
