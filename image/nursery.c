/* image/nursery.c - where the workers that read layers come from
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/nursery.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"

int nursery_start(struct nursery *n, struct err *e)
{
	int status;

	if (n->worker.sock >= 0 && !worker_reap(&n->worker, &status))
		return 0;
	close_fd(&n->worker.sock);
	return worker_start(NULL, "nursery", NULL, NULL, 0, true, &n->worker, e);
}

static int hear(const struct nursery *n, int *ret_pidfd, struct err *e)
{
	struct pollfd p = {.fd = n->worker.sock, .events = POLLIN};
	struct nursery_answer answer;
	size_t fd_count = 0;
	ssize_t r;

	do {
		(void)poll(&p, 1, -1);
		r = fs_recv(n->worker.sock, &answer, sizeof(answer), ret_pidfd, 1, &fd_count, 0);
	} while (r == -EAGAIN);
	if (r == sizeof(answer) && !answer.error && fd_count == 1)
		return 0;
	errno = r == sizeof(answer) ? answer.error : r < 0 ? (int)-r : EIO;
	return err_sys(e, "fork a worker");
}

int nursery_fork(struct nursery *n, const char *role, const struct proc_fd *fds, size_t fd_count,
		 struct worker *ret, struct err *e)
{
	struct nursery_order order = {.fd_count = (uint32_t)fd_count + 1};
	auto_close int ours = -1, theirs = -1;
	int sent[NURSERY_FDS_MAX], pidfd = -1, r;

	assert(strlen(role) < sizeof(order.role) && fd_count < NURSERY_FDS_MAX);

	if (nursery_start(n, e) < 0 || worker_socket(&ours, &theirs, e) < 0)
		return -e->code;
	(void)snprintf(order.role, sizeof(order.role), "%s", role);
	sent[0] = theirs;
	order.children[0] = WORKER_SOCK;
	for (size_t i = 0; i < fd_count; i++) {
		sent[i + 1] = fds[i].fd;
		order.children[i + 1] = fds[i].child;
	}
	r = fs_send(n->worker.sock, &order, sizeof(order), sent, order.fd_count);
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

	if (n->worker.pidfd < 0)
		return;
	worker_kill(&n->worker);
	worker_wait(&n->worker, -1);
	(void)worker_reap(&n->worker, &status);
}
