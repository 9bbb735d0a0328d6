#!/usr/bin/python3
# tests/e2e/90-quickstart.py - the README's first command, twice, and its end
# SPDX-License-Identifier: Apache-2.0

import os
import re
import subprocess

from berth import BUILD, TOP, Census, contains, equal, main, page, run


def quickstart(what):
    return run("sh", os.path.join(TOP, "docs/quickstart", what), os.path.relpath(BUILD, TOP), timeout=300).stdout


def test_quickstart_shows_a_page_twice_and_ends_without_a_trace():
    if os.path.exists(os.path.join(TOP, "build/quickstart/berthd.pid")):
        quickstart("stop")  # one that somebody has left
    census = Census()
    start_twice_and_stop()
    census.check()
    equal(quickstart("stop"), "quickstart: all ended\n")


def start_twice_and_stop():
    first = quickstart("start")
    try:
        contains(first, "Hello from Berth")
        task = re.search(r"^arn:aws:ecs:us-east-1:123456789012:task/default/\w+$", first, re.M)[0]
        port = re.search(r"host port (\d+)", first)[1]
        contains(first, "serving /www on port 80")
        commands = first.split("--- try next\n")[1].strip().split("\n")
        equal(len(commands), 3)
        contains(subprocess.run(["sh", "-c", commands[0]], stdout=subprocess.PIPE, text=True, check=True).stdout, task)
        contains(run("sh", "-c", commands[1]).stdout, "quickstart:")
        second = quickstart("start")
        equal(re.search(r"host port (\d+)", second)[1], port)
        contains(second, task)
        contains(page(port), "Hello from Berth")
    finally:
        quickstart("stop")


if __name__ == "__main__":
    main()
