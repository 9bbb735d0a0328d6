/* dns/local.c - names of a VPC, answered without asking anybody (ldns)
 * SPDX-License-Identifier: Apache-2.0
 *
 * The library is given header and question alone, whose bounds were checked.
 */
#include "dns/local.h"

#include <assert.h>
#include <ctype.h>
#include <ldns/ldns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "dns/message.h"

#define TTL_S 60

AUTO_DEFINE(free_packet, ldns_pkt *, ldns_pkt_free)
AUTO_DEFINE(free_record, ldns_rr *, ldns_rr_free)

static bool ends_with(const uint8_t *name, size_t size, const char *tail, size_t tail_size)
{
	return size >= tail_size &&
	       strncasecmp((const char *)name + size - tail_size, tail, tail_size) == 0;
}

/* Most names are none of ours, and the library needs not be asked. */
static bool may_be_ours(const uint8_t *query, size_t question_size)
{
	static const char internal[] = "\10internal", arpa[] = "\7in-addr\4arpa";
	const uint8_t *name = query + MESSAGE_HEADER;
	size_t size = question_size - MESSAGE_HEADER - 4;

	return ends_with(name, size, internal, sizeof(internal)) ||
	       ends_with(name, size, arpa, sizeof(arpa));
}

static ldns_pkt *parse_question(const uint8_t *query, size_t question_size)
{
	uint8_t copy[MESSAGE_HEADER + 255 + 4];
	ldns_pkt *p = NULL;

	assert(question_size >= MESSAGE_HEADER && question_size <= sizeof(copy));

	memcpy(copy, query, question_size);
	(void)message_refuse(copy, question_size, 0);
	if (ldns_wire2pkt(&p, copy, question_size) != LDNS_STATUS_OK)
		return NULL;
	return p;
}

static ldns_rr *question_of(const ldns_pkt *p)
{
	return ldns_rr_list_rr(ldns_pkt_question(p), 0);
}

/* Four numbers without leading zeros, as they are written; the rest of the text. */
static const char *parse_numbers(const char *text, char between, unsigned char ret[4])
{
	for (int i = 0; i < 4; i++) {
		char *end;
		unsigned long n = strtoul(text, &end, 10);

		if (!isdigit((unsigned char)*text) || (*text == '0' && end > text + 1) ||
		    end > text + 3 || n > 255 || (i < 3 && *end != between))
			return NULL;
		ret[i] = (unsigned char)n;
		text = i < 3 ? end + 1 : end;
	}
	return text;
}

static bool parse_name(const char *text, struct local_name *ret)
{
	unsigned char n[4];
	const char *rest;
	size_t len;

	if (!str_starts(text, "ip-"))
		return false;
	rest = parse_numbers(text + strlen("ip-"), '-', n);
	if (!rest || *rest != '.')
		return false;
	len = strlen(++rest);
	if (len < 2 || len > sizeof(ret->domain) || rest[len - 1] != '.')
		return false;
	memcpy(ret->domain, rest, len - 1);
	ret->domain[len - 1] = '\0';
	ret->address = (uint32_t)n[0] << 24 | (uint32_t)n[1] << 16 | (uint32_t)n[2] << 8 | n[3];
	return true;
}

static bool parse_pointer(const char *text, struct local_name *ret)
{
	unsigned char n[4];
	const char *rest = parse_numbers(text, '.', n);

	if (!rest || !str_eq(rest, ".in-addr.arpa."))
		return false;
	ret->address = (uint32_t)n[3] << 24 | (uint32_t)n[2] << 16 | (uint32_t)n[1] << 8 | n[0];
	ret->is_pointer = true;
	return true;
}

bool local_parse(const uint8_t *query, size_t question_size, struct local_name *ret)
{
	auto_call(free_packet) ldns_pkt *p = NULL;
	auto_free char *text = NULL;

	if (!may_be_ours(query, question_size))
		return false;
	p = parse_question(query, question_size);
	if (!p || !question_of(p) || ldns_rr_get_class(question_of(p)) != LDNS_RR_CLASS_IN)
		return false;
	text = ldns_rdf2str(ldns_rr_owner(question_of(p)));
	for (char *c = text; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	*ret = (struct local_name){0};
	return text && (parse_name(text, ret) || parse_pointer(text, ret));
}

bool local_is_of(const struct local_name *n, const struct ip_prefix *vpc, const char *domain)
{
	const struct ip_prefix address = ip_of_v4(n->address, 32);

	return vpc->length && !vpc->v6 && ip_prefix_holds(vpc, &address) &&
	       (n->is_pointer || str_eq(n->domain, domain));
}

static ldns_rr *make_record(const ldns_pkt *p, const struct local_name *n, const char *domain)
{
	const ldns_rr_type wanted = ldns_rr_get_type(question_of(p)),
			   type = n->is_pointer ? LDNS_RR_TYPE_PTR : LDNS_RR_TYPE_A;
	auto_free char *name = xasprintf("ip-%u-%u-%u-%u.%s.", n->address >> 24,
					 n->address >> 16 & 0xff, n->address >> 8 & 0xff,
					 n->address & 0xff, domain);
	const uint32_t address = htonl(n->address);
	ldns_rdf *data;
	ldns_rr *rr;

	if (wanted != type && wanted != LDNS_RR_TYPE_ANY)
		return NULL;
	data = n->is_pointer ? ldns_rdf_new_frm_str(LDNS_RDF_TYPE_DNAME, name)
			     : ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, sizeof(address), &address);
	rr = ldns_rr_new();
	if (!rr || !data)
		abort(); /* memory is gone, as in xcalloc() */
	ldns_rr_set_owner(rr, ldns_rdf_clone(ldns_rr_owner(question_of(p))));
	ldns_rr_set_type(rr, type);
	ldns_rr_set_class(rr, LDNS_RR_CLASS_IN);
	ldns_rr_set_ttl(rr, TTL_S);
	(void)ldns_rr_push_rdf(rr, data);
	return rr;
}

/* The name is there; where it has nothing of the type that was asked for, nothing is the answer. */
uint8_t *local_answer(const uint8_t *query, size_t question_size, const struct local_name *n,
		      const char *domain, size_t *ret_size)
{
	auto_call(free_packet) ldns_pkt *p = parse_question(query, question_size);
	auto_call(free_record) ldns_rr *rr = p ? make_record(p, n, domain) : NULL;
	uint8_t *wire = NULL;

	if (!p || (rr && !ldns_pkt_push_rr(p, LDNS_SECTION_ANSWER, rr)))
		return NULL;
	if (rr)
		(void)take_ptr(rr);
	return ldns_pkt2wire(&wire, p, ret_size) == LDNS_STATUS_OK ? wire : NULL;
}
