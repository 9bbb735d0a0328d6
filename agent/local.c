/* agent/local.c - a node whose server is elsewhere answers root of its own host
 * SPDX-License-Identifier: Apache-2.0
 *
 * At the socket where a server on this machine would be, in the same protocol:
 * so the command works here, too, and when no server is in reach.  What is
 * answered is what a server would pass on to this node (ask.c), and for this
 * node alone.
 */
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "ecs/fault.h"
#include "ecs/model.h"

#define TARGET       "BerthV1."
#define BODY_BYTES   (64 << 10)
#define HEADER_BYTES (16 << 10)
#define CONNECTIONS  64
#define REQUEST_MS   20000
#define JSON_DEPTH   32

static void send_reply(struct http_request *http, unsigned status, const json_t *doc)
{
	char id[37];
	const struct http_field fields[] = {{"Content-Type", "application/x-amz-json-1.1"},
					    {"x-amzn-RequestId", id}};
	auto_free char *text = doc ? js_dump(doc) : xstrdup("{}");

	random_uuid(id);
	http_reply(http, status, fields, ARRAY_COUNT(fields), text, strlen(text));
}

static void send_fault(struct http_request *http, const struct ecs_fault *f)
{
	auto_json json_t *doc = ecs_fault_doc(f);

	send_reply(http, ecs_fault_status(f->type), doc);
}

static void answer(struct agent *a, const struct asker *asker, json_t *response, const char *fault)
{
	struct ecs_fault f;

	(void)a;
	if (fault) {
		(void)ecs_fault_set(&f, ECS_FAULT_CLIENT, "%s", fault);
		send_fault(asker->http, &f);
	} else {
		send_reply(asker->http, 200, response);
	}
}

/* Who names a node, or a cluster, means this one. */
static int check_name(struct agent *a, const json_t *request, const char *member, const char *own,
		      struct ecs_fault *f)
{
	const char *text = json_string_value(json_object_get(request, member));
	const char *slash = text ? strrchr(text, '/') : NULL;
	auto_free char *known = records_get_meta(a->records, own);

	if (!text || str_eq(known, slash ? slash + 1 : text))
		return 0;
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
			     "%s '%.200s': this host answers for itself, which is %s; ask its "
			     "server, %s.",
			     member, text, known ? known : "not known to its cluster yet",
			     a->o->server);
}

static const struct ecs_operation *take(struct agent *a, struct http_request *http,
					json_t **ret_request, struct ecs_fault *f)
{
	const char *target = http_header(http, "X-Amz-Target");
	const struct ecs_operation *operation = NULL;
	struct err e = {0};
	size_t size;
	const char *body = http_body(http, &size);

	if (target && str_starts(target, TARGET) && str_eq(http_method(http), "POST"))
		operation = ecs_model_find(&ecs_model_berth, target + strlen(TARGET));
	if (!operation || !ask_is_known(operation->name)) {
		(void)ecs_fault_set(
			f, ECS_FAULT_UNKNOWN_OPERATION,
			"This host is a node and answers for its own images; for '%.200s' "
			"ask its server, %s.",
			target ? target : "", a->o->server);
		return NULL;
	}
	if (js_parse(size ? body : "{}", size ? size : 2, JSON_DEPTH, ret_request, &e) < 0) {
		(void)ecs_fault_set(f, ECS_FAULT_SERIALIZATION, "%s", e.msg);
		return NULL;
	}
	if (ecs_model_check(operation->request, *ret_request, f) < 0 ||
	    check_name(a, *ret_request, "cluster", "cluster", f) < 0 ||
	    check_name(a, *ret_request, "containerInstance", "instance", f) < 0)
		return NULL;
	return operation;
}

static void on_request(void *ctx, struct http_request *http)
{
	struct agent *a = ctx;
	const struct asker root = {.answer = answer, .http = http};
	auto_json json_t *request = NULL;
	struct ecs_fault f = {.message = ""};
	const struct ecs_operation *operation = take(a, http, &request, &f);

	if (operation)
		ask_put(a, operation->name, request, &root);
	else
		send_fault(http, &f);
}

int local_start(struct agent *a, int fd, struct http_server **ret, struct err *e)
{
	const struct http_options o = {.listen_fd = fd,
				       .loop = a->loop,
				       .body_bytes = BODY_BYTES,
				       .header_bytes = HEADER_BYTES,
				       .connections = CONNECTIONS,
				       .request_ms = REQUEST_MS,
				       .on_request = on_request,
				       .ctx = a};

	return http_server_start(&o, ret, e);
}
