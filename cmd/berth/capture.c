/* cmd/berth/capture.c - capture: packets of a task, for wireshark and tcpdump
 * SPDX-License-Identifier: Apache-2.0
 *
 * The daemon says which process is in the task's network; that it is still that
 * process is seen by its start time once its namespace is open.  This process
 * then goes there itself, opens a packet socket, and gives up every right: what
 * it reads afterwards is written by the task, and it only copies it.
 *
 * The format is that of pcap-savefile(5), with nanoseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "base/text.h"
#include "cmd/berth/command.h"

#define SNAPLEN_MAX   262144 /* the most that tcpdump reads */
#define SECONDS_MAX   (7 * 86400)
#define SOCKET_BYTES  (32 << 20)
#define FLUSH_BYTES   65536
#define NOBODY        65534
#define PCAP_NS_MAGIC 0xa1b23c4d
#define LINKTYPE_ETH  1

struct capture_options {
	const char *count, *seconds, *snaplen, *container;
};

static const struct option_row capture_rows[] = {
	{"count", 'c', OPTION_STRING, offsetof(struct capture_options, count), "COUNT",
	 "end after so many packets"},
	{"seconds", 0, OPTION_STRING, offsetof(struct capture_options, seconds), "N",
	 "end after so many seconds"},
	{"snaplen", 's', OPTION_STRING, offsetof(struct capture_options, snaplen), "BYTES",
	 "of each packet, at most (default 262144)"},
	{"container", 0, OPTION_STRING, offsetof(struct capture_options, container), "NAME",
	 "of a task whose containers have networks of their own; default: the first"},
};

struct capture {
	uint32_t count, seconds, snaplen; /* 0: no limit */
	int socket_fd, signal_fd, process_fd;
	int64_t end_ms; /* monotonic; 0: none */
	uint64_t captured;
	bool over; /* nobody reads, or the link is gone */
	struct buf out;
};

/* ---- where ---- */

static const json_t *choose(const json_t *reply, const char *container)
{
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(reply, "interfaces"), i, item)
		if (json_object_get(item, "pid") &&
		    (!container ||
		     str_eq(json_string_value(json_object_get(item, "container")), container)))
			return item;
	return NULL;
}

/* A process in the task's network, as the node knows it. */
static int find_process(struct context *c, const struct capture_options *o, const char *name,
			pid_t *ret_pid, uint64_t *ret_start, struct err *e)
{
	auto_json json_t *reply = NULL;
	auto_free char *arn = NULL;
	const json_t *found;
	json_t *request;

	if (c->endpoint)
		return err_set(e, EINVAL, "a task's packets can be had on its own host only");
	if (task_resolve(c, name, &arn, e) < 0)
		return -e->code;
	request = request_new(c);
	(void)json_object_set_new(request, "task", json_string(arn));
	if (client_call(c->client, CLIENT_BERTH, "DescribeTaskNetwork", request, &reply, e) < 0)
		return -e->code;
	found = choose(reply, o->container);
	if (!found)
		return err_set(e, ENOENT,
			       "task %s has no running container with a network of its own%s%s",
			       short_name(arn), o->container ? ", called " : "",
			       o->container ? o->container : "");
	*ret_pid = (pid_t)json_integer_value(json_object_get(found, "pid"));
	*ret_start = (uint64_t)json_integer_value(json_object_get(found, "startTime"));
	return 0;
}

static int enter(pid_t pid, uint64_t start, struct err *e)
{
	auto_free char *path = xasprintf("/proc/%d/ns/net", (int)pid);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_sys(e, "network of the task (capture is for root, on the task's host)");
	if (proc_start_time(pid) != start)
		return err_set(e, ENOENT, "the task is not on this host, or ended just now");
	if (setns(fd, CLONE_NEWNET) < 0)
		return err_sys(e, "enter the task's network");
	return 0;
}

static int open_socket(struct capture *c, struct err *e)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ALL),
				 .sll_ifindex = (int)if_nametoindex("eth0")};
	const int one = 1, size = SOCKET_BYTES;

	if (!at.sll_ifindex)
		return err_sys(e, "eth0 of the task");
	c->socket_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->socket_fd < 0)
		return err_sys(e, "open a packet socket");
	(void)setsockopt(c->socket_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (setsockopt(c->socket_fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof(one)) < 0 ||
	    bind(c->socket_fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return err_sys(e, "capture on eth0");
	return 0;
}

/* Without another right, for good. */
static int drop_rights(struct err *e)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(e, "give up rights");
	return 0;
}

static int watch_signals(struct capture *c, struct err *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	c->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	return c->signal_fd < 0 ? err_sys(e, "wait for signals") : 0;
}

/* ---- packets ---- */

static void flush(struct capture *c)
{
	if (c->out.size && write_all(STDOUT_FILENO, c->out.data, c->out.size) < 0)
		c->over = true;
	buf_reset(&c->out);
}

static void put_u32(struct buf *b, uint32_t value)
{
	buf_add(b, &value, sizeof(value));
}

static void put_header(struct capture *c)
{
	static const uint16_t version[2] = {2, 4};

	put_u32(&c->out, PCAP_NS_MAGIC);
	buf_add(&c->out, version, sizeof(version));
	put_u32(&c->out, 0);
	put_u32(&c->out, 0);
	put_u32(&c->out, c->snaplen);
	put_u32(&c->out, LINKTYPE_ETH);
}

static void put_packet(struct capture *c, const char *data, size_t size,
		       const struct timespec *time)
{
	size_t kept = size < c->snaplen ? size : c->snaplen;

	put_u32(&c->out, (uint32_t)time->tv_sec);
	put_u32(&c->out, (uint32_t)time->tv_nsec);
	put_u32(&c->out, (uint32_t)kept);
	put_u32(&c->out, (uint32_t)size);
	buf_add(&c->out, data, kept);
	c->captured++;
	if (c->out.size > FLUSH_BYTES)
		flush(c);
}

static struct timespec time_of(struct msghdr *m)
{
	struct timespec time = {0};

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
		if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(&time, CMSG_DATA(h), sizeof(time));
	return time;
}

static bool is_full(const struct capture *c)
{
	return c->over || (c->count && c->captured >= c->count);
}

/* All that has come. */
static void read_packets(struct capture *c)
{
	static char data[SNAPLEN_MAX];

	while (!is_full(c)) {
		_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct timespec))];
		struct iovec iov = {data, c->snaplen};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = control,
				   .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(c->socket_fd, &m, MSG_TRUNC);
		struct timespec time;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->over |= errno != EAGAIN; /* ENETDOWN: the link is gone */
			break;
		}
		time = time_of(&m);
		put_packet(c, data, (size_t)n, &time);
	}
	flush(c);
}

static int patience_ms(const struct capture *c)
{
	int64_t left_ms = c->end_ms - clock_mono_ms();

	if (!c->end_ms)
		return -1;
	return left_ms < 0 ? 0 : (int)(left_ms < 1000 ? left_ms : 1000);
}

static void copy_packets(struct capture *c)
{
	struct pollfd fds[] = {
		{c->socket_fd, POLLIN, 0}, {c->signal_fd, POLLIN, 0}, {c->process_fd, POLLIN, 0}};
	bool ended = false;

	put_header(c);
	flush(c);
	while (!is_full(c) && !ended) {
		int n = poll(fds, ARRAY_COUNT(fds), patience_ms(c));

		ended = (n < 0 && errno != EINTR) || fds[1].revents || fds[2].revents ||
			(c->end_ms && clock_mono_ms() >= c->end_ms);
		read_packets(c);
	}
}

/* As tcpdump does, where it does not disturb. */
static void tell(const struct capture *c)
{
	struct tpacket_stats stats = {0};
	socklen_t size = sizeof(stats);

	(void)getsockopt(c->socket_fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size);
	(void)fprintf(stderr, "%llu packets captured, %u dropped by the kernel\n",
		      (unsigned long long)c->captured, stats.tp_drops);
}

/* ---- the command ---- */

static int read_number(const char *text, const char *option, uint32_t max, uint32_t *ret)
{
	if (text && (!parse_u32(text, max, ret) || !*ret))
		return fail_usage("--%s '%s' is not a number from 1 to %u", option, text, max);
	return 0;
}

static int run_capture(struct context *context, const struct capture_options *o, const char *name,
		       struct capture *c, struct err *e)
{
	uint64_t start = 0;
	pid_t pid = 0;

	if (find_process(context, o, name, &pid, &start, e) < 0 || watch_signals(c, e) < 0)
		return -e->code;
	c->process_fd = proc_pidfd_open(pid);
	if (enter(pid, start, e) < 0 || open_socket(c, e) < 0 || drop_rights(e) < 0)
		return -e->code;
	if (c->seconds)
		c->end_ms = clock_mono_ms() + (int64_t)c->seconds * 1000;
	copy_packets(c);
	tell(c);
	return 0;
}

static int capture(struct context *context, const void *options, char **words, int count)
{
	const struct capture_options *o = options;
	struct capture c = {.snaplen = SNAPLEN_MAX,
			    .socket_fd = -1,
			    .signal_fd = -1,
			    .process_fd = -1,
			    .out = BUF_INIT(FLUSH_BYTES + 2 * SNAPLEN_MAX)};
	struct err e = {0};
	int r = EXIT_OK;

	(void)count;
	if (read_number(o->count, "count", UINT32_MAX, &c.count) ||
	    read_number(o->seconds, "seconds", SECONDS_MAX, &c.seconds) ||
	    read_number(o->snaplen, "snaplen", SNAPLEN_MAX, &c.snaplen))
		return EXIT_USAGE;
	if (isatty(STDOUT_FILENO))
		return fail_usage("packets are not for a terminal: redirect to a file, or pipe");
	if (run_capture(context, o, words[0], &c, &e) < 0)
		r = fail(&e);
	close_fd(&c.socket_fd);
	close_fd(&c.signal_fd);
	close_fd(&c.process_fd);
	buf_done(&c.out);
	return r;
}

const struct command command_capture = {
	.name = "capture",
	.arguments = "[OPTIONS] TASK > FILE",
	.summary = "Write a task's packets to standard output, in the format of tcpdump -w.",
	.options = capture_rows,
	.option_count = ARRAY_COUNT(capture_rows),
	.size = sizeof(struct capture_options),
	.min_words = 1,
	.max_words = 1,
	.run = capture,
};
