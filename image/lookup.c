/* image/lookup.c - users of images, for the caller: asked of a worker once
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "image/client.h"
#include "image/wire.h"

#define LOOKUPS_MAX 256 /* kept; then all are forgotten */
#define USER_SIZE   256

struct lookup {
	struct lookup *next;
	char *image_digest, *name;
	struct image_user user;
};

void client_forget_lookups(struct image_store *s)
{
	struct lookup *l;

	while ((l = s->lookups)) {
		s->lookups = l->next;
		free(l->image_digest);
		free(l->name);
		free(l);
	}
}

static const struct lookup *find(const struct image_store *s, const char *image_digest,
				 const char *name)
{
	for (const struct lookup *l = s->lookups; l; l = l->next)
		if (str_eq(l->image_digest, image_digest) && str_eq(l->name, name))
			return l;
	return NULL;
}

static void keep(struct image_store *s, const char *image_digest, const char *name,
		 const struct image_user *user)
{
	struct lookup *l = xcalloc(1, sizeof(*l));
	size_t count = 0;

	for (const struct lookup *i = s->lookups; i; i = i->next)
		count++;
	if (count >= LOOKUPS_MAX)
		client_forget_lookups(s);
	l->image_digest = xstrdup(image_digest);
	l->name = xstrdup(name);
	l->user = *user;
	l->next = s->lookups;
	s->lookups = l;
}

/* A worker's answer is a stranger's. */
static bool is_answer(const struct reader_answer *a)
{
	return a->code < 4096 && memchr(a->text, '\0', sizeof(a->text)) &&
	       memchr(a->user.home, '\0', sizeof(a->user.home)) &&
	       a->user.group_count <= IMAGE_USER_GROUPS_MAX;
}

static int receive(int sock, struct reader_answer *ret, struct err *e)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	size_t fd_count;
	int r;

	do
		r = poll(&p, 1, IMAGE_USER_TIMEOUT_MS);
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return err_set(e, ETIMEDOUT, "no answer for %d ms", IMAGE_USER_TIMEOUT_MS);
	if (r < 0 || fs_recv(sock, ret, sizeof(*ret), NULL, 0, &fd_count, 0) != sizeof(*ret))
		return err_set(e, EIO, "the worker ended without an answer");
	if (!is_answer(ret))
		return err_set(e, EBADMSG, "an answer that is none");
	return 0;
}

static int ask(struct image_store *s, const char *user, int root_fd, struct image_user *ret,
	       struct err *e)
{
	const struct proc_fd fds[] = {{root_fd, READER_ROOT}};
	struct worker w = WORKER_NONE;
	struct reader_answer answer;
	int r, status;

	if (worker_start(s->worker, "user", user, fds, 1, true, &w, e) < 0)
		return -e->code;
	r = receive(w.sock, &answer, e);
	worker_kill(&w);
	worker_wait(&w, -1);
	(void)worker_reap(&w, &status);
	if (r < 0)
		return r;
	if (answer.code) {
		clean_text(answer.text);
		return err_set(e, (int)answer.code, "%s", answer.text);
	}
	clean_text(answer.user.home);
	*ret = answer.user;
	return 0;
}

int image_user_lookup(struct image_store *s, const char *image_digest, const char *user,
		      int root_fd, struct image_user *ret, struct err *e)
{
	const struct lookup *known = find(s, image_digest, user);

	if (known) {
		*ret = known->user;
		return 0;
	}
	if (strlen(user) >= USER_SIZE)
		return err_set(e, EINVAL, "user of more than %d characters", USER_SIZE - 1);
	if (ask(s, user, root_fd, ret, e) < 0)
		return err_wrap(e, "who '%s' is", user);
	keep(s, image_digest, user, ret);
	return 0;
}
