/* scheduler/core/subnet.c - subnets, and who has which of their addresses
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A subnet of any size is cut into at most 256 blocks.  A block belongs to the
 * host of the interfaces in it, so that one route leads to all of them, and is
 * free again when the last has gone.  Which blocks are whose is never stored:
 * the interfaces say it.
 *
 * In a subnet of both families an interface has the same place in either block.  Of one
 * with IPv6 alone the first 65,536 addresses are given out.
 *
 * 1. The first four addresses of a subnet and its last are nobody's, as on AWS.
 * 2. An address is sought behind the one that was given out last, and its
 *    interface rests before it is dropped: so none is used again at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define LENGTH_MIN     16
#define LENGTH_MAX     28
#define IPV6_LENGTH    64
#define IPV6_BITS      16 /* of addresses that are given out, where there are none of IPv4 */
#define RESERVED_FIRST 4
#define RESERVED       (RESERVED_FIRST + 1)
#define BLOCK_BITS     8 /* of the number of a block */

static json_t *show(struct core *c, const void *object)
{
	const struct record *r = object;
	const struct subnet *s = (const struct subnet *)r;
	json_t *doc = doc_public(r->doc, false);
	uint32_t used = 0;

	(void)c;
	if (!s->cidr.length) { /* of IPv4 there are none */
		(void)json_object_set_new(doc, "availableIpAddressCount", json_integer(0));
		return doc;
	}
	for (uint32_t i = 0; i < (s->size + 63) / 64; i++)
		used += (uint32_t)__builtin_popcountll(s->used[i]);
	(void)json_object_set_new(doc, "availableIpAddressCount", json_integer(s->size - used));
	return doc;
}

static const struct ec2_filter filters[] = {
	{"subnet-id", "subnetId"},
	{"vpc-id", "vpcId"},
	{"cidr-block", "cidrBlock"},
	{"cidr", "cidrBlock"},
	{"cidrBlock", "cidrBlock"},
	{"availability-zone", "availabilityZone"},
	{"availabilityZone", "availabilityZone"},
	{"availability-zone-id", "availabilityZoneId"},
	{"available-ip-address-count", "availableIpAddressCount"},
	{"default-for-az", "defaultForAz"},
	{"defaultForAz", "defaultForAz"},
	{"map-public-ip-on-launch", "mapPublicIpOnLaunch"},
	{"ipv6-cidr-block-association.association-id", "ipv6CidrBlockAssociationSet.associationId"},
	{"ipv6-cidr-block-association.ipv6-cidr-block",
	 "ipv6CidrBlockAssociationSet.ipv6CidrBlock"},
	{"ipv6-cidr-block-association.state",
	 "ipv6CidrBlockAssociationSet.ipv6CidrBlockState.state"},
	{"enable-dns64", "enableDns64"},
	{"ipv6-native", "ipv6Native"},
	{"owner-id", "ownerId"},
	{"state", "state"},
	{"subnet-arn", "subnetArn"},
	{NULL, NULL},
};

const struct ec2_kind subnet_kind = {.set = "subnetSet",
				     .id = "subnetId",
				     .ids = "SubnetId",
				     .word = "subnet ID",
				     .absent = ECS_FAULT_EC2_SUBNET_NOT_FOUND,
				     .filters = filters,
				     .show = show};

/* ---- life ---- */

void subnet_free(struct subnet *s)
{
	record_done(&s->record);
	free(s->block_owner);
	free(s->block_used);
	free(s->used);
	free(s->id);
	free(s);
}

static void reserve(struct subnet *s, uint32_t offset)
{
	s->used[offset / 64] |= 1ULL << (offset % 64);
}

static struct subnet *add(struct core *c, const char *id, const struct ip_prefix *cidr,
			  const struct ip_prefix *cidr6, json_t *own_doc)
{
	struct subnet *s = xcalloc(1, sizeof(*s));
	uint32_t block_count;

	s->id = xstrdup(id);
	s->cidr = *cidr;
	s->cidr6 = *cidr6;
	s->size = 1u << (cidr->length ? 32 - cidr->length : IPV6_BITS);
	s->block_size = s->size >> BLOCK_BITS ? s->size >> BLOCK_BITS : 1;
	block_count = s->size / s->block_size;
	s->block_owner = xcalloc(block_count, sizeof(*s->block_owner));
	s->block_used = xcalloc(block_count, sizeof(*s->block_used));
	s->used = xcalloc((s->size + 63) / 64, sizeof(*s->used));
	for (uint32_t i = 0; i < RESERVED_FIRST; i++)
		reserve(s, i);
	reserve(s, s->size - 1);
	record_init(&s->record, own_doc, "subnet/%s", id);
	(void)map_put(&c->subnets, id, s);
	return s;
}

int subnet_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "subnetId"), *cidr = doc_string(own_doc, "cidrBlock"),
		   *cidr6 = doc_string(
			   json_array_get(json_object_get(own_doc, "ipv6CidrBlockAssociationSet"),
					  0),
			   "ipv6CidrBlock");
	struct ip_prefix v4 = {0}, v6 = {0};

	if (cidr6)
		(void)ip_prefix_parse(cidr6, &v6);
	if (!id || (cidr ? !ip_prefix_parse(cidr, &v4) || v4.v6 || v4.length < LENGTH_MIN ||
				    v4.length > LENGTH_MAX
			 : v6.length != IPV6_LENGTH))
		return err_set(e, EUCLEAN, "is not whole");
	(void)add(c, id, &v4, &v6, own_doc);
	return 0;
}

struct subnet *subnet_make(struct core *c, const struct vpc *v, const struct ip_prefix *cidr,
			   const struct ip_prefix *cidr6, const char *zone, json_t *own_tags)
{
	char id[EC2_ID_SIZE], text[IP_TEXT_MAX], association[EC2_ID_SIZE];
	json_t *doc, *associations = json_array();
	struct subnet *s;
	struct err e;

	ec2_make_id(c, "subnet", &c->subnets, id);
	if (cidr6) {
		ip_prefix_format(cidr6, text);
		ec2_make_id(c, "subnet-cidr-assoc", NULL, association);
		(void)json_array_append_new(associations,
					    json_pack("{s:s, s:s, s:{s:s}}", "ipv6CidrBlock", text,
						      "associationId", association,
						      "ipv6CidrBlockState", "state", "associated"));
	}
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:b, s:b, s:b, s:o}",
			"subnetId", id, "vpcId", v->id, "ownerId", c->o.identity.account, "state",
			"available", "availabilityZone", zone, "availabilityZoneId", zone,
			"ipv6CidrBlockAssociationSet", associations, "assignIpv6AddressOnCreation",
			cidr6 != NULL, "defaultForAz", 0, "mapPublicIpOnLaunch", 0, "enableDns64",
			0, "ipv6Native", cidr == NULL, "tagSet", own_tags);
	if (cidr) {
		ip_prefix_format(cidr, text);
		doc_set_string(doc, "cidrBlock", text);
	}
	(void)json_object_set_new(doc, "subnetArn",
				  json_sprintf("arn:aws:ec2:%s:%s:subnet/%s", c->o.identity.region,
					       c->o.identity.account, id));
	(void)subnet_load(c, doc, &e);
	s = map_find(&c->subnets, id);
	record_touch(c, &s->record);
	return s;
}

/* ---- addresses ---- */

/* Of an address of IPv4; in a subnet that has none it is what interfaces have for one. */
static uint32_t offset_of(const struct subnet *s, uint32_t address)
{
	return address - ip_v4(&s->cidr);
}

static bool is_used(const struct subnet *s, uint32_t offset)
{
	return s->used[offset / 64] >> (offset % 64) & 1;
}

void subnet_mark(struct core *c, struct subnet *s, struct instance *i, uint32_t address)
{
	uint32_t offset = offset_of(s, address), block = offset / s->block_size;

	if (offset >= s->size || is_used(s, offset))
		return;
	reserve(s, offset);
	s->block_used[block]++;
	if (i && !s->block_owner[block]) {
		s->block_owner[block] = i;
		peers_block(c, s, i, 1);
	}
}

void subnet_give_back(struct core *c, struct subnet *s, uint32_t address)
{
	uint32_t offset = offset_of(s, address), block = offset / s->block_size;

	if (offset >= s->size || !is_used(s, offset))
		return;
	s->used[offset / 64] &= ~(1ULL << (offset % 64));
	if (--s->block_used[block] || !s->block_owner[block])
		return;
	peers_block(c, s, s->block_owner[block], -1);
	s->block_owner[block] = NULL;
}

/* The next free address from the cursor on in blocks of an owner; NULL: in those of nobody. */
static bool seek(struct subnet *s, const struct instance *owner, uint32_t *ret_offset)
{
	for (uint32_t n = 0; n < s->size; n++) {
		uint32_t offset = (s->next + n) % s->size, block = offset / s->block_size;

		if (s->block_owner[block] != owner) {
			n += s->block_size - 1 - offset % s->block_size; /* the whole block */
			continue;
		}
		if (!is_used(s, offset)) {
			*ret_offset = offset;
			return true;
		}
	}
	return false;
}

bool subnet_take_address(struct core *c, struct subnet *s, struct instance *i, uint32_t *ret)
{
	uint32_t offset;

	if (!seek(s, i, &offset) && !seek(s, NULL, &offset))
		return false;
	*ret = ip_v4(&s->cidr) + offset;
	subnet_mark(c, s, i, *ret);
	s->next = (offset + 1) % s->size;
	return true;
}

/* ---- operations ---- */

static int check_ipv6(struct core *c, const struct vpc *v, const char *text, struct ip_prefix *ret,
		      struct ecs_fault *f)
{
	const char *outer_text = vpc_ipv6(v);
	struct ip_prefix outer;
	struct subnet *s;

	if (ec2_parse_cidr(text, true, "ipv6CidrBlock", ret, f) < 0)
		return -1;
	if (!outer_text || !ip_prefix_parse(outer_text, &outer) || ret->length != IPV6_LENGTH ||
	    !ip_prefix_holds(&outer, ret))
		return ecs_fault_set(
			f, ECS_FAULT_EC2_SUBNET_RANGE,
			"The CIDR '%.100s' is invalid: it must be a /%d of the VPC's %s", text,
			IPV6_LENGTH, outer_text ? outer_text : "(none)");
	for (size_t i = 0; map_next(&c->subnets, &i, &s);)
		if (s->cidr6.length && ip_prefix_overlaps(&s->cidr6, ret))
			return ecs_fault_set(f, ECS_FAULT_EC2_SUBNET_CONFLICT,
					     "The CIDR '%.100s' conflicts with another subnet",
					     text);
	return 0;
}

static int check_cidr(struct core *c, const struct vpc *v, const char *text, struct ip_prefix *ret,
		      struct ecs_fault *f)
{
	struct subnet *s;

	if (ec2_parse_cidr(text, false, "cidrBlock", ret, f) < 0)
		return -1;
	if (ret->length < LENGTH_MIN || ret->length > LENGTH_MAX || !ip_prefix_holds(&v->cidr, ret))
		return ecs_fault_set(f, ECS_FAULT_EC2_SUBNET_RANGE, "The CIDR '%.100s' is invalid.",
				     text);
	for (size_t i = 0; map_next(&c->subnets, &i, &s);)
		if (s->cidr.length && ip_prefix_overlaps(&s->cidr, ret))
			return ecs_fault_set(f, ECS_FAULT_EC2_SUBNET_CONFLICT,
					     "The CIDR '%.100s' conflicts with another subnet",
					     text);
	return 0;
}

/* Which blocks it is to have: of IPv4, of both, or, where that is said, of IPv6 alone. */
static int check_blocks(const json_t *request, struct ecs_fault *f)
{
	const bool native = doc_true(request, "Ipv6Native");
	const char *missing = native && !doc_string(request, "Ipv6CidrBlock") ? "ipv6CidrBlock"
			      : !native && !doc_string(request, "CidrBlock")  ? "cidrBlock"
									      : NULL;

	if (missing)
		return ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				     "The request must contain the parameter %s", missing);
	if (native && doc_string(request, "CidrBlock"))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "A subnet of IPv6 alone (ipv6Native) has no cidrBlock.");
	return 0;
}

json_t *create_subnet(struct core *c, json_t *request, struct ecs_fault *f)
{
	const struct vpc *v = ec2_find(&c->vpcs, &vpc_kind, doc_string(request, "VpcId"), f);
	const char *zone = doc_string(request, "AvailabilityZone"),
		   *text = doc_string(request, "CidrBlock"),
		   *text6 = doc_string(request, "Ipv6CidrBlock");
	auto_json json_t *tags = json_object();
	auto_free char *first_zone = xasprintf("%sa", c->o.identity.region);
	struct ip_prefix cidr, cidr6;
	struct subnet *s;

	if (!v || check_blocks(request, f) < 0 || (text && check_cidr(c, v, text, &cidr, f) < 0) ||
	    (text6 && check_ipv6(c, v, text6, &cidr6, f) < 0) ||
	    ec2_take_tags(request, "subnet", tags, f) < 0)
		return NULL;
	if (!zone)
		zone = doc_string(request, "AvailabilityZoneId");
	if (zone && (!*zone || strlen(zone) > 100)) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				    "Value (%.100s) for parameter availabilityZone is invalid.",
				    zone);
		return NULL;
	}
	s = subnet_make(c, v, text ? &cidr : NULL, text6 ? &cidr6 : NULL, zone ? zone : first_zone,
			json_incref(json_object_get(tags, "tagSet")));
	return json_pack("{s:o}", "subnet", show(c, &s->record));
}

json_t *describe_subnets(struct core *c, json_t *request, struct ecs_fault *f)
{
	return ec2_describe(c, &subnet_kind, &c->subnets, request, f);
}

json_t *delete_subnet(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct subnet *s = ec2_find(&c->subnets, &subnet_kind, doc_string(request, "SubnetId"), f);
	struct interface *n;

	if (!s)
		return NULL;
	for (size_t i = 0; map_next(&c->interfaces, &i, &n);) {
		if (n->subnet == s && !n->released_ms) {
			(void)ecs_fault_set(
				f, ECS_FAULT_EC2_DEPENDENCY,
				"The subnet '%s' has dependencies and cannot be deleted.", s->id);
			return NULL;
		}
	}
	interfaces_leave(c, s); /* those that nobody sees any more */
	(void)map_remove(&c->subnets, s->id);
	record_delete(c, &s->record);
	subnet_free(s);
	return json_pack("{s:b}", "return", 1);
}
