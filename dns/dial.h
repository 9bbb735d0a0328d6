/* dns/dial.h - sockets to the resolvers of the host, asked for by the relay
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "dns/servers.h"

struct dialed {
	int fd; /* connected, or about to be; does not block; the caller's; -1: there is no way to it */
	size_t which, count; /* the server, and how many the host has */
	unsigned version;    /* of the list: another one, other servers */
};

/*
 * A socket of its own, and so a port of its own, to server 'which' (of more than there are it
 * goes round).  It waits for the dialer, who waits for nobody.  False: the dialer is gone.
 */
bool dial(int dialer_fd, size_t which, bool stream, struct dialed *ret);
