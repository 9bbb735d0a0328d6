/* tests/unit/scheduler/store.c - what is on disk of a cluster
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/text.h"
#include "scheduler/store_internal.h"

#define NOW   1000000000000
#define TASKS 30

static char dir[] = "/tmp/berth-store-XXXXXX";
static char path[64];
static struct store *store;
static struct core *core;
static char *ids[TASKS];
static char instance[33];

static char *fetch(void *ctx, const char *key)
{
	struct err e = {0};

	(void)ctx;
	return store_fetch(store, key, &e);
}

static const struct core_options options = {
	.identity = {.region = "us-east-1", .account = "123456789012"},
	.vpc_cidr = "172.31.0.0/16",
	.seed = {1, 2, 3, 4},
	.stopped_keep_ms = 3600000,
	.stopped_keep_max = 100,
	.fetch = fetch,
	.open_max = 2,
};

/* ---- driving ---- */

static struct db *writer; /* one, as a thread that writes has one */

static void write_effects(const struct core_effects *fx)
{
	struct err e = {0};

	if (!writer)
		assert_ok(db_open(path, DB_NORMAL, STATE_VERSION, store_schema, &writer, &e));
	assert_ok(store_write(writer, fx, &e));
}

static void take_effects(void)
{
	struct core_effects fx;

	core_take_effects(core, &fx);
	write_effects(&fx);
	core_effects_done(&fx);
}

static json_t *call(const char *operation, const char *text)
{
	auto_json json_t *request = json_loads(text, 0, NULL);
	struct ecs_fault f = {.message = ""};
	json_t *reply = core_call(core, operation, request, NOW, &f);

	if (!reply)
		fail_msg("%s: %s", operation, f.message);
	take_effects();
	return reply;
}

static void start(void)
{
	struct err e = {0};

	core = core_new(&options);
	assert_ok(store_open(path, &store, &e));
	assert_ok(store_load(store, core, &e));
	core_loaded(core, NOW);
	take_effects();
	assert_ok(core_check(core, &e));
}

static void stop(void)
{
	core_free(take_ptr(core));
	store_close(take_ptr(store));
}

static void report(int64_t number, const char *arn, const char *status)
{
	struct ecs_task_state state = {.task_arn = (char *)(uintptr_t)arn,
				       .last_status = (char *)(uintptr_t)status};
	const struct ecs_node_report r = {.number = number, .tasks = {&state, 1}};

	core_node_report(core, instance, &r, NOW);
	take_effects();
}

static char *describe(const char *arn)
{
	auto_free char *text = xasprintf("{\"tasks\":[\"%s\"]}", arn);
	auto_json json_t *reply = call("DescribeTasks", text);

	return js_dump(reply);
}

static const char *task_arn(const json_t *tasks, size_t i)
{
	return json_string_value(json_object_get(json_array_get(tasks, i), "taskArn"));
}

/* The same number again brings the same task. */
static char *run(int number)
{
	auto_free char *text = xasprintf("{\"taskDefinition\":\"w\",\"startedBy\":\"me\","
					 "\"clientToken\":\"t%d\"}",
					 number);
	auto_json json_t *reply = call("RunTask", text);

	return xstrdup(task_arn(json_object_get(reply, "tasks"), 0));
}

static void connect_node(void)
{
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = *instance ? instance : NULL,
					 .hostname = (char[]){"h"},
					 .boot_id = (char[]){"b"},
					 .version = (char[]){"1"},
					 .cpu_units = 4096,
					 .memory_mib = 4096};
	const char *name;
	struct err e = {0};

	assert_ok(core_node_hello(core, &h, NULL, 0, NOW, &name, &e));
	if (!*instance)
		(void)snprintf(instance, sizeof(instance), "%s", name);
	take_effects();
}

/* A node with tasks, of which some run and some have ended. */
static int make_cluster(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/x.db", dir);
	start();
	connect_node();
	json_decref(
		call("RegisterTaskDefinition",
		     "{\"family\":\"w\",\"containerDefinitions\":[{\"name\":\"c\",\"image\":\"i\","
		     "\"memory\":8}]}"));
	for (int i = 0; i < TASKS; i++) {
		ids[i] = run(i);
		if (i % 3)
			report(i + 1, ids[i], i % 3 == 1 ? "RUNNING" : "STOPPED");
	}
	return 0;
}

static int drop_cluster(void **state)
{
	struct err e;

	(void)state;
	stop();
	for (int i = 0; i < TASKS; i++)
		free(ids[i]);
	return fs_remove_tree(AT_FDCWD, dir, &e);
}

static int64_t number_of(const char *sql)
{
	struct db *db = NULL;
	struct db_stmt *s;
	struct err e = {0};
	int64_t number;

	assert_ok(db_open(path, DB_NORMAL, STATE_VERSION, "", &db, &e));
	assert_ok(db_prepare(db, sql, &s, &e));
	assert_int_equal(db_step(s, &e), DB_ROW);
	number = db_i64(s, 0);
	db_close(db);
	return number;
}

/* ---- what is proved ---- */

static void change(const char *sql)
{
	struct db *db = NULL;
	struct err e = {0};

	assert_ok(db_open(path, DB_NORMAL, STATE_VERSION, "", &db, &e));
	assert_ok(db_exec(db, sql, &e));
	db_close(db);
}

/* Also when the store was changed in between. */
static void restart_shows_the_same(const char *first, const char *then)
{
	char *before[TASKS];

	for (int i = 0; i < TASKS; i++)
		before[i] = describe(ids[i]);
	stop();
	change(first);
	change(then);
	start();
	connect_node();
	for (int i = 0; i < TASKS; i++) {
		auto_free char *after = describe(ids[i]);

		assert_string_equal(after, before[i]);
		free(before[i]);
	}
	for (int i = 0; i < TASKS; i++) {
		auto_free char *again = run(i);

		assert_string_equal(again, ids[i]);
	}
}

static void a_restart_shows_what_was_written(void **state)
{
	(void)state;
	assert_int_equal(number_of("SELECT count(*) FROM brief"), 2 * TASKS); /* and tokens */
	restart_shows_the_same("", "");
}

/* As it would be if an older server had written it. */
static const char back_to_version_3[] =
	"ALTER TABLE brief RENAME TO brief_4; ALTER TABLE event RENAME TO event_4;"
	"CREATE TABLE brief (id INTEGER PRIMARY KEY, brief BLOB NOT NULL, event INTEGER) STRICT;"
	"CREATE TABLE event (id INTEGER PRIMARY KEY, doc TEXT NOT NULL, document INTEGER,"
	"  at_ms INTEGER) STRICT;"
	"INSERT INTO document (key, doc) SELECT key, '' FROM brief_4 WHERE event;"
	"INSERT INTO brief SELECT id, brief, event FROM brief_4 JOIN document USING (key);"
	"INSERT INTO event SELECT event_4.id, CAST(event_4.doc AS TEXT), document.id, at_ms"
	"  FROM event_4 LEFT JOIN document ON document.key = CAST(keys AS TEXT);"
	"DROP TABLE brief_4; DROP TABLE event_4;";

static void a_store_of_version_3_is_taken_over(void **state)
{
	const int64_t events = number_of("SELECT count(*) FROM event"),
		      documents = number_of("SELECT count(*) FROM document");

	(void)state;
	assert_int_equal(number_of("SELECT count(*) FROM event WHERE count > 1"), 0);
	restart_shows_the_same(back_to_version_3, "PRAGMA user_version = 3");
	assert_int_equal(number_of("SELECT count(*) FROM brief"), 2 * TASKS); /* and tokens */
	assert_int_equal(number_of("SELECT count(*) FROM document"), documents);
	assert_int_equal(number_of("SELECT count(*) FROM event"),
			 events + 1); /* the node is back */
	assert_int_equal(number_of("SELECT count(*) FROM event WHERE keys IS NOT NULL"
				   "  AND at_ms = 1000000000000"),
			 TASKS + 2 * TASKS / 3);
	assert_int_equal(number_of("PRAGMA user_version"), STATE_VERSION);
}

static void a_store_that_is_older_is_refused(void **state)
{
	struct err e = {0};

	(void)state;
	stop();
	change("ALTER TABLE event RENAME TO kept;"
	       "CREATE TABLE event (id INTEGER PRIMARY KEY, doc TEXT NOT NULL) STRICT;");
	assert_fails(store_open(path, &store, &e), EPROTO);
	assert_says("version before 3");
	change("DROP TABLE event; ALTER TABLE kept RENAME TO event;");
	start();
}

static void a_brief_goes_with_its_document(void **state)
{
	(void)state;
	core_tick(core, NOW + options.stopped_keep_ms);
	take_effects();
	assert_int_equal(number_of("SELECT count(*) FROM brief"), 2 * TASKS - TASKS / 3);
	core_tick(core, NOW + 24 * 3600 * 1000LL); /* the end of a client token */
	take_effects();
	assert_int_equal(number_of("SELECT count(*) FROM brief"), TASKS - TASKS / 3);
}

static void assert_fetches(const char *key, const char *text)
{
	struct err e = {0};
	auto_free char *found = store_fetch(store, key, &e);

	assert_non_null(found);
	assert_string_equal(found, text);
}

static void what_is_expected_is_read_before_it_is_durable(void **state)
{
	struct core_effect one = {.kind = CORE_PUT,
				  .key = (char[]){"task/x/1"},
				  .text = (char[]){"one"},
				  .brief = (char[]){"b"},
				  .brief_size = 1},
			   two = one;
	const struct core_effects first = {&one, 1, 1}, second = {&two, 1, 1};
	struct err e = {0};

	(void)state;
	two.text = (char[]){"two"};
	assert_null(store_fetch(store, "task/x/1", &e));
	assert_says("task/x/1 is not stored");
	store_expect(store, &first);
	assert_fetches("task/x/1", "one");
	store_expect(store, &second);
	write_effects(&first);
	store_settle(store, &first); /* which is old by now */
	assert_fetches("task/x/1", "two");
	write_effects(&second);
	store_settle(store, &second);
	assert_fetches("task/x/1", "two");
}

static void the_time_of_a_task_stands_first_in_its_key(void **state)
{
	static const struct {
		const char *key, *stored;
	} rows[] = {
		{"task/c/0123456789abcdef012300e8d4a51000",
		 "task/c/00e8d4a510000123456789abcdef0123"},
		{"task/x/1", "task/x/1"},
		{"token/c/0123456789abcdef012300e8d4a51000",
		 "token/c/0123456789abcdef012300e8d4a51000"},
	};
	char buffer[STORED_KEY_SIZE];

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
		assert_string_equal(store_key(rows[i].key, buffer), rows[i].stored);
}

/* The tasks of a call are one row of events. */
static void what_is_alike_is_written_once(void **state)
{
	auto_json json_t *reply = NULL;
	const json_t *tasks;
	char *before[10];

	(void)state;
	connect_node();
	reply = call("RunTask", "{\"taskDefinition\":\"w\",\"count\":10}");
	tasks = json_object_get(reply, "tasks");
	assert_int_equal(json_array_size(tasks), 10);
	assert_int_equal(number_of("SELECT count FROM event ORDER BY id DESC LIMIT 1"), 10);
	report(TASKS + 1, task_arn(tasks, 3), "RUNNING");
	for (size_t i = 0; i < 10; i++)
		before[i] = describe(task_arn(tasks, i));
	stop();
	start();
	connect_node();
	for (size_t i = 0; i < 10; i++) {
		auto_free char *after = describe(task_arn(tasks, i));

		assert_string_equal(after, before[i]);
		free(before[i]);
	}
}

static void write_events(int count)
{
	struct core_effect event = {.kind = CORE_EVENT, .text = (char[]){"{}"}};
	const struct core_effects fx = {&event, 1, 1};
	struct err e = {0};

	assert_ok(db_exec(writer, "BEGIN", &e));
	for (int i = 0; i < count; i++)
		write_effects(&fx);
	assert_ok(db_exec(writer, "COMMIT", &e));
}

static void put(struct core_effect *x, const char *text)
{
	const struct core_effects fx = {x, 1, 1};

	x->text = (char *)(uintptr_t)text;
	write_effects(&fx);
}

/* Old events are forgotten, but for those that are the newest version of a document. */
static void a_document_outlives_its_event(void **state)
{
	const struct core_effect one = {.kind = CORE_PUT,
					.key = (char[]){"task/x/2"},
					.text = (char[]){"one, which is long"},
					.brief = (char[]){"b"},
					.brief_size = 1,
					.event_ms = NOW};
	struct core_effect items[] = {one, one, one};
	const struct core_effects fx = {items, ARRAY_COUNT(items), 0};
	static const char count[] =
		"SELECT count(*) FROM event WHERE CAST(keys AS TEXT) >= 'task/x'";
	struct err e = {0};

	(void)state;
	items[1].kind = CORE_SEND; /* which is not stored */
	items[2].key = (char[]){"task/x/3"};
	items[2].text = (char[]){"two, which is long"};
	write_effects(&fx);
	assert_int_equal(number_of(count), 1);
	write_events(EVENTS_KEPT + 2 * EVENTS_PRUNED_EACH);
	assert_true(number_of("SELECT count(*) FROM event") <=
		    EVENTS_KEPT + EVENTS_PRUNED_EACH + TASKS);
	assert_fetches("task/x/2", "one, which is long");
	assert_fetches("task/x/3", "two, which is long");
	put(&items[0], "new");
	assert_fetches("task/x/2", "new");
	assert_fetches("task/x/3", "two, which is long"); /* in the same row as the old one */
	assert_int_equal(number_of(count), 2);
	put(&items[2], "new, too");
	assert_fetches("task/x/3", "new, too");
	assert_int_equal(number_of(count), 2); /* the row went */
	items[0].kind = items[2].kind = CORE_DELETE;
	write_effects(&fx);
	assert_null(store_fetch(store, "task/x/2", &e));
	assert_null(store_fetch(store, "task/x/3", &e));
	assert_int_equal(number_of(count), 2); /* the new ones are events still */
}

/* From an event to its own row, and back. */
static void a_document_is_in_one_place(void **state)
{
	struct core_effect x = {.kind = CORE_PUT,
				.key = (char[]){"task/x/4"},
				.brief = (char[]){"b"},
				.brief_size = 1};
	static const char count[] = "SELECT count(*) FROM document WHERE key = 'task/x/4'";
	struct err e = {0};

	(void)state;
	for (int i = 0; i < 2; i++) {
		x.event_ms = 0;
		put(&x, "no event");
		assert_fetches(x.key, "no event");
		assert_int_equal(number_of(count), 1);
		x.event_ms = NOW;
		put(&x, "an event");
		assert_fetches(x.key, "an event");
		assert_int_equal(number_of(count), 0);
	}
	x.event_ms = 0;
	put(&x, "no event");
	x.kind = CORE_DELETE;
	put(&x, NULL);
	assert_null(store_fetch(store, x.key, &e));
	assert_int_equal(number_of(count), 0);
}

/* A database may be where another one was before it: what was prepared for that one is gone. */
static void a_store_that_is_opened_again_is_written_to(void **state)
{
	struct core_effect put = {.kind = CORE_PUT, .key = (char[]){"x/1"}, .text = (char[]){"{}"}};
	const struct core_effects fx = {.items = &put, .count = 1};
	auto_free char *other = xasprintf("%s/other.db", dir);
	struct err e = {0};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct db *db = NULL;
		struct db_stmt *changes;

		assert_ok(db_open(other, DB_NORMAL, STATE_VERSION, store_schema, &db, &e));
		assert_ok(db_prepare(db, "SELECT 1", &changes, &e)); /* where another was */
		assert_ok(store_write(db, &fx, &e));
		assert_int_equal(db_changes(db), 1);
		db_close(db);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_restart_shows_what_was_written),
		cmocka_unit_test(a_store_of_version_3_is_taken_over),
		cmocka_unit_test(a_store_that_is_older_is_refused),
		cmocka_unit_test(a_brief_goes_with_its_document),
		cmocka_unit_test(what_is_alike_is_written_once),
		cmocka_unit_test(what_is_expected_is_read_before_it_is_durable),
		cmocka_unit_test(the_time_of_a_task_stands_first_in_its_key),
		cmocka_unit_test(a_document_outlives_its_event),
		cmocka_unit_test(a_document_is_in_one_place),
		cmocka_unit_test(a_store_that_is_opened_again_is_written_to),
	};

	return cmocka_run_group_tests(tests, make_cluster, drop_cluster);
}
