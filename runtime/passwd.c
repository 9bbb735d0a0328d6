/* runtime/passwd.c - the home of a user, from the container's own file
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/passwd.h"

#include <string.h>

#include "base/text.h"

/* name:password:uid:gid:gecos:home:shell */
#define FIELD_UID  2
#define FIELD_HOME 5

/* The n-th field of a line that ends at 'end'; false when it has fewer. */
static bool field(const char *line, const char *end, unsigned n, const char **ret, size_t *ret_len)
{
	const char *stop;

	for (; n; n--) {
		line = memchr(line, ':', (size_t)(end - line));
		if (!line)
			return false;
		line++;
	}
	stop = memchr(line, ':', (size_t)(end - line));
	*ret = line;
	*ret_len = (size_t)((stop ? stop : end) - line);
	return true;
}

static bool copy(const char *p, size_t len, char *out, size_t size)
{
	if (len >= size)
		return false;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

bool passwd_home(const char *text, uint32_t uid, char *ret, size_t size)
{
	for (const char *line = text; *line;) {
		const char *end = line + strcspn(line, "\n"), *p;
		char number[16];
		uint32_t value;
		size_t len;

		if (field(line, end, FIELD_UID, &p, &len) && copy(p, len, number, sizeof(number)) &&
		    parse_u32(number, UINT32_MAX, &value) && value == uid &&
		    field(line, end, FIELD_HOME, &p, &len) && len && copy(p, len, ret, size))
			return true;
		line = end + (*end == '\n');
	}
	return false;
}
