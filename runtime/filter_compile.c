/* runtime/filter_compile.c - linux.seccomp to a BPF program
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * A program asks for the architecture, then for the number by halves, and for a
 * few numbers then looks at arguments.  Numbers in a row that are decided the
 * same way are one span, so a profile of 400 calls is some 50 comparisons.
 *
 * 1. Of the rules for one call, the first without compares decides alone.  If
 *    there is none, the first whose compares all hold does, and else the
 *    default.  Rules whose action is the default are none.
 * 2. An architecture that the profile does not list kills.
 * 3. What is younger than the profile (above the highest number that it names)
 *    is answered with ENOSYS where the default is an errno: a libc that asks for
 *    such a call first falls back to an older one then; EPERM breaks it.
 * 4. On a machine with 32-bit arguments only the low half of a value counts.
 */
#include <assert.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "runtime/filter.h"
#include "runtime/filter_profile.h"
#include "runtime/filter_program.h"

#define BAD_ARCH     SECCOMP_RET_KILL_THREAD
#define PRIVATE_BASE 0xf0000 /* of ARM: far above all calls, and older than most */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { LOW_HALF = 0, HIGH_HALF = 4 };
#else
enum { LOW_HALF = 4, HIGH_HALF = 0 };
#endif

/* ---- arguments ---- */

static uint32_t offset_of(unsigned arg, uint32_t half)
{
	return (uint32_t)(offsetof(struct seccomp_data, args) + arg * sizeof(uint64_t) + half);
}

static uint32_t low(uint64_t v)
{
	return (uint32_t)v;
}

static uint32_t high(uint64_t v)
{
	return (uint32_t)(v >> 32);
}

static const uint16_t jump_of[] = {
	[FILTER_EQ] = BPF_JEQ, [FILTER_GE] = BPF_JGE, [FILTER_GT] = BPF_JGT};

static program_place put_half(struct program *p, const struct filter_compare *c, uint32_t half,
			      program_place yes, program_place no)
{
	uint32_t value = half == LOW_HALF ? low(c->value) : high(c->value);
	uint32_t mask = half == LOW_HALF ? low(c->mask) : high(c->mask);
	program_place jump;

	if (!mask && !value)
		return yes; /* nothing is asked of this half */
	jump = program_jump(p, jump_of[c->how], value, yes, no);
	return program_load(p, offset_of(c->arg, half), program_and(p, mask, jump));
}

static program_place put_compare(struct program *p, const struct filter_compare *c, bool narrow,
				 program_place if_true, program_place if_false)
{
	program_place yes = c->negate ? if_false : if_true, no = c->negate ? if_true : if_false;
	program_place below, jump;

	if (c->how == FILTER_EQ) {
		below = put_half(p, c, LOW_HALF, yes, no);
		return narrow ? below : put_half(p, c, HIGH_HALF, below, no);
	}
	below = program_jump(p, jump_of[c->how], low(c->value), yes, no);
	below = program_load(p, offset_of(c->arg, LOW_HALF), below);
	if (narrow)
		return below;
	jump = high(c->value) ? program_jump(p, BPF_JEQ, high(c->value), below, no) : below;
	jump = program_jump(p, BPF_JGT, high(c->value), yes, jump);
	return program_load(p, offset_of(c->arg, HIGH_HALF), jump);
}

/* ---- many values of one argument ---- */

/* All values from 'first' to 'last'. */
struct range {
	uint64_t first, last;
};

struct ranges {
	struct range *items;
	size_t count;
};

/* At most two for one compare. */
static void add_ranges(struct ranges *r, const struct filter_compare *c, uint64_t max)
{
	uint64_t v = c->value & max;
	/* What holds lies from 'first' to 'last'; the contrary is before and behind. */
	uint64_t first = c->how == FILTER_GT ? v + 1 : v, last = c->how == FILTER_EQ ? v : max;
	bool empty = c->how == FILTER_GT && v == max;

	if (!c->negate) {
		if (!empty)
			r->items[r->count++] = (struct range){first, last};
		return;
	}
	if (empty || first > 0)
		r->items[r->count++] = (struct range){0, empty ? max : first - 1};
	if (!empty && last < max)
		r->items[r->count++] = (struct range){last + 1, max};
}

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static void merge_ranges(struct ranges *r)
{
	size_t count = 0;

	if (!r->count)
		return;
	qsort(r->items, r->count, sizeof(*r->items), compare_ranges);
	for (size_t i = 1; i < r->count; i++) {
		struct range *last = &r->items[count];

		if (last->last != UINT64_MAX && r->items[i].first > last->last + 1)
			r->items[++count] = r->items[i];
		else if (r->items[i].last > last->last)
			last->last = r->items[i].last;
	}
	r->count = count + 1;
}

/* Are all values with a high half decided the same way?  Then *ret_in says how. */
static bool high_half_is_simple(const struct ranges *r, bool *ret_in)
{
	const struct range *last = r->count ? &r->items[r->count - 1] : NULL;

	*ret_in = last && last->last == UINT64_MAX && last->first <= 1ull << 32;
	return !last || *ret_in || last->last <= UINT32_MAX;
}

static program_place put_ranges(struct program *p, const struct ranges *r, program_place in,
				program_place out)
{
	auto_free struct program_span *spans = xcalloc(2 * r->count + 1, sizeof(*spans));
	size_t count = 0;

	if (!r->count || r->items[0].first)
		spans[count++] = (struct program_span){0, out};
	for (size_t i = 0; i < r->count && r->items[i].first <= UINT32_MAX; i++) {
		spans[count++] = (struct program_span){low(r->items[i].first), in};
		if (r->items[i].last < UINT32_MAX)
			spans[count++] = (struct program_span){low(r->items[i].last + 1), out};
	}
	return program_search(p, spans, count);
}

/* ---- the rules of one call ---- */

/* A call that a rule decides, as one architecture has it. */
struct use {
	uint32_t number;
	const struct filter_rule *rule;
	bool behind;    /* it is the argument 'first' of another call */
	uint32_t first; /* then its first argument is this one */
};

struct uses {
	struct use *items;
	size_t count, capacity;
};

static unsigned get_compares(const struct use *u, struct filter_compare ret[FILTER_ARGS_MAX + 1])
{
	unsigned count = 0;

	if (u->behind)
		ret[count++] = (struct filter_compare){.mask = UINT64_MAX, .value = u->first};
	/* The other's arguments are in memory, but the rule's own are looked at all the same. */
	for (unsigned i = 0; i < u->rule->compare_count; i++)
		if (!u->behind || u->rule->compares[i].arg)
			ret[count++] = u->rule->compares[i];
	return count;
}

/* One compare without a mask: such can be put together. */
static bool is_simple(const struct use *u, struct filter_compare ret[FILTER_ARGS_MAX + 1])
{
	return get_compares(u, ret) == 1 && ret[0].mask == UINT64_MAX;
}

/* How many of the last of uses[0..count) differ in their value only. */
static size_t count_alike(const struct use *uses, size_t count)
{
	struct filter_compare last[FILTER_ARGS_MAX + 1], c[FILTER_ARGS_MAX + 1];
	size_t n = 1;

	if (!is_simple(&uses[count - 1], last))
		return 1;
	while (n < count && is_simple(&uses[count - 1 - n], c) && c[0].arg == last[0].arg &&
	       uses[count - 1 - n].rule->action == uses[count - 1].rule->action)
		n++;
	return n;
}

/* False: they cannot be put together. */
static bool put_alike(struct program *p, const struct use *uses, size_t count, bool narrow,
		      program_place no, program_place *ret)
{
	auto_free struct range *items = xcalloc(2 * count, sizeof(*items));
	struct ranges r = {.items = items};
	struct filter_compare c[FILTER_ARGS_MAX + 1];
	program_place yes, below;
	bool high_in = false;

	for (size_t i = 0; i < count; i++) {
		(void)get_compares(&uses[i], c);
		add_ranges(&r, c, narrow ? UINT32_MAX : UINT64_MAX);
	}
	merge_ranges(&r);
	if (!narrow && !high_half_is_simple(&r, &high_in))
		return false;

	yes = program_return(p, uses[0].rule->action);
	below = put_ranges(p, &r, yes, no);
	if (below != yes && below != no)
		below = program_load(p, offset_of(c[0].arg, LOW_HALF), below);
	*ret = below;
	if (narrow)
		return true;
	below = program_jump(p, BPF_JEQ, 0, below, high_in ? yes : no);
	*ret = below == yes || below == no ? below
					   : program_load(p, offset_of(c[0].arg, HIGH_HALF), below);
	return true;
}

static program_place put_one(struct program *p, const struct use *u, bool narrow, program_place no)
{
	struct filter_compare c[FILTER_ARGS_MAX + 1];
	unsigned count = get_compares(u, c);
	program_place yes = program_return(p, u->rule->action);

	while (count--)
		yes = put_compare(p, &c[count], narrow, yes, no);
	return yes;
}

/* Rules with compares, from the last to the first: what does not hold goes on to what is there. */
static program_place put_chain(struct program *p, const struct use *uses, size_t count, bool narrow,
			       uint32_t otherwise)
{
	program_place no = program_return(p, otherwise);

	while (count) {
		size_t n = count_alike(uses, count);

		if (n == 1 || !put_alike(p, uses + count - n, n, narrow, no, &no)) {
			n = 1;
			no = put_one(p, &uses[count - 1], narrow, no);
		}
		count -= n;
	}
	return no;
}

/* ---- one architecture ---- */

static int compare_uses(const void *a, const void *b)
{
	const struct use *x = a, *y = b;

	if (x->number != y->number)
		return x->number < y->number ? -1 : 1;
	return x->rule < y->rule ? -1 : x->rule > y->rule; /* in the order of the profile */
}

static void add_use(struct uses *list, const struct use *u)
{
	list->items = xgrow(list->items, list->count, &list->capacity, sizeof(*list->items));
	list->items[list->count++] = *u;
}

static void collect_uses(const struct filter_profile *profile, const struct filter_arch *arch,
			 struct uses *ret)
{
	for (size_t i = 0; i < profile->rule_count; i++) {
		const struct filter_rule *rule = &profile->rules[i];
		struct use u = {.rule = rule};
		int32_t direct = rule->call->number[arch->column];
		int32_t behind = filter_call_behind(rule->call, arch->column, &u.first);

		if (direct >= 0) {
			u.number = (uint32_t)direct | arch->bit;
			add_use(ret, &u);
		}
		if (behind >= 0) {
			u.number = (uint32_t)behind | arch->bit;
			u.behind = true;
			add_use(ret, &u);
		}
	}
	if (ret->count)
		qsort(ret->items, ret->count, sizeof(*ret->items), compare_uses);
}

/* Of the calls that the profile names; 0: of none. */
static uint32_t highest_number(const struct uses *list)
{
	for (size_t i = list->count; i--;)
		if (list->items[i].number < PRIVATE_BASE && !list->items[i].behind)
			return list->items[i].number;
	return 0;
}

/* What is done with the calls of one AUDIT_ARCH_*, while it is put together. */
struct section {
	struct program *program;
	const struct filter_profile *profile;
	struct program_span *spans;
	size_t count, capacity;
	/* Where actions are, so that the same one is always the same place. */
	struct known {
		uint32_t action;
		program_place place;
	} * known;
	size_t known_count, known_capacity;
};

static program_place place_of(struct section *s, uint32_t action)
{
	for (size_t i = 0; i < s->known_count; i++)
		if (s->known[i].action == action)
			return s->known[i].place;
	s->known = xgrow(s->known, s->known_count, &s->known_capacity, sizeof(*s->known));
	s->known[s->known_count] = (struct known){.action = action,
						  .place = program_return(s->program, action)};
	return s->known[s->known_count++].place;
}

/* From this number on. */
static void add_span(struct section *s, uint32_t first, program_place then)
{
	if (s->count && s->spans[s->count - 1].first == first)
		s->count--;
	if (s->count && s->spans[s->count - 1].then == then)
		return;
	s->spans = xgrow(s->spans, s->count, &s->capacity, sizeof(*s->spans));
	s->spans[s->count++] = (struct program_span){first, then};
}

/* uses[0..count) are all for one number; those that do nothing are dropped. */
static program_place place_of_call(struct section *s, struct use *uses, size_t count, bool narrow)
{
	uint32_t otherwise = s->profile->default_action;
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (uses[i].rule->action == otherwise)
			continue;
		if (!uses[i].rule->compare_count && !uses[i].behind)
			return place_of(s, uses[i].rule->action);
		uses[kept++] = uses[i];
	}
	return kept ? put_chain(s->program, uses, kept, narrow, otherwise) : place_of(s, otherwise);
}

static bool young_are_unknown(const struct filter_profile *p)
{
	return (p->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
}

static void add_arch(struct section *s, const struct filter_arch *arch)
{
	__attribute__((cleanup(auto_free_))) struct use *items = NULL;
	struct uses list = {0};
	program_place otherwise = place_of(s, s->profile->default_action), young = otherwise;
	uint32_t highest = 0;

	collect_uses(s->profile, arch, &list);
	items = list.items;
	if (!arch->bit && young_are_unknown(s->profile))
		highest = highest_number(&list);
	if (highest)
		young = place_of(s, SECCOMP_RET_ERRNO | ENOSYS);

	add_span(s, arch->bit, otherwise);
	for (size_t i = 0, n; i < list.count; i += n) {
		uint32_t number = list.items[i].number;

		for (n = 1; i + n < list.count && list.items[i + n].number == number;)
			n++;
		add_span(s, number, place_of_call(s, &list.items[i], n, arch->narrow));
		add_span(s, number + 1, number >= highest ? young : otherwise);
	}
	add_span(s, arch->bit + FILTER_X32_BIT, otherwise);
}

/* Every architecture of the profile with this one's AUDIT_ARCH_*. */
static program_place put_section(struct program *p, const struct filter_profile *profile,
				 uint32_t audit)
{
	struct section s = {.program = p, .profile = profile};
	bool has_x32 = false;
	program_place begin;

	for (size_t i = 0; i < profile->arch_count; i++) {
		const struct filter_arch *a = profile->arches[i];

		if (a->audit == audit && !a->bit)
			add_arch(&s, a);
	}
	if (!s.count)
		add_span(&s, 0, place_of(&s, BAD_ARCH));
	for (size_t i = 0; i < profile->arch_count; i++)
		if (profile->arches[i]->audit == audit && profile->arches[i]->bit) {
			add_arch(&s, profile->arches[i]);
			has_x32 = true;
		}
	if (audit == filter_arch_find("SCMP_ARCH_X32")->audit && !has_x32) {
		add_span(&s, FILTER_X32_BIT, place_of(&s, BAD_ARCH));
		/* By -1 a tracer says that nothing is to be called. */
		add_span(&s, UINT32_MAX, place_of(&s, profile->default_action));
	}

	begin = program_search(p, s.spans, s.count);
	if (s.count > 1)
		begin = program_load(p, offsetof(struct seccomp_data, nr), begin);
	free(s.spans);
	free(s.known);
	return begin;
}

static bool is_first_of_its_kind(const struct filter_profile *profile, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (profile->arches[k]->audit == profile->arches[i]->audit)
			return false;
	return true;
}

/* ---- */

int filter_compile(const json_t *seccomp, struct filter *ret, struct err *e)
{
	auto_filter_profile struct filter_profile profile = {0};
	auto_program struct program p = {0};
	program_place sections[FILTER_ARCHES_MAX], begin;

	program_init(&p);
	if (filter_profile_read(seccomp, &profile, e) < 0)
		return err_wrap(e, "linux.seccomp");
	/* The native one last: nearest to the beginning. */
	for (size_t i = profile.arch_count; i--;)
		if (is_first_of_its_kind(&profile, i))
			sections[i] = put_section(&p, &profile, profile.arches[i]->audit);
	begin = program_return(&p, BAD_ARCH);
	for (size_t i = profile.arch_count; i--;)
		if (is_first_of_its_kind(&profile, i))
			begin = program_jump(&p, BPF_JEQ, profile.arches[i]->audit, sections[i],
					     begin);
	begin = program_load(&p, offsetof(struct seccomp_data, arch), begin);
	if (program_finish(&p, begin, ret, e) < 0)
		return err_wrap(e, "linux.seccomp");
	ret->flags = profile.flags;
	return 0;
}

void filter_done(struct filter *f)
{
	free(f->insns);
	*f = (struct filter){0};
}

int filter_install(const struct filter *f, struct err *e)
{
	struct sock_fprog program = {.len = (unsigned short)f->count, .filter = f->insns};
	int r = 0;

	if (f->insns)
		r = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, f->flags, &program);
	return r < 0 ? err_sys(e, "install the system call filter") : r;
}
