/* net/peer_file.c - a peer as text
 * SPDX-License-Identifier: Apache-2.0
 *
 *   {"addresses":["10.1.0.2"],"prefixes":["172.31.0.16/28"],"key":"..."}
 */
#include <errno.h>

#include "base/auto.h"
#include "base/js.h"
#include "net/internal.h"
#include "net/peer.h"

struct peer_text {
	struct js_strings addresses, prefixes;
	char *key;
};

static const struct js_field peer_fields[] = {
	{"addresses", JS_STRINGS, offsetof(struct peer_text, addresses), JS_REQUIRED, NULL},
	{"prefixes", JS_STRINGS, offsetof(struct peer_text, prefixes), 0, NULL},
	{"key", JS_STRING, offsetof(struct peer_text, key), 0, NULL},
};
static const struct js_shape peer_shape = JS_SHAPE("Peer", struct peer_text, peer_fields);

static void add_text(struct js_strings *list, struct arena *a, const char *text)
{
	list->items[list->count++] = arena_strdup(a, text);
}

char *peer_encode(const struct peer *p)
{
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	char text[IP_TEXT_MAX];
	struct peer_text t = {
		.addresses = {.items = arena_alloc(&a, NET_FAMILIES * sizeof(char *))},
		.prefixes = {.items = arena_alloc(&a, (p->count + 1) * sizeof(char *))},
		.key = *p->key ? arena_strdup(&a, p->key) : NULL};

	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		if (!p->addresses[v6].length)
			continue;
		ip_address_format(&p->addresses[v6], text);
		add_text(&t.addresses, &a, text);
	}
	for (size_t i = 0; i < p->count; i++) {
		ip_prefix_format(&p->prefixes[i], text);
		add_text(&t.prefixes, &a, text);
	}
	doc = js_encode(&peer_shape, &t);
	return js_dump(doc);
}

int peer_decode(const char *text, size_t size, const char *id, struct peer *ret, struct err *e)
{
	auto_arena struct arena a = {0};
	auto_free struct ip_prefix *prefixes = NULL;
	struct peer p = {0};
	struct peer_text t;

	if (js_decode_text(text, size, &peer_shape, &a, &t, e) < 0)
		return -e->code;
	if (!endpoint_id_ok(id) || !t.addresses.count || t.prefixes.count > NET_PEER_PREFIXES_MAX ||
	    (t.key && strlen(t.key) >= sizeof(p.key)))
		return err_set(e, EINVAL, "peer '%.60s' is not whole", id);
	for (size_t i = 0; i < t.addresses.count; i++) {
		struct ip_prefix address;

		if (!ip_address_parse(t.addresses.items[i], &address))
			return err_set(e, EINVAL, "address '%.60s'", t.addresses.items[i]);
		p.addresses[address.v6] = address;
	}
	prefixes = xcalloc(t.prefixes.count + 1, sizeof(*prefixes));
	for (size_t i = 0; i < t.prefixes.count; i++)
		if (!ip_prefix_parse(t.prefixes.items[i], &prefixes[i]) || !prefixes[i].length)
			return err_set(e, EINVAL, "prefix '%.60s'", t.prefixes.items[i]);
	(void)snprintf(p.id, sizeof(p.id), "%s", id);
	(void)snprintf(p.key, sizeof(p.key), "%s", t.key ? t.key : "");
	p.count = t.prefixes.count;
	p.prefixes = take_ptr(prefixes);
	*ret = p;
	return 0;
}
