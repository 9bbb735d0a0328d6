/* agent/flow_file.c - open windows of flow logs, over the life of an agent
 * SPDX-License-Identifier: Apache-2.0
 *
 * A line each; what belongs to a line that names something follows it:
 *
 *   window INTERFACE N START LOST
 *   flow A|R PACKETS BYTES FIRST LAST TEXT
 *   log SOURCE
 *   event TIMESTAMP POSITION MESSAGE
 *
 * It lies below /run: connections do not outlive the host's kernel either.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/flow_internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/text.h"

#define FILE_MAX (64u << 20)
#define WORD_MAX 255

static char *path_of(const struct flows *f)
{
	return xasprintf("%s/flows", f->agent->o->run_dir);
}

/* ---- written ---- */

static void write_window(struct buf *b, const struct flow_interface *n, size_t number)
{
	const struct window *w = &n->windows[number];
	struct counted *c;

	if (!w->flows.count)
		return;
	buf_printf(b, "window %s %zu %" PRId64 " %d\n", n->id, number, w->start_ms, w->lost);
	for (size_t i = 0; map_next(&w->flows, &i, &c);)
		buf_printf(b, "flow %c %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %s\n",
			   c->accepted ? 'A' : 'R', c->packets, c->bytes, c->first_ms, c->last_ms,
			   c->text);
}

static void write_log(struct buf *b, const struct flow_log *l)
{
	if (!l->count)
		return;
	buf_printf(b, "log %s\n", l->source);
	for (size_t i = 0; i < l->count; i++)
		buf_printf(b, "event %" PRId64 " %" PRId64 " %s\n", l->events[i].timestamp,
			   l->events[i].position, l->events[i].message);
}

void flows_save(struct flows *f)
{
	auto_free char *path = path_of(f);
	auto_buf struct buf b = BUF_INIT(FILE_MAX);
	struct flow_interface *n;
	struct flow_log *l;
	struct err e = {0};

	for (size_t i = 0; map_next(&f->interfaces, &i, &n);)
		for (size_t w = 0; w < FLOW_WINDOWS; w++)
			write_window(&b, n, w);
	for (size_t i = 0; map_next(&f->logs, &i, &l);)
		write_log(&b, l);
	if (!b.size)
		(void)unlink(path); /* absent is fine */
	else if (fs_replace(AT_FDCWD, path, b.data, b.size, 0600, FS_QUICK, &e) < 0)
		log_warn("flow logs: %s", e.msg);
}

/* ---- read ---- */

/* Where lines that follow belong. */
struct reading {
	struct flows *flows;
	struct window *window;
	struct flow_log *log;
};

static void read_window(struct reading *r, const char *line)
{
	char id[WORD_MAX + 1];
	auto_free char *key = NULL;
	int64_t start_ms;
	size_t number;
	int lost;

	r->window = NULL;
	if (sscanf(line, "window %255s %zu %" SCNd64 " %d", id, &number, &start_ms, &lost) != 4)
		return;
	key = xasprintf("%s %zu", id, number);
	r->window = xcalloc(1, sizeof(*r->window));
	*r->window = (struct window){.start_ms = start_ms, .lost = lost != 0};
	free(map_put(&r->flows->saved_windows, key, r->window));
}

static void read_flow(struct reading *r, const char *line)
{
	struct counted c = {0}, *own;
	auto_free char *key = NULL;
	char action;
	int at = 0;

	if (!r->window ||
	    sscanf(line, "flow %c %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64 " %n", &action,
		   &c.packets, &c.bytes, &c.first_ms, &c.last_ms, &at) != 5 ||
	    !at)
		return;
	c.accepted = action == 'A';
	own = xcalloc(1, sizeof(*own) + strlen(line + at) + 1);
	*own = c;
	memcpy(own->text, line + at, strlen(line + at) + 1);
	key = xasprintf("%c%s", action, line + at);
	free(map_put(&r->window->flows, key, own));
}

static void read_log(struct reading *r, const char *line)
{
	r->log = xcalloc(1, sizeof(*r->log));
	free(map_put(&r->flows->saved_logs, line + strlen("log "), r->log));
}

static void read_event(struct reading *r, const char *line)
{
	struct flow_log *l = r->log;
	struct ecs_log_event x = {0};
	int at = 0;

	if (!l ||
	    sscanf(line, "event %" SCNd64 " %" SCNd64 " %n", &x.timestamp, &x.position, &at) != 2 ||
	    !at)
		return;
	x.message = xstrdup(line + at);
	l->events = xgrow(l->events, l->count, &l->capacity, sizeof(*l->events));
	l->events[l->count++] = x;
	l->position = x.position;
}

static const struct {
	const char *word;
	void (*read)(struct reading *r, const char *line);
} readers[] = {
	{"window ", read_window},
	{"flow ", read_flow},
	{"log ", read_log},
	{"event ", read_event},
};

void flows_load(struct flows *f)
{
	auto_free char *path = path_of(f);
	auto_buf struct buf b = BUF_INIT(FILE_MAX);
	struct reading r = {.flows = f};
	char *save = NULL, *text;
	struct err e = {0};

	if (fs_read(AT_FDCWD, path, &b, &e) < 0) {
		if (e.code != ENOENT)
			log_warn("flow logs: %s", e.msg);
		return;
	}
	text = (char *)(uintptr_t)buf_str(&b);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		for (size_t i = 0; i < ARRAY_COUNT(readers); i++)
			if (str_starts(line, readers[i].word))
				readers[i].read(&r, line);
}

/* ---- taken ---- */

bool flows_take_window(struct flows *f, struct flow_interface *n, size_t window)
{
	auto_free char *key = xasprintf("%s %zu", n->id, window);
	struct window *saved = map_remove(&f->saved_windows, key), *w = &n->windows[window];

	if (!saved)
		return false;
	map_done(&w->flows); /* nothing was counted yet */
	*w = *saved;
	f->flow_count += w->flows.count;
	free(saved);
	return true;
}

bool flows_take_lines(struct flows *f, struct flow_log *l)
{
	struct flow_log *saved = map_remove(&f->saved_logs, l->source);

	if (!saved)
		return false;
	l->events = saved->events;
	l->count = saved->count;
	l->capacity = saved->capacity;
	l->position = saved->position;
	f->line_count += l->count;
	free(saved);
	return true;
}

void flows_forget_saved(struct flows *f)
{
	struct flow_log *l;
	struct counted *c;
	struct window *w;

	for (size_t i = 0; map_next(&f->saved_windows, &i, &w);) {
		for (size_t k = 0; map_next(&w->flows, &k, &c);)
			free(c);
		map_done(&w->flows);
		free(w);
	}
	for (size_t i = 0; map_next(&f->saved_logs, &i, &l);) {
		for (size_t k = 0; k < l->count; k++)
			free(l->events[k].message);
		free(l->events);
		free(l);
	}
	map_done(&f->saved_windows);
	map_done(&f->saved_logs);
	f->saved_windows = f->saved_logs = (struct map){0};
}
