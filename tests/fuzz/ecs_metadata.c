/* tests/fuzz/ecs_metadata.c - paths that tasks ask for at the task metadata endpoint
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "ecs/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	enum ecs_metadata_topic topic;
	char id[ECS_METADATA_ID_SIZE];

	if (ecs_metadata_parse(text, &topic, id))
		assert(topic < ECS_METADATA_TOPICS && *id && strlen(id) < sizeof(id));
	return 0;
}
