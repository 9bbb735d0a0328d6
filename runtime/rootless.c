/* runtime/rootless.c - running without being the host's root
 * SPDX-License-Identifier: Apache-2.0
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/capability.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "runtime/config.h"
#include "runtime/runtime.h"
#include "runtime/sync.h"
#include "runtime/tool.h"

#define TOOL_MS 10000

bool runtime_is_rootless(void)
{
	auto_close int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
	char text[256] = "";
	unsigned inside = 1, outside = 1, count = 0;

	if (geteuid() != 0)
		return true;
	if (fd < 0 || read_all(fd, text, sizeof(text) - 1) < 0)
		return false; /* a kernel without user namespaces */
	/* The host's own map is that of all ids to themselves. */
	return sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 &&
	       !(inside == 0 && outside == 0 && count == UINT32_MAX);
}

static bool may_mount(void)
{
	cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	if (caps) {
		(void)cap_get_flag(caps, CAP_SYS_ADMIN, CAP_EFFECTIVE, &value);
		(void)cap_free(caps);
	}
	return value == CAP_SET;
}

/* ---- his own ids, by himself ---- */

static int write_map(const char *file, unsigned id, struct err *e)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "%u %u 1", id, id);
	return fs_write_at(AT_FDCWD, file, text, e);
}

static int make_namespace(unsigned uid, struct err *e)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return err_sys(e, "make a user namespace, as user %u", uid);
	return 0;
}

static int map_himself(struct err *e)
{
	unsigned uid = geteuid(), gid = getegid(); /* nobody's in it until they are mapped */

	if (make_namespace(uid, e) < 0)
		return -e->code;
	if (fs_write_at(AT_FDCWD, "/proc/self/setgroups", "deny", e) < 0 ||
	    write_map("/proc/self/uid_map", uid, e) < 0 ||
	    write_map("/proc/self/gid_map", gid, e) < 0)
		return err_wrap(e, "user namespace of user %u", uid);
	return 0;
}

/* ---- those that the host's root has given him, by its tools ---- */

/* Does it map any host's id but this one? */
static bool maps_others(const struct js_list *maps, uint32_t own)
{
	for (size_t i = 0; i < maps->count; i++) {
		const struct config_id_map *m = JS_AT(*maps, struct config_id_map, i);

		if (m->host_id != own || m->size != 1)
			return true;
	}
	return false;
}

/* What cannot be read is for runtime_create() to complain of. */
static bool needs_others(const struct runtime_create *spec, struct config_doc *ret)
{
	auto_free char *path = xasprintf("%s/%s", spec->bundle,
					 spec->config ? spec->config : "config.json");
	auto_buf struct buf text = BUF_INIT(CONFIG_SIZE_MAX);
	struct err ignored;

	return fs_read(AT_FDCWD, path, &text, &ignored) == 0 &&
	       config_decode(buf_str(&text), text.size, ret, &ignored) == 0 &&
	       (maps_others(&ret->config.linux_.uid_mappings, geteuid()) ||
		maps_others(&ret->config.linux_.gid_mappings, getegid()));
}

static void add_range(char **argv, size_t *count, uint32_t first, uint32_t size)
{
	argv[(*count)++] = xasprintf("%u", first);
	argv[(*count)++] = xasprintf("%u", first);
	argv[(*count)++] = xasprintf("%u", size);
}

/* Each id to itself: his own, and the host's side of each mapping. */
static int map_by(const char *tool, pid_t pid, const struct js_list *maps, uint32_t own,
		  struct err *e)
{
	char **argv = xcalloc(maps->count * 3 + 6, sizeof(*argv));
	bool has_own = false;
	size_t count = 0;
	int r;

	argv[count++] = xstrdup(tool);
	argv[count++] = xasprintf("%d", (int)pid);
	for (size_t i = 0; i < maps->count; i++) {
		const struct config_id_map *m = JS_AT(*maps, struct config_id_map, i);

		add_range(argv, &count, m->host_id, m->size);
		has_own |= own >= m->host_id && own - m->host_id < m->size;
	}
	if (!has_own)
		add_range(argv, &count, own, 1);
	r = tool_run(argv, TOOL_MS, "linux.uidMappings and gidMappings of more than one's own id",
		     e);
	while (count)
		free(argv[--count]);
	free(argv);
	return r;
}

/* Context: a child that has stayed in the host's user namespace, where the tools have their rights. */
static _Noreturn void map_for_parent(const struct config_linux *l, int sync_fd)
{
	struct err e;
	pid_t pid = getppid();

	if (sync_expect(sync_fd, SYNC_MADE, NULL, &e) < 0)
		_exit(1);
	if (map_by("newuidmap", pid, &l->uid_mappings, geteuid(), &e) < 0 ||
	    map_by("newgidmap", pid, &l->gid_mappings, getegid(), &e) < 0)
		sync_fail(sync_fd, &e);
	else
		(void)sync_say(sync_fd, SYNC_READY, 0, &e);
	_exit(0);
}

static int map_others(const struct config_linux *l, struct err *e)
{
	auto_close int ours = -1, theirs = -1;
	int pair[2], r;
	pid_t pid;

	if (sync_pair(pair, e) < 0)
		return -e->code;
	ours = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork");
	if (pid == 0) {
		close_fd(&ours);
		map_for_parent(l, theirs);
	}
	close_fd(&theirs);
	r = make_namespace(geteuid(), e);
	if (r == 0)
		r = sync_say(ours, SYNC_MADE, 0, e);
	if (r == 0)
		r = sync_expect(ours, SYNC_READY, NULL, e);
	close_fd(&ours);
	(void)waitpid(pid, NULL, 0);
	return r;
}

/* ---- */

/*
 * The maps are those of ids to themselves, so that config.json names the ids
 * that the host knows.  Whoever made a namespace has all rights in those below
 * it, by his id, so the commands that come later need nothing of this.
 */
int runtime_own_namespace(const struct runtime_create *spec, struct err *e)
{
	auto_config struct config_doc doc = {0};

	assert(spec->bundle);

	if (!geteuid() || may_mount())
		return 0;
	return needs_others(spec, &doc) ? map_others(&doc.config.linux_, e) : map_himself(e);
}
