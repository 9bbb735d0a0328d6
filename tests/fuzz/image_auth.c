/* tests/fuzz/image_auth.c - login challenges, tokens, redirects
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/auth.h"
#include "image/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = xstrndup((const char *)data, size);
	auto_free char *token = NULL, *to = NULL, *escaped = url_escape(text);
	struct challenge c = {.scheme = CHALLENGE_NONE};
	struct err e = {0};

	challenge_add(&c, text);
	assert(c.scheme != CHALLENGE_BEARER || c.realm[0]);
	if (token_parse((const char *)data, size, &token, &e) == 0)
		assert(!strpbrk(token, " \r\n"));
	if (url_redirect("https://registry.example/v2/", text, &to, &e) == 0)
		assert(url_is_https(to) && url_origin_len(to) && !strpbrk(to, " \r\n"));
	(void)host_is_loopback(text);
	assert(!strpbrk(escaped, "&=/? "));
	return 0;
}
