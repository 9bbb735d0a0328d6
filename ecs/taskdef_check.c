/* ecs/taskdef_check.c - the rules of RegisterTaskDefinition
 * SPDX-License-Identifier: Apache-2.0
 *
 * Types and enums were checked against the model before.  Where ECS's own
 * wording is known it is used; every message names the container and the value.
 */
#include "ecs/taskdef.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "ecs/arn.h"

#define PORTS_MAX 100 /* of a container */

struct check {
	const struct ecs_task_definition *task;
	const struct ecs_container_definition *container;
	const char *region, *network_mode;
	struct ecs_fault *fault;
};

#define refuse(c, ...) ecs_fault_set((c)->fault, ECS_FAULT_CLIENT, __VA_ARGS__)

static int refuse_setting(const struct check *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* "Invalid setting for container 'web'. ..." */
static int refuse_setting(const struct check *c, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return refuse(c, "Invalid setting for container '%.100s'. %s", c->container->name, text);
}

static bool one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

/* ---- container ---- */

static int check_name_and_image(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	if (!d->name || !*d->name)
		return refuse(c, "Container.name should not be null or empty.");
	if (!ecs_name_is_valid(d->name))
		return refuse(c, "Container.name contains invalid characters: '%.100s'", d->name);
	if (!d->image || !*d->image)
		return refuse(c, "Container.image should not be null or empty.");
	if (strpbrk(d->image, " \t\r\n"))
		return refuse(c, "Container.image contains invalid characters: '%.200s'", d->image);
	for (size_t i = 0; i < c->task->containers.count; i++) {
		const struct ecs_container_definition *other =
			JS_AT(c->task->containers, struct ecs_container_definition, i);

		if (other != d && str_eq(other->name, d->name))
			return refuse(c, "Container.name must be unique: '%.100s' is used twice.",
				      d->name);
	}
	return 0;
}

static int check_repository_credentials(const struct check *c)
{
	const char *parameter = c->container->repository_credentials.parameter;
	char name[ECS_SECRET_NAME_SIZE];

	if (parameter && !ecs_secret_name(parameter, name))
		return refuse_setting(
			c,
			"'credentialsParameter' is '%.200s', which is neither the ARN "
			"of a secret nor the name of one.",
			parameter);
	return 0;
}

static int check_resources(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;
	int64_t task_memory = 0;

	if (d->cpu < 0 || d->cpu > 262144)
		return refuse_setting(c, "'cpu' must be from 0 to 262144 CPU units.");
	if (!d->memory && !d->memory_reservation && !c->task->memory)
		return refuse_setting(
			c, "At least one of 'memory' or 'memoryReservation' must be specified.");
	if (d->memory && *d->memory < ECS_MEMORY_MIN_MIB)
		return refuse_setting(c, "'memory' is %lld MiB, the minimum is %d MiB.",
				      (long long)*d->memory, ECS_MEMORY_MIN_MIB);
	if (d->memory_reservation && *d->memory_reservation < ECS_MEMORY_MIN_MIB)
		return refuse_setting(c, "'memoryReservation' is %lld MiB, the minimum is %d MiB.",
				      (long long)*d->memory_reservation, ECS_MEMORY_MIN_MIB);
	if (d->memory && d->memory_reservation && *d->memory < *d->memory_reservation)
		return refuse_setting(c, "'memory' must be greater than 'memoryReservation'.");
	if (c->task->memory && ecs_parse_memory(c->task->memory, &task_memory) && d->memory &&
	    *d->memory > task_memory)
		return refuse_setting(
			c, "'memory' of the container is greater than that of the task.");
	if (d->stop_timeout && (*d->stop_timeout < 0 || *d->stop_timeout > ECS_STOP_TIMEOUT_MAX_S))
		return refuse_setting(c, "'stopTimeout' must be from 0 to %d seconds.",
				      ECS_STOP_TIMEOUT_MAX_S);
	return 0;
}

/* In these modes a container's port is one of a network that others share. */
static bool ports_must_match(const struct check *c)
{
	return str_eq(c->network_mode, "host") || str_eq(c->network_mode, "awsvpc");
}

/* Some ports in a row; first 0: none. */
struct span {
	uint16_t first, last;
};

static struct span container_span(const struct ecs_port_mapping *p)
{
	struct span s;

	ecs_container_ports(p, &s.first, &s.last);
	return s;
}

/* Those that nobody else can have. */
static struct span taken_span(const struct check *c, const struct ecs_port_mapping *p)
{
	if (ports_must_match(c))
		return container_span(p);
	return (struct span){(uint16_t)p->host_port, (uint16_t)p->host_port};
}

static bool overlap(struct span a, struct span b)
{
	return a.first && b.first && a.first <= b.last && b.first <= a.last;
}

static int check_port_number(const struct check *c, const struct ecs_port_mapping *p)
{
	const char *range = p->container_port_range;
	uint16_t first, last;

	if (range && p->container_port)
		return refuse_setting(
			c, "'containerPort' and 'containerPortRange' exclude each other.");
	if (range && !ecs_parse_port_range(range, &first, &last))
		return refuse_setting(c,
				      "Invalid containerPortRange '%.40s': two ports from 1 to "
				      "65535, the first less than the last, as in 8000-8100.",
				      range);
	if (range && str_eq(c->network_mode, "host"))
		return refuse(c, "containerPortRange is not supported when networkMode=host.");
	if (range && p->host_port)
		return refuse_setting(c, "'hostPort' and 'containerPortRange' exclude each other.");
	if (!range && (p->container_port < 1 || p->container_port > UINT16_MAX))
		return refuse_setting(c, "Invalid container port %lld.",
				      (long long)p->container_port);
	if (p->host_port < 0 || p->host_port > UINT16_MAX)
		return refuse_setting(c, "Invalid host port %lld.", (long long)p->host_port);
	if (ports_must_match(c) && p->host_port && p->host_port != p->container_port)
		return refuse(c,
			      "When networkMode=%s, the host ports and container ports in port "
			      "mappings must match.",
			      c->network_mode);
	return 0;
}

/* Against another mapping of the same protocol, of this container or of another one. */
static int check_pair(const struct check *c, const struct ecs_port_mapping *p,
		      const struct ecs_port_mapping *q, bool same_container)
{
	struct span taken = taken_span(c, p);

	if (same_container && (p->container_port_range || q->container_port_range) &&
	    overlap(container_span(p), container_span(q)))
		return refuse_setting(c, "A port can only be in one port mapping: %s overlaps.",
				      p->container_port_range ? p->container_port_range
							      : q->container_port_range);
	if (overlap(taken, taken_span(c, q)))
		return refuse_setting(c, "Host port %u/%s is mapped twice.", taken.first,
				      str_eq(p->protocol, "udp") ? "udp" : "tcp");
	return 0;
}

static int check_port(const struct check *c, const struct ecs_port_mapping *p)
{
	bool udp = str_eq(p->protocol, "udp");

	if (check_port_number(c, p) < 0)
		return -1;
	for (size_t i = 0; i < c->task->containers.count; i++) {
		const struct ecs_container_definition *d =
			JS_AT(c->task->containers, struct ecs_container_definition, i);

		for (size_t j = 0; j < d->port_mappings.count; j++) {
			const struct ecs_port_mapping *q = JS_AT(d->port_mappings,
								 struct ecs_port_mapping, j);

			if (q != p && udp == str_eq(q->protocol, "udp") &&
			    check_pair(c, p, q, d == c->container) < 0)
				return -1;
		}
	}
	return 0;
}

static int check_ports(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	if (!d->port_mappings.count)
		return 0;
	if (str_eq(c->network_mode, "none"))
		return refuse(c, "Port mappings are not allowed when networkMode=none.");
	if (d->disable_networking)
		return refuse_setting(c,
				      "'portMappings' and 'disableNetworking' exclude each other.");
	if (d->port_mappings.count > PORTS_MAX)
		return refuse_setting(c, "More than %d port mappings.", PORTS_MAX);
	for (size_t i = 0; i < d->port_mappings.count; i++)
		if (check_port(c, JS_AT(d->port_mappings, struct ecs_port_mapping, i)) < 0)
			return -1;
	return 0;
}

static bool is_container_path(const char *path)
{
	return path && path[0] == '/' && path[1] && !strstr(path, "/../") && !str_ends(path, "/..");
}

static int check_mounts(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	for (size_t i = 0; i < d->mount_points.count; i++) {
		const struct ecs_mount_point *m = JS_AT(d->mount_points, struct ecs_mount_point, i);
		bool known = false;

		for (size_t j = 0; j < c->task->volumes.count; j++)
			known |= str_eq(JS_AT(c->task->volumes, struct ecs_volume, j)->name,
					m->source_volume);
		if (!known)
			return refuse(c, "Unknown volume '%.100s'.",
				      m->source_volume ? m->source_volume : "");
		if (!is_container_path(m->container_path))
			return refuse_setting(c,
					      "'containerPath' must be an absolute path: '%.200s'",
					      m->container_path ? m->container_path : "");
	}
	for (size_t i = 0; i < d->linux_parameters.tmpfs.count; i++) {
		const struct ecs_tmpfs *t = JS_AT(d->linux_parameters.tmpfs, struct ecs_tmpfs, i);

		if (!is_container_path(t->container_path) || t->size < 1)
			return refuse_setting(
				c, "'tmpfs' needs an absolute 'containerPath' and a 'size' of "
				   "at least 1 MiB.");
	}
	if (d->linux_parameters.shared_memory_size && *d->linux_parameters.shared_memory_size < 0)
		return refuse_setting(c, "'sharedMemorySize' must not be negative.");
	return 0;
}

static int check_capability_names(const struct check *c, const struct js_strings *names)
{
	/* The names of capabilities(7), as ECS lists them. */
	static const char *const known[] = {"ALL",
					    "AUDIT_CONTROL",
					    "AUDIT_WRITE",
					    "BLOCK_SUSPEND",
					    "CHOWN",
					    "DAC_OVERRIDE",
					    "DAC_READ_SEARCH",
					    "FOWNER",
					    "FSETID",
					    "IPC_LOCK",
					    "IPC_OWNER",
					    "KILL",
					    "LEASE",
					    "LINUX_IMMUTABLE",
					    "MAC_ADMIN",
					    "MAC_OVERRIDE",
					    "MKNOD",
					    "NET_ADMIN",
					    "NET_BIND_SERVICE",
					    "NET_BROADCAST",
					    "NET_RAW",
					    "SETFCAP",
					    "SETGID",
					    "SETPCAP",
					    "SETUID",
					    "SYS_ADMIN",
					    "SYS_BOOT",
					    "SYS_CHROOT",
					    "SYS_MODULE",
					    "SYS_NICE",
					    "SYS_PACCT",
					    "SYS_PTRACE",
					    "SYS_RAWIO",
					    "SYS_RESOURCE",
					    "SYS_TIME",
					    "SYS_TTY_CONFIG",
					    "SYSLOG",
					    "WAKE_ALARM",
					    NULL};

	for (size_t i = 0; i < names->count; i++)
		if (!one_of(names->items[i], known))
			return refuse_setting(c, "Unknown capability '%.100s'.", names->items[i]);
	return 0;
}

static int check_limits(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	for (size_t i = 0; i < d->ulimits.count; i++) {
		const struct ecs_ulimit *u = JS_AT(d->ulimits, struct ecs_ulimit, i);

		if (u->soft_limit < -1 || u->hard_limit < -1 ||
		    (u->hard_limit != -1 && (u->soft_limit == -1 || u->soft_limit > u->hard_limit)))
			return refuse_setting(
				c, "ulimit '%s': the soft limit %lld is over the hard limit %lld.",
				u->name, (long long)u->soft_limit, (long long)u->hard_limit);
	}
	if (check_capability_names(c, &d->linux_parameters.capabilities.add) < 0 ||
	    check_capability_names(c, &d->linux_parameters.capabilities.drop) < 0)
		return -1;
	return 0;
}

static int check_requirements(const struct check *c)
{
	const struct js_list *list = &c->container->resource_requirements;
	int64_t value;

	for (size_t i = 0; i < list->count; i++) {
		const struct ecs_resource_requirement *r =
			JS_AT(*list, struct ecs_resource_requirement, i);

		if (!str_eq(r->type, "GPU"))
			return refuse(c,
				      "resourceRequirements of type %.40s is not supported by this "
				      "version of Berth: use GPU.",
				      r->type);
		if (i)
			return refuse_setting(c, "There is a second resource requirement of type "
						 "GPU.");
		if (!parse_i64(r->value, 1, ECS_GPUS_MAX, &value))
			return refuse_setting(c,
					      "The value '%.40s' of the resource requirement GPU "
					      "is not a number from 1 to %d.",
					      r->value, ECS_GPUS_MAX);
	}
	return 0;
}

static int check_system_controls(const struct check *c)
{
	static const char *const exact[] = {
		"kernel.msgmax", "kernel.msgmnb",          "kernel.msgmni",
		"kernel.sem",    "kernel.shmall",          "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced", NULL};
	const struct ecs_container_definition *d = c->container;

	for (size_t i = 0; i < d->system_controls.count; i++) {
		const struct ecs_key_value *s = JS_AT(d->system_controls, struct ecs_key_value, i);
		bool net = s->name && str_starts(s->name, "net.");

		if (!s->name || !s->value || strpbrk(s->name, "/ ") ||
		    (!net && !str_starts(s->name, "fs.mqueue.") && !one_of(s->name, exact)))
			return refuse_setting(
				c,
				"'systemControls' namespace '%.100s' is not one that a "
				"container may set.",
				s->name ? s->name : "");
		if (net && str_eq(c->network_mode, "host"))
			return refuse_setting(c,
					      "'systemControls' '%.100s' is not allowed when "
					      "networkMode=host.",
					      s->name);
	}
	return 0;
}

static bool is_address(const char *text)
{
	unsigned char bytes[16];

	return text &&
	       (inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1);
}

/* What has no meaning where containers share the task's network, or have none. */
static int check_network(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	if (!str_eq(c->network_mode, "awsvpc"))
		return 0;
	if (d->hostname)
		return refuse(c, "hostname is not supported on container when networkMode=awsvpc.");
	if (d->extra_hosts.count)
		return refuse(c,
			      "extraHosts is not supported on container when networkMode=awsvpc.");
	if (d->disable_networking)
		return refuse(c, "disableNetworking is not supported on container when "
				 "networkMode=awsvpc.");
	return 0;
}

/* ---- links ---- */

static int container_index(const struct check *c, const char *name, size_t len)
{
	for (size_t i = 0; i < c->task->containers.count; i++) {
		const char *other =
			JS_AT(c->task->containers, struct ecs_container_definition, i)->name;

		if (other && strlen(other) == len && strncmp(other, name, len) == 0)
			return (int)i;
	}
	return -1;
}

static int check_link(const struct check *c, const char *link, size_t earlier)
{
	const struct js_strings *links = &c->container->links;
	size_t len = ecs_link_name_len(link);
	const char *alias = link[len] ? link + len + 1 : link;
	int to = container_index(c, link, len);

	if (!ecs_name_is_valid(alias))
		return refuse_setting(c, "Invalid link '%.100s': it is NAME or NAME:ALIAS.", link);
	if (to < 0)
		return refuse_setting(c, "Link '%.100s' is to a container that does not exist.",
				      link);
	if (JS_AT(c->task->containers, struct ecs_container_definition, (size_t)to)
		    ->disable_networking)
		return refuse_setting(c, "Link '%.100s' is to a container without a network.",
				      link);
	while (earlier--) {
		const char *other = links->items[earlier];
		size_t skip = ecs_link_name_len(other);

		if (strcmp(other[skip] ? other + skip + 1 : other, alias) == 0)
			return refuse_setting(c, "The alias '%.100s' is used by two links.", alias);
	}
	return 0;
}

static int check_links(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	if (!d->links.count)
		return 0;
	if (!str_eq(c->network_mode, "bridge"))
		return refuse(c, "Links are not supported when networkMode=%s.", c->network_mode);
	if (d->disable_networking)
		return refuse_setting(c, "'links' and 'disableNetworking' exclude each other.");
	for (size_t i = 0; i < d->links.count; i++)
		if (check_link(c, d->links.items[i], i) < 0)
			return -1;
	return 0;
}

/* Every container can be made at last, if each waits for those that it links to. */
static int check_link_cycles(const struct check *c)
{
	bool made[ECS_CONTAINERS_MAX] = {false};
	size_t left = c->task->containers.count;

	for (bool progress = true; left && progress;) {
		progress = false;
		for (size_t i = 0; i < c->task->containers.count; i++) {
			const struct js_strings *links = &JS_AT(c->task->containers,
								struct ecs_container_definition, i)
								  ->links;
			bool waits = made[i];

			for (size_t k = 0; k < links->count; k++)
				waits |= !made[container_index(c, links->items[k],
							       ecs_link_name_len(links->items[k]))];
			if (waits)
				continue;
			made[i] = progress = true;
			left--;
		}
	}
	return left ? refuse(c, "Container links should not have a cycle") : 0;
}

static int check_names(const struct check *c)
{
	const struct ecs_container_definition *d = c->container;

	for (size_t i = 0; i < d->dns_servers.count; i++)
		if (!is_address(d->dns_servers.items[i]))
			return refuse_setting(
				c, "'dnsServers' has '%.100s', which is not an IP address.",
				d->dns_servers.items[i]);
	for (size_t i = 0; i < d->dns_search_domains.count; i++)
		if (!*d->dns_search_domains.items[i] ||
		    strpbrk(d->dns_search_domains.items[i], " \t\r\n"))
			return refuse_setting(c, "'dnsSearchDomains' has an invalid name '%.100s'.",
					      d->dns_search_domains.items[i]);
	for (size_t i = 0; i < d->extra_hosts.count; i++) {
		const struct ecs_host_entry *h = JS_AT(d->extra_hosts, struct ecs_host_entry, i);

		if (!h->hostname || !*h->hostname || strpbrk(h->hostname, " \t\r\n#") ||
		    !is_address(h->ip_address))
			return refuse_setting(
				c,
				"'extraHosts' needs a hostname and an IP address: '%.100s' "
				"'%.60s'",
				h->hostname ? h->hostname : "", h->ip_address ? h->ip_address : "");
	}
	if (d->hostname && (strlen(d->hostname) > 63 || strpbrk(d->hostname, " \t\r\n/")))
		return refuse_setting(c, "Invalid hostname '%.100s'.", d->hostname);
	for (size_t i = 0; i < d->environment.count; i++) {
		const struct ecs_key_value *v = JS_AT(d->environment, struct ecs_key_value, i);

		if (!v->name || !*v->name || strchr(v->name, '='))
			return refuse_setting(c, "Invalid environment variable name '%.100s'.",
					      v->name ? v->name : "");
	}
	return 0;
}

/* ---- logs ---- */

static const char *option(const struct ecs_log_configuration *l, const char *name)
{
	for (size_t i = 0; i < l->options.count; i++)
		if (strcmp(l->options.items[i].key, name) == 0)
			return l->options.items[i].value;
	return NULL;
}

static int check_option_names(const struct check *c, const char *const *known)
{
	const struct ecs_log_configuration *l = c->container->log_configuration;

	for (size_t i = 0; i < l->options.count; i++)
		if (!one_of(l->options.items[i].key, known))
			return refuse_setting(c,
					      "Log driver %s does not support the option '%.100s'.",
					      l->log_driver, l->options.items[i].key);
	return 0;
}

static int check_awslogs(const struct check *c)
{
	static const char *const known[] = {"awslogs-group",
					    "awslogs-region",
					    "awslogs-stream-prefix",
					    "awslogs-create-group",
					    "mode",
					    "max-buffer-size",
					    NULL};
	const struct ecs_log_configuration *l = c->container->log_configuration;
	const char *region = option(l, "awslogs-region"), *mode = option(l, "mode");

	if (check_option_names(c, known) < 0)
		return -1;
	if (!option(l, "awslogs-group"))
		return refuse(c, "Log driver awslogs requires options: awslogs-group");
	if (region && strcmp(region, c->region) != 0)
		return refuse_setting(
			c,
			"Log driver awslogs: awslogs-region '%.60s' is not this server's "
			"region '%s'.",
			region, c->region);
	if (mode && strcmp(mode, "blocking") != 0 && strcmp(mode, "non-blocking") != 0)
		return refuse_setting(c,
				      "Log driver awslogs: mode '%.60s' is neither blocking nor "
				      "non-blocking.",
				      mode);
	return 0;
}

/* "10m": a number and k, m or g. */
static bool is_size(const char *text)
{
	size_t digits = strspn(text, "0123456789");

	return digits > 0 && digits < 10 &&
	       (!text[digits] || (strchr("kKmMgG", text[digits]) && !text[digits + 1]));
}

static int check_json_file(const struct check *c)
{
	static const char *const known[] = {"max-size", "max-file", NULL};
	const struct ecs_log_configuration *l = c->container->log_configuration;
	const char *size = option(l, "max-size"), *file = option(l, "max-file");
	int64_t count;

	if (check_option_names(c, known) < 0)
		return -1;
	if (size && !is_size(size))
		return refuse_setting(
			c, "Log driver json-file: max-size '%.60s' is not a size such as 10m.",
			size);
	if (file && !parse_i64(file, 1, 1000, &count))
		return refuse_setting(
			c,
			"Log driver json-file: max-file '%.60s' is not a number from 1 to "
			"1000.",
			file);
	return 0;
}

static int check_logs(const struct check *c)
{
	const struct ecs_log_configuration *l = c->container->log_configuration;

	if (!l)
		return 0;
	if (str_eq(l->log_driver, "awslogs"))
		return check_awslogs(c);
	if (str_eq(l->log_driver, "json-file"))
		return check_json_file(c);
	return refuse_setting(
		c,
		"Log driver '%s' is not supported by this version of Berth: use awslogs or "
		"json-file.",
		l->log_driver);
}

/* ---- task ---- */

static int check_family(const struct check *c)
{
	const char *family = c->task->family;

	if (!family || !*family)
		return refuse(c, "Family should not be null or empty.");
	if (!ecs_name_is_valid(family))
		return refuse(c, "Family contains invalid characters.");
	return 0;
}

static int check_platform(const struct check *c)
{
	const struct ecs_task_definition *t = c->task;

	for (size_t i = 0; i < t->requires_compatibilities.count; i++)
		if (strcmp(t->requires_compatibilities.items[i], "EC2") != 0 &&
		    strcmp(t->requires_compatibilities.items[i], "EXTERNAL") != 0)
			return refuse(
				c,
				"requiresCompatibilities '%s' is not supported by this version of "
				"Berth: use EC2 or EXTERNAL.",
				t->requires_compatibilities.items[i]);
	if (t->runtime_platform.operating_system_family &&
	    strcmp(t->runtime_platform.operating_system_family, "LINUX") != 0)
		return refuse(
			c, "runtimePlatform.operatingSystemFamily '%s' is not supported by Berth.",
			t->runtime_platform.operating_system_family);
	return 0;
}

static int check_task_size(const struct check *c)
{
	int64_t value;

	if (c->task->cpu && (!ecs_parse_cpu(c->task->cpu, &value) || value < 128 || value > 196608))
		return refuse(
			c,
			"Invalid 'cpu' setting for task: '%.60s' is not from 128 to 196608 CPU units "
			"(0.125 to 192 vCPU).",
			c->task->cpu);
	if (c->task->memory &&
	    (!ecs_parse_memory(c->task->memory, &value) || value < ECS_MEMORY_MIN_MIB))
		return refuse(
			c,
			"Invalid 'memory' setting for task: '%.60s' is not a size of at least %d MiB.",
			c->task->memory, ECS_MEMORY_MIN_MIB);
	return 0;
}

static int check_volumes(const struct check *c)
{
	for (size_t i = 0; i < c->task->volumes.count; i++) {
		const struct ecs_volume *v = JS_AT(c->task->volumes, struct ecs_volume, i);

		if (!v->name || !ecs_name_is_valid(v->name))
			return refuse(
				c, "Volume.name should be letters, digits, '-' and '_': '%.100s'",
				v->name ? v->name : "");
		if (v->host.source_path && *v->host.source_path && v->host.source_path[0] != '/')
			return refuse(
				c,
				"Volume '%.100s': host.sourcePath '%.200s' is not an absolute path.",
				v->name, v->host.source_path);
		for (size_t j = 0; j < i; j++)
			if (str_eq(JS_AT(c->task->volumes, struct ecs_volume, j)->name, v->name))
				return refuse(c,
					      "Volume.name must be unique: '%.100s' is used twice.",
					      v->name);
	}
	return 0;
}

static int check_container(struct check *c)
{
	static int (*const checks[])(const struct check *) = {
		check_name_and_image, check_repository_credentials,
		check_resources,      check_ports,
		check_mounts,         check_limits,
		check_requirements,   check_system_controls,
		check_names,          check_logs,
		check_network,        check_links};

	for (size_t i = 0; i < ARRAY_COUNT(checks); i++)
		if (checks[i](c) < 0)
			return -1;
	return 0;
}

int ecs_task_definition_check(const struct ecs_task_definition *t, const char *region,
			      struct ecs_fault *f)
{
	struct check c = {.task = t,
			  .region = region,
			  .network_mode = t->network_mode ? t->network_mode : "bridge",
			  .fault = f};
	bool essential = false;

	if (check_family(&c) < 0 || check_platform(&c) < 0 || check_task_size(&c) < 0 ||
	    check_volumes(&c) < 0)
		return -1;
	if (!t->containers.count)
		return refuse(&c, "Container definitions should not be null or empty.");
	if (t->containers.count > ECS_CONTAINERS_MAX)
		return refuse(&c, "Too many containers: %zu, the maximum is %d.",
			      t->containers.count, ECS_CONTAINERS_MAX);
	for (size_t i = 0; i < t->containers.count; i++) {
		c.container = JS_AT(t->containers, struct ecs_container_definition, i);
		essential |= ecs_is_essential(c.container);
		if (check_container(&c) < 0)
			return -1;
	}
	if (!essential)
		return refuse(&c, "At least one container must be essential.");
	return check_link_cycles(&c);
}

/* ---- defaults ---- */

static void set_default(json_t *object, const char *name, json_t *value)
{
	if (json_object_get(object, name))
		json_decref(value);
	else
		(void)json_object_set_new(object, name, value);
}

static void set_port_defaults(json_t *container)
{
	json_t *port;
	size_t i;

	json_array_foreach (json_object_get(container, "portMappings"), i, port) {
		if (!json_object_get(port, "containerPortRange"))
			set_default(port, "hostPort", json_integer(0));
		set_default(port, "protocol", json_string("tcp"));
	}
}

void ecs_task_definition_set_defaults(json_t *doc)
{
	const char *mode = json_string_value(json_object_get(doc, "networkMode"));
	bool shared = str_eq(mode, "host") || str_eq(mode, "awsvpc");
	json_t *container, *port;
	size_t i, j;

	set_default(doc, "volumes", json_array());
	set_default(doc, "placementConstraints", json_array());
	json_array_foreach (json_object_get(doc, "containerDefinitions"), i, container) {
		set_default(container, "cpu", json_integer(0));
		set_default(container, "essential", json_true());
		set_default(container, "portMappings", json_array());
		set_default(container, "environment", json_array());
		set_default(container, "mountPoints", json_array());
		set_default(container, "volumesFrom", json_array());
		set_default(container, "systemControls", json_array());
		if (shared)
			json_array_foreach (json_object_get(container, "portMappings"), j, port)
				(void)json_object_set(port, "hostPort",
						      json_object_get(port, "containerPort"));
		set_port_defaults(container);
	}
}
