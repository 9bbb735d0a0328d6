#!/usr/bin/env python3
# tests/e2e/20-oci-systemd.py - the systemd cgroup driver, against a busctl of our own
# SPDX-License-Identifier: Apache-2.0
#
# The one in our $PATH writes down what it is asked, makes the cgroup that systemd
# would make, and puts the process in. The real one is asked in the machine of
# 95-systemd-vm.py.

import os
import sys

from oci import *

BUSCTL = """#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
with open({log!r}, "a") as f:
    f.write(json.dumps(words) + "\\n")
if "GetUnit" in words:
    sys.exit("Call failed: no such unit")
if "StartTransientUnit" in words:
    if {refuses}:
        sys.exit("Call failed: Unit is there already.")
    pid, slice_ = words[words.index("PIDs") + 3], words[words.index("Slice") + 2]
    parts, path = slice_[:-6].split("-"), {root!r}
    for i in range(len(parts)):
        path += "/" + "-".join(parts[:i + 1]) + ".slice"
        os.makedirs(path, exist_ok=True)
    path += "/" + words[words.index("StartTransientUnit") + 2]
    os.mkdir(path)
    open(path + "/cgroup.procs", "w").write(pid)
"""


def systemd_root():
    roots = cgroup_roots()
    return roots.get("name=systemd") or roots.get("")


class Fake:
    def __init__(self, h, refuses=False):
        self.dir = os.path.join(h.dir, "path")
        self.log = os.path.join(self.dir, "log")
        os.makedirs(self.dir)
        with open(self.dir + "/busctl", "w") as f:
            f.write(BUSCTL.format(log=self.log, root=systemd_root(), refuses=refuses))
        os.chmod(self.dir + "/busctl", 0o755)
        self.env = dict(os.environ, PATH=f"{self.dir}:{os.environ['PATH']}")

    def calls(self):
        return [json.loads(l) for l in open(self.log)] if os.path.exists(self.log) else []

    def close(self):
        shutil.rmtree(self.dir)


def properties(call):
    """{name: value} of what StartTransientUnit or SetUnitProperties was given."""
    at = call.index("StartTransientUnit" if "StartTransientUnit" in call else "SetUnitProperties")
    words, found, i = call[at + 4:], {}, 1
    for _ in range(int(words[0])):
        name, kind = words[i], words[i + 1]
        size = 2 if kind == "au" else 1
        found[name] = words[i + 1 + size]
        i += 2 + size
    return found


def scope(h):
    """A container is a scope in its slice: its limits are known to systemd, update tells it others"""
    fake, top = Fake(h), f"berthtest{os.getpid()}"

    def change(c):
        c["linux"]["cgroupsPath"] = f"{top}-pod.slice:libpod:web"
        c["linux"]["resources"].update(memory={"limit": 64 << 20}, pids={"limit": 50},
                                       cpu={"quota": 50000, "period": 100000, "shares": 1024})
    place = f"/{top}.slice/{top}-pod.slice/libpod-web.scope"
    with h.bundle(change) as b:
        b.args("/bin/probe", "stay")
        h.quiet("--systemd-cgroup", "create", "-b", b.path, b.id, env=fake.env)
        b.start()
        call, = fake.calls()
        equal(call[call.index("StartTransientUnit") + 2:][:2], ["libpod-web.scope", "fail"])
        p = properties(call)
        equal((p["Slice"], p["Delegate"], p["TasksMax"], p["CPUQuotaPerSecUSec"]),
              (f"{top}-pod.slice", "true", "50", "500000"))
        equal(p["MemoryMax" if is_v2() else "MemoryLimit"], str(64 << 20))
        lines = open(f"/proc/{b.pid()}/cgroup").read().split()
        expect(all(l.endswith(place) for l in lines if l.split(":")[1] != "" or l.endswith(place)), lines)
        procs = open(systemd_root() + place + "/cgroup.procs").read().split()
        equal(procs, [str(b.pid())], "alone in its scope")
        h.oci("update", "--memory", "32m", b.id, env=fake.env)
        call = fake.calls()[-1]
        equal(call[call.index("SetUnitProperties") + 2:][:2], ["libpod-web.scope", "true"])
        equal(properties(call)["MemoryMax" if is_v2() else "MemoryLimit"], str(32 << 20))
        h.oci("delete", "--force", b.id, env=fake.env)
        call = fake.calls()[-2]
        equal(call[call.index("StopUnit") + 2:], ["libpod-web.scope", "replace"])
        for root in set(cgroup_roots().values()):
            expect(not os.path.exists(root + place), root)
    for root in set(cgroup_roots().values()):
        for d in (f"/{top}.slice/{top}-pod.slice", f"/{top}.slice"):
            if os.path.isdir(root + d):
                os.rmdir(root + d)
    fake.close()


def refused(h):
    """What systemd refuses, and what is no scope, leaves nothing behind"""
    fake = Fake(h, refuses=True)
    with h.bundle() as b:
        for path, says in (("a.slice:b:c", "Unit is there already"), ("/a/b", "SLICE:PREFIX:NAME"),
                           ("a:b:c", "no slice"), ("a.slice:b:c/d", "no scope"), ("a.slice:b", "SLICE:PREFIX:NAME")):
            b.config["linux"]["cgroupsPath"] = path
            b.write()
            p = h.oci("--systemd-cgroup", "create", "-b", b.path, b.id, check=False, env=fake.env)
            expect(p.returncode == 1 and says in p.stderr, path, p.stderr)
        fake.close()
        b.config["linux"]["cgroupsPath"] = "a.slice:b:c"
        b.write()
        p = h.oci("--systemd-cgroup", "create", "-b", b.path, b.id, check=False, env=dict(os.environ, PATH="/nosuch"))
        expect(p.returncode == 1 and "busctl is not installed" in p.stderr, p.stderr)


sys.exit(main([scope, refused]))
