/* agent/garbage.c - images that nobody uses any more
 * SPDX-License-Identifier: Apache-2.0
 *
 * As the agent of ECS does it: every so often a few images go that no container has
 * and that were neither pulled nor used for a while, those first that were left alone
 * for longest.  What nobody but an operator has pulled stays, unless it is said
 * otherwise; so do names that are to be kept.
 *
 * Between the cycles the file system is looked at: when it is fuller than the
 * high-water mark as many go as it takes, however young.
 *
 * An image on its way in has no name yet, and layers are swept by whoever pulls,
 * when it has ended: neither can be caught here.
 */
#include <stdlib.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define LOOK_MS     60000 /* between two looks at the file system */
#define YOUNGEST_MS 60000 /* what was pulled or used since is not garbage, whatever is full */
#define PERCENT     100

struct garbage {
	struct agent *agent;
	struct loop_timer *cycle, *look;
	bool told; /* that the file system is full, and nothing can go */
};

static void tell(const struct image_pruned *pruned, const char *why)
{
	for (size_t i = 0; i < pruned->images.count; i++) {
		const struct image *image = pruned->images.items[i];

		log_info("image=%s: removed, %s",
			 image->reference ? image->reference : image->digest, why);
	}
}

/* Ready roots are worth keeping where nothing would go. */
static bool is_something(struct garbage *g, struct image_prune prune)
{
	struct image_pruned pruned;
	struct err ignored;
	bool some;

	prune.only_tell = true;
	if (image_prune(g->agent->images, &prune, &pruned, &ignored) < 0)
		return true; /* to be told by who does it */
	some = pruned.images.count > 0;
	image_list_done(&pruned.images);
	return some;
}

static size_t remove_some(struct garbage *g, struct image_prune *prune, const char *why)
{
	const struct agent_cleanup *c = &g->agent->o->image_cleanup;
	size_t in_use_count;
	auto_free const char **in_use = images_in_use(g->agent, &in_use_count);
	struct image_pruned pruned;
	struct err e = {0};
	size_t count;

	prune->in_use = in_use;
	prune->in_use_count = in_use_count;
	prune->keep = c->keep;
	prune->keep_count = c->keep_count;
	prune->used_only = !c->untracked;
	if (!is_something(g, *prune))
		return 0;
	images_let_go(g->agent);
	if (image_prune(g->agent->images, prune, &pruned, &e) < 0) {
		log_error("images: cleaning up: %s", e.msg);
		return 0;
	}
	tell(&pruned, why);
	count = pruned.images.count;
	image_list_done(&pruned.images);
	return count;
}

static void on_cycle(void *ctx)
{
	struct garbage *g = ctx;
	const struct agent_cleanup *c = &g->agent->o->image_cleanup;
	struct image_prune prune = {.before_ms = clock_wall_ms() - c->age_ms,
				    .count_max = c->count};

	(void)remove_some(g, &prune, "no task has used it for a while");
	loop_timer_set(g->cycle, c->interval_ms);
}

static void on_look(void *ctx)
{
	struct garbage *g = ctx;
	const struct agent_cleanup *c = &g->agent->o->image_cleanup;
	struct image_prune prune = {.before_ms = clock_wall_ms() - YOUNGEST_MS};
	uint64_t free_bytes, total_bytes, least;

	loop_timer_set(g->look, LOOK_MS);
	image_store_space(g->agent->images, &free_bytes, &total_bytes);
	least = total_bytes / PERCENT * (PERCENT - c->high_water);
	if (free_bytes >= least) {
		g->told = false;
		return;
	}
	prune.enough_bytes = least - free_bytes;
	if (remove_some(g, &prune, "its file system is above the high-water mark") || g->told)
		return;
	g->told = true;
	log_warn("images: their file system is above %u %%, and there is none that could go",
		 c->high_water);
}

struct garbage *garbage_new(struct agent *a)
{
	const struct agent_cleanup *c = &a->o->image_cleanup;
	struct garbage *g = xcalloc(1, sizeof(*g));

	g->agent = a;
	/* Who prefers what is here wants it to stay here. */
	if (str_eq(a->o->pull_behavior, "prefer-cached"))
		return g;
	g->cycle = loop_timer_new(a->loop, on_cycle, g);
	g->look = loop_timer_new(a->loop, on_look, g);
	if (c->interval_ms)
		loop_timer_set(g->cycle, c->interval_ms);
	if (c->high_water)
		loop_timer_set(g->look, 0);
	return g;
}

void garbage_free(struct garbage *g)
{
	if (!g)
		return;
	loop_timer_free(g->cycle);
	loop_timer_free(g->look);
	free(g);
}
