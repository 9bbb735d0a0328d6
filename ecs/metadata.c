/* ecs/metadata.c - the task metadata endpoint: what it is asked, and by whom the answer is made
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/metadata.h"

#include <string.h>

#include "base/auto.h"
#include "base/text.h"

static const char *const versions[] = {"/v4/", "/v3/"};

/* What follows the id. */
static const char *const topics[ECS_METADATA_TOPICS] = {
	[ECS_METADATA_CONTAINER] = "",
	[ECS_METADATA_TASK] = "/task",
	[ECS_METADATA_TASK_WITH_TAGS] = "/taskWithTags",
	[ECS_METADATA_STATS] = "/stats",
	[ECS_METADATA_TASK_STATS] = "/task/stats",
};

static bool parse_version(const char *target, const char **ret_rest)
{
	for (size_t i = 0; i < ARRAY_COUNT(versions); i++) {
		if (!str_starts(target, versions[i]))
			continue;
		*ret_rest = target + strlen(versions[i]);
		return true;
	}
	return false;
}

bool ecs_metadata_parse(const char *target, enum ecs_metadata_topic *ret_topic,
			char ret_id[ECS_METADATA_ID_SIZE])
{
	const char *id, *rest;
	size_t len;

	if (!parse_version(target, &id))
		return false;
	len = strspn(id, "0123456789abcdef-");
	if (!len || len >= ECS_METADATA_ID_SIZE)
		return false;
	rest = id + len;
	for (enum ecs_metadata_topic t = 0; t < ECS_METADATA_TOPICS; t++) {
		if (!str_eq(rest, topics[t]))
			continue;
		memcpy(ret_id, id, len);
		ret_id[len] = '\0';
		*ret_topic = t;
		return true;
	}
	return false;
}
