/* runtime/ps.c - the processes of a container, as the host's ps(1) shows them
 * SPDX-License-Identifier: Apache-2.0
 *
 * As runc: ps is asked about all, and the lines of others are left out.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/mem.h"
#include "base/text.h"
#include "runtime/runtime.h"
#include "runtime/tool.h"

#define OUTPUT_MAX (64 * 1024 * 1024)
#define TIMEOUT_MS 30000
#define BLANKS     " \t"

/* The n-th word of a line; "" when it has fewer. */
static const char *word_at(const char *line, size_t n, size_t *ret_len)
{
	line += strspn(line, BLANKS);
	for (; n && *line; n--) {
		line += strcspn(line, BLANKS);
		line += strspn(line, BLANKS);
	}
	*ret_len = strcspn(line, BLANKS);
	return line;
}

static bool find_column(const char *header, size_t *ret)
{
	size_t len = 0;

	for (size_t n = 0;; n++) {
		const char *word = word_at(header, n, &len);

		if (!len)
			return false;
		if (len == 3 && memcmp(word, "PID", 3) == 0) {
			*ret = n;
			return true;
		}
	}
}

static bool is_of(const char *line, size_t column, const pid_t *pids, size_t count)
{
	size_t len;
	const char *word = word_at(line, column, &len);
	pid_t pid = (pid_t)strtol(word, NULL, 10);

	for (size_t i = 0; len && i < count; i++)
		if (pids[i] == pid)
			return true;
	return false;
}

static int select_lines(char *text, const pid_t *pids, size_t count, struct buf *ret, struct err *e)
{
	char *save = NULL, *line = strtok_r(text, "\n", &save);
	size_t column;

	if (!line || !find_column(line, &column))
		return err_set(e, EINVAL, "ps: what it prints has no column PID");
	buf_printf(ret, "%s\n", line);
	while ((line = strtok_r(NULL, "\n", &save)))
		if (is_of(line, column, pids, count))
			buf_printf(ret, "%s\n", line);
	return 0;
}

static char **ps_words(struct arena *a, char *const *words)
{
	size_t count = 0;
	char **argv;

	while (words[count])
		count++;
	argv = arena_alloc(a, (count + 2) * sizeof(*argv));
	argv[0] = arena_strdup(a, "ps");
	for (size_t i = 0; i < count; i++)
		argv[i + 1] = words[i];
	return argv;
}

int runtime_ps(struct runtime *rt, const char *id, char *const *words, struct buf *ret,
	       struct err *e)
{
	auto_buf struct buf text = BUF_INIT(OUTPUT_MAX);
	auto_arena struct arena a = {0};
	auto_free pid_t *pids = NULL;
	size_t count;
	int r;

	assert(rt && id && words);

	r = runtime_pids(rt, id, &pids, &count, e);
	if (r != 0)
		return r;
	if (tool_read(ps_words(&a, words), TIMEOUT_MS, "list processes", &text, e) < 0)
		return -e->code;
	return select_lines(text.data, pids, count, ret, e);
}
