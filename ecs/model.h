/* ecs/model.h - the shapes of the AWS requests, and the check against them
 * SPDX-License-Identifier: Apache-2.0
 *
 * The models are tables of text (ecs/model/NAME.tsv), one line a member, from
 * which the build makes C tables.  A request is checked against its shape
 * once, at the door; behind it every member is there, or absent, in the type
 * that the model says.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "ecs/fault.h"

enum ecs_kind {
	ECS_STRING,
	ECS_INTEGER, /* 32 bits */
	ECS_LONG,
	ECS_DOUBLE,
	ECS_BOOLEAN,
	ECS_TIMESTAMP, /* a number: seconds since 1970 */
	ECS_ENUM,
	ECS_STRUCTURE,
	ECS_MAP,      /* of strings */
	ECS_DOCUMENT, /* any JSON */
};

struct ecs_shape;

struct ecs_member {
	const char *name;
	enum ecs_kind kind;            /* of the member, or of each element */
	const struct ecs_shape *shape; /* ECS_STRUCTURE */
	const char *const *values;     /* ECS_ENUM, ends with NULL */
	bool list, required;
	bool refused; /* in the model, but Berth cannot honour it yet */
	bool bounded; /* numbers: the value; lists: the count */
	double min, max;
};

struct ecs_shape {
	const char *name;
	const struct ecs_member *members;
	size_t count;
};

struct ecs_operation {
	const char *name;
	const struct ecs_shape *request;
};

struct ecs_model {
	const struct ecs_operation *operations;
	size_t count;
};

#define ECS_COUNT(a) (sizeof(a) / sizeof((a)[0]))

extern const struct ecs_model ecs_model_ecs, ecs_model_logs, ecs_model_ec2, ecs_model_ssm,
	ecs_model_berth;

/* NULL: the service has no such operation. */
const struct ecs_operation *ecs_model_find(const struct ecs_model *m, const char *operation);

/*
 * Check a request against its shape and take out what the model does not know
 * (AWS passes such members over, too) and nulls.  Returns 0, or -1 with the
 * fault: SerializationException for a wrong type, InvalidParameterException
 * for a missing member, an unknown enum value or a bound, ClientException that
 * names a member which Berth cannot honour.  A refused member whose value says
 * nothing (false, "", an empty list or object) does no harm and is taken out.
 */
int ecs_model_check(const struct ecs_shape *shape, json_t *request, struct ecs_fault *f);
