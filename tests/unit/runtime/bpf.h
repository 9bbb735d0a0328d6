/* tests/unit/runtime/bpf.h - an interpreter of what filters are made of
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <linux/seccomp.h>
#include <string.h>

#include "runtime/filter.h"
#include "tests/unit/unit.h"

/* What the kernel would do with this call. */
static inline uint32_t bpf_run(const struct sock_filter *insns, uint32_t count,
			       const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct sock_filter *n = &insns[i];
		bool yes = false;

		switch (n->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(n->k % 4 == 0 && n->k + 4 <= sizeof(*data));
			memcpy(&a, (const char *)data + n->k, 4);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= n->k;
			continue;
		case BPF_RET | BPF_K:
			return n->k;
		case BPF_JMP | BPF_JA:
			i += n->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == n->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > n->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= n->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			yes = a & n->k;
			break;
		default:
			fail_msg("instruction %u has code %x", i, n->code);
		}
		i += yes ? n->jt : n->jf;
	}
	fail_msg("the program has no end");
	return 0;
}
