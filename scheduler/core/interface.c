/* scheduler/core/interface.c - network interfaces of tasks in network mode awsvpc
 * SPDX-License-Identifier: Apache-2.0
 *
 * An interface is made with its task and released when nothing of the task is
 * left.  It rests then, unseen, so that its address is not somebody else's
 * while others still believe in the old one.
 *
 * Its document is made of the struct, whenever it is shown or stored: most of it follows
 * from the address and the subnet.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "ecs/resolver.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define SUBNETS_MAX 16 /* AwsVpcConfiguration of the ECS API reference */
#define REST_MS     60000
#define LINKS_DEPTH 4

/* ---- the document ---- */

bool interface_address(const struct interface *n, bool v6, char ret[IP_TEXT_MAX])
{
	struct ip_prefix p = ip_of_v4(n->address, 32);

	if (!v6 && !n->subnet->cidr.length)
		return false;
	if (v6) { /* the same place in the subnet's IPv6 block */
		const uint32_t offset = n->address - ip_v4(&n->subnet->cidr);

		p = n->subnet->cidr6;
		if (!p.length)
			return false;
		for (int i = 0; i < 4; i++)
			p.address[15 - i] |= (unsigned char)(offset >> (8 * i));
	}
	ip_address_format(&p, ret);
	return true;
}

/* As its host makes it, of its address (net/name.h): the last bytes, in IPv6 with those of the subnet. */
static void format_mac(const struct interface *n, char ret[18])
{
	const unsigned char *subnet = n->subnet->cidr6.address;
	const bool v4 = n->subnet->cidr.length;

	(void)snprintf(ret, 18, "0a:%02x:%02x:%02x:%02x:%02x", v4 ? 0x58 : 0x59,
		       v4 ? n->address >> 24 : subnet[6], v4 ? n->address >> 16 & 0xff : subnet[7],
		       n->address >> 8 & 0xff, n->address & 0xff);
}

/* NULL: only addresses of IPv4 have one. */
static json_t *private_name(const struct core *c, const struct interface *n)
{
	char name[ECS_PRIVATE_NAME_SIZE];

	if (!n->subnet->cidr.length)
		return NULL;
	ecs_private_name(n->address, c->o.identity.region, name);
	return json_string(name);
}

/* False: it has none. */
static bool format_public(const struct interface *n, char ret[IP_TEXT_MAX])
{
	const struct ip_prefix p = ip_of_v4(n->public, 32);

	if (n->public)
		ip_address_format(&p, ret);
	return n->public;
}

static json_t *show_groups(const struct interface *n)
{
	json_t *set = json_array();

	for (size_t i = 0; i < n->group_count; i++)
		(void)json_array_append_new(
			set, json_pack("{s:s, s:O}", "groupId", n->groups[i]->id, "groupName",
				       json_object_get(n->groups[i]->record.doc, "groupName")));
	return set;
}

/* Its subnet is there. */
static json_t *make_document(const struct core *c, const struct interface *n)
{
	const json_t *subnet = n->subnet->record.doc;
	const char *account = c->o.identity.account;
	char address[IP_TEXT_MAX], mac[18];
	json_t *doc, *ipv6 = json_array();

	format_mac(n, mac);
	doc = json_pack("{s:s, s:s, s:O, s:O, s:o, s:s, s:s, s:b, s:s, s:s, s:s, s:b, s:o, s:o*}",
			"networkInterfaceId", n->id, "subnetId", n->subnet->id, "vpcId",
			json_object_get(subnet, "vpcId"), "availabilityZone",
			json_object_get(subnet, "availabilityZone"), "description",
			json_sprintf("arn:aws:ecs:%s:%s:attachment/%s", c->o.identity.region,
				     account, n->attachment),
			"ownerId", account, "requesterId", account, "requesterManaged", 1, "status",
			"in-use", "macAddress", mac, "interfaceType", "interface",
			"sourceDestCheck", 1, "tagSet",
			n->tags ? json_incref(n->tags) : json_array(), "privateDnsName",
			private_name(c, n));
	(void)json_object_set_new(doc, "groupSet", show_groups(n));
	(void)json_object_set_new(doc, "attachment",
				  json_pack("{s:s, s:i, s:s, s:b}", "attachmentId", n->attach_id,
					    "deviceIndex", 0, "status", "attached",
					    "deleteOnTermination", 1));
	if (interface_address(n, false, address)) {
		doc_set_string(doc, "privateIpAddress", address);
		(void)json_object_set_new(doc, "privateIpAddressesSet",
					  json_pack("[{s:s, s:o, s:b}]", "privateIpAddress",
						    address, "privateDnsName", private_name(c, n),
						    "primary", 1));
	}
	if (format_public(n, address))
		(void)json_object_set_new(doc, "association",
					  json_pack("{s:s, s:s, s:s}", "publicIp", address,
						    "publicDnsName", "", "ipOwnerId", account));
	if (interface_address(n, true, address))
		(void)json_array_append_new(ipv6, json_pack("{s:s}", "ipv6Address", address));
	(void)json_object_set_new(doc, "ipv6AddressesSet", ipv6);
	return doc;
}

static json_t *show(struct core *c, const void *object)
{
	const struct interface *n = object;

	return n->released_ms ? NULL : make_document(c, n);
}

/* With what of it is not shown; NULL: it is no task's any more. */
static void store(struct core *c, const struct interface *n, const char *cluster, const char *task)
{
	auto_json json_t *doc = make_document(c, n);

	doc_set_string(doc, "_attachment", n->attachment);
	doc_set_string(doc, "_cluster", cluster);
	doc_set_string(doc, "_task", task);
	doc_set_string(doc, "_instance", n->instance ? n->instance->id : NULL);
	if (n->released_ms)
		(void)json_object_set_new(doc, "_releasedAt", json_integer(n->released_ms));
	effect_put(c, xasprintf("interface/%s", n->id), js_dump(doc));
}

/* The task that an interface is for. */
static struct task *task_of(const struct core *c, const struct interface *n)
{
	return task_at(c, n->task);
}

static void store_again(struct core *c, const struct interface *n)
{
	const struct task *t = task_of(c, n);
	char id[ECS_ID_LEN + 1];

	if (t)
		task_id_format(t->id, id);
	store(c, n, t ? t->kind->cluster->name : NULL, t ? id : NULL);
}

void interface_set_tags(struct core *c, struct interface *n, json_t *own_tags)
{
	json_decref(n->tags);
	n->tags = own_tags;
	store_again(c, n);
}

/* ---- described ---- */

static const struct ec2_filter filters[] = {
	{"network-interface-id", "networkInterfaceId"},
	{"subnet-id", "subnetId"},
	{"vpc-id", "vpcId"},
	{"group-id", "groupSet.groupId"},
	{"group-name", "groupSet.groupName"},
	{"private-ip-address", "privateIpAddress"},
	{"addresses.private-ip-address", "privateIpAddressesSet.privateIpAddress"},
	{"addresses.primary", "privateIpAddressesSet.primary"},
	{"addresses.association.public-ip", "association.publicIp"},
	{"addresses.association.owner-id", "association.ipOwnerId"},
	{"private-dns-name", "privateDnsName"},
	{"ipv6-addresses.ipv6-address", "ipv6AddressesSet.ipv6Address"},
	{"mac-address", "macAddress"},
	{"availability-zone", "availabilityZone"},
	{"description", "description"},
	{"interface-type", "interfaceType"},
	{"association.public-ip", "association.publicIp"},
	{"association.ip-owner-id", "association.ipOwnerId"},
	{"association.public-dns-name", "association.publicDnsName"},
	{"owner-id", "ownerId"},
	{"requester-id", "requesterId"},
	{"requester-managed", "requesterManaged"},
	{"source-dest-check", "sourceDestCheck"},
	{"status", "status"},
	{"attachment.status", "attachment.status"},
	{"attachment.attachment-id", "attachment.attachmentId"},
	{"attachment.delete-on-termination", "attachment.deleteOnTermination"},
	{"attachment.device-index", "attachment.deviceIndex"},
	{NULL, NULL},
};

const struct ec2_kind interface_kind = {.set = "networkInterfaceSet",
					.id = "networkInterfaceId",
					.ids = "NetworkInterfaceId",
					.word = "networkInterface ID",
					.absent = ECS_FAULT_EC2_INTERFACE_NOT_FOUND,
					.filters = filters,
					.show = show};

json_t *describe_network_interfaces(struct core *c, json_t *request, struct ecs_fault *f)
{
	return ec2_describe(c, &interface_kind, &c->interfaces, request, f);
}

/* ---- life ---- */

void interface_free(struct interface *n)
{
	json_decref(n->tags);
	free(n->links);
	free(n);
}

static struct interface *add(struct core *c, const char *id)
{
	struct interface *n = xcalloc(1, sizeof(*n));

	(void)snprintf(n->id, sizeof(n->id), "%s", id);
	(void)map_put(&c->interfaces, id, n);
	return n;
}

/* What it refers to is loaded before it or behind it. */
static char *links_of(const json_t *doc)
{
	auto_json json_t *links = json_pack(
		"{s:O*, s:O*, s:O*, s:O*, s:O*}", "_instance", json_object_get(doc, "_instance"),
		"_cluster", json_object_get(doc, "_cluster"), "_task",
		json_object_get(doc, "_task"), "subnetId", json_object_get(doc, "subnetId"),
		"groupSet", json_object_get(doc, "groupSet"));

	return js_dump(links);
}

/* As text, of IPv4, or of IPv6 where there is none. */
static const char *address_of(const json_t *doc)
{
	const char *v4 = doc_string(doc, "privateIpAddress");

	return v4 ? v4
		  : doc_string(json_array_get(json_object_get(doc, "ipv6AddressesSet"), 0),
			       "ipv6Address");
}

int interface_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "networkInterfaceId"), *address = address_of(own_doc),
		   *attachment = doc_string(own_doc, "_attachment"),
		   *attach_id = doc_string(json_object_get(own_doc, "attachment"), "attachmentId"),
		   *public = doc_string(json_object_get(own_doc, "association"), "publicIp");
	json_t *tags = json_object_get(own_doc, "tagSet");
	struct ip_prefix parsed, parsed_public;
	struct interface *n;
	uint32_t place;

	if (!id || !address || !attachment || !attach_id || strlen(id) >= sizeof(n->id) ||
	    !ip_address_parse(address, &parsed) ||
	    (public && (!ip_address_parse(public, &parsed_public) || parsed_public.v6)))
		return err_set(e, EUCLEAN, "is not whole");
	n = add(c, id);
	(void)snprintf(n->attachment, sizeof(n->attachment), "%s", attachment);
	(void)snprintf(n->attach_id, sizeof(n->attach_id), "%s", attach_id);
	/* The place in a subnet of IPv6 is the last bytes of the address. */
	memcpy(&place, parsed.address + (parsed.v6 ? 12 : 0), sizeof(place));
	n->address = ntohl(place);
	n->public = public ? ip_v4(&parsed_public) : 0;
	n->released_ms = doc_integer(own_doc, "_releasedAt", 0);
	n->tags = json_array_size(tags) ? json_incref(tags) : NULL;
	n->links = links_of(own_doc);
	json_decref(own_doc);
	return 0;
}

static void each_group(struct core *c, const struct interface *n,
		       void (*fn)(struct core *c, struct security_group *g,
				  const struct interface *n))
{
	for (size_t i = 0; i < n->group_count; i++)
		fn(c, n->groups[i], n);
}

static void add_group(struct interface *n, struct security_group *g)
{
	for (size_t i = 0; i < n->group_count; i++)
		if (n->groups[i] == g)
			return; /* named twice */
	if (g && n->group_count < EC2_INTERFACE_GROUPS_MAX)
		n->groups[n->group_count++] = g;
}

void interface_give(struct interface *n, struct task *t)
{
	t->interface = n;
	n->task = t->number;
}

static void *linked(const struct map *objects, const json_t *links, const char *name)
{
	const char *id = doc_string(links, name);

	return id ? map_find(objects, id) : NULL;
}

/* An interface whose subnet is gone has no use of its address; loaded ones always have one. */
static void link_up(struct core *c, struct interface *n)
{
	auto_free char *text = take_ptr(n->links);
	auto_json json_t *links = NULL;
	const struct cluster *cl;
	json_t *group;
	struct task *t;
	struct err e;
	size_t i;

	if (!text || js_parse(text, strlen(text), LINKS_DEPTH, &links, &e) < 0)
		return;
	cl = linked(&c->clusters, links, "_cluster"); /* none: its task was gone before it */
	t = cl ? task_named(c, cl, doc_string(links, "_task")) : NULL;
	n->instance = instance_by_id(c, doc_string(links, "_instance"));
	n->subnet = linked(&c->subnets, links, "subnetId");
	if (n->subnet)
		subnet_mark(c, n->subnet, n->instance, n->address);
	if (n->released_ms)
		return;
	if (!t || !n->subnet || (t->last_status == TASK_STOPPED && !t->held)) {
		interface_release(c, n); /* it is in no group yet */
		return;
	}
	json_array_foreach (json_object_get(links, "groupSet"), i, group)
		add_group(n, linked(&c->security_groups, group, "groupId"));
	interface_give(n, t);
	each_group(c, n, security_group_join);
}

void interfaces_link(struct core *c)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		link_up(c, n);
}

void interface_release(struct core *c, struct interface *n)
{
	each_group(c, n, security_group_leave);
	n->released_ms = c->now_ms;
	if (n->subnet)
		store_again(c, n);
	n->task = 0;
	n->group_count = 0;
}

void interfaces_forget(struct core *c, const struct instance *i)
{
	struct interface *n;

	for (size_t k = 0; map_next(&c->interfaces, &k, &n);)
		if (n->instance == i)
			n->instance = NULL;
}

void interfaces_leave(struct core *c, struct subnet *s)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);) {
		if (n->subnet != s)
			continue;
		subnet_give_back(c, s, n->address);
		n->subnet = NULL;
	}
}

void interfaces_tick(struct core *c)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);) {
		if (!n->released_ms || n->released_ms + REST_MS > c->now_ms)
			continue;
		if (n->subnet)
			subnet_give_back(c, n->subnet, n->address);
		effect_delete(c, xasprintf("interface/%s", n->id));
		(void)map_remove(&c->interfaces, n->id);
		interface_free(n);
	}
}

/* ---- the request ---- */

static const json_t *configuration(const json_t *request)
{
	return json_object_get(json_object_get(request, "networkConfiguration"),
			       "awsvpcConfiguration");
}

static int check_subnets(struct core *c, const json_t *ids, bool public, const char **ret_vpc,
			 struct ecs_fault *f)
{
	json_t *id;
	size_t i;

	if (!json_array_size(ids))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "subnets can not be empty.");
	if (json_array_size(ids) > SUBNETS_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "subnets can have at most %d items.", SUBNETS_MAX);
	*ret_vpc = NULL;
	json_array_foreach (ids, i, id) {
		const char *text = json_string_value(id), *vpc;
		const struct subnet *s = map_find(&c->subnets, text);

		if (!s)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Error retrieving subnet information for [%.100s]: "
					     "The subnet ID '%.100s' does not exist (ErrorCode: "
					     "InvalidSubnetID.NotFound)",
					     text, text);
		vpc = doc_string(s->record.doc, "vpcId");
		if (public && !s->cidr.length)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Assign public IP is not supported in [%.100s]: the "
					     "subnet has addresses of IPv6 only.",
					     text);
		if (*ret_vpc && strcmp(*ret_vpc, vpc) != 0)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "All subnets must belong to the same VPC: %s, %s.",
					     *ret_vpc, vpc);
		*ret_vpc = vpc;
	}
	return 0;
}

static int check_groups(struct core *c, const json_t *ids, const char *vpc, struct ecs_fault *f)
{
	json_t *id;
	size_t i;

	if (json_array_size(ids) > EC2_INTERFACE_GROUPS_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "securityGroups can have at most %d items.",
				     EC2_INTERFACE_GROUPS_MAX);
	json_array_foreach (ids, i, id) {
		const char *text = json_string_value(id);
		struct ecs_fault why;
		const struct security_group *g = ec2_find(&c->security_groups, &security_group_kind,
							  text, &why);

		if (!g)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Error retrieving security group information for "
					     "[%.100s]: %s (ErrorCode: %s)",
					     text, why.message, ecs_fault_name(why.type));
		if (!str_eq(doc_string(g->record.doc, "vpcId"), vpc))
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Security group %s and the subnets belong to "
					     "different networks.",
					     text);
	}
	return 0;
}

/* ---- public addresses: blocks that are led to a host ---- */

static bool wants_public(const json_t *wanted)
{
	return str_eq(doc_string(wanted, "assignPublicIp"), "ENABLED");
}

static const json_t *pool_of(const struct instance *i)
{
	return json_object_get(i->record.doc, "_publicAddresses");
}

/* Has any host of the cluster such a block? */
static bool any_pool(const struct cluster *cl)
{
	struct instance *i;

	for (size_t n = 0; map_next(&cl->instances, &n, &i);)
		if (json_array_size(pool_of(i)))
			return true;
	return false;
}

/* Of one that rests, too. */
static bool is_given(const struct core *c, uint32_t address)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		if (n->public == address)
			return true;
	return false;
}

/* A public address of the host that nobody has; 0: there is none. */
static uint32_t find_public(const struct core *c, const struct instance *i)
{
	struct ip_prefix block;
	json_t *text;
	size_t n;

	json_array_foreach (pool_of(i), n, text) {
		if (!ip_prefix_parse(json_string_value(text), &block) || block.v6)
			continue;
		for (uint64_t k = 0; k < 1ull << (32 - block.length); k++) {
			const uint32_t address = ip_v4(&block) + (uint32_t)k;

			if (address && !is_given(c, address))
				return address;
		}
	}
	return 0;
}

/* ---- the request against what there is ---- */

int interface_check(struct core *c, const struct cluster *cl, const json_t *request,
		    const char *network_mode, struct ecs_fault *f)
{
	const json_t *wanted = configuration(request);
	const char *vpc = NULL;

	if (!str_eq(network_mode, "awsvpc")) {
		if (!wanted)
			return 0;
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Network Configuration is not valid for the given networkMode "
				     "of this task definition.");
	}
	if (!wanted)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Network Configuration must be provided when networkMode "
				     "'awsvpc' is specified.");
	if (wants_public(wanted) && !any_pool(cl))
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Assign public IP is not supported for this launch type.");
	if (check_subnets(c, json_object_get(wanted, "subnets"), wants_public(wanted), &vpc, f) < 0)
		return -1;
	return check_groups(c, json_object_get(wanted, "securityGroups"), vpc, f);
}

bool interface_wants_public(const json_t *request)
{
	return wants_public(configuration(request));
}

bool interface_has_public(struct core *c, const struct instance *i)
{
	return find_public(c, i);
}

json_t *interface_zones(struct core *c, const json_t *request)
{
	const json_t *wanted = configuration(request);
	json_t *zones = wanted ? json_array() : NULL, *id;
	size_t n;

	json_array_foreach (json_object_get(wanted, "subnets"), n, id) {
		const struct subnet *s = map_find(&c->subnets, json_string_value(id));

		(void)json_array_append(zones, json_object_get(s->record.doc, "availabilityZone"));
	}
	return zones;
}

static bool is_in_zone(const struct subnet *s, const struct instance *i)
{
	return str_eq(doc_string(s->record.doc, "availabilityZone"), instance_zone(i));
}

/* ---- made ---- */

static void set_groups(struct core *c, struct interface *n, const json_t *ids)
{
	json_t *id;
	size_t i;

	json_array_foreach (ids, i, id)
		add_group(n, map_find(&c->security_groups, json_string_value(id)));
	if (!n->group_count)
		add_group(n, security_group_default(c, doc_string(n->subnet->record.doc, "vpcId")));
}

/* A node of an earlier version knows no interface without an address of IPv4. */
static bool takes(const struct instance *i, const struct subnet *s)
{
	return s->cidr.length || attribute_of(i, "ecs.capability.ipv6-only");
}

/* The first of the subnets in the instance's zone that has an address. */
static struct subnet *choose(struct core *c, const json_t *request, struct instance *i,
			     uint32_t *ret_address)
{
	json_t *id;
	size_t n;

	json_array_foreach (json_object_get(configuration(request), "subnets"), n, id) {
		struct subnet *s = map_find(&c->subnets, json_string_value(id));

		if (is_in_zone(s, i) && takes(i, s) && subnet_take_address(c, s, i, ret_address))
			return s;
	}
	return NULL;
}

struct interface *interface_make(struct core *c, const json_t *request, struct instance *i,
				 const char *cluster, const char *task_id)
{
	const json_t *wanted = configuration(request);
	char id[EC2_ID_SIZE];
	struct interface *n;
	struct subnet *s;
	uint32_t address;

	s = choose(c, request, i, &address);
	if (!s)
		return NULL;
	ec2_make_id(c, "eni", &c->interfaces, id);
	n = add(c, id);
	core_random_uuid(c, n->attachment);
	ec2_make_id(c, "eni-attach", NULL, n->attach_id);
	n->address = address;
	n->subnet = s;
	n->instance = i;
	n->public = wants_public(wanted) ? find_public(c, i) : 0;
	set_groups(c, n, json_object_get(wanted, "securityGroups"));
	store(c, n, cluster, task_id);
	each_group(c, n, security_group_join);
	return n;
}

/* ---- shown in its task ---- */

static void add_detail(json_t *details, const char *name, const char *value)
{
	if (value)
		(void)json_array_append_new(details,
					    json_pack("{s:s, s:s}", "name", name, "value", value));
}

void interface_show_in_task(const struct core *c, const struct interface *n, json_t *task)
{
	char address[IP_TEXT_MAX], address6[IP_TEXT_MAX], mac[18];
	const char *ipv4 = interface_address(n, false, address) ? address : NULL,
		   *ipv6 = interface_address(n, true, address6) ? address6 : NULL;
	auto_json json_t *name = private_name(c, n);
	json_t *details = json_array(), *container;
	size_t i;

	format_mac(n, mac);
	add_detail(details, "subnetId", n->subnet->id);
	add_detail(details, "networkInterfaceId", n->id);
	add_detail(details, "macAddress", mac);
	add_detail(details, "privateDnsName", json_string_value(name));
	add_detail(details, "privateIPv4Address", ipv4);
	add_detail(details, "ipv6Address", ipv6);
	(void)json_object_set_new(task, "attachments",
				  json_pack("[{s:s, s:s, s:s, s:o}]", "id", n->attachment, "type",
					    "ElasticNetworkInterface", "status", "PRECREATED",
					    "details", details));
	json_array_foreach (json_object_get(task, "containers"), i, container)
		(void)json_object_set_new(container, "networkInterfaces",
					  json_pack("[{s:s, s:s*, s:s*}]", "attachmentId",
						    n->attachment, "privateIpv4Address", ipv4,
						    "ipv6Address", ipv6));
}

void interface_set_attachment(json_t *task, const char *status)
{
	json_t *attachment;
	size_t i;

	json_array_foreach (json_object_get(task, "attachments"), i, attachment)
		doc_set_string(attachment, "status", status);
}

/* Of one family: named by a tag, or the block's first address; NULL: it has no block. */
static char *router_of(const struct subnet *s, const struct ip_prefix *cidr, const char *key,
		       struct arena *a)
{
	const char *named = ec2_tag(s->record.doc, key);
	struct ip_prefix first = *cidr;
	char text[IP_TEXT_MAX];

	if (!cidr->length || named)
		return cidr->length ? (char *)(uintptr_t)named : NULL;
	first.address[cidr->v6 ? 15 : 3] |= 1;
	ip_address_format(&first, text);
	return arena_strdup(a, text);
}

/* A subnet is on the hosts' trunk by its tags. */
static void describe_trunk(const struct subnet *s, struct arena *a, struct ecs_node_interface *ret)
{
	const char *vlan = ec2_tag(s->record.doc, EC2_TAG_VLAN);

	if (!vlan || !parse_i64(vlan, 0, EC2_VLAN_MAX, &ret->vlan))
		return;
	ret->gateway = router_of(s, &s->cidr, EC2_TAG_GATEWAY, a);
	ret->gateway6 = router_of(s, &s->cidr6, EC2_TAG_GATEWAY6, a);
}

static char *address_in(struct arena *a, const struct interface *n, bool v6)
{
	char text[IP_TEXT_MAX];

	return interface_address(n, v6, text) ? arena_strdup(a, text) : NULL;
}

void interface_describe_to_node(struct core *c, const struct interface *n, struct arena *a,
				struct ecs_node_interface *ret)
{
	const struct vpc *v = map_find(&c->vpcs, doc_string(n->subnet->record.doc, "vpcId"));
	char text[IP_TEXT_MAX], mac[18];

	format_mac(n, mac);
	*ret = (struct ecs_node_interface){
		.interface_id = (char *)(uintptr_t)n->id,
		.mac = arena_strdup(a, mac),
		.address = address_in(a, n, false),
		.vpc = (char *)(uintptr_t)doc_string(v->record.doc, "cidrBlock"),
		.address6 = address_in(a, n, true),
		.public_address = format_public(n, text) ? arena_strdup(a, text) : NULL};
	if (ret->address) {
		ip_prefix_format(&n->subnet->cidr, text);
		ret->subnet = arena_strdup(a, text);
	}
	if (ret->address6) {
		ip_prefix_format(&n->subnet->cidr6, text);
		ret->subnet6 = arena_strdup(a, text);
		ret->vpc6 = (char *)(uintptr_t)vpc_ipv6(v);
	}
	describe_trunk(n->subnet, a, ret);
	flow_logs_describe_to_node(c, n, a, &ret->flow_logs);
	ret->security_groups.items = arena_alloc(a, (n->group_count + 1) * sizeof(char *));
	for (size_t i = 0; i < n->group_count; i++)
		ret->security_groups.items[ret->security_groups.count++] = n->groups[i]->id;
}

bool interface_is_in(const struct interface *n, const char *resource_id)
{
	return str_eq(n->id, resource_id) || str_eq(n->subnet->id, resource_id) ||
	       str_eq(doc_string(n->subnet->record.doc, "vpcId"), resource_id);
}

void interfaces_send(struct core *c, const char *resource_id)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);) {
		struct task *t = n->released_ms || !interface_is_in(n, resource_id) ? NULL
										    : task_of(c, n);

		if (t)
			core_task_send(c, t);
	}
}
