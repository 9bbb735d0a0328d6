/* image/forker.c - the process of a nursery
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "image/nursery.h"

static const struct role {
	char name[NURSERY_ROLE_SIZE];
	int (*main)(int argc, char **argv);
} roles[] = {
	{"list", lister_main},
	{"unpack", unpacker_main},
	{"index", indexer_main},
};

/* Context: a child.  The name that ps shows is that of a worker which was started alone. */
static _Noreturn void live(const struct role *role, const struct nursery_order *order,
			   const int *fds, char **argv)
{
	struct proc_fd all[NURSERY_FDS_MAX + 1] = {{STDERR_FILENO, STDERR_FILENO}};

	for (uint32_t i = 0; i < order->fd_count; i++)
		all[i + 1] = (struct proc_fd){fds[i], order->children[i]};
	if (proc_place_fds(all, order->fd_count + 1) < 0)
		_exit(127);
	(void)setsid();
	memset(argv[1], 0, strlen(argv[1]));
	memcpy(argv[1], role->name, strlen(role->name));
	_exit(role->main(2, argv));
}

static const struct role *find_role(const struct nursery_order *order)
{
	for (size_t i = 0; i < ARRAY_COUNT(roles); i++)
		if (str_eq(roles[i].name, order->role))
			return &roles[i];
	return NULL;
}

/* A child of our parent, and a pidfd of it; or -1 and errno. */
static int bear(const struct nursery_order *order, const int *fds, pid_t parent, char **argv)
{
	const struct role *role = find_role(order);
	int pidfd = -1;
	struct clone_args args = {.flags = CLONE_PARENT | CLONE_PIDFD,
				  .pidfd = (uint64_t)(uintptr_t)&pidfd};
	long pid;

	if (!role) {
		errno = EINVAL;
		return -1;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid != 0)
		return pid < 0 ? -1 : pidfd;
	if (!proc_die_with(parent))
		_exit(127);
	live(role, order, fds, argv);
}

/* False: the parent has gone. */
static bool serve(pid_t parent, char **argv)
{
	struct nursery_answer answer = {0};
	struct nursery_order order;
	int fds[NURSERY_FDS_MAX], pidfd;
	size_t fd_count = 0;
	ssize_t n = fs_recv(WORKER_SOCK, &order, sizeof(order), fds, ARRAY_COUNT(fds), &fd_count,
			    0);

	if (n != sizeof(order) || order.fd_count != fd_count)
		return false;
	pidfd = bear(&order, fds, parent, argv);
	if (pidfd < 0)
		answer.error = errno;
	for (size_t i = 0; i < fd_count; i++)
		close_fd(&fds[i]);
	n = fs_send(WORKER_SOCK, &answer, sizeof(answer), &pidfd, pidfd >= 0);
	close_fd(&pidfd);
	return n == 0;
}

int nursery_main(int argc, char **argv)
{
	pid_t parent = getppid();

	(void)argc;
	while (serve(parent, argv))
		;
	return 0;
}
