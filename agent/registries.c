/* agent/registries.c - where images come from: mirrors and registries, as configured
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sources of an image are the mirrors of its registry, in the order of berth.conf,
 * and the registry itself.  A mirror is asked as its own section says, and with its
 * own credentials.
 */
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"

static const struct agent_registry *registry_of(const struct agent_options *o, const char *host,
						size_t len)
{
	for (size_t i = 0; i < o->registry_count; i++)
		if (strlen(o->registries[i].host) == len &&
		    strncmp(o->registries[i].host, host, len) == 0)
			return &o->registries[i];
	return NULL;
}

static void take_ways(const struct agent_registry *r, struct image_source *s)
{
	if (!r)
		return;
	s->ca_file = r->ca_file;
	s->certificate_file = r->certificate_file;
	s->key_file = r->key_file;
	s->insecure = r->insecure;
}

/* What the files know of the name below which the image stands there. */
static int take_credential(const struct agent_options *o, const char *reference, struct sources *s,
			   struct err *e)
{
	struct credential *c = &s->credentials[s->count];

	if (credential_find(o, reference, c, e) < 0)
		return -e->code;
	s->items[s->count].username = c->username;
	s->items[s->count].password = c->password;
	s->asks |= c->helper != NULL;
	return 0;
}

static int add_mirror(const struct agent_options *o, const char *location, const char *repository,
		      struct sources *s, struct err *e)
{
	auto_free char *reference = xasprintf("%s/%s", location, repository);
	struct image_source *item = &s->items[s->count];

	item->location = location;
	take_ways(registry_of(o, location, strcspn(location, "/")), item);
	if (take_credential(o, reference, s, e) < 0)
		return -e->code;
	s->count++;
	return 0;
}

static int add_itself(const struct agent_options *o, const struct agent_registry *r,
		      const char *reference, const char *username, const char *password,
		      struct sources *s, struct err *e)
{
	struct image_source *item = &s->items[s->count];

	take_ways(r, item);
	if (username) {
		s->credentials[s->count].username = xstrdup(username);
		s->credentials[s->count].password = xstrdup(password ? password : "");
		item->username = s->credentials[s->count].username;
		item->password = s->credentials[s->count].password;
	} else if (take_credential(o, reference, s, e) < 0) {
		return -e->code;
	}
	s->count++;
	return 0;
}

int sources_find(const struct agent_options *o, const char *reference, const char *username,
		 const char *password, struct sources *ret, struct err *e)
{
	char host[IMAGE_HOST_SIZE], name[IMAGE_NAME_SIZE];
	const struct agent_registry *r;

	memset(ret, 0, sizeof(*ret));
	if (image_name_of(reference, host, name, e) < 0)
		return -e->code;
	r = registry_of(o, host, strlen(host));
	for (size_t i = 0; r && i < r->mirror_count; i++)
		if (add_mirror(o, r->mirrors[i], name + strlen(host) + 1, ret, e) < 0)
			return -e->code;
	ret->tags_at_last = r && r->tags_at_last;
	return add_itself(o, r, reference, username, password, ret, e);
}

int sources_ask(struct sources *s, struct err *e)
{
	for (size_t i = 0; i < s->count; i++) {
		struct credential *c = &s->credentials[i];

		if (c->helper && credential_ask(c, e) < 0)
			return -e->code;
		s->items[i].username = c->username;
		s->items[i].password = c->password;
	}
	return 0;
}

void sources_done(struct sources *s)
{
	for (size_t i = 0; i < ARRAY_COUNT(s->credentials); i++)
		credential_done(&s->credentials[i]);
	s->count = 0;
}
