/* cmd/berth_keeper.c - berth-keeper: the parent of all containers of a node
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "keeper/keeper.h"
#include "runtime/runtime.h"

#define DESCRIPTOR_MAX (1 << 20)

static const char usage[] =
	"usage: berth-keeper [--run-dir DIR] [--scope NAME] [--detach]\n"
	"\n"
	"Keeps the processes of the tasks of this node. berthd starts it, or systemd.\n"
	"\n"
	"  --run-dir DIR  where its socket and its records are (/run/berth)\n"
	"  --scope NAME   where systemd runs the host: have tasks in NAME.scope of berth.slice\n"
	"  --detach       go on in the background as soon as it listens\n"
	"  --version      print the version\n"
	"\n"
	"SIGHUP executes the program anew in the same process, for an upgrade.\n"
	"SIGTERM ends it when no container lives.\n";

enum {
	OPTION_RUN_DIR = 1,
	OPTION_SCOPE,
	OPTION_DETACH,
	OPTION_RESUME,
	OPTION_VERSION,
	OPTION_HELP
};

static const struct option options[] = {
	{"run-dir", required_argument, NULL, OPTION_RUN_DIR},
	{"scope", required_argument, NULL, OPTION_SCOPE},
	{"detach", no_argument, NULL, OPTION_DETACH},
	{"resume", required_argument, NULL, OPTION_RESUME}, /* given by the program before us */
	{"version", no_argument, NULL, OPTION_VERSION},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

/* Returns -1, or the exit code where that is all. */
static int read_options(int argc, char **argv, struct keeper_serve *ret)
{
	uint32_t fd;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case OPTION_RUN_DIR:
			ret->run_dir = optarg;
			break;
		case OPTION_SCOPE:
			ret->scope = optarg;
			break;
		case OPTION_DETACH:
			ret->detach = true;
			break;
		case OPTION_RESUME:
			if (!parse_u32(optarg, DESCRIPTOR_MAX, &fd))
				return 2;
			ret->resume_fd = (int)fd;
			break;
		case OPTION_VERSION:
			printf("berth-keeper %s\n", BERTH_VERSION);
			return 0;
		case OPTION_HELP:
			(void)fputs(usage, stdout);
			return 0;
		default:
			(void)fputs(usage, stderr);
			return 2;
		}
	}
	if (optind == argc && ret->run_dir[0] == '/')
		return -1;
	(void)fputs(usage, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct keeper_serve serve = {.program = argv[0][0] == '/' ? argv[0] : NULL,
				     .run_dir = "/run/berth",
				     .resume_fd = -1};
	struct err e = {0};
	int code;

	log_open("berth-keeper", LOG_LEVEL_INFO);
	if (runtime_protect_self(argv, &e) < 0) {
		(void)fprintf(stderr, "berth-keeper: %s\n", e.msg);
		return 1;
	}
	runtime_protect_settle();
	code = read_options(argc, argv, &serve);
	if (code >= 0)
		return code;
	if (keeper_serve(&serve, &e) < 0) {
		(void)fprintf(stderr, "berth-keeper: %s\n", e.msg);
		return e.code == EBUSY ? KEEPER_EXIT_BUSY : 1;
	}
	return 0;
}
