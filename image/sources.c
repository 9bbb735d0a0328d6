/* image/sources.c - where the fetcher may get an image, and how it is to ask there
 * SPDX-License-Identifier: Apache-2.0
 *
 * Keys are root's, and certificates may lie where nobody else may read.  The TLS
 * library wants paths; a memory file has one that needs no right but the descriptor.
 */
#include "image/sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fetch.h"
#include "base/fs.h"
#include "base/text.h"

#define PEM_SIZE_MAX (4 << 20)

static int add_file(struct buf *b, const char *path, struct err *e)
{
	if (fs_read(AT_FDCWD, path, b, e) < 0)
		return -e->code;
	buf_putc(b, '\n');
	if (buf_overflow(b))
		return err_set(e, EFBIG, "%s has more than %d bytes", path, PEM_SIZE_MAX);
	return 0;
}

/* Its descriptor stays open as long as the process. */
static int put_in_memory(const struct buf *b, char path[PATH_MAX], struct err *e)
{
	int fd = memfd_create("pem", MFD_CLOEXEC), r;

	if (fd < 0)
		return err_sys(e, "memory file");
	r = write_all(fd, b->data, b->size);
	if (r < 0) {
		errno = -r;
		return err_sys(e, "memory file");
	}
	(void)snprintf(path, PATH_MAX, "/proc/self/fd/%d", fd);
	return 0;
}

/* What is trusted of a source: the system's certificates, and its own. */
static int take_trust(struct source *s, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(PEM_SIZE_MAX);
	const char *common = fetch_system_ca_file();

	if (!s->ca_file[0] && !getenv("SSL_CERT_FILE"))
		return 0;
	if ((common && add_file(&b, common, e) < 0) ||
	    (s->ca_file[0] && add_file(&b, s->ca_file, e) < 0))
		return err_wrap(e, "trusted certificates");
	return put_in_memory(&b, s->ca_file, e);
}

static int take_file(char path[PATH_MAX], const char *what, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(PEM_SIZE_MAX);
	int r;

	if (!path[0])
		return 0;
	if (add_file(&b, path, e) < 0)
		return err_wrap(e, "%s", what);
	r = put_in_memory(&b, path, e);
	explicit_bzero(b.data, b.size);
	return r;
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static int check(const struct source *s, struct err *e)
{
	if (!ends(s->location, sizeof(s->location)) || !ends(s->username, sizeof(s->username)) ||
	    !ends(s->password, sizeof(s->password)) || !ends(s->ca_file, PATH_MAX) ||
	    !ends(s->certificate_file, PATH_MAX) || !ends(s->key_file, PATH_MAX))
		return err_set(e, EBADMSG, "a source that is none");
	return 0;
}

int sources_read(int fd, size_t count, struct source **ret, struct err *e)
{
	struct source *s;
	ssize_t n;
	int r = 0;

	if (count == 0 || count > IMAGE_SOURCES_MAX + 1) /* those, and who we are to other nodes */
		return err_set(e, EBADMSG, "%zu sources", count);
	s = xcalloc(count, sizeof(*s));
	n = pread(fd, s, count * sizeof(*s), 0);
	if (n != (ssize_t)(count * sizeof(*s)))
		r = err_set(e, EBADMSG, "sources that are none");
	for (size_t i = 0; r == 0 && i < count; i++) {
		r = check(&s[i], e);
		if (r == 0)
			r = take_trust(&s[i], e);
		if (r == 0)
			r = take_file(s[i].certificate_file, "client certificate", e);
		if (r == 0)
			r = take_file(s[i].key_file, "client key", e);
	}
	if (r < 0)
		free(s);
	else
		*ret = s;
	return r;
}
