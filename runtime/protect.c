/* runtime/protect.c - no container can write to the program that made it
 * SPDX-License-Identifier: Apache-2.0
 *
 * A process of a container can open /proc/PID/exe of one of ours that is in its
 * pid namespace, or have itself executed as "#!/proc/self/exe", and keep the
 * descriptor until nobody executes the file any more; then it may be opened for
 * writing.  So the file that we are executed from is one that nobody can write
 * to: the same binary by way of a read-only mount that is mounted nowhere.  It
 * costs one execve(2) more.  Where that mount cannot be had, it is a sealed
 * copy in memory.
 */
#include "runtime/protect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "runtime/runtime.h"

#define SELF            "/proc/self/exe"
#define MARK            "_BERTH_PROTECTED" /* in the environment: we have tried once */
#define SEALS           (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MEMFD_EXEC_FLAG 0x0010u /* MFD_EXEC, since 6.3; without it some hosts refuse to execute */

static bool is_protected(void)
{
	auto_close int fd = open(SELF, O_RDONLY | O_CLOEXEC);
	struct statvfs st;
	int seals;

	if (fd < 0)
		return false;
	if (fstatvfs(fd, &st) == 0 && (st.f_flag & ST_RDONLY))
		return true;
	seals = fcntl(fd, F_GET_SEALS); /* -1: not a file that can have any */
	return seals >= 0 && (seals & SEALS) == SEALS;
}

static int open_readonly_mount(void)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	auto_close int fd = open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return -1;
	return take_fd(fd);
}

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

int runtime_protect_self(char *const argv[], struct err *e)
{
	auto_close int fd = -1;

	if (is_protected()) {
		(void)unsetenv(MARK);
		return 0;
	}
	if (getenv(MARK))
		return err_set(e, EPERM, "our program is writable even after it was executed anew");

	fd = open_readonly_mount();
	if (fd < 0)
		fd = open_sealed_copy(e);
	if (fd < 0)
		return fd;
	if (setenv(MARK, "1", 1) < 0)
		return err_sys(e, "environment");
	(void)execveat(fd, "", argv, environ, AT_EMPTY_PATH);
	return err_sys(e, "execute our own program anew");
}

int protect_check(struct err *e)
{
	if (!is_protected())
		return err_set(e, EPERM,
			       "the calling program did not protect itself (runtime_protect_self)");
	return 0;
}
