/* runtime/filter_calls.c - system calls by name, on each architecture
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/filter_calls.h"

#include <linux/audit.h>
#include <linux/ipc.h>
#include <linux/net.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"

const struct filter_arch filter_arches[] = {
	{"SCMP_ARCH_X86", AUDIT_ARCH_I386, COLUMN_X86, 0, true},
	{"SCMP_ARCH_X86_64", AUDIT_ARCH_X86_64, COLUMN_X86_64, 0, false},
	{"SCMP_ARCH_X32", AUDIT_ARCH_X86_64, COLUMN_X32, FILTER_X32_BIT, true},
	{"SCMP_ARCH_ARM", AUDIT_ARCH_ARM, COLUMN_ARM, 0, true},
	{"SCMP_ARCH_AARCH64", AUDIT_ARCH_AARCH64, COLUMN_AARCH64, 0, false},
	{"SCMP_ARCH_MIPS", AUDIT_ARCH_MIPS, COLUMN_MIPS, 0, true},
	{"SCMP_ARCH_MIPS64", AUDIT_ARCH_MIPS64, COLUMN_MIPS64, 0, false},
	{"SCMP_ARCH_MIPS64N32", AUDIT_ARCH_MIPS64N32, COLUMN_MIPS64N32, 0, true},
	{"SCMP_ARCH_MIPSEL", AUDIT_ARCH_MIPSEL, COLUMN_MIPS, 0, true},
	{"SCMP_ARCH_MIPSEL64", AUDIT_ARCH_MIPSEL64, COLUMN_MIPS64, 0, false},
	{"SCMP_ARCH_MIPSEL64N32", AUDIT_ARCH_MIPSEL64N32, COLUMN_MIPS64N32, 0, true},
	{"SCMP_ARCH_PPC", AUDIT_ARCH_PPC, COLUMN_PPC, 0, true},
	{"SCMP_ARCH_PPC64", AUDIT_ARCH_PPC64, COLUMN_PPC64, 0, false},
	{"SCMP_ARCH_PPC64LE", AUDIT_ARCH_PPC64LE, COLUMN_PPC64, 0, false},
	{"SCMP_ARCH_S390", AUDIT_ARCH_S390, COLUMN_S390, 0, true},
	{"SCMP_ARCH_S390X", AUDIT_ARCH_S390X, COLUMN_S390X, 0, false},
	{"SCMP_ARCH_PARISC", AUDIT_ARCH_PARISC, COLUMN_PARISC, 0, true},
	{"SCMP_ARCH_PARISC64", AUDIT_ARCH_PARISC64, COLUMN_PARISC64, 0, false},
	{"SCMP_ARCH_RISCV64", AUDIT_ARCH_RISCV64, COLUMN_RISCV64, 0, false},
};
const size_t filter_arch_count = ARRAY_COUNT(filter_arches);

#if defined(__x86_64__)
#define NATIVE "SCMP_ARCH_X86_64"
#elif defined(__aarch64__)
#define NATIVE "SCMP_ARCH_AARCH64"
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE "SCMP_ARCH_RISCV64"
#elif defined(__s390x__)
#define NATIVE "SCMP_ARCH_S390X"
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE "SCMP_ARCH_PPC64LE"
#elif defined(__i386__)
#define NATIVE "SCMP_ARCH_X86"
#elif defined(__arm__)
#define NATIVE "SCMP_ARCH_ARM"
#else
#define NATIVE "" /* no filters here */
#endif

const struct filter_arch *filter_arch_find(const char *name)
{
	for (size_t i = 0; i < filter_arch_count; i++)
		if (str_eq(filter_arches[i].name, name))
			return &filter_arches[i];
	return NULL;
}

const struct filter_arch *filter_arch_native(void)
{
	return filter_arch_find(NATIVE);
}

bool filter_arch_is_possible(const struct filter_arch *a)
{
	bool little = a->audit & __AUDIT_ARCH_LE;

	return little == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
}

static int compare_name(const void *name, const void *call)
{
	return strcmp(name, ((const struct filter_call *)call)->name);
}

const struct filter_call *filter_call_find(const char *name)
{
	return bsearch(name, filter_calls, filter_call_count, sizeof(*filter_calls), compare_name);
}

/* ---- calls behind calls ---- */

static const struct behind {
	const char *through, *call;
	uint32_t first;
} behind[] = {
	{"socketcall", "socket", SYS_SOCKET},
	{"socketcall", "bind", SYS_BIND},
	{"socketcall", "connect", SYS_CONNECT},
	{"socketcall", "listen", SYS_LISTEN},
	{"socketcall", "accept", SYS_ACCEPT},
	{"socketcall", "getsockname", SYS_GETSOCKNAME},
	{"socketcall", "getpeername", SYS_GETPEERNAME},
	{"socketcall", "socketpair", SYS_SOCKETPAIR},
	{"socketcall", "send", SYS_SEND},
	{"socketcall", "recv", SYS_RECV},
	{"socketcall", "sendto", SYS_SENDTO},
	{"socketcall", "recvfrom", SYS_RECVFROM},
	{"socketcall", "shutdown", SYS_SHUTDOWN},
	{"socketcall", "setsockopt", SYS_SETSOCKOPT},
	{"socketcall", "getsockopt", SYS_GETSOCKOPT},
	{"socketcall", "sendmsg", SYS_SENDMSG},
	{"socketcall", "recvmsg", SYS_RECVMSG},
	{"socketcall", "accept4", SYS_ACCEPT4},
	{"socketcall", "recvmmsg", SYS_RECVMMSG},
	{"socketcall", "sendmmsg", SYS_SENDMMSG},
	{"ipc", "semop", SEMOP},
	{"ipc", "semget", SEMGET},
	{"ipc", "semctl", SEMCTL},
	{"ipc", "semtimedop", SEMTIMEDOP},
	{"ipc", "msgsnd", MSGSND},
	{"ipc", "msgrcv", MSGRCV},
	{"ipc", "msgget", MSGGET},
	{"ipc", "msgctl", MSGCTL},
	{"ipc", "shmat", SHMAT},
	{"ipc", "shmdt", SHMDT},
	{"ipc", "shmget", SHMGET},
	{"ipc", "shmctl", SHMCTL},
};

int32_t filter_call_behind(const struct filter_call *c, enum filter_column column,
			   uint32_t *ret_first)
{
	for (size_t i = 0; i < ARRAY_COUNT(behind); i++)
		if (str_eq(behind[i].call, c->name)) {
			*ret_first = behind[i].first;
			return filter_call_find(behind[i].through)->number[column];
		}
	return -1;
}
