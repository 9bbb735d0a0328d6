/* tests/unit/scheduler/expression.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/core/expression.h"

static struct ecs_fault fault;

/* An instance for the tests: subject and value. */
static const struct {
	const char *subject, *value;
} facts[] = {
	{"agentConnected", "true"},     {"agentVersion", "1.10.0"},
	{"ec2InstanceId", "mi-1"},      {"registeredAt", "2018-06-18T22:28:28Z"},
	{"runningTasksCount", "9"},     {"attribute:ecs.instance-type", "m5.large"},
	{"attribute:rack", "b 7"},      {"attribute:ssd", ""},
	{"attribute:speed", "10"},      {"task:group", "service:web"},
	{"task:group", "family:batch"},
};

static void each(const void *object, const char *subject, expression_see *see, void *ctx)
{
	(void)object;
	for (size_t i = 0; i < ARRAY_COUNT(facts); i++)
		if (strcmp(facts[i].subject, subject) == 0)
			see(ctx, facts[i].value);
}

/* The object is the one value of every subject. */
static void only(const void *object, const char *subject, expression_see *see, void *ctx)
{
	(void)subject;
	see(ctx, object);
}

static void terms_and_their_joints_hold_as_ecs_says(void **state)
{
	static const struct {
		const char *text;
		bool holds;
	} rows[] = {
		{"agentConnected == true", true},
		{"agentConnected==false", false},
		{"agentConnected equals true", true},
		{"agentVersion >= 1.9.5", true}, /* by parts, not as text */
		{"agentVersion < 1.10", false},
		{"ec2InstanceId in [mi-0, 'mi-1']", true},
		{"ec2InstanceId !in [mi-0,mi-1]", false},
		{"ec2InstanceId not_in [mi-0]", true},
		{"registeredAt > 2018-06-18", true},
		{"registeredAt < 2018-06-18T22:28:29", true},
		{"registeredAt == 2018-06-19T00:28:28+02:00", true},
		{"runningTasksCount > 10", false}, /* as numbers, not as text */
		{"runningTasksCount less_than_equal 9", true},
		{"attribute:ecs.instance-type =~ m5.*", true},
		{"attribute:ecs.instance-type matches m5", false}, /* the whole value */
		{"attribute:ecs.instance-type !~ (t2|m4)\\..*", true},
		{"(attribute:ecs.instance-type =~ (t2|m5)\\..*) and attribute:ssd exists", true},
		{"(attribute:ecs.instance-type =~ t2.*)or agentConnected == TRUE", true},
		{"attribute:rack == 'b 7'", true},
		{"attribute:rack == \"b 7\"", true},
		{"attribute:ssd exists", true},
		{"attribute:gpu exists", false},
		{"attribute:gpu !exists", true},
		{"attribute:gpu not_exists", true},
		{"attribute:gpu != a", true},
		{"attribute:gpu == ''", false},
		{"attribute:speed == 10.0", true},
		{"task:group == service:web", true},
		{"task:group != service:web", false},
		{"task:group =~ service:.*", true},
		{"task:group == service:db", false},
		{"not(task:group == service:web)", false},
		{"!(task:group == service:db) && agentConnected == true", true},
		{"attribute:gpu exists or attribute:ssd exists and attribute:rack exists", true},
		{"attribute:ssd exists or attribute:gpu exists and attribute:gpu exists", true},
		{"(attribute:ssd exists or attribute:gpu exists) and attribute:gpu exists", false},
		{"not attribute:ssd exists or not attribute:gpu exists", true},
		{"attribute:ssd exists || attribute:gpu exists", true},
		{"  agentConnected\t==\n true  ", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct expression *x = expression_parse(rows[i].text, &fault);

		if (!x)
			fail_msg("%s: %s", rows[i].text, fault.message);
		if (expression_holds(x, each, NULL) != rows[i].holds)
			fail_msg("%s is %d", rows[i].text, !rows[i].holds);
		expression_free(x);
	}
}

static void what_is_no_expression_is_told_with_its_place(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "character 1: this is not a subject"},
		{"ATTRIBUTE:ssd exists", "character 1: this is not a subject"},
		{"attribute: exists", "this is not a subject"},
		{"color == red", "this is not a subject"},
		{"agentConnected", "an operator is missing"},
		{"agentConnected =", "an operator is missing"},
		{"agentConnected existsnot", "an operator is missing"},
		{"agentConnected ==", "a value is missing"},
		{"agentConnected == true and", "this is not a subject"},
		{"agentConnected == true true", "character 24: the end is expected: 'true'"},
		{"(agentConnected == true", "the parenthesis has no end"},
		{"agentConnected == 'true", "the quote has no end"},
		{"ec2InstanceId in a", "a list in brackets is missing"},
		{"ec2InstanceId in [a", "the list has no end"},
		{"ec2InstanceId in [a,]", "a value is missing"},
		{"ec2InstanceId in []", "a value is missing"},
		{"agentConnected == yes", "agentConnected is 'true' or 'false'"},
		{"registeredAt > yesterday", "registeredAt is a date"},
		{"runningTasksCount in [1, many]", "runningTasksCount is a number"},
		{"ec2InstanceId =~ (a", "the pattern '(a': missing closing parenthesis"},
		{"ec2InstanceId =~ )", "a pattern is missing"},
		{"ec2InstanceId =~ 'a)'", "unmatched closing parenthesis"},
		{"ec2InstanceId =~ [a", "missing terminating ]"},
		{"ec2InstanceId =~ *a", "quantifier does not follow"},
		{"ec2InstanceId =~ (((a{99}){99}){99}){99}", "too large"},
	};
	char deep[200];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_null(expression_parse(rows[i].text, &fault));
		if (!strstr(fault.message, rows[i].says))
			fail_msg("%s: %s", rows[i].text, fault.message);
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
	}
	memset(deep, '(', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	assert_null(expression_parse(deep, &fault));
	assert_non_null(strstr(fault.message, "too deep"));
}

/* What a pattern is, base/pattern.h says; here, where it ends. */
static void patterns_have_parentheses_and_quotes(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} rows[] = {
		{"m5.*", "m5.large", true},
		{"(?:t2|t3)\\.micro", "t3.micro", true},
		{"t[23)]\\..{4,5}", "t2.micro", true},
		{"a\\)b", "a)b", true},
		{"'a b'", "a b", true},
		{"\"(a b|c)\"", "c", true},
		{"a|b*", "ab", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *text = xasprintf("(attribute:x =~ %s)", rows[i].pattern);
		const char *value = rows[i].text;
		struct expression *x = expression_parse(text, &fault);

		if (!x)
			fail_msg("%s: %s", text, fault.message);
		if (expression_holds(x, only, value) != rows[i].matches)
			fail_msg("%s of '%s' is %d", text, value, !rows[i].matches);
		expression_free(x);
	}
}

/* Neither where it would have to match, nor where it must not. */
static void a_pattern_that_takes_too_long_holds_of_nothing(void **state)
{
	static const char *const rows[] = {
		"attribute:x =~ (a|aa)+$", "attribute:x !~ (a|aa)+$", "not attribute:x =~ (a|aa)+$",
		"attribute:x exists or attribute:x =~ (a|aa)+$ or attribute:x =~ (a|aa)+$"};
	char value[100] = "";

	(void)state;
	memset(value, 'a', sizeof(value) - 2);
	value[sizeof(value) - 2] = '-';
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct expression *x = expression_parse(rows[i], &fault);
		const bool asked = i < 3; /* what stands before the last one is enough */

		assert_non_null(x);
		assert_false(expression_gave_up(x));
		assert_int_equal(expression_holds(x, only, value), !asked);
		assert_int_equal(expression_gave_up(x), asked);
		assert_int_equal(expression_holds(x, only, "a"), !asked);
		expression_free(x);
	}
}

static void an_expression_of_the_greatest_length_is_read(void **state)
{
	char text[EXPRESSION_LEN_MAX + 2];
	struct expression *x;
	int len = snprintf(text, sizeof(text), "ec2InstanceId == '");

	(void)state;
	memset(text + len, 'a', sizeof(text) - (size_t)len);
	text[EXPRESSION_LEN_MAX - 1] = '\'';
	text[EXPRESSION_LEN_MAX] = '\0';
	x = expression_parse(text, &fault);
	assert_non_null(x);
	expression_free(x);
	text[EXPRESSION_LEN_MAX] = ' ';
	text[EXPRESSION_LEN_MAX + 1] = '\0';
	assert_null(expression_parse(text, &fault));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(terms_and_their_joints_hold_as_ecs_says),
		cmocka_unit_test(what_is_no_expression_is_told_with_its_place),
		cmocka_unit_test(patterns_have_parentheses_and_quotes),
		cmocka_unit_test(a_pattern_that_takes_too_long_holds_of_nothing),
		cmocka_unit_test(an_expression_of_the_greatest_length_is_read),
	};

	return cmocka_run_group_tests_name("scheduler/expression", tests, NULL, NULL);
}
