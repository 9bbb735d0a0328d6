/* runtime/checkpoint.c - a container to files and back, by the host's criu
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * criu finds mounts that come from the host by itself (mnt[]), and leaves
 * cgroups to us: it is run in the container's cgroup for the way back, and what
 * it makes is born there.  Of the three standard descriptors, those that lie
 * outside of the container (a pipe of the engine's, a file of the host) are
 * noted beside the images, and replaced by those of whoever restores.
 *
 * A restored container is made in the steps of an ordinary one, with criu in
 * the place of the init: it builds the namespaces, in a mount namespace of its
 * own where the root is mounted on a directory of the state.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/container.h"
#include "runtime/io.h"
#include "runtime/protect.h"
#include "runtime/tool.h"

#define TIMEOUT_MS  600000 /* memory of gigabytes goes to a disk */
#define WORDS_MAX   96
#define DESCRIPTORS "descriptors.json"
#define ROOT_PLACE  "root" /* below the state's directory */
#define PID_PLACE   "criu.pid"
#define WHAT        "checkpoint and restore"
#define FILE_MAX    65536

struct command {
	struct arena arena;
	char *words[WORDS_MAX];
	size_t count;
};

__attribute__((format(printf, 2, 3))) static void put(struct command *c, const char *format, ...)
{
	auto_free char *text = NULL;
	va_list args;

	va_start(args, format);
	if (c->count < WORDS_MAX - 1 && vasprintf(&text, format, args) >= 0)
		c->words[c->count++] = arena_strdup(&c->arena, text);
	va_end(args);
}

static void begin(struct command *c, const char *what, const struct runtime_checkpoint *spec)
{
	*c = (struct command){0};
	put(c, "criu");
	put(c, "%s", what);
	put(c, "--images-dir=%s", spec->images);
	if (spec->work)
		put(c, "--work-dir=%s", spec->work);
	put(c, "--log-file=%s.log", what);
	put(c, "-v4");
	put(c, "--external");
	put(c, "mnt[]:sm");
	put(c, "--manage-cgroups=ignore");
	for (const char *const *p = spec->criu_options; p && *p; p++)
		put(c, "%s", *p);
}

/* ---- the standard descriptors ---- */

/* Is the mount one of the container's own? */
static bool is_inside(pid_t pid, unsigned long mount_id)
{
	auto_buf struct buf text = BUF_INIT(16u << 20);
	char path[64], mark[32];
	struct err ignored;
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", (int)pid);
	(void)snprintf(mark, sizeof(mark), "\n%lu ", mount_id);
	buf_putc(&text, '\n');
	if (fs_read(AT_FDCWD, path, &text, &ignored) < 0)
		return false;
	at = strstr(buf_str(&text), mark);
	return at != NULL;
}

/* What criu calls it: "pipe:[7]", "file[1f:2a]"; "" for one that it restores by itself. */
static void describe_fd(pid_t pid, int fd, char *ret, size_t size)
{
	auto_buf struct buf info = BUF_INIT(FILE_MAX);
	char path[64], target[PATH_MAX] = "";
	unsigned long mount_id = 0;
	struct err ignored;
	struct stat st;
	const char *at;

	ret[0] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, fd);
	if (readlink(path, target, sizeof(target) - 1) < 0 || stat(path, &st) < 0)
		return;
	if (str_starts(target, "pipe:")) {
		(void)snprintf(ret, size, "%.64s", target);
		return;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	if (target[0] != '/' || fs_read(AT_FDCWD, path, &info, &ignored) < 0)
		return;
	at = strstr(buf_str(&info), "mnt_id:");
	if (at)
		mount_id = strtoul(at + strlen("mnt_id:"), NULL, 10);
	if (!is_inside(pid, mount_id))
		(void)snprintf(ret, size, "file[%lx:%lx]", mount_id, (unsigned long)st.st_ino);
}

static int write_descriptors(const struct runtime_checkpoint *spec, pid_t pid, struct command *c,
			     struct err *e)
{
	auto_json json_t *list = json_array();
	auto_free char *text = NULL, *path = NULL;
	char name[128];

	for (int fd = 0; fd < 3; fd++) {
		describe_fd(pid, fd, name, sizeof(name));
		(void)json_array_append_new(list, json_string(name));
		if (str_starts(name, "file[")) {
			put(c, "--external");
			put(c, "%s", name);
		}
	}
	text = js_dump(list);
	if (asprintf(&path, "%s/" DESCRIPTORS, spec->images) < 0)
		return err_set(e, ENOMEM, "memory");
	return fs_replace(AT_FDCWD, path, text, strlen(text), 0600, FS_QUICK, e);
}

/* Ours in the place of those. */
static int inherit_descriptors(const struct runtime_checkpoint *spec, struct command *c,
			       struct err *e)
{
	auto_buf struct buf text = BUF_INIT(FILE_MAX);
	auto_json json_t *list = NULL;
	auto_free char *path = NULL;

	if (asprintf(&path, "%s/" DESCRIPTORS, spec->images) < 0)
		return err_set(e, ENOMEM, "memory");
	if (fs_read(AT_FDCWD, path, &text, e) < 0 ||
	    js_parse(buf_str(&text), text.size, 4, &list, e) < 0)
		return err_wrap(e, "%s", path);
	for (size_t i = 0; i < 3; i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name && *name) {
			put(c, "--inherit-fd");
			put(c, "fd[%zu]:%s", i, name);
		}
	}
	return 0;
}

/* ---- checkpoint ---- */

static int check_dumpable(int dir_fd, const struct state *s, struct err *e)
{
	enum runtime_status status = state_status_awake(dir_fd, s);

	if (status != RUNTIME_STATUS_RUNNING)
		return err_set(e, EINVAL, "cannot checkpoint a container that is %s",
			       runtime_status_name(status));
	if (json_is_true(json_object_get(s->process, "terminal")))
		return err_set(e, ENOTSUP, WHAT ": a container with a terminal is not supported");
	return 0;
}

static int dump(const struct runtime_checkpoint *spec, const struct state *s, struct err *e)
{
	struct command c;
	int r;

	begin(&c, spec->pre_dump ? "pre-dump" : "dump", spec);
	put(&c, "--tree=%d", (int)s->pid);
	put(&c, "--root=%s", s->rootfs);
	if (spec->parent)
		put(&c, "--prev-images-dir=%s", spec->parent);
	if (spec->parent || spec->pre_dump)
		put(&c, "--track-mem");
	if (spec->leave_running && !spec->pre_dump)
		put(&c, "--leave-running");
	r = write_descriptors(spec, (pid_t)s->pid, &c, e);
	if (r == 0)
		r = tool_run(c.words, TIMEOUT_MS, WHAT, e);
	arena_done(&c.arena);
	return r;
}

int runtime_checkpoint(struct runtime *rt, const char *id, const struct runtime_checkpoint *spec,
		       struct err *e)
{
	auto_close int dir_fd = -1, pidfd = -1;
	auto_state struct state_doc doc = {0};
	char path[PATH_MAX];
	int r;

	assert(rt && id && spec->images);

	r = state_open_dir(rt->root_fd, id, &dir_fd, e);
	if (r == 0)
		r = state_lock(dir_fd, id, e);
	if (r == 0)
		r = state_read(dir_fd, &doc, e);
	if (r == 0)
		r = state_open_init(&doc.state, &pidfd, e);
	if (r != 0)
		return r;
	if (!tool_find("criu", path))
		return err_set(e, ENOTSUP, WHAT ": criu is not installed on this host");
	if (check_dumpable(dir_fd, &doc.state, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, spec->images, 0700, e) < 0 ||
	    (spec->work && fs_mkdirs(AT_FDCWD, spec->work, 0700, e) < 0))
		return -e->code;
	return dump(spec, &doc.state, e);
}

/* ---- restore ---- */

static int state_path(const struct container *c, const char *name, char *ret, struct err *e)
{
	char self[64], dir[PATH_MAX];
	ssize_t n;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", c->dir_fd);
	n = readlink(self, dir, sizeof(dir) - 1);
	if (n < 0)
		return err_sys(e, "state directory");
	dir[n] = '\0';
	return snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX
		       ? 0
		       : err_set(e, ENAMETOOLONG, "state directory");
}

/* Context: a child that becomes criu's parent; its mount namespace ends with it. */
static int prepare_place(struct container *c, const char *root, struct err *e)
{
	if (cgroup_enter(&c->cgroup, false, e) < 0)
		return -e->code;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return err_sys(e, "make a mount namespace");
	if (move_mount(c->mounts.root_fd, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_sys(e, "mount the root on %s", root);
	return 0;
}

static int run_criu(struct container *c, const struct runtime_checkpoint *spec, struct err *e)
{
	char root[PATH_MAX], pid_file[PATH_MAX];
	struct command cmd;
	int r;

	if (state_path(c, ROOT_PLACE, root, e) < 0 || state_path(c, PID_PLACE, pid_file, e) < 0 ||
	    prepare_place(c, root, e) < 0)
		return -e->code;
	begin(&cmd, "restore", spec);
	put(&cmd, "--root=%s", root);
	put(&cmd, "--pidfile=%s", pid_file);
	put(&cmd, "--restore-detached");
	r = inherit_descriptors(spec, &cmd, e);
	if (r == 0)
		r = tool_run_with_stdio(cmd.words, TIMEOUT_MS, WHAT, e);
	arena_done(&cmd.arena);
	return r;
}

static int read_pid(struct container *c, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(64);
	uint32_t pid = 0;

	if (fs_read(c->dir_fd, PID_PLACE, &text, e) < 0)
		return err_wrap(e, WHAT);
	if (text.size)
		text.data[strcspn(buf_str(&text), "\n")] = '\0';
	if (!parse_u32(buf_str(&text), INT32_MAX, &pid) || !pid)
		return err_set(e, EPROTO, WHAT ": criu told no pid");
	c->pid = (pid_t)pid;
	c->pidfd = proc_pidfd_open(c->pid);
	return c->pidfd < 0 ? err_set(e, -c->pidfd, WHAT ": the restored process has ended") : 0;
}

int checkpoint_restore(struct container *c, const struct runtime_checkpoint *spec, struct err *e)
{
	struct err told = {0};
	int pair[2], status = 0;
	pid_t pid;

	if (mkdirat(c->dir_fd, ROOT_PLACE, 0700) < 0)
		return err_sys(e, "make a place for the root");
	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	pid = fork();
	if (pid == 0) {
		if (run_criu(c, spec, e) < 0)
			(void)!write(pair[1], e, sizeof(*e));
		_exit(0);
	}
	(void)close(pair[1]);
	if (pid > 0 && read_all(pair[0], &told, sizeof(told)) == (ssize_t)sizeof(told))
		*e = told;
	(void)close(pair[0]);
	if (pid < 0)
		return err_sys(e, "fork");
	(void)waitpid(pid, &status, 0);
	(void)unlinkat(c->dir_fd, ROOT_PLACE, AT_REMOVEDIR);
	if (told.code)
		return -e->code;
	return read_pid(c, e);
}
