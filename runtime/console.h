/* runtime/console.h - the terminal of a container
 * SPDX-License-Identifier: Apache-2.0
 *
 * The pair is made in the container's own devpts, so that its name means
 * something inside; the master goes out over a unix socket.
 */
#pragma once

#include "base/err.h"
#include "runtime/config.h"

struct console {
	int master_fd, slave_fd;
};
#define CONSOLE_INIT   \
	{              \
		-1, -1 \
	}
void console_done(struct console *c);
#define auto_console __attribute__((cleanup(console_done)))

/* Make a pair in the devpts at dev/pts below 'root_fd'. */
int console_open(int root_fd, const struct config_process *p, struct console *ret, struct err *e);

/* Send the master to 'sock_fd'; the slave becomes our terminal and 0, 1, 2. */
int console_take(struct console *c, int sock_fd, struct err *e);
