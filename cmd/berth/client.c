/* cmd/berth/client.c - calls of the AWS APIs, over the local socket or signed
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/fetch.h"
#include "base/js.h"
#include "base/text.h"
#include "ecs/sigv4.h"

#define REPLY_BYTES (64 << 20)
#define REPLY_DEPTH 64
#define CONNECT_MS  5000
#define REPLY_MS    60000 /* longer than the server lets a caller wait */
#define AWAY_MS     60000 /* a server that starts again is back before that */
#define AGAIN_MS    300

struct client {
	struct arena arena;
	char *socket; /* NULL: signed requests to 'url' */
	char *url, *host;
	char *access_key, *secret_key;
	const char *region;
	struct fetch *fetch;
	int interrupt;
};

static const struct {
	const char *target, *signing;
} services[] = {
	[CLIENT_ECS] = {"AmazonEC2ContainerServiceV20141113", "ecs"},
	[CLIENT_LOGS] = {"Logs_20140328", "logs"},
	[CLIENT_BERTH] = {"BerthV1", "berth"},
};

/* ---- who we are ---- */

struct credentials {
	char *access_key, *secret_key;
};

static int read_credentials(struct client *c, struct err *e)
{
	const char *profile = getenv("AWS_PROFILE"), *file = getenv("AWS_SHARED_CREDENTIALS_FILE"),
		   *home = getenv("HOME");
	const struct conf_key keys[] = {
		{profile ? profile : "default", "aws_access_key_id",
		 offsetof(struct credentials, access_key)},
		{profile ? profile : "default", "aws_secret_access_key",
		 offsetof(struct credentials, secret_key)},
	};
	struct credentials found = {getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY")};
	auto_free char *usual = xasprintf("%s/.aws/credentials", home ? home : "");

	if ((!found.access_key || !found.secret_key) &&
	    conf_read(file ? file : usual, CONF_FOREIGN, keys, ARRAY_COUNT(keys), &c->arena, &found,
		      e) < 0)
		return err_wrap(e, "no AWS_ACCESS_KEY_ID, and no credentials file");
	if (!found.access_key || !found.secret_key)
		return err_set(e, EACCES, "profile [%s] of %s has no key", keys[0].section,
			       file ? file : usual);
	c->access_key = found.access_key;
	c->secret_key = found.secret_key;
	return 0;
}

static int open_endpoint(struct client *c, const char *endpoint, struct err *e)
{
	const char *host = strstr(endpoint, "://"), *region = getenv("AWS_REGION");

	if (!host || (!str_starts(endpoint, "http://") && !str_starts(endpoint, "https://")))
		return err_set(e, EINVAL,
			       "endpoint '%s' is not a URL such as http://127.0.0.1:4566",
			       endpoint);
	host += 3;
	region = region ? region : getenv("AWS_DEFAULT_REGION");
	c->region = region ? region : "us-east-1";
	c->host = arena_strndup(&c->arena, host, strcspn(host, "/"));
	c->url = arena_printf(&c->arena, "%.*s/", (int)(host - endpoint + strcspn(host, "/")),
			      endpoint);
	return read_credentials(c, e);
}

int client_open(const struct client_options *o, struct client **ret, struct err *e)
{
	struct client *c = xcalloc(1, sizeof(*c));

	c->interrupt = -1;
	c->fetch = fetch_new();
	if (o->endpoint) {
		if (open_endpoint(c, o->endpoint, e) < 0) {
			client_free(c);
			return -e->code;
		}
	} else {
		c->socket = arena_printf(&c->arena, "%s/run/berth/api.sock",
					 strcmp(o->root, "/") == 0 ? "" : o->root);
		c->host = arena_strdup(&c->arena, "localhost");
		c->url = arena_strdup(&c->arena, "http://localhost/");
	}
	*ret = c;
	return 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	fetch_free(c->fetch);
	arena_done(&c->arena);
	free(c);
}

void client_set_interrupt(struct client *c, int fd)
{
	c->interrupt = fd;
}

/* ---- a call ---- */

struct exchange {
	struct buf body;
	unsigned status;
	bool over;
	struct err error;
};

static bool on_data(void *ctx, struct fetch_transfer *t, const void *data, size_t size)
{
	struct exchange *x = ctx;

	(void)t;
	buf_add(&x->body, data, size);
	return !buf_overflow(&x->body);
}

static void on_end(void *ctx, struct fetch_transfer *t, const struct err *e)
{
	struct exchange *x = ctx;

	x->over = true;
	if (e)
		x->error = *e;
	else
		x->status = fetch_status(t);
}

/* The error that a reply of the server stands for. */
static int fault(const struct exchange *x, const json_t *doc, struct err *e)
{
	const char *type = json_string_value(json_object_get(doc, "__type"));
	const char *message = json_string_value(json_object_get(doc, "message"));
	int code = EREMOTEIO;

	if (!type)
		return err_set(e, EREMOTEIO, "the server answered with status %u", x->status);
	if (message && str_starts(message, "The agent of the container instance "))
		code = EHOSTDOWN;
	else if (strstr(type, "NotFound") || (message && strstr(message, "not found")))
		code = ENOENT;
	else if (strstr(type, "Signature") || strstr(type, "UnrecognizedClient") ||
		 strstr(type, "AuthenticationToken") || strstr(type, "AccessDenied"))
		code = EACCES;
	return err_set(e, code, "%s: %s", type, message ? message : "");
}

static int read_reply(const struct exchange *x, json_t **ret, struct err *e)
{
	auto_json json_t *doc = NULL;

	if (js_parse(buf_str(&x->body), x->body.size, REPLY_DEPTH, &doc, e) < 0)
		return x->status == 200 ? err_wrap(e, "reply of the server") : fault(x, NULL, e);
	if (x->status != 200)
		return fault(x, doc, e);
	*ret = json_incref(doc);
	return 0;
}

static int wait_for_end(struct client *c, struct exchange *x, struct fetch_transfer *t,
			struct err *e)
{
	struct pollfd extra = {.fd = c->interrupt, .events = POLLIN};

	while (!x->over) {
		if (fetch_run(c->fetch, &extra, c->interrupt >= 0, REPLY_MS, e) < 0)
			return -e->code;
		if (c->interrupt >= 0 && extra.revents && !x->over) {
			fetch_cancel(t);
			return err_set(e, EINTR, "interrupted");
		}
	}
	if (!x->error.code)
		return 0;
	*e = x->error;
	if (e->code == ECONNRESET && c->socket)
		return err_set(e, ECONNRESET, "berthd at %s went away before it answered",
			       c->socket);
	if (e->code == EHOSTUNREACH && c->socket)
		return err_set(e, EHOSTUNREACH, "no berthd answers at %s: is it running?",
			       c->socket);
	return -e->code;
}

static int exchange_bytes(struct client *c, const char *target, const char *authorization,
			  const char *date, const char *body, struct exchange *x, struct err *e)
{
	auto_free char *target_line = xasprintf("X-Amz-Target: %s", target);
	auto_free char *date_line = xasprintf("X-Amz-Date: %s", date);
	auto_free char *authorization_line = xasprintf("Authorization: %s", authorization);
	const char *const headers[] = {"Content-Type: application/x-amz-json-1.1", target_line,
				       date_line, authorization_line};
	const struct fetch_request r = {.method = "POST",
					.url = c->url,
					.socket = c->socket,
					.headers = headers,
					.header_count = *authorization ? 4 : 3,
					.body = body,
					.body_size = strlen(body),
					.connect_ms = CONNECT_MS,
					.total_ms = REPLY_MS,
					.no_proxy = true,
					.on_data = on_data,
					.on_end = on_end,
					.ctx = x};
	struct fetch_transfer *t = NULL;

	if (fetch_start(c->fetch, &r, &t, e) < 0)
		return -e->code;
	return wait_for_end(c, x, t, e);
}

static int sign(const struct client *c, const char *target, const char *service, const char *date,
		const char *body, char authorization[ECS_SIGV4_AUTHORIZATION_SIZE], struct err *e)
{
	const struct ecs_header headers[] = {{"Content-Type", "application/x-amz-json-1.1"},
					     {"Host", c->host},
					     {"X-Amz-Date", date},
					     {"X-Amz-Target", target}};
	const struct ecs_http_request r = {.method = "POST",
					   .target = "/",
					   .headers = headers,
					   .header_count = ARRAY_COUNT(headers),
					   .body = body,
					   .body_size = strlen(body)};

	authorization[0] = '\0';
	return c->socket ? 0
			 : ecs_sigv4_sign(&r, c->access_key, c->secret_key, c->region, service,
					  authorization, e);
}

int client_call(struct client *c, enum client_service service, const char *operation,
		json_t *own_request, json_t **ret, struct err *e)
{
	auto_free char *target = xasprintf("%s.%s", services[service].target, operation);
	auto_free char *body = js_dump(own_request);
	char date[17], authorization[ECS_SIGV4_AUTHORIZATION_SIZE];
	struct exchange x = {.body = BUF_INIT(REPLY_BYTES)};
	int r;

	json_decref(own_request);
	ecs_sigv4_date(clock_wall_ms() / 1000, date);
	r = sign(c, target, services[service].signing, date, body, authorization, e);
	if (r == 0)
		r = exchange_bytes(c, target, authorization, date, body, &x, e);
	if (r == 0)
		r = read_reply(&x, ret, e);
	buf_done(&x.body);
	return r;
}

int client_wait_back(struct client *c, int64_t *away_ms, struct err *e)
{
	struct pollfd interrupt = {.fd = c->interrupt, .events = POLLIN};
	const int64_t now_ms = clock_mono_ms();

	if (e->code != EHOSTUNREACH && e->code != ECONNRESET && e->code != EHOSTDOWN)
		return -e->code;
	if (!*away_ms) {
		*away_ms = now_ms;
		(void)fprintf(stderr, "berth: %s; waiting\n", e->msg);
	}
	/* How long a node may be away is for the server to say. */
	if (e->code != EHOSTDOWN && now_ms - *away_ms > AWAY_MS)
		return -e->code;
	if (poll(&interrupt, 1, AGAIN_MS) > 0)
		return err_set(e, EINTR, "interrupted");
	return 0;
}
