/* image/push_order.c - an image of the store goes to a registry: what its worker is told
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "image/push.h"
#include "image/sources.h"
#include "image/worker.h"

static int read_documents(int fd, char **ret, struct err *e)
{
	struct buf b = BUF_INIT(RECORD_DOCUMENTS_SIZE_MAX);

	if (fs_read_fd(fd, &b, e) < 0) {
		buf_done(&b);
		return -e->code;
	}
	*ret = b.data;
	return 0;
}

static int read_record(int fd, struct record **ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_SIZE_MAX);

	if (fs_read_fd(fd, &b, e) < 0)
		return -e->code;
	return record_read(buf_str(&b), b.size, ret, e);
}

int push_take_order(struct push_order *ret, struct source **ret_source, struct record **ret_record,
		    char **ret_documents, int layer_fds[IMAGE_LAYERS_MAX], struct err *e)
{
	int fds[PUSH_FDS + IMAGE_LAYERS_MAX];
	size_t fd_count = 0, next = PUSH_FDS;
	ssize_t n = fs_recv(WORKER_SOCK, ret, sizeof(*ret), fds, ARRAY_COUNT(fds), &fd_count, 0);

	if (n != sizeof(*ret) || fd_count < PUSH_FDS)
		return err_set(e, EBADMSG, "an order that is none");
	if (sources_read(fds[0], 1, ret_source, e) < 0 || read_record(fds[1], ret_record, e) < 0 ||
	    read_documents(fds[2], ret_documents, e) < 0)
		return -e->code;
	for (size_t i = 0; i < IMAGE_LAYERS_MAX; i++)
		layer_fds[i] = ret->has_blob[i] && next < fd_count ? fds[next++] : -1;
	return 0;
}
