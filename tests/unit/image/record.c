/* tests/unit/image/record.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "image/record.h"

#define HEX64  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DIGEST "sha256:" HEX64
#define HEAD   "berth image 1\n"
#define NEEDED "digest " DIGEST "\nmanifest " DIGEST "\nos linux\narchitecture amd64\n"
#define LAYER  "layer " DIGEST " " DIGEST " 1234\n"

static void what_is_written_is_what_was_read(void **state)
{
	static const char text[] = HEAD "digest " DIGEST "\nmanifest " DIGEST "\n"
					"os linux\n"
					"architecture arm\n"
					"variant v7\n"
					"created -5\n"
					"entrypoint /bin/sh\n"
					"entrypoint -c\n"
					"entrypoint line one\\x0aline two\\x5c\n"
					"cmd \n"
					"env PATH=/bin\n"
					"env \n"
					"env B=\\x01\\x7f\xc3\xa9\n"
					"user \n"
					"label a\\x20key\\x20with\\x20blanks  a value \n"
					"label  \n" LAYER LAYER "step 5 full RUN\\x20make \n"
					"step 0 empty CMD a\\x20comment\n"
					"sibling " DIGEST " linux/arm/v7\n"
					"sibling " DIGEST " unknown/unknown\n"
					"document " DIGEST " 7\n"
					"document " DIGEST " 8 application/x.y+json\n"
					"name docker.io/library/busybox:1\n";
	auto_record struct record *r = NULL;
	auto_buf struct buf again = BUF_INIT(RECORD_SIZE_MAX);
	struct err e = {0};

	(void)state;
	assert_ok(record_read(text, strlen(text), &r, &e));
	record_write(r, &again);
	assert_string_equal(buf_str(&again), text);

	assert_int_equal(r->image.created_ms, -5);
	assert_int_equal(r->image.entrypoint.count, 3);
	assert_string_equal(r->image.entrypoint.items[2], "line one\nline two\\");
	assert_null(r->image.entrypoint.items[3]);
	assert_int_equal(r->image.cmd.count, 1);
	assert_string_equal(r->image.env.items[1], "");
	assert_string_equal(r->image.env.items[2], "B=\x01\x7f\xc3\xa9");
	assert_string_equal(r->image.labels.items[0].key, "a key with blanks");
	assert_string_equal(r->image.labels.items[0].value, " a value ");
	assert_string_equal(r->image.labels.items[1].key, "");
	assert_string_equal(r->image.user, "");
	assert_null(r->image.working_dir);
	assert_int_equal(r->layer_count, 2);
	assert_int_equal(r->layers[1].blob_size, 1234);
	assert_int_equal(r->image.step_count, 2);
	assert_string_equal(r->image.steps[0].created_by, "RUN make");
	assert_int_equal(r->image.steps[0].created_ms, 5);
	assert_true(r->image.steps[1].empty);
	assert_string_equal(r->image.steps[1].comment, "a comment");
	assert_int_equal(r->image.sibling_count, 2);
	assert_string_equal(r->image.siblings[0].platform, "linux/arm/v7");
	assert_string_equal(r->image.siblings[1].manifest, DIGEST);
	assert_int_equal(r->document_count, 2);
	assert_string_equal(r->documents[1].media_type, "application/x.y+json");
	assert_int_equal(r->names.count, 1);
	assert_int_equal(r->documents[0].size, 7);
}

static void lists_of_any_length_end_with_null(void **state)
{
	(void)state;
	for (size_t count = 1; count < 70; count++) {
		auto_record struct record *r = NULL;
		auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);
		struct err e = {0};

		buf_puts(&text, HEAD NEEDED LAYER);
		for (size_t i = 0; i < count; i++)
			buf_printf(&text, "env N=%zu\n", i);
		assert_ok(record_read(text.data, text.size, &r, &e));
		assert_int_equal(r->image.env.count, count);
		assert_null(r->image.env.items[count]);
	}
}

static void a_damaged_record_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"", "does not begin"},
		{"berth image 2\n" NEEDED LAYER, "does not begin"},
		{HEAD LAYER, "no digest"},
		{HEAD NEEDED, "no layers"},
		{HEAD NEEDED LAYER "word", "no value"},
		{HEAD NEEDED LAYER "word x\n", "unknown word 'word'"},
		{HEAD NEEDED LAYER "\nuser x\n", "no value"},
		{HEAD NEEDED LAYER "os linux\n", "invalid os"},
		{HEAD NEEDED LAYER "created x\n", "invalid created"},
		{HEAD NEEDED LAYER "user \\y\n", "invalid user"},
		{HEAD NEEDED LAYER "user \\x0\n", "invalid user"},
		{HEAD NEEDED LAYER "user \\x00\n", "invalid user"},
		{HEAD NEEDED LAYER "label x\n", "invalid label"},
		{HEAD NEEDED "layer x\n", "layer 0: invalid digest"},
		{HEAD NEEDED "layer sha256:../.. " DIGEST " 1\n", "layer 0: invalid digest"},
		{HEAD NEEDED "layer " DIGEST " " DIGEST "\n", "layer 0: invalid size"},
		{HEAD NEEDED "layer " DIGEST " " DIGEST " -1\n", "layer 0: invalid size"},
		{HEAD NEEDED LAYER "sibling x linux/arm\n", "invalid sibling"},
		{HEAD NEEDED LAYER "sibling " DIGEST "\n", "invalid sibling"},
		{HEAD NEEDED LAYER "sibling " DIGEST " ../arm\n", "invalid sibling"},
		{HEAD "digest x\n", "invalid digest"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct record *r = NULL;
		struct err e = {0};

		assert_fails(record_read(cases[i].text, strlen(cases[i].text), &r, &e), EINVAL);
		assert_says(cases[i].says);
	}
}

static void more_than_127_layers_are_refused(void **state)
{
	auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);
	struct record *r = NULL;
	struct err e = {0};

	(void)state;
	buf_puts(&text, HEAD NEEDED);
	for (int i = 0; i < 127; i++)
		buf_puts(&text, LAYER);
	assert_ok(record_read(text.data, text.size, &r, &e));
	record_free(r);
	buf_puts(&text, LAYER);
	assert_fails(record_read(text.data, text.size, &r, &e), E2BIG);
	assert_says("127");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_what_was_read),
		cmocka_unit_test(lists_of_any_length_end_with_null),
		cmocka_unit_test(a_damaged_record_is_refused),
		cmocka_unit_test(more_than_127_layers_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
