/* tests/fuzz/scheduler_expression.c - the cluster query language
 * SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/mem.h"
#include "scheduler/core/expression.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void each(const void *object, const char *subject, expression_see *see, void *ctx)
{
	(void)object;
	see(ctx, subject);
	see(ctx, "2018-06-18T22:28:28Z");
	see(ctx, "17");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	struct ecs_fault f;
	struct expression *x = expression_parse(text, &f);

	if (x)
		(void)expression_holds(x, each, NULL);
	expression_free(x);
	return 0;
}
