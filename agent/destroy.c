/* agent/destroy.c - the end of all tasks of a name, for quickstart-stop and uninstalling
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "runtime/runtime.h"

#define DESTROY_MS 60000

/* What is still there, by the keeper's word. */
struct census {
	const struct agent_options *o;
	struct keeper *keeper;
	bool renewed; /* as agent.keeper_renewed */
	size_t asked, removed;
	bool listed, gone;
	char *cgroup_base;
	struct err failed;
};

static void greet(struct census *c, bool other)
{
	struct err e;

	c->renewed = other;
	if (agent_greet_keeper(c->o, c->keeper, other, &e) < 0)
		c->failed = e;
}

static void take_event(struct census *c, const struct keeper_event *ev, bool other)
{
	struct err e = {0};

	for (int i = 0; i < 2; i++)
		if (ev->output_fds[i] >= 0)
			(void)close(ev->output_fds[i]);
	switch (ev->kind) {
	case KEEPER_HELLO:
		if (ev->cgroup_base[0] && !c->cgroup_base)
			c->cgroup_base = xstrdup(ev->cgroup_base);
		greet(c, other);
		break;
	case KEEPER_LISTED:
		c->asked++;
		if (keeper_remove(c->keeper, ev->id, &e) < 0)
			c->failed = e;
		break;
	case KEEPER_LIST_END:
		c->listed = true;
		break;
	case KEEPER_REMOVED:
		c->removed++;
		break;
	case KEEPER_FAILED:
		if (other || ev->command == KEEPER_REMOVE || ev->command == KEEPER_SHUTDOWN)
			c->failed = ev->err;
		break;
	case KEEPER_RESUMED:
		if (c->renewed)
			greet(c, other);
		break;
	case KEEPER_CREATED:
	case KEEPER_STARTED:
	case KEEPER_EXITED:
	case KEEPER_ADOPTED:
	case KEEPER_OUTPUT:
	case KEEPER_EXECUTED:
		break;
	}
}

static bool removed_all(const struct census *c)
{
	return c->listed && c->removed >= c->asked;
}

static bool is_gone(const struct census *c)
{
	return c->gone;
}

static int wait_until(struct census *c, bool (*reached)(const struct census *c), struct err *e)
{
	int64_t deadline = clock_mono_ms() + DESTROY_MS, left;
	struct keeper_event ev;
	int r;

	while (!reached(c)) {
		struct pollfd p = {.fd = keeper_fd(c->keeper), .events = POLLIN};

		if (c->failed.code) {
			*e = c->failed;
			return -e->code;
		}
		left = deadline - clock_mono_ms();
		if (left <= 0)
			return err_set(e, ETIMEDOUT,
				       "the keeper has not removed all containers in %d s",
				       DESTROY_MS / 1000);
		(void)poll(&p, 1, (int)left);
		while ((r = keeper_next(c->keeper, &ev, e)) == 0 || r == KEEPER_OTHER)
			take_event(c, &ev, r == KEEPER_OTHER);
		c->gone = r == KEEPER_GONE;
		if (c->gone && reached != is_gone)
			return err_set(e, EPIPE,
				       "the keeper ended before all containers were removed");
		if (r < 0)
			return r;
	}
	return 0;
}

static int end_containers(struct census *c, const struct agent_options *o, struct err *e)
{
	int r = keeper_connect(o->run_dir, &c->keeper, e);

	/* A dead keeper may have left containers behind: the next one finds them. */
	if (r == KEEPER_ABSENT)
		r = agent_spawn_keeper(o, &c->keeper, e);
	if (r < 0 || wait_until(c, removed_all, e) < 0 || keeper_shutdown(c->keeper, true, e) < 0)
		return -e->code;
	return wait_until(c, is_gone, e);
}

static int end_networks(const struct agent_options *o, struct err *e)
{
	auto_free char *dir = xasprintf("%s/net", o->run_dir);
	const struct net_options options = {.name = o->name,
					    .state_dir = dir,
					    .bridge_cidr = o->bridge_cidr,
					    .trunk = o->trunk};
	struct net *net = NULL;
	int r = net_open(&options, &net, e);

	if (r == 0)
		r = net_destroy(net, e);
	net_close(net);
	return r;
}

int agent_destroy(const struct agent_options *o, struct err *e)
{
	auto_free char *tasks = xasprintf("%s/tasks", o->state_dir);
	auto_free char *ready = xasprintf("%s/ready", o->state_dir);
	auto_free char *cgroup = NULL;
	struct census c = {.o = o};
	int r = end_containers(&c, o, e);

	keeper_disconnect(c.keeper);
	cgroup = c.cgroup_base ? c.cgroup_base : xasprintf("/%s", o->name);
	service_end_former(o, RESOLVER_ID);
	if (r < 0 || end_networks(o, e) < 0 || runtime_cgroup_remove(cgroup, e) < 0 ||
	    fs_remove_tree(AT_FDCWD, tasks, e) < 0 || storage_give_back_all(o->state_dir, e) < 0 ||
	    fs_remove_tree(AT_FDCWD, ready, e) < 0 || fs_remove_tree(AT_FDCWD, o->run_dir, e) < 0)
		return -e->code;
	return 0;
}
