/* tests/fuzz/ecs_node.c - messages between control plane and node
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "ecs/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *doc = NULL;
	auto_arena struct arena a = {0};
	enum ecs_node_type type;
	struct err e = {0};
	void *message;

	if (js_parse((const char *)data, size, ECS_NODE_JSON_DEPTH, &doc, &e) < 0 ||
	    ecs_node_type_of(doc, &type, &e) < 0)
		return 0;
	message = arena_alloc(&a, ecs_node_shape(type)->size);
	if (js_decode(doc, ecs_node_shape(type), &a, message, &e) == 0) {
		auto_free char *again = ecs_node_dump(type, message);

		(void)again;
	}
	return 0;
}
