/* scheduler/core/task.h - tasks, seen from inside the core
 * SPDX-License-Identifier: Apache-2.0
 *
 * There may be a million of them, so what is decided, listed and counted by is a
 * struct of 80 bytes, and what it has in common with others is one object for all
 * of them, its kind.  The document lies in the store and is open, as a tree, while
 * something is done with it: from then on until the end of the event, as long as it has
 * changes that are not among the effects yet, and a while longer, because who changes
 * a task is likely to do it again (core_options.open_max).
 *
 * 1. A decision, a list or a count never opens a document.
 * 2. What the struct says is in the document, too.  The brief (brief.c) is made from
 *    either, and both are the same: core_check().
 */
#pragma once

#include "scheduler/core/internal.h"

#define TASK_ID_SIZE 16
#define TASK_ID_TIME 12 /* digits at the end that are the time of RunTask, in ms */

struct task_kind {
	struct cluster *cluster;
	struct family *family;
	struct definition *definition; /* NULL once it was deleted */
	struct task_group *group;
	struct ecs_demand demand;
	char *started_by, *provider; /* NULL: absent */
	bool external;               /* its launch type; else it is EC2 */
	size_t users;                /* tasks, and requests that make some */
	char *key;                   /* all of it as text */
};

/* An open document. */
struct task_doc {
	struct record record; /* first */
	struct task *task;
	struct task_doc *newer, *older; /* by their last use */
};

struct task {
	uint8_t id[TASK_ID_SIZE];
	struct task_kind *kind;
	struct instance *instance;   /* NULL once it was deregistered */
	struct interface *interface; /* awsvpc, until nothing is held */
	struct task_doc *doc;        /* NULL: it is not open */
	int64_t stopped_at_ms;
	uint32_t number;                     /* in the roster */
	uint32_t next_there, previous_there; /* on the instance; 0: none */
	uint32_t next_stopped;               /* in order of their end; 0: none */
	uint32_t version;
	uint8_t last_status; /* enum task_status */
	bool stop : 1;       /* desiredStatus is STOPPED */
	bool held : 1;       /* STOPPED for us; its node may still run it, and has what it had */
	bool checked : 1;    /* its document was not open since core_check() looked at it */
};

/* ---- roster.c ---- */

/* All tasks of a core, by number, from 1 on. */
static inline struct task *task_at(const struct core *c, uint32_t number)
{
	return number ? &c->roster.blocks[(number - 1) / ROSTER_BLOCK][(number - 1) % ROSTER_BLOCK]
		      : NULL;
}

/* A task with this id, which none has; of no kind yet. */
struct task *roster_add(struct roster *r, const uint8_t id[TASK_ID_SIZE]);
void roster_remove(struct roster *r, struct task *t);
struct task *roster_find(const struct roster *r, const uint8_t id[TASK_ID_SIZE]); /* or NULL */
/* for (uint32_t n = 0; (t = roster_next(&c->roster, &n));)   Removing the one just given is fine. */
struct task *roster_next(const struct roster *r, uint32_t *n);
void roster_done(struct roster *r);

bool task_id_parse(const char *text, uint8_t ret[TASK_ID_SIZE]);
void task_id_format(const uint8_t id[TASK_ID_SIZE], char ret[ECS_ID_LEN + 1]);

/* ---- kind.c ---- */

/* What a kind is known by; strings that are NULL are absent. */
struct kind_words {
	const char *cluster, *definition, *group, *started_by, *launch_type, *provider;
	struct ecs_demand demand;
};

char *kind_key(const struct kind_words *w); /* malloc'ed */
/* The kind of that key, with a user more; NULL: *e says why there can be none. */
struct task_kind *kind_use(struct core *c, const char *key, struct err *e);
void kind_release(struct core *c, struct task_kind *k); /* NULL is fine */
void kinds_done(struct core *c);
void kinds_forget(struct core *c, const struct definition *d); /* it goes */

/* ---- task_make.c ---- */

/* Texts of its tasks are not made from what they were made from before. */
void kind_forget_texts(struct core *c, const struct task_kind *k);
void task_texts_free(struct core *c); /* of all kinds */

/* ---- task_doc.c ---- */

/* To be read; valid until the end of the event. */
const json_t *task_doc(struct core *c, struct task *t);
/* As callers are shown it; the caller's. */
json_t *task_show(struct core *c, struct task *t, bool tags);
/* To be changed: it is stored with the effects of this event. */
json_t *task_edit(struct core *c, struct task *t);
struct record *task_record(struct core *c, struct task *t);
/* Of one that is not open, as it is stored; malloc'ed.  NULL: it cannot be read. */
char *task_fetch(struct core *c, const struct task *t);
void task_docs_trim(struct core *c); /* at the end of an event */
void task_doc_close(struct core *c, struct task *t);
char *task_key(const struct task *t);

/* ---- brief.c ---- */

/* malloc'ed, *ret_size bytes. */
void *brief_of_token(const char *key, int64_t expires_ms, size_t *ret_size);
void *brief_of_task(const struct task *t, size_t *ret_size);
/* 'instance': where it is; NULL: nowhere. */
void *brief_of_doc(const json_t *doc, const char *instance, size_t *ret_size, struct err *e);

/* ---- task.c, task_run.c, task_report.c, task_send.c ---- */

struct task *core_task_find(struct core *c, const json_t *request, const char *text,
			    struct ecs_fault *f);
/* The task with that id in the cluster; NULL: there is none. */
struct task *task_named(const struct core *c, const struct cluster *cl, const char *id);
void core_task_set_status(struct core *c, struct task *t, enum task_status status);
/* It is on the instance from now on, or on none, and counted there by its status. */
void core_task_put_on(struct core *c, struct task *t, struct instance *i);
void core_task_take_off(struct core *c, struct task *t);
/* Its node is told to end it, unless it was told before. */
void core_task_stop(struct core *c, struct task *t, const char *code, const char *reason);
void core_task_stopped(struct core *c, struct task *t); /* the accounts are closed */
/* STOPPED, whatever its node says; the accounts are the caller's to settle. */
void core_task_give_up(struct core *c, struct task *t, const char *code, const char *reason);
/* It is STOPPED for us, and its node still has what it had; until it is released. */
void core_task_hold(struct core *c, struct task *t);
void core_task_release(struct core *c, struct task *t); /* if it is held */
void core_task_changed(struct core *c, struct task *t); /* a new version of it */
/* What its node is told of a task with this document, malloc'ed; 'effective': NULL: no overrides. */
char *core_task_message(struct core *c, const struct task *t, const json_t *doc,
			const json_t *effective);
void core_task_send(struct core *c, struct task *t);
void core_task_send_all(struct core *c, const struct instance *i);
/* As its brief has it; 'from' has version, statuses and times. */
void core_task_restore(struct core *c, struct task_kind *own_kind, const struct task *from,
		       const uint8_t id[TASK_ID_SIZE], const char *instance);
void core_tasks_loaded(struct core *c);
void core_tasks_done(struct core *c);
void tasks_tick(struct core *c);
const char *core_task_status_name(enum task_status s);
int core_task_status_parse(const char *name); /* < 0: no such status */
