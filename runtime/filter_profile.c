/* runtime/filter_profile.c - linux.seccomp, read and checked
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/filter_profile.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/filter.h"

#define RULES_MAX 16384 /* calls that all rules name */
#define ERRNO_MAX 4095  /* SECCOMP_RET_DATA has more room, errno has not */

/* ---- words ---- */

enum { ACTION_PLAIN, ACTION_WITH_ERRNO };

static const struct action {
	const char *name;
	uint32_t value;
	unsigned kind;
	bool permits; /* the call is made */
} actions[] = {
	{"SCMP_ACT_ALLOW", SECCOMP_RET_ALLOW, ACTION_PLAIN, true},
	{"SCMP_ACT_LOG", SECCOMP_RET_LOG, ACTION_PLAIN, true},
	{"SCMP_ACT_TRACE", SECCOMP_RET_TRACE, ACTION_WITH_ERRNO, true},
	{"SCMP_ACT_ERRNO", SECCOMP_RET_ERRNO, ACTION_WITH_ERRNO, false},
	{"SCMP_ACT_TRAP", SECCOMP_RET_TRAP, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL", SECCOMP_RET_KILL_THREAD, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL_THREAD", SECCOMP_RET_KILL_THREAD, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS, ACTION_PLAIN, false},
	{"SCMP_ACT_NOTIFY", SECCOMP_RET_USER_NOTIF, ACTION_PLAIN, false},
};

static const struct operator
{
	const char *name;
	enum filter_how how;
	bool negate, masked; /* masked: 'value' is the mask, 'valueTwo' the value */
}
operators[] = {
	{"SCMP_CMP_NE", FILTER_EQ, true, false},        {"SCMP_CMP_LT", FILTER_GE, true, false},
	{"SCMP_CMP_LE", FILTER_GT, true, false},        {"SCMP_CMP_EQ", FILTER_EQ, false, false},
	{"SCMP_CMP_GE", FILTER_GE, false, false},       {"SCMP_CMP_GT", FILTER_GT, false, false},
	{"SCMP_CMP_MASKED_EQ", FILTER_EQ, false, true},
};

static const struct {
	const char *name;
	uint32_t value;
} flags[] = {
	{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
	{"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
	{"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
	{"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV},
};

static const struct action *find_action(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(actions); i++)
		if (str_eq(actions[i].name, name))
			return &actions[i];
	return NULL;
}

static const struct operator* find_operator(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(operators); i++)
		if (str_eq(operators[i].name, name))
			return &operators[i];
	return NULL;
}

static int find_flag(const char *name, uint32_t *ret, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(flags); i++)
		if (str_eq(flags[i].name, name)) {
			*ret = flags[i].value;
			return 0;
		}
	return err_set(e, ENOTSUP, "flags: '%s' is unknown", name);
}

/* ---- shapes ---- */

struct arg {
	uint32_t index;
	int64_t value, value_two; /* unsigned in the spec */
	char *op;
};

struct group {
	struct js_strings names;
	char *action;
	uint32_t *errno_ret;
	struct js_list args; /* struct arg */
};

struct document {
	char *default_action;
	uint32_t *default_errno_ret;
	struct js_strings architectures, flags;
	struct js_list syscalls; /* struct group */
};

static const struct js_field arg_fields[] = {
	{"index", JS_U32, offsetof(struct arg, index), JS_REQUIRED, NULL},
	{"value", JS_I64, offsetof(struct arg, value), JS_REQUIRED, NULL},
	{"valueTwo", JS_I64, offsetof(struct arg, value_two), 0, NULL},
	{"op", JS_STRING, offsetof(struct arg, op), JS_REQUIRED, NULL},
};
static const struct js_shape arg_shape = JS_SHAPE("arg", struct arg, arg_fields);

static const struct js_field group_fields[] = {
	{"names", JS_STRINGS, offsetof(struct group, names), JS_REQUIRED, NULL},
	{"action", JS_STRING, offsetof(struct group, action), JS_REQUIRED, NULL},
	{"errnoRet", JS_U32, offsetof(struct group, errno_ret), JS_POINTER, NULL},
	{"args", JS_OBJECTS, offsetof(struct group, args), 0, &arg_shape},
};
static const struct js_shape group_shape = JS_SHAPE("rule", struct group, group_fields);

static const struct js_field document_fields[] = {
	{"defaultAction", JS_STRING, offsetof(struct document, default_action), JS_REQUIRED, NULL},
	{"defaultErrnoRet", JS_U32, offsetof(struct document, default_errno_ret), JS_POINTER, NULL},
	{"architectures", JS_STRINGS, offsetof(struct document, architectures), 0, NULL},
	{"flags", JS_STRINGS, offsetof(struct document, flags), 0, NULL},
	{"syscalls", JS_OBJECTS, offsetof(struct document, syscalls), 0, &group_shape},
};
static const struct js_shape document_shape = JS_SHAPE("profile", struct document, document_fields);

/* ---- reading ---- */

static int to_action(const char *name, const uint32_t *errno_ret, uint32_t *ret, bool *ret_permits,
		     struct err *e)
{
	const struct action *a = find_action(name);
	uint32_t value = errno_ret ? *errno_ret : EPERM;

	if (!a)
		return err_set(e, ENOTSUP, "action '%s' is not supported", name);
	if (errno_ret && a->kind != ACTION_WITH_ERRNO)
		return err_set(e, EINVAL, "action '%s' takes no errnoRet", name);
	if (value > ERRNO_MAX)
		return err_set(e, EINVAL, "errnoRet %u is over %d", value, ERRNO_MAX);
	*ret = a->value | (a->kind == ACTION_WITH_ERRNO ? value : 0);
	*ret_permits = a->permits;
	return 0;
}

static bool has_arch(const struct filter_profile *p, const struct filter_arch *a)
{
	for (size_t i = 0; i < p->arch_count; i++)
		if (p->arches[i] == a)
			return true;
	return false;
}

static int read_arches(struct filter_profile *p, const struct js_strings *names, struct err *e)
{
	const struct filter_arch *native = filter_arch_native();

	if (!native)
		return err_set(e, ENOTSUP, "the architecture of this machine is not known");
	p->arches[p->arch_count++] = native;
	for (size_t i = 0; i < names->count; i++) {
		const struct filter_arch *a = filter_arch_find(names->items[i]);

		if (!a)
			return err_set(e, ENOTSUP, "architectures: '%s' is unknown",
				       names->items[i]);
		if (filter_arch_is_possible(a) && !has_arch(p, a))
			p->arches[p->arch_count++] = a;
	}
	return 0;
}

static int read_flags(struct filter_profile *p, const struct js_strings *names, struct err *e)
{
	for (size_t i = 0; i < names->count; i++) {
		uint32_t flag = 0;

		if (find_flag(names->items[i], &flag, e) < 0)
			return -e->code;
		p->flags |= flag;
	}
	p->flags &= ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC; /* we have one thread */
	return 0;
}

static int read_compares(const struct js_list *args, struct filter_rule *rule, struct err *e)
{
	if (args->count > FILTER_ARGS_MAX)
		return err_set(e, EINVAL, "more than %d args", FILTER_ARGS_MAX);
	for (size_t i = 0; i < args->count; i++) {
		const struct arg *a = JS_AT(*args, struct arg, i);
		const struct operator* op = find_operator(a->op);

		if (a->index >= FILTER_ARGS_MAX)
			return err_set(e, EINVAL, "args[%zu].index: %u is over 5", i, a->index);
		if (!op)
			return err_set(e, ENOTSUP, "op: '%s' is unknown", a->op);
		rule->compares[rule->compare_count++] = (struct filter_compare){
			.arg = a->index,
			.how = op->how,
			.negate = op->negate,
			.mask = op->masked ? (uint64_t)a->value : UINT64_MAX,
			.value = (uint64_t)(op->masked ? a->value_two : a->value)};
	}
	return 0;
}

static bool repeats_an_argument(const struct filter_rule *rule)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < rule->compare_count; i++) {
		if (seen >> rule->compares[i].arg & 1)
			return true;
		seen |= 1u << rule->compares[i].arg;
	}
	return false;
}

static int add_rule(struct filter_profile *p, const struct filter_rule *rule, struct err *e)
{
	if (p->rule_count == RULES_MAX)
		return err_set(e, E2BIG, "more than %d calls", RULES_MAX);
	p->rules = xgrow(p->rules, p->rule_count, &p->rule_capacity, sizeof(*p->rules));
	p->rules[p->rule_count++] = *rule;
	return 0;
}

/* Compares of one argument more than once are alternatives: each becomes a rule of its own. */
static int add_call(struct filter_profile *p, const struct filter_rule *rule, struct err *e)
{
	struct filter_rule alone = *rule;

	if (!repeats_an_argument(rule))
		return add_rule(p, rule, e);
	alone.compare_count = 1;
	for (unsigned i = 0; i < rule->compare_count; i++) {
		alone.compares[0] = rule->compares[i];
		if (add_rule(p, &alone, e) < 0)
			return -e->code;
	}
	return 0;
}

static int read_group(struct filter_profile *p, const struct group *g, bool default_permits,
		      struct err *e)
{
	struct filter_rule rule = {0};
	bool permits = false;

	if (to_action(g->action, g->errno_ret, &rule.action, &permits, e) < 0 ||
	    read_compares(&g->args, &rule, e) < 0)
		return -e->code;
	for (size_t i = 0; i < g->names.count; i++) {
		rule.call = filter_call_find(g->names.items[i]);
		/* Unknown, it gets the default.  That must not be more than was asked for. */
		if (!rule.call && default_permits && !permits)
			return err_set(e, ENOTSUP, "system call '%s' is unknown",
				       g->names.items[i]);
		if (rule.call && add_call(p, &rule, e) < 0)
			return -e->code;
	}
	return 0;
}

/* Is some call somebody else's to decide? */
static bool asks(const struct filter_profile *p)
{
	bool yes = p->default_action == SECCOMP_RET_USER_NOTIF;

	for (size_t i = 0; i < p->rule_count; i++)
		yes |= p->rules[i].action == SECCOMP_RET_USER_NOTIF;
	return yes;
}

static int read_document(struct filter_profile *p, const struct document *d, struct err *e)
{
	bool permits = false;

	if (to_action(d->default_action, d->default_errno_ret, &p->default_action, &permits, e) <
		    0 ||
	    read_arches(p, &d->architectures, e) < 0 || read_flags(p, &d->flags, e) < 0)
		return -e->code;
	for (size_t i = 0; i < d->syscalls.count; i++)
		if (read_group(p, JS_AT(d->syscalls, struct group, i), permits, e) < 0)
			return err_wrap(e, "syscalls[%zu]", i);
	if (asks(p))
		p->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	return 0;
}

int filter_profile_read(const json_t *seccomp, struct filter_profile *ret, struct err *e)
{
	auto_arena struct arena a = {0};
	struct document d;

	*ret = (struct filter_profile){0};
	if (js_decode(seccomp, &document_shape, &a, &d, e) < 0)
		return -e->code;
	return read_document(ret, &d, e);
}

void filter_profile_done(struct filter_profile *p)
{
	free(p->rules);
	*p = (struct filter_profile){0};
}

/* ---- features ---- */

/* The names of a table whose rows begin with one. */
static json_t *names_of(const void *table, size_t count, size_t size)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(
			array, json_string(*(const char *const *)((const char *)table + i * size)));
	return array;
}
#define NAMES_OF(table) names_of(table, ARRAY_COUNT(table), sizeof((table)[0]))

json_t *filter_features(void)
{
	json_t *doc = json_object();

	(void)json_object_set_new(doc, "enabled", json_true());
	(void)json_object_set_new(doc, "actions", NAMES_OF(actions));
	(void)json_object_set_new(doc, "operators", NAMES_OF(operators));
	(void)json_object_set_new(
		doc, "archs", names_of(filter_arches, filter_arch_count, sizeof(*filter_arches)));
	(void)json_object_set_new(doc, "knownFlags", NAMES_OF(flags));
	(void)json_object_set_new(doc, "supportedFlags", NAMES_OF(flags));
	return doc;
}
