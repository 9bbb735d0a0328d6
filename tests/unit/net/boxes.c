/* tests/unit/net/boxes.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "net/boxes.h"

struct row {
	uint32_t protocol[2], port[2];
	const char *prefix;
};

static void add_row(struct boxes *b, const struct row *r)
{
	struct box box = {.protocol = {r->protocol[0], r->protocol[1]},
			  .port = {r->port[0], r->port[1]}};

	assert_true(ip_prefix_parse(r->prefix, &box.prefix));
	boxes_add(b, &box);
}

static void keep(const struct box *box, void *arg)
{
	boxes_add(arg, box);
}

static bool holds(const struct box *b, uint32_t protocol, uint32_t port,
		  const struct ip_prefix *address)
{
	return b->protocol.first <= protocol && protocol <= b->protocol.last &&
	       b->port.first <= port && port <= b->port.last &&
	       ip_prefix_holds(&b->prefix, address);
}

static size_t count_of(const struct boxes *b, uint32_t protocol, uint32_t port,
		       const struct ip_prefix *address)
{
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++)
		n += holds(&b->items[i], protocol, port, address);
	return n;
}

static bool overlaps(const struct box *a, const struct box *b)
{
	return a->protocol.first <= b->protocol.last && b->protocol.first <= a->protocol.last &&
	       a->port.first <= b->port.last && b->port.first <= a->port.last &&
	       ip_prefix_overlaps(&a->prefix, &b->prefix);
}

static void rules_that_say_the_same_become_few_boxes(void **state)
{
	static const struct {
		struct row in[5];
		size_t in_count, out_count;
	} cases[] = {
		{{{{6, 6}, {80, 80}, "0.0.0.0/0"}}, 1, 1},
		/* one holds the other */
		{{{{6, 6}, {80, 80}, "0.0.0.0/0"}, {{6, 6}, {80, 80}, "10.0.0.0/8"}}, 2, 1},
		/* they touch */
		{{{{6, 6}, {80, 89}, "0.0.0.0/0"}, {{6, 6}, {90, 99}, "0.0.0.0/0"}}, 2, 1},
		/* they overlap */
		{{{{6, 6}, {80, 89}, "0.0.0.0/0"}, {{6, 6}, {85, 99}, "0.0.0.0/0"}}, 2, 1},
		{{{{6, 6}, {80, 80}, "10.0.0.0/8"}, {{6, 6}, {80, 80}, "11.0.0.0/8"}}, 2, 2},
		{{{{6, 6}, {1, 9}, "10.0.0.0/8"}, {{6, 6}, {5, 5}, "0.0.0.0/0"}}, 2, 3},
		/* all protocols, and one of them: below it, it, above it */
		{{{{0, 255}, {0, 65535}, "10.0.0.0/8"}, {{6, 6}, {80, 80}, "0.0.0.0/0"}}, 2, 5},
		{{{{0, 0}, {0, 0}, "0.0.0.0/0"}}, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_boxes struct boxes in = {0}, out = {0};

		for (size_t n = 0; n < cases[i].in_count; n++)
			add_row(&in, &cases[i].in[n]);
		boxes_cut(&in, keep, &out);
		if (out.count != cases[i].out_count)
			fail_msg("case %zu: %zu boxes instead of %zu", i, out.count,
				 cases[i].out_count);
	}
}

static uint32_t dice(uint64_t *seed, uint32_t sides)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % sides;
}

/* Few values, so that edges meet. */
static struct box random_box(uint64_t *seed)
{
	struct box b = {.protocol = {dice(seed, 6), 0}, .port = {dice(seed, 12), 0}};

	b.protocol.last = b.protocol.first + dice(seed, 3);
	b.port.last = b.port.first + dice(seed, 6);
	b.prefix = ip_of_v4(0x0a000000 | dice(seed, 16), 28 + dice(seed, 5));
	return b;
}

static void boxes_let_pass_what_the_rules_did_and_never_overlap(void **state)
{
	uint64_t seed = 7;

	(void)state;
	for (int round = 0; round < 300; round++) {
		auto_boxes struct boxes in = {0}, out = {0};

		for (uint32_t n = dice(&seed, 12); n > 0; n--) {
			const struct box b = random_box(&seed);

			boxes_add(&in, &b);
		}
		boxes_cut(&in, keep, &out);
		for (size_t i = 0; i < out.count; i++)
			for (size_t n = 0; n < i; n++)
				assert_false(overlaps(&out.items[i], &out.items[n]));
		for (uint32_t protocol = 0; protocol < 9; protocol++)
			for (uint32_t port = 0; port < 19; port++)
				for (uint32_t host = 0; host < 17; host++) {
					const struct ip_prefix a = ip_of_v4(0x0a000000 | host, 32);

					assert_int_equal(count_of(&out, protocol, port, &a),
							 count_of(&in, protocol, port, &a) > 0);
				}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_that_say_the_same_become_few_boxes),
		cmocka_unit_test(boxes_let_pass_what_the_rules_did_and_never_overlap),
	};

	return cmocka_run_group_tests_name("net/boxes", tests, NULL, NULL);
}
