/* ecs/query.h - the query protocol of EC2: a form comes in, XML goes out
 * SPDX-License-Identifier: Apache-2.0
 *
 *   Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=cidr&Filter.1.Value.1=10.0.0.0%2F16
 *
 * A dot goes down into a structure, a number counts the elements of a list
 * from 1.  What comes out of here is the same kind of JSON document that the
 * other services get, checked against its shape: everything is in the type of
 * the model.  A reply is a JSON document whose names are those of the XML.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "ecs/fault.h"
#include "ecs/model.h"

#define ECS_QUERY_FIELDS_MAX 5000 /* parameters of a request */
#define ECS_QUERY_DEPTH_MAX  8    /* words of a parameter's name */

/*
 * Read a form.  *ret is the caller's: the parameters as a tree of objects whose
 * leaves are strings, "Action" among them.  -1: *f says what is wrong.
 */
int ecs_query_parse(const char *body, size_t size, json_t **ret, struct ecs_fault *f);

/*
 * Make the request of an operation from the tree ("Action" and "Version" are
 * passed over).  *ret is the caller's.  -1 and the fault: a parameter that the
 * model does not know, that is missing, or that has the wrong type.
 */
int ecs_query_check(const struct ecs_shape *shape, const json_t *tree, json_t **ret,
		    struct ecs_fault *f);

/* The reply of an operation, and a fault, as XML; malloc'ed. */
char *ecs_query_reply(const char *operation, const char *request_id, const json_t *reply);
char *ecs_query_fault(const char *request_id, const struct ecs_fault *f);
