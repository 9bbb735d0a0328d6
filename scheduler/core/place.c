/* scheduler/core/place.c - what a container instance has left
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task takes its resources when it is placed and gives them back when its
 * node has said STOPPED, which it says only after the last process is gone.
 */
#include <stdlib.h>

#include "base/text.h"
#include "scheduler/core/internal.h"

/* ---- what a definition takes ---- */

static void add_host_ports(struct definition *d, const struct ecs_container_definition *c,
			   size_t *capacity)
{
	for (size_t i = 0; i < c->port_mappings.count; i++) {
		const struct ecs_port_mapping *p = JS_AT(c->port_mappings, struct ecs_port_mapping,
							 i);

		if (!p->host_port)
			continue;
		d->host_ports = xgrow(d->host_ports, d->host_port_count, capacity,
				      sizeof(*d->host_ports));
		d->host_ports[d->host_port_count++] = (struct host_port){
			.port = (uint16_t)p->host_port,
			.protocol = str_eq(p->protocol, "udp") ? PROTOCOL_UDP : PROTOCOL_TCP};
	}
}

void place_name_demand(struct definition *d)
{
	const struct js_list *containers = &d->parsed.containers;
	size_t capacity = 0;

	if (str_eq(d->parsed.network_mode, "awsvpc")) {
		d->interfaces = 1;
		return; /* ports are those of the task's own address */
	}
	for (size_t i = 0; i < containers->count; i++)
		add_host_ports(d, JS_AT(*containers, struct ecs_container_definition, i),
			       &capacity);
}

/* ---- what is left ---- */

bool place_is_open(const struct instance *i)
{
	return i->connected && i->active && !i->quiet;
}

void place_left(const struct instance *i, int32_t ret[FIELDS])
{
	ret[FIELD_CPU] = i->cpu_units - i->cpu_used;
	ret[FIELD_MEMORY] = i->memory_mib - i->memory_used;
}

const char *place_shortage(const struct instance *i, const struct definition *d,
			   const struct ecs_demand *demand)
{
	for (size_t k = 0; k < d->host_port_count; k++) {
		const struct host_port *p = &d->host_ports[k];

		if (ports_has(&i->ports[p->protocol], p->port))
			return p->protocol == PROTOCOL_UDP ? "RESOURCE:PORTS_UDP"
							   : "RESOURCE:PORTS";
	}
	if (demand->gpus && gpus_free(i) < demand->gpus)
		return "RESOURCE:GPU";
	if (d->interfaces && i->interfaces && i->interfaces - i->interfaces_used < d->interfaces)
		return "RESOURCE:ENI";
	return NULL;
}

const char *place_refusal(const struct instance *i, const struct definition *d,
			  const struct ecs_demand *demand)
{
	if (!i->connected)
		return "AGENT";
	if (!i->active)
		return "INACTIVE";
	if (i->quiet)
		return "AGENT:FLAPPING";
	if (i->cpu_units - i->cpu_used < demand->cpu_units)
		return "RESOURCE:CPU";
	if (i->memory_mib - i->memory_used < demand->memory_mib)
		return "RESOURCE:MEMORY";
	return place_shortage(i, d, demand);
}

/* ---- accounts ---- */

static void account(struct instance *i, const struct definition *d, const struct ecs_demand *demand,
		    bool take)
{
	const int sign = take ? 1 : -1;

	i->cpu_used += (int32_t)(sign * demand->cpu_units);
	i->memory_used += (int32_t)(sign * demand->memory_mib);
	if (d->interfaces)
		i->interfaces_used += sign * d->interfaces;
	for (size_t k = 0; k < d->host_port_count; k++)
		ports_set(&i->ports[d->host_ports[k].protocol], d->host_ports[k].port, take);
	table_update(&i->cluster->table, i);
}

void place_take(struct instance *i, const struct definition *d, const struct ecs_demand *demand)
{
	account(i, d, demand, true);
}

void place_give_back(struct instance *i, const struct definition *d,
		     const struct ecs_demand *demand)
{
	account(i, d, demand, false);
}
