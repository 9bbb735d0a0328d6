/* dns/relay.c - between tasks and the resolvers of their host
 * SPDX-License-Identifier: Apache-2.0
 *
 * Answers go to who asked, and nobody else: the address that a datagram comes from is the
 * task's own, which the firewall sees to before anything gets here.
 */
#include "dns/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#define TURN_MAX 64 /* datagrams that are taken before others are heard */

void relay_end(struct relay *r, const char *why)
{
	r->over = why;
	loop_stop(r->loop);
}

static void on_datagrams(void *ctx, int events)
{
	struct relay *r = ctx;

	(void)events;
	for (int i = 0; i < TURN_MAX && !r->over; i++) {
		struct query_from from = {.address_size = sizeof(from.address)};
		struct ip_prefix address;
		int64_t now_ms;
		ssize_t n = recvfrom(r->o->udp_fd, r->buffer, sizeof(r->buffer), MSG_DONTWAIT,
				     (struct sockaddr *)&from.address, &from.address_size);

		if (n < 0)
			return;
		now_ms = clock_mono_ms();
		address = ip_of_socket(&from.address);
		from.asker = askers_get(&r->askers, &address);
		/* Whom we have no place for asks again. */
		if (asker_may_ask(from.asker, now_ms))
			(void)query_take(r, &from, r->buffer, (size_t)n);
	}
}

static void on_connections(void *ctx, int events)
{
	struct relay *r = ctx;

	(void)events;
	stream_accept(r);
}

static void on_agent(void *ctx, int events)
{
	struct ecs_resolver_answer a;
	struct relay *r = ctx;
	size_t fd_count;
	ssize_t n = fs_recv(r->o->agent_fd, &a, sizeof(a), NULL, 0, &fd_count, MSG_DONTWAIT);

	(void)events;
	if (n == sizeof(a))
		query_told(r, &a);
	else if (n != -EAGAIN)
		loop_unwatch(take_ptr(r->agent)); /* its next one ends us, and begins another */
}

/* It says nothing that it was not asked for, and what it was asked for was waited for. */
static void on_dialer(void *ctx, int events)
{
	(void)events;
	relay_end(ctx, "the dialer is gone");
}

int dns_relay(const struct dns_relay_options *o, struct err *e)
{
	auto_free struct relay *r = xcalloc(1, sizeof(*r));

	r->o = o;
	r->loop = loop_new();
	if (loop_watch(r->loop, o->udp_fd, LOOP_READ, on_datagrams, r, &r->datagrams, e) == 0 &&
	    loop_watch(r->loop, o->tcp_fd, LOOP_READ, on_connections, r, &r->connections, e) == 0 &&
	    loop_watch(r->loop, o->agent_fd, LOOP_READ, on_agent, r, &r->agent, e) == 0 &&
	    loop_watch(r->loop, o->dialer_fd, LOOP_READ, on_dialer, r, &r->dialer, e) == 0)
		loop_run(r->loop);
	if (r->over)
		(void)err_set(e, EPIPE, "%s", r->over);

	streams_drop_all(r);
	queries_drop_all(r);
	loop_unwatch(r->datagrams);
	loop_unwatch(r->connections);
	loop_unwatch(r->agent);
	loop_unwatch(r->dialer);
	loop_free(r->loop);
	askers_done(&r->askers);
	return -e->code;
}
