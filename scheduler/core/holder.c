/* scheduler/core/holder.c - which nodes may share images
 * SPDX-License-Identifier: Apache-2.0
 */
#include "scheduler/core/internal.h"

const char *core_cluster_of(struct core *c, const char *instance)
{
	const struct instance *i = instance_by_id(c, instance);

	return i ? i->cluster->name : NULL;
}
