/* tests/unit/ecs/query.c
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/js.h"
#include "ecs/query.h"

static struct ecs_fault fault;

/* The request as text, or NULL and the fault. */
static char *check(const char *form)
{
	auto_json json_t *tree = NULL, *request = NULL;
	const struct ecs_operation *operation;

	if (ecs_query_parse(form, strlen(form), &tree, &fault) < 0)
		return NULL;
	operation = ecs_model_find(&ecs_model_ec2,
				   json_string_value(json_object_get(tree, "Action")));
	assert_non_null(operation);
	return ecs_query_check(operation->request, tree, &request, &fault) < 0 ? NULL
									       : js_dump(request);
}

static void a_form_becomes_a_document_of_its_shape(void **state)
{
	static const struct {
		const char *form, *document;
	} rows[] = {
		{"Action=DescribeVpcs&Version=2016-11-15", "{}"},
		{"Action=DescribeVpcs&VpcId.1=a&VpcId.2=b&MaxResults=7&DryRun=TRUE",
		 "{\"VpcId\":[\"a\",\"b\"],\"MaxResults\":7,\"DryRun\":true}"},
		{"Action=DescribeVpcs&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b%2Bc&"
		 "Filter.1.Value.2=",
		 "{\"Filter\":[{\"Name\":\"tag:Name\",\"Value\":[\"a b+c\",\"\"]}]}"},
		{"Action=RevokeSecurityGroupEgress&GroupId=g&IpPermissions.1.FromPort=-1&"
		 "IpPermissions.1.IpRanges.1.CidrIp=x",
		 "{\"GroupId\":\"g\",\"IpPermissions\":[{\"FromPort\":-1,\"IpRanges\":"
		 "[{\"CidrIp\":\"x\"}]}]}"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *text = check(rows[i].form);

		if (!text)
			fail_msg("%s: %s", rows[i].form, fault.message);
		assert_string_equal(text, rows[i].document);
	}
}

static void a_wrong_form_is_told_by_the_name_of_the_parameter(void **state)
{
	static const struct {
		const char *form;
		enum ecs_fault_type type;
		const char *says;
	} rows[] = {
		{"Action=DeleteVpc", ECS_FAULT_EC2_MISSING_PARAMETER, "VpcId"},
		{"Action=DeleteVpc&VpcId=a&Color=b", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "Color"},
		{"Action=DeleteVpc&VpcId.1=a", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "VpcId"},
		{"Action=DescribeVpcs&VpcId=a", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "VpcId"},
		{"Action=DescribeVpcs&VpcId.1.x=a", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "VpcId.1"},
		{"Action=DescribeVpcs&VpcId.0=a", ECS_FAULT_EC2_MALFORMED, "VpcId.1"},
		{"Action=DescribeVpcs&VpcId.1=a&VpcId.3=a", ECS_FAULT_EC2_MALFORMED, "VpcId.2"},
		{"Action=DescribeVpcs&MaxResults=4", ECS_FAULT_EC2_INVALID_VALUE, "MaxResults"},
		{"Action=DescribeVpcs&MaxResults=99999999999", ECS_FAULT_EC2_INVALID_VALUE,
		 "MaxResults"},
		{"Action=DescribeVpcs&DryRun=yes", ECS_FAULT_EC2_INVALID_VALUE, "DryRun"},
		{"Action=DescribeVpcs&Filter.1.Name.x=yes", ECS_FAULT_EC2_UNKNOWN_PARAMETER,
		 "Filter.1.Name"},
		{"Action=CreateFlowLogs&ResourceId.1=a&LogGroupName=l&ResourceType=House",
		 ECS_FAULT_EC2_INVALID_VALUE, "ResourceType"},
		{"Action=CreateVpc&CidrBlock=a&Ipv6Pool=b", ECS_FAULT_EC2_UNSUPPORTED, "Ipv6Pool"},
		{"Action=DeleteVpc&VpcId=%0", ECS_FAULT_EC2_MALFORMED, "escape"},
		{"Action=DeleteVpc&VpcId=%00", ECS_FAULT_EC2_MALFORMED, "escape"},
		{"Action=DeleteVpc&a.b.c.d.e.f.g.h.i=1", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "a.b.c"},
		{"Action=DeleteVpc&VpcId=1&VpcId=2", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "VpcId"},
		{"Action=DeleteVpc&A=1&A.b=2", ECS_FAULT_EC2_UNKNOWN_PARAMETER, "A.b"},
		{"Action=DeleteVpc&=1", ECS_FAULT_EC2_UNKNOWN_PARAMETER, ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_free char *text = check(rows[i].form);

		if (text || fault.type != rows[i].type || !strstr(fault.message, rows[i].says))
			fail_msg("%s: %s: %s", rows[i].form, text ? text : "",
				 text ? "" : fault.message);
	}
}

static void replies_and_faults_are_xml(void **state)
{
	auto_json json_t *doc = json_pack("{s:[{s:s, s:b, s:i}, {s:{s:s}}], s:[]}", "vpcSet", "a",
					  "<&>\x01", "b", 1, "c", 7, "d", "e", "f", "none");
	auto_free char *reply = ecs_query_reply("DescribeVpcs", "id-1", doc), *text = NULL;

	(void)state;
	assert_string_equal(
		reply, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		       "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
		       "<requestId>id-1</requestId><vpcSet><item><a>&lt;&amp;&gt; </a><b>true</b>"
		       "<c>7</c></item><item><d><e>f</e></d></item></vpcSet><none></none>"
		       "</DescribeVpcsResponse>");
	(void)ecs_fault_set(&fault, ECS_FAULT_EC2_VPC_NOT_FOUND, "no '<'");
	text = ecs_query_fault("id-2", &fault);
	assert_string_equal(text,
			    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
			    "<Response><Errors><Error><Code>InvalidVpcID.NotFound</Code><Message>"
			    "no '&lt;'</Message></Error></Errors><RequestID>id-2</RequestID>"
			    "</Response>");
}

/* Each of these would make a reply that no client can read. */
static void what_xml_does_not_know_is_replaced(void **state)
{
	static const struct {
		const char *text, *xml;
	} rows[] = {
		{"\xef\xbf\xbe.\xef\xbf\xbf", "\xef\xbf\xbd.\xef\xbf\xbd"}, /* U+FFFE, U+FFFF */
		{"\xef\xbf\xbd\xef\xbc\xa1", "\xef\xbf\xbd\xef\xbc\xa1"},
		{"a\tb\nc\rd\x1f", "a\tb\nc&#13;d "},
	};
	auto_free char *text = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
		auto_json json_t *doc = json_pack("{s:s}", "a", rows[i].text);
		auto_free char *reply = ecs_query_reply("X", "1", doc),
			       *part = xasprintf("<a>%s</a>", rows[i].xml);

		assert_non_null(strstr(reply, part));
	}
	(void)ecs_fault_set(&fault, ECS_FAULT_EC2_INVALID_VALUE, "'%.2s'", "x\xc3\xa9");
	text = ecs_query_fault("id", &fault);
	assert_non_null(strstr(text, "<Message>'x\xef\xbf\xbd'</Message>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_form_becomes_a_document_of_its_shape),
		cmocka_unit_test(a_wrong_form_is_told_by_the_name_of_the_parameter),
		cmocka_unit_test(replies_and_faults_are_xml),
		cmocka_unit_test(what_xml_does_not_know_is_replaced),
	};

	return cmocka_run_group_tests_name("ecs/query", tests, NULL, NULL);
}
