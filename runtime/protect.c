/* runtime/protect.c - no container can write to the program that made it
 * SPDX-License-Identifier: Apache-2.0
 *
 * A process of a container can open /proc/PID/exe of one of ours that is in its
 * pid namespace, or have itself executed as "#!/proc/self/exe", and keep the
 * descriptor until nobody executes the file any more; then it may be opened for
 * writing.  So the file that we are executed from is one that nobody can write
 * to, and that is not the host's own inode either: even an attempt to open for
 * writing makes a file unfit to be executed for an instant, and a container that
 * tries without pause would keep the host from executing its runtime.
 *
 * It is the same binary as a read-only overlay shows it, mounted nowhere.  A
 * program may be put into it before it begins (protect_entry.c); else it is executed
 * anew.  Where no overlay can be had it is a sealed copy in memory, which costs a
 * millisecond.
 *
 * To close the mount's descriptor, now or by that execve(2), is to wait half a
 * millisecond for a grace period of RCU.  So it stays open until our program has
 * something else to wait for.
 */
#include "runtime/protect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/text.h"
#include "runtime/runtime.h"

#define SELF            "/proc/self/exe"
#define MARK            "_BERTH_PROTECTED" /* in the environment: we have tried once */
#define FD_MAX          (1 << 20)
#define SEALS           (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MEMFD_EXEC_FLAG 0x0010u /* MFD_EXEC, since 6.3; without it some hosts refuse to execute */

static bool is_protected(void)
{
	auto_close int fd = open(SELF, O_RDONLY | O_CLOEXEC);
	struct statfs st;
	int seals;

	if (fd < 0)
		return false;
	if (fstatfs(fd, &st) == 0 && st.f_type == OVERLAYFS_SUPER_MAGIC && (st.f_flags & ST_RDONLY))
		return true;
	seals = fcntl(fd, F_GET_SEALS); /* -1: not a file that can have any */
	return seals >= 0 && (seals & SEALS) == SEALS;
}

/* ---- copy ---- */

static int make_memfd(void)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("berth", flags | MEMFD_EXEC_FLAG);

	return fd < 0 && errno == EINVAL ? memfd_create("berth", flags) : fd;
}

static int open_sealed_copy(struct err *e)
{
	auto_close int from = open(SELF, O_RDONLY | O_CLOEXEC), to = make_memfd();
	ssize_t n;

	if (from < 0 || to < 0)
		return err_sys(e, "copy our own program");
	while ((n = sendfile(to, from, NULL, 1 << 30)) > 0)
		;
	if (n < 0 || fchmod(to, 0500) < 0 || fcntl(to, F_ADD_SEALS, SEALS) < 0)
		return err_sys(e, "seal a copy of our own program");
	return take_fd(to);
}

/* ---- */

static int held_fd = -1; /* of the mount that our program is in */
static bool is_known;    /* to be protected */

bool protect_holds(int fd)
{
	return fd >= 0 && fd == held_fd;
}

void runtime_protect_settle(void)
{
	close_fd(&held_fd);
}

/* What is left open: by the program before us, or before we began. */
static void hold(const char *mark)
{
	uint32_t fd;

	held_fd = protect_mount_fd;
	protect_mount_fd = -1;
	if (mark && parse_u32(mark, FD_MAX, &fd) && fcntl((int)fd, F_SETFD, FD_CLOEXEC) == 0)
		held_fd = (int)fd;
	(void)unsetenv(MARK);
}

int runtime_protect_self(char *const argv[], struct err *e)
{
	auto_close int fd = -1, mount_fd = -1;
	const char *mark = getenv(MARK);
	char number[16];

	if (protect_mount_fd >= 0 || is_protected()) {
		hold(mark);
		is_known = true;
		return 0;
	}
	if (mark)
		return err_set(e, EPERM, "our program is writable even after it was executed anew");

	fd = protect_open_overlay(&mount_fd);
	if (fd < 0)
		fd = open_sealed_copy(e);
	if (fd < 0)
		return fd;
	(void)snprintf(number, sizeof(number), "%d", mount_fd);
	if (setenv(MARK, number, 1) < 0 || (mount_fd >= 0 && fcntl(mount_fd, F_SETFD, 0) < 0))
		return err_sys(e, "environment");
	(void)execveat(fd, "", argv, environ, AT_EMPTY_PATH);
	return err_sys(e, "execute our own program anew");
}

int protect_check(struct err *e)
{
	if (!is_known)
		return err_set(e, EPERM,
			       "the calling program did not protect itself (runtime_protect_self)");
	return 0;
}
