/* dns/message.c - header and question of a DNS message
 * SPDX-License-Identifier: Apache-2.0
 */
#include "dns/message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define NAME_MAX_BYTES  255
#define LABEL_MAX_BYTES 63
#define TYPE_IXFR       251
#define TYPE_AXFR       252

/* Where things are in a header, and bits of its flags. */
enum { AT_ID = 0, AT_FLAGS = 2, AT_CODE = 3, AT_QUESTIONS = 4, AT_OTHERS = 6 };
enum { IS_ANSWER = 0x80, OPERATION = 0x78, IS_TRUNCATED = 0x02, WANTS_RECURSION = 0x01 };
enum { HAS_RECURSION = 0x80 };

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint16_t message_id(const uint8_t *m)
{
	return get16(m + AT_ID);
}

void message_set_id(uint8_t *m, uint16_t id)
{
	m[AT_ID] = (uint8_t)(id >> 8);
	m[AT_ID + 1] = (uint8_t)id;
}

/* Where the name in a question ends; 0: it does not, or is none.  Nothing comes before that it could point to. */
static size_t end_of_name(const uint8_t *m, size_t size)
{
	size_t at = MESSAGE_HEADER;

	while (at < size && m[at]) {
		if (m[at] > LABEL_MAX_BYTES)
			return 0;
		at += 1u + m[at];
	}
	return at < size && at + 1 - MESSAGE_HEADER <= NAME_MAX_BYTES ? at + 1 : 0;
}

int message_outline(const uint8_t *m, size_t size, struct message_outline *ret)
{
	size_t end;

	if (size < MESSAGE_HEADER || m[AT_FLAGS] & IS_ANSWER)
		return -EBADMSG;
	*ret = (struct message_outline){.id = message_id(m), .question_size = MESSAGE_HEADER};
	if (m[AT_FLAGS] & OPERATION)
		return MESSAGE_NOTIMP;
	end = end_of_name(m, size);
	if (get16(m + AT_QUESTIONS) != 1 || !end || size - end < 4 || size > MESSAGE_QUERY_MAX)
		return MESSAGE_FORMERR;
	ret->type = get16(m + end);
	ret->question_size = end + 4;
	/* They are answers of many messages: nothing that a resolver has to do with. */
	return ret->type == TYPE_AXFR || ret->type == TYPE_IXFR ? MESSAGE_NOTIMP : 0;
}

bool message_answers(const uint8_t *m, size_t size, const uint8_t *query, size_t question_size)
{
	return size >= question_size && m[AT_FLAGS] & IS_ANSWER &&
	       (m[AT_FLAGS] & OPERATION) == (query[AT_FLAGS] & OPERATION) &&
	       get16(m + AT_QUESTIONS) == 1 &&
	       memcmp(m + MESSAGE_HEADER, query + MESSAGE_HEADER, question_size - MESSAGE_HEADER) ==
		       0;
}

size_t message_refuse(uint8_t *m, size_t question_size, enum message_code code)
{
	assert(question_size >= MESSAGE_HEADER);

	m[AT_FLAGS] = (uint8_t)(IS_ANSWER | (m[AT_FLAGS] & (OPERATION | WANTS_RECURSION)));
	m[AT_CODE] = (uint8_t)(HAS_RECURSION | code);
	memset(m + AT_QUESTIONS, 0, MESSAGE_HEADER - AT_QUESTIONS);
	m[AT_QUESTIONS + 1] = question_size > MESSAGE_HEADER;
	return question_size;
}
