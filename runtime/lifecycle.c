/* runtime/lifecycle.c - what can be done with a container that has been made
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/listener.h"
#include "runtime/rdt.h"
#include "runtime/sync.h"

#define DYING_MS 10000

static int delete_recorded(struct runtime *rt, int dir_fd, const struct state *s, bool force,
			   struct err *e);

int runtime_open(const char *root, struct runtime **ret, struct err *e)
{
	struct runtime *rt;
	int fd;

	assert(root);

	if (fs_open_dir(AT_FDCWD, root, 0700, &fd, e) < 0)
		return err_wrap(e, "state root %s", root);
	rt = xcalloc(1, sizeof(*rt));
	rt->root_fd = fd;
	*ret = rt;
	return 0;
}

void runtime_on_warning(struct runtime *rt, void (*warn)(const struct err *e))
{
	rt->warn = warn;
}

void runtime_free(struct runtime *rt)
{
	if (!rt)
		return;
	cgroup_host_close(&rt->host);
	close_fd(&rt->root_fd);
	free(rt);
}

void runtime_look_ahead(struct runtime *rt)
{
	struct err later; /* who needs it is told */

	if (!rt->host.count && cgroup_host_open(&rt->host, &later) < 0)
		cgroup_host_close(&rt->host);
}

/* Directory and state of a container that has got as far as to have one.  RUNTIME_ABSENT. */
static int open_container(struct runtime *rt, const char *id, int *ret_fd, struct state_doc *ret,
			  struct err *e)
{
	auto_close int fd = -1;
	int r = state_open_dir(rt->root_fd, id, &fd, e);

	if (r == 0)
		r = state_read(fd, ret, e);
	if (r < 0)
		return err_wrap(e, "container %s", id);
	if (r == 0)
		*ret_fd = take_fd(fd);
	return r;
}

/* The same, for those who change it: its creator has finished, and so have all others. */
static int open_locked(struct runtime *rt, const char *id, int *ret_fd, struct state_doc *ret,
		       struct err *e)
{
	auto_close int fd = -1;
	int r = state_open_dir(rt->root_fd, id, &fd, e);

	if (r == 0)
		r = state_lock(fd, id, e);
	if (r == 0)
		r = state_read(fd, ret, e);
	if (r < 0)
		return err_wrap(e, "container %s", id);
	if (r == 0)
		*ret_fd = take_fd(fd);
	return r;
}

/* ---- start ---- */

static int run_poststart(const struct state *s, struct err *e)
{
	auto_arena struct arena a = {0};
	auto_json json_t *json = state_json(s, RUNTIME_STATUS_RUNNING, (pid_t)s->pid);
	struct config_hooks hooks;

	if (config_decode_hooks(s->hooks, &a, &hooks, e) < 0)
		return -e->code;
	return hooks_run(&hooks.poststart, "poststart", json, e);
}

/* Of the spec: what they make of it changes nothing. */
static void run_poststop(const struct runtime *rt, const struct state *s)
{
	auto_arena struct arena a = {0};
	auto_json json_t *json = state_json(s, RUNTIME_STATUS_STOPPED, 0);
	struct config_hooks hooks;
	struct err e;

	if (config_decode_hooks(s->hooks, &a, &hooks, &e) == 0)
		hooks_run_each(&hooks.poststop, "poststop", json, rt->warn);
	else if (rt->warn)
		rt->warn(&e);
}

static int kill_and_wait(int pidfd, struct err *e)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r = proc_pidfd_kill(pidfd, SIGKILL);

	if (r < 0 && r != -ESRCH)
		return err_set(e, -r, "kill the init");
	if (poll(&p, 1, DYING_MS) == 0)
		return err_set(e, EBUSY, "the init is still there %d ms after it was killed",
			       DYING_MS);
	return 0;
}

/* In the words that runc's users know. */
static int check_startable(enum runtime_status status, struct err *e)
{
	switch (status) {
	case RUNTIME_STATUS_CREATED:
		return 0;
	case RUNTIME_STATUS_CREATING:
		return err_set(e, EBUSY, "cannot start a container that is being created");
	case RUNTIME_STATUS_RUNNING:
	case RUNTIME_STATUS_PAUSED:
		return err_set(e, EINVAL, "cannot start an already running container");
	case RUNTIME_STATUS_STOPPED:
		return err_set(e, EINVAL, "cannot start a container that has stopped");
	}
	return 0;
}

int runtime_start(struct runtime *rt, const char *id, struct err *e)
{
	auto_close int dir_fd = -1, sock = -1, agent_fd = -1;
	auto_state struct state_doc doc = {0};
	struct config_linux linux_;
	struct err ignored;
	int r = open_locked(rt, id, &dir_fd, &doc, e);

	if (r != 0)
		return r;
	if (!doc.state.process)
		return err_set(e, EINVAL,
			       "cannot start a container whose config.json has no process");
	if (check_startable(state_status_awake(dir_fd, &doc.state), e) < 0 ||
	    config_decode_linux(doc.state.linux_, &doc.arena, &linux_, e) < 0 ||
	    listener_connect(&linux_.listener, &agent_fd, e) < 0)
		return -e->code;
	r = state_connect(dir_fd, &sock, e);
	if (r != 0)
		return r < 0 ? r : err_set(e, ESRCH, "container %s: its init has ended", id);
	if (sync_say(sock, SYNC_START, 0, e) < 0 ||
	    listener_expect_end(sock, agent_fd, &linux_.listener, &doc.state,
				RUNTIME_STATUS_CREATED, (pid_t)doc.state.pid, e) < 0)
		return -e->code;
	(void)unlinkat(dir_fd, STATE_SOCKET,
		       0); /* nobody listens any more: state_status() sees it */
	if (run_poststart(&doc.state, e) == 0)
		return 0;
	/* Of the spec: it is ended, and destroyed. */
	(void)delete_recorded(rt, dir_fd, &doc.state, true, &ignored);
	return -e->code;
}

/* ---- state, list ---- */

static const char *const status_names[] = {
	[RUNTIME_STATUS_CREATING] = "creating", [RUNTIME_STATUS_CREATED] = "created",
	[RUNTIME_STATUS_RUNNING] = "running",   [RUNTIME_STATUS_PAUSED] = "paused",
	[RUNTIME_STATUS_STOPPED] = "stopped",
};

const char *runtime_status_name(enum runtime_status status)
{
	return status_names[status];
}

static void fill_state(int dir_fd, struct state_doc *doc, struct runtime_state *ret)
{
	const struct state *s = &doc->state;

	*ret = (struct runtime_state){
		.arena = doc->arena,
		.status = state_status(dir_fd, s),
		.id = s->id,
		.bundle = s->bundle,
		.rootfs = s->rootfs,
		.created = s->created,
		.owner = s->owner,
		.cgroup = s->cgroup,
		.oci_version = s->oci_version,
		.annotations = s->annotations,
	};
	doc->arena = (struct arena){0}; /* handed over; the document is let go of by its owner */
	if (ret->status != RUNTIME_STATUS_STOPPED)
		ret->pid = (pid_t)s->pid;
}

int runtime_state(struct runtime *rt, const char *id, struct runtime_state *ret, struct err *e)
{
	auto_close int dir_fd = -1;
	auto_state struct state_doc doc = {0};
	int r = open_container(rt, id, &dir_fd, &doc, e);

	if (r == 0)
		fill_state(dir_fd, &doc, ret);
	return r;
}

void runtime_state_done(struct runtime_state *s)
{
	arena_done(&s->arena);
	*s = (struct runtime_state){0};
}

json_t *runtime_state_json(const struct runtime_state *s)
{
	const struct state state = {
		.oci_version = s->oci_version,
		.id = s->id,
		.bundle = s->bundle,
		.rootfs = s->rootfs,
		.created = s->created,
		.owner = s->owner,
		.annotations = s->annotations,
	};

	return state_json(&state, s->status, s->pid);
}

static int by_id(const void *a, const void *b)
{
	const struct runtime_state *x = a, *y = b;

	return strcmp(x->id, y->id);
}

/* Damaged ones and those that are going are left out: `delete --force` is told their ids. */
static int add_state(struct runtime *rt, const char *id, struct runtime_state **list, size_t *count,
		     size_t *capacity)
{
	struct runtime_state s;
	struct err ignored;

	if (id[0] == '.' || runtime_state(rt, id, &s, &ignored) != 0)
		return 0;
	*list = xgrow(*list, *count, capacity, sizeof(s));
	(*list)[(*count)++] = s;
	return 0;
}

int runtime_list(struct runtime *rt, struct runtime_state **ret, size_t *ret_count, struct err *e)
{
	int fd = openat(rt->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct runtime_state *list = NULL;
	size_t count = 0, capacity = 0;
	struct dirent *entry;

	if (!dir)
		return err_sys(e, "read the state root");
	while ((entry = readdir(dir)))
		(void)add_state(rt, entry->d_name, &list, &count, &capacity);
	if (count)
		qsort(list, count, sizeof(*list), by_id);
	*ret = list;
	*ret_count = count;
	return 0;
}

void runtime_list_free(struct runtime_state *list, size_t count)
{
	while (count)
		runtime_state_done(&list[--count]);
	free(list);
}

/* ---- kill, pause ---- */

/* Its cgroup, opened.  'host' and 'c' are the caller's to let go of. */
static int open_cgroup(const struct state *s, struct cgroup_host *host, struct cgroup *c,
		       struct err *e)
{
	if (cgroup_open_recorded(host, c, s->cgroup, e) < 0)
		return -e->code;
	c->kept = (unsigned)s->cgroup_kept;
	return 0;
}

static int signal_all(const struct state *s, int sig, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};

	if (open_cgroup(s, &host, &c, e) < 0)
		return -e->code;
	return cgroup_signal_all(&c, sig, e);
}

static int thaw(const struct state *s, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};

	if (open_cgroup(s, &host, &c, e) < 0)
		return -e->code;
	cgroup_thaw(&c);
	return 0;
}

int runtime_kill(struct runtime *rt, const char *id, int sig, bool all, struct err *e)
{
	auto_close int dir_fd = -1, pidfd = -1;
	auto_state struct state_doc doc = {0};
	int r = open_container(rt, id, &dir_fd, &doc, e);

	if (r != 0)
		return r;
	if (all && doc.state.cgroup[0]) /* what has outlived the init is signalled too */
		return signal_all(&doc.state, sig, e);
	r = state_open_init(&doc.state, &pidfd, e);
	if (r != 0)
		return r;
	r = proc_pidfd_kill(pidfd, sig);
	if (r == -ESRCH)
		return RUNTIME_STOPPED;
	if (r == 0 && sig == SIGKILL)
		return thaw(&doc.state, e);
	return r < 0 ? err_set(e, -r, "signal %d to container %s: %s", sig, id, strerrordesc_np(-r))
		     : 0;
}

static int freeze(struct runtime *rt, const char *id, bool frozen, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	auto_close int dir_fd = -1, pidfd = -1;
	auto_state struct state_doc doc = {0};
	int r = open_container(rt, id, &dir_fd, &doc, e);

	if (r == 0)
		r = state_open_init(&doc.state, &pidfd, e);
	if (r == 0)
		r = open_cgroup(&doc.state, &host, &c, e);
	return r == 0 ? cgroup_freeze(&c, frozen, e) : r;
}

int runtime_pause(struct runtime *rt, const char *id, struct err *e)
{
	return freeze(rt, id, true, e);
}

int runtime_resume(struct runtime *rt, const char *id, struct err *e)
{
	return freeze(rt, id, false, e);
}

int runtime_pids(struct runtime *rt, const char *id, pid_t **ret, size_t *ret_count, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	auto_close int dir_fd = -1;
	auto_state struct state_doc doc = {0};
	int r = open_container(rt, id, &dir_fd, &doc, e);

	if (r != 0)
		return r;
	if (open_cgroup(&doc.state, &host, &c, e) < 0)
		return -e->code;
	return cgroup_pids(&c, ret, ret_count, e);
}

/* ---- delete ---- */

static int end_init(const struct state *s, struct cgroup *c, struct err *e)
{
	auto_close int pidfd = -1;
	int r = state_open_init(s, &pidfd, e);

	if (r != 0)
		return r < 0 ? r : 0;
	if (cgroup_open(c, e) < 0)
		return -e->code;
	cgroup_thaw(c);
	cgroup_thaw_around(c->host, (pid_t)s->pid);
	return kill_and_wait(pidfd, e);
}

static int end_all(struct runtime *rt, const struct state *s, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};

	if (s->cgroup[0]) {
		host = rt->host;
		rt->host.count = 0;
	}
	if (cgroup_name_recorded(&host, &c, s->cgroup, e) < 0)
		return -e->code;
	c.kept = (unsigned)s->cgroup_kept;
	if (end_init(s, &c, e) < 0)
		return -e->code;
	if (s->unit && (cgroup_open(&c, e) < 0 || cgroup_kill(&c, e) < 0))
		return -e->code;
	if (s->unit)
		systemd_stop(s->unit);
	return cgroup_remove(&c, e);
}

/* A program that runs is not deleted unasked; one that was never started is. */
static bool is_running(int dir_fd, const struct state *s)
{
	enum runtime_status status = state_status(dir_fd, s);

	return status == RUNTIME_STATUS_RUNNING || status == RUNTIME_STATUS_PAUSED;
}

static int leave_rdt(const struct state *s, struct err *e)
{
	auto_arena struct arena a = {0};
	auto_close int fd = -1;
	struct config_linux l;

	if (config_decode_linux(s->linux_, &a, &l, e) < 0)
		return -e->code;
	if (!rdt_wanted(l.rdt))
		return 0;
	if (rdt_open(&fd, e) < 0)
		return 0; /* it went with its mount */
	return rdt_remove(fd, l.rdt, s->id, s->rdt_made, e);
}

static int delete_recorded(struct runtime *rt, int dir_fd, const struct state *s, bool force,
			   struct err *e)
{
	if (!force && is_running(dir_fd, s))
		return RUNTIME_RUNNING;
	if (end_all(rt, s, e) < 0 || leave_rdt(s, e) < 0)
		return -e->code;
	run_poststop(rt, s);
	return state_drop(rt->root_fd, s->id, e);
}

int runtime_delete(struct runtime *rt, const char *id, bool force, struct err *e)
{
	auto_close int dir_fd = -1;
	auto_state struct state_doc doc = {0};
	int r = state_open_dir(rt->root_fd, id, &dir_fd, e);

	if (r == 0)
		r = state_lock(dir_fd, id, e);
	if (r != 0)
		return r;

	r = state_read(dir_fd, &doc, e);
	if (r == 0)
		r = delete_recorded(rt, dir_fd, &doc.state, force, e);
	else if (r == RUNTIME_ABSENT || force)
		/* Its creator died before anything was made; or what it left cannot be read. */
		r = state_drop(rt->root_fd, id, e);
	return r < 0 ? err_wrap(e, "delete container %s", id) : r;
}
