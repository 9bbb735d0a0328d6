/* cmd/berth/command.h - subcommands: options by tables, tasks by name, output
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/js.h"
#include "cmd/berth/client.h"

/* Exit codes that scripts can use. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_FOUND = 3,
	EXIT_DENIED = 5,
	EXIT_UNREACHABLE = 6,
	EXIT_RUN_FAILED = 125, /* run: it was not the command that failed */
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_COMMAND_NOT_FOUND = 127,
	EXIT_INTERRUPTED = 130,
};

enum output { OUTPUT_TABLE, OUTPUT_JSON };

/* What every command knows. */
struct context {
	const char *root, *endpoint, *cluster, *node, *output_name;
	bool help;
	enum output output;
	struct client *client;
	const char *instance; /* that 'node' names; NULL: it names none */
};

/* ---- options ---- */

enum option_kind {
	OPTION_FLAG,   /* bool */
	OPTION_STRING, /* const char * */
	OPTION_LIST,   /* struct strings: may be given again */
};

struct strings {
	const char **items;
	size_t count, capacity;
};

struct option_row {
	const char *name; /* "publish" */
	char letter;      /* 'p'; 0: none */
	enum option_kind kind;
	size_t offset;
	const char *argument, *help;
};

struct command {
	const char *name;
	const char *arguments; /* as help shows them: "[OPTIONS] IMAGE [COMMAND...]" */
	const char *summary;
	const struct option_row *options;
	size_t option_count;
	size_t size;              /* of the struct that the options fill */
	int min_words, max_words; /* max -1: any number */
	bool words_end_options;   /* what follows the first word is not ours (run) */
	bool of_node;             /* --node may be given */
	const struct command *const
		*subcommands; /* NULL: none; else NULL-terminated, and no .run */
	/* Returns the exit code. */
	int (*run)(struct context *c, const void *options, char **words, int count);
};

extern const struct command command_run, command_ps, command_logs, command_stop, command_inspect,
	command_images, command_pull, command_push, command_image, command_image_fsck,
	command_image_inspect, command_image_history, command_image_tag, command_image_rm,
	command_image_prune, command_image_save, command_image_load, command_image_import,
	command_doctor, command_capture, command_nodes, command_node, command_describe, command_top,
	command_events, command_login, command_logout, command_version;

/* ---- telling ---- */

/* "berth: what: why" on standard error; the exit code that belongs to it. */
int fail(const struct err *e);
int fail_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Print a document, indented. */
void print_json(const json_t *doc);

/* A member of a document; "" and 0 where it is not there. */
const char *text_of(const json_t *doc, const char *member);
long long number_of(const json_t *doc, const char *member);

/* Columns as wide as they need be; every cell is a malloc'ed string. */
struct table {
	const char *const *headers;
	size_t columns;
	char **cells;
	size_t count, capacity;
};
void table_add(struct table *t, char *own_cell);
void table_print(struct table *t); /* and let go of it */

/* "3 minutes", "2 hours" since then. */
char *age_of(const json_t *timestamp);

/* ---- nodes ---- */

/* Documents of all container instances of the cluster, appended to 'nodes'. */
int nodes_list(struct context *c, json_t *nodes, struct err *e);
/* By ARN, id, the beginning of an id that only one has, or host name; the caller's. */
int node_resolve(struct context *c, const char *name, json_t **ret, struct err *e);
const char *node_attribute(const json_t *node, const char *name); /* "": it has none */
/* Of "CPU", "MEMORY" or "GPU" in "registeredResources" or "remainingResources": how much. */
long long node_resource(const json_t *node, const char *list, const char *name);
char *node_free(const json_t *node, const char *name); /* "1/2"; malloc'ed */
bool nodes_have_gpus(const json_t *nodes);
char *node_status(const json_t *node); /* "ACTIVE (disconnected)"; malloc'ed */

/* ---- tasks ---- */

/* A request with the cluster and the node in it, where they were named. */
json_t *request_new(const struct context *c);

/* Task documents by status: RUNNING, STOPPED; appended to 'tasks'. */
int tasks_list(struct context *c, const char *desired_status, json_t *tasks, struct err *e);
int task_describe(struct context *c, const char *arn, json_t **ret, struct err *e);
/*
 * The ARN of a task by ARN, id, the beginning of an id that only one has, or the
 * name (family) of one that runs; else of the one that was started last.
 */
int task_resolve(struct context *c, const char *name, char **ret_arn, struct err *e);
/* "0.0.0.0:32768->80/tcp", all of a container; malloc'ed; "-": none. */
char *ports_of(const json_t *container);
/* What is behind the last slash. */
const char *short_name(const char *arn);
/* An id, or its beginning; an empty name (of a variable that was not set) means nothing. */
bool id_begins_with(const char *id, const char *name);
