/* cmd/berth_oci/life.c - commands that change a container
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"
#include "cmd/berth_oci/foreground.h"

#define PROCESS_MAX (4 * 1024 * 1024) /* bytes of an exec --process file */

int command_outcome(int r, const char *id, struct err *e)
{
	switch (r) {
	case RUNTIME_ABSENT:
		return err_set(e, ENOENT, "container '%s' does not exist", id);
	case RUNTIME_EXISTS:
		return err_set(e, EEXIST, "container with given ID already exists: '%s'", id);
	case RUNTIME_STOPPED:
		return err_set(e, ESRCH, "container not running: '%s'", id);
	default:
		return r;
	}
}

/*
 * LISTEN_FDS of systemd's socket activation: they go on to the container.  Those
 * of a process above us, which has left its environment to us, are not ours.
 */
static unsigned listening(void)
{
	const char *text = getenv("LISTEN_FDS"), *whose = getenv("LISTEN_PID");
	uint32_t count = 0, pid = 0;

	if (whose && (!parse_u32(whose, INT32_MAX, &pid) || pid != (uint32_t)getpid()))
		return 0;
	return text && parse_u32(text, 1024, &count) ? count : 0;
}

struct runtime_create command_create_spec(const struct arguments *a)
{
	struct runtime_create spec = RUNTIME_CREATE_INIT;

	spec.id = a->words[0];
	spec.bundle = a->bundle ? a->bundle : ".";
	spec.config = a->config;
	spec.io.pidfd_socket = a->pidfd_socket;
	spec.io.pid_file = a->pid_file;
	spec.io.console_socket = a->console_socket;
	spec.io.listen_fds = listening();
	spec.io.preserve_fds = a->preserve_fds + spec.io.listen_fds;
	spec.cgroups = a->systemd_cgroup || str_eq(a->cgroup_manager, "systemd")
			       ? RUNTIME_CGROUPS_SYSTEMD
		       : str_eq(a->cgroup_manager, "disabled") ? RUNTIME_CGROUPS_NONE
							       : RUNTIME_CGROUPS_OURS;
	spec.no_pivot = a->no_pivot;
	spec.no_new_keyring = a->no_new_keyring;
	return spec;
}

int command_create(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct runtime_create spec = command_create_spec(a);
	pid_t pid;

	if (runtime_own_namespace(&spec, e) < 0)
		return -e->code;
	return command_outcome(runtime_create(rt, &spec, &pid, e), spec.id, e);
}

int command_start(struct runtime *rt, const struct arguments *a, struct err *e)
{
	return command_outcome(runtime_start(rt, a->words[0], e), a->words[0], e);
}

/* ---- run ---- */

static int run_in(struct runtime *rt, const struct arguments *a, struct runtime_create *spec,
		  struct foreground *f, struct err *e)
{
	struct err second;
	int status = 0, r;
	pid_t pid;

	spec->io.console_fd = f->console[0];
	spec->start = true;
	if (runtime_own_namespace(spec, e) < 0)
		return -e->code;
	r = command_outcome(runtime_create(rt, spec, &pid, e), spec->id, e);
	if (r < 0)
		return r;
	r = foreground_attach(f, e);
	if (r == 0 && f->master_fd >= 0) /* it waits until we have its terminal */
		r = runtime_start(rt, spec->id, e);
	if (r == 0 && a->detach)
		return 0;
	if (r == 0)
		r = foreground_stay(f, pid, &status, e);
	if (!a->keep || r < 0) {
		int gone = runtime_delete(rt, spec->id, true, r < 0 ? &second : e);

		r = r == 0 && gone < 0 ? gone : r;
	}
	return r < 0 ? r : status;
}

int command_run(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct runtime_create spec = command_create_spec(a);
	struct foreground f = FOREGROUND_INIT;
	int r;

	if (a->console_socket && !a->detach)
		return err_set(e, EINVAL, "--console-socket goes with --detach only");
	if (!a->detach && foreground_begin(&f, true, e) < 0)
		return -e->code;
	r = run_in(rt, a, &spec, &f, e);
	foreground_done(&f);
	return r;
}

/* ---- exec ---- */

static int exec_in(struct runtime *rt, const struct arguments *a, struct runtime_exec *spec,
		   struct foreground *f, struct err *e)
{
	int status = 0, r;
	pid_t pid;

	spec->io.console_fd = f->console[0];
	r = runtime_exec(rt, spec, &pid, e);
	if (r == RUNTIME_STOPPED)
		return err_set(e, ESRCH, "cannot exec in a stopped container");
	if (r != 0)
		return command_outcome(r, spec->id, e);
	if (a->detach)
		return 0;
	if (foreground_attach(f, e) < 0 || foreground_stay(f, pid, &status, e) < 0)
		return -e->code;
	return status;
}

int command_exec(struct runtime *rt, const struct arguments *a, struct err *e)
{
	auto_buf struct buf process = BUF_INIT(PROCESS_MAX);
	struct runtime_exec spec = RUNTIME_EXEC_INIT;
	struct foreground f = FOREGROUND_INIT;
	int r;

	if (a->process && fs_read(AT_FDCWD, a->process, &process, e) < 0)
		return err_wrap(e, "--process");
	if (!a->process && a->word_count < 2)
		return err_set(e, EINVAL, "exec: neither a command nor --process is given");
	spec.id = a->words[0];
	spec.process = a->process ? buf_str(&process) : NULL;
	spec.args = a->words + 1;
	spec.env = (char *const *)(uintptr_t)a->env;
	spec.caps = (char *const *)(uintptr_t)a->caps;
	spec.apparmor = a->apparmor;
	spec.selinux = a->process_label;
	spec.ignore_paused = a->ignore_paused;
	spec.io.pidfd_socket = a->pidfd_socket;
	spec.cgroups = (char *const *)(uintptr_t)a->cgroups;
	spec.gids = (char *const *)(uintptr_t)a->gids;
	spec.cwd = a->cwd;
	spec.user = a->user;
	spec.tty = a->tty;
	foreground_size(&spec.rows, &spec.columns);
	spec.no_new_privs = a->no_new_privs;
	spec.io.pid_file = a->pid_file;
	spec.io.console_socket = a->console_socket;
	spec.io.preserve_fds = a->preserve_fds + listening();

	if (!a->detach && foreground_begin(&f, !a->console_socket, e) < 0)
		return -e->code;
	r = exec_in(rt, a, &spec, &f, e);
	foreground_done(&f);
	return r;
}

/* ---- kill, delete, pause ---- */

/* "TERM", "SIGTERM", "15", "RTMIN+3"; 0 asks whether there is someone to signal.  -1: none of these. */
static int parse_signal(const char *text)
{
	const struct {
		const char *name;
		int sig;
	} others[] = {{"IO", SIGIO},
		      {"IOT", SIGIOT},
		      {"CLD", SIGCHLD},
		      {"RTMIN", SIGRTMIN},
		      {"RTMAX", SIGRTMAX}};
	uint32_t number;

	if (parse_u32(text, (uint32_t)SIGRTMAX, &number))
		return (int)number;
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (sigabbrev_np(sig) && strcasecmp(sigabbrev_np(sig), text) == 0)
			return sig;
	for (size_t i = 0; i < ARRAY_COUNT(others); i++)
		if (strcasecmp(others[i].name, text) == 0)
			return others[i].sig;
	if (strncasecmp(text, "RTMIN+", 6) == 0 &&
	    parse_u32(text + 6, (uint32_t)(SIGRTMAX - SIGRTMIN), &number))
		return SIGRTMIN + (int)number;
	if (strncasecmp(text, "RTMAX-", 6) == 0 &&
	    parse_u32(text + 6, (uint32_t)(SIGRTMAX - SIGRTMIN), &number))
		return SIGRTMAX - (int)number;
	return -1;
}

int command_kill(struct runtime *rt, const struct arguments *a, struct err *e)
{
	const char *name = a->word_count > 1 ? a->words[1] : "TERM";
	int sig = parse_signal(name);

	if (sig < 0)
		return err_set(e, EINVAL, "kill: '%s' is no signal", name);
	return command_outcome(runtime_kill(rt, a->words[0], sig, a->all, e), a->words[0], e);
}

static int refuse_to_delete(struct runtime *rt, const char *id, struct err *e)
{
	const char *status = runtime_status_name(RUNTIME_STATUS_RUNNING);
	struct runtime_state s;

	if (runtime_state(rt, id, &s, e) == 0) {
		status = runtime_status_name(s.status);
		runtime_state_done(&s);
	}
	return err_set(e, EBUSY, "cannot delete container '%s' that is not stopped: %s", id,
		       status);
}

int command_delete(struct runtime *rt, const struct arguments *a, struct err *e)
{
	int r = runtime_delete(rt, a->words[0], a->force, e);

	if (r == RUNTIME_ABSENT && a->force)
		return 0;
	if (r == RUNTIME_RUNNING)
		return refuse_to_delete(rt, a->words[0], e);
	return command_outcome(r, a->words[0], e);
}

int command_pause(struct runtime *rt, const struct arguments *a, struct err *e)
{
	return command_outcome(runtime_pause(rt, a->words[0], e), a->words[0], e);
}

int command_resume(struct runtime *rt, const struct arguments *a, struct err *e)
{
	return command_outcome(runtime_resume(rt, a->words[0], e), a->words[0], e);
}
