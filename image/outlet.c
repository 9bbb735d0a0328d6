/* image/outlet.c - where images are written to: a tar, or a directory
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/outlet.h"

#include <archive.h>
#include <archive_entry.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#define PIECE_SIZE (256 << 10)
#define PATH_SIZE  256

struct outlet {
	int fd;                  /* borrowed */
	struct archive *archive; /* NULL: a directory */
	char **names;            /* of what is there */
	size_t count, capacity;
	int file_fd; /* of a directory: the one being written; -1 */
};

struct outlet *outlet_new(int fd, bool is_directory)
{
	struct outlet *o = xcalloc(1, sizeof(*o));

	o->fd = fd;
	o->file_fd = -1;
	if (is_directory)
		return o;
	o->archive = archive_write_new();
	assert(o->archive);
	(void)archive_write_set_format_pax_restricted(o->archive);
	(void)archive_write_add_filter_none(o->archive);
	(void)archive_write_open_fd(o->archive, fd);
	return o;
}

static int failed(struct outlet *o, const char *name, struct err *e)
{
	int errnum = archive_errno(o->archive);

	return err_set(e, errnum > 0 ? errnum : EIO, "write %s: %s", name,
		       archive_error_string(o->archive) ? archive_error_string(o->archive) : "?");
}

int outlet_finish(struct outlet *o, struct err *e)
{
	if (o->archive && archive_write_close(o->archive) != ARCHIVE_OK)
		return failed(o, "the end", e);
	return 0;
}

void outlet_free(struct outlet *o)
{
	if (!o)
		return;
	if (o->archive)
		(void)archive_write_free(o->archive);
	close_fd(&o->file_fd);
	for (size_t i = 0; i < o->count; i++)
		free(o->names[i]);
	free(o->names);
	free(o);
}

static bool is_there(const struct outlet *o, const char *name)
{
	for (size_t i = 0; i < o->count; i++)
		if (strcmp(o->names[i], name) == 0)
			return true;
	return false;
}

static int begin_in_archive(struct outlet *o, const char *name, uint64_t size, struct err *e)
{
	struct archive_entry *entry = archive_entry_new();
	int r;

	assert(entry);
	archive_entry_set_pathname(entry, name);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_mtime(entry, 0, 0); /* one image gives one archive */
	r = archive_write_header(o->archive, entry);
	archive_entry_free(entry);
	return r == ARCHIVE_OK ? 0 : failed(o, name, e);
}

static int begin_in_directory(struct outlet *o, const char *name, struct err *e)
{
	auto_free char *dir = xstrdup(name);
	char *slash = strrchr(dir, '/');

	if (slash) {
		*slash = '\0';
		if (fs_mkdirs(o->fd, dir, 0755, e) < 0)
			return -e->code;
	}
	o->file_fd = openat(o->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return o->file_fd < 0 ? err_sys(e, "create %s", name) : 0;
}

static int begin(struct outlet *o, const char *name, uint64_t size, struct err *e)
{
	o->names = xgrow(o->names, o->count, &o->capacity, sizeof(*o->names));
	o->names[o->count++] = xstrdup(name);
	return o->archive ? begin_in_archive(o, name, size, e) : begin_in_directory(o, name, e);
}

static int put(struct outlet *o, const char *name, const void *data, size_t size, struct err *e)
{
	int r;

	if (o->archive)
		return archive_write_data(o->archive, data, size) == (la_ssize_t)size
			       ? 0
			       : failed(o, name, e);
	r = write_all(o->file_fd, data, size);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "write %s", name);
	}
	return 0;
}

int outlet_add(struct outlet *o, const char *name, const void *data, size_t size, struct err *e)
{
	int r;

	if (is_there(o, name))
		return 0;
	r = begin(o, name, size, e);
	if (r == 0)
		r = put(o, name, data, size, e);
	close_fd(&o->file_fd);
	return r;
}

static int copy(struct outlet *o, const char *name, int fd, uint64_t size, struct sha256 *hash,
		struct err *e)
{
	auto_free unsigned char *piece = xcalloc(1, PIECE_SIZE);
	uint64_t done = 0;

	while (done < size) {
		size_t want = size - done > PIECE_SIZE ? PIECE_SIZE : (size_t)(size - done);
		ssize_t n = pread(fd, piece, want, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "read %s", name);
		if (n == 0)
			return err_set(e, EUCLEAN, "%s ends too early in the store", name);
		sha256_add(hash, piece, (size_t)n);
		if (put(o, name, piece, (size_t)n, e) < 0)
			return -e->code;
		done += (uint64_t)n;
	}
	return 0;
}

int outlet_copy(struct outlet *o, const char *name, int fd, uint64_t size, const char *hex,
		struct err *e)
{
	char is[SHA256_HEX];
	struct sha256 *hash;
	int r;

	if (is_there(o, name))
		return 0;
	hash = sha256_new();
	r = begin(o, name, size, e);
	if (r == 0)
		r = copy(o, name, fd, size, hash, e);
	close_fd(&o->file_fd);
	sha256_hex(hash, is);
	sha256_free(hash);
	if (r == 0 && strcmp(is, hex) != 0)
		return err_set(e, EUCLEAN,
			       "%s is damaged in the store: berth image fsck pulls it again", name);
	return r;
}
