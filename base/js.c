/* base/js.c - JSON, by tables
 * SPDX-License-Identifier: Apache-2.0
 *
 * The path of a wrong member is put together while the error travels up: each
 * level wraps with its own name.  The result is then joined with dots.
 */
#include "base/js.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/random.h"
#include "base/text.h"

#define DECODE_DEPTH 64 /* js_decode_text; shapes nest far less */
#define DUMP_SIZE    16384
#define PARSE_FLAGS  (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

/* ---- memory ---- */

static struct arena kept;
static bool is_kept; /* all that documents take */

static void *take_from_kept(size_t size)
{
	return arena_alloc(&kept, size);
}

static void keep_it(void *p)
{
	(void)p;
}

void js_keep(void)
{
	size_t seed;

	random_bytes(&seed, sizeof(seed));
	json_object_seed(seed | 1); /* it would open a device for one of its own */
	json_set_alloc_funcs(take_from_kept, keep_it);
	is_kept = true;
}

void js_done(json_t *doc)
{
	if (!is_kept)
		json_decref(doc);
}

/* ---- text ---- */

/* jansson's own limit is compiled in (2048); ours is checked before it recurses. */
static bool nests_deeper(const char *text, size_t size, unsigned depth)
{
	bool in_string = false;
	unsigned level = 0;

	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++level > depth)
				return true;
		} else if ((c == '}' || c == ']') && level) {
			level--;
		}
	}
	return false;
}

static int parse_failed(const json_error_t *je, struct err *e)
{
	return err_set(e, EINVAL, "JSON line %d column %d: %s", je->line, je->column, je->text);
}

int js_parse(const char *text, size_t size, unsigned depth, json_t **ret, struct err *e)
{
	json_error_t je;
	json_t *doc;

	if (nests_deeper(text, size, depth))
		return err_set(e, EINVAL, "JSON nests deeper than %u levels", depth);
	doc = json_loadb(text, size, PARSE_FLAGS, &je);
	if (!doc)
		return parse_failed(&je, e);
	*ret = doc;
	return 0;
}

/* Digits of an integer above INT64_MAX: how many there are, or 0 when it is none. */
static size_t big_integer(const char *p, size_t size, uint64_t *ret)
{
	size_t len = 0;
	char digits[21];

	while (len < size && isdigit((unsigned char)p[len]))
		len++;
	if (len < 19 || len > 20 || (len < size && strchr(".eE", p[len])))
		return 0;
	memcpy(digits, p, len);
	digits[len] = '\0';
	return parse_u64(digits, UINT64_MAX, ret) && *ret > INT64_MAX ? len : 0;
}

static void fold_big_integers(const char *text, size_t size, struct buf *out)
{
	bool in_string = false;
	size_t done = 0;

	for (size_t i = 0; i < size; i++) {
		char before = i ? text[i - 1] : ' ';
		uint64_t value;
		size_t len;

		if (text[i] == '\\' && in_string) {
			i++;
			continue;
		}
		if (text[i] == '"')
			in_string = !in_string;
		if (in_string || !isdigit((unsigned char)text[i]) ||
		    isdigit((unsigned char)before) || strchr("-+.eE", before))
			continue;
		len = big_integer(text + i, size - i, &value);
		if (!len)
			continue;
		buf_add(out, text + done, i - done);
		buf_printf(out, "%lld", (long long)value);
		done = i + len;
		i = done - 1;
	}
	buf_add(out, text + done, size - done);
}

/* jansson's integers are signed: only a text that overflows them is looked through again. */
int js_parse_u64(const char *text, size_t size, unsigned depth, json_t **ret, struct err *e)
{
	auto_buf struct buf folded = BUF_INIT(2 * size); /* a number may get one longer */
	json_error_t je;

	if (nests_deeper(text, size, depth))
		return err_set(e, EINVAL, "JSON nests deeper than %u levels", depth);
	*ret = json_loadb(text, size, PARSE_FLAGS, &je);
	if (*ret)
		return 0;
	if (json_error_code(&je) != json_error_numeric_overflow)
		return parse_failed(&je, e);
	fold_big_integers(text, size, &folded);
	return js_parse(buf_str(&folded), folded.size, depth, ret, e);
}

char *js_dump(const json_t *doc)
{
	static __thread char buffer[DUMP_SIZE]; /* most fit, and grow in no steps */
	size_t size = json_dumpb(doc, buffer, sizeof(buffer), JSON_COMPACT | JSON_ENCODE_ANY);
	char *text;

	assert(size); /* memory, or an invalid string that jansson would not have let in */
	if (size <= sizeof(buffer))
		return xstrndup(buffer, size);
	text = xcalloc(1, size + 1);
	(void)json_dumpb(doc, text, size, JSON_COMPACT | JSON_ENCODE_ANY);
	return text;
}

/* ---- decode ---- */

static int decode_object(const json_t *doc, const struct js_shape *shape, struct arena *a,
			 void *ret, struct err *e);

static size_t kind_size(const struct js_field *f)
{
	switch (f->kind) {
	case JS_STRING:
		return sizeof(char *);
	case JS_BOOL:
		return sizeof(bool);
	case JS_U32:
		return sizeof(uint32_t);
	case JS_I64:
		return sizeof(int64_t);
	case JS_DOUBLE:
		return sizeof(double);
	case JS_OBJECT:
		return f->shape->size;
	case JS_STRINGS:
		return sizeof(struct js_strings);
	case JS_OBJECTS:
		return sizeof(struct js_list);
	case JS_MAP:
		return sizeof(struct js_map);
	case JS_JSON:
		return sizeof(json_t *);
	}
	return 0;
}

static int wrong(struct err *e, const char *expected)
{
	return err_set(e, EINVAL, ": expected %s", expected);
}

static int at_index(struct err *e, size_t i)
{
	return err_wrap(e, "[%zu]", i);
}

static int decode_strings(const json_t *v, struct arena *a, struct js_strings *ret, struct err *e)
{
	if (!json_is_array(v))
		return wrong(e, "a list of strings");
	ret->count = json_array_size(v);
	ret->items = arena_alloc(a, (ret->count + 1) * sizeof(char *));
	for (size_t i = 0; i < ret->count; i++) {
		const json_t *s = json_array_get(v, i);

		if (!json_is_string(s)) {
			(void)wrong(e, "a string");
			return at_index(e, i);
		}
		ret->items[i] = arena_strdup(a, json_string_value(s));
	}
	return 0;
}

static int decode_objects(const json_t *v, const struct js_shape *shape, struct arena *a,
			  struct js_list *ret, struct err *e)
{
	if (!json_is_array(v))
		return wrong(e, "a list");
	ret->count = json_array_size(v);
	ret->items = arena_alloc(a, (ret->count + 1) * shape->size);
	for (size_t i = 0; i < ret->count; i++)
		if (decode_object(json_array_get(v, i), shape, a,
				  (char *)ret->items + i * shape->size, e) < 0)
			return at_index(e, i);
	return 0;
}

static int decode_map(const json_t *v, struct arena *a, struct js_map *ret, struct err *e)
{
	const char *key;
	json_t *value;
	size_t i = 0;

	if (!json_is_object(v))
		return wrong(e, "an object of strings");
	ret->count = json_object_size(v);
	ret->items = arena_alloc(a, (ret->count + 1) * sizeof(struct js_pair));
	json_object_foreach ((json_t *)(uintptr_t)v, key, value) {
		if (!json_is_string(value)) {
			(void)wrong(e, "a string");
			return err_wrap(e, ".%s", key);
		}
		ret->items[i].key = arena_strdup(a, key);
		ret->items[i++].value = arena_strdup(a, json_string_value(value));
	}
	return 0;
}

static int decode_value(const json_t *v, const struct js_field *f, struct arena *a, void *out,
			struct err *e)
{
	switch (f->kind) {
	case JS_STRING:
		if (!json_is_string(v))
			return wrong(e, "a string");
		*(char **)out = arena_strdup(a, json_string_value(v));
		return 0;
	case JS_BOOL:
		if (!json_is_boolean(v))
			return wrong(e, "true or false");
		*(bool *)out = json_is_true(v);
		return 0;
	case JS_U32:
		if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		    json_integer_value(v) > UINT32_MAX)
			return wrong(e, "an integer from 0 to 4294967295");
		*(uint32_t *)out = (uint32_t)json_integer_value(v);
		return 0;
	case JS_I64:
		if (!json_is_integer(v))
			return wrong(e, "an integer");
		*(int64_t *)out = json_integer_value(v);
		return 0;
	case JS_DOUBLE:
		if (!json_is_number(v))
			return wrong(e, "a number");
		*(double *)out = json_number_value(v);
		return 0;
	case JS_OBJECT:
		return decode_object(v, f->shape, a, out, e);
	case JS_STRINGS:
		return decode_strings(v, a, out, e);
	case JS_OBJECTS:
		return decode_objects(v, f->shape, a, out, e);
	case JS_MAP:
		return decode_map(v, a, out, e);
	case JS_JSON:
		*(json_t **)out = (json_t *)(uintptr_t)v;
		return 0;
	}
	return 0;
}

static int decode_object(const json_t *doc, const struct js_shape *shape, struct arena *a,
			 void *ret, struct err *e)
{
	if (!json_is_object(doc))
		return wrong(e, "an object");

	for (size_t i = 0; i < shape->count; i++) {
		const struct js_field *f = &shape->fields[i];
		const json_t *v = json_object_get(doc, f->name);
		char *out = (char *)ret + f->offset;

		if (!v || json_is_null(v)) {
			if (!(f->flags & JS_REQUIRED))
				continue;
			(void)err_set(e, EINVAL, ": missing");
			return err_wrap(e, ".%s", f->name);
		}
		if (f->flags & JS_POINTER) {
			void *boxed = arena_alloc(a, kind_size(f));

			*(void **)(void *)out = boxed;
			out = boxed;
		}
		if (decode_value(v, f, a, out, e) < 0)
			return err_wrap(e, ".%s", f->name);
	}
	return 0;
}

/* ".a: [0]: .b: : expected an integer" to "a[0].b: expected an integer". */
static void join_path(struct err *e)
{
	char *in = e->msg, *out = e->msg;

	while (in[0] == ':' || in[0] == '.' || in[0] == ' ')
		in++;
	while (*in) {
		if (strncmp(in, ": .", 3) == 0 || strncmp(in, ": [", 3) == 0) {
			in += 2;
		} else if (strncmp(in, ": : ", 4) == 0) {
			in += 2;
			break;
		}
		*out++ = *in++;
	}
	memmove(out, in, strlen(in) + 1);
}

int js_decode(const json_t *doc, const struct js_shape *shape, struct arena *a, void *ret,
	      struct err *e)
{
	memset(ret, 0, shape->size);
	if (decode_object(doc, shape, a, ret, e) == 0)
		return 0;
	join_path(e);
	return -e->code;
}

int js_decode_text(const char *text, size_t size, const struct js_shape *shape, struct arena *a,
		   void *ret, struct err *e)
{
	auto_json json_t *doc = NULL;

	if (js_parse(text, size, DECODE_DEPTH, &doc, e) < 0)
		return -e->code;
	return js_decode(doc, shape, a, ret, e);
}

/* ---- encode ---- */

/* Length of the UTF-8 character that 'p' begins with; 0: it is none (RFC 3629). */
static size_t character_size(const unsigned char *p, size_t size)
{
	unsigned min, c = p[0];
	size_t n;

	if (c < 0x80)
		return c ? 1 : 0; /* jansson's strings have no NUL */
	if (c >= 0xc2 && c <= 0xdf)
		n = 2;
	else if (c >= 0xe0 && c <= 0xef)
		n = 3;
	else if (c >= 0xf0 && c <= 0xf4)
		n = 4;
	else
		return 0;
	if (size < n)
		return 0;
	min = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
	c &= 0xffu >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c < min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : n;
}

json_t *js_string(const char *text, size_t size)
{
	json_t *string = json_stringn(text, size);
	struct buf clean;
	size_t n;

	if (string && !memchr(text, 0, size))
		return string;
	json_decref(string);

	buf_init(&clean, size * 3 + 1);
	for (size_t i = 0; i < size; i += n ? n : 1) {
		n = character_size((const unsigned char *)text + i, size - i);
		if (n)
			buf_add(&clean, text + i, n);
		else
			buf_add(&clean, "\xef\xbf\xbd", 3);
	}
	string = json_stringn(buf_str(&clean), clean.size);
	assert(string);
	buf_done(&clean);
	return string;
}

static json_t *encode_strings(const struct js_strings *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->count; i++)
		(void)json_array_append_new(list, js_string(s->items[i], strlen(s->items[i])));
	return list;
}

static json_t *encode_objects(const struct js_shape *shape, const struct js_list *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->count; i++)
		(void)json_array_append_new(
			list, js_encode(shape, (const char *)l->items + i * shape->size));
	return list;
}

static json_t *encode_map(const struct js_map *m)
{
	json_t *object = json_object();

	for (size_t i = 0; i < m->count; i++)
		(void)json_object_set_new(object, m->items[i].key,
					  js_string(m->items[i].value, strlen(m->items[i].value)));
	return object;
}

/* NULL: nothing to say. */
static json_t *encode_value(const struct js_field *f, const void *in)
{
	bool always = f->flags & (JS_ALWAYS | JS_REQUIRED | JS_POINTER);
	const char *s;

	switch (f->kind) {
	case JS_STRING:
		s = *(char *const *)in;
		return s                        ? js_string(s, strlen(s))
		       : (f->flags & JS_ALWAYS) ? json_string("")
						: NULL;
	case JS_BOOL:
		return *(const bool *)in || always ? json_boolean(*(const bool *)in) : NULL;
	case JS_U32:
		return *(const uint32_t *)in || always ? json_integer(*(const uint32_t *)in) : NULL;
	case JS_I64:
		return *(const int64_t *)in || always ? json_integer(*(const int64_t *)in) : NULL;
	case JS_DOUBLE:
		return *(const double *)in != 0 || always ? json_real(*(const double *)in) : NULL;
	case JS_OBJECT: {
		json_t *object = js_encode(f->shape, in);

		if (json_object_size(object) || always)
			return object;
		json_decref(object);
		return NULL;
	}
	case JS_STRINGS:
		return ((const struct js_strings *)in)->count || always ? encode_strings(in) : NULL;
	case JS_OBJECTS:
		return ((const struct js_list *)in)->count || always ? encode_objects(f->shape, in)
								     : NULL;
	case JS_MAP:
		return ((const struct js_map *)in)->count || always ? encode_map(in) : NULL;
	case JS_JSON:
		return json_incref(*(json_t *const *)in);
	}
	return NULL;
}

json_t *js_encode(const struct js_shape *shape, const void *object)
{
	json_t *doc = json_object();

	for (size_t i = 0; i < shape->count; i++) {
		const struct js_field *f = &shape->fields[i];
		const void *in = (const char *)object + f->offset;
		json_t *v;

		if (f->flags & JS_POINTER) {
			in = *(void *const *)in;
			if (!in)
				continue;
		}
		v = encode_value(f, in);
		if (v)
			(void)json_object_set_new(doc, f->name, v);
	}
	return doc;
}
