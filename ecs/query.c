/* ecs/query.c - the query protocol of EC2: a form comes in, XML goes out
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sources: "Query requests for Amazon EC2" and "Error codes for the Amazon EC2
 * API" of the EC2 API reference; where lists are written, the protocol "ec2"
 * of the AWS SDKs.
 */
#include "ecs/query.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"

#define XML_NAMESPACE "http://ec2.amazonaws.com/doc/2016-11-15/"
#define XML_MAX       (64 << 20) /* bytes of a reply */
#define NAME_MAX_LEN  256

/* ---- the form ---- */

/* Take the escapes out, in place; -1: a broken one, or a NUL. */
static int unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		unsigned char byte;

		if (*s == '+') {
			*out++ = ' ';
		} else if (*s != '%') {
			*out++ = *s;
		} else {
			char digits[3] = {s[1], s[1] ? s[2] : '\0', '\0'};

			if (!hex_decode(digits, &byte, 1) || !byte)
				return -1;
			*out++ = (char)byte;
			s += 2;
		}
	}
	*out = '\0';
	return 0;
}

static int bad_name(const char *name, struct ecs_fault *f)
{
	return ecs_fault_set(f, ECS_FAULT_EC2_UNKNOWN_PARAMETER,
			     "The parameter %.200s is not recognized", name);
}

/* "A.1.B" = value, into the tree. */
static int plant(json_t *tree, const char *name, const char *value, struct ecs_fault *f)
{
	char words[NAME_MAX_LEN], *rest = words, *word;
	unsigned depth = 0;

	if (strlen(name) >= sizeof(words))
		return bad_name(name, f);
	(void)snprintf(words, sizeof(words), "%s", name);
	while ((word = strsep(&rest, "."))) {
		json_t *next = json_object_get(tree, word);

		if (!*word || ++depth > ECS_QUERY_DEPTH_MAX || (next && !rest) ||
		    (next && !json_is_object(next)))
			return bad_name(name, f);
		if (!next) {
			next = rest ? json_object() : js_string(value, strlen(value));
			(void)json_object_set_new(tree, word, next);
		}
		tree = next;
	}
	return 0;
}

int ecs_query_parse(const char *body, size_t size, json_t **ret, struct ecs_fault *f)
{
	auto_json json_t *tree = json_object();
	auto_free char *text = xstrndup(body, size);
	char *rest = text, *field;
	size_t count = 0;

	if (strlen(text) != size)
		return ecs_fault_set(f, ECS_FAULT_EC2_MALFORMED, "The request has a NUL in it.");
	while ((field = strsep(&rest, "&"))) {
		char *value = strchr(field, '=');

		if (!*field)
			continue;
		if (++count > ECS_QUERY_FIELDS_MAX)
			return ecs_fault_set(f, ECS_FAULT_EC2_MALFORMED,
					     "The request has more than %d parameters.",
					     ECS_QUERY_FIELDS_MAX);
		if (value)
			*value++ = '\0';
		else
			value = field + strlen(field);
		if (unescape(field) < 0 || unescape(value) < 0)
			return ecs_fault_set(f, ECS_FAULT_EC2_MALFORMED,
					     "The request has a broken escape.");
		if (plant(tree, field, value, f) < 0)
			return -1;
	}
	*ret = take_ptr(tree);
	return 0;
}

/* ---- the form, by its shape ---- */

static json_t *take_structure(const struct ecs_shape *shape, const json_t *tree, const char *path,
			      struct ecs_fault *f);

static json_t *wrong_value(const char *path, const char *value, struct ecs_fault *f)
{
	(void)ecs_fault_set(f, ECS_FAULT_EC2_INVALID_VALUE,
			    "Invalid value '%.200s' for parameter %s", value, path);
	return NULL;
}

static json_t *take_number(const struct ecs_member *m, const char *path, const char *value,
			   struct ecs_fault *f)
{
	int64_t min = m->kind == ECS_LONG ? INT64_MIN : INT32_MIN,
		max = m->kind == ECS_LONG ? INT64_MAX : INT32_MAX, n;

	if (!parse_i64(value, min, max, &n) ||
	    (m->bounded && ((double)n < m->min || (double)n > m->max)))
		return wrong_value(path, value, f);
	return json_integer(n);
}

static json_t *take_enum(const struct ecs_member *m, const char *path, const char *value,
			 struct ecs_fault *f)
{
	for (const char *const *p = m->values; *p; p++)
		if (strcmp(*p, value) == 0)
			return json_string(value);
	return wrong_value(path, value, f);
}

static json_t *take_value(const struct ecs_member *m, const json_t *v, const char *path,
			  struct ecs_fault *f)
{
	const char *value = json_string_value(v);

	if (m->kind == ECS_STRUCTURE && json_is_object(v))
		return take_structure(m->shape, v, path, f);
	if (m->kind == ECS_STRUCTURE || !value) {
		(void)bad_name(path, f);
		return NULL;
	}
	switch (m->kind) {
	case ECS_INTEGER:
	case ECS_LONG:
		return take_number(m, path, value, f);
	case ECS_BOOLEAN:
		if (strcasecmp(value, "true") == 0 || strcasecmp(value, "false") == 0)
			return json_boolean(tolower((unsigned char)value[0]) == 't');
		return wrong_value(path, value, f);
	case ECS_ENUM:
		return take_enum(m, path, value, f);
	case ECS_STRING:
	case ECS_DOUBLE:
	case ECS_TIMESTAMP:
	case ECS_STRUCTURE:
	case ECS_MAP:
	case ECS_DOCUMENT:
		return json_string(value);
	}
	return NULL;
}

/* The elements of a list: "1", "2", and so on without a gap. */
static json_t *take_list(const struct ecs_member *m, const json_t *v, const char *path,
			 struct ecs_fault *f)
{
	auto_json json_t *list = json_array();
	char word[24], element[2 * NAME_MAX_LEN];

	for (size_t i = 1; i <= json_object_size(v); i++) {
		json_t *value;

		(void)snprintf(word, sizeof(word), "%zu", i);
		(void)snprintf(element, sizeof(element), "%.*s.%s", NAME_MAX_LEN, path, word);
		value = json_object_get(v, word);
		if (!value) {
			(void)ecs_fault_set(
				f, ECS_FAULT_EC2_MALFORMED,
				"The elements of %s are not counted from 1 on: there is "
				"no %s",
				path, element);
			return NULL;
		}
		value = take_value(m, value, element, f);
		if (!value)
			return NULL;
		(void)json_array_append_new(list, value);
	}
	return take_ptr(list);
}

static const struct ecs_member *member_named(const struct ecs_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->count; i++)
		if (strcmp(shape->members[i].name, name) == 0)
			return &shape->members[i];
	return NULL;
}

static json_t *take_member(const struct ecs_shape *shape, const char *name, const json_t *v,
			   const char *path, struct ecs_fault *f)
{
	const struct ecs_member *m = member_named(shape, name);

	if (!m || (m->list && !json_is_object(v))) {
		(void)bad_name(path, f);
		return NULL;
	}
	if (m->refused) {
		(void)ecs_fault_set(f, ECS_FAULT_EC2_UNSUPPORTED,
				    "%s is not supported by this version of Berth", path);
		return NULL;
	}
	return m->list ? take_list(m, v, path, f) : take_value(m, v, path, f);
}

static json_t *take_structure(const struct ecs_shape *shape, const json_t *tree, const char *path,
			      struct ecs_fault *f)
{
	auto_json json_t *object = json_object();
	json_t *members = (json_t *)(uintptr_t)tree, *v;
	const char *name;

	json_object_foreach (members, name, v) {
		char member[2 * NAME_MAX_LEN];
		json_t *value;

		(void)snprintf(member, sizeof(member), "%.*s%s%.*s", NAME_MAX_LEN - 2, path,
			       *path ? "." : "", NAME_MAX_LEN, name);
		value = take_member(shape, name, v, member, f);
		if (!value)
			return NULL;
		(void)json_object_set_new(object, name, value);
	}
	for (size_t i = 0; i < shape->count; i++) {
		const struct ecs_member *m = &shape->members[i];

		if (m->required && !json_object_get(object, m->name)) {
			(void)ecs_fault_set(f, ECS_FAULT_EC2_MISSING_PARAMETER,
					    "The request must contain the parameter %s%s%s", path,
					    *path ? "." : "", m->name);
			return NULL;
		}
	}
	return take_ptr(object);
}

int ecs_query_check(const struct ecs_shape *shape, const json_t *tree, json_t **ret,
		    struct ecs_fault *f)
{
	auto_json json_t *members = json_copy((json_t *)(uintptr_t)tree);

	(void)json_object_del(members, "Action");
	(void)json_object_del(members, "Version");
	*ret = take_structure(shape, members, "", f);
	return *ret ? 0 : -1;
}

/* ---- XML ---- */

static void put_text(struct buf *b, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '&':
			buf_puts(b, "&amp;");
			break;
		case '<':
			buf_puts(b, "&lt;");
			break;
		case '>':
			buf_puts(b, "&gt;");
			break;
		case '\r': /* as it is it would be read as '\n' */
			buf_puts(b, "&#13;");
			break;
		case '\xef':
			/* XML 1.0 has all characters but U+FFFE and U+FFFF: they become U+FFFD. */
			if (s[1] == '\xbf' && (s[2] == '\xbe' || s[2] == '\xbf')) {
				buf_puts(b, "\xef\xbf\xbd");
				s += 2;
				break;
			}
			buf_putc(b, *s);
			break;
		default:
			/* Nor does it know other control characters. */
			buf_putc(b, (unsigned char)*s < ' ' && !strchr("\t\n", *s) ? ' ' : *s);
		}
	}
}

static void put_members(struct buf *b, const json_t *object);

static void put_element(struct buf *b, const char *name, const json_t *v)
{
	const json_t *item;
	size_t i;

	buf_printf(b, "<%s>", name);
	if (json_is_object(v))
		put_members(b, v);
	else if (json_is_string(v))
		put_text(b, json_string_value(v));
	else if (json_is_integer(v))
		buf_printf(b, "%lld", (long long)json_integer_value(v));
	else if (json_is_boolean(v))
		buf_puts(b, json_is_true(v) ? "true" : "false");
	json_array_foreach (v, i, item)
		put_element(b, "item", item);
	buf_printf(b, "</%s>", name);
}

static void put_members(struct buf *b, const json_t *object)
{
	json_t *members = (json_t *)(uintptr_t)object, *v;
	const char *name;

	json_object_foreach (members, name, v) {
		put_element(b, name, v);
	}
}

static char *finish(struct buf *b)
{
	return xstrdup(buf_str(b));
}

char *ecs_query_reply(const char *operation, const char *request_id, const json_t *reply)
{
	auto_buf struct buf b = BUF_INIT(XML_MAX);

	buf_printf(&b,
		   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		   "<%sResponse xmlns=\"" XML_NAMESPACE "\"><requestId>%s</requestId>",
		   operation, request_id);
	put_members(&b, reply);
	buf_printf(&b, "</%sResponse>", operation);
	return finish(&b);
}

char *ecs_query_fault(const char *request_id, const struct ecs_fault *f)
{
	auto_buf struct buf b = BUF_INIT(XML_MAX);
	/* A value that is cut off may end within a character. */
	auto_json json_t *message = js_string(f->message, strlen(f->message));

	buf_printf(&b,
		   "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		   "<Response><Errors><Error><Code>%s</Code><Message>",
		   ecs_fault_name(f->type));
	put_text(&b, json_string_value(message));
	buf_printf(&b, "</Message></Error></Errors><RequestID>%s</RequestID></Response>",
		   request_id);
	return finish(&b);
}
