#!/usr/bin/env python3
# tests/e2e/45-keeper-place.py - the keeper's own cgroup, as under systemd with Delegate=yes
# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import socket
import subprocess

from keeperlab import KEEPER, WAIT, check, until

TREES = [t for t in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
         if os.path.exists(os.path.join(t, "cgroup.procs")) and not os.path.exists(os.path.join(t, "tasks"))]


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as f:
        return next(l[3:].strip() for l in f if l.startswith("0::"))


@contextlib.contextmanager
def unit_of(lab):
    """A cgroup like that of a unit, and where the keeper says that it is ready."""
    unit = f"{lab.group}/unit"
    path = TREES[0] + unit
    os.makedirs(path)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(os.path.join(lab.dir, "notify"))
    notify.settimeout(WAIT)
    with notify:
        yield unit, path, notify


def start_as_unit(lab, path, *options):
    script = 'echo 0 > "$1/cgroup.procs" && shift && exec "$@"'
    process = subprocess.Popen(["sh", "-c", script, "sh", path, KEEPER, "--run-dir", lab.run, *options],
                               env=dict(os.environ, NOTIFY_SOCKET=os.path.join(lab.dir, "notify")))
    lab.processes.append(process)
    return process


def under_systemd_it_moves_aside_before_it_is_ready(lab):
    with unit_of(lab) as (unit, path, notify):
        keeper = start_as_unit(lab, path, "--systemd")
        assert notify.recv(64) == b"READY=1"
        assert cgroup_of(keeper.pid) == unit + "/keeper"
        assert open(path + "/cgroup.procs", encoding="ascii").read() == ""
        c = lab.client(spawn=False, connect=False)
        assert c.connect()["base"] == unit

        c.say(f"reexec {KEEPER}")
        c.see("resumed")
        assert lab.client(spawn=False, connect=False).connect()["base"] == unit
        assert cgroup_of(keeper.pid) == unit + "/keeper"


def one_that_berthd_starts_goes_to_the_same_place(lab):
    with unit_of(lab) as (unit, path, notify):
        first = start_as_unit(lab, path, "--systemd")
        assert notify.recv(64) == b"READY=1"
        c = lab.client(spawn=False)
        first.kill()
        first.wait()
        c.gone()
        c.say(f"spawn {KEEPER} {lab.run}")
        assert c.connect()["base"] == unit
        assert cgroup_of(lab.keeper_pid()) == unit + "/keeper"


def where_the_place_is_gone_it_stays_where_it_is(lab):
    os.makedirs(os.path.join(lab.run, "keeper"))
    with open(os.path.join(lab.run, "keeper/cgroup"), "w", encoding="ascii") as f:
        f.write(f"{lab.group}/none/at/all")
    c = lab.client(connect=False)
    assert c.connect()["base"] == ""


def without_systemd_it_says_nothing_of_a_place(lab):
    c = lab.client(connect=False)
    assert c.connect()["base"] == ""
    assert cgroup_of(lab.keeper_pid()) == cgroup_of(os.getpid())


def as_a_unit_it_ends_with_what_is_wrong(lab):
    with unit_of(lab) as (_, path, _notify):
        lab.client()
        process = start_as_unit(lab, path, "--systemd")
        assert process.wait(WAIT) == 75  # another one lives
        until(lambda: open(path + "/cgroup.procs", encoding="ascii").read() == "", "the end")


if __name__ == "__main__":
    if TREES:
        check([under_systemd_it_moves_aside_before_it_is_ready, one_that_berthd_starts_goes_to_the_same_place,
               where_the_place_is_gone_it_stays_where_it_is, without_systemd_it_says_nothing_of_a_place,
               as_a_unit_it_ends_with_what_is_wrong])
    else:
        print("skip 45-keeper-place: this host has no tree of cgroup v2")
