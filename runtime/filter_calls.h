/* runtime/filter_calls.h - system calls by name, on each architecture
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The columns of syscalls.tsv. */
enum filter_column {
	COLUMN_X86,
	COLUMN_X86_64,
	COLUMN_X32,
	COLUMN_ARM,
	COLUMN_AARCH64,
	COLUMN_MIPS,
	COLUMN_MIPS64,
	COLUMN_MIPS64N32,
	COLUMN_PARISC,
	COLUMN_PARISC64,
	COLUMN_PPC,
	COLUMN_PPC64,
	COLUMN_RISCV64,
	COLUMN_S390,
	COLUMN_S390X,
	COLUMN_COUNT
};

/* Made from syscalls.tsv, sorted by name; -1: no such call.  No pointers: nothing to relocate. */
struct filter_call {
	char name[28];
	int32_t number[COLUMN_COUNT];
};
extern const struct filter_call filter_calls[];
extern const unsigned filter_call_count;

#define FILTER_X32_BIT 0x40000000u

struct filter_arch {
	const char *name;
	uint32_t audit; /* AUDIT_ARCH_*; x32 has that of x86_64 */
	enum filter_column column;
	uint32_t bit; /* in each of its numbers */
	bool narrow;  /* its arguments have 32 bits */
};
#define FILTER_ARCHES_MAX 20
extern const struct filter_arch filter_arches[];
extern const size_t filter_arch_count;

const struct filter_arch *filter_arch_find(const char *name);
/* NULL: that of this machine is not known. */
const struct filter_arch *filter_arch_native(void);
/* Can a call of this architecture be seen on this machine?  Not when its bytes are the other way. */
bool filter_arch_is_possible(const struct filter_arch *a);

/* NULL: the name is unknown. */
const struct filter_call *filter_call_find(const char *name);

/*
 * Old architectures have one call for all of sockets, and one for System V
 * IPC; what is meant is its first argument.  Returns the number of that call
 * and the argument that means 'c', or -1: it is not reached so.
 */
int32_t filter_call_behind(const struct filter_call *c, enum filter_column column,
			   uint32_t *ret_first);
