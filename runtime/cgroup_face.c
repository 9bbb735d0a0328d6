/* runtime/cgroup_face.c - the facade's cgroups: those of a task, by path
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"

/* Host and cgroup opened in one; both are the caller's to let go of. */
static int open_by_path(const char *path, struct cgroup_host *h, struct cgroup *c, struct err *e)
{
	if (cgroup_check_path(path, e) < 0 || cgroup_host_open(h, e) < 0 ||
	    cgroup_init(c, h, path, e) < 0)
		return -e->code;
	return cgroup_open(c, e);
}

/* The limits as config.json would have them; 'n' is where the numbers live. */
struct limit_numbers {
	int64_t shares, quota, period, memory, reservation;
	struct config_pids pids;
};

static void to_resources(const struct runtime_limits *l, struct limit_numbers *n,
			 struct config_resources *ret)
{
	*n = (struct limit_numbers){
		.shares = (int64_t)l->cpu_shares,
		.quota = (int64_t)l->cpu_quota_us,
		.period = (int64_t)l->cpu_period_us,
		.memory = (int64_t)l->memory_max_bytes,
		.reservation = (int64_t)l->memory_reservation_bytes,
		.pids = {(int64_t)l->pids_max},
	};
	*ret = (struct config_resources){
		.cpu = {.shares = &n->shares, .quota = &n->quota, .period = &n->period},
		.memory = {.limit = &n->memory, .reservation = &n->reservation},
		.pids = l->pids_max ? &n->pids : NULL,
	};
}

int runtime_cgroup_create(const char *path, const struct runtime_limits *limits, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	struct config_linux checked = {0};
	struct limit_numbers numbers;
	struct err ignored;
	bool existed;
	int r;

	to_resources(limits, &numbers, &checked.resources);
	if (cgroup_check_config(&checked, e) < 0 || cgroup_check_path(path, e) < 0 ||
	    cgroup_host_open(&host, e) < 0)
		return -e->code;
	cgroup_host_narrow(&host, &checked.resources);
	if (cgroup_init(&c, &host, path, e) < 0 || cgroup_open(&c, e) < 0)
		return -e->code;
	existed = cgroup_exists(&c);
	if (cgroup_look(&c, false, e) < 0)
		return -e->code;
	r = cgroup_make(&c, e);
	if (r == 0)
		r = cgroup_limit(&c, &checked.resources, e);
	if (r < 0 && !existed && cgroup_open(&c, &ignored) == 0)
		(void)cgroup_remove(&c, &ignored);
	return r;
}

int runtime_cgroup_remove(const char *path, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};

	if (open_by_path(path, &host, &c, e) < 0)
		return -e->code;
	c.kept = CGROUP_DEPTH_MAX; /* what is above is not ours to judge */
	return cgroup_remove(&c, e);
}

int runtime_cgroup_oom_kills(const char *path, uint64_t *ret, struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};

	if (open_by_path(path, &host, &c, e) < 0)
		return -e->code;
	return cgroup_oom_kills(&c, ret, e);
}
