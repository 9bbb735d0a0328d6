/* runtime/create.c - making a container, up to the point where it waits to be started
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A container is made in steps, each with its way back; when one fails, those
 * before it are undone in reverse.  The order follows from one rule: what is
 * made is on record before it is made, so that delete finds it after a crash.
 *
 * 1. Nothing is made before the config has been read, checked, and everything
 *    that it wants of the host has been opened.
 * 2. The state directory claims the id; state.json then names the cgroup.
 * 3. The init dies with us until its pid is in state.json (SYNC_COMMIT).
 * 4. One that is to start at once is told no more than that, and needs no socket.
 *
 * A container may be made ahead (ahead.c): the same steps, but for the claim, which
 * comes when it is known whom it is for.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/proc.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/idmap.h"
#include "runtime/io.h"
#include "runtime/listener.h"
#include "runtime/netdev.h"
#include "runtime/priority.h"
#include "runtime/procfs.h"
#include "runtime/protect.h"
#include "runtime/rdt.h"
#include "runtime/sync.h"

#define DYING_MS 10000

/* ---- state ---- */

static int look_at_place(struct container *c, struct err *e)
{
	if (c->cgroup.host->count && cgroup_look(&c->cgroup, true, e) < 0)
		return -e->code;
	c->state.cgroup_kept = c->cgroup.kept;
	return 0;
}

static void name_process(struct container *c)
{
	c->state.pid = c->pid;
	c->state.start_time = (int64_t)proc_start_time(c->pid);
}

static int claim(struct container *c, struct err *e)
{
	int r = state_claim(c->rt->root_fd, c->spec->id, &c->dir_fd, e);

	if (r != 0)
		return r;
	if (!c->ahead && look_at_place(c, e) < 0)
		return -e->code;
	if (state_write(c->dir_fd, &c->state, e) < 0 ||
	    (!container_starts(c) && state_listen(c->dir_fd, &c->start_fd, e) < 0))
		return -e->code;
	return c->filter.insns ? filter_save(c->dir_fd, STATE_FILTER, &c->filter, e) : 0;
}

/* Of the spec: what one of them has seen the beginning of, the last ones are told the end of. */
static void run_poststop(struct container *c)
{
	const struct js_list *hooks = &c->config->hooks.poststop;
	auto_json json_t *state = NULL;

	if (!c->hooks_began || !hooks->count)
		return;
	state = state_json(&c->state, RUNTIME_STATUS_STOPPED, 0);
	hooks_run_each(hooks, "poststop", state, c->rt->warn);
}

static void drop_state(struct container *c)
{
	struct err ignored;

	if (c->rdt_fd >= 0)
		(void)rdt_remove(c->rdt_fd, c->config->linux_.rdt, c->spec->id, c->state.rdt_made,
				 &ignored);
	run_poststop(c);
	if (c->dir_fd >= 0)
		(void)state_drop(c->rt->root_fd, c->spec->id, &ignored);
}

/* ---- init ---- */

static void kill_init(struct container *c)
{
	struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
	siginfo_t info;

	if (c->pidfd < 0)
		return;
	(void)proc_pidfd_kill(c->pidfd, SIGKILL);
	(void)poll(&p, 1, DYING_MS);
	(void)waitid((idtype_t)P_PIDFD, (id_t)c->pidfd, &info,
		     WEXITED | WNOHANG); /* not a sibling */
}

static int move_net_devices(struct container *c, struct err *e)
{
	auto_close int fd = -1;
	char path[64];

	if (!c->config->linux_.net_devices.count)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)c->pid);
	fd = c->ns_fd[NS_NETWORK] >= 0 ? fcntl(c->ns_fd[NS_NETWORK], F_DUPFD_CLOEXEC, 3)
				       : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open the container's network namespace");
	return netdev_move(&c->config->linux_.net_devices, fd, e);
}

static int enter_rdt(struct container *c, struct err *e)
{
	if (c->rdt_fd < 0)
		return 0;
	return rdt_enter(c->rdt_fd, c->config->linux_.rdt, c->spec->id, c->pid, c->state.rdt_made,
			 e);
}

/* What only the outside can do for the init. */
static int attach(struct container *c, struct err *e)
{
	const struct config *cfg = c->config;
	bool maps = c->ns[NS_USER].wanted && c->ns_fd[NS_USER] < 0;
	auto_close int proc_fd = -1;

	if ((maps || cfg->process->oom_score_adj) && procfs_open(&proc_fd, e) < 0)
		return -e->code;
	if (maps && idmap_write(proc_fd, c->pid, &cfg->linux_.uid_mappings,
				&cfg->linux_.gid_mappings, e) < 0)
		return -e->code;
	if (cfg->process->oom_score_adj &&
	    priority_set_oom_score(proc_fd, c->pid, *cfg->process->oom_score_adj, e) < 0)
		return -e->code;
	if (move_net_devices(c, e) < 0 || enter_rdt(c, e) < 0)
		return -e->code;
	if (sync_say(c->sync_fd, SYNC_ATTACHED, 0, e) < 0)
		return -e->code;
	runtime_protect_settle();
	return 0;
}

static int run_hooks(struct container *c, struct err *e)
{
	const struct config_hooks *h = &c->config->hooks;
	auto_json json_t *state = NULL;

	if (!h->prestart.count && !h->create_runtime.count)
		return 0;
	if (sync_expect(c->sync_fd, SYNC_MOUNTED, NULL, e) < 0)
		return -e->code;
	c->hooks_began = true;
	/* To those of old it is made: they were called by start once. */
	state = state_json(&c->state, RUNTIME_STATUS_CREATED, c->pid);
	if (hooks_run(&h->prestart, "prestart", state, e) < 0)
		return -e->code;
	(void)json_object_set_new(state, "status",
				  json_string(runtime_status_name(RUNTIME_STATUS_CREATING)));
	if (hooks_run(&h->create_runtime, "createRuntime", state, e) < 0)
		return -e->code;
	return sync_say(c->sync_fd, SYNC_GO, 0, e);
}

/*
 * When the talk breaks off, the init has a better reason than we: it was not
 * heard of, for we did something else when it failed, or it was not let say it.
 */
static int explain(struct container *c, struct err *e)
{
	struct err reason;
	uint64_t kills = 0;

	if (e->code != EPIPE)
		return -e->code;
	if (sync_expect(c->sync_fd, SYNC_READY, NULL, &reason) < 0 && reason.code != EPIPE)
		*e = reason;
	else if (cgroup_oom_kills(&c->cgroup, &kills, &reason) == 0 && kills)
		return err_set(
			e, ENOMEM,
			"linux.resources.memory.limit: too small: the container's first process "
			"was killed for want of memory");
	return -e->code;
}

static int set_up(struct container *c, struct err *e)
{
	c->hooks_began = c->config->hooks.create_container.count; /* it does not say when */
	if (attach(c, e) < 0 || run_hooks(c, e) < 0 ||
	    sync_expect(c->sync_fd, SYNC_READY, NULL, e) < 0)
		return explain(c, e);
	place_settle(c);
	return 0;
}

static int set_up_ahead(struct container *c, struct err *e)
{
	name_process(c);
	return attach(c, e) < 0 || sync_expect(c->sync_fd, SYNC_MADE, NULL, e) < 0 ? explain(c, e)
										   : 0;
}

/* ---- record ---- */

static int announce(struct container *c, struct err *e)
{
	if (io_write_pid(c->spec->io.pid_file, c->pid, e) < 0)
		return -e->code;
	return io_send_pidfd(c->spec->io.pidfd_socket, c->pid, e);
}

static int record(struct container *c, struct err *e)
{
	name_process(c);
	return state_write(c->dir_fd, &c->state, e) < 0 ? -e->code : announce(c, e);
}

static void drop_pid_file(struct container *c)
{
	if (c->spec->io.pid_file)
		(void)unlink(c->spec->io.pid_file);
}

/* ---- start ---- */

bool container_starts(const struct container *c)
{
	return c->spec->start && !(c->config->process->terminal && c->spec->io.console_fd >= 0);
}

/* It is on record: what is told here is told to one that can be found by its id. */
static int start(struct container *c, struct err *e)
{
	const struct config_linux *l = &c->config->linux_;
	const struct js_list *hooks = &c->config->hooks.poststart;
	auto_close int agent_fd = -1;
	auto_json json_t *state = NULL;

	if (!container_starts(c))
		return sync_say(c->sync_fd, SYNC_COMMIT, 0, e);
	c->hooks_began = true; /* it is ended and destroyed, as by delete */
	if (listener_connect(&l->listener, &agent_fd, e) < 0 ||
	    (c->ahead ? ahead_tell(c, e) : sync_say(c->sync_fd, SYNC_COMMIT, 0, e)) < 0 ||
	    listener_expect_end(c->sync_fd, agent_fd, &l->listener, &c->state,
				RUNTIME_STATUS_CREATED, c->pid, e) < 0)
		return -e->code;
	state = hooks->count ? state_json(&c->state, RUNTIME_STATUS_RUNNING, c->pid) : NULL;
	return hooks_run(hooks, "poststart", state, e);
}

/* ---- restore ---- */

static int restore_init(struct container *c, struct err *e)
{
	return checkpoint_restore(c, c->restore, e);
}

/* It runs: nobody listens to be started. */
static int record_restored(struct container *c, struct err *e)
{
	close_fd(&c->start_fd);
	(void)unlinkat(c->dir_fd, STATE_SOCKET, 0);
	name_process(c);
	if (state_write(c->dir_fd, &c->state, e) < 0)
		return -e->code;
	return io_write_pid(c->spec->io.pid_file, c->pid, e);
}

/* ---- */

struct step {
	int (*make)(struct container *c, struct err *e);
	void (*drop)(struct container *c); /* also after a make that failed halfway */
};

struct steps {
	const struct step *items;
	size_t count;
};
#define STEPS(array) ((const struct steps){array, ARRAY_COUNT(array)})

static const struct step create_steps[] = {
	{look_at_config, NULL},   {look_at_host, NULL},    {claim, drop_state},
	{place_make, place_drop}, {spawn_init, kill_init}, {set_up, NULL},
	{record, drop_pid_file},  {start, NULL},
};

static const struct step restore_steps[] = {
	{look_at_config, NULL},   {look_at_host, NULL},      {claim, drop_state},
	{place_make, place_drop}, {restore_init, kill_init}, {record_restored, drop_pid_file},
};

static const struct step ahead_steps[] = {
	{look_at_config, NULL}, {ahead_check, NULL},      {look_at_host, NULL},
	{look_at_place, NULL},  {place_make, place_drop}, {spawn_init, kill_init},
	{set_up_ahead, NULL},
};

static const struct step give_steps[] = {
	{claim, drop_state},
	{ahead_name, NULL},
	{announce, drop_pid_file},
	{start, kill_init},
};

static void undo(struct container *c, struct steps steps, size_t count)
{
	while (count-- > 0)
		if (steps.items[count].drop)
			steps.items[count].drop(c);
}

static int take_steps(struct container *c, struct steps steps, struct err *e)
{
	for (size_t i = 0; i < steps.count; i++) {
		int r = steps.items[i].make(c, e);

		if (r == 0)
			continue;
		undo(c, steps, i + 1);
		return r;
	}
	return 0;
}

static void container_init(struct container *c, struct runtime *rt,
			   const struct runtime_create *spec)
{
	*c = (struct container){.rt = rt,
				.spec = spec,
				.bundle_fd = -1,
				.dir_fd = -1,
				.start_fd = -1,
				.console_fd = -1,
				.sync_fd = -1,
				.rdt_fd = -1,
				.proc_fd = -1,
				.pidfd = -1};
	c->config = &c->doc.config;
	for (unsigned i = 0; i < NS_COUNT; i++)
		c->ns_fd[i] = -1;
	mounts_init(&c->mounts);
	c->mounts.state_fd = rt->root_fd;
}

/* Whoever stays with what he has started removes it. */
static void give_host_back(struct container *c)
{
	if (c->spec->start && c->spec->cgroups == RUNTIME_CGROUPS_OURS && !c->rt->host.count) {
		c->rt->host = c->host;
		c->host.count = 0;
	}
	cgroup_host_close(&c->host);
}

static void container_done(struct container *c)
{
	devices_unmake(&c->mounts);
	mounts_close(&c->mounts, c->config);
	ns_close(c->ns_fd);
	cgroup_done(&c->cgroup);
	give_host_back(c);
	filter_done(&c->filter);
	process_done(&c->process);
	close_fd(&c->bundle_fd);
	close_fd(&c->dir_fd);
	close_fd(&c->start_fd);
	close_fd(&c->console_fd);
	close_fd(&c->sync_fd);
	close_fd(&c->rdt_fd);
	close_fd(&c->pidfd);
	json_decref(c->linux_kept);
	free(c->pattern);
	config_doc_done(&c->doc);
}

static int make_container(struct runtime *rt, const struct runtime_create *spec,
			  const struct runtime_checkpoint *restore, pid_t *ret_pid, struct err *e)
{
	struct container c;
	int r;

	if (state_check_id(spec->id, e) < 0 || protect_check(e) < 0 ||
	    io_check_preserved(spec->io.preserve_fds, e) < 0)
		return -e->code;
	container_init(&c, rt, spec);
	c.restore = restore;
	r = take_steps(&c, restore ? STEPS(restore_steps) : STEPS(create_steps), e);
	if (r == 0)
		*ret_pid = c.pid;
	container_done(&c);
	return r;
}

int runtime_create(struct runtime *rt, const struct runtime_create *spec, pid_t *ret_pid,
		   struct err *e)
{
	assert(rt && spec->id && spec->bundle);

	return make_container(rt, spec, NULL, ret_pid, e);
}

int runtime_restore(struct runtime *rt, const struct runtime_create *spec,
		    const struct runtime_checkpoint *checkpoint, pid_t *ret_pid, struct err *e)
{
	assert(rt && spec->id && spec->bundle && checkpoint->images);

	return make_container(rt, spec, checkpoint, ret_pid, e);
}

/* ---- ahead ---- */

int runtime_make_ahead(struct runtime *rt, const struct runtime_create *spec,
		       struct runtime_ahead **ret, struct err *e)
{
	struct runtime_ahead *a;
	int r;

	assert(rt && spec->id && spec->bundle);

	if (state_check_id(spec->id, e) < 0 || protect_check(e) < 0)
		return -e->code;
	a = xcalloc(1, sizeof(*a));
	container_init(&a->c, rt, spec);
	a->c.ahead = true;
	r = take_steps(&a->c, STEPS(ahead_steps), e);
	if (r != 0) {
		container_done(&a->c);
		free(a);
		return r == RUNTIME_EXISTS ? err_set(e, EEXIST, "container %s", spec->id) : r;
	}
	*ret = a;
	return 0;
}

void runtime_drop_ahead(struct runtime_ahead *a)
{
	if (!a)
		return;
	undo(&a->c, STEPS(ahead_steps), ARRAY_COUNT(ahead_steps));
	container_done(&a->c);
	config_doc_done(&a->given);
	free(a);
}

int runtime_give(struct runtime_ahead *a, const struct runtime_create *spec, pid_t *ret_pid,
		 struct err *e)
{
	int r;

	assert(a && spec->id && spec->bundle);

	if (state_check_id(spec->id, e) < 0)
		return -e->code;
	r = ahead_fit(a, spec, e);
	if (r == 0)
		r = take_steps(&a->c, STEPS(give_steps), e);
	if (r != 0)
		return r;
	*ret_pid = a->c.pid;
	container_done(&a->c);
	config_doc_done(&a->given);
	free(a);
	return 0;
}
