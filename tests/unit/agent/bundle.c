/* tests/unit/agent/bundle.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/internal.h"
#include "base/auto.h"
#include "base/fs.h"
#include "base/text.h"
#include "ecs/taskdef.h"

/* A task of one container, as the server and the image describe it, in a directory of its own. */
struct fixture {
	char dir[64];
	struct agent agent;
	struct task task;
	struct container container;
	struct image image;
	struct image_user user;
	struct net_endpoint endpoint;
	struct arena arena;
	json_t *doc;
};

static char *entrypoint[] = {(char[]){"/entry"}, (char[]){"point"}};
static char *command[] = {(char[]){"image"}, (char[]){"command"}};
static char task_id[] = "0123456789abcdef0123456789abcdef", cgroup_base[] = "/berth",
	    working_dir[] = "/www";
static char *variables[] = {(char[]){"PATH=/image"}, (char[]){"A=of the image"}};

static void set_up(struct fixture *f, const char *definition)
{
	struct err e = {0};

	*f = (struct fixture){
		.dir = "/tmp/berth-unit-XXXXXX",
		.user = {.uid = 80, .gid = 81, .groups = {82}, .group_count = 1, .home = "/www"},
		.endpoint = {.address = "172.30.0.2", .netns_fd = -1},
		.image = {.entrypoint = {entrypoint, 2},
			  .cmd = {command, 2},
			  .env = {variables, 2},
			  .working_dir = working_dir}};
	assert_non_null(mkdtemp(f->dir));
	assert_ok(js_parse(definition, strlen(definition), 32, &f->doc, &e));
	assert_ok(ecs_task_definition_decode(f->doc, &f->arena, &f->task.wanted.definition, &e));
	f->agent.tasks_dir = f->agent.filters_dir = f->dir;
	f->agent.cgroup_base = cgroup_base;
	f->task.agent = &f->agent;
	f->task.id = task_id;
	f->container.task = &f->task;
	f->container.def = JS_AT(f->task.wanted.definition.containers,
				 struct ecs_container_definition, 0);
	(void)snprintf(f->container.id, sizeof(f->container.id), "%s-0", f->task.id);
}

static void tear_down(struct fixture *f)
{
	struct err e = {0};

	assert_ok(fs_remove_tree(AT_FDCWD, f->dir, &e));
	map_done(&f->agent.filters);
	json_decref(f->doc);
	arena_done(&f->arena);
}

static json_t *write_bundle(struct fixture *f, bool host_network, struct err *e)
{
	const struct bundle_options o = {.container = &f->container,
					 .image = &f->image,
					 .user = &f->user,
					 .endpoint = host_network ? NULL : &f->endpoint,
					 .bundle = f->dir,
					 .dir = f->dir};
	auto_free char *path = xasprintf("%s/config.json", f->dir);
	auto_buf struct buf text = BUF_INIT(1 << 20);
	auto_json json_t *written = NULL;
	json_t *config = NULL;

	if (bundle_write(&o, &written, e) < 0 || fs_read(AT_FDCWD, path, &text, e) < 0 ||
	    js_parse(buf_str(&text), text.size, 32, &config, e) < 0)
		return NULL;
	return config;
}

/* "process.args", "mounts.0.type" */
static json_t *at(json_t *doc, const char *path)
{
	while (doc && *path) {
		size_t len = strcspn(path, ".");
		auto_free char *name = xstrndup(path, len);

		doc = json_is_array(doc) ? json_array_get(doc, strtoul(name, NULL, 10))
					 : json_object_get(doc, name);
		path += len + (path[len] == '.');
	}
	return doc;
}

#define WITH(container) \
	"{\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":64" container "}]}"

static void what_a_definition_says_is_where_the_runtime_looks(void **state)
{
	static const struct {
		const char *definition, *path, *expect; /* NULL: absent */
	} rows[] = {
		/* the image's, and what takes its place */
		{WITH(""), "process.args", "[\"/entry\",\"point\",\"image\",\"command\"]"},
		{WITH(",\"command\":[\"c\"]"), "process.args", "[\"/entry\",\"point\",\"c\"]"},
		{WITH(",\"entryPoint\":[\"e\"]"), "process.args", "[\"e\"]"},
		{WITH(",\"entryPoint\":[\"e\"],\"command\":[\"c\"]"), "process.args",
		 "[\"e\",\"c\"]"},
		{WITH(""), "process.cwd", "\"/www\""},
		{WITH(",\"workingDirectory\":\"/w\""), "process.cwd", "\"/w\""},
		{WITH(",\"environment\":[{\"name\":\"A\",\"value\":\"b=c\"},{\"name\":\"B\"}]"),
		 "process.env",
		 "[\"PATH=/image\",\"HOSTNAME=0123456789ab-0\",\"A=b=c\",\"B=\",\"HOME=/www\"]"},
		{WITH(",\"environment\":[{\"name\":\"HOME\",\"value\":\"/h\"}]"), "process.env.3",
		 "\"HOME=/h\""},
		{WITH(""), "process.user", "{\"uid\":80,\"gid\":81,\"additionalGids\":[82]}"},

		/* rights */
		{WITH(""), "process.noNewPrivileges", "true"},
		{WITH(",\"privileged\":true"), "process.noNewPrivileges", "false"},
		{WITH(",\"privileged\":true"), "linux.seccomp", NULL},
		{WITH(",\"privileged\":true"), "linux.maskedPaths", NULL},
		{WITH(",\"privileged\":true"), "linux.resources.devices",
		 "[{\"allow\":true,\"access\":\"rwm\"}]"},
		{WITH(",\"linuxParameters\":{\"capabilities\":{\"drop\":[\"ALL\"]}}"),
		 "process.capabilities.effective", "[]"},
		{WITH(",\"linuxParameters\":{\"capabilities\":{\"drop\":[\"ALL\"],\"add\":[\"SYS_PTRACE\"]}}"),
		 "process.capabilities.bounding", "[\"CAP_SYS_PTRACE\"]"},
		{WITH(""), "process.capabilities.inheritable", NULL},
		{WITH(""), "process.capabilities.ambient", NULL},
		{WITH(",\"readonlyRootFilesystem\":true"), "root.readonly", "true"},

		/* limits */
		{WITH(""), "linux.resources.memory", "{\"limit\":67108864}"},
		{WITH(",\"memoryReservation\":32"), "linux.resources.memory",
		 "{\"limit\":67108864,\"reservation\":33554432}"},
		{WITH(""), "linux.resources.cpu.shares", "2"},
		{WITH(",\"cpu\":512"), "linux.resources.cpu.shares", "512"},
		{WITH(",\"ulimits\":[{\"name\":\"core\",\"softLimit\":0,\"hardLimit\":-1}]"),
		 "process.rlimits.0",
		 "{\"type\":\"RLIMIT_CORE\",\"soft\":0,\"hard\":9223372036854775807}"},
		{WITH(",\"ulimits\":[{\"name\":\"nofile\",\"softLimit\":5,\"hardLimit\":6}]"),
		 "process.rlimits", "[{\"type\":\"RLIMIT_NOFILE\",\"soft\":5,\"hard\":6}]"},

		/* names */
		{WITH(""), "hostname", "\"0123456789ab-0\""},
		{WITH(",\"hostname\":\"h\""), "hostname", "\"h\""},
		{WITH(""), "linux.cgroupsPath", "\"/berth/0123456789abcdef0123456789abcdef/0\""},
		{WITH(",\"systemControls\":[{\"namespace\":\"net.core.somaxconn\",\"value\":\"9\"}]"),
		 "linux.sysctl",
		 "{\"net.ipv4.ip_unprivileged_port_start\":\"0\",\"net.ipv4.ping_group_range\":\"0 2147483647\","
		 "\"net.core.somaxconn\":\"9\"}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		struct err e = {0};
		struct fixture f;
		auto_json json_t *config = NULL, *expect = NULL;
		auto_free char *got = NULL;

		set_up(&f, rows[i].definition);
		config = write_bundle(&f, false, &e);
		if (!config)
			fail_msg("%s: %s", rows[i].definition, e.msg);
		if (rows[i].expect)
			expect = json_loads(rows[i].expect, JSON_DECODE_ANY, NULL);
		got = json_dumps(at(config, rows[i].path), JSON_ENCODE_ANY | JSON_COMPACT);
		if (expect ? !json_equal(at(config, rows[i].path), expect) : got != NULL)
			fail_msg("%s: %s is %s", rows[i].definition, rows[i].path,
				 got ? got : "absent");
		tear_down(&f);
	}
}

static const char *type_of(json_t *config, const char *type)
{
	json_t *entry;
	size_t i;

	json_array_foreach (at(config, "linux.namespaces"), i, entry)
		if (str_eq(json_string_value(json_object_get(entry, "type")), type))
			return type;
	return NULL;
}

static void only_with_the_hosts_network_is_the_network_namespace_the_hosts(void **state)
{
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f, WITH(""));
	for (int host = 0; host < 2; host++) {
		auto_json json_t *config = write_bundle(&f, host, &e);

		assert_non_null(config);
		assert_int_equal(type_of(config, "network") != NULL, !host);
		for (size_t i = 0; i < 5; i++)
			assert_non_null(type_of(config, (const char *[]){"pid", "mount", "uts",
									 "ipc", "cgroup"}[i]));
		assert_int_equal(at(config, "linux.sysctl.net.ipv4") != NULL, 0);
		assert_int_equal(json_object_size(at(config, "linux.sysctl")), host ? 0 : 2);
	}
	tear_down(&f);
}

static void ids_of_the_task_are_in_all_that_needs_them(void **state)
{
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f, WITH(",\"mountPoints\":[{\"sourceVolume\":\"v\",\"containerPath\":\"/v\"}]"));
	f.task.wanted.definition.volumes =
		(struct js_list){.items = &(struct ecs_volume){.name = (char[]){"v"}}, .count = 1};
	f.task.ids.first_id = 589824;
	for (int mapped = 0; mapped < 2; mapped++) {
		auto_json json_t *config = NULL;
		auto_free char *text = NULL;

		f.container.mapped = mapped;
		config = write_bundle(&f, false, &e);
		assert_non_null(config);
		assert_int_equal(type_of(config, "user") != NULL, mapped);
		assert_int_equal(json_array_size(at(config, "linux.uidMappings")), mapped);
		assert_int_equal(json_array_size(at(config, "linux.gidMappings")), mapped);
		assert_int_equal(json_integer_value(at(config, "linux.uidMappings.0.containerID")),
				 0);
		assert_int_equal(json_integer_value(at(config, "linux.uidMappings.0.hostID")),
				 mapped ? 589824 : 0);
		assert_int_equal(json_integer_value(at(config, "linux.gidMappings.0.size")),
				 mapped ? 65536 : 0);
		text = js_dump(config);
		assert_int_equal(strstr(text, "ridmap") != NULL, mapped);
	}
	tear_down(&f);
}

static void an_image_without_a_command_needs_one(void **state)
{
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f, WITH(""));
	f.image.entrypoint.count = f.image.cmd.count = 0;
	assert_null(write_bundle(&f, false, &e));
	assert_says("no command specified");
	tear_down(&f);
}

static size_t place_of(json_t *config, const char *destination)
{
	json_t *entry;
	size_t i;

	json_array_foreach (at(config, "mounts"), i, entry)
		if (str_eq(json_string_value(json_object_get(entry, "destination")), destination))
			return i;
	fail_msg("no mount on %s", destination);
	return 0;
}

static void a_mount_comes_before_those_that_lie_in_it(void **state)
{
	auto_json json_t *config = NULL;
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f,
	       "{\"volumes\":[{\"name\":\"v\",\"host\":{\"sourcePath\":\"/tmp\"}},{\"name\":\"w\"}],"
	       "\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":64,\"mountPoints\":["
	       "{\"sourceVolume\":\"v\",\"containerPath\":\"/data/cache/deep\",\"readOnly\":true},"
	       "{\"sourceVolume\":\"w\",\"containerPath\":\"/data\"},"
	       "{\"sourceVolume\":\"v\",\"containerPath\":\"/data/cache\"},"
	       "{\"sourceVolume\":\"v\",\"containerPath\":\"/etc\"}]}]}");
	config = write_bundle(&f, false, &e);
	assert_non_null(config);
	assert_true(place_of(config, "/data") < place_of(config, "/data/cache"));
	assert_true(place_of(config, "/data/cache") < place_of(config, "/data/cache/deep"));
	assert_true(place_of(config, "/etc") < place_of(config, "/etc/hosts"));
	assert_true(place_of(config, "/dev") < place_of(config, "/dev/shm"));
	tear_down(&f);
}

static void a_volume_without_a_path_is_a_directory_of_the_task(void **state)
{
	auto_free char *path = NULL;
	struct err e = {0};
	struct fixture f;
	struct stat st;

	(void)state;
	set_up(&f, WITH(""));
	f.task.wanted.definition.volumes =
		(struct js_list){.items = &(struct ecs_volume){.name = (char[]){"v"}}, .count = 1};
	assert_fails(volume_of(&f.task, "w", &path, &e), EINVAL);
	assert_ok(volume_of(&f.task, "v", &path, &e));
	assert_memory_equal(path, f.dir, strlen(f.dir));
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	tear_down(&f);
}

static void a_filter_is_compiled_once_for_each_set_of_capabilities(void **state)
{
	static const char *const definitions[] = {
		WITH(""),
		WITH(",\"linuxParameters\":{\"capabilities\":{\"add\":[\"SYS_PTRACE\"]}}")};
	auto_free char *first = NULL;
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f, definitions[0]);
	for (size_t i = 0; i < ARRAY_COUNT(definitions); i++) {
		auto_json json_t *doc = NULL, *config = NULL, *again = NULL;
		const char *path;
		struct stat before, after;

		assert_ok(js_parse(definitions[i], strlen(definitions[i]), 32, &doc, &e));
		assert_ok(ecs_task_definition_decode(doc, &f.arena, &f.task.wanted.definition, &e));
		f.container.def = JS_AT(f.task.wanted.definition.containers,
					struct ecs_container_definition, 0);
		config = write_bundle(&f, false, &e);
		path = json_string_value(at(config, "linux.seccomp.compiled"));
		assert_non_null(path);
		assert_string_equal(json_string_value(at(config, "linux.seccomp.defaultAction")),
				    "SCMP_ACT_ERRNO");
		assert_int_equal(stat(path, &before), 0);
		again = write_bundle(&f, false, &e);
		assert_string_equal(json_string_value(at(again, "linux.seccomp.compiled")), path);
		assert_int_equal(stat(path, &after), 0);
		assert_int_equal(before.st_ino, after.st_ino);
		if (first)
			assert_string_not_equal(first, path);
		free(first);
		first = xstrdup(path);
	}
	tear_down(&f);
}

static void hosts_and_resolver_are_the_containers_own(void **state)
{
	auto_buf struct buf hosts = BUF_INIT(65536), resolver = BUF_INIT(65536),
			    name = BUF_INIT(256);
	auto_close int dir_fd = -1;
	struct err e = {0};
	struct fixture f;

	(void)state;
	set_up(&f,
	       WITH(",\"hostname\":\"h\",\"extraHosts\":[{\"hostname\":\"db\",\"ipAddress\":\"10.0.0.9\"}],"
		    "\"dnsServers\":[\"10.0.0.53\"],\"dnsSearchDomains\":[\"one\",\"two\"]"));
	assert_ok(files_write(&(struct bundle_options){.container = &f.container,
						       .image = &f.image,
						       .user = &f.user,
						       .endpoint = &f.endpoint,
						       .dir = f.dir},
			      &e));
	dir_fd = open(f.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_ok(fs_read(dir_fd, "hosts", &hosts, &e));
	assert_ok(fs_read(dir_fd, "resolv.conf", &resolver, &e));
	assert_ok(fs_read(dir_fd, "hostname", &name, &e));
	assert_string_equal(buf_str(&hosts), "127.0.0.1\tlocalhost\n"
					     "::1\tlocalhost ip6-localhost ip6-loopback\n"
					     "172.30.0.2\th\n10.0.0.9\tdb\n");
	assert_string_equal(buf_str(&name), "h\n");
	assert_non_null(strstr(buf_str(&resolver), "nameserver 10.0.0.53\nsearch one two\n"));
	assert_int_equal(strstr(buf_str(&resolver), "nameserver") ==
				 strstr(buf_str(&resolver), "nameserver 10.0.0.53"),
			 1);
	tear_down(&f);
}

static void a_resolver_of_ours_is_in_the_place_of_the_hosts(void **state)
{
	static const struct {
		const char *definition, *resolver, *servers;
	} rows[] = {
		{WITH(""), "169.254.169.253", "nameserver 169.254.169.253\n"},
		{WITH(",\"dnsServers\":[\"10.0.0.53\",\"10.0.0.54\"]"), "169.254.169.253",
		 "nameserver 10.0.0.53\nnameserver 10.0.0.54\n"},
		{WITH(",\"dnsServers\":[\"10.0.0.53\"]"), NULL, "nameserver 10.0.0.53\n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_buf struct buf resolver = BUF_INIT(65536);
		auto_close int dir_fd = -1;
		struct err e = {0};
		struct fixture f;
		const char *first;

		set_up(&f, rows[i].definition);
		assert_ok(files_write(&(struct bundle_options){.container = &f.container,
							       .image = &f.image,
							       .user = &f.user,
							       .endpoint = &f.endpoint,
							       .resolver = rows[i].resolver,
							       .dir = f.dir},
				      &e));
		dir_fd = open(f.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		assert_ok(fs_read(dir_fd, "resolv.conf", &resolver, &e));
		first = strstr(buf_str(&resolver), "nameserver");
		assert_non_null(first);
		assert_string_equal(first, rows[i].servers);
		tear_down(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_definition_says_is_where_the_runtime_looks),
		cmocka_unit_test(only_with_the_hosts_network_is_the_network_namespace_the_hosts),
		cmocka_unit_test(ids_of_the_task_are_in_all_that_needs_them),
		cmocka_unit_test(an_image_without_a_command_needs_one),
		cmocka_unit_test(a_mount_comes_before_those_that_lie_in_it),
		cmocka_unit_test(a_volume_without_a_path_is_a_directory_of_the_task),
		cmocka_unit_test(a_filter_is_compiled_once_for_each_set_of_capabilities),
		cmocka_unit_test(hosts_and_resolver_are_the_containers_own),
		cmocka_unit_test(a_resolver_of_ours_is_in_the_place_of_the_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
