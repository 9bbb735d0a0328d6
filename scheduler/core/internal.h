/* scheduler/core/internal.h - the objects of a cluster, seen from inside the core
 * SPDX-License-Identifier: Apache-2.0
 *
 * The ECS document of an object is its record: what a caller is shown and what
 * is stored are the same JSON.  Members whose names begin with '_' are ours
 * and are not shown.  The C fields beside it are an index of what the core
 * decides by, and can be made from the document.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/ip.h"
#include "base/map.h"
#include "base/mem.h"
#include "scheduler/core/core.h"
#include "scheduler/core/ports.h"
#include "scheduler/core/table.h"

#define CACHE_LINE   64
#define STORED_DEPTH 64 /* of documents that were stored */

enum protocol { PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOLS };

struct record {
	char *key;
	json_t *doc;
	bool dirty;
	struct record *next; /* in the list of dirty ones */
};

struct interface;
struct task;

struct cluster {
	struct record record;
	char *name;
	struct map instances; /* by id */
	struct table table;
};

struct family {
	struct record record; /* the last revision that was given out */
	char *name;
	struct definition **revisions; /* ascending */
	size_t count, capacity;
};

enum definition_status { DEFINITION_ACTIVE, DEFINITION_INACTIVE, DEFINITION_DELETED };

struct definition {
	struct record record;
	struct family *family;
	uint32_t revision;
	char *name; /* "family:revision" */
	enum definition_status status;
	struct arena arena;
	struct ecs_task_definition parsed;
	size_t tasks;  /* that refer to it and are not STOPPED */
	char need[33]; /* its part of the key of a need (need.h) */
	struct host_port {
		uint16_t port;
		uint8_t protocol;
	} * host_ports; /* that its tasks have by number */
	size_t host_port_count;
	int64_t interfaces; /* that a task takes: 1 in network mode awsvpc */
};

struct instance {
	_Alignas(CACHE_LINE) struct record record;
	int64_t interfaces, interfaces_used; /* of tasks; the first 0: there is no limit */

	/* all that most placements look at and change: one line of a cache */
	_Alignas(CACHE_LINE) struct cluster *cluster;
	struct gpus *gpus;             /* gpu.c; NULL: it has none */
	uint64_t met;                  /* needs */
	int32_t left[FIELDS];          /* as it is listed */
	int32_t cpu_units, memory_mib; /* registered */
	int32_t cpu_used, memory_used;
	uint32_t row;           /* of the placement table */
	uint32_t group_count;   /* groups that have tasks there */
	bool listed;            /* in the table */
	bool connected, active; /* active: its status is ACTIVE */
	bool quiet;             /* it gets no tasks */

	_Alignas(CACHE_LINE) struct ports ports[PROTOCOLS]; /* static host ports in use */
	struct task_group **groups;                         /* if the table notes them */
	size_t noted_count, noted_capacity;

	char *id;
	int64_t quiet_until_ms;  /* 0: it is not */
	int64_t gone_ms;         /* since when it is not connected; 0: it is */
	int64_t since_ms;        /* it is connected, in this life of the server */
	int64_t connected_at_ms; /* for the last time */
	int64_t flaps;           /* flap.c */
	size_t running, pending;
	uint32_t first_task, last_task; /* on it, STOPPED ones too; in order of their coming */
	size_t task_count;
	struct attribute {
		const char *name, *value; /* "" where it has none; borrowed from the document */
	} * attributes;
	size_t attribute_count;
	int64_t report;         /* the last one taken */
	struct record reported; /* its number, by itself: it changes often; doc NULL: none was */
	struct map vpcs;        /* by id: how many blocks of addresses it has there, as a number */
	bool peer_dirty;        /* others are to hear of it */
	uint8_t told_blocks;    /* enum blocks: what of those it had when they last did */
	bool removed;           /* nobody is to know it */
	char *own_prefixes[2], *own_list; /* its own addresses; host_address.c */
	struct js_strings prefixes;       /* of its blocks, if they are known; peer.c */
	bool prefixes_known;
	struct instance *next_dirty; /* or the next free one of its block */
};

static_assert(offsetof(struct instance, ports) - offsetof(struct instance, cluster) == CACHE_LINE,
	      "what each placement looks at is a line of a cache");

/* What lets nodes in; a node that came. */
struct activation {
	struct record record;
	char *id;
	int64_t expires_ms;
};

struct member {
	struct record record;
	char *id; /* of its container instance */
};

enum task_status {
	TASK_PROVISIONING,
	TASK_PENDING,
	TASK_ACTIVATING,
	TASK_RUNNING,
	TASK_DEACTIVATING,
	TASK_STOPPING,
	TASK_DEPROVISIONING,
	TASK_STOPPED,
};

/* All tasks, by number and by id (task.h). */
#define ROSTER_BLOCK 512
struct roster {
	struct task **blocks; /* of ROSTER_BLOCK; they do not move */
	size_t block_count, block_capacity;
	uint32_t used;       /* numbers that were given out */
	uint32_t first_free; /* of those that are free again; 0: none */
	uint32_t count;
	uint32_t *slots;   /* numbers by id, with open addressing; 0: free */
	size_t slot_count; /* a power of two */
};

struct token {
	char *key; /* of its document */
	int64_t expires_ms;
};

/* Of a block, a bit for each (host_address.c). */
struct host_addresses {
	struct ip_prefix block;
	uint64_t *used;
	uint32_t size, next;
};

struct core {
	struct core_options o;
	uint64_t random[4];
	int64_t now_ms;
	int64_t wake_ms; /* when core_tick() is wanted; 0: whenever */
	struct map clusters, families, tokens;
	json_t *conflict; /* what the last fault says of a token; NULL: there was none */
	struct map activations, members; /* by id */
	struct map members_by_key;
	struct map providers;  /* records, by name */
	struct map attributes; /* by length, name and value: documents that instances share */
	struct host_addresses host_addresses;
	struct record account; /* its settings; doc NULL: none was ever made */
	struct map vpcs, subnets, security_groups, interfaces, flow_logs,
		prefix_lists; /* vpc.h; by id */
	struct roster roster;
	struct map kinds;                         /* of tasks, by key */
	struct task_texts *texts;                 /* of kinds that had new tasks (task_make.c) */
	size_t next_texts;                        /* those that another kind gets */
	struct task_doc *newest_doc, *oldest_doc; /* open ones */
	size_t open_docs;
	uint32_t first_stopped, last_stopped; /* tasks */
	uint64_t *checked; /* by number of a task: its brief when core_check() looked at it */
	size_t checked_count;
	size_t stopped_count;
	struct record *first_dirty, **last_dirty;
	struct instance *dirty_peers;
	struct map block_holders; /* instances that have blocks of addresses; peer.c */
	struct core_effects fx;
};

/* ---- core.c ---- */

/* The record goes into the next batch of effects; doc NULL then: delete it. */
void record_touch(struct core *c, struct record *r);
void record_init(struct record *r, json_t *own_doc, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Store the deletion and let go of the record's memory. */
void record_delete(struct core *c, struct record *r);
/* Of documents that are nobody's record, or nobody's yet. */
void effect_put_task(struct core *c, const struct task *t, char *own_text); /* a new one */
void effect_put(struct core *c, char *own_key, char *own_text);
void effect_delete(struct core *c, char *own_key);
void effect_put_token(struct core *c, const char *key, const json_t *doc, int64_t expires_ms);
void record_done(struct record *r);

void effect_send(struct core *c, const struct instance *i, enum ecs_node_type type,
		 const void *message);
void effect_send_text(struct core *c, const struct instance *i, char *own_text);
/* The last message; the session ends behind it. */
void effect_refuse(struct core *c, const struct instance *i,
		   const struct ecs_node_refused *message);

/* core_tick() is to be called then, or before; 0: nothing is wanted. */
void core_wake_at(struct core *c, int64_t at_ms);

void core_random_hex(struct core *c, char *ret, size_t len);
void core_random_uuid(struct core *c, char ret[37]);
size_t core_random_below(struct core *c, size_t count); /* count > 0 */

/* ---- event.c ---- */

/* Has it a version that was not told?  It is told from now on. */
bool event_is_due(struct record *r);
char *event_of_instance(struct core *c, struct record *r); /* as it is stored, malloc'ed */

/* ---- doc.c: small things about documents ---- */

#define UUID_DIGITS 30
void uuid_of_digits(const char digits[UUID_DIGITS + 1], char ret[37]);

const char *doc_string(const json_t *doc, const char *name); /* NULL: absent */
int64_t doc_integer(const json_t *doc, const char *name, int64_t otherwise);
bool doc_true(const json_t *doc, const char *name);
void doc_set_string(json_t *doc, const char *name, const char *value); /* NULL: leave alone */
void doc_set_time(json_t *doc, const char *name, int64_t ms);          /* 0: leave alone */
bool doc_includes(const json_t *request, const char *what); /* "include": [..., what, ...] */
/* A copy for callers: without our own members, and without tags unless wanted. */
json_t *doc_public(const json_t *doc, bool tags);
json_t *doc_failure(const char *arn, const char *reason);

#define PAGE_MAX       100 /* names in one reply, for all lists of ECS but two */
#define PAGE_MAX_FEWER 10  /* of account settings, and of capacity providers */

/* Which page of a list is asked for: "maxResults" from 1 to PAGE_MAX, and "nextToken". */
struct page {
	char **names;
	size_t count, capacity;
};

void page_add(struct page *p, const char *name);
void page_done(struct page *p); /* without a reply */
/*
 * Behind which name a page of 'member' begins, malloc'ed; NULL: with the first one.  A token of
 * another list is none.
 */
int page_after(const json_t *request, const char *member, char **ret, struct ecs_fault *f);
/*
 * The reply: the names, sorted and cut to maxResults, in 'member', and "nextToken"
 * if there is more.  The page is done.  NULL: *f says why.
 */
json_t *page_reply(struct page *p, const json_t *request, bool descending,
		   int (*compare)(const char *, const char *), const char *member,
		   struct ecs_fault *f);

/*
 * The same of a list of objects, which is consumed, in the order that it has.
 * "maxResults" is from 1 to 'most', which it is where it is not said.
 */
json_t *page_of_objects(json_t *own_list, const json_t *request, int64_t most, const char *member,
			struct ecs_fault *f);

/* ---- tag.c ---- */

/* Tags of a request: keys unique, lengths right, at most 50. */
int tags_check(const json_t *tags, struct ecs_fault *f);
/* Of what will have both: at most 50, of which those of ECS do not count. */
int tags_check_sum(const json_t *some, const json_t *more, struct ecs_fault *f);
/* Add or replace the tags of 'more' in doc["tags"]. */
void tags_merge(json_t *doc, const json_t *more);

/* ---- cluster.c ---- */

/* The cluster that a request names, ACTIVE or not at all; NULL and ClusterNotFoundException. */
struct cluster *cluster_of(struct core *c, const json_t *request, struct ecs_fault *f);
struct cluster *cluster_by_name(struct core *c, const char *text, struct ecs_fault *f);
struct cluster *cluster_make(struct core *c, const char *name, json_t *own_doc);
void cluster_free(struct cluster *cl);
/* As a DescribeClusters wants it; NULL: as those that change it tell it, with settings and tags. */
json_t *cluster_show(const struct core *c, const struct cluster *cl, const json_t *describe);
/* Of something in the cluster: 0; negative: it is no name; CLUSTER_ANOTHER: the ARN names another one. */
#define CLUSTER_ANOTHER 1
int cluster_parse_name(const struct core *c, const struct cluster *cl, enum ecs_resource resource,
		       const char *text, struct ecs_name *ret, struct ecs_fault *f);

/* ---- definition.c ---- */

/* "family", "family:revision" or ARN; NULL when there is none (a bare family: the latest ACTIVE). */
struct definition *definition_find(struct core *c, const char *text, struct ecs_fault *f);
int definition_load(struct core *c, json_t *own_doc, struct err *e);
int family_load(struct core *c, json_t *own_doc, struct err *e);
void family_free(struct family *f);
struct family *family_named(struct core *c, const char *name); /* made if it is not there */
void definitions_tick(struct core *c);

/* ---- instance.c ---- */

struct instance *instance_find(struct cluster *cl, const struct core *c, const char *text,
			       struct ecs_fault *f);
/* The same; NULL always comes with a fault. */
struct instance *instance_named(struct cluster *cl, const struct core *c, const char *text,
				struct ecs_fault *f);
struct instance *instance_by_id(struct core *c, const char *id); /* in whatever cluster */
const char *instance_zone(const struct instance *i);
int instance_load(struct core *c, json_t *own_doc, struct err *e);
void instance_make_id(struct core *c, char ret[ECS_ID_LEN + 1]); /* that none has */
void instance_free(struct instance *i);
json_t *instance_show(const struct core *c, const struct instance *i, const json_t *request);
/* The failure of one that somebody named by its ID or its ARN. */
json_t *instance_failure(const struct core *c, const struct cluster *cl, const char *text,
			 const char *reason);
/* The number of the last report, which is stored by itself. */
int instance_load_report(struct core *c, json_t *own_doc, struct err *e);
void instance_set_report(struct core *c, struct instance *i, int64_t number);

/* ---- account.c ---- */

int account_load(struct core *c, json_t *own_doc, struct err *e);

/* ---- activation.c ---- */

int activation_load(struct core *c, json_t *own_doc, struct err *e);
void activation_free(struct activation *a);
void activations_tick(struct core *c);
/* The one that the code belongs to; NULL and why not. */
struct activation *activation_find(struct core *c, const char *id, const char *code, struct err *e);
int activation_use(struct core *c, struct activation *a, struct err *e); /* one node more */

/* ---- member.c ---- */

int member_load(struct core *c, json_t *own_doc, struct err *e);
void member_free(struct member *m);
bool member_is(struct core *c, const char *id);
/* Where the node with this name and key belongs; NULL: nowhere, it was removed. */
struct cluster *member_cluster(struct core *c, const char *id, const char *key);
const json_t *member_tags(struct core *c, const char *id); /* of its activation; NULL: none */

/* ---- peer.c ---- */

/* Addresses, key or blocks of a host changed: others hear of it at the end of the event. */
void peers_changed(struct core *c, struct instance *i);
void peers_send_all(struct core *c, struct instance *to);
void peers_forget_words(struct instance *i); /* its blocks have changed */
void peers_flush(struct core *c);
void peers_forget(struct core *c, struct instance *i); /* it goes */

/* ---- attribute.c ---- */

/* What callers have put is among the attributes that the node has just told. */
void attributes_merge(struct core *c, struct instance *i);
/* "attributes" of the document have changed: they are found by name. */
void attributes_index(struct core *c, struct instance *i);
void attributes_tick(struct core *c); /* those that no instance has any more are forgotten */
void attributes_done(struct core *c);
const char *attribute_of(const struct instance *i, const char *name); /* NULL: absent */

/* ---- drain.c ---- */

void drains_tick(struct core *c);
/* When its tasks are stopped, if they are, as "statusReason" where there is no other. */
void drain_show(const struct instance *i, json_t *doc);
void drain_move(struct core *c, struct instance *i, int64_t by_ms);

/* ---- lost.c ---- */

void lost_tick(struct core *c);
void lost_loaded(struct core *c);
void lost_move(struct core *c, struct instance *i, int64_t by_ms); /* core_clock_moved() */

/* ---- provider.c: capacity providers, which are groups of nodes ---- */

#define PROVIDER_ATTRIBUTE "berth.node-group" /* of a node: the name of its group */

int provider_load(struct core *c, json_t *own_doc, struct err *e);
struct record *provider_by_name(struct core *c, const char *text); /* or ARN; NULL: absent */
const char *provider_group(struct core *c, const char *provider);
/* The one among those of its cluster that the node belongs to; NULL: to none. */
const char *provider_of(const struct core *c, const struct instance *i);
/* Is it a strategy of these providers? */
int provider_check_strategy(struct core *c, const json_t *strategy, const json_t *names,
			    struct ecs_fault *f);
/* "capacityProviders" and the default strategy of a cluster, as a request wants them. */
int provider_set(struct core *c, json_t *cluster_doc, const json_t *request, struct ecs_fault *f);
/* Which provider of a checked strategy gets the next task of a group. */
const char *provider_next(struct core *c, const struct cluster *cl, const json_t *strategy,
			  const char *group);

/* ---- flap.c ---- */

void flap_load(struct core *c, struct instance *i);
/* It goes, it is back: the document is changed, and has no statusReason before the latter. */
void flap_gone(const struct core *c, struct instance *i);
void flap_back(struct core *c, struct instance *i);
void flaps_tick(struct core *c);
void flap_move(struct core *c, struct instance *i, int64_t by_ms);

/* ---- place.c ---- */

/* After these a node cannot have more; CPU units, and MiB. */
#define PLACE_AMOUNT_MAX (INT32_MAX - 1)

void place_name_demand(struct definition *d); /* host ports and so on, from its document */
bool place_is_open(const struct instance *i);
void place_left(const struct instance *i, int32_t ret[FIELDS]);
/* Has it, beside CPU and memory, what the tasks of a definition take?  NULL: yes; or ECS's reason. */
const char *place_shortage(const struct instance *i, const struct definition *d,
			   const struct ecs_demand *demand);
/* May the task go there?  NULL: yes; otherwise ECS's reason.  Attributes are another matter. */
const char *place_refusal(const struct instance *i, const struct definition *d,
			  const struct ecs_demand *demand);
void place_take(struct instance *i, const struct definition *d, const struct ecs_demand *demand);
void place_give_back(struct instance *i, const struct definition *d,
		     const struct ecs_demand *demand);

/* ---- gpu.c: which task has which GPUs ---- */

/* Those that its node has, as the document says. */
void gpus_set(struct instance *i);
void gpus_done(struct instance *i);
int gpus_check(const struct js_strings *ids, struct err *e); /* can they be told apart? */
int64_t gpus_free(const struct instance *i);
int64_t gpus_used(const struct instance *i);
json_t *gpus_show(const struct instance *i, bool left); /* ids; NULL: it has none */
/* The container, which is on no node yet, has so many that were free; "gpuIds" says which. */
void gpus_take(struct instance *i, uint32_t task, json_t *container, int64_t count);
/* It has this one, as its brief says. */
void gpus_hold(struct instance *i, uint32_t task, const char *id);
void gpus_give_back(struct instance *i, uint32_t task);
/* Ids, each behind a line's end, as a brief has them: of a task on its instance; of its document. */
void gpus_tell(const struct instance *i, uint32_t task, struct buf *ret);
void gpus_tell_doc(const json_t *doc, struct buf *ret);

/* ---- token.c ---- */

/*
 * What an earlier call with the same "clientToken" got, the caller's: "tasks", their ids, and
 * "failures" if there were any.  NULL: there was none; a fault when its parameters were others,
 * whose "resource_ids" are the core's until the next one.
 */
json_t *token_find(struct core *c, const struct cluster *cl, const json_t *request,
		   struct ecs_fault *f);
void token_keep(struct core *c, const struct cluster *cl, const json_t *request, json_t *tasks,
		json_t *failures);
void token_restore(struct core *c, const char *key, int64_t expires_ms);
void token_free(struct token *t);
void tokens_tick(struct core *c);

/* ---- operations: one function each, found by the table in core.c ---- */

typedef json_t *core_fn(struct core *c, json_t *request, struct ecs_fault *f);
typedef char *core_text_fn(struct core *c, json_t *request, struct ecs_fault *f);

core_text_fn run_task, start_task; /* the reply is text */

core_fn create_cluster, describe_clusters, list_clusters, delete_cluster, update_cluster;
core_fn create_capacity_provider, update_capacity_provider, delete_capacity_provider,
	describe_capacity_providers, put_cluster_capacity_providers;
core_fn put_account_setting, delete_account_setting, list_account_settings;
core_fn register_task_definition, describe_task_definition, list_task_definitions,
	list_task_definition_families, deregister_task_definition, delete_task_definitions;
core_fn explain_placement, stop_task, describe_tasks, list_tasks;
core_fn list_container_instances, describe_container_instances, update_container_instances_state;
core_fn put_attributes, delete_attributes, list_attributes;
core_fn deregister_container_instance, drain_container_instance;
core_fn create_node_token, create_activation, describe_activations, delete_activation;
core_fn tag_resource, untag_resource, list_tags_for_resource;

/* of EC2 */
core_fn create_vpc, describe_vpcs, delete_vpc, describe_availability_zones;
core_fn create_subnet, describe_subnets, delete_subnet;
core_fn create_security_group, describe_security_groups, delete_security_group,
	describe_security_group_rules;
core_fn authorize_security_group_ingress, authorize_security_group_egress,
	revoke_security_group_ingress, revoke_security_group_egress;
core_fn modify_security_group_rules, update_security_group_rule_descriptions_ingress,
	update_security_group_rule_descriptions_egress;
core_fn describe_network_interfaces;
core_fn create_flow_logs, describe_flow_logs, delete_flow_logs;
core_fn create_managed_prefix_list, describe_managed_prefix_lists, get_managed_prefix_list_entries,
	modify_managed_prefix_list, delete_managed_prefix_list;
core_fn create_tags, delete_tags, describe_tags;
