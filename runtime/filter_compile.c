/* runtime/filter_compile.c - linux.seccomp to a BPF program, by libseccomp
 * SPDX-License-Identifier: Apache-2.0
 *
 * libseccomp gives every call that it was not told of the default action, also
 * those that are younger than the profile.  A libc that asks for such a call
 * first must hear ENOSYS to fall back to an older one; EPERM breaks it.  So a
 * few instructions of our own stand in front when the default is an errno:
 * numbers above the highest that the profile names are answered with ENOSYS.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/filter.h"

#define ARCHES_MAX    8
#define RULES_MAX     4096
#define ARGS_MAX      6 /* a system call has no more */
#define X32_BIT       0x40000000u
#define STUB_INSNS    6 /* per architecture, see put_stub() */
#define OPTIMIZE_TREE 2 /* SCMP_FLTATR_CTL_OPTIMIZE: binary tree, half the price to load */

/* ---- words ---- */

struct word {
	const char *name;
	uint32_t value;
};

enum { ACTION_PLAIN, ACTION_WITH_ERRNO };

static const struct action {
	const char *name;
	uint32_t value;
	unsigned kind;
	bool permits; /* the call is made */
} actions[] = {
	{"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, ACTION_PLAIN, true},
	{"SCMP_ACT_LOG", SCMP_ACT_LOG, ACTION_PLAIN, true},
	{"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), ACTION_WITH_ERRNO, true},
	{"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), ACTION_WITH_ERRNO, false},
	{"SCMP_ACT_TRAP", SCMP_ACT_TRAP, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, ACTION_PLAIN, false},
	{"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, ACTION_PLAIN, false},
	{"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY, ACTION_PLAIN, false},
};

static const struct word operators[] = {
	{"SCMP_CMP_NE", SCMP_CMP_NE},
	{"SCMP_CMP_LT", SCMP_CMP_LT},
	{"SCMP_CMP_LE", SCMP_CMP_LE},
	{"SCMP_CMP_EQ", SCMP_CMP_EQ},
	{"SCMP_CMP_GE", SCMP_CMP_GE},
	{"SCMP_CMP_GT", SCMP_CMP_GT},
	{"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

static const struct word arches[] = {
	{"SCMP_ARCH_X86", SCMP_ARCH_X86},
	{"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
	{"SCMP_ARCH_X32", SCMP_ARCH_X32},
	{"SCMP_ARCH_ARM", SCMP_ARCH_ARM},
	{"SCMP_ARCH_AARCH64", SCMP_ARCH_AARCH64},
	{"SCMP_ARCH_MIPS", SCMP_ARCH_MIPS},
	{"SCMP_ARCH_MIPS64", SCMP_ARCH_MIPS64},
	{"SCMP_ARCH_MIPS64N32", SCMP_ARCH_MIPS64N32},
	{"SCMP_ARCH_MIPSEL", SCMP_ARCH_MIPSEL},
	{"SCMP_ARCH_MIPSEL64", SCMP_ARCH_MIPSEL64},
	{"SCMP_ARCH_MIPSEL64N32", SCMP_ARCH_MIPSEL64N32},
	{"SCMP_ARCH_PPC", SCMP_ARCH_PPC},
	{"SCMP_ARCH_PPC64", SCMP_ARCH_PPC64},
	{"SCMP_ARCH_PPC64LE", SCMP_ARCH_PPC64LE},
	{"SCMP_ARCH_S390", SCMP_ARCH_S390},
	{"SCMP_ARCH_S390X", SCMP_ARCH_S390X},
	{"SCMP_ARCH_PARISC", SCMP_ARCH_PARISC},
	{"SCMP_ARCH_PARISC64", SCMP_ARCH_PARISC64},
	{"SCMP_ARCH_RISCV64", SCMP_ARCH_RISCV64},
};

static const struct word flag_words[] = {
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

static int find_word(const struct word *list, size_t count, const char *name, const char *member,
		     uint32_t *ret, struct err *e)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(list[i].name, name)) {
			*ret = list[i].value;
			return 0;
		}
	return err_set(e, ENOTSUP, "%s: '%s' is unknown", member, name);
}

/* ---- shapes ---- */

struct arg {
	uint32_t index;
	int64_t value, value_two; /* unsigned in the spec */
	char *op;
};

struct rule {
	struct js_strings names;
	char *action;
	uint32_t *errno_ret;
	struct js_list args; /* struct arg */
};

struct profile {
	char *default_action;
	uint32_t *default_errno_ret;
	struct js_strings architectures, flags;
	struct js_list syscalls; /* struct rule */
};

static const struct js_field arg_fields[] = {
	{"index", JS_U32, offsetof(struct arg, index), JS_REQUIRED, NULL},
	{"value", JS_I64, offsetof(struct arg, value), JS_REQUIRED, NULL},
	{"valueTwo", JS_I64, offsetof(struct arg, value_two), 0, NULL},
	{"op", JS_STRING, offsetof(struct arg, op), JS_REQUIRED, NULL},
};
static const struct js_shape arg_shape = JS_SHAPE("arg", struct arg, arg_fields);

static const struct js_field rule_fields[] = {
	{"names", JS_STRINGS, offsetof(struct rule, names), JS_REQUIRED, NULL},
	{"action", JS_STRING, offsetof(struct rule, action), JS_REQUIRED, NULL},
	{"errnoRet", JS_U32, offsetof(struct rule, errno_ret), JS_POINTER, NULL},
	{"args", JS_OBJECTS, offsetof(struct rule, args), 0, &arg_shape},
};
static const struct js_shape rule_shape = JS_SHAPE("rule", struct rule, rule_fields);

static const struct js_field profile_fields[] = {
	{"defaultAction", JS_STRING, offsetof(struct profile, default_action), JS_REQUIRED, NULL},
	{"defaultErrnoRet", JS_U32, offsetof(struct profile, default_errno_ret), JS_POINTER, NULL},
	{"architectures", JS_STRINGS, offsetof(struct profile, architectures), 0, NULL},
	{"flags", JS_STRINGS, offsetof(struct profile, flags), 0, NULL},
	{"syscalls", JS_OBJECTS, offsetof(struct profile, syscalls), 0, &rule_shape},
};
static const struct js_shape profile_shape = JS_SHAPE("profile", struct profile, profile_fields);

/* ---- building ---- */

struct build {
	scmp_filter_ctx ctx;
	uint32_t arch[ARCHES_MAX]; /* native first */
	size_t arch_count;
	int highest[ARCHES_MAX]; /* number that the profile names */
	uint32_t default_action;
	bool default_permits;
	bool notifies; /* some call is somebody else's to decide */
};

static int lib_failed(int r, struct err *e, const char *what)
{
	return err_set(e, r == -EFAULT || r == -EDOM ? ENOTSUP : -r, "libseccomp: %s: %s", what,
		       strerrordesc_np(-r));
}

static int action_value(const char *name, const uint32_t *errno_ret, uint32_t *ret, bool *permits,
			struct err *e)
{
	const struct action *a = find_action(name);
	uint32_t value = errno_ret ? *errno_ret : EPERM;

	if (!a)
		return err_set(e, ENOTSUP, "action '%s' is not supported", name);
	if (errno_ret && a->kind != ACTION_WITH_ERRNO)
		return err_set(e, EINVAL, "action '%s' takes no errnoRet", name);
	if (value > 4095)
		return err_set(e, EINVAL, "errnoRet %u is over 4095", value);
	*ret = a->value | (a->kind == ACTION_WITH_ERRNO ? value : 0);
	*permits = a->permits;
	return 0;
}

static int add_arches(struct build *b, const struct js_strings *names, struct err *e)
{
	b->arch[b->arch_count++] = seccomp_arch_native();
	for (size_t i = 0; i < names->count; i++) {
		uint32_t token = 0;
		int r;

		if (find_word(arches, ARRAY_COUNT(arches), names->items[i], "architectures", &token,
			      e) < 0)
			return -e->code;
		if (token == b->arch[0])
			continue;
		if (b->arch_count == ARCHES_MAX)
			return err_set(e, EINVAL, "more than %d architectures", ARCHES_MAX);
		r = seccomp_arch_add(b->ctx, token);
		if (r < 0 && r != -EEXIST)
			return lib_failed(r, e, names->items[i]);
		if (r == 0)
			b->arch[b->arch_count++] = token;
	}
	return 0;
}

static void note_number(struct build *b, const char *name)
{
	for (size_t i = 0; i < b->arch_count; i++) {
		int nr = seccomp_syscall_resolve_name_arch(b->arch[i], name);

		if (nr > b->highest[i] && !((uint32_t)nr & X32_BIT))
			b->highest[i] = nr;
	}
}

static int to_compares(const struct js_list *args, struct scmp_arg_cmp out[ARGS_MAX],
		       bool *ret_repeats, struct err *e)
{
	unsigned seen = 0;

	if (args->count > ARGS_MAX)
		return err_set(e, EINVAL, "more than %d args", ARGS_MAX);
	*ret_repeats = false;
	for (size_t i = 0; i < args->count; i++) {
		const struct arg *a = JS_AT(*args, struct arg, i);
		uint32_t op = 0;

		if (a->index >= ARGS_MAX)
			return err_set(e, EINVAL, "args[%zu].index: %u is over 5", i, a->index);
		if (find_word(operators, ARRAY_COUNT(operators), a->op, "op", &op, e) < 0)
			return -e->code;
		*ret_repeats |= seen >> a->index & 1;
		seen |= 1u << a->index;
		out[i] = (struct scmp_arg_cmp){.arg = a->index,
					       .op = (enum scmp_compare)op,
					       .datum_a = (scmp_datum_t)a->value,
					       .datum_b = (scmp_datum_t)a->value_two};
	}
	return 0;
}

/* Compares of one argument more than once are alternatives: each becomes a rule of its own. */
static int add_call(struct build *b, const char *name, uint32_t action, const struct rule *rule,
		    bool permits, struct err *e)
{
	struct scmp_arg_cmp compares[ARGS_MAX];
	int nr = seccomp_syscall_resolve_name(name), r = 0;
	unsigned count = (unsigned)rule->args.count;
	bool repeats = false;

	b->notifies |= action == SCMP_ACT_NOTIFY;
	if (to_compares(&rule->args, compares, &repeats, e) < 0)
		return -e->code;
	note_number(b, name);
	if (nr == __NR_SCMP_ERROR) {
		/* Unknown here: it gets the default.  That must not be more than was asked for. */
		if (b->default_permits && !permits)
			return err_set(e, ENOTSUP, "system call '%s' is unknown to libseccomp",
				       name);
		return 0;
	}
	if (action == b->default_action)
		return 0;
	if (!repeats)
		r = seccomp_rule_add_array(b->ctx, action, nr, count, compares);
	for (unsigned i = 0; repeats && r == 0 && i < count; i++)
		r = seccomp_rule_add_array(b->ctx, action, nr, 1, &compares[i]);
	return r < 0 ? lib_failed(r, e, name) : 0;
}

static int add_rules(struct build *b, const struct js_list *rules, struct err *e)
{
	if (rules->count > RULES_MAX)
		return err_set(e, EINVAL, "syscalls: more than %d", RULES_MAX);
	for (size_t i = 0; i < rules->count; i++) {
		const struct rule *rule = JS_AT(*rules, struct rule, i);
		uint32_t action = 0;
		bool permits = false;

		if (action_value(rule->action, rule->errno_ret, &action, &permits, e) < 0)
			return err_wrap(e, "syscalls[%zu]", i);
		for (size_t k = 0; k < rule->names.count; k++)
			if (add_call(b, rule->names.items[k], action, rule, permits, e) < 0)
				return err_wrap(e, "syscalls[%zu]", i);
	}
	return 0;
}

/* ---- the program ---- */

/* x32's numbers begin at X32_BIT, far above: they are left to the filter behind. */
static void put_stub(struct filter *f, uint32_t arch, int highest)
{
	const struct sock_filter stub[STUB_INSNS] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	memcpy(f->insns + f->count, stub, sizeof(stub));
	f->count += STUB_INSNS;
}

static void put_stubs(struct filter *f, const struct build *b)
{
	for (size_t i = 0; i < b->arch_count; i++)
		if (b->arch[i] != SCMP_ARCH_X32 && b->highest[i] > 0)
			put_stub(f, b->arch[i], b->highest[i]); /* a token is the audit value */
}

static int export_program(struct build *b, bool with_stubs, struct filter *ret, struct err *e)
{
	const size_t room = ARCHES_MAX * STUB_INSNS;
	auto_close int fd = memfd_create("filter", MFD_CLOEXEC);
	auto_filter struct filter f = {0};
	ssize_t n;
	off_t size;
	int r;

	if (fd < 0)
		return err_sys(e, "memfd");
	r = seccomp_attr_set(b->ctx, SCMP_FLTATR_CTL_OPTIMIZE, OPTIMIZE_TREE);
	if (r == 0)
		r = seccomp_export_bpf(b->ctx, fd);
	if (r < 0)
		return lib_failed(r, e, "export");
	size = lseek(fd, 0, SEEK_END);
	if (size < 0 || (size_t)size > FILTER_INSNS_MAX * sizeof(struct sock_filter))
		return err_set(e, E2BIG, "more than %d instructions", FILTER_INSNS_MAX);

	f.insns = xcalloc((size_t)size / sizeof(struct sock_filter) + room,
			  sizeof(struct sock_filter));
	if (with_stubs)
		put_stubs(&f, b);
	n = pread(fd, f.insns + f.count, (size_t)size, 0);
	if (n != size)
		return err_sys(e, "read the program");
	f.count += (uint32_t)((size_t)size / sizeof(struct sock_filter));
	if (f.count > FILTER_INSNS_MAX)
		return err_set(e, E2BIG, "more than %d instructions", FILTER_INSNS_MAX);
	*ret = f;
	f.insns = NULL;
	return 0;
}

static int collect_flags(const struct js_strings *names, uint32_t *ret, struct err *e)
{
	uint32_t flags = 0;

	for (size_t i = 0; i < names->count; i++) {
		uint32_t flag = 0;

		if (find_word(flag_words, ARRAY_COUNT(flag_words), names->items[i], "flags", &flag,
			      e) < 0)
			return -e->code;
		flags |= flag;
	}
	*ret = flags & ~(uint32_t)SECCOMP_FILTER_FLAG_TSYNC; /* we have one thread */
	return 0;
}

static int build_profile(struct build *b, const struct profile *p, struct filter *ret,
			 struct err *e)
{
	uint32_t flags = 0;
	bool is_errno;

	if (add_arches(b, &p->architectures, e) < 0 || add_rules(b, &p->syscalls, e) < 0 ||
	    collect_flags(&p->flags, &flags, e) < 0)
		return -e->code;
	is_errno = (b->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO &&
		   (b->default_action & SECCOMP_RET_DATA) != ENOSYS;
	if (export_program(b, is_errno, ret, e) < 0)
		return -e->code;
	ret->flags = flags;
	if (b->notifies || b->default_action == SCMP_ACT_NOTIFY)
		ret->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
	return 0;
}

int filter_compile(const json_t *seccomp, struct filter *ret, struct err *e)
{
	auto_arena struct arena a = {0};
	struct build b = {0};
	struct profile p;
	int r;

	if (js_decode(seccomp, &profile_shape, &a, &p, e) < 0 ||
	    action_value(p.default_action, p.default_errno_ret, &b.default_action,
			 &b.default_permits, e) < 0)
		return err_wrap(e, "linux.seccomp");
	b.ctx = seccomp_init(b.default_action);
	if (!b.ctx)
		return err_set(e, ENOTSUP, "linux.seccomp: this kernel does not know %s",
			       p.default_action);
	r = build_profile(&b, &p, ret, e);
	seccomp_release(b.ctx);
	return r < 0 ? err_wrap(e, "linux.seccomp") : 0;
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

static json_t *word_names(const struct word *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, json_string(list[i].name));
	return array;
}

json_t *filter_features(void)
{
	json_t *doc = json_object(), *names = json_array();

	for (size_t i = 0; i < ARRAY_COUNT(actions); i++)
		(void)json_array_append_new(names, json_string(actions[i].name));
	(void)json_object_set_new(doc, "enabled", json_true());
	(void)json_object_set_new(doc, "actions", names);
	(void)json_object_set_new(doc, "operators", word_names(operators, ARRAY_COUNT(operators)));
	(void)json_object_set_new(doc, "archs", word_names(arches, ARRAY_COUNT(arches)));
	(void)json_object_set_new(doc, "knownFlags",
				  word_names(flag_words, ARRAY_COUNT(flag_words)));
	(void)json_object_set_new(doc, "supportedFlags",
				  word_names(flag_words, ARRAY_COUNT(flag_words)));
	return doc;
}
