/* tests/unit/ecs/sigv4.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The vectors are of AWS's published Signature Version 4 test suite.
 */
#include "tests/unit/unit.h"

#include "ecs/sigv4.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define NOW    1440938160 /* 20150830T123600Z */

static const struct ecs_header vanilla[] = {{"Host", "example.amazonaws.com"},
					    {"X-Amz-Date", "20150830T123600Z"}};

static const struct {
	const char *method, *target, *signature;
} vectors[] = {
	{"GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"GET", "/?Param2=value2&Param1=value1",
	 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
};

static void the_published_vectors_are_met(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct ecs_http_request r = {.method = vectors[i].method,
						   .target = vectors[i].target,
						   .headers = vanilla,
						   .header_count = 2,
						   .body = ""};
		char authorization[ECS_SIGV4_AUTHORIZATION_SIZE];
		struct err e = {0};

		assert_ok(ecs_sigv4_sign(&r, "AKIDEXAMPLE", SECRET, "us-east-1", "service",
					 authorization, &e));
		assert_non_null(strstr(authorization, vectors[i].signature));
		assert_non_null(strstr(authorization,
				       "Credential=AKIDEXAMPLE/20150830/us-east-1/service/"
				       "aws4_request, SignedHeaders=host;x-amz-date, "));
	}
}

/* A signed request, some of it changed, and what is said then. */
struct change {
	const char *name, *target, *date, *body, *extra, *region, *secret;
	int64_t now;
	enum ecs_fault_type type;
	const char *says; /* NULL: it is accepted */
};

static int check(const struct change *c, struct ecs_fault *f)
{
	struct ecs_header headers[5] = {{"host", "127.0.0.1:4566"},
					{"x-amz-date", "20150830T123600Z"},
					{"X-Amz-Target", "S.Op"}};
	struct ecs_http_request r = {.method = "POST",
				     .target = "/",
				     .headers = headers,
				     .header_count = 3,
				     .body = "{}",
				     .body_size = 2};
	char authorization[ECS_SIGV4_AUTHORIZATION_SIZE];
	struct ecs_sigv4 s;
	struct err e = {0};

	assert_ok(ecs_sigv4_sign(&r, "AKID", SECRET, "us-east-1", "ecs", authorization, &e));
	headers[3] = (struct ecs_header){"authorization", authorization};
	r.header_count = 4;
	if (c->target)
		r.target = c->target;
	if (c->date)
		headers[1].value = c->date;
	if (c->body) {
		r.body = c->body;
		r.body_size = strlen(c->body);
	}
	if (c->extra)
		headers[r.header_count++] = (struct ecs_header){c->extra, "x"};
	if (ecs_sigv4_parse(&r, &s, f) < 0)
		return -1;
	return ecs_sigv4_verify(&r, &s, c->secret ? c->secret : SECRET,
				c->region ? c->region : "us-east-1", c->now ? c->now : NOW, f);
}

static void a_change_to_a_signed_request_is_noticed(void **state)
{
	static const struct change changes[] = {
		{.name = "none"},
		{.name = "a header that was not signed and means nothing", .extra = "Accept"},
		{.name = "15 minutes late", .now = NOW + 900},
		{.name = "late",
		 .now = NOW + 901,
		 .type = ECS_FAULT_REQUEST_EXPIRED,
		 .says = "Signature expired"},
		{.name = "early",
		 .now = NOW - 901,
		 .type = ECS_FAULT_REQUEST_EXPIRED,
		 .says = "not yet current"},
		{.name = "target",
		 .target = "/x",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "does not match"},
		{.name = "body",
		 .body = "{ }",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "does not match"},
		{.name = "key",
		 .secret = "other",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "does not match"},
		{.name = "region",
		 .region = "eu-west-1",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "valid region, not 'us-east-1'"},
		{.name = "an x-amz header that is not signed",
		 .extra = "X-Amz-User-Agent",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "'X-Amz-User-Agent' must be a 'SignedHeader'"},
		{.name = "the day of the scope",
		 .date = "20150831T123600Z",
		 .type = ECS_FAULT_INVALID_SIGNATURE,
		 .says = "Date in Credential scope"},
		{.name = "no time",
		 .date = "yesterday",
		 .type = ECS_FAULT_INCOMPLETE_SIGNATURE,
		 .says = "X-Amz-Date"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct ecs_fault f = {.message = ""};
		int r = check(&changes[i], &f);

		if ((r < 0) != (changes[i].says != NULL))
			fail_msg("%s: %d: %s", changes[i].name, r, f.message);
		if (r < 0 && (!strstr(f.message, changes[i].says) || f.type != changes[i].type))
			fail_msg("%s: %s: %s", changes[i].name, ecs_fault_name(f.type), f.message);
	}
}

static void an_authorization_header_is_read_strictly(void **state)
{
	static const struct {
		const char *value;
		enum ecs_fault_type type;
	} rows[] = {
		{"", ECS_FAULT_MISSING_TOKEN},
		{"Basic abc", ECS_FAULT_INCOMPLETE_SIGNATURE},
		{"AWS4-HMAC-SHA256 ", ECS_FAULT_INCOMPLETE_SIGNATURE},
		{"AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
		 ECS_FAULT_INCOMPLETE_SIGNATURE},
		{"AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host",
		 ECS_FAULT_INCOMPLETE_SIGNATURE},
		{"AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws5_request, SignedHeaders=host, Signature=0",
		 ECS_FAULT_INCOMPLETE_SIGNATURE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct ecs_header h = {"Authorization", rows[i].value};
		const struct ecs_http_request r = {.method = "POST",
						   .target = "/",
						   .headers = &h,
						   .header_count = 1,
						   .body = ""};
		struct ecs_fault f = {.message = ""};
		struct ecs_sigv4 s;

		assert_int_equal(ecs_sigv4_parse(&r, &s, &f), -1);
		assert_int_equal(f.type, rows[i].type);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_vectors_are_met),
		cmocka_unit_test(a_change_to_a_signed_request_is_noticed),
		cmocka_unit_test(an_authorization_header_is_read_strictly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
