/* image/nursery.c - where the workers that read layers come from
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/nursery.h"

#include <assert.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define SELF    "/proc/self/exe"
#define FDS_MAX 8

static const struct role {
	char name[sizeof("nursery")];
	int (*main)(int argc, char **argv);
} roles[] = {
	{"list", lister_main},
	{"unpack", unpacker_main},
	{"index", indexer_main},
};

/* With the descriptors; each gets the number that stands for it. */
struct birth {
	uint32_t role; /* of the table */
	uint32_t fd_count;
	int children[FDS_MAX];
};

/* With a pidfd, unless .error is an errno value. */
struct born {
	int error;
};

/* ---- the parent's side ---- */

int nursery_start(struct nursery *n, struct err *e)
{
	int status;

	if (n->worker.sock >= 0 && !worker_reap(&n->worker, &status))
		return 0;
	close_fd(&n->worker.sock);
	return worker_start(SELF, "nursery", NULL, NULL, 0, true, &n->worker, e);
}

static int find_role(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(roles); i++)
		if (str_eq(roles[i].name, name))
			return (int)i;
	return -1;
}

static int hear(const struct nursery *n, int *ret_pidfd, struct err *e)
{
	struct pollfd p = {.fd = n->worker.sock, .events = POLLIN};
	struct born born;
	size_t fd_count = 0;
	ssize_t r;

	do {
		(void)poll(&p, 1, -1);
		r = fs_recv(n->worker.sock, &born, sizeof(born), ret_pidfd, 1, &fd_count, 0);
	} while (r == -EAGAIN);
	if (r == sizeof(born) && !born.error && fd_count == 1)
		return 0;
	errno = r == sizeof(born) ? born.error : r < 0 ? (int)-r : EIO;
	return err_sys(e, "fork a worker");
}

int nursery_fork(struct nursery *n, const char *role, const struct proc_fd *fds, size_t fd_count,
		 struct worker *ret, struct err *e)
{
	struct birth birth = {.role = (uint32_t)find_role(role),
			      .fd_count = (uint32_t)fd_count + 1};
	auto_close int ours = -1, theirs = -1;
	int sent[FDS_MAX], pidfd = -1, r;

	assert(find_role(role) >= 0 && fd_count < FDS_MAX);

	if (nursery_start(n, e) < 0 || worker_socket(&ours, &theirs, e) < 0)
		return -e->code;
	sent[0] = theirs;
	birth.children[0] = WORKER_SOCK;
	for (size_t i = 0; i < fd_count; i++) {
		sent[i + 1] = fds[i].fd;
		birth.children[i + 1] = fds[i].child;
	}
	r = fs_send(n->worker.sock, &birth, sizeof(birth), sent, birth.fd_count);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "order a worker");
	}
	if (hear(n, &pidfd, e) < 0)
		return -e->code;
	*ret = (struct worker){take_fd(ours), pidfd};
	return 0;
}

void nursery_end(struct nursery *n)
{
	int status;

	worker_kill(&n->worker);
	worker_wait(&n->worker, -1);
	(void)worker_reap(&n->worker, &status);
}

/* ---- the process ---- */

/* Context: a child.  The name that ps shows is that of a worker which was started alone. */
static _Noreturn void live(const struct birth *birth, const int *fds, pid_t parent, char **argv)
{
	const struct role *role = &roles[birth->role];
	struct proc_fd all[FDS_MAX + 1] = {{STDERR_FILENO, STDERR_FILENO}};

	for (uint32_t i = 0; i < birth->fd_count; i++)
		all[i + 1] = (struct proc_fd){fds[i], birth->children[i]};
	if (!proc_die_with(parent) || proc_place_fds(all, birth->fd_count + 1) < 0)
		_exit(127);
	(void)setsid();
	memset(argv[1], 0, strlen(argv[1]));
	memcpy(argv[1], role->name, strlen(role->name));
	_exit(role->main(2, argv));
}

static struct born bear(const struct birth *birth, const int *fds, pid_t parent, char **argv,
			int *ret_pidfd)
{
	struct clone_args args = {.flags = CLONE_PARENT | CLONE_PIDFD,
				  .pidfd = (uint64_t)(uintptr_t)ret_pidfd};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		live(birth, fds, parent, argv);
	return (struct born){pid < 0 ? errno : 0};
}

static int serve(pid_t parent, char **argv)
{
	struct birth birth;
	int fds[FDS_MAX], pidfd = -1;
	size_t fd_count = 0;
	struct born born;
	ssize_t n = fs_recv(WORKER_SOCK, &birth, sizeof(birth), fds, FDS_MAX, &fd_count, 0);

	if (n != sizeof(birth) || birth.fd_count != fd_count || birth.role >= ARRAY_COUNT(roles))
		return -1; /* the parent has gone */
	born = bear(&birth, fds, parent, argv, &pidfd);
	for (size_t i = 0; i < fd_count; i++)
		close_fd(&fds[i]);
	n = fs_send(WORKER_SOCK, &born, sizeof(born), &pidfd, pidfd >= 0);
	close_fd(&pidfd);
	return (int)n;
}

int nursery_main(int argc, char **argv)
{
	pid_t parent = getppid();

	(void)argc;
	while (serve(parent, argv) >= 0)
		;
	return 0;
}
