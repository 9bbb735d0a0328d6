/* net/policy.c - security groups as elements of sets
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/policy.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/boxes.h"

#define PROTOCOL_MAX 255
#define ICMP         1
#define ICMPV6       58

/* A rule with its own copy of the group's id. */
struct rule {
	struct net_rule r;
	char group[NET_GROUP_ID_MAX + 1];
};

struct group {
	char *id;
	bool known; /* told by net_group_set(), not only named by a member */
	bool cut;   /* connections that its rules do not allow are to go */
	struct rule *rules;
	size_t rule_count;
};

struct identity {
	char *key; /* the ids of its groups, in order */
	uint32_t number;
	struct group **groups; /* borrowed */
	size_t count;
	size_t members, locals;
};

struct member {
	char *text; /* of the address */
	struct ip_prefix address;
	struct group **groups; /* in order of their ids; borrowed */
	size_t count, capacity;
	struct identity *identity; /* NULL: in no group */
	uint32_t applied;          /* the number that the kernel has; 0: none */
	bool dirty;
	struct member *next_dirty;
};

/* ---- identities ---- */

static void free_identity(struct identity *i)
{
	free(i->groups);
	free(i->key);
	free(i);
}

/* "sg-1 sg-2" */
static char *key_of(const struct member *m)
{
	auto_buf struct buf b = BUF_INIT(1 << 16);

	for (size_t i = 0; i < m->count; i++)
		buf_printf(&b, "%s%s", i ? " " : "", m->groups[i]->id);
	return xstrdup(buf_str(&b));
}

static struct identity *identity_of(struct policy *p, const struct member *m)
{
	auto_free char *key = key_of(m);
	struct identity *i = map_find(&p->identities, key);

	if (i || !m->count)
		return i;
	i = xcalloc(1, sizeof(*i));
	i->key = xstrdup(key);
	i->number = ++p->last_number;
	i->count = m->count;
	i->groups = xcalloc(m->count, sizeof(struct group *));
	memcpy(i->groups, m->groups, m->count * sizeof(struct group *));
	(void)map_put(&p->identities, key, i);
	p->stale = true;
	return i;
}

static bool is_local(const struct policy *p, const struct member *m)
{
	return map_find(&p->locals, m->text) != NULL;
}

static void count_local(struct policy *p, struct identity *i, int by)
{
	bool before = i->locals > 0;

	i->locals += (size_t)by;
	p->stale |= before != (i->locals > 0);
}

static void let_go(struct policy *p, struct identity *i, bool local)
{
	if (!i)
		return;
	if (local)
		count_local(p, i, -1);
	if (--i->members)
		return;
	(void)map_remove(&p->identities, i->key);
	free_identity(i);
	p->stale = true;
}

/* ---- members ---- */

static void free_member(struct member *m)
{
	free(m->groups);
	free(m->text);
	free(m);
}

/* Its groups are others now. */
static void regroup(struct policy *p, struct member *m)
{
	struct identity *before = m->identity;
	bool local = is_local(p, m);

	m->identity = identity_of(p, m);
	if (m->identity) {
		m->identity->members++;
		if (local)
			count_local(p, m->identity, 1);
	}
	let_go(p, before, local);
	if (!m->dirty) {
		m->dirty = true;
		m->next_dirty = p->first_dirty;
		p->first_dirty = m;
	}
}

static struct member *member_of(struct policy *p, const char *text, const struct ip_prefix *address)
{
	struct member *m = map_find(&p->members, text);

	if (!m) {
		m = xcalloc(1, sizeof(*m));
		m->text = xstrdup(text);
		m->address = *address;
		(void)map_put(&p->members, text, m);
	}
	return m;
}

static bool find_group(const struct member *m, const struct group *g, size_t *ret_place)
{
	size_t i = 0;

	while (i < m->count && strcmp(m->groups[i]->id, g->id) < 0)
		i++;
	*ret_place = i;
	return i < m->count && m->groups[i] == g;
}

static void join(struct policy *p, struct member *m, struct group *g)
{
	size_t place;

	if (find_group(m, g, &place))
		return;
	m->groups = xgrow(m->groups, m->count, &m->capacity, sizeof(struct group *));
	memmove(&m->groups[place + 1], &m->groups[place],
		(m->count - place) * sizeof(struct group *));
	m->groups[place] = g;
	m->count++;
	regroup(p, m);
}

static void leave(struct policy *p, struct member *m, const struct group *g)
{
	size_t place;

	if (!find_group(m, g, &place))
		return;
	m->count--;
	memmove(&m->groups[place], &m->groups[place + 1],
		(m->count - place) * sizeof(struct group *));
	regroup(p, m);
}

static int parse_member(const char *text, struct ip_prefix *ret, char canonical[IP_TEXT_MAX],
			struct err *e)
{
	if (!ip_address_parse(text, ret))
		return err_set(e, EINVAL, "'%.60s' is not an address", text);
	ip_address_format(ret, canonical);
	return 0;
}

static int change(struct policy *p, struct group *g, const char *const *texts, size_t count,
		  bool joins, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		char text[IP_TEXT_MAX];
		struct ip_prefix address;
		struct member *m;

		if (parse_member(texts[i], &address, text, e) < 0)
			return -e->code;
		if (joins)
			join(p, member_of(p, text, &address), g);
		else if ((m = map_find(&p->members, text)))
			leave(p, m, g);
	}
	return 0;
}

/* ---- groups ---- */

static void free_group(struct group *g)
{
	free(g->rules);
	free(g->id);
	free(g);
}

static struct group *group_of(struct policy *p, const char *id)
{
	struct group *g = map_find(&p->groups, id);

	if (!g) {
		g = xcalloc(1, sizeof(*g));
		g->id = xstrdup(id);
		(void)map_put(&p->groups, id, g);
	}
	return g;
}

static int check_group(const struct net_group *group, struct err *e)
{
	struct ip_prefix address;
	char text[IP_TEXT_MAX];

	if (!*group->id || strlen(group->id) > NET_GROUP_ID_MAX || strchr(group->id, ' '))
		return err_set(e, EINVAL, "id of a security group '%.60s'", group->id);
	for (size_t i = 0; i < group->rule_count; i++) {
		const struct net_rule *r = &group->rules[i];

		if (r->protocol < -1 || r->protocol > PROTOCOL_MAX || r->from_port < -1 ||
		    r->from_port > UINT16_MAX || r->to_port < -1 || r->to_port > UINT16_MAX)
			return err_set(e, EINVAL, "rule %zu: protocol %d, ports %d to %d", i,
				       r->protocol, r->from_port, r->to_port);
		if (r->group && strlen(r->group) > NET_GROUP_ID_MAX)
			return err_set(e, EINVAL, "rule %zu: group '%.60s'", i, r->group);
	}
	for (size_t i = 0; i < group->members.joined_count; i++)
		if (parse_member(group->members.joined[i], &address, text, e) < 0)
			return -e->code;
	return 0;
}

static void take_rules(struct group *g, const struct net_group *group)
{
	free(g->rules);
	g->rules = xcalloc(group->rule_count + 1, sizeof(*g->rules));
	g->rule_count = group->rule_count;
	for (size_t i = 0; i < group->rule_count; i++) {
		g->rules[i].r = group->rules[i];
		(void)snprintf(g->rules[i].group, sizeof(g->rules[i].group), "%s",
			       group->rules[i].group ? group->rules[i].group : "");
		g->rules[i].r.group = NULL;
	}
}

/* Members that the new list does not have leave. */
static void keep_only(struct policy *p, struct group *g, const struct net_members *members)
{
	struct map wanted = {0};
	struct member *m;

	for (size_t i = 0; i < members->joined_count; i++) {
		struct ip_prefix address;
		char text[IP_TEXT_MAX];
		struct err ignored;

		(void)parse_member(members->joined[i], &address, text, &ignored);
		(void)map_put(&wanted, text, g);
	}
	for (size_t i = 0; map_next(&p->members, &i, &m);)
		if (!map_find(&wanted, m->text))
			leave(p, m, g);
	map_done(&wanted);
}

int policy_set_group(struct policy *p, const struct net_group *group, struct err *e)
{
	struct group *g;

	if (check_group(group, e) < 0)
		return -e->code;
	g = group_of(p, group->id);
	g->known = true;
	g->cut |= group->cut;
	take_rules(g, group);
	keep_only(p, g, &group->members);
	p->stale = true;
	return change(p, g, group->members.joined, group->members.joined_count, true, e);
}

int policy_change_members(struct policy *p, const char *group_id, const struct net_members *changes,
			  struct err *e)
{
	struct group *g = map_find(&p->groups, group_id);

	if (!g)
		return err_set(e, ENOENT, "security group %.60s is not known", group_id);
	if (change(p, g, changes->left, changes->left_count, false, e) < 0 ||
	    change(p, g, changes->joined, changes->joined_count, true, e) < 0)
		return -e->code;
	return 0;
}

void policy_remove_group(struct policy *p, const char *id)
{
	const struct net_members none = {0};
	struct group *g = map_find(&p->groups, id);

	if (!g)
		return;
	keep_only(p, g, &none);
	(void)map_remove(&p->groups, id);
	free_group(g);
	p->stale = true;
}

/* ---- this host's own ---- */

void policy_add_local(struct policy *p, const struct ip_prefix *address)
{
	char text[IP_TEXT_MAX];
	struct member *m;

	ip_address_format(address, text);
	if (map_put(&p->locals, text, p))
		return;
	m = map_find(&p->members, text);
	if (m && m->identity)
		count_local(p, m->identity, 1);
}

void policy_remove_local(struct policy *p, const struct ip_prefix *address)
{
	char text[IP_TEXT_MAX];
	struct member *m;

	ip_address_format(address, text);
	if (!map_remove(&p->locals, text))
		return;
	m = map_find(&p->members, text);
	if (m && m->identity)
		count_local(p, m->identity, -1);
}

bool policy_is_local(const struct policy *p, const struct ip_prefix *address)
{
	char text[IP_TEXT_MAX];

	ip_address_format(address, text);
	return map_find(&p->locals, text) != NULL;
}

/* What the ports of a rule are in packets: of ICMP, type and code. */
static struct box box_of(const struct net_rule *r)
{
	struct box b = {.protocol = {(uint32_t)r->protocol, (uint32_t)r->protocol},
			.port = {(uint32_t)r->from_port, (uint32_t)r->to_port},
			.prefix = r->prefix};

	if (r->protocol < 0)
		b.protocol = (struct span){0, PROTOCOL_MAX};
	if (r->from_port < 0)
		b.port = (struct span){0, UINT16_MAX};
	else if (r->protocol == ICMP || r->protocol == ICMPV6)
		b.port = (struct span){(uint32_t)r->from_port << 8 |
					       (r->to_port < 0 ? 0 : (uint32_t)r->to_port),
				       (uint32_t)r->from_port << 8 |
					       (r->to_port < 0 ? 0xff : (uint32_t)r->to_port)};
	return b;
}

static bool is_in(const struct identity *i, const char *group_id)
{
	for (size_t n = 0; n < i->count; n++)
		if (strcmp(i->groups[n]->id, group_id) == 0)
			return true;
	return false;
}

/* ---- asked ---- */

static const struct member *find_member(const struct policy *p, const struct ip_prefix *address)
{
	char text[IP_TEXT_MAX];

	ip_address_format(address, text);
	return map_find(&p->members, text);
}

static bool holds(const struct span *s, uint32_t n)
{
	return s->first <= n && n <= s->last;
}

static bool rule_allows(const struct rule *rule, const struct member *other,
			const struct ip_prefix *address, uint8_t protocol, uint16_t port)
{
	const struct box b = box_of(&rule->r);

	if (!holds(&b.protocol, protocol) || !holds(&b.port, port))
		return false;
	if (*rule->group)
		return other && other->identity && is_in(other->identity, rule->group);
	return rule->r.prefix.v6 == address->v6 && ip_prefix_holds(&rule->r.prefix, address);
}

bool policy_allows(const struct policy *p, const struct ip_prefix *own,
		   const struct ip_prefix *other, bool egress, uint8_t protocol, uint16_t port)
{
	const struct member *m = find_member(p, own), *o = find_member(p, other);

	for (size_t g = 0; m && g < m->count; g++)
		for (size_t i = 0; i < m->groups[g]->rule_count; i++) {
			const struct rule *rule = &m->groups[g]->rules[i];

			if (rule->r.egress == egress && rule_allows(rule, o, other, protocol, port))
				return true;
		}
	return false;
}

bool policy_has_cuts(const struct policy *p)
{
	struct group *g;

	for (size_t i = 0; map_next(&p->groups, &i, &g);)
		if (g->cut)
			return true;
	return false;
}

bool policy_is_cut(const struct policy *p, const struct ip_prefix *address)
{
	const struct member *m = find_member(p, address);

	for (size_t i = 0; m && i < m->count; i++)
		if (m->groups[i]->cut && is_local(p, m))
			return true;
	return false;
}

void policy_forget_cuts(struct policy *p)
{
	struct group *g;

	for (size_t i = 0; map_next(&p->groups, &i, &g);)
		g->cut = false;
}

/* ---- elements ---- */

/* Boxes become elements whose keys begin with these numbers. */
struct writing {
	const uint32_t *numbers;
	size_t number_count;
	bool with_prefix, of_one_port; /* else all but those */
	struct items *ret;
};

/* Not of ICMP, whose types and codes are found in other bytes. */
static bool is_one_port(const struct box *b)
{
	return b->protocol.first == b->protocol.last && b->port.first == b->port.last &&
	       b->protocol.first != ICMP && b->protocol.first != ICMPV6;
}

static void put_span(struct item *x, size_t at, const struct span *s, size_t size)
{
	const uint16_t first = htons((uint16_t)s->first), last = htons((uint16_t)s->last);

	if (size == 1) {
		x->key[at] = (uint8_t)s->first;
		x->end[at] = (uint8_t)s->last;
	} else {
		memcpy(x->key + at, &first, sizeof(first));
		memcpy(x->end + at, &last, sizeof(last));
	}
}

static void write_box(const struct box *b, void *arg)
{
	const struct writing *w = arg;
	struct item x = {0};
	size_t at = w->number_count * 4;

	if (!w->with_prefix && is_one_port(b) != w->of_one_port)
		return;
	memcpy(x.key, w->numbers, at);
	memcpy(x.end, w->numbers, at);
	put_span(&x, at, &b->protocol, 1);
	put_span(&x, at + 4, &b->port, 2);
	if (w->with_prefix) {
		memcpy(x.key + at + 8, b->prefix.address, b->prefix.v6 ? 16 : 4);
		ip_prefix_last(&b->prefix, x.end + at + 8);
	}
	if (w->of_one_port)
		memset(x.end, 0, sizeof(x.end));
	items_add(w->ret, &x);
}

/* Some rule of it lets everything of this family. */
static bool is_open(const struct identity *own, bool egress, bool v6)
{
	for (size_t g = 0; g < own->count; g++)
		for (size_t i = 0; i < own->groups[g]->rule_count; i++) {
			const struct rule *r = &own->groups[g]->rules[i];

			if (r->r.egress == egress && !*r->group && r->r.prefix.v6 == v6 &&
			    !r->r.prefix.length && r->r.protocol < 0 && r->r.from_port < 0)
				return true;
		}
	return false;
}

static void compile_open(const struct identity *own, bool egress, struct items *ret)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct item x = {0};

		memcpy(x.key, &own->number, sizeof(own->number));
		x.key[4] = v6 ? NFPROTO_IPV6 : NFPROTO_IPV4;
		if (is_open(own, egress, v6))
			items_add(ret, &x);
	}
}

static void compile_ranges(const struct identity *own, bool egress, bool v6, struct items *ret)
{
	const struct writing w = {&own->number, 1, true, false, ret};
	auto_boxes struct boxes boxes = {0};

	if (is_open(own, egress, v6))
		return;
	for (size_t g = 0; g < own->count; g++)
		for (size_t i = 0; i < own->groups[g]->rule_count; i++) {
			const struct rule *r = &own->groups[g]->rules[i];

			if (r->r.egress == egress && !*r->group && r->r.prefix.v6 == v6) {
				const struct box b = box_of(&r->r);

				boxes_add(&boxes, &b);
			}
		}
	boxes_cut(&boxes, write_box, (void *)(uintptr_t)&w);
}

static void compile_pair(const struct identity *own, const struct identity *other, bool egress,
			 bool of_one_port, struct items *ret)
{
	const uint32_t numbers[2] = {own->number, other->number};
	const struct writing w = {numbers, 2, false, of_one_port, ret};
	auto_boxes struct boxes boxes = {0};

	for (size_t g = 0; g < own->count; g++)
		for (size_t i = 0; i < own->groups[g]->rule_count; i++) {
			const struct rule *r = &own->groups[g]->rules[i];

			if (r->r.egress == egress && *r->group && is_in(other, r->group)) {
				const struct box b = box_of(&r->r);

				boxes_add(&boxes, &b);
			}
		}
	boxes_cut(&boxes, write_box, (void *)(uintptr_t)&w);
}

static void compile(const struct policy *p, enum element_set set, struct items *ret)
{
	bool egress = set == ELEMENTS_EGRESS_GROUPS || set == ELEMENTS_EGRESS_RANGES ||
		      set == ELEMENTS_EGRESS_RANGES6 || set == ELEMENTS_EGRESS_PORTS ||
		      set == ELEMENTS_EGRESS_OPEN,
	     open = set == ELEMENTS_EGRESS_OPEN || set == ELEMENTS_INGRESS_OPEN,
	     ports = set == ELEMENTS_EGRESS_PORTS || set == ELEMENTS_INGRESS_PORTS,
	     groups = set == ELEMENTS_EGRESS_GROUPS || set == ELEMENTS_INGRESS_GROUPS,
	     v6 = set == ELEMENTS_EGRESS_RANGES6 || set == ELEMENTS_INGRESS_RANGES6;
	struct identity *own, *other;

	for (size_t i = 0; map_next(&p->identities, &i, &own);) {
		if (!own->locals)
			continue;
		if (open)
			compile_open(own, egress, ret);
		else if (!groups && !ports)
			compile_ranges(own, egress, v6, ret);
		for (size_t n = 0; (groups || ports) && map_next(&p->identities, &n, &other);)
			compile_pair(own, other, egress, ports, ret);
	}
}

static enum element_set set_of_member(const struct member *m)
{
	return m->address.v6 ? ELEMENTS_IDENTITIES6 : ELEMENTS_IDENTITIES;
}

static struct item member_item(const struct member *m, uint32_t number)
{
	struct item x = {0};

	memcpy(x.key, m->address.address, m->address.v6 ? 16 : 4);
	memcpy(x.data, &number, sizeof(number));
	return x;
}

void policy_elements(const struct policy *p, enum element_set set, struct items *ret)
{
	struct member *m;

	assert(set >= ELEMENTS_OF_POLICY);

	if (set == ELEMENTS_IDENTITIES || set == ELEMENTS_IDENTITIES6) {
		for (size_t i = 0; map_next(&p->members, &i, &m);) {
			if (m->identity && set_of_member(m) == set) {
				const struct item x = member_item(m, m->identity->number);

				items_add(ret, &x);
			}
		}
	} else {
		compile(p, set, ret);
	}
	items_sort(ret);
}

/* ---- sent ---- */

/* What is in 'a' and not in 'b'; both are sorted. */
static void subtract(const struct items *a, const struct items *b, struct items *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < a->count; i++) {
		while (n < b->count && items_compare(&b->items[n], &a->items[i]) < 0)
			n++;
		if (n == b->count || items_compare(&b->items[n], &a->items[i]) != 0)
			items_add(ret, &a->items[i]);
	}
}

static void change_set(struct policy *p, struct batch *b, const char *table, enum element_set set)
{
	struct items *applied = &p->applied[set], wanted = {0};
	auto_items struct items gone = {0}, come = {0};

	policy_elements(p, set, &wanted);
	subtract(applied, &wanted, &gone);
	subtract(&wanted, applied, &come);
	elements_change(b, NFT_MSG_DELSETELEM, table, set, gone.items, gone.count);
	elements_change(b, NFT_MSG_NEWSETELEM, table, set, come.items, come.count);
	items_done(applied);
	*applied = wanted;
}

/* The old elements of those that changed, then the new: a map does not replace its data. */
static void change_dirty(struct policy *p, struct batch *b, const char *table)
{
	struct items gone[2] = {{0}}, come[2] = {{0}};

	for (struct member *m = p->first_dirty; m; m = m->next_dirty) {
		uint32_t number = m->identity ? m->identity->number : 0;
		struct item x = member_item(m, m->applied);

		if (m->applied == number)
			continue;
		if (m->applied)
			items_add(&gone[m->address.v6], &x);
		x = member_item(m, number);
		if (number)
			items_add(&come[m->address.v6], &x);
	}
	for (int v6 = 0; v6 < 2; v6++) {
		enum element_set set = v6 ? ELEMENTS_IDENTITIES6 : ELEMENTS_IDENTITIES;

		elements_change(b, NFT_MSG_DELSETELEM, table, set, gone[v6].items, gone[v6].count);
		elements_change(b, NFT_MSG_NEWSETELEM, table, set, come[v6].items, come[v6].count);
		items_done(&gone[v6]);
		items_done(&come[v6]);
	}
}

void policy_change(struct policy *p, struct batch *b, const char *table, bool all)
{
	struct member *m;

	if (all) {
		for (size_t i = 0; map_next(&p->members, &i, &m);)
			m->applied = 0;
		for (size_t i = 0; map_next(&p->members, &i, &m);) {
			if (!m->dirty) {
				m->dirty = true;
				m->next_dirty = p->first_dirty;
				p->first_dirty = m;
			}
		}
		for (enum element_set set = ELEMENTS_OF_POLICY; set < ELEMENT_SETS; set++)
			items_done(&p->applied[set]);
		p->stale = true;
	}
	change_dirty(p, b, table);
	for (enum element_set set = ELEMENTS_EGRESS_GROUPS; p->stale && set < ELEMENT_SETS; set++)
		change_set(p, b, table, set);
}

void policy_changed(struct policy *p)
{
	struct member *m = p->first_dirty, *next;

	for (; m; m = next) {
		next = m->next_dirty;
		m->dirty = false;
		m->applied = m->identity ? m->identity->number : 0;
		if (!m->count) {
			(void)map_remove(&p->members, m->text);
			free_member(m);
		}
	}
	p->first_dirty = NULL;
	p->stale = false;
}

void policy_reconciled(struct policy *p)
{
	for (enum element_set set = ELEMENTS_EGRESS_GROUPS; set < ELEMENT_SETS; set++) {
		items_done(&p->applied[set]);
		policy_elements(p, set, &p->applied[set]);
	}
	policy_changed(p);
}

void policy_done(struct policy *p)
{
	struct identity *i;
	struct member *m;
	struct group *g;

	for (size_t n = 0; map_next(&p->members, &n, &m);)
		free_member(m);
	for (size_t n = 0; map_next(&p->identities, &n, &i);)
		free_identity(i);
	for (size_t n = 0; map_next(&p->groups, &n, &g);)
		free_group(g);
	for (enum element_set set = 0; set < ELEMENT_SETS; set++)
		items_done(&p->applied[set]);
	map_done(&p->members);
	map_done(&p->identities);
	map_done(&p->groups);
	map_done(&p->locals);
	*p = (struct policy){0};
}
