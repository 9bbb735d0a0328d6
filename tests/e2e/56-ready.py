#!/usr/bin/python3
# tests/e2e/56-ready.py - roots that are made before anybody wants them
# SPDX-License-Identifier: Apache-2.0

import os
import re

from berth import Census, Daemon, Registry, equal, main, wait_for

census = Census()
registry = Registry().__enter__()
IMAGE = registry.demo()
daemon = Daemon().start()
LOOK = "ls -lnd / /dev /etc /proc /sys; ls -ln /etc; cat /etc/hostname; touch /x; ls -ln /x"


def cleanup():
    daemon.destroy()
    registry.__exit__()
    census.check()


def made(d):
    """Those that are ready: the inode of the log directory of each, which stays the same when it is taken."""
    top = os.path.join(d.root, "var/lib/berth/ready")
    dirs = [os.path.join(top, n) for n in (os.listdir(top) if os.path.isdir(top) else [])]
    return {os.stat(os.path.join(n, "log")).st_ino for n in dirs
            if os.path.exists(os.path.join(n, "root/upper/etc/resolv.conf"))}


def one_ready(d):
    return wait_for(lambda: len(made(d)) == 1 and made(d), 20, "a root that is ready").pop()


def run_task(d, script="true", **definition):
    arn = d.run_task([dict(name="c", image=IMAGE, memory=64, entryPoint=["/bin/sh", "-c"], command=[script])],
                     **definition)
    task = d.wait_stopped(arn)
    equal(task["containers"][0].get("exitCode"), 0)
    log = os.path.join(d.root, "var/lib/berth/tasks", arn.split("/")[-1], "0/log")
    return d.berth("logs", arn).stdout, os.stat(log).st_ino


def test_a_ready_root_is_taken_and_looks_like_one_that_was_made_for_its_container():
    plain = lambda text: re.sub(r"\b[0-9a-f]{12}\b|\w+ +\d+ +[\d:]+ ", "", text)
    first, inode = run_task(daemon, LOOK)
    ready = one_ready(daemon)
    assert inode != ready
    second, inode = run_task(daemon, LOOK)
    equal(inode, ready)
    equal(plain(second), plain(first))


def test_each_is_taken_once():
    one_ready(daemon)
    inodes = [run_task(daemon)[1] for _ in range(3)]
    equal(len(set(inodes)), 3)


def test_what_an_agent_that_was_killed_had_ready_is_gone():
    with Daemon() as d:
        run_task(d)
        before = one_ready(d)
        d.kill()
        d.start()
        equal(made(d) & {before}, set())
        run_task(d)
        one_ready(d)


def test_a_container_that_may_do_more_makes_its_own():
    ready = one_ready(daemon)
    arn = daemon.run_task([dict(name="c", image=IMAGE, memory=64, privileged=True, entryPoint=["/bin/true"])])
    daemon.wait_stopped(arn)
    equal(made(daemon), {ready})


def test_an_image_that_is_removed_takes_its_root_along():
    one_ready(daemon)
    equal(daemon.call("BerthV1.RemoveImage", dict(image=IMAGE))[0], 200)
    wait_for(lambda: not made(daemon), 20, "no root")
    run_task(daemon)
    one_ready(daemon)


if __name__ == "__main__":
    main()
