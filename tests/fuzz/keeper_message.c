/* tests/fuzz/keeper_message.c - what comes over the keeper's socket, from either end
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte says how many descriptors came and which end this is. Short
 * inputs are filled up, so that the rest of a message is not lost on its size.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "keeper/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_command(const uint8_t *data, size_t size, size_t fd_count)
{
	struct command c = {0};
	struct err e;

	memcpy(&c, data, size < sizeof(c) ? size : sizeof(c));
	(void)command_check(&c, size, fd_count, &e);
	if (command_check(&c, sizeof(c), fd_count, &e) < 0)
		return;
	/* What is taken can be used as strings and numbers. */
	assert(strlen(c.id) <= KEEPER_ID_MAX && (!c.id[0] || keeper_id_ok(c.id)));
	for (int i = 0; i < 3; i++)
		assert(strlen(c.path[i]) <= KEEPER_PATH_MAX);
	assert(message_fd_count(&c.head, c.held_count) == fd_count &&
	       c.held_count <= KEEPER_HELD_MAX);
}

static void try_event(const uint8_t *data, size_t size, size_t fd_count)
{
	struct event ev = {0};
	struct keeper_event out;
	struct err e;

	memcpy(&ev, data, size < sizeof(ev) ? size : sizeof(ev));
	(void)event_check(&ev, size, fd_count, &e);
	if (event_check(&ev, sizeof(ev), fd_count, &e) < 0)
		return;
	event_read(&ev, &out);
	assert(strlen(out.id) <= KEEPER_ID_MAX && strlen(out.err.msg) < sizeof(out.err.msg));
	assert(strlen(out.version) < sizeof(out.version));
	assert(strlen(out.cgroup_base) < sizeof(out.cgroup_base));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] & 0x80)
		try_event(data + 1, size - 1, data[0] & 0x7f);
	else
		try_command(data + 1, size - 1, data[0]);
	return 0;
}
