/* tests/e2e/lib/keeper.c - the runtime as a library, in the way of the node agent's keeper
 * SPDX-License-Identifier: Apache-2.0
 *
 * A parent that only forks and waits, and short-lived workers that call the
 * library. Prints one line for each thing that held; the test counts them.
 *
 *   keeper STATE BUNDLE EATER ROOTFS CGROUP
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/proc.h"
#include "runtime/runtime.h"

static const char *state_dir, *bundle, *eat_bundle, *rootfs, *parent_cgroup;

static void check(int ok, const char *what, const struct err *e)
{
	printf("%s %s%s%s\n", ok ? "held" : "FAILED", what, ok || !e ? "" : ": ",
	       ok || !e ? "" : e->msg);
	(void)fflush(stdout);
	if (!ok)
		_exit(1);
}

/* ---- workers: each is forked by the parent, and tells a pid ---- */

static pid_t worker_create(struct runtime *rt, int out_fd)
{
	struct runtime_create spec = RUNTIME_CREATE_INIT;
	struct err e = {0};
	pid_t pid = -1;
	int r;

	spec.id = "lib";
	spec.bundle = bundle;
	spec.rootfs_fd = open_tree(AT_FDCWD, rootfs, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	spec.netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	spec.io.stdio_fd[1] = out_fd;
	spec.io.stdio_fd[2] = out_fd;
	spec.sibling = true;
	r = runtime_create(rt, &spec, &pid, &e);
	check(r == 0, "create", &e);
	check(runtime_create(rt, &spec, &pid, &e) == RUNTIME_EXISTS, "an id is given once", &e);
	return pid;
}

static pid_t worker_start(struct runtime *rt, int out_fd)
{
	struct err e = {0};

	(void)out_fd;
	check(runtime_start(rt, "lib", &e) == 0, "start", &e);
	check(runtime_start(rt, "absent", &e) == RUNTIME_ABSENT, "start of nothing is an outcome",
	      &e);
	return 0;
}

static pid_t worker_exec(struct runtime *rt, int out_fd)
{
	char probe[] = "/bin/probe", word[] = "exit", code[] = "9",
	     *args[] = {probe, word, code, NULL};
	struct runtime_exec spec = RUNTIME_EXEC_INIT;
	struct err e = {0};
	pid_t pid = -1;

	spec.id = "lib";
	spec.args = args;
	spec.io.stdio_fd[1] = out_fd;
	check(runtime_exec(rt, &spec, &pid, &e) == 0, "exec", &e);
	return pid;
}

static pid_t worker_delete(struct runtime *rt, int out_fd)
{
	struct err e = {0};

	(void)out_fd;
	check(runtime_kill(rt, "lib", SIGTERM, false, &e) == RUNTIME_STOPPED,
	      "kill of a dead one is an outcome", &e);
	check(runtime_delete(rt, "lib", false, &e) == 0, "delete", &e);
	check(runtime_delete(rt, "lib", true, &e) == RUNTIME_ABSENT,
	      "delete of nothing is an outcome", &e);
	return 0;
}

/* ---- the parent ---- */

static pid_t in_worker(pid_t (*work)(struct runtime *rt, int out_fd), int out_fd)
{
	int pair[2], status;
	pid_t worker, pid = -1;

	check(pipe(pair) == 0, "pipe", NULL);
	worker = fork();
	if (worker == 0) {
		struct runtime *rt = NULL;
		struct err e = {0};

		check(runtime_open(state_dir, &rt, &e) == 0, "open", &e);
		pid = work(rt, out_fd);
		runtime_free(rt);
		_exit(write(pair[1], &pid, sizeof(pid)) != sizeof(pid));
	}
	(void)close(pair[1]);
	check(read(pair[0], &pid, sizeof(pid)) == sizeof(pid), "the worker answers", NULL);
	(void)close(pair[0]);
	check(waitpid(worker, &status, 0) == worker && status == 0, "the worker ends well", NULL);
	return pid;
}

static pid_t parent_of(pid_t pid)
{
	char path[32], text[512] = "", *p;
	int fd, ppid = -1;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		(void)!read(fd, text, sizeof(text) - 1);
		(void)close(fd);
	}
	p = strrchr(text, ')');
	if (p)
		(void)sscanf(p + 1, " %*c %d", &ppid);
	return ppid;
}

static void life(void)
{
	char said[64] = "";
	int out[2], status;
	pid_t pid, exec_pid;

	check(pipe2(out, O_CLOEXEC) == 0, "pipe", NULL);
	pid = in_worker(worker_create, out[1]);
	check(parent_of(pid) == getpid(), "the init is our child", NULL);
	(void)in_worker(worker_start, out[1]);
	exec_pid = in_worker(worker_exec, out[1]);
	check(waitpid(exec_pid, &status, 0) == exec_pid && WEXITSTATUS(status) == 9,
	      "what was executed in it is ours to reap", NULL);
	check(read(out[0], said, sizeof(said) - 1) > 0 && strstr(said, "ready"),
	      "its output is in our pipe", NULL);
	check(kill(pid, SIGTERM) == 0 && waitpid(pid, &status, 0) == pid &&
		      WEXITSTATUS(status) == 40 + SIGTERM,
	      "its exit code is ours to reap", NULL);
	(void)close(out[1]);
	check(read(out[0], said, sizeof(said)) == 0, "nobody else holds its output", NULL);
	(void)in_worker(worker_delete, -1);
	check(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "no child is left", NULL);
}

/* ---- out of memory ---- */

static pid_t worker_eat(struct runtime *rt, int out_fd)
{
	struct runtime_create spec = RUNTIME_CREATE_INIT;
	struct err e = {0};
	pid_t pid = -1;

	(void)out_fd;
	spec.id = "eat";
	spec.bundle = eat_bundle;
	spec.sibling = true;
	check(runtime_create(rt, &spec, &pid, &e) == 0, "create", &e);
	check(runtime_start(rt, "eat", &e) == 0, "start", &e);
	return pid;
}

static pid_t worker_delete_eaten(struct runtime *rt, int out_fd)
{
	struct err e = {0};

	(void)out_fd;
	check(runtime_delete(rt, "eat", false, &e) == 0, "delete", &e);
	return 0;
}

static void out_of_memory(void)
{
	struct err e = {0};
	uint64_t kills = 0;
	int status;
	pid_t pid = in_worker(worker_eat, -1);

	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	      "who eats the task's memory is killed", NULL);
	check(runtime_cgroup_oom_kills(parent_cgroup, &kills, &e) == 0 && kills == 1, "and counted",
	      &e);
	(void)in_worker(worker_delete_eaten, -1);
}

static void cgroups(void)
{
	const struct runtime_limits limits = {.cpu_shares = 256,
					      .cpu_quota_us = 20000,
					      .cpu_period_us = 100000,
					      .memory_max_bytes = 32 << 20,
					      .memory_reservation_bytes = 16 << 20,
					      .pids_max = 20};
	const struct runtime_limits wrong = {.cpu_shares = 1u << 30};
	struct err e = {0};
	uint64_t kills = 1;
	char bad[256];

	check(runtime_cgroup_create(parent_cgroup, &limits, &e) == 0, "cgroup create", &e);
	check(runtime_cgroup_create(parent_cgroup, &limits, &e) == 0, "twice is fine", &e);
	check(runtime_cgroup_oom_kills(parent_cgroup, &kills, &e) == 0 && kills == 0,
	      "nothing was killed", &e);
	(void)snprintf(bad, sizeof(bad), "%s/bad", parent_cgroup);
	check(runtime_cgroup_create(bad, &wrong, &e) < 0 && strstr(e.msg, "cpu.shares"),
	      "a wrong limit is named", &e);
	check(runtime_cgroup_oom_kills(bad, &kills, &e) == -ENOENT, "and nothing is left of it",
	      &e);
}

static void cgroups_after(void)
{
	struct err e = {0};

	check(runtime_cgroup_remove(parent_cgroup, &e) == 0, "remove", &e);
	check(runtime_cgroup_remove(parent_cgroup, &e) == 0, "remove twice", &e);
}

int main(int argc, char **argv)
{
	struct err e = {0};

	if (argc != 6)
		return 2;
	if (runtime_protect_self(argv, &e) < 0) {
		printf("FAILED protect: %s\n", e.msg);
		return 1;
	}
	state_dir = argv[1];
	bundle = argv[2];
	eat_bundle = argv[3];
	rootfs = argv[4];
	parent_cgroup = argv[5];
	check(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0, "subreaper", NULL);
	cgroups();
	life();
	out_of_memory();
	cgroups_after();
	printf("all held\n");
	return 0;
}
