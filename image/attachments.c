/* image/attachments.c - what an index names beside images: attestations, as BuildKit makes them
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/attachments.h"

#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "image/handover.h"
#include "image/manifest.h"
#include "image/reason.h"

#define OTHER_TYPE "application/octet-stream"

bool attachment_is(const struct image_sibling *s)
{
	return str_eq(s->platform, PLATFORM_NONE);
}

static bool is_held(const struct record *r, const char *digest)
{
	for (size_t i = 0; i < r->document_count; i++)
		if (str_eq(r->documents[i].digest, digest))
			return true;
	return false;
}

static int hand_over(struct record *r, const struct buf *bytes, const char *media_type,
		     const char *digest, struct err *e)
{
	uint64_t sum = bytes->size;

	for (size_t i = 0; i < r->document_count; i++)
		sum += r->documents[i].size;
	if (sum > RECORD_DOCUMENTS_SIZE_MAX)
		return image_fail(e, IMAGE_REASON_TOO_LARGE, "documents of more than %d bytes",
				  RECORD_DOCUMENTS_SIZE_MAX);
	return handover_document(r, buf_str(bytes), bytes->size,
				 media_type_is_plain(media_type) ? media_type : OTHER_TYPE, digest,
				 e);
}

static int take_blob(struct record *r, const struct descriptor *d, attachment_get *get, void *ctx,
		     struct err *e)
{
	auto_buf struct buf bytes = BUF_INIT(ATTACHMENT_SIZE_MAX);

	if (is_held(r, d->digest))
		return 0;
	if (get(ctx, "blobs", d->digest, &bytes, e) < 0)
		return -e->code;
	return hand_over(r, &bytes, d->media_type, d->digest, e);
}

static int take_one(struct record *r, const char *digest, attachment_get *get, void *ctx,
		    struct err *e)
{
	auto_buf struct buf bytes = BUF_INIT(MANIFEST_SIZE_MAX);
	struct document d;
	int result;

	if (is_held(r, digest))
		return 0;
	if (get(ctx, "manifests", digest, &bytes, e) < 0 ||
	    document_parse_other(buf_str(&bytes), bytes.size, ATTACHMENT_SIZE_MAX, &d, e) < 0)
		return -e->code;
	result = take_blob(r, d.config, get, ctx, e);
	for (size_t i = 0; result == 0 && i < d.count; i++)
		result = take_blob(r, &d.items[i], get, ctx, e);
	if (result == 0) /* last: who finds it finds the rest */
		result = hand_over(r, &bytes, d.media_type, digest, e);
	document_done(&d);
	return result;
}

void attachments_take(struct record *r, attachment_get *get, void *ctx)
{
	struct err ignored;

	for (size_t i = 0; i < r->image.sibling_count; i++)
		if (attachment_is(&r->image.siblings[i]))
			(void)take_one(r, r->image.siblings[i].manifest, get, ctx, &ignored);
}
