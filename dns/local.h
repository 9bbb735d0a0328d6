/* dns/local.h - names of a VPC, answered without asking anybody
 * SPDX-License-Identifier: Apache-2.0
 *
 * "ip-10-0-0-5.ec2.internal" and "5.0.0.10.in-addr.arpa", as in EC2: whoever has the
 * address, and whether anybody has.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ecs/resolver.h"

struct local_name {
	uint32_t address;
	bool is_pointer;              /* from address to name */
	char domain[ECS_DOMAIN_SIZE]; /* else: of the name that was asked for, in small letters */
};

/* Is it one of them?  'question_size': message_outline() */
bool local_parse(const uint8_t *query, size_t question_size, struct local_name *ret);

/* Those of a VPC are ours to answer. */
bool local_is_of(const struct local_name *n, const struct ip_prefix *vpc, const char *domain);

/* The answer, malloc'ed; NULL: there is none to be made. */
uint8_t *local_answer(const uint8_t *query, size_t question_size, const struct local_name *n,
		      const char *domain, size_t *ret_size);
