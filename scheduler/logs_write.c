/* scheduler/logs_write.c - CloudWatch Logs: what changes something
 * SPDX-License-Identifier: Apache-2.0
 *
 * Context: the writer's thread.
 */
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/logs_internal.h"

#define NAME_MAX_LEN  512
#define BATCH_BYTES   1048576 /* PutLogEvents: of messages and 26 bytes each */
#define BATCH_SPAN_MS (24 * 3600 * 1000LL)
#define TOO_OLD_MS    (14 * 24 * 3600 * 1000LL)
#define TOO_NEW_MS    (2 * 3600 * 1000LL)

/* Statements of this thread; each is prepared when it is first needed. */
enum statement {
	FIND_GROUP,
	ADD_GROUP,
	FIND_STREAM,
	ADD_STREAM,
	ADD_EVENT,
	TOUCH_STREAM,
	DROP_STREAM,
	DROP_GROUP,
	SET_RETENTION,
	FIND_SOURCE,
	SET_SOURCE,
	EXPIRE_EVENTS,
	EXPIRE_SOURCES,
	STATEMENT_COUNT,
};

static const char *const sql[STATEMENT_COUNT] = {
	[FIND_GROUP] = "SELECT id FROM log_group WHERE name = ?1",
	[ADD_GROUP] = "INSERT INTO log_group (name, created) VALUES (?1, ?2)",
	[FIND_STREAM] = "SELECT id FROM log_stream WHERE group_id = ?1 AND name = ?2",
	[ADD_STREAM] = "INSERT INTO log_stream (group_id, name, created) VALUES (?1, ?2, ?3)",
	[ADD_EVENT] =
		"INSERT INTO event (stream_id, ts, ingested, message) VALUES (?1, ?2, ?3, ?4)",
	[TOUCH_STREAM] =
		"UPDATE log_stream SET first_ts = min(coalesce(first_ts, ?2), ?2), "
		"last_ts = max(coalesce(last_ts, ?3), ?3), last_ingested = ?4 WHERE id = ?1",
	[DROP_STREAM] = "DELETE FROM log_stream WHERE id = ?1",
	[DROP_GROUP] = "DELETE FROM log_group WHERE id = ?1",
	[SET_RETENTION] = "UPDATE log_group SET retention = ?2 WHERE id = ?1",
	[FIND_SOURCE] = "SELECT position FROM source WHERE name = ?1",
	[SET_SOURCE] = "INSERT INTO source (name, position, updated) VALUES (?1, ?2, ?3) "
		       "ON CONFLICT (name) DO UPDATE SET position = ?2, updated = ?3",
	[EXPIRE_SOURCES] = "DELETE FROM source WHERE updated < ?1 - 604800000",
	[EXPIRE_EVENTS] =
		"DELETE FROM event WHERE id IN (SELECT e.id FROM log_group g "
		"JOIN log_stream s ON s.group_id = g.id JOIN event e ON e.stream_id = s.id "
		"WHERE g.retention IS NOT NULL AND e.ts < ?1 - g.retention * 86400000 LIMIT 10000)",
};

static struct db_stmt *statement(struct db *db, enum statement which, struct err *e)
{
	static __thread uint64_t owner;
	static __thread struct db_stmt *prepared[STATEMENT_COUNT];

	if (owner != db_number(db)) {
		memset(prepared, 0, sizeof(prepared));
		owner = db_number(db);
	}
	if (!prepared[which] && db_prepare(db, sql[which], &prepared[which], e) < 0)
		return NULL;
	return prepared[which];
}

static int fault(struct logs_write *w, enum ecs_fault_type type, const char *message)
{
	w->is_fault = true;
	return ecs_fault_set(&w->fault, type, "%s", message);
}

/* ---- groups and streams ---- */

/* The only column of the only row; 0 when there is no row. */
static int find_id(struct db_stmt *s, int64_t *ret, struct err *e)
{
	int r = db_step(s, e);

	*ret = r == DB_ROW ? db_i64(s, 0) : 0;
	db_reset(s);
	return r < 0 ? r : 0;
}

static int find_group(struct db *db, const char *name, int64_t *ret, struct err *e)
{
	struct db_stmt *s = statement(db, FIND_GROUP, e);

	if (!s)
		return -e->code;
	db_bind_text(s, 1, name);
	return find_id(s, ret, e);
}

static int find_stream(struct db *db, int64_t group, const char *name, int64_t *ret, struct err *e)
{
	struct db_stmt *s = statement(db, FIND_STREAM, e);

	if (!s)
		return -e->code;
	db_bind_i64(s, 1, group);
	db_bind_text(s, 2, name);
	return find_id(s, ret, e);
}

static int add_group(struct db *db, const char *name, int64_t now_ms, int64_t *ret, struct err *e)
{
	struct db_stmt *s = statement(db, ADD_GROUP, e);

	if (!s)
		return -e->code;
	db_bind_text(s, 1, name);
	db_bind_i64(s, 2, now_ms);
	if (db_run(s, e) < 0)
		return -e->code;
	*ret = db_last_id(db);
	return 0;
}

static int add_stream(struct db *db, int64_t group, const char *name, int64_t now_ms, int64_t *ret,
		      struct err *e)
{
	struct db_stmt *s = statement(db, ADD_STREAM, e);

	if (!s)
		return -e->code;
	db_bind_i64(s, 1, group);
	db_bind_text(s, 2, name);
	db_bind_i64(s, 3, now_ms);
	if (db_run(s, e) < 0)
		return -e->code;
	*ret = db_last_id(db);
	return 0;
}

static const char *text(const struct logs_write *w, const char *member)
{
	return json_string_value(json_object_get(w->request, member));
}

/* The group of the request, which must be there. */
static int need_group(struct logs_write *w, struct db *db, int64_t *ret, struct err *e)
{
	if (find_group(db, text(w, "logGroupName"), ret, e) < 0)
		return -e->code;
	return *ret ? 0
		    : fault(w, ECS_FAULT_RESOURCE_NOT_FOUND,
			    "The specified log group does not exist.");
}

static int need_stream(struct logs_write *w, struct db *db, int64_t *ret, struct err *e)
{
	int64_t group;
	int r = need_group(w, db, &group, e);

	if (r < 0)
		return r;
	if (find_stream(db, group, text(w, "logStreamName"), ret, e) < 0)
		return -e->code;
	return *ret ? 0
		    : fault(w, ECS_FAULT_RESOURCE_NOT_FOUND,
			    "The specified log stream does not exist.");
}

static bool is_group_name(const char *name)
{
	size_t len = strspn(name,
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_/#");

	return len && len <= NAME_MAX_LEN && !name[len];
}

static bool is_stream_name(const char *name)
{
	return *name && strlen(name) <= NAME_MAX_LEN && !strpbrk(name, ":*");
}

static int create_log_group(struct logs_write *w, struct db *db, struct err *e)
{
	const char *name = text(w, "logGroupName");
	int64_t id;

	if (!is_group_name(name))
		return fault(
			w, ECS_FAULT_INVALID_PARAMETER,
			"logGroupName must have 1 to 512 characters of a-z, A-Z, 0-9 and '_-/.#'.");
	if (find_group(db, name, &id, e) < 0)
		return -e->code;
	if (id)
		return fault(w, ECS_FAULT_RESOURCE_EXISTS,
			     "The specified log group already exists");
	return add_group(db, name, w->now_ms, &id, e);
}

static int create_log_stream(struct logs_write *w, struct db *db, struct err *e)
{
	const char *name = text(w, "logStreamName");
	int64_t group, id;
	int r = need_group(w, db, &group, e);

	if (r < 0)
		return r;
	if (!is_stream_name(name))
		return fault(w, ECS_FAULT_INVALID_PARAMETER,
			     "logStreamName must have 1 to 512 characters without ':' and '*'.");
	if (find_stream(db, group, name, &id, e) < 0)
		return -e->code;
	if (id)
		return fault(w, ECS_FAULT_RESOURCE_EXISTS,
			     "The specified log stream already exists");
	return add_stream(db, group, name, w->now_ms, &id, e);
}

static int run_with_id(struct db *db, enum statement which, int64_t id, struct err *e)
{
	struct db_stmt *s = statement(db, which, e);

	if (!s)
		return -e->code;
	db_bind_i64(s, 1, id);
	return db_run(s, e);
}

static int delete_log_group(struct logs_write *w, struct db *db, struct err *e)
{
	int64_t group;
	int r = need_group(w, db, &group, e);

	return r < 0 ? r : run_with_id(db, DROP_GROUP, group, e); /* streams and events cascade */
}

static int delete_log_stream(struct logs_write *w, struct db *db, struct err *e)
{
	int64_t stream;
	int r = need_stream(w, db, &stream, e);

	return r < 0 ? r : run_with_id(db, DROP_STREAM, stream, e);
}

static int set_retention(struct logs_write *w, struct db *db, int64_t days, struct err *e)
{
	struct db_stmt *s = statement(db, SET_RETENTION, e);
	int64_t group;
	int r = s ? need_group(w, db, &group, e) : -e->code;

	if (r < 0)
		return r;
	db_bind_i64(s, 1, group);
	if (days)
		db_bind_i64(s, 2, days);
	return db_run(s, e);
}

static int put_retention_policy(struct logs_write *w, struct db *db, struct err *e)
{
	/* The values that CloudWatch Logs knows. */
	static const int known[] = {1,   3,   5,   7,   14,   30,   60,   90,   120,  150,  180,
				    365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653};
	int64_t days = json_integer_value(json_object_get(w->request, "retentionInDays"));

	for (size_t i = 0; i < ARRAY_COUNT(known); i++)
		if (known[i] == days)
			return set_retention(w, db, days, e);
	return fault(
		w, ECS_FAULT_INVALID_PARAMETER,
		"retentionInDays must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, "
		"545, 731, 1096, 1827, 2192, 2557, 2922, 3288 and 3653.");
}

static int delete_retention_policy(struct logs_write *w, struct db *db, struct err *e)
{
	return set_retention(w, db, 0, e);
}

/* ---- events ---- */

static int add_event(struct db *db, int64_t stream, int64_t ts, int64_t now_ms, const char *message,
		     struct err *e)
{
	struct db_stmt *s = statement(db, ADD_EVENT, e);

	if (!s)
		return -e->code;
	db_bind_i64(s, 1, stream);
	db_bind_i64(s, 2, ts);
	db_bind_i64(s, 3, now_ms);
	db_bind_text(s, 4, message);
	return db_run(s, e);
}

static int touch_stream(struct db *db, int64_t stream, int64_t first_ts, int64_t last_ts,
			int64_t now_ms, struct err *e)
{
	struct db_stmt *s = statement(db, TOUCH_STREAM, e);

	if (!s)
		return -e->code;
	db_bind_i64(s, 1, stream);
	db_bind_i64(s, 2, first_ts);
	db_bind_i64(s, 3, last_ts);
	db_bind_i64(s, 4, now_ms);
	return db_run(s, e);
}

static int64_t time_of(const json_t *event)
{
	return json_integer_value(json_object_get(event, "timestamp"));
}

static int check_batch(struct logs_write *w, const json_t *events)
{
	size_t bytes = 0, i;
	json_t *event;

	json_array_foreach (events, i, event) {
		const json_t *message = json_object_get(event, "message");

		if (!json_string_length(message))
			return fault(w, ECS_FAULT_INVALID_PARAMETER,
				     "Log event message must not be empty.");
		if (json_string_length(message) + 26 > LOGS_EVENT_BYTES)
			return fault(
				w, ECS_FAULT_INVALID_PARAMETER,
				"Log event too large: the maximum is 262144 bytes, 26 of them overhead.");
		bytes += json_string_length(message) + 26;
		if (i && time_of(event) < time_of(json_array_get(events, i - 1)))
			return fault(
				w, ECS_FAULT_INVALID_PARAMETER,
				"Log events in a single PutLogEvents request must be in chronological "
				"order.");
	}
	if (bytes > BATCH_BYTES)
		return fault(w, ECS_FAULT_INVALID_PARAMETER,
			     "Upload too large: the maximum is 1048576 bytes.");
	if (time_of(json_array_get(events, json_array_size(events) - 1)) -
		    time_of(json_array_get(events, 0)) >
	    BATCH_SPAN_MS)
		return fault(
			w, ECS_FAULT_INVALID_PARAMETER,
			"The batch of log events in a single PutLogEvents request cannot span more than "
			"24 hours.");
	return 0;
}

static int put_log_events(struct logs_write *w, struct db *db, struct err *e)
{
	json_t *events = json_object_get(w->request, "logEvents"), *event,
	       *rejected = json_object();
	int64_t stream, first = 0, last = 0;
	size_t i, old = 0, taken = 0;
	int r;

	w->reply = json_pack("{s:s, s:o}", "nextSequenceToken", "0", "rejectedLogEventsInfo",
			     rejected);
	r = check_batch(w, events);
	if (r == 0)
		r = need_stream(w, db, &stream, e);
	if (r < 0)
		return r;

	json_array_foreach (events, i, event) {
		int64_t ts = time_of(event);

		if (ts < w->now_ms - TOO_OLD_MS) {
			old = i + 1;
			continue;
		}
		if (ts > w->now_ms + TOO_NEW_MS) {
			(void)json_object_set_new(rejected, "tooNewLogEventStartIndex",
						  json_integer((json_int_t)i));
			break;
		}
		if (add_event(db, stream, ts, w->now_ms,
			      json_string_value(json_object_get(event, "message")), e) < 0)
			return -e->code;
		first = taken++ ? first : ts;
		last = ts;
	}
	if (old)
		(void)json_object_set_new(rejected, "tooOldLogEventEndIndex",
					  json_integer((json_int_t)old));
	if (!json_object_size(rejected))
		(void)json_object_del(w->reply, "rejectedLogEventsInfo");
	return taken ? touch_stream(db, stream, first, last, w->now_ms, e) : 0;
}

/* ---- the table ---- */

static const struct {
	const char *name;
	int (*run)(struct logs_write *w, struct db *db, struct err *e);
} writes[] = {
	{"CreateLogGroup", create_log_group},
	{"CreateLogStream", create_log_stream},
	{"DeleteLogGroup", delete_log_group},
	{"DeleteLogStream", delete_log_stream},
	{"PutRetentionPolicy", put_retention_policy},
	{"DeleteRetentionPolicy", delete_retention_policy},
	{"PutLogEvents", put_log_events},
};

bool logs_is_write(const char *operation)
{
	for (size_t i = 0; i < ARRAY_COUNT(writes); i++)
		if (strcmp(writes[i].name, operation) == 0)
			return true;
	return false;
}

int logs_write_run(struct logs_write *w, struct db *db, struct err *e)
{
	for (size_t i = 0; i < ARRAY_COUNT(writes); i++)
		if (strcmp(writes[i].name, w->operation) == 0)
			return writes[i].run(w, db, e);
	return err_set(e, EINVAL, "no write operation %s", w->operation);
}

/* ---- lines of nodes ---- */

static int find_or_add_stream(const struct ecs_node_log *log, int64_t now_ms, struct db *db,
			      int64_t *ret, struct err *e)
{
	int64_t group;

	if (find_group(db, log->group, &group, e) < 0)
		return -e->code;
	if (!group && (!log->create_group || !is_group_name(log->group)))
		return err_set(
			e, ENOENT,
			"ResourceNotFoundException: The specified log group does not exist: %s",
			log->group);
	if (!group && add_group(db, log->group, now_ms, &group, e) < 0)
		return -e->code;
	if (find_stream(db, group, log->stream, ret, e) < 0)
		return -e->code;
	if (*ret)
		return 0;
	if (!is_stream_name(log->stream))
		return err_set(e, EINVAL, "log stream name '%.100s' is not valid", log->stream);
	return add_stream(db, group, log->stream, now_ms, ret, e);
}

static int position_of(const char *source, struct db *db, int64_t *ret, struct err *e)
{
	struct db_stmt *s = statement(db, FIND_SOURCE, e);

	if (!s)
		return -e->code;
	db_bind_text(s, 1, source);
	return find_id(s, ret, e);
}

static int set_position(const struct ecs_node_log *log, int64_t now_ms, struct db *db,
			struct err *e)
{
	struct db_stmt *s = statement(db, SET_SOURCE, e);

	if (!s)
		return -e->code;
	db_bind_text(s, 1, log->source);
	db_bind_i64(s, 2, log->position);
	db_bind_i64(s, 3, now_ms);
	return db_run(s, e);
}

int logs_write_lines(const struct ecs_node_log *log, int64_t now_ms, struct db *db, struct err *e)
{
	const struct ecs_log_event *first = NULL, *event = NULL;
	int64_t stream, known = 0;

	if (position_of(log->source, db, &known, e) < 0)
		return -e->code;
	if (known && known >= log->position)
		return 0; /* taken before: the acknowledgement was lost */
	if (find_or_add_stream(log, now_ms, db, &stream, e) < 0)
		return -e->code;
	for (size_t i = 0; i < log->events.count; i++) {
		event = JS_AT(log->events, struct ecs_log_event, i);
		if (event->position <= known)
			continue;
		first = first ? first : event;
		if (add_event(db, stream, event->timestamp, now_ms, event->message, e) < 0)
			return -e->code;
	}
	if (first && touch_stream(db, stream, first->timestamp, event->timestamp, now_ms, e) < 0)
		return -e->code;
	return set_position(log, now_ms, db, e);
}

int logs_write_expire(int64_t now_ms, struct db *db, struct err *e)
{
	if (run_with_id(db, EXPIRE_EVENTS, now_ms, e) < 0)
		return -e->code;
	return run_with_id(db, EXPIRE_SOURCES, now_ms, e);
}
