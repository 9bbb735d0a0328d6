/* image/ending.c - what the puller has let go of
 * SPDX-License-Identifier: Apache-2.0
 *
 * Removing a tree of files takes as long as making it, so children do it; they
 * are forks of the puller that hold nothing but the directory.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/puller.h"
#include "image/reason.h"

#define INGEST_FD 3
#define LINGER_MS 500 /* between closing its socket and ending */

/* Context: child.  What cannot be removed now stays for the next puller. */
static _Noreturn void remove_and_exit(int ingest_fd, const struct js_strings *names)
{
	struct err ignored;

	if (dup2(ingest_fd, INGEST_FD) < 0)
		_exit(1);
	proc_close_from(INGEST_FD + 1);
	for (size_t i = 0; i < names->count; i++)
		(void)fs_remove_tree(INGEST_FD, names->items[i], &ignored);
	_exit(0);
}

static void add(struct puller *p, struct worker *w, const char *ingest)
{
	struct ending *e;

	p->endings = xgrow(p->endings, p->ending_count, &p->ending_capacity, sizeof(*p->endings));
	e = &p->endings[p->ending_count++];
	*e = (struct ending){.worker = *w};
	if (ingest)
		memcpy(e->ingest, ingest, INGEST_SIZE);
	*w = (struct worker)WORKER_NONE;
}

static void remove_in_child(struct puller *p, const struct js_strings *names)
{
	struct worker w = WORKER_NONE;
	pid_t pid = fork();

	if (pid == 0)
		remove_and_exit(p->store.ingest_fd, names);
	if (pid < 0)
		return; /* the next puller will do it */
	w.pidfd = proc_pidfd_open(pid);
	if (w.pidfd >= 0)
		add(p, &w, NULL);
}

void ending_remove_all(struct puller *p)
{
	struct js_strings names;
	struct err ignored;

	if (store_list_ingest(&p->store, &names, &ignored) < 0)
		return;
	if (names.count)
		remove_in_child(p, &names);
	store_names_free(&names);
}

void ending_add(struct puller *p, struct worker *w, const char *ingest)
{
	char *names[] = {(char *)(uintptr_t)ingest};

	worker_kill(w);
	if (w->pidfd >= 0)
		add(p, w, ingest);
	else if (ingest)
		remove_in_child(p, &(struct js_strings){names, 1});
}

void endings_reap(struct puller *p)
{
	for (size_t i = 0; i < p->ending_count;) {
		struct ending *e = &p->endings[i];
		char ingest[INGEST_SIZE];
		char *names[] = {ingest};
		int status;

		if (!worker_reap(&e->worker, &status)) {
			i++;
			continue;
		}
		memcpy(ingest, e->ingest, INGEST_SIZE);
		*e = p->endings[--p->ending_count];
		if (ingest[0])
			remove_in_child(p, &(struct js_strings){names, 1});
	}
}

int worker_failure(struct worker *w, const char *what, struct err *e)
{
	int status;

	worker_wait(w, LINGER_MS);
	if (!worker_reap(w, &status))
		(void)err_set(e, EIO, "the %s stopped talking", what);
	else if (status > 128)
		(void)err_set(e, EIO, "the %s ended by signal %d", what, status - 128);
	else
		(void)err_set(e, EIO, "the %s ended with %d", what, status);
	return -e->code;
}
