/* scheduler/core/doc.c - small things about documents
 * SPDX-License-Identifier: Apache-2.0
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

void uuid_of_digits(const char digits[UUID_DIGITS + 1], char ret[37])
{
	static const char form[] = "xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx";

	for (size_t i = 0, n = 0; i < sizeof(form); i++)
		ret[i] = form[i] == 'x' ? digits[n++] : form[i];
}

const char *doc_string(const json_t *doc, const char *name)
{
	return json_string_value(json_object_get(doc, name));
}

int64_t doc_integer(const json_t *doc, const char *name, int64_t otherwise)
{
	const json_t *v = json_object_get(doc, name);

	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

bool doc_true(const json_t *doc, const char *name)
{
	return json_is_true(json_object_get(doc, name));
}

void doc_set_string(json_t *doc, const char *name, const char *value)
{
	if (value)
		(void)json_object_set_new(doc, name, json_string(value));
}

void doc_set_time(json_t *doc, const char *name, int64_t ms)
{
	if (ms)
		(void)json_object_set_new(doc, name, json_real((double)ms / 1000));
}

bool doc_includes(const json_t *request, const char *what)
{
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(request, "include"), i, v)
		if (str_eq(json_string_value(v), what))
			return true;
	return false;
}

json_t *doc_public(const json_t *doc, bool tags)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)doc), *value;
	const char *key;
	void *next;

	json_object_foreach_safe (copy, next, key, value)
		if (key[0] == '_' || (!tags && strcmp(key, "tags") == 0))
			(void)json_object_del(copy, key);
	if (tags && !json_object_get(copy, "tags"))
		(void)json_object_set_new(copy, "tags", json_array());
	return copy;
}

json_t *doc_failure(const char *arn, const char *reason)
{
	return json_pack("{s:s, s:s}", "arn", arn, "reason", reason);
}

/* ---- pages ---- */

void page_add(struct page *p, const char *name)
{
	p->names = xgrow(p->names, p->count, &p->capacity, sizeof(*p->names));
	p->names[p->count++] = xstrdup(name);
}

void page_done(struct page *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->names[i]);
	free(p->names);
}

struct sorting {
	int (*compare)(const char *, const char *);
	bool descending;
};

static int compare_names(const void *a, const void *b, void *ctx)
{
	const struct sorting *order = ctx;
	int r = order->compare(*(char *const *)a, *(char *const *)b);

	return order->descending ? -r : r;
}

/* ---- the part of many names that one page has ---- */

static void swap_names(char **a, char **b)
{
	char *kept = *a;

	*a = *b;
	*b = kept;
}

/* Only those behind a name. */
static void drop_until(struct page *p, char *after, struct sorting *order)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->count; i++)
		if (compare_names(&p->names[i], &after, order) > 0)
			swap_names(&p->names[kept++], &p->names[i]);
	for (size_t i = kept; i < p->count; i++)
		free(p->names[i]);
	p->count = kept;
}

/* The last one of a heap is its first element. */
static void sift(char **heap, size_t count, size_t at, struct sorting *order)
{
	for (size_t child; (child = 2 * at + 1) < count; at = child) {
		if (child + 1 < count && compare_names(&heap[child], &heap[child + 1], order) < 0)
			child++;
		if (compare_names(&heap[at], &heap[child], order) >= 0)
			return;
		swap_names(&heap[at], &heap[child]);
	}
}

/* The first 'limit' of them, sorted, are in front: a page is small, and a cluster may be large. */
static void sort_first(struct page *p, size_t limit, struct sorting *order)
{
	size_t count = p->count < limit ? p->count : limit;

	for (size_t i = count / 2; i; i--)
		sift(p->names, count, i - 1, order);
	for (size_t i = count; i < p->count; i++) {
		if (compare_names(&p->names[i], &p->names[0], order) >= 0)
			continue;
		swap_names(&p->names[0], &p->names[i]);
		sift(p->names, count, 0, order);
	}
	if (count)
		qsort_r(p->names, count, sizeof(*p->names), compare_names, order);
}

/* A token is "MEMBER:" and where the next page of it begins. */
static char *make_token(const char *member, const char *place)
{
	auto_free char *text = xasprintf("%s:%s", member, place);

	return base64_encode(text, strlen(text));
}

int page_after(const json_t *request, const char *member, char **ret, struct ecs_fault *f)
{
	const char *token = doc_string(request, "nextToken");
	const size_t len = strlen(member);
	auto_free char *text = NULL;
	size_t size;

	*ret = NULL;
	if (!token)
		return 0;
	text = (char *)base64_decode(token, &size);
	if (!text || strlen(text) != size || !str_starts(text, member) || text[len] != ':' ||
	    !text[len + 1])
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Invalid token.");
	*ret = xstrdup(text + len + 1);
	return 0;
}

static int fill_page(struct page *p, const json_t *request, bool descending,
		     int (*compare)(const char *, const char *), const char *member, json_t *reply,
		     struct ecs_fault *f)
{
	struct sorting order = {compare, descending};
	int64_t limit = doc_integer(request, "maxResults", PAGE_MAX);
	auto_free char *after = NULL;
	json_t *list = json_array();
	size_t i;

	(void)json_object_set_new(reply, member, list);
	if (limit < 1 || limit > PAGE_MAX)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "maxResults must be between 1 and %d.", PAGE_MAX);
	if (page_after(request, member, &after, f) < 0)
		return -1;

	if (after)
		drop_until(p, after, &order);
	sort_first(p, (size_t)limit, &order);
	for (i = 0; i < p->count && i < (size_t)limit; i++)
		(void)json_array_append_new(list, json_string(p->names[i]));
	if (i < p->count) {
		auto_free char *next = make_token(member, p->names[i - 1]);

		doc_set_string(reply, "nextToken", next);
	}
	return 0;
}

json_t *page_reply(struct page *p, const json_t *request, bool descending,
		   int (*compare)(const char *, const char *), const char *member,
		   struct ecs_fault *f)
{
	json_t *reply = json_object();
	int r = fill_page(p, request, descending, compare, member, reply, f);

	page_done(p);
	if (r == 0)
		return reply;
	json_decref(reply);
	return NULL;
}

/* ---- pages of objects ---- */

json_t *page_of_objects(json_t *own_list, const json_t *request, int64_t most, const char *member,
			struct ecs_fault *f)
{
	auto_json json_t *list = own_list;
	int64_t limit = doc_integer(request, "maxResults", most);
	auto_free char *after = NULL;
	json_t *page, *reply;
	uint32_t first = 0;
	size_t i;

	if (limit < 1 || limit > most) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "maxResults must be between 1 and %" PRId64 ".", most);
		return NULL;
	}
	if (page_after(request, member, &after, f) < 0)
		return NULL;
	if (after && !parse_u32(after, UINT32_MAX, &first)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Invalid token.");
		return NULL;
	}
	page = json_array();
	reply = json_pack("{s:o}", member, page);
	for (i = first; i < json_array_size(list) && limit; i++, limit--)
		(void)json_array_append(page, json_array_get(list, i));
	if (i < json_array_size(list)) {
		auto_free char *place = xasprintf("%zu", i);
		auto_free char *next = make_token(member, place);

		doc_set_string(reply, "nextToken", next);
	}
	return reply;
}
