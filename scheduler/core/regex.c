/* scheduler/core/regex.c - patterns of the cluster query language
 * SPDX-License-Identifier: Apache-2.0
 *
 * A pattern becomes steps, and a text is read once, with the set of all steps
 * that could have come this far.  The C library's regcomp() and regexec() would
 * take hours for some patterns of a thousand characters, and the core is one thread.
 *
 * Jumps are relative, so that a part of the steps can be moved and repeated.
 */
#include "scheduler/core/regex.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STEPS_MAX  512
#define DEPTH_MAX  32
#define RANGES_MAX 64 /* of all sets of a pattern */
#define CHAR_MAX_  0x10ffffU

enum kind { STEP_CHAR, STEP_ANY, STEP_SET, STEP_SPLIT, STEP_JUMP, STEP_BEGIN, STEP_END, STEP_DONE };

struct range {
	uint32_t first, last;
};

struct step {
	enum kind kind;
	uint32_t c;         /* CHAR */
	uint16_t from, to;  /* SET: its ranges */
	bool negative;      /* SET */
	int16_t jump, also; /* SPLIT: both; JUMP: the first */
};

struct regex {
	size_t count;
	const struct step *steps;
	const struct range *ranges;
};

/* UTF-8; a byte that is none stands for itself. */
static uint32_t take_char(const char **at)
{
	const unsigned char first = (unsigned char)*(*at)++;
	int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;
	uint32_t c = more ? first & (0x3fU >> more) : first;

	for (; more && ((unsigned char)**at & 0xc0) == 0x80; more--)
		c = c << 6 | ((unsigned char)*(*at)++ & 0x3fU);
	return c;
}

/* ---- parse ---- */

struct parse {
	const char *at;
	unsigned depth;
	const char *why;
	size_t count, range_count;
	struct step steps[STEPS_MAX];
	struct range ranges[RANGES_MAX];
};

static bool wrong(struct parse *p, const char *why)
{
	p->why = why;
	return false;
}

static bool add_step(struct parse *p, struct step s)
{
	if (p->count == STEPS_MAX)
		return wrong(p, "the pattern is too long");
	p->steps[p->count++] = s;
	return true;
}

/* In front of the steps from 'at' on. */
static bool insert_step(struct parse *p, size_t at, struct step s)
{
	struct step *steps = p->steps;

	if (!add_step(p, s))
		return false;
	memmove(&steps[at + 1], &steps[at], (p->count - 1 - at) * sizeof(*steps));
	steps[at] = s;
	return true;
}

static bool add_range(struct parse *p, uint32_t first, uint32_t last)
{
	if (p->range_count == RANGES_MAX)
		return wrong(p, "the pattern has too many sets");
	p->ranges[p->range_count++] = (struct range){first, last};
	return true;
}

/* \d, \w, \s; upper-case: all others. */
static bool add_class(struct parse *p, char letter)
{
	static const struct {
		char letter;
		struct range ranges[4];
	} classes[] = {{'d', {{'0', '9'}}},
		       {'s', {{'\t', '\r'}, {' ', ' '}}},
		       {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}}};
	const bool others = isupper((unsigned char)letter);
	uint32_t next = 0;

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if (classes[i].letter != tolower((unsigned char)letter))
			continue;
		for (size_t k = 0; k < 4 && classes[i].ranges[k].last; k++) {
			const struct range *x = &classes[i].ranges[k];

			if (others ? !add_range(p, next, x->first - 1)
				   : !add_range(p, x->first, x->last))
				return false;
			next = x->last + 1;
		}
	}
	return !others || add_range(p, next, CHAR_MAX_);
}

/* Behind a backslash: a class, then *ret_class is its letter, or a character. */
static bool take_escape(struct parse *p, char *ret_class, uint32_t *ret)
{
	static const char controls[] = "t\tn\nr\rf\f";
	const char letter = *p->at;
	const char *control;

	*ret_class = '\0';
	if (!letter)
		return wrong(p, "nothing is behind the backslash");
	*ret = take_char(&p->at);
	if (!isalnum((unsigned char)letter))
		return true;
	if (strchr("dDwWsS", letter)) {
		*ret_class = letter;
		return true;
	}
	control = strchr(controls, letter);
	if (!control)
		return wrong(p, "a letter or digit behind a backslash that is not one of d, D, w, "
				"W, s, S, t, n, r, f");
	*ret = (unsigned char)control[1];
	return true;
}

/* A character or a range of a set. */
static bool take_member(struct parse *p)
{
	uint32_t first, last;
	char class = '\0';

	if (*p->at == '[' || strncmp(p->at, "&&", 2) == 0)
		return wrong(p, "sets of sets are not supported");
	first = take_char(&p->at);
	if (first == '\\' && !take_escape(p, &class, &first))
		return false;
	if (class)
		return add_class(p, class);
	if (p->at[0] != '-' || p->at[1] == ']' || !p->at[1])
		return add_range(p, first, first);
	p->at++;
	if (*p->at == '[')
		return wrong(p, "sets of sets are not supported");
	last = take_char(&p->at);
	if (last == '\\' && !take_escape(p, &class, &last))
		return false;
	if (class || last < first)
		return wrong(p, "a range ends before it begins");
	return add_range(p, first, last);
}

/* Behind '['. */
static bool parse_set(struct parse *p)
{
	struct step s = {.kind = STEP_SET, .from = (uint16_t)p->range_count};

	if (*p->at == '^') {
		s.negative = true;
		p->at++;
	}
	do {
		if (!*p->at)
			return wrong(p, "the set has no end");
		if (!take_member(p))
			return false;
	} while (*p->at != ']');
	p->at++;
	s.to = (uint16_t)p->range_count;
	return add_step(p, s);
}

static bool parse_either(struct parse *p);

/* Behind '('. */
static bool parse_group(struct parse *p)
{
	if (strncmp(p->at, "?:", 2) == 0)
		p->at += 2;
	else if (*p->at == '?')
		return wrong(p, "of groups that begin with '?' only (?: ) is supported");
	if (++p->depth > DEPTH_MAX)
		return wrong(p, "too many groups in each other");
	if (!parse_either(p))
		return false;
	p->depth--;
	if (*p->at != ')')
		return wrong(p, "the group has no end");
	p->at++;
	return true;
}

static bool parse_escape(struct parse *p)
{
	struct step s = {.kind = STEP_CHAR, .from = (uint16_t)p->range_count};
	char class;

	if (!take_escape(p, &class, &s.c))
		return false;
	if (class) {
		s.kind = STEP_SET;
		if (!add_class(p, class))
			return false;
		s.to = (uint16_t)p->range_count;
	}
	return add_step(p, s);
}

static bool parse_atom(struct parse *p)
{
	const uint32_t c = take_char(&p->at);

	switch (c) {
	case '(':
		return parse_group(p);
	case '[':
		return parse_set(p);
	case '\\':
		return parse_escape(p);
	case '.':
		return add_step(p, (struct step){.kind = STEP_ANY});
	case '^':
		return add_step(p, (struct step){.kind = STEP_BEGIN});
	case '$':
		return add_step(p, (struct step){.kind = STEP_END});
	case '*':
	case '+':
	case '?':
	case '{':
		return wrong(p, "nothing stands before the repetition");
	default:
		return add_step(p, (struct step){.kind = STEP_CHAR, .c = c});
	}
}

/* ---- repetition ---- */

#define UNBOUNDED UINT32_MAX

static bool take_number(struct parse *p, uint32_t *ret)
{
	if (!isdigit((unsigned char)*p->at))
		return wrong(p, "a number is missing in the braces");
	for (*ret = 0; isdigit((unsigned char)*p->at); p->at++)
		if ((*ret = *ret * 10 + (uint32_t)(*p->at - '0')) > STEPS_MAX)
			return wrong(p, "the repetition is too long");
	return true;
}

/* How often; false with no 'why': once, there is no repetition. */
static bool take_repetition(struct parse *p, uint32_t *ret_least, uint32_t *ret_most)
{
	*ret_least = *p->at == '+';
	*ret_most = *p->at == '?' ? 1 : UNBOUNDED;
	if (!*p->at || !strchr("*+?{", *p->at))
		return false;
	if (*p->at++ == '{') {
		if (!take_number(p, ret_least))
			return false;
		*ret_most = *ret_least;
		if (*p->at == ',') {
			p->at++;
			*ret_most = UNBOUNDED;
			if (*p->at != '}' && !take_number(p, ret_most))
				return false;
		}
		if (*p->at++ != '}')
			return wrong(p, "the braces have no end");
		if (*ret_most < *ret_least)
			return wrong(p, "the repetition ends before it begins");
	}
	if (*p->at == '?') /* the shortest: it is the same for a whole text */
		p->at++;
	if (*p->at && strchr("*+?{", *p->at))
		return wrong(p, "a repetition is repeated, or possessive");
	return true;
}

static bool copy_steps(struct parse *p, const struct step *from, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!add_step(p, from[i]))
			return false;
	return true;
}

/* The steps from 'start' on, so often. */
static bool repeat(struct parse *p, size_t start, uint32_t least, uint32_t most)
{
	struct step atom[STEPS_MAX];
	const size_t count = p->count - start;

	memcpy(atom, &p->steps[start], count * sizeof(*atom));
	p->count = start;
	for (uint32_t i = 0; count && i < least; i++)
		if (!copy_steps(p, atom, count))
			return false;
	if (most == UNBOUNDED && least) /* back to the last of them */
		return add_step(
			p, (struct step){.kind = STEP_SPLIT, .jump = (int16_t)-count, .also = 1});
	if (most == UNBOUNDED)
		return add_step(p, (struct step){.kind = STEP_SPLIT,
						 .jump = 1,
						 .also = (int16_t)(count + 2)}) &&
		       copy_steps(p, atom, count) &&
		       add_step(p,
				(struct step){.kind = STEP_JUMP, .jump = (int16_t) - (count + 1)});
	for (uint32_t i = least; count && i < most; i++)
		if (!add_step(p, (struct step){.kind = STEP_SPLIT,
					       .jump = 1,
					       .also = (int16_t)(count + 1)}) ||
		    !copy_steps(p, atom, count))
			return false;
	return true;
}

/* ---- sequences and alternatives ---- */

static bool parse_sequence(struct parse *p)
{
	uint32_t least, most;

	while (*p->at && *p->at != '|' && *p->at != ')') {
		size_t start = p->count;

		if (!parse_atom(p))
			return false;
		if (take_repetition(p, &least, &most) ? !repeat(p, start, least, most)
						      : p->why != NULL)
			return false;
	}
	return true;
}

static bool parse_either(struct parse *p)
{
	const size_t start = p->count;
	size_t left;

	if (!parse_sequence(p))
		return false;
	if (*p->at != '|')
		return true;
	p->at++;
	left = p->count - start;
	if (!insert_step(
		    p, start,
		    (struct step){.kind = STEP_SPLIT, .jump = 1, .also = (int16_t)(left + 2)}) ||
	    !add_step(p, (struct step){.kind = STEP_JUMP}))
		return false;
	left = p->count - 1; /* the jump over what comes now */
	if (!parse_either(p))
		return false;
	p->steps[left].jump = (int16_t)(p->count - left);
	return true;
}

static const void *keep(struct arena *a, const void *array, size_t size)
{
	return size ? memcpy(arena_alloc(a, size), array, size) : NULL;
}

const struct regex *regex_parse(const char *pattern, struct arena *a, const char **ret_why)
{
	struct parse p = {.at = pattern};
	struct regex *r;

	if (parse_either(&p) && *p.at)
		(void)wrong(&p, "a parenthesis ends that did not begin");
	if (!p.why)
		(void)add_step(&p, (struct step){.kind = STEP_DONE});
	*ret_why = p.why;
	if (p.why)
		return NULL;
	r = arena_alloc(a, sizeof(*r));
	*r = (struct regex){p.count, keep(a, p.steps, p.count * sizeof(p.steps[0])),
			    keep(a, p.ranges, p.range_count * sizeof(p.ranges[0]))};
	return r;
}

size_t regex_size(const struct regex *r)
{
	return r->count;
}

/* ---- match ---- */

struct run {
	const struct regex *r;
	uint16_t list[STEPS_MAX];
	size_t count;
	bool in[STEPS_MAX];
};

/* The step, and all that are reached from it without a character. */
static void reach(struct run *run, size_t at, bool first, bool last)
{
	const struct step *s = &run->r->steps[at];

	if (run->in[at])
		return;
	run->in[at] = true;
	run->list[run->count++] = (uint16_t)at;
	if (s->kind == STEP_SPLIT)
		reach(run, (size_t)((ptrdiff_t)at + s->also), first, last);
	if (s->kind == STEP_SPLIT || s->kind == STEP_JUMP)
		reach(run, (size_t)((ptrdiff_t)at + s->jump), first, last);
	if ((s->kind == STEP_BEGIN && first) || (s->kind == STEP_END && last))
		reach(run, at + 1, first, last);
}

static bool in_set(const struct regex *r, const struct step *s, uint32_t c)
{
	for (size_t i = s->from; i < s->to; i++)
		if (c >= r->ranges[i].first && c <= r->ranges[i].last)
			return !s->negative;
	return s->negative;
}

static bool takes(const struct regex *r, const struct step *s, uint32_t c)
{
	switch (s->kind) {
	case STEP_CHAR:
		return s->c == c;
	case STEP_ANY:
		return c != '\n';
	case STEP_SET:
		return in_set(r, s, c);
	case STEP_SPLIT:
	case STEP_JUMP:
	case STEP_BEGIN:
	case STEP_END:
	case STEP_DONE:
		return false;
	}
	return false;
}

bool regex_matches(const struct regex *r, const char *text)
{
	struct run runs[2] = {{.r = r}, {.r = r}}, *now = &runs[0], *next = &runs[1];

	reach(now, 0, true, !*text);
	while (*text && now->count) {
		const uint32_t c = take_char(&text);
		struct run *done = now;

		next->count = 0;
		memset(next->in, 0, r->count * sizeof(next->in[0]));
		for (size_t i = 0; i < now->count; i++)
			if (takes(r, &r->steps[now->list[i]], c))
				reach(next, now->list[i] + 1U, false, !*text);
		now = next;
		next = done;
	}
	return now->count && now->in[r->count - 1];
}
