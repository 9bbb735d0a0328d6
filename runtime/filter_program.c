/* runtime/filter_program.c - writing a program of classic BPF
 * SPDX-License-Identifier: Apache-2.0
 *
 * A conditional jump reaches 255 instructions.  What is farther away is reached
 * by a stepping stone just behind the jump: a copy of the target where that is
 * a return, else a long jump.
 */
#include "runtime/filter_program.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"

#define REACH 255

void program_init(struct program *p)
{
	*p = (struct program){.insns = xcalloc(FILTER_INSNS_MAX, sizeof(struct sock_filter))};
}

void program_done(struct program *p)
{
	free(p->insns);
	*p = (struct program){0};
}

static program_place put(struct program *p, struct sock_filter insn)
{
	if (p->count == FILTER_INSNS_MAX) {
		p->overflow = true;
		return p->count;
	}
	p->insns[p->count++] = insn;
	return p->count;
}

static const struct sock_filter *at(const struct program *p, program_place place)
{
	return &p->insns[place - 1];
}

/* How many instructions one put now would have to pass over. */
static uint32_t distance(const struct program *p, program_place to)
{
	return p->count - to;
}

program_place program_return(struct program *p, uint32_t value)
{
	uint32_t low = p->count > REACH ? p->count - REACH : 0;

	for (program_place i = p->count; i > low; i--) /* one is near enough */
		if (at(p, i)->code == (BPF_RET | BPF_K) && at(p, i)->k == value)
			return i;
	return put(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value));
}

static program_place stepping_stone(struct program *p, program_place to)
{
	if (at(p, to)->code == (BPF_RET | BPF_K))
		return program_return(p, at(p, to)->k);
	return put(p, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, distance(p, to)));
}

/* What follows must be right behind. */
static void go_on_at(struct program *p, program_place to)
{
	if (to != p->count)
		(void)put(p, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, distance(p, to)));
}

program_place program_load(struct program *p, uint32_t offset, program_place then)
{
	go_on_at(p, then);
	return put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

program_place program_and(struct program *p, uint32_t mask, program_place then)
{
	if (mask == UINT32_MAX)
		return then;
	go_on_at(p, then);
	return put(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
}

program_place program_jump(struct program *p, uint16_t op, uint32_t value, program_place yes,
			   program_place no)
{
	if (yes == no)
		return yes;
	/* A stone for one pushes the other farther away by one. */
	if (distance(p, yes) >= REACH)
		yes = stepping_stone(p, yes);
	if (distance(p, no) > REACH)
		no = stepping_stone(p, no);
	return put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | op | BPF_K, value,
						   (uint8_t)distance(p, yes),
						   (uint8_t)distance(p, no)));
}

/* One value in the middle of what has the same target on both sides. */
static bool is_hole(const struct program_span *spans, size_t count)
{
	return count == 3 && spans[0].then == spans[2].then && spans[1].first + 1 == spans[2].first;
}

program_place program_search(struct program *p, const struct program_span *spans, size_t count)
{
	size_t half = count / 2;
	program_place above, below;

	if (count == 1)
		return spans[0].then;
	if (is_hole(spans, count))
		return program_jump(p, BPF_JEQ, spans[1].first, spans[1].then, spans[0].then);
	above = program_search(p, spans + half, count - half);
	below = program_search(p, spans, half);
	return program_jump(p, BPF_JGE, spans[half].first, above, below);
}

int program_finish(struct program *p, program_place begin, struct filter *ret, struct err *e)
{
	struct sock_filter *insns;

	go_on_at(p, begin);
	if (p->overflow)
		return err_set(e, E2BIG, "more than %d instructions", FILTER_INSNS_MAX);
	insns = xcalloc(p->count, sizeof(*insns));
	for (uint32_t i = 0; i < p->count; i++)
		insns[i] = p->insns[p->count - 1 - i];
	*ret = (struct filter){.insns = insns, .count = p->count};
	return 0;
}
