#!/usr/bin/python3
# tests/e2e/12-ec2.py - VPCs, subnets, security groups, by the real aws command and by boto3
# SPDX-License-Identifier: Apache-2.0

import ipaddress

from berth import Census, Daemon, contains, equal, error_of, main

census = Census()
daemon = Daemon(role="server").start()
ec2 = daemon.boto("ec2")


def cleanup():
    daemon.destroy()
    census.check()


def permission(port=80, protocol="tcp", **source):
    return dict(IpProtocol=protocol, FromPort=port, ToPort=port, **source)


def cidr(text):
    return dict(IpRanges=[dict(CidrIp=text)])


def make_vpc(block, **more):
    return ec2.create_vpc(CidrBlock=block, **more)["Vpc"]["VpcId"]


def test_a_default_vpc_with_subnet_and_group_exists_from_the_start():
    vpcs = daemon.aws("ec2", "describe-vpcs")["Vpcs"]
    equal(len(vpcs), 1)
    equal((vpcs[0]["IsDefault"], vpcs[0]["CidrBlock"], vpcs[0]["State"]), (True, "172.31.0.0/16", "available"))
    subnets = daemon.aws("ec2", "describe-subnets", "--filters", f"Name=vpc-id,Values={vpcs[0]['VpcId']}")["Subnets"]
    equal([(s["CidrBlock"], s["AvailabilityZone"], s["DefaultForAz"]) for s in subnets],
          [("172.31.0.0/20", "us-east-1a", True)])
    equal(subnets[0]["AvailableIpAddressCount"], 4091)
    groups = daemon.aws("ec2", "describe-security-groups", "--group-names", "default")["SecurityGroups"]
    equal(len(groups), 1)
    equal(groups[0]["IpPermissions"],
          [{"IpProtocol": "-1", "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [],
            "UserIdGroupPairs": [{"GroupId": groups[0]["GroupId"], "UserId": "123456789012"}]}])
    equal([p["IpRanges"] for p in groups[0]["IpPermissionsEgress"]], [[{"CidrIp": "0.0.0.0/0"}]])


def test_zones_are_those_of_the_subnets():
    equal([z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]], ["us-east-1a"])
    vpc = make_vpc("10.9.0.0/16")
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24", AvailabilityZone="rack-2")
    equal([z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]], ["us-east-1a", "rack-2"])
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1-bos-1a")
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.2.0/24", AvailabilityZone="us-east-1-wl1-bos-wlz-1")
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.3.0/24", AvailabilityZone="us-east-1-bos-1a-cellar")
    said = {z["ZoneName"]: (z["ZoneType"], z["GroupName"], z["NetworkBorderGroup"], z["OptInStatus"],
                            z.get("ParentZoneName"))
            for z in ec2.describe_availability_zones(AllAvailabilityZones=True)["AvailabilityZones"]}
    ours = ("availability-zone", "us-east-1", "us-east-1", "opt-in-not-required", None)
    equal(said, {"us-east-1a": ours, "rack-2": ours, "us-east-1-bos-1a-cellar": ours,
                 "us-east-1-bos-1a": ("local-zone", "us-east-1-bos-1", "us-east-1-bos-1", "opted-in", "us-east-1a"),
                 "us-east-1-wl1-bos-wlz-1": ("wavelength-zone", "us-east-1-wl1", "us-east-1-wl1-bos-wlz-1", "opted-in",
                                             "us-east-1a")})
    local = ec2.describe_availability_zones(Filters=[dict(Name="zone-type", Values=["local-zone"])])
    equal([z["ZoneName"] for z in local["AvailabilityZones"]], ["us-east-1-bos-1a"])


def test_a_vpc_is_made_described_tagged_and_deleted():
    vpc = daemon.aws("ec2", "create-vpc", "--cidr-block", "10.1.2.3/16", "--tag-specifications",
                     "ResourceType=vpc,Tags=[{Key=Name,Value=a&<b>}]")["Vpc"]
    equal(vpc["CidrBlock"], "10.1.0.0/16")
    equal(vpc["Tags"], [{"Key": "Name", "Value": "a&<b>"}])
    found = ec2.describe_vpcs(Filters=[dict(Name="tag:Name", Values=["a&*"]), dict(Name="is-default", Values=["false"])])
    equal([v["VpcId"] for v in found["Vpcs"]], [vpc["VpcId"]])
    ec2.create_tags(Resources=[vpc["VpcId"]], Tags=[dict(Key="k", Value="1"), dict(Key="Name", Value="x")])
    equal(sorted((t["Key"], t["Value"]) for t in ec2.describe_tags(
        Filters=[dict(Name="resource-id", Values=[vpc["VpcId"]])])["Tags"]), [("Name", "x"), ("k", "1")])
    ec2.delete_tags(Resources=[vpc["VpcId"]], Tags=[dict(Key="k")])
    equal(ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"][0]["Tags"], [{"Key": "Name", "Value": "x"}])
    ec2.delete_vpc(VpcId=vpc["VpcId"])
    equal(error_of(ec2.describe_vpcs, VpcIds=[vpc["VpcId"]]),
          ("InvalidVpcID.NotFound", f"The vpc ID '{vpc['VpcId']}' does not exist", 400))


def test_blocks_that_overlap_or_are_no_blocks_are_refused():
    vpc = make_vpc("10.2.0.0/16")
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.2.0.0/20")
    for block, code in [("10.2.8.0/24", "InvalidSubnet.Conflict"), ("10.0.0.0/8", "InvalidSubnet.Range"),
                        ("10.3.0.0/24", "InvalidSubnet.Range"), ("10.2.16.0/29", "InvalidSubnet.Range"),
                        ("fd00::/64", "InvalidParameterValue"), ("10.2.0.0", "InvalidParameterValue")]:
        equal((block, error_of(ec2.create_subnet, VpcId=vpc, CidrBlock=block)[0]), (block, code))
    for block in ["10.2.128.0/17", "172.31.0.0/24", "10.0.0.0/8", "10.2.0.0/29", "0.1.0.0/16", "127.0.0.0/16", "169.254.170.0/24",
                  "224.0.0.0/16", "255.255.0.0/16"]:
        equal((block, error_of(ec2.create_vpc, CidrBlock=block)[0]), (block, "InvalidVpc.Range"))
    equal(error_of(ec2.create_vpc, CidrBlock="ten"), ("InvalidParameterValue", "Value (ten) for parameter cidrBlock is "
                                                      "invalid. This is not a valid CIDR block.", 400))


def test_what_is_in_use_is_not_deleted():
    vpc = make_vpc("10.4.0.0/16")
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.4.0.0/24")["Subnet"]["SubnetId"]
    equal(error_of(ec2.delete_vpc, VpcId=vpc)[0], "DependencyViolation")
    ec2.delete_subnet(SubnetId=subnet)
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    equal(error_of(ec2.delete_vpc, VpcId=vpc)[0], "DependencyViolation")
    other = ec2.create_security_group(GroupName="h", Description="d", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=other, IpPermissions=[permission(UserIdGroupPairs=[dict(GroupId=group)])])
    equal(error_of(ec2.delete_security_group, GroupId=group),
          ("DependencyViolation", f"resource {group} has a dependent object", 400))
    for g in (other, group):
        ec2.delete_security_group(GroupId=g)
    default = ec2.describe_security_groups(Filters=[dict(Name="vpc-id", Values=[vpc])])["SecurityGroups"][0]["GroupId"]
    equal(error_of(ec2.delete_security_group, GroupId=default)[0], "CannotDelete")
    ec2.delete_vpc(VpcId=vpc)
    equal(ec2.describe_security_groups(Filters=[dict(Name="group-id", Values=[default])])["SecurityGroups"], [])


def test_rules_come_go_and_are_shown_both_ways():
    group = daemon.aws("ec2", "create-security-group", "--group-name", "web", "--description", "pages")["GroupId"]
    daemon.aws("ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "80",
               "--cidr", "10.0.0.0/8")
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        dict(IpProtocol="tcp", FromPort=8000, ToPort=8100, IpRanges=[dict(CidrIp="192.168.7.9/24", Description="lab")],
             Ipv6Ranges=[dict(CidrIpv6="fd00::1/64")]),
        dict(IpProtocol="icmp", FromPort=8, ToPort=-1, UserIdGroupPairs=[dict(GroupId=group)]),
        dict(IpProtocol="17", FromPort=53, ToPort=53, IpRanges=[dict(CidrIp="0.0.0.0/0")])])["SecurityGroupRules"]
    equal(len(made), 4)
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    equal([(p["IpProtocol"], p.get("FromPort"), p.get("ToPort"), [r["CidrIp"] for r in p["IpRanges"]],
            [r["CidrIpv6"] for r in p["Ipv6Ranges"]], [g["GroupId"] for g in p["UserIdGroupPairs"]])
           for p in shown["IpPermissions"]],
          [("tcp", 80, 80, ["10.0.0.0/8"], [], []),
           ("tcp", 8000, 8100, ["192.168.7.0/24"], ["fd00::/64"], []),
           ("icmp", 8, -1, [], [], [group]),
           ("udp", 53, 53, ["0.0.0.0/0"], [], [])])
    rules = ec2.describe_security_group_rules(Filters=[dict(Name="group-id", Values=[group])])["SecurityGroupRules"]
    equal(len([r for r in rules if r["IsEgress"]]), 1)
    equal(len(rules), 6)
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission(**cidr("10.0.0.0/8"))])
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[dict(IpProtocol="-1", **cidr("0.0.0.0/0"))])
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    equal(len(shown["IpPermissions"]), 3)
    equal(shown["IpPermissionsEgress"], [])


def test_prefix_lists_are_kept_in_versions_and_named_by_rules():
    made = daemon.aws("ec2", "create-managed-prefix-list", "--prefix-list-name", "offices", "--max-entries", "3",
                      "--address-family", "IPv4", "--entries", "Cidr=192.0.2.9/24,Description=one",
                      "Cidr=198.51.100.0/24")["PrefixList"]
    equal((made["State"], made["Version"], made["MaxEntries"], made["AddressFamily"], made["OwnerId"]),
          ("create-complete", 1, 3, "IPv4", "123456789012"))
    name = made["PrefixListId"]
    equal(daemon.aws("ec2", "get-managed-prefix-list-entries", "--prefix-list-id", name)["Entries"],
          [{"Cidr": "192.0.2.0/24", "Description": "one"}, {"Cidr": "198.51.100.0/24"}])
    equal([p["PrefixListName"] for p in ec2.describe_managed_prefix_lists(PrefixListIds=[name])["PrefixLists"]], ["offices"])
    group = ec2.create_security_group(GroupName="listed", Description="d")["GroupId"]
    rule = dict(IpProtocol="tcp", FromPort=80, ToPort=80, PrefixListIds=[dict(PrefixListId=name, Description="them")])
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    equal(error_of(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])[0], "InvalidPermission.Duplicate")
    shown = ec2.describe_security_groups(Filters=[dict(Name="ip-permission.prefix-list-id", Values=[name])])["SecurityGroups"]
    equal([p["PrefixListIds"] for g in shown for p in g["IpPermissions"]], [[{"PrefixListId": name, "Description": "them"}]])
    equal(error_of(ec2.delete_managed_prefix_list, PrefixListId=name)[0], "DependencyViolation")
    changed = daemon.aws("ec2", "modify-managed-prefix-list", "--prefix-list-id", name, "--current-version", "1",
                         "--remove-entries", "Cidr=198.51.100.0/24", "--add-entries", "Cidr=203.0.113.0/24")["PrefixList"]
    equal((changed["State"], changed["Version"]), ("modify-complete", 2))
    equal([e["Cidr"] for e in ec2.get_managed_prefix_list_entries(PrefixListId=name)["Entries"]],
          ["192.0.2.0/24", "203.0.113.0/24"])
    for code, request in [("PrefixListVersionMismatch", dict(CurrentVersion=1, AddEntries=[dict(Cidr="10.0.0.0/8")])),
                          ("MissingParameter", dict(AddEntries=[dict(Cidr="10.0.0.0/8")])),
                          ("InvalidParameterValue", dict(CurrentVersion=2, RemoveEntries=[dict(Cidr="10.0.0.0/8")])),
                          ("InvalidParameterValue", dict(CurrentVersion=2, AddEntries=[dict(Cidr="fd00::/8")])),
                          ("PrefixListMaxEntriesExceeded", dict(MaxEntries=1)),
                          ("PrefixListMaxEntriesExceeded", dict(CurrentVersion=2, AddEntries=[
                              dict(Cidr="10.1.0.0/16"), dict(Cidr="10.2.0.0/16")]))]:
        equal((request, error_of(ec2.modify_managed_prefix_list, PrefixListId=name, **request)[0]), (request, code))
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2.delete_managed_prefix_list(PrefixListId=name)
    equal(error_of(ec2.describe_managed_prefix_lists, PrefixListIds=[name])[0], "InvalidPrefixListID.NotFound")
    equal(error_of(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])[0], "InvalidPrefixListID.NotFound")
    ec2.delete_security_group(GroupId=group)


def test_a_wrong_rule_is_refused_and_changes_nothing():
    group = ec2.create_security_group(GroupName="strict", Description="d")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission(**cidr("0.0.0.0/0"))])
    before = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    good = permission(443, **cidr("0.0.0.0/0"))
    for bad, code in [(permission(**cidr("0.0.0.0/0")), "InvalidPermission.Duplicate"),
                      (permission(70000, **cidr("0.0.0.0/0")), "InvalidParameterValue"),
                      (permission(-1, **cidr("0.0.0.0/0")), "InvalidParameterValue"),
                      (dict(IpProtocol="tcp", FromPort=9, ToPort=8, **cidr("0.0.0.0/0")), "InvalidParameterValue"),
                      (permission(**cidr("10.0.0.0/33")), "InvalidParameterValue"),
                      (permission(protocol="tpc", **cidr("0.0.0.0/0")), "InvalidParameterValue"),
                      (permission(UserIdGroupPairs=[dict(GroupId="sg-0")]), "InvalidGroup.NotFound"),
                      (permission(UserIdGroupPairs=[dict(GroupId=group, UserId="999999999999")]), "InvalidGroup.NotFound"),
                      (permission(), "MissingParameter"),
                      (permission(PrefixListIds=[dict(PrefixListId="pl-1")]), "InvalidPrefixListID.NotFound")]:
        equal((bad, error_of(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[good, bad])[0]),
              (bad, code))
    equal(error_of(ec2.revoke_security_group_ingress, GroupId=group, IpPermissions=[good])[0],
          "InvalidPermission.NotFound")
    equal(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"], before)
    equal(error_of(ec2.create_security_group, GroupName="strict", Description="d")[0], "InvalidGroup.Duplicate")


def test_pages_and_unknown_filters():
    vpc = make_vpc("10.5.0.0/16")
    for i in range(12):
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.5.{i}.0/24")
    mine = [dict(Name="vpc-id", Values=[vpc])]
    pages = list(ec2.get_paginator("describe_subnets").paginate(Filters=mine, PaginationConfig=dict(PageSize=5)))
    equal([len(p["Subnets"]) for p in pages], [5, 5, 2])
    equal(len({s["SubnetId"] for p in pages for s in p["Subnets"]}), 12)
    equal(error_of(ec2.describe_subnets, Filters=[dict(Name="colour", Values=["red"])]),
          ("InvalidParameterValue", "The filter 'colour' is invalid", 400))


def test_values_of_filters_have_wildcards_and_nothing_else():
    values = ["a[1]", "a1", "50%*", "50%x", "what?", "\\"]
    groups = {v: ec2.create_security_group(GroupName=f"filtered-{i}", Description="d", TagSpecifications=[
        dict(ResourceType="security-group", Tags=[dict(Key="mark", Value=v)])])["GroupId"] for i, v in enumerate(values)}
    for pattern, found in [("a[1]", ["a[1]"]), ("a?1*", ["a[1]"]), ("a*", ["a[1]", "a1"]), ("*1*", ["a[1]", "a1"]),
                           ("50%\\*", ["50%*"]), ("50%*", ["50%*", "50%x"]), ("what\\?", ["what?"]), ("what?", ["what?"]),
                           ("*", values), ("A1", []), ("\\\\", ["\\"]), ("\\", ["\\"]), ("", [])]:
        shown = ec2.describe_security_groups(Filters=[dict(Name="tag:mark", Values=[pattern])])["SecurityGroups"]
        equal((pattern, [g["GroupId"] for g in shown]), (pattern, [groups[v] for v in found]))
    tags = ec2.describe_tags(Filters=[dict(Name="tag:mark", Values=["a*"])])["Tags"]
    equal([(t["ResourceId"], t["Value"]) for t in tags], [(groups["a[1]"], "a[1]"), (groups["a1"], "a1")])
    for g in groups.values():
        ec2.delete_security_group(GroupId=g)


def test_rules_have_tags_of_their_own():
    group = ec2.create_security_group(GroupName="tagged-rules", Description="d")["GroupId"]
    made = daemon.aws("ec2", "authorize-security-group-ingress", "--group-id", group, "--ip-permissions",
                      "IpProtocol=tcp,FromPort=80,ToPort=80,IpRanges=[{CidrIp=10.0.0.0/8,Description=lab}]",
                      "--tag-specifications", "ResourceType=security-group-rule,Tags=[{Key=a,Value=1}]")
    rule, = made["SecurityGroupRules"]
    equal((rule["Tags"], rule["Description"], rule["GroupId"]), ([{"Key": "a", "Value": "1"}], "lab", group))
    name = rule["SecurityGroupRuleId"]
    ec2.create_tags(Resources=[name, group], Tags=[dict(Key="b", Value="2")])
    ec2.delete_tags(Resources=[name], Tags=[dict(Key="a")])
    shown = ec2.describe_security_group_rules(Filters=[dict(Name="tag:b", Values=["2"])])["SecurityGroupRules"]
    equal([(r["SecurityGroupRuleId"], r["Tags"]) for r in shown], [(name, [{"Key": "b", "Value": "2"}])])
    tags = ec2.describe_tags(Filters=[dict(Name="resource-type", Values=["security-group-rule"])])["Tags"]
    equal([(t["ResourceId"], t["Key"], t["Value"]) for t in tags], [(name, "b", "2")])
    daemon.kill()
    daemon.start()
    equal(ec2.describe_security_group_rules(SecurityGroupRuleIds=[name])["SecurityGroupRules"][0]["Tags"],
          [{"Key": "b", "Value": "2"}])
    ec2.delete_security_group(GroupId=group)
    equal(error_of(ec2.create_tags, Resources=[name], Tags=[dict(Key="b")])[0], "InvalidSecurityGroupRuleId.NotFound")


def test_rules_and_their_descriptions_change_in_place():
    group = ec2.create_security_group(GroupName="changing", Description="d")["GroupId"]
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[
        permission(IpRanges=[dict(CidrIp="10.0.0.0/8", Description="old")]), permission(81, **cidr("10.0.0.0/8"))],
        TagSpecifications=[dict(ResourceType="security-group-rule", Tags=[dict(Key="a", Value="1")])])["SecurityGroupRules"]
    one, two = (r["SecurityGroupRuleId"] for r in made)

    def shown():
        return {r["SecurityGroupRuleId"]: r for r in ec2.describe_security_group_rules(
            SecurityGroupRuleIds=[one, two])["SecurityGroupRules"]}
    daemon.aws("ec2", "update-security-group-rule-descriptions-ingress", "--group-id", group, "--ip-permissions",
               "IpProtocol=tcp,FromPort=80,ToPort=80,IpRanges=[{CidrIp=10.0.0.0/8,Description=new}]")
    ec2.update_security_group_rule_descriptions_ingress(GroupId=group, SecurityGroupRuleDescriptions=[
        dict(SecurityGroupRuleId=two, Description="second")])
    equal([shown()[r]["Description"] for r in (one, two)], ["new", "second"])
    ec2.update_security_group_rule_descriptions_ingress(GroupId=group, SecurityGroupRuleDescriptions=[
        dict(SecurityGroupRuleId=two)])
    equal(shown()[two].get("Description"), None)
    equal(error_of(ec2.update_security_group_rule_descriptions_ingress, GroupId=group,
                   IpPermissions=[permission(82, **cidr("10.0.0.0/8"))])[0], "InvalidPermission.NotFound")
    equal(error_of(ec2.update_security_group_rule_descriptions_egress, GroupId=group, SecurityGroupRuleDescriptions=[
        dict(SecurityGroupRuleId=one)])[0], "InvalidParameterValue")
    equal(shown()[one]["Description"], "new")
    daemon.aws("ec2", "modify-security-group-rules", "--group-id", group, "--security-group-rules",
               f"SecurityGroupRuleId={one},SecurityGroupRule={{IpProtocol=udp,FromPort=53,ToPort=54,CidrIpv6=fd00::/8}}")
    rule = shown()[one]
    equal((rule["IpProtocol"], rule["FromPort"], rule["ToPort"], rule.get("CidrIpv4"), rule["CidrIpv6"], rule["Tags"]),
          ("udp", 53, 54, None, "fd00::/8", [{"Key": "a", "Value": "1"}]))
    for wanted, code in [(dict(IpProtocol="tcp", FromPort=81, ToPort=81, CidrIpv4="10.0.0.0/8"), "InvalidPermission.Duplicate"),
                         (dict(IpProtocol="tcp", FromPort=81, ToPort=81), "InvalidParameterValue"),
                         (dict(IpProtocol="tcp", FromPort=81, ToPort=81, ReferencedGroupId="sg-0"), "InvalidGroup.NotFound")]:
        equal(error_of(ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[
            dict(SecurityGroupRuleId=one, SecurityGroupRule=wanted)])[0], code)
    equal(error_of(ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[
        dict(SecurityGroupRuleId="sgr-0", SecurityGroupRule=wanted)])[0], "InvalidSecurityGroupRuleId.NotFound")
    equal(shown()[one], rule)
    ec2.delete_security_group(GroupId=group)


def test_what_is_not_there_is_told_by_its_kind():
    wanted = [dict(Key="a", Value="b")]
    for name, code in [("vpc-0", "InvalidVpcID.NotFound"), ("subnet-0", "InvalidSubnetID.NotFound"),
                       ("sg-0", "InvalidGroup.NotFound"), ("eni-0", "InvalidNetworkInterfaceID.NotFound"),
                       ("fl-0", "InvalidFlowLogId.NotFound"), ("pl-0", "InvalidPrefixListID.NotFound"),
                       ("x-0", "InvalidID"), ("", "InvalidID")]:
        equal((name, error_of(ec2.create_tags, Resources=[name], Tags=wanted)[0]), (name, code))
    said = ("InvalidGroupId.Malformed", 'Invalid id: "web" (expecting "sg-...")', 400)
    equal(error_of(ec2.describe_security_groups, GroupIds=["web"]), said)
    equal(error_of(ec2.delete_security_group, GroupId="web"), said)
    for kind, code in [("VPC", "InvalidVpcID.NotFound"), ("Subnet", "InvalidSubnetID.NotFound"),
                       ("NetworkInterface", "InvalidNetworkInterfaceID.NotFound"), ("TransitGateway", "UnsupportedOperation")]:
        equal(error_of(ec2.create_flow_logs, ResourceIds=["none"], ResourceType=kind, LogGroupName="g", TrafficType="ALL")[0],
              code)
    zones = daemon.aws("ec2", "describe-availability-zones", "--zone-ids", "us-east-1a")["AvailabilityZones"]
    equal([z["ZoneId"] for z in zones], ["us-east-1a"])
    equal(error_of(ec2.describe_availability_zones, ZoneIds=["use1-az9"])[0], "InvalidParameterValue")


def test_wrong_rules_are_told_in_the_words_of_ec2():
    group = ec2.create_security_group(GroupName="words", Description="d")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission(**cidr("10.0.0.0/8")), dict(
        IpProtocol="-1", **cidr("10.0.0.0/8"))])
    for bad, says in [
            (permission(**cidr("10.0.0.0/8")),
             'the specified rule "peer: 10.0.0.0/8, TCP, from port: 80, to port: 80, ALLOW" already exists'),
            (dict(IpProtocol="-1", **cidr("10.0.0.0/8")), 'the specified rule "peer: 10.0.0.0/8, ALL, ALLOW" already exists'),
            (permission(protocol="tpc", **cidr("0.0.0.0/0")), "Invalid value 'tpc' for IP protocol. Unknown protocol."),
            (permission(-1, **cidr("0.0.0.0/0")), "TCP/UDP (from) port (-1) out of range"),
            (dict(IpProtocol="udp", FromPort=1, ToPort=65536, **cidr("0.0.0.0/0")), "TCP/UDP (to) port (65536) out of range"),
            (dict(IpProtocol="icmp", FromPort=8, ToPort=65535, **cidr("0.0.0.0/0")), "ICMP code (65535) out of range"),
            (permission(**cidr("::/0")), "CIDR block ::/0 is malformed"),
            (dict(IpProtocol="tcp", **cidr("0.0.0.0/0")),
             "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")]:
        equal(error_of(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[bad])[1], says)
    ec2.delete_security_group(GroupId=group)


def test_a_call_that_is_repeated_makes_nothing_more():
    vpc = make_vpc("10.7.0.0/16")
    wanted = dict(ResourceIds=[vpc], ResourceType="VPC", TrafficType="ALL", LogGroupName="repeated", ClientToken="once")
    first = ec2.create_flow_logs(**wanted)
    equal(ec2.create_flow_logs(**wanted)["FlowLogIds"], first["FlowLogIds"])
    equal(error_of(ec2.create_flow_logs, **dict(wanted, TrafficType="REJECT"))[0], "IdempotentParameterMismatch")
    equal(error_of(ec2.create_flow_logs, **dict(wanted, ClientToken="twice"))[0], "FlowLogAlreadyExists")
    shown = ec2.describe_flow_logs(Filter=[dict(Name="resource-id", Values=[vpc])])["FlowLogs"]
    equal([l["FlowLogId"] for l in shown], first["FlowLogIds"])
    ec2.delete_flow_logs(FlowLogIds=first["FlowLogIds"])
    lists = dict(PrefixListName="repeated", MaxEntries=2, AddressFamily="IPv4", ClientToken="once")
    one, two = (ec2.create_managed_prefix_list(**lists)["PrefixList"]["PrefixListId"] for _ in range(2))
    equal(one, two)
    equal(error_of(ec2.create_managed_prefix_list, **dict(lists, MaxEntries=3))[0], "IdempotentParameterMismatch")
    ec2.delete_managed_prefix_list(PrefixListId=one)
    ec2.delete_vpc(VpcId=vpc)


def test_a_flow_log_goes_to_a_log_group_by_its_arn_too():
    vpc = make_vpc("10.8.0.0/16")
    arn = "arn:aws:logs:us-east-1:123456789012:log-group:flows:*"
    wanted = ["ec2", "create-flow-logs", "--resource-ids", vpc, "--resource-type", "VPC", "--traffic-type", "ALL"]
    made = daemon.aws(*wanted, "--log-destination", arn)["FlowLogIds"]
    shown, = ec2.describe_flow_logs(FlowLogIds=made)["FlowLogs"]
    equal((shown["LogGroupName"], shown["LogDestination"]), ("flows", arn))
    contains(daemon.aws(*wanted, check=False).stderr, "(MissingParameter)")
    for more in (["--log-destination", arn, "--log-group-name", "flows"], ["--log-destination", "arn:aws:s3:::bucket"]):
        contains(daemon.aws(*wanted, *more, check=False).stderr, "(InvalidParameterValue)")
    ec2.delete_flow_logs(FlowLogIds=made)
    ec2.delete_vpc(VpcId=vpc)


def test_any_text_can_be_shown_again():
    vpc = make_vpc("10.12.0.0/16")
    for text, shown in [("\U0001f600 é & <b> ]]> &#x1;", None), ("a\tb\r\nc\rd", None), ("\ufffe\uffff\ufffd", "\ufffd" * 3),
                        ("a\x01b", "a b"), ("é" * 256, None)]:
        ec2.create_tags(Resources=[vpc], Tags=[dict(Key="k", Value=text)])
        equal([t["Value"] for t in ec2.describe_tags(Filters=[dict(Name="resource-id", Values=[vpc])])["Tags"]], [shown or text])
    equal(error_of(ec2.create_tags, Resources=[vpc], Tags=[dict(Key="k", Value="é" * 257)])[0], "InvalidParameterValue")
    ec2.delete_vpc(VpcId=vpc)
    for name, description, says in [("é", "d", "Invalid security group name."), ("g", "a<b", "Invalid security group description."),
                                    ("x" * 256, "d", "for groupName."), ("g", "x" * 256, "less than 256 characters")]:
        code, message, _ = error_of(ec2.create_security_group, GroupName=name, Description=description)
        equal(code, "InvalidParameterValue")
        contains(message, says)
    group = ec2.create_security_group(GroupName="g ._-:/()#,@[]+=&;{}!$*", Description="0")["GroupId"]
    contains(error_of(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[
        permission(IpRanges=[dict(CidrIp="10.0.0.0/8", Description="it's")])])[1], "Invalid rule description.")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[permission(**cidr("10.0.0.0/8"))])
    rule = ec2.describe_security_group_rules(Filters=[dict(Name="group-id", Values=[group])])["SecurityGroupRules"][-1]
    for change in (dict(IpPermissions=[permission(IpRanges=[dict(CidrIp="10.0.0.0/8", Description="it's")])]),
                   dict(SecurityGroupRuleDescriptions=[dict(SecurityGroupRuleId=rule["SecurityGroupRuleId"], Description="it's")])):
        contains(error_of(ec2.update_security_group_rule_descriptions_ingress, GroupId=group, **change)[1], "Invalid rule description.")
    contains(error_of(ec2.modify_security_group_rules, GroupId=group, SecurityGroupRules=[dict(
        SecurityGroupRuleId=rule["SecurityGroupRuleId"], SecurityGroupRule=dict(
            IpProtocol="tcp", FromPort=1, ToPort=1, CidrIpv4="10.0.0.0/8", Description="it's"))])[1], "Invalid rule description.")
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[  # which rule it is its description does not say
        permission(IpRanges=[dict(CidrIp="10.0.0.0/8", Description="it's")])])
    ec2.delete_security_group(GroupId=group)


def test_resources_and_waiters_of_boto3():
    import boto3
    resource = boto3.session.Session().resource("ec2", endpoint_url=daemon.endpoint, region_name="us-east-1")
    vpc = resource.create_vpc(CidrBlock="10.11.0.0/16")
    vpc.wait_until_exists()
    vpc.wait_until_available()
    vpc.create_tags(Tags=[dict(Key="Name", Value="of a resource")])
    subnet = vpc.create_subnet(CidrBlock="10.11.1.0/24")
    ec2.get_waiter("subnet_available").wait(SubnetIds=[subnet.id])
    group = vpc.create_security_group(GroupName="r", Description="d")
    ec2.get_waiter("security_group_exists").wait(GroupIds=[group.id])
    group.authorize_ingress(CidrIp="10.0.0.0/8", IpProtocol="tcp", FromPort=80, ToPort=90)
    group.authorize_ingress(IpPermissions=[permission(UserIdGroupPairs=[dict(GroupId=group.id)])])
    group.revoke_egress(IpPermissions=group.ip_permissions_egress)
    group.reload()
    equal((len(group.ip_permissions), group.ip_permissions_egress), (2, []))
    group.revoke_ingress(IpPermissions=group.ip_permissions)
    group.reload()
    equal(group.ip_permissions, [])
    equal([s.id for s in vpc.subnets.all()], [subnet.id])
    equal(sorted(g.group_name for g in vpc.security_groups.all()), ["default", "r"])
    equal(list(vpc.network_interfaces.all()) + list(subnet.network_interfaces.all()), [])
    vpc.reload()
    equal(vpc.tags, [{"Key": "Name", "Value": "of a resource"}])
    for thing in (group, subnet, vpc):
        thing.delete()
    equal(list(resource.vpcs.filter(VpcIds=[], Filters=[dict(Name="vpc-id", Values=[vpc.id])])), [])


def test_ipv6_is_given_when_it_is_asked_for():
    vpc = ec2.create_vpc(CidrBlock="10.6.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    assert block.startswith("fd") and block.endswith("/56"), block
    part = block.replace("/56", "/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.6.0.0/24", Ipv6CidrBlock=part)["Subnet"]
    equal(subnet["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"], part)
    wanted = dict(VpcId=vpc["VpcId"], Ipv6Native=True)
    equal(error_of(ec2.create_subnet, **wanted)[0], "MissingParameter")
    equal(error_of(ec2.create_subnet, VpcId=vpc["VpcId"])[0], "MissingParameter")
    next_part = str(list(ipaddress.ip_network(block).subnets(new_prefix=64))[9])
    equal(error_of(ec2.create_subnet, CidrBlock="10.6.1.0/24", Ipv6CidrBlock=next_part, **wanted)[0], "InvalidParameterValue")
    equal(error_of(ec2.create_subnet, Ipv6CidrBlock=part, **wanted)[0], "InvalidSubnet.Conflict")
    native = ec2.create_subnet(Ipv6CidrBlock=next_part, **wanted)["Subnet"]
    equal((native["Ipv6Native"], native["AssignIpv6AddressOnCreation"], native.get("CidrBlock"), native["AvailableIpAddressCount"]),
          (True, True, None, 0))
    equal([s["SubnetId"] for s in ec2.describe_subnets(Filters=[dict(Name="ipv6-native", Values=["true"])])["Subnets"]],
          [native["SubnetId"]])
    ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.6.2.0/24")  # it is in nobody's way
    equal(error_of(ec2.create_subnet, VpcId=vpc["VpcId"], CidrBlock="10.6.1.0/24", Ipv6CidrBlock=part)[0],
          "InvalidSubnet.Conflict")


def test_requests_that_are_wrong_are_told_in_the_words_of_ec2():
    equal(error_of(ec2.describe_vpcs, DryRun=True)[0::2], ("DryRunOperation", 412))
    status, reply = daemon.form("Action=DescribeVpcs&Version=2016-11-15&Colour=red")
    contains(reply, "<Code>UnknownParameter</Code><Message>The parameter Colour is not recognized</Message>")
    equal(status, 400)
    for body, code in [("Action=RunInstances", "InvalidAction"), ("", "InvalidAction"),
                       ("Action=DeleteVpc", "MissingParameter"), ("Action=DeleteVpc&VpcId.1=a", "UnknownParameter"),
                       ("Action=DescribeVpcs&VpcId.2=a", "MalformedQueryString"),
                       ("Action=DescribeVpcs&MaxResults=x", "InvalidParameterValue"),
                       ("Action=%zz", "MalformedQueryString"), ("A.1=2&A=1", "UnknownParameter")]:
        equal((body, daemon.form(body)[0]), (body, 400))
        contains(daemon.form(body)[1], f"<Code>{code}</Code>")


def test_a_wrong_key_is_told_in_the_words_of_ec2():
    import boto3
    client = boto3.client("ec2", "us-east-1", endpoint_url=daemon.endpoint, aws_access_key_id="AKIAX",
                          aws_secret_access_key="wrong")
    equal(error_of(client.describe_vpcs)[0::2], ("AuthFailure", 401))


def test_without_a_default_vpc_names_are_nobody_s():
    with Daemon(role="server") as other:
        its = other.boto("ec2")
        for subnet in its.describe_subnets()["Subnets"]:
            its.delete_subnet(SubnetId=subnet["SubnetId"])
        its.delete_vpc(VpcId=its.describe_vpcs()["Vpcs"][0]["VpcId"])
        equal(error_of(its.describe_security_groups, GroupNames=["default"])[0], "InvalidGroup.NotFound")
        equal(error_of(its.create_security_group, GroupName="g", Description="d")[0], "InvalidVpcID.NotFound")


def test_everything_is_there_after_a_restart():
    def view():
        return [ec2.describe_vpcs()["Vpcs"], ec2.describe_subnets()["Subnets"],
                ec2.describe_security_groups()["SecurityGroups"],
                ec2.describe_security_group_rules()["SecurityGroupRules"]]

    def by_id(objects):
        return sorted(map(repr, objects))
    before = view()
    daemon.kill()
    daemon.start()
    equal([by_id(o) for o in view()], [by_id(o) for o in before])


if __name__ == "__main__":
    main()
