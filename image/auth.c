/* image/auth.c - how registries ask for a login and what they give for it
 * SPDX-License-Identifier: Apache-2.0
 *
 * RFC 9110, 11.6.1:  Bearer realm="https://...",service="x", Basic realm="y"
 * A word with "=" behind it is a parameter of the scheme before, any other word
 * begins a new scheme.
 */
#include "image/auth.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/js.h"
#include "base/text.h"
#include "image/reason.h"

static bool is_token_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_blanks(const char **p)
{
	*p += strspn(*p, " \t");
}

static size_t take_word(const char **p, const char **ret)
{
	size_t len = 0;

	*ret = *p;
	while (is_token_char((*p)[len]))
		len++;
	*p += len;
	return len;
}

/* A word or a quoted string; false when it is neither or too long. */
static bool take_value(const char **p, char ret[CHALLENGE_VALUE_MAX])
{
	const char *s = *p;
	size_t len = 0;
	bool quoted = *s == '"';

	if (quoted)
		s++;
	while (quoted ? *s && *s != '"' : is_token_char(*s)) {
		if (quoted && *s == '\\' && s[1])
			s++;
		if (len + 1 == CHALLENGE_VALUE_MAX || iscntrl((unsigned char)*s))
			return false;
		ret[len++] = *s++;
	}
	if (quoted && *s++ != '"')
		return false;
	ret[len] = '\0';
	*p = s;
	return quoted || len > 0;
}

static bool word_is(const char *word, size_t len, const char *name)
{
	return strlen(name) == len && strncasecmp(word, name, len) == 0;
}

/* The parameter's place in *c; NULL: of no interest. */
static char *place_of(struct challenge *c, const char *word, size_t len)
{
	return word_is(word, len, "realm")     ? c->realm
	       : word_is(word, len, "service") ? c->service
	       : word_is(word, len, "scope")   ? c->scope
					       : NULL;
}

static void keep_better(struct challenge *best, const struct challenge *c)
{
	if (c->scheme > best->scheme && (c->scheme != CHALLENGE_BEARER || c->realm[0]))
		*best = *c;
}

static bool begin_scheme(struct challenge *c, const char *word, size_t len)
{
	*c = (struct challenge){.scheme = CHALLENGE_NONE};
	if (word_is(word, len, "Bearer"))
		c->scheme = CHALLENGE_BEARER;
	else if (word_is(word, len, "Basic"))
		c->scheme = CHALLENGE_BASIC;
	return len > 0;
}

void challenge_add(struct challenge *best, const char *header)
{
	struct challenge c = {.scheme = CHALLENGE_NONE};
	char value[CHALLENGE_VALUE_MAX];
	const char *p = header, *word;
	size_t len;

	for (;;) {
		p += strspn(p, " \t,");
		if (!*p)
			break;
		len = take_word(&p, &word);
		skip_blanks(&p);
		if (len && *p == '=') {
			char *place = place_of(&c, word, len);

			p++;
			skip_blanks(&p);
			if (!take_value(&p, value))
				break;
			if (place)
				memcpy(place, value, sizeof(value));
		} else {
			keep_better(best, &c);
			if (!begin_scheme(&c, word, len))
				break;
		}
	}
	keep_better(best, &c);
}

/* ---- tokens ---- */

struct answer {
	char *token, *access_token;
};

static const struct js_field answer_fields[] = {
	{"token", JS_STRING, offsetof(struct answer, token), 0, NULL},
	{"access_token", JS_STRING, offsetof(struct answer, access_token), 0, NULL},
};
static const struct js_shape answer_shape = JS_SHAPE("token", struct answer, answer_fields);

static bool fits_in_header(const char *token)
{
	size_t len = strlen(token);

	if (len == 0 || len > TOKEN_SIZE_MAX)
		return false;
	for (; *token; token++)
		if (*token <= ' ' || *token > '~')
			return false;
	return true;
}

int token_parse(const char *text, size_t size, char **ret, struct err *e)
{
	auto_arena struct arena a = {NULL};
	struct answer answer;
	const char *token;

	if (js_decode_text(text, size, &answer_shape, &a, &answer, e) < 0) {
		(void)image_class(e, IMAGE_REASON_REGISTRY);
		return err_wrap(e, "token");
	}
	token = answer.token && *answer.token ? answer.token : answer.access_token;
	if (!token || !fits_in_header(token))
		return image_fail(e, IMAGE_REASON_REGISTRY, "token: none that could be used");
	*ret = xstrdup(token);
	return 0;
}
