/* runtime/protect_entry.c - puts our program into a read-only overlay before it begins
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * To be executed from a read-only overlay (protect.c) is to be executed twice.  But
 * what the C library does before main(), relocations and what the processor can do,
 * takes a third of a millisecond in a virtual machine, where each CPUID traps; and
 * nothing has been written to our memory when the kernel has just made it.  So the
 * linker lets a static program begin here (ld -e protect_entry, x86-64), on the
 * stack that the kernel has made: each segment is mapped again, from the overlay,
 * at its place, and the kernel is told that this is the file that we are executed
 * from (PR_SET_MM_MAP, which wants CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN).  Then
 * the library's own _start goes on.  Where any of it cannot be had we are as
 * before, and runtime_protect_self() executes us anew.
 *
 * Nothing here may need what is not there yet: a relocated pointer, a variable of
 * the thread (errno, the stack protector's), a function of the library.  The
 * object has no undefined symbols but the linker's and _start; e2e/20-oci-cve looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/protect.h"

#define SELF "/proc/self/exe"

/* Result, or -errno. */
static inline long call(long number, long a, long b, long c, long d, long e, long f)
{
#ifdef __x86_64__
	register long r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return result;
#else
	long result = syscall(number, a, b, c, d, e, f);

	return result < 0 ? -errno : result;
#endif
}

static void shut(int fd)
{
	if (fd >= 0)
		(void)call(SYS_close, fd, 0, 0, 0, 0, 0);
}

int protect_mount_fd = -1;

/* ---- words ---- */

static bool is_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* The end of what is there now. */
static char *append(char *to, const char *text)
{
	while ((*to = *text++))
		to++;
	return to;
}

static char *append_number(char *to, int number)
{
	char digits[16], *first = digits + sizeof(digits) - 1;

	*first = '\0';
	do
		*--first = (char)('0' + number % 10);
	while (number /= 10);
	return append(to, first);
}

/* ---- the overlay ---- */

/*
 * An overlay without an upper layer wants two lower ones; the second is any
 * directory that is always there, for only one file of the first is ever opened.
 */
static int mount_overlay(int dir_fd)
{
	char layers[64];
	int fs_fd = (int)call(SYS_fsopen, (long)"overlay", FSOPEN_CLOEXEC, 0, 0, 0, 0);
	long mount_fd = -1;

	(void)append(append_number(append(layers, "/proc/self/fd/"), dir_fd), ":/sys");
	if (fs_fd < 0)
		return fs_fd;
	if (call(SYS_fsconfig, fs_fd, FSCONFIG_SET_STRING, (long)"lowerdir", (long)layers, 0, 0) ==
		    0 &&
	    call(SYS_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, 0, 0, 0, 0) == 0)
		mount_fd = call(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC,
				MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, 0, 0);
	shut(fs_fd);
	return (int)mount_fd;
}

static long look_at(int dir_fd, const char *path, int flags, struct stat *st)
{
	return call(SYS_newfstatat, dir_fd, (long)path, (long)st, flags, 0, 0);
}

/* Is it still the file that we are executed from? */
static bool is_ourselves(int dir_fd, const char *name)
{
	struct stat a, b;

	return look_at(AT_FDCWD, SELF, 0, &a) == 0 &&
	       look_at(dir_fd, name, AT_SYMLINK_NOFOLLOW, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Cuts the path in two; NULL: it is not one. */
static char *split(char *path)
{
	char *slash = NULL;

	for (char *p = path; *p; p++)
		if (*p == '/')
			slash = p;
	if (!slash || slash == path)
		return NULL;
	*slash = '\0';
	return slash + 1;
}

int protect_open_overlay(int *ret_mount_fd)
{
	char path[PATH_MAX], *name;
	long n = call(SYS_readlink, (long)SELF, (long)path, sizeof(path) - 1, 0, 0, 0);
	int dir_fd, fd = -1;

	if (n <= 0)
		return -1;
	path[n] = '\0';
	name = split(path);
	if (!name)
		return -1;
	dir_fd = (int)call(SYS_openat, AT_FDCWD, (long)path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0,
			   0);
	if (dir_fd >= 0 && is_ourselves(dir_fd, name))
		*ret_mount_fd = mount_overlay(dir_fd);
	if (*ret_mount_fd >= 0)
		fd = (int)call(SYS_openat, *ret_mount_fd, (long)name,
			       O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0, 0, 0);
	shut(dir_fd);
	return fd;
}

#ifdef __x86_64__

/* ---- in its place ---- */

#define PAGE 4096ul

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

static const char *address_of(const ElfW(Phdr) * segment)
{
	return (const char *)&__ehdr_start + segment->p_vaddr;
}

/* What follows the file's part in its last page is in the file, but not in the program. */
static void clear_tail(const ElfW(Phdr) * segment)
{
	volatile char *p = (volatile char *)(uintptr_t)address_of(segment) + segment->p_filesz;

	while (segment->p_memsz > segment->p_filesz && (uintptr_t)p % PAGE)
		*p++ = '\0';
}

static bool map_again(const ElfW(Phdr) * segment, int fd)
{
	const uintptr_t address = (uintptr_t)address_of(segment), skip = address % PAGE;
	const int protection = (segment->p_flags & PF_R ? PROT_READ : 0) |
			       (segment->p_flags & PF_W ? PROT_WRITE : 0) |
			       (segment->p_flags & PF_X ? PROT_EXEC : 0);

	if (call(SYS_mmap, (long)(address - skip), (long)(skip + segment->p_filesz), protection,
		 MAP_PRIVATE | MAP_FIXED, fd,
		 (long)(segment->p_offset - skip)) != (long)(address - skip))
		return false;
	if (segment->p_flags & PF_W)
		clear_tail(segment);
	return true;
}

static const char *end_of(const char *text)
{
	while (*text++)
		;
	return text;
}

/* All but the file as the kernel has it already. */
static bool change_file(const struct prctl_mm_map *map)
{
	return call(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)map, sizeof(*map), 0, 0) == 0;
}

static bool move_into(int fd, const uintptr_t *stack, const char *const *argv,
		      const char *const *envp)
{
	const ElfW(Phdr) *segments =
		(const void *)((const char *)&__ehdr_start + __ehdr_start.e_phoff);
	const long brk = call(SYS_brk, 0, 0, 0, 0, 0, 0);
	const char *end = end_of(argv[*stack - 1]);
	struct prctl_mm_map map;

	map.start_brk = map.brk = (uint64_t)brk;
	map.start_stack = (uintptr_t)stack;
	map.arg_start = (uintptr_t)argv[0];
	map.arg_end = map.env_start = (uintptr_t)end;
	for (; *envp; envp++)
		end = end_of(*envp);
	map.env_end = (uintptr_t)end;
	map.auxv = NULL;
	map.auxv_size = 0;
	map.exe_fd = (uint32_t)fd;
	for (size_t i = 0; i < __ehdr_start.e_phnum; i++) {
		const ElfW(Phdr) *s = &segments[i];
		const uintptr_t address = (uintptr_t)address_of(s);

		if (s->p_type != PT_LOAD)
			continue;
		if (!map_again(s, fd))
			return false;
		if (s->p_flags & PF_X) {
			map.start_code = address;
			map.end_code = address + s->p_filesz;
		}
		map.start_data = address; /* of the last */
		map.end_data = address + s->p_filesz;
	}
	return change_file(&map);
}

/* ---- the way in ---- */

/* What makes processes in containers.  An argument of that name elsewhere costs but time. */
static bool makes_processes(const char *const *argv)
{
	static const char commands[][8] = {"create", "run", "exec", "restore"};

	for (size_t i = 1; argv[0] && argv[i]; i++)
		for (size_t k = 0; k < sizeof(commands) / sizeof(commands[0]); k++)
			if (is_equal(argv[i], commands[k]))
				return true;
	return false;
}

static bool is_open(int fd)
{
	return call(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0) >= 0;
}

/* The stack as the kernel makes it: count, arguments, NULL, environment, NULL. */
__attribute__((used)) static void protect_before_libc(const uintptr_t *stack)
{
	const char *const *argv = (const char *const *)(stack + 1), *const *envp = argv + *stack +
										   1;
	int fd, mount_fd = -1;

	if (!makes_processes(argv) || !is_open(0) || !is_open(1) || !is_open(2))
		return;
	fd = protect_open_overlay(&mount_fd);
	if (fd >= 0 && move_into(fd, stack, argv, envp))
		protect_mount_fd = mount_fd;
	else
		shut(mount_fd);
	shut(fd);
}

asm(".text\n"
    ".globl protect_entry\n"
    ".type protect_entry, @function\n"
    "protect_entry:\n"
    "	endbr64\n"
    "	mov %rsp, %rbx\n"
    "	mov %rsp, %rdi\n"
    "	and $-16, %rsp\n"
    "	call protect_before_libc\n"
    "	mov %rbx, %rsp\n"
    "	xor %edx, %edx\n" /* nobody's function is to be called at the end */
    "	xor %ebx, %ebx\n"
    "	jmp _start\n"
    ".size protect_entry, . - protect_entry\n");

#endif
