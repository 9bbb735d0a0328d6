/* agent/network.c - networks of containers and tasks, and security groups
 * SPDX-License-Identifier: Apache-2.0
 *
 * In mode bridge each container has an endpoint of its own, with its host
 * ports.  In awsvpc the task has one, with the address that the server chose;
 * the first container makes it and all of them are in it.  Whoever is in a
 * network keeps it: after a restart it is found through one of them.
 *
 * A network is the host's, made ahead, and a task with ids of its own has no
 * rights over it.  One that asks for rights over its network (NET_ADMIN) gets a
 * network of its own user namespace, where they are rights over nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"

static const char *mode_of(const struct task *t)
{
	return t->wanted.definition.network_mode;
}

static bool is_awsvpc(const struct task *t)
{
	return str_eq(mode_of(t), "awsvpc");
}

/* ---- rights over it ---- */

/* That it asks for; NULL: none. */
static const char *capability_of(const struct ecs_container_definition *d)
{
	static const char *const names[] = {"NET_ADMIN", "NET_BROADCAST", "NET_RAW"};
	const struct js_strings *add = &d->linux_parameters.capabilities.add;

	for (size_t i = 0; i < add->count; i++)
		for (size_t k = 0; k < ARRAY_COUNT(names); k++)
			if (str_eq(add->items[i], names[k]))
				return names[k];
	return NULL;
}

/* The kernel, of one version or another, does not show these in a network that is not the host's. */
static const char *hidden_parameter(const struct ecs_container_definition *d)
{
	static const char *const prefixes[] = {"net.core.", "net.ipv4.neigh.", "net.ipv4.route.",
					       "net.ipv6.neigh.", "net.ipv6.route."};

	for (size_t i = 0; i < d->system_controls.count; i++) {
		const char *name = JS_AT(d->system_controls, struct ecs_key_value, i)->name;

		for (size_t k = 0; k < ARRAY_COUNT(prefixes); k++)
			if (str_starts(name, prefixes[k]))
				return name;
	}
	return NULL;
}

/* The containers that are in one network with it: itself, in awsvpc all of the task. */
static size_t sharers(const struct container *c, const struct container **ret_first)
{
	*ret_first = is_awsvpc(c->task) ? c->task->containers : c;
	return is_awsvpc(c->task) ? c->task->count : 1;
}

static const char *hidden_from_any(const struct container *c)
{
	const struct container *first;
	size_t count = sharers(c, &first);
	const char *name = NULL;

	for (size_t i = 0; i < count && !name; i++)
		name = hidden_parameter(first[i].def);
	return name;
}

/* The user namespace that its network is to belong to; NULL: the host's. */
static const int *owner_of(const struct container *c)
{
	const struct container *first;
	size_t count = sharers(c, &first);
	bool wanted = false;

	for (size_t i = 0; i < count; i++)
		wanted |= capability_of(first[i].def) != NULL;
	return wanted && c->task->ids.userns_fd >= 0 && !hidden_from_any(c)
		       ? &c->task->ids.userns_fd
		       : NULL;
}

static bool belongs_to(int netns_fd, int userns_fd)
{
	auto_close int owner_fd = ioctl(netns_fd, NS_GET_USERNS);
	struct stat a, b;

	return owner_fd >= 0 && fstat(owner_fd, &a) == 0 && fstat(userns_fd, &b) == 0 &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

/* ---- of a container ---- */

size_t network_ports(const struct ecs_container_definition *d, struct net_port ret[NET_PORTS_MAX])
{
	size_t count = 0;

	for (; count < d->port_mappings.count && count < NET_PORTS_MAX; count++) {
		const struct ecs_port_mapping *p = JS_AT(d->port_mappings, struct ecs_port_mapping,
							 count);
		uint16_t first, last;

		ecs_container_ports(p, &first, &last);
		ret[count] = (struct net_port){.container_port = first,
					       .host_port = (uint16_t)p->host_port,
					       .protocol = str_eq(p->protocol, "udp") ? NET_UDP
										      : NET_TCP,
					       .count = last - first + 1u};
	}
	return count;
}

static bool has_no_network(const struct container *c)
{
	return str_eq(mode_of(c->task), "none") || c->def->disable_networking;
}

static int make_own(struct container *c, struct container_network *ret, struct err *e)
{
	struct net_port ports[NET_PORTS_MAX];
	struct net_request request = {.id = c->id,
				      .mode = NET_BRIDGE,
				      .ports = ports,
				      .port_count = network_ports(c->def, ports),
				      .userns_fd = c->mapped ? owner_of(c) : NULL,
				      .reserved = c->ahead.network};

	if (has_no_network(c)) {
		request.mode = NET_NONE;
		request.netns_fd = c->ahead.netns_fd >= 0 ? &c->ahead.netns_fd : NULL;
	}
	if (net_attach(c->task->agent->net, &request, &ret->endpoint, e) < 0)
		return -e->code;
	ret->netns_fd = ret->endpoint.netns_fd;
	return 0;
}

/* ---- of a task ---- */

static int read_address(const char *address, const char *prefix, struct net_request *r,
			struct err *e)
{
	struct ip_prefix a, p;

	if (!address || !*address)
		return 0;
	if (!ip_address_parse(address, &a) || !prefix || !ip_prefix_parse(prefix, &p))
		return err_set(e, EINVAL, "address %.60s in %.60s", address, prefix ? prefix : "");
	r->addresses[a.v6] = a;
	r->vpc[a.v6] = p;
	return 0;
}

/* A subnet that is a physical network is told with its router there. */
static int read_trunk(const struct ecs_node_interface *n, struct net_trunk *ret, struct err *e)
{
	const char *const subnets[] = {n->subnet, n->subnet6}, *const gateways[] = {n->gateway,
										    n->gateway6};

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!gateways[v6] || !subnets[v6])
			continue;
		if (!ip_address_parse(gateways[v6], &ret->gateway[v6]) ||
		    !ip_prefix_parse(subnets[v6], &ret->subnet[v6]) || n->vlan < 0 ||
		    n->vlan > UINT16_MAX)
			return err_set(e, EINVAL,
				       "subnet %.60s on a trunk, VLAN %lld, gateway %.60s",
				       subnets[v6], (long long)n->vlan, gateways[v6]);
		ret->vlan = (uint16_t)n->vlan;
	}
	return 0;
}

/* By a container that is in it: the task's network of before a restart. */
static int join_running(const struct task *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct container *c = &t->containers[i];
		auto_free char *path = xasprintf("/proc/%d/ns/net", (int)c->pid);
		int fd;

		if (!c->in_keeper || !c->pid || c->phase >= PHASE_STOPPED)
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

/* As the agent has it, or found through a container that is in it; -1: it is to be made. */
static int find_shared(struct task *t)
{
	if (t->netns_fd < 0)
		t->netns_fd = join_running(t);
	return t->netns_fd;
}

static int attach_task(const struct container *c, struct err *e)
{
	struct task *t = c->task;
	const struct ecs_node_interface *n = t->wanted.network_interface;
	auto_endpoint struct net_endpoint endpoint = NET_ENDPOINT_NONE;
	struct net_request request = {.id = t->id,
				      .mode = NET_AWSVPC,
				      .userns_fd = owner_of(c),
				      .reserved = c->ahead.network};

	if (!n)
		return err_set(e, EINVAL, "the task came without a network interface");
	if (n->public_address && !ip_address_parse(n->public_address, &request.public_address))
		return err_set(e, EINVAL, "public address %.60s", n->public_address);
	if (read_address(n->address, n->vpc, &request, e) < 0 ||
	    read_address(n->address6, n->vpc6, &request, e) < 0 ||
	    read_trunk(n, &request.trunk, e) < 0 ||
	    net_attach(t->agent->net, &request, &endpoint, e) < 0)
		return -e->code;
	t->netns_fd = take_fd(endpoint.netns_fd);
	return 0;
}

static int make_shared(const struct container *c, struct container_network *ret, struct err *e)
{
	const struct task *t = c->task;

	if (find_shared(c->task) < 0 &&
	    (net_detach(t->agent->net, t->id, e) < 0 || attach_task(c, e) < 0))
		return -e->code;
	if (net_find(t->agent->net, t->id, &ret->endpoint, e) != 0)
		return err_set(e, ENOENT, "the network of the task is not there");
	ret->netns_fd = t->netns_fd;
	return 0;
}

int network_make(struct container *c, struct container_network *ret, struct err *e)
{
	*ret = (struct container_network)NETWORK_NONE;
	if (str_eq(mode_of(c->task), "host"))
		return 0;
	ret->has_endpoint = true;
	return is_awsvpc(c->task) ? make_shared(c, ret, e) : make_own(c, ret, e);
}

bool network_may_wait(const struct container *c, enum net_mode *ret)
{
	if (is_awsvpc(c->task))
		*ret = NET_AWSVPC;
	else
		*ret = has_no_network(c) ? NET_NONE : NET_BRIDGE;
	return !str_eq(mode_of(c->task), "host") && !owner_of(c);
}

int network_check_rights(struct container *c, struct err *e)
{
	const char *capability = capability_of(c->def);
	const char *parameter = hidden_from_any(c);
	struct task *t = c->task;

	if (!capability)
		return 0;
	if (parameter)
		return err_set(e, ENOTSUP, "capability %s beside systemControls %s", capability,
			       parameter);
	if (is_awsvpc(t) && find_shared(t) >= 0 && !belongs_to(t->netns_fd, t->ids.userns_fd))
		return err_set(e, ENOTSUP, "capability %s over a network that is there already",
			       capability);
	return 0;
}

int network_remove(const struct container *c, struct err *e)
{
	return net_detach(c->task->agent->net, c->id, e);
}

int network_remove_task(struct task *t, struct err *e)
{
	close_fd(&t->netns_fd);
	return net_detach(t->agent->net, t->id, e);
}

const char **network_live(const struct agent *a, size_t *ret_count)
{
	const struct service *const services[] = {a->metadata, a->resolver};
	const char **live = xcalloc(
		a->containers.count + a->tasks.count + 1 + ARRAY_COUNT(services), sizeof(*live));
	struct container *c;
	struct task *t;
	size_t count = 0;

	for (size_t i = 0; map_next(&a->containers, &i, &c);)
		if (c->in_keeper && c->phase < PHASE_CLEAN)
			live[count++] = c->id;
	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		if (is_awsvpc(t) && !t->clean && !task_is_over(t))
			live[count++] = t->id;
	for (size_t i = 0; i < ARRAY_COUNT(services); i++)
		if (service_live(services[i]))
			live[count++] = service_live(services[i]);
	*ret_count = count;
	return live;
}

bool network_source(const struct container *c, char ret[NET_ADDRESS_MAX])
{
	const struct task *t = c->task;
	struct net_endpoint own = NET_ENDPOINT_NONE;
	struct err ignored;

	*ret = '\0';
	if (str_eq(mode_of(t), "host"))
		return true;
	if (net_find(t->agent->net, is_awsvpc(t) ? t->id : c->id, &own, &ignored) == 0)
		(void)snprintf(ret, NET_ADDRESS_MAX, "%s", own.source);
	return *ret != '\0';
}

bool network_comes_from(const struct task *t, const char *address)
{
	const struct ecs_node_interface *n = t->wanted.network_interface;
	struct net_endpoint own = NET_ENDPOINT_NONE;
	struct err ignored;

	if (!n || (n->address && str_eq(n->address, address)) ||
	    (n->address6 && str_eq(n->address6, address)))
		return n != NULL;
	return !n->address && net_find(t->agent->net, t->id, &own, &ignored) == 0 &&
	       str_eq(own.source, address);
}

bool network_private_name(const struct task *t, char ret[ECS_PRIVATE_NAME_SIZE])
{
	const struct ecs_node_interface *n = t->wanted.network_interface;
	char region[ECS_REGION_SIZE];
	struct ip_prefix address;

	if (!n || !n->address || !ip_address_parse(n->address, &address) || address.v6)
		return false;
	ecs_arn_region(t->wanted.task_arn, region);
	ecs_private_name(ip_v4(&address), region, ret);
	return true;
}

/* ---- told ---- */

static void add_counters(const struct task *t, const char *id, json_t *doc)
{
	struct net_counters n;
	struct err ignored;

	if (net_counters(t->agent->net, id, &n, &ignored) != 0)
		return;
	(void)json_object_update_new(
		doc,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "rxBytes", (json_int_t)n.rx_bytes,
			  "rxPackets", (json_int_t)n.rx_packets, "rxDropped",
			  (json_int_t)n.rx_dropped, "txBytes", (json_int_t)n.tx_bytes, "txPackets",
			  (json_int_t)n.tx_packets, "txDropped", (json_int_t)n.tx_dropped));
}

/* An endpoint, and a process in it if one runs. */
static json_t *describe_endpoint(const struct task *t, const char *id, const struct container *c)
{
	struct net_endpoint ep = NET_ENDPOINT_NONE;
	struct err ignored;
	json_t *doc;

	if (net_find(t->agent->net, id, &ep, &ignored) != 0 || ep.mode == NET_NONE)
		return NULL;
	doc = json_pack("{s:s, s:s, s:s, s:s}", "device", "eth0", "address", ep.address,
			"macAddress", ep.mac, "link", ep.link);
	if (*ep.address6)
		(void)json_object_set_new(doc, "address6", json_string(ep.address6));
	add_counters(t, id, doc);
	if (c && c->pid && c->phase < PHASE_STOPPED) {
		(void)json_object_set_new(doc, "pid", json_integer(c->pid));
		(void)json_object_set_new(doc, "startTime",
					  json_integer((json_int_t)proc_start_time(c->pid)));
	}
	return doc;
}

static const struct container *running_one(const struct task *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->containers[i].pid && t->containers[i].phase < PHASE_STOPPED)
			return &t->containers[i];
	return NULL;
}

json_t *network_describe(const struct task *t)
{
	json_t *list = json_array(), *doc;

	if (is_awsvpc(t) && (doc = describe_endpoint(t, t->id, running_one(t))))
		(void)json_array_append_new(list, doc);
	for (size_t i = 0; !is_awsvpc(t) && i < t->count; i++) {
		const struct container *c = &t->containers[i];

		doc = describe_endpoint(t, c->id, c);
		if (!doc)
			continue;
		(void)json_object_set_new(doc, "container", json_string(c->def->name));
		(void)json_array_append_new(list, doc);
	}
	return list;
}

/* ---- security groups ---- */

static int set_group(struct agent *a, const struct ecs_node_group *g, struct err *e)
{
	auto_free struct net_rule *rules = xcalloc(g->rules.count + 1, sizeof(*rules));
	const struct net_group group = {.id = g->group_id,
					.rules = rules,
					.rule_count = g->rules.count,
					.cut = g->cut,
					.members = {.joined = (const char *const *)g->members.items,
						    .joined_count = g->members.count}};

	for (size_t i = 0; i < g->rules.count; i++) {
		const struct ecs_node_rule *r = JS_AT(g->rules, struct ecs_node_rule, i);

		rules[i] = (struct net_rule){.egress = r->egress,
					     .protocol = (int)r->protocol,
					     .from_port = (int)r->from_port,
					     .to_port = (int)r->to_port,
					     .group = r->group};
		if (!r->group && (!r->cidr || !ip_prefix_parse(r->cidr, &rules[i].prefix)))
			return err_set(e, EINVAL, "security group %s: rule %zu: '%.60s'",
				       g->group_id, i, r->cidr ? r->cidr : "");
	}
	return net_group_set(a->net, &group, e);
}

static int take_group(struct agent *a, const struct ecs_node_group *g, struct err *e)
{
	if (g->gone) {
		net_group_remove(a->net, g->group_id);
		return records_drop_group(a->records, g->group_id, e);
	}
	if (set_group(a, g, e) < 0)
		return -e->code;
	return records_put_group(a->records, g, e);
}

static int take_change(struct agent *a, const struct ecs_node_membership *m, struct err *e)
{
	const struct net_members members = {.joined = (const char *const *)m->joined.items,
					    .joined_count = m->joined.count,
					    .left = (const char *const *)m->left.items,
					    .left_count = m->left.count};

	if (net_group_change(a->net, m->group_id, &members, e) < 0)
		return -e->code;
	return records_change_members(a->records, m, e);
}

struct stale {
	const struct ecs_node_groups *full;
	struct agent *agent;
	struct arena arena;
	struct js_strings ids;
	size_t capacity;
};

static int note_stale(void *ctx, const struct ecs_node_group *g, struct err *e)
{
	struct stale *s = ctx;

	(void)e;
	for (size_t i = 0; i < s->full->groups.count; i++)
		if (str_eq(JS_AT(s->full->groups, struct ecs_node_group, i)->group_id, g->group_id))
			return 0;
	s->ids.items = xgrow(s->ids.items, s->ids.count, &s->capacity, sizeof(char *));
	s->ids.items[s->ids.count++] = arena_strdup(&s->arena, g->group_id);
	return 0;
}

/* What is not in the full list should not be. */
static int drop_others(struct agent *a, const struct ecs_node_groups *full, struct err *e)
{
	struct stale s = {.full = full, .agent = a};
	int r = records_each_group(a->records, note_stale, &s, e);

	for (size_t i = 0; r == 0 && i < s.ids.count; i++) {
		const struct ecs_node_group gone = {.group_id = s.ids.items[i], .gone = true};

		r = take_group(a, &gone, e);
	}
	free(s.ids.items);
	arena_done(&s.arena);
	return r;
}

int network_take_groups(struct agent *a, const struct ecs_node_groups *message, struct err *e)
{
	if (message->full && drop_others(a, message, e) < 0)
		return -e->code;
	for (size_t i = 0; i < message->groups.count; i++)
		if (take_group(a, JS_AT(message->groups, struct ecs_node_group, i), e) < 0)
			return -e->code;
	for (size_t i = 0; i < message->changes.count; i++)
		if (take_change(a, JS_AT(message->changes, struct ecs_node_membership, i), e) < 0)
			return -e->code;
	return net_groups_commit(a->net, e);
}

static int load_group(void *ctx, const struct ecs_node_group *g, struct err *e)
{
	return set_group(ctx, g, e);
}

int network_load_groups(struct agent *a, struct err *e)
{
	if (records_each_group(a->records, load_group, a, e) < 0)
		return -e->code;
	return net_groups_commit(a->net, e);
}
