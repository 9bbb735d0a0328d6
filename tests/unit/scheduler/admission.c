/* tests/unit/scheduler/admission.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/mem.h"
#include "scheduler/internal.h"

static char order[64]; /* one letter for each call: capital when it was served */
static size_t told;

static void tell(struct call *call, char letter)
{
	order[told++] = letter;
	order[told] = '\0';
	free(call);
}

static void serve(void *ctx, struct call *call)
{
	(void)ctx;
	tell(call, call->request_id[0]);
}

static void turn_away(void *ctx, struct call *call)
{
	(void)ctx;
	tell(call, (char)(call->request_id[0] | 0x20));
}

static struct call *put(struct admission *a, const char *caller, char letter)
{
	struct call *call = xcalloc(1, sizeof(*call));

	call->request_id[0] = letter;
	admission_put(a, caller, call);
	return call;
}

static struct admission *begin(struct loop *loop, double rate)
{
	const struct admission_options o = {
		.loop = loop, .rate = rate, .serve = serve, .turn_away = turn_away};

	told = 0;
	order[0] = '\0';
	return admission_new(&o);
}

static void drain(struct loop *loop, size_t count)
{
	while (told < count)
		loop_poll(loop);
}

static void callers_take_turns(void **state)
{
	struct loop *loop = loop_new();
	struct admission *a = begin(loop, 0);

	(void)state;
	for (const char *p = "AAAAA"; *p; p++)
		(void)put(a, "10.0.0.1", *p);
	for (const char *p = "BB"; *p; p++)
		(void)put(a, "10.0.0.2", *p);
	(void)put(a, "10.0.0.3", 'C');
	assert_int_equal(told, 0); /* never within admission_put() */
	drain(loop, 8);
	assert_string_equal(order, "ABCABAAA");
	admission_free(a);
	loop_free(loop);
}

static void what_has_waited_too_long_is_turned_away(void **state)
{
	struct loop *loop = loop_new();
	struct admission *a = begin(loop, 0);

	(void)state;
	put(a, "10.0.0.1", 'A')->since_ms -= 60000;
	(void)put(a, "10.0.0.1", 'B');
	drain(loop, 2);
	assert_string_equal(order, "aB");
	admission_free(a);
	loop_free(loop);
}

/* A bucket of one call, which needs two seconds to fill again. */
static void a_caller_over_his_rate_is_turned_away_and_others_and_root_are_not(void **state)
{
	struct loop *loop = loop_new();
	struct admission *a = begin(loop, 0.5);

	(void)state;
	(void)put(a, "10.0.0.1", 'A');
	drain(loop, 1);
	(void)put(a, "10.0.0.1", 'A');
	(void)put(a, "10.0.0.2", 'B');
	for (const char *p = "RRR"; *p; p++)
		(void)put(a, "", *p);
	drain(loop, 6);
	assert_string_equal(order, "AaBRRR");
	admission_free(a);
	loop_free(loop);
}

static void what_waits_at_the_end_is_turned_away(void **state)
{
	struct loop *loop = loop_new();
	struct admission *a = begin(loop, 0);

	(void)state;
	(void)put(a, "10.0.0.1", 'A');
	(void)put(a, "10.0.0.2", 'B');
	admission_free(a);
	assert_string_equal(order, "ab");
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(callers_take_turns),
		cmocka_unit_test(what_has_waited_too_long_is_turned_away),
		cmocka_unit_test(a_caller_over_his_rate_is_turned_away_and_others_and_root_are_not),
		cmocka_unit_test(what_waits_at_the_end_is_turned_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
