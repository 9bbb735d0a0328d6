/* agent/files.c - hosts, hostname and resolv.conf of a container, and where volumes lie
 * SPDX-License-Identifier: Apache-2.0
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define FILE_BYTES 65536

/* The host's resolver, and where it really sends when that is a stub of systemd. */
static const char *const resolv_files[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"};

static bool host_network(const struct bundle_options *o)
{
	return o->endpoint == NULL;
}

static int write_file(const struct bundle_options *o, const char *name, const struct buf *b,
		      struct err *e)
{
	auto_free char *path = xasprintf("%s/%s", o->dir, name);
	const struct container *c = o->container;
	uid_t owner = c->mapped ? c->task->ids.first_id : 0;
	struct stat st;

	if (buf_overflow(b))
		return err_set(e, E2BIG, "%s of container %s is over %d bytes", name,
			       o->container->def->name, FILE_BYTES);
	if (fs_write(AT_FDCWD, path, buf_str(b), b->size, 0644, e) < 0)
		return -e->code;
	/* Where it was made ahead, it is. */
	if ((stat(path, &st) < 0 || st.st_uid != owner) && chown(path, owner, owner) < 0)
		return err_sys(e, "give %s to the container's root", path);
	return 0;
}

const char *bundle_hostname(const struct container *c)
{
	static char hostname[65];
	char name[ECS_PRIVATE_NAME_SIZE];

	if (c->def->hostname && *c->def->hostname)
		return c->def->hostname;
	if (str_eq(c->task->wanted.definition.network_mode, "host") &&
	    gethostname(hostname, sizeof(hostname)) == 0)
		return hostname;
	if (network_private_name(c->task, name)) {
		(void)snprintf(hostname, sizeof(hostname), "%.64s", name);
		return hostname;
	}
	/* Short, as Docker's, and its own: what finds its peers by name tells them apart. */
	(void)snprintf(hostname, sizeof(hostname), "%.12s-%u", c->id, c->index);
	return hostname;
}

static int write_hosts(const struct bundle_options *o, struct err *e)
{
	const struct ecs_container_definition *d = o->container->def;
	const char *own = host_network(o)         ? ""
			  : *o->endpoint->address ? o->endpoint->address
						  : o->endpoint->address6;
	auto_buf struct buf b = BUF_INIT(FILE_BYTES);
	struct err ignored;

	if (!host_network(o) || fs_read(AT_FDCWD, "/etc/hosts", &b, &ignored) < 0) {
		buf_puts(&b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
		if (*own)
			buf_printf(&b, "%s\t%s\n", own, bundle_hostname(o->container));
	}
	for (size_t i = 0; i < d->extra_hosts.count; i++) {
		const struct ecs_host_entry *h = JS_AT(d->extra_hosts, struct ecs_host_entry, i);

		buf_printf(&b, "%s\t%s\n", h->ip_address, h->hostname);
	}
	links_write_hosts(o->container, &b);
	return write_file(o, "hosts", &b, e);
}

/* Does the line name a server that a container can reach? */
static bool is_reachable_server(const char *line)
{
	static const char word[] = "nameserver";
	char address[64] = "";

	if (!str_starts(line, word))
		return false;
	(void)sscanf(line + strlen(word), " %63s", address);
	return *address && !str_starts(address, "127.") && strcmp(address, "::1") != 0;
}

/*
 * Copy the host's resolver lines; without servers where the container has others, and in a
 * namespace of its own without those on the host's loopback.  Returns how many servers there are.
 */
static size_t copy_resolver(const char *text, const struct bundle_options *o, struct buf *b)
{
	const struct ecs_container_definition *d = o->container->def;
	auto_free char *copy = xstrdup(text);
	char *save = NULL;
	size_t servers = 0;

	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool server = str_starts(line, "nameserver");

		if ((server && !host_network(o) && !is_reachable_server(line)) ||
		    (server && (d->dns_servers.count || o->resolver)) ||
		    (d->dns_search_domains.count &&
		     (str_starts(line, "search") || str_starts(line, "domain"))))
			continue;
		servers += server;
		buf_printf(b, "%s\n", line);
	}
	return servers;
}

static int write_resolv_conf(const struct bundle_options *o, struct err *e)
{
	const struct ecs_container_definition *d = o->container->def;
	auto_buf struct buf b = BUF_INIT(FILE_BYTES);
	struct err ignored;

	for (size_t i = 0; i < ARRAY_COUNT(resolv_files); i++) {
		auto_buf struct buf host = BUF_INIT(FILE_BYTES);

		buf_reset(&b);
		if (fs_read(AT_FDCWD, resolv_files[i], &host, &ignored) == 0 &&
		    (copy_resolver(buf_str(&host), o, &b) || o->resolver))
			break;
	}
	if (o->resolver && !d->dns_servers.count)
		buf_printf(&b, "nameserver %s\n", o->resolver);
	for (size_t i = 0; i < d->dns_servers.count; i++)
		buf_printf(&b, "nameserver %s\n", d->dns_servers.items[i]);
	for (size_t i = 0; i < d->dns_search_domains.count; i++)
		buf_printf(&b, "%s%s%s", i ? " " : "search ", d->dns_search_domains.items[i],
			   i + 1 == d->dns_search_domains.count ? "\n" : "");
	return write_file(o, "resolv.conf", &b, e);
}

int files_write(const struct bundle_options *o, struct err *e)
{
	auto_buf struct buf hostname = BUF_INIT(FILE_BYTES);

	buf_printf(&hostname, "%s\n", bundle_hostname(o->container));
	if (write_file(o, "hostname", &hostname, e) < 0 || write_hosts(o, e) < 0 ||
	    write_resolv_conf(o, e) < 0)
		return -e->code;
	return 0;
}

static int volume_path(const struct task *t, const struct ecs_volume *v, char **ret, struct err *e)
{
	auto_free char *dir = task_dir(t);
	auto_free char *path = v->host.source_path && *v->host.source_path
				       ? xstrdup(v->host.source_path)
				       : xasprintf("%s/volumes/%s", dir, v->name);

	/* A path on the host may be a file or a socket; what is absent becomes a directory. */
	if (access(path, F_OK) < 0 && fs_mkdirs(AT_FDCWD, path, 0755, e) < 0)
		return err_wrap(e, "volume %s", v->name);
	*ret = take_ptr(path);
	return 0;
}

int volume_of(const struct task *t, const char *name, char **ret, struct err *e)
{
	const struct js_list *volumes = &t->wanted.definition.volumes;

	for (size_t i = 0; i < volumes->count; i++) {
		const struct ecs_volume *v = JS_AT(*volumes, struct ecs_volume, i);

		if (str_eq(v->name, name))
			return volume_path(t, v, ret, e);
	}
	return err_set(e, EINVAL, "unknown volume '%s'", name);
}
