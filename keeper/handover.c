/* keeper/handover.c - a keeper is started where one lives
 * SPDX-License-Identifier: Apache-2.0
 *
 * Restarting the unit of the keeper does not end it (KillMode=none), for only
 * the parent of the containers knows how they end.  So whom systemd starts then
 * finds it alive.  He tells it to execute the program anew, which is what an
 * upgrade is after, tells systemd whom to watch from now on, and ends.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/proc.h"
#include "keeper/server.h"

#define WAIT_MS 60000 /* steps of containers that are under way come first */

/* The next event of this kind. */
static int wait_for(struct keeper *k, enum keeper_event_kind kind, struct keeper_event *ret,
		    struct err *e)
{
	int64_t deadline = clock_mono_ms() + WAIT_MS, left;

	while ((left = deadline - clock_mono_ms()) > 0) {
		struct pollfd p = {.fd = keeper_fd(k), .events = POLLIN};
		int r;

		(void)poll(&p, 1, (int)left);
		while ((r = keeper_next(k, ret, e)) == 0 || r == KEEPER_OTHER) {
			for (int i = 0; i < 2; i++)
				close_fd(&ret->output_fds[i]);
			if (ret->kind == kind)
				return 0;
			if (ret->kind == KEEPER_FAILED && ret->command == KEEPER_REEXEC) {
				*e = ret->err;
				return -e->code;
			}
		}
		if (r == KEEPER_GONE)
			return err_set(e, EPIPE, "it hung up");
		if (r < 0)
			return r;
	}
	return err_set(e, ETIMEDOUT, "it does not answer");
}

static int renew(struct keeper *k, const char *program, pid_t *ret_pid, struct err *e)
{
	struct keeper_event ev;

	if (wait_for(k, KEEPER_HELLO, &ev, e) < 0)
		return -e->code;
	*ret_pid = ev.pid;
	if (keeper_reexec(k, program, e) < 0)
		return -e->code;
	return wait_for(k, KEEPER_RESUMED, &ev, e);
}

int hand_over(const char *run_dir, const char *program, struct err *e)
{
	struct keeper *k = NULL;
	pid_t pid = 0;
	char state[64];
	int r = keeper_connect(run_dir, &k, e);

	if (r == KEEPER_ABSENT)
		r = err_set(e, ECONNREFUSED, "it does not listen");
	if (r == 0)
		r = renew(k, program, &pid, e);
	keeper_disconnect(k);
	if (r < 0)
		return err_wrap(e, "the keeper that lives in %s", run_dir);

	log_info("pid=%d: lives and goes on, with the program as it is now", (int)pid);
	(void)snprintf(state, sizeof(state), "MAINPID=%d\nREADY=1", (int)pid);
	proc_notify(state);
	return 0;
}
