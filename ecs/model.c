/* ecs/model.c - the check of a request against its shape
 * SPDX-License-Identifier: Apache-2.0
 *
 * The walk carries the path of the member in a buffer, so that every fault
 * names what it is about: containerDefinitions[0].memory.
 */
#include "ecs/model.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PATH_SIZE 256

struct walk {
	char path[PATH_SIZE];
	struct ecs_fault *fault;
};

static const char *const kind_names[] = {
	[ECS_STRING] = "a String",   [ECS_INTEGER] = "an Integer",
	[ECS_LONG] = "a Long",       [ECS_DOUBLE] = "a Double",
	[ECS_BOOLEAN] = "a Boolean", [ECS_TIMESTAMP] = "a Timestamp",
	[ECS_ENUM] = "a String",     [ECS_STRUCTURE] = "a Structure",
	[ECS_MAP] = "a Map",         [ECS_DOCUMENT] = "a Document",
};

static int check_structure(struct walk *w, const struct ecs_shape *shape, json_t *object);

const struct ecs_operation *ecs_model_find(const struct ecs_model *m, const char *operation)
{
	for (size_t i = 0; i < m->count; i++)
		if (strcmp(m->operations[i].name, operation) == 0)
			return &m->operations[i];
	return NULL;
}

static size_t path_push(struct walk *w, const char *name)
{
	size_t len = strlen(w->path);

	(void)snprintf(w->path + len, PATH_SIZE - len, "%s%s", len ? "." : "", name);
	return len;
}

static size_t path_push_index(struct walk *w, size_t i)
{
	size_t len = strlen(w->path);

	(void)snprintf(w->path + len, PATH_SIZE - len, "[%zu]", i);
	return len;
}

static const char *json_name(const json_t *v)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "START_OBJECT";
	case JSON_ARRAY:
		return "START_ARRAY";
	case JSON_STRING:
		return "STRING_VALUE";
	case JSON_INTEGER:
		return "NUMBER_VALUE";
	case JSON_REAL:
		return "DECIMAL_VALUE";
	case JSON_TRUE:
		return "TRUE_VALUE";
	case JSON_FALSE:
		return "FALSE_VALUE";
	case JSON_NULL:
		return "NULL_VALUE";
	}
	return "";
}

static int wrong_type(struct walk *w, const json_t *v, const char *wanted)
{
	return ecs_fault_set(w->fault, ECS_FAULT_SERIALIZATION, "%s: %s can not be converted to %s",
			     w->path, json_name(v), wanted);
}

static bool has_kind(enum ecs_kind kind, const json_t *v)
{
	switch (kind) {
	case ECS_STRING:
	case ECS_ENUM:
		return json_is_string(v);
	case ECS_INTEGER:
		return json_is_integer(v) && json_integer_value(v) >= INT32_MIN &&
		       json_integer_value(v) <= INT32_MAX;
	case ECS_LONG:
		return json_is_integer(v);
	case ECS_DOUBLE:
	case ECS_TIMESTAMP:
		return json_is_number(v);
	case ECS_BOOLEAN:
		return json_is_boolean(v);
	case ECS_STRUCTURE:
	case ECS_MAP:
		return json_is_object(v);
	case ECS_DOCUMENT:
		return true;
	}
	return false;
}

static int check_enum(struct walk *w, const struct ecs_member *m, const json_t *v)
{
	char values[512] = "";
	size_t len = 0;

	for (const char *const *p = m->values; *p; p++) {
		if (strcmp(*p, json_string_value(v)) == 0)
			return 0;
		len += (size_t)snprintf(values + len, sizeof(values) - len, "%s%s", len ? ", " : "",
					*p);
		if (len >= sizeof(values))
			len = sizeof(values) - 1;
	}
	return ecs_fault_set(w->fault, ECS_FAULT_INVALID_PARAMETER,
			     "Invalid value '%.100s' for %s. It must be one of: %s",
			     json_string_value(v), w->path, values);
}

static int check_map(struct walk *w, json_t *map)
{
	const char *key;
	json_t *value;

	json_object_foreach (map, key, value) {
		if (!json_is_string(value)) {
			(void)path_push(w, key);
			return wrong_type(w, value, "a String");
		}
	}
	return 0;
}

static int check_bounds(struct walk *w, const struct ecs_member *m, double value, const char *of)
{
	if (!m->bounded || (value >= m->min && value <= m->max))
		return 0;
	return ecs_fault_set(w->fault, ECS_FAULT_INVALID_PARAMETER,
			     "%s%s is %.17g. It must be from %.17g to %.17g", of, w->path, value,
			     m->min, m->max);
}

static int check_value(struct walk *w, const struct ecs_member *m, json_t *v)
{
	if (!has_kind(m->kind, v))
		return wrong_type(w, v, kind_names[m->kind]);

	switch (m->kind) {
	case ECS_ENUM:
		return check_enum(w, m, v);
	case ECS_STRUCTURE:
		return check_structure(w, m->shape, v);
	case ECS_MAP:
		return check_map(w, v);
	case ECS_INTEGER:
	case ECS_LONG:
	case ECS_DOUBLE:
		return m->list ? 0 : check_bounds(w, m, json_number_value(v), "");
	case ECS_STRING:
	case ECS_BOOLEAN:
	case ECS_TIMESTAMP:
	case ECS_DOCUMENT:
		return 0;
	}
	return 0;
}

static int check_list(struct walk *w, const struct ecs_member *m, json_t *list)
{
	json_t *v;
	size_t i;

	if (!json_is_array(list))
		return wrong_type(w, list, "a List");
	json_array_foreach (list, i, v) {
		size_t len = path_push_index(w, i);

		if (check_value(w, m, v) < 0)
			return -1;
		w->path[len] = '\0';
	}
	return check_bounds(w, m, (double)json_array_size(list), "The number of elements of ");
}

/* A value that asks for nothing. */
static bool says_nothing(const json_t *v)
{
	return json_is_false(v) || (json_is_array(v) && !json_array_size(v)) ||
	       (json_is_object(v) && !json_object_size(v)) ||
	       (json_is_string(v) && !json_string_length(v));
}

static const struct ecs_member *member_named(const struct ecs_shape *shape, const char *name)
{
	for (size_t i = 0; i < shape->count; i++)
		if (strcmp(shape->members[i].name, name) == 0)
			return &shape->members[i];
	return NULL;
}

static int check_member(struct walk *w, const struct ecs_member *m, json_t *v)
{
	if ((m->list ? check_list(w, m, v) : check_value(w, m, v)) < 0)
		return -1;
	if (m->refused && !says_nothing(v))
		return ecs_fault_set(w->fault, ECS_FAULT_CLIENT,
				     "%s is not supported by this version of Berth", w->path);
	return 0;
}

static int check_structure(struct walk *w, const struct ecs_shape *shape, json_t *object)
{
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe (object, next, key, v) {
		const struct ecs_member *m = member_named(shape, key);
		size_t len;

		if (!m || json_is_null(v)) {
			(void)json_object_del(object, key);
			continue;
		}
		len = path_push(w, key);
		if (check_member(w, m, v) < 0)
			return -1;
		w->path[len] = '\0';
		if (m->refused)
			(void)json_object_del(object, key);
	}

	for (size_t i = 0; i < shape->count; i++) {
		if (shape->members[i].required &&
		    !json_object_get(object, shape->members[i].name)) {
			(void)path_push(w, shape->members[i].name);
			return ecs_fault_set(w->fault, ECS_FAULT_INVALID_PARAMETER,
					     "%s should not be null or empty.", w->path);
		}
	}
	return 0;
}

int ecs_model_check(const struct ecs_shape *shape, json_t *request, struct ecs_fault *f)
{
	struct walk w = {.path = "", .fault = f};

	if (!json_is_object(request))
		return ecs_fault_set(f, ECS_FAULT_SERIALIZATION,
				     "%s can not be converted to a Structure", json_name(request));
	return check_structure(&w, shape, request);
}
