/* ecs/arn.h - Amazon Resource Names of ECS and CloudWatch Logs
 * SPDX-License-Identifier: Apache-2.0
 *
 *   arn:aws:ecs:REGION:ACCOUNT:cluster/CLUSTER
 *                              task/CLUSTER/ID
 *                              container-instance/CLUSTER/ID
 *                              container/CLUSTER/TASK-ID/UUID
 *                              task-definition/FAMILY:REVISION
 *                              capacity-provider/NAME
 *   arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:log-stream:STREAM
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ecs/fault.h"

#define ECS_NAME_MAX 255 /* clusters, families, services, capacity providers */
#define ECS_ID_LEN   32  /* tasks and container instances: hexadecimal digits */
#define ECS_ARN_SIZE 1024

/* Who we are: part of each ARN. */
struct ecs_identity {
	const char *region, *account; /* borrowed */
};

void ecs_arn_cluster(const struct ecs_identity *id, const char *cluster, char ret[ECS_ARN_SIZE]);
void ecs_arn_task(const struct ecs_identity *id, const char *cluster, const char *task,
		  char ret[ECS_ARN_SIZE]);
void ecs_arn_instance(const struct ecs_identity *id, const char *cluster, const char *instance,
		      char ret[ECS_ARN_SIZE]);
void ecs_arn_container(const struct ecs_identity *id, const char *cluster, const char *task,
		       const char *uuid, char ret[ECS_ARN_SIZE]);
void ecs_arn_task_definition(const struct ecs_identity *id, const char *family, uint32_t revision,
			     char ret[ECS_ARN_SIZE]);
void ecs_arn_capacity_provider(const struct ecs_identity *id, const char *name,
			       char ret[ECS_ARN_SIZE]);
void ecs_arn_log_group(const struct ecs_identity *id, const char *group, char ret[ECS_ARN_SIZE]);

enum ecs_resource {
	ECS_RESOURCE_CLUSTER,
	ECS_RESOURCE_TASK,
	ECS_RESOURCE_INSTANCE,
	ECS_RESOURCE_CONTAINER,
	ECS_RESOURCE_TASK_DEFINITION,
	ECS_RESOURCE_CAPACITY_PROVIDER,
};

/* A name that a caller gave, taken apart. */
struct ecs_name {
	enum ecs_resource resource;
	char cluster[ECS_NAME_MAX + 1]; /* "" where the name does not say it */
	char name[ECS_NAME_MAX + 1];    /* cluster, id, or family */
	uint32_t revision;              /* task definitions: 0 when not given */
};

/*
 * Read the short name or the whole ARN of a resource.  InvalidParameterException
 * for an ARN of another region, account, service or resource, and for a name
 * that could not be one.
 */
int ecs_name_parse(const struct ecs_identity *id, enum ecs_resource resource, const char *text,
		   struct ecs_name *ret, struct ecs_fault *f);

/* The region of an ARN, "us-east-1" where there is none. */
#define ECS_REGION_SIZE 41
void ecs_arn_region(const char *arn, char ret[ECS_REGION_SIZE]);

/*
 * The name of a secret: of "arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME", with
 * the six characters that Secrets Manager puts behind it if they are there, or a
 * name as it is.  Its parts, between slashes, are fit to be names of files.
 */
#define ECS_SECRET_NAME_SIZE 520
bool ecs_secret_name(const char *text, char ret[ECS_SECRET_NAME_SIZE]);

/* Letters, digits, '-' and '_', at most ECS_NAME_MAX: clusters, families, containers. */
bool ecs_name_is_valid(const char *name);

/*
 * Of a custom attribute of a container instance: 1 to ECS_ATTRIBUTE_MAX letters, digits and
 * -_./ that do not begin as those of ECS do; and up to as many letters, digits and
 * -_.@:/\ or, within, spaces.  Source: API reference of ECS, Attribute.
 */
#define ECS_ATTRIBUTE_MAX 128
bool ecs_attribute_is_reserved(const char *name);
bool ecs_attribute_name_is_valid(const char *name);
bool ecs_attribute_value_is_valid(const char *value);
