/* tests/unit/ecs/fault.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include "base/auto.h"
#include "ecs/fault.h"

/* Names and status codes as the API references of ECS and CloudWatch Logs have them. */
static void names_and_codes_are_those_of_aws(void **state)
{
	static const struct {
		enum ecs_fault_type type;
		const char *name;
		unsigned status;
	} rows[] = {
		{ECS_FAULT_SERIALIZATION, "SerializationException", 400},
		{ECS_FAULT_UNKNOWN_OPERATION, "UnknownOperationException", 400},
		{ECS_FAULT_MISSING_TOKEN, "MissingAuthenticationTokenException", 403},
		{ECS_FAULT_INCOMPLETE_SIGNATURE, "IncompleteSignatureException", 400},
		{ECS_FAULT_INVALID_SIGNATURE, "InvalidSignatureException", 400},
		{ECS_FAULT_UNRECOGNIZED_CLIENT, "UnrecognizedClientException", 400},
		{ECS_FAULT_CLIENT, "ClientException", 400},
		{ECS_FAULT_SERVER, "ServerException", 500},
		{ECS_FAULT_INVALID_PARAMETER, "InvalidParameterException", 400},
		{ECS_FAULT_CLUSTER_NOT_FOUND, "ClusterNotFoundException", 400},
		{ECS_FAULT_CLUSTER_CONTAINS_TASKS, "ClusterContainsTasksException", 400},
		{ECS_FAULT_RESOURCE_NOT_FOUND, "ResourceNotFoundException", 400},
		{ECS_FAULT_CONFLICT, "ConflictException", 400},
		{ECS_FAULT_LIMIT_EXCEEDED, "LimitExceededException", 400},
		{ECS_FAULT_RESOURCE_EXISTS, "ResourceAlreadyExistsException", 400},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		assert_string_equal(ecs_fault_name(rows[i].type), rows[i].name);
		assert_int_equal(ecs_fault_status(rows[i].type), rows[i].status);
	}
	for (int type = 0; type <= ECS_FAULT_UNAVAILABLE; type++)
		assert_non_null(ecs_fault_name((enum ecs_fault_type)type));
}

static void a_message_of_any_length_is_cut_not_overrun(void **state)
{
	struct ecs_fault f;
	char big[4096];

	(void)state;
	memset(big, 'x', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(ecs_fault_set(&f, ECS_FAULT_CLIENT, "%s", big), -1);
	assert_int_equal(strlen(f.message), sizeof(f.message) - 1);
	assert_int_equal(f.type, ECS_FAULT_CLIENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_codes_are_those_of_aws),
		cmocka_unit_test(a_message_of_any_length_is_cut_not_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
