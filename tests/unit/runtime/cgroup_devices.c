/* tests/unit/runtime/cgroup_devices.c
 * SPDX-License-Identifier: Apache-2.0
 *
 * The program for v2 is run by a small interpreter of the instructions that it
 * uses, and must decide as the list says.
 */
#include "tests/unit/unit.h"

#include <linux/bpf.h>
#include <stdlib.h>

#include "base/auto.h"
#include "runtime/cgroup.h"

#define N(value) (&(int64_t){value})

static char all_type[] = "a", block[] = "b", character[] = "c", rwm[] = "rwm", rw[] = "rw",
	    r_only[] = "r", w_only[] = "w";

/* Returns what the program returns. */
static uint32_t run(const struct bpf_insn *p, size_t count, uint32_t type, uint32_t access,
		    uint32_t major, uint32_t minor)
{
	const uint32_t context[3] = {access << 16 | type, major, minor};
	uint32_t r[11] = {0};

	for (size_t i = 0, steps = 0; i < count; i++, steps++) {
		const struct bpf_insn *n = &p[i];
		uint32_t operand = BPF_SRC(n->code) == BPF_X ? r[n->src_reg] : (uint32_t)n->imm;

		assert_true(steps < 10000);
		switch (n->code) {
		case BPF_LDX | BPF_MEM | BPF_W:
			assert_int_equal(n->src_reg, BPF_REG_1);
			r[n->dst_reg] = context[n->off / 4];
			break;
		case BPF_ALU | BPF_MOV | BPF_X:
		case BPF_ALU64 | BPF_MOV | BPF_K:
			r[n->dst_reg] = operand;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			r[n->dst_reg] &= operand;
			break;
		case BPF_ALU | BPF_RSH | BPF_K:
			r[n->dst_reg] >>= operand;
			break;
		case BPF_JMP | BPF_JNE | BPF_K:
			i += r[n->dst_reg] != operand ? (size_t)n->off : 0;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			i += r[n->dst_reg] == operand ? (size_t)n->off : 0;
			break;
		case BPF_JMP | BPF_EXIT:
			return r[0];
		default:
			fail_msg("instruction %zu has code %x", i, n->code);
		}
	}
	fail_msg("the program has no end");
	return 0;
}

struct question {
	uint32_t type, access, major, minor;
	bool allowed;
};

#define C BPF_DEVCG_DEV_CHAR
#define B BPF_DEVCG_DEV_BLOCK

static void check(struct config_device_rule *rules, size_t rule_count,
		  const struct question *questions, size_t count)
{
	const struct js_list list = {rules, rule_count};
	struct device_policy policy = {0};
	auto_free struct bpf_insn *program = NULL;
	struct err e = {0};
	size_t size;

	assert_ok(device_policy_of(&list, &policy, &e));
	program = device_program(&policy, &size);
	for (size_t i = 0; i < count; i++) {
		const struct question *q = &questions[i];

		if (run(program, size, q->type, q->access, q->major, q->minor) != q->allowed)
			fail_msg("question %zu: %s", i, q->allowed ? "denied" : "allowed");
	}
	device_policy_done(&policy);
}

/* devices.rst of cgroup v1 is where these come from. */
static void without_rules_only_the_default_devices_are_there(void **state)
{
	static const struct question questions[] = {
		{C, DEVICE_READ | DEVICE_WRITE, 1, 3, true},
		{C, DEVICE_READ, 1, 9, true},
		{C, DEVICE_READ, 5, 2, true},
		{C, DEVICE_READ | DEVICE_WRITE, 136, 77, true},
		{C, DEVICE_READ, 1, 1, false},
		{B, DEVICE_READ, 8, 0, false},
		{C, DEVICE_MKNOD, 1, 1, true},
		{B, DEVICE_MKNOD, 8, 0, true},
		{C, DEVICE_MKNOD | DEVICE_READ, 1, 1, false},
		{C, DEVICE_READ, 10, 229, false},
	};

	(void)state;
	check(NULL, 0, questions, ARRAY_COUNT(questions));
}

static void later_rules_change_what_earlier_ones_said(void **state)
{
	struct config_device_rule rules[] = {
		{.allow = false, .type = NULL, .access = rwm},
		{.allow = true, .type = character, .major = N(10), .minor = N(1), .access = rw},
		{.allow = false,
		 .type = character,
		 .major = N(10),
		 .minor = N(1),
		 .access = w_only},
		{.allow = true, .type = block, .major = N(8), .access = r_only},
		{.allow = true, .type = character, .major = N(11), .minor = N(0), .access = r_only},
		{.allow = true, .type = character, .major = N(11), .minor = N(0), .access = w_only},
	};
	static const struct question questions[] = {
		{C, DEVICE_READ, 10, 1, true},
		{C, DEVICE_WRITE, 10, 1, false},
		{C, DEVICE_READ | DEVICE_WRITE, 10, 1, false},
		{B, DEVICE_READ, 8, 17, true},
		{B, DEVICE_WRITE, 8, 17, false},
		{C, DEVICE_READ, 8, 17, false},
		{B, DEVICE_READ, 9, 17, false},
		/* Two entries of one device add up. */
		{C, DEVICE_READ | DEVICE_WRITE, 11, 0, true},
		{C, DEVICE_READ | DEVICE_WRITE, 1, 3, true},
	};

	(void)state;
	check(rules, ARRAY_COUNT(rules), questions, ARRAY_COUNT(questions));
}

static void all_but_a_few(void **state)
{
	struct config_device_rule rules[] = {
		{.allow = false, .type = character, .major = N(1), .minor = N(2), .access = r_only},
		{.allow = true, .type = all_type},
		{.allow = false, .type = block, .major = N(8), .minor = N(0), .access = w_only},
	};
	static const struct question questions[] = {
		{C, DEVICE_READ, 1, 2, true},   {B, DEVICE_READ, 8, 0, true},
		{B, DEVICE_WRITE, 8, 0, false}, {B, DEVICE_READ | DEVICE_WRITE, 8, 0, false},
		{B, DEVICE_WRITE, 8, 1, true},  {C, DEVICE_ALL, 200, 200, true},
	};

	(void)state;
	check(rules, ARRAY_COUNT(rules), questions, ARRAY_COUNT(questions));
}

static void rules_that_say_nothing_are_refused(void **state)
{
	static char z[] = "z", two[] = "cc", rwx[] = "rwx";
	const struct {
		struct config_device_rule rule;
		const char *says;
	} rows[] = {
		{{.type = z}, "type 'z'"},
		{{.type = two}, "type 'cc'"},
		{{.access = rwx}, "access 'x'"},
		{{.type = character, .major = N(-2)}, "-2:-1"},
		{{.type = character, .minor = N(1ll << 33)}, "8589934592"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct config_device_rule rule = rows[i].rule;
		const struct js_list list = {&rule, 1};
		struct device_policy policy = {0};
		struct err e = {0};

		assert_fails(device_policy_of(&list, &policy, &e), EINVAL);
		assert_says(rows[i].says);
		assert_says("linux.resources.devices[0]");
	}
}

static void exceptions_are_counted(void **state)
{
	static struct config_device_rule rules[DEVICE_RULES_MAX + 1];
	static int64_t minors[DEVICE_RULES_MAX + 1], major = 99;
	const struct js_list list = {rules, ARRAY_COUNT(rules)};
	struct device_policy policy = {0};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rules); i++) {
		minors[i] = (int64_t)i;
		rules[i] = (struct config_device_rule){
			.allow = true, .type = character, .major = &major, .minor = &minors[i]};
	}
	assert_fails(device_policy_of(&list, &policy, &e), EINVAL);
	assert_says("more than 1024");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_rules_only_the_default_devices_are_there),
		cmocka_unit_test(later_rules_change_what_earlier_ones_said),
		cmocka_unit_test(all_but_a_few),
		cmocka_unit_test(rules_that_say_nothing_are_refused),
		cmocka_unit_test(exceptions_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
