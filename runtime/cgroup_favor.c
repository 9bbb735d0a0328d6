/* runtime/cgroup_favor.c - cheap moves between cgroups
 * SPDX-License-Identifier: Apache-2.0
 *
 * A process that is moved into a cgroup waits for a grace period of the kernel's
 * RCU, 8 to 20 ms, unless another was moved just before.  The option
 * "favordynmods" (Linux 6.0) of the v2 hierarchy takes that wait from the moves
 * of all hierarchies, v1 too, and adds next to nothing to a fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "runtime/cgroup.h"
#include "runtime/runtime.h"

#define MOUNTINFO_MAX (16 * 1024 * 1024) /* 100,000 mounts */
#define OPTION        "favordynmods"

/* The options of the v2 hierarchy itself, cut out of the text of mountinfo; NULL: not mounted. */
static char *find_options(char *mountinfo)
{
	static const char type[] = " - cgroup2 ";
	char *p = strstr(mountinfo, type);

	p = p ? strchr(p + strlen(type), ' ') : NULL; /* the source */
	if (!p)
		return NULL;
	p[1 + strcspn(p + 1, "\n")] = '\0';
	return p + 1;
}

/* Options that are not named again are taken away. */
static int set_options(int fs_fd, char *options, bool on)
{
	char *save = NULL;

	for (char *o = strtok_r(options, ",", &save); o; o = strtok_r(NULL, ",", &save))
		if (strcmp(o, "rw") != 0 && strcmp(o, OPTION) != 0 &&
		    fsconfig(fs_fd, FSCONFIG_SET_FLAG, o, NULL, 0) < 0)
			return -1;
	return on ? fsconfig(fs_fd, FSCONFIG_SET_FLAG, OPTION, NULL, 0) : 0;
}

int runtime_cgroup_favor_moves(bool on, struct err *e)
{
	auto_buf struct buf mountinfo = BUF_INIT(MOUNTINFO_MAX);
	auto_cgroup_host struct cgroup_host host = {0};
	const struct cgroup_hierarchy *v2;
	auto_close int fs_fd = -1;
	char *options;

	if (cgroup_host_open(&host, e) < 0 ||
	    fs_read(AT_FDCWD, "/proc/self/mountinfo", &mountinfo, e) < 0)
		return -e->code;
	v2 = cgroup_host_v2(&host);
	options = find_options(mountinfo.data);
	if (!v2 || host.count == 1 || !options)
		return RUNTIME_FAVOR_NEEDLESS;
	if ((strstr(options, OPTION) != NULL) == on)
		return RUNTIME_FAVOR_THERE;
	fs_fd = fspick(v2->fd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
	if (fs_fd < 0 || set_options(fs_fd, options, on) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return err_sys(e, "cgroup v2: option " OPTION);
	return 0;
}
