/* agent/metadata.c - the task metadata endpoint of this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * A container may ask for what its own task is, and is known by its address and by the id in the
 * path; in the host's network it comes from the host's own address, and is known by the id that
 * it was given.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "ecs/metadata.h"

/* With a file of memory: nobody has to read it into a message. */
static int send_answer(int sock, const struct ecs_metadata_question *q, const json_t *doc,
		       unsigned status)
{
	auto_free char *text = js_dump(doc);
	auto_close int fd = memfd_create("metadata", MFD_CLOEXEC);
	const struct ecs_metadata_answer a = {
		.number = q->number, .size = strlen(text), .status = status};

	if (fd < 0 || write_all(fd, text, a.size) < 0)
		return -EIO;
	return fs_send(sock, &a, sizeof(a), &fd, 1);
}

/* Is it one of the containers that may know? */
static struct container *find_asker(const struct agent *a, const struct ecs_metadata_question *q)
{
	const struct net_endpoint *endpoint = service_endpoint(a->metadata);
	struct container *c = map_find(&a->containers, q->id);
	char address[NET_ADDRESS_MAX];

	if (!c || !endpoint || !network_source(c, address))
		return NULL;
	return str_eq(*address ? address : endpoint->gateway, q->caller) ? c : NULL;
}

static bool is_whole(const struct ecs_metadata_question *q)
{
	return q->topic < ECS_METADATA_TOPICS && memchr(q->caller, '\0', sizeof(q->caller)) &&
	       memchr(q->id, '\0', sizeof(q->id));
}

static int on_question(void *ctx, int sock, const void *message)
{
	struct ecs_metadata_question q;
	auto_json json_t *doc = NULL;
	struct container *c;

	memcpy(&q, message, sizeof(q));
	if (!is_whole(&q))
		return -EBADMSG;
	c = find_asker(ctx, &q);
	doc = c ? metadata_document(c, (enum ecs_metadata_topic)q.topic)
		: json_string("unable to get container from request: no container of the caller "
			      "has this id");
	return send_answer(sock, &q, doc, c ? 200 : 404);
}

static const struct service_kind kind = {
	.id = "metadata",
	.address = ECS_METADATA_ADDRESS,
	.program = "berth-metadata",
	.told = "tasks are told what they are",
	.untold = "tasks are not told what they are",
	.ports = {{NET_TCP, 80}},
	.port_count = 1,
	.message_size = sizeof(struct ecs_metadata_question),
	.on_message = on_question,
	.idle_ms = 10 * 60 * 1000,
};
static_assert(sizeof(struct ecs_metadata_question) <= SERVICE_MESSAGE_MAX, "it has no room");

struct service *metadata_new(struct agent *a)
{
	return service_new(a, &kind, a);
}

/* From the host's network the endpoint is at its own address: the firewall leads tasks only. */
char *metadata_url(const struct container *c)
{
	struct service *s = c->task->agent->metadata;
	char address[NET_ADDRESS_MAX];

	if (!network_source(c, address) || !service_want(s))
		return NULL;
	return xasprintf("http://%s",
			 *address ? ECS_METADATA_ADDRESS : service_endpoint(s)->address);
}
