/* ecs/resolver.c - the resolver of tasks: private names
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/resolver.h"

#include <stdio.h>

#include "base/text.h"

void ecs_private_domain(const char *region, char ret[ECS_DOMAIN_SIZE])
{
	if (str_eq(region, "us-east-1"))
		(void)snprintf(ret, ECS_DOMAIN_SIZE, "ec2.internal");
	else
		(void)snprintf(ret, ECS_DOMAIN_SIZE, "%.40s.compute.internal", region);
}

void ecs_private_name(uint32_t address, const char *region, char ret[ECS_PRIVATE_NAME_SIZE])
{
	char domain[ECS_DOMAIN_SIZE];

	ecs_private_domain(region, domain);
	(void)snprintf(ret, ECS_PRIVATE_NAME_SIZE, "ip-%u-%u-%u-%u.%s", address >> 24,
		       address >> 16 & 0xff, address >> 8 & 0xff, address & 0xff, domain);
}
