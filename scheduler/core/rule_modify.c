/* scheduler/core/rule_modify.c - rules of security groups that become others, with their ids and tags
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: ModifySecurityGroupRules and UpdateSecurityGroupRuleDescriptionsIngress of the
 * EC2 API reference.
 */
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

static json_t *find_by_id(const json_t *rules, const char *id, size_t *ret_index,
			  struct ecs_fault *f)
{
	json_t *rule;
	size_t i;

	json_array_foreach (rules, i, rule) {
		if (str_eq(doc_string(rule, rule_kind.id), id)) {
			*ret_index = i;
			return rule;
		}
	}
	(void)ecs_fault_set(f, rule_kind.absent, "The %s '%.100s' does not exist", rule_kind.word,
			    id);
	return NULL;
}

/* NULL: none. */
static int set_description(json_t *rule, const char *description, struct ecs_fault *f)
{
	(void)json_object_del(rule, "description");
	doc_set_string(rule, "description", description);
	return rule_check_description(rule, f);
}

/* ---- other rules ---- */

/* A SecurityGroupRuleRequest in the words of IpPermissions, by which rules are made. */
static json_t *permission_of(const json_t *wanted, struct ecs_fault *f)
{
	static const struct {
		const char *member, *list, *source;
	} sources[] = {{"CidrIpv4", "IpRanges", "CidrIp"},
		       {"CidrIpv6", "Ipv6Ranges", "CidrIpv6"},
		       {"PrefixListId", "PrefixListIds", "PrefixListId"},
		       {"ReferencedGroupId", "Groups", "GroupId"}};
	json_t *permission = json_copy((json_t *)(uintptr_t)wanted), *source;
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_COUNT(sources); i++) {
		const char *value = doc_string(wanted, sources[i].member);

		if (!value)
			continue;
		count++;
		source = json_pack("{s:s}", sources[i].source, value);
		doc_set_string(source, "Description", doc_string(wanted, "Description"));
		(void)json_object_set_new(permission, sources[i].list, json_pack("[o]", source));
	}
	if (count == 1)
		return permission;
	(void)ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
			    "A SecurityGroupRule has one of CidrIpv4, CidrIpv6, PrefixListId and "
			    "ReferencedGroupId.");
	json_decref(permission);
	return NULL;
}

static json_t *changed(struct core *c, const struct security_group *g, const json_t *old,
		       const json_t *wanted, struct ecs_fault *f)
{
	static const char *const kept[] = {"securityGroupRuleId", "securityGroupRuleArn", "tagSet"};
	auto_json json_t *permission = permission_of(wanted, f),
			 *request = json_pack("{s:[O*]}", "IpPermissions", permission),
			 *made = NULL;
	json_t *rule;

	if (!permission)
		return NULL;
	made = rules_of_request(c, g, request, doc_true(old, "isEgress"), f);
	if (!made || rule_check_description(json_array_get(made, 0), f) < 0)
		return NULL;
	rule = json_incref(json_array_get(made, 0));
	for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
		(void)json_object_set(rule, kept[i], json_object_get(old, kept[i]));
	return rule;
}

/* No two of them say the same. */
static int check_different(const json_t *rules, struct ecs_fault *f)
{
	json_t *rule;
	size_t i, at;

	json_array_foreach (rules, i, rule)
		if (rule_find(rules, rule, &at) && at != i)
			return ecs_fault_set(f, ECS_FAULT_EC2_PERMISSION_DUPLICATE,
					     "%s would be the same rule as %s.",
					     doc_string(rule, rule_kind.id),
					     doc_string(json_array_get(rules, at), rule_kind.id));
	return 0;
}

json_t *modify_security_group_rules(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct security_group *g = security_group_of(c, request, f);
	auto_json json_t *rules = g ? json_copy(security_group_rules(g)) : NULL;
	json_t *update;
	size_t i, at;

	json_array_foreach (g ? json_object_get(request, "SecurityGroupRule") : NULL, i, update) {
		const json_t *old = find_by_id(rules, doc_string(update, "SecurityGroupRuleId"),
					       &at, f);
		json_t *new = old ? changed(c, g, old, json_object_get(update, "SecurityGroupRule"),
					    f)
				  : NULL;

		if (!new)
			return NULL;
		(void)json_array_set_new(rules, at, new);
	}
	if (!g || check_different(rules, f) < 0)
		return NULL;
	security_group_set_rules(c, g, rules);
	return json_pack("{s:b}", "return", 1);
}

/* ---- other descriptions: nothing that hosts hear of ---- */

static int describe_alike(const json_t *rules, const json_t *like, struct ecs_fault *f)
{
	json_t *rule;
	size_t i, at;

	json_array_foreach (like, i, rule) {
		if (!rule_find(rules, rule, &at))
			return ecs_fault_set(
				f, ECS_FAULT_EC2_PERMISSION_NOT_FOUND,
				"The specified rule does not exist in this security group.");
		if (set_description(json_array_get(rules, at), doc_string(rule, "description"), f) <
		    0)
			return -1;
	}
	return 0;
}

static int describe_named(const json_t *rules, const json_t *descriptions, bool egress,
			  struct ecs_fault *f)
{
	json_t *wanted, *rule;
	size_t i, at;

	json_array_foreach (descriptions, i, wanted) {
		const char *id = doc_string(wanted, "SecurityGroupRuleId");

		rule = find_by_id(rules, id, &at, f);
		if (!rule || set_description(rule, doc_string(wanted, "Description"), f) < 0)
			return -1;
		if (doc_true(rule, "isEgress") != egress)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "%s is a rule of the other direction.", id);
	}
	return 0;
}

static json_t *update_descriptions(struct core *c, const json_t *request, bool egress,
				   struct ecs_fault *f)
{
	struct security_group *g = security_group_of(c, request, f);
	auto_json json_t *like = g ? rules_of_request(c, g, request, egress, f) : NULL,
			 *rules = g ? json_deep_copy(security_group_rules(g)) : NULL;
	const json_t *named = json_object_get(request, "SecurityGroupRuleDescription");

	if (!like)
		return NULL;
	if (!json_array_size(like) && !json_array_size(named)) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				    "The request must contain the parameter ipPermissions or "
				    "securityGroupRuleDescriptions");
		return NULL;
	}
	if (describe_alike(rules, like, f) < 0 || describe_named(rules, named, egress, f) < 0)
		return NULL;
	(void)json_object_set(g->record.doc, "_rules", rules);
	record_touch(c, &g->record);
	return json_pack("{s:b}", "return", 1);
}

json_t *update_security_group_rule_descriptions_ingress(struct core *c, json_t *request,
							struct ecs_fault *f)
{
	return update_descriptions(c, request, false, f);
}

json_t *update_security_group_rule_descriptions_egress(struct core *c, json_t *request,
						       struct ecs_fault *f)
{
	return update_descriptions(c, request, true, f);
}
