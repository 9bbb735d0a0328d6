/* cmd/berthd/cleanup.c - settings about images that a node pulls and lets go
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berthd/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/image.h"

#define KEEP_MAX       1000
#define HIGH_WATER_MAX 99
#define DURATION_S_MAX (365LL * 86400)

/* ---- the environment ---- */

static bool is_true(const char *text)
{
	return str_eq(text, "true") || str_eq(text, "1") || str_eq(text, "yes");
}

void cleanup_take_environment(struct config *c, struct arena *a)
{
	const struct {
		const char *name;
		char **into;
	} texts[] = {
		{"ECS_IMAGE_PULL_BEHAVIOR", &c->pull_behavior},
		{"ECS_IMAGE_CLEANUP_INTERVAL", &c->image_cleanup_interval},
		{"ECS_IMAGE_MINIMUM_CLEANUP_AGE", &c->image_cleanup_age},
		{"ECS_NUM_IMAGES_DELETE_PER_CYCLE", &c->image_cleanup_count},
		{"ECS_EXCLUDE_UNTRACKED_IMAGE", &c->image_cleanup_exclude},
	};
	const char *untracked = getenv("ECS_ENABLE_UNTRACKED_IMAGE_CLEANUP");
	const char *disabled = getenv("ECS_DISABLE_IMAGE_CLEANUP");

	for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
		const char *value = getenv(texts[i].name);

		if (value && *value)
			*texts[i].into = arena_strdup(a, value);
	}
	if (untracked && *untracked)
		c->image_cleanup_untracked = arena_strdup(a, is_true(untracked) ? "yes" : "no");
	if (disabled && is_true(disabled))
		c->image_cleanup_interval = c->image_high_water = arena_strdup(a, "0");
}

/* ---- values ---- */

/* "1h30m", "90s", or seconds. */
static bool parse_duration(const char *text, int64_t *ret_s)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = {{'h', 3600}, {'m', 60}, {'s', 1}};
	int64_t sum = 0;

	if (parse_i64(text, 0, DURATION_S_MAX, ret_s))
		return true;
	if (!*text)
		return false;
	for (size_t i = 0; i < ARRAY_COUNT(units) && *text; i++) {
		char digits[12] = "";
		size_t len = strspn(text, "0123456789");
		int64_t n;

		if (text[len] != units[i].unit || len == 0 || len >= sizeof(digits))
			continue;
		memcpy(digits, text, len);
		if (!parse_i64(digits, 0, DURATION_S_MAX, &n))
			return false;
		sum += n * units[i].seconds;
		text += len + 1;
	}
	*ret_s = sum;
	return !*text && sum <= DURATION_S_MAX;
}

static int take_duration(const char *key, const char *text, int64_t *ret_ms, struct err *e)
{
	int64_t s;

	if (!parse_duration(text, &s))
		return err_set(e, EINVAL, "[node] %s '%.40s' is not a time such as 30m, 1h or 1800",
			       key, text);
	*ret_ms = s * 1000;
	return 0;
}

static int parse_names(const char *text, struct arena *a, struct agent_cleanup *ret, struct err *e)
{
	const char **keep = arena_alloc(a, KEEP_MAX * sizeof(*keep));
	char *rest = text ? arena_strdup(a, text) : NULL, *word;

	while (rest && (word = strsep(&rest, ", "))) {
		char host[IMAGE_HOST_SIZE], name[IMAGE_NAME_SIZE];

		if (!*word)
			continue;
		if (ret->keep_count == KEEP_MAX)
			return err_set(e, EINVAL,
				       "[node] image-cleanup-exclude: more than %d names",
				       KEEP_MAX);
		if (image_name_of(word, host, name, e) < 0)
			return err_wrap(e, "[node] image-cleanup-exclude");
		keep[ret->keep_count++] = word;
	}
	ret->keep = keep;
	return 0;
}

static int check_behavior(const char *text, struct err *e)
{
	static const char *const behaviors[] = {"default", "always", "once", "prefer-cached"};

	for (size_t i = 0; i < ARRAY_COUNT(behaviors); i++)
		if (str_eq(text, behaviors[i]))
			return 0;
	return err_set(e, EINVAL,
		       "[node] image-pull-behavior '%.40s' is none of default, always, once, "
		       "prefer-cached",
		       text);
}

int cleanup_parse(const struct config *c, struct arena *a, struct agent_options *ret, struct err *e)
{
	struct agent_cleanup *out = &ret->image_cleanup;
	uint32_t count, high_water;

	if (check_behavior(c->pull_behavior, e) < 0 ||
	    take_duration("image-cleanup-interval", c->image_cleanup_interval, &out->interval_ms,
			  e) < 0 ||
	    take_duration("image-cleanup-age", c->image_cleanup_age, &out->age_ms, e) < 0 ||
	    parse_names(c->image_cleanup_exclude, a, out, e) < 0)
		return -e->code;
	if (!parse_u32(c->image_cleanup_count, INT32_MAX, &count) || count == 0)
		return err_set(e, EINVAL,
			       "[node] image-cleanup-count '%.40s' is not a number from 1 on",
			       c->image_cleanup_count);
	if (!parse_u32(c->image_high_water, HIGH_WATER_MAX, &high_water))
		return err_set(e, EINVAL,
			       "[node] image-high-water '%.40s' is not a percentage from 0 to %d",
			       c->image_high_water, HIGH_WATER_MAX);
	if (!str_eq(c->image_cleanup_untracked, "yes") && !str_eq(c->image_cleanup_untracked, "no"))
		return err_set(e, EINVAL,
			       "[node] image-cleanup-untracked '%.40s' is neither yes nor no",
			       c->image_cleanup_untracked);
	if (!str_eq(c->keep_blobs, "yes") && !str_eq(c->keep_blobs, "no"))
		return err_set(e, EINVAL, "[node] keep-blobs '%.40s' is neither yes nor no",
			       c->keep_blobs);
	ret->keep_blobs = str_eq(c->keep_blobs, "yes");
	out->count = count;
	out->high_water = high_water;
	out->untracked = str_eq(c->image_cleanup_untracked, "yes");
	return 0;
}
