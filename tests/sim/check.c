/* tests/sim/check.c - what must hold after each event
 * SPDX-License-Identifier: Apache-2.0
 *
 * The checker sees nothing of the core's memory: it reads what the core wants
 * stored, keeps its own accounts of it, and compares.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define PORTS_PER_TASK 4
#define GPUS_PER_TASK  2
#define MANY_PERCENT   30
#define OVERDUE_MAX_MS 125000 /* two ticks */
#define DRIFT_MS       1000

struct seen {
	int64_t version;
	int status; /* in ECS's order */
	char instance[33];
	int64_t cpu, memory;
	char *ports[PORTS_PER_TASK]; /* "INSTANCE/tcp/8080" while it holds them */
	char *address;
	char *gpus[GPUS_PER_TASK]; /* "INSTANCE/g0" */
	char *group;               /* "INSTANCE GROUP" until it is STOPPED */
	bool live;                 /* it holds what it was given: STOPPED, and given up, too */
};

struct host {
	int64_t cpu, memory; /* left */
	int64_t registered_cpu, registered_memory, quiet_until_ms;
	char status[16];
	int64_t version;
	int64_t gone_ms;      /* since when it is not heard of; 0: it is */
	int64_t last_seen_ms; /* by the world's clock, at least then it was there; 0: unknown */
	int64_t overdue_ms; /* since when its tasks should have been given up; 0: they should not */
	size_t tasks;       /* that are not STOPPED */
	size_t pending, running;
	char disk[8]; /* its attribute; "": it has none */
};

static struct map tasks, hosts, ports, addresses, gpus, started; /* the last: token to a count */
static struct map definitions;                                   /* by "family:revision", read */
static struct map event_versions;                                /* of a resource */
static struct map groups;                                        /* "INSTANCE GROUP" to a count */
static int owed; /* events of the versions that were put */
static bool reloading;
static size_t given_up, events;

static const char *const statuses[] = {"PROVISIONING", "PENDING",  "ACTIVATING",     "RUNNING",
				       "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"};

size_t check_given_up(void)
{
	return given_up;
}

size_t check_tasks(void)
{
	return tasks.count;
}

static const char *text(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

static int64_t integer(const json_t *doc, const char *name)
{
	return json_integer_value(json_object_get(doc, name));
}

static int status_of(const char *name)
{
	size_t len = name ? strcspn(name, "\"") : 0;

	for (int i = 0; i < (int)ARRAY_COUNT(statuses); i++)
		if (strlen(statuses[i]) == len && strncmp(statuses[i], name, len) == 0)
			return i;
	broken("no such status: %.20s", name ? name : "none");
}

/* ---- documents that are read as they were written, because there are many ---- */

/* Behind the last `"name":`, which is that of the document itself; NULL: it has none. */
static const char *behind(const char *body, const char *name)
{
	auto_free char *sign = xasprintf("\"%s\":", name);
	const char *found = NULL;

	for (const char *at = body; (at = strstr(at, sign)); at = found)
		found = at + strlen(sign);
	return found;
}

static int64_t scan_integer(const char *body, const char *name)
{
	const char *at = behind(body, name);

	return at ? strtoll(at, NULL, 10) : 0;
}

/* Ends with a quote. */
static const char *scan_text(const char *body, const char *name)
{
	const char *at = behind(body, name);

	return at && *at == '"' ? at + 1 : NULL;
}

/* ---- container instances ---- */

static struct host *host_of(const char *id)
{
	struct host *h = map_find(&hosts, id);

	if (!h) {
		h = xcalloc(1, sizeof(*h));
		(void)map_put(&hosts, id, h);
	}
	return h;
}

static void note_disk(struct host *h, const char *body)
{
	static const char sign[] = "{\"name\":\"disk\",\"value\":\"";
	const char *at = strstr(body, sign);

	at = at ? at + strlen(sign) : "\"";
	(void)snprintf(h->disk, sizeof(h->disk), "%.*s", (int)strcspn(at, "\""), at);
}

const char *check_disk(const char *instance)
{
	return host_of(instance)->disk;
}

size_t check_running(const char *instance)
{
	return host_of(instance)->running;
}

size_t check_pending(const char *instance)
{
	return host_of(instance)->pending;
}

static void put_instance(const char *key, const char *body)
{
	const char *id = strrchr(key, '/') + 1;
	struct host *h = host_of(id);
	int64_t cpu = scan_integer(body, "_cpu"), memory = scan_integer(body, "_memory"),
		version = scan_integer(body, "version"), gone_ms;
	const char *status = scan_text(body, "status");

	h->cpu += cpu - h->registered_cpu;
	h->memory += memory - h->registered_memory;
	h->registered_cpu = cpu;
	h->registered_memory = memory;
	h->quiet_until_ms = scan_integer(body, "_quietUntil");
	note_disk(h, body);
	gone_ms = scan_integer(body, "_goneAt");
	/* After a start of the server one that does not come back has no _goneAt, and was not seen. */
	if (gone_ms ? !h->gone_ms && !reloading : reloading || nodes_is_connected(id))
		h->last_seen_ms = world_now_ms();
	h->gone_ms = gone_ms;
	(void)snprintf(h->status, sizeof(h->status), "%.*s", (int)strcspn(status, "\""), status);
	if (version < h->version)
		broken("%s: version %lld after %lld", key, (long long)version,
		       (long long)h->version);
	owed += version > h->version && !reloading;
	h->version = version;
}

/* ---- tasks ---- */

static void hold(struct map *m, const char *what, const char *key)
{
	if (map_find(m, what))
		broken("%s is given to %s and to %s", what, (char *)map_find(m, what), key);
	(void)map_put(m, what, xstrdup(key));
}

static void let_go(struct map *m, char **what)
{
	if (!*what)
		return;
	free(map_remove(m, *what));
	free(*what);
	*what = NULL;
}

/* As it was registered: nobody overrides anything. */
static const json_t *definition_of(const char *name)
{
	json_t *doc = map_find(&definitions, name);
	auto_free char *family = xstrdup(name), *key = NULL;

	if (doc)
		return doc;
	*strrchr(family, ':') = '\0';
	key = xasprintf("definition/%s:%010ld", family, strtol(strrchr(name, ':') + 1, NULL, 10));
	if (!durable_read(key))
		broken("%s is not stored", key);
	doc = json_loads(durable_read(key), 0, NULL);
	(void)map_put(&definitions, name, doc);
	return doc;
}

static void take_ports(struct seen *s, const char *name, const char *key)
{
	const json_t *definition = definition_of(name);
	json_t *container, *port;
	size_t i, k, count = 0;

	if (str_eq(text(definition, "networkMode"), "awsvpc"))
		return;
	json_array_foreach (json_object_get(definition, "containerDefinitions"), i, container) {
		json_array_foreach (json_object_get(container, "portMappings"), k, port) {
			if (!integer(port, "hostPort") || count == PORTS_PER_TASK)
				continue;
			s->ports[count] = xasprintf("%s/%s/%lld", s->instance,
						    text(port, "protocol"),
						    (long long)integer(port, "hostPort"));
			hold(&ports, s->ports[count++], key);
		}
	}
}

static void take_address(struct seen *s, const char *body, const char *key)
{
	static const char sign[] = "\"name\":\"privateIPv4Address\",\"value\":\"";
	const char *at = strstr(body, sign);

	if (!at)
		return;
	at += strlen(sign);
	s->address = xstrndup(at, strcspn(at, "\""));
	hold(&addresses, s->address, key);
}

/* As many as the definition wants, of each container its own. */
static void take_gpus(struct seen *s, const char *definition, const char *body, const char *key)
{
	static const char sign[] = "\"gpuIds\":[\"";
	const size_t wanted = str_starts(definition, "gpu:") ? GPUS_PER_TASK : 0;
	size_t count = 0;

	for (const char *at = body; (at = strstr(at, sign)) && count < GPUS_PER_TASK; count++) {
		at += strlen(sign);
		s->gpus[count] = xasprintf("%s/%.*s", s->instance, (int)strcspn(at, "\""), at);
		hold(&gpus, s->gpus[count], key);
	}
	if (count != wanted)
		broken("%s: %s has %zu GPUs", key, definition, count);
}

/* "run-12-3" wants three tasks. */
static void count_started(const char *token, const char *key)
{
	uintptr_t count = (uintptr_t)map_find(&started, token) + 1;
	int64_t wanted;

	if (!parse_i64(strrchr(token, '-') + 1, 1, 100, &wanted))
		broken("%s: startedBy %s", key, token);
	if ((int64_t)count > wanted)
		broken("%s: %s has brought %zu tasks", key, token, (size_t)count);
	(void)map_put(&started, token, (void *)count);
}

size_t check_started(const char *token)
{
	return (uintptr_t)map_find(&started, token);
}

static void join_group(struct seen *s, const char *key, const char *group, const char *token)
{
	uintptr_t count;

	host_of(s->instance)->tasks++;
	s->group = xasprintf("%s %s", s->instance, group);
	count = (uintptr_t)map_find(&groups, s->group);
	if (!reloading)
		callers_check_place(token, key, s->instance, count);
	(void)map_put(&groups, s->group, (void *)(count + 1));
}

size_t check_group(const char *instance, const char *group)
{
	auto_free char *name = xasprintf("%s %s", instance, group);

	return (uintptr_t)map_find(&groups, name);
}

/* -1: it is none any more. */
static void set_status(struct seen *s, int status)
{
	static const int running = 3; /* before it all are pending */
	struct host *h = map_find(&hosts, s->instance);

	if (h) {
		h->pending -= s->status >= 0 && s->status < running;
		h->running -= s->status == running;
		h->pending += status >= 0 && status < running;
		h->running += status == running;
	}
	s->status = status;
}

static void leave_group(struct seen *s)
{
	uintptr_t count;

	if (!s->group)
		return;
	if (map_find(&hosts, s->instance))
		host_of(s->instance)->tasks--;
	count = (uintptr_t)map_find(&groups, s->group);
	if (count > 1)
		(void)map_put(&groups, s->group, (void *)(count - 1));
	else
		(void)map_remove(&groups, s->group);
	free(take_ptr(s->group));
}

static void check_host(const struct host *h, const char *key, const char *instance)
{
	if (!str_eq(h->status, "ACTIVE") || !nodes_is_connected(instance) || h->quiet_until_ms)
		broken("%s: placed on %s, which is %s, %sconnected%s", key, instance, h->status,
		       nodes_is_connected(instance) ? "" : "not ",
		       h->quiet_until_ms ? ", and flapping" : "");
	if (h->cpu < 0 || h->memory < 0)
		broken("%s: instance %s has %lld CPU units and %lld MiB left", key, instance,
		       (long long)h->cpu, (long long)h->memory);
}

static char *copy_text(const char *body, const char *name)
{
	const char *text_at = scan_text(body, name);

	return xstrndup(text_at, strcspn(text_at, "\""));
}

static bool is_over(const char *body)
{
	return status_of(scan_text(body, "lastStatus")) == (int)ARRAY_COUNT(statuses) - 1;
}

static bool is_held(const char *body)
{
	return strstr(body, "\"_held\":true");
}

static void take(struct seen *s, const char *body, const char *key)
{
	auto_free char *definition = copy_text(body, "_definition");
	struct host *h = host_of(s->instance);

	s->live = true;
	h->cpu -= s->cpu;
	h->memory -= s->memory;
	take_ports(s, definition, key);
	take_address(s, body, key);
	take_gpus(s, definition, body, key);
	if (!reloading)
		check_host(h, key, s->instance);
}

static struct seen *begin_task(const char *body, const char *key)
{
	auto_free char *instance = copy_text(body, "_instance"), *group = copy_text(body, "group"),
		       *token = copy_text(body, "startedBy");
	struct seen *s = xcalloc(1, sizeof(*s));

	(void)map_put(&tasks, key, s);
	(void)snprintf(s->instance, sizeof(s->instance), "%s", instance);
	s->cpu = scan_integer(body, "_cpu");
	s->memory = scan_integer(body, "_memory");
	s->status = -1;
	count_started(token, key);
	if (!is_over(body))
		join_group(s, key, group, token);
	if (!is_over(body) || is_held(body))
		take(s, body, key);
	return s;
}

static void end_task(struct seen *s)
{
	struct host *h = map_find(&hosts, s->instance);

	if (!s->live)
		return;
	s->live = false;
	if (h) {
		h->cpu += s->cpu;
		h->memory += s->memory;
	}
	for (size_t i = 0; i < PORTS_PER_TASK; i++)
		let_go(&ports, &s->ports[i]);
	let_go(&addresses, &s->address);
	for (size_t i = 0; i < GPUS_PER_TASK; i++)
		let_go(&gpus, &s->gpus[i]);
}

/* Not before its node has been gone for long, whatever clocks say; they drift. */
static void give_up(const struct seen *s, const char *key)
{
	const struct host *h = host_of(s->instance);
	const int64_t after_ms = world_now_ms() - h->last_seen_ms;

	given_up++;
	if (!reloading && h->last_seen_ms && after_ms < world->lost_minutes * 60000LL - DRIFT_MS)
		broken("%s is given up after %lld s", key, (long long)after_ms / 1000);
}

static void put_task(const char *key, const char *body)
{
	struct seen *s = map_find(&tasks, key);
	int status = status_of(scan_text(body, "lastStatus"));
	int64_t version = scan_integer(body, "version");

	if (!s)
		s = begin_task(body, key);
	if (status < s->status)
		broken("%s: %s after %s", key, statuses[status], statuses[s->status]);
	if (version < s->version)
		broken("%s: version %lld after %lld", key, (long long)version,
		       (long long)s->version);
	if (status != s->status)
		trace("%.16s %s on %.8s", key + strlen("task/default/"), statuses[status],
		      s->instance);
	if (status != s->status && strstr(body, "\"stopCode\":\"TerminationNotice\""))
		give_up(s, key);
	owed += version > s->version && !reloading;
	set_status(s, status);
	s->version = version;
	if (is_over(body))
		leave_group(s);
	if (is_over(body) && !is_held(body))
		end_task(s);
}

/* ---- effects ---- */

static void free_seen(struct seen *s)
{
	set_status(s, -1);
	leave_group(s);
	end_task(s);
	free(s);
}

static void put(const char *key, const char *body)
{
	if (str_starts(key, "task/"))
		put_task(key, body);
	else if (str_starts(key, "instance/"))
		put_instance(key, body);
}

static void drop(const char *key)
{
	struct seen *s = map_find(&tasks, key);

	if (s && (s->live || s->status != (int)ARRAY_COUNT(statuses) - 1))
		broken("%s: it is forgotten while it is %s", key, statuses[s->status]);
	if (s)
		free_seen(map_remove(&tasks, key));
	if (str_starts(key, "instance/"))
		free(map_remove(&hosts, strrchr(key, '/') + 1));
}

/* Each version of a thing once, in order; some are skipped when one event changes it twice. */
static void event(const char *body, const char *sign)
{
	const char *begin = strstr(body, sign) + strlen(sign);
	auto_free char *arn = xstrndup(begin, strcspn(begin, "\""));
	intptr_t version = (intptr_t)scan_integer(body, "version");

	if (version <= (intptr_t)map_find(&event_versions, arn))
		broken("event of %s: version %ld twice, or out of order", arn, (long)version);
	owed--;
	(void)map_put(&event_versions, arn, (void *)version);
}

void check_effects(const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++) {
		const struct core_effect *f = &fx->items[i];

		if (f->kind == CORE_PUT)
			put(f->key, f->text);
		else if (f->kind == CORE_DELETE)
			drop(f->key);
		else if (f->kind == CORE_EVENT)
			event(f->text, "\"resources\":[\"");
		if (f->event_ms)
			event(f->text, "\"taskArn\":\"");
	}
	if (owed)
		broken("%d versions have no event", owed);
}

static void forget(void)
{
	struct seen *s;
	struct host *h;

	for (size_t i = 0; map_next(&tasks, &i, &s);)
		free_seen(s);
	for (size_t i = 0; map_next(&hosts, &i, &h);)
		free(h);
	map_done(&tasks);
	map_done(&hosts);
	map_done(&ports);
	map_done(&addresses);
	map_done(&gpus);
	map_done(&started);
	map_done(&event_versions);
	map_done(&groups);
	tasks = hosts = ports = addresses = gpus = started = event_versions = groups =
		(struct map){0};
}

/* What was lost with the server is lost: the accounts begin from what is stored. */
void check_reload(void)
{
	forget();
	reloading = true;
	durable_each("instance/", put);
	durable_each("task/", put);
	reloading = false;
}

/* Tasks of a node that is lost are given up, unless many are. */
static void check_lost(void)
{
	const int64_t now_ms = world_now_ms(), server_ms = shell_now_ms(),
		      lost_ms = world->lost_minutes * 60000LL;
	size_t gone = 0;
	struct host *h;

	for (size_t i = 0; i < hosts.used; i++) /* one that went with the server has no time */
		gone += hosts.entries[i].key && !nodes_is_connected(hosts.entries[i].key);
	for (size_t i = 0; lost_ms && map_next(&hosts, &i, &h);) {
		const bool few = gone == 1 || gone * 100 <= hosts.count * MANY_PERCENT;

		if (!few || !h->tasks || !h->gone_ms || h->gone_ms + lost_ms > server_ms)
			h->overdue_ms = 0;
		else if (!h->overdue_ms)
			h->overdue_ms = now_ms;
		else if (now_ms - h->overdue_ms > OVERDUE_MAX_MS)
			broken("%zu tasks are on a node that is lost since %lld s", h->tasks,
			       (long long)(server_ms - h->gone_ms) / 1000);
	}
}

void check_core(struct core *c)
{
	struct err e = {0};

	if (++events % (2 * world->nodes))
		return;
	if (core_check(c, &e) < 0)
		broken("%s", e.msg);
	check_lost();
}

void check_begin(void)
{
	given_up = events = 0;
	owed = 0;
	forget();
}

void check_end(void)
{
	json_t *doc;

	forget();
	for (size_t i = 0; map_next(&definitions, &i, &doc);)
		json_decref(doc);
	map_done(&definitions);
	definitions = (struct map){0};
}
