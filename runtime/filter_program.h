/* runtime/filter_program.h - writing a program of classic BPF
 * SPDX-License-Identifier: Apache-2.0
 *
 * Such a program jumps forwards only, and not far.  It is written from its end
 * to its beginning, so that each place is known before something jumps to it.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "runtime/filter.h"

/* A place: how many instructions there are from it to the end. */
typedef uint32_t program_place;

struct program {
	struct sock_filter *insns; /* the last one first */
	uint32_t count;
	bool overflow; /* more than FILTER_INSNS_MAX: all else is pretence */
};

void program_init(struct program *p);
void program_done(struct program *p);
#define auto_program __attribute__((cleanup(program_done)))

/* Each puts something in front of what is there, and returns its place. */

program_place program_return(struct program *p, uint32_t value);
/* 'offset': in struct seccomp_data. */
program_place program_load(struct program *p, uint32_t offset, program_place then);
program_place program_and(struct program *p, uint32_t mask, program_place then);
/* BPF_JEQ, BPF_JGT, BPF_JGE. */
program_place program_jump(struct program *p, uint16_t op, uint32_t value, program_place yes,
			   program_place no);

/* From 'first' to before the next one's first. */
struct program_span {
	uint32_t first;
	program_place then;
};
/* What is loaded decides: spans[0].first is 0, and each is above the one before. */
program_place program_search(struct program *p, const struct program_span *spans, size_t count);

/* 'begin' is where it begins. */
int program_finish(struct program *p, program_place begin, struct filter *ret, struct err *e);
