/* image/drain.c - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/drain.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/reason.h"

#define STEP_SIZE (32 << 20) /* less is not worth a commit of the file system's journal */

struct drain {
	int fd;
	int error; /* errno of the first sync that failed; 0: none.  The thread's, until it has ended */
	bool has_thread;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t written;
	bool end;
};

/* False: it is the last one. */
static bool wait_for_step(struct drain *d, uint64_t *begun)
{
	bool end;

	(void)pthread_mutex_lock(&d->lock);
	while (!d->end && d->written - *begun < STEP_SIZE)
		(void)pthread_cond_wait(&d->changed, &d->lock);
	*begun = d->written;
	end = d->end;
	(void)pthread_mutex_unlock(&d->lock);
	return !end;
}

static void *sync_steps(void *ctx)
{
	struct drain *d = ctx;
	uint64_t begun = 0;
	bool more;

	do {
		more = wait_for_step(d, &begun);
		if (fdatasync(d->fd) < 0 && !d->error)
			d->error = errno;
	} while (more);
	return NULL;
}

int drain_new(int fd, struct drain **ret, struct err *e)
{
	struct drain *d = xcalloc(1, sizeof(*d));
	int r;

	d->fd = fd;
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	r = pthread_create(&d->thread, NULL, sync_steps, d);
	d->has_thread = r == 0;
	if (r != 0) {
		drain_free(d);
		errno = r;
		return os_fail(e, "thread");
	}
	*ret = d;
	return 0;
}

void drain_note(struct drain *d, uint64_t bytes)
{
	(void)pthread_mutex_lock(&d->lock);
	d->written = bytes;
	(void)pthread_cond_signal(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
}

void drain_end(struct drain *d)
{
	(void)pthread_mutex_lock(&d->lock);
	d->end = true;
	(void)pthread_cond_signal(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
}

static void join(struct drain *d)
{
	if (!d->has_thread)
		return;
	drain_end(d);
	(void)pthread_join(d->thread, NULL);
	d->has_thread = false;
}

int drain_finish(struct drain *d, struct err *e)
{
	join(d);
	errno = d->error;
	return d->error ? os_fail(e, "sync the layer's tar") : 0;
}

void drain_free(struct drain *d)
{
	if (!d)
		return;
	join(d);
	(void)pthread_cond_destroy(&d->changed);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}
