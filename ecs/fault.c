/* ecs/fault.c - what a caller of the AWS API is told when something is wrong
 * SPDX-License-Identifier: Apache-2.0
 */
#include "ecs/fault.h"

#include <stdio.h>
#include <string.h>

#include "base/js.h"

static const struct {
	const char *name;
	unsigned status;
} faults[] = {
	[ECS_FAULT_SERIALIZATION] = {"SerializationException", 400},
	[ECS_FAULT_UNKNOWN_OPERATION] = {"UnknownOperationException", 400},
	[ECS_FAULT_MISSING_TOKEN] = {"MissingAuthenticationTokenException", 403},
	[ECS_FAULT_INCOMPLETE_SIGNATURE] = {"IncompleteSignatureException", 400},
	[ECS_FAULT_INVALID_SIGNATURE] = {"InvalidSignatureException", 400},
	[ECS_FAULT_UNRECOGNIZED_CLIENT] = {"UnrecognizedClientException", 400},
	[ECS_FAULT_REQUEST_EXPIRED] = {"InvalidSignatureException", 400},
	[ECS_FAULT_TOO_LARGE] = {"RequestEntityTooLargeException", 413},
	[ECS_FAULT_THROTTLING] = {"ThrottlingException", 400},
	[ECS_FAULT_CLIENT] = {"ClientException", 400},
	[ECS_FAULT_SERVER] = {"ServerException", 500},
	[ECS_FAULT_INVALID_PARAMETER] = {"InvalidParameterException", 400},
	[ECS_FAULT_CLUSTER_NOT_FOUND] = {"ClusterNotFoundException", 400},
	[ECS_FAULT_SERVICE_NOT_FOUND] = {"ServiceNotFoundException", 400},
	[ECS_FAULT_CLUSTER_CONTAINS_TASKS] = {"ClusterContainsTasksException", 400},
	[ECS_FAULT_CLUSTER_CONTAINS_INSTANCES] = {"ClusterContainsContainerInstancesException",
						  400},
	[ECS_FAULT_UNSUPPORTED_FEATURE] = {"UnsupportedFeatureException", 400},
	[ECS_FAULT_RESOURCE_NOT_FOUND] = {"ResourceNotFoundException", 400},
	[ECS_FAULT_CONFLICT] = {"ConflictException", 400},
	[ECS_FAULT_RESOURCE_IN_USE] = {"ResourceInUseException", 400},
	[ECS_FAULT_LIMIT_EXCEEDED] = {"LimitExceededException", 400},
	[ECS_FAULT_TARGET_NOT_FOUND] = {"TargetNotFoundException", 400},
	[ECS_FAULT_ATTRIBUTE_LIMIT] = {"AttributeLimitExceededException", 400},
	[ECS_FAULT_RESOURCE_EXISTS] = {"ResourceAlreadyExistsException", 400},
	[ECS_FAULT_UNAVAILABLE] = {"ServiceUnavailableException", 500},
	[ECS_FAULT_SSM_INVALID_PARAMETERS] = {"InvalidParameters", 400},
	[ECS_FAULT_SSM_INVALID_ACTIVATION] = {"InvalidActivation", 400},
	[ECS_FAULT_EC2_UNKNOWN_PARAMETER] = {"UnknownParameter", 400},
	[ECS_FAULT_EC2_MISSING_PARAMETER] = {"MissingParameter", 400},
	[ECS_FAULT_EC2_INVALID_VALUE] = {"InvalidParameterValue", 400},
	[ECS_FAULT_EC2_MALFORMED] = {"MalformedQueryString", 400},
	[ECS_FAULT_EC2_INVALID_ACTION] = {"InvalidAction", 400},
	[ECS_FAULT_EC2_UNSUPPORTED] = {"UnsupportedOperation", 400},
	[ECS_FAULT_EC2_AUTH] = {"AuthFailure", 401},
	[ECS_FAULT_EC2_DRY_RUN] = {"DryRunOperation", 412},
	[ECS_FAULT_EC2_VPC_NOT_FOUND] = {"InvalidVpcID.NotFound", 400},
	[ECS_FAULT_EC2_VPC_RANGE] = {"InvalidVpc.Range", 400},
	[ECS_FAULT_EC2_SUBNET_NOT_FOUND] = {"InvalidSubnetID.NotFound", 400},
	[ECS_FAULT_EC2_SUBNET_RANGE] = {"InvalidSubnet.Range", 400},
	[ECS_FAULT_EC2_SUBNET_CONFLICT] = {"InvalidSubnet.Conflict", 400},
	[ECS_FAULT_EC2_GROUP_NOT_FOUND] = {"InvalidGroup.NotFound", 400},
	[ECS_FAULT_EC2_GROUP_MALFORMED] = {"InvalidGroupId.Malformed", 400},
	[ECS_FAULT_EC2_GROUP_DUPLICATE] = {"InvalidGroup.Duplicate", 400},
	[ECS_FAULT_EC2_CANNOT_DELETE] = {"CannotDelete", 400},
	[ECS_FAULT_EC2_PERMISSION_DUPLICATE] = {"InvalidPermission.Duplicate", 400},
	[ECS_FAULT_EC2_PERMISSION_NOT_FOUND] = {"InvalidPermission.NotFound", 400},
	[ECS_FAULT_EC2_PERMISSION_MALFORMED] = {"InvalidPermission.Malformed", 400},
	[ECS_FAULT_EC2_RULE_NOT_FOUND] = {"InvalidSecurityGroupRuleId.NotFound", 400},
	[ECS_FAULT_EC2_RULES_EXCEEDED] = {"RulesPerSecurityGroupLimitExceeded", 400},
	[ECS_FAULT_EC2_DEPENDENCY] = {"DependencyViolation", 400},
	[ECS_FAULT_EC2_INTERFACE_NOT_FOUND] = {"InvalidNetworkInterfaceID.NotFound", 400},
	[ECS_FAULT_EC2_FLOW_LOG_EXISTS] = {"FlowLogAlreadyExists", 400},
	[ECS_FAULT_EC2_FLOW_LOG_NOT_FOUND] = {"InvalidFlowLogId.NotFound", 400},
	[ECS_FAULT_EC2_PREFIX_LIST_NOT_FOUND] = {"InvalidPrefixListID.NotFound", 400},
	[ECS_FAULT_EC2_PREFIX_LIST_VERSION] = {"PrefixListVersionMismatch", 400},
	[ECS_FAULT_EC2_PREFIX_LIST_FULL] = {"PrefixListMaxEntriesExceeded", 400},
	[ECS_FAULT_EC2_ID_NOT_FOUND] = {"InvalidID", 400},
	[ECS_FAULT_EC2_TAGS_EXCEEDED] = {"TagLimitExceeded", 400},
	[ECS_FAULT_EC2_TOKEN_MISMATCH] = {"IdempotentParameterMismatch", 400},
	[ECS_FAULT_EC2_LIMIT] = {"ResourceCountExceeded", 400},
	[ECS_FAULT_EC2_THROTTLING] = {"RequestLimitExceeded", 503},
};

int ecs_fault_set(struct ecs_fault *f, enum ecs_fault_type type, const char *fmt, ...)
{
	va_list ap;

	f->type = type;
	f->resource_ids = NULL;
	va_start(ap, fmt);
	(void)vsnprintf(f->message, sizeof(f->message), fmt, ap);
	va_end(ap);
	return -1;
}

const char *ecs_fault_name(enum ecs_fault_type type)
{
	return faults[type].name;
}

unsigned ecs_fault_status(enum ecs_fault_type type)
{
	return faults[type].status;
}

json_t *ecs_fault_doc(const struct ecs_fault *f)
{
	return json_pack("{s:s, s:o, s:O*}", "__type", ecs_fault_name(f->type), "message",
			 js_string(f->message, strlen(f->message)), "resourceIds", f->resource_ids);
}
