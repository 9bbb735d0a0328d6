/* cmd/berth_oci/show.c - commands that tell something
 * SPDX-License-Identifier: Apache-2.0
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/text.h"
#include "cmd/berth_oci/commands.h"

#define PS_MAX (64 * 1024 * 1024)

static int print_json(const json_t *doc, struct err *e)
{
	if (json_dumpf(doc, stdout, JSON_INDENT(2)) < 0 || printf("\n") < 0 || fflush(stdout) < 0)
		return err_sys(e, "write to standard output");
	return 0;
}

/* --format: "json" or what is there by itself. */
static int wants_json(const char *format, bool *ret, struct err *e)
{
	*ret = str_eq(format, "json");
	if (*ret || !format || str_eq(format, "table"))
		return 0;
	return err_set(e, EINVAL, "--format: '%s' is neither table nor json", format);
}

int command_state(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct runtime_state s;
	int r = command_outcome(runtime_state(rt, a->words[0], &s, e), a->words[0], e);

	if (r == 0) {
		auto_json json_t *doc = runtime_state_json(&s);

		r = print_json(doc, e);
		runtime_state_done(&s);
	}
	return r;
}

/* ---- list ---- */

static void print_ids(const struct runtime_state *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		printf("%s\n", list[i].id);
}

static void print_table(const struct runtime_state *list, size_t count)
{
	int id = 2, bundle = 6;

	for (size_t i = 0; i < count; i++) {
		if ((int)strlen(list[i].id) > id)
			id = (int)strlen(list[i].id);
		if ((int)strlen(list[i].bundle) > bundle)
			bundle = (int)strlen(list[i].bundle);
	}
	printf("%-*s   %-7s   %-8s   %-*s   %-24s   %s\n", id, "ID", "PID", "STATUS", bundle,
	       "BUNDLE", "CREATED", "OWNER");
	for (size_t i = 0; i < count; i++)
		printf("%-*s   %-7d   %-8s   %-*s   %-24s   %s\n", id, list[i].id, (int)list[i].pid,
		       runtime_status_name(list[i].status), bundle, list[i].bundle, list[i].created,
		       list[i].owner ? list[i].owner : "");
}

static int print_list(const struct runtime_state *list, size_t count, struct err *e)
{
	auto_json json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(array, runtime_state_json(&list[i]));
	return print_json(array, e);
}

int command_list(struct runtime *rt, const struct arguments *a, struct err *e)
{
	struct runtime_state *list;
	size_t count;
	bool json;
	int r = 0;

	if (wants_json(a->format, &json, e) < 0 || runtime_list(rt, &list, &count, e) < 0)
		return -e->code;
	if (a->quiet)
		print_ids(list, count);
	else if (json)
		r = print_list(list, count, e);
	else
		print_table(list, count);
	runtime_list_free(list, count);
	return r;
}

/* ---- ps ---- */

static void print_process(pid_t pid)
{
	auto_buf struct buf name = BUF_INIT(256);
	struct err ignored;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	if (fs_read(AT_FDCWD, path, &name, &ignored) == 0)
		printf("%-10d %s", (int)pid, buf_str(&name));
}

/* By the host's ps; it is missed only by who wants something of it. */
static int print_by_ps(struct runtime *rt, const struct arguments *a, bool *ret_missing,
		       struct err *e)
{
	static const char *const usual[] = {"-ef", NULL};
	bool any = a->word_count > 1;
	auto_buf struct buf text = BUF_INIT(PS_MAX);
	int r = runtime_ps(rt, a->words[0], any ? a->words + 1 : (char *const *)(uintptr_t)usual,
			   &text, e);

	*ret_missing = r == -ENOTSUP && !any;
	r = command_outcome(r, a->words[0], e);
	if (r == 0)
		(void)fputs(buf_str(&text), stdout);
	return r;
}

int command_ps(struct runtime *rt, const struct arguments *a, struct err *e)
{
	auto_json json_t *array = json_array();
	auto_free pid_t *pids = NULL;
	bool json, missing = false;
	size_t count;
	int r;

	if (wants_json(a->format, &json, e) < 0)
		return -e->code;
	if (!json) {
		r = print_by_ps(rt, a, &missing, e);
		if (!missing)
			return r;
	}
	r = command_outcome(runtime_pids(rt, a->words[0], &pids, &count, e), a->words[0], e);
	if (r < 0)
		return r;
	if (!json)
		printf("%-10s %s\n", "PID", "CMD");
	for (size_t i = 0; i < count; i++) {
		if (json)
			(void)json_array_append_new(array, json_integer(pids[i]));
		else
			print_process(pids[i]);
	}
	return json ? print_json(array, e) : 0;
}

/* ---- spec, features ---- */

int command_spec(struct runtime *rt, const struct arguments *a, struct err *e)
{
	const char *bundle = a->bundle ? a->bundle : ".";
	auto_close int fd = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_json json_t *doc = runtime_example_config(a->rootless_spec);
	auto_free char *text = json_dumps(doc, JSON_INDENT(8));

	(void)rt;
	if (fd < 0)
		return err_sys(e, "bundle %s", bundle);
	if (faccessat(fd, "config.json", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, EEXIST, "file config.json exists; remove it first");
	return fs_replace(fd, "config.json", text, strlen(text), 0666, FS_QUICK, e);
}

int command_features(struct runtime *rt, const struct arguments *a, struct err *e)
{
	auto_json json_t *doc = runtime_features();

	(void)rt;
	(void)a;
	return print_json(doc, e);
}
