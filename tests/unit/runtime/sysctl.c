/* tests/unit/runtime/sysctl.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "runtime/sysctl.h"

static const struct ns_wish all[NS_COUNT] = {
	[NS_NETWORK] = {true, NULL}, [NS_IPC] = {true, NULL}, [NS_UTS] = {true, NULL}};
static const struct ns_wish none[NS_COUNT];

static void parameters_of_own_namespaces_are_taken(void **state)
{
	static const char *const keys[] = {
		"net.ipv4.ip_forward", "net/ipv4/ip_forward",    "net.ipv4.conf.eth0/1.forwarding",
		"kernel.shmmax",       "kernel.msgmnb",          "kernel.sem",
		"fs.mqueue.msg_max",   "kernel.shm_rmid_forced", "kernel.domainname",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		struct err e = {0};

		assert_ok(sysctl_check(keys[i], all, &e));
		assert_fails(sysctl_check(keys[i], none, &e), EINVAL);
		assert_says("namespace that is not the host's");
	}
}

static void parameters_of_the_host_are_refused(void **state)
{
	static const char *const keys[] = {
		"kernel.panic", "vm.swappiness", "kernel.hostname", "kernel.semx",
		"fs.file-max",  "kernel",        "netx.a",          "kernel.domainname.x",
		"net",          "fs.mqueue",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		struct err e = {0};

		assert_fails(sysctl_check(keys[i], all, &e), EINVAL);
		assert_says("not a parameter of a namespace");
	}
}

static void names_that_walk_are_refused(void **state)
{
	static const char *const keys[] = {
		"net/../kernel/panic",     "net..x",   "net/./x", "/net/x", "net/", "", ".net.x",
		"net/../../../etc/passwd", "net.x/..", "net.."};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
		struct err e = {0};

		assert_fails(sysctl_check(keys[i], all, &e), EINVAL);
		assert_says("is not the name of a parameter");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_of_own_namespaces_are_taken),
		cmocka_unit_test(parameters_of_the_host_are_refused),
		cmocka_unit_test(names_that_walk_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
