/* runtime/filter.h - the system call filter of a container
 * SPDX-License-Identifier: Apache-2.0
 *
 * linux.seccomp becomes a program of the kernel's classic BPF machine:
 *
 *   filter_profile.c  read and checked       filter_calls.c    names and numbers
 *   filter_compile.c  what is asked, when    filter_program.c  instructions
 *   filter_cache.c    kept by the text that it was made from
 */
#pragma once

#include <jansson.h>
#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FILTER_INSNS_MAX 4096 /* the kernel's BPF_MAXINSNS */

struct filter {
	struct sock_filter *insns; /* NULL: no filter */
	uint32_t count;
	uint32_t flags; /* SECCOMP_FILTER_FLAG_* */
};

void filter_done(struct filter *f);
#define auto_filter __attribute__((cleanup(filter_done)))

/* filter_compile.c */
int filter_compile(const json_t *seccomp, struct filter *ret, struct err *e);

/*
 * filter_cache.c: the same, from the file that it names (runtime_compile_seccomp),
 * or from one below 'state_fd' when the same text was compiled before by this
 * version on this kernel.
 */
int filter_get(int state_fd, const json_t *seccomp, struct filter *ret, struct err *e);

/* A filter in a file of its own, for those who exec into the container later. */
int filter_save(int dir_fd, const char *name, const struct filter *f, struct err *e);
/* An absent file is no filter. */
int filter_load_file(int dir_fd, const char *name, struct filter *ret, struct err *e);

/* seccomp(2) on ourselves.  With SECCOMP_FILTER_FLAG_NEW_LISTENER it returns the listener. */
int filter_install(const struct filter *f, struct err *e);

/* The seccomp part of `features`; the caller's. */
json_t *filter_features(void);
