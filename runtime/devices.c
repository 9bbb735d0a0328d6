/* runtime/devices.c - the nodes in a container's /dev
 * SPDX-License-Identifier: Apache-2.0
 *
 * In a user namespace, ours or its own, no node can be made: there the host's
 * own are put in their places, as copies that the creator has taken, and what
 * the host does not have so the creator makes in the state root.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/idmap.h"
#include "runtime/inroot.h"
#include "runtime/mount_options.h"
#include "runtime/mounts.h"

#define ANYBODY        0666
#define NODE_NAME_SIZE 64

static const struct node {
	const char *path;
	unsigned major, minor;
} default_nodes[] = {
	{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
	{"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};

static const struct {
	const char *target, *name;
} default_links[] = {
	{"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"},
};

/* The node as either table describes it. */
struct wanted {
	const char *path;
	mode_t type, mode;
	dev_t rdev;
	uid_t uid;
	gid_t gid;
	bool given; /* mode or owner are */
};

static void from_config(const struct config_device *d, struct wanted *ret)
{
	char type = d->type[0];

	*ret = (struct wanted){
		.path = d->path,
		.type = type == 'b'   ? S_IFBLK
			: type == 'p' ? S_IFIFO
				      : S_IFCHR,
		.mode = d->file_mode ? (mode_t)*d->file_mode & 07777 : ANYBODY,
		.rdev = type == 'p' ? 0 : makedev((unsigned)*d->major, (unsigned)*d->minor),
		.uid = d->uid ? *d->uid : 0,
		.gid = d->gid ? *d->gid : 0,
		.given = d->file_mode || d->uid || d->gid,
	};
}

static void from_default(const struct node *n, struct wanted *ret)
{
	*ret = (struct wanted){.path = n->path,
			       .type = S_IFCHR,
			       .mode = ANYBODY,
			       .rdev = makedev(n->major, n->minor)};
}

/* With a mode and an owner of its own. */
static bool is_in_config(const struct config *c, const struct node *n)
{
	const struct js_list *list = &c->linux_.devices;
	struct wanted w;

	for (size_t i = 0; i < list->count; i++) {
		from_config(JS_AT(*list, struct config_device, i), &w);
		if (str_eq(w.path, n->path) && w.type == S_IFCHR &&
		    w.rdev == makedev(n->major, n->minor))
			return true;
	}
	return false;
}

/* Call fn for each node: the default ones that the config says nothing of, then those of the config. */
static int for_each_node(const struct config *c,
			 int (*fn)(void *arg, size_t i, const struct wanted *w, struct err *e),
			 void *arg, struct err *e)
{
	const struct js_list *list = &c->linux_.devices;
	struct wanted w;
	size_t count = ARRAY_COUNT(default_nodes);

	for (size_t i = 0; i < count + list->count; i++) {
		if (i < count && is_in_config(c, &default_nodes[i]))
			continue;
		if (i < count)
			from_default(&default_nodes[i], &w);
		else
			from_config(JS_AT(*list, struct config_device, i - count), &w);
		if (fn(arg, i, &w, e) < 0)
			return err_wrap(e, "device %s", w.path);
	}
	return 0;
}

/* A plan, by the creator for a container with a user namespace, or by the init. */
struct nodes {
	struct mount_plan *plan;
	const struct config *config;
};

/* ---- with the host's nodes ---- */

enum found { NOT_THERE, SAME_DEVICE, ALL_THE_SAME };

/* Who it belongs to outside.  A namespace that is joined has its own maps: the owner is ours there. */
static bool owner_outside(const struct nodes *n, const struct wanted *w, uint32_t *ret_uid,
			  uint32_t *ret_gid)
{
	const struct config_linux *l = &n->config->linux_;

	*ret_uid = w->uid;
	*ret_gid = w->gid;
	return !l->uid_mappings.count || (idmap_to_host(&l->uid_mappings, w->uid, ret_uid) &&
					  idmap_to_host(&l->gid_mappings, w->gid, ret_gid));
}

static enum found open_hosts_node(struct nodes *n, size_t i, const struct wanted *w)
{
	int *fd = &n->plan->device_fds[i];
	uint32_t uid, gid;
	struct stat st;

	*fd = open_tree(AT_FDCWD, w->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st) < 0 || (st.st_mode & S_IFMT) != w->type ||
	    st.st_rdev != w->rdev)
		return NOT_THERE;
	if (!w->given)
		return ALL_THE_SAME;
	return (st.st_mode & 07777) == w->mode && owner_outside(n, w, &uid, &gid) &&
			       st.st_uid == uid && st.st_gid == gid
		       ? ALL_THE_SAME
		       : SAME_DEVICE;
}

static int give_node(const struct nodes *n, const char *name, const struct wanted *w, struct err *e)
{
	uint32_t uid, gid;

	if (!owner_outside(n, w, &uid, &gid))
		return err_set(e, EINVAL, "owner %u:%u is not mapped", w->uid, w->gid);
	if (fchownat(n->plan->state_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(n->plan->state_fd, name, w->mode, 0) < 0)
		return err_sys(e, "set its owner and mode");
	return 0;
}

static void name_node(size_t i, char ret[NODE_NAME_SIZE])
{
	(void)snprintf(ret, NODE_NAME_SIZE, ".node-%d-%zu", (int)getpid(), i);
}

/* Its name goes when the copy of its mount is in its place: devices_unmake(). */
static int make_hosts_node(struct nodes *n, size_t i, const struct wanted *w, struct err *e)
{
	int dir_fd = n->plan->state_fd, fd;
	char name[NODE_NAME_SIZE];

	name_node(i, name);
	if (mknodat(dir_fd, name, w->type | w->mode, w->rdev) < 0)
		return err_sys(e, "the host has no such node there, and none can be made");
	n->plan->nodes_made = true;
	fd = give_node(n, name, w, e) < 0 ? -1 : mount_clone(dir_fd, name, false, e);
	if (fd < 0)
		return -e->code;
	close_fd(&n->plan->device_fds[i]);
	n->plan->device_fds[i] = fd;
	return mount_set(fd, 0, MOUNT_ATTR_NODEV, false, e); /* /run is nodev, as a rule */
}

/* Who may make none (in a user namespace of his own) takes the host's with its owner and mode. */
static int open_node(void *arg, size_t i, const struct wanted *w, struct err *e)
{
	struct nodes *n = arg;
	enum found found = open_hosts_node(n, i, w);
	int *fd = &n->plan->device_fds[i];

	if (found != ALL_THE_SAME && make_hosts_node(n, i, w, e) < 0 && found == NOT_THERE)
		return -e->code;
	if (mount_set(*fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, false, e) < 0)
		return -e->code;
	return mount_set_propagation(*fd, MS_PRIVATE, false, e);
}

void devices_unmake(const struct mount_plan *p)
{
	char name[NODE_NAME_SIZE];

	for (size_t i = 0; p->nodes_made && i < p->device_count; i++) {
		name_node(i, name);
		(void)unlinkat(p->state_fd, name, 0); /* most were the host's */
	}
}

int devices_open(struct mount_plan *p, const struct config *c, struct err *e)
{
	struct nodes nodes = {.plan = p, .config = c};

	p->device_count = ARRAY_COUNT(default_nodes) + c->linux_.devices.count;
	p->device_fds = xcalloc(p->device_count, sizeof(int));
	for (size_t i = 0; i < p->device_count; i++)
		p->device_fds[i] = -1;
	return for_each_node(c, open_node, &nodes, e);
}

static int bind_node(const struct mount_plan *p, size_t i, const struct wanted *w, struct err *e)
{
	auto_close int target_fd = inroot_mkfile(p->root_fd, w->path, INROOT_NO_SYMLINKS);

	if (target_fd < 0) {
		errno = -target_fd;
		return err_sys(e, "make its place");
	}
	return mount_move(p->device_fds[i], target_fd, e);
}

/* ---- with nodes of its own ---- */

/* It is taken as it is: a mount may have brought it, and then it is somebody else's, as the host's /dev/tty. */
static int check_existing(int dir_fd, const char *name, const struct wanted *w, struct err *e)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "look at it");
	if ((st.st_mode & S_IFMT) != w->type || st.st_rdev != w->rdev)
		return err_set(e, EEXIST, "something else is there in the image");
	return 0;
}

static int make_node(const struct nodes *n, const struct wanted *w, struct err *e)
{
	const char *name;
	auto_close int dir_fd = inroot_parent(n->plan->root_fd, w->path, INROOT_NO_SYMLINKS, &name);
	uint32_t uid, gid;

	if (!owner_outside(n, w, &uid, &gid))
		return err_set(e, EINVAL, "owner %u:%u is not mapped", w->uid, w->gid);
	if (dir_fd < 0) {
		errno = -dir_fd;
		return err_sys(e, "open its directory");
	}
	if (mknodat(dir_fd, name, w->type | w->mode, w->rdev) < 0) {
		if (errno != EEXIST)
			return err_sys(e, "make the node");
		return check_existing(dir_fd, name, w, e);
	}
	/* The directory is not the container's to rename in before it runs; still, never follow. */
	if (fchownat(dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(e, "set its owner");
	return 0;
}

static int put_node(void *arg, size_t i, const struct wanted *w, struct err *e)
{
	const struct nodes *n = arg;

	return n->plan->device_fds ? bind_node(n->plan, i, w, e) : make_node(n, w, e);
}

/* ---- the directory ---- */

static int make_links(int dev_fd, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(default_links); i++)
		if (symlinkat(default_links[i].target, dev_fd, default_links[i].name) < 0 &&
		    errno != EEXIST)
			return err_sys(e, "link /dev/%s", default_links[i].name);

	/* An image's own ptmx would open the terminals of nobody. */
	if (unlinkat(dev_fd, "ptmx", 0) < 0 && errno != ENOENT)
		return err_sys(e, "remove the image's /dev/ptmx");
	if (symlinkat("pts/ptmx", dev_fd, "ptmx") < 0)
		return err_sys(e, "link /dev/ptmx");
	return 0;
}

/* Whose root is "/" has the host's nodes: they are left as they are. */
static bool dev_is_the_hosts(int dev_fd)
{
	struct stat a, b;

	return stat("/dev", &a) == 0 && fstat(dev_fd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* "/dev", "dev", "//dev/" */
static bool is_dev(const char *path)
{
	path += strspn(path, "/");
	return str_starts(path, "dev") && path[3 + strspn(path + 3, "/")] == '\0';
}

/* Somebody else's /dev is left as it is. */
static bool dev_is_bound(const struct config *c)
{
	for (size_t i = 0; i < c->mounts.count; i++) {
		const struct config_mount *m = JS_AT(c->mounts, struct config_mount, i);
		struct mount_options o;
		struct err ignored;

		if (is_dev(m->destination) && mount_options_parse(m, &o, &ignored) == 0 && o.bind)
			return true;
	}
	return false;
}

int devices_make(struct mount_plan *p, const struct config *c, struct err *e)
{
	struct nodes nodes = {.plan = p, .config = c};
	auto_close int dev_fd = -1;

	if (dev_is_bound(c))
		return 0;
	dev_fd = inroot_mkdirs(p->root_fd, "dev", INROOT_NO_SYMLINKS);
	if (dev_fd < 0) {
		errno = -dev_fd;
		return err_sys(e, "open /dev of the root");
	}
	if (dev_is_the_hosts(dev_fd))
		return 0;
	if (for_each_node(c, put_node, &nodes, e) < 0)
		return -e->code;
	return make_links(dev_fd, e);
}

int devices_console(int root_fd, int slave_fd, struct err *e)
{
	auto_close int target_fd = inroot_mkfile(root_fd, "dev/console", INROOT_NO_SYMLINKS);
	auto_close int tree_fd = -1;

	if (target_fd < 0) {
		errno = -target_fd;
		return err_sys(e, "make /dev/console");
	}
	tree_fd = mount_clone(slave_fd, "", false, e);
	if (tree_fd < 0 || mount_move(tree_fd, target_fd, e) < 0)
		return err_wrap(e, "/dev/console");
	return 0;
}
