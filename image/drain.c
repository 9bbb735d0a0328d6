/* image/drain.c - a file that grows is brought to the disk while it does
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/reason.h"

#define STEP_SIZE (8 << 20)
#define SYNC_SIZE (64 << 20)

struct drain {
	int fd;
	int error; /* errno of the first sync that failed; 0: none.  The thread's, until it has ended */
	bool has_thread;
	pthread_t thread;
	uint64_t noted; /* the writer's */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t written; /* as far as the thread knows */
	bool end;
};

static void sync_now(struct drain *d)
{
	if (fdatasync(d->fd) < 0 && !d->error)
		d->error = errno;
}

/* Where what is written ends; false: there will be no more. */
static bool wait_for_step(struct drain *d, uint64_t begun, uint64_t *ret)
{
	bool end;

	(void)pthread_mutex_lock(&d->lock);
	while (!d->end && d->written == begun)
		(void)pthread_cond_wait(&d->changed, &d->lock);
	*ret = d->written;
	end = d->end;
	(void)pthread_mutex_unlock(&d->lock);
	return !end;
}

/*
 * A step only starts the writing.  A sync also commits the file system's journal, and
 * has the disk write what it holds in a cache: those of virtual machines hold much.
 */
static void *follow(void *ctx)
{
	struct drain *d = ctx;
	uint64_t begun = 0, synced = 0, written;

	for (; wait_for_step(d, begun, &written); begun = written) {
		(void)sync_file_range(d->fd, (off_t)begun, (off_t)(written - begun),
				      SYNC_FILE_RANGE_WRITE); /* the syncs hear of its errors */
		if (written - synced < SYNC_SIZE)
			continue;
		synced = written;
		sync_now(d);
	}
	sync_now(d);
	return NULL;
}

int drain_new(int fd, struct drain **ret, struct err *e)
{
	struct drain *d = xcalloc(1, sizeof(*d));
	int r;

	d->fd = fd;
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	r = pthread_create(&d->thread, NULL, follow, d);
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
	if (bytes - d->noted < STEP_SIZE)
		return;
	d->noted = bytes;
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
