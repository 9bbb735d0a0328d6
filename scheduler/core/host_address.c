/* scheduler/core/host_address.c - an address of its own for each host
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a host itself sends over a tunnel to a task of another host needs a source
 * that the way back leads to. The host's address outside is none: answers to it would
 * not go through the tunnel. So each container instance has one of a block that is for
 * nothing else, for as long as it is registered, and others have it among its prefixes.
 * In IPv6 it is the same one behind a prefix of ours.
 *
 * One is not given out again before all others were.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define MEMBER "_ownAddress"

static const unsigned char prefix6[12] = {0xfd, 'b', 'e', 'r', 't', 'h'}; /* fd62:6572:7468::/96 */

void host_addresses_open(struct core *c)
{
	struct host_addresses *h = &c->host_addresses;

	if (!c->o.host_cidr || !ip_prefix_parse(c->o.host_cidr, &h->block))
		return;
	assert(!h->block.v6 && h->block.length >= HOST_CIDR_LENGTH_MIN &&
	       h->block.length <= HOST_CIDR_LENGTH_MAX);
	h->size = 1u << (32 - h->block.length);
	h->next = 1;
	h->used = xcalloc((h->size + 63) / 64, sizeof(*h->used));
	h->used[0] = 1; /* its first address and its last are nobody's */
	h->used[(h->size - 1) / 64] |= 1ULL << ((h->size - 1) % 64);
}

/* Its place in the block; 0: it has none there. */
static uint32_t offset_of(const struct core *c, const struct instance *i)
{
	const char *text = doc_string(i->record.doc, MEMBER);
	struct ip_prefix own;

	if (!c->host_addresses.size || !text || !ip_address_parse(text, &own) || own.v6 ||
	    !ip_prefix_holds(&c->host_addresses.block, &own))
		return 0;
	return ip_v4(&own) - ip_v4(&c->host_addresses.block);
}

void host_address_forget_words(struct instance *i)
{
	free(take_ptr(i->own_prefixes[0]));
	free(take_ptr(i->own_prefixes[1]));
	free(take_ptr(i->own_list));
}

/* All other hosts hear of it, again and again. */
static void put_into_words(const struct core *c, struct instance *i)
{
	char texts[2][IP_TEXT_MAX];
	struct ip_prefix own[2];

	host_address_forget_words(i);
	if (!host_address_of(c, i, own))
		return;
	for (int v6 = 0; v6 < 2; v6++) {
		ip_prefix_format(&own[v6], texts[v6]);
		i->own_prefixes[v6] = xstrdup(texts[v6]);
		ip_address_format(&own[v6], texts[v6]);
	}
	i->own_list = xasprintf("\"%s\",\"%s\"", texts[0], texts[1]);
}

char *const *host_address_prefixes(const struct instance *i)
{
	return i->own_list ? i->own_prefixes : NULL;
}

const char *host_address_list(const struct instance *i)
{
	return i->own_list;
}

void host_address_load(struct core *c, struct instance *i)
{
	uint32_t offset = offset_of(c, i);

	if (offset)
		c->host_addresses.used[offset / 64] |= 1ULL << (offset % 64);
	put_into_words(c, i);
}

void host_address_give(struct core *c, struct instance *i)
{
	struct host_addresses *h = &c->host_addresses;

	if (offset_of(c, i))
		return;
	(void)json_object_del(i->record.doc, MEMBER); /* of another block, once */
	for (uint32_t n = 0; n < h->size; n++) {
		uint32_t offset = (h->next + n) % h->size;
		const struct ip_prefix own = ip_of_v4(ip_v4(&h->block) + offset, 32);
		char text[IP_TEXT_MAX];

		if (h->used[offset / 64] >> (offset % 64) & 1)
			continue;
		ip_address_format(&own, text);
		doc_set_string(i->record.doc, MEMBER, text);
		host_address_load(c, i);
		peers_changed(c, i);
		h->next = (offset + 1) % h->size;
		return;
	}
}

void host_address_take_back(struct core *c, struct instance *i)
{
	uint32_t offset = offset_of(c, i);

	host_address_forget_words(i);
	if (offset)
		c->host_addresses.used[offset / 64] &= ~(1ULL << (offset % 64));
}

bool host_address_of(const struct core *c, const struct instance *i, struct ip_prefix ret[2])
{
	uint32_t offset = offset_of(c, i);

	if (!offset)
		return false;
	ret[0] = ip_of_v4(ip_v4(&c->host_addresses.block) + offset, 32);
	ret[1] = (struct ip_prefix){.v6 = true, .length = 128};
	memcpy(ret[1].address, prefix6, sizeof(prefix6));
	memcpy(ret[1].address + sizeof(prefix6), ret[0].address, 4);
	return true;
}
