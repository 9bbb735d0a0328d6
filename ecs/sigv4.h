/* ecs/sigv4.h - AWS Signature Version 4, made and checked
 * SPDX-License-Identifier: Apache-2.0
 *
 * Source: "Signature Version 4 signing process" of the AWS General Reference.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "ecs/fault.h"

#define ECS_SIGV4_SKEW_S 900 /* a request may be as old, or as early */
#define ECS_SIGV4_FIELD  128

struct ecs_header {
	const char *name, *value; /* borrowed */
};

/* A request as it went over the wire. */
struct ecs_http_request {
	const char *method;
	const char *target; /* raw path and query */
	const struct ecs_header *headers;
	size_t header_count;
	const void *body;
	size_t body_size;
};

/* What an Authorization header says. */
struct ecs_sigv4 {
	char access_key[ECS_SIGV4_FIELD];
	char date[9]; /* YYYYMMDD */
	char region[ECS_SIGV4_FIELD], service[ECS_SIGV4_FIELD];
	char signed_headers[1024]; /* "content-type;host;x-amz-date" */
	char signature[SHA256_HEX];
};

/*
 * Read the Authorization header.  MissingAuthenticationTokenException when
 * there is none, IncompleteSignatureException when it is not whole.
 */
int ecs_sigv4_parse(const struct ecs_http_request *r, struct ecs_sigv4 *ret, struct ecs_fault *f);

/*
 * Check the signature with the secret key that belongs to ret->access_key.
 * 'now_s' is the wall clock, 'region' ours.  InvalidSignatureException says
 * which part is wrong: scope, headers that must be signed, time, body, or all.
 */
int ecs_sigv4_verify(const struct ecs_http_request *r, const struct ecs_sigv4 *s,
		     const char *secret_key, const char *region, int64_t now_s,
		     struct ecs_fault *f);

/*
 * Sign: 'authorization' receives the header's value.  The headers of 'r' must
 * hold Host and X-Amz-Date (ecs_sigv4_date); all of them are signed.
 */
#define ECS_SIGV4_AUTHORIZATION_SIZE 2048
void ecs_sigv4_date(int64_t now_s, char ret[17]);
int ecs_sigv4_sign(const struct ecs_http_request *r, const char *access_key, const char *secret_key,
		   const char *region, const char *service,
		   char authorization[ECS_SIGV4_AUTHORIZATION_SIZE], struct err *e);
