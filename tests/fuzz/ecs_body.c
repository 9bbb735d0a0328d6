/* tests/fuzz/ecs_body.c - bodies of ECS requests: JSON, model, definition, rules
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: the operation's name, a newline, the body.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "ecs/model.h"
#include "ecs/taskdef.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What passed the model decodes; what passed the rules too has defaults and a demand. */
static void go_on(json_t *request)
{
	auto_arena struct arena a = {0};
	struct ecs_task_definition t;
	struct ecs_demand demand;
	struct ecs_fault f;
	struct err e = {0};

	if (ecs_task_definition_decode(request, &a, &t, &e) < 0)
		return;
	if (ecs_task_definition_check(&t, "us-east-1", &f) < 0)
		return;
	ecs_task_definition_demand(&t, &demand);
	assert(demand.cpu_units >= 0 && demand.memory_mib >= 0);
	ecs_task_definition_set_defaults(request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *newline = memchr(data, '\n', size);
	auto_json json_t *request = NULL;
	const struct ecs_operation *operation;
	auto_free char *name = NULL;
	struct ecs_fault f;
	struct err e = {0};

	if (!newline)
		return 0;
	name = xstrndup((const char *)data, (size_t)(newline - data));
	operation = ecs_model_find(&ecs_model_ecs, name);
	if (!operation || js_parse((const char *)newline + 1, size - (size_t)(newline + 1 - data),
				   32, &request, &e) < 0)
		return 0;
	if (ecs_model_check(operation->request, request, &f) == 0 &&
	    strcmp(name, "RegisterTaskDefinition") == 0)
		go_on(request);
	return 0;
}
