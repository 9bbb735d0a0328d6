/* base/log.h - one logfmt line for each thing worth telling
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only agent/, scheduler/, keeper/ and cmd/ log, once, where the decision is
 * made; everything below returns an err.  Ids come first, the format string is
 * never broken over lines, lower case, no full stop:
 *
 *   log_warn("task=%s container=%s exit=%d: restarting in %u ms", ...);
 *
 * A line goes to standard error in one write.  On a terminal or a file it
 * begins with the time; under systemd (JOURNAL_STREAM is set) with the
 * priority that the journal reads.
 */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* 'program' stands in each line; static storage.  Lines above 'level' are dropped. */
void log_open(const char *program, enum log_level level);

void log_line(enum log_level level, const char *file, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __FILE__, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __FILE__, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __FILE__, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __FILE__, __VA_ARGS__)
