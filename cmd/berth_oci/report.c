/* cmd/berth_oci/report.c - errors to where engines look for them
 * SPDX-License-Identifier: Apache-2.0
 */
#include "cmd/berth_oci/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/text.h"

#define LINE_MAX_BYTES 8192

static int log_fd = -1;
static bool as_json;

int report_open(const char *path, const char *format, struct err *e)
{
	as_json = str_eq(format, "json");
	if (!as_json && !str_eq(format, "text"))
		return err_set(e, EINVAL, "--log-format: '%s' is neither text nor json", format);
	if (!path || !path[0])
		return 0;
	log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
	return log_fd < 0 ? err_sys(e, "open log %s", path) : 0;
}

static void put_quoted(struct buf *out, const char *text)
{
	buf_putc(out, '"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			buf_putc(out, '\\');
		buf_putc(out, (unsigned char)*text < ' ' ? ' ' : *text);
	}
	buf_putc(out, '"');
}

static void put_json(struct buf *out, const char *level, const struct err *e, const char *now)
{
	auto_json json_t *doc = json_object();
	auto_free char *text = NULL;

	(void)json_object_set_new(doc, "level", json_string(level));
	/* What a path from outside has put into the message may be no UTF-8. */
	if (json_object_set_new(doc, "msg", json_string(e->msg)) < 0)
		(void)json_object_set_new(doc, "msg", json_string(strerrordesc_np(e->code)));
	(void)json_object_set_new(doc, "time", json_string(now));
	text = js_dump(doc);
	buf_puts(out, text);
}

static void report(const char *level, const struct err *e)
{
	auto_buf struct buf line = BUF_INIT(LINE_MAX_BYTES);
	char now[32];

	(void)fprintf(stderr, "%s\n", e->msg);
	if (log_fd < 0)
		return;
	clock_format_rfc3339(clock_wall_ms(), now);
	if (as_json) {
		put_json(&line, level, e, now);
	} else {
		buf_printf(&line, "time=\"%s\" level=%s msg=", now, level);
		put_quoted(&line, e->msg);
	}
	buf_putc(&line, '\n');
	(void)write_all(log_fd, line.data, line.size); /* nowhere is left to complain */
}

void report_error(const struct err *e)
{
	report("error", e);
}

void report_warning(const struct err *e)
{
	report("warning", e);
}
