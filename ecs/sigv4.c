/* ecs/sigv4.c - AWS Signature Version 4, made and checked
 * SPDX-License-Identifier: Apache-2.0
 *
 * A signature is an HMAC over the hash of a canonical text of the request,
 * with a key derived from the secret and the scope (date, region, service):
 *
 *   canonical = method, path, query, headers, names of headers, hash of body
 *   to_sign   = "AWS4-HMAC-SHA256", time, scope, hash of canonical
 *   signature = HMAC(key(secret, scope), to_sign)
 */
#include "ecs/sigv4.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#define ALGORITHM       "AWS4-HMAC-SHA256"
#define CANONICAL_LIMIT 65536
#define QUERY_MAX       128

/* ---- the canonical request ---- */

static const char *header(const struct ecs_http_request *r, const char *name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			return r->headers[i].value;
	return NULL;
}

static void add_path(struct buf *b, const char *target)
{
	static const char unreserved[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";

	if (*target != '/')
		buf_putc(b, '/');
	for (; *target && *target != '?'; target++) {
		if (strchr(unreserved, *target))
			buf_putc(b, *target);
		else
			buf_printf(b, "%%%02X", (unsigned char)*target);
	}
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The pairs of the query, sorted; one without '=' gets it. */
static void add_query(struct buf *b, const char *target)
{
	const char *query = strchr(target, '?');
	auto_free char *copy = xstrdup(query ? query + 1 : "");
	char *pairs[QUERY_MAX] = {0}, *save = NULL;
	size_t count = 0;

	for (char *p = strtok_r(copy, "&", &save); p && count < QUERY_MAX;
	     p = strtok_r(NULL, "&", &save))
		pairs[count++] = p;
	qsort(pairs, count, sizeof(*pairs), compare_text);
	for (size_t i = 0; i < count; i++)
		buf_printf(b, "%s%s%s", i ? "&" : "", pairs[i], strchr(pairs[i], '=') ? "" : "=");
}

/* Blanks at both ends go, runs of blanks become one. */
static void add_trimmed(struct buf *b, const char *value)
{
	bool blank = false, any = false;

	for (; *value; value++) {
		if (*value == ' ' || *value == '\t') {
			blank = any;
			continue;
		}
		if (blank)
			buf_putc(b, ' ');
		buf_putc(b, *value);
		blank = false;
		any = true;
	}
}

static void add_header(struct buf *b, const struct ecs_http_request *r, const char *name)
{
	bool first = true;

	buf_printf(b, "%s:", name);
	for (size_t i = 0; i < r->header_count; i++) {
		if (strcasecmp(r->headers[i].name, name) != 0)
			continue;
		if (!first)
			buf_putc(b, ',');
		add_trimmed(b, r->headers[i].value);
		first = false;
	}
	buf_putc(b, '\n');
}

static void hex_sha256(const void *data, size_t size, char ret[SHA256_HEX])
{
	unsigned char digest[SHA256_SIZE];

	sha256_of(data, size, digest);
	hex_encode(digest, sizeof(digest), ret);
}

/* The hash of the canonical request; false when it is too large to be honest. */
static bool hash_canonical(const struct ecs_http_request *r, const char *signed_headers,
			   char ret[SHA256_HEX])
{
	auto_buf struct buf b = BUF_INIT(CANONICAL_LIMIT);
	auto_free char *names = xstrdup(signed_headers);
	char body[SHA256_HEX], *save = NULL;

	buf_printf(&b, "%s\n", r->method);
	add_path(&b, r->target);
	buf_putc(&b, '\n');
	add_query(&b, r->target);
	buf_putc(&b, '\n');
	for (char *name = strtok_r(names, ";", &save); name; name = strtok_r(NULL, ";", &save))
		add_header(&b, r, name);
	hex_sha256(r->body, r->body_size, body);
	buf_printf(&b, "\n%s\n%s", signed_headers, body);
	hex_sha256(buf_str(&b), b.size, ret);
	return !buf_overflow(&b);
}

/* ---- the signature ---- */

static void derive_key(const struct ecs_sigv4 *s, const char *secret_key,
		       unsigned char key[SHA256_SIZE])
{
	auto_free char *first = xasprintf("AWS4%s", secret_key);

	hmac_sha256(first, strlen(first), s->date, strlen(s->date), key);
	hmac_sha256(key, SHA256_SIZE, s->region, strlen(s->region), key);
	hmac_sha256(key, SHA256_SIZE, s->service, strlen(s->service), key);
	hmac_sha256(key, SHA256_SIZE, "aws4_request", 12, key);
	explicit_bzero(first, strlen(first));
}

static bool calculate(const struct ecs_http_request *r, const struct ecs_sigv4 *s,
		      const char *secret_key, const char *time, char signature[SHA256_HEX])
{
	unsigned char key[SHA256_SIZE], mac[SHA256_SIZE];
	char canonical[SHA256_HEX], to_sign[512];

	if (!hash_canonical(r, s->signed_headers, canonical))
		return false;
	(void)snprintf(to_sign, sizeof(to_sign), ALGORITHM "\n%s\n%s/%s/%s/aws4_request\n%s", time,
		       s->date, s->region, s->service, canonical);
	derive_key(s, secret_key, key);
	hmac_sha256(key, sizeof(key), to_sign, strlen(to_sign), mac);
	hex_encode(mac, sizeof(mac), signature);
	explicit_bzero(key, sizeof(key));
	return true;
}

/* ---- checking ---- */

static bool copy_field(char *ret, size_t size, const char *text, size_t len)
{
	if (!len || len >= size)
		return false;
	memcpy(ret, text, len);
	ret[len] = '\0';
	return true;
}

/* "KEY/20260102/us-east-1/ecs/aws4_request" */
static bool parse_credential(const char *text, size_t len, struct ecs_sigv4 *ret)
{
	struct {
		char *field;
		size_t size;
	} fields[] = {{ret->access_key, sizeof(ret->access_key)},
		      {ret->date, sizeof(ret->date)},
		      {ret->region, sizeof(ret->region)},
		      {ret->service, sizeof(ret->service)}};
	const char *end = text + len;

	for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
		const char *slash = memchr(text, '/', (size_t)(end - text));

		if (!slash ||
		    !copy_field(fields[i].field, fields[i].size, text, (size_t)(slash - text)))
			return false;
		text = slash + 1;
	}
	return (size_t)(end - text) == 12 && memcmp(text, "aws4_request", 12) == 0 &&
	       strlen(ret->date) == 8;
}

static bool take_parameter(const char *name, const char *value, size_t len, struct ecs_sigv4 *ret)
{
	if (str_starts(name, "Credential="))
		return parse_credential(value, len, ret);
	if (str_starts(name, "SignedHeaders="))
		return copy_field(ret->signed_headers, sizeof(ret->signed_headers), value, len);
	if (str_starts(name, "Signature="))
		return len == SHA256_HEX - 1 &&
		       copy_field(ret->signature, sizeof(ret->signature), value, len);
	return true;
}

int ecs_sigv4_parse(const struct ecs_http_request *r, struct ecs_sigv4 *ret, struct ecs_fault *f)
{
	const char *p = header(r, "Authorization");
	struct ecs_sigv4 s = {.access_key = ""};

	if (!p || !*p)
		return ecs_fault_set(f, ECS_FAULT_MISSING_TOKEN,
				     "Request is missing Authentication Token");
	if (!str_starts(p, ALGORITHM " "))
		return ecs_fault_set(f, ECS_FAULT_INCOMPLETE_SIGNATURE,
				     "Authorization header requires the algorithm " ALGORITHM);

	for (p += strlen(ALGORITHM); *p;) {
		const char *name = p + strspn(p, " ,"), *value;
		size_t len;

		if (!*name)
			break;
		value = name + strcspn(name, "=,");
		value += *value == '=';
		len = strcspn(value, " ,");
		if (!take_parameter(name, value, len, &s))
			return ecs_fault_set(
				f, ECS_FAULT_INCOMPLETE_SIGNATURE,
				"Authorization header has an invalid parameter: '%.100s'", name);
		p = value + len;
	}
	if (!*s.access_key || !*s.signed_headers || !*s.signature)
		return ecs_fault_set(
			f, ECS_FAULT_INCOMPLETE_SIGNATURE,
			"Authorization header requires 'Credential', 'SignedHeaders' and "
			"'Signature' parameters.");
	*ret = s;
	return 0;
}

/* Is 'name' one of the names in "a;b;c"? */
static bool is_signed(const char *signed_headers, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = signed_headers; p; p = strchr(p, ';')) {
		p += *p == ';';
		if (strncasecmp(p, name, len) == 0 && (p[len] == ';' || p[len] == '\0'))
			return true;
	}
	return false;
}

/* Every header that says what to do must be covered: Host and all X-Amz-. */
static int check_coverage(const struct ecs_http_request *r, const struct ecs_sigv4 *s,
			  struct ecs_fault *f)
{
	if (!is_signed(s->signed_headers, "host"))
		return ecs_fault_set(f, ECS_FAULT_INVALID_SIGNATURE,
				     "'Host' must be a 'SignedHeader' in the AWS Authorization.");
	for (size_t i = 0; i < r->header_count; i++)
		if (strncasecmp(r->headers[i].name, "x-amz-", 6) == 0 &&
		    !is_signed(s->signed_headers, r->headers[i].name))
			return ecs_fault_set(
				f, ECS_FAULT_INVALID_SIGNATURE,
				"'%.60s' must be a 'SignedHeader' in the AWS Authorization.",
				r->headers[i].name);
	return 0;
}

/* "20260102T030405Z" to seconds since 1970. */
static bool parse_time(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y%m%dT%H%M%SZ", &tm);

	if (!end || *end || strlen(text) != 16)
		return false;
	*ret = timegm(&tm);
	return true;
}

static int check_time(const char *time, const struct ecs_sigv4 *s, int64_t now_s,
		      struct ecs_fault *f)
{
	char now[17];
	int64_t then;

	if (!time || !parse_time(time, &then))
		return ecs_fault_set(
			f, ECS_FAULT_INCOMPLETE_SIGNATURE,
			"Authorization header requires existence of a valid 'X-Amz-Date' header.");
	if (!str_starts(time, s->date))
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_SIGNATURE,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
			"date from HTTP: '%s' != '%.8s'",
			s->date, time);
	ecs_sigv4_date(now_s, now);
	if (then < now_s - ECS_SIGV4_SKEW_S)
		return ecs_fault_set(
			f, ECS_FAULT_REQUEST_EXPIRED,
			"Signature expired: %s is now earlier than %s by more than 15 min.", time,
			now);
	if (then > now_s + ECS_SIGV4_SKEW_S)
		return ecs_fault_set(
			f, ECS_FAULT_REQUEST_EXPIRED,
			"Signature not yet current: %s is still later than %s by more than 15 min.",
			time, now);
	return 0;
}

int ecs_sigv4_verify(const struct ecs_http_request *r, const struct ecs_sigv4 *s,
		     const char *secret_key, const char *region, int64_t now_s, struct ecs_fault *f)
{
	const char *time = header(r, "X-Amz-Date"), *claimed = header(r, "X-Amz-Content-Sha256");
	char signature[SHA256_HEX], body[SHA256_HEX];

	if (strcmp(s->region, region) != 0)
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_SIGNATURE,
			"Credential should be scoped to a valid region, not '%s'. This server is "
			"'%s'.",
			s->region, region);
	if (check_coverage(r, s, f) < 0 || check_time(time, s, now_s, f) < 0)
		return -1;

	hex_sha256(r->body, r->body_size, body);
	if (claimed && strcasecmp(claimed, body) != 0)
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_SIGNATURE,
			"The provided 'x-amz-content-sha256' header does not match what was "
			"computed.");
	if (!calculate(r, s, secret_key, time, signature) ||
	    !equal_in_constant_time(signature, s->signature, SHA256_HEX - 1))
		return ecs_fault_set(
			f, ECS_FAULT_INVALID_SIGNATURE,
			"The request signature we calculated does not match the signature you "
			"provided. Check your AWS Secret Access Key and signing method. Consult the "
			"service documentation for details.");
	return 0;
}

/* ---- making ---- */

void ecs_sigv4_date(int64_t now_s, char ret[17])
{
	time_t t = (time_t)now_s;
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	(void)strftime(ret, 17, "%Y%m%dT%H%M%SZ", &tm);
}

static bool list_headers(const struct ecs_http_request *r, char *ret, size_t size)
{
	auto_free char **names = xcalloc(r->header_count + 1, sizeof(*names));
	size_t len = 0;

	for (size_t i = 0; i < r->header_count; i++) {
		names[i] = xstrdup(r->headers[i].name);
		for (char *c = names[i]; *c; c++)
			*c = (char)tolower((unsigned char)*c);
	}
	qsort(names, r->header_count, sizeof(*names), compare_text);
	for (size_t i = 0; i < r->header_count; i++) {
		if (len < size)
			len += (size_t)snprintf(ret + len, size - len, "%s%s", i ? ";" : "",
						names[i]);
		free(names[i]);
	}
	return len < size;
}

int ecs_sigv4_sign(const struct ecs_http_request *r, const char *access_key, const char *secret_key,
		   const char *region, const char *service,
		   char authorization[ECS_SIGV4_AUTHORIZATION_SIZE], struct err *e)
{
	const char *time = header(r, "X-Amz-Date");
	struct ecs_sigv4 s = {.access_key = ""};

	assert(time && header(r, "Host"));

	if (!copy_field(s.access_key, sizeof(s.access_key), access_key, strlen(access_key)) ||
	    !copy_field(s.region, sizeof(s.region), region, strlen(region)) ||
	    !copy_field(s.service, sizeof(s.service), service, strlen(service)) ||
	    !copy_field(s.date, sizeof(s.date), time, 8) ||
	    !list_headers(r, s.signed_headers, sizeof(s.signed_headers)) ||
	    !calculate(r, &s, secret_key, time, s.signature))
		return err_set(e, EINVAL,
			       "sign request: access key, region or headers are too long");

	(void)snprintf(authorization, ECS_SIGV4_AUTHORIZATION_SIZE,
		       ALGORITHM
		       " Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s",
		       s.access_key, s.date, s.region, s.service, s.signed_headers, s.signature);
	return 0;
}
