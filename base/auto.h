/* base/auto.h - ownership by scope
 * SPDX-License-Identifier: Apache-2.0
 *
 * A local that owns something is declared with one of these and always given a
 * value at its declaration; the scope lets go of it on every path.  Handing it
 * over is take_: one owner is left.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define auto_call(fn) __attribute__((cleanup(fn)))
#define auto_free     auto_call(auto_free_)
#define auto_close    auto_call(auto_close_)
#define auto_fclose   auto_call(auto_fclose_)
#define auto_closedir auto_call(auto_closedir_)

/* Define auto_NAME_() for a type that is freed by fn(pointer). */
#define AUTO_DEFINE(name, type, fn)      \
	static inline void name(type *p) \
	{                                \
		if (*p)                  \
			fn(*p);          \
	}

static inline void auto_free_(void *p)
{
	free(*(void **)p);
}

static inline void auto_close_(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd); /* nothing is left to do about a failure here */
}

AUTO_DEFINE(auto_fclose_, FILE *, fclose)
AUTO_DEFINE(auto_closedir_, DIR *, closedir)

static inline int take_fd_(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}
#define take_fd(fd) take_fd_(&(fd))

#define take_ptr(p)                            \
	({                                     \
		__typeof__(p) take_ptr_ = (p); \
		(p) = NULL;                    \
		take_ptr_;                     \
	})

/* Close what *fd holds, if anything, and leave -1. */
static inline void close_fd(int *fd)
{
	auto_close_(fd);
	*fd = -1;
}

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
