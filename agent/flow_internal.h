/* agent/flow_internal.h - what flow logs add up, for flow.c and flow_file.c
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include "agent/internal.h"

#define FLOW_WINDOWS 2 /* of a minute, of ten */

struct counted {
	uint64_t packets, bytes;
	int64_t first_ms, last_ms;
	bool accepted;
	char text[]; /* "srcaddr dstaddr srcport dstport protocol" */
};

struct window {
	int64_t start_ms;
	struct map flows; /* counted, by action and text */
	bool lost;
};

/* One flow log of one interface: a log stream. */
struct flow_log {
	struct flow_log *next;
	char *source, *group, *stream, *format; /* NULL: the default one */
	size_t window;                          /* which */
	bool accepted, rejected;
	struct ecs_log_event *events; /* that wait; messages are ours */
	size_t count, capacity, in_flight;
	int64_t position; /* of the last line */
	bool wanted;
};

struct flow_interface {
	char *id;
	char address[NET_FAMILIES][IP_TEXT_MAX];
	struct window windows[FLOW_WINDOWS];
	struct flow_log *logs;
	bool ending, over; /* its task has ended; and all was told */
};

struct flows {
	struct agent *agent;
	struct net_flows *net; /* NULL: not open */
	struct loop_fd *watch;
	struct loop_timer *tick, *end;
	struct map interfaces, addresses, logs; /* by id, address, source */
	size_t flow_count, line_count;
	bool minute_ended, tasks_ended; /* what waits for a sample */
	/* Of the file, until they are asked for: windows by "INTERFACE N", flow logs by source. */
	struct map saved_windows, saved_logs;
};

/*
 * Windows that are open, and lines that wait for the server, are in a file: an agent that
 * comes again goes on with them.  Written each minute and at the end, so who is killed
 * loses what he heard since; that was at most FLOWS_MAX flows of a hundred bytes.
 */
void flows_save(struct flows *f);
void flows_load(struct flows *f);
/* What the file had: false, nothing. */
bool flows_take_window(struct flows *f, struct flow_interface *n, size_t window);
bool flows_take_lines(struct flows *f, struct flow_log *l);
/* What nobody asked for. */
void flows_forget_saved(struct flows *f);
