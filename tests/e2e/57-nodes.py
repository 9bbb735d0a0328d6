#!/usr/bin/python3
# tests/e2e/57-nodes.py - nodes of a server elsewhere: joining, the channel, leaving
# SPDX-License-Identifier: Apache-2.0

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from berth import BUILD, Census, Daemon, Node, Registry, Wire, contains, equal, hello, main, refused, run, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
CONFIG = "[server]\nnode-listen = 127.0.0.1:0\nnode-heartbeat-seconds = 1\n"
server = Daemon(role="server", config=CONFIG).start()
# The same port again after a restart, so that nodes find it.
server.words = ["--node-listen", server.node_address]
nodes = []


def cleanup():
    for n in nodes:
        n.destroy()
    server.destroy()
    registry.__exit__()
    census.check()


def token(*words):
    return server.token(*words)


def node(tok=None, **more):
    n = Node(server.node_address, tok or token(), **more)
    nodes.append(n)
    return n


def gone(n):
    nodes.remove(n)
    n.destroy()


def instance(n):
    return server.ecs("DescribeContainerInstances", containerInstances=[n.instance])["containerInstances"][0]


def connected(n):
    return instance(n)["agentConnected"]


def start_on(n, *command, **more):
    containers = [dict(name="c", image=IMAGE, memory=32, stopTimeout=2, command=list(command), **more)]
    td = server.ecs("RegisterTaskDefinition", family="n", containerDefinitions=containers)
    reply = server.ecs("StartTask", containerInstances=[n.instance],
                       taskDefinition=td["taskDefinition"]["taskDefinitionArn"])
    equal(reply["failures"], [])
    return reply["tasks"][0]["taskArn"]


def stop(*arns):
    for arn in arns:
        server.ecs("StopTask", task=arn)
    for arn in arns:
        server.wait_stopped(arn)


@contextlib.contextmanager
def trying(n):
    """A node that is not let in, as long as it tries."""
    with open(n.log, "ab") as log:
        p = subprocess.Popen([os.path.join(BUILD, "berthd"), "agent", "--root", n.root, *n.words],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            p.terminate()
            p.wait()


FOREVER = ("sh", "-c", "trap exit TERM; while :; do sleep 0.1; done")


def test_a_token_lets_a_node_in_and_it_runs_tasks():
    one = node().start()
    doc = instance(one)
    equal((doc["status"], doc["agentConnected"]), ("ACTIVE", True))
    arn = start_on(one, "sh", "-c", "echo hello from afar; exit 7")
    stopped = server.wait_stopped(arn)
    equal(stopped["containers"][0]["exitCode"], 7)
    equal(stopped["containerInstanceArn"].split("/")[-1], one.instance)
    contains(server.berth("logs", arn).stdout, "hello from afar")
    line = server.berth("nodes").stdout.split("\n")[1]
    contains(line, one.instance[:12])
    contains(line, "ACTIVE")
    contains(line, socket.gethostname())
    equal(json.loads(server.berth("node", "inspect", one.instance[:8]).stdout)[0]["containerInstanceArn"],
          doc["containerInstanceArn"])
    gone(one)


def test_join_is_done_once_and_the_agent_knows_its_server():
    one = node()
    p = run(os.path.join(BUILD, "berthd"), "join", "--root", one.root, *one.words)
    contains(p.stderr, "joined")
    one.words = []
    one.start()
    assert connected(one)
    gone(one)


def test_who_has_no_right_is_refused_and_told():
    used = token()
    one = node(used).start()
    cut = token()
    pin = used.rsplit("-", 1)[1]
    for tok, says in (
            (used, "the token has been used by 1 of 1 nodes"),
            (used[:40] + ("0" if used[40] != "0" else "1") + used[41:], "the token is not one of this cluster"),
            (cut[:-9], "was it cut off?"),
            ("rubbish", "was it cut off?")):
        contains(node(tok).fails(), says)
        gone(nodes[-1])
    # the authority of another: nothing of the token is said to it
    other = node(cut[:-64] + pin[::-1])
    other.words += ["--cluster", "default"]
    with trying(other):
        wait_for(lambda: "another authority than ours" in other.logged(), 30, "another authority")
    equal(token("--expires", "1").count("."), 1)
    gone(other)
    gone(one)


def test_a_token_expires_and_is_taken_back():
    short = token("--expires", "1")
    wait_for(lambda: server.call("AmazonSSM.DescribeActivations", {"Filters": [
        {"FilterKey": "ActivationIds", "FilterValues": [short.split(".")[0]]}]})[1]["ActivationList"][0]["Expired"],
        10, "the end of the token")
    contains(node(short).fails(), "the token has expired")
    back = token()
    equal(server.call("AmazonSSM.DeleteActivation", {"ActivationId": back.split(".")[0]})[0], 200)
    contains(node(back).fails(), "or was taken back")
    gone(nodes[-1])
    gone(nodes[-1])


def test_a_join_whose_answer_was_lost_is_the_same_node():
    tok = token()
    one = node(tok).start()
    one.stop()
    first = one.instance
    for part in ("instance", "certificate.pem"):
        os.unlink(os.path.join(one.root, "var/lib/berth/node", part))
    one.start()
    equal(one.instance, first)
    # another one that has the token and not the key is somebody else, whom it does not let in
    contains(node(tok).fails(), "used by 1 of 1")
    gone(nodes[-1])
    gone(one)


def test_a_node_is_who_its_certificate_says_and_nobody_else():
    one, two = node().start(), node().start()
    identity = os.path.join(one.root, "var/lib/berth/node")
    one.stop()
    wait_for(lambda: not connected(one), 30, "disconnected")
    for claimed in (two.instance, "0" * 32, "nonsense"):
        w = Wire(server.node_address, identity)
        w.say(hello(claimed))
        equal(w.hear(), {"type": "refused", "reason": "the certificate is for another node than hello says"})
    w = Wire(server.node_address, identity)
    w.say(hello(one.instance))
    equal(w.hear()["type"], "welcome")
    # without a certificate: joining, and nothing else
    for message in (hello(two.instance), dict(type="report", number=1), dict(type="request", request="x"), b"{"):
        w = Wire(server.node_address)
        w.say(message)
        equal(w.hear(), None)
    w = Wire(server.node_address, identity)
    w.say(dict(type="report", number=1))  # before hello
    equal(w.hear(), None)
    assert connected(two)
    gone(one)
    gone(two)


def test_a_node_is_told_the_tags_of_its_own_tasks_and_of_nothing_else():
    one, two = node().start(), node().start()
    mine, other = (start_on(n, *FOREVER) for n in (one, two))
    for arn in (mine, other):
        server.wait_status(arn, "RUNNING")
        server.ecs("TagResource", resourceArn=arn, tags=[dict(key="whose", value=arn[-32:])])
    server.ecs("TagResource", resourceArn=instance(one)["containerInstanceArn"], tags=[dict(key="rack", value="7")])
    one.stop()
    wait_for(lambda: not connected(one), 30, "disconnected")
    w = Wire(server.node_address, os.path.join(one.root, "var/lib/berth/node"))
    w.say(hello(one.instance))
    welcome = w.hear()
    equal((welcome["type"], welcome["answers"]), ("welcome", True))

    def asked(number, operation, request):
        w.say(dict(type="ask", id=number, operation=operation, request=request))
        while (message := w.hear())["type"] != "answer":
            pass
        equal(message.pop("id"), number)
        return message
    equal(asked(7, "DescribeTaskTags", dict(task=mine))["response"],
          dict(taskTags=[dict(key="whose", value=mine[-32:])], containerInstanceTags=[dict(key="rack", value="7")]))
    for task in (other, mine[:-32] + "0" * 32, "nonsense", ""):
        answer = asked(8, "DescribeTaskTags", dict(task=task))
        assert answer["fault"] and "response" not in answer, answer
    for operation, request in (("DescribeTasks", dict(tasks=[other])), ("DescribeTaskTags", dict(task=7)), ("", {})):
        equal(asked(9, operation, request)["fault"], f"Nothing that a node may ask: '{operation}'")
    one.start()
    stop(mine, other)
    gone(one)
    gone(two)


def test_tasks_are_told_that_their_server_does_not_answer():
    one = node().start()
    arn = start_on(one, *FOREVER, portMappings=[dict(containerPort=80)])
    server.wait_status(arn, "RUNNING")
    pid = pid_of(one, arn)
    with open(f"/proc/{pid}/environ") as f:
        uri = dict(v.split("=", 1) for v in f.read().split("\0") if v)["ECS_CONTAINER_METADATA_URI_V4"]

    def told():
        return json.loads(run("nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-sf", "-m", "20", uri + "/taskWithTags").stdout)
    assert "Errors" not in told()
    server.process.send_signal(signal.SIGSTOP)  # asked, and says nothing
    try:
        error, = told()["Errors"]
    finally:
        server.process.send_signal(signal.SIGCONT)
    equal((error["ErrorField"], error["ResourceARN"], error["StatusCode"], error["ErrorMessage"]),
          ("TaskTags", arn, 500, "The server of this node does not answer."))
    wait_for(lambda: "Errors" not in told(), 30, "tags")
    server.kill()
    wait_for(lambda: "Errors" in told(), 30, "no server")
    server.start()
    wait_for(lambda: "Errors" not in told(), 30, "tags again")
    stop(arn)
    gone(one)


def test_a_copy_of_a_machine_takes_nothing_from_it():
    one = node().start()
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    identity = os.path.join(one.root, "var/lib/berth/node")
    w = Wire(server.node_address, identity)
    w.say(hello(one.instance))  # which has another bootId
    said = w.hear()
    equal((said["type"], said.get("removed", False)), ("refused", False))
    contains(said["reason"], "another machine that has this node's identity is connected")
    equal((connected(one), server.task(arn)["lastStatus"]), (True, "RUNNING"))
    one.kill()  # and so does the machine after it has booted, when it is known that it was away
    wait_for(lambda: not connected(one), 30, "disconnected")
    w = Wire(server.node_address, identity)
    w.say(hello(one.instance))
    equal(w.hear()["type"], "welcome")
    w.socket.close()
    one.start()
    server.ecs("StopTask", task=arn)
    server.wait_stopped(arn)
    gone(one)


def test_tasks_go_on_without_the_server_and_each_change_counts_once():
    one = node().start()
    lasting = start_on(one, *FOREVER)
    ending = start_on(one, "sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 3", user="0")
    server.wait_status(lasting, "RUNNING")
    pid = server.wait_status(ending, "RUNNING") and pid_of(one, ending)
    server.kill()
    open(f"/proc/{pid}/root/tmp/end", "w").close()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "the end of the task")
    server.start()
    stopped = server.wait_stopped(ending)
    equal(stopped["containers"][0]["exitCode"], 3)
    equal(server.task(lasting)["lastStatus"], "RUNNING")
    wait_for(lambda: connected(one), 30, "connected")

    # the agent dies, the way to the server dies: found again
    one.kill()
    wait_for(lambda: not connected(one), 30, "disconnected")
    equal(server.task(lasting)["connectivity"], "DISCONNECTED")
    one.start()
    wait_for(lambda: connected(one), 30, "connected")
    os.kill(uplink_of(one), signal.SIGKILL)
    wait_for(lambda: uplink_of(one) and connected(one), 30, "connected again")
    equal(server.task(lasting)["lastStatus"], "RUNNING")
    server.ecs("StopTask", task=lasting)
    server.wait_stopped(lasting)
    gone(one)


def pid_of(n, arn):
    found = json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", n.root + "/run/berth/oci", "list",
                           "--format", "json").stdout)
    return next(c["pid"] for c in found if c["id"].startswith(arn.split("/")[-1]))


def uplink_of(n):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{pid}/comm").read().strip() == "berth-uplink" and \
                    f"PPid:\t{n.process.pid}\n" in open(f"/proc/{pid}/status").read():
                return int(pid)
        except OSError:
            pass
    return 0


def test_the_way_to_the_server_has_no_rights():
    one = node().start()
    status = open(f"/proc/{uplink_of(one)}/status").read()
    for line in ("Uid:\t65534\t65534\t65534\t65534", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                 "NoNewPrivs:\t1"):
        contains(status, line)
    equal({os.stat(os.path.join(one.root, "var/lib/berth/node", f)).st_mode & 0o777
           for f in ("key.pem", "certificate.pem", "instance", "authority")}, {0o600})
    for pid in (one.process.pid, uplink_of(one)):  # the token is a secret
        assert one.words[-1] not in open(f"/proc/{pid}/cmdline").read()
    gone(one)


def test_a_node_that_hangs_is_noticed_and_comes_back():
    one = node().start()
    one.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: not connected(one), 30, "disconnected")
    one.process.send_signal(signal.SIGCONT)
    wait_for(lambda: connected(one), 30, "connected")
    gone(one)


def test_certificates_renew_by_themselves():
    with Daemon(role="server", config="[server]\nnode-listen = 127.0.0.1:0\nnode-heartbeat-seconds = 1\n"
                "node-certificate-seconds = 6\n") as short:
        tok = short.token()
        n = Node(short.node_address, tok)
        with n:
            path = os.path.join(n.root, "var/lib/berth/node/certificate.pem")
            first = open(path).read()
            wait_for(lambda: n.logged().count("the certificate was renewed") >= 2, 60, "two renewals")
            assert open(path).read() != first
            n.stop()
            n.start()  # with what it has now
            doc = short.ecs("DescribeContainerInstances", containerInstances=[n.instance])
            equal(doc["containerInstances"][0]["agentConnected"], True)


def test_a_certificate_that_has_expired_is_refused_and_told():
    with Daemon(role="server", config="[server]\nnode-listen = 127.0.0.1:0\nnode-certificate-seconds = 1\n") as short:
        tok = short.token()
        n = Node(short.node_address, tok)
        n.start()
        n.stop()
        path = os.path.join(n.root, "var/lib/berth/node/certificate.pem")
        # a second more: the time in a certificate has no parts of one
        wait_for(lambda: subprocess.run(["openssl", "x509", "-checkend", "-1", "-noout", "-in", path],
                                        stdout=subprocess.DEVNULL).returncode, 30, "the end of the certificate")
        with trying(n):
            wait_for(lambda: "expired" in n.logged().lower(), 30, "the reason")
        n.destroy()


def test_capacity_providers_are_groups_of_nodes():
    aws = server.aws
    edge = node(config="[node]\nattributes = berth.node-group=edge, ssd, ecs.availability-zone=cellar\n").start()
    plain = node().start()
    made = aws("ecs", "create-capacity-provider", "--name", "at-the-edge", "--auto-scaling-group-provider",
               "autoScalingGroupArn=edge")["capacityProvider"]
    equal((made["status"], made["autoScalingGroupProvider"]["managedScaling"]), ("ACTIVE", {"status": "DISABLED"}))
    cluster = aws("ecs", "put-cluster-capacity-providers", "--cluster", "default", "--capacity-providers",
                  "at-the-edge", "--default-capacity-provider-strategy", "capacityProvider=at-the-edge,weight=1")
    equal(cluster["cluster"]["capacityProviders"], ["at-the-edge"])
    equal((instance(edge)["capacityProviderName"], instance(plain).get("capacityProviderName")),
          ("at-the-edge", None))
    contains(instance(edge)["attributes"], {"name": "ssd"})
    contains([z["ZoneName"] for z in aws("ec2", "describe-availability-zones")["AvailabilityZones"]], "cellar")
    server.ecs("RegisterTaskDefinition", family="cp", containerDefinitions=[
        dict(name="c", image=IMAGE, memory=32, command=["true"])])
    for _ in range(3):
        task = aws("ecs", "run-task", "--task-definition", "cp")["tasks"][0]
        equal((task["capacityProviderName"], task["availabilityZone"]), ("at-the-edge", "cellar"))
        equal(server.wait_stopped(task["taskArn"])["containers"][0]["exitCode"], 0)
    contains(aws("ecs", "delete-capacity-provider", "--capacity-provider", "at-the-edge", check=False).stderr,
             "associated with cluster: default")
    aws("ecs", "put-cluster-capacity-providers", "--cluster", "default", "--capacity-providers", "[]",
        "--default-capacity-provider-strategy", "[]")
    aws("ecs", "delete-capacity-provider", "--capacity-provider", "at-the-edge")
    equal(aws("ecs", "describe-capacity-providers")["capacityProviders"], [])
    gone(edge)
    gone(plain)


def test_local_zones_and_outposts_are_attributes():
    aws, outpost = server.aws, "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
    local = node(config="[node]\nattributes = ecs.availability-zone=us-east-1-bos-1a\n").start()
    rack = node(config=f"[node]\nattributes = ecs.availability-zone=us-east-1b, ecs.outpost-arn={outpost}\n").start()
    where = {local: {"ecs.availability-zone": "us-east-1-bos-1a"},
             rack: {"ecs.availability-zone": "us-east-1b", "ecs.outpost-arn": outpost}}
    for n, attributes in where.items():
        for name, value in attributes.items():
            contains(instance(n)["attributes"], {"name": name, "value": value})
            listed = aws("ecs", "list-attributes", "--target-type", "container-instance", "--attribute-name", name,
                         "--attribute-value", value)["attributes"]
            equal([a["targetId"] for a in listed], [instance(n)["containerInstanceArn"]])
            equal(aws("ecs", "list-container-instances", "--filter", f"attribute:{name} == {value}")
                  ["containerInstanceArns"], [instance(n)["containerInstanceArn"]])
    server.ecs("RegisterTaskDefinition", family="there", containerDefinitions=[
        dict(name="c", image=IMAGE, memory=32, command=["true"])])

    def place(*more):
        task = aws("ecs", "run-task", "--task-definition", "there", *more)["tasks"][0]
        equal(server.wait_stopped(task["taskArn"])["containers"][0]["exitCode"], 0)
        return task["availabilityZone"]

    equal(place("--placement-constraints", "type=memberOf,expression=attribute:ecs.outpost-arn exists"), "us-east-1b")
    equal(place("--placement-constraints", "type=memberOf,expression=attribute:ecs.availability-zone =~ .*-bos-.*"),
          "us-east-1-bos-1a")
    spread = aws("ecs", "run-task", "--task-definition", "there", "--count", "4", "--placement-strategy",
                 "type=spread,field=attribute:ecs.availability-zone")["tasks"]
    equal(sorted(t["availabilityZone"] for t in spread), ["us-east-1-bos-1a"] * 2 + ["us-east-1b"] * 2)
    for t in spread:
        server.wait_stopped(t["taskArn"])
    gone(local)
    gone(rack)


def test_the_command_looks_over_the_whole_cluster():
    one = node(config="[node]\nattributes = rack=r1\n").start()
    two = node(config="[node]\nattributes = rack=r2\n").start()
    berth = server.berth
    made = berth("run", "--name", "wide", "--memory", "32", "--count", "12", "--strategy", "spread:attribute:rack",
                 IMAGE, *FOREVER).stdout.split()
    equal(len(set(made)), 12)
    racks = [server.wait_status(t, "RUNNING")["containerInstanceArn"].split("/")[-1] for t in made]
    equal((racks.count(one.instance), racks.count(two.instance)), (6, 6))
    lines = berth("ps").stdout.splitlines()
    contains(lines[0], "HOST")
    equal(sum(os.uname().nodename in l for l in lines), 12)
    only = berth("run", "-d", "--name", "narrow", "--memory", "32", "--constraint", "attribute:rack == r2", IMAGE,
                 *FOREVER).stdout.strip()
    equal(server.wait_status(only, "RUNNING")["containerInstanceArn"].split("/")[-1], two.instance)
    told = berth("run", "--explain", "--name", "wide", "--memory", "32", "--count", "1", "--strategy",
                 "spread:attribute:rack", "--constraint", "attribute:rack in [r1, r2]", IMAGE, *FOREVER)
    made += told.stdout.split()
    seventh = server.wait_status(made[-1], "RUNNING")["containerInstanceArn"].split("/")[-1]
    contains(told.stderr, "2 of ")
    first = re.search(r"1\. \S+ ([0-9a-f]{12}): spread:attribute:rack r[12] 6; ", told.stderr)[1]
    equal(seventh[:12], first)  # what was said is what was done
    no = berth("run", "--memory", "999999", IMAGE, check=False)
    equal(no.returncode, 125)
    contains(no.stderr, "berth: no node takes the task: ")  # nodes of earlier tests are gone: AGENT
    contains(no.stderr, ", 2 RESOURCE:MEMORY")
    no = berth("run", "--constraint", "attribute:rack ==", IMAGE, check=False)
    equal(no.returncode, 125)
    contains(no.stderr, "xpression")
    top = berth("top", "-1").stdout
    for n in (one, two):
        contains(top, n.instance[:12])
    contains(top, "all that take tasks")
    told = berth("describe", only.split("/")[-1], one.instance).stdout
    for part in ("Definition:         narrow:1", "Status:             RUNNING, RUNNING is wanted",
                 "Group:              family:narrow", "Host:               " + os.uname().nodename, "rack=r1",
                 f"Tasks:              {6 + (seventh == one.instance)} running, 0 pending"):
        contains(told, part)
    equal(berth("describe", "nobody", check=False).returncode, 3)
    for t in [*made, only]:
        server.ecs("StopTask", task=t)
    for t in [*made, only]:
        server.wait_stopped(t)
    gone(one)
    gone(two)


def test_top_says_what_a_task_waits_for():
    one = node().start()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a registry that never answers
        where = "127.0.0.1:%d" % silent.getsockname()[1]
        td = server.ecs("RegisterTaskDefinition", family="waits", containerDefinitions=[
            dict(name="c", image=f"{where}/x:1", memory=16)])["taskDefinition"]["taskDefinitionArn"]
        arn = server.ecs("StartTask", containerInstances=[one.instance], taskDefinition=td)["tasks"][0]["taskArn"]
        pattern = arn.split("/")[-1][:12] + r" +waits:1 +PENDING .* its images, which are being pulled"
        wait_for(lambda: re.search(pattern, server.berth("top", "-1").stdout), 30, "why the task waits")
        server.ecs("StopTask", task=arn)
    server.wait_stopped(arn)
    gone(one)


def test_attributes_of_a_node_are_what_ecs_allows():
    for text, says in (("rack=r1, rack=r2", "'rack' stands twice"), ("ecs.os-type=x", "'ecs.os-type' is not a name"),
                       ("a|b", "'a|b' is not a name"), ("rack=a;b", "'rack' is not a name")):
        refused(f"[node]\nattributes = {text}\n", says)


def test_a_drain_takes_nothing_new_and_ends_what_is_there_at_its_deadline():
    one = node().start()
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    contains(server.berth("node", "drain", one.instance[:12]).stdout, "DRAINING, 1 tasks running")
    td = server.ecs("ListTaskDefinitions", familyPrefix="n")["taskDefinitionArns"][-1]
    equal(server.ecs("StartTask", containerInstances=[one.instance], taskDefinition=td)["failures"][0]["reason"],
          "INACTIVE")
    equal(server.task(arn)["lastStatus"], "RUNNING")
    contains(server.berth("node", "drain", "--undo", one.instance).stdout, "ACTIVE, 1 tasks running")
    assert "Draining:" not in server.berth("describe", one.instance).stdout
    server.berth("node", "drain", "--deadline", "3600", one.instance)
    said = server.berth("describe", one.instance).stdout
    assert re.search(r"Because: +Draining: tasks that still run at \d{4}-\d\d-\d\dT\S+Z are stopped\.", said), said
    server.berth("node", "drain", "--deadline", "1", one.instance)
    stopped = server.wait_stopped(arn)
    equal(stopped["stoppedReason"], "Container instance drained: its deadline has passed")
    gone(one)


def test_a_lost_node_ends_what_was_given_up_when_it_comes_back():
    global server
    config = CONFIG + "node-lost-seconds = 1\n"
    with Daemon(role="server", config=config) as short:
        kept, server = server, short
        try:
            one = Node(short.node_address, token()).start()
            arn = start_on(one, *FOREVER)
            short.wait_status(arn, "RUNNING")
            pid = pid_of(one, arn)
            one.kill()
            equal(short.wait_stopped(arn)["stoppedReason"], "Container instance lost: not heard of for 1 seconds")
            assert os.path.exists(f"/proc/{pid}")
            one.start()
            wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "the end of what was given up")
            again = start_on(one, "true")
            equal(short.wait_stopped(again)["containers"][0]["exitCode"], 0)
            one.destroy()
        finally:
            server = kept


def test_a_removed_node_ends_its_tasks_and_never_comes_back():
    one = node().start()
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    pid = pid_of(one, arn)
    contains(server.berth("node", "remove", one.instance, check=False).stderr, "Found running tasks on the instance.")
    kept = os.path.join(one.dir, "identity")
    shutil.copytree(os.path.join(one.root, "var/lib/berth/node"), kept)
    server.berth("node", "remove", "--force", one.instance)
    t = server.task(arn)
    equal((t["lastStatus"], t["stopCode"], t["stoppedReason"]),
          ("STOPPED", "UserInitiated", "Container instance deregistration forced by user"))
    equal(one.process.wait(60), 1)
    contains(one.logged(), "this node was removed from its cluster")
    assert not os.path.exists(f"/proc/{pid}")
    equal(server.ecs("DescribeContainerInstances", containerInstances=[one.instance])["failures"][0]["reason"],
          "MISSING")
    # its certificate is worth nothing any more
    w = Wire(server.node_address, kept)
    w.say(hello(one.instance))
    equal(w.hear(), {"type": "refused", "reason": "this node is none of the cluster any more", "removed": True})
    contains(one.fails(), "used by 1 of 1")
    one.words[-1] = token()
    first = one.instance
    one.start()
    assert one.instance != first
    gone(one)


def test_the_node_beside_the_server_that_was_removed_is_another_one_then():
    with Daemon() as both:
        def names():
            try:
                return both.ecs("ListContainerInstances")["containerInstanceArns"]
            except (OSError, AssertionError):
                return []  # its server starts again
        first = names()
        both.berth("node", "remove", "--force", first[0].split("/")[-1])
        wait_for(lambda: names() and names() != first, 30, "another name")
        equal(len(names()), 1)


def test_a_node_removed_while_it_was_away_hears_of_it_when_it_comes():
    one = node().start()
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    pid = pid_of(one, arn)
    one.kill()
    wait_for(lambda: not connected(one), 30, "disconnected")
    server.ecs("DeregisterContainerInstance", containerInstance=one.instance, force=True)
    assert os.path.exists(f"/proc/{pid}")
    contains(one.fails(), "this node was removed from its cluster")
    assert not os.path.exists(f"/proc/{pid}")
    gone(one)


def test_an_activation_of_ssm_does_the_same():
    a = server.aws("ssm", "create-activation", "--iam-role", "ecsAnywhereRole", "--registration-limit", "2",
                   "--default-instance-name", "edge", "--tags", "Key=site,Value=roof")
    one = Node(server.node_address)
    one.words += ["--activation-id", a["ActivationId"], "--activation-code", a["ActivationCode"], "--cluster", "other"]
    nodes.append(one)
    contains(one.fails(), "there is no cluster 'other'")
    server.ecs("CreateCluster", clusterName="other")
    one.start()
    doc = server.ecs("DescribeContainerInstances", cluster="other", containerInstances=[one.instance],
                     include=["TAGS"])["containerInstances"][0]
    equal(doc["tags"], [{"key": "site", "value": "roof"}])
    listed = server.boto("ssm").describe_activations(
        Filters=[dict(FilterKey="ActivationIds", FilterValues=[a["ActivationId"]])])["ActivationList"]
    equal([(x["RegistrationLimit"], x["RegistrationsCount"], x["Expired"], x["DefaultInstanceName"], x["IamRole"])
           for x in listed], [(2, 1, False, "edge", "ecsAnywhereRole")])
    gone(one)


class Proxy:
    """CONNECT, and what goes through it."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.asked = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.split(b"\r\n")[0].decode())
        host, port = head.split()[1].decode().rsplit(":", 1)
        upstream = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        threading.Thread(target=self.pour, args=(client, upstream), daemon=True).start()
        self.pour(upstream, client)

    @staticmethod
    def pour(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_a_proxy_leads_there_too():
    proxy = Proxy()
    one = node()
    one.start("env", "https_proxy=http://" + proxy.address, "no_proxy=")
    equal(set(proxy.asked), {f"CONNECT {server.node_address} HTTP/1.1"})
    assert connected(one)
    gone(one)
    proxy.socket.close()


def events(*words):
    p = server.berth("--output", "json", "events", *words)
    return [json.loads(l) for l in p.stdout.split("\n") if l], p.stderr.split()[-1]


def test_events_tell_each_change_once_and_where_to_go_on():
    one = node().start()
    _, cursor = events()
    arn = start_on(one, "sh", "-c", "exit 4")
    server.wait_stopped(arn)
    server.kill()
    server.start()
    got, after = events("--since", cursor)
    ours = [e for e in got if e["resources"] == [arn]]
    assert all(e["source"] == "aws.ecs" and e["detail-type"] == "ECS Task State Change" for e in ours)
    statuses = [e["detail"]["lastStatus"] for e in ours]
    equal([statuses[0], statuses[-1]], ["PENDING", "STOPPED"])
    equal(ours[-1]["detail"]["containers"][0]["exitCode"], 4)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ours[-1]["detail"]["stoppedAt"])
    versions = [e["detail"]["version"] for e in ours]
    equal(versions, sorted(set(versions)))
    equal(versions[-1], server.task(arn)["version"])
    equal([e for e in events("--since", after)[0] if e["resources"] == [arn]], [])
    # who waits hears of the next one
    waiting = subprocess.Popen([os.path.join(BUILD, "berth"), "--root", server.root, "events", "-f", "--since", after],
                               stdout=subprocess.PIPE, text=True)
    server.berth("node", "drain", one.instance)
    wait_for(lambda: "DRAINING" in waiting.stdout.readline(), 30, "the event")
    waiting.terminate()
    waiting.wait()
    waiting.stdout.close()
    status, doc = server.call("BerthV1.GetEvents", {"cursor": "x"})
    equal((status, doc["__type"]), (400, "InvalidParameterException"))
    gone(one)


def test_who_follows_a_task_goes_on_when_the_server_and_the_agent_start_again():
    one = node().start()
    _, cursor = events()
    berth = [os.path.join(BUILD, "berth"), "--root", server.root]
    until = "while [ ! -e /tmp/%s ]; do sleep 0.05; done; "
    ran = subprocess.Popen([*berth, "run", "--name", "followed", "--constraint",
                            f"ec2InstanceId == mi-{one.instance[:17]}", IMAGE, "sh", "-c",
                            "echo up; " + until % "a" + "echo a; " + until % "b" + "echo b; exit 9"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(ran.stdout.readline(), "up\n")
    arn = server.ecs("ListTasks", family="followed")["taskArns"][0]
    logs = subprocess.Popen([*berth, "logs", "-f", arn], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    equal(logs.stdout.readline(), "up\n")
    told = subprocess.Popen([*berth, "-o", "json", "events", "-f", "--since", cursor], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    equal(json.loads(told.stdout.readline())["source"], "aws.ecs")
    tmp = f"/proc/{pid_of(one, arn)}/root/tmp/"
    for again, letter in ((server, "a"), (one, "b")):
        again.kill()
        for p in (ran, logs, *([told] if again is server else [])):
            contains(p.stderr.readline(), "; waiting")
        again.start()
        open(tmp + letter, "w").close()
        for p in (ran, logs):
            equal(p.stdout.readline(), letter + "\n")
    equal((ran.wait(60), ran.stderr.read(), ran.stdout.read()), (9, "", ""))
    equal((logs.wait(60), logs.stderr.read()), (0, ""))
    wait_for(lambda: '"STOPPED"' in (line := told.stdout.readline()) and arn in line, 60, "the task's last event")
    told.terminate()
    for p in (ran, logs, told):
        p.communicate()
    # who stops a task whose node is away is told what he waits for
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    one.kill()
    wait_for(lambda: not connected(one), 30, "disconnected")
    stop = subprocess.Popen([*berth, "stop", arn], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    contains(stop.stderr.readline(), "is told to stop when its node is connected again; waiting")
    server.kill()
    contains(stop.stderr.readline(), "; waiting")
    server.start()
    one.start()
    equal((stop.wait(60), stop.communicate()), (0, (arn.split("/")[-1] + "\n", "")))
    # what is not the command's own exit code
    equal(server.berth("run", "--capacity-provider", "nope", IMAGE, check=False).returncode, 125)
    equal(run(*berth[:2], "/nonexistent", "run", IMAGE, check=False).returncode, 125)
    gone(one)


def test_a_family_may_be_called_like_an_id():
    one = node().start()
    arn = server.berth("run", "-d", "--name", "a" * 32, IMAGE, *FOREVER).stdout.strip()
    server.wait_status(arn, "RUNNING")
    equal(json.loads(server.berth("inspect", "a" * 32).stdout)[0]["taskArn"].split("/")[-1], arn.split("/")[-1])
    equal(server.berth("inspect", "b" * 32, check=False).returncode, 3)
    stop(arn)
    gone(one)


def test_a_server_that_takes_no_nodes_gives_no_tokens():
    with Daemon(role="server") as alone:
        p = alone.berth("node", "token", check=False)
        equal(p.returncode, 1)
        contains(p.stderr, "it needs --node-listen")
        status, doc = alone.call("AmazonSSM.CreateActivation", {"IamRole": "r"})
        equal((status, doc["__type"]), (400, "UnsupportedFeatureException"))


def test_an_empty_name_is_nobody_s():
    """That of a variable that is not set must not stop the only task, or remove the only node."""
    one = node().start()
    arn = start_on(one, *FOREVER)
    server.wait_status(arn, "RUNNING")
    for words in (["stop", ""], ["logs", ""], ["inspect", ""], ["describe", ""], ["node", "remove", "--force", ""],
                  ["node", "drain", ""], ["node", "label", "", "a=b"]):
        equal(server.berth(*words, check=False).returncode, 3)
    equal((server.task(arn)["desiredStatus"], instance(one)["status"]), ("RUNNING", "ACTIVE"))
    server.ecs("StopTask", task=arn)
    server.wait_stopped(arn)
    gone(one)


def test_words_of_the_command_are_checked():
    for words, says in (
            ([b"run", b"\xff"], "is not UTF-8"), ([b"run", b"--constraint", b"\xff", b"i"], "is not UTF-8"),
            ([b"node", b"label", b"x", b"a=\xff"], "is not UTF-8"), ([b"--cluster", b"\xff", b"ps"], "is not UTF-8"),
            ([b"node", b"drain", b"x", b"--deadline", b"soon"], "--deadline 'soon' is not a number"),
            ([b"node", b"token", b"--uses", b"-1"], "--uses '-1' is not a number"),
            ([b"run", b"--count", b"0", b"i"], "--count '0' is not a number from 1")):
        p = subprocess.run([os.path.join(BUILD, "berth"), "--root", server.root, *words], capture_output=True,
                           timeout=60)
        equal(p.returncode, 2)
        contains(p.stderr.decode(errors="replace"), says)
    p = subprocess.run([os.path.join(BUILD, "berth"), "--root", server.root, "run", "-e", "ODD", "i"],
                       capture_output=True, timeout=60, env={b"ODD": b"\xff"})
    equal(p.returncode, 2)
    contains(p.stderr.decode(errors="replace"), "its value is not UTF-8")


def test_wrong_words_are_refused_by_name():
    for words, says in (
            (["agent"], "--server HOST:PORT"),
            (["agent", "--server", "h:1"], "it needs --token"),
            (["agent", "--server", "h:1", "--activation-id", "x"], "one of them"),
            (["server", "--node-listen", "nowhere"], "is not ADDRESS:PORT")):
        root = tempfile.mkdtemp()
        p = subprocess.run([os.path.join(BUILD, "berthd"), *words, "--root", root, "--listen", "127.0.0.1:0"],
                           capture_output=True, text=True, timeout=60)
        equal(p.returncode, 1)
        contains(p.stderr, says)
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
