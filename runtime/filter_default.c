/* runtime/filter_default.c - the filter that Docker's users expect
 * SPDX-License-Identifier: Apache-2.0
 *
 * A list of what is allowed; all else is EPERM, and what is younger than the
 * list is ENOSYS (filter_compile.c).  Calls that only work with a capability are
 * allowed with that capability only: they are the kernel's least trodden paths.
 * Not allowed to anyone: io_uring, userfaultfd, keys (not namespaced), swap,
 * kexec, modify_ldt (for 16-bit programs), and the calls that no libc uses.
 *
 * clone3 hides its flags in memory, where no filter can see them, so it gets
 * ENOSYS and libc falls back to clone, whose flags may not make namespaces.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/js.h"
#include "base/text.h"
#include "runtime/runtime.h"

#define NAMESPACE_FLAGS 0x7e020000 /* CLONE_NEW* but time, which clone cannot make */

static const char allowed[] =
	"_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget "
	"capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres "
	"clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep "
	"clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 "
	"epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
	"epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat "
	"faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat "
	"fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr "
	"flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync "
	"ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv "
	"futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents "
	"getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 "
	"getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid "
	"getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt "
	"gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch "
	"inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents "
	"io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set "
	"ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown "
	"lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr "
	"lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier "
	"memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall "
	"mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
	"mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal "
	"msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at "
	"nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe "
	"pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 "
	"preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev "
	"pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink "
	"readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages "
	"removexattr removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe "
	"rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
	"rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
	"sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr "
	"sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 "
	"sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield "
	"seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile "
	"sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address "
	"setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 "
	"setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid "
	"setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr "
	"setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
	"sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 "
	"statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill "
	"time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
	"timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
	"timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask "
	"uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork "
	"vmsplice wait4 waitid waitpid write writev";

static const struct {
	const char *capability, *calls;
} gated[] = {
	{"CAP_SYS_ADMIN",
	 "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
	 "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
	 "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns "
	 "syslog umount umount2 unshare pivot_root"},
	{"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
	{"CAP_SYS_BOOT", "reboot"},
	{"CAP_SYS_CHROOT", "chroot"},
	{"CAP_SYS_MODULE", "delete_module init_module finit_module"},
	{"CAP_SYS_PACCT", "acct"},
	{"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"},
	{"CAP_SYS_RAWIO", "iopl ioperm"},
	{"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
	{"CAP_SYS_TTY_CONFIG", "vhangup"},
	{"CAP_SYS_NICE",
	 "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages"},
	{"CAP_SYSLOG", "syslog"},
	{"CAP_BPF", "bpf"},
	{"CAP_PERFMON", "perf_event_open"},
};

/* Socket families by number.  Left out: what is obsolete or has been a way to the host before. */
#define FAMILIES_BELOW 12 /* AF_UNSPEC to AF_APPLETALK, AF_INET, AF_INET6 and their kin */
static const int families[] = {13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29,
			       30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45};

/* Execution domains: Linux, UNAME26, both with and without PER_LINUX32, and "tell me". */
static const json_int_t personalities[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

#if defined(__x86_64__)
static const char architectures[] = "SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32";
static const char native_calls[] = "arch_prctl";
#elif defined(__aarch64__)
static const char architectures[] = "SCMP_ARCH_AARCH64 SCMP_ARCH_ARM";
static const char native_calls[] =
	"arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
#else
static const char architectures[] = ""; /* the native one */
static const char native_calls[] = "";
#endif

/* Words, one blank between them, to a list. */
static json_t *words(const char *text)
{
	json_t *array = json_array();

	while (*text) {
		size_t len = strcspn(text, " ");

		(void)json_array_append_new(array, json_stringn(text, len));
		text += len + (text[len] == ' ');
	}
	return array;
}

static void add(json_t *rules, const char *names, const char *action, json_t *args)
{
	json_t *rule = json_object();

	(void)json_object_set_new(rule, "names", words(names));
	(void)json_object_set_new(rule, "action", json_string(action));
	if (args)
		(void)json_object_set_new(rule, "args", args);
	(void)json_array_append_new(rules, rule);
}

/* One call, when its first argument compares so. */
static void add_when(json_t *rules, const char *call, const char *op, json_int_t value,
		     json_int_t value_two)
{
	json_t *args = json_array(), *arg = json_object();

	(void)json_object_set_new(arg, "index", json_integer(0));
	(void)json_object_set_new(arg, "value", json_integer(value));
	(void)json_object_set_new(arg, "valueTwo", json_integer(value_two));
	(void)json_object_set_new(arg, "op", json_string(op));
	(void)json_array_append_new(args, arg);
	add(rules, call, "SCMP_ACT_ALLOW", args);
}

static bool has(const char *const *caps, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (str_eq(caps[i], name))
			return true;
	return false;
}

static void add_clone(json_t *rules)
{
	json_t *rule = json_object();

	add_when(rules, "clone", "SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0);
	(void)json_object_set_new(rule, "names", words("clone3"));
	(void)json_object_set_new(rule, "action", json_string("SCMP_ACT_ERRNO"));
	(void)json_object_set_new(rule, "errnoRet", json_integer(ENOSYS));
	(void)json_array_append_new(rules, rule);
}

json_t *runtime_default_seccomp(const char *const *caps, size_t count)
{
	json_t *profile = json_object(), *rules = json_array();

	(void)json_object_set_new(profile, "defaultAction", json_string("SCMP_ACT_ERRNO"));
	(void)json_object_set_new(profile, "architectures", words(architectures));
	(void)json_object_set_new(profile, "syscalls", rules);

	add(rules, allowed, "SCMP_ACT_ALLOW", NULL);
	if (*native_calls)
		add(rules, native_calls, "SCMP_ACT_ALLOW", NULL);
	add_when(rules, "socket", "SCMP_CMP_LT", FAMILIES_BELOW, 0);
	for (size_t i = 0; i < ARRAY_COUNT(families); i++)
		add_when(rules, "socket", "SCMP_CMP_EQ", families[i], 0);
	for (size_t i = 0; i < ARRAY_COUNT(personalities); i++)
		add_when(rules, "personality", "SCMP_CMP_EQ", personalities[i], 0);
	for (size_t i = 0; i < ARRAY_COUNT(gated); i++)
		if (has(caps, count, gated[i].capability))
			add(rules, gated[i].calls, "SCMP_ACT_ALLOW", NULL);
	if (!has(caps, count, "CAP_SYS_ADMIN"))
		add_clone(rules);
	return profile;
}
