/* image/client.c - the store, for its caller
 * SPDX-License-Identifier: Apache-2.0
 *
 * The puller lives from the first pull's beginning to the last one's end, so an
 * idle caller has no child, unless it wants one to be ready.  It is let go by closing its
 * socket, then sweeps the store and ends; the caller, who has its image, does not wait for
 * that.  It is reaped by one of the next calls.
 */
#include "image/client.h"

#include <assert.h>
#include <string.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

static void reap(struct image_store *s)
{
	size_t left = 0;
	int status;

	for (size_t i = 0; i < s->ending_count; i++)
		if (!worker_reap(&s->ending[i], &status))
			s->ending[left++] = s->ending[i];
	s->ending_count = left;
}

int client_start_puller(struct image_store *s, struct err *e)
{
	int status;

	reap(s);
	s->puller_waits = false;
	if (s->puller.sock >= 0 && worker_reap(&s->puller, &status))
		close_fd(&s->puller.sock); /* somebody killed it; its pulls see that, too */
	if (s->puller.sock >= 0)
		return 0;
	return worker_start(s->worker, s->store.form == IMAGE_INDEXED ? "pull" : "pull-unpacked",
			    s->store.dir, NULL, 0, false, &s->puller, e);
}

void client_end_puller(struct image_store *s)
{
	int status;

	s->puller_waits = false;
	close_fd(&s->puller.sock);
	if (s->ending_count == ENDING_MAX) { /* they all hang: wait for the oldest */
		worker_wait(&s->ending[0], -1);
		reap(s);
	}
	if (!worker_reap(&s->puller, &status))
		s->ending[s->ending_count++] = s->puller;
	s->puller.pidfd = -1;
}

int client_sweep(struct image_store *s, struct err *e)
{
	if (s->puller_waits)
		client_end_puller(s); /* which sweeps nothing */
	if (s->puller.sock >= 0)
		return 0;
	if (client_start_puller(s, e) < 0)
		return -e->code;
	client_end_puller(s);
	return 0;
}

int image_store_rest(struct image_store *s, bool get_ready, struct err *e)
{
	const bool is_busy = s->puller.sock >= 0 && !s->puller_waits;

	reap(s);
	if (is_busy || !get_ready)
		return 0;
	if (client_start_puller(s, e) < 0)
		return -e->code;
	s->puller_waits = true;
	(void)fs_send(s->puller.sock, "r", 1, NULL,
		      0); /* one that has gone is replaced for the order */
	return 0;
}

int image_store_open(const struct image_store_options *o, struct image_store **ret, struct err *e)
{
	struct image_store *s = xcalloc(1, sizeof(*s));

	s->puller = (struct worker)WORKER_NONE;
	if (store_init(&s->store, o->dir, o->form, e) < 0) {
		free(s);
		return -e->code;
	}
	if (o->form != IMAGE_AS_LAST)
		store_note_form(&s->store);
	s->worker = o->worker ? xstrdup(o->worker) : NULL;
	if (store_has_ingest(&s->store) && client_sweep(s, e) < 0) {
		image_store_close(s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

void image_store_close(struct image_store *s)
{
	if (!s)
		return;
	assert(s->pulls == 0);

	if (s->puller.sock >= 0)
		client_end_puller(s);
	for (size_t i = 0; i < s->ending_count; i++)
		worker_wait(&s->ending[i], -1);
	reap(s);
	client_forget_lookups(s);
	store_done(&s->store);
	free(s->worker);
	free(s);
}

int image_find(struct image_store *s, const char *reference, struct image **ret, struct err *e)
{
	struct reference name;

	reap(s);
	if (reference_parse(reference, &name, e) < 0)
		return -e->code;
	return store_find(&s->store, &name, ret, e);
}

int image_resolve(struct image_store *s, const char *text, char **ret, struct err *e)
{
	char found[REFERENCE_SIZE];
	int r = store_resolve(&s->store, text, found, e);

	if (r == 0)
		*ret = xstrdup(found);
	return r;
}

int image_tag(struct image_store *s, const char *reference, const char *name, struct err *e)
{
	struct reference parsed;

	if (reference_parse(name, &parsed, e) < 0)
		return -e->code;
	return store_tag(&s->store, reference, &parsed, clock_wall_ms(), e);
}

void image_used(struct image_store *s, const char *reference)
{
	struct reference name;
	struct err ignored;

	if (reference_parse(reference, &name, &ignored) == 0)
		store_touch(&s->store, &name);
}

void image_store_space(const struct image_store *s, uint64_t *ret_free_bytes,
		       uint64_t *ret_total_bytes)
{
	*ret_free_bytes = store_free_bytes(&s->store);
	*ret_total_bytes = store_total_bytes(&s->store);
}

int image_list(struct image_store *s, struct image_list *ret, struct err *e)
{
	reap(s);
	return store_list(&s->store, ret, e);
}

int image_remove(struct image_store *s, const char *reference, const char *const *in_use,
		 size_t in_use_count, struct err *e)
{
	int r = store_remove(&s->store, reference, in_use, in_use_count, e);

	return r == 0 ? client_sweep(s, e) : r;
}
