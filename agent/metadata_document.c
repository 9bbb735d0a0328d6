/* agent/metadata_document.c - what the task metadata endpoint tells
 * SPDX-License-Identifier: Apache-2.0
 *
 * Members are those of version 4, which those of version 3 are a part of; what is not
 * known here is left out, as ECS leaves out what has no value.  Usage is told in the
 * words of Docker's API ("docker stats").
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/proc.h"
#include "base/text.h"

#define NANOSECONDS 1000000000ULL
#define LABEL(name) "com.amazonaws.ecs." name

/* Usage is of use beside an earlier one. */
struct metadata_sample {
	int64_t at_ms;
	json_t *cpu;
	uint64_t rx_bytes, tx_bytes;
};

void metadata_forget(struct container *c)
{
	if (c->sample)
		json_decref(c->sample->cpu);
	free(take_ptr(c->sample));
}

static void put(json_t *doc, const char *name, json_t *own_value)
{
	(void)json_object_set_new(doc, name, own_value);
}

static void put_text(json_t *doc, const char *name, const char *text)
{
	if (text && *text)
		put(doc, name, js_string(text, strlen(text)));
}

static void put_time(json_t *doc, const char *name, int64_t wall_ms)
{
	char text[32];

	if (wall_ms <= 0)
		return;
	clock_format_rfc3339(wall_ms, text);
	put(doc, name, json_string(text));
}

/* ---- a container ---- */

/* From the kernel, so that an agent that came later knows it, too; 0: nobody saw it run. */
static int64_t started_ms(struct container *c)
{
	uint64_t ticks = !c->started_ms && c->pid && c->phase < PHASE_STOPPED
				 ? proc_start_time(c->pid)
				 : 0;

	if (ticks) /* once: the clocks drift apart */
		c->started_ms = clock_wall_ms() - clock_mono_ms() +
				(int64_t)(ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK));
	return c->started_ms;
}

/* "arn:...:task/CLUSTER/ID"; malloc'ed. */
static char *cluster_of(const struct task *t)
{
	const char *name = strchr(t->wanted.task_arn, '/');
	size_t len = name ? strcspn(name + 1, "/") : 0;

	return xasprintf("%.*s", (int)len, name ? name + 1 : "");
}

static json_t *make_labels(const struct container *c)
{
	const struct ecs_task_definition *d = &c->task->wanted.definition;
	auto_free char *cluster = cluster_of(c->task);
	json_t *labels = json_object();

	for (size_t i = 0; i < c->def->docker_labels.count; i++)
		put_text(labels, c->def->docker_labels.items[i].key,
			 c->def->docker_labels.items[i].value);
	put_text(labels, LABEL("cluster"), cluster);
	put_text(labels, LABEL("container-name"), c->def->name);
	put_text(labels, LABEL("task-arn"), c->task->wanted.task_arn);
	put_text(labels, LABEL("task-definition-family"), d->family);
	put(labels, LABEL("task-definition-version"), json_sprintf("%lld", (long long)d->revision));
	return labels;
}

static json_t *make_ports(const struct container *c)
{
	const struct js_list *bindings = &c->state->network_bindings;
	json_t *list = json_array();

	for (size_t i = 0; i < bindings->count; i++) {
		const struct ecs_network_binding *b = JS_AT(*bindings, struct ecs_network_binding,
							    i);

		if (b->container_port)
			(void)json_array_append_new(
				list, json_pack("{s:I, s:s, s:I, s:s}", "ContainerPort",
						(json_int_t)b->container_port, "Protocol",
						b->protocol, "HostPort", (json_int_t)b->host_port,
						"HostIp", b->bind_ip));
	}
	return list;
}

/* "172.31.0.1/20": the first address of a subnet is its router's, but on a trunk it may be another one. */
static void put_gateway(json_t *doc, const struct ecs_node_interface *n)
{
	char text[IP_TEXT_MAX];
	struct ip_prefix p;

	if (!n->subnet || !ip_prefix_parse(n->subnet, &p) || p.v6 || p.length > 30)
		return;
	p.address[3] |= 1;
	ip_address_format(&p, text);
	put(doc, "SubnetGatewayIpv4Address",
	    json_sprintf("%s/%u", n->gateway ? n->gateway : text, (unsigned)p.length));
}

static void put_interface(const struct container *c, json_t *doc)
{
	const struct ecs_node_interface *n = c->task->wanted.network_interface;
	const char *resolver = c->def->dns_servers.count ? NULL : resolver_address(c);
	char name[ECS_PRIVATE_NAME_SIZE];

	put(doc, "AttachmentIndex", json_integer(0));
	put_text(doc, "MACAddress", n->mac);
	put_text(doc, "IPv4SubnetCIDRBlock", n->subnet);
	put_text(doc, "IPv6SubnetCIDRBlock", n->subnet6);
	put_gateway(doc, n);
	if (resolver)
		put(doc, "DomainNameServers", json_pack("[s]", resolver));
	if (network_private_name(c->task, name))
		put_text(doc, "PrivateDNSName", name);
	if (n->address6)
		put(doc, "IPv6Addresses", json_pack("[s]", n->address6));
}

static json_t *make_networks(const struct container *c)
{
	const struct task *t = c->task;
	const char *mode = t->wanted.definition.network_mode;
	const struct ecs_node_interface *n = t->wanted.network_interface;
	char address[NET_ADDRESS_MAX];
	json_t *doc = json_pack("{s:s, s:[]}", "NetworkMode", mode ? mode : "bridge",
				"IPv4Addresses");

	/* Of a task with IPv6 alone this is for services of the host, and no address of its own. */
	if (network_source(c, address) && *address && (!n || n->address))
		(void)json_array_append_new(json_object_get(doc, "IPv4Addresses"),
					    json_string(address));
	if (n)
		put_interface(c, doc);
	return json_pack("[o]", doc);
}

static json_t *make_limits(const struct container *c)
{
	const int64_t *memory = c->def->memory ? c->def->memory : c->def->memory_reservation;
	json_t *limits = json_pack("{s:I}", "CPU", (json_int_t)c->def->cpu);

	if (memory)
		put(limits, "Memory", json_integer(*memory));
	return limits;
}

static void put_log(const struct container *c, json_t *doc)
{
	const struct ecs_log_configuration *l = c->def->log_configuration;
	json_t *options;

	if (!l)
		return;
	options = json_object();
	put_text(doc, "LogDriver", l->log_driver);
	for (size_t i = 0; i < l->options.count; i++)
		put_text(options, l->options.items[i].key, l->options.items[i].value);
	put(doc, "LogOptions", options);
}

static const char *arn_of(const struct container *c)
{
	const struct js_list *list = &c->task->wanted.containers;

	for (size_t i = 0; i < list->count; i++) {
		const struct ecs_node_container *n = JS_AT(*list, struct ecs_node_container, i);

		if (str_eq(n->name, c->def->name))
			return n->container_arn;
	}
	return NULL;
}

static json_t *make_container(struct container *c)
{
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:o, s:s, s:o, s:o}",
				"DockerId", c->id, "DockerName", c->id, "Name", c->def->name,
				"Image", c->def->image, "Labels", make_labels(c), "DesiredStatus",
				c->task->stop ? "STOPPED" : c->task->wanted.desired_status,
				"KnownStatus", c->state->last_status, "Limits", make_limits(c),
				"Type", "NORMAL", "Ports", make_ports(c), "Networks",
				make_networks(c));

	put_text(doc, "ImageID", c->state->image_digest);
	put_text(doc, "ContainerARN", arn_of(c));
	put_time(doc, "CreatedAt", started_ms(c));
	put_time(doc, "StartedAt", started_ms(c));
	put_time(doc, "FinishedAt", c->ended_ms);
	if (c->state->exit_code)
		put(doc, "ExitCode", json_integer(*c->state->exit_code));
	put_log(c, doc);
	return doc;
}

/* ---- its task ---- */

static json_t *make_task_limits(const struct ecs_task_definition *d)
{
	json_t *limits = json_object();
	int64_t value;

	if (d->cpu && ecs_parse_cpu(d->cpu, &value))
		put(limits, "CPU", json_real((double)value / 1024));
	if (d->memory && ecs_parse_memory(d->memory, &value))
		put(limits, "Memory", json_integer(value));
	return limits;
}

static json_t *make_task(const struct task *t)
{
	const struct ecs_task_definition *d = &t->wanted.definition;
	auto_free char *cluster = cluster_of(t);
	json_t *containers = json_array();
	json_t *doc = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:o, s:o}", "Cluster", cluster,
				"TaskARN", t->wanted.task_arn, "Family", d->family, "Revision",
				json_sprintf("%lld", (long long)d->revision), "DesiredStatus",
				t->stop ? "STOPPED" : t->wanted.desired_status, "KnownStatus",
				t->state.last_status, "Limits", make_task_limits(d), "Containers",
				containers);

	for (size_t i = 0; i < t->count; i++)
		(void)json_array_append_new(containers, make_container(&t->containers[i]));
	put_time(doc, "PullStartedAt", t->state.pull_started_at);
	put_time(doc, "PullStoppedAt", t->state.pull_stopped_at);
	put_time(doc, "ExecutionStoppedAt", t->state.execution_stopped_at);
	for (size_t i = 0; i < t->agent->o->attribute_count; i++)
		if (str_eq(t->agent->o->attributes[i].name, "ecs.availability-zone"))
			put_text(doc, "AvailabilityZone", t->agent->o->attributes[i].value);
	return doc;
}

/* [{"key": "a", "value": "b"}] as {"a": "b"}; none are left out, as ECS does it. */
static void put_tags(json_t *doc, const char *name, const json_t *tags)
{
	json_t *map = json_object(), *tag;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)tags, i, tag) {
		const char *key = json_string_value(json_object_get(tag, "key"));
		json_t *value = json_object_get(tag, "value");

		if (key)
			put(map, key, value ? json_incref(value) : json_string(""));
	}
	if (json_object_size(map))
		put(doc, name, map);
	else
		json_decref(map);
}

json_t *metadata_with_tags(const struct container *c, const json_t *tags,
			   const struct metadata_error *why)
{
	json_t *doc = make_task(c->task);

	put_tags(doc, "TaskTags", json_object_get(tags, "taskTags"));
	put_tags(doc, "ContainerInstanceTags", json_object_get(tags, "containerInstanceTags"));
	if (!tags)
		put(doc, "Errors",
		    json_pack("[{s:s, s:s, s:s, s:s, s:i}]", "ErrorField", "TaskTags", "ErrorCode",
			      why->code, "ErrorMessage", why->message, "ResourceARN",
			      c->task->wanted.task_arn, "StatusCode", why->status));
	return doc;
}

/* ---- what is used ---- */

static json_t *part(const json_t *doc, const char *group, const char *inner, const char *name)
{
	json_t *of = json_object_get(doc, group);

	if (inner)
		of = json_object_get(of, inner);
	return json_object_get(of, name);
}

/* A number of runc's document under Docker's name, where it is there. */
static void copy(json_t *doc, const char *name, json_t *value)
{
	if (value)
		(void)json_object_set(doc, name, value);
}

/* Of all processors since the boot, nanoseconds: "cpu  USER NICE SYSTEM IDLE ..." */
static uint64_t system_cpu_ns(void)
{
	unsigned long long user, nice, kernel, idle, wait, irq, soft;
	FILE *f = fopen("/proc/stat", "re");
	int n = f ? fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &kernel,
			   &idle, &wait, &irq, &soft)
		  : 0;

	if (f)
		(void)fclose(f);
	return n == 7 ? (user + nice + kernel + idle + wait + irq + soft) *
				(NANOSECONDS / (uint64_t)sysconf(_SC_CLK_TCK))
		      : 0;
}

static json_t *make_cpu(const json_t *used)
{
	json_t *usage = json_object(), *throttling = json_object();

	copy(usage, "total_usage", part(used, "cpu", "usage", "total"));
	copy(usage, "usage_in_kernelmode", part(used, "cpu", "usage", "kernel"));
	copy(usage, "usage_in_usermode", part(used, "cpu", "usage", "user"));
	copy(usage, "percpu_usage", part(used, "cpu", "usage", "percpu"));
	copy(throttling, "periods", part(used, "cpu", "throttling", "periods"));
	copy(throttling, "throttled_periods", part(used, "cpu", "throttling", "throttledPeriods"));
	copy(throttling, "throttled_time", part(used, "cpu", "throttling", "throttledTime"));
	return json_pack("{s:o, s:o, s:I, s:I}", "cpu_usage", usage, "throttling_data", throttling,
			 "system_cpu_usage", (json_int_t)system_cpu_ns(), "online_cpus",
			 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *make_memory(const json_t *used)
{
	json_t *doc = json_object();

	copy(doc, "usage", part(used, "memory", "usage", "usage"));
	copy(doc, "max_usage", part(used, "memory", "usage", "max"));
	copy(doc, "limit", part(used, "memory", "usage", "limit"));
	copy(doc, "stats", json_object_get(json_object_get(used, "memory"), "raw"));
	return doc;
}

static json_t *make_block_io(const json_t *used)
{
	json_t *doc = json_object();

	copy(doc, "io_service_bytes_recursive",
	     part(used, "blkio", NULL, "ioServiceBytesRecursive"));
	copy(doc, "io_serviced_recursive", part(used, "blkio", NULL, "ioServicedRecursive"));
	return doc;
}

static json_t *make_rate(const struct metadata_sample *before, int64_t now_ms,
			 const struct net_counters *n)
{
	double seconds = (double)(now_ms - before->at_ms) / 1000;

	if (seconds <= 0 || n->rx_bytes < before->rx_bytes || n->tx_bytes < before->tx_bytes)
		return NULL;
	return json_pack("{s:f, s:f}", "rx_bytes_per_sec",
			 (double)(n->rx_bytes - before->rx_bytes) / seconds, "tx_bytes_per_sec",
			 (double)(n->tx_bytes - before->tx_bytes) / seconds);
}

static void put_network(const struct container *c, int64_t now_ms, struct net_counters *n,
			json_t *doc)
{
	const struct task *t = c->task;
	const char *id = t->wanted.network_interface ? t->id : c->id;
	json_t *rate = NULL;
	struct err ignored;

	if (net_counters(t->agent->net, id, n, &ignored) != 0)
		return;
	put(doc, "networks",
	    json_pack("{s:{s:I, s:I, s:I, s:I, s:I, s:I}}", "eth0", "rx_bytes",
		      (json_int_t)n->rx_bytes, "rx_packets", (json_int_t)n->rx_packets,
		      "rx_dropped", (json_int_t)n->rx_dropped, "tx_bytes", (json_int_t)n->tx_bytes,
		      "tx_packets", (json_int_t)n->tx_packets, "tx_dropped",
		      (json_int_t)n->tx_dropped));
	if (c->sample)
		rate = make_rate(c->sample, now_ms, n);
	if (rate)
		put(doc, "network_rate_stats", rate);
}

/* null: it does not run, as Docker and the ECS agent have it. */
static json_t *make_stats(struct container *c)
{
	struct net_counters network = {0};
	int64_t now_ms = clock_wall_ms();
	auto_json json_t *used = NULL;
	struct err ignored;
	json_t *doc, *cpu;

	if (c->phase != PHASE_RUNNING ||
	    runtime_stats_json(c->task->agent->runtime, c->id, &used, &ignored) != 0)
		return json_null();
	cpu = make_cpu(used);
	doc = json_pack("{s:s, s:s, s:o, s:o, s:O, s:O}", "id", c->id, "name", c->id,
			"memory_stats", make_memory(used), "blkio_stats", make_block_io(used),
			"cpu_stats", cpu, "precpu_stats", c->sample ? c->sample->cpu : cpu);
	copy(doc, "pids_stats", json_object_get(used, "pids"));
	put_time(doc, "read", now_ms);
	put_time(doc, "preread", c->sample ? c->sample->at_ms : now_ms);
	put_network(c, now_ms, &network, doc);
	metadata_forget(c);
	c->sample = xcalloc(1, sizeof(*c->sample));
	*c->sample = (struct metadata_sample){.at_ms = now_ms,
					      .cpu = cpu,
					      .rx_bytes = network.rx_bytes,
					      .tx_bytes = network.tx_bytes};
	return doc;
}

static json_t *make_task_stats(const struct task *t)
{
	json_t *doc = json_object();

	for (size_t i = 0; i < t->count; i++)
		put(doc, t->containers[i].id, make_stats(&t->containers[i]));
	return doc;
}

json_t *metadata_document(struct container *c, enum ecs_metadata_topic topic)
{
	switch (topic) {
	case ECS_METADATA_TASK:
		return make_task(c->task);
	case ECS_METADATA_STATS:
		return make_stats(c);
	case ECS_METADATA_TASK_STATS:
		return make_task_stats(c->task);
	case ECS_METADATA_CONTAINER:
	case ECS_METADATA_TASK_WITH_TAGS:
	case ECS_METADATA_TOPICS:
		break;
	}
	return make_container(c);
}
