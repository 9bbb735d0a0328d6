#!/usr/bin/python3
# tests/e2e/55-prober.py - what is open to a program in a task: everything that is, is listed here
# SPDX-License-Identifier: Apache-2.0

import os
import re

from berth import BUILD, Census, Daemon, Registry, equal, main

OPEN = {"ptrace of a child"}    # debuggers need it, and it reaches nothing but the child
BY_DEFAULT = OPEN | {"chroot"}  # CAP_SYS_CHROOT

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def probe(**more):
    """What is open, and how many things were tried."""
    tools = os.path.join(BUILD, "tests/e2e/root")
    container = dict(name="c", image=IMAGE, memory=64, entryPoint=["/tools/prober"],
                     mountPoints=[dict(sourceVolume="tools", containerPath="/tools", readOnly=True)], **more)
    arn = daemon.run_task([container], volumes=[dict(name="tools", host=dict(sourcePath=tools))])
    equal(daemon.wait_stopped(arn)["containers"][0].get("exitCode"), 0)
    lines = re.findall(r"^(open|closed) (.*)$", daemon.berth("logs", arn).stdout, re.M)
    return {name for state, name in lines if state == "open"}, len(lines)


def test_little_is_open_by_default():
    found, tried = probe()
    print(f"# {len(found)} of {tried} open: {', '.join(sorted(found))}")
    equal(tried > 100, True)
    equal(found, BY_DEFAULT)


def test_without_capabilities_less_is():
    found, _ = probe(linuxParameters=dict(capabilities=dict(drop=["ALL"])))
    equal(found, OPEN)


def test_another_user_has_no_more():
    found, _ = probe(user="1000")
    equal(found, OPEN)


if __name__ == "__main__":
    main()
