/* runtime/console.c - the terminal of a container
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "runtime/inroot.h"

#define PTMX_MAJOR 5
#define PTMX_MINOR 2

void console_done(struct console *c)
{
	close_fd(&c->master_fd);
	close_fd(&c->slave_fd);
}

/* What a container calls its devpts may be anything by now: look before it is trusted. */
static int open_ptmx(int root_fd, struct err *e)
{
	auto_close int path_fd = inroot_open(root_fd, "dev/pts/ptmx", O_PATH, INROOT_NO_SYMLINKS);
	auto_close int fd = -1;
	struct statfs fs;
	struct stat st;

	if (path_fd < 0) {
		errno = -path_fd;
		return err_sys(e, "terminal: open /dev/pts/ptmx of the container");
	}
	if (fstatfs(path_fd, &fs) < 0 || fstat(path_fd, &st) < 0)
		return err_sys(e, "terminal: look at /dev/pts/ptmx");
	if (fs.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(st.st_mode) ||
	    st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR))
		return err_set(e, EINVAL, "terminal: /dev/pts/ptmx is not the one of a devpts");

	fd = inroot_open(root_fd, "dev/pts/ptmx", O_RDWR | O_NOCTTY, INROOT_NO_SYMLINKS);
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "terminal: open /dev/pts/ptmx");
	}
	if (fstatfs(fd, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC)
		return err_set(e, EINVAL, "terminal: /dev/pts/ptmx was swapped");
	return take_fd(fd);
}

int console_open(int root_fd, const struct config_process *p, struct console *ret, struct err *e)
{
	auto_close int master = open_ptmx(root_fd, e), slave = -1;
	int unlock = 0;

	if (master < 0)
		return master;
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, "terminal: unlock");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(e, "terminal: open the slave");
	if (p->console_size) {
		struct winsize size = {.ws_row = (unsigned short)p->console_size->height,
				       .ws_col = (unsigned short)p->console_size->width};

		if (ioctl(slave, TIOCSWINSZ, &size) < 0)
			return err_sys(e, "terminal: set the size");
	}
	if (fchown(slave, p->user.uid, (gid_t)-1) < 0 && errno != EPERM)
		return err_sys(e, "terminal: give it to user %u", p->user.uid);
	ret->master_fd = take_fd(master);
	ret->slave_fd = take_fd(slave);
	return 0;
}

int console_take(struct console *c, int sock_fd, struct err *e)
{
	static const char name[] = "/dev/ptmx"; /* what runc says; receivers show it at most */
	int r = fs_send(sock_fd, name, strlen(name), &c->master_fd, 1);

	if (r < 0) {
		errno = -r;
		return err_sys(e, "terminal: send it to the console socket");
	}
	close_fd(&c->master_fd);
	if (ioctl(c->slave_fd, TIOCSCTTY, 0) < 0)
		return err_sys(e, "terminal: make it ours");
	for (int fd = 0; fd <= 2; fd++)
		if (dup2(c->slave_fd, fd) < 0)
			return err_sys(e, "terminal: as descriptor %d", fd);
	close_fd(&c->slave_fd);
	return 0;
}
