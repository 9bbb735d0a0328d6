/* dns/standing.h - which resolver of the host is asked first
 * SPDX-License-Identifier: Apache-2.0
 *
 * In the order of resolv.conf(5), but that one from which nothing has come for some questions
 * is asked last for a while: else each question would wait for it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dns/servers.h"

#define STANDING_SILENT_MAX 3     /* questions in a row without an answer */
#define STANDING_REST_MS    30000 /* then it is last for so long */

struct standing {
	size_t count;
	unsigned version;
	struct {
		unsigned silent;
		int64_t until_ms;
	} of[SERVERS_MAX];
};

/* So many there are; another version: they are others. */
void standing_set(struct standing *s, size_t count, unsigned version);
/* The server of the n-th try, from 0; it goes round. */
size_t standing_choose(const struct standing *s, size_t n, int64_t now_ms);
void standing_answered(struct standing *s, size_t which);
void standing_silent(struct standing *s, size_t which, int64_t now_ms);
