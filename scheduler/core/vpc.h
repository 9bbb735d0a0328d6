/* scheduler/core/vpc.h - the network objects of the EC2 API, seen from inside the core
 * SPDX-License-Identifier: Apache-2.0
 *
 *   ec2.c        what all kinds have in common: descriptions, filters, tags
 *   vpc.c        VPCs and zones       subnet.c     subnets and their addresses
 *   group.c      security groups      rule.c       their rules
 *   rule_modify.c  rules that become others
 *   interface.c  network interfaces of tasks
 *   flow_log.c   flow logs         prefix_list.c  prefix lists
 *   host_address.c  addresses of the hosts themselves
 *
 * As with the objects of ECS the document is the record, but for interfaces; its
 * names are those of EC2's XML.  What refers to another object does so by id, and is looked up
 * when it is needed: VPCs are few, and loading has no order to keep.
 */
#pragma once

#include "base/ip.h"
#include "scheduler/core/internal.h"

#define EC2_ID_SIZE 32 /* "subnet-" and 17 digits, with room */

struct vpc {
	struct record record; /* first, as in all that map to a record */
	char *id;
	struct ip_prefix cidr;
};

/*
 * Addresses are given to hosts in blocks, so that one route leads to all of a
 * host.  A block is a host's as long as an interface has one of its addresses.
 */
struct subnet {
	struct record record;
	char *id;
	struct ip_prefix cidr, cidr6; /* length 0: none of this family */
	struct instance **block_owner;
	uint16_t *block_used; /* addresses of a block in use or resting */
	uint64_t *used;       /* a bit for each address */
	uint32_t size, block_size, next;
};

struct security_group {
	struct record record;
	char *id;
	struct map watchers; /* instance id to struct watcher */
};

#define EC2_INTERFACE_GROUPS_MAX 5 /* AwsVpcConfiguration of the ECS API reference */

/*
 * An interface of a task.  There are as many as tasks, so no document is in memory: it is
 * made of this.
 */
struct interface {
	char id[EC2_ID_SIZE], attach_id[EC2_ID_SIZE], attachment[37];
	uint8_t group_count; /* 0 once it is released */
	uint32_t task;       /* its number; 0: none any more */
	uint32_t address,
		public; /* in a subnet of IPv6 alone its place there; public 0: it has none */
	struct subnet *subnet;     /* NULL: it is gone, and the interface rests */
	struct instance *instance; /* NULL: it was deregistered */
	struct security_group *groups[EC2_INTERFACE_GROUPS_MAX];
	json_t *tags;        /* NULL: none */
	char *links;         /* until all is loaded: what it refers to, as JSON */
	int64_t released_ms; /* 0: in use */
};

/* ---- ec2.c ---- */

struct ec2_filter {
	const char *name; /* "vpc-id" */
	const char *path; /* of the document: "vpcId", "groupSet.groupId" */
};

struct ec2_kind {
	const char *set, *id,
		*ids;     /* "vpcSet" of a reply, "vpcId" of a document, "VpcId" of a request */
	const char *word; /* "vpc ID": The vpc ID 'vpc-1' does not exist */
	enum ecs_fault_type absent;
	const char
		*prefix; /* "sg-": an id that begins otherwise is 'malformed'; NULL: it is absent */
	enum ecs_fault_type malformed;
	const struct ec2_filter *filters; /* ends with a NULL name */
	bool is_tag;                      /* documents are tags, and have none */
	/* The document of an object as it is shown; the caller's.  NULL: it is not. */
	json_t *(*show)(struct core *c, const void *object);
};

/* A description of those objects of a map that the request wants. */
json_t *ec2_describe(struct core *c, const struct ec2_kind *kind, const struct map *objects,
		     const json_t *request, struct ecs_fault *f);
/* The same of a list of documents, which is consumed; they have their final form. */
json_t *ec2_describe_list(const struct ec2_kind *kind, json_t *own_docs, const json_t *request,
			  struct ecs_fault *f);
/* An object by its id; NULL and the fault. */
void *ec2_find(const struct map *objects, const struct ec2_kind *kind, const char *id,
	       struct ecs_fault *f);
/* A new id: "vpc-0123456789abcdef0". */
void ec2_make_id(struct core *c, const char *prefix, const struct map *objects,
		 char ret[EC2_ID_SIZE]);
/*
 * What an earlier call with the same ClientToken made, as long as it is there: a list of documents,
 * or NULL; -1: that call had other parameters.  What one makes is kept with its token.
 */
int ec2_token_find(const struct map *records, const json_t *request, json_t **ret,
		   struct ecs_fault *f);
void ec2_token_keep(json_t *doc, const json_t *request);
/* A "security group name", "rule description": ASCII of those characters that EC2 allows; -1: it is not. */
int ec2_check_plain(const char *text, const char *what, size_t max, struct ecs_fault *f);
/* A block that a request names, by the parameter that has it; -1: it is none of the family. */
int ec2_parse_cidr(const char *text, bool v6, const char *parameter, struct ip_prefix *ret,
		   struct ecs_fault *f);
/* Tags that mean something to Berth, in docs/ARCHITECTURE.md; the value of one, NULL: none. */
#define EC2_TAG_CUT      "berth:cut-established" /* of a security group: "true" */
#define EC2_TAG_VLAN     "berth:vlan"            /* of a subnet: its number, 0: untagged */
#define EC2_TAG_GATEWAY  "berth:gateway"
#define EC2_TAG_GATEWAY6 "berth:gateway6"
#define EC2_VLAN_MAX     4094
const char *ec2_tag(const json_t *doc, const char *key);
/* "tagSet" of a new object of a type, from "TagSpecification"; -1 and the fault. */
int ec2_take_tags(const json_t *request, const char *resource_type, json_t *doc,
		  struct ecs_fault *f);

/* ---- vpc.c, subnet.c ---- */

extern const struct ec2_kind vpc_kind, subnet_kind, security_group_kind, rule_kind, interface_kind,
	flow_log_kind, prefix_list_kind;

struct vpc *vpc_default(struct core *c);
const char *vpc_ipv6(const struct vpc *v); /* its block; NULL: none */
/* What exists from the start, made if it is not there. */
void vpc_make_default(struct core *c);
int vpc_load(struct core *c, json_t *own_doc, struct err *e);
void vpc_free(struct vpc *v);
/* A zone was seen: the default VPC has a subnet in it. */
void vpc_add_zone(struct core *c, const char *zone);

int subnet_load(struct core *c, json_t *own_doc, struct err *e);
void subnet_free(struct subnet *s);
struct subnet *subnet_make(struct core *c, const struct vpc *v, const struct ip_prefix *cidr,
			   const struct ip_prefix *cidr6, const char *zone, json_t *own_tags);
/* An address for a task on an instance; false: none is left. */
bool subnet_take_address(struct core *c, struct subnet *s, struct instance *i, uint32_t *ret);
/* One that is known to be in use, at loading. */
void subnet_mark(struct core *c, struct subnet *s, struct instance *i, uint32_t address);
void subnet_give_back(struct core *c, struct subnet *s, uint32_t address);
/* A host has a block more in a subnet, or one less (peer.c). */
void peers_block(struct core *c, const struct subnet *s, struct instance *i, int by);

/* ---- host_address.c ---- */

void host_addresses_open(struct core *c);
void host_address_load(struct core *c, struct instance *i); /* the one that it has */
void host_address_give(struct core *c,
		       struct instance *i); /* if it has none; while there are some */
void host_address_take_back(struct core *c, struct instance *i);
void host_address_forget_words(struct instance *i);
/* Of IPv4 and IPv6, without the latter's prefix being in use anywhere; false: it has none. */
bool host_address_of(const struct core *c, const struct instance *i, struct ip_prefix ret[2]);
/* The same as prefixes, and as members of a list of JSON; NULL: it has none. */
char *const *host_address_prefixes(const struct instance *i);
const char *host_address_list(const struct instance *i);

/* ---- group.c, rule.c ---- */

int security_group_load(struct core *c, json_t *own_doc, struct err *e);
void security_group_free(struct security_group *g);
struct security_group *security_group_make(struct core *c, const struct vpc *v, const char *name,
					   const char *description, json_t *own_tags);
struct security_group *security_group_default(struct core *c, const char *vpc_id);

/*
 * An interface of an instance is in the group, or no longer is: the instance
 * hears of the group and of those that its rules name, and all who watch the
 * group hear of the member.
 */
void security_group_join(struct core *c, struct security_group *g, const struct interface *n);
void security_group_leave(struct core *c, struct security_group *g, const struct interface *n);
/* The prefix list changed: who watches groups whose rules name it hears of them again. */
void security_groups_send_naming(struct core *c, const char *prefix_list_id);
/* A group whose rules name the prefix list; NULL: none. */
const char *security_group_naming(struct core *c, const char *prefix_list_id);
json_t *security_group_rules(const struct security_group *g); /* its own, both directions */
/* They are others; who watches hears of it. */
void security_group_set_rules(struct core *c, struct security_group *g, json_t *new_rules);
/* By "GroupId", or "GroupName" in the default VPC; NULL and the fault. */
struct security_group *security_group_of(struct core *c, const json_t *request,
					 struct ecs_fault *f);
/* A rule by its id, and the record that it is in; NULL: there is none. */
json_t *security_group_rule(const struct core *c, const char *id, struct record **ret_record);
void security_groups_each_rule(const struct core *c, void (*fn)(const json_t *rule, void *ctx),
			       void *ctx);
/* All groups that an instance watches, for a node that says hello. */
void security_groups_send_all(struct core *c, struct instance *i);

/*
 * The rules that "IpPermissions" and the short members of a request ask for, as
 * SecurityGroupRule documents without ids; NULL and the fault.
 */
json_t *rules_of_request(struct core *c, const struct security_group *g, const json_t *request,
			 bool egress, struct ecs_fault *f);
/* One of them that says the same, whatever its id, description and tags. */
bool rule_find(const json_t *rules, const json_t *like, size_t *ret_index);
/* Of one that is to be kept: -1, EC2 would not have it.  To name a rule any will do. */
int rule_check_description(const json_t *rule, struct ecs_fault *f);
/* "ipPermissions" or "ipPermissionsEgress" of a group's rules. */
json_t *rules_as_permissions(const json_t *rules, bool egress);
/* In the words of the node channel: one for each prefix of a list; how many. */
size_t rule_count_for_node(const struct core *c, const json_t *rule);
void rule_describe_to_node(const struct core *c, const json_t *rule, struct ecs_node_rule *ret);

/* ---- interface.c ---- */

int interface_load(struct core *c, json_t *own_doc, struct err *e);
void interface_free(struct interface *n);
/* After loading: addresses, groups and tasks are linked up. */
void interfaces_link(struct core *c);
void interfaces_tick(struct core *c);
/* The subnet goes: those that rest have no use of its addresses any more. */
void interfaces_leave(struct core *c, struct subnet *s);
void interfaces_forget(struct core *c, const struct instance *i); /* it goes */
/*
 * "networkConfiguration" of a request against the definition's network mode;
 * -1 and the fault in ECS's words.
 */
int interface_check(struct core *c, const struct cluster *cl, const json_t *request,
		    const char *network_mode, struct ecs_fault *f);
/* An interface for a task on an instance; NULL: none of the subnets has an address left. */
struct interface *interface_make(struct core *c, const json_t *request, struct instance *i,
				 const char *cluster, const char *task_id);
/* It is this task's from now on. */
void interface_give(struct interface *n, struct task *t);
/* An address of it as text; false: it has none of this family. */
bool interface_address(const struct interface *n, bool v6, char ret[IP_TEXT_MAX]);
void interface_set_tags(struct core *c, struct interface *n, json_t *own_tags);
/* The task's "attachments", and "networkInterfaces" of each container. */
void interface_show_in_task(const struct core *c, const struct interface *n, json_t *task);
/* "status" of the task's attachment: PRECREATED, ATTACHED, DETACHING, DELETED. */
void interface_set_attachment(json_t *task, const char *status);
void interface_release(struct core *c, struct interface *n);
void interface_describe_to_node(struct core *c, const struct interface *n, struct arena *a,
				struct ecs_node_interface *ret);
/* Is it the interface itself, its subnet, or its VPC? */
bool interface_is_in(const struct interface *n, const char *resource_id);
/* The nodes of all interfaces in a resource hear of their tasks again. */
void interfaces_send(struct core *c, const char *resource_id);
/* The zones that a request allows, by its subnets, as names; the caller's.  NULL: any. */
json_t *interface_zones(struct core *c, const json_t *request);
bool interface_wants_public(const json_t *request);
/* Has the instance a public address left? */
bool interface_has_public(struct core *c, const struct instance *i);

/* ---- flow_log.c ---- */

int flow_log_load(struct core *c, json_t *own_doc, struct err *e);
/* Those that cover an interface, in the words of the node channel: ecs_node_flow_log. */
void flow_logs_describe_to_node(struct core *c, const struct interface *n, struct arena *a,
				struct js_list *ret);

/* ---- prefix_list.c ---- */

int prefix_list_load(struct core *c, json_t *own_doc, struct err *e);
/* Its entries, "cidr" of each; NULL: there is no such list. */
const json_t *prefix_list_entries(const struct core *c, const char *id);
/* As many rules as it counts for: what it may grow to. */
size_t prefix_list_max(const struct core *c, const char *id);
