/* agent/flow.c - flow logs of tasks in network mode awsvpc
 * SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation
 *
 * net/ tells what passed an interface and what was refused there; here it is
 * added up, by interface, for a minute or for ten, and becomes records in the
 * format of the flow log, by default that of version 2 ("Flow log records" of the
 * VPC User Guide), lines of the log stream ENI-all of its group.  Nothing of net/ is open, and
 * no timer runs, when no flow log covers a task of this host.
 *
 * 1. What could not be told is said: a window in which something was lost has a
 *    record SKIPDATA.  Lost are: what the kernel had to drop, what is over the
 *    limits below, and what happened while no agent ran or since it last wrote its file.
 * 2. A line's position is its window's end and its place there, so positions
 *    grow over restarts too, and the server takes a line that is sent twice once.
 *    An agent that ends in peace, or is killed, goes on with what is in its file.
 * 3. An interface whose task has ended stays until its connections have been
 *    told and its lines are acknowledged.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/flow_internal.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#define FLOWS_MAX      65536  /* that are being added up, of all interfaces */
#define LINES_MAX      131072 /* that wait for the server */
#define BATCH_LINES    2000
#define ENDING_MS      2000 /* until connections of an ended task are forgotten, and told */
#define TICK_MS        60000
#define LINE_BYTES_MAX 65536 /* the longest format (2 KiB) of the longest fields has room */
#define POSITION_SHIFT 20    /* lines of one window: more than FLOWS_MAX */

/* Behind version, account and interface. */
#define DEFAULT_FIELDS                                                                          \
	"${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} " \
	"${end} ${action} ${log-status}"

static const int64_t intervals_s[FLOW_WINDOWS] = {60, 600};

/* ---- lines ---- */

static void send_lines(struct flows *f, struct flow_log *l)
{
	struct ecs_node_log log = {
		.source = l->source, .group = l->group, .stream = l->stream, .create_group = true};
	size_t n = 0, bytes = 0;

	if (l->in_flight || !l->count)
		return;
	while (n < l->count && n < BATCH_LINES && bytes < ECS_NODE_LOG_BATCH)
		bytes += strlen(l->events[n++].message);
	log.events = (struct js_list){.items = l->events, .count = n};
	log.position = l->events[n - 1].position;
	if (channel_send(f->agent->channel, ECS_NODE_LOG, &log))
		l->in_flight = n;
}

static void drop_lines(struct flows *f, struct flow_log *l, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(l->events[i].message);
	l->count -= n;
	f->line_count -= n;
	if (l->count)
		memmove(l->events, l->events + n, l->count * sizeof(*l->events));
}

/* False: there are too many. */
static bool add_line(struct flows *f, struct flow_log *l, int64_t now_ms, char *own_line)
{
	int64_t position = now_ms << POSITION_SHIFT;

	if (f->line_count >= LINES_MAX) {
		free(own_line);
		return false;
	}
	l->position = position > l->position ? position : l->position + 1;
	l->events = xgrow(l->events, l->count, &l->capacity, sizeof(*l->events));
	l->events[l->count++] = (struct ecs_log_event){
		.timestamp = now_ms, .position = l->position, .message = own_line};
	f->line_count++;
	return true;
}

/* ---- windows ---- */

static void clear_window(struct flows *f, struct window *w, int64_t now_ms)
{
	struct counted *c;

	for (size_t i = 0; map_next(&w->flows, &i, &c);) {
		free(c);
		f->flow_count--;
	}
	map_done(&w->flows);
	*w = (struct window){.start_ms = now_ms};
}

/* What a line is made of. */
struct line {
	const struct flow_interface *n;
	const struct counted *c; /* NULL: it is of no flow */
	const char *status;
	int64_t start_ms, end_ms;
};

/* "srcaddr dstaddr srcport dstport protocol" */
static void put_word(struct buf *b, const char *text, size_t index)
{
	while (index--)
		text += strcspn(text, " ") + 1;
	buf_printf(b, "%.*s", (int)strcspn(text, " "), text);
}

static bool is_to(const struct counted *c, const struct flow_interface *n)
{
	const char *to = strchr(c->text, ' ') + 1;
	const size_t len = strcspn(to, " ");

	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (strlen(n->address[v6]) == len && strncmp(n->address[v6], to, len) == 0)
			return true;
	return false;
}

/* Of a flow: all but its words. */
static void put_counted(struct buf *b, const struct line *l, const char *name)
{
	if (strcmp(name, "packets") == 0)
		buf_printf(b, "%llu", (unsigned long long)l->c->packets);
	else if (strcmp(name, "bytes") == 0)
		buf_printf(b, "%llu", (unsigned long long)l->c->bytes);
	else if (strcmp(name, "action") == 0)
		buf_puts(b, l->c->accepted ? "ACCEPT" : "REJECT");
	else if (strcmp(name, "type") == 0)
		buf_puts(b, strchr(l->c->text, ':') ? "IPv6" : "IPv4");
	else if (strcmp(name, "flow-direction") == 0)
		buf_puts(b, is_to(l->c, l->n) ? "ingress" : "egress");
	else
		buf_puts(b, "-");
}

static void put_field(struct buf *b, const struct line *l, const char *name)
{
	static const char *const words[] = {"srcaddr", "dstaddr", "srcport", "dstport", "protocol"};

	if (strcmp(name, "start") == 0)
		buf_printf(b, "%lld", (long long)l->start_ms / 1000);
	else if (strcmp(name, "end") == 0)
		buf_printf(b, "%lld", (long long)l->end_ms / 1000);
	else if (strcmp(name, "log-status") == 0)
		buf_puts(b, l->status);
	else if (!l->c)
		buf_puts(b, "-");
	else {
		for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
			if (strcmp(name, words[i]) == 0) {
				put_word(b, l->c->text, i);
				return;
			}
		}
		put_counted(b, l, name);
	}
}

/* "${name}" becomes the field, all else stays. */
static char *format_line(const char *format, const struct line *l)
{
	auto_buf struct buf b = BUF_INIT(LINE_BYTES_MAX);

	while (*format) {
		const size_t len = strncmp(format, "${", 2) == 0 ? strcspn(format, "}") : 0;
		auto_free char *name = len ? xstrndup(format + 2, len - 2) : NULL;

		if (name && format[len]) {
			put_field(&b, l, name);
			format += len + 1;
		} else {
			buf_putc(&b, *format++);
		}
	}
	return xstrdup(buf_str(&b));
}

static bool add_flow_line(struct flows *f, struct flow_log *l, const struct flow_interface *n,
			  const struct counted *c, const char *format, int64_t now_ms)
{
	struct line line = {.n = n,
			    .c = c,
			    .status = "OK",
			    .start_ms = n->windows[l->window].start_ms,
			    .end_ms = c->last_ms};

	if (c->first_ms > line.start_ms)
		line.start_ms = c->first_ms;
	return add_line(f, l, now_ms, format_line(format, &line));
}

static bool add_status_line(struct flows *f, struct flow_log *l, const struct flow_interface *n,
			    const char *status, const char *format, int64_t now_ms)
{
	const struct line line = {.n = n,
				  .status = status,
				  .start_ms = n->windows[l->window].start_ms,
				  .end_ms = now_ms};

	return add_line(f, l, now_ms, format_line(format, &line));
}

/* False: not all of it has room. */
static bool add_window(struct flows *f, struct flow_log *l, const struct flow_interface *n,
		       const char *account, int64_t now_ms)
{
	const struct window *w = &n->windows[l->window];
	auto_free char *usual = xasprintf("2 %s %s " DEFAULT_FIELDS, account, n->id);
	const char *format = l->format ? l->format : usual;
	bool complete = true, any = false;
	struct counted *c;

	for (size_t i = 0; map_next(&w->flows, &i, &c);) {
		if (!(c->accepted ? l->accepted : l->rejected))
			continue;
		any = true;
		complete &= add_flow_line(f, l, n, c, format, now_ms);
	}
	if (!any && !w->lost)
		complete &= add_status_line(f, l, n, "NODATA", format, now_ms);
	if (w->lost)
		complete &= add_status_line(f, l, n, "SKIPDATA", format, now_ms);
	return complete;
}

static void deliver(struct flows *f, struct flow_interface *n, size_t window, int64_t now_ms)
{
	auto_free char *account = records_get_meta(f->agent->records, "account");
	bool complete = true;

	for (struct flow_log *l = n->logs; l; l = l->next) {
		if (l->window != window)
			continue;
		complete &= add_window(f, l, n, account ? account : "-", now_ms);
		send_lines(f, l);
	}
	clear_window(f, &n->windows[window], now_ms);
	n->windows[window].lost = !complete;
}

/* ---- what net/ tells ---- */

static bool is_logged(void *ctx, const struct ip_prefix *address)
{
	const struct flows *f = ctx;
	char text[IP_TEXT_MAX];

	ip_address_format(address, text);
	return map_find(&f->addresses, text) != NULL;
}

static void count(struct flows *f, struct window *w, const char *key, const struct net_flow *flow)
{
	struct counted *c = map_find(&w->flows, key);

	if (!c && f->flow_count >= FLOWS_MAX) {
		w->lost = true;
		return;
	}
	if (!c) {
		c = xcalloc(1, sizeof(*c) + strlen(key));
		memcpy(c->text, key + 1, strlen(key));
		c->accepted = flow->accepted;
		c->first_ms = flow->first_ms;
		f->flow_count++;
		(void)map_put(&w->flows, key, c);
	}
	c->packets += flow->packets;
	c->bytes += flow->bytes;
	if (flow->first_ms < c->first_ms)
		c->first_ms = flow->first_ms;
	if (flow->last_ms > c->last_ms)
		c->last_ms = flow->last_ms;
}

static bool has_log(const struct flow_interface *n, size_t window)
{
	for (const struct flow_log *l = n->logs; l; l = l->next)
		if (l->window == window)
			return true;
	return false;
}

static void on_flow(void *ctx, const struct net_flow *flow)
{
	struct flows *f = ctx;
	char at[IP_TEXT_MAX], source[IP_TEXT_MAX], destination[IP_TEXT_MAX];
	char key[2 * IP_TEXT_MAX + 32];
	struct flow_interface *n;

	ip_address_format(&flow->at, at);
	n = map_find(&f->addresses, at);
	if (!n)
		return;
	ip_address_format(&flow->source, source);
	ip_address_format(&flow->destination, destination);
	(void)snprintf(key, sizeof(key), "%c%s %s %u %u %u", flow->accepted ? 'A' : 'R', source,
		       destination, flow->source_port, flow->destination_port, flow->protocol);
	for (size_t i = 0; i < ARRAY_COUNT(intervals_s); i++)
		if (has_log(n, i))
			count(f, &n->windows[i], key, flow);
}

static void on_loss(void *ctx)
{
	struct flows *f = ctx;
	struct flow_interface *n;

	for (size_t i = 0; map_next(&f->interfaces, &i, &n);)
		for (size_t w = 0; w < ARRAY_COUNT(intervals_s); w++)
			n->windows[w].lost = true;
}

static void on_readable(void *ctx, int events)
{
	struct flows *f = ctx;
	struct err e = {0};

	(void)events;
	if (net_flows_read(f->net, &e) < 0) {
		log_error("flow logs: %s", e.msg);
		on_loss(f);
	}
}

static void on_sampled(void *ctx);

/* ---- open and closed ---- */

static void open_net(struct flows *f)
{
	const struct net_flow_options o = {is_logged, on_flow, on_loss, on_sampled, f};
	struct err e = {0};

	if (net_flows_open(f->agent->net, &o, &f->net, &e) < 0 ||
	    loop_watch(f->agent->loop, net_flows_fd(f->net), LOOP_READ, on_readable, f, &f->watch,
		       &e) < 0) {
		log_error("%s", e.msg);
		net_flows_close(take_ptr(f->net));
		on_loss(f);
	}
}

static void close_net(struct flows *f)
{
	struct err e = {0};

	loop_timer_stop(f->tick);
	loop_unwatch(take_ptr(f->watch));
	if (f->net && net_flows_end(take_ptr(f->net), &e) < 0)
		log_error("flow logs: %s", e.msg);
}

static void wait_for_tick(struct flows *f)
{
	loop_timer_set(f->tick, TICK_MS - clock_wall_ms() % TICK_MS);
}

/* Each address that is logged; malloc'ed. */
static struct ip_prefix *list_addresses(const struct flows *f, size_t *ret_count)
{
	struct ip_prefix *list = xcalloc(f->addresses.count + 1, sizeof(*list));
	struct flow_interface *n;

	*ret_count = 0;
	for (size_t i = 0; map_next(&f->interfaces, &i, &n);)
		for (int v6 = 0; v6 < NET_FAMILIES; v6++)
			if (map_find(&f->addresses, n->address[v6]) == n &&
			    ip_address_parse(n->address[v6], &list[*ret_count]))
				(*ret_count)++;
	return list;
}

/* When all that was seen until now is counted, on_sampled() goes on, perhaps at once. */
static void sample(struct flows *f)
{
	auto_free struct ip_prefix *addresses = NULL;
	struct err e = {0};
	size_t count;

	if (!f->net) {
		open_net(f);
		on_loss(f);
		on_sampled(f);
		return;
	}
	on_readable(f, LOOP_READ);
	if (!f->net) /* a sample was over, and nothing is logged any more */
		return;
	addresses = list_addresses(f, &count);
	if (net_flows_sample(f->net, addresses, count, &e) < 0) {
		log_error("flow logs: %s", e.msg);
		on_loss(f);
		on_sampled(f);
	}
}

/* ---- interfaces ---- */

static void free_log(struct flows *f, struct flow_log *own_l)
{
	(void)map_remove(&f->logs, own_l->source);
	drop_lines(f, own_l, own_l->count);
	free(own_l->events);
	free(own_l->source);
	free(own_l->group);
	free(own_l->stream);
	free(own_l->format);
	free(own_l);
}

static void forget_addresses(struct flows *f, const struct flow_interface *n)
{
	for (int v6 = 0; v6 < NET_FAMILIES; v6++)
		if (map_find(&f->addresses, n->address[v6]) == n)
			(void)map_remove(&f->addresses, n->address[v6]);
}

static void free_interface(struct flows *f, struct flow_interface *own_n)
{
	struct flow_log *l;

	forget_addresses(f, own_n);
	while ((l = own_n->logs)) {
		own_n->logs = l->next;
		free_log(f, l);
	}
	for (size_t i = 0; i < ARRAY_COUNT(intervals_s); i++)
		clear_window(f, &own_n->windows[i], 0);
	(void)map_remove(&f->interfaces, own_n->id);
	free(own_n->id);
	free(own_n);
	if (!f->interfaces.count)
		close_net(f);
}

/* Everything of an interface that is over has been taken, or never will be. */
static void free_if_over(struct flows *f, struct flow_interface *n)
{
	for (const struct flow_log *l = n->logs; l; l = l->next)
		if (l->count)
			return;
	if (n->over || !n->logs)
		free_interface(f, n);
}

static void end_minute(struct flows *f, int64_t now_ms)
{
	struct flow_interface *n;

	for (size_t i = 0; map_next(&f->interfaces, &i, &n);) {
		for (size_t w = 0; w < ARRAY_COUNT(intervals_s); w++) {
			int64_t length_ms = intervals_s[w] * 1000;

			if (now_ms / length_ms > n->windows[w].start_ms / length_ms && !n->over)
				deliver(f, n, w, now_ms);
		}
		for (struct flow_log *l = n->logs; l; l = l->next)
			send_lines(f, l); /* what was refused, once more */
	}
	flows_forget_saved(f);
	flows_save(f);
}

static void end_tasks(struct flows *f, int64_t now_ms)
{
	struct flow_interface *n;

	for (size_t i = 0; map_next(&f->interfaces, &i, &n);) {
		if (!n->ending || n->over)
			continue;
		for (size_t w = 0; w < ARRAY_COUNT(intervals_s); w++)
			if (has_log(n, w))
				deliver(f, n, w, now_ms);
		n->over = true;
		forget_addresses(f, n);
		free_if_over(f, n);
	}
}

static void on_sampled(void *ctx)
{
	struct flows *f = ctx;
	int64_t now_ms = clock_wall_ms();

	if (f->minute_ended)
		end_minute(f, now_ms);
	if (f->tasks_ended)
		end_tasks(f, now_ms);
	f->minute_ended = f->tasks_ended = false;
}

static void on_tick(void *ctx)
{
	struct flows *f = ctx;

	f->minute_ended = true;
	sample(f);
	wait_for_tick(f);
}

static void on_end(void *ctx)
{
	struct flows *f = ctx;

	f->tasks_ended = true;
	sample(f);
}

static struct flow_interface *interface_of(struct flows *f, const struct ecs_node_interface *i)
{
	struct flow_interface *n = map_find(&f->interfaces, i->interface_id);
	const char *const addresses[NET_FAMILIES] = {i->address, i->address6};
	int64_t now_ms = clock_wall_ms();

	if (n)
		return n;
	n = xcalloc(1, sizeof(*n));
	n->id = xstrdup(i->interface_id);
	for (size_t w = 0; w < ARRAY_COUNT(intervals_s); w++)
		n->windows[w].start_ms = now_ms;
	(void)map_put(&f->interfaces, n->id, n);
	for (int v6 = 0; v6 < NET_FAMILIES; v6++) {
		struct ip_prefix a;

		if (!addresses[v6] || !ip_address_parse(addresses[v6], &a))
			continue;
		ip_address_format(&a, n->address[v6]);
		(void)map_put(&f->addresses, n->address[v6], n);
	}
	net_shortcut_forget(f->agent->net); /* its packets are counted from now on */
	if (!f->net)
		open_net(f);
	if (!loop_timer_is_set(f->tick))
		wait_for_tick(f);
	return n;
}

static void want_log(struct flows *f, struct flow_interface *n, const struct ecs_node_flow_log *w)
{
	auto_free char *source = xasprintf("flow/%s/%s", w->flow_log_id, n->id);
	struct flow_log *l = map_find(&f->logs, source);

	if (!l) {
		l = xcalloc(1, sizeof(*l));
		l->source = xstrdup(source);
		l->group = xstrdup(w->group);
		l->stream = xasprintf("%s-all", n->id);
		l->format = w->format ? xstrdup(w->format) : NULL;
		l->accepted = !str_eq(w->traffic, "REJECT");
		l->rejected = !str_eq(w->traffic, "ACCEPT");
		l->window = w->interval_s > intervals_s[0];
		if (!has_log(n, l->window))
			clear_window(f, &n->windows[l->window], clock_wall_ms());
		if (flows_take_lines(f, l))
			send_lines(f, l);
		l->next = n->logs;
		n->logs = l;
		(void)map_put(&f->logs, source, l);
	}
	l->wanted = true;
}

static void drop_unwanted(struct flows *f, struct flow_interface *n)
{
	for (struct flow_log **p = &n->logs, *l; (l = *p);) {
		if (l->wanted) {
			l->wanted = false;
			p = &l->next;
			continue;
		}
		*p = l->next;
		free_log(f, l);
	}
}

void flows_take(struct task *t, bool resumed)
{
	const struct ecs_node_interface *i = t->wanted.network_interface;
	struct flows *f = t->agent->flows;
	struct flow_interface *n = i ? map_find(&f->interfaces, i->interface_id) : NULL;

	if (!i || t->cleaning || task_is_over(t) || (!n && !i->flow_logs.count))
		return;
	n = interface_of(f, i);
	for (size_t k = 0; k < i->flow_logs.count; k++)
		want_log(f, n, JS_AT(i->flow_logs, struct ecs_node_flow_log, k));
	drop_unwanted(f, n);
	for (size_t w = 0; resumed && w < ARRAY_COUNT(intervals_s); w++) {
		(void)flows_take_window(f, n, w);
		n->windows[w].lost = true; /* nobody listened for a while */
	}
	free_if_over(f, n);
}

/* ---- what the server says ---- */

static bool same_logs(const struct js_list *a, const struct js_list *b)
{
	for (size_t i = 0; a->count == b->count && i < a->count; i++)
		if (!str_eq(JS_AT(*a, struct ecs_node_flow_log, i)->flow_log_id,
			    JS_AT(*b, struct ecs_node_flow_log, i)->flow_log_id))
			return false;
	return a->count == b->count; /* a flow log never changes */
}

void flows_change(struct task *t, const struct ecs_node_interface *now)
{
	struct ecs_node_interface *i = t->wanted.network_interface;
	auto_json json_t *doc = NULL;
	struct ecs_node_interface copy;
	struct err e;

	if (!i || !now || same_logs(&i->flow_logs, &now->flow_logs))
		return;
	/* A copy that lives as long as the task. */
	doc = js_encode(&ecs_node_interface_shape, now);
	if (js_decode(doc, &ecs_node_interface_shape, &t->arena, &copy, &e) < 0)
		return;
	i->flow_logs = copy.flow_logs;
	task_keep(t);
	flows_take(t, false);
}

static struct flow_interface *owner_of(struct flows *f, const struct flow_log *log)
{
	struct flow_interface *n;

	for (size_t i = 0; map_next(&f->interfaces, &i, &n);)
		for (const struct flow_log *l = n->logs; l; l = l->next)
			if (l == log)
				return n;
	return NULL;
}

void flows_on_ack(struct flows *f, const struct ecs_node_log_ack *ack)
{
	struct flow_log *l = map_find(&f->logs, ack->source);
	struct flow_interface *n;
	size_t done;

	if (!l || !l->in_flight || ack->position != l->events[l->in_flight - 1].position)
		return;
	n = owner_of(f, l);
	done = l->in_flight;
	l->in_flight = 0;
	if (ack->error)
		log_warn("interface=%s: flow log records are %s: %s", n->id,
			 n->over ? "lost" : "kept and tried again", ack->error);
	if (!ack->error || n->over)
		drop_lines(f, l, done);
	if (!ack->error || n->over)
		send_lines(f, l);
	free_if_over(f, n);
}

void flows_resume(struct flows *f)
{
	struct flow_log *l;

	for (size_t i = 0; map_next(&f->logs, &i, &l);) {
		l->in_flight = 0;
		send_lines(f, l);
	}
}

void flows_end(struct task *t)
{
	const struct ecs_node_interface *i = t->wanted.network_interface;
	struct flows *f = t->agent->flows;
	struct flow_interface *n = i ? map_find(&f->interfaces, i->interface_id) : NULL;

	if (!n || n->ending)
		return;
	n->ending = true;
	if (!loop_timer_is_set(f->end))
		loop_timer_set(f->end, ENDING_MS);
}

/* ---- life ---- */

struct flows *flows_new(struct agent *a)
{
	struct flows *f = xcalloc(1, sizeof(*f));

	f->agent = a;
	f->tick = loop_timer_new(a->loop, on_tick, f);
	f->end = loop_timer_new(a->loop, on_end, f);
	flows_load(f);
	return f;
}

/* The kernel goes on counting: tasks go on, and another agent comes. */
void flows_free(struct flows *f)
{
	struct flow_interface *n;

	if (!f)
		return;
	if (f->net) {
		sample(f);
		(void)net_flows_wait(f->net, &(struct err){0}); /* what it did not see is lost */
	}
	flows_save(f);
	flows_forget_saved(f);
	loop_unwatch(take_ptr(f->watch));
	net_flows_close(take_ptr(f->net));
	for (size_t i = 0; map_next(&f->interfaces, &i, &n);)
		free_interface(f, n);
	loop_timer_free(f->tick);
	loop_timer_free(f->end);
	map_done(&f->interfaces);
	map_done(&f->addresses);
	map_done(&f->logs);
	free(f);
}
