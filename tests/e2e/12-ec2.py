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
                        ("fd00::/64", "InvalidSubnet.Range"), ("10.2.0.0", "InvalidSubnet.Range")]:
        equal((block, error_of(ec2.create_subnet, VpcId=vpc, CidrBlock=block)[0]), (block, code))
    for block in ["10.2.128.0/17", "172.31.0.0/24", "10.0.0.0/8", "10.2.0.0/29", "ten"]:
        equal((block, error_of(ec2.create_vpc, CidrBlock=block)[0]), (block, "InvalidVpc.Range"))


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
                      (permission(protocol="tpc", **cidr("0.0.0.0/0")), "InvalidPermission.Malformed"),
                      (permission(UserIdGroupPairs=[dict(GroupId="sg-0")]), "InvalidGroup.NotFound"),
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
