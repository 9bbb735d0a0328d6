/* base/conf.c - configuration files: sections, keys and values, by a table
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/conf.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"

#define NAME_MAX_LEN 64

struct reader {
	enum conf_owner owner;
	const struct conf_key *keys;
	size_t count;
	struct arena *arena;
	char *ret;
	bool *seen;
	struct conf_group *group; /* NULL: none */
	bool *group_seen;         /* of the last item */
	struct err *error;
};

/* Edits that make one word of another (Levenshtein). */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_LEN + 1], len = strlen(b);

	if (len > NAME_MAX_LEN)
		return len;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t corner = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < len; j++) {
			size_t swap = corner + (a[i] != b[j]),
			       less = row[j] < row[j + 1] ? row[j] : row[j + 1];

			corner = row[j + 1];
			row[j + 1] = swap < less + 1 ? swap : less + 1;
		}
	}
	return row[len];
}

static const struct conf_key *nearest(const struct conf_key *keys, size_t count, const char *name)
{
	const struct conf_key *best = &keys[0];

	for (size_t i = 1; i < count; i++)
		if (distance(name, keys[i].name) < distance(name, best->name))
			best = &keys[i];
	return best;
}

/* ---- one line ---- */

/* Whose keys a line of this section has, and where their values go. */
struct place {
	const struct conf_key *keys;
	size_t count;
	const char *section; /* as the keys know it */
	bool *seen;
	char *into;
};

static struct place own_place(const struct reader *r, const char *section)
{
	return (struct place){r->keys, r->count, section, r->seen, r->ret};
}

/* "registry ghcr.io": a new item of the group, or the last one. */
static int group_place(struct reader *r, const char *section, struct place *ret)
{
	struct conf_group *g = r->group;
	const char *name = section + strlen(g->word) + 1;
	char *item = NULL;

	name += strspn(name, " ");
	for (size_t i = 0; i < g->count; i++) {
		char *have = (char *)g->items + i * g->item_size;

		if (strcmp(*(char **)(void *)(have + g->name_offset), name) == 0)
			item = have;
	}
	if (!item) {
		if (!*name || g->count == CONF_ITEMS_MAX)
			return err_set(r->error, EINVAL,
				       "[%.60s]: a name, and at most %d such sections", section,
				       CONF_ITEMS_MAX);
		g->items = xgrow(g->items, g->count, &g->capacity, g->item_size);
		item = (char *)g->items + g->count++ * g->item_size;
		memset(item, 0, g->item_size);
		*(char **)(void *)(item + g->name_offset) = arena_strdup(r->arena, name);
		memset(r->group_seen, 0, g->key_count * sizeof(bool));
	} else if (item != (char *)g->items + (g->count - 1) * g->item_size) {
		return err_set(r->error, EINVAL, "[%.60s] stands twice", section);
	}
	*ret = (struct place){g->keys, g->key_count, g->word, r->group_seen, item};
	return 0;
}

static bool is_of_group(const struct reader *r, const char *section)
{
	size_t len = r->group ? strlen(r->group->word) : 0;

	return len && str_starts(section, r->group->word) &&
	       (section[len] == ' ' || section[len] == '\0');
}

static int take_value(const struct reader *r, const struct place *p, const char *section,
		      const char *name, const char *value)
{
	const struct conf_key *near;

	for (size_t i = 0; i < p->count; i++) {
		const struct conf_key *k = &p->keys[i];

		if (strcmp(k->section, p->section) != 0 || strcmp(k->name, name) != 0)
			continue;
		if (p->seen[i])
			return err_set(r->error, EINVAL, "[%.60s] %.60s stands twice", section,
				       name);
		p->seen[i] = true;
		*(char **)(void *)(p->into + k->offset) = arena_strdup(r->arena, value);
		return 0;
	}
	if (r->owner == CONF_FOREIGN)
		return 0;
	near = nearest(p->keys, p->count, name);
	return err_set(r->error, EINVAL, "unknown key [%.60s] %.60s; the nearest is [%s] %s",
		       section, name, near->section, near->name);
}

static int on_value(void *ctx, const char *section, const char *name, const char *value)
{
	struct reader *r = ctx;
	struct place place = own_place(r, section);

	if (r->error->code)
		return 0; /* the first error is told; the library reads on */
	if (is_of_group(r, section) && group_place(r, section, &place) < 0)
		return 0;
	return take_value(r, &place, section, name, value) == 0;
}

static int read_file(const char *path, struct reader *r, struct err *e)
{
	auto_fclose FILE *f = fopen(path, "re");
	auto_free bool *seen = xcalloc(r->count, sizeof(*seen));
	auto_free bool *group_seen = xcalloc(r->group ? r->group->key_count : 1, sizeof(bool));
	int line;

	r->seen = seen;
	r->group_seen = group_seen;
	r->error = e;

	if (!f)
		return err_sys(e, "open %s", path);
	e->code = 0;
	line = ini_parse_file(f, on_value, r);
	if (line == 0)
		return 0;
	if (!e->code)
		(void)err_set(e, EINVAL, "neither a [section] nor key = value");
	return err_wrap(e, "%s line %d", path, line);
}

int conf_read(const char *path, enum conf_owner owner, const struct conf_key *keys, size_t count,
	      struct arena *a, void *ret, struct err *e)
{
	struct reader r = {.owner = owner, .keys = keys, .count = count, .arena = a, .ret = ret};

	return read_file(path, &r, e);
}

int conf_read_groups(const char *path, const struct conf_key *keys, size_t count,
		     struct conf_group *group, struct arena *a, void *ret, struct err *e)
{
	struct reader r = {.owner = CONF_OURS,
			   .keys = keys,
			   .count = count,
			   .arena = a,
			   .ret = ret,
			   .group = group};

	return read_file(path, &r, e);
}
