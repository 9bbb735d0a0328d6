#!/usr/bin/python3
# tests/e2e/70-crash.py - kill -9 of the daemon, the server, the keeper: nothing is lost
# SPDX-License-Identifier: Apache-2.0

import base64
import os
import re
import signal

from berth import BUILD, Census, Daemon, Registry, contains, equal, main, page, run, wait_for
from descriptors import descriptors

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def sh(script, **more):
    return dict(dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script]), **more)


def output(arn):
    data, cursor = b"", None
    while True:
        status, doc = daemon.call("BerthV1.GetTaskLogs", dict(task=arn, **(dict(cursor=cursor) if cursor else {})))
        equal(status, 200)
        data += b"".join(base64.b64decode(e["data"]) for e in doc["events"])
        cursor = doc["cursor"]
        if not doc["more"]:
            return data.decode()


def pids(name):
    """Processes of our daemon, by the name that they were started as."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{pid}/cmdline").read().split("\0")
            if os.path.basename(line[0]) == name and (any(daemon.root in w for w in line) or belongs(pid)):
                found.append(int(pid))
        except OSError:
            continue
    return found


def belongs(pid):
    """Does the process hold something below our root open?"""
    try:
        return any(daemon.root in d for d in descriptors(pid))
    except OSError:
        return False


COUNT = "i=0; while [ $i -lt {n} ]; do echo line $i; i=$((i+1)); done; {end}"


def test_killing_the_daemon_loses_no_task_no_line_and_no_exit_code():
    options = {"awslogs-group": "/crash", "awslogs-create-group": "true", "awslogs-stream-prefix": "s"}
    slow = ("i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 42")
    counted = daemon.run_task([sh(slow, logConfiguration=dict(logDriver="awslogs", options=options))])
    web = daemon.run_task([dict(name="web", image=IMAGE, memory=32, portMappings=[dict(containerPort=80)])])
    t = daemon.wait_status(web, "RUNNING")
    port = t["containers"][0]["networkBindings"][0]["hostPort"]
    daemon.wait_status(counted, "RUNNING")
    for _ in range(6):
        daemon.kill()
        contains(page(port), "Hello from Berth")
        daemon.start()
    ended = daemon.wait_stopped(counted)
    equal(ended["containers"][0]["exitCode"], 42)
    equal(output(counted), "".join(f"line {i}\n" for i in range(400)))
    logs = daemon.boto("logs")

    def shipped():
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/crash")
        lines = [e["message"] for p in pages for e in p["events"]]
        return lines if len(lines) >= 400 else None
    equal(wait_for(shipped, 30, "400 lines"), [f"line {i}" for i in range(400)])
    again = daemon.task(web)
    equal((again["lastStatus"], again["startedAt"]), ("RUNNING", t["startedAt"]))
    equal(again["containers"][0]["networkBindings"], t["containers"][0]["networkBindings"])
    daemon.ecs("StopTask", task=web)
    daemon.wait_stopped(web)


def test_an_end_while_the_daemon_is_down_is_told_afterwards():
    arn = daemon.run_task([sh("sleep 1; echo last words; exit 13")])
    daemon.wait_status(arn, "RUNNING")
    daemon.kill()
    state = os.path.join(daemon.root, "run/berth/keeper", arn.split("/")[-1] + "-0", "exit")
    wait_for(lambda: os.path.exists(state), 20, "the exit record")
    daemon.start()
    t = daemon.wait_stopped(arn)
    equal(t["containers"][0]["exitCode"], 13)
    equal(output(arn), "last words\n")


def test_a_stop_that_was_asked_before_the_crash_is_done_after_it():
    arn = daemon.run_task([sh("trap 'exit 6' TERM; echo up; while true; do sleep 0.05; done")])
    wait_for(lambda: "up" in output(arn), 30, "up")
    daemon.ecs("StopTask", task=arn)
    daemon.kill()
    daemon.start()
    equal(daemon.wait_stopped(arn)["containers"][0]["exitCode"], 6)


def test_killing_the_daemon_while_tasks_start_leaves_none_half_made():
    for round in range(5):
        arns = [daemon.run_task([sh("echo ran; exit 3")]) for _ in range(4)]
        daemon.kill()
        daemon.start()
        for arn in arns:
            t = daemon.wait_stopped(arn)
            equal((t["containers"][0].get("exitCode"), t.get("stoppedReason")),
                  (3, "Essential container in task exited"))
            equal(output(arn), "ran\n")  # once


def test_a_second_daemon_of_the_same_root_is_refused():
    second = run(os.path.join(BUILD, "berthd"), "--root", daemon.root, "--listen", "127.0.0.1:0", check=False)
    equal(second.returncode, 1)
    contains(second.stderr, f"another berthd runs with the root {daemon.root}")
    equal(daemon.ecs("ListClusters")["clusterArns"] != [], True)


def test_the_server_is_started_again():
    arn = daemon.run_task([sh("sleep 2; exit 8")])
    daemon.wait_status(arn, "RUNNING")
    children = open(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read().split()
    server = [p for p in children if "server-child" in open(f"/proc/{p}/cmdline").read()]
    equal(len(server), 1)
    os.kill(int(server[0]), signal.SIGKILL)
    wait_for(lambda: try_(lambda: daemon.task(arn)), 20, "an answer")
    equal(daemon.wait_stopped(arn)["containers"][0]["exitCode"], 8)


def try_(function):
    try:
        return function()
    except (OSError, AssertionError, ValueError, IndexError):
        return None


def test_killing_the_keeper_loses_no_task_and_no_line():
    arn = daemon.run_task([sh("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 5")])
    daemon.wait_status(arn, "RUNNING")
    for _ in range(3):
        for pid in wait_for(lambda: pids("berth-keeper"), 20, "a keeper"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: pids("berth-keeper"), 20, "another keeper")
    t = daemon.wait_stopped(arn)
    equal(output(arn), "".join(f"line {i}\n" for i in range(300)))
    c = t["containers"][0]
    # the exit code of a process that is no child can be had from Linux 6.15 on
    if tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) >= (6, 15):
        equal(c.get("exitCode"), 5)
    else:
        assert c.get("exitCode") == 5 or "not known" in c["reason"]


if __name__ == "__main__":
    main()
