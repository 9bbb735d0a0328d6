/* tests/bench/durable.c - how long many tasks take until all of them are placed and on disk
 * SPDX-License-Identifier: Apache-2.0
 *
 *   durable NODES TASKS CALLS
 *
 * RunTask with ten tasks each, CALLS of them under way at once: the core, and the writer
 * with its groups and full syncs, as the server has them; no requests and no channels.
 * Prints tasks a second of wall clock, and of each task the microseconds of CPU time, of
 * the loop's alone, and the bytes that were written.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/store.h"
#include "scheduler/writer.h"
#include "tests/bench/bench.h"

#define BEGIN_MS 1700000000000LL

static struct core *core;
static int64_t now_ms = BEGIN_MS;
static struct store *store;
static struct writer *writer;
static struct loop *loop;
static size_t under_way, enough; /* commits; with how many of them the caller goes on */

struct commit {
	struct writer_job job; /* first */
	struct core_effects fx;
};

static void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static int write_effects(struct writer_job *job, struct db *db, struct err *e)
{
	return store_write(db, &((struct commit *)job)->fx, e);
}

static void on_written(struct writer_job *job, const struct err *failed)
{
	struct commit *c = (struct commit *)job;

	if (failed)
		die("commit", failed->msg);
	store_settle(store, &c->fx);
	core_effects_done(&c->fx);
	free(c);
	if (--under_way == enough)
		loop_stop(loop);
}

static void commit(void)
{
	struct commit *c = xcalloc(1, sizeof(*c));

	c->job.run = write_effects;
	c->job.done = on_written;
	core_take_effects(core, &c->fx);
	store_expect(store, &c->fx);
	writer_submit(writer, &c->job);
	under_way++;
}

static void call(const char *operation, const char *text)
{
	auto_json json_t *request = json_loads(text, 0, NULL);
	struct ecs_fault f;
	auto_free char *reply = core_call_text(core, operation, request, now_ms, &f);

	if (!reply || (strstr(reply, "\"failures\":") && !strstr(reply, "\"failures\":[]")))
		die(operation, reply ? "no place" : f.message);
	commit();
}

static void add_node(unsigned number)
{
	struct err e = {0};

	if (say_hello(core, number, now_ms, &e) < 0)
		die("node", e.msg);
	commit();
}

static char *fetch(void *ctx, const char *key)
{
	struct err e;
	char *text = store_fetch(store, key, &e);

	(void)ctx;
	if (!text)
		die(key, e.msg);
	return text;
}

static void wait_for(size_t most)
{
	enough = most;
	if (under_way > most)
		loop_run(loop);
}

static double micros(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double bytes_written(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)usage.ru_oublock * 512;
}

static void measure(unsigned nodes, unsigned tasks, unsigned calls)
{
	double begun, cpu, loop_cpu, bytes;

	for (unsigned i = 0; i < nodes; i++) {
		add_node(i);
		wait_for(calls);
	}
	call("RegisterTaskDefinition",
	     "{\"family\":\"w\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":10,"
	     "\"memory\":10,\"essential\":true}]}");
	wait_for(0);
	begun = micros(CLOCK_MONOTONIC);
	cpu = micros(CLOCK_PROCESS_CPUTIME_ID);
	loop_cpu = micros(CLOCK_THREAD_CPUTIME_ID);
	bytes = bytes_written();
	for (unsigned i = 0; i < tasks / 10; i++) {
		now_ms += i % 4 == 0; /* as if it were as fast as it should be */
		call("RunTask", "{\"taskDefinition\":\"w\",\"count\":10}");
		wait_for(calls - 1);
	}
	wait_for(0);
	(void)printf("%.0f %.1f %.1f %.0f\n", tasks / (micros(CLOCK_MONOTONIC) - begun) * 1e6,
		     (micros(CLOCK_PROCESS_CPUTIME_ID) - cpu) / tasks,
		     (micros(CLOCK_THREAD_CPUTIME_ID) - loop_cpu) / tasks,
		     (bytes_written() - bytes) / tasks);
}

int main(int argc, char **argv)
{
	struct core_options o = {.identity = {.region = "us-east-1", .account = "123456789012"},
				 .seed = {1, 2, 3, 4},
				 .vpc_cidr = "172.31.0.0/16",
				 .stopped_keep_ms = 3600000,
				 .stopped_keep_max = 1000,
				 .fetch = fetch,
				 .open_max = 100};
	char dir[] = "berth-bench-XXXXXX";
	auto_free char *path = NULL;
	uint32_t nodes, tasks, calls;
	struct err e;

	if (argc != 4 || !parse_u32(argv[1], 1000000, &nodes) ||
	    !parse_u32(argv[2], 10000000, &tasks) || !parse_u32(argv[3], 10000, &calls) || !tasks ||
	    !calls) {
		(void)fputs("durable NODES TASKS CALLS\n", stderr);
		return 2;
	}
	if (!mkdtemp(dir))
		die(dir, strerror(errno));
	path = xasprintf("%s/state.db", dir);
	loop = loop_new();
	core = core_new(&o);
	if (store_open(path, &store, &e) < 0 ||
	    writer_start(loop, path, STATE_VERSION, store_schema, WRITER_ALL, &writer, &e) < 0)
		die(path, e.msg);
	core_loaded(core, now_ms);
	measure(nodes, tasks, calls);
	writer_stop(writer);
	store_close(store);
	core_free(core);
	loop_free(loop);
	(void)fs_remove_tree(AT_FDCWD, dir, &e);
	return 0;
}
