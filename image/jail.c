/* image/jail.c - what a worker gives away before it reads a foreign byte
 * SPDX-License-Identifier: Apache-2.0
 */
#include "image/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "base/auto.h"
#include "base/jail.h"
#include "image/inflate.h"

#define FETCHER_FILE_MAX (40 << 20) /* it writes a record, and the documents that it is of */
#define INDEX_SIZE_MAX   (4ULL << 30)

/* ---- system calls ---- */

static const int reader_calls[] = {JAIL_CALLS_COMMON};

static const int indexer_calls[] = {JAIL_CALLS_COMMON, SYS_newfstatat, SYS_fdatasync};

static const int lister_calls[] = {
	JAIL_CALLS_COMMON, SYS_pwrite64,        SYS_fadvise64, SYS_ftruncate,
	SYS_fdatasync,     SYS_sync_file_range, SYS_clone,     SYS_clone3,
};

static const int loader_calls[] = {
	JAIL_CALLS_COMMON, SYS_pread64, SYS_openat, SYS_newfstatat, SYS_recvmsg, SYS_ppoll,
#ifdef __x86_64__
	SYS_poll,
#endif
};

static const int unpacker_calls[] = {
	JAIL_CALLS_COMMON, SYS_pwrite64,  SYS_openat,    SYS_openat2,   SYS_newfstatat,
	SYS_statx,         SYS_ftruncate, SYS_fchown,    SYS_fchownat,  SYS_fchmod,
	SYS_fchmodat,      SYS_mkdirat,   SYS_mknodat,   SYS_symlinkat, SYS_linkat,
	SYS_unlinkat,      SYS_utimensat, SYS_fsetxattr, SYS_fgetxattr, SYS_getdents64,
	SYS_fcntl,         SYS_syncfs,    SYS_clone,     SYS_clone3,    SYS_fdatasync,
};

static const int fetcher_calls[] = {
	JAIL_CALLS_COMMON, SYS_openat,       SYS_newfstatat,   SYS_statx,
	SYS_faccessat,     SYS_faccessat2,   SYS_readlinkat,   SYS_getdents64,
	SYS_pread64,       SYS_fcntl,        SYS_ioctl,        SYS_uname,
	SYS_sysinfo,       SYS_getuid,       SYS_geteuid,      SYS_getgid,
	SYS_getegid,       SYS_getppid,      SYS_prlimit64,    SYS_sched_getaffinity,
	SYS_socketpair,    SYS_connect,      SYS_bind,         SYS_getsockname,
	SYS_getpeername,   SYS_getsockopt,   SYS_setsockopt,   SYS_sendto,
	SYS_recvfrom,      SYS_recvmsg,      SYS_sendmmsg,     SYS_recvmmsg,
	SYS_shutdown,      SYS_ppoll,        SYS_pselect6,     SYS_eventfd2,
	SYS_pipe2,         SYS_dup,          SYS_clone,        SYS_clone3,
	SYS_nanosleep,     SYS_gettimeofday, SYS_clock_getres, SYS_prctl,
	SYS_getcwd,
#ifdef __x86_64__
	SYS_open,          SYS_stat,         SYS_lstat,        SYS_access,
	SYS_readlink,      SYS_poll,         SYS_select,       SYS_pipe,
	SYS_time,
#endif
};

/* ---- files ---- */

/* As of ABI 6; the kernel takes zeros for what it does not know. */
struct ruleset {
	uint64_t files, network, scope;
};

#define FILES_ABI_1 ((1ULL << 13) - 1)
#define FILES_ABI_2 (1ULL << 13) /* renaming across directories */
#define FILES_ABI_3 (1ULL << 14) /* truncating */
#define FILES_ABI_5 (1ULL << 15) /* ioctls of devices */
#define SCOPE_ABI_6 3ULL         /* abstract sockets, signals */

/* What resolving names and checking certificates reads, on any distribution. */
static const char *const readable[] = {
	"/etc",
	"/usr",
	"/lib",
	"/lib64",
	"/run/systemd/resolve",
	"/run/resolvconf",
	"/run/NetworkManager",
	"/var/lib/ca-certificates",
};

static int allow_reading(int ruleset_fd, const char *path, struct err *e)
{
	auto_close int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		.parent_fd = fd,
	};

	if (fd < 0)
		return 0; /* not every host has each of them */
	if (syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_sys(e, "allow reading of %s", path);
	return 0;
}

static int allow_files(struct err *e)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset r = {.files = FILES_ABI_1};
	auto_close int fd = -1;

	if (abi < 1)
		return 0; /* not in this kernel: the id has to do */
	r.files |= (abi >= 2 ? FILES_ABI_2 : 0) | (abi >= 3 ? FILES_ABI_3 : 0) |
		   (abi >= 5 ? FILES_ABI_5 : 0);
	r.scope = abi >= 6 ? SCOPE_ABI_6 : 0;
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, sizeof(r), 0);
	if (fd < 0)
		return err_sys(e, "rules for files");
	for (size_t i = 0; i < ARRAY_COUNT(readable); i++)
		if (allow_reading(fd, readable[i], e) < 0)
			return -e->code;
	if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_sys(e, "apply the rules for files");
	return 0;
}

/* Make the tree our root, with what is made in it of no effect on us. */
static int enter_tree(int tree_fd, struct err *e)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID |
					      MOUNT_ATTR_NOEXEC};
	auto_close int fd = open_tree(tree_fd, "",
				      AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "clone the layer's directory");
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_sys(e, "make the layer's directory nodev");
	if (fchdir(fd) < 0 || chroot(".") < 0)
		return err_sys(e, "enter the layer's directory");
	return 0;
}

/* ---- capabilities ---- */

#define CAP(name) (1ULL << CAP_##name)

static int keep_capabilities(uint64_t keep, struct err *e)
{
	const int bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
			 SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
			 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const struct __user_cap_data_struct data[2] = {
		{(uint32_t)keep, (uint32_t)keep, 0},
		{(uint32_t)(keep >> 32), (uint32_t)(keep >> 32), 0},
	};

	if (prctl(PR_SET_SECUREBITS, bits) < 0)
		return err_sys(e, "secure bits");
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (!(keep & (1ULL << cap)) && prctl(PR_CAPBSET_DROP, cap) < 0)
			return err_sys(e, "drop capability %lu", cap);
	if (syscall(SYS_capset, &header, data) < 0)
		return err_sys(e, "drop capabilities");
	return 0;
}

/* Does the file system want CAP_SYS_ADMIN for overlay's marks (trusted.*)? */
static bool needs_trusted(int tree_fd)
{
	return fgetxattr(tree_fd, "user.overlay.opaque", NULL, 0) < 0 && errno == EOPNOTSUPP;
}

/* ---- the jails ---- */

int jail_fetcher(struct err *e)
{
	if (jail_begin(e) < 0 || jail_limit(RLIMIT_FSIZE, FETCHER_FILE_MAX, e) < 0 ||
	    jail_become_nobody(e) < 0 || allow_files(e) < 0)
		return err_wrap(e, "confine the fetcher");
	if (jail_allow_calls(fetcher_calls, ARRAY_COUNT(fetcher_calls), true, e) < 0)
		return err_wrap(e, "confine the fetcher");
	return 0;
}

int jail_unpacker(int tree_fd, struct err *e)
{
	uint64_t keep = CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(MKNOD) |
			CAP(SETFCAP);

	if (needs_trusted(tree_fd))
		keep |= CAP(SYS_ADMIN);
	if (jail_begin(e) < 0)
		return err_wrap(e, "confine the unpacker");
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0) {
		(void)err_sys(e, "leave the network");
		return err_wrap(e, "confine the unpacker");
	}
	if (enter_tree(tree_fd, e) < 0 || keep_capabilities(keep, e) < 0 ||
	    jail_allow_calls(unpacker_calls, ARRAY_COUNT(unpacker_calls), false, e) < 0)
		return err_wrap(e, "confine the unpacker");
	return 0;
}

int jail_lister(struct err *e)
{
	if (jail_begin(e) < 0 || jail_limit(RLIMIT_FSIZE, INFLATE_BYTES_MAX, e) < 0 ||
	    jail_become_nobody(e) < 0 ||
	    jail_allow_calls(lister_calls, ARRAY_COUNT(lister_calls), false, e) < 0)
		return err_wrap(e, "confine the lister");
	return 0;
}

int jail_loader(int dir_fd, struct err *e)
{
	int r = jail_begin(e);

	if (r == 0)
		r = jail_limit(RLIMIT_FSIZE, FETCHER_FILE_MAX, e);
	if (r == 0 && dir_fd >= 0)
		r = enter_tree(dir_fd, e) < 0 ? -e->code
					      : keep_capabilities(CAP(DAC_READ_SEARCH), e);
	else if (r == 0)
		r = jail_become_nobody(e);
	if (r == 0)
		r = jail_allow_calls(loader_calls, ARRAY_COUNT(loader_calls), false, e);
	return r < 0 ? err_wrap(e, "confine the loader") : 0;
}

int jail_indexer(struct err *e)
{
	if (jail_begin(e) < 0 || jail_limit(RLIMIT_FSIZE, INDEX_SIZE_MAX, e) < 0 ||
	    jail_become_nobody(e) < 0 ||
	    jail_allow_calls(indexer_calls, ARRAY_COUNT(indexer_calls), false, e) < 0)
		return err_wrap(e, "confine the indexer");
	return 0;
}

int jail_reader(struct err *e)
{
	if (jail_begin(e) < 0 || jail_limit(RLIMIT_FSIZE, 0, e) < 0 || jail_become_nobody(e) < 0 ||
	    jail_allow_calls(reader_calls, ARRAY_COUNT(reader_calls), false, e) < 0)
		return err_wrap(e, "confine the reader");
	return 0;
}
