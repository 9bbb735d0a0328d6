/* runtime/io.c - what a process of a container gets from outside
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"
#include "runtime/protect.h"

#define PRESERVED_MAX 1024

int io_connect(const char *what, const char *path, int *ret_fd, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int file = open(path, O_PATH | O_CLOEXEC);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (fd < 0 || file < 0)
		return err_sys(e, "%s %s", what, path);
	/* The path may be longer than sun_path holds. */
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, "connect to %s %s", what, path);
	*ret_fd = take_fd(fd);
	return 0;
}

int io_open_console(const struct runtime_io *io, bool terminal, int *ret_fd, struct err *e)
{
	*ret_fd = -1;
	if (terminal && !io->console_socket && io->console_fd < 0)
		return err_set(e, EINVAL,
			       "process.terminal: no console socket to send the terminal to");
	if (!terminal && io->console_socket)
		return err_set(e, EINVAL, "a console socket, but process.terminal is not set");
	if (!terminal)
		return 0;
	if (io->console_socket)
		return io_connect("console socket", io->console_socket, ret_fd, e);
	*ret_fd = fcntl(io->console_fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_sys(e, "console socket") : 0;
}

int io_check_preserved(unsigned count, struct err *e)
{
	if (count > PRESERVED_MAX)
		return err_set(e, EINVAL, "preserved descriptors: %u is over %d", count,
			       PRESERVED_MAX);
	/* Inherited ones are not close-on-exec; all of ours are. */
	for (int fd = 3; fd < 3 + (int)count; fd++)
		if (fcntl(fd, F_GETFD) != 0 || protect_holds(fd))
			return err_set(e, EBADF, "preserved descriptor %d: it is not open", fd);
	return 0;
}

int io_send_pidfd(const char *path, pid_t pid, struct err *e)
{
	static const char name[] = "pidfd";
	auto_close int sock = -1, fd = -1;
	int r;

	if (!path)
		return 0;
	fd = proc_pidfd_open(pid);
	if (fd < 0)
		return err_set(e, -fd, "pidfd of process %d", (int)pid);
	if (io_connect("pidfd socket", path, &sock, e) < 0)
		return -e->code;
	r = fs_send(sock, name, strlen(name), &fd, 1);
	return r < 0 ? err_set(e, -r, "pidfd socket %s: send the pidfd", path) : 0;
}

int io_write_pid(const char *path, pid_t pid, struct err *e)
{
	char text[16];

	if (!path)
		return 0;
	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	if (fs_replace(AT_FDCWD, path, text, strlen(text), 0644, FS_QUICK, e) < 0)
		return err_wrap(e, "pid file");
	return 0;
}

int io_take_stdio(const struct runtime_io *io, struct err *e)
{
	int parked[3];

	/* Out of each other's way first. */
	for (int fd = 0; fd < 3; fd++) {
		parked[fd] = io->stdio_fd[fd] < 0 ? -1
						  : fcntl(io->stdio_fd[fd], F_DUPFD_CLOEXEC,
							  3 + (int)io->preserve_fds);
		if (io->stdio_fd[fd] >= 0 && parked[fd] < 0)
			return err_sys(e, "descriptor for %d", fd);
	}
	for (int fd = 0; fd < 3; fd++)
		if (parked[fd] >= 0 && dup2(parked[fd], fd) < 0)
			return err_sys(e, "descriptor for %d", fd);
	return 0;
}
