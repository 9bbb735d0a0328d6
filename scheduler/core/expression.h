/* scheduler/core/expression.h - the cluster query language
 * SPDX-License-Identifier: Apache-2.0
 *
 *   expression  all of: or, and, not, parentheses; `||`, `&&`, `!` are the same
 *   term        SUBJECT OPERATOR ARGUMENT
 *
 *   attribute:ecs.instance-type =~ m5.* and not task:group == service:web
 *   attribute:rack in [a, 'b c'] or attribute:ssd exists
 *
 * Subjects are agentConnected, agentVersion, attribute:NAME, ec2InstanceId,
 * registeredAt, runningTasksCount, task:group.  Source: "Cluster query language"
 * of the ECS Developer Guide.
 */
#pragma once

#include <stdbool.h>

#include "ecs/fault.h"

#define EXPRESSION_LEN_MAX 2000 /* characters, as in PlacementConstraint of the ECS API */

struct expression;

/* NULL: *f says what is wrong, with the place. */
struct expression *expression_parse(const char *text, struct ecs_fault *f);
void expression_free(struct expression *x);

/*
 * Does it hold?  'each' is asked for the values of a subject: it calls 'see' for
 * every one, for none where the subject has no value.
 */
typedef void expression_see(void *ctx, const char *value);
typedef void expression_each(const void *object, const char *subject, expression_see *see,
			     void *ctx);
bool expression_holds(const struct expression *x, expression_each *each, const void *object);
/* A pattern took too long (base/pattern.h): it holds of nothing any more, whatever it says. */
bool expression_gave_up(const struct expression *x);
/* Is there a term about the subject? */
bool expression_mentions(const struct expression *x, const char *subject);
