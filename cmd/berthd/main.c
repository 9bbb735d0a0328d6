/* cmd/berthd/main.c - the daemon: control plane, node, or both
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/auto.h"
#include "base/log.h"
#include "base/proc.h"
#include "base/text.h"
#include "cmd/berthd/cleanup.h"
#include "cmd/berthd/host.h"
#include "cmd/berthd/registries.h"
#include "cmd/berthd/server.h"
#include "ecs/arn.h"

#define PUBLIC_BLOCKS_MAX 32
#define ATTRIBUTES_MAX    32
#define GPU_KINDS_MAX     16
#define SHARE_RATE_MIN    4 /* MiB a second: four at a time are waited for at one each */
#define PUBLIC_LENGTH_MIN 20

enum role { ROLE_BOTH, ROLE_SERVER, ROLE_AGENT, ROLE_JOIN, ROLE_DESTROY };

struct options {
	enum role role;
	const char *root, *listen, *config;
	const char *node_listen, *server, *token, *activation_id, *activation_code, *cluster;
	bool no_keeper;
};

static const char usage[] =
	"usage: berthd [server|agent|join|destroy] [OPTIONS]\n"
	"\n"
	"  server            the control plane only\n"
	"  agent             the node only, of a server elsewhere\n"
	"  join              become a node of a server elsewhere, and no more: agent runs it\n"
	"  destroy           end all tasks of this root at once and leave nothing in the kernel\n"
	"                    without a word: control plane and node, on this machine\n"
	"  --root DIR        etc/berth, var/lib/berth and run/berth lie below DIR (default /)\n"
	"  --config FILE     instead of DIR/etc/berth/berth.conf\n"
	"  --listen A:P      where the AWS APIs are answered (default 127.0.0.1:4566)\n"
	"  --node-listen A:P where nodes elsewhere are taken (default: they are not)\n"
	"  --no-keeper       wait for berth-keeper, which the service manager starts\n"
	"agent, join:\n"
	"  --server HOST:PORT  where the server takes nodes; it is needed until the node has joined\n"
	"  --token T           of `berth node token`; likewise\n"
	"  --activation-id I --activation-code C\n"
	"                      instead of a token: of SSM's CreateActivation\n"
	"  --cluster NAME      to join, where token or activation name none (default: default)\n"
	"  --version, --help\n";

static int usage_error(const char *what, const char *value)
{
	(void)fprintf(stderr, "berthd: %s '%s'\n%s", what, value, usage);
	return 2;
}

static const struct {
	const char *word;
	enum role role;
} words[] = {{"server", ROLE_SERVER},
	     {"agent", ROLE_AGENT},
	     {"join", ROLE_JOIN},
	     {"destroy", ROLE_DESTROY}};

/* < 0: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct options *ret)
{
	struct {
		const char *name, **value;
	} flags[] = {{"--root", &ret->root},
		     {"--listen", &ret->listen},
		     {"--config", &ret->config},
		     {"--node-listen", &ret->node_listen},
		     {"--server", &ret->server},
		     {"--token", &ret->token},
		     {"--activation-id", &ret->activation_id},
		     {"--activation-code", &ret->activation_code},
		     {"--cluster", &ret->cluster}};

	for (int i = 1; i < argc; i++) {
		bool known = false;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0;
		if (strcmp(argv[i], "--version") == 0)
			return printf("berthd %s\n", BERTH_VERSION) < 0;
		for (size_t w = 0; i == 1 && w < ARRAY_COUNT(words); w++) {
			if (strcmp(argv[i], words[w].word) == 0) {
				ret->role = words[w].role;
				known = true;
			}
		}
		if (strcmp(argv[i], "--no-keeper") == 0)
			known = ret->no_keeper = true;
		for (size_t f = 0; !known && f < ARRAY_COUNT(flags); f++) {
			size_t len = strlen(flags[f].name);

			if (strcmp(argv[i], flags[f].name) == 0 && i + 1 < argc)
				*flags[f].value = argv[++i];
			else if (str_starts(argv[i], flags[f].name) && argv[i][len] == '=')
				*flags[f].value = argv[i] + len + 1;
			else
				continue;
			known = true;
			break;
		}
		if (!known)
			return usage_error(str_starts(argv[i], "--")
						   ? "unknown or incomplete option"
						   : "unknown word",
					   argv[i]);
	}
	return -1;
}

static enum log_level level_of(const char *name)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (size_t i = 0; i < ARRAY_COUNT(names); i++)
		if (strcmp(names[i], name) == 0)
			return (enum log_level)i;
	return LOG_LEVEL_INFO;
}

/* One line, when requests are answered and where; scripts look for it. */
static void say_ready(const struct host *h, uint16_t port)
{
	int len = (int)(strrchr(h->config.listen, ':') - h->config.listen);

	log_info("ready: %s answers at http://%.*s:%u and %s/api.sock", h->name, len,
		 h->config.listen, port, h->run_dir);
}

/* All that the server's process answers on. */
static int listen_all(struct host *h, struct server *s, uint16_t *ret_port, struct err *e)
{
	const char *nodes = h->config.node_listen;
	uint16_t port;

	if (host_credentials(h, e) < 0 ||
	    host_listen_tcp(h->config.listen, &s->tcp_fd, ret_port, e) < 0 ||
	    host_listen_unix(h, &s->unix_fd, e) < 0)
		return -e->code;
	if (!nodes)
		return 0;
	if (host_listen_tcp(nodes, &s->node_listen_fd, &port, e) < 0)
		return -e->code;
	(void)fcntl(s->node_listen_fd, F_SETFL, O_RDWR | O_NONBLOCK);
	log_info("nodes are taken at %.*s:%u", (int)(strrchr(nodes, ':') - nodes), nodes, port);
	return 0;
}

static int run_server(struct host *h, struct err *e)
{
	struct server s = SERVER_OF(h);
	uint16_t port;

	if (listen_all(h, &s, &port, e) < 0)
		return -e->code;
	say_ready(h, port);
	proc_notify("READY=1");
	return server_run_here(&s, e);
}

/* ---- the node ---- */

static int parse_ports(const char *text, struct agent_options *ret, struct err *e)
{
	auto_free char *copy = text ? xstrdup(text) : NULL;
	char *dash = copy ? strchr(copy, '-') : NULL;
	uint32_t first, last;

	if (!text)
		return 0;
	if (dash)
		*dash = '\0';
	if (!dash || !parse_u32(copy, UINT16_MAX, &first) ||
	    !parse_u32(dash + 1, UINT16_MAX, &last) || !first || first > last)
		return err_set(e, EINVAL,
			       "[node] dynamic-ports '%s' is not a range such as 49153-65535",
			       text);
	ret->port_first = (uint16_t)first;
	ret->port_last = (uint16_t)last;
	return 0;
}

/* "198.51.100.8/29, 203.0.113.7"; the list lives as long as the process. */
static int parse_blocks(const char *text, struct agent_options *ret, struct err *e)
{
	static struct ip_prefix blocks[PUBLIC_BLOCKS_MAX];
	auto_free char *copy = text ? xstrdup(text) : NULL;
	char *rest = copy, *word;
	size_t count = 0;

	while (rest && (word = strsep(&rest, ", "))) {
		struct ip_prefix *b = &blocks[count];

		if (!*word)
			continue;
		if (count++ == PUBLIC_BLOCKS_MAX)
			return err_set(e, EINVAL, "[node] public-addresses has more than %d blocks",
				       PUBLIC_BLOCKS_MAX);
		if ((!ip_prefix_parse(word, b) && !ip_address_parse(word, b)) || b->v6 ||
		    b->length < PUBLIC_LENGTH_MIN)
			return err_set(e, EINVAL,
				       "[node] public-addresses '%s' is not an IPv4 address or a "
				       "block of /%d to /32",
				       word, PUBLIC_LENGTH_MIN);
	}
	ret->public_blocks = blocks;
	ret->public_block_count = count;
	return 0;
}

/* Those of ECS that only the operator can know. */
static bool is_of_place(const char *name)
{
	return str_eq(name, "ecs.availability-zone") || str_eq(name, "ecs.outpost-arn");
}

static bool may_be_attribute(const char *name, const char *value)
{
	if (is_of_place(name))
		return value && *value && ecs_attribute_value_is_valid(value);
	return ecs_attribute_name_is_valid(name) && !ecs_attribute_is_reserved(name) &&
	       (!value || ecs_attribute_value_is_valid(value));
}

/* "rack=r1, ssd", as PutAttributes takes them. */
static int parse_attributes(struct host *h, struct agent_options *ret, struct err *e)
{
	struct ecs_attribute *items = arena_alloc(&h->arena, ATTRIBUTES_MAX * sizeof(*items));
	char *rest = h->config.attributes, *word;
	size_t count = 0;

	while (rest && (word = strsep(&rest, ", "))) {
		char *name = strsep(&word, "=");

		if (!*name && !word)
			continue;
		if (!may_be_attribute(name, word))
			return err_set(
				e, EINVAL,
				"[node] attributes: '%s' is not a name of at most %d letters, "
				"digits and -_./ that is not reserved, with a value or none",
				name, ECS_ATTRIBUTE_MAX);
		for (size_t i = 0; i < count; i++)
			if (strcmp(items[i].name, name) == 0)
				return err_set(e, EINVAL, "[node] attributes: '%s' stands twice",
					       name);
		if (count == ATTRIBUTES_MAX)
			return err_set(e, EINVAL, "[node] attributes has more than %d",
				       ATTRIBUTES_MAX);
		items[count++] = (struct ecs_attribute){.name = name, .value = word};
	}
	ret->attributes = items;
	ret->attribute_count = count;
	return 0;
}

/* "nvidia.com/gpu, amd.com/gpu", or "none". */
static int parse_gpu_kinds(struct host *h, struct agent_options *ret, struct err *e)
{
	const char **kinds = arena_alloc(&h->arena, GPU_KINDS_MAX * sizeof(char *));
	char *rest = h->config.gpu_kinds, *word;

	ret->gpu_kinds = rest ? kinds : NULL;
	while (rest && (word = strsep(&rest, ", "))) {
		if (!*word || str_eq(word, "none"))
			continue;
		if (!strchr(word, '/') || ret->gpu_kind_count == GPU_KINDS_MAX)
			return err_set(e, EINVAL,
				       "[node] gpu-kinds: '%s' is not VENDOR/CLASS, such as "
				       "nvidia.com/gpu, or is more than the %dth",
				       word, GPU_KINDS_MAX);
		kinds[ret->gpu_kind_count++] = word;
	}
	return 0;
}

static int parse_switch(const char *key, const char *text, bool *ret_off, struct err *e)
{
	*ret_off = str_eq(text, "no");
	if (!*ret_off && !str_eq(text, "yes"))
		return err_set(e, EINVAL, "%s '%s' is neither yes nor no", key, text);
	return 0;
}

static int parse_share_rate(const char *text, uint64_t *ret, struct err *e)
{
	int64_t mib;

	if (!parse_i64(text, 0, INT32_MAX, &mib) || (mib && mib < SHARE_RATE_MIN))
		return err_set(e, EINVAL,
			       "[node] share-rate '%s' is neither 0 nor a number of MiB a second, "
			       "%d at least",
			       text, SHARE_RATE_MIN);
	*ret = (uint64_t)mib << 20;
	return 0;
}

static int fill_agent_options(struct host *h, struct agent_options *ret, struct err *e)
{
	const char *root = strcmp(h->root, "/") == 0 ? "" : h->root;
	const struct config *c = &h->config;
	int64_t cleanup_s;
	bool keeps_to_itself;

	*ret = (struct agent_options){
		.name = h->name,
		.state_dir = h->state_dir,
		.run_dir = h->run_dir,
		.libexec_dir = h->libexec_dir,
		.auth_file = arena_printf(&h->arena, "%s/auth.json", h->etc_dir),
		.secrets_dir = arena_printf(&h->arena, "%s/secrets", h->etc_dir),
		.cdi_dirs = {arena_printf(&h->arena, "%s/etc/cdi", root),
			     arena_printf(&h->arena, "%s/var/run/cdi", root)},
		.waits_for_keeper = h->waits_for_keeper,
		.bridge_cidr = c->bridge_cidr,
		.server = c->node_server,
		.cluster = c->node_cluster,
		.transport = c->transport,
		.node_address = c->node_address,
		.trunk = c->trunk,
		.pull_behavior = c->pull_behavior};
	if (!parse_i64(c->task_cleanup_s, 0, INT32_MAX, &cleanup_s))
		return err_set(e, EINVAL, "[node] task-cleanup-seconds '%s' is not a number",
			       c->task_cleanup_s);
	ret->task_cleanup_ms = cleanup_s * 1000;
	if (!parse_i64(c->reserved_memory_mib, 0, INT32_MAX, &ret->reserved_memory_mib))
		return err_set(e, EINVAL, "[node] reserved-memory '%s' is not a number of MiB",
			       c->reserved_memory_mib);
	if (!parse_i64(c->ready_containers, 0, AGENT_READY_MAX, &ret->ready_containers))
		return err_set(e, EINVAL, "[node] ready-containers '%s' is not a number up to %d",
			       c->ready_containers, AGENT_READY_MAX);
	if (parse_switch("[node] user-namespaces", c->user_namespaces, &ret->no_user_namespaces,
			 e) < 0 ||
	    parse_switch("[network] ipv6-forwarding", c->ipv6_forwarding, &ret->no_ipv6_forwarding,
			 e) < 0 ||
	    parse_switch("[network] shortcuts", c->shortcuts, &ret->no_shortcuts, e) < 0 ||
	    parse_switch("[node] image-index", c->image_index, &ret->no_image_index, e) < 0 ||
	    parse_switch("[node] share-images", c->share_images, &keeps_to_itself, e) < 0 ||
	    parse_share_rate(c->share_rate, &ret->share_rate, e) < 0)
		return -e->code;
	ret->shares = !keeps_to_itself;
	ret->share_fd = -1;
	if (cleanup_parse(c, &h->arena, ret, e) < 0)
		return -e->code;
	ret->registry_count = c->registry_count;
	if (registries_parse(c->registries, c->registry_count, &h->arena, &ret->registries, e) < 0)
		return -e->code;
	if (parse_blocks(c->public_addresses, ret, e) < 0 || parse_attributes(h, ret, e) < 0 ||
	    parse_gpu_kinds(h, ret, e) < 0)
		return -e->code;
	return parse_ports(c->dynamic_ports, ret, e);
}

/* A port that somebody else has is no reason not to be a node: it takes, and gives nothing. */
static int listen_for_sharing(const struct host *h, struct agent_options *o, struct err *e)
{
	uint16_t port;
	int r = o->shares ? host_listen_tcp(h->config.share_listen, &o->share_fd, &port, e) : 0;

	if (r == -EINVAL)
		return err_wrap(e, "[node] share-listen");
	if (r < 0)
		log_warn("[node] share-listen: other nodes get no images here: %s", e->msg);
	return 0;
}

struct both {
	struct host *host;
	struct server server;
	uint16_t port;
};

static int dial_own_server(void *ctx, int *ret_fd, struct err *e)
{
	struct both *b = ctx;

	return server_start(&b->server, ret_fd, e);
}

static void on_ready(void *ctx)
{
	const struct both *b = ctx;

	say_ready(b->host, b->port);
	proc_notify("READY=1");
}

/* Control plane and node: the server is our child, and the channel a socketpair. */
static int run_both(struct host *h, struct err *e)
{
	struct both b = {.host = h, .server = SERVER_OF(h)};
	struct agent_options o;
	int r;

	if (fill_agent_options(h, &o, e) < 0 || listen_all(h, &b.server, &b.port, e) < 0)
		return -e->code;
	o.shares &= h->config.node_listen != NULL; /* else there are no others */
	if (listen_for_sharing(h, &o, e) < 0)
		return -e->code;
	o.server = NULL;
	o.dial = dial_own_server;
	o.on_ready = on_ready;
	o.ctx = &b;
	r = agent_run(&o, e);
	proc_notify("STOPPING=1");
	server_stop(&b.server);
	return r;
}

static int listen_here(void *ctx, int *ret_fd, struct err *e)
{
	return host_listen_unix(ctx, ret_fd, e);
}

static void on_node_ready(void *ctx)
{
	const struct host *h = ctx;

	log_info("ready: %s is a node of %s, and answers for its images at %s/api.sock", h->name,
		 h->config.node_server, h->run_dir);
	proc_notify("READY=1");
}

/* "ID.CODE"; NULL: none was given. */
static int find_token(struct host *h, const struct options *o, const char **ret, struct err *e)
{
	if (!o->activation_id != !o->activation_code || (o->token && o->activation_id))
		return err_set(e, EINVAL,
			       "--token, or --activation-id and --activation-code: one of them");
	if (o->activation_id)
		*ret = arena_printf(&h->arena, "%s.%s", o->activation_id, o->activation_code);
	else
		*ret = o->token ? arena_strdup(&h->arena, o->token) : NULL;
	return 0;
}

/* Everybody can read the arguments of a process. */
static void hide(const char *secret)
{
	if (secret)
		memset((char *)(uintptr_t)secret, 'x', strlen(secret));
}

/* Not before the node has joined: systemd then waits for us, which is right. */
static int run_agent(const struct options *words_of_user, struct host *h, struct err *e)
{
	auto_free char *joined = agent_server(h->state_dir);
	struct agent_options o;
	int r;

	if (!h->config.node_server && joined)
		h->config.node_server = arena_strdup(&h->arena, joined);
	if (!h->config.node_server)
		return err_set(e, EINVAL,
			       "a node needs to know its server: --server HOST:PORT, or [node] "
			       "server in berth.conf");
	if (fill_agent_options(h, &o, e) < 0 || find_token(h, words_of_user, &o.token, e) < 0)
		return -e->code;
	hide(words_of_user->token);
	hide(words_of_user->activation_code);
	if (words_of_user->role == ROLE_JOIN)
		return agent_join(&o, e);
	if (listen_for_sharing(h, &o, e) < 0)
		return -e->code;
	o.listen = listen_here;
	o.on_ready = on_node_ready;
	o.ctx = h;
	r = agent_run(&o, e);
	proc_notify("STOPPING=1");
	return r;
}

static int run_destroy(struct host *h, struct err *e)
{
	struct agent_options o;

	if (fill_agent_options(h, &o, e) < 0)
		return -e->code;
	return agent_destroy(&o, e);
}

static int run_role(const struct options *o, struct host *h, struct err *e)
{
	switch (o->role) {
	case ROLE_SERVER:
		return run_server(h, e);
	case ROLE_BOTH:
		return run_both(h, e);
	case ROLE_DESTROY:
		return run_destroy(h, e);
	case ROLE_AGENT:
	case ROLE_JOIN:
		return run_agent(o, h, e);
	}
	return 0;
}

/* What is said on the command line is said of the configuration. */
static void take_options(const struct options *o, struct host *h)
{
	const struct {
		const char *value;
		char **into;
	} taken[] = {{o->listen, &h->config.listen},
		     {o->node_listen, &h->config.node_listen},
		     {o->server, &h->config.node_server},
		     {o->cluster, &h->config.node_cluster}};

	for (size_t i = 0; i < ARRAY_COUNT(taken); i++)
		if (taken[i].value)
			*taken[i].into = arena_strdup(&h->arena, taken[i].value);
}

static int run(const struct options *o, struct err *e)
{
	struct host h;
	int r = host_open(o->root, o->config, &h, e);

	if (r == 0) {
		take_options(o, &h);
		h.waits_for_keeper = o->no_keeper;
		log_open("berthd", level_of(h.config.log_level));
		r = host_lock(&h, e);
	}
	if (r == 0)
		r = run_role(o, &h, e);
	host_done(&h);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = {.root = "/"};
	struct err e = {0};
	int r;

	log_open("berthd", LOG_LEVEL_INFO);
	if (argc == 2 && strcmp(argv[1], "server-child") == 0)
		return server_child_main();
	r = parse(argc, argv, &o);
	if (r >= 0)
		return r;
	if (geteuid() != 0) {
		(void)fprintf(stderr, "berthd: must be started as root\n");
		return 1;
	}
	(void)umask(022); /* of what containers see, too, whoever started us */
	if (run(&o, &e) < 0) {
		log_error("%s", e.msg);
		return 1;
	}
	return 0;
}
