/* keeper/place.c - our own cgroup
 * SPDX-License-Identifier: Apache-2.0
 *
 * systemd gives the unit of the keeper one cgroup, and by Delegate=yes what is
 * below.  On cgroup v2 a cgroup whose children have controllers has no
 * processes itself, so we move to a child of our own, keeper/, before we are
 * ready; tasks go beside it, and never below the daemon's unit.
 *
 * Where that is stays in a file: a keeper that was not started by systemd,
 * because the one before was killed, moves to the same place, out of the cgroup
 * of the daemon that started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"
#include "keeper/server.h"

#define OWN_CGROUP  "keeper"
#define BASE_FILE   "cgroup"
#define CGROUP_FILE "/proc/self/cgroup"
#define FILE_MAX    8192

static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

/* The v2 tree, on pure and hybrid hosts; -1: there is none. */
static int open_tree_root(void)
{
	for (size_t i = 0; i < ARRAY_COUNT(mounts); i++) {
		auto_close int fd = open(mounts[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct statfs fs;

		if (fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
			return take_fd(fd);
	}
	return -1;
}

/* The v2 line of the file: "0::/berth.slice/berth-tasks.service". */
static int read_own(char ret[KEEPER_PATH_MAX + 1], struct err *e)
{
	auto_buf struct buf b = BUF_INIT(FILE_MAX);
	const char *line;

	if (fs_read(AT_FDCWD, CGROUP_FILE, &b, e) < 0)
		return -e->code;
	line = str_starts(buf_str(&b), "0::") ? buf_str(&b) : strstr(buf_str(&b), "\n0::");
	if (!line)
		return err_set(e, ENOENT, "%s has no line of cgroup v2", CGROUP_FILE);
	line = strstr(line, "0::") + 3;
	if ((size_t)snprintf(ret, KEEPER_PATH_MAX + 1, "%.*s", (int)strcspn(line, "\n"), line) >
	    KEEPER_PATH_MAX)
		return err_set(e, ENAMETOOLONG, "our cgroup");
	/* After an upgrade in place we are there already. */
	if (str_ends(ret, "/" OWN_CGROUP))
		ret[strlen(ret) - strlen("/" OWN_CGROUP)] = '\0';
	return 0;
}

static int move_below(const char *base, struct err *e)
{
	auto_close int root_fd = open_tree_root(), fd = -1;
	char path[KEEPER_PATH_MAX + 64];

	if (root_fd < 0)
		return err_set(e, ENOENT, "there is no tree of cgroup v2");
	/* Below the root's descriptor; "./" where the base is the root itself. */
	(void)snprintf(path, sizeof(path), ".%s/" OWN_CGROUP, base);
	if (mkdirat(root_fd, path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make cgroup %s", path);
	(void)snprintf(path, sizeof(path), ".%s/" OWN_CGROUP "/cgroup.procs", base);
	return fs_write_at(root_fd, path, "0", e);
}

static bool read_base(struct server *s)
{
	auto_buf struct buf b = BUF_INIT(KEEPER_PATH_MAX);
	struct err ignored;

	if (fs_read(s->rows_fd, BASE_FILE, &b, &ignored) < 0 || buf_str(&b)[0] != '/')
		return false;
	(void)snprintf(s->cgroup_base, sizeof(s->cgroup_base), "%s", buf_str(&b));
	return true;
}

int place_self(struct server *s, bool systemd, struct err *e)
{
	struct err why;

	if (!systemd) {
		/* Best effort: it may be from a boot before, or of a unit that is gone. */
		if (read_base(s) && move_below(s->cgroup_base, &why) < 0) {
			log_warn("cgroup=%s: %s", s->cgroup_base, why.msg);
			s->cgroup_base[0] = '\0';
		}
		return 0;
	}
	if (read_own(s->cgroup_base, e) < 0 || move_below(s->cgroup_base, e) < 0)
		return err_wrap(e, "place of the keeper");
	return fs_replace(s->rows_fd, BASE_FILE, s->cgroup_base, strlen(s->cgroup_base), 0600,
			  FS_QUICK, e);
}
