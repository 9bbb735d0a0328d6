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
#define SYNC_SIZE (256 << 20)

struct drain {
	int fd;
	int error; /* errno of the first sync that failed; 0: none.  The thread's, until it has ended */
	uint64_t kept; /* where what is not let go of begins.  The thread's, too */
	bool has_thread;
	pthread_t thread;
	uint64_t bytes, noted; /* the writer's: written, and what the thread knows of that */
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

/* Out of memory with what ends at 'end', whose writing began a step ago. */
static void let_go(struct drain *d, uint64_t end)
{
	if (end <= d->kept)
		return;
	(void)sync_file_range(d->fd, (off_t)d->kept, (off_t)(end - d->kept),
			      SYNC_FILE_RANGE_WAIT_BEFORE);
	(void)posix_fadvise(d->fd, (off_t)d->kept, (off_t)(end - d->kept), POSIX_FADV_DONTNEED);
	d->kept = end;
}

/*
 * A step only starts the writing.  A sync also commits the file system's journal, and
 * has the disk write what it holds in a cache: those of virtual machines hold much.  Meanwhile
 * nothing is begun, so there are few.
 */
static void *follow(void *ctx)
{
	struct drain *d = ctx;
	uint64_t begun = 0, synced = 0, written;

	for (; wait_for_step(d, begun, &written); begun = written) {
		(void)sync_file_range(d->fd, (off_t)begun, (off_t)(written - begun),
				      SYNC_FILE_RANGE_WRITE); /* the syncs hear of its errors */
		let_go(d, begun);
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
	d->kept = DRAIN_CACHED;
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

static void note(struct drain *d)
{
	if (d->bytes - d->noted < STEP_SIZE)
		return;
	d->noted = d->bytes;
	(void)pthread_mutex_lock(&d->lock);
	d->written = d->bytes;
	(void)pthread_cond_signal(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
}

int drain_write(struct drain *d, const void *data, size_t size, struct err *e)
{
	const char *p = data;

	while (size) {
		ssize_t n = write(d->fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return os_fail(e, "write the layer's tar");
		p += n;
		size -= (size_t)n;
		d->bytes += (size_t)n;
		note(d);
	}
	return 0;
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
