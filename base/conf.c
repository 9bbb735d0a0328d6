/* base/conf.c - configuration files: sections, keys and values, by a table
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/conf.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <string.h>

#include "base/auto.h"

#define NAME_MAX_LEN 64

struct reader {
	enum conf_owner owner;
	const struct conf_key *keys;
	size_t count;
	struct arena *arena;
	char *ret;
	bool *seen;
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

static const struct conf_key *nearest(const struct reader *r, const char *name)
{
	const struct conf_key *best = &r->keys[0];

	for (size_t i = 1; i < r->count; i++)
		if (distance(name, r->keys[i].name) < distance(name, best->name))
			best = &r->keys[i];
	return best;
}

static int on_value(void *ctx, const char *section, const char *name, const char *value)
{
	struct reader *r = ctx;
	const struct conf_key *near;

	if (r->error->code)
		return 0; /* the first error is told; the library reads on */
	for (size_t i = 0; i < r->count; i++) {
		const struct conf_key *k = &r->keys[i];

		if (strcmp(k->section, section) != 0 || strcmp(k->name, name) != 0)
			continue;
		if (r->seen[i]) {
			(void)err_set(r->error, EINVAL, "[%.60s] %.60s stands twice", section,
				      name);
			return 0;
		}
		r->seen[i] = true;
		*(char **)(void *)(r->ret + k->offset) = arena_strdup(r->arena, value);
		return 1;
	}
	if (r->owner == CONF_FOREIGN)
		return 1;
	near = nearest(r, name);
	(void)err_set(r->error, EINVAL, "unknown key [%.60s] %.60s; the nearest is [%s] %s",
		      section, name, near->section, near->name);
	return 0;
}

int conf_read(const char *path, enum conf_owner owner, const struct conf_key *keys, size_t count,
	      struct arena *a, void *ret, struct err *e)
{
	auto_fclose FILE *f = fopen(path, "re");
	auto_free bool *seen = xcalloc(count, sizeof(*seen));
	struct reader r = {.owner = owner,
			   .keys = keys,
			   .count = count,
			   .arena = a,
			   .ret = ret,
			   .seen = seen,
			   .error = e};
	int line;

	if (!f)
		return err_sys(e, "open %s", path);
	e->code = 0;
	line = ini_parse_file(f, on_value, &r);
	if (line == 0)
		return 0;
	if (!e->code)
		(void)err_set(e, EINVAL, "neither a [section] nor key = value");
	return err_wrap(e, "%s line %d", path, line);
}
