/* ecs/node.c - the messages between the control plane and a node
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/node.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/auto.h"

#define FIELD(type, name, kind, member)                     \
	{                                                   \
		name, kind, offsetof(type, member), 0, NULL \
	}
#define FIELD_REQUIRED(type, name, kind, member)                      \
	{                                                             \
		name, kind, offsetof(type, member), JS_REQUIRED, NULL \
	}
#define FIELD_OF(type, name, kind, member, shape)               \
	{                                                       \
		name, kind, offsetof(type, member), 0, &(shape) \
	}

static const struct js_field attribute_fields[] = {
	FIELD_REQUIRED(struct ecs_attribute, "name", JS_STRING, name),
	FIELD(struct ecs_attribute, "value", JS_STRING, value),
};
static const struct js_shape attribute_shape = JS_SHAPE("Attribute", struct ecs_attribute,
							attribute_fields);

static const struct js_field join_fields[] = {
	FIELD_REQUIRED(struct ecs_node_join, "protocol", JS_I64, protocol),
	FIELD_REQUIRED(struct ecs_node_join, "activationId", JS_STRING, activation_id),
	FIELD_REQUIRED(struct ecs_node_join, "code", JS_STRING, code),
	FIELD_REQUIRED(struct ecs_node_join, "request", JS_STRING, request),
	FIELD_REQUIRED(struct ecs_node_join, "hostname", JS_STRING, hostname),
	FIELD(struct ecs_node_join, "cluster", JS_STRING, cluster),
};

static const struct js_field certificate_fields[] = {
	FIELD_REQUIRED(struct ecs_node_certificate, "instanceId", JS_STRING, instance_id),
	FIELD_REQUIRED(struct ecs_node_certificate, "certificate", JS_STRING, certificate),
};

static const struct js_field refused_fields[] = {
	FIELD_REQUIRED(struct ecs_node_refused, "reason", JS_STRING, reason),
	FIELD(struct ecs_node_refused, "removed", JS_BOOL, removed),
};

static const struct js_field request_fields[] = {
	FIELD_REQUIRED(struct ecs_node_request, "request", JS_STRING, request),
};

static const struct js_field hello_fields[] = {
	FIELD_REQUIRED(struct ecs_node_hello, "protocol", JS_I64, protocol),
	FIELD(struct ecs_node_hello, "instanceId", JS_STRING, instance_id),
	FIELD_REQUIRED(struct ecs_node_hello, "hostname", JS_STRING, hostname),
	FIELD_REQUIRED(struct ecs_node_hello, "bootId", JS_STRING, boot_id),
	FIELD_REQUIRED(struct ecs_node_hello, "version", JS_STRING, version),
	FIELD_REQUIRED(struct ecs_node_hello, "cpu", JS_I64, cpu_units),
	FIELD_REQUIRED(struct ecs_node_hello, "memory", JS_I64, memory_mib),
	FIELD(struct ecs_node_hello, "gpuIds", JS_STRINGS, gpu_ids),
	FIELD(struct ecs_node_hello, "interfaces", JS_I64, interfaces),
	FIELD_OF(struct ecs_node_hello, "attributes", JS_OBJECTS, attributes, attribute_shape),
	FIELD(struct ecs_node_hello, "publicAddresses", JS_STRINGS, public_addresses),
	FIELD(struct ecs_node_hello, "addresses", JS_STRINGS, addresses),
	FIELD(struct ecs_node_hello, "publicKey", JS_STRING, public_key),
	FIELD(struct ecs_node_hello, "sharePort", JS_I64, share_port),
	FIELD(struct ecs_node_hello, "shareKey", JS_STRING, share_key),
};

static const struct js_field welcome_fields[] = {
	FIELD_REQUIRED(struct ecs_node_welcome, "instanceId", JS_STRING, instance_id),
	FIELD_REQUIRED(struct ecs_node_welcome, "cluster", JS_STRING, cluster),
	FIELD_REQUIRED(struct ecs_node_welcome, "region", JS_STRING, region),
	FIELD_REQUIRED(struct ecs_node_welcome, "account", JS_STRING, account),
	FIELD(struct ecs_node_welcome, "report", JS_I64, report),
	FIELD(struct ecs_node_welcome, "heartbeat", JS_I64, heartbeat_ms),
	FIELD(struct ecs_node_welcome, "shares", JS_BOOL, shares),
	FIELD(struct ecs_node_welcome, "answers", JS_BOOL, answers),
};

static const struct js_field peer_fields[] = {
	FIELD_REQUIRED(struct ecs_node_peer, "instanceId", JS_STRING, instance_id),
	FIELD(struct ecs_node_peer, "gone", JS_BOOL, gone),
	FIELD(struct ecs_node_peer, "addresses", JS_STRINGS, addresses),
	FIELD(struct ecs_node_peer, "prefixes", JS_STRINGS, prefixes),
	FIELD(struct ecs_node_peer, "publicKey", JS_STRING, public_key),
};
const struct js_shape ecs_node_peer_shape = JS_SHAPE("Peer", struct ecs_node_peer, peer_fields);

static const struct js_field peers_fields[] = {
	FIELD(struct ecs_node_peers, "full", JS_BOOL, full),
	FIELD_OF(struct ecs_node_peers, "peers", JS_OBJECTS, peers, ecs_node_peer_shape),
	FIELD(struct ecs_node_peers, "self", JS_STRINGS, self),
};

static const struct js_field container_fields[] = {
	FIELD_REQUIRED(struct ecs_node_container, "name", JS_STRING, name),
	FIELD_REQUIRED(struct ecs_node_container, "containerArn", JS_STRING, container_arn),
	FIELD(struct ecs_node_container, "gpuIds", JS_STRINGS, gpu_ids),
};
static const struct js_shape container_shape = JS_SHAPE("Container", struct ecs_node_container,
							container_fields);

static const struct js_field flow_log_fields[] = {
	FIELD_REQUIRED(struct ecs_node_flow_log, "flowLogId", JS_STRING, flow_log_id),
	FIELD_REQUIRED(struct ecs_node_flow_log, "group", JS_STRING, group),
	FIELD_REQUIRED(struct ecs_node_flow_log, "traffic", JS_STRING, traffic),
	FIELD_REQUIRED(struct ecs_node_flow_log, "interval", JS_I64, interval_s),
	FIELD(struct ecs_node_flow_log, "format", JS_STRING, format),
};
static const struct js_shape flow_log_shape = JS_SHAPE("FlowLog", struct ecs_node_flow_log,
						       flow_log_fields);

static const struct js_field interface_fields[] = {
	FIELD_REQUIRED(struct ecs_node_interface, "interfaceId", JS_STRING, interface_id),
	FIELD_REQUIRED(struct ecs_node_interface, "mac", JS_STRING, mac),
	FIELD(struct ecs_node_interface, "address", JS_STRING, address),
	FIELD(struct ecs_node_interface, "subnet", JS_STRING, subnet),
	FIELD_REQUIRED(struct ecs_node_interface, "vpc", JS_STRING, vpc),
	FIELD(struct ecs_node_interface, "address6", JS_STRING, address6),
	FIELD(struct ecs_node_interface, "subnet6", JS_STRING, subnet6),
	FIELD(struct ecs_node_interface, "vpc6", JS_STRING, vpc6),
	FIELD(struct ecs_node_interface, "publicAddress", JS_STRING, public_address),
	FIELD(struct ecs_node_interface, "gateway", JS_STRING, gateway),
	FIELD(struct ecs_node_interface, "gateway6", JS_STRING, gateway6),
	FIELD(struct ecs_node_interface, "vlan", JS_I64, vlan),
	FIELD(struct ecs_node_interface, "securityGroups", JS_STRINGS, security_groups),
	FIELD_OF(struct ecs_node_interface, "flowLogs", JS_OBJECTS, flow_logs, flow_log_shape),
};
const struct js_shape ecs_node_interface_shape = JS_SHAPE("Interface", struct ecs_node_interface,
							  interface_fields);

static const struct js_field task_fields[] = {
	FIELD_REQUIRED(struct ecs_node_task, "taskArn", JS_STRING, task_arn),
	FIELD_REQUIRED(struct ecs_node_task, "desiredStatus", JS_STRING, desired_status),
	FIELD_REQUIRED(struct ecs_node_task, "lastStatus", JS_STRING, last_status),
	FIELD(struct ecs_node_task, "stopCode", JS_STRING, stop_code),
	FIELD(struct ecs_node_task, "stoppedReason", JS_STRING, stopped_reason),
	FIELD_OF(struct ecs_node_task, "definition", JS_OBJECT, definition,
		 ecs_task_definition_shape),
	FIELD_OF(struct ecs_node_task, "containers", JS_OBJECTS, containers, container_shape),
	{"networkInterface", JS_OBJECT, offsetof(struct ecs_node_task, network_interface),
	 JS_POINTER, &ecs_node_interface_shape},
};
const struct js_shape ecs_node_task_shape = JS_SHAPE("Task", struct ecs_node_task, task_fields);

static const struct js_field rule_fields[] = {
	FIELD(struct ecs_node_rule, "egress", JS_BOOL, egress),
	FIELD(struct ecs_node_rule, "protocol", JS_I64, protocol),
	FIELD(struct ecs_node_rule, "fromPort", JS_I64, from_port),
	FIELD(struct ecs_node_rule, "toPort", JS_I64, to_port),
	FIELD(struct ecs_node_rule, "cidr", JS_STRING, cidr),
	FIELD(struct ecs_node_rule, "group", JS_STRING, group),
};
static const struct js_shape rule_shape = JS_SHAPE("Rule", struct ecs_node_rule, rule_fields);

static const struct js_field group_fields[] = {
	FIELD_REQUIRED(struct ecs_node_group, "groupId", JS_STRING, group_id),
	FIELD(struct ecs_node_group, "gone", JS_BOOL, gone),
	FIELD(struct ecs_node_group, "cut", JS_BOOL, cut),
	FIELD_OF(struct ecs_node_group, "rules", JS_OBJECTS, rules, rule_shape),
	FIELD(struct ecs_node_group, "members", JS_STRINGS, members),
};
const struct js_shape ecs_node_group_shape = JS_SHAPE("Group", struct ecs_node_group, group_fields);

static const struct js_field membership_fields[] = {
	FIELD_REQUIRED(struct ecs_node_membership, "groupId", JS_STRING, group_id),
	FIELD(struct ecs_node_membership, "joined", JS_STRINGS, joined),
	FIELD(struct ecs_node_membership, "left", JS_STRINGS, left),
};
static const struct js_shape membership_shape = JS_SHAPE("Membership", struct ecs_node_membership,
							 membership_fields);

static const struct js_field groups_fields[] = {
	FIELD(struct ecs_node_groups, "full", JS_BOOL, full),
	FIELD_OF(struct ecs_node_groups, "groups", JS_OBJECTS, groups, ecs_node_group_shape),
	FIELD_OF(struct ecs_node_groups, "changes", JS_OBJECTS, changes, membership_shape),
};

static const struct js_field tasks_fields[] = {
	FIELD(struct ecs_node_tasks, "full", JS_BOOL, full),
	FIELD_OF(struct ecs_node_tasks, "tasks", JS_OBJECTS, tasks, ecs_node_task_shape),
};

static const struct js_field network_binding_fields[] = {
	FIELD(struct ecs_network_binding, "bindIP", JS_STRING, bind_ip),
	FIELD(struct ecs_network_binding, "containerPort", JS_I64, container_port),
	FIELD(struct ecs_network_binding, "hostPort", JS_I64, host_port),
	FIELD(struct ecs_network_binding, "containerPortRange", JS_STRING, container_port_range),
	FIELD(struct ecs_network_binding, "hostPortRange", JS_STRING, host_port_range),
	FIELD(struct ecs_network_binding, "protocol", JS_STRING, protocol),
};
static const struct js_shape network_binding_shape =
	JS_SHAPE("NetworkBinding", struct ecs_network_binding, network_binding_fields);

static const struct js_field container_state_fields[] = {
	FIELD_REQUIRED(struct ecs_container_state, "name", JS_STRING, name),
	FIELD_REQUIRED(struct ecs_container_state, "lastStatus", JS_STRING, last_status),
	{"exitCode", JS_I64, offsetof(struct ecs_container_state, exit_code), JS_POINTER, NULL},
	FIELD(struct ecs_container_state, "reason", JS_STRING, reason),
	FIELD(struct ecs_container_state, "imageDigest", JS_STRING, image_digest),
	FIELD(struct ecs_container_state, "runtimeId", JS_STRING, runtime_id),
	FIELD_OF(struct ecs_container_state, "networkBindings", JS_OBJECTS, network_bindings,
		 network_binding_shape),
};
static const struct js_shape container_state_shape =
	JS_SHAPE("ContainerState", struct ecs_container_state, container_state_fields);

static const struct js_field task_state_fields[] = {
	FIELD_REQUIRED(struct ecs_task_state, "taskArn", JS_STRING, task_arn),
	FIELD_REQUIRED(struct ecs_task_state, "lastStatus", JS_STRING, last_status),
	FIELD(struct ecs_task_state, "stopCode", JS_STRING, stop_code),
	FIELD(struct ecs_task_state, "stoppedReason", JS_STRING, stopped_reason),
	FIELD(struct ecs_task_state, "pullStartedAt", JS_I64, pull_started_at),
	FIELD(struct ecs_task_state, "pullStoppedAt", JS_I64, pull_stopped_at),
	FIELD(struct ecs_task_state, "startedAt", JS_I64, started_at),
	FIELD(struct ecs_task_state, "stoppingAt", JS_I64, stopping_at),
	FIELD(struct ecs_task_state, "executionStoppedAt", JS_I64, execution_stopped_at),
	FIELD(struct ecs_task_state, "stoppedAt", JS_I64, stopped_at),
	FIELD_OF(struct ecs_task_state, "containers", JS_OBJECTS, containers,
		 container_state_shape),
	FIELD_OF(struct ecs_task_state, "attributes", JS_OBJECTS, attributes, attribute_shape),
};
const struct js_shape ecs_task_state_shape = JS_SHAPE("TaskState", struct ecs_task_state,
						      task_state_fields);

static const struct js_field report_fields[] = {
	FIELD_REQUIRED(struct ecs_node_report, "number", JS_I64, number),
	FIELD_OF(struct ecs_node_report, "tasks", JS_OBJECTS, tasks, ecs_task_state_shape),
};

static const struct js_field resources_fields[] = {
	FIELD(struct ecs_node_resources, "gpuIds", JS_STRINGS, gpu_ids),
};

static const struct js_field ack_fields[] = {
	FIELD_REQUIRED(struct ecs_node_ack, "number", JS_I64, number),
};

static const struct js_field log_event_fields[] = {
	FIELD_REQUIRED(struct ecs_log_event, "timestamp", JS_I64, timestamp),
	FIELD_REQUIRED(struct ecs_log_event, "position", JS_I64, position),
	FIELD_REQUIRED(struct ecs_log_event, "message", JS_STRING, message),
};
static const struct js_shape log_event_shape = JS_SHAPE("LogEvent", struct ecs_log_event,
							log_event_fields);

static const struct js_field log_fields[] = {
	FIELD_REQUIRED(struct ecs_node_log, "source", JS_STRING, source),
	FIELD_REQUIRED(struct ecs_node_log, "group", JS_STRING, group),
	FIELD_REQUIRED(struct ecs_node_log, "stream", JS_STRING, stream),
	FIELD(struct ecs_node_log, "createGroup", JS_BOOL, create_group),
	FIELD_REQUIRED(struct ecs_node_log, "position", JS_I64, position),
	FIELD_OF(struct ecs_node_log, "events", JS_OBJECTS, events, log_event_shape),
};

static const struct js_field log_ack_fields[] = {
	FIELD_REQUIRED(struct ecs_node_log_ack, "source", JS_STRING, source),
	FIELD(struct ecs_node_log_ack, "position", JS_I64, position),
	FIELD(struct ecs_node_log_ack, "error", JS_STRING, error),
};

static const struct js_field ask_fields[] = {
	FIELD_REQUIRED(struct ecs_node_ask, "id", JS_I64, id),
	FIELD_REQUIRED(struct ecs_node_ask, "operation", JS_STRING, operation),
	FIELD_REQUIRED(struct ecs_node_ask, "request", JS_JSON, request),
};

static const struct js_field answer_fields[] = {
	FIELD_REQUIRED(struct ecs_node_answer, "id", JS_I64, id),
	FIELD(struct ecs_node_answer, "fault", JS_STRING, fault_message),
	FIELD(struct ecs_node_answer, "response", JS_JSON, response),
};

static const struct js_field holds_fields[] = {
	FIELD(struct ecs_node_holds, "full", JS_BOOL, full),
	FIELD(struct ecs_node_holds, "digests", JS_STRINGS, digests),
	FIELD(struct ecs_node_holds, "gone", JS_STRINGS, gone),
};

static const struct js_field want_fields[] = {
	FIELD_REQUIRED(struct ecs_node_want, "digest", JS_STRING, digest),
	FIELD(struct ecs_node_want, "size", JS_I64, size),
	FIELD(struct ecs_node_want, "serves", JS_BOOL, serves),
	FIELD(struct ecs_node_want, "avoid", JS_STRINGS, avoid),
};

static const struct js_field source_fields[] = {
	FIELD_REQUIRED(struct ecs_node_source, "digest", JS_STRING, digest),
	FIELD(struct ecs_node_source, "instanceId", JS_STRING, instance_id),
	FIELD(struct ecs_node_source, "address", JS_STRING, address),
	FIELD(struct ecs_node_source, "port", JS_I64, port),
	FIELD(struct ecs_node_source, "key", JS_STRING, key),
};

static const struct js_field got_fields[] = {
	FIELD_REQUIRED(struct ecs_node_got, "digest", JS_STRING, digest),
	FIELD(struct ecs_node_got, "failed", JS_BOOL, failed),
};

static const struct js_field introduce_fields[] = {
	FIELD_REQUIRED(struct ecs_node_introduce, "key", JS_STRING, key),
	FIELD(struct ecs_node_introduce, "gone", JS_BOOL, gone),
};

#define EMPTY_SHAPE(name)                                      \
	{                                                      \
		(name), sizeof(struct ecs_node_empty), NULL, 0 \
	}

static const struct {
	const char *name;
	struct js_shape shape;
} messages[] = {
	[ECS_NODE_JOIN] = {"join", JS_SHAPE("join", struct ecs_node_join, join_fields)},
	[ECS_NODE_CERTIFICATE] = {"certificate",
				  JS_SHAPE("certificate", struct ecs_node_certificate,
					   certificate_fields)},
	[ECS_NODE_REFUSED] = {"refused",
			      JS_SHAPE("refused", struct ecs_node_refused, refused_fields)},
	[ECS_NODE_HELLO] = {"hello", JS_SHAPE("hello", struct ecs_node_hello, hello_fields)},
	[ECS_NODE_WELCOME] = {"welcome",
			      JS_SHAPE("welcome", struct ecs_node_welcome, welcome_fields)},
	[ECS_NODE_PEERS] = {"peers", JS_SHAPE("peers", struct ecs_node_peers, peers_fields)},
	[ECS_NODE_GROUPS] = {"groups", JS_SHAPE("groups", struct ecs_node_groups, groups_fields)},
	[ECS_NODE_TASKS] = {"tasks", JS_SHAPE("tasks", struct ecs_node_tasks, tasks_fields)},
	[ECS_NODE_RESOURCES] = {"resources",
				JS_SHAPE("resources", struct ecs_node_resources, resources_fields)},
	[ECS_NODE_REPORT] = {"report", JS_SHAPE("report", struct ecs_node_report, report_fields)},
	[ECS_NODE_ACK] = {"ack", JS_SHAPE("ack", struct ecs_node_ack, ack_fields)},
	[ECS_NODE_LOG] = {"log", JS_SHAPE("log", struct ecs_node_log, log_fields)},
	[ECS_NODE_LOG_ACK] = {"log-ack",
			      JS_SHAPE("log-ack", struct ecs_node_log_ack, log_ack_fields)},
	[ECS_NODE_ASK] = {"ask", JS_SHAPE("ask", struct ecs_node_ask, ask_fields)},
	[ECS_NODE_ANSWER] = {"answer", JS_SHAPE("answer", struct ecs_node_answer, answer_fields)},
	[ECS_NODE_HOLDS] = {"holds", JS_SHAPE("holds", struct ecs_node_holds, holds_fields)},
	[ECS_NODE_WANT] = {"want", JS_SHAPE("want", struct ecs_node_want, want_fields)},
	[ECS_NODE_SOURCE] = {"source", JS_SHAPE("source", struct ecs_node_source, source_fields)},
	[ECS_NODE_GOT] = {"got", JS_SHAPE("got", struct ecs_node_got, got_fields)},
	[ECS_NODE_INTRODUCE] = {"introduce",
				JS_SHAPE("introduce", struct ecs_node_introduce, introduce_fields)},
	[ECS_NODE_RENEW] = {"renew", EMPTY_SHAPE("renew")},
	[ECS_NODE_REQUEST] = {"request",
			      JS_SHAPE("request", struct ecs_node_request, request_fields)},
	[ECS_NODE_HEARTBEAT] = {"heartbeat", EMPTY_SHAPE("heartbeat")},
};

const struct js_shape *ecs_node_shape(enum ecs_node_type type)
{
	assert(type < ARRAY_COUNT(messages));

	return &messages[type].shape;
}

int ecs_node_type_of(const json_t *doc, enum ecs_node_type *ret, struct err *e)
{
	const char *type = json_string_value(json_object_get(doc, "type"));

	for (size_t i = 0; type && i < ARRAY_COUNT(messages); i++) {
		if (strcmp(messages[i].name, type) == 0) {
			*ret = (enum ecs_node_type)i;
			return 0;
		}
	}
	return err_set(e, EPROTO, "message of unknown type '%.40s'", type ? type : "");
}

char *ecs_node_dump(enum ecs_node_type type, const void *message)
{
	auto_json json_t *doc = js_encode(ecs_node_shape(type), message);

	(void)json_object_set_new(doc, "type", json_string(messages[type].name));
	return js_dump(doc);
}

int ecs_node_dispatch(const struct ecs_node_handler *handlers, size_t count, bool opened, void *ctx,
		      const char *data, size_t size, struct err *e)
{
	auto_json json_t *doc = NULL;
	auto_arena struct arena arena = {0};
	enum ecs_node_type type;
	void *message;

	if (js_parse(data, size, ECS_NODE_JSON_DEPTH, &doc, e) < 0 ||
	    ecs_node_type_of(doc, &type, e) < 0)
		return -e->code;
	for (size_t i = 0; i < count; i++) {
		if (handlers[i].type != type || handlers[i].opening == opened)
			continue;
		message = arena_alloc(&arena, handlers[i].size);
		if (js_decode(doc, ecs_node_shape(type), &arena, message, e) < 0)
			return -e->code;
		return handlers[i].handle(ctx, message, e);
	}
	return err_set(e, EPROTO, "message of type %d out of turn", (int)type);
}
