#!/usr/bin/python3
# tests/e2e/52-awsvpc.py - tasks with network interfaces of their own, by the real aws command
# SPDX-License-Identifier: Apache-2.0

import ipaddress
import json
import os
import re
import subprocess

from berth import BUILD, Census, Daemon, Registry, contains, equal, main, page, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
PUBLIC = f"203.0.113.{1 + os.getpid() % 250}"  # documentation's own: nobody's
TRUNK = f"tk{os.getpid()}"  # a cable to a network of machines that are a namespace
daemon = Daemon(config=f"[node]\npublic-addresses = {PUBLIC}\n[network]\ntrunk = {TRUNK}\n").start()
ec2 = daemon.boto("ec2")
ecs = daemon.boto("ecs")

# A block that others on this host seldom have.
BLOCK = f"10.{64 + os.getpid() % 128}"
VPC = ec2.create_vpc(CidrBlock=BLOCK + ".0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
BLOCK6 = VPC["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("::/56", "")
SUBNET = ec2.create_subnet(VpcId=VPC["VpcId"], CidrBlock=BLOCK + ".0.0/24")["Subnet"]["SubnetId"]
SUBNET6 = ec2.create_subnet(VpcId=VPC["VpcId"], CidrBlock=BLOCK + ".1.0/24",
                            Ipv6CidrBlock=BLOCK6 + "::/64")["Subnet"]["SubnetId"]
ALONE = str(list(ipaddress.ip_network(VPC["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]).subnets(new_prefix=64))[7])
NATIVE = ec2.create_subnet(VpcId=VPC["VpcId"], Ipv6CidrBlock=ALONE, Ipv6Native=True)["Subnet"]["SubnetId"]


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def group(name, *ingress):
    made = ec2.create_security_group(GroupName=name, Description=name, VpcId=VPC["VpcId"])["GroupId"]
    if ingress:
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=list(ingress))
    return made


def tcp(port, *groups, **source):
    if groups:
        source["UserIdGroupPairs"] = [dict(GroupId=g) for g in groups]
    return dict(IpProtocol="tcp", FromPort=port, ToPort=port, **source)


ANY = dict(IpRanges=[dict(CidrIp="0.0.0.0/0")])


def start(containers, *groups, subnet=SUBNET, family="v"):
    containers = [dict(dict(memory=32, image=IMAGE, stopTimeout=2), **c) for c in containers]
    ecs.register_task_definition(family=family, networkMode="awsvpc", containerDefinitions=containers)
    reply = ecs.run_task(taskDefinition=family, networkConfiguration=dict(
        awsvpcConfiguration=dict(subnets=[subnet], securityGroups=list(groups))))
    equal(reply["failures"], [])
    return reply["tasks"][0]["taskArn"]


def web(*groups, **more):
    return start([dict(name="web", portMappings=[dict(containerPort=80)])], *groups, **more)


def address_of(task, member="privateIpv4Address"):
    return task["containers"][0]["networkInterfaces"][0][member]


def detail(task, name):
    return {d["name"]: d["value"] for d in task["attachments"][0]["details"]}.get(name)


def sh(arn, script):
    """A script in the network of a task: from the host, in the namespace of its first process."""
    return subprocess.run(["nsenter", f"--net=/proc/{pid_of(arn)}/ns/net", "sh", "-c", script],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def pid_of(arn):
    states = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", daemon.root + "/run/berth/oci", "list",
                            "--format", "json").stdout)
    task = arn.split("/")[-1]
    return next(s["pid"] for s in states if s["id"].startswith(task) and s["status"] == "running")


def serving(arn):
    """The task, once it runs and its server listens."""
    task = daemon.wait_status(arn, "RUNNING")
    wait_for(lambda: ":80 " in sh(arn, "ss -Hltn").stdout, 30, "its server")
    return task


def fetches(arn, address, port=80):
    host = f"[{address}]" if ":" in address else address
    p = sh(arn, f"exec timeout 2 busybox wget -q -O - http://{host}:{port}/")
    return "Hello from Berth" in p.stdout


def stop(*arns):
    for arn in arns:
        ecs.stop_task(task=arn)
    for arn in arns:
        daemon.wait_stopped(arn)


def test_a_task_has_an_interface_as_ecs_shows_it():
    g = group("shown", tcp(80, **ANY))
    definition = [dict(name="web", image=IMAGE, memory=32, portMappings=[dict(containerPort=80)])]
    daemon.aws("ecs", "register-task-definition", "--family", "shown", "--network-mode", "awsvpc",
               "--container-definitions", json.dumps(definition))
    equal(daemon.aws("ecs", "describe-task-definition", "--task-definition", "shown")["taskDefinition"]
          ["containerDefinitions"][0]["portMappings"][0]["hostPort"], 80)
    reply = daemon.aws("ecs", "run-task", "--task-definition", "shown", "--network-configuration",
                       f"awsvpcConfiguration={{subnets=[{SUBNET}],securityGroups=[{g}]}}")
    task = reply["tasks"][0]
    equal((task["lastStatus"], task["attachments"][0]["status"]), ("PROVISIONING", "PRECREATED"))
    task = serving(task["taskArn"])
    equal(task["attachments"][0]["status"], "ATTACHED")
    equal(task["containers"][0]["networkBindings"], [])
    address = address_of(task)
    assert address.startswith(BLOCK + ".0."), address
    equal(detail(task, "privateIPv4Address"), address)
    eni = daemon.aws("ec2", "describe-network-interfaces", "--network-interface-ids",
                     detail(task, "networkInterfaceId"))["NetworkInterfaces"][0]
    equal((eni["PrivateIpAddress"], eni["MacAddress"], eni["SubnetId"], eni["Status"], [x["GroupId"] for x in eni["Groups"]]),
          (address, detail(task, "macAddress"), SUBNET, "in-use", [g]))
    inside = sh(task["taskArn"], "ip -o addr show eth0; ip link show eth0").stdout
    contains(inside, address + "/32")
    contains(inside, eni["MacAddress"])
    contains(page(80, address), "Hello from Berth")
    stop(task["taskArn"])
    equal(daemon.task(task["taskArn"])["attachments"][0]["status"], "DELETED")
    equal(ec2.describe_network_interfaces()["NetworkInterfaces"], [])


def test_containers_of_a_task_share_its_network():
    g = group("shared")
    script = ("busybox wget -q -O /tmp/page http://127.0.0.1:80/ || exit 3; grep -q Hello /tmp/page || exit 4;"
              "busybox ip -o -4 addr show eth0; hostname; cat /etc/hosts")
    loop = f"i=0; while [ $i -lt 100 ]; do if ({script}); then exit 0; fi; i=$((i+1)); busybox usleep 50000; done; exit 5"
    arn = start([dict(name="web", portMappings=[dict(containerPort=80)]),
                 dict(name="probe", essential=False, entryPoint=["/bin/sh", "-c"], command=[loop])], g)

    def ended():
        return next((c for c in daemon.task(arn)["containers"] if c["name"] == "probe" and "exitCode" in c), None)
    equal(wait_for(ended, 60, "the probe's end")["exitCode"], 0)
    task = daemon.task(arn)
    address = address_of(task)
    out = daemon.berth("logs", arn.split("/")[-1]).stdout
    contains(out, address + "/32")
    contains(out, "ip-" + address.replace(".", "-") + ".ec2.internal")
    equal({c["networkInterfaces"][0]["privateIpv4Address"] for c in task["containers"]}, {address})
    stop(arn)


def test_a_container_may_have_rights_over_the_network_of_its_task():
    g = group("rights")
    sleep = dict(entryPoint=["/bin/sleep", "600"])
    admin = dict(sleep, name="admin", linuxParameters=dict(capabilities=dict(add=["NET_ADMIN"])))
    mtu = "busybox ip link set eth0 mtu 1300 && cat /sys/class/net/eth0/mtu"

    def ids(task):
        return next(a["value"] for a in task["attributes"] if a["name"] == "berth.user-namespace")

    def does(arn, index, script):
        return run(os.path.join(BUILD, "berth-oci"), "--root", daemon.root + "/run/berth/oci", "exec",
                   f"{arn.split('/')[-1]}-{index}", "/bin/sh", "-c", script, check=False)
    arn = start([dict(sleep, name="plain"), admin], g)
    assert ids(daemon.wait_status(arn, "RUNNING")).isdigit()
    contains(does(arn, 0, mtu).stderr, "not permitted")
    equal(does(arn, 1, mtu).stdout, "1300\n")
    stop(arn)
    # Whichever is made first makes the network, with ids of the task's or before it has any.
    above, told = dict(sleep, name="above", privileged=True), set()
    for n, containers in enumerate(([above, admin], [admin, above])):
        arn = start(containers, g)
        told.add(re.sub(r"\d{2,}", "N", ids(daemon.wait_status(arn, "RUNNING"))))
        equal(does(arn, 1 - n, mtu).stdout, "1300\n")
        stop(arn)
    late = "off for admin: capability NET_ADMIN over a network that is there already"
    equal(len(told), 2)
    equal({t.replace("N; ", "").replace(late, "").strip("; ") for t in told}, {"off for above: privileged"})


def test_groups_say_who_may_talk_to_whom_and_change_while_tasks_run():
    client, server = group("client"), group("server")
    ec2.authorize_security_group_ingress(GroupId=server, IpPermissions=[tcp(80, client)])
    a, b, c = web(client), web(server), web(group("other"))
    address = {t: address_of(serving(t)) for t in (a, b, c)}
    assert fetches(a, address[b])
    assert not fetches(c, address[b]) and not fetches(b, address[a])
    ec2.authorize_security_group_ingress(GroupId=server, IpPermissions=[
        dict(IpProtocol="-1", IpRanges=[dict(CidrIp=address[c] + "/32")])])
    wait_for(lambda: fetches(c, address[b]), 10, "the new rule")
    ec2.revoke_security_group_ingress(GroupId=server, IpPermissions=[tcp(80, client)])
    wait_for(lambda: not fetches(a, address[b]), 10, "the end of the old rule")
    ec2.revoke_security_group_egress(GroupId=ec2.describe_security_groups(
        Filters=[dict(Name="group-name", Values=["other"])])["SecurityGroups"][0]["GroupId"],
        IpPermissions=[dict(IpProtocol="-1", **ANY)])
    wait_for(lambda: not fetches(c, address[b]), 10, "no way out")
    rule = next(r["SecurityGroupRuleId"] for r in ec2.describe_security_group_rules(
        Filters=[dict(Name="group-id", Values=[server])])["SecurityGroupRules"] if not r["IsEgress"])
    ec2.modify_security_group_rules(GroupId=server, SecurityGroupRules=[dict(SecurityGroupRuleId=rule, SecurityGroupRule=dict(
        IpProtocol="tcp", FromPort=80, ToPort=81, ReferencedGroupId=client))])
    wait_for(lambda: fetches(a, address[b]), 10, "the rule that became another")
    stop(a, b, c)


def test_ipv6_is_there_where_the_subnet_has_it():
    g = group("six", tcp(80, Ipv6Ranges=[dict(CidrIpv6="::/0")]))
    a, b = web(g, subnet=SUBNET6), web(g, subnet=SUBNET6)
    tasks = [serving(t) for t in (a, b)]
    six = address_of(tasks[1], "ipv6Address")
    assert six.startswith(BLOCK6), six
    equal(detail(tasks[1], "ipv6Address"), six)
    assert fetches(a, six)
    assert not fetches(a, address_of(tasks[1]))
    stop(a, b)


def test_tasks_can_have_ipv6_alone():
    import botocore.exceptions
    g = group("alone", tcp(80, Ipv6Ranges=[dict(CidrIpv6=BLOCK6 + "::/56")]))
    both = web(group("beside", tcp(80, Ipv6Ranges=[dict(CidrIpv6="::/0")], **ANY)), subnet=SUBNET6)
    a, b = web(g, subnet=NATIVE), web(g, subnet=NATIVE)
    task, other, dual = serving(a), serving(b), serving(both)
    six = address_of(task, "ipv6Address")
    assert six.startswith(ALONE.replace("::/64", ":")), six
    equal(task["containers"][0]["networkInterfaces"], [dict(attachmentId=task["attachments"][0]["id"], ipv6Address=six)])
    equal([detail(task, n) for n in ("ipv6Address", "privateIPv4Address", "privateDnsName")], [six, None, None])
    eni = ec2.describe_network_interfaces(NetworkInterfaceIds=[detail(task, "networkInterfaceId")])["NetworkInterfaces"][0]
    equal((eni["Ipv6Addresses"], eni.get("PrivateIpAddress"), eni.get("PrivateIpAddresses")),
          ([dict(Ipv6Address=six)], None, None))
    contains(sh(a, "ip link show eth0").stdout, eni["MacAddress"])
    assert eni["MacAddress"] != detail(other, "macAddress")
    assert fetches(b, six) and fetches(both, six)
    assert fetches(a, address_of(dual, "ipv6Address")) and not fetches(a, address_of(dual))
    ec2.revoke_security_group_ingress(GroupId=g, IpPermissions=[tcp(80, Ipv6Ranges=[dict(CidrIpv6=BLOCK6 + "::/56")])])
    wait_for(lambda: not fetches(b, six), 10, "the end of the rule")
    # It finds what the host has for it where ECS and EC2 have that, whatever its group says.
    ec2.revoke_security_group_egress(GroupId=g, IpPermissions=[dict(IpProtocol="-1", **ANY)])
    n = knows_itself(a, "fd00:ec2::253", other=detail(dual, "privateDnsName"))
    equal((n["IPv4Addresses"], n["IPv6Addresses"], n["IPv6SubnetCIDRBlock"], n["MACAddress"]),
          ([], [six], ALONE, eni["MacAddress"]))
    equal([k for k in n if "IPv4" in k or "Ipv4" in k], ["IPv4Addresses"])
    contains(open(f"/proc/{pid_of(a)}/root/etc/hosts").read(), six)
    uri = uri_of(b)
    assert "no container" in sh(a, f"curl -s -m 5 {uri}/task").stdout
    for where in ("169.254.169.254", "10.0.0.1", "[fd00:ec2::254]"):
        equal(sh(a, f"curl -s -m 1 -o /dev/null -w '%{{http_code}}' http://{where}/").stdout, "000")
    # It is found again.
    daemon.kill()
    daemon.start()
    wait_for(lambda: "TaskARN" in sh(a, f"curl -s -m 5 {uri_of(a)}/task").stdout, 20, "the agent answers again")
    equal(address_of(daemon.task(a), "ipv6Address"), six)
    # No address comes at once again, and none of IPv4 is to be had.
    c = web(g, subnet=NATIVE)
    assert address_of(daemon.wait_status(c, "RUNNING"), "ipv6Address") not in (six, address_of(other, "ipv6Address"))
    try:
        ecs.run_task(taskDefinition="v", networkConfiguration=dict(awsvpcConfiguration=dict(
            subnets=[NATIVE], assignPublicIp="ENABLED")))
    except botocore.exceptions.ClientError as e:
        contains(e.response["Error"]["Message"], "the subnet has addresses of IPv6 only")
    else:
        raise AssertionError("it was accepted")
    stop(a, b, c, both)


def test_tasks_and_rules_outlive_agent_and_server():
    g = group("lasting", tcp(80, **ANY))
    a, b = web(g), web(g)
    address = address_of(serving(b))
    serving(a)
    assert fetches(a, address)
    daemon.kill()
    assert fetches(a, address)
    daemon.start()
    assert fetches(a, address)
    stop(a)
    c = web(g)
    serving(c)
    assert fetches(c, address)
    ec2.revoke_security_group_ingress(GroupId=g, IpPermissions=[tcp(80, **ANY)])
    wait_for(lambda: not fetches(c, address), 10, "the end of the rule")
    stop(b, c)


def test_a_public_address_is_given_where_the_host_has_some():
    g = group("public", tcp(80, **ANY))
    ecs.register_task_definition(family="public", networkMode="awsvpc", containerDefinitions=[
        dict(name="web", image=IMAGE, memory=32, stopTimeout=2, portMappings=[dict(containerPort=80)])])
    wanted = dict(awsvpcConfiguration=dict(subnets=[SUBNET], securityGroups=[g], assignPublicIp="ENABLED"))
    arn = ecs.run_task(taskDefinition="public", networkConfiguration=wanted)["tasks"][0]["taskArn"]
    task = serving(arn)
    eni = ec2.describe_network_interfaces(Filters=[dict(Name="association.public-ip", Values=[PUBLIC])])
    equal([n["NetworkInterfaceId"] for n in eni["NetworkInterfaces"]], [detail(task, "networkInterfaceId")])
    contains(page(80, PUBLIC), "Hello from Berth")
    second = ecs.run_task(taskDefinition="public", networkConfiguration=wanted)
    equal([f["reason"] for f in second["failures"]], ["RESOURCE:ENI"])
    stop(arn)


def test_many_tasks_have_addresses_of_their_own_and_none_comes_at_once_again():
    g = group("many", tcp(80, **ANY))
    arns = [web(g) for _ in range(12)]
    addresses = [address_of(serving(t)) for t in arns]
    equal(len(set(addresses)), 12)
    for other in addresses[1:]:
        assert fetches(arns[0], other), other
    stop(*arns)
    again = web(g)
    assert address_of(daemon.wait_status(again, "RUNNING")) not in addresses
    stop(again)


def test_a_subnet_can_be_a_physical_network():
    block = f"100.{65 + os.getpid() % 60}.{os.getpid() % 250}"
    made = ec2.create_vpc(CidrBlock=block + ".0/24", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    vpc, parts = made["VpcId"], ipaddress.ip_network(made["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]).subnets(new_prefix=64)
    six, next_six = next(parts), next(parts)
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block + ".0/24", Ipv6CidrBlock=str(six))["Subnet"]["SubnetId"]
    alone = ec2.create_subnet(VpcId=vpc, Ipv6CidrBlock=str(next_six), Ipv6Native=True)["Subnet"]["SubnetId"]
    daemon.aws("ec2", "create-tags", "--resources", alone, "--tags", "Key=berth:vlan,Value=0",
               f"Key=berth:gateway6,Value={next_six[9]}")
    daemon.aws("ec2", "create-tags", "--resources", subnet, "--tags", "Key=berth:vlan,Value=0",
               "Key=berth:gateway,Value=" + block + ".9")
    g = ec2.create_security_group(GroupName="lan", Description="d", VpcId=vpc)["GroupId"]
    refused = daemon.wait_stopped(web(g, subnet=subnet))
    contains(refused["stoppedReason"], f"there is no link {TRUNK}")
    machine = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL)
    inside = ["nsenter", f"--net=/proc/{machine.pid}/ns/net", "sh", "-c"]
    try:
        wait_for(lambda: os.readlink(f"/proc/{machine.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        run("ip", "link", "add", TRUNK, "type", "veth", "peer", "name", "eth0", "netns", str(machine.pid))
        run("ip", "link", "set", TRUNK, "up")
        run(*inside, f"ip addr add {block}.9/24 dev eth0; ip addr add {six[9]}/64 dev eth0 nodad; "
                     f"ip addr add {next_six[9]}/64 dev eth0 nodad; ip link set eth0 up")
        arn = web(g, subnet=subnet)
        task = serving(arn)
        v6 = serving(web(g, subnet=alone))
        addresses = [address_of(task), address_of(task, "ipv6Address"), address_of(v6, "ipv6Address")]

        def answer():
            pages = (f"exec timeout 2 busybox wget -q -O - http://{f'[{a}]' if ':' in a else a}/" for a in addresses)
            return [a for a, page in zip(addresses, pages)
                    if "Hello" in subprocess.run(inside + [page], capture_output=True, text=True).stdout]
        equal(answer(), [])
        n = knows_itself(arn, "169.254.169.253")
        equal(n["SubnetGatewayIpv4Address"], block + ".9/24")
        daemon.aws("ec2", "authorize-security-group-ingress", "--group-id", g, "--protocol", "tcp", "--port", "80",
                   "--cidr", block + ".9/32")
        ec2.authorize_security_group_ingress(GroupId=g, IpPermissions=[tcp(80, Ipv6Ranges=[
            dict(CidrIpv6=f"{six[9]}/128"), dict(CidrIpv6=f"{next_six[9]}/128")])])
        wait_for(lambda: answer() == addresses)
        for address, of in zip(addresses, (task, task, v6)):
            contains(run(*inside, f"ip neigh show {address}").stdout, detail(of, "macAddress"))
        assert fetches(arn, addresses[2]) is False  # a task of the host is no more in the group than others
        equal(knows_itself(v6["taskArn"], "fd00:ec2::253", other=detail(task, "privateDnsName"))["IPv4Addresses"], [])
        stop(arn, v6["taskArn"])
    finally:
        machine.kill()
        machine.wait()


def uri_of(arn):
    with open(f"/proc/{pid_of(arn)}/environ") as f:
        return re.search(r"ECS_CONTAINER_METADATA_URI_V4=([^\0]+)", f.read()).group(1)


def knows_itself(arn, resolver, other=None):
    """A task finds the metadata endpoint and the resolver, which knows its own name, or another one; what it is told."""
    contains(uri_of(arn), "http://169.254.170.2/")
    n = json.loads(sh(arn, f"curl -sS --max-time 10 {uri_of(arn)}/task").stdout)["Containers"][0]["Networks"][0]
    with open(f"/proc/{pid_of(arn)}/root/etc/resolv.conf") as f:
        contains(f.read(), "nameserver " + resolver)
    equal(n["DomainNameServers"], [resolver])
    name = other or n["PrivateDNSName"]
    contains(sh(arn, f"busybox nslookup {name} {resolver}").stdout, name[3:].split(".")[0].replace("-", "."))
    return n


def test_what_ecs_refuses_is_refused_in_its_words():
    import botocore.exceptions
    g = group("refusing")
    ecs.register_task_definition(family="plain", containerDefinitions=[dict(name="c", image=IMAGE, memory=32)])
    ecs.register_task_definition(family="vpc", networkMode="awsvpc",
                                 containerDefinitions=[dict(name="c", image=IMAGE, memory=32)])
    for definition, configuration, says in [
            ("vpc", None, "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
            ("plain", dict(subnets=[SUBNET]), "Network Configuration is not valid for the given networkMode"),
            ("vpc", dict(subnets=["subnet-0"]), "InvalidSubnetID.NotFound"),
            ("vpc", dict(subnets=[SUBNET], securityGroups=["sg-0"]), "InvalidGroup.NotFound"),
            ("vpc", dict(subnets=[SUBNET], securityGroups=[g] * 6), "at most 5")]:
        more = dict(networkConfiguration=dict(awsvpcConfiguration=configuration)) if configuration else {}
        try:
            ecs.run_task(taskDefinition=definition, **more)
        except botocore.exceptions.ClientError as e:
            equal(e.response["Error"]["Code"], "InvalidParameterException")
            contains(e.response["Error"]["Message"], says)
        else:
            raise AssertionError(f"{definition} {configuration} was accepted")


if __name__ == "__main__":
    main()
