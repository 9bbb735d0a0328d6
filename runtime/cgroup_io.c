/* runtime/cgroup_io.c - limits for one block device, page size, interface or adapter each
 * SPDX-License-Identifier: Apache-2.0
 *
 * The weights of block devices belong to a scheduler: bfq has a file of its
 * own, which counts 1 .. 1000 as the spec does (10 .. 1000); io.weight of v2
 * counts 1 .. 10000.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/cgroup.h"

#define WEIGHT_MIN    10
#define WEIGHT_MAX    1000
#define IO_WEIGHT_MAX 10000
#define NUMBER_MAX    ((1 << 20) - 1) /* of a device: major, minor */

static const char *controller_of(bool v2)
{
	return v2 ? "io" : "blkio";
}

__attribute__((format(printf, 4, 5))) static struct cgroup_setting *add(struct cgroup_settings *out,
									const char *member,
									const char *controller,
									const char *value, ...)
{
	struct cgroup_setting *s = cgroup_settings_add(out, member, controller);
	va_list args;

	va_start(args, value);
	(void)vsnprintf(s->value, sizeof(s->value), value, args);
	va_end(args);
	return s;
}

static struct cgroup_setting *in_file(struct cgroup_setting *s, const char *file)
{
	(void)snprintf(s->file, sizeof(s->file), "%s", file);
	return s;
}

/* ---- block devices ---- */

static uint32_t io_weight(uint32_t weight)
{
	return 1 + (weight - WEIGHT_MIN) * (IO_WEIGHT_MAX - 1) / (WEIGHT_MAX - WEIGHT_MIN);
}

/* 'device' is "" or "8:0 ". */
static void put_weight(struct cgroup_settings *out, const char *member, bool v2, const char *device,
		       const uint32_t *weight)
{
	const char *suffix = *device && !v2 ? "_device" : "";
	struct cgroup_setting *s;

	if (!weight || !*weight)
		return;
	s = add(out, member, controller_of(v2), "%s%u", device, *weight);
	s->either = true;
	(void)snprintf(s->file, sizeof(s->file), v2 ? "io.bfq.weight%s" : "blkio.weight%s", suffix);
	s = add(out, member, controller_of(v2), "%s%u", device, v2 ? io_weight(*weight) : *weight);
	(void)snprintf(s->file, sizeof(s->file), v2 ? "io.weight%s" : "blkio.bfq.weight%s", suffix);
}

static void put_leaf_weight(struct cgroup_settings *out, const char *member, bool v2,
			    const char *device, const uint32_t *weight)
{
	if (weight && *weight)
		(void)in_file(add(out, member, controller_of(v2), "%s%u", device, *weight),
			      v2        ? ""
			      : *device ? "blkio.leaf_weight_device"
					: "blkio.leaf_weight");
}

static void put_weights(const struct config_block_io *b, bool v2, struct cgroup_settings *out)
{
	put_weight(out, "blockIO.weight", v2, "", b->weight);
	put_leaf_weight(out, "blockIO.leafWeight", v2, "", b->leaf_weight);
	for (size_t i = 0; i < b->weight_devices.count; i++) {
		const struct config_weight_device *d = JS_AT(b->weight_devices,
							     struct config_weight_device, i);
		char device[48];

		(void)snprintf(device, sizeof(device), "%" PRId64 ":%" PRId64 " ", d->major,
			       d->minor);
		put_weight(out, "blockIO.weightDevice", v2, device, d->weight);
		put_leaf_weight(out, "blockIO.weightDevice", v2, device, d->leaf_weight);
	}
}

struct throttle {
	const char *member, *v1_file, *v2_key;
	const struct js_list *list;
};

static void put_throttle(const struct throttle *t, bool v2, struct cgroup_settings *out)
{
	for (size_t i = 0; i < t->list->count; i++) {
		const struct config_throttle_device *d = JS_AT(*t->list,
							       struct config_throttle_device, i);
		struct cgroup_setting *s = add(out, t->member, controller_of(v2),
					       "%" PRId64 ":%" PRId64 " %" PRIu64, d->major,
					       d->minor, (uint64_t)d->rate);

		(void)in_file(s, v2 ? "io.max" : t->v1_file);
		if (v2 && d->rate) /* 0 is no limit: to v1 as it is */
			(void)snprintf(s->value, sizeof(s->value),
				       "%" PRId64 ":%" PRId64 " %s=%" PRIu64, d->major, d->minor,
				       t->v2_key, (uint64_t)d->rate);
		else if (v2)
			(void)snprintf(s->value, sizeof(s->value), "%" PRId64 ":%" PRId64 " %s=max",
				       d->major, d->minor, t->v2_key);
	}
}

#define THROTTLES(b)                                                                            \
	{                                                                                       \
		{"blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps",     \
		 &(b)->read_bps},                                                               \
			{"blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device",   \
			 "wbps", &(b)->write_bps},                                              \
			{"blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device",   \
			 "riops", &(b)->read_iops},                                             \
			{"blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", \
			 "wiops", &(b)->write_iops},                                            \
	}

/* ---- pages, network, rdma ---- */

static void put_hugepages(const struct js_list *list, bool v2, struct cgroup_settings *out)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct config_hugepage *p = JS_AT(*list, struct config_hugepage, i);

		/* Pages in use, and pages reserved, which older kernels do not count. */
		for (unsigned reserved = 0; reserved < 2; reserved++) {
			struct cgroup_setting *s = add(out, "hugepageLimits", "hugetlb", "%" PRIu64,
						       (uint64_t)p->limit);

			s->spare = reserved;
			(void)snprintf(s->file, sizeof(s->file), "hugetlb.%.16s.%s%s", p->page_size,
				       reserved ? "rsvd." : "", v2 ? "max" : "limit_in_bytes");
		}
	}
}

static void put_network(const struct config_network *n, struct cgroup_settings *out)
{
	if (n->class_id && *n->class_id)
		(void)in_file(add(out, "network.classID", "net_cls", "%u", *n->class_id),
			      "net_cls.classid");
	for (size_t i = 0; i < n->priorities.count; i++) {
		const struct config_net_priority *p = JS_AT(n->priorities,
							    struct config_net_priority, i);

		(void)in_file(
			add(out, "network.priorities", "net_prio", "%s %u", p->name, p->priority),
			"net_prio.ifpriomap");
	}
}

static void put_rdma(const struct js_list *list, struct cgroup_settings *out)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct config_rdma *d = JS_AT(*list, struct config_rdma, i);
		struct cgroup_setting *s = in_file(add(out, "rdma", "rdma", "%s", d->key),
						   "rdma.max");
		const struct {
			const char *word;
			const uint32_t *value;
		} limits[] = {{"hca_handle", d->handles}, {"hca_object", d->objects}};

		for (size_t k = 0; k < ARRAY_COUNT(limits); k++) {
			size_t len = strlen(s->value);

			if (limits[k].value)
				(void)snprintf(s->value + len, sizeof(s->value) - len, " %s=%u",
					       limits[k].word, *limits[k].value);
		}
	}
}

void cgroup_settings_of_lists(const struct config_resources *r, bool v2,
			      struct cgroup_settings *ret)
{
	const struct throttle throttles[] = THROTTLES(&r->block_io);

	put_weights(&r->block_io, v2, ret);
	for (size_t i = 0; i < ARRAY_COUNT(throttles); i++)
		put_throttle(&throttles[i], v2, ret);
	put_hugepages(&r->hugepages, v2, ret);
	put_network(&r->network, ret);
	put_rdma(&r->rdma, ret);
}

/* ---- checks ---- */

static int check_count(const struct js_list *list, const char *member, struct err *e)
{
	if (list->count > CONFIG_LIST_MAX)
		return err_set(e, EINVAL, "linux.resources.%s: more than %d", member,
			       CONFIG_LIST_MAX);
	return 0;
}

static int check_weight(const uint32_t *weight, const char *member, struct err *e)
{
	if (weight && *weight && (*weight < WEIGHT_MIN || *weight > WEIGHT_MAX))
		return err_set(e, EINVAL, "linux.resources.%s: %u is not within %d and %d", member,
			       *weight, WEIGHT_MIN, WEIGHT_MAX);
	return 0;
}

static int check_device(int64_t major, int64_t minor, const char *member, struct err *e)
{
	if (major < 0 || major > NUMBER_MAX || minor < 0 || minor > NUMBER_MAX)
		return err_set(e, EINVAL, "linux.resources.%s: no device is %" PRId64 ":%" PRId64,
			       member, major, minor);
	return 0;
}

static int check_block_io(const struct config_block_io *b, struct err *e)
{
	const struct throttle throttles[] = THROTTLES(b);

	if (check_weight(b->weight, "blockIO.weight", e) < 0 ||
	    check_weight(b->leaf_weight, "blockIO.leafWeight", e) < 0 ||
	    check_count(&b->weight_devices, "blockIO.weightDevice", e) < 0)
		return -e->code;
	for (size_t i = 0; i < b->weight_devices.count; i++) {
		const struct config_weight_device *d = JS_AT(b->weight_devices,
							     struct config_weight_device, i);

		if (check_device(d->major, d->minor, "blockIO.weightDevice", e) < 0 ||
		    check_weight(d->weight, "blockIO.weightDevice.weight", e) < 0 ||
		    check_weight(d->leaf_weight, "blockIO.weightDevice.leafWeight", e) < 0)
			return -e->code;
	}
	for (size_t i = 0; i < ARRAY_COUNT(throttles); i++) {
		const struct throttle *t = &throttles[i];

		if (check_count(t->list, t->member, e) < 0)
			return -e->code;
		for (size_t k = 0; k < t->list->count; k++) {
			const struct config_throttle_device *d =
				JS_AT(*t->list, struct config_throttle_device, k);

			if (check_device(d->major, d->minor, t->member, e) < 0)
				return -e->code;
		}
	}
	return 0;
}

/* "2MB", "1GB" */
static bool is_page_size(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits && digits < 8 && text[digits] && strchr("KMG", text[digits]) &&
	       str_eq(text + digits + 1, "B");
}

int cgroup_check_lists(const struct config_resources *r, struct err *e)
{
	if (check_block_io(&r->block_io, e) < 0 ||
	    check_count(&r->hugepages, "hugepageLimits", e) < 0 ||
	    check_count(&r->network.priorities, "network.priorities", e) < 0)
		return -e->code;
	for (size_t i = 0; i < r->hugepages.count; i++) {
		const struct config_hugepage *p = JS_AT(r->hugepages, struct config_hugepage, i);

		if (!is_page_size(p->page_size))
			return err_set(
				e, EINVAL,
				"linux.resources.hugepageLimits[%zu].pageSize: '%.32s' is not "
				"like 2MB",
				i, p->page_size);
	}
	for (size_t i = 0; i < r->network.priorities.count; i++) {
		const char *name =
			JS_AT(r->network.priorities, struct config_net_priority, i)->name;

		if (!*name || strlen(name) > 15 || strpbrk(name, "/ \n"))
			return err_set(
				e, EINVAL,
				"linux.resources.network.priorities[%zu].name: '%.32s' is no "
				"name of an interface",
				i, name);
	}
	for (size_t i = 0; i < r->rdma.count; i++) {
		const char *name = JS_AT(r->rdma, struct config_rdma, i)->key;

		if (!*name || strlen(name) > 64 || strpbrk(name, "/ \n"))
			return err_set(e, EINVAL, "linux.resources.rdma: '%.64s' is no device",
				       name);
	}
	return 0;
}
