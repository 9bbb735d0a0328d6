/* cmd/berthd/host.c - where a daemon of this root lives on its host
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berthd/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/conf.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/ip.h"
#include "base/proc.h"
#include "base/random.h"
#include "base/text.h"
#include "cmd/berthd/cleanup.h"
#include "cmd/berthd/registries.h"

#define NOBODY            65534
#define CREDENTIALS_BYTES 4096
#define BACKLOG           512
#define LOCK_WAIT_MS      30000
#define LOCK_PAUSE_MS     20
#define VPC_LENGTH_MIN    16 /* as CreateVpc wants it */
#define VPC_LENGTH_MAX    28
#define HOST_LENGTH_MIN   10 /* as scheduler.h has it */
#define HOST_LENGTH_MAX   24

/* ---- configuration ---- */

static const struct conf_key keys[] = {
	{"server", "listen", offsetof(struct config, listen)},
	{"server", "node-listen", offsetof(struct config, node_listen)},
	{"server", "node-heartbeat-seconds", offsetof(struct config, node_heartbeat_s)},
	{"server", "node-lost-seconds", offsetof(struct config, node_lost_s)},
	{"server", "node-certificate-seconds", offsetof(struct config, node_certificate_s)},
	{"server", "stopped-task-seconds", offsetof(struct config, stopped_task_s)},
	{"server", "stopped-tasks-max", offsetof(struct config, stopped_tasks_max)},
	{"server", "caller-requests-per-second", offsetof(struct config, caller_rate)},
	{"server", "region", offsetof(struct config, region)},
	{"server", "account", offsetof(struct config, account)},
	{"server", "user", offsetof(struct config, user)},
	{"server", "vpc-cidr", offsetof(struct config, vpc_cidr)},
	{"server", "host-cidr", offsetof(struct config, host_cidr)},
	{"node", "server", offsetof(struct config, node_server)},
	{"node", "cluster", offsetof(struct config, node_cluster)},
	{"node", "bridge-cidr", offsetof(struct config, bridge_cidr)},
	{"node", "public-addresses", offsetof(struct config, public_addresses)},
	{"node", "attributes", offsetof(struct config, attributes)},
	{"node", "gpu-kinds", offsetof(struct config, gpu_kinds)},
	{"node", "dynamic-ports", offsetof(struct config, dynamic_ports)},
	{"node", "image-pull-behavior", offsetof(struct config, pull_behavior)},
	{"node", "keep-blobs", offsetof(struct config, keep_blobs)},
	{"node", "share-images", offsetof(struct config, share_images)},
	{"node", "share-listen", offsetof(struct config, share_listen)},
	{"node", "share-rate", offsetof(struct config, share_rate)},
	{"node", "image-cleanup-interval", offsetof(struct config, image_cleanup_interval)},
	{"node", "image-cleanup-age", offsetof(struct config, image_cleanup_age)},
	{"node", "image-cleanup-count", offsetof(struct config, image_cleanup_count)},
	{"node", "image-cleanup-untracked", offsetof(struct config, image_cleanup_untracked)},
	{"node", "image-cleanup-exclude", offsetof(struct config, image_cleanup_exclude)},
	{"node", "image-high-water", offsetof(struct config, image_high_water)},
	{"node", "task-cleanup-seconds", offsetof(struct config, task_cleanup_s)},
	{"node", "reserved-memory", offsetof(struct config, reserved_memory_mib)},
	{"node", "user-namespaces", offsetof(struct config, user_namespaces)},
	{"node", "image-index", offsetof(struct config, image_index)},
	{"node", "ready-containers", offsetof(struct config, ready_containers)},
	{"network", "transport", offsetof(struct config, transport)},
	{"network", "node-address", offsetof(struct config, node_address)},
	{"network", "trunk", offsetof(struct config, trunk)},
	{"network", "ipv6-forwarding", offsetof(struct config, ipv6_forwarding)},
	{"network", "shortcuts", offsetof(struct config, shortcuts)},
	{"log", "level", offsetof(struct config, log_level)},
};

static int check_config(const struct config *c, struct err *e)
{
	struct ip_prefix vpc, hosts;

	if (strlen(c->account) != 12 || strspn(c->account, "0123456789") != 12)
		return err_set(e, EINVAL, "[server] account '%s' is not twelve digits", c->account);
	if (!*c->region ||
	    strspn(c->region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(c->region))
		return err_set(e, EINVAL, "[server] region '%s' is not a name such as us-east-1",
			       c->region);
	if (!ip_prefix_parse(c->vpc_cidr, &vpc) || vpc.v6 || vpc.length < VPC_LENGTH_MIN ||
	    vpc.length > VPC_LENGTH_MAX || ip_prefix_is_special(&vpc))
		return err_set(
			e, EINVAL,
			"[server] vpc-cidr '%s' is not an IPv4 block of /%d to /%d that hosts "
			"can have addresses of",
			c->vpc_cidr, VPC_LENGTH_MIN, VPC_LENGTH_MAX);
	if (!ip_prefix_parse(c->host_cidr, &hosts) || hosts.v6 || hosts.length < HOST_LENGTH_MIN ||
	    hosts.length > HOST_LENGTH_MAX || ip_prefix_overlaps(&hosts, &vpc))
		return err_set(e, EINVAL,
			       "[server] host-cidr '%s' is not an IPv4 block of /%d to /%d beside "
			       "vpc-cidr",
			       c->host_cidr, HOST_LENGTH_MIN, HOST_LENGTH_MAX);
	return 0;
}

static int read_config(struct host *h, const char *file, struct err *e)
{
	auto_free char *usual = xasprintf("%s/berth.conf", h->etc_dir);
	struct conf_group registries = registries_group;
	struct config *c = &h->config;

	*c = (struct config){.listen = arena_strdup(&h->arena, "127.0.0.1:4566"),
			     .node_heartbeat_s = arena_strdup(&h->arena, "10"),
			     .node_lost_s = arena_strdup(&h->arena, "0"),
			     .node_certificate_s = arena_strdup(&h->arena, "31536000"),
			     .stopped_task_s = arena_strdup(&h->arena, "86400"),
			     .stopped_tasks_max = arena_strdup(&h->arena, "20000"),
			     .caller_rate = arena_strdup(&h->arena, "0"),
			     .region = arena_strdup(&h->arena, "us-east-1"),
			     .account = arena_strdup(&h->arena, "123456789012"),
			     .user = arena_strdup(&h->arena, "berth"),
			     .vpc_cidr = arena_strdup(&h->arena, "172.31.0.0/16"),
			     .host_cidr = arena_strdup(&h->arena, "100.64.0.0/16"),
			     .pull_behavior = arena_strdup(&h->arena, "default"),
			     .keep_blobs = arena_strdup(&h->arena, "no"),
			     .share_images = arena_strdup(&h->arena, "yes"),
			     .share_listen = arena_strdup(&h->arena, "0.0.0.0:4568"),
			     .share_rate = arena_strdup(&h->arena, "0"),
			     .image_cleanup_interval = arena_strdup(&h->arena, "30m"),
			     .image_cleanup_age = arena_strdup(&h->arena, "1h"),
			     .image_cleanup_count = arena_strdup(&h->arena, "5"),
			     .image_cleanup_untracked = arena_strdup(&h->arena, "no"),
			     .image_high_water = arena_strdup(&h->arena, "90"),
			     .task_cleanup_s = arena_strdup(&h->arena, "10800"),
			     .reserved_memory_mib = arena_strdup(&h->arena, "0"),
			     .user_namespaces = arena_strdup(&h->arena, "yes"),
			     .image_index = arena_strdup(&h->arena, "yes"),
			     .ready_containers = arena_strdup(&h->arena, "4"),
			     .transport = arena_strdup(&h->arena, "auto"),
			     .ipv6_forwarding = arena_strdup(&h->arena, "yes"),
			     .shortcuts = arena_strdup(&h->arena, "yes"),
			     .log_level = arena_strdup(&h->arena, "info")};
	if (conf_read_groups(file ? file : usual, keys, ARRAY_COUNT(keys), &registries, &h->arena,
			     c, e) < 0 &&
	    (file || e->code != ENOENT)) {
		free(registries.items);
		return -e->code;
	}
	c->registries = registries.items;
	c->registry_count = registries.count;
	cleanup_take_environment(c, &h->arena);
	return check_config(c, e);
}

/* ---- directories and names ---- */

static void find_user(struct host *h)
{
	const struct passwd *pw = getpwnam(h->config.user);

	h->uid = pw ? pw->pw_uid : NOBODY;
	h->gid = pw ? pw->pw_gid : NOBODY;
}

static int find_programs(struct host *h, struct err *e)
{
	char dir[PATH_MAX];

	if (proc_self_dir(dir, sizeof(dir), e) < 0)
		return -e->code;
	h->self = arena_printf(&h->arena, "%s/berthd", dir);
	h->libexec_dir = arena_printf(&h->arena, "%s/berth-keeper", dir);
	/* Beside us where it was built, else where it was installed. */
	h->libexec_dir = arena_strdup(&h->arena,
				      access(h->libexec_dir, X_OK) == 0 ? dir : BERTH_LIBEXECDIR);
	return 0;
}

static void name_host(struct host *h)
{
	unsigned char digest[SHA256_SIZE];
	char hex[SHA256_HEX];

	sha256_of(h->root, strlen(h->root), digest);
	hex_encode(digest, sizeof(digest), hex);
	h->name = strcmp(h->root, "/") == 0 ? arena_strdup(&h->arena, "berth")
					    : arena_printf(&h->arena, "berth-%.6s", hex);
}

int host_open(const char *root, const char *config_file, struct host *ret, struct err *e)
{
	auto_free char *real = NULL;
	const char *slash;

	*ret = (struct host){.lock_fd = -1};
	if (fs_mkdirs(AT_FDCWD, root, 0755, e) < 0)
		return -e->code;
	real = realpath(root, NULL);
	if (!real)
		return err_sys(e, "root %s", root);

	slash = strcmp(real, "/") == 0 ? "" : real;
	ret->root = arena_strdup(&ret->arena, real);
	ret->etc_dir = arena_printf(&ret->arena, "%s/etc/berth", slash);
	ret->state_dir = arena_printf(&ret->arena, "%s/var/lib/berth", slash);
	ret->run_dir = arena_printf(&ret->arena, "%s/run/berth", slash);
	name_host(ret);
	if (fs_mkdirs(AT_FDCWD, ret->etc_dir, 0755, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, ret->state_dir, 0755, e) < 0 ||
	    fs_mkdirs(AT_FDCWD, ret->run_dir, 0755, e) < 0 ||
	    read_config(ret, config_file, e) < 0 || find_programs(ret, e) < 0)
		return -e->code;
	if (chmod(ret->state_dir, 0711) < 0 || chmod(ret->run_dir, 0711) < 0)
		return err_sys(e, "mode of %s", ret->state_dir);
	find_user(ret);
	return 0;
}

void host_done(struct host *h)
{
	if (h->secret_key)
		explicit_bzero(h->secret_key, strlen(h->secret_key));
	close_fd(&h->lock_fd);
	free(h->config.registries);
	arena_done(&h->arena);
}

/* Whether the daemon that wrote its pid and start time into the lock file is alive. */
static bool holder_lives(int lock_fd)
{
	char text[64] = "", *end;
	struct pollfd p = {.events = POLLIN};
	auto_close int pidfd = -1;
	uint64_t start;
	pid_t pid;

	if (pread(lock_fd, text, sizeof(text) - 1, 0) <= 0)
		return false;
	pid = (pid_t)strtol(text, &end, 10);
	start = strtoull(end, NULL, 10);
	p.fd = pidfd = pid > 0 ? proc_pidfd_open(pid) : -1;
	return pidfd >= 0 && proc_start_time(pid) == start && poll(&p, 1, 0) == 0;
}

/* One that was killed may leave a child behind that is still to be ended by the kernel. */
int host_lock(struct host *h, struct err *e)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * NS_PER_MS};
	int64_t end_ms = clock_mono_ms() + LOCK_WAIT_MS;
	auto_free char *path = xasprintf("%s/berthd.lock", h->run_dir);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[64];
	int len;

	if (fd < 0)
		return err_sys(e, "open %s", path);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_sys(e, "lock %s", path);
		if (holder_lives(fd) || clock_mono_ms() > end_ms)
			return err_set(e, EBUSY, "another berthd runs with the root %s", h->root);
		(void)nanosleep(&pause, NULL);
	}
	len = snprintf(text, sizeof(text), "%d %" PRIu64 "\n", (int)getpid(),
		       proc_start_time(getpid()));
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
		return err_sys(e, "write %s", path);
	h->lock_fd = take_fd(fd);
	return 0;
}

/* ---- credentials ---- */

/* "key = value" in the profile berth of an AWS shared credentials file. */
struct credentials {
	char *access_key, *secret_key;
};

static const struct conf_key credential_keys[] = {
	{"berth", "aws_access_key_id", offsetof(struct credentials, access_key)},
	{"berth", "aws_secret_access_key", offsetof(struct credentials, secret_key)},
};

static int make_credentials(const struct host *h, const char *path, struct credentials *ret,
			    struct arena *a, struct err *e)
{
	static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned char bytes[16 + 30];
	auto_free char *secret = NULL, *text = NULL;
	char access_key[21] = "AKIA";

	random_bytes(bytes, sizeof(bytes));
	for (int i = 0; i < 16; i++)
		access_key[4 + i] = base32[bytes[i] & 31];
	secret = base64_encode(bytes + 16, 30); /* 40 characters, as AWS has them */
	text = xasprintf("[berth]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
			 access_key, secret);
	explicit_bzero(bytes, sizeof(bytes));
	if (fs_replace(AT_FDCWD, path, text, strlen(text), 0600, FS_DURABLE, e) < 0)
		return -e->code;
	(void)h;
	*ret = (struct credentials){arena_strdup(a, access_key), arena_strdup(a, secret)};
	explicit_bzero(text, strlen(text));
	explicit_bzero(secret, strlen(secret));
	return 0;
}

int host_credentials(struct host *h, struct err *e)
{
	auto_free char *path = xasprintf("%s/credentials", h->etc_dir);
	struct credentials c = {0};
	int r = conf_read(path, CONF_OURS, credential_keys, ARRAY_COUNT(credential_keys), &h->arena,
			  &c, e);

	if (r == -ENOENT)
		r = make_credentials(h, path, &c, &h->arena, e);
	if (r < 0)
		return r;
	if (!c.access_key || !c.secret_key)
		return err_set(e, EINVAL, "%s: profile [berth] lacks a key", path);
	h->access_key = c.access_key;
	h->secret_key = c.secret_key;
	return 0;
}

/* ---- sockets ---- */

/* "127.0.0.1:4566" or "[::1]:4566" to host and port. */
static bool split_address(const char *text, char *host, size_t size, const char **ret_port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!colon || !colon[1] || len >= size)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	*ret_port = colon + 1;
	return true;
}

static int bind_and_listen(const struct addrinfo *ai, const char *text, int *ret_fd,
			   uint16_t *ret_port, struct err *e)
{
	auto_close int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int one = 1;

	if (fd < 0)
		return err_sys(e, "socket for %s", text);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return err_sys(e, "listen on %s", text);
	*ret_port = ntohs(addr.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&addr)->sin6_port
						     : ((struct sockaddr_in *)&addr)->sin_port);
	*ret_fd = take_fd(fd);
	return 0;
}

int host_listen_tcp(const char *address, int *ret_fd, uint16_t *ret_port, struct err *e)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
	const char *port;
	struct addrinfo *ai = NULL;
	char host[64];
	int r;

	if (!split_address(address, host, sizeof(host), &port) ||
	    getaddrinfo(*host ? host : NULL, port, &hints, &ai) != 0)
		return err_set(e, EINVAL, "listen '%s' is not ADDRESS:PORT, such as 127.0.0.1:4566",
			       address);
	r = bind_and_listen(ai, address, ret_fd, ret_port, e);
	freeaddrinfo(ai);
	return r;
}

int host_listen_unix(const struct host *h, int *ret_fd, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int dir_fd = open(h->run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mode_t mask;
	int r;

	if (fd < 0 || dir_fd < 0)
		return err_sys(e, "socket %s/api.sock", h->run_dir);
	/* A root may be deeper than the 108 bytes of a socket's name. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/api.sock", dir_fd);
	(void)unlinkat(dir_fd, "api.sock", 0); /* of a daemon that died: we hold the lock */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	(void)umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return err_sys(e, "listen on %s/api.sock", h->run_dir);
	*ret_fd = take_fd(fd);
	return 0;
}
