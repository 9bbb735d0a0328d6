/* image/auth.h - how registries ask for a login and what they give for it
 * SPDX-License-Identifier: Apache-2.0
 *
 * Foreign text: read in the fetcher only.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

#define CHALLENGE_VALUE_MAX 1024
#define TOKEN_SIZE_MAX      (64 << 10)
#define TOKEN_ANSWER_MAX    (256 << 10)

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	char realm[CHALLENGE_VALUE_MAX]; /* BEARER: the URL that gives tokens */
	char service[CHALLENGE_VALUE_MAX];
	char scope[CHALLENGE_VALUE_MAX];
};

/*
 * Read one WWW-Authenticate header, which may hold several challenges, and keep
 * the best in *c: Bearer before Basic before none.  What cannot be read ends it.
 */
void challenge_add(struct challenge *c, const char *header);

/* The token of a token server's answer, malloc'ed, fit to stand in a header. */
int token_parse(const char *text, size_t size, char **ret, struct err *e);
