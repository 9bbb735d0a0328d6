/* tests/unit/net/policy.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "net/policy.h"

static struct policy policy;

static int end(void **state)
{
	(void)state;
	policy_done(&policy);
	return 0;
}

static void set(const char *id, const struct net_rule *rules, size_t rule_count,
		const char *const *members, size_t member_count)
{
	const struct net_group g = {.id = id,
				    .rules = rules,
				    .rule_count = rule_count,
				    .members = {.joined = members, .joined_count = member_count}};
	struct err e = {0};

	assert_ok(policy_set_group(&policy, &g, &e));
}

static void change(const char *id, const char *joined, const char *left)
{
	const struct net_members m = {.joined = &joined,
				      .joined_count = joined != NULL,
				      .left = &left,
				      .left_count = left != NULL};
	struct err e = {0};

	assert_ok(policy_change_members(&policy, id, &m, &e));
}

static void local(const char *text)
{
	struct ip_prefix address;

	assert_true(ip_address_parse(text, &address));
	policy_add_local(&policy, &address);
}

static size_t count_of(enum element_set set_of)
{
	auto_items struct items items = {0};

	policy_elements(&policy, set_of, &items);
	return items.count;
}

/* Bytes of what would be sent now; it is taken as sent. */
static size_t send_size(void)
{
	auto_batch struct batch b = BATCH_INIT;
	size_t size;

	policy_change(&policy, &b, "t", false);
	size = batch_bytes(&b)->size;
	policy_changed(&policy);
	return size;
}

static const struct net_rule web_from_all = {.protocol = 6, .from_port = 80, .to_port = 80},
			     db_from_web = {.protocol = 6,
					    .from_port = 5432,
					    .to_port = 5432,
					    .group = "sg-web"};

static void rules_are_compiled_for_who_is_here(void **state)
{
	static const char *const web[] = {"10.0.0.2", "10.0.0.3"}, *const db[] = {"10.0.0.4"};

	(void)state;
	set("sg-web", &web_from_all, 1, web, 2);
	set("sg-db", &db_from_web, 1, db, 1);
	assert_int_equal(count_of(ELEMENTS_IDENTITIES), 3);
	assert_int_equal(count_of(ELEMENTS_INGRESS_RANGES), 0);
	local("10.0.0.3");
	assert_int_equal(count_of(ELEMENTS_INGRESS_RANGES), 1);
	assert_int_equal(count_of(ELEMENTS_INGRESS_GROUPS), 0);
	local("10.0.0.4");
	assert_int_equal(count_of(ELEMENTS_INGRESS_PORTS), 1);
	assert_int_equal(count_of(ELEMENTS_EGRESS_PORTS), 0);

	/* Both groups: an identity of its own, to which the rules of both are open. */
	change("sg-db", "10.0.0.3", NULL);
	assert_int_equal(count_of(ELEMENTS_INGRESS_RANGES), 1);
	/* db and both, from web and from both. */
	assert_int_equal(count_of(ELEMENTS_INGRESS_PORTS), 4);
}

/* Of ICMP the type and code are in other bytes of the packet, and stay where ranges are. */
static void what_is_one_port_or_everything_is_found_at_once(void **state)
{
	static const struct net_rule rules[] = {
		{.protocol = 6, .from_port = 80, .to_port = 80, .group = "sg-1"},
		{.protocol = 6, .from_port = 90, .to_port = 91, .group = "sg-1"},
		{.protocol = 17, .from_port = -1, .to_port = -1, .group = "sg-1"},
		{.protocol = 1, .from_port = 8, .to_port = 0, .group = "sg-1"},
		{.protocol = 58, .from_port = 1, .to_port = 1, .group = "sg-1"},
		{.protocol = 6, .from_port = 22, .to_port = 22},
		{.protocol = -1, .from_port = -1, .to_port = -1, .egress = true},
		{.protocol = 6,
		 .from_port = 22,
		 .to_port = 22,
		 .egress = true,
		 .prefix = {.length = 8}},
		{.protocol = 6,
		 .from_port = 0,
		 .to_port = 65535,
		 .egress = true,
		 .prefix = {.v6 = true}},
	};
	static const char *const members[] = {"10.0.0.2"};
	const struct {
		enum element_set set;
		size_t count;
	} cases[] = {
		{ELEMENTS_INGRESS_PORTS, 1},  {ELEMENTS_INGRESS_GROUPS, 4},
		{ELEMENTS_INGRESS_RANGES, 1}, {ELEMENTS_INGRESS_OPEN, 0},
		{ELEMENTS_EGRESS_OPEN, 1},    {ELEMENTS_EGRESS_RANGES, 0},
		{ELEMENTS_EGRESS_RANGES6, 1},
	};

	(void)state;
	set("sg-1", rules, ARRAY_COUNT(rules), members, 1);
	local("10.0.0.2");
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		if (count_of(cases[i].set) != cases[i].count)
			fail_msg("case %zu: %zu elements", i, count_of(cases[i].set));
}

static void a_member_costs_one_element(void **state)
{
	static const char *texts[2000];
	auto_arena struct arena a = {0};
	size_t first, one, both;

	(void)state;
	for (unsigned i = 0; i < ARRAY_COUNT(texts); i++)
		texts[i] = arena_printf(&a, "10.1.%u.%u", i / 250, i % 250);
	set("sg-web", &web_from_all, 1, texts, ARRAY_COUNT(texts));
	local("10.1.0.0");
	first = send_size();
	assert_int_equal(send_size(), 0);
	change("sg-web", "10.2.0.1", NULL);
	one = send_size();
	assert_true(one > 0 && one < first / 100);
	change("sg-web", NULL, "10.2.0.1");
	both = send_size();
	assert_true(both > 0 && both < 2 * one);
	assert_int_equal(count_of(ELEMENTS_IDENTITIES), ARRAY_COUNT(texts));

	/* Back before it was sent: nothing to say. */
	change("sg-web", NULL, "10.1.0.7");
	change("sg-web", "10.1.0.7", NULL);
	assert_int_equal(send_size(), 0);
}

static void a_group_that_goes_takes_its_rules_and_members_along(void **state)
{
	static const char *const members[] = {"10.0.0.2", "fd00::2"};

	(void)state;
	set("sg-web", &web_from_all, 1, members, 2);
	local("10.0.0.2");
	(void)send_size();
	assert_int_equal(count_of(ELEMENTS_IDENTITIES6), 1);
	policy_remove_group(&policy, "sg-web");
	policy_remove_group(&policy, "sg-web");
	assert_int_equal(count_of(ELEMENTS_IDENTITIES) + count_of(ELEMENTS_IDENTITIES6) +
				 count_of(ELEMENTS_INGRESS_RANGES),
			 0);
	assert_true(send_size() > 0);
	assert_int_equal(policy.members.count, 0);
	assert_int_equal(policy.identities.count, 0);
}

static struct ip_prefix address_of(const char *text)
{
	struct ip_prefix address;

	assert_true(ip_address_parse(text, &address));
	return address;
}

static void a_connection_is_put_to_the_rules(void **state)
{
	static const struct net_rule ping = {
		.protocol = 1, .from_port = 8, .to_port = -1, .group = "sg-web"};
	const struct net_rule rules[] = {web_from_all, db_from_web, ping};
	static const char *const web[] = {"10.0.0.2"}, *const db[] = {"10.0.0.4"};
	const struct ip_prefix own = address_of("10.0.0.4"), in_web = address_of("10.0.0.2"),
			       stranger = address_of("192.0.2.1"), v6 = address_of("fd00::1");
	const struct {
		const struct ip_prefix *other;
		bool egress;
		uint8_t protocol;
		uint16_t port;
		bool allowed;
	} cases[] = {
		{&stranger, false, 6, 80, true},     {&v6, false, 6, 80, false},
		{&stranger, false, 6, 81, false},    {&stranger, false, 17, 80, false},
		{&stranger, true, 6, 80, false},     {&in_web, false, 6, 5432, true},
		{&stranger, false, 6, 5432, false},  {&in_web, false, 1, 8 << 8 | 3, true},
		{&in_web, false, 1, 13 << 8, false},
	};

	(void)state;
	set("sg-web", NULL, 0, web, 1);
	set("sg-db", rules, 3, db, 1);
	local("10.0.0.4");
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
		if (policy_allows(&policy, &own, cases[i].other, cases[i].egress, cases[i].protocol,
				  cases[i].port) != cases[i].allowed)
			fail_msg("case %zu", i);
}

static void what_makes_no_sense_is_refused_and_changes_nothing(void **state)
{
	static const char *const bad_member[] = {"10.0.0.2", "10.0.0.300"};
	static const struct net_rule bad_rules[] = {
		{.protocol = 256}, {.protocol = -2}, {.protocol = 6, .to_port = 65536}};
	struct net_group g = {.id = "sg-1"};
	struct err e = {0};

	(void)state;
	g.members.joined = bad_member;
	g.members.joined_count = 2;
	assert_fails(policy_set_group(&policy, &g, &e), EINVAL);
	assert_says("10.0.0.300");
	g.members.joined_count = 0;
	g.rule_count = 1;
	for (size_t i = 0; i < ARRAY_COUNT(bad_rules); i++) {
		g.rules = &bad_rules[i];
		e = (struct err){0};
		assert_fails(policy_set_group(&policy, &g, &e), EINVAL);
	}
	g.rule_count = 0;
	g.id = "a group";
	e = (struct err){0};
	assert_fails(policy_set_group(&policy, &g, &e), EINVAL);
	e = (struct err){0};
	assert_fails(policy_change_members(&policy, "sg-9", &g.members, &e), ENOENT);
	assert_int_equal(policy.groups.count + policy.members.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(rules_are_compiled_for_who_is_here, end),
		cmocka_unit_test_teardown(what_is_one_port_or_everything_is_found_at_once, end),
		cmocka_unit_test_teardown(a_member_costs_one_element, end),
		cmocka_unit_test_teardown(a_group_that_goes_takes_its_rules_and_members_along, end),
		cmocka_unit_test_teardown(a_connection_is_put_to_the_rules, end),
		cmocka_unit_test_teardown(what_makes_no_sense_is_refused_and_changes_nothing, end),
	};

	return cmocka_run_group_tests_name("net/policy", tests, NULL, NULL);
}
