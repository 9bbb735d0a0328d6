/* scheduler/core/flow_log.c - flow logs
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is logged is seen by the nodes: a task is told to its node with the flow
 * logs that cover its interface, and again when they change.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "scheduler/core/vpc.h"

#define RESOURCES_MAX    1000
#define INTERVAL_DEFAULT 600
#define GROUP_NAME_MAX   512
#define FORMAT_MAX       2048

/* The default format, version 2: "Flow log records" of the VPC User Guide. */
static const char default_format[] =
	"${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} "
	"${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

/*
 * Of "Flow log records": the version that a field came with, and what becomes of it.  NULL: its node
 * puts it in; "": here, of the interface; else it is as good as another one, or not to be had.
 */
static const struct format_field {
	const char *name;
	int version;
	const char *as;
} fields[] = {
	{"version", 2, ""},
	{"account-id", 2, ""},
	{"interface-id", 2, ""},
	{"srcaddr", 2, NULL},
	{"dstaddr", 2, NULL},
	{"srcport", 2, NULL},
	{"dstport", 2, NULL},
	{"protocol", 2, NULL},
	{"packets", 2, NULL},
	{"bytes", 2, NULL},
	{"start", 2, NULL},
	{"end", 2, NULL},
	{"action", 2, NULL},
	{"log-status", 2, NULL},
	{"vpc-id", 3, ""},
	{"subnet-id", 3, ""},
	{"instance-id", 3, "-"}, /* of EC2; the interface is a task's */
	{"type", 3, NULL},
	{"pkt-srcaddr", 3, "${srcaddr}"}, /* what passes an interface is as it was sent */
	{"pkt-dstaddr", 3, "${dstaddr}"},
	{"region", 4, ""},
	{"az-id", 4, ""},
	{"sublocation-type", 4, "-"},
	{"sublocation-id", 4, "-"},
	{"pkt-src-aws-service", 5, "-"},
	{"pkt-dst-aws-service", 5, "-"},
	{"flow-direction", 5, NULL},
};

static const char group_characters[] =
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/#";

static const struct ec2_filter filters[] = {
	{"flow-log-id", "flowLogId"},
	{"log-group-name", "logGroupName"},
	{"resource-id", "resourceId"},
	{"traffic-type", "trafficType"},
	{"deliver-log-status", "deliverLogsStatus"},
	{"deliver-logs-error-message", "deliverLogsErrorMessage"},
	{"log-destination-type", "logDestinationType"},
	{NULL, NULL},
};

const struct ec2_kind flow_log_kind = {.set = "flowLogSet",
				       .id = "flowLogId",
				       .ids = "FlowLogId",
				       .word = "flow log ID",
				       .absent = ECS_FAULT_EC2_FLOW_LOG_NOT_FOUND,
				       .filters = filters};

int flow_log_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "flowLogId");
	struct record *r;

	if (!id)
		return err_set(e, EUCLEAN, "is not whole");
	r = xcalloc(1, sizeof(*r));
	record_init(r, own_doc, "flow-log/%s", id);
	(void)map_put(&c->flow_logs, id, r);
	return 0;
}

/* ---- formats ---- */

static const struct format_field *field_named(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return &fields[i];
	return NULL;
}

/* The next "${name}" of a format, behind at most one space: its name, the caller's; NULL: none. */
static char *next_field(const char **format)
{
	const char *at = *format + (**format == ' ');
	const size_t len = strncmp(at, "${", 2) == 0 ? strcspn(at, "}") : 0;

	if (!len || !at[len])
		return NULL;
	*format = at + len + 1;
	return xstrndup(at + 2, len - 2);
}

static int check_format(const char *format, struct ecs_fault *f)
{
	const char *at = format;

	if (strlen(format) > FORMAT_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "LogFormat has more than %d characters.", FORMAT_MAX);
	do {
		auto_free char *name = next_field(&at);

		if (!name)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "LogFormat is fields ${NAME} with a space between "
					     "them, not '%.100s'",
					     at);
		if (!field_named(name))
			return ecs_fault_set(
				f, ECS_FAULT_EC2_UNSUPPORTED,
				"LogFormat: the field '%.60s' is not supported by this "
				"version of Berth.",
				name);
	} while (*at);
	return 0;
}

static int version_of(const char *format)
{
	int version = 2;

	while (*format) {
		auto_free char *name = next_field(&format);
		const struct format_field *field = name ? field_named(name) : NULL;

		if (field && field->version > version)
			version = field->version;
	}
	return version;
}

/* What is here of the interface. */
static const char *constant(const struct core *c, const struct interface *n, const char *name)
{
	if (strcmp(name, "account-id") == 0)
		return c->o.identity.account;
	if (strcmp(name, "interface-id") == 0)
		return n->id;
	if (strcmp(name, "subnet-id") == 0)
		return n->subnet->id;
	if (strcmp(name, "region") == 0)
		return c->o.identity.region;
	return doc_string(n->subnet->record.doc,
			  strcmp(name, "vpc-id") == 0 ? "vpcId" : "availabilityZoneId");
}

/* For a node: what it does not know is in it; NULL: the default, which every node knows. */
static char *format_for_node(const struct core *c, const struct interface *n, const char *format,
			     struct arena *a)
{
	const int version = format ? version_of(format) : 2;
	auto_buf struct buf b = BUF_INIT(16 * FORMAT_MAX);

	if (!format || strcmp(format, default_format) == 0)
		return NULL;
	while (*format) {
		auto_free char *name = next_field(&format);
		const struct format_field *field = name ? field_named(name) : NULL;

		if (!field)
			break;
		if (buf_str(&b)[0])
			buf_putc(&b, ' ');
		if (!field->as)
			buf_printf(&b, "${%s}", name);
		else if (strcmp(name, "version") == 0)
			buf_printf(&b, "%d", version);
		else
			buf_puts(&b, *field->as ? field->as : constant(c, n, name));
	}
	return arena_strdup(a, buf_str(&b));
}

/* ---- requests ---- */

static int check_type(const json_t *request, struct ecs_fault *f)
{
	const char *destination = doc_string(request, "LogDestinationType");

	if (destination && strcmp(destination, "cloud-watch-logs") != 0)
		return ecs_fault_set(f, ECS_FAULT_EC2_UNSUPPORTED,
				     "LogDestinationType %s is not supported by this version of "
				     "Berth: use cloud-watch-logs.",
				     destination);
	return 0;
}

/* "LogDestination", the ARN of a log group, becomes "LogGroupName". */
static int take_destination(const struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *arn = doc_string(request, "LogDestination");
	auto_free char *start = xasprintf("arn:aws:logs:%s:%s:log-group:", c->o.identity.region,
					  c->o.identity.account);
	auto_free char *name = NULL;

	if (doc_string(request, "LogGroupName")) {
		if (arn)
			return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
					     "Please only provide LogGroupName or only provide "
					     "LogDestination.");
		return 0;
	}
	if (!arn)
		return ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
				     "The request must contain the parameter LogGroupName");
	if (!str_starts(arn, start))
		return ecs_fault_set(
			f, ECS_FAULT_EC2_INVALID_VALUE,
			"Value (%.200s) for parameter LogDestination is invalid. It is "
			"the ARN of a log group: %sNAME",
			arn, start);
	name = xstrdup(arn + strlen(start));
	if (str_ends(name, ":*"))
		name[strlen(name) - 2] = '\0';
	doc_set_string(request, "LogGroupName", name);
	return 0;
}

static int check_request(const json_t *request, struct ecs_fault *f)
{
	const char *group = doc_string(request, "LogGroupName"),
		   *format = doc_string(request, "LogFormat");
	int64_t interval = doc_integer(request, "MaxAggregationInterval", INTERVAL_DEFAULT);

	if (!*group || strlen(group) > GROUP_NAME_MAX || group[strspn(group, group_characters)])
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "LogGroupName has 1 to %d characters of '.-_/#A-Za-z0-9'.",
				     GROUP_NAME_MAX);
	if (format && check_format(format, f) < 0)
		return -1;
	if (interval != 60 && interval != INTERVAL_DEFAULT)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "Invalid value '%lld' for MaxAggregationInterval: it is 60 or "
				     "600.",
				     (long long)interval);
	return 0;
}

static int check_there(struct core *c, const char *type, const char *id, struct ecs_fault *f)
{
	const struct interface *n;

	if (strcmp(type, "VPC") == 0)
		return ec2_find(&c->vpcs, &vpc_kind, id, f) ? 0 : -1;
	if (strcmp(type, "Subnet") == 0)
		return ec2_find(&c->subnets, &subnet_kind, id, f) ? 0 : -1;
	if (strcmp(type, "NetworkInterface") != 0)
		return ecs_fault_set(f, ECS_FAULT_EC2_UNSUPPORTED,
				     "ResourceType %s is not supported by this version of Berth.",
				     type);
	n = map_find(&c->interfaces, id);
	return n && !n->released_ms
		       ? 0
		       : ecs_fault_set(f, interface_kind.absent, "The %s '%.100s' does not exist",
				       interface_kind.word, id);
}

static bool is_logged(struct core *c, const json_t *request, const char *id)
{
	struct record *r;

	for (size_t i = 0; map_next(&c->flow_logs, &i, &r);)
		if (str_eq(doc_string(r->doc, "resourceId"), id) &&
		    str_eq(doc_string(r->doc, "logGroupName"), doc_string(request, "LogGroupName")))
			return true;
	return false;
}

static int check_resources(struct core *c, const json_t *request, struct ecs_fault *f)
{
	const json_t *ids = json_object_get(request, "ResourceId");
	const char *type = doc_string(request, "ResourceType");
	json_t *id;
	size_t i;

	if (json_array_size(ids) < 1 || json_array_size(ids) > RESOURCES_MAX)
		return ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
				     "ResourceId has 1 to %d elements.", RESOURCES_MAX);
	json_array_foreach (ids, i, id) {
		const char *text = json_string_value(id);

		if (check_there(c, type, text, f) < 0)
			return -1;
		if (is_logged(c, request, text))
			return ecs_fault_set(
				f, ECS_FAULT_EC2_FLOW_LOG_EXISTS,
				"There is an existing Flow Log of %.100s with the same "
				"configuration and log destination.",
				text);
	}
	return 0;
}

static struct record *make(struct core *c, const json_t *request, const char *resource,
			   json_t *own_tags)
{
	const char *traffic = doc_string(request, "TrafficType"),
		   *format = doc_string(request, "LogFormat");
	char id[EC2_ID_SIZE], time[32];
	time_t now = (time_t)(c->now_ms / 1000);
	struct tm tm;
	struct err e;
	json_t *doc;

	ec2_make_id(c, "fl", &c->flow_logs, id);
	(void)strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S.000Z", gmtime_r(&now, &tm));
	doc = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:s, s:I, s:s, s:o}", "flowLogId", id,
		"flowLogStatus", "ACTIVE", "deliverLogsStatus", "SUCCESS", "resourceId", resource,
		"trafficType", traffic ? traffic : "ALL", "logDestinationType", "cloud-watch-logs",
		"logGroupName", json_object_get(request, "LogGroupName"), "logFormat",
		format ? format : default_format, "maxAggregationInterval",
		(json_int_t)doc_integer(request, "MaxAggregationInterval", INTERVAL_DEFAULT),
		"creationTime", time, "tagSet", own_tags);
	doc_set_string(doc, "deliverLogsPermissionArn",
		       doc_string(request, "DeliverLogsPermissionArn"));
	doc_set_string(doc, "logDestination", doc_string(request, "LogDestination"));
	ec2_token_keep(doc, request);
	(void)flow_log_load(c, doc, &e);
	return map_find(&c->flow_logs, id);
}

json_t *create_flow_logs(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_json json_t *tags = json_object(), *made = NULL;
	json_t *ids = json_array(), *resource, *doc,
	       *reply = json_pack("{s:o}", "flowLogIdSet", ids);
	const char *token = doc_string(request, "ClientToken");
	size_t i;

	if (check_type(request, f) < 0 || take_destination(c, request, f) < 0 ||
	    check_request(request, f) < 0 || ec2_token_find(&c->flow_logs, request, &made, f) < 0 ||
	    (!made && check_resources(c, request, f) < 0) ||
	    ec2_take_tags(request, "vpc-flow-log", tags, f) < 0) {
		json_decref(reply);
		return NULL;
	}
	json_array_foreach (made, i, doc)
		(void)json_array_append(ids, json_object_get(doc, "flowLogId"));
	json_array_foreach (made ? NULL : json_object_get(request, "ResourceId"), i, resource) {
		struct record *r = make(c, request, json_string_value(resource),
					json_deep_copy(json_object_get(tags, "tagSet")));

		record_touch(c, r);
		interfaces_send(c, json_string_value(resource));
		(void)json_array_append(ids, json_object_get(r->doc, "flowLogId"));
	}
	(void)json_object_set_new(reply, "unsuccessful", json_array());
	doc_set_string(reply, "clientToken", token);
	return reply;
}

json_t *describe_flow_logs(struct core *c, json_t *request, struct ecs_fault *f)
{
	return ec2_describe(c, &flow_log_kind, &c->flow_logs, request, f);
}

json_t *delete_flow_logs(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *ids = json_object_get(request, "FlowLogId");
	json_t *id;
	size_t i;

	json_array_foreach (ids, i, id)
		if (!ec2_find(&c->flow_logs, &flow_log_kind, json_string_value(id), f))
			return NULL;
	json_array_foreach (ids, i, id) {
		struct record *r = map_remove(&c->flow_logs, json_string_value(id));

		if (!r)
			continue; /* named twice */
		interfaces_send(c, doc_string(r->doc, "resourceId"));
		record_delete(c, r);
		record_done(r);
		free(r);
	}
	return json_pack("{s:[]}", "unsuccessful");
}

bool core_flow_log_delivered(struct core *c, const char *source, const char *error, int64_t now_ms)
{
	auto_free char *id = str_starts(source, "flow/")
				     ? xstrndup(source + 5, strcspn(source + 5, "/"))
				     : NULL;
	const char *status = error ? "FAILED" : "SUCCESS";
	struct record *r = id ? map_find(&c->flow_logs, id) : NULL;

	if (!r || (str_eq(doc_string(r->doc, "deliverLogsStatus"), status) &&
		   (!error || str_eq(doc_string(r->doc, "deliverLogsErrorMessage"), error))))
		return false;
	c->now_ms = now_ms;
	doc_set_string(r->doc, "deliverLogsStatus", status);
	(void)json_object_del(r->doc, "deliverLogsErrorMessage");
	doc_set_string(r->doc, "deliverLogsErrorMessage", error);
	record_touch(c, r);
	return true;
}

void flow_logs_describe_to_node(struct core *c, const struct interface *n, struct arena *a,
				struct js_list *ret)
{
	struct ecs_node_flow_log *items = arena_alloc(a, (c->flow_logs.count + 1) * sizeof(*items));
	struct record *r;

	*ret = (struct js_list){.items = items};
	for (size_t i = 0; map_next(&c->flow_logs, &i, &r);) {
		if (!interface_is_in(n, doc_string(r->doc, "resourceId")))
			continue;
		items[ret->count++] = (struct ecs_node_flow_log){
			.flow_log_id = (char *)(uintptr_t)doc_string(r->doc, "flowLogId"),
			.group = (char *)(uintptr_t)doc_string(r->doc, "logGroupName"),
			.traffic = (char *)(uintptr_t)doc_string(r->doc, "trafficType"),
			.interval_s = doc_integer(r->doc, "maxAggregationInterval",
						  INTERVAL_DEFAULT),
			.format = format_for_node(c, n, doc_string(r->doc, "logFormat"), a)};
	}
}
