/* runtime/sync.h - the talk between a creator and the process it makes
 * SPDX-License-Identifier: Apache-2.0
 *
 * One SOCK_SEQPACKET pair; a message is a word, or a failure with its err.  The
 * end of either side is seen by the other as the end of the stream.
 */
#pragma once

#include "base/err.h"
#include "runtime/runtime.h"

enum sync_word {
	SYNC_FAILED = 1, /* an err follows */
	SYNC_MADE,       /* a helper has made the process; its pid follows */
	SYNC_ATTACHED,   /* creator: ids are mapped, devices moved */
	SYNC_MOUNTED,    /* init: all is mounted, run your hooks */
	SYNC_GO,         /* creator: they have run; or, made ahead: it fits */
	SYNC_READY,      /* init: nothing is left but to start */
	SYNC_COMMIT,     /* creator: you are on record, live on without me */
	SYNC_START,      /* on the init's socket: execute */
	SYNC_LISTENER,   /* a descriptor comes with it: its filter's listener */
	SYNC_FOR,        /* creator: it was made ahead, for this one; sync_send_for() */
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

/* Whom a container that was made ahead is for: its id, its config.json, its streams. */
enum { SYNC_FOR_CONFIG, SYNC_FOR_STDIO, SYNC_FOR_FDS = SYNC_FOR_STDIO + 3 };
struct sync_for {
	char id[RUNTIME_ID_MAX + 1];
	int fd[SYNC_FOR_FDS];
};
/* The descriptors are borrowed.  -EPIPE: nobody is there. */
int sync_send_for(int fd, const struct sync_for *whom, struct err *e);
/* They are the caller's. */
int sync_hear_for(int fd, struct sync_for *ret, struct err *e);

#define SYNC_CAME 1 /* a listener has; the end is still to come */

/*
 * Wait for the end of the stream (it has executed a program), or its failure.
 * SYNC_CAME: *ret_listener is the caller's.
 */
int sync_expect_end(int fd, int *ret_listener, struct err *e);
