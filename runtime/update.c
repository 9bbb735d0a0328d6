/* runtime/update.c - other limits for a container that runs
 * SPDX-License-Identifier: Apache-2.0
 *
 * The limits that it has are on record; the new ones are laid over them, and all
 * of it is set again: some of the kernel's files take several members in one.
 * When that fails halfway, those on record are set once more.
 */
#include <assert.h>
#include <errno.h>

#include "base/auto.h"
#include "runtime/container.h"
#include "runtime/systemd.h"

#define DEVICES "devices"

static int set_limits(struct cgroup *c, const struct state *s, const struct config_resources *r,
		      struct err *e)
{
	if (cgroup_limit(c, r, e) < 0)
		return -e->code;
	return s->unit ? systemd_set_limits(s->unit, r, e) : 0;
}

static int set_devices(struct cgroup *c, const json_t *was, const json_t *now,
		       const struct config_resources *r, struct err *e)
{
	const json_t *list = json_object_get(now, DEVICES);

	if (!list || json_equal(list, json_object_get(was, DEVICES)))
		return 0;
	return cgroup_limit_devices(c, &r->devices, e);
}

/* Members of objects are laid over each other, lists are replaced. */
static json_t *lay_over(const json_t *was, const json_t *now)
{
	json_t *both = was ? json_deep_copy(was) : json_object();

	(void)json_object_update_recursive(both, (json_t *)(uintptr_t)now);
	return both;
}

static int update(struct runtime *rt, struct state_doc *doc, int dir_fd, const json_t *resources,
		  struct err *e)
{
	auto_cgroup_host struct cgroup_host host = {0};
	auto_cgroup struct cgroup c = {0};
	struct state *s = &doc->state;
	json_t *was = json_object_get(s->linux_, "resources");
	auto_json json_t *now = lay_over(was, resources);
	struct config_resources wanted, recorded;
	struct err ignored;

	if (config_decode_resources(now, &doc->arena, &wanted, e) < 0 ||
	    config_decode_resources(was, &doc->arena, &recorded, e) < 0 ||
	    cgroup_check_resources(&wanted, e) < 0 ||
	    cgroup_open_recorded(&host, &c, s->cgroup, e) < 0)
		return -e->code;
	c.warn = rt->warn;
	if (set_limits(&c, s, &wanted, e) < 0 || set_devices(&c, was, resources, &wanted, e) < 0) {
		(void)set_limits(&c, s, &recorded, &ignored);
		return -e->code;
	}
	(void)json_object_set(s->linux_, "resources", now);
	return state_write(dir_fd, s, e);
}

int runtime_update(struct runtime *rt, const char *id, const json_t *resources, struct err *e)
{
	auto_close int dir_fd = -1, pidfd = -1;
	auto_state struct state_doc doc = {0};
	int r;

	assert(rt && id && resources);

	if (!json_is_object(resources))
		return err_set(e, EINVAL, "resources: expected an object");
	r = state_open_dir(rt->root_fd, id, &dir_fd, e);
	if (r == 0)
		r = state_lock(dir_fd, id, e);
	if (r == 0)
		r = state_read(dir_fd, &doc, e);
	if (r == 0)
		r = state_open_init(&doc.state, &pidfd, e);
	return r == 0 ? update(rt, &doc, dir_fd, resources, e) : r;
}
