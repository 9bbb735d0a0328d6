/* scheduler/logs_read.c - CloudWatch Logs: what only looks
 * SPDX-License-Identifier: Apache-2.0
 *
 * Events are ordered by (timestamp, id): two of one millisecond keep the order
 * in which they came.  A token says behind or before which event a page begins.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/text.h"
#include "scheduler/logs_internal.h"

#define LIST_LIMIT_MAX 50
#define TIME_MAX       INT64_MAX

enum statement {
	FIND_GROUP,
	LIST_GROUPS,
	STREAMS_BY_NAME,
	STREAMS_BY_TIME,
	FIND_STREAM,
	FORWARD,
	BACKWARD,
	ACROSS,
	STATEMENT_COUNT,
};

static const char *const sql[STATEMENT_COUNT] = {
	[FIND_GROUP] = "SELECT id FROM log_group WHERE name = ?1",
	[LIST_GROUPS] = "SELECT name, created, retention FROM log_group WHERE name > ?1 "
			"AND substr(name, 1, length(?2)) = ?2 AND instr(lower(name), lower(?3)) "
			"ORDER BY name LIMIT ?4",
	[STREAMS_BY_NAME] =
		"SELECT name, created, first_ts, last_ts, last_ingested FROM log_stream "
		"WHERE group_id = ?1 AND substr(name, 1, length(?2)) = ?2 "
		"ORDER BY CASE WHEN ?3 THEN name END DESC, name LIMIT ?4 OFFSET ?5",
	[STREAMS_BY_TIME] =
		"SELECT name, created, first_ts, last_ts, last_ingested FROM log_stream "
		"WHERE group_id = ?1 AND ?2 = ?2 "
		"ORDER BY CASE WHEN ?3 THEN -coalesce(last_ts, created) "
		"ELSE coalesce(last_ts, created) END, name LIMIT ?4 OFFSET ?5",
	[FIND_STREAM] = "SELECT id FROM log_stream WHERE group_id = ?1 AND name = ?2",
	[FORWARD] = "SELECT ts, id, ingested, message FROM event WHERE stream_id = ?1 "
		    "AND (ts, id) > (?2, ?3) AND ts >= ?4 AND ts < ?5 ORDER BY ts, id LIMIT ?6",
	[BACKWARD] =
		"SELECT ts, id, ingested, message FROM event WHERE stream_id = ?1 "
		"AND (ts, id) < (?2, ?3) AND ts >= ?4 AND ts < ?5 ORDER BY ts DESC, id DESC LIMIT ?6",
	[ACROSS] =
		"SELECT e.ts, e.id, e.ingested, e.message, s.name FROM log_stream s "
		"JOIN event e ON e.stream_id = s.id WHERE s.group_id = ?1 "
		"AND coalesce(s.last_ts, 0) >= ?4 AND substr(s.name, 1, length(?7)) = ?7 "
		"AND (?8 IS NULL OR s.name IN (SELECT value FROM json_each(?8))) "
		"AND (e.ts, e.id) > (?2, ?3) AND e.ts >= ?4 AND e.ts < ?5 ORDER BY e.ts, e.id LIMIT ?6",
};

struct logs_reader {
	struct db *db;
	struct db_stmt *statements[STATEMENT_COUNT];
	const struct ecs_identity *identity;
};

int logs_reader_open(const char *path, const struct ecs_identity *identity,
		     struct logs_reader **ret, struct err *e)
{
	struct logs_reader *r = xcalloc(1, sizeof(*r));

	int failed = db_open(path, DB_NORMAL, LOGS_VERSION, "", &r->db, e);

	r->identity = identity;
	for (size_t i = 0; i < STATEMENT_COUNT && !failed; i++)
		failed = db_prepare(r->db, sql[i], &r->statements[i], e);
	if (failed) {
		logs_reader_close(r);
		return failed;
	}
	*ret = r;
	return 0;
}

void logs_reader_close(struct logs_reader *r)
{
	if (!r)
		return;
	db_close(r->db);
	free(r);
}

/* ---- requests ---- */

static const char *text(const json_t *request, const char *member)
{
	return json_string_value(json_object_get(request, member));
}

static int64_t number(const json_t *request, const char *member, int64_t otherwise)
{
	const json_t *v = json_object_get(request, member);

	return v ? json_integer_value(v) : otherwise;
}

static int not_found(struct ecs_fault *f, const char *what)
{
	return ecs_fault_set(f, ECS_FAULT_RESOURCE_NOT_FOUND,
			     "The specified log %s does not exist.", what);
}

static int fail(struct ecs_fault *f, const struct err *e)
{
	return ecs_fault_set(f, ECS_FAULT_UNAVAILABLE, "%s", e->msg);
}

/* A group by its name, or by its ARN in "logGroupIdentifier". */
static const char *group_name(const struct logs_reader *r, const json_t *request,
			      char arn[ECS_ARN_SIZE])
{
	const char *name = text(request, "logGroupName"),
		   *identifier = text(request, "logGroupIdentifier");

	if (name || !identifier)
		return name;
	ecs_arn_log_group(r->identity, "", arn);
	return str_starts(identifier, arn) ? identifier + strlen(arn) : identifier;
}

static int find_id(struct db_stmt *s, int64_t *ret, struct ecs_fault *f)
{
	struct err e = {0};
	int r = db_step(s, &e);

	*ret = r == DB_ROW ? db_i64(s, 0) : 0;
	db_reset(s);
	return r < 0 ? fail(f, &e) : 0;
}

static int need_group(struct logs_reader *r, const json_t *request, int64_t *ret,
		      struct ecs_fault *f)
{
	char arn[ECS_ARN_SIZE];
	const char *name = group_name(r, request, arn);

	if (!name)
		return ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				     "Either logGroupName or logGroupIdentifier is needed.");
	db_bind_text(r->statements[FIND_GROUP], 1, name);
	if (find_id(r->statements[FIND_GROUP], ret, f) < 0)
		return -1;
	return *ret ? 0 : not_found(f, "group");
}

static int need_stream(struct logs_reader *r, const json_t *request, int64_t *ret,
		       struct ecs_fault *f)
{
	int64_t group;

	if (need_group(r, request, &group, f) < 0)
		return -1;
	db_bind_i64(r->statements[FIND_STREAM], 1, group);
	db_bind_text(r->statements[FIND_STREAM], 2, text(request, "logStreamName"));
	if (find_id(r->statements[FIND_STREAM], ret, f) < 0)
		return -1;
	return *ret ? 0 : not_found(f, "stream");
}

/* ---- groups and streams ---- */

static json_t *show_group(struct logs_reader *r, struct db_stmt *s)
{
	char arn[ECS_ARN_SIZE];
	json_t *doc;

	ecs_arn_log_group(r->identity, db_text(s, 0), arn);
	doc = json_pack("{s:s, s:I, s:i, s:o, s:i, s:s, s:s}", "logGroupName", db_text(s, 0),
			"creationTime", (json_int_t)db_i64(s, 1), "metricFilterCount", 0, "arn",
			json_sprintf("%s:*", arn), "storedBytes", 0, "logGroupClass", "STANDARD",
			"logGroupArn", arn);
	if (db_i64(s, 2))
		(void)json_object_set_new(doc, "retentionInDays", json_integer(db_i64(s, 2)));
	return doc;
}

static json_t *describe_log_groups(struct logs_reader *r, const json_t *request,
				   struct ecs_fault *f)
{
	struct db_stmt *s = r->statements[LIST_GROUPS];
	const char *after = text(request, "nextToken"),
		   *prefix = text(request, "logGroupNamePrefix"),
		   *pattern = text(request, "logGroupNamePattern");
	int64_t limit = number(request, "limit", LIST_LIMIT_MAX);
	json_t *list = json_array(), *reply = json_pack("{s:o}", "logGroups", list);
	struct err e = {0};
	int step;

	db_bind_text(s, 1, after ? after : "");
	db_bind_text(s, 2, prefix ? prefix : "");
	db_bind_text(s, 3, pattern ? pattern : "");
	db_bind_i64(s, 4, limit + 1);
	while ((step = db_step(s, &e)) == DB_ROW) {
		if ((int64_t)json_array_size(list) < limit) {
			(void)json_array_append_new(list, show_group(r, s));
			continue;
		}
		(void)json_object_set(
			reply, "nextToken",
			json_object_get(json_array_get(list, (size_t)limit - 1), "logGroupName"));
	}
	if (step == 0)
		return reply;
	json_decref(reply);
	(void)fail(f, &e);
	return NULL;
}

static void set_time(json_t *doc, const char *name, int64_t ms)
{
	if (ms)
		(void)json_object_set_new(doc, name, json_integer(ms));
}

static json_t *show_stream(const char *group_arn, struct db_stmt *s)
{
	json_t *doc = json_pack(
		"{s:s, s:I, s:s, s:o, s:i}", "logStreamName", db_text(s, 0), "creationTime",
		(json_int_t)db_i64(s, 1), "uploadSequenceToken", "0", "arn",
		json_sprintf("%s:log-stream:%s", group_arn, db_text(s, 0)), "storedBytes", 0);

	set_time(doc, "firstEventTimestamp", db_i64(s, 2));
	set_time(doc, "lastEventTimestamp", db_i64(s, 3));
	set_time(doc, "lastIngestionTime", db_i64(s, 4));
	return doc;
}

static json_t *describe_log_streams(struct logs_reader *r, const json_t *request,
				    struct ecs_fault *f)
{
	bool by_time = str_eq(text(request, "orderBy"), "LastEventTime");
	struct db_stmt *s = r->statements[by_time ? STREAMS_BY_TIME : STREAMS_BY_NAME];
	const char *prefix = text(request, "logStreamNamePrefix"),
		   *token = text(request, "nextToken");
	int64_t limit = number(request, "limit", LIST_LIMIT_MAX), group, offset = 0;
	char arn[ECS_ARN_SIZE], other[ECS_ARN_SIZE];
	json_t *list, *reply;
	struct err e = {0};
	int step;

	if (by_time && prefix) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "Cannot order by LastEventTime with a logStreamNamePrefix.");
		return NULL;
	}
	if (token && !parse_i64(token, 0, INT32_MAX, &offset)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The specified nextToken is invalid.");
		return NULL;
	}
	if (need_group(r, request, &group, f) < 0)
		return NULL;

	ecs_arn_log_group(r->identity, group_name(r, request, other), arn);
	list = json_array();
	reply = json_pack("{s:o}", "logStreams", list);
	db_bind_i64(s, 1, group);
	db_bind_text(s, 2, prefix ? prefix : "");
	db_bind_i64(s, 3, json_is_true(json_object_get(request, "descending")));
	db_bind_i64(s, 4, limit + 1);
	db_bind_i64(s, 5, offset);
	while ((step = db_step(s, &e)) == DB_ROW) {
		if ((int64_t)json_array_size(list) < limit)
			(void)json_array_append_new(list, show_stream(arn, s));
		else
			(void)json_object_set_new(
				reply, "nextToken",
				json_sprintf("%lld", (long long)(offset + limit)));
	}
	if (step == 0)
		return reply;
	json_decref(reply);
	(void)fail(f, &e);
	return NULL;
}

/* ---- events ---- */

/* A place between events. */
struct position {
	int64_t ts, id;
};

static json_t *make_token(char direction, struct position p)
{
	return json_sprintf("%c/%020" PRId64 "%020" PRId64, direction, p.ts, p.id);
}

/* "f/" or "b/" and 40 digits. */
static bool open_token(const char *token, bool *ret_forward, struct position *ret)
{
	char ts[21];

	if (strlen(token) != 42 || (token[0] != 'f' && token[0] != 'b') || token[1] != '/')
		return false;
	memcpy(ts, token + 2, 20);
	ts[20] = '\0';
	*ret_forward = token[0] == 'f';
	return parse_i64(ts, 0, TIME_MAX, &ret->ts) && parse_i64(token + 22, 0, TIME_MAX, &ret->id);
}

/* Binds (position, startTime, endTime) as the three event statements have them. */
static void bind_range(struct db_stmt *s, struct position p, const json_t *request,
		       bool end_included)
{
	int64_t end = number(request, "endTime", TIME_MAX);

	db_bind_i64(s, 2, p.ts);
	db_bind_i64(s, 3, p.id);
	db_bind_i64(s, 4, number(request, "startTime", 0));
	db_bind_i64(s, 5, end_included && end < TIME_MAX ? end + 1 : end);
}

static json_t *show_event(struct db_stmt *s)
{
	return json_pack("{s:I, s:o, s:I}", "timestamp", (json_int_t)db_i64(s, 0), "message",
			 js_string(db_text(s, 3), strlen(db_text(s, 3))), "ingestionTime",
			 (json_int_t)db_i64(s, 2));
}

static json_t *get_log_events(struct logs_reader *r, const json_t *request, struct ecs_fault *f)
{
	const char *token = text(request, "nextToken");
	bool forward = json_is_true(json_object_get(request, "startFromHead"));
	struct position start = {forward ? -1 : TIME_MAX, forward ? -1 : TIME_MAX}, first, last, p;
	json_t *events, *reply;
	struct db_stmt *s;
	struct err e = {0};
	size_t bytes = 0;
	int64_t stream;
	int step = 0;

	if (token && !open_token(token, &forward, &start)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The specified nextToken is invalid.");
		return NULL;
	}
	if (need_stream(r, request, &stream, f) < 0)
		return NULL;

	s = r->statements[forward ? FORWARD : BACKWARD];
	db_bind_i64(s, 1, stream);
	bind_range(s, start, request, false);
	db_bind_i64(s, 6, number(request, "limit", LOGS_EVENTS_MAX));
	first = last = token ? start : (struct position){0, 0};
	events = json_array();
	while (bytes < LOGS_PAGE_BYTES && (step = db_step(s, &e)) == DB_ROW) {
		p = (struct position){db_i64(s, 0), db_i64(s, 1)};
		if (!json_array_size(events))
			first = last = p;
		if (forward)
			last = p;
		else
			first = p;
		bytes += strlen(db_text(s, 3)) + 26;
		(void)(forward ? json_array_append_new(events, show_event(s))
			       : json_array_insert_new(events, 0, show_event(s)));
	}
	db_reset(s);
	if (step < 0) {
		json_decref(events);
		(void)fail(f, &e);
		return NULL;
	}
	reply = json_pack("{s:o, s:o, s:o}", "events", events, "nextForwardToken",
			  make_token('f', last), "nextBackwardToken", make_token('b', first));
	return reply;
}

/* The rows of ACROSS that match, into 'events', until the page is full; where it stopped in *p. */
static int filter_rows(struct db_stmt *s, const struct logs_pattern *pattern, int64_t limit,
		       json_t *events, struct position *p, bool *ret_more, struct err *e)
{
	size_t bytes = 0;
	int64_t looked = 0;
	int step;

	*ret_more = true;
	while ((int64_t)json_array_size(events) < limit && bytes < LOGS_PAGE_BYTES) {
		json_t *event;

		step = db_step(s, e);
		if (step != DB_ROW) {
			*ret_more = looked == LOGS_EVENTS_MAX; /* the statement's own limit */
			return step;
		}
		looked++;
		*p = (struct position){db_i64(s, 0), db_i64(s, 1)};
		if (pattern && !logs_pattern_matches(pattern, db_text(s, 3)))
			continue;
		event = show_event(s);
		(void)json_object_set_new(event, "logStreamName", json_string(db_text(s, 4)));
		(void)json_object_set_new(event, "eventId",
					  json_sprintf("%020" PRId64 "%020" PRId64, p->ts, p->id));
		bytes += strlen(db_text(s, 3)) + 26;
		(void)json_array_append_new(events, event);
	}
	return 0;
}

static json_t *filter_log_events(struct logs_reader *r, const json_t *request, struct ecs_fault *f)
{
	struct db_stmt *s = r->statements[ACROSS];
	const char *token = text(request, "nextToken"),
		   *prefix = text(request, "logStreamNamePrefix"),
		   *filter = text(request, "filterPattern");
	const json_t *names = json_object_get(request, "logStreamNames");
	auto_free char *name_list = names ? js_dump(names) : NULL;
	struct logs_pattern *pattern = NULL;
	struct position p = {-1, -1};
	bool forward = true, more = false;
	json_t *events, *reply;
	struct err e = {0};
	int64_t group;
	int step;

	if (names && prefix) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "logStreamNames and logStreamNamePrefix exclude each other.");
		return NULL;
	}
	if (token && (!open_token(token, &forward, &p) || !forward)) {
		(void)ecs_fault_set(f, ECS_FAULT_INVALID_PARAMETER,
				    "The specified nextToken is invalid.");
		return NULL;
	}
	if (need_group(r, request, &group, f) < 0 ||
	    (filter && *filter && !(pattern = logs_pattern_parse(filter, f))))
		return NULL;

	db_bind_i64(s, 1, group);
	bind_range(s, p, request, true);
	db_bind_i64(s, 6, LOGS_EVENTS_MAX);
	db_bind_text(s, 7, prefix ? prefix : "");
	db_bind_text(s, 8, name_list);
	events = json_array();
	step = filter_rows(s, pattern, number(request, "limit", LOGS_EVENTS_MAX), events, &p, &more,
			   &e);
	db_reset(s);
	logs_pattern_free(pattern);
	reply = json_pack("{s:o, s:o}", "events", events, "searchedLogStreams", json_array());
	if (more)
		(void)json_object_set_new(reply, "nextToken", make_token('f', p));
	if (step == 0)
		return reply;
	json_decref(reply);
	(void)fail(f, &e);
	return NULL;
}

/* ---- the table ---- */

static const struct {
	const char *name;
	json_t *(*read)(struct logs_reader *r, const json_t *request, struct ecs_fault *f);
} reads[] = {
	{"DescribeLogGroups", describe_log_groups},
	{"DescribeLogStreams", describe_log_streams},
	{"GetLogEvents", get_log_events},
	{"FilterLogEvents", filter_log_events},
};

json_t *logs_read(struct logs_reader *r, const char *operation, const json_t *request,
		  struct ecs_fault *f)
{
	for (size_t i = 0; i < ARRAY_COUNT(reads); i++)
		if (strcmp(reads[i].name, operation) == 0)
			return reads[i].read(r, request, f);
	(void)ecs_fault_set(f, ECS_FAULT_UNKNOWN_OPERATION, "Unknown operation: %s", operation);
	return NULL;
}
