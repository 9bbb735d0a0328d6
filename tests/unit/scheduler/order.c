/* tests/unit/scheduler/order.c - rows in the order of what they have left; sets of ports
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "scheduler/core/order.h"
#include "scheduler/core/ports.h"

#define ROWS 3000

static struct order_item rows[ROWS];
static bool listed[ROWS];
static uint64_t state = 1;

static uint32_t below(uint32_t n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(state >> 33) % n;
}

static bool is_before(const struct order_item *a, const struct order_item *b)
{
	if (a->key != b->key)
		return a->key < b->key;
	return a->other != b->other ? a->other < b->other : a->row < b->row;
}

static bool is_odd(void *ctx, const struct order_item *x)
{
	(void)ctx;
	return x->row % 2;
}

static const struct order_item *scan(const struct order_query *q)
{
	const struct order_item *best = NULL;

	for (uint32_t i = 0; i < ROWS; i++) {
		const struct order_item *x = &rows[i];

		if (!listed[i] || x->key < q->key || x->other < q->other ||
		    (q->from && is_before(x, q->from)) || (x->met & q->met) != q->met ||
		    (q->fits && !q->fits(NULL, x)))
			continue;
		if (!best || is_before(x, best))
			best = x;
	}
	return best;
}

/* Few different values, so that many are the same; or many. */
static struct order_item draw(uint32_t row, uint32_t range)
{
	return (struct order_item){.key = (int32_t)below(range) - 2,
				   .other = (int32_t)below(range) - 2,
				   .row = row,
				   .met = below(16)};
}

static void change(struct order *o, uint32_t row, uint32_t range)
{
	struct order_item x = draw(row, range);

	if (!listed[row]) {
		order_add(o, &x);
	} else if (below(3) == 0) {
		order_remove(o, &rows[row]);
		listed[row] = false;
		return;
	} else {
		if (below(4) == 0) { /* only the needs */
			x.key = rows[row].key;
			x.other = rows[row].other;
		}
		order_change(o, &rows[row], &x);
	}
	rows[row] = x;
	listed[row] = true;
}

/* Some rows at once. */
static void fill(struct order *o, uint32_t range)
{
	static struct order_item items[ROWS];
	size_t count = 0;

	for (uint32_t row = 0; row < ROWS; row++) {
		listed[row] = below(2);
		rows[row] = draw(row, range);
		if (listed[row])
			items[count++] = rows[row];
	}
	order_fill(o, items, count);
}

static void the_first_is_what_a_scan_finds(void **unused)
{
	static const uint32_t ranges[] = {4, 100, 1000000};

	(void)unused;
	for (size_t r = 0; r < ARRAY_COUNT(ranges); r++) {
		struct order o = {0};
		size_t count = 0;

		fill(&o, ranges[r]);
		for (int n = 0; n < 20000; n++) {
			const struct order_item from = draw(below(ROWS), ranges[r]);
			const struct order_query q = {
				.key = (int32_t)below(ranges[r]),
				.other = (int32_t)below(ranges[r]),
				.met = below(16),
				.from = below(2) ? &from : NULL,
				.fits = below(2) ? is_odd : NULL,
			};
			struct order_item found;
			const struct order_item *wanted;

			change(&o, below(n < 10000 ? ROWS : 20), ranges[r]);
			wanted = n % 10 ? NULL : scan(&q);
			if (n % 10)
				continue;
			assert_int_equal(order_first(&o, &q, &found), wanted != NULL);
			if (wanted)
				assert_int_equal(found.row, wanted->row);
		}
		for (uint32_t i = 0; i < ROWS; i++)
			count += listed[i];
		assert_int_equal(o.count, count);
		for (uint32_t i = 0; i < ROWS; i++)
			if (listed[i])
				order_remove(&o, &rows[i]);
		assert_int_equal(o.count, 0);
		order_done(&o);
	}
}

static void ports_are_in_the_set_or_not(void **unused)
{
	static const uint16_t some[] = {0, 1, 63, 64, 2047, 2048, 8080, 65535};
	struct ports p = {0};
	int at = -1;

	(void)unused;
	assert_false(ports_has(&p, 80));
	assert_int_equal(ports_next(&p, 0), -1);
	for (size_t i = 0; i < ARRAY_COUNT(some); i++)
		ports_set(&p, some[i], true);
	for (size_t i = 0; i < ARRAY_COUNT(some); i++) {
		assert_true(ports_has(&p, some[i]));
		at = ports_next(&p, at + 1);
		assert_int_equal(at, some[i]);
	}
	assert_int_equal(ports_next(&p, at + 1), -1);
	assert_false(ports_has(&p, 65));
	ports_set(&p, 2048, false);
	assert_false(ports_has(&p, 2048));
	assert_int_equal(ports_next(&p, 2048), 8080);
	ports_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_what_a_scan_finds),
		cmocka_unit_test(ports_are_in_the_set_or_not),
	};

	return cmocka_run_group_tests_name("scheduler/order", tests, NULL, NULL);
}
