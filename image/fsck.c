/* image/fsck.c - whether a store still holds what it was given
 * SPDX-License-Identifier: Apache-2.0
 *
 * With the store's lock, so that nothing comes or goes meanwhile.  Each tar is read
 * anew by a lister: its digest tells whether it is the layer that its name says, and
 * what is kept beside it has to be what comes out again.  Then each image's index is
 * made anew.  What can be made of what is here is put right; a tar that is damaged
 * goes, and images that lack one are named: to be pulled again.
 *
 * What is found is told line by line: a word, a digest or name, and more.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/puller.h"

struct fsck {
	struct store store;
	struct nursery nursery;
	size_t layers, damaged, renewed, unpacked;
};

/* Wait for what a worker has to say, and for its end. */
static int hear(struct worker *w, struct report *ret, struct err *e)
{
	struct pollfd p = {.fd = w->sock, .events = POLLIN};
	int r, status;

	do {
		(void)poll(&p, 1, -1);
		r = report_recv(w->sock, ret);
	} while (r == REPORT_AGAIN);
	if (r == REPORT_CLOSED)
		(void)worker_failure(w, "worker", e);
	else if (r < 0)
		(void)err_set(e, EIO, "the worker talks nonsense");
	worker_kill(w);
	worker_wait(w, -1);
	(void)worker_reap(w, &status);
	return r == 0 ? 0 : -e->code;
}

/* ---- layers ---- */

static int start_lister(struct fsck *f, const struct ingest *i, int tar_fd, struct worker *ret,
			struct err *e)
{
	const struct proc_fd fds[] = {{tar_fd, UNPACKER_IN},
				      {i->sums_fd, UNPACKER_SUMS},
				      {i->table_fd, LISTER_TABLE},
				      {i->sparse_fd, LISTER_SPARSE}};

	return nursery_fork(&f->nursery, "list", fds, ARRAY_COUNT(fds), ret, e);
}

/* 0: whole, and listed in the ingest; 1: it is another one, or none; negative: we do not know. */
static int read_tar(struct fsck *f, const char *diff_id, const struct ingest *i,
		    char why[ERR_MSG_SIZE], struct err *e)
{
	auto_close int tar_fd = store_open_tar(&f->store, diff_id);
	struct worker w = WORKER_NONE;
	struct report r;

	if (tar_fd < 0) {
		(void)snprintf(why, ERR_MSG_SIZE, "it cannot be opened");
		return 1;
	}
	if (start_lister(f, i, tar_fd, &w, e) < 0 || hear(&w, &r, e) < 0)
		return -e->code;
	if (r.kind == REPORT_FAILED && r.code == ENOSPC)
		return err_set(e, ENOSPC, "%s", r.text);
	if (r.kind != REPORT_UNPACKED)
		(void)snprintf(why, ERR_MSG_SIZE, "%s", r.text);
	else
		(void)snprintf(why, ERR_MSG_SIZE, "its diff-id is %s", r.digest);
	return r.kind == REPORT_UNPACKED && str_eq(r.digest, diff_id) ? 0 : 1;
}

static int check_layer(void *ctx, const char *diff_id, struct err *e)
{
	struct fsck *f = ctx;
	char ingest[INGEST_SIZE], why[ERR_MSG_SIZE];
	struct ingest i;
	int r;

	f->layers++;
	if (store_ingest(&f->store, NULL, ingest, &i, e) < 0)
		return -e->code;
	r = read_tar(f, diff_id, &i, why, e);
	ingest_close(&i);
	if (r == 0) {
		r = store_renew_layer(&f->store, ingest, diff_id, e);
		if (r > 0)
			printf("renewed %s: its table\n", diff_id);
		f->renewed += r > 0;
	} else if (r > 0) {
		printf("damaged %s: %s\n", diff_id, why);
		f->damaged++;
		r = store_drop_tar(&f->store, diff_id, e);
	}
	return r < 0 || store_drop_ingest(&f->store, ingest, e) < 0 ? -e->code : 0;
}

/* ---- indexes ---- */

static bool has_tars(const struct fsck *f, const struct record *r)
{
	for (size_t i = 0; i < r->layer_count; i++)
		if (!store_has_layer(&f->store, r->layers[i].diff_id))
			return false;
	return true;
}

static int check_index(void *ctx, const struct record *r, struct err *e)
{
	struct fsck *f = ctx;
	char ingest[INGEST_SIZE] = "";
	struct worker w = WORKER_NONE;
	struct report report;
	int result;

	if (!has_tars(f, r)) {
		f->unpacked++;
		return 0;
	}
	if (indexer_start(&f->store, &f->nursery, ingest, &w, e) < 0 ||
	    indexer_order(&f->store, r, NULL, &w, e) < 0 || hear(&w, &report, e) < 0)
		return -e->code;
	if (report.kind != REPORT_INDEXED)
		return err_set(e, EIO, "index of %s: %s", r->image.digest, report.text);
	result = store_renew_index(&f->store, ingest, r, e);
	if (result > 0)
		printf("renewed %s: its index\n", r->image.digest);
	f->renewed += result > 0;
	return result == 0 ? store_drop_ingest(&f->store, ingest, e) : result < 0 ? result : 0;
}

/* ---- the process ---- */

static int check_all(struct fsck *f, struct err *e)
{
	auto_close int lock_fd = store_lock(&f->store, e);
	struct js_strings broken;

	if (lock_fd < 0 || store_each_tar(&f->store, check_layer, f, e) < 0 ||
	    store_each_record(&f->store, check_index, f, e) < 0 ||
	    store_list_broken(&f->store, &broken, e) < 0)
		return -e->code;
	for (size_t i = 0; i < broken.count; i++)
		printf("pull %s\n", broken.items[i]);
	store_names_free(&broken);
	printf("checked %zu layers: %zu damaged, %zu renewed; %zu images of unpacked layers, which "
	       "nothing tells about\n",
	       f->layers, f->damaged, f->renewed, f->unpacked);
	return 0;
}

/* 0: all is well, or is again; 1: something is to be pulled, or it could not be checked. */
int fsck_main(int argc, char **argv)
{
	struct fsck f = {.nursery = {WORKER_NONE}};
	struct err e = {0};
	int r;

	r = argc > 2 ? store_init(&f.store, argv[2], IMAGE_INDEXED, &e)
		     : err_set(&e, EINVAL, "no store is named");
	if (r == 0) {
		r = check_all(&f, &e);
		nursery_end(&f.nursery);
		store_done(&f.store);
	}
	if (r < 0)
		printf("error %s\n", e.msg);
	return r < 0 || f.damaged ? 1 : 0;
}
