/* agent/links.c - what a container is told of those that it links to
 * SPDX-License-Identifier: Apache-2.0
 *
 * A link is one way, between containers of one task in mode bridge.  The one
 * that links is made when the others run, and finds them by their names in its
 * hosts file and by environment variables, which are those of Docker's links:
 *
 *   DB_NAME=/web/db                 DB_PORT=tcp://172.28.0.7:5432
 *   DB_PORT_5432_TCP=tcp://172.28.0.7:5432      and ..._ADDR, _PORT, _PROTO
 *   DB_PORT_8000_UDP_START=..., DB_PORT_8010_UDP_END=...   three or more in a row
 *   DB_ENV_MODE=fast                its own variables
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/text.h"

#define ROW_MIN  3   /* ports in a row that are told as one, too */
#define ROW_TOLD 256 /* of a longer row only these are told one by one */

static struct container *container_named(const struct task *t, const char *name, size_t len)
{
	for (size_t i = 0; i < t->count; i++)
		if (strlen(t->containers[i].def->name) == len &&
		    strncmp(t->containers[i].def->name, name, len) == 0)
			return &t->containers[i];
	return NULL;
}

/* Whom the link leads to; NULL: nobody, which the server does not let happen. */
static struct container *target_of(const struct container *c, size_t i, const char **ret_alias)
{
	const char *link = c->def->links.items[i];
	size_t len = ecs_link_name_len(link);

	*ret_alias = link[len] ? link + len + 1 : link;
	return container_named(c->task, link, len);
}

bool links_may_be_made(const struct container *c)
{
	const char *alias;

	for (size_t i = 0; i < c->def->links.count; i++) {
		const struct container *to = target_of(c, i, &alias);

		if (to && to->phase < PHASE_RUNNING)
			return false;
	}
	return true;
}

int links_check(const struct container *c, struct err *e)
{
	const char *alias;

	for (size_t i = 0; i < c->def->links.count; i++) {
		const struct container *to = target_of(c, i, &alias);

		if (!to || to->phase != PHASE_RUNNING)
			return err_set(
				e, ESRCH, "Cannot link to a non running container: /%s AS /%s/%s",
				to ? to->def->name : c->def->links.items[i], c->def->name, alias);
	}
	return 0;
}

static bool address_of(const struct container *to, struct net_endpoint *ret)
{
	struct err ignored;

	return net_find(to->task->agent->net, to->id, ret, &ignored) == 0 && ret->address[0];
}

void links_write_hosts(const struct container *c, struct buf *b)
{
	for (size_t i = 0; i < c->def->links.count; i++) {
		struct net_endpoint endpoint;
		const char *alias;
		const struct container *to = target_of(c, i, &alias);

		if (!to || !address_of(to, &endpoint))
			continue;
		buf_printf(b, "%s\t%s", endpoint.address, alias);
		if (to->def->hostname && *to->def->hostname)
			buf_printf(b, " %s", to->def->hostname);
		if (strcmp(alias, to->def->name) != 0)
			buf_printf(b, " %s", to->def->name);
		buf_puts(b, "\n");
	}
}

/* ---- ports ---- */

int link_port_compare(const void *a, const void *b)
{
	const struct link_port *x = a, *y = b;

	if (x->udp != y->udp)
		return x->udp ? 1 : -1;
	return x->port < y->port ? -1 : x->port > y->port;
}

static void add_port(struct link_ports *l, uint32_t port, bool udp)
{
	l->items = xgrow(l->items, l->count, &l->capacity, sizeof(*l->items));
	l->items[l->count++] = (struct link_port){.port = (uint16_t)port, .udp = udp};
}

/* Those of the definition and those that the image exposes, "80/tcp"; sorted, each once. */
static void collect_ports(const struct container *to, const struct image *image,
			  struct link_ports *ret)
{
	const struct js_list *mappings = &to->def->port_mappings;
	size_t kept = 0;

	for (size_t i = 0; i < mappings->count; i++) {
		const struct ecs_port_mapping *p = JS_AT(*mappings, struct ecs_port_mapping, i);
		uint16_t first, last;

		ecs_container_ports(p, &first, &last);
		for (uint32_t port = first; port <= last; port++)
			add_port(ret, port, str_eq(p->protocol, "udp"));
	}
	for (size_t i = 0; image && i < image->ports.count; i++) {
		const char *text = image->ports.items[i];
		unsigned long port = strtoul(text, NULL, 10);

		if (port && port <= UINT16_MAX)
			add_port(ret, (uint32_t)port, str_ends(text, "/udp"));
	}
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items), link_port_compare);
	for (size_t i = 0; i < ret->count; i++)
		if (!kept || link_port_compare(&ret->items[kept - 1], &ret->items[i]) != 0)
			ret->items[kept++] = ret->items[i];
	ret->count = kept;
}

/* ---- variables ---- */

struct variables {
	struct arena *arena;
	struct js_strings list;
	size_t capacity;
	char *name; /* of the link, as in variables: "DB", "MY_DB" */
	const char *address;
};

static void add_text(struct variables *v, char *text)
{
	v->list.items = xgrow(v->list.items, v->list.count, &v->capacity, sizeof(char *));
	v->list.items[v->list.count++] = text;
}

#define add(v, ...) add_text(v, arena_printf((v)->arena, __VA_ARGS__))

/* "DB_PORT_80_TCP" */
static char *port_name(const struct variables *v, const struct link_port *p)
{
	return xasprintf("%s_PORT_%u_%s", v->name, p->port, p->udp ? "UDP" : "TCP");
}

static const char *protocol_of(const struct link_port *p)
{
	return p->udp ? "udp" : "tcp";
}

static void add_row(struct variables *v, const struct link_port *first,
		    const struct link_port *last)
{
	auto_free char *start = port_name(v, first), *end = port_name(v, last);

	add(v, "%s_START=%s://%s:%u", start, protocol_of(first), v->address, first->port);
	add(v, "%s_ADDR=%s", start, v->address);
	add(v, "%s_PROTO=%s", start, protocol_of(first));
	add(v, "%s_PORT_START=%u", start, first->port);
	add(v, "%s_END=%s://%s:%u", end, protocol_of(last), v->address, last->port);
	add(v, "%s_PORT_END=%u", end, last->port);
}

static void add_one_port(struct variables *v, const struct link_port *p)
{
	auto_free char *name = port_name(v, p);

	add(v, "%s=%s://%s:%u", name, protocol_of(p), v->address, p->port);
	add(v, "%s_ADDR=%s", name, v->address);
	add(v, "%s_PORT=%u", name, p->port);
	add(v, "%s_PROTO=%s", name, protocol_of(p));
}

static void add_ports(struct variables *v, const struct link_ports *ports)
{
	for (size_t i = 0, end; i < ports->count; i = end) {
		const struct link_port *p = &ports->items[i];

		for (end = i + 1; end < ports->count && p[end - i].udp == p->udp &&
				  p[end - i].port == p->port + (end - i);)
			end++;
		if (end - i >= ROW_MIN)
			add_row(v, p, &p[end - i - 1]);
		for (size_t n = i; n < end && n < i + ROW_TOLD; n++)
			add_one_port(v, &ports->items[n]);
	}
	if (ports->count) /* TCP before UDP, the lowest first */
		add(v, "%s_PORT=%s://%s:%u", v->name, protocol_of(ports->items), v->address,
		    ports->items->port);
}

static bool is_told(const char *variable)
{
	return !str_starts(variable, "HOME=") && !str_starts(variable, "PATH=");
}

/* The image's, unless the definition has them, too. */
static void add_environment(struct variables *v, const struct ecs_container_definition *d,
			    const struct js_strings *of_image)
{
	for (size_t i = 0; i < of_image->count; i++) {
		const char *text = of_image->items[i];
		size_t len = strcspn(text, "=");
		bool hidden = !is_told(text);

		for (size_t k = 0; k < d->environment.count; k++) {
			const char *name = JS_AT(d->environment, struct ecs_key_value, k)->name;

			hidden |= strlen(name) == len && strncmp(name, text, len) == 0;
		}
		if (!hidden)
			add(v, "%s_ENV_%s", v->name, text);
	}
	for (size_t i = 0; i < d->environment.count; i++) {
		const struct ecs_key_value *x = JS_AT(d->environment, struct ecs_key_value, i);
		auto_free char *text = xasprintf("%s=%s", x->name, x->value ? x->value : "");

		if (is_told(text))
			add(v, "%s_ENV_%s", v->name, text);
	}
}

static char *variable_name(const char *alias)
{
	char *name = xstrdup(alias);

	for (char *p = name; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
	return name;
}

struct js_strings link_variables(const struct link_told *told, struct arena *a)
{
	auto_free char *name = variable_name(told->alias);
	struct variables v = {.arena = a, .name = name, .address = told->address};
	struct js_strings list = {0};

	add_ports(&v, told->ports);
	add(&v, "%s_NAME=/%s/%s", name, told->from, told->alias);
	add_environment(&v, told->to, told->image_env);

	list.items = arena_alloc(a, (v.list.count + 1) * sizeof(char *));
	list.count = v.list.count;
	memcpy(list.items, v.list.items, v.list.count * sizeof(char *));
	free(v.list.items);
	return list;
}

struct js_strings links_variables(const struct container *c, size_t i, struct arena *a)
{
	static const struct js_strings none = {0};
	struct link_told told = {.from = c->def->name};
	const struct container *to = target_of(c, i, &told.alias);
	struct link_ports ports = {0};
	struct net_endpoint endpoint;
	struct image *image = NULL;
	struct js_strings list;
	struct err ignored;

	if (!to || !address_of(to, &endpoint))
		return none;
	if (image_find(c->task->agent->images, to->def->image, &image, &ignored) != 0)
		image = NULL; /* it is told without what the image would say */
	collect_ports(to, image, &ports);
	told.address = endpoint.address;
	told.to = to->def;
	told.ports = &ports;
	told.image_env = image ? &image->env : &none;
	list = link_variables(&told, a);
	free(ports.items);
	image_free(image);
	return list;
}
