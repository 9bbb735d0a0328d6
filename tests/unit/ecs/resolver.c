/* tests/unit/ecs/resolver.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "ecs/arn.h"
#include "ecs/resolver.h"

/* EC2's user guide, "Amazon EC2 instance hostname types". */
static void private_names_are_those_of_ec2(void **state)
{
	static const struct {
		const char *region, *name;
		uint32_t address;
	} rows[] = {
		{"us-east-1", "ip-10-0-0-5.ec2.internal", 0x0a000005},
		{"us-west-2", "ip-10-24-34-0.us-west-2.compute.internal", 0x0a182200},
		{"ap-southeast-1", "ip-255-255-255-255.ap-southeast-1.compute.internal",
		 0xffffffff},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char name[ECS_PRIVATE_NAME_SIZE];

		ecs_private_name(rows[i].address, rows[i].region, name);
		assert_string_equal(name, rows[i].name);
	}
}

static void the_region_is_that_of_the_arn(void **state)
{
	static const struct {
		const char *arn, *region;
	} rows[] = {
		{"arn:aws:ecs:eu-west-1:000000000000:task/default/0123", "eu-west-1"},
		{"arn:aws:ecs:us-east-1:000000000000:task/default/0123", "us-east-1"},
		{"arn:aws:ecs::0:x", "us-east-1"},
		{"task/default/0123", "us-east-1"},
		{"", "us-east-1"},
		{NULL, "us-east-1"},
		{"arn:aws:ecs:0123456789012345678901234567890123456789012345:0:x", "us-east-1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		char region[ECS_REGION_SIZE];

		ecs_arn_region(rows[i].arn, region);
		assert_string_equal(region, rows[i].region);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_names_are_those_of_ec2),
		cmocka_unit_test(the_region_is_that_of_the_arn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
