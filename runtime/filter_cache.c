/* runtime/filter_cache.c - compiled filters by what they were made from
 * SPDX-License-Identifier: Apache-2.0
 *
 * A cache file is a header, the whole profile (with all else that the program
 * depends on in front) and the program.  Its name is a short hash of the profile,
 * which is compared in full, so two that share a name only push each other out.
 * There are CACHE_SLOTS names: the directory cannot grow.  A file that is cut short
 * or not ours is compiled again and replaced.
 *
 * Who makes many containers with one filter can have it compiled once and name
 * the file (linux.seccomp.compiled): the profile of Docker's kind is most of a
 * config.json.  Other runtimes, which do not know this member, do by what stands
 * beside it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "runtime/config.h"
#include "runtime/filter.h"
#include "runtime/runtime.h"

#define CACHE_DIR   ".filters" /* no container: ids do not begin with a dot */
#define CACHE_SLOTS 64
#define MAGIC       0x31746c66u /* "flt1" */
#define FILE_MAX    (2 * CONFIG_SIZE_MAX + FILTER_INSNS_MAX * (int)sizeof(struct sock_filter))

struct header {
	uint32_t magic, flags, count, text_size;
};

/* FNV-1a, but by eight bytes; the low bits of a product know nothing of the high ones. */
static uint64_t hash(const char *p, size_t size)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (uint64_t word = 0; size; word = 0) {
		const size_t n = size < sizeof(word) ? size : sizeof(word);

		memcpy(&word, p, n);
		h = (h ^ word) * 0x100000001b3ull;
		h ^= h >> 32;
		p += n;
		size -= n;
	}
	return h;
}

static void add_piece(struct buf *out, char type, const void *data, size_t size)
{
	const uint32_t length = (uint32_t)size;
	char *p = buf_reserve(out, 1 + sizeof(length) + size);

	if (!p)
		return;
	p[0] = type;
	memcpy(p + 1, &length, sizeof(length));
	if (size)
		memcpy(p + 1 + sizeof(length), data, size);
	buf_commit(out, 1 + sizeof(length) + size);
}

/* A value as pieces, of which each says what it is and how long: no two values have the same. */
static void flatten(const json_t *value, struct buf *out)
{
	const json_int_t number = json_integer_value(value);
	const double real = json_real_value(value);
	const size_t count = json_is_array(value) ? json_array_size(value)
						  : json_object_size(value);
	json_t *member;
	const char *key;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_OBJECT:
		add_piece(out, '{', &count, sizeof(count));
		json_object_foreach ((json_t *)(uintptr_t)value, key, member) {
			add_piece(out, '"', key, strlen(key));
			flatten(member, out);
		}
		return;
	case JSON_ARRAY:
		add_piece(out, '[', &count, sizeof(count));
		json_array_foreach (value, i, member)
			flatten(member, out);
		return;
	case JSON_STRING:
		add_piece(out, '"', json_string_value(value), json_string_length(value));
		return;
	case JSON_INTEGER:
		add_piece(out, '0', &number, sizeof(number));
		return;
	case JSON_REAL:
		add_piece(out, '.', &real, sizeof(real));
		return;
	default:
		add_piece(out, (char)json_typeof(value), NULL, 0);
	}
}

static void make_text(const json_t *seccomp, struct buf *out)
{
	struct utsname u = {0};

	(void)uname(&u);
	buf_printf(out, "berth %s %s %s\n", BERTH_VERSION, u.release, u.machine);
	flatten(seccomp, out);
}

/* False: the bytes are no filter (of this text, where one is given). */
static bool unpack(const struct buf *file, const struct buf *text, struct filter *ret)
{
	size_t program_size;
	struct header h;

	if (file->size < sizeof(h))
		return false;
	memcpy(&h, file->data, sizeof(h));
	if (h.magic != MAGIC || h.count > FILTER_INSNS_MAX)
		return false;
	program_size = h.count * sizeof(struct sock_filter);
	if (h.text_size > file->size || file->size - h.text_size != sizeof(h) + program_size)
		return false;
	if (text && (text->size != h.text_size ||
		     memcmp(text->data, file->data + sizeof(h), h.text_size) != 0))
		return false;

	ret->insns = xcalloc(h.count, sizeof(struct sock_filter));
	memcpy(ret->insns, file->data + sizeof(h) + h.text_size, program_size);
	ret->count = h.count;
	ret->flags = h.flags;
	return true;
}

static void pack(const struct filter *f, const struct buf *text, struct buf *out)
{
	struct header h = {.magic = MAGIC, .flags = f->flags, .count = f->count};

	h.text_size = text ? (uint32_t)text->size : 0;
	buf_add(out, &h, sizeof(h));
	if (text)
		buf_add(out, text->data, text->size);
	buf_add(out, f->insns, f->count * sizeof(struct sock_filter));
}

/* Who made it has left the rest of the profile out: without the file there is no filter at all. */
static int load_compiled(const char *path, struct filter *ret, struct err *e)
{
	if (filter_load_file(AT_FDCWD, path, ret, e) < 0)
		return err_wrap(e, "linux.seccomp.compiled");
	return ret->insns ? 0 : err_set(e, ENOENT, "linux.seccomp.compiled: %s is not there", path);
}

int filter_get(int state_fd, const json_t *seccomp, struct filter *ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(2 * CONFIG_SIZE_MAX), file = BUF_INIT(FILE_MAX);
	const char *compiled = json_string_value(json_object_get(seccomp, "compiled"));
	struct err ignored;
	char name[64];

	if (compiled)
		return load_compiled(compiled, ret, e);
	make_text(seccomp, &text);
	(void)snprintf(name, sizeof(name), CACHE_DIR "/%u",
		       (unsigned)(hash(buf_str(&text), text.size) % CACHE_SLOTS));
	if (!buf_overflow(&text) && fs_read(state_fd, name, &file, &ignored) == 0 &&
	    unpack(&file, &text, ret))
		return 0;

	if (filter_compile(seccomp, ret, e) < 0)
		return -e->code;
	buf_reset(&file);
	pack(ret, &text, &file);
	/* A cache that cannot be written is no reason not to start. */
	if (!buf_overflow(&text) && !buf_overflow(&file) &&
	    fs_mkdirs(state_fd, CACHE_DIR, 0700, &ignored) == 0)
		(void)fs_replace(state_fd, name, file.data, file.size, 0600, FS_QUICK, &ignored);
	return 0;
}

int filter_save(int dir_fd, const char *name, const struct filter *f, struct err *e)
{
	auto_buf struct buf file = BUF_INIT(FILE_MAX);

	pack(f, NULL, &file);
	return fs_replace(dir_fd, name, file.data, file.size, 0600, FS_QUICK, e);
}

int runtime_compile_seccomp(const json_t *seccomp, const char *path, struct err *e)
{
	auto_filter struct filter f = {0};

	if (filter_compile(seccomp, &f, e) < 0)
		return -e->code;
	return filter_save(AT_FDCWD, path, &f, e);
}

int filter_load_file(int dir_fd, const char *name, struct filter *ret, struct err *e)
{
	auto_buf struct buf file = BUF_INIT(FILE_MAX);

	*ret = (struct filter){0};
	if (faccessat(dir_fd, name, F_OK, 0) < 0 && errno == ENOENT)
		return 0;
	if (fs_read(dir_fd, name, &file, e) < 0)
		return -e->code;
	if (!unpack(&file, NULL, ret))
		return err_set(e, EINVAL, "%s is damaged", name);
	return 0;
}
