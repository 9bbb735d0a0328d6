/* runtime/exec.c - one more process in a running container
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 *   caller --fork--> helper --clone--> process
 *
 * The helper is born in (or enters) the container's cgroup, enters all its
 * namespaces at once by the init's pidfd, becomes the user, and gives up what
 * the user may not have.  It is still in the pid namespace of the caller: no
 * process of the container can see it.  Only then it clones the process, which
 * is born in the container's pid namespace with nothing left to take from it,
 * as a child of the caller, and executes the program at once.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/io.h"
#include "runtime/listener.h"
#include "runtime/lsm.h"
#include "runtime/priority.h"
#include "runtime/procfs.h"
#include "runtime/protect.h"
#include "runtime/rlimits.h"
#include "runtime/sync.h"

#define PROCESSORS_MAX 8192 /* the kernel's own largest build */

struct exec {
	const struct runtime_exec *spec; /* borrowed */
	struct state_doc state;
	json_t *process_doc, *groups_doc;
	struct arena arena;
	struct config_process config;
	struct config_linux linux_; /* what the state has kept of it */
	struct filter filter;
	struct process process;
	struct cgroup_host host;
	struct cgroup cgroup;
	int namespaces; /* CLONE_NEW* of those that the container has */
	int dir_fd, init_pidfd, console_fd;
	int agent_fd;  /* of a filter that asks */
	int report_fd; /* the helper's end: has it made the process? */
	int exec_fd;   /* the process's end: has it executed the program? */
};

/* ---- what is to be executed ---- */

static char **add_strings(struct arena *a, struct js_strings *to, char *const *more)
{
	size_t extra = 0;
	char **items;

	while (more && more[extra])
		extra++;
	items = arena_alloc(a, (to->count + extra + 1) * sizeof(char *));
	for (size_t i = 0; i < to->count; i++)
		items[i] = to->items[i];
	for (size_t i = 0; i < extra; i++)
		items[to->count + i] = arena_strdup(a, more[i]);
	to->items = items;
	to->count += extra;
	return items;
}

/* A variable that is there already is replaced: who looks first finds the first. */
static void add_env(struct arena *a, struct js_strings *to, char *const *more)
{
	for (; more && *more; more++) {
		size_t len = strcspn(*more, "=") + 1, i = 0;

		while (i < to->count && strncmp(to->items[i], *more, len) != 0)
			i++;
		if (i < to->count)
			to->items[i] = arena_strdup(a, *more);
		else
			(void)add_strings(a, to, (char *const[]){*more, NULL});
	}
}

static int parse_user(const char *text, struct config_user *user, struct err *e)
{
	size_t len = strcspn(text, ":");
	char uid[16] = "";

	if (len < sizeof(uid))
		(void)snprintf(uid, sizeof(uid), "%.*s", (int)len, text);
	if (!parse_u32(uid, ID_INVALID - 1, &user->uid) ||
	    (text[len] && !parse_u32(text + len + 1, ID_INVALID - 1, &user->gid)))
		return err_set(e, EINVAL,
			       "user '%s': expected UID or UID:GID, each below 4294967295", text);
	return 0;
}

/* process.user.additionalGids is what is checked and taken over in the end. */
static int add_groups(struct exec *x, char *const *gids, struct err *e)
{
	struct config_user *user = &x->config.user;
	json_t *list = json_array();
	uint32_t gid;

	for (size_t i = 0; user->additional_gids && i < json_array_size(user->additional_gids); i++)
		(void)json_array_append(list, json_array_get(user->additional_gids, i));
	json_decref(x->groups_doc);
	user->additional_gids = x->groups_doc = list;
	for (; gids && *gids; gids++) {
		if (!parse_u32(*gids, ID_INVALID - 1, &gid))
			return err_set(e, EINVAL, "group '%s': expected a number below 4294967295",
				       *gids);
		(void)json_array_append_new(list, json_integer(gid));
	}
	return 0;
}

/* To those that count for a program; inheritable stays empty (CVE-2022-29162). */
static void add_capabilities(struct exec *x, char *const *caps)
{
	struct config_capabilities *c = x->config.capabilities;

	if (!caps || !caps[0])
		return;
	if (!c)
		x->config.capabilities = c = arena_alloc(&x->arena, sizeof(*c));
	(void)add_strings(&x->arena, &c->bounding, caps);
	(void)add_strings(&x->arena, &c->effective, caps);
	(void)add_strings(&x->arena, &c->permitted, caps);
}

/* The container's own process, with what the caller wants otherwise. */
static int adapt_process(struct exec *x, struct err *e)
{
	const struct runtime_exec *spec = x->spec;
	struct config_process *p = &x->config;

	if (!x->state.state.process)
		return err_set(e, EINVAL, "the container's state has no process");
	if (config_decode_process(x->state.state.process, &x->arena, p, e) < 0)
		return -e->code;
	p->args = (struct js_strings){0};
	p->terminal = spec->tty;
	p->console_size = NULL;
	p->no_new_privileges |= spec->no_new_privs;
	if (spec->apparmor)
		p->apparmor_profile = arena_strdup(&x->arena, spec->apparmor);
	if (spec->selinux)
		p->selinux_label = arena_strdup(&x->arena, spec->selinux);
	if (spec->cwd)
		p->cwd = arena_strdup(&x->arena, spec->cwd);
	if ((spec->user && parse_user(spec->user, &p->user, e) < 0) ||
	    (spec->gids && spec->gids[0] && add_groups(x, spec->gids, e) < 0))
		return -e->code;
	(void)add_strings(&x->arena, &p->args, spec->args);
	add_env(&x->arena, &p->env, spec->env);
	add_capabilities(x, spec->caps);
	return config_check_process(p, &x->arena, e);
}

static int given_process(struct exec *x, struct err *e)
{
	const char *text = x->spec->process;

	if (config_parse(text, strlen(text), &x->process_doc, e) < 0 ||
	    config_decode_process(x->process_doc, &x->arena, &x->config, e) < 0)
		return err_wrap(e, "process");
	return 0;
}

/* Of the process object given, else of the container's own process. */
static int take_from_own(struct exec *x, struct err *e)
{
	const json_t *doc = x->state.state.process;
	struct config_process own;

	if (!x->spec->process ||
	    !(json_object_get(doc, "execCPUAffinity") || json_object_get(doc, "oomScoreAdj")))
		return 0;
	if (config_decode_process(doc, &x->arena, &own, e) < 0)
		return -e->code;
	if (!x->config.exec_affinity)
		x->config.exec_affinity = own.exec_affinity;
	if (!x->config.oom_score_adj)
		x->config.oom_score_adj = own.oom_score_adj;
	return 0;
}

static int open_cgroup(struct exec *x, struct err *e)
{
	if (cgroup_open_recorded(&x->host, &x->cgroup, x->state.state.cgroup, e) < 0)
		return -e->code;
	for (char *const *p = x->spec->cgroups; p && *p; p++)
		if (cgroup_descend(&x->cgroup, *p, e) < 0)
			return -e->code;
	return 0;
}

static int collect_namespaces(struct exec *x, struct err *e)
{
	const struct js_strings *names = &x->state.state.namespaces;

	for (size_t i = 0; i < names->count; i++) {
		enum ns_kind kind = ns_find(names->items[i]);

		if (kind == NS_COUNT)
			return err_set(e, EINVAL, "state: namespace '%s'", names->items[i]);
		x->namespaces |= ns_types[kind].flag;
	}
	return 0;
}

static void set_console_size(struct exec *x)
{
	if (x->config.console_size || !x->spec->rows || !x->spec->columns)
		return;
	x->config.console_size = arena_alloc(&x->arena, sizeof(*x->config.console_size));
	x->config.console_size->height = x->spec->rows;
	x->config.console_size->width = x->spec->columns;
}

static int prepare(struct runtime *rt, struct exec *x, struct err *e)
{
	const struct runtime_io *io = &x->spec->io;

	if ((x->spec->process ? given_process(x, e) : adapt_process(x, e)) < 0 ||
	    lsm_check(&x->config, NULL, e) < 0 ||
	    filter_load_file(x->dir_fd, STATE_FILTER, &x->filter, e) < 0 ||
	    config_decode_linux(x->state.state.linux_, &x->arena, &x->linux_, e) < 0 ||
	    process_init(&x->process, &x->config, &x->linux_, &x->filter, io->preserve_fds, e) <
		    0 ||
	    collect_namespaces(x, e) < 0 ||
	    process_grant(&x->process, x->namespaces & CLONE_NEWUSER, rt->warn, e) < 0 ||
	    take_from_own(x, e) < 0 || open_cgroup(x, e) < 0)
		return -e->code;
	if (x->namespaces & CLONE_NEWUSER) {
		char init[16];

		(void)snprintf(init, sizeof(init), "%d", (int)x->state.state.pid);
		process_look_at_groups(&x->process, init);
	}
	set_console_size(x);
	if (!x->spec->ignore_paused && cgroup_is_frozen(&x->cgroup))
		return err_set(e, EBUSY, "cannot exec in a paused container");
	if (listener_connect(&x->linux_.listener, &x->agent_fd, e) < 0)
		return -e->code;
	return io_open_console(io, x->config.terminal, &x->console_fd, e);
}

/* ---- the process ---- */

/* Context: born in the container's pid namespace; all but the last rights are gone. */
static _Noreturn void process_main(struct exec *x, struct console *console)
{
	struct err e;
	int r = 0;

	if (setsid() < 0)
		r = err_sys(&e, "setsid");
	if (r == 0 && x->config.terminal)
		r = console_take(console, x->console_fd, &e);
	x->process.listener_to = x->exec_fd;
	if (r == 0 && process_seal(&x->process, &e) == 0)
		(void)process_execute(&x->process, &e);
	sync_fail(x->exec_fd, &e);
	_exit(1);
}

/* ---- the helper ---- */

/* Without a mount namespace of its own the init has nothing but its root. */
static int open_inits_root(const struct exec *x, int proc_fd, int *ret_fd, struct err *e)
{
	auto_close int fd = -1;
	char path[32];

	(void)snprintf(path, sizeof(path), "%d/root", (int)x->state.state.pid);
	fd = openat(proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open the container's root");
	if (proc_pidfd_kill(x->init_pidfd, 0) < 0) /* the number may have been another's */
		return err_set(e, ESRCH, "the container's init has ended");
	*ret_fd = take_fd(fd);
	return 0;
}

static int change_root(int root_fd, struct err *e)
{
	if (fchdir(root_fd) < 0 || chroot(".") < 0)
		return err_sys(e, "enter the container's root");
	return 0;
}

static int enter(struct exec *x, struct console *console, struct err *e)
{
	bool in_place = !(x->namespaces & CLONE_NEWNS);
	auto_close int proc_fd = -1, root_fd = -1;

	if ((in_place || lsm_wanted(&x->config)) && procfs_open(&proc_fd, e) < 0)
		return -e->code;
	if (in_place && open_inits_root(x, proc_fd, &root_fd, e) < 0)
		return -e->code;
	if ((x->namespaces & CLONE_NEWUSER) && rlimits_raise(&x->config.rlimits, e) < 0)
		return -e->code; /* there it takes rights that nobody has */
	if (x->namespaces && setns(x->init_pidfd, x->namespaces) < 0)
		return err_sys(e, "join the container's namespaces");
	if ((x->namespaces & CLONE_NEWUSER) && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_sys(e, "become root of the user namespace");
	if (in_place && change_root(root_fd, e) < 0)
		return -e->code;
	if (x->config.terminal) {
		close_fd(&root_fd);
		root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root_fd < 0)
			return err_sys(e, "open the container's root");
		if (console_open(root_fd, &x->config, console, e) < 0)
			return -e->code;
	}
	return process_prepare(&x->process, proc_fd, e) < 0 ? -e->code
							    : process_find(&x->process, e);
}

static int stand_apart(struct exec *x, struct err *e)
{
	int keep[] = {x->init_pidfd, x->console_fd, x->report_fd, x->exec_fd};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "refuse to be traced");
	process_reset_signals();
	if (io_take_stdio(&x->spec->io, e) < 0)
		return -e->code;
	process_keep_fds(keep, ARRAY_COUNT(keep), x->spec->io.preserve_fds);
	return 0;
}

/* What it makes is born with it. */
static int set_oom_score(const struct exec *x, struct err *e)
{
	auto_close int proc_fd = -1;

	if (!x->config.oom_score_adj)
		return 0;
	if (procfs_open(&proc_fd, e) < 0)
		return -e->code;
	return priority_set_oom_score(proc_fd, getpid(), *x->config.oom_score_adj, e);
}

static _Noreturn void helper_main(struct exec *x)
{
	struct console console = CONSOLE_INIT;
	const struct config_affinity *a = x->config.exec_affinity;
	struct clone_args args = {.flags = CLONE_PARENT};
	bool born = cgroup_v2_fd(&x->cgroup) >= 0;
	struct err e;
	long pid = -1;
	int r;

	/* v1: we enter, and the process is born where we are. */
	r = cgroup_enter(&x->cgroup, born, &e);
	if (r == 0 && a)
		r = priority_set_affinity(a->final, "process.execCPUAffinity.final", &e);
	if (r == 0)
		r = set_oom_score(x, &e);
	if (r == 0)
		r = stand_apart(x, &e);
	if (r == 0)
		r = enter(x, &console, &e);
	if (r == 0) {
		pid = syscall(SYS_clone3, &args, sizeof(args));
		r = pid < 0 ? err_sys(&e, "make the process") : 0;
	}
	if (pid == 0)
		process_main(x, &console);
	if (r == 0)
		r = sync_say(x->report_fd, SYNC_MADE, (int)pid, &e);
	if (r < 0)
		sync_fail(x->report_fd, &e);
	_exit(r < 0);
}

/* In the v2 cgroup, or anywhere when that is -1. */
static long clone_helper(struct exec *x, int v2_fd)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	long pid;

	if (v2_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)v2_fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		helper_main(x);
	return pid;
}

static int enter_cgroup(struct exec *x, pid_t *ret, struct err *e)
{
	long pid = clone_helper(x, cgroup_v2_fd(&x->cgroup));

	/*
	 * A container that has cgroups of its own below hands controllers down,
	 * and its top one may then hold no process: its init is in another.
	 */
	if (pid < 0 && errno == EBUSY) {
		auto_close int fd = cgroup_v2_open_of(&x->host, (pid_t)x->state.state.pid);

		pid = fd < 0 ? -1 : clone_helper(x, fd);
	}
	if (pid < 0)
		return err_sys(e, "enter cgroup %s", x->cgroup.path);
	*ret = (pid_t)pid;
	return 0;
}

/* The processors that it runs on until it is in the cgroup are ours for that long. */
static int spawn_helper(struct exec *x, pid_t *ret, struct err *e)
{
	const struct config_affinity *a = x->config.exec_affinity;
	unsigned long own[PROCESSORS_MAX / CHAR_BIT / sizeof(unsigned long)] = {0};
	bool change = a && a->initial && a->initial[0];
	int r;

	if (change && syscall(SYS_sched_getaffinity, 0, sizeof(own), own) < 0)
		return err_sys(e, "which processors do we run on");
	if (change && priority_set_affinity(a->initial, "process.execCPUAffinity.initial", e) < 0)
		return -e->code;
	r = enter_cgroup(x, ret, e);
	if (change)
		(void)syscall(SYS_sched_setaffinity, 0, sizeof(own), own);
	return r;
}

/* ---- the caller ---- */

static int spawn(struct exec *x, pid_t *ret_pid, struct err *e)
{
	auto_close int report = -1, done = -1;
	int reports[2], dones[2], pid = 0, r;
	pid_t helper = -1;

	if (sync_pair(reports, e) < 0)
		return -e->code;
	report = reports[0];
	x->report_fd = reports[1];
	if (sync_pair(dones, e) < 0)
		return -e->code;
	done = dones[0];
	x->exec_fd = dones[1];

	if (spawn_helper(x, &helper, e) < 0)
		return -e->code;
	close_fd(&x->report_fd);
	close_fd(&x->exec_fd);
	runtime_protect_settle();
	r = sync_expect(report, SYNC_MADE, &pid, e);
	(void)waitpid(helper, NULL, 0);
	if (r < 0)
		return r;
	r = listener_expect_end(done, x->agent_fd, &x->linux_.listener, &x->state.state,
				RUNTIME_STATUS_RUNNING, pid, e);
	if (r == 0)
		r = io_write_pid(x->spec->io.pid_file, pid, e);
	if (r == 0)
		r = io_send_pidfd(x->spec->io.pidfd_socket, pid, e);
	if (r < 0) {
		(void)kill(pid, SIGKILL); /* our child, not reaped: the pid is its own */
		(void)waitpid(pid, NULL, 0);
		return r;
	}
	*ret_pid = pid;
	return 0;
}

static void exec_done(struct exec *x)
{
	cgroup_done(&x->cgroup);
	cgroup_host_close(&x->host);
	filter_done(&x->filter);
	process_done(&x->process);
	close_fd(&x->dir_fd);
	close_fd(&x->init_pidfd);
	close_fd(&x->console_fd);
	close_fd(&x->agent_fd);
	close_fd(&x->report_fd);
	close_fd(&x->exec_fd);
	json_decref(x->process_doc);
	json_decref(x->groups_doc);
	state_doc_done(&x->state);
	arena_done(&x->arena);
}

static int exec_in(struct runtime *rt, struct exec *x, pid_t *ret_pid, struct err *e)
{
	int r = state_open_dir(rt->root_fd, x->spec->id, &x->dir_fd, e);

	if (r == 0)
		r = state_read(x->dir_fd, &x->state, e);
	if (r == 0)
		r = state_open_init(&x->state.state, &x->init_pidfd, e);
	if (r == 0)
		r = prepare(rt, x, e);
	return r == 0 ? spawn(x, ret_pid, e) : r;
}

int runtime_exec(struct runtime *rt, const struct runtime_exec *spec, pid_t *ret_pid, struct err *e)
{
	struct exec x = {.spec = spec,
			 .dir_fd = -1,
			 .init_pidfd = -1,
			 .console_fd = -1,
			 .agent_fd = -1,
			 .report_fd = -1,
			 .exec_fd = -1};
	int r;

	assert(rt && spec->id && (spec->process || spec->args));

	if (protect_check(e) < 0 || io_check_preserved(spec->io.preserve_fds, e) < 0)
		return -e->code;
	r = exec_in(rt, &x, ret_pid, e);
	exec_done(&x);
	return r;
}
