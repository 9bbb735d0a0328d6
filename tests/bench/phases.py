#!/usr/bin/python3
# tests/bench/phases.py - where the time goes from RunTask to the program's execve
# SPDX-License-Identifier: Apache-2.0
#
# Some system calls, forks and executions of the agent, the keeper and what they
# fork are recorded by the kernel (a tracefs instance of our own, of these
# processes only): each step by those that begin and end it. Then all calls, which
# makes a start slower by some third: those that took longest, without those that
# wait.
#
# State lies on ext4 with a journal, as on most hosts. Without one (DISK=here, if
# that is so) ext4 looks for inodes that were not in use lately, which makes each
# file and directory ten times as dear.

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from berth import Daemon, Registry, wait_for
from imagelab import FileSystem

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DISK = os.environ.get("DISK", "ext4")
ROUNDS = int(os.environ.get("ROUNDS", "15"))
GAP_S = 0.2  # as a service sees it: the kernel's RCU fast path is off by then
FULL_ROUNDS = 5
STEP_CALLS = ("read", "sendto", "sendmsg", "seccomp")
WAITS = ("epoll_wait", "recvfrom", "recvmsg", "accept4", "futex", "waitid", "wait4", "clock_nanosleep", "poll", "exit_group")
COMMAND_SIZE = 3000  # the keeper's commands are larger, and nothing else that the agent sends before
CONFIG = "[node]\nimage-pull-behavior = prefer-cached\n"
LINE = re.compile(r"\s*(.+)-(\d+)\s+\[\d+\] \S+ +([\d.]+): (\w+): (.*)")


def call_names():
    """Numbers of x86_64 to names."""
    with open(os.path.join(TOP, "runtime", "syscalls.tsv")) as f:
        rows = [l.split("\t") for l in f if not l.startswith("#")]
    return {int(r[2]): r[0] for r in rows if r[2].isdigit()}


class Trace:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="berth-bench-")
        subprocess.run(["mount", "-t", "tracefs", "tracefs", self.dir], check=True)
        self.instance = os.path.join(self.dir, "instances", f"berth-{os.getpid()}")
        os.mkdir(self.instance)
        self.set("trace_clock", "mono")
        self.set("options/event-fork", "1")
        self.set("buffer_size_kb", "16384")

    def set(self, name, value):
        with open(os.path.join(self.instance, name), "w") as f:
            f.write(value)

    def follow(self, pids, calls=None):
        """Numbers of system calls, or all."""
        self.set("set_event_pid", " ".join(map(str, pids)))
        self.set("events/raw_syscalls/filter", " || ".join(f"id == {n}" for n in calls) if calls else "0")
        self.set("events/raw_syscalls/enable", "1")
        for event in ("fork", "exec"):
            self.set(f"events/sched/sched_process_{event}/enable", "1")

    def take(self):
        with open(os.path.join(self.instance, "trace")) as f:
            text = f.read()
        self.set("trace", "")
        return text

    def close(self):
        if os.path.isdir(self.instance):
            os.rmdir(self.instance)
        subprocess.run(["umount", self.dir])
        os.rmdir(self.dir)


def parse(text, names):
    """(milliseconds since BEGIN, pid, event, name or rest, duration)"""
    begun, begin, events = {}, None, []
    for line in text.split("\n"):
        m = LINE.match(line)
        if not m:
            continue
        pid, at, event, rest = int(m[2]), float(m[3]) * 1000, m[4], m[5]
        if rest == "BEGIN":
            begin = at
        elif begin is None:
            continue
        elif event == "sys_enter":
            begun[pid] = (at, names.get(int(rest.split()[1]), rest))
        elif event == "sys_exit" and pid in begun:
            start, name = begun.pop(pid)
            events.append((start - begin, pid, name, int(rest.split("=")[1]), at - start))
        elif event.startswith("sched_process"):
            events.append((at - begin, pid, event, rest, 0))
    return sorted(events)


def steps_of(events, agent, keeper):
    """Milestones, in order, with the time of each."""
    def first(after, what):
        return next((e[0] for e in events if e[0] >= after and what(e)), None)

    exec_ms = first(0, lambda e: e[2] == "sched_process_exec")
    init = next(e[1] for e in events if e[0] == exec_ms)
    agent_ms = first(0, lambda e: e[1] == agent)
    command = first(0, lambda e: e[1] == agent and e[2] == "sendmsg" and e[3] > COMMAND_SIZE)
    # A worker waits, and is told; or one is forked.  It has made the init ahead, and tells it; or clones one.
    told = first(command, lambda e: e[1] == keeper and e[2] in ("sendmsg", "sched_process_fork"))
    before = [("server: request to the node", agent_ms), ("agent: records, cgroup, root, network, bundle", command),
              ("keeper: the command heard, a worker told", told)]
    clone = first(told, lambda e: e[2] == "sched_process_fork" and f"child_pid={init}" in e[3])
    if not clone:
        given = first(told, lambda e: e[1] not in (agent, keeper, init) and e[2] == "sendmsg")
        return [*before, ("worker: compared, on record, the init told", given), ("init: program, execve", exec_ms)]
    filtered = first(told, lambda e: e[1] == init and e[2] == "seccomp")
    # Ready is said by the last message before the filter; who started it was heard after that.
    said = [e[0] for e in events if e[1] == init and e[2] == "sendto" and e[0] < filtered]
    return [*before, ("worker: up to the clone", clone), ("init: mounts, cgroup, user", said[-1]),
            ("recorded, told to start", filtered), ("init: filter, execve", exec_ms)]


def row(name, took):
    took = sorted(took)
    print(f"{name:48} min {took[0]:6.2f}  p25 {took[len(took) // 4]:6.2f}  median {statistics.median(took):6.2f}")


def show_steps(rounds):
    for i, (name, _) in enumerate(rounds[-1][0]):
        row(name, [r[0][i][1] - (r[0][i - 1][1] if i else 0) for r in rounds])
    row("RunTask to execve", [r[0][-1][1] for r in rounds])
    row("node has it to execve", [r[0][-1][1] - r[0][0][1] for r in rounds])


def show_calls(rounds):
    totals = {}
    for _, calls in rounds:
        for name, ms in calls.items():
            totals.setdefault(name, []).append(ms)
    worst = sorted(((sum(v) / len(rounds), k) for k, v in totals.items()), reverse=True)[:10]
    print("calls, ms in all of a start: " + ", ".join(f"{k} {ms:.2f}" for ms, k in worst))


def subnet_of(daemon):
    ec2 = daemon.boto("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.211.0.0/16")["Vpc"]["VpcId"]
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.211.0.0/24")["Subnet"]["SubnetId"]


def measure(daemon, trace, request, names, agent, keeper):
    trace.set("trace_marker", "BEGIN")
    task = daemon.ecs("RunTask", **request)["tasks"][0]["taskArn"]
    daemon.wait_status(task, "STOPPED")
    events = parse(trace.take(), names)
    steps = steps_of(events, agent, keeper)
    calls = {}
    for at, _, name, _, took in events:
        if at <= steps[-1][1] and name not in WAITS and took:
            calls[name] = calls.get(name, 0) + took
    time.sleep(GAP_S)
    return steps, calls


def keeper_of(daemon):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = open(f"/proc/{p}/cmdline").read()
            if (daemon.root in line or daemon.memory in line) and "keeper" in open(f"/proc/{p}/comm").read():
                return int(p)
        except OSError:
            pass
    return None


class MemoryDaemon(Daemon):
    """Its run directory lies in memory, as /run does; its state where one says."""

    def __init__(self, disk=None, **options):
        super().__init__(**options)
        self.memory = tempfile.mkdtemp(prefix="berth-bench-", dir="/dev/shm")
        os.symlink(self.memory, os.path.join(self.root, "run"))
        if disk:
            os.symlink(disk, os.path.join(self.root, "var"))

    def destroy(self):
        super().destroy()
        shutil.rmtree(self.memory)


def waiting_worker(keeper):
    """The keeper's worker that the next container is made by."""
    return open(f"/proc/{keeper}/task/{keeper}/children").read().split()


def main(build):
    names, trace = call_names(), Trace()
    try:
        with contextlib.nullcontext() if DISK == "here" else FileSystem(DISK, "3g") as disk, \
                Registry() as registry, MemoryDaemon(disk, config=CONFIG) as daemon:
            image = registry.demo()
            subnet = subnet_of(daemon)
            for mode in ("bridge", "awsvpc", "none"):
                td = daemon.ecs("RegisterTaskDefinition", family="p" + mode, networkMode=mode, containerDefinitions=[
                    dict(name="c", image=image, memory=32, entryPoint=["/bin/true"])])
                request = dict(taskDefinition=td["taskDefinition"]["taskDefinitionArn"])
                if mode == "awsvpc":
                    request["networkConfiguration"] = dict(awsvpcConfiguration=dict(subnets=[subnet]))
                for _ in range(3):  # what is made once is made
                    daemon.wait_status(daemon.ecs("RunTask", **request)["tasks"][0]["taskArn"], "STOPPED")
                    time.sleep(GAP_S)  # what waits for the next one is made
                agent, keeper = daemon.process.pid, wait_for(lambda: keeper_of(daemon), 10, "the keeper")
                print(f"network mode {mode}, state on {DISK}")
                trace.follow([agent, keeper, *wait_for(lambda: waiting_worker(keeper), 10, "a worker")], [n for n, name in names.items() if name in STEP_CALLS])
                show_steps([measure(daemon, trace, request, names, agent, keeper) for _ in range(ROUNDS)])
                trace.follow([agent, keeper, *wait_for(lambda: waiting_worker(keeper), 10, "a worker")])
                show_calls([measure(daemon, trace, request, names, agent, keeper) for _ in range(FULL_ROUNDS)])
    finally:
        trace.close()
