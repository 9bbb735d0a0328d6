/* cmd/berthd/main.c - the daemon: control plane, node, or both
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/text.h"
#include "cmd/berthd/host.h"
#include "cmd/berthd/server.h"

enum role { ROLE_BOTH, ROLE_SERVER, ROLE_AGENT };

struct options {
	enum role role;
	const char *root, *listen, *config;
};

static const char usage[] =
	"usage: berthd [server|agent] [--root DIR] [--listen ADDR:PORT] [--config FILE]\n"
	"\n"
	"  server          the control plane only\n"
	"  agent           the node only (needs a server to talk to)\n"
	"                  without a word: both, on this machine\n"
	"  --root DIR      etc/berth, var/lib/berth and run/berth lie below DIR (default /)\n"
	"  --listen A:P    where the AWS APIs are answered (default 127.0.0.1:4566)\n"
	"  --config FILE   instead of DIR/etc/berth/berth.conf\n"
	"  --version, --help\n";

static int usage_error(const char *what, const char *value)
{
	(void)fprintf(stderr, "berthd: %s '%s'\n%s", what, value, usage);
	return 2;
}

/* < 0: go on; otherwise the exit code. */
static int parse(int argc, char **argv, struct options *ret)
{
	struct {
		const char *name, **value;
	} flags[] = {
		{"--root", &ret->root}, {"--listen", &ret->listen}, {"--config", &ret->config}};

	for (int i = 1; i < argc; i++) {
		bool known = false;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0;
		if (strcmp(argv[i], "--version") == 0)
			return printf("berthd %s\n", BERTH_VERSION) < 0;
		if (i == 1 && (strcmp(argv[i], "server") == 0 || strcmp(argv[i], "agent") == 0)) {
			ret->role = argv[i][0] == 's' ? ROLE_SERVER : ROLE_AGENT;
			continue;
		}
		for (size_t f = 0; f < ARRAY_COUNT(flags); f++) {
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

static int run_server(struct host *h, struct err *e)
{
	struct server s = {.host = h, .tcp_fd = -1, .unix_fd = -1, .pidfd = -1};
	uint16_t port;

	if (host_credentials(h, e) < 0 || host_listen_tcp(h, &s.tcp_fd, &port, e) < 0 ||
	    host_listen_unix(h, &s.unix_fd, e) < 0)
		return -e->code;
	say_ready(h, port);
	return server_run_here(&s, e);
}

static int run(const struct options *o, struct err *e)
{
	struct host h;
	int r = host_open(o->root, o->config, &h, e);

	if (r == 0) {
		if (o->listen)
			h.config.listen = arena_strdup(&h.arena, o->listen);
		log_open("berthd", level_of(h.config.log_level));
		r = host_lock(&h, e);
	}
	if (r == 0)
		r = run_server(&h, e);
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
	if (run(&o, &e) < 0) {
		log_error("%s", e.msg);
		return 1;
	}
	return 0;
}
