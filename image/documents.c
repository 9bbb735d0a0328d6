/* image/documents.c - what the registry said of an image, kept as it came
 * SPDX-License-Identifier: Apache-2.0
 *
 * Nobody here reads them: they are handed on, and their digests tell whether they
 * are still what they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"
#include "image/reason.h"
#include "image/store.h"

static uint64_t total(const struct record *r)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->document_count; i++)
		sum += r->documents[i].size;
	return sum;
}

static bool is_document(const struct record_document *d, const char *data)
{
	unsigned char digest[SHA256_SIZE];
	char hex[SHA256_HEX];

	sha256_of(data, d->size, digest);
	hex_encode(digest, sizeof(digest), hex);
	return str_eq(hex, digest_hex(d->digest));
}

static bool has(const struct record *r, const char *digest)
{
	for (size_t i = 0; i < r->document_count; i++)
		if (str_eq(r->documents[i].digest, digest))
			return true;
	return false;
}

/* Are these the record's documents, and all that it takes? */
static bool are_whole(const struct record *r, const char *data, size_t size)
{
	if (total(r) != size || !has(r, r->image.digest) || !has(r, r->image.manifest) ||
	    !has(r, r->image.config))
		return false;
	for (size_t i = 0; i < r->document_count; i++) {
		if (!is_document(&r->documents[i], data))
			return false;
		data += r->documents[i].size;
	}
	return true;
}

static int read_documents(const struct record *r, int fd, struct buf *ret, struct err *e)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, "rewind the documents");
	if (fs_read_fd(fd, ret, e) < 0)
		return err_wrap(e, "documents");
	if (!are_whole(r, buf_str(ret), ret->size))
		return image_fail(e, IMAGE_REASON_DIGEST_MISMATCH,
				  "the fetcher's documents are others");
	return 0;
}

int store_prepare_documents(const struct store *s, const struct record *r, int fd,
			    struct fs_prepared *ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_DOCUMENTS_SIZE_MAX);
	char key[IMAGE_KEY_SIZE];

	if (read_documents(r, fd, &b, e) < 0)
		return -e->code;
	store_image_key(r->image.digest, r->image.manifest, key);
	return fs_prepare(s->documents_fd, key, b.data, b.size, 0600, ret, e);
}

int store_put_config(const struct store *s, const struct record *r, int fd, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_DOCUMENTS_SIZE_MAX);
	const char *data;

	if (read_documents(r, fd, &b, e) < 0)
		return -e->code;
	data = b.data;
	for (size_t i = 0; i < r->document_count; data += r->documents[i++].size) {
		if (!str_eq(r->documents[i].digest, r->image.config))
			continue;
		if (fs_replace(s->configs_fd, digest_hex(r->image.config), data,
			       r->documents[i].size, 0600, FS_QUICK, e) < 0)
			return err_wrap(e, "image store");
		break;
	}
	return 0;
}

int store_read_documents(const struct store *s, const struct record *r, char **ret, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(RECORD_DOCUMENTS_SIZE_MAX);
	char key[IMAGE_KEY_SIZE];
	struct err failed = {0};

	if (r->document_count == 0)
		return IMAGE_ABSENT;
	store_image_key(r->image.digest, r->image.manifest, key);
	if (fs_read(s->documents_fd, key, &b, &failed) == -ENOENT)
		return IMAGE_ABSENT;
	if (failed.code) {
		*e = failed;
		return -e->code;
	}
	if (!are_whole(r, buf_str(&b), b.size))
		return err_set(e, EUCLEAN, "the documents of %s are damaged: pull it again",
			       r->image.digest);
	*ret = take_ptr(b.data);
	return 0;
}

int store_find_record(const struct store *s, const char *text, char ret_which[REFERENCE_SIZE],
		      struct record **ret, struct err *e)
{
	struct reference name = {.host = ""};
	char key[IMAGE_KEY_SIZE];
	struct image *image;
	int r = store_resolve(s, text, ret_which, e);

	if (r == 0 && digest_valid(ret_which))
		memcpy(name.digest, ret_which, DIGEST_SIZE);
	else if (r == 0)
		r = reference_parse(ret_which, &name, e);
	if (r == 0)
		r = store_find(s, &name, &image, e);
	if (r == 0) {
		store_image_key(image->digest, image->manifest, key);
		image_free(image);
		r = store_read_record(s, key, ret, e);
	}
	return r == IMAGE_ABSENT ? err_set(e, ENOENT, "no image %.300s: not found", text) : r;
}
