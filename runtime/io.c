/* runtime/io.c - what a process of a container gets from outside
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/console.h"

#define PRESERVED_MAX 1024

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
		return console_connect(io->console_socket, ret_fd, e);
	*ret_fd = fcntl(io->console_fd, F_DUPFD_CLOEXEC, 3);
	return *ret_fd < 0 ? err_sys(e, "console socket") : 0;
}

int io_check_preserved(unsigned count, struct err *e)
{
	if (count > PRESERVED_MAX)
		return err_set(e, EINVAL, "preserved descriptors: %u is over %d", count,
			       PRESERVED_MAX);
	for (int fd = 3; fd < 3 + (int)count; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return err_sys(e, "preserved descriptor %d", fd);
	return 0;
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
