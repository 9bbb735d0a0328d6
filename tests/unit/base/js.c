/* tests/unit/base/js.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/js.h"

struct port {
	char *protocol;
	uint32_t container_port;
};

struct thing {
	char *name;
	bool essential;
	int64_t *memory;
	struct js_strings command;
	struct js_list ports;
	struct js_map labels;
	double weight;
};

static const struct js_field port_fields[] = {
	{"containerPort", JS_U32, offsetof(struct port, container_port), JS_REQUIRED, NULL},
	{"protocol", JS_STRING, offsetof(struct port, protocol), 0, NULL},
};
static const struct js_shape port_shape = JS_SHAPE("Port", struct port, port_fields);

static const struct js_field thing_fields[] = {
	{"name", JS_STRING, offsetof(struct thing, name), JS_REQUIRED, NULL},
	{"essential", JS_BOOL, offsetof(struct thing, essential), 0, NULL},
	{"memory", JS_I64, offsetof(struct thing, memory), JS_POINTER, NULL},
	{"command", JS_STRINGS, offsetof(struct thing, command), 0, NULL},
	{"ports", JS_OBJECTS, offsetof(struct thing, ports), 0, &port_shape},
	{"labels", JS_MAP, offsetof(struct thing, labels), 0, NULL},
	{"weight", JS_DOUBLE, offsetof(struct thing, weight), 0, NULL},
};
static const struct js_shape thing_shape = JS_SHAPE("Thing", struct thing, thing_fields);

static int decode(const char *text, struct arena *a, struct thing *t, struct err *e)
{
	return js_decode_text(text, strlen(text), &thing_shape, a, t, e);
}

static void a_document_becomes_a_struct_and_back(void **state)
{
	static const char text[] = "{\"name\":\"web\",\"essential\":true,\"memory\":0,"
				   "\"command\":[\"a\",\"b\"],\"ports\":[{\"containerPort\":80}],"
				   "\"labels\":{\"k\":\"v\"}}";
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	struct thing t;
	struct err e = {0};
	char *again;

	(void)state;
	assert_ok(decode(text, &a, &t, &e));
	assert_string_equal(t.name, "web");
	assert_true(t.essential);
	assert_non_null(t.memory);
	assert_int_equal(*t.memory, 0);
	assert_int_equal(t.command.count, 2);
	assert_null(t.command.items[2]);
	assert_int_equal(JS_AT(t.ports, struct port, 0)->container_port, 80);
	assert_string_equal(t.labels.items[0].value, "v");

	doc = js_encode(&thing_shape, &t);
	again = js_dump(doc);
	assert_string_equal(again, text);
	free(again);
}

static void what_is_absent_stays_absent(void **state)
{
	auto_arena struct arena a = {0};
	struct thing t;
	struct err e = {0};

	(void)state;
	assert_ok(decode("{\"name\":\"x\",\"memory\":null,\"unknown\":[{}]}", &a, &t, &e));
	assert_null(t.memory);
	assert_int_equal(t.ports.count, 0);
}

static void an_error_names_the_member_by_its_path(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"{}", "name: missing"},
		{"[]", "expected an object"},
		{"{\"name\":7}", "name: expected a string"},
		{"{\"name\":\"x\",\"ports\":[{\"containerPort\":1},{\"containerPort\":\"80\"}]}",
		 "ports[1].containerPort: expected an integer"},
		{"{\"name\":\"x\",\"ports\":[{}]}", "ports[0].containerPort: missing"},
		{"{\"name\":\"x\",\"ports\":[{\"containerPort\":-1}]}", "from 0 to 4294967295"},
		{"{\"name\":\"x\",\"command\":[\"a\",null]}", "command[1]: expected a string"},
		{"{\"name\":\"x\",\"labels\":{\"k\":1}}", "labels.k: expected a string"},
		{"{\"name\":\"x\",\"name\":\"y\"}", "duplicate"},
		{"{\"name\":\"x\"} {", "end of file"},
		{"{\"name\":\"\\u0000\"}", "NUL"},
		{"", "JSON line"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_arena struct arena a = {0};
		struct err e = {0};
		struct thing t;

		assert_fails(decode(rows[i].text, &a, &t, &e), EINVAL);
		assert_says(rows[i].says);
	}
}

static void nesting_is_bounded_before_it_recurses(void **state)
{
	static char deep[200001];
	struct err e = {0};
	json_t *doc = NULL;

	(void)state;
	memset(deep, '[', sizeof(deep) - 1);
	assert_fails(js_parse(deep, sizeof(deep) - 1, 64, &doc, &e), EINVAL);
	assert_says("deeper than 64");
	assert_ok(js_parse("\"[[[[\"", 6, 1, &doc, &e));
	json_decref(doc);
}

static void any_bytes_become_a_string(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
		const char *text;
	} rows[] = {
		{"plain", 5, "plain"},
		{"h\xc3\xa4", 3, "h\xc3\xa4"},
		{"h\xc3", 2, "h\xef\xbf\xbd"}, /* cut */
		{"\xff"
		 "a\0b",
		 4,
		 "\xef\xbf\xbd"
		 "a\xef\xbf\xbd"
		 "b"},                                       /* never a byte of it; NUL */
		{"\xc0\x80", 2, "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
		{"\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_json json_t *s = js_string(rows[i].bytes, rows[i].size);

		assert_string_equal(json_string_value(s), rows[i].text);
	}
}

static void integers_beyond_int64_keep_their_bits(void **state)
{
	static const struct {
		const char *text;
		uint64_t value;
	} rows[] = {
		{"[18446744073709551615]", UINT64_MAX},
		{"[9223372036854775808]", 1ull << 63},
		{"[9223372036854775807]", INT64_MAX},
		{"[-9223372036854775808]", 1ull << 63},
		{"[0]", 0},
		{"[18446744073709551615, 1]", UINT64_MAX},
	};
	static const char *const refused[] = {"[18446744073709551616]", "[99999999999999999999999]",
					      "[-18446744073709551615]"};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *doc = NULL;
		struct err e = {0};

		assert_ok(js_parse_u64(rows[i].text, strlen(rows[i].text), 8, &doc, &e));
		assert_true((uint64_t)json_integer_value(json_array_get(doc, 0)) == rows[i].value);
	}
	for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
		json_t *doc = NULL;
		struct err e = {0};

		assert_fails(js_parse_u64(refused[i], strlen(refused[i]), 8, &doc, &e), EINVAL);
	}
}

static void digits_in_strings_and_fractions_are_left_alone(void **state)
{
	static const char text[] = "{\"18446744073709551615\":\"\\\"18446744073709551615\","
				   "\"a\":1.18446744073709551615,\"b\":1e1}";
	auto_json json_t *doc = NULL;
	struct err e = {0};

	(void)state;
	assert_ok(js_parse_u64(text, strlen(text), 8, &doc, &e));
	assert_string_equal(json_string_value(json_object_get(doc, "18446744073709551615")),
			    "\"18446744073709551615");
	assert_true(json_is_real(json_object_get(doc, "a")));
}

static void a_dump_is_what_jansson_dumps(void **state)
{
	static const char *const rows[] = {
		"{}",
		"[]",
		"[[],{},[{}]]",
		"{\"b\":1,\"a\":-1,\"c\":0,\"min\":-9223372036854775808,\"max\":9223372036854775807}",
		"[1.0,0.0,-0.5,1e300,1e-7,0.5,0.1234,123456789012345680000.0]",
		"[true,false,null]",
		"[\"\",\"a\\\"b\\\\c/d\",\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\",\"\\u00e4\\ud83d\\ude00\"]",
		"{\"k\\\"\\n\":\"v\",\"\":[]}",
	};
	auto_json json_t *with_nul = json_stringn("a\0b", 3);

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *doc = json_loads(rows[i], JSON_DECODE_ANY, NULL);
		auto_free char *dumped = js_dump(doc), *wanted = json_dumps(doc, JSON_COMPACT);

		assert_string_equal(dumped, wanted);
	}
	for (int ms = 0; ms < 1000; ms++) { /* times are read as they were */
		auto_json json_t *time = json_real(1700000000 + ms / 1000.0), *again = NULL;
		auto_free char *dumped = js_dump(time);

		again = json_loads(dumped, JSON_DECODE_ANY, NULL);
		assert_true(json_is_real(again) && json_real_value(again) == json_real_value(time));
		assert_true(strlen(dumped) <= strlen("1700000000.123"));
	}
	{
		auto_free char *dumped = js_dump(with_nul);

		assert_string_equal(dumped, "\"a\\u0000b\"");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_document_becomes_a_struct_and_back),
		cmocka_unit_test(what_is_absent_stays_absent),
		cmocka_unit_test(an_error_names_the_member_by_its_path),
		cmocka_unit_test(any_bytes_become_a_string),
		cmocka_unit_test(nesting_is_bounded_before_it_recurses),
		cmocka_unit_test(integers_beyond_int64_keep_their_bits),
		cmocka_unit_test(digits_in_strings_and_fractions_are_left_alone),
		cmocka_unit_test(a_dump_is_what_jansson_dumps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
