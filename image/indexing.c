/* image/indexing.c - a pull that has all its layers gets an index
 * SPDX-License-Identifier: Apache-2.0
 *
 * The indexer is started with the first layer, because loading its program takes
 * longer than what it has to do, and waits for its order.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/puller.h"
#include "image/reason.h"

int indexer_order(const struct store *s, const struct record *r, const char *const *ingests,
		  const struct worker *w, struct err *e)
{
	int tables[IMAGE_LAYERS_MAX], sent;
	struct index_order order;

	if (store_index_order(s, r, ingests, &order, tables, e) < 0)
		return -e->code;
	sent = fs_send(w->sock, &order, sizeof(order), tables, order.layer_count);
	for (uint32_t i = 0; i < order.layer_count; i++)
		close_fd(&tables[i]);
	if (sent < 0) {
		errno = -sent;
		return err_sys(e, "order an index");
	}
	return 0;
}

int indexer_start(const struct store *s, struct nursery *n, char ret_ingest[INGEST_SIZE],
		  struct worker *ret, struct err *e)
{
	auto_close int out_fd = -1;

	if (store_ingest_index(s, ret_ingest, &out_fd, e) < 0)
		return -e->code;

	const struct proc_fd fds[] = {{out_fd, INDEXER_OUT}};

	return nursery_fork(n, "index", fds, ARRAY_COUNT(fds), ret, e);
}

int pull_prepare_index(struct puller *p, struct pull *pull, struct err *e)
{
	if (p->store.form != IMAGE_INDEXED || pull->indexer.sock >= 0)
		return 0;
	if (indexer_start(&p->store, &p->nursery, pull->index_ingest, &pull->indexer, e) < 0)
		return image_class_os(e);
	return 0;
}

/* Where those of the layers are that are not in the store; false: some are not listed yet. */
static bool find_listings(const struct puller *p, const struct pull *pull,
			  const char *ret[IMAGE_LAYERS_MAX])
{
	for (unsigned i = 0; i < pull->record->layer_count; i++) {
		ret[i] = NULL;
		if (pull_has_layer(pull, i))
			continue;
		ret[i] = flight_listing(p, pull->record->layers[i].diff_id);
		if (!ret[i])
			return false;
	}
	return true;
}

static int order(struct puller *p, struct pull *pull, struct err *e)
{
	const char *listings[IMAGE_LAYERS_MAX];

	if (!find_listings(p, pull, listings))
		return 0;
	if (store_has_index(&p->store, pull->record))
		return 1;
	if (pull_prepare_index(p, pull, e) < 0 ||
	    indexer_order(&p->store, pull->record, listings, &pull->indexer, e) < 0)
		return image_class_os(e);
	pull->index_ordered = true;
	return 0;
}

int pull_index(struct puller *p, struct pull *pull, bool layers_are_there, struct err *e)
{
	if (!pull->index_ordered)
		return order(p, pull, e);
	if (!pull->index_made || !layers_are_there)
		return 0;
	if (store_put_index(&p->store, pull->index_ingest, pull->record, e) < 0)
		return image_class_os(e);
	pull->index_ingest[0] = '\0';
	return 1;
}

void pull_hear_indexer(struct puller *p, struct pull *pull)
{
	struct report r;
	struct err e = {0};
	int result = report_recv(pull->indexer.sock, &r);

	if (result == REPORT_AGAIN)
		return;
	if (result == 0 && r.kind == REPORT_INDEXED && pull->index_ordered) {
		pull->index_made = true;
		ending_add(p, &pull->indexer, NULL);
		return;
	}
	if (result == 0 && r.kind == REPORT_FAILED)
		(void)err_set(&e, (int)r.code, "%s", r.text);
	else if (result == REPORT_CLOSED)
		(void)worker_failure(&pull->indexer, "indexer", &e);
	else
		(void)err_set(&e, EIO, "the indexer talks nonsense");
	pull_end(p, pull, &e);
}
