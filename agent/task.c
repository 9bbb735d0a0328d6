/* agent/task.c - what a task does next, from what it should be and what it is
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * task_step() looks at all containers and does whatever can be done now; it is
 * called after anything changed, as often as one likes.  Nothing else moves a
 * task on.
 *
 *   PENDING         images come, containers are made and started
 *   ACTIVATING      all run; nothing has to be told elsewhere yet
 *   RUNNING
 *   DEACTIVATING    it is to stop: a caller said so, an essential container
 *                   ended, or a container could not be started
 *   STOPPING        stop signals are out
 *   DEPROVISIONING  no process is left; networks, roots and cgroups go
 *   STOPPED         nothing of it is in the kernel any more
 *
 * 1. A task is on disk before anything of it is in the kernel.
 * 2. STOPPED is told only when its cgroup is gone.
 * 3. The server has the last word on whether a task should run, except that a
 *    task that began to stop never runs again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/runtime.h"

static const char *const statuses[] = {"PENDING",  "ACTIVATING",     "RUNNING", "DEACTIVATING",
				       "STOPPING", "DEPROVISIONING", "STOPPED"};

static int rank(const char *status)
{
	for (size_t i = 0; i < ARRAY_COUNT(statuses); i++)
		if (str_eq(statuses[i], status))
			return (int)i;
	return -1;
}

static bool is_at_least(const struct task *t, const char *status)
{
	return rank(t->state.last_status) >= rank(status);
}

bool task_is_over(const struct task *t)
{
	return is_at_least(t, "STOPPED");
}

char *task_dir(const struct task *t)
{
	return xasprintf("%s/%s", t->agent->tasks_dir, t->id);
}

char *task_cgroup(const struct task *t)
{
	return xasprintf("%s/%s", t->agent->cgroup_base, t->place ? t->place : t->id);
}

void task_keep(struct task *t)
{
	auto_json json_t *doc = task_to_record(t);
	struct err e = {0};

	t->kept = true;
	if (records_put_task(t->agent->records, t->id, doc, &e) < 0)
		log_error("task=%s: state could not be kept: %s", t->id, e.msg);
}

void task_note(struct task *t)
{
	task_keep(t);
	t->untold = true;
	channel_report(t->agent->channel);
	ask_look_again(t->agent);
}

/* Every status on the way is gone through, so that each has its time. */
static void set_status(struct task *t, const char *status)
{
	int64_t now = clock_wall_ms();

	if (is_at_least(t, status))
		return;
	t->state.last_status = (char *)(uintptr_t)status;
	if (str_eq(status, "RUNNING"))
		t->state.started_at = now;
	if (str_eq(status, "DEACTIVATING") && !t->state.stopping_at)
		t->state.stopping_at = now;
	if (str_eq(status, "STOPPED"))
		t->state.stopped_at = now;
	if (str_eq(status, "STOPPED") && t->state.stopped_reason)
		log_info("task=%s status=%s: %s", t->id, status, t->state.stopped_reason);
	else
		log_info("task=%s status=%s", t->id, status);
	task_note(t);
}

void task_stop(struct task *t, const char *stop_code, const char *reason)
{
	if (t->stop)
		return;
	t->stop = true;
	if (!t->state.stop_code) {
		t->state.stop_code = arena_strdup(&t->arena, stop_code);
		t->state.stopped_reason = arena_strdup(&t->arena, reason);
	}
	task_note(t);
}

/* ---- the step ---- */

/* Has any container come to an end that ends the task? */
static void look_for_ends(struct task *t)
{
	for (size_t i = 0; i < t->count; i++) {
		struct container *c = &t->containers[i];

		if (c->phase < PHASE_STOPPED)
			continue;
		if (c->failed)
			task_stop(t, "TaskFailedToStart", c->state->reason);
		else if (ecs_is_essential(c->def))
			task_stop(t, "EssentialContainerExited",
				  "Essential container in task exited");
	}
}

static void go_on(struct task *t)
{
	bool all_run = true;

	for (size_t i = 0; i < t->count && !t->stop; i++) {
		struct container *c = &t->containers[i];

		if (c->phase == PHASE_PENDING)
			container_pull(c);
		if (c->phase == PHASE_PULLED && c->stream_ready && links_may_be_made(c))
			container_create(c);
		if (c->phase == PHASE_STOPPED)
			container_take_apart(c);
		all_run &= c->phase >= PHASE_RUNNING;
	}
	look_for_ends(t);
	if (all_run && !t->stop) {
		set_status(t, "ACTIVATING");
		set_status(t, "RUNNING");
	}
}

static void is_clean(struct agent *a, const char *id, const struct err *e)
{
	struct task *t = map_find(&a->tasks, id);

	if (!t)
		return; /* the agent ends */
	if (e)
		log_error("task=%s: %s", t->id, e->msg); /* tried again when it is dropped */
	t->clean = true;
	storage_give_back(t);
	ids_give_back(t);
	task_step(t);
}

/* The task's own cgroup and scratch volumes; the log directories stay for a while. */
static void clean_up(struct task *t)
{
	auto_free char *dir = task_dir(t);
	struct removal *r;
	struct err e = {0};

	if (t->cleaning)
		return;
	t->cleaning = true;
	if (network_remove_task(t, &e) < 0)
		log_error("task=%s: %s", t->id, e.msg); /* the next sweep tries again */
	flows_end(t);
	r = removal_new(t->agent, t->id, is_clean);
	removal_add(r, runtime_cgroup_remove, task_cgroup(t));
	removal_add(r, removal_of_tree, xasprintf("%s/volumes", dir));
	removal_run(r);
}

static void come_to_an_end(struct task *t)
{
	bool signals_out = true, all_stopped = true, all_clean = true;

	set_status(t, "DEACTIVATING");
	for (size_t i = 0; i < t->count; i++) {
		struct container *c = &t->containers[i];

		if (c->phase < PHASE_STOPPED)
			container_stop(c);
		if (c->phase == PHASE_STOPPED)
			container_take_apart(c);
		signals_out &= c->signalled || c->phase >= PHASE_STOPPED;
		all_stopped &= c->phase >= PHASE_STOPPED;
		all_clean &= c->phase == PHASE_CLEAN;
	}
	if (signals_out)
		set_status(t, "STOPPING");
	if (all_stopped) {
		if (!t->state.execution_stopped_at && t->state.started_at)
			t->state.execution_stopped_at = clock_wall_ms();
		set_status(t, "DEPROVISIONING");
	}
	if (all_clean)
		clean_up(t);
	if (t->clean)
		set_status(t, "STOPPED");
}

void task_step(struct task *t)
{
	if (t->stepping || t->agent->listing || task_is_over(t))
		return;
	t->stepping = true;
	look_for_ends(t);
	if (!t->stop)
		go_on(t);
	if (t->stop)
		come_to_an_end(t);
	t->stepping = false;
}

/* ---- records ---- */

struct container_record {
	char *phase, *image_digest, *stop_signal;
	int64_t shipped_record[2], shipped_offset[2], shipped_bytes[2];
	bool failed, mapped;
	char *unmapped;
};

struct task_record {
	struct ecs_node_task wanted;
	struct ecs_task_state state;
	struct js_list containers;
	bool stop;
	uint32_t first_id, project;
	char *place;
};

static const struct js_field container_record_fields[] = {
	{"phase", JS_STRING, offsetof(struct container_record, phase), JS_REQUIRED, NULL},
	{"imageDigest", JS_STRING, offsetof(struct container_record, image_digest), 0, NULL},
	{"stopSignal", JS_STRING, offsetof(struct container_record, stop_signal), 0, NULL},
	{"failed", JS_BOOL, offsetof(struct container_record, failed), 0, NULL},
	{"mapped", JS_BOOL, offsetof(struct container_record, mapped), 0, NULL},
	{"unmapped", JS_STRING, offsetof(struct container_record, unmapped), 0, NULL},
	{"stdoutRecord", JS_I64, offsetof(struct container_record, shipped_record[0]), 0, NULL},
	{"stdoutOffset", JS_I64, offsetof(struct container_record, shipped_offset[0]), 0, NULL},
	{"stdoutBytes", JS_I64, offsetof(struct container_record, shipped_bytes[0]), 0, NULL},
	{"stderrRecord", JS_I64, offsetof(struct container_record, shipped_record[1]), 0, NULL},
	{"stderrOffset", JS_I64, offsetof(struct container_record, shipped_offset[1]), 0, NULL},
	{"stderrBytes", JS_I64, offsetof(struct container_record, shipped_bytes[1]), 0, NULL},
};
static const struct js_shape container_record_shape = JS_SHAPE("container", struct container_record,
							       container_record_fields);

static const struct js_field task_record_fields[] = {
	{"wanted", JS_OBJECT, offsetof(struct task_record, wanted), JS_REQUIRED,
	 &ecs_node_task_shape},
	{"state", JS_OBJECT, offsetof(struct task_record, state), JS_REQUIRED,
	 &ecs_task_state_shape},
	{"containers", JS_OBJECTS, offsetof(struct task_record, containers), JS_REQUIRED,
	 &container_record_shape},
	{"stop", JS_BOOL, offsetof(struct task_record, stop), 0, NULL},
	{"firstId", JS_U32, offsetof(struct task_record, first_id), 0, NULL},
	{"project", JS_U32, offsetof(struct task_record, project), 0, NULL},
	{"place", JS_STRING, offsetof(struct task_record, place), 0, NULL},
};
static const struct js_shape task_record_shape = JS_SHAPE("task", struct task_record,
							  task_record_fields);

static const char *const phases[] = {
	[PHASE_PENDING] = "PENDING",   [PHASE_PULLING] = "PULLING",   [PHASE_PULLED] = "PULLED",
	[PHASE_CREATING] = "CREATING", [PHASE_STARTING] = "STARTING", [PHASE_RUNNING] = "RUNNING",
	[PHASE_STOPPED] = "STOPPED",   [PHASE_REMOVING] = "REMOVING", [PHASE_CLEAN] = "CLEAN",
};

json_t *task_to_record(const struct task *t)
{
	auto_arena struct arena a = {0};
	struct container_record *items = arena_alloc(&a, (t->count + 1) * sizeof(*items));
	const struct task_record record = {.wanted = t->wanted,
					   .state = t->state,
					   .containers = {items, t->count},
					   .stop = t->stop,
					   .first_id = t->ids.first_id,
					   .project = t->project,
					   .place = t->place};

	for (size_t i = 0; i < t->count; i++) {
		const struct container *c = &t->containers[i];

		items[i] = (struct container_record){.phase = (char *)(uintptr_t)phases[c->phase],
						     .image_digest = c->image_digest,
						     .stop_signal = c->stop_signal,
						     .failed = c->failed,
						     .mapped = c->mapped,
						     .unmapped = c->unmapped};
		for (int s = 0; s < 2; s++) {
			items[i].shipped_record[s] = (int64_t)c->shipped[s].record;
			items[i].shipped_offset[s] = c->shipped[s].offset;
			items[i].shipped_bytes[s] = (int64_t)c->shipped[s].bytes;
		}
	}
	return js_encode(&task_record_shape, &record);
}

/* ---- life ---- */

/* The containers of a task whose 'wanted' is set. */
static void make_containers(struct task *t)
{
	const struct js_list *defs = &t->wanted.definition.containers;

	t->count = defs->count;
	t->containers = arena_alloc(&t->arena, (t->count + 1) * sizeof(*t->containers));
	for (size_t i = 0; i < t->count; i++) {
		struct container *c = &t->containers[i];

		c->task = t;
		c->index = (unsigned)i;
		c->ahead = AHEAD_NONE;
		c->def = JS_AT(*defs, struct ecs_container_definition, i);
		c->state = JS_AT(t->state.containers, struct ecs_container_state, i);
		(void)snprintf(c->id, sizeof(c->id), "%s-%u", t->id, c->index);
		(void)map_put(&t->agent->containers, c->id, c);
	}
}

static struct task *new_task(struct agent *a, const char *arn)
{
	struct task *t = xcalloc(1, sizeof(*t));
	const char *slash = strrchr(arn, '/');

	t->agent = a;
	t->ids = ID_VIEW_NONE;
	t->netns_fd = -1;
	t->id = xstrdup(slash ? slash + 1 : arn);
	(void)map_put(&a->tasks, t->id, t);
	return t;
}

/* A deep copy by way of the document: what came lives only as long as its frame. */
static void copy_wanted(struct task *t, const struct ecs_node_task *wanted)
{
	auto_json json_t *doc = js_encode(&ecs_node_task_shape, wanted);
	struct err e;

	(void)js_decode(doc, &ecs_node_task_shape, &t->arena, &t->wanted, &e);
}

static void init_state(struct task *t)
{
	const struct js_list *defs = &t->wanted.definition.containers;
	struct ecs_container_state *states = arena_alloc(&t->arena,
							 (defs->count + 1) * sizeof(*states));

	t->state = (struct ecs_task_state){.task_arn = t->wanted.task_arn,
					   .last_status = (char *)(uintptr_t) "PENDING",
					   .containers = {states, defs->count}};
	for (size_t i = 0; i < defs->count; i++)
		states[i] = (struct ecs_container_state){
			.name = JS_AT(*defs, struct ecs_container_definition, i)->name,
			.last_status = (char *)(uintptr_t) "PENDING"};
}

void task_free(struct task *t)
{
	for (size_t i = 0; i < t->count; i++) {
		(void)map_remove(&t->agent->containers, t->containers[i].id);
		container_done(&t->containers[i]);
	}
	ids_close(&t->ids);
	close_fd(&t->netns_fd);
	arena_done(&t->arena);
	free(t->id);
	free(t);
}

struct task *task_from_record(struct agent *a, const json_t *doc, struct err *e)
{
	auto_arena struct arena arena = {0};
	struct task_record record;
	struct task *t;

	if (js_decode(doc, &task_record_shape, &arena, &record, e) < 0)
		return NULL;
	if (record.containers.count != record.wanted.definition.containers.count ||
	    record.state.containers.count != record.containers.count) {
		(void)err_set(e, EUCLEAN, "record of task %s is not whole", record.wanted.task_arn);
		return NULL;
	}
	t = new_task(a, record.wanted.task_arn);
	t->arena = arena;
	arena = (struct arena){0};
	t->wanted = record.wanted;
	t->state = record.state;
	t->stop = record.stop;
	t->ids.first_id = record.first_id;
	t->project = record.project;
	t->place = record.place;
	ids_found(&a->ranges, t->ids.first_id, !task_is_over(t));
	t->untold = true;
	make_containers(t);
	for (size_t i = 0; i < t->count; i++) {
		const struct container_record *r = JS_AT(record.containers, struct container_record,
							 i);
		struct container *c = &t->containers[i];

		for (size_t p = 0; p < ARRAY_COUNT(phases); p++)
			if (str_eq(phases[p], r->phase))
				c->phase = (enum phase)p;
		c->image_digest = r->image_digest ? xstrdup(r->image_digest) : NULL;
		c->stop_signal = r->stop_signal ? xstrdup(r->stop_signal) : NULL;
		c->failed = r->failed;
		c->mapped = r->mapped;
		c->unmapped = r->unmapped;
		for (int s = 0; s < 2; s++) {
			c->shipped[s].record = (uint64_t)r->shipped_record[s];
			c->shipped[s].offset = (uint32_t)r->shipped_offset[s];
			c->shipped[s].bytes = (uint64_t)r->shipped_bytes[s];
		}
	}
	return t;
}

/* ---- the server's word ---- */

static void take_new(struct agent *a, const struct ecs_node_task *wanted)
{
	struct task *t = new_task(a, wanted->task_arn);

	copy_wanted(t, wanted);
	init_state(t);
	make_containers(t);
	if (str_eq(wanted->desired_status, "STOPPED"))
		task_stop(t, wanted->stop_code, wanted->stopped_reason);
	else if (!str_eq(wanted->last_status, "PENDING") &&
		 !str_eq(wanted->last_status, "PROVISIONING"))
		task_stop(t, "TaskFailedToStart",
			  "Task was lost: its container instance does not know it");
	flows_take(t, false);
	for (size_t i = 0; i < t->count; i++)
		shipping_begin(&t->containers[i]);
	task_step(t);
	/* As a rule it is by now: before the first thing of it was made. */
	if (!t->kept)
		task_note(t);
}

void task_want(struct agent *a, const struct ecs_node_task *wanted)
{
	const char *slash = strrchr(wanted->task_arn, '/');
	struct task *t = map_find(&a->tasks, slash ? slash + 1 : wanted->task_arn);

	if (!t) {
		take_new(a, wanted);
		return;
	}
	if (str_eq(wanted->desired_status, "STOPPED"))
		task_stop(t, wanted->stop_code ? wanted->stop_code : "UserInitiated",
			  wanted->stopped_reason ? wanted->stopped_reason : "Task stopped by user");
	flows_change(t, wanted->network_interface);
	t->untold = true; /* it asks because it has not heard */
	task_step(t);
}

void tasks_stop_all(struct agent *a, const char *stop_code, const char *reason)
{
	struct task *t;

	for (size_t i = 0; map_next(&a->tasks, &i, &t);) {
		if (task_is_over(t))
			continue;
		task_stop(t, stop_code, reason);
		task_step(t);
	}
}

bool tasks_are_over(const struct agent *a)
{
	struct task *t;

	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		if (!task_is_over(t))
			return false;
	return true;
}

void tasks_keep_only(struct agent *a, const struct ecs_node_tasks *full)
{
	struct map wanted = {0};
	struct task *t;

	for (size_t i = 0; i < full->tasks.count; i++) {
		struct ecs_node_task *w = JS_AT(full->tasks, struct ecs_node_task, i);

		(void)map_put(&wanted, w->task_arn, w);
	}
	for (size_t i = 0; map_next(&a->tasks, &i, &t);) {
		if (map_find(&wanted, t->wanted.task_arn) || task_is_over(t))
			continue;
		task_stop(t, "UserInitiated", "Task is not known to its cluster");
		task_step(t);
	}
	map_done(&wanted);
}
