/* scheduler/api.c - requests: signature, model, dispatch, replies
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every request is a POST: of a JSON document whose operation stands in the
 * header X-Amz-Target ("AmazonEC2ContainerServiceV20141113.RunTask"), or of a
 * form that has it in "Action" (EC2).  A request over TCP must be signed; one
 * over the unix socket comes from root.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/text.h"
#include "ecs/query.h"
#include "ecs/sigv4.h"
#include "scheduler/internal.h"

#define BODY_BYTES   (2 << 20) /* PutLogEvents has at most 1 MiB of text, escaped */
#define HEADER_BYTES (16 << 10)
#define CONNECTIONS  1024
#define OF_ONE       768 /* of them: one address cannot have them all */
#define REQUEST_MS   20000
#define JSON_DEPTH   32

#define ACTIVATION_DIGITS 32 /* of the secret in a code: 128 bits */

struct listener {
	struct api *api;
	bool trusted; /* it is root who calls */
	struct http_server *server;
};

struct api {
	struct api_options o;
	struct listener tcp, local;
	struct admission *admission;
};

/* ---- replies ---- */

static void send_text(struct call *call, unsigned status, char *own_text)
{
	const struct http_field fields[] = {
		{"Content-Type",
		 call->query ? "text/xml;charset=UTF-8" : "application/x-amz-json-1.1"},
		{"x-amzn-RequestId", call->request_id}};

	http_reply(call->http, status, fields, ARRAY_COUNT(fields), own_text, strlen(own_text));
	free(own_text);
	free(call);
}

char *call_text(const struct call *call, json_t *own_reply)
{
	char *text = call->query ? ecs_query_reply(call->operation, call->request_id, own_reply)
				 : js_dump(own_reply);

	json_decref(own_reply);
	return text;
}

char *call_run(const struct call *call, struct core *core, const char *operation, json_t *request,
	       int64_t now_ms, struct ecs_fault *f)
{
	json_t *reply;

	if (!call->query)
		return core_call_text(core, operation, request, now_ms, f);
	reply = core_call(core, operation, request, now_ms, f);
	return reply ? call_text(call, reply) : NULL;
}

void call_send(struct call *call, char *own_text)
{
	send_text(call, 200, own_text);
}

void call_reply(struct call *call, json_t *own_reply)
{
	call_send(call, call_text(call, own_reply));
}

/* EC2 has one word for everything that is wrong with who asks. */
static enum ecs_fault_type type_in_query(enum ecs_fault_type type)
{
	switch (type) {
	case ECS_FAULT_MISSING_TOKEN:
	case ECS_FAULT_INCOMPLETE_SIGNATURE:
	case ECS_FAULT_INVALID_SIGNATURE:
	case ECS_FAULT_UNRECOGNIZED_CLIENT:
	case ECS_FAULT_REQUEST_EXPIRED:
		return ECS_FAULT_EC2_AUTH;
	default:
		return type;
	}
}

void call_fault(struct call *call, const struct ecs_fault *f)
{
	struct ecs_fault told = *f;
	auto_json json_t *doc = NULL;

	if (call->query) {
		told.type = type_in_query(f->type);
		send_text(call, ecs_fault_status(told.type),
			  ecs_query_fault(call->request_id, &told));
		return;
	}
	doc = ecs_fault_doc(f);
	send_text(call, ecs_fault_status(f->type), js_dump(doc));
}

/* ---- services ---- */

static void dispatch_ecs(struct api *api, const char *operation, json_t *request, struct call *call)
{
	ledger_call(api->o.ledger, operation, request, call);
}

/*
 * The code of an activation: a secret, and whom the node must meet.  The core
 * has no randomness that is good enough.
 */
static int add_code(const struct api *api, json_t *request, struct ecs_fault *f)
{
	const char *fingerprint = nodes_fingerprint(api->o.nodes);
	char secret[ACTIVATION_DIGITS + 1];

	if (!fingerprint)
		return ecs_fault_set(f, ECS_FAULT_UNSUPPORTED_FEATURE,
				     "This server takes no nodes: it needs --node-listen, or "
				     "node-listen in berth.conf.");
	random_hex(secret, ACTIVATION_DIGITS);
	(void)json_object_set_new(request, "_code", json_sprintf("%s-%s", secret, fingerprint));
	explicit_bzero(secret, sizeof(secret));
	return 0;
}

static void dispatch_activation(struct api *api, const char *operation, json_t *request,
				struct call *call)
{
	struct ecs_fault f;

	if (str_starts(operation, "Create") && add_code(api, request, &f) < 0)
		call_fault(call, &f);
	else
		ledger_call(api->o.ledger, operation, request, call);
}

static void dispatch_logs(struct api *api, const char *operation, json_t *request,
			  struct call *call)
{
	logs_call(api->o.logs, operation, request, call);
}

/* The node that a request of ours is for: that of the task named, or of the instance. */
static const char *node_for(struct api *api, json_t *request, struct ecs_fault *f)
{
	const char *cluster = json_string_value(json_object_get(request, "cluster"));
	const char *task = json_string_value(json_object_get(request, "task")), *instance = NULL;
	auto_json json_t *doc = NULL;

	if (!task)
		return core_find_instance(
			ledger_core(api->o.ledger), cluster,
			json_string_value(json_object_get(request, "containerInstance")),
			nodes_beside(api->o.nodes), f);
	doc = core_find_task(ledger_core(api->o.ledger), cluster, task, &instance, f);
	if (!doc)
		return NULL;
	(void)json_object_set(request, "task", json_object_get(doc, "taskArn"));
	if (!instance)
		(void)ecs_fault_set(f, ECS_FAULT_CLIENT,
				    "The container instance of the task is gone.");
	return instance;
}

static void dispatch_wait(struct api *api, const char *operation, json_t *request,
			  struct call *call)
{
	(void)operation;
	ledger_wait_task(api->o.ledger, request, call);
}

static void dispatch_events(struct api *api, const char *operation, json_t *request,
			    struct call *call)
{
	(void)operation;
	events_call(api->o.events, request, call);
}

/* What RunTask would make of its request, which is in this one. */
static void dispatch_explain(struct api *api, const char *operation, json_t *request,
			     struct call *call)
{
	json_t *run_task = json_object_get(request, "runTask");
	struct ecs_fault f;

	if (ecs_model_check(ecs_model_find(&ecs_model_ecs, "RunTask")->request, run_task, &f) < 0)
		call_fault(call, &f);
	else
		ledger_call(api->o.ledger, operation, run_task, call);
}

/* Those of ours that are not for a node. */
static const struct {
	const char *operation;
	void (*dispatch)(struct api *api, const char *operation, json_t *request,
			 struct call *call);
} of_server[] = {
	{"WaitTask", dispatch_wait},
	{"GetEvents", dispatch_events},
	{"CreateNodeToken", dispatch_activation},
	{"DrainContainerInstance", dispatch_ecs},
	{"ExplainPlacement", dispatch_explain},
};

static void dispatch_berth(struct api *api, const char *operation, json_t *request,
			   struct call *call)
{
	struct ecs_fault f;
	const char *instance;

	for (size_t i = 0; i < ARRAY_COUNT(of_server); i++) {
		if (strcmp(of_server[i].operation, operation) == 0) {
			of_server[i].dispatch(api, operation, request, call);
			return;
		}
	}
	instance = node_for(api, request, &f);
	if (instance)
		nodes_ask(api->o.nodes, instance, operation, request, call);
	else
		call_fault(call, &f);
}

static const struct service {
	const char *target;  /* in front of the operation; NULL: the query protocol */
	const char *signing; /* the service's name in a signature's scope */
	const struct ecs_model *model;
	void (*dispatch)(struct api *api, const char *operation, json_t *request,
			 struct call *call);
} services[] = {
	{"AmazonEC2ContainerServiceV20141113.", "ecs", &ecs_model_ecs, dispatch_ecs},
	{"Logs_20140328.", "logs", &ecs_model_logs, dispatch_logs},
	{"AmazonSSM.", "ssm", &ecs_model_ssm, dispatch_activation},
	{"BerthV1.", "berth", &ecs_model_berth, dispatch_berth},
};

static const struct service ec2 = {NULL, "ec2", &ecs_model_ec2, dispatch_ecs};

static const struct service *service_of(const char *target,
					const struct ecs_operation **ret_operation)
{
	for (size_t i = 0; target && i < ARRAY_COUNT(services); i++) {
		if (!str_starts(target, services[i].target))
			continue;
		*ret_operation = ecs_model_find(services[i].model,
						target + strlen(services[i].target));
		return *ret_operation ? &services[i] : NULL;
	}
	return NULL;
}

/* ---- a request ---- */

static void collect(struct http_request *http, struct ecs_header *headers,
		    struct ecs_http_request *ret)
{
	*ret = (struct ecs_http_request){.method = http_method(http),
					 .target = http_target(http),
					 .headers = headers,
					 .header_count = http_header_count(http)};
	ret->body = http_body(http, &ret->body_size);
	for (size_t i = 0; i < ret->header_count; i++)
		http_header_at(http, i, &headers[i].name, &headers[i].value);
}

static int authenticate(const struct api *api, struct http_request *http,
			const struct service *service, struct ecs_fault *f)
{
	auto_free struct ecs_header *headers = xcalloc(http_header_count(http) + 1,
						       sizeof(*headers));
	struct ecs_http_request r;
	struct ecs_sigv4 s;

	collect(http, headers, &r);
	if (ecs_sigv4_parse(&r, &s, f) < 0)
		return -1;
	if (strcmp(s.access_key, api->o.access_key) != 0 ||
	    http_header(http, "X-Amz-Security-Token"))
		return ecs_fault_set(f, ECS_FAULT_UNRECOGNIZED_CLIENT,
				     "The security token included in the request is invalid.");
	if (ecs_sigv4_verify(&r, &s, api->o.secret_key, api->o.region, clock_wall_ms() / 1000, f) <
	    0)
		return -1;
	if (service && strcmp(s.service, service->signing) != 0)
		return ecs_fault_set(f, ECS_FAULT_INVALID_SIGNATURE,
				     "Credential should be scoped to correct service: '%s'.",
				     service->signing);
	return 0;
}

static int parse_body(struct http_request *http, json_t **ret, struct ecs_fault *f)
{
	size_t size;
	const char *body = http_body(http, &size);
	struct err e = {0};

	if (js_parse(size ? body : "{}", size ? size : 2, JSON_DEPTH, ret, &e) < 0)
		return ecs_fault_set(f, ECS_FAULT_SERIALIZATION, "%s", e.msg);
	return 0;
}

/* What a request is for: the service, or NULL and the fault. */
static const struct service *take_json(const struct api *api, struct call *call,
				       json_t **ret_request, struct ecs_fault *f)
{
	const char *target = http_header(call->http, "X-Amz-Target");
	const struct ecs_operation *operation = NULL;
	const struct service *service = service_of(target, &operation);

	if (!call->trusted && authenticate(api, call->http, service, f) < 0)
		return NULL;
	if (!service || strcmp(http_method(call->http), "POST") != 0) {
		(void)ecs_fault_set(f, ECS_FAULT_UNKNOWN_OPERATION,
				    "Unknown operation: %s '%.200s'", http_method(call->http),
				    target ? target : "");
		return NULL;
	}
	call->operation = operation->name;
	if (parse_body(call->http, ret_request, f) < 0 ||
	    ecs_model_check(operation->request, *ret_request, f) < 0)
		return NULL;
	return service;
}

static const struct service *take_query(const struct api *api, struct call *call,
					json_t **ret_request, struct ecs_fault *f)
{
	size_t size;
	const char *body = http_body(call->http, &size), *action;
	const struct ecs_operation *operation;
	auto_json json_t *tree = NULL;

	if ((!call->trusted && authenticate(api, call->http, &ec2, f) < 0) ||
	    ecs_query_parse(body, size, &tree, f) < 0)
		return NULL;
	action = json_string_value(json_object_get(tree, "Action"));
	operation = action ? ecs_model_find(ec2.model, action) : NULL;
	if (!operation) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_INVALID_ACTION,
				    "The action %.200s is not valid for this web service.",
				    action ? action : "");
		return NULL;
	}
	call->operation = operation->name;
	if (ecs_query_check(operation->request, tree, ret_request, f) < 0)
		return NULL;
	if (json_is_true(json_object_get(*ret_request, "DryRun"))) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_DRY_RUN,
				    "Request would have succeeded, but DryRun flag is set.");
		return NULL;
	}
	return &ec2;
}

static bool is_form(struct http_request *http)
{
	const char *type = http_header(http, "Content-Type");

	return strcmp(http_method(http), "POST") == 0 && type &&
	       str_starts(type, "application/x-www-form-urlencoded") &&
	       !http_header(http, "X-Amz-Target");
}

static void serve(void *ctx, struct call *call)
{
	struct api *api = ctx;
	const struct service *service;
	auto_json json_t *request = NULL;
	struct ecs_fault f = {.message = ""};

	service = (call->query ? take_query : take_json)(api, call, &request, &f);
	if (service)
		service->dispatch(api, call->operation, request, call);
	else
		call_fault(call, &f);
}

static void turn_away(void *ctx, struct call *call)
{
	struct ecs_fault f;

	(void)ctx;
	(void)ecs_fault_set(&f, call->query ? ECS_FAULT_EC2_THROTTLING : ECS_FAULT_THROTTLING,
			    call->query ? "Request limit exceeded." : "Rate exceeded");
	call_fault(call, &f);
}

static void on_request(void *ctx, struct http_request *http)
{
	const struct listener *l = ctx;
	struct call *call = xcalloc(1, sizeof(*call));

	call->http = http;
	call->trusted = l->trusted;
	call->query = is_form(http);
	random_uuid(call->request_id);
	admission_put(l->api->admission, http_caller(http), call);
}

/* ---- life ---- */

static int listen_on(struct api *api, struct listener *l, int fd, bool trusted, struct err *e)
{
	const struct http_options o = {.listen_fd = fd,
				       .loop = api->o.loop,
				       .body_bytes = BODY_BYTES,
				       .header_bytes = HEADER_BYTES,
				       .connections = CONNECTIONS,
				       .connections_of_one = OF_ONE,
				       .request_ms = REQUEST_MS,
				       .on_request = on_request,
				       .ctx = l};

	l->api = api;
	l->trusted = trusted;
	return fd < 0 ? 0 : http_server_start(&o, &l->server, e);
}

int api_start(const struct api_options *o, int tcp_fd, int unix_fd, struct api **ret, struct err *e)
{
	struct api *api = xcalloc(1, sizeof(*api));
	const struct admission_options admission = {.loop = o->loop,
						    .rate = o->caller_rate,
						    .serve = serve,
						    .turn_away = turn_away,
						    .ctx = api};

	api->o = *o;
	api->admission = admission_new(&admission);
	if (listen_on(api, &api->tcp, tcp_fd, false, e) < 0 ||
	    listen_on(api, &api->local, unix_fd, true, e) < 0) {
		api_stop(api);
		return -e->code;
	}
	*ret = api;
	return 0;
}

void api_stop(struct api *api)
{
	if (!api)
		return;
	admission_free(api->admission);
	http_server_stop(api->tcp.server);
	http_server_stop(api->local.server);
	free(api);
}
