/* keeper/message.h - what crosses the keeper's socket
 * SPDX-License-Identifier: Apache-2.0
 *
 * A message is one struct of fixed size in one packet, host byte order, with
 * descriptors beside it.  The other end is believed nothing: size, version,
 * kind, terminators, names, numbers and the count of descriptors are checked
 * before anything is looked at.
 *
 * Of the command KEEPER_REEXEC and the events KEEPER_HELLO, _RESUMED and _FAILED head and
 * layout stay as they are for ever, and they are taken from any version, so that any
 * keeper can be replaced by a newer one.
 */
#pragma once

#include "keeper/keeper.h"

#define MESSAGE_MAGIC   0x4b70
#define MESSAGE_VERSION 3

#define COMMAND_SOCKET "keeper.sock"

struct message_head {
	uint16_t magic;
	uint8_t version, kind; /* enum keeper_command or keeper_event_kind */
	uint32_t flags;        /* enum message_flag */
};

enum message_flag {
	/* Which descriptors come, in this order; then held_count of them to be held. */
	MESSAGE_ROOTFS = 1,
	MESSAGE_NETNS = 2,
	MESSAGE_STDOUT = 4,
	MESSAGE_STDERR = 8,
	MESSAGE_FORCE = 16,      /* KEEPER_SHUTDOWN */
	MESSAGE_EXIT_KNOWN = 32, /* events */
	MESSAGE_COMPLETE = 64,
	MESSAGE_HAS_PIPES = 128,
	MESSAGE_START = 256,   /* KEEPER_CREATE */
	MESSAGE_PROCESS = 512, /* KEEPER_EXEC: a file, before the two streams */
	MESSAGE_USERNS = 1024, /* after the network namespace */
};

struct command {
	struct message_head head;
	char id[KEEPER_ID_MAX + 1];
	uint64_t number; /* KEEPER_FOLLOW: tell when data has more bytes; KEEPER_EXEC, _CANCEL: tag;
			   KEEPER_CREATE, _AHEAD, _FORGET: keeper_create.ahead */
	int32_t sig;     /* KEEPER_KILL */
	uint32_t held_count;
	char path[3][KEEPER_PATH_MAX + 1]; /* enum command_path */
};

enum command_path {
	COMMAND_BUNDLE, /* KEEPER_CREATE, KEEPER_AHEAD */
	COMMAND_RUNTIME_ROOT,
	COMMAND_LOG_DIR,     /* KEEPER_CREATE */
	COMMAND_PROGRAM = 0, /* KEEPER_REEXEC */
};

struct event {
	struct message_head head;
	char id[KEEPER_ID_MAX + 1];
	uint8_t command, phase; /* enums of keeper.h; 0: none */
	uint8_t pad[2];
	int32_t pid;
	int32_t exit_code, exit_signal;
	int64_t exit_time_ms;
	uint64_t tag; /* KEEPER_EXECUTED, and KEEPER_FAILED of KEEPER_EXEC */
	struct err err;
	char text[2][KEEPER_PATH_MAX + 1]; /* version, cgroup_base */
};

/* Letters, digits, '-', '_' and '.', not beginning with '.'. */
bool keeper_id_ok(const char *id);

/*
 * Is what came, 'size' bytes, a whole command, with the descriptors it says?  The
 * strings of it are terminated then.
 */
int command_check(const struct command *c, size_t size, size_t fd_count, struct err *e);
int event_check(const struct event *ev, size_t size, size_t fd_count, struct err *e);

/* The descriptors that the flags name, held_count included. */
size_t message_fd_count(const struct message_head *head, uint32_t held_count);

/* What the event says, without its descriptors. */
void event_read(const struct event *ev, struct keeper_event *ret);
