/* image/handover.c - what a fetcher or a loader gives the puller
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/handover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/hash.h"
#include "image/reason.h"
#include "image/worker.h"

void digest_of(const void *data, size_t size, char ret[DIGEST_SIZE])
{
	struct sha256 *h = sha256_new();
	char hex[SHA256_HEX];

	sha256_add(h, data, size);
	sha256_hex(h, hex);
	sha256_free(h);
	(void)snprintf(ret, DIGEST_SIZE, "sha256:%s", hex);
}

int handover_document(struct record *r, const void *data, size_t size, const char *media_type,
		      const char *digest, struct err *e)
{
	struct record_document *d = &r->documents[r->document_count];
	int result;

	if (r->document_count == RECORD_DOCUMENTS_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "more than %d documents",
				  RECORD_DOCUMENTS_MAX);
	result = write_all(FETCHER_DOCUMENTS, data, size);
	if (result < 0) {
		errno = -result;
		return os_fail(e, "keep a document");
	}
	memcpy(d->digest, digest, DIGEST_SIZE);
	d->size = size;
	(void)snprintf(d->media_type, sizeof(d->media_type), "%s", media_type);
	r->document_count++;
	return 0;
}

int handover_record(const struct record *r, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(RECORD_SIZE_MAX);
	struct report report = {.kind = REPORT_RESOLVED};
	int result;

	record_write(r, &text);
	if (buf_overflow(&text))
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "configuration of more than %d bytes",
				  RECORD_SIZE_MAX);
	result = write_all(FETCHER_RECORD, text.data, text.size);
	if (result == 0) {
		memcpy(report.digest, r->image.digest, DIGEST_SIZE);
		result = report_send(WORKER_SOCK, &report);
	}
	if (result < 0) {
		errno = -result;
		return os_fail(e, "hand over the record");
	}
	return 0;
}

int handover_take_order(struct order *ret, struct err *e)
{
	auto_close int fd = -1;
	size_t fd_count = 0;
	ssize_t n = fs_recv(WORKER_SOCK, ret, sizeof(*ret), &fd, 1, &fd_count, 0);

	if (n == 0)
		return HANDOVER_END;
	if (n != sizeof(*ret) || fd_count != 1)
		return err_set(e, EBADMSG, "an order that is none");
	return dup2(fd, FETCHER_SOURCES) < 0 ? err_sys(e, "take the sources") : 0;
}

int handover_take_layer(const struct record *r, bool wait, struct handover_layer *ret,
			struct err *e)
{
	struct layer_order order;
	size_t fd_count = 0;
	int fds[2] = {-1, -1};
	ssize_t n = fs_recv(WORKER_SOCK, &order, sizeof(order), fds, ARRAY_COUNT(fds), &fd_count,
			    wait ? 0 : MSG_DONTWAIT);

	if (n == -EAGAIN)
		return HANDOVER_NONE;
	if (n == 0 || n == -ECONNRESET)
		return HANDOVER_END;
	if (n != sizeof(order) || fd_count != (order.goes_on ? 0 : 1u + (order.resume_bytes > 0)) ||
	    order.layer >= r->layer_count || !origin_is_valid(&order.origin) ||
	    order.resume_bytes > r->layers[order.layer].blob_size) {
		close_fd(&fds[0]);
		close_fd(&fds[1]);
		return err_set(e, EBADMSG, "an order that is none");
	}
	*ret = (struct handover_layer){.layer = order.layer,
				       .pipe_fd = fds[0],
				       .partial_fd = fds[1],
				       .resume_bytes = order.resume_bytes,
				       .goes_on = order.goes_on,
				       .peer = order.origin.peer,
				       .peer_max = order.peer_max};
	memcpy(ret->digest, order.origin.digest, DIGEST_SIZE);
	return 0;
}

int handover_ask(const char *digest, uint64_t size, struct image_peer *ret, struct err *e)
{
	struct report want = {.kind = REPORT_WANT, .layer = REPORT_NO_LAYER, .total_bytes = size};
	struct layer_order answer;
	size_t fd_count = 0;
	ssize_t n;

	memcpy(want.digest, digest, DIGEST_SIZE);
	n = report_send(WORKER_SOCK, &want);
	if (n == 0)
		n = fs_recv(WORKER_SOCK, &answer, sizeof(answer), NULL, 0, &fd_count, 0);
	if (n == 0 || n == -ECONNRESET || n == -EPIPE)
		return HANDOVER_END;
	if (n != sizeof(answer) || answer.layer != REPORT_NO_LAYER ||
	    !origin_is_valid(&answer.origin) || strcmp(answer.origin.digest, digest) != 0)
		return err_set(e, EBADMSG, "an order that is none");
	*ret = answer.origin.peer;
	return 0;
}

void handover_bad(unsigned layer, const char *digest, uint64_t kept_bytes, const struct err *why)
{
	struct report bad = {.kind = REPORT_BAD, .layer = layer, .bytes = kept_bytes};

	memcpy(bad.digest, digest, DIGEST_SIZE);
	memcpy(bad.text, why->msg, sizeof(bad.text));
	(void)report_send(WORKER_SOCK, &bad);
}
