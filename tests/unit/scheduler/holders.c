/* tests/unit/scheduler/holders.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * What is sent is noted as text, "node<message", and compared in its order:
 * "b<a" says that b is to take the blob from a, "b<registry" that it is to fetch it.
 */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "base/auto.h"
#include "base/buf.h"
#include "scheduler/holders.h"

#define MB 1000000

static struct holders *h;
static struct buf said;
static int64_t now_ms;

static char digests[4][72];

static void note(void *ctx, const char *instance, enum ecs_node_type type, const void *message)
{
	const struct ecs_node_source *source = message;
	const struct ecs_node_introduce *introduce = message;

	(void)ctx;
	if (type == ECS_NODE_INTRODUCE)
		buf_printf(&said, "%s%c%s ", instance, introduce->gone ? '-' : '+', introduce->key);
	else
		buf_printf(&said, "%s<%s ", instance,
			   source->instance_id ? source->instance_id : "registry");
}

static void add_in(const char *name, const char *cluster, int64_t port)
{
	const struct holders_node n = {.instance = name,
				       .cluster = cluster,
				       .address = "10.0.0.1",
				       .key = name,
				       .port = port};

	holders_add(h, &n, now_ms);
}

static int start(void **state)
{
	const struct holders_options o = {.send = note};

	(void)state;
	h = holders_new(&o);
	buf_init(&said, 1 << 20);
	now_ms = 1000;
	for (size_t i = 0; i < ARRAY_COUNT(digests); i++)
		(void)snprintf(digests[i], sizeof(digests[i]), "sha256:%064zx", i);
	for (const char *name = "a\0b\0c\0d\0e\0f\0g\0"; *name; name += 2)
		add_in(name, "one", 4568);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	holders_free(h);
	buf_done(&said);
	return 0;
}

static void want_as(const char *node, size_t blob, bool serves, const char *avoid)
{
	char *items[] = {(char *)(uintptr_t)avoid};
	const struct ecs_node_want m = {.digest = digests[blob],
					.size = 10 * MB,
					.serves = serves,
					.avoid = {items, avoid != NULL}};

	holders_want(h, node, &m, now_ms);
}

static void want(const char *node, size_t blob)
{
	want_as(node, blob, true, NULL);
}

static void got_as(const char *node, size_t blob, bool failed)
{
	const struct ecs_node_got m = {.digest = digests[blob], .failed = failed};

	holders_got(h, node, &m, now_ms);
}

static void got(const char *node, size_t blob)
{
	got_as(node, blob, false);
}

static void holds(const char *node, size_t blob)
{
	char *items[] = {digests[blob]};
	const struct ecs_node_holds m = {.full = true, .digests = {items, 1}};

	holders_holds(h, node, &m, now_ms);
}

#define assert_said(text)                                    \
	do {                                                 \
		assert_string_equal(buf_str(&said), (text)); \
		buf_reset(&said);                            \
	} while (0)

static void what_somebody_has_is_taken_from_there(void **state)
{
	(void)state;
	holds("a", 0);
	want("b", 0);
	assert_said("a+b b<a ");
}

static void the_first_fetches_and_the_others_wait_for_it(void **state)
{
	(void)state;
	want("a", 0);
	want("b", 0);
	want("c", 0);
	assert_said("a<registry ");
	got("a", 0);
	assert_said("a+b b<a a+c c<a ");
}

static void another_blob_is_another_matter(void **state)
{
	(void)state;
	want("a", 0);
	want("b", 1);
	assert_said("a<registry b<registry ");
}

static void a_node_serves_few_at_once_and_each_serves_then(void **state)
{
	(void)state;
	holds("a", 0);
	for (const char *name = "b\0c\0d\0e\0f\0g\0"; *name; name += 2)
		want(name, 0);
	assert_said("a+b b<a a+c c<a a+d d<a a+e e<a ");
	got("b", 0);
	assert_said("b+f f<b b+g g<b ");
}

static void a_slot_that_is_free_serves_whatever_else_is_held(void **state)
{
	char *items[] = {digests[0], digests[1]};
	const struct ecs_node_holds both = {.full = true, .digests = {items, 2}};

	(void)state;
	holders_holds(h, "a", &both, now_ms);
	for (const char *name = "b\0c\0d\0e\0"; *name; name += 2)
		want(name, 0);
	buf_reset(&said);
	want("f", 1);
	assert_said("");
	got_as("b", 0, true);
	assert_said("a+f f<a ");
}

static void when_the_fetcher_fails_or_goes_the_next_one_fetches(void **state)
{
	(void)state;
	want("a", 0);
	want("b", 0);
	want("c", 0);
	got_as("a", 0, true);
	assert_said("a<registry b<registry ");
	holders_remove(h, "b", now_ms);
	assert_said("c<registry ");
}

static void a_fetcher_is_waited_for_as_long_as_its_blob_may_take(void **state)
{
	(void)state;
	want("a", 0);
	want("b", 0);
	want("c", 0);
	buf_reset(&said);
	now_ms += HOLDERS_GRACE_MS + 10 * MB / (HOLDERS_RATE / 1000) - 1;
	assert_true(holders_tick(h, now_ms) > 0);
	assert_said("");
	now_ms++;
	(void)holders_tick(h, now_ms);
	assert_said("b<registry ");
	got("a", 0); /* late, and as good as ever */
	assert_said("a+c c<a ");
}

static void nobody_waits_for_ever_however_many_fail(void **state)
{
	(void)state;
	want("a", 0);
	want("b", 0);
	want("c", 0);
	want("d", 0);
	buf_reset(&said);
	now_ms += 2 * (HOLDERS_GRACE_MS + 10 * MB / (HOLDERS_RATE / 1000));
	(void)holders_tick(h, now_ms);
	assert_non_null(strstr(buf_str(&said), "d<registry"));
}

static void who_is_avoided_is_not_named_again(void **state)
{
	(void)state;
	holds("a", 0);
	holds("b", 0);
	want("c", 0);
	buf_reset(&said);
	want_as("c", 0, true, "a");
	assert_said("b+c c<b ");
	got_as("c", 0, true);
	holders_remove(h, "b", now_ms);
	buf_reset(&said);
	want_as("c", 0, true, "a");
	assert_said("c<registry ");
}

static void who_serves_nobody_is_waited_for_by_nobody(void **state)
{
	(void)state;
	add_in("x", "one", 0);
	want("x", 0);
	want_as("a", 0, false, NULL);
	want("b", 0);
	assert_said("x<registry a<registry b<registry ");
	got("x", 0);
	want("c", 0);
	assert_said("");
}

static void other_clusters_do_not_meet(void **state)
{
	(void)state;
	add_in("x", "two", 4568);
	holds("a", 0);
	want("x", 0);
	assert_said("x<registry ");
	got("x", 0);
	want("b", 0);
	assert_said("a+b b<a ");
}

static void who_has_gone_is_let_in_no_more(void **state)
{
	(void)state;
	holds("a", 0);
	want("b", 0);
	got("b", 0);
	buf_reset(&said);
	holders_remove(h, "b", now_ms);
	assert_said("a-b ");
	want("c", 0);
	assert_said("a+c c<a ");
}

static void what_is_held_no_more_is_not_had_there(void **state)
{
	static const struct ecs_node_holds nothing = {.full = true};
	char *items[] = {digests[1]};
	const struct ecs_node_holds less = {.gone = {items, 1}};

	(void)state;
	holds("a", 0);
	holders_holds(h, "a", &nothing, now_ms);
	want("b", 0);
	assert_said("b<registry ");
	holds("a", 1);
	holders_holds(h, "a", &less, now_ms);
	want("b", 1);
	assert_said("b<registry ");
}

static void who_did_not_say_that_it_shares_fetches(void **state)
{
	(void)state;
	holds("a", 0);
	want("stranger", 0);
	assert_said("stranger<registry ");
}

static void rubbish_is_passed_over(void **state)
{
	char *items[] = {(char[]){"sha256:../../etc"}, (char[]){""}};
	const struct ecs_node_holds m = {.digests = {items, 2}};
	const struct ecs_node_want w = {.digest = items[0], .serves = true};

	(void)state;
	holders_holds(h, "a", &m, now_ms);
	holders_want(h, "b", &w, now_ms);
	holders_want(h, "c", &w, now_ms);
	assert_said("b<registry c<registry ");
}

static void one_node_cannot_want_without_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2 * HOLDERS_WANTS_MAX; i++) {
		char digest[72];
		const struct ecs_node_want w = {.digest = digest, .serves = true};

		(void)snprintf(digest, sizeof(digest), "sha256:%064zx", i);
		holders_want(h, "a", &w, now_ms);
	}
	buf_reset(&said);
	want("b", 3);
	assert_said("");
	holders_remove(h, "a", now_ms);
	assert_said("b<registry ");
	assert_int_equal(holders_tick(h, now_ms), 1000);
	got("b", 3);
	assert_int_equal(holders_tick(h, now_ms), -1);
}

/* Whatever comes in whatever order: nobody waits for ever, and nothing leaks (sanitizers look). */
static void any_order_of_events_ends_well(void **state)
{
	static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g"};
	uint32_t x = 7;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		const char *name = names[(x >> 8) % ARRAY_COUNT(names)];
		size_t blob = (x >> 16) % ARRAY_COUNT(digests);

		x = x * 1664525 + 1013904223;
		switch (x >> 28) {
		case 0:
			holders_remove(h, name, now_ms);
			break;
		case 1:
			add_in(name, x & 64 ? "one" : "two", x & 128 ? 4568 : 0);
			break;
		case 2:
			holds(name, blob);
			break;
		case 3:
		case 4:
		case 5:
			got_as(name, blob, x & 64);
			break;
		case 6:
			now_ms += x % 20000;
			(void)holders_tick(h, now_ms);
			break;
		default:
			want_as(name, blob, x & 64, x & 128 ? names[x % 7] : NULL);
		}
		buf_reset(&said);
	}
	for (int i = 0; i < 10; i++)
		(void)holders_tick(h, now_ms += 100000);
	assert_int_equal(holders_tick(h, now_ms += 100000), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)
		T(what_somebody_has_is_taken_from_there),
		T(the_first_fetches_and_the_others_wait_for_it),
		T(another_blob_is_another_matter),
		T(a_node_serves_few_at_once_and_each_serves_then),
		T(a_slot_that_is_free_serves_whatever_else_is_held),
		T(when_the_fetcher_fails_or_goes_the_next_one_fetches),
		T(a_fetcher_is_waited_for_as_long_as_its_blob_may_take),
		T(nobody_waits_for_ever_however_many_fail),
		T(who_is_avoided_is_not_named_again),
		T(who_serves_nobody_is_waited_for_by_nobody),
		T(other_clusters_do_not_meet),
		T(who_has_gone_is_let_in_no_more),
		T(what_is_held_no_more_is_not_had_there),
		T(who_did_not_say_that_it_shares_fetches),
		T(rubbish_is_passed_over),
		T(one_node_cannot_want_without_end),
		T(any_order_of_events_ends_well),
	};

	return cmocka_run_group_tests_name("scheduler/holders", tests, NULL, NULL);
}
