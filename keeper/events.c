/* keeper/events.c - what clients are told
 * SPDX-License-Identifier: Apache-2.0
 *
 * The keeper never waits for a client.  What does not fit into its socket is
 * kept, up to a limit, and then the client is sent away: it connects again and
 * asks for a list, which is made row by row as its socket takes it.
 */
#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "keeper/server.h"

void event_set_exit(struct event *ev, struct keeper_exit how)
{
	ev->exit_code = how.code;
	ev->exit_signal = how.signal;
	ev->exit_time_ms = how.time_ms;
	if (how.known)
		ev->head.flags |= MESSAGE_EXIT_KNOWN;
}

struct event event_of(enum keeper_event_kind kind, const struct row *row)
{
	struct event ev;

	memset(&ev, 0, sizeof(ev)); /* padding too: it goes out */
	ev.head = (struct message_head){
		.magic = MESSAGE_MAGIC, .version = MESSAGE_VERSION, .kind = (uint8_t)kind};
	if (!row)
		return ev;
	(void)snprintf(ev.id, sizeof(ev.id), "%s", row->id);
	ev.phase = (uint8_t)row->phase;
	ev.pid = row->phase == KEEPER_ENDED ? 0 : row->pid;
	event_set_exit(&ev, row->exit);
	if (row_output_complete(row))
		ev.head.flags |= MESSAGE_COMPLETE;
	if (!row->needs_pipes)
		ev.head.flags |= MESSAGE_HAS_PIPES;
	return ev;
}

/* The descriptors that go with an event, looked up when it goes. */
static size_t add_descriptors(struct server *s, struct event *ev, int fds[2])
{
	static const uint32_t flags[2] = {MESSAGE_STDOUT, MESSAGE_STDERR};
	const struct row *row = NULL;
	size_t count = 0;

	if (ev->head.kind == KEEPER_CREATED || ev->head.kind == KEEPER_LISTED)
		row = server_row(s, ev->id);
	for (int i = 0; row && i < 2; i++) {
		if (row->output[i].fd < 0)
			continue;
		ev->head.flags |= flags[i];
		fds[count++] = row->output[i].fd;
	}
	return count;
}

/* True: it is gone out, or the client is broken. */
static bool send_now(struct server *s, struct client *c, const struct event *ev)
{
	struct event out = *ev;
	int fds[2], r;
	size_t count = add_descriptors(s, &out, fds);

	r = fs_send(c->fd, &out, sizeof(out), fds, count);
	if (r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS)
		return false;
	if (r < 0)
		c->broken = true;
	return true;
}

static void want_room(struct server *s, struct client *c, bool want)
{
	struct epoll_event ev = {.events = EPOLLIN | (want ? EPOLLOUT : 0), .data.ptr = &c->watch};

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) < 0)
		c->broken = true;
}

static void enqueue(struct client *c, const struct event *ev)
{
	if (c->queue_count == CLIENT_QUEUE_MAX) {
		c->broken = true;
		return;
	}
	if (c->queue_first && c->queue_first + c->queue_count == c->queue_capacity) {
		memmove(c->queue, c->queue + c->queue_first, c->queue_count * sizeof(*c->queue));
		c->queue_first = 0;
	}
	c->queue = xgrow(c->queue, c->queue_first + c->queue_count, &c->queue_capacity,
			 sizeof(*c->queue));
	c->queue[c->queue_first + c->queue_count++] = *ev;
}

void client_tell(struct server *s, struct client *c, const struct event *ev)
{
	if (c->broken || (!c->queue_count && send_now(s, c, ev)))
		return;
	enqueue(c, ev);
	want_room(s, c, true);
}

/* The first row behind the one listed last; they are in the order of their serials. */
static struct row *next_listed(struct server *s, const struct client *c)
{
	size_t first = 0, end = s->row_count;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (s->rows[middle]->serial > c->listed)
			end = middle;
		else
			first = middle + 1;
	}
	return first < s->row_count ? s->rows[first] : NULL;
}

static void empty_queue(struct server *s, struct client *c)
{
	while (c->queue_count && send_now(s, c, &c->queue[c->queue_first])) {
		c->queue_first++;
		c->queue_count--;
	}
	if (!c->queue_count) { /* a burst leaves no memory behind */
		free(c->queue);
		c->queue = NULL;
		c->queue_first = c->queue_capacity = 0;
	}
}

void client_continue(struct server *s, struct client *c)
{
	empty_queue(s, c);
	while (c->listing && !c->queue_count && !c->broken) {
		struct row *row = next_listed(s, c);
		struct event ev = event_of(row ? KEEPER_LISTED : KEEPER_LIST_END, row);

		if (!send_now(s, c, &ev))
			break;
		c->listing = row != NULL;
		if (row)
			c->listed = row->serial;
	}
	if (!c->broken)
		want_room(s, c, c->queue_count || c->listing);
}

void tell(struct server *s, const struct event *ev)
{
	for (size_t i = 0; i < s->client_count; i++)
		client_tell(s, s->clients[i], ev);
}

void tell_row(struct server *s, enum keeper_event_kind kind, const struct row *row)
{
	struct event ev = event_of(kind, row);

	tell(s, &ev);
}

struct event event_of_failure(const char *id, enum keeper_command command, const struct err *why)
{
	struct event ev = event_of(KEEPER_FAILED, NULL);

	(void)snprintf(ev.id, sizeof(ev.id), "%s", id);
	ev.command = (uint8_t)command;
	ev.err = *why;
	return ev;
}

void tell_failure(struct server *s, const char *id, enum keeper_command command,
		  const struct err *why)
{
	struct event ev = event_of_failure(id, command, why);

	tell(s, &ev);
}

int client_add(struct server *s, int own_fd, struct err *e)
{
	struct client *c;

	if (s->client_count == CLIENTS_MAX) /* the newest wins */
		client_free(s, s->clients[0]);
	c = xcalloc(1, sizeof(*c));
	c->fd = own_fd;
	c->watch = (struct watch){.kind = WATCH_CLIENT, .owner = c};
	s->clients[s->client_count++] = c;
	if (server_watch(s, c->fd, EPOLLIN, &c->watch, e) < 0) {
		client_free(s, c);
		return -e->code;
	}
	return 0;
}

void client_free(struct server *s, struct client *c)
{
	for (size_t i = 0; i < s->client_count; i++) {
		if (s->clients[i] != c)
			continue;
		memmove(&s->clients[i], &s->clients[i + 1],
			(s->client_count - i - 1) * sizeof(*s->clients));
		s->client_count--;
		break;
	}
	ahead_drop_of(s, c);
	close_fd(&c->fd); /* epoll forgets it */
	free(c->queue);
	free(c);
}
