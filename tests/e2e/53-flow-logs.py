#!/usr/bin/python3
# tests/e2e/53-flow-logs.py - flow logs of tasks, from the EC2 API to the log streams
# SPDX-License-Identifier: Apache-2.0

import collections
import json
import os
import socket
import subprocess
import time

from berth import BUILD, Census, Daemon, Registry, contains, equal, error_of, main, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()
ec2 = daemon.boto("ec2")
ecs = daemon.boto("ecs")
logs = daemon.boto("logs")

# A block that others on this host seldom have.
BLOCK = f"10.{64 + os.getpid() % 128}"
VPC = ec2.create_vpc(CidrBlock=BLOCK + ".0.0/16")["Vpc"]["VpcId"]
SUBNET = ec2.create_subnet(VpcId=VPC, CidrBlock=BLOCK + ".0.0/24")["Subnet"]["SubnetId"]
OTHER = ec2.create_subnet(VpcId=VPC, CidrBlock=BLOCK + ".1.0/24")["Subnet"]["SubnetId"]
GROUP = ec2.create_security_group(GroupName="web", Description="web", VpcId=VPC)["GroupId"]
ec2.authorize_security_group_ingress(GroupId=GROUP, IpPermissions=[
    dict(IpProtocol="tcp", FromPort=80, ToPort=80, IpRanges=[dict(CidrIp="0.0.0.0/0")])])

# "Flow log records" of the VPC User Guide, version 2.
FIELDS = ("version account_id interface_id srcaddr dstaddr srcport dstport protocol packets bytes start end action "
          "log_status")
Record = collections.namedtuple("Record", FIELDS)


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


class Task:
    def __init__(self, subnet=SUBNET):
        containers = [dict(name="web", memory=32, image=IMAGE, stopTimeout=2, portMappings=[dict(containerPort=80)])]
        ecs.register_task_definition(family="web", networkMode="awsvpc", containerDefinitions=containers)
        reply = ecs.run_task(taskDefinition="web", networkConfiguration=dict(
            awsvpcConfiguration=dict(subnets=[subnet], securityGroups=[GROUP])))
        equal(reply["failures"], [])
        self.arn = reply["tasks"][0]["taskArn"]
        task = daemon.wait_status(self.arn, "RUNNING")
        details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
        self.eni, self.address = details["networkInterfaceId"], details["privateIPv4Address"]
        wait_for(lambda: ":80" in self.sh("ss -Hltn").stdout, 30, "its server")  # a refusal would be a flow, too

    def sh(self, script):
        states = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", daemon.root + "/run/berth/oci", "list",
                                "--format", "json").stdout)
        pid = next(s["pid"] for s in states if s["id"].startswith(self.arn.split("/")[-1]) and s["status"] == "running")
        return subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-c", script], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)

    def fetch(self, other):
        return "Hello" in self.sh(f"exec timeout 5 busybox wget -q -O - http://{other.address}/").stdout

    def stop(self):
        ecs.stop_task(task=self.arn)
        daemon.wait_stopped(self.arn)


def flow_log(group, *resources, kind="Subnet", traffic="ALL", interval=600):
    reply = ec2.create_flow_logs(ResourceIds=list(resources), ResourceType=kind, TrafficType=traffic,
                                 LogGroupName=group, MaxAggregationInterval=interval,
                                 DeliverLogsPermissionArn="arn:aws:iam::000000000000:role/flow")
    equal(reply["Unsuccessful"], [])
    return reply["FlowLogIds"]


def records(group, eni):
    try:
        events = logs.get_log_events(logGroupName=group, logStreamName=eni + "-all", startFromHead=True)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [Record(*e["message"].split(" ")) for e in events]


def end(*ids):
    ec2.delete_flow_logs(FlowLogIds=[i for group in ids for i in group])


def accounting():
    return open("/proc/sys/net/netfilter/nf_conntrack_acct").read().strip()


def test_flows_between_tasks_are_in_the_log_of_both():
    started = time.time()
    before = accounting()
    ids = flow_log("flows", SUBNET)
    a, b = Task(), Task()
    assert a.fetch(b)
    a.sh(f"exec timeout 1 busybox nc -w 1 {b.address} 81")  # no group lets it in
    a.stop()
    b.stop()
    for task in (a, b):
        seen = wait_for(lambda: records("flows", task.eni), 30, "records")
        there = [r for r in seen if r.dstport == "80"]
        back = [r for r in seen if r.srcport == "80"]
        equal([(r.version, r.account_id, r.interface_id, r.srcaddr, r.dstaddr, r.protocol, r.action, r.log_status)
               for r in there], [("2", "123456789012", task.eni, a.address, b.address, "6", "ACCEPT", "OK")])
        equal([(r.srcaddr, r.dstaddr, r.dstport, r.action) for r in back],
              [(b.address, a.address, there[0].srcport, "ACCEPT")])
        assert 4 <= int(there[0].packets) <= 30 and int(back[0].bytes) > int(there[0].bytes), seen
        assert started - 1 <= int(there[0].start) <= int(there[0].end) <= time.time() + 1, seen
    # It was let out, and not in.
    equal({r.action for r in records("flows", a.eni) if r.dstport == "81"}, {"ACCEPT"})
    equal({r.action for r in records("flows", b.eni) if r.dstport == "81"}, {"REJECT"})
    equal(set(r.log_status for r in records("flows", b.eni)), {"OK"})
    end(ids)
    wait_for(lambda: accounting() == before, 10, "accounting as before")


def test_a_flow_log_has_the_traffic_it_is_for_of_the_resources_it_is_for():
    a, b, c = Task(), Task(), Task(OTHER)
    ids = [flow_log("accepted", VPC, kind="VPC", traffic="ACCEPT"), flow_log("rejected", SUBNET, traffic="REJECT"),
           flow_log("one", b.eni, kind="NetworkInterface")]
    a.fetch(b)  # the node may not have heard yet
    wait_for(lambda: accounting() == "1", 10, "accounting")
    assert a.fetch(b) and c.fetch(b)
    b.sh(f"exec timeout 1 busybox nc -w 1 {a.address} 81")
    for t in (a, b, c):
        t.stop()

    def streams(group):
        try:
            return sorted(s["logStreamName"] for s in logs.describe_log_streams(logGroupName=group)["logStreams"])
        except logs.exceptions.ResourceNotFoundException:
            return []
    wait_for(lambda: len(streams("accepted")) == 3, 30, "streams")
    wait_for(lambda: len(streams("rejected")) == 2 and streams("one"), 30, "streams")
    equal(streams("accepted"), sorted(t.eni + "-all" for t in (a, b, c)))
    equal(streams("rejected"), sorted(t.eni + "-all" for t in (a, b)))
    equal(streams("one"), [b.eni + "-all"])
    equal({r.action for r in records("accepted", b.eni)}, {"ACCEPT"})
    equal({(r.action, r.dstport) for r in records("rejected", a.eni)}, {("REJECT", "81")})
    equal([(r.srcaddr, r.action, r.log_status) for r in records("rejected", b.eni)], [("-", "-", "NODATA")])
    assert {a.address, c.address} <= {r.srcaddr for r in records("one", b.eni)}
    end(*ids)


def test_lines_have_the_format_that_was_asked_for():
    asked = ("${version} ${vpc-id} ${subnet-id} ${instance-id} ${interface-id} ${account-id} ${type} ${pkt-srcaddr} ${pkt-dstaddr} "
             "${dstport} ${protocol} ${packets} ${action} ${flow-direction} ${region} ${az-id} ${log-status}")
    made = daemon.aws("ec2", "create-flow-logs", "--resource-type", "Subnet", "--resource-ids", SUBNET, "--traffic-type", "ALL",
                      "--log-group-name", "formatted", "--log-format", asked)["FlowLogIds"]
    usual = flow_log("unformatted", SUBNET)
    made += ec2.create_flow_logs(ResourceIds=[SUBNET], ResourceType="Subnet", TrafficType="ALL", LogGroupName="long",
                                 LogFormat=" ".join(["${vpc-id}"] * 200))["FlowLogIds"]
    equal(ec2.describe_flow_logs(FlowLogIds=made[:1])["FlowLogs"][0]["LogFormat"], asked)
    client, server, idle = Task(), Task(), Task()
    assert client.fetch(server)
    for task in (client, server, idle):
        task.stop()

    def lines(group, eni):
        try:
            events = logs.get_log_events(logGroupName=group, logStreamName=eni + "-all", startFromHead=True)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [e["message"].split(" ") for e in events]
    for task, direction in ((client, "egress"), (server, "ingress")):
        there = wait_for(lambda: [l for l in lines("formatted", task.eni) if l[9] == "80"], 30, "a line of the flow")
        equal([l[:11] + l[12:] for l in there], [
            ["5", VPC, SUBNET, "-", task.eni, "123456789012", "IPv4", client.address, server.address, "80", "6", "ACCEPT",
             direction, "us-east-1", "us-east-1a", "OK"]])
        assert int(there[0][11]) > 3
        equal([r.version for r in records("unformatted", task.eni)], ["2"] * len(records("unformatted", task.eni)))
    equal(wait_for(lambda: lines("formatted", idle.eni), 30, "that there was nothing"),
          [["5", VPC, SUBNET, "-", idle.eni, "123456789012"] + ["-"] * 8 + ["us-east-1", "us-east-1a", "NODATA"]])
    equal(wait_for(lambda: lines("long", idle.eni), 30, "a long line"), [[VPC] * 200])
    end(made, usual)
    for wrong, code in [("srcaddr", "InvalidParameterValue"), ("${srcaddr", "InvalidParameterValue"),
                        ("${srcaddr}  ${dstaddr}", "InvalidParameterValue"), ("${srcaddr} ", "InvalidParameterValue"),
                        ("", "InvalidParameterValue"), ("${srcaddr} ${tcp-flags}", "UnsupportedOperation"),
                        ("${nothing}", "UnsupportedOperation")]:
        equal((wrong, error_of(ec2.create_flow_logs, ResourceIds=[SUBNET], ResourceType="Subnet", TrafficType="ALL",
                               LogGroupName="wrong", LogFormat=wrong)[0]), (wrong, code))


def test_running_tasks_are_logged_each_interval_and_over_restarts_of_both_halves():
    """A connection stays open: its bytes are in the interval in which they went, all of them once."""
    ids = flow_log("minutes", SUBNET, interval=60)
    a, b = Task(), Task()
    assert a.fetch(b)
    boundary = int(time.time()) // 60 * 60 + 60
    seen = wait_for(lambda: records("minutes", b.eni), 90, "records of a minute")
    equal(len([r for r in seen if r.dstport == "80" and r.action == "ACCEPT"]), 1)
    assert all(abs(int(r.end) - boundary) <= 60 for r in seen), seen
    daemon.kill()
    daemon.start()
    assert a.fetch(b)
    a.stop()
    b.stop()
    # What was lost with the agent cannot be known: it is said.
    seen = wait_for(lambda: [r for r in records("minutes", b.eni) if r.log_status == "SKIPDATA"], 30, "SKIPDATA")
    equal([(r.interface_id, r.srcaddr, r.bytes, r.action) for r in seen], [(b.eni, "-", "-", "-")])
    equal(len([r for r in records("minutes", b.eni) if r.dstport == "80"]), 2)
    equal(len(set(records("minutes", b.eni))), len(records("minutes", b.eni)))
    end(ids)


def test_what_was_added_up_outlives_the_agent():
    ids = flow_log("kept", SUBNET)  # ten minutes
    a, b = Task(), Task()
    assert a.fetch(b)
    daemon.stop()
    contains(open(daemon.root + "/run/berth/flows").read(), f"{a.address} {b.address}")
    daemon.start()
    a.stop()
    b.stop()
    for task in (a, b):
        seen = wait_for(lambda: records("kept", task.eni), 30, "records")
        there = [r for r in seen if r.dstport == "80"]
        equal([(r.srcaddr, r.dstaddr, r.action) for r in there], [(a.address, b.address, "ACCEPT")])
        assert int(there[0].packets) >= 4, there
    end(ids)


def test_what_is_deleted_is_logged_no_more():
    ids = flow_log("gone", SUBNET)
    a, b = Task(), Task()
    end(ids)
    assert a.fetch(b)
    a.stop()
    b.stop()
    c = flow_log("gone", SUBNET)  # the same again, so that something comes after it
    d = Task()
    d.stop()
    wait_for(lambda: records("gone", d.eni), 30, "records")
    equal(records("gone", a.eni), [])
    end(c)


if __name__ == "__main__":
    main()
