/* base/log.c - one logfmt line for each thing worth telling
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"

#define LOG_LINE_SIZE 2048

static struct {
	const char *program;
	enum log_level level;
	bool journal;
} state = {.program = "berth", .level = LOG_LEVEL_INFO};

static const struct {
	const char *name;
	int priority; /* syslog(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", 3},
	[LOG_LEVEL_WARN] = {"warn", 4},
	[LOG_LEVEL_INFO] = {"info", 6},
	[LOG_LEVEL_DEBUG] = {"debug", 7},
};

void log_open(const char *program, enum log_level level)
{
	state.program = program;
	state.level = level;
	state.journal = getenv("JOURNAL_STREAM") != NULL;
}

/* A message must stay one line, whatever a name from outside contains. */
static void keep_one_line(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 127)
			*s = ' ';
}

void log_line(enum log_level level, const char *file, const char *fmt, ...)
{
	char line[LOG_LINE_SIZE], time[32];
	int saved = errno, len;
	va_list ap;

	if (level > state.level)
		return;

	if (state.journal) {
		len = snprintf(line, sizeof(line), "<%d>%s src=%s ", levels[level].priority,
			       state.program, file);
	} else {
		clock_format_rfc3339(clock_wall_ms(), time);
		len = snprintf(line, sizeof(line), "%s %s level=%s src=%s ", time, state.program,
			       levels[level].name, file);
	}

	va_start(ap, fmt);
	(void)vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, ap);
	va_end(ap);
	keep_one_line(line);
	for (len = 0; line[len]; len++)
		;
	line[len++] = '\n';
	(void)!write(STDERR_FILENO, line, (size_t)len); /* nowhere to tell */
	errno = saved;
}
