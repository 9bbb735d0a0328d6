/* runtime/priority.c - how the kernel is to treat a process: processor, input and output, memory
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/priority.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/procfs.h"

#define NUMBERS_MAX     8192 /* processors, memory nodes: the kernel's own largest build */
#define BITS            (sizeof(unsigned long) * CHAR_BIT)
#define IO_PRIORITY_MAX 7
#define RT_PRIORITY_MAX 99

struct word {
	const char *name;
	unsigned value;
};

/* The kernel's numbers, not the C library's: it does not have all of them. */
static const struct word policies[] = {
	{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},       {"SCHED_BATCH", 3},
	{"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6},
};

static const struct word policy_flags[] = {
	{"SCHED_FLAG_RESET_ON_FORK", 0x01},  {"SCHED_FLAG_RECLAIM", 0x02},
	{"SCHED_FLAG_DL_OVERRUN", 0x04},     {"SCHED_FLAG_KEEP_POLICY", 0x08},
	{"SCHED_FLAG_KEEP_PARAMS", 0x10},    {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
	{"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
};

static const struct word io_classes[] = {
	{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
	{"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
	{"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE},
};

static const struct word domains[] = {{"LINUX", PER_LINUX}, {"LINUX32", PER_LINUX32}};

static const struct word memory_modes[] = {
	{"MPOL_DEFAULT", 0},
	{"MPOL_PREFERRED", 1},
	{"MPOL_BIND", 2},
	{"MPOL_INTERLEAVE", 3},
	{"MPOL_LOCAL", 4},
	{"MPOL_PREFERRED_MANY", 5},
	{"MPOL_WEIGHTED_INTERLEAVE", 6},
};

static const struct word memory_flags[] = {
	{"MPOL_F_STATIC_NODES", 1u << 15},
	{"MPOL_F_RELATIVE_NODES", 1u << 14},
	{"MPOL_F_NUMA_BALANCING", 1u << 13},
};

static int find(const struct word *list, size_t count, const char *name, const char *member,
		unsigned *ret, struct err *e)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(list[i].name, name)) {
			*ret = list[i].value;
			return 0;
		}
	return err_set(e, EINVAL, "%s: '%s' is unknown", member, name);
}
#define FIND(list, name, member, ret, e) find(list, ARRAY_COUNT(list), name, member, ret, e)

static int find_all(const struct word *list, size_t count, const struct js_strings *names,
		    const char *member, unsigned *ret, struct err *e)
{
	unsigned value = 0, all = 0;

	for (size_t i = 0; i < names->count; i++) {
		if (find(list, count, names->items[i], member, &value, e) < 0)
			return -e->code;
		all |= value;
	}
	*ret = all;
	return 0;
}

/* ---- lists of numbers ---- */

static const char *read_number(const char *p, uint32_t *ret)
{
	size_t len = strspn(p, "0123456789");
	char digits[8];

	if (!len || len >= sizeof(digits))
		return NULL;
	memcpy(digits, p, len);
	digits[len] = '\0';
	return parse_u32(digits, NUMBERS_MAX - 1, ret) ? p + len : NULL;
}

/* "0-3,7" */
static int read_list(const char *list, const char *member, unsigned long mask[NUMBERS_MAX / BITS],
		     struct err *e)
{
	const char *p = list;

	memset(mask, 0, NUMBERS_MAX / CHAR_BIT);
	while (p && *p) {
		uint32_t first = 0, last = 0;

		p = read_number(p, &first);
		last = first;
		if (p && *p == '-')
			p = read_number(p + 1, &last);
		if (!p || last < first || (*p && *p != ',') || (*p == ',' && !p[1]))
			return err_set(e, EINVAL, "%s: '%.64s' is no list like 0-3,7 below %d",
				       member, list, NUMBERS_MAX);
		for (uint32_t n = first; n <= last; n++)
			mask[n / BITS] |= 1ul << n % BITS;
		p += *p == ',';
	}
	return 0;
}

int priority_set_affinity(const char *list, const char *member, struct err *e)
{
	unsigned long mask[NUMBERS_MAX / BITS];

	if (!list || !list[0])
		return 0;
	if (read_list(list, member, mask, e) < 0)
		return -e->code;
	if (syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask) < 0)
		return err_sys(e, "%s: run on processors %.64s", member, list);
	return 0;
}

/* ---- checks ---- */

/* All three are unsigned; without a period the deadline is one. */
static int check_deadline(const struct config_scheduler *s, struct err *e)
{
	uint64_t runtime = (uint64_t)s->runtime, deadline = (uint64_t)s->deadline;
	uint64_t period = s->period ? (uint64_t)s->period : deadline;

	if (runtime && runtime <= deadline && deadline <= period)
		return 0;
	return err_set(e, EINVAL,
		       "process.scheduler: SCHED_DEADLINE: runtime %" PRIu64 ", deadline %" PRIu64
		       ", period %" PRIu64 ": each is to be above zero and at most the next",
		       runtime, deadline, period);
}

static int check_scheduler(const struct config_scheduler *s, struct err *e)
{
	unsigned policy = 0, flags = 0;

	if (FIND(policies, s->policy, "process.scheduler.policy", &policy, e) < 0 ||
	    find_all(policy_flags, ARRAY_COUNT(policy_flags), &s->flags, "process.scheduler.flags",
		     &flags, e) < 0)
		return -e->code;
	if (s->nice < -20 || s->nice > 19)
		return err_set(e, EINVAL, "process.scheduler.nice: %lld is not within -20 and 19",
			       (long long)s->nice);
	if (s->priority < 0 || s->priority > RT_PRIORITY_MAX)
		return err_set(e, EINVAL, "process.scheduler.priority: %lld is not within 0 and %d",
			       (long long)s->priority, RT_PRIORITY_MAX);
	return str_eq(s->policy, "SCHED_DEADLINE") ? check_deadline(s, e) : 0;
}

static int check_io_priority(const struct config_io_priority *p, struct err *e)
{
	unsigned class = 0;

	if (FIND(io_classes, p->class_, "process.ioPriority.class", &class, e) < 0)
		return -e->code;
	if (p->priority < 0 || p->priority > IO_PRIORITY_MAX)
		return err_set(e, EINVAL,
			       "process.ioPriority.priority: %lld is not within 0 and %d",
			       (long long)p->priority, IO_PRIORITY_MAX);
	return 0;
}

int priority_check(const struct config_process *p, struct err *e)
{
	const struct config_affinity *a = p->exec_affinity;
	unsigned long mask[NUMBERS_MAX / BITS];

	if (p->scheduler && check_scheduler(p->scheduler, e) < 0)
		return -e->code;
	if (p->io_priority && check_io_priority(p->io_priority, e) < 0)
		return -e->code;
	if (a && (read_list(a->initial, "process.execCPUAffinity.initial", mask, e) < 0 ||
		  read_list(a->final, "process.execCPUAffinity.final", mask, e) < 0))
		return -e->code;
	return 0;
}

int priority_check_linux(const struct config_linux *l, struct err *e)
{
	const struct config_memory_policy *m = l->memory_policy;
	unsigned long mask[NUMBERS_MAX / BITS];
	unsigned value = 0;

	if (l->personality) {
		if (FIND(domains, l->personality->domain, "linux.personality.domain", &value, e) <
		    0)
			return -e->code;
		if (l->personality->flags.count)
			return err_set(e, EINVAL, "linux.personality.flags: '%s' is unknown",
				       l->personality->flags.items[0]);
	}
	if (m && (FIND(memory_modes, m->mode, "linux.memoryPolicy.mode", &value, e) < 0 ||
		  find_all(memory_flags, ARRAY_COUNT(memory_flags), &m->flags,
			   "linux.memoryPolicy.flags", &value, e) < 0 ||
		  read_list(m->nodes, "linux.memoryPolicy.nodes", mask, e) < 0))
		return -e->code;
	return 0;
}

/* ---- setting ---- */

static int set_scheduler(const struct config_scheduler *s, struct err *e)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_nice = (int32_t)s->nice,
		.sched_priority = (uint32_t)s->priority,
		.sched_runtime = (uint64_t)s->runtime,
		.sched_deadline = (uint64_t)s->deadline,
		.sched_period = (uint64_t)s->period,
	};
	unsigned policy = 0, flags = 0;

	(void)FIND(policies, s->policy, "", &policy, e); /* checked with the config */
	(void)find_all(policy_flags, ARRAY_COUNT(policy_flags), &s->flags, "", &flags, e);
	attr.sched_policy = policy;
	attr.sched_flags = flags;
	if (syscall(SYS_sched_setattr, 0, &attr, 0) < 0)
		return err_sys(e, "process.scheduler: %s", s->policy);
	return 0;
}

static int set_io_priority(const struct config_io_priority *p, struct err *e)
{
	unsigned class = 0;

	(void)FIND(io_classes, p->class_, "", &class, e);
	if (syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		    IOPRIO_PRIO_VALUE(class, (unsigned)p->priority)) < 0)
		return err_sys(e, "process.ioPriority: %s %lld", p->class_, (long long)p->priority);
	return 0;
}

static int set_memory_policy(const struct config_memory_policy *m, struct err *e)
{
	unsigned long mask[NUMBERS_MAX / BITS];
	unsigned mode = 0, flags = 0;
	bool nodes = m->nodes && m->nodes[0];

	(void)FIND(memory_modes, m->mode, "", &mode, e);
	(void)find_all(memory_flags, ARRAY_COUNT(memory_flags), &m->flags, "", &flags, e);
	(void)read_list(m->nodes, "", mask, e);
	if (syscall(SYS_set_mempolicy, mode | flags, nodes ? mask : NULL,
		    nodes ? NUMBERS_MAX : 0) == 0)
		return 0;
	if (errno == ENOSYS)
		return err_set(e, ENOTSUP, "linux.memoryPolicy: this kernel is built without NUMA");
	return err_sys(e, "linux.memoryPolicy: %s of nodes '%.64s'", m->mode,
		       nodes ? m->nodes : "");
}

static int set_personality(const struct config_personality *p, struct err *e)
{
	unsigned domain = 0;

	(void)FIND(domains, p->domain, "", &domain, e);
	if (personality(domain) < 0)
		return err_sys(e, "linux.personality: %s", p->domain);
	return 0;
}

int priority_apply(const struct config_process *p, const struct config_linux *l, struct err *e)
{
	if ((p->scheduler && set_scheduler(p->scheduler, e) < 0) ||
	    (p->io_priority && set_io_priority(p->io_priority, e) < 0))
		return -e->code;
	if (l && l->memory_policy && set_memory_policy(l->memory_policy, e) < 0)
		return -e->code;
	if (l && l->personality && set_personality(l->personality, e) < 0)
		return -e->code;
	return 0;
}

static json_t *word_names(const struct word *list, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, json_string(list[i].name));
	return array;
}

json_t *priority_memory_features(void)
{
	return json_pack("{s:o,s:o}", "modes", word_names(memory_modes, ARRAY_COUNT(memory_modes)),
			 "flags", word_names(memory_flags, ARRAY_COUNT(memory_flags)));
}

/* ---- memory that runs out ---- */

/* What is so already needs no privilege to be made so. */
int priority_set_oom_score(int proc_fd, pid_t pid, int64_t score, struct err *e)
{
	auto_buf struct buf now = BUF_INIT(64);
	char path[64], text[16];
	int64_t current = 0;
	struct err ignored;

	(void)snprintf(path, sizeof(path), "%d/oom_score_adj", (int)pid);
	(void)snprintf(text, sizeof(text), "%lld", (long long)score);
	if (fs_read(proc_fd, path, &now, &ignored) == 0)
		current = strtoll(buf_str(&now), NULL, 10);
	if (current == score || procfs_write(proc_fd, path, text, e) == 0)
		return 0;
	if (e->code == EACCES)
		return err_set(e, EACCES,
			       "process.oomScoreAdj: lowering %lld to %lld takes CAP_SYS_RESOURCE",
			       (long long)current, (long long)score);
	return err_wrap(e, "process.oomScoreAdj");
}
