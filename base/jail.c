/* base/jail.c - what a process gives away before it reads a foreign byte
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/jail.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"

/*
 * Not the user `berth`: the control plane runs as that one and keeps secrets.
 * Files that anyone may read and none that this id owns is what is wanted.
 */
#define NOBODY 65534

#define KILL_S     (2 * 3600)   /* of CPU time */
#define MEMORY_MAX (1ULL << 30) /* of addresses: threads reserve much and use little */
#define FILES_MAX  1024

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define CALLS_MAX    0x40000000 /* above: x32 */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define CALLS_MAX    0x7fffffff
#else
#define ARCHITECTURE 0
#define CALLS_MAX    0
#endif
static_assert(ARCHITECTURE, "the system calls of this architecture are not known");

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* ---- system calls ---- */

#define CALLS_COUNT_MAX 128

static struct sock_filter *put(struct sock_filter *f, uint16_t code, uint32_t k, uint8_t yes,
			       uint8_t no)
{
	*f = (struct sock_filter)BPF_JUMP(code, k, yes, no);
	return f + 1;
}

#define LOAD(field) \
	put(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field), 0, 0)
#define RETURN(value)         put(f, BPF_RET | BPF_K, (value), 0, 0)
#define SKIP_UNLESS(k, count) put(f, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(k), 0, (count))

/* socket(2) of the internet and of netlink (which addresses there are) only. */
static struct sock_filter *allow_sockets(struct sock_filter *f)
{
	f = SKIP_UNLESS(SYS_socket, 8);
	f = LOAD(args[0]);
	f = SKIP_UNLESS(AF_INET, 1);
	f = RETURN(SECCOMP_RET_ALLOW);
	f = SKIP_UNLESS(AF_INET6, 1);
	f = RETURN(SECCOMP_RET_ALLOW);
	f = SKIP_UNLESS(AF_NETLINK, 1);
	f = RETURN(SECCOMP_RET_ALLOW);
	f = RETURN(SECCOMP_RET_ERRNO | EAFNOSUPPORT);
	return f;
}

int jail_allow_calls(const int *calls, size_t count, bool sockets, struct err *e)
{
	struct sock_filter filter[2 * CALLS_COUNT_MAX + 32], *f = filter;
	struct sock_fprog program = {.filter = filter};

	assert(count <= CALLS_COUNT_MAX);

	if (SANITIZED)
		return 0;
	f = LOAD(arch);
	f = put(f, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	f = RETURN(SECCOMP_RET_KILL_PROCESS);
	f = LOAD(nr);
	f = put(f, BPF_JMP | BPF_JGE | BPF_K, CALLS_MAX, 0, 1);
	f = RETURN(SECCOMP_RET_KILL_PROCESS);
	for (size_t i = 0; i < count; i++) {
		f = SKIP_UNLESS(calls[i], 1);
		f = RETURN(SECCOMP_RET_ALLOW);
	}
	if (sockets)
		f = allow_sockets(f);
	f = RETURN(SECCOMP_RET_ERRNO | ENOSYS);

	program.len = (unsigned short)(f - filter);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		return err_sys(e, "filter of system calls");
	return 0;
}

/* ---- what all have in common ---- */

/* Or less, where the host gives less. */
int jail_limit(int resource, rlim_t value, struct err *e)
{
	struct rlimit l;

	if (getrlimit((__rlimit_resource_t)resource, &l) < 0)
		return err_sys(e, "limit %d", resource);
	if (value < l.rlim_max)
		l.rlim_max = value;
	l.rlim_cur = l.rlim_max;
	if (setrlimit((__rlimit_resource_t)resource, &l) < 0)
		return err_sys(e, "limit %d", resource);
	return 0;
}

int jail_begin(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "no new privileges");
	if (jail_limit(RLIMIT_CORE, 0, e) < 0 || jail_limit(RLIMIT_CPU, KILL_S, e) < 0 ||
	    jail_limit(RLIMIT_NOFILE, FILES_MAX, e) < 0 || jail_limit(RLIMIT_MEMLOCK, 0, e) < 0)
		return -e->code;
	return SANITIZED ? 0 : jail_limit(RLIMIT_AS, MEMORY_MAX, e);
}

int jail_become_nobody(struct err *e)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return err_sys(e, "become id %d", NOBODY);
	/* The change of id has taken the first away, and may have given the second. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_sys(e, "die with the parent, not dumpable");
	return 0;
}

/* ---- a server ---- */

static const int server_calls[] = {
	JAIL_CALLS_COMMON, SYS_accept4,    SYS_recvfrom,    SYS_recvmsg,     SYS_sendto,
	SYS_shutdown,      SYS_getsockopt, SYS_setsockopt,  SYS_getsockname, SYS_getpeername,
	SYS_epoll_create1, SYS_epoll_ctl,  SYS_epoll_pwait, SYS_eventfd2,    SYS_pipe2,
	SYS_fcntl,         SYS_ioctl,      SYS_pread64,     SYS_clone,       SYS_clone3,
	SYS_ppoll,         SYS_uname,      SYS_sysinfo,     SYS_prctl,       SYS_gettimeofday,
	SYS_clock_getres,  SYS_getuid,     SYS_geteuid,
#ifdef __x86_64__
	SYS_epoll_wait,    SYS_poll,       SYS_time,
#endif
};

int jail_server(struct err *e)
{
	if (jail_begin(e) < 0)
		return err_wrap(e, "confine the server");
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0) {
		(void)err_sys(e, "leave the network");
		return err_wrap(e, "confine the server");
	}
	if (jail_limit(RLIMIT_FSIZE, 0, e) < 0 || jail_become_nobody(e) < 0 ||
	    jail_allow_calls(server_calls, ARRAY_COUNT(server_calls), false, e) < 0)
		return err_wrap(e, "confine the server");
	return 0;
}
