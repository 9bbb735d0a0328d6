/* tests/unit/ecs/taskdef.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "ecs/model.h"
#include "ecs/taskdef.h"

/* Check a definition as RegisterTaskDefinition does: against the model, then against the rules. */
static int check(const char *text, struct ecs_fault *f)
{
	auto_json json_t *doc = NULL;
	auto_arena struct arena a = {0};
	struct ecs_task_definition t;
	struct err e = {0};

	assert_ok(js_parse(text, strlen(text), 32, &doc, &e));
	f->message[0] = '\0';
	if (ecs_model_check(ecs_model_find(&ecs_model_ecs, "RegisterTaskDefinition")->request, doc,
			    f) < 0)
		return -1;
	assert_ok(ecs_task_definition_decode(doc, &a, &t, &e));
	return ecs_task_definition_check(&t, "us-east-1", f);
}

/* A definition with one container "a" that has these members too. */
#define WITH(task, container)                                                                  \
	"{\"family\":\"f\"," task "\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\"," \
	"\"memory\":64," container "\"cpu\":0}]}"

/* Container "web" links to these, "db" has those members. */
#define LINKS(task, links, db)                                                                   \
	"{\"family\":\"f\"," task "\"containerDefinitions\":[{\"name\":\"web\",\"image\":\"i\"," \
	"\"memory\":64,\"links\":[" links "]},{\"name\":\"db\",\"image\":\"i\"," db              \
	"\"memory\":64}]}"

static const struct {
	const char *text, *says; /* NULL: it is accepted */
} rules[] = {
	{WITH("", ""), NULL},
	{"{\"family\":\"\",\"containerDefinitions\":[]}", "Family should not be null or empty"},
	{"{\"family\":\"a b\",\"containerDefinitions\":[]}", "Family contains invalid characters"},
	{"{\"family\":\"f\",\"containerDefinitions\":[]}", "should not be null or empty"},
	{"{\"family\":\"f\",\"containerDefinitions\":[{\"image\":\"i\",\"memory\":64}]}",
	 "Container.name should not be null or empty"},
	{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"memory\":64}]}",
	 "Container.image should not be null or empty"},
	{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\"}]}",
	 "At least one of 'memory' or 'memoryReservation' must be specified"},
	{"{\"family\":\"f\",\"memory\":\"512\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\"}]}",
	 NULL},
	{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":5}]}",
	 "'memory' is 5 MiB, the minimum is 6 MiB"},
	{WITH("", "\"memoryReservation\":128,"), "must be greater than 'memoryReservation'"},
	{WITH("\"memory\":\"32\",", ""), "greater than that of the task"},
	{WITH("", "\"essential\":false,"), "At least one container must be essential"},
	{WITH("\"cpu\":\"64\",", ""), "Invalid 'cpu' setting for task"},
	{WITH("\"cpu\":\".25 vCPU\",", ""), NULL},
	{WITH("\"memory\":\"half\",", ""), "Invalid 'memory' setting for task"},
	{WITH("\"ephemeralStorage\":{\"sizeInGiB\":21},", ""), NULL},
	{WITH("\"ephemeralStorage\":{\"sizeInGiB\":200},", ""), NULL},
	{WITH("\"networkMode\":\"awsvpc\",", ""), NULL},
	{WITH("\"networkMode\":\"awsvpc\",", "\"hostname\":\"h\","),
	 "hostname is not supported on container when networkMode=awsvpc"},
	{WITH("\"networkMode\":\"awsvpc\",",
	      "\"portMappings\":[{\"containerPort\":80,\"hostPort\":81}],"),
	 "When networkMode=awsvpc, the host ports and container ports"},
	{WITH("\"networkMode\":\"awsvpc\",",
	      "\"portMappings\":[{\"containerPort\":80},{\"containerPort\":80}],"),
	 "Host port 80/tcp is mapped twice"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"8000-8100\"},"
		  "{\"containerPortRange\":\"8050-8060\",\"protocol\":\"udp\"}],"),
	 NULL},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"8000-8100\",\"containerPort\":1}],"),
	 "'containerPort' and 'containerPortRange' exclude each other"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"8000-8100\",\"hostPort\":1}],"),
	 "'hostPort' and 'containerPortRange' exclude each other"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"8100-8100\"}],"),
	 "Invalid containerPortRange '8100-8100'"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"0-5\"}],"),
	 "Invalid containerPortRange '0-5'"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"5-65536\"}],"),
	 "Invalid containerPortRange '5-65536'"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"80\"}],"),
	 "Invalid containerPortRange '80'"},
	{WITH("", "\"portMappings\":[{\"containerPortRange\":\"8000-8100\"},"
		  "{\"containerPort\":8100}],"),
	 "A port can only be in one port mapping: 8000-8100 overlaps"},
	{WITH("\"networkMode\":\"awsvpc\",",
	      "\"portMappings\":[{\"containerPortRange\":\"8000-8100\"}],"),
	 NULL},
	{WITH("\"networkMode\":\"host\",",
	      "\"portMappings\":[{\"containerPortRange\":\"8000-8100\"}],"),
	 "containerPortRange is not supported when networkMode=host"},
	{LINKS("", "\"db\"", ""), NULL},
	{LINKS("", "\"db:store\",\"db\"", ""), NULL},
	{LINKS("\"networkMode\":\"awsvpc\",", "\"db\"", ""),
	 "Links are not supported when networkMode=awsvpc."},
	{LINKS("\"networkMode\":\"host\",", "\"db\"", ""),
	 "Links are not supported when networkMode=host."},
	{LINKS("\"networkMode\":\"none\",", "\"db\"", ""),
	 "Links are not supported when networkMode=none."},
	{LINKS("", "\"cache\"", ""), "Link 'cache' is to a container that does not exist"},
	{LINKS("", "\"d\"", ""), "Link 'd' is to a container that does not exist"},
	{LINKS("", "\"db:\"", ""), "Invalid link 'db:'"},
	{LINKS("", "\"db:a b\"", ""), "Invalid link 'db:a b'"},
	{LINKS("", "\"db:x\",\"db:x\"", ""), "The alias 'x' is used by two links"},
	{LINKS("", "\"web\"", ""), "Container links should not have a cycle"},
	{LINKS("", "\"db\"", "\"links\":[\"web\"],"), "Container links should not have a cycle"},
	{LINKS("", "\"db\"", "\"disableNetworking\":true,"),
	 "Link 'db' is to a container without a network"},
	{WITH("\"requiresCompatibilities\":[\"FARGATE\"],", ""),
	 "requiresCompatibilities 'FARGATE'"},
	{WITH("\"requiresCompatibilities\":[\"EC2\",\"EXTERNAL\"],", ""), NULL},
	{WITH("", "\"portMappings\":[{\"containerPort\":80}],"), NULL},
	{WITH("", "\"portMappings\":[{\"containerPort\":0}],"), "Invalid container port 0"},
	{WITH("", "\"portMappings\":[{\"containerPort\":80,\"hostPort\":65536}],"),
	 "Invalid host port"},
	{WITH("", "\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080},"
		  "{\"containerPort\":81,\"hostPort\":8080}],"),
	 "Host port 8080/tcp is mapped twice"},
	{WITH("", "\"portMappings\":[{\"containerPort\":80,\"hostPort\":8080},"
		  "{\"containerPort\":81,\"hostPort\":8080,\"protocol\":\"udp\"}],"),
	 NULL},
	{WITH("\"networkMode\":\"host\",",
	      "\"portMappings\":[{\"containerPort\":80,\"hostPort\":81}],"),
	 "host ports and container ports in port mappings must match"},
	{WITH("\"networkMode\":\"none\",", "\"portMappings\":[{\"containerPort\":80}],"),
	 "not allowed when networkMode=none"},
	{WITH("", "\"mountPoints\":[{\"sourceVolume\":\"v\",\"containerPath\":\"/v\"}],"),
	 "Unknown volume 'v'"},
	{WITH("\"volumes\":[{\"name\":\"v\"}],",
	      "\"mountPoints\":[{\"sourceVolume\":\"v\",\"containerPath\":\"v\"}],"),
	 "must be an absolute path"},
	{WITH("\"volumes\":[{\"name\":\"v\",\"host\":{\"sourcePath\":\"tmp\"}}],", ""),
	 "is not an absolute path"},
	{WITH("\"volumes\":[{\"name\":\"v\"},{\"name\":\"v\"}],", ""), "'v' is used twice"},
	{WITH("", "\"linuxParameters\":{\"capabilities\":{\"add\":[\"NET_ADMIN\",\"FLY\"]}},"),
	 "Unknown capability 'FLY'"},
	{WITH("", "\"ulimits\":[{\"name\":\"nofile\",\"softLimit\":10,\"hardLimit\":5}],"),
	 "over the hard limit"},
	{WITH("", "\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"2\"}],"), NULL},
	{WITH("", "\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"0\"}],"),
	 "The value '0' of the resource requirement GPU is not a number from 1"},
	{WITH("", "\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"all\"}],"),
	 "The value 'all' of the resource requirement GPU"},
	{WITH("", "\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"257\"}],"),
	 "The value '257' of the resource requirement GPU"},
	{WITH("", "\"resourceRequirements\":[{\"type\":\"GPU\",\"value\":\"1\"},"
		  "{\"type\":\"GPU\",\"value\":\"1\"}],"),
	 "a second resource requirement of type GPU"},
	{WITH("",
	      "\"resourceRequirements\":[{\"type\":\"InferenceAccelerator\",\"value\":\"d\"}],"),
	 "resourceRequirements of type InferenceAccelerator is not supported"},
	{WITH("", "\"systemControls\":[{\"namespace\":\"kernel.panic\",\"value\":\"1\"}],"),
	 "not one that a container may set"},
	{WITH("", "\"systemControls\":[{\"namespace\":\"net.core.somaxconn\",\"value\":\"1\"}],"),
	 NULL},
	{WITH("", "\"dnsServers\":[\"dns.example\"],"), "which is not an IP address"},
	{WITH("", "\"extraHosts\":[{\"hostname\":\"h\",\"ipAddress\":\"::1\"}],"), NULL},
	{WITH("", "\"environment\":[{\"name\":\"A=B\",\"value\":\"\"}],"),
	 "Invalid environment variable name"},
	{WITH("", "\"logConfiguration\":{\"logDriver\":\"syslog\"},"),
	 "Log driver 'syslog' is not supported"},
	{WITH("", "\"logConfiguration\":{\"logDriver\":\"awslogs\"},"),
	 "requires options: awslogs-group"},
	{WITH("",
	      "\"logConfiguration\":{\"logDriver\":\"awslogs\",\"options\":{\"awslogs-group\":\"g\","
	      "\"awslogs-region\":\"eu-west-1\"}},"),
	 "is not this server's region 'us-east-1'"},
	{WITH("",
	      "\"logConfiguration\":{\"logDriver\":\"awslogs\",\"options\":{\"awslogs-group\":\"g\","
	      "\"awslogs-multiline-pattern\":\"^x\"}},"),
	 "does not support the option 'awslogs-multiline-pattern'"},
	{WITH("",
	      "\"logConfiguration\":{\"logDriver\":\"json-file\",\"options\":{\"max-size\":\"1x\"}},"),
	 "is not a size"},
	{WITH("", "\"stopTimeout\":-1,"), "'stopTimeout' must be from 0"},
	{WITH("", "\"repositoryCredentials\":{\"credentialsParameter\":\"team/hub\"},"), NULL},
	{WITH("", "\"repositoryCredentials\":{\"credentialsParameter\":\"../hub\"},"),
	 "'credentialsParameter' is '../hub', which is neither"},
	{"{\"family\":\"f\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\",\"memory\":64},"
	 "{\"name\":\"a\",\"image\":\"i\",\"memory\":64}]}",
	 "'a' is used twice"},
};

static void the_rules_of_ecs_are_told_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct ecs_fault f;
		int r = check(rules[i].text, &f);

		if ((r < 0) != (rules[i].says != NULL))
			fail_msg("%s: %d: %s", rules[i].text, r, f.message);
		if (r < 0 && (!strstr(f.message, rules[i].says) || f.type != ECS_FAULT_CLIENT))
			fail_msg("%s: %s: %s", rules[i].text, ecs_fault_name(f.type), f.message);
	}
}

static void sizes_of_tasks_have_units(void **state)
{
	static const struct {
		const char *text;
		bool (*parse)(const char *, int64_t *);
		int64_t value; /* -1: refused */
	} rows[] = {
		{"256", ecs_parse_cpu, 256},      {"1 vCPU", ecs_parse_cpu, 1024},
		{".5vcpu", ecs_parse_cpu, 512},   {"1 GB", ecs_parse_cpu, -1},
		{"-1", ecs_parse_cpu, -1},        {"1.0001vcpu", ecs_parse_cpu, -1},
		{"512", ecs_parse_memory, 512},   {"0.5GB", ecs_parse_memory, 512},
		{"2 gb", ecs_parse_memory, 2048}, {"GB", ecs_parse_memory, -1},
		{"1..5GB", ecs_parse_memory, -1}, {"", ecs_parse_memory, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t v = -1;

		assert_int_equal(rows[i].parse(rows[i].text, &v), rows[i].value >= 0);
		assert_int_equal(v, rows[i].value);
	}
}

static void a_task_demands_its_own_size_or_the_sum_of_its_containers(void **state)
{
	static const struct {
		const char *text;
		int64_t cpu, memory;
	} rows[] = {
		{"{\"containerDefinitions\":[{\"cpu\":100,\"memory\":64},{\"cpu\":28,\"memory\":100,"
		 "\"memoryReservation\":50}]}",
		 128, 114},
		{"{\"cpu\":\"1 vCPU\",\"memory\":\"1GB\",\"containerDefinitions\":[{\"cpu\":100,\"memory\":64}]}",
		 1024, 1024},
		{"{\"containerDefinitions\":[]}", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_arena struct arena a = {0};
		struct ecs_task_definition t;
		struct ecs_demand d;
		struct err e = {0};

		assert_ok(js_decode_text(rows[i].text, strlen(rows[i].text),
					 &ecs_task_definition_shape, &a, &t, &e));
		ecs_task_definition_demand(&t, &d);
		assert_int_equal(d.cpu_units, rows[i].cpu);
		assert_int_equal(d.memory_mib, rows[i].memory);
	}
}

static void what_ecs_fills_in_is_filled_in(void **state)
{
	static const char text[] =
		"{\"networkMode\":\"host\",\"containerDefinitions\":[{\"name\":\"a\","
		"\"portMappings\":[{\"containerPort\":80}]}]}";
	auto_json json_t *doc = NULL;
	struct err e = {0};
	char *after;

	(void)state;
	assert_ok(js_parse(text, strlen(text), 32, &doc, &e));
	ecs_task_definition_set_defaults(doc);
	after = js_dump(doc);
	assert_string_equal(
		after,
		"{\"networkMode\":\"host\",\"containerDefinitions\":[{\"name\":\"a\","
		"\"portMappings\":[{\"containerPort\":80,\"hostPort\":80,\"protocol\":\"tcp\"}],"
		"\"cpu\":0,\"essential\":true,\"environment\":[],\"mountPoints\":[],"
		"\"volumesFrom\":[],\"systemControls\":[]}],\"volumes\":[],"
		"\"placementConstraints\":[]}");
	free(after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_rules_of_ecs_are_told_by_name),
		cmocka_unit_test(sizes_of_tasks_have_units),
		cmocka_unit_test(a_task_demands_its_own_size_or_the_sum_of_its_containers),
		cmocka_unit_test(what_ecs_fills_in_is_filled_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
