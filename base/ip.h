/* base/ip.h - addresses and prefixes of both families
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define IP_TEXT_MAX 50 /* bytes of an IPv6 prefix as text, with its NUL */

/* An address is a prefix of all its bits. */
struct ip_prefix {
	bool v6;
	unsigned length; /* bits */
	unsigned char
		address[16]; /* network byte order; IPv4: the first four; zero behind the length */
};

/* "10.9.0.0/16", "fd00::/64"; bits behind the length are cleared.  False: it is neither. */
bool ip_prefix_parse(const char *text, struct ip_prefix *ret);
/* "10.9.0.1", "fd00::1". */
bool ip_address_parse(const char *text, struct ip_prefix *ret);

/* As text, with the length; and without. */
void ip_prefix_format(const struct ip_prefix *p, char ret[IP_TEXT_MAX]);
void ip_address_format(const struct ip_prefix *p, char ret[IP_TEXT_MAX]);

/* Every address of 'inner' is one of 'outer'. */
bool ip_prefix_holds(const struct ip_prefix *outer, const struct ip_prefix *inner);
bool ip_prefix_overlaps(const struct ip_prefix *a, const struct ip_prefix *b);

/* Has it addresses of IPv4 that no host can have: this network, loopback, link-local, multicast? */
bool ip_prefix_is_special(const struct ip_prefix *p);

/* The last address of a prefix: four bytes, or sixteen. */
void ip_prefix_last(const struct ip_prefix *p, unsigned char *ret);

/* Of a socket: of IPv4 also where that is shown as ::ffff:0:0/96; length 0: of another family. */
struct ip_prefix ip_of_socket(const struct sockaddr_storage *address);

/* The bits of an IPv4 address as a number, and back. */
uint32_t ip_v4(const struct ip_prefix *p);
struct ip_prefix ip_of_v4(uint32_t address, unsigned length);
