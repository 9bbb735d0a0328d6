/* scheduler/core/place.c - what a container instance has left
 * SPDX-License-Identifier: Apache-2.0
 *
 * A task takes its resources when it is placed and gives them back when its
 * node has said STOPPED, which it says only after the last process is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "scheduler/core/internal.h"

enum { TCP, UDP };

static int protocol_of(const struct ecs_port_mapping *p)
{
	return str_eq(p->protocol, "udp") ? UDP : TCP;
}

static bool port_is_taken(const struct instance *i, int protocol, int64_t port)
{
	return i->ports[protocol] && (i->ports[protocol][port / 64] >> (port % 64) & 1);
}

static void set_port(struct instance *i, int protocol, int64_t port, bool taken)
{
	uint64_t bit = 1ULL << (port % 64);

	if (!i->ports[protocol])
		i->ports[protocol] = xcalloc(PORT_WORDS, sizeof(uint64_t));
	if (taken)
		i->ports[protocol][port / 64] |= bit;
	else
		i->ports[protocol][port / 64] &= ~bit;
}

/* One host port after the other that the definition names; NULL after the last. */
static const struct ecs_port_mapping *next_static_port(const struct definition *d,
						       size_t *container, size_t *port)
{
	const struct js_list *containers = &d->parsed.containers;

	if (str_eq(d->parsed.network_mode, "awsvpc"))
		return NULL; /* they are ports of the task's own address */

	for (; *container < containers->count; (*container)++, *port = 0) {
		const struct js_list *ports = &JS_AT(*containers, struct ecs_container_definition,
						     *container)
						       ->port_mappings;

		while (*port < ports->count) {
			const struct ecs_port_mapping *p = JS_AT(*ports, struct ecs_port_mapping,
								 (*port)++);

			if (p->host_port)
				return p;
		}
	}
	return NULL;
}

static bool has_attribute(const struct instance *i, const char *name, const char *value)
{
	const char *has = attribute_of(i, name);

	return has && (!value || strcmp(has, value) == 0);
}

static bool attributes_fit(const struct instance *i, const struct definition *d)
{
	const char *cpu = d->parsed.runtime_platform.cpu_architecture;
	json_t *required;
	size_t n;

	if (cpu &&
	    !has_attribute(i, "ecs.cpu-architecture", str_eq(cpu, "ARM64") ? "arm64" : "x86_64"))
		return false;
	json_array_foreach (json_object_get(d->record.doc, "requiresAttributes"), n, required)
		if (!has_attribute(i, doc_string(required, "name"), doc_string(required, "value")))
			return false;
	return true;
}

const char *place_refusal(const struct instance *i, const struct definition *d,
			  const struct ecs_demand *demand)
{
	const struct ecs_port_mapping *p;
	size_t container = 0, port = 0;

	if (!i->connected)
		return "AGENT";
	if (!str_eq(doc_string(i->record.doc, "status"), "ACTIVE"))
		return "INACTIVE";
	if (!attributes_fit(i, d))
		return "ATTRIBUTE";
	if (i->cpu_units - i->cpu_used < demand->cpu_units)
		return "RESOURCE:CPU";
	if (i->memory_mib - i->memory_used < demand->memory_mib)
		return "RESOURCE:MEMORY";
	while ((p = next_static_port(d, &container, &port)))
		if (port_is_taken(i, protocol_of(p), p->host_port))
			return protocol_of(p) == UDP ? "RESOURCE:PORTS_UDP" : "RESOURCE:PORTS";
	return NULL;
}

static void account(struct instance *i, const struct definition *d, const struct ecs_demand *demand,
		    bool take)
{
	const struct ecs_port_mapping *p;
	size_t container = 0, port = 0;

	i->cpu_used += take ? demand->cpu_units : -demand->cpu_units;
	i->memory_used += take ? demand->memory_mib : -demand->memory_mib;
	while ((p = next_static_port(d, &container, &port)))
		set_port(i, protocol_of(p), p->host_port, take);
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
