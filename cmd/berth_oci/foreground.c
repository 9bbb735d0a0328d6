/* cmd/berth_oci/foreground.c - staying beside a process: its terminal, signals, exit code
 * SPDX-License-Identifier: Apache-2.0
 *
 * One poll loop over our standard input, the master of the terminal, signals,
 * and the process.  When the process has ended, what the terminal still holds
 * is read before we leave: reading it ends with EIO once nobody has it open, or
 * at once with EAGAIN when something that outlives the process has.
 */
#include "cmd/berth_oci/foreground.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"

#define CHUNK 4096

static const int passed_on[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
				SIGUSR2, SIGCONT, SIGALRM, SIGWINCH};

static struct termios saved;
static bool is_raw;

static int hold_signals(int *ret_fd, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_COUNT(passed_on); i++)
		sigaddset(&set, passed_on[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_sys(e, "hold signals");
	*ret_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return *ret_fd < 0 ? err_sys(e, "signalfd") : 0;
}

int foreground_begin(struct foreground *f, bool console, struct err *e)
{
	*f = (struct foreground)FOREGROUND_INIT;
	if (console && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->console) < 0)
		return err_sys(e, "socketpair");
	return hold_signals(&f->signal_fd, e);
}

void foreground_done(struct foreground *f)
{
	if (is_raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	is_raw = false;
	close_fd(&f->signal_fd);
	close_fd(&f->master_fd);
	close_fd(&f->console[0]);
	close_fd(&f->console[1]);
}

/* ---- the terminal ---- */

void foreground_size(unsigned short *ret_rows, unsigned short *ret_columns)
{
	struct winsize size = {0};

	(void)ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
	*ret_rows = size.ws_row;
	*ret_columns = size.ws_col;
}

static void copy_size(int master)
{
	struct winsize size = {0};

	foreground_size(&size.ws_row, &size.ws_col);
	if (size.ws_row && size.ws_col)
		(void)ioctl(master, TIOCSWINSZ, &size);
}

/* It was sent before the process was ready; what is not there by now does not come. */
static int receive_master(struct foreground *f, struct err *e)
{
	char name[256];
	size_t count = 0;
	ssize_t n = fs_recv(f->console[1], name, sizeof(name), &f->master_fd, 1, &count,
			    MSG_DONTWAIT);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0 || count != 1)
		return err_set(e, EPROTO, "no terminal came from the container");
	return fcntl(f->master_fd, F_SETFL, O_NONBLOCK) < 0 ? err_sys(e, "terminal") : 0;
}

static void make_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return; /* no terminal: a pipe feeds it */
	raw = saved;
	cfmakeraw(&raw);
	is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

/* Returns false when there is nothing more to come. */
static bool copy(int from, int to)
{
	char chunk[CHUNK];
	ssize_t n = read(from, chunk, sizeof(chunk));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	return n > 0 && write_all(to, chunk, (size_t)n) == 0;
}

/* The master is not to block us: what it does not take now is waited for. */
static bool copy_to_master(int from, int master)
{
	char chunk[CHUNK], eof = 4; /* ^D */
	ssize_t n = read(from, chunk, sizeof(chunk)), done = 0;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0) {
		(void)!write(master, &eof, 1);
		return false;
	}
	while (done < n) {
		ssize_t k = write(master, chunk + done, (size_t)(n - done));
		struct pollfd p = {.fd = master, .events = POLLOUT};

		if (k < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		done += k > 0 ? k : 0;
		if (k < 0)
			(void)poll(&p, 1, 100);
	}
	return true;
}

static void drain(int master)
{
	char chunk[CHUNK];
	ssize_t n;

	while ((n = read(master, chunk, sizeof(chunk))) > 0)
		if (write_all(STDOUT_FILENO, chunk, (size_t)n) < 0)
			return;
}

/* ---- signals ---- */

static void pass_signals(int signal_fd, int pidfd, int master)
{
	struct signalfd_siginfo info;

	while (read(signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGWINCH && master >= 0)
			copy_size(master);
		else
			(void)proc_pidfd_kill(pidfd, (int)info.ssi_signo);
	}
}

static int serve(struct foreground *f, int pidfd, struct err *e)
{
	int master = f->master_fd;
	struct pollfd p[] = {
		{.fd = pidfd, .events = POLLIN},
		{.fd = f->signal_fd, .events = POLLIN},
		{.fd = master, .events = POLLIN},
		{.fd = master < 0 ? -1 : STDIN_FILENO, .events = POLLIN},
	};

	for (;;) {
		if (poll(p, ARRAY_COUNT(p), -1) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (p[1].revents)
			pass_signals(f->signal_fd, pidfd, master);
		if (p[2].revents && !copy(master, STDOUT_FILENO))
			p[2].fd = -1;
		if (p[3].revents && !copy_to_master(STDIN_FILENO, master))
			p[3].fd = -1;
		if (p[0].revents)
			return 0;
	}
}

int foreground_attach(struct foreground *f, struct err *e)
{
	if (f->console[1] >= 0 && receive_master(f, e) < 0)
		return -e->code;
	if (f->master_fd >= 0) {
		copy_size(f->master_fd);
		make_raw();
	}
	return 0;
}

int foreground_stay(struct foreground *f, pid_t pid, int *ret_status, struct err *e)
{
	auto_close int pidfd = proc_pidfd_open(pid);

	if (pidfd < 0)
		return err_set(e, -pidfd, "open process %d", (int)pid);
	if (serve(f, pidfd, e) < 0)
		return -e->code;
	if (f->master_fd >= 0)
		drain(f->master_fd);
	return proc_wait(pidfd, ret_status, e);
}
