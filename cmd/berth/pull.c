/* cmd/berth/pull.c - pull, and how far it is
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth/pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/text.h"

#define BAR_WIDTH 24

static const char *text(const json_t *doc, const char *member)
{
	const char *value = json_string_value(json_object_get(doc, member));

	return value ? value : "";
}

static int64_t number(const json_t *doc, const char *member)
{
	return json_integer_value(json_object_get(doc, member));
}

char *size_of(int64_t bytes)
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1000 && unit + 1 < ARRAY_COUNT(units)) {
		value /= 1000;
		unit++;
	}
	return xasprintf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

/* ---- progress ---- */

struct progress {
	enum progress_kind kind;
	size_t lines; /* on the terminal, to be written over */
	bool is_push;
	json_t *told;     /* phases that were told, by layer */
	json_t *began_ms; /* when each layer's first bytes came */
};

static bool is_over(const json_t *layer)
{
	return str_eq(text(layer, "phase"), "DONE") || str_eq(text(layer, "phase"), "EXISTS");
}

static const char *phase_of(const struct progress *p, const json_t *layer)
{
	const char *phase = text(layer, "phase");

	return p->is_push && str_eq(phase, "DOWNLOADING") ? "UPLOADING" : phase;
}

/* " from node 57836622ad1a", or "": it comes from a registry. */
static char *node_of(const json_t *layer)
{
	const char *node = text(layer, "node");

	return *node ? xasprintf(" from node %.12s", node) : xstrdup("");
}

/* "2.1 MB/s, 3 s left", or "". */
static char *rate_of(const struct progress *p, const json_t *layer)
{
	int64_t bytes = number(layer, "bytes"), total = number(layer, "totalBytes");
	const json_t *began = json_object_get(p->began_ms, text(layer, "digest"));
	int64_t took_ms = clock_mono_ms() - json_integer_value(began);
	auto_free char *rate = NULL;
	double each_s;

	if (!began || took_ms <= 0 || bytes <= 0 || !str_eq(text(layer, "phase"), "DOWNLOADING"))
		return xstrdup("");
	each_s = (double)bytes * 1000 / (double)took_ms;
	rate = size_of((int64_t)each_s);
	if (total <= bytes)
		return xasprintf(" %s/s", rate);
	return xasprintf(" %s/s, %lld s left", rate,
			 (long long)((double)(total - bytes) / each_s) + 1);
}

static void draw_layer(const struct progress *p, const json_t *layer)
{
	int64_t bytes = number(layer, "bytes"), total = number(layer, "totalBytes");
	bool over = is_over(layer);
	int filled = over ? BAR_WIDTH : total > 0 ? (int)(bytes * BAR_WIDTH / total) : 0;
	auto_free char *done = size_of(over && total ? total : bytes);
	auto_free char *of = size_of(total);
	auto_free char *rate = rate_of(p, layer), *node = node_of(layer);
	char bar[BAR_WIDTH + 1];

	for (int i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
	bar[BAR_WIDTH] = '\0';
	(void)fprintf(stderr, "\033[2K%.12s [%s] %s / %s %s%s%s\n",
		      text(layer, "digest") + strlen("sha256:"), bar, done, of, phase_of(p, layer),
		      node, rate);
}

static void tell_layer(const struct progress *p, const json_t *layer)
{
	auto_free char *size = size_of(number(layer, "totalBytes"));
	auto_free char *line = NULL, *node = node_of(layer);

	if (p->kind == PROGRESS_JSON) {
		line = js_dump(layer);
		(void)fprintf(stderr, "%s\n", line);
		return;
	}
	(void)fprintf(stderr, "%.19s %s %s%s\n", text(layer, "digest"), phase_of(p, layer), size,
		      node);
}

static void show_layer(struct progress *p, const json_t *layer)
{
	const char *digest = text(layer, "digest"), *phase = text(layer, "phase");

	if (!*digest)
		return;
	if (number(layer, "bytes") && !json_object_get(p->began_ms, digest))
		(void)json_object_set_new(p->began_ms, digest, json_integer(clock_mono_ms()));
	if (p->kind == PROGRESS_AUTO) {
		draw_layer(p, layer);
		p->lines++;
	} else if (!str_eq(text(p->told, digest), phase)) {
		tell_layer(p, layer);
		(void)json_object_set_new(p->told, digest, json_string(phase));
	}
}

static void show_progress(struct progress *p, const json_t *pull)
{
	json_t *layer;
	size_t i;

	if (p->kind == PROGRESS_NONE)
		return;
	if (p->lines)
		(void)fprintf(stderr, "\033[%zuA", p->lines);
	p->lines = 0;
	json_array_foreach (json_object_get(pull, "layers"), i, layer)
		show_layer(p, layer);
}

/* ---- pull ---- */

static int follow_pull(struct context *c, const char *id, struct progress *p, json_t **ret,
		       struct err *e)
{
	int64_t version = 0;

	for (;;) {
		auto_json json_t *pull = NULL;
		json_t *request = request_new(c);

		(void)json_object_set_new(request, "pullId", json_string(id));
		(void)json_object_set_new(request, "version", json_integer(version));
		if (client_call(c->client, CLIENT_BERTH, "DescribePull", request, &pull, e) < 0)
			return -e->code;
		show_progress(p, pull);
		version = number(pull, "version");
		if (str_eq(text(pull, "status"), "FAILED"))
			return err_set(e,
				       json_is_true(json_object_get(pull, "lacksBlobs"))
					       ? ENOMEDIUM
					       : EREMOTEIO,
				       "%s: %s", text(pull, "image"), text(pull, "reason"));
		if (str_eq(text(pull, "status"), "DONE")) {
			*ret = json_incref(pull);
			return 0;
		}
	}
}

int pull_follow(struct context *c, const char *operation, json_t *own_request,
		enum progress_kind progress, json_t **ret, struct err *e)
{
	auto_json json_t *reply = NULL, *told = json_object(), *began = json_object();
	struct progress p = {.kind = progress,
			     .told = told,
			     .began_ms = began,
			     .is_push = str_eq(operation, "PushImage")};

	if (progress == PROGRESS_AUTO && !isatty(STDERR_FILENO))
		p.kind = PROGRESS_LINES;
	if (client_call(c->client, CLIENT_BERTH, operation, own_request, &reply, e) < 0)
		return -e->code;
	return follow_pull(c, text(reply, "pullId"), &p, ret, e);
}

int pull_whole(struct context *c, const char *image, enum progress_kind progress, bool keep_blobs,
	       json_t **ret, struct err *e)
{
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(image));
	if (keep_blobs)
		(void)json_object_set_new(request, "keepBlobs", json_true());
	return pull_follow(c, "PullImage", request, progress, ret, e);
}

/* The blobs of an image that are not kept: lent to the store by its daemon, from wherever it pulls. */
static int fetch_blobs(struct context *c, const char *image, const char *platform,
		       enum progress_kind progress, struct err *e)
{
	auto_json json_t *done = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(image));
	(void)json_object_set_new(request, "platform", json_string(platform));
	(void)json_object_set_new(request, "blobsOnly", json_true());
	return pull_follow(c, "PullImage", request, progress, &done, e);
}

int pull_lend(struct context *c, const char *what, enum progress_kind progress, struct err *e)
{
	auto_free char *words = xstrdup(what);
	char *rest = words, *platform = strsep(&rest, " "), *name;
	int r = err_set(e, ENODATA, "it has no name");

	while (r < 0 && (name = strsep(&rest, " ")))
		r = fetch_blobs(c, name, platform, progress, e);
	return r;
}

/* ---- images for several platforms ---- */

#define ATTESTATION "unknown/unknown" /* no image: it comes and goes with the index */

/* "r:5000/a" of "r:5000/a:1" and "r:5000/a@sha256:...". */
static char *name_of(const char *reference)
{
	size_t len = strcspn(reference, "@");
	const char *slash = strrchr(reference, '/');
	const char *colon = memrchr(reference, ':', len);

	if (colon && (!slash || colon > slash))
		len = (size_t)(colon - reference);
	return xstrndup(reference, len);
}

/* Of an image that is held, and what else was in its index; *ret is the caller's. */
static int describe(struct context *c, const char *image, json_t **ret, struct err *e)
{
	auto_json json_t *reply = NULL;
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(image));
	if (client_call(c->client, CLIENT_BERTH, "DescribeImage", request, &reply, e) < 0)
		return -e->code;
	*ret = json_incref(json_object_get(reply, "image"));
	return 0;
}

/* What to do with each manifest of its index but its own; 'name' is that of the image without a tag. */
typedef int sibling_fn(struct context *c, const char *name, const json_t *sibling, void *ctx,
		       struct err *e);

static int each_sibling(struct context *c, const json_t *image, sibling_fn *fn, void *ctx,
			struct err *e)
{
	auto_free char *name = name_of(text(image, "reference"));
	json_t *sibling;
	size_t i;

	json_array_foreach (json_object_get(image, "platforms"), i, sibling) {
		if (str_eq(text(sibling, "manifestDigest"), text(image, "manifest")) ||
		    str_eq(text(sibling, "platform"), ATTESTATION))
			continue;
		if (fn(c, name, sibling, ctx, e) < 0)
			return err_wrap(e, "%s", text(sibling, "platform"));
	}
	return 0;
}

static char *at(const char *name, const json_t *sibling)
{
	return xasprintf("%s@%s", name, text(sibling, "manifestDigest"));
}

/* ---- push ---- */

struct push_options {
	bool all_platforms, uncompressed, quiet;
};

static const struct option_row push_rows[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct push_options, quiet), NULL,
	 "do not tell of layers"},
	{"all-platforms", 0, OPTION_FLAG, offsetof(struct push_options, all_platforms), NULL,
	 "the index that it came by, and all that this names"},
	{"uncompressed", 0, OPTION_FLAG, offsetof(struct push_options, uncompressed), NULL,
	 "layers as plain tars, under a manifest of their own: nothing is fetched"},
};

struct push {
	const char *destination; /* NULL: as the image is called */
	bool uncompressed;
	enum progress_kind progress;
};

static int push_once(struct context *c, const char *image, const struct push *p, bool index,
		     json_t **ret, struct err *e)
{
	json_t *request = request_new(c);

	(void)json_object_set_new(request, "image", json_string(image));
	if (p->destination)
		(void)json_object_set_new(request, "destination", json_string(p->destination));
	if (index)
		(void)json_object_set_new(request, "index", json_true());
	if (p->uncompressed)
		(void)json_object_set_new(request, "uncompressed", json_true());
	return pull_follow(c, "PushImage", request, p->progress, ret, e);
}

/* From wherever the image came, by any of its names. */
static int fetch_lacking(struct context *c, const char *image, const struct push *p, struct err *e)
{
	auto_json json_t *doc = NULL;
	auto_free char *what = NULL;
	json_t *name;
	size_t i;

	if (describe(c, image, &doc, e) < 0)
		return -e->code;
	if (p->progress != PROGRESS_NONE)
		(void)fprintf(stderr,
			      "%s: layers are not kept as they were packed: they are "
			      "fetched again\n",
			      image);
	what = xasprintf("%s/%s%s%s", text(doc, "os"), text(doc, "architecture"),
			 *text(doc, "variant") ? "/" : "", text(doc, "variant"));
	json_array_foreach (json_object_get(doc, "names"), i, name) {
		auto_free char *before = what, *repository = name_of(json_string_value(name));

		what = xasprintf("%s %s@%s", before, repository, text(doc, "manifest"));
	}
	return pull_lend(c, what, p->progress, e);
}

/* What is not kept is fetched once it is known that the registry has no use for another's. */
static int push_one(struct context *c, const char *image, const struct push *p, bool index,
		    json_t **ret, struct err *e)
{
	int r = push_once(c, image, p, index, ret, e);

	for (int round = 0; r == -ENOMEDIUM && round < PULL_LENDS_MAX; round++) {
		struct err why = {0};

		if (fetch_lacking(c, image, p, &why) < 0) {
			(void)fail(&why);
			return err_wrap(e, "it cannot be fetched; --uncompressed pushes plain tars "
					   "under another digest");
		}
		r = push_once(c, image, p, index, ret, e);
	}
	return r;
}

static int push_sibling(struct context *c, const char *name, const json_t *sibling, void *ctx,
			struct err *e)
{
	const struct push *p = ctx;
	auto_free char *to = name_of(p->destination ? p->destination : name);
	auto_free char *image = at(name, sibling), *destination = at(to, sibling);
	const struct push one = {.destination = destination, .progress = p->progress};
	auto_json json_t *done = NULL;

	if (push_one(c, image, &one, false, &done, e) < 0)
		return e->code == ENOENT ? err_wrap(e, "berth pull --all-platforms brings it")
					 : -e->code;
	return 0;
}

static int push(struct context *c, const void *options, char **words, int count)
{
	const struct push_options *o = options;
	struct push p = {.destination = count > 1 ? words[1] : NULL,
			 .uncompressed = o->uncompressed,
			 .progress = o->quiet ? PROGRESS_NONE : PROGRESS_AUTO};
	auto_json json_t *done = NULL, *image = NULL;
	struct err e = {0};

	if (o->all_platforms && o->uncompressed)
		return fail_usage("--uncompressed is for one platform: an index names layers as "
				  "they were packed");
	if (o->all_platforms && (describe(c, words[0], &image, &e) < 0 ||
				 each_sibling(c, image, push_sibling, &p, &e) < 0))
		return fail(&e);
	if (push_one(c, words[0], &p, o->all_platforms, &done, &e) < 0)
		return fail(&e);
	if (c->output == OUTPUT_JSON)
		print_json(done);
	return EXIT_OK;
}

const struct command command_push = {
	.name = "push",
	.arguments = "[OPTIONS] IMAGE [DESTINATION]",
	.summary =
		"Give an image of a node to a registry, bit for bit as it was pulled: that of one platform, or\n"
		"all. Layers that are not kept as they were packed are fetched again, and not kept.",
	.options = push_rows,
	.option_count = ARRAY_COUNT(push_rows),
	.size = sizeof(struct push_options),
	.min_words = 1,
	.max_words = 2,
	.of_node = true,
	.run = push,
};

/* ---- pull, the command ---- */

struct pull_options {
	bool quiet, keep_blobs, all_platforms;
	const char *progress;
};

static const struct option_row pull_rows[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct pull_options, quiet), NULL,
	 "only print the digest"},
	{"keep-blobs", 0, OPTION_FLAG, offsetof(struct pull_options, keep_blobs), NULL,
	 "keep layers as the registry packed them, too: to push the image, and to save it without the registry"},
	{"all-platforms", 0, OPTION_FLAG, offsetof(struct pull_options, all_platforms), NULL,
	 "the images for other platforms, too, by their digests, and keep layers as packed: to push them"},
	{"progress", 0, OPTION_STRING, offsetof(struct pull_options, progress),
	 "auto|plain|json|none", "how to tell of layers, on standard error (default: auto)"},
};

static int pull_sibling(struct context *c, const char *name, const json_t *sibling, void *ctx,
			struct err *e)
{
	const enum progress_kind *progress = ctx;
	auto_free char *image = at(name, sibling);
	auto_json json_t *done = NULL;
	json_t *request;

	request = request_new(c);
	(void)json_object_set_new(request, "image", json_string(image));
	(void)json_object_set(request, "platform", json_object_get(sibling, "platform"));
	(void)json_object_set_new(request, "keepBlobs", json_true());
	return pull_follow(c, "PullImage", request, *progress, &done, e);
}

static int pull_one(struct context *c, const char *name, const struct pull_options *o,
		    enum progress_kind kind, json_t **ret, struct err *e)
{
	auto_json json_t *image = NULL;

	if (pull_whole(c, name, kind, o->keep_blobs || o->all_platforms, ret, e) < 0)
		return -e->code;
	if (!o->all_platforms)
		return 0;
	if (describe(c, name, &image, e) < 0 || each_sibling(c, image, pull_sibling, &kind, e) < 0)
		return -e->code;
	return 0;
}

static int pull(struct context *c, const void *options, char **words, int count)
{
	static const char *const kinds[] = {"auto", "plain", "json", "none"};
	const struct pull_options *o = options;
	enum progress_kind kind = PROGRESS_AUTO;
	bool known = !o->progress;

	for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
		if (!str_eq(o->progress, kinds[i]))
			continue;
		kind = (enum progress_kind)i;
		known = true;
	}
	if (!known)
		return fail_usage("--progress '%s' is none of auto, plain, json, none",
				  o->progress);
	for (int i = 0; i < count; i++) {
		auto_json json_t *done = NULL;
		struct err e = {0};

		if (pull_one(c, words[i], o, o->quiet ? PROGRESS_NONE : kind, &done, &e) < 0)
			return fail(&e);
		if (c->output == OUTPUT_JSON)
			print_json(done);
		else
			(void)printf("%s\n", text(done, "imageDigest"));
	}
	return EXIT_OK;
}

const struct command command_pull = {
	.name = "pull",
	.arguments = "[OPTIONS] IMAGE...",
	.summary = "Pull images to a node.",
	.options = pull_rows,
	.option_count = ARRAY_COUNT(pull_rows),
	.size = sizeof(struct pull_options),
	.min_words = 1,
	.max_words = -1,
	.of_node = true,
	.run = pull,
};
