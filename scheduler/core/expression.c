/* scheduler/core/expression.c - the cluster query language
 * SPDX-License-Identifier: Apache-2.0
 *
 * A term holds when any value of its subject does; one with a negative operator
 * holds when the positive one does not, so also where there is no value.
 */
#include "scheduler/core/expression.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "base/text.h"

#define DEPTH_MAX     32
#define ARGUMENTS_MAX 100
#define PATTERNS_MAX  32

enum operator{ EQUALS, GREATER, GREATER_EQUAL, LESS, LESS_EQUAL, EXISTS, IN, MATCHES };

static const struct {
	const char *sign, *word; /* the longer signs come before those that they begin with */
	enum operator op;
	bool negative;
} operators[] = {
	{"!exists", "not_exists", EXISTS, true},
	{"!in", "not_in", IN, true},
	{"!=", "not_equals", EQUALS, true},
	{"!~", "not_matches", MATCHES, true},
	{"==", "equals", EQUALS, false},
	{"=~", "matches", MATCHES, false},
	{">=", "greater_than_equal", GREATER_EQUAL, false},
	{"<=", "less_than_equal", LESS_EQUAL, false},
	{">", "greater_than", GREATER, false},
	{"<", "less_than", LESS, false},
	{"exists", NULL, EXISTS, false},
	{"in", NULL, IN, false},
};

enum node_kind { NODE_TERM, NODE_AND, NODE_OR, NODE_NOT };

struct node {
	enum node_kind kind;
	struct node *left, *right; /* NOT: left only */
	/* NODE_TERM */
	char *subject;
	enum operator op;
	bool negative;
	char **arguments;
	size_t count;
	struct pattern *pattern;
};

struct expression {
	struct arena arena;
	struct node *root;
	struct pattern *patterns[PATTERNS_MAX]; /* of its terms */
	size_t pattern_count;
};

/* ---- values ---- */

/* "2018-06-18T22:28:28Z", with +HH:MM, without a zone, or a day alone. */
static bool parse_date(const char *text, double *ret)
{
	static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S",
					      "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

	for (size_t i = 0; i < ARRAY_COUNT(formats); i++) {
		struct tm tm = {0};
		const char *end = strptime(text, formats[i], &tm);
		unsigned hours, minutes;
		char sign;

		if (!end)
			continue;
		*ret = (double)timegm(&tm);
		end += strspn(end, ".0123456789"); /* parts of a second */
		if (!*end || strcmp(end, "Z") == 0)
			return true;
		if (sscanf(end, "%c%2u:%2u", &sign, &hours, &minutes) != 3 ||
		    (sign != '+' && sign != '-'))
			return false;
		*ret -= (sign == '+' ? 60.0 : -60.0) * (hours * 60.0 + minutes);
		return true;
	}
	return false;
}

static bool parse_number(const char *text, double *ret)
{
	char *end;

	*ret = strtod(text, &end);
	return *text && !*end && isfinite(*ret);
}

/* ---- parse ---- */

struct parse {
	const char *text, *at;
	unsigned depth;
	struct expression *expression;
	struct arena *arena; /* its */
	struct ecs_fault *fault;
};

static int wrong(struct parse *p, const char *what)
{
	return ecs_fault_set(p->fault, ECS_FAULT_INVALID_PARAMETER,
			     "Invalid expression at character %zu: %s: '%.100s'",
			     (size_t)(p->at - p->text) + 1, what, p->at);
}

static void skip_space(struct parse *p)
{
	while (isspace((unsigned char)*p->at))
		p->at++;
}

/* A sign as it stands, or a word that ends where it ends. */
static bool take(struct parse *p, const char *token)
{
	size_t len = strlen(token);

	skip_space(p);
	if (strncasecmp(p->at, token, len) != 0 ||
	    (isalpha((unsigned char)token[len - 1]) &&
	     (isalnum((unsigned char)p->at[len]) || (p->at[len] && strchr("_:-.", p->at[len])))))
		return false;
	p->at += len;
	return true;
}

static struct node *new_node(struct parse *p, enum node_kind kind, struct node *left,
			     struct node *right)
{
	struct node *n = arena_alloc(p->arena, sizeof(*n));

	*n = (struct node){.kind = kind, .left = left, .right = right};
	return n;
}

static struct node *parse_or(struct parse *p);

static char *take_quoted(struct parse *p)
{
	const char *end = strchr(p->at + 1, *p->at);
	char *text;

	if (!end) {
		(void)wrong(p, "the quote has no end");
		return NULL;
	}
	text = arena_strndup(p->arena, p->at + 1, (size_t)(end - p->at - 1));
	p->at = end + 1;
	return text;
}

/* One value: quoted, or up to what cannot be in it. */
static char *take_value(struct parse *p, const char *ends)
{
	size_t len;
	char *text;

	skip_space(p);
	if (*p->at == '\'' || *p->at == '"')
		return take_quoted(p);
	len = strcspn(p->at, ends);
	if (!len) {
		(void)wrong(p, "a value is missing");
		return NULL;
	}
	text = arena_strndup(p->arena, p->at, len);
	p->at += len;
	return text;
}

/* Of subjects that have values of one kind. */
static int check_value(struct parse *p, const struct node *n, const char *value)
{
	double ignored;

	if (strcmp(n->subject, "agentConnected") == 0 && strcasecmp(value, "true") != 0 &&
	    strcasecmp(value, "false") != 0)
		return wrong(p, "agentConnected is 'true' or 'false', before");
	if (strcmp(n->subject, "registeredAt") == 0 && !parse_date(value, &ignored))
		return wrong(p, "registeredAt is a date such as 2018-06-18T22:28:28Z, before");
	if (strcmp(n->subject, "runningTasksCount") == 0 && !parse_number(value, &ignored))
		return wrong(p, "runningTasksCount is a number, before");
	return 0;
}

static int take_list(struct parse *p, struct node *n)
{
	if (!take(p, "["))
		return wrong(p, "a list in brackets is missing");
	n->arguments = arena_alloc(p->arena, ARGUMENTS_MAX * sizeof(char *));
	do {
		char *value = take_value(p, ",] \t\r\n");

		if (!value)
			return -1;
		if (n->count == ARGUMENTS_MAX)
			return wrong(p, "the list is too long");
		if (check_value(p, n, value) < 0)
			return -1;
		n->arguments[n->count++] = value;
	} while (take(p, ","));
	return take(p, "]") ? 0 : wrong(p, "the list has no end");
}

/* A pattern may have parentheses of its own, and ends before one of the expression. */
static size_t pattern_len(const char *text)
{
	unsigned depth = 0;
	bool in_set = false;
	size_t n;

	for (n = 0; text[n] && !isspace((unsigned char)text[n]); n++) {
		if (text[n] == '\\' && text[n + 1])
			n++;
		else if (in_set)
			in_set = text[n] != ']';
		else if (text[n] == '[')
			in_set = true;
		else if (text[n] == '(')
			depth++;
		else if (text[n] == ')' && !depth--)
			break;
	}
	return n;
}

static int take_pattern(struct parse *p, struct node *n)
{
	struct expression *x = p->expression;
	struct err e = {0};
	char *text;

	skip_space(p);
	if (*p->at == '\'' || *p->at == '"') {
		text = take_quoted(p);
		if (!text)
			return -1;
	} else {
		size_t len = pattern_len(p->at);

		if (!len)
			return wrong(p, "a pattern is missing");
		text = arena_strndup(p->arena, p->at, len);
		p->at += len;
	}
	if (x->pattern_count == PATTERNS_MAX)
		return wrong(p, "too many patterns, before");
	if (pattern_parse(text, &n->pattern, &e) < 0)
		return ecs_fault_set(p->fault, ECS_FAULT_INVALID_PARAMETER,
				     "Invalid expression: the pattern '%.100s': %s", text, e.msg);
	x->patterns[x->pattern_count++] = n->pattern;
	return 0;
}

static int take_argument(struct parse *p, struct node *n)
{
	if (n->op == EXISTS)
		return 0;
	if (n->op == IN)
		return take_list(p, n);
	if (n->op == MATCHES)
		return take_pattern(p, n);
	n->arguments = arena_alloc(p->arena, sizeof(char *));
	n->arguments[0] = take_value(p, ") \t\r\n");
	n->count = 1;
	return n->arguments[0] ? check_value(p, n, n->arguments[0]) : -1;
}

static bool is_subject(const char *text)
{
	static const char *const plain[] = {"agentConnected", "agentVersion",      "ec2InstanceId",
					    "registeredAt",   "runningTasksCount", "task:group"};

	for (size_t i = 0; i < ARRAY_COUNT(plain); i++)
		if (strcmp(plain[i], text) == 0)
			return true;
	return str_starts(text, "attribute:") && text[strlen("attribute:")];
}

static struct node *parse_term(struct parse *p)
{
	struct node *n = new_node(p, NODE_TERM, NULL, NULL);
	size_t len;

	skip_space(p);
	len = strcspn(p->at, " \t\r\n=!<>()[],'\"");
	n->subject = arena_strndup(p->arena, p->at, len);
	if (!is_subject(n->subject)) {
		(void)wrong(p, "this is not a subject");
		return NULL;
	}
	p->at += len;
	for (size_t i = 0; i < ARRAY_COUNT(operators); i++) {
		if (!take(p, operators[i].sign) &&
		    !(operators[i].word && take(p, operators[i].word)))
			continue;
		n->op = operators[i].op;
		n->negative = operators[i].negative;
		return take_argument(p, n) < 0 ? NULL : n;
	}
	(void)wrong(p, "an operator is missing");
	return NULL;
}

static struct node *parse_unary(struct parse *p)
{
	struct node *n = NULL;

	if (++p->depth > DEPTH_MAX) {
		(void)wrong(p, "too deep");
		return NULL;
	}
	if (take(p, "not") || take(p, "!")) {
		n = parse_unary(p);
		n = n ? new_node(p, NODE_NOT, n, NULL) : NULL;
	} else if (take(p, "(")) {
		n = parse_or(p);
		if (n && !take(p, ")")) {
			(void)wrong(p, "the parenthesis has no end");
			n = NULL;
		}
	} else {
		n = parse_term(p);
	}
	p->depth--;
	return n;
}

static struct node *parse_and(struct parse *p)
{
	struct node *left = parse_unary(p), *right;

	while (left && (take(p, "and") || take(p, "&&"))) {
		right = parse_unary(p);
		left = right ? new_node(p, NODE_AND, left, right) : NULL;
	}
	return left;
}

static struct node *parse_or(struct parse *p)
{
	struct node *left = parse_and(p), *right;

	while (left && (take(p, "or") || take(p, "||"))) {
		right = parse_and(p);
		left = right ? new_node(p, NODE_OR, left, right) : NULL;
	}
	return left;
}

struct expression *expression_parse(const char *text, struct ecs_fault *f)
{
	struct expression *x;
	struct parse p;

	if (strlen(text) > EXPRESSION_LEN_MAX) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "An expression has at most %d characters.", EXPRESSION_LEN_MAX);
		return NULL;
	}
	x = xcalloc(1, sizeof(*x));
	p = (struct parse){
		.text = text, .at = text, .expression = x, .arena = &x->arena, .fault = f};
	x->root = parse_or(&p);
	skip_space(&p);
	if (x->root && *p.at) {
		(void)wrong(&p, "the end is expected");
		expression_free(x);
		return NULL;
	}
	if (!x->root) {
		expression_free(x);
		return NULL;
	}
	return x;
}

void expression_free(struct expression *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->pattern_count; i++)
		pattern_free(x->patterns[i]);
	arena_done(&x->arena);
	free(x);
}

/* ---- hold ---- */

/* Part by part as numbers: 1.9.0 is before 1.10.0. */
static int compare_versions(const char *a, const char *b)
{
	while (*a || *b) {
		char *a_end, *b_end;
		unsigned long x = strtoul(a, &a_end, 10), y = strtoul(b, &b_end, 10);

		if (x != y)
			return x < y ? -1 : 1;
		a = *a_end ? a_end + 1 : a_end;
		b = *b_end ? b_end + 1 : b_end;
	}
	return 0;
}

static int compare(const char *subject, const char *a, const char *b)
{
	double x, y;

	if (strcmp(subject, "agentVersion") == 0)
		return compare_versions(a, b);
	if (strcmp(subject, "registeredAt") == 0 ? parse_date(a, &x) && parse_date(b, &y)
						 : parse_number(a, &x) && parse_number(b, &y))
		return (x > y) - (x < y);
	return strcmp(subject, "agentConnected") == 0 ? strcasecmp(a, b) : strcmp(a, b);
}

static bool value_fits(const struct node *n, const char *value)
{
	switch (n->op) {
	case EXISTS:
		return true;
	case MATCHES:
		return pattern_matches(n->pattern, value);
	case EQUALS:
	case IN:
		for (size_t i = 0; i < n->count; i++)
			if (compare(n->subject, value, n->arguments[i]) == 0)
				return true;
		return false;
	case GREATER:
		return compare(n->subject, value, n->arguments[0]) > 0;
	case GREATER_EQUAL:
		return compare(n->subject, value, n->arguments[0]) >= 0;
	case LESS:
		return compare(n->subject, value, n->arguments[0]) < 0;
	case LESS_EQUAL:
		return compare(n->subject, value, n->arguments[0]) <= 0;
	}
	return false;
}

struct search {
	const struct node *term;
	bool found;
};

static void see(void *ctx, const char *value)
{
	struct search *s = ctx;

	s->found |= value_fits(s->term, value);
}

static bool holds(const struct node *n, expression_each *each, const void *object)
{
	struct search s = {.term = n};

	switch (n->kind) {
	case NODE_AND:
		return holds(n->left, each, object) && holds(n->right, each, object);
	case NODE_OR:
		return holds(n->left, each, object) || holds(n->right, each, object);
	case NODE_NOT:
		return !holds(n->left, each, object);
	case NODE_TERM:
		each(object, n->subject, see, &s);
		return s.found != n->negative;
	}
	return false;
}

bool expression_holds(const struct expression *x, expression_each *each, const void *object)
{
	return holds(x->root, each, object) && !expression_gave_up(x);
}

bool expression_gave_up(const struct expression *x)
{
	for (size_t i = 0; i < x->pattern_count; i++)
		if (pattern_gave_up(x->patterns[i]))
			return true;
	return false;
}

static bool mentions(const struct node *n, const char *subject)
{
	return n &&
	       (n->kind == NODE_TERM ? strcmp(n->subject, subject) == 0
				     : mentions(n->left, subject) || mentions(n->right, subject));
}

bool expression_mentions(const struct expression *x, const char *subject)
{
	return mentions(x->root, subject);
}
