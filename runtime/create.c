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
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/idmap.h"
#include "runtime/io.h"
#include "runtime/listener.h"
#include "runtime/lsm.h"
#include "runtime/netdev.h"
#include "runtime/procfs.h"
#include "runtime/protect.h"
#include "runtime/rdt.h"
#include "runtime/sync.h"
#include "runtime/sysctl.h"

#define CONFIG_FILE "config.json"
#define DYING_MS    10000

/* ---- config ---- */

static int load_config(struct container *c, struct err *e)
{
	const char *name = c->spec->config ? c->spec->config : CONFIG_FILE;
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);

	/* Claiming it will tell for sure; this tells before all else. */
	if (faccessat(c->rt->root_fd, c->spec->id, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return RUNTIME_EXISTS;
	c->bundle_fd = open(c->spec->bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->bundle_fd < 0)
		return err_sys(e, "bundle %s", c->spec->bundle);
	if (fs_read(c->bundle_fd, name, &text, e) < 0)
		return err_wrap(e, "bundle %s", c->spec->bundle);
	if (config_decode(buf_str(&text), text.size, &c->doc, e) < 0)
		return err_wrap(e, "%s", name);
	memcpy(c->ns, c->config->ns, sizeof(c->ns));
	return 0;
}

/* A namespace at a path may be the host's after all: then it is shared, and nothing of it is set. */
static int check_shared(struct container *c, struct err *e)
{
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns_fd[i] >= 0 && ns_is_ours((enum ns_kind)i, c->ns_fd[i])) {
			close_fd(&c->ns_fd[i]);
			c->ns[i] = (struct ns_wish){0};
		}
	for (size_t i = 0; i < c->config->linux_.sysctl.count; i++)
		if (sysctl_check(c->config->linux_.sysctl.items[i].key, c->ns, e) < 0)
			return err_wrap(e, "linux.sysctl");
	if (!c->ns[NS_UTS].wanted && c->config->hostname && c->config->hostname[0])
		return err_set(e, EINVAL, "hostname: the uts namespace is the host's");
	return 0;
}

static int open_namespaces(struct container *c, struct err *e)
{
	if (c->spec->netns_fd >= 0)
		c->ns[NS_NETWORK] = (struct ns_wish){.wanted = true};
	if (ns_open(c->ns, c->ns_fd, e) < 0)
		return -e->code;
	if (c->spec->netns_fd >= 0) {
		c->ns_fd[NS_NETWORK] = fcntl(c->spec->netns_fd, F_DUPFD_CLOEXEC, 3);
		if (c->ns_fd[NS_NETWORK] < 0)
			return err_sys(e, "network namespace descriptor");
	}
	return check_shared(c, e);
}

static char *owner_name(struct arena *a)
{
	uid_t uid = getuid();

	return uid == 0 ? arena_strdup(a, "root") : arena_printf(a, "%u", uid);
}

/* What exec, update and delete need of it; the system call filter itself is kept compiled. */
static json_t *keep_of_linux(const json_t *linux_)
{
	static const char *const members[] = {"resources", "personality", "memoryPolicy",
					      "intelRdt"};
	static const char *const listener[] = {"listenerPath", "listenerMetadata"};
	const json_t *seccomp = json_object_get(linux_, "seccomp");
	json_t *kept = json_object(), *of_seccomp = json_object();

	for (size_t i = 0; i < ARRAY_COUNT(members); i++)
		(void)json_object_set(kept, members[i], json_object_get(linux_, members[i]));
	for (size_t i = 0; i < ARRAY_COUNT(listener); i++)
		(void)json_object_set(of_seccomp, listener[i],
				      json_object_get(seccomp, listener[i]));
	if (json_object_size(of_seccomp))
		(void)json_object_set(kept, "seccomp", of_seccomp);
	json_decref(of_seccomp);
	return kept;
}

static void describe(struct container *c)
{
	struct arena *a = &c->doc.arena;
	auto_free char *bundle = realpath(c->spec->bundle, NULL);
	const char *path = c->config->root->path;
	struct state *s = &c->state;
	char created[32];

	clock_format_rfc3339(clock_wall_ms(), created);
	s->oci_version = c->config->oci_version;
	s->id = arena_strdup(a, c->spec->id);
	s->bundle = arena_strdup(a, bundle ? bundle : c->spec->bundle);
	s->rootfs = path[0] == '/' ? arena_strdup(a, path)
				   : arena_printf(a, "%s/%s", s->bundle, path);
	s->created = arena_strdup(a, created);
	s->owner = owner_name(a);
	s->annotations = c->config->annotations;
	s->process = json_object_get(c->doc.doc, "process");
	s->hooks = json_object_get(c->doc.doc, "hooks");
	s->linux_ = c->linux_kept = keep_of_linux(json_object_get(c->doc.doc, "linux"));

	s->namespaces.items = arena_alloc(a, (NS_COUNT + 1) * sizeof(char *));
	for (unsigned i = 0; i < NS_COUNT; i++)
		if (c->ns[i].wanted)
			s->namespaces.items[s->namespaces.count++] = arena_strdup(a,
										  ns_types[i].name);
}

static int look_at_rdt(struct container *c, struct err *e)
{
	const struct config_rdt *r = c->config->linux_.rdt;

	if (!rdt_wanted(r))
		return 0;
	if (rdt_open(&c->rdt_fd, e) < 0)
		return -e->code;
	c->state.rdt_made = !rdt_exists(c->rdt_fd, r, c->spec->id);
	return 0;
}

static int make_filter(struct container *c, struct err *e)
{
	const struct config_linux *l = &c->config->linux_;

	if (l->seccomp && filter_get(c->rt->root_fd, l->seccomp, &c->filter, e) < 0)
		return -e->code;
	if (!listener_wanted(&c->filter)) {
		(void)json_object_del(c->linux_kept, "seccomp");
		return 0;
	}
	if (!l->listener.path || !l->listener.path[0])
		return err_set(e, EINVAL,
			       "linux.seccomp.listenerPath: missing, and SCMP_ACT_NOTIFY needs it");
	if (faccessat(AT_FDCWD, l->listener.path, F_OK, 0) < 0)
		return err_sys(e, "linux.seccomp.listenerPath %s", l->listener.path);
	return 0;
}

/* Where it is to be; nothing is made. */
static int name_cgroup(struct container *c, struct err *e)
{
	const char *path = c->config->linux_.cgroups_path;
	struct arena *a = &c->doc.arena;

	if (c->spec->cgroups == RUNTIME_CGROUPS_NONE) {
		c->state.cgroup = arena_strdup(a, "");
		return cgroup_open_recorded(&c->host, &c->cgroup, "", e);
	}
	if (c->spec->cgroups == RUNTIME_CGROUPS_SYSTEMD) {
		if (systemd_scope_of(path, c->spec->id, a, &c->scope, e) < 0)
			return -e->code;
		c->state.unit = c->scope.unit;
		c->state.cgroup = c->scope.cgroup;
	} else {
		c->state.cgroup = !path || !path[0] ? arena_printf(a, "/%s", c->spec->id)
				  : path[0] == '/'  ? arena_strdup(a, path)
						    : arena_printf(a, "/%s", path);
	}
	if (cgroup_host_open(&c->host, e) < 0)
		return -e->code;
	return cgroup_init(&c->cgroup, &c->host, c->state.cgroup, e);
}

/* Everything that the config wants of the host; nothing is made. */
static int look_at_host(struct container *c, struct err *e)
{
	const struct config *cfg = c->config;

	if (open_namespaces(c, e) < 0)
		return -e->code;
	describe(c);
	if (lsm_check(cfg->process, cfg->linux_.mount_label, e) < 0 ||
	    io_open_console(&c->spec->io, cfg->process->terminal, &c->console_fd, e) < 0)
		return -e->code;
	if (make_filter(c, e) < 0 || look_at_rdt(c, e) < 0)
		return -e->code;
	if (process_init(&c->process, cfg->process, &cfg->linux_, &c->filter,
			 c->spec->io.preserve_fds, e) < 0 ||
	    mounts_open(&c->mounts, cfg, c->state.rootfs, c->bundle_fd, c->spec->rootfs_fd,
			c->ns_fd[NS_USER], e) < 0 ||
	    name_cgroup(c, e) < 0)
		return -e->code;
	return 0;
}

/* ---- state ---- */

static int claim(struct container *c, struct err *e)
{
	int r = state_claim(c->rt->root_fd, c->spec->id, &c->dir_fd, e);

	if (r != 0)
		return r;
	if (c->cgroup.host->count && cgroup_look(&c->cgroup, true, e) < 0)
		return -e->code;
	c->state.cgroup_kept = c->cgroup.kept;
	if (state_write(c->dir_fd, &c->state, e) < 0 ||
	    state_listen(c->dir_fd, &c->start_fd, e) < 0)
		return -e->code;
	return c->filter.insns ? filter_save(c->dir_fd, STATE_FILTER, &c->filter, e) : 0;
}

static void drop_state(struct container *c)
{
	struct err ignored;

	if (c->rdt_fd >= 0)
		(void)rdt_remove(c->rdt_fd, c->config->linux_.rdt, c->spec->id, c->state.rdt_made,
				 &ignored);
	if (c->dir_fd >= 0)
		(void)state_drop(c->rt->root_fd, c->spec->id, &ignored);
}

/* ---- cgroup ---- */

static int hold_place(struct container *c, struct err *e)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		if (proc_die_with(parent))
			for (;;)
				pause();
		_exit(0);
	}
	c->placeholder = pid;
	return 0;
}

static void leave_place(struct container *c)
{
	if (!c->placeholder)
		return;
	(void)kill(c->placeholder, SIGKILL);
	(void)waitpid(c->placeholder, NULL, 0);
	c->placeholder = 0;
}

/* systemd says where it is; that goes on record before anything is made there by us. */
static int start_scope(struct container *c, struct err *e)
{
	if (hold_place(c, e) < 0 ||
	    systemd_start(&c->scope, c->spec->id, c->placeholder, &c->config->linux_.resources,
			  &c->doc.arena, &c->state.cgroup, e) < 0)
		return -e->code;
	c->scope_started = true;
	if (cgroup_init(&c->cgroup, &c->host, c->state.cgroup, e) < 0 ||
	    cgroup_look(&c->cgroup, false, e) < 0)
		return -e->code;
	c->state.cgroup_kept = c->cgroup.kept;
	return state_write(c->dir_fd, &c->state, e);
}

/* Does it ask for anything that only a cgroup can give?  Lists of devices are asked for always. */
static bool limits_anything(const struct container *c)
{
	const json_t *r = json_object_get(c->linux_kept, "resources");

	return json_object_size(r) > (json_object_get(r, "devices") ? 1u : 0u);
}

/*
 * Without rights over cgroups, as in a user namespace of a user's own, a
 * container that wants nothing limited goes without one.
 */
static int go_without(struct container *c, struct err *e)
{
	bool refused = e->code == EACCES || e->code == EPERM || e->code == EROFS;

	if (!refused || !runtime_is_rootless() || limits_anything(c) || c->scope.unit)
		return -e->code;
	cgroup_done(&c->cgroup);
	cgroup_host_close(&c->host);
	c->state.cgroup = arena_strdup(&c->doc.arena, "");
	c->state.cgroup_kept = 0;
	if (cgroup_open_recorded(&c->host, &c->cgroup, "", e) < 0)
		return -e->code;
	return state_write(c->dir_fd, &c->state, e);
}

static int make_cgroup(struct container *c, struct err *e)
{
	const struct config_linux *l = &c->config->linux_;

	if (!c->state.cgroup[0])
		return limits_anything(c)
			       ? err_set(e, EINVAL,
					 "linux.resources: limits, and no cgroup for them")
			       : 0;
	if (c->scope.unit && start_scope(c, e) < 0)
		return -e->code;
	cgroup_want(&c->cgroup, &l->resources);
	if (cgroup_make(&c->cgroup, e) < 0)
		return go_without(c, e);
	if (cgroup_limit(&c->cgroup, &l->resources, e) < 0 ||
	    cgroup_limit_devices(&c->cgroup, &l->resources.devices, e) < 0)
		return -e->code;
	return mounts_open_cgroups(&c->mounts, c->config, &c->cgroup, e);
}

static void drop_cgroup(struct container *c)
{
	struct err ignored;

	leave_place(c);
	/* Made halfway, it may be there without being open. */
	if (cgroup_open(&c->cgroup, &ignored) == 0)
		(void)cgroup_remove(&c->cgroup, &ignored);
	if (c->scope_started)
		systemd_stop(c->scope.unit);
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

/* What is so already needs no privilege to be made so. */
static int set_oom_score(int proc_fd, pid_t pid, int64_t score, struct err *e)
{
	auto_buf struct buf now = BUF_INIT(64);
	char path[64], text[16];
	int64_t current = 0;
	struct err ignored;

	(void)snprintf(path, sizeof(path), "%d/oom_score_adj", (int)pid);
	(void)snprintf(text, sizeof(text), "%lld", (long long)score);
	if (fs_read(proc_fd, path, &now, &ignored) == 0)
		current = strtoll(buf_str(&now), NULL, 10);
	if (current == score || procfs_write(proc_fd, path, text, e) == 0)
		return 0;
	if (e->code == EACCES)
		return err_set(e, EACCES,
			       "process.oomScoreAdj: lowering %lld to %lld takes CAP_SYS_RESOURCE",
			       (long long)current, (long long)score);
	return err_wrap(e, "process.oomScoreAdj");
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
	    set_oom_score(proc_fd, c->pid, *cfg->process->oom_score_adj, e) < 0)
		return -e->code;
	if (move_net_devices(c, e) < 0 || enter_rdt(c, e) < 0 ||
	    cgroup_attach(&c->cgroup, c->pid, cgroup_v2_fd(&c->cgroup) >= 0, e) < 0)
		return -e->code;
	leave_place(c);
	return sync_say(c->sync_fd, SYNC_ATTACHED, 0, e);
}

static int run_hooks(struct container *c, struct err *e)
{
	const struct config_hooks *h = &c->config->hooks;
	auto_json json_t *state = NULL;

	if (!h->prestart.count && !h->create_runtime.count)
		return 0;
	if (sync_expect(c->sync_fd, SYNC_MOUNTED, NULL, e) < 0)
		return -e->code;
	state = state_json(&c->state, RUNTIME_STATUS_CREATING, c->pid);
	if (hooks_run(&h->prestart, "prestart", state, e) < 0 ||
	    hooks_run(&h->create_runtime, "createRuntime", state, e) < 0)
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
	if (attach(c, e) < 0 || run_hooks(c, e) < 0 ||
	    sync_expect(c->sync_fd, SYNC_READY, NULL, e) < 0)
		return explain(c, e);
	return 0;
}

/* ---- record ---- */

static int record(struct container *c, struct err *e)
{
	c->state.pid = c->pid;
	c->state.start_time = (int64_t)proc_start_time(c->pid);
	if (state_write(c->dir_fd, &c->state, e) < 0 ||
	    io_write_pid(c->spec->io.pid_file, c->pid, e) < 0)
		return -e->code;
	return sync_say(c->sync_fd, SYNC_COMMIT, 0, e);
}

static void drop_pid_file(struct container *c)
{
	if (c->spec->io.pid_file)
		(void)unlink(c->spec->io.pid_file);
}

/* ---- */

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
	c->state.pid = c->pid;
	c->state.start_time = (int64_t)proc_start_time(c->pid);
	if (state_write(c->dir_fd, &c->state, e) < 0)
		return -e->code;
	return io_write_pid(c->spec->io.pid_file, c->pid, e);
}

/* ---- */

struct step {
	int (*make)(struct container *c, struct err *e);
	void (*drop)(struct container *c); /* also after a make that failed halfway */
};

static const struct step create_steps[] = {
	{load_config, NULL},        {look_at_host, NULL},    {claim, drop_state},
	{make_cgroup, drop_cgroup}, {spawn_init, kill_init}, {set_up, NULL},
	{record, drop_pid_file},
};

static const struct step restore_steps[] = {
	{load_config, NULL},        {look_at_host, NULL},      {claim, drop_state},
	{make_cgroup, drop_cgroup}, {restore_init, kill_init}, {record_restored, drop_pid_file},
};

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
				.pidfd = -1};
	c->config = &c->doc.config;
	for (unsigned i = 0; i < NS_COUNT; i++)
		c->ns_fd[i] = -1;
	mounts_init(&c->mounts);
}

static void container_done(struct container *c)
{
	mounts_close(&c->mounts, c->config);
	ns_close(c->ns_fd);
	cgroup_done(&c->cgroup);
	cgroup_host_close(&c->host);
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
	config_doc_done(&c->doc);
}

static int make_container(struct runtime *rt, const struct runtime_create *spec,
			  const struct runtime_checkpoint *restore, pid_t *ret_pid, struct err *e)
{
	const struct step *steps = restore ? restore_steps : create_steps;
	size_t count = restore ? ARRAY_COUNT(restore_steps) : ARRAY_COUNT(create_steps);
	struct container c;
	int r = 0;

	if (state_check_id(spec->id, e) < 0 || protect_check(e) < 0 ||
	    io_check_preserved(spec->io.preserve_fds, e) < 0)
		return -e->code;
	container_init(&c, rt, spec);
	c.restore = restore;
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = steps[i].make(&c, e);
		for (size_t k = i + 1; r != 0 && k-- > 0;)
			if (steps[k].drop)
				steps[k].drop(&c);
	}
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
