/* scheduler/core/group.c - security groups
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A host has to know a group when a task of its is in it, and when a rule of
 * such a group names it.  It watches the group then, and is told its rules and
 * members when it begins to and whatever changes after.  For each instance a
 * group counts the interfaces there that are in it, and the groups watched
 * there that name it: the host watches while one of the two is not zero.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define RULES_MAX       1000 /* of a group, in each direction */
#define NAME_LEN_MAX    255
#define DESCRIPTION_MAX 255

struct watcher {
	struct instance *instance;
	size_t interfaces; /* in the group */
	size_t references; /* rules of groups with interfaces there that name the group */
};

/* ---- shown ---- */

json_t *security_group_rules(const struct security_group *g)
{
	return json_object_get(g->record.doc, "_rules");
}

static json_t *show(struct core *c, const void *object)
{
	const struct record *r = object;
	const struct security_group *g = (const struct security_group *)r;
	json_t *doc = doc_public(r->doc, false);

	(void)c;
	(void)json_object_set_new(doc, "ipPermissions",
				  rules_as_permissions(security_group_rules(g), false));
	(void)json_object_set_new(doc, "ipPermissionsEgress",
				  rules_as_permissions(security_group_rules(g), true));
	return doc;
}

static const struct ec2_filter filters[] = {
	{"group-id", "groupId"},
	{"group-name", "groupName"},
	{"description", "groupDescription"},
	{"vpc-id", "vpcId"},
	{"owner-id", "ownerId"},
	{"ip-permission.cidr", "ipPermissions.ipRanges.cidrIp"},
	{"ip-permission.ipv6-cidr", "ipPermissions.ipv6Ranges.cidrIpv6"},
	{"ip-permission.group-id", "ipPermissions.groups.groupId"},
	{"ip-permission.prefix-list-id", "ipPermissions.prefixListIds.prefixListId"},
	{"ip-permission.user-id", "ipPermissions.groups.userId"},
	{"ip-permission.protocol", "ipPermissions.ipProtocol"},
	{"ip-permission.from-port", "ipPermissions.fromPort"},
	{"ip-permission.to-port", "ipPermissions.toPort"},
	{"egress.ip-permission.cidr", "ipPermissionsEgress.ipRanges.cidrIp"},
	{"egress.ip-permission.ipv6-cidr", "ipPermissionsEgress.ipv6Ranges.cidrIpv6"},
	{"egress.ip-permission.group-id", "ipPermissionsEgress.groups.groupId"},
	{"egress.ip-permission.prefix-list-id", "ipPermissionsEgress.prefixListIds.prefixListId"},
	{"egress.ip-permission.user-id", "ipPermissionsEgress.groups.userId"},
	{"egress.ip-permission.protocol", "ipPermissionsEgress.ipProtocol"},
	{"egress.ip-permission.from-port", "ipPermissionsEgress.fromPort"},
	{"egress.ip-permission.to-port", "ipPermissionsEgress.toPort"},
	{NULL, NULL},
};

const struct ec2_kind security_group_kind = {.set = "securityGroupInfo",
					     .id = "groupId",
					     .ids = "GroupId",
					     .word = "security group",
					     .absent = ECS_FAULT_EC2_GROUP_NOT_FOUND,
					     .prefix = "sg-",
					     .malformed = ECS_FAULT_EC2_GROUP_MALFORMED,
					     .filters = filters,
					     .show = show};

static const struct ec2_filter rule_filters[] = {
	{"group-id", "groupId"},
	{"security-group-rule-id", "securityGroupRuleId"},
	{NULL, NULL},
};

const struct ec2_kind rule_kind = {.set = "securityGroupRuleSet",
				   .id = "securityGroupRuleId",
				   .ids = "SecurityGroupRuleId",
				   .word = "security group rule ID",
				   .absent = ECS_FAULT_EC2_RULE_NOT_FOUND,
				   .filters = rule_filters};

json_t *security_group_rule(const struct core *c, const char *id, struct record **ret_record)
{
	struct security_group *g;
	json_t *rule;
	size_t k;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);) {
		json_array_foreach (security_group_rules(g), k, rule) {
			if (str_eq(doc_string(rule, rule_kind.id), id)) {
				*ret_record = &g->record;
				return rule;
			}
		}
	}
	return NULL;
}

void security_groups_each_rule(const struct core *c, void (*fn)(const json_t *rule, void *ctx),
			       void *ctx)
{
	struct security_group *g;
	json_t *rule;
	size_t k;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		json_array_foreach (security_group_rules(g), k, rule)
			fn(rule, ctx);
}

/* ---- life ---- */

void security_group_free(struct security_group *g)
{
	struct watcher *w;

	for (size_t i = 0; map_next(&g->watchers, &i, &w);)
		free(w);
	map_done(&g->watchers);
	record_done(&g->record);
	free(g->id);
	free(g);
}

int security_group_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "groupId");
	struct security_group *g;

	if (!id || !doc_string(own_doc, "vpcId") ||
	    !json_is_array(json_object_get(own_doc, "_rules")))
		return err_set(e, EUCLEAN, "is not whole");
	g = xcalloc(1, sizeof(*g));
	g->id = xstrdup(id);
	record_init(&g->record, own_doc, "security-group/%s", id);
	(void)map_put(&c->security_groups, id, g);
	return 0;
}

/* A rule gets its id and is one of the list. */
static void keep_rule(struct core *c, json_t *rules, json_t *rule)
{
	char id[EC2_ID_SIZE];

	ec2_make_id(c, "sgr", NULL, id);
	doc_set_string(rule, "securityGroupRuleId", id);
	(void)json_object_set_new(rule, "securityGroupRuleArn",
				  json_sprintf("arn:aws:ec2:%s:%s:security-group-rule/%s",
					       c->o.identity.region, c->o.identity.account, id));
	(void)json_array_append(rules, rule);
}

/* One rule for all protocols: "IpRanges" of "CidrIp", or the like. */
static void add_first_rule(struct core *c, const struct security_group *g, bool egress,
			   const char *sources, const char *member, const char *source)
{
	auto_json json_t *request = json_pack("{s:[{s:s, s:[{s:s}]}]}", "IpPermissions",
					      "IpProtocol", "-1", sources, member, source);
	struct ecs_fault f;
	auto_json json_t *rules = rules_of_request(c, g, request, egress, &f);
	json_t *rule;
	size_t i;

	json_array_foreach (rules, i, rule)
		keep_rule(c, security_group_rules(g), rule);
}

struct security_group *security_group_make(struct core *c, const struct vpc *v, const char *name,
					   const char *description, json_t *own_tags)
{
	char id[EC2_ID_SIZE];
	struct security_group *g;
	struct err e;
	json_t *doc;

	ec2_make_id(c, "sg", &c->security_groups, id);
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:[]}", "groupId", id, "groupName", name,
			"groupDescription", description, "vpcId", v->id, "ownerId",
			c->o.identity.account, "tagSet", own_tags, "_rules");
	(void)json_object_set_new(doc, "securityGroupArn",
				  json_sprintf("arn:aws:ec2:%s:%s:security-group/%s",
					       c->o.identity.region, c->o.identity.account, id));
	(void)security_group_load(c, doc, &e);
	g = map_find(&c->security_groups, id);
	add_first_rule(c, g, true, "IpRanges", "CidrIp", "0.0.0.0/0");
	if (json_array_size(json_object_get(v->record.doc, "ipv6CidrBlockAssociationSet")))
		add_first_rule(c, g, true, "Ipv6Ranges", "CidrIpv6", "::/0");
	if (strcmp(name, "default") == 0)
		add_first_rule(c, g, false, "Groups", "GroupId", g->id);
	record_touch(c, &g->record);
	return g;
}

static struct security_group *named(struct core *c, const char *vpc_id, const char *name)
{
	struct security_group *g;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		if (str_eq(doc_string(g->record.doc, "vpcId"), vpc_id) &&
		    str_eq(doc_string(g->record.doc, "groupName"), name))
			return g;
	return NULL;
}

struct security_group *security_group_default(struct core *c, const char *vpc_id)
{
	return named(c, vpc_id, "default");
}

/* ---- what hosts are told ---- */

static void add_addresses(struct arena *a, const struct interface *n, struct js_strings *ret)
{
	char text[IP_TEXT_MAX];

	for (int v6 = 0; v6 < 2; v6++)
		if (interface_address(n, v6, text))
			ret->items[ret->count++] = arena_strdup(a, text);
}

static bool is_member(const struct interface *n, const struct security_group *g)
{
	for (size_t i = 0; i < n->group_count; i++)
		if (n->groups[i] == g)
			return true;
	return false;
}

/* For who has no interface in the group the members are enough. */
static void describe(struct core *c, const struct security_group *g, const struct watcher *w,
		     struct arena *a, struct ecs_node_group *ret)
{
	json_t *rules = security_group_rules(g), *rule;
	struct ecs_node_rule *items;
	struct interface *n;
	size_t count = 0, i;

	json_array_foreach (rules, i, rule)
		count += rule_count_for_node(c, rule);
	items = arena_alloc(a, (count + 1) * sizeof(*items));
	*ret = (struct ecs_node_group){.group_id = g->id, .rules = {.items = items}};
	json_array_foreach (w->interfaces ? rules : NULL, i, rule) {
		rule_describe_to_node(c, rule, &items[ret->rules.count]);
		ret->rules.count += rule_count_for_node(c, rule);
	}
	ret->members.items = arena_alloc(a, (2 * c->interfaces.count + 1) * sizeof(char *));
	for (i = 0; map_next(&c->interfaces, &i, &n);)
		if (is_member(n, g))
			add_addresses(a, n, &ret->members);
}

/* By a tag: so it can be asked for with what any client of EC2 has. */
static bool cuts(const struct security_group *g)
{
	return str_eq(ec2_tag(g->record.doc, EC2_TAG_CUT), "true");
}

/* As the watcher should know it now. */
static void send_group(struct core *c, const struct security_group *g, const struct watcher *w,
		       bool rules_changed)
{
	auto_arena struct arena a = {0};
	struct ecs_node_group group = {.group_id = g->id, .gone = true};
	const struct ecs_node_groups message = {.groups = {&group, 1}};

	if (w->interfaces + w->references)
		describe(c, g, w, &a, &group);
	group.cut = rules_changed && cuts(g);
	effect_send(c, w->instance, ECS_NODE_GROUPS, &message);
}

static void send_member(struct core *c, const struct security_group *g, const struct interface *n,
			bool joined)
{
	auto_arena struct arena a = {0};
	char *addresses[3];
	struct js_strings list = {addresses, 0};
	struct ecs_node_membership change = {.group_id = g->id};
	const struct ecs_node_groups message = {.changes = {&change, 1}};
	auto_free char *text = NULL;
	struct watcher *w;

	add_addresses(&a, n, &list);
	if (joined)
		change.joined = list;
	else
		change.left = list;
	text = ecs_node_dump(ECS_NODE_GROUPS, &message);
	for (size_t i = 0; map_next(&g->watchers, &i, &w);)
		effect_send_text(c, w->instance, xstrdup(text));
}

static struct watcher *watcher_of(struct security_group *g, struct instance *i)
{
	struct watcher *w = map_find(&g->watchers, i->id);

	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->instance = i;
		(void)map_put(&g->watchers, i->id, w);
	}
	return w;
}

/* One more reason to watch, or one less; told is when that changes what the host has to know. */
static void watch(struct core *c, struct security_group *g, struct instance *i, int interfaces,
		  int references)
{
	struct watcher *w = watcher_of(g, i), before = *w;

	w->interfaces += (size_t)interfaces;
	w->references += (size_t)references;
	if (!before.interfaces != !w->interfaces ||
	    !(before.interfaces + before.references) != !(w->interfaces + w->references))
		send_group(c, g, w, false);
	if (!(w->interfaces + w->references))
		free(map_remove(&g->watchers, i->id));
}

/* The groups that the rules of 'g' name are watched by who is in 'g'. */
static void watch_references(struct core *c, const struct security_group *g, struct instance *i,
			     int by)
{
	json_t *rule;
	size_t n;

	json_array_foreach (security_group_rules(g), n, rule) {
		const char *id = doc_string(json_object_get(rule, "referencedGroupInfo"),
					    "groupId");
		struct security_group *named_group = id ? map_find(&c->security_groups, id) : NULL;

		if (named_group)
			watch(c, named_group, i, 0, by);
	}
}

void security_group_join(struct core *c, struct security_group *g, const struct interface *n)
{
	struct instance *i = n->instance;

	send_member(c, g, n, true);
	if (!i)
		return;
	watch(c, g, i, 1, 0); /* tells all members, this one too, when it is the first reason */
	if (((struct watcher *)map_find(&g->watchers, i->id))->interfaces == 1)
		watch_references(c, g, i, 1);
}

void security_group_leave(struct core *c, struct security_group *g, const struct interface *n)
{
	struct instance *i = n->instance;

	send_member(c, g, n, false);
	if (!i)
		return;
	if (((struct watcher *)map_find(&g->watchers, i->id))->interfaces == 1)
		watch_references(c, g, i, -1);
	watch(c, g, i, -1, 0);
}

void security_groups_send_all(struct core *c, struct instance *i)
{
	auto_arena struct arena a = {0};
	struct ecs_node_groups message = {.full = true};
	struct ecs_node_group *items = arena_alloc(&a,
						   (c->security_groups.count + 1) * sizeof(*items));
	struct security_group *g;
	struct watcher *w;

	message.groups.items = items;
	for (size_t n = 0; map_next(&c->security_groups, &n, &g);)
		if ((w = map_find(&g->watchers, i->id)))
			describe(c, g, w, &a, &items[message.groups.count++]);
	effect_send(c, i, ECS_NODE_GROUPS, &message);
}

/* ---- rules change ---- */

/* Who has interfaces in the group hears of its rules. */
static void send_rules(struct core *c, const struct security_group *g)
{
	struct watcher *w;

	for (size_t i = 0; map_next(&g->watchers, &i, &w);)
		if (w->interfaces)
			send_group(c, g, w, true);
}

static bool names_list(const struct security_group *g, const char *prefix_list_id)
{
	json_t *rule;
	size_t i;

	json_array_foreach (security_group_rules(g), i, rule)
		if (str_eq(doc_string(rule, "prefixListId"), prefix_list_id))
			return true;
	return false;
}

void security_groups_send_naming(struct core *c, const char *prefix_list_id)
{
	struct security_group *g;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		if (names_list(g, prefix_list_id))
			send_rules(c, g);
}

const char *security_group_naming(struct core *c, const char *prefix_list_id)
{
	struct security_group *g;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		if (names_list(g, prefix_list_id))
			return g->id;
	return NULL;
}

/* What that changes is told to who watches the group, or what it names. */
void security_group_set_rules(struct core *c, struct security_group *g, json_t *new_rules)
{
	struct watcher *w;

	/* The new references come before the old go, so that what both name is not told anew. */
	json_t *old_rules = json_incref(security_group_rules(g));

	(void)json_object_set(g->record.doc, "_rules", new_rules);
	for (size_t i = 0; map_next(&g->watchers, &i, &w);)
		if (w->interfaces)
			watch_references(c, g, w->instance, 1);
	(void)json_object_set(g->record.doc, "_rules", old_rules);
	for (size_t i = 0; map_next(&g->watchers, &i, &w);)
		if (w->interfaces)
			watch_references(c, g, w->instance, -1);
	(void)json_object_set(g->record.doc, "_rules", new_rules);
	json_decref(old_rules);
	send_rules(c, g);
	record_touch(c, &g->record);
}

/* By "GroupId", or "GroupName" in the default VPC. */
struct security_group *security_group_of(struct core *c, const json_t *request, struct ecs_fault *f)
{
	const char *id = doc_string(request, "GroupId"), *name = doc_string(request, "GroupName");
	const struct vpc *v = vpc_default(c);
	struct security_group *g;

	if (id)
		return ec2_find(&c->security_groups, &security_group_kind, id, f);
	if (!name) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				    "The request must contain the parameter groupName or groupId");
		return NULL;
	}
	g = v ? named(c, v->id, name) : NULL;
	if (!g)
		(void)ecs_fault_set(f, ECS_FAULT_EC2_GROUP_NOT_FOUND,
				    "The security group '%.200s' does not exist in default VPC",
				    name);
	return g;
}

static void rule_text(const json_t *rule, char *ret, size_t size)
{
	const char *group = doc_string(json_object_get(rule, "referencedGroupInfo"), "groupId"),
		   *v4 = doc_string(rule, "cidrIpv4"), *v6 = doc_string(rule, "cidrIpv6"),
		   *list = doc_string(rule, "prefixListId");

	const char *peer = group ? group : v4 ? v4 : v6 ? v6 : list;
	auto_free char *protocol = xstrdup(doc_string(rule, "ipProtocol"));

	if (strcmp(protocol, "-1") == 0) {
		(void)snprintf(ret, size, "peer: %s, ALL, ALLOW", peer);
		return;
	}
	for (char *p = protocol; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	(void)snprintf(ret, size, "peer: %s, %s, from port: %lld, to port: %lld, ALLOW", peer,
		       protocol, (long long)doc_integer(rule, "fromPort", -1),
		       (long long)doc_integer(rule, "toPort", -1));
}

/* A prefix list counts as what it may grow to, as on AWS. */
static size_t counted_as(const struct core *c, const json_t *rule)
{
	const char *list = doc_string(rule, "prefixListId");

	return list ? prefix_list_max(c, list) : 1;
}

static int check_new(const struct core *c, const struct security_group *g, const json_t *rules,
		     bool egress, struct ecs_fault *f)
{
	size_t count = 0, i, at;
	json_t *rule;
	char text[400];

	if (!json_array_size(rules))
		return ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				     "The request must contain the parameter ipPermissions");
	json_array_foreach (rules, i, rule) {
		if (rule_check_description(rule, f) < 0)
			return -1;
		if (rule_find(security_group_rules(g), rule, &at) ||
		    (rule_find(rules, rule, &at) && at != i)) {
			rule_text(rule, text, sizeof(text));
			return ecs_fault_set(f, ECS_FAULT_EC2_PERMISSION_DUPLICATE,
					     "the specified rule \"%s\" already exists", text);
		}
	}
	for (int old = 0; old < 2; old++)
		json_array_foreach (old ? security_group_rules(g) : rules, i, rule)
			if (doc_true(rule, "isEgress") == egress)
				count += counted_as(c, rule);
	if (count > RULES_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_RULES_EXCEEDED,
				     "The maximum number of rules per security group has been "
				     "reached: %d.",
				     RULES_MAX);
	return 0;
}

static int tag_rules(const json_t *request, json_t *rules, struct ecs_fault *f)
{
	json_t *rule;
	size_t i;

	json_array_foreach (rules, i, rule)
		if (ec2_take_tags(request, "security-group-rule", rule, f) < 0)
			return -1;
	return 0;
}

static json_t *authorize_rules(struct core *c, const json_t *request, bool egress,
			       struct ecs_fault *f)
{
	struct security_group *g = security_group_of(c, request, f);
	auto_json json_t *rules = g ? rules_of_request(c, g, request, egress, f) : NULL,
			 *all = NULL;
	json_t *rule;
	size_t i;

	if (!rules || check_new(c, g, rules, egress, f) < 0 || tag_rules(request, rules, f) < 0)
		return NULL;
	all = json_copy(security_group_rules(g));
	json_array_foreach (rules, i, rule)
		keep_rule(c, all, rule);
	security_group_set_rules(c, g, all);
	return json_pack("{s:b, s:O}", "return", 1, "securityGroupRuleSet", rules);
}

/* The rules of a group that a request wants gone, by id or by what they say. */
static int find_revoked(struct core *c, const struct security_group *g, const json_t *request,
			bool egress, json_t *remaining, struct ecs_fault *f)
{
	auto_json json_t *like = rules_of_request(c, g, request, egress, f);
	json_t *rule, *id, *old;
	size_t i, n, at;

	if (!like)
		return -1;
	json_array_foreach (like, i, rule) {
		if (!rule_find(remaining, rule, &at))
			return ecs_fault_set(
				f, ECS_FAULT_EC2_PERMISSION_NOT_FOUND,
				"The specified rule does not exist in this security group.");
		(void)json_array_remove(remaining, at);
	}
	json_array_foreach (json_object_get(request, "SecurityGroupRuleId"), i, id) {
		bool found = false;

		json_array_foreach (remaining, n, old) {
			found = json_equal(json_object_get(old, "securityGroupRuleId"), id) &&
				doc_true(old, "isEgress") == egress;
			if (found) {
				(void)json_array_remove(remaining, n);
				break;
			}
		}
		if (!found)
			return ecs_fault_set(f, ECS_FAULT_EC2_RULE_NOT_FOUND,
					     "The security group rule ID '%.100s' does not exist",
					     json_string_value(id));
	}
	return 0;
}

static json_t *revoke_rules(struct core *c, const json_t *request, bool egress, struct ecs_fault *f)
{
	struct security_group *g = security_group_of(c, request, f);
	auto_json json_t *remaining = g ? json_copy(security_group_rules(g)) : NULL;

	if (!g || find_revoked(c, g, request, egress, remaining, f) < 0)
		return NULL;
	if (json_array_size(remaining) == json_array_size(security_group_rules(g))) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				    "The request must contain the parameter ipPermissions or "
				    "securityGroupRuleIds");
		return NULL;
	}
	security_group_set_rules(c, g, remaining);
	return json_pack("{s:b}", "return", 1);
}

json_t *authorize_security_group_ingress(struct core *c, json_t *request, struct ecs_fault *f)
{
	return authorize_rules(c, request, false, f);
}

json_t *authorize_security_group_egress(struct core *c, json_t *request, struct ecs_fault *f)
{
	return authorize_rules(c, request, true, f);
}

json_t *revoke_security_group_ingress(struct core *c, json_t *request, struct ecs_fault *f)
{
	return revoke_rules(c, request, false, f);
}

json_t *revoke_security_group_egress(struct core *c, json_t *request, struct ecs_fault *f)
{
	return revoke_rules(c, request, true, f);
}

/* ---- operations ---- */

static int check_name(struct core *c, const char *vpc_id, const char *name, const char *description,
		      struct ecs_fault *f)
{
	if (!*name || strlen(name) > NAME_LEN_MAX || str_starts(name, "sg-"))
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%.100s' for groupName. It has 1 to %d "
				     "characters and does not begin with 'sg-'.",
				     name, NAME_LEN_MAX);
	if (ec2_check_plain(name, "security group name", NAME_LEN_MAX, f) < 0 ||
	    ec2_check_plain(description, "security group description", DESCRIPTION_MAX, f) < 0)
		return -1;
	if (strcmp(name, "default") == 0)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Cannot use reserved security group name: default");
	if (named(c, vpc_id, name))
		return ecs_fault_set(f, ECS_FAULT_EC2_GROUP_DUPLICATE,
				     "The security group '%.200s' already exists for VPC '%s'",
				     name, vpc_id);
	return 0;
}

json_t *create_security_group(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *vpc_id = doc_string(request, "VpcId"), *name = doc_string(request, "GroupName"),
		   *description = doc_string(request, "GroupDescription");
	const struct vpc *v = vpc_id ? ec2_find(&c->vpcs, &vpc_kind, vpc_id, f) : vpc_default(c);
	auto_json json_t *tags = json_object();
	struct security_group *g;

	if (!v && !vpc_id)
		(void)ecs_fault_set(f, ECS_FAULT_EC2_VPC_NOT_FOUND,
				    "There is no default VPC: name one by VpcId");
	if (!v || check_name(c, v->id, name, description, f) < 0 ||
	    ec2_take_tags(request, "security-group", tags, f) < 0)
		return NULL;
	g = security_group_make(c, v, name, description,
				json_incref(json_object_get(tags, "tagSet")));
	return json_pack("{s:b, s:s, s:O, s:O}", "return", 1, "groupId", g->id, "tagSet",
			 json_object_get(g->record.doc, "tagSet"), "securityGroupArn",
			 json_object_get(g->record.doc, "securityGroupArn"));
}

json_t *describe_security_groups(struct core *c, json_t *request, struct ecs_fault *f)
{
	json_t *names = json_object_get(request, "GroupName"), *name, *ids;
	size_t i;

	if (names) {
		ids = json_object_get(request, "GroupId");
		if (!ids) {
			ids = json_array();
			(void)json_object_set_new(request, "GroupId", ids);
		}
		json_array_foreach (names, i, name) {
			auto_json json_t *one = json_pack("{s:O}", "GroupName", name);
			const struct security_group *g = security_group_of(c, one, f);

			if (!g)
				return NULL;
			(void)json_array_append_new(ids, json_string(g->id));
		}
	}
	return ec2_describe(c, &security_group_kind, &c->security_groups, request, f);
}

json_t *describe_security_group_rules(struct core *c, json_t *request, struct ecs_fault *f)
{
	json_t *docs = json_array();
	struct security_group *g;

	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		(void)json_array_extend(docs, security_group_rules(g));
	return ec2_describe_list(&rule_kind, docs, request, f);
}

/* Does a rule of another group name it, or is an interface in it? */
static bool in_use(struct core *c, const struct security_group *g)
{
	struct security_group *other;
	struct interface *n;
	json_t *rule;
	size_t k;

	for (size_t i = 0; map_next(&c->security_groups, &i, &other);)
		json_array_foreach (security_group_rules(other), k, rule)
			if (other != g &&
			    str_eq(doc_string(json_object_get(rule, "referencedGroupInfo"),
					      "groupId"),
				   g->id))
				return true;
	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		if (is_member(n, g))
			return true;
	return false;
}

json_t *delete_security_group(struct core *c, json_t *request, struct ecs_fault *f)
{
	struct security_group *g = security_group_of(c, request, f);
	json_t *reply;

	if (!g)
		return NULL;
	if (str_eq(doc_string(g->record.doc, "groupName"), "default")) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_CANNOT_DELETE,
				    "the specified group: \"%s\" name: \"default\" cannot be "
				    "deleted by a user",
				    g->id);
		return NULL;
	}
	if (in_use(c, g)) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_DEPENDENCY,
				    "resource %s has a dependent object", g->id);
		return NULL;
	}
	reply = json_pack("{s:b, s:s}", "return", 1, "groupId", g->id);
	(void)map_remove(&c->security_groups, g->id);
	record_delete(c, &g->record);
	security_group_free(g);
	return reply;
}
