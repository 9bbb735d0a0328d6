/* scheduler/core/interface.c - network interfaces of tasks in network mode awsvpc
 * SPDX-License-Identifier: Apache-2.0
 *
 * An interface is made with its task and released when nothing of the task is
 * left.  It rests then, unseen, so that its address is not somebody else's
 * while others still believe in the old one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

#define SUBNETS_MAX         16 /* AwsVpcConfiguration of the ECS API reference */
#define SECURITY_GROUPS_MAX 5
#define REST_MS             60000

static json_t *show(struct core *c, const struct record *r)
{
	(void)c;
	return ((const struct interface *)r)->released_ms ? NULL : doc_public(r->doc, false);
}

static const struct ec2_filter filters[] = {
	{"network-interface-id", "networkInterfaceId"},
	{"subnet-id", "subnetId"},
	{"vpc-id", "vpcId"},
	{"group-id", "groupSet.groupId"},
	{"group-name", "groupSet.groupName"},
	{"private-ip-address", "privateIpAddress"},
	{"addresses.private-ip-address", "privateIpAddressesSet.privateIpAddress"},
	{"private-dns-name", "privateDnsName"},
	{"ipv6-addresses.ipv6-address", "ipv6AddressesSet.ipv6Address"},
	{"mac-address", "macAddress"},
	{"availability-zone", "availabilityZone"},
	{"description", "description"},
	{"interface-type", "interfaceType"},
	{"association.public-ip", "association.publicIp"},
	{"owner-id", "ownerId"},
	{"requester-managed", "requesterManaged"},
	{"status", "status"},
	{"attachment.status", "attachment.status"},
	{"attachment.attachment-id", "attachment.attachmentId"},
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
	record_done(&n->record);
	free(n->id);
	free(n);
}

int interface_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "networkInterfaceId"),
		   *address = doc_string(own_doc, "privateIpAddress");
	struct ip_prefix parsed;
	struct interface *n;

	if (!id || !address || !ip_address_parse(address, &parsed) || parsed.v6)
		return err_set(e, EUCLEAN, "is not whole");
	n = xcalloc(1, sizeof(*n));
	n->id = xstrdup(id);
	n->address = ip_v4(&parsed);
	n->released_ms = doc_integer(own_doc, "_releasedAt", 0);
	record_init(&n->record, own_doc, "interface/%s", id);
	(void)map_put(&c->interfaces, id, n);
	return 0;
}

static void each_group(struct core *c, const struct interface *n,
		       void (*fn)(struct core *c, struct security_group *g,
				  const struct interface *n))
{
	json_t *group;
	size_t i;

	json_array_foreach (json_object_get(n->record.doc, "groupSet"), i, group) {
		struct security_group *g = map_find(&c->security_groups,
						    doc_string(group, "groupId"));

		if (g)
			fn(c, g, n);
	}
}

/* The task that an interface is for. */
static struct task *task_of(struct core *c, const struct interface *n)
{
	const struct cluster *cl = map_find(&c->clusters, doc_string(n->record.doc, "_cluster"));

	return cl ? task_named(c, cl, doc_string(n->record.doc, "_task")) : NULL;
}

/* An interface whose subnet is gone has no use of its address; loaded ones always have one. */
static void link_up(struct core *c, struct interface *n)
{
	struct task *t = task_of(c, n);

	n->instance = instance_by_id(c, doc_string(n->record.doc, "_instance"));
	n->subnet = map_find(&c->subnets, doc_string(n->record.doc, "subnetId"));
	if (n->subnet)
		subnet_mark(c, n->subnet, n->instance, n->address);
	if (n->released_ms)
		return;
	if (!t || (t->last_status == TASK_STOPPED && !t->held)) {
		interface_release(c, n);
		return;
	}
	t->interface = n;
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
	(void)json_object_set_new(n->record.doc, "_releasedAt", json_integer(c->now_ms));
	record_touch(c, &n->record);
}

void interfaces_forget(struct core *c, const struct instance *i)
{
	struct interface *n;

	for (size_t k = 0; map_next(&c->interfaces, &k, &n);)
		if (n->instance == i)
			n->instance = NULL;
}

void interfaces_tick(struct core *c)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);) {
		if (!n->released_ms || n->released_ms + REST_MS > c->now_ms)
			continue;
		if (n->subnet)
			subnet_give_back(c, n->subnet, n->address);
		(void)map_remove(&c->interfaces, n->id);
		record_delete(c, &n->record);
		interface_free(n);
	}
}

/* ---- the request ---- */

static const json_t *configuration(const json_t *request)
{
	return json_object_get(json_object_get(request, "networkConfiguration"),
			       "awsvpcConfiguration");
}

static int check_subnets(struct core *c, const json_t *ids, const char **ret_vpc,
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

	if (json_array_size(ids) > SECURITY_GROUPS_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "securityGroups can have at most %d items.",
				     SECURITY_GROUPS_MAX);
	json_array_foreach (ids, i, id) {
		const char *text = json_string_value(id);
		const struct security_group *g = map_find(&c->security_groups, text);

		if (!g)
			return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
					     "Error retrieving security group information for "
					     "[%.100s]: The security group '%.100s' does not exist "
					     "(ErrorCode: InvalidGroup.NotFound)",
					     text, text);
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

static const char *public_of(const struct interface *n)
{
	return doc_string(json_object_get(n->record.doc, "association"), "publicIp");
}

/* Of one that rests, too. */
static bool is_given(struct core *c, const char *address)
{
	struct interface *n;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		if (str_eq(public_of(n), address))
			return true;
	return false;
}

/* A public address of the host that nobody has; false: there is none. */
static bool find_public(struct core *c, const struct instance *i, char ret[IP_TEXT_MAX])
{
	struct ip_prefix block, address;
	json_t *text;
	size_t n;

	json_array_foreach (pool_of(i), n, text) {
		if (!ip_prefix_parse(json_string_value(text), &block) || block.v6)
			continue;
		for (uint64_t k = 0; k < 1ull << (32 - block.length); k++) {
			address = ip_of_v4(ip_v4(&block) + (uint32_t)k, 32);
			ip_address_format(&address, ret);
			if (!is_given(c, ret))
				return true;
		}
	}
	return false;
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
	if (check_subnets(c, json_object_get(wanted, "subnets"), &vpc, f) < 0)
		return -1;
	return check_groups(c, json_object_get(wanted, "securityGroups"), vpc, f);
}

bool interface_wants_public(const json_t *request)
{
	return wants_public(configuration(request));
}

bool interface_has_public(struct core *c, const struct instance *i)
{
	char address[IP_TEXT_MAX];

	return find_public(c, i, address);
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

static json_t *group_set(struct core *c, const json_t *ids, const char *vpc)
{
	json_t *set = json_array(), *id;
	size_t i;

	json_array_foreach (ids, i, id) {
		const struct security_group *g = map_find(&c->security_groups,
							  json_string_value(id));

		(void)json_array_append_new(set,
					    json_pack("{s:O, s:O}", "groupId", id, "groupName",
						      json_object_get(g->record.doc, "groupName")));
	}
	if (!json_array_size(ids))
		(void)json_array_append_new(set, json_pack("{s:s, s:s}", "groupId",
							   security_group_default(c, vpc)->id,
							   "groupName", "default"));
	return set;
}

/* The same place in the subnet's IPv6 block. */
static void set_ipv6(const struct subnet *s, uint32_t address, json_t *doc)
{
	struct ip_prefix p = s->cidr6;
	uint32_t offset = address - ip_v4(&s->cidr);
	char text[IP_TEXT_MAX];

	if (!s->cidr6.length)
		return;
	for (int i = 0; i < 4; i++)
		p.address[15 - i] |= (unsigned char)(offset >> (8 * i));
	ip_address_format(&p, text);
	(void)json_object_set_new(doc, "ipv6AddressesSet",
				  json_pack("[{s:s}]", "ipv6Address", text));
}

static json_t *make_document(struct core *c, const json_t *request, const struct subnet *s,
			     const struct instance *i, uint32_t address, const char *id)
{
	const struct ip_prefix p = ip_of_v4(address, 32);
	const char *vpc = doc_string(s->record.doc, "vpcId");
	char text[IP_TEXT_MAX], mac[18], attachment[37], attach_id[EC2_ID_SIZE];
	json_t *doc;

	ip_address_format(&p, text);
	core_random_uuid(c, attachment);
	ec2_make_id(c, "eni-attach", NULL, attach_id);
	(void)snprintf(mac, sizeof(mac), "0a:58:%02x:%02x:%02x:%02x", p.address[0], p.address[1],
		       p.address[2], p.address[3]);
	doc = json_pack(
		"{s:s, s:s, s:s, s:O, s:o, s:s, s:s, s:b, s:s, s:s, s:s, s:s, s:b, s:s, s:[]}",
		"networkInterfaceId", id, "subnetId", s->id, "vpcId", vpc, "availabilityZone",
		json_object_get(s->record.doc, "availabilityZone"), "description",
		json_sprintf("arn:aws:ecs:%s:%s:attachment/%s", c->o.identity.region,
			     c->o.identity.account, attachment),
		"ownerId", c->o.identity.account, "requesterId", c->o.identity.account,
		"requesterManaged", 1, "status", "in-use", "macAddress", mac, "privateIpAddress",
		text, "interfaceType", "interface", "sourceDestCheck", 1, "_attachment", attachment,
		"tagSet");
	(void)json_object_set_new(doc, "privateDnsName",
				  json_sprintf("ip-%u-%u-%u-%u.ec2.internal", p.address[0],
					       p.address[1], p.address[2], p.address[3]));
	(void)json_object_set_new(
		doc, "groupSet",
		group_set(c, json_object_get(configuration(request), "securityGroups"), vpc));
	(void)json_object_set_new(doc, "attachment",
				  json_pack("{s:s, s:i, s:s, s:b}", "attachmentId", attach_id,
					    "deviceIndex", 0, "status", "attached",
					    "deleteOnTermination", 1));
	(void)json_object_set_new(doc, "privateIpAddressesSet",
				  json_pack("[{s:s, s:O, s:b}]", "privateIpAddress", text,
					    "privateDnsName",
					    json_object_get(doc, "privateDnsName"), "primary", 1));
	if (wants_public(configuration(request)) && find_public(c, i, text))
		(void)json_object_set_new(doc, "association",
					  json_pack("{s:s, s:s, s:s}", "publicIp", text,
						    "publicDnsName", "", "ipOwnerId",
						    c->o.identity.account));
	(void)json_object_set_new(doc, "ipv6AddressesSet", json_array());
	set_ipv6(s, address, doc);
	return doc;
}

/* The first of the subnets in the instance's zone that has an address. */
static struct subnet *choose(struct core *c, const json_t *request, struct instance *i,
			     uint32_t *ret_address)
{
	json_t *id;
	size_t n;

	json_array_foreach (json_object_get(configuration(request), "subnets"), n, id) {
		struct subnet *s = map_find(&c->subnets, json_string_value(id));

		if (is_in_zone(s, i) && subnet_take_address(c, s, i, ret_address))
			return s;
	}
	return NULL;
}

struct interface *interface_make(struct core *c, const json_t *request, struct instance *i,
				 const char *cluster, const char *task_id)
{
	char id[EC2_ID_SIZE];
	struct interface *n;
	struct subnet *s;
	uint32_t address;
	struct err e;
	json_t *doc;

	s = choose(c, request, i, &address);
	if (!s)
		return NULL;
	ec2_make_id(c, "eni", &c->interfaces, id);
	doc = make_document(c, request, s, i, address, id);
	doc_set_string(doc, "_cluster", cluster);
	doc_set_string(doc, "_task", task_id);
	doc_set_string(doc, "_instance", i->id);
	(void)interface_load(c, doc, &e);
	n = map_find(&c->interfaces, id);
	n->subnet = s;
	n->instance = i;
	record_touch(c, &n->record);
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

static const char *ipv6_of(const struct interface *n)
{
	return doc_string(json_array_get(json_object_get(n->record.doc, "ipv6AddressesSet"), 0),
			  "ipv6Address");
}

void interface_show_in_task(const struct interface *n, json_t *task)
{
	const json_t *doc = n->record.doc;
	const char *attachment = doc_string(doc, "_attachment");
	json_t *details = json_array(), *container;
	size_t i;

	add_detail(details, "subnetId", doc_string(doc, "subnetId"));
	add_detail(details, "networkInterfaceId", n->id);
	add_detail(details, "macAddress", doc_string(doc, "macAddress"));
	add_detail(details, "privateDnsName", doc_string(doc, "privateDnsName"));
	add_detail(details, "privateIPv4Address", doc_string(doc, "privateIpAddress"));
	add_detail(details, "ipv6Address", ipv6_of(n));
	(void)json_object_set_new(task, "attachments",
				  json_pack("[{s:s, s:s, s:s, s:o}]", "id", attachment, "type",
					    "ElasticNetworkInterface", "status", "PRECREATED",
					    "details", details));
	json_array_foreach (json_object_get(task, "containers"), i, container)
		(void)json_object_set_new(container, "networkInterfaces",
					  json_pack("[{s:s, s:O, s:s*}]", "attachmentId",
						    attachment, "privateIpv4Address",
						    json_object_get(doc, "privateIpAddress"),
						    "ipv6Address", ipv6_of(n)));
}

void interface_set_attachment(json_t *task, const char *status)
{
	json_t *attachment;
	size_t i;

	json_array_foreach (json_object_get(task, "attachments"), i, attachment)
		doc_set_string(attachment, "status", status);
}

/* A subnet is on the hosts' trunk by its tags; its router is its first address if none is named. */
static void describe_trunk(const struct subnet *s, struct arena *a, struct ecs_node_interface *ret)
{
	const char *vlan = ec2_tag(s->record.doc, EC2_TAG_VLAN),
		   *gateway = ec2_tag(s->record.doc, EC2_TAG_GATEWAY);
	const struct ip_prefix first = ip_of_v4(ip_v4(&s->cidr) + 1, 32);
	char text[IP_TEXT_MAX];

	if (!vlan || !parse_i64(vlan, 0, EC2_VLAN_MAX, &ret->vlan))
		return;
	ip_address_format(&first, text);
	ret->gateway = gateway ? (char *)(uintptr_t)gateway : arena_strdup(a, text);
}

void interface_describe_to_node(struct core *c, const struct interface *n, struct arena *a,
				struct ecs_node_interface *ret)
{
	const json_t *doc = n->record.doc, *groups = json_object_get(doc, "groupSet"), *group;
	const struct vpc *v = map_find(&c->vpcs, doc_string(doc, "vpcId"));
	char text[IP_TEXT_MAX];
	size_t i;

	ip_prefix_format(&n->subnet->cidr, text);
	*ret = (struct ecs_node_interface){
		.interface_id = n->id,
		.mac = (char *)(uintptr_t)doc_string(doc, "macAddress"),
		.address = (char *)(uintptr_t)doc_string(doc, "privateIpAddress"),
		.subnet = arena_strdup(a, text),
		.vpc = (char *)(uintptr_t)doc_string(v->record.doc, "cidrBlock"),
		.address6 = (char *)(uintptr_t)ipv6_of(n),
		.public_address = (char *)(uintptr_t)public_of(n)};
	if (ret->address6) {
		ip_prefix_format(&n->subnet->cidr6, text);
		ret->subnet6 = arena_strdup(a, text);
		ret->vpc6 = (char *)(uintptr_t)vpc_ipv6(v);
	}
	describe_trunk(n->subnet, a, ret);
	flow_logs_describe_to_node(c, n, a, &ret->flow_logs);
	ret->security_groups.items = arena_alloc(a, (json_array_size(groups) + 1) * sizeof(char *));
	json_array_foreach (groups, i, group)
		ret->security_groups.items[ret->security_groups.count++] =
			(char *)(uintptr_t)doc_string(group, "groupId");
}

bool interface_is_in(const struct interface *n, const char *resource_id)
{
	return str_eq(n->id, resource_id) ||
	       str_eq(doc_string(n->record.doc, "subnetId"), resource_id) ||
	       str_eq(doc_string(n->record.doc, "vpcId"), resource_id);
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
