/* tests/bench/restart.c - how long a server takes that has many tasks, and what it has in memory of each
 * SPDX-License-Identifier: Apache-2.0
 *
 *   restart NODES TASKS
 *
 * The store is made by the core and by what writes its effects; then a server is started
 * on it.  Prints seconds until it answers ListTasks, bytes of memory for each task (the
 * whole process), bytes of the store for each, milliseconds of one more ListTasks, and
 * microseconds of DescribeTasks for each of a hundred tasks.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "scheduler/scheduler.h"
#include "scheduler/store.h"
#include "tests/bench/bench.h"

#define BATCH     1000 /* calls a transaction */
#define REPLY_MAX (1 << 20)

static char dir[] = "berth-bench-XXXXXX";

static void die(const char *what)
{
	(void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the store ---- */

static void store(struct core *c, struct db *db)
{
	struct core_effects fx;
	struct err e = {0};

	core_take_effects(c, &fx);
	for (size_t i = 0; i < fx.count;
	     i++) /* the last ones are kept, and nobody reads them at a start */
		if (fx.items[i].kind == CORE_EVENT)
			fx.items[i].kind = CORE_SEND;
	if (store_write(db, &fx, &e) < 0)
		die(e.msg);
	core_effects_done(&fx);
}

static void call(struct core *c, struct db *db, const char *operation, const char *text)
{
	auto_json json_t *request = json_loads(text, 0, NULL), *reply = NULL;
	struct ecs_fault f;

	reply = core_call(c, operation, request, 1700000000000LL, &f);
	if (!reply || json_array_size(json_object_get(reply, "failures")))
		die(reply ? "no place" : f.message);
	store(c, db);
}

static void add_node(struct core *c, struct db *db, unsigned number)
{
	struct err e = {0};

	if (say_hello(c, number, 1700000000000LL, &e) < 0)
		die(e.msg);
	store(c, db);
}

static void make_store(const char *path, unsigned nodes, unsigned tasks)
{
	const struct core_options o = {
		.identity = {.region = "us-east-1", .account = "123456789012"},
		.seed = {1, 2, 3, 4},
		.vpc_cidr = "172.31.0.0/16",
		.stopped_keep_ms = 3600000,
		.stopped_keep_max = 1000};
	struct core *c = core_new(&o);
	struct db *db = NULL;
	struct err e = {0};

	if (db_open(path, DB_NORMAL, STATE_VERSION, store_schema, &db, &e) < 0 ||
	    db_exec(db, "PRAGMA cache_size = -262144; BEGIN", &e) < 0)
		die(e.msg);
	core_loaded(c, 1700000000000LL);
	for (unsigned i = 0; i < nodes; i++)
		add_node(c, db, i);
	call(c, db, "RegisterTaskDefinition",
	     "{\"family\":\"w\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\",\"cpu\":10,"
	     "\"memory\":10,\"essential\":true}]}");
	for (unsigned i = 0; i < tasks / 10; i++) {
		call(c, db, "RunTask", "{\"taskDefinition\":\"w\",\"count\":10}");
		if (i % BATCH == BATCH - 1 && db_exec(db, "COMMIT; BEGIN", &e) < 0)
			die(e.msg);
	}
	if (db_exec(db, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)", &e) < 0)
		die(e.msg);
	db_close(db);
	core_free(c);
}

/* By another process, whose memory is not ours, nor the server's. */
static void have_store_made(const char *path, unsigned nodes, unsigned tasks)
{
	pid_t maker = fork();
	int status = 0;

	if (maker == 0) {
		make_store(path, nodes, tasks);
		_exit(0);
	}
	if (waitpid(maker, &status, 0) != maker || status)
		die("the store is not made");
}

/* ---- the server ---- */

static void run_server(int unix_fd, int ready_fd, pid_t parent)
{
	const struct scheduler_options o = {.tcp_fd = -1,
					    .unix_fd = unix_fd,
					    .node_fd = -1,
					    .node_listen_fd = -1,
					    .ready_fd = ready_fd,
					    .stopped_ms = 3600000,
					    .stopped_max = 1000,
					    .state_dir = dir,
					    .region = "us-east-1",
					    .account = "123456789012",
					    .vpc_cidr = "172.31.0.0/16",
					    .access_key = "bench",
					    .secret_key = "bench"};
	struct err e = {0};

	if (!proc_die_with(parent) || scheduler_run(&o, &e) < 0)
		(void)fprintf(stderr, "server: %s\n", e.msg);
	_exit(0);
}

/* The body of the reply, malloc'ed. */
static char *ask(const struct sockaddr_un *address, const char *operation, const char *body)
{
	auto_free char *request = xasprintf(
		"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		"X-Amz-Target: AmazonEC2ContainerServiceV20141113.%s\r\n"
		"Content-Type: application/x-amz-json-1.1\r\nContent-Length: %zu\r\n\r\n%s",
		operation, strlen(body), body);
	auto_buf struct buf in = BUF_INIT(REPLY_MAX);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char bytes[1 << 16];
	const char *end;
	ssize_t r;

	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    write(fd, request, strlen(request)) < 0)
		die("ask");
	while ((r = read(fd, bytes, sizeof(bytes))) > 0)
		buf_add(&in, bytes, (size_t)r);
	(void)close(fd);
	end = strstr(buf_str(&in), "\r\n\r\n");
	if (!end || !str_starts(buf_str(&in), "HTTP/1.1 200"))
		die(buf_str(&in));
	return xstrdup(end + 4);
}

static void print_reads(const struct sockaddr_un *address)
{
	double begun = now_s(), listed;
	auto_free char *page = ask(address, "ListTasks", "{}"), *body = NULL, *described = NULL;
	auto_json json_t *reply = json_loads(page, 0, NULL), *request = NULL;
	json_t *arns = json_object_get(reply, "taskArns");

	listed = now_s() - begun;
	request = json_pack("{s:O}", "tasks", arns);
	body = js_dump(request);
	begun = now_s();
	described = ask(address, "DescribeTasks", body);
	(void)printf(" %.1f %.0f\n", listed * 1e3,
		     (now_s() - begun) * 1e6 / (double)json_array_size(arns));
}

static double memory_bytes(pid_t pid)
{
	auto_free char *path = xasprintf("/proc/%d/statm", pid);
	FILE *f = fopen(path, "re");
	long pages[2] = {0, 0};

	if (!f || fscanf(f, "%ld %ld", &pages[0], &pages[1]) != 2)
		die(path);
	(void)fclose(f);
	return (double)pages[1] * (double)sysconf(_SC_PAGESIZE);
}

static void measure(const char *path, unsigned tasks)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ready[2];
	pid_t server, parent = getpid();
	auto_free char *first = NULL;
	double begun = now_s(), seconds;
	struct stat st;
	char byte;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", dir);
	if (pipe(ready) < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 16) < 0 || stat(path, &st) < 0)
		die("server");
	server = fork();
	if (server == 0)
		run_server(listener, ready[1], parent);
	(void)close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the server does not start");
	first = ask(&address, "ListTasks", "{}");
	seconds = now_s() - begun;
	(void)printf("%.2f %.0f %.0f", seconds, memory_bytes(server) / tasks,
		     (double)st.st_size / tasks);
	print_reads(&address);
	(void)kill(server, SIGTERM);
	(void)waitpid(server, NULL, 0);
}

int main(int argc, char **argv)
{
	auto_free char *path = NULL;
	uint32_t nodes, tasks;
	struct err e;

	if (argc != 3 || !parse_u32(argv[1], 1000000, &nodes) ||
	    !parse_u32(argv[2], 10000000, &tasks) || !tasks) {
		(void)fputs("restart NODES TASKS\n", stderr);
		return 2;
	}
	if (!mkdtemp(dir))
		die(dir);
	path = xasprintf("%s/state.db", dir);
	have_store_made(path, nodes, tasks);
	measure(path, tasks);
	(void)fs_remove_tree(AT_FDCWD, dir, &e);
	return 0;
}
