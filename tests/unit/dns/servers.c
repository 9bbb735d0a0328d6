/* tests/unit/dns/servers.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "dns/servers.h"

/* "192.0.2.1 2001:db8::1": what there is. */
static void list(const struct servers *s, char *ret, size_t size)
{
	size_t at = 0;

	*ret = '\0';
	for (size_t i = 0; i < s->count; i++) {
		const struct sockaddr_storage *a = &s->items[i];
		char text[INET6_ADDRSTRLEN];
		struct sockaddr_in6 v6;
		struct sockaddr_in v4;

		memcpy(&v4, a, sizeof(v4));
		memcpy(&v6, a, sizeof(v6));
		assert_int_equal(ntohs(v4.sin_port), 53);
		assert_non_null(a->ss_family == AF_INET
					? inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text))
					: inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text)));
		at += (size_t)snprintf(ret + at, size - at, "%s%s", i ? " " : "", text);
	}
}

static void servers_are_read_as_by_the_c_library(void **state)
{
	static const struct {
		const char *text, *servers;
	} rows[] = {
		{"nameserver 192.0.2.1\n", "192.0.2.1"},
		{"# no\n;no\nsearch a b\nnameserver\t192.0.2.1 \noptions x\nnameserver 2001:db8::1",
		 "192.0.2.1 2001:db8::1"},
		{"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver "
		 "192.0.2.4\n",
		 "192.0.2.1 192.0.2.2 192.0.2.3"},
		{"nameserver fe80::1%lo\n", "fe80::1"},
		{"nameserver 127.0.0.53 # a stub\n", "127.0.0.53"},
		/* what names none */
		{"", ""},
		{"nameserver\n", ""},
		{"nameserver \n", ""},
		{"nameservers 192.0.2.1\n", ""},
		{" nameserver 192.0.2.1\n", ""},
		{"#nameserver 192.0.2.1\n", ""},
		{"nameserver example.org\nnameserver 192.0.2.256\nnameserver ::g\n", ""},
		{"nameserver 192.0.2.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1\n",
		 ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct servers s;
		char text[200];

		servers_parse(rows[i].text, &s);
		list(&s, text, sizeof(text));
		assert_string_equal(text, rows[i].servers);
	}
}

static void write_text(int dir_fd, const char *name, const char *text)
{
	struct err e = {0};

	assert_ok(fs_write(dir_fd, name, text, strlen(text), 0644, &e));
}

static void files_are_read_again_when_they_change(void **state)
{
	char dir[] = "/tmp/berth-servers-XXXXXX", text[200], first[64], second[64];
	const char *const files[2] = {first, second};
	static const struct {
		const char *first, *second, *servers; /* NULL: it is not there */
	} rows[] = {
		{NULL, NULL, "127.0.0.1"}, /* resolv.conf(5): the host itself */
		{"nameserver 192.0.2.1\n", NULL, "192.0.2.1"},
		{"nameserver 192.0.2.2\n", "nameserver 192.0.2.9\n", "192.0.2.2"},
		{"nameserver 127.0.0.53\n", "nameserver 192.0.2.9\n", "192.0.2.9"},
		{"nameserver 127.0.0.53\n", "nameserver 192.0.2.8\n", "192.0.2.8"},
		{"nameserver 127.0.0.53\n", NULL, "127.0.0.53"},
		{"nameserver 127.0.0.53\n", "search x\n", "127.0.0.53"},
		{"nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "nameserver 192.0.2.9\n",
		 "127.0.0.53 192.0.2.1"},
		{"search x\n", "nameserver 192.0.2.9\n", "127.0.0.1"},
	};
	struct host_servers h = {0};
	auto_close int dir_fd = -1;
	struct err e = {0};

	(void)state;
	assert_non_null(mkdtemp(dir));
	dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(first, sizeof(first), "%s/a", dir);
	(void)snprintf(second, sizeof(second), "%s/b", dir);
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		unsigned version;

		(void)unlink(first);
		(void)unlink(second);
		if (rows[i].first)
			write_text(dir_fd, "a", rows[i].first);
		if (rows[i].second)
			write_text(dir_fd, "b", rows[i].second);
		servers_look(&h, files);
		list(&h.servers, text, sizeof(text));
		assert_string_equal(text, rows[i].servers);
		version = h.version;
		servers_look(&h, files);
		assert_int_equal(h.version, version);
	}
	assert_ok(fs_remove_tree(AT_FDCWD, dir, &e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(servers_are_read_as_by_the_c_library),
		cmocka_unit_test(files_are_read_again_when_they_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
