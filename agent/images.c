/* agent/images.c - what is held: for callers
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

const char **images_in_use(const struct agent *a, size_t *ret_count)
{
	const char **in_use = xcalloc(a->containers.count + 1, sizeof(*in_use));
	struct container *c;
	size_t count = 0;

	for (size_t i = 0; map_next(&a->containers, &i, &c);)
		if (c->image_digest && c->phase < PHASE_CLEAN)
			in_use[count++] = c->image_digest;
	*ret_count = count;
	return in_use;
}

void images_let_go(struct agent *a)
{
	roots_forget(a);
	indexes_forget(a);
	sharing_changed(a->sharing);
}

/* ---- showing ---- */

static void set_text(json_t *doc, const char *member, const char *value)
{
	if (value)
		(void)json_object_set_new(doc, member, js_string(value, strlen(value)));
}

static void set_time(json_t *doc, const char *member, int64_t ms)
{
	if (ms)
		(void)json_object_set_new(doc, member, json_real((double)ms / 1000));
}

static void set_list(json_t *doc, const char *member, const struct js_strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		(void)json_array_append_new(array,
					    js_string(list->items[i], strlen(list->items[i])));
	(void)json_object_set_new(doc, member, array);
}

static json_t *show_image(const struct image *image)
{
	json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:I}", "digest", image->digest, "manifest",
				image->manifest, "os", image->os, "architecture",
				image->architecture, "size", (json_int_t)image->size);

	set_text(doc, "reference", image->reference);
	set_text(doc, "imageId", image->config);
	set_text(doc, "variant", image->variant);
	set_time(doc, "pulledAt", image->pulled_ms);
	set_time(doc, "usedAt", image->used_ms);
	set_time(doc, "createdAt", image->created_ms);
	return doc;
}

static json_t *show_config(const struct image *image)
{
	json_t *doc = json_object(), *labels = json_object();

	set_list(doc, "entrypoint", &image->entrypoint);
	set_list(doc, "cmd", &image->cmd);
	set_list(doc, "env", &image->env);
	set_list(doc, "exposedPorts", &image->ports);
	set_list(doc, "volumes", &image->volumes);
	set_text(doc, "workingDir", image->working_dir);
	set_text(doc, "user", image->user);
	set_text(doc, "stopSignal", image->stop_signal);
	for (size_t i = 0; i < image->labels.count; i++)
		set_text(labels, image->labels.items[i].key, image->labels.items[i].value);
	(void)json_object_set_new(doc, "labels", labels);
	return doc;
}

static json_t *show_layers(const struct image *image)
{
	json_t *layers = json_array();

	for (size_t i = 0; i < image->part_count; i++) {
		const struct image_part *p = &image->parts[i];

		(void)json_array_append_new(
			layers, json_pack("{s:s, s:s, s:I, s:I}", "diffId", p->diff_id, "digest",
					  p->blob, "compressedSize", (json_int_t)p->blob_size,
					  "size", (json_int_t)p->size));
	}
	return layers;
}

static json_t *show_siblings(const struct image *image)
{
	json_t *siblings = json_array();

	for (size_t i = 0; i < image->sibling_count; i++)
		(void)json_array_append_new(siblings,
					    json_pack("{s:s, s:s}", "manifestDigest",
						      image->siblings[i].manifest, "platform",
						      image->siblings[i].platform));
	return siblings;
}

static json_t *show_history(const struct image *image)
{
	json_t *history = json_array();

	for (size_t i = 0; i < image->step_count; i++) {
		const struct image_step *s = &image->steps[i];
		json_t *step = json_pack("{s:b}", "emptyLayer", s->empty);

		set_time(step, "createdAt", s->created_ms);
		set_text(step, "createdBy", s->created_by);
		set_text(step, "comment", s->comment);
		(void)json_array_append_new(history, step);
	}
	return history;
}

/* ---- operations ---- */

int images_list(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e)
{
	struct image_list list = {0};
	json_t *images = json_array();

	(void)request;
	(void)late;
	if (image_list(a->images, &list, e) < 0) {
		json_decref(images);
		return -e->code;
	}
	for (size_t i = 0; i < list.count; i++)
		(void)json_array_append_new(images, show_image(list.items[i]));
	image_list_done(&list);
	*ret = json_pack("{s:o}", "images", images);
	return 0;
}

/* The image that 'image' of the request names: a whole name or a digest, malloc'ed. */
static int resolve(struct agent *a, const json_t *request, char **ret, struct err *e)
{
	const char *text = json_string_value(json_object_get(request, "image"));
	int r = image_resolve(a->images, text, ret, e);

	return r == IMAGE_ABSENT ? err_set(e, ENOENT, "no image %.300s: not found", text) : r;
}

/* All names of what goes by that digest, and the image itself. */
static int find_with_names(struct agent *a, const char *which, struct image_list *all,
			   const struct image **ret, json_t *names, struct err *e)
{
	if (image_list(a->images, all, e) < 0)
		return -e->code;
	*ret = NULL;
	for (size_t i = 0; i < all->count && !*ret; i++)
		if (str_eq(all->items[i]->reference, which) || str_eq(all->items[i]->digest, which))
			*ret = all->items[i];
	for (size_t i = 0; *ret && i < all->count; i++)
		if (all->items[i]->reference && str_eq(all->items[i]->digest, (*ret)->digest) &&
		    str_eq(all->items[i]->manifest, (*ret)->manifest))
			(void)json_array_append_new(names, json_string(all->items[i]->reference));
	return *ret ? 0 : err_set(e, ENOENT, "no image %.300s: not found", which);
}

int images_describe(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e)
{
	auto_json json_t *names = json_array();
	auto_free char *which = NULL;
	struct image_list all = {NULL, 0};
	const struct image *image;
	json_t *doc;
	int r;

	(void)late;
	if (resolve(a, request, &which, e) < 0)
		return -e->code;
	r = find_with_names(a, which, &all, &image, names, e);
	if (r == 0) {
		doc = show_image(image);
		(void)json_object_set(doc, "names", names);
		(void)json_object_set_new(doc, "config", show_config(image));
		(void)json_object_set_new(doc, "layers", show_layers(image));
		(void)json_object_set_new(doc, "platforms", show_siblings(image));
		(void)json_object_set_new(doc, "history", show_history(image));
		*ret = json_pack("{s:o}", "image", doc);
	}
	image_list_done(&all);
	return r;
}

int images_tag(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e)
{
	const char *name = json_string_value(json_object_get(request, "name"));
	auto_free char *which = NULL;
	int r;

	(void)late;
	if (resolve(a, request, &which, e) < 0)
		return -e->code;
	r = image_tag(a->images, which, name, e);
	if (r == IMAGE_ABSENT)
		return err_set(e, ENOENT, "no image %s: not found", which);
	*ret = r == 0 ? json_object() : NULL;
	return r;
}

/*
 * Names of images for other platforms, which came with a name for several: its repository,
 * and their digest.
 */
struct names {
	struct map known; /* each under itself */
	struct arena arena;
};

static void names_done(struct names *n)
{
	map_done(&n->known);
	arena_done(&n->arena);
}
#define auto_names __attribute__((cleanup(names_done)))

static void add_siblings(struct names *n, const struct image *image)
{
	char host[IMAGE_HOST_SIZE], name[IMAGE_NAME_SIZE];
	struct err ignored; /* it came by that name */

	if (!image->reference || image_name_of(image->reference, host, name, &ignored) < 0)
		return;
	for (size_t i = 0; i < image->sibling_count; i++) {
		char *sibling = arena_printf(&n->arena, "%s@%s", name, image->siblings[i].manifest);

		if (!str_eq(image->siblings[i].manifest, image->manifest))
			(void)map_put(&n->known, sibling, sibling);
	}
}

/* Of images that go by a name or a digest; of all: 'which' NULL. */
static int list_siblings(struct agent *a, const char *which, struct names *ret, struct err *e)
{
	struct image_list all = {NULL, 0};

	if (image_list(a->images, &all, e) < 0)
		return -e->code;
	for (size_t i = 0; i < all.count; i++)
		if (!which || str_eq(all.items[i]->reference, which) ||
		    str_eq(all.items[i]->digest, which))
			add_siblings(ret, all.items[i]);
	image_list_done(&all);
	return 0;
}

/* Those that no other name has brought, too. */
static int remove_siblings(struct agent *a, struct names *gone, const char *const *in_use,
			   size_t in_use_count, struct err *e)
{
	auto_names struct names kept = {.known = {0}};
	char *name;
	int r = gone->known.count ? list_siblings(a, NULL, &kept, e) : 0;

	for (size_t i = 0; r >= 0 && map_next(&gone->known, &i, &name);)
		if (!map_find(&kept.known, name))
			r = image_remove(a->images, name, in_use, in_use_count, e);
	return r < 0 ? r : 0; /* most were never pulled; one in use stays */
}

int images_remove(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e)
{
	auto_names struct names siblings = {.known = {0}};
	auto_free char *which = NULL;
	size_t count;
	auto_free const char **in_use = images_in_use(a, &count);
	int r;

	(void)late;
	if (resolve(a, request, &which, e) < 0 || list_siblings(a, which, &siblings, e) < 0)
		return -e->code;
	images_let_go(a);
	r = image_remove(a->images, which, in_use, count, e);
	if (r == 0)
		r = remove_siblings(a, &siblings, in_use, count, e);
	if (r == IMAGE_ABSENT)
		return err_set(e, ENOENT, "no image %s: not found", which);
	if (r == IMAGE_IN_USE)
		return err_set(e, EBUSY, "image %s is in use by a task", which);
	*ret = r == 0 ? json_pack("{s:s}", "removed", which) : NULL;
	return r;
}

int images_prune(struct agent *a, const json_t *request, bool late, json_t **ret, struct err *e)
{
	int64_t age_s = json_integer_value(json_object_get(request, "olderThanSeconds"));
	size_t count;
	auto_free const char **in_use = images_in_use(a, &count);
	const struct image_prune prune = {
		.in_use = in_use,
		.in_use_count = count,
		.nameless_only = !json_is_true(json_object_get(request, "all")),
		.before_ms = clock_wall_ms() - age_s * 1000,
	};
	json_t *images = json_array();
	struct image_pruned pruned;

	(void)late;
	images_let_go(a);
	if (image_prune(a->images, &prune, &pruned, e) < 0) {
		json_decref(images);
		return -e->code;
	}
	for (size_t i = 0; i < pruned.images.count; i++)
		(void)json_array_append_new(images, show_image(pruned.images.items[i]));
	image_list_done(&pruned.images);
	*ret = json_pack("{s:o, s:I}", "images", images, "spaceReclaimed",
			 (json_int_t)pruned.bytes);
	return 0;
}
