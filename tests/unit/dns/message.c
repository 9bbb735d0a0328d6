/* tests/unit/dns/message.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "dns/message.h"

#define HEAD     "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define WEB_TEST "\3web\4test\0"
#define BYTES(s) (s), sizeof(s) - 1

static void a_query_is_told_by_header_and_question(void **state)
{
	static const struct {
		const char *m;
		size_t size;
		int code;
		uint16_t type;
		size_t question_size;
	} rows[] = {
		{BYTES(HEAD WEB_TEST "\0\1\0\1"), 0, 1, 26},
		{BYTES(HEAD WEB_TEST "\0\34\0\1 and whatever follows"), 0, 28, 26},
		{BYTES(HEAD "\0\0\2\0\1"), 0, 2, 17}, /* of the root */
		/* zone transfers are no resolver's */
		{BYTES(HEAD WEB_TEST "\0\xfc\0\1"), MESSAGE_NOTIMP, 252, 26},
		{BYTES(HEAD WEB_TEST "\0\xfb\0\1"), MESSAGE_NOTIMP, 251, 26},
		/* an update; a status */
		{BYTES("\x12\x34\x28\x00\x00\x01\x00\x00\x00\x00\x00\x00" WEB_TEST "\0\1\0\1"),
		 MESSAGE_NOTIMP, 0, 12},
		{BYTES("\x12\x34\x10\x00\x00\x01\x00\x00\x00\x00\x00\x00" WEB_TEST "\0\1\0\1"),
		 MESSAGE_NOTIMP, 0, 12},
		/* no question, two of them */
		{BYTES("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), MESSAGE_FORMERR, 0, 12},
		{BYTES("\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00" WEB_TEST "\0\1\0\1"),
		 MESSAGE_FORMERR, 0, 12},
		/* cut off in the name, behind it, in the type */
		{BYTES(HEAD "\3we"), MESSAGE_FORMERR, 0, 12},
		{BYTES(HEAD "\3web"), MESSAGE_FORMERR, 0, 12},
		{BYTES(HEAD WEB_TEST), MESSAGE_FORMERR, 0, 12},
		{BYTES(HEAD WEB_TEST "\0\1\0"), MESSAGE_FORMERR, 0, 12},
		/* pointers, and labels of kinds that are not */
		{BYTES(HEAD "\xc0\x0c\0\1\0\1"), MESSAGE_FORMERR, 0, 12},
		{BYTES(HEAD "\3web\xc0\x0c\0\1\0\1"), MESSAGE_FORMERR, 0, 12},
		{BYTES(HEAD "\x40web\0\0\1\0\1"), MESSAGE_FORMERR, 0, 12},
		/* an answer, less than a header */
		{BYTES("\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00" WEB_TEST "\0\1\0\1"),
		 -EBADMSG, 0, 0},
		{BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00"), -EBADMSG, 0, 0},
		{BYTES(""), -EBADMSG, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct message_outline o = {0};

		assert_int_equal(message_outline((const uint8_t *)rows[i].m, rows[i].size, &o),
				 rows[i].code);
		if (rows[i].code < 0)
			continue;
		assert_int_equal(o.id, 0x1234);
		assert_int_equal(o.type, rows[i].type);
		assert_int_equal(o.question_size, rows[i].question_size);
	}
}

static void a_name_has_255_bytes_at_most(void **state)
{
	uint8_t m[MESSAGE_HEADER + 300] = HEAD;
	struct message_outline o;

	(void)state;
	/* Three labels of 63 bytes and a fourth one; then the end and type and class. */
	for (unsigned last = 60; last < 63; last++) {
		size_t at = MESSAGE_HEADER;

		for (int i = 0; i < 4; i++) {
			unsigned len = i < 3 ? 63 : last;

			m[at] = (uint8_t)len;
			memset(m + at + 1, 'a', len);
			at += 1 + len;
		}
		memcpy(m + at, "\0\0\1\0\1", 5);
		assert_int_equal(message_outline(m, at + 5, &o), last < 62 ? 0 : MESSAGE_FORMERR);
	}
}

static void a_query_of_more_than_4096_bytes_is_none(void **state)
{
	uint8_t m[MESSAGE_QUERY_MAX + 1] = HEAD WEB_TEST "\0\1\0\1";
	struct message_outline o;

	(void)state;
	assert_int_equal(message_outline(m, MESSAGE_QUERY_MAX, &o), 0);
	assert_int_equal(message_outline(m, MESSAGE_QUERY_MAX + 1, &o), MESSAGE_FORMERR);
}

static void an_answer_has_the_question_byte_for_byte(void **state)
{
	static const uint8_t query[] = HEAD "\3WeB\4test\0\0\1\0\1\0\0\x29";
	static const struct {
		const char *m;
		size_t size;
		bool is_answer;
	} rows[] = {
		{BYTES("\x99\x99\x81\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\1\0\1 and more"), true},
		{BYTES("\x12\x34\x81\x83\0\1\0\0\0\0\0\0\3WeB\4test\0\0\1\0\1"), true},
		{BYTES("\x12\x34\x83\x80\0\1\0\0\0\0\0\0\3WeB\4test\0\0\1\0\1"),
		 true}, /* cut off */
		{BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3web\4test\0\0\1\0\1"),
		 false}, /* letters */
		{BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3WeB\4tess\0\0\1\0\1"), false},
		{BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\34\0\1"), false}, /* type */
		{BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\1\0\3"), false}, /* class */
		{BYTES("\x12\x34\x81\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\1\0"), false},
		{BYTES("\x12\x34\x81\x80\0\2\0\1\0\0\0\0\3WeB\4test\0\0\1\0\1"), false},
		{BYTES("\x12\x34\x81\x81\0\0\0\0\0\0\0\0"), false}, /* nothing that it is about */
		{BYTES("\x12\x34\x01\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\1\0\1"),
		 false}, /* a query */
		{BYTES("\x12\x34\xa1\x80\0\1\0\1\0\0\0\0\3WeB\4test\0\0\1\0\1"), false},
		{BYTES(""), false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		assert_int_equal(
			message_answers((const uint8_t *)rows[i].m, rows[i].size, query, 26),
			rows[i].is_answer);
}

static void a_refusal_is_the_question_with_a_code(void **state)
{
	uint8_t m[] = "\x12\x34\x01\x20\0\1\0\0\0\0\0\1\3web\4test\0\0\1\0\1\0\0\x29\0\0";

	(void)state;
	assert_int_equal(message_refuse(m, 26, MESSAGE_SERVFAIL), 26);
	assert_memory_equal(m, "\x12\x34\x81\x82\0\1\0\0\0\0\0\0\3web\4test\0\0\1\0\1", 26);
	assert_int_equal(message_refuse(m, MESSAGE_HEADER, MESSAGE_FORMERR), MESSAGE_HEADER);
	assert_memory_equal(m, "\x12\x34\x81\x81\0\0\0\0\0\0\0\0", MESSAGE_HEADER);
	message_set_id(m, 0xbeef);
	assert_int_equal(message_id(m), 0xbeef);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_query_is_told_by_header_and_question),
		cmocka_unit_test(a_name_has_255_bytes_at_most),
		cmocka_unit_test(a_query_of_more_than_4096_bytes_is_none),
		cmocka_unit_test(an_answer_has_the_question_byte_for_byte),
		cmocka_unit_test(a_refusal_is_the_question_with_a_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
