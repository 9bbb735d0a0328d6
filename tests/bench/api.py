#!/usr/bin/python3
# tests/bench/api.py - signed requests to the control plane: how many, how soon, and under five times the load
# SPDX-License-Identifier: Apache-2.0
#
# All callers ask again as soon as they are answered, over loopback; each change has a full
# sync of its group. Clients and server share the machine's cores.

import os
import subprocess
import tempfile

ROWS = (("ListClusters, 64 callers", ["load", "ListClusters", "64", "4"]),
        ("DescribeTasks, 64 callers", ["load", "DescribeTasks", "64", "4"]),
        ("RunTask, 64 callers (tasks)", ["load", "RunTask", "64", "4"]),
        ("RunTask of ten, 64 callers (tasks)", ["load", "RunTask10", "64", "4"]),
        ("RunTask, 320 callers (tasks)", ["overload", "320", "4"]),
        ("a change at a node until it is described", ["changes", "4000"]))


def run(api, place, words):
    return subprocess.run([api, *words], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=True).stdout.splitlines()


def main(build):
    api = os.path.join(build, "tests/bench/api")
    print(f"{'':42}{'a second':>9} {'p50 ms':>8} {'p99 ms':>8} {'turned away':>12}")
    with tempfile.TemporaryDirectory(prefix="berth-bench-", dir=os.path.dirname(build)) as place:
        for what, words in ROWS:
            lines = run(api, place, words)
            for line in lines:
                name, rate, p50, p99, away = line.split()
                label = "  and one elsewhere who describes" if line is not lines[0] else what
                print(f"{label:42}{rate:>9} {p50:>8} {p99:>8} {away:>12}", flush=True)
        accepted, running, cpu = run(api, place, ["cluster", "500", "200000"])[0].split()[1:]
        print(f"200,000 tasks by 64 callers on 500 nodes with channels of their own: {accepted}/s accepted, "
              f"{running}/s told to run and durable, {cpu} us of the server's CPU each")
