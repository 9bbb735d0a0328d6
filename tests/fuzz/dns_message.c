/* tests/fuzz/dns_message.c - what a task asks the resolver, and what comes back
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first two bytes say where the query ends and the answer begins.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "dns/local.h"
#include "dns/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of its own, so that what lies behind it is noticed. */
static uint8_t *copy(const uint8_t *data, size_t size)
{
	uint8_t *m = xcalloc(1, size ? size : 1);

	if (size)
		memcpy(m, data, size);
	return m;
}

static void take_local(const uint8_t *query, const struct message_outline *o)
{
	auto_free uint8_t *answer = NULL;
	struct local_name n;
	size_t size;

	if (!local_parse(query, o->question_size, &n))
		return;
	assert(strlen(n.domain) < sizeof(n.domain));
	answer = local_answer(query, o->question_size, &n, "ec2.internal", &size);
	assert(answer && message_answers(answer, size, query, o->question_size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first = size < 2 ? 0 : (size_t)(data[0] << 8 | data[1]);
	auto_free uint8_t *query = NULL, *answer = NULL;
	struct message_outline o;
	int code;

	if (size < 2)
		return 0;
	data += 2;
	size -= 2;
	first = first < size ? first : size;
	query = copy(data, first);
	answer = copy(data + first, size - first);
	code = message_outline(query, first, &o);
	if (code < 0)
		return 0;
	assert(o.question_size >= MESSAGE_HEADER && o.question_size <= first);
	if (code == 0) {
		assert(first <= MESSAGE_QUERY_MAX);
		take_local(query, &o);
		(void)message_answers(answer, size - first, query, o.question_size);
	}
	assert(message_refuse(query, o.question_size, MESSAGE_SERVFAIL) == o.question_size);
	assert(message_answers(query, o.question_size, query, o.question_size) ==
	       (o.question_size > MESSAGE_HEADER));
	return 0;
}
