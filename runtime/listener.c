/* runtime/listener.c - the descriptor of a filter that asks (SCMP_ACT_NOTIFY), to whom it asks
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/listener.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/io.h"
#include "runtime/sync.h"

#define STATE_FD_NAME "seccompFd" /* of the spec */
#define NOT_YET       (-1)
#define NOT_AT_ALL    (-2)
#define LOOK_NS       20000

struct handover {
	int sync_fd;
	atomic_int fd;    /* NOT_YET, NOT_AT_ALL, or the listener */
	atomic_bool done; /* with it */
};

bool listener_wanted(const struct filter *f)
{
	return f->insns && (f->flags & SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

/* Context: a thread without the filter.  The other one cannot wake it: that is a system call. */
static void *hand_over(void *arg)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	struct handover *h = arg;
	struct err ignored;
	int fd;

	while ((fd = atomic_load(&h->fd)) == NOT_YET)
		(void)nanosleep(&pause, NULL);
	if (fd >= 0)
		(void)sync_send_listener(h->sync_fd, fd, &ignored);
	atomic_store(&h->done, true);
	return NULL;
}

int listener_install(const struct filter *f, int sync_fd, struct err *e)
{
	struct handover h = {.sync_fd = sync_fd, .fd = NOT_YET};
	pthread_t thread;
	int r;

	if (!listener_wanted(f))
		return filter_install(f, e);
	r = pthread_create(&thread, NULL, hand_over, &h);
	if (r)
		return err_set(e, r, "make a thread: %s", strerrordesc_np(r));
	r = filter_install(f, e);
	atomic_store(&h.fd, r < 0 ? NOT_AT_ALL : r);
	/* To wait for the thread is a system call, too; execve(2) ends it. */
	while (!atomic_load(&h.done))
		;
	return r < 0 ? r : 0;
}

int listener_connect(const struct config_listener *l, int *ret_fd, struct err *e)
{
	*ret_fd = -1;
	if (!l->path || !l->path[0])
		return 0;
	return io_connect("linux.seccomp.listenerPath", l->path, ret_fd, e);
}

static int send_to_agent(int agent_fd, int listener_fd, const struct config_listener *l,
			 const struct state *s, enum runtime_status status, pid_t pid,
			 struct err *e)
{
	auto_json json_t *doc = json_object();
	auto_free char *text = NULL;
	int r;

	(void)json_object_set_new(doc, "ociVersion", json_string(s->oci_version));
	(void)json_object_set_new(doc, "fds", json_pack("[s]", STATE_FD_NAME));
	(void)json_object_set_new(doc, "pid", json_integer(pid));
	if (l->metadata)
		(void)json_object_set_new(doc, "metadata", json_string(l->metadata));
	(void)json_object_set_new(doc, "state", state_json(s, status, (pid_t)s->pid));
	text = js_dump(doc);
	r = fs_send(agent_fd, text, strlen(text), &listener_fd, 1);
	return r < 0 ? err_set(e, -r, "linux.seccomp.listenerPath: send the listener to %s: %s",
			       l->path, strerrordesc_np(-r))
		     : 0;
}

int listener_expect_end(int sync_fd, int agent_fd, const struct config_listener *l,
			const struct state *s, enum runtime_status status, pid_t pid, struct err *e)
{
	for (;;) {
		auto_close int fd = -1;
		int r = sync_expect_end(sync_fd, &fd, e);

		if (r <= 0)
			return r;
		if (agent_fd < 0)
			return err_set(e, EPROTO, "a filter that asks, and nobody to be asked");
		if (send_to_agent(agent_fd, fd, l, s, status, pid, e) < 0)
			return -e->code;
	}
}
