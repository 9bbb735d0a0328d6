/* runtime/mounts.c - the file system that a container sees
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * 1. A mount is built detached (open_tree(2) of a path, or fsopen(2) of a
 *    filesystem), gets its attributes while nobody can reach it, and is then
 *    moved onto its target.
 * 2. A target is a descriptor, found below the root's descriptor by inroot.h:
 *    whatever symlinks an image or a shared volume holds, it lies in the
 *    container, and it is the same object that was looked at.
 * 3. proc and sysfs go onto real directories only: the rest of the world trusts
 *    what lies at these two paths.
 * 4. Attributes that an option does not name stay as they are on the host's
 *    mount: a volume that is nosuid there is nosuid here.
 */
#include "runtime/mounts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/copy.h"
#include "runtime/idmap.h"
#include "runtime/inroot.h"
#include "runtime/mount_options.h"
#include "runtime/runtime.h"

#define FS_MESSAGE_MAX 256
#define OPTIONS_MAX    65536
#define OPTION_LEN_MAX 255 /* fsconfig(2) takes no longer value */

/* ---- shared ---- */

int mount_clone(int dir_fd, const char *path, bool recursive, struct err *e)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0u) |
			 (*path ? 0u : AT_EMPTY_PATH);
	int fd = open_tree(dir_fd, path, flags);

	return fd < 0 ? err_sys(e, "open %.200s", *path ? path : "a mount") : fd;
}

int mount_set(int fd, uint64_t set, uint64_t clear, bool recursive, struct err *e)
{
	struct mount_attr attr = {.attr_set = set, .attr_clr = clear};

	if (!set && !clear)
		return 0;
	if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
			  sizeof(attr)) < 0)
		return err_sys(e, "set attributes of a mount");
	return 0;
}

int mount_set_propagation(int fd, uint64_t type, bool recursive, struct err *e)
{
	struct mount_attr attr = {.propagation = type};

	if (mount_setattr(fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
			  sizeof(attr)) < 0)
		return err_sys(e, "set propagation of a mount");
	return 0;
}

int mount_move(int fd, int target_fd, struct err *e)
{
	if (move_mount(fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) <
	    0)
		return err_sys(e, "move the mount to its place");
	return 0;
}

int mount_tmpfs(unsigned attrs, struct err *e)
{
	auto_close int fs_fd = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd;

	if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", "tmpfs", 0) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "size", "64k", 0) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "mode", "755", 0) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(e, "make a tmpfs");
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, attrs);
	return fd < 0 ? err_sys(e, "mount a tmpfs") : fd;
}

void mount_first_propagation(const struct config *c, uint64_t *ret_type, bool *ret_recursive)
{
	const char *word = c->linux_.rootfs_propagation;

	*ret_type = MS_SLAVE;
	*ret_recursive = true;
	if (word && word[0])
		(void)mount_propagation_find(word, ret_type, ret_recursive); /* checked before */
}

/* ---- the creator's half ---- */

void mounts_init(struct mount_plan *p)
{
	*p = (struct mount_plan){.state_fd = -1, .root_fd = -1, .null_fd = -1};
	for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++)
		p->cgroup_fds[i] = -1;
}

void mounts_close(struct mount_plan *p, const struct config *c)
{
	close_fd(&p->root_fd);
	close_fd(&p->null_fd);
	for (size_t i = 0; p->tree_fds && i < c->mounts.count; i++)
		close_fd(&p->tree_fds[i]);
	for (size_t i = 0; i < p->device_count; i++)
		close_fd(&p->device_fds[i]);
	for (size_t i = 0; i < CGROUP_HIERARCHIES_MAX; i++)
		close_fd(&p->cgroup_fds[i]);
	free(p->place);
	free(p->tree_fds);
	free(p->device_fds);
	mounts_init(p);
}

static int open_directory(int dir_fd, const char *path, struct err *e)
{
	int fd = openat(dir_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(e, "open %.200s", path) : fd;
}

static int open_root(struct mount_plan *p, const struct config *c, int bundle_fd, int rootfs_fd,
		     struct err *e)
{
	struct stat st;
	uint64_t type;
	bool recursive;

	if (rootfs_fd >= 0) {
		p->root_fd = fcntl(rootfs_fd, F_DUPFD_CLOEXEC, 3);
		if (p->root_fd < 0)
			return err_sys(e, "rootfs descriptor");
	} else {
		p->root_fd = p->in_place ? open_directory(bundle_fd, c->root->path, e)
					 : mount_clone(bundle_fd, c->root->path, true, e);
		if (p->root_fd == -EPERM)
			return err_set(
				e, EPERM,
				"no right to mount here: that takes root, of the host or of a "
				"user namespace with a mount namespace (podman unshare)");
		if (p->root_fd < 0)
			return err_wrap(e, "root.path");
	}
	if (fstat(p->root_fd, &st) < 0)
		return err_sys(e, "root.path");
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "root.path: %s is not a directory", c->root->path);
	if (p->in_place)
		return 0;
	mount_first_propagation(c, &type, &recursive);
	if (mount_set_propagation(p->root_fd, type, true, e) < 0)
		return -e->code;
	/* pivot_root(2) takes no shared root; rootfs_pivot() makes it shared again. */
	return type == MS_SHARED ? mount_set_propagation(p->root_fd, MS_PRIVATE, false, e) : 0;
}

static int open_null(struct mount_plan *p, struct err *e)
{
	struct stat st;

	p->null_fd = mount_clone(AT_FDCWD, "/dev/null", false, e);
	if (p->null_fd < 0)
		return p->null_fd;
	if (fstat(p->null_fd, &st) < 0 || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return err_set(e, EINVAL, "the host's /dev/null is not the null device");
	return mount_set_propagation(p->null_fd, MS_PRIVATE, false, e);
}

/* By mappings of its own, those of the container's new user namespace, or that which it joins. */
static int map_ids(int fd, const struct config *c, const struct config_mount *m,
		   const struct mount_options *o, int user_fd, struct err *e)
{
	const struct js_list *uids = &m->uid_mappings, *gids = &m->gid_mappings;
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP};
	auto_close int own_fd = -1;

	if (!uids->count && user_fd < 0) {
		uids = &c->linux_.uid_mappings;
		gids = &c->linux_.gid_mappings;
	}
	if (uids->count && idmap_namespace(uids, gids, &own_fd, e) < 0)
		return -e->code;
	if (own_fd < 0 && user_fd < 0)
		return err_set(e, EINVAL, "the user namespace is the host's");
	attr.userns_fd = (uint64_t)(own_fd < 0 ? user_fd : own_fd);
	if (mount_setattr(fd, "", AT_EMPTY_PATH | (o->idmap_recursive ? AT_RECURSIVE : 0), &attr,
			  sizeof(attr)) == 0)
		return 0;
	if (errno == EINVAL)
		return err_set(e, ENOTSUP, "the kernel cannot map ids of this filesystem");
	return err_sys(e, "map its ids");
}

static int open_source(const struct config *c, const struct config_mount *m, int bundle_fd,
		       int user_fd, int *ret_fd, struct err *e)
{
	struct mount_options o;
	uint64_t type;
	bool recursive;

	if (mount_options_parse(m, &o, e) < 0)
		return -e->code;
	if (!o.bind)
		return 0;
	*ret_fd = mount_clone(bundle_fd, m->source, o.recursive, e);
	if (*ret_fd < 0)
		return err_wrap(e, "source");
	if (o.idmap && map_ids(*ret_fd, c, m, &o, user_fd, e) < 0)
		return err_wrap(e, "source %.200s", m->source);
	mount_first_propagation(c, &type, &recursive);
	return mount_set_propagation(*ret_fd, type, true, e);
}

int mounts_open(struct mount_plan *p, const struct config *c, const char *rootfs, int bundle_fd,
		int rootfs_fd, int user_fd, struct err *e)
{
	p->place = rootfs_fd < 0 || c->hooks.create_container.count ? xstrdup(rootfs) : NULL;
	p->tree_fds = xcalloc(c->mounts.count, sizeof(int));
	for (size_t i = 0; i < c->mounts.count; i++)
		p->tree_fds[i] = -1;

	if (open_root(p, c, bundle_fd, rootfs_fd, e) < 0)
		return -e->code;
	if (p->in_place)
		return 0;
	if (open_null(p, e) < 0)
		return -e->code;
	for (size_t i = 0; i < c->mounts.count; i++) {
		const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);

		if (open_source(c, m, bundle_fd, user_fd, &p->tree_fds[i], e) < 0)
			return err_wrap(e, "mounts[%zu] (%.64s)", i, m->destination);
	}
	return (c->ns[NS_USER].wanted && !p->from_outside) || p->by_user ? devices_open(p, c, e)
									 : 0;
}

static bool is_cgroup_mount(const struct config_mount *m)
{
	return str_eq(m->type, "cgroup") || str_eq(m->type, "cgroup2");
}

int mounts_open_cgroups(struct mount_plan *p, const struct config *c, const struct cgroup *cgroup,
			struct err *e)
{
	bool wanted = false;

	for (size_t i = 0; i < c->mounts.count; i++)
		wanted |= is_cgroup_mount(JS_AT(c->mounts, struct config_mount, i));
	for (size_t i = 0; wanted && i < cgroup->host->count; i++) {
		if (cgroup->fd[i] < 0)
			continue;
		p->cgroup_fds[i] = mount_clone(cgroup->fd[i], "", false, e);
		if (p->cgroup_fds[i] < 0)
			return err_wrap(e, "cgroup hierarchy %s", cgroup->host->items[i].name);
		if (mount_set_propagation(p->cgroup_fds[i], MS_PRIVATE, false, e) < 0)
			return -e->code;
	}
	return 0;
}

/* ---- new filesystems ---- */

/* What the filesystem itself said last, without the 'e ' in front. */
static void read_message(int fs_fd, char out[FS_MESSAGE_MAX])
{
	ssize_t n = read(fs_fd, out, FS_MESSAGE_MAX - 1);

	out[n < 0 ? 0 : n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	if (out[0] && out[1] == ' ')
		memmove(out, out + 2, strlen(out + 2) + 1);
}

static int fs_failed(int fs_fd, const char *what, struct err *e)
{
	int errnum = errno;
	char message[FS_MESSAGE_MAX];

	read_message(fs_fd, message);
	errno = errnum;
	return *message ? err_sys(e, "%s: %s", what, message) : err_sys(e, "%s", what);
}

/* "uid=5" as the host says it; 'c' NULL: as it is said.  < 0: errno. */
static int set_id(int fs_fd, const struct config *c, const char *key, const char *value)
{
	char text[16];
	uint32_t id;

	if (!c || !parse_u32(value, ID_INVALID - 1, &id))
		return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0);
	if (!idmap_to_host(key[0] == 'u' ? &c->linux_.uid_mappings : &c->linux_.gid_mappings, id,
			   &id)) {
		errno = EINVAL;
		return -1;
	}
	(void)snprintf(text, sizeof(text), "%u", id);
	return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, text, 0);
}

static int set_option(int fs_fd, const struct config *c, const char *option, struct err *e)
{
	char key[OPTION_LEN_MAX + 1];
	size_t len = strcspn(option, "=");
	const char *value = option[len] ? option + len + 1 : NULL;
	int r;

	if (len > OPTION_LEN_MAX || (value && strlen(value) > OPTION_LEN_MAX))
		return err_set(e, E2BIG, "option '%.32s...' is longer than %d bytes", option,
			       OPTION_LEN_MAX);
	(void)snprintf(key, sizeof(key), "%.*s", (int)len, option);
	if (value && (str_eq(key, "uid") || str_eq(key, "gid")))
		r = set_id(fs_fd, c, key, value);
	else if (value)
		r = fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0);
	else
		r = fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, NULL, 0);
	return r < 0 ? fs_failed(fs_fd, option, e) : 0;
}

/*
 * Once flags of mount(2) that no filesystem refused.  Those that can be told know
 * the word; the others do it anyway, or cannot.
 */
static const struct {
	const char *word, *key;
} old_flags[] = {{"iversion", "i_version"}, {"acl", "acl"}, {"noacl", "noacl"}};

/* 1: it is none of these. */
static int set_old_flag(int fs_fd, const char *word, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(old_flags); i++) {
		if (!str_eq(old_flags[i].word, word))
			continue;
		if (fsconfig(fs_fd, FSCONFIG_SET_FLAG, old_flags[i].key, NULL, 0) < 0 &&
		    errno != EINVAL)
			return fs_failed(fs_fd, word, e);
		return 0;
	}
	return 1;
}

/*
 * The first of "size=64k,mode=700", as mount(2) took them; context="a,b" is one,
 * and so is what has a backslash before the comma.  Returns where the next begins.
 */
static const char *first_option(const char *list, struct buf *ret)
{
	size_t len = strcspn(list, "=");
	bool label = len >= 7 && memcmp(list + len - 7, "context", 7) == 0, quoted = false;

	buf_reset(ret);
	for (; *list && (quoted || *list != ','); list++) {
		if (label && *list == '"') {
			quoted = !quoted;
			continue;
		}
		if (*list == '\\' && list[1])
			buf_putc(ret, *list++);
		buf_putc(ret, *list);
	}
	return list + (*list == ',');
}

/* devpts takes "newinstance" and means nothing by it: every mount is one. */
static bool is_obsolete(const struct config_mount *m, const char *option)
{
	return str_eq(m->type, "devpts") && str_eq(option, "newinstance");
}

static int set_data(int fs_fd, const struct mount_plan *p, const struct config *c,
		    const struct config_mount *m, struct err *e)
{
	const struct config *ids = p->from_outside ? c : NULL;
	auto_buf struct buf option = BUF_INIT(OPTIONS_MAX);

	for (size_t i = 0; i < m->options.count; i++) {
		const char *rest = mount_option_is_data(m->options.items[i]) ? m->options.items[i]
									     : "";

		while (*rest) {
			const char *word;
			int r;

			rest = first_option(rest, &option);
			word = buf_str(&option);
			r = !*word || is_obsolete(m, word) ? 0 : set_old_flag(fs_fd, word, e);
			if (r < 0 || (r > 0 && set_option(fs_fd, ids, word, e) < 0))
				return -e->code;
		}
	}
	return 0;
}

static int set_options(int fs_fd, const struct mount_plan *p, const struct config *c,
		       const struct config_mount *m, struct err *e)
{
	const struct config *ids = p->from_outside ? c : NULL;
	const char *label = c->linux_.mount_label;
	char context[OPTION_LEN_MAX + 1];

	if (m->source && m->source[0] &&
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", m->source, 0) < 0)
		return fs_failed(fs_fd, "source", e);
	if (set_data(fs_fd, p, c, m, e) < 0)
		return -e->code;
	if (!label || !label[0])
		return 0;
	(void)snprintf(context, sizeof(context), "context=%s", label);
	return set_option(fs_fd, ids, context, e);
}

/* Filesystems on a device are read-only as a whole; those in memory are by their mount. */
static bool wants_readonly_super(const struct config_mount *m, const struct mount_options *o)
{
	return (o->one.set & MOUNT_ATTR_RDONLY) && m->source && m->source[0] == '/';
}

/* These two make their root without asking who mounts them. */
static int give_root(int fd, const struct mount_plan *p, const struct config *c,
		     const struct config_mount *m, struct err *e)
{
	uint32_t uid, gid;

	if (!p->from_outside || !(str_eq(m->type, "devpts") || str_eq(m->type, "mqueue")))
		return 0;
	if (!idmap_to_host(&c->linux_.uid_mappings, 0, &uid) ||
	    !idmap_to_host(&c->linux_.gid_mappings, 0, &gid) ||
	    fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		return err_sys(e, "give %s to the container's root", m->type);
	return 0;
}

/* What is to be made in it by us (mount points, nodes in /dev) comes first: mounts_finish(). */
static bool is_readonly_later(const struct config_mount *m, const struct mount_options *o)
{
	return !o->bind && !o->remount && str_eq(m->type, "tmpfs") &&
	       ((o->one.set | o->tree.set) & MOUNT_ATTR_RDONLY);
}

static int new_filesystem(const struct mount_plan *p, const struct config *c,
			  const struct config_mount *m, const struct mount_options *o,
			  struct err *e)
{
	auto_close int fs_fd = fsopen(m->type, FSOPEN_CLOEXEC);
	int fd;

	if (fs_fd < 0)
		return err_sys(e, "filesystem %s", m->type);
	if (set_options(fs_fd, p, c, m, e) < 0)
		return -e->code;
	if (wants_readonly_super(m, o) && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0)
		return fs_failed(fs_fd, "ro", e);
	if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return fs_failed(fs_fd, m->type, e);
	fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, (unsigned)o->one.set);
	return fd < 0 ? fs_failed(fs_fd, m->type, e) : fd;
}

/* ---- one mount ---- */

static int set_all(int fd, const struct mount_options *o, struct err *e)
{
	if (mount_set(fd, o->one.set, o->one.clear, false, e) < 0 ||
	    mount_set(fd, o->tree.set, o->tree.clear, true, e) < 0)
		return -e->code;
	return 0;
}

static int set_propagations(int fd, const struct mount_options *o, struct err *e)
{
	for (size_t i = 0; i < o->propagation_count; i++)
		if (mount_set_propagation(fd, o->propagation[i].type, o->propagation[i].recursive,
					  e) < 0)
			return -e->code;
	return 0;
}

/* proc and sysfs are what the kernel's own paths mean: onto a real directory, or not at all. */
static enum inroot_mode target_mode(const struct config_mount *m)
{
	return str_eq(m->type, "proc") || str_eq(m->type, "sysfs") ? INROOT_NO_SYMLINKS
								   : INROOT_FOLLOW;
}

static int open_target(int root_fd, const struct config_mount *m, int tree_fd, struct err *e)
{
	enum inroot_mode mode = target_mode(m);
	struct stat st = {.st_mode = S_IFDIR}, root, target;
	int fd;

	if (tree_fd >= 0 && fstat(tree_fd, &st) < 0)
		return err_sys(e, "look at the source");
	fd = S_ISDIR(st.st_mode) ? inroot_mkdirs(root_fd, m->destination, mode)
				 : inroot_mkfile(root_fd, m->destination, mode);
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "destination %.128s in the root", m->destination);
	}
	if (fstat(fd, &target) == 0 && S_ISDIR(st.st_mode) != S_ISDIR(target.st_mode)) {
		close_fd(&fd);
		return err_set(e, S_ISDIR(st.st_mode) ? ENOTDIR : EISDIR,
			       "destination %.128s is %s directory, and the source is %s",
			       m->destination, S_ISDIR(st.st_mode) ? "no" : "a",
			       S_ISDIR(st.st_mode) ? "one" : "none");
	}
	if (fstat(root_fd, &root) == 0 && fstat(fd, &target) == 0 && root.st_dev == target.st_dev &&
	    root.st_ino == target.st_ino) {
		close_fd(&fd);
		return err_set(e, EINVAL, "destination %.128s is the root itself", m->destination);
	}
	return fd;
}

static bool has_data(const struct config_mount *m)
{
	for (size_t i = 0; i < m->options.count; i++)
		if (mount_option_is_data(m->options.items[i]))
			return true;
	return false;
}

/* What no word names stays as it is. */
static int remount(const struct mount_plan *p, const struct config *c, const struct config_mount *m,
		   const struct mount_options *o, struct err *e)
{
	auto_close int fd = inroot_open(p->root_fd, m->destination, O_PATH, target_mode(m));
	auto_close int fs_fd = -1;
	struct statx st = {0};

	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "remount: destination %.128s in the root", m->destination);
	}
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) < 0)
		return err_sys(e, "remount: look at it");
	if (!(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		return err_set(e, EINVAL, "remount: nothing is mounted there");
	if (set_all(fd, o, e) < 0 || set_propagations(fd, o, e) < 0)
		return err_wrap(e, "remount");
	if (o->remount_one || !has_data(m))
		return 0;
	fs_fd = fspick(fd, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
	if (fs_fd < 0)
		return err_sys(e, "remount: its filesystem");
	if (set_data(fs_fd, p, c, m, e) < 0)
		return err_wrap(e, "remount");
	return fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0
		       ? fs_failed(fs_fd, "remount", e)
		       : 0;
}

static int fill_from(int fd, int target_fd, struct err *e)
{
	auto_close int dir_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (dir_fd < 0 || fstat(target_fd, &st) < 0 || fchown(dir_fd, st.st_uid, st.st_gid) < 0 ||
	    fchmod(dir_fd, st.st_mode & 07777) < 0)
		return err_sys(e, "tmpcopyup: owner and mode");
	if (copy_tree(target_fd, dir_fd, e) < 0)
		return err_wrap(e, "tmpcopyup");
	return 0;
}

static int mount_one(struct mount_plan *p, const struct config *c, size_t i, struct err *e)
{
	const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);
	auto_close int target_fd = -1, new_fd = -1;
	int fd = p->tree_fds[i];
	struct mount_options o;
	bool later;

	if (mount_options_parse(m, &o, e) < 0)
		return -e->code;
	if (o.remount)
		return remount(p, c, m, &o, e);
	later = is_readonly_later(m, &o);
	if (later) {
		o.one.set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
		o.tree.set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	}
	target_fd = open_target(p->root_fd, m, fd, e);
	if (target_fd < 0)
		return target_fd;
	if (!o.bind) {
		fd = new_fd = new_filesystem(p, c, m, &o, e);
		if (fd < 0)
			return fd;
		if (give_root(fd, p, c, m, e) < 0 || (o.copy_up && fill_from(fd, target_fd, e) < 0))
			return -e->code;
	}
	if (set_all(fd, &o, e) < 0 || mount_move(fd, target_fd, e) < 0 ||
	    set_propagations(fd, &o, e) < 0)
		return -e->code;
	if (later)
		p->tree_fds[i] = take_fd(new_fd);
	return 0;
}

int mounts_finish(const struct mount_plan *p, const struct config *c, struct err *e)
{
	for (size_t i = 0; i < c->mounts.count; i++) {
		const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);
		struct mount_options o;

		if (mount_options_parse(m, &o, e) < 0)
			return -e->code;
		if (p->tree_fds[i] >= 0 && is_readonly_later(m, &o) &&
		    mount_set(p->tree_fds[i], MOUNT_ATTR_RDONLY, 0, false, e) < 0)
			return err_wrap(e, "mounts[%zu] (%.64s)", i, m->destination);
	}
	return 0;
}

/* ---- cgroups ---- */

/* "cpu,cpuacct" is reached as cpu and as cpuacct too. */
static int link_names(int dir_fd, const char *name, struct err *e)
{
	char word[64];

	if (!strchr(name, ','))
		return 0;
	for (const char *p = name; *p;) {
		size_t len = strcspn(p, ",");

		(void)snprintf(word, sizeof(word), "%.*s", (int)len, p);
		if (symlinkat(name, dir_fd, word) < 0)
			return err_sys(e, "link %s", word);
		p += len + (p[len] == ',');
	}
	return 0;
}

/* Our detached one goes to its first place; what is wanted in a second one is a copy of it. */
static int put_cgroup(struct mount_plan *p, size_t i, const struct mount_options *o, int target_fd,
		      struct err *e)
{
	int fd = p->cgroup_fds[i];
	auto_close int copy = -1;

	if (p->cgroups_put >> i & 1) {
		fd = copy = mount_clone(fd, "", false, e);
		if (fd < 0 || mount_set(fd, 0, MOUNT_ATTR_RDONLY, false, e) < 0)
			return -e->code;
	}
	p->cgroups_put |= 1u << i;
	if (set_all(fd, o, e) < 0 || mount_move(fd, target_fd, e) < 0)
		return -e->code;
	return 0;
}

static int mount_hierarchy(struct mount_plan *p, int dir_fd, const struct cgroup_hierarchy *h,
			   size_t i, const struct mount_options *o, struct err *e)
{
	auto_close int target_fd = -1;

	if (mkdirat(dir_fd, h->name, 0755) < 0)
		return err_sys(e, "make %s", h->name);
	target_fd = openat(dir_fd, h->name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target_fd < 0)
		return err_sys(e, "open %s", h->name);
	if (put_cgroup(p, i, o, target_fd, e) < 0 || link_names(dir_fd, h->name, e) < 0)
		return err_wrap(e, "hierarchy %s", h->name);
	return 0;
}

/* v1 and hybrid: a tmpfs with one directory for each hierarchy, as hosts have it. */
static int mount_hierarchies(struct mount_plan *p, const struct cgroup_host *host,
			     const struct config_mount *m, const struct mount_options *o,
			     struct err *e)
{
	auto_close int fd = mount_tmpfs((unsigned)(o->one.set & ~(uint64_t)MOUNT_ATTR_RDONLY), e);
	auto_close int target_fd = fd < 0 ? -1 : open_target(p->root_fd, m, -1, e);

	if (fd < 0 || target_fd < 0 || mount_move(fd, target_fd, e) < 0)
		return -e->code;
	for (size_t i = 0; i < host->count; i++)
		if (p->cgroup_fds[i] >= 0 && mount_hierarchy(p, fd, &host->items[i], i, o, e) < 0)
			return -e->code;
	return mount_set(fd, o->one.set, 0, false, e);
}

static int mount_cgroup(struct mount_plan *p, const struct config *c,
			const struct cgroup_host *host, const struct config_mount *m, struct err *e)
{
	auto_close int target_fd = -1;
	const struct cgroup_hierarchy *v2;
	struct mount_options o;

	if (mount_options_parse(m, &o, e) < 0)
		return -e->code;
	if (o.remount)
		return remount(p, c, m, &o, e);
	v2 = cgroup_host_v2(host);
	if (str_eq(m->type, "cgroup") && (!v2 || v2->name[0]))
		return mount_hierarchies(p, host, m, &o, e);
	if (!v2 || p->cgroup_fds[v2 - host->items] < 0)
		return err_set(e, ENOTSUP, "the container has no cgroup of version 2 here");
	target_fd = open_target(p->root_fd, m, -1, e);
	return target_fd < 0 ? target_fd
			     : put_cgroup(p, (size_t)(v2 - host->items), &o, target_fd, e);
}

int mounts_apply(struct mount_plan *p, const struct config *c, const struct cgroup_host *host,
		 struct err *e)
{
	for (size_t i = 0; i < c->mounts.count; i++) {
		const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);
		int r = is_cgroup_mount(m) ? mount_cgroup(p, c, host, m, e) : mount_one(p, c, i, e);

		if (r < 0)
			return err_wrap(e, "mounts[%zu] (%.64s)", i, m->destination);
	}
	return 0;
}

/* ---- the facade ---- */

int runtime_make_place(int root_fd, const char *path, bool directory, uid_t owner, struct err *e)
{
	int gid = setfsgid(owner), uid = setfsuid(owner); /* of this thread alone */
	int fd = directory ? inroot_mkdirs(root_fd, path, INROOT_FOLLOW)
			   : inroot_mkfile(root_fd, path, INROOT_FOLLOW);

	(void)setfsuid((uid_t)uid);
	(void)setfsgid((gid_t)gid);
	if (fd < 0) {
		errno = -fd;
		return err_sys(e, "make %.128s in the root", path);
	}
	close_fd(&fd);
	return 0;
}
