/* scheduler/logs_pattern.c - filter patterns of terms
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "scheduler/logs_internal.h"

#define PATTERN_LEN_MAX 1024
#define TERMS_MAX       64

struct term {
	enum { REQUIRED, EXCLUDED, OPTIONAL } kind;
	char *text;
};

struct logs_pattern {
	struct term terms[TERMS_MAX];
	size_t count;
};

static void *invalid(struct logs_pattern *p, struct ecs_fault *f, const char *why)
{
	logs_pattern_free(p);
	(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Invalid filter pattern: %s", why);
	return NULL;
}

/* One term from *text on, which moves behind it; false: a quote is not closed. */
static bool take_term(const char **text, struct term *ret)
{
	const char *p = *text, *end;

	ret->kind = *p == '-' ? EXCLUDED : *p == '?' ? OPTIONAL : REQUIRED;
	p += ret->kind != REQUIRED;
	if (*p == '"') {
		end = strchr(++p, '"');
		if (!end)
			return false;
		*text = end + 1;
	} else {
		end = p + strcspn(p, " ");
		*text = end;
	}
	ret->text = xstrndup(p, (size_t)(end - p));
	return true;
}

struct logs_pattern *logs_pattern_parse(const char *text, struct ecs_fault *f)
{
	struct logs_pattern *p = xcalloc(1, sizeof(*p));

	if (strlen(text) > PATTERN_LEN_MAX)
		return invalid(p, f, "more than 1024 characters");
	text += strspn(text, " ");
	if (*text == '{' || *text == '[' || *text == '%')
		return invalid(p, f,
			       "only patterns of terms are supported by this version of Berth");
	while (*text) {
		if (p->count == TERMS_MAX)
			return invalid(p, f, "more than 64 terms");
		if (!take_term(&text, &p->terms[p->count]))
			return invalid(p, f, "a quote is not closed");
		p->count++;
		text += strspn(text, " ");
	}
	return p;
}

bool logs_pattern_matches(const struct logs_pattern *p, const char *message)
{
	bool wants_optional = false, has_optional = false;

	for (size_t i = 0; i < p->count; i++) {
		bool found = strstr(message, p->terms[i].text) != NULL;

		if (p->terms[i].kind == OPTIONAL) {
			wants_optional = true;
			has_optional |= found;
		} else if (found != (p->terms[i].kind == REQUIRED)) {
			return false;
		}
	}
	return !wants_optional || has_optional;
}

void logs_pattern_free(struct logs_pattern *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		free(p->terms[i].text);
	free(p);
}
