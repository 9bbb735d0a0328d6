/* image/login.h - getting past a registry's 401
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whatever asks is answered with the header that it wants from then on: Basic,
 * or Bearer with a token from the server that the challenge names.  That server
 * is asked over https only, unless the registry itself is insecure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/fetch.h"
#include "image/reference.h"
#include "image/wire.h"

#define LOGIN_CONNECT_MS 15000
#define LOGIN_STALL_S    25

struct login;

struct login_options {
	struct fetch *fetch;          /* borrowed */
	const struct reference *name; /* borrowed; tokens are asked for its repository */
	const struct source *source;  /* borrowed: who asks, and what is trusted */

	/* A token came ('e' NULL), or why not; 'again': it may come another time. */
	void (*on_end)(void *ctx, const struct err *e, bool again);
	void *ctx;
};

struct login *login_new(const struct login_options *o);
void login_free(struct login *l); /* NULL is fine */

/* The whole Authorization header, or NULL while none is wanted. */
const char *login_header(const struct login *l);
/* Counts the headers that there were: what carried an older one may simply try again. */
unsigned login_serial(const struct login *l);
bool login_is_anonymous(const struct login *l);

/*
 * Answer the challenges of a 401.  0: the header is there.  LOGIN_UNDER_WAY:
 * on_end will come.  LOGIN_HOPELESS: nothing that we have is wanted.
 */
enum { LOGIN_UNDER_WAY = 1, LOGIN_HOPELESS = 2 };
int login_answer(struct login *l, const struct fetch_transfer *challenged, bool insecure,
		 struct err *e);

/* 408, 429 and most of 5xx: the same may be answered otherwise later. */
bool status_is_passing(unsigned status);
