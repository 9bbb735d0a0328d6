/* tests/unit/runtime/filter_compile.c - our programs decide what libseccomp's decide
 * SPDX-License-Identifier: Apache-2.0
 *
 * Profiles go through both compilers.  Both programs are then asked about every
 * number of every architecture, with arguments around all values that the
 * profile compares with.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/js.h"
#include "runtime/filter.h"
#include "runtime/filter_calls.h"
#include "runtime/filter_profile.h"
#include "runtime/runtime.h"
#include "tests/unit/runtime/bpf.h"

#define VALUES_MAX 512
#define NUMBER_MAX 520
#define ROUNDS     4   /* sets of arguments for one number */
#define DEEP       256 /* for one that a small profile names */
#define SMALL      300 /* small profiles */

/* ---- randomness that is the same each time ---- */

static uint64_t seed = 88172645463325252ull;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static size_t draw_below(size_t n)
{
	return (size_t)(draw() >> 11) % n;
}

/* ---- the other compiler ---- */

/* It keeps some of its rules for itself; what leaks there is not ours. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libseccomp";
}

struct peer {
	struct sock_filter *insns;
	uint32_t count;
};

static void peer_done(struct peer *p)
{
	free(p->insns);
}

static void peer_add(scmp_filter_ctx ctx, const struct filter_rule *rule)
{
	struct scmp_arg_cmp args[FILTER_ARGS_MAX];
	int nr = seccomp_syscall_resolve_name(rule->call->name);

	if (nr == __NR_SCMP_ERROR)
		return;
	for (unsigned i = 0; i < rule->compare_count; i++) {
		const struct filter_compare *c = &rule->compares[i];
		static const enum scmp_compare ops[2][3] = {
			{SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT},
			{SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE}};
		bool masked = c->mask != UINT64_MAX;

		args[i] = (struct scmp_arg_cmp){.arg = c->arg,
						.op = masked ? SCMP_CMP_MASKED_EQ
							     : ops[c->negate][c->how],
						.datum_a = masked ? c->mask : c->value,
						.datum_b = c->value};
	}
	assert_int_equal(seccomp_rule_add_array(ctx, rule->action, nr, rule->compare_count, args),
			 0);
}

static void peer_compile(const struct filter_profile *p, struct peer *ret)
{
	scmp_filter_ctx ctx = seccomp_init(p->default_action);
	auto_close int fd = memfd_create("peer", MFD_CLOEXEC);
	off_t size;

	assert_non_null(ctx);
	for (size_t i = 1; i < p->arch_count; i++) {
		const char *name = p->arches[i]->name + strlen("SCMP_ARCH_");
		char word[32];
		size_t n = 0;

		for (; name[n]; n++)
			word[n] = (char)(name[n] >= 'A' ? name[n] + 'a' - 'A' : name[n]);
		word[n] = '\0';
		assert_int_equal(seccomp_arch_add(ctx, seccomp_arch_resolve_name(word)), 0);
	}
	for (size_t i = 0; i < p->rule_count; i++)
		if (p->rules[i].action != p->default_action)
			peer_add(ctx, &p->rules[i]);
	assert_int_equal(seccomp_export_bpf(ctx, fd), 0);
	seccomp_release(ctx);
	size = lseek(fd, 0, SEEK_END);
	ret->insns = malloc((size_t)size);
	assert_int_equal(pread(fd, ret->insns, (size_t)size, 0), size);
	ret->count = (uint32_t)((size_t)size / sizeof(*ret->insns));
}

/* ---- the comparison ---- */

/*
 * libseccomp 2.5 gets some profiles wrong ("arg1 > 3" does not hold for
 * 1ull << 60, "arg1 > 1 or arg1 < 2" not for 1). What it is not trusted with is
 * decided by the rules' own words, and we are always held to those as well.
 */
enum trust {
	TRUSTED,           /* with everything */
	TRUSTED_WITH_ONE,  /* rule, but for a bound or mask of 64 bits beside another compare */
	TRUSTED_WITH_EQUAL /* any number of rules, if all they ask is "==" */
};

struct pair {
	const struct filter_profile *profile;
	struct filter ours;
	struct peer peers;
	enum trust trust;
	bool small;
	uint64_t values[VALUES_MAX]; /* that arguments are drawn from */
	size_t value_count;
};

static void add_value(struct pair *p, uint64_t v)
{
	if (p->value_count < VALUES_MAX)
		p->values[p->value_count++] = v;
}

static void collect_values(struct pair *p)
{
	add_value(p, 0);
	add_value(p, UINT64_MAX);
	add_value(p, UINT32_MAX);
	for (size_t i = 0; i < p->profile->rule_count; i++)
		for (unsigned k = 0; k < p->profile->rules[i].compare_count; k++) {
			uint64_t v = p->profile->rules[i].compares[k].value;

			add_value(p, v);
			add_value(p, v - 1);
			add_value(p, v + 1);
			add_value(p, v ^ (1ull << draw_below(64)));
			add_value(p, v & p->profile->rules[i].compares[k].mask);
		}
}

/* The highest number of an architecture that the profile names; young ones are answered by us. */
static int32_t highest_named(const struct filter_profile *p, const struct filter_arch *a)
{
	int32_t highest = 0;

	for (size_t i = 0; i < p->rule_count; i++)
		if (p->rules[i].call->number[a->column] > highest &&
		    p->rules[i].call->number[a->column] < 0xf0000)
			highest = p->rules[i].call->number[a->column];
	return highest;
}

static uint32_t expected(const struct pair *p, const struct filter_arch *a, int32_t highest,
			 const struct seccomp_data *data)
{
	bool is_errno = (p->profile->default_action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO;
	uint32_t theirs = bpf_run(p->peers.insns, p->peers.count, data);
	bool is_young = highest && !a->bit && data->nr > highest && data->nr < 0x40000000;

	/* Those of ARM above 0xf0000 may be named for all that. */
	if (is_errno && is_young && theirs == p->profile->default_action)
		return SECCOMP_RET_ERRNO | ENOSYS;
	return theirs;
}

/* What is younger than libseccomp cannot be compared. */
static bool is_news(const struct filter_arch *a, uint32_t number)
{
	for (unsigned i = 0; i < filter_call_count; i++)
		if ((filter_calls[i].number[a->column] | (int32_t)a->bit) == (int32_t)number)
			return seccomp_syscall_resolve_name(filter_calls[i].name) ==
			       __NR_SCMP_ERROR;
	return false;
}

static bool is_listed(const struct filter_profile *p, const struct filter_arch *a)
{
	for (size_t i = 0; i < p->arch_count; i++)
		if (p->arches[i] == a)
			return true;
	return false;
}

/* ---- the rules, taken by their word ---- */

static bool holds(const struct filter_compare *c, uint64_t value, bool narrow)
{
	uint64_t half = narrow ? UINT32_MAX : UINT64_MAX, want = c->value & half;
	bool yes;

	value &= c->mask & half;
	yes = c->how == FILTER_EQ   ? value == want
	      : c->how == FILTER_GE ? value >= want
				    : value > want;
	return yes != c->negate;
}

static bool is_shared(const struct filter_arch *a, uint32_t number)
{
	return (int32_t)number == filter_call_find("socketcall")->number[a->column] ||
	       (int32_t)number == filter_call_find("ipc")->number[a->column];
}

/* Does the rule speak of this number?  For a call behind another, *ret_first is the argument. */
static bool is_about(const struct filter_rule *r, const struct filter_arch *a, uint32_t number,
		     int64_t *ret_first)
{
	uint32_t first = 0;

	*ret_first = -1;
	if ((r->call->number[a->column] | (int32_t)a->bit) == (int32_t)number)
		return true;
	if (!is_shared(a, number) ||
	    filter_call_behind(r->call, a->column, &first) != (int32_t)number)
		return false;
	*ret_first = first;
	return true;
}

static bool rule_holds(const struct filter_rule *r, const struct filter_arch *a, int64_t first,
		       const struct seccomp_data *data)
{
	bool yes = first < 0 || (data->args[0] & UINT32_MAX) == (uint64_t)first;

	for (unsigned i = 0; i < r->compare_count; i++)
		if (first < 0 || r->compares[i].arg)
			yes &= holds(&r->compares[i], data->args[r->compares[i].arg], a->narrow);
	return yes;
}

static uint32_t by_word(const struct pair *p, const struct filter_arch *a,
			const struct seccomp_data *data)
{
	const struct filter_rule *alone = NULL, *found = NULL;

	for (size_t i = 0; i < p->profile->rule_count; i++) {
		const struct filter_rule *r = &p->profile->rules[i];
		int64_t first;

		if (r->action == p->profile->default_action ||
		    !is_about(r, a, (uint32_t)data->nr, &first))
			continue;
		if (!alone && !r->compare_count && first < 0)
			alone = r;
		if (!found && rule_holds(r, a, first, data))
			found = r;
	}
	return alone ? alone->action : found ? found->action : p->profile->default_action;
}

static bool is_trusted(const struct pair *p, const struct filter_arch *a, uint32_t number)
{
	unsigned bounds = 0, more = 0, compares = 0;
	int64_t first;

	for (size_t i = 0; i < p->profile->rule_count; i++) {
		const struct filter_rule *r = &p->profile->rules[i];

		if (r->action == p->profile->default_action || !is_about(r, a, number, &first))
			continue;
		for (unsigned k = 0; k < r->compare_count; k++, compares++) {
			const struct filter_compare *c = &r->compares[k];

			bounds += c->how != FILTER_EQ || c->mask != UINT64_MAX;
			more += c->how != FILTER_EQ || c->negate || c->mask != UINT64_MAX;
		}
	}
	return p->trust == TRUSTED ||
	       (p->trust == TRUSTED_WITH_ONE && (a->narrow || !bounds || compares == 1)) || !more;
}

/* ---- */

static size_t rounds_for(const struct pair *p, const struct filter_arch *a, uint32_t number)
{
	int64_t first;

	for (size_t i = 0; p->small && i < p->profile->rule_count; i++)
		if (is_about(&p->profile->rules[i], a, number, &first))
			return DEEP;
	return p->small && number % 32 ? 0 : ROUNDS;
}

static void compare_call(const struct pair *p, const struct filter_arch *a, int32_t highest,
			 uint32_t number)
{
	struct seccomp_data data = {.nr = (int)number, .arch = a->audit};

	if (is_news(a, number))
		return;
	for (size_t round = 0; round < rounds_for(p, a, number); round++) {
		uint32_t want, got, word;

		for (size_t i = 0; i < FILTER_ARGS_MAX; i++) {
			data.args[i] = p->values[draw_below(p->value_count)];
			if (a->narrow) /* as the kernel hands them over */
				data.args[i] &= UINT32_MAX;
		}
		want = expected(p, a, highest, &data);
		got = bpf_run(p->ours.insns, p->ours.count, &data);
		word = by_word(p, a, &data);
		/* Of another architecture, or x32's numbers: who is listed decides. */
		if (!is_listed(p->profile, a) || (number >= FILTER_X32_BIT && !a->bit))
			word = want;
		if (word == p->profile->default_action && want == (SECCOMP_RET_ERRNO | ENOSYS))
			word = want;
		if (!is_trusted(p, a, number))
			want = word;
		if (want != got || word != got)
			fail_msg(
				"%s %u (%llx %llx %llx %llx %llx %llx): %x, libseccomp says %x, the rules %x",
				a->name, number, (unsigned long long)data.args[0],
				(unsigned long long)data.args[1], (unsigned long long)data.args[2],
				(unsigned long long)data.args[3], (unsigned long long)data.args[4],
				(unsigned long long)data.args[5], got, want, word);
	}
}

static void compare_arch(const struct pair *p, const struct filter_arch *a)
{
	static const uint32_t odd[] = {0xeffff,    0xf0010,    0x3fffffff, 0x40000000, 0x40000fff,
				       0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
	uint32_t base = a->column == COLUMN_MIPS        ? 4000
			: a->column == COLUMN_MIPS64    ? 5000
			: a->column == COLUMN_MIPS64N32 ? 6000
							: 0;
	int32_t highest = highest_named(p->profile, a);

	for (uint32_t number = 0; number < NUMBER_MAX; number++)
		compare_call(p, a, highest, (base + number) | a->bit);
	for (size_t i = 0; i < ARRAY_COUNT(odd) && !a->bit; i++)
		compare_call(p, a, highest, odd[i]);
}

static size_t compare(const json_t *doc, enum trust trust, bool small)
{
	auto_filter_profile struct filter_profile profile = {0};
	struct pair p = {.profile = &profile, .trust = trust, .small = small};
	struct err e = {0};
	size_t count;

	assert_ok(filter_profile_read(doc, &profile, &e));
	if (filter_compile(doc, &p.ours, &e) < 0)
		fail_msg("%s", e.msg);
	peer_compile(&profile, &p.peers);
	collect_values(&p);
	for (size_t i = 0; i < profile.arch_count; i++)
		compare_arch(&p, profile.arches[i]);
	compare_arch(&p, filter_arch_find("SCMP_ARCH_X86")); /* also where it is not listed */
	compare_arch(&p, filter_arch_find("SCMP_ARCH_ARM"));
	count = p.ours.count;
	filter_done(&p.ours);
	peer_done(&p.peers);
	return count;
}

static size_t compare_text(const char *text)
{
	auto_json json_t *doc = NULL;
	struct err e = {0};

	assert_ok(js_parse(text, strlen(text), 16, &doc, &e));
	return compare(doc, TRUSTED, false);
}

/* ---- profiles ---- */

static void the_default_profile_is_decided_alike(void **state)
{
	static const char *const some[] = {"CAP_SYS_ADMIN", "CAP_SYS_NICE"};
	static const char *const *const sets[] = {NULL, some};
	size_t count;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(sets); i++) {
		auto_json json_t *doc = runtime_default_seccomp(sets[i], i ? 2 : 0);

		count = compare(doc, TRUSTED, false);
		assert_true(count < 400); /* libseccomp's has 1,400 */
	}
}

static void each_operator_is_exact_around_each_value(void **state)
{
	static const char *const ops[] = {"NE", "LT", "LE", "EQ", "GE", "GT"};
	static const uint64_t values[] = {0, 0x80000000, 0xffffffff, 0x100000000,
					  0x7fffffff00000001};
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(ops); i++)
		for (size_t k = 0; k < ARRAY_COUNT(values); k++) {
			(void)snprintf(
				text, sizeof(text),
				"{\"defaultAction\":\"SCMP_ACT_LOG\",\"architectures\":[\"SCMP_ARCH_X86\"],"
				"\"syscalls\":[{\"names\":[\"dup\"],\"action\":\"SCMP_ACT_KILL\","
				"\"args\":[{\"index\":%zu,\"value\":%llu,\"op\":\"SCMP_CMP_%s\"}]}]}",
				k % 6, (unsigned long long)values[k], ops[i]);
			(void)compare_text(text);
		}
}

static void each_architecture_has_libseccomps_numbers(void **state)
{
	static const struct {
		const char *ours, *word;
	} names[] = {{"SCMP_ARCH_X86", "x86"},           {"SCMP_ARCH_X86_64", "x86_64"},
		     {"SCMP_ARCH_X32", "x32"},           {"SCMP_ARCH_ARM", "arm"},
		     {"SCMP_ARCH_AARCH64", "aarch64"},   {"SCMP_ARCH_MIPS", "mips"},
		     {"SCMP_ARCH_MIPSEL64", "mipsel64"}, {"SCMP_ARCH_MIPS64N32", "mips64n32"},
		     {"SCMP_ARCH_PPC", "ppc"},           {"SCMP_ARCH_PPC64LE", "ppc64le"},
		     {"SCMP_ARCH_S390", "s390"},         {"SCMP_ARCH_S390X", "s390x"},
		     {"SCMP_ARCH_PARISC", "parisc"},     {"SCMP_ARCH_PARISC64", "parisc64"},
		     {"SCMP_ARCH_RISCV64", "riscv64"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
		const struct filter_arch *a = filter_arch_find(names[i].ours);

		for (unsigned k = 0; k < filter_call_count; k++) {
			const struct filter_call *c = &filter_calls[k];
			int nr = seccomp_syscall_resolve_name_arch(
				seccomp_arch_resolve_name(names[i].word), c->name);
			uint32_t first = 0;

			assert_ptr_equal(filter_call_find(c->name), c);
			if (nr >= 0)
				assert_int_equal(nr, c->number[a->column] | (int32_t)a->bit);
			else if (nr <= -101 && nr >= -224) {
				int32_t behind = filter_call_behind(c, a->column, &first);

				assert_int_equal(first, -nr % 100);
				if (behind < 0 && c->number[a->column] >= 0)
					fail_msg("%s on %s", c->name, a->name);
			} else if (nr != __NR_SCMP_ERROR)
				assert_int_equal(c->number[a->column], -1);
		}
	}
}

static json_t *random_arg(size_t index)
{
	static const char *const ops[] = {"NE", "LT", "LE", "EQ", "EQ", "GE", "GT", "MASKED_EQ"};
	static const uint64_t masks[] = {0xff,        0xffffffff,         0x7e020000,
					 0x100000000, 0x7fffffff00000000, 0xff000000ff};
	const char *op = ops[draw_below(ARRAY_COUNT(ops))];
	uint64_t small = draw_below(6), value = draw_below(3) ? small : small << 31, two = 0;

	if (strcmp(op, "MASKED_EQ") == 0) {
		value = masks[draw_below(ARRAY_COUNT(masks))];
		two = draw() & value;
	}
	return json_pack("{s:I, s:I, s:I, s:o}", "index", (json_int_t)index, "value",
			 (json_int_t)value, "valueTwo", (json_int_t)two, "op",
			 json_sprintf("SCMP_CMP_%s", op));
}

/* 'apart': no argument is compared twice, which would make alternatives of it. */
static json_t *random_rule(unsigned call, const char *action, size_t arg_count, bool apart)
{
	size_t first = draw_below(FILTER_ARGS_MAX);
	json_t *args = json_array();

	for (size_t n = 0; n < arg_count; n++)
		(void)json_array_append_new(
			args, random_arg(apart ? (first + n) % FILTER_ARGS_MAX : draw_below(3)));
	return json_pack("{s:[s], s:o, s:o}", "names", filter_calls[call].name, "action",
			 json_sprintf("SCMP_ACT_%s", action), "args", args);
}

static json_t *random_profile_of(json_t *rules)
{
	static const char *const defaults[] = {"ERRNO", "ALLOW", "KILL_PROCESS", "TRAP"};
	static const char *const all[] = {"X86", "X32", "ARM", "AARCH64", "MIPSEL", "RISCV64"};
	json_t *doc = json_object(), *arches = json_array();

	for (size_t i = 0; i < ARRAY_COUNT(all); i++)
		if (draw_below(2))
			(void)json_array_append_new(arches, json_sprintf("SCMP_ARCH_%s", all[i]));
	(void)json_object_set_new(doc, "defaultAction",
				  json_sprintf("SCMP_ACT_%s", defaults[draw_below(4)]));
	(void)json_object_set_new(doc, "architectures", arches);
	(void)json_object_set_new(doc, "syscalls", rules);
	return doc;
}

/* Calls are drawn from a small set, so that they meet; rules for one call have one action. */
static json_t *random_profile(size_t rules)
{
	static const char *const actions[] = {"ERRNO", "ALLOW", "LOG", "TRACE", "KILL"};
	json_t *list = json_array();

	for (size_t i = 0; i < rules; i++) {
		unsigned k = (unsigned)draw_below(filter_call_count);

		(void)json_array_append_new(list,
					    random_rule(k, actions[k % 5], draw_below(4), false));
	}
	return random_profile_of(list);
}

static void any_profile_is_decided_alike(void **state)
{
	(void)state;
	for (size_t i = 0; i < 16; i++) {
		auto_json json_t *doc = random_profile(i * 11);

		(void)compare(doc, TRUSTED_WITH_EQUAL, false);
	}
}

static void one_rule_is_decided_alike_whatever_it_compares(void **state)
{
	(void)state;
	for (size_t i = 0; i < SMALL; i++) {
		unsigned k = (unsigned)draw_below(filter_call_count);
		json_t *rule = random_rule(k, "LOG", 1 + i % FILTER_ARGS_MAX, true);
		auto_json json_t *doc = random_profile_of(json_pack("[o]", rule));

		(void)compare(doc, TRUSTED_WITH_ONE, true);
	}
}

/* One compare in each: on more of them libseccomp 2.5 may not end. */
static void several_rules_for_one_call_hold_if_one_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < SMALL; i++) {
		unsigned k = (unsigned)draw_below(filter_call_count);
		json_t *rules = json_array();
		auto_json json_t *doc = NULL;

		for (size_t n = 0; n < 2 + i % 3; n++)
			(void)json_array_append_new(rules, random_rule(k, "LOG", 1, true));
		doc = random_profile_of(rules);
		(void)compare(doc, TRUSTED_WITH_EQUAL, true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_architecture_has_libseccomps_numbers),
		cmocka_unit_test(the_default_profile_is_decided_alike),
		cmocka_unit_test(each_operator_is_exact_around_each_value),
		cmocka_unit_test(any_profile_is_decided_alike),
		cmocka_unit_test(one_rule_is_decided_alike_whatever_it_compares),
		cmocka_unit_test(several_rules_for_one_call_hold_if_one_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
