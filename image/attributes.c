/* image/attributes.c - extended attributes of a file, packed
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/attributes.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"

/* Prefixes that are a whole name have no rest. */
static const struct {
	uint8_t number;
	bool whole;
	const char *text;
} prefixes[] = {
	{1, false, "user."},
	{2, true, "system.posix_acl_access"},
	{3, true, "system.posix_acl_default"},
	{6, false, "security."},
};

struct head {
	uint8_t name_len, prefix;
	uint16_t value_size;
};

#define ALIGN 4

static void pack(const struct tar_attribute *a, struct buf *out)
{
	static const char zeros[ALIGN];

	for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
		const char *rest = a->name + strlen(prefixes[i].text);
		struct head h = {.prefix = prefixes[i].number, .value_size = (uint16_t)a->size};

		if (!str_starts(a->name, prefixes[i].text))
			continue;
		h.name_len = (uint8_t)strlen(rest);
		buf_add(out, &h, sizeof(h));
		buf_add(out, rest, h.name_len);
		buf_add(out, a->value, a->size);
		buf_add(out, zeros, -out->size % ALIGN);
		return;
	}
}

int attributes_pack(const struct tar_entry *entry, void **ret, uint32_t *ret_size, struct err *e)
{
	struct buf b = BUF_INIT(ATTRIBUTES_SIZE_MAX);

	for (size_t i = 0; i < entry->attribute_count; i++)
		pack(&entry->attributes[i], &b);
	if (buf_overflow(&b)) {
		buf_done(&b);
		return image_fail(e, IMAGE_REASON_TOO_LARGE,
				  "attributes of more than %d bytes: '%.200s'", ATTRIBUTES_SIZE_MAX,
				  entry->path);
	}
	*ret = b.data;
	*ret_size = (uint32_t)b.size;
	return 0;
}

static bool is_name(const struct head *h)
{
	for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++)
		if (prefixes[i].number == h->prefix)
			return prefixes[i].whole == (h->name_len == 0);
	return false;
}

bool attributes_valid(const void *data, size_t size)
{
	const char *p = data;

	if (size > ATTRIBUTES_SIZE_MAX || size % ALIGN)
		return false;
	while (size) {
		struct head h;
		size_t whole;

		memcpy(&h, p, sizeof(h)); /* size is a multiple of the head's */
		whole = (sizeof(h) + h.name_len + h.value_size + ALIGN - 1) / ALIGN * ALIGN;
		if (!is_name(&h) || whole > size || memchr(p + sizeof(h), '\0', h.name_len))
			return false;
		p += whole;
		size -= whole;
	}
	return true;
}
