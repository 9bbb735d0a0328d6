/* base/js_dump.c - a document as text
 * SPDX-License-Identifier: Apache-2.0
 *
 * The control plane writes each change of each object as text, twice and more;
 * json_dumps() looks for loops by names of pointers, asks for each character what
 * it is and calls back for each piece, which costs five times as much.  The text
 * is the same, which a test compares, but for times: 1700000000.123 is written as
 * it is and not with seventeen digits.
 */
#include "base/js.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FIRST_SIZE     512
#define DIGITS_MAX     24
#define ESCAPED_SIZE   6 /* \u0001 */
#define REAL_SHORT_MAX 1e12

struct text {
	char *data;
	size_t size, capacity;
};

static char *reserve(struct text *t, size_t more)
{
	if (t->size + more > t->capacity) {
		while (t->size + more > t->capacity)
			t->capacity = t->capacity ? t->capacity * 2 : FIRST_SIZE;
		t->data = xrealloc(t->data, t->capacity, 1);
	}
	return t->data + t->size;
}

static void put(struct text *t, const char *s, size_t len)
{
	memcpy(reserve(t, len), s, len);
	t->size += len;
}

static void put_char(struct text *t, char c)
{
	*reserve(t, 1) = c;
	t->size++;
}

/* ---- strings: what is in a document is UTF-8 ---- */

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c != '"' && c != '\\';
}

static void put_escaped(struct text *t, unsigned char c)
{
	static const char names[] = "\"\\\b\f\n\r\t", signs[] = "\"\\bfnrt";
	const char *name = memchr(names, c, sizeof(names) - 1);
	char *p = reserve(t, ESCAPED_SIZE + 1);

	t->size += (size_t)(name ? snprintf(p, ESCAPED_SIZE + 1, "\\%c", signs[name - names])
				 : snprintf(p, ESCAPED_SIZE + 1, "\\u%04X", c));
}

static void put_string(struct text *t, const char *s, size_t len)
{
	const char *end = s + len;

	put_char(t, '"');
	while (s < end) {
		const char *plain = s;

		while (s < end && is_plain((unsigned char)*s))
			s++;
		put(t, plain, (size_t)(s - plain));
		if (s < end)
			put_escaped(t, (unsigned char)*s++);
	}
	put_char(t, '"');
}

/* ---- numbers ---- */

static void put_integer(struct text *t, json_int_t v)
{
	char digits[DIGITS_MAX];
	char *p = digits + sizeof(digits);
	unsigned long long rest = v < 0 ? 0 - (unsigned long long)v : (unsigned long long)v;

	do
		*--p = (char)('0' + rest % 10);
	while (rest /= 10);
	if (v < 0)
		*--p = '-';
	put(t, p, (size_t)(digits + sizeof(digits) - p));
}

/* One that has three decimals at most, so that it is read as it was. */
static bool put_thousandths(struct text *t, double v)
{
	json_int_t thousandths;
	unsigned rest;
	size_t len = 3;
	char digits[4];

	if (!(v >= 0 && v < REAL_SHORT_MAX))
		return false;
	thousandths = (json_int_t)(v * 1000 + 0.5);
	if ((double)thousandths / 1000 != v)
		return false;
	put_integer(t, thousandths / 1000);
	rest = (unsigned)(thousandths % 1000);
	for (size_t i = 3; i; i--, rest /= 10)
		digits[i - 1] = (char)('0' + rest % 10);
	while (len > 1 && digits[len - 1] == '0')
		len--;
	put_char(t, '.');
	put(t, digits, len);
	return true;
}

/* jansson has its own rules for the others, which are kept. */
static void put_other_real(struct text *t, const json_t *v)
{
	char *p = reserve(t, 0);
	size_t size = json_dumpb(v, p, t->capacity - t->size, JSON_ENCODE_ANY);

	if (t->size + size > t->capacity) {
		p = reserve(t, size);
		size = json_dumpb(v, p, size, JSON_ENCODE_ANY);
	}
	assert(size);
	t->size += size;
}

static void put_real(struct text *t, const json_t *v)
{
	if (!put_thousandths(t, json_real_value(v)))
		put_other_real(t, v);
}

/* ---- values ---- */

static void put_value(struct text *t, const json_t *v);

static void put_array(struct text *t, const json_t *v)
{
	put_char(t, '[');
	for (size_t i = 0; i < json_array_size(v); i++) {
		if (i)
			put_char(t, ',');
		put_value(t, json_array_get(v, i));
	}
	put_char(t, ']');
}

static void put_object(struct text *t, const json_t *v)
{
	json_t *object = (json_t *)(uintptr_t)v;
	bool more = false;

	put_char(t, '{');
	for (void *i = json_object_iter(object); i; i = json_object_iter_next(object, i)) {
		const char *key = json_object_iter_key(i);

		if (more)
			put_char(t, ',');
		more = true;
		put_string(t, key, strlen(key));
		put_char(t, ':');
		put_value(t, json_object_iter_value(i));
	}
	put_char(t, '}');
}

static void put_value(struct text *t, const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		put_object(t, v);
		return;
	case JSON_ARRAY:
		put_array(t, v);
		return;
	case JSON_STRING:
		put_string(t, json_string_value(v), json_string_length(v));
		return;
	case JSON_INTEGER:
		put_integer(t, json_integer_value(v));
		return;
	case JSON_REAL:
		put_real(t, v);
		return;
	case JSON_TRUE:
		put(t, "true", 4);
		return;
	case JSON_FALSE:
		put(t, "false", 5);
		return;
	case JSON_NULL:
		put(t, "null", 4);
		return;
	}
}

char *js_dump(const json_t *doc)
{
	struct text t = {0};

	put_value(&t, doc);
	put_char(&t, '\0');
	return t.data;
}
