/* image/record.c - what we keep of an image's documents
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/record.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/manifest.h"

#define TITLE "berth image 1"

enum kind { TEXT, DIGEST, TIME, LIST, MAP };

static const struct field {
	const char *word;
	enum kind kind;
	size_t offset;
	bool required;
} fields[] = {
	{"digest", DIGEST, offsetof(struct image, digest), true},
	{"manifest", DIGEST, offsetof(struct image, manifest), true},
	{"config", DIGEST, offsetof(struct image, config), false},
	{"os", TEXT, offsetof(struct image, os), true},
	{"architecture", TEXT, offsetof(struct image, architecture), true},
	{"variant", TEXT, offsetof(struct image, variant), false},
	{"created", TIME, offsetof(struct image, created_ms), false},
	{"entrypoint", LIST, offsetof(struct image, entrypoint), false},
	{"cmd", LIST, offsetof(struct image, cmd), false},
	{"env", LIST, offsetof(struct image, env), false},
	{"directory", TEXT, offsetof(struct image, working_dir), false},
	{"user", TEXT, offsetof(struct image, user), false},
	{"signal", TEXT, offsetof(struct image, stop_signal), false},
	{"port", LIST, offsetof(struct image, ports), false},
	{"volume", LIST, offsetof(struct image, volumes), false},
	{"label", MAP, offsetof(struct image, labels), false},
};

#define LAYER_WORD    "layer"
#define STEP_WORD     "step"
#define SIBLING_WORD  "sibling"
#define DOCUMENT_WORD "document"
#define NAME_WORD     "name"
#define NAMES_MAX     1000

struct record *record_new(void)
{
	return xcalloc(1, sizeof(struct record));
}

void record_free(struct record *r)
{
	if (!r)
		return;
	arena_done(&r->image.arena);
	free(r);
}

/* ---- writing ---- */

static void put_escaped(struct buf *out, const char *text, bool blanks)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f || c == '\\' || (blanks && c == ' '))
			buf_printf(out, "\\x%02x", c);
		else
			buf_putc(out, (char)c);
	}
}

static void put_line(struct buf *out, const char *word, const char *value)
{
	buf_printf(out, "%s ", word);
	put_escaped(out, value, false);
	buf_putc(out, '\n');
}

static void write_field(const struct field *f, const struct image *image, struct buf *out)
{
	const void *in = (const char *)image + f->offset;
	const struct js_strings *list = in;
	const struct js_map *map = in;

	switch (f->kind) {
	case TEXT:
	case DIGEST:
		if (*(char *const *)in)
			put_line(out, f->word, *(char *const *)in);
		return;
	case TIME:
		if (*(const int64_t *)in)
			buf_printf(out, "%s %" PRId64 "\n", f->word, *(const int64_t *)in);
		return;
	case LIST:
		for (size_t i = 0; i < list->count; i++)
			put_line(out, f->word, list->items[i]);
		return;
	case MAP:
		for (size_t i = 0; i < map->count; i++) {
			buf_printf(out, "%s ", f->word);
			put_escaped(out, map->items[i].key, true);
			buf_putc(out, ' ');
			put_escaped(out, map->items[i].value, false);
			buf_putc(out, '\n');
		}
		return;
	}
}

static void write_step(const struct image_step *s, struct buf *out)
{
	buf_printf(out, STEP_WORD " %" PRId64 " %s ", s->created_ms, s->empty ? "empty" : "full");
	put_escaped(out, s->created_by ? s->created_by : "", true);
	buf_putc(out, ' ');
	put_escaped(out, s->comment ? s->comment : "", true);
	buf_putc(out, '\n');
}

static void write_document(const struct record_document *d, struct buf *out)
{
	buf_printf(out, DOCUMENT_WORD " %s %" PRIu64, d->digest, d->size);
	if (d->media_type[0]) {
		buf_putc(out, ' ');
		put_escaped(out, d->media_type, true);
	}
	buf_putc(out, '\n');
}

void record_write(const struct record *r, struct buf *out)
{
	buf_puts(out, TITLE "\n");
	for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
		write_field(&fields[i], &r->image, out);
	for (size_t i = 0; i < r->layer_count; i++)
		buf_printf(out, LAYER_WORD " %s %s %" PRIu64 "\n", r->layers[i].diff_id,
			   r->layers[i].blob, r->layers[i].blob_size);
	for (size_t i = 0; i < r->image.step_count; i++)
		write_step(&r->image.steps[i], out);
	for (size_t i = 0; i < r->image.sibling_count; i++)
		buf_printf(out, SIBLING_WORD " %s %s\n", r->image.siblings[i].manifest,
			   r->image.siblings[i].platform);
	for (size_t i = 0; i < r->document_count; i++)
		write_document(&r->documents[i], out);
	for (size_t i = 0; i < r->names.count; i++)
		put_line(out, NAME_WORD, r->names.items[i]);
}

/* ---- reading ---- */

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place.  False: a backslash that begins no \xHH, or a NUL. */
static bool unescape(char *text)
{
	char *out = text;

	for (char *in = text; *in; in++) {
		int high, low;

		if (*in != '\\') {
			*out++ = *in;
			continue;
		}
		if (in[1] != 'x' || (high = hex_value(in[2])) < 0 || (low = hex_value(in[3])) < 0 ||
		    high + low == 0)
			return false;
		*out++ = (char)(high << 4 | low);
		in += 3;
	}
	*out = '\0';
	return true;
}

static int read_layer(char *value, struct record *r, struct err *e)
{
	char *rest = value, *diff_id = strsep(&rest, " "), *blob = strsep(&rest, " ");
	struct record_layer *l = &r->layers[r->layer_count];

	if (r->layer_count == IMAGE_LAYERS_MAX)
		return err_set(e, E2BIG, "more than %d layers", IMAGE_LAYERS_MAX);
	if (!blob || !digest_valid(diff_id) || !digest_valid(blob))
		return err_set(e, EINVAL, "layer %zu: invalid digest", r->layer_count);
	if (!rest || !parse_u64(rest, INT64_MAX, &l->blob_size))
		return err_set(e, EINVAL, "layer %zu: invalid size", r->layer_count);
	memcpy(l->diff_id, diff_id, DIGEST_SIZE);
	memcpy(l->blob, blob, DIGEST_SIZE);
	r->layer_count++;
	return 0;
}

/* Lists double, in the arena; what they grow out of stays there. */
static void *grow(struct arena *a, void *items, size_t count, size_t item_size)
{
	void *bigger;

	if (count & (count + 1)) /* room until count + 1 is a power of two */
		return items;
	bigger = arena_alloc(a, (2 * count + 2) * item_size);
	if (count)
		memcpy(bigger, items, count * item_size);
	return bigger;
}

static int read_step(char *value, struct image *image, struct err *e)
{
	char *rest = value, *created = strsep(&rest, " "), *empty = strsep(&rest, " "),
	     *by = strsep(&rest, " ");
	struct image_step *s;

	if (!rest || !unescape(by) || !unescape(rest) ||
	    (!str_eq(empty, "empty") && !str_eq(empty, "full")))
		return err_set(e, EINVAL, "invalid " STEP_WORD);
	image->steps = grow(&image->arena, image->steps, image->step_count, sizeof(*s));
	s = &image->steps[image->step_count];
	if (!parse_i64(created, INT64_MIN, INT64_MAX, &s->created_ms))
		return err_set(e, EINVAL, "invalid time of a " STEP_WORD);
	s->empty = str_eq(empty, "empty");
	s->created_by = arena_strdup(&image->arena, by);
	s->comment = arena_strdup(&image->arena, rest);
	image->step_count++;
	return 0;
}

static int read_sibling(char *value, struct image *image, struct err *e)
{
	char *platform = value, *manifest = strsep(&platform, " ");
	struct platform ignored;

	if (image->sibling_count == IMAGE_SIBLINGS_MAX)
		return err_set(e, E2BIG, "more than %d siblings", IMAGE_SIBLINGS_MAX);
	if (!platform || !digest_valid(manifest) || platform_parse(platform, &ignored, e) < 0)
		return err_set(e, EINVAL, "invalid " SIBLING_WORD);
	image->siblings = grow(&image->arena, image->siblings, image->sibling_count,
			       sizeof(*image->siblings));
	image->siblings[image->sibling_count++] =
		(struct image_sibling){.manifest = arena_strdup(&image->arena, manifest),
				       .platform = arena_strdup(&image->arena, platform)};
	return 0;
}

/* It goes into JSON of ours. */
bool media_type_is_plain(const char *text)
{
	return text && *text && strlen(text) < sizeof(((struct record_document *)0)->media_type) &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789/.+-")] == '\0';
}

static int read_document(char *value, struct record *r, struct err *e)
{
	char *rest = value, *digest = strsep(&rest, " "), *size = strsep(&rest, " ");
	struct record_document *d = &r->documents[r->document_count];

	if (r->document_count == RECORD_DOCUMENTS_MAX)
		return err_set(e, E2BIG, "more than %d documents", RECORD_DOCUMENTS_MAX);
	if (!size || !digest_valid(digest) ||
	    !parse_u64(size, RECORD_DOCUMENTS_SIZE_MAX, &d->size) ||
	    (rest && !media_type_is_plain(rest)))
		return err_set(e, EINVAL, "invalid " DOCUMENT_WORD);
	memcpy(d->digest, digest, DIGEST_SIZE);
	if (rest)
		memcpy(d->media_type, rest, strlen(rest) + 1);
	r->document_count++;
	return 0;
}

static int read_name(char *value, struct record *r, struct err *e)
{
	struct reference ignored;

	if (r->names.count == NAMES_MAX || !unescape(value) ||
	    reference_parse(value, &ignored, e) < 0)
		return err_set(e, EINVAL, "invalid " NAME_WORD);
	r->names.items = grow(&r->image.arena, r->names.items, r->names.count, sizeof(char *));
	r->names.items[r->names.count++] = arena_strdup(&r->image.arena, value);
	return 0;
}

static int read_pair(char *value, struct js_map *map, struct arena *a)
{
	char *rest = value, *key = strsep(&rest, " ");

	if (!rest || !unescape(key) || !unescape(rest))
		return -EINVAL;
	map->items = grow(a, map->items, map->count, sizeof(struct js_pair));
	map->items[map->count++] = (struct js_pair){.key = arena_strdup(a, key),
						    .value = arena_strdup(a, rest)};
	return 0;
}

/* -EINVAL without a sentence: the caller names the word. */
static int read_field(const struct field *f, char *value, struct image *image)
{
	void *out = (char *)image + f->offset;
	struct js_strings *list = out;
	int64_t *time = out;
	char **text = out;

	switch (f->kind) {
	case TEXT:
	case DIGEST:
		if (*text || !unescape(value) || (f->kind == DIGEST && !digest_valid(value)))
			return -EINVAL;
		*text = arena_strdup(&image->arena, value);
		return 0;
	case TIME:
		return *time || !parse_i64(value, INT64_MIN, INT64_MAX, time) ? -EINVAL : 0;
	case LIST:
		if (!unescape(value))
			return -EINVAL;
		list->items = grow(&image->arena, list->items, list->count, sizeof(char *));
		list->items[list->count++] = arena_strdup(&image->arena, value);
		return 0;
	case MAP:
		return read_pair(value, out, &image->arena);
	}
	return -EINVAL;
}

static int read_line(char *line, struct record *r, struct err *e)
{
	char *value = line, *word = strsep(&value, " ");

	if (!value)
		return err_set(e, EINVAL, "'%.40s' has no value", word);
	if (str_eq(word, LAYER_WORD))
		return read_layer(value, r, e);
	if (str_eq(word, STEP_WORD))
		return read_step(value, &r->image, e);
	if (str_eq(word, SIBLING_WORD))
		return read_sibling(value, &r->image, e);
	if (str_eq(word, DOCUMENT_WORD))
		return read_document(value, r, e);
	if (str_eq(word, NAME_WORD))
		return read_name(value, r, e);
	for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
		if (!str_eq(word, fields[i].word))
			continue;
		if (read_field(&fields[i], value, &r->image) < 0)
			return err_set(e, EINVAL, "invalid %s", word);
		return 0;
	}
	return err_set(e, EINVAL, "unknown word '%.40s'", word);
}

static int check_whole(const struct record *r, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
		const struct field *f = &fields[i];

		if (f->required && !*(char *const *)((const char *)&r->image + f->offset))
			return err_set(e, EINVAL, "no %s", f->word);
	}
	if (!r->layer_count)
		return err_set(e, EINVAL, "no layers");
	return 0;
}

/* 'text' is a copy of ours; lines are cut from it. */
static int read_lines(char *text, struct record *r, struct err *e)
{
	char *rest = text, *line = strsep(&rest, "\n");

	if (!str_eq(line, TITLE))
		return err_set(e, EINVAL, "does not begin with '" TITLE "'");
	while ((line = strsep(&rest, "\n")) && (*line || rest))
		if (read_line(line, r, e) < 0)
			return -e->code;
	return check_whole(r, e);
}

int record_read(const char *text, size_t size, struct record **ret, struct err *e)
{
	auto_record struct record *r = NULL;
	auto_free char *copy = NULL;

	if (size > RECORD_SIZE_MAX)
		return err_set(e, EFBIG, "image record of more than %d bytes", RECORD_SIZE_MAX);
	if (memchr(text, '\0', size))
		return err_set(e, EINVAL, "image record: a NUL in it");

	r = record_new();
	copy = xstrndup(text, size);
	if (read_lines(copy, r, e) < 0)
		return err_wrap(e, "image record");
	*ret = take_ptr(r);
	return 0;
}
