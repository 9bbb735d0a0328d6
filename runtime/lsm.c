/* runtime/lsm.c - labels of AppArmor and SELinux
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "runtime/config.h"
#include "runtime/lsm.h"
#include "runtime/procfs.h"

static bool given(const char *label)
{
	return label && label[0];
}

static bool has_apparmor(void)
{
	auto_close int fd = open("/sys/module/apparmor/parameters/enabled", O_RDONLY | O_CLOEXEC);
	char c;

	return fd >= 0 && read(fd, &c, 1) == 1 && c == 'Y';
}

static bool has_selinux(void)
{
	struct statfs st;

	return statfs("/sys/fs/selinux", &st) == 0 && st.f_type == SELINUX_MAGIC;
}

/* "unconfined" asks for nothing, and that can be had anywhere. */
static bool apparmor_wanted(const struct config_process *p)
{
	return given(p->apparmor_profile) &&
	       (!str_eq(p->apparmor_profile, "unconfined") || has_apparmor());
}

bool lsm_wanted(const struct config_process *p)
{
	return apparmor_wanted(p) || given(p->selinux_label);
}

int lsm_check(const struct config_process *p, const char *mount_label, struct err *e)
{
	if (apparmor_wanted(p) && !has_apparmor())
		return err_set(e, ENOTSUP,
			       "process.apparmorProfile: this host does not run AppArmor");
	if (given(p->selinux_label) && !has_selinux())
		return err_set(e, ENOTSUP, "process.selinuxLabel: this host does not run SELinux");
	if (given(mount_label) && !has_selinux())
		return err_set(e, ENOTSUP, "linux.mountLabel: this host does not run SELinux");
	return 0;
}

/* What is ours in proc belongs to the host's root, unless we may be traced for a moment. */
static int write_attr(int proc_fd, const char *file, const char *text, struct err *e)
{
	int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), r;
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/attr/%s", (int)getpid(), file);
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	r = procfs_write(proc_fd, path, text, e);
	(void)prctl(PR_SET_DUMPABLE, dumpable == 1, 0, 0, 0);
	return r;
}

int lsm_apply(const struct config_process *p, int proc_fd, struct err *e)
{
	char text[1024];

	if (apparmor_wanted(p)) {
		(void)snprintf(text, sizeof(text), "exec %s", p->apparmor_profile);
		/* The module's own directory, since 5.8; the shared file before. */
		if (write_attr(proc_fd, "apparmor/exec", text, e) < 0 &&
		    (e->code != ENOENT || write_attr(proc_fd, "exec", text, e) < 0))
			return err_wrap(e, "process.apparmorProfile");
	}
	if (given(p->selinux_label) && write_attr(proc_fd, "exec", p->selinux_label, e) < 0)
		return err_wrap(e, "process.selinuxLabel");
	return 0;
}
