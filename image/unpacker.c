/* image/unpacker.c - the workers that read one layer's tar
 * SPDX-License-Identifier: Apache-2.0
 *
 * The unpacker makes files of it, the lister keeps the tar and says what is in it.
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

static int write_sums(const struct layer *layer, struct err *e)
{
	char text[48];
	int len = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu32, layer->bytes, layer->max_id);
	int r = write_all(UNPACKER_SUMS, text, (size_t)len);

	if (r < 0) {
		errno = -r;
		return os_fail(e, "write the layer's size");
	}
	return 0;
}

/* -1: we were not given it. */
static int own_fd(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : fd;
}

static int packed_fd(void)
{
	return own_fd(READER_PACKED) >= 0 ? READER_PACKED : own_fd(READER_PARTIAL);
}

/* The blob lies outside of the layer's directory, perhaps on no other file system; it is small beside it. */
static int sync_packed(const struct intake_fds *fds, struct err *e)
{
	return fds->packed == READER_PACKED && fdatasync(fds->packed) < 0
		       ? os_fail(e, "sync the layer's blob")
		       : 0;
}

static int unpack(struct layer *ret, struct err *e)
{
	auto_close int root_fd = -1;
	const struct intake_fds fds = {UNPACKER_IN, -1, packed_fd(), own_fd(READER_PACKED) < 0};
	struct intake *s;

	if (jail_unpacker(UNPACKER_TREE, e) < 0)
		return image_class(e, IMAGE_REASON_OTHER);
	(void)close(UNPACKER_TREE);
	root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return os_fail(e, "open the layer's directory");
	if (intake_new(&fds, &s, e) < 0 || layer_unpack(s, root_fd, UNPACKER_IMPLIED, ret, e) < 0 ||
	    write_sums(ret, e) < 0)
		return -e->code;
	if (sync_packed(&fds, e) < 0)
		return -e->code;
	if (syncfs(root_fd) < 0)
		return os_fail(e, "sync the layer");
	return 0;
}

static int send_layer(enum report_kind kind, const struct layer *layer)
{
	struct report report = {.kind = kind, .bytes = layer->bytes};

	memcpy(report.digest, layer->diff_id, sizeof(report.digest));
	return report_send(WORKER_SOCK, &report);
}

/* Of an empty file there is nothing but its name. */
static int sync_files(struct intake *s, const struct intake_fds *in, struct err *e)
{
	const int fds[] = {LISTER_TABLE, LISTER_SPARSE, UNPACKER_SUMS};

	for (size_t i = 0; i < ARRAY_COUNT(fds); i++) /* so that one commit may do for all */
		(void)sync_file_range(fds[i], 0, 0, SYNC_FILE_RANGE_WRITE);
	for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
		if (lseek(fds[i], 0, SEEK_END) != 0 && fdatasync(fds[i]) < 0)
			return os_fail(e, "sync the layer");
	return sync_packed(in, e) < 0 ? -e->code : intake_sync(s, e);
}

/* A tar that is held already is only read. */
static int list(struct layer *ret, struct err *e)
{
	const struct intake_fds fds = {UNPACKER_IN, own_fd(LISTER_TAR), packed_fd(),
				       own_fd(READER_PACKED) < 0};
	struct intake *s;

	if (jail_lister(e) < 0)
		return image_class(e, IMAGE_REASON_OTHER);
	if (intake_new(&fds, &s, e) < 0 || layer_list(s, LISTER_TABLE, LISTER_SPARSE, ret, e) < 0 ||
	    write_sums(ret, e) < 0)
		return -e->code;
	if (fds.tar >= 0)
		(void)send_layer(REPORT_LISTED, ret); /* the index need not wait for the disk */
	return sync_files(s, &fds, e);
}

/* The stream's thread may wait for bytes that never come, so the process just ends. */
static _Noreturn void run(int (*read_layer)(struct layer *ret, struct err *e))
{
	struct layer layer;
	struct err e = {0};
	int r;

	(void)umask(0);
	r = read_layer(&layer, &e);
	r = r < 0 ? report_failure(WORKER_SOCK, 0, &e) : send_layer(REPORT_UNPACKED, &layer);
	_exit(r < 0 ? 1 : 0); /* at-exit handlers expect files that are not there */
}

int unpacker_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	run(unpack);
}

int lister_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	run(list);
}
