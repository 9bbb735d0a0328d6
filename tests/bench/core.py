#!/usr/bin/python3
# tests/bench/core.py - placements that the core decides in a second, by size and strategy
# SPDX-License-Identifier: Apache-2.0
#
# First the decision alone with its accounts, which is what schedulers publish; then the whole
# RunTask of the core, with the documents, events and messages of each task; then memory, a
# million tasks that are placed and on disk, and a server that starts with them.
# Published and measured: Nomad 2,000 to 3,000, swarmkit 7,000 to 12,000 a second of CPU time on
# this kind of machine, with objects in memory and no documents of an API; kube-scheduler's
# floor 810 a second. A C prototype without constraints that change: 1.3 to 5.8 million.

import os
import subprocess
import tempfile

KINDS = ("binpack", "binpack-cpu", "spread-zone", "spread-instance", "mixed", "gpu")
DECISIONS = ((100, 10000), (1000, 100000), (10000, 1000000), (50000, 1000000))  # nodes, tasks
STRATEGIES = ("none", "binpack", "spread", "spread-rack", "constraint")
RUNS = ((100, 20000), (1000, 20000), (10000, 20000), (50000, 20000))


def run(build, program, nodes, tasks, what):
    path = os.path.join(build, "tests/bench", program)
    return subprocess.run([path, str(nodes), str(tasks), what], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.split()


def table(title, sizes, rows, cell):
    print(f"{title:26}" + "".join(f"{n:>8} nodes" for n, _ in sizes))
    for row in rows:
        print(f"{row:26}" + "".join(f"{cell(n, t, row):>14}" for n, t in sizes), flush=True)
    print()


def main(build):
    table("decisions/s of CPU time", DECISIONS, KINDS,
          lambda n, t, kind: run(build, "decide", n, t, kind)[0])
    table("RunTask, tasks/s", RUNS, STRATEGIES, lambda n, t, s: run(build, "core", n, t, s)[0])
    hot = run(build, "decide", 10000, 1000000, "mixed")[3]
    _, node, task = run(build, "core", 10000, 100000, "none")
    print(f"memory: {node} bytes a node (ten attributes), {task} bytes a task; "
          f"{hot} of the table for each task")
    with tempfile.TemporaryDirectory(prefix="berth-bench-", dir=os.path.dirname(build)) as place:
        path = os.path.abspath(os.path.join(build, "tests/bench/durable"))
        for calls in ("16", "64", "256"):
            words = subprocess.run([path, "10000", "1000000", calls], cwd=place, stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.split()
            rate, cpu, loop, written = words
            print(f"1,000,000 tasks on 10,000 nodes, placed and on disk, {calls} calls of ten at once: "
                  f"{1e6 / float(rate):.1f} s, {rate}/s, {cpu} us of CPU each ({loop} of the loop), "
                  f"{written} bytes written", flush=True)
        path = os.path.abspath(os.path.join(build, "tests/bench/restart"))
        words = subprocess.run([path, "10000", "1000000"], cwd=place, stdout=subprocess.PIPE, text=True,
                               check=True).stdout.split()
    seconds, task, stored, listed, described = words
    print(f"1,000,000 tasks on 10,000 nodes: the server answers {seconds} s after its start; the whole process "
          f"has {task} bytes of each task, nodes included, the store {stored}; ListTasks takes {listed} ms, "
          f"DescribeTasks {described} us for each task")
