/* scheduler/core/vpc.c - VPCs and availability zones
 * SPDX-License-Identifier: Apache-2.0
 *
 * One default VPC exists from the start, with a subnet in each zone that has
 * been seen.  All VPCs are routed by the same hosts, so no two may overlap.
 */
#include "scheduler/core/vpc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define LENGTH_MIN          16
#define LENGTH_MAX          28
#define DEFAULT_SUBNET_BITS 20
#define IPV6_LENGTH         56

static const struct ec2_filter filters[] = {
	{"vpc-id", "vpcId"},
	{"cidr", "cidrBlock"},
	{"cidr-block-association.association-id", "cidrBlockAssociationSet.associationId"},
	{"cidr-block-association.cidr-block", "cidrBlockAssociationSet.cidrBlock"},
	{"cidr-block-association.state", "cidrBlockAssociationSet.cidrBlockState.state"},
	{"dhcp-options-id", "dhcpOptionsId"},
	{"ipv6-cidr-block-association.association-id", "ipv6CidrBlockAssociationSet.associationId"},
	{"ipv6-cidr-block-association.ipv6-cidr-block",
	 "ipv6CidrBlockAssociationSet.ipv6CidrBlock"},
	{"ipv6-cidr-block-association.state",
	 "ipv6CidrBlockAssociationSet.ipv6CidrBlockState.state"},
	{"is-default", "isDefault"},
	{"isDefault", "isDefault"},
	{"owner-id", "ownerId"},
	{"state", "state"},
	{NULL, NULL},
};

const struct ec2_kind vpc_kind = {.set = "vpcSet",
				  .id = "vpcId",
				  .ids = "VpcId",
				  .word = "vpc ID",
				  .absent = ECS_FAULT_EC2_VPC_NOT_FOUND,
				  .filters = filters};

void vpc_free(struct vpc *v)
{
	record_done(&v->record);
	free(v->id);
	free(v);
}

int vpc_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "vpcId"), *cidr = doc_string(own_doc, "cidrBlock");
	struct ip_prefix prefix;
	struct vpc *v;

	if (!id || !cidr || !ip_prefix_parse(cidr, &prefix))
		return err_set(e, EUCLEAN, "is not whole");
	v = xcalloc(1, sizeof(*v));
	v->id = xstrdup(id);
	v->cidr = prefix;
	record_init(&v->record, own_doc, "vpc/%s", id);
	(void)map_put(&c->vpcs, id, v);
	return 0;
}

const char *vpc_ipv6(const struct vpc *v)
{
	return doc_string(
		json_array_get(json_object_get(v->record.doc, "ipv6CidrBlockAssociationSet"), 0),
		"ipv6CidrBlock");
}

/* ---- made ---- */

/* A unique local prefix, RFC 4193: fd, 40 bits that nobody else has, 8 that are ours to give. */
static struct ip_prefix random_ipv6(struct core *c)
{
	struct ip_prefix p = {.v6 = true, .length = IPV6_LENGTH};
	char digits[13];

	core_random_hex(c, digits, 12);
	(void)hex_decode(digits, p.address + 1, 6);
	p.address[0] = 0xfd;
	return p;
}

static json_t *association(struct core *c, const char *member, const char *state,
			   const struct ip_prefix *cidr)
{
	char text[IP_TEXT_MAX], id[EC2_ID_SIZE];

	ip_prefix_format(cidr, text);
	ec2_make_id(c, "vpc-cidr-assoc", NULL, id);
	return json_pack("[{s:s, s:s, s:{s:s}}]", member, text, "associationId", id, state, "state",
			 "associated");
}

static struct vpc *make(struct core *c, const struct ip_prefix *cidr, bool is_default, bool ipv6,
			json_t *own_tags)
{
	char id[EC2_ID_SIZE], text[IP_TEXT_MAX];
	struct err e;
	json_t *doc;
	struct vpc *v;

	ec2_make_id(c, "vpc", &c->vpcs, id);
	ip_prefix_format(cidr, text);
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o}", "vpcId", id,
			"ownerId", c->o.identity.account, "state", "available", "cidrBlock", text,
			"dhcpOptionsId", "default", "instanceTenancy", "default", "isDefault",
			is_default, "cidrBlockAssociationSet",
			association(c, "cidrBlock", "cidrBlockState", cidr),
			"ipv6CidrBlockAssociationSet", json_array(), "tagSet", own_tags);
	if (ipv6) {
		const struct ip_prefix p = random_ipv6(c);

		(void)json_object_set_new(
			doc, "ipv6CidrBlockAssociationSet",
			association(c, "ipv6CidrBlock", "ipv6CidrBlockState", &p));
	}
	(void)vpc_load(c, doc, &e);
	v = map_find(&c->vpcs, id);
	record_touch(c, &v->record);
	(void)security_group_make(c, v, "default", "default VPC security group", json_array());
	return v;
}

static int check_cidr(struct core *c, const char *text, struct ip_prefix *ret, struct ecs_fault *f)
{
	struct vpc *v;

	if (ec2_parse_cidr(text, false, "cidrBlock", ret, f) < 0)
		return -1;
	if (ret->length < LENGTH_MIN || ret->length > LENGTH_MAX || ip_prefix_is_special(ret))
		return ecs_fault_set(f, ECS_FAULT_EC2_VPC_RANGE, "The CIDR '%.100s' is invalid.",
				     text);
	if (c->host_addresses.size && ip_prefix_overlaps(&c->host_addresses.block, ret))
		return ecs_fault_set(
			f, ECS_FAULT_EC2_VPC_RANGE,
			"The CIDR '%.100s' overlaps with %s, which hosts have their own "
			"addresses of ([server] host-cidr).",
			text, c->o.host_cidr);
	for (size_t i = 0; map_next(&c->vpcs, &i, &v);)
		if (ip_prefix_overlaps(&v->cidr, ret))
			return ecs_fault_set(f, ECS_FAULT_EC2_VPC_RANGE,
					     "The CIDR '%.100s' overlaps with that of %s: all VPCs "
					     "are routed by the same hosts.",
					     text, v->id);
	return 0;
}

json_t *create_vpc(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *tenancy = doc_string(request, "InstanceTenancy");
	auto_json json_t *tags = json_object();
	struct ip_prefix cidr;
	struct vpc *v;

	if (tenancy && strcmp(tenancy, "default") != 0) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_UNSUPPORTED,
				    "InstanceTenancy %s is not supported: hosts are yours already.",
				    tenancy);
		return NULL;
	}
	if (check_cidr(c, doc_string(request, "CidrBlock"), &cidr, f) < 0 ||
	    ec2_take_tags(request, "vpc", tags, f) < 0)
		return NULL;
	v = make(c, &cidr, false, doc_true(request, "AmazonProvidedIpv6CidrBlock"),
		 json_incref(json_object_get(tags, "tagSet")));
	return json_pack("{s:o}", "vpc", doc_public(v->record.doc, false));
}

json_t *describe_vpcs(struct core *c, json_t *request, struct ecs_fault *f)
{
	return ec2_describe(c, &vpc_kind, &c->vpcs, request, f);
}

static bool in_use(struct core *c, const char *vpc_id)
{
	const struct map *dependents[] = {&c->subnets, &c->security_groups};
	struct record *r;

	for (size_t n = 0; n < ARRAY_COUNT(dependents); n++)
		for (size_t i = 0; map_next(dependents[n], &i, &r);)
			if (str_eq(doc_string(r->doc, "vpcId"), vpc_id) &&
			    !str_eq(doc_string(r->doc, "groupName"), "default"))
				return true;
	return false;
}

json_t *delete_vpc(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct vpc *v = ec2_find(&c->vpcs, &vpc_kind, doc_string(request, "VpcId"), f);
	struct security_group *g;

	if (!v)
		return NULL;
	if (in_use(c, v->id)) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_DEPENDENCY,
				    "The vpc '%s' has dependencies and cannot be deleted.", v->id);
		return NULL;
	}
	g = security_group_default(c, v->id);
	if (g) {
		(void)map_remove(&c->security_groups, g->id);
		record_delete(c, &g->record);
		security_group_free(g);
	}
	(void)map_remove(&c->vpcs, v->id);
	record_delete(c, &v->record);
	vpc_free(v);
	return json_pack("{s:b}", "return", 1);
}

/* ---- the default ---- */

struct vpc *vpc_default(struct core *c)
{
	struct vpc *v;

	for (size_t i = 0; map_next(&c->vpcs, &i, &v);)
		if (doc_true(v->record.doc, "isDefault"))
			return v;
	return NULL;
}

static void make_default(struct core *c)
{
	struct ip_prefix cidr;

	if (ip_prefix_parse(c->o.vpc_cidr, &cidr))
		(void)make(c, &cidr, true, false, json_array());
}

/* The zone that there is before any host has named one. */
static char *first_zone(const struct core *c)
{
	return xasprintf("%sa", c->o.identity.region);
}

void vpc_make_default(struct core *c)
{
	auto_free char *zone = first_zone(c);

	if (!c->vpcs.count) {
		make_default(c);
		vpc_add_zone(c, zone);
	}
}

static bool has_subnet_in(struct core *c, const char *zone)
{
	struct subnet *s;

	for (size_t i = 0; map_next(&c->subnets, &i, &s);)
		if (doc_true(s->record.doc, "defaultForAz") &&
		    str_eq(doc_string(s->record.doc, "availabilityZone"), zone))
			return true;
	return false;
}

static bool is_free(struct core *c, const struct ip_prefix *cidr)
{
	struct subnet *s;

	for (size_t i = 0; map_next(&c->subnets, &i, &s);)
		if (s->cidr.length && ip_prefix_overlaps(&s->cidr, cidr))
			return false;
	return true;
}

void vpc_add_zone(struct core *c, const char *zone)
{
	struct vpc *v = vpc_default(c);
	unsigned length;

	if (!v || has_subnet_in(c, zone))
		return;
	length = v->cidr.length < DEFAULT_SUBNET_BITS ? DEFAULT_SUBNET_BITS : v->cidr.length;
	for (uint32_t i = 0; i < 1u << (length - v->cidr.length); i++) {
		const struct ip_prefix cidr = ip_of_v4(ip_v4(&v->cidr) + (i << (32 - length)),
						       length);
		struct subnet *s;

		if (!is_free(c, &cidr))
			continue;
		s = subnet_make(c, v, &cidr, NULL, zone, json_array());
		(void)json_object_set_new(s->record.doc, "defaultForAz", json_true());
		return;
	}
}

/* ---- zones ---- */

/*
 * EC2 knows by their names what zones are: "us-east-1-bos-1a" is a local zone, of
 * the group "us-east-1-bos-1", and "us-east-1-wl1-bos-wlz-1" a wavelength zone, of
 * "us-east-1-wl1".  Whoever uses one has opted in.
 */
static void show_edge(json_t *doc, const struct core *c, const char *zone)
{
	auto_free char *parent = first_zone(c), *group = xstrdup(zone);
	const size_t len = strlen(c->o.identity.region);
	const char *rest = zone + len;
	int group_end = 0, local = 0, wavelength = 0;

	if (!str_starts(zone, c->o.identity.region) || *rest++ != '-')
		return;
	(void)sscanf(rest, "%*[a-z]-%*[0-9]%n%*1[a-z]%n", &group_end, &local);
	if (!local || rest[local]) {
		local = 0;
		(void)sscanf(rest, "wl%*[0-9]%n-%*[a-z]-wlz-%*[0-9]%n", &group_end, &wavelength);
		if (!wavelength || rest[wavelength])
			return;
	}
	group[len + 1 + (size_t)group_end] = '\0';
	doc_set_string(doc, "zoneType", local ? "local-zone" : "wavelength-zone");
	doc_set_string(doc, "groupName", group);
	doc_set_string(doc, "networkBorderGroup", local ? group : zone);
	doc_set_string(doc, "optInStatus", "opted-in");
	doc_set_string(doc, "parentZoneName", parent);
	doc_set_string(doc, "parentZoneId", parent);
}

static void add_zone(json_t *docs, const struct core *c, const char *zone)
{
	const char *region = c->o.identity.region;
	json_t *doc;
	size_t i;

	json_array_foreach (docs, i, doc)
		if (str_eq(doc_string(doc, "zoneName"), zone))
			return;
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[]}", "zoneName", zone,
			"zoneId", zone, "zoneState", "available", "regionName", region, "zoneType",
			"availability-zone", "groupName", region, "networkBorderGroup", region,
			"optInStatus", "opt-in-not-required", "messageSet");
	show_edge(doc, c, zone);
	(void)json_array_append_new(docs, doc);
}

json_t *describe_availability_zones(struct core *c, json_t *request, struct ecs_fault *f)
{
	static const struct ec2_filter zone_filters[] = {
		{"zone-name", "zoneName"},
		{"zone-id", "zoneId"},
		{"state", "zoneState"},
		{"region-name", "regionName"},
		{"zone-type", "zoneType"},
		{"group-name", "groupName"},
		{"opt-in-status", "optInStatus"},
		{"parent-zone-name", "parentZoneName"},
		{"message", "messageSet.message"},
		{"parent-zone-id", "parentZoneId"},
		{NULL, NULL},
	};
	static const struct ec2_kind kind = {.set = "availabilityZoneInfo",
					     .id = "zoneName",
					     .ids = "ZoneName",
					     .word = "availability zone",
					     .absent = ECS_FAULT_EC2_INVALID_VALUE,
					     .filters = zone_filters};
	const json_t *by_id = json_object_get(request, "ZoneId");
	auto_free char *first = first_zone(c);
	json_t *docs = json_array();
	struct record *r;

	if (by_id) { /* which is the name */
		json_t *names = json_object_get(request, "ZoneName");

		if (!names)
			(void)json_object_set_new(request, "ZoneName", names = json_array());
		(void)json_array_extend(names, (json_t *)(uintptr_t)by_id);
	}
	add_zone(docs, c, first);
	for (size_t i = 0; map_next(&c->subnets, &i, &r);)
		add_zone(docs, c, doc_string(r->doc, "availabilityZone"));
	return ec2_describe_list(&kind, docs, request, f);
}
