/* agent/container.c - one container: made, started, stopped, taken apart
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a container needs is made in the order of the table 'steps' and handed
 * to the keeper; all of it can be taken away again (wipe, remove_rest), from any
 * prefix and more than once.  From then on the keeper's events move it on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "rootfs/rootfs.h"
#include "runtime/runtime.h"

#define CPU_PERIOD_US 100000
#define CPU_CORE      1024 /* units */
#define TASK_PIDS_MAX 32768

char *container_dir(const struct container *c)
{
	auto_free char *dir = task_dir(c->task);

	return xasprintf("%s/%u", dir, c->index);
}

/*
 * Where config.json lies: not below container_dir(), but where it is gone when
 * the host starts again.  What a container may write to does not belong there.
 */
static char *bundle_dir(const struct container *c)
{
	return xasprintf("%s/%s", c->task->agent->bundles_dir, c->id);
}

static char *etc_dir(const struct container *c)
{
	auto_free char *dir = container_dir(c);

	return xasprintf("%s/etc", dir);
}

/* Of what was made ahead; NULL: nothing was. */
static char *ahead_bundle(const struct container *c)
{
	const struct task *t = c->task;

	return t->place ? xasprintf("%s/%s", t->agent->bundles_dir, t->place) : NULL;
}

char *container_log_dir(const struct container *c)
{
	auto_free char *dir = container_dir(c);

	return xasprintf("%s/log", dir);
}

void container_follow(const struct container *c, const struct keeper_cursor *cursor)
{
	struct err ignored; /* a keeper that is gone is noticed by its socket */

	if (c->in_keeper && !c->output_complete)
		(void)keeper_follow(c->task->agent->keeper, c->id, cursor, &ignored);
}

char *container_cgroup(const struct container *c)
{
	auto_free char *cgroup = task_cgroup(c->task);

	return xasprintf("%s/%u", cgroup, c->index);
}

static void set_status(struct container *c, const char *status)
{
	c->state->last_status = (char *)(uintptr_t)status;
	task_note(c->task);
}

/* Everything that the steps below make, whichever of them were reached. */
static int wipe(struct container *c, struct err *e)
{
	auto_free char *dir = container_dir(c);
	auto_free char *scratch = xasprintf("%s/root", dir);
	auto_free char *bundle = bundle_dir(c);
	auto_free char *ahead = ahead_bundle(c);
	auto_free char *etc = etc_dir(c);
	auto_free char *cgroup = container_cgroup(c);

	if (network_remove(c, e) < 0 || rootfs_scratch_remove(scratch, e) < 0 ||
	    fs_remove_tree(AT_FDCWD, bundle, e) < 0 ||
	    (ahead && fs_remove_tree(AT_FDCWD, ahead, e) < 0) ||
	    fs_remove_tree(AT_FDCWD, etc, e) < 0 || runtime_cgroup_remove(cgroup, e) < 0)
		return -e->code;
	return 0;
}

/* Its process is gone, or it never had one. */
static void is_stopped(struct container *c)
{
	loop_timer_free(take_ptr(c->patience));
	c->phase = PHASE_STOPPED;
	set_status(c, "STOPPED");
}

void container_fail(struct container *c, const char *prefix, const char *why)
{
	c->state->reason = arena_printf(&c->task->arena, "%s: %s", prefix, why);
	log_warn("task=%s container=%s: %s", c->task->id, c->def->name, c->state->reason);
	c->failed = true;
	is_stopped(c);
	task_step(c->task);
}

/* ---- the image ---- */

static void take_image(struct container *c, struct image *own_image)
{
	c->task->state.pull_stopped_at = clock_wall_ms();
	image_used(c->task->agent->images, c->def->image);
	image_free(c->image);
	c->image = own_image;
	free(c->image_digest);
	c->image_digest = xstrdup(own_image->digest);
	free(c->stop_signal);
	c->stop_signal = own_image->stop_signal ? xstrdup(own_image->stop_signal) : NULL;
	c->state->image_digest = arena_strdup(&c->task->arena, own_image->digest);
	c->phase = PHASE_PULLED;
}

static void on_image(void *ctx, struct image *own_image, enum image_reason reason,
		     const struct err *e)
{
	struct container *c = ctx;

	(void)reason;
	c->pull = NULL;
	if (e) {
		c->task->state.pull_stopped_at = clock_wall_ms();
		container_fail(c, "CannotPullContainerError", e->msg);
		return;
	}
	take_image(c, own_image);
	task_step(c->task);
}

void container_pull(struct container *c)
{
	struct pulls *pulls = c->task->agent->pulls;
	struct image *here = pulls_here(pulls, c->def->image);

	if (!c->task->state.pull_started_at)
		c->task->state.pull_started_at = clock_wall_ms();
	if (here) {
		take_image(c, here);
		return;
	}
	c->phase = PHASE_PULLING;
	c->pull = pulls_want(pulls, c->def->image, c->def->repository_credentials.parameter,
			     on_image, c);
}

/* ---- making ---- */

/* What is made on the way, let go of when the keeper has it or a step failed. */
struct making {
	struct container *c;
	struct agent *agent;
	char *dir, *bundle, *etc, *scratch, *log;
	struct ready_root *taken; /* what is left of it is let go of later, too; or NULL */
	int rootfs_fd;
	struct image_user user;
	struct container_network network;
	json_t *config;
	const char *prefix; /* of the error, when it is not the usual one */
	bool unmappable;    /* without ids of the task's own it may do */
};

static void making_done(struct making *m)
{
	free(m->dir);
	free(m->bundle);
	free(m->etc);
	free(m->scratch);
	free(m->log);
	close_fd(&m->rootfs_fd);
	json_decref(m->config);
	if (m->taken)
		root_free(m->taken);
	net_endpoint_done(&m->network.endpoint);
}

/* With the task's, if that is not there.  One that an earlier attempt has left its log in stays. */
static bool take_directory(const struct making *m, const struct ready_root *root)
{
	auto_free char *of_task = task_dir(m->c->task);
	auto_free char *own = xasprintf("%s/0", root->dir);
	struct err ignored;

	if (m->c->index == 0 && rename(root->dir, of_task) == 0)
		return true;
	if (fs_mkdirs(AT_FDCWD, of_task, 0700, &ignored) < 0 || rename(own, m->dir) < 0)
		return false;
	(void)rmdir(root->dir);
	return true;
}

static void take_root(struct making *m)
{
	struct ready_root *root = take_ptr(m->c->root);

	if (root && m->c->mapped && take_directory(m, root)) {
		m->rootfs_fd = take_fd(root->rootfs_fd);
		if (!m->c->ahead.number)
			ahead_leave(root);
		m->taken = root;
	} else if (root) {
		ahead_drop(m->agent, &m->c->ahead);
		m->c->task->place = NULL; /* it goes with the root */
		free(m->bundle);
		m->bundle = bundle_dir(m->c);
		root_drop(m->agent, root);
	}
}

static int make_directories(struct making *m, struct err *e)
{
	take_root(m);
	if (storage_limit(m->c->task, e) < 0 || fs_mkdirs(AT_FDCWD, m->bundle, 0700, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, m->etc, 0700, e) < 0 || fs_mkdirs(AT_FDCWD, m->log, 0700, e) < 0)
		return -e->code;
	return 0;
}

/* The task's limits; the container's own are below, by its config.json. */
struct runtime_limits task_limits(const struct task *t)
{
	const struct ecs_task_definition *d = &t->wanted.definition;
	struct runtime_limits limits = {.pids_max = TASK_PIDS_MAX};
	int64_t value;

	if (d->cpu && ecs_parse_cpu(d->cpu, &value)) {
		limits.cpu_shares = (uint64_t)(value > 2 ? value : 2);
		limits.cpu_period_us = CPU_PERIOD_US;
		limits.cpu_quota_us = (uint64_t)value * CPU_PERIOD_US / CPU_CORE;
	}
	if (d->memory && ecs_parse_memory(d->memory, &value))
		limits.memory_max_bytes = (uint64_t)value << 20;
	return limits;
}

static int make_cgroup(struct making *m, struct err *e)
{
	const struct runtime_limits limits = task_limits(m->c->task);
	auto_free char *path = task_cgroup(m->c->task);

	return m->c->ahead.number ? 0 : runtime_cgroup_create(path, &limits, e);
}

static int make_root(struct making *m, struct err *e)
{
	const struct image *image = m->c->image;
	const struct task *t = m->c->task;
	const struct rootfs_ids ids = {.userns_fd = t->ids.userns_fd,
				       .layers_dir = m->agent->layers_dir,
				       .layers_fd = t->ids.layers_fd};
	auto_close int index_fd = -1;
	struct rootfs_spec spec = {.layers = image->layers.items,
				   .layer_count = image->layers.count,
				   .ids = m->c->mapped ? &ids : NULL,
				   .scratch = m->scratch,
				   .volatile_upper = true};

	if (m->rootfs_fd >= 0)
		return 0; /* it was ready */
	if (rootfs_scratch_remove(m->scratch, e) < 0 || rootfs_scratch_create(m->scratch, e) < 0 ||
	    storage_join(t, m->scratch, e) < 0 || indexes_open(m->agent, image, &index_fd, e) < 0)
		return -e->code;
	if (index_fd >= 0)
		spec.index_fd = &index_fd;
	m->unmappable = true;
	if (rootfs_mount(&spec, &m->rootfs_fd, e) < 0)
		return -e->code;
	m->unmappable = false;
	return 0;
}

static int find_user(struct making *m, struct err *e)
{
	const struct container *c = m->c;
	const char *user = c->def->user && *c->def->user ? c->def->user : c->image->user;

	if (image_user_lookup(m->agent->images, c->image->digest, user ? user : "", m->rootfs_fd,
			      &m->user, e) < 0)
		return -e->code;
	m->unmappable = c->mapped && ids_check_user(&m->user, e) < 0;
	return m->unmappable ? -e->code : 0;
}

static int make_network(struct making *m, struct err *e)
{
	m->prefix = "CannotStartContainerError"; /* as Docker says it of a port that is taken */
	if (links_check(m->c, e) < 0 || network_make(m->c, &m->network, e) < 0)
		return -e->code;
	m->prefix = NULL;
	return 0;
}

static int make_bundle(struct making *m, struct err *e)
{
	auto_free char *metadata = metadata_url(m->c);
	const struct bundle_options o = {.container = m->c,
					 .image = m->c->image,
					 .user = &m->user,
					 .metadata = metadata,
					 .resolver = resolver_address(m->c),
					 .endpoint = m->network.has_endpoint ? &m->network.endpoint
									     : NULL,
					 .bundle = m->bundle,
					 .dir = m->etc};

	if (files_write(&o, e) < 0)
		return -e->code;
	return bundle_write(&o, &m->config, e);
}

static int ask_keeper(struct making *m, struct err *e)
{
	const struct keeper_create create = {.id = m->c->id,
					     .bundle = m->bundle,
					     .runtime_root = m->agent->runtime_root,
					     .log_dir = m->log,
					     .start = true,
					     .ahead = m->c->ahead.number,
					     .rootfs_fd = m->rootfs_fd,
					     .netns_fd = m->network.netns_fd,
					     .userns_fd = m->c->mapped ? m->c->task->ids.userns_fd
								       : -1,
					     .held_fds = m->network.endpoint.held_fds,
					     .held_count = m->network.endpoint.held_count};

	int r = keeper_create(m->agent->keeper, &create, e);

	return r == -EPIPE ? 0 : r; /* the next one will not know of it: it begins again */
}

static const struct {
	const char *name;
	int (*make)(struct making *m, struct err *e);
} steps[] = {
	{"directories", make_directories},
	{"cgroup", make_cgroup},
	{"root", make_root},
	{"user", find_user},
	{"network", make_network},
	{"bundle", make_bundle},
	{"keeper", ask_keeper},
};

static char *range_text(struct arena *a, uint32_t first, uint32_t count)
{
	return arena_printf(a, "%u-%u", first, first + count - 1);
}

static void show_binding(struct arena *a, const struct net_port *p, struct ecs_network_binding *ret)
{
	*ret = (struct ecs_network_binding){
		.bind_ip = (char *)(uintptr_t) "0.0.0.0",
		.protocol = (char *)(uintptr_t)net_protocol_name(p->protocol)};
	if (p->count > 1) {
		ret->container_port_range = range_text(a, p->container_port, p->count);
		ret->host_port_range = range_text(a, p->host_port, p->count);
	} else {
		ret->container_port = p->container_port;
		ret->host_port = p->host_port;
	}
}

/* The ports as DescribeTasks shows them. */
static void show_bindings(struct container *c, const struct net_port *ports, size_t count)
{
	struct ecs_network_binding *items = arena_alloc(&c->task->arena,
							(count + 1) * sizeof(*items));

	for (size_t i = 0; i < count; i++)
		show_binding(&c->task->arena, &ports[i], &items[i]);
	c->state->network_bindings = (struct js_list){items, count};
}

static void show_host_ports(struct container *c)
{
	struct net_port ports[NET_PORTS_MAX];
	size_t count = network_ports(c->def, ports);

	for (size_t i = 0; i < count; i++)
		ports[i].host_port = ports[i].container_port;
	show_bindings(c, ports, count);
}

/* The sockets that hold the host ports: ours as long as the container is there. */
static void keep_held(struct container *c, struct net_endpoint *endpoint)
{
	c->held_fds = xcalloc(endpoint->held_count + 1, sizeof(int));
	c->held_count = endpoint->held_count;
	memcpy(c->held_fds, endpoint->held_fds, endpoint->held_count * sizeof(int));
	endpoint->held_count = 0;
}

static void making_init(struct making *m, struct container *c)
{
	*m = (struct making){
		.c = c, .agent = c->task->agent, .rootfs_fd = -1, .network = NETWORK_NONE};
	m->dir = container_dir(c);
	m->bundle = c->ahead.number ? ahead_bundle(c) : bundle_dir(c);
	m->etc = etc_dir(c);
	m->scratch = xasprintf("%s/root", m->dir);
	m->log = container_log_dir(c);
}

/* Descriptors hold what is to be taken apart: they are let go of when a step fails. */
static int make_all(struct making *m, struct container *c, struct err *e)
{
	making_init(m, c);
	for (size_t i = 0; i < ARRAY_COUNT(steps); i++) {
		if (steps[i].make(m, e) == 0)
			continue;
		log_debug("task=%s container=%s step=%s failed", c->task->id, c->def->name,
			  steps[i].name);
		making_done(m);
		*m = (struct making){.rootfs_fd = -1,
				     .network = NETWORK_NONE,
				     .prefix = m->prefix,
				     .unmappable = m->unmappable};
		return -e->code;
	}
	return 0;
}

/* With ids of the task's own; without them where that is what fails. */
static int make_somehow(struct making *m, struct container *c, struct err *e)
{
	struct err ignored;

	if (make_all(m, c, e) == 0)
		return 0;
	if (!c->mapped || !m->unmappable)
		return -e->code;
	ids_refuse(c, e->msg);
	ahead_drop(c->task->agent, &c->ahead);
	task_note(c->task);
	(void)wipe(c, &ignored); /* what stays of it will tell when it is made again */
	return make_all(m, c, e);
}

void container_create(struct container *c)
{
	__attribute__((cleanup(making_done))) struct making m = {.rootfs_fd = -1,
								 .network = NETWORK_NONE};
	struct err e = {0};

	c->phase = PHASE_CREATING;
	c->state->runtime_id = arena_strdup(&c->task->arena, c->id);
	if (storage_lease(c->task, &e) < 0) {
		container_fail(c, "CannotCreateContainerError", e.msg);
		return;
	}
	ids_decide(c);
	ahead_take(c);
	task_note(c->task); /* on disk before the first thing is made */
	if (make_somehow(&m, c, &e) < 0) {
		ahead_drop(c->task->agent, &c->ahead);
		container_fail(c, m.prefix ? m.prefix : "CannotCreateContainerError", e.msg);
		return;
	}
	c->in_keeper = true;
	close_fd(&c->ahead.netns_fd);
	c->ahead = AHEAD_NONE; /* the keeper has it */
	if (c->mapped)
		roots_want(c->task->agent, take_ptr(c->image), ahead_wish(c, take_ptr(m.config)));
	image_free(take_ptr(c->image));
	keep_held(c, &m.network.endpoint);
	net_follow(c->task->agent->net);
	if (m.network.has_endpoint)
		show_bindings(c, m.network.endpoint.ports, m.network.endpoint.port_count);
	else
		show_host_ports(c);
	task_note(c->task);
}

/* ---- stopping ---- */

/* "SIGQUIT", "QUIT", "3"; SIGTERM for what is none. */
static int signal_number(const char *name)
{
	uint32_t number;

	if (!name || !*name)
		return SIGTERM;
	if (parse_u32(name, SIGRTMAX, &number) && number)
		return (int)number;
	if (str_starts(name, "SIG"))
		name += 3;
	for (int sig = 1; sig < NSIG; sig++)
		if (str_eq(sigabbrev_np(sig), name))
			return sig;
	return SIGTERM;
}

static void send_signal(struct container *c, int sig)
{
	struct err e = {0};

	if (keeper_kill(c->task->agent->keeper, c->id, sig, &e) < 0)
		log_error("task=%s container=%s: signal %d: %s", c->task->id, c->def->name, sig,
			  e.msg);
}

static void on_patience(void *ctx)
{
	struct container *c = ctx;

	if (c->phase != PHASE_RUNNING || c->killed)
		return;
	c->killed = true;
	log_info("task=%s container=%s: did not stop in time, killed", c->task->id, c->def->name);
	send_signal(c, SIGKILL);
}

void container_stop(struct container *c)
{
	int64_t timeout_s = c->def->stop_timeout ? *c->def->stop_timeout : ECS_STOP_TIMEOUT_S;

	switch (c->phase) {
	case PHASE_PULLING:
		pulls_cancel(take_ptr(c->pull));
		is_stopped(c);
		break;
	case PHASE_PENDING:
	case PHASE_PULLED:
		is_stopped(c);
		break;
	case PHASE_RUNNING:
		if (c->signalled)
			break;
		c->signalled = true;
		send_signal(c, signal_number(c->stop_signal));
		loop_timer_free(c->patience); /* of the signal that is sent again */
		c->patience = loop_timer_new(c->task->agent->loop, on_patience, c);
		loop_timer_set(c->patience, timeout_s * 1000);
		break;
	case PHASE_CREATING: /* its event comes */
	case PHASE_STARTING:
	case PHASE_STOPPED:
	case PHASE_REMOVING:
	case PHASE_CLEAN:
		break;
	}
}

/* ---- taking apart ---- */

/* Its pipes stay open with us, so that it does not notice when the keeper dies. */
static void hold_output(struct container *c, const struct keeper_event *ev)
{
	if (!c->holds_output)
		c->output_fds[0] = c->output_fds[1] = -1;
	c->holds_output = true;
	for (int i = 0; i < 2; i++) {
		if (ev->output_fds[i] < 0)
			continue;
		close_fd(&c->output_fds[i]);
		c->output_fds[i] = ev->output_fds[i];
	}
}

static void release(struct container *c)
{
	for (int i = 0; i < 2 && c->holds_output; i++)
		close_fd(&c->output_fds[i]);
	c->holds_output = false;
	for (size_t i = 0; i < c->held_count; i++)
		(void)close(c->held_fds[i]);
	free(take_ptr(c->held_fds));
	c->held_count = 0;
}

static void is_clean(struct agent *a, const char *id, const struct err *e)
{
	struct container *c = map_find(&a->containers, id);

	if (!c)
		return; /* the agent ends */
	if (e)
		log_error("task=%s container=%s: %s", c->task->id, c->def->name, e->msg);
	c->removing = false;
	c->phase = PHASE_CLEAN;
	task_note(c->task);
	task_step(c->task);
}

/* No process is left: the same as wipe(), without waiting for it. */
static void remove_rest(struct container *c)
{
	struct removal *r = removal_new(c->task->agent, c->id, is_clean);
	auto_free char *dir = container_dir(c);
	struct err e = {0};

	release(c);
	image_free(take_ptr(c->image));
	c->in_keeper = false;
	c->removing = true;
	if (network_remove(c, &e) < 0)
		log_error("task=%s container=%s: %s", c->task->id, c->def->name, e.msg);
	removal_add(r, runtime_cgroup_remove, container_cgroup(c));
	removal_add(r, rootfs_scratch_remove, xasprintf("%s/root", dir));
	removal_add(r, removal_of_tree, bundle_dir(c));
	removal_add(r, removal_of_tree, etc_dir(c));
	if (c->task->place)
		removal_add(r, removal_of_tree, ahead_bundle(c));
	removal_run(r);
}

void container_take_apart(struct container *c)
{
	struct err e = {0};
	int r;

	c->phase = PHASE_REMOVING;
	if (!c->in_keeper) {
		remove_rest(c);
		return;
	}
	r = keeper_remove(c->task->agent->keeper, c->id, &e);
	if (r == 0 || r == -EPIPE)
		return; /* the next keeper is asked again */
	log_error("task=%s container=%s: remove: %s", c->task->id, c->def->name, e.msg);
	remove_rest(c);
}

/* ---- events ---- */

static void on_ended(struct container *c, const struct keeper_event *ev)
{
	auto_free char *cgroup = container_cgroup(c);
	uint64_t kills = 0;
	struct err e;

	if (c->phase >= PHASE_STOPPED)
		return;
	c->output_complete = ev->output_complete;
	c->ended_ms = ev->exit.time_ms;
	if (ev->exit.known) {
		c->state->exit_code = arena_alloc(&c->task->arena, sizeof(int64_t));
		*c->state->exit_code = ev->exit.code;
	} else {
		c->state->reason = arena_strdup(
			&c->task->arena,
			"Exit code is not known: the process that kept the container ended");
	}
	if (ev->exit.signal == SIGKILL && runtime_cgroup_oom_kills(cgroup, &kills, &e) == 0 &&
	    kills)
		c->state->reason = arena_strdup(
			&c->task->arena, "OutOfMemoryError: Container killed due to memory usage");
	if (!c->task->state.execution_stopped_at && ecs_is_essential(c->def))
		c->task->state.execution_stopped_at = ev->exit.time_ms;
	log_info("task=%s container=%s exit=%d", c->task->id, c->def->name,
		 ev->exit.known ? ev->exit.code : -1);
	is_stopped(c);
}

static void on_created(struct container *c, const struct keeper_event *ev)
{
	struct err e = {0};

	if (c->phase != PHASE_CREATING)
		return;
	c->pid = ev->pid;
	shipping_on_output(c); /* begins to follow */
	c->phase = PHASE_STARTING;
	if (ev->phase == KEEPER_RUNNING)
		return; /* it says so next */
	if (c->task->stop) {
		is_stopped(c); /* it is taken apart without ever having run */
		return;
	}
	if (keeper_start(c->task->agent->keeper, c->id, &e) < 0)
		container_fail(c, "CannotStartContainerError", e.msg);
}

static void on_started(struct container *c)
{
	if (c->phase != PHASE_STARTING)
		return;
	c->phase = PHASE_RUNNING;
	set_status(c, "RUNNING");
}

static void on_failed(struct container *c, const struct keeper_event *ev)
{
	bool made = ev->command == KEEPER_CREATE || ev->command == KEEPER_START;

	if (made && (c->phase == PHASE_CREATING || c->phase == PHASE_STARTING)) {
		container_fail(c, "CannotStartContainerError", ev->err.msg);
	} else if (ev->command == KEEPER_REMOVE && c->phase == PHASE_REMOVING && !c->removing) {
		log_error("task=%s container=%s: remove: %s", c->task->id, c->def->name,
			  ev->err.msg);
		remove_rest(c);
	} /* else it came too late: a signal to a process that has just ended */
}

void container_on_event(struct container *c, const struct keeper_event *ev)
{
	hold_output(c, ev);
	switch (ev->kind) {
	case KEEPER_CREATED:
		on_created(c, ev);
		break;
	case KEEPER_STARTED:
		on_started(c);
		break;
	case KEEPER_FAILED:
		on_failed(c, ev);
		break;
	case KEEPER_EXITED:
		on_ended(c, ev);
		break;
	case KEEPER_REMOVED:
		if (c->phase == PHASE_REMOVING && !c->removing)
			remove_rest(c);
		break;
	case KEEPER_OUTPUT:
		c->output_complete |= ev->output_complete;
		shipping_on_output(c);
		ask_look_again(c->task->agent);
		return;
	case KEEPER_HELLO:
	case KEEPER_ADOPTED:
	case KEEPER_LISTED:
	case KEEPER_LIST_END:
	case KEEPER_RESUMED:
	case KEEPER_EXECUTED:
		return;
	}
	task_step(c->task);
}

/* ---- after a restart ---- */

/* A keeper that found the container again has not its pipes: we do. */
static void adopt(struct container *c, const struct keeper_event *ev)
{
	const int none[2] = {-1, -1};
	struct err e = {0};

	hold_output(c, ev);
	if (ev->has_pipes)
		return;
	if (keeper_adopt(c->task->agent->keeper, c->id, c->holds_output ? c->output_fds : none,
			 c->held_fds, c->held_count, &e) < 0)
		log_error("task=%s container=%s: adopt: %s", c->task->id, c->def->name, e.msg);
}

/* The keeper knows it: we go on from what it says. */
static void take_over(struct container *c, const struct keeper_event *ev)
{
	c->in_keeper = true;
	c->pid = ev->pid;
	c->signalled = c->killed = false; /* a signal is sent again rather than never */
	adopt(c, ev);
	switch (ev->phase) {
	case KEEPER_CREATING: /* its event comes */
		c->phase = PHASE_CREATING;
		break;
	case KEEPER_READY:
		c->phase = PHASE_CREATING;
		on_created(c, ev);
		break;
	case KEEPER_RUNNING:
		if (c->phase < PHASE_RUNNING) {
			c->phase = PHASE_STARTING;
			on_started(c);
		}
		break;
	case KEEPER_ENDED:
		on_ended(c, ev);
		break;
	}
	if (c->phase == PHASE_REMOVING && !c->removing)
		c->phase = PHASE_STOPPED; /* ask again: the first may not have been heard */
	shipping_on_output(c);
}

/* The keeper does not know it. */
static void take_back(struct container *c)
{
	struct err e = {0};

	if (c->pull || (c->phase == PHASE_PULLED && c->image))
		return; /* it is on its way, and no keeper is in it yet */
	switch (c->phase) {
	case PHASE_PENDING:
	case PHASE_PULLING:
	case PHASE_PULLED:
	case PHASE_CREATING: /* it was not made: begin again */
		release(c);
		c->in_keeper = false;
		if (wipe(c, &e) < 0)
			log_error("task=%s container=%s: %s", c->task->id, c->def->name, e.msg);
		c->phase = PHASE_PENDING;
		break;
	case PHASE_STARTING:
	case PHASE_RUNNING:
		c->state->reason = arena_strdup(
			&c->task->arena,
			c->task->agent->rebooted
				? "Container was lost: its host was started again"
				: "Container was lost: the process that kept it ended");
		is_stopped(c);
		break;
	case PHASE_REMOVING:
		if (!c->removing)
			c->phase = PHASE_STOPPED;
		break;
	case PHASE_STOPPED:
	case PHASE_CLEAN:
		break;
	}
}

void container_found(struct container *c, const struct keeper_event *ev)
{
	if (ev)
		take_over(c, ev);
	else
		take_back(c);
}

void container_done(struct container *c)
{
	loop_timer_free(take_ptr(c->patience));
	if (c->pull)
		pulls_cancel(take_ptr(c->pull));
	shipping_end(c);
	release(c);
	image_free(take_ptr(c->image));
	free(c->image_digest);
	free(c->stop_signal);
	metadata_forget(c);
}
