/* net/netlink.c - requests to the kernel, many in one message
 * SPDX-License-Identifier: Apache-2.0
 *
 * Only the last request of a batch asks for an acknowledgement: errors come
 * unasked, and the kernel works in order, so when the last one is acknowledged
 * all are known.
 */
#include "net/netlink.h"

#include <assert.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/mem.h"

#define MESSAGE_SIZE   8192 /* room for one request; more is our own mistake */
#define RECEIVE_SIZE   32768
#define BUFFER_BYTES   (8 << 20) /* of the socket, each way */
#define ANSWER_WAIT_S  10        /* the kernel answers within the send; this is for a lost answer */
#define DUMP_TRIES_MAX 10
#define ERRNO_MAX      4095 /* the kernel's own limit */

int netlink_open(int protocol, struct netlink *ret, struct err *e)
{
	const struct timeval wait = {.tv_sec = ANSWER_WAIT_S};
	const int one = 1, size = BUFFER_BYTES;
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		return err_sys(e, "open netlink socket %d", protocol);
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one)); /* words are extra */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		return err_sys(e, "time limit of a netlink socket");

	*ret = (struct netlink){.fd = take_fd(fd), .protocol = protocol};
	return 0;
}

void netlink_close(struct netlink *nl)
{
	close_fd(&nl->fd);
}

/* ---- building ---- */

void batch_done(struct batch *b)
{
	if (b->msg)
		nlmsg_free(b->msg);
	b->msg = NULL;
	buf_done(&b->bytes);
	free(b->notes);
	b->notes = NULL;
	b->count = b->capacity = 0;
}

static void finish_request(struct batch *b)
{
	struct nlmsghdr *h;

	if (!b->msg)
		return;
	h = nlmsg_hdr(b->msg);
	buf_add(&b->bytes, h, NLMSG_ALIGN(h->nlmsg_len));
	nlmsg_free(b->msg);
	b->msg = NULL;
}

const struct buf *batch_bytes(struct batch *b)
{
	finish_request(b);
	return &b->bytes;
}

void batch_add(struct batch *b, unsigned type, unsigned flags, const void *header,
	       size_t header_size, const char *note, ...)
{
	struct nlmsghdr *h;
	va_list ap;

	finish_request(b);
	b->notes = xgrow(b->notes, b->count, &b->capacity, sizeof(*b->notes));
	va_start(ap, note);
	(void)vsnprintf(b->notes[b->count++], NETLINK_NOTE_MAX, note, ap);
	va_end(ap);

	b->msg = nlmsg_alloc_size(MESSAGE_SIZE);
	if (!b->msg)
		abort(); /* as xcalloc() */
	h = nlmsg_put(b->msg, 0, 0, (int)type, 0, (int)(NLM_F_REQUEST | flags));
	assert(h);
	batch_header(b, header, header_size);
}

void batch_header(struct batch *b, const void *header, size_t size)
{
	int r = nlmsg_append(b->msg, (void *)(uintptr_t)header, size, NLMSG_ALIGNTO);

	assert(r == 0);
}

void batch_put(struct batch *b, int type, const void *data, size_t size)
{
	int r = nla_put(b->msg, type, (int)size, data);

	assert(r == 0);
}

void batch_u8(struct batch *b, int type, uint8_t value)
{
	batch_put(b, type, &value, sizeof(value));
}

void batch_u32(struct batch *b, int type, uint32_t value)
{
	batch_put(b, type, &value, sizeof(value));
}

void batch_be32(struct batch *b, int type, uint32_t value)
{
	batch_u32(b, type, htonl(value));
}

void batch_text(struct batch *b, int type, const char *text)
{
	batch_put(b, type, text, strlen(text) + 1);
}

struct nlattr *batch_nest(struct batch *b, int type)
{
	struct nlattr *start = nla_nest_start(b->msg, type);

	assert(start);
	return start;
}

void batch_nest_end(struct batch *b, struct nlattr *start)
{
	int r = nla_nest_end_keep_empty(b->msg, start);

	assert(r == 0);
}

/* ---- answers ---- */

static int read_error(struct netlink_answer *a, const struct nlmsghdr *h, struct err *e)
{
	const struct nlmsgerr *report = NLMSG_DATA(h);
	size_t size = h->nlmsg_len - NLMSG_HDRLEN;

	if (size < sizeof(*report))
		return err_set(e, EBADMSG, "netlink error of %zu bytes", size);
	if (h->nlmsg_seq == a->last || (a->bracketed && h->nlmsg_seq == a->first))
		a->done = true;
	if (report->error < -ERRNO_MAX)
		return err_set(e, EBADMSG, "netlink error %d", report->error);
	if (report->error >= 0 || -report->error == a->pass_over || a->code)
		return 0;

	a->code = -report->error;
	a->seq = h->nlmsg_seq;
	if (h->nlmsg_flags & NLM_F_ACK_TLVS) {
		size_t skip = sizeof(*report);
		struct nlattr *attr, *text;

		if (!(h->nlmsg_flags & NLM_F_CAPPED) && report->msg.nlmsg_len > NLMSG_HDRLEN)
			skip += NLMSG_ALIGN(report->msg.nlmsg_len) - NLMSG_HDRLEN;
		if (skip > size)
			return err_set(e, EBADMSG, "netlink error without its request");
		attr = (struct nlattr *)((uintptr_t)report + skip);
		text = nla_find(attr, (int)(size - skip), NLMSGERR_ATTR_MSG);
		if (text)
			(void)snprintf(a->text, sizeof(a->text), "%.*s", nla_len(text),
				       (const char *)nla_data(text));
	}
	return 0;
}

static int read_done(struct netlink_answer *a, const struct nlmsghdr *h, struct err *e)
{
	int code = 0;

	if (h->nlmsg_len >= NLMSG_HDRLEN + sizeof(code))
		memcpy(&code, NLMSG_DATA(h), sizeof(code));
	if (code < -ERRNO_MAX)
		return err_set(e, EBADMSG, "netlink error %d", code);
	if (code < 0 && !a->code) {
		a->code = -code;
		a->seq = h->nlmsg_seq;
	}
	a->done = true;
	return 0;
}

static int read_message(struct netlink_answer *a, const struct nlmsghdr *h,
			const struct netlink_dump *dump, struct err *e)
{
	if (h->nlmsg_seq - a->first > a->last - a->first)
		return 0; /* of a request that was given up */
	switch (h->nlmsg_type) {
	case NLMSG_NOOP:
		return 0;
	case NLMSG_ERROR:
		return read_error(a, h, e);
	case NLMSG_DONE:
		if (h->nlmsg_flags & NLM_F_DUMP_INTR)
			a->interrupted = true;
		return read_done(a, h, e);
	case NLMSG_OVERRUN:
		return err_set(e, ENOBUFS, "netlink answer was lost");
	}
	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	return dump ? dump->on_object(h, dump->arg, e) : 0;
}

int netlink_read(struct netlink_answer *a, const void *data, size_t size,
		 const struct netlink_dump *dump, struct err *e)
{
	const char *p = data;

	while (size && !a->done) {
		const struct nlmsghdr *h = (const void *)p;
		size_t step;

		if (size < NLMSG_HDRLEN || h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > size)
			return err_set(e, EBADMSG, "netlink answer is cut off");
		if (read_message(a, h, dump, e) < 0)
			return -e->code;
		step = NLMSG_ALIGN(h->nlmsg_len);
		if (step > size)
			step = size;
		p += step;
		size -= step;
	}
	return 0;
}

/* Read until the last request is answered. */
static int receive(struct netlink *nl, struct netlink_answer *a, const struct netlink_dump *dump,
		   struct err *e)
{
	_Alignas(struct nlmsghdr) char data[RECEIVE_SIZE];

	while (!a->done) {
		struct sockaddr_nl from = {0};
		socklen_t from_size = sizeof(from);
		ssize_t n = recvfrom(nl->fd, data, sizeof(data), MSG_TRUNC,
				     (struct sockaddr *)&from, &from_size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, "netlink answer");
		if ((size_t)n > sizeof(data))
			return err_set(e, EMSGSIZE, "netlink answer of %zd bytes", n);
		if (from.nl_pid != 0)
			continue; /* not from the kernel */
		if (netlink_read(a, data, (size_t)n, dump, e) < 0)
			return -e->code;
	}
	return 0;
}

/* Give each request its number; the last one asks for an answer. */
static void number_requests(struct batch *b, uint32_t seq, unsigned last_flags)
{
	size_t at = 0;

	for (size_t i = 0; i < b->count; i++) {
		struct nlmsghdr *h = (struct nlmsghdr *)(void *)(b->bytes.data + at);

		h->nlmsg_seq = seq + (uint32_t)i;
		if (i + 1 == b->count)
			h->nlmsg_flags |= (uint16_t)last_flags;
		at += NLMSG_ALIGN(h->nlmsg_len);
	}
}

struct bracket {
	struct nlmsghdr h;
	struct nfgenmsg nf;
};

static struct bracket bracket_of(uint16_t type, uint32_t seq)
{
	return (struct bracket){
		.h = {.nlmsg_len = sizeof(struct bracket),
		      .nlmsg_type = type,
		      .nlmsg_flags = NLM_F_REQUEST,
		      .nlmsg_seq = seq},
		.nf = {.version = NFNETLINK_V0, .res_id = htons(NFNL_SUBSYS_NFTABLES)}};
}

static bool is_nf_tables(const struct batch *b)
{
	const struct nlmsghdr *h = (const void *)b->bytes.data;

	return NFNL_SUBSYS_ID(h->nlmsg_type) == NFNL_SUBSYS_NFTABLES;
}

/* nf_tables wants its requests between two brackets; the first has the number before theirs. */
static int send_batch(struct netlink *nl, struct batch *b, uint32_t seq, bool in_brackets,
		      struct err *e)
{
	struct bracket begin = bracket_of(NFNL_MSG_BATCH_BEGIN, seq - 1);
	struct bracket end = bracket_of(NFNL_MSG_BATCH_END, seq + (uint32_t)b->count);
	struct iovec bare = {b->bytes.data, b->bytes.size};
	struct iovec framed[] = {{&begin, sizeof(begin)}, bare, {&end, sizeof(end)}};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct msghdr m = {.msg_name = &kernel,
			   .msg_namelen = sizeof(kernel),
			   .msg_iov = in_brackets ? framed : &bare,
			   .msg_iovlen = in_brackets ? 3 : 1};
	ssize_t n;

	do
		n = sendmsg(nl->fd, &m, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? err_sys(e, "send %zu netlink requests", b->count) : 0;
}

static void batch_reset(struct batch *b)
{
	buf_reset(&b->bytes);
	b->count = 0;
}

/* The first error, as a sentence.  Must be called before batch_reset(). */
static int answer_error(const struct netlink_answer *a, const struct batch *b, uint32_t seq,
			struct err *e)
{
	const char *note = a->seq - seq < b->count ? b->notes[a->seq - seq] : "firewall rules";

	errno = a->code;
	return a->text[0] ? err_sys(e, "%s: %s", note, a->text) : err_sys(e, "%s", note);
}

static int exchange(struct netlink *nl, struct batch *b, unsigned last_flags,
		    struct netlink_answer *a, const struct netlink_dump *dump, struct err *e)
{
	bool in_brackets = is_nf_tables(b) && !(last_flags & NLM_F_DUMP);
	uint32_t seq = nl->seq + 2;

	nl->seq = seq + (uint32_t)b->count;
	number_requests(b, seq, last_flags);
	a->bracketed = in_brackets;
	a->first = in_brackets ? seq - 1 : seq;
	a->last = seq + (uint32_t)b->count - 1;
	if (send_batch(nl, b, seq, in_brackets, e) < 0 || receive(nl, a, dump, e) < 0)
		return -e->code;
	return a->code ? answer_error(a, b, seq, e) : 0;
}

static int commit(struct netlink *nl, struct batch *b, int pass_over,
		  const struct netlink_dump *answers, struct err *e)
{
	struct netlink_answer a = {.pass_over = pass_over};
	int r;

	finish_request(b);
	if (!b->count)
		return 0;
	assert(!buf_overflow(&b->bytes));

	r = exchange(nl, b, NLM_F_ACK, &a, answers, e);
	batch_reset(b);
	return r;
}

int netlink_commit(struct netlink *nl, struct batch *b, int pass_over, struct err *e)
{
	return commit(nl, b, pass_over, NULL, e);
}

int netlink_ask(struct netlink *nl, struct batch *b, const struct netlink_dump *answers,
		struct err *e)
{
	return commit(nl, b, 0, answers, e);
}

int netlink_dump(struct netlink *nl, struct batch *b, const struct netlink_dump *dump,
		 struct err *e)
{
	int r = 0;

	finish_request(b);
	assert(b->count == 1);

	for (int i = 0; i < DUMP_TRIES_MAX; i++) {
		struct netlink_answer a = {0};

		r = exchange(nl, b, NLM_F_DUMP, &a, dump, e);
		if (r < 0 || !a.interrupted)
			break;
		if (i + 1 == DUMP_TRIES_MAX)
			r = err_set(e, EAGAIN, "%s: it changed each time", b->notes[0]);
		dump->on_restart(dump->arg);
	}
	batch_reset(b);
	return r;
}
