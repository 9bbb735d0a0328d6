/* tests/unit/dns/local.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/auto.h"
#include "dns/local.h"
#include "dns/message.h"

/* A query for a name with dots; its size. */
static size_t make(uint8_t ret[512], const char *name, uint8_t type)
{
	size_t at = MESSAGE_HEADER;

	memcpy(ret, "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", MESSAGE_HEADER);
	while (*name) {
		size_t len = strcspn(name, ".");

		ret[at++] = (uint8_t)len;
		memcpy(ret + at, name, len);
		at += len;
		name += len + (name[len] == '.');
	}
	memcpy(ret + at, "\0\0\0\0\1", 5);
	ret[at + 2] = type;
	return at + 5;
}

static void names_are_those_of_ec2(void **state)
{
	static const struct {
		const char *name, *domain; /* NULL: it is none */
		uint32_t address;
	} rows[] = {
		{"ip-10-0-0-5.ec2.internal", "ec2.internal", 0x0a000005},
		{"IP-10-0-0-5.EC2.Internal", "ec2.internal", 0x0a000005},
		{"ip-172-31-255-255.eu-west-1.compute.internal", "eu-west-1.compute.internal",
		 0xac1fffff},
		{"ip-0-0-0-0.x.internal", "x.internal", 0},
		{"5.0.0.10.in-addr.arpa", "", 0x0a000005},
		{"255.255.31.172.IN-ADDR.ARPA", "", 0xac1fffff},
		{"ip-10-0-0-5.ec2.external", NULL, 0},
		{"ip-10-0-0-5", NULL, 0},
		{"ip-10-0-0.ec2.internal", NULL, 0},
		{"ip-10-0-0-5-6.ec2.internal", NULL, 0},
		{"ip-10-0-0-256.ec2.internal", NULL, 0},
		{"ip-10-0-0-05.ec2.internal", NULL, 0},
		{"ip-10-0-0-1000.ec2.internal", NULL, 0},
		{"ip-10-0-0-+5.ec2.internal", NULL, 0},
		{"ip-10-0-0- 5.ec2.internal", NULL, 0},
		{"ip-10-0-0-.ec2.internal", NULL, 0},
		{"www.ip-10-0-0-5.ec2.internal", NULL, 0},
		{"ip-10-0-0-5ec2.internal", NULL, 0},
		{"internal", NULL, 0},
		{"0.0.10.in-addr.arpa", NULL, 0},
		{"1.5.0.0.10.in-addr.arpa", NULL, 0},
		{"256.0.0.10.in-addr.arpa", NULL, 0},
		{"05.0.0.10.in-addr.arpa", NULL, 0},
		{"5.0.0.10.in-addr.arpa.internal", NULL, 0},
		{"ip-10-0-0-5.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.internal",
		 NULL, 0},
		{"", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct local_name n;
		uint8_t query[512];
		size_t size = make(query, rows[i].name, 1);

		assert_int_equal(local_parse(query, size, &n), rows[i].domain != NULL);
		if (!rows[i].domain)
			continue;
		assert_string_equal(n.domain, rows[i].domain);
		assert_int_equal(n.is_pointer, !*rows[i].domain);
		assert_int_equal(n.address, rows[i].address);
	}
}

static void those_of_the_own_vpc_alone_are_answered(void **state)
{
	struct local_name n = {.address = 0x0a010005, .domain = "ec2.internal"};
	struct ip_prefix vpc, none = {0};

	(void)state;
	assert_true(ip_prefix_parse("10.1.0.0/16", &vpc));
	assert_true(local_is_of(&n, &vpc, "ec2.internal"));
	assert_false(local_is_of(&n, &vpc, "eu-west-1.compute.internal"));
	assert_false(local_is_of(&n, &none, "ec2.internal"));
	n.address = 0x0a020005;
	assert_false(local_is_of(&n, &vpc, "ec2.internal"));
	n = (struct local_name){.address = 0x0a01ffff, .is_pointer = true};
	assert_true(local_is_of(&n, &vpc, "eu-west-1.compute.internal"));
	assert_true(ip_prefix_parse("fd00::/8", &vpc));
	assert_false(local_is_of(&n, &vpc, "ec2.internal"));
}

static void an_answer_has_the_question_and_what_was_asked_for(void **state)
{
	static const struct {
		const char *name;
		uint8_t type;
		const char *record; /* behind the question, "" for none */
		size_t size;
	} rows[] = {
		{"Ip-10-0-0-5.ec2.Internal", 1, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\5", 16},
		{"ip-10-0-0-5.ec2.internal", 28, "", 0}, /* it has no AAAA */
		{"ip-10-0-0-5.ec2.internal", 255, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\5", 16},
		{"5.0.0.10.in-addr.arpa", 12,
		 "\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\x1a"
		 "\x0bip-10-0-0-5\3ec2\x08internal",
		 38},
		{"5.0.0.10.in-addr.arpa", 1, "", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct local_name n;
		uint8_t query[512];
		size_t size = make(query, rows[i].name, rows[i].type), got;
		auto_free uint8_t *answer = NULL;

		assert_true(local_parse(query, size, &n));
		answer = local_answer(query, size, &n, "ec2.internal", &got);
		assert_non_null(answer);
		assert_int_equal(got, size + rows[i].size);
		assert_true(message_answers(answer, got, query, size));
		assert_memory_equal(answer, "\x12\x34\x81\x80\0\1\0", 7);
		assert_int_equal(answer[7], rows[i].size != 0);
		assert_memory_equal(answer + size, rows[i].record, rows[i].size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_those_of_ec2),
		cmocka_unit_test(those_of_the_own_vpc_alone_are_answered),
		cmocka_unit_test(an_answer_has_the_question_and_what_was_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
