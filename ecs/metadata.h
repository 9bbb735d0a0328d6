/* ecs/metadata.h - the task metadata endpoint: what it is asked, and by whom the answer is made
 * SPDX-License-Identifier: Apache-2.0
 *
 *   container ── GET /v4/ID/task ── berth-metadata ── question ── agent
 *                                                  ── answer, a file of memory ──
 *
 * berth-metadata reads what containers send and has no rights; the agent knows the
 * tasks and reads a question of known size.  Both are of one host and one version.
 * Paths and documents: "Amazon ECS task metadata endpoint version 4" in ECS's developer guide.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/ip.h"

/*
 * Tasks with IPv6 alone find it there, too, as in ECS: SDKs know no other one for credentials.
 */
#define ECS_METADATA_ADDRESS "169.254.170.2"
#define ECS_METADATA_ID_SIZE 64 /* bytes of the id of a container in a path, with its NUL */

enum ecs_metadata_topic {
	ECS_METADATA_CONTAINER,
	ECS_METADATA_TASK,
	ECS_METADATA_TASK_WITH_TAGS,
	ECS_METADATA_STATS,
	ECS_METADATA_TASK_STATS,
	ECS_METADATA_TOPICS
};

/* "/v4/ID", "/v4/ID/task", "/v3/ID/stats"...; false: nothing is there. */
bool ecs_metadata_parse(const char *target, enum ecs_metadata_topic *ret_topic,
			char ret_id[ECS_METADATA_ID_SIZE]);

struct ecs_metadata_question {
	uint64_t number;
	uint32_t topic;           /* < ECS_METADATA_TOPICS */
	char caller[IP_TEXT_MAX]; /* its address */
	char id[ECS_METADATA_ID_SIZE];
};

/* With a descriptor: JSON, so many bytes from its beginning. */
struct ecs_metadata_answer {
	uint64_t number;
	uint64_t size;
	uint32_t status; /* of HTTP */
};

/* Descriptors of berth-metadata beside 0, 1, 2. */
enum { ECS_METADATA_LISTEN_FD = 3, ECS_METADATA_AGENT_FD };
