/* image/manifest.c - index, manifest and configuration
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/manifest.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "image/reason.h"

#define JSON_DEPTH    64
#define STEPS_MAX     300 /* of a history */
#define STEP_TEXT_MAX 512 /* bytes */

#define OCI    "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

static const char index_types[][64] = {
	OCI "index.v1+json",
	DOCKER "distribution.manifest.list.v2+json",
};

static const char manifest_types[][64] = {
	OCI "manifest.v1+json",
	DOCKER "distribution.manifest.v2+json",
};

static const char config_types[][64] = {
	OCI "config.v1+json",
	DOCKER "container.image.v1+json",
};

/* How a layer is packed is told by its first bytes; these are those we may try. */
static const char layer_types[][64] = {
	OCI "layer.v1.tar",
	OCI "layer.v1.tar+gzip",
	OCI "layer.v1.tar+zstd",
	DOCKER "image.rootfs.diff.tar",
	DOCKER "image.rootfs.diff.tar.gzip",
	DOCKER "image.rootfs.diff.tar.zstd",
};

const char manifest_accept[] = "Accept: " OCI "index.v1+json, " DOCKER
			       "distribution.manifest.list.v2+json, " OCI
			       "manifest.v1+json, " DOCKER "distribution.manifest.v2+json";

#define IS_ONE_OF(type, table) is_one_of((type), (table), ARRAY_COUNT(table))

static bool is_one_of(const char *type, const char (*table)[64], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(type, table[i]))
			return true;
	return false;
}

/* ---- shapes ---- */

static const struct js_field platform_fields[] = {
	{"os", JS_STRING, offsetof(struct platform_names, os), 0, NULL},
	{"architecture", JS_STRING, offsetof(struct platform_names, architecture), 0, NULL},
	{"variant", JS_STRING, offsetof(struct platform_names, variant), 0, NULL},
};
static const struct js_shape platform_shape = JS_SHAPE("platform", struct platform_names,
						       platform_fields);

static const struct js_field descriptor_fields[] = {
	{"mediaType", JS_STRING, offsetof(struct descriptor, media_type), 0, NULL},
	{"digest", JS_STRING, offsetof(struct descriptor, digest), JS_REQUIRED, NULL},
	{"size", JS_I64, offsetof(struct descriptor, size), JS_REQUIRED, NULL},
	{"platform", JS_OBJECT, offsetof(struct descriptor, platform), JS_POINTER, &platform_shape},
	{"annotations", JS_MAP, offsetof(struct descriptor, annotations), 0, NULL},
};
static const struct js_shape descriptor_shape = JS_SHAPE("descriptor", struct descriptor,
							 descriptor_fields);

struct document_json {
	uint32_t schema;
	char *media_type;
	struct descriptor *config;
	struct js_list *layers, *manifests;
};

static const struct js_field document_fields[] = {
	{"schemaVersion", JS_U32, offsetof(struct document_json, schema), JS_REQUIRED, NULL},
	{"mediaType", JS_STRING, offsetof(struct document_json, media_type), 0, NULL},
	{"config", JS_OBJECT, offsetof(struct document_json, config), JS_POINTER,
	 &descriptor_shape},
	{"layers", JS_OBJECTS, offsetof(struct document_json, layers), JS_POINTER,
	 &descriptor_shape},
	{"manifests", JS_OBJECTS, offsetof(struct document_json, manifests), JS_POINTER,
	 &descriptor_shape},
};
static const struct js_shape document_shape = JS_SHAPE("document", struct document_json,
						       document_fields);

/* ---- index and manifest ---- */

static int check_descriptor(const struct descriptor *d, int64_t size_max, struct err *e)
{
	if (!digest_valid(d->digest))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED,
				  "digest '%.80s' is not sha256: and 64 hexadecimal digits",
				  d->digest);
	if (d->size < 0)
		return image_fail(e, IMAGE_REASON_MALFORMED, "negative size");
	if (d->size > size_max)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "%lld bytes, the limit is %lld",
				  (long long)d->size, (long long)size_max);
	return 0;
}

static int check_layer(const struct descriptor *d, struct err *e)
{
	const char *type = d->media_type ? d->media_type : "";

	if (strstr(type, "foreign") || strstr(type, "nondistributable"))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED,
				  "it is to be fetched from elsewhere (%.100s)", type);
	if (strstr(type, "+encrypted"))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "it is encrypted (%.100s)", type);
	if (!IS_ONE_OF(type, layer_types))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "media type '%.100s'", type);
	return check_descriptor(d, BLOB_SIZE_MAX, e);
}

static int check_items(const struct document *d, struct err *e)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct descriptor *item = &d->items[i];

		if (d->kind == DOCUMENT_MANIFEST && check_layer(item, e) < 0)
			return err_wrap(e, "layer %zu", i);
		if (d->kind == DOCUMENT_INDEX && check_descriptor(item, MANIFEST_SIZE_MAX, e) < 0)
			return err_wrap(e, "manifest %zu", i);
	}
	return 0;
}

static int check_config(const struct descriptor *config, struct err *e)
{
	if (!config)
		return image_fail(e, IMAGE_REASON_MALFORMED, "no configuration");
	if (!IS_ONE_OF(config->media_type, config_types))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED,
				  "not a container image: its configuration is '%.100s'",
				  config->media_type ? config->media_type : "");
	if (check_descriptor(config, CONFIG_SIZE_MAX, e) < 0)
		return err_wrap(e, "configuration");
	return 0;
}

/* "Type; parameter" is Type. */
static bool same_type(const char *content_type, const char *media_type)
{
	size_t len = strcspn(content_type, "; \t");

	return strlen(media_type) == len && strncasecmp(content_type, media_type, len) == 0;
}

/* What the document is called, by itself and by the registry: they must agree. */
static int find_type(const struct document_json *json, const char *content_type, struct arena *a,
		     const char **ret, struct err *e)
{
	if (json->media_type && content_type && !same_type(content_type, json->media_type))
		return image_fail(e, IMAGE_REASON_MALFORMED,
				  "the registry calls it '%.100s', it calls itself '%.100s'",
				  content_type, json->media_type);
	*ret = json->media_type;
	if (!*ret && content_type)
		*ret = arena_strndup(a, content_type, strcspn(content_type, "; \t"));
	if (!*ret)
		return image_fail(e, IMAGE_REASON_MALFORMED, "it has no media type");
	return 0;
}

static int fill_document(const struct document_json *json, const char *type, struct document *ret,
			 struct err *e)
{
	const struct js_list *list;

	if (json->schema == 1)
		return image_fail(e, IMAGE_REASON_UNSUPPORTED,
				  "schema 1, which registries gave up in 2019");
	if (json->schema != 2)
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "schema %u", json->schema);
	if (json->manifests && (json->layers || json->config))
		return image_fail(e, IMAGE_REASON_MALFORMED, "it is both an index and a manifest");

	if (json->manifests && IS_ONE_OF(type, index_types)) {
		ret->kind = DOCUMENT_INDEX;
		list = json->manifests;
	} else if (json->layers && IS_ONE_OF(type, manifest_types)) {
		ret->kind = DOCUMENT_MANIFEST;
		list = json->layers;
		if (check_config(json->config, e) < 0)
			return -e->code;
		if (list->count == 0)
			return image_fail(e, IMAGE_REASON_MALFORMED, "no layers");
		if (list->count > IMAGE_LAYERS_MAX)
			return image_fail(e, IMAGE_REASON_TOO_LARGE, "%zu layers, the limit is %d",
					  list->count, IMAGE_LAYERS_MAX);
	} else {
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "media type '%.100s'", type);
	}

	ret->media_type = type;
	ret->items = list->items;
	ret->count = list->count;
	ret->config = json->config;
	return check_items(ret, e);
}

static int read_document(const json_t *doc, const char *content_type, struct document *d,
			 struct err *e)
{
	struct document_json json;
	const char *type;

	if (js_decode(doc, &document_shape, &d->arena, &json, e) < 0)
		return image_class(e, IMAGE_REASON_MALFORMED);
	if (find_type(&json, content_type, &d->arena, &type, e) < 0)
		return -e->code;
	return fill_document(&json, type, d, e);
}

int document_parse(const char *text, size_t size, const char *content_type, struct document *ret,
		   struct err *e)
{
	auto_json json_t *doc = NULL;
	struct document d = {.kind = DOCUMENT_INDEX};
	int r;

	r = js_parse(text, size, JSON_DEPTH, &doc, e);
	if (r < 0)
		(void)image_class(e, IMAGE_REASON_MALFORMED);
	else
		r = read_document(doc, content_type, &d, e);
	if (r < 0) {
		document_done(&d);
		return err_wrap(e, "manifest");
	}
	*ret = d;
	return 0;
}

static int fill_other(const struct document_json *json, int64_t blob_size_max, struct document *ret,
		      struct err *e)
{
	if (json->schema != 2 || !json->config || !json->layers || json->manifests ||
	    !json->media_type || !IS_ONE_OF(json->media_type, manifest_types))
		return image_fail(e, IMAGE_REASON_UNSUPPORTED, "it is no manifest");
	if (json->layers->count > IMAGE_LAYERS_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "%zu layers, the limit is %d",
				  json->layers->count, IMAGE_LAYERS_MAX);
	ret->kind = DOCUMENT_MANIFEST;
	ret->media_type = json->media_type;
	ret->config = json->config;
	ret->items = json->layers->items;
	ret->count = json->layers->count;
	if (check_descriptor(ret->config, blob_size_max, e) < 0)
		return -e->code;
	for (size_t i = 0; i < ret->count; i++)
		if (check_descriptor(&ret->items[i], blob_size_max, e) < 0)
			return -e->code;
	return 0;
}

int document_parse_other(const char *text, size_t size, int64_t blob_size_max, struct document *ret,
			 struct err *e)
{
	auto_json json_t *doc = NULL;
	struct document d = {.kind = DOCUMENT_MANIFEST};
	struct document_json json;
	int r = js_parse(text, size, JSON_DEPTH, &doc, e);

	if (r == 0)
		r = js_decode(doc, &document_shape, &d.arena, &json, e);
	if (r < 0)
		(void)image_class(e, IMAGE_REASON_MALFORMED);
	else
		r = fill_other(&json, blob_size_max, &d, e);
	if (r < 0) {
		document_done(&d);
		return r;
	}
	*ret = d;
	return 0;
}

void document_done(struct document *d)
{
	arena_done(&d->arena);
}

/* False: names that no platform of ours has. */
static bool platform_of(const struct platform_names *names, struct platform *ret)
{
	const char *os = names->os ? names->os : "";
	const char *architecture = names->architecture ? names->architecture : "";
	const char *variant = names->variant ? names->variant : "";

	if (strlen(os) >= sizeof(ret->os) || strlen(architecture) >= sizeof(ret->architecture) ||
	    strlen(variant) >= sizeof(ret->variant))
		return false;
	*ret = (struct platform){{0}, {0}, {0}};
	memcpy(ret->os, os, strlen(os));
	memcpy(ret->architecture, architecture, strlen(architecture));
	memcpy(ret->variant, variant, strlen(variant));
	return true;
}

/* What says no platform comes behind all that do: its configuration will tell. */
static unsigned rank(const struct descriptor *d, const struct platform *machine)
{
	struct platform made;

	if (!d->platform)
		return 1;
	return platform_of(d->platform, &made) ? platform_match(machine, &made) : 0;
}

/* "linux/amd64, linux/arm64/v8": what there is instead. */
static void list_platforms(const struct document *index, struct buf *out)
{
	for (size_t i = 0; i < index->count; i++) {
		char name[PLATFORM_SIZE];
		struct platform made;

		if (!index->items[i].platform || !platform_of(index->items[i].platform, &made) ||
		    str_eq(made.os, "unknown")) /* attestations */
			continue;
		platform_format(&made, name);
		buf_printf(out, "%s%s", out->size ? ", " : "", name);
	}
}

int document_choose(const struct document *index, const struct platform *machine,
		    const struct descriptor **ret, struct err *e)
{
	auto_buf struct buf there = BUF_INIT(300);
	const struct descriptor *best = NULL;
	char name[PLATFORM_SIZE];
	unsigned best_rank = 0;

	assert(index->kind == DOCUMENT_INDEX);

	for (size_t i = 0; i < index->count; i++) {
		unsigned r = rank(&index->items[i], machine);

		if (r > best_rank) {
			best = &index->items[i];
			best_rank = r;
		}
	}
	if (!best) {
		platform_format(machine, name);
		list_platforms(index, &there);
		return image_fail(e, IMAGE_REASON_PLATFORM, "no image for %s, the index has %s%s",
				  name, there.size ? buf_str(&there) : "nothing that runs",
				  buf_overflow(&there) ? " ..." : "");
	}
	*ret = best;
	return 0;
}

void document_note_siblings(const struct document *index, struct image *image)
{
	image->sibling_count = 0;
	if (index->count > IMAGE_SIBLINGS_MAX)
		return;
	image->siblings = arena_alloc(&image->arena, (index->count + 1) * sizeof(*image->siblings));
	for (size_t i = 0; i < index->count; i++) {
		const struct descriptor *d = &index->items[i];
		char name[PLATFORM_SIZE] = "";
		struct platform made;
		struct err ignored;

		if (d->platform && platform_of(d->platform, &made))
			platform_format(&made, name);
		if (platform_parse(name, &made, &ignored) < 0)
			(void)snprintf(name, sizeof(name), PLATFORM_NONE);
		image->siblings[image->sibling_count++] =
			(struct image_sibling){.manifest = arena_strdup(&image->arena, d->digest),
					       .platform = arena_strdup(&image->arena, name)};
	}
}

/* ---- configuration ---- */

struct step_json {
	char *created, *created_by, *comment;
	bool empty_layer;
};

struct config_json {
	char *os, *architecture, *variant, *created;
	struct {
		char *user, *working_dir, *stop_signal;
		struct js_strings env, entrypoint, cmd;
		struct js_map labels;
		json_t *ports, *volumes; /* objects whose keys count */
	} run;
	struct {
		struct js_strings diff_ids;
	} rootfs;
	struct js_list history; /* step_json */
};

#define RUN(member) offsetof(__typeof__(((struct config_json *)0)->run), member)

static const struct js_field run_fields[] = {
	{"User", JS_STRING, RUN(user), 0, NULL},
	{"WorkingDir", JS_STRING, RUN(working_dir), 0, NULL},
	{"StopSignal", JS_STRING, RUN(stop_signal), 0, NULL},
	{"Env", JS_STRINGS, RUN(env), 0, NULL},
	{"Entrypoint", JS_STRINGS, RUN(entrypoint), 0, NULL},
	{"Cmd", JS_STRINGS, RUN(cmd), 0, NULL},
	{"Labels", JS_MAP, RUN(labels), 0, NULL},
	{"ExposedPorts", JS_JSON, RUN(ports), 0, NULL},
	{"Volumes", JS_JSON, RUN(volumes), 0, NULL},
};
static const struct js_shape run_shape =
	JS_SHAPE("config", __typeof__(((struct config_json *)0)->run), run_fields);

static const struct js_field rootfs_fields[] = {{"diff_ids", JS_STRINGS, 0, JS_REQUIRED, NULL}};
static const struct js_shape rootfs_shape =
	JS_SHAPE("rootfs", __typeof__(((struct config_json *)0)->rootfs), rootfs_fields);

static const struct js_field step_fields[] = {
	{"created", JS_STRING, offsetof(struct step_json, created), 0, NULL},
	{"created_by", JS_STRING, offsetof(struct step_json, created_by), 0, NULL},
	{"comment", JS_STRING, offsetof(struct step_json, comment), 0, NULL},
	{"empty_layer", JS_BOOL, offsetof(struct step_json, empty_layer), 0, NULL},
};
static const struct js_shape step_shape = JS_SHAPE("history", struct step_json, step_fields);

static const struct js_field config_fields[] = {
	{"os", JS_STRING, offsetof(struct config_json, os), 0, NULL},
	{"architecture", JS_STRING, offsetof(struct config_json, architecture), 0, NULL},
	{"variant", JS_STRING, offsetof(struct config_json, variant), 0, NULL},
	{"created", JS_STRING, offsetof(struct config_json, created), 0, NULL},
	{"config", JS_OBJECT, offsetof(struct config_json, run), 0, &run_shape},
	{"rootfs", JS_OBJECT, offsetof(struct config_json, rootfs), JS_REQUIRED, &rootfs_shape},
	{"history", JS_OBJECTS, offsetof(struct config_json, history), 0, &step_shape},
};
static const struct js_shape config_shape = JS_SHAPE("configuration", struct config_json,
						     config_fields);

/* "2024-05-06T07:08:09.123456789Z" or with "+02:00".  What cannot be read is 0: not known. */
static int64_t read_time(const char *text)
{
	struct tm tm = {0};
	const char *p = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	int64_t ms = 0, scale = 100;
	int hours = 0, minutes = 0;

	if (!p)
		return 0;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
			ms += (*p - '0') * scale;
	if ((*p == '+' || *p == '-') && sscanf(p + 1, "%2d:%2d", &hours, &minutes) == 2)
		ms += (*p == '+' ? -1 : 1) * (hours * 60 + minutes) * 60000LL;
	else if (*p != 'Z')
		return 0;
	return (int64_t)timegm(&tm) * 1000 + ms;
}

/* Texts of history are as long as somebody's scripts. */
static char *clip(const char *text, struct arena *a)
{
	size_t len = text ? strlen(text) : 0;

	if (len > STEP_TEXT_MAX)
		for (len = STEP_TEXT_MAX; ((unsigned char)text[len] & 0xc0) == 0x80;)
			len--;
	return arena_strndup(a, text ? text : "", len);
}

/* The keys of {"80/tcp": {}, ...}. */
static int read_keys(json_t *object, struct arena *a, struct js_strings *ret, struct err *e)
{
	const char *key;
	json_t *value;

	*ret = (struct js_strings){NULL, 0};
	if (!object)
		return 0;
	if (!json_is_object(object))
		return image_fail(e, IMAGE_REASON_MALFORMED, "expected an object");
	ret->items = arena_alloc(a, (json_object_size(object) + 1) * sizeof(char *));
	json_object_foreach (object, key, value) {
		(void)value;
		ret->items[ret->count++] = arena_strdup(a, key);
	}
	return 0;
}

/* A volume is a place in the container: nothing that climbs. */
static bool is_volume(const char *path)
{
	size_t len;

	if (*path != '/')
		return false;
	for (; *path; path += len) {
		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 2 && path[0] == '.' && path[1] == '.')
			return false;
	}
	return true;
}

static int read_places(const struct config_json *json, struct image *image, struct err *e)
{
	if (read_keys(json->run.ports, &image->arena, &image->ports, e) < 0)
		return err_wrap(e, "ExposedPorts");
	if (read_keys(json->run.volumes, &image->arena, &image->volumes, e) < 0)
		return err_wrap(e, "Volumes");
	for (size_t i = 0; i < image->volumes.count; i++)
		if (!is_volume(image->volumes.items[i]))
			return image_fail(e, IMAGE_REASON_MALFORMED,
					  "volume '%.100s' is not an absolute path",
					  image->volumes.items[i]);
	return 0;
}

/* Very old images do not say what they are for; then it is for us. */
static int check_platform(const struct config_json *json, const struct platform *machine,
			  struct image *image, struct err *e)
{
	struct platform_names names = {json->os, json->architecture, json->variant};
	char have[PLATFORM_SIZE], want[PLATFORM_SIZE];
	struct platform made, judged;

	if (!names.os || !*names.os)
		names.os = (char *)(uintptr_t)machine->os;
	if (!names.architecture || !*names.architecture)
		names.architecture = (char *)(uintptr_t)machine->architecture;
	if (!platform_of(&names, &made))
		return image_fail(e, IMAGE_REASON_PLATFORM, "for an unknown platform");
	judged = made;
	if (!judged.variant[0]) /* few say it */
		memcpy(judged.variant, machine->variant, sizeof(judged.variant));
	if (!platform_match(machine, &judged)) {
		platform_format(&made, have);
		platform_format(machine, want);
		return image_fail(e, IMAGE_REASON_PLATFORM, "no image for %s, this one is for %s",
				  want, have);
	}
	image->os = arena_strdup(&image->arena, made.os);
	image->architecture = arena_strdup(&image->arena, made.architecture);
	image->variant = made.variant[0] ? arena_strdup(&image->arena, made.variant) : NULL;
	return 0;
}

static int read_layers(const struct js_strings *diff_ids, const struct document *manifest,
		       struct record *r, struct err *e)
{
	if (diff_ids->count != manifest->count)
		return image_fail(e, IMAGE_REASON_MALFORMED,
				  "%zu diff-ids, but the manifest has %zu layers", diff_ids->count,
				  manifest->count);
	for (size_t i = 0; i < manifest->count; i++) {
		struct record_layer *l = &r->layers[i];

		if (!digest_valid(diff_ids->items[i]))
			return image_fail(e, IMAGE_REASON_UNSUPPORTED, "diff-id '%.80s'",
					  diff_ids->items[i]);
		memcpy(l->diff_id, diff_ids->items[i], DIGEST_SIZE);
		memcpy(l->blob, manifest->items[i].digest, DIGEST_SIZE);
		l->blob_size = (uint64_t)manifest->items[i].size;
	}
	r->layer_count = manifest->count;
	return 0;
}

/* For people to read: of what is too much, the last steps are kept. */
static void read_history(const struct js_list *history, struct image *image)
{
	size_t skip = history->count > STEPS_MAX ? history->count - STEPS_MAX : 0;

	image->steps = arena_alloc(&image->arena,
				   (history->count - skip + 1) * sizeof(*image->steps));
	for (size_t i = skip; i < history->count; i++) {
		const struct step_json *s = JS_AT(*history, struct step_json, i);

		image->steps[image->step_count++] =
			(struct image_step){.created_ms = read_time(s->created),
					    .created_by = clip(s->created_by, &image->arena),
					    .comment = clip(s->comment, &image->arena),
					    .empty = s->empty_layer};
	}
}

static char *unless_empty(char *text)
{
	return text && *text ? text : NULL;
}

static int fill_record(const struct config_json *json, const struct document *manifest,
		       const struct platform *machine, struct record *r, struct err *e)
{
	struct image *image = &r->image;

	if (check_platform(json, machine, image, e) < 0 || read_places(json, image, e) < 0 ||
	    read_layers(&json->rootfs.diff_ids, manifest, r, e) < 0)
		return -e->code;
	read_history(&json->history, image);
	image->created_ms = read_time(json->created);
	image->entrypoint = json->run.entrypoint;
	image->cmd = json->run.cmd;
	image->env = json->run.env;
	image->labels = json->run.labels;
	image->user = unless_empty(json->run.user);
	image->working_dir = unless_empty(json->run.working_dir);
	image->stop_signal = unless_empty(json->run.stop_signal);
	return 0;
}

int config_parse(const char *text, size_t size, const struct document *manifest,
		 const struct platform *machine, struct record *ret, struct err *e)
{
	auto_json json_t *doc = NULL;
	struct config_json json;
	int r;

	assert(manifest->kind == DOCUMENT_MANIFEST);

	r = js_parse(text, size, JSON_DEPTH, &doc, e);
	if (r == 0)
		r = js_decode(doc, &config_shape, &ret->image.arena, &json, e);
	if (r < 0)
		(void)image_class(e, IMAGE_REASON_MALFORMED);
	else
		r = fill_record(&json, manifest, machine, ret, e);
	return r < 0 ? err_wrap(e, "configuration") : 0;
}
