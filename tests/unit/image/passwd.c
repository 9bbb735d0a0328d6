/* tests/unit/image/passwd.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "base/buf.h"
#include "image/passwd.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "# comment\n"
			     "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
			     "broken:x:zero:zero::/:\n"
			     "short:x:7:7\n"
			     "big:x:4294967294:4294967294::/big:\n"
			     "too-big:x:4294967295:0::/:\n"
			     "negative:x:-1:0::/:\n"
			     "homeless:x:8:8::relative:\n"
			     "app:x:1000:100:App:/home/app:/bin/sh\n"
			     "app:x:2000:200:second:/:/bin/sh\n"
			     "500:x:600:700:name is a number:/n:/bin/sh\n"
			     "last:x:9:9::/last:";
static const char group[] = "root:x:0:\n"
			    "wheel:x:10:root,app\n"
			    "audio:x:29:app\n"
			    "audio2:x:29:app\n"
			    "users:x:100:app\n"
			    "apple:x:55:apple,xapp\n"
			    "broken:x:x:app\n"
			    "staff:x:50:other,app\n"
			    "700:x:701:";

static void users_are_found_as_docker_finds_them(void **state)
{
	static const struct {
		const char *user;
		struct image_user is;
	} cases[] = {
		{"", {0, 0, {10}, 1, "/root"}},
		{"root", {0, 0, {10}, 1, "/root"}},
		{"0", {0, 0, {10}, 1, "/root"}},
		{"daemon", {1, 1, {0}, 0, "/usr/sbin"}},
		{"app", {1000, 100, {10, 29, 50}, 3, "/home/app"}},
		{"1000", {1000, 100, {10, 29, 50}, 3, "/home/app"}},
		{"2000", {2000, 200, {10, 29, 100, 50}, 4, "/"}},
		{"last", {9, 9, {0}, 0, "/last"}},
		{"homeless", {8, 8, {0}, 0, "/"}},
		/* With a group there are no others. */
		{"app:audio", {1000, 29, {0}, 0, "/home/app"}},
		{"app:5", {1000, 5, {0}, 0, "/home/app"}},
		{"app:", {1000, 100, {10, 29, 50}, 3, "/home/app"}},
		{":audio", {0, 29, {0}, 0, "/root"}},
		{":", {0, 0, {10}, 1, "/root"}},
		/* Numbers need no entry. */
		{"1234", {1234, 0, {0}, 0, "/"}},
		{"1234:5678", {1234, 5678, {0}, 0, "/"}},
		{"7", {7, 0, {0}, 0, "/"}},
		{"4294967294:4294967294", {4294967294, 4294967294, {0}, 0, "/big"}},
		/* A name that looks like a number is a name, too. */
		{"500", {600, 700, {0}, 0, "/n"}},
		{"app:700", {1000, 701, {0}, 0, "/home/app"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		const struct image_user *is = &cases[i].is;
		struct image_user u;
		struct err e = {0};

		assert_ok(passwd_lookup(passwd, group, cases[i].user, &u, &e));
		if (u.uid != is->uid || u.gid != is->gid || u.group_count != is->group_count)
			fail_msg("'%s': %u:%u and %zu groups", cases[i].user, u.uid, u.gid,
				 u.group_count);
		assert_memory_equal(u.groups, is->groups, is->group_count * sizeof(uint32_t));
		assert_string_equal(u.home, is->home);
	}
}

static void who_is_not_there_is_refused(void **state)
{
	static const struct {
		const char *user;
		int errnum;
		const char *says;
	} cases[] = {
		{"nobody", ENOENT, "user 'nobody': no such user"},
		{"nobody:0", ENOENT, "no such user"},
		{"app:nogroup", ENOENT, "no such group"},
		{"broken", ENOENT, "no such user"},
		{"short", ENOENT, "no such user"},
		{"too-big", ENOENT, "no such user"},
		{"negative", ENOENT, "no such user"},
		{"app:broken", ENOENT, "no such group"},
		{"4294967295", EINVAL, "ids end at 4294967294"},
		{"4294967296", EINVAL, "ids end at"},
		{"99999999999999999999", EINVAL, "ids end at"},
		{"0:4294967295", EINVAL, "ids end at"},
		{"-1", ENOENT, "no such user"},
		{"+0", ENOENT, "no such user"},
		{" 0", ENOENT, "no such user"},
		{"0x0", ENOENT, "no such user"},
		{"app:audio:x", ENOENT, "no such group"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct image_user u;
		struct err e = {0};

		assert_fails(passwd_lookup(passwd, group, cases[i].user, &u, &e), cases[i].errnum);
		assert_says(cases[i].says);
	}
}

static void the_files_may_be_empty(void **state)
{
	struct image_user u;
	struct err e = {0};

	(void)state;
	assert_ok(passwd_lookup("", "", "", &u, &e));
	assert_int_equal(u.uid, 0);
	assert_ok(passwd_lookup("\n\n:::::::\n", "::::\n", "5:6", &u, &e));
	assert_int_equal(u.uid, 5);
	assert_int_equal(u.gid, 6);
	assert_fails(passwd_lookup("", "", "root", &u, &e), ENOENT);
}

static void groups_have_a_limit(void **state)
{
	auto_buf struct buf groups = BUF_INIT(1 << 20);
	struct image_user u;
	struct err e = {0};

	(void)state;
	for (int i = 0; i < IMAGE_USER_GROUPS_MAX; i++)
		buf_printf(&groups, "g%d:x:%d:app\n", i, 3000 + i);
	assert_ok(passwd_lookup(passwd, buf_str(&groups), "app", &u, &e));
	assert_int_equal(u.group_count, IMAGE_USER_GROUPS_MAX);
	buf_puts(&groups, "more:x:9999:app\n");
	assert_fails(passwd_lookup(passwd, buf_str(&groups), "app", &u, &e), E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_are_found_as_docker_finds_them),
		cmocka_unit_test(who_is_not_there_is_refused),
		cmocka_unit_test(the_files_may_be_empty),
		cmocka_unit_test(groups_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
