/* keeper/exec.c - more processes in containers that run
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each has a worker that makes it, waits for its end, and tells how it was.  Its
 * output never passes the keeper: the client gave it where to write.  Nothing of
 * it is on disk, and nothing of it outlives its container.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>

#include "base/auto.h"
#include "base/clock.h"
#include "keeper/server.h"

int exec_start(struct server *s, const struct row *row, uint64_t tag, const int fds[3],
	       struct err *e)
{
	struct exec *x = &s->execs[s->exec_count];

	if (row->phase != KEEPER_RUNNING)
		return err_set(e, ESRCH, "container %s does not run", row->id);
	if (s->exec_count == KEEPER_EXECS_MAX)
		return err_set(e, EAGAIN, "%d processes are under way already", KEEPER_EXECS_MAX);
	*x = (struct exec){.tag = tag};
	(void)snprintf(x->id, sizeof(x->id), "%s", row->id);
	if (worker_exec(&x->worker, row, fds, &s->nofile, e) < 0)
		return -e->code;
	s->exec_count++;
	return 0;
}

static void tell_end(struct server *s, const struct exec *x, const struct worker_report *report)
{
	struct event ev = event_of(KEEPER_EXECUTED, NULL);

	if (report->result < 0)
		ev = event_of_failure(x->id, KEEPER_EXEC, &report->err);
	else
		event_set_exit(&ev, keeper_exit_of(report->status));
	(void)snprintf(ev.id, sizeof(ev.id), "%s", x->id);
	ev.tag = x->tag;
	tell(s, &ev);
}

bool exec_ended(struct server *s, pid_t pid, int status)
{
	for (size_t i = 0; i < s->exec_count; i++) {
		struct exec x = s->execs[i];
		struct worker_report report;

		if (x.worker.pid != pid)
			continue;
		s->execs[i] = s->execs[--s->exec_count];
		worker_finish(&x.worker, status, &report);
		tell_end(s, &x, &report);
		return true;
	}
	return false;
}

void exec_cancel(struct server *s, const char *id, uint64_t tag)
{
	for (size_t i = 0; i < s->exec_count; i++)
		if (s->execs[i].tag == tag && strcmp(s->execs[i].id, id) == 0)
			(void)kill(s->execs[i].worker.pid, SIGTERM); /* our child, not reaped yet */
}

void exec_break_off(struct server *s)
{
	struct worker_report report = {0};

	report.result = err_set(&report.err, ECANCELED, "the keeper executes another program");
	while (s->exec_count) {
		struct exec *x = &s->execs[--s->exec_count];

		(void)kill(x->worker.pid, SIGTERM);
		close_fd(&x->worker.report_fd);
		tell_end(s, x, &report);
	}
}
