/* ecs/arn.c - Amazon Resource Names of ECS and CloudWatch Logs
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/arn.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define ALPHANUMERIC "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static const char *const resources[] = {
	[ECS_RESOURCE_CLUSTER] = "cluster",
	[ECS_RESOURCE_TASK] = "task",
	[ECS_RESOURCE_INSTANCE] = "container-instance",
	[ECS_RESOURCE_CONTAINER] = "container",
	[ECS_RESOURCE_TASK_DEFINITION] = "task-definition",
	[ECS_RESOURCE_CAPACITY_PROVIDER] = "capacity-provider",
};

void ecs_arn_cluster(const struct ecs_identity *id, const char *cluster, char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:cluster/%s", id->region, id->account,
		       cluster);
}

void ecs_arn_task(const struct ecs_identity *id, const char *cluster, const char *task,
		  char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:task/%s/%s", id->region, id->account,
		       cluster, task);
}

void ecs_arn_instance(const struct ecs_identity *id, const char *cluster, const char *instance,
		      char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:container-instance/%s/%s", id->region,
		       id->account, cluster, instance);
}

void ecs_arn_container(const struct ecs_identity *id, const char *cluster, const char *task,
		       const char *uuid, char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:container/%s/%s/%s", id->region,
		       id->account, cluster, task, uuid);
}

void ecs_arn_task_definition(const struct ecs_identity *id, const char *family, uint32_t revision,
			     char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:task-definition/%s:%u", id->region,
		       id->account, family, revision);
}

void ecs_arn_capacity_provider(const struct ecs_identity *id, const char *name,
			       char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:ecs:%s:%s:capacity-provider/%s", id->region,
		       id->account, name);
}

void ecs_arn_log_group(const struct ecs_identity *id, const char *group, char ret[ECS_ARN_SIZE])
{
	(void)snprintf(ret, ECS_ARN_SIZE, "arn:aws:logs:%s:%s:log-group:%s", id->region,
		       id->account, group);
}

bool ecs_name_is_valid(const char *name)
{
	size_t len = strspn(name, ALPHANUMERIC "-_");

	return len > 0 && len <= ECS_NAME_MAX && name[len] == '\0';
}

bool ecs_attribute_is_reserved(const char *name)
{
	return str_starts(name, "ecs.") || str_starts(name, "com.amazonaws.");
}

bool ecs_attribute_name_is_valid(const char *name)
{
	size_t len = strspn(name, ALPHANUMERIC "-_./");

	return len > 0 && len <= ECS_ATTRIBUTE_MAX && name[len] == '\0';
}

bool ecs_attribute_value_is_valid(const char *value)
{
	size_t len = strspn(value, ALPHANUMERIC "-_.@:/\\ ");

	return len <= ECS_ATTRIBUTE_MAX && value[len] == '\0' && value[0] != ' ' &&
	       !str_ends(value, " ");
}

static int invalid(struct ecs_fault *f, enum ecs_resource resource, const char *text)
{
	return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER, "Invalid %s: '%.300s'",
			     resources[resource], text);
}

/* The part of 'text' up to 'end' (or the whole when it is not there), if it is a name. */
static const char *take(const char *text, char end, char ret[ECS_NAME_MAX + 1])
{
	const char *stop = end ? strchr(text, end) : NULL;
	size_t len = stop ? (size_t)(stop - text) : strlen(text);

	if (len > ECS_NAME_MAX)
		return NULL;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return ecs_name_is_valid(ret) ? text + len : NULL;
}

/* Behind the colon of "family:revision". */
static bool take_revision(const char *text, uint32_t *ret)
{
	uint32_t revision;

	if (*text == '\0')
		return true;
	if (*text != ':' || !parse_u32(text + 1, INT32_MAX, &revision) || revision == 0)
		return false;
	*ret = revision;
	return true;
}

/* "arn:aws:ecs:R:A:kind/" in front of 'text': what stands behind it; NULL when it is another. */
static const char *skip_arn(const struct ecs_identity *id, enum ecs_resource resource,
			    const char *text)
{
	char prefix[256];

	(void)snprintf(prefix, sizeof(prefix), "arn:aws:ecs:%s:%s:%s/", id->region, id->account,
		       resources[resource]);
	return str_starts(text, prefix) ? text + strlen(prefix) : NULL;
}

static bool parse_name(enum ecs_resource resource, const char *text, bool is_arn,
		       struct ecs_name *ret)
{
	bool in_cluster = resource != ECS_RESOURCE_CLUSTER &&
			  resource != ECS_RESOURCE_TASK_DEFINITION &&
			  resource != ECS_RESOURCE_CAPACITY_PROVIDER;
	const char *rest = text;

	if (resource == ECS_RESOURCE_TASK_DEFINITION) {
		rest = take(text, ':', ret->name);
		return rest && take_revision(rest, &ret->revision);
	}
	if (in_cluster && is_arn) {
		rest = take(text, '/', ret->cluster);
		if (!rest || *rest != '/')
			return false;
		rest++;
	}
	rest = take(rest, '\0', ret->name);
	return rest && *rest == '\0';
}

int ecs_name_parse(const struct ecs_identity *id, enum ecs_resource resource, const char *text,
		   struct ecs_name *ret, struct ecs_fault *f)
{
	bool is_arn = str_starts(text, "arn:");
	const char *name = is_arn ? skip_arn(id, resource, text) : text;
	struct ecs_name parsed = {.resource = resource};

	if (!name || !parse_name(resource, name, is_arn, &parsed))
		return invalid(f, resource, text);
	*ret = parsed;
	return 0;
}

/* ---- secrets ---- */

/* What Secrets Manager lets a name have; no part of it is hidden, or empty. */
static bool is_secret_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len >= ECS_SECRET_NAME_SIZE || name[len - 1] == '/')
		return false;
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("/_+=.@-", *p))
			return false;
	return name[0] != '.' && name[0] != '/' && !strstr(name, "/.") && !strstr(name, "//");
}

bool ecs_secret_name(const char *text, char ret[ECS_SECRET_NAME_SIZE])
{
	const char *name = text;

	if (str_starts(text, "arn:")) {
		const char *service = strchr(text + strlen("arn:"), ':');
		const char *rest = service && str_starts(service, ":secretsmanager:")
					   ? strstr(service, ":secret:")
					   : NULL;

		if (!rest)
			return false;
		name = rest + strlen(":secret:");
	}
	if (!is_secret_name(name))
		return false;
	(void)snprintf(ret, ECS_SECRET_NAME_SIZE, "%s", name);
	return true;
}

/* "arn:aws:ecs:REGION:..." */
void ecs_arn_region(const char *arn, char ret[ECS_REGION_SIZE])
{
	int end = 0;

	if (!arn || sscanf(arn, "arn:%*[^:]:%*[^:]:%40[a-z0-9-]:%n", ret, &end) != 1 || !end)
		(void)snprintf(ret, ECS_REGION_SIZE, "us-east-1");
}
