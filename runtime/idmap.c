/* runtime/idmap.c - mappings of user and group ids
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/proc.h"
#include "runtime/config.h"
#include "runtime/procfs.h"
#include "runtime/runtime.h"

#define LINES_MAX     340 /* the kernel takes no more */
#define LINE_BYTES    36
#define STACK_BYTES   8192
#define MOUNTINFO_MAX (4 << 20)

static int write_map(int proc_fd, pid_t pid, const char *file, const struct js_list *maps,
		     struct err *e)
{
	auto_buf struct buf text = BUF_INIT(LINES_MAX * LINE_BYTES);
	char path[64];

	for (size_t i = 0; i < maps->count; i++) {
		const struct config_id_map *m = JS_AT(*maps, struct config_id_map, i);

		buf_printf(&text, "%u %u %u\n", m->container_id, m->host_id, m->size);
	}
	if (buf_overflow(&text) || maps->count > LINES_MAX)
		return err_set(e, E2BIG, "more than %d mappings", LINES_MAX);
	(void)snprintf(path, sizeof(path), "%d/%s", (int)pid, file);
	return procfs_write(proc_fd, path, buf_str(&text), e);
}

int idmap_write(int proc_fd, pid_t pid, const struct js_list *uids, const struct js_list *gids,
		struct err *e)
{
	if (write_map(proc_fd, pid, "uid_map", uids, e) < 0 ||
	    write_map(proc_fd, pid, "gid_map", gids, e) < 0)
		return err_wrap(
			e, e->code == EPERM && runtime_is_rootless()
				   ? "map ids that are not yours here (podman unshare gives more)"
				   : "map ids");
	return 0;
}

bool idmap_to_host(const struct js_list *maps, uint32_t id, uint32_t *ret)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct config_id_map *m = JS_AT(*maps, struct config_id_map, i);

		if (id >= m->container_id && id - m->container_id < m->size) {
			*ret = m->host_id + (id - m->container_id);
			return true;
		}
	}
	return false;
}

static int take_namespace(pid_t pid, const struct js_list *uids, const struct js_list *gids,
			  int *ret_fd, struct err *e)
{
	auto_close int proc_fd = -1;
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/ns/user", (int)pid);
	if (procfs_open(&proc_fd, e) < 0 || idmap_write(proc_fd, pid, uids, gids, e) < 0)
		return -e->code;
	*ret_fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "open the user namespace") : 0;
}

int idmap_namespace(const struct js_list *uids, const struct js_list *gids, int *ret_fd,
		    struct err *e)
{
	struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
	pid_t parent = getpid();
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	int r;

	if (pid < 0)
		return err_sys(e, "make a user namespace");
	if (pid == 0) {
		if (proc_die_with(parent))
			for (;;)
				pause();
		_exit(0);
	}
	r = take_namespace((pid_t)pid, uids, gids, ret_fd, e);
	(void)kill((pid_t)pid, SIGKILL);
	(void)waitpid((pid_t)pid, NULL, 0);
	return r;
}

/* ---- for who has threads ---- */

/* Context: a process that shares the memory of one with threads; it must touch none of it. */
static int wait_for_end(void *parent)
{
	if (proc_die_with(*(const pid_t *)parent))
		for (;;)
			(void)pause();
	return 0;
}

static int open_of(pid_t pid, const char *file, int flags, struct err *e)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

static int write_range(pid_t pid, const char *file, uint32_t first, uint32_t count, struct err *e)
{
	auto_close int fd = open_of(pid, file, O_WRONLY, e);
	char line[LINE_BYTES];
	int len = snprintf(line, sizeof(line), "0 %u %u\n", first, count);

	if (fd < 0)
		return fd;
	return write(fd, line, (size_t)len) != len
		       ? err_sys(e, "map %u ids from %u on", count, first)
		       : 0;
}

int runtime_user_namespace(uint32_t first, uint32_t count, int *ret_fd, struct err *e)
{
	_Alignas(16) char stack[STACK_BYTES];
	pid_t parent = getpid(), pid;
	sigset_t all, before;
	int fd = -1;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of ours runs in it */
	/* A fork would copy tables of a large process; this one is there for its namespace only. */
	pid = clone(wait_for_end, stack + sizeof(stack), CLONE_VM | CLONE_NEWUSER, &parent);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return err_sys(e, "make a user namespace");
	if (write_range(pid, "uid_map", first, count, e) == 0 &&
	    write_range(pid, "gid_map", first, count, e) == 0)
		fd = open_of(pid, "ns/user", O_RDONLY, e);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, __WALL);
	if (fd < 0)
		return -e->code;
	*ret_fd = fd;
	return 0;
}

/* ---- which file systems can ---- */

/* 0 or an errno value. */
static int try_map(const char *path, unsigned recursive, int userns_fd)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
	auto_close int fd = open_tree(AT_FDCWD, path,
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);

	return fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr)) < 0
		       ? errno
		       : 0;
}

/* Is the mount of this line of mountinfo in the way? */
static bool is_in_the_way(const char *line, const char *path, uint64_t mount_id, int userns_fd,
			  struct err *e)
{
	char place[PATH_MAX] = "", type[64] = "";
	const char *tail = strstr(line, " - ");
	size_t len = strlen(path);
	unsigned long long id;
	int why;

	if (!tail || sscanf(line, "%llu %*s %*s %*s %4095s", &id, place) != 2 ||
	    sscanf(tail + 3, "%63s", type) != 1)
		return false;
	if (id == mount_id)
		(void)snprintf(place, sizeof(place), "%s", path);
	else if (strncmp(place, path, len) != 0 || place[len] != '/')
		return false;
	why = try_map(place, 0, userns_fd);
	if (!why)
		return false;
	errno = why;
	(void)err_sys(e, "ids of %s at %.400s cannot be mapped", type, place);
	return true;
}

int runtime_check_map(const char *path, int userns_fd, struct err *e)
{
	auto_buf struct buf info = BUF_INIT(MOUNTINFO_MAX);
	int why = try_map(path, AT_RECURSIVE, userns_fd);
	struct statx st = {0};
	char *save = NULL;

	if (!why)
		return 0;
	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &st) == 0 &&
	    fs_read(AT_FDCWD, "/proc/self/mountinfo", &info, e) == 0)
		for (char *line = strtok_r(info.data, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			if (is_in_the_way(line, path, st.stx_mnt_id, userns_fd, e))
				return -e->code;
	errno = why;
	return err_sys(e, "ids of %.400s cannot be mapped", path);
}
