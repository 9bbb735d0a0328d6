/* base/proc.c - child processes
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/proc.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"

#define SPAWN_FDS_MAX 32
#define SPAWN_FD_BASE 512 /* where descriptors wait before they take their numbers */

void proc_close_from(int first)
{
	if (syscall(SYS_close_range, (unsigned)first, ~0u, 0) == 0)
		return;
	for (int fd = first; fd < 65536; fd++)
		(void)close(fd);
}

/* Context: child after fork, before exec; async-signal-safe calls only. */
static void reset_signals(void)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL); /* KILL and STOP refuse */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* First out of the way, then to their places. */
int proc_place_fds(const struct proc_fd *fds, size_t fd_count)
{
	int parked[SPAWN_FDS_MAX], null, last = 2;
	bool std[3] = {false, false, false};

	assert(fd_count <= SPAWN_FDS_MAX);

	for (size_t i = 0; i < fd_count; i++) {
		parked[i] = fcntl(fds[i].fd, F_DUPFD_CLOEXEC, SPAWN_FD_BASE);
		if (parked[i] < 0)
			return -errno;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || (null = fcntl(null, F_DUPFD_CLOEXEC, SPAWN_FD_BASE)) < 0)
		return -errno;

	for (size_t i = 0; i < fd_count; i++) {
		if (dup2(parked[i], fds[i].child) < 0)
			return -errno;
		if (fds[i].child <= 2)
			std[fds[i].child] = true;
		else if (fds[i].child > last)
			last = fds[i].child;
	}
	for (int fd = 0; fd <= 2; fd++)
		if (!std[fd] && dup2(null, fd) < 0)
			return -errno;

	/* What lies between the named ones goes too. */
	for (int fd = 3; fd < last; fd++) {
		bool named = false;

		for (size_t i = 0; i < fd_count; i++)
			named |= fds[i].child == fd;
		if (!named)
			(void)close(fd);
	}
	proc_close_from(last + 1);
	return 0;
}

bool proc_die_with(pid_t parent)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

int proc_become(uid_t uid, gid_t gid, struct err *e)
{
	const struct rlimit no_core = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return err_sys(e, "become user %u", (unsigned)uid);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(e, "give up privileges");
	return 0;
}

static _Noreturn void child_exec(const struct proc_spawn *s, pid_t parent, int report_fd)
{
	static char *const no_env[] = {NULL};
	struct proc_fd fds[SPAWN_FDS_MAX + 1];

	/* The report pipe takes part in the placing, behind all the others. */
	if (s->fd_count)
		memcpy(fds, s->fds, s->fd_count * sizeof(*fds));
	fds[s->fd_count] = (struct proc_fd){report_fd, SPAWN_FDS_MAX + 3};

	if (s->die_with_parent && !proc_die_with(parent))
		_exit(127);
	if (s->new_session)
		(void)setsid();
	reset_signals();
	if (proc_place_fds(fds, s->fd_count + 1) == 0 &&
	    fcntl(SPAWN_FDS_MAX + 3, F_SETFD, FD_CLOEXEC) == 0)
		(void)execve(s->path, s->argv, s->envp ? s->envp : no_env);

	(void)write_all(SPAWN_FDS_MAX + 3, &errno, sizeof(errno));
	_exit(127);
}

int proc_spawn(const struct proc_spawn *s, pid_t *ret_pid, int *ret_pidfd, struct err *e)
{
	auto_close int report_r = -1, report_w = -1, pidfd = -1;
	int report[2], child_errno = 0;
	pid_t pid, parent = getpid();

	assert(s->path && s->argv && s->fd_count < SPAWN_FDS_MAX);
	for (size_t i = 0; i < s->fd_count; i++)
		assert(s->fds[i].child < SPAWN_FDS_MAX + 3);

	if (pipe2(report, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	report_r = report[0];
	report_w = report[1];

	pid = fork();
	if (pid < 0)
		return err_sys(e, "fork for %s", s->path);
	if (pid == 0)
		child_exec(s, parent, report_w);

	pidfd = proc_pidfd_open(pid);
	close_fd(&report_w);
	if (read_all(report_r, &child_errno, sizeof(child_errno)) != 0 || pidfd < 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		errno = child_errno ? child_errno : EIO;
		return err_sys(e, "start %s", s->path);
	}

	*ret_pid = pid;
	*ret_pidfd = take_fd(pidfd);
	return 0;
}

int proc_wait(int pidfd, int *ret_status, struct err *e)
{
	siginfo_t info = {0};
	int r;

	do
		r = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_sys(e, "wait for child");
	*ret_status = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
	return 0;
}

int proc_pidfd_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

int proc_pidfd_kill(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

uint64_t proc_start_time(pid_t pid)
{
	char path[32], line[1024], *p;
	auto_close int fd = -1;
	unsigned field = 2;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read_all(fd, line, sizeof(line) - 1);
	if (n <= 0)
		return 0;
	line[n] = '\0';

	/* The second field is the name, in parentheses, with anything inside. */
	p = strrchr(line, ')');
	while (p && field < 22) {
		p = strchr(p + 1, ' ');
		field++;
	}
	return p ? strtoull(p + 1, NULL, 10) : 0;
}

int proc_self_dir(char *ret, size_t size, struct err *e)
{
	ssize_t n = readlink("/proc/self/exe", ret, size);
	char *slash;

	if (n < 0)
		return err_sys(e, "read /proc/self/exe");
	if ((size_t)n >= size)
		return err_set(e, ENAMETOOLONG, "path of our own executable");
	ret[n] = '\0';
	slash = strrchr(ret, '/');
	if (slash)
		*slash = '\0';
	return 0;
}

void proc_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	auto_close int fd = -1;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}
