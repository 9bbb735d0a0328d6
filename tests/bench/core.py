#!/usr/bin/python3
# tests/bench/core.py - placements that the core decides in a second, by size and strategy
# SPDX-License-Identifier: Apache-2.0
#
# Published: Nomad 2,000 to 3,000, swarmkit 7,000 to 12,000 a second of CPU time on this
# kind of machine, without the documents of an API; kube-scheduler's floor 810 a second.

import os
import subprocess

STRATEGIES = ("none", "binpack", "spread", "spread-rack", "constraint")
SIZES = ((100, 5000), (1000, 2000), (10000, 200))  # nodes, tasks


def main(build):
    core = os.path.join(build, "tests/bench/core")
    print(f"{'tasks/s of CPU time':20}" + "".join(f"{n:>8} nodes" for n, _ in SIZES))
    for strategy in STRATEGIES:
        rates = [subprocess.run([core, str(n), str(t), strategy], stdout=subprocess.PIPE, text=True,
                                check=True).stdout.strip() for n, t in SIZES]
        print(f"{strategy:20}" + "".join(f"{r:>14}" for r in rates), flush=True)
