/* runtime/filter_profile.h - linux.seccomp, read and checked
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/filter_calls.h"

#define FILTER_ARGS_MAX 6 /* a system call has no more */

/* (argument & mask) HOW value, or the contrary. */
struct filter_compare {
	unsigned arg;
	enum filter_how { FILTER_EQ, FILTER_GE, FILTER_GT } how;
	bool negate;
	uint64_t mask, value;
};

/* One call of a rule.  All its compares must hold. */
struct filter_rule {
	const struct filter_call *call;
	uint32_t action; /* SECCOMP_RET_* with its data */
	struct filter_compare compares[FILTER_ARGS_MAX];
	unsigned compare_count;
};

struct filter_profile {
	uint32_t default_action;
	uint32_t flags;                                      /* SECCOMP_FILTER_FLAG_* */
	const struct filter_arch *arches[FILTER_ARCHES_MAX]; /* the native one first */
	size_t arch_count;
	struct filter_rule *rules; /* in the order of the profile */
	size_t rule_count, rule_capacity;
};

int filter_profile_read(const json_t *seccomp, struct filter_profile *ret, struct err *e);
void filter_profile_done(struct filter_profile *p);
#define auto_filter_profile __attribute__((cleanup(filter_profile_done)))
