/* ecs/resolver.h - the resolver of tasks: where it is, and what it asks the agent
 * SPDX-License-Identifier: Apache-2.0
 *
 *   task ── DNS ── berth-resolver ── DNS ── resolvers of the host
 *                        └── question, answer ── agent
 *
 * berth-resolver reads what tasks send and has no rights; the agent knows the tasks and reads
 * a question of known size.  Both are of one host and one version.
 */
#pragma once

#include <stdint.h>

#include "base/ip.h"

/* As in EC2; the second one by those with addresses of IPv6. */
#define ECS_RESOLVER_ADDRESS  "169.254.169.253"
#define ECS_RESOLVER_ADDRESS6 "fd00:ec2::253"
#define ECS_DOMAIN_SIZE       64 /* bytes of "eu-central-1.compute.internal", with its NUL */

/* In which VPC is it? */
struct ecs_resolver_question {
	uint64_t number;
	char caller[IP_TEXT_MAX]; /* its address */
};

struct ecs_resolver_answer {
	uint64_t number;
	struct ip_prefix vpc;         /* length 0: in none */
	char domain[ECS_DOMAIN_SIZE]; /* of names there */
};

/* "ec2.internal" in us-east-1, elsewhere "REGION.compute.internal", as EC2 has it. */
void ecs_private_domain(const char *region, char ret[ECS_DOMAIN_SIZE]);

#define ECS_PRIVATE_NAME_SIZE (ECS_DOMAIN_SIZE + 20)
/* "ip-10-0-0-5.ec2.internal" */
void ecs_private_name(uint32_t address, const char *region, char ret[ECS_PRIVATE_NAME_SIZE]);

/*
 * berth-resolver begins with the first answer, which is to no question (number 0): it is on record
 * then, and goes on when the agent ends.
 */

/* Descriptors of berth-resolver beside 0, 1, 2. */
enum { ECS_RESOLVER_UDP_FD = 3, ECS_RESOLVER_TCP_FD, ECS_RESOLVER_AGENT_FD };
