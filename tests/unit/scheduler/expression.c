/* tests/unit/scheduler/expression.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/buf.h"
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
		{"ec2InstanceId =~ (a", "the pattern '(a': the group has no end"},
		{"ec2InstanceId =~ )", "a pattern is missing"},
		{"ec2InstanceId =~ 'a)'", "a parenthesis ends that did not begin"},
		{"ec2InstanceId =~ [a", "the set has no end"},
		{"ec2InstanceId =~ [b-a]", "a range ends before it begins"},
		{"ec2InstanceId =~ [[:alpha:]]", "sets of sets"},
		{"ec2InstanceId =~ *a", "nothing stands before the repetition"},
		{"ec2InstanceId =~ a*+", "possessive"},
		{"ec2InstanceId =~ a**", "a repetition is repeated"},
		{"ec2InstanceId =~ a{1000}", "the repetition is too long"},
		{"ec2InstanceId =~ a{2,1}", "ends before it begins"},
		{"ec2InstanceId =~ a{,1}", "a number is missing"},
		{"ec2InstanceId =~ (a{100}){100}", "the pattern is too long"},
		{"ec2InstanceId =~ (?i)a", "groups that begin with '?'"},
		{"ec2InstanceId =~ (?=a)a", "groups that begin with '?'"},
		{"ec2InstanceId =~ (a)\\1", "behind a backslash"},
		{"ec2InstanceId =~ \\p{L}", "behind a backslash"},
		{"ec2InstanceId =~ a\\", "nothing is behind the backslash"},
		{"ec2InstanceId =~ a{400} or ec2InstanceId =~ b{400} or ec2InstanceId =~ c{400}",
		 "too much of patterns"},
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

/* As java.util.regex has it, whose matches() is of the whole text. */
static void patterns_match_as_in_java(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} rows[] = {
		{"m5", "m5.large", false},
		{"m5.*", "m5.large", true},
		{"m5\\.large", "m5xlarge", false},
		{"m\\d\\.\\w+", "m5.large", true},
		{"[mtc]\\d+[a-z]?\\.(nano|micro)", "t4g.nano", true},
		{"(?:t2|t3)\\.micro", "t3.micro", true},
		{"t[23]\\..{4,5}", "t2.micro", true},
		{"t[23]\\..{4,5}", "t2.xlarge", false},
		{"[^\\d]+", "abc", true},
		{"[^\\d]+", "ab1", false},
		{"[\\d.]+", "10.2", true},
		{"[]a]+", "]a", true},
		{"[a-]+", "a-", true},
		{"\\D\\S\\W", "ab-", true},
		{"^a$", "a", true},
		{"a|b*", "bbb", true},
		{"a|b*", "ab", false},
		{"(a|b)*?c", "abac", true},
		{"(a*)*", "", true},
		{"a{0}b{2}c{1,}", "bbccc", true},
		{"'a b'", "a b", true},
		{"\"(a b|c)\"", "c", true},
		{"caf.", "caf\xc3\xa9", true}, /* a character is not a byte */
		{"caf[\xc3\xa0-\xc3\xbf]", "caf\xc3\xa9", true},
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

static char *many(const char *before, const char *middle, const char *behind, int times)
{
	struct buf b = BUF_INIT(EXPRESSION_LEN_MAX);
	char *text;

	buf_puts(&b, "attribute:x =~ ");
	for (int i = 0; i < times; i++)
		buf_puts(&b, before);
	buf_puts(&b, middle);
	for (int i = 0; i < times; i++)
		buf_puts(&b, behind);
	text = xstrdup(buf_str(&b));
	buf_done(&b);
	return text;
}

/* Each is what makes a matcher that tries one way after the other take for ever. */
static void no_pattern_takes_long(void **state)
{
	static const struct {
		const char *before, *middle, *behind;
		int times;
	} rows[] = {
		{"(", "a", ")*", 30},          {"(a|aa)+", "b", "", 60}, {"(a?)", "b", "a", 60},
		{"((a|b|ab)*)*", "b", "", 30}, {".*", "b", "", 100},     {"(.*a)*", "c", "", 60},
	};
	char value[129] = "";

	(void)state;
	memset(value, 'a', sizeof(value) - 1);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *text = many(rows[i].before, rows[i].middle, rows[i].behind,
					    rows[i].times);
		struct expression *x = expression_parse(text, &fault);

		if (!x)
			fail_msg("%s: %s", text, fault.message);
		(void)expression_holds(x, only, value);
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
		cmocka_unit_test(patterns_match_as_in_java),
		cmocka_unit_test(no_pattern_takes_long),
		cmocka_unit_test(an_expression_of_the_greatest_length_is_read),
	};

	return cmocka_run_group_tests_name("scheduler/expression", tests, NULL, NULL);
}
