/* runtime/cgroup_files.c - reading the files of cgroups
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/cgroup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"

#define KEYED_FILE_MAX (64 * 1024)

int cgroup_open_dir(int dir_fd, const char *path)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

bool cgroup_read_line(int dir_fd, const char *file, char *ret, size_t size)
{
	auto_close int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read_all(fd, ret, size - 1);

	if (n < 0)
		return false;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return true;
}

bool cgroup_read_key(int dir_fd, const char *file, const char *key, uint64_t *ret)
{
	auto_buf struct buf text = BUF_INIT(KEYED_FILE_MAX);
	struct err ignored;
	size_t len = strlen(key);

	if (fs_read(dir_fd, file, &text, &ignored) < 0)
		return false;
	for (const char *line = buf_str(&text); *line;) {
		if (strncmp(line, key, len) == 0 && line[len] == ' ') {
			*ret = strtoull(line + len + 1, NULL, 10);
			return true;
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	return false;
}

int cgroup_for_each(int fd, unsigned depth, int (*fn)(int fd, void *arg, struct err *e), void *arg,
		    struct err *e)
{
	int dup_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : err_sys(e, "read cgroup");
	if (depth > CGROUP_DEPTH_MAX)
		return err_set(e, ELOOP, "cgroups below it are more than %d deep",
			       CGROUP_DEPTH_MAX);
	while ((entry = readdir(dir))) {
		auto_close int below = -1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		below = cgroup_open_dir(fd, entry->d_name);
		if (below >= 0 && cgroup_for_each(below, depth + 1, fn, arg, e) < 0)
			return -e->code;
	}
	return fn(fd, arg, e);
}

int cgroup_any_fd(const struct cgroup *c)
{
	int v2 = cgroup_v2_fd(c);

	for (size_t i = 0; v2 < 0 && i < c->host->count; i++)
		v2 = c->fd[i];
	return v2;
}

int cgroup_open_of(const struct cgroup_hierarchy *h, pid_t pid)
{
	auto_buf struct buf text = BUF_INIT(KEYED_FILE_MAX);
	char path[64], mark[256];
	const char *line;
	struct err ignored;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	(void)snprintf(mark, sizeof(mark), ":%s:/", h->v2 ? "" : h->controllers);
	if (fs_read(AT_FDCWD, path, &text, &ignored) < 0)
		return -ENOENT;
	for (char *save = NULL, *p = text.data ? strtok_r(text.data, "\n", &save) : NULL; p;
	     p = strtok_r(NULL, "\n", &save)) {
		line = p + strspn(p, "0123456789");
		if (str_starts(line, mark))
			return cgroup_open_dir(h->fd,
					       line[strlen(mark)] ? line + strlen(mark) : ".");
	}
	return -ENOENT;
}

int cgroup_v2_open_of(const struct cgroup_host *h, pid_t pid)
{
	const struct cgroup_hierarchy *v2 = cgroup_host_v2(h);

	return v2 ? cgroup_open_of(v2, pid) : -ENOENT;
}
