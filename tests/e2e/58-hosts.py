#!/usr/bin/python3
# tests/e2e/58-hosts.py - three hosts, one cluster: tasks reach each other as their groups say
# SPDX-License-Identifier: Apache-2.0
#
# Hosts are network namespaces on one switch. On a are the server and a node, on
# b and c nodes.

import json
import os
import re
import subprocess
import time

from berth import BUILD, Census, Daemon, Node, Registry, contains, equal, main, run, wait_for
from hostslab import Hosts

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
hosts = Hosts("abc", registry)
nodes = hosts.nodes


def token():
    return server.token()


def local_instance():
    others = {n.instance for n in nodes.values() if n is not server}
    arns = server.ecs("ListContainerInstances")["containerInstanceArns"]
    return next(i for i in (a.split("/")[-1] for a in arns) if i not in others)


def cleanup():
    hosts.end()
    registry.__exit__()
    census.check()


try:
    # They have no default route, so the one beside the server has to be told its address.
    server = Daemon(config="[server]\nnode-listen = 10.99.0.1:0\nnode-heartbeat-seconds = 1\n"
                    "[network]\nnode-address = 10.99.0.1\n", name="a")
    hosts.add("a", server)
    server.words = ["--node-listen", server.node_address]
    for name in "bc":
        hosts.add(name, Node(server.node_address, token(), name=name))
    server.instance = local_instance()
except BaseException:
    cleanup()
    raise


def ec2(form):
    status, text = server.form(form + "&Version=2016-11-15")
    equal((status, text if status != 200 else ""), (200, ""))
    return text


def group(name):
    text = ec2(f"Action=CreateSecurityGroup&GroupName={name}&GroupDescription={name}&VpcId={VPC}")
    return re.search(r"<groupId>(\S+?)</groupId>", text).group(1)


def allow(target, source, port=80):
    ec2(f"Action=AuthorizeSecurityGroupIngress&GroupId={target}&IpPermissions.1.IpProtocol=tcp"
        f"&IpPermissions.1.FromPort={port}&IpPermissions.1.ToPort={port}&IpPermissions.1.Groups.1.GroupId={source}")


VPC = re.search(r"<vpcId>(\S+?)</vpcId>", ec2("Action=DescribeVpcs")).group(1)
SUBNET = re.search(r"<subnetId>(\S+?)</subnetId>", ec2("Action=DescribeSubnets")).group(1)


def start(name, *groups, subnet=None, **more):
    td = server.ecs("RegisterTaskDefinition", family="h", networkMode="awsvpc", containerDefinitions=[
        dict(dict(name="c", image=IMAGE, memory=32, stopTimeout=2, portMappings=[dict(containerPort=80)]), **more)])
    reply = server.ecs("StartTask", containerInstances=[nodes[name].instance],
                       taskDefinition=td["taskDefinition"]["taskDefinitionArn"],
                       networkConfiguration=dict(awsvpcConfiguration=dict(subnets=[subnet or SUBNET],
                                                                          securityGroups=list(groups))))
    equal(reply["failures"], [])
    return reply["tasks"][0]["taskArn"]


def address_of(task):
    return task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]


def pid_of(name, arn):
    found = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", nodes[name].root + "/run/berth/oci", "list",
                           "--format", "json").stdout)
    return next(c["pid"] for c in found if c["id"].startswith(arn.split("/")[-1]))


class Running:
    """A task on each host, in a group."""

    def __init__(self, *groups, on="abc", subnet=None):
        self.arns = {name: start(name, *groups, subnet=subnet) for name in on}
        tasks = {name: server.wait_status(arn, "RUNNING") for name, arn in self.arns.items()}
        self.addresses = {name: address_of(t) for name, t in tasks.items()}
        self.pids = {name: pid_of(name, arn) for name, arn in self.arns.items()}

    def reaches(self, source, address, seconds=1):
        p = subprocess.run(["nsenter", f"--net=/proc/{self.pids[source]}/ns/net", "curl", "-s", "-o", "/dev/null",
                            "--connect-timeout", str(seconds), "-m", "5", f"http://{address}/"])
        return p.returncode == 0

    def stop(self):
        for arn in self.arns.values():
            server.ecs("StopTask", task=arn)
        for arn in self.arns.values():
            server.wait_stopped(arn)


def routes(name):
    return hosts.run(name, "ip route show proto 191")


def allow_cidr(target, cidr):
    ec2(f"Action=AuthorizeSecurityGroupIngress&GroupId={target}&IpPermissions.1.IpProtocol=tcp"
        f"&IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp={cidr}")


def host_reaches(name, address):
    script = f"curl -s -o /dev/null --connect-timeout 1 -m 5 http://{address}/ && echo yes || echo no"
    return hosts.run(name, script).strip() == "yes"


def test_hosts_without_tasks_reach_tasks_of_all_vpcs_which_do_not_reach_each_other():
    # First of all tests: addresses of tasks rest for a minute, and so do blocks.
    equal([routes(name) for name in "abc"], ["", "", ""])
    let, closed = group("let"), group("closed")
    allow_cidr(let, "10.99.0.0/24")
    allow_cidr(let, "10.0.0.0/8")
    ours, strangers = Running(let, on="b"), Running(closed, on="b")
    for name in "ac":
        wait_for(lambda: host_reaches(name, ours.addresses["b"]), 20, f"{name} to a task on b")
        assert not host_reaches(name, strangers.addresses["b"])
        contains(routes(name), "via 10.99.0.2")
    assert "10.99.0.1" not in routes("c"), "neither has tasks"

    # Another VPC, whose task is on c: all hosts reach it, and no task of the default one.
    vpc = re.search(r"<vpcId>(\S+?)</vpcId>", ec2("Action=CreateVpc&CidrBlock=10.77.0.0/16")).group(1)
    subnet = re.search(r"<subnetId>(\S+?)</subnetId>",
                       ec2(f"Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.77.1.0/24")).group(1)
    there = re.search(r"<groupId>(\S+?)</groupId>", ec2(
        f"Action=CreateSecurityGroup&GroupName=there&GroupDescription=there&VpcId={vpc}")).group(1)
    allow_cidr(there, "0.0.0.0/0")
    allow_cidr(let, "0.0.0.0/0")
    other = Running(there, on="c", subnet=subnet)
    for name in "ab":
        wait_for(lambda: host_reaches(name, other.addresses["c"]), 20, f"{name} to a task on c")
    assert not ours.reaches("b", other.addresses["c"])
    assert not other.reaches("c", ours.addresses["b"])
    for tasks in (ours, strangers, other):
        tasks.stop()


def test_tasks_reach_tasks_of_all_hosts_as_their_groups_say():
    open_group, other = group("open"), group("other")
    allow(open_group, open_group)
    ours, strangers = Running(open_group), Running(other, on="b")
    for source in "abc":
        for target in "abc":
            wait_for(lambda: ours.reaches(source, ours.addresses[target]), 20, f"{source} to {target}")
            assert not strangers.reaches("b", ours.addresses[target])
    # one route for the block of each other host, and one for the address of the host itself
    for name in "abc":
        via = sorted(re.findall(r"172\.31\.\S+ via 10\.99\.0\.(\d)", routes(name)))
        equal(via, [str(n) for n in (1, 2, 3) if "abc"[n - 1] != name])
        equal(len(re.findall(r"100\.64\.0\.\d+ via", routes(name))), 2)
    ours.stop()
    strangers.stop()


def test_a_member_on_another_host_is_let_in_at_once():
    web, client = group("web"), group("client")
    allow(web, client)
    server_task = Running(web, on="c")
    address = server_task.addresses["c"]
    clients = Running(client, on="b")
    wait_for(lambda: clients.reaches("b", address), 20, "let in")
    # the time from a member's address to the rule on the other host, told and not judged
    seen = []
    for _ in range(5):
        arn = start("b", client)
        t0 = time.monotonic()
        member = wait_for(lambda: next((d["value"] for a in server.task(arn)["attachments"] for d in a["details"]
                                        if d["name"] == "privateIPv4Address"), None), 20, "an address", pause=0)
        wait_for(lambda: member in hosts.run("c", f"nft list table inet {nodes['c'].name}"), 20, "member", pause=0)
        seen.append((time.monotonic() - t0) * 1000)
        server.ecs("StopTask", task=arn)
        server.wait_stopped(arn)
    print(f"  a member on b was in the rules of c after {min(seen):.0f} to {max(seen):.0f} ms, nft's listing included")
    wait_for(lambda: member not in hosts.run("c", f"nft list table inet {nodes['c'].name}"), 20, "member gone")
    clients.stop()
    server_task.stop()


def test_a_cut_off_host_keeps_its_tasks_and_tells_when_it_is_back():
    g = group("cut")
    allow(g, g)
    tasks = Running(g)
    ending = start("b", g, command=["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 5"])
    server.wait_status(ending, "RUNNING")
    pid = pid_of("b", ending)
    hosts.link("b", "down")
    try:
        wait_for(lambda: server.task(tasks.arns["b"])["connectivity"] == "DISCONNECTED", 30, "cut off")
        open(f"/proc/{pid}/root/tmp/end", "w").close()
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "the end of a task")
        equal(server.task(ending)["lastStatus"], "RUNNING")
        assert not tasks.reaches("a", tasks.addresses["b"])
        assert tasks.reaches("a", tasks.addresses["c"])
    finally:
        hosts.link("b", "up")
    equal(server.wait_stopped(ending)["containers"][0]["exitCode"], 5)
    for source, target in ("ab", "ba", "bc", "cb"):
        wait_for(lambda: tasks.reaches(source, tasks.addresses[target]), 20, f"{source} to {target}")
    tasks.stop()


def test_a_host_that_starts_again_without_the_server_knows_the_others():
    g = group("alone")
    allow(g, g)
    tasks = Running(g)
    wait_for(lambda: tasks.reaches("b", tasks.addresses["c"]), 20, "b to c")
    server.kill()
    nodes["b"].kill()
    # as after a boot: nothing of the networks is there but what the agent kept
    hosts.run("b", "ip route flush proto 191")
    nodes["b"].spawn(*hosts.inside("b"))
    wait_for(lambda: tasks.reaches("b", tasks.addresses["c"]), 30, "b to c without a server")
    equal(nodes["b"].process.poll(), None)
    server.start(*hosts.inside("a"))
    tasks.stop()


def test_a_host_behind_nat_is_a_node_like_another():
    hosts.plug_behind_nat("d", "10.99.0.8/24")
    hosts.serve("d", registry)
    hosts.add("d", Node(server.node_address, token(), name="d"))
    arn = start("d", group("hidden"), command=["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 6"])
    server.wait_status(arn, "RUNNING")
    pid = pid_of("d", arn)
    # the router gets another address, and has forgotten whose connections it carried
    hosts.run("d-nat", "ip addr del 10.99.0.8/24 dev up0; ip addr add 10.99.0.9/24 dev up0")
    wait_for(lambda: nodes["d"].logged().count(": registered") > 1, 30, "it to dial again")
    open(f"/proc/{pid}/root/tmp/end", "w").close()
    equal(server.wait_stopped(arn)["containers"][0]["exitCode"], 6)
    server.berth("node", "remove", nodes["d"].instance)
    nodes["d"].process.wait(60)


def test_a_removed_host_is_forgotten_by_the_others():
    g = group("removed")
    allow(g, g)
    tasks = Running(g)
    contains(routes("a"), "10.99.0.3")
    server.berth("node", "remove", "--force", nodes["c"].instance)
    nodes["c"].process.wait(60)
    for name in "ab":
        wait_for(lambda: "10.99.0.3" not in routes(name), 20, "no way to c")
    for name in "ab":
        server.ecs("StopTask", task=tasks.arns[name])
        server.wait_stopped(tasks.arns[name])


if __name__ == "__main__":
    main()
