/* tests/bench/api.c - the control plane under load, through signed requests
 * SPDX-License-Identifier: Apache-2.0
 *
 *   api load OPERATION CALLERS SECONDS   ListClusters, RunTask, RunTask10 (ten tasks a call), DescribeTasks
 *   api overload CALLERS SECONDS         the same of RunTask, while one caller elsewhere describes a task
 *   api changes COUNT                    of tasks at a node, a thousand a second, until DescribeTasks shows them
 *   api cluster NODES TASKS              64 callers run tasks on nodes elsewhere, which tell that they run
 *
 * A server of its own below the working directory, with a full sync for each
 * commit, and a node that takes every task and runs none.  Prints replies a
 * second, and milliseconds of p50 and p99, and how many were turned away; of 'cluster'
 * tasks a second that were accepted, and that were told to run and acknowledged, and
 * microseconds of the server's CPU time for each.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/frame.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "base/proc.h"
#include "base/text.h"
#include "ecs/node.h"
#include "ecs/sigv4.h"
#include "scheduler/scheduler.h"

#define KEY     "bench"
#define REGION  "us-east-1"
#define REPLIES 4000000
#define REPLY   (1 << 20)

static char dir[] = "berth-bench-XXXXXX";
static struct sockaddr_in server_addr;
static int node_fd, node_port;
static const char *channels; /* the program that is many nodes */
static pid_t server;

static void die(const char *what)
{
	(void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the server and its node ---- */

static void run_server(int tcp_fd, int listen_fd, int own_node_fd, int ready_fd, pid_t parent)
{
	const struct scheduler_options o = {.tcp_fd = tcp_fd,
					    .unix_fd = -1,
					    .node_fd = own_node_fd,
					    .node_listen_fd = listen_fd,
					    .ready_fd = ready_fd,
					    .heartbeat_ms = 10000,
					    .certificate_ms = 86400000,
					    .stopped_ms = 3600000,
					    .stopped_max = 1000,
					    .state_dir = dir,
					    .region = REGION,
					    .account = "123456789012",
					    .vpc_cidr = "172.31.0.0/16",
					    .access_key = KEY,
					    .secret_key = KEY};
	struct err e = {0};

	if (!proc_die_with(parent) || scheduler_run(&o, &e) < 0)
		(void)fprintf(stderr, "server: %s\n", e.msg);
	_exit(0);
}

/* On a port of its own. */
static int listen_somewhere(struct sockaddr_in *ret)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*ret);

	*ret = (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (bind(fd, (struct sockaddr *)ret, len) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)ret, &len) < 0)
		die("listen");
	return fd;
}

static void start_server(void)
{
	struct sockaddr_in nodes_addr;
	int tcp_fd = listen_somewhere(&server_addr), listen_fd = listen_somewhere(&nodes_addr),
	    pair[2], ready[2];
	pid_t parent = getpid();
	char byte;

	node_port = ntohs(nodes_addr.sin_port);
	if (pipe(ready) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("server");
	(void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
	server = fork();
	if (server == 0) {
		(void)close(pair[0]);
		run_server(tcp_fd, listen_fd, pair[1], ready[1], parent);
	}
	(void)close(pair[1]);
	(void)close(tcp_fd);
	(void)close(listen_fd);
	(void)close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the server does not start");
	node_fd = pair[0];
}

static void stop_server(void)
{
	(void)kill(server, SIGKILL);
	(void)waitpid(server, NULL, 0);
}

static void say(enum ecs_node_type type, const void *message)
{
	auto_free char *text = ecs_node_dump(type, message);
	auto_buf struct buf out = BUF_INIT(1 << 20);

	frame_put(&out, text, strlen(text));
	for (size_t done = 0; done < out.size;) {
		ssize_t r = write(node_fd, buf_str(&out) + done, out.size - done);

		if (r < 0)
			die("node");
		done += (size_t)r;
	}
}

static void *read_and_forget(void *ctx)
{
	static char bytes[1 << 16];

	(void)ctx;
	while (read(node_fd, bytes, sizeof(bytes)) > 0)
		;
	return NULL;
}

static void start_node(void)
{
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .hostname = (char[]){"bench"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 1 << 30,
					 .memory_mib = 1 << 30};
	pthread_t thread;
	char byte;

	say(ECS_NODE_HELLO, &h);
	if (read(node_fd, &byte, 1) != 1) /* the welcome begins */
		die("node");
	if (pthread_create(&thread, NULL, read_and_forget, NULL) != 0)
		die("thread");
}

/* ---- callers ---- */

struct request {
	char *text;
	size_t size;
};

struct caller {
	int fd;
	const struct request *request;
	struct buf in;
	size_t sent;
	double since_ms;
};

static struct request make_request_of(const char *prefix, const char *service,
				      const char *operation, const char *body)
{
	char date[17], host[32], authorization[ECS_SIGV4_AUTHORIZATION_SIZE];
	auto_free char *target = xasprintf("%s.%s", prefix, operation);
	const struct ecs_header headers[] = {{"Host", host},
					     {"X-Amz-Date", date},
					     {"X-Amz-Target", target},
					     {"Content-Type", "application/x-amz-json-1.1"}};
	const struct ecs_http_request r = {.method = "POST",
					   .target = "/",
					   .headers = headers,
					   .header_count = ARRAY_COUNT(headers),
					   .body = body,
					   .body_size = strlen(body)};
	struct request made;
	struct err e;

	ecs_sigv4_date(time(NULL), date);
	(void)snprintf(host, sizeof(host), "127.0.0.1:%u", ntohs(server_addr.sin_port));
	if (ecs_sigv4_sign(&r, KEY, KEY, REGION, service, authorization, &e) < 0)
		die(e.msg);
	made.text =
		xasprintf("POST / HTTP/1.1\r\nHost: %s\r\nX-Amz-Date: %s\r\nX-Amz-Target: %s\r\n"
			  "Content-Type: application/x-amz-json-1.1\r\nAuthorization: %s\r\n"
			  "Content-Length: %zu\r\n\r\n%s",
			  host, date, target, authorization, strlen(body), body);
	made.size = strlen(made.text);
	return made;
}

static struct request make_request(const char *operation, const char *body)
{
	return make_request_of("AmazonEC2ContainerServiceV20141113", "ecs", operation, body);
}

static void dial(struct caller *c, const char *from)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	const int one = 1;

	buf_init(&c->in, REPLY);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (inet_pton(AF_INET, from, &own.sin_addr) != 1 ||
	    bind(c->fd, (struct sockaddr *)&own, sizeof(own)) < 0 ||
	    connect(c->fd, (struct sockaddr *)&server_addr, sizeof(server_addr)) < 0 ||
	    fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
		die("connect");
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void ask(struct caller *c)
{
	c->in.size = 0;
	c->since_ms = now_ms();
	if (write(c->fd, c->request->text, c->request->size) != (ssize_t)c->request->size)
		die("send");
}

/* The status of a whole reply, whose body is *ret; 0: it is not whole. */
static int whole(struct caller *c, const char **ret)
{
	const char *text = buf_str(&c->in), *end = strstr(text, "\r\n\r\n"),
		   *length = strcasestr(text, "\r\nContent-Length: ");

	if (!end || !length ||
	    c->in.size < (size_t)(end + 4 - text) + strtoul(length + 18, NULL, 10))
		return 0;
	*ret = end + 4;
	return (int)strtoul(text + strlen("HTTP/1.1 "), NULL, 10);
}

static int hear(struct caller *c, const char **ret)
{
	char bytes[1 << 16];
	ssize_t r = read(c->fd, bytes, sizeof(bytes));

	if (r < 0 && errno == EAGAIN)
		return 0;
	if (r <= 0)
		die("the server hangs up");
	buf_add(&c->in, bytes, (size_t)r);
	return whole(c, ret);
}

/* One call, to its end; the body, malloc'ed. */
static char *call(const struct request *r)
{
	struct caller c = {.request = r};
	const char *body;
	char *copy;
	int status;

	dial(&c, "127.0.0.1");
	(void)fcntl(c.fd, F_SETFL, 0);
	ask(&c);
	while (!(status = hear(&c, &body)))
		;
	copy = xstrdup(body);
	if (status != 200)
		die(copy);
	(void)close(c.fd);
	buf_done(&c.in);
	return copy;
}

/* ---- figures ---- */

struct figures {
	double *ms;
	size_t count, refused;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(const char *what, struct figures *f, double per, double seconds)
{
	qsort(f->ms, f->count, sizeof(double), compare);
	(void)printf("%s %.0f %.2f %.2f %zu\n", what, (double)f->count * per / seconds,
		     f->count ? f->ms[f->count / 2] : 0,
		     f->count ? f->ms[f->count - 1 - f->count / 100] : 0, f->refused);
}

static void note(struct figures *f, const struct caller *c, int status)
{
	if (status == 200 && f->count < REPLIES)
		f->ms[f->count++] = now_ms() - c->since_ms;
	else
		f->refused++;
}

/* Every caller asks again as soon as it is answered, for so long and so often. */
static void load(struct caller *callers, size_t count, const struct caller *special,
		 struct figures *usual, struct figures *of_special, double seconds, size_t most)
{
	struct epoll_event events[256];
	double end_ms = now_ms() + seconds * 1e3;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &callers[i]};

		(void)epoll_ctl(epoll, EPOLL_CTL_ADD, callers[i].fd, &event);
		ask(&callers[i]);
	}
	while (now_ms() < end_ms && usual->count < most) {
		int n = epoll_wait(epoll, events, ARRAY_COUNT(events), 100);

		for (int i = 0; i < n; i++) {
			struct caller *c = events[i].data.ptr;
			const char *body;
			int status = hear(c, &body);

			if (!status)
				continue;
			note(c == special ? of_special : usual, c, status);
			if (usual->count + count <= most)
				ask(c);
		}
	}
	(void)close(epoll);
}

/* ---- what is measured ---- */

static char *run_task_arn(const struct request *run)
{
	auto_free char *text = call(run);
	auto_json json_t *doc = json_loads(text, 0, NULL);
	const char *arn = json_string_value(
		json_object_get(json_array_get(json_object_get(doc, "tasks"), 0), "taskArn"));

	if (!arn)
		die(text);
	return xstrdup(arn);
}

static struct request describe(const char *arn)
{
	auto_free char *body = xasprintf("{\"tasks\":[\"%s\"]}", arn);

	return make_request("DescribeTasks", body);
}

static struct request run_request(int count)
{
	auto_free char *body = xasprintf("{\"taskDefinition\":\"b\",\"count\":%d}", count);

	return make_request("RunTask", body);
}

static void register_definition(void)
{
	struct request r =
		make_request("RegisterTaskDefinition",
			     "{\"family\":\"b\",\"containerDefinitions\":[{\"name\":\"c\","
			     "\"image\":\"busybox\",\"memory\":6,\"cpu\":1}]}");

	free(call(&r));
	free(r.text);
}

static void measure_load(const char *operation, size_t count, double seconds, bool overload)
{
	struct caller *callers = xcalloc(count + 1, sizeof(*callers));
	struct figures usual = {.ms = xcalloc(REPLIES, sizeof(double))},
		       special = {.ms = xcalloc(REPLIES, sizeof(double))};
	struct request run = run_request(1), ten = run_request(10),
		       list = make_request("ListClusters", "{}");
	auto_free char *arn = run_task_arn(&run);
	struct request look = describe(arn);
	const struct request *request = str_eq(operation, "RunTask")         ? &run
					: str_eq(operation, "RunTask10")     ? &ten
					: str_eq(operation, "DescribeTasks") ? &look
									     : &list;

	for (size_t i = 0; i <= count; i++) {
		dial(&callers[i], i == count ? "127.0.0.2" : "127.0.0.1");
		callers[i].request = i == count ? &look : request;
	}
	load(callers, count + overload, overload ? &callers[count] : NULL, &usual, &special,
	     seconds, REPLIES);
	print(operation, &usual, request == &ten ? 10 : 1, seconds);
	if (overload)
		print("DescribeTasks", &special, 1, seconds);
}

/* A thousand tasks a second are told to run; how long until a caller sees it. */
static void measure_changes(size_t count)
{
	struct figures seen = {.ms = xcalloc(REPLIES, sizeof(double))};
	struct request run = run_request(1);
	double begin_ms;

	auto_free char **arns = xcalloc(count, sizeof(*arns));
	for (size_t i = 0; i < count; i++)
		arns[i] = run_task_arn(&run);
	begin_ms = now_ms();
	for (size_t i = 0; i < count; i++) {
		struct ecs_task_state state = {.task_arn = arns[i],
					       .last_status = (char[]){"RUNNING"}};
		struct ecs_node_report report = {.number = (int64_t)i + 1, .tasks = {&state, 1}};
		struct caller c = {.since_ms = 0};

		while (now_ms() < begin_ms + (double)i)
			(void)usleep(50);
		c.since_ms = now_ms();
		say(ECS_NODE_REPORT, &report);
		if (i % 20 == 0) { /* looked at by a caller of its own, who asks until he sees it */
			struct request look = describe(arns[i]);
			bool running = false;

			while (!running) {
				auto_free char *text = call(&look);

				running = strstr(text, "\"lastStatus\":\"RUNNING\"") != NULL;
			}
			note(&seen, &c, 200);
			free(look.text);
		}
		free(arns[i]);
	}
	print("changes", &seen, 20, (now_ms() - begin_ms) / 1e3);
}

static char *make_token(const char *nodes)
{
	auto_free char *body = xasprintf("{\"registrationLimit\":%s}", nodes), *text = NULL;
	struct request r = make_request_of("BerthV1", "berth", "CreateNodeToken", body);
	auto_json json_t *doc = json_loads(text = call(&r), 0, NULL);

	free(r.text);
	return xstrdup(json_string_value(json_object_get(doc, "token")));
}

static pid_t start_nodes(const char *nodes, const char *tasks)
{
	auto_free char *token = make_token(nodes), *port = xasprintf("%d", node_port);
	char word[8] = "";
	int out[2];
	pid_t child;

	if (pipe(out) < 0)
		die("nodes");
	child = fork();
	if (child == 0) {
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl(channels, channels, port, token, nodes, tasks, NULL);
		_exit(1);
	}
	(void)close(out[1]);
	if (read(out[0], word, sizeof(word) - 1) <= 0)
		die("the nodes do not come");
	(void)close(out[0]);
	return child;
}

static double server_cpu_s(void)
{
	struct timespec t = {0};
	clockid_t clock;

	if (clock_getcpuclockid(server, &clock) == 0)
		(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure_cluster(const char *nodes, const char *tasks)
{
	struct figures usual = {.ms = xcalloc(REPLIES, sizeof(double))}, none = {.ms = NULL};
	const size_t count = strtoul(tasks, NULL, 10);
	struct caller callers[64] = {0};
	struct request ten = make_request(
		"RunTask", "{\"taskDefinition\":\"b\",\"count\":10,\"placementStrategy\":"
			   "[{\"type\":\"spread\",\"field\":\"instanceId\"}]}");
	pid_t child = start_nodes(nodes, tasks);
	double begin_ms = now_ms(), accepted_ms, cpu_s = server_cpu_s();
	int status = 1;

	for (size_t i = 0; i < ARRAY_COUNT(callers); i++) {
		dial(&callers[i], "127.0.0.1");
		callers[i].request = &ten;
	}
	load(callers, ARRAY_COUNT(callers), NULL, &usual, &none, 3600, count / 10);
	accepted_ms = now_ms();
	if (waitpid(child, &status, 0) != child || status)
		die("nodes");
	(void)printf("cluster %.0f %.0f %.1f\n", (double)count / (accepted_ms - begin_ms) * 1e3,
		     (double)count / (now_ms() - begin_ms) * 1e3,
		     (server_cpu_s() - cpu_s) * 1e6 / (double)count);
}

int main(int argc, char **argv)
{
	struct err e;

	(void)signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		die(dir);
	channels = xasprintf("%.*schannels", (int)(strrchr(argv[0], '/') + 1 - argv[0]), argv[0]);
	start_server();
	if (argc < 2 || !str_eq(argv[1], "cluster"))
		start_node();
	register_definition();
	if (argc == 5 && str_eq(argv[1], "load"))
		measure_load(argv[2], strtoul(argv[3], NULL, 10), strtod(argv[4], NULL), false);
	else if (argc == 4 && str_eq(argv[1], "overload"))
		measure_load("RunTask", strtoul(argv[2], NULL, 10), strtod(argv[3], NULL), true);
	else if (argc == 3 && str_eq(argv[1], "changes"))
		measure_changes(strtoul(argv[2], NULL, 10));
	else if (argc == 4 && str_eq(argv[1], "cluster"))
		measure_cluster(argv[2], argv[3]);
	stop_server();
	(void)fs_remove_tree(AT_FDCWD, dir, &e);
	return 0;
}
