/* tests/sim/disk.c - a disk under SQLite, which loses and tears what was not synced
 * SPDX-License-Identifier: Apache-2.0
 *
 * A file system of SQLite's (VFS) in memory.  A file is what processes see of it, what is
 * durable of it, and the changes in between, in their order.  A sync makes the changes of its
 * file durable.  When the power is cut each change that was not synced is kept, lost, or torn:
 * of its bytes there are those of some sectors, or those up to some byte.  What another change
 * has written does not suffer (SQLITE_IOCAP_POWERSAFE_OVERWRITE, as SQLite takes it of a file
 * system on Linux).  A file's name is durable when a journal beside it was synced for the
 * first time, because SQLite syncs the directory then.
 *
 * A process that is killed leaves what it saw, and what is durable grows no further by that.
 * So does a sync that fails: what it did not bring to the disk is seen on, and no later sync
 * will (Linux takes such pages for clean).
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define NAME_MAX_ 64
#define PAGE      4096
#define REGIONS   16 /* of shared memory */

struct bytes {
	unsigned char *data;
	size_t size, capacity;
};

/* 'data' at 'offset'; NULL: the file ends there. */
struct change {
	unsigned char *data;
	size_t offset, size;
};

struct handle;

struct file {
	struct file *next;
	char name[NAME_MAX_]; /* "": it has none, and is gone with its handle */
	struct bytes seen, durable;
	struct change *changes;
	size_t count, capacity;
	bool named, durably_named;
	struct handle *handles;
	void *regions[REGIONS]; /* of shared memory: the index of a journal */
};

struct handle {
	sqlite3_file base; /* first */
	struct file *file;
	struct handle *next;
	bool journal, synced;
	int lock;                   /* SQLITE_LOCK_... */
	unsigned shared, exclusive; /* locks in shared memory, a bit each */
};

static struct file *files;
static bool is_registered, is_armed, is_off;
static enum disk_end end;
static uint64_t changes_left, random_state;

/* ---- changes ---- */

static void put_bytes(struct bytes *b, const struct change *c)
{
	const size_t size = c->offset + c->size;

	if (size > b->capacity) {
		b->capacity = 2 * size;
		b->data = xrealloc(b->data, b->capacity, 1);
	}
	if (size > b->size)
		memset(b->data + b->size, 0, size - b->size);
	if (size > b->size || !c->data)
		b->size = size;
	if (c->data)
		memcpy(b->data + c->offset, c->data, c->size);
}

static void forget_changes(struct file *f)
{
	for (size_t i = 0; i < f->count; i++)
		free(f->changes[i].data);
	f->count = 0;
}

static void sync_file(struct file *f)
{
	for (size_t i = 0; i < f->count; i++)
		put_bytes(&f->durable, &f->changes[i]);
	forget_changes(f);
}

/* May something be changed?  False: the disk fails, from now on or just now. */
static bool may_change(void)
{
	if (is_off || !is_armed)
		return !is_off;
	if (changes_left) {
		changes_left--;
		return true;
	}
	is_armed = false;
	is_off = end != DISK_FAILS;
	trace(is_off ? "the disk ends in the middle" : "the disk fails once");
	return false;
}

static void note_change(struct file *f, const void *data, size_t offset, size_t size)
{
	struct change c = {NULL, offset, size};

	if (data) {
		c.data = xcalloc(size + 1, 1);
		memcpy(c.data, data, size);
	}
	put_bytes(&f->seen, &c);
	f->changes = xgrow(f->changes, f->count, &f->capacity, sizeof(*f->changes));
	f->changes[f->count++] = c;
}

/* The one during which the power is cut is on its way, too. */
static int change(struct file *f, const void *data, size_t offset, size_t size)
{
	const bool was_off = is_off, may = may_change();

	if (was_off || (!may && end == DISK_FAILS))
		return chance(500) ? SQLITE_FULL : SQLITE_IOERR_WRITE;
	note_change(f, data, offset, size);
	return may ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

/* ---- power cuts ---- */

/* Of the bytes of the change there are those of some sectors, or those up to some byte. */
static void tear(struct file *f, const struct change *c)
{
	static const size_t grains[] = {512, PAGE};
	const size_t grain = grains[below(2)];
	struct change part = *c;

	if (chance(300)) {
		part.size = below(c->size);
		put_bytes(&f->durable, &part);
		return;
	}
	for (size_t done = 0; done < c->size; done += part.size) {
		part.offset = c->offset + done;
		part.data = c->data + done;
		part.size = grain - part.offset % grain;
		if (part.size > c->size - done)
			part.size = c->size - done;
		if (chance(500))
			put_bytes(&f->durable, &part);
	}
}

/* So many of a thousand are lost, and torn. */
static void lose_changes(struct file *f, unsigned lost, unsigned torn, size_t counts[3])
{
	for (size_t i = 0; i < f->count; i++) {
		const struct change *c = &f->changes[i];
		const bool is_lost = chance(lost), is_torn = !is_lost && c->data && chance(torn);

		counts[0]++;
		counts[1] += is_lost;
		counts[2] += is_torn;
		if (is_torn)
			tear(f, c);
		else if (!is_lost)
			put_bytes(&f->durable, c);
	}
	forget_changes(f);
}

static void copy_bytes(struct bytes *to, const struct bytes *from)
{
	const struct change all = {from->data, 0, from->size}; /* borrowed */

	to->size = 0;
	if (from->size)
		put_bytes(to, &all);
}

static void lose_memory(struct file *f)
{
	for (int i = 0; i < REGIONS; i++)
		free(take_ptr(f->regions[i]));
}

static void cut_power(void)
{
	static const unsigned shares[] = {0, 30, 500, 1000};
	const unsigned lost = shares[below(ARRAY_COUNT(shares))],
		       torn = shares[below(ARRAY_COUNT(shares))];
	size_t counts[3] = {0};

	for (struct file *f = files; f; f = f->next) {
		lose_changes(f, lost, torn, counts);
		copy_bytes(&f->seen, &f->durable);
		if (f->named != f->durably_named && chance(500))
			f->named = f->durably_named;
		f->durably_named = f->named;
	}
	trace("the power is cut: %zu writes were not synced, %zu of them are lost, %zu torn",
	      counts[0], counts[1], counts[2]);
}

void disk_fail_after(enum disk_end how, uint64_t changes)
{
	end = how;
	is_armed = true;
	changes_left = changes;
}

bool disk_is_well(void)
{
	is_armed = false;
	return !is_off;
}

void disk_process_ends(enum disk_end how)
{
	end = how;
	is_off = how != DISK_FAILS;
}

void disk_process_is_gone(void)
{
	for (struct file *f = files; f; f = f->next)
		lose_memory(f);
	if (end == DISK_POWER_CUT && is_off)
		cut_power();
	is_armed = is_off = false;
}

/* ---- files, as SQLite has them ---- */

static struct file *file_of(sqlite3_file *base)
{
	return ((struct handle *)base)->file;
}

static void free_file(struct file *f)
{
	forget_changes(f);
	lose_memory(f);
	free(f->changes);
	free(f->seen.data);
	free(f->durable.data);
	free(f);
}

static int close_file(sqlite3_file *base)
{
	struct handle *h = (struct handle *)base, **p = &h->file->handles;

	while (*p != h)
		p = &(*p)->next;
	*p = h->next;
	if (!*h->file->name)
		free_file(h->file);
	return SQLITE_OK;
}

static int read_file(sqlite3_file *base, void *to, int size, sqlite3_int64 offset)
{
	const struct bytes *b = &file_of(base)->seen;
	size_t there = (size_t)offset < b->size ? b->size - (size_t)offset : 0;

	if (is_off)
		return SQLITE_IOERR_READ;
	if (there > (size_t)size)
		there = (size_t)size;
	if (there)
		memcpy(to, b->data + offset, there);
	memset((char *)to + there, 0, (size_t)size - there);
	return there == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int write_file(sqlite3_file *base, const void *from, int size, sqlite3_int64 offset)
{
	return change(file_of(base), from, (size_t)offset, (size_t)size);
}

static int truncate_file(sqlite3_file *base, sqlite3_int64 size)
{
	return change(file_of(base), NULL, (size_t)size, 0);
}

static int sync_handle(sqlite3_file *base, int flags)
{
	struct handle *h = (struct handle *)base;

	(void)flags;
	if (!may_change()) {
		if (end == DISK_FAILS)
			lose_changes(h->file, 500, 500, (size_t[3]){0});
		return SQLITE_IOERR_FSYNC;
	}
	if (world->disk_lies)
		return SQLITE_OK;
	sync_file(h->file);
	for (struct file *f = files; h->journal && !h->synced && f; f = f->next)
		f->durably_named = f->named;
	h->synced = true;
	return SQLITE_OK;
}

static int size_of(sqlite3_file *base, sqlite3_int64 *ret)
{
	*ret = (sqlite3_int64)file_of(base)->seen.size;
	return SQLITE_OK;
}

/* ---- locks: processes are one, connections are several ---- */

/* Has another one such a lock, or a stronger one? */
static bool other_has(const struct handle *mine, int lock)
{
	for (const struct handle *h = mine->file->handles; h; h = h->next)
		if (h != mine && h->lock >= lock)
			return true;
	return false;
}

static int lock_file(sqlite3_file *base, int lock)
{
	struct handle *h = (struct handle *)base;

	if (h->lock >= lock)
		return SQLITE_OK;
	if (other_has(h, lock == SQLITE_LOCK_SHARED ? SQLITE_LOCK_PENDING : SQLITE_LOCK_RESERVED))
		return SQLITE_BUSY;
	if (lock == SQLITE_LOCK_EXCLUSIVE && other_has(h, SQLITE_LOCK_SHARED)) {
		h->lock = SQLITE_LOCK_PENDING;
		return SQLITE_BUSY;
	}
	h->lock = lock;
	return SQLITE_OK;
}

static int unlock_file(sqlite3_file *base, int lock)
{
	struct handle *h = (struct handle *)base;

	h->lock = h->lock < lock ? h->lock : lock;
	return SQLITE_OK;
}

static int is_reserved(sqlite3_file *base, int *ret)
{
	const struct handle *h = (struct handle *)base;

	*ret = h->lock >= SQLITE_LOCK_RESERVED || other_has(h, SQLITE_LOCK_RESERVED);
	return SQLITE_OK;
}

static int map_memory(sqlite3_file *base, int number, int size, int extend, void volatile **ret)
{
	struct file *f = file_of(base);

	if (number >= REGIONS)
		return SQLITE_FULL;
	if (!f->regions[number] && extend)
		f->regions[number] = xcalloc(1, (size_t)size);
	*ret = f->regions[number];
	return SQLITE_OK;
}

static int lock_memory(sqlite3_file *base, int first, int count, int flags)
{
	struct handle *mine = (struct handle *)base;
	const unsigned bits = ((1u << count) - 1) << first;
	unsigned shared = 0, exclusive = 0;

	for (const struct handle *h = mine->file->handles; h; h = h->next) {
		shared |= h == mine ? 0 : h->shared;
		exclusive |= h == mine ? 0 : h->exclusive;
	}
	if (flags & SQLITE_SHM_UNLOCK) {
		mine->shared &= ~bits;
		mine->exclusive &= ~bits;
		return SQLITE_OK;
	}
	if (bits & (exclusive | (flags & SQLITE_SHM_EXCLUSIVE ? shared : 0)))
		return SQLITE_BUSY;
	if (flags & SQLITE_SHM_EXCLUSIVE)
		mine->exclusive |= bits;
	else
		mine->shared |= bits;
	return SQLITE_OK;
}

static void order_memory(sqlite3_file *base)
{
	(void)base;
}

static int unmap_memory(sqlite3_file *base, int delete)
{
	struct handle *h = (struct handle *)base;

	h->shared = h->exclusive = 0;
	if (delete)
		lose_memory(h->file);
	return SQLITE_OK;
}

static int control(sqlite3_file *base, int operation, void *arg)
{
	(void)base;
	(void)operation;
	(void)arg;
	return SQLITE_NOTFOUND;
}

static int sector_size(sqlite3_file *base)
{
	(void)base;
	return PAGE;
}

static int characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = close_file,
	.xRead = read_file,
	.xWrite = write_file,
	.xTruncate = truncate_file,
	.xSync = sync_handle,
	.xFileSize = size_of,
	.xLock = lock_file,
	.xUnlock = unlock_file,
	.xCheckReservedLock = is_reserved,
	.xFileControl = control,
	.xSectorSize = sector_size,
	.xDeviceCharacteristics = characteristics,
	.xShmMap = map_memory,
	.xShmLock = lock_memory,
	.xShmBarrier = order_memory,
	.xShmUnmap = unmap_memory,
};

/* ---- the file system ---- */

static struct file *find_file(const char *name)
{
	for (struct file *f = files; f; f = f->next)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

static struct file *make_file(const char *name)
{
	struct file *f = xcalloc(1, sizeof(*f));

	if (!name)
		return f;
	(void)snprintf(f->name, sizeof(f->name), "%s", name);
	f->next = files;
	files = f;
	return f;
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
		     int *ret_flags)
{
	struct handle *h = (struct handle *)base;
	struct file *f = name ? find_file(name) : NULL;

	(void)vfs;
	*h = (struct handle){.base.pMethods = NULL};
	if (is_off || (!(f && f->named) && !(flags & SQLITE_OPEN_CREATE)))
		return SQLITE_CANTOPEN;
	if (name && !(f && f->named) && !may_change())
		return SQLITE_CANTOPEN;
	f = f ? f : make_file(name);
	if (!f->named && f->seen.size)
		note_change(f, NULL, 0, 0); /* what had the name before */
	f->named = true;
	*h = (struct handle){
		.base.pMethods = &methods,
		.file = f,
		.next = f->handles,
		.journal = flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL),
	};
	f->handles = h;
	if (ret_flags)
		*ret_flags = flags;
	return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *vfs, const char *name, int sync_directory)
{
	struct file *f = find_file(name);

	(void)vfs;
	if (!may_change())
		return SQLITE_IOERR_DELETE;
	if (!f || !f->named)
		return SQLITE_IOERR_DELETE_NOENT;
	f->named = false;
	for (struct file *all = files; sync_directory && all; all = all->next)
		all->durably_named = all->named;
	return SQLITE_OK;
}

static int access_file(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
	const struct file *f = find_file(name);

	(void)vfs;
	*ret = f && f->named && (flags != SQLITE_ACCESS_EXISTS || f->seen.size);
	return SQLITE_OK;
}

static int full_name(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	(void)vfs;
	(void)snprintf(ret, (size_t)size, "%s", name);
	return SQLITE_OK;
}

/* SQLite's own, so that the same seed writes the same bytes; not the world's. */
static int randomness(sqlite3_vfs *vfs, int size, char *ret)
{
	(void)vfs;
	for (int i = 0; i < size; i++) {
		random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
		ret[i] = (char)(random_state >> 56);
	}
	return size;
}

/* Nobody else is there to be waited for. */
static int sleep_for(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int current_time(sqlite3_vfs *vfs, sqlite3_int64 *ret)
{
	(void)vfs;
	*ret = 210866760000000LL + world_now_ms(); /* since noon of a day 4,714 years before ours */
	return SQLITE_OK;
}

static int last_error(sqlite3_vfs *vfs, int size, char *ret)
{
	(void)vfs;
	if (size)
		*ret = '\0';
	return 0;
}

static sqlite3_vfs vfs_of_sim = {
	.iVersion = 2,
	.szOsFile = sizeof(struct handle),
	.mxPathname = NAME_MAX_ - 1,
	.zName = "sim",
	.xOpen = open_file,
	.xDelete = delete_file,
	.xAccess = access_file,
	.xFullPathname = full_name,
	.xRandomness = randomness,
	.xSleep = sleep_for,
	.xGetLastError = last_error,
	.xCurrentTimeInt64 = current_time,
};

/* ---- life ---- */

void disk_begin(void)
{
	if (!is_registered && sqlite3_vfs_register(&vfs_of_sim, 1) != SQLITE_OK)
		broken("SQLite does not take the file system");
	is_registered = true;
	is_armed = is_off = false;
	random_state = world->seed;
	sqlite3_randomness(0, NULL); /* it begins anew */
}

void disk_end(void)
{
	struct file *f;

	while ((f = files)) {
		files = f->next;
		free_file(f);
	}
}
