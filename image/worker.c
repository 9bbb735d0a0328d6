/* image/worker.c - starting and ending workers
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/worker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/auto.h"
#include "base/text.h"

#define FDS_MAX         8
#define ENVIRONMENT_MAX 16
#define SEND_BUFFER     (4 << 20) /* so that many orders at once do not block the caller */

/* Roles of programs that have libraries of their own. */
static const struct {
	const char *role, *program;
} elsewhere[] = {
	{"fetch", "berth-fetcher"},
	{"push", "berth-fetcher"},
	{"nursery", "berth-reader"},
	{"read-archive", "berth-reader"},
};

static const char *program_of(const char *role)
{
	for (size_t i = 0; i < ARRAY_COUNT(elsewhere); i++)
		if (str_eq(elsewhere[i].role, role))
			return elsewhere[i].program;
	return "berth-worker";
}

/* 'worker' as for worker_start(). */
static int find_program(const char *worker, const char *role, char ret[PATH_MAX + 32],
			struct err *e)
{
	char dir[PATH_MAX];
	const char *slash = worker ? strrchr(worker, '/') : NULL;

	if (!worker && proc_self_dir(dir, sizeof(dir), e) < 0)
		return -e->code;
	if (worker)
		(void)snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - worker) : 1,
			       slash ? worker : ".");
	(void)snprintf(ret, PATH_MAX + 32, "%s/%s", dir, program_of(role));
	return 0;
}

/* What is passed on of the environment: names with their "=". */
static const char *const passed[] = {
	"http_proxy=", "https_proxy=", "HTTPS_PROXY=",   "all_proxy=",    "ALL_PROXY=",
	"no_proxy=",   "NO_PROXY=",    "SSL_CERT_FILE=", "ASAN_OPTIONS=",
};

static void copy_environment(char *ret[ENVIRONMENT_MAX])
{
	size_t count = 0;

	for (char **v = environ; *v; v++)
		for (size_t i = 0; i < ARRAY_COUNT(passed) && count < ENVIRONMENT_MAX - 1; i++)
			if (str_starts(*v, passed[i]))
				ret[count++] = *v;
	ret[count] = NULL;
}

int worker_socket(int *ret_ours, int *ret_theirs, struct err *e)
{
	const int size = SEND_BUFFER;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, "socket pair");
	*ret_ours = pair[0];
	*ret_theirs = pair[1];
	(void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)); /* root only */
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		return err_sys(e, "non-blocking socket");
	return 0;
}

int worker_start(const char *program, const char *role, const char *arg, const struct proc_fd *fds,
		 size_t fd_count, bool die_with_parent, struct worker *ret, struct err *e)
{
	char *const argv[] = {(char[]){"berth-worker"}, (char *)(uintptr_t)role,
			      (char *)(uintptr_t)arg, NULL};
	char *environment[ENVIRONMENT_MAX];
	char path[PATH_MAX + 32];
	auto_close int ours = -1, theirs = -1;
	struct proc_fd all[FDS_MAX];
	const struct proc_spawn spawn = {
		.path = path,
		.argv = argv,
		.envp = environment,
		.fds = all,
		.fd_count = fd_count + 2,
		.new_session = true,
		.die_with_parent = die_with_parent,
	};
	pid_t pid;

	assert(fd_count + 2 <= FDS_MAX);

	copy_environment(environment);
	if (find_program(program, role, path, e) < 0 || worker_socket(&ours, &theirs, e) < 0)
		return -e->code;
	all[0] = (struct proc_fd){STDERR_FILENO, STDERR_FILENO};
	all[1] = (struct proc_fd){theirs, WORKER_SOCK};
	for (size_t i = 0; i < fd_count; i++)
		all[i + 2] = fds[i];
	if (proc_spawn(&spawn, &pid, &ret->pidfd, e) < 0)
		return -e->code;
	ret->sock = take_fd(ours);
	return 0;
}

bool worker_reap(struct worker *w, int *ret_status)
{
	siginfo_t info = {0};

	if (w->pidfd < 0)
		return true;
	if (waitid((idtype_t)P_PIDFD, (id_t)w->pidfd, &info, WEXITED | WNOHANG) < 0)
		info.si_pid = errno == ECHILD; /* somebody else has reaped it: it is gone */
	if (info.si_pid == 0)
		return false;
	*ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	close_fd(&w->pidfd);
	return true;
}

void worker_wait(const struct worker *w, int timeout_ms)
{
	struct pollfd p = {.fd = w->pidfd, .events = POLLIN};

	(void)poll(&p, 1, timeout_ms); /* a signal only makes it shorter */
}

void worker_kill(struct worker *w)
{
	if (w->pidfd >= 0)
		(void)proc_pidfd_kill(w->pidfd, SIGKILL);
	close_fd(&w->sock);
}
