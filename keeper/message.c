/* keeper/message.c - what crosses the keeper's socket
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keeper/message.h"

#include <errno.h>
#include <string.h>

#include "base/auto.h"

#define SIGNAL_MAX 64

static const uint32_t fd_flags[] = {MESSAGE_ROOTFS,  MESSAGE_NETNS,  MESSAGE_USERNS,
				    MESSAGE_PROCESS, MESSAGE_STDOUT, MESSAGE_STDERR};

bool keeper_id_ok(const char *id)
{
	size_t len = strspn(id,
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return len && len <= KEEPER_ID_MAX && !id[len] && id[0] != '.';
}

size_t message_fd_count(const struct message_head *head, uint32_t held_count)
{
	size_t count = held_count;

	for (size_t i = 0; i < ARRAY_COUNT(fd_flags); i++)
		if (head->flags & fd_flags[i])
			count++;
	return count;
}

static bool is_terminated(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* 'any': of whatever version it is. */
static int check_head(const struct message_head *head, bool any, struct err *e)
{
	if (head->magic != MESSAGE_MAGIC)
		return err_set(e, EBADMSG, "not a message of the keeper");
	if (head->version != MESSAGE_VERSION && !any)
		return err_set(e, EBADMSG, "the keeper's protocol %u, ours is %u", head->version,
			       MESSAGE_VERSION);
	return 0;
}

/* ---- commands ---- */

/* What each command has; what it has not must be zero. */
static const struct command_spec {
	bool id;
	unsigned paths; /* how many of path[] */
	uint32_t flags; /* that may be set */
	uint32_t needs; /* those of them that must be */
	bool held, sig, number;
} specs[] = {
	[KEEPER_CREATE] = {.id = true,
			   .paths = 3,
			   .flags = MESSAGE_ROOTFS | MESSAGE_NETNS | MESSAGE_USERNS | MESSAGE_START,
			   .held = true,
			   .number = true},
	[KEEPER_AHEAD] = {.id = true,
			  .paths = 2,
			  .flags = MESSAGE_ROOTFS | MESSAGE_NETNS | MESSAGE_USERNS,
			  .needs = MESSAGE_ROOTFS,
			  .number = true},
	[KEEPER_FORGET] = {.number = true},
	[KEEPER_START] = {.id = true},
	[KEEPER_KILL] = {.id = true, .sig = true},
	[KEEPER_REMOVE] = {.id = true},
	[KEEPER_ADOPT] = {.id = true, .flags = MESSAGE_STDOUT | MESSAGE_STDERR, .held = true},
	[KEEPER_FOLLOW] = {.id = true, .number = true},
	[KEEPER_LIST] = {0},
	[KEEPER_SHUTDOWN] = {.flags = MESSAGE_FORCE},
	[KEEPER_REEXEC] = {.paths = 1},
	[KEEPER_EXEC] = {.id = true,
			 .flags = MESSAGE_PROCESS | MESSAGE_STDOUT | MESSAGE_STDERR,
			 .needs = MESSAGE_PROCESS,
			 .number = true},
	[KEEPER_CANCEL] = {.id = true, .number = true},
};

static int check_strings(const struct command *c, const struct command_spec *spec, struct err *e)
{
	if (!is_terminated(c->id, sizeof(c->id)))
		return err_set(e, EBADMSG, "id without an end");
	if (spec->id ? !keeper_id_ok(c->id) : c->id[0] != '\0')
		return err_set(e, EINVAL, "container id '%s'", c->id);
	for (unsigned i = 0; i < ARRAY_COUNT(c->path); i++) {
		if (!is_terminated(c->path[i], sizeof(c->path[i])))
			return err_set(e, EBADMSG, "path without an end");
		if (i < spec->paths ? c->path[i][0] != '/' : c->path[i][0] != '\0')
			return err_set(e, EINVAL, "path '%.100s' is not absolute", c->path[i]);
	}
	return 0;
}

int command_check(const struct command *c, size_t size, size_t fd_count, struct err *e)
{
	const struct command_spec *spec;

	if (size != sizeof(*c))
		return err_set(e, EBADMSG, "command of %zu bytes", size);
	if (check_head(&c->head, c->head.kind == KEEPER_REEXEC, e) < 0)
		return -e->code;
	if (!c->head.kind || c->head.kind >= ARRAY_COUNT(specs))
		return err_set(e, EBADMSG, "command %u", c->head.kind);

	spec = &specs[c->head.kind];
	if (check_strings(c, spec, e) < 0)
		return -e->code;
	if ((c->head.flags & ~spec->flags) || (c->head.flags & spec->needs) != spec->needs)
		return err_set(e, EBADMSG, "command %u with flags 0x%x", c->head.kind,
			       c->head.flags);
	if (c->held_count > (spec->held ? KEEPER_HELD_MAX : 0))
		return err_set(e, EBADMSG, "%u descriptors to hold", c->held_count);
	if (spec->sig ? c->sig < 1 || c->sig > SIGNAL_MAX : c->sig != 0)
		return err_set(e, EINVAL, "signal %d", c->sig);
	if (!spec->number && c->number)
		return err_set(e, EBADMSG, "command %u with a number", c->head.kind);
	if (message_fd_count(&c->head, c->held_count) != fd_count)
		return err_set(e, EBADMSG, "command %u with %zu descriptors", c->head.kind,
			       fd_count);
	return 0;
}

/* ---- events ---- */

static bool is_for_all(uint8_t kind)
{
	return kind == KEEPER_HELLO || kind == KEEPER_RESUMED || kind == KEEPER_FAILED;
}

int event_check(const struct event *ev, size_t size, size_t fd_count, struct err *e)
{
	if (size != sizeof(*ev))
		return err_set(e, EBADMSG, "event of %zu bytes", size);
	if (check_head(&ev->head, is_for_all(ev->head.kind), e) < 0)
		return -e->code;
	if (ev->head.kind < KEEPER_HELLO || ev->head.kind > KEEPER_EXECUTED ||
	    ev->command > KEEPER_FORGET || ev->phase > KEEPER_ENDED)
		return err_set(e, EBADMSG, "event %u", ev->head.kind);
	if (!is_terminated(ev->id, sizeof(ev->id)) || (ev->id[0] && !keeper_id_ok(ev->id)) ||
	    !is_terminated(ev->err.msg, sizeof(ev->err.msg)) ||
	    !is_terminated(ev->text[0], sizeof(ev->text[0])) ||
	    !is_terminated(ev->text[1], sizeof(ev->text[1])))
		return err_set(e, EBADMSG, "strings of event %u", ev->head.kind);
	if (ev->pid < 0 || ev->exit_code < 0 || ev->exit_code > 255 || ev->exit_signal < 0 ||
	    ev->exit_signal > SIGNAL_MAX || ev->err.code < 0)
		return err_set(e, EBADMSG, "numbers of event %u", ev->head.kind);
	if (ev->head.flags & (MESSAGE_ROOTFS | MESSAGE_NETNS | MESSAGE_USERNS | MESSAGE_FORCE |
			      MESSAGE_START | MESSAGE_PROCESS) ||
	    message_fd_count(&ev->head, 0) != fd_count)
		return err_set(e, EBADMSG, "event %u with %zu descriptors", ev->head.kind,
			       fd_count);
	return 0;
}

void event_read(const struct event *ev, struct keeper_event *ret)
{
	*ret = (struct keeper_event){
		.kind = (enum keeper_event_kind)ev->head.kind,
		.command = (enum keeper_command)ev->command,
		.phase = (enum keeper_phase)ev->phase,
		.pid = ev->pid,
		.exit = {.known = ev->head.flags & MESSAGE_EXIT_KNOWN,
			 .code = ev->exit_code,
			 .signal = ev->exit_signal,
			 .time_ms = ev->exit_time_ms},
		.output_complete = ev->head.flags & MESSAGE_COMPLETE,
		.has_pipes = ev->head.flags & MESSAGE_HAS_PIPES,
		.output_fds = {-1, -1},
		.tag = ev->tag,
		.err = ev->err,
	};
	memcpy(ret->id, ev->id, sizeof(ret->id));
	(void)snprintf(ret->version, sizeof(ret->version), "%.31s", ev->text[0]);
	memcpy(ret->cgroup_base, ev->text[1], sizeof(ret->cgroup_base));
}
