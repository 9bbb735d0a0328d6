/* scheduler/core/core.c - the state machine: calls, effects, loading
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/core.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/core/task.h"
#include "scheduler/core/vpc.h"

static const struct {
	const char *name;
	core_fn *fn;
} operations[] = {
	{"CreateCluster", create_cluster},
	{"DescribeClusters", describe_clusters},
	{"ListClusters", list_clusters},
	{"DeleteCluster", delete_cluster},
	{"UpdateCluster", update_cluster},
	{"UpdateClusterSettings", update_cluster},
	{"CreateCapacityProvider", create_capacity_provider},
	{"UpdateCapacityProvider", update_capacity_provider},
	{"DeleteCapacityProvider", delete_capacity_provider},
	{"DescribeCapacityProviders", describe_capacity_providers},
	{"PutClusterCapacityProviders", put_cluster_capacity_providers},
	{"PutAccountSetting", put_account_setting},
	{"PutAccountSettingDefault", put_account_setting},
	{"DeleteAccountSetting", delete_account_setting},
	{"ListAccountSettings", list_account_settings},
	{"RegisterTaskDefinition", register_task_definition},
	{"DescribeTaskDefinition", describe_task_definition},
	{"ListTaskDefinitions", list_task_definitions},
	{"ListTaskDefinitionFamilies", list_task_definition_families},
	{"DeregisterTaskDefinition", deregister_task_definition},
	{"DeleteTaskDefinitions", delete_task_definitions},
	{"ExplainPlacement", explain_placement},
	{"StopTask", stop_task},
	{"DescribeTasks", describe_tasks},
	{"ListTasks", list_tasks},
	{"ListContainerInstances", list_container_instances},
	{"DescribeContainerInstances", describe_container_instances},
	{"UpdateContainerInstancesState", update_container_instances_state},
	{"DeregisterContainerInstance", deregister_container_instance},
	{"PutAttributes", put_attributes},
	{"DeleteAttributes", delete_attributes},
	{"ListAttributes", list_attributes},
	{"TagResource", tag_resource},
	{"UntagResource", untag_resource},
	{"ListTagsForResource", list_tags_for_resource},
	{"CreateNodeToken", create_node_token},
	{"DrainContainerInstance", drain_container_instance},

	{"CreateActivation", create_activation},
	{"DescribeActivations", describe_activations},
	{"DeleteActivation", delete_activation},

	{"CreateVpc", create_vpc},
	{"DescribeVpcs", describe_vpcs},
	{"DeleteVpc", delete_vpc},
	{"DescribeAvailabilityZones", describe_availability_zones},
	{"CreateSubnet", create_subnet},
	{"DescribeSubnets", describe_subnets},
	{"DeleteSubnet", delete_subnet},
	{"CreateSecurityGroup", create_security_group},
	{"DescribeSecurityGroups", describe_security_groups},
	{"DescribeSecurityGroupRules", describe_security_group_rules},
	{"AuthorizeSecurityGroupIngress", authorize_security_group_ingress},
	{"AuthorizeSecurityGroupEgress", authorize_security_group_egress},
	{"RevokeSecurityGroupIngress", revoke_security_group_ingress},
	{"RevokeSecurityGroupEgress", revoke_security_group_egress},
	{"ModifySecurityGroupRules", modify_security_group_rules},
	{"UpdateSecurityGroupRuleDescriptionsIngress",
	 update_security_group_rule_descriptions_ingress},
	{"UpdateSecurityGroupRuleDescriptionsEgress",
	 update_security_group_rule_descriptions_egress},
	{"DeleteSecurityGroup", delete_security_group},
	{"DescribeNetworkInterfaces", describe_network_interfaces},
	{"CreateFlowLogs", create_flow_logs},
	{"DescribeFlowLogs", describe_flow_logs},
	{"DeleteFlowLogs", delete_flow_logs},
	{"CreateManagedPrefixList", create_managed_prefix_list},
	{"DescribeManagedPrefixLists", describe_managed_prefix_lists},
	{"GetManagedPrefixListEntries", get_managed_prefix_list_entries},
	{"ModifyManagedPrefixList", modify_managed_prefix_list},
	{"DeleteManagedPrefixList", delete_managed_prefix_list},
	{"CreateTags", create_tags},
	{"DeleteTags", delete_tags},
	{"DescribeTags", describe_tags},
};

/* Those that answer with text. */
static const struct {
	const char *name;
	core_text_fn *fn;
} text_operations[] = {
	{"RunTask", run_task},
	{"StartTask", start_task},
};

/* ---- randomness: xoshiro256** ---- */

static uint64_t next_random(struct core *c)
{
	uint64_t *s = c->random, r = s[1] * 5, t = s[1] << 17;

	r = (r << 7 | r >> 57) * 9;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return r;
}

void core_random_hex(struct core *c, char *ret, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t bits = 0;

	for (size_t i = 0; i < len; i++, bits <<= 4) {
		if (i % 16 == 0)
			bits = next_random(c);
		ret[i] = digits[bits >> 60];
	}
	ret[len] = '\0';
}

void core_random_uuid(struct core *c, char ret[37])
{
	char digits[UUID_DIGITS + 1];

	core_random_hex(c, digits, UUID_DIGITS);
	uuid_of_digits(digits, ret);
}

size_t core_random_below(struct core *c, size_t count)
{
	return (size_t)(next_random(c) % count);
}

/* ---- records and effects ---- */

void record_init(struct record *r, json_t *own_doc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&r->key, fmt, ap) < 0)
		abort();
	va_end(ap);
	r->doc = own_doc;
}

void record_done(struct record *r)
{
	free(r->key);
	json_decref(r->doc);
}

void record_touch(struct core *c, struct record *r)
{
	if (r->dirty)
		return;
	r->dirty = true;
	r->next = NULL;
	*c->last_dirty = r;
	c->last_dirty = &r->next;
}

static struct core_effect *add_effect(struct core *c, enum core_effect_kind kind, char *own_key,
				      char *own_text)
{
	struct core_effect *x;

	c->fx.items = xgrow(c->fx.items, c->fx.count, &c->fx.capacity, sizeof(*c->fx.items));
	x = &c->fx.items[c->fx.count++];
	*x = (struct core_effect){.kind = kind, .key = own_key, .text = own_text};
	return x;
}

static void flush_dirty(struct core *c)
{
	struct record *r = c->first_dirty;

	c->first_dirty = NULL;
	c->last_dirty = &c->first_dirty;
	for (; r; r = r->next) {
		const bool tell = event_is_due(r);
		struct core_effect *put = add_effect(c, CORE_PUT, xstrdup(r->key), js_dump(r->doc));

		r->dirty = false;
		if (str_starts(r->key, "task/")) {
			put->brief = brief_of_task(((struct task_doc *)r)->task, &put->brief_size);
			put->event_ms = tell ? c->now_ms : 0;
		} else if (tell) {
			(void)add_effect(c, CORE_EVENT, NULL, event_of_instance(c, r));
		}
	}
}

void effect_put(struct core *c, char *own_key, char *own_text)
{
	(void)add_effect(c, CORE_PUT, own_key, own_text);
}

void effect_delete(struct core *c, char *own_key)
{
	flush_dirty(c); /* what was said of it before goes before */
	(void)add_effect(c, CORE_DELETE, own_key, NULL);
}

void effect_put_task(struct core *c, const struct task *t, char *own_text)
{
	struct core_effect *put = add_effect(c, CORE_PUT, task_key(t), own_text);

	put->brief = brief_of_task(t, &put->brief_size);
	put->event_ms = c->now_ms;
}

void effect_put_token(struct core *c, const char *key, const json_t *doc, int64_t expires_ms)
{
	struct core_effect *put = add_effect(c, CORE_PUT, xstrdup(key), js_dump(doc));

	put->brief = brief_of_token(key, expires_ms, &put->brief_size);
}

void record_delete(struct core *c, struct record *r)
{
	effect_delete(c, take_ptr(r->key));
	json_decref(take_ptr(r->doc));
}

void effect_send(struct core *c, const struct instance *i, enum ecs_node_type type,
		 const void *message)
{
	if (i->connected)
		(void)add_effect(c, CORE_SEND, xstrdup(i->id), ecs_node_dump(type, message));
}

void effect_send_text(struct core *c, const struct instance *i, char *own_text)
{
	if (i->connected)
		(void)add_effect(c, CORE_SEND, xstrdup(i->id), own_text);
	else
		free(own_text);
}

void effect_refuse(struct core *c, const struct instance *i, const struct ecs_node_refused *message)
{
	if (i->connected)
		(void)add_effect(c, CORE_REFUSE, xstrdup(i->id),
				 ecs_node_dump(ECS_NODE_REFUSED, message));
}

void core_take_effects(struct core *c, struct core_effects *ret)
{
	peers_flush(c);
	flush_dirty(c);
	task_docs_trim(c);
	*ret = c->fx;
	c->fx = (struct core_effects){0};
}

void core_effects_done(struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++) {
		free(fx->items[i].key);
		free(fx->items[i].text);
		free(fx->items[i].brief);
	}
	free(fx->items);
	*fx = (struct core_effects){0};
}

/* ---- life ---- */

struct core *core_new(const struct core_options *o)
{
	struct core *c = xcalloc(1, sizeof(*c));

	c->o = *o;
	memcpy(c->random, o->seed, sizeof(c->random));
	assert(c->random[0] | c->random[1] | c->random[2] | c->random[3]);
	c->last_dirty = &c->first_dirty;
	host_addresses_open(c);
	return c;
}

static void free_objects(struct core *c)
{
	struct map *plain[] = {&c->flow_logs, &c->prefix_lists, &c->providers};
	struct interface *n;
	struct security_group *g;
	struct subnet *s;
	struct vpc *v;
	struct record *r;

	for (size_t i = 0; map_next(&c->interfaces, &i, &n);)
		interface_free(n);
	for (size_t i = 0; map_next(&c->security_groups, &i, &g);)
		security_group_free(g);
	for (size_t i = 0; map_next(&c->subnets, &i, &s);)
		subnet_free(s);
	for (size_t i = 0; map_next(&c->vpcs, &i, &v);)
		vpc_free(v);
	for (size_t k = 0; k < ARRAY_COUNT(plain); k++) {
		for (size_t i = 0; map_next(plain[k], &i, &r);) {
			record_done(r);
			free(r);
		}
		map_done(plain[k]);
	}
	map_done(&c->interfaces);
	map_done(&c->security_groups);
	map_done(&c->subnets);
	map_done(&c->vpcs);
	map_done(&c->block_holders);
}

void core_free(struct core *c)
{
	struct cluster *cl;
	struct family *family;
	struct token *token;
	struct activation *activation;
	struct member *member;

	if (!c)
		return;
	core_tasks_done(c);
	for (size_t i = 0; map_next(&c->clusters, &i, &cl);)
		cluster_free(cl);
	for (size_t i = 0; map_next(&c->families, &i, &family);)
		family_free(family);
	for (size_t i = 0; map_next(&c->tokens, &i, &token);)
		token_free(token);
	for (size_t i = 0; map_next(&c->activations, &i, &activation);)
		activation_free(activation);
	for (size_t i = 0; map_next(&c->members, &i, &member);)
		member_free(member);
	record_done(&c->account);
	attributes_done(c);
	free_objects(c);
	map_done(&c->activations);
	map_done(&c->members);
	map_done(&c->members_by_key);
	map_done(&c->clusters);
	map_done(&c->families);
	map_done(&c->tokens);
	json_decref(c->conflict);
	core_effects_done(&c->fx);
	free(c->host_addresses.used);
	free(c->checked);
	free(c);
}

static int load_cluster(struct core *c, json_t *own_doc, struct err *e)
{
	const char *name = doc_string(own_doc, "clusterName");

	if (!name)
		return err_set(e, EUCLEAN, "has no name");
	(void)cluster_make(c, name, own_doc);
	return 0;
}

static const struct {
	const char *prefix;
	int (*load)(struct core *c, json_t *own_doc, struct err *e);
} kinds[] = {
	{"account/", account_load},
	{"activation/", activation_load},
	{"capacity-provider/", provider_load},
	{"cluster/", load_cluster},
	{"definition/", definition_load},
	{"family/", family_load},
	{"flow-log/", flow_log_load},
	{"instance/", instance_load},
	{"interface/", interface_load},
	{"member/", member_load},
	{"security-group/", security_group_load},
	{"prefix-list/", prefix_list_load},
	{"subnet/", subnet_load},
	{"report/", instance_load_report},
	{"vpc/", vpc_load},
};

static int load(struct core *c, const char *key, json_t *own_doc, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
		if (str_starts(key, kinds[i].prefix))
			return kinds[i].load(c, own_doc, e);
	return err_set(e, EUCLEAN, "is not a document of ours");
}

int core_load(struct core *c, const char *key, const char *text, struct err *e)
{
	json_t *doc = NULL;

	if (js_parse(text, strlen(text), STORED_DEPTH, &doc, e) < 0)
		return err_wrap(e, "stored %s", key);
	if (load(c, key, doc, e) == 0)
		return 0;
	json_decref(doc);
	return err_wrap(e, "stored %s", key);
}

void core_loaded(struct core *c, int64_t now_ms)
{
	struct ecs_fault f;

	c->now_ms = now_ms;
	if (!map_find(&c->clusters, "default")) {
		auto_json json_t *request = json_object();
		auto_json json_t *reply = create_cluster(c, request, &f);

		assert(reply);
	}
	core_tasks_loaded(c);
	vpc_make_default(c);
	interfaces_link(c);
	lost_loaded(c);
}

static core_text_fn *text_operation(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(text_operations); i++)
		if (strcmp(text_operations[i].name, name) == 0)
			return text_operations[i].fn;
	return NULL;
}

/* What was made of documents is one. */
static json_t *reply_of_text(const char *text)
{
	json_t *reply = NULL;
	struct err e;

	if (js_parse(text, strlen(text), STORED_DEPTH, &reply, &e) < 0)
		abort();
	return reply;
}

json_t *core_call(struct core *c, const char *operation, json_t *request, int64_t now_ms,
		  struct ecs_fault *f)
{
	core_text_fn *fn = text_operation(operation);

	c->now_ms = now_ms;
	if (fn) {
		auto_free char *text = fn(c, request, f);

		return text ? reply_of_text(text) : NULL;
	}
	for (size_t i = 0; i < ARRAY_COUNT(operations); i++)
		if (strcmp(operations[i].name, operation) == 0)
			return operations[i].fn(c, request, f);
	(void)ecs_fault_set(f, ECS_FAULT_UNSUPPORTED_FEATURE,
			    "%s is not supported by this version of Berth", operation);
	return NULL;
}

char *core_call_text(struct core *c, const char *operation, json_t *request, int64_t now_ms,
		     struct ecs_fault *f)
{
	core_text_fn *fn = text_operation(operation);
	auto_json json_t *reply = NULL;

	c->now_ms = now_ms;
	if (fn)
		return fn(c, request, f);
	reply = core_call(c, operation, request, now_ms, f);
	return reply ? js_dump(reply) : NULL;
}

void core_wake_at(struct core *c, int64_t at_ms)
{
	if (at_ms && (!c->wake_ms || at_ms < c->wake_ms))
		c->wake_ms = at_ms;
}

int64_t core_wake_ms(const struct core *c)
{
	return c->wake_ms;
}

void core_clock_moved(struct core *c, int64_t by_ms)
{
	struct cluster *cl;
	struct instance *i;

	if (c->wake_ms)
		c->wake_ms += by_ms;
	for (size_t n = 0; map_next(&c->clusters, &n, &cl);) {
		for (size_t k = 0; map_next(&cl->instances, &k, &i);) {
			lost_move(c, i, by_ms);
			flap_move(c, i, by_ms);
			drain_move(c, i, by_ms);
		}
	}
}

void core_tick(struct core *c, int64_t now_ms)
{
	c->now_ms = now_ms;
	c->wake_ms = 0;
	drains_tick(c);
	lost_tick(c);
	flaps_tick(c);
	attributes_tick(c);
	tasks_tick(c);
	interfaces_tick(c);
	tokens_tick(c);
	activations_tick(c);
	definitions_tick(c);
}
