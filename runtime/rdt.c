/* runtime/rdt.c - classes of service of Intel's Resource Director Technology
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/rdt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"

#define RESCTRL      "/sys/fs/resctrl"
#define SCHEMATA_MAX 65536
#define RESCTRL_TYPE 0x7655821

static bool given(const char *s)
{
	return s && s[0];
}

bool rdt_wanted(const struct config_rdt *r)
{
	return r && (given(r->clos_id) || r->schemata.count || given(r->l3_schema) ||
		     given(r->bandwidth_schema) || r->monitoring || r->cmt || r->mbm);
}

int rdt_check(const struct config_rdt *r, struct err *e)
{
	if (!rdt_wanted(r) || !given(r->clos_id))
		return 0;
	if (strchr(r->clos_id, '/') || r->clos_id[0] == '.' || strlen(r->clos_id) > NAME_MAX ||
	    str_eq(r->clos_id, "info") || str_eq(r->clos_id, "mon_groups") ||
	    str_eq(r->clos_id, "mon_data"))
		return err_set(e, EINVAL, "linux.intelRdt.closID: '%.64s' is no name of a class",
			       r->clos_id);
	return 0;
}

int rdt_open(int *ret_fd, struct err *e)
{
	auto_close int fd = open(RESCTRL, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs st;

	if (fd < 0 || fstatfs(fd, &st) < 0)
		return err_set(e, ENOTSUP,
			       "linux.intelRdt: this kernel or processor has no resctrl");
	if (st.f_type != RESCTRL_TYPE)
		return err_set(e, ENOTSUP, "linux.intelRdt: resctrl is not mounted on " RESCTRL);
	*ret_fd = take_fd(fd);
	return 0;
}

static const char *class_of(const struct config_rdt *r, const char *id)
{
	return given(r->clos_id) ? r->clos_id : id;
}

static void put_schemata(const struct config_rdt *r, struct buf *out)
{
	const char *old[] = {r->l3_schema, r->bandwidth_schema};

	for (size_t i = 0; i < ARRAY_COUNT(old); i++)
		if (given(old[i]))
			buf_printf(out, "%s\n", old[i]);
	for (size_t i = 0; i < r->schemata.count; i++)
		buf_printf(out, "%s\n", r->schemata.items[i]);
}

/* A class that others have made is not ours to change: it must be as it is wanted. */
static int compare_schemata(int dir_fd, const struct buf *wanted, struct err *e)
{
	auto_buf struct buf is = BUF_INIT(SCHEMATA_MAX);

	if (fs_read(dir_fd, "schemata", &is, e) < 0)
		return -e->code;
	for (const char *line = buf_str(wanted); *line;) {
		size_t len = strcspn(line, "\n") + 1;

		if (!memmem(buf_str(&is), is.size, line, len))
			return err_set(e, EEXIST, "it is there already, without '%.*s'",
				       (int)(len - 1), line);
		line += len;
	}
	return 0;
}

static int set_schemata(int dir_fd, const struct config_rdt *r, bool made, struct err *e)
{
	auto_buf struct buf text = BUF_INIT(SCHEMATA_MAX);

	put_schemata(r, &text);
	if (buf_overflow(&text))
		return err_set(e, E2BIG, "schemata: over %d bytes", SCHEMATA_MAX);
	if (!text.size)
		return 0;
	return made ? fs_write_at(dir_fd, "schemata", buf_str(&text), e)
		    : compare_schemata(dir_fd, &text, e);
}

static int make_monitor(int dir_fd, const char *id, const char *pid, struct err *e)
{
	auto_close int fd = -1;
	char path[NAME_MAX + 32];

	(void)snprintf(path, sizeof(path), "mon_groups/%s", id);
	if (mkdirat(dir_fd, path, 0755) < 0 && errno != EEXIST)
		return err_sys(e, "make monitoring group %s", id);
	fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open monitoring group %s", id)
		      : fs_write_at(fd, "tasks", pid, e);
}

bool rdt_exists(int root_fd, const struct config_rdt *r, const char *id)
{
	return faccessat(root_fd, class_of(r, id), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int rdt_enter(int root_fd, const struct config_rdt *r, const char *id, pid_t pid, bool make,
	      struct err *e)
{
	const char *name = class_of(r, id);
	auto_close int fd = -1;
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	if (make && mkdirat(root_fd, name, 0755) < 0)
		return err_sys(e, "linux.intelRdt: make class %s", name);
	fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "linux.intelRdt: open class %s", name);
	if (set_schemata(fd, r, make, e) < 0 || fs_write_at(fd, "tasks", text, e) < 0 ||
	    (r->monitoring && make_monitor(fd, id, text, e) < 0))
		return err_wrap(e, "linux.intelRdt: class %s", name);
	return 0;
}

int rdt_remove(int root_fd, const struct config_rdt *r, const char *id, bool made, struct err *e)
{
	char path[2 * NAME_MAX + 32];

	(void)snprintf(path, sizeof(path), made ? "%s" : "%s/mon_groups/%s", class_of(r, id), id);
	if (unlinkat(root_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
		return err_sys(e, "linux.intelRdt: remove %s", path);
	return 0;
}
