/* base/pattern.c - regular expressions of callers (PCRE2)
 * SPDX-License-Identifier: Apache-2.0
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "base/pattern.h"

#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PATTERN_LEN_MAX 1000
#define PATTERN_BYTES   (8 << 10) /* compiled */
#define NESTING         50
#define STEPS           10000
#define STEPS_DEEP      1000
#define MEMORY_KIB      1024

struct pattern {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
	bool gave_up;
};

#define OPTIONS                                                                     \
	(PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | \
	 PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C)

static int compile(const char *text, pcre2_compile_context *context, pcre2_code **ret,
		   struct err *e)
{
	PCRE2_SIZE at = 0, size = 0;
	PCRE2_UCHAR why[120];
	int code;

	*ret = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, OPTIONS, &code, &at, context);
	if (!*ret) {
		(void)pcre2_get_error_message(code, why, sizeof(why));
		return err_set(e, EINVAL, "%s, at character %zu", (const char *)why, at + 1);
	}
	(void)pcre2_pattern_info(*ret, PCRE2_INFO_SIZE, &size);
	if (size <= PATTERN_BYTES)
		return 0;
	pcre2_code_free(*ret);
	return err_set(e, EINVAL, "it is too large");
}

int pattern_parse(const char *text, struct pattern **ret, struct err *e)
{
	pcre2_compile_context *context;
	struct pattern *p;
	pcre2_code *code;
	int r;

	if (strlen(text) > PATTERN_LEN_MAX)
		return err_set(e, EINVAL, "it is longer than %d bytes", PATTERN_LEN_MAX);
	context = pcre2_compile_context_create(NULL);
	(void)pcre2_set_parens_nest_limit(context, NESTING);
	r = compile(text, context, &code, e);
	pcre2_compile_context_free(context);
	if (r < 0)
		return r;
	p = xcalloc(1, sizeof(*p));
	p->code = code;
	p->match = pcre2_match_data_create(1, NULL);
	p->limits = pcre2_match_context_create(NULL);
	(void)pcre2_set_match_limit(p->limits, STEPS);
	(void)pcre2_set_depth_limit(p->limits, STEPS_DEEP);
	(void)pcre2_set_heap_limit(p->limits, MEMORY_KIB);
	*ret = p;
	return 0;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	pcre2_match_context_free(p->limits);
	pcre2_match_data_free(p->match);
	pcre2_code_free(p->code);
	free(p);
}

bool pattern_matches(struct pattern *p, const char *text)
{
	int r;

	if (p->gave_up)
		return false;
	r = pcre2_match(p->code, (PCRE2_SPTR)text, strlen(text), 0, 0, p->match, p->limits);
	p->gave_up = r < 0 && r != PCRE2_ERROR_NOMATCH;
	return r >= 0;
}

bool pattern_gave_up(const struct pattern *p)
{
	return p->gave_up;
}
