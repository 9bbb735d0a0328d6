/* tests/unit/runtime/state.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/proc.h"
#include "runtime/state.h"
#include "runtime/sync.h"

static char top[] = "/tmp/berth-unit-XXXXXX";
static int top_fd = -1;

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(top))
		return -1;
	top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return top_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
	struct err e;

	(void)state;
	close_fd(&top_fd);
	return fs_remove_tree(AT_FDCWD, top, &e);
}

static struct state example(void)
{
	static char version[] = "1.0.2", id[] = "web-1", bundle[] = "/b", rootfs[] = "/b/r",
		    cgroup[] = "/c/web-1", created[] = "2026-01-02T03:04:05.678Z", owner[] = "root",
		    key[] = "k", value[] = "v";
	static struct js_pair pairs[] = {{key, value}};

	return (struct state){.oci_version = version,
			      .id = id,
			      .bundle = bundle,
			      .rootfs = rootfs,
			      .cgroup = cgroup,
			      .created = created,
			      .owner = owner,
			      .cgroup_kept = 1,
			      .annotations = {pairs, 1}};
}

static void ids_are_plain_names(void **state)
{
	static const char *const good[] = {"a", "A-b_c.d+9", "-", "_x", "+", "0123456789abcdef"};
	static const char *const bad[] = {"",    ".",   "..", ".a",  "a/b",  "/",
					  "a b", "a\n", "ä",  "a:b", "a\\b", "*"};
	char longest[RUNTIME_ID_MAX + 2];
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(good); i++)
		assert_ok(state_check_id(good[i], &e));
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		assert_fails(state_check_id(bad[i], &e), EINVAL);
		assert_says("container id");
	}
	memset(longest, 'x', sizeof(longest));
	longest[RUNTIME_ID_MAX + 1] = '\0';
	assert_fails(state_check_id(longest, &e), EINVAL);
	longest[RUNTIME_ID_MAX] = '\0';
	assert_ok(state_check_id(longest, &e));
}

static void a_state_comes_back_from_its_file(void **state)
{
	auto_state struct state_doc back = {0};
	const struct state s = example();
	auto_close int fd = -1;
	struct err e = {0};

	(void)state;
	assert_ok(state_claim(top_fd, "web-1", &fd, &e));
	assert_int_equal(state_read(fd, &back, &e), RUNTIME_ABSENT);
	assert_ok(state_write(fd, &s, &e));
	assert_ok(state_read(fd, &back, &e));
	assert_string_equal(back.state.id, "web-1");
	assert_string_equal(back.state.cgroup, "/c/web-1");
	assert_int_equal(back.state.cgroup_kept, 1);
	assert_string_equal(back.state.annotations.items[0].value, "v");
	assert_int_equal(back.state.pid, 0);
	assert_ok(state_drop(top_fd, "web-1", &e));
	assert_ok(state_drop(top_fd, "web-1", &e));
}

static void an_id_is_given_once(void **state)
{
	auto_close int first = -1, second = -1;
	struct err e = {0};
	struct stat st;

	(void)state;
	assert_ok(state_claim(top_fd, "once", &first, &e));
	assert_int_equal(fstat(first, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(state_claim(top_fd, "once", &second, &e), RUNTIME_EXISTS);
	assert_int_equal(state_open_dir(top_fd, "absent", &second, &e), RUNTIME_ABSENT);
	assert_fails(state_open_dir(top_fd, "../once", &second, &e), EINVAL);
	assert_ok(state_drop(top_fd, "once", &e));
}

static void a_lock_waits_and_sees_that_it_came_too_late(void **state)
{
	auto_close int creator = -1, other = -1;
	struct err e = {0};

	(void)state;
	assert_ok(state_claim(top_fd, "locked", &creator, &e));
	assert_ok(state_open_dir(top_fd, "locked", &other, &e));
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	assert_ok(state_drop(top_fd, "locked", &e));
	close_fd(&creator);
	assert_int_equal(state_lock(other, "locked", &e), RUNTIME_ABSENT);
}

static void status_follows_the_process(void **state)
{
	struct state s = example();
	auto_close int fd = -1, pidfd = -1;
	struct err e = {0};
	pid_t child;

	(void)state;
	assert_ok(state_claim(top_fd, "status", &fd, &e));
	/* No pid yet: as long as its creator holds the lock, it is being made. */
	assert_int_equal(state_status(fd, &s), RUNTIME_STATUS_CREATING);
	(void)flock(fd, LOCK_UN);
	assert_int_equal(state_status(fd, &s), RUNTIME_STATUS_STOPPED);

	child = fork();
	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	s.pid = child;
	s.start_time = (int64_t)proc_start_time(child);
	assert_int_equal(state_status(fd, &s), RUNTIME_STATUS_RUNNING);
	assert_int_equal(state_open_init(&s, &pidfd, &e), 0);
	close_fd(&pidfd);
	s.start_time++; /* the pid is another's by now */
	assert_int_equal(state_open_init(&s, &pidfd, &e), RUNTIME_STOPPED);
	s.start_time--;
	(void)kill(child, SIGKILL);
	(void)waitid(P_PID, (id_t)child, NULL, WEXITED | WNOWAIT);
	assert_int_equal(state_status(fd, &s), RUNTIME_STATUS_STOPPED); /* a zombie is */
	(void)waitpid(child, NULL, 0);
	assert_int_equal(state_status(fd, &s), RUNTIME_STATUS_STOPPED);
	assert_ok(state_drop(top_fd, "status", &e));
}

static void created_is_who_listens(void **state)
{
	auto_close int dir = -1, listener = -1, a = -1, b = -1;
	struct err e = {0}, said;
	struct state s = example();

	(void)state;
	s.pid = getpid();
	s.start_time = (int64_t)proc_start_time(getpid());
	assert_ok(state_claim(top_fd, "listens", &dir, &e));
	assert_int_equal(state_connect(dir, &a, &e), RUNTIME_STOPPED);
	assert_ok(state_listen(dir, &listener, &e));
	assert_int_equal(state_status(dir, &s), RUNTIME_STATUS_CREATED);
	assert_ok(state_connect(dir, &a, &e));
	close_fd(&listener);
	assert_int_equal(state_connect(dir, &b, &e), RUNTIME_STOPPED);
	assert_int_equal(state_status(dir, &s), RUNTIME_STATUS_RUNNING);
	(void)said;
	assert_ok(state_drop(top_fd, "listens", &e));
}

static void damaged_files_are_refused(void **state)
{
#define HEAD "{\"ociVersion\":\"1\",\"bundle\":\"/\",\"created\":\"x\","
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"", "JSON line"},
		{"{", "JSON line"},
		{"{}", "ociVersion: missing"},
		{HEAD "\"id\":\"../x\",\"cgroup\":\"/c\"}", "container id"},
		{HEAD "\"id\":\"x\",\"cgroup\":\"/\"}", "cgroup path"},
		{HEAD "\"id\":\"x\",\"cgroup\":\"/../x\"}", "cgroup path"},
		{HEAD "\"id\":\"x\",\"cgroup\":\"/c\",\"pid\":-1}", "pid -1"},
		{HEAD "\"id\":\"x\",\"cgroup\":\"/c\",\"pid\":99999999999}", "pid 99999999999"},
		{HEAD "\"id\":\"x\",\"cgroup\":\"/c\",\"cgroupKept\":-1}", "cgroupKept -1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_state struct state_doc d = {0};
		struct err e = {0};

		assert_true(state_decode(rows[i].text, strlen(rows[i].text), &d, &e) < 0);
		assert_says(rows[i].says);
	}
}

static void the_state_is_what_the_spec_says(void **state)
{
	const struct state s = example();
	auto_json json_t *doc = state_json(&s, RUNTIME_STATUS_RUNNING, 42);
	auto_free char *text = js_dump(doc);

	(void)state;
	assert_string_equal(
		text,
		"{\"ociVersion\":\"1.0.2\",\"id\":\"web-1\",\"pid\":42,\"status\":\"running\","
		"\"bundle\":\"/b\",\"rootfs\":\"/b/r\",\"created\":\"2026-01-02T03:04:05.678Z\","
		"\"owner\":\"root\",\"annotations\":{\"k\":\"v\"}}");
}

/* ---- sync ---- */

static void words_and_failures_travel(void **state)
{
	const struct err failure = {ENOENT, "mounts[3]: gone"};
	int pair[2], value = 0, listener = -1;
	struct err e = {0};

	(void)state;
	assert_ok(sync_pair(pair, &e));
	assert_ok(sync_say(pair[0], SYNC_MADE, 77, &e));
	assert_ok(sync_expect(pair[1], SYNC_MADE, &value, &e));
	assert_int_equal(value, 77);
	assert_ok(sync_say(pair[0], SYNC_READY, 0, &e));
	assert_fails(sync_expect(pair[1], SYNC_GO, NULL, &e), EPROTO);
	sync_fail(pair[0], &failure);
	assert_fails(sync_expect(pair[1], SYNC_READY, NULL, &e), ENOENT);
	assert_string_equal(e.msg, "mounts[3]: gone");
	sync_fail(pair[0], &failure);
	assert_fails(sync_expect_end(pair[1], &listener, &e), ENOENT);
	assert_ok(sync_send_listener(pair[0], pair[0], &e));
	assert_int_equal(sync_expect_end(pair[1], &listener, &e), SYNC_CAME);
	assert_true(listener >= 0);
	close_fd(&listener);
	close_fd(&pair[0]);
	assert_fails(sync_expect(pair[1], SYNC_READY, NULL, &e), EPIPE);
	assert_ok(sync_expect_end(pair[1], &listener, &e));
	close_fd(&pair[1]);
}

static void strange_messages_are_refused(void **state)
{
	static const unsigned char rows[][8] = {{0}, {1}, {1, 0, 0, 0, 0, 0, 0, 0}, {9}};
	static const size_t sizes[] = {1, 4, 8, 3};
	char big[2000] = {1};
	int pair[2];
	struct err e = {0};

	(void)state;
	assert_ok(sync_pair(pair, &e));
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_true(write(pair[0], rows[i], sizes[i]) == (ssize_t)sizes[i]);
		assert_fails(sync_expect(pair[1], SYNC_READY, NULL, &e), EPROTO);
	}
	/* A failure without a reason and without an end of its text. */
	memset(big + 4, 'x', sizeof(big) - 4);
	memset(big + 4, 0, 8);
	assert_true(write(pair[0], big, 8 + sizeof(struct err)) > 0);
	assert_fails(sync_expect(pair[1], SYNC_READY, NULL, &e), EIO);
	assert_int_equal(strlen(e.msg), ERR_MSG_SIZE - 1);
	close_fd(&pair[0]);
	close_fd(&pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_are_plain_names),
		cmocka_unit_test(a_state_comes_back_from_its_file),
		cmocka_unit_test(an_id_is_given_once),
		cmocka_unit_test(a_lock_waits_and_sees_that_it_came_too_late),
		cmocka_unit_test(status_follows_the_process),
		cmocka_unit_test(created_is_who_listens),
		cmocka_unit_test(damaged_files_are_refused),
		cmocka_unit_test(the_state_is_what_the_spec_says),
		cmocka_unit_test(words_and_failures_travel),
		cmocka_unit_test(strange_messages_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
