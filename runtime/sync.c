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
#include "base/mem.h"

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

#define FOR_HEAD offsetof(struct sync_for, message.text)

static size_t size_of_words(const struct js_strings *words)
{
	size_t size = 0;

	for (size_t i = 0; i < words->count; i++)
		size += strlen(words->items[i]) + 1;
	return size;
}

bool sync_fits_for(const struct js_strings *args, const struct js_strings *env)
{
	return args->count + env->count <= SYNC_FOR_WORDS_MAX &&
	       size_of_words(args) + size_of_words(env) <= SYNC_FOR_TEXT_MAX;
}

static char *put_words(char *to, const struct js_strings *words)
{
	for (size_t i = 0; i < words->count; i++)
		to = stpcpy(to, words->items[i]) + 1;
	return to;
}

int sync_send_for(int fd, const struct js_strings *args, const struct js_strings *env,
		  struct err *e)
{
	size_t size = FOR_HEAD + size_of_words(args) + size_of_words(env);
	auto_free struct sync_for *m = xcalloc(1, size);
	int r;

	m->message.word = SYNC_FOR;
	m->message.args = (uint32_t)args->count;
	m->message.env = (uint32_t)env->count;
	(void)put_words(put_words(m->message.text, args), env);
	r = fs_send(fd, &m->message, size, NULL, 0);
	return r < 0 ? err_set(e, -r, "tell a process that was made ahead") : 0;
}

/* Words of the text from *at on; false: it ends before. */
static bool unpack_words(char **words, uint32_t count, char *text, size_t size, size_t *at,
			 struct js_strings *ret)
{
	*ret = (struct js_strings){.items = words};
	for (; ret->count < count; ret->count++) {
		const char *end = memchr(text + *at, '\0', size - *at);

		if (!end)
			return false;
		words[ret->count] = text + *at;
		*at = (size_t)(end - text) + 1;
	}
	words[count] = NULL;
	return true;
}

int sync_hear_for(int fd, struct sync_for *room, struct js_strings *ret_args,
		  struct js_strings *ret_env, struct err *e)
{
	uint32_t args, env;
	size_t none, at = 0, size;
	ssize_t n = fs_recv(fd, &room->message, sizeof(room->message), NULL, 0, &none, 0);

	if (n < (ssize_t)FOR_HEAD || room->message.word != SYNC_FOR)
		return err_set(e, EPIPE, "nobody wants it any more");
	args = room->message.args;
	env = room->message.env;
	size = (size_t)n - FOR_HEAD;
	if (args > SYNC_FOR_WORDS_MAX || env > SYNC_FOR_WORDS_MAX - args ||
	    !unpack_words(room->words, args, room->message.text, size, &at, ret_args) ||
	    !unpack_words(room->words + args + 1, env, room->message.text, size, &at, ret_env))
		return err_set(e, EPROTO, "what to execute is not whole");
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
