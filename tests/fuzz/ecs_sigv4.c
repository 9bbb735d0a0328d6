/* tests/fuzz/ecs_sigv4.c - Authorization headers and signed requests
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: target, Authorization, X-Amz-Date, a header's name and value, body;
 * a newline between.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "ecs/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	char *parts[6] = {(char[]){""}, (char[]){""}, (char[]){""},
			  (char[]){""}, (char[]){""}, (char[]){""}};
	char *rest = text;
	struct ecs_fault f;
	struct ecs_sigv4 s;

	for (size_t i = 0; i < ARRAY_COUNT(parts) && rest; i++)
		parts[i] = strsep(&rest, "\n");
	{
		const struct ecs_header headers[] = {{"Host", "h"},
						     {"Authorization", parts[1]},
						     {"X-Amz-Date", parts[2]},
						     {parts[3], parts[4]}};
		const struct ecs_http_request r = {.method = "POST",
						   .target = parts[0],
						   .headers = headers,
						   .header_count = ARRAY_COUNT(headers),
						   .body = parts[5],
						   .body_size = strlen(parts[5])};

		if (ecs_sigv4_parse(&r, &s, &f) == 0)
			(void)ecs_sigv4_verify(&r, &s, "secret", s.region, 1440938160, &f);
	}
	return 0;
}
