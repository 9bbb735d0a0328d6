/* tests/fuzz/agent_cdi.c - specifications of devices
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>

#include "agent/cdi.h"
#include "base/auto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *doc = NULL;
	auto_arena struct arena a = {0};
	const struct cdi_device *device;
	const struct cdi_spec *found;
	struct cdi_spec spec = {0};
	struct err e = {0};

	if (js_parse((const char *)data, size, 16, &doc, &e) < 0 ||
	    cdi_decode(doc, &a, &spec, &e) < 0)
		return 0;
	for (size_t i = 0; i < spec.devices.count; i++) {
		const struct cdi cdi = {.specs = &spec, .count = 1};
		const char *name = arena_printf(&a, "%s=%s", spec.kind,
						JS_AT(spec.devices, struct cdi_device, i)->name);

		if (cdi_find(&cdi, name, &found, &device, &e) < 0)
			__builtin_trap();
	}
	return 0;
}
