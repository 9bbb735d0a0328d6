/* tests/sim/main.c - seeds
 * SPDX-License-Identifier: Apache-2.0
 *
 *   sim [SEEDS]    SEED=N: only this one; NODES=N MINUTES=N DISK=0 or 1; TRACE=1: all that happens
 *                  LIES=1: disks say that they have synced, and have not; seeds with one fail
 *
 * Each seed has a process of its own; as many run as there are processors.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define LARGE_EACH 40
#define LARGE_AT   13
#define DISK_EACH  4
#define SAME_EACH  11              /* of seeds one is run twice */
#define SETTLE_MS  (2 * 3600000LL) /* after the last fault: until each task has ended */

static unsigned number(const char *name, unsigned otherwise)
{
	const char *value = getenv(name);

	return value ? (unsigned)strtoul(value, NULL, 10) : otherwise;
}

static double seconds_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct totals {
	uint64_t events, runs, crashes, given_up;
	double node_hours;
};

static uint64_t run(const struct world_options *o, struct totals *t)
{
	uint64_t hash;

	world_begin(o);
	check_begin();
	durable_begin();
	shell_begin();
	nodes_begin(o->nodes);
	callers_begin();
	while (world_now_ms() < world_faults_end_ms() + SETTLE_MS && world_step())
		;
	nodes_check_settled();
	callers_check_settled();
	hash = world_hash();
	t->events += world_events();
	t->runs += callers_runs();
	t->crashes += shell_crashes();
	t->given_up += check_given_up();
	t->node_hours += o->nodes * ((double)o->minutes / 60 + (double)SETTLE_MS / 3600000);
	callers_end();
	shell_end();
	durable_end();
	nodes_end();
	check_end();
	world_end();
	return hash;
}

/* Of some thousand nodes, for as many minutes. */
static const struct {
	unsigned nodes, minutes;
	bool over_disk;
} large[] = {{3000, 10, false}, {1000, 30, true}, {5000, 6, false}, {2000, 15, false}};

/*
 * Small and large clusters, short and long.  One of LARGE_EACH is a large one; of the others
 * one of DISK_EACH has the server's store over a disk.
 */
static struct world_options options_of(uint64_t seed)
{
	static const unsigned sizes[] = {1, 2, 3, 5, 10, 30, 100}, densities[] = {4, 1, 1};
	const size_t turn = seed / LARGE_EACH % ARRAY_COUNT(large);
	const bool is_large = seed % LARGE_EACH == LARGE_AT;

	return (struct world_options){
		.seed = seed,
		.nodes = number("NODES",
				is_large ? large[turn].nodes : sizes[seed % ARRAY_COUNT(sizes)]),
		.minutes = number("MINUTES", is_large ? large[turn].minutes
						      : 60 + 60 * (unsigned)(seed / 7 % 4)),
		.runs_per_node_hour = densities[seed % ARRAY_COUNT(densities)],
		.lost_minutes = seed % 2 ? 5 : 0,
		.over_disk = number("DISK",
				    is_large ? large[turn].over_disk : seed % DISK_EACH == 0),
		.disk_lies = number("LIES", 0),
		.trace = number("TRACE", 0)};
}

/* Seeds that found something: they are part of each run. */
static const uint64_t kept[] = {52, 87, 114};

/* -1: it is not the same twice. */
static int run_seed(uint64_t seed, struct totals *t)
{
	const struct world_options o = options_of(seed);
	uint64_t hash = run(&o, t);

	/* Now and then the same again: it must be the same to the last line. */
	if (seed % SAME_EACH != 1 || o.trace || run(&o, t) == hash)
		return 0;
	(void)printf("BROKEN: seed %" PRIu64 " is not the same twice\n", seed);
	return -1;
}

/* Those up to 'seeds', then those that were kept and are not among them; 0: that was all. */
static uint64_t seed_at(uint64_t index, uint64_t seeds)
{
	if (index < seeds)
		return index + 1;
	for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
		if (kept[i] > seeds && index-- == seeds)
			return kept[i];
	return 0;
}

/* A process of its own, which writes its totals to the pipe. */
static pid_t start_seed(uint64_t seed, int pipe_fd)
{
	struct totals t = {0};
	pid_t pid = fork();
	int r;

	if (pid)
		return pid;
	r = run_seed(seed, &t);
	(void)fflush(stdout);
	_exit(r < 0 || write(pipe_fd, &t, sizeof(t)) != sizeof(t));
}

static void add(struct totals *t, const struct totals *more)
{
	t->events += more->events;
	t->runs += more->runs;
	t->crashes += more->crashes;
	t->given_up += more->given_up;
	t->node_hours += more->node_hours;
}

/* As many at a time as there are processors; how many failed, or -1. */
static int run_all(uint64_t seeds, struct totals *t)
{
	const long processors = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t index = 0, seed;
	int ends[2], status, failed = 0;
	struct totals one;
	long running = 0;

	if (pipe(ends) < 0)
		return -1;
	for (;;) {
		for (; running < processors && (seed = seed_at(index, seeds)); running++, index++)
			if (start_seed(seed, ends[1]) < 0)
				return -1;
		if (!running)
			return failed;
		if (wait(&status) < 0)
			return -1;
		running--;
		failed += status != 0;
		if (!status && read(ends[0], &one, sizeof(one)) == sizeof(one))
			add(t, &one);
	}
}

int main(int argc, char **argv)
{
	const uint64_t seeds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20;
	const uint64_t only = number("SEED", 0);
	struct totals t = {0};
	double begun = seconds_now(), seconds;
	int failed;

	failed = only ? run_seed(only, &t) : run_all(seeds, &t);
	if (failed) {
		(void)printf("%d seeds failed\n", failed < 0 ? 1 : failed);
		return 1;
	}
	seconds = seconds_now() - begun;
	(void)printf("%" PRIu64 " seeds hold: %.0f node-hours, %" PRIu64 " runs, %" PRIu64
		     " crashes of the server, %" PRIu64 " tasks given up, %" PRIu64
		     " events; %.0f node-hours a second\n",
		     only ? 1 : seeds, t.node_hours, t.runs, t.crashes, t.given_up, t.events,
		     t.node_hours / seconds);
	return 0;
}
