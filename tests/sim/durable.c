/* tests/sim/durable.c - what is durable of the state
 * SPDX-License-Identifier: Apache-2.0
 *
 * A model says what is: documents by key, and how events hash, by number.  It is all there is
 * of most seeds; a commit that is under way at a crash is there then, or is not.
 *
 * In the others the server's own store (scheduler/store*.c, and the commits of writer.c) writes
 * to a disk that loses and tears (disk.c), and the core reads from it.  When the server starts
 * the store must have exactly what the model has, document for document and event for event,
 * and of the commit that was under way all or nothing: nothing that was acknowledged is
 * missing, and of no commit there is a half.
 */
#include <stdlib.h>
#include <string.h>

#include "scheduler/alike.h"
#include "scheduler/store.h"
#include "scheduler/writer.h"
#include "tests/disk.h"
#include "tests/sim/sim.h"

#define PATH "state.db"

static struct disk model;
static uint64_t *events; /* hashes, by number; the first is event 1 */
static size_t event_count, event_capacity;

/* The commit that was under way when the server ended: there or not, but all of it. */
static struct core_effects *under_way;
static size_t under_way_count, under_way_capacity;

static struct map expected; /* without a store: texts that are not durable, borrowed, by key */
static struct store *store; /* NULL: the server is down, or it is a model only */
static struct writer_db writer;

/* ---- the model ---- */

static uint64_t hash_of(const char *text)
{
	uint64_t hash = 14695981039346656037ULL, word;
	const size_t size = strlen(text);

	for (size_t i = 0; i < size; i += sizeof(word)) {
		word = 0;
		memcpy(&word, text + i, size - i < sizeof(word) ? size - i : sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

static void add_events(const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++) {
		const struct core_effect *x = &fx->items[i];

		if (x->kind != CORE_EVENT && !(x->kind == CORE_PUT && x->brief && x->event_ms))
			continue;
		events = xgrow(events, event_count, &event_capacity, sizeof(*events));
		events[event_count++] = hash_of(x->text);
	}
}

static void settle(const struct core_effects *fx)
{
	for (size_t i = 0; i < fx->count; i++)
		if (fx->items[i].brief &&
		    map_find(&expected, fx->items[i].key) == fx->items[i].text)
			(void)map_remove(&expected, fx->items[i].key);
	if (store)
		store_settle(store, fx);
}

static void write_model(const struct core_effects *fx)
{
	disk_write(&model, fx);
	if (world->over_disk)
		add_events(fx);
}

const char *durable_read(const char *key)
{
	return disk_read(&model, key);
}

void durable_each(const char *prefix, void (*fn)(const char *key, const char *text))
{
	size_t count;
	auto_free char **keys = disk_keys(&model, prefix, &count);

	for (size_t i = 0; i < count; i++)
		fn(keys[i], disk_read(&model, keys[i]));
}

/* ---- the store against the model ---- */

static int compare_documents(const struct store *s, struct err *e)
{
	for (size_t i = 0; i < model.items.used; i++) {
		const char *key = model.items.entries[i].key;
		auto_free char *text = NULL;

		if (!key)
			continue;
		text = store_fetch((struct store *)(uintptr_t)s, key, e);
		if (!text)
			return err_wrap(e, "%s was acknowledged", key);
		if (strcmp(text, disk_read(&model, key)) != 0)
			return err_set(e, 1, "%s is another one: %s", key, text);
	}
	return 0;
}

static int compare_count(struct db *db, struct err *e)
{
	struct db_stmt *count;
	int64_t there;

	if (db_prepare(
		    db,
		    "SELECT count(*) FROM (SELECT key FROM document UNION SELECT key FROM brief)",
		    &count, e) < 0 ||
	    db_step(count, e) < 0)
		return -1;
	there = db_i64(count, 0);
	db_reset(count);
	return there == (int64_t)model.items.count
		       ? 0
		       : err_set(e, 1, "%lld documents are there, and %zu should be",
				 (long long)there, model.items.count);
}

static int compare_row(struct db_stmt *row, size_t *next, struct err *e)
{
	const int64_t last = db_i64(row, 0), count = db_i64(row, 1);
	size_t size;
	const void *all = db_blob(row, 2, &size);

	if (last - count != (int64_t)*next)
		return err_set(e, 1, "event %zu is missing", *next + 1);
	for (int64_t i = 0; i < count; i++) {
		auto_free char *text = alike_get(all, size, (size_t)i, e);

		if (!text)
			return -1;
		if (*next == event_count || hash_of(text) != events[*next])
			return err_set(e, 1, "event %zu is another one: %s", *next + 1, text);
		++*next;
	}
	return 0;
}

static int compare_events(struct db *db, struct err *e)
{
	struct db_stmt *all;
	size_t next = 0;
	int r = db_prepare(db, "SELECT id, count, doc FROM event ORDER BY id", &all, e);

	while (r == 0 && (r = db_step(all, e)) == DB_ROW)
		r = compare_row(all, &next, e);
	if (r == 0 && next != event_count)
		return err_set(e, 1, "%zu events are there, and %zu should be", next, event_count);
	return r;
}

static int compare(struct db *db, struct err *e)
{
	if (compare_count(db, e) < 0 || compare_documents(store, e) < 0)
		return -1;
	return compare_events(db, e);
}

static void forget_under_way(void)
{
	for (size_t i = 0; i < under_way_count; i++)
		core_effects_done(&under_way[i]);
	under_way_count = 0;
}

/* The model is made to have the commit that was under way, if the store has it. */
static void find_durable(void)
{
	struct db *db = NULL;
	struct err e = {0}, without = {0};

	if (db_open(PATH, DB_FULL, STATE_VERSION, "", &db, &e) < 0)
		broken("the store cannot be read: %s", e.msg);
	if (compare(db, &without) < 0) {
		for (size_t i = 0; i < under_way_count; i++)
			write_model(&under_way[i]);
		if (!under_way_count || compare(db, &e) < 0)
			broken("the store has neither what was acknowledged (%s) nor that and all "
			       "of the commit under way (%s)",
			       without.msg, under_way_count ? e.msg : "there was none");
	}
	db_close(db);
	if (under_way_count)
		trace("of the commit that was under way the store has %s",
		      without.code ? "all" : "nothing");
	forget_under_way();
}

/* ---- the server's side ---- */

void durable_expect(const struct core_effects *fx)
{
	for (size_t i = 0; !store && i < fx->count; i++)
		if (fx->items[i].brief)
			(void)map_put(&expected, fx->items[i].key, fx->items[i].text);
	if (store)
		store_expect(store, fx);
}

char *durable_fetch(void *ctx, const char *key)
{
	const char *text = map_find(&expected, key);
	struct err e = {0};
	char *found;

	(void)ctx;
	if (!store)
		return text ? xstrdup(text) : disk_fetch(&model, key);
	found = store_fetch(store, key, &e);
	if (!found)
		broken("%s cannot be fetched: %s", key, e.msg);
	return found;
}

static int run_job(struct writer_job *job, struct db *db, struct err *e)
{
	return store_write(db, &((struct durable_job *)job)->fx, e);
}

static int commit(struct durable_job *jobs)
{
	for (struct durable_job *j = jobs; j; j = (struct durable_job *)j->job.next) {
		j->job.run = run_job;
		j->job.error.code = 0;
	}
	writer_db_commit(&writer, &jobs->job);
	return jobs->job.error.code ? -1 : 0;
}

void durable_write(struct durable_job *jobs)
{
	if (store && commit(jobs) < 0)
		broken("the disk does not fail, and a commit does: %s", jobs->job.error.msg);
	for (struct durable_job *j = jobs; j; j = (struct durable_job *)j->job.next) {
		write_model(&j->fx);
		settle(&j->fx);
	}
}

/* A commit that failed is one that may be there. */
static void keep_under_way(struct durable_job *jobs)
{
	for (struct durable_job *j = jobs; j; j = (struct durable_job *)j->job.next) {
		under_way = xgrow(under_way, under_way_count, &under_way_capacity,
				  sizeof(*under_way));
		under_way[under_way_count++] = j->fx;
		j->fx = (struct core_effects){.items = NULL};
	}
}

static void close_store(void)
{
	store_close(take_ptr(store));
	writer_db_close(&writer);
}

/* How many changes and syncs the disk does before it fails: few, or many. */
static uint64_t some_changes(void)
{
	return below(4ULL << below(6));
}

enum disk_end durable_end_begins(void)
{
	const enum disk_end end = store ? (enum disk_end)below(3) : DISK_KILLED;

	if (store)
		disk_fail_after(end, some_changes());
	return end;
}

bool durable_last_commit(struct durable_job *jobs)
{
	const bool written = store ? commit(jobs) == 0 : chance(500);

	if (!written && store)
		keep_under_way(jobs);
	for (struct durable_job *j = jobs; written && j; j = (struct durable_job *)j->job.next)
		write_model(&j->fx);
	return written;
}

void durable_server_ends(enum disk_end end)
{
	map_done(&expected);
	if (!store)
		return;
	/* Behind a failure of the disk it closes the store, or is killed before it has. */
	disk_process_ends(end == DISK_FAILS && chance(500) ? DISK_KILLED : end);
	close_store();
	disk_process_is_gone();
}

int durable_load(struct core *core, struct err *e)
{
	static const char *const checkpoints[] = {"PRAGMA wal_autocheckpoint = 4",
						  "PRAGMA wal_autocheckpoint = 100",
						  "PRAGMA wal_autocheckpoint = 4000"};
	const bool cut = world->over_disk && world_has_faults() && chance(200);

	if (!world->over_disk)
		return disk_load(&model, core, e);
	if (cut)
		disk_fail_after(DISK_POWER_CUT, some_changes());
	if (db_rewrite_journal(PATH, e) < 0 || store_open(PATH, &store, e) < 0 ||
	    store_load(store, core, e) < 0 ||
	    writer_db_open(&writer, PATH, STATE_VERSION, store_schema, WRITER_ALL, e) < 0 ||
	    db_exec(writer.db, checkpoints[below(ARRAY_COUNT(checkpoints))], e) < 0 ||
	    !disk_is_well()) {
		disk_process_ends(DISK_POWER_CUT);
		close_store();
		disk_process_is_gone();
		return cut ? DURABLE_CUT : -1;
	}
	find_durable();
	return 0;
}

/* ---- life ---- */

void durable_begin(void)
{
	event_count = 0;
	if (world->over_disk)
		disk_begin();
}

void durable_end(void)
{
	map_done(&expected);
	forget_under_way();
	if (store)
		close_store();
	disk_end();
	disk_done(&model);
	model = (struct disk){0};
}
