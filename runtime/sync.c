/* runtime/sync.c - the talk between a creator and the process it makes
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/sync.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"

#define ERRNO_MAX 4095

struct message {
	enum sync_word word;
	int value;
	struct err err; /* SYNC_FAILED only */
};
#define WORD_SIZE offsetof(struct message, err)

int sync_pair(int ret[2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0)
		return err_sys(e, "socketpair");
	return 0;
}

static int send_message(int fd, const struct message *m, size_t size)
{
	ssize_t n;

	do
		n = send(fd, m, size, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int sync_say(int fd, enum sync_word word, int value, struct err *e)
{
	struct message m = {.word = word, .value = value};
	int r = send_message(fd, &m, WORD_SIZE);

	if (r == 0)
		return 0;
	errno = -r;
	return err_sys(e, "tell the other process");
}

void sync_fail(int fd, const struct err *e)
{
	struct message m = {.word = SYNC_FAILED, .err = *e};

	(void)send_message(fd, &m, sizeof(m)); /* nobody is left to tell */
}

int sync_send_listener(int fd, int listener_fd, struct err *e)
{
	const struct message m = {.word = SYNC_LISTENER};
	int r = fs_send(fd, &m, WORD_SIZE, &listener_fd, 1);

	return r < 0 ? err_set(e, -r, "tell the other process") : 0;
}

#define ENDED 1

/* Returns 0 and a message, or ENDED.  *ret_fd is what came with it, or -1. */
static int receive(int fd, struct message *ret, int *ret_fd, struct err *e)
{
	size_t count = 0;
	ssize_t n = fs_recv(fd, ret, sizeof(*ret), ret_fd, 1, &count, 0);

	if (!count)
		*ret_fd = -1;
	if (n == 0 || n == -ECONNRESET)
		return ENDED;
	if (n < 0) {
		errno = (int)-n;
		return err_sys(e, "hear from the container's process");
	}
	if ((size_t)n != (ret->word == SYNC_FAILED ? sizeof(*ret) : WORD_SIZE))
		return err_set(e, EPROTO, "the container's process sent %zd bytes", n);
	if (ret->word != SYNC_FAILED)
		return 0;

	ret->err.msg[sizeof(ret->err.msg) - 1] = '\0';
	if (ret->err.code <= 0 || ret->err.code > ERRNO_MAX)
		ret->err.code = EIO;
	*e = ret->err;
	return -e->code;
}

int sync_expect(int fd, enum sync_word word, int *ret_value, struct err *e)
{
	auto_close int came = -1;
	struct message m = {0};
	int r = receive(fd, &m, &came, e);

	if (r < 0)
		return r;
	if (r == ENDED)
		return err_set(e, EPIPE, "the container's process died");
	if (m.word != word)
		return err_set(e, EPROTO, "the container's process said %d instead of %d", m.word,
			       word);
	if (ret_value)
		*ret_value = m.value;
	return 0;
}

struct for_message {
	enum sync_word word;
	char id[RUNTIME_ID_MAX + 1];
};

int sync_send_for(int fd, const struct sync_for *whom, struct err *e)
{
	struct for_message m = {.word = SYNC_FOR};
	int r;

	memcpy(m.id, whom->id, sizeof(m.id));
	r = fs_send(fd, &m, sizeof(m), whom->fd, SYNC_FOR_FDS);
	return r < 0 ? err_set(e, -r, "tell a process that was made ahead") : 0;
}

int sync_hear_for(int fd, struct sync_for *ret, struct err *e)
{
	struct for_message m;
	size_t count = 0;
	ssize_t n = fs_recv(fd, &m, sizeof(m), ret->fd, SYNC_FOR_FDS, &count, 0);

	if (n != (ssize_t)sizeof(m) || m.word != SYNC_FOR || count != SYNC_FOR_FDS)
		return err_set(e, EPIPE, "nobody wants it any more");
	m.id[sizeof(m.id) - 1] = '\0';
	memcpy(ret->id, m.id, sizeof(ret->id));
	return 0;
}

int sync_expect_end(int fd, int *ret_listener, struct err *e)
{
	auto_close int came = -1;
	struct message m = {0};
	int r = receive(fd, &m, &came, e);

	if (r == ENDED)
		return 0;
	if (r == 0 && m.word == SYNC_LISTENER && came >= 0) {
		*ret_listener = take_fd(came);
		return SYNC_CAME;
	}
	return r < 0 ? r : err_set(e, EPROTO, "the container's process said %d at its end", m.word);
}
