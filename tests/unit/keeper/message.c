/* tests/unit/keeper/message.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "keeper/message.h"

static struct command command_of(enum keeper_command kind)
{
	struct command c = {.head = {.magic = MESSAGE_MAGIC,
				     .version = MESSAGE_VERSION,
				     .kind = (uint8_t)kind}};

	return c;
}

static struct command good_create(void)
{
	struct command c = command_of(KEEPER_CREATE);

	(void)snprintf(c.id, sizeof(c.id), "web-1");
	for (int i = 0; i < 3; i++)
		(void)snprintf(c.path[i], sizeof(c.path[i]), "/some/path");
	c.head.flags = MESSAGE_ROOTFS | MESSAGE_NETNS;
	c.held_count = 2;
	return c;
}

static void what_a_client_sends_is_taken(void **state)
{
	struct command c = good_create();
	struct err e = {0};

	(void)state;
	assert_ok(command_check(&c, sizeof(c), 4, &e));

	c = command_of(KEEPER_KILL);
	(void)snprintf(c.id, sizeof(c.id), "web-1");
	c.sig = 64;
	assert_ok(command_check(&c, sizeof(c), 0, &e));

	c = good_create();
	c.number = 7; /* made ahead */
	assert_ok(command_check(&c, sizeof(c), 4, &e));

	c = good_create();
	c.head.kind = KEEPER_AHEAD;
	c.path[COMMAND_LOG_DIR][0] = '\0';
	c.held_count = 0;
	c.number = 7;
	assert_ok(command_check(&c, sizeof(c), 2, &e));

	c = command_of(KEEPER_FORGET);
	c.number = 7;
	assert_ok(command_check(&c, sizeof(c), 0, &e));

	c = command_of(KEEPER_LIST);
	assert_ok(command_check(&c, sizeof(c), 0, &e));

	c = command_of(KEEPER_SHUTDOWN);
	c.head.flags = MESSAGE_FORCE;
	assert_ok(command_check(&c, sizeof(c), 0, &e));
}

static void magic(struct command *c)
{
	c->head.magic ^= 1;
}

static void version(struct command *c)
{
	c->head.version++;
}

static void kind_zero(struct command *c)
{
	c->head.kind = 0;
}

static void kind_beyond(struct command *c)
{
	c->head.kind = KEEPER_FORGET + 1;
}

static void id_empty(struct command *c)
{
	c->id[0] = '\0';
}

static void id_climbs(struct command *c)
{
	(void)snprintf(c->id, sizeof(c->id), "../etc");
}

static void id_hidden(struct command *c)
{
	(void)snprintf(c->id, sizeof(c->id), ".hidden");
}

static void id_endless(struct command *c)
{
	memset(c->id, 'a', sizeof(c->id));
}

static void path_endless(struct command *c)
{
	memset(c->path[1], '/', sizeof(c->path[1]));
}

static void path_relative(struct command *c)
{
	(void)snprintf(c->path[2], sizeof(c->path[2]), "a/b");
}

static void path_missing(struct command *c)
{
	c->path[0][0] = '\0';
}

static void flag_unknown(struct command *c)
{
	c->head.flags |= MESSAGE_FORCE;
}

static void held_too_many(struct command *c)
{
	c->held_count = KEEPER_HELD_MAX + 1;
}

static void held_more_than_came(struct command *c)
{
	c->held_count = 3;
}

static void signal_given(struct command *c)
{
	c->sig = 9;
}

static void what_nobody_would_send_is_refused(void **state)
{
	static void (*const harms[])(struct command * c) = {
		magic,        kind_zero,     kind_beyond,         id_empty,      id_climbs,
		id_hidden,    id_endless,    path_endless,        path_relative, path_missing,
		flag_unknown, held_too_many, held_more_than_came, signal_given,  version,
	};
	struct err e = {0};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(harms); i++) {
		struct command c = good_create();

		harms[i](&c);
		if (command_check(&c, sizeof(c), 4, &e) >= 0)
			fail_msg("harm %zu was taken", i);
		assert_true(e.msg[0]);
	}
}

static void what_is_made_ahead_has_a_root_and_holds_nothing(void **state)
{
	struct command c = good_create();
	struct err e = {0};

	(void)state;
	c.head.kind = KEEPER_AHEAD;
	c.path[COMMAND_LOG_DIR][0] = '\0';
	assert_fails(command_check(&c, sizeof(c), 4, &e), EBADMSG);
	c.held_count = 0;
	assert_ok(command_check(&c, sizeof(c), 2, &e));
	c.head.flags = MESSAGE_NETNS;
	assert_fails(command_check(&c, sizeof(c), 1, &e), EBADMSG);
}

static void any_version_may_ask_for_a_newer_program(void **state)
{
	struct command c = command_of(KEEPER_REEXEC);
	struct err e = {0};

	(void)state;
	(void)snprintf(c.path[COMMAND_PROGRAM], sizeof(c.path[0]), "/some/keeper");
	for (int v = 0; v <= UINT8_MAX; v++) {
		c.head.version = (uint8_t)v;
		assert_ok(command_check(&c, sizeof(c), 0, &e));
	}
}

static void a_number_is_for_those_that_have_one(void **state)
{
	struct command c = command_of(KEEPER_KILL);
	struct err e = {0};

	(void)state;
	(void)snprintf(c.id, sizeof(c.id), "a");
	c.sig = 9;
	c.number = 1;
	assert_fails(command_check(&c, sizeof(c), 0, &e), EBADMSG);
}

static void sizes_and_descriptors_must_fit(void **state)
{
	struct command c = good_create();
	struct err e = {0};

	(void)state;
	assert_fails(command_check(&c, sizeof(c) - 1, 4, &e), EBADMSG);
	assert_fails(command_check(&c, 0, 4, &e), EBADMSG);
	assert_fails(command_check(&c, sizeof(c), 3, &e), EBADMSG);
	assert_fails(command_check(&c, sizeof(c), 5, &e), EBADMSG);
}

static void signals_are_those_of_the_kernel(void **state)
{
	static const int bad[] = {0, -1, 65, INT32_MIN};
	struct command c = command_of(KEEPER_KILL);
	struct err e = {0};

	(void)state;
	(void)snprintf(c.id, sizeof(c.id), "a");
	for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
		c.sig = bad[i];
		assert_fails(command_check(&c, sizeof(c), 0, &e), EINVAL);
	}
}

static void an_event_is_read_as_it_was_meant(void **state)
{
	struct event ev = {.head = {.magic = MESSAGE_MAGIC,
				    .version = MESSAGE_VERSION,
				    .kind = KEEPER_EXITED,
				    .flags = MESSAGE_EXIT_KNOWN | MESSAGE_COMPLETE},
			   .id = "web",
			   .phase = KEEPER_ENDED,
			   .exit_code = 137,
			   .exit_signal = 9,
			   .exit_time_ms = 1234};
	struct keeper_event out;
	struct err e = {0};

	(void)state;
	assert_ok(event_check(&ev, sizeof(ev), 0, &e));
	event_read(&ev, &out);
	assert_int_equal(out.kind, KEEPER_EXITED);
	assert_string_equal(out.id, "web");
	assert_true(out.exit.known && out.output_complete && !out.has_pipes);
	assert_int_equal(out.exit.code, 137);
	assert_int_equal(out.exit.signal, 9);
	assert_int_equal(out.exit.time_ms, 1234);
	assert_int_equal(out.output_fds[0], -1);
}

static void an_event_of_somebody_else_is_refused(void **state)
{
	const struct event good = {.head = {.magic = MESSAGE_MAGIC,
					    .version = MESSAGE_VERSION,
					    .kind = KEEPER_CREATED,
					    .flags = MESSAGE_STDOUT | MESSAGE_STDERR},
				   .id = "web",
				   .pid = 7};
	struct event ev = good;
	struct err e = {0};

	(void)state;
	assert_ok(event_check(&ev, sizeof(ev), 2, &e));
	assert_fails(event_check(&ev, sizeof(ev), 1, &e), EBADMSG);
	ev.head.kind = KEEPER_EXECUTED + 1;
	assert_fails(event_check(&ev, sizeof(ev), 2, &e), EBADMSG);
	ev = good;
	memset(ev.err.msg, 'x', sizeof(ev.err.msg));
	assert_fails(event_check(&ev, sizeof(ev), 2, &e), EBADMSG);
	ev = good;
	memset(ev.text[1], 'x', sizeof(ev.text[1]));
	assert_fails(event_check(&ev, sizeof(ev), 2, &e), EBADMSG);
	ev = good;
	ev.exit_code = 256;
	assert_fails(event_check(&ev, sizeof(ev), 2, &e), EBADMSG);
	ev = good;
	ev.head.flags |= MESSAGE_NETNS;
	assert_fails(event_check(&ev, sizeof(ev), 3, &e), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_client_sends_is_taken),
		cmocka_unit_test(what_nobody_would_send_is_refused),
		cmocka_unit_test(what_is_made_ahead_has_a_root_and_holds_nothing),
		cmocka_unit_test(a_number_is_for_those_that_have_one),
		cmocka_unit_test(any_version_may_ask_for_a_newer_program),
		cmocka_unit_test(sizes_and_descriptors_must_fit),
		cmocka_unit_test(signals_are_those_of_the_kernel),
		cmocka_unit_test(an_event_is_read_as_it_was_meant),
		cmocka_unit_test(an_event_of_somebody_else_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
