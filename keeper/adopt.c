/* keeper/adopt.c - after another keeper
 * SPDX-License-Identifier: Apache-2.0
 *
 * The keeper before us was killed.  Its containers live on, as children of
 * whoever takes orphans; their rows are in files.  A process is the one that we
 * look for when it has the pid and the start time of the row, and still has
 * them after we hold its pidfd.
 *
 * What can be known of one that ended meanwhile is that it ended.  Steps that
 * were under way died with the keeper: a container that was not created yet is
 * told as ended too, for its maker to remove.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/proc.h"
#include "keeper/server.h"

bool adopt_process(struct server *s, struct row *row)
{
	auto_close int pidfd = row->pid ? proc_pidfd_open(row->pid) : -1;
	struct err e;

	if (pidfd < 0 || proc_start_time(row->pid) != row->start_time)
		return false;
	row->pidfd = take_fd(pidfd);
	if (server_watch(s, row->pidfd, EPOLLIN, &row->pidfd_watch, &e) == 0)
		return true;
	log_error("container=%s: %s", row->id, e.msg);
	close_fd(&row->pidfd);
	return false;
}

static void adopt(struct server *s, struct row *row, bool same_boot)
{
	const struct keeper_exit unknown = {.time_ms = clock_wall_ms()};
	bool lives = row->phase != KEEPER_ENDED && same_boot && adopt_process(s, row);
	struct err e;

	server_add_row(s, row);
	if (spool_open(row->log_dir, &row->spool, &e) < 0)
		log_warn("container=%s: output is lost: %s", row->id, e.msg);
	row->needs_pipes = lives || row->phase == KEEPER_ENDED;
	if (!lives)
		row_ended(s, row, &unknown);
	log_info("container=%s: found again, %s", row->id, lives ? "it lives" : "it has ended");
}

static void read_and_adopt(struct server *s, const char *id)
{
	bool same_boot = false;
	struct row *row;
	struct err e;

	if (keeper_id_ok(id) && row_read(s->rows_fd, id, &row, &same_boot, &e) == 0) {
		adopt(s, row, same_boot);
		return;
	}
	log_warn("container=%s: its record makes no sense and is removed", id);
	(void)fs_remove_tree(s->rows_fd, id, &e);
}

int adopt_rows(struct server *s, struct err *e)
{
	auto_closedir DIR *dir = NULL;
	int fd = openat(s->rows_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return err_sys(e, "read records of containers");
	while ((errno = 0, entry = readdir(dir))) {
		struct stat st;

		if (entry->d_name[0] != '.' &&
		    fstatat(s->rows_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISDIR(st.st_mode))
			read_and_adopt(s, entry->d_name);
	}
	return errno ? err_sys(e, "read records of containers") : 0;
}
