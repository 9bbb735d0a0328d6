/* cmd/berth_oci/events.c - events: what a container uses, again and again until it ends
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/clock.h"
#include "base/proc.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"

#define DEFAULT_INTERVAL "5s"

/* "5s", "500ms", "1m", "2": seconds. */
static int parse_interval(const char *text, int *ret_ms, struct err *e)
{
	static const struct {
		const char *unit;
		uint32_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
	size_t len = strspn(text, "0123456789");
	char digits[12] = "";
	uint32_t value;

	(void)snprintf(digits, sizeof(digits), "%.*s", (int)len, text);
	for (size_t i = 0; i < ARRAY_COUNT(units); i++)
		if (str_eq(text + len, units[i].unit) && len < sizeof(digits) &&
		    parse_u32(digits, INT32_MAX / units[i].ms, &value) && value) {
			*ret_ms = (int)(value * units[i].ms);
			return 0;
		}
	return err_set(e, EINVAL, "--interval: '%s' is no duration like 5s", text);
}

static int print_event(const char *type, const char *id, json_t *data, struct err *e)
{
	auto_json json_t *doc = json_pack("{s:s,s:s}", "type", type, "id", id);
	auto_free char *text = NULL;

	if (data)
		(void)json_object_set_new(doc, "data", data);
	text = js_dump(doc);
	if (printf("%s\n", text) < 0 || fflush(stdout) < 0)
		return err_sys(e, "write to standard output");
	return 0;
}

static int print_stats(struct runtime *rt, const char *id, struct err *e)
{
	json_t *data = NULL;
	int r = command_outcome(runtime_stats_json(rt, id, &data, e), id, e);

	return r < 0 ? r : print_event("stats", id, data, e);
}

static int follow(struct runtime *rt, const char *id, int interval_ms, int pidfd,
		  struct runtime_oom *oom, struct err *e)
{
	struct pollfd p[] = {{.fd = pidfd, .events = POLLIN}, {.fd = oom->fd, .events = POLLIN}};
	int64_t next = clock_mono_ms();

	for (;;) {
		int64_t now = clock_mono_ms();

		if (now >= next) {
			if (print_stats(rt, id, e) < 0)
				return -e->code;
			next += interval_ms;
			continue;
		}
		if (poll(p, ARRAY_COUNT(p), (int)(next - now)) < 0 && errno != EINTR)
			return err_sys(e, "poll");
		if (p[1].revents && runtime_oom_look(rt, id, oom) &&
		    print_event("oom", id, NULL, e) < 0)
			return -e->code;
		if (p[0].revents)
			return 0;
	}
}

int command_events(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct runtime_oom oom = {.fd = -1};
	auto_close int pidfd = -1;
	const char *id = a->words[0];
	struct runtime_state s;
	int interval_ms = 0, r;

	if (parse_interval(a->interval ? a->interval : DEFAULT_INTERVAL, &interval_ms, e) < 0)
		return -e->code;
	if (a->stats)
		return print_stats(rt, id, e);
	r = command_outcome(runtime_state(rt, id, &s, e), id, e);
	if (r < 0)
		return r;
	pidfd = s.pid ? proc_pidfd_open(s.pid) : -ESRCH;
	runtime_state_done(&s);
	if (pidfd < 0)
		return command_outcome(RUNTIME_STOPPED, id, e);
	r = command_outcome(runtime_oom_watch(rt, id, &oom, e), id, e);
	if (r == 0)
		r = follow(rt, id, interval_ms, pidfd, &oom, e);
	close_fd(&oom.fd);
	return r;
}
