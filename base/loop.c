/* base/loop.c - the event loop of a daemon (libuv)
 * SPDX-License-Identifier: Apache-2.0
 *
 * libuv frees a handle some time after it was closed; each of ours is therefore
 * allocated and freed by its close callback.
 */
#include "base/loop.h"

#include <assert.h>
#include <stdlib.h>
#include <uv.h>

#include "base/mem.h"

struct loop {
	uv_loop_t uv;
	unsigned works; /* under way */
};

struct loop_work {
	uv_work_t uv;
	struct loop *loop;
	loop_fn *work, *on_done;
	void *ctx;
};

struct loop_fd {
	uv_poll_t uv;
	loop_fd_fn *on_ready;
	void *ctx;
	int wanted; /* events that the kernel has been asked for */
};

struct loop_timer {
	uv_timer_t uv;
	loop_fn *fn;
	void *ctx;
};

struct loop_wake {
	uv_async_t uv;
	loop_fn *fn;
	void *ctx;
};

struct loop_signal {
	uv_signal_t uv;
	loop_fn *fn;
	void *ctx;
};

static void free_handle(uv_handle_t *h)
{
	free(h);
}

static void close_signal(uv_handle_t *h, void *ctx)
{
	(void)ctx;
	if (h->type == UV_SIGNAL && !uv_is_closing(h))
		uv_close(h, free_handle);
}

struct loop *loop_new(void)
{
	struct loop *l = xcalloc(1, sizeof(*l));
	int r = uv_loop_init(&l->uv);

	assert(r == 0);
	(void)r;
	return l;
}

void loop_free(struct loop *l)
{
	int r;

	if (!l)
		return;
	uv_walk(&l->uv, close_signal, NULL);
	while (uv_run(&l->uv, l->works ? UV_RUN_ONCE : UV_RUN_NOWAIT))
		;
	r = uv_loop_close(&l->uv);
	assert(r == 0); /* something is still watched */
	(void)r;
	free(l);
}

void loop_run(struct loop *l)
{
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_poll(struct loop *l)
{
	(void)uv_run(&l->uv, UV_RUN_NOWAIT);
}

void loop_stop(struct loop *l)
{
	uv_stop(&l->uv);
}

static void on_poll(uv_poll_t *uv, int status, int events)
{
	struct loop_fd *w = (struct loop_fd *)uv;
	int ready = (events & UV_READABLE ? LOOP_READ : 0) |
		    (events & UV_WRITABLE ? LOOP_WRITE : 0);

	/* An error shows in the read or write that follows; libuv has stopped then. */
	if (status < 0)
		w->wanted = 0;
	w->on_ready(w->ctx, status < 0 ? LOOP_READ | LOOP_WRITE : ready);
}

int loop_watch(struct loop *l, int fd, int events, loop_fd_fn *on_ready, void *ctx,
	       struct loop_fd **ret, struct err *e)
{
	struct loop_fd *w = xcalloc(1, sizeof(*w));
	int r = uv_poll_init(&l->uv, &w->uv, fd);

	if (r < 0) {
		free(w);
		return err_set(e, -r, "watch descriptor %d: %s", fd, uv_strerror(r));
	}
	w->on_ready = on_ready;
	w->ctx = ctx;
	loop_want(w, events);
	*ret = w;
	return 0;
}

void loop_want(struct loop_fd *w, int events)
{
	int uv_events = (events & LOOP_READ ? UV_READABLE : 0) |
			(events & LOOP_WRITE ? UV_WRITABLE : 0);

	if (events == w->wanted)
		return;
	w->wanted = events;
	if (uv_events)
		(void)uv_poll_start(&w->uv, uv_events, on_poll);
	else
		(void)uv_poll_stop(&w->uv);
}

void loop_unwatch(struct loop_fd *w)
{
	if (!w)
		return;
	(void)uv_poll_stop(&w->uv);
	uv_close((uv_handle_t *)w, free_handle);
}

static void on_timer(uv_timer_t *uv)
{
	struct loop_timer *t = (struct loop_timer *)uv;

	t->fn(t->ctx);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *on_time, void *ctx)
{
	struct loop_timer *t = xcalloc(1, sizeof(*t));

	(void)uv_timer_init(&l->uv, &t->uv);
	t->fn = on_time;
	t->ctx = ctx;
	return t;
}

void loop_timer_set(struct loop_timer *t, int64_t delay_ms)
{
	uv_update_time(t->uv.loop);
	(void)uv_timer_start(&t->uv, on_timer, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
	return uv_is_active((const uv_handle_t *)&t->uv);
}

void loop_timer_stop(struct loop_timer *t)
{
	(void)uv_timer_stop(&t->uv);
}

void loop_timer_free(struct loop_timer *t)
{
	if (t)
		uv_close((uv_handle_t *)t, free_handle);
}

static void on_async(uv_async_t *uv)
{
	struct loop_wake *w = (struct loop_wake *)uv;

	w->fn(w->ctx);
}

struct loop_wake *loop_wake_new(struct loop *l, loop_fn *on_wake, void *ctx)
{
	struct loop_wake *w = xcalloc(1, sizeof(*w));
	int r = uv_async_init(&l->uv, &w->uv, on_async);

	assert(r == 0);
	(void)r;
	w->fn = on_wake;
	w->ctx = ctx;
	return w;
}

void loop_wake_send(struct loop_wake *w)
{
	(void)uv_async_send(&w->uv);
}

void loop_wake_free(struct loop_wake *w)
{
	if (w)
		uv_close((uv_handle_t *)w, free_handle);
}

static void do_work(uv_work_t *uv)
{
	struct loop_work *w = (struct loop_work *)uv;

	w->work(w->ctx);
}

static void work_is_done(uv_work_t *uv, int status)
{
	struct loop_work *w = (struct loop_work *)uv;

	(void)status; /* nothing is cancelled */
	w->loop->works--;
	w->on_done(w->ctx);
	free(w);
}

void loop_work(struct loop *l, loop_fn *work, loop_fn *on_done, void *ctx)
{
	struct loop_work *w = xcalloc(1, sizeof(*w));
	int r;

	w->loop = l;
	w->work = work;
	w->on_done = on_done;
	w->ctx = ctx;
	l->works++;
	r = uv_queue_work(&l->uv, &w->uv, do_work, work_is_done);
	assert(r == 0); /* only without a function to call */
	(void)r;
}

static void on_uv_signal(uv_signal_t *uv, int sig)
{
	struct loop_signal *s = (struct loop_signal *)uv;

	(void)sig;
	s->fn(s->ctx);
}

void loop_on_signal(struct loop *l, int sig, loop_fn *fn, void *ctx)
{
	struct loop_signal *s = xcalloc(1, sizeof(*s));
	int r = uv_signal_init(&l->uv, &s->uv);

	s->fn = fn;
	s->ctx = ctx;
	r = r ? r : uv_signal_start(&s->uv, on_uv_signal, sig);
	assert(r == 0);
	(void)r;
	uv_unref((uv_handle_t *)s);
}
