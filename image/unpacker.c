/* image/unpacker.c - the worker that makes files of one layer
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "image/jail.h"
#include "image/layer.h"
#include "image/reason.h"
#include "image/wire.h"
#include "image/worker.h"

static int write_facts(const struct layer *l, struct err *e)
{
	char text[40];
	int len = snprintf(text, sizeof(text), "%" PRIu64 " %u", l->bytes, l->greatest_id);
	int r = write_all(UNPACKER_BYTES, text, (size_t)len);

	if (r < 0) {
		errno = -r;
		return os_fail(e, "write the layer's size");
	}
	return 0;
}

static int unpack(struct layer *ret, struct err *e)
{
	auto_close int root_fd = -1;

	if (jail_unpacker(UNPACKER_TREE, e) < 0)
		return image_class(e, IMAGE_REASON_OTHER);
	(void)close(UNPACKER_TREE);
	root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return os_fail(e, "open the layer's directory");
	if (layer_unpack(UNPACKER_IN, root_fd, ret, e) < 0 || write_facts(ret, e) < 0)
		return -e->code;
	if (syncfs(root_fd) < 0)
		return os_fail(e, "sync the layer");
	return 0;
}

int unpacker_main(int argc, char **argv)
{
	struct layer layer;
	struct err e = {0};
	int r;

	(void)argc;
	(void)argv;
	(void)umask(0);
	r = unpack(&layer, &e);
	if (r < 0) {
		r = report_failure(WORKER_SOCK, 0, &e);
	} else {
		struct report report = {.kind = REPORT_UNPACKED, .bytes = layer.bytes};

		memcpy(report.digest, layer.diff_id, sizeof(report.digest));
		r = report_send(WORKER_SOCK, &report);
	}
	_exit(r < 0 ? 1 : 0); /* at-exit handlers expect files that are not there */
}
