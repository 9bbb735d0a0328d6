/* agent/metadata.c - the task metadata endpoint of this host
 * SPDX-License-Identifier: Apache-2.0
 *
 * A container may ask for what its own task is, and is known by its address and by the id in the
 * path; in the host's network it comes from the host's own address, and is known by the id that
 * it was given.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/text.h"
#include "ecs/metadata.h"

#define TAGS_MS    2000 /* that a task waits for the server's answer */
#define TAGS_PER_S 20   /* questions of all tasks: the server is everybody's */
#define TAGS_BURST 40

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

static int answer(int sock, const struct ecs_metadata_question *q, json_t *own_doc)
{
	auto_json json_t *doc = own_doc ? own_doc
					: json_string("unable to get container from request: no "
						      "container of the caller has this id");

	return send_answer(sock, q, doc, own_doc ? 200 : 404);
}

/* ---- tags, which the server knows ---- */

static const struct metadata_error no_answer = {"ServerException", 500,
						"The server of this node does not answer."},
				   too_often = {"ThrottlingException", 400, "Rate exceeded"};

/* Of a task that waits. */
struct tags_question {
	struct tags_question *next;
	int64_t id, until_ms;
	int sock; /* a duplicate of that of the process that asked, which may have ended */
	struct ecs_metadata_question question;
};

static void answer_tags(const struct agent *a, struct tags_question *own_t, const json_t *tags,
			const struct metadata_error *why)
{
	const struct container *c = find_asker(a, &own_t->question);

	/* Who asked may be gone. */
	(void)answer(own_t->sock, &own_t->question, c ? metadata_with_tags(c, tags, why) : NULL);
	(void)close(own_t->sock);
	free(own_t);
}

void metadata_on_answer(struct agent *a, const struct ecs_node_answer *message)
{
	const struct metadata_error refused = {"ClientException", 400, message->fault_message};
	struct tags_question *t;

	for (struct tags_question **p = &a->tags_questions; (t = *p); p = &t->next) {
		if (t->id != message->id)
			continue;
		*p = t->next;
		answer_tags(a, t, message->fault_message ? NULL : message->response, &refused);
		return;
	}
}

static void on_patience(void *ctx)
{
	struct agent *a = ctx;
	struct tags_question *t;

	for (struct tags_question **p = &a->tags_questions; (t = *p);) {
		if (t->until_ms > clock_mono_ms()) {
			p = &t->next;
			continue;
		}
		*p = t->next;
		answer_tags(a, t, NULL, &no_answer);
	}
	if (a->tags_questions)
		loop_timer_set(a->tags_patience, TAGS_MS);
}

void metadata_end(struct agent *a)
{
	struct tags_question *t;

	while ((t = a->tags_questions)) {
		a->tags_questions = t->next;
		(void)close(t->sock);
		free(t);
	}
	loop_timer_free(take_ptr(a->tags_patience));
}

static int ask_for_tags(struct agent *a, int sock, const struct ecs_metadata_question *q,
			const struct container *c)
{
	auto_json json_t *request = json_pack("{s:s}", "task", c->task->wanted.task_arn);
	auto_close int copy = -1;
	struct tags_question *t;

	if (!rate_take(&a->tags_rate, TAGS_PER_S, TAGS_BURST, clock_mono_ms()))
		return answer(sock, q, metadata_with_tags(c, NULL, &too_often));
	copy = fcntl(sock, F_DUPFD_CLOEXEC, 0);
	if (copy < 0 || !channel_ask(a->channel, ++a->tags_asked, "DescribeTaskTags", request))
		return answer(sock, q, metadata_with_tags(c, NULL, &no_answer));
	t = xcalloc(1, sizeof(*t));
	*t = (struct tags_question){.next = a->tags_questions,
				    .id = a->tags_asked,
				    .until_ms = clock_mono_ms() + TAGS_MS,
				    .sock = take_fd(copy),
				    .question = *q};
	a->tags_questions = t;
	if (!a->tags_patience)
		a->tags_patience = loop_timer_new(a->loop, on_patience, a);
	if (!loop_timer_is_set(a->tags_patience))
		loop_timer_set(a->tags_patience, TAGS_MS);
	return 0;
}

/* ---- questions ---- */

static int on_question(void *ctx, int sock, const void *message)
{
	struct ecs_metadata_question q;
	struct agent *a = ctx;
	struct container *c;

	memcpy(&q, message, sizeof(q));
	if (!is_whole(&q))
		return -EBADMSG;
	c = find_asker(a, &q);
	if (c && q.topic == ECS_METADATA_TASK_WITH_TAGS)
		return ask_for_tags(a, sock, &q, c);
	return answer(sock, &q, c ? metadata_document(c, (enum ecs_metadata_topic)q.topic) : NULL);
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
