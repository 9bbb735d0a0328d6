#!/usr/bin/python3
# tests/e2e/80-churn.py - 200 starts and stops in a row leave everything as it was
# SPDX-License-Identifier: Apache-2.0

import difflib
import os
import re
import subprocess

from berth import Census, Daemon, Registry, contains, equal, main, page, wait_for
from netlab import MADE_AHEAD, namespaces_held

ROUNDS = 200


def tree_size(path):
    """Bytes and files below a directory."""
    size = files = 0
    for base, dirs, names in os.walk(path):
        if os.path.basename(base) == "resting":
            continue  # addresses that were used a moment ago; as many as the network has at most
        files += len(names) + len(dirs)
        size += sum(os.lstat(os.path.join(base, n)).st_blocks * 512 for n in names)
    return size, files


def family(pid):
    out = [pid]
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(re.search(r"^PPid:\t(\d+)", open(f"/proc/{p}/status").read(), re.M)[1]) == pid:
                out.append(int(p))
        except (OSError, TypeError):
            pass
    return out


def fds_of(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return 0  # a worker that has just ended


def keeper_of(daemon):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{p}/cmdline").read().split("\0")
        except OSError:
            continue
        if os.path.basename(line[0]) == "berth-keeper" and any(w.startswith(daemon.root) for w in line):
            return int(p)
    raise AssertionError("no keeper")


def rss_kb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def test_200_starts_and_stops_leave_nothing():
    census = Census()
    with Registry() as registry:
        image = registry.demo()
        with Daemon(config="[node]\ntask-cleanup-seconds = 0\n") as daemon:
            container = dict(name="c", image=image, memory=32, command=["/bin/true"],
                             portMappings=[dict(containerPort=80), dict(containerPort=53, protocol="udp")])
            td = daemon.ecs("RegisterTaskDefinition", family="churn", containerDefinitions=[container])
            arn = td["taskDefinition"]["taskDefinitionArn"]

            def round_of(count):
                tasks = [t["taskArn"] for t in daemon.ecs("RunTask", taskDefinition=arn, count=count)["tasks"]]
                equal(len(tasks), count)
                for t in tasks:
                    equal(daemon.wait_stopped(t)["containers"][0]["exitCode"], 0)

            def state():
                pids = family(daemon.process.pid) + [keeper_of(daemon)]
                now = Census.take()
                # Those that wait for tasks are always as many, and others each time.
                now["netns"] = sorted(re.sub(r"\d+(.*keeper-worker)", r"waits\1", n) for n in now["netns"])
                now["cgroups"] = sorted(re.sub(r"/[0-9a-f]{16}\b", "/waits", c) for c in now["cgroups"] if daemon.name in c)
                ours = daemon.name.replace("berth-", "brt") + "-"
                now["links"] = [ours if l.startswith(ours) else l for l in now["links"]]
                return dict(now, fds=[fds_of(p) for p in pids],
                            processes=len(pids),
                            elements=subprocess.run(["nft", "-s", "list", "table", "inet", daemon.name],
                                                    stdout=subprocess.PIPE, text=True).stdout,
                            files=tree_size(os.path.join(daemon.root, "var/lib/berth/tasks"))[1]
                            + tree_size(os.path.join(daemon.root, "run/berth"))[1])

            def settled():
                tasks = os.path.join(daemon.root, "var/lib/berth/tasks")
                return not os.listdir(tasks)

            def at_rest():
                return namespaces_held(daemon.process.pid) == MADE_AHEAD + 3  # and those of a container and of two services
            round_of(10)  # what is made once is there now
            wait_for(settled, 60, "no task directory")
            wait_for(at_rest, 60, "the namespaces made ahead")
            before, memory = state(), rss_kb(daemon.process.pid)
            for _ in range(ROUNDS // 10):
                round_of(10)
            wait_for(settled, 60, "no task directory")

            def same():
                now = state()
                return all(now[k] == before[k] for k in before)
            try:
                wait_for(same, 60, "the state of before")
            except AssertionError:
                now = state()
                for k in before:
                    if now[k] != before[k]:
                        a, b = str(before[k]).splitlines(), str(now[k]).splitlines()
                        print(f"  {k}:", *[line for line in difflib.unified_diff(a, b, lineterm="", n=0)][:20], sep="\n    ")
                raise
            print(f"# agent: {memory} kB before, {rss_kb(daemon.process.pid)} kB after {ROUNDS} tasks")
    census.check()


def test_two_daemons_on_one_host_never_meet():
    census = Census()
    with Registry() as registry:
        image = registry.demo()
        with Daemon() as a, Daemon() as b:
            web = dict(name="web", image=image, memory=32, portMappings=[dict(containerPort=80)])
            tasks = [(d, d.run_task([web])) for d in (a, b, a, b)]
            ports = [d.wait_status(t, "RUNNING")["containers"][0]["networkBindings"][0]["hostPort"]
                     for d, t in tasks]
            equal(len(set(ports)), 4)
            equal([len(d.ecs("ListTasks")["taskArns"]) for d in (a, b)], [2, 2])
            a.destroy_tasks = [a.ecs("StopTask", task=t) for d, t in tasks if d is a]
            for d, t in tasks:
                if d is a:
                    d.wait_stopped(t)
            for (d, t), port in zip(tasks, ports):
                if d is b:
                    contains(page(port), "Hello from Berth")
    census.check()


if __name__ == "__main__":
    main()
