/* runtime/process.c - from a process of ours in a container to the user's program
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/idmap.h"
#include "runtime/listener.h"
#include "runtime/lsm.h"
#include "runtime/passwd.h"
#include "runtime/priority.h"
#include "runtime/rlimits.h"

#define PASSWD_MAX    (4 * 1024 * 1024)
#define DEFAULT_PATH  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_UMASK 022

int process_init(struct process *x, const struct config_process *config,
		 const struct config_linux *linux_, const struct filter *filter,
		 unsigned preserve_fds, struct err *e)
{
	*x = (struct process){.config = config,
			      .linux_ = linux_,
			      .filter = filter,
			      .preserve_fds = preserve_fds,
			      .user_fd = -1};
	return capability_sets_of(config->capabilities, &x->caps, e);
}

void process_look_at_groups(struct process *x, const char *who)
{
	auto_free char *file = xasprintf("/proc/%s/setgroups", who);
	auto_buf struct buf b = BUF_INIT(16);
	struct err none; /* a kernel without user namespaces */

	x->groups_fixed = fs_read(AT_FDCWD, file, &b, &none) == 0 &&
			  strncmp(buf_str(&b), "deny", 4) == 0;
}

int process_grant(struct process *x, bool all_held, void (*warn)(const struct err *e),
		  struct err *e)
{
	struct err doubt;

	if (!capability_grant(x->config->capabilities, all_held, &x->caps, &doubt))
		return 0;
	if (!warn) {
		*e = doubt;
		return -e->code;
	}
	warn(&doubt);
	return 0;
}

void process_done(struct process *x)
{
	arena_done(&x->arena);
}

/* ---- descriptors, signals ---- */

void process_reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL); /* KILL and STOP refuse */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int by_number(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void close_between(int first, int last, unsigned flags)
{
	if (first > last)
		return;
	if (syscall(SYS_close_range, (unsigned)first, (unsigned)last, flags) == 0)
		return;
	if (last > 65535) /* no close_range(2): no limit here is higher */
		last = 65535;
	for (int fd = first; fd <= last; fd++)
		if (flags)
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		else
			(void)close(fd);
}

void process_keep_fds(int *keep, size_t count, unsigned preserve)
{
	int next = 3 + (int)preserve;

	qsort(keep, count, sizeof(*keep), by_number);
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < next)
			continue;
		close_between(next, keep[i] - 1, 0);
		next = keep[i] + 1;
	}
	close_between(next, INT_MAX, 0);
}

/*
 * The program may open /dev/stdout by name, which asks the owner of the pipe.
 * Files and terminals stay whose they are.  Where a pipe cannot be given away
 * (another's, in a user namespace) it works as far as it did before.
 */
static void give_pipes(const struct process *x)
{
	uint32_t uid = x->config->user.uid;

	if (x->user_fd >= 0 && !idmap_to_host(&x->linux_->uid_mappings, uid, &uid))
		return;
	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode) && st.st_uid != uid)
			(void)!fchown(fd, uid, (gid_t)-1);
	}
}

/* ---- the environment and the program ---- */

static const char *get_env(const struct js_strings *env, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = env->count; i-- > 0;)
		if (strncmp(env->items[i], name, len) == 0 && env->items[i][len] == '=')
			return env->items[i] + len + 1;
	return NULL;
}

static void find_home(struct process *x, size_t *count)
{
	auto_buf struct buf text = BUF_INIT(PASSWD_MAX);
	char home[PATH_MAX] = "/";
	struct err ignored;

	if (fs_read(AT_FDCWD, "/etc/passwd", &text, &ignored) == 0)
		(void)passwd_home(buf_str(&text), x->config->user.uid, home, sizeof(home));
	x->env[(*count)++] = arena_printf(&x->arena, "HOME=%s", home);
}

/* Of two of one name the later one counts, for whoever looks first and finds the first. */
static void put_env(struct process *x, size_t *count, char *variable)
{
	size_t len = strcspn(variable, "=") + 1, i = 0;

	while (i < *count && strncmp(x->env[i], variable, len) != 0)
		i++;
	x->env[i] = variable;
	*count += i == *count;
}

static void make_env(struct process *x)
{
	const struct js_strings *env = &x->config->env;
	size_t count = 0;

	x->env = arena_alloc(&x->arena, (env->count + 4) * sizeof(char *));
	for (size_t i = 0; i < env->count; i++)
		put_env(x, &count, env->items[i]);
	if (!get_env(env, "HOME"))
		find_home(x, &count);
	if (x->listen_fds) { /* sd_listen_fds(3): they are for process 1 */
		x->env[count++] = arena_printf(&x->arena, "LISTEN_FDS=%u", x->listen_fds);
		x->env[count++] = arena_strdup(&x->arena, "LISTEN_PID=1");
	}
}

/* 0, or a positive errno value that says why it cannot be executed. */
static int cannot_execute(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

static int find_at(const char *name, struct arena *a, char **ret, struct err *e)
{
	int why = cannot_execute(name);

	if (why == ENOENT || why == ENOTDIR)
		return err_set(e, why, "exec: \"%s\": stat %s: %s", name, name,
			       why == ENOENT ? "no such file or directory" : "not a directory");
	if (why)
		return err_set(e, why, "exec: \"%s\": %s", name,
			       why == EISDIR   ? "is a directory"
			       : why == EACCES ? "permission denied"
					       : strerrordesc_np(why));
	*ret = arena_strdup(a, name);
	return 0;
}

int process_find_program(const char *name, const struct js_strings *env, struct arena *a,
			 char **ret, struct err *e)
{
	const char *path = get_env(env, "PATH");
	bool denied = false;

	if (strchr(name, '/'))
		return find_at(name, a, ret, e);
	for (path = path ? path : DEFAULT_PATH; *path;) {
		size_t len = strcspn(path, ":");
		char candidate[PATH_MAX];
		int why;

		/* Relative to the working directory is nowhere that anyone chose. */
		if (path[0] == '/' && (size_t)snprintf(candidate, sizeof(candidate), "%.*s/%s",
						       (int)len, path, name) < sizeof(candidate)) {
			why = cannot_execute(candidate);
			if (!why) {
				*ret = arena_strdup(a, candidate);
				return 0;
			}
			denied |= why == EACCES;
		}
		path += len + (path[len] == ':');
	}
	if (denied)
		return err_set(e, EACCES, "exec: \"%s\": permission denied", name);
	return err_set(e, ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

/* ---- becoming the user ---- */

static int change_directory(const char *cwd, struct err *e)
{
	if (chdir(cwd) < 0)
		return err_sys(e, "chdir to cwd (\"%s\") set in config.json failed", cwd);
	return 0;
}

/* A working directory outside of the root is reached by a leaked descriptor only. */
static int check_directory(struct err *e)
{
	char path[PATH_MAX];
	long n = syscall(SYS_getcwd, path, sizeof(path));

	if (n < 0)
		return err_sys(e, "where is the working directory");
	if (path[0] != '/')
		return err_set(
			e, EXDEV,
			"process.cwd: the working directory is outside of the container's root");
	return 0;
}

/* What takes rights over the host was done before. */
static int enter_user_namespace(int user_fd, struct err *e)
{
	if (setns(user_fd, CLONE_NEWUSER) < 0)
		return err_sys(e, "join the user namespace");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return err_sys(e, "become root of the user namespace");
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? err_sys(e, "refuse to be traced") : 0;
}

/* EINVAL means one thing here. */
static int not_taken(const char *what, unsigned id, struct err *e)
{
	if (errno == EINVAL)
		return err_set(e, EINVAL, "%s %u is not mapped in the container's user namespace",
			       what, id);
	return err_sys(e, "set %s %u", what, id);
}

static int groups_not_taken(const struct config_user *user, struct err *e)
{
	for (size_t i = 0; errno == EINVAL && i < user->group_count; i++)
		if (setgroups(1, &user->groups[i]) < 0)
			return not_taken("additional group", user->groups[i], e);
	return err_sys(e, "set %zu additional groups", user->group_count);
}

static int change_ids(const struct config_user *user, bool groups_fixed, struct err *e)
{
	if (setgroups(user->group_count, user->groups) < 0 && !(groups_fixed && !user->group_count))
		return groups_not_taken(user, e);
	if (setresgid(user->gid, user->gid, user->gid) < 0)
		return not_taken("group", user->gid, e);
	if (setresuid(user->uid, user->uid, user->uid) < 0)
		return not_taken("user", user->uid, e);
	if (getuid() != user->uid || getgid() != user->gid)
		return err_set(e, EPERM, "user %u:%u was not taken on", user->uid, user->gid);
	return 0;
}

int process_prepare(struct process *x, int proc_fd, struct err *e)
{
	const struct config_process *p = x->config;
	bool filter_needs_admin = x->filter && x->filter->insns && !p->no_new_privileges;
	struct err first;
	int moved;

	/* As root where the user may not pass; again as the user where root may not (NFS). */
	moved = change_directory(p->cwd, &first);
	if (moved < 0 && first.code != EACCES) {
		*e = first;
		return moved;
	}
	if (proc_fd >= 0 && lsm_apply(p, proc_fd, e) < 0)
		return -e->code;
	if (priority_apply(p, x->linux_, e) < 0)
		return -e->code;
	give_pipes(x);
	if (rlimits_raise(&p->rlimits, e) < 0)
		return -e->code;
	if (x->user_fd >= 0 && enter_user_namespace(x->user_fd, e) < 0)
		return -e->code;
	if (capability_bound(&x->caps, e) < 0 || change_ids(&p->user, x->groups_fixed, e) < 0 ||
	    capability_narrow(&x->caps, filter_needs_admin ? 1ull << CAP_SYS_ADMIN : 0, e) < 0)
		return -e->code;
	if (moved < 0 && change_directory(p->cwd, e) < 0)
		return -e->code;
	if (check_directory(e) < 0)
		return -e->code;
	if (p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "set no_new_privs");
	(void)umask(p->user.umask ? (mode_t)*p->user.umask : DEFAULT_UMASK);
	return 0;
}

int process_find(struct process *x, struct err *e)
{
	const struct config_process *p = x->config;

	make_env(x);
	if (!p->args.count)
		return 0; /* nobody will start it */
	return process_find_program(p->args.items[0], &p->env, &x->arena, &x->program, e);
}

int process_seal(struct process *x, struct err *e)
{
	const struct config_process *p = x->config;
	int r;

	/* Preserved descriptors came to us by inheritance; all others of ours end at execve. */
	close_between(3 + (int)x->preserve_fds, INT_MAX, CLOSE_RANGE_CLOEXEC);
	if (rlimits_apply(&p->rlimits, e) < 0)
		return -e->code;
	/* Without no_new_privs a filter needs CAP_SYS_ADMIN; with it, nothing follows but execve. */
	if (p->no_new_privileges)
		r = capability_finish(&x->caps, e) < 0
			    ? -1
			    : listener_install(x->filter, x->listener_to, e);
	else
		r = listener_install(x->filter, x->listener_to, e) < 0
			    ? -1
			    : capability_finish(&x->caps, e);
	return r < 0 ? -e->code : 0;
}

int process_execute(struct process *x, struct err *e)
{
	char **args = x->config->args.items;

	(void)execve(x->program, args, x->env);
	return err_sys(e, "exec: \"%s\"", args[0]);
}
