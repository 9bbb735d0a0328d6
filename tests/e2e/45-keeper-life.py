#!/usr/bin/env python3
# tests/e2e/45-keeper-life.py - containers through the keeper
# SPDX-License-Identifier: Apache-2.0

import json
import os
import shutil
import signal
import socket
import stat
import subprocess

from descriptors import descriptors
from keeperlab import BUILD, KEEPER, WAIT, Client, Refused, check, until


def a_container_is_made_started_and_ends(lab):
    c = lab.client()
    pid = lab.create(c, "a", "echo out; echo err >&2; exit 7")
    keeper = lab.keeper_pid()
    status = open(f"/proc/{pid}/status", encoding="ascii").read()
    assert f"PPid:\t{keeper}\n" in status, status
    assert lab.output(c, "a") == (b"", b""), "it ran before it was started"
    c.say("start a")
    c.see("started", "a")
    event = c.see("exited", "a")
    assert (event["known"], event["code"], event["signal"], event["complete"]) == ("1", "7", "0", "1"), event
    assert lab.output(c, "a") == (b"out\n", b"err\n")
    record = json.load(open(os.path.join(lab.run, "keeper/a/exit"), encoding="utf-8"))
    assert record["code"] == 7 and record["known"] and record["timeMs"] > 0
    lab.remove(c, "a")
    assert os.listdir(os.path.join(lab.run, "keeper")) == []
    assert not os.path.exists(os.path.join(lab.runtime, "a"))


def a_container_is_started_with_its_creation(lab):
    c = lab.client()
    pid = lab.create(c, "a", "echo out; exec sleep 100", "start")
    c.see("started", "a")
    until(lambda: lab.output(c, "a")[0] == b"out\n", "its output")
    row = json.load(open(os.path.join(lab.run, "keeper/a/row"), encoding="utf-8"))
    assert row["pid"] == pid and row["phase"] == 3, row
    c.say("kill a 9")
    assert c.see("exited", "a")["code"] == "137"
    lab.create(c, "quick", "exit 3", "start")
    c.see("started", "quick")
    assert c.see("exited", "quick")["code"] == "3"
    broken = os.path.join(lab.rootfs, "bin/broken")  # no format that the kernel executes
    with open(broken, "wb") as f:
        f.write(b"\0")
    os.chmod(broken, 0o755)
    c.say(f"create b {lab.bundle('b', '', args=['/bin/broken'])} {lab.runtime} {lab.log('b')} start")
    assert "/bin/broken" in str(c.see("failed", "b"))
    os.unlink(broken)
    assert not os.path.exists(os.path.join(lab.runtime, "b"))


def a_worker_waits_for_the_next_container(lab):
    c = lab.client()
    assert lab.workers() == [], "nothing was made yet"
    lab.create(c, "a", "")
    spare = until(lab.workers, "a spare worker")
    open_there = descriptors(spare[0], 3)
    assert not [p for p in open_there if p.startswith("pipe:") or lab.dir in p and p != lab.runtime], open_there
    lab.create(c, "b", "echo out", "start")
    c.see("started", "b")
    until(lambda: lab.output(c, "b")[0] == b"out\n", "its output")
    until(lambda: lab.workers() not in ([], spare), "the next one")
    os.kill(lab.workers()[0], signal.SIGKILL)  # then one is made when it is needed
    lab.create(c, "d", "")
    other = lab.runtime + "-2"  # it has looked at another place
    until(lab.workers, "a spare worker")
    c.say(f"create e {lab.bundle('e', '')} {other} {lab.log('e')}")
    c.see("created", "e")
    assert os.listdir(other) == ["e"]
    for id in "abde":
        lab.remove(c, id)
    os.kill(lab.keeper_pid(), signal.SIGHUP)
    c.see("resumed")
    until(lambda: lab.workers() == [], "it goes with its program")
    lab.create(c, "f", "")
    lab.remove(c, "f")
    shutil.rmtree(other)


def nothing_lies_outside_of_its_root(lab):
    """Whether its mount namespace began empty or, with CAP_SYS_ADMIN, as a copy of the host's."""
    c = lab.client()
    shutil.copy(os.path.join(BUILD, "tests/e2e/root/outside"), os.path.join(lab.rootfs, "bin/outside"))
    own = set(os.listdir(lab.rootfs))
    for id, caps in (("a", ["CAP_SYS_CHROOT"]), ("b", ["CAP_SYS_CHROOT", "CAP_SYS_ADMIN"])):
        process = {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"], "noNewPrivileges": True,
                   "args": ["/bin/sh", "-c", "outside; echo; cut -d' ' -f5 /proc/self/mountinfo; exec unshare -U true"],
                   "capabilities": {s: caps for s in ("bounding", "effective", "permitted")}}
        tmp = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
        proc = {"destination": "/proc", "type": "proc", "source": "proc"}
        lab.create(c, id, "", "start", process=process, mounts=[proc, tmp])
        event = c.see("exited", id)
        out, err = (t.decode() for t in lab.output(c, id))
        outside, _, mounts = out.partition("\n\n")
        assert (set(outside.split()), sorted(mounts.split())) == (own, ["/", "/proc", "/tmp"]), (id, out, err)
        assert event["code"] == "0", f"{id}: no user namespace can be made: {err}"
        lab.remove(c, id)
    os.unlink(os.path.join(lab.rootfs, "bin/outside"))


def signals_reach_it_and_its_death_by_one_is_told(lab):
    c = lab.client()
    lab.start(c, "a", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    until(lambda: lab.output(c, "a")[0] == b"ready\n", "the trap")
    c.say("kill a 15")
    assert c.see("exited", "a")["code"] == "42"
    lab.start(c, "b", "sleep 100")
    c.say("kill b 9")
    event = c.see("exited", "b")
    assert (event["code"], event["signal"]) == ("137", "9"), event


def what_cannot_be_is_refused_with_a_reason(lab):
    c = lab.client()
    lab.create(c, "a", "sleep 100")
    cases = [
        (f"create a {lab.bundle('a', '')} {lab.runtime} {lab.log('a')}", "there already"),
        (f"create b {lab.dir}/none {lab.runtime} {lab.log('a')}", "none"),
        (f"create b {lab.bundle('b', '')} {lab.runtime} {lab.dir}/none", "log directory"),
        (f"create b {lab.bundle('b', '', args=['/bin/none'])} {lab.runtime} {lab.log('b')}", "/bin/none"),
        ("start none", "no container none"),
        ("kill none 9", "no container none"),
        (f"follow none {lab.dir}", "no container none"),
        ("adopt a", "has its pipes"),
        ("shutdown", "1 containers live"),
        ("reexec /none", "/none"),
    ]
    for line, words in cases:
        c.say(line)
        try:
            c.see("created" if line.startswith("create") else "started")
        except Refused as e:
            assert words in str(e), f"{line}: {e}"
        else:
            raise AssertionError(line)
    assert list(c.list()) == ["a"], "a failed create left a row"
    assert os.listdir(os.path.join(lab.run, "keeper")) == ["a"]
    c.say("remove none")
    c.see("removed", "none")


def a_bad_client_is_sent_away_and_others_stay(lab):
    c = lab.client()
    size = None
    for data in (b"x", b"\0" * 16, os.urandom(3248), b"\x70\x4b\x01\x01" + b"\0" * 5000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.connect(os.path.join(lab.run, "keeper.sock"))
            size = len(s.recv(65536))
            s.send(data)
            s.settimeout(WAIT)
            try:
                assert s.recv(65536) == b""
            except ConnectionResetError:
                pass
    assert size > 1000
    assert c.list() == {}


def only_our_own_user_is_heard(lab):
    lab.client()
    path = os.path.join(lab.run, "keeper.sock")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.chmod(lab.dir, 0o755)
    os.chmod(path, 0o666)
    program = ("import socket,sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]);"
               "sys.exit(len(s.recv(65536)))")
    p = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", program, path],
                       stderr=subprocess.PIPE)
    assert p.returncode == 0 or b"ConnectionReset" in p.stderr, p


def the_newest_of_many_clients_is_served(lab):
    first = lab.client()
    others = [lab.client(spawn=False) for _ in range(9)]
    first.see("gone")
    assert others[-1].list() == {}
    lab.start(others[-1], "a", "exit 0")
    for c in others[2:]:
        c.see("exited", "a")


def a_second_keeper_is_refused(lab):
    c = lab.client()
    try:
        c.say(f"spawn {KEEPER} {lab.run}")
    except Refused as e:
        assert e.errno == 16 and "another keeper lives" in str(e), e
    else:
        raise AssertionError("two keepers")


def held_ports_are_held_until_it_is_removed(lab):
    c = lab.client()
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port = probe.getsockname()[1]
    lab.start(c, "a", "exit 0", port)
    c.see("exited", "a")

    def free():
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                return True
            except OSError:
                return False

    assert not free()
    lab.remove(c, "a")
    assert free()


def two_hundred_leave_nothing(lab):
    c = lab.client()
    lab.start(c, "warm", "exit 0")
    c.see("exited", "warm")
    lab.remove(c, "warm")
    keeper = lab.keeper_pid()

    def picture():
        return (len(os.listdir(f"/proc/{keeper}/fd")), os.listdir(os.path.join(lab.run, "keeper")),
                os.listdir(lab.runtime) if os.path.isdir(lab.runtime) else [],
                len(subprocess.run(["ps", "-o", "pid=", "--ppid", str(keeper)], stdout=subprocess.PIPE,
                                   text=True).stdout.split()),
                [d for d in lab.cgroups() if "/t" in d], open("/proc/self/mounts", encoding="ascii").read())

    lab.create(c, "first", "")
    lab.remove(c, "first")
    until(lab.workers, "a spare worker")
    before = picture()
    for round_ in range(10):
        ids = [f"t{round_}-{i}" for i in range(20)]
        for id in ids:
            c.say(f"create {id} {lab.bundle(id, 'echo $0')} {lab.runtime} {lab.log(id)}")
        for id in ids:
            c.see("created", id)
            c.say(f"start {id}")
        for id in ids:
            c.see("started", id)
            assert c.see("exited", id)["code"] == "0"
            c.say(f"remove {id}")
        for id in ids:
            c.see("removed", id)
    until(lambda: picture() == before, "what was there before")


def remove_breaks_off_what_is_under_way(lab):
    c = lab.client()
    hooks = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"]}]}
    c.say(f"create a {lab.bundle('a', 'exit 0', hooks=hooks)} {lab.runtime} {lab.log('a')}")
    until(lambda: os.path.isdir(os.path.join(lab.runtime, "a")), "the step")
    c.say("remove a")
    try:
        c.see("removed", "a")
    except Refused as e:
        assert "killed by signal 9" in str(e), e
        c.see("removed", "a")
    assert c.list() == {} and not os.path.exists(os.path.join(lab.runtime, "a"))
    lab.start(c, "a", "exit 3")
    assert c.see("exited", "a")["code"] == "3"


def without_a_pid_namespace_orphans_do_not_hold_its_end(lab):
    c = lab.client()
    bundle = lab.bundle("a", "sleep 1000 & echo $!; exit 5")
    config = json.load(open(bundle + "/config.json", encoding="utf-8"))
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "pid"]
    json.dump(config, open(bundle + "/config.json", "w", encoding="utf-8"))
    c.say(f"create a {bundle} {lab.runtime} {lab.log('a')}")
    c.see("created", "a")
    c.say("start a")
    event = c.see("exited", "a")
    assert (event["code"], event["complete"]) == ("5", "0"), event
    orphan = int(lab.output(c, "a")[0])
    assert os.path.exists(f"/proc/{orphan}")
    lab.remove(c, "a")
    until(lambda: not os.path.exists(f"/proc/{orphan}"), "end of the orphan")


def a_follower_is_told_of_output_once(lab):
    c = lab.client()
    lab.start(c, "a", "while read x < /proc/1/comm; do sleep 0.3; echo tick; done")
    log = lab.log("a")
    for _ in range(3):
        c.say(f"follow a {log}")
        event = c.see("output", "a")
        assert event["complete"] == "0"
        assert lab.output(c, "a")[0].endswith(b"tick\n")
        assert not [e for e in c.events if e["kind"] == "output"]
    c.say("kill a 9")
    c.see("exited", "a")
    lab.output(c, "a")
    c.say(f"follow a {log}")
    assert c.see("output", "a")["complete"] == "1"


def asked_to_end_it_stays_while_containers_live(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    keeper = lab.keeper_pid()
    os.kill(keeper, signal.SIGTERM)
    assert list(c.list()) == ["a"]
    c.say("kill a 9")
    c.see("exited", "a")
    assert list(c.list()) == ["a"]  # somebody is there who may want something of it
    c.say("disconnect")
    until(lambda: lab.keeper_pid() is None, "end of the keeper")
    assert not os.path.exists(os.path.join(lab.run, "keeper.sock"))


def a_keeper_that_cannot_start_says_why(lab):
    c = Client(lab)
    for run, words in (("/proc/none", "/proc/none"), (os.path.join(lab.rootfs, "bin/busybox"), "busybox")):
        try:
            c.say(f"spawn {KEEPER} {run}")
        except Refused as e:
            assert words in str(e), e
        else:
            raise AssertionError(run)


def deep_roots_are_no_trouble(lab):
    deep = os.path.join(lab.dir, *["d" * 60] * 5)
    os.makedirs(deep)
    lab.run = deep
    c = lab.client()
    lab.start(c, "a", "exit 0")
    c.see("exited", "a")
    lab.remove(c, "a")
    c.say("shutdown")
    c.see("gone")
    shutil.rmtree(deep)


def more_processes_run_in_a_container(lab):
    c = lab.client()
    lab.start(c, "a", "cd /tmp; sleep 100")
    out, err = lab.execute(c, "a", 1, "echo $X; echo bad >&2; cat; sleep 0; exit 7", env=["PATH=/bin", "X=value"])
    event = c.see("executed", "a", tag=1)
    assert (event["known"], event["code"], event["signal"]) == ("1", "7", "0"), event
    assert (open(out).read(), open(err).read()) == ("value\n", "bad\n")
    out, _ = lab.execute(c, "a", 2, "kill -9 $$")
    assert c.see("executed", "a", tag=2)["signal"] == "9"
    # It is in there: its own process number, and the container's first process beside it.
    out, _ = lab.execute(c, "a", 3, "cat /proc/1/cmdline; cat /proc/self/cgroup; cat /proc/1/cgroup",
                         user={"uid": 7, "gid": 8})
    c.see("executed", "a", tag=3)
    text = open(out).read()
    assert "sleep\0" in text or "cd /tmp" in text, text
    groups = text[text.rindex("\0") + 1:].splitlines()
    assert groups[:len(groups) // 2] == groups[len(groups) // 2:], groups
    assert list(c.list()) == ["a"]
    c.say("kill a 9")
    c.see("exited", "a")


def many_processes_run_at_once_and_their_number_has_a_limit(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    for tag in range(64):
        lab.execute(c, "a", tag, "sleep 100")
    try:
        lab.execute(c, "a", 64, "true")
        c.see("executed", "a", tag=64)
    except Refused as e:
        assert "64" in str(e), e
    else:
        raise AssertionError("the 65th ran")
    for tag in range(64):
        c.say(f"cancel a {tag}")
    c.say("cancel a 1000")  # nobody: nothing
    c.say("cancel b 1")
    for tag in range(64):
        assert c.see("executed", "a", tag=tag)["signal"] == "9"
    lab.execute(c, "a", 65, "exit 3")
    assert c.see("executed", "a", tag=65)["code"] == "3"
    # With the container end all that is in it.
    out, _ = lab.execute(c, "a", 66, "echo up; sleep 100")
    until(lambda: os.path.getsize(out), "its output")
    c.say("remove a")
    assert c.see("executed", "a", tag=66)["signal"] == "9"
    c.see("removed", "a")


def a_process_that_cannot_be_is_refused_with_a_reason(lab):
    c = lab.client()
    lab.create(c, "ready", "true")
    lab.start(c, "ended", "true")
    c.see("exited", "ended")
    lab.start(c, "a", "sleep 100")
    for id, changes, words in (("absent", {}, "absent"), ("ready", {}, "does not run"), ("ended", {}, "does not run"),
                               ("a", {"args": ["/bin/nothing"]}, "/bin/nothing"), ("a", {"args": []}, "args"),
                               ("a", {"terminal": True}, "terminal"), ("a", {"cwd": "relative"}, "cwd"),
                               ("a", {"user": {"uid": 4294967295, "gid": 0}}, "user")):
        lab.execute(c, id, 9, "true", **changes)
        try:
            c.see("executed", id, tag=9)
        except Refused as e:
            assert words in str(e), e
        else:
            raise AssertionError((id, changes))


def an_upgrade_ends_processes_that_run_beside(lab):
    c = lab.client()
    lab.start(c, "a", "sleep 100")
    out, _ = lab.execute(c, "a", 1, "echo up; sleep 100")
    until(lambda: os.path.getsize(out), "its output")
    c.say(f"reexec {KEEPER}")
    try:
        c.see("executed", "a", tag=1)
    except Refused as e:
        assert "another program" in str(e), e
    else:
        raise AssertionError("it was told as if it had ended by itself")
    c.see("resumed")
    lab.execute(c, "a", 2, "exit 4")
    assert c.see("executed", "a", tag=2)["code"] == "4"

    def count():
        out, _ = lab.execute(c, "a", 3, "cat /proc/[0-9]*/comm")
        c.see("executed", "a", tag=3)
        with open(out) as f:
            text = f.read()
        os.unlink(out)
        return text.split().count("sleep")

    until(lambda: count() == 1, "end of the process beside")


if __name__ == "__main__":
    check([more_processes_run_in_a_container, many_processes_run_at_once_and_their_number_has_a_limit,
           a_process_that_cannot_be_is_refused_with_a_reason, an_upgrade_ends_processes_that_run_beside,
           a_container_is_made_started_and_ends, a_container_is_started_with_its_creation,
           a_worker_waits_for_the_next_container,
           nothing_lies_outside_of_its_root, signals_reach_it_and_its_death_by_one_is_told,
           what_cannot_be_is_refused_with_a_reason, a_bad_client_is_sent_away_and_others_stay,
           only_our_own_user_is_heard, the_newest_of_many_clients_is_served, a_second_keeper_is_refused,
           held_ports_are_held_until_it_is_removed, two_hundred_leave_nothing,
           remove_breaks_off_what_is_under_way, without_a_pid_namespace_orphans_do_not_hold_its_end,
           a_follower_is_told_of_output_once, asked_to_end_it_stays_while_containers_live,
           a_keeper_that_cannot_start_says_why, deep_roots_are_no_trouble])
