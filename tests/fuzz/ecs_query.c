/* tests/fuzz/ecs_query.c - forms of EC2 requests
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/js.h"
#include "ecs/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *tree = NULL, *request = NULL;
	const struct ecs_operation *operation;
	const char *action;
	struct ecs_fault f = {.message = ""};

	if (ecs_query_parse((const char *)data, size, &tree, &f) < 0) {
		auto_free char *text = ecs_query_fault("id", &f);
		return 0;
	}
	action = json_string_value(json_object_get(tree, "Action"));
	operation = action ? ecs_model_find(&ecs_model_ec2, action) : NULL;
	if (operation && ecs_query_check(operation->request, tree, &request, &f) == 0) {
		auto_free char *text = ecs_query_reply(action, "id", request);
	}
	return 0;
}
