/* tests/e2e/root/prober.c - what is open to a process in a container
 * SPDX-License-Identifier: Apache-2.0
 *
 * Tries all that an escape would want, and prints a line for each:
 *
 *   open NAME          the kernel did it, or looked at the arguments (EFAULT,
 *                      EINVAL, EBADF...): its code can be reached
 *   closed NAME ERROR  refused before (EPERM, EACCES, ENOSYS, EROFS), or not there
 *
 * Nothing that it does changes anything when it works: files are only opened,
 * and calls have arguments that cannot be.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* Younger than the headers that this is built with. */
#define NR_mount_setattr 442
#define NR_open_tree     428
#define CLONE_NEWTIME_   0x80
#define AF_VSOCK_        40
#define AF_ALG_          38

static void tell(const char *name, bool open, int errnum)
{
	if (open)
		(void)printf("open %s\n", name);
	else
		(void)printf("closed %s %s\n", name, strerror(errnum));
}

static bool is_refusal(int errnum)
{
	return errnum == EPERM || errnum == EACCES || errnum == ENOSYS || errnum == EROFS;
}

/* ---- calls ---- */

static const struct {
	const char *name;
	long number, args[6];
} calls[] = {
	{"unshare of a user namespace", SYS_unshare, {CLONE_NEWUSER}},
	{"unshare of a mount namespace", SYS_unshare, {CLONE_NEWNS}},
	{"unshare of a network namespace", SYS_unshare, {CLONE_NEWNET}},
	{"unshare of a pid namespace", SYS_unshare, {CLONE_NEWPID}},
	{"unshare of an ipc namespace", SYS_unshare, {CLONE_NEWIPC}},
	{"unshare of a uts namespace", SYS_unshare, {CLONE_NEWUTS}},
	{"unshare of a cgroup namespace", SYS_unshare, {CLONE_NEWCGROUP}},
	{"unshare of a time namespace", SYS_unshare, {CLONE_NEWTIME_}},
	{"clone into a user namespace", SYS_clone, {CLONE_NEWUSER | CLONE_SIGHAND}},
	{"clone3", SYS_clone3, {1, 0}},
	{"setns", SYS_setns, {-1, 0}},
	{"mount", SYS_mount, {1, 1, 1, 0, 0}},
	{"umount2", SYS_umount2, {1, 0}},
	{"pivot_root", SYS_pivot_root, {1, 1}},
	{"chroot", SYS_chroot, {(long)"/"}},
	{"open_tree", NR_open_tree, {-1, 1, 1}},
	{"move_mount", SYS_move_mount, {-1, 1, -1, 1, 0}},
	{"fsopen", SYS_fsopen, {1, 0}},
	{"fspick", SYS_fspick, {-1, 1, 0}},
	{"mount_setattr", NR_mount_setattr, {-1, 1, 0, 1, 32}},
	{"add_key", SYS_add_key, {1, 1, 1, 1, -1}},
	{"request_key", SYS_request_key, {1, 1, 1, -1}},
	{"keyctl", SYS_keyctl, {0, -1, 0}},
	{"bpf", SYS_bpf, {0, 1, 64}},
	{"perf_event_open", SYS_perf_event_open, {1, 0, -1, -1, 0}},
	{"userfaultfd", SYS_userfaultfd, {-1}},
	{"io_uring_setup", SYS_io_uring_setup, {1, 1}},
	{"ptrace of a child", SYS_ptrace, {PTRACE_TRACEME}},
	{"kcmp", SYS_kcmp, {-1, -1, 0, 0, 0}},
	{"pidfd_getfd", SYS_pidfd_getfd, {-1, -1, 0}},
	{"personality that makes data executable", SYS_personality, {READ_IMPLIES_EXEC}},
	{"init_module", SYS_init_module, {1, 1, 1}},
	{"finit_module", SYS_finit_module, {-1, 1, 0}},
	{"delete_module", SYS_delete_module, {1, 0}},
	{"kexec_load", SYS_kexec_load, {0, 0, 1, 0}},
	{"reboot", SYS_reboot, {0, 0, 0, 0}},
	{"swapon", SYS_swapon, {1, 0}},
	{"swapoff", SYS_swapoff, {1}},
	{"quotactl", SYS_quotactl, {-1, 1, 0, 1}},
	{"acct", SYS_acct, {1}},
	{"settimeofday", SYS_settimeofday, {1, 0}},
	{"clock_settime", SYS_clock_settime, {0, 1}},
	{"sethostname", SYS_sethostname, {1, 1}},
	{"setdomainname", SYS_setdomainname, {1, 1}},
	{"syslog", SYS_syslog, {3, 0, 0}},
	{"iopl", SYS_iopl, {3}},
	{"ioperm", SYS_ioperm, {0, 1, 1}},
	{"open_by_handle_at", SYS_open_by_handle_at, {-1, 1, 0}},
	{"fanotify_init", SYS_fanotify_init, {-1, 0}},
	{"vhangup", SYS_vhangup, {0}},
	{"modify_ldt", SYS_modify_ldt, {0, 1, 0}},
	{"mbind", SYS_mbind, {0, 0, -1, 0, 0, 0}},
	{"move_pages", SYS_move_pages, {0, 1, 1, 1, 1, 0}},
	{"set_mempolicy", SYS_set_mempolicy, {-1, 1, 1}},
};

/* In a child: what it does to itself, such as waiting to be traced, ends with it. */
static void try_call(size_t i)
{
	const long *a = calls[i].args;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		long r = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);

		_exit(r < 0 ? errno : 0);
	}
	(void)waitpid(pid, &status, 0);
	tell(calls[i].name, !is_refusal(WEXITSTATUS(status)), WEXITSTATUS(status));
}

/* ---- sockets ---- */

static const struct {
	const char *name;
	int family, type, protocol;
} sockets[] = {
	{"packet socket", AF_PACKET, SOCK_RAW, 0},
	{"raw ICMP socket", AF_INET, SOCK_RAW, 1},
	{"raw ICMPv6 socket", AF_INET6, SOCK_RAW, 58},
	{"vsock socket", AF_VSOCK_, SOCK_STREAM, 0},
	{"kernel crypto socket", AF_ALG_, SOCK_SEQPACKET, 0},
	{"key management socket", AF_KEY, SOCK_RAW, 2},
	{"audit socket", AF_NETLINK, SOCK_RAW, 9},
	{"netfilter socket", AF_NETLINK, SOCK_RAW, 12},
	{"bluetooth socket", AF_BLUETOOTH, SOCK_RAW, 1},
	{"CAN socket", AF_CAN, SOCK_RAW, 1},
	{"RDS socket", AF_RDS, SOCK_SEQPACKET, 0},
	{"TIPC socket", AF_TIPC, SOCK_SEQPACKET, 0},
};

/* Anybody may talk to these two; what counts is whether they obey. */
static const struct {
	int protocol;
	unsigned short type;
} orders[] = {
	{9, 1000},        /* audit: AUDIT_GET */
	{12, 0x0a00 | 4}, /* netfilter: NFT_MSG_DELTABLE */
};

static bool obeys(int fd, int protocol)
{
	struct {
		unsigned len;
		unsigned short type, flags;
		unsigned seq, pid;
		unsigned char family, version;
		unsigned short id;
	} order = {20, 0, 5, 1, 0, AF_INET, 0, 0};
	struct {
		unsigned len;
		unsigned short type, flags;
		unsigned seq, pid;
		int error;
		char rest[256];
	} answer = {0};

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
		if (orders[i].protocol == protocol)
			order.type = orders[i].type;
	if (!order.type)
		return true;
	if (send(fd, &order, sizeof(order), 0) < 0)
		return !is_refusal(errno) && errno != ECONNREFUSED;
	if (recv(fd, &answer, sizeof(answer), 0) < 0)
		return !is_refusal(errno);
	return !is_refusal(-answer.error) && answer.error != -ECONNREFUSED;
}

static void try_socket(size_t i)
{
	int fd = socket(sockets[i].family, sockets[i].type, sockets[i].protocol);
	bool open = fd >= 0 && (sockets[i].family != AF_NETLINK || obeys(fd, sockets[i].protocol));

	tell(sockets[i].name, open, fd < 0 ? errno : EPERM);
	if (fd >= 0)
		(void)close(fd);
}

/* ---- files ---- */

static const struct {
	const char *path;
	int flags;
} files[] = {
	{"/proc/kcore", O_RDONLY},
	{"/proc/keys", O_RDONLY},
	{"/proc/key-users", O_RDONLY},
	{"/proc/interrupts", O_RDONLY},
	{"/proc/timer_list", O_RDONLY},
	{"/proc/sched_debug", O_RDONLY},
	{"/proc/latency_stats", O_RDONLY},
	{"/proc/acpi", O_RDONLY},
	{"/proc/scsi", O_RDONLY},
	{"/proc/asound", O_RDONLY},
	{"/proc/sysrq-trigger", O_WRONLY},
	{"/proc/irq/default_smp_affinity", O_WRONLY},
	{"/proc/bus/pci", O_RDONLY},
	{"/proc/sys/kernel/core_pattern", O_WRONLY},
	{"/proc/sys/kernel/modprobe", O_WRONLY},
	{"/proc/sys/kernel/hostname", O_WRONLY},
	{"/proc/sys/vm/panic_on_oom", O_WRONLY},
	{"/proc/sys/fs/binfmt_misc/register", O_WRONLY},
	{"/proc/sys/net/ipv4/ip_forward", O_WRONLY},
	{"/sys/firmware", O_RDONLY},
	{"/sys/kernel/uevent_helper", O_WRONLY},
	{"/sys/kernel/security", O_RDONLY},
	{"/sys/kernel/debug", O_RDONLY},
	{"/sys/kernel/tracing", O_RDONLY},
	{"/sys/devices/virtual/powercap", O_RDONLY},
	{"/sys/module/kernel/parameters/panic", O_WRONLY},
	{"/sys/fs/cgroup/cgroup.procs", O_WRONLY},
	{"/sys/fs/cgroup/cgroup.subtree_control", O_WRONLY},
	{"/sys/fs/cgroup/memory/release_agent", O_WRONLY},
	{"/sys/fs/cgroup/memory/memory.limit_in_bytes", O_WRONLY},
	{"/sys/fs/cgroup/memory/cgroup.procs", O_WRONLY},
	{"/sys/fs/cgroup/devices/devices.allow", O_WRONLY},
	{"/sys/fs/bpf", O_RDONLY},
	{"/dev/mem", O_RDONLY},
	{"/dev/kmsg", O_RDONLY},
	{"/dev/kvm", O_RDWR},
	{"/dev/fuse", O_RDWR},
	{"/dev/net/tun", O_RDWR},
	{"/dev/sda", O_RDONLY},
	{"/dev/vda", O_RDONLY},
};

/* An empty file or directory in its place is how it is closed. */
static bool has_content(int fd)
{
	char data[1024];
	struct stat st;

	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		return syscall(SYS_getdents64, fd, data, sizeof(data)) >
		       64; /* more than . and .. */
	return read(fd, data, sizeof(data)) > 0;
}

static void try_file(size_t i)
{
	int fd = open(files[i].path, files[i].flags | O_NONBLOCK);
	bool open = fd >= 0 && (files[i].flags != O_RDONLY || has_content(fd));

	tell(files[i].path, open, fd < 0 ? errno : ENODATA);
	if (fd >= 0)
		(void)close(fd);
}

/* Addresses that are no zeros. */
static void try_kallsyms(void)
{
	char line[17] = "";
	int fd = open("/proc/kallsyms", O_RDONLY);
	bool open = fd >= 0 && read(fd, line, 16) == 16 && strspn(line, "0") != 16;

	tell("/proc/kallsyms", open, EPERM);
}

static void try_node(const char *name, mode_t mode, unsigned major, unsigned minor)
{
	int r = mknod("/tmp/node", mode | 0600, makedev(major, minor)), errnum = errno;
	int fd = r < 0 ? -1 : open("/tmp/node", O_RDONLY);

	tell(name, fd >= 0, r < 0 ? errnum : errno); /* one that cannot be opened is a file */
	(void)unlink("/tmp/node");
}

/* A byte into the terminal's input, as if it had been typed there. */
static void try_terminal(void)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), r;

	r = master < 0 ? -1 : (int)syscall(SYS_ioctl, master, 0x5412, "x");
	tell("typing into a terminal that is not its own", r == 0, errno);
}

int main(void)
{
	(void)setvbuf(stdout, NULL, _IONBF, 0);
	(void)mkdir("/tmp", 01777);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		try_call(i);
	for (size_t i = 0; i < sizeof(sockets) / sizeof(sockets[0]); i++)
		try_socket(i);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		try_file(i);
	try_kallsyms();
	try_node("a block device", S_IFBLK, 254, 0);
	try_node("the memory device", S_IFCHR, 1, 1);
	try_terminal();
	return 0;
}
