/* dns/message.h - header and question of a DNS message
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a relay has to know of a message (RFC 1035, 4.1): its id, that it has one question, and
 * where this ends.  The rest is the business of those who talk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_HEADER    12
#define MESSAGE_MAX       65535
#define MESSAGE_QUERY_MAX 4096 /* bytes of a query: a question, some options, a signature */

enum message_code {
	MESSAGE_FORMERR = 1,
	MESSAGE_SERVFAIL = 2,
	MESSAGE_NOTIMP = 4,
};

struct message_outline {
	uint16_t id, type;
	size_t question_size; /* header included */
};

/*
 * A query with one question: 0.  A code: to be answered with this one, by message_refuse().
 * Negative: it is no query, and who sends an answer to such things may be led to.
 */
int message_outline(const uint8_t *m, size_t size, struct message_outline *ret);

/* Is it the answer to that query, the question the same byte for byte?  Ids are the caller's to compare. */
bool message_answers(const uint8_t *m, size_t size, const uint8_t *query, size_t question_size);

uint16_t message_id(const uint8_t *m);
void message_set_id(uint8_t *m, uint16_t id);

/*
 * Make an answer with a code out of a query: header and, if 'question_size' is more than the
 * header, question.  It is never larger than the query.  Returns its size.
 */
size_t message_refuse(uint8_t *m, size_t question_size, enum message_code code);
