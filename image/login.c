/* image/login.c - getting past a registry's 401
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/login.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "image/auth.h"
#include "image/reason.h"
#include "image/url.h"

struct login {
	struct login_options options;
	char *basic;  /* "user:password" in base64; NULL: anonymous */
	char *header; /* NULL: none yet */
	unsigned serial;
	struct fetch_transfer *transfer; /* NULL: none */
	char *url;
	struct buf answer;
};

struct login *login_new(const struct login_options *o)
{
	struct login *l = xcalloc(1, sizeof(*l));

	l->options = *o;
	buf_init(&l->answer, TOKEN_ANSWER_MAX);
	if (o->source->username[0]) {
		char *pair = xasprintf("%s:%s", o->source->username, o->source->password);

		l->basic = base64_encode(pair, strlen(pair));
		explicit_bzero(pair, strlen(pair));
		free(pair);
	}
	return l;
}

void login_free(struct login *l)
{
	if (!l)
		return;
	if (l->transfer)
		fetch_cancel(l->transfer);
	free(l->basic);
	free(l->header);
	free(l->url);
	buf_done(&l->answer);
	free(l);
}

const char *login_header(const struct login *l)
{
	return l->header;
}

unsigned login_serial(const struct login *l)
{
	return l->serial;
}

bool login_is_anonymous(const struct login *l)
{
	return !l->basic;
}

bool status_is_passing(unsigned status)
{
	return status == 408 || status == 429 || (status >= 500 && status != 501);
}

static void set_header(struct login *l, const char *scheme, const char *secret)
{
	free(l->header);
	l->header = xasprintf("Authorization: %s %s", scheme, secret);
	l->serial++;
}

/* ---- tokens ---- */

static bool take_answer(void *ctx, struct fetch_transfer *t, const void *data, size_t size)
{
	struct login *l = ctx;

	(void)t;
	buf_add(&l->answer, data, size);
	return !buf_overflow(&l->answer);
}

static int read_token(struct login *l, unsigned status, struct err *e)
{
	auto_free char *token = NULL;
	int origin = (int)url_origin_len(l->url);

	if (status == 401 || status == 403)
		return image_fail(e, IMAGE_REASON_UNAUTHORIZED, "%s at %.*s",
				  l->basic ? "the credentials are not accepted"
					   : "credentials are needed",
				  origin, l->url);
	if (status != 200)
		return image_fail(e, IMAGE_REASON_REGISTRY, "%.*s answered a login with %u", origin,
				  l->url, status);
	if (token_parse(buf_str(&l->answer), l->answer.size, &token, e) < 0)
		return -e->code;
	set_header(l, "Bearer", token);
	return 0;
}

static void transfer_ended(void *ctx, struct fetch_transfer *t, const struct err *failure)
{
	struct login *l = ctx;
	unsigned status = fetch_status(t);
	struct err e = {0};
	int r;

	if (failure) {
		e = *failure;
		r = image_class(&e, failure->code == ETIMEDOUT ? IMAGE_REASON_TIMEOUT
							       : IMAGE_REASON_UNREACHABLE);
	} else {
		r = read_token(l, status, &e);
	}
	l->transfer = NULL;
	buf_reset(&l->answer);
	l->options.on_end(l->options.ctx, r < 0 ? &e : NULL, failure || status_is_passing(status));
}

static char *token_url(const struct login *l, const struct challenge *c)
{
	auto_free char *own_scope = xasprintf("repository:%s:pull", l->options.name->repository);
	auto_free char *scope = url_escape(c->scope[0] ? c->scope : own_scope);
	auto_free char *service = url_escape(c->service);

	return xasprintf("%s%cscope=%s%s%s", c->realm, strchr(c->realm, '?') ? '&' : '?', scope,
			 *service ? "&service=" : "", service);
}

static int check_realm(const char *realm, bool insecure, struct err *e)
{
	size_t origin = url_origin_len(realm);

	if (!origin || memchr(realm, '@', origin))
		return image_fail(e, IMAGE_REASON_REGISTRY, "the login is at '%.200s'", realm);
	if (!url_is_https(realm) && !insecure)
		return image_fail(e, IMAGE_REASON_REGISTRY,
				  "the login is at '%.200s', which is not https", realm);
	return 0;
}

static int ask_for_token(struct login *l, const struct challenge *c, bool insecure, struct err *e)
{
	auto_free char *basic = l->basic ? xasprintf("Authorization: Basic %s", l->basic) : NULL;
	const char *const headers[] = {basic};
	const struct source *s = l->options.source;
	struct fetch_request request = {
		.headers = headers,
		.header_count = basic ? 1 : 0,
		.connect_ms = LOGIN_CONNECT_MS,
		.stall_s = LOGIN_STALL_S,
		.ca_file = s->ca_file[0] ? s->ca_file : NULL,
		.certificate_file = s->certificate_file[0] ? s->certificate_file : NULL,
		.key_file = s->key_file[0] ? s->key_file : NULL,
		.any_certificate = s->insecure,
		.no_proxy = url_is_loopback(c->realm),
		.on_data = take_answer,
		.on_end = transfer_ended,
		.ctx = l,
	};

	if (check_realm(c->realm, insecure, e) < 0)
		return -e->code;
	free(l->url);
	l->url = token_url(l, c);
	request.url = l->url;
	return fetch_start(l->options.fetch, &request, &l->transfer, e);
}

int login_answer(struct login *l, const struct fetch_transfer *challenged, bool insecure,
		 struct err *e)
{
	struct challenge c = {.scheme = CHALLENGE_NONE};
	const char *header;

	for (size_t i = 0; (header = fetch_header(challenged, "WWW-Authenticate", i)); i++)
		challenge_add(&c, header);
	if (c.scheme == CHALLENGE_BASIC && l->basic) {
		set_header(l, "Basic", l->basic);
		return 0;
	}
	if (c.scheme != CHALLENGE_BEARER)
		return LOGIN_HOPELESS;
	if (!l->transfer && ask_for_token(l, &c, insecure, e) < 0)
		return -e->code;
	return LOGIN_UNDER_WAY;
}
