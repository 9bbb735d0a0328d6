/* agent/resolver.c - the resolver that tasks of this host have
 * SPDX-License-Identifier: Apache-2.0
 *
 * berth-resolver asks for nothing but in which VPC somebody is, who wants to know a name there.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "agent/internal.h"
#include "base/fs.h"
#include "base/text.h"

/* Whose interface has the address; NULL: it is of mode bridge, or has gone. */
static const struct task *find_asker(const struct agent *a, const char *address)
{
	struct task *t;

	for (size_t i = 0; map_next(&a->tasks, &i, &t);)
		if (network_comes_from(t, address))
			return t;
	return NULL;
}

static int on_question(void *ctx, int sock, const void *message)
{
	struct ecs_resolver_answer answer = {0};
	struct ecs_resolver_question q;
	const struct task *t;
	char region[ECS_REGION_SIZE];
	int r;

	memcpy(&q, message, sizeof(q));
	answer.number = q.number;
	if (!memchr(q.caller, '\0', sizeof(q.caller)))
		return -EBADMSG;
	t = find_asker(ctx, q.caller);
	if (t && t->wanted.network_interface->vpc &&
	    ip_prefix_parse(t->wanted.network_interface->vpc, &answer.vpc)) {
		ecs_arn_region(t->wanted.task_arn, region);
		ecs_private_domain(region, answer.domain);
	}
	r = fs_send(sock, &answer, sizeof(answer), NULL, 0);
	return r == -EAGAIN ? 0 : r; /* it asks the resolvers of the host then */
}

static int begin(int sock)
{
	const struct ecs_resolver_answer nothing = {0};

	return fs_send(sock, &nothing, sizeof(nothing), NULL, 0);
}

static const struct service_kind kind = {
	.id = RESOLVER_ID,
	.address = ECS_RESOLVER_ADDRESS,
	.address6 = ECS_RESOLVER_ADDRESS6,
	.program = "berth-resolver",
	.told = "tasks ask the resolvers of this host",
	.untold = "tasks have what resolv.conf of this host names and they can reach",
	.ports = {{NET_UDP, 53}, {NET_TCP, 53}},
	.port_count = 2,
	.message_size = sizeof(struct ecs_resolver_question),
	.on_message = on_question,
	.begin = begin,
};
static_assert(sizeof(struct ecs_resolver_question) <= SERVICE_MESSAGE_MAX, "it has no room");

struct service *resolver_new(struct agent *a)
{
	return service_new(a, &kind, a);
}

/* In the host's network there are the host's own. */
const char *resolver_address(const struct container *c)
{
	const struct ecs_node_interface *n = c->task->wanted.network_interface;
	char address[NET_ADDRESS_MAX];

	if (!network_source(c, address) || !*address || !service_want(c->task->agent->resolver))
		return NULL;
	return n && !n->address ? ECS_RESOLVER_ADDRESS6 : ECS_RESOLVER_ADDRESS;
}
