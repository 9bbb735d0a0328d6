#!/usr/bin/python3
# tests/e2e/45-keeper-ahead.py - containers that are made before it is known whom for
# SPDX-License-Identifier: Apache-2.0

import contextlib
import copy
import difflib
import json
import os
import signal

from keeperlab import KEEPER, Refused, check, until

NUMBER = 77
LOOK = """
cat /proc/self/status | grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|NSpid|SigBlk|SigIgn)'
cat /proc/self/mountinfo | sed 's/^[0-9]* [0-9]* [0-9:]*//'
cat /proc/self/cgroup | sed 's/.*://'; cat /proc/sys/kernel/hostname; grep -c '_ses.ID:' /proc/keys; pwd; umask; ls -ln /dev | sed -E 's/[A-Z][a-z]{2} +[0-9]+ +[0-9:]+//'; cat /proc/1/comm
"""
CONFIG = {
    "hostname": "first",
    "domainname": "example.com",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
               {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
               {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}],
    "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts", "network", "cgroup")],
              "resources": {"pids": {"limit": 50}}, "maskedPaths": ["/proc/kcore", "/sys/firmware"],
              "readonlyPaths": ["/proc/sys"]},
}


def config_of(lab, **changes):
    c = copy.deepcopy(CONFIG)
    c["linux"]["cgroupsPath"] = f"{lab.group}/place/0"
    c.update(changes)
    return c


def set_at(doc, path, value):
    *above, last = path.split(".")
    for name in above:
        doc = doc[int(name)] if isinstance(doc, list) else doc.setdefault(name, {})
    doc[int(last) if isinstance(doc, list) else last] = value


def waiting(lab):
    """Its init: in a pid namespace of its own, and still a program of ours."""
    keeper = lab.keeper_pid()
    own = os.readlink(f"/proc/{keeper}/ns/pid")
    for pid in open(f"/proc/{keeper}/task/{keeper}/children", encoding="ascii").read().split():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/pid") != own and "cgroup" not in open(f"/proc/{pid}/comm").read():
                return int(pid)
    return None


def blocked_in_it(lab, pid):
    """It waits to be told: it has nothing to do any more."""
    with contextlib.suppress(OSError):
        return open(f"/proc/{pid}/wchan", encoding="ascii").read() or \
            open(f"/proc/{pid}/stat", encoding="ascii").read().rpartition(")")[2].split()[0] == "S"


def make(lab, c, number=NUMBER, **changes):
    path = lab.bundle("place", "", args=["/"], **config_of(lab, **changes))
    c.say(f"ahead {number} place {path} {lab.runtime} {lab.rootfs}")
    pid = until(lambda: waiting(lab), "a container that waits")
    until(lambda: blocked_in_it(lab, pid), "it waits")
    return pid


def want(lab, c, id, script, number=NUMBER, process=None, **changes):
    """The pid of the container, started."""
    path = lab.bundle(id, script, **config_of(lab, **changes))
    if process:
        file = os.path.join(path, "config.json")
        doc = json.load(open(file, encoding="utf-8"))
        doc["process"].update(process)
        json.dump(doc, open(file, "w", encoding="utf-8"), separators=(",", ":"))
    c.say(f"create {id} {path} {lab.runtime} {lab.log(id)} start root={lab.rootfs} ahead={number}")
    pid = int(c.see("created", id)["pid"])
    c.see("started", id)
    return pid


def said(lab, c, id):
    c.see("exited", id)
    out, err = lab.output(c, id)
    lab.remove(c, id)
    return (out + err).decode()


def it_is_given_and_looks_like_one_that_was_made_for_it(lab):
    c = lab.client()
    plain = want(lab, c, "plain", LOOK.replace("ID", "plain"), 0) and said(lab, c, "plain")
    waits = make(lab, c)
    assert want(lab, c, "given", LOOK.replace("ID", "place")) == waits
    given = said(lab, c, "given")
    assert given == plain, list(difflib.unified_diff(plain.split("\n"), given.split("\n"), n=0))[:20]
    assert not [d for d in lab.cgroups() if "place" in d], lab.cgroups()
    assert [n for n in os.listdir(lab.runtime) if not n.startswith(".")] == []


def what_is_the_tasks_own_is_of_the_task(lab):
    c = lab.client()
    waits = make(lab, c)
    script = "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname; echo $COLOUR; echo $HOME; cat /proc/1/cmdline | tr '\\0' ' '"
    pid = want(lab, c, "own", script, hostname="own", process={"env": ["PATH=/bin", "COLOUR=blue"]})
    assert pid == waits
    out = said(lab, c, "own").split("\n")
    assert out[:4] == ["own", "example.com", "blue", "/"], out
    assert out[4].startswith("/bin/sh -c cat /proc/sys/kernel/hostname"), out


def what_it_is_told_has_a_limit(lab):
    """One message: what does not fit is made from the beginning."""
    c = lab.client()
    for id, env, kept in (("fits", ["A=" + "x" * 60000], True), ("long", ["A=" + "x" * 70000], False),
                          ("words", [f"A{i}={i}" for i in range(900)], True), ("many", [f"A{i}={i}" for i in range(1100)], False)):
        waits = make(lab, c)
        assert (want(lab, c, id, "cat /proc/self/environ | wc -c", process={"env": ["PATH=/bin", *env]}) == waits) == kept, id
        size = len("PATH=/bin\0HOME=/\0") + sum(len(e) + 1 for e in env)
        assert abs(int(said(lab, c, id)) - size) < 100, id


DIFFERENCES = {
    "root.readonly": False,
    "mounts.1.options": ["nosuid", "mode=700"],
    "mounts.2.source": "other",
    "linux.resources.pids.limit": 51,
    "linux.maskedPaths": ["/proc/kcore"],
    "linux.readonlyPaths": [],
    "linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
    "process.cwd": "/tmp",
    "process.noNewPrivileges": False,
    "process.capabilities": {"bounding": ["CAP_CHOWN"]},
    "process.oomScoreAdj": 1000,
    "process.user": {"uid": 5, "gid": 6, "additionalGids": [7]},
    "process.rlimits": [{"type": "RLIMIT_NOFILE", "soft": 123, "hard": 124}],
    "linux.sysctl": {"net.ipv4.ip_default_ttl": "33"},
    "hooks": {"poststop": [{"path": "/bin/true"}]},
}


def what_differs_is_made_from_the_beginning(lab):
    c = lab.client()
    for i, (path, value) in enumerate(DIFFERENCES.items()):
        id = f"d{i}"
        waits = make(lab, c)
        bundle = lab.bundle(id, "echo here", **config_of(lab))
        file = os.path.join(bundle, "config.json")
        doc = json.load(open(file, encoding="utf-8"))
        set_at(doc, path, value)
        json.dump(doc, open(file, "w", encoding="utf-8"), separators=(",", ":"))
        c.say(f"create {id} {bundle} {lab.runtime} {lab.log(id)} start root={lab.rootfs} ahead={NUMBER}")
        assert int(c.see("created", id)["pid"]) != waits, path
        assert said(lab, c, id) == "here\n", path
        assert not os.path.exists(f"/proc/{waits}"), path


def a_filter_is_loaded_while_it_waits_if_it_is_one_of_ours(lab):
    """Another may forbid what is left to do: then nothing is made ahead."""
    c = lab.client()
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["recvmsg", "sethostname"], "action": "SCMP_ACT_KILL"}]}
    foreign = dict(config_of(lab)["linux"], seccomp=profile)
    want(lab, c, "plain", "true", 0, linux=foreign)
    said(lab, c, "plain")
    path = lab.bundle("place", "", args=["/"], **config_of(lab, linux=foreign))
    c.say(f"ahead {NUMBER} place {path} {lab.runtime} {lab.rootfs}")
    want(lab, c, "foreign", "grep Seccomp: /proc/self/status", linux=foreign)
    assert said(lab, c, "foreign").split() == ["Seccomp:", "2"]
    profile["syscalls"][0]["names"].remove("recvmsg")
    want(lab, c, "other", "true", 0, linux=foreign)
    said(lab, c, "other")
    top = os.path.join(lab.runtime, ".filters")
    newest = max((os.path.join(top, n) for n in os.listdir(top)), key=lambda p: os.stat(p).st_mtime_ns)
    ours = dict(foreign, seccomp={"defaultAction": "SCMP_ACT_ERRNO", "compiled": newest})
    waits = make(lab, c, linux=ours)
    until(lambda: "Seccomp:\t2" in open(f"/proc/{waits}/status", encoding="ascii").read(), "its filter")
    assert want(lab, c, "ours", "grep Seccomp: /proc/self/status; hostname other || echo killed", linux=ours) == waits
    assert said(lab, c, "ours").split()[:2] == ["Seccomp:", "2"]


def another_root_or_file_is_a_difference(lab):
    c = lab.client()
    other = os.path.join(lab.dir, "other")
    os.makedirs(other)
    for name in ("a", "b"):
        open(os.path.join(lab.dir, name), "w").write(name)
    mounts = lambda name: CONFIG["mounts"] + [{"destination": "/tmp/file", "type": "bind", "options": ["bind"],
                                               "source": os.path.join(lab.dir, name)}]
    os.link(os.path.join(lab.dir, "a"), os.path.join(lab.dir, "same"))
    for name, kept in (("same", True), ("b", False)):
        waits = make(lab, c, mounts=mounts("a"))
        assert (want(lab, c, name, "cat /tmp/file", mounts=mounts(name)) == waits) == kept
        assert said(lab, c, name) == ("a" if kept else "b")
    os.unlink(os.path.join(lab.rootfs, "tmp/file"))


def it_is_given_once(lab):
    c = lab.client()
    waits = make(lab, c)
    linux = dict(CONFIG["linux"], cgroupsPath=f"{lab.group}/second")
    assert want(lab, c, "one", "sleep 1000") == waits
    assert want(lab, c, "two", "true", linux=linux) != waits
    said(lab, c, "two")
    c.say("kill one 9")
    said(lab, c, "one")


def one_that_was_killed_is_made_anew(lab):
    c = lab.client()
    for victim in ("init", "worker"):
        waits = make(lab, c)
        workers = [p for p in lab.workers() if os.readlink(f"/proc/{p}/ns/pid") == os.readlink("/proc/self/ns/pid")]
        for pid in [waits] if victim == "init" else workers:  # the one that made it, and any that has nothing to do yet
            os.kill(pid, signal.SIGKILL)
        until(lambda: not waiting(lab), "its end")
        assert want(lab, c, victim, "echo here") != waits
        assert said(lab, c, victim) == "here\n"


def nobody_sees_it(lab):
    c = lab.client()
    make(lab, c)
    assert c.list() == {}
    assert [n for n in os.listdir(lab.runtime) if not n.startswith(".")] == []
    assert os.listdir(os.path.join(lab.run, "keeper")) == []


def gone(lab, pid):
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the process")


def it_is_forgotten(lab):
    c = lab.client()
    waits = make(lab, c)
    c.say(f"forget {NUMBER}")
    c.say(f"forget {NUMBER}")
    gone(lab, waits)
    until(lambda: not [d for d in lab.cgroups() if "place" in d], "no cgroup")


def it_ends_with_its_client_its_keeper_and_its_program(lab):
    c = lab.client()
    waits = make(lab, c)
    c.say("disconnect")
    gone(lab, waits)
    c.connect()
    waits = make(lab, c)
    c.say(f"reexec {KEEPER}")
    c.see("resumed")
    gone(lab, waits)
    waits = make(lab, c)
    lab.kill_keeper()
    gone(lab, waits)


def there_are_not_too_many(lab):
    c = lab.client()
    path = lab.bundle("place", "", args=["/"], **config_of(lab))
    for i in range(8):
        linux = dict(CONFIG["linux"], cgroupsPath=f"{lab.group}/p{i}")
        path = lab.bundle(f"p{i}", "", args=["/"], **config_of(lab, linux=linux))
        c.say(f"ahead {i + 1} p{i} {path} {lab.runtime} {lab.rootfs}")
    c.say(f"ahead 100 more {path} {lab.runtime} {lab.rootfs}")
    try:
        c.see("created", "more")
    except Refused as e:
        assert "8 containers are made ahead" in str(e), e


def what_cannot_be_executed_leaves_nothing(lab):
    c = lab.client()
    waits = make(lab, c)
    path = lab.bundle("bad", "", args=["/bin/nothing"], **config_of(lab))
    c.say(f"create bad {path} {lab.runtime} {lab.log('bad')} start root={lab.rootfs} ahead={NUMBER}")
    try:
        c.see("created", "bad")
        raise AssertionError("it was made")
    except Refused as e:
        assert "/bin/nothing" in str(e), e
    gone(lab, waits)
    assert not os.path.exists(os.path.join(lab.runtime, "bad"))
    until(lambda: not [d for d in lab.cgroups() if "place" in d], "no cgroup")


def a_start_right_behind_is_waited_for(lab):
    """The order may come while it is being made still."""
    c = lab.client()
    for i in range(20):
        path = lab.bundle("place", "", args=["/"], **config_of(lab))
        c.say(f"ahead {i + 1} place {path} {lab.runtime} {lab.rootfs}")
        want(lab, c, f"r{i}", "echo here", i + 1)
        assert said(lab, c, f"r{i}") == "here\n"


if __name__ == "__main__":
    check([it_is_given_and_looks_like_one_that_was_made_for_it, a_filter_is_loaded_while_it_waits_if_it_is_one_of_ours, what_is_the_tasks_own_is_of_the_task,
           what_it_is_told_has_a_limit, what_differs_is_made_from_the_beginning, another_root_or_file_is_a_difference, it_is_given_once,
           one_that_was_killed_is_made_anew, nobody_sees_it, it_is_forgotten,
           it_ends_with_its_client_its_keeper_and_its_program, there_are_not_too_many,
           what_cannot_be_executed_leaves_nothing, a_start_right_behind_is_waited_for])
