/* image/indexer.c - the worker that makes the index of an image
 * SPDX-License-Identifier: Apache-2.0
 *
 * What it writes, the kernel mounts, so it sees no foreign byte: nothing but the
 * tables of the layers, each checked before it is used.  Those come from
 * processes that may have fallen into foreign hands, so it has no rights either.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "image/erofs.h"
#include "image/jail.h"
#include "image/merge.h"
#include "image/reason.h"
#include "image/wire.h"
#include "image/worker.h"

struct indexer {
	struct index_order order;
	int tables[IMAGE_LAYERS_MAX];
	uint64_t device_bytes[EROFS_DEVICES_MAX];
	uint16_t device_count;
};

static int take_order(struct indexer *x, struct err *e)
{
	size_t fd_count = 0;
	ssize_t n = fs_recv(WORKER_SOCK, &x->order, sizeof(x->order), x->tables, IMAGE_LAYERS_MAX,
			    &fd_count, 0);

	if (n != sizeof(x->order) || fd_count != x->order.layer_count || fd_count == 0)
		return err_set(e, EBADMSG, "an order that is none");
	return 0;
}

/* Each layer has a tar, and some have content beside it: as image_devices() counts them. */
static int add_layer(struct indexer *x, uint32_t i, struct outline *image, struct err *e)
{
	const uint64_t *bytes = x->order.device_bytes[i];
	uint16_t devices[TABLE_DEVICES];
	struct table *table;
	int r;

	for (size_t d = 0; d < TABLE_DEVICES; d++) {
		devices[d] = x->device_count;
		if (bytes[d])
			x->device_bytes[x->device_count++] = bytes[d];
	}
	if (table_read(x->tables[i], bytes, &table, e) < 0)
		return -e->code;
	close_fd(&x->tables[i]);
	r = merge_layer(image, table, devices, e);
	table_free(table);
	return r;
}

static int make_index(struct indexer *x, struct err *e)
{
	struct outline *image;
	int r = 0;

	if (take_order(x, e) < 0 || jail_indexer(e) < 0)
		return image_class(e, IMAGE_REASON_OTHER);
	image = outline_new();
	for (uint32_t i = 0; r == 0 && i < x->order.layer_count; i++) {
		r = add_layer(x, i, image, e);
		if (r < 0)
			(void)err_wrap(e, "layer %u", i);
	}
	if (r == 0)
		r = erofs_write(image, x->device_bytes, x->device_count, INDEXER_OUT, e);
	if (r == 0 && fdatasync(INDEXER_OUT) < 0)
		r = os_fail(e, "sync the index");
	outline_free(image);
	return r;
}

int indexer_main(int argc, char **argv)
{
	struct indexer *x = xcalloc(1, sizeof(*x));
	const struct report done = {.kind = REPORT_INDEXED};
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	r = make_index(x, &e);
	free(x);
	r = r < 0 ? report_failure(WORKER_SOCK, REPORT_NO_LAYER, &e)
		  : report_send(WORKER_SOCK, &done);
	_exit(r < 0 ? 1 : 0);
}
