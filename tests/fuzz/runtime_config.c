/* tests/fuzz/runtime_config.c - config.json, decoded and checked whole
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>

#include "runtime/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_config struct config_doc d = {0};
	struct err e;

	(void)config_decode((const char *)data, size, &d, &e);
	return 0;
}
