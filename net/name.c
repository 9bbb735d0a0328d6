/* net/name.c - what our objects in the kernel are called
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/name.h"

#include <assert.h>
#include <errno.h>

#include "base/text.h"

#define GROUP_PLAIN    0x42000000u /* berth */
#define GROUP_TAGGED   0x43000000u /* berth-1a2b3c */
#define INDEX_BASE     0x40000000u
#define INDEX_BITS     0x3fffffffu
#define HOST_PART_BITS 20

const uint8_t name_host_mac[6] = {0xee, 0xee, 0xee, 0xee, 0xee, 0xee};

static bool read_tag(const char *digits, uint32_t *ret)
{
	uint8_t bytes[3];

	for (const char *p = digits; *p; p++)
		if (*p >= 'A' && *p <= 'F')
			return false; /* one spelling for each name */
	if (!hex_decode(digits, bytes, sizeof(bytes)))
		return false;
	*ret = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
	return true;
}

int name_derive(const char *text, struct name *ret, struct err *e)
{
	const char *digits = "";
	uint32_t tag = 0;

	if (str_starts(text, "berth-") && read_tag(text + 6, &tag))
		digits = text + 6;
	else if (!str_eq(text, "berth"))
		return err_set(e, EINVAL,
			       "name '%.40s' is not berth or berth- and six lower-case "
			       "hexadecimal digits",
			       text);

	*ret = (struct name){.tag = tag, .group = *digits ? GROUP_TAGGED | tag : GROUP_PLAIN};
	(void)snprintf(ret->table, sizeof(ret->table), "%s", text);
	(void)snprintf(ret->prefix, sizeof(ret->prefix), "brt%.6s-", digits);
	(void)snprintf(ret->label, sizeof(ret->label), "lo:brt%.6s", digits);
	(void)snprintf(ret->public_label, sizeof(ret->public_label), "lo:brt%.6sp", digits);
	return 0;
}

void name_link(const struct name *n, uint32_t host_part, char ret[IFNAMSIZ])
{
	assert(host_part >> HOST_PART_BITS == 0);

	(void)snprintf(ret, IFNAMSIZ, "%.10s%04x", n->prefix, host_part & 0xfffff);
}

bool name_is_link(const char *name)
{
	const char *part = strrchr(name, '-');
	char text[IFNAMSIZ];
	struct name n;
	struct err ignored;

	if (!str_starts(name, "brt") || !part || strlen(name) >= IFNAMSIZ)
		return false;
	(void)snprintf(text, sizeof(text), "berth%s%.*s", part == name + 3 ? "" : "-",
		       (int)(part - name - 3), name + 3);
	return strlen(part + 1) >= 4 && part[1 + strspn(part + 1, "0123456789abcdef")] == '\0' &&
	       name_derive(text, &n, &ignored) == 0;
}

uint32_t name_link_index(uint32_t address)
{
	return INDEX_BASE | (address & INDEX_BITS);
}

void name_mac(uint32_t address, uint8_t ret[6])
{
	const uint8_t mac[6] = {0x0a,
				0x58,
				(uint8_t)(address >> 24),
				(uint8_t)(address >> 16),
				(uint8_t)(address >> 8),
				(uint8_t)address};

	memcpy(ret, mac, sizeof(mac));
}

void name_mac6(const struct ip_prefix *address, uint8_t ret[6])
{
	const uint8_t *a = address->address, mac[6] = {0x0a, 0x59, a[6], a[7], a[14], a[15]};

	memcpy(ret, mac, sizeof(mac));
}

void name_own_mac(const struct ip_prefix own[2], uint8_t ret[6])
{
	if (own[0].length)
		name_mac(ip_v4(&own[0]), ret);
	else
		name_mac6(&own[1], ret);
}

struct ip_prefix name_block6(const struct name *n)
{
	struct ip_prefix p = {.v6 = true, .length = 64, .address = {0xfd, 'b', 'r', 't'}};
	const uint32_t which = htonl(n->group); /* no two Berths have the same */

	memcpy(p.address + 4, &which, sizeof(which));
	return p;
}

struct ip_prefix name_address6(const struct name *n, uint32_t address)
{
	struct ip_prefix p = name_block6(n);
	const uint32_t low = htonl(address);

	p.length = 128;
	memcpy(p.address + 12, &low, sizeof(low));
	return p;
}
