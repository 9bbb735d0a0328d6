/* runtime/init.c - the first process of a container, until it is the user's
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * The init is a copy of its creator in new namespaces.  It has all it needs in
 * memory and in descriptors; it looks up no path of the host.  It goes through
 *
 *   apart     nobody can trace it, all descriptors but its own are closed
 *   mounted   the root and all below it are in place
 *   attached  it is in its cgroup, and its creator has mapped its ids
 *   ready     it is inside of its root, the user's in all but the last rights,
 *             and knows that its program can be executed; here it enters a user
 *             namespace that owns nothing of the container.  One that is made ahead
 *             has no rights left at all, and hears of its program when it is given
 *   committed its creator has it on record; from here on it lives without it
 *   started   someone has connected to its socket and said so, unless its
 *             creator wanted it to be started at once
 *
 * and dies at each of them when its creator does, until committed.  A failure
 * goes to whoever is waiting: the creator first, then who starts it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "runtime/console.h"
#include "runtime/container.h"
#include "runtime/hooks.h"
#include "runtime/idmap.h"
#include "runtime/inroot.h"
#include "runtime/io.h"
#include "runtime/lsm.h"
#include "runtime/procfs.h"
#include "runtime/sync.h"
#include "runtime/sysctl.h"

/* ---- apart ---- */

static void keep_own_fds(struct container *c)
{
	const struct mount_plan *m = &c->mounts;
	const int own[] = {c->sync_fd, c->start_fd,          c->console_fd,
			   m->root_fd, c->ns_fd[NS_MOUNT],   c->ns_fd[NS_USER],
			   m->null_fd, c->spec->template_fd, c->spec->proc_fd};
	size_t max = ARRAY_COUNT(own) + c->config->mounts.count + m->device_count +
		     2 * CGROUP_HIERARCHIES_MAX;
	size_t count = ARRAY_COUNT(own);
	auto_free int *keep = xcalloc(max, sizeof(int));

	memcpy(keep, own, sizeof(own));
	for (size_t i = 0; i < c->config->mounts.count; i++)
		keep[count++] = m->tree_fds[i];
	for (size_t i = 0; i < m->device_count; i++)
		keep[count++] = m->device_fds[i];
	for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++) {
		keep[count++] = m->cgroup_fds[i];
		keep[count++] = c->cgroup.fd[i];
	}
	process_keep_fds(keep, count, c->spec->io.preserve_fds);
}

static int join_keyring(const char *id, struct err *e)
{
	char name[RUNTIME_ID_MAX + 8];

	(void)snprintf(name, sizeof(name), "_ses.%s", id);
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS)
		return err_sys(e, "make a session keyring");
	return 0;
}

static int refuse_tracing(struct err *e)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? err_sys(e, "refuse to be traced") : 0;
}

static bool has_user_namespace(const struct container *c)
{
	return c->ns[NS_USER].wanted && !joins_user_last(c);
}

/*
 * The files in /proc of who cannot be traced are the host's root's: nobody else
 * could write our maps.  We refuse when we are attached, in become_root().
 */
static bool is_mapped_by_a_user(const struct container *c)
{
	return c->rootless && c->ns[NS_USER].wanted && c->ns_fd[NS_USER] < 0;
}

static int stand_apart(struct container *c, struct err *e)
{
	if (!is_mapped_by_a_user(c) && refuse_tracing(e) < 0)
		return -e->code;
	(void)umask(0); /* modes are meant as they are written */
	process_reset_signals();
	if (setsid() < 0)
		return err_sys(e, "setsid");
	if (io_take_stdio(&c->spec->io, e) < 0)
		return -e->code;
	keep_own_fds(c);
	return 0;
}

/* ---- attached ---- */

/* In a new user namespace we are nobody until ids are mapped. */
static int become_root(struct err *e)
{
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become root of the user namespace");
	return refuse_tracing(e);
}

static int wait_attached(struct container *c, struct err *e)
{
	if (cgroup_enter(&c->cgroup, cgroup_v2_fd(&c->cgroup) >= 0, e) < 0 ||
	    sync_expect(c->sync_fd, SYNC_ATTACHED, NULL, e) < 0)
		return -e->code;
	cgroup_done(&c->cgroup);
	if (has_user_namespace(c) && become_root(e) < 0)
		return -e->code;
	/* Its root is the cgroup that we are in when it is made. */
	if (c->ns[NS_CGROUP].wanted && c->ns_fd[NS_CGROUP] < 0 && unshare(CLONE_NEWCGROUP) < 0)
		return err_sys(e, "make a cgroup namespace");
	return 0;
}

/* ---- names, network, parameters ---- */

int init_set_names(const struct config *c, struct err *e)
{
	if (c->hostname && c->hostname[0] && sethostname(c->hostname, strlen(c->hostname)) < 0)
		return err_sys(e, "set hostname %s", c->hostname);
	if (c->domainname && c->domainname[0] &&
	    setdomainname(c->domainname, strlen(c->domainname)) < 0)
		return err_sys(e, "set domainname %s", c->domainname);
	return 0;
}

/* A new network namespace has a loopback that is down; nobody else will raise it. */
static int raise_loopback(const struct container *c, struct err *e)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	auto_close int fd = -1;

	if (!c->ns[NS_NETWORK].wanted || c->ns_fd[NS_NETWORK] >= 0)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : err_sys(e, "socket");
	return ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? err_sys(e, "raise the loopback") : 0;
}

/*
 * Parameters are those of our namespaces in any procfs; labels go to our pid in one of
 * ours, which a user namespace is given only as long as the host's can be seen.
 */
static int open_proc(struct container *c, struct err *e)
{
	if (!lsm_wanted(c->config->process) &&
	    !(c->config->linux_.sysctl.count && c->spec->proc_fd < 0))
		return 0;
	return procfs_open(&c->proc_fd, e);
}

static int set_parameters(const struct container *c, int proc_fd, struct err *e)
{
	/* Made ahead it has no name yet. */
	if ((!c->ahead && init_set_names(c->config, e) < 0) || raise_loopback(c, e) < 0)
		return -e->code;
	return sysctl_apply(&c->config->linux_.sysctl, proc_fd, e);
}

/* ---- mounted ---- */

/* The terminal is made before anything of the image runs, in a devpts that nobody has touched. */
static int take_console(struct container *c, struct err *e)
{
	auto_console struct console console = CONSOLE_INIT;

	if (!c->config->process->terminal)
		return 0;
	if (console_open(c->mounts.root_fd, c->config->process, &console, e) < 0 ||
	    devices_console(c->mounts.root_fd, console.slave_fd, e) < 0 ||
	    console_take(&console, c->console_fd, e) < 0)
		return -e->code;
	close_fd(&c->console_fd);
	return 0;
}

/*
 * What we make belongs to root of the user namespace that comes last: files by
 * our ids for files, which are its already.  We stay root of the host in all else.
 */
static int make_for(const struct config *c, struct err *e)
{
	uint32_t uid, gid;

	if (!idmap_to_host(&c->linux_.uid_mappings, 0, &uid) ||
	    !idmap_to_host(&c->linux_.gid_mappings, 0, &gid))
		return err_set(e, EINVAL, "linux.uidMappings: root is not mapped");
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return err_sys(e, "keep capabilities over the change of ids");
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	return 0;
}

static int mount_all(struct container *c, struct err *e)
{
	int r;

	if (c->mounts.in_place)
		return devices_make(&c->mounts, c->config, e);
	r = template_fits(c) ? template_enter(c, e) : rootfs_isolate(c->config, e);
	if (r < 0 || rootfs_attach(&c->mounts, c->config, e) < 0 ||
	    mounts_apply(&c->mounts, c->config, &c->host, e) < 0 ||
	    devices_make(&c->mounts, c->config, e) < 0)
		return -e->code;
	return take_console(c, e);
}

static int run_hooks(const struct container *c, const struct js_list *hooks, const char *kind,
		     enum runtime_status status, struct err *e)
{
	auto_json json_t *state = hooks->count ? state_json(&c->state, status, getpid()) : NULL;

	return hooks_run(hooks, kind, state, e);
}

/* Hooks of the creator's side, then those of ours, while the host's files are still in reach. */
static int let_hooks_run(struct container *c, struct err *e)
{
	const struct config_hooks *h = &c->config->hooks;

	if ((h->prestart.count || h->create_runtime.count) &&
	    (sync_say(c->sync_fd, SYNC_MOUNTED, 0, e) < 0 ||
	     sync_expect(c->sync_fd, SYNC_GO, NULL, e) < 0))
		return -e->code;
	return run_hooks(c, &h->create_container, "createContainer", RUNTIME_STATUS_CREATING, e);
}

/* ---- ready ---- */

/* As runc does, where the image has none.  If it cannot be made, going there tells why. */
static void make_cwd(struct container *c)
{
	auto_close int fd = inroot_mkdirs(c->mounts.root_fd, c->config->process->cwd,
					  INROOT_FOLLOW);

	(void)fd;
}

/* pivot_root(2) would do it to others, to an empty namespace for nothing, or not at all. */
static bool changes_root_only(const struct container *c)
{
	return c->mounts.in_place || c->spec->no_pivot || template_fits(c);
}

static int make(struct container *c, struct err *e)
{
	bool early = has_user_namespace(c);

	if (stand_apart(c, e) < 0)
		return -e->code;
	if (early && wait_attached(c, e) < 0)
		return -e->code;
	/* What is mounted from here on is for whoever else is in it, too. */
	if (c->ns_fd[NS_MOUNT] >= 0 && setns(c->ns_fd[NS_MOUNT], CLONE_NEWNS) < 0)
		return err_sys(e, "join the mount namespace");
	if (c->ns_fd[NS_MOUNT] >= 0)
		(void)close(c->ns_fd[NS_MOUNT]); /* the number still says that we are in there */
	if (open_proc(c, e) < 0 || (joins_user_last(c) && make_for(c->config, e) < 0) ||
	    mount_all(c, e) < 0)
		return -e->code;
	if (!early && wait_attached(c, e) < 0)
		return -e->code;
	make_cwd(c);
	if (let_hooks_run(c, e) < 0 ||
	    rootfs_pivot(&c->mounts, c->config, changes_root_only(c), e) < 0 ||
	    rootfs_restrict(&c->mounts, c->config, e) < 0)
		return -e->code;
	mounts_close(&c->mounts, c->config);
	return 0;
}

static int settle(struct container *c, struct err *e)
{
	if ((!c->spec->no_new_keyring && join_keyring(c->state.id, e) < 0) ||
	    set_parameters(c, c->proc_fd < 0 ? c->spec->proc_fd : c->proc_fd, e) < 0)
		return -e->code;
	c->process.listen_fds = c->spec->io.listen_fds;
	if (process_prepare(&c->process, c->proc_fd, e) < 0)
		return -e->code;
	close_fd(&c->proc_fd);
	return 0;
}

static int make_ready(struct container *c, struct err *e)
{
	if (make(c, e) < 0 || settle(c, e) < 0 || process_find(&c->process, e) < 0)
		return -e->code;
	return sync_say(c->sync_fd, SYNC_READY, 0, e);
}

/* ---- started ---- */

static void end_by(int sig)
{
	_exit(128 + sig);
}

/*
 * The first process of a pid namespace is not ended by what it has no handler for;
 * a container that waits ends by what would end another process.  Not by SIGHUP:
 * whoever has taken its terminal may be gone by now.  execve(2) takes them away.
 */
static void heed_signals(void)
{
	static const int ending[] = {SIGINT, SIGQUIT, SIGTERM};
	const struct sigaction sa = {.sa_handler = end_by};

	for (size_t i = 0; i < ARRAY_COUNT(ending); i++)
		(void)sigaction(ending[i], &sa, NULL);
}

/* Who asks for our state connects, too, and says nothing. */
static int wait_started(int start_fd)
{
	struct err ignored;

	for (;;) {
		auto_close int fd = accept4(start_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno != EINTR)
			_exit(1);
		if (fd >= 0 && sync_expect(fd, SYNC_START, NULL, &ignored) == 0)
			return take_fd(fd);
	}
}

/* ---- made ahead ---- */

/* Nothing of it is anybody's yet; it does no more than be given a program, and execute that. */
static _Noreturn void wait_and_execute(struct container *c)
{
	struct sync_for *room = xcalloc(1, sizeof(*room));
	struct config_process *p = c->config->process;
	struct err e;

	if (make(c, &e) == 0 && settle(c, &e) == 0 && process_seal(&c->process, &e) == 0 &&
	    sync_say(c->sync_fd, SYNC_MADE, 0, &e) == 0 &&
	    sync_hear_for(c->sync_fd, room, &p->args, &p->env, &e) == 0 &&
	    process_find(&c->process, &e) == 0)
		(void)process_execute(&c->process, &e);
	sync_fail(c->sync_fd, &e);
	_exit(1);
}

_Noreturn void init_main(struct container *c)
{
	struct err e;
	int fd;

	if (c->ahead)
		wait_and_execute(c);
	if (make_ready(c, &e) < 0) {
		sync_fail(c->sync_fd, &e);
		_exit(1);
	}
	if (sync_expect(c->sync_fd, SYNC_COMMIT, NULL, &e) < 0)
		_exit(1);
	if (container_starts(c)) {
		fd = c->sync_fd;
	} else {
		close_fd(&c->sync_fd);
		heed_signals();
		fd = wait_started(c->start_fd);
		close_fd(&c->start_fd);
	}
	c->process.listener_to = fd;
	if (run_hooks(c, &c->config->hooks.start_container, "startContainer",
		      RUNTIME_STATUS_CREATED, &e) == 0 &&
	    process_seal(&c->process, &e) == 0)
		(void)process_execute(&c->process, &e);
	sync_fail(fd, &e);
	_exit(1);
}
