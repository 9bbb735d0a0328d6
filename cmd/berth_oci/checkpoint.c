/* cmd/berth_oci/checkpoint.c - checkpoint and restore
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"
#include "cmd/berth_oci/foreground.h"

#define IMAGES      "checkpoint" /* as runc */
#define OPTIONS_MAX (16 + 2 * OPTION_LIST_MAX)

/* criu runs elsewhere: its paths are absolute. */
static char *absolute(struct arena *a, const char *path)
{
	auto_free char *here = getcwd(NULL, 0);

	if (!path || path[0] == '/' || !here)
		return path ? arena_strdup(a, path) : NULL;
	return arena_printf(a, "%s/%s", here, path);
}

/* Options that are criu's, word for word. */
static const char *const *criu_options(struct arena *arena, const struct arguments *a)
{
	const struct {
		bool given;
		const char *word;
	} flags[] = {
		{a->tcp_established, "--tcp-established"}, {a->tcp_close, "--tcp-close"},
		{a->ext_unix_sk, "--ext-unix-sk"},         {a->shell_job, "--shell-job"},
		{a->file_locks, "--file-locks"},           {a->auto_dedup, "--auto-dedup"},
		{a->lazy_pages, "--lazy-pages"},
	};
	const char **words = arena_alloc(arena, OPTIONS_MAX * sizeof(*words));
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
		if (flags[i].given)
			words[count++] = flags[i].word;
	if (a->lsm_profile)
		words[count++] = arena_printf(arena, "--lsm-profile=%s", a->lsm_profile);
	if (a->lsm_mount_context)
		words[count++] = arena_printf(arena, "--lsm-mount-context=%s",
					      a->lsm_mount_context);
	for (const char *const *p = a->empty_ns; *p; p++) {
		words[count++] = "--empty-ns";
		words[count++] = *p;
	}
	return words;
}

static struct runtime_checkpoint checkpoint_spec(struct arena *arena, const struct arguments *a)
{
	return (struct runtime_checkpoint){
		.images = absolute(arena, a->image_path ? a->image_path : IMAGES),
		.work = absolute(arena, a->work_path),
		.parent = a->parent_path ? arena_strdup(arena, a->parent_path) : NULL,
		.leave_running = a->leave_running,
		.pre_dump = a->pre_dump,
		.criu_options = criu_options(arena, a),
	};
}

int command_checkpoint(struct runtime *rt, const struct arguments *a, struct err *e)
{
	auto_arena struct arena arena = {0};
	struct runtime_checkpoint spec = checkpoint_spec(&arena, a);

	return command_outcome(runtime_checkpoint(rt, a->words[0], &spec, e), a->words[0], e);
}

static int restore(struct runtime *rt, const struct arguments *a, const char *id, pid_t *ret_pid,
		   struct err *e)
{
	auto_arena struct arena arena = {0};
	struct runtime_checkpoint images = checkpoint_spec(&arena, a);
	struct runtime_create spec = command_create_spec(a);

	return command_outcome(runtime_restore(rt, &spec, &images, ret_pid, e), id, e);
}

int command_restore(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct foreground f = FOREGROUND_INIT;
	const char *id = a->words[0];
	int status = 0, r;
	pid_t pid = 0;

	if (a->detach)
		return restore(rt, a, id, &pid, e);
	/* criu goes when it has restored: who waits for the process is its parent then. */
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_sys(e, "become a subreaper");
	if (foreground_begin(&f, false, e) < 0)
		return -e->code;
	r = restore(rt, a, id, &pid, e);
	if (r == 0)
		r = foreground_stay(&f, pid, &status, e);
	foreground_done(&f);
	if (r == 0 && !a->keep)
		r = runtime_delete(rt, id, true, e);
	return r < 0 ? r : status;
}
