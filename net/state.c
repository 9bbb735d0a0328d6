/* net/state.c - the truth about endpoints, in files
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/text.h"

#define FILE_SIZE_MAX  65536
#define HOST_SIZE_MAX  (2 << 20)
#define QUIET_MAX      65536
#define JSON_DEPTH_MAX 4

const struct ip_prefix net_local[NET_FAMILIES] = {
	{.address = {169, 254}, .length = 16},
	{.v6 = true, .address = {0xfd, 0x00, 0x0e, 0xc2}, .length = 32},
};

static const char *const mode_names[] = {
	[NET_NONE] = "none", [NET_BRIDGE] = "bridge", [NET_AWSVPC] = "awsvpc"};
static const char *const protocol_names[] = {[NET_TCP] = "tcp", [NET_UDP] = "udp"};

const char *net_protocol_name(enum net_protocol protocol)
{
	return protocol_names[protocol];
}

/* ---- texts ---- */

struct port_text {
	uint32_t container_port, host_port, count;
	char *protocol;
};

static const struct js_field port_fields[] = {
	{"containerPort", JS_U32, offsetof(struct port_text, container_port), JS_REQUIRED, NULL},
	{"hostPort", JS_U32, offsetof(struct port_text, host_port), JS_REQUIRED, NULL},
	{"count", JS_U32, offsetof(struct port_text, count), 0, NULL},
	{"protocol", JS_STRING, offsetof(struct port_text, protocol), JS_REQUIRED, NULL},
};
static const struct js_shape port_shape = JS_SHAPE("Port", struct port_text, port_fields);

struct endpoint_text {
	char *mode, *address, *public_address, *service[NET_FAMILIES];
	struct js_strings own, vpc; /* of each family at most one */
	struct js_list ports;
	uint32_t vlan;
	char *subnet[NET_FAMILIES], *gateway[NET_FAMILIES]; /* on the trunk */
};

static const struct js_field endpoint_fields[] = {
	{"mode", JS_STRING, offsetof(struct endpoint_text, mode), JS_REQUIRED, NULL},
	{"address", JS_STRING, offsetof(struct endpoint_text, address), 0, NULL},
	{"public", JS_STRING, offsetof(struct endpoint_text, public_address), 0, NULL},
	{"service", JS_STRING, offsetof(struct endpoint_text, service[0]), 0, NULL},
	{"service6", JS_STRING, offsetof(struct endpoint_text, service[1]), 0, NULL},
	{"own", JS_STRINGS, offsetof(struct endpoint_text, own), 0, NULL},
	{"vpc", JS_STRINGS, offsetof(struct endpoint_text, vpc), 0, NULL},
	{"ports", JS_OBJECTS, offsetof(struct endpoint_text, ports), 0, &port_shape},
	{"vlan", JS_U32, offsetof(struct endpoint_text, vlan), 0, NULL},
	{"subnet", JS_STRING, offsetof(struct endpoint_text, subnet[0]), 0, NULL},
	{"gateway", JS_STRING, offsetof(struct endpoint_text, gateway[0]), 0, NULL},
	{"subnet6", JS_STRING, offsetof(struct endpoint_text, subnet[1]), 0, NULL},
	{"gateway6", JS_STRING, offsetof(struct endpoint_text, gateway[1]), 0, NULL},
};
static const struct js_shape endpoint_shape = JS_SHAPE("Endpoint", struct endpoint_text,
						       endpoint_fields);

struct host_text {
	char *block;
	bool forwarding[NET_FAMILIES];
	struct js_strings quiet[NET_FAMILIES], self;
};

static const struct js_field host_fields[] = {
	{"block", JS_STRING, offsetof(struct host_text, block), JS_REQUIRED, NULL},
	{"forwardingIsOurs", JS_BOOL, offsetof(struct host_text, forwarding[0]), 0, NULL},
	{"forwarding6IsOurs", JS_BOOL, offsetof(struct host_text, forwarding[1]), 0, NULL},
	{"quietLinks", JS_STRINGS, offsetof(struct host_text, quiet[0]), 0, NULL},
	{"quietLinks6", JS_STRINGS, offsetof(struct host_text, quiet[1]), 0, NULL},
	{"self", JS_STRINGS, offsetof(struct host_text, self), 0, NULL},
};
static const struct js_shape host_shape = JS_SHAPE("Host", struct host_text, host_fields);

static char *encode(const struct js_shape *shape, const void *object)
{
	auto_json json_t *doc = js_encode(shape, object);

	return js_dump(doc);
}

/* The place of 'text' among 'names', or -1. */
static int name_index(const char *const *names, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(names[i], text))
			return (int)i;
	return -1;
}

void endpoint_done(struct endpoint *ep)
{
	free(ep->ports);
	ep->ports = NULL;
	ep->port_count = 0;
}

bool endpoint_has_v6_alone(const struct endpoint *ep)
{
	return ep->mode == NET_AWSVPC && !ep->own[0].length;
}

bool trunk_is_on(const struct net_trunk *t)
{
	return t->subnet[0].length || t->subnet[1].length;
}

bool endpoint_id_ok(const char *id)
{
	size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

	return len && len <= NET_ID_MAX && !id[len];
}

static struct js_strings prefixes_encode(const struct ip_prefix p[NET_FAMILIES], struct arena *a)
{
	struct js_strings list = {.items = arena_alloc(a, NET_FAMILIES * sizeof(char *))};
	char text[IP_TEXT_MAX];

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!p[v6].length)
			continue;
		ip_prefix_format(&p[v6], text);
		list.items[list.count++] = arena_strdup(a, text);
	}
	return list;
}

static int prefixes_decode(const struct js_strings *list, struct ip_prefix ret[NET_FAMILIES],
			   struct err *e)
{
	for (size_t i = 0; i < list->count; i++) {
		struct ip_prefix p;

		if (!ip_prefix_parse(list->items[i], &p) || !p.length || ret[p.v6].length)
			return err_set(e, EINVAL, "prefix '%.60s'", list->items[i]);
		ret[p.v6] = p;
	}
	return 0;
}

char *endpoint_encode(const struct endpoint *ep)
{
	auto_arena struct arena a = {0};
	struct port_text *ports = arena_alloc(&a, (ep->port_count + 1) * sizeof(*ports));
	char address[NET_ADDRESS_MAX] = "", public_address[IP_TEXT_MAX],
	     service[NET_FAMILIES][IP_TEXT_MAX], subnet[NET_FAMILIES][IP_TEXT_MAX],
	     gateway[NET_FAMILIES][IP_TEXT_MAX];
	struct endpoint_text text = {.mode = arena_strdup(&a, mode_names[ep->mode]),
				     .own = prefixes_encode(ep->own, &a),
				     .vpc = prefixes_encode(ep->vpc, &a),
				     .ports = {.items = ports, .count = ep->port_count}};

	if (ep->address) {
		address_format(ep->address, address, sizeof(address));
		text.address = address;
	}
	if (ep->public_address.length) {
		ip_address_format(&ep->public_address, public_address);
		text.public_address = public_address;
	}
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!ep->service[v6].length)
			continue;
		ip_address_format(&ep->service[v6], service[v6]);
		text.service[v6] = service[v6];
	}
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!ep->trunk.subnet[v6].length)
			continue;
		ip_prefix_format(&ep->trunk.subnet[v6], subnet[v6]);
		ip_address_format(&ep->trunk.gateway[v6], gateway[v6]);
		text.subnet[v6] = subnet[v6];
		text.gateway[v6] = gateway[v6];
		text.vlan = ep->trunk.vlan;
	}
	for (size_t i = 0; i < ep->port_count; i++)
		ports[i] = (struct port_text){
			.container_port = ep->ports[i].container_port,
			.host_port = ep->ports[i].host_port,
			.count = ep->ports[i].count > 1 ? ep->ports[i].count : 0,
			.protocol = arena_strdup(&a, protocol_names[ep->ports[i].protocol])};
	return encode(&endpoint_shape, &text);
}

static int decode_port(const struct port_text *text, struct net_port *ret, struct err *e)
{
	int protocol = name_index(protocol_names, ARRAY_COUNT(protocol_names), text->protocol);
	uint32_t count = text->count ? text->count : 1;

	if (protocol < 0)
		return err_set(e, EINVAL, "protocol '%.20s'", text->protocol);
	if (!text->container_port || text->container_port > UINT16_MAX || !text->host_port ||
	    text->host_port > UINT16_MAX || count > UINT16_MAX ||
	    text->container_port + count - 1 > UINT16_MAX ||
	    text->host_port + count - 1 > UINT16_MAX)
		return err_set(e, EINVAL, "%u ports from %u:%u", count, text->host_port,
			       text->container_port);
	*ret = (struct net_port){.container_port = (uint16_t)text->container_port,
				 .host_port = (uint16_t)text->host_port,
				 .count = count,
				 .protocol = (enum net_protocol)protocol};
	return 0;
}

static int decode_trunk(const struct endpoint_text *t, struct net_trunk *ret, struct err *e)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct ip_prefix *subnet = &ret->subnet[v6], *gateway = &ret->gateway[v6];

		if (!t->subnet[v6])
			continue;
		if (!ip_prefix_parse(t->subnet[v6], subnet) || subnet->v6 != v6 ||
		    !subnet->length || !t->gateway[v6] ||
		    !ip_address_parse(t->gateway[v6], gateway) || gateway->v6 != v6 ||
		    t->vlan > UINT16_MAX)
			return err_set(e, EINVAL, "subnet '%.60s' of VLAN %u", t->subnet[v6],
				       t->vlan);
		ret->vlan = (uint16_t)t->vlan;
	}
	return 0;
}

int endpoint_decode(const char *text, size_t size, const char *id, struct endpoint *ret,
		    struct err *e)
{
	auto_arena struct arena a = {0};
	auto_free struct net_port *ports = NULL;
	struct endpoint_text t;
	struct endpoint ep = {0};
	int mode;

	if (js_decode_text(text, size, &endpoint_shape, &a, &t, e) < 0)
		return -e->code;
	mode = name_index(mode_names, ARRAY_COUNT(mode_names), t.mode);
	if (mode < 0)
		return err_set(e, EINVAL, "mode '%.20s'", t.mode);
	if (t.address && !address_parse(t.address, &ep.address))
		return err_set(e, EINVAL, "address '%.40s'", t.address);
	if ((mode != NET_NONE) != (ep.address != 0))
		return err_set(e, EINVAL, "mode %s with address '%.40s'", t.mode,
			       t.address ? t.address : "");
	if (prefixes_decode(&t.own, ep.own, e) < 0 || prefixes_decode(&t.vpc, ep.vpc, e) < 0)
		return -e->code;
	if (t.public_address &&
	    (!ip_address_parse(t.public_address, &ep.public_address) || ep.public_address.v6))
		return err_set(e, EINVAL, "public address '%.60s'", t.public_address);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (t.service[v6] &&
		    (mode != NET_BRIDGE || !ip_address_parse(t.service[v6], &ep.service[v6]) ||
		     !ip_prefix_holds(&net_local[v6], &ep.service[v6])))
			return err_set(e, EINVAL, "mode %s with service '%.60s'", t.mode,
				       t.service[v6]);
	if (mode == NET_AWSVPC ? !ep.own[0].length && !ep.own[1].length
			       : ep.own[0].length || (ep.own[1].length && mode != NET_BRIDGE))
		return err_set(e, EINVAL, "mode %s with %zu addresses of its own", t.mode,
			       t.own.count);
	if (decode_trunk(&t, &ep.trunk, e) < 0)
		return -e->code;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (ep.trunk.subnet[v6].length && !ep.own[v6].length)
			return err_set(e, EINVAL, "on a trunk without an address");
	if (t.ports.count > NET_PORTS_MAX || (t.ports.count && mode != NET_BRIDGE))
		return err_set(e, EINVAL, "%zu ports", t.ports.count);

	ports = xcalloc(t.ports.count + 1, sizeof(*ports));
	for (size_t i = 0; i < t.ports.count; i++)
		if (decode_port(JS_AT(t.ports, struct port_text, i), &ports[i], e) < 0)
			return -e->code;

	ep.mode = (enum net_mode)mode;
	ep.port_count = t.ports.count;
	ep.ports = take_ptr(ports);
	(void)snprintf(ep.id, sizeof(ep.id), "%s", id);
	*ret = ep;
	return 0;
}

void host_state_done(struct host_state *h)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		free(h->forwarding[v6].quiet);
	*h = (struct host_state){0};
}

char *host_encode(const struct host_state *h)
{
	auto_arena struct arena a = {0};
	char block[BLOCK_TEXT_MAX];
	struct host_text text = {.block = block};

	block_format(&h->block, block);
	text.self = prefixes_encode(h->self, &a);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		const struct forwarding *f = &h->forwarding[v6];
		char **names = arena_alloc(&a, (f->quiet_count + 1) * sizeof(*names));

		for (size_t i = 0; i < f->quiet_count; i++)
			names[i] = f->quiet[i];
		text.forwarding[v6] = f->is_ours;
		text.quiet[v6] = (struct js_strings){.items = names, .count = f->quiet_count};
	}
	return encode(&host_shape, &text);
}

static int check_quiet(const struct js_strings *names, struct err *e)
{
	if (names->count > QUIET_MAX)
		return err_set(e, EINVAL, "%zu quiet links", names->count);
	for (size_t i = 0; i < names->count; i++)
		if (!names->items[i][0] || strlen(names->items[i]) >= IFNAMSIZ)
			return err_set(e, EINVAL, "link name '%.40s'", names->items[i]);
	return 0;
}

static void take_forwarding(bool is_ours, const struct js_strings *names, struct forwarding *ret)
{
	ret->is_ours = is_ours;
	ret->quiet = xcalloc(names->count + 1, sizeof(*ret->quiet));
	ret->quiet_count = names->count;
	for (size_t i = 0; i < names->count; i++)
		(void)snprintf(ret->quiet[i], IFNAMSIZ, "%s", names->items[i]);
}

int host_decode(const char *text, size_t size, struct host_state *ret, struct err *e)
{
	auto_arena struct arena a = {0};
	struct host_state h = {0};
	struct host_text t;

	if (js_decode_text(text, size, &host_shape, &a, &t, e) < 0 ||
	    block_parse(t.block, &h.block, e) < 0 || check_quiet(&t.quiet[0], e) < 0 ||
	    check_quiet(&t.quiet[1], e) < 0 || prefixes_decode(&t.self, h.self, e) < 0)
		return -e->code;
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		take_forwarding(t.forwarding[v6], &t.quiet[v6], &h.forwarding[v6]);
	*ret = h;
	return 0;
}

/* ---- files ---- */

int state_open(const char *path, struct state *ret, struct err *e)
{
	auto_close int dir = -1, endpoints = -1, resting = -1;

	if (fs_open_dir(AT_FDCWD, path, 0700, &dir, e) < 0 ||
	    fs_open_dir(dir, "endpoints", 0700, &endpoints, e) < 0 ||
	    fs_open_dir(dir, "resting", 0700, &resting, e) < 0)
		return err_wrap(e, "state directory %s", path);

	*ret = (struct state){.dir_fd = take_fd(dir),
			      .endpoints_fd = take_fd(endpoints),
			      .resting_fd = take_fd(resting)};
	return 0;
}

void state_close(struct state *s)
{
	close_fd(&s->dir_fd);
	close_fd(&s->endpoints_fd);
	close_fd(&s->resting_fd);
}

int state_read_host(const struct state *s, struct host_state *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(HOST_SIZE_MAX);
	struct err why = {0};

	if (faccessat(s->dir_fd, "host", F_OK, 0) < 0 && errno == ENOENT)
		return NET_ABSENT;
	if (fs_read(s->dir_fd, "host", &b, e) < 0)
		return -e->code;
	return host_decode(buf_str(&b), b.size, ret, &why) < 0 ? NET_ABSENT : 0;
}

int state_write_host(const struct state *s, const struct host_state *h, struct err *e)
{
	auto_free char *text = host_encode(h);

	return fs_replace(s->dir_fd, "host", text, strlen(text), 0600, FS_QUICK, e);
}

/* Call on_name() for each file; one that is not wanted is removed. */
static int each_file(int dir_fd, bool (*on_name)(int dir_fd, const char *name, void *arg),
		     void *arg, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return err_sys(e, "read state directory");
	while ((errno = 0, entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		if (!on_name(dir_fd, entry->d_name, arg))
			(void)unlinkat(dir_fd, entry->d_name,
				       0); /* tried again at the next start */
	}
	return errno ? err_sys(e, "read state directory") : 0;
}

struct endpoint_list {
	struct endpoint *items;
	size_t count, capacity;
};

static bool read_endpoint(int dir_fd, const char *name, void *arg)
{
	auto_buf struct buf b = BUF_INIT(FILE_SIZE_MAX);
	struct endpoint_list *list = arg;
	struct err why = {0};

	if (!endpoint_id_ok(name) || fs_read(dir_fd, name, &b, &why) < 0)
		return false;
	list->items = xgrow(list->items, list->count, &list->capacity, sizeof(*list->items));
	if (endpoint_decode(buf_str(&b), b.size, name, &list->items[list->count], &why) < 0)
		return false;
	list->count++;
	return true;
}

int state_read_endpoints(const struct state *s, struct endpoint **ret, size_t *ret_count,
			 struct err *e)
{
	struct endpoint_list list = {0};

	if (each_file(s->endpoints_fd, read_endpoint, &list, e) < 0) {
		while (list.count)
			endpoint_done(&list.items[--list.count]);
		free(list.items);
		return -e->code;
	}
	*ret = list.items;
	*ret_count = list.count;
	return 0;
}

int state_write_endpoint(const struct state *s, const struct endpoint *ep, struct err *e)
{
	auto_free char *text = endpoint_encode(ep);

	/* Half of it cannot be read: what that is of had nothing in the kernel yet. */
	return fs_write(s->endpoints_fd, ep->id, text, strlen(text), 0600, e);
}

int state_rest_endpoint(const struct state *s, const struct endpoint *ep, struct err *e)
{
	char address[NET_ADDRESS_MAX];
	int r;

	address_format(ep->address, address, sizeof(address));
	r = ep->address ? renameat(s->endpoints_fd, ep->id, s->resting_fd, address)
			: unlinkat(s->endpoints_fd, ep->id, 0);
	if (r < 0 && errno != ENOENT)
		return err_sys(e, "remove state of endpoint %s", ep->id);
	return 0;
}

struct address_list {
	uint32_t *items;
	size_t count, capacity;
};

static bool read_resting(int dir_fd, const char *name, void *arg)
{
	struct address_list *list = arg;
	uint32_t address;

	(void)dir_fd;
	if (!address_parse(name, &address))
		return false;
	list->items = xgrow(list->items, list->count, &list->capacity, sizeof(*list->items));
	list->items[list->count++] = address;
	return true;
}

int state_read_resting(const struct state *s, uint32_t **ret, size_t *ret_count, struct err *e)
{
	struct address_list list = {0};

	if (each_file(s->resting_fd, read_resting, &list, e) < 0) {
		free(list.items);
		return -e->code;
	}
	*ret = list.items;
	*ret_count = list.count;
	return 0;
}

void state_forget_resting(const struct state *s, uint32_t address)
{
	char text[NET_ADDRESS_MAX];

	address_format(address, text, sizeof(text));
	(void)unlinkat(s->resting_fd, text, 0); /* absent is fine; else it rests once more */
}

int state_clear(const struct state *s, struct err *e)
{
	if (fs_remove_tree(s->dir_fd, "endpoints", e) < 0 ||
	    fs_remove_tree(s->dir_fd, "resting", e) < 0 ||
	    fs_remove_tree(s->dir_fd, "peers", e) < 0 ||
	    fs_remove_tree(s->dir_fd, "wireguard.key", e) < 0 ||
	    fs_remove_tree(s->dir_fd, "host", e) < 0)
		return -e->code;
	return 0;
}
