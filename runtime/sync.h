/* runtime/sync.h - the talk between a creator and the process it makes
 * SPDX-License-Identifier: Apache-2.0
 *
 * One SOCK_SEQPACKET pair; a message is a word, or a failure with its err.  The
 * end of either side is seen by the other as the end of the stream.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/js.h"

enum sync_word {
	SYNC_FAILED = 1, /* an err follows */
	SYNC_MADE,       /* a helper has made the process; its pid follows */
	SYNC_ATTACHED,   /* creator: ids are mapped, devices moved */
	SYNC_MOUNTED,    /* init: all is mounted, run your hooks */
	SYNC_GO,         /* creator: they have run */
	SYNC_READY,      /* init: nothing is left but to start */
	SYNC_COMMIT,     /* creator: you are on record, live on without me */
	SYNC_START,      /* on the init's socket: execute */
	SYNC_LISTENER,   /* a descriptor comes with it: its filter's listener */
	SYNC_FOR,        /* creator: made ahead, for this, and you are on record; sync_send_for() */
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

/* What a container that was made ahead is to execute, in one message: there is a limit. */
#define SYNC_FOR_TEXT_MAX  65536
#define SYNC_FOR_WORDS_MAX 1024
bool sync_fits_for(const struct js_strings *args, const struct js_strings *env);
/* Context: they fit. */
int sync_send_for(int fd, const struct js_strings *args, const struct js_strings *env,
		  struct err *e);

/* Room to hear of it in: for who may get no more memory then. */
struct sync_for {
	struct {
		enum sync_word word;
		uint32_t args, env;           /* how many there are of each */
		char text[SYNC_FOR_TEXT_MAX]; /* each with its end; those of args first */
	} message;
	char *words[SYNC_FOR_WORDS_MAX + 2];
};
/* What is returned lies in 'room'.  -EPIPE: nobody wants it any more. */
int sync_hear_for(int fd, struct sync_for *room, struct js_strings *ret_args,
		  struct js_strings *ret_env, struct err *e);

#define SYNC_CAME 1 /* a listener has; the end is still to come */

/*
 * Wait for the end of the stream (it has executed a program), or its failure.
 * SYNC_CAME: *ret_listener is the caller's.
 */
int sync_expect_end(int fd, int *ret_listener, struct err *e);
