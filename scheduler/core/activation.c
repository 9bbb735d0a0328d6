/* scheduler/core/activation.c - activations: what lets new nodes in
 * SPDX-License-Identifier: Apache-2.0
 *
 * An activation is an id, and a code of which only the SHA-256 is kept.  Both
 * together are a join token of Berth's, or what SSM gives out for ECS Anywhere.
 * The code is made by the shell, which knows real randomness, and comes with
 * the request as "_code".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/hash.h"
#include "base/text.h"
#include "scheduler/core/internal.h"

#define LIFE_MS       (24 * 3600 * 1000LL)      /* SSM: 24 hours unless said otherwise */
#define LIFE_MAX_MS   (30 * 24 * 3600 * 1000LL) /* and at most 30 days */
#define NODES_MAX     1000                      /* SSM: of one activation */
#define ACTIVATIONS   50                        /* in one reply */
#define SHOWN_PAST_MS LIFE_MAX_MS               /* how long it is shown that one has expired */

void activation_free(struct activation *a)
{
	record_done(&a->record);
	free(a->id);
	free(a);
}

int activation_load(struct core *c, json_t *own_doc, struct err *e)
{
	const char *id = doc_string(own_doc, "ActivationId");
	struct activation *a;

	if (!id || !doc_string(own_doc, "_code"))
		return err_set(e, EUCLEAN, "is not whole");
	a = xcalloc(1, sizeof(*a));
	a->id = xstrdup(id);
	a->expires_ms = doc_integer(own_doc, "_expires", 0);
	record_init(&a->record, own_doc, "activation/%s", id);
	(void)map_put(&c->activations, id, a);
	return 0;
}

static void hash_code(const char *code, char ret[SHA256_HEX])
{
	unsigned char digest[SHA256_SIZE];

	sha256_of(code, strlen(code), digest);
	hex_encode(digest, sizeof(digest), ret);
}

/* As SSM shows them, and as those of a container instance. */
static void set_tags(json_t *doc, json_t *tags)
{
	json_t *ours = json_array(), *tag;
	size_t i;

	json_array_foreach (tags, i, tag)
		(void)json_array_append_new(ours,
					    json_pack("{s:s*, s:s*}", "key", doc_string(tag, "Key"),
						      "value", doc_string(tag, "Value")));
	(void)json_object_set_new(doc, "_tags", ours);
	if (tags)
		(void)json_object_set(doc, "Tags", tags);
}

static struct activation *make(struct core *c, const json_t *request, int64_t limit,
			       int64_t expires_ms)
{
	char id[37], hash[SHA256_HEX];
	json_t *doc;
	struct err e;

	core_random_uuid(c, id);
	hash_code(doc_string(request, "_code"), hash);
	doc = json_pack("{s:s, s:s, s:I, s:I, s:i, s:s*}", "ActivationId", id, "_code", hash,
			"_expires", (json_int_t)expires_ms, "RegistrationLimit", (json_int_t)limit,
			"RegistrationsCount", 0, "_cluster", doc_string(request, "cluster"));
	doc_set_string(doc, "Description", doc_string(request, "Description"));
	doc_set_string(doc, "DefaultInstanceName", doc_string(request, "DefaultInstanceName"));
	doc_set_string(doc, "IamRole", doc_string(request, "IamRole"));
	doc_set_time(doc, "ExpirationDate", expires_ms);
	doc_set_time(doc, "CreatedDate", c->now_ms);
	set_tags(doc, json_object_get(request, "Tags"));
	(void)activation_load(c, doc, &e);
	record_touch(c, &((struct activation *)map_find(&c->activations, id))->record);
	return map_find(&c->activations, id);
}

/* ---- a node comes with one ---- */

struct activation *activation_find(struct core *c, const char *id, const char *code, struct err *e)
{
	struct activation *a = map_find(&c->activations, id);
	char hash[SHA256_HEX];

	hash_code(code, hash);
	if (!a ||
	    !equal_in_constant_time(hash, doc_string(a->record.doc, "_code"), SHA256_HEX - 1)) {
		(void)err_set(e, EACCES, "the token is not one of this cluster, or was taken back");
		return NULL;
	}
	return a;
}

int activation_use(struct core *c, struct activation *a, struct err *e)
{
	int64_t used = doc_integer(a->record.doc, "RegistrationsCount", 0),
		limit = doc_integer(a->record.doc, "RegistrationLimit", 1);

	if (c->now_ms >= a->expires_ms)
		return err_set(e, EACCES, "the token has expired");
	if (used >= limit)
		return err_set(e, EACCES, "the token has been used by %lld of %lld nodes",
			       (long long)used, (long long)limit);
	(void)json_object_set_new(a->record.doc, "RegistrationsCount", json_integer(used + 1));
	record_touch(c, &a->record);
	return 0;
}

void activations_tick(struct core *c)
{
	struct activation *a;

	for (size_t i = 0; map_next(&c->activations, &i, &a);) {
		if (a->expires_ms + SHOWN_PAST_MS > c->now_ms)
			continue;
		(void)map_remove(&c->activations, a->id);
		record_delete(c, &a->record);
		activation_free(a);
	}
}

/* ---- Berth's own: berth node token ---- */

json_t *create_node_token(struct core *c, json_t *request, struct ecs_fault *f)
{
	int64_t life_ms = doc_integer(request, "expiresInSeconds", LIFE_MS / 1000) * 1000,
		limit = doc_integer(request, "registrationLimit", 1);
	const struct cluster *cl = cluster_of(c, request, f);
	const struct activation *a;

	if (!cl)
		return NULL;
	doc_set_string(request, "cluster", cl->name);
	a = make(c, request, limit, c->now_ms + life_ms);
	return json_pack("{s:o, s:s, s:O}", "token",
			 json_sprintf("%s.%s", a->id, doc_string(request, "_code")), "activationId",
			 a->id, "expiresAt", json_object_get(a->record.doc, "ExpirationDate"));
}

/* ---- SSM ---- */

json_t *create_activation(struct core *c, json_t *request, struct ecs_fault *f)
{
	const json_t *expiration = json_object_get(request, "ExpirationDate");
	int64_t expires_ms = expiration ? (int64_t)(json_number_value(expiration) * 1000)
					: c->now_ms + LIFE_MS;
	const struct activation *a;

	if (expires_ms <= c->now_ms || expires_ms > c->now_ms + LIFE_MAX_MS) {
		(void)ecs_fault_set(f, ECS_FAULT_SSM_INVALID_PARAMETERS,
				    "ExpirationDate must lie within the next 30 days.");
		return NULL;
	}
	a = make(c, request, doc_integer(request, "RegistrationLimit", 1), expires_ms);
	return json_pack("{s:s, s:s}", "ActivationId", a->id, "ActivationCode",
			 doc_string(request, "_code"));
}

json_t *delete_activation(struct core *c, json_t *request, struct ecs_fault *f)
{
	const char *id = doc_string(request, "ActivationId");
	struct activation *a = map_find(&c->activations, id);

	if (!a) {
		(void)ecs_fault_set(f, ECS_FAULT_SSM_INVALID_ACTIVATION,
				    "Activation ID %.100s not found.", id);
		return NULL;
	}
	(void)map_remove(&c->activations, a->id);
	record_delete(c, &a->record);
	activation_free(a);
	return json_object();
}

/* Each filter must hold; of its values, any. */
static bool passes(const struct activation *a, const json_t *filters)
{
	static const struct {
		const char *key, *member;
	} keys[] = {{"ActivationIds", "ActivationId"},
		    {"DefaultInstanceName", "DefaultInstanceName"},
		    {"IamRole", "IamRole"}};
	json_t *filter, *value;
	size_t i, n;

	json_array_foreach ((json_t *)(uintptr_t)filters, i, filter) {
		const char *key = doc_string(filter, "FilterKey"), *is = NULL;
		bool any = false;

		for (size_t k = 0; k < ARRAY_COUNT(keys); k++)
			if (str_eq(key, keys[k].key))
				is = doc_string(a->record.doc, keys[k].member);
		json_array_foreach (json_object_get(filter, "FilterValues"), n, value)
			any |= str_eq(json_string_value(value), is);
		if (!any)
			return false;
	}
	return true;
}

json_t *describe_activations(struct core *c, json_t *request, struct ecs_fault *f)
{
	auto_json json_t *page = json_pack("{s:I, s:s*}", "maxResults",
					   doc_integer(request, "MaxResults", ACTIVATIONS),
					   "nextToken", doc_string(request, "NextToken"));
	json_t *list = json_array(), *reply;
	struct activation *a;

	for (size_t i = 0; map_next(&c->activations, &i, &a);) {
		json_t *doc;

		if (!passes(a, json_object_get(request, "Filters")))
			continue;
		doc = doc_public(a->record.doc, false); /* its tags are "Tags" */
		(void)json_object_set_new(doc, "Expired", json_boolean(c->now_ms >= a->expires_ms));
		(void)json_array_append_new(list, doc);
	}
	reply = page_of_objects(list, page, ACTIVATIONS, "ActivationList", f);
	if (reply && json_object_get(reply, "nextToken")) {
		(void)json_object_set(reply, "NextToken", json_object_get(reply, "nextToken"));
		(void)json_object_del(reply, "nextToken");
	}
	return reply;
}
