/* base/loop.h - the event loop of a daemon (libuv)
 * SPDX-License-Identifier: Apache-2.0
 *
 * One loop, one thread: every callback runs in it, but for the work given to
 * loop_work().  Only loop_wake_send() may be called from elsewhere.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_wake;

struct loop *loop_new(void);
/* Everything watched must have been freed before. */
void loop_free(struct loop *l);
void loop_run(struct loop *l); /* until loop_stop */
void loop_stop(struct loop *l);
/* Run what is ready and come back. */
void loop_poll(struct loop *l);

/* Call on_ready while 'fd' (borrowed; unwatch before closing it) is ready for what was asked. */
enum { LOOP_READ = 1, LOOP_WRITE = 2 };
typedef void loop_fd_fn(void *ctx, int events);
int loop_watch(struct loop *l, int fd, int events, loop_fd_fn *on_ready, void *ctx,
	       struct loop_fd **ret, struct err *e);
void loop_want(struct loop_fd *w, int events); /* change what is asked for */
void loop_unwatch(struct loop_fd *w);          /* NULL is fine */

typedef void loop_fn(void *ctx);

/* A timer is born stopped; setting it again moves it. */
struct loop_timer *loop_timer_new(struct loop *l, loop_fn *on_time, void *ctx);
void loop_timer_set(struct loop_timer *t, int64_t delay_ms);
bool loop_timer_is_set(const struct loop_timer *t);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* NULL is fine */

/* From any thread: 'on_wake' runs in the loop soon; several sends may become one call. */
struct loop_wake *loop_wake_new(struct loop *l, loop_fn *on_wake, void *ctx);
void loop_wake_send(struct loop_wake *w);
void loop_wake_free(struct loop_wake *w);

/*
 * What takes long: 'work' runs on a thread of a small pool, with nothing but
 * 'ctx' to use; then the loop calls 'on_done'.  loop_free() waits for both.
 */
void loop_work(struct loop *l, loop_fn *work, loop_fn *on_done, void *ctx);

/* For the life of the loop. */
void loop_on_signal(struct loop *l, int sig, loop_fn *on_signal, void *ctx);
