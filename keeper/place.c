/* keeper/place.c - our own cgroup
 * SPDX-License-Identifier: Apache-2.0
 *
 * Where systemd runs the host, cgroups belong to it, and tasks go below one
 * that it has given away (Delegate=yes).  That cannot be the cgroup of a
 * service: on cgroup v2 a cgroup whose children have controllers has no
 * processes itself, but that is where systemd starts the process of a service,
 * and so a keeper that died could not be started again.  It is a scope, which
 * systemd makes for a process that is there already: for us, by systemd-run(1),
 * which executes us anew in it.  The scope is there as long as somebody lives
 * in it, tasks or keeper; where it is stays in a file, and the next keeper
 * moves in.
 *
 * We are in a child of the scope, keeper/; tasks go beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "keeper/server.h"

#define BOOTED      "/run/systemd/system" /* sd_booted(3) */
#define SYSTEMD_RUN "/usr/bin/systemd-run"
#define OWN_CGROUP  "/keeper"
#define BASE_FILE   "cgroup"
#define CGROUP_FILE "/proc/self/cgroup"
#define FILE_MAX    8192

/* By which tree systemd knows who belongs where: the v2 one, or its own of v1. */
static const struct {
	const char *mount, *prefix; /* of its line in CGROUP_FILE */
	long magic;
} trees[] = {
	{"/sys/fs/cgroup", "0::", CGROUP2_SUPER_MAGIC},
	{"/sys/fs/cgroup/unified", "0::", CGROUP2_SUPER_MAGIC},
	{"/sys/fs/cgroup/systemd", "name=systemd:", CGROUP_SUPER_MAGIC},
};

static int open_tree_root(const char **ret_prefix, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(trees); i++) {
		auto_close int fd = open(trees[i].mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct statfs fs;

		if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != trees[i].magic)
			continue;
		*ret_prefix = trees[i].prefix;
		return take_fd(fd);
	}
	return err_set(e, ENOENT, "systemd has no tree of cgroups");
}

/* From "0::/berth.slice/berth-tasks.scope/keeper", without our own component. */
static int read_own(const char *prefix, char ret[KEEPER_PATH_MAX + 1], struct err *e)
{
	auto_buf struct buf b = BUF_INIT(FILE_MAX);
	const char *line;

	if (fs_read(AT_FDCWD, CGROUP_FILE, &b, e) < 0)
		return -e->code;
	line = strstr(buf_str(&b), prefix);
	if (!line)
		return err_set(e, ENOENT, "%s has no line with %s", CGROUP_FILE, prefix);
	line += strlen(prefix);
	if ((size_t)snprintf(ret, KEEPER_PATH_MAX + 1, "%.*s", (int)strcspn(line, "\n"), line) >
	    KEEPER_PATH_MAX)
		return err_set(e, ENAMETOOLONG, "our cgroup");
	if (str_ends(ret, OWN_CGROUP))
		ret[strlen(ret) - strlen(OWN_CGROUP)] = '\0';
	return 0;
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

/* Returns only when it failed. */
static int execute_in_scope(const struct server *s, const struct keeper_serve *o, struct err *e)
{
	char unit[KEEPER_ID_MAX + 8];
	const char *const argv[] = {
		SYSTEMD_RUN,
		"--quiet",
		"--collect",
		"--scope",
		unit,
		"--slice=berth.slice",
		"--description=Berth: tasks",
		"--property=Delegate=yes",
		"--property=TasksMax=infinity",
		"--property=TimeoutStopSec=30s",    /* at shutdown, as ECS gives a task */
		"--property=Before=berthd.service", /* nothing is begun while tasks are ended */
		s->program,
		"--run-dir",
		s->run_dir,
		"--scope",
		o->scope,
		o->detach ? "--detach" : NULL,
		NULL,
	};

	if (!s->program)
		return err_set(e, EINVAL, "a keeper with a scope is started by its absolute path");
	(void)snprintf(unit, sizeof(unit), "--unit=%s", o->scope);
	(void)execve(SYSTEMD_RUN, (char *const *)(uintptr_t)argv, environ);
	return err_sys(e, "execute %s", SYSTEMD_RUN);
}

/* Into our child of the base, which is made. */
static int move_in(int root_fd, const char *base, struct err *e)
{
	char path[KEEPER_PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s" OWN_CGROUP, base + 1);
	if (mkdirat(root_fd, path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make cgroup /%s", path);
	(void)snprintf(path, sizeof(path), "%s" OWN_CGROUP "/cgroup.procs", base + 1);
	return fs_write_at(root_fd, path, "0", e);
}

int place_self(struct server *s, const struct keeper_serve *o, struct err *e)
{
	auto_close int root_fd = -1;
	char own[KEEPER_PATH_MAX + 1], last[KEEPER_ID_MAX + 16];
	const char *prefix = NULL;

	if (!o->scope || access(BOOTED, F_OK) < 0)
		return 0;
	if (!keeper_id_ok(o->scope))
		return err_set(e, EINVAL, "scope '%.140s' is not a plain name", o->scope);
	root_fd = open_tree_root(&prefix, e);
	if (root_fd < 0 || read_own(prefix, own, e) < 0)
		return -e->code;

	(void)snprintf(last, sizeof(last), "/%s.scope", o->scope);
	if (str_ends(own, last)) {
		(void)snprintf(s->cgroup_base, sizeof(s->cgroup_base), "%s", own);
		if (move_in(root_fd, own, e) < 0)
			return -e->code;
		return fs_replace(s->rows_fd, BASE_FILE, own, strlen(own), 0600, FS_QUICK, e);
	}
	if (read_base(s) && faccessat(root_fd, s->cgroup_base + 1, F_OK, 0) == 0)
		return move_in(root_fd, s->cgroup_base, e);
	return execute_in_scope(s, o, e);
}
