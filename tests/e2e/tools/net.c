/* tests/e2e/tools/net.c - the net module on a string, for end-to-end tests
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads one command a line and answers with one line: "ok ..." or
 * "error ERRNO MESSAGE".
 *
 *   open NAME STATE_DIR [CIDR [FIRST LAST]] [transport=auto|routes|vxlan|wireguard] [node=ADDRESS] [trunk=LINK]
 *        [ipv6-forwarding=no]
 *   attach ID MODE [tcp:CONTAINER[-LAST]:HOST ...] [own=ADDRESS ...] [vpc=PREFIX ...]
 *          [public=ADDRESS] [service=ADDRESS] [wire=VLAN,SUBNET,GATEWAY]
 *                                            ok address=A address6=A gateway=G link=L mac=M ports=H,.. netns=FD held=FD,..
 *   find ID                                  ok ..., or ok absent
 *   hold ID                                  ok ... held=FD,..; drop closes these too
 *   detach ID        drop ID (close its descriptors)
 *   sweep [ID ...]   warnings    destroy    close
 *   change-seen MS   wait for another's change of nftables, and see to it: ok RESULT
 *   group ID [cut] [in=PROTOCOL,FROM,TO,WHOM ...] [out=...] [joined=ADDRESS ...]
 *   change ID [joined=ADDRESS ...] [left=ADDRESS ...]
 *   ungroup ID       commit
 *   peer ID address=ADDRESS ... [prefix=PREFIX ...] [key=KEY]    ok routes|vxlan|wireguard
 *   self [ADDRESS ...]     the host's own
 *   unpeer ID        peers-only [ID ...]        key (ok KEY)
 *   flows ADDRESS ...      open flow logs of these;  flows-end, flows-close
 *   flows-read [sample]    ok AT,SOURCE,DESTINATION,SPORT,DPORT,PROTOCOL,ACCEPTED,PACKETS,BYTES ...; "lost"
 *   groups COUNT     a benchmark: COUNT members of a group leave for another: the time in microseconds
 *   bench COUNT      attach and detach, one after the other: ok and the times in microseconds
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/net.h"

#define WORDS_MAX     4096
#define ENDPOINTS_MAX 4096

static struct net *net;

/* What attach gave, until drop. */
static struct kept {
	char id[NET_ID_MAX + 1];
	struct net_endpoint endpoint;
} * kept[ENDPOINTS_MAX];

static void print_endpoint(const struct net_endpoint *ep)
{
	printf("ok address=%s address6=%s source=%s gateway=%s link=%s mac=%s lost=%d ports=",
	       ep->address, ep->address6, ep->source, ep->gateway, ep->link, ep->mac, ep->lost);
	for (size_t i = 0; i < ep->port_count; i++) {
		printf("%s%u", i ? "," : "", ep->ports[i].host_port);
		if (ep->ports[i].count > 1)
			printf("-%u", ep->ports[i].host_port + ep->ports[i].count - 1);
	}
	printf(" netns=%d held=", ep->netns_fd);
	for (size_t i = 0; i < ep->held_count; i++)
		printf("%s%d", i ? "," : "", ep->held_fds[i]);
	printf("\n");
}

static struct kept **slot_of(const char *id)
{
	for (size_t i = 0; i < ENDPOINTS_MAX; i++)
		if (id ? kept[i] && str_eq(kept[i]->id, id) : !kept[i])
			return &kept[i];
	return NULL;
}

static void drop(const char *id)
{
	struct kept **k = slot_of(id);

	if (!k)
		return;
	net_endpoint_done(&(*k)->endpoint);
	free(*k);
	*k = NULL;
}

static const char *const transports[] = {
	[NET_AUTO] = "auto",
	[NET_ROUTES] = "routes",
	[NET_VXLAN] = "vxlan",
	[NET_WIREGUARD] = "wireguard",
};

/* "name=value" words are taken out. */
static size_t read_open_options(char **w, size_t n, struct net_options *ret)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		char *value = i < 3 ? NULL : strchr(w[i], '=');

		if (!value)
			w[count++] = w[i];
		else if (str_starts(w[i], "node="))
			ret->node_address = value + 1;
		else if (str_eq(w[i], "ipv6-forwarding=no"))
			ret->no_ipv6_forwarding = true;
		else if (str_eq(w[i], "shortcuts=no"))
			ret->no_shortcuts = true;
		else if (str_starts(w[i], "trunk="))
			ret->trunk = value + 1;
		else
			for (size_t t = 0; t < ARRAY_COUNT(transports); t++)
				if (str_eq(value + 1, transports[t]))
					ret->transport = (enum net_transport)t;
	}
	return count;
}

static int do_peer(char **w, size_t n, struct err *e)
{
	struct ip_prefix prefixes[NET_PEER_PREFIXES_MAX + 1], a;
	struct net_peer p = {.id = w[1], .prefixes = prefixes};

	for (size_t i = 2; i < n && p.count <= NET_PEER_PREFIXES_MAX; i++) {
		if (str_starts(w[i], "address=") && ip_address_parse(w[i] + 8, &a))
			p.addresses[a.v6] = a;
		else if (str_starts(w[i], "prefix=") &&
			 ip_prefix_parse(w[i] + 7, &prefixes[p.count]))
			p.count++;
		else if (str_starts(w[i], "key="))
			p.public_key = w[i] + 4;
		else
			return err_set(e, EINVAL, "%s?", w[i]);
	}
	if (net_peer_set(net, &p, e) < 0)
		return -e->code;
	printf("ok %s\n", transports[net_peer_transport(net, w[1])]);
	return 1;
}

static void count_failure(void *ctx, const struct net_peer *peer, const struct err *why)
{
	(void)peer;
	(void)why;
	++*(size_t *)ctx;
}

/*
 * So many hosts from 10.99.128.1 on, with a /28 from 10.16.0.0 on each, at once; by so many
 * turned, each has that of another.
 */
static int do_peers_many(char **w, size_t n, struct err *e)
{
	struct net_peer peers[4000];
	struct ip_prefix prefixes[4000];
	char ids[4000][16];
	size_t failed = 0;
	uint32_t count, turned = 0;

	if (!parse_u32(w[1], 4000, &count) || (n > 2 && !parse_u32(w[2], count, &turned)))
		return err_set(e, EINVAL, "%s?", w[1]);
	for (uint32_t i = 0; i < count; i++) {
		(void)snprintf(ids[i], sizeof(ids[i]), "h%u", i);
		prefixes[i] = ip_of_v4(0x0a100000 + (i + turned) % count * 16, 28);
		peers[i] = (struct net_peer){.id = ids[i], .prefixes = &prefixes[i], .count = 1};
		peers[i].addresses[0] = ip_of_v4(0x0a638001 + i, 32);
	}
	if (net_peers_set(net, peers, count, count_failure, &failed, e) < 0)
		return -e->code;
	printf("ok %zu\n", failed);
	return 1;
}

static int do_self(char **w, size_t n, struct err *e)
{
	struct ip_prefix self[NET_FAMILIES] = {0}, a;

	for (size_t i = 1; i < n; i++) {
		if (!ip_address_parse(w[i], &a))
			return err_set(e, EINVAL, "%s?", w[i]);
		self[a.v6] = a;
	}
	return net_set_self(net, self, e);
}

static int do_unpeer(char **w, size_t n, struct err *e)
{
	(void)n;
	return net_peer_remove(net, w[1], e);
}

static int do_peers_only(char **w, size_t n, struct err *e)
{
	return net_peers_keep_only(net, (const char *const *)(w + 1), n - 1, e);
}

static int do_key(char **w, size_t n, struct err *e)
{
	char key[NET_KEY_MAX];

	(void)w;
	(void)n;
	if (net_public_key(net, key, e) < 0)
		return -e->code;
	printf("ok %s\n", key);
	return 1;
}

static int do_open(char **w, size_t n, struct err *e)
{
	struct net_options o = {.name = w[1], .state_dir = w[2]};
	uint32_t port;

	n = read_open_options(w, n, &o);
	o.bridge_cidr = n > 3 && *w[3] ? w[3] : NULL;
	if (n > 5 && parse_u32(w[4], UINT16_MAX, &port)) {
		o.port_first = (uint16_t)port;
		if (parse_u32(w[5], UINT16_MAX, &port))
			o.port_last = (uint16_t)port;
	}
	return net_open(&o, &net, e);
}

static enum net_mode mode_of(const char *text)
{
	if (str_eq(text, "none"))
		return NET_NONE;
	return str_eq(text, "awsvpc") ? NET_AWSVPC : NET_BRIDGE;
}

/* "42,10.20.0.0/24,10.20.0.1" */
static void read_wire(char *text, struct net_trunk *ret)
{
	char *vlan = strsep(&text, ","), *subnet = strsep(&text, ",");
	struct ip_prefix s, g;

	ret->vlan = (uint16_t)strtoul(vlan, NULL, 10);
	if (!subnet || !text || !ip_prefix_parse(subnet, &s) || !ip_address_parse(text, &g))
		return;
	ret->subnet[s.v6] = s;
	ret->gateway[s.v6] = g;
}

static int do_attach(char **w, size_t n, struct err *e)
{
	struct net_port ports[NET_PORTS_MAX + 1] = {0};
	struct net_request r = {.id = w[1], .mode = mode_of(w[2]), .ports = ports};
	struct kept **slot = slot_of(NULL);

	for (size_t i = 3; i < n && r.port_count <= NET_PORTS_MAX; i++) {
		struct net_port *p = &ports[r.port_count];
		char protocol[4] = "";
		struct ip_prefix a;

		if (str_starts(w[i], "own=") && ip_address_parse(w[i] + 4, &a)) {
			r.addresses[a.v6] = a;
		} else if (str_starts(w[i], "public=") && ip_address_parse(w[i] + 7, &a)) {
			r.public_address = a;
		} else if (str_starts(w[i], "service=") && ip_address_parse(w[i] + 8, &a)) {
			r.service[a.v6] = a;
		} else if (str_starts(w[i], "wire=")) {
			read_wire(w[i] + 5, &r.trunk);
		} else if (str_starts(w[i], "vpc=") && ip_prefix_parse(w[i] + 4, &a)) {
			r.vpc[a.v6] = a;
		} else {
			uint16_t last;

			if (sscanf(w[i], "%3[a-z]:%hu-%hu:%hu", protocol, &p->container_port, &last,
				   &p->host_port) == 4)
				p->count = last - p->container_port + 1u;
			else
				(void)sscanf(w[i], "%3[a-z]:%hu:%hu", protocol, &p->container_port,
					     &p->host_port);
			p->protocol = str_eq(protocol, "udp") ? NET_UDP : NET_TCP;
			r.port_count++;
		}
	}
	*slot = xcalloc(1, sizeof(**slot));
	(void)snprintf((*slot)->id, sizeof((*slot)->id), "%s", w[1]);
	if (net_attach(net, &r, &(*slot)->endpoint, e) < 0) {
		free(*slot);
		*slot = NULL;
		return -e->code;
	}
	net_follow(net);
	print_endpoint(&(*slot)->endpoint);
	return 1;
}

static int do_find(char **w, size_t n, struct err *e)
{
	struct net_endpoint ep = NET_ENDPOINT_NONE;
	int r = net_find(net, w[1], &ep, e);

	(void)n;
	if (r == NET_ABSENT)
		printf("ok absent\n");
	else if (r == 0)
		print_endpoint(&ep);
	return r < 0 ? r : 1;
}

static int do_hold(char **w, size_t n, struct err *e)
{
	struct kept **slot = slot_of(NULL);
	int r;

	(void)n;
	*slot = xcalloc(1, sizeof(**slot));
	(void)snprintf((*slot)->id, sizeof((*slot)->id), "%s", w[1]);
	r = net_hold(net, w[1], &(*slot)->endpoint, e);
	if (r == 0) {
		print_endpoint(&(*slot)->endpoint);
		return 1;
	}
	free(*slot);
	*slot = NULL;
	if (r == NET_ABSENT)
		printf("ok absent\n");
	return r < 0 ? r : 1;
}

static int do_detach(char **w, size_t n, struct err *e)
{
	(void)n;
	return net_detach(net, w[1], e);
}

static int do_drop(char **w, size_t n, struct err *e)
{
	(void)n;
	(void)e;
	drop(w[1]);
	return 0;
}

static int do_sweep(char **w, size_t n, struct err *e)
{
	return net_sweep(net, (const char *const *)(w + 1), n - 1, e);
}

static int do_counters(char **w, size_t n, struct err *e)
{
	struct net_counters c = {0};
	int r = net_counters(net, w[1], &c, e);

	(void)n;
	if (r == 0)
		printf("ok %llu %llu %llu %llu\n", (unsigned long long)c.rx_bytes,
		       (unsigned long long)c.rx_packets, (unsigned long long)c.tx_bytes,
		       (unsigned long long)c.tx_packets);
	return r < 0 ? r : r == 0;
}

static int do_shortcut(char **w, size_t n, struct err *e)
{
	const char *why = net_shortcut_why_not(net);

	(void)e;
	if (n > 1 && str_eq(w[1], "forget"))
		net_shortcut_forget(net);
	printf("ok %s\n", why ? why : "");
	return 1;
}

static int do_warnings(char **w, size_t n, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(16384);

	(void)w;
	(void)n;
	if (net_warnings(net, &b, e) < 0)
		return -e->code;
	for (size_t i = 0; i < b.size; i++)
		if (b.data[i] == '\n')
			b.data[i] = '|';
	printf("ok %s\n", buf_str(&b));
	return 1;
}

static int do_change_seen(char **w, size_t n, struct err *e)
{
	struct pollfd p = {.fd = net_watch_fd(net), .events = POLLIN};
	uint32_t wait_ms;
	int r;

	(void)n;
	if (!parse_u32(w[1], 60000, &wait_ms))
		return err_set(e, EINVAL, "milliseconds");
	if (poll(&p, 1, (int)wait_ms) != 1)
		return err_set(e, ETIMEDOUT, "nothing was seen");
	r = net_on_change(net, e);
	if (r >= 0)
		printf("ok %d\n", r);
	return r < 0 ? r : 1;
}

static int do_destroy(char **w, size_t n, struct err *e)
{
	(void)w;
	(void)n;
	return net_destroy(net, e);
}

static int do_close(char **w, size_t n, struct err *e)
{
	(void)w;
	(void)n;
	(void)e;
	net_close(net);
	net = NULL;
	return 0;
}

/* "tcp,80,80,10.0.0.0/8", "-1,-1,-1,sg-1" */
static void read_rule(char *text, bool egress, struct net_rule *ret)
{
	static const struct {
		const char *name;
		int number;
	} protocols[] = {{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"icmpv6", 58}, {"-1", -1}};
	char *protocol = strsep(&text, ","), *from = strsep(&text, ","), *to = strsep(&text, ",");
	int64_t number;

	*ret = (struct net_rule){.egress = egress};
	for (size_t i = 0; i < ARRAY_COUNT(protocols); i++)
		if (str_eq(protocol, protocols[i].name))
			ret->protocol = protocols[i].number;
	if (parse_i64(from, -1, UINT16_MAX, &number))
		ret->from_port = (int)number;
	if (parse_i64(to, -1, UINT16_MAX, &number))
		ret->to_port = (int)number;
	if (!ip_prefix_parse(text, &ret->prefix))
		ret->group = text;
}

static int do_group(char **w, size_t n, struct err *e)
{
	struct net_rule rules[WORDS_MAX];
	const char *joined[WORDS_MAX], *left[WORDS_MAX];
	struct net_group g = {
		.id = w[1], .rules = rules, .members = {.joined = joined, .left = left}};

	for (size_t i = 2; i < n; i++) {
		if (str_starts(w[i], "in="))
			read_rule(w[i] + 3, false, &rules[g.rule_count++]);
		else if (str_starts(w[i], "out="))
			read_rule(w[i] + 4, true, &rules[g.rule_count++]);
		else if (str_eq(w[i], "cut"))
			g.cut = true;
		else if (str_starts(w[i], "joined="))
			joined[g.members.joined_count++] = w[i] + 7;
		else
			left[g.members.left_count++] = w[i] + 5;
	}
	return str_eq(w[0], "group") ? net_group_set(net, &g, e)
				     : net_group_change(net, w[1], &g.members, e);
}

static int do_ungroup(char **w, size_t n, struct err *e)
{
	(void)n;
	(void)e;
	net_group_remove(net, w[1]);
	return 0;
}

static int do_commit(char **w, size_t n, struct err *e)
{
	(void)w;
	(void)n;
	return net_groups_commit(net, e);
}

/* ---- flow logs ---- */

static struct net_flows *flows;
static struct ip_prefix logged[WORDS_MAX];
static size_t logged_count;
static struct buf flow_text = BUF_INIT(1 << 20);

static bool is_logged(void *ctx, const struct ip_prefix *address)
{
	(void)ctx;
	for (size_t i = 0; i < logged_count; i++)
		if (ip_prefix_overlaps(&logged[i], address))
			return true;
	return false;
}

static void on_flow(void *ctx, const struct net_flow *f)
{
	char at[IP_TEXT_MAX], source[IP_TEXT_MAX], destination[IP_TEXT_MAX];

	(void)ctx;
	ip_address_format(&f->at, at);
	ip_address_format(&f->source, source);
	ip_address_format(&f->destination, destination);
	buf_printf(&flow_text, " %s,%s,%s,%u,%u,%u,%d,%llu,%llu", at, source, destination,
		   f->source_port, f->destination_port, f->protocol, f->accepted,
		   (unsigned long long)f->packets, (unsigned long long)f->bytes);
}

static void on_loss(void *ctx)
{
	(void)ctx;
	buf_puts(&flow_text, " lost");
}

static int do_flows(char **w, size_t n, struct err *e)
{
	const struct net_flow_options o = {is_logged, on_flow, on_loss, NULL, NULL};

	logged_count = 0;
	for (size_t i = 1; i < n; i++)
		if (ip_address_parse(w[i], &logged[logged_count]))
			logged_count++;
	return net_flows_open(net, &o, &flows, e);
}

static int do_flows_read(char **w, size_t n, struct err *e)
{
	(void)w;
	if (net_flows_read(flows, e) < 0 ||
	    (n > 1 && (net_flows_sample(flows, logged, logged_count, e) < 0 ||
		       net_flows_wait(flows, e) < 0)))
		return -e->code;
	printf("ok%s\n", buf_str(&flow_text));
	buf_reset(&flow_text);
	return 1;
}

static int do_flows_end(char **w, size_t n, struct err *e)
{
	struct net_flows *f = flows;

	(void)n;
	flows = NULL;
	if (str_eq(w[0], "flows-end"))
		return net_flows_end(f, e);
	net_flows_close(f);
	return 0;
}

/* 'count' addresses are in one group; then 1000 of them change to another. */
static int do_groups(char **w, size_t n, struct err *e)
{
	auto_arena struct arena a = {0};
	struct net_members members = {0}, some;
	const char **texts;
	uint32_t count;
	int64_t start;

	(void)n;
	if (!parse_u32(w[1], 1000000, &count) || count < 1000)
		return err_set(e, EINVAL, "count");
	texts = arena_alloc(&a, count * sizeof(*texts));
	for (uint32_t i = 0; i < count; i++)
		texts[i] = arena_printf(&a, "10.%u.%u.%u", 100 + i / 65536, i / 256 % 256, i % 256);
	members.joined = texts;
	members.joined_count = count;
	if (net_group_set(net, &(struct net_group){.id = "sg-old", .members = members}, e) < 0 ||
	    net_group_set(net, &(struct net_group){.id = "sg-new"}, e) < 0 ||
	    net_groups_commit(net, e) < 0)
		return -e->code;
	start = clock_mono_ns();
	some = (struct net_members){.left = texts, .left_count = 1000};
	if (net_group_change(net, "sg-old", &some, e) < 0)
		return -e->code;
	some = (struct net_members){.joined = texts, .joined_count = 1000};
	if (net_group_change(net, "sg-new", &some, e) < 0 || net_groups_commit(net, e) < 0)
		return -e->code;
	printf("ok %d\n", (int)((clock_mono_ns() - start) / 1000));
	net_group_remove(net, "sg-old");
	net_group_remove(net, "sg-new");
	return net_groups_commit(net, e) < 0 ? -e->code : 1;
}

static int do_bench(char **w, size_t n, struct err *e)
{
	const struct net_port port = {.container_port = 80, .protocol = NET_TCP};
	uint32_t count;

	(void)n;
	if (!parse_u32(w[1], 100000, &count))
		return err_set(e, EINVAL, "count");
	printf("ok");
	for (uint32_t i = 0; i < count; i++) {
		auto_endpoint struct net_endpoint ep = NET_ENDPOINT_NONE;
		char id[32];
		const struct net_request r = {
			.id = id, .mode = NET_BRIDGE, .ports = &port, .port_count = 1};
		int64_t start = clock_mono_ns(), middle;

		(void)snprintf(id, sizeof(id), "bench-%u", i);
		if (net_attach(net, &r, &ep, e) < 0)
			return -e->code;
		middle = clock_mono_ns();
		net_follow(net);
		if (net_detach(net, id, e) < 0)
			return -e->code;
		printf(" %d/%d", (int)((middle - start) / 1000),
		       (int)((clock_mono_ns() - middle) / 1000));
	}
	printf("\n");
	return 1;
}

/* Each returns 0 (ok is printed), 1 (it printed its answer), or -errno. */
static const struct {
	const char *name;
	size_t words;
	int (*run)(char **w, size_t n, struct err *e);
} commands[] = {
	{"open", 3, do_open},
	{"attach", 3, do_attach},
	{"find", 2, do_find},
	{"detach", 2, do_detach},
	{"drop", 2, do_drop},
	{"sweep", 1, do_sweep},
	{"counters", 2, do_counters},
	{"shortcut", 1, do_shortcut},
	{"warnings", 1, do_warnings},
	{"destroy", 1, do_destroy},
	{"close", 1, do_close},
	{"bench", 2, do_bench},
	{"hold", 2, do_hold},
	{"group", 2, do_group},
	{"change", 2, do_group},
	{"ungroup", 2, do_ungroup},
	{"commit", 1, do_commit},
	{"groups", 2, do_groups},
	{"change-seen", 2, do_change_seen},
	{"peer", 2, do_peer},
	{"peers-many", 2, do_peers_many},
	{"self", 1, do_self},
	{"unpeer", 2, do_unpeer},
	{"peers-only", 1, do_peers_only},
	{"key", 1, do_key},
	{"flows", 2, do_flows},
	{"flows-read", 1, do_flows_read},
	{"flows-end", 1, do_flows_end},
	{"flows-close", 1, do_flows_end},
};

static int run(char **w, size_t n, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (n >= commands[i].words && str_eq(w[0], commands[i].name))
			return commands[i].run(w, n, e);
	return err_set(e, EINVAL, "what is that?");
}

/* Shortcuts are asked for meanwhile; a line comes by itself, so nothing is in stdio's buffer. */
static bool wait_for_line(void)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
				      {.fd = net ? net_shortcut_fd(net) : -1, .events = POLLIN}};

		if (poll(p, 2, -1) < 0)
			return false;
		if (p[0].revents)
			return true;
		net_shortcut_read(net);
	}
}

int main(void)
{
	auto_free char *line = NULL;
	size_t size = 0;

	while (wait_for_line() && getline(&line, &size, stdin) > 0) {
		struct err e = {0};
		char *words[WORDS_MAX] = {0}, *rest = NULL;
		size_t n = 0;
		int r;

		for (char *p = strtok_r(line, " \n", &rest); p && n + 1 < WORDS_MAX;
		     p = strtok_r(NULL, " \n", &rest))
			words[n++] = str_eq(p, "-") ? strchr(p, '\0') : p;
		if (!n)
			continue;
		r = run(words, n, &e);
		if (r < 0)
			printf("error %d %s\n", -r, e.msg);
		else if (r == 0)
			printf("ok\n");
		(void)fflush(stdout);
	}
	return 0;
}
