/* cmd/berth/logs.h - the output of a task, read on from where it was left
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "cmd/berth/command.h"

struct logs_reader {
	const char *task;      /* ARN; borrowed */
	const char *container; /* NULL: all */
	bool timestamps, has_tail;
	int64_t tail;
	json_t *cursor;
	int64_t away_ms;  /* client_wait_back() */
	bool at_start[2]; /* of a line, on standard output and error */
};

enum { LOGS_MORE = 1 }; /* there is more already */

void logs_reader_init(struct logs_reader *r, const char *task);
void logs_reader_done(struct logs_reader *r);

/*
 * Write what has come since.  With 'wait' the call takes until there is
 * something, or the task has ended, or some seconds.  *ret_ended: the task has
 * stopped and all of its output was written.
 */
int logs_read_more(struct context *c, struct logs_reader *r, bool wait, bool *ret_ended,
		   struct err *e);
/* The same with 'wait', and when the server or the node is away for a while: then it has nothing. */
int logs_follow(struct context *c, struct logs_reader *r, bool *ret_ended, struct err *e);
