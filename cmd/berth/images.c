/* cmd/berth/images.c - images, and image inspect, history, tag, rm, prune
 * SPDX-License-Identifier: Apache-2.0
 *
 * Columns as Docker and Podman have them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "cmd/berth/pull.h"

#define ID_LEN 12 /* digits, as Docker shows them */
#define BY_LEN 44
#define NONE   "<none>"

static const char *text(const json_t *doc, const char *member)
{
	const char *value = json_string_value(json_object_get(doc, member));

	return value ? value : "";
}

static int64_t number(const json_t *doc, const char *member)
{
	return json_integer_value(json_object_get(doc, member));
}

static char *ago(const json_t *timestamp)
{
	auto_free char *age = age_of(timestamp);

	return timestamp ? xasprintf("%s ago", age) : xstrdup("N/A");
}

/* What an image is known by: of its configuration, where that is known. */
static char *id_of(const json_t *image, bool whole)
{
	const char *id = *text(image, "imageId") ? text(image, "imageId") : text(image, "digest");

	return whole ? xstrdup(id) : xasprintf("%.*s", ID_LEN, id + strlen("sha256:"));
}

/* "127.0.0.1:5000/app" of "127.0.0.1:5000/app:1". */
static size_t repository_len(const char *reference)
{
	const char *at = strchr(reference, '@'), *slash = strrchr(reference, '/');
	const char *colon = strchr(slash ? slash : reference, ':');

	return at      ? (size_t)(at - reference)
	       : colon ? (size_t)(colon - reference)
		       : strlen(reference);
}

/* ---- images ---- */

struct images_options {
	bool quiet, no_trunc, digests;
};

static const struct option_row images_rows[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct images_options, quiet), NULL,
	 "only print the ids of images"},
	{"no-trunc", 0, OPTION_FLAG, offsetof(struct images_options, no_trunc), NULL,
	 "print whole ids"},
	{"digests", 0, OPTION_FLAG, offsetof(struct images_options, digests), NULL, "show digests"},
};

static void add_image(struct table *t, const struct images_options *o, const json_t *image)
{
	const char *reference = text(image, "reference");
	size_t len = repository_len(reference);
	bool tagged = reference[len] == ':';

	table_add(t, *reference ? xstrndup(reference, len) : xstrdup(NONE));
	table_add(t, xstrdup(tagged ? reference + len + 1 : NONE));
	if (o->digests)
		table_add(t, xstrdup(text(image, "digest")));
	table_add(t, id_of(image, o->no_trunc));
	table_add(t, ago(json_object_get(image, "createdAt")));
	table_add(t, size_of(number(image, "size")));
}

/* The word is a repository, or a whole name; as people type it. */
static bool is_wanted(const json_t *image, const char *word)
{
	const char *reference = text(image, "reference");
	size_t len = repository_len(reference), word_len = strlen(word);
	const char *tail;

	if (strcmp(reference, word) == 0)
		return true;
	tail = strstr(reference, word);
	if (!tail || (tail != reference && tail[-1] != '/'))
		return false;
	return tail[word_len] == '\0' || tail + word_len == reference + len;
}

static int images(struct context *c, const void *options, char **words, int count)
{
	static const char *const plain[] = {"REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"};
	static const char *const with_digest[] = {"REPOSITORY", "TAG",     "DIGEST",
						  "IMAGE ID",   "CREATED", "SIZE"};
	const struct images_options *o = options;
	struct table t = {.headers = o->digests ? with_digest : plain,
			  .columns = o->digests ? ARRAY_COUNT(with_digest) : ARRAY_COUNT(plain)};
	auto_json json_t *reply = NULL;
	struct err e = {0};
	json_t *image;
	size_t i;

	if (client_call(c->client, CLIENT_BERTH, "ListImages", request_new(c), &reply, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON) {
		print_json(json_object_get(reply, "images"));
		return EXIT_OK;
	}
	json_array_foreach (json_object_get(reply, "images"), i, image) {
		if (count && !is_wanted(image, words[0]))
			continue;
		if (o->quiet) {
			auto_free char *id = id_of(image, o->no_trunc);

			(void)printf("%s\n", id);
		} else {
			add_image(&t, o, image);
		}
	}
	if (!o->quiet)
		table_print(&t);
	return EXIT_OK;
}

const struct command command_images = {
	.name = "images",
	.arguments = "[OPTIONS] [REPOSITORY[:TAG]]",
	.summary = "List the images that a node holds.",
	.options = images_rows,
	.option_count = ARRAY_COUNT(images_rows),
	.size = sizeof(struct images_options),
	.max_words = 1,
	.of_node = true,
	.run = images,
};

/* ---- image inspect ---- */

static int describe(struct context *c, const char *name, json_t **ret, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(name));
	if (client_call(c->client, CLIENT_BERTH, "DescribeImage", request, &reply, e) < 0)
		return -e->code;
	*ret = json_incref(json_object_get(reply, "image"));
	return 0;
}

/* {"80/tcp": {}} of ["80/tcp"]. */
static json_t *keys_of(const json_t *list)
{
	json_t *keys = json_object(), *item;
	size_t i;

	json_array_foreach ((json_t *)(uintptr_t)list, i, item)
		(void)json_object_set_new(keys, json_string_value(item), json_object());
	return keys;
}

static void copy_member(json_t *to, const char *name, const json_t *from, const char *member)
{
	json_t *value = json_object_get(from, member);

	if (value)
		(void)json_object_set(to, name, value);
}

static json_t *docker_config(const json_t *config)
{
	static const char *const names[][2] = {
		{"Entrypoint", "entrypoint"}, {"Cmd", "cmd"},   {"Env", "env"},
		{"WorkingDir", "workingDir"}, {"User", "user"}, {"StopSignal", "stopSignal"},
		{"Labels", "labels"}};
	json_t *doc = json_object();

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		copy_member(doc, names[i][0], config, names[i][1]);
	(void)json_object_set_new(doc, "ExposedPorts",
				  keys_of(json_object_get(config, "exposedPorts")));
	(void)json_object_set_new(doc, "Volumes", keys_of(json_object_get(config, "volumes")));
	return doc;
}

static json_t *time_text(const json_t *timestamp)
{
	time_t s = (time_t)json_number_value(timestamp);
	char text_of[32] = "";
	struct tm tm;

	if (timestamp && gmtime_r(&s, &tm))
		(void)strftime(text_of, sizeof(text_of), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text_of);
}

/* As `docker image inspect` has it, as far as there is something to say. */
static json_t *docker_image(const json_t *image)
{
	json_t *doc = json_object(), *tags = json_array(), *digests = json_array();
	json_t *diff_ids = json_array(), *name, *layer;
	size_t i;

	json_array_foreach (json_object_get(image, "names"), i, name) {
		const char *reference = json_string_value(name);

		if (!strchr(reference, '@'))
			(void)json_array_append(tags, name);
		(void)json_array_append_new(digests,
					    json_sprintf("%.*s@%s", (int)repository_len(reference),
							 reference, text(image, "digest")));
	}
	json_array_foreach (json_object_get(image, "layers"), i, layer)
		(void)json_array_append(diff_ids, json_object_get(layer, "diffId"));
	copy_member(doc, "Id", image, *text(image, "imageId") ? "imageId" : "digest");
	(void)json_object_set_new(doc, "RepoTags", tags);
	(void)json_object_set_new(doc, "RepoDigests", digests);
	copy_member(doc, "Digest", image, "digest");
	copy_member(doc, "ManifestDigest", image, "manifest");
	(void)json_object_set_new(doc, "Created", time_text(json_object_get(image, "createdAt")));
	copy_member(doc, "Os", image, "os");
	copy_member(doc, "Architecture", image, "architecture");
	copy_member(doc, "Variant", image, "variant");
	copy_member(doc, "Size", image, "size");
	(void)json_object_set_new(doc, "Config", docker_config(json_object_get(image, "config")));
	(void)json_object_set_new(doc, "RootFS",
				  json_pack("{s:s, s:o}", "Type", "layers", "Layers", diff_ids));
	copy_member(doc, "Layers", image, "layers");
	return doc;
}

static int inspect(struct context *c, const void *options, char **words, int count)
{
	auto_json json_t *all = json_array();
	int code = EXIT_OK;

	(void)options;
	for (int i = 0; i < count; i++) {
		auto_json json_t *image = NULL;
		struct err e = {0};

		if (describe(c, words[i], &image, &e) < 0)
			code = fail(&e);
		else
			(void)json_array_append_new(all, docker_image(image));
	}
	print_json(all);
	return code;
}

const struct command command_image_inspect = {
	.name = "image inspect",
	.arguments = "IMAGE...",
	.summary = "Print all that is known of images, as JSON.",
	.size = 1,
	.min_words = 1,
	.max_words = -1,
	.of_node = true,
	.run = inspect,
};

/* ---- image history ---- */

struct history_options {
	bool no_trunc, quiet;
};

static const struct option_row history_rows[] = {
	{"no-trunc", 0, OPTION_FLAG, offsetof(struct history_options, no_trunc), NULL,
	 "print whole commands"},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct history_options, quiet), NULL,
	 "only print ids"},
};

static void add_step(struct table *t, const struct history_options *o, const json_t *step,
		     const char *own_id, int64_t size)
{
	const char *by = text(step, "createdBy");
	bool long_one = !o->no_trunc && strlen(by) > BY_LEN;

	table_add(t, xstrdup(own_id));
	table_add(t, ago(json_object_get(step, "createdAt")));
	table_add(t, long_one ? xasprintf("%.*s...", BY_LEN, by) : xstrdup(by));
	table_add(t, size_of(size));
	table_add(t, xstrdup(text(step, "comment")));
}

static int history(struct context *c, const void *options, char **words, int count)
{
	static const char *const headers[] = {"IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"};
	const struct history_options *o = options;
	struct table t = {.headers = headers, .columns = ARRAY_COUNT(headers)};
	auto_json json_t *image = NULL;
	const json_t *steps, *layers;
	auto_free char *id = NULL;
	struct err e = {0};
	size_t layer;

	(void)count;
	if (describe(c, words[0], &image, &e) < 0)
		return fail(&e);
	steps = json_object_get(image, "history");
	if (c->output == OUTPUT_JSON) {
		print_json(steps);
		return EXIT_OK;
	}
	layers = json_object_get(image, "layers");
	layer = json_array_size(layers);
	id = id_of(image, o->no_trunc);
	if (o->quiet) {
		(void)printf("%s\n", id);
		return EXIT_OK;
	}
	for (size_t i = json_array_size(steps); i-- > 0;) {
		const json_t *step = json_array_get(steps, i);
		bool full = !json_is_true(json_object_get(step, "emptyLayer")) && layer > 0;

		layer -= full;
		add_step(&t, o, step, i + 1 == json_array_size(steps) ? id : "<missing>",
			 full ? number(json_array_get(layers, layer), "size") : 0);
	}
	table_print(&t);
	return EXIT_OK;
}

const struct command command_image_history = {
	.name = "image history",
	.arguments = "[OPTIONS] IMAGE",
	.summary = "Show how an image came about, as it says itself.",
	.options = history_rows,
	.option_count = ARRAY_COUNT(history_rows),
	.size = sizeof(struct history_options),
	.min_words = 1,
	.max_words = 1,
	.of_node = true,
	.run = history,
};

/* ---- image tag, rm ---- */

static int tag(struct context *c, const void *options, char **words, int count)
{
	struct err e = {0};

	(void)options;
	for (int i = 1; i < count; i++) {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "image", json_string(words[0]));
		(void)json_object_set_new(request, "name", json_string(words[i]));
		if (client_call(c->client, CLIENT_BERTH, "TagImage", request, &reply, &e) < 0)
			return fail(&e);
	}
	return EXIT_OK;
}

const struct command command_image_tag = {
	.name = "image tag",
	.arguments = "IMAGE NAME...",
	.summary = "Give an image more names.",
	.size = 1,
	.min_words = 2,
	.max_words = -1,
	.of_node = true,
	.run = tag,
};

static int rm(struct context *c, const void *options, char **words, int count)
{
	int code = EXIT_OK;

	(void)options;
	for (int i = 0; i < count; i++) {
		auto_json json_t *reply = NULL;
		json_t *request = request_new(c);
		const char *removed;
		struct err e = {0};

		(void)json_object_set_new(request, "image", json_string(words[i]));
		if (client_call(c->client, CLIENT_BERTH, "RemoveImage", request, &reply, &e) < 0) {
			code = fail(&e);
			continue;
		}
		removed = text(reply, "removed");
		(void)printf("%s: %s\n", str_starts(removed, "sha256:") ? "Deleted" : "Untagged",
			     removed);
	}
	return code;
}

const struct command command_image_rm = {
	.name = "image rm",
	.arguments = "IMAGE...",
	.summary =
		"Take names from images, or by their ids images; without a name an image goes, and "
		"with it what came for other platforms.",
	.size = 1,
	.min_words = 1,
	.max_words = -1,
	.of_node = true,
	.run = rm,
};

/* ---- image prune ---- */

struct prune_options {
	bool all, force;
	const char *filter;
};

static const struct option_row prune_rows[] = {
	{"all", 'a', OPTION_FLAG, offsetof(struct prune_options, all), NULL,
	 "all that no task uses, not only those without a name"},
	{"force", 'f', OPTION_FLAG, offsetof(struct prune_options, force), NULL,
	 "as Docker has it: nobody is asked anyway"},
	{"filter", 0, OPTION_STRING, offsetof(struct prune_options, filter), "until=TIME",
	 "only what was neither pulled nor used for so long: 90s, 30m, 24h, 7d"},
};

/* "24h" in seconds. */
static bool parse_age(const char *text_of, int64_t *ret)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t len = strspn(text_of, "0123456789");
	char digits[12] = "";

	if (len == 0 || len >= sizeof(digits) || !text_of[len] || text_of[len + 1])
		return false;
	memcpy(digits, text_of, len);
	for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
		if (text_of[len] != units[i].unit || !parse_i64(digits, 0, INT32_MAX, ret))
			continue;
		*ret *= units[i].seconds;
		return true;
	}
	return false;
}

static int prune(struct context *c, const void *options, char **words, int count)
{
	const struct prune_options *o = options;
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c), *image;
	auto_free char *size = NULL;
	struct err e = {0};
	int64_t age_s = 0;
	size_t i;

	(void)words;
	(void)count;
	if (o->filter &&
	    (!str_starts(o->filter, "until=") || !parse_age(o->filter + strlen("until="), &age_s)))
		return fail_usage("--filter '%s' is not until=TIME", o->filter);
	(void)json_object_set_new(request, "all", json_boolean(o->all));
	(void)json_object_set_new(request, "olderThanSeconds", json_integer(age_s));
	if (client_call(c->client, CLIENT_BERTH, "PruneImages", request, &reply, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON) {
		print_json(reply);
		return EXIT_OK;
	}
	json_array_foreach (json_object_get(reply, "images"), i, image)
		(void)printf("%s: %s\n", *text(image, "reference") ? "Untagged" : "Deleted",
			     *text(image, "reference") ? text(image, "reference")
						       : text(image, "digest"));
	size = size_of(number(reply, "spaceReclaimed"));
	(void)printf("Total reclaimed space: %s\n", size);
	return EXIT_OK;
}

const struct command command_image_prune = {
	.name = "image prune",
	.arguments = "[OPTIONS]",
	.summary = "Remove images that nobody uses.",
	.options = prune_rows,
	.option_count = ARRAY_COUNT(prune_rows),
	.size = sizeof(struct prune_options),
	.of_node = true,
	.run = prune,
};

/* ---- image ---- */

static const struct command *const subcommands[] = {&command_images,
						    &command_pull,
						    &command_push,
						    &command_image_inspect,
						    &command_image_history,
						    &command_image_tag,
						    &command_image_rm,
						    &command_image_prune,
						    &command_image_save,
						    &command_image_load,
						    &command_image_import,
						    &command_image_fsck,
						    NULL};

const struct command command_image = {
	.name = "image",
	.arguments = "ls|pull|push|inspect|history|tag|rm|prune|save|load|import|fsck",
	.summary =
		"Images of a node: ls, pull, push, inspect, history, tag, rm, prune, save, load, import, fsck.",
	.subcommands = subcommands,
	.size = 1,
};
