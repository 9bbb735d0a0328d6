/* runtime/sync.h - the talk between a creator and the process it makes
 * SPDX-License-Identifier: Apache-2.0
 *
 * One SOCK_SEQPACKET pair; a message is a word, or a failure with its err.  The
 * end of either side is seen by the other as the end of the stream.
 */
#pragma once

#include "base/err.h"

enum sync_word {
	SYNC_FAILED = 1, /* an err follows */
	SYNC_MADE,       /* a helper has made the process; its pid follows */
	SYNC_ATTACHED,   /* creator: ids are mapped, the cgroup is joined */
	SYNC_MOUNTED,    /* init: all is mounted, run your hooks */
	SYNC_GO,         /* creator: they have run */
	SYNC_READY,      /* init: nothing is left but to start */
	SYNC_COMMIT,     /* creator: you are on record, live on without me */
	SYNC_START,      /* on the init's socket: execute */
	SYNC_LISTENER,   /* a descriptor comes with it: its filter's listener */
};

int sync_pair(int ret[2], struct err *e);
int sync_say(int fd, enum sync_word word, int value, struct err *e);
void sync_fail(int fd, const struct err *e);

/*
 * Wait for that word and no other.  The other side's failure becomes ours; its
 * end is -EPIPE.  *ret_value may be NULL.
 */
int sync_expect(int fd, enum sync_word word, int *ret_value, struct err *e);

int sync_send_listener(int fd, int listener_fd, struct err *e);

#define SYNC_CAME 1 /* a listener has; the end is still to come */

/*
 * Wait for the end of the stream (it has executed a program), or its failure.
 * SYNC_CAME: *ret_listener is the caller's.
 */
int sync_expect_end(int fd, int *ret_listener, struct err *e);
