/* runtime/cgroup_host.c - which hierarchies the host has
 * SPDX-License-Identifier: Apache-2.0
 *
 * /proc/self/cgroup names the hierarchies; nearly always each is mounted at
 * /sys/fs/cgroup/<its controllers>.  mountinfo, whose price grows with the
 * mounts of the host, is read only when one is not found there.
 */
#include "runtime/cgroup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"

#define PROC_CGROUP_MAX (64 * 1024)
#define MOUNTINFO_MAX   (16 * 1024 * 1024) /* 100,000 mounts */
#define STANDARD_PLACE  "/sys/fs/cgroup"

/* ---- mountinfo ---- */

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* mountinfo writes blank, tab, newline and backslash as \ooo. */
static void unescape(const char *in, size_t len, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		if (in[i] == '\\' && i + 3 < len && is_octal(in[i + 1]) && is_octal(in[i + 2]) &&
		    is_octal(in[i + 3])) {
			out[n++] = (char)((in[i + 1] - '0') << 6 | (in[i + 2] - '0') << 3 |
					  (in[i + 3] - '0'));
			i += 3;
		} else {
			out[n++] = in[i];
		}
	}
	out[n] = '\0';
}

/* Is 'word' one of the comma-separated ones in list[0..len)? */
static bool list_has(const char *list, size_t len, const char *word, size_t word_len)
{
	const char *end = list + len;

	while (list < end) {
		size_t n = strcspn(list, ",");

		if (n > (size_t)(end - list))
			n = (size_t)(end - list);
		if (n == word_len && memcmp(list, word, n) == 0)
			return true;
		list += n + 1;
	}
	return false;
}

static bool list_has_all(const char *list, size_t len, const char *words)
{
	while (*words) {
		size_t n = strcspn(words, ",");

		if (!list_has(list, len, words, n))
			return false;
		words += n + (words[n] == ',');
	}
	return true;
}

/* The n-th blank-separated field of a line; its length, 0 when there is none. */
static size_t field(const char *line, size_t len, unsigned n, const char **ret)
{
	const char *end = line + len, *p = line;

	for (; n && p < end; p++)
		n -= *p == ' ';
	*ret = p;
	return n ? 0 : strcspn(p, " \n");
}

/* id parent major:minor root mountpoint options [tags] - type source superoptions */
static bool line_matches(const char *line, size_t len, const char *controllers, const char **ret_at,
			 size_t *ret_at_len)
{
	const char *tail = memmem(line, len, " - ", 3), *type, *options;
	size_t tail_len, type_len, options_len;

	if (!tail)
		return false;
	tail += 3;
	tail_len = len - (size_t)(tail - line);
	type_len = field(tail, tail_len, 0, &type);
	options_len = field(tail, tail_len, 2, &options);
	*ret_at_len = field(line, len, 4, ret_at);
	if (!*ret_at_len)
		return false;
	if (!*controllers)
		return type_len == 7 && memcmp(type, "cgroup2", 7) == 0;
	return type_len == 6 && memcmp(type, "cgroup", 6) == 0 &&
	       list_has_all(options, options_len, controllers);
}

bool cgroup_find_mount(const char *mountinfo, const char *controllers, char *ret, size_t size)
{
	for (const char *line = mountinfo; *line;) {
		size_t len = strcspn(line, "\n"), at_len;
		const char *at;

		if (line_matches(line, len, controllers, &at, &at_len)) {
			unescape(at, at_len, ret, size);
			return true;
		}
		line += len + (line[len] == '\n');
	}
	return false;
}

/* ---- hierarchies ---- */

static int open_dir_of_type(const char *path, long magic)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;

	if (fd < 0 || fstatfs(fd, &st) < 0 || st.f_type != magic)
		return -1;
	return take_fd(fd);
}

static int add(struct cgroup_host *h, const char *name, const char *controllers, bool v2, int fd,
	       struct err *e)
{
	struct cgroup_hierarchy *item = &h->items[h->count];

	if (h->count == CGROUP_HIERARCHIES_MAX) {
		close_fd(&fd);
		return err_set(e, ENOTSUP, "more than %d cgroup hierarchies",
			       CGROUP_HIERARCHIES_MAX);
	}
	item->fd = fd;
	item->v2 = v2;
	(void)snprintf(item->name, sizeof(item->name), "%s", name);
	(void)snprintf(item->controllers, sizeof(item->controllers), "%s", controllers);
	h->count++;
	return 0;
}

/* v2 has its list in a file, separated by blanks. */
static int add_v2(struct cgroup_host *h, const char *name, int fd, struct err *e)
{
	auto_buf struct buf list = BUF_INIT(sizeof(h->items[0].controllers) - 1);

	if (fs_read(fd, "cgroup.controllers", &list, e) < 0) {
		close_fd(&fd);
		return err_wrap(e, "cgroup v2");
	}
	for (size_t i = 0; i < list.size; i++)
		if (list.data[i] == ' ')
			list.data[i] = ',';
		else if (list.data[i] == '\n')
			list.data[i] = '\0';
	return add(h, name, buf_str(&list), true, fd, e);
}

/* Not at its standard place: ask the kernel where.  'cache' holds mountinfo once read. */
static int find_v1(const char *controllers, struct buf *cache, int *ret_fd, struct err *e)
{
	char path[4096];

	if (!cache->size && fs_read(AT_FDCWD, "/proc/self/mountinfo", cache, e) < 0)
		return -e->code;
	*ret_fd = cgroup_find_mount(buf_str(cache), controllers, path, sizeof(path))
			  ? open_dir_of_type(path, CGROUP_SUPER_MAGIC)
			  : -1;
	return 0;
}

static int add_v1(struct cgroup_host *h, const char *controllers, struct buf *cache, struct err *e)
{
	const char *name = str_starts(controllers, "name=") ? controllers + 5 : controllers;
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), STANDARD_PLACE "/%s", name);
	fd = open_dir_of_type(path, CGROUP_SUPER_MAGIC);
	if (fd < 0 && find_v1(controllers, cache, &fd, e) < 0)
		return -e->code;
	return fd < 0 ? 0 : add(h, name, controllers, false, fd, e); /* known, mounted nowhere */
}

/* One line of /proc/self/cgroup: "4:memory:/path", "0::/path". */
static int add_line(struct cgroup_host *h, char *line, struct buf *cache, struct err *e)
{
	char *controllers = strchr(line, ':'), *path;
	int fd;

	path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path)
		return err_set(e, EINVAL, "/proc/self/cgroup: '%s'", line);
	*path = '\0';
	controllers++;
	if (*controllers)
		return add_v1(h, controllers, cache, e);

	fd = open_dir_of_type(STANDARD_PLACE "/unified", CGROUP2_SUPER_MAGIC);
	return fd < 0 ? 0 : add_v2(h, "unified", fd, e);
}

int cgroup_host_open(struct cgroup_host *h, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(PROC_CGROUP_MAX), cache = BUF_INIT(MOUNTINFO_MAX);
	int fd = open_dir_of_type(STANDARD_PLACE, CGROUP2_SUPER_MAGIC);
	char *save = NULL;

	if (fd >= 0)
		return add_v2(h, "", fd, e);

	if (fs_read(AT_FDCWD, "/proc/self/cgroup", &text, e) < 0)
		return -e->code;
	for (char *line = text.data ? strtok_r(text.data, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		if (add_line(h, line, &cache, e) < 0)
			return -e->code;
	if (!h->count)
		return err_set(e, ENOTSUP, "this host has no cgroup hierarchy mounted");
	return 0;
}

void cgroup_host_close(struct cgroup_host *h)
{
	while (h->count)
		close_fd(&h->items[--h->count].fd);
}

const struct cgroup_hierarchy *cgroup_host_find(const struct cgroup_host *h, const char *controller)
{
	for (size_t i = 0; i < h->count; i++) {
		const struct cgroup_hierarchy *item = &h->items[i];

		if (list_has(item->controllers, strlen(item->controllers), controller,
			     strlen(controller)))
			return item;
	}
	return NULL;
}

const struct cgroup_hierarchy *cgroup_host_v2(const struct cgroup_host *h)
{
	for (size_t i = 0; i < h->count; i++)
		if (h->items[i].v2)
			return &h->items[i];
	return NULL;
}
