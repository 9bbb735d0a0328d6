/* keeper/spawn.c - starting berth-keeper
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"
#include "keeper/keeper.h"

#define SAID_MAX 400

int keeper_spawn(const struct keeper_spawn *s, struct err *e)
{
	char program[KEEPER_PATH_MAX + 1], run_dir[KEEPER_PATH_MAX + 1], said[SAID_MAX] = "";
	char run_dir_option[] = "--run-dir", detach_option[] = "--detach";
	char scope_option[] = "--scope", scope[KEEPER_ID_MAX + 1];
	char *argv[] = {program,
			run_dir_option,
			run_dir,
			detach_option,
			s->scope ? scope_option : NULL,
			scope,
			NULL};
	auto_close int read_fd = -1, write_fd = -1, pidfd = -1;
	struct proc_fd fds[1];
	struct proc_spawn spawn = {
		.path = s->program, .argv = argv, .fds = fds, .fd_count = 1, .new_session = true};
	int pipe_fds[2], status;
	pid_t pid;
	ssize_t n;

	if ((size_t)snprintf(program, sizeof(program), "%s", s->program) >= sizeof(program) ||
	    (size_t)snprintf(run_dir, sizeof(run_dir), "%s", s->run_dir) >= sizeof(run_dir) ||
	    (size_t)snprintf(scope, sizeof(scope), "%s", s->scope ? s->scope : "") >= sizeof(scope))
		return err_set(e, ENAMETOOLONG, "keeper in %.100s", s->run_dir);
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return err_sys(e, "pipe");
	read_fd = pipe_fds[0];
	write_fd = pipe_fds[1];
	fds[0] = (struct proc_fd){.fd = write_fd, .child = STDERR_FILENO};
	if (proc_spawn(&spawn, &pid, &pidfd, e) < 0)
		return -e->code;
	close_fd(&write_fd);

	/* It ends when it has gone into the background, or says why it does not. */
	n = read_all(read_fd, said, sizeof(said) - 1);
	if (proc_wait(pidfd, &status, e) < 0)
		return -e->code;
	if (status == 0)
		return 0;
	said[n > 0 ? strcspn(said, "\n") : 0] = '\0';
	return err_set(e, status == KEEPER_EXIT_BUSY ? EBUSY : EIO, "start of %s: %s", s->program,
		       said[0] ? said : "it ended without a word");
}
