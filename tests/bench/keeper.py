#!/usr/bin/python3
# tests/bench/keeper.py - a start by the keeper beside crun's create and start
# SPDX-License-Identifier: Apache-2.0
#
# The bundle is like podman's: filter, masks, limits; its network namespace is
# ready, as the agent hands it over. Ours is from the command's being sent until
# the program has been executed; "made ahead": where the keeper has made one like it. Cold: each start 150 ms after the one before.
# Then the same in a mount namespace with 3,000 mounts more.
#
# Then as many at once, none of them made ahead: started, and killed and removed.
# Then processes beside that of a container, as health checks are: how many true
# ends in a second, and how much processor time each takes in the whole machine.
#
# CRUN=: the peer. ROUNDS=: how many (40).

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]

from keeperlab import Lab
import oci

ROUNDS = int(os.environ.get("ROUNDS", "40"))
GAP_S = 0.15
AHEAD_S = 0.02  # in which one is made ahead
MOUNTS = 3000
CROWD = 100
EXECS, AT_ONCE = 1000, 4
MEMORY = "/dev/shm"  # state lies in memory, as below /run


def row(name, values, peer=None):
    line = f"{name:34} min {min(values):6.2f}  p25 {oci.at(values, .25):6.2f}  median {oci.at(values, .5):6.2f}"
    if peer:
        line += f"   ratio of minima {min(values) / min(peer):5.2f}, of medians {oci.at(values, .5) / oci.at(peer, .5):5.2f}"
    print(line, flush=True)


class Bench(Lab):
    def __init__(self, netns_pid):
        super().__init__()
        self.count = 0
        plain = oci.runc_default(shutil.which("runc"), self.dir)
        self.config = oci.like_podman(plain) if os.path.exists(oci.PODMAN_FILTER) else plain
        for n in self.config["linux"]["namespaces"]:
            if n["type"] == "network":
                n["path"] = f"/proc/{netns_pid}/ns/net"
        self.config["process"].update(terminal=False, args=["/bin/true"], rlimits=[])
        self.config["root"] = {"path": self.rootfs, "readonly": True}

    def make(self):
        self.count += 1
        id = f"b{self.count}"
        self.config["linux"]["cgroupsPath"] = f"{self.group}/{id}"
        path = self.bundle(id, "")
        with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
            json.dump(self.config, f, separators=(",", ":"))  # as the agent writes it
        return id, path

    def compiled(self):
        """The filter, as those before have left it."""
        top = os.path.join(self.runtime, ".filters")
        return {"defaultAction": "SCMP_ACT_ERRNO", "compiled": os.path.join(top, os.listdir(top)[0])}

    def ours(self, client):
        id, path = self.make()
        client.say(f"create {id} {path} {self.runtime} {self.log(id)} start")
        took = int(client.see("started", id)["us"]) / 1000
        client.see("exited", id)
        self.remove(client, id)
        return took

    def ahead(self, client, gap):
        """It is made while nobody waits for it."""
        config = self.config
        networks = [n for n in config["linux"]["namespaces"] if n["type"] == "network"]
        netns = networks[0]["path"]
        self.config = dict(config, linux=dict(config["linux"], seccomp=self.compiled(), namespaces=[
            n for n in config["linux"]["namespaces"] if n["type"] != "network"] + [{"type": "network"}]))
        id, path = self.make()
        client.say(f"ahead {self.count} {id} {path} {self.runtime} {self.rootfs} {netns}")
        time.sleep(max(gap, AHEAD_S))
        client.say(f"create {id} {path} {self.runtime} {self.log(id)} start root={self.rootfs} netns={netns} ahead={self.count}")
        took = int(client.see("started", id)["us"]) / 1000
        client.see("exited", id)
        self.remove(client, id)
        self.config = config
        return took

    def crun(self, program):
        id, path = self.make()
        base = [program, "--root", self.dir + "/crun", "--cgroup-manager=cgroupfs"]
        took = sum(oci.measure(base + w)[0] for w in (["create", "-b", path, id], ["start", id]))
        subprocess.run(base + ["delete", "-f", id], check=True)
        return took


def crowd(lab, client, crun):
    """Milliseconds of ours, and of the peer's commands for the same bundles."""
    lab.config["process"]["args"] = ["/bin/sleep", "1000"]
    made = [lab.make() for _ in range(CROWD)]
    begin = time.perf_counter()
    for id, path in made:
        client.say(f"create {id} {path} {lab.runtime} {lab.log(id)} start")
    for id, _ in made:
        client.see("started", id)
    started = time.perf_counter()
    for id, _ in made:
        client.say(f"kill {id} 9")
    for id, _ in made:
        client.see("exited", id)
        client.say(f"remove {id}")
    for id, _ in made:
        client.see("removed", id)
    ended = time.perf_counter()
    print(f"{CROWD} at once by the keeper: started in {(started - begin) * 1000:.0f} ms, killed and removed in "
          f"{(ended - started) * 1000:.0f} ms", flush=True)
    if crun:
        made = [lab.make() for _ in range(CROWD)]
        base = [crun, "--root", lab.dir + "/crun", "--cgroup-manager=cgroupfs"]
        up, f1 = oci.all_at_once([base + ["run", "--detach", "-b", path, id] for id, path in made])
        down, f2 = oci.all_at_once([base + ["delete", "-f", id] for id, _ in made])
        print(f"{CROWD} at once by crun: started in {up:.0f} ms, deleted in {down:.0f} ms, {f1 + f2} failed; ratio of the "
              f"sums {(ended - begin) * 1000 / (up + down):.2f}", flush=True)
    lab.config["process"]["args"] = ["/bin/true"]


def measure(lab, client, crun, gap):
    ours, ahead, theirs = [], [], []
    for _ in range(ROUNDS):
        time.sleep(gap)
        ours.append(lab.ours(client))
        ahead.append(lab.ahead(client, gap))
        if crun:
            time.sleep(gap)
            theirs.append(lab.crun(crun))
    return ours, ahead, theirs


def busy_ms():
    """Of all processors, since the machine began; idle and stolen time left out."""
    with open("/proc/stat") as f:
        fields = [int(x) for x in f.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:7])) * 1000 / os.sysconf("SC_CLK_TCK")


def execs(lab, client):
    """In one container, AT_ONCE under way at any time."""
    id, path = lab.make()
    lab.config["process"]["args"] = ["/bin/sleep", "1000"]
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as f:
        json.dump(lab.config, f)
    client.say(f"create {id} {path} {lab.runtime} {lab.log(id)} start")
    client.see("started", id)
    process = os.path.join(lab.dir, "process.json")
    with open(process, "w", encoding="utf-8") as f:
        json.dump(dict(lab.config["process"], args=["/bin/true"]), f)
    begin, busy = time.perf_counter(), busy_ms()
    for i in range(EXECS):
        if i >= AT_ONCE:
            client.see("executed", id)
        client.say(f"exec {id} {i} {process} /dev/null /dev/null")
    for _ in range(AT_ONCE):
        client.see("executed", id)
    took = time.perf_counter() - begin
    print(f"exec of true by the keeper: {EXECS / took:.0f} per second, {(busy_ms() - busy) / EXECS:.2f} ms of CPU each")
    client.say(f"kill {id} 9")
    client.see("exited", id)
    lab.remove(client, id)
    lab.config["process"]["args"] = ["/bin/true"]


def works(lab, program):
    try:
        return program and lab.crun(program) > 0
    except (RuntimeError, subprocess.CalledProcessError):
        print("crun cannot run the bundle here")
        return False


def many_mounts(top):
    for i in range(MOUNTS):
        if ctypes.CDLL(None).mount(b"/proc", top.encode(), None, 4096, None):
            raise OSError("mount")


def run(label, top):
    holder = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        with Bench(holder.pid) as lab:
            if top:
                many_mounts(top)
            client = lab.client()
            for _ in range(3):
                lab.ours(client)
            crun = os.environ.get("CRUN") or shutil.which("crun")
            crun = crun if works(lab, crun) else None
            for gap in (0, GAP_S):
                ours, ahead, theirs = measure(lab, client, crun, gap)
                row(f"keeper{label}{', cold' if gap else ''}", ours, theirs or None)
                row(f"keeper, made ahead{label}{', cold' if gap else ''}", ahead, theirs or None)
                if theirs:
                    row(f"crun create + start{label}{', cold' if gap else ''}", theirs)
            if not top:
                for _ in range(3):
                    crowd(lab, client, crun)
                execs(lab, client)
    finally:
        holder.kill()
        holder.wait()


def main(build):
    if "INSIDE" in os.environ:
        run(*json.loads(os.environ["INSIDE"]))
        return
    # crun refuses hosts whose v2 tree beside v1 hierarchies has controllers: see oci.py
    hide = "mount --make-rprivate /; umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\""
    top = tempfile.mkdtemp(prefix="berth-bench-")
    for inside in (["", None], [f", {MOUNTS} mounts", top]):
        subprocess.run(["unshare", "-m", "sh", "-c", hide, "sh", sys.executable, os.path.abspath(__file__), build],
                       env=dict(os.environ, INSIDE=json.dumps(inside), TMPDIR=MEMORY), check=True)
    os.rmdir(top)


if __name__ == "__main__":
    main(sys.argv[1])
