/* base/ip.c - addresses and prefixes of both families
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/ip.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static unsigned bits_of(bool v6)
{
	return v6 ? 128 : 32;
}

/* The first bits of an address, the rest cleared. */
static void cut(unsigned char address[16], unsigned length)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned begin = 8 * i;

		if (begin >= length)
			address[i] = 0;
		else if (length - begin < 8)
			address[i] &= (unsigned char)(0xff00 >> (length - begin));
	}
}

bool ip_address_parse(const char *text, struct ip_prefix *ret)
{
	struct ip_prefix p = {.v6 = strchr(text, ':') != NULL};

	if (inet_pton(p.v6 ? AF_INET6 : AF_INET, text, p.address) != 1)
		return false;
	p.length = bits_of(p.v6);
	*ret = p;
	return true;
}

bool ip_prefix_parse(const char *text, struct ip_prefix *ret)
{
	const char *slash = strchr(text, '/');
	char address[IP_TEXT_MAX];
	struct ip_prefix p;
	uint32_t length;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	(void)snprintf(address, sizeof(address), "%.*s", (int)(slash - text), text);
	if (!ip_address_parse(address, &p) || !parse_u32(slash + 1, bits_of(p.v6), &length))
		return false;
	p.length = length;
	cut(p.address, length);
	*ret = p;
	return true;
}

void ip_address_format(const struct ip_prefix *p, char ret[IP_TEXT_MAX])
{
	(void)inet_ntop(p->v6 ? AF_INET6 : AF_INET, p->address, ret, IP_TEXT_MAX);
}

void ip_prefix_format(const struct ip_prefix *p, char ret[IP_TEXT_MAX])
{
	size_t len;

	ip_address_format(p, ret);
	len = strlen(ret);
	(void)snprintf(ret + len, IP_TEXT_MAX - len, "/%u", p->length);
}

bool ip_prefix_holds(const struct ip_prefix *outer, const struct ip_prefix *inner)
{
	struct ip_prefix p = *inner;

	if (outer->v6 != inner->v6 || inner->length < outer->length)
		return false;
	cut(p.address, outer->length);
	return memcmp(p.address, outer->address, sizeof(p.address)) == 0;
}

bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b)
{
	return ip_prefix_holds(a, b) || ip_prefix_holds(b, a);
}

/* RFC 6890. */
bool ip_prefix_is_special(const struct ip_prefix *p)
{
	static const struct ip_prefix special[] = {
		{.address = {0}, .length = 8},
		{.address = {127}, .length = 8},
		{.address = {169, 254}, .length = 16},
		{.address = {224}, .length = 4},
		{.address = {255, 255, 255, 255}, .length = 32},
	};

	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if (!p->v6 && ip_prefix_overlaps(&special[i], p))
			return true;
	return false;
}

void ip_prefix_last(const struct ip_prefix *p, unsigned char *ret)
{
	for (unsigned i = 0; i < bits_of(p->v6) / 8; i++) {
		unsigned begin = 8 * i;

		ret[i] = p->address[i];
		if (begin >= p->length)
			ret[i] = 0xff;
		else if (p->length - begin < 8)
			ret[i] |= (unsigned char)(0xff >> (p->length - begin));
	}
}

struct ip_prefix ip_of_socket(const struct sockaddr_storage *address)
{
	struct ip_prefix p = {.v6 = address->ss_family == AF_INET6};
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (p.v6) {
		memcpy(&v6, address, sizeof(v6));
		p.v6 = !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
		memcpy(p.address, v6.sin6_addr.s6_addr + (p.v6 ? 0 : 12), p.v6 ? 16 : 4);
	} else if (address->ss_family == AF_INET) {
		memcpy(&v4, address, sizeof(v4));
		memcpy(p.address, &v4.sin_addr, 4);
	} else {
		return p;
	}
	p.length = bits_of(p.v6);
	return p;
}

uint32_t ip_v4(const struct ip_prefix *p)
{
	uint32_t n;

	memcpy(&n, p->address, sizeof(n));
	return ntohl(n);
}

struct ip_prefix ip_of_v4(uint32_t address, unsigned length)
{
	struct ip_prefix p = {.length = length};
	const uint32_t n = htonl(address);

	memcpy(p.address, &n, sizeof(n));
	cut(p.address, length);
	return p;
}
