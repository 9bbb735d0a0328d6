#!/usr/bin/python3
# tests/e2e/59-storm.py - a cluster whose parts are killed, cut off and healed while tasks come and go
# SPDX-License-Identifier: Apache-2.0
#
# Three nodes and a server, each in a network namespace of its own. Callers run and
# stop tasks; meanwhile agents, keepers and the server are killed, stopped for a while
# or cut off, by a seed. Then everything is healed, and must add up: what was accepted
# is there once, has run at most once, and ended as its program did or says why not.
#
# STORM=, STORM_SECONDS=: which one, and how long (10).

import collections
import json
import os
import random
import re
import signal
import threading
import time

from berth import BUILD, Census, Daemon, Node, Registry, equal, main, run, wait_for
from hostslab import Hosts
from netlab import elements

SEED = int(os.environ.get("STORM", "1"))
SECONDS = float(os.environ.get("STORM_SECONDS", "10"))
CALLERS = 3
LOST_S = 4

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
hosts = Hosts("sabc", registry)
nodes = {}


def cleanup():
    hosts.end()
    registry.__exit__()
    census.check()


try:
    server = Daemon(role="server", name="s", config="[server]\nnode-listen = 10.99.0.1:0\nnode-heartbeat-seconds = 1\n"
                    f"node-lost-seconds = {LOST_S}\n")
    hosts.add("s", server)
    server.words = ["--node-listen", server.node_address]
    for name in "abc":
        token = server.token()
        nodes[name] = Node(server.node_address, token, name=name)
        hosts.add(name, nodes[name])
except BaseException:
    cleanup()
    raise

SUBNET = re.search(r"<subnetId>(\S+?)</subnetId>", server.form("Action=DescribeSubnets&Version=2016-11-15")[1]).group(1)

# What ends by itself says so in its exit code and in its log; the others are stopped by their callers.
KINDS = {
    "short": dict(command=["sh", "-c", "echo begin; sleep 0.3; echo end; exit 7"]),
    "quick": dict(command=["sh", "-c", "echo begin; echo end; exit 0"]),
    "long": dict(command=["sh", "-c", "echo begin; trap 'echo end; exit 9' TERM; while :; do sleep 0.1; done"]),
    "deaf": dict(command=["sh", "-c", "echo begin; trap '' TERM; while :; do sleep 0.1; done"], stopTimeout=1),
    "port": dict(command=["sh", "-c", "echo begin; sleep 0.5; echo end; exit 3"],
                 portMappings=[dict(containerPort=80, hostPort=8080)]),
    "vpc": dict(command=["sh", "-c", "echo begin; sleep 0.3; echo end; exit 4"]),
}
ENDS = {"short": 7, "quick": 0, "port": 3, "vpc": 4}


class Caller(threading.Thread):
    """Runs tasks, and stops some of its own; says the same again until it is answered."""

    def __init__(self, number):
        super().__init__()
        self.random = random.Random(f"{SEED} {number}")
        self.number, self.accepted, self.stopped, self.asked = number, {}, set(), 0
        self.refused = collections.Counter()
        self.error = None

    def say(self, operation, **body):
        while True:
            try:
                return server.call("AmazonEC2ContainerServiceV20141113." + operation, body)
            except (OSError, ValueError):
                time.sleep(0.1)  # the server is gone

    def run_some(self):
        kind = self.random.choice(list(KINDS))
        network = dict(networkConfiguration=dict(awsvpcConfiguration=dict(subnets=[SUBNET]))) if kind == "vpc" else {}
        self.asked += 1
        status, reply = self.say("RunTask", taskDefinition=kind, count=self.random.choice((1, 1, 2, 3)),
                                 clientToken=f"{self.number}-{self.asked}", **network)
        if status != 200:
            self.refused[reply["__type"]] += 1
            return
        for t in reply["tasks"]:
            assert t["taskArn"] not in self.accepted, t
            self.accepted[t["taskArn"]] = kind
        for f in reply["failures"]:
            self.refused[f["reason"]] += 1

    def stop_one(self):
        live = [a for a, kind in self.accepted.items() if kind in ("long", "deaf") and a not in self.stopped]
        if live:
            arn = self.random.choice(live)
            status, reply = self.say("StopTask", task=arn, reason="enough")
            equal((status, reply if status != 200 else ""), (200, ""))
            self.stopped.add(arn)

    def run(self):
        try:
            while not over.is_set():
                self.run_some() if self.random.random() < 0.6 else self.stop_one()
                over.wait(self.random.uniform(0, 0.2))
            while [a for a, kind in self.accepted.items() if kind in ("long", "deaf") and a not in self.stopped]:
                self.stop_one()
        except BaseException as e:
            self.error = e


over = threading.Event()


def keeper_of(node):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if open(f"/proc/{pid}/comm").read() == "berth-keeper\n" and node.root in open(f"/proc/{pid}/cmdline").read():
                return int(pid)
        except OSError:
            pass
    return None


def kill_agent(rnd):
    name = rnd.choice("abc")
    nodes[name].kill()
    yield rnd.uniform(0, 3)
    nodes[name].spawn(*hosts.inside(name))


def kill_keeper(rnd):
    pid = keeper_of(nodes[rnd.choice("abc")])
    if pid:
        os.kill(pid, signal.SIGKILL)
    yield rnd.uniform(0, 1)


def kill_server(rnd):
    server.kill()
    yield rnd.uniform(0, 2)
    server.start(*hosts.inside("s"))


def cut(rnd):
    name = rnd.choice("abc")
    hosts.link(name, "down")
    yield rnd.uniform(0.5, 2 * LOST_S)
    hosts.link(name, "up")


def freeze(rnd):
    pid = rnd.choice([server.process.pid, *(n.process.pid for n in nodes.values()), *map(keeper_of, nodes.values())])
    if pid:
        os.kill(pid, signal.SIGSTOP)
        yield rnd.uniform(0.2, 2)
        os.kill(pid, signal.SIGCONT)


def storm():
    rnd, end, done = random.Random(SEED), time.monotonic() + SECONDS, collections.Counter()
    while time.monotonic() < end:
        act = rnd.choice((kill_agent, kill_agent, kill_keeper, kill_server, cut, freeze))
        done[act.__name__] += 1
        for pause in act(rnd):
            time.sleep(pause)
        time.sleep(rnd.uniform(0, 0.5))
    print(f"  storm {SEED}: " + ", ".join(f"{k} {v}" for k, v in sorted(done.items())))


def heal():
    for name, node in nodes.items():
        assert node.process.poll() is None, f"{name} has ended: {node.logged()[-2000:]}"
    wait_for(lambda: all(i["agentConnected"] for i in instances()), 60, "all nodes")


def instances():
    arns = server.ecs("ListContainerInstances")["containerInstanceArns"]
    return server.ecs("DescribeContainerInstances", containerInstances=arns)["containerInstances"]


def tasks_of(arns):
    arns, found = list(arns), {}
    for i in range(0, len(arns), 100):
        reply = server.ecs("DescribeTasks", tasks=arns[i:i + 100])
        equal(reply["failures"], [])
        found.update({t["taskArn"]: t for t in reply["tasks"]})
    return found


def all_events():
    events, cursor = [], "0"
    while True:
        reply = server.call("BerthV1.GetEvents", {"cursor": cursor})[1]
        assert not reply["missed"], cursor
        if not reply["events"]:
            return events
        events += reply["events"]
        cursor = reply["cursor"]


def lines_of(arn):
    return server.berth("logs", arn, check=False).stdout.split("\n")


def test_what_was_accepted_is_there_once_and_ends_as_it_should():
    global accepted, tasks
    for kind, container in KINDS.items():
        server.ecs("RegisterTaskDefinition", family=kind, networkMode="awsvpc" if kind == "vpc" else "bridge",
                   containerDefinitions=[dict(dict(name="c", image=IMAGE, memory=8, stopTimeout=2), **container)])
    callers = [Caller(n) for n in range(CALLERS)]
    for c in callers:
        c.start()
    try:
        storm()
    finally:
        over.set()
        for c in callers:
            c.join()
    equal([c.error for c in callers], [None] * CALLERS)
    accepted = {a: kind for c in callers for a, kind in c.accepted.items()}
    heal()

    def ended():
        left = [t["lastStatus"] for t in tasks_of(accepted).values() if t["lastStatus"] != "STOPPED"]
        return not left or None
    wait_for(ended, 120, "the end of all tasks")
    tasks = tasks_of(accepted)
    refused = sum((c.refused for c in callers), collections.Counter())
    print(f"  {len(accepted)} tasks, " + ", ".join(f"{n} times {r}" for r, n in refused.items()))
    listed = server.berth("ps", "--all", "--quiet").stdout.split()
    for arn in accepted:
        equal(listed.count(arn.split("/")[-1]), 1)


def test_no_program_has_run_twice_and_each_exit_code_is_its_own():
    why = collections.Counter()
    for arn, t in tasks.items():
        kind, code = accepted[arn], t["containers"][0].get("exitCode")
        lines = lines_of(arn)
        begun, ended = lines.count("begin"), lines.count("end")
        say = f"{kind}: {lines}, {json.dumps(t)}"
        assert begun <= 1 and ended <= 1, say
        if t.get("stopCode") == "EssentialContainerExited":
            # A keeper that dies at the beginning leaves nobody who knows how far it came.
            unknown = code is None and "Exit code is not known" in t["containers"][0].get("reason", "")
            assert unknown or begun == 1, say
            if kind in ENDS:
                assert unknown or (code, ended) == (ENDS[kind], 1), say
        why[(t.get("stopCode"), t.get("stoppedReason"), code is not None)] += 1
    for (stop, reason, has_code), n in sorted(why.items(), key=str):
        print(f"  {n} {stop}: {reason}" + ("" if has_code else " (no exit code)"))
        assert stop and reason


def test_nothing_is_held_for_what_has_ended():
    for i in instances():
        equal(i["remainingResources"], i["registeredResources"])
        equal((i["runningTasksCount"], i["pendingTasksCount"]), (0, 0))
    for name, node in nodes.items():
        def nets():
            routes = hosts.run(name, "ip route show")
            return elements(hosts.places[name], "secured", node.name) or re.findall(r"^172\.31\.\S+ dev .*", routes, re.M)
        wait_for(lambda: not nets(), 20, f"no network of a task on {name}")

        def listed():
            return json.loads(run(os.path.join(BUILD, "berth-oci"), "--root", node.root + "/run/berth/oci", "list",
                                  "--format", "json").stdout or "[]")
        try:
            wait_for(lambda: not [c for c in listed() or [] if re.match(r"[0-9a-f]{32}", c["id"])], 20, "no container")
        except AssertionError:
            raise AssertionError(f"{node.name}: {listed()}") from None


def test_the_events_tell_of_each_change_once_and_in_order():
    last = {}
    for event in all_events():
        detail = event.get("detail", {})
        if event.get("detail-type") == "ECS Task State Change":
            assert detail["version"] > last.get(detail["taskArn"], {}).get("version", 0), event
            last[detail["taskArn"]] = detail
    for arn in accepted:
        equal((arn, last[arn]["lastStatus"]), (arn, "STOPPED"))


if __name__ == "__main__":
    main()
