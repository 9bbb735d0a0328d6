#!/usr/bin/python3
# tests/bench/tasks.py - a whole task beside podman: time to run, memory to keep
# SPDX-License-Identifier: Apache-2.0
#
# `berth run` and `podman run` of the same cached image with a published port, by
# turns. Memory: what an idle task adds beyond its own processes, beside what
# podman's conmon and containerd's shim take.

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

from berth import Daemon, Registry, wait_for

ROUNDS = int(os.environ.get("ROUNDS", "20"))
TASKS = int(os.environ.get("TASKS", "50"))


def wall(argv, env=None):
    start = time.monotonic()
    p = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, text=True)
    if p.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {p.returncode}: {p.stderr}")
    return (time.monotonic() - start) * 1000


def row(name, values, peer=None):
    values = sorted(values)
    line = f"{name:34} min {values[0]:8.1f}  median {statistics.median(values):8.1f}"
    if peer:
        line += f"  ratio {statistics.median(values) / statistics.median(peer):6.3f}"
    print(line, flush=True)


class Podman:
    def __init__(self, image):
        self.dir = tempfile.mkdtemp(prefix="berth-bench")
        self.flags = [os.environ.get("PODMAN", "podman"), "--root", self.dir + "/root", "--runroot", self.dir + "/run",
                      "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--tmpdir", self.dir + "/tmp",
                      "--runtime", os.environ.get("PODMAN_RUNTIME", shutil.which("runc"))]
        conf = os.path.join(self.dir, "containers.conf")
        with open(conf, "w") as f:
            f.write('[network]\nnetwork_backend = "netavark"\n[containers]\ndefault_ulimits = ["nofile=1024:1024"]\n')
        self.env = dict(os.environ, CONTAINERS_CONF=conf)
        subprocess.run(self.flags + ["pull", "-q", "--tls-verify=false", image], check=True, env=self.env,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *argv):
        return self.flags + ["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", *argv]

    def close(self):
        subprocess.run(self.flags + ["rm", "-f", "-a", "-t", "0"], env=self.env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        subprocess.run(self.flags + ["rmi", "-f", "-a"], env=self.env, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        subprocess.run(["umount", self.dir + "/root/overlay"], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


class Containerd:
    """A containerd of our own, for what its shim takes."""

    def __init__(self, image):
        self.dir = tempfile.mkdtemp(prefix="berth-bench")
        config = os.path.join(self.dir, "config.toml")
        with open(config, "w") as f:
            f.write(f'version = 2\nroot = "{self.dir}/root"\nstate = "{self.dir}/state"\n'
                    f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.dir}/sock"\n')
        self.process = subprocess.Popen(["containerd", "-c", config], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.ctr = ["ctr", "-a", self.dir + "/sock"]
        wait_for(lambda: os.path.exists(self.dir + "/sock"), 30, "containerd")
        subprocess.run(self.ctr + ["image", "pull", "--plain-http", image], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(self.ctr + ["run", "-d", image, "idle", "/bin/sleep", "100000"], check=True)

    def close(self):
        subprocess.run(self.ctr + ["task", "kill", "-s", "KILL", "idle"], stderr=subprocess.DEVNULL)
        subprocess.run(self.ctr + ["task", "delete", "-f", "idle"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        subprocess.run(self.ctr + ["container", "delete", "idle"], stderr=subprocess.DEVNULL)
        self.process.terminate()
        self.process.wait(30)
        shutil.rmtree(self.dir, ignore_errors=True)


def pss_kb(pid):
    try:
        return int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1])
    except (OSError, TypeError):
        return 0


def rss_kb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read(), re.M)[1])


def processes(word):
    """Those whose command line, or whose program's name, begins with the word."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.path.basename(open(f"/proc/{pid}/cmdline").read().split("\0")[0]).startswith(word):
                yield int(pid)
        except OSError:
            pass


def of_peer(name, word, before, each):
    for p in set(processes(word)) - before:
        print(f"{name}, one a container: PSS {pss_kb(p)} kB, RSS {rss_kb(p)} kB; ratio {each / pss_kb(p):.3f}")


def times(daemon, podman, image):
    ours, theirs = [], []
    berth = [os.path.join(os.environ["BERTH_BUILD"], "berth"), "--root", daemon.root]
    for i in range(ROUNDS + 2):
        a = wall(berth + ["run", "--network", "bridge", "-p", "80", image, "/bin/true"])
        b = wall(podman.run("--rm", "--network", "podman", "-p", "80", image, "/bin/true"), podman.env)
        if i >= 2:  # what is made once is made
            ours.append(a)
            theirs.append(b)
    row("podman run --network bridge -p", theirs)
    row("berth run --network bridge -p", ours, theirs)


def memory(daemon, podman, image):
    idle = {p: rss_kb(p) for word in ("berthd", "berth-keeper") for p in processes(word)}
    print(f"berthd (both) and keeper, idle: RSS {sum(idle.values())} kB {sorted(idle.values())}")
    before = sum(pss_kb(p) for p in idle)
    td = daemon.ecs("RegisterTaskDefinition", family="idle", containerDefinitions=[
        dict(name="c", image=image, memory=32, entryPoint=["/bin/sleep"], command=["100000"])])
    tasks = []
    while len(tasks) < TASKS:
        tasks += [t["taskArn"] for t in daemon.ecs(
            "RunTask", taskDefinition=td["taskDefinition"]["taskDefinitionArn"],
            count=min(10, TASKS - len(tasks)))["tasks"]]
    for t in tasks:
        daemon.wait_status(t, "RUNNING")
    each = (sum(pss_kb(p) for p in idle) - before) / TASKS
    print(f"berth, each of {TASKS} idle tasks: {each:.1f} kB in all of Berth's processes, no process of its own")

    others = set(processes("conmon"))
    subprocess.run(podman.run("-d", "--network", "none", image, "/bin/sleep", "100000"), env=podman.env, check=True,
                   stdout=subprocess.DEVNULL)
    of_peer("conmon", "conmon", others, each)
    if shutil.which("containerd"):
        others = set(processes("containerd-shim"))
        containerd = Containerd(image)
        try:
            of_peer("containerd-shim", "containerd-shim", others, each)
        finally:
            containerd.close()
    for t in tasks:
        daemon.ecs("StopTask", task=t)


def main(build):
    with Registry() as registry:
        image = registry.demo()
        podman = Podman(image)
        try:
            with Daemon(config="[node]\nimage-pull-behavior = prefer-cached\n") as daemon:
                times(daemon, podman, image)
                memory(daemon, podman, image)
        finally:
            podman.close()
