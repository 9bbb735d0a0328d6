/* runtime/copy.c - what tmpcopyup puts into its tmpfs
 * SPDX-License-Identifier: Apache-2.0
 *
 * Every name is opened from the descriptor of its directory and never through
 * a symlink: the source may lie on a volume that others write to.
 */
#include "runtime/copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"

#define DEPTH_MAX  128
#define CHUNK_SIZE (1 << 30) /* of one sendfile(2); the kernel takes less than 2 GiB */

static int copy_contents(int from_fd, int to_fd, unsigned depth, struct err *e);

static int copy_file(int dir_fd, int to_dir_fd, const char *name, struct err *e)
{
	auto_close int from = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	auto_close int to = from < 0 ? -1
				     : openat(to_dir_fd, name,
					      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
					      0600);
	ssize_t n;

	if (to < 0)
		return err_sys(e, "copy %s", name);
	while ((n = sendfile(to, from, NULL, CHUNK_SIZE)) > 0)
		;
	return n < 0 ? err_sys(e, "copy %s", name) : 0;
}

static int copy_link(int dir_fd, int to_dir_fd, const char *name, struct err *e)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, name, text, sizeof(text) - 1);

	if (n < 0)
		return err_sys(e, "read link %s", name);
	text[n] = '\0';
	return symlinkat(text, to_dir_fd, name) < 0 ? err_sys(e, "link %s", name) : 0;
}

static int copy_directory(int dir_fd, int to_dir_fd, const char *name, unsigned depth,
			  struct err *e)
{
	auto_close int from = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int to = -1;

	if (from < 0 || mkdirat(to_dir_fd, name, 0700) < 0)
		return err_sys(e, "copy directory %s", name);
	to = openat(to_dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return err_sys(e, "open directory %s", name);
	return copy_contents(from, to, depth + 1, e);
}

/* Owner before mode: a change of owner drops the set-user-id bit. */
static int copy_attributes(int to_dir_fd, const char *name, const struct stat *st, struct err *e)
{
	const struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(to_dir_fd, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "owner of %s", name);
	if (!S_ISLNK(st->st_mode) && fchmodat(to_dir_fd, name, st->st_mode & 07777, 0) < 0)
		return err_sys(e, "mode of %s", name);
	if (utimensat(to_dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "times of %s", name);
	return 0;
}

static int copy_entry(int dir_fd, int to_dir_fd, const char *name, unsigned depth, struct err *e)
{
	struct stat st;
	int r;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at %s", name);
	if (S_ISDIR(st.st_mode))
		r = copy_directory(dir_fd, to_dir_fd, name, depth, e);
	else if (S_ISREG(st.st_mode))
		r = copy_file(dir_fd, to_dir_fd, name, e);
	else if (S_ISLNK(st.st_mode))
		r = copy_link(dir_fd, to_dir_fd, name, e);
	else if (S_ISSOCK(st.st_mode))
		return 0; /* nobody listens on a copy */
	else
		r = mknodat(to_dir_fd, name, st.st_mode, st.st_rdev) < 0
			    ? err_sys(e, "make %s", name)
			    : 0;
	return r < 0 ? r : copy_attributes(to_dir_fd, name, &st, e);
}

static int copy_contents(int from_fd, int to_fd, unsigned depth, struct err *e)
{
	int list_fd = openat(from_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_closedir DIR *dir = list_fd < 0 ? NULL : fdopendir(list_fd);
	struct dirent *entry;

	if (!dir)
		return err_sys(e, "read directory");
	if (depth > DEPTH_MAX)
		return err_set(e, ELOOP, "more than %d levels", DEPTH_MAX);
	while ((errno = 0, entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (copy_entry(from_fd, to_fd, entry->d_name, depth, e) < 0)
			return -e->code;
	}
	return errno ? err_sys(e, "read directory") : 0;
}

int copy_tree(int from_fd, int to_fd, struct err *e)
{
	return copy_contents(from_fd, to_fd, 0, e);
}
