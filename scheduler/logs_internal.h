/* scheduler/logs_internal.h - CloudWatch Logs, its reading and its writing half
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "ecs/arn.h"
#include "scheduler/internal.h"

#define LOGS_VERSION     1
#define LOGS_PAGE_BYTES  (1 << 20) /* of events in one reply */
#define LOGS_EVENTS_MAX  10000
#define LOGS_EVENT_BYTES (256 << 10)

/* A write: runs in the writer's thread and leaves a reply or a fault. */
struct logs_write {
	const char *operation;
	const json_t *request;
	int64_t now_ms;
	const struct ecs_identity *identity;
	json_t *reply;
	struct ecs_fault fault; /* valid when it failed and is_fault */
	bool is_fault;
};

/*
 * The write operations by name.  Returns 0; < 0: 'w->fault' when w->is_fault,
 * else *e.
 */
int logs_write_run(struct logs_write *w, struct db *db, struct err *e);
bool logs_is_write(const char *operation);

/* Lines of a node, once for each position. */
int logs_write_lines(const struct ecs_node_log *log, int64_t now_ms, struct db *db, struct err *e);
/* Events that are older than their group keeps them. */
int logs_write_expire(int64_t now_ms, struct db *db, struct err *e);

/* The read operations; 'reader' has a connection of its own. */
struct logs_reader;
int logs_reader_open(const char *path, const struct ecs_identity *identity,
		     struct logs_reader **ret, struct err *e);
void logs_reader_close(struct logs_reader *r);
json_t *logs_read(struct logs_reader *r, const char *operation, const json_t *request,
		  struct ecs_fault *f);

/* ---- filter patterns ---- */

/*
 * A pattern of terms: `error "not found" -debug ?warn ?fatal`.  Every plain term
 * must be in the message, no excluded one, and one of the optional ones.
 * InvalidParameterException for JSON, space-delimited and regular expressions.
 */
struct logs_pattern;
struct logs_pattern *logs_pattern_parse(const char *text, struct ecs_fault *f);
bool logs_pattern_matches(const struct logs_pattern *p, const char *message);
void logs_pattern_free(struct logs_pattern *p);
