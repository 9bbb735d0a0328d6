/* image/push.c - an image of the store goes to a registry: for its caller
 * SPDX-License-Identifier: Apache-2.0
 *
 * The caller opens what the image is made of and hands it to a worker, which is all
 * that talks to the registry.
 */
#include "image/push.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/client.h"
#include "image/plain.h"
#include "image/pulling.h"

struct parts {
	struct record *record;
	char *documents;
	char which[REFERENCE_SIZE];
	int fds[PUSH_FDS + IMAGE_LAYERS_MAX];
	size_t fd_count;
};

static void parts_done(struct parts *p)
{
	for (size_t i = 0; i < p->fd_count; i++)
		close_fd(&p->fds[i]);
	record_free(p->record);
	free(p->documents);
}

static int memory_file(const void *data, size_t size, int *ret_fd, struct err *e)
{
	auto_close int fd = memfd_create("push", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : write_all(fd, data, size);

	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	if (r < 0) {
		errno = -r;
		return err_sys(e, "memory file");
	}
	*ret_fd = take_fd(fd);
	return 0;
}

static int find(const struct store *s, const char *reference, struct parts *p, struct err *e)
{
	int r = store_find_record(s, reference, p->which, &p->record, e);

	if (r == 0)
		r = store_read_documents(s, p->record, &p->documents, e);
	else
		return r;
	return r == IMAGE_ABSENT
		       ? err_set(e, ENODATA,
				 "%.300s was pulled by a Berth that kept no manifests: pull it again",
				 reference)
		       : r;
}

static int size_of_tar(const struct store *s, const char *diff_id, uint64_t *ret, struct err *e)
{
	auto_close int fd = store_open_tar(s, diff_id);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ENOTSUP,
			       "layer %s is held as a directory, not as the tar that it was",
			       diff_id);
	*ret = (uint64_t)st.st_size;
	return 0;
}

/* The record and its documents become those of an image whose blobs are the tars that we hold. */
static int make_plain(const struct store *s, struct parts *p, struct err *e)
{
	struct record *r = p->record;
	struct record_document manifest = {.media_type = PLAIN_MANIFEST_TYPE}, config = manifest;
	auto_buf struct buf documents = BUF_INIT(RECORD_DOCUMENTS_SIZE_MAX);
	uint64_t sizes[IMAGE_LAYERS_MAX];
	auto_free char *text = NULL;
	const char *data = p->documents;

	for (size_t i = 0; i < r->layer_count; i++)
		if (size_of_tar(s, r->layers[i].diff_id, &sizes[i], e) < 0)
			return -e->code;
	text = plain_manifest(r, sizes, manifest.digest);
	manifest.size = strlen(text);
	buf_add(&documents, text, manifest.size);
	for (size_t i = 0; i < r->document_count; data += r->documents[i++].size)
		if (str_eq(r->documents[i].digest, r->image.config) && !config.size) {
			config = r->documents[i];
			buf_add(&documents, data, config.size);
		}
	for (size_t i = 0; i < r->layer_count; i++) {
		memcpy(r->layers[i].blob, r->layers[i].diff_id, DIGEST_SIZE);
		r->layers[i].blob_size = sizes[i];
	}
	r->documents[0] = manifest;
	r->documents[1] = config;
	r->document_count = 2;
	r->image.manifest = r->image.digest = arena_strdup(&r->image.arena, manifest.digest);
	free(p->documents);
	p->documents = take_ptr(documents.data);
	return 0;
}

static int open_parts(const struct store *s, struct parts *p, struct push_order *o, struct err *e)
{
	auto_buf struct buf record = BUF_INIT(RECORD_SIZE_MAX);
	size_t size = 0;
	bool has_all = true;

	record_write(p->record, &record);
	for (size_t i = 0; i < p->record->document_count; i++)
		size += p->record->documents[i].size;
	if (memory_file(record.data, record.size, &p->fds[1], e) < 0 ||
	    memory_file(p->documents, size, &p->fds[2], e) < 0)
		return -e->code;
	for (size_t i = 0; i < p->record->layer_count; i++) {
		int fd = store_open_blob_or_lent(s, &p->record->layers[i]);

		o->has_blob[i] = fd >= 0;
		if (fd >= 0)
			p->fds[p->fd_count++] = fd;
		has_all &= fd >= 0;
	}
	for (size_t i = 0; has_all && i < p->record->layer_count; i++)
		store_drop_lent(s, &p->record->layers[i]);
	return 0;
}

/* Where the image came from is known by its name. */
static void find_mount(const struct parts *p, const struct reference *to, struct push_order *o)
{
	struct reference from;
	struct err ignored;

	if (!str_starts(p->which, "sha256:") && reference_parse(p->which, &from, &ignored) == 0 &&
	    str_eq(from.host, to->host) && !str_eq(from.repository, to->repository))
		memcpy(o->mount_from, from.repository, sizeof(o->mount_from));
}

static int start(struct image_store *s, struct image_pull *p, const struct push_order *o,
		 const struct parts *parts, struct err *e)
{
	int r;

	if (worker_start(s->worker, "push", NULL, NULL, 0, true, &p->pusher, e) < 0)
		return -e->code;
	p->fd = p->pusher.sock;
	r = fs_send(p->fd, o, sizeof(*o), parts->fds, parts->fd_count);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "order a push");
	}
	return 0;
}

/* Whether the index goes, too: an image that came without one is all that there is. */
static int take_index(const struct image_push_request *request, const struct image *image,
		      bool *ret, struct err *e)
{
	*ret = request->with_index && image->sibling_count;
	if (!request->with_index || *ret || str_eq(image->digest, image->manifest))
		return 0;
	return err_set(e, ENOTSUP,
		       "%s: what its index lists is not known here: it was pulled by an older "
		       "version, or lists indexes or more than %d manifests; push one platform",
		       request->reference, IMAGE_SIBLINGS_MAX);
}

int image_push_begin(struct image_store *s, const struct image_push_request *request,
		     struct image_pull **ret, struct err *e)
{
	struct parts parts = {.fds = {-1, -1, -1}, .fd_count = PUSH_FDS};
	struct push_order o = {.destination = ""};
	struct reference to;
	struct image_pull *p;
	int r = find(&s->store, request->reference, &parts, e);

	if (r == 0)
		r = reference_parse(request->destination ? request->destination : parts.which, &to,
				    e);
	if (r == 0)
		r = pulling_write_sources(request->to, 1, &parts.fds[0], e);
	if (r == 0 && request->uncompressed)
		r = make_plain(&s->store, &parts, e);
	if (r == 0)
		r = open_parts(&s->store, &parts, &o, e);
	if (r == 0)
		r = take_index(request, &parts.record->image, &o.with_index, e);
	if (r != 0) {
		parts_done(&parts);
		return r;
	}
	reference_format(&to, o.destination);
	find_mount(&parts, &to, &o);
	p = pulling_new(s, o.destination);
	p->is_push = true;
	r = start(s, p, &o, &parts, e);
	parts_done(&parts);
	if (r < 0) {
		image_pull_free(p);
		return r;
	}
	*ret = p;
	return 0;
}
