# tests/bench/peers.py - containerd and Docker as peers of our pulls
# SPDX-License-Identifier: Apache-2.0
#
# A daemon of our own for each pull, below the directory that is measured, with a
# socket of its own and no network, started before the clock and ended by its pid.
# Its processor time is that of all processes below it, its memory the largest one's.

import os
import shutil
import subprocess
import tempfile

import berth

TICK = os.sysconf("SC_CLK_TCK")

DOCKER_PLUGINS = "/run/docker/plugins"

CONTAINERD = """version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper",
 "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{socket}"
"""


class Daemon:
    """A context: the daemon's command line, and what answers when it is there."""

    def __init__(self, argv, ready, log):
        self.argv, self.ready, self.log = argv, ready, log

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, DOCKER_CONFIG="/nonexistent"))

        def answers():
            if self.process.poll() is not None:
                with open(self.log) as log:
                    raise berth.Skip(f"{self.argv[0]} does not run here: {log.read()[-300:].strip()}")
            return subprocess.run(self.ready, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        try:
            berth.wait_for(answers, 60, self.argv[0])
        except BaseException:
            self.end()
            raise
        return self

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def __exit__(self, *_):
        self.end()

    def family(self):
        """The pids of it and of all below."""
        parents = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    parents.setdefault(int(f.read().rpartition(")")[2].split()[1]), []).append(int(pid))
            except OSError:
                pass
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def used(self):
        """Seconds of processor, those of children that have ended among them, and KiB at most."""
        ticks = peak = 0
        for pid in self.family():
            try:
                with open(f"/proc/{pid}/stat") as f:
                    ticks += sum(map(int, f.read().rpartition(")")[2].split()[11:15]))
                with open(f"/proc/{pid}/status") as f:
                    peak = max([peak] + [int(line.split()[1]) for line in f if line.startswith("VmHWM")])
            except OSError:
                pass
        return ticks / TICK, peak


def pull_again(directory, pull, remove, timed):
    """What timed() says of deleting and pulling, where the image has been pulled to already."""
    for argv in pull:
        berth.run(*argv, timeout=900)
    os.sync()
    return timed(directory, remove, *pull)


def pull_by(daemon, argv, remove, directory, again, timed):
    """A pull by a client of the daemon, as timed() measures; the daemon's share is added."""
    before, _ = daemon.used()
    run = pull_again(directory, [argv], remove, timed) if again else timed(directory, argv)
    after, peak = daemon.used()
    run.cpu += after - before
    run.rss = max(run.rss, peak)
    return run


def containerd(reference, directory, again, timed):
    sockets = tempfile.mkdtemp(prefix="berth-bench-")  # the path of a socket is short
    try:
        socket = sockets + "/s"
        config = sockets + "/config.toml"
        with open(config, "w") as f:
            f.write(CONTAINERD.format(dir=directory, socket=socket))
        ctr = ["ctr", "--address", socket]
        with Daemon(["containerd", "--config", config], ctr + ["version"], sockets + "/log") as daemon:
            return pull_by(daemon, [*ctr, "images", "pull", "--plain-http", reference],
                           [*ctr, "images", "rm", "--sync", reference], directory, again, timed)
    finally:
        shutil.rmtree(sockets)


def docker(reference, directory, again, timed):
    sockets = tempfile.mkdtemp(prefix="berth-bench-")
    made = not os.path.exists(DOCKER_PLUGINS)  # whatever it is told
    try:
        socket = f"unix://{sockets}/s"
        client = ["docker", "--config", sockets, "-H", socket]
        with open(sockets + "/daemon.json", "w") as f:
            f.write("{}")  # that of the host is not ours
        argv = ["dockerd", "--config-file", sockets + "/daemon.json", "--data-root", directory + "/root",
                "--exec-root", sockets + "/exec", "--pidfile", sockets + "/pid", "-H", socket, "--iptables=false",
                "--ip6tables=false", "--ip-forward=false", "--bridge=none", "--storage-driver", "overlay2"]
        with Daemon(argv, client + ["version"], sockets + "/log") as daemon:
            return pull_by(daemon, [*client, "pull", "-q", reference], [*client, "rmi", reference], directory, again,
                           timed)
    finally:
        shutil.rmtree(sockets)
        if made and os.path.exists(DOCKER_PLUGINS):
            os.removedirs(DOCKER_PLUGINS)
