/* agent/agent.c - life of the agent: what was there before, what goes away
 * SPDX-License-Identifier: Apache-2.0
 *
 * At its start the agent reads what it knew, asks the keeper what is, and
 * makes the two agree before it begins anything: containers go on, or are
 * taken over as ended, or are begun again; what belongs to no task is removed.
 * Then it dials the server.  There is no clean stop: it may be killed at any
 * instruction.
 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "runtime/runtime.h"

#define SWEEP_MS         30000
#define NETWORKS_MS      30000
#define FIREWALL_REST_MS 100 /* between two looks at it when others change it */
#define SHORTCUT_REST_MS 20  /* between two looks at what asks for them */
#define DOCTOR_MAX       16384
#define KEEPER_RETRY_MS  50
#define KEEPER_RETRIES   100 /* without one that told its list */

/* ---- the keeper ---- */

static void on_keeper(void *ctx, int events);

int agent_spawn_keeper(const struct agent_options *o, struct keeper **ret, struct err *e)
{
	auto_free char *program = xasprintf("%s/berth-keeper", o->libexec_dir);
	auto_free char *scope = xasprintf("%s-tasks", o->name);
	const struct keeper_spawn spawn = {
		.program = program, .run_dir = o->run_dir, .scope = scope};
	int r = keeper_spawn(&spawn, e);

	if (r == 0 || r == -EBUSY)
		r = keeper_connect(o->run_dir, ret, e);
	return r == KEEPER_ABSENT ? err_set(e, ECONNREFUSED, "the keeper does not answer") : r;
}

/* 0, or KEEPER_ABSENT: it is not there yet. */
static int connect_keeper(struct agent *a, struct err *e)
{
	struct keeper *k = NULL;
	int r = keeper_connect(a->o->run_dir, &k, e);

	if (r == KEEPER_ABSENT && !a->o->waits_for_keeper)
		r = agent_spawn_keeper(a->o, &k, e);
	if (r)
		return r;
	keeper_disconnect(a->keeper);
	a->keeper = k;
	a->keeper_renewed = false;
	return loop_watch(a->loop, keeper_fd(k), LOOP_READ, on_keeper, a, &a->keeper_watch, e);
}

/*
 * At once if we start it, else as soon as it is there; one that dies on us is
 * tried again for a while.  Nothing is begun before it has told what it has.
 */
static void find_keeper(void *ctx)
{
	struct agent *a = ctx;
	struct err e = {0};
	int r;

	a->listing = true;
	r = connect_keeper(a, &e);
	if (r == 0)
		return;
	if (r < 0)
		log_error("keeper: %s", e.msg);
	if (r < 0 && ++a->keeper_failures > KEEPER_RETRIES) {
		a->failure = e;
		loop_stop(a->loop);
	} else {
		loop_timer_set(a->keeper_retry, KEEPER_RETRY_MS);
	}
}

/* The keeper names a container that belongs to no task of ours. */
static void drop_stranger(struct agent *a, const struct keeper_event *ev)
{
	struct err e = {0};

	for (int i = 0; i < 2; i++)
		if (ev->output_fds[i] >= 0)
			(void)close(ev->output_fds[i]);
	if (ev->kind != KEEPER_LISTED)
		return;
	log_warn("container=%s: belongs to no task, removed", ev->id);
	if (keeper_remove(a->keeper, ev->id, &e) < 0)
		log_error("container=%s: %s", ev->id, e.msg);
}

static void tell_shortcuts(struct agent *a)
{
	const char *why = net_shortcut_why_not(a->net);

	why = why ? why : "";
	if (a->shortcuts_told && str_eq(why, a->shortcuts_told))
		return;
	free(a->shortcuts_told);
	a->shortcuts_told = xstrdup(why);
	doctor_tell(a, "shortcuts",
		    *why ? "tasks of this host talk the long way: " : "as they should be", why);
}

/* What belongs to no container and no task goes, and what somebody has taken away (a flushed firewall) comes back. */
static void sweep_networks(struct agent *a)
{
	size_t count;
	auto_free const char **live = network_live(a, &count);
	struct err e = {0};
	const char *why = net_sweep(a->net, live, count, &e) < 0 ? e.msg : "";

	tell_shortcuts(a);
	/* Each time it is looked at the same may be wrong. */
	if (str_eq(why, a->networks_told))
		return;
	free(a->networks_told);
	a->networks_told = xstrdup(why);
	if (*why)
		log_error("networks: %s", why);
	doctor_tell(a, "networks", *why ? "" : "as they should be", why);
}

/* And what stands in one, where it was made before. */
static void look_at_networks(struct agent *a)
{
	sweep_networks(a);
	service_look(a->metadata);
	service_look(a->resolver);
}

/* At once, but not for ever if somebody else's idea of the firewall is not ours. */
static void on_firewall(void *ctx, int events)
{
	struct agent *a = ctx;
	struct err e = {0};
	int r = net_on_change(a->net, &e);

	(void)events;
	if (r < 0)
		log_error("networks: %s", e.msg);
	if (r == NET_REPAIRED)
		log_warn("networks: somebody else changed our firewall table, it is as it was");
	loop_want(a->firewall_watch, 0);
	loop_timer_set(a->firewall_rest, FIREWALL_REST_MS);
}

static void on_firewall_rest(void *ctx)
{
	struct agent *a = ctx;

	loop_want(a->firewall_watch, LOOP_READ);
}

/* Each looks at connection tracking: they have their turn, and no more. */
static void on_shortcuts(void *ctx, int events)
{
	struct agent *a = ctx;

	(void)events;
	net_shortcut_read(a->net);
	loop_want(a->shortcut_watch, 0);
	loop_timer_set(a->shortcut_rest, SHORTCUT_REST_MS);
}

static void on_shortcut_rest(void *ctx)
{
	struct agent *a = ctx;

	loop_want(a->shortcut_watch, LOOP_READ);
}

/* All that the keeper has was told: the rest is not there. */
static void end_of_list(struct agent *a)
{
	struct container *c;
	struct task *t;

	for (size_t i = 0; map_next(&a->containers, &i, &c);) {
		if (!c->listed)
			container_found(c, NULL);
		c->listed = false;
		if (!c->in_keeper || c->phase >= PHASE_STOPPED)
			continue;
		(void)service_want(a->metadata);
		(void)service_want(a->resolver);
	}
	if (!service_live(a->resolver))
		service_end_former(a->o, RESOLVER_ID); /* nobody is left who asks */
	sweep_networks(a);
	a->listing = false;
	a->keeper_failures = 0;
	a->rebooted = false;
	channel_start(a->channel);
	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		task_step(t);
}

int agent_greet_keeper(const struct agent_options *o, struct keeper *k, bool other, struct err *e)
{
	auto_free char *program = xasprintf("%s/berth-keeper", o->libexec_dir);

	return other ? keeper_reexec(k, program, e) : keeper_list(k, e);
}

static void greet(struct agent *a, const struct keeper_event *ev, bool other)
{
	struct err ignored; /* a keeper that is gone is noticed by its socket */

	if (ev->kind == KEEPER_HELLO) {
		free(a->cgroup_base);
		a->cgroup_base = ev->cgroup_base[0] ? xstrdup(ev->cgroup_base)
						    : xasprintf("/%s", a->o->name);
		roots_sweep(a);
	}
	if (other)
		log_info("keeper=%s: speaks another protocol, executes our program", ev->version);
	a->keeper_renewed = other;
	(void)agent_greet_keeper(a->o, a->keeper, other, &ignored);
}

static void take_event(struct agent *a, const struct keeper_event *ev, bool other)
{
	struct container *c = ev->id[0] ? map_find(&a->containers, ev->id) : NULL;

	if (ev->kind == KEEPER_HELLO || (ev->kind == KEEPER_RESUMED && a->keeper_renewed)) {
		greet(a, ev, other);
	} else if (other) {
		log_error("keeper: %s", ev->err.msg);
	} else if (ev->kind == KEEPER_LIST_END) {
		end_of_list(a);
	} else if (!c) {
		drop_stranger(a, ev);
	} else if (ev->kind == KEEPER_LISTED) {
		c->listed = true;
		container_found(c, ev);
	} else {
		container_on_event(c, ev);
	}
}

static void on_keeper(void *ctx, int events)
{
	struct agent *a = ctx;
	struct keeper_event ev;
	struct err e = {0};
	int r;

	(void)events;
	while ((r = keeper_next(a->keeper, &ev, &e)) == 0 || r == KEEPER_OTHER)
		take_event(a, &ev, r == KEEPER_OTHER);
	if (r == KEEPER_NOTHING)
		return;

	log_error("keeper: %s; %s another", r == KEEPER_GONE ? "is gone" : e.msg,
		  a->o->waits_for_keeper ? "waiting for" : "starting");
	roots_forget(a); /* containers that waited in it have gone with it */
	loop_unwatch(take_ptr(a->keeper_watch));
	find_keeper(a);
}

/* ---- what has been over long enough ---- */

static bool can_go(const struct task *t, int64_t now_ms)
{
	if (!task_is_over(t) || t->dropping || t->untold || t->in_flight ||
	    t->state.stopped_at + t->agent->o->task_cleanup_ms > now_ms)
		return false;
	for (size_t i = 0; i < t->count; i++)
		if (!shipping_is_over(&t->containers[i]))
			return false;
	return true;
}

static void is_dropped(struct agent *a, const char *id, const struct err *e)
{
	struct task *t = map_find(&a->tasks, id);
	struct err why;

	if (!t)
		return; /* the agent ends */
	t->dropping = false;
	if (!e && records_drop_task(a->records, id, &why) < 0)
		e = &why;
	if (e) {
		log_error("task=%s: %s", id, e->msg);
		return; /* at the next turn again */
	}
	(void)map_remove(&a->tasks, id);
	task_free(t);
}

static void drop(struct task *t)
{
	struct removal *r = removal_new(t->agent, t->id, is_dropped);

	t->dropping = true;
	removal_add(r, runtime_cgroup_remove, task_cgroup(t));
	removal_add(r, removal_of_tree, task_dir(t));
	removal_run(r);
}

static void on_sweep(void *ctx)
{
	struct agent *a = ctx;
	int64_t now_ms = clock_wall_ms();
	struct task *t;

	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		if (can_go(t, now_ms))
			drop(t);
	if (!a->listing && clock_mono_ms() >= a->networks_ms + NETWORKS_MS) {
		look_at_networks(a);
		a->networks_ms = clock_mono_ms();
	}
	gpus_look(a);
	loop_timer_set(a->sweep,
		       a->o->task_cleanup_ms < SWEEP_MS ? a->o->task_cleanup_ms + 100 : SWEEP_MS);
}

/* ---- start ---- */

static int load_task(void *ctx, const json_t *doc, struct err *e)
{
	return task_from_record(ctx, doc, e) ? 0 : -e->code;
}

/* Is it another boot than the one that the records are of? */
static int look_at_boot(struct agent *a, struct err *e)
{
	auto_free char *before = records_get_meta(a->records, "boot");

	a->boot_id = node_boot_id();
	a->rebooted = before && strcmp(before, a->boot_id) != 0;
	return records_put_meta(a->records, "boot", a->boot_id, e);
}

static int open_parts(struct agent *a, struct err *e)
{
	auto_free char *images = xasprintf("%s/images", a->o->state_dir);
	auto_free char *worker = xasprintf("%s/berth-worker", a->o->libexec_dir);
	auto_free char *records = xasprintf("%s/agent.db", a->o->state_dir);
	auto_free char *net = xasprintf("%s/net", a->o->run_dir);
	struct image_store_options image_options = {.dir = images, .worker = worker};
	struct net_options net_options = {.name = a->o->name,
					  .state_dir = net,
					  .bridge_cidr = a->o->bridge_cidr,
					  .node_address = a->o->node_address,
					  .trunk = a->o->trunk,
					  .no_ipv6_forwarding = a->o->no_ipv6_forwarding,
					  .no_shortcuts = a->o->no_shortcuts,
					  .port_first = a->o->port_first,
					  .port_last = a->o->port_last};
	auto_buf struct buf warnings = BUF_INIT(4096);

	/* First: as long as it has not joined it touches nothing of the host. */
	if (a->o->server && identity_open(a->o, &a->identity, e) < 0)
		return -e->code;
	if (!net_transport_parse(a->o->transport, &net_options.transport))
		return err_set(e, EINVAL,
			       "[network] transport '%s' is none of auto, routes, vxlan, wireguard",
			       a->o->transport);
	a->layers_dir = xasprintf("%s/layers", images);
	a->tasks_dir = xasprintf("%s/tasks", a->o->state_dir);
	a->ready_dir = xasprintf("%s/ready", a->o->state_dir);
	a->runtime_root = xasprintf("%s/oci", a->o->run_dir);
	a->bundles_dir = xasprintf("%s/bundles", a->o->run_dir);
	a->filters_dir = xasprintf("%s/filters", a->o->run_dir);
	buf_init(&a->doctor, DOCTOR_MAX);
	image_options.form = a->image_form = indexes_choose(a);
	if (fs_mkdirs(AT_FDCWD, a->tasks_dir, 0700, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, a->filters_dir, 0700, e) < 0 ||
	    records_open(records, &a->records, e) < 0 || look_at_boot(a, e) < 0 ||
	    image_store_open(&image_options, &a->images, e) < 0 ||
	    net_open(&net_options, &a->net, e) < 0 || network_load_groups(a, e) < 0 ||
	    runtime_open(a->runtime_root, &a->runtime, e) < 0 || hosts_load(a, e) < 0 ||
	    net_warnings(a->net, &warnings, e) < 0)
		return -e->code;
	storage_look(a);
	gpus_look(a);
	if (warnings.size)
		log_warn("networks: %s", buf_str(&warnings));
	return 0;
}

static void on_stop(void *ctx)
{
	struct agent *a = ctx;

	loop_stop(a->loop);
}

/* Of this host, where no server has the socket. */
static int answer_callers(struct agent *a, struct err *e)
{
	int fd;

	if (!a->o->listen)
		return 0;
	if (a->o->listen(a->o->ctx, &fd, e) < 0)
		return -e->code;
	return local_start(a, fd, &a->local, e);
}

static int start(struct agent *a, struct err *e)
{
	struct container *c;
	struct task *t;

	if (open_parts(a, e) < 0)
		return -e->code;
	a->loop = loop_new();
	loop_on_signal(a->loop, SIGTERM, on_stop, a);
	loop_on_signal(a->loop, SIGINT, on_stop, a);
	a->sharing = sharing_new(a);
	a->pulls = pulls_new(a);
	a->garbage = garbage_new(a);
	a->shipping = shipping_new(a);
	a->flows = flows_new(a);
	a->metadata = metadata_new(a);
	a->resolver = resolver_new(a);
	a->channel = channel_new(a);
	a->sweep = loop_timer_new(a->loop, on_sweep, a);
	ids_pool_start(a);
	roots_start(a);
	a->keeper_retry = loop_timer_new(a->loop, find_keeper, a);
	a->firewall_rest = loop_timer_new(a->loop, on_firewall_rest, a);
	a->shortcut_rest = loop_timer_new(a->loop, on_shortcut_rest, a);
	if (loop_watch(a->loop, net_watch_fd(a->net), LOOP_READ, on_firewall, a, &a->firewall_watch,
		       e) < 0)
		return -e->code;
	if (net_shortcut_fd(a->net) >= 0 && loop_watch(a->loop, net_shortcut_fd(a->net), LOOP_READ,
						       on_shortcuts, a, &a->shortcut_watch, e) < 0)
		return -e->code;
	if (records_each_task(a->records, load_task, a, e) < 0)
		return -e->code;
	for (size_t i = 0; map_next(&a->containers, &i, &c);)
		if (c->phase < PHASE_CLEAN || !shipping_is_over(c))
			shipping_begin(c);
	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		flows_take(t, true);
	find_keeper(a);
	on_sweep(a);
	return answer_callers(a, e);
}

/* Of tasks that go on without us somebody may ask for names. */
static bool somebody_stays(const struct agent *a)
{
	struct container *c;

	for (size_t i = 0; map_next(&a->containers, &i, &c);)
		if (c->in_keeper && c->phase < PHASE_STOPPED)
			return true;
	return false;
}

static void finish(struct agent *a)
{
	struct task *t;

	roots_end(a);
	if (somebody_stays(a))
		service_leave(a->resolver);
	if (a->loop)
		loop_unwatch(a->keeper_watch);
	loop_unwatch(a->firewall_watch);
	loop_unwatch(a->shortcut_watch);
	pulls_leave(a->pulls);
	ask_end(a);
	http_server_stop(a->local);
	channel_free(a->channel);
	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		task_free(t);
	map_done(&a->tasks);
	map_done(&a->containers);
	map_done(&a->filters);
	garbage_free(a->garbage);
	pulls_free(a->pulls);
	sharing_free(a->sharing);
	shipping_free(a->shipping);
	flows_free(a->flows);
	metadata_end(a);
	service_free(a->metadata);
	service_free(a->resolver);
	loop_timer_free(a->sweep);
	loop_timer_free(a->keeper_retry);
	loop_timer_free(a->firewall_rest);
	loop_timer_free(a->shortcut_rest);
	loop_timer_free(a->id_pool.rest);
	loop_timer_free(a->roots.rest);
	keeper_disconnect(a->keeper);
	net_close(a->net);
	runtime_free(a->runtime);
	image_store_close(a->images);
	records_close(a->records);
	identity_close(a->identity);
	loop_free(a->loop);
	roots_done(a);
	indexes_forget(a);
	ids_pool_done(a);
	free(a->tasks_dir);
	free(a->ready_dir);
	free(a->layers_dir);
	free(a->runtime_root);
	free(a->bundles_dir);
	free(a->filters_dir);
	free(a->boot_id);
	free(a->cgroup_base);
	free(a->gpus);
	free(a->networks_told);
	free(a->shortcuts_told);
	buf_done(&a->doctor);
}

int agent_run(const struct agent_options *o, struct err *e)
{
	struct agent a = {.o = o};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	r = start(&a, e);
	if (r == 0) {
		loop_run(a.loop);
		if (a.failure.code) {
			*e = a.failure;
			r = -e->code;
		}
	}
	finish(&a);
	return r;
}
