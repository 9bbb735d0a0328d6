/* cmd/berth_oci/main.c - berth-oci: an OCI runtime with runc's command line
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"
#include "cmd/berth_oci/report.h"

#define DEFAULT_ROOT "/run/berth-oci"
#define HEAP_STEP    (256 << 10) /* enough for most commands at once */
#define USERS_ROOT   "berth-oci" /* in $XDG_RUNTIME_DIR */

/* ---- options ---- */

#define AT(member) offsetof(struct arguments, member)

static const struct option global_options[] = {
	{"root", 0, OPTION_STRING, AT(root), "DIR", "where state is kept (" DEFAULT_ROOT ")"},
	{"log", 0, OPTION_STRING, AT(log), "FILE", "append errors to FILE"},
	{"log-format", 0, OPTION_STRING, AT(log_format), "FORMAT", "text or json (text)"},
	{"debug", 0, OPTION_FLAG, AT(debug), NULL, "accepted; there is nothing more to say"},
	{"systemd-cgroup", 's', OPTION_FLAG, AT(systemd_cgroup), NULL, "systemd makes the cgroup"},
	{"cgroup-manager", 0, OPTION_STRING, AT(cgroup_manager), "WHO",
	 "cgroupfs, systemd or disabled (cgroupfs)"},
	{"rootless", 0, OPTION_STRING, AT(rootless), "WHEN",
	 "true, false or auto; it is seen by itself"},
	{"criu", 0, OPTION_STRING, AT(criu), "PATH", "accepted; criu is looked for in $PATH"},
	{"version", 'v', OPTION_FLAG, AT(version), NULL, "print versions"},
	{"help", 'h', OPTION_FLAG, AT(help), NULL, "print this, or the help of a command"},
};

#define OPTION_HELP                                                    \
	{                                                              \
		"help", 'h', OPTION_FLAG, AT(help), NULL, "print this" \
	}
#define OPTION_BUNDLE                                                             \
	{                                                                         \
		"bundle", 'b', OPTION_STRING, AT(bundle), "DIR", "the bundle (.)" \
	}
#define OPTIONS_OF_PROCESS                                                                         \
	{"console-socket",   0,      OPTION_STRING,                                                \
	 AT(console_socket), "PATH", "unix socket that receives the terminal"},                    \
		{"pid-file", 0, OPTION_STRING, AT(pid_file), "FILE", "write the pid to FILE"},     \
		{"pidfd-socket",   0,      OPTION_STRING,                                          \
		 AT(pidfd_socket), "PATH", "unix socket that receives a pidfd of it"},             \
		{"no-subreaper", 0, OPTION_FLAG, AT(no_subreaper), NULL, "accepted; we are none"}, \
	{                                                                                          \
		"preserve-fds", 0, OPTION_NUMBER, AT(preserve_fds), "N",                           \
			"pass N descriptors from 3 on"                                             \
	}
#define OPTIONS_OF_CREATE                                                                         \
	OPTION_BUNDLE, OPTIONS_OF_PROCESS,                                                        \
		{"config",   'f',    OPTION_STRING,                                               \
		 AT(config), "FILE", "the config in the bundle (config.json)"},                   \
		{"no-pivot",   0,    OPTION_FLAG,                                                 \
		 AT(no_pivot), NULL, "chroot instead of pivot_root: for a root on an initramfs"}, \
	{                                                                                         \
		"no-new-keyring", 0, OPTION_FLAG, AT(no_new_keyring), NULL,                       \
			"keep the caller's session keyring"                                       \
	}
#define OPTION_DETACH                                                                       \
	{                                                                                   \
		"detach", 'd', OPTION_FLAG, AT(detach), NULL, "do not wait for the process" \
	}

static const struct option create_options[] = {OPTIONS_OF_CREATE, OPTION_HELP};
static const struct option run_options[] = {
	OPTIONS_OF_CREATE,
	OPTION_DETACH,
	{"keep", 0, OPTION_FLAG, AT(keep), NULL, "do not delete the container when it has ended"},
	OPTION_HELP,
};
static const struct option exec_options[] = {
	{"process", 'p', OPTION_STRING, AT(process), "FILE", "an OCI process object"},
	{"tty", 't', OPTION_FLAG, AT(tty), NULL, "give it a terminal"},
	{"user", 'u', OPTION_STRING, AT(user), "UID[:GID]", "numbers"},
	{"cwd", 0, OPTION_STRING, AT(cwd), "DIR", "its working directory"},
	{"env", 'e', OPTION_LIST, AT(env), "NAME=VALUE", "add to its environment; repeatable"},
	{"cap", 'c', OPTION_LIST, AT(caps), "CAP_NAME", "add a capability; repeatable"},
	{"no-new-privs", 0, OPTION_FLAG, AT(no_new_privs), NULL, "set no_new_privs"},
	{"apparmor", 0, OPTION_STRING, AT(apparmor), "PROFILE", "its AppArmor profile"},
	{"process-label", 0, OPTION_STRING, AT(process_label), "LABEL", "its SELinux label"},
	{"ignore-paused", 0, OPTION_FLAG, AT(ignore_paused), NULL,
	 "it waits with a paused container"},
	{"additional-gids", 'g', OPTION_LIST, AT(gids), "GID", "add a group; repeatable"},
	{"cgroup", 0, OPTION_LIST, AT(cgroups), "[CONTROLLER:]PATH",
	 "run it in a cgroup below the container's; repeatable"},
	OPTIONS_OF_PROCESS,
	OPTION_DETACH,
	OPTION_HELP,
};
static const struct option kill_options[] = {
	{"all", 'a', OPTION_FLAG, AT(all), NULL, "signal every process of the container"},
	OPTION_HELP,
};
static const struct option delete_options[] = {
	{"force", 'f', OPTION_FLAG, AT(force), NULL, "kill it first; an absent one is fine"},
	OPTION_HELP,
};
static const struct option list_options[] = {
	{"format", 'f', OPTION_STRING, AT(format), "FORMAT", "table or json (table)"},
	{"quiet", 'q', OPTION_FLAG, AT(quiet), NULL, "ids only"},
	OPTION_HELP,
};
static const struct option ps_options[] = {
	{"format", 'f', OPTION_STRING, AT(format), "FORMAT", "table or json (table)"},
	OPTION_HELP,
};
#define LIMIT(name, member, value, help)                        \
	{                                                       \
		name, 0, OPTION_STRING, AT(member), value, help \
	}
static const struct option update_options[] = {
	{"resources", 'r', OPTION_STRING, AT(resources), "FILE",
	 "linux.resources; - is standard input"},
	LIMIT("memory", memory, "BYTES", "memory (512m, 1g; -1: no limit)"),
	LIMIT("memory-reservation", memory_reservation, "BYTES", "memory that is kept for it"),
	LIMIT("memory-swap", memory_swap, "BYTES", "memory and swap"),
	LIMIT("kernel-memory", kernel_memory, "BYTES", "of the kernel, for it"),
	LIMIT("kernel-memory-tcp", kernel_memory_tcp, "BYTES", "of tcp buffers"),
	LIMIT("cpu-share", cpu_share, "N", "weight, 1024 is one"),
	LIMIT("cpu-quota", cpu_quota, "US", "time in each period"),
	LIMIT("cpu-period", cpu_period, "US", "the period"),
	LIMIT("cpu-burst", cpu_burst, "US", "time saved up at most"),
	LIMIT("cpu-rt-period", cpu_rt_period, "US", "the period of realtime processes"),
	LIMIT("cpu-rt-runtime", cpu_rt_runtime, "US", "their time in it"),
	LIMIT("cpu-idle", cpu_idle, "0|1", "run only when nothing else does"),
	LIMIT("cpuset-cpus", cpuset_cpus, "LIST", "processors"),
	LIMIT("cpuset-mems", cpuset_mems, "LIST", "memory nodes"),
	LIMIT("blkio-weight", blkio_weight, "N", "weight of block io, 10 to 1000"),
	LIMIT("pids-limit", pids_limit, "N", "processes"),
	OPTION_HELP,
};
static const struct option events_options[] = {
	{"interval", 0, OPTION_STRING, AT(interval), "TIME", "between two of them (5s)"},
	{"stats", 0, OPTION_FLAG, AT(stats), NULL, "print them once"},
	OPTION_HELP,
};
#define OPTIONS_OF_CRIU                                                                             \
	{"image-path", 0, OPTION_STRING, AT(image_path), "DIR", "the images (checkpoint)"},         \
		{"work-path", 0, OPTION_STRING, AT(work_path), "DIR", "criu's logs"},               \
		{"parent-path", 0, OPTION_STRING, AT(parent_path), "DIR", "an earlier pre-dump"},   \
		{"tcp-established", 0, OPTION_FLAG, AT(tcp_established), NULL, "with connections"}, \
		{"tcp-close", 0, OPTION_FLAG, AT(tcp_close), NULL, "without them"},                 \
		{"ext-unix-sk", 0, OPTION_FLAG, AT(ext_unix_sk), NULL, "with unix sockets"},        \
		{"shell-job", 0, OPTION_FLAG, AT(shell_job), NULL, "with a session of others"},     \
		{"file-locks", 0, OPTION_FLAG, AT(file_locks), NULL, "with file locks"},            \
		{"auto-dedup", 0, OPTION_FLAG, AT(auto_dedup), NULL, "each page once"},             \
		{"lazy-pages", 0, OPTION_FLAG, AT(lazy_pages), NULL, "memory when it is touched"},  \
		{"empty-ns", 0, OPTION_LIST, AT(empty_ns), "KIND", "do not keep this namespace"},   \
	{                                                                                           \
		"manage-cgroups-mode", 0, OPTION_STRING, AT(manage_cgroups), "MODE",                \
			"accepted; cgroups are made by us"                                          \
	}
static const struct option checkpoint_options[] = {
	OPTIONS_OF_CRIU,
	{"leave-running", 0, OPTION_FLAG, AT(leave_running), NULL, "do not end it"},
	{"pre-dump", 0, OPTION_FLAG, AT(pre_dump), NULL, "memory only, and leave it running"},
	OPTION_HELP,
};
static const struct option restore_options[] = {
	OPTIONS_OF_CRIU,
	OPTIONS_OF_CREATE,
	OPTION_DETACH,
	{"keep", 0, OPTION_FLAG, AT(keep), NULL, "do not delete the container when it has ended"},
	{"lsm-profile", 0, OPTION_STRING, AT(lsm_profile), "PROFILE",
	 "apparmor:NAME or selinux:LABEL"},
	{"lsm-mount-context", 0, OPTION_STRING, AT(lsm_mount_context), "LABEL", "of its mounts"},
	OPTION_HELP,
};
static const struct option spec_options[] = {
	OPTION_BUNDLE,
	{"rootless", 0, OPTION_FLAG, AT(rootless_spec), NULL, "for a user who is not root"},
	OPTION_HELP,
};
static const struct option no_options[] = {OPTION_HELP};

/* ---- commands ---- */

#define OPTIONS(table) table, ARRAY_COUNT(table)
#define WORDS_ANY      SIZE_MAX

static const struct command {
	const char *name, *words, *help;
	const struct option *options;
	size_t option_count, word_min, word_max;
	int (*run)(struct runtime *rt, const struct arguments *a, struct err *e);
	bool makes_processes; /* in containers: our own program is protected from them */
	bool needs_no_state;
} commands[] = {
	{"create", "ID", "make a container that waits to be started", OPTIONS(create_options), 1, 1,
	 command_create, true, false},
	{"start", "ID", "start a container that was created", OPTIONS(no_options), 1, 1,
	 command_start, false, false},
	{"run", "ID", "create, start, wait, delete", OPTIONS(run_options), 1, 1, command_run, true,
	 false},
	{"exec", "ID COMMAND [ARG...]", "run one more process in a container",
	 OPTIONS(exec_options), 1, WORDS_ANY, command_exec, true, false},
	{"kill", "ID [SIGNAL]", "send a signal (TERM) to a container's init", OPTIONS(kill_options),
	 1, 2, command_kill, false, false},
	{"delete", "ID", "remove what is left of a container", OPTIONS(delete_options), 1, 1,
	 command_delete, false, false},
	{"state", "ID", "print the state of a container as JSON", OPTIONS(no_options), 1, 1,
	 command_state, false, false},
	{"list", "", "print all containers", OPTIONS(list_options), 0, 0, command_list, false,
	 false},
	{"ps", "ID [OPTION OF PS...]", "print the processes of a container", OPTIONS(ps_options), 1,
	 WORDS_ANY, command_ps, false, false},
	{"pause", "ID", "freeze all processes of a container", OPTIONS(no_options), 1, 1,
	 command_pause, false, false},
	{"resume", "ID", "thaw them", OPTIONS(no_options), 1, 1, command_resume, false, false},
	{"update", "ID", "change the limits of a container", OPTIONS(update_options), 1, 1,
	 command_update, false, false},
	{"events", "ID", "print what a container uses, until it ends", OPTIONS(events_options), 1,
	 1, command_events, false, false},
	{"checkpoint", "ID", "keep a running container in files, by criu",
	 OPTIONS(checkpoint_options), 1, 1, command_checkpoint, false, false},
	{"restore", "ID", "make a container from such files", OPTIONS(restore_options), 1, 1,
	 command_restore, true, false},
	{"spec", "", "write a config.json to begin with", OPTIONS(spec_options), 0, 0, command_spec,
	 false, true},
	{"features", "", "print what this runtime can do as JSON", OPTIONS(no_options), 0, 0,
	 command_features, false, true},
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		if (str_eq(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void print_help(void)
{
	printf("berth-oci - run containers from OCI bundles\n\n"
	       "Usage: berth-oci [global options] COMMAND [options] [arguments]\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
		printf("  %-10s %s\n", commands[i].name, commands[i].help);
	printf("\nGlobal options:\n");
	options_print(global_options, ARRAY_COUNT(global_options));
}

static void print_command_help(const struct command *c)
{
	printf("berth-oci %s - %s\n\nUsage: berth-oci %s [options] %s\n\nOptions:\n", c->name,
	       c->help, c->name, c->words);
	options_print(c->options, c->option_count);
}

/* Engines parse the line that begins with "spec:". */
static void print_version(void)
{
	printf("berth-oci version %s\nspec: %s\n", BERTH_VERSION, RUNTIME_SPEC_VERSION);
}

/* ---- */

static int check_word(const char *option, const char *word, const char *const *words, size_t count,
		      struct err *e)
{
	for (size_t i = 0; word && i < count; i++)
		if (str_eq(word, words[i]))
			return 0;
	return word ? err_set(e, EINVAL, "--%s: '%s' is unknown", option, word) : 0;
}

static int check_globals(const struct arguments *a, struct err *e)
{
	static const char *const managers[] = {"cgroupfs", "systemd", "disabled"};
	static const char *const words[] = {"auto"};

	if (check_word("cgroup-manager", a->cgroup_manager, managers, ARRAY_COUNT(managers), e) < 0)
		return -e->code;
	if (a->rootless && option_bool(a->rootless, &(bool){false}))
		return 0;
	return check_word("rootless", a->rootless, words, ARRAY_COUNT(words), e);
}

/* A user has a place of his own. */
static int open_root(const struct arguments *a, struct runtime **ret, struct err *e)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char path[PATH_MAX];

	if (a->root)
		return runtime_open(a->root, ret, e);
	if (!dir || dir[0] != '/' || !runtime_is_rootless())
		return runtime_open(DEFAULT_ROOT, ret, e);
	if (snprintf(path, sizeof(path), "%s/" USERS_ROOT, dir) >= (int)sizeof(path))
		return err_set(e, ENAMETOOLONG, "XDG_RUNTIME_DIR");
	return runtime_open(path, ret, e);
}

static int run_command(const struct command *c, const struct arguments *a, char **argv,
		       struct err *e)
{
	struct runtime *rt = NULL;
	int r;

	if (a->word_count < c->word_min || a->word_count > c->word_max)
		return err_set(e, EINVAL, "%s: expected %s, got %zu arguments", c->name,
			       *c->words ? c->words : "no arguments", a->word_count);
	if (check_globals(a, e) < 0)
		return -e->code;
	if (c->makes_processes) {
		js_keep();
		if (runtime_protect_self(argv, e) < 0)
			return -e->code;
	}
	if (!c->needs_no_state && open_root(a, &rt, e) < 0)
		return -e->code;
	if (rt)
		runtime_on_warning(rt, report_warning);
	r = c->run(rt, a, e);
	runtime_free(rt);
	return r;
}

/* Returns the exit code, or a negative value with *e set. */
static int dispatch(struct arguments *a, char **argv, struct err *e)
{
	const struct command *c;
	int used = options_parse(global_options, ARRAY_COUNT(global_options), argv + 1, a, e);
	char **rest = argv + 1 + (used < 0 ? 0 : used);

	if (used < 0 || report_open(a->log, a->log_format, e) < 0)
		return -e->code;
	if (a->version) {
		print_version();
		return 0;
	}
	if (!*rest || str_eq(*rest, "help")) {
		c = *rest && rest[1] ? find_command(rest[1]) : NULL;
		c ? print_command_help(c) : print_help();
		return *rest || a->help ? 0 : 1;
	}
	c = find_command(*rest++);
	if (!c)
		return err_set(e, EINVAL, "unknown command '%s'; see berth-oci --help", rest[-1]);
	used = options_parse(c->options, c->option_count, rest, a, e);
	if (used < 0)
		return err_wrap(e, "%s", c->name);
	if (a->help) {
		print_command_help(c);
		return 0;
	}
	a->words = rest + used;
	while (a->words[a->word_count])
		a->word_count++;
	used = run_command(c, a, argv, e);
	if (used < 0 && c->run == command_exec) {
		report_error(e);
		return EXIT_EXEC_FAILED;
	}
	return used;
}

/* Whatever our caller left us with: 0, 1 and 2 are open, and children can be waited for. */
static bool stand_on_firm_ground(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return signal(SIGCHLD, SIG_DFL) != SIG_ERR;
}

int main(int argc, char **argv)
{
	struct arguments *a = xcalloc(1, sizeof(*a));
	struct err e;
	int r;

	(void)mallopt(M_TOP_PAD, HEAP_STEP);
	if (argc < 1 || !stand_on_firm_ground())
		return EXIT_FAILURE;
	a->log_format = "text";
	r = dispatch(a, argv, &e);
	if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		r = err_sys(&e, "write to standard output");
	if (r < 0) {
		report_error(&e);
		r = EXIT_FAILURE;
	}
	free(a);
	return r;
}
