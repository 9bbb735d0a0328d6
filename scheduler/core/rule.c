/* scheduler/core/rule.c - rules of security groups
 * SPDX-License-Identifier: Apache-2.0
 *
 * A request asks for permissions: a protocol, ports, and several sources at
 * once.  A rule is one of them with one source; that is what is kept, and what
 * has an id.  Source: AuthorizeSecurityGroupIngress and SecurityGroupRule of
 * the EC2 API reference.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define DESCRIPTION_MAX 255
#define PROTOCOL_SIZE   12 /* bytes of a name or a number, with its NUL */
#define ICMP            1
#define ICMPV6          58

static const struct {
	const char *name;
	int number;
} protocols[] = {{"-1", -1}, {"tcp", 6}, {"udp", 17}, {"icmp", ICMP}, {"icmpv6", ICMPV6}};

/* The name that EC2 shows; numbers without one stay numbers. */
static bool protocol_parse(const char *text, int *ret_number, char ret_name[PROTOCOL_SIZE])
{
	uint32_t number;

	for (size_t i = 0; i < ARRAY_COUNT(protocols); i++) {
		if (strcasecmp(text, protocols[i].name) == 0) {
			*ret_number = protocols[i].number;
			(void)snprintf(ret_name, PROTOCOL_SIZE, "%s", protocols[i].name);
			return true;
		}
	}
	if (strcasecmp(text, "all") == 0)
		return protocol_parse("-1", ret_number, ret_name);
	if (!parse_u32(text, 255, &number))
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(protocols); i++)
		if (protocols[i].number == (int)number)
			return protocol_parse(protocols[i].name, ret_number, ret_name);
	*ret_number = (int)number;
	(void)snprintf(ret_name, PROTOCOL_SIZE, "%u", number);
	return true;
}

int rule_check_description(const json_t *rule, struct ecs_fault *f)
{
	const char *text = doc_string(rule, "description");

	return text ? ec2_check_plain(text, "rule description", DESCRIPTION_MAX, f) : 0;
}

/* What the rules of one permission have in common. */
struct permission {
	struct core *c;
	const struct security_group *group;
	bool egress;
	char protocol[PROTOCOL_SIZE];
	int64_t from_port, to_port;
};

static int check_ports(struct permission *p, const json_t *doc, int number, struct ecs_fault *f)
{
	const json_t *from = json_object_get(doc, "FromPort"), *to = json_object_get(doc, "ToPort");
	bool icmp = number == ICMP || number == ICMPV6, has_ports = number == 6 || number == 17;
	int64_t min = icmp ? -1 : 0, max = icmp ? 255 : UINT16_MAX;

	p->from_port = p->to_port = -1;
	if (!icmp && !has_ports)
		return 0; /* "If you specify another protocol number, traffic on all ports" */
	if (has_ports && (!from || !to))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value 'Must specify both from and to ports with "
				     "TCP/UDP.' for portRange.");
	p->from_port = from ? json_integer_value(from) : -1;
	p->to_port = to ? json_integer_value(to) : -1;
	for (int i = 0; i < 2; i++) {
		const int64_t port = i ? p->to_port : p->from_port;

		if (port < min || port > max)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "%s (%lld) out of range",
					     icmp ? (i ? "ICMP code" : "ICMP type")
					     : i  ? "TCP/UDP (to) port"
						  : "TCP/UDP (from) port",
					     (long long)port);
	}
	if (has_ports && p->from_port > p->to_port)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%lld-%lld' for portRange. From is over to.",
				     (long long)p->from_port, (long long)p->to_port);
	if (icmp && p->from_port == -1 && p->to_port != -1)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%lld' for an ICMP code: the type is -1, all.",
				     (long long)p->to_port);
	return 0;
}

static json_t *new_rule(const struct permission *p, const json_t *source)
{
	json_t *rule = json_pack("{s:s, s:s, s:b, s:s, s:I, s:I}", "groupId", p->group->id,
				 "groupOwnerId", p->c->o.identity.account, "isEgress", p->egress,
				 "ipProtocol", p->protocol, "fromPort", (json_int_t)p->from_port,
				 "toPort", (json_int_t)p->to_port);

	doc_set_string(rule, "description", doc_string(source, "Description"));
	(void)json_object_set_new(rule, "tagSet", json_array());
	return rule;
}

static int add_cidrs(const struct permission *p, const json_t *ranges, bool v6, json_t *rules,
		     struct ecs_fault *f)
{
	json_t *range, *rule;
	size_t i;

	json_array_foreach (ranges, i, range) {
		const char *text = doc_string(range, v6 ? "CidrIpv6" : "CidrIp");
		struct ip_prefix cidr;
		char canonical[IP_TEXT_MAX];

		if (!text || !ip_prefix_parse(text, &cidr) || cidr.v6 != v6)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "CIDR block %.100s is malformed", text ? text : "");
		rule = new_rule(p, range);
		ip_prefix_format(&cidr, canonical);
		doc_set_string(rule, v6 ? "cidrIpv6" : "cidrIpv4", canonical);
		(void)json_array_append_new(rules, rule);
	}
	return 0;
}

/* By id, or by name in the same VPC. */
static const struct security_group *group_of_pair(const struct permission *p, const json_t *pair,
						  struct ecs_fault *f)
{
	const char *vpc = doc_string(p->group->record.doc, "vpcId"),
		   *id = doc_string(pair, "GroupId"), *name = doc_string(pair, "GroupName"),
		   *user = doc_string(pair, "UserId");
	struct security_group *g = NULL;

	if (user && strcmp(user, p->c->o.identity.account) != 0) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_GROUP_NOT_FOUND,
				    "The security group '%.200s' of account %.40s does not exist",
				    id     ? id
				    : name ? name
					   : "",
				    user);
		return NULL;
	}
	if (id)
		g = map_find(&p->c->security_groups, id);
	for (size_t i = 0; !id && name && map_next(&p->c->security_groups, &i, &g);)
		if (str_eq(doc_string(g->record.doc, "groupName"), name) &&
		    str_eq(doc_string(g->record.doc, "vpcId"), vpc))
			return g;
	if (id && g && str_eq(doc_string(g->record.doc, "vpcId"), vpc))
		return g;
	if (id && g)
		(void)ecs_fault_set(f, ECS_FAULT_EC2_GROUP_NOT_FOUND,
				    "You have specified two resources that belong to different "
				    "networks: %s and %s.",
				    id, p->group->id);
	else
		(void)ecs_fault_set(f, ECS_FAULT_EC2_GROUP_NOT_FOUND,
				    "The security group '%.200s' does not exist",
				    id     ? id
				    : name ? name
					   : "");
	return NULL;
}

static int add_groups(const struct permission *p, const json_t *pairs, json_t *rules,
		      struct ecs_fault *f)
{
	json_t *pair, *rule;
	size_t i;

	json_array_foreach (pairs, i, pair) {
		const struct security_group *g = group_of_pair(p, pair, f);

		if (!g)
			return -1;
		rule = new_rule(p, pair);
		(void)json_object_set_new(rule, "referencedGroupInfo",
					  json_pack("{s:s, s:s, s:O}", "groupId", g->id, "userId",
						    p->c->o.identity.account, "vpcId",
						    json_object_get(g->record.doc, "vpcId")));
		(void)json_array_append_new(rules, rule);
	}
	return 0;
}

static int add_lists(const struct permission *p, const json_t *lists, json_t *rules,
		     struct ecs_fault *f)
{
	json_t *list, *rule;
	size_t i;

	json_array_foreach (lists, i, list) {
		const char *id = doc_string(list, "PrefixListId");

		if (!ec2_find(&p->c->prefix_lists, &prefix_list_kind, id, f))
			return -1;
		rule = new_rule(p, list);
		doc_set_string(rule, "prefixListId", id);
		(void)json_array_append_new(rules, rule);
	}
	return 0;
}

static int add_permission(struct core *c, const struct security_group *g, const json_t *doc,
			  bool egress, json_t *rules, struct ecs_fault *f)
{
	struct permission p = {.c = c, .group = g, .egress = egress};
	const char *protocol = doc_string(doc, "IpProtocol");
	size_t before = json_array_size(rules);
	int number;

	if (!protocol)
		return ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				     "The request must contain the parameter ipProtocol");
	if (!protocol_parse(protocol, &number, p.protocol))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%.100s' for IP protocol. Unknown protocol.",
				     protocol);
	if (check_ports(&p, doc, number, f) < 0 ||
	    add_cidrs(&p, json_object_get(doc, "IpRanges"), false, rules, f) < 0 ||
	    add_cidrs(&p, json_object_get(doc, "Ipv6Ranges"), true, rules, f) < 0 ||
	    add_groups(&p, json_object_get(doc, "Groups"), rules, f) < 0 ||
	    add_lists(&p, json_object_get(doc, "PrefixListIds"), rules, f) < 0)
		return -1;
	if (json_array_size(rules) == before)
		return ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				     "The request must contain a CIDR block, a security group or "
				     "a prefix list for each permission");
	return 0;
}

/* "CidrIp", "FromPort"... beside the group: one permission without a list. */
static json_t *short_permission(const json_t *request)
{
	static const char *const members[] = {"IpProtocol", "FromPort", "ToPort"};
	const char *cidr = doc_string(request, "CidrIp"),
		   *name = doc_string(request, "SourceSecurityGroupName");
	json_t *p;

	if (!cidr && !name && !doc_string(request, "IpProtocol"))
		return NULL;
	p = json_object();
	for (size_t i = 0; i < ARRAY_COUNT(members); i++)
		if (json_object_get(request, members[i]))
			(void)json_object_set(p, members[i], json_object_get(request, members[i]));
	if (name && !json_object_get(p, "IpProtocol"))
		doc_set_string(p, "IpProtocol", "-1");
	if (cidr)
		(void)json_object_set_new(p, "IpRanges", json_pack("[{s:s}]", "CidrIp", cidr));
	if (name)
		(void)json_object_set_new(p, "Groups", json_pack("[{s:s}]", "GroupName", name));
	return p;
}

json_t *rules_of_request(struct core *c, const struct security_group *g, const json_t *request,
			 bool egress, struct ecs_fault *f)
{
	auto_json json_t *rules = json_array(), *alone = short_permission(request);
	json_t *permission;
	size_t i;

	if (alone && add_permission(c, g, alone, egress, rules, f) < 0)
		return NULL;
	json_array_foreach (json_object_get(request, "IpPermissions"), i, permission)
		if (add_permission(c, g, permission, egress, rules, f) < 0)
			return NULL;
	return take_ptr(rules);
}

static const json_t *source_group(const json_t *rule)
{
	return json_object_get(json_object_get(rule, "referencedGroupInfo"), "groupId");
}

/* All but the description, the tags and the id. */
static bool rule_equals(const json_t *a, const json_t *b)
{
	static const char *const members[] = {"isEgress", "ipProtocol", "fromPort",    "toPort",
					      "cidrIpv4", "cidrIpv6",   "prefixListId"};

	for (size_t i = 0; i < ARRAY_COUNT(members); i++) {
		const json_t *va = json_object_get(a, members[i]),
			     *vb = json_object_get(b, members[i]);

		if (va != vb && !json_equal(va, vb))
			return false;
	}
	return source_group(a) == source_group(b) || json_equal(source_group(a), source_group(b));
}

bool rule_find(const json_t *rules, const json_t *like, size_t *ret_index)
{
	json_t *rule;
	size_t i;

	json_array_foreach (rules, i, rule) {
		if (rule_equals(rule, like)) {
			*ret_index = i;
			return true;
		}
	}
	return false;
}

/* ---- shown by permission ---- */

static bool same_permission(const json_t *permission, const json_t *rule)
{
	return json_equal(json_object_get(permission, "ipProtocol"),
			  json_object_get(rule, "ipProtocol")) &&
	       doc_integer(permission, "fromPort", -1) == doc_integer(rule, "fromPort", -1) &&
	       doc_integer(permission, "toPort", -1) == doc_integer(rule, "toPort", -1);
}

static json_t *permission_of(json_t *permissions, const json_t *rule)
{
	json_t *p;
	size_t i;

	json_array_foreach (permissions, i, p)
		if (same_permission(p, rule))
			return p;
	p = json_pack("{s:O}", "ipProtocol", json_object_get(rule, "ipProtocol"));
	if (!str_eq(doc_string(rule, "ipProtocol"), "-1")) {
		(void)json_object_set(p, "fromPort", json_object_get(rule, "fromPort"));
		(void)json_object_set(p, "toPort", json_object_get(rule, "toPort"));
	}
	(void)json_object_update_new(p, json_pack("{s:[], s:[], s:[], s:[]}", "groups", "ipRanges",
						  "ipv6Ranges", "prefixListIds"));
	(void)json_array_append_new(permissions, p);
	return p;
}

json_t *rules_as_permissions(const json_t *rules, bool egress)
{
	json_t *permissions = json_array(), *rule;
	size_t i;

	json_array_foreach (rules, i, rule) {
		const char *v4 = doc_string(rule, "cidrIpv4"), *v6 = doc_string(rule, "cidrIpv6"),
			   *list = doc_string(rule, "prefixListId");
		json_t *p, *source;

		if (doc_true(rule, "isEgress") != egress)
			continue;
		p = permission_of(permissions, rule);
		if (v4)
			source = json_pack("{s:s}", "cidrIp", v4);
		else if (v6)
			source = json_pack("{s:s}", "cidrIpv6", v6);
		else if (list)
			source = json_pack("{s:s}", "prefixListId", list);
		else
			source = json_pack("{s:O, s:O}", "groupId", source_group(rule), "userId",
					   json_object_get(rule, "groupOwnerId"));
		doc_set_string(source, "description", doc_string(rule, "description"));
		(void)json_array_append_new(json_object_get(p, v4     ? "ipRanges"
							       : v6   ? "ipv6Ranges"
							       : list ? "prefixListIds"
								      : "groups"),
					    source);
	}
	return permissions;
}

static struct ecs_node_rule describe_one(const json_t *rule)
{
	const char *v4 = doc_string(rule, "cidrIpv4"), *v6 = doc_string(rule, "cidrIpv6");
	char name[PROTOCOL_SIZE];
	int number = -1;

	(void)protocol_parse(doc_string(rule, "ipProtocol"), &number, name);
	return (struct ecs_node_rule){
		.egress = doc_true(rule, "isEgress"),
		.protocol = number,
		.from_port = doc_integer(rule, "fromPort", -1),
		.to_port = doc_integer(rule, "toPort", -1),
		.cidr = (char *)(uintptr_t)(v4 ? v4 : v6),
		.group = (char *)(uintptr_t)json_string_value(source_group(rule))};
}

size_t rule_count_for_node(const struct core *c, const json_t *rule)
{
	const char *list = doc_string(rule, "prefixListId");

	return list ? json_array_size(prefix_list_entries(c, list)) : 1;
}

void rule_describe_to_node(const struct core *c, const json_t *rule, struct ecs_node_rule *ret)
{
	const char *list = doc_string(rule, "prefixListId");
	const struct ecs_node_rule one = describe_one(rule);
	json_t *entry;
	size_t i;

	if (!list)
		*ret = one;
	json_array_foreach (list ? prefix_list_entries(c, list) : NULL, i, entry) {
		ret[i] = one;
		ret[i].cidr = (char *)(uintptr_t)doc_string(entry, "cidr");
	}
}
