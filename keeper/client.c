/* keeper/client.c - the other end of the keeper's socket
 * SPDX-License-Identifier: Apache-2.0
 *
 * Sending waits when there is no room, for the keeper always reads: it never waits for
 * a client.  Receiving never does.  A loop that watches the socket makes it one that
 * does not block by itself.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "keeper/message.h"

#define SEND_WAIT_MS 10000

struct keeper {
	int fd;
	uint8_t version; /* of what it speaks */
};

int keeper_connect(const char *run_dir, struct keeper **ret, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_close int dir_fd = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(e, "socket for the keeper");
	if (dir_fd < 0)
		return errno == ENOENT ? KEEPER_ABSENT : err_sys(e, "open %s", run_dir);
	/* By the descriptor, for the path of a socket is short and that of a root may be long. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/" COMMAND_SOCKET,
		       dir_fd);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return KEEPER_ABSENT;
		return err_sys(e, "connect to the keeper in %s", run_dir);
	}
	*ret = xcalloc(1, sizeof(**ret));
	(*ret)->fd = take_fd(fd);
	(*ret)->version = MESSAGE_VERSION;
	return 0;
}

void keeper_disconnect(struct keeper *k)
{
	if (!k)
		return;
	close_fd(&k->fd);
	free(k);
}

int keeper_fd(const struct keeper *k)
{
	return k->fd;
}

int keeper_next(struct keeper *k, struct keeper_event *ret, struct err *e)
{
	struct event ev;
	size_t fd_count = 0, used = 0;
	int fds[2];
	ssize_t n = fs_recv(k->fd, &ev, sizeof(ev), fds, ARRAY_COUNT(fds), &fd_count, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return KEEPER_NOTHING;
	if (n == 0 || n == -ECONNRESET)
		return KEEPER_GONE;
	if (n < 0)
		return err_set(e, (int)-n, "receive from the keeper: %s", strerrordesc_np((int)-n));
	if (event_check(&ev, (size_t)n, fd_count, e) < 0) {
		while (fd_count)
			close_fd(&fds[--fd_count]);
		return -e->code;
	}
	event_read(&ev, ret);
	if (ev.head.flags & MESSAGE_STDOUT)
		ret->output_fds[0] = fds[used++];
	if (ev.head.flags & MESSAGE_STDERR)
		ret->output_fds[1] = fds[used++];
	k->version = ev.head.version;
	return k->version == MESSAGE_VERSION ? 0 : KEEPER_OTHER;
}

/* ---- commands ---- */

static int begin(struct command *c, enum keeper_command kind, const char *id, struct err *e)
{
	memset(c, 0, sizeof(*c)); /* padding too: it goes out */
	c->head = (struct message_head){
		.magic = MESSAGE_MAGIC, .version = MESSAGE_VERSION, .kind = (uint8_t)kind};
	if (id && !keeper_id_ok(id))
		return err_set(e, EINVAL, "container id '%.140s'", id);
	(void)snprintf(c->id, sizeof(c->id), "%s", id ? id : "");
	return 0;
}

static int set_path(struct command *c, enum command_path which, const char *path, struct err *e)
{
	if (path[0] != '/')
		return err_set(e, EINVAL, "path '%.100s' is not absolute", path);
	if ((size_t)snprintf(c->path[which], sizeof(c->path[which]), "%s", path) >=
	    sizeof(c->path[which]))
		return err_set(e, ENAMETOOLONG, "path '%.100s...'", path);
	return 0;
}

static int send_command(struct keeper *k, const struct command *c, const int *fds, size_t count,
			struct err *e)
{
	struct pollfd room = {.fd = k->fd, .events = POLLOUT};
	int r;

	while ((r = fs_send(k->fd, c, sizeof(*c), fds, count)) == -EAGAIN &&
	       (poll(&room, 1, SEND_WAIT_MS) > 0 || errno == EINTR))
		;
	if (r == -ECONNRESET || r == -ENOTCONN)
		r = -EPIPE;
	return r < 0 ? err_set(e, -r, "send to the keeper: %s", strerrordesc_np(-r)) : 0;
}

/* A descriptor that goes along, if there is one. */
static void add_fd(struct command *c, uint32_t flag, int fd, int *fds, size_t *count)
{
	if (fd < 0)
		return;
	c->head.flags |= flag;
	fds[(*count)++] = fd;
}

static int add_held(struct command *c, const int *held, size_t held_count, int *fds, size_t *count,
		    struct err *e)
{
	if (held_count > KEEPER_HELD_MAX)
		return err_set(e, E2BIG, "%zu descriptors to hold, at most %d are possible",
			       held_count, KEEPER_HELD_MAX);
	c->held_count = (uint32_t)held_count;
	if (held_count)
		memcpy(fds + *count, held, held_count * sizeof(*held));
	*count += held_count;
	return 0;
}

int keeper_create(struct keeper *k, const struct keeper_create *create, struct err *e)
{
	int fds[3 + KEEPER_HELD_MAX];
	struct command c;
	size_t count = 0;

	if (begin(&c, KEEPER_CREATE, create->id, e) < 0 ||
	    set_path(&c, COMMAND_BUNDLE, create->bundle, e) < 0 ||
	    set_path(&c, COMMAND_RUNTIME_ROOT, create->runtime_root, e) < 0 ||
	    set_path(&c, COMMAND_LOG_DIR, create->log_dir, e) < 0)
		return -e->code;
	c.head.flags = create->start ? MESSAGE_START : 0;
	c.number = create->ahead;
	add_fd(&c, MESSAGE_ROOTFS, create->rootfs_fd, fds, &count);
	add_fd(&c, MESSAGE_NETNS, create->netns_fd, fds, &count);
	add_fd(&c, MESSAGE_USERNS, create->userns_fd, fds, &count);
	if (add_held(&c, create->held_fds, create->held_count, fds, &count, e) < 0)
		return -e->code;
	return send_command(k, &c, fds, count, e);
}

int keeper_make_ahead(struct keeper *k, const struct keeper_create *create, struct err *e)
{
	struct command c;
	size_t count = 0;
	int fds[3];

	if (begin(&c, KEEPER_AHEAD, create->id, e) < 0 ||
	    set_path(&c, COMMAND_BUNDLE, create->bundle, e) < 0 ||
	    set_path(&c, COMMAND_RUNTIME_ROOT, create->runtime_root, e) < 0)
		return -e->code;
	c.number = create->ahead;
	add_fd(&c, MESSAGE_ROOTFS, create->rootfs_fd, fds, &count);
	add_fd(&c, MESSAGE_NETNS, create->netns_fd, fds, &count);
	add_fd(&c, MESSAGE_USERNS, create->userns_fd, fds, &count);
	return send_command(k, &c, fds, count, e);
}

int keeper_forget_ahead(struct keeper *k, uint64_t ahead, struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_FORGET, NULL, e) < 0)
		return -e->code;
	c.number = ahead;
	return send_command(k, &c, NULL, 0, e);
}

int keeper_adopt(struct keeper *k, const char *id, const int output_fds[2], const int *held_fds,
		 size_t held_count, struct err *e)
{
	int fds[2 + KEEPER_HELD_MAX];
	struct command c;
	size_t count = 0;

	if (begin(&c, KEEPER_ADOPT, id, e) < 0)
		return -e->code;
	add_fd(&c, MESSAGE_STDOUT, output_fds[0], fds, &count);
	add_fd(&c, MESSAGE_STDERR, output_fds[1], fds, &count);
	if (add_held(&c, held_fds, held_count, fds, &count, e) < 0)
		return -e->code;
	return send_command(k, &c, fds, count, e);
}

static int send_plain(struct keeper *k, enum keeper_command kind, const char *id, struct err *e)
{
	struct command c;

	if (begin(&c, kind, id, e) < 0)
		return -e->code;
	return send_command(k, &c, NULL, 0, e);
}

int keeper_start(struct keeper *k, const char *id, struct err *e)
{
	return send_plain(k, KEEPER_START, id, e);
}

int keeper_remove(struct keeper *k, const char *id, struct err *e)
{
	return send_plain(k, KEEPER_REMOVE, id, e);
}

int keeper_list(struct keeper *k, struct err *e)
{
	return send_plain(k, KEEPER_LIST, NULL, e);
}

int keeper_kill(struct keeper *k, const char *id, int sig, struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_KILL, id, e) < 0)
		return -e->code;
	c.sig = sig;
	return send_command(k, &c, NULL, 0, e);
}

int keeper_follow(struct keeper *k, const char *id, const struct keeper_cursor *cursor,
		  struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_FOLLOW, id, e) < 0)
		return -e->code;
	c.number = cursor->bytes;
	return send_command(k, &c, NULL, 0, e);
}

/* A file in memory, for it may be longer than a message. */
static int make_file(const char *text, int *ret_fd, struct err *e)
{
	size_t size = strlen(text);
	auto_close int fd = memfd_create("process", MFD_CLOEXEC);
	int r;

	if (size > KEEPER_PROCESS_MAX)
		return err_set(e, E2BIG, "process of %zu bytes", size);
	r = fd < 0 ? -errno : write_all(fd, text, size);
	if (r < 0)
		return err_set(e, -r, "write a process for the keeper: %s", strerrordesc_np(-r));
	*ret_fd = take_fd(fd);
	return 0;
}

int keeper_exec(struct keeper *k, const struct keeper_exec *x, struct err *e)
{
	auto_close int process_fd = -1;
	struct command c;
	size_t count = 0;
	int fds[3];

	if (begin(&c, KEEPER_EXEC, x->id, e) < 0 || make_file(x->process, &process_fd, e) < 0)
		return -e->code;
	c.number = x->tag;
	add_fd(&c, MESSAGE_PROCESS, process_fd, fds, &count);
	add_fd(&c, MESSAGE_STDOUT, x->stdout_fd, fds, &count);
	add_fd(&c, MESSAGE_STDERR, x->stderr_fd, fds, &count);
	return send_command(k, &c, fds, count, e);
}

int keeper_cancel(struct keeper *k, const char *id, uint64_t tag, struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_CANCEL, id, e) < 0)
		return -e->code;
	c.number = tag;
	return send_command(k, &c, NULL, 0, e);
}

int keeper_shutdown(struct keeper *k, bool force, struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_SHUTDOWN, NULL, e) < 0)
		return -e->code;
	c.head.flags = force ? MESSAGE_FORCE : 0;
	return send_command(k, &c, NULL, 0, e);
}

int keeper_reexec(struct keeper *k, const char *program, struct err *e)
{
	struct command c;

	if (begin(&c, KEEPER_REEXEC, NULL, e) < 0 || set_path(&c, COMMAND_PROGRAM, program, e) < 0)
		return -e->code;
	c.head.version = k->version;
	return send_command(k, &c, NULL, 0, e);
}
