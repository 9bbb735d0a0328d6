/* agent/node.c - what this host has to offer
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define CPU_UNITS 1024 /* of one core */

static const struct {
	const char *name, *value;
} capabilities[] = {
	{"ecs.os-type", "linux"},
	{"ecs.os-family", "LINUX"},
	{"ecs.capability.external", NULL},
	{"ecs.capability.task-eni", NULL},
	{"ecs.capability.network.container-port-range", NULL},
	{"ecs.capability.ipv6-only", NULL},
	{"com.amazonaws.ecs.capability.logging-driver.awslogs", NULL},
	{"com.amazonaws.ecs.capability.logging-driver.json-file", NULL},
	{"com.amazonaws.ecs.capability.privileged-container", NULL},
};

char *node_boot_id(void)
{
	auto_buf struct buf b = BUF_INIT(64);
	struct err e;

	if (fs_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &b, &e) < 0)
		return xstrdup("unknown");
	if (b.size && b.data[b.size - 1] == '\n')
		b.data[--b.size] = '\0';
	return xstrdup(buf_str(&b));
}

static int64_t cores(void)
{
	cpu_set_t set;

	/* What we may use ourselves: a host in a cpuset has that and no more. */
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : get_nprocs();
}

int64_t node_memory_mib(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return 0;
	return (int64_t)((uint64_t)info.totalram * info.mem_unit >> 20);
}

static void fill_attributes(const struct agent *a, struct arena *arena, const struct utsname *u,
			    struct js_list *ret)
{
	size_t count = ARRAY_COUNT(capabilities) + 1;
	struct ecs_attribute *items =
		arena_alloc(arena, (count + 1 + a->o->attribute_count) * sizeof(*items));

	for (size_t i = 0; i < ARRAY_COUNT(capabilities); i++) {
		items[i].name = arena_strdup(arena, capabilities[i].name);
		items[i].value = capabilities[i].value ? arena_strdup(arena, capabilities[i].value)
						       : NULL;
	}
	items[ARRAY_COUNT(capabilities)] = (struct ecs_attribute){
		.name = arena_strdup(arena, "ecs.cpu-architecture"),
		.value = arena_strdup(arena,
				      strcmp(u->machine, "aarch64") == 0 ? "arm64" : u->machine)};
	if (a->storage_attribute)
		items[count++] =
			(struct ecs_attribute){.name = arena_strdup(arena, a->storage_attribute)};
	if (a->o->attribute_count)
		memcpy(items + count, a->o->attributes, a->o->attribute_count * sizeof(*items));
	*ret = (struct js_list){items, count + a->o->attribute_count};
}

static void fill_public(const struct agent *a, struct arena *arena, struct js_strings *ret)
{
	char text[IP_TEXT_MAX];

	ret->items = arena_alloc(arena, (a->o->public_block_count + 1) * sizeof(char *));
	for (size_t i = 0; i < a->o->public_block_count; i++) {
		ip_prefix_format(&a->o->public_blocks[i], text);
		ret->items[ret->count++] = arena_strdup(arena, text);
	}
}

/* The source of what goes to the world; false: nothing does. */
static bool usual_address(char ret[INET_ADDRSTRLEN])
{
	/* RFC 5737: documentation. Nothing is sent by connecting a datagram socket. */
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0xc0000201)};
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(addr);

	return fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 &&
	       getsockname(fd, (struct sockaddr *)&addr, &len) == 0 &&
	       inet_ntop(AF_INET, &addr.sin_addr, ret, INET_ADDRSTRLEN);
}

/* How others reach this host; a server elsewhere sees the address for itself. */
static void fill_place(const struct agent *a, struct arena *arena, struct ecs_node_hello *ret)
{
	char usual[INET_ADDRSTRLEN], key[NET_KEY_MAX];
	const char *address = a->o->node_address;
	struct err ignored;

	if (!address && !a->identity && usual_address(usual))
		address = usual;
	if (address) {
		ret->addresses.items = arena_alloc(arena, 2 * sizeof(char *));
		ret->addresses.items[ret->addresses.count++] = arena_strdup(arena, address);
	}
	if (str_eq(a->o->transport, "wireguard") && net_public_key(a->net, key, &ignored) == 0)
		ret->public_key = arena_strdup(arena, key);
}

int node_describe(const struct agent *a, struct arena *arena, struct ecs_node_hello *ret,
		  struct err *e)
{
	auto_free char *local = a->identity ? NULL : records_get_meta(a->records, "instance");
	const char *id = a->identity ? identity_instance(a->identity) : local;
	struct utsname u;

	if (uname(&u) < 0)
		return err_sys(e, "uname");
	*ret = (struct ecs_node_hello){
		.protocol = ECS_NODE_PROTOCOL,
		.instance_id = id && *id ? arena_strdup(arena, id) : NULL,
		.hostname = arena_strdup(arena, u.nodename),
		.boot_id = arena_strdup(arena, a->boot_id),
		.version = arena_strdup(arena, BERTH_VERSION),
		.cpu_units = cores() * CPU_UNITS,
		.memory_mib = node_memory_mib() - a->o->reserved_memory_mib,
	};
	if (ret->memory_mib <= 0)
		return err_set(e, EINVAL, "reserved memory of %lld MiB leaves nothing for tasks",
			       (long long)a->o->reserved_memory_mib);
	fill_attributes(a, arena, &u, &ret->attributes);
	ret->gpu_ids = gpus_find(a, arena);
	fill_public(a, arena, &ret->public_addresses);
	fill_place(a, arena, ret);
	sharing_describe(a->sharing, arena, ret);
	return 0;
}
