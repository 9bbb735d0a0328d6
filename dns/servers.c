/* dns/servers.c - the resolvers of the host, as resolv.conf(5) names them
 * SPDX-License-Identifier: Apache-2.0
 *
 * Whether a file has changed is asked before each socket, by stat(2): that costs a microsecond,
 * and nothing has to watch directories in which files are replaced.
 */
#include "dns/servers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"

#define FILE_BYTES   65536
#define ADDRESS_SIZE 64
#define PORT         53
#define STUB         0x7f000035 /* 127.0.0.53, systemd-resolved */

/* "eth0" of "fe80::1%eth0": 0 when there is no such link. */
static uint32_t link_index(const char *name)
{
	auto_close int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};

	(void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return fd >= 0 && ioctl(fd, SIOCGIFINDEX, &r) == 0 ? (uint32_t)r.ifr_ifindex : 0;
}

static bool parse_address(char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	char *link = strchr(text, '%');

	*ret = (struct sockaddr_storage){0};
	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
		memcpy(ret, &v4, sizeof(v4));
		return true;
	}
	if (link) {
		*link = '\0';
		v6.sin6_scope_id = link_index(link + 1);
	}
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1)
		return false;
	memcpy(ret, &v6, sizeof(v6));
	return true;
}

void servers_parse(const char *text, struct servers *ret)
{
	static const char word[] = "nameserver";
	auto_free char *copy = xstrdup(text);
	char *save = NULL;

	*ret = (struct servers){0};
	for (char *line = strtok_r(copy, "\n", &save); line && ret->count < SERVERS_MAX;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *rest = line + strlen(word);
		char address[ADDRESS_SIZE] = "";

		if (!str_starts(line, word) || (*rest != ' ' && *rest != '\t') ||
		    sscanf(rest, " %63[0-9A-Za-z.:%%_-]", address) != 1)
			continue;
		ret->count += parse_address(address, &ret->items[ret->count]);
	}
}

static bool is_v4(const struct sockaddr_storage *s, uint32_t address)
{
	struct sockaddr_in v4;

	memcpy(&v4, s, sizeof(v4));
	return v4.sin_family == AF_INET && v4.sin_addr.s_addr == htonl(address);
}

bool servers_are_stub(const struct servers *s)
{
	return s->count == 1 && is_v4(&s->items[0], STUB);
}

static void read_file(const char *path, struct servers *ret)
{
	auto_buf struct buf text = BUF_INIT(FILE_BYTES);
	struct err ignored;

	*ret = (struct servers){0};
	if (fs_read(AT_FDCWD, path, &text, &ignored) == 0)
		servers_parse(buf_str(&text), ret);
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void servers_look(struct host_servers *h, const char *const files[2])
{
	struct stat now[2];
	struct servers behind;

	for (int i = 0; i < 2; i++)
		if (stat(files[i], &now[i]) < 0)
			now[i] = (struct stat){0};
	if (h->version && is_same(&now[0], &h->seen[0]) && is_same(&now[1], &h->seen[1]))
		return;
	memcpy(h->seen, now, sizeof(now));
	h->version++;
	read_file(files[0], &h->servers);
	if (servers_are_stub(&h->servers)) {
		read_file(files[1], &behind);
		if (behind.count)
			h->servers = behind;
	}
	if (!h->servers.count)
		servers_parse("nameserver 127.0.0.1", &h->servers);
}
