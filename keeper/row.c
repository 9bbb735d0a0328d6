/* keeper/row.c - one container, as the keeper knows it
 * SPDX-License-Identifier: Apache-2.0
 */
#include "keeper/row.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "keeper/message.h"

#define FILE_SIZE_MAX  32768
#define BOOT_ID_FILE   "/proc/sys/kernel/random/boot_id"
#define DESCRIPTOR_MAX (1 << 20)

struct row *row_new(const char *id)
{
	struct row *row = xcalloc(1, sizeof(*row));

	(void)snprintf(row->id, sizeof(row->id), "%s", id);
	row->phase = KEEPER_CREATING;
	row->pidfd = row->rootfs_fd = row->netns_fd = row->userns_fd = row->worker.report_fd = -1;
	row->pidfd_watch = (struct watch){.kind = WATCH_PIDFD, .owner = row};
	row->spool = (struct spool)SPOOL_NONE;
	for (int i = 0; i < 2; i++)
		row->output[i] = (struct output){
			.fd = -1, .watch = {.kind = WATCH_PIPE, .owner = row, .stream = i}};
	return row;
}

void row_free(struct row *row)
{
	if (!row)
		return;
	close_fd(&row->pidfd);
	close_fd(&row->rootfs_fd);
	close_fd(&row->netns_fd);
	close_fd(&row->userns_fd);
	close_fd(&row->worker.report_fd);
	for (size_t i = 0; i < row->held_count; i++)
		close_fd(&row->held[i]);
	for (int i = 0; i < 2; i++)
		close_fd(&row->output[i].fd);
	spool_close(&row->spool);
	free(row->held);
	free(row->bundle);
	free(row->runtime_root);
	free(row->log_dir);
	free(row);
}

bool row_output_complete(const struct row *row)
{
	return row->output[0].fd < 0 && row->output[1].fd < 0 && !row->needs_pipes;
}

/* ---- texts ---- */

struct fd_text {
	int64_t fd;
};

static const struct js_field fd_fields[] = {
	{"fd", JS_I64, offsetof(struct fd_text, fd), JS_REQUIRED, NULL},
};
static const struct js_shape fd_shape = JS_SHAPE("Descriptor", struct fd_text, fd_fields);

/* Descriptors are numbered from 1 here, so that 0 is "none". */
struct row_text {
	char *boot_id, *id, *bundle, *runtime_root, *log_dir;
	uint32_t phase, wanted;
	int64_t pid, start_time;
	bool start, exit_known, exit_told, needs_pipes, followed;
	uint32_t exit_code, exit_signal;
	int64_t exit_time_ms, follow_bytes;
	int64_t pidfd, rootfs_fd, netns_fd, userns_fd, stdout_fd, stderr_fd;
	struct js_list held;
};

#define AT(member) offsetof(struct row_text, member)

static const struct js_field row_fields[] = {
	{"bootId", JS_STRING, AT(boot_id), 0, NULL},
	{"id", JS_STRING, AT(id), JS_REQUIRED, NULL},
	{"bundle", JS_STRING, AT(bundle), JS_REQUIRED, NULL},
	{"runtimeRoot", JS_STRING, AT(runtime_root), JS_REQUIRED, NULL},
	{"logDir", JS_STRING, AT(log_dir), JS_REQUIRED, NULL},
	{"phase", JS_U32, AT(phase), JS_REQUIRED, NULL},
	{"pid", JS_I64, AT(pid), 0, NULL},
	{"startTime", JS_I64, AT(start_time), 0, NULL},
	{"start", JS_BOOL, AT(start), 0, NULL},
	{"wanted", JS_U32, AT(wanted), 0, NULL},
	{"exitKnown", JS_BOOL, AT(exit_known), 0, NULL},
	{"exitCode", JS_U32, AT(exit_code), 0, NULL},
	{"exitSignal", JS_U32, AT(exit_signal), 0, NULL},
	{"exitTimeMs", JS_I64, AT(exit_time_ms), 0, NULL},
	{"exitTold", JS_BOOL, AT(exit_told), 0, NULL},
	{"needsPipes", JS_BOOL, AT(needs_pipes), 0, NULL},
	{"followed", JS_BOOL, AT(followed), 0, NULL},
	{"followBytes", JS_I64, AT(follow_bytes), 0, NULL},
	{"pidfd", JS_I64, AT(pidfd), 0, NULL},
	{"rootfs", JS_I64, AT(rootfs_fd), 0, NULL},
	{"netns", JS_I64, AT(netns_fd), 0, NULL},
	{"userns", JS_I64, AT(userns_fd), 0, NULL},
	{"stdout", JS_I64, AT(stdout_fd), 0, NULL},
	{"stderr", JS_I64, AT(stderr_fd), 0, NULL},
	{"held", JS_OBJECTS, AT(held), 0, &fd_shape},
};
static const struct js_shape row_shape = JS_SHAPE("Row", struct row_text, row_fields);

static const char *boot_id(void)
{
	static char id[64];
	auto_buf struct buf b = BUF_INIT(sizeof(id) - 1);
	struct err ignored;

	if (!id[0] && fs_read(AT_FDCWD, BOOT_ID_FILE, &b, &ignored) == 0)
		(void)snprintf(id, sizeof(id), "%.*s", (int)strcspn(buf_str(&b), "\n"),
			       buf_str(&b));
	return id;
}

static void encode_descriptors(const struct row *row, struct row_text *t, struct arena *a)
{
	struct fd_text *held = arena_alloc(a, (row->held_count + 1) * sizeof(*held));

	for (size_t i = 0; i < row->held_count; i++)
		held[i].fd = row->held[i] + 1;
	t->held = (struct js_list){.items = held, .count = row->held_count};
	t->pidfd = row->pidfd + 1;
	t->rootfs_fd = row->rootfs_fd + 1;
	t->netns_fd = row->netns_fd + 1;
	t->userns_fd = row->userns_fd + 1;
	t->stdout_fd = row->output[0].fd + 1;
	t->stderr_fd = row->output[1].fd + 1;
	t->wanted = row->wanted;
	t->needs_pipes = row->needs_pipes;
	t->exit_known = row->exit.known;
	t->exit_code = (uint32_t)row->exit.code;
	t->exit_signal = (uint32_t)row->exit.signal;
	t->exit_time_ms = row->exit.time_ms;
	t->exit_told = row->exit_told;
	t->followed = row->followed;
	t->follow_bytes = (int64_t)row->follow_bytes;
}

char *row_encode(const struct row *row, bool with_descriptors)
{
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	struct row_text t = {.boot_id = arena_strdup(&a, boot_id()),
			     .id = arena_strdup(&a, row->id),
			     .bundle = row->bundle,
			     .runtime_root = row->runtime_root,
			     .log_dir = row->log_dir,
			     .phase = row->phase,
			     .start = row->start,
			     .pid = row->pid,
			     .start_time = (int64_t)row->start_time};

	if (with_descriptors)
		encode_descriptors(row, &t, &a);
	doc = js_encode(&row_shape, &t);
	return js_dump(doc);
}

static bool fd_ok(int64_t fd)
{
	return fd >= 0 && fd <= DESCRIPTOR_MAX;
}

static int check_text(const struct row_text *t, struct err *e)
{
	bool fds_ok = fd_ok(t->pidfd) && fd_ok(t->rootfs_fd) && fd_ok(t->netns_fd) &&
		      fd_ok(t->userns_fd) && fd_ok(t->stdout_fd) && fd_ok(t->stderr_fd);

	if (!keeper_id_ok(t->id) || t->bundle[0] != '/' || t->runtime_root[0] != '/' ||
	    t->log_dir[0] != '/')
		return err_set(e, EBADMSG, "row of '%.127s': names", t->id);
	if (t->phase < KEEPER_CREATING || t->phase > KEEPER_ENDED || t->wanted > KEEPER_REMOVE ||
	    t->pid < 0 || t->pid > INT32_MAX || t->start_time < 0 || t->exit_code > 255 ||
	    t->exit_signal > 64 || t->follow_bytes < 0)
		return err_set(e, EBADMSG, "row of %s: numbers", t->id);
	if (!fds_ok || t->held.count > KEEPER_HELD_MAX)
		return err_set(e, EBADMSG, "row of %s: descriptors", t->id);
	for (size_t i = 0; i < t->held.count; i++) {
		int64_t fd = JS_AT(t->held, struct fd_text, i)->fd;

		if (!fd || !fd_ok(fd))
			return err_set(e, EBADMSG, "row of %s: descriptors", t->id);
	}
	return 0;
}

static struct row *row_of_text(const struct row_text *t)
{
	struct row *row = row_new(t->id);

	row->bundle = xstrdup(t->bundle);
	row->runtime_root = xstrdup(t->runtime_root);
	row->log_dir = xstrdup(t->log_dir);
	row->phase = (enum keeper_phase)t->phase;
	row->start = t->start;
	row->wanted = (enum keeper_command)t->wanted;
	row->pid = (pid_t)t->pid;
	row->start_time = (uint64_t)t->start_time;
	row->exit = (struct keeper_exit){.known = t->exit_known,
					 .code = (int)t->exit_code,
					 .signal = (int)t->exit_signal,
					 .time_ms = t->exit_time_ms};
	row->exit_told = t->exit_told;
	row->needs_pipes = t->needs_pipes;
	row->followed = t->followed;
	row->follow_bytes = (uint64_t)t->follow_bytes;
	row->pidfd = (int)t->pidfd - 1;
	row->rootfs_fd = (int)t->rootfs_fd - 1;
	row->netns_fd = (int)t->netns_fd - 1;
	row->userns_fd = (int)t->userns_fd - 1;
	row->output[0].fd = (int)t->stdout_fd - 1;
	row->output[1].fd = (int)t->stderr_fd - 1;
	row->held = xcalloc(t->held.count + 1, sizeof(*row->held));
	row->held_count = t->held.count;
	for (size_t i = 0; i < t->held.count; i++)
		row->held[i] = (int)JS_AT(t->held, struct fd_text, i)->fd - 1;
	return row;
}

static int decode(const char *text, size_t size, struct row **ret, bool *ret_same_boot,
		  struct err *e)
{
	auto_arena struct arena a = {0};
	struct row_text t;

	if (js_decode_text(text, size, &row_shape, &a, &t, e) < 0 || check_text(&t, e) < 0)
		return -e->code;
	*ret = row_of_text(&t);
	*ret_same_boot = str_eq(t.boot_id, boot_id());
	return 0;
}

int row_decode(const char *text, size_t size, struct row **ret, struct err *e)
{
	bool ignored;

	return decode(text, size, ret, &ignored, e);
}

/* ---- files ---- */

/* Name of a file in a row's directory. */
struct row_path {
	char text[KEEPER_ID_MAX + 8];
};

static struct row_path path_of(const char *id, const char *file)
{
	struct row_path p;

	(void)snprintf(p.text, sizeof(p.text), "%s/%s", id, file);
	return p;
}

int row_write(int rows_fd, const struct row *row, struct err *e)
{
	auto_free char *text = row_encode(row, false);

	if (mkdirat(rows_fd, row->id, 0700) < 0 && errno != EEXIST)
		return err_sys(e, "make directory of container %s", row->id);
	return fs_replace(rows_fd, path_of(row->id, "row").text, text, strlen(text), 0600, FS_QUICK,
			  e);
}

struct exit_text {
	bool known;
	uint32_t code, signal;
	int64_t time_ms;
};

static const struct js_field exit_fields[] = {
	{"known", JS_BOOL, offsetof(struct exit_text, known), JS_ALWAYS, NULL},
	{"code", JS_U32, offsetof(struct exit_text, code), JS_ALWAYS, NULL},
	{"signal", JS_U32, offsetof(struct exit_text, signal), JS_ALWAYS, NULL},
	{"timeMs", JS_I64, offsetof(struct exit_text, time_ms), JS_ALWAYS, NULL},
};
static const struct js_shape exit_shape = JS_SHAPE("Exit", struct exit_text, exit_fields);

int row_write_exit(int rows_fd, const struct row *row, struct err *e)
{
	const struct exit_text t = {.known = row->exit.known,
				    .code = (uint32_t)row->exit.code,
				    .signal = (uint32_t)row->exit.signal,
				    .time_ms = row->exit.time_ms};
	auto_json json_t *doc = js_encode(&exit_shape, &t);
	auto_free char *text = js_dump(doc);

	return fs_replace(rows_fd, path_of(row->id, "exit").text, text, strlen(text), 0600,
			  FS_QUICK, e);
}

/* How it ended, if that is known. */
static void read_exit(int rows_fd, struct row *row)
{
	auto_buf struct buf b = BUF_INIT(FILE_SIZE_MAX);
	auto_arena struct arena a = {0};
	struct exit_text t;
	struct err ignored;

	if (fs_read(rows_fd, path_of(row->id, "exit").text, &b, &ignored) < 0 ||
	    js_decode_text(buf_str(&b), b.size, &exit_shape, &a, &t, &ignored) < 0 ||
	    t.code > 255 || t.signal > 64)
		return;
	row->phase = KEEPER_ENDED;
	row->pid = 0;
	row->exit = (struct keeper_exit){.known = t.known,
					 .code = (int)t.code,
					 .signal = (int)t.signal,
					 .time_ms = t.time_ms};
}

void row_remove(int rows_fd, const struct row *row)
{
	struct err ignored;

	(void)fs_remove_tree(rows_fd, row->id, &ignored); /* a later start removes it again */
}

int row_read(int rows_fd, const char *id, struct row **ret, bool *ret_same_boot, struct err *e)
{
	auto_buf struct buf b = BUF_INIT(FILE_SIZE_MAX);
	struct row *row;

	if (fs_read(rows_fd, path_of(id, "row").text, &b, e) < 0 ||
	    decode(buf_str(&b), b.size, &row, ret_same_boot, e) < 0)
		return -e->code;
	if (!str_eq(row->id, id)) {
		row_free(row);
		return err_set(e, EBADMSG, "row in %s is of another container", id);
	}
	read_exit(rows_fd, row);
	*ret = row;
	return 0;
}
