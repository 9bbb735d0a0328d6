/* tests/sim/node.c - nodes: a model of the agent, with links that break
 * SPDX-License-Identifier: Apache-2.0
 *
 * A node keeps its name, its key and its tasks on its disk.  Its tasks go on
 * when the agent dies and end when the host does.  A session is one
 * connection: what is under way when it breaks is lost, and the server notices
 * later than the node, or the other way round.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define RACKS          5
#define GPUS           3 /* of each fourth node */
#define GPUS_MAX       2 /* of a task */
#define CPU_UNITS      4096
#define MEMORY_MIB     8192
#define REPORT_TASKS   500
#define LATENCY_MS     60
#define SLOW_LINK_MS   5000
#define NOTICE_MS      30000 /* until a silent peer is given up */
#define RETRY_MS       5000
#define LIFE_MEAN_MS   (10 * 60 * 1000)
#define BREAK_MEAN_MS  (20 * 60 * 1000)
#define FLAP_MEAN_MS   (60 * 1000)
#define FLAPPING       50 /* of a thousand nodes */
#define KILL_MEAN_MS   (60 * 60 * 1000)
#define REBOOT_MEAN_MS (4 * 60 * 60 * 1000)
#define OUTAGE_MS      60000
#define LONG_OUTAGE_MS (40 * 60 * 1000)
#define LONG_OUTAGES   150                  /* of a thousand */
#define CUT_MEAN_MS    (2 * 60 * 60 * 1000) /* of many at once */
#define NODES_OF_TOKEN 1000
#define IDLE_READ_EACH 8    /* of the messages that the model does nothing with */
#define CLOCK_MS       2000 /* by which its clock is wrong */
#define CLOCKS_SET     50   /* of a thousand broken links: they are, by the way */
#define SERVER_FIRST   250  /* of these the server notices before the node */
#define NO_CLOCKS      100  /* of a thousand hosts: they begin in 1970 */
#define DAY_MS         86400000LL

enum job_status { JOB_WANTED, JOB_RUNNING, JOB_STOPPED };

struct node;

struct job {
	struct node *node;
	char *arn;
	enum job_status status;
	bool stop, untold, in_flight, forgotten;
	const char *reason;
	int64_t started_ms, stopped_ms;
	int64_t cpu, memory, port; /* what it takes of the host */
	char gpus[GPUS_MAX][8];    /* "": none */
	char *address;             /* of its network interface; NULL: it has none */
};

struct node {
	unsigned index;
	char id[33]; /* "": it has not joined */
	char key[65], rack[8], hostname[16];
	char *token;      /* that it joins with, until it has heard that it is in; NULL: any */
	bool alive;       /* the agent's process */
	bool cut;         /* no connection can be made */
	bool slow;        /* its link */
	bool flapping;    /* its link breaks all the time */
	int64_t ahead_ms; /* its clock, of the world's */
	uint64_t session; /* the last that it has begun */
	bool linked;      /* it has one */
	bool welcomed, reporting;
	uint64_t at_server; /* the session that the server has of it; 0: none */
	uint64_t ended; /* the last one that the server has ended: what still comes of it is lost */
	int64_t down_ms,
		up_ms; /* when the last message each way arrives: a stream keeps its order */
	int64_t report_number;
	struct map jobs; /* by ARN */
};

static struct node *nodes;
static unsigned node_count;
static struct map by_instance, ever_started;
static struct map addresses; /* of tasks that run: the job */
static char *activation;
static size_t activation_left, idle_messages;

static const char *const status_names[] = {"PENDING", "RUNNING", "STOPPED"};

/* ---- messages ---- */

struct letter {
	struct node *node;
	uint64_t session;
	char *text;
};

static int64_t latency(const struct node *n)
{
	return n->slow ? between(LATENCY_MS, SLOW_LINK_MS) : between(0, LATENCY_MS);
}

/* When it arrives: not before what was sent before. */
static int64_t arrival(const struct node *n, int64_t *last_ms)
{
	int64_t at_ms = world_now_ms() + latency(n);

	*last_ms = at_ms > *last_ms ? at_ms : *last_ms;
	return *last_ms - world_now_ms();
}

static void post(struct node *n, int64_t delay_ms, world_fn *fn, uint64_t session, char *own_text)
{
	struct letter *l = xcalloc(1, sizeof(*l));

	*l = (struct letter){n, session, own_text};
	world_after(delay_ms, fn, l, 0);
}

static void free_letter(struct letter *l)
{
	free(l->text);
	free(l);
}

static void arrive_at_node(void *ctx, uint64_t arg);
static void dial(void *ctx, uint64_t arg);
static void hang_up(struct node *n, const char *why);
static void join(struct node *n);

/* ---- the server's side of a session: scheduler/nodes.c ---- */

static int server_on_hello(void *ctx, const void *message, struct err *e)
{
	struct letter *l = ctx;
	struct node *n = l->node;
	const struct ecs_node_hello *h = message;
	const char *instance;
	int r = core_node_hello(shell_core(), h, n->key, 10000, shell_now_ms(), &instance, e);

	if (r < 0) {
		const struct ecs_node_refused refused = {.reason = e->msg, .removed = r == -ENOENT};

		post(n, arrival(n, &n->down_ms), arrive_at_node, l->session,
		     ecs_node_dump(ECS_NODE_REFUSED, &refused));
		return 0;
	}
	n->at_server = l->session;
	trace("node %u: hello as %.8s", n->index, instance);
	shell_commit(NULL, NULL);
	return 0;
}

static int server_on_report(void *ctx, const void *message, struct err *e)
{
	struct letter *l = ctx;

	(void)e;
	if (l->node->at_server != l->session)
		return 0; /* of a session that was replaced */
	core_node_report(shell_core(), l->node->id, message, shell_now_ms());
	shell_commit(NULL, NULL);
	return 0;
}

static const struct ecs_node_handler server_opening[] = {
	{ECS_NODE_HELLO, true, sizeof(struct ecs_node_hello), server_on_hello},
};
static const struct ecs_node_handler server_handlers[] = {
	{ECS_NODE_REPORT, false, sizeof(struct ecs_node_report), server_on_report},
};

static void arrive_at_server(void *ctx, uint64_t arg)
{
	struct letter *l = ctx;
	struct node *n = l->node;
	bool opened = n->at_server == l->session;
	struct err e = {0};

	(void)arg;
	if (shell_is_up() && n->linked && n->session == l->session && n->ended != l->session &&
	    ecs_node_dispatch(opened ? server_handlers : server_opening, 1, opened, l, l->text,
			      strlen(l->text), &e) < 0)
		broken("node %u: the server cannot read: %s", n->index, e.msg);
	free_letter(l);
}

/* The server has not heard of the session for long, or its socket says so. */
static void server_gives_up(void *ctx, uint64_t session)
{
	struct node *n = ctx;

	if (!shell_is_up() || n->at_server != session)
		return;
	n->at_server = 0;
	trace("node %u: the server finds it gone", n->index);
	core_node_gone(shell_core(), n->id, shell_now_ms());
	shell_commit(NULL, NULL);
}

/* ---- tasks on the node ---- */

static void send_report(struct node *n);

static void set_clock(struct node *n)
{
	n->ahead_ms = chance(NO_CLOCKS) ? DAY_MS - world_now_ms() : between(-CLOCK_MS, CLOCK_MS);
}

static int64_t node_now_ms(const struct node *n)
{
	return world_now_ms() + n->ahead_ms;
}

static void set_status(struct job *j, enum job_status status)
{
	if (j->address && map_find(&addresses, j->address) == j)
		(void)map_remove(&addresses, j->address);
	j->status = status;
}

static void note(struct job *j, enum job_status status)
{
	set_status(j, status);
	j->untold = true;
	if (status == JOB_RUNNING)
		j->started_ms = node_now_ms(j->node);
	if (status == JOB_STOPPED)
		j->stopped_ms = node_now_ms(j->node);
	send_report(j->node);
}

static void end_job(void *ctx, uint64_t arg)
{
	struct job *j = ctx;

	(void)arg;
	if (j->status == JOB_STOPPED)
		return;
	note(j, JOB_STOPPED);
}

static bool shares_gpu(const struct job *a, const struct job *b)
{
	for (int i = 0; i < GPUS_MAX * GPUS_MAX; i++)
		if (*a->gpus[i / GPUS_MAX] && str_eq(a->gpus[i / GPUS_MAX], b->gpus[i % GPUS_MAX]))
			return true;
	return false;
}

/* Of a node that somebody has removed, and that does not know it yet, tasks still run. */
static bool is_member(const struct node *n)
{
	auto_free char *key = xasprintf("instance/default/%s", n->id);

	return durable_read(key);
}

static void check_address(struct job *j)
{
	const struct job *other = j->address ? map_find(&addresses, j->address) : NULL;

	if (other && is_member(other->node) && is_member(j->node))
		broken("%s of node %u and %s of node %u have address %s", j->arn, j->node->index,
		       other->arn, other->node->index, j->address);
	if (j->address)
		(void)map_put(&addresses, j->address, j);
}

/* What really runs here has what it was promised: whatever anybody's accounts say. */
static void check_room(const struct job *new_job)
{
	int64_t cpu = new_job->cpu, memory = new_job->memory;
	struct job *j;

	for (size_t i = 0; map_next(&new_job->node->jobs, &i, &j);) {
		if (j->status != JOB_RUNNING)
			continue;
		cpu += j->cpu;
		memory += j->memory;
		if (j->port && j->port == new_job->port)
			broken("node %u: %s and %s want port %lld", j->node->index, j->arn,
			       new_job->arn, (long long)j->port);
		if (shares_gpu(j, new_job))
			broken("node %u: %s and %s have a GPU in common", j->node->index, j->arn,
			       new_job->arn);
	}
	if (cpu > CPU_UNITS || memory > MEMORY_MIB)
		broken("node %u: %lld CPU units and %lld MiB are in use", new_job->node->index,
		       (long long)cpu, (long long)memory);
}

static void run_job(void *ctx, uint64_t arg)
{
	struct job *j = ctx;

	(void)arg;
	if (j->status != JOB_WANTED)
		return;
	if (j->stop || chance(40)) {
		j->reason = "TaskFailedToStart";
		note(j, JOB_STOPPED);
		return;
	}
	check_room(j);
	check_address(j);
	if (map_find(&ever_started, j->arn))
		broken("node %u: %s is started a second time", j->node->index, j->arn);
	(void)map_put(&ever_started, j->arn, j->node);
	note(j, JOB_RUNNING);
	world_after(about(LIFE_MEAN_MS), end_job, j, 0);
}

static struct job *add_job(struct node *n, const char *arn)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->node = n;
	j->arn = xstrdup(arn);
	(void)map_put(&n->jobs, arn, j);
	return j;
}

static void take_demand(struct job *j, const struct ecs_task_definition *d)
{
	for (size_t i = 0; i < d->containers.count; i++) {
		const struct ecs_container_definition *c =
			JS_AT(d->containers, struct ecs_container_definition, i);

		j->cpu += c->cpu;
		j->memory += c->memory ? *c->memory : 0;
		if (c->port_mappings.count && !str_eq(d->network_mode, "awsvpc"))
			j->port = JS_AT(c->port_mappings, struct ecs_port_mapping, 0)->host_port;
	}
}

static void take_gpu(struct job *j, const char *id)
{
	int i = 0;

	while (i < GPUS_MAX && *j->gpus[i])
		i++;
	if (i == GPUS_MAX || j->node->index % 4 || id[0] != 'g' || id[1] - '0' >= GPUS)
		broken("node %u: %s has GPU %s", j->node->index, j->arn, id);
	(void)snprintf(j->gpus[i], sizeof(j->gpus[i]), "%s", id);
}

/* What was chosen for it, and for nobody else. */
static void take_own(struct job *j, const struct ecs_node_task *t)
{
	if (t->network_interface)
		j->address = xstrdup(t->network_interface->address);
	for (size_t i = 0; i < t->containers.count; i++) {
		const struct ecs_node_container *c = JS_AT(t->containers, struct ecs_node_container,
							   i);

		for (size_t k = 0; k < c->gpu_ids.count; k++)
			take_gpu(j, c->gpu_ids.items[k]);
	}
}

static void want(struct node *n, const struct ecs_node_task *t)
{
	struct job *j = map_find(&n->jobs, t->task_arn);
	bool stop = str_eq(t->desired_status, "STOPPED");

	if (!j) {
		j = add_job(n, t->task_arn);
		take_demand(j, &t->definition);
		take_own(j, t);
		if (stop || !str_eq(t->last_status, "PENDING")) {
			if (!stop && !str_eq(t->last_status, "PROVISIONING"))
				broken("node %u: %s ran before, and nothing is known of it",
				       n->index, t->task_arn);
		}
		j->stop = stop;
		world_after(between(20, 3000), run_job, j, 0);
		return;
	}
	if (j->forgotten)
		broken("node %u: %s is wanted again after the server had forgotten it", n->index,
		       j->arn);
	if (stop && !j->stop && j->status != JOB_STOPPED)
		world_after(between(5, 10000), end_job, j, 0);
	j->stop |= stop;
}

static bool is_listed(const struct ecs_node_tasks *full, const char *arn)
{
	for (size_t i = 0; i < full->tasks.count; i++)
		if (strcmp(JS_AT(full->tasks, struct ecs_node_task, i)->task_arn, arn) == 0)
			return true;
	return false;
}

static void keep_only(struct node *n, const struct ecs_node_tasks *full)
{
	struct job *j;

	for (size_t i = 0; map_next(&n->jobs, &i, &j);) {
		if (is_listed(full, j->arn) || j->forgotten)
			continue;
		j->forgotten = j->status == JOB_STOPPED && !j->untold;
		if (j->status != JOB_STOPPED && !j->stop) {
			j->stop = true;
			world_after(between(5, 10000), end_job, j, 0);
		}
	}
}

/* ---- what the node is told ---- */

static int on_welcome(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;
	const struct ecs_node_welcome *w = message;
	struct job *j;

	(void)e;
	if (!str_eq(w->instance_id, n->id))
		broken("node %u: welcomed as %s", n->index, w->instance_id);
	n->welcomed = true;
	n->reporting = false;
	n->report_number = w->report;
	for (size_t i = 0; map_next(&n->jobs, &i, &j);) {
		j->untold |= j->in_flight;
		j->in_flight = false;
	}
	return 0;
}

static int on_tasks(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;
	const struct ecs_node_tasks *tasks = message;

	(void)e;
	for (size_t i = 0; i < tasks->tasks.count; i++)
		want(n, JS_AT(tasks->tasks, struct ecs_node_task, i));
	if (tasks->full)
		keep_only(n, tasks);
	send_report(n);
	return 0;
}

static int on_ack(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;
	struct job *j;

	(void)e;
	if (((const struct ecs_node_ack *)message)->number != n->report_number)
		return 0;
	n->reporting = false;
	for (size_t i = 0; map_next(&n->jobs, &i, &j);)
		j->in_flight = false;
	send_report(n);
	return 0;
}

/* It was removed: its tasks end, and it comes again as another. */
static int on_refused(void *ctx, const void *message, struct err *e)
{
	struct node *n = ctx;
	struct job *j;

	(void)message;
	(void)e;
	trace("node %u: it was removed", n->index);
	hang_up(n, "removed");
	for (size_t i = 0; map_next(&n->jobs, &i, &j);) {
		set_status(j, JOB_STOPPED);
		j->forgotten = true;
		j->untold = j->in_flight = false;
	}
	(void)map_remove(&by_instance, n->id);
	n->id[0] = '\0';
	n->at_server = 0;
	join(n);
	return 0;
}

static int on_other(void *ctx, const void *message, struct err *e)
{
	(void)ctx;
	(void)message;
	(void)e;
	return 0;
}

static const struct ecs_node_handler handlers[] = {
	{ECS_NODE_WELCOME, true, sizeof(struct ecs_node_welcome), on_welcome},
	{ECS_NODE_REFUSED, true, sizeof(struct ecs_node_refused), on_refused},
	{ECS_NODE_REFUSED, false, sizeof(struct ecs_node_refused), on_refused},
	{ECS_NODE_PEERS, false, sizeof(struct ecs_node_peers), on_other},
	{ECS_NODE_GROUPS, false, sizeof(struct ecs_node_groups), on_other},
	{ECS_NODE_TASKS, false, sizeof(struct ecs_node_tasks), on_tasks},
	{ECS_NODE_ACK, false, sizeof(struct ecs_node_ack), on_ack},
};

/* What it can read, and has no use for now, ends the session. */
static void read_at_node(struct letter *l)
{
	struct node *n = l->node;
	struct err e = {0};
	int r = ecs_node_dispatch(handlers, ARRAY_COUNT(handlers), n->welcomed, n, l->text,
				  strlen(l->text), &e);

	if (r < 0 && r != -EPROTO)
		broken("node %u: it cannot read '%s': %s", n->index, l->text, e.msg);
	if (r < 0)
		hang_up(n, e.msg);
}

static void arrive_at_node(void *ctx, uint64_t arg)
{
	struct letter *l = ctx;
	const struct node *n = l->node;

	(void)arg;
	/* What was sent for an earlier session of the same node comes before its welcome. */
	if (n->alive && n->linked && n->session == l->session)
		read_at_node(l);
	free_letter(l);
}

/*
 * It is of peers or groups, of which the model has none: whether such a message can be read
 * is seen now and then.
 */
static bool is_passed_over(const char *text)
{
	return (str_ends(text, "\"type\":\"peers\"}") || str_ends(text, "\"type\":\"groups\"}")) &&
	       idle_messages++ % IDLE_READ_EACH;
}

void nodes_deliver(const char *instance, const char *text, bool last)
{
	struct node *n = map_find(&by_instance, instance);

	if (!n || !n->at_server || is_passed_over(text))
		return;
	post(n, arrival(n, &n->down_ms), arrive_at_node, n->at_server, xstrdup(text));
	if (last) {
		n->ended = n->at_server;
		n->at_server = 0;
	}
}

/* ---- what the node says ---- */

static void say(struct node *n, enum ecs_node_type type, const void *message)
{
	char *text = ecs_node_dump(type, message);

	/* Nobody sends twice on one stream; what came twice is of two sessions. */
	post(n, arrival(n, &n->up_ms), arrive_at_server, n->session, text);
}

static void send_report(struct node *n)
{
	struct ecs_task_state items[REPORT_TASKS];
	struct ecs_node_report report = {.number = n->report_number + 1, .tasks.items = items};
	struct job *j;

	if (!n->alive || !n->linked || !n->welcomed || n->reporting)
		return;
	for (size_t i = 0; report.tasks.count < REPORT_TASKS && map_next(&n->jobs, &i, &j);) {
		if (!j->untold)
			continue;
		items[report.tasks.count++] = (struct ecs_task_state){
			.task_arn = j->arn,
			.last_status = (char *)(uintptr_t)status_names[j->status],
			.stop_code = (char *)(uintptr_t)(j->status == JOB_STOPPED && j->reason
								 ? j->reason
								 : NULL),
			.started_at = j->started_ms,
			.stopped_at = j->stopped_ms};
		j->untold = false;
		j->in_flight = true;
	}
	if (!report.tasks.count)
		return;
	n->reporting = true;
	n->report_number++;
	say(n, ECS_NODE_REPORT, &report);
}

static void dial(void *ctx, uint64_t arg)
{
	struct node *n = ctx;
	struct ecs_attribute rack[] = {{.name = (char[]){"rack"}, .value = n->rack},
				       {.name = (char[]){"ecs.capability.task-eni"}}};
	/* Some have three, of which one is not found now and then. */
	char *gpus[GPUS] = {(char[]){"g0"}, (char[]){"g1"}, (char[]){"g2"}};
	const size_t lost = chance(100), has = n->index % 4 == 0 ? ARRAY_COUNT(gpus) - lost : 0;
	const struct ecs_node_hello hello = {.protocol = ECS_NODE_PROTOCOL,
					     .instance_id = n->id,
					     .hostname = n->hostname,
					     .boot_id = (char[]){"b"},
					     .version = (char[]){"1"},
					     .cpu_units = CPU_UNITS,
					     .memory_mib = MEMORY_MIB,
					     .gpu_ids = {gpus + lost, has},
					     .attributes = {rack, ARRAY_COUNT(rack)}};

	(void)arg;
	if (!n->alive || n->linked || !*n->id)
		return;
	if (n->cut || !shell_is_up()) {
		world_after(between(RETRY_MS / 2, RETRY_MS), dial, n, 0);
		return;
	}
	n->session++;
	n->linked = true;
	n->welcomed = false;
	n->reporting = false;
	n->slow = world_has_faults() && chance(50);
	n->up_ms = n->down_ms = world_now_ms();
	say(n, ECS_NODE_HELLO, &hello);
}

/* The node's end of the session is over; when the server hears of it is another matter. */
static void hang_up(struct node *n, const char *why)
{
	if (!n->linked)
		return;
	trace("node %u: session ends: %s", n->index, why);
	n->linked = n->welcomed = false;
	world_after(chance(700) ? between(0, 100) : between(0, NOTICE_MS), server_gives_up, n,
		    n->session);
	world_after(between(50, RETRY_MS), dial, n, 0);
}

/* ---- joining ---- */

struct joining {
	struct node *node;
	char *instance;
};

static void try_join(void *ctx, uint64_t arg)
{
	(void)arg;
	join(ctx);
}

static void on_joined(void *ctx, bool lost)
{
	struct joining *j = ctx;
	struct node *n = j->node;

	if (!lost) {
		(void)snprintf(n->id, sizeof(n->id), "%s", j->instance);
		(void)map_put(&by_instance, n->id, n);
		free(take_ptr(n->token));
		trace("node %u: joined as %.8s", n->index, n->id);
	}
	world_after(between(1, RETRY_MS), lost ? try_join : dial, n, 0);
	free(j->instance);
	free(j);
}

static void on_activation(void *ctx, const char *reply, const struct ecs_fault *f)
{
	struct node *n = ctx;

	(void)f;
	if (reply) {
		auto_json json_t *doc = json_loads(reply, 0, NULL);

		free(activation);
		activation = xstrdup(json_string_value(json_object_get(doc, "activationId")));
		activation_left = NODES_OF_TOKEN;
	}
	world_after(between(1, RETRY_MS), try_join, n, 0);
}

static void join(struct node *n)
{
	struct ecs_node_join message = {.protocol = ECS_NODE_PROTOCOL,
					.code = (char[]){"secret"},
					.request = (char[]){""},
					.hostname = n->hostname};
	struct joining *j;
	const char *instance;
	struct err e = {0};

	if (*n->id)
		return;
	if (!shell_is_up()) {
		world_after(between(1, RETRY_MS), try_join, n, 0);
		return;
	}
	if (!n->token && (!activation || !activation_left)) {
		shell_call("CreateNodeToken",
			   json_pack("{s:s, s:i}", "_code", "secret", "registrationLimit",
				     NODES_OF_TOKEN),
			   on_activation, n);
		return;
	}
	if (!n->token) {
		n->token = xstrdup(activation);
		activation_left--;
	}
	message.activation_id = n->token;
	if (core_node_join(shell_core(), &message, n->key, shell_now_ms(), &instance, &e) < 0) {
		trace("node %u: cannot join: %s", n->index, e.msg);
		free(take_ptr(n->token));
		activation_left = 0;
		world_after(between(1, RETRY_MS), try_join, n, 0);
		return;
	}
	j = xcalloc(1, sizeof(*j));
	*j = (struct joining){n, xstrdup(instance)};
	shell_commit(on_joined, j);
}

/* ---- what goes wrong ---- */

static void revive(void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	(void)arg;
	n->alive = true;
	dial(n, 0);
}

static void kill_agent(struct node *n, const char *what)
{
	trace("node %u: %s", n->index, what);
	hang_up(n, what);
	n->alive = false;
	world_after(between(100, chance(LONG_OUTAGES) ? LONG_OUTAGE_MS : OUTAGE_MS), revive, n, 0);
}

static void hear_nothing(void *ctx, uint64_t session)
{
	struct node *n = ctx;

	if (n->linked && n->session == session)
		hang_up(n, "nothing is heard");
}

/* The server gives the session up, and the node knows nothing of it. */
static void break_server_side(struct node *n)
{
	const uint64_t session = n->at_server;

	if (!session || session != n->session)
		return;
	n->ended = session;
	server_gives_up(n, session);
	world_after(between(0, NOTICE_MS), hear_nothing, n, session);
}

static void break_link(void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	(void)arg;
	if (!world_has_faults())
		return;
	if (chance(CLOCKS_SET))
		set_clock(n);
	if (chance(SERVER_FIRST))
		break_server_side(n);
	else
		hang_up(n, "link");
	world_after(about(n->flapping ? FLAP_MEAN_MS : BREAK_MEAN_MS), break_link, n, 0);
}

static void kill_node(void *ctx, uint64_t arg)
{
	struct node *n = ctx;

	(void)arg;
	if (!world_has_faults())
		return;
	if (n->alive)
		kill_agent(n, "agent dies");
	world_after(about(KILL_MEAN_MS), kill_node, n, 0);
}

static void reboot(void *ctx, uint64_t arg)
{
	struct node *n = ctx;
	struct job *j;

	(void)arg;
	if (!world_has_faults())
		return;
	if (n->alive)
		kill_agent(n, "host goes down");
	set_clock(n);
	for (size_t i = 0; map_next(&n->jobs, &i, &j);) {
		if (j->status == JOB_STOPPED)
			continue;
		set_status(j, JOB_STOPPED);
		j->stopped_ms = node_now_ms(j->node);
		j->untold = true;
	}
	world_after(about(REBOOT_MEAN_MS), reboot, n, 0);
}

static void heal(void *ctx, uint64_t arg)
{
	(void)ctx;
	(void)arg;
	trace("the network is whole again");
	for (unsigned i = 0; i < node_count; i++)
		nodes[i].cut = false;
}

/* A part of the cluster is cut off at once. */
static void cut(void *ctx, uint64_t arg)
{
	unsigned share = (unsigned)between(1, 900);

	(void)ctx;
	(void)arg;
	if (!world_has_faults())
		return;
	trace("%u of 1000 nodes are cut off", share);
	for (unsigned i = 0; i < node_count; i++) {
		if (!chance(share))
			continue;
		nodes[i].cut = true;
		hang_up(&nodes[i], "cut off");
	}
	world_after(between(1000, 15 * 60 * 1000), heal, NULL, 0);
	world_after(about(world_mean_ms(CUT_MEAN_MS)), cut, NULL, 0);
}

void nodes_server_is_gone(void)
{
	for (unsigned i = 0; i < node_count; i++) {
		nodes[i].at_server = 0;
		hang_up(&nodes[i], "server");
	}
}

/* ---- asked ---- */

const char *nodes_rack(const char *instance)
{
	const struct node *n = map_find(&by_instance, instance);

	return n ? n->rack : NULL;
}

bool nodes_is_connected(const char *instance)
{
	const struct node *n = map_find(&by_instance, instance);

	return n && n->at_server;
}

const char *nodes_any(void)
{
	for (int i = 0; i < 20; i++) {
		const struct node *n = &nodes[below(node_count)];

		if (*n->id)
			return n->id;
	}
	return NULL;
}

static void check_stored_instance(const char *key, const char *text)
{
	json_t *doc = json_loads(text, 0, NULL);

	if (json_object_get(doc, "_quietUntil"))
		broken("settled: %s still gets no tasks", key);
	json_decref(doc);
}

static void check_stored_task(const char *key, const char *text)
{
	json_t *doc = json_loads(text, 0, NULL);
	const char *arn = json_string_value(json_object_get(doc, "taskArn")),
		   *instance = json_string_value(json_object_get(doc, "_instance")),
		   *status = json_string_value(json_object_get(doc, "lastStatus"));
	const struct node *n = instance ? map_find(&by_instance, instance) : NULL;
	const struct job *j = n ? map_find(&n->jobs, arn) : NULL;

	if (strcmp(status, "STOPPED") != 0) {
		if (str_eq(json_string_value(json_object_get(doc, "desiredStatus")), "STOPPED"))
			broken("settled: %s should be STOPPED, and is %s", key, status);
		if (!j)
			broken("settled: %s is %s and no node has it", key, status);
		if (strcmp(status_names[j->status], status) != 0)
			broken("settled: %s is %s, and %s on node %u", key, status,
			       status_names[j->status], n->index);
	} else if (j && j->status != JOB_STOPPED) {
		broken("settled: %s is STOPPED, and %s on node %u", key, status_names[j->status],
		       n->index);
	}
	json_decref(doc);
}

void nodes_check_settled(void)
{
	struct job *j;

	for (unsigned i = 0; i < node_count; i++) {
		const struct node *n = &nodes[i];

		if (!n->linked || !n->welcomed || !n->at_server)
			broken("settled: node %u has no session", n->index);
		for (size_t k = 0; map_next(&n->jobs, &k, &j);)
			if (j->untold || j->in_flight)
				broken("settled: node %u: the end of %s was not told", n->index,
				       j->arn);
	}
	durable_each("task/", check_stored_task);
	durable_each("instance/", check_stored_instance);
}

/* ---- life ---- */

void nodes_begin(unsigned count)
{
	node_count = count;
	nodes = xcalloc(count, sizeof(*nodes));
	for (unsigned i = 0; i < count; i++) {
		struct node *n = &nodes[i];

		n->index = i;
		n->alive = true;
		n->flapping = chance(FLAPPING);
		set_clock(n);
		(void)snprintf(n->key, sizeof(n->key), "%064x", i + 1);
		(void)snprintf(n->rack, sizeof(n->rack), "r%u", i % RACKS);
		(void)snprintf(n->hostname, sizeof(n->hostname), "host%u", i);
		world_after(between(0, 10000), try_join, n, 0);
		world_after(about(BREAK_MEAN_MS), break_link, n, 0);
		world_after(about(KILL_MEAN_MS), kill_node, n, 0);
		world_after(about(REBOOT_MEAN_MS), reboot, n, 0);
	}
	world_after(about(world_mean_ms(CUT_MEAN_MS)), cut, NULL, 0);
}

void nodes_end(void)
{
	struct job *j;

	for (unsigned i = 0; i < node_count; i++) {
		for (size_t k = 0; map_next(&nodes[i].jobs, &k, &j);) {
			free(j->arn);
			free(j->address);
			free(j);
		}
		map_done(&nodes[i].jobs);
		free(nodes[i].token);
	}
	free(take_ptr(nodes));
	free(take_ptr(activation));
	activation_left = idle_messages = 0;
	map_done(&by_instance);
	map_done(&ever_started);
	map_done(&addresses);
}
