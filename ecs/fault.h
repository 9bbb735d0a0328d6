/* ecs/fault.h - what a caller of the AWS API is told when something is wrong
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdarg.h>

/* In the order of the table in fault.c. */
enum ecs_fault_type {
	/* of all AWS JSON services */
	ECS_FAULT_SERIALIZATION,
	ECS_FAULT_UNKNOWN_OPERATION,
	ECS_FAULT_MISSING_TOKEN,
	ECS_FAULT_INCOMPLETE_SIGNATURE,
	ECS_FAULT_INVALID_SIGNATURE,
	ECS_FAULT_UNRECOGNIZED_CLIENT,
	ECS_FAULT_REQUEST_EXPIRED,
	ECS_FAULT_TOO_LARGE,
	ECS_FAULT_THROTTLING,
	/* of ECS */
	ECS_FAULT_CLIENT,
	ECS_FAULT_SERVER,
	ECS_FAULT_INVALID_PARAMETER,
	ECS_FAULT_CLUSTER_NOT_FOUND,
	ECS_FAULT_CLUSTER_CONTAINS_TASKS,
	ECS_FAULT_CLUSTER_CONTAINS_INSTANCES,
	ECS_FAULT_UNSUPPORTED_FEATURE,
	ECS_FAULT_RESOURCE_NOT_FOUND,
	ECS_FAULT_CONFLICT,
	ECS_FAULT_LIMIT_EXCEEDED,
	/* of CloudWatch Logs */
	ECS_FAULT_RESOURCE_EXISTS,
	ECS_FAULT_UNAVAILABLE,
};

struct ecs_fault {
	enum ecs_fault_type type;
	char message[1024];
};

/* Returns -1, so that a function can end with it. */
int ecs_fault_set(struct ecs_fault *f, enum ecs_fault_type type, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "ClusterNotFoundException", and the HTTP status that AWS sends with it. */
const char *ecs_fault_name(enum ecs_fault_type type);
unsigned ecs_fault_status(enum ecs_fault_type type);
