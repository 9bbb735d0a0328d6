/* tests/e2e/tools/keeper.c - a client of the keeper on a string, for end-to-end tests
 * SPDX-License-Identifier: Apache-2.0
 *
 * Reads one command a line; writes events and answers as lines, as they come.
 * Like the agent it keeps duplicates of the output pipes.
 *
 *   spawn PROGRAM RUN_DIR      connect RUN_DIR      disconnect
 *   create ID BUNDLE ROOT LOG_DIR [start] [root=DIR] [netns=FILE] [ahead=NUMBER]
 *          [PORT ...]  (a port is bound and held)
 *   ahead NUMBER ID BUNDLE ROOT ROOT_DIR [NETNS_FILE]        forget NUMBER
 *   start ID   kill ID SIGNAL  remove ID   list     follow ID LOG_DIR
 *   adopt ID   shutdown [force]            reexec PROGRAM
 *   exec ID TAG PROCESS_FILE STDOUT_FILE STDERR_FILE         cancel ID TAG
 *   read LOG_DIR STDOUT_FILE STDERR_FILE            appends what is new: "read BYTES"
 *   seek LOG_DIR               "cursor RECORD OFFSET BYTES"
 *   from LOG_DIR RECORD OFFSET BYTES                go on from this cursor
 *   discard LOG_DIR
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "keeper/keeper.h"

#define WORDS_MAX 300
#define KEPT_MAX  4096

static struct keeper *k;

/* Output pipes by container, and cursors by log directory. */
static struct kept {
	char id[KEEPER_ID_MAX + 1];
	int fds[2];
} kept[KEPT_MAX];

static struct reading {
	char dir[KEEPER_PATH_MAX + 1];
	struct keeper_cursor cursor;
} readings[KEPT_MAX];

static struct kept *kept_of(const char *id)
{
	for (size_t i = 0; i < KEPT_MAX; i++) {
		if (!kept[i].id[0]) {
			(void)snprintf(kept[i].id, sizeof(kept[i].id), "%s", id);
			kept[i].fds[0] = kept[i].fds[1] = -1;
		}
		if (str_eq(kept[i].id, id))
			return &kept[i];
	}
	abort();
}

static struct reading *reading_of(const char *dir)
{
	for (size_t i = 0; i < KEPT_MAX; i++) {
		if (!readings[i].dir[0])
			(void)snprintf(readings[i].dir, sizeof(readings[i].dir), "%s", dir);
		if (str_eq(readings[i].dir, dir))
			return &readings[i];
	}
	abort();
}

/* ---- events ---- */

static const char *const kinds[] = {
	[KEEPER_HELLO] = "hello",     [KEEPER_CREATED] = "created", [KEEPER_STARTED] = "started",
	[KEEPER_FAILED] = "failed",   [KEEPER_EXITED] = "exited",   [KEEPER_REMOVED] = "removed",
	[KEEPER_ADOPTED] = "adopted", [KEEPER_OUTPUT] = "output",   [KEEPER_LISTED] = "listed",
	[KEEPER_LIST_END] = "end",    [KEEPER_RESUMED] = "resumed", [KEEPER_EXECUTED] = "executed",
};

static void keep_pipes(struct keeper_event *ev)
{
	struct kept *pipes = kept_of(ev->id);

	for (int i = 0; i < 2; i++) {
		if (ev->output_fds[i] < 0)
			continue;
		close_fd(&pipes->fds[i]);
		pipes->fds[i] = ev->output_fds[i];
	}
}

static void drop_pipes(const char *id)
{
	struct kept *pipes = kept_of(id);

	close_fd(&pipes->fds[0]);
	close_fd(&pipes->fds[1]);
}

static int64_t created_ns; /* when the last one was asked for */

/* us: microseconds since then. */
static void print_event(const struct keeper_event *ev)
{
	printf("event %s us=%lld id=%s pid=%d phase=%d known=%d code=%d signal=%d complete=%d "
	       "pipes=%d command=%d tag=%llu errno=%d version=%s base=%s message=%s\n",
	       kinds[ev->kind], (long long)(clock_mono_ns() - created_ns) / 1000, ev->id,
	       (int)ev->pid, ev->phase, ev->exit.known, ev->exit.code, ev->exit.signal,
	       ev->output_complete, ev->has_pipes, ev->command, (unsigned long long)ev->tag,
	       ev->err.code, ev->version, ev->cgroup_base, ev->err.msg);
}

static void hear(void)
{
	while (k) {
		struct keeper_event ev;
		struct err e = {0};
		int r = keeper_next(k, &ev, &e);

		if (r == KEEPER_NOTHING)
			return;
		if (r != 0) {
			printf("event gone message=%s\n", e.msg);
			keeper_disconnect(k);
			k = NULL;
			return;
		}
		if (ev.kind == KEEPER_CREATED || ev.kind == KEEPER_LISTED)
			keep_pipes(&ev);
		if (ev.kind == KEEPER_REMOVED)
			drop_pipes(ev.id);
		print_event(&ev);
	}
}

/* ---- commands ---- */

static int do_spawn(char **w, size_t n, struct err *e)
{
	const struct keeper_spawn s = {.program = w[1], .run_dir = w[2]};

	(void)n;
	return keeper_spawn(&s, e);
}

static int do_connect(char **w, size_t n, struct err *e)
{
	int r = keeper_connect(w[1], &k, e);

	(void)n;
	return r == KEEPER_ABSENT ? err_set(e, ENOENT, "absent") : r;
}

static int do_disconnect(char **w, size_t n, struct err *e)
{
	(void)w;
	(void)n;
	(void)e;
	keeper_disconnect(k);
	k = NULL;
	return 0;
}

static int hold(const char *port_text, int *ret_fd, struct err *e)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint32_t port = 0;

	(void)parse_u32(port_text, UINT16_MAX, &port);
	addr.sin_port = htons((uint16_t)port);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "bind %s", port_text);
	*ret_fd = take_fd(fd);
	return 0;
}

static int open_root(const char *dir, int *ret_fd, struct err *e)
{
	*ret_fd = open_tree(AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return *ret_fd < 0 ? err_sys(e, "copy the mount at %s", dir) : 0;
}

static int do_create(char **w, size_t n, struct err *e)
{
	int held[KEEPER_HELD_MAX];
	struct keeper_create c = {.id = w[1],
				  .bundle = w[2],
				  .runtime_root = w[3],
				  .log_dir = w[4],
				  .rootfs_fd = -1,
				  .netns_fd = -1,
				  .userns_fd = -1,
				  .held_fds = held};
	int r = 0;

	for (size_t i = 5; r == 0 && i < n; i++) {
		if (str_eq(w[i], "start")) {
			c.start = true;
		} else if (str_starts(w[i], "root=")) {
			r = open_root(w[i] + strlen("root="), &c.rootfs_fd, e);
		} else if (str_starts(w[i], "netns=")) {
			c.netns_fd = open(w[i] + strlen("netns="), O_RDONLY | O_CLOEXEC);
		} else if (str_starts(w[i], "ahead=")) {
			(void)parse_u64(w[i] + strlen("ahead="), UINT64_MAX, &c.ahead);
		} else {
			r = hold(w[i], &held[c.held_count], e);
			c.held_count += r == 0;
		}
	}
	created_ns = clock_mono_ns();
	if (r == 0)
		r = keeper_create(k, &c, e);
	while (c.held_count)
		close_fd(&held[--c.held_count]);
	close_fd(&c.rootfs_fd);
	close_fd(&c.netns_fd);
	return r;
}

static int do_ahead(char **w, size_t n, struct err *e)
{
	struct keeper_create c = {.id = w[2],
				  .bundle = w[3],
				  .runtime_root = w[4],
				  .rootfs_fd = -1,
				  .netns_fd = -1,
				  .userns_fd = -1};
	int r = open_root(w[5], &c.rootfs_fd, e);

	if (n > 6)
		c.netns_fd = open(w[6], O_RDONLY | O_CLOEXEC);
	if (r == 0 && !parse_u64(w[1], UINT64_MAX, &c.ahead))
		r = err_set(e, EINVAL, "ahead");
	if (r == 0)
		r = keeper_make_ahead(k, &c, e);
	close_fd(&c.rootfs_fd);
	close_fd(&c.netns_fd);
	return r;
}

static int do_forget(char **w, size_t n, struct err *e)
{
	uint64_t number = 0;

	(void)n;
	(void)parse_u64(w[1], UINT64_MAX, &number);
	return keeper_forget_ahead(k, number, e);
}

static int do_start(char **w, size_t n, struct err *e)
{
	(void)n;
	return keeper_start(k, w[1], e);
}

static int do_kill(char **w, size_t n, struct err *e)
{
	uint32_t sig = 0;

	(void)n;
	(void)parse_u32(w[2], 1000, &sig);
	return keeper_kill(k, w[1], (int)sig, e);
}

static int do_remove(char **w, size_t n, struct err *e)
{
	(void)n;
	return keeper_remove(k, w[1], e);
}

static int do_list(char **w, size_t n, struct err *e)
{
	(void)w;
	(void)n;
	return keeper_list(k, e);
}

static int do_follow(char **w, size_t n, struct err *e)
{
	(void)n;
	return keeper_follow(k, w[1], &reading_of(w[2])->cursor, e);
}

static int do_adopt(char **w, size_t n, struct err *e)
{
	struct kept *pipes = kept_of(w[1]);

	(void)n;
	return keeper_adopt(k, w[1], pipes->fds, NULL, 0, e);
}

static int do_shutdown(char **w, size_t n, struct err *e)
{
	(void)w;
	return keeper_shutdown(k, n > 1, e);
}

static int do_reexec(char **w, size_t n, struct err *e)
{
	(void)n;
	return keeper_reexec(k, w[1], e);
}

static int do_exec(char **w, size_t n, struct err *e)
{
	auto_buf struct buf process = BUF_INIT(KEEPER_PROCESS_MAX);
	auto_close int out = open(w[4], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	auto_close int err = open(w[5], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct keeper_exec x = {.id = w[1], .stdout_fd = out, .stderr_fd = err};

	(void)n;
	if (!parse_u64(w[2], UINT64_MAX, &x.tag) || fs_read(AT_FDCWD, w[3], &process, e) < 0)
		return err_set(e, EINVAL, "exec");
	x.process = buf_str(&process);
	return keeper_exec(k, &x, e);
}

static int do_cancel(char **w, size_t n, struct err *e)
{
	uint64_t tag = 0;

	(void)n;
	(void)parse_u64(w[2], UINT64_MAX, &tag);
	return keeper_cancel(k, w[1], tag, e);
}

static int append(const char *path, const char *data, size_t size, struct err *e)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : write_all(fd, data, size);

	return r < 0 ? err_set(e, -r, "append to %s", path) : 0;
}

static int with_log(const char *dir, struct keeper_log **ret, struct err *e)
{
	int r = keeper_log_open(dir, ret, e);

	return r == KEEPER_ABSENT ? err_set(e, ENOENT, "no spool in %s", dir) : r;
}

static int do_read(char **w, size_t n, struct err *e)
{
	struct reading *reading = reading_of(w[1]);
	struct keeper_log *log = NULL;
	struct keeper_chunk chunk;
	size_t bytes = 0;
	int r = with_log(w[1], &log, e);

	(void)n;
	while (r == 0 && (r = keeper_log_next(log, &reading->cursor, &chunk, e)) == 0) {
		r = append(w[1 + chunk.stream], chunk.data, chunk.size, e);
		bytes += chunk.size;
	}
	keeper_log_close(log);
	if (r != KEEPER_NOTHING)
		return r;
	printf("read %zu\n", bytes);
	return 1;
}

static int do_seek(char **w, size_t n, struct err *e)
{
	const struct keeper_cursor *c = &reading_of(w[1])->cursor;

	(void)n;
	(void)e;
	printf("cursor %llu %u %llu\n", (unsigned long long)c->record, c->offset,
	       (unsigned long long)c->bytes);
	return 1;
}

static int do_from(char **w, size_t n, struct err *e)
{
	struct keeper_cursor *c = &reading_of(w[1])->cursor;

	(void)n;
	if (!parse_u64(w[2], UINT64_MAX, &c->record) || !parse_u32(w[3], UINT32_MAX, &c->offset) ||
	    !parse_u64(w[4], UINT64_MAX, &c->bytes))
		return err_set(e, EINVAL, "cursor");
	return 0;
}

static int do_discard(char **w, size_t n, struct err *e)
{
	struct keeper_log *log = NULL;
	int r = with_log(w[1], &log, e);

	(void)n;
	if (r == 0)
		r = keeper_log_discard(log, &reading_of(w[1])->cursor, e);
	keeper_log_close(log);
	return r;
}

/* Each returns 0 (ok is printed), 1 (it printed its answer), or -errno. */
static const struct {
	const char *name;
	size_t words;
	bool connected;
	int (*run)(char **w, size_t n, struct err *e);
} commands[] = {
	{"spawn", 3, false, do_spawn},  {"connect", 2, false, do_connect},
	{"create", 5, true, do_create}, {"ahead", 6, true, do_ahead},
	{"forget", 2, true, do_forget}, {"disconnect", 1, false, do_disconnect},
	{"start", 2, true, do_start},   {"kill", 3, true, do_kill},
	{"remove", 2, true, do_remove}, {"list", 1, true, do_list},
	{"follow", 3, true, do_follow}, {"adopt", 2, true, do_adopt},
	{"reexec", 2, true, do_reexec}, {"shutdown", 1, true, do_shutdown},
	{"exec", 6, true, do_exec},     {"cancel", 3, true, do_cancel},
	{"read", 4, false, do_read},    {"seek", 2, false, do_seek},
	{"from", 5, false, do_from},    {"discard", 2, false, do_discard},
};

static int run(char **w, size_t n, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
		if (n < commands[i].words || !str_eq(w[0], commands[i].name))
			continue;
		if (commands[i].connected && !k)
			return err_set(e, ENOTCONN, "not connected");
		return commands[i].run(w, n, e);
	}
	return err_set(e, EINVAL, "what is that?");
}

static void obey(char *line)
{
	char *words[WORDS_MAX] = {0}, *rest = NULL;
	struct err e = {0};
	size_t n = 0;
	int r;

	for (char *p = strtok_r(line, " \n", &rest); p && n + 1 < WORDS_MAX;
	     p = strtok_r(NULL, " \n", &rest))
		words[n++] = p;
	if (!n)
		return;
	r = run(words, n, &e);
	if (r < 0)
		printf("error %d %s\n", -r, e.msg);
	else if (r == 0)
		printf("ok\n");
}

int main(void)
{
	char buffer[65536];
	size_t used = 0;

	for (;;) {
		struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
				      {.fd = k ? keeper_fd(k) : -1, .events = POLLIN}};
		char *end;
		ssize_t n;

		(void)fflush(stdout);
		if (poll(p, 2, -1) < 0)
			return 1;
		if (p[1].revents)
			hear();
		if (!p[0].revents)
			continue;
		n = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used - 1);
		if (n <= 0)
			return 0;
		used += (size_t)n;
		buffer[used] = '\0';
		while ((end = strchr(buffer, '\n'))) {
			*end = '\0';
			obey(buffer);
			used -= (size_t)(end + 1 - buffer);
			memmove(buffer, end + 1, used + 1);
		}
	}
}
