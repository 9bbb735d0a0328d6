/* tests/unit/image/wire.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/wire.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static int pair[2];

static int open_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	close_fd(&pair[0]);
	close_fd(&pair[1]);
	return 0;
}

static void a_report_arrives(void **state)
{
	const struct report sent = {
		.kind = REPORT_LAYER, .layer = 3, .bytes = 5, .total_bytes = 9, .digest = DIGEST};
	struct report got;

	(void)state;
	assert_int_equal(report_recv(pair[1], &got), REPORT_AGAIN);
	assert_int_equal(report_send(pair[0], &sent), 0);
	assert_int_equal(report_recv(pair[1], &got), 0);
	assert_memory_equal(&sent, &got, sizeof(got));
	close_fd(&pair[0]);
	assert_int_equal(report_recv(pair[1], &got), REPORT_CLOSED);
}

static void a_failure_keeps_code_and_sentence(void **state)
{
	struct err e = {0};
	struct report got;

	(void)state;
	(void)err_set(&e, ENOSPC, "write 'a\x1b[31m\xffz'");
	assert_int_equal(report_failure(pair[0], REPORT_NO_LAYER, &e), 0);
	assert_int_equal(report_recv(pair[1], &got), 0);
	assert_int_equal(got.kind, REPORT_FAILED);
	assert_int_equal(got.layer, REPORT_NO_LAYER);
	assert_int_equal(got.code, ENOSPC);
	assert_string_equal(got.text, "write 'a?[31m?z'");
}

static void an_origin_is_a_digest_and_whole_strings(void **state)
{
	static const struct origin good = {.digest = DIGEST, .peer.address = "10.0.0.1:1"};
	struct origin bad[5];

	(void)state;
	assert_true(origin_is_valid(&good));
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		bad[i] = good;
	bad[0].digest[0] = '\0';
	bad[1].digest[8] = '/';
	memset(bad[2].peer.address, 'a', sizeof(bad[2].peer.address));
	memset(bad[3].peer.key, 'a', sizeof(bad[3].peer.key));
	memset(bad[4].peer.name, 'a', sizeof(bad[4].peer.name));
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		assert_false(origin_is_valid(&bad[i]));
}

static void what_is_no_report_is_refused(void **state)
{
	static const struct report good = {.kind = REPORT_UNPACKED, .digest = DIGEST};
	struct report bad[13], got;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
		bad[i] = good;
	bad[0].kind = 0;
	bad[1].kind = REPORT_FAILED + 1;
	bad[2].layer = IMAGE_LAYERS_MAX;
	bad[3].layer_count = IMAGE_LAYERS_MAX + 1;
	bad[4].phase = IMAGE_LAYER_EXISTS + 1;
	bad[5].code = 4096;
	bad[6].digest[0] = 'x';
	memset(bad[7].digest, 'a', sizeof(bad[7].digest));
	memset(bad[8].text, 'a', sizeof(bad[8].text));
	bad[9].digest[0] = bad[10].digest[0] = bad[11].digest[0] = bad[12].digest[0] = '\0';
	bad[10].kind = REPORT_WANT;
	bad[11].kind = REPORT_GOT;
	bad[12].kind = REPORT_LISTED;

	assert_int_equal(report_send(pair[0], &good), 0);
	assert_int_equal(report_recv(pair[1], &got), 0);
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		assert_int_equal(report_send(pair[0], &bad[i]), 0);
		if (report_recv(pair[1], &got) != -EBADMSG)
			fail_msg("report %zu was taken", i);
	}
	assert_int_equal(send(pair[0], &good, sizeof(good) - 1, 0), sizeof(good) - 1);
	assert_int_equal(report_recv(pair[1], &got), -EBADMSG);
}

static void descriptors_are_not_taken(void **state)
{
	static const struct report good = {.kind = REPORT_DONE};
	int before = dup(pair[0]), after;
	struct report got;

	(void)state;
	(void)close(before);
	assert_int_equal(fs_send(pair[0], &good, sizeof(good), pair, 2), 0);
	assert_int_equal(report_recv(pair[1], &got), -EMSGSIZE);
	after = dup(pair[0]);
	(void)close(after);
	assert_int_equal(before, after);
}

static void text_becomes_printable(void **state)
{
	static const struct {
		const char *text, *clean;
	} cases[] = {
		{"", ""},
		{"plain 'text'", "plain 'text'"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8b", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8b"},
		{"a\nb\tc\x7f", "a?b?c?"},
		{"\xc3", "?"},
		{"\xc3(", "?("},
		{"\xe2\x82", "??"},
		{"\xc0\x80\xe0\x80\x80", "?????"}, /* overlong */
		{"\xed\xa0\x80", "???"},           /* a surrogate */
		{"\xf5\x80\x80\x80", "????"},
		{"\xc2\x9b", "??"}, /* a control sequence begins so, too */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		char text[32];

		memcpy(text, cases[i].text, strlen(cases[i].text) + 1);
		clean_text(text);
		assert_string_equal(text, cases[i].clean);
	}
}

int main(void)
{
#define OVER_A_PAIR(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
	const struct CMUnitTest tests[] = {
		OVER_A_PAIR(a_report_arrives),
		OVER_A_PAIR(a_failure_keeps_code_and_sentence),
		OVER_A_PAIR(what_is_no_report_is_refused),
		cmocka_unit_test(an_origin_is_a_digest_and_whole_strings),
		OVER_A_PAIR(descriptors_are_not_taken),
		cmocka_unit_test(text_becomes_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
