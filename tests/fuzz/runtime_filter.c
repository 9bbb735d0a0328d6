/* tests/fuzz/runtime_filter.c - linux.seccomp to a program
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stddef.h>
#include <stdint.h>

#include "base/js.h"
#include "runtime/config.h"
#include "runtime/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *doc = NULL;
	auto_filter struct filter f = {0};
	struct err e;

	if (config_parse((const char *)data, size, &doc, &e) == 0)
		(void)filter_compile(doc, &f, &e);
	return 0;
}
