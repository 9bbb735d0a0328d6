/* tests/e2e/root/probe.c - runs inside containers and tells what it sees
 * SPDX-License-Identifier: Apache-2.0
 *
 * `probe report` prints one JSON object. `probe try CALL [ARG...]` makes one
 * system call and prints "ok" or the name of the error; any number of them,
 * separated by "--". The rest are small programs that tests need.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- report ---- */

static void put_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		if ((unsigned char)*s < ' ')
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void put_member(const char *name)
{
	static int count;

	if (count++)
		printf(",\n");
	put_string(name);
	printf(": ");
}

static void put_file(const char *member, const char *path)
{
	static char text[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t size = 0;
	ssize_t n;

	while (fd >= 0 && size < sizeof(text) - 1 &&
	       (n = read(fd, text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	if (fd >= 0)
		close(fd);
	text[size] = '\0';
	put_member(member);
	put_string(text);
}

static void put_strings(const char *member, char **list)
{
	put_member(member);
	putchar('[');
	for (char **p = list; *p; p++) {
		if (p != list)
			putchar(',');
		put_string(*p);
	}
	putchar(']');
}

static void put_namespaces(void)
{
	static const char *const names[] = {"user", "mnt", "pid",    "net",
					    "ipc",  "uts", "cgroup", "time"};

	put_member("namespaces");
	putchar('{');
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char path[64], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		(void)!readlink(path, target, sizeof(target) - 1);
		printf("%s\"%s\": \"%s\"", i ? "," : "", names[i], target);
	}
	putchar('}');
}

static void put_fds(void)
{
	int first = 1;

	put_member("fds");
	putchar('{');
	for (int fd = 0; fd < 1024; fd++) {
		char path[64], target[256] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		(void)!readlink(path, target, sizeof(target) - 1);
		printf("%s\"%d\": ", first ? "" : ",", fd);
		put_string(target);
		first = 0;
	}
	putchar('}');
}

static void put_groups(void)
{
	gid_t groups[1024];
	int n = getgroups(1024, groups);

	put_member("groups");
	putchar('[');
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? "," : "", groups[i]);
	putchar(']');
}

static void put_signals(void)
{
	struct sigaction sa;
	int first = 1;

	put_member("ignored_signals");
	putchar('[');
	for (int sig = 1; sig < 65; sig++)
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN) {
			printf("%s%d", first ? "" : ",", sig);
			first = 0;
		}
	putchar(']');
}

static void put_rlimits(void)
{
	put_member("rlimits");
	putchar('{');
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit r;

		getrlimit((__rlimit_resource_t)i, &r);
		printf("%s\"%d\": [%lld, %lld]", i ? "," : "", i, (long long)r.rlim_cur,
		       (long long)r.rlim_max);
	}
	putchar('}');
}

static void report(char **argv)
{
	char cwd[4096] = "";
	struct timespec boot, mono;
	struct utsname u;
	mode_t mask = umask(0);

	umask(mask);
	uname(&u);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	(void)!getcwd(cwd, sizeof(cwd));
	putchar('{');
	put_member("uid");
	printf("[%u,%u]", getuid(), geteuid());
	put_member("gid");
	printf("[%u,%u]", getgid(), getegid());
	put_groups();
	put_member("pid");
	printf("%d", getpid());
	put_member("sid");
	printf("%d", getsid(0));
	put_member("umask");
	printf("%u", mask);
	put_member("cwd");
	put_string(cwd);
	put_member("hostname");
	put_string(u.nodename);
	put_member("domainname");
	put_string(u.domainname);
	put_member("boottime");
	printf("%lld", (long long)boot.tv_sec);
	put_member("monotonic");
	printf("%lld", (long long)mono.tv_sec);
	put_member("tty");
	printf("[%d,%d,%d]", isatty(0), isatty(1), isatty(2));
	put_strings("args", argv);
	put_strings("env", environ);
	put_namespaces();
	put_fds();
	put_signals();
	put_rlimits();
	put_file("status", "/proc/self/status");
	put_file("mountinfo", "/proc/self/mountinfo");
	put_file("cgroup", "/proc/self/cgroup");
	put_file("oom_score_adj", "/proc/self/oom_score_adj");
	put_file("uid_map", "/proc/self/uid_map");
	put_file("gid_map", "/proc/self/gid_map");
	printf("}\n");
}

/* ---- try ---- */

static long number(char **argv, int i)
{
	return argv[i] ? strtol(argv[i], NULL, 0) : 0;
}

static long try_open(char **a)
{
	static const struct {
		const char *name;
		int flags;
	} modes[] = {{"r", O_RDONLY}, {"w", O_WRONLY}, {"rw", O_RDWR}, {"c", O_WRONLY | O_CREAT}};

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (a[1] && strcmp(modes[i].name, a[1]) == 0)
			return open(a[0], modes[i].flags | O_NONBLOCK, 0600);
	errno = EINVAL;
	return -1;
}

static long try_read(char **a)
{
	char c;
	int fd = open(a[0], O_RDONLY | O_NONBLOCK);

	return fd < 0 ? -1 : read(fd, &c, 1) == 0 ? (errno = ENODATA, -1) : 0;
}

static long try_write(char **a)
{
	int fd = open(a[0], O_WRONLY);

	return fd < 0 ? -1 : write(fd, a[1], strlen(a[1]));
}

static long try_mknod(char **a)
{
	return mknod(a[0], (a[1][0] == 'b' ? S_IFBLK : S_IFCHR) | 0600,
		     makedev((unsigned)number(a, 2), (unsigned)number(a, 3)));
}

static long try_mount(char **a)
{
	return mount(a[0], a[1], a[2], (unsigned long)number(a, 3), NULL);
}

static long try_socket(char **a)
{
	return socket((int)number(a, 0), (int)number(a, 1), (int)number(a, 2));
}

static long try_unshare(char **a)
{
	return unshare((int)number(a, 0));
}

static long try_clone(char **a)
{
	long pid = syscall(SYS_clone, number(a, 0) | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_clone3(char **a)
{
	unsigned long long args[11] = {[4] = SIGCHLD};
	long pid;

	args[0] = (unsigned long long)number(a, 0);
	pid = syscall(SYS_clone3, args, sizeof(args));
	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_keyctl(char **a)
{
	return syscall(SYS_keyctl, number(a, 0), number(a, 1), 0, 0, 0);
}

static long try_bpf(char **a)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

	(void)a;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* A number and nothing else: does it reach the kernel? */
static long try_syscall(char **a)
{
	return syscall(number(a, 0), number(a, 1), number(a, 2), number(a, 3), 0, 0, 0);
}

static long try_personality(char **a)
{
	return syscall(SYS_personality, number(a, 0));
}

static long try_chown(char **a)
{
	return chown(a[0], (uid_t)number(a, 1), (gid_t)number(a, 2));
}

static long try_ptrace(char **a)
{
	return ptrace(PTRACE_SEIZE, number(a, 0), 0, 0);
}

static long try_exec(char **a)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(a[0], a);
		_exit(errno);
	}
	waitpid(pid, &status, 0);
	errno = WIFEXITED(status) ? WEXITSTATUS(status) : ECANCELED;
	return errno ? -1 : 0;
}

static const struct {
	const char *name;
	long (*call)(char **argv);
} calls[] = {
	{"open", try_open},
	{"read", try_read},
	{"write", try_write},
	{"mknod", try_mknod},
	{"mount", try_mount},
	{"socket", try_socket},
	{"unshare", try_unshare},
	{"clone", try_clone},
	{"clone3", try_clone3},
	{"keyctl", try_keyctl},
	{"bpf", try_bpf},
	{"syscall", try_syscall},
	{"personality", try_personality},
	{"chown", try_chown},
	{"ptrace", try_ptrace},
	{"exec", try_exec},
};

static void try_one(char **argv)
{
	long r = -1;

	errno = EINVAL;
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		if (strcmp(calls[i].name, argv[0]) == 0)
			r = calls[i].call(argv + 1);
	printf("%s\n", r < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void try_all(char **argv)
{
	while (*argv) {
		char **end = argv;

		while (*end && strcmp(*end, "--") != 0)
			end++;
		if (*end)
			*end++ = NULL;
		try_one(argv);
		argv = end;
	}
}

/* ---- small programs ---- */

static void stay(void)
{
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

static volatile sig_atomic_t got;

static void on_signal(int sig)
{
	got = sig;
}

/* Ends with 40 + the first signal that it gets. */
static int wait_signal(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	for (int sig = 1; sig <= SIGRTMAX; sig++)
		sigaction(sig, &sa, NULL);
	printf("ready\n");
	fflush(stdout);
	while (!got)
		pause();
	return 40 + got;
}

static int eat(long bytes)
{
	char *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	if (p == MAP_FAILED)
		return 1;
	memset(p, 1, (size_t)bytes);
	printf("ate\n");
	return 0;
}

/* Exchange names, pair by pair, for ever: the race of those who replace what is being mounted. */
static void swap(char **names)
{
	printf("ready\n");
	fflush(stdout);
	for (;;)
		for (char **n = names; n[0] && n[1]; n += 2)
			syscall(SYS_renameat2, AT_FDCWD, n[0], AT_FDCWD, n[1],
				2 /* RENAME_EXCHANGE */);
}

#define KEPT 16

/* Executables of others, kept open until nobody executes them any more: then try to write. */
static int kept[KEPT];
static unsigned kept_count;

static void keep_executable(const char *path, const char *own)
{
	char target[300] = "";
	int fd;

	(void)!readlink(path, target, sizeof(target) - 1);
	if (!target[0] || strcmp(target, own) == 0)
		return;
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	if (kept_count >= KEPT)
		close(kept[kept_count % KEPT]);
	kept[kept_count++ % KEPT] = fd;
}

static void say(const char *what, const char *path)
{
	printf("%s %s\n", what, path);
	fflush(stdout);
}

static void overwrite_kept(void)
{
	for (unsigned i = 0; i < kept_count && i < KEPT; i++) {
		char path[64], target[300] = "";
		struct stat a, b;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", kept[i]);
		fd = open(path, O_WRONLY);
		if (fd < 0)
			continue;
		(void)!readlink(path, target, sizeof(target) - 1);
		/* A file of the container is its own to write to. */
		if (fstat(fd, &a) < 0 || stat(target, &b) < 0 || a.st_dev != b.st_dev ||
		    a.st_ino != b.st_ino)
			say("writable:", target);
		close(fd);
	}
}

static void look_at(long pid, const char *own)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%ld/exe", pid);
	keep_executable(path, own);
	snprintf(path, sizeof(path), "/proc/%ld/root/berth-host-mark", pid);
	if (access(path, F_OK) == 0)
		say("host root:", path);
	snprintf(path, sizeof(path), "/proc/%ld/cwd/berth-host-mark", pid);
	if (access(path, F_OK) == 0)
		say("host directory:", path);
	for (int i = 0; i < 32; i++) {
		snprintf(path, sizeof(path), "/proc/%ld/fd/%d/berth-host-mark", pid, i);
		if (access(path, F_OK) == 0)
			say("host descriptor:", path);
	}
}

/* Look at every process that shows up, for ever, and print what should not have worked. */
static void hunt(void)
{
	char own[300] = "";

	(void)!readlink("/proc/self/exe", own, sizeof(own) - 1);
	say("ready", "");
	for (;;) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			long pid = strtol(entry->d_name, NULL, 10);

			if (pid > 1 && pid != getpid())
				look_at(pid, own);
		}
		if (dir)
			closedir(dir);
		overwrite_kept();
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "report") == 0)
		report(argv);
	else if (strcmp(what, "try") == 0)
		try_all(argv + 2);
	else if (strcmp(what, "stay") == 0)
		stay();
	else if (strcmp(what, "exit") == 0)
		return (int)number(argv, 2);
	else if (strcmp(what, "signal") == 0)
		return wait_signal();
	else if (strcmp(what, "die") == 0)
		raise((int)number(argv, 2));
	else if (strcmp(what, "eat") == 0)
		return eat(number(argv, 2));
	else if (strcmp(what, "swap") == 0)
		swap(argv + 2);
	else if (strcmp(what, "hunt") == 0)
		hunt();
	else if (strcmp(what, "true") != 0)
		return 2;
	return 0;
}
