/* tests/unit/scheduler/vpc.c - network interfaces, addresses, and what hosts hear of groups
 * SPDX-License-Identifier: Apache-2.0
 *
 * The core is driven by its facade alone: requests and reports in, effects out.
 */
#include "tests/unit/scheduler/driven.h"

#define REST_MS 60000

static char hosts[2][33];

/* The first id that a description of a kind has; the caller's. */
static char *first_id(const char *operation, const char *path)
{
	auto_json json_t *reply = call(operation, "{}");

	return xstrdup(text_at(reply, path));
}

/* The messages of the last effects to a host, one text. */
static char *messages_to(const char *host)
{
	auto_buf struct buf b = BUF_INIT(1 << 20);

	for (size_t i = 0; i < fx.count; i++)
		if (fx.items[i].kind == CORE_SEND && strcmp(fx.items[i].key, host) == 0)
			buf_printf(&b, "%s\n", fx.items[i].text);
	return xstrdup(buf_str(&b));
}

static int begin(void **state)
{
	(void)state;
	begin_core();
	hosts[0][0] = hosts[1][0] = '\0';
	hello("a", "r1", hosts[0]);
	hello("b", "r2", hosts[1]);
	do_call("RegisterTaskDefinition",
		"{\"family\":\"web\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":[{\"name\":"
		"\"a\",\"image\":\"i\",\"memory\":8,\"portMappings\":[{\"containerPort\":80,"
		"\"hostPort\":80}]}]}");
	return 0;
}

/* One task on a host; the reply of StartTask. */
static json_t *start_in(const char *host, const char *subnet, const char *groups)
{
	json_t *reply =
		call("StartTask",
		     "{\"taskDefinition\":\"web\",\"containerInstances\":[\"%s\"],"
		     "\"networkConfiguration\":{\"awsvpcConfiguration\":{\"subnets\":[\"%s\"],"
		     "\"securityGroups\":[%s]}}}",
		     host, subnet, groups);

	if (!reply)
		fail_msg("%s", fault.message);
	return reply;
}

static char *make_group_in(const char *vpc, const char *name)
{
	auto_json json_t *reply = call(
		"CreateSecurityGroup",
		"{\"VpcId\":\"%s\",\"GroupName\":\"%s\",\"GroupDescription\":\"d\"}", vpc, name);

	assert_non_null(reply);
	return xstrdup(text_at(reply, "groupId"));
}

static char *make_group(const char *name)
{
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");

	return make_group_in(vpc, name);
}

static void let_in(const char *group, const char *from)
{
	do_call("AuthorizeSecurityGroupIngress",
		"{\"GroupId\":\"%s\",\"IpPermissions\":[{\"IpProtocol\":\"tcp\",\"FromPort\":80,"
		"\"ToPort\":80,\"Groups\":[{\"GroupId\":\"%s\"}]}]}",
		group, from);
}

/* ---- tests ---- */

static void a_task_has_an_interface_of_its_own(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_json json_t *reply = start_in(hosts[0], subnet, ""), *described = NULL, *after = NULL;
	auto_free char *told = messages_to(hosts[0]);

	(void)state;
	assert_string_equal(text_at(reply, "tasks[0].lastStatus"), "PROVISIONING");
	assert_string_equal(text_at(reply, "tasks[0].attachments[0].type"),
			    "ElasticNetworkInterface");
	assert_string_equal(text_at(reply, "tasks[0].attachments[0].status"), "PRECREATED");
	assert_string_equal(text_at(reply, "tasks[0].attachments[0].details[2].name"),
			    "macAddress");
	assert_string_equal(text_at(reply, "tasks[0].attachments[0].details[2].value"),
			    "0a:58:ac:1f:00:04");
	assert_string_equal(
		text_at(reply, "tasks[0].containers[0].networkInterfaces[0].privateIpv4Address"),
		"172.31.0.4"); /* the first that AWS gives, too */
	assert_string_equal(
		text_at(reply, "tasks[0].containers[0].networkInterfaces[0].attachmentId"),
		text_at(reply, "tasks[0].attachments[0].id"));

	/* The groups come before the task that is in them. */
	assert_non_null(strstr(told, "\"address\":\"172.31.0.4\""));
	assert_non_null(strstr(told, "\"subnet\":\"172.31.0.0/20\""));
	assert_true(strstr(told, "\"type\":\"groups\"") < strstr(told, "\"type\":\"tasks\""));

	described = call("DescribeNetworkInterfaces", "{}");
	assert_string_equal(text_at(described, "networkInterfaceSet[0].status"), "in-use");
	assert_string_equal(text_at(described, "networkInterfaceSet[0].groupSet[0].groupName"),
			    "default");
	report(hosts[0], text_at(reply, "tasks[0].taskArn"), "RUNNING");
	after = call("DescribeTasks", "{\"tasks\":[\"%s\"]}", text_at(reply, "tasks[0].taskArn"));
	assert_string_equal(text_at(after, "tasks[0].attachments[0].status"), "ATTACHED");
}

static void assert_same_after_a_restart(const char *operation)
{
	auto_json json_t *before = call(operation, "{}"), *after = NULL;

	restart();
	for (int i = 0; i < 2; i++)
		hello(i ? "b" : "a", i ? "r2" : "r1", hosts[i]);
	after = call(operation, "{}");
	if (!json_equal(before, after)) {
		auto_free char *was = js_dump(before), *is = js_dump(after);

		assert_string_equal(is, was);
	}
}

/* It is made of facts each time it is shown, and of its document when the server starts. */
static void an_interface_stays_what_it_is(void **state)
{
	auto_json json_t *vpc = call("CreateVpc", "{\"CidrBlock\":\"10.1.0.0/16\","
						  "\"AmazonProvidedIpv6CidrBlock\":true}"),
			 *subnet = NULL, *reply = NULL, *shown = NULL;
	auto_free char *one = NULL, *two = NULL, *groups = NULL;
	const char *id, *vpc_id = text_at(vpc, "vpc.vpcId"),
			*block = text_at(vpc, "vpc.ipv6CidrBlockAssociationSet[0].ipv6CidrBlock");

	(void)state;
	subnet = call(
		"CreateSubnet",
		"{\"VpcId\":\"%s\",\"CidrBlock\":\"10.1.1.0/24\",\"Ipv6CidrBlock\":\"%.*s/64\"}",
		vpc_id, (int)strcspn(block, "/"), block);
	one = make_group_in(vpc_id, "one");
	two = make_group_in(vpc_id, "two");
	groups = xasprintf("\"%s\",\"%s\"", one, two);
	reply = start_in(hosts[0], text_at(subnet, "subnet.subnetId"), groups);
	do_call("DescribeNetworkInterfaces", "{}");
	shown = call("DescribeNetworkInterfaces", "{}");
	id = text_at(shown, "networkInterfaceSet[0].networkInterfaceId");
	assert_string_equal(text_at(shown, "networkInterfaceSet[0].privateIpAddress"), "10.1.1.4");
	assert_string_equal(text_at(shown, "networkInterfaceSet[0].privateDnsName"),
			    "ip-10-1-1-4.ec2.internal");
	assert_string_equal(text_at(shown, "networkInterfaceSet[0].groupSet[1].groupName"), "two");
	assert_non_null(strstr(
		text_at(shown, "networkInterfaceSet[0].ipv6AddressesSet[0].ipv6Address"), "::4"));
	do_call("CreateTags",
		"{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"a\",\"Value\":\"1\"},{\"Key\":\"b\"}]}",
		id);
	do_call("DeleteTags", "{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"b\"}]}", id);
	assert_same_after_a_restart("DescribeNetworkInterfaces");
	assert_same_after_a_restart("DescribeTags");
	assert_null(call("DeleteSecurityGroup", "{\"GroupId\":\"%s\"}", one));

	/* From here on it rests: nobody sees it, and its groups may go. */
	report(hosts[0], text_at(reply, "tasks[0].taskArn"), "STOPPED");
	for (int again = 0; again < 2; again++) {
		auto_json json_t *none = call("DescribeNetworkInterfaces", "{}"),
				 *tags = call("DescribeTags", "{}");

		assert_int_equal(json_array_size(value_at(none, "networkInterfaceSet")), 0);
		assert_int_equal(json_array_size(value_at(tags, "tagSet")), 0);
		assert_null(call("CreateTags",
				 "{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"c\"}]}", id));
		restart();
	}
	do_call("DeleteSecurityGroup", "{\"GroupId\":\"%s\"}", one);
	restart();
	core_tick(core, now_ms + REST_MS);
	take_effects();
	do_call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", text_at(subnet, "subnet.subnetId"));
}

/* As if the server had ended in the middle: of a task whose document is gone. */
static void an_interface_of_no_task_is_released(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId"), *key = NULL;
	auto_json json_t *reply = start_in(hosts[0], subnet, ""), *none = NULL;
	const char *arn = text_at(reply, "tasks[0].taskArn");

	(void)state;
	key = xasprintf("task/default/%s", strrchr(arn, '/') + 1);
	disk_item_free(map_remove(&disk.items, key));
	restart();
	none = call("DescribeNetworkInterfaces", "{}");
	assert_int_equal(json_array_size(value_at(none, "networkInterfaceSet")), 0);
	restart();
	core_tick(core, now_ms + REST_MS);
	take_effects();
	do_call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", subnet);
}

/* As on AWS a subnet that describes no interface is in nobody's way, whatever rests. */
static void a_subnet_may_go_while_addresses_of_it_rest(void **state)
{
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");
	auto_json json_t *subnet =
		call("CreateSubnet", "{\"VpcId\":\"%s\",\"CidrBlock\":\"172.31.128.0/20\"}", vpc);
	const char *id = text_at(subnet, "subnet.subnetId");
	auto_json json_t *reply = NULL, *again = NULL;

	(void)state;
	reply = start_in(hosts[0], id, "");
	assert_null(call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", id));
	assert_int_equal(fault.type, ECS_FAULT_EC2_DEPENDENCY);
	report(hosts[0], text_at(reply, "tasks[0].taskArn"), "STOPPED");
	do_call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", id);
	restart();
	again = call("CreateSubnet", "{\"VpcId\":\"%s\",\"CidrBlock\":\"172.31.128.0/20\"}", vpc);
	core_tick(core, now_ms + REST_MS);
	take_effects();
	restart();
	do_call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", text_at(again, "subnet.subnetId"));
}

static void a_group_that_is_named_twice_is_one(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId"),
		       *web = make_group("web"), *twice = xasprintf("\"%s\",\"%s\"", web, web);
	auto_json json_t *reply = start_in(hosts[0], subnet, twice), *shown = NULL;

	(void)state;
	shown = call("DescribeNetworkInterfaces", "{}");
	assert_int_equal(json_array_size(value_at(shown, "networkInterfaceSet[0].groupSet")), 1);
	report(hosts[0], text_at(reply, "tasks[0].taskArn"), "STOPPED");
	do_call("DeleteSecurityGroup", "{\"GroupId\":\"%s\"}", web);
}

static void requests_are_checked_in_the_words_of_ecs(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	static const struct {
		const char *configuration, *says; /* S stands for the subnet */
	} rows[] = {
		{"", "Network Configuration must be provided when networkMode 'awsvpc'"},
		{"\"subnets\":[]", "subnets can not be empty"},
		{"\"subnets\":[\"subnet-1\"]",
		 "The subnet ID 'subnet-1' does not exist (ErrorCode: InvalidSubnetID.NotFound)"},
		{"\"subnets\":[\"S\"],\"securityGroups\":[\"sg-1\"]",
		 "The security group 'sg-1' does not exist (ErrorCode: InvalidGroup.NotFound)"},
		{"\"subnets\":[\"S\"],\"securityGroups\":[\"web\"]",
		 "Invalid id: \"web\" (expecting \"sg-...\") (ErrorCode: InvalidGroupId.Malformed)"},
		{"\"subnets\":[\"S\"],\"securityGroups\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]",
		 "at most 5"},
		{"\"subnets\":[\"S\"],\"assignPublicIp\":\"ENABLED\"",
		 "Assign public IP is not supported for this launch type"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		const char *s = strstr(rows[i].configuration, "[\"S\"]");
		auto_free char *configuration = s ? xasprintf("%.*s[\"%s\"]%s",
							      (int)(s - rows[i].configuration),
							      rows[i].configuration, subnet, s + 5)
						  : xstrdup(rows[i].configuration);
		json_t *reply =
			*configuration
				? call("RunTask",
				       "{\"taskDefinition\":\"web\",\"networkConfiguration\":"
				       "{\"awsvpcConfiguration\":{%s}}}",
				       configuration)
				: call("RunTask", "{\"taskDefinition\":\"web\"}");

		if (reply || !strstr(fault.message, rows[i].says))
			fail_msg("%s: %s", rows[i].configuration, fault.message);
		assert_int_equal(fault.type, ECS_FAULT_INVALID_PARAMETER);
		assert_int_equal(fx.count, 0);
	}
	do_call("RegisterTaskDefinition",
		"{\"family\":\"bridge\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":\"i\","
		"\"memory\":8}]}");
	assert_null(call("RunTask",
			 "{\"taskDefinition\":\"bridge\",\"networkConfiguration\":"
			 "{\"awsvpcConfiguration\":{\"subnets\":[\"%s\"]}}}",
			 subnet));
	assert_non_null(strstr(fault.message, "is not valid for the given networkMode"));
}

static void addresses_come_in_blocks_and_rest_before_they_come_again(void **state)
{
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");
	auto_json json_t *subnet =
		call("CreateSubnet", "{\"VpcId\":\"%s\",\"CidrBlock\":\"172.31.128.0/20\"}", vpc);
	const char *id = text_at(subnet, "subnet.subnetId");
	auto_free char *arn = NULL;
	static const char path[] = "tasks[0].containers[0].networkInterfaces[0].privateIpv4Address";
	static const struct {
		int host;
		const char *address;
	} rows[] = {
		{0, "172.31.128.4"}, {0, "172.31.128.5"},  {1, "172.31.128.16"},
		{0, "172.31.128.6"}, {1, "172.31.128.17"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *reply = start_in(hosts[rows[i].host], id, "");

		assert_string_equal(text_at(reply, path), rows[i].address);
		if (i == 1)
			arn = xstrdup(text_at(reply, "tasks[0].taskArn"));
	}
	report(hosts[0], arn, "STOPPED");
	for (int pass = 0; pass < 3; pass++) {
		auto_json json_t *reply = start_in(hosts[0], id, "");

		assert_string_not_equal(text_at(reply, path), "172.31.128.5");
		restart(); /* what rests is known after it, too */
		hello("a", "r1", hosts[0]);
		hello("b", "r2", hosts[1]);
		now_ms += REST_MS - 1;
		core_tick(core, START_MS + REST_MS - 1);
	}
}

/* A host that others can reach. */
static void hello_from(const char *address, char id[33])
{
	char *addresses[] = {(char *)(uintptr_t)address};
	struct ecs_attribute eni = {.name = (char *)(uintptr_t) "ecs.capability.task-eni"};
	const struct ecs_node_hello h = {.protocol = ECS_NODE_PROTOCOL,
					 .instance_id = *id ? id : NULL,
					 .hostname = (char *)(uintptr_t)address,
					 .boot_id = (char *)(uintptr_t) "b",
					 .version = (char *)(uintptr_t) "1",
					 .attributes = {&eni, 1},
					 .addresses = {addresses, 1},
					 .cpu_units = 1000,
					 .memory_mib = 1000};
	const char *instance;
	struct err e = {0};

	assert_ok(core_node_hello(core, &h, NULL, 0, now_ms, &instance, &e));
	(void)snprintf(id, 33, "%s", instance);
	take_effects();
}

static void each_host_has_an_address_that_the_others_have_as_a_prefix(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	char third[33] = "", fourth[33] = "";
	char *told;

	(void)state;
	hello_from("192.0.2.1", hosts[0]);
	hello_from("192.0.2.2", hosts[1]);
	json_decref(start_in(hosts[0], subnet, ""));
	json_decref(start_in(hosts[1], subnet, ""));
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"self\":[\"100.64.0.1\",\"fd62:6572:7468::6440:1\"]"));
	assert_non_null(strstr(told, "\"100.64.0.2/32\""));
	assert_null(strstr(told, "fd62:6572:7468::6440:2")); /* nobody there has IPv6 */
	free(told);

	restart();
	hello_from("192.0.2.1", hosts[0]);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"self\":[\"100.64.0.1\","));
	free(told);

	hello_from("192.0.2.3", third); /* the first two are others' */
	told = messages_to(third);
	assert_non_null(strstr(told, "\"self\":[\"100.64.0.3\","));
	free(told);
	do_call("DeregisterContainerInstance", "{\"containerInstance\":\"%s\"}", third);
	hello_from("192.0.2.4", fourth);
	told = messages_to(fourth);
	assert_non_null(strstr(told, "\"self\":[\"100.64.0.4\","));
	free(told);

	assert_null(call("CreateVpc", "{\"CidrBlock\":\"100.64.16.0/20\"}"));
	assert_int_equal(fault.type, ECS_FAULT_EC2_VPC_RANGE);
}

static void a_small_subnet_is_used_up_and_told(void **state)
{
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");
	auto_json json_t *subnet =
		call("CreateSubnet", "{\"VpcId\":\"%s\",\"CidrBlock\":\"172.31.255.0/28\"}", vpc);
	const char *id = text_at(subnet, "subnet.subnetId");
	json_t *reply;

	(void)state;
	for (int i = 0; i < 11; i++) { /* of 16 */
		reply = start_in(hosts[i % 2], id, "");
		assert_int_equal(json_array_size(json_object_get(reply, "failures")), 0);
		json_decref(reply);
	}
	reply = start_in(hosts[0], id, "");
	assert_string_equal(text_at(reply, "failures[0].reason"), "RESOURCE:ENI");
	assert_non_null(
		strstr(text_at(reply, "failures[0].detail"), "InsufficientFreeAddressesInSubnet"));
	json_decref(reply);
	assert_null(call("DeleteSubnet", "{\"SubnetId\":\"%s\"}", id));
	assert_int_equal(fault.type, ECS_FAULT_EC2_DEPENDENCY);
}

static void a_host_hears_of_the_groups_that_it_needs_and_no_others(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_free char *web = make_group("web"), *db = make_group("db"),
		       *other = make_group("other");
	auto_free char *in_web = xasprintf("\"%s\"", web), *in_db = xasprintf("\"%s\"", db);
	auto_json json_t *first = NULL, *second = NULL;
	char *told;

	(void)state;
	let_in(db, web);
	let_in(web, other);

	/* A task in db on host 0: it needs db and, for its rule, web; not other. */
	first = start_in(hosts[0], subnet, in_db);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, db));
	assert_non_null(strstr(told, web));
	assert_null(strstr(told, other));
	free(told);

	/* One in web on host 1: host 0 hears of the member; host 1 hears nothing of db. */
	second = start_in(hosts[1], subnet, in_web);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"joined\":[\"172.31.0."));
	free(told);
	told = messages_to(hosts[1]);
	assert_non_null(strstr(told, web));
	assert_non_null(strstr(told, other));
	assert_null(strstr(told, db));
	free(told);

	/* It ends: host 0 hears that, host 1 that it needs the groups no more. */
	report(hosts[1], text_at(second, "tasks[0].taskArn"), "STOPPED");
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"left\":[\"172.31.0."));
	free(told);
	told = messages_to(hosts[1]);
	assert_non_null(strstr(told, "\"gone\":true"));
	free(told);
}

static void a_change_of_rules_reaches_who_watches(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_free char *db = make_group("db"), *new = make_group("new"),
		       *in_db = xasprintf("\"%s\"", db);
	auto_json json_t *task = start_in(hosts[0], subnet, in_db);
	char *told;

	(void)state;
	let_in(db, new);
	told = messages_to(hosts[0]);
	assert_true(strstr(told, new) != NULL && strstr(told, "\"fromPort\":80"));
	free(told);
	told = messages_to(hosts[1]);
	assert_string_equal(told, "");
	free(told);

	/* After a restart the host that says hello hears the same in full. */
	restart();
	hello("a", "r1", hosts[0]);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"type\":\"groups\",\"full\":true")
				? told
				: strstr(told, "\"full\":true"));
	assert_true(strstr(told, new) != NULL && strstr(told, db) != NULL);
	free(told);

	do_call("RevokeSecurityGroupIngress",
		"{\"GroupId\":\"%s\",\"IpPermissions\":[{\"IpProtocol\":\"tcp\",\"FromPort\":80,"
		"\"ToPort\":80,\"Groups\":[{\"GroupId\":\"%s\"}]}]}",
		db, new);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"gone\":true"));
	free(told);
	assert_null(call("DeleteSecurityGroup", "{\"GroupId\":\"%s\"}", db));
	assert_int_equal(fault.type, ECS_FAULT_EC2_DEPENDENCY);
	do_call("DeleteSecurityGroup", "{\"GroupId\":\"%s\"}", new);
}

static void hosts_hear_of_the_prefixes_of_a_list(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_free char *db = make_group("db"), *in_db = xasprintf("\"%s\"", db);
	auto_json json_t *task = start_in(hosts[0], subnet, in_db);
	auto_json json_t *list = call("CreateManagedPrefixList",
				      "{\"PrefixListName\":\"l\",\"MaxEntries\":5,"
				      "\"AddressFamily\":\"IPv4\",\"Entry\":[{\"Cidr\":"
				      "\"192.0.2.0/24\"},{\"Cidr\":\"198.51.100.7/32\"}]}");
	const char *id = text_at(list, "prefixList.prefixListId");
	char *told;

	(void)state;
	do_call("AuthorizeSecurityGroupIngress",
		"{\"GroupId\":\"%s\",\"IpPermissions\":[{\"IpProtocol\":\"-1\","
		"\"PrefixListIds\":[{\"PrefixListId\":\"%s\"}]}]}",
		db, id);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"cidr\":\"192.0.2.0/24\""));
	assert_non_null(strstr(told, "\"cidr\":\"198.51.100.7/32\""));
	free(told);

	do_call("ModifyManagedPrefixList",
		"{\"PrefixListId\":\"%s\",\"CurrentVersion\":1,\"RemoveEntry\":[{\"Cidr\":"
		"\"192.0.2.0/24\"}],\"AddEntry\":[{\"Cidr\":\"203.0.113.0/24\"}]}",
		id);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"cidr\":\"203.0.113.0/24\""));
	assert_null(strstr(told, "192.0.2.0"));
	free(told);
	restart();
	hello("a", "r1", hosts[0]);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"cidr\":\"203.0.113.0/24\""));
	free(told);
}

static void a_subnet_with_the_tag_is_a_physical_network(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	static const char *const wrong[][2] = {{"berth:vlan", "4095"},
					       {"berth:vlan", "blue"},
					       {"berth:gateway", "fd00::1"},
					       {"berth:gateway6", "10.0.0.1"},
					       {"berth:cut-established", "maybe"}};
	json_t *task = start_in(hosts[0], subnet, "");
	char *told = messages_to(hosts[0]);

	(void)state;
	assert_null(strstr(told, "\"gateway\""));
	free(told);
	json_decref(task);
	for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
		assert_null(call("CreateTags",
				 "{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"%s\",\"Value\":"
				 "\"%s\"}]}",
				 subnet, wrong[i][0], wrong[i][1]));
		assert_int_equal(fault.type, ECS_FAULT_EC2_INVALID_VALUE);
	}
	do_call("CreateTags",
		"{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"berth:vlan\",\"Value\":\"42\"}]}",
		subnet);
	json_decref(start_in(hosts[0], subnet, ""));
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"gateway\":\"172.31.0.1\""));
	assert_non_null(strstr(told, "\"vlan\":42"));
	free(told);
	do_call("CreateTags",
		"{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"berth:gateway\",\"Value\":"
		"\"172.31.9.9\"}]}",
		subnet);
	json_decref(start_in(hosts[0], subnet, ""));
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"gateway\":\"172.31.9.9\""));
	free(told);
}

/* What it is told of has no IPv4 but that of its VPC; its address is the same behind a restart, and not given again. */
static void a_subnet_of_ipv6_alone_gives_no_ipv4(void **state)
{
	auto_json json_t *vpc = call("CreateVpc", "{\"CidrBlock\":\"10.1.0.0/16\","
						  "\"AmazonProvidedIpv6CidrBlock\":true}"),
			 *subnet = NULL, *shown = NULL, *more = NULL, *refused = NULL;
	const char *block = text_at(vpc, "vpc.ipv6CidrBlockAssociationSet[0].ipv6CidrBlock");
	auto_free char *told = NULL, *router = NULL;
	char earlier[33] = "";

	(void)state;
	subnet = call("CreateSubnet",
		      "{\"VpcId\":\"%s\",\"Ipv6CidrBlock\":\"%.*s/64\",\"Ipv6Native\":true}",
		      text_at(vpc, "vpc.vpcId"), (int)strcspn(block, "/"), block);
	do_call("CreateTags",
		"{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"berth:vlan\",\"Value\":\"42\"}]}",
		text_at(subnet, "subnet.subnetId"));
	hello_from("192.0.2.3", earlier); /* of a version that knows of no such subnets */
	refused = start_in(earlier, text_at(subnet, "subnet.subnetId"), "");
	assert_string_equal(text_at(refused, "failures[0].reason"), "RESOURCE:ENI");
	json_decref(start_in(hosts[0], text_at(subnet, "subnet.subnetId"), ""));
	told = messages_to(hosts[0]);
	router = xasprintf("\"gateway6\":\"%.*s1\"", (int)strcspn(block, "/"), block);
	assert_non_null(strstr(told, "\"vpc\":\"10.1.0.0/16\""));
	assert_non_null(strstr(told, "\"mac\":\"0a:59:"));
	assert_non_null(strstr(told, router));
	assert_null(strstr(told, "\"address\":"));
	assert_null(strstr(told, "\"subnet\":"));
	assert_null(strstr(told, "\"gateway\":"));
	shown = call("DescribeNetworkInterfaces", "{}");
	assert_null(value_at(shown, "networkInterfaceSet[0].privateIpAddress"));
	assert_null(value_at(shown, "networkInterfaceSet[0].privateDnsName"));
	assert_non_null(strstr(
		text_at(shown, "networkInterfaceSet[0].ipv6AddressesSet[0].ipv6Address"), "::4"));
	assert_same_after_a_restart("DescribeNetworkInterfaces");
	assert_same_after_a_restart("DescribeSubnets");
	hello("a", "r1", hosts[0]);
	json_decref(start_in(hosts[0], text_at(subnet, "subnet.subnetId"), ""));
	more = call(
		"DescribeNetworkInterfaces",
		"{\"Filter\":[{\"Name\":\"ipv6-addresses.ipv6-address\",\"Value\":[\"%.*s5\"]}]}",
		(int)strcspn(block, "/"), block);
	assert_int_equal(json_array_size(value_at(more, "networkInterfaceSet")), 1);
}

static void a_group_with_the_tag_has_its_changes_cut_connections(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_free char *db = make_group("db"), *in_db = xasprintf("\"%s\"", db);
	auto_json json_t *task = start_in(hosts[0], subnet, in_db);
	char *told;

	(void)state;
	let_in(db, db);
	told = messages_to(hosts[0]);
	assert_null(strstr(told, "\"cut\":true"));
	free(told);
	do_call("CreateTags",
		"{\"ResourceId\":[\"%s\"],\"Tag\":[{\"Key\":\"berth:cut-established\","
		"\"Value\":\"true\"}]}",
		db);
	do_call("RevokeSecurityGroupIngress",
		"{\"GroupId\":\"%s\",\"IpPermissions\":[{\"IpProtocol\":\"tcp\",\"FromPort\":80,"
		"\"ToPort\":80,\"Groups\":[{\"GroupId\":\"%s\"}]}]}",
		db, db);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"cut\":true"));
	free(told);
}

static void a_task_goes_to_a_host_in_the_zone_of_its_subnet(void **state)
{
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");
	auto_json json_t *subnet = call("CreateSubnet",
					"{\"VpcId\":\"%s\",\"CidrBlock\":\"172.31.254.0/24\","
					"\"AvailabilityZone\":\"rack-9\"}",
					vpc);
	auto_json json_t *reply = start_in(hosts[0], text_at(subnet, "subnet.subnetId"), "");

	(void)state;
	assert_string_equal(text_at(reply, "failures[0].reason"), "LOCATION");
}

static void whether_lines_of_a_flow_log_arrive_is_shown(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_json json_t *made = call("CreateFlowLogs",
				      "{\"ResourceId\":[\"%s\"],\"ResourceType\":\"Subnet\","
				      "\"LogGroupName\":\"g\"}",
				      subnet);
	auto_free char *source = xasprintf("flow/%s/eni-1", text_at(made, "flowLogIdSet[0]"));
	auto_json json_t *failed = NULL, *again = NULL;

	(void)state;
	assert_false(core_flow_log_delivered(core, source, NULL, now_ms)); /* as it began */
	assert_false(core_flow_log_delivered(core, "task/1", "disk full", now_ms));
	assert_false(core_flow_log_delivered(core, "flow/fl-0/eni-1", "disk full", now_ms));
	assert_true(core_flow_log_delivered(core, source, "disk full", now_ms));
	assert_false(core_flow_log_delivered(core, source, "disk full", now_ms));
	failed = call("DescribeFlowLogs", "{\"Filter\":[{\"Name\":\"deliver-log-status\",\"Value\":"
					  "[\"FAILED\"]}]}");
	assert_string_equal(text_at(failed, "flowLogSet[0].deliverLogsErrorMessage"), "disk full");
	assert_true(core_flow_log_delivered(core, source, NULL, now_ms));
	again = call("DescribeFlowLogs", "{}");
	assert_string_equal(text_at(again, "flowLogSet[0].deliverLogsStatus"), "SUCCESS");
	assert_null(json_object_get(json_array_get(json_object_get(again, "flowLogSet"), 0),
				    "deliverLogsErrorMessage"));
}

static void a_host_hears_which_flow_logs_cover_its_tasks(void **state)
{
	auto_free char *subnet = first_id("DescribeSubnets", "subnetSet[0].subnetId");
	auto_free char *vpc = first_id("DescribeVpcs", "vpcSet[0].vpcId");
	auto_json json_t *running = start_in(hosts[0], subnet, ""), *first = NULL, *later = NULL,
			 *formatted = NULL;
	char *told;

	(void)state;
	first = call("CreateFlowLogs",
		     "{\"ResourceId\":[\"%s\"],\"ResourceType\":\"Subnet\",\"TrafficType\":"
		     "\"REJECT\",\"LogGroupName\":\"first\",\"MaxAggregationInterval\":60}",
		     subnet);
	assert_non_null(first);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, text_at(running, "tasks[0].taskArn")));
	assert_non_null(strstr(told, "\"group\":\"first\""));
	assert_non_null(strstr(told, "\"traffic\":\"REJECT\""));
	assert_non_null(strstr(told, "\"interval\":60"));
	assert_null(strstr(told, "\"format\"")); /* the default: nodes of all versions know it */
	free(told);
	formatted = call("CreateFlowLogs",
			 "{\"ResourceId\":[\"%s\"],\"ResourceType\":\"Subnet\",\"LogGroupName\":"
			 "\"formatted\",\"LogFormat\":\"${version} ${region} ${srcaddr} "
			 "${pkt-dstaddr} ${log-status}\"}",
			 subnet);
	assert_non_null(formatted);
	told = messages_to(hosts[0]);
	assert_non_null(strstr(told, "\"format\":\"4 us-east-1 ${srcaddr} ${dstaddr} "
				     "${log-status}\""));
	free(told);
	told = messages_to(hosts[1]);
	assert_string_equal(told, "");
	free(told);

	/* A task that comes later is told with all of them. */
	do_call("CreateFlowLogs",
		"{\"ResourceId\":[\"%s\"],\"ResourceType\":\"VPC\",\"LogGroupName\":\"second\"}",
		vpc);
	later = start_in(hosts[1], subnet, "");
	told = messages_to(hosts[1]);
	assert_non_null(strstr(told, "\"group\":\"first\""));
	assert_non_null(strstr(told, "\"interval\":600"));
	free(told);

	do_call("DeleteFlowLogs", "{\"FlowLogId\":[\"%s\"]}", text_at(first, "flowLogIdSet[0]"));
	told = messages_to(hosts[0]);
	assert_null(strstr(told, "\"group\":\"first\""));
	assert_non_null(strstr(told, "\"group\":\"second\""));
	free(told);
	assert_null(
		call("CreateFlowLogs",
		     "{\"ResourceId\":[\"%s\"],\"ResourceType\":\"VPC\",\"LogGroupName\":\"a b\"}",
		     vpc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_task_has_an_interface_of_its_own, begin, end),
		cmocka_unit_test_setup_teardown(an_interface_stays_what_it_is, begin, end),
		cmocka_unit_test_setup_teardown(an_interface_of_no_task_is_released, begin, end),
		cmocka_unit_test_setup_teardown(a_subnet_may_go_while_addresses_of_it_rest, begin,
						end),
		cmocka_unit_test_setup_teardown(a_group_that_is_named_twice_is_one, begin, end),
		cmocka_unit_test_setup_teardown(requests_are_checked_in_the_words_of_ecs, begin,
						end),
		cmocka_unit_test_setup_teardown(
			addresses_come_in_blocks_and_rest_before_they_come_again, begin, end),
		cmocka_unit_test_setup_teardown(a_small_subnet_is_used_up_and_told, begin, end),
		cmocka_unit_test_setup_teardown(
			each_host_has_an_address_that_the_others_have_as_a_prefix, begin, end),
		cmocka_unit_test_setup_teardown(
			a_host_hears_of_the_groups_that_it_needs_and_no_others, begin, end),
		cmocka_unit_test_setup_teardown(a_change_of_rules_reaches_who_watches, begin, end),
		cmocka_unit_test_setup_teardown(hosts_hear_of_the_prefixes_of_a_list, begin, end),
		cmocka_unit_test_setup_teardown(a_subnet_with_the_tag_is_a_physical_network, begin,
						end),
		cmocka_unit_test_setup_teardown(a_subnet_of_ipv6_alone_gives_no_ipv4, begin, end),
		cmocka_unit_test_setup_teardown(
			a_group_with_the_tag_has_its_changes_cut_connections, begin, end),
		cmocka_unit_test_setup_teardown(a_task_goes_to_a_host_in_the_zone_of_its_subnet,
						begin, end),
		cmocka_unit_test_setup_teardown(whether_lines_of_a_flow_log_arrive_is_shown, begin,
						end),
		cmocka_unit_test_setup_teardown(a_host_hears_which_flow_logs_cover_its_tasks, begin,
						end),
	};

	return cmocka_run_group_tests_name("scheduler/vpc", tests, NULL, NULL);
}
