/* agent/pulls.c - images on their way
 * SPDX-License-Identifier: Apache-2.0
 *
 * One pull for a reference at a time, however many wait for it.  Where a
 * credential helper is to be asked, a thread does it first.  What
 * ECS_IMAGE_PULL_BEHAVIOR says decides whether the registry is asked at all,
 * and what a failure means when an image of that name is here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/random.h"
#include "base/text.h"

#define FINISHED_MAX 32   /* pulls that callers can still ask about */
#define READY_MS     2000 /* after a pull its task is started first */

#define READY_MEMORY_MIB 4000 /* of a host on which the programs of a pull wait for it */

enum behavior { PULL_DEFAULT, PULL_ALWAYS, PULL_ONCE, PULL_PREFER_CACHED };

static const char *const behaviors[] = {"default", "always", "once", "prefer-cached"};

struct layer {
	char digest[72];
	enum image_pull_phase phase;
	uint64_t bytes, total_bytes;
	char from[IMAGE_PEER_TEXT]; /* the node that it comes from; "": a registry */
};

struct pull {
	struct pull *next;
	struct pulls *pulls;
	char id[33];
	char *reference;
	char *secret; /* that has the registry's credentials; NULL: as the node has them */
	struct image_pull *job; /* NULL: over, or asking */
	bool asking;            /* a thread asks the credential helper */
	bool unwanted;          /* it ends when that is done */
	bool keep_blobs, blobs_only;
	char *platform; /* NULL: this machine's */
	char *pushed;   /* the image that is pushed to 'reference'; NULL: it is a pull */
	bool with_index, uncompressed;
	struct sources sources;
	struct err asked; /* code 0: the helper has answered */
	struct loop_fd *watch;
	struct pull_waiter *waiters;
	bool for_caller; /* kept a while after its end, so that it can be described */
	int64_t version; /* changes with each event */
	char digest[72];
	struct layer *layers;
	unsigned layer_count;
	struct err error; /* code 0: none */
	bool lacks_blobs; /* it is a push that ended for want of layers as they were packed */
};

struct pull_waiter {
	struct pull_waiter *next;
	struct pull *pull; /* NULL: the answer is on its way */
	struct loop_timer *now;
	struct pulls *pulls;
	char *reference;
	pull_fn *on_done;
	void *ctx;
	struct err error;
	enum image_reason reason;
};

struct pulls {
	struct agent *agent;
	enum behavior behavior;
	struct pull *list;
	struct loop_timer *rest; /* until the programs of the next pull are loaded ahead */
};

/* ---- waiters ---- */

static void free_waiter(struct pull_waiter *w)
{
	loop_timer_free(w->now);
	free(w->reference);
	free(w);
}

static void unlink_waiter(struct pull_waiter *w)
{
	struct pull_waiter **p = w->pull ? &w->pull->waiters : NULL;

	while (p && *p && *p != w)
		p = &(*p)->next;
	if (p && *p)
		*p = w->next;
	w->pull = NULL;
}

/* Tell a waiter how it ended: the image by its name, or the error. */
static void answer(struct pull_waiter *w)
{
	struct image *image = NULL;

	if (!w->error.code) {
		int r = image_find(w->pulls->agent->images, w->reference, &image, &w->error);

		if (r == IMAGE_ABSENT) {
			(void)err_set(&w->error, ENOENT,
				      "image %s was removed right after its pull", w->reference);
			w->reason = IMAGE_REASON_NOT_FOUND;
		}
	}
	w->on_done(w->ctx, image, w->reason, w->error.code ? &w->error : NULL);
	free_waiter(w);
}

static void on_now(void *ctx)
{
	answer(ctx);
}

static void end_job(struct pull *p)
{
	loop_unwatch(take_ptr(p->watch));
	if (p->job && p->pulls)
		sharing_over(p->pulls->agent->sharing, p->job);
	image_pull_free(take_ptr(p->job));
	if (p->pulls)
		loop_timer_set(p->pulls->rest, READY_MS);
}

/* They take as much as the rest of an idle daemon: a small host has better uses for that. */
static void on_rest(void *ctx)
{
	struct pulls *pulls = ctx;
	bool get_ready = ahead_count(pulls->agent->o) && node_memory_mib() >= READY_MEMORY_MIB;
	struct err e = {0};

	if (image_store_rest(pulls->agent->images, get_ready, &e) < 0)
		log_warn("image store: %s", e.msg);
}

void pulls_cancel(struct pull_waiter *w)
{
	struct pull *p = w->pull;

	unlink_waiter(w);
	free_waiter(w);
	if (p && !p->waiters && !p->for_caller)
		p->unwanted = true;
	if (p && p->job && p->unwanted) {
		end_job(p); /* nobody wants it: it ends at once */
		(void)err_set(&p->error, ECANCELED, "cancelled");
	}
}

/* ---- pulls ---- */

static void free_pull(struct pull *p)
{
	sources_done(&p->sources);
	end_job(p);
	free(p->reference);
	free(p->secret);
	free(p->platform);
	free(p->pushed);
	free(p->layers);
	free(p);
}

/* Those that are over and that nobody can ask for go. */
static void tidy(struct pulls *pulls)
{
	size_t finished = 0;

	for (struct pull **p = &pulls->list, *pull; (pull = *p);) {
		if (!pull->job && !pull->asking &&
		    (!pull->for_caller || ++finished > FINISHED_MAX)) {
			*p = pull->next;
			free_pull(pull);
		} else {
			p = &pull->next;
		}
	}
}

/* What the store has by that name, if it is for this machine; else NULL. */
static struct image *find_here(const struct pulls *pulls, const char *reference)
{
	struct image *image = NULL;
	struct err ignored;

	if (image_find(pulls->agent->images, reference, &image, &ignored) != 0)
		return NULL;
	if (image_fits_here(image))
		return image;
	image_free(image);
	return NULL;
}

/* Layers may have come in the place of damaged ones (fsck): those are mounted still. */
static void has_come(const struct pull *p)
{
	sharing_changed(p->pulls->agent->sharing); /* there are manifests */
	for (unsigned i = 0; p->for_caller && i < p->layer_count; i++)
		if (p->layers[i].phase == IMAGE_LAYER_DONE) {
			images_let_go(p->pulls->agent);
			return;
		}
}

static void finish(struct pull *p, enum image_reason reason, const struct err *error)
{
	struct pulls *pulls = p->pulls;
	struct pull_waiter *w;
	struct image *cached = NULL;

	end_job(p);
	p->version++;
	p->lacks_blobs = error && p->pushed && reason == IMAGE_REASON_NOT_KEPT;
	if (error)
		p->error = *error;
	else if (!p->pushed && !p->blobs_only)
		has_come(p);
	/* "default": when the registry cannot be had, what is here will do. */
	if (error && pulls->behavior == PULL_DEFAULT && !p->for_caller &&
	    (cached = find_here(pulls, p->reference))) {
		log_warn("image=%s: pull failed, using the one that is here: %s", p->reference,
			 error->msg);
		image_free(cached);
		error = NULL;
	}

	/* One who is answered may cancel the others: the containers of a task wait for one image. */
	while ((w = p->waiters)) {
		unlink_waiter(w);
		w->reason = reason;
		if (error)
			w->error = *error;
		answer(w);
	}
	tidy(pulls);
	ask_look_again(pulls->agent);
}

static void take_layer(struct pull *p, const struct image_pull_event *ev)
{
	if (ev->layer_count > p->layer_count) {
		p->layers = xrealloc(p->layers, ev->layer_count, sizeof(*p->layers));
		memset(p->layers + p->layer_count, 0,
		       (ev->layer_count - p->layer_count) * sizeof(*p->layers));
		p->layer_count = ev->layer_count;
	}
	if (ev->layer >= p->layer_count)
		return;
	p->layers[ev->layer] = (struct layer){
		.phase = ev->phase, .bytes = ev->bytes, .total_bytes = ev->total_bytes};
	memcpy(p->layers[ev->layer].digest, ev->digest, sizeof(ev->digest));
	memcpy(p->layers[ev->layer].from, ev->from, sizeof(ev->from));
}

static void take_event(struct pull *p, const struct image_pull_event *ev)
{
	struct sharing *s = p->pulls->agent->sharing;

	if (ev->kind == IMAGE_PULL_RESOLVED)
		memcpy(p->digest, ev->digest, sizeof(p->digest));
	else if (ev->kind == IMAGE_PULL_LAYER)
		take_layer(p, ev);
	else if (ev->kind == IMAGE_PULL_WANTS)
		sharing_want(s, p->job, ev->digest, ev->total_bytes, p->keep_blobs);
	else if (ev->kind == IMAGE_PULL_BAD)
		sharing_bad(s, p->job, ev->digest, ev->why);
	else if (ev->kind == IMAGE_PULL_GOT)
		sharing_got(s, p->job, ev->digest);
}

static void on_progress(void *ctx, int events)
{
	struct pull *p = ctx;
	struct image_pull_event ev;
	struct err e = {0};
	int r;

	(void)events;
	while ((r = image_pull_next(p->job, &ev, &e)) == 0) {
		p->version++;
		take_event(p, &ev);
		if (ev.kind == IMAGE_PULL_DONE) {
			image_free(ev.image);
			finish(p, IMAGE_REASON_OTHER, NULL);
			return;
		}
	}
	if (r < 0)
		finish(p, image_pull_reason(p->job), &e);
	else
		ask_look_again(p->pulls->agent);
}

/* Now that it is known who asks. */
static int begin_job(struct pull *p, struct err *e)
{
	const struct image_push_request push = {
		.reference = p->pushed,
		.destination = p->reference,
		.to = &p->sources.items[p->sources.count - 1], /* the registry itself */
		.with_index = p->with_index,
		.uncompressed = p->uncompressed,
	};
	const struct image_pull_request request = {
		.reference = p->reference,
		.platform = p->platform,
		.policy = IMAGE_PULL_ALWAYS,
		.sources = p->sources.items,
		.source_count = p->sources.count,
		.tags_at_last = p->sources.tags_at_last,
		.keep_blobs = p->keep_blobs,
		.blobs_only = p->blobs_only,
		.peer_file = sharing_file(p->pulls->agent->sharing)};

	if (p->pushed ? image_push_begin(p->pulls->agent->images, &push, &p->job, e) < 0
		      : image_pull_begin(p->pulls->agent->images, &request, &p->job, e) < 0)
		return -e->code;
	return loop_watch(p->pulls->agent->loop, image_pull_fd(p->job), LOOP_READ, on_progress, p,
			  &p->watch, e);
}

/* Context: a thread. */
static void ask_helper(void *ctx)
{
	struct pull *p = ctx;

	if (sources_ask(&p->sources, &p->asked) >= 0)
		p->asked.code = 0;
}

static void on_asked(void *ctx)
{
	struct pull *p = ctx;
	struct err e = p->asked;

	p->asking = false;
	if (!p->pulls) { /* the agent ends */
		free_pull(p);
		return;
	}
	if (p->unwanted)
		finish(p, IMAGE_REASON_OTHER, &(struct err){.code = ECANCELED, .msg = "cancelled"});
	else if (e.code || begin_job(p, &e) < 0)
		finish(p, IMAGE_REASON_UNAUTHORIZED, &e);
}

/* Who asks, all NULL: as the files say; and for what. */
struct who {
	const char *username, *password;
	const char *secret;
	bool keep_blobs;      /* layers as they come, too */
	bool blobs_only;      /* those, for who saves the image next */
	const char *platform; /* NULL: this machine's */
	const char *pushed;   /* this image goes there instead; NULL: it is pulled */
	bool with_index;      /* and the index that it came by */
	bool uncompressed;    /* its layers go as plain tars */
};

static int find_sources(struct pull *p, const struct who *who, struct err *e)
{
	const struct agent_options *o = p->pulls->agent->o;
	struct credential c = {0};
	int r;

	if (!who->secret)
		return sources_find(o, p->reference, who->username, who->password, &p->sources, e);
	r = credential_of_secret(o, who->secret, &c, e);
	if (r == 0)
		r = sources_find(o, p->reference, c.username, c.password, &p->sources, e);
	credential_done(&c);
	return r;
}

/* 0: it has begun, or its helper is being asked. */
static int begin_as(struct pull *p, const struct who *who, struct err *e)
{
	if (find_sources(p, who, e) < 0)
		return -e->code;
	if (!p->sources.asks)
		return begin_job(p, e);
	p->asking = true;
	loop_work(p->pulls->agent->loop, ask_helper, on_asked, p);
	return 0;
}

static int begin(struct pulls *pulls, const char *reference, const struct who *who,
		 struct pull **ret, struct err *e)
{
	struct pull *p = xcalloc(1, sizeof(*p));

	p->pulls = pulls;
	p->reference = xstrdup(reference);
	p->pushed = who->pushed ? xstrdup(who->pushed) : NULL;
	p->platform = who->platform ? xstrdup(who->platform) : NULL;
	p->with_index = who->with_index;
	p->uncompressed = who->uncompressed;
	p->keep_blobs = who->keep_blobs || who->blobs_only || pulls->agent->o->keep_blobs;
	p->blobs_only = who->blobs_only;
	p->secret = who->secret ? xstrdup(who->secret) : NULL;
	random_hex(p->id, 32);
	if (begin_as(p, who, e) < 0) {
		free_pull(p);
		return -e->code;
	}
	p->next = pulls->list;
	pulls->list = p;
	*ret = p;
	return 0;
}

/* One that others may wait for: of the same name, with the same secret. */
static struct pull *running(struct pulls *pulls, const char *reference, const char *secret)
{
	for (struct pull *p = pulls->list; p; p = p->next)
		if ((p->job || p->asking) && !p->unwanted && !p->pushed && !p->platform &&
		    !p->blobs_only && strcmp(p->reference, reference) == 0 &&
		    (p->secret ? str_eq(p->secret, secret) : !secret))
			return p;
	return NULL;
}

struct image *pulls_here(struct pulls *pulls, const char *reference)
{
	struct image *image;

	if (pulls->behavior != PULL_ONCE && pulls->behavior != PULL_PREFER_CACHED &&
	    !strchr(reference, '@'))
		return NULL;
	image = find_here(pulls, reference);
	if (!image || pulls->behavior != PULL_ONCE || image->used_ms || strchr(reference, '@'))
		return image;
	image_free(image); /* not pulled for a task yet */
	return NULL;
}

struct pull_waiter *pulls_want(struct pulls *pulls, const char *reference, const char *secret,
			       pull_fn *on_done, void *ctx)
{
	const struct who who = {.secret = secret};
	struct pull_waiter *w = xcalloc(1, sizeof(*w));
	struct pull *p = running(pulls, reference, secret);

	w->pulls = pulls;
	w->reference = xstrdup(reference);
	w->on_done = on_done;
	w->ctx = ctx;
	if (p || begin(pulls, reference, &who, &p, &w->error) == 0) {
		w->pull = p;
		w->next = p->waiters;
		p->waiters = w;
		return w;
	}
	w->now = loop_timer_new(pulls->agent->loop, on_now, w);
	loop_timer_set(w->now, 0);
	return w;
}

/* ---- for callers ---- */

int pulls_begin_for_caller(struct pulls *pulls, const json_t *request, char ret_id[33],
			   struct err *e)
{
	const char *reference = json_string_value(json_object_get(request, "image"));
	const struct who who = {.username = json_string_value(json_object_get(request, "username")),
				.password = json_string_value(json_object_get(request, "password")),
				.platform = json_string_value(json_object_get(request, "platform")),
				.keep_blobs = json_is_true(json_object_get(request, "keepBlobs")),
				.blobs_only = json_is_true(json_object_get(request, "blobsOnly"))};
	struct pull *p = who.username || who.keep_blobs || who.blobs_only || who.platform
				 ? NULL
				 : running(pulls, reference, NULL);

	if (!p && begin(pulls, reference, &who, &p, e) < 0)
		return -e->code;
	p->for_caller = true;
	memcpy(ret_id, p->id, sizeof(p->id));
	return 0;
}

int pulls_begin_push(struct pulls *pulls, const json_t *request, char ret_id[33], struct err *e)
{
	const char *image = json_string_value(json_object_get(request, "image"));
	const char *destination = json_string_value(json_object_get(request, "destination"));
	const struct who who = {
		.pushed = image,
		.with_index = json_is_true(json_object_get(request, "index")),
		.uncompressed = json_is_true(json_object_get(request, "uncompressed"))};
	struct pull *p;

	if (begin(pulls, destination ? destination : image, &who, &p, e) < 0)
		return -e->code;
	p->for_caller = true;
	memcpy(ret_id, p->id, sizeof(p->id));
	return 0;
}

static const char *const phases[] = {
	[IMAGE_LAYER_WAITING] = "WAITING",     [IMAGE_LAYER_DOWNLOADING] = "DOWNLOADING",
	[IMAGE_LAYER_UNPACKING] = "UNPACKING", [IMAGE_LAYER_DONE] = "DONE",
	[IMAGE_LAYER_EXISTS] = "EXISTS",
};

static json_t *describe_layer(const struct layer *l)
{
	json_t *doc = json_pack("{s:s, s:s, s:I, s:I}", "digest", l->digest, "phase",
				phases[l->phase], "bytes", (json_int_t)l->bytes, "totalBytes",
				(json_int_t)l->total_bytes);

	if (l->from[0])
		(void)json_object_set_new(doc, "node", json_string(l->from));
	return doc;
}

json_t *pulls_describe(struct pulls *pulls, const char *id, int64_t version, bool *ret_changed)
{
	struct pull *p = pulls->list;
	json_t *doc, *layers;

	while (p && strcmp(p->id, id) != 0)
		p = p->next;
	if (!p)
		return NULL;

	*ret_changed = p->version > version || (!p->job && !p->asking);
	layers = json_array();
	for (unsigned i = 0; i < p->layer_count; i++)
		(void)json_array_append_new(layers, describe_layer(&p->layers[i]));
	doc = json_pack("{s:s, s:s, s:I, s:o, s:s}", "pullId", p->id, "image", p->reference,
			"version", (json_int_t)p->version, "layers", layers, "status",
			p->job || p->asking ? "PULLING"
			: p->error.code     ? "FAILED"
					    : "DONE");
	if (p->digest[0])
		(void)json_object_set_new(doc, "imageDigest", json_string(p->digest));
	if (p->error.code)
		(void)json_object_set_new(doc, "reason",
					  js_string(p->error.msg, strlen(p->error.msg)));
	if (p->lacks_blobs)
		(void)json_object_set_new(doc, "lacksBlobs", json_true());
	return doc;
}

/* ---- life ---- */

struct pulls *pulls_new(struct agent *a)
{
	struct pulls *p = xcalloc(1, sizeof(*p));

	p->agent = a;
	for (size_t i = 0; i < ARRAY_COUNT(behaviors); i++)
		if (str_eq(a->o->pull_behavior, behaviors[i]))
			p->behavior = (enum behavior)i;
	p->rest = loop_timer_new(a->loop, on_rest, p);
	loop_timer_set(p->rest, READY_MS);
	return p;
}

void pulls_leave(struct pulls *pulls)
{
	for (struct pull *p = pulls ? pulls->list : NULL; p; p = p->next) {
		loop_unwatch(take_ptr(p->watch));
		image_pull_leave(take_ptr(p->job));
	}
}

void pulls_free(struct pulls *pulls)
{
	struct pull *p;

	if (!pulls)
		return;
	while ((p = pulls->list)) {
		pulls->list = p->next;
		while (p->waiters) {
			struct pull_waiter *w = p->waiters;

			unlink_waiter(w);
			free_waiter(w);
		}
		p->pulls = NULL;
		if (!p->asking) /* else it goes when its thread is done */
			free_pull(p);
	}
	loop_timer_free(pulls->rest);
	free(pulls);
}
