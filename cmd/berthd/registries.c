/* cmd/berthd/registries.c - sections [registry HOST] of berth.conf
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berthd/registries.h"

#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/image.h"

static const struct conf_key keys[] = {
	{"registry", "mirrors", offsetof(struct registry_config, mirrors)},
	{"registry", "mirrors-for-tags", offsetof(struct registry_config, mirrors_for_tags)},
	{"registry", "insecure", offsetof(struct registry_config, insecure)},
	{"registry", "ca-file", offsetof(struct registry_config, ca_file)},
	{"registry", "client-certificate", offsetof(struct registry_config, certificate_file)},
	{"registry", "client-key", offsetof(struct registry_config, key_file)},
};

const struct conf_group registries_group = {
	.word = "registry",
	.keys = keys,
	.key_count = ARRAY_COUNT(keys),
	.item_size = sizeof(struct registry_config),
	.name_offset = offsetof(struct registry_config, host),
};

static int parse_yes(const char *key, const char *text, bool usual, bool *ret, struct err *e)
{
	*ret = text ? str_eq(text, "yes") : usual;
	if (text && !*ret && !str_eq(text, "no"))
		return err_set(e, EINVAL, "%s '%.60s' is neither yes nor no", key, text);
	return 0;
}

/* As Docker writes them, "https://mirror.example/", they are fine, too. */
static int parse_mirrors(const char *text, struct arena *a, struct agent_registry *r, struct err *e)
{
	char *rest = text ? arena_strdup(a, text) : NULL, *word;

	while (rest && (word = strsep(&rest, ", "))) {
		size_t len;

		if (!*word)
			continue;
		if (str_starts(word, "https://"))
			word += strlen("https://");
		len = strlen(word);
		if (len && word[len - 1] == '/')
			word[len - 1] = '\0';
		if (r->mirror_count == AGENT_MIRRORS_MAX)
			return err_set(e, EINVAL, "more than %d", AGENT_MIRRORS_MAX);
		if (image_check_location(word, e) < 0)
			return -e->code;
		r->mirrors[r->mirror_count++] = word;
	}
	return 0;
}

static int parse_path(const char *key, const char *text, const char **ret, struct err *e)
{
	*ret = text;
	if (text && text[0] != '/')
		return err_set(e, EINVAL, "%s '%.200s' is not an absolute path", key, text);
	return 0;
}

static int parse_host(const char *host, struct err *e)
{
	if (strchr(host, '/') || image_check_location(host, e) < 0)
		return err_set(e, EINVAL, "'%.200s' is no HOST[:PORT] of a registry", host);
	return 0;
}

static int parse(const struct registry_config *c, struct arena *a, struct agent_registry *r,
		 struct err *e)
{
	bool for_tags;

	r->host = c->host;
	if (parse_host(c->host, e) < 0)
		return -e->code;
	if (parse_mirrors(c->mirrors, a, r, e) < 0)
		return err_wrap(e, "mirrors");
	if (parse_yes("mirrors-for-tags", c->mirrors_for_tags, true, &for_tags, e) < 0 ||
	    parse_yes("insecure", c->insecure, false, &r->insecure, e) < 0 ||
	    parse_path("ca-file", c->ca_file, &r->ca_file, e) < 0 ||
	    parse_path("client-certificate", c->certificate_file, &r->certificate_file, e) < 0 ||
	    parse_path("client-key", c->key_file, &r->key_file, e) < 0)
		return -e->code;
	r->tags_at_last = !for_tags;
	if (!c->certificate_file != !c->key_file)
		return err_set(e, EINVAL, "client-certificate and client-key: both or none");
	return 0;
}

int registries_parse(const struct registry_config *items, size_t count, struct arena *a,
		     const struct agent_registry **ret, struct err *e)
{
	struct agent_registry *r = arena_alloc(a, (count + 1) * sizeof(*r));

	memset(r, 0, (count + 1) * sizeof(*r));
	for (size_t i = 0; i < count; i++)
		if (parse(&items[i], a, &r[i], e) < 0)
			return err_wrap(e, "[registry %.100s]", items[i].host);
	*ret = r;
	return 0;
}
