/* tests/unit/net/state.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>

#include "base/auto.h"
#include "base/fs.h"
#include "net/state.h"

static char dir[] = "/tmp/berth-unit-XXXXXX";
static struct state files = STATE_NONE;

static int make_dir(void **state)
{
	struct err e = {0};

	(void)state;
	return mkdtemp(dir) ? state_open(dir, &files, &e) : -1;
}

static int drop_dir(void **state)
{
	struct err e = {0};

	(void)state;
	state_close(&files);
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

static struct net_port ports[] = {{80, 32768, NET_TCP, 1}, {53, 65000, NET_UDP, 536}};
static const struct endpoint web = {
	.id = "web", .mode = NET_BRIDGE, .address = 0xac1c0007, .ports = ports, .port_count = 2};

static void an_endpoint_is_written_as_the_header_says(void **state)
{
	auto_free char *text = endpoint_encode(&web);

	(void)state;
	assert_string_equal(text,
			    "{\"mode\":\"bridge\",\"address\":\"172.28.0.7\",\"ports\":["
			    "{\"containerPort\":80,\"hostPort\":32768,\"protocol\":\"tcp\"},"
			    "{\"containerPort\":53,\"hostPort\":65000,\"count\":536,\"protocol\":"
			    "\"udp\"}]}");
}

static void a_place_on_a_trunk_comes_back_as_it_was(void **state)
{
	struct endpoint ep = {.id = "t", .mode = NET_AWSVPC, .address = 0xac1c0007}, back = {0};
	auto_free char *text = NULL;
	struct err e = {0};

	(void)state;
	ep.own[0] = ip_of_v4(0x0a140064, 32);
	ep.vpc[0] = ip_of_v4(0x0a140000, 16);
	ep.trunk = (struct net_trunk){.vlan = 42,
				      .subnet = {ip_of_v4(0x0a140000, 24)},
				      .gateway = {ip_of_v4(0x0a140001, 32)}};
	assert_true(ip_address_parse("fd00:14::100", &ep.own[1]));
	assert_true(ip_prefix_parse("fd00:14::/64", &ep.trunk.subnet[1]));
	assert_true(ip_address_parse("fe80::1", &ep.trunk.gateway[1]));
	text = endpoint_encode(&ep);
	assert_ok(endpoint_decode(text, strlen(text), "t", &back, &e));
	assert_int_equal(back.trunk.vlan, 42);
	assert_int_equal(ip_v4(&back.trunk.gateway[0]), 0x0a140001);
	assert_int_equal(back.trunk.subnet[0].length, 24);
	assert_memory_equal(&back.trunk.subnet[1], &ep.trunk.subnet[1], sizeof(struct ip_prefix));
	assert_memory_equal(&back.trunk.gateway[1], &ep.trunk.gateway[1], sizeof(struct ip_prefix));
	endpoint_done(&back);
}

static void a_service_comes_back_as_it_was(void **state)
{
	struct endpoint ep = {.id = "m", .mode = NET_BRIDGE, .address = 0xac1c0007}, back = {0};
	auto_free char *text = NULL;
	struct err e = {0};

	(void)state;
	ep.service[0] = ip_of_v4(0xa9feaa02, 32);
	assert_true(ip_address_parse("fd00:ec2::253", &ep.service[1]));
	text = endpoint_encode(&ep);
	assert_string_equal(text, "{\"mode\":\"bridge\",\"address\":\"172.28.0.7\","
				  "\"service\":\"169.254.170.2\",\"service6\":\"fd00:ec2::253\"}");
	assert_ok(endpoint_decode(text, strlen(text), "m", &back, &e));
	assert_int_equal(ip_v4(&back.service[0]), 0xa9feaa02);
	assert_int_equal(back.service[0].length, 32);
	assert_memory_equal(&back.service[1], &ep.service[1], sizeof(ep.service[1]));
	endpoint_done(&back);
}

static void an_endpoint_comes_back_as_it_was(void **state)
{
	struct endpoint *list = NULL;
	struct err e = {0};
	size_t count = 0;

	(void)state;
	assert_ok(state_write_endpoint(&files, &web, &e));
	assert_ok(state_read_endpoints(&files, &list, &count, &e));
	assert_int_equal(count, 1);
	assert_string_equal(list[0].id, "web");
	assert_int_equal(list[0].address, web.address);
	assert_int_equal(list[0].port_count, 2);
	assert_memory_equal(list[0].ports, ports, sizeof(ports));
	endpoint_done(&list[0]);
	free(list);
	assert_ok(state_rest_endpoint(&files, &web, &e));
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"mode\":\"awsvpc\"}",
		"{\"mode\":\"bridge\"}",
		"{\"mode\":\"none\",\"address\":\"1.2.3.4\"}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3\"}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"own\":[\"1.2.3.5/32\"]}",
		"{\"mode\":\"none\",\"own\":[\"fd00::1/128\"]}",
		"{\"mode\":\"bridge\",\"address\":\"0.0.0.0\"}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"service\":\"10.0.0.1\"}",
		"{\"mode\":\"none\",\"service\":\"169.254.170.2\"}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"service6\":\"fd00::253\"}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"service6\":\"169.254.169.253\"}",
		"{\"mode\":\"none\",\"ports\":[{\"containerPort\":80,\"hostPort\":1,\"protocol\":"
		"\"tcp\"}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":80,"
		"\"hostPort\":0,\"protocol\":\"tcp\"}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":65536,"
		"\"hostPort\":1,\"protocol\":\"tcp\"}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":80,"
		"\"hostPort\":1,\"protocol\":\"sctp\"}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":80}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":80,"
		"\"hostPort\":65000,\"count\":537,\"protocol\":\"tcp\"}]}",
		"{\"mode\":\"bridge\",\"address\":\"1.2.3.4\",\"ports\":[{\"containerPort\":80,"
		"\"hostPort\":1,\"count\":4294967295,\"protocol\":\"tcp\"}]}",
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
		struct endpoint ep;

		if (endpoint_decode(cases[i], strlen(cases[i]), "x", &ep, &e) >= 0)
			fail_msg("%s", cases[i]);
		assert_true(e.msg[0]);
	}
}

static void broken_files_are_nobodys_and_removed(void **state)
{
	static const char *const names[] = {"broken", "web.1234.tmp", "bad name"};
	struct endpoint *list = NULL;
	struct err e = {0};
	size_t count = 9;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		assert_ok(fs_replace(files.endpoints_fd, names[i], "{\"mo", 4, 0600, FS_QUICK, &e));
	assert_ok(state_read_endpoints(&files, &list, &count, &e));
	assert_int_equal(count, 0);
	free(list);
	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		assert_int_equal(faccessat(files.endpoints_fd, names[i], F_OK, 0), -1);
}

static void an_ended_endpoint_leaves_its_address_to_rest(void **state)
{
	uint32_t *resting = NULL;
	struct err e = {0};
	size_t count = 0;

	(void)state;
	assert_ok(state_write_endpoint(&files, &web, &e));
	assert_ok(state_rest_endpoint(&files, &web, &e));
	assert_ok(state_rest_endpoint(&files, &web, &e)); /* twice is fine */
	assert_int_equal(faccessat(files.endpoints_fd, "web", F_OK, 0), -1);
	assert_ok(state_read_resting(&files, &resting, &count, &e));
	assert_int_equal(count, 1);
	assert_int_equal(resting[0], web.address);
	free(resting);
	state_forget_resting(&files, web.address);
	assert_int_equal(faccessat(files.resting_fd, "172.28.0.7", F_OK, 0), -1);
}

static void what_was_taken_of_the_host_comes_back(void **state)
{
	static char quiet[65536][IFNAMSIZ]; /* hosts with that many links exist */
	const struct host_state h = {.block = {0xac1c0000, 16},
				     .forwarding = {{.is_ours = true,
						     .quiet = quiet,
						     .quiet_count = ARRAY_COUNT(quiet)}},
				     .self = {{.address = {100, 64, 0, 5}, .length = 32}}};
	struct host_state back = {0};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(quiet); i++)
		(void)snprintf(quiet[i], sizeof(quiet[i]), "veth%08zx.42", i);
	assert_int_equal(state_read_host(&files, &back, &e), NET_ABSENT);
	assert_ok(state_write_host(&files, &h, &e));
	assert_ok(state_read_host(&files, &back, &e));
	assert_int_equal(back.block.base, h.block.base);
	assert_int_equal(back.block.prefix, 16);
	assert_true(back.forwarding[0].is_ours);
	assert_int_equal(back.forwarding[0].quiet_count, ARRAY_COUNT(quiet));
	assert_string_equal(back.forwarding[0].quiet[65535], "veth0000ffff.42");
	assert_memory_equal(back.self, h.self, sizeof(h.self));
	host_state_done(&back);

	assert_ok(fs_replace(files.dir_fd, "host", "{\"block\":\"no\"}", 14, 0600, FS_QUICK, &e));
	assert_int_equal(state_read_host(&files, &back, &e), NET_ABSENT);
}

static void ids_are_plain_words(void **state)
{
	char longest[NET_ID_MAX + 2];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[NET_ID_MAX + 1] = '\0';
	assert_false(endpoint_id_ok(longest));
	longest[NET_ID_MAX] = '\0';
	assert_true(endpoint_id_ok(longest));
	assert_true(endpoint_id_ok("0f3a-web_1"));
	assert_false(endpoint_id_ok(""));
	assert_false(endpoint_id_ok("a/b"));
	assert_false(endpoint_id_ok(".."));
	assert_false(endpoint_id_ok("a b"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_endpoint_is_written_as_the_header_says),
		cmocka_unit_test(an_endpoint_comes_back_as_it_was),
		cmocka_unit_test(a_place_on_a_trunk_comes_back_as_it_was),
		cmocka_unit_test(a_service_comes_back_as_it_was),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(broken_files_are_nobodys_and_removed),
		cmocka_unit_test(an_ended_endpoint_leaves_its_address_to_rest),
		cmocka_unit_test(what_was_taken_of_the_host_comes_back),
		cmocka_unit_test(ids_are_plain_words),
	};

	return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
