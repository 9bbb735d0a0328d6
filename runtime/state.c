/* runtime/state.c - what is kept of a container between two commands
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/text.h"
#include "runtime/cgroup.h"
#include "runtime/config.h"

#define STATE_SIZE_MAX (2 * CONFIG_SIZE_MAX)
#define LOCK_WAIT_MS   30000 /* longer than a creator takes, hooks included in all sane cases */

static const char id_characters[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-";

static const struct js_field state_fields[] = {
	{"ociVersion", JS_STRING, offsetof(struct state, oci_version), JS_REQUIRED, NULL},
	{"id", JS_STRING, offsetof(struct state, id), JS_REQUIRED, NULL},
	{"pid", JS_I64, offsetof(struct state, pid), JS_ALWAYS, NULL},
	{"startTime", JS_I64, offsetof(struct state, start_time), 0, NULL},
	{"bundle", JS_STRING, offsetof(struct state, bundle), JS_REQUIRED, NULL},
	{"rootfs", JS_STRING, offsetof(struct state, rootfs), 0, NULL},
	{"created", JS_STRING, offsetof(struct state, created), JS_REQUIRED, NULL},
	{"owner", JS_STRING, offsetof(struct state, owner), 0, NULL},
	{"cgroup", JS_STRING, offsetof(struct state, cgroup), JS_REQUIRED, NULL},
	{"unit", JS_STRING, offsetof(struct state, unit), 0, NULL},
	{"cgroupKept", JS_I64, offsetof(struct state, cgroup_kept), 0, NULL},
	{"namespaces", JS_STRINGS, offsetof(struct state, namespaces), 0, NULL},
	{"annotations", JS_MAP, offsetof(struct state, annotations), 0, NULL},
	{"process", JS_JSON, offsetof(struct state, process), 0, NULL},
	{"hooks", JS_JSON, offsetof(struct state, hooks), 0, NULL},
	{"linux", JS_JSON, offsetof(struct state, linux_), 0, NULL},
	{"rdtMade", JS_BOOL, offsetof(struct state, rdt_made), 0, NULL},
};
static const struct js_shape state_shape = JS_SHAPE("state", struct state, state_fields);

int state_check_id(const char *id, struct err *e)
{
	size_t len = strlen(id);

	if (!len || len > RUNTIME_ID_MAX || id[0] == '.' || strspn(id, id_characters) != len)
		return err_set(
			e, EINVAL,
			"container id '%.*s': expected 1 to %d of [A-Za-z0-9_+.-], the first "
			"not a dot",
			RUNTIME_ID_MAX, id, RUNTIME_ID_MAX);
	return 0;
}

/* ---- the directory ---- */

int state_claim(int root_fd, const char *id, int *ret_fd, struct err *e)
{
	auto_close int fd = -1;

	if (mkdirat(root_fd, id, 0700) < 0)
		return errno == EEXIST ? RUNTIME_EXISTS : err_sys(e, "make state directory %s", id);
	fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) {
		(void)err_sys(e, "open state directory %s", id);
		(void)unlinkat(root_fd, id, AT_REMOVEDIR);
		return -e->code;
	}
	*ret_fd = take_fd(fd);
	return 0;
}

int state_open_dir(int root_fd, const char *id, int *ret_fd, struct err *e)
{
	int fd;

	if (state_check_id(id, e) < 0)
		return -e->code;
	fd = openat(root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? RUNTIME_ABSENT
				       : err_sys(e, "open state directory of container %s", id);
	*ret_fd = fd;
	return 0;
}

int state_lock(int dir_fd, const char *id, struct err *e)
{
	int64_t deadline = clock_mono_ms() + LOCK_WAIT_MS;
	struct stat st;

	while (flock(dir_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(e, "lock container %s", id);
		if (clock_mono_ms() > deadline)
			return err_set(e, EBUSY,
				       "container %s: another command has held it for %d ms", id,
				       LOCK_WAIT_MS);
		(void)poll(NULL, 0, 5);
	}
	if (fstat(dir_fd, &st) < 0)
		return err_sys(e, "look at container %s", id);
	return st.st_nlink == 0 ? RUNTIME_ABSENT : 0;
}

int state_drop(int root_fd, const char *id, struct err *e)
{
	if (fs_remove_tree(root_fd, id, e) < 0)
		return err_wrap(e, "state of container %s", id);
	return 0;
}

/* ---- the file ---- */

void state_doc_done(struct state_doc *d)
{
	js_done(d->doc);
	arena_done(&d->arena);
	*d = (struct state_doc){0};
}

int state_decode(const char *text, size_t size, struct state_doc *ret, struct err *e)
{
	struct state *s = &ret->state;

	if (size > STATE_SIZE_MAX)
		return err_set(e, EFBIG, "more than %d bytes", STATE_SIZE_MAX);
	if (js_parse(text, size, CONFIG_DEPTH_MAX, &ret->doc, e) < 0 ||
	    js_decode(ret->doc, &state_shape, &ret->arena, s, e) < 0 ||
	    state_check_id(s->id, e) < 0 || (s->cgroup[0] && cgroup_check_path(s->cgroup, e) < 0))
		return -e->code;
	if (s->pid < 0 || s->pid > INT32_MAX || s->start_time < 0)
		return err_set(e, EINVAL, "pid %lld", (long long)s->pid);
	if (s->cgroup_kept < 0 || s->cgroup_kept > CGROUP_DEPTH_MAX)
		return err_set(e, EINVAL, "cgroupKept %lld", (long long)s->cgroup_kept);
	return 0;
}

int state_read(int dir_fd, struct state_doc *ret, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(STATE_SIZE_MAX);

	if (fs_read(dir_fd, STATE_FILE, &text, e) < 0)
		return e->code == ENOENT ? RUNTIME_ABSENT : -e->code;
	if (state_decode(buf_str(&text), text.size, ret, e) < 0)
		return err_wrap(e, STATE_FILE);
	return 0;
}

int state_write(int dir_fd, const struct state *s, struct err *e)
{
	auto_json json_t *doc = js_encode(&state_shape, s);
	auto_free char *text = js_dump(doc);

	return fs_replace(dir_fd, STATE_FILE, text, strlen(text), 0600, FS_QUICK, e);
}

/* ---- the process ---- */

int state_open_init(const struct state *s, int *ret_pidfd, struct err *e)
{
	auto_close int fd = s->pid ? proc_pidfd_open((pid_t)s->pid) : -ESRCH;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	/* EINVAL: the number lives on as that of a session whose leader is gone. */
	if (fd == -ESRCH || fd == -EINVAL)
		return RUNTIME_STOPPED;
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "open process %lld", (long long)s->pid);
	}
	/* The pid may be another's by now; a zombie's pidfd is readable. */
	if (proc_start_time((pid_t)s->pid) != (uint64_t)s->start_time || poll(&p, 1, 0) != 0)
		return RUNTIME_STOPPED;
	*ret_pidfd = take_fd(fd);
	return 0;
}

static bool is_frozen(const struct state *s)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	struct err ignored;

	return cgroup_open_recorded(&host, &c, s->cgroup, &ignored) == 0 && cgroup_is_frozen(&c);
}

/* Its creator holds the lock for as long as it lives; we may hold it ourselves, by 'dir_fd'. */
static bool is_being_made(int dir_fd)
{
	auto_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0;
}

/* One that cannot answer now, because it is frozen, does wait for it. */
static bool waits_for_start(int dir_fd)
{
	auto_close int sock = -1;
	struct err e;
	int r = state_connect(dir_fd, &sock, &e);

	return r == 0 || (r < 0 && e.code == EAGAIN);
}

enum runtime_status state_status_awake(int dir_fd, const struct state *s)
{
	auto_close int pidfd = -1;
	struct err ignored;

	if (!s->pid)
		return is_being_made(dir_fd) ? RUNTIME_STATUS_CREATING : RUNTIME_STATUS_STOPPED;
	if (state_open_init(s, &pidfd, &ignored) != 0)
		return RUNTIME_STATUS_STOPPED;
	return waits_for_start(dir_fd) ? RUNTIME_STATUS_CREATED : RUNTIME_STATUS_RUNNING;
}

enum runtime_status state_status(int dir_fd, const struct state *s)
{
	enum runtime_status status = state_status_awake(dir_fd, s);

	return (status == RUNTIME_STATUS_CREATED || status == RUNTIME_STATUS_RUNNING) &&
			       is_frozen(s)
		       ? RUNTIME_STATUS_PAUSED
		       : status;
}

json_t *state_json(const struct state *s, enum runtime_status status, pid_t pid)
{
	json_t *doc = json_object(), *annotations = json_object();

	(void)json_object_set_new(doc, "ociVersion", json_string(s->oci_version));
	(void)json_object_set_new(doc, "id", json_string(s->id));
	(void)json_object_set_new(doc, "pid", json_integer(pid));
	(void)json_object_set_new(doc, "status", json_string(runtime_status_name(status)));
	(void)json_object_set_new(doc, "bundle", json_string(s->bundle));
	(void)json_object_set_new(doc, "rootfs", json_string(s->rootfs ? s->rootfs : ""));
	(void)json_object_set_new(doc, "created", json_string(s->created));
	(void)json_object_set_new(doc, "owner", json_string(s->owner ? s->owner : ""));
	for (size_t i = 0; i < s->annotations.count; i++)
		(void)json_object_set_new(annotations, s->annotations.items[i].key,
					  json_string(s->annotations.items[i].value));
	if (s->annotations.count)
		(void)json_object_set(doc, "annotations", annotations);
	json_decref(annotations);
	return doc;
}

/* ---- the socket ---- */

/* sun_path is short; a descriptor of the directory makes any path short. */
static void socket_address(int dir_fd, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" STATE_SOCKET,
		       dir_fd);
}

int state_connect(int dir_fd, int *ret_fd, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr;

	if (fd < 0)
		return err_sys(e, "socket");
	socket_address(dir_fd, &addr);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return errno == ENOENT || errno == ECONNREFUSED ? RUNTIME_STOPPED
								: err_sys(e, "connect to the init");
	if (fcntl(fd, F_SETFL, 0) < 0)
		return err_sys(e, "connect to the init");
	*ret_fd = take_fd(fd);
	return 0;
}

int state_listen(int dir_fd, int *ret_fd, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	if (fd < 0)
		return err_sys(e, "socket");
	socket_address(dir_fd, &addr);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 4) < 0)
		return err_sys(e, "make the init's socket");
	*ret_fd = take_fd(fd);
	return 0;
}
