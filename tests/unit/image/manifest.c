/* tests/unit/image/manifest.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/text.h"
#include "image/manifest.h"
#include "image/reason.h"

#define D(digit)                                                                                \
	"sha256:" digit digit digit digit digit digit digit digit digit digit digit digit digit \
		digit digit digit
#define D1 D("1111")
#define D2 D("2222")
#define D3 D("3333")

#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"
#define V2_LIST      "application/vnd.docker.distribution.manifest.list.v2+json"
#define V2_MANIFEST  "application/vnd.docker.distribution.manifest.v2+json"
#define V2_CONFIG    "application/vnd.docker.container.image.v1+json"
#define V2_LAYER     "application/vnd.docker.image.rootfs.diff.tar.gzip"

#define DESCRIPTOR(type, digest, size) \
	"{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define FOR(digest, platform)                                                       \
	"{\"mediaType\":\"" OCI_MANIFEST "\",\"digest\":\"" digest "\",\"size\":9," \
	"\"platform\":{" platform "}}"
#define MANIFEST(type, config, layers)                                       \
	"{\"schemaVersion\":2,\"mediaType\":\"" type "\",\"config\":" config \
	",\"layers\":[" layers "]}"
#define CONFIG DESCRIPTOR(OCI_CONFIG, D1, "100")
#define LAYER  DESCRIPTOR(OCI_LAYER, D2, "1000")
#define INDEX(items) \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX "\",\"manifests\":[" items "]}"

static const struct platform amd64 = {"linux", "amd64", ""};

static void both_families_of_manifests_are_read(void **state)
{
	static const struct {
		const char *text, *content_type;
	} cases[] = {
		{MANIFEST(OCI_MANIFEST, CONFIG, LAYER "," LAYER), OCI_MANIFEST},
		{MANIFEST(OCI_MANIFEST, CONFIG, LAYER "," LAYER), NULL},
		{MANIFEST(OCI_MANIFEST, CONFIG, LAYER "," LAYER), OCI_MANIFEST "; charset=utf-8"},
		{MANIFEST(V2_MANIFEST, DESCRIPTOR(V2_CONFIG, D1, "1"),
			  LAYER "," DESCRIPTOR(V2_LAYER, D3, "0")),
		 V2_MANIFEST},
		{"{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER "," LAYER
		 "],\"subject\":" LAYER ",\"annotations\":{\"a\":\"b\"}}",
		 OCI_MANIFEST},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct document d;
		struct err e = {0};

		assert_ok(document_parse(cases[i].text, strlen(cases[i].text),
					 cases[i].content_type, &d, &e));
		assert_int_equal(d.kind, DOCUMENT_MANIFEST);
		assert_int_equal(d.count, 2);
		assert_string_equal(d.config->digest, D1);
		assert_string_equal(d.items[0].digest, D2);
		assert_int_equal(d.items[0].size, 1000);
		document_done(&d);
	}
}

static void a_bad_manifest_is_refused(void **state)
{
	static const struct {
		const char *text, *content_type;
		enum image_reason reason;
		const char *says;
	} cases[] = {
		{"<html>", OCI_MANIFEST, IMAGE_REASON_MALFORMED, "JSON line 1"},
		{"", OCI_MANIFEST, IMAGE_REASON_MALFORMED, "JSON"},
		{"[]", OCI_MANIFEST, IMAGE_REASON_MALFORMED, "object"},
		{"{}", OCI_MANIFEST, IMAGE_REASON_MALFORMED, "schemaVersion"},
		{"{\"schemaVersion\":2,\"schemaVersion\":2}", NULL, IMAGE_REASON_MALFORMED,
		 "duplicate"},
		{"{\"schemaVersion\":1,\"fsLayers\":[]}", "application/json",
		 IMAGE_REASON_UNSUPPORTED, "schema 1"},
		{"{\"schemaVersion\":3}", OCI_MANIFEST, IMAGE_REASON_UNSUPPORTED, "schema 3"},
		{"{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER "]}", NULL,
		 IMAGE_REASON_MALFORMED, "no media type"},
		{MANIFEST(OCI_MANIFEST, CONFIG, LAYER), OCI_INDEX, IMAGE_REASON_MALFORMED,
		 "it calls itself"},
		{MANIFEST(OCI_INDEX, CONFIG, LAYER), OCI_INDEX, IMAGE_REASON_UNSUPPORTED,
		 OCI_INDEX},
		{MANIFEST("text/html", CONFIG, LAYER), NULL, IMAGE_REASON_UNSUPPORTED, "text/html"},
		{"{\"schemaVersion\":2,\"manifests\":[],\"config\":" CONFIG ",\"layers\":[" LAYER
		 "]}",
		 OCI_MANIFEST, IMAGE_REASON_MALFORMED, "both an index and a manifest"},
		{"{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", OCI_INDEX,
		 IMAGE_REASON_MALFORMED, "both an index and a manifest"},
		{"{\"schemaVersion\":2,\"layers\":[" LAYER "]}", OCI_MANIFEST,
		 IMAGE_REASON_MALFORMED, "no configuration"},
		{MANIFEST(OCI_MANIFEST, CONFIG, ""), NULL, IMAGE_REASON_MALFORMED, "no layers"},
		{MANIFEST(OCI_MANIFEST, DESCRIPTOR("application/vnd.oci.empty.v1+json", D1, "2"),
			  LAYER),
		 NULL, IMAGE_REASON_UNSUPPORTED, "not a container image"},
		{MANIFEST(OCI_MANIFEST, CONFIG,
			  DESCRIPTOR("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
				     D2, "1")),
		 NULL, IMAGE_REASON_UNSUPPORTED, "layer 0: it is to be fetched from elsewhere"},
		{MANIFEST(OCI_MANIFEST, CONFIG,
			  LAYER "," DESCRIPTOR(OCI_LAYER "+encrypted", D2, "1")),
		 NULL, IMAGE_REASON_UNSUPPORTED, "layer 1: it is encrypted"},
		{MANIFEST(OCI_MANIFEST, CONFIG, DESCRIPTOR("text/plain", D2, "1")), NULL,
		 IMAGE_REASON_UNSUPPORTED, "media type 'text/plain'"},
		{MANIFEST(OCI_MANIFEST, CONFIG, "{\"digest\":\"" D2 "\",\"size\":1}"), NULL,
		 IMAGE_REASON_UNSUPPORTED, "layer 0: media type ''"},
		{MANIFEST(OCI_MANIFEST, CONFIG, DESCRIPTOR(OCI_LAYER, "sha256:../../../x", "1")),
		 NULL, IMAGE_REASON_UNSUPPORTED, "layer 0: digest 'sha256:../../../x'"},
		{MANIFEST(OCI_MANIFEST, CONFIG, DESCRIPTOR(OCI_LAYER, D2, "-1")), NULL,
		 IMAGE_REASON_MALFORMED, "layer 0: negative size"},
		{MANIFEST(OCI_MANIFEST, CONFIG, DESCRIPTOR(OCI_LAYER, D2, "9223372036854775807")),
		 NULL, IMAGE_REASON_TOO_LARGE, "layer 0"},
		{MANIFEST(OCI_MANIFEST, CONFIG, DESCRIPTOR(OCI_LAYER, D2, "1.5")), NULL,
		 IMAGE_REASON_MALFORMED, "layers[0].size"},
		{MANIFEST(OCI_MANIFEST, DESCRIPTOR(OCI_CONFIG, D1, "8388609"), LAYER), NULL,
		 IMAGE_REASON_TOO_LARGE, "configuration"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct document d;
		struct err e = {0};

		assert_true(document_parse(cases[i].text, strlen(cases[i].text),
					   cases[i].content_type, &d, &e) < 0);
		assert_says(cases[i].says);
		assert_int_equal(image_reason_of(&e), cases[i].reason);
	}
}

static void a_manifest_has_at_most_127_layers(void **state)
{
	auto_buf struct buf text = BUF_INIT(1 << 20);
	struct document d;
	struct err e = {0};

	(void)state;
	for (int count = 127; count <= 128; count++) {
		buf_reset(&text);
		buf_puts(&text, "{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[" LAYER);
		for (int i = 1; i < count; i++)
			buf_puts(&text, "," LAYER);
		buf_puts(&text, "]}");
		if (count == 127) {
			assert_ok(document_parse(text.data, text.size, OCI_MANIFEST, &d, &e));
			document_done(&d);
		} else {
			assert_fails(document_parse(text.data, text.size, OCI_MANIFEST, &d, &e),
				     EFBIG);
			assert_says("128 layers, the limit is 127");
		}
	}
}

static void the_index_gives_the_manifest_for_the_machine(void **state)
{
	static const struct {
		const char *machine, *items, *digest;
	} cases[] = {
		{"linux/amd64",
		 FOR(D1, "\"os\":\"linux\",\"architecture\":\"arm64\"") "," FOR(
			 D2, "\"os\":\"linux\",\"architecture\":\"amd64\""),
		 D2},
		{"linux/arm/v7",
		 FOR(D1, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"") "," FOR(
			 D2, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\""),
		 D2},
		{"linux/arm/v6",
		 FOR(D1, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"") "," FOR(
			 D2, "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\""),
		 D1},
		/* The first of equals; what says nothing only when nothing else fits. */
		{"linux/amd64",
		 LAYER "," FOR(D1, "\"os\":\"linux\",\"architecture\":\"amd64\"") "," FOR(
			 D3, "\"os\":\"linux\",\"architecture\":\"amd64\""),
		 D1},
		{"linux/amd64", FOR(D1, "\"os\":\"linux\",\"architecture\":\"arm64\"") "," LAYER,
		 D2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_free char *text = xasprintf(INDEX("%s"), cases[i].items);
		const struct descriptor *chosen;
		struct platform machine;
		struct document d;
		struct err e = {0};

		assert_ok(platform_parse(cases[i].machine, &machine, &e));
		assert_ok(document_parse(text, strlen(text), OCI_INDEX, &d, &e));
		assert_int_equal(d.kind, DOCUMENT_INDEX);
		assert_ok(document_choose(&d, &machine, &chosen, &e));
		assert_string_equal(chosen->digest, cases[i].digest);
		document_done(&d);
	}
}

static void no_manifest_for_the_machine_says_which_there_are(void **state)
{
	static const char text[] = "{\"schemaVersion\":2,\"manifests\":[" FOR(
		D1,
		"\"os\":\"linux\","
		"\"architecture\":\"arm64\","
		"\"variant\":\"v8\"") "," FOR(D2,
					      "\"os\":\"unknown\",\"architecture\":\"unknown\"") "," FOR(D3,
													 "\"os\":\"windows\",\"architecture\":\"amd64\"") "]}";
	const struct descriptor *chosen;
	struct document d;
	struct err e = {0};

	(void)state;
	assert_ok(document_parse(text, strlen(text), V2_LIST, &d, &e));
	assert_fails(document_choose(&d, &amd64, &chosen, &e), ENOEXEC);
	assert_string_equal(e.msg, "no image for linux/amd64, the index has linux/arm64/v8, "
				   "windows/amd64");
	document_done(&d);
}

static void all_manifests_of_an_index_are_siblings(void **state)
{
	static const char text[] = INDEX(
		FOR(D1, "\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"") "," LAYER "," FOR(
			D3, "\"os\":\"Windows NT\",\"architecture\":\"amd64\""));
	static const struct {
		const char *manifest, *platform;
	} expected[] = {{D1, "linux/arm64/v8"}, {D2, "unknown/unknown"}, {D3, "unknown/unknown"}};
	struct image image = {.sibling_count = 0};
	struct document d;
	struct err e = {0};

	(void)state;
	assert_ok(document_parse(text, strlen(text), OCI_INDEX, &d, &e));
	document_note_siblings(&d, &image);
	document_done(&d);
	assert_int_equal(image.sibling_count, ARRAY_COUNT(expected));
	for (size_t i = 0; i < ARRAY_COUNT(expected); i++) {
		assert_string_equal(image.siblings[i].manifest, expected[i].manifest);
		assert_string_equal(image.siblings[i].platform, expected[i].platform);
	}
	arena_done(&image.arena);
}

static void what_is_no_image_may_have_anything_in_it(void **state)
{
	static const struct {
		const char *config, *layers, *says; /* NULL: fine */
	} cases[] = {
		{"{\"mediaType\":\"x/y\",\"digest\":\"" D1 "\",\"size\":2}",
		 "{\"mediaType\":\"application/vnd.in-toto+json\",\"digest\":\"" D2
		 "\",\"size\":1000}",
		 NULL},
		{"{\"digest\":\"" D1 "\",\"size\":2}", "", NULL},
		{"{\"digest\":\"" D1 "\",\"size\":1001}", "", "1001 bytes, the limit is 1000"},
		{"{\"digest\":\"" D1 "\",\"size\":2}", "{\"digest\":\"sha256:../x\",\"size\":1}",
		 "is not sha256:"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_free char *text = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\","
						 "\"config\":%s,\"layers\":[%s]}",
						 OCI_MANIFEST, cases[i].config, cases[i].layers);
		struct document d;
		struct err e = {0};
		int r = document_parse_other(text, strlen(text), 1000, &d, &e);

		if (!cases[i].says) {
			assert_ok(r);
			assert_string_equal(d.config->digest, D1);
			document_done(&d);
			continue;
		}
		assert_true(r < 0);
		assert_says(cases[i].says);
	}
}

/* A manifest of two layers and the configuration given. */
static int parse_config(const char *config, struct record *r, struct err *e)
{
	static const char text[] = MANIFEST(OCI_MANIFEST, CONFIG, LAYER "," LAYER);
	struct document d;
	int ret;

	if (document_parse(text, strlen(text), NULL, &d, e) < 0)
		return -e->code;
	ret = config_parse(config, strlen(config), &d, &amd64, r, e);
	document_done(&d);
	return ret;
}

#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" D1 "\",\"" D3 "\"]}"

static void a_configuration_becomes_a_record(void **state)
{
	static const char config[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\","
		"\"created\":\"2024-05-06T07:08:09.123456789+02:00\","
		"\"config\":{\"User\":\"app:staff\",\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
		"\"Env\":[\"PATH=/bin\",\"A=b\"],\"Entrypoint\":[\"/init\"],\"Cmd\":[\"serve\"],"
		"\"Volumes\":{\"/data\":{}},\"WorkingDir\":\"/srv\",\"StopSignal\":\"SIGQUIT\","
		"\"Labels\":{\"k\":\"v\"},\"Healthcheck\":{\"Test\":[\"NONE\"]}},"
		"\"history\":[{}]," ROOTFS "}";
	auto_record struct record *r = record_new();
	const struct image *image = &r->image;
	struct err e = {0};

	(void)state;
	assert_ok(parse_config(config, r, &e));
	assert_string_equal(image->os, "linux");
	assert_string_equal(image->architecture, "amd64");
	assert_null(image->variant);
	assert_int_equal(image->created_ms, 1714972089123); /* date -d ... +%s */
	assert_string_equal(image->user, "app:staff");
	assert_string_equal(image->working_dir, "/srv");
	assert_string_equal(image->stop_signal, "SIGQUIT");
	assert_int_equal(image->ports.count, 2);
	assert_string_equal(image->ports.items[0], "80/tcp");
	assert_string_equal(image->ports.items[1], "53/udp");
	assert_int_equal(image->env.count, 2);
	assert_string_equal(image->entrypoint.items[0], "/init");
	assert_string_equal(image->cmd.items[0], "serve");
	assert_string_equal(image->volumes.items[0], "/data");
	assert_string_equal(image->labels.items[0].value, "v");
	assert_int_equal(r->layer_count, 2);
	assert_string_equal(r->layers[1].diff_id, D3);
	assert_string_equal(r->layers[1].blob, D2);
	assert_int_equal(r->layers[1].blob_size, 1000);
}

static void an_image_may_say_little(void **state)
{
	auto_record struct record *r = record_new();
	struct err e = {0};

	(void)state;
	assert_ok(parse_config("{" ROOTFS ",\"config\":null,\"created\":\"yesterday\"}", r, &e));
	assert_string_equal(r->image.architecture, "amd64");
	assert_int_equal(r->image.created_ms, 0);
	assert_int_equal(r->image.cmd.count, 0);
	assert_null(r->image.user);
}

static void a_bad_configuration_is_refused(void **state)
{
	static const struct {
		const char *text;
		enum image_reason reason;
		const char *says;
	} cases[] = {
		{"nothing", IMAGE_REASON_MALFORMED, "configuration: JSON"},
		{"{}", IMAGE_REASON_MALFORMED, "rootfs"},
		{"{" ROOTFS ",\"architecture\":\"arm64\",\"os\":\"linux\"}", IMAGE_REASON_PLATFORM,
		 "no image for linux/amd64, this one is for linux/arm64"},
		{"{" ROOTFS ",\"architecture\":\"amd64\",\"os\":\"windows\"}",
		 IMAGE_REASON_PLATFORM, "windows/amd64"},
		{"{\"rootfs\":{\"diff_ids\":[\"" D1 "\"]}}", IMAGE_REASON_MALFORMED,
		 "1 diff-ids, but the manifest has 2 layers"},
		{"{\"rootfs\":{\"diff_ids\":[\"" D1 "\",\"sha256:..\"]}}", IMAGE_REASON_UNSUPPORTED,
		 "diff-id 'sha256:..'"},
		{"{" ROOTFS ",\"config\":{\"Env\":[1]}}", IMAGE_REASON_MALFORMED, "config.Env[0]"},
		{"{" ROOTFS ",\"config\":{\"ExposedPorts\":[]}}", IMAGE_REASON_MALFORMED,
		 "ExposedPorts"},
		{"{" ROOTFS ",\"config\":{\"Volumes\":{\"data\":{}}}}", IMAGE_REASON_MALFORMED,
		 "volume 'data'"},
		{"{" ROOTFS ",\"config\":{\"Volumes\":{\"/a/../../etc\":{}}}}",
		 IMAGE_REASON_MALFORMED, "volume '/a/../../etc'"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		auto_record struct record *r = record_new();
		struct err e = {0};

		assert_true(parse_config(cases[i].text, r, &e) < 0);
		assert_says(cases[i].says);
		assert_int_equal(image_reason_of(&e), cases[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_families_of_manifests_are_read),
		cmocka_unit_test(a_bad_manifest_is_refused),
		cmocka_unit_test(a_manifest_has_at_most_127_layers),
		cmocka_unit_test(the_index_gives_the_manifest_for_the_machine),
		cmocka_unit_test(no_manifest_for_the_machine_says_which_there_are),
		cmocka_unit_test(all_manifests_of_an_index_are_siblings),
		cmocka_unit_test(what_is_no_image_may_have_anything_in_it),
		cmocka_unit_test(a_configuration_becomes_a_record),
		cmocka_unit_test(an_image_may_say_little),
		cmocka_unit_test(a_bad_configuration_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
