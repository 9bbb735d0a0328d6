/* agent/removal.c - taking away what may take long
 * SPDX-License-Identifier: Apache-2.0
 *
 * Directories take as long as a container wrote files, and a cgroup stays busy
 * for a moment after its last process: threads do both, the loop goes on.  All
 * of it may be there or not, and may be taken away twice.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "rootfs/rootfs.h"
#include "runtime/runtime.h"

#define PARTS_MAX 5

struct removal {
	struct agent *agent;
	char *id;
	removal_fn *on_done;
	struct {
		removal_part *remove;
		char *path;
	} parts[PARTS_MAX];
	size_t count;
	struct err err;
};

int removal_of_tree(const char *path, struct err *e)
{
	return fs_remove_tree(AT_FDCWD, path, e);
}

struct removal *removal_new(struct agent *a, const char *id, removal_fn *on_done)
{
	struct removal *r = xcalloc(1, sizeof(*r));

	r->agent = a;
	r->id = xstrdup(id);
	r->on_done = on_done;
	return r;
}

void removal_add(struct removal *r, removal_part *remove, char *own_path)
{
	assert(r->count < PARTS_MAX);

	r->parts[r->count].remove = remove;
	r->parts[r->count++].path = own_path;
}

/* Context: a thread.  The first failure is told; the rest goes all the same. */
static void remove_parts(void *ctx)
{
	struct removal *r = ctx;
	struct err e;

	for (size_t i = 0; i < r->count; i++)
		if (r->parts[i].remove(r->parts[i].path, &e) < 0 && !r->err.code)
			r->err = e;
}

static void are_removed(void *ctx)
{
	struct removal *r = ctx;

	r->on_done(r->agent, r->id, r->err.code ? &r->err : NULL);
	for (size_t i = 0; i < r->count; i++)
		free(r->parts[i].path);
	free(r->id);
	free(r);
}

void removal_run(struct removal *own_r)
{
	loop_work(own_r->agent->loop, remove_parts, are_removed, own_r);
}
