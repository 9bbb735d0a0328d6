/* tests/fuzz/runtime_state.c - state.json of a container
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>

#include "runtime/config.h"
#include "runtime/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_state struct state_doc d = {0};
	auto_arena struct arena a = {0};
	struct config_hooks hooks;
	struct config_process process;
	struct err e;

	if (state_decode((const char *)data, size, &d, &e) < 0)
		return 0;
	json_decref(state_json(&d.state, RUNTIME_STATUS_RUNNING, 1));
	(void)config_decode_hooks(d.state.hooks, &a, &hooks, &e);
	if (d.state.process)
		(void)config_decode_process(d.state.process, &a, &process, &e);
	return 0;
}
