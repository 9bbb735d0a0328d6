/* dns/servers.h - the resolvers of the host, as resolv.conf(5) names them
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SERVERS_MAX 3 /* as glibc has it */

struct servers {
	struct sockaddr_storage items[SERVERS_MAX]; /* of IPv4 or IPv6, port 53 */
	size_t count;
};

/* Those of a text.  Lines that name none are passed over. */
void servers_parse(const char *text, struct servers *ret);
/* systemd's stub is all that there is: it says elsewhere whom it asks. */
bool servers_are_stub(const struct servers *s);

/* Of this host, read again when the files change.  All zero bytes: not read yet. */
struct host_servers {
	struct servers servers;
	struct stat seen[2]; /* the files when they were read; no inode: absent */
	unsigned version;    /* another one with each reading; 0: not read yet */
};

/* There is one at least: without a file, or a line in it, it is the host itself. */
void servers_look(struct host_servers *h, const char *const files[2]);
