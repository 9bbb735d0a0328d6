/* net/shortcut.c - the maps and programs of shortcuts, and where they are bound
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/shortcut.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"

#define PRIORITY       1
#define SHORTCUT_LOOKS (4 * SHORTCUT_WAYS)
#define LOG_BYTES      512

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* ---- open ---- */

static int make_map(struct err *e)
{
	union bpf_attr attr = {.map_type = BPF_MAP_TYPE_LRU_HASH,
			       .key_size = sizeof(struct shortcut_key),
			       .value_size = sizeof(struct shortcut_way),
			       .max_entries = SHORTCUT_WAYS,
			       .map_name = "berth_ways"};
	int fd = bpf(BPF_MAP_CREATE, &attr);

	return fd < 0 ? err_sys(e, "map of BPF") : fd;
}

static int load_program(const struct shortcut *s, bool receiving, struct err *e)
{
	static const char licence[] = "Apache-2.0";
	size_t count;
	auto_free struct bpf_insn *insns = shortcut_program(receiving, s->ways_fd, &count);
	char log[LOG_BYTES] = "";
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_SCHED_CLS,
			       .insns = (uintptr_t)insns,
			       .insn_cnt = (uint32_t)count,
			       .license = (uintptr_t)licence};
	int fd;

	(void)snprintf(attr.prog_name, sizeof(attr.prog_name), "berth_%s",
		       receiving ? "receive" : "send");
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0 && errno == EACCES) { /* the verifier's last words */
		attr.log_buf = (uintptr_t)log;
		attr.log_size = sizeof(log);
		attr.log_level = 1;
		fd = bpf(BPF_PROG_LOAD, &attr);
	}
	return fd < 0 ? err_sys(e, "program %s of BPF %.*s", attr.prog_name,
				(int)strcspn(log, "\n"), log)
		      : fd;
}

static int open_all(struct shortcut *s, struct err *e)
{
	s->ways_fd = make_map(e);
	if (s->ways_fd < 0)
		return -e->code;
	for (int i = 0; i < 2; i++) {
		s->program_fds[i] = load_program(s, i == 0, e);
		if (s->program_fds[i] < 0)
			return -e->code;
	}
	return 0;
}

int shortcut_open(struct shortcut *ret, struct err *e)
{
	struct shortcut s = SHORTCUT_NONE;

	if (open_all(&s, e) < 0) {
		shortcut_close(&s);
		return -e->code;
	}
	*ret = s;
	return 0;
}

void shortcut_close(struct shortcut *s)
{
	netlink_close(&s->samples);
	close_fd(&s->ways_fd);
	close_fd(&s->program_fds[0]);
	close_fd(&s->program_fds[1]);
	*s = (struct shortcut)SHORTCUT_NONE;
}

/* ---- at links ---- */

void shortcut_make_room(struct netlink *nl, uint32_t link)
{
	const struct tcmsg tc = {.tcm_ifindex = (int)link,
				 .tcm_parent = TC_H_CLSACT,
				 .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0)};
	auto_batch struct batch b = BATCH_INIT;
	struct err ignored; /* no program finds room then, and that is told */

	batch_add(&b, RTM_NEWQDISC, NLM_F_CREATE, &tc, sizeof(tc), "qdisc clsact");
	batch_text(&b, TCA_KIND, "clsact");
	(void)netlink_commit(nl, &b, 0, &ignored);
}

static void change_filter(struct batch *b, unsigned type, uint32_t link, bool receiving)
{
	const struct tcmsg tc = {.tcm_ifindex = (int)link,
				 .tcm_parent = TC_H_MAKE(TC_H_CLSACT, receiving ? TC_H_MIN_INGRESS
										: TC_H_MIN_EGRESS),
				 .tcm_handle = 1,
				 .tcm_info = TC_H_MAKE(PRIORITY << 16, htons(ETH_P_ALL))};

	batch_add(b, type, type == RTM_NEWTFILTER ? NLM_F_CREATE : 0, &tc, sizeof(tc),
		  "program at link %u", link);
	batch_text(b, TCA_KIND, "bpf");
}

int shortcut_bind(const struct shortcut *s, struct netlink *nl, uint32_t link, struct err *e)
{
	auto_batch struct batch b = BATCH_INIT;

	for (int receiving = 0; receiving < 2; receiving++) {
		struct nlattr *options;

		change_filter(&b, RTM_NEWTFILTER, link, receiving);
		options = batch_nest(&b, TCA_OPTIONS);
		batch_u32(&b, TCA_BPF_FD, (uint32_t)s->program_fds[receiving ? 0 : 1]);
		batch_text(&b, TCA_BPF_NAME, "berth");
		batch_u32(&b, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
		batch_nest_end(&b, options);
	}
	return netlink_commit(nl, &b, 0, e);
}

void shortcut_unbind(struct batch *b, uint32_t link)
{
	change_filter(b, RTM_DELTFILTER, link, true);
	change_filter(b, RTM_DELTFILTER, link, false);
}

/* ---- ways ---- */

static int on_way(const struct shortcut *s, int command, const void *key, void *value)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)s->ways_fd, .key = (uintptr_t)key, .value = (uintptr_t)value};

	return bpf(command, &attr);
}

void shortcut_put(struct shortcut *s, const struct shortcut_key *key,
		  const struct shortcut_way *way)
{
	union bpf_attr attr = {.map_fd = (uint32_t)s->ways_fd,
			       .key = (uintptr_t)key,
			       .value = (uintptr_t)way,
			       .flags = BPF_NOEXIST};

	if (bpf(BPF_MAP_UPDATE_ELEM, &attr) == 0)
		s->ways++;
}

static bool is_of(const struct shortcut *s, const struct shortcut_key *key, uint32_t link)
{
	struct shortcut_way way = {0};

	return !link || key->link == link ||
	       (on_way(s, BPF_MAP_LOOKUP_ELEM, key, &way) == 0 && (uint32_t)way.place == link);
}

/*
 * Nobody makes any meanwhile.  Where a program takes the one away that the next is asked
 * for by, the kernel begins anew.
 */
void shortcut_forget(struct shortcut *s, uint32_t link)
{
	struct shortcut_key key, next;
	size_t left = 0;
	bool more;

	if (!s->ways)
		return;
	more = on_way(s, BPF_MAP_GET_NEXT_KEY, NULL, &key) == 0;
	for (size_t i = 0; more && (!link || i < SHORTCUT_LOOKS); i++) {
		more = on_way(s, BPF_MAP_GET_NEXT_KEY, &key, &next) == 0;
		if (is_of(s, &key, link))
			(void)on_way(s, BPF_MAP_DELETE_ELEM, &key, NULL);
		else
			left++;
		key = next;
	}
	s->ways = left;
}
