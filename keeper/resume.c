/* keeper/resume.c - one program after the other in the same process
 * SPDX-License-Identifier: Apache-2.0
 *
 * An upgrade executes the new program in our place: the process stays the
 * parent of all containers, and keeps its descriptors.  What we know is left in
 * a file in memory, one JSON document a line: first our own, then one for each
 * row.  No step is under way then.  Should the new program not be executable,
 * nothing has happened.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "keeper/server.h"

#define TABLE_MAX      (256u << 20)
#define DESCRIPTOR_MAX (1 << 20)

struct client_text {
	uint32_t fd;
};

static const struct js_field client_fields[] = {
	{"fd", JS_U32, offsetof(struct client_text, fd), JS_ALWAYS, NULL},
};
static const struct js_shape client_shape = JS_SHAPE("Client", struct client_text, client_fields);

struct server_text {
	char *cgroup_base;
	uint32_t lock_fd, listen_fd;
	int64_t nofile_soft, nofile_hard;
	struct js_list clients;
};

#define AT(member) offsetof(struct server_text, member)

static const struct js_field server_fields[] = {
	{"cgroupBase", JS_STRING, AT(cgroup_base), 0, NULL},
	{"lock", JS_U32, AT(lock_fd), JS_REQUIRED, NULL},
	{"listen", JS_U32, AT(listen_fd), JS_REQUIRED, NULL},
	{"nofileSoft", JS_I64, AT(nofile_soft), JS_REQUIRED, NULL},
	{"nofileHard", JS_I64, AT(nofile_hard), JS_REQUIRED, NULL},
	{"clients", JS_OBJECTS, AT(clients), 0, &client_shape},
};
static const struct js_shape server_shape = JS_SHAPE("Keeper", struct server_text, server_fields);

/* ---- leaving ---- */

static void put_line(struct buf *b, char *own_text)
{
	buf_puts(b, own_text);
	buf_putc(b, '\n');
	free(own_text);
}

static void put_server(const struct server *s, struct buf *b)
{
	auto_arena struct arena a = {0};
	auto_json json_t *doc = NULL;
	struct client_text *clients = arena_alloc(&a, (s->client_count + 1) * sizeof(*clients));
	struct server_text t = {.cgroup_base = arena_strdup(&a, s->cgroup_base),
				.lock_fd = (uint32_t)s->lock_fd,
				.listen_fd = (uint32_t)s->listen_fd,
				.nofile_soft = (int64_t)s->nofile.rlim_cur,
				.nofile_hard = (int64_t)s->nofile.rlim_max,
				.clients = {.items = clients}};

	for (size_t i = 0; i < s->client_count; i++) {
		/* One that has not heard everything asks again when it is sent away. */
		if (!s->clients[i]->queue_count && !s->clients[i]->listing)
			clients[t.clients.count++].fd = (uint32_t)s->clients[i]->fd;
	}
	doc = js_encode(&server_shape, &t);
	put_line(b, js_dump(doc));
}

/* Descriptors survive an execve(2) without this flag. */
static void set_cloexec(int fd, bool on)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0);
}

static void set_all_cloexec(const struct server *s, bool on)
{
	set_cloexec(s->lock_fd, on);
	set_cloexec(s->listen_fd, on);
	for (size_t i = 0; i < s->client_count; i++)
		set_cloexec(s->clients[i]->fd,
			    on || s->clients[i]->queue_count || s->clients[i]->listing);
	for (size_t i = 0; i < s->row_count; i++) {
		const struct row *row = s->rows[i];

		set_cloexec(row->pidfd, on);
		set_cloexec(row->rootfs_fd, on);
		set_cloexec(row->netns_fd, on);
		set_cloexec(row->userns_fd, on);
		set_cloexec(row->output[0].fd, on);
		set_cloexec(row->output[1].fd, on);
		for (size_t k = 0; k < row->held_count; k++)
			set_cloexec(row->held[k], on);
	}
}

static int write_table(const struct server *s, int *ret_fd, struct err *e)
{
	auto_close int fd = memfd_create("keeper-table", 0); /* not close-on-exec */
	auto_buf struct buf b = BUF_INIT(TABLE_MAX);
	int r;

	if (fd < 0)
		return err_sys(e, "table in memory");
	put_server(s, &b);
	for (size_t i = 0; i < s->row_count; i++)
		put_line(&b, row_encode(s->rows[i], true));
	if (buf_overflow(&b))
		return err_set(e, EFBIG, "table of more than %u bytes", TABLE_MAX);
	r = write_all(fd, b.data, b.size);
	if (r < 0)
		return err_set(e, -r, "write table: %s", strerrordesc_np(-r));
	*ret_fd = take_fd(fd);
	return 0;
}

int resume_exec(struct server *s, struct err *e)
{
	auto_close int table_fd = -1;
	char run_dir_option[] = "--run-dir", resume_option[] = "--resume", number[16];
	char *argv[] = {s->next_program, run_dir_option, s->run_dir, resume_option, number, NULL};

	assert(!s->worker_count);

	if (write_table(s, &table_fd, e) < 0)
		return -e->code;
	(void)snprintf(number, sizeof(number), "%d", table_fd);
	set_all_cloexec(s, false);
	(void)execve(s->next_program, argv, environ);
	(void)err_sys(e, "execute %s", s->next_program);
	set_all_cloexec(s, true);
	return -e->code;
}

/* ---- arriving ---- */

static int take_server(struct server *s, const char *text, size_t size, struct err *e)
{
	auto_arena struct arena a = {0};
	struct server_text t;

	if (js_decode_text(text, size, &server_shape, &a, &t, e) < 0)
		return -e->code;
	if (t.lock_fd > DESCRIPTOR_MAX || t.listen_fd > DESCRIPTOR_MAX ||
	    t.clients.count > CLIENTS_MAX)
		return err_set(e, EBADMSG, "descriptors of the table");
	s->lock_fd = (int)t.lock_fd;
	s->listen_fd = (int)t.listen_fd;
	s->nofile = (struct rlimit){(rlim_t)t.nofile_soft, (rlim_t)t.nofile_hard};
	(void)snprintf(s->cgroup_base, sizeof(s->cgroup_base), "%s",
		       t.cgroup_base ? t.cgroup_base : "");
	for (size_t i = 0; i < t.clients.count; i++)
		if (client_add(s, (int)JS_AT(t.clients, struct client_text, i)->fd, e) < 0)
			return -e->code;
	return 0;
}

static int take_row(struct server *s, const char *text, size_t size, struct err *e)
{
	struct row *row;

	if (row_decode(text, size, &row, e) < 0)
		return -e->code;
	server_add_row(s, row);
	if (spool_open(row->log_dir, &row->spool, e) < 0)
		log_warn("container=%s: output is lost: %s", row->id, e->msg);
	watch_outputs(s, row);
	if (row->phase == KEEPER_ENDED && !row->exit_told)
		wait_for_output(s, row);
	if (row->pidfd >= 0)
		return server_watch(s, row->pidfd, EPOLLIN, &row->pidfd_watch, e);
	settle_row(s, row);
	return 0;
}

int resume_take(struct server *s, int own_fd, struct err *e)
{
	auto_close int fd = own_fd;
	auto_buf struct buf b = BUF_INIT(TABLE_MAX);
	const char *p, *end;
	bool first = true;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, "table of the program before us");
	if (fs_read_fd(fd, &b, e) < 0)
		return err_wrap(e, "table of the program before us");
	p = buf_str(&b);
	end = p + b.size;
	while (p < end) {
		const char *line_end = memchr(p, '\n', (size_t)(end - p));
		size_t size = line_end ? (size_t)(line_end - p) : (size_t)(end - p);

		if ((first ? take_server(s, p, size, e) : take_row(s, p, size, e)) < 0)
			return err_wrap(e, "table of the program before us");
		first = false;
		p += size + 1;
	}
	set_all_cloexec(s, true);
	start_waiting_steps(s);
	return first ? err_set(e, EBADMSG, "table of the program before us is empty") : 0;
}
