/* runtime/cgroup_devices.c - which devices a container may use
 * SPDX-License-Identifier: Apache-2.0
 *
 * The spec's list is that of cgroup v1: each entry changes what the ones before
 * it have said.  It is played through once and becomes a default with
 * exceptions; those are written to devices.deny and devices.allow on v1, and
 * become a program of the kernel's BPF machine on v2.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/cgroup.h"

#define ANY (-1)

/* What the spec says every container has (its "default devices"), and pseudo-terminals. */
static const struct device_rule default_rules[] = {
	{'c', ANY, ANY, DEVICE_MKNOD}, /* making a node of any kind is no access */
	{'b', ANY, ANY, DEVICE_MKNOD}, {'c', 1, 3, DEVICE_ALL}, /* null */
	{'c', 1, 5, DEVICE_ALL},                                /* zero */
	{'c', 1, 7, DEVICE_ALL},                                /* full */
	{'c', 1, 8, DEVICE_ALL},                                /* random */
	{'c', 1, 9, DEVICE_ALL},                                /* urandom */
	{'c', 5, 0, DEVICE_ALL},                                /* tty */
	{'c', 5, 2, DEVICE_ALL},                                /* ptmx */
	{'c', 136, ANY, DEVICE_ALL},                            /* pts */
};

/* ---- the policy ---- */

void device_policy_done(struct device_policy *p)
{
	free(p->rules);
	*p = (struct device_policy){0};
}

static struct device_rule *find_rule(struct device_policy *p, const struct device_rule *like)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->rules[i].type == like->type && p->rules[i].major == like->major &&
		    p->rules[i].minor == like->minor)
			return &p->rules[i];
	return NULL;
}

/* One entry of one type: it adds to the exceptions, or takes from them. */
static int play(struct device_policy *p, bool allow, const struct device_rule *rule, struct err *e)
{
	struct device_rule *known = find_rule(p, rule);

	if (allow != p->allow) {
		if (known) {
			known->access |= rule->access;
			return 0;
		}
		if (p->count == DEVICE_RULES_MAX)
			return err_set(e, EINVAL,
				       "linux.resources.devices: more than %d exceptions",
				       DEVICE_RULES_MAX);
		p->rules = xgrow(p->rules, p->count, &p->capacity, sizeof(*p->rules));
		p->rules[p->count++] = *rule;
	} else if (known) {
		known->access &= ~rule->access;
		if (!known->access)
			*known = p->rules[--p->count];
	}
	return 0;
}

static int parse_access(const char *text, unsigned *ret, struct err *e)
{
	unsigned access = 0;

	for (; text && *text; text++) {
		const char *found = strchr("mrw", *text);

		if (!found)
			return err_set(e, EINVAL, "access '%c' is not one of r, w, m", *text);
		access |= 1u << (found[0] == 'm' ? 0 : found[0] == 'r' ? 1 : 2);
	}
	*ret = access ? access : DEVICE_ALL;
	return 0;
}

static int64_t number_or_any(const int64_t *n)
{
	return n ? *n : ANY;
}

static int play_entry(struct device_policy *p, const struct config_device_rule *entry,
		      struct err *e)
{
	const char *type = entry->type && entry->type[0] ? entry->type : "a";
	struct device_rule rule = {.major = number_or_any(entry->major),
				   .minor = number_or_any(entry->minor)};

	if (strlen(type) != 1 || !strchr("abcup", type[0]))
		return err_set(e, EINVAL, "type '%s' is not one of a, b, c", type);
	if (rule.major < ANY || rule.minor < ANY || rule.major > UINT32_MAX ||
	    rule.minor > UINT32_MAX)
		return err_set(e, EINVAL, "no device is %lld:%lld", (long long)rule.major,
			       (long long)rule.minor);
	if (parse_access(entry->access, &rule.access, e) < 0)
		return -e->code;

	/* v1 takes "a" for everything, whatever stands beside it. */
	if (type[0] == 'a') {
		p->allow = entry->allow;
		p->count = 0;
		return 0;
	}
	if (type[0] == 'p')
		return 0; /* a pipe is no device */
	rule.type = type[0] == 'u' ? 'c' : type[0];
	return play(p, entry->allow, &rule, e);
}

int device_policy_of(const struct js_list *rules, struct device_policy *ret, struct err *e)
{
	struct device_policy p = {0};

	for (size_t i = 0; i < rules->count; i++)
		if (play_entry(&p, JS_AT(*rules, struct config_device_rule, i), e) < 0) {
			device_policy_done(&p);
			return err_wrap(e, "linux.resources.devices[%zu]", i);
		}
	for (size_t i = 0; i < ARRAY_COUNT(default_rules); i++)
		if (play(&p, true, &default_rules[i], e) < 0) {
			device_policy_done(&p);
			return -e->code;
		}
	*ret = p;
	return 0;
}

/* ---- v1 ---- */

static void put_number(char *out, size_t size, int64_t n)
{
	if (n == ANY)
		(void)snprintf(out, size, "*");
	else
		(void)snprintf(out, size, "%lld", (long long)n);
}

static void put_rule_text(const struct device_rule *r, char *out, size_t size)
{
	char major[16], minor[16];

	put_number(major, sizeof(major), r->major);
	put_number(minor, sizeof(minor), r->minor);
	(void)snprintf(out, size, "%c %s:%s %s%s%s", r->type, major, minor,
		       r->access & DEVICE_READ ? "r" : "", r->access & DEVICE_WRITE ? "w" : "",
		       r->access & DEVICE_MKNOD ? "m" : "");
}

/* One write(2) for each rule: the file takes no more. */
static int write_v1(int dir_fd, const struct device_policy *p, struct err *e)
{
	const char *file = p->allow ? "devices.deny" : "devices.allow";
	auto_close int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);
	char line[64];

	if (fd < 0)
		return err_sys(e, "open %s", file);
	if (fs_write_at(dir_fd, p->allow ? "devices.allow" : "devices.deny", "a", e) < 0)
		return -e->code;
	for (size_t i = 0; i < p->count; i++) {
		put_rule_text(&p->rules[i], line, sizeof(line));
		if (write(fd, line, strlen(line)) < 0)
			return err_sys(e, "write '%s' to %s", line, file);
	}
	return 0;
}

/* ---- v2 ---- */

static_assert(DEVICE_MKNOD == BPF_DEVCG_ACC_MKNOD && DEVICE_READ == BPF_DEVCG_ACC_READ &&
		      DEVICE_WRITE == BPF_DEVCG_ACC_WRITE,
	      "our bits are the kernel's");

#define RULE_INSNS_MAX 9 /* what put_rule() writes at most */
#define FRAME_INSNS    8
#define PROGRAMS_MAX   64 /* BPF_CGROUP_MAX_PROGS */

struct program {
	struct bpf_insn *insns;
	size_t count;
};

static void put(struct program *p, uint8_t code, unsigned dst, unsigned src, int16_t off,
		int32_t imm)
{
	p->insns[p->count++] = (struct bpf_insn){
		.code = code, .dst_reg = dst & 15u, .src_reg = src & 15u, .off = off, .imm = imm};
}

/* r2: type, r3: access, r4: major, r5: minor. */
static void put_load(struct program *p)
{
	put(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0);
	put(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	put(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	put(p, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	put(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, 4, 0);
	put(p, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, 8, 0);
}

/* Fall through to the next rule unless all of it fits; then return 'verdict'. */
static void put_rule(struct program *p, const struct device_rule *r, int verdict)
{
	size_t jumps[4], count = 0;

	jumps[count++] = p->count;
	put(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
	    r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	if (r->access != DEVICE_ALL) {
		put(p, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_3, 0, 0);
		/* Allowed: nothing is asked for beyond it.  Denied: any of it is asked for. */
		put(p, BPF_ALU | BPF_AND | BPF_K, BPF_REG_6, 0, 0,
		    (int32_t)(verdict ? ~r->access & DEVICE_ALL : r->access));
		jumps[count++] = p->count;
		put(p, (uint8_t)(BPF_JMP | (verdict ? BPF_JNE : BPF_JEQ) | BPF_K), BPF_REG_6, 0, 0,
		    0);
	}
	if (r->major != ANY) {
		jumps[count++] = p->count;
		put(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int32_t)r->major);
	}
	if (r->minor != ANY) {
		jumps[count++] = p->count;
		put(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int32_t)r->minor);
	}
	put(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, verdict);
	put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (size_t i = 0; i < count; i++)
		p->insns[jumps[i]].off = (int16_t)(p->count - jumps[i] - 1);
}

struct bpf_insn *device_program(const struct device_policy *policy, size_t *ret_count)
{
	struct program p = {
		.insns = xcalloc(policy->count * RULE_INSNS_MAX + FRAME_INSNS,
				 sizeof(struct bpf_insn)),
	};

	put_load(&p);
	for (size_t i = 0; i < policy->count; i++)
		put_rule(&p, &policy->rules[i], !policy->allow);
	put(&p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, policy->allow);
	put(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	*ret_count = p.count;
	return p.insns;
}

/* The program that an earlier call has attached, or -1.  All that are attached have to agree. */
static int attached_program(int cgroup_fd)
{
	uint32_t ids[PROGRAMS_MAX] = {0};
	union bpf_attr query = {0}, open_attr = {0};

	query.query.target_fd = (uint32_t)cgroup_fd;
	query.query.attach_type = BPF_CGROUP_DEVICE;
	query.query.prog_ids = (uintptr_t)ids;
	query.query.prog_cnt = PROGRAMS_MAX;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0 || !query.query.prog_cnt)
		return -1;
	open_attr.prog_id = ids[query.query.prog_cnt - 1];
	return (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &open_attr, sizeof(open_attr));
}

static int attach_program(int cgroup_fd, const struct bpf_insn *insns, size_t count, struct err *e)
{
	static const char licence[] = "Apache-2.0";
	char log[256] = "";
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insn_cnt = (uint32_t)count,
		.insns = (uintptr_t)insns,
		.license = (uintptr_t)licence,
	};
	union bpf_attr attach = {
		.target_fd = (uint32_t)cgroup_fd,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	auto_close int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	auto_close int old_fd = attached_program(cgroup_fd);

	if (fd < 0 && errno != ENOSYS && errno != EPERM) {
		load.log_buf = (uintptr_t)log;
		load.log_size = sizeof(log);
		load.log_level = 1;
		fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
	}
	if (fd < 0)
		return err_sys(e, "load the device filter %.*s", (int)strcspn(log, "\n"), log);
	attach.attach_bpf_fd = (uint32_t)fd;
	if (old_fd >= 0) { /* in one step: at no moment is everything allowed or nothing */
		attach.attach_flags |= BPF_F_REPLACE;
		attach.replace_bpf_fd = (uint32_t)old_fd;
	}
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)) < 0)
		return err_sys(e, "attach the device filter");
	return 0;
}

static int limit_v2(int cgroup_fd, const struct device_policy *policy, struct err *e)
{
	auto_free struct bpf_insn *insns = NULL;
	auto_close int old_fd = attached_program(cgroup_fd);
	size_t count;

	if (policy->allow && !policy->count && old_fd < 0)
		return 0;
	insns = device_program(policy, &count);
	return attach_program(cgroup_fd, insns, count, e);
}

/* ---- */

/* A host with a devices hierarchy uses that; every v2 tree can carry a program. */
int cgroup_limit_devices(struct cgroup *c, const struct js_list *rules, struct err *e)
{
	const struct cgroup_hierarchy *v1 = cgroup_host_find(c->host, "devices");
	struct device_policy policy = {0};
	int r, v2_fd = cgroup_v2_fd(c);

	if (device_policy_of(rules, &policy, e) < 0)
		return -e->code;
	if (v1)
		r = write_v1(c->fd[v1 - c->host->items], &policy, e);
	else if (v2_fd >= 0)
		r = limit_v2(v2_fd, &policy, e);
	else
		r = err_set(e, ENOTSUP, "this host has neither a devices controller nor cgroup v2");
	device_policy_done(&policy);
	return r < 0 ? err_wrap(e, "linux.resources.devices: cgroup %s", c->path) : 0;
}
