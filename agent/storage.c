/* agent/storage.c - how much a task may write: ephemeralStorage
 * SPDX-License-Identifier: Apache-2.0
 *
 * What the containers of a task write to their roots and to volumes that live as
 * long as the task belongs to one project of the file system, whose limit is the
 * definition's.  Images do not count, for others share them, nor does output.
 *
 * The project is leased by the task's record, which is on disk before the limit
 * is set; it is given back when nothing of the task is left.  A root that is ready
 * ahead belongs to none, so such a task takes none.
 */
#include <fcntl.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "rootfs/rootfs.h"

#define ATTRIBUTE "ecs.capability.extensible-ephemeral-storage"
#define GIB_BITS  30

void storage_look(struct agent *a)
{
	struct err e;

	a->storage_attribute = rootfs_limit_check(a->tasks_dir, &e) == 0 ? ATTRIBUTE : NULL;
	if (a->storage_attribute)
		doctor_tell(a, "ephemeralStorage", "limited by project quotas", "");
	else
		doctor_tell(a, "ephemeralStorage", "refused: ", e.msg);
}

bool storage_is_limited(const struct task *t)
{
	return t->wanted.definition.ephemeral_storage.size_gib > 0;
}

int storage_lease(struct task *t, struct err *e)
{
	const char *dir = t->agent->tasks_dir;

	if (!storage_is_limited(t) || t->project)
		return 0;
	if (rootfs_limit_check(dir, e) < 0 || rootfs_limit_find(dir, &t->project, e) < 0)
		return err_wrap(e, "ephemeralStorage");
	return 0;
}

int storage_limit(const struct task *t, struct err *e)
{
	uint64_t bytes = (uint64_t)t->wanted.definition.ephemeral_storage.size_gib << GIB_BITS;
	auto_free char *dir = task_dir(t);
	auto_free char *volumes = xasprintf("%s/volumes", dir);

	if (!t->project)
		return 0;
	if (rootfs_limit_set(t->agent->tasks_dir, t->project, bytes, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, volumes, 0700, e) < 0 ||
	    rootfs_limit_join(volumes, t->project, e) < 0)
		return err_wrap(e, "ephemeralStorage");
	return 0;
}

int storage_join(const struct task *t, const char *scratch, struct err *e)
{
	return t->project ? rootfs_limit_join(scratch, t->project, e) : 0;
}

void storage_give_back(const struct task *t)
{
	struct err e;

	if (t->project && rootfs_limit_set(t->agent->tasks_dir, t->project, 0, &e) < 0)
		log_error("task=%s: %s", t->id, e.msg); /* its number stays in use */
}

/* ---- without an agent ---- */

static int give_back_of(void *ctx, const json_t *doc, struct err *e)
{
	const char *dir = ctx;
	json_int_t project = json_integer_value(json_object_get(doc, "project"));

	return project > 0 ? rootfs_limit_set(dir, (uint32_t)project, 0, e) : 0;
}

int storage_give_back_all(const char *state_dir, struct err *e)
{
	auto_free char *path = xasprintf("%s/agent.db", state_dir);
	struct records *records = NULL;
	int r;

	if (access(path, F_OK) < 0)
		return 0;
	r = records_open(path, &records, e);
	if (r == 0)
		r = records_each_task(records, give_back_of, (void *)(uintptr_t)state_dir, e);
	records_close(records);
	return r;
}
