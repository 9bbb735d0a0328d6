/* tests/fuzz/image_passwd.c - users of images
 * SPDX-License-Identifier: Apache-2.0
 *
 * The user, passwd and group, with a NUL between each.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "image/passwd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *next(const char **p, const char *end)
{
	size_t left = (size_t)(end - *p), len = strnlen(*p, left);
	char *text = xstrndup(*p, len);

	*p += len < left ? len + 1 : len;
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *end = p + size;
	auto_free char *user = next(&p, end);
	auto_free char *passwd = next(&p, end);
	auto_free char *group = next(&p, end);
	struct image_user u;
	struct err e = {0};

	if (passwd_lookup(passwd, group, user, &u, &e) < 0)
		return 0;
	assert(u.uid != UINT32_MAX && u.gid != UINT32_MAX);
	assert(u.group_count <= IMAGE_USER_GROUPS_MAX && u.home[0] == '/');
	return 0;
}
